/* One run of a command: what the cmd_*.c files share. */
#ifndef WEFT_CLI_CONTEXT_H
#define WEFT_CLI_CONTEXT_H

#include <jansson.h>

#include "api/kind.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/flags.h"
#include "cli/table.h"

enum cli_output {
    OUTPUT_TABLE,
    OUTPUT_WIDE,
    OUTPUT_JSON,
    OUTPUT_YAML,
    OUTPUT_NAME,
    OUTPUT_JSONPATH,
};

struct cli {
    const struct cli_world *world;
    FILE *out, *err;
    struct arena arena; /* dies with the run */
    struct flags flags;
    struct client *client;   /* see cli_client() */
    wf_ms timeout;           /* --timeout; 0 = not given */
    struct slice read_query; /* "&consistency=…": of every read of objects; may be empty */
    bool colour;
    bool finding; /* a warning was one of the analysis; set back by who asks */
};

/* Connected at the first use. NULL and err for addresses that cannot be read. */
struct client *cli_client(struct cli *c, struct err *err);
/* -n, WEFT_NAMESPACE or default; empty with -A. */
struct slice cli_namespace(const struct cli *c);
enum cli_output cli_output(const struct cli *c);
int64_t cli_now_ms(const struct cli *c);

/* "error: …" on err; returns the exit code that the failure stands for. */
int cli_fail(struct cli *c, const struct err *err);
/* The same with a hint at --help, CLI_USAGE. */
int cli_usage(struct cli *c, const struct err *err);
enum cli_exit cli_exit_of(enum err_code code);
/* Text from outside, without bytes that a terminal would obey. */
void cli_print_text(FILE *f, struct slice text);

/* An Idempotency-Key that nobody had before. */
struct slice cli_new_key(struct cli *c);

/* GET of a path below the API; NULL and err. In the client's words. */
json_t *cli_fetch(struct cli *c, struct slice path, struct err *err);
/* A value as -o json or yaml says, on out. */
int cli_print_data(struct cli *c, const json_t *value);
/* How tables are printed in this run. */
struct table_style cli_table_style(const struct cli *c);

/* "/apis/networking.istio.io/v1/namespaces/default/virtualservices/reviews"; without a name the
 * collection, without a namespace all of them. */
struct slice cli_path(struct cli *c, const struct kind *k, struct slice ns, struct slice name);
/* "virtualservice.networking.istio.io/reviews", as kubectl says it. */
struct slice cli_title(struct cli *c, const struct kind *k, struct slice name);

#endif
