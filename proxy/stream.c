#include "proxy/stream.h"

#include "base/core/assert.h"
#include "proxy/header_ops.h"
#include "proxy/pool.h"
#include "proxy/websocket.h"
#include "proxy/worker_int.h"

static const struct sm_state states[] = {
    [STREAM_REQUEST] = {"request",
                        SM(STREAM_DELAY) | SM(STREAM_WAIT) | SM(STREAM_LOCAL) | SM(STREAM_CLOSED)},
    [STREAM_DELAY] = {"delay", SM(STREAM_WAIT) | SM(STREAM_LOCAL) | SM(STREAM_CLOSED)},
    [STREAM_WAIT] = {"wait", SM(STREAM_SENT) | SM(STREAM_BACKOFF) | SM(STREAM_WAIT) |
                                 SM(STREAM_LOCAL) | SM(STREAM_CLOSED)},
    [STREAM_BACKOFF] = {"backoff", SM(STREAM_WAIT) | SM(STREAM_LOCAL) | SM(STREAM_CLOSED)},
    [STREAM_SENT] = {"sent", SM(STREAM_RESPONSE) | SM(STREAM_TUNNEL) | SM(STREAM_BACKOFF) |
                                 SM(STREAM_WAIT) | SM(STREAM_LOCAL) | SM(STREAM_CLOSED)},
    [STREAM_RESPONSE] = {"response", SM(STREAM_CLOSED)},
    [STREAM_TUNNEL] = {"tunnel", SM(STREAM_CLOSED)},
    [STREAM_LOCAL] = {"local", SM(STREAM_CLOSED)},
    [STREAM_CLOSED] = {"closed", 0},
};

/* Attached to a connection means that a try is under way; and only one thing is waited for. */
static bool state_ok(const void *owner)
{
    const struct stream *s = owner;
    bool trying = s->sm.now == STREAM_WAIT || s->sm.now == STREAM_SENT ||
                  s->sm.now == STREAM_RESPONSE || s->sm.now == STREAM_TUNNEL;
    return (!s->up_conn || trying) && (!s->pending_in || s->sm.now == STREAM_WAIT);
}

static const struct sm_table table = {"proxy.stream", states, ARRAY_LEN(states), state_ok};

void stream_move(struct stream *s, enum stream_state to)
{
    sm_move(&table, &s->sm, (uint8_t)to, s);
}

/* Birth and end. */

static void on_timer(struct env_timer *t);

static struct stream *stream_alloc(struct worker *w)
{
    struct list_node *n = list_pop(&w->spare);
    if (!n)
        return MEM_NEW(struct stream);
    w->spare_count--;
    return container_of(n, struct stream, node);
}

struct stream *stream_new(struct worker *w, struct wlistener *wl, const struct filter_chain *chain,
                          const struct down_ops *down, void *conn, struct env_stream *es,
                          uint64_t connection_id)
{
    struct stream *s = stream_alloc(w);
    wf_ms now = env_now(w->env);
    s->w = w;
    s->down = down;
    s->down_conn = conn;
    s->down_es = es;
    s->connection_id = connection_id;
    s->wl = wlistener_ref(wl);
    s->conf = wconf_ref(wl->conf);
    s->listener = wl->listener;
    s->chain = chain;
    s->timer.fn = on_timer;
    s->start = s->active = now;
    s->grpc_status = -1;
    s->random = rng_next(&w->rng);
    list_push(&w->streams, &s->node);
    w->stream_count++;
    metric_add(wl->stats.rq_total, 1);
    metric_set_value(wl->stats.rq_active, (int64_t)++wl->stream_count);
    return s;
}

/* What keeps memory for the next request is small and counted. */
static void buf_recycle(struct buf *b)
{
    if (b->cap > PROXY_STREAM_BUF_KEPT_BYTES)
        buf_fini(b);
    else
        buf_clear(b);
}

static void stream_reset(struct stream *s)
{
    struct arena arena = s->arena;
    struct buf down_out = s->down_out, up_out = s->up_out, body = s->body;
    if (arena.total > PROXY_STREAM_ARENA_KEPT_BYTES)
        arena_fini(&arena);
    else
        arena_reset(&arena);
    buf_recycle(&down_out);
    buf_recycle(&up_out);
    buf_recycle(&body);
    *s = (struct stream){.arena = arena, .down_out = down_out, .up_out = up_out, .body = body};
}

static void stream_free(struct stream *s)
{
    arena_fini(&s->arena);
    buf_fini(&s->down_out);
    buf_fini(&s->up_out);
    buf_fini(&s->body);
    mem_free(s);
}

void streams_recycle(struct env_task *task)
{
    struct worker *w = container_of(task, struct worker, recycle);
    struct list_node *n;
    while ((n = list_pop(&w->dead))) {
        struct stream *s = container_of(n, struct stream, node);
        if (w->spare_count >= PROXY_STREAMS_FREE_MAX) {
            stream_free(s);
            continue;
        }
        stream_reset(s);
        list_push_front(&w->spare, &s->node);
        w->spare_count++;
    }
}

void streams_free(struct worker *w)
{
    struct list_node *n;
    streams_recycle(&w->recycle);
    while ((n = list_pop(&w->spare)))
        stream_free(container_of(n, struct stream, node));
    w->spare_count = 0;
}

static void stream_end(struct stream *s)
{
    struct worker *w = s->w;
    stream_try_cancel(s);
    env_timer_stop(w->env, &s->timer);
    stream_move(s, STREAM_CLOSED);
    s->down_conn = NULL;
    stream_record(s);
    stream_try_release(s);
    if (s->retry_counted)
        s->cluster->retries--;
    if (s->cluster)
        cluster_drop(s->cluster);
    s->cluster = NULL;
    w->stream_count--;
    metric_set_value(s->wl->stats.rq_active, (int64_t)--s->wl->stream_count);
    wlistener_unref(s->wl);
    wconf_unref(s->conf);
    list_remove(&s->node);
    list_push(&w->dead, &s->node);
    env_defer(w->env, &w->recycle);
}

void stream_down_closed(struct stream *s, bool clean)
{
    if (!clean && !s->down_end && !s->down_cut) {
        s->flags |= FLAG_DC;
        if (!s->details.n || s->sm.now != STREAM_LOCAL)
            s->details = S("downstream_remote_disconnect");
        metric_add(s->wl->stats.rq_rx_reset, 1);
    }
    stream_end(s);
}

void stream_cut(struct stream *s, uint32_t code)
{
    s->down_cut = true;
    s->down->reset(s, code);
}

/* Time. */

/* One timer for everything exact: the next of route, try, delay and back-off. */
void stream_timer_arm(struct stream *s)
{
    wf_ms next = s->wake;
    if (s->deadline && (!next || s->deadline < next))
        next = s->deadline;
    if (s->try_deadline && (!next || s->try_deadline < next))
        next = s->try_deadline;
    if (next)
        env_timer_start(s->w->env, &s->timer, next - env_now(s->w->env));
    else
        env_timer_stop(s->w->env, &s->timer);
}

static void on_route_timeout(struct stream *s)
{
    s->deadline = s->try_deadline = 0;
    if (s->cluster)
        metric_add(s->cluster->stats.rq_timeout, 1);
    if (s->host && s->sm.now == STREAM_SENT)
        cluster_result(s->host, 504);
    stream_try_cancel(s);
    stream_reply(s, 504, FLAG_UT, S("upstream_response_timeout"), S("upstream request timeout"));
}

static void on_try_timeout(struct stream *s)
{
    struct retry_outcome o = {.failure = TRY_TIMEOUT, .grpc_status = -1};
    s->try_deadline = 0;
    metric_add(s->cluster->stats.rq_per_try_timeout, 1);
    if (s->host)
        cluster_result(s->host, 504);
    stream_try_cancel(s);
    if (!stream_retry(s, &o))
        stream_reply(s, 504, FLAG_UT, S("upstream_per_try_timeout"), S("upstream request timeout"));
}

static void on_wake(struct stream *s)
{
    s->wake = 0;
    if (s->sm.now == STREAM_BACKOFF)
        stream_try(s);
    else if (s->fault.abort)
        stream_fault_abort(s);
    else
        stream_route_forward(s);
}

/* The head has gone out: the answer can only be cut. */
static void on_late_timeout(struct stream *s)
{
    s->deadline = 0;
    s->flags |= FLAG_UT;
    s->details = S("upstream_response_timeout");
    stream_try_cancel(s);
    stream_cut(s, H2_INTERNAL_ERROR);
}

static void on_timer(struct env_timer *t)
{
    struct stream *s = container_of(t, struct stream, timer);
    wf_ms now = env_now(s->w->env);
    if (s->deadline && s->deadline <= now) {
        if (s->down_head)
            on_late_timeout(s);
        else
            on_route_timeout(s);
    } else if (s->try_deadline && s->try_deadline <= now) {
        on_try_timeout(s);
    } else if (s->wake && s->wake <= now) {
        on_wake(s);
    }
    if (s->sm.now != STREAM_CLOSED)
        stream_timer_arm(s);
}

static wf_ms idle_limit(const struct stream *s)
{
    if (s->route && s->route->idle_timeout)
        return s->route->idle_timeout;
    return s->chain->stream_idle_timeout;
}

void stream_sweep(struct stream *s, wf_ms now)
{
    wf_ms idle = idle_limit(s), whole = s->chain->request_timeout;
    if (s->sm.now == STREAM_REQUEST) /* its head is not there yet: the codec watches over it */
        return;
    if (whole && !s->request_end && now - s->start >= whole && !s->down_head) {
        metric_add(s->wl->stats.rq_timeout, 1);
        stream_try_cancel(s);
        stream_reply(s, 408, FLAG_DT, S("request_overall_timeout"), S("request timeout"));
        return;
    }
    if (!idle || now - s->active < idle)
        return;
    metric_add(s->wl->stats.rq_idle_timeout, 1);
    s->flags |= FLAG_SI;
    stream_try_cancel(s);
    if (!s->down_head) {
        uint16_t status = s->request_end ? 504 : 408;
        stream_reply(s, status, FLAG_SI, S("stream_idle_timeout"), S("stream timeout"));
        return;
    }
    s->details = S("stream_idle_timeout");
    stream_cut(s, H2_CANCEL);
}

/* Request. */

void stream_request(struct stream *s, bool end)
{
    s->request_end = end;
    s->request_done = end ? env_now(s->w->env) : 0;
    stream_route(s);
}

void stream_request_bad(struct stream *s, uint16_t status, uint32_t flags, struct slice details)
{
    s->request_end = true; /* nothing more of it will be read */
    stream_reply(s, status, flags, details, http_status_text(status));
}

static void request_consumed(struct stream *s)
{
    size_t n = s->request_owed;
    s->request_owed = 0;
    if (n && s->down_conn)
        s->down->consumed(s, n);
}

/* Kept for another try while it is small; whoever has sent more than is kept cannot try again. */
static void body_remember(struct stream *s, struct slice bytes)
{
    if (!s->body_keep)
        return;
    if (s->body.n + bytes.n > PROXY_RETRY_BODY_BYTES) {
        s->body_keep = false;
        s->body_lost = true;
        buf_fini(&s->body);
        return;
    }
    buf_append(&s->body, bytes);
}

static bool request_waits(const struct stream *s)
{
    return s->sm.now == STREAM_REQUEST || s->sm.now == STREAM_DELAY || s->sm.now == STREAM_WAIT ||
           s->sm.now == STREAM_BACKOFF;
}

/* Envoy: a route's timeout runs from the end of the request. */
void stream_deadline_start(struct stream *s)
{
    if (!s->route || !s->request_end || s->deadline || s->route->timeout <= 0 || s->down_end)
        return;
    s->deadline = env_now(s->w->env) + s->route->timeout;
    stream_timer_arm(s);
}

static void request_mark_end(struct stream *s)
{
    s->request_end = true;
    s->request_done = env_now(s->w->env);
    if (s->cluster && s->sm.now != STREAM_TUNNEL && s->sm.now != STREAM_LOCAL)
        stream_deadline_start(s);
}

void stream_request_data(struct stream *s, struct slice bytes, bool end)
{
    s->active = env_now(s->w->env);
    s->bytes_received += bytes.n;
    s->request_owed += bytes.n;
    if (end)
        request_mark_end(s);
    if (request_waits(s)) {
        buf_append(&s->body, bytes);
        if (s->body.n <= PROXY_RETRY_BODY_BYTES)
            request_consumed(s);
        return;
    }
    if (!s->up) { /* answered without it */
        request_consumed(s);
        return;
    }
    body_remember(s, bytes);
    s->up->data(s, bytes, end && s->sm.now != STREAM_TUNNEL);
    if (s->up && end && s->sm.now == STREAM_TUNNEL) {
        s->tunnel_down_end = true;
        s->up->data(s, (struct slice){0}, true);
        if (s->tunnel_up_end)
            stream_response_done(s);
        return;
    }
    if (s->up && s->up->queued(s) <= PROXY_BODY_SOFT_BYTES)
        request_consumed(s);
}

void stream_request_trailers(struct stream *s, const struct headers *trailers)
{
    s->active = env_now(s->w->env);
    s->request_trailers = trailers;
    request_mark_end(s);
    if (!request_waits(s) && s->up)
        s->up->trailers(s, trailers);
}

void stream_up_drained(struct stream *s)
{
    s->active = env_now(s->w->env);
    if (s->request_owed && s->up && s->up->queued(s) <= PROXY_BODY_LOW_BYTES)
        request_consumed(s);
}

/* The connection is there: head, then what has come of the body. */
void stream_up_ready(struct stream *s)
{
    const struct retry_policy *policy = stream_retry_policy(s);
    wf_ms per_try = policy ? policy->per_try_timeout : 0;
    bool trailers = s->request_trailers != NULL;
    bool end = s->request_end && !s->body.n && !trailers;
    stream_move(s, STREAM_SENT);
    s->try_start = s->active = env_now(s->w->env);
    if (s->wl->log)
        s->up_local = *env_stream_local(((const struct up_conn *)s->up_conn)->es);
    if (per_try > 0) {
        s->try_deadline = s->try_start + per_try;
        stream_timer_arm(s);
    }
    if (!s->up->head(s, end)) {
        stream_try_cancel(s);
        stream_reply(s, 400, FLAG_DPE, S("request_head_invalid"), S("Bad Request"));
        return;
    }
    if (s->body.n)
        s->up->data(s, buf_slice(&s->body), s->request_end && !trailers);
    if (trailers)
        s->up->trailers(s, s->request_trailers);
    if (s->body.n > PROXY_RETRY_BODY_BYTES && s->body_keep)
        s->body_lost = true;
    if (!s->body_keep || s->body_lost) {
        s->body_keep = false;
        s->body_lost = s->body_lost || s->body.n > 0;
        buf_clear(&s->body);
    }
    if (s->up && s->up->queued(s) <= PROXY_BODY_SOFT_BYTES)
        request_consumed(s);
}

/* Response. */

static void response_consumed(struct stream *s)
{
    size_t n = s->response_owed;
    s->response_owed = 0;
    if (n && s->up)
        s->up->consumed(s, n);
}

void stream_response_done(struct stream *s)
{
    s->down_end = true;
    s->deadline = s->try_deadline = 0;
}

void stream_up_informational(struct stream *s, struct http_head *head)
{
    /* 100 was answered by us when the request asked; 102 and 103 are the upstream's to say. */
    if (head->status == 100 || s->down_head || !s->down_conn || s->minor == 0)
        return;
    headers_strip_hop(&head->headers);
    s->down->head(s, head, false);
}

static void response_headers(struct stream *s, struct http_head *head)
{
    struct arena *a = &s->arena;
    const struct route *r = s->route;
    struct record record;
    headers_strip_hop(&head->headers);
    headers_set(&head->headers, a, HDR_SERVER, S("weft"));
    headers_set(&head->headers, a, HDR_X_ENVOY_UPSTREAM_SERVICE_TIME, stream_u64(a, s->service_ms));
    if (s->cookie.n)
        headers_add(&head->headers, a, HDR_SET_COOKIE, s->cookie);
    if (!r)
        return;
    const struct header_changes *changes[] = {&s->weighted->response, &r->response,
                                              &s->vhost->response, &s->chain->routes->response};
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        if (!changes[i]->add_count && !changes[i]->remove_count)
            continue;
        stream_record_fill(s, &record);
        header_changes_apply(changes[i], head, a, &record);
    }
}

static int head_grpc_status(struct stream *s, const struct http_head *head, bool end)
{
    uint64_t v;
    if (!s->grpc || !end || !slice_u64(headers_value(&head->headers, HDR_GRPC_STATUS), &v) ||
        v > 16)
        return -1;
    return (int)v;
}

static void tunnel_begin(struct stream *s)
{
    stream_move(s, STREAM_TUNNEL);
    s->up_tunnel = true;
    s->deadline = s->try_deadline = 0; /* Envoy: a route's timeout does not bound an upgrade */
    stream_timer_arm(s);
    metric_add(s->wl->stats.cx_upgrades_total, 1);
}

/* The status that a connection upgrade has in the client's protocol: 101 in HTTP/1, 200 in HTTP/2.
 */
static bool tunnel_status(struct stream *s, struct http_head *head)
{
    bool connect = s->head.method_id == HTTP_CONNECT && !s->upgrade.n;
    bool opened = connect ? head->status / 100 == 2 : s->upgrade.n && head->status == 101;
    if (!opened || connect)
        return opened;
    if (s->down->protocol == RECORD_HTTP2)
        head->status = 200;
    else if (!headers_get(&head->headers, HDR_SEC_WEBSOCKET_ACCEPT)) /* it came over HTTP/2 */
        headers_add(
            &head->headers, &s->arena, HDR_SEC_WEBSOCKET_ACCEPT,
            websocket_accept(headers_value(&s->head.headers, HDR_SEC_WEBSOCKET_KEY), &s->arena));
    return opened;
}

void stream_up_head(struct stream *s, struct http_head *head, bool has_length, uint64_t length,
                    bool end)
{
    wf_ms now = env_now(s->w->env);
    struct retry_outcome o = {.status = head->status, .grpc_status = -1};
    s->active = s->response_first = now;
    s->service_ms = (uint64_t)(now - s->try_start);
    s->has_service_ms = true;
    o.grpc_status = head_grpc_status(s, head, end);
    s->try_deadline = 0;
    cluster_result(s->host, head->status);
    stats_class_add(s->cluster->stats.rq_xx, head->status);
    if (stream_retry(s, &o))
        return;
    s->status = head->status;
    s->details = S("via_upstream");
    if (o.grpc_status >= 0)
        s->grpc_status = o.grpc_status;
    s->body_keep = false;
    bool tunnel = !end && tunnel_status(s, head);
    if (tunnel)
        tunnel_begin(s);
    else
        stream_move(s, STREAM_RESPONSE);
    response_headers(s, head);
    if (s->wl->log && access_log_reads_response(s->wl->log))
        headers_copy(&s->response, &s->arena, &head->headers, true);
    s->down_head = true;
    s->response_has_length = has_length;
    s->response_length = length;
    if (tunnel)
        s->down->tunnel(s);
    if (end)
        stream_response_done(s);
    s->down->head(s, head, end);
}

void stream_up_data(struct stream *s, struct slice bytes, bool end)
{
    s->active = env_now(s->w->env);
    s->bytes_sent += bytes.n;
    if (!s->down_conn)
        return;
    if (s->sm.now == STREAM_TUNNEL && end) {
        s->tunnel_up_end = true;
        if (s->tunnel_down_end)
            stream_response_done(s);
    } else if (end) {
        stream_response_done(s);
    }
    s->response_owed += bytes.n;
    s->down->data(s, bytes, end);
    if (s->up && s->down_conn && s->down->queued(s) <= PROXY_BODY_SOFT_BYTES)
        response_consumed(s);
}

void stream_up_trailers(struct stream *s, const struct headers *trailers)
{
    uint64_t v;
    s->active = env_now(s->w->env);
    if (slice_u64(headers_value(trailers, HDR_GRPC_STATUS), &v) && v <= 16)
        s->grpc_status = (int)v;
    s->response_trailers = trailers;
    stream_response_done(s);
    s->down->trailers(s, trailers);
}

void stream_down_drained(struct stream *s)
{
    s->active = env_now(s->w->env);
    if (s->response_owed && s->down_conn && s->down->queued(s) <= PROXY_BODY_LOW_BYTES)
        response_consumed(s);
}
