#include "weftd/enroll.h"

#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/env/env_uv.h"
#include "base/net/tls.h"
#include "registry/raft/conn.h"

#define TIMEOUT_DEFAULT_MS 25000
#define CONNECT_TIMEOUT_MS 3000
#define PATH_BYTES 4096

void enroll_got_fini(struct enroll_got *g)
{
    buf_fini(&g->cert);
    buf_fini(&g->ca);
    *g = (struct enroll_got){0};
}

/* Files. */

static bool path_of(char dst[PATH_BYTES], const char *dir, const char *name, struct err *err)
{
    int n = snprintf(dst, PATH_BYTES, "%s/%s", dir, name);
    return (n > 0 && n < PATH_BYTES) || err_set(err, ERR_INVALID, "%s: the path is too long", dir);
}

/* The one that is there, or a new one: an answer that was lost is asked for with the same key. */
static bool key_get(struct env *env, const char *dir, struct buf *ret, struct err *err)
{
    char path[PATH_BYTES];
    struct err why = {0};
    if (!path_of(path, dir, "node.key", err))
        return false;
    buf_reserve(ret, X509_PEM_BYTES_MAX + 1); /* is not left behind in memory by growing */
    if (env_file_load(env, path, X509_PEM_BYTES_MAX, ret, &why))
        return true;
    if (why.code != ERR_NOT_FOUND)
        return err_set(err, why.code, "%s", why.msg);
    return env_dir_make(env, dir, err) && x509_key_new(ret, err) &&
           env_file_store(env, path, buf_slice(ret), err);
}

bool enroll_keep(struct env *env, const char *tls_dir, const struct enroll_got *g, struct err *err)
{
    char ca[PATH_BYTES], cert[PATH_BYTES];
    return path_of(ca, tls_dir, "ca.crt", err) && path_of(cert, tls_dir, "node.crt", err) &&
           env_file_store(env, ca, buf_slice(&g->ca), err) &&
           env_file_store(env, cert, buf_slice(&g->cert), err);
}

/* One question. */

struct call {
    struct env *env;
    const struct enroll_options *o;
    struct env_stream *stream; /* until the handshake is over; then it is conn's */
    struct conn conn;
    struct env_timer timer;
    struct buf ask;
    struct enroll_got got;
    bool sent, over;
    enum enroll_result result;
    struct err err;
};

static void over(struct call *c, enum enroll_result result)
{
    c->over = true;
    c->result = result;
}

static bool is_of_cluster(void *arg, struct slice uri, struct err *err)
{
    const struct call *c = arg;
    struct identity who;
    if (!identity_parse(uri, &who, err))
        return false;
    return who.cluster == c->o->token.cluster ||
           err_set(err, ERR_UNAUTHENTICATED, "it is of cluster %016llx, the token of %016llx",
                   (unsigned long long)who.cluster, (unsigned long long)c->o->token.cluster);
}

static bool wants_later(enum err_code code)
{
    return code == ERR_LIMIT || code == ERR_UNAVAILABLE || code == ERR_TIMEOUT;
}

static void take_answer(struct call *c, const struct enroll_answer *a)
{
    c->got.id = a->id;
    c->got.version = a->version;
    c->got.member_count = a->member_count;
    for (size_t i = 0; i < a->member_count; i++)
        c->got.members[i] = a->members[i];
    buf_append(&c->got.cert, a->cert);
    buf_append(&c->got.ca, a->ca);
    over(c, ENROLL_OK);
}

static void on_frame(void *ctx, const struct frame *f)
{
    struct call *c = ctx;
    struct enroll_answer a;
    struct err why = {0};
    if (f->type == FRAME_REFUSE) {
        err_set(&c->err, ERR_CONFLICT, "%.*s", SLICE(f->payload));
        over(c, ENROLL_ELSEWHERE);
    } else if (f->type != FRAME_ENROLLED || !enroll_answer_decode(f->payload, &a, &why, &c->err)) {
        if (!c->err.code)
            err_set(&c->err, ERR_INVALID, "it answers with another frame (%d)", (int)f->type);
        over(c, ENROLL_ELSEWHERE);
    } else if (why.code) {
        c->err = why;
        over(c, wants_later(why.code) ? ENROLL_AGAIN : ENROLL_REFUSED);
    } else {
        take_answer(c, &a);
    }
    conn_close(&c->conn);
}

/* A member that signs nothing wants a certificate, and says so after its end of the handshake. */
static void on_close(void *ctx, const struct err *why)
{
    struct call *c = ctx;
    bool strange = why->code == ERR_UNAUTHENTICATED || why->code == ERR_INVALID;
    c->stream = NULL;
    c->err = *why;
    if (why->code == ERR_UNAUTHENTICATED)
        err_wrap(&c->err, c->sent ? "it takes no join tokens (a member with --ca-dir does)"
                                  : "the token is not of its cluster");
    over(c, strange ? ENROLL_ELSEWHERE : ENROLL_AGAIN);
}

static const struct conn_events conn_events = {.on_frame = on_frame, .on_close = on_close};

static void on_connect(void *ctx)
{
    struct call *c = ctx;
    struct env_stream *s = c->stream;
    c->stream = NULL;
    c->sent = true;
    conn_adopt(&c->conn, c->env, s,
               &(struct conn_options){.self = ENROLL_NOBODY,
                                      .cluster = c->o->token.cluster,
                                      .payload_max = ENROLL_ANSWER_BYTES_MAX},
               &conn_events, c);
    conn_send(&c->conn, FRAME_ENROLL, 0, &(struct iovec){c->ask.p, c->ask.n}, 1);
}

/* Of TLS, before the handshake is over: on_data does not come. */
static const struct env_stream_events stream_events = {.on_connect = on_connect,
                                                       .on_close = on_close};

static void on_timer(struct env_timer *t)
{
    struct call *c = container_of(t, struct call, timer);
    err_set(&c->err, ERR_TIMEOUT, "no answer in time");
    over(c, ENROLL_AGAIN);
}

static void run(struct call *c, const struct env_addr *at, struct tls_ctx *ctx)
{
    c->timer.fn = on_timer;
    env_timer_start(c->env, &c->timer, c->o->timeout ? c->o->timeout : TIMEOUT_DEFAULT_MS);
    c->stream = tls_connect(
        c->env, at, &(struct env_stream_options){.connect_timeout = CONNECT_TIMEOUT_MS},
        &(struct tls_options){.ctx = ctx, .name = S("a member"), .verify = is_of_cluster, .arg = c},
        &stream_events, c);
    while (!c->over)
        env_uv_turn(c->env, 1000);
    env_timer_stop(c->env, &c->timer);
    if (c->stream) {
        env_stream_set_events(c->stream, NULL, NULL);
        env_stream_close(c->stream);
    }
    conn_close(&c->conn);
}

/* What came is of the CA that the token names, for the id that it says, and for our key. */
static bool answer_fits(const struct call *c, struct slice key, struct err *err)
{
    struct x509_info info;
    struct identity who;
    if (!join_token_fits_ca(&c->o->token, buf_slice(&c->got.ca), err) ||
        !x509_read(buf_slice(&c->got.cert), &info, err) ||
        !identity_parse(slice_of(info.uri), &who, err))
        return false;
    if (who.cluster != c->o->token.cluster || who.node != c->got.id)
        return err_set(err, ERR_INVALID, "the certificate is of %s, the answer of node %llu",
                       info.uri, (unsigned long long)c->got.id);
    struct tls_ctx *ctx = tls_ctx_new(&(struct tls_ctx_options){.cert = buf_slice(&c->got.cert),
                                                                .key = key,
                                                                .ca = buf_slice(&c->got.ca)},
                                      err);
    tls_ctx_unref(ctx);
    return ctx != NULL;
}

static bool ask_make(struct call *c, struct slice key, struct err *err)
{
    struct buf csr = {0};
    if (!x509_csr_new(key, slice_of(c->o->self.name), &csr, err))
        return false;
    struct enroll_ask ask = {.reads = c->o->reads, .member = c->o->self, .csr = buf_slice(&csr)};
    static_assert(sizeof(ask.secret) == sizeof(c->o->token.secret), "it is the token's");
    memcpy(ask.secret, c->o->token.secret, sizeof(ask.secret));
    enroll_ask_encode(&c->ask, &ask);
    buf_fini(&csr);
    return true;
}

enum enroll_result enroll_ask_at(struct env *env, const struct enroll_options *o,
                                 const struct env_addr *at, struct enroll_got *ret, struct err *err)
{
    struct call c = {.env = env, .o = o, .result = ENROLL_REFUSED};
    struct buf key = {0};
    struct tls_ctx *ctx = tls_ctx_new(&(struct tls_ctx_options){.pin = o->token.ca_sha256}, &c.err);
    if (ctx && key_get(env, o->tls_dir, &key, &c.err) && ask_make(&c, buf_slice(&key), &c.err))
        run(&c, at, ctx);
    if (c.result == ENROLL_OK && !answer_fits(&c, buf_slice(&key), &c.err))
        c.result = ENROLL_ELSEWHERE;
    tls_ctx_unref(ctx);
    x509_wipe(&key);
    x509_wipe(&c.ask); /* holds the secret */
    if (c.result == ENROLL_OK) {
        *ret = c.got;
        return ENROLL_OK;
    }
    enroll_got_fini(&c.got);
    *err = c.err;
    return c.result;
}
