#include "base/net/grpc_stream.h"

#include <string.h>

#include "base/core/assert.h"
#include "base/net/grpc_int.h"

static const struct sm_state send_states[] = {
    [SEND_OPEN] = {"open", SM(SEND_ENDING)},
    [SEND_ENDING] = {"ending", SM(SEND_DONE)},
    [SEND_DONE] = {"done", 0},
};
static const struct sm_table send_table = {"grpc.send", send_states, ARRAY_LEN(send_states), NULL};

static bool is_server(const struct grpc_stream *s)
{
    return s->conn->opt.server;
}

static void wake(struct grpc_stream *s)
{
    if (s->id)
        h2_resume(s->conn->h2, s->id);
    grpc_conn_wake(s->conn);
}

/* Sources. */

static void parts_read(struct grpc_source *src, char *dst, size_t n)
{
    struct grpc_parts *p = container_of(src, struct grpc_parts, src);
    while (n) {
        wf_assert(p->at < p->n);
        struct slice rest = slice_skip(p->parts[p->at], p->off);
        size_t k = rest.n < n ? rest.n : n;
        if (k)
            memcpy(dst, rest.p, k);
        dst += k;
        n -= k;
        p->off += k;
        if (p->off == p->parts[p->at].n) {
            p->at++;
            p->off = 0;
        }
    }
}

void grpc_parts_init(struct grpc_parts *p, const struct slice *parts, size_t n,
                     void (*done)(struct grpc_source *src, bool sent))
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += parts[i].n;
    wf_assert(bytes <= UINT32_MAX);
    *p = (struct grpc_parts){
        .src = {.bytes = (uint32_t)bytes, .read = parts_read, .done = done},
        .parts = parts,
        .n = n,
    };
}

bool grpc_stream_send(struct grpc_stream *s, struct grpc_source *src)
{
    wf_assert(src->read && src->done && !src->taken && !src->head_taken);
    if (s->send.now != SEND_OPEN || !s->id || s->source_n >= GRPC_SOURCES_MAX)
        return false;
    if (!s->source_n)
        s->progress_at = env_now(s->conn->env);
    list_push(&s->sources, &src->node);
    s->source_n++;
    wake(s);
    return true;
}

struct copied {
    struct grpc_parts parts;
    struct slice slice;
    char bytes[];
};

static void copied_done(struct grpc_source *src, bool sent)
{
    (void)sent;
    mem_free(container_of(src, struct copied, parts.src));
}

bool grpc_stream_send_copy(struct grpc_stream *s, struct slice message)
{
    struct copied *c = mem_new(sizeof(*c) + message.n);
    if (message.n)
        memcpy(c->bytes, message.p, message.n);
    c->slice = (struct slice){c->bytes, message.n};
    grpc_parts_init(&c->parts, &c->slice, 1, copied_done);
    if (grpc_stream_send(s, &c->parts.src))
        return true;
    mem_free(c);
    return false;
}

size_t grpc_stream_queued(const struct grpc_stream *s)
{
    return s->source_n;
}

static struct grpc_source *first_source(struct grpc_stream *s)
{
    struct list_node *n = list_first(&s->sources);
    return n ? container_of(n, struct grpc_source, node) : NULL;
}

static void source_done(struct grpc_stream *s, struct grpc_source *src, bool sent)
{
    list_remove(&src->node);
    s->source_n--;
    src->done(src, sent);
}

static void give_back_sources(struct grpc_stream *s)
{
    struct grpc_source *src;
    while ((src = first_source(s)))
        source_done(s, src, false);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The next bytes of the frame head; a window of one byte must make progress too. */
static size_t take_head(struct grpc_source *src, char *dst, size_t n)
{
    char head[GRPC_FRAME_HEAD];
    size_t k = least(n, sizeof(head) - src->head_taken);
    grpc_frame_head(head, src->bytes);
    memcpy(dst, head + src->head_taken, k);
    src->head_taken = (uint8_t)(src->head_taken + k);
    return k;
}

static size_t take_body(struct grpc_source *src, char *dst, size_t n)
{
    size_t k = least(n, src->bytes - src->taken);
    if (k)
        src->read(src, dst, k);
    src->taken += (uint32_t)k;
    return k;
}

static size_t fill(struct grpc_stream *s, char *dst, size_t n)
{
    size_t got = 0;
    struct grpc_source *src;
    while (got < n && (src = first_source(s))) {
        if (src->head_taken < GRPC_FRAME_HEAD)
            got += take_head(src, dst + got, n - got);
        got += take_body(src, dst + got, n - got);
        if (src->head_taken == GRPC_FRAME_HEAD && src->taken == src->bytes)
            source_done(s, src, true);
    }
    return got;
}

static enum h2_read end_of_body(struct grpc_stream *s)
{
    sm_move(&send_table, &s->send, SEND_DONE, s);
    if (!is_server(s))
        return H2_READ_END;
    struct arena scratch = {0};
    struct headers trailers;
    grpc_trailers(&trailers, &scratch, s->status, s->message);
    bool fine = h2_trailers(s->conn->h2, s->id, &trailers);
    arena_fini(&scratch);
    return fine ? H2_READ_TRAILERS : H2_READ_RESET;
}

enum h2_read grpc_stream_on_read(struct grpc_stream *s, char *dst, size_t n, size_t *ret_n)
{
    bool had = s->source_n > 0;
    *ret_n = fill(s, dst, n);
    if (*ret_n)
        s->progress_at = env_now(s->conn->env);
    if (had && !s->source_n && s->events && s->events->on_drain)
        s->events->on_drain(s->user);
    if (!s->source_n && s->send.now == SEND_ENDING)
        return end_of_body(s);
    return *ret_n ? H2_READ_SOME : H2_READ_WAIT;
}

bool grpc_stream_stalled(const struct grpc_stream *s, wf_ms now, wf_ms limit)
{
    bool waiting = s->source_n || s->send.now == SEND_ENDING;
    return s->id && waiting && now - s->progress_at >= limit;
}

/* Status. */

static void replace_status(struct grpc_stream *s, int status, struct slice message)
{
    mem_free((void *)(uintptr_t)s->message.p);
    s->has_status = true;
    s->status = status;
    s->message = slice_sub(message, 0, GRPC_ERROR_BYTES);
    if (!s->message.n)
        s->message = (struct slice){0};
    else
        s->message.p = memcpy(mem_new(s->message.n), message.p, s->message.n);
}

void grpc_stream_set_status(struct grpc_stream *s, int status, struct slice message)
{
    if (!s->has_status)
        replace_status(s, status, message);
}

void grpc_stream_stop(struct grpc_stream *s, int status, struct slice message)
{
    s->stopped = true;
    grpc_stream_set_status(s, status, message);
    if (s->id) {
        h2_reset(s->conn->h2, s->id, H2_CANCEL);
        grpc_conn_wake(s->conn);
    } else {
        env_defer(s->conn->env, &s->deliver);
    }
}

void grpc_stream_discard(struct grpc_stream *s)
{
    env_timer_stop(s->conn->env, &s->deadline);
    env_defer_cancel(&s->deliver);
    list_remove(&s->node);
    grpc_deframer_fini(&s->deframer);
    buf_fini(&s->held);
    mem_free((void *)(uintptr_t)s->message.p);
    mem_free(s);
}

void grpc_stream_final(struct grpc_stream *s)
{
    wf_assert(!s->id);
    give_back_sources(s);
    if (!s->has_status)
        grpc_stream_set_status(s, GRPC_UNKNOWN, S("stream ended without a status"));
    if (s->events)
        s->events->on_close(s->user, s->status, s->message);
    grpc_stream_discard(s);
}

/* Receiving. */

static void bad_message(struct grpc_stream *s, const struct err *err)
{
    int status = err_grpc_status(err->code);
    if (is_server(s)) {
        grpc_stream_finish(s, status, slice_of(err->msg));
        return;
    }
    grpc_stream_stop(s, status, slice_of(err->msg));
}

/* Does anybody still want messages? */
static bool wants(const struct grpc_stream *s)
{
    return s->events && !s->stopped && !(is_server(s) && s->send.now != SEND_OPEN);
}

/* Gives out whole messages; returns what must wait. */
static struct slice deliver(struct grpc_stream *s, struct slice in)
{
    while (wants(s) && !s->paused) {
        struct slice message;
        struct err err;
        switch (grpc_deframe(&s->deframer, &in, &message, &err)) {
        case GRPC_MESSAGE:
            s->events->on_message(s->user, message);
            break;
        case GRPC_MORE:
            return (struct slice){0};
        case GRPC_BAD:
            bad_message(s, &err);
            return (struct slice){0};
        }
    }
    return wants(s) ? in : (struct slice){0};
}

/* The server has said its last word: what we would still send, nobody reads. */
static void end_call(struct grpc_stream *s)
{
    if (!s->id || s->send.now == SEND_DONE)
        return;
    h2_reset(s->conn->h2, s->id, H2_NO_ERROR);
    grpc_conn_wake(s->conn);
}

static void give_end(struct grpc_stream *s)
{
    if (!s->remote_ended || s->end_given || s->held.n || s->paused || !wants(s))
        return;
    s->end_given = true;
    if (grpc_deframer_partial(&s->deframer)) {
        struct err err;
        err_set(&err, ERR_INTERNAL, "grpc: the stream ends inside a message");
        bad_message(s, &err);
    } else if (!is_server(s)) {
        end_call(s);
    } else if (s->events->on_half_close) {
        s->events->on_half_close(s->user);
    }
}

void grpc_stream_on_data(struct grpc_stream *s, struct slice bytes, bool end)
{
    s->remote_ended |= end;
    struct slice rest = bytes;
    if (!s->held.n)
        rest = deliver(s, bytes);
    h2_consume(s->conn->h2, s->id, bytes.n - rest.n);
    buf_append(&s->held, rest);
    give_end(s);
}

static void deliver_held(struct grpc_stream *s)
{
    size_t before = s->held.n;
    struct slice rest = deliver(s, buf_slice(&s->held));
    size_t used = before - rest.n;
    buf_consume(&s->held, used);
    if (!s->held.n)
        buf_fini(&s->held);
    if (s->id) {
        h2_consume(s->conn->h2, s->id, used);
        grpc_conn_wake(s->conn);
    }
    give_end(s);
}

static void on_deliver(struct env_task *t)
{
    struct grpc_stream *s = container_of(t, struct grpc_stream, deliver);
    if (s->held.n || s->remote_ended)
        deliver_held(s);
    if (!s->id && (!s->held.n || !wants(s)))
        grpc_stream_final(s);
}

void grpc_stream_pause(struct grpc_stream *s)
{
    s->paused = true;
}

void grpc_stream_resume(struct grpc_stream *s)
{
    s->paused = false;
    env_defer(s->conn->env, &s->deliver);
}

static void read_status(struct grpc_stream *s, const struct headers *hs)
{
    struct arena scratch = {0};
    int status = GRPC_UNKNOWN;
    struct slice message = {0};
    if (!grpc_status_read(hs, &scratch, &status, &message))
        message = S("response without grpc-status");
    grpc_stream_set_status(s, status, message);
    arena_fini(&scratch);
}

void grpc_stream_on_head(struct grpc_stream *s, enum h2_kind kind, const struct http_head *head)
{
    if (is_server(s) || kind == H2_INFORMATIONAL)
        return;
    if (kind == H2_TRAILERS) {
        read_status(s, &head->headers);
    } else if (headers_get(&head->headers, HDR_GRPC_STATUS)) {
        read_status(s, &head->headers);
    } else if (head->status != 200 ||
               !grpc_content_type(headers_value(&head->headers, HDR_CONTENT_TYPE))) {
        struct err err;
        err_set(&err, ERR_UNAVAILABLE, "HTTP status %d instead of gRPC", head->status);
        grpc_stream_stop(s, (int)grpc_status_of_http(head->status), slice_of(err.msg));
    } else if (s->events && s->events->on_headers) {
        s->events->on_headers(s->user, head);
    }
}

/* The session has closed the stream. */
void grpc_stream_on_reset(struct grpc_stream *s, uint32_t code)
{
    bool whole = code == H2_NO_ERROR;
    s->id = 0;
    if (is_server(s)) {
        /* Finished by us and not told to stop before it went out? */
        bool out = s->has_status && (s->send.now == SEND_DONE || !s->head_sent) && whole;
        if (!out)
            replace_status(s, GRPC_CANCELLED, slice_of(h2_error_name(code)));
    } else if (!whole) {
        grpc_stream_set_status(s, (int)grpc_status_of_h2(code), slice_of(h2_error_name(code)));
    } else if (s->held.n && wants(s)) {
        return; /* messages first: on_deliver ends it */
    }
    grpc_stream_final(s);
}

/* The owner's calls. */

struct grpc_stream *grpc_stream_new(struct grpc_conn *c, int32_t id,
                                    const struct grpc_stream_events *events, void *user)
{
    wf_assert(events->on_message && events->on_close);
    struct grpc_stream *s = MEM_NEW(struct grpc_stream);
    *s = (struct grpc_stream){
        .conn = c,
        .id = id,
        .events = events,
        .user = user,
        .deframer = {.message_bytes_max = c->opt.message_bytes_max},
        .deliver = {.fn = on_deliver},
    };
    list_init(&s->sources);
    list_push(&c->streams, &s->node);
    return s;
}

void grpc_stream_send_head(struct grpc_stream *s)
{
    if (s->head_sent || !s->id || (s->send.now != SEND_OPEN && !s->source_n))
        return;
    struct arena scratch = {0};
    struct http_head head;
    grpc_response_head(&head, &scratch);
    s->head_sent = h2_respond(s->conn->h2, s->id, &head, true);
    arena_fini(&scratch);
}

static void send_trailers_only(struct grpc_stream *s)
{
    struct arena scratch = {0};
    struct http_head head;
    grpc_trailers_only(&head, &scratch, s->status, s->message);
    h2_respond(s->conn->h2, s->id, &head, false);
    sm_move(&send_table, &s->send, SEND_DONE, s);
    arena_fini(&scratch);
}

/* Trailers wait for window like a message does (nghttp2 asks for them as the end of the body). */
static void begin_ending(struct grpc_stream *s)
{
    if (!s->source_n)
        s->progress_at = env_now(s->conn->env);
    sm_move(&send_table, &s->send, SEND_ENDING, s);
}

void grpc_stream_finish(struct grpc_stream *s, int status, struct slice message)
{
    wf_assert(is_server(s));
    if (s->send.now != SEND_OPEN || !s->id)
        return;
    replace_status(s, status, message);
    begin_ending(s);
    if (!s->head_sent && !s->source_n)
        send_trailers_only(s);
    wake(s);
}

void grpc_stream_fail(struct grpc_stream *s, const struct err *err)
{
    grpc_stream_finish(s, err_grpc_status(err->code), slice_of(err->msg));
}

void grpc_stream_half_close(struct grpc_stream *s)
{
    wf_assert(!is_server(s));
    if (s->send.now != SEND_OPEN)
        return;
    begin_ending(s);
    wake(s);
}

void grpc_stream_cancel(struct grpc_stream *s)
{
    grpc_stream_stop(s, GRPC_CANCELLED, S("cancelled"));
}

void grpc_stream_detach(struct grpc_stream *s)
{
    s->events = NULL;
    s->user = NULL;
    give_back_sources(s);
    if (is_server(s) && s->send.now != SEND_OPEN)
        wake(s);
    else
        grpc_stream_cancel(s);
}
