#include "base/net/grpc_server.h"

#include "base/core/assert.h"
#include "base/core/map.h"
#include "base/net/grpc_int.h"

struct grpc_server {
    struct env *env;
    struct grpc_server_options opt;
    struct map handlers; /* path -> const struct grpc_handler */
    struct env_listener *listeners[GRPC_LISTENERS_MAX];
    size_t listener_n;
    struct list conns;
    uint32_t conn_n;
    struct h2_pool *pool;
    struct buf out;
    bool draining;
    struct env_timer drain_timer;
    void (*on_drained)(void *ctx);
    void *drained_ctx;
};

struct server_conn {
    struct grpc_conn conn;
    struct list_node node;
};

static struct grpc_server *server_of(struct grpc_conn *c)
{
    return c->owner;
}

/* Requests. */

static void answer_http(struct grpc_conn *c, int32_t id, uint16_t status)
{
    const struct http_head head = {.status = status};
    h2_respond(c->h2, id, &head, false);
}

static void answer_unimplemented(struct grpc_conn *c, int32_t id, struct slice path)
{
    struct arena scratch = {0};
    struct http_head head;
    struct slice text = arena_printf(&scratch, "no method %.*s", SLICE(slice_sub(path, 0, 200)));
    grpc_trailers_only(&head, &scratch, GRPC_UNIMPLEMENTED, text);
    h2_respond(c->h2, id, &head, false);
    arena_fini(&scratch);
}

static const struct grpc_handler *handler_of(const struct grpc_server *srv, struct slice path)
{
    const struct grpc_handler *h = map_get(&srv->handlers, path);
    return h ? h : map_get(&srv->handlers, S(""));
}

static void open_stream(struct grpc_conn *c, int32_t id, const struct grpc_handler *h,
                        const struct http_head *head)
{
    wf_ms timeout;
    if (!grpc_timeout_parse(headers_value(&head->headers, HDR_GRPC_TIMEOUT), &timeout))
        timeout = -1;
    struct grpc_stream *s = grpc_stream_new(c, id, h->events, NULL);
    h2_set_user(c->h2, id, s);
    s->user = h->on_open(h->ctx, s, head, timeout);
    grpc_stream_send_head(s);
}

/* gRPC over HTTP/2, "Requests". */
static void on_request(struct grpc_conn *c, int32_t id, const struct http_head *head)
{
    const struct grpc_handler *h = handler_of(server_of(c), head->path);
    if (head->method_id != HTTP_POST)
        answer_http(c, id, 405);
    else if (!grpc_content_type(headers_value(&head->headers, HDR_CONTENT_TYPE)))
        answer_http(c, id, 415);
    else if (!h)
        answer_unimplemented(c, id, head->path);
    else
        open_stream(c, id, h, head);
}

/* Connections. */

static void drained(struct grpc_server *srv)
{
    env_timer_stop(srv->env, &srv->drain_timer);
    void (*fn)(void *ctx) = srv->on_drained;
    srv->on_drained = NULL;
    if (fn)
        fn(srv->drained_ctx);
}

static void conn_free(struct grpc_server *srv, struct grpc_conn *c)
{
    struct server_conn *sc = container_of(c, struct server_conn, conn);
    list_remove(&sc->node);
    srv->conn_n--;
    mem_free(sc);
}

static void on_gone(struct grpc_conn *c, const struct err *why)
{
    (void)why;
    struct grpc_server *srv = server_of(c);
    conn_free(srv, c);
    if (srv->draining && !srv->conn_n)
        drained(srv);
}

static const struct grpc_role server_role = {.on_request = on_request, .on_gone = on_gone};

void grpc_server_adopt(struct grpc_server *srv, struct env_stream *stream)
{
    if (srv->draining || srv->conn_n >= srv->opt.connections_max) {
        env_stream_set_events(stream, NULL, NULL);
        env_stream_close(stream);
        return;
    }
    struct server_conn *sc = MEM_NEW(struct server_conn);
    sc->conn = (struct grpc_conn){.role = &server_role, .owner = srv, .out = &srv->out};
    list_push(&srv->conns, &sc->node);
    srv->conn_n++;
    env_stream_set_events(stream, &grpc_conn_stream_events, &sc->conn);
    const struct grpc_conn_options opt = {
        .server = true,
        .message_bytes_max = srv->opt.message_bytes_max,
        .handshake = srv->opt.handshake_timeout,
        .keepalive = srv->opt.keepalive,
        .keepalive_timeout = srv->opt.keepalive_timeout,
        .stall = srv->opt.stall_timeout,
        .streams_max = srv->opt.streams_max,
        .pool = srv->pool,
    };
    grpc_conn_init(&sc->conn, srv->env, stream, &opt);
}

static void on_accept(void *ctx, struct env_stream *stream)
{
    grpc_server_adopt(ctx, stream);
}

/* The server. */

static void abort_all(struct grpc_server *srv)
{
    struct list_node *n;
    while ((n = list_first(&srv->conns))) {
        struct grpc_conn *c = &container_of(n, struct server_conn, node)->conn;
        grpc_conn_abort(c);
        conn_free(srv, c);
    }
}

static void on_drain_timeout(struct env_timer *t)
{
    struct grpc_server *srv = container_of(t, struct grpc_server, drain_timer);
    abort_all(srv);
    drained(srv);
}

static void defaults(struct grpc_server_options *o)
{
#define DEFAULT(field, value) o->field = o->field ? o->field : (value)
    DEFAULT(connections_max, GRPC_CONNECTIONS_MAX);
    DEFAULT(streams_max, GRPC_STREAMS_MAX);
    DEFAULT(message_bytes_max, GRPC_MESSAGE_BYTES);
    DEFAULT(handshake_timeout, GRPC_HANDSHAKE_MS);
    DEFAULT(keepalive, GRPC_KEEPALIVE_MS);
    DEFAULT(keepalive_timeout, GRPC_KEEPALIVE_TIMEOUT_MS);
    DEFAULT(stall_timeout, GRPC_STALL_MS);
#undef DEFAULT
}

struct grpc_server *grpc_server_new(struct env *env, const struct grpc_server_options *opt)
{
    struct grpc_server *srv = MEM_NEW(struct grpc_server);
    srv->env = env;
    srv->opt = opt ? *opt : (struct grpc_server_options){0};
    defaults(&srv->opt);
    srv->pool = h2_pool_new();
    srv->drain_timer.fn = on_drain_timeout;
    list_init(&srv->conns);
    env_random(env, &srv->handlers.key, sizeof(srv->handlers.key));
    return srv;
}

void grpc_server_handle(struct grpc_server *srv, const struct grpc_handler *handler)
{
    wf_assert(handler->on_open && handler->events);
    struct grpc_handler *own = MEM_NEW(struct grpc_handler);
    *own = *handler;
    void *before = map_put(&srv->handlers, own->path, own);
    wf_assert(!before);
}

bool grpc_server_listen(struct grpc_server *srv, const struct env_addr *at, struct err *err)
{
    if (srv->listener_n == GRPC_LISTENERS_MAX)
        return err_set(err, ERR_LIMIT, "grpc: %u listeners", GRPC_LISTENERS_MAX);
    const struct env_listen_options opt = {.reuse_port = srv->opt.reuse_port,
                                           .first = srv->opt.first};
    struct env_listener *l = env_listen(srv->env, at, &opt, on_accept, srv, err);
    if (!l)
        return false;
    srv->listeners[srv->listener_n++] = l;
    return true;
}

const struct env_addr *grpc_server_addr(const struct grpc_server *srv)
{
    wf_assert(srv->listener_n);
    return env_listener_addr(srv->listeners[0]);
}

uint32_t grpc_server_connections(const struct grpc_server *srv)
{
    return srv->conn_n;
}

static void stop_listening(struct grpc_server *srv)
{
    for (size_t i = 0; i < srv->listener_n; i++)
        env_listener_close(srv->listeners[i]);
    srv->listener_n = 0;
}

void grpc_server_drain(struct grpc_server *srv, wf_ms timeout, void (*on_drained)(void *ctx),
                       void *ctx)
{
    wf_assert(!srv->draining);
    srv->draining = true;
    srv->on_drained = on_drained;
    srv->drained_ctx = ctx;
    stop_listening(srv);
    LIST_EACH (&srv->conns, n) {
        struct grpc_conn *c = &container_of(n, struct server_conn, node)->conn;
        h2_drain(c->h2);
        grpc_conn_wake(c);
    }
    env_timer_start(srv->env, &srv->drain_timer, srv->conn_n ? timeout : 0);
}

void grpc_server_free(struct grpc_server *srv)
{
    if (!srv)
        return;
    srv->on_drained = NULL;
    stop_listening(srv);
    abort_all(srv);
    env_timer_stop(srv->env, &srv->drain_timer);
    MAP_EACH (&srv->handlers, e)
        mem_free(e->value);
    map_fini(&srv->handlers);
    h2_pool_free(srv->pool);
    buf_fini(&srv->out);
    mem_free(srv);
}
