#include "base/core/assert.h"
#include "base/net/http_server_impl.h"
#include "base/wire/path.h"

void http_exchange_free(struct http_exchange *x)
{
    x->server->stats.requests_open--;
    arena_fini(&x->arena);
    buf_fini(&x->body);
    mem_free(x);
}

/* The head outlives the input buffer, which grows and moves: everything is copied. */
static struct http_exchange *exchange_new(struct http_conn *conn, const struct http1_head *head)
{
    struct http_exchange *x = MEM_NEW(struct http_exchange);
    struct slice path, query;
    x->conn = conn;
    x->server = conn->server;
    x->head = *head;
    x->peer = *env_stream_peer(conn->stream);
    headers_copy(&x->headers, &x->arena, &head->http.headers, true);
    path_split(arena_dup(&x->arena, head->http.path), &path, &query);
    x->req = (struct http_request){
        .method = arena_dup(&x->arena, head->http.method),
        .method_id = (enum http_method)head->http.method_id,
        .authority = arena_dup(&x->arena, head->http.authority),
        .path = path,
        .query = query,
        .headers = &x->headers,
        .peer = &x->peer,
        .stream = conn->stream,
        .arena = &x->arena,
    };
    conn->server->stats.requests_open++;
    return x;
}

/* Says what is wrong with a well-formed head for this server, or 0. */
static int head_status(struct http_exchange *x)
{
    const struct path_options opt = {.slashes = PATH_SLASHES_KEEP};
    enum path_result path = path_canonical(x->req.path, &opt, &x->arena, &x->req.path);
    if (x->req.method_id == HTTP_CONNECT)
        return 405;
    if (path != PATH_OK && path != PATH_CHANGED)
        return 400;
    if (x->head.body == HTTP1_BODY_LENGTH && x->head.length > x->server->opt.body_bytes_max)
        return 413;
    return 0;
}

static void send_continue(struct http_conn *conn)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec iov = {(void *)(uintptr_t)text, sizeof(text) - 1};
    http_conn_write(conn, &iov, 1);
}

static void begin_exchange(struct http_conn *conn, const struct http1_head *head)
{
    struct http_exchange *x = exchange_new(conn, head);
    conn->exchange = x;
    conn->head_at = (struct http1_progress){0};
    buf_consume(&conn->in, head->bytes);
    http_conn_move(conn, HTTP_CONN_BODY);
    int status = head_status(x);
    if (status)
        http_conn_refuse(conn, status,
                         status == 413 ? "the body is too large" : "malformed target");
    else if (x->head.expect_continue && x->head.body != HTTP1_BODY_NONE && !conn->in.n)
        send_continue(conn);
}

static bool read_head(struct http_conn *conn)
{
    struct http1_head head;
    struct arena scratch = {0};
    struct http1_limits limits = {.head_bytes = conn->server->opt.head_bytes_max,
                                  .allow_http10 = true};
    if (!conn->in.n)
        return false;
    enum http1_result result =
        http1_parse_request(&conn->head_at, buf_slice(&conn->in), &limits, &scratch, &head);
    switch (result) {
    case HTTP1_MORE:
        if (conn->sm.now == HTTP_CONN_IDLE)
            http_conn_move(conn, HTTP_CONN_HEAD);
        break;
    case HTTP1_DONE:
        begin_exchange(conn, &head);
        break;
    case HTTP1_BAD:
        http_conn_refuse(conn, http1_fault_status(conn->head_at.fault),
                         http1_fault_name(conn->head_at.fault));
        break;
    }
    arena_fini(&scratch);
    return result == HTTP1_DONE;
}

/* Body. */

static enum http1_result take_length(struct http_conn *conn, struct http_exchange *x)
{
    size_t missing = (size_t)x->head.length - x->body.n;
    size_t n = conn->in.n < missing ? conn->in.n : missing;
    buf_append(&x->body, slice_sub(buf_slice(&conn->in), 0, n));
    buf_consume(&conn->in, n);
    return n == missing ? HTTP1_DONE : HTTP1_MORE;
}

static enum http1_result take_chunks(struct http_conn *conn, struct http_exchange *x)
{
    struct slice in = buf_slice(&conn->in), data;
    struct headers trailers = {0};
    enum http1_result result;
    x->body.limit = x->server->opt.body_bytes_max;
    do {
        data = (struct slice){0};
        result = http1_chunked_next(&x->chunked, &in, &x->arena, &data, &trailers);
        buf_append(&x->body, data);
    } while (result == HTTP1_MORE && data.n && !x->body.overflowed);
    buf_consume(&conn->in, conn->in.n - in.n);
    return result;
}

/* Whole: the handler has the request until it answers. */
static void give_to_handler(struct http_conn *conn, struct http_exchange *x)
{
    x->req.body = buf_slice(&x->body);
    conn->server->stats.requests_total++;
    http_conn_move(conn, HTTP_CONN_HANDLER);
    conn->server->on_request(conn->server->ctx, &x->req);
}

static bool read_body(struct http_conn *conn)
{
    struct http_exchange *x = conn->exchange;
    enum http1_result result = HTTP1_DONE;
    if (x->head.body == HTTP1_BODY_LENGTH)
        result = take_length(conn, x);
    else if (x->head.body == HTTP1_BODY_CHUNKED)
        result = take_chunks(conn, x);
    if (x->body.overflowed)
        http_conn_refuse(conn, 413, "the body is too large");
    else if (result == HTTP1_BAD)
        http_conn_refuse(conn, http1_fault_status(x->chunked.fault),
                         http1_fault_name(x->chunked.fault));
    else if (result == HTTP1_DONE)
        give_to_handler(conn, x);
    return result == HTTP1_DONE;
}

bool http_conn_read(struct http_conn *conn)
{
    return conn->sm.now == HTTP_CONN_BODY ? read_body(conn) : read_head(conn);
}
