#include "base/core/assert.h"
#include "base/net/grpc_int.h"

static const struct sm_state conn_states[] = {
    [CONN_OPENING] = {"opening", SM(CONN_OPEN) | SM(CONN_CLOSING) | SM(CONN_GONE)},
    [CONN_OPEN] = {"open", SM(CONN_CLOSING) | SM(CONN_GONE)},
    [CONN_CLOSING] = {"closing", SM(CONN_GONE)},
    [CONN_GONE] = {"gone", 0},
};
static const struct sm_table conn_table = {"grpc.conn", conn_states, ARRAY_LEN(conn_states), NULL};

bool grpc_conn_live(const struct grpc_conn *c)
{
    return c->sm.now == CONN_OPENING || c->sm.now == CONN_OPEN;
}

/* Events of the session. */

static void on_headers(void *ctx, int32_t id, void *user, enum h2_kind kind, struct http_head *head,
                       bool end)
{
    struct grpc_conn *c = ctx;
    struct grpc_stream *s = user;
    if (kind == H2_REQUEST) {
        c->role->on_request(c, id, head);
        s = h2_user(c->h2, id);
    } else if (s) {
        grpc_stream_on_head(s, kind, head);
    }
    if (s && end)
        grpc_stream_on_data(s, (struct slice){0}, true);
}

static void on_body(void *ctx, int32_t id, void *user, struct slice bytes, bool end)
{
    struct grpc_conn *c = ctx;
    if (user)
        grpc_stream_on_data(user, bytes, end);
    else
        h2_consume(c->h2, id, bytes.n);
}

static enum h2_read on_read(void *ctx, int32_t id, void *user, char *dst, size_t n, size_t *ret_n)
{
    (void)ctx, (void)id;
    return user ? grpc_stream_on_read(user, dst, n, ret_n) : H2_READ_RESET;
}

static void on_reset(void *ctx, int32_t id, void *user, uint32_t code)
{
    (void)ctx, (void)id;
    if (user)
        grpc_stream_on_reset(user, code);
}

static void on_goaway(void *ctx, int32_t last, uint32_t code)
{
    struct grpc_conn *c = ctx;
    (void)last, (void)code;
    if (c->role->on_goaway && grpc_conn_live(c))
        c->role->on_goaway(c);
}

static void on_settings(void *ctx)
{
    struct grpc_conn *c = ctx;
    if (c->sm.now != CONN_OPENING)
        return;
    sm_move(&conn_table, &c->sm, CONN_OPEN, c);
    if (c->role->on_ready)
        c->role->on_ready(c);
}

static void on_ping_ack(void *ctx, uint64_t opaque)
{
    struct grpc_conn *c = ctx;
    (void)opaque;
    c->ping_at = -1;
}

static const struct h2_events session_events = {
    .on_headers = on_headers,
    .on_data = on_body,
    .on_read = on_read,
    .on_close = on_reset,
    .on_goaway = on_goaway,
    .on_ping_ack = on_ping_ack,
    .on_settings = on_settings,
};

/* Output. */

void grpc_conn_wake(struct grpc_conn *c)
{
    if (c->sm.now != CONN_GONE)
        env_defer(c->env, &c->flush);
}

/* One piece to the socket. false: nothing (more) to send or no room for it. */
static bool send_piece(struct grpc_conn *c)
{
    struct err err;
    if (env_stream_queued(c->stream) >= GRPC_OUT_BYTES)
        return false;
    wf_assert(!c->out->n);
    bool fine = h2_send(c->h2, c->out, GRPC_OUT_BYTES, &err);
    size_t n = c->out->n;
    if (n) {
        struct iovec iov = {c->out->p + c->out->at, n};
        env_stream_write(c->stream, &iov, 1);
        buf_clear(c->out);
    }
    if (!fine && grpc_conn_live(c))
        grpc_conn_close(c, &err);
    return fine && n;
}

static void send_all(struct grpc_conn *c)
{
    int rounds = 0;
    while (rounds < GRPC_OUT_ROUNDS && send_piece(c))
        rounds++;
    bool blocked = env_stream_queued(c->stream) > 0;
    if (!blocked)
        c->stalled_at = -1;
    else if (c->stalled_at < 0)
        c->stalled_at = env_now(c->env);
    if (rounds == GRPC_OUT_ROUNDS && !blocked)
        env_timer_start(c->env, &c->yield, 0);
}

static void on_flush(struct env_task *t)
{
    struct grpc_conn *c = container_of(t, struct grpc_conn, flush);
    if (!grpc_conn_live(c))
        return;
    send_all(c);
    if (grpc_conn_live(c) && h2_done(c->h2))
        grpc_conn_close(c, &(struct err){0});
}

static void on_yield(struct env_timer *t)
{
    grpc_conn_wake(container_of(t, struct grpc_conn, yield));
}

/* End. */

void grpc_conn_close(struct grpc_conn *c, const struct err *why)
{
    if (!grpc_conn_live(c))
        return;
    c->why = *why;
    sm_move(&conn_table, &c->sm, CONN_CLOSING, c);
    env_stream_close_after_write(c->stream, GRPC_LINGER_MS);
}

/* Everything but the socket. */
static void gone(struct grpc_conn *c, const struct err *why)
{
    sm_move(&conn_table, &c->sm, CONN_GONE, c);
    env_timer_stop(c->env, &c->tick);
    env_timer_stop(c->env, &c->yield);
    env_defer_cancel(&c->flush);
    struct list_node *n;
    while ((n = list_first(&c->streams))) {
        struct grpc_stream *s = container_of(n, struct grpc_stream, node);
        s->id = 0;
        grpc_stream_set_status(s, c->opt.server ? GRPC_CANCELLED : GRPC_UNAVAILABLE,
                               why->code ? slice_of(why->msg) : S("connection closed"));
        grpc_stream_final(s);
    }
    h2_free(c->h2);
    c->h2 = NULL;
    c->stream = NULL;
}

void grpc_conn_abort(struct grpc_conn *c)
{
    if (c->sm.now == CONN_GONE)
        return;
    env_stream_set_events(c->stream, NULL, NULL);
    env_stream_close(c->stream);
    const struct err why = {.code = ERR_CANCELLED, .msg = "connection closed by us"};
    gone(c, &why);
}

/* Events of the socket. */

static void on_bytes(void *ctx, struct slice bytes)
{
    struct grpc_conn *c = ctx;
    struct err err;
    if (!grpc_conn_live(c))
        return;
    c->heard_at = env_now(c->env);
    if (!h2_recv(c->h2, c->heard_at, bytes, &err)) {
        send_piece(c); /* GOAWAY */
        grpc_conn_close(c, &err);
        return;
    }
    grpc_conn_wake(c);
}

static void on_end(void *ctx)
{
    struct grpc_conn *c = ctx;
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, "peer closed the connection");
    grpc_conn_close(c, h2_streams(c->h2) ? &err : &(struct err){0});
}

static void on_drain(void *ctx)
{
    struct grpc_conn *c = ctx;
    c->stalled_at = -1;
    grpc_conn_wake(c);
}

static void on_closed(void *ctx, const struct err *why)
{
    struct grpc_conn *c = ctx;
    struct err reason = c->sm.now == CONN_CLOSING ? c->why : *why;
    gone(c, &reason);
    c->role->on_gone(c, &reason);
}

const struct env_stream_events grpc_conn_stream_events = {
    .on_data = on_bytes,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_close = on_closed,
};

/* Time. */

static bool fail_on_time(struct grpc_conn *c, const char *what)
{
    struct err err;
    err_set(&err, ERR_TIMEOUT, "%s", what);
    grpc_conn_close(c, &err);
    return true;
}

/* Streams whose messages wait for a reader that gives no window. */
static void reset_stalled(struct grpc_conn *c, wf_ms now)
{
    LIST_EACH (&c->streams, n) {
        struct grpc_stream *s = container_of(n, struct grpc_stream, node);
        if (grpc_stream_stalled(s, now, c->opt.stall)) {
            h2_reset(c->h2, s->id, H2_ENHANCE_YOUR_CALM);
            grpc_conn_wake(c);
        }
    }
}

static bool past_limits(struct grpc_conn *c, wf_ms now)
{
    if (c->sm.now == CONN_OPENING && now - c->born >= c->opt.handshake)
        return fail_on_time(c, "no HTTP/2 SETTINGS from the peer");
    if (c->stalled_at >= 0 && now - c->stalled_at >= c->opt.stall)
        return fail_on_time(c, "peer does not read");
    if (c->ping_at >= 0 && now - c->ping_at >= c->opt.keepalive_timeout)
        return fail_on_time(c, "no answer to PING");
    return false;
}

static void keep_alive(struct grpc_conn *c, wf_ms now)
{
    if (c->opt.keepalive < 0 || c->sm.now != CONN_OPEN || c->ping_at >= 0 ||
        now - c->heard_at < c->opt.keepalive)
        return;
    if (h2_ping(c->h2, (uint64_t)now)) {
        c->ping_at = now;
        grpc_conn_wake(c);
    }
}

static wf_ms least(wf_ms a, wf_ms b)
{
    return a < b ? a : b;
}

/* When something could be due at the earliest. A limit may be noticed up to a quarter late. */
static wf_ms next_tick(const struct grpc_conn *c, wf_ms now)
{
    wf_ms next = c->opt.stall / 4;
    if (c->sm.now == CONN_OPENING)
        next = least(next, c->born + c->opt.handshake - now);
    if (c->opt.keepalive >= 0)
        next = least(next, c->ping_at >= 0 ? c->ping_at + c->opt.keepalive_timeout - now
                                           : c->heard_at + c->opt.keepalive - now);
    return next < 1 ? 1 : next;
}

static void on_tick(struct env_timer *t)
{
    struct grpc_conn *c = container_of(t, struct grpc_conn, tick);
    wf_ms now = env_now(c->env);
    if (!grpc_conn_live(c) || past_limits(c, now))
        return;
    reset_stalled(c, now);
    keep_alive(c, now);
    env_timer_start(c->env, &c->tick, next_tick(c, now));
}

void grpc_conn_init(struct grpc_conn *c, struct env *env, struct env_stream *stream,
                    const struct grpc_conn_options *opt)
{
    wf_assert(c->role && c->out);
    c->env = env;
    c->stream = stream;
    c->opt = *opt;
    c->flush.fn = on_flush;
    c->tick.fn = on_tick;
    c->yield.fn = on_yield;
    c->born = c->heard_at = env_now(env);
    c->ping_at = c->stalled_at = -1;
    list_init(&c->streams);
    const struct h2_options h2 = {
        .streams_max = opt->streams_max, .any_authority = true, .pool = opt->pool};
    c->h2 = opt->server ? h2_server_new(&h2, &session_events, c)
                        : h2_client_new(&h2, &session_events, c);
    env_timer_start(env, &c->tick, next_tick(c, c->born));
    grpc_conn_wake(c);
}
