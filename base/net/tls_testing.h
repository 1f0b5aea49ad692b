/* What tests of TLS need: an authority that signs for anybody, and streams that are two buffers.
 * Tests only.
 */
#ifndef WEFT_BASE_NET_TLS_TESTING_H
#define WEFT_BASE_NET_TLS_TESTING_H

#include "base/core/assert.h"
#include "base/env/env_impl.h"
#include "base/net/tls.h"
#include "base/wire/x509.h"

#define TLS_TEST_DAY ((int64_t)24 * 3600)

struct tls_test_ca {
    struct buf key, cert;
};

static inline void tls_test_ca_init(struct tls_test_ca *ca, int64_t now)
{
    struct err err = {0};
    *ca = (struct tls_test_ca){0};
    const struct x509_subject s = {.name = S("test CA"),
                                   .from = now - TLS_TEST_DAY,
                                   .until = now + 50 * TLS_TEST_DAY,
                                   .ca = 1};
    if (!x509_key_new(&ca->key, &err) || !x509_self_sign(buf_slice(&ca->key), &s, &ca->cert, &err))
        wf_die("%s", err.msg);
}

static inline void tls_test_ca_fini(struct tls_test_ca *ca)
{
    x509_wipe(&ca->key);
    buf_fini(&ca->cert);
}

/* A key and a certificate of it. */
static inline void tls_test_issue(const struct tls_test_ca *ca, const struct x509_subject *s,
                                  struct buf *ret_key, struct buf *ret_cert)
{
    struct err err = {0};
    struct buf public = {0};
    const struct x509_issuer issuer = {buf_slice(&ca->cert), buf_slice(&ca->key)};
    if (!x509_key_new(ret_key, &err) || !x509_key_public(buf_slice(ret_key), &public, &err) ||
        !x509_issue(&issuer, buf_slice(&public), s, ret_cert, &err))
        wf_die("%s", err.msg);
    buf_fini(&public);
}

/* A context of somebody whom `ca` signed and who believes `trusts`. */
static inline struct tls_ctx *tls_test_ctx(const struct tls_test_ca *ca,
                                           const struct tls_test_ca *trusts,
                                           const struct x509_subject *s)
{
    struct err err = {0};
    struct buf key = {0}, cert = {0};
    tls_test_issue(ca, s, &key, &cert);
    struct tls_ctx *ctx = tls_ctx_new(&(struct tls_ctx_options){.cert = buf_slice(&cert),
                                                                .key = buf_slice(&key),
                                                                .ca = buf_slice(&trusts->cert)},
                                      &err);
    if (!ctx)
        wf_die("%s", err.msg);
    x509_wipe(&key);
    buf_fini(&cert);
    return ctx;
}

/* An env without a world: time stands still until the test moves it. */

struct mem_env {
    struct env base;
    int64_t wall_ms;
};

static inline int64_t mem_env_wall(struct env *env)
{
    return container_of(env, struct mem_env, base)->wall_ms;
}

static inline void mem_env_init(struct mem_env *e)
{
    static const struct env_ops ops = {.wall_ms = mem_env_wall};
    *e = (struct mem_env){.wall_ms = 1700000000000};
    env_impl_init(&e->base, &ops);
}

/* One end of a connection in memory; what is written waits in `out` until the test hands it on.
 * Closed by its owner it only remembers that. */
struct mem_stream {
    struct env_stream_handle handle;
    struct buf out;
    const struct env_stream_events *events;
    void *ctx;
    bool paused, ended, closed;
};

static inline struct mem_stream *mem_of(const struct env_stream *s)
{
    return (struct mem_stream *)(uintptr_t)s;
}

static inline size_t mem_write(struct env_stream *s, const struct iovec *iov, int n)
{
    wf_assert(!mem_of(s)->ended && !mem_of(s)->closed);
    for (int i = 0; i < n; i++)
        buf_append(&mem_of(s)->out, slice_mem(iov[i].iov_base, iov[i].iov_len));
    return 0;
}

static inline size_t mem_queued(const struct env_stream *s)
{
    (void)s;
    return 0;
}

static inline void mem_pause(struct env_stream *s)
{
    mem_of(s)->paused = true;
}

static inline void mem_resume(struct env_stream *s)
{
    mem_of(s)->paused = false;
}

static inline void mem_shutdown(struct env_stream *s)
{
    mem_of(s)->ended = true;
}

static inline void mem_close(struct env_stream *s)
{
    mem_of(s)->closed = true;
}

static inline void mem_close_after(struct env_stream *s, wf_ms linger)
{
    (void)linger;
    mem_of(s)->closed = true;
}

static inline void mem_set_events(struct env_stream *s, const struct env_stream_events *events,
                                  void *ctx)
{
    mem_of(s)->events = events;
    mem_of(s)->ctx = ctx;
}

static inline const struct env_addr *mem_addr(const struct env_stream *s)
{
    static const struct env_addr nowhere;
    (void)s;
    return &nowhere;
}

static inline struct env_stream *mem_stream_init(struct mem_stream *m, struct mem_env *env)
{
    static const struct env_stream_ops ops = {.write = mem_write,
                                              .queued = mem_queued,
                                              .read_pause = mem_pause,
                                              .read_resume = mem_resume,
                                              .shutdown = mem_shutdown,
                                              .close = mem_close,
                                              .close_after_write = mem_close_after,
                                              .set_events = mem_set_events,
                                              .local = mem_addr,
                                              .peer = mem_addr};
    *m = (struct mem_stream){.handle = {&env->base, &ops}};
    return (struct env_stream *)m;
}

/* Hands bytes to whoever reads from m, as if they came from the wire. */
static inline void mem_arrive(struct mem_stream *m, struct slice bytes)
{
    if (bytes.n && m->events && m->events->on_data && !m->closed)
        m->events->on_data(m->ctx, bytes);
}

/* What `from` wrote arrives at `to`, `cut` bytes at a time (0: all). false: there was nothing. */
static inline bool mem_move(struct mem_stream *from, struct mem_stream *to, size_t cut)
{
    struct buf bytes = from->out;
    struct slice rest = buf_slice(&bytes);
    from->out = (struct buf){0};
    bool any = rest.n > 0;
    while (rest.n) {
        struct slice one = slice_sub(rest, 0, cut ? cut : rest.n);
        mem_arrive(to, one);
        rest = slice_skip(rest, one.n);
    }
    buf_fini(&bytes);
    return any;
}

#endif
