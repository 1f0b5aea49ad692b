/* Upstream connections that carry one stream at a time: HTTP/1.1, and plain bytes for CONNECT. */
#include "base/core/assert.h"
#include "proxy/pool.h"
#include "proxy/worker_int.h"

enum phase { PHASE_HEAD, PHASE_BODY, PHASE_TUNNEL };

struct up_h1 {
    struct up_conn c;
    struct stream *stream; /* NULL: idle */
    enum phase phase;
    enum http1_body body;
    bool keep_alive; /* of the response */
    bool raw;        /* CONNECT: no HTTP at all */
    bool request_chunked;
    uint64_t left; /* of the response body */
    size_t unread; /* given to the stream, not consumed */
    bool paused;
    uint32_t informational; /* heads of this response */
    struct http1_progress at;
    struct http1_chunked chunked;
    struct buf in; /* bytes that were no whole head or trailer section yet */
};

static struct up_h1 *of(const struct stream *s)
{
    return s->up_conn;
}

/* The stream's side. */

static enum http1_body request_framing(const struct stream *s, bool end)
{
    if (end || s->upgrade.n)
        return HTTP1_BODY_NONE;
    return s->has_length ? HTTP1_BODY_LENGTH : HTTP1_BODY_CHUNKED;
}

static bool up_head(struct stream *s, bool end)
{
    struct up_h1 *c = of(s);
    s->up_end = end;
    if (c->raw)
        return true;
    struct http1_write how = {
        .body = request_framing(s, end), .length = s->length, .upgrade = s->upgrade};
    c->request_chunked = how.body == HTTP1_BODY_CHUNKED;
    struct flush *f = &c->c.w->flush;
    struct buf *slot = flush_slot(f, c->c.es);
    size_t before = slot->n;
    if (!http1_write_request(slot, &s->head, &how))
        return false;
    metric_add(c->c.host->cluster->stats.cx_tx_bytes, slot->n - before);
    if (end)
        flush_now(f, c->c.es);
    return true;
}

static void up_data(struct stream *s, struct slice bytes, bool end)
{
    struct up_h1 *c = of(s);
    struct flush *f = &c->c.w->flush;
    metric_add(c->c.host->cluster->stats.cx_tx_bytes, bytes.n);
    if (c->request_chunked) {
        flush_chunk(f, c->c.es, bytes, end);
    } else {
        flush_body(f, c->c.es, bytes, !end && !s->up_tunnel);
        if (end && s->up_tunnel)
            env_stream_shutdown(c->c.es);
    }
    s->up_end = s->up_end || end;
}

static void up_trailers(struct stream *s, const struct headers *trailers)
{
    struct up_h1 *c = of(s);
    if (c->request_chunked)
        flush_last_chunk(&c->c.w->flush, c->c.es, trailers);
    else /* framed by its length: RFC 9112 has no place for them */
        flush_now(&c->c.w->flush, c->c.es);
    s->up_end = true;
}

static void detach(struct up_h1 *c)
{
    wf_assert(c->stream && c->stream->up_conn == c);
    c->stream->up = NULL;
    c->stream->up_conn = NULL;
    c->stream = NULL;
    c->c.streams = 0;
    c->unread = 0;
}

static void close_conn(struct up_h1 *c)
{
    flush_drop(&c->c.w->flush, c->c.es);
    pool_conn_close(&c->c);
}

static void up_reset(struct stream *s)
{
    struct up_h1 *c = of(s);
    bool sent_all = c->phase == PHASE_TUNNEL && s->up_end;
    detach(c);
    if (sent_all)
        pool_conn_close_sent(&c->c);
    else
        close_conn(c);
}

static void up_consumed(struct stream *s, size_t n)
{
    struct up_h1 *c = of(s);
    wf_assert(n <= c->unread);
    c->unread -= n;
    if (c->paused && c->unread <= PROXY_BODY_LOW_BYTES) {
        c->paused = false;
        env_stream_read_resume(c->c.es);
    }
}

static size_t up_queued(const struct stream *s)
{
    const struct up_h1 *c = of(s);
    return flush_queued(&c->c.w->flush, c->c.es);
}

static const struct up_ops up_h1_ops = {
    .head = up_head,
    .data = up_data,
    .trailers = up_trailers,
    .reset = up_reset,
    .consumed = up_consumed,
    .queued = up_queued,
};

static void attach(struct up_h1 *c, struct stream *s)
{
    wf_assert(!c->stream && c->c.state == UP_BUSY);
    c->stream = s;
    c->phase = PHASE_HEAD;
    c->at = (struct http1_progress){0};
    c->unread = c->informational = 0;
    s->up = &up_h1_ops;
    s->up_conn = c;
    s->up_reused = c->c.requests > 0;
    c->c.requests++;
    c->c.streams = 1;
    stream_up_ready(s);
}

void up_h1_attach(struct up_conn *conn, struct stream *s)
{
    attach(container_of(conn, struct up_h1, c), s);
}

/* The response. */

/* The response is complete: the connection goes back before the stream hears of it, so that the
 * stream's next step may take it again. */
static void finish(struct up_h1 *c)
{
    bool reusable = c->keep_alive && c->stream->up_end && !c->in.n;
    detach(c);
    if (c->paused) {
        c->paused = false;
        env_stream_read_resume(c->c.es);
    }
    if (reusable)
        pool_conn_free(&c->c);
    else
        close_conn(c);
}

static void fail(struct up_h1 *c, enum try_failure failure, struct slice why)
{
    struct stream *s = c->stream;
    detach(c);
    close_conn(c);
    stream_up_failed(s, failure, why);
}

static void on_head(struct up_h1 *c, struct http1_head *head)
{
    struct stream *s = c->stream;
    c->body = head->body;
    c->left = head->length;
    c->keep_alive = head->keep_alive && head->body != HTTP1_BODY_UNTIL_CLOSE;
    c->chunked = (struct http1_chunked){0};
    c->phase = head->body == HTTP1_BODY_TUNNEL ? PHASE_TUNNEL : PHASE_BODY;
    bool end = c->body == HTTP1_BODY_NONE || (c->body == HTTP1_BODY_LENGTH && c->left == 0);
    bool has_length = c->body == HTTP1_BODY_LENGTH;
    if (end)
        finish(c);
    stream_up_head(s, &head->http, has_length, head->length, end);
}

/* True: a head was taken from *in; the rest is next. */
static bool take_head(struct up_h1 *c, struct slice *in)
{
    struct stream *s = c->stream;
    struct http1_head head;
    enum http_method method = (enum http_method)s->head.method_id;
    switch (http1_parse_response(&c->at, *in, method, NULL, &s->arena, &head)) {
    case HTTP1_MORE:
        return false;
    case HTTP1_BAD:
        s->flags |= FLAG_UPE;
        fail(c, TRY_RESET, S("protocol error"));
        return false;
    case HTTP1_DONE:
        break;
    }
    c->at = (struct http1_progress){0};
    http1_head_keep(&head, *in, &s->arena);
    *in = slice_skip(*in, head.bytes);
    if (head.http.status >= 200 || head.http.status == 101) {
        on_head(c, &head);
    } else if (++c->informational <= PROXY_INFORMATIONAL_MAX) {
        stream_up_informational(s, &head.http);
    } else {
        s->flags |= FLAG_UPE;
        fail(c, TRY_RESET, S("protocol error"));
    }
    return true;
}

static void give(struct up_h1 *c, struct slice bytes)
{
    c->unread += bytes.n;
    if (c->unread > PROXY_BODY_SOFT_BYTES && !c->paused) {
        c->paused = true;
        env_stream_read_pause(c->c.es);
    }
    stream_up_data(c->stream, bytes, false);
}

static bool take_length(struct up_h1 *c, struct slice *in)
{
    struct stream *s = c->stream;
    struct slice span = slice_sub(*in, 0, c->left < in->n ? (size_t)c->left : in->n);
    *in = slice_skip(*in, span.n);
    c->left -= span.n;
    if (c->left) {
        give(c, span);
        return true;
    }
    c->keep_alive = c->keep_alive && !in->n; /* bytes nobody asked for: not to be trusted */
    finish(c);
    stream_up_data(s, span, true);
    return true;
}

static bool take_chunked(struct up_h1 *c, struct slice *in)
{
    struct stream *s = c->stream;
    struct slice span = {0};
    struct headers read = {0};
    while (c->stream == s) {
        enum http1_result r = http1_chunked_next(&c->chunked, in, &s->arena, &span, &read);
        if (r == HTTP1_BAD) {
            s->flags |= FLAG_UPE;
            fail(c, TRY_RESET, S("protocol error"));
        } else if (r == HTTP1_DONE) {
            c->keep_alive = c->keep_alive && !in->n;
            struct headers *trailers = ARENA_NEW(&s->arena, struct headers);
            headers_copy(trailers, &s->arena, &read, true);
            finish(c);
            if (trailers->n)
                stream_up_trailers(s, trailers);
            else
                stream_up_data(s, (struct slice){0}, true);
        } else if (span.n) {
            give(c, span);
        } else {
            return false;
        }
    }
    return true;
}

/* One step; false: what is left of *in must wait for more. */
static bool take(struct up_h1 *c, struct slice *in)
{
    if (c->phase == PHASE_HEAD)
        return take_head(c, in);
    if (c->phase == PHASE_BODY && c->body == HTTP1_BODY_LENGTH)
        return take_length(c, in);
    if (c->phase == PHASE_BODY && c->body == HTTP1_BODY_CHUNKED)
        return take_chunked(c, in);
    struct slice all = *in; /* tunnel, or until close */
    *in = (struct slice){0};
    give(c, all);
    return true;
}

static void on_data(void *ctx, struct slice bytes)
{
    struct up_h1 *c = ctx;
    struct stream *s = c->stream;
    metric_add(c->c.host->cluster->stats.cx_rx_bytes, bytes.n);
    if (!s) { /* nobody asked */
        close_conn(c);
        return;
    }
    s->up_answered = true;
    bool buffered = c->in.n > 0;
    if (buffered)
        buf_append(&c->in, bytes);
    struct slice in = buffered ? buf_slice(&c->in) : bytes;
    size_t before = in.n;
    while (in.n && c->stream == s && take(c, &in))
        ;
    if (c->stream != s || c->c.state == UP_CLOSED) {
        buf_fini(&c->in);
        return;
    }
    if (buffered)
        buf_consume(&c->in, before - in.n);
    else if (in.n)
        buf_append(&c->in, in);
    if (!c->in.n)
        buf_fini(&c->in);
}

static void on_end(void *ctx)
{
    struct up_h1 *c = ctx;
    struct stream *s = c->stream;
    if (!s) {
        close_conn(c);
    } else if (c->phase == PHASE_TUNNEL) {
        stream_up_data(s, (struct slice){0}, true);
    } else if (c->phase == PHASE_BODY && c->body == HTTP1_BODY_UNTIL_CLOSE) {
        finish(c);
        stream_up_data(s, (struct slice){0}, true);
    } else {
        fail(c, TRY_RESET, S("connection termination"));
    }
}

static void on_drain(void *ctx)
{
    struct up_h1 *c = ctx;
    if (c->stream)
        stream_up_drained(c->stream);
}

static void on_connect(void *ctx)
{
    struct up_h1 *c = ctx;
    pool_conn_connected(&c->c);
    if (!c->raw || !c->stream)
        return;
    /* The tunnel's stream was tied to this connection from the start. */
    struct stream *s = c->stream;
    c->stream = NULL;
    attach(c, s);
    if (c->stream != s)
        return;
    c->phase = PHASE_TUNNEL;
    struct http_head *head = ARENA_NEW(&s->arena, struct http_head);
    head->status = 200;
    stream_up_head(s, head, false, 0, false);
}

static void on_close(void *ctx, const struct err *why)
{
    struct up_h1 *c = ctx;
    struct stream *s = c->stream;
    bool connecting = c->c.state == UP_CONNECTING;
    flush_drop(&c->c.w->flush, c->c.es);
    if (s)
        detach(c);
    if (s && connecting)
        stream_up_failed(s, TRY_CONNECT_FAILURE, slice_of(why->msg));
    else if (s)
        stream_up_failed(s, TRY_RESET, S("connection termination"));
    pool_conn_gone(&c->c, why);
    buf_fini(&c->in);
    mem_free(c);
}

static const struct env_stream_events events = {
    .on_connect = on_connect,
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_close = on_close,
};

static struct up_h1 *connect_new(struct up_host *h, enum up_protocol protocol)
{
    struct up_h1 *c = MEM_NEW(struct up_h1);
    struct env_stream_options opt = {.low_water = PROXY_BODY_LOW_BYTES,
                                     .user_timeout = PROXY_USER_TIMEOUT,
                                     .connect_timeout = h->cluster->conf->connect_timeout};
    pool_conn_init(&c->c, h, protocol);
    c->c.es = env_connect(c->c.w->env, host_addr(h), &opt, &events, c);
    return c;
}

struct up_conn *up_h1_connect(struct up_host *h)
{
    return &connect_new(h, UP_HTTP1)->c;
}

struct up_conn *up_tcp_connect(struct up_host *h, struct stream *s)
{
    struct up_h1 *c = connect_new(h, UP_TCP);
    c->raw = true;
    c->stream = s;
    c->c.streams = 1;
    s->up = &up_h1_ops;
    s->up_conn = c;
    return &c->c;
}
