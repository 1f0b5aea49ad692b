#include "weftd/join.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/core/log.h"
#include "base/env/env_uv.h"
#include "base/net/http_client.h"
#include "base/wire/json.h"
#include "registry/raft/peer_tls.h"
#include "weftd/enroll.h"

#define PATIENCE_DEFAULT_MS 60000
#define ASK_TIMEOUT_MS 15000 /* longer than the API's 10 s */
#define PAUSE_MS 300         /* between two rounds */
#define PATH_BYTES 4096
#define FILE_BYTES_MAX 65536

bool join_contacts_parse(struct slice text, struct join_options *o, struct err *err)
{
    static const struct slice scheme = S_INIT("http://");
    struct slice one;
    while (text.n) {
        slice_cut(text, ',', &one, &text);
        one = slice_trim(one);
        one = slice_starts(one, scheme) ? slice_skip(one, scheme.n) : one;
        if (o->contact_count == JOIN_CONTACTS_MAX)
            return err_set(err, ERR_LIMIT, "at most %d addresses", JOIN_CONTACTS_MAX);
        if (!env_addr_parse(&o->contacts[o->contact_count], one, err))
            return false;
        o->contact_count++;
    }
    return true;
}

/* Asking. */

struct ask {
    bool over;
    int status; /* 0: nobody answered */
    json_t *body;
    struct err err;
};

static void on_answer(void *ctx, const struct http_response *r)
{
    struct ask *a = ctx;
    a->over = true;
    a->status = r->status;
    a->body = json_parse(r->body, &a->err);
}

static void on_fail(void *ctx, const struct err *err)
{
    struct ask *a = ctx;
    a->over = true;
    a->err = *err;
}

static struct ask ask_once(struct env *env, const struct env_addr *at, struct slice body)
{
    struct ask a = {0};
    char host[ENV_ADDR_TEXT];
    struct http_client *http = http_client_new(env, &(struct http_client_options){0});
    http_call_start(http, &(struct http_call_options){.method = S("POST"),
                                                      .addrs = at,
                                                      .addr_n = 1,
                                                      .authority = env_addr_format(at, host),
                                                      .path = S("/weft/v1/members"),
                                                      .content_type = S("application/json"),
                                                      .body = body,
                                                      .timeout = ASK_TIMEOUT_MS,
                                                      .on_done = on_answer,
                                                      .on_fail = on_fail,
                                                      .ctx = &a});
    while (!a.over)
        env_uv_turn(env, 1000);
    http_client_free(http);
    return a;
}

static void add_self(struct member_file *f)
{
    for (size_t i = 0; i < f->member_count; i++)
        if (f->members[i].id == f->self.id)
            return;
    if (f->member_count < REG_NODES_MAX)
        f->members[f->member_count++] = f->self;
}

/* Whoever answers may not have heard yet that we are a member. */
static bool take_answer(const json_t *body, struct versions reads, struct member_file *f,
                        struct err *err)
{
    size_t i;
    json_t *m;
    struct member_file got = {.state = MEMBER_ADDED, .self = f->self};
    if ((uint64_t)json_int(body, "id", 0) != f->self.id ||
        !identity_cluster_parse(json_str(body, "cluster"), &got.cluster))
        return err_set(err, ERR_INVALID, "its answer does not say which cluster this is");
    if (!version_fits(versions_or_all(reads), (unsigned)json_int(body, "clusterVersion", 0),
                      S("this program"), err))
        return false;
    json_array_foreach (json_object_get(body, "members"), i, m)
        if (got.member_count == REG_NODES_MAX ||
            !member_parse(m, &got.members[got.member_count++], err))
            return err->code ? false : err_set(err, ERR_INVALID, "too many members");
    add_self(&got);
    *f = got;
    return true;
}

static bool is_final(int status)
{
    return status >= 400 && status < 500 && status != 429;
}

static struct buf request_of(const struct reg_member *self, struct versions reads)
{
    char addr[ENV_ADDR_TEXT];
    struct buf out = {0};
    env_addr_format(&self->addr, addr);
    json_t *o = json_pack("{s:s,s:s,s:I,s:{s:i,s:i}}", "name", self->name, "address", addr, "id",
                          (json_int_t)self->id, "reads", "oldest", (int)reads.oldest, "newest",
                          (int)reads.newest);
    json_write(&out, o, NULL);
    json_decref(o);
    return out;
}

/* An answer that nothing changes, or one that somebody else may give better. */
enum verdict { VERDICT_YES, VERDICT_AGAIN, VERDICT_ELSEWHERE, VERDICT_NO };

static enum verdict ask_api(struct env *env, const struct join_options *o,
                            const struct env_addr *at, struct member_file *f, struct err *err)
{
    struct versions reads = versions_or_all(o->reads);
    struct buf request = request_of(&f->self, reads);
    struct ask a = ask_once(env, at, buf_slice(&request));
    struct slice message = json_str(a.body, "message");
    bool ok = a.status == 201 && take_answer(a.body, reads, f, &a.err);
    if (!ok && a.status && a.status != 201)
        err_set(&a.err, ERR_CONFLICT, "%.*s (%d)", SLICE(message), a.status);
    *err = a.err;
    json_decref(a.body);
    buf_fini(&request);
    if (ok)
        return VERDICT_YES;
    return is_final(a.status) || err->code == ERR_UNSUPPORTED ? VERDICT_NO : VERDICT_AGAIN;
}

static bool take_enrolled(struct env *env, const struct join_options *o,
                          const struct enroll_got *got, struct member_file *f, struct err *err)
{
    struct member_file n = {.state = MEMBER_ADDED, .self = f->self, .cluster = o->token->cluster};
    if (!version_fits(versions_or_all(o->reads), got->version, S("this program"), err) ||
        !enroll_keep(env, o->tls_dir, got, err))
        return false;
    n.self.id = got->id;
    for (size_t i = 0; i < got->member_count && i < REG_NODES_MAX; i++) {
        struct reg_member *m = &n.members[n.member_count++];
        *m = (struct reg_member){.id = got->members[i].id, .addr = got->members[i].addr};
        memcpy(m->name, got->members[i].name, sizeof(m->name));
    }
    add_self(&n);
    *f = n;
    return true;
}

static enum verdict ask_peer(struct env *env, const struct join_options *o,
                             const struct env_addr *at, struct member_file *f, struct err *err)
{
    struct enroll_options e = {.token = *o->token,
                               .tls_dir = o->tls_dir,
                               .self.addr = f->self.addr,
                               .reads = versions_or_all(o->reads)};
    struct enroll_got got = {0};
    static_assert(sizeof(e.self.name) == sizeof(f->self.name), "a name is a name");
    memcpy(e.self.name, f->self.name, sizeof(e.self.name));
    switch (enroll_ask_at(env, &e, at, &got, err)) {
    case ENROLL_OK:
        break;
    case ENROLL_AGAIN:
        return VERDICT_AGAIN;
    case ENROLL_ELSEWHERE:
        return VERDICT_ELSEWHERE;
    case ENROLL_REFUSED:
        return VERDICT_NO;
    }
    bool ok = take_enrolled(env, o, &got, f, err);
    enroll_got_fini(&got);
    return ok ? VERDICT_YES : VERDICT_NO;
}

static enum verdict ask_contact(struct env *env, const struct join_options *o,
                                const struct env_addr *at, struct member_file *f, struct err *err)
{
    char text[ENV_ADDR_TEXT];
    struct err why = {0};
    enum verdict v = (o->token ? ask_peer : ask_api)(env, o, at, f, &why);
    if (v != VERDICT_YES)
        err_set(err, why.code, "%.*s: %s", SLICE(env_addr_format(at, text)), why.msg);
    return v;
}

static void on_pause(struct env_timer *t)
{
    (void)t;
}

static void pause_a_little(struct env *env)
{
    struct env_timer t = {.fn = on_pause};
    env_timer_start(env, &t, PAUSE_MS);
    while (t.armed)
        env_uv_turn(env, PAUSE_MS);
}

/* In turn, until one says yes or no, or none of them can ever say yes. */
static bool ask_all(struct env *env, const struct join_options *o, struct member_file *f,
                    struct err *err)
{
    wf_ms end = env_now(env) + (o->patience ? o->patience : PATIENCE_DEFAULT_MS);
    enum verdict v = VERDICT_AGAIN;
    size_t strangers = 0; /* in this round */
    for (size_t i = 0; v != VERDICT_YES && v != VERDICT_NO; i++) {
        if (i > 0 && i % o->contact_count == 0) {
            if (env_now(env) >= end || strangers == o->contact_count)
                break;
            strangers = 0;
            pause_a_little(env);
        }
        v = ask_contact(env, o, &o->contacts[i % o->contact_count], f, err);
        strangers += v == VERDICT_ELSEWHERE;
        if (v != VERDICT_YES && i < o->contact_count)
            LOG_WARN("weftd.join.not_yet", F_ERR(err));
    }
    return v == VERDICT_YES;
}

/* The directory. */

static bool has_data(struct env *env, const char *dir)
{
    char path[PATH_BYTES];
    struct buf any = {0};
    snprintf(path, sizeof(path), "%s/meta", dir);
    bool there = env_file_load(env, path, 1 << 16, &any, NULL);
    buf_fini(&any);
    return there;
}

static bool is_ours(const struct join_options *o, const struct member_file *f, struct err *err)
{
    char addr[ENV_ADDR_TEXT];
    env_addr_format(&f->self.addr, addr);
    if (strcmp(f->self.name, o->name) != 0)
        return err_set(err, ERR_CONFLICT, "%s is of node %s, this is %s (--name)", o->dir,
                       f->self.name, o->name);
    if (o->id && o->id != f->self.id)
        return err_set(err, ERR_CONFLICT, "%s is of member %" PRIu64 ", not %" PRIu64 " (--id)",
                       o->dir, f->self.id, o->id);
    if (o->peer.len && !env_addr_equal(&o->peer, &f->self.addr))
        return err_set(err, ERR_CONFLICT,
                       "%s was added at %s: at another address (--peer) it is another member, with "
                       "an empty directory",
                       o->name, addr);
    return true;
}

/* A certificate is of one id; without, nobody had it before. With a token a member draws it. */
static bool draw_id(struct env *env, const struct join_options *o, uint64_t *ret, struct err *err)
{
    *ret = o->token ? 0 : o->id ? o->id : reg_member_new_id(env);
    if (o->token || o->id || !o->tls_dir)
        return true;
    struct peer_tls *tls = peer_tls_open(env, o->tls_dir, err);
    if (tls)
        *ret = peer_tls_self(tls)->node;
    peer_tls_close(tls);
    return tls != NULL;
}

static bool read_added(struct env *env, const struct join_options *o, struct member_file *f,
                       struct err *err)
{
    struct buf text = {0};
    json_t *body = NULL;
    bool ok = env_file_load(env, o->file, FILE_BYTES_MAX, &text, err) &&
              (body = json_parse(buf_slice(&text), err)) != NULL &&
              member_parse(body, &f->self, err) && take_answer(body, o->reads, f, err);
    json_decref(body);
    buf_fini(&text);
    return ok || err_wrap(err, "%s", o->file);
}

static bool draw(struct env *env, const struct join_options *o, struct member_file *ret,
                 struct err *err)
{
    struct member_file f = {.state = MEMBER_ASKING};
    if (has_data(env, o->dir))
        return err_set(err, ERR_CONFLICT,
                       "%s is of a node that did not join: start it as it was (--cluster), or "
                       "join with an empty directory",
                       o->dir);
    f.self.addr = o->peer;
    snprintf(f.self.name, sizeof(f.self.name), "%s", o->name);
    if (!(o->file ? read_added(env, o, &f, err) && is_ours(o, &f, err)
                  : draw_id(env, o, &f.self.id, err)))
        return false;
    if (o->token ? !env_dir_make(env, o->dir, err) : !member_file_store(env, o->dir, &f, err))
        return false;
    *ret = f;
    return true;
}

bool join_known(struct env *env, const char *dir)
{
    struct member_file f;
    struct err err = {0};
    return member_file_load(env, dir, &f, &err) || err.code != ERR_NOT_FOUND;
}

static bool ask(struct env *env, const struct join_options *o, struct member_file *f,
                struct err *err)
{
    if (f->state != MEMBER_ASKING)
        return true;
    if (!o->contact_count)
        return err_set(err, ERR_INVALID, "%s is not a member yet: --join says whom to ask",
                       o->name);
    if (!ask_all(env, o, f, err) || !member_file_store(env, o->dir, f, err))
        return false;
    LOG_INFO("weftd.join.added", F_CSTR("name", f->self.name), F_U64("id", f->self.id));
    return true;
}

bool join_cluster(struct env *env, const struct join_options *o, struct reg_node_options *ret,
                  struct err *err)
{
    struct member_file f;
    struct err why = {0};
    if (!member_file_load(env, o->dir, &f, &why)) {
        if (why.code != ERR_NOT_FOUND)
            return err_set(err, why.code, "%s", why.msg);
        if (!draw(env, o, &f, err))
            return false;
    }
    if (!is_ours(o, &f, err) || !ask(env, o, &f, err))
        return false;
    if (f.state == MEMBER_BEGAN && !has_data(env, o->dir))
        return err_set(err, ERR_CORRUPT,
                       "%s: the log of member %s is gone, it must not come back without: remove "
                       "it, and join anew with an empty directory",
                       o->dir, f.self.name);
    ret->id = f.self.id;
    ret->newcomer = true;
    ret->cluster = f.cluster;
    ret->member_count = f.member_count;
    memcpy(ret->members, f.members, sizeof(f.members));
    return true;
}
