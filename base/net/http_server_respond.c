#include <stdio.h>
#include <time.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/net/http_server_impl.h"

static struct http_exchange *exchange_of(struct http_request *req)
{
    return container_of(req, struct http_exchange, req);
}

/* IMF-fixdate (RFC 9110 §5.6.7), made once a second. */
static struct slice date_now(struct http_server *server)
{
    struct tm tm;
    time_t second = (time_t)(env_wall_ms(server->env) / 1000);
    if (second != server->date_second) {
        gmtime_r(&second, &tm);
        strftime(server->date, sizeof(server->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        server->date_second = second;
    }
    return slice_of(server->date);
}

static void add_own_fields(struct http_exchange *x, struct slice content_type)
{
    struct headers *hs = &x->req.response;
    headers_add(hs, &x->arena, HDR_DATE, date_now(x->server));
    if (x->server->opt.server.n)
        headers_add(hs, &x->arena, HDR_SERVER, x->server->opt.server);
    if (content_type.n)
        headers_set(hs, &x->arena, HDR_CONTENT_TYPE, content_type);
}

/* A handler may have put foreign bytes into a field: the client is told that something failed,
 * never sent a field that splits the answer. */
static void write_head(struct http_exchange *x, int status, const struct http1_write *how)
{
    struct buf *out = &x->server->out;
    struct http_head head = {.status = (uint16_t)status, .headers = x->req.response};
    buf_clear(out);
    if (http1_write_response(out, &head, how))
        return;
    LOG_ERROR("http.response_field", F_STR("path", x->req.path), F_I64("status", status));
    head = (struct http_head){.status = 500};
    bool ok = http1_write_response(out, &head, how);
    wf_assert(ok);
}

/* Is this the connection's last answer? */
static bool is_last(const struct http_exchange *x)
{
    return !x->head.keep_alive || x->server->closing;
}

static bool has_body(const struct http_exchange *x, int status)
{
    return x->req.method_id != HTTP_HEAD && status >= 200 && status != 204 && status != 304;
}

/* The answer is complete: the exchange goes, the connection turns to the next request. */
static void finish(struct http_exchange *x, bool last)
{
    struct http_conn *conn = x->conn;
    list_remove(&x->orphan);
    http_exchange_free(x);
    if (!conn)
        return;
    conn->exchange = NULL;
    if (last) {
        /* Requests behind the last are not answered (RFC 9112 §9.6). */
        http_conn_end(conn);
        return;
    }
    http_conn_move(conn, HTTP_CONN_IDLE);
    if (!conn->processing)
        env_defer(conn->server->env, &conn->process);
}

static bool still_there(const struct http_exchange *x)
{
    return x->conn && x->conn->sm.now != HTTP_CONN_CLOSING;
}

static struct iovec iov_of(struct slice s)
{
    return (struct iovec){(void *)(uintptr_t)s.p, s.n};
}

static void add_length(struct http_exchange *x, size_t n)
{
    headers_set(&x->req.response, &x->arena, HDR_CONTENT_LENGTH, arena_printf(&x->arena, "%zu", n));
}

void http_respond(struct http_request *req, int status, struct slice content_type,
                  struct slice body)
{
    struct http_exchange *x = exchange_of(req);
    if (!still_there(x)) {
        finish(x, true);
        return;
    }
    wf_assert(x->conn->sm.now == HTTP_CONN_HANDLER);
    bool with_body = has_body(x, status), last = is_last(x);
    struct http1_write how = {.body = with_body ? HTTP1_BODY_LENGTH : HTTP1_BODY_NONE,
                              .length = body.n,
                              .close = last,
                              .keep_alive = !last && x->head.minor == 0};
    add_own_fields(x, content_type);
    if (req->method_id == HTTP_HEAD)
        add_length(x, body.n);
    write_head(x, status, &how);
    struct iovec iov[2] = {iov_of(buf_slice(&x->server->out)), iov_of(body)};
    http_conn_write(x->conn, iov, with_body && body.n ? 2 : 1);
    finish(x, last);
}

/* Streams. */

/* HTTP/1.0 knows no chunks: there the end of the connection ends the answer. */
static enum http1_body stream_framing(const struct http_exchange *x)
{
    if (!has_body(x, 200))
        return HTTP1_BODY_NONE;
    return x->head.minor == 0 ? HTTP1_BODY_UNTIL_CLOSE : HTTP1_BODY_CHUNKED;
}

void http_respond_start(struct http_request *req, int status, struct slice content_type)
{
    struct http_exchange *x = exchange_of(req);
    if (!still_there(x))
        return;
    http_conn_move(x->conn, HTTP_CONN_STREAMING);
    if (x->conn->peer_ended)
        env_stream_close(x->conn->stream); /* as on_stream_end does with a running stream */
    enum http1_body framing = stream_framing(x);
    if (framing == HTTP1_BODY_UNTIL_CLOSE)
        x->head.keep_alive = false;
    struct http1_write how = {.body = framing,
                              .close = is_last(x),
                              .to_head = framing == HTTP1_BODY_NONE,
                              .keep_alive = !is_last(x) && x->head.minor == 0};
    add_own_fields(x, content_type);
    write_head(x, status, &how);
    struct iovec iov = iov_of(buf_slice(&x->server->out));
    http_conn_write(x->conn, &iov, 1);
}

size_t http_respond_chunk(struct http_request *req, struct slice bytes)
{
    struct http_exchange *x = exchange_of(req);
    char head[HTTP1_CHUNK_HEAD_BYTES];
    if (!still_there(x))
        return 0;
    wf_assert(x->conn->sm.now == HTTP_CONN_STREAMING);
    enum http1_body framing = stream_framing(x);
    if (!bytes.n || framing == HTTP1_BODY_NONE)
        return env_stream_queued(x->conn->stream);
    struct iovec iov[3] = {iov_of(bytes)};
    if (framing == HTTP1_BODY_UNTIL_CLOSE)
        return http_conn_write(x->conn, iov, 1);
    iov[1] = iov[0];
    iov[0] = iov_of(http1_chunk_head(head, bytes.n));
    iov[2] = iov_of(HTTP1_CHUNK_TAIL);
    return http_conn_write(x->conn, iov, 3);
}

void http_respond_end(struct http_request *req)
{
    struct http_exchange *x = exchange_of(req);
    if (!still_there(x)) {
        finish(x, true);
        return;
    }
    wf_assert(x->conn->sm.now == HTTP_CONN_STREAMING);
    if (stream_framing(x) == HTTP1_BODY_CHUNKED) {
        struct buf *out = &x->server->out;
        buf_clear(out);
        http1_write_last_chunk(out, NULL);
        struct iovec iov = iov_of(buf_slice(out));
        http_conn_write(x->conn, &iov, 1);
    }
    finish(x, is_last(x));
}

void http_respond_abort(struct http_request *req)
{
    struct http_exchange *x = exchange_of(req);
    struct http_conn *conn = x->conn;
    if (conn) {
        http_conn_move(conn, HTTP_CONN_CLOSING);
        conn->exchange = NULL;
        env_stream_close(conn->stream);
    }
    list_remove(&x->orphan);
    http_exchange_free(x);
}

/* Refusals. */

void http_conn_refuse(struct http_conn *conn, int status, const char *why)
{
    struct http_server *server = conn->server;
    char text[200], date[64];
    int n = snprintf(text, sizeof(text), "%s\n", why);
    wf_assert(n > 0 && (size_t)n < sizeof(text));
    snprintf(date, sizeof(date), "%.*s", SLICE(date_now(server)));
    struct header fields[] = {
        {.id = HDR_DATE, .name = S("date"), .value = slice_of(date)},
        {.id = HDR_CONTENT_TYPE,
         .name = S("content-type"),
         .value = S("text/plain; charset=utf-8")},
    };
    struct http_head head = {
        .status = (uint16_t)status,
        .headers = {.p = fields, .n = ARRAY_LEN(fields), .cap = ARRAY_LEN(fields)}};
    struct http1_write how = {.body = HTTP1_BODY_LENGTH, .length = (uint64_t)n, .close = true};
    buf_clear(&server->out);
    bool ok = http1_write_response(&server->out, &head, &how);
    wf_assert(ok);
    struct iovec iov[2] = {iov_of(buf_slice(&server->out)), {text, (size_t)n}};
    http_conn_write(conn, iov, 2);
    server->stats.refused_total++;
    if (conn->exchange) {
        http_exchange_free(conn->exchange);
        conn->exchange = NULL;
    }
    http_conn_end(conn);
}
