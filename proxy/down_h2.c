/* Client connections that speak HTTP/2: many requests at a time. */
#include <string.h>

#include "base/core/assert.h"
#include "proxy/down.h"
#include "proxy/websocket.h"
#include "proxy/worker_int.h"

struct down_h2 {
    struct down_conn c;
    struct flush_h2 f;
    struct list streams; /* struct stream, down_node */
    bool closing;
};

static struct down_h2 *of(const struct stream *s)
{
    return s->down_conn;
}

static void mark(struct down_h2 *c)
{
    flush_h2_mark(&c->c.w->flush, &c->f);
}

/* The answer. */

static void down_head(struct stream *s, struct http_head *head, bool end)
{
    struct down_h2 *c = of(s);
    if (head->status >= 200)
        headers_del(&head->headers, HDR_SEC_WEBSOCKET_ACCEPT);
    if (!h2_respond(c->f.h2, s->down_id, head, !end))
        h2_reset(c->f.h2, s->down_id, H2_INTERNAL_ERROR); /* a field that cannot be said */
    mark(c);
}

static void down_data(struct stream *s, struct slice bytes, bool end)
{
    struct down_h2 *c = of(s);
    (void)end; /* on_read sees it in s */
    if (bytes.n)
        buf_append(&s->down_out, bytes);
    h2_resume(c->f.h2, s->down_id);
    mark(c);
}

static void down_trailers(struct stream *s, const struct headers *trailers)
{
    struct down_h2 *c = of(s);
    s->down_trailers = trailers;
    h2_resume(c->f.h2, s->down_id);
    mark(c);
}

static void down_reset(struct stream *s, uint32_t code)
{
    h2_reset(of(s)->f.h2, s->down_id, code);
    mark(of(s));
}

static void down_consumed(struct stream *s, size_t n)
{
    h2_consume(of(s)->f.h2, s->down_id, n);
    mark(of(s));
}

static size_t down_queued(const struct stream *s)
{
    return s->down_out.n;
}

static void down_tunnel(struct stream *s)
{
    (void)s; /* DATA frames carry a tunnel as they carry a body */
}

static const struct down_ops down_h2_ops = {
    .head = down_head,
    .data = down_data,
    .trailers = down_trailers,
    .reset = down_reset,
    .consumed = down_consumed,
    .queued = down_queued,
    .tunnel = down_tunnel,
    .protocol = RECORD_HTTP2,
};

static enum h2_read on_read(void *ctx, int32_t id, void *user, char *dst, size_t n, size_t *ret_n)
{
    struct down_h2 *c = ctx;
    struct stream *s = user;
    struct slice out = buf_slice(&s->down_out);
    *ret_n = out.n < n ? out.n : n;
    if (*ret_n)
        memcpy(dst, out.p, *ret_n);
    buf_consume(&s->down_out, *ret_n);
    if (s->response_owed && s->down_out.n <= PROXY_BODY_LOW_BYTES)
        stream_down_drained(s);
    if (s->down_out.n)
        return H2_READ_SOME;
    if (s->down_end && s->down_trailers) {
        h2_trailers(c->f.h2, id, s->down_trailers);
        return H2_READ_TRAILERS;
    }
    if (s->down_end || s->tunnel_up_end)
        return H2_READ_END;
    return *ret_n ? H2_READ_SOME : H2_READ_WAIT;
}

/* The request. */

/* RFC 8441: CONNECT with :protocol is what HTTP/1 says as GET with Upgrade. */
static void request_upgrade(struct stream *s)
{
    s->upgrade = s->head.protocol;
    s->head.protocol = (struct slice){0};
    s->head.method = S("GET");
    s->head.method_id = HTTP_GET;
    if (!headers_get(&s->head.headers, HDR_SEC_WEBSOCKET_KEY))
        headers_add(&s->head.headers, &s->arena, HDR_SEC_WEBSOCKET_KEY,
                    websocket_key(&s->w->rng, &s->arena));
}

static void on_request(struct down_h2 *c, int32_t id, struct http_head *head, bool end)
{
    const struct filter_chain *chain = down_conn_chain(&c->c);
    if (!chain) {
        h2_reset(c->f.h2, id, H2_REFUSED_STREAM);
        return;
    }
    struct stream *s = stream_new(c->c.w, c->c.wl, chain, &down_h2_ops, c, c->c.es, c->c.id);
    s->down_id = id;
    s->head = *head;
    s->minor = 1;
    s->has_length =
        slice_u64(headers_value(&head->headers, HDR_CONTENT_LENGTH), &s->length) && !end;
    s->expect_continue =
        slice_eq_nocase(headers_value(&head->headers, HDR_EXPECT), S("100-continue"));
    list_push(&c->streams, &s->down_node);
    h2_set_user(c->f.h2, id, s);
    if (s->head.protocol.n)
        request_upgrade(s);
    stream_request(s, end);
}

static void on_headers(void *ctx, int32_t id, void *user, enum h2_kind kind, struct http_head *head,
                       bool end)
{
    struct down_h2 *c = ctx;
    if (kind == H2_REQUEST)
        on_request(c, id, head, end);
    else if (user)
        stream_request_trailers(user, &head->headers);
}

static void on_body(void *ctx, int32_t id, void *user, struct slice bytes, bool end)
{
    struct down_h2 *c = ctx;
    if (user)
        stream_request_data(user, bytes, end);
    else
        h2_consume(c->f.h2, id, bytes.n);
}

static void on_stream_close(void *ctx, int32_t id, void *user, uint32_t code)
{
    struct down_h2 *c = ctx;
    struct stream *s = user;
    (void)id;
    if (!s)
        return;
    list_remove(&s->down_node);
    c->c.active = env_now(c->c.w->env);
    stream_down_closed(s, code == H2_NO_ERROR);
}

static const struct h2_events session_events = {
    .on_headers = on_headers,
    .on_data = on_body,
    .on_read = on_read,
    .on_close = on_stream_close,
};

/* The connection. */

static void close_sent(struct down_h2 *c)
{
    if (c->closing)
        return;
    c->closing = true;
    flush_h2_drop(&c->f);
    env_stream_close_after_write(c->c.es, PROXY_LINGER);
}

static void on_flushed(struct flush_h2 *f, const struct err *err)
{
    struct down_h2 *c = container_of(f, struct down_h2, f);
    if (err->code != ERR_NONE || h2_done(f->h2))
        close_sent(c);
}

static void receive(struct down_h2 *c, struct slice bytes)
{
    struct err err = {0};
    c->c.active = env_now(c->c.w->env);
    if (!h2_recv(c->f.h2, c->c.active, bytes, &err)) {
        metric_add(c->c.wl->stats.cx_protocol_error, 1);
        mark(c); /* its GOAWAY; h2_done says then that it is over */
    } else if (h2_want_send(c->f.h2) || h2_done(c->f.h2)) {
        mark(c);
    }
}

static void on_data(void *ctx, struct slice bytes)
{
    struct down_h2 *c = ctx;
    if (!c->closing)
        receive(c, bytes);
}

static void on_drain(void *ctx)
{
    struct down_h2 *c = ctx;
    if (!c->closing)
        mark(c);
}

static void on_end(void *ctx)
{
    struct down_h2 *c = ctx;
    c->closing = true;
    flush_h2_drop(&c->f);
    env_stream_close(c->c.es);
}

static void streams_abort(struct down_h2 *c)
{
    struct list_node *n;
    while ((n = list_pop(&c->streams))) {
        struct stream *s = container_of(n, struct stream, down_node);
        h2_set_user(c->f.h2, s->down_id, NULL);
        stream_down_closed(s, false);
    }
}

static void on_close(void *ctx, const struct err *why)
{
    struct down_h2 *c = ctx;
    (void)why;
    c->closing = true;
    streams_abort(c);
    flush_h2_drop(&c->f);
    h2_free(c->f.h2);
    down_conn_gone(&c->c);
    mem_free(c);
}

static const struct env_stream_events events = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_close = on_close,
};

static void drain(struct down_conn *conn)
{
    struct down_h2 *c = container_of(conn, struct down_h2, c);
    conn->draining = true;
    h2_drain(c->f.h2);
    mark(c);
}

static void sweep(struct down_conn *conn, wf_ms now)
{
    struct down_h2 *c = container_of(conn, struct down_h2, c);
    if (c->closing || !list_empty(&c->streams) || !down_conn_idle(conn, now))
        return;
    metric_add(conn->wl->stats.cx_idle_timeout, 1);
    h2_terminate(c->f.h2, H2_NO_ERROR);
    mark(c);
}

static void close_conn(struct down_conn *conn)
{
    on_end(container_of(conn, struct down_h2, c));
}

static const struct down_conn_ops conn_ops = {.sweep = sweep, .drain = drain, .close = close_conn};

static void begin(struct down_h2 *c)
{
    struct h2_options opt = {.pool = c->c.w->h2_pool,
                             .header_bytes = c->c.headers_kb_max * 1024,
                             .extended_connect = true};
    metric_add(c->c.wl->stats.cx_http2_total, 1);
    list_init(&c->streams);
    c->f = (struct flush_h2){
        .h2 = h2_server_new(&opt, &session_events, c), .stream = c->c.es, .flushed = on_flushed};
    env_stream_set_events(c->c.es, &events, c);
    mark(c);
    if (c->c.draining)
        drain(&c->c);
}

void down_h2_accept(struct worker *w, struct wlistener *wl, const struct filter_chain *chain,
                    struct env_stream *es)
{
    struct down_h2 *c = MEM_NEW(struct down_h2);
    down_conn_init(&c->c, w, wl, chain, &conn_ops, es);
    begin(c);
}

void down_h2_take(struct down_conn *from, struct slice first)
{
    struct down_h2 *c = MEM_NEW(struct down_h2);
    down_conn_move(&c->c, from, &conn_ops);
    begin(c);
    receive(c, first);
}
