#include "base/wire/h2.h"

#include <string.h>

#include "base/core/assert.h"
#include "base/wire/h2_int.h"

#define STREAMS_MAX 100u
#define STREAM_WINDOW (256u * 1024)
#define SESSION_WINDOW (1024u * 1024)
#define HEADER_BYTES (60u * 1024)
#define HEADERS 100u
#define GLITCHES 1000u
#define GLITCHES_PER_S 100u
#define OUTBOUND_ACKS_MAX 100u
#define SETTINGS_MAX 32u
#define CONTINUATIONS_MAX 8u
#define TABLE_MIN 8u

/* What an odd frame costs of the glitch budget. */
#define GLITCH_FRAME 1u /* PRIORITY, RST_STREAM, unknown types */
#define GLITCH_SETTINGS 10u
#define GLITCH_EMPTY_DATA 10u /* it carries nothing */
#define GLITCH_OUR_RESET 10u  /* the peer made us reset a stream */
/* WINDOW_UPDATE and PING are answers to what we send: so many are free for a DATA or HEADERS. */
#define CREDIT_START 100u
#define CREDIT_PER_FRAME 10u
#define CREDIT_MAX 10000u

#define PING_DRAIN 0x77656674646f6e65u /* our own opaque value for the PING of a drain */

const char *h2_error_name(uint32_t code)
{
    return nghttp2_http2_strerror(code);
}

/* Table of streams. */

static uint32_t slot_of(const struct h2 *h, int32_t id)
{
    return (uint32_t)id / 2 & (h->table_cap - 1); /* ids of one side are 2 apart */
}

struct h2_stream *h2_find(const struct h2 *h, int32_t id)
{
    struct h2_stream *s = h->table[slot_of(h, id)];
    while (s && s->id != id)
        s = s->hash_next;
    return s;
}

static void table_grow(struct h2 *h)
{
    struct h2_stream **old = h->table;
    uint32_t n = h->table_cap;
    h->table_cap = 2 * n;
    h->table = mem_array(h->table_cap, sizeof(struct h2_stream *));
    for (uint32_t i = 0; i < n; i++) {
        for (struct h2_stream *s = old[i], *next; s; s = next) {
            next = s->hash_next;
            struct h2_stream **at = &h->table[slot_of(h, s->id)];
            s->hash_next = *at;
            *at = s;
        }
    }
    mem_free(old);
}

static void stream_add(struct h2 *h, struct h2_stream *s, int32_t id, bool ours)
{
    wf_assert(id > 0 && !h2_find(h, id));
    if (h->stream_n >= 2 * h->table_cap)
        table_grow(h);
    struct h2_stream **at = &h->table[slot_of(h, id)];
    s->id = id;
    s->ours = ours;
    s->hash_next = *at;
    *at = s;
    h->stream_n++;
    h->ours_n += ours;
    h->stats.streams++;
}

static void stream_drop(struct h2 *h, struct h2_stream *s)
{
    struct h2_stream **at = &h->table[slot_of(h, s->id)];
    while (*at != s)
        at = &(*at)->hash_next;
    *at = s->hash_next;
    h->stream_n--;
    h->ours_n -= s->ours;
    h2_pool_put_stream(h->pool, s);
}

/* Abuse. */

void h2_glitch(struct h2 *h, uint32_t n)
{
    uint64_t forgotten = (uint64_t)(h->now - h->glitch_at) * h->opt.glitches_per_s / 1000;
    if (forgotten) {
        h->glitch = forgotten >= h->glitch ? 0 : h->glitch - (uint32_t)forgotten;
        h->glitch_at = h->now;
    }
    h->glitch += n;
    h->stats.glitches += n;
}

static bool flooded(const struct h2 *h)
{
    return h->glitch > h->opt.glitches;
}

static void spend_credit(struct h2 *h)
{
    if (h->credit)
        h->credit--;
    else
        h2_glitch(h, GLITCH_FRAME);
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *ctx)
{
    (void)session;
    struct h2 *h = ctx;
    switch (hd->type) {
    case NGHTTP2_DATA:
        if (!hd->length && !(hd->flags & NGHTTP2_FLAG_END_STREAM))
            h2_glitch(h, GLITCH_EMPTY_DATA);
        break;
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION:
    case NGHTTP2_GOAWAY:
        break;
    case NGHTTP2_WINDOW_UPDATE:
    case NGHTTP2_PING:
        spend_credit(h);
        break;
    case NGHTTP2_SETTINGS:
        h2_glitch(h, GLITCH_SETTINGS);
        break;
    case NGHTTP2_RST_STREAM:
        h->stats.resets_in++;
        h2_glitch(h, GLITCH_FRAME);
        break;
    default:
        h2_glitch(h, GLITCH_FRAME);
    }
    return flooded(h) ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static void reset_in_event(struct h2 *h, int32_t id, uint32_t code)
{
    nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, id, code);
}

/* Receiving heads. */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    (void)session;
    struct h2 *h = ctx;
    struct h2_stream *s = h2_find(h, frame->hd.stream_id);
    if (!s) {
        if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        s = h2_pool_stream(h->pool);
        stream_add(h, s, frame->hd.stream_id, false);
        s->hidden = true; /* until its head is whole and valid */
    }
    struct h2_block *b = h2_pool_block(h->pool);
    b->next = s->blocks;
    s->blocks = b;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *ctx)
{
    (void)session;
    struct h2 *h = ctx;
    struct h2_stream *s = h2_find(h, frame->hd.stream_id);
    if (!s || !s->blocks)
        return 0;
    if (h2_block_field(s->blocks, &h->opt, name, value, flags) == H2_BLOCK_KILL)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return 0;
}

/* nghttp2 would leave the field out; a head with one is malformed (RFC 9113 §8.1.1). */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                             nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags, void *ctx)
{
    (void)session, (void)frame, (void)name, (void)value, (void)flags;
    struct h2 *h = ctx;
    h->stats.headers_refused++;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static enum h2_kind kind_of(struct h2 *h, struct h2_stream *s, const nghttp2_frame *frame)
{
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        return H2_REQUEST;
    if (h->server || s->final_head)
        return H2_TRAILERS;
    if (s->blocks->head.status < 200)
        return H2_INFORMATIONAL;
    s->final_head = true;
    return H2_RESPONSE;
}

/* The status tells the client what it can change. */
static void refuse_large_head(struct h2 *h, int32_t id)
{
    char digits[3];
    nghttp2_nv nv[H2_NV_MAX];
    const struct http_head answer = {.status = 431};
    nghttp2_submit_response(h->session, id, nv, h2_nv_head(nv, &answer, digits), NULL);
}

static void refuse_head(struct h2 *h, struct h2_stream *s, enum h2_kind kind)
{
    h->stats.headers_refused++;
    h2_glitch(h, GLITCH_OUR_RESET);
    if (s->blocks->too_large && kind == H2_REQUEST)
        refuse_large_head(h, s->id);
    else
        reset_in_event(h, s->id,
                       s->blocks->too_large ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
}

static void drop_newest_block(struct h2 *h, struct h2_stream *s)
{
    struct h2_block *b = s->blocks;
    s->blocks = b->next;
    h2_pool_put_block(h->pool, b);
}

static void on_head_complete(struct h2 *h, const nghttp2_frame *frame)
{
    struct h2_stream *s = h2_find(h, frame->hd.stream_id);
    if (!s || !s->blocks)
        return;
    enum h2_kind kind = kind_of(h, s, frame);
    if (s->blocks->too_large || !h2_block_settle(s->blocks, kind, &h->opt)) {
        refuse_head(h, s, kind);
        return;
    }
    if (kind == H2_REQUEST) {
        s->hidden = false;
        s->tunnel = s->blocks->head.method_id == HTTP_CONNECT;
    }
    if (s->hidden)
        return;
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    h->events->on_headers(h->ctx, s->id, s->user, kind, &s->blocks->head, end);
    if (kind == H2_INFORMATIONAL) {
        h2_glitch(h, GLITCH_FRAME); /* one is usual, a thousand are a flood */
        drop_newest_block(h, s);
    }
}

/* Receiving the rest. */

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t n, void *ctx)
{
    (void)flags;
    struct h2 *h = ctx;
    struct h2_stream *s = h2_find(h, id);
    if (!s || s->hidden || !h->events->on_data) {
        nghttp2_session_consume(session, id, n);
        return 0;
    }
    s->unconsumed += (uint32_t)n;
    h->events->on_data(h->ctx, id, s->user, slice_mem(data, n), false);
    return 0;
}

static void on_data_end(struct h2 *h, const nghttp2_frame *frame)
{
    struct h2_stream *s = h2_find(h, frame->hd.stream_id);
    if (s && !s->hidden && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) && h->events->on_data)
        h->events->on_data(h->ctx, s->id, s->user, (struct slice){0}, true);
}

static void finish_drain(struct h2 *h)
{
    h->goaway_out = true;
    nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR,
                          NULL, 0);
}

static void on_ping(struct h2 *h, const nghttp2_ping *ping)
{
    uint64_t opaque;
    if (!(ping->hd.flags & NGHTTP2_FLAG_ACK))
        return;
    memcpy(&opaque, ping->opaque_data, sizeof(opaque));
    if (h->drain_ping && opaque == PING_DRAIN) {
        h->drain_ping = false;
        finish_drain(h);
    } else if (h->ping_out && opaque == h->ping_opaque) {
        h->ping_out = false;
        if (h->events->on_ping_ack)
            h->events->on_ping_ack(h->ctx, opaque);
    }
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    (void)session;
    struct h2 *h = ctx;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        on_head_complete(h, frame);
        break;
    case NGHTTP2_DATA:
        on_data_end(h, frame);
        break;
    case NGHTTP2_PING:
        on_ping(h, &frame->ping);
        break;
    case NGHTTP2_GOAWAY:
        h->goaway_in = true;
        if (h->events->on_goaway)
            h->events->on_goaway(h->ctx, frame->goaway.last_stream_id, frame->goaway.error_code);
        break;
    case NGHTTP2_SETTINGS:
        if (h->events->on_settings && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
            h->events->on_settings(h->ctx);
        break;
    default:
        break;
    }
    return flooded(h) ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *ctx)
{
    struct h2 *h = ctx;
    struct h2_stream *s = h2_find(h, id);
    if (!s)
        return 0;
    if (s->unconsumed)
        nghttp2_session_consume_connection(session, s->unconsumed);
    s->unconsumed = 0;
    if (!s->hidden && h->events->on_close)
        h->events->on_close(h->ctx, id, s->user, code);
    bool ours = s->ours;
    stream_drop(h, s);
    if (ours && h->events->on_capacity)
        h->events->on_capacity(h->ctx);
    return 0;
}

/* Sending. */

static ssize_t on_body(nghttp2_session *session, int32_t id, uint8_t *dst, size_t n,
                       uint32_t *flags, nghttp2_data_source *source, void *ctx)
{
    (void)session, (void)id;
    struct h2 *h = ctx;
    struct h2_stream *s = source->ptr;
    size_t got = 0;
    s->reading = true;
    enum h2_read r = h->events->on_read(h->ctx, s->id, s->user, (char *)dst, n, &got);
    s->reading = false;
    wf_assert(got <= n);
    switch (r) {
    case H2_READ_SOME:
        wf_assert(got > 0);
        break;
    case H2_READ_WAIT:
        s->sleeping = true;
        return NGHTTP2_ERR_DEFERRED;
    case H2_READ_END:
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        break;
    case H2_READ_TRAILERS:
        s->body_done = true;
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        break;
    case H2_READ_RESET:
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return (ssize_t)got;
}

/* A whole response makes the rest of the request useless (RFC 9113 §8.1); but the two directions of
 * a tunnel end by themselves. */
static void stop_request(struct h2 *h, const nghttp2_frame *frame)
{
    int32_t id = frame->hd.stream_id;
    struct h2_stream *s = h2_find(h, id);
    if (!h->server || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) || !s || s->tunnel)
        return;
    if (nghttp2_session_get_stream_remote_close(h->session, id) == 0)
        reset_in_event(h, id, NGHTTP2_NO_ERROR);
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    (void)session;
    struct h2 *h = ctx;
    switch (frame->hd.type) {
    case NGHTTP2_DATA:
    case NGHTTP2_HEADERS:
        h->credit += h->credit < CREDIT_MAX ? CREDIT_PER_FRAME : 0;
        stop_request(h, frame);
        break;
    case NGHTTP2_RST_STREAM:
        h->stats.resets_out++;
        if (frame->rst_stream.error_code == NGHTTP2_PROTOCOL_ERROR ||
            frame->rst_stream.error_code == NGHTTP2_FLOW_CONTROL_ERROR ||
            frame->rst_stream.error_code == NGHTTP2_STREAM_CLOSED)
            h2_glitch(h, GLITCH_OUR_RESET);
        break;
    case NGHTTP2_GOAWAY:
        if (frame->goaway.last_stream_id != INT32_MAX)
            h->goaway_out = true;
        break;
    default:
        break;
    }
    return 0;
}

static nghttp2_session_callbacks *callbacks(void)
{
    nghttp2_session_callbacks *cb;
    wf_assert(nghttp2_session_callbacks_new(&cb) == 0);
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(cb, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    return cb;
}

static void defaults(struct h2_options *o)
{
#define DEFAULT(field, value)                                                                      \
    if (!o->field)                                                                                 \
    o->field = (value)
    DEFAULT(streams_max, STREAMS_MAX);
    DEFAULT(stream_window, STREAM_WINDOW);
    DEFAULT(session_window, SESSION_WINDOW);
    DEFAULT(header_bytes, HEADER_BYTES);
    DEFAULT(headers, HEADERS);
    DEFAULT(glitches, GLITCHES);
    DEFAULT(glitches_per_s, GLITCHES_PER_S);
#undef DEFAULT
}

static nghttp2_option *options(const struct h2_options *o)
{
    nghttp2_option *n;
    wf_assert(nghttp2_option_new(&n) == 0);
    nghttp2_option_set_no_auto_window_update(n, 1);
    nghttp2_option_set_no_closed_streams(n, 1);
    nghttp2_option_set_max_outbound_ack(n, OUTBOUND_ACKS_MAX);
    nghttp2_option_set_max_settings(n, SETTINGS_MAX);
    nghttp2_option_set_max_continuations(n, CONTINUATIONS_MAX);
    nghttp2_option_set_stream_reset_rate_limit(n, o->glitches, o->glitches_per_s);
    return n;
}

static void submit_settings(struct h2 *h)
{
    nghttp2_settings_entry s[6];
    size_t n = 0;
    s[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, h->opt.stream_window};
    s[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, h->opt.header_bytes};
    s[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1};
    if (h->server)
        s[n++] =
            (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, h->opt.streams_max};
    else
        s[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
    if (h->server && h->opt.extended_connect)
        s[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1};
    wf_assert(nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, s, n) == 0);
    wf_assert(nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0,
                                                    (int32_t)h->opt.session_window) == 0);
}

static struct h2 *session_new(const struct h2_options *opt, const struct h2_events *events,
                              void *ctx, bool server)
{
    wf_assert(events->on_headers);
    struct h2 *h = MEM_NEW(struct h2);
    *h = (struct h2){
        .events = events,
        .ctx = ctx,
        .opt = opt ? *opt : (struct h2_options){0},
        .server = server,
        .table_cap = TABLE_MIN,
        .credit = CREDIT_START,
    };
    defaults(&h->opt);
    h->owns_pool = !h->opt.pool;
    h->pool = h->owns_pool ? h2_pool_new() : h->opt.pool;
    h->table = mem_array(h->table_cap, sizeof(struct h2_stream *));
    nghttp2_session_callbacks *cb = callbacks();
    nghttp2_option *o = options(&h->opt);
    int rc = server ? nghttp2_session_server_new2(&h->session, cb, h, o)
                    : nghttp2_session_client_new2(&h->session, cb, h, o);
    wf_assert(rc == 0);
    nghttp2_option_del(o);
    nghttp2_session_callbacks_del(cb);
    submit_settings(h);
    return h;
}

struct h2 *h2_server_new(const struct h2_options *opt, const struct h2_events *events, void *ctx)
{
    return session_new(opt, events, ctx, true);
}

struct h2 *h2_client_new(const struct h2_options *opt, const struct h2_events *events, void *ctx)
{
    return session_new(opt, events, ctx, false);
}

void h2_free(struct h2 *h)
{
    if (!h)
        return;
    wf_assert(!h->depth);
    for (uint32_t i = 0; i < h->table_cap; i++)
        while (h->table[i])
            stream_drop(h, h->table[i]);
    nghttp2_session_del(h->session);
    mem_free(h->table);
    if (h->owns_pool)
        h2_pool_free(h->pool);
    mem_free(h);
}

static bool broken(struct h2 *h, uint32_t code, struct err *err, const char *why)
{
    h->broken = h->goaway_out = true;
    nghttp2_session_terminate_session(h->session, code);
    return err_set(err, code == NGHTTP2_ENHANCE_YOUR_CALM ? ERR_LIMIT : ERR_INVALID, "http2: %s",
                   why);
}

static bool recv_failed(struct h2 *h, int rc, struct err *err)
{
    if (rc == NGHTTP2_ERR_CALLBACK_FAILURE)
        return broken(h, NGHTTP2_ENHANCE_YOUR_CALM, err,
                      flooded(h) ? "too many frames without work" : "head far too large");
    if (rc == NGHTTP2_ERR_FLOODED)
        return broken(h, NGHTTP2_ENHANCE_YOUR_CALM, err, "control frames faster than answers");
    return broken(h, NGHTTP2_PROTOCOL_ERROR, err, nghttp2_strerror(rc));
}

bool h2_recv(struct h2 *h, wf_ms now, struct slice bytes, struct err *err)
{
    wf_assert(!h->depth);
    if (h->broken)
        return err_set(err, ERR_INVALID, "http2: session is over");
    h->now = now;
    h->depth++;
    ssize_t n = nghttp2_session_mem_recv(h->session, (const uint8_t *)bytes.p, bytes.n);
    h->depth--;
    return n < 0 ? recv_failed(h, (int)n, err) : true;
}

bool h2_send(struct h2 *h, struct buf *out, size_t bound, struct err *err)
{
    wf_assert(!h->depth);
    bool fine = true;
    h->depth++;
    while (out->n < bound) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(h->session, &p);
        if (n == 0)
            break;
        if (n < 0) {
            fine = broken(h, NGHTTP2_INTERNAL_ERROR, err, nghttp2_strerror((int)n));
            break;
        }
        if (!buf_append(out, slice_mem(p, (size_t)n))) {
            fine = broken(h, NGHTTP2_INTERNAL_ERROR, err, "output buffer is full");
            break;
        }
    }
    h->depth--;
    return fine;
}

bool h2_want_send(const struct h2 *h)
{
    return nghttp2_session_want_write(h->session);
}

bool h2_done(const struct h2 *h)
{
    return (h->broken || !nghttp2_session_want_read(h->session)) &&
           !nghttp2_session_want_write(h->session);
}

/* Calls of the owner. */

bool h2_can_request(const struct h2 *h)
{
    uint32_t most =
        nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return !h->server && !h2_draining(h) && h->ours_n < most &&
           nghttp2_session_check_request_allowed(h->session);
}

int32_t h2_request(struct h2 *h, const struct http_head *head, bool body, void *user)
{
    wf_assert(!h->server && !head->status);
    nghttp2_nv nv[H2_NV_MAX];
    char unused[3];
    size_t n = h2_nv_head(nv, head, unused);
    if (!n || !h2_can_request(h))
        return -1;
    /* The record must be there before the id: the body source points to it. */
    struct h2_stream *s = h2_pool_stream(h->pool);
    nghttp2_data_provider body_source = {.source.ptr = s, .read_callback = on_body};
    int32_t id = nghttp2_submit_request(h->session, NULL, nv, n, body ? &body_source : NULL, NULL);
    if (id < 0) {
        h2_pool_put_stream(h->pool, s);
        return -1;
    }
    stream_add(h, s, id, true);
    s->user = user;
    return id;
}

bool h2_respond(struct h2 *h, int32_t stream, const struct http_head *head, bool body)
{
    wf_assert(h->server && head->status);
    struct h2_stream *s = h2_find(h, stream);
    if (!s)
        return false;
    nghttp2_nv nv[H2_NV_MAX];
    char status[3];
    size_t n = h2_nv_head(nv, head, status);
    if (!n)
        return false;
    if (head->status < 200)
        return nghttp2_submit_headers(h->session, NGHTTP2_FLAG_NONE, stream, NULL, nv, n, NULL) ==
               0;
    nghttp2_data_provider body_source = {.source.ptr = s, .read_callback = on_body};
    return nghttp2_submit_response(h->session, stream, nv, n, body ? &body_source : NULL) == 0;
}

void h2_set_user(struct h2 *h, int32_t stream, void *user)
{
    struct h2_stream *s = h2_find(h, stream);
    if (s)
        s->user = user;
}

void *h2_user(struct h2 *h, int32_t stream)
{
    struct h2_stream *s = h2_find(h, stream);
    return s ? s->user : NULL;
}

bool h2_trailers(struct h2 *h, int32_t stream, const struct headers *trailers)
{
    struct h2_stream *s = h2_find(h, stream);
    if (!s)
        return false;
    wf_assert(s->reading || s->body_done);
    nghttp2_nv nv[H2_NV_MAX];
    size_t n = h2_nv_headers(nv, trailers);
    return nghttp2_submit_trailer(h->session, stream, nv, n) == 0;
}

void h2_resume(struct h2 *h, int32_t stream)
{
    struct h2_stream *s = h2_find(h, stream);
    if (!s || !s->sleeping)
        return;
    s->sleeping = false;
    nghttp2_session_resume_data(h->session, stream);
}

void h2_consume(struct h2 *h, int32_t stream, size_t n)
{
    struct h2_stream *s = h2_find(h, stream);
    if (!s || !n)
        return;
    wf_assert(n <= s->unconsumed);
    s->unconsumed -= (uint32_t)n;
    nghttp2_session_consume(h->session, stream, n);
}

void h2_reset(struct h2 *h, int32_t stream, uint32_t code)
{
    if (h2_find(h, stream))
        reset_in_event(h, stream, code);
}

bool h2_ping(struct h2 *h, uint64_t opaque)
{
    if (h->ping_out || opaque == PING_DRAIN)
        return false;
    uint8_t data[8];
    memcpy(data, &opaque, sizeof(data));
    h->ping_opaque = opaque;
    h->ping_out = nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, data) == 0;
    return h->ping_out;
}

void h2_drain(struct h2 *h)
{
    if (h->drain_ping || h->goaway_out)
        return;
    if (!h->server) {
        finish_drain(h);
        return;
    }
    const uint64_t opaque = PING_DRAIN;
    uint8_t data[8];
    memcpy(data, &opaque, sizeof(data));
    nghttp2_submit_shutdown_notice(h->session);
    h->drain_ping = nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, data) == 0;
}

void h2_terminate(struct h2 *h, uint32_t code)
{
    h->goaway_out = true;
    nghttp2_session_terminate_session(h->session, code);
}

uint32_t h2_streams(const struct h2 *h)
{
    return h->stream_n;
}

bool h2_draining(const struct h2 *h)
{
    return h->goaway_in || h->goaway_out || h->drain_ping;
}

const struct h2_stats *h2_stats(const struct h2 *h)
{
    return &h->stats;
}
