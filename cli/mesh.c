#include "cli/mesh.h"

#include <inttypes.h>
#include <string.h>

#include "api/names.h"
#include "base/wire/json.h"
#include "cli/target.h"

static const char *const types[] = {"cds", "eds", "lds", "rds", "vhds"};

/* Finding. */

static bool is_proxy(const json_t *proxy, struct slice word, bool shortened)
{
    struct slice name = json_str(proxy, "name"), host, ns;
    if (shortened)
        return slice_cut(name, '.', &host, &ns) && slice_eq(host, word);
    return slice_eq(name, word) || slice_eq(json_str(proxy, "id"), word);
}

static const json_t *find(const json_t *list, struct slice word, bool shortened, size_t *ret_n)
{
    size_t i;
    json_t *proxy;
    const json_t *found = NULL;
    *ret_n = 0;
    json_array_foreach (json_object_get(list, "items"), i, proxy) {
        if (!is_proxy(proxy, word, shortened))
            continue;
        found = found ? found : proxy;
        ++*ret_n;
    }
    return found;
}

const json_t *mesh_find_proxy(const json_t *list, struct slice word, struct err *err)
{
    size_t n, i;
    json_t *proxy;
    struct name_suggest near = {.word = word};
    const json_t *found = find(list, word, false, &n);
    if (found)
        return found;
    found = find(list, word, true, &n);
    if (n == 1)
        return found;
    if (n > 1) {
        err_set(err, ERR_INVALID,
                "%zu proxies are called \"%.*s\": say the namespace too, \"%.*s\"", n, SLICE(word),
                SLICE(json_str(found, "name")));
        return NULL;
    }
    json_array_foreach (json_object_get(list, "items"), i, proxy)
        name_suggest_try(&near, json_str(proxy, "name"));
    err_set(err, ERR_NOT_FOUND, "no proxy \"%.*s\" is connected%s%.*s%s", SLICE(word),
            near.best.n ? ", did you mean \"" : "", SLICE(near.best), near.best.n ? "\"?" : "");
    return NULL;
}

static const json_t *find_member(const json_t *list, struct slice name, struct err *err)
{
    size_t i;
    json_t *m;
    json_array_foreach (json_object_get(list, "items"), i, m) {
        if (slice_eq(json_str(m, "name"), name))
            return m;
    }
    err_set(err, ERR_NOT_FOUND, "no member \"%.*s\"", SLICE(name));
    return NULL;
}

json_t *mesh_fetch(struct cli *c, bool proxies, struct slice name, struct err *err)
{
    json_t *list = cli_fetch(c, proxies ? S("/weft/v1/proxies") : S("/weft/v1/members"), err);
    if (!list || !name.n)
        return list;
    const json_t *one = proxies ? mesh_find_proxy(list, name, err) : find_member(list, name, err);
    json_t *kept = json_incref((json_t *)(uintptr_t)one);
    json_decref(list);
    return kept;
}

/* Proxies. */

static enum table_tint state_tint(struct slice state)
{
    return slice_eq(state, S("SYNCED"))  ? TINT_GOOD
           : slice_eq(state, S("STALE")) ? TINT_WARN
           : slice_eq(state, S("ERROR")) ? TINT_BAD
                                         : TINT_NONE;
}

static void type_cell(struct table *t, const json_t *proxy, const char *type, bool wide)
{
    const json_t *at = json_object_get(json_object_get(proxy, "types"), type);
    struct slice state = json_str(at, "status"), text = at ? state : S("-");
    if (at && wide)
        text = arena_printf(&t->arena, "%.*s(%" PRId64 ")", SLICE(state),
                            json_int(at, "resources", 0));
    table_cell_tint(t, text, state_tint(state));
}

static struct slice proxy_kind(const json_t *proxy)
{
    struct slice kind, rest;
    return slice_cut(json_str(proxy, "id"), '~', &kind, &rest) ? kind : (struct slice){0};
}

static void proxy_row(struct cli *c, struct table *t, const json_t *proxy)
{
    char age[AGE_TEXT];
    bool wide = cli_output(c) == OUTPUT_WIDE;
    table_cell(t, json_str(proxy, "name"));
    table_cell(t, proxy_kind(proxy));
    table_cell(t, json_str(proxy, "node"));
    if (wide) {
        table_cell(t, json_str(proxy, "agent"));
        table_cell(t, json_str(proxy, "version"));
        table_cell(t, json_str(proxy, "address"));
    }
    table_cellf(t, "@%" PRId64, json_int(proxy, "revision", 0));
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        type_cell(t, proxy, types[i], wide);
    table_cell(t, age_format(json_int(proxy, "connectedMs", 0), age));
}

static void proxies_columns(struct cli *c, struct table *t)
{
    static const char *const first[] = {"NAME", "TYPE", "NODE"};
    static const char *const more[] = {"AGENT", "VERSION", "ADDRESS"};
    static const char *const last[] = {"LIVE", "CDS", "EDS", "LDS", "RDS", "VHDS", "AGE"};
    table_columns(t, first, ARRAY_LEN(first));
    if (cli_output(c) == OUTPUT_WIDE)
        table_columns(t, more, ARRAY_LEN(more));
    table_columns(t, last, ARRAY_LEN(last));
}

/* Nodes that did not answer: their proxies are unknown, not absent. */
static void say_silent(struct cli *c, const json_t *list)
{
    size_t i;
    json_t *name;
    json_array_foreach (json_object_get(list, "silent"), i, name)
        fprintf(c->err, "Warning: node %.*s did not answer, its proxies are not shown\n",
                SLICE(json_slice(name)));
}

int mesh_print_proxies(struct cli *c, struct slice name)
{
    struct err err = {0};
    struct table t = {0};
    struct table_style style = cli_table_style(c);
    size_t i;
    json_t *proxy, *list = mesh_fetch(c, true, name, &err);
    if (!list)
        return cli_fail(c, &err);
    proxies_columns(c, &t);
    if (name.n)
        proxy_row(c, &t, list);
    else
        json_array_foreach (json_object_get(list, "items"), i, proxy)
            proxy_row(c, &t, proxy);
    if (table_rows(&t))
        table_print(&t, c->out, &style);
    else
        fputs("No proxies are connected\n", c->err);
    say_silent(c, list);
    table_fini(&t);
    json_decref(list);
    return CLI_OK;
}

static void print_field(struct cli *c, const char *name, struct slice value)
{
    fprintf(c->out, "%-14s", name);
    cli_print_text(c->out, value.n ? value : S("<none>"));
    fputc('\n', c->out);
}

static void proxy_types(struct cli *c, const json_t *proxy)
{
    static const char *const titles[] = {"TYPE",  "STATUS",    "SENT",
                                         "ACKED", "RESOURCES", "REJECTED"};
    struct table t = {0};
    struct table_style style = cli_table_style(c);
    table_columns(&t, titles, ARRAY_LEN(titles));
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        const json_t *at = json_object_get(json_object_get(proxy, "types"), types[i]);
        if (!at)
            continue;
        table_cell(&t, slice_of(types[i]));
        type_cell(&t, proxy, types[i], false);
        table_cellf(&t, "@%" PRId64, json_int(at, "sent", 0));
        table_cellf(&t, "@%" PRId64, json_int(at, "acked", 0));
        table_cellf(&t, "%" PRId64, json_int(at, "resources", 0));
        table_cellf(&t, "%" PRId64, json_int(at, "rejected", 0));
    }
    fputc('\n', c->out);
    table_print(&t, c->out, &style);
    table_fini(&t);
}

static void proxy_errors(struct cli *c, const json_t *proxy)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        const json_t *at = json_object_get(json_object_get(proxy, "types"), types[i]);
        struct slice error = json_str(at, "error");
        if (!error.n)
            continue;
        fprintf(c->out, "\nThe proxy rejected %s: ", types[i]);
        cli_print_text(c->out, error);
        fputc('\n', c->out);
    }
}

int mesh_describe_proxy(struct cli *c, struct slice name)
{
    struct err err = {0};
    char age[AGE_TEXT];
    json_t *p = mesh_fetch(c, true, name, &err);
    if (!p)
        return cli_fail(c, &err);
    print_field(c, "Name:", json_str(p, "name"));
    print_field(c, "Id:", json_str(p, "id"));
    print_field(c, "Node:", json_str(p, "node"));
    print_field(c, "Address:", json_str(p, "address"));
    print_field(c, "Agent:",
                arena_printf(&c->arena, "%.*s %.*s (%.*s, %.*s)", SLICE(json_str(p, "agent")),
                             SLICE(json_str(p, "version")), SLICE(json_str(p, "dialect")),
                             SLICE(json_str(p, "variant"))));
    print_field(c, "Admin:", json_str(p, "admin"));
    print_field(c, "Connected:", age_format(json_int(p, "connectedMs", 0), age));
    print_field(c, "Live:", arena_printf(&c->arena, "@%" PRId64, json_int(p, "revision", 0)));
    proxy_types(c, p);
    proxy_errors(c, p);
    json_decref(p);
    return CLI_OK;
}

static bool wants_data(const struct cli *c)
{
    return cli_output(c) == OUTPUT_JSON || cli_output(c) == OUTPUT_YAML;
}

static int print_list(struct cli *c, bool proxies, struct slice name)
{
    struct err err = {0};
    size_t i;
    json_t *item, *list = mesh_fetch(c, proxies, name, &err);
    int code = CLI_OK;
    if (!list)
        return cli_fail(c, &err);
    if (cli_output(c) != OUTPUT_NAME) {
        code = cli_print_data(c, list);
    } else if (name.n) {
        fprintf(c->out, "%.*s\n", SLICE(json_str(list, "name")));
    } else {
        json_array_foreach (json_object_get(list, "items"), i, item)
            fprintf(c->out, "%.*s\n", SLICE(json_str(item, "name")));
    }
    json_decref(list);
    return code;
}

int cmd_proxy_status(struct cli *c)
{
    struct slice name = c->flags.word_count ? c->flags.words[0] : (struct slice){0};
    if (wants_data(c) || cli_output(c) == OUTPUT_NAME)
        return print_list(c, true, name);
    return name.n ? mesh_describe_proxy(c, name) : mesh_print_proxies(c, name);
}

/* Members. */

/* A voter is what it does: "leader", "follower"; the others have no vote. */
static struct slice member_role(const json_t *m)
{
    struct slice role = json_str(m, "role"), state = json_str(m, "state");
    return slice_eq(role, S("voter")) ? state : role;
}

static void member_row(struct table *t, const json_t *m)
{
    bool self = json_bool(m, "self", false), connected = json_bool(m, "connected", false);
    struct slice role = member_role(m);
    int64_t index = json_int(m, "matchIndex", 0), contact = json_int(m, "lastContactMs", -1);
    int64_t newest = json_int(m, "reads.newest", 0);
    struct slice program = json_str(m, "program");
    table_cellf(t, "%.*s%s", SLICE(json_str(m, "name")), self ? " (asked)" : "");
    table_cell_tint(t, role, slice_eq(role, S("leader")) ? TINT_GOOD : TINT_NONE);
    table_cell(t, json_str(m, "address"));
    table_cell_tint(t, connected ? S("yes") : S("no"), connected ? TINT_NONE : TINT_BAD);
    /* Only the leader knows how far the others are. */
    if (index > 0)
        table_cellf(t, "%" PRId64, index);
    else
        table_cell(t, S("<unknown>"));
    if (self || contact < 0)
        table_cell(t, S("-"));
    else
        table_cellf(t, "%" PRId64 "ms ago", contact);
    table_cell(t, program.n ? program : S("<unknown>"));
    if (newest)
        table_cellf(t, "%" PRId64 "-%" PRId64, json_int(m, "reads.oldest", 0), newest);
    else
        table_cell(t, S("<unknown>"));
}

void mesh_members_table(struct table *t, const json_t *members)
{
    static const char *const titles[] = {"NAME",  "ROLE",         "ADDRESS", "CONNECTED",
                                         "INDEX", "LAST-CONTACT", "PROGRAM", "READS"};
    size_t i;
    json_t *m;
    table_columns(t, titles, ARRAY_LEN(titles));
    json_array_foreach (members, i, m)
        member_row(t, m);
}

/* "n2 (reads to 3), n3 (away)": who keeps the version from `to`. */
static void print_waits(FILE *out, const json_t *members, int64_t to)
{
    size_t i, n = 0;
    json_t *m;
    json_array_foreach (members, i, m) {
        struct slice name = json_str(m, "name");
        int64_t newest = json_int(m, "reads.newest", 0);
        bool away = !json_bool(m, "connected", false);
        if (!away && newest >= to)
            continue;
        fprintf(out, "%s%.*s ", n++ ? ", " : "", SLICE(name));
        if (away)
            fputs("(away)", out);
        else
            fprintf(out, "(reads to %" PRId64 ")", newest);
    }
    if (!n)
        fputs("some seconds", out);
}

void mesh_print_version(FILE *out, const json_t *list, const json_t *members)
{
    int64_t version = json_int(list, "clusterVersion", 0), to = 0;
    size_t i;
    json_t *m;
    json_array_foreach (members, i, m) {
        int64_t newest = json_int(m, "reads.newest", 0);
        to = newest > to ? newest : to;
    }
    if (!version)
        return;
    fprintf(out, "Version:    %" PRId64, version);
    if (to > version) {
        fprintf(out, ", %" PRId64 " waits for ", to);
        print_waits(out, members, to);
    }
    fputc('\n', out);
}

int mesh_print_members(struct cli *c, struct slice name)
{
    struct err err = {0};
    struct table t = {0};
    struct table_style style = cli_table_style(c);
    json_t *list = mesh_fetch(c, false, name, &err);
    if (!list)
        return cli_fail(c, &err);
    json_t *members = name.n ? json_pack("[O]", list) : json_incref(json_object_get(list, "items"));
    mesh_members_table(&t, members);
    table_print(&t, c->out, &style);
    table_fini(&t);
    if (!name.n && json_int(list, "clusterVersion", 0)) {
        fputc('\n', c->out);
        mesh_print_version(c->out, list, members);
    }
    json_decref(members);
    json_decref(list);
    return CLI_OK;
}

int cmd_members(struct cli *c)
{
    if (wants_data(c) || cli_output(c) == OUTPUT_NAME)
        return print_list(c, false, (struct slice){0});
    return mesh_print_members(c, (struct slice){0});
}
