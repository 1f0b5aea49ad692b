/* weft: the command line. The process's streams and environment, and nothing else. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/env/env_uv.h"
#include "cli/cli.h"

static bool on_terminal(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !(no_color && *no_color) &&
           !(term && slice_eq(slice_of(term), S("dumb")));
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct env *env = env_uv_new(&err);
    if (!env) {
        fprintf(stderr, "error: %s\n", err.msg);
        return CLI_FAILED;
    }
    /* A node or a reader that goes away is an error to report, not an end. */
    signal(SIGPIPE, SIG_IGN);
    struct cli_world world = {.env = env,
                              .in = stdin,
                              .out = stdout,
                              .err = stderr,
                              .addr = getenv("WEFT_ADDR"),
                              .ns = getenv("WEFT_NAMESPACE"),
                              .colour = on_terminal()};
    int code = cli_run(&world, argc, (const char *const *)argv);
    env_uv_free(env);
    return code;
}
