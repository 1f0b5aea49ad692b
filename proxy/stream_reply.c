/* Answers that the proxy gives itself. They go the way of every other answer: same codec, same
 * record. */
#include "base/wire/grpc.h"
#include "proxy/worker_int.h"
#include "proxy/stream.h"

static void send_head(struct stream *s, struct http_head *head, struct slice body)
{
    bool bodiless = s->head.method_id == HTTP_HEAD || !body.n;
    stream_move(s, STREAM_LOCAL);
    s->status = head->status;
    s->wake = s->try_deadline = s->deadline = 0;
    s->response_first = s->active = env_now(s->w->env);
    s->response_has_length = true;
    s->response_length = body.n;
    s->down_head = true;
    buf_clear(&s->body);
    if (bodiless)
        stream_response_done(s);
    s->down->head(s, head, bodiless);
    if (bodiless || s->sm.now == STREAM_CLOSED)
        return;
    s->bytes_sent += body.n;
    stream_response_done(s);
    s->down->data(s, body, true);
}

void stream_reply_head(struct stream *s, struct http_head *head, struct slice details,
                       struct slice body, struct slice content_type)
{
    struct arena *a = &s->arena;
    s->details = details;
    if (content_type.n)
        headers_add(&head->headers, a, HDR_CONTENT_TYPE, content_type);
    headers_add(&head->headers, a, HDR_CONTENT_LENGTH, stream_u64(a, body.n));
    headers_add(&head->headers, a, HDR_DATE, arena_dup(a, worker_date(s->w)));
    headers_add(&head->headers, a, HDR_SERVER, S("weft"));
    send_head(s, head, body);
}

/* gRPC has no HTTP errors: 200 and a status in a head that is trailers too. */
static void reply_grpc(struct stream *s, int grpc_status, struct slice message)
{
    struct http_head *head = ARENA_NEW(&s->arena, struct http_head);
    grpc_trailers_only(head, &s->arena, grpc_status, message);
    headers_add(&head->headers, &s->arena, HDR_DATE, arena_dup(&s->arena, worker_date(s->w)));
    headers_add(&head->headers, &s->arena, HDR_SERVER, S("weft"));
    s->grpc_status = grpc_status;
    send_head(s, head, S(""));
}

void stream_reply(struct stream *s, uint16_t status, uint32_t flags, struct slice details,
                  struct slice body)
{
    s->flags |= flags;
    s->details = details;
    if (s->grpc) {
        reply_grpc(s, (int)grpc_status_of_http(status), body);
        return;
    }
    struct http_head *head = ARENA_NEW(&s->arena, struct http_head);
    head->status = status;
    if (flags & FLAG_UO)
        headers_add(&head->headers, &s->arena, HDR_X_ENVOY_OVERLOADED, S("true"));
    stream_reply_head(s, head, details, body, body.n ? S("text/plain") : S(""));
}

void stream_fault_abort(struct stream *s)
{
    s->flags |= FLAG_FI;
    s->details = S("fault_filter_abort");
    if (s->fault.grpc_status >= 0) {
        s->grpc = true;
        reply_grpc(s, s->fault.grpc_status, S("fault filter abort"));
        return;
    }
    stream_reply(s, s->fault.status, FLAG_FI, S("fault_filter_abort"), S("fault filter abort"));
}
