/* Upstream connections that carry many streams: HTTP/2. */
#include <string.h>

#include "base/core/assert.h"
#include "proxy/pool.h"
#include "proxy/worker_int.h"

struct up_h2 {
    struct up_conn c;
    struct flush_h2 f;
    struct list streams; /* struct stream, up_node */
};

static struct up_h2 *of(const struct stream *s)
{
    return s->up_conn;
}

static void mark(struct up_h2 *c)
{
    if (c->c.state != UP_CLOSED)
        flush_h2_mark(&c->c.w->flush, &c->f);
}

static void unlink_stream(struct up_h2 *c, struct stream *s)
{
    wf_assert(s->up_conn == c && c->c.streams > 0);
    list_remove(&s->up_node);
    s->up = NULL;
    s->up_conn = NULL;
    c->c.streams--;
    if (c->c.streams == 0)
        c->c.idle_since = env_now(c->c.w->env);
}

/* The stream needs no more of it. What the session has of the request is sent to the end; a request
 * that is not complete is taken back. */
static void detach(struct up_h2 *c, struct stream *s)
{
    int32_t id = s->up_id;
    bool whole = s->up_end && !s->up_out.n && !s->up_trailers;
    h2_set_user(c->f.h2, id, NULL);
    if (!whole)
        h2_reset(c->f.h2, id, H2_CANCEL);
    unlink_stream(c, s);
    mark(c);
}

/* The stream's side. */

static bool up_head(struct stream *s, bool end)
{
    struct up_h2 *c = of(s);
    struct http_head head = s->head;
    if (s->upgrade.n) { /* RFC 8441 */
        head.method = S("CONNECT");
        head.method_id = HTTP_CONNECT;
        head.protocol = s->upgrade;
    }
    s->up_end = end;
    s->up_id = h2_request(c->f.h2, &head, !end, s);
    mark(c);
    return s->up_id >= 0;
}

static void up_data(struct stream *s, struct slice bytes, bool end)
{
    struct up_h2 *c = of(s);
    metric_add(c->c.host->cluster->stats.cx_tx_bytes, bytes.n);
    if (bytes.n)
        buf_append(&s->up_out, bytes);
    s->up_end = s->up_end || end;
    h2_resume(c->f.h2, s->up_id);
    mark(c);
}

static void up_trailers(struct stream *s, const struct headers *trailers)
{
    struct up_h2 *c = of(s);
    s->up_trailers = trailers;
    s->up_end = true;
    h2_resume(c->f.h2, s->up_id);
    mark(c);
}

static void up_reset(struct stream *s)
{
    struct up_h2 *c = of(s);
    if (s->up_id < 0) { /* the head was refused: there is no stream */
        unlink_stream(c, s);
        return;
    }
    h2_set_user(c->f.h2, s->up_id, NULL);
    h2_reset(c->f.h2, s->up_id, H2_CANCEL);
    unlink_stream(c, s);
    mark(c);
}

static void up_consumed(struct stream *s, size_t n)
{
    h2_consume(of(s)->f.h2, s->up_id, n);
    mark(of(s));
}

static size_t up_queued(const struct stream *s)
{
    return s->up_out.n;
}

static const struct up_ops up_h2_ops = {
    .head = up_head,
    .data = up_data,
    .trailers = up_trailers,
    .reset = up_reset,
    .consumed = up_consumed,
    .queued = up_queued,
};

bool up_h2_can_attach(const struct up_conn *conn)
{
    const struct up_h2 *c = container_of(conn, struct up_h2, c);
    const struct cluster *conf = conn->host->cluster->conf;
    uint32_t max = conf->max_concurrent_streams, served = conf->max_requests_per_connection;
    return conn->state == UP_BUSY && !conn->retired && (!max || conn->streams < max) &&
           (!served || conn->requests < served) && h2_can_request(c->f.h2);
}

void up_h2_attach(struct up_conn *conn, struct stream *s)
{
    struct up_h2 *c = container_of(conn, struct up_h2, c);
    s->up = &up_h2_ops;
    s->up_conn = c;
    s->up_id = -1;
    s->up_reused = conn->requests > 0;
    list_push(&c->streams, &s->up_node);
    conn->streams++;
    conn->requests++;
    stream_up_ready(s);
}

/* The session's side. */

static enum h2_read on_read(void *ctx, int32_t id, void *user, char *dst, size_t n, size_t *ret_n)
{
    struct up_h2 *c = ctx;
    struct stream *s = user;
    if (!s) /* let go with everything given but the end itself */
        return H2_READ_END;
    struct slice out = buf_slice(&s->up_out);
    *ret_n = out.n < n ? out.n : n;
    if (*ret_n)
        memcpy(dst, out.p, *ret_n);
    buf_consume(&s->up_out, *ret_n);
    if (s->request_owed && s->up_out.n <= PROXY_BODY_LOW_BYTES)
        stream_up_drained(s);
    if (s->up_out.n)
        return H2_READ_SOME;
    if (s->up_end && s->up_trailers) {
        h2_trailers(c->f.h2, id, s->up_trailers);
        s->up_trailers = NULL;
        return H2_READ_TRAILERS;
    }
    if (s->up_end)
        return H2_READ_END;
    return *ret_n ? H2_READ_SOME : H2_READ_WAIT;
}

static void on_response(struct up_h2 *c, struct stream *s, struct http_head *head, bool end)
{
    uint64_t length = 0;
    bool has_length = slice_u64(headers_value(&head->headers, HDR_CONTENT_LENGTH), &length);
    if (s->upgrade.n && head->status / 100 == 2 && !end)
        head->status = 101; /* the canonical answer to an upgrade */
    if (end)
        detach(c, s);
    stream_up_head(s, head, has_length && !end, length, end);
}

static void on_headers(void *ctx, int32_t id, void *user, enum h2_kind kind, struct http_head *head,
                       bool end)
{
    struct up_h2 *c = ctx;
    struct stream *s = user;
    (void)id;
    if (!s)
        return;
    s->up_answered = true;
    if (kind == H2_INFORMATIONAL) {
        stream_up_informational(s, head);
    } else if (kind == H2_RESPONSE) {
        on_response(c, s, head, end);
    } else { /* they outlive the session's stream, whose memory they are in */
        struct headers *trailers = ARENA_NEW(&s->arena, struct headers);
        headers_copy(trailers, &s->arena, &head->headers, true);
        detach(c, s);
        stream_up_trailers(s, trailers);
    }
}

static void on_body(void *ctx, int32_t id, void *user, struct slice bytes, bool end)
{
    struct up_h2 *c = ctx;
    struct stream *s = user;
    if (!s) {
        h2_consume(c->f.h2, id, bytes.n);
        return;
    }
    if (end && !s->up_tunnel)
        detach(c, s);
    stream_up_data(s, bytes, end);
}

static void on_stream_close(void *ctx, int32_t id, void *user, uint32_t code)
{
    struct up_h2 *c = ctx;
    struct stream *s = user;
    (void)id;
    if (!s)
        return;
    unlink_stream(c, s);
    if (code == H2_NO_ERROR && s->tunnel_up_end) /* both directions of a tunnel have ended */
        return;
    stream_up_failed(s, code == H2_REFUSED_STREAM ? TRY_REFUSED_STREAM : TRY_REMOTE_RESET,
                     slice_of(h2_error_name(code)));
}

static void on_goaway(void *ctx, int32_t last, uint32_t code)
{
    struct up_h2 *c = ctx;
    (void)last;
    (void)code;
    c->c.retired = true;
    list_remove(&c->c.in_host);
    if (c->c.streams == 0)
        pool_conn_close(&c->c);
}

static void on_capacity(void *ctx)
{
    struct up_h2 *c = ctx;
    if (c->c.state == UP_BUSY)
        pool_session_pump(&c->c);
}

static const struct h2_events session_events = {
    .on_headers = on_headers,
    .on_data = on_body,
    .on_read = on_read,
    .on_close = on_stream_close,
    .on_goaway = on_goaway,
    .on_capacity = on_capacity,
};

/* The connection. */

static void on_flushed(struct flush_h2 *f, const struct err *err)
{
    struct up_h2 *c = container_of(f, struct up_h2, f);
    if (err->code != ERR_NONE || h2_done(f->h2))
        pool_conn_close(&c->c);
}

static void on_data(void *ctx, struct slice bytes)
{
    struct up_h2 *c = ctx;
    struct err err = {0};
    metric_add(c->c.host->cluster->stats.cx_rx_bytes, bytes.n);
    if (c->c.state == UP_CLOSED)
        return;
    h2_recv(c->f.h2, env_now(c->c.w->env), bytes, &err);
    if (err.code != ERR_NONE || h2_want_send(c->f.h2) || h2_done(c->f.h2))
        mark(c);
}

static void on_drain(void *ctx)
{
    mark(ctx);
}

static void on_connect(void *ctx)
{
    struct up_h2 *c = ctx;
    mark(c);
    pool_conn_connected(&c->c);
}

static void on_end(void *ctx)
{
    struct up_h2 *c = ctx;
    pool_conn_close(&c->c);
}

static void on_close(void *ctx, const struct err *why)
{
    struct up_h2 *c = ctx;
    struct list_node *n;
    enum up_conn_state state = c->c.state;
    flush_h2_drop(&c->f);
    c->c.state = UP_CLOSED; /* what follows must not choose it again */
    list_remove(&c->c.in_host);
    while ((n = list_first(&c->streams))) {
        struct stream *s = container_of(n, struct stream, up_node);
        h2_set_user(c->f.h2, s->up_id, NULL);
        unlink_stream(c, s);
        stream_up_failed(s, TRY_RESET, S("connection termination"));
    }
    c->c.state = state;
    pool_conn_gone(&c->c, why);
    flush_h2_drop(&c->f);
    h2_free(c->f.h2);
    mem_free(c);
}

static const struct env_stream_events events = {
    .on_connect = on_connect,
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_close = on_close,
};

struct up_conn *up_h2_connect(struct up_host *h)
{
    struct up_h2 *c = MEM_NEW(struct up_h2);
    struct worker *w = h->cluster->w;
    struct h2_options opt = {.pool = w->h2_pool, .session_window = PROXY_H2_SESSION_WINDOW};
    struct env_stream_options stream_opt = {.low_water = PROXY_BODY_LOW_BYTES,
                                            .user_timeout = PROXY_USER_TIMEOUT,
                                            .connect_timeout = h->cluster->conf->connect_timeout};
    pool_conn_init(&c->c, h, UP_HTTP2);
    list_init(&c->streams);
    list_push(&h->sessions, &c->c.in_host);
    c->c.es = env_connect(w->env, host_addr(h), &stream_opt, &events, c);
    c->f = (struct flush_h2){
        .h2 = h2_client_new(&opt, &session_events, c), .stream = c->c.es, .flushed = on_flushed};
    return &c->c;
}
