/* If this fails, bytes between two processes of the mesh are lost, doubled or reordered, or an
 * owner hears of an end twice or never. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/env/env_uv.h"

/* One end of a connection, which writes down all that happens to it. */
struct side {
    struct env_stream *s;
    struct buf got;
    int connects, ends, drains, closes;
    enum err_code why;
    bool echo, close_on_data, pause_on_data;
};

struct world {
    struct env *env;
    struct env_listener *l;
    struct side client, server;
};

static void on_connect(void *ctx)
{
    ((struct side *)ctx)->connects++;
}

static size_t write_slice(struct env_stream *s, struct slice bytes)
{
    struct iovec iov = {(void *)(uintptr_t)bytes.p, bytes.n};
    return env_stream_write(s, &iov, 1);
}

static void on_data(void *ctx, struct slice bytes)
{
    struct side *side = ctx;
    assert_true(bytes.n > 0);
    assert_int_equal(side->ends, 0);
    assert_int_equal(side->closes, 0);
    buf_append(&side->got, bytes);
    if (side->echo)
        write_slice(side->s, bytes);
    if (side->close_on_data)
        env_stream_close(side->s);
    if (side->pause_on_data)
        env_stream_read_pause(side->s);
}

static void on_end(void *ctx)
{
    ((struct side *)ctx)->ends++;
}

static void on_drain(void *ctx)
{
    ((struct side *)ctx)->drains++;
}

static void on_close(void *ctx, const struct err *why)
{
    struct side *side = ctx;
    side->closes++;
    side->why = why->code;
    side->s = NULL;
}

static const struct env_stream_events events = {on_connect, on_data, on_end, on_drain, on_close};
static const struct env_stream_events events_without_end = {on_connect, on_data, NULL, on_drain,
                                                            on_close};

static void on_accept(void *ctx, struct env_stream *s)
{
    struct world *w = ctx;
    assert_null(w->server.s);
    w->server.s = s;
    env_stream_set_events(s, &events, &w->server);
}

static struct env_addr addr_of(const char *text)
{
    struct env_addr a;
    struct err err;
    assert_true(env_addr_parse(&a, slice_of(text), &err));
    return a;
}

static struct world world_new(void)
{
    struct world w = {0};
    struct err err;
    w.env = env_uv_new(&err);
    assert_non_null(w.env);
    return w;
}

static void world_listen(struct world *w, const char *at)
{
    struct err err;
    struct env_addr a = addr_of(at);
    w->l = env_listen(w->env, &a, NULL, on_accept, w, &err);
    if (!w->l)
        fail_msg("%s", err.msg);
}

static void world_connect(struct world *w)
{
    w->client.s = env_connect(w->env, env_listener_addr(w->l), NULL, &events, &w->client);
}

/* Turns until the condition holds; a hang is the test's time limit. */
#define UNTIL(w, condition)                                                                        \
    for (int turns_ = 0; !(condition); turns_++) {                                                 \
        assert_true(turns_ < 10000);                                                               \
        env_uv_turn((w)->env, 1000);                                                               \
    }

static void world_pair(struct world *w, const char *at)
{
    *w = world_new();
    world_listen(w, at);
    world_connect(w);
    UNTIL(w, w->client.connects && w->server.s);
}

static void world_fini(struct world *w)
{
    env_uv_free(w->env);
    buf_fini(&w->client.got);
    buf_fini(&w->server.got);
}

static void test_echo(void **state)
{
    static const char *const at[] = {"127.0.0.1:0", "[::1]:0", "unix:@weft-env-test"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(at); i++) {
        struct world w;
        world_pair(&w, at[i]);
        w.server.echo = true;
        struct iovec iov[3] = {
            {(void *)(uintptr_t) "one ", 4}, {NULL, 0}, {(void *)(uintptr_t) "two", 3}};
        assert_int_equal(env_stream_write(w.client.s, iov, 3), 0);
        UNTIL(&w, w.client.got.n == 7);
        assert_true(slice_eq(buf_slice(&w.client.got), S("one two")));
        assert_int_equal(w.client.connects, 1);
        assert_int_equal(w.server.connects, 0);
        world_fini(&w);
        assert_int_equal(w.client.closes, 1);
        assert_int_equal(w.server.closes, 1);
    }
}

static void test_addresses(void **state)
{
    struct world w;
    struct env_addr dst;
    struct env_peer_cred cred;
    (void)state;
    world_pair(&w, "127.0.0.1:0");
    assert_true(env_addr_equal(env_stream_peer(w.client.s), env_listener_addr(w.l)));
    assert_true(env_addr_equal(env_stream_local(w.server.s), env_listener_addr(w.l)));
    assert_true(env_addr_equal(env_stream_local(w.client.s), env_stream_peer(w.server.s)));
    assert_false(env_stream_original_dst(w.server.s, &dst));
    assert_false(env_stream_peer_cred(w.server.s, &cred));
    world_fini(&w);
    world_pair(&w, "unix:@weft-env-test-cred");
    assert_true(env_stream_peer_cred(w.server.s, &cred));
    assert_int_equal(cred.pid, getpid());
    assert_int_equal(cred.uid, getuid());
    world_fini(&w);
}

/* A deterministic byte of a long message. */
static char byte_at(size_t i)
{
    return (char)(i * 131 + (i >> 8) * 17 + (i >> 16));
}

/* More than any socket buffer, to a reader who starts late: everything arrives once, in order, and
 * the writer hears of the drain. */
static void test_backpressure(void **state)
{
    enum { TOTAL = 24 << 20, PIECE = 100 << 10 };
    struct world w;
    (void)state;
    world_pair(&w, "127.0.0.1:0");
    env_stream_read_pause(w.server.s);
    char *all = malloc(TOTAL);
    assert_non_null(all);
    for (size_t i = 0; i < TOTAL; i++)
        all[i] = byte_at(i);
    for (size_t at = 0; at < TOTAL; at += PIECE)
        write_slice(w.client.s, slice_sub(slice_mem(all, TOTAL), at, PIECE));
    assert_true(env_stream_queued(w.client.s) > (1 << 20));
    for (int i = 0; i < 20; i++)
        env_uv_turn(w.env, 0);
    assert_int_equal(w.server.got.n, 0);
    assert_int_equal(w.client.drains, 0);
    env_stream_read_resume(w.server.s);
    UNTIL(&w, w.server.got.n == TOTAL);
    assert_memory_equal(buf_slice(&w.server.got).p, all, TOTAL);
    assert_int_equal(w.client.drains, 1);
    assert_int_equal(env_stream_queued(w.client.s), 0);
    free(all);
    world_fini(&w);
}

static void test_pause_holds_data_and_end(void **state)
{
    struct world w;
    (void)state;
    world_pair(&w, "127.0.0.1:0");
    w.server.pause_on_data = true;
    write_slice(w.client.s, S("a"));
    UNTIL(&w, w.server.got.n == 1);
    write_slice(w.client.s, S("b"));
    env_stream_shutdown(w.client.s);
    for (int i = 0; i < 20; i++)
        env_uv_turn(w.env, 0);
    assert_int_equal(w.server.got.n, 1);
    assert_int_equal(w.server.ends, 0);
    w.server.pause_on_data = false;
    env_stream_read_resume(w.server.s);
    UNTIL(&w, w.server.ends == 1);
    assert_int_equal(w.server.got.n, 2);
    world_fini(&w);
}

static void test_half_close(void **state)
{
    struct world w;
    (void)state;
    world_pair(&w, "127.0.0.1:0");
    write_slice(w.client.s, S("question"));
    env_stream_shutdown(w.client.s);
    UNTIL(&w, w.server.ends == 1);
    assert_int_equal(w.server.closes, 0);
    write_slice(w.server.s, S("answer"));
    env_stream_shutdown(w.server.s);
    /* Both directions have ended: both streams end by themselves. */
    UNTIL(&w, w.client.closes == 1 && w.server.closes == 1);
    assert_true(slice_eq(buf_slice(&w.client.got), S("answer")));
    assert_int_equal(w.client.ends, 1);
    assert_int_equal(w.client.why, ERR_NONE);
    assert_int_equal(w.server.why, ERR_NONE);
    world_fini(&w);
}

static void test_close_tells_once(void **state)
{
    struct world w;
    (void)state;
    world_pair(&w, "127.0.0.1:0");
    w.server.close_on_data = true;
    write_slice(w.client.s, S("x"));
    UNTIL(&w, w.client.ends == 1);
    assert_int_equal(w.server.closes, 1);
    assert_int_equal(w.server.why, ERR_NONE);
    env_stream_close(w.client.s);
    env_stream_close(w.client.s);
    assert_int_equal(w.client.closes, 0); /* not from inside the call */
    write_slice(w.client.s, S("dropped"));
    UNTIL(&w, w.client.closes == 1);
    world_fini(&w);
    assert_int_equal(w.client.closes, 1);
}

static void test_detached_events_stay_silent(void **state)
{
    struct world w;
    (void)state;
    world_pair(&w, "127.0.0.1:0");
    struct env_stream *s = w.client.s;
    env_stream_set_events(s, NULL, NULL);
    env_stream_close(s);
    UNTIL(&w, w.server.ends == 1);
    assert_int_equal(w.client.closes, 0);
    world_fini(&w);
}

static void test_end_without_on_end_is_a_failure(void **state)
{
    struct world w;
    (void)state;
    world_pair(&w, "127.0.0.1:0");
    env_stream_set_events(w.client.s, &events_without_end, &w.client);
    env_stream_shutdown(w.server.s);
    UNTIL(&w, w.client.closes == 1);
    assert_int_equal(w.client.why, ERR_IO);
    world_fini(&w);
}

/* The last bytes of a refusal must reach a client that is still sending: a plain close would answer
 * its bytes with a reset, which throws away what it has not read. */
static void test_close_after_write_survives_sender(void **state)
{
    struct world w;
    (void)state;
    world_pair(&w, "127.0.0.1:0");
    write_slice(w.client.s, S("first"));
    UNTIL(&w, w.server.got.n == 5);
    write_slice(w.server.s, S("refused"));
    env_stream_close_after_write(w.server.s, 5000);
    write_slice(w.client.s, S("more that nobody will read"));
    UNTIL(&w, w.client.ends == 1);
    assert_true(slice_eq(buf_slice(&w.client.got), S("refused")));
    assert_int_equal(w.server.closes, 0);
    env_stream_close(w.client.s);
    UNTIL(&w, w.server.closes == 1);
    assert_int_equal(w.server.got.n, 5);
    assert_int_equal(w.server.why, ERR_NONE);
    world_fini(&w);
}

static void test_linger_ends(void **state)
{
    struct world w;
    (void)state;
    world_pair(&w, "127.0.0.1:0");
    wf_ms began = env_now(w.env);
    env_stream_close_after_write(w.server.s, 30);
    UNTIL(&w, w.server.closes == 1); /* the client keeps its side open */
    assert_true(env_now(w.env) - began >= 30);
    world_fini(&w);
}

static void test_refused(void **state)
{
    struct world w;
    (void)state;
    w = world_new();
    world_listen(&w, "127.0.0.1:0");
    struct env_addr nobody = *env_listener_addr(w.l);
    env_listener_close(w.l);
    w.client.s = env_connect(w.env, &nobody, NULL, &events, &w.client);
    write_slice(w.client.s, S("queued for nobody"));
    assert_int_equal(w.client.closes, 0);
    UNTIL(&w, w.client.closes == 1);
    assert_int_equal(w.client.why, ERR_UNAVAILABLE);
    assert_int_equal(w.client.connects, 0);
    struct env_addr no_file = addr_of("unix:/nowhere/socket");
    w.client.s = env_connect(w.env, &no_file, NULL, &events, &w.client);
    assert_int_equal(w.client.closes, 1);
    UNTIL(&w, w.client.closes == 2);
    assert_int_equal(w.client.why, ERR_UNAVAILABLE);
    world_fini(&w);
}

/* A listener whose queue is full lets nobody in: the connection must give up by its own clock. */
static void test_connect_timeout(void **state)
{
    struct world w;
    (void)state;
    w = world_new();
    struct env_addr a = addr_of("127.0.0.1:0");
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, &a.sa, a.len), 0);
    assert_int_equal(listen(fd, 0), 0);
    a.len = sizeof(a.un);
    assert_int_equal(getsockname(fd, &a.sa, &a.len), 0);
    struct env_stream_options opt = {.connect_timeout = 100};
    struct side sides[4] = {0};
    for (size_t i = 0; i < ARRAY_LEN(sides); i++)
        sides[i].s = env_connect(w.env, &a, &opt, &events, &sides[i]);
    UNTIL(&w, sides[3].closes == 1);
    assert_int_equal(sides[3].why, ERR_TIMEOUT);
    world_fini(&w);
    close(fd);
}

static void test_reset_is_told(void **state)
{
    struct world w;
    (void)state;
    w = world_new();
    world_listen(&w, "127.0.0.1:0");
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct env_addr at = *env_listener_addr(w.l);
    assert_int_equal(connect(fd, &at.sa, at.len), 0);
    UNTIL(&w, w.server.s);
    struct linger now = {.l_onoff = 1};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(fd); /* RST */
    UNTIL(&w, w.server.closes == 1);
    assert_int_equal(w.server.why, ERR_IO);
    world_fini(&w);
}

/* The peer answers and goes while we still send: the answer is delivered before the failure. */
static void test_early_answer_survives_broken_pipe(void **state)
{
    struct world w;
    (void)state;
    w = world_new();
    world_listen(&w, "127.0.0.1:0");
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct env_addr at = *env_listener_addr(w.l);
    assert_int_equal(connect(fd, &at.sa, at.len), 0);
    UNTIL(&w, w.server.s);
    assert_int_equal(write(fd, "early", 5), 5);
    close(fd);
    /* The first write provokes the peer's reset, the second fails; nothing was read yet. */
    write_slice(w.server.s, S("a"));
    write_slice(w.server.s, S("b"));
    UNTIL(&w, w.server.got.n == 5 || w.server.closes);
    assert_int_equal(w.server.got.n, 5);
    write_slice(w.server.s, S("c"));
    UNTIL(&w, w.server.closes == 1 || w.server.ends == 1);
    world_fini(&w);
}

static void test_write_before_connect(void **state)
{
    struct world w;
    (void)state;
    w = world_new();
    world_listen(&w, "127.0.0.1:0");
    world_connect(&w);
    assert_int_equal(write_slice(w.client.s, S("hello")), 5);
    env_stream_shutdown(w.client.s);
    UNTIL(&w, w.server.ends == 1);
    assert_true(slice_eq(buf_slice(&w.server.got), S("hello")));
    assert_int_equal(w.client.drains, 1);
    world_fini(&w);
}

static void test_unix_socket_file(void **state)
{
    struct world w, second;
    struct err err;
    char dir[] = "/tmp/weft-env-XXXXXX", at[64];
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(at, sizeof(at), "unix:%s/s", dir);
    world_pair(&w, at);
    /* Somebody listens: not replaced. */
    second = world_new();
    struct env_addr a = addr_of(at);
    assert_null(env_listen(second.env, &a, NULL, on_accept, &second, &err));
    assert_true(slice_contains(slice_of(err.msg), slice_of(dir)));
    w.server.echo = true;
    world_fini(&w);
    assert_int_equal(access(at + 5, F_OK), -1);
    /* A file left behind is. */
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, &a.sa, a.len), 0);
    close(fd);
    world_listen(&second, at);
    world_fini(&second);
    rmdir(dir);
}

static void test_reuse_port(void **state)
{
    struct world w;
    struct err err;
    (void)state;
    w = world_new();
    struct env_addr a = addr_of("127.0.0.1:0");
    struct env_listen_options opt = {.reuse_port = true};
    struct env_listener *first = env_listen(w.env, &a, &opt, on_accept, &w, &err);
    assert_non_null(first);
    a = *env_listener_addr(first);
    assert_non_null(env_listen(w.env, &a, &opt, on_accept, &w, &err));
    assert_null(env_listen(w.env, &a, NULL, on_accept, &w, &err));
    assert_int_equal(err.code, ERR_EXISTS);
    opt.first = true;
    assert_null(env_listen(w.env, &a, &opt, on_accept, &w, &err));
    assert_int_equal(err.code, ERR_EXISTS);
    world_fini(&w);
}

/* A listener opened right after a connection was closed gets its descriptor number: the end of the
 * old one must not take the new one out of the poll. */
static void test_descriptor_used_again(void **state)
{
    struct world w;
    (void)state;
    world_pair(&w, "127.0.0.1:0");
    env_stream_set_events(w.server.s, NULL, NULL); /* ends by itself with its peer */
    w.server.s = NULL;
    env_stream_close(w.client.s);
    world_listen(&w, "127.0.0.1:0");
    UNTIL(&w, w.client.closes);
    world_connect(&w);
    for (int i = 0; i < 100 && !w.server.s; i++)
        env_uv_turn(w.env, 10);
    assert_non_null(w.server.s);
    world_fini(&w);
}

static void test_source_address(void **state)
{
    struct world w;
    (void)state;
    w = world_new();
    world_listen(&w, "127.0.0.1:0");
    struct env_addr source = addr_of("127.0.0.6:0");
    struct env_stream_options opt = {.source = &source};
    w.client.s = env_connect(w.env, env_listener_addr(w.l), &opt, &events, &w.client);
    UNTIL(&w, w.server.s);
    assert_int_equal(env_stream_peer(w.server.s)->in4.sin_addr.s_addr, source.in4.sin_addr.s_addr);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_backpressure),
        cmocka_unit_test(test_pause_holds_data_and_end),
        cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_close_tells_once),
        cmocka_unit_test(test_detached_events_stay_silent),
        cmocka_unit_test(test_end_without_on_end_is_a_failure),
        cmocka_unit_test(test_close_after_write_survives_sender),
        cmocka_unit_test(test_linger_ends),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_connect_timeout),
        cmocka_unit_test(test_reset_is_told),
        cmocka_unit_test(test_early_answer_survives_broken_pipe),
        cmocka_unit_test(test_write_before_connect),
        cmocka_unit_test(test_unix_socket_file),
        cmocka_unit_test(test_reuse_port),
        cmocka_unit_test(test_descriptor_used_again),
        cmocka_unit_test(test_source_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
