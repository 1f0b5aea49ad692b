/* If this fails, xDS, CA and telemetry streams lose messages, end with a wrong status, or one slow
 * proxy costs the control plane its memory. */
#include "base/core/assert.h"
#include "base/env/env_uv.h"
#include "base/net/grpc_client.h"
#include "base/net/grpc_server.h"
#include "base/wire/h2.h"
#include "base/wire/test.h"

/* One end of a call and what it saw. */
struct call {
    struct grpc_stream *s;
    struct buf log;
    size_t bytes, messages;
    bool closed, half_closed, headers;
    int status;
    struct arena arena;
    struct slice message;
    /* server behaviour */
    bool echo, finish_at_half_close, pause_at_message;
};

struct world {
    struct env *env;
    struct grpc_server *srv;
    struct grpc_client *cli;
    struct call calls[64]; /* of the server, in order of their opening */
    size_t call_n;
    struct call template; /* behaviour of the next server calls */
    int refuse;           /* status in on_open */
    wf_ms timeout;        /* of the last call */
    bool ready, goaway, client_closed, drained;
    struct err client_why;
};

#define UNTIL(w, condition)                                                                        \
    for (int turns_ = 0; !(condition); turns_++) {                                                 \
        assert_true(turns_ < 10000);                                                               \
        env_uv_turn((w)->env, 1000);                                                               \
    }

static void on_headers(void *user, const struct http_head *head)
{
    struct call *c = user;
    c->headers = true;
    assert_int_equal(head->status, 200);
}

static void on_message(void *user, struct slice message)
{
    struct call *c = user;
    assert_false(c->closed);
    c->bytes += message.n;
    c->messages++;
    if (message.n < 100)
        buf_printf(&c->log, "%.*s;", SLICE(message));
    if (c->pause_at_message)
        grpc_stream_pause(c->s);
    if (c->echo)
        assert_true(grpc_stream_send_copy(c->s, message));
}

static void on_half_close(void *user)
{
    struct call *c = user;
    c->half_closed = true;
    if (c->finish_at_half_close)
        grpc_stream_finish(c->s, GRPC_OK, S(""));
}

static void on_drain(void *user)
{
    (void)user;
}

static void on_close(void *user, int status, struct slice message)
{
    struct call *c = user;
    assert_false(c->closed);
    c->closed = true;
    c->status = status;
    c->message = arena_dup(&c->arena, message);
    c->s = NULL;
}

static const struct grpc_stream_events call_events = {
    .on_headers = on_headers,
    .on_message = on_message,
    .on_half_close = on_half_close,
    .on_drain = on_drain,
    .on_close = on_close,
};

static void *on_open(void *ctx, struct grpc_stream *s, const struct http_head *head, wf_ms timeout)
{
    struct world *w = ctx;
    assert_true(w->call_n < ARRAY_LEN(w->calls));
    struct call *c = &w->calls[w->call_n++];
    *c = w->template;
    c->s = s;
    w->timeout = timeout;
    check_slice(head->path, S("/test.Echo/Talk"));
    if (w->refuse)
        grpc_stream_finish(s, w->refuse, S("not today: 50%"));
    return c;
}

static void on_ready(void *ctx)
{
    ((struct world *)ctx)->ready = true;
}

static void on_goaway(void *ctx)
{
    ((struct world *)ctx)->goaway = true;
}

static void on_client_close(void *ctx, const struct err *why)
{
    struct world *w = ctx;
    w->client_closed = true;
    w->client_why = *why;
}

static void on_drained(void *ctx)
{
    ((struct world *)ctx)->drained = true;
}

static const struct grpc_client_events client_events = {on_ready, on_goaway, on_client_close};

static struct env_addr loopback(void)
{
    struct env_addr a;
    assert_true(env_addr_parse(&a, S("127.0.0.1:0"), NULL));
    return a;
}

static void world_init(struct world *w, const struct grpc_server_options *srv,
                       const struct grpc_client_options *cli)
{
    *w = (struct world){0};
    struct err err;
    struct env_addr at = loopback();
    w->env = env_uv_new(&err);
    w->srv = grpc_server_new(w->env, srv);
    grpc_server_handle(w->srv, &(struct grpc_handler){.path = S("/test.Echo/Talk"),
                                                      .ctx = w,
                                                      .events = &call_events,
                                                      .on_open = on_open});
    assert_true(grpc_server_listen(w->srv, &at, &err));
    w->cli = grpc_client_new(w->env, grpc_server_addr(w->srv), cli, &client_events, w);
}

static void call_fini(struct call *c)
{
    buf_fini(&c->log);
    arena_fini(&c->arena);
}

static void world_fini(struct world *w)
{
    grpc_client_free(w->cli);
    env_uv_turn(w->env, 0);
    grpc_server_free(w->srv);
    for (size_t i = 0; i < w->call_n; i++)
        call_fini(&w->calls[i]);
    env_uv_free(w->env);
}

static struct call *server_call(struct world *w)
{
    UNTIL(w, w->call_n > 0);
    return &w->calls[0];
}

static void call_open(struct world *w, struct call *c, wf_ms timeout)
{
    const struct grpc_call_options opt = {.path = S("/test.Echo/Talk"), .timeout = timeout};
    c->s = grpc_client_call(w->cli, &opt, &call_events, c);
    assert_non_null(c->s);
}

/* Wrong: messages or the status do not arrive, or not in order. */
static void test_echo(void **state)
{
    (void)state;
    struct world w;
    struct call c = {0};
    world_init(&w, NULL, NULL);
    w.template = (struct call){.echo = true, .finish_at_half_close = true};
    call_open(&w, &c, 5000);
    assert_true(grpc_stream_send_copy(c.s, S("one")));
    UNTIL(&w, c.messages == 1);
    assert_true(w.ready && c.headers);
    assert_true(w.timeout > 0 && w.timeout <= 5000);
    assert_true(grpc_stream_send_copy(c.s, S("")));
    assert_true(grpc_stream_send_copy(c.s, S("two")));
    grpc_stream_half_close(c.s);
    assert_false(grpc_stream_send_copy(c.s, S("late")));
    UNTIL(&w, c.closed && w.calls[0].closed);
    check_slice(buf_slice(&c.log), S("one;;two;"));
    assert_int_equal(c.status, GRPC_OK);
    assert_int_equal(w.calls[0].status, GRPC_OK);
    call_fini(&c);
    world_fini(&w);
}

/* Wrong: a client (tonic) that waits for the response's head never gets its stream. */
static void test_headers_come_at_once(void **state)
{
    (void)state;
    struct world w;
    struct call c = {0};
    world_init(&w, NULL, NULL);
    call_open(&w, &c, 0);
    UNTIL(&w, c.headers);
    assert_int_equal(w.timeout, -1);
    grpc_stream_cancel(c.s);
    UNTIL(&w, c.closed && w.calls[0].closed);
    assert_int_equal(c.status, GRPC_CANCELLED);
    assert_int_equal(w.calls[0].status, GRPC_CANCELLED);
    call_fini(&c);
    world_fini(&w);
}

/* Wrong: the reason of a refusal is lost. */
static void test_refusals(void **state)
{
    (void)state;
    struct world w;
    struct call c = {0}, other = {0};
    world_init(&w, NULL, NULL);
    w.refuse = GRPC_RESOURCE_EXHAUSTED;
    call_open(&w, &c, 0);
    const struct grpc_call_options opt = {.path = S("/test.Echo/Nothing")};
    other.s = grpc_client_call(w.cli, &opt, &call_events, &other);
    UNTIL(&w, c.closed && other.closed && w.calls[0].closed);
    assert_int_equal(c.status, GRPC_RESOURCE_EXHAUSTED);
    check_slice(c.message, S("not today: 50%"));
    assert_false(c.headers);
    assert_int_equal(other.status, GRPC_UNIMPLEMENTED);
    check_slice(other.message, S("no method /test.Echo/Nothing"));
    assert_int_equal(w.calls[0].status, GRPC_RESOURCE_EXHAUSTED);
    call_fini(&c);
    call_fini(&other);
    world_fini(&w);
}

/* Messages that many streams share. */

#define PART_BYTES (64u * 1024)
#define PARTS 32u /* 2 MiB together */

struct push {
    struct grpc_parts parts;
    int done, sent;
};

static void push_done(struct grpc_source *src, bool sent)
{
    struct push *p = container_of(src, struct push, parts.src);
    p->done++;
    p->sent += sent;
}

static void make_parts(struct slice parts[PARTS], char *bytes)
{
    memset(bytes, 'x', PART_BYTES);
    for (size_t i = 0; i < PARTS; i++)
        parts[i] = slice_mem(bytes, PART_BYTES);
}

/* Wrong: a thousand proxies that read slowly cost the control plane a copy of the state each. */
static void test_shared_parts_and_slow_readers(void **state)
{
    (void)state;
    enum { STREAMS = 40 };
    struct world w;
    static struct call c[STREAMS];
    static struct push p[STREAMS];
    static char bytes[PART_BYTES];
    struct slice parts[PARTS];
    make_parts(parts, bytes);
    memset(c, 0, sizeof(c));
    memset(p, 0, sizeof(p));
    world_init(&w, NULL, NULL);
    for (int i = 0; i < STREAMS; i++) {
        call_open(&w, &c[i], 0);
        grpc_stream_pause(c[i].s);
    }
    UNTIL(&w, w.call_n == STREAMS);
    for (int i = 0; i < STREAMS; i++) {
        grpc_parts_init(&p[i].parts, parts, PARTS, push_done);
        assert_true(grpc_stream_send(w.calls[i].s, &p[i].parts.src));
    }
    for (int turn = 0; turn < 50; turn++)
        env_uv_turn(w.env, 0);
    size_t taken = 0;
    for (int i = 0; i < STREAMS; i++) {
        assert_int_equal(p[i].done, 0);
        taken += p[i].parts.src.taken;
    }
    /* No more has left the sources than the client's window of the connection. */
    assert_true(taken <= 1024 * 1024);
    for (int i = 0; i < STREAMS; i++)
        grpc_stream_resume(c[i].s);
    for (int i = 0; i < STREAMS; i++) {
        UNTIL(&w, c[i].messages == 1);
        assert_int_equal(c[i].bytes, (size_t)PARTS * PART_BYTES);
        assert_int_equal(p[i].done, 1);
        assert_int_equal(p[i].sent, 1);
        call_fini(&c[i]);
    }
    world_fini(&w);
}

/* Wrong: a message given to a stream that dies is never given back, or twice. */
static void test_sources_come_back(void **state)
{
    (void)state;
    struct world w;
    struct call c = {0};
    static char bytes[PART_BYTES];
    struct slice parts[PARTS];
    struct push p[3] = {0};
    make_parts(parts, bytes);
    world_init(&w, NULL, NULL);
    call_open(&w, &c, 0);
    grpc_stream_pause(c.s);
    UNTIL(&w, w.call_n == 1);
    for (int i = 0; i < 3; i++) {
        grpc_parts_init(&p[i].parts, parts, PARTS, push_done);
        assert_true(grpc_stream_send(w.calls[0].s, &p[i].parts.src));
    }
    assert_int_equal(grpc_stream_queued(w.calls[0].s), 3);
    env_uv_turn(w.env, 10);
    grpc_stream_cancel(c.s);
    UNTIL(&w, w.calls[0].closed);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(p[i].done, 1);
        assert_int_equal(p[i].sent, 0);
    }
    call_fini(&c);
    world_fini(&w);
}

/* Wrong: the bound of waiting messages is none. */
static void test_source_bound(void **state)
{
    (void)state;
    struct world w;
    struct call c = {0};
    world_init(&w, NULL, NULL);
    call_open(&w, &c, 0);
    uint32_t n = 0;
    while (grpc_stream_send_copy(c.s, S("m")))
        n++;
    assert_int_equal(n, GRPC_SOURCES_MAX);
    UNTIL(&w, w.call_n == 1 && w.calls[0].messages == n);
    call_fini(&c);
    world_fini(&w);
}

/* Wrong: an owner that has gone is called, or its call goes on. */
static void test_detach(void **state)
{
    (void)state;
    struct world w;
    struct call c = {0}, finished = {0};
    world_init(&w, NULL, NULL);
    call_open(&w, &c, 0);
    call_open(&w, &finished, 0);
    UNTIL(&w, w.call_n == 2 && finished.headers);
    grpc_stream_detach(w.calls[0].s);
    grpc_stream_finish(w.calls[1].s, GRPC_NOT_FOUND, S("x"));
    grpc_stream_detach(w.calls[1].s);
    UNTIL(&w, c.closed && finished.closed);
    assert_int_equal(c.status, GRPC_CANCELLED);
    assert_int_equal(finished.status, GRPC_NOT_FOUND);
    assert_false(w.calls[0].closed || w.calls[1].closed);
    call_fini(&c);
    call_fini(&finished);
    world_fini(&w);
}

/* Wrong: a message over the bound is taken, or its sender is not told. */
static void test_message_bounds(void **state)
{
    (void)state;
    struct world w;
    struct call c = {0}, answer = {0};
    const struct grpc_server_options srv = {.message_bytes_max = 1000};
    const struct grpc_client_options cli = {.message_bytes_max = 500};
    static char big[2000];
    world_init(&w, &srv, &cli);
    call_open(&w, &c, 0);
    assert_true(grpc_stream_send_copy(c.s, slice_mem(big, 1001)));
    UNTIL(&w, c.closed && w.calls[0].closed);
    assert_int_equal(c.status, GRPC_RESOURCE_EXHAUSTED);
    assert_int_equal(w.calls[0].messages, 0);
    w.template.echo = true;
    call_open(&w, &answer, 0);
    assert_true(grpc_stream_send_copy(answer.s, slice_mem(big, 1000)));
    UNTIL(&w, answer.closed && w.calls[1].closed);
    assert_int_equal(w.calls[1].messages, 1);
    assert_int_equal(answer.status, GRPC_RESOURCE_EXHAUSTED);
    call_fini(&c);
    call_fini(&answer);
    world_fini(&w);
}

/* Wrong: a call waits for ever on a server that does not answer. */
static void test_deadline(void **state)
{
    (void)state;
    struct world w;
    struct call c = {0};
    world_init(&w, NULL, NULL);
    call_open(&w, &c, 20);
    UNTIL(&w, c.closed && w.call_n == 1 && w.calls[0].closed);
    assert_int_equal(c.status, GRPC_DEADLINE_EXCEEDED);
    call_fini(&c);
    world_fini(&w);
}

/* Wrong: messages overtake each other, or come while their reader is paused. */
static void test_pause(void **state)
{
    (void)state;
    struct world w;
    struct call c = {.pause_at_message = true};
    world_init(&w, NULL, NULL);
    call_open(&w, &c, 0);
    UNTIL(&w, w.call_n == 1);
    for (int i = 0; i < 3; i++)
        grpc_stream_send_copy(w.calls[0].s, i ? i == 1 ? S("b") : S("c") : S("a"));
    grpc_stream_finish(w.calls[0].s, GRPC_ABORTED, S("end"));
    UNTIL(&w, c.messages == 1 && w.calls[0].closed);
    for (int turn = 0; turn < 5; turn++)
        env_uv_turn(w.env, 0);
    assert_int_equal(c.messages, 1);
    assert_false(c.closed);
    grpc_stream_resume(c.s);
    UNTIL(&w, c.messages == 2);
    grpc_stream_resume(c.s);
    UNTIL(&w, c.closed);
    check_slice(buf_slice(&c.log), S("a;b;c;"));
    assert_int_equal(c.status, GRPC_ABORTED);
    call_fini(&c);
    world_fini(&w);
}

/* Wrong: the death of a connection is not heard by its calls. */
static void test_server_dies(void **state)
{
    (void)state;
    struct world w;
    struct call c = {0};
    world_init(&w, NULL, NULL);
    call_open(&w, &c, 0);
    UNTIL(&w, c.headers);
    grpc_server_free(w.srv);
    w.srv = NULL;
    assert_true(w.calls[0].closed);
    assert_int_equal(w.calls[0].status, GRPC_CANCELLED);
    UNTIL(&w, w.client_closed);
    assert_true(c.closed);
    assert_int_equal(c.status, GRPC_UNAVAILABLE);
    const struct grpc_call_options opt = {.path = S("/test.Echo/Talk")};
    assert_null(grpc_client_call(w.cli, &opt, &call_events, &c));
    call_fini(&c);
    world_fini(&w);
}

/* Wrong: a refused connection is not reported. */
static void test_connect_refused(void **state)
{
    (void)state;
    struct world w;
    struct call c = {0};
    world_init(&w, NULL, NULL);
    struct env_addr gone = *grpc_server_addr(w.srv);
    grpc_client_free(w.cli);
    grpc_server_free(w.srv);
    w.srv = NULL;
    w.cli = grpc_client_new(w.env, &gone, NULL, &client_events, &w);
    call_open(&w, &c, 0);
    UNTIL(&w, w.client_closed);
    assert_true(c.closed && !w.ready);
    assert_int_equal(c.status, GRPC_UNAVAILABLE);
    assert_int_equal(w.client_why.code, ERR_UNAVAILABLE);
    call_fini(&c);
    world_fini(&w);
}

/* Wrong: a rolling restart cuts calls that could have ended well. */
static void test_drain(void **state)
{
    (void)state;
    struct world w;
    struct call c = {0};
    world_init(&w, NULL, NULL);
    w.template.echo = w.template.finish_at_half_close = true;
    call_open(&w, &c, 0);
    UNTIL(&w, c.headers);
    grpc_server_drain(w.srv, 60000, on_drained, &w);
    UNTIL(&w, w.goaway);
    assert_true(grpc_stream_send_copy(c.s, S("still here")));
    UNTIL(&w, c.messages == 1);
    assert_false(w.drained);
    grpc_stream_half_close(c.s);
    UNTIL(&w, w.drained && c.closed);
    assert_int_equal(c.status, GRPC_OK);
    UNTIL(&w, w.client_closed);
    call_fini(&c);
    world_fini(&w);
}

/* Wrong: a drain waits for ever on a stream that never ends. */
static void test_drain_timeout(void **state)
{
    (void)state;
    struct world w;
    struct call c = {0};
    world_init(&w, NULL, NULL);
    call_open(&w, &c, 0);
    UNTIL(&w, c.headers);
    grpc_server_drain(w.srv, 20, on_drained, &w);
    UNTIL(&w, w.drained && c.closed);
    assert_int_equal(grpc_server_connections(w.srv), 0);
    call_fini(&c);
    world_fini(&w);
}

/* Wrong: a proxy that stops reading keeps its messages here for ever. */
static void test_stalled_reader_is_dropped(void **state)
{
    (void)state;
    struct world w;
    struct call c = {0};
    static char bytes[PART_BYTES];
    struct slice parts[PARTS];
    struct push p = {0};
    const struct grpc_server_options srv = {.stall_timeout = 40};
    make_parts(parts, bytes);
    world_init(&w, &srv, NULL);
    call_open(&w, &c, 0);
    grpc_stream_pause(c.s);
    UNTIL(&w, w.call_n == 1);
    grpc_parts_init(&p.parts, parts, PARTS, push_done);
    assert_true(grpc_stream_send(w.calls[0].s, &p.parts.src));
    UNTIL(&w, c.closed && w.calls[0].closed);
    assert_int_equal(c.status, GRPC_RESOURCE_EXHAUSTED);
    assert_int_equal(p.done, 1);
    call_fini(&c);
    world_fini(&w);
}

/* Wrong: a stream whose window is full to the byte keeps its status here for ever. */
static void test_stalled_status_is_dropped(void **state)
{
    (void)state;
    struct world w;
    struct call c = {0};
    static char bytes[256 * 1024 - GRPC_FRAME_HEAD]; /* the client's window of a stream */
    const struct slice part = slice_mem(bytes, sizeof(bytes));
    struct push p = {0};
    const struct grpc_server_options srv = {.stall_timeout = 40};
    world_init(&w, &srv, NULL);
    call_open(&w, &c, 0);
    grpc_stream_pause(c.s);
    UNTIL(&w, w.call_n == 1);
    grpc_parts_init(&p.parts, &part, 1, push_done);
    assert_true(grpc_stream_send(w.calls[0].s, &p.parts.src));
    UNTIL(&w, p.sent);
    grpc_stream_finish(w.calls[0].s, GRPC_OK, S(""));
    UNTIL(&w, c.closed && w.calls[0].closed);
    assert_int_equal(w.calls[0].status, GRPC_CANCELLED);
    call_fini(&c);
    world_fini(&w);
}

/* Peers that do not answer. */

struct mute {
    struct env_listener *l;
    struct env_stream *s;
    bool settings; /* send them, then fall silent */
};

static void mute_data(void *ctx, struct slice bytes)
{
    struct mute *m = ctx;
    (void)bytes;
    if (!m->settings)
        return;
    m->settings = false;
    struct iovec iov = {(char[]){"\0\0\0\4\0\0\0\0"}, 9};
    env_stream_write(m->s, &iov, 1);
}

static void mute_close(void *ctx, const struct err *why)
{
    (void)why;
    ((struct mute *)ctx)->s = NULL;
}

static const struct env_stream_events mute_events = {.on_data = mute_data, .on_close = mute_close};

static void mute_accept(void *ctx, struct env_stream *s)
{
    struct mute *m = ctx;
    m->s = s;
    env_stream_set_events(s, &mute_events, m);
}

/* Wrong: a half-open connection is found after minutes, by the kernel. */
static void test_mute_peers(void **state)
{
    (void)state;
    for (int settings = 0; settings < 2; settings++) {
        struct world w;
        struct mute m = {.settings = settings};
        struct env_addr at = loopback();
        const struct grpc_client_options opt = {
            .connect_timeout = 30, .keepalive = 20, .keepalive_timeout = 20};
        world_init(&w, NULL, NULL);
        m.l = env_listen(w.env, &at, NULL, mute_accept, &m, NULL);
        grpc_client_free(w.cli);
        w.cli = grpc_client_new(w.env, env_listener_addr(m.l), &opt, &client_events, &w);
        UNTIL(&w, w.client_closed);
        assert_int_equal(w.client_why.code, ERR_TIMEOUT);
        assert_int_equal(w.ready, settings);
        env_listener_close(m.l);
        UNTIL(&w, !m.s);
        world_fini(&w);
    }
}

/* Wrong: a client that never speaks holds a connection of the server. */
static void test_handshake_timeout(void **state)
{
    (void)state;
    struct world w;
    struct mute m = {0};
    const struct grpc_server_options srv = {.handshake_timeout = 20};
    world_init(&w, &srv, NULL);
    UNTIL(&w, w.ready);
    m.s = env_connect(w.env, grpc_server_addr(w.srv), NULL, &mute_events, &m);
    UNTIL(&w, grpc_server_connections(w.srv) == 2);
    UNTIL(&w, grpc_server_connections(w.srv) == 1);
    UNTIL(&w, !m.s);
    assert_false(w.client_closed);
    world_fini(&w);
}

/* Wrong: connections are taken beyond the bound. */
static void test_connections_bound(void **state)
{
    (void)state;
    struct world w;
    const struct grpc_server_options srv = {.connections_max = 1};
    world_init(&w, &srv, NULL);
    UNTIL(&w, w.ready);
    struct mute m = {0};
    m.s = env_connect(w.env, grpc_server_addr(w.srv), NULL, &mute_events, &m);
    UNTIL(&w, !m.s);
    assert_int_equal(grpc_server_connections(w.srv), 1);
    world_fini(&w);
}

/* Wrong: freeing a client from inside its own event corrupts memory. */
static void free_client(void *user, struct slice message)
{
    struct world *w = user;
    (void)message;
    grpc_client_free(w->cli);
    w->cli = NULL;
}

static void never_close(void *user, int status, struct slice message)
{
    (void)user, (void)status, (void)message;
    fail_msg("an event after the end");
}

static void test_free_inside_event(void **state)
{
    (void)state;
    struct world w;
    static const struct grpc_stream_events events = {.on_message = free_client,
                                                     .on_close = never_close};
    world_init(&w, NULL, NULL);
    w.template.echo = true;
    const struct grpc_call_options opt = {.path = S("/test.Echo/Talk")};
    struct grpc_stream *s = grpc_client_call(w.cli, &opt, &events, &w);
    assert_true(grpc_stream_send_copy(s, S("bye")));
    assert_true(grpc_stream_send_copy(s, S("bye")));
    UNTIL(&w, !w.cli);
    UNTIL(&w, server_call(&w)->closed);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_headers_come_at_once),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_shared_parts_and_slow_readers),
        cmocka_unit_test(test_sources_come_back),
        cmocka_unit_test(test_source_bound),
        cmocka_unit_test(test_detach),
        cmocka_unit_test(test_message_bounds),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_server_dies),
        cmocka_unit_test(test_connect_refused),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_drain_timeout),
        cmocka_unit_test(test_stalled_reader_is_dropped),
        cmocka_unit_test(test_stalled_status_is_dropped),
        cmocka_unit_test(test_mute_peers),
        cmocka_unit_test(test_handshake_timeout),
        cmocka_unit_test(test_connections_bound),
        cmocka_unit_test(test_free_inside_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
