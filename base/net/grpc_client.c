#include "base/net/grpc_client.h"

#include "base/core/assert.h"
#include "base/net/grpc_int.h"

struct grpc_client {
    struct grpc_conn conn;
    const struct grpc_client_events *events; /* NULL: freed */
    void *ctx;
    struct slice authority;
    struct arena arena;
    struct buf out;
    struct env_task free_task;
};

static struct grpc_client *client_of(struct grpc_conn *c)
{
    return c->owner;
}

static void on_ready(struct grpc_conn *conn)
{
    struct grpc_client *c = client_of(conn);
    if (c->events && c->events->on_ready)
        c->events->on_ready(c->ctx);
}

static void on_goaway(struct grpc_conn *conn)
{
    struct grpc_client *c = client_of(conn);
    if (c->events && c->events->on_goaway)
        c->events->on_goaway(c->ctx);
}

static void on_gone(struct grpc_conn *conn, const struct err *why)
{
    struct grpc_client *c = client_of(conn);
    if (c->events)
        c->events->on_close(c->ctx, why);
}

static const struct grpc_role client_role = {
    .on_ready = on_ready,
    .on_goaway = on_goaway,
    .on_gone = on_gone,
};

static struct slice default_authority(struct arena *arena, const struct env_addr *to)
{
    char text[ENV_ADDR_TEXT];
    struct slice s = env_addr_format(to, text);
    return slice_starts(s, S("unix:")) ? S("localhost") : arena_dup(arena, s);
}

static void on_free(struct env_task *t)
{
    struct grpc_client *c = container_of(t, struct grpc_client, free_task);
    grpc_conn_abort(&c->conn);
    arena_fini(&c->arena);
    buf_fini(&c->out);
    mem_free(c);
}

static wf_ms or_default(wf_ms given, wf_ms otherwise)
{
    return given ? given : otherwise;
}

struct grpc_client *grpc_client_new(struct env *env, const struct env_addr *to,
                                    const struct grpc_client_options *opt,
                                    const struct grpc_client_events *events, void *ctx)
{
    wf_assert(events->on_close);
    const struct grpc_client_options none = {0};
    opt = opt ? opt : &none;
    struct grpc_client *c = MEM_NEW(struct grpc_client);
    c->events = events;
    c->ctx = ctx;
    c->free_task.fn = on_free;
    c->authority =
        opt->authority.n ? arena_dup(&c->arena, opt->authority) : default_authority(&c->arena, to);
    c->conn = (struct grpc_conn){.role = &client_role, .owner = c, .out = &c->out};
    const struct grpc_conn_options conn = {
        .message_bytes_max = opt->message_bytes_max ? opt->message_bytes_max : GRPC_MESSAGE_BYTES,
        .handshake = or_default(opt->connect_timeout, GRPC_CONNECT_MS),
        .keepalive = or_default(opt->keepalive, GRPC_KEEPALIVE_MS),
        .keepalive_timeout = or_default(opt->keepalive_timeout, GRPC_KEEPALIVE_TIMEOUT_MS),
        .stall = GRPC_STALL_MS,
    };
    const struct env_stream_options stream = {.connect_timeout = conn.handshake};
    grpc_conn_init(&c->conn, env, env_connect(env, to, &stream, &grpc_conn_stream_events, &c->conn),
                   &conn);
    return c;
}

static void on_deadline(struct env_timer *t)
{
    struct grpc_stream *s = container_of(t, struct grpc_stream, deadline);
    grpc_stream_stop(s, GRPC_DEADLINE_EXCEEDED, S("deadline exceeded"));
}

struct grpc_stream *grpc_client_call(struct grpc_client *c, const struct grpc_call_options *opt,
                                     const struct grpc_stream_events *events, void *user)
{
    if (!grpc_conn_live(&c->conn) || !c->events || !h2_can_request(c->conn.h2))
        return NULL;
    struct arena scratch = {0};
    struct http_head head;
    struct grpc_stream *s = grpc_stream_new(&c->conn, 0, events, user);
    grpc_request_head(&head, &scratch, S("http"), c->authority, opt->path, opt->timeout);
    for (uint32_t i = 0; opt->metadata && i < opt->metadata->n; i++)
        headers_add_name(&head.headers, &scratch, opt->metadata->p[i].name,
                         opt->metadata->p[i].value);
    s->id = h2_request(c->conn.h2, &head, true, s);
    arena_fini(&scratch);
    if (s->id < 0) {
        grpc_stream_discard(s);
        return NULL;
    }
    s->deadline.fn = on_deadline;
    if (opt->timeout > 0)
        env_timer_start(c->conn.env, &s->deadline, opt->timeout);
    grpc_conn_wake(&c->conn);
    return s;
}

void grpc_client_free(struct grpc_client *c)
{
    if (!c)
        return;
    c->events = NULL;
    LIST_EACH (&c->conn.streams, n)
        grpc_stream_detach(container_of(n, struct grpc_stream, node));
    env_defer(c->conn.env, &c->free_task);
}
