/* operator raft: who belongs to the control plane, and who leads it. A change is sent by id and may
 * be sent again: a name is looked up once, so that it cannot mean somebody else the second time. */
#include <inttypes.h>
#include <string.h>

#include "base/wire/json.h"
#include "cli/mesh.h"

#define CHANGE_DEFAULT_MS 30000
#define CHANGE_ROUND_MS 5000  /* of one request: then the next node is asked */
#define CHANGE_ANSWER_MS 5000 /* for the answer to come after that */
#define ID_FIRST (1u << 20)   /* registry/node.h: above those of a first cluster */
#define ID_END (UINT64_C(1) << 48)

struct raft_change {
    struct slice method;
    struct slice path; /* without query */
    json_t *body;      /* may be NULL */
};

static bool change_once(struct cli *c, const struct raft_change *x, wf_ms timeout,
                        json_t **ret_answer, struct err *err)
{
    struct client *cl = cli_client(c, err);
    struct client_answer a = {0};
    struct client_request q = {
        .method = x->method,
        .path = arena_printf(&c->arena, "%.*s?timeout=%" PRId64 "ms", SLICE(x->path), timeout),
        .body = x->body,
        .repeatable = true,
        .timeout = timeout + CHANGE_ANSWER_MS,
    };
    if (!cl || !client_call(cl, &q, &a, err))
        return false;
    *ret_answer = a.body;
    return true;
}

/* Until it is so, is refused, or the time is over. */
static bool change_send(struct cli *c, const struct raft_change *x, json_t **ret_answer,
                        struct err *err)
{
    struct env *env = c->world->env;
    wf_ms end = env_now(env) + (c->timeout ? c->timeout : CHANGE_DEFAULT_MS);
    for (;;) {
        wf_ms left = end - env_now(env);
        wf_ms round = left < CHANGE_ROUND_MS ? left : CHANGE_ROUND_MS;
        if (change_once(c, x, round > 1 ? round : 1, ret_answer, err))
            return true;
        if (err->code != ERR_TIMEOUT || env_now(env) >= end)
            return false;
        client_next_address(c->client);
    }
}

/* sentence: printed unless -o asks for the answer. */
static int change_run(struct cli *c, const struct raft_change *x, struct slice sentence)
{
    struct err err = {0};
    json_t *answer = NULL;
    int code = CLI_OK;
    if (!change_send(c, x, &answer, &err))
        return cli_fail(c, &err);
    if (cli_output(c) == OUTPUT_TABLE) {
        cli_print_text(c->out, sentence);
        fputc('\n', c->out);
    } else {
        code = cli_print_data(c, answer);
    }
    json_decref(answer);
    return code;
}

static struct slice member_path(struct cli *c, const json_t *member, const char *verb)
{
    return arena_printf(&c->arena, "/weft/v1/members/%" PRId64 "%s", json_int(member, "id", 0),
                        verb);
}

/* A node that is cut off, or was removed itself, may not know of a member: the others are asked. */
static json_t *find_member(struct cli *c, struct slice name, struct err *err)
{
    struct client *cl = cli_client(c, err);
    size_t n = cl ? client_address_count(cl) : 0;
    json_t *m = NULL;
    for (size_t i = 0; i < n && !m; i++) {
        m = mesh_fetch(c, false, name, err);
        if (!m && err->code != ERR_NOT_FOUND)
            break;
        if (!m)
            client_next_address(cl);
    }
    return m;
}

/* The member that the command names. */
static int change_named(struct cli *c, struct slice method, const char *verb, const char *done)
{
    struct err err = {0};
    json_t *m = find_member(c, c->flags.words[0], &err);
    if (!m)
        return cli_fail(c, &err);
    struct raft_change x = {.method = method, .path = member_path(c, m, verb)};
    int code =
        change_run(c, &x, arena_printf(&c->arena, "%.*s %s", SLICE(json_str(m, "name")), done));
    json_decref(m);
    return code;
}

int cmd_raft_promote(struct cli *c)
{
    return change_named(c, S("POST"), "/promote", "has a vote");
}

int cmd_raft_remove(struct cli *c)
{
    return change_named(c, S("DELETE"), "", "removed");
}

int cmd_raft_lead(struct cli *c)
{
    return change_named(c, S("POST"), "/lead", "leads");
}

static bool new_id(struct cli *c, uint64_t *ret, struct err *err)
{
    struct slice text = flags_text(&c->flags, FLAG_MEMBER_ID, S(""));
    env_random(c->world->env, ret, sizeof(*ret));
    *ret = ID_FIRST + *ret % (ID_END - ID_FIRST);
    if (text.n && (!slice_u64(text, ret) || *ret == 0 || *ret >= ID_END))
        return err_set(err, ERR_INVALID, "--id %.*s: a number below 2^48 is wanted", SLICE(text));
    return true;
}

int cmd_raft_add(struct cli *c)
{
    struct err err = {0};
    struct slice name, addr;
    uint64_t id;
    if (!slice_cut(c->flags.words[0], '=', &name, &addr)) {
        err_set(&err, ERR_INVALID, "\"%.*s\": NAME=ADDR is wanted, n4=10.0.0.4:7444",
                SLICE(c->flags.words[0]));
        return cli_usage(c, &err);
    }
    if (!new_id(c, &id, &err))
        return cli_usage(c, &err);
    json_t *body = json_pack("{s:o,s:o,s:I}", "name", json_string_of(name), "address",
                             json_string_of(addr), "id", (json_int_t)id);
    if (!body) {
        err_set(&err, ERR_INVALID, "the name is no text");
        return cli_usage(c, &err);
    }
    struct raft_change x = {.method = S("POST"), .path = S("/weft/v1/members"), .body = body};
    int code = change_run(
        c, &x, arena_printf(&c->arena, "%.*s added as a standby, id %" PRIu64, SLICE(name), id));
    json_decref(body);
    return code;
}

/* Who has most of the log, of those who may lead and do not; NULL: nobody. */
static const json_t *next_leader(const json_t *members)
{
    size_t i;
    json_t *m;
    const json_t *best = NULL;
    json_array_foreach (json_object_get(members, "items"), i, m) {
        if (json_bool(m, "leader", false) || !json_bool(m, "connected", false) ||
            !slice_eq(json_str(m, "role"), S("voter")))
            continue;
        if (!best || json_int(m, "matchIndex", 0) > json_int(best, "matchIndex", 0))
            best = m;
    }
    return best;
}

int cmd_raft_transfer(struct cli *c)
{
    struct err err = {0};
    if (c->flags.word_count)
        return cmd_raft_lead(c);
    json_t *members = mesh_fetch(c, false, (struct slice){0}, &err);
    if (!members)
        return cli_fail(c, &err);
    const json_t *next = next_leader(members);
    if (!next) {
        json_decref(members);
        err_set(&err, ERR_CONFLICT, "no other voter is connected: nobody could lead");
        return cli_fail(c, &err);
    }
    struct raft_change x = {.method = S("POST"), .path = member_path(c, next, "/lead")};
    int code =
        change_run(c, &x, arena_printf(&c->arena, "%.*s leads", SLICE(json_str(next, "name"))));
    json_decref(members);
    return code;
}
