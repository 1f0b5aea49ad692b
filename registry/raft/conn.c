#include "registry/raft/conn.h"

#include <string.h>

#include "base/core/assert.h"
#include "registry/raft/raft_limits.h"

#define LINGER_MS 1000

static void end(struct conn *c, const struct err *why)
{
    const struct conn_events *events = c->events;
    void *ctx = c->ctx;
    conn_close(c);
    events->on_close(ctx, why);
}

/* Frames from `bytes`; returns how many bytes were taken, or SIZE_MAX when the conn is gone. */
static size_t take_frames(struct conn *c, struct slice bytes)
{
    size_t taken = 0;
    bool gone = false;
    while (!c->paused) {
        const struct frame_expected expected = {
            .cluster = c->opt.cluster,
            .version = c->opt.version,
            .payload_max = c->opt.payload_max ? c->opt.payload_max : FRAME_PAYLOAD_BYTES_MAX};
        struct frame f;
        size_t n;
        struct err err = {0};
        enum frame_status st = frame_decode(slice_skip(bytes, taken), &expected, &f, &n, &err);
        if (st == FRAME_MORE)
            break;
        if (st == FRAME_BAD) {
            end(c, &err);
            return SIZE_MAX;
        }
        c->gone = &gone;
        c->events->on_frame(c->ctx, &f);
        if (gone)
            return SIZE_MAX;
        c->gone = NULL;
        taken += n;
    }
    return taken;
}

static void take_buffered(struct conn *c)
{
    /* The frames borrow from the buffer, which a callback might make grow: work on it alone. */
    struct buf in = c->in;
    c->in = (struct buf){0};
    size_t taken = take_frames(c, buf_slice(&in));
    if (taken == SIZE_MAX) {
        buf_fini(&in);
        return;
    }
    wf_assert(c->in.n == 0);
    buf_consume(&in, taken);
    if (in.n == 0)
        buf_fini(&in);
    c->in = in;
}

static void on_data(void *ctx, struct slice bytes)
{
    struct conn *c = ctx;
    if (c->in.n > 0 || c->paused) {
        buf_append(&c->in, bytes);
        take_buffered(c);
        return;
    }
    size_t taken = take_frames(c, bytes);
    if (taken != SIZE_MAX)
        buf_append(&c->in, slice_skip(bytes, taken));
}

static void on_connect(void *ctx)
{
    struct conn *c = ctx;
    if (c->events->on_connect)
        c->events->on_connect(c->ctx);
}

static void on_drain(void *ctx)
{
    struct conn *c = ctx;
    if (c->events->on_drain)
        c->events->on_drain(c->ctx);
}

static void on_close(void *ctx, const struct err *why)
{
    struct conn *c = ctx;
    struct err copy = *why;
    c->stream = NULL;
    if (copy.code == ERR_NONE)
        err_set(&copy, ERR_IO, "connection ended");
    end(c, &copy);
}

static const struct env_stream_events stream_events = {
    .on_connect = on_connect, .on_data = on_data, .on_drain = on_drain, .on_close = on_close};

static bool is_peer(void *arg, struct slice uri, struct err *err)
{
    const struct conn *c = arg;
    uint64_t id = 0;
    if (!peer_tls_node(c->opt.tls, uri, &id, err))
        return false;
    return id == c->opt.peer ||
           err_set(err, ERR_UNAUTHENTICATED, "it is node %llu, not %llu: the members differ",
                   (unsigned long long)id, (unsigned long long)c->opt.peer);
}

static struct env_stream *dial(struct conn *c, const struct env_addr *to)
{
    const struct env_stream_options opt = {.user_timeout = c->opt.user_timeout,
                                           .connect_timeout = c->opt.connect_timeout,
                                           .low_water = c->opt.low_water};
    if (!c->opt.tls)
        return env_connect(c->env, to, &opt, &stream_events, c);
    return tls_connect(c->env, to, &opt,
                       &(struct tls_options){.ctx = peer_tls_ctx(c->opt.tls),
                                             .name = c->opt.peer_name,
                                             .handshake_timeout = c->opt.handshake_timeout,
                                             .verify = is_peer,
                                             .arg = c},
                       &stream_events, c);
}

void conn_connect(struct conn *c, struct env *env, const struct env_addr *to,
                  const struct conn_options *opt, const struct conn_events *events, void *ctx)
{
    wf_assert(!c->stream);
    *c = (struct conn){.env = env, .opt = *opt, .events = events, .ctx = ctx};
    c->stream = dial(c, to);
}

void conn_adopt(struct conn *c, struct env *env, struct env_stream *s,
                const struct conn_options *opt, const struct conn_events *events, void *ctx)
{
    wf_assert(!c->stream);
    *c = (struct conn){.env = env, .opt = *opt, .stream = s, .events = events, .ctx = ctx};
    env_stream_set_events(s, &stream_events, c);
}

bool conn_open(const struct conn *c)
{
    return c->stream != NULL;
}

size_t conn_queued(const struct conn *c)
{
    return c->stream ? env_stream_queued(c->stream) : 0;
}

void conn_set_version(struct conn *c, unsigned version)
{
    wf_assert(version);
    c->opt.version = version;
}

size_t conn_send(struct conn *c, enum frame_type type, uint64_t term, const struct iovec *payload,
                 int n)
{
    char head[FRAME_HEAD_BYTES];
    struct iovec few[16];
    if (!c->stream)
        return 0;
    struct iovec *all = n < 16 ? few : mem_array((size_t)n + 1, sizeof(*all));
    frame_encode_head(head,
                      &(struct frame){.type = type,
                                      .version = c->opt.version,
                                      .cluster = c->opt.cluster,
                                      .from = c->opt.self,
                                      .term = term},
                      payload, n);
    all[0] = (struct iovec){head, sizeof(head)};
    if (n > 0)
        memcpy(all + 1, payload, (size_t)n * sizeof(*all));
    size_t queued = env_stream_write(c->stream, all, n + 1);
    if (all != few)
        mem_free(all);
    return queued;
}

void conn_pause(struct conn *c)
{
    c->paused = true;
    if (c->stream)
        env_stream_read_pause(c->stream);
}

void conn_resume(struct conn *c)
{
    if (!c->paused)
        return;
    c->paused = false;
    if (c->stream)
        env_stream_read_resume(c->stream);
    if (c->in.n > 0)
        take_buffered(c);
}

static struct env_stream *detach(struct conn *c)
{
    struct env_stream *s = c->stream;
    c->stream = NULL;
    if (c->gone)
        *c->gone = true;
    c->gone = NULL;
    buf_fini(&c->in);
    if (s)
        env_stream_set_events(s, NULL, NULL);
    return s;
}

void conn_close(struct conn *c)
{
    struct env_stream *s = detach(c);
    if (s)
        env_stream_close(s);
}

void conn_close_after_write(struct conn *c)
{
    struct env_stream *s = detach(c);
    if (s)
        env_stream_close_after_write(s, LINGER_MS);
}
