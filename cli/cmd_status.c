/* status and version. */
#include <inttypes.h>
#include <string.h>

#include "base/wire/json.h"
#include "cli/mesh.h"

#define MEMBER_BEHIND_MAX 1000 /* entries: more is a problem worth a sentence */

/* One sentence each; counted. */
struct problems {
    struct cli *c;
    size_t n;
};

static void problem(struct problems *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void problem(struct problems *p, const char *fmt, ...)
{
    va_list ap;
    if (p->n++ == 0)
        fputs("\nProblems:\n", p->c->out);
    va_start(ap, fmt);
    struct slice text = arena_vprintf(&p->c->arena, fmt, ap);
    va_end(ap);
    fputs("  ", p->c->out);
    cli_print_text(p->c->out, text);
    fputc('\n', p->c->out);
}

/* Also of a node that hangs: its connections stay open, and it says nothing (registry/node.h). */
static void not_connected(struct problems *p, const json_t *m)
{
    char age[AGE_TEXT];
    int64_t contact = json_int(m, "lastContactMs", -1);
    struct slice since = contact < 0 ? S("never") : age_format(contact, age);
    problem(p, "Member %.*s (%.*s) is not connected: last heard %.*s%s.",
            SLICE(json_str(m, "name")), SLICE(json_str(m, "address")), SLICE(since),
            contact < 0 ? "" : " ago");
}

/* What is shown without a leader is one node's memory: how old is it? */
static void not_up_to_date(struct problems *p, const json_t *status)
{
    char age[AGE_TEXT];
    int64_t ms = json_int(status, "stalenessMs", -1);
    if (ms >= 0)
        problem(p, "What is shown is of %.*s, which was up to date %.*s ago.",
                SLICE(json_str(status, "node.name")), SLICE(age_format(ms, age)));
}

static void member_problems(struct problems *p, const json_t *status)
{
    size_t i;
    json_t *m;
    int64_t last_index = json_int(status, "log.lastIndex", 0);
    if (!json_bool(status, "quorum", false)) {
        problem(p, "There is no quorum: reads and traffic go on, writes are refused until a "
                   "majority of the members is back.");
        not_up_to_date(p, status);
    } else if (!json_str(status, "leader").n)
        problem(p, "There is no leader: an election is under way.");
    json_array_foreach (json_object_get(status, "members"), i, m) {
        int64_t index = json_int(m, "matchIndex", 0);
        if (json_bool(m, "diskFull", false))
            problem(p,
                    "The disk of member %.*s is full: it takes no writes until there is room; what "
                    "it has is served.",
                    SLICE(json_str(m, "name")));
        if (!json_bool(m, "connected", false))
            not_connected(p, m);
        else if (index > 0 && last_index - index > MEMBER_BEHIND_MAX)
            problem(p, "Member %.*s is %" PRId64 " entries behind.", SLICE(json_str(m, "name")),
                    last_index - index);
    }
}

static void proxy_problems(struct problems *p, const json_t *status)
{
    size_t i;
    json_t *r;
    int64_t live = json_int(status, "proxies.live", 0),
            total = json_int(status, "proxies.total", 0);
    int64_t behind = total - live, unknown = json_int(status, "proxies.unknown", 0);
    unknown = unknown < behind ? unknown : behind;
    json_array_foreach (json_at(status, "proxies.rejections"), i, r) {
        struct slice source = json_slice(json_at(r, "sources[0]"));
        problem(p, "%.*s rejects %.*s %.*s%s%.*s%s: %.*s", SLICE(json_str(r, "proxy")),
                SLICE(json_str(r, "type")), SLICE(json_str(r, "resource")),
                source.n ? " (from " : "", SLICE(source), source.n ? ")" : "",
                SLICE(json_str(r, "message")));
    }
    if (unknown > 0)
        problem(p,
                "%" PRId64 " of %" PRId64
                " proxies were on a node that is silent, and have not come "
                "to another.",
                unknown, total);
    if (behind > unknown && i == 0)
        problem(p, "%" PRId64 " of %" PRId64 " proxies are behind: weft proxy-status says which.",
                behind - unknown, total);
}

static void quota_problem(struct problems *p, const char *ns, const json_t *q)
{
    int64_t objects = json_int(q, "objectsMax", 0), bytes = json_int(q, "bytesMax", 0);
    char of_objects[64] = "", of_bytes[96] = "";
    if (objects)
        snprintf(of_objects, sizeof(of_objects), " %" PRId64 " of %" PRId64 " objects",
                 json_int(q, "objects", 0), objects);
    if (bytes)
        snprintf(of_bytes, sizeof(of_bytes), "%s %" PRId64 " of %" PRId64 " KiB",
                 objects ? "," : "", json_int(q, "bytes", 0) >> 10, bytes >> 10);
    problem(p, "Namespace %s is at its quota:%s%s: what makes it larger is refused.", ns,
            of_objects, of_bytes);
}

static void namespace_problems(struct problems *p, const json_t *status)
{
    const char *ns;
    json_t *q;
    json_object_foreach (json_object_get(status, "namespaceQuotas"), ns, q)
        if (json_bool(q, "full", false))
            quota_problem(p, ns, q);
}

static void store_problems(struct problems *p, const json_t *status)
{
    namespace_problems(p, status);
    int64_t used = json_int(status, "quota.objectBytes", 0),
            quota = json_int(status, "quota.quotaBytes", 0);
    if (json_bool(status, "quota.reached", false))
        problem(p,
                "NOSPACE: the objects take %" PRId64 " MiB, the quota is %" PRId64
                " MiB: only deletions are taken.",
                used >> 20, quota >> 20);
    else if (quota > 0 && used > quota / 10 * 9)
        problem(p, "The objects take %" PRId64 " MiB of a quota of %" PRId64 " MiB.", used >> 20,
                quota >> 20);
}

static const char *tint(const struct cli *c, bool good)
{
    return !c->colour ? "" : good ? "\033[32m" : "\033[31m";
}

static void status_head(struct cli *c, const json_t *s)
{
    const char *plain = c->colour ? "\033[0m" : "";
    bool quorum = json_bool(s, "quorum", false);
    struct slice leader = json_str(s, "leader");
    int64_t live = json_int(s, "proxies.live", 0), total = json_int(s, "proxies.total", 0);
    fprintf(c->out,
            "Quorum:     %s%s%s, leader %.*s, term %" PRId64 ", %" PRId64 " leader changes\n",
            tint(c, quorum), quorum ? "yes" : "no", plain, SLICE(leader.n ? leader : S("<none>")),
            json_int(s, "term", 0), json_int(s, "leaderChanges", 0));
    fprintf(c->out, "Revision:   @%" PRId64 "\n", json_int(s, "revision", 0));
    fprintf(c->out,
            "Proxies:    %s%" PRId64 "/%" PRId64 " live%s @%" PRId64 ", %" PRId64 " rejected\n",
            tint(c, live == total), live, total, plain, json_int(s, "revision", 0),
            json_int(s, "proxies.rejected", 0));
    fprintf(c->out, "Store:      %" PRId64 " KiB of %" PRId64 " MiB, log %" PRId64 " KiB\n",
            (json_int(s, "store.usedBytes", 0) + 1023) >> 10,
            json_int(s, "store.mapBytes", 0) >> 20, (json_int(s, "log.bytes", 0) + 1023) >> 10);
    mesh_print_version(c->out, s, json_object_get(s, "members"));
    fprintf(c->out, "Asked:      %.*s, version %.*s\n\n", SLICE(json_str(s, "node.name")),
            SLICE(json_str(s, "version")));
}

static void status_screen(struct cli *c, const json_t *s)
{
    struct table t = {0};
    struct table_style style = cli_table_style(c);
    struct problems p = {.c = c};
    status_head(c, s);
    mesh_members_table(&t, json_object_get(s, "members"));
    table_print(&t, c->out, &style);
    table_fini(&t);
    member_problems(&p, s);
    proxy_problems(&p, s);
    store_problems(&p, s);
    if (p.n == 0)
        fputs("\nNo problems.\n", c->out);
}

/* The leader's view, where one of the addresses leads to it; else that of the node that answers. */
static json_t *status_fetch(struct cli *c, struct err *err)
{
    json_t *first = cli_fetch(c, S("/weft/v1/status"), err), *s = json_incref(first);
    struct err ignored = {0};
    size_t others = first ? client_address_count(c->client) - 1 : 0;
    for (size_t i = 0; i < others && !slice_eq(json_str(s, "node.role"), S("leader")); i++) {
        client_next_address(c->client);
        json_t *other = cli_fetch(c, S("/weft/v1/status"), &ignored);
        if (other) {
            json_decref(s);
            s = other;
        }
    }
    if (s && !slice_eq(json_str(s, "node.role"), S("leader"))) {
        json_decref(s);
        return first;
    }
    json_decref(first);
    return s;
}

int cmd_status(struct cli *c)
{
    struct err err = {0};
    json_t *s = status_fetch(c, &err);
    int code = CLI_OK;
    if (!s)
        return cli_fail(c, &err);
    if (cli_output(c) == OUTPUT_TABLE)
        status_screen(c, s);
    else
        code = cli_print_data(c, s);
    if (code == CLI_OK && !json_bool(s, "quorum", false))
        code = CLI_UNREACHABLE;
    json_decref(s);
    return code;
}

int cmd_version(struct cli *c)
{
    struct err err = {0};
    bool client_only = flags_on(&c->flags, FLAG_CLIENT), data = cli_output(c) != OUTPUT_TABLE;
    json_t *s = client_only ? NULL : cli_fetch(c, S("/weft/v1/status"), &err);
    int code = CLI_OK;
    if (data) {
        json_t *v = json_pack("{s:s}", "client", WEFT_VERSION);
        if (s)
            json_object_set_new(v, "server", json_string_of(json_str(s, "version")));
        code = cli_print_data(c, v);
        json_decref(v);
    } else {
        fputs("client " WEFT_VERSION "\n", c->out);
        if (s)
            fprintf(c->out, "server %.*s (%.*s)\n", SLICE(json_str(s, "version")),
                    SLICE(json_str(s, "node.name")));
    }
    json_decref(s);
    return err.code ? cli_fail(c, &err) : code;
}
