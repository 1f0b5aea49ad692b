/* operator token: secrets with which new nodes join. A token is a Lease in istio-system, which
 * keeps its hash; who used it, and until when it is good, stand in annotations. */
#include <inttypes.h>

#include "base/net/uri.h"
#include "base/wire/json.h"
#include "cli/context.h"

#define TTL_DEFAULT_MS (600 * 1000)
#define PREFIX "weft-join-"
#define LEASES "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases"

int cmd_token_create(struct cli *c)
{
    struct err err = {0};
    struct client *cl = cli_client(c, &err);
    struct client_answer a = {0};
    wf_ms ttl;
    if (!flags_duration(&c->flags, FLAG_TTL, TTL_DEFAULT_MS, &ttl, &err))
        return cli_usage(c, &err);
    json_t *body = json_pack("{s:I}", "ttlSeconds", (json_int_t)(ttl / 1000));
    bool ok =
        cl && client_call(cl,
                          &(struct client_request){
                              .method = S("POST"), .path = S("/weft/v1/jointokens"), .body = body},
                          &a, &err);
    json_decref(body);
    if (!ok)
        return cli_fail(c, &err);
    int code = CLI_OK;
    if (cli_output(c) == OUTPUT_TABLE) {
        cli_print_text(c->out, json_str(a.body, "token"));
        fputc('\n', c->out);
        fflush(c->out);
        fprintf(c->err, "%.*s is good for one node, until %.*s\n", SLICE(json_str(a.body, "name")),
                SLICE(json_str(a.body, "expires")));
    } else {
        code = cli_print_data(c, a.body);
    }
    json_decref(a.body);
    return code;
}

static struct slice annotation(const json_t *lease, const char *name)
{
    return json_slice(json_object_get(json_at(lease, "metadata.annotations"), name));
}

static void state_cell(struct cli *c, struct table *t, const json_t *lease)
{
    struct slice joined = annotation(lease, "weft.dev/joined");
    int64_t until = 0;
    bool held = json_str(lease, "spec.holderIdentity").n > 0;
    if (joined.n)
        table_cellf(t, "used by %.*s", SLICE(joined));
    else if (!held || !age_parse(annotation(lease, "weft.dev/expires"), &until) ||
             until <= cli_now_ms(c))
        table_cell(t, S("expired"));
    else
        table_cell_tint(t, S("good"), TINT_GOOD);
}

static void print_table(struct cli *c, const json_t *items)
{
    static const char *const titles[] = {"NAME", "STATE", "EXPIRES"};
    struct table_style style = cli_table_style(c);
    struct table t = {0};
    size_t i;
    json_t *lease;
    table_columns(&t, titles, ARRAY_LEN(titles));
    json_array_foreach (items, i, lease) {
        table_cell(&t, json_str(lease, "metadata.name"));
        state_cell(c, &t, lease);
        table_cell(&t, annotation(lease, "weft.dev/expires"));
    }
    table_print(&t, c->out, &style);
    table_fini(&t);
}

/* Other leases live in the namespace. */
static void keep_tokens(json_t *items)
{
    for (size_t i = json_array_size(items); i-- > 0;)
        if (!slice_starts(json_str(json_array_get(items, i), "metadata.name"), S(PREFIX)) ||
            !annotation(json_array_get(items, i), "weft.dev/join-token").n)
            json_array_remove(items, i);
}

int cmd_token_list(struct cli *c)
{
    struct err err = {0};
    json_t *list = cli_fetch(c, S(LEASES), &err);
    json_t *items = json_object_get(list, "items");
    int code = CLI_OK;
    if (!list)
        return cli_fail(c, &err);
    keep_tokens(items);
    if (cli_output(c) == OUTPUT_JSON || cli_output(c) == OUTPUT_YAML)
        code = cli_print_data(c, list);
    else
        print_table(c, items);
    json_decref(list);
    return code;
}

int cmd_token_revoke(struct cli *c)
{
    struct err err = {0};
    struct slice name = c->flags.words[0];
    struct client *cl = cli_client(c, &err);
    struct client_answer a = {0};
    if (!slice_starts(name, S(PREFIX))) {
        err_set(&err, ERR_INVALID, "\"%.*s\" is the name of no token: weft operator token list",
                SLICE(name));
        return cli_usage(c, &err);
    }
    struct client_request q = {
        .method = S("DELETE"),
        .path = arena_printf(&c->arena, LEASES "/%.*s", SLICE(uri_encode(name, &c->arena))),
        .key = cli_new_key(c)};
    if (!cl || !client_call(cl, &q, &a, &err))
        return cli_fail(c, &err);
    int code = CLI_OK;
    if (cli_output(c) == OUTPUT_TABLE) {
        cli_print_text(c->out, name);
        fputs(" revoked\n", c->out);
    } else {
        code = cli_print_data(c, a.body);
    }
    json_decref(a.body);
    return code;
}
