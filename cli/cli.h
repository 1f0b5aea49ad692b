/* The `weft` command: one run of it, with everything that it takes from outside.
 *
 *   struct cli_world world = {.env = env, .in = stdin, .out = stdout, .err = stderr,
 *                             .addr = getenv("WEFT_ADDR"), .ns = getenv("WEFT_NAMESPACE")};
 *   return cli_run(&world, argc, argv);
 *
 * It speaks the public API only. Results go to out, everything else to err: whatever -o says, the
 * exit code is the same and out holds nothing but the result.
 */
#ifndef WEFT_CLI_CLI_H
#define WEFT_CLI_CLI_H

#include <stdio.h>

#include "base/env/env.h"

/* Where nothing else is said: the nodes of the demo. */
#define CLI_ADDR_DEFAULT "127.0.0.1:7443,127.0.0.2:7443,127.0.0.3:7443"

/* What scripts may rely on (weft help). `diff` has its own three. */
enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 64,
    CLI_BAD_INPUT = 65,
    CLI_UNREACHABLE = 69, /* no node answers, or there is no quorum */
    CLI_TIMED_OUT = 75,   /* waiting */
    CLI_FINDINGS = 79,    /* the analysis refused it */
    CLI_DIFF_SAME = 0,
    CLI_DIFF_DIFFERS = 1,
    CLI_DIFF_FAILED = 2,
};

struct cli_world {
    struct env *env; /* its loop is turned until the command is done */
    FILE *in, *out, *err;
    const char *addr;    /* of WEFT_ADDR: "host:port,host:port"; NULL or "" = CLI_ADDR_DEFAULT */
    const char *ns;      /* of WEFT_NAMESPACE; NULL or "" = default */
    bool colour;         /* of out: a terminal, and no NO_COLOR */
    int64_t now_wall_ms; /* for ages; 0 = the env's */
};

/* argv[0] is the name of the program. Returns the exit code. */
int cli_run(const struct cli_world *world, int argc, const char *const *argv);

#endif
