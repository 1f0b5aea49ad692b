#include "base/net/http_client.h"

#include "base/core/assert.h"
#include "base/core/sm.h"
#include "base/wire/http1.h"

struct http_client {
    struct env *env;
    struct http_client_options opt;
    struct list calls, idle, busy; /* idle and busy: of struct conn, oldest first */
    uint32_t idle_n;
};

/* A connection: idle in the client's list, or at work for one call. */
struct conn {
    struct http_client *client;
    struct list_node node;
    struct env_stream *stream;
    struct env_addr addr;
    struct http_call *call; /* NULL = idle */
    bool connected;
    bool reused; /* has answered before: it may die just as we use it */
    struct buf in;
    struct env_timer idle_timer;
};

/*  waiting ──> sent ──> body ──> over          waiting: for the end of the turn, or the next
 * address ^─────────┴─ another address, or a kept connection that had died
 */
enum call_state { CALL_WAITING, CALL_SENT, CALL_BODY, CALL_OVER };

static const struct sm_state call_states[] = {
    [CALL_WAITING] = {"waiting", SM(CALL_SENT) | SM(CALL_OVER)},
    [CALL_SENT] = {"sent", SM(CALL_WAITING) | SM(CALL_BODY) | SM(CALL_OVER)},
    [CALL_BODY] = {"body", SM(CALL_OVER)},
    [CALL_OVER] = {"over", 0},
};
static bool call_ok(const void *owner);
static const struct sm_table call_table = {"http.client.call", call_states, ARRAY_LEN(call_states),
                                           call_ok};

struct http_call {
    struct http_client *client;
    struct list_node node;
    struct sm sm;
    struct http_call_options o; /* what it points to is copied into the arena */
    struct headers headers;
    enum http_method method;
    struct arena arena;
    struct conn *conn;
    size_t addr_at;
    bool fresh_only; /* a kept connection failed us: not another one */
    bool paused, in_callback;
    uint32_t heads;
    struct http1_progress head_at;
    struct http1_head head; /* of the answer, its bytes in the arena */
    struct headers response_headers;
    struct http1_chunked chunked;
    uint64_t body_left;
    struct buf body;
    struct env_timer timer;
    struct env_task task; /* start, or go on after a pause */
};

static bool call_ok(const void *owner)
{
    const struct http_call *call = owner;
    bool at_work = call->sm.now == CALL_SENT || call->sm.now == CALL_BODY;
    return at_work == (call->conn != NULL);
}

static void call_move(struct http_call *call, enum call_state to)
{
    sm_move(&call_table, &call->sm, (uint8_t)to, call);
}

/* Connections. */

static void conn_drop(struct conn *conn)
{
    struct http_client *client = conn->client;
    if (!conn->call)
        client->idle_n--;
    else
        conn->call->conn = NULL;
    env_timer_stop(client->env, &conn->idle_timer);
    if (conn->stream) {
        env_stream_set_events(conn->stream, NULL, NULL);
        env_stream_close(conn->stream);
    }
    list_remove(&conn->node);
    buf_fini(&conn->in);
    mem_free(conn);
}

static void on_idle_timer(struct env_timer *t)
{
    conn_drop(container_of(t, struct conn, idle_timer));
}

static void conn_keep(struct conn *conn)
{
    struct http_client *client = conn->client;
    conn->call->conn = NULL;
    conn->call = NULL;
    conn->reused = true;
    list_remove(&conn->node);
    list_push(&client->idle, &conn->node);
    client->idle_n++;
    buf_fini(&conn->in);
    env_timer_start(client->env, &conn->idle_timer, client->opt.idle_timeout);
    if (client->idle_n > client->opt.idle_max)
        conn_drop(container_of(list_first(&client->idle), struct conn, node));
}

/* The youngest kept connection to the address: the least likely to be closed at the other end. */
static struct conn *conn_take_idle(struct http_client *client, const struct env_addr *addr)
{
    struct conn *found = NULL;
    LIST_EACH (&client->idle, n) {
        struct conn *conn = container_of(n, struct conn, node);
        if (env_addr_equal(&conn->addr, addr))
            found = conn;
    }
    if (!found)
        return NULL;
    client->idle_n--;
    env_timer_stop(client->env, &found->idle_timer);
    list_remove(&found->node);
    list_push(&client->busy, &found->node);
    return found;
}

static const struct env_stream_events stream_events;

static struct conn *conn_new(struct http_client *client, const struct env_addr *addr)
{
    struct conn *conn = MEM_NEW(struct conn);
    struct env_stream_options opt = {.connect_timeout = client->opt.connect_timeout};
    conn->client = client;
    conn->addr = *addr;
    conn->idle_timer.fn = on_idle_timer;
    list_push(&client->busy, &conn->node);
    conn->stream = env_connect(client->env, addr, &opt, &stream_events, conn);
    return conn;
}

/* The end of a call. */

static void call_free(struct http_call *call)
{
    struct env *env = call->client->env;
    env_timer_stop(env, &call->timer);
    env_defer_cancel(&call->task);
    if (call->conn)
        conn_drop(call->conn);
    list_remove(&call->node);
    buf_fini(&call->body);
    arena_fini(&call->arena);
    mem_free(call);
}

static void call_fail(struct http_call *call, const struct err *err)
{
    if (call->conn)
        conn_drop(call->conn);
    call_move(call, CALL_OVER);
    call->in_callback = true;
    call->o.on_fail(call->o.ctx, err);
    call_free(call);
}

/* Sent, and no whole answer. Only what changes nothing goes out again by itself, also of what HTTP
 * calls idempotent (RFC 9110 §9.2.2): an answer to the second PUT or DELETE, "nothing was done" or
 * "not found", would be taken for what came of the first. Whoever has a key sends it again. */
static void call_lost(struct http_call *call, const struct err *why)
{
    static const bool reads[] = {
        [HTTP_GET] = true, [HTTP_HEAD] = true, [HTTP_OPTIONS] = true, [HTTP_TRACE] = true};
    struct err err = {.code = ERR_IO};
    char text[ENV_ADDR_TEXT];
    bool safe = call->method < ARRAY_LEN(reads) && reads[call->method];
    struct conn *conn = call->conn;
    if (safe && conn->reused && call->sm.now == CALL_SENT && !conn->in.n) {
        call->fresh_only = true;
        conn_drop(conn);
        call_move(call, CALL_WAITING);
        env_defer(call->client->env, &call->task);
        return;
    }
    env_addr_format(&conn->addr, text);
    err_set(&err, safe ? ERR_UNAVAILABLE : ERR_UNKNOWN_OUTCOME,
            "%.*s %.*s: connection to %s ended before the answer: %s", SLICE(call->o.method),
            SLICE(call->o.path), text, why->msg);
    call_fail(call, &err);
}

static void on_call_timer(struct env_timer *t)
{
    struct http_call *call = container_of(t, struct http_call, timer);
    struct err err;
    err_set(&err, ERR_TIMEOUT, "%.*s %.*s: no answer in time", SLICE(call->o.method),
            SLICE(call->o.path));
    call_fail(call, &err);
}

static void call_bad(struct http_call *call, enum err_code code, const char *why)
{
    struct err err;
    err_set(&err, code, "%.*s %.*s: the answer is refused: %s", SLICE(call->o.method),
            SLICE(call->o.path), why);
    call_fail(call, &err);
}

/* Sending. */

static bool write_request(struct http_call *call)
{
    struct buf head = {0};
    const struct http_call_options *o = &call->o;
    struct http_head h = {.method = o->method,
                          .method_id = (uint8_t)call->method,
                          .authority = o->authority,
                          .path = o->path,
                          .headers = call->headers};
    struct http1_write how = {.body = o->body.n ? HTTP1_BODY_LENGTH : HTTP1_BODY_NONE,
                              .length = o->body.n};
    if (o->content_type.n)
        headers_set(&h.headers, &call->arena, HDR_CONTENT_TYPE, o->content_type);
    bool ok = http1_write_request(&head, &h, &how);
    if (ok) {
        struct iovec iov[2] = {{(void *)(uintptr_t)buf_slice(&head).p, head.n},
                               {(void *)(uintptr_t)o->body.p, o->body.n}};
        env_stream_write(call->conn->stream, iov, o->body.n ? 2 : 1);
    }
    buf_fini(&head);
    return ok;
}

/* Gives the call to a connection: a kept one, or a new one to the current address. The request is
 * written at once and waits in the stream where that is not connected yet. */
static void call_send(struct http_call *call)
{
    const struct env_addr *addr = &call->o.addrs[call->addr_at];
    struct err err;
    struct conn *conn = call->fresh_only ? NULL : conn_take_idle(call->client, addr);
    if (!conn)
        conn = conn_new(call->client, addr);
    conn->call = call;
    call->conn = conn;
    call_move(call, CALL_SENT);
    if (call->paused)
        env_stream_read_pause(conn->stream);
    if (write_request(call))
        return;
    err_set(&err, ERR_INVALID, "%.*s %.*s: a field of the request cannot be sent",
            SLICE(call->o.method), SLICE(call->o.path));
    call_fail(call, &err);
}

static void on_no_connection(struct http_call *call, const struct err *why)
{
    struct err err = {.code = ERR_UNAVAILABLE};
    conn_drop(call->conn);
    if (++call->addr_at < call->o.addr_n) {
        call->fresh_only = false;
        call_move(call, CALL_WAITING);
        call_send(call);
        return;
    }
    err_set(&err, ERR_UNAVAILABLE, "%.*s %.*s: %s", SLICE(call->o.method), SLICE(call->o.path),
            why->msg);
    call_fail(call, &err);
}

/* The answer. */

static bool streamed(const struct http_call *call)
{
    return !call->o.on_done;
}

static struct http_response response_of(const struct http_call *call)
{
    return (struct http_response){.status = call->head.http.status,
                                  .headers = &call->response_headers,
                                  .body = buf_slice(&call->body)};
}

/* The connection is free again, unless something on it says otherwise. */
static void release_conn(struct http_call *call)
{
    struct conn *conn = call->conn;
    bool reusable = call->head.keep_alive && call->head.body != HTTP1_BODY_UNTIL_CLOSE &&
                    !conn->in.n && !env_stream_queued(conn->stream) && !call->paused;
    if (reusable)
        conn_keep(conn);
    else
        conn_drop(conn);
}

static void call_done(struct http_call *call)
{
    struct http_response r = response_of(call);
    release_conn(call);
    call_move(call, CALL_OVER);
    call->in_callback = true;
    if (!streamed(call))
        call->o.on_done(call->o.ctx, &r);
    else if (call->o.on_end)
        call->o.on_end(call->o.ctx);
    call_free(call);
}

/* What a step of reading came to. */
enum step { STEP_WAIT, STEP_AGAIN, STEP_GONE /* neither call nor connection may be touched */ };

/* Runs after a callback in which the owner may have cancelled. */
static enum step after_callback(struct http_call *call)
{
    call->in_callback = false;
    if (call->sm.now != CALL_OVER)
        return call->paused ? STEP_WAIT : STEP_AGAIN;
    call_free(call);
    return STEP_GONE;
}

static enum step give_head(struct http_call *call)
{
    struct http_response r = response_of(call);
    call->in_callback = true;
    if (call->o.on_head)
        call->o.on_head(call->o.ctx, &r);
    return after_callback(call);
}

static enum step give_data(struct http_call *call, struct slice data)
{
    if (!data.n)
        return STEP_AGAIN;
    if (!streamed(call)) {
        if (buf_append(&call->body, data))
            return STEP_AGAIN;
        call_bad(call, ERR_LIMIT, "it is too large");
        return STEP_GONE;
    }
    if (call->o.stall_timeout)
        env_timer_start(call->client->env, &call->timer, call->o.stall_timeout);
    call->in_callback = true;
    if (call->o.on_data)
        call->o.on_data(call->o.ctx, data);
    return after_callback(call);
}

/* The head is whole: the clock of a stream changes. */
static enum step begin_body(struct http_call *call)
{
    struct env *env = call->client->env;
    call->body_left = call->head.body == HTTP1_BODY_LENGTH ? call->head.length : 0;
    call->body.limit = call->o.response_bytes_max;
    call_move(call, CALL_BODY);
    if (!streamed(call))
        return STEP_AGAIN;
    env_timer_stop(env, &call->timer);
    if (call->o.stall_timeout)
        env_timer_start(env, &call->timer, call->o.stall_timeout);
    return give_head(call);
}

static enum step read_head(struct http_call *call)
{
    struct conn *conn = call->conn;
    struct http1_head head;
    enum http1_result result = http1_parse_response(&call->head_at, buf_slice(&conn->in),
                                                    call->method, NULL, &call->arena, &head);
    if (result == HTTP1_MORE)
        return STEP_WAIT;
    if (result == HTTP1_BAD || head.body == HTTP1_BODY_TUNNEL) {
        call_bad(call, ERR_INVALID,
                 result == HTTP1_BAD ? http1_fault_name(call->head_at.fault) : "it is a tunnel");
        return STEP_GONE;
    }
    call->head_at = (struct http1_progress){0};
    if (head.http.status < 200) {
        buf_consume(&conn->in, head.bytes);
        if (++call->heads <= HTTP_CLIENT_HEADS_MAX)
            return STEP_AGAIN;
        call_bad(call, ERR_INVALID, "too many interim heads");
        return STEP_GONE;
    }
    call->head = head;
    headers_copy(&call->response_headers, &call->arena, &head.http.headers, true);
    call->head.http.headers = (struct headers){0}; /* they pointed into the input */
    buf_consume(&conn->in, head.bytes);
    return begin_body(call);
}

static enum step read_plain(struct http_call *call, bool until_close)
{
    struct conn *conn = call->conn;
    struct slice data = buf_slice(&conn->in);
    if (!until_close)
        data = slice_sub(data, 0, call->body_left);
    if (!until_close && !call->body_left) {
        call_done(call);
        return STEP_GONE;
    }
    if (!data.n)
        return STEP_WAIT;
    call->body_left -= until_close ? 0 : data.n;
    enum step step = give_data(call, data);
    if (step != STEP_GONE)
        buf_consume(&conn->in, data.n);
    return step;
}

static enum step read_chunks(struct http_call *call)
{
    struct conn *conn = call->conn;
    struct slice in = buf_slice(&conn->in), data = {0};
    struct headers trailers = {0};
    enum http1_result result =
        http1_chunked_next(&call->chunked, &in, &call->arena, &data, &trailers);
    if (result == HTTP1_BAD) {
        call_bad(call, ERR_INVALID, http1_fault_name(call->chunked.fault));
        return STEP_GONE;
    }
    enum step step = give_data(call, data);
    if (step == STEP_GONE)
        return STEP_GONE;
    buf_consume(&conn->in, conn->in.n - in.n);
    if (result == HTTP1_DONE) {
        call_done(call);
        return STEP_GONE;
    }
    return data.n ? step : STEP_WAIT;
}

static enum step read_some(struct http_call *call)
{
    if (call->sm.now == CALL_SENT)
        return call->conn->in.n ? read_head(call) : STEP_WAIT;
    switch (call->head.body) {
    case HTTP1_BODY_CHUNKED:
        return read_chunks(call);
    case HTTP1_BODY_UNTIL_CLOSE:
        return read_plain(call, true);
    default:
        return read_plain(call, false);
    }
}

static enum step read_all(struct http_call *call)
{
    enum step step = call->paused ? STEP_WAIT : STEP_AGAIN;
    while (step == STEP_AGAIN)
        step = read_some(call);
    return step;
}

/* Stream events. */

static void on_connect(void *ctx)
{
    ((struct conn *)ctx)->connected = true;
}

static void on_data(void *ctx, struct slice bytes)
{
    struct conn *conn = ctx;
    if (!conn->call) {
        conn_drop(conn); /* an answer to no question */
        return;
    }
    buf_append(&conn->in, bytes);
    read_all(conn->call);
}

static void on_gone(struct conn *conn, const struct err *why)
{
    struct http_call *call = conn->call;
    if (!call)
        conn_drop(conn);
    else if (!conn->connected)
        on_no_connection(call, why);
    else if (call->sm.now == CALL_BODY && call->head.body == HTTP1_BODY_UNTIL_CLOSE &&
             why->code == ERR_NONE)
        call_done(call);
    else
        call_lost(call, why);
}

static void on_end(void *ctx)
{
    const struct err end = {.code = ERR_NONE, .msg = "closed by the server"};
    on_gone(ctx, &end);
}

static void on_close(void *ctx, const struct err *why)
{
    struct conn *conn = ctx;
    conn->stream = NULL;
    struct err err = *why;
    if (err.code == ERR_NONE)
        err_set(&err, ERR_IO, "closed");
    on_gone(conn, &err);
}

static const struct env_stream_events stream_events = {
    .on_connect = on_connect,
    .on_data = on_data,
    .on_end = on_end,
    .on_close = on_close,
};

/* Calls. */

static void call_go_on(struct env_task *task)
{
    struct http_call *call = container_of(task, struct http_call, task);
    if (call->sm.now == CALL_WAITING)
        call_send(call);
    else
        read_all(call);
}

static void copy_options(struct http_call *call, const struct http_call_options *o)
{
    struct arena *a = &call->arena;
    struct env_addr *addrs = ARENA_ARRAY(a, struct env_addr, o->addr_n);
    for (size_t i = 0; i < o->addr_n; i++)
        addrs[i] = o->addrs[i];
    call->o = *o;
    call->o.addrs = addrs;
    call->o.method = arena_dup(a, o->method);
    call->o.authority = arena_dup(a, o->authority);
    call->o.path = arena_dup(a, o->path);
    call->o.content_type = arena_dup(a, o->content_type);
    call->o.body = arena_dup(a, o->body);
    if (o->headers)
        headers_copy(&call->headers, a, o->headers, true);
    call->o.headers = NULL;
    if (!o->timeout)
        call->o.timeout = HTTP_CLIENT_TIMEOUT_MS;
    if (!o->response_bytes_max)
        call->o.response_bytes_max = HTTP_CLIENT_RESPONSE_BYTES_MAX;
}

struct http_call *http_call_start(struct http_client *client, const struct http_call_options *o)
{
    wf_assert(o->addr_n > 0 && o->addr_n <= HTTP_CLIENT_ADDRS_MAX);
    wf_assert(o->on_fail);
    struct http_call *call = MEM_NEW(struct http_call);
    call->client = client;
    call->method = http_method_parse(o->method);
    call->timer.fn = on_call_timer;
    call->task.fn = call_go_on;
    copy_options(call, o);
    list_push(&client->calls, &call->node);
    env_timer_start(client->env, &call->timer, call->o.timeout);
    env_defer(client->env, &call->task);
    return call;
}

void http_call_cancel(struct http_call *call)
{
    if (call->sm.now == CALL_OVER)
        return; /* from inside its last callback */
    if (call->conn)
        conn_drop(call->conn);
    call_move(call, CALL_OVER);
    if (!call->in_callback)
        call_free(call);
}

void http_call_pause(struct http_call *call)
{
    call->paused = true;
    if (call->conn)
        env_stream_read_pause(call->conn->stream);
}

void http_call_resume(struct http_call *call)
{
    if (!call->paused)
        return;
    call->paused = false;
    if (!call->conn)
        return;
    env_stream_read_resume(call->conn->stream);
    env_defer(call->client->env, &call->task);
}

/* The client. */

#define OR_DEFAULT(field, value) ((field) ? (field) : (value))

struct http_client *http_client_new(struct env *env, const struct http_client_options *opt)
{
    struct http_client *client = MEM_NEW(struct http_client);
    client->env = env;
    client->opt = (struct http_client_options){
        .idle_max = OR_DEFAULT(opt->idle_max, HTTP_CLIENT_IDLE_MAX),
        .idle_timeout = OR_DEFAULT(opt->idle_timeout, HTTP_CLIENT_IDLE_TIMEOUT_MS),
        .connect_timeout = OR_DEFAULT(opt->connect_timeout, HTTP_CLIENT_CONNECT_TIMEOUT_MS),
    };
    list_init(&client->calls);
    list_init(&client->idle);
    list_init(&client->busy);
    return client;
}

void http_client_free(struct http_client *client)
{
    struct list_node *n;
    if (!client)
        return;
    while ((n = list_first(&client->calls))) {
        struct http_call *call = container_of(n, struct http_call, node);
        wf_assert(!call->in_callback);
        call_free(call);
    }
    while ((n = list_first(&client->idle)))
        conn_drop(container_of(n, struct conn, node));
    wf_assert(list_empty(&client->busy));
    mem_free(client);
}
