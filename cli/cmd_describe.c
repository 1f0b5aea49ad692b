/* describe: an object as text, its conditions, and where it is live. */
#include <inttypes.h>

#include "base/wire/json.h"
#include "base/wire/yaml.h"
#include "cli/mesh.h"
#include "cli/target.h"

static void field(struct cli *c, const char *name, struct slice value)
{
    fprintf(c->out, "%-14s", name);
    cli_print_text(c->out, value.n ? value : S("<none>"));
    fputc('\n', c->out);
}

/* "Labels:       app=reviews" and the others below it. */
static void map_field(struct cli *c, const char *name, const json_t *map)
{
    size_t n;
    struct slice *keys = json_keys_sorted(map, &c->arena, &n);
    for (size_t i = 0; i < n; i++)
        field(c, i ? "" : name,
              arena_printf(&c->arena, "%.*s=%.*s", SLICE(keys[i]),
                           SLICE(json_slice(json_get(map, keys[i])))));
    if (n == 0)
        field(c, name, (struct slice){0});
}

/* Everything but metadata and status, as YAML, indented. */
static void body_text(struct cli *c, const json_t *object)
{
    static const char *const shown_above[] = {"apiVersion", "kind", "metadata", "status"};
    json_t *rest = json_copy((json_t *)(uintptr_t)object);
    struct buf text = {0};
    struct err err = {0};
    for (size_t i = 0; i < ARRAY_LEN(shown_above); i++)
        json_object_del(rest, shown_above[i]);
    if (json_object_size(rest) && yaml_write(&text, rest, &err)) {
        fputc('\n', c->out);
        cli_print_text(c->out, buf_slice(&text));
    }
    buf_fini(&text);
    json_decref(rest);
}

static void conditions(struct cli *c, const json_t *object)
{
    static const char *const titles[] = {"CONDITION", "STATUS", "REASON", "AGE", "MESSAGE"};
    struct table t = {0};
    struct table_style style = cli_table_style(c);
    char age[AGE_TEXT];
    size_t i;
    json_t *cond;
    table_columns(&t, titles, ARRAY_LEN(titles));
    json_array_foreach (json_at(object, "status.conditions"), i, cond) {
        struct slice status = json_str(cond, "status");
        table_cell(&t, json_str(cond, "type"));
        table_cell_tint(&t, status, slice_eq(status, S("True")) ? TINT_GOOD : TINT_WARN);
        table_cell(&t, json_str(cond, "reason"));
        table_cell(&t, age_since(json_str(cond, "lastTransitionTime"), cli_now_ms(c), age));
        table_cell(&t, json_str(cond, "message"));
    }
    if (table_rows(&t)) {
        fputc('\n', c->out);
        table_print(&t, c->out, &style);
    }
    table_fini(&t);
}

/* Where it is live. */

static bool caused_by(const json_t *rejection, struct slice key)
{
    size_t i;
    json_t *source;
    json_array_foreach (json_object_get(rejection, "sources"), i, source) {
        if (slice_eq(json_slice(source), key))
            return true;
    }
    return false;
}

static void rejections(struct cli *c, const json_t *list, struct slice key)
{
    size_t i;
    json_t *r;
    json_array_foreach (list, i, r) {
        if (!caused_by(r, key))
            continue;
        field(c, "Rejected by:",
              arena_printf(&c->arena, "%.*s: %.*s %.*s: %.*s", SLICE(json_str(r, "proxy")),
                           SLICE(json_str(r, "type")), SLICE(json_str(r, "resource")),
                           SLICE(json_str(r, "message"))));
    }
}

/* A wait of no time is a question. */
static void liveness(struct cli *c, const struct kind *k, const json_t *object)
{
    struct err err = {0};
    struct slice revision = json_str(object, "metadata.resourceVersion"), key;
    struct client_answer a = {0};
    struct client_request r = {
        .method = S("GET"),
        .path = arena_printf(&c->arena, "/weft/v1/wait?revision=%.*s&timeout=0s", SLICE(revision)),
        .any_status = true};
    field(c, "Revision:", arena_printf(&c->arena, "@%.*s", SLICE(revision)));
    if (!revision.n || !client_call(cli_client(c, &err), &r, &a, &err))
        return;
    field(c, "Live:",
          arena_printf(&c->arena, "%" PRId64 "/%" PRId64 " proxies", json_int(a.body, "live", 0),
                       json_int(a.body, "total", 0)));
    if (kind_key(k, json_str(object, "metadata.namespace"), json_str(object, "metadata.name"),
                 &c->arena, &key, &err))
        rejections(c, json_object_get(a.body, "rejected"), key);
    json_decref(a.body);
}

static void describe_object(struct cli *c, const struct kind *k, const json_t *object)
{
    char age[AGE_TEXT];
    struct slice created = json_str(object, "metadata.creationTimestamp");
    field(c, "Name:", json_str(object, "metadata.name"));
    if (k->namespaced)
        field(c, "Namespace:", json_str(object, "metadata.namespace"));
    field(c, "Kind:",
          arena_printf(&c->arena, "%s %.*s", k->kind, SLICE(json_str(object, "apiVersion"))));
    map_field(c, "Labels:", json_at(object, "metadata.labels"));
    map_field(c, "Annotations:", json_at(object, "metadata.annotations"));
    field(c, "Created:",
          arena_printf(&c->arena, "%.*s (%.*s ago)", SLICE(created),
                       SLICE(age_since(created, cli_now_ms(c), age))));
    field(c, "Generation:",
          arena_printf(&c->arena, "%" PRId64, json_int(object, "metadata.generation", 0)));
    liveness(c, k, object);
    body_text(c, object);
    conditions(c, object);
}

static int describe_list(struct cli *c, const struct kind *k)
{
    struct err err = {0};
    size_t i;
    struct slice ns = k->namespaced ? cli_namespace(c) : (struct slice){0};
    json_t *o, *list = target_list(c, k, ns, CLIENT_OBJECT, &err);
    if (!list)
        return cli_fail(c, &err);
    json_array_foreach (json_object_get(list, "items"), i, o) {
        if (i)
            fputs("\n\n", c->out);
        describe_object(c, k, o);
    }
    if (i == 0)
        fputs("No resources found\n", c->err);
    json_decref(list);
    return CLI_OK;
}

static int describe_named(struct cli *c, const struct target *t)
{
    struct err err = {0};
    json_t *o = cli_fetch(c, cli_path(c, t->kind, cli_namespace(c), t->name), &err);
    if (!o)
        return cli_fail(c, &err);
    describe_object(c, t->kind, o);
    json_decref(o);
    return CLI_OK;
}

static int describe(struct cli *c, const struct target *t)
{
    if (t->type == TARGET_PROXIES)
        return t->name.n ? mesh_describe_proxy(c, t->name)
                         : mesh_print_proxies(c, (struct slice){0});
    if (t->type == TARGET_MEMBERS)
        return mesh_print_members(c, t->name);
    return t->name.n ? describe_named(c, t) : describe_list(c, t->kind);
}

int cmd_describe(struct cli *c)
{
    struct err err = {0};
    struct targets targets = {0};
    int code = CLI_OK;
    if (!targets_parse(&targets, c, c->flags.words, c->flags.word_count, &err))
        return cli_usage(c, &err);
    for (size_t i = 0; i < targets.n; i++) {
        if (i)
            fputs("\n\n", c->out);
        int one = describe(c, &targets.p[i]);
        code = code ? code : one;
    }
    return code;
}
