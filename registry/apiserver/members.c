/* /weft/v1/members: the nodes of the control plane, and changes of who they are.
 *
 *   GET    members                    {"items":[{"id":…,"name":"n1","role":"voter",…}],
 *                                      "clusterVersion":4}
 *   POST   members                    {"name":"n4","address":"10.0.0.4:7444","id":…,
 *                                      "reads":{"oldest":3,"newest":4}}
 *                                     -> 201 {"id":…,"cluster":"00c0ffee…","members":[…],
 *                                             "clusterVersion":4}
 *   POST   members/WHO/promote        a standby gets a vote
 *   POST   members/WHO/lead           leadership goes to it
 *   DELETE members/WHO
 *
 * reads: the versions that the node's program reads (raft/version.h); who does not read the
 * cluster's is not added. WHO is a name or an id; `timeout` says how long to wait (10s). To ask
 * twice is fine: whoever adds itself draws an id first and sends it each time.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/apiserver/internal.h"

#define BODY_BYTES_MAX 4096

/* What there is. */

static const char *state_name(const struct reg_status *st, const struct reg_member_status *m)
{
    return m->self                         ? api_role_name(st->role)
           : m->member.id == st->leader_id ? "leader"
           : m->connected                  ? "follower"
                                           : "unknown";
}

static const char *role_name(enum reg_member_role role)
{
    static const char *const names[] = {"standby", "voter", "spare"};
    return (size_t)role < ARRAY_LEN(names) ? names[role] : "unknown";
}

/* Entries that it does not have; -1: only the leader knows. */
static int64_t lag_of(const struct reg_status *st, const struct reg_member_status *m)
{
    if (!m->match_index || st->role != REG_LEADER)
        return -1;
    return m->match_index < st->last_index ? (int64_t)(st->last_index - m->match_index) : 0;
}

static json_t *member_json(const struct reg_status *st, const struct reg_member_status *m)
{
    char addr[ENV_ADDR_TEXT];
    struct slice at = env_addr_format(&m->member.addr, addr);
    int64_t lag = lag_of(st, m);
    json_t *o = json_pack("{s:I,s:s,s:s,s:s,s:b,s:b,s:b,s:I,s:I}", "id", (json_int_t)m->member.id,
                          "name", m->member.name, "role", role_name(m->role), "state",
                          state_name(st, m), "leader", m->member.id == st->leader_id, "self",
                          m->self, "connected", m->self || m->connected, "matchIndex",
                          (json_int_t)m->match_index, "lastContactMs", (json_int_t)m->last_contact);
    json_object_set_new(o, "address", json_string_of(at));
    if (m->no_room)
        json_object_set_new(o, "diskFull", json_true());
    if (lag >= 0)
        json_object_set_new(o, "lag", json_integer(lag));
    if (m->reads.newest)
        json_object_set_new(
            o, "reads",
            json_pack("{s:i,s:i}", "oldest", (int)m->reads.oldest, "newest", (int)m->reads.newest));
    if (m->release[0])
        json_object_set_new(o, "program", json_string(m->release));
    return o;
}

json_t *api_members_json(const struct reg_status *st)
{
    json_t *list = json_array();
    for (size_t i = 0; i < st->member_count; i++)
        json_array_append_new(list, member_json(st, &st->members[i]));
    return list;
}

static void members_list(struct apiserver *s, struct http_request *req)
{
    struct reg_status st;
    reg_node_status(s->opt.node, &st);
    json_t *body =
        json_pack("{s:o,s:i}", "items", api_members_json(&st), "clusterVersion", (int)st.version);
    api_respond_json(req, 200, body);
    json_decref(body);
}

/* A change under way. */

struct change {
    struct list_node node;
    struct apiserver *srv;    /* NULL: the server is gone */
    struct http_request *req; /* NULL: the client is gone */
    struct reg_member_change reg;
};

static void change_leave(struct change *x)
{
    if (!x->srv)
        return;
    list_remove(&x->node);
    x->srv->change_count--;
    x->srv = NULL;
}

void api_changes_leave(struct apiserver *s)
{
    LIST_EACH (&s->changes, n)
        change_leave(container_of(n, struct change, node));
}

static void change_gone(struct http_request *req)
{
    struct change *x = req->user;
    x->req = NULL;
}

/* This node may hear later than the one that asked that somebody was added. */
static json_t *added_json(struct apiserver *s, const struct reg_member *m)
{
    struct reg_status st;
    char addr[ENV_ADDR_TEXT], cluster[32];
    reg_node_status(s->opt.node, &st);
    snprintf(cluster, sizeof(cluster), "%016" PRIx64, reg_node_cluster(s->opt.node));
    json_t *o =
        json_pack("{s:I,s:s,s:s,s:o,s:i}", "id", (json_int_t)m->id, "name", m->name, "cluster",
                  cluster, "members", api_members_json(&st), "clusterVersion", (int)st.version);
    json_object_set_new(o, "address", json_string_of(env_addr_format(&m->addr, addr)));
    return o;
}

static json_t *changed_json(const struct reg_member_change *c)
{
    static const char *const results[] = {[REG_MEMBER_ADD] = "added",
                                          [REG_MEMBER_PROMOTE] = "promoted",
                                          [REG_MEMBER_REMOVE] = "removed",
                                          [REG_MEMBER_LEAD] = "leads"};
    json_t *o = json_pack("{s:I,s:s}", "id", (json_int_t)c->member.id, "result", results[c->kind]);
    if (c->member.name[0])
        json_object_set_new(o, "name", json_string(c->member.name));
    return o;
}

static void change_respond(struct change *x)
{
    struct reg_member_change *c = &x->reg;
    x->req->on_close = NULL;
    x->req->user = NULL;
    if (c->err.code) {
        if (c->member.name[0])
            err_wrap(&c->err, "member %s", c->member.name);
        else
            err_wrap(&c->err, "member %" PRIu64, c->member.id);
        api_respond_err(x->req, NULL, &c->err);
        return;
    }
    bool added = c->kind == REG_MEMBER_ADD;
    json_t *body = added ? added_json(x->srv, &c->member) : changed_json(c);
    api_respond_json(x->req, added ? 201 : 200, body);
    json_decref(body);
}

static void change_done(struct reg_member_change *c)
{
    struct change *x = container_of(c, struct change, reg);
    if (x->srv && x->req)
        change_respond(x);
    change_leave(x);
    mem_free(x);
}

static void change_begin(struct apiserver *s, struct http_request *req,
                         enum reg_member_change_kind kind, const struct reg_member *m,
                         wf_ms timeout)
{
    struct err err = {0};
    if (s->change_count >= API_CHANGES_MAX) {
        err_set(&err, ERR_LIMIT, "%d changes of members wait on this node: wait for one of them",
                API_CHANGES_MAX);
        api_respond_err(req, NULL, &err);
        return;
    }
    struct change *x = MEM_NEW(struct change);
    *x = (struct change){
        .srv = s,
        .req = req,
        .reg = {.kind = kind, .member = *m, .timeout = timeout, .env = s->env, .fn = change_done}};
    req->user = x;
    req->on_close = change_gone;
    list_push(&s->changes, &x->node);
    s->change_count++;
    reg_member_change(s->opt.node, &x->reg);
}

/* What is asked for. */

static bool name_sound(struct slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '_' || c == '.'))
            return false;
    }
    return name.n > 0 && name.n < sizeof(((struct reg_member *)0)->name);
}

static bool address_parse(const struct reg_status *st, struct slice text, struct env_addr *ret,
                          struct err *err)
{
    if (!env_addr_parse(ret, text, err))
        return err_wrap(err, "address");
    if (ret->sa.sa_family == AF_UNIX || env_addr_port(ret) == 0)
        return err_set(err, ERR_INVALID, "address %.*s: must be IP:PORT, where the others reach it",
                       SLICE(text));
    if (!st->peer_certificate_until && !env_addr_loopback(ret))
        return err_set(err, ERR_INVALID,
                       "address %.*s: this cluster began without TLS, its nodes speak on loopback "
                       "addresses only",
                       SLICE(text));
    return true;
}

/* Who does not say what it reads is not asked: an operator adds it for a program that will. */
static bool reads_fit(const struct reg_status *st, const json_t *body, struct slice name,
                      struct err *err)
{
    int64_t oldest = json_int(body, "reads.oldest", 0), newest = json_int(body, "reads.newest", 0);
    if (!json_object_get(body, "reads"))
        return true;
    if (oldest < 1 || newest < oldest || newest > UINT16_MAX)
        return err_set(err, ERR_INVALID, "reads: must be {\"oldest\":3,\"newest\":4}, or left out");
    struct err why = {0};
    return version_fits((struct versions){(unsigned)oldest, (unsigned)newest}, st->version, name,
                        &why) ||
           err_set(err, ERR_CONFLICT, "%s", why.msg);
}

static bool added_parse(struct apiserver *s, struct http_request *req, struct reg_member *ret,
                        struct err *err)
{
    struct reg_status st;
    struct reg_member m = {0};
    json_t *body = json_parse_capped(req->body, BODY_BYTES_MAX, 4, err);
    if (!body)
        return false;
    reg_node_status(s->opt.node, &st);
    struct slice name = json_str(body, "name");
    int64_t id = json_int(body, "id", 0);
    bool ok = name_sound(name) ||
              err_set(err, ERR_INVALID, "name: must be 1 to 63 letters, digits, -, _ or dots");
    ok = ok && (id >= 0 || err_set(err, ERR_INVALID, "id: must not be negative"));
    ok = ok && address_parse(&st, json_str(body, "address"), &m.addr, err) &&
         reads_fit(&st, body, name, err);
    if (ok) {
        slice_cstr(name, m.name, sizeof(m.name));
        m.id = id ? (uint64_t)id : reg_member_new_id(s->env);
        *ret = m;
    }
    json_decref(body);
    return ok;
}

/* By name, else by id; an id that this node has not heard of yet is for the leader to know. */
static bool member_find(struct apiserver *s, struct slice who, struct reg_member *ret,
                        struct err *err)
{
    struct reg_status st;
    uint64_t id = 0;
    reg_node_status(s->opt.node, &st);
    for (size_t i = 0; i < st.member_count; i++)
        if (slice_eq(slice_of(st.members[i].member.name), who)) {
            *ret = st.members[i].member;
            return true;
        }
    if (!slice_u64(who, &id) || !id)
        return err_set(err, ERR_NOT_FOUND, "no member \"%.*s\": weft members lists them",
                       SLICE(who));
    *ret = (struct reg_member){.id = id};
    for (size_t i = 0; i < st.member_count; i++)
        if (st.members[i].member.id == id)
            *ret = st.members[i].member;
    /* The address of the frame that carries it has to be one. */
    return ret->addr.len || env_addr_parse(&ret->addr, S("127.0.0.1:1"), err);
}

static bool timeout_parse(struct http_request *req, wf_ms *ret, struct err *err)
{
    struct slice text = S("");
    *ret = 0;
    if (!uri_query_get(req->query, S("timeout"), req->arena, &text))
        return true;
    if (!api_duration_parse(text, ret) || *ret == 0 || *ret > API_CHANGE_MS_MAX)
        return err_set(err, ERR_INVALID, "timeout=%.*s: write 10s or 500ms, at most 60s",
                       SLICE(text));
    return true;
}

static bool kind_parse(struct http_request *req, struct slice verb,
                       enum reg_member_change_kind *ret)
{
    bool post = req->method_id == HTTP_POST;
    if (post && slice_eq(verb, S("promote")))
        *ret = REG_MEMBER_PROMOTE;
    else if (post && slice_eq(verb, S("lead")))
        *ret = REG_MEMBER_LEAD;
    else if (req->method_id == HTTP_DELETE && !verb.n)
        *ret = REG_MEMBER_REMOVE;
    else
        return false;
    return true;
}

bool api_members(struct apiserver *s, struct http_request *req, struct slice path)
{
    enum reg_member_change_kind kind = REG_MEMBER_ADD;
    struct slice rest, who = {0}, verb = {0};
    struct reg_member m = {0};
    struct err err = {0};
    wf_ms timeout;
    slice_cut(slice_skip(path, sizeof("members") - 1), '/', &rest, &path);
    if (rest.n)
        return false;
    slice_cut(path, '/', &who, &verb);
    if (!uri_decode(who, req->arena, &who))
        return false;
    if (!who.n && req->method_id == HTTP_GET) {
        members_list(s, req);
        return true;
    }
    if (who.n ? !kind_parse(req, verb, &kind) : req->method_id != HTTP_POST)
        return false;
    bool ok = timeout_parse(req, &timeout, &err) &&
              (who.n ? member_find(s, who, &m, &err) : added_parse(s, req, &m, &err));
    if (ok)
        change_begin(s, req, kind, &m, timeout);
    else
        api_respond_err(req, NULL, &err);
    return true;
}
