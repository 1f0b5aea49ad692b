#include "registry/raft/peer_tls.h"

#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/core/log.h"
#include "base/wire/x509.h"
#include "registry/raft/raft_limits.h"

#define DAY_S ((int64_t)24 * 3600)
#define PATH_BYTES 4096

struct files {
    struct buf cert, key, ca;
};

struct peer_tls {
    struct env *env;
    char *dir;
    struct tls_ctx *ctx;
    struct identity self;
    int64_t until; /* our certificate's end */
    uint8_t ca_sha256[X509_SHA256_BYTES];
    uint64_t seen;      /* hash of the files as they were looked at last */
    int64_t warned_day; /* that the end is near: once a day */
    struct env_timer timer;
    /* Reading is a helper thread's: the env's own sends heartbeats, and a disk may be slow. */
    struct env_work work;
    struct files read;
    struct err read_err; /* ERR_NONE: read is there */
    bool reading, closed;
};

static void files_fini(struct files *f)
{
    x509_wipe(&f->key);
    buf_fini(&f->cert);
    buf_fini(&f->ca);
}

static bool file_read(struct peer_tls *t, const char *name, struct buf *ret, struct err *err)
{
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof(path), "%s/%s", t->dir, name);
    if (n < 0 || (size_t)n >= sizeof(path))
        return err_set(err, ERR_INVALID, "%s: the path is too long", t->dir);
    /* At once as large as it may get: a key is not left behind in memory by growing. */
    buf_reserve(ret, PEER_TLS_FILE_BYTES_MAX + 1);
    return env_file_load(t->env, path, PEER_TLS_FILE_BYTES_MAX, ret, err);
}

static bool files_read(struct peer_tls *t, struct files *f, struct err *err)
{
    return file_read(t, "node.crt", &f->cert, err) && file_read(t, "node.key", &f->key, err) &&
           file_read(t, "ca.crt", &f->ca, err);
}

static uint64_t files_hash(const struct files *f)
{
    uint64_t h = hash_bytes(buf_slice(&f->cert));
    h = hash_bytes_seed(buf_slice(&f->key), h);
    return hash_bytes_seed(buf_slice(&f->ca), h);
}

static bool files_use(struct peer_tls *t, const struct files *f, struct err *err)
{
    struct x509_info info = {0}, ca = {0};
    struct identity self = {0};
    if (!x509_read(buf_slice(&f->ca), &ca, err))
        return err_wrap(err, "%s/ca.crt", t->dir);
    if (!x509_read(buf_slice(&f->cert), &info, err) ||
        !identity_parse(slice_of(info.uri), &self, err))
        return err_wrap(err, "%s/node.crt", t->dir);
    if (t->self.node && (self.node != t->self.node || self.cluster != t->self.cluster))
        return err_set(err, ERR_INVALID, "%s/node.crt is another node's now (%s)", t->dir,
                       info.uri);
    struct tls_ctx *ctx = tls_ctx_new(&(struct tls_ctx_options){.cert = buf_slice(&f->cert),
                                                                .key = buf_slice(&f->key),
                                                                .ca = buf_slice(&f->ca),
                                                                .with_ca = true},
                                      err);
    if (!ctx)
        return err_wrap(err, "%s", t->dir);
    tls_ctx_unref(t->ctx);
    t->ctx = ctx;
    t->self = self;
    t->until = info.until;
    memcpy(t->ca_sha256, ca.sha256, sizeof(t->ca_sha256));
    return true;
}

static void warn_of_the_end(struct peer_tls *t)
{
    int64_t now = env_wall_ms(t->env) / 1000, left = t->until - now;
    if (left > PEER_TLS_EXPIRY_WARN_DAYS * DAY_S || t->warned_day == now / DAY_S)
        return;
    t->warned_day = now / DAY_S;
    LOG_WARN("registry.peer.certificate_ends", F_CSTR("dir", t->dir),
             F_I64("days", left > 0 ? left / DAY_S : 0), F_BOOL("ended", left <= 0));
}

/* true: they are new and in use. */
static bool files_look(struct peer_tls *t, const struct files *f)
{
    struct err err = {0};
    if (files_hash(f) == t->seen)
        return false;
    t->seen = files_hash(f);
    if (!files_use(t, f, &err)) {
        LOG_WARN("registry.peer.certificate_unusable", F_ERR(&err));
        return false;
    }
    LOG_INFO("registry.peer.certificate_new", F_CSTR("dir", t->dir));
    return true;
}

static void peer_tls_free(struct peer_tls *t)
{
    tls_ctx_unref(t->ctx);
    mem_free(t->dir);
    mem_free(t);
}

static void read_work(struct env_work *w)
{
    struct peer_tls *t = container_of(w, struct peer_tls, work);
    t->read_err = (struct err){0};
    files_read(t, &t->read, &t->read_err);
}

static void read_done(struct env_work *w)
{
    struct peer_tls *t = container_of(w, struct peer_tls, work);
    t->reading = false;
    if (!t->closed && t->read_err.code)
        LOG_WARN("registry.peer.certificate_unreadable", F_ERR(&t->read_err));
    else if (!t->closed)
        files_look(t, &t->read);
    files_fini(&t->read);
    t->read = (struct files){0};
    if (t->closed) {
        peer_tls_free(t);
        return;
    }
    warn_of_the_end(t);
    env_timer_start(t->env, &t->timer, PEER_TLS_POLL_MS);
}

static void on_timer(struct env_timer *timer)
{
    struct peer_tls *t = container_of(timer, struct peer_tls, timer);
    t->work = (struct env_work){.work = read_work, .done = read_done};
    t->reading = true;
    env_work(t->env, &t->work);
}

struct peer_tls *peer_tls_open(struct env *env, const char *dir, struct err *err)
{
    struct peer_tls *t = MEM_NEW(struct peer_tls);
    struct files f = {0};
    *t = (struct peer_tls){.env = env, .dir = mem_new(strlen(dir) + 1), .timer.fn = on_timer};
    memcpy(t->dir, dir, strlen(dir) + 1);
    bool ok = files_read(t, &f, err) && files_use(t, &f, err);
    if (ok) {
        t->seen = files_hash(&f);
        warn_of_the_end(t);
        env_timer_start(env, &t->timer, PEER_TLS_POLL_MS);
    } else {
        err_wrap(err, "certificates for peers (made by weftd init)");
        peer_tls_close(t);
    }
    files_fini(&f);
    return ok ? t : NULL;
}

void peer_tls_close(struct peer_tls *t)
{
    if (!t)
        return;
    env_timer_stop(t->env, &t->timer);
    t->closed = true;
    if (!t->reading)
        peer_tls_free(t);
}

const struct identity *peer_tls_self(const struct peer_tls *t)
{
    return &t->self;
}

const uint8_t *peer_tls_ca_sha256(const struct peer_tls *t)
{
    return t->ca_sha256;
}

int64_t peer_tls_until(const struct peer_tls *t)
{
    return t->until;
}

struct tls_ctx *peer_tls_ctx(const struct peer_tls *t)
{
    return t->ctx;
}

bool peer_tls_node(const struct peer_tls *t, struct slice uri, uint64_t *ret_id, struct err *err)
{
    struct identity id = {0};
    if (!identity_parse(uri, &id, err))
        return false;
    if (id.cluster != t->self.cluster)
        return err_set(err, ERR_UNAUTHENTICATED, "cluster %016llx, ours is %016llx",
                       (unsigned long long)id.cluster, (unsigned long long)t->self.cluster);
    *ret_id = id.node;
    return true;
}

uint64_t peer_tls_stream_node(const struct peer_tls *t, const struct env_stream *s)
{
    uint64_t id = 0;
    peer_tls_node(t, tls_peer_uri(s), &id, NULL);
    return id;
}
