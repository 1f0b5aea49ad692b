/* Client connections that speak HTTP/1: one request after the other. */
#include "base/core/assert.h"
#include "proxy/down.h"
#include "proxy/worker_int.h"

/*  head ──> body ──> wait ──> head            a request, its body, its answer, the next one
 *             │        └────> tunnel           101, or 2xx to CONNECT
 *             └──> head                        the answer was there before the body ended: closes
 *  any ──> closing                             only sends what is queued */
enum phase { PHASE_HEAD, PHASE_BODY, PHASE_WAIT, PHASE_TUNNEL, PHASE_CLOSING };

struct down_h1 {
    struct down_conn c;
    struct stream *stream; /* from the first byte of a head to the end of its answer */
    enum phase phase;
    enum http1_body body; /* of the request */
    uint64_t left;
    bool keep_alive, response_chunked;
    bool inside; /* on_data is on the stack: it takes what follows by itself */
    bool paused;
    size_t unread; /* body bytes given to the stream, not consumed */
    uint32_t requests;
    wf_ms head_since; /* 0: no head has begun */
    struct http1_progress at;
    struct http1_chunked chunked;
    struct buf in; /* bytes that cannot be used yet: part of a head, a pipelined request */
    struct env_task resume;
};

static struct down_h1 *of(const struct stream *s)
{
    return s->down_conn;
}

static void take_all(struct down_h1 *c, struct slice bytes);

static void read_resume(struct down_h1 *c)
{
    if (!c->paused)
        return;
    c->paused = false;
    env_stream_read_resume(c->c.es);
}

static void read_pause(struct down_h1 *c)
{
    if (c->paused)
        return;
    c->paused = true;
    env_stream_read_pause(c->c.es);
}

static void close_sent(struct down_h1 *c)
{
    if (c->phase == PHASE_CLOSING)
        return;
    c->phase = PHASE_CLOSING;
    flush_now(&c->c.w->flush, c->c.es);
    env_stream_close_after_write(c->c.es, PROXY_LINGER);
}

static void close_now(struct down_h1 *c)
{
    struct stream *s = c->stream;
    c->phase = PHASE_CLOSING;
    c->stream = NULL;
    flush_drop(&c->c.w->flush, c->c.es);
    if (s)
        stream_down_closed(s, false);
    env_stream_close(c->c.es);
}

/* The answer. */

/* Everything of the answer is with the socket. */
static void answer_done(struct down_h1 *c)
{
    struct stream *s = c->stream;
    bool next = s->request_end && c->keep_alive && !s->up_tunnel;
    c->stream = NULL;
    c->unread = 0;
    stream_down_closed(s, true);
    if (!next) {
        close_sent(c);
        return;
    }
    c->phase = PHASE_HEAD;
    c->head_since = 0;
    c->at = (struct http1_progress){0};
    c->c.active = env_now(c->c.w->env);
    read_resume(c);
    if (c->in.n && !c->inside)
        env_defer(c->c.w->env, &c->resume);
}

static enum http1_body response_framing(const struct stream *s, bool end)
{
    if (end)
        return HTTP1_BODY_NONE;
    if (s->up_tunnel)
        return HTTP1_BODY_TUNNEL;
    if (s->response_has_length)
        return HTTP1_BODY_LENGTH;
    return s->minor ? HTTP1_BODY_CHUNKED : HTTP1_BODY_UNTIL_CLOSE;
}

static void write_informational(struct down_h1 *c, struct http_head *head)
{
    struct http1_write how = {.body = HTTP1_BODY_NONE};
    http1_write_response(flush_slot(&c->c.w->flush, c->c.es), head, &how);
    flush_now(&c->c.w->flush, c->c.es);
}

/* Ending by close is decided before the head: the peer must hear of it. */
static bool will_close(struct down_h1 *c, const struct stream *s, enum http1_body body)
{
    return !c->keep_alive || c->c.draining || !s->request_end || body == HTTP1_BODY_UNTIL_CLOSE;
}

static void down_head(struct stream *s, struct http_head *head, bool end)
{
    struct down_h1 *c = of(s);
    struct flush *f = &c->c.w->flush;
    if (head->status < 200 && !s->up_tunnel) {
        write_informational(c, head);
        return;
    }
    struct http1_write how = {.body = response_framing(s, end),
                              .length = s->response_length,
                              .to_head = s->head.method_id == HTTP_HEAD,
                              .upgrade = s->up_tunnel ? s->upgrade : (struct slice){0}};
    if (how.body != HTTP1_BODY_TUNNEL) {
        how.close = will_close(c, s, how.body);
        how.keep_alive = s->minor == 0 && !how.close;
        c->keep_alive = !how.close;
    }
    c->response_chunked = how.body == HTTP1_BODY_CHUNKED;
    if (!http1_write_response(flush_slot(f, c->c.es), head, &how)) {
        close_now(c); /* an upstream's field that cannot be said in HTTP/1 */
        return;
    }
    if (end) {
        flush_now(f, c->c.es);
        answer_done(c);
    } else if (how.body == HTTP1_BODY_TUNNEL) {
        flush_now(f, c->c.es);
    }
}

static void down_data(struct stream *s, struct slice bytes, bool end)
{
    struct down_h1 *c = of(s);
    struct flush *f = &c->c.w->flush;
    if (c->response_chunked)
        flush_chunk(f, c->c.es, bytes, end);
    else
        flush_body(f, c->c.es, bytes, !end && !s->up_tunnel);
    if (!end)
        return;
    if (s->up_tunnel && !s->down_end) /* the client may still send */
        env_stream_shutdown(c->c.es);
    else
        answer_done(c);
}

static void down_trailers(struct stream *s, const struct headers *trailers)
{
    struct down_h1 *c = of(s);
    struct flush *f = &c->c.w->flush;
    if (c->response_chunked)
        flush_last_chunk(f, c->c.es, trailers);
    flush_now(f, c->c.es);
    answer_done(c);
}

static void down_reset(struct stream *s, uint32_t code)
{
    (void)code;
    close_now(of(s));
}

static void down_consumed(struct stream *s, size_t n)
{
    struct down_h1 *c = of(s);
    wf_assert(n <= c->unread);
    c->unread -= n;
    if (c->unread <= PROXY_BODY_LOW_BYTES && c->phase != PHASE_WAIT)
        read_resume(c);
}

static size_t down_queued(const struct stream *s)
{
    const struct down_h1 *c = of(s);
    return flush_queued(&c->c.w->flush, c->c.es);
}

static void down_tunnel(struct stream *s)
{
    struct down_h1 *c = of(s);
    c->phase = PHASE_TUNNEL;
    read_resume(c);
    if (c->in.n && !c->inside)
        env_defer(c->c.w->env, &c->resume);
}

static const struct down_ops down_h1_ops = {
    .head = down_head,
    .data = down_data,
    .trailers = down_trailers,
    .reset = down_reset,
    .consumed = down_consumed,
    .queued = down_queued,
    .tunnel = down_tunnel,
    .protocol = RECORD_HTTP11,
};

/* The request. */

static bool stream_begin(struct down_h1 *c)
{
    const struct filter_chain *chain = down_conn_chain(&c->c);
    if (!chain) {
        close_sent(c);
        return false;
    }
    c->stream = stream_new(c->c.w, c->c.wl, chain, &down_h1_ops, c, c->c.es, c->c.id);
    c->head_since = env_now(c->c.w->env);
    metric_add(c->c.wl->stats.cx_http1_total, c->requests++ == 0);
    return true;
}

static void on_head(struct down_h1 *c, struct http1_head *h)
{
    struct stream *s = c->stream;
    bool connect = h->http.method_id == HTTP_CONNECT;
    s->head = h->http;
    s->minor = h->minor;
    s->upgrade = h->body == HTTP1_BODY_NONE ? h->upgrade : (struct slice){0};
    s->expect_continue = h->expect_continue;
    s->has_length = h->body == HTTP1_BODY_LENGTH;
    s->length = h->length;
    c->keep_alive = h->keep_alive;
    c->body = h->body;
    c->left = h->length;
    c->chunked = (struct http1_chunked){0};
    bool empty = c->body == HTTP1_BODY_NONE || (c->body == HTTP1_BODY_LENGTH && !c->left);
    c->phase = empty || connect ? PHASE_WAIT : PHASE_BODY;
    stream_request(s, empty && !connect && !s->upgrade.n);
}

static void on_bad_head(struct down_h1 *c)
{
    enum http1_fault fault = c->at.fault;
    struct stream *s = c->stream;
    metric_add(c->c.wl->stats.cx_protocol_error, 1);
    c->keep_alive = false;
    c->phase = PHASE_WAIT;
    s->head.method = S("-");
    s->minor = 1;
    struct slice details = arena_printf(&s->arena, "http1.%s", http1_fault_name(fault));
    stream_request_bad(s, (uint16_t)http1_fault_status(fault), FLAG_DPE, details);
}

static bool take_head(struct down_h1 *c, struct slice *in)
{
    struct http1_head head;
    if (!c->stream && !stream_begin(c))
        return false;
    const struct filter_chain *chain = c->stream->chain;
    struct http1_limits limits = {.head_bytes = (size_t)chain->headers_kb_max * 1024,
                                  .allow_http10 = chain->accept_http10};
    struct arena *arena = &c->stream->arena;
    switch (http1_parse_request(&c->at, *in, &limits, arena, &head)) {
    case HTTP1_MORE:
        return false;
    case HTTP1_BAD:
        *in = (struct slice){0};
        on_bad_head(c);
        return false;
    case HTTP1_DONE:
        break;
    }
    http1_head_keep(&head, *in, arena);
    *in = slice_skip(*in, head.bytes);
    c->at = (struct http1_progress){0};
    c->head_since = 0;
    on_head(c, &head);
    return true;
}

static void give(struct down_h1 *c, struct slice bytes, bool end)
{
    c->unread += bytes.n;
    if (c->unread > PROXY_BODY_SOFT_BYTES)
        read_pause(c);
    if (end)
        c->phase = PHASE_WAIT;
    stream_request_data(c->stream, bytes, end);
}

static bool take_length(struct down_h1 *c, struct slice *in)
{
    struct slice span = slice_sub(*in, 0, c->left < in->n ? (size_t)c->left : in->n);
    *in = slice_skip(*in, span.n);
    c->left -= span.n;
    give(c, span, c->left == 0);
    return true;
}

static void bad_chunk(struct down_h1 *c)
{
    struct stream *s = c->stream;
    metric_add(c->c.wl->stats.cx_protocol_error, 1);
    c->keep_alive = false;
    s->flags |= FLAG_DPE;
    if (s->down_head) {
        close_now(c);
        return;
    }
    stream_try_cancel(s);
    stream_reply(s, 400, FLAG_DPE, S("http1.bad_chunk"), S("Bad Request"));
}

static bool take_chunked(struct down_h1 *c, struct slice *in)
{
    struct stream *s = c->stream;
    struct slice span = {0};
    struct headers trailers = {0};
    enum http1_result r = http1_chunked_next(&c->chunked, in, &s->arena, &span, &trailers);
    if (r == HTTP1_BAD) {
        *in = (struct slice){0};
        bad_chunk(c);
        return false;
    }
    if (r == HTTP1_DONE && trailers.n) {
        struct headers *kept = ARENA_NEW(&s->arena, struct headers);
        headers_copy(kept, &s->arena, &trailers, true);
        c->phase = PHASE_WAIT;
        stream_request_trailers(s, kept);
        return true;
    }
    if (r == HTTP1_MORE && !span.n)
        return false;
    give(c, span, r == HTTP1_DONE);
    return true;
}

/* One step; false: what is left of *in has to wait. */
static bool take(struct down_h1 *c, struct slice *in)
{
    switch (c->phase) {
    case PHASE_HEAD:
        return take_head(c, in);
    case PHASE_BODY:
        return c->body == HTTP1_BODY_LENGTH ? take_length(c, in) : take_chunked(c, in);
    case PHASE_WAIT:
        return false;
    case PHASE_TUNNEL:
        give(c, *in, false);
        *in = (struct slice){0};
        return true;
    case PHASE_CLOSING:
        *in = (struct slice){0};
        return false;
    }
    wf_unreachable("phase");
}

static void take_all(struct down_h1 *c, struct slice bytes)
{
    bool buffered = c->in.n > 0;
    if (buffered)
        buf_append(&c->in, bytes);
    struct slice in = buffered ? buf_slice(&c->in) : bytes;
    size_t before = in.n;
    c->inside = true;
    while (in.n && take(c, &in))
        ;
    c->inside = false;
    if (c->phase == PHASE_CLOSING)
        in = (struct slice){0};
    if (buffered)
        buf_consume(&c->in, before - in.n);
    else if (in.n)
        buf_append(&c->in, in);
    if (!c->in.n)
        buf_fini(&c->in);
    else if (c->phase == PHASE_WAIT && c->in.n > PROXY_PIPELINE_BYTES)
        read_pause(c);
}

static void on_resume(struct env_task *task)
{
    struct down_h1 *c = container_of(task, struct down_h1, resume);
    take_all(c, (struct slice){0});
}

/* The connection. */

static void on_close(void *ctx, const struct err *why)
{
    struct down_h1 *c = ctx;
    struct stream *s = c->stream;
    (void)why;
    c->stream = NULL;
    c->phase = PHASE_CLOSING;
    flush_drop(&c->c.w->flush, c->c.es);
    if (s)
        stream_down_closed(s, false);
    env_defer_cancel(&c->resume);
    buf_fini(&c->in);
    down_conn_gone(&c->c);
    mem_free(c);
}

/* The first bytes are the preface of HTTP/2: another codec takes the connection. */
static bool hand_over(struct down_h1 *c, struct slice bytes)
{
    if (c->requests || c->stream || c->c.codec == CODEC_HTTP1)
        return false;
    if (c->in.n)
        buf_append(&c->in, bytes);
    struct slice all = c->in.n ? buf_slice(&c->in) : bytes;
    enum http1_result r = http1_is_h2_preface(all);
    if (r == HTTP1_MORE) {
        if (!c->in.n)
            buf_append(&c->in, bytes);
        return true;
    }
    if (r == HTTP1_BAD) {
        if (c->in.n)
            c->in.n -= bytes.n; /* take_all appends them again */
        return false;
    }
    const struct filter_chain *chain = down_conn_chain(&c->c);
    if (!chain)
        return false;
    down_h2_take(&c->c, all);
    buf_fini(&c->in);
    mem_free(c);
    return true;
}

static void on_data(void *ctx, struct slice bytes)
{
    struct down_h1 *c = ctx;
    c->c.active = env_now(c->c.w->env);
    if (!hand_over(c, bytes))
        take_all(c, bytes);
}

static void on_end(void *ctx)
{
    struct down_h1 *c = ctx;
    if (c->phase != PHASE_TUNNEL || !c->stream) {
        close_now(c); /* as Envoy: a client that says no more wants no more */
        return;
    }
    stream_request_data(c->stream, (struct slice){0}, true);
    if (c->stream && c->stream->down_end)
        answer_done(c);
}

static void on_drain(void *ctx)
{
    struct down_h1 *c = ctx;
    if (c->stream)
        stream_down_drained(c->stream);
}

static const struct env_stream_events events = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_close = on_close,
};

static wf_ms head_limit(const struct down_h1 *c)
{
    return c->c.headers_timeout > 0 ? c->c.headers_timeout : PROXY_HEADERS_TIMEOUT;
}

static void sweep(struct down_conn *conn, wf_ms now)
{
    struct down_h1 *c = container_of(conn, struct down_h1, c);
    if (c->phase == PHASE_CLOSING)
        return;
    if (c->head_since && now - c->head_since >= head_limit(c)) {
        metric_add(conn->wl->stats.rq_header_timeout, 1);
        c->keep_alive = false;
        c->head_since = 0;
        c->phase = PHASE_WAIT;
        c->stream->minor = 1;
        stream_request_bad(c->stream, 408, FLAG_DT, S("request_header_timeout"));
    } else if (!c->stream && down_conn_idle(conn, now)) {
        metric_add(conn->wl->stats.cx_idle_timeout, 1);
        close_sent(c);
    }
}

static void drain(struct down_conn *conn)
{
    conn->draining = true;
}

static void close_conn(struct down_conn *conn)
{
    close_now(container_of(conn, struct down_h1, c));
}

static const struct down_conn_ops conn_ops = {.sweep = sweep, .drain = drain, .close = close_conn};

void down_h1_accept(struct worker *w, struct wlistener *wl, const struct filter_chain *chain,
                    struct env_stream *es)
{
    struct down_h1 *c = MEM_NEW(struct down_h1);
    down_conn_init(&c->c, w, wl, chain, &conn_ops, es);
    c->resume.fn = on_resume;
    env_stream_set_events(es, &events, c);
}
