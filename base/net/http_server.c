#include "base/net/http_server.h"

#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/net/http_server_impl.h"

#define ALIVE(next) (SM(HTTP_CONN_CLOSING) | (next))
static const struct sm_state conn_states[] = {
    [HTTP_CONN_IDLE] = {"idle", ALIVE(SM(HTTP_CONN_HEAD) | SM(HTTP_CONN_BODY))},
    [HTTP_CONN_HEAD] = {"head", ALIVE(SM(HTTP_CONN_BODY))},
    [HTTP_CONN_BODY] = {"body", ALIVE(SM(HTTP_CONN_HANDLER))},
    [HTTP_CONN_HANDLER] = {"handler", ALIVE(SM(HTTP_CONN_STREAMING) | SM(HTTP_CONN_IDLE))},
    [HTTP_CONN_STREAMING] = {"streaming", ALIVE(SM(HTTP_CONN_IDLE))},
    [HTTP_CONN_CLOSING] = {"closing", 0},
};

/* An exchange is there exactly from the whole head to the end of the answer. */
static bool conn_ok(const void *owner)
{
    const struct http_conn *conn = owner;
    switch (conn->sm.now) {
    case HTTP_CONN_IDLE:
    case HTTP_CONN_HEAD:
        return !conn->exchange;
    case HTTP_CONN_CLOSING:
        return true;
    default:
        return conn->exchange != NULL;
    }
}

const struct sm_table http_conn_table = {"http.server.conn", conn_states, ARRAY_LEN(conn_states),
                                         conn_ok};

/* Connections. */

void http_conn_move(struct http_conn *conn, enum http_conn_state to)
{
    struct env *env = conn->server->env;
    sm_move(&http_conn_table, &conn->sm, (uint8_t)to, conn);
    switch (to) {
    case HTTP_CONN_IDLE:
        env_timer_start(env, &conn->timer, conn->server->opt.idle_timeout);
        break;
    case HTTP_CONN_HEAD:
        env_timer_start(env, &conn->timer, conn->server->opt.request_timeout);
        break;
    case HTTP_CONN_BODY:
        break; /* the clock of the head runs on */
    default:
        env_timer_stop(env, &conn->timer);
    }
}

static void conn_free(struct http_conn *conn)
{
    struct http_server *server = conn->server;
    env_timer_stop(server->env, &conn->timer);
    env_timer_stop(server->env, &conn->stall);
    env_defer_cancel(&conn->process);
    list_remove(&conn->node);
    buf_fini(&conn->in);
    mem_free(conn);
    server->stats.connections--;
    if (server->closing && list_empty(&server->conns))
        env_defer(server->env, &server->closed);
}

/* The client is gone. The handler hears of it, or finds out when it answers. */
static void exchange_lost(struct http_conn *conn)
{
    struct http_exchange *x = conn->exchange;
    bool with_handler = conn->sm.now == HTTP_CONN_HANDLER || conn->sm.now == HTTP_CONN_STREAMING;
    conn->exchange = NULL;
    if (!x)
        return;
    x->conn = NULL;
    x->req.stream = NULL;
    if (with_handler && !x->req.on_close) {
        list_push(&conn->server->orphans, &x->orphan);
        return;
    }
    if (with_handler)
        x->req.on_close(&x->req);
    http_exchange_free(x);
}

static void on_stream_close(void *ctx, const struct err *why)
{
    struct http_conn *conn = ctx;
    (void)why; /* clients come and go */
    exchange_lost(conn);
    conn_free(conn);
}

static void conn_cut(struct http_conn *conn)
{
    env_stream_close(conn->stream);
}

/* A long answer goes at the client's pace (on_stream_drain, on_stall); only its last bytes by ours.
 */
void http_conn_end(struct http_conn *conn)
{
    http_conn_move(conn, HTTP_CONN_CLOSING);
    env_stream_read_resume(conn->stream);
    if (!env_stream_queued(conn->stream))
        env_stream_close_after_write(conn->stream, HTTP_SERVER_LINGER_MS);
}

/* A client that neither takes bytes nor goes away would hold them for ever. */
static void on_stall(struct env_timer *t)
{
    struct http_conn *conn = container_of(t, struct http_conn, stall);
    uint64_t taken = conn->written - env_stream_queued(conn->stream);
    if (taken != conn->taken_at_stall) {
        conn->taken_at_stall = taken;
        env_timer_start(conn->server->env, t, conn->server->opt.stall_timeout);
        return;
    }
    conn->server->stats.stalled_total++;
    conn_cut(conn);
}

size_t http_conn_write(struct http_conn *conn, const struct iovec *iov, int n)
{
    for (int i = 0; i < n; i++)
        conn->written += iov[i].iov_len;
    size_t queued = env_stream_write(conn->stream, iov, n);
    if (queued && !conn->stall.armed) {
        conn->taken_at_stall = conn->written - queued;
        env_timer_start(conn->server->env, &conn->stall, conn->server->opt.stall_timeout);
    }
    return queued;
}

static void on_stream_drain(void *ctx)
{
    struct http_conn *conn = ctx;
    env_timer_stop(conn->server->env, &conn->stall);
    if (conn->sm.now == HTTP_CONN_CLOSING)
        env_stream_close_after_write(conn->stream, HTTP_SERVER_LINGER_MS);
    else if (conn->sm.now == HTTP_CONN_STREAMING && conn->exchange->req.on_drain)
        conn->exchange->req.on_drain(&conn->exchange->req);
}

static bool conn_reading(const struct http_conn *conn)
{
    return conn->sm.now <= HTTP_CONN_BODY;
}

void http_conn_process(struct http_conn *conn)
{
    wf_assert(!conn->processing);
    conn->processing = true;
    while (conn_reading(conn) && http_conn_read(conn))
        ;
    conn->processing = false;
    if (conn->sm.now == HTTP_CONN_CLOSING)
        return;
    if (conn_reading(conn) && conn->peer_ended)
        http_conn_end(conn);
    else if (conn_reading(conn) || conn->in.n < HTTP_SERVER_PIPELINE_BYTES_MAX)
        env_stream_read_resume(conn->stream);
    else
        env_stream_read_pause(conn->stream);
}

static void process_later(struct env_task *task)
{
    http_conn_process(container_of(task, struct http_conn, process));
}

static void on_stream_data(void *ctx, struct slice bytes)
{
    struct http_conn *conn = ctx;
    if (conn->sm.now == HTTP_CONN_CLOSING)
        return;
    buf_append(&conn->in, bytes);
    http_conn_process(conn);
}

/* Half a connection is enough for a whole answer, but a stream without end has nobody to end for.
 */
static void on_stream_end(void *ctx)
{
    struct http_conn *conn = ctx;
    conn->peer_ended = true;
    if (conn->sm.now == HTTP_CONN_STREAMING)
        conn_cut(conn);
    else if (conn_reading(conn))
        http_conn_end(conn);
}

static const struct env_stream_events stream_events = {
    .on_data = on_stream_data,
    .on_end = on_stream_end,
    .on_drain = on_stream_drain,
    .on_close = on_stream_close,
};

/* The time of an idle connection or of a request has run out. */
static void on_conn_timer(struct env_timer *t)
{
    struct http_conn *conn = container_of(t, struct http_conn, timer);
    if (conn->sm.now == HTTP_CONN_IDLE)
        http_conn_end(conn);
    else
        http_conn_refuse(conn, 408, "the request took too long to arrive");
}

void http_server_adopt(struct http_server *server, struct env_stream *s, struct slice first)
{
    if (server->closing || server->stats.connections >= server->opt.connections_max) {
        server->stats.overflow_total++;
        env_stream_set_events(s, NULL, NULL);
        env_stream_close(s);
        return;
    }
    struct http_conn *conn = MEM_NEW(struct http_conn);
    conn->server = server;
    conn->stream = s;
    conn->timer.fn = on_conn_timer;
    conn->stall.fn = on_stall;
    conn->process.fn = process_later;
    list_push(&server->conns, &conn->node);
    server->stats.connections++;
    server->stats.connections_total++;
    env_timer_start(server->env, &conn->timer, server->opt.request_timeout);
    env_stream_set_events(s, &stream_events, conn);
    env_stream_read_resume(s);
    if (!first.n)
        return;
    buf_append(&conn->in, first);
    env_defer(server->env, &conn->process);
}

static void on_accept(void *ctx, struct env_stream *s)
{
    http_server_adopt(ctx, s, (struct slice){0});
}

/* The server. */

static void on_grace_end(struct env_timer *t)
{
    struct http_server *server = container_of(t, struct http_server, grace);
    LIST_EACH (&server->conns, n)
        conn_cut(container_of(n, struct http_conn, node));
}

static void on_all_closed(struct env_task *task)
{
    struct http_server *server = container_of(task, struct http_server, closed);
    env_timer_stop(server->env, &server->grace);
    if (server->on_closed)
        server->on_closed(server->on_closed_ctx);
}

#define OR_DEFAULT(field, value) ((field) ? (field) : (value))

static struct http_server_options with_defaults(const struct http_server_options *o)
{
    return (struct http_server_options){
        .body_bytes_max = OR_DEFAULT(o->body_bytes_max, HTTP_SERVER_BODY_BYTES_MAX),
        .head_bytes_max = OR_DEFAULT(o->head_bytes_max, HTTP_SERVER_HEAD_BYTES_MAX),
        .connections_max = OR_DEFAULT(o->connections_max, HTTP_SERVER_CONNECTIONS_MAX),
        .idle_timeout = OR_DEFAULT(o->idle_timeout, HTTP_SERVER_IDLE_TIMEOUT_MS),
        .request_timeout = OR_DEFAULT(o->request_timeout, HTTP_SERVER_REQUEST_TIMEOUT_MS),
        .stall_timeout = OR_DEFAULT(o->stall_timeout, HTTP_SERVER_STALL_TIMEOUT_MS),
        .server = o->server,
    };
}

struct http_server *http_server_new(struct env *env, const struct http_server_options *opt,
                                    void (*on_request)(void *ctx, struct http_request *req),
                                    void *ctx)
{
    struct http_server *server = MEM_NEW(struct http_server);
    wf_assert(on_request);
    server->env = env;
    server->opt = with_defaults(opt);
    server->on_request = on_request;
    server->ctx = ctx;
    server->grace.fn = on_grace_end;
    server->closed.fn = on_all_closed;
    server->date_second = -1;
    list_init(&server->conns);
    list_init(&server->orphans);
    return server;
}

bool http_server_listen(struct http_server *server, const struct env_addr *at,
                        const struct env_listen_options *opt, struct err *err)
{
    if (server->listener_n == HTTP_SERVER_LISTENERS_MAX)
        return err_set(err, ERR_LIMIT, "a server listens on at most %u addresses",
                       HTTP_SERVER_LISTENERS_MAX);
    struct env_listener *l = env_listen(server->env, at, opt, on_accept, server, err);
    if (!l)
        return false;
    server->listeners[server->listener_n++] = l;
    return true;
}

const struct env_addr *http_server_addr(const struct http_server *server, size_t i)
{
    wf_assert(i < server->listener_n);
    return env_listener_addr(server->listeners[i]);
}

const struct http_server_stats *http_server_stats(const struct http_server *server)
{
    return &server->stats;
}

static void close_listeners(struct http_server *server)
{
    while (server->listener_n)
        env_listener_close(server->listeners[--server->listener_n]);
}

void http_server_close(struct http_server *server, wf_ms grace, void (*on_closed)(void *ctx),
                       void *ctx)
{
    wf_assert(!server->closing);
    server->closing = true;
    server->on_closed = on_closed;
    server->on_closed_ctx = ctx;
    close_listeners(server);
    LIST_EACH (&server->conns, n) {
        struct http_conn *conn = container_of(n, struct http_conn, node);
        if (conn->sm.now == HTTP_CONN_IDLE)
            conn_cut(conn);
    }
    if (list_empty(&server->conns))
        env_defer(server->env, &server->closed);
    else
        env_timer_start(server->env, &server->grace, grace);
}

void http_server_free(struct http_server *server)
{
    struct list_node *n;
    if (!server)
        return;
    close_listeners(server);
    while ((n = list_first(&server->conns))) {
        struct http_conn *conn = container_of(n, struct http_conn, node);
        wf_assert(!conn->processing);
        env_stream_set_events(conn->stream, NULL, NULL);
        conn_cut(conn);
        exchange_lost(conn);
        conn_free(conn);
    }
    while ((n = list_pop(&server->orphans)))
        http_exchange_free(container_of(n, struct http_exchange, orphan));
    env_timer_stop(server->env, &server->grace);
    env_defer_cancel(&server->closed);
    buf_fini(&server->out);
    mem_free(server);
}
