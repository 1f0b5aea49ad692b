/* If this fails, users of the API lose writes, get somebody else's answer, or one client can stop
 * the port for all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/env/env_uv.h"
#include "base/net/http_server.h"

#define HELD_MAX 8

/* A server whose handler echoes, or holds requests until the test answers. */
struct world {
    struct env *env;
    struct http_server *server;
    struct http_request *held[HELD_MAX];
    size_t held_n;
    int requests, drains, closes;
    bool server_closed, fill;

    struct env_stream *s; /* the client: raw bytes */
    struct buf got;
    bool ended, closed;
};

static void on_request_close(struct http_request *req)
{
    struct world *w = req->user;
    w->closes++;
}

static void fill(struct world *w, struct http_request *req)
{
    static char block[64 << 10];
    memset(block, 'x', sizeof(block));
    while (http_respond_chunk(req, slice_mem(block, sizeof(block))) < (1 << 20))
        ;
    (void)w;
}

static void on_request_drain(struct http_request *req)
{
    struct world *w = req->user;
    w->drains++;
    if (w->fill)
        fill(w, req);
}

static void on_request(void *ctx, struct http_request *req)
{
    struct world *w = ctx;
    w->requests++;
    req->user = w;
    if (slice_starts(req->path, S("/hold"))) {
        assert_true(w->held_n < HELD_MAX);
        w->held[w->held_n++] = req;
        if (!slice_ends(req->path, S("/silent")))
            req->on_close = on_request_close;
        req->on_drain = on_request_drain;
        return;
    }
    if (slice_eq(req->path, S("/bad-field")))
        headers_add_name(&req->response, req->arena, S("x-evil"), S("a\r\nset-cookie: b"));
    if (slice_eq(req->path, S("/none"))) {
        http_respond(req, 204, S(""), S(""));
        return;
    }
    headers_add_name(&req->response, req->arena, S("x-test"), S("yes"));
    struct slice text = arena_printf(req->arena, "%.*s %.*s?%.*s [%.*s]", SLICE(req->method),
                                     SLICE(req->path), SLICE(req->query), SLICE(req->body));
    http_respond(req, 200, S("text/plain"), text);
}

static void on_data(void *ctx, struct slice bytes)
{
    buf_append(&((struct world *)ctx)->got, bytes);
}

static void on_end(void *ctx)
{
    ((struct world *)ctx)->ended = true;
}

static void on_close(void *ctx, const struct err *why)
{
    struct world *w = ctx;
    (void)why;
    w->closed = true;
    w->s = NULL;
}

static const struct env_stream_events client_events = {
    .on_data = on_data, .on_end = on_end, .on_close = on_close};

static void world_connect(struct world *w)
{
    w->ended = w->closed = false;
    buf_clear(&w->got);
    w->s = env_connect(w->env, http_server_addr(w->server, 0), NULL, &client_events, w);
}

static void world_init(struct world *w, const struct http_server_options *opt)
{
    struct err err;
    struct env_addr at;
    *w = (struct world){0};
    w->env = env_uv_new(&err);
    assert_non_null(w->env);
    w->server = http_server_new(w->env, opt, on_request, w);
    assert_true(env_addr_parse(&at, S("127.0.0.1:0"), &err));
    assert_true(http_server_listen(w->server, &at, NULL, &err));
    world_connect(w);
}

static void world_fini(struct world *w)
{
    http_server_free(w->server);
    env_uv_free(w->env);
    buf_fini(&w->got);
}

static void say(struct world *w, struct slice bytes)
{
    struct iovec iov = {(void *)(uintptr_t)bytes.p, bytes.n};
    env_stream_write(w->s, &iov, 1);
}

#define UNTIL(w, condition)                                                                        \
    for (int turns_ = 0; !(condition); turns_++) {                                                 \
        assert_true(turns_ < 20000);                                                               \
        env_uv_turn((w)->env, 1000);                                                               \
    }

static bool got_has(const struct world *w, const char *text)
{
    return slice_contains(buf_slice(&w->got), slice_of(text));
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: weft\r\n\r\n"

static void test_answers(void **state)
{
    static const struct {
        const char *request, *status;
        const char *has; /* in head or body */
        bool closes;
    } cases[] = {
        {GET("/a?b=1"), "200 OK", "GET /a?b=1 []", false},
        {GET("/a"), "200 OK", "x-test: yes\r\n", false},
        {GET("/a"), "200 OK", "content-length: 10\r\n", false},
        {GET("/a"), "200 OK", "date: ", false},
        {GET("/a/./b/../c"), "200 OK", "GET /a/c? []", false},
        {GET("/%61"), "200 OK", "GET /a? []", false},
        {"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", "200 OK", "[hello]",
         false},
        {"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
         "chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
         "200 OK", "[hello]", false},
        {GET("/bad-field"), "500 Internal Server Error", "", false},
        {GET("/none"), "204 No Content", "\r\n\r\n", false},
        {"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200 OK", "connection: close",
         true},
        {"GET /a HTTP/1.0\r\n\r\n", "200 OK", "GET /a? []", true},
        {"GET /a HTTP/1.1\r\n\r\n", "400 Bad Request", "", true},
        {"nonsense\r\n\r\n", "400 Bad Request", "", true},
        {GET("/../etc"), "400 Bad Request", "", true},
        {GET("/a%00b"), "400 Bad Request", "", true},
        {"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "405 Method Not Allowed", "", true},
        {"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n", "413 ", "", true},
        {"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
         "3c\r\n123456789012345678901234567890123456789012345678901234567890\r\n"
         "3c\r\n123456789012345678901234567890123456789012345678901234567890\r\n0\r\n\r\n",
         "413 ", "", true},
        {"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         "400 ", "", true},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world w;
        char line[64];
        world_init(&w, &(struct http_server_options){.body_bytes_max = 100});
        say(&w, slice_of(cases[i].request));
        UNTIL(&w, got_has(&w, "\r\n\r\n") && got_has(&w, cases[i].has));
        snprintf(line, sizeof(line), "HTTP/1.1 %s", cases[i].status);
        if (!slice_starts(buf_slice(&w.got), slice_of(line)))
            fail_msg("case %zu: %.*s", i, SLICE(buf_slice(&w.got)));
        if (cases[i].closes) {
            UNTIL(&w, w.ended);
            assert_true(got_has(&w, "connection: close"));
        } else {
            /* The connection still works. */
            say(&w, S(GET("/again")));
            UNTIL(&w, got_has(&w, "GET /again"));
            assert_false(got_has(&w, "connection: close"));
        }
        assert_false(got_has(&w, "x-evil"));
        world_fini(&w);
    }
}

/* One byte a turn must be the same as all at once. */
static void test_slow_client(void **state)
{
    struct slice text = S("POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
                          "POST /q HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                          "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
    struct world w;
    (void)state;
    world_init(&w, &(struct http_server_options){0});
    UNTIL(&w, http_server_stats(w.server)->connections == 1);
    for (size_t i = 0; i < text.n; i++) {
        say(&w, slice_sub(text, i, 1));
        env_uv_turn(w.env, 0);
    }
    UNTIL(&w, got_has(&w, "POST /q? [hello]"));
    assert_true(got_has(&w, "POST /p? [hello]"));
    assert_int_equal(w.requests, 2);
    world_fini(&w);
}

static void test_head_has_length_without_body(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, &(struct http_server_options){0});
    say(&w, S("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n" GET("/b")));
    UNTIL(&w, got_has(&w, "GET /b"));
    assert_true(
        got_has(&w, "content-length: 10\r\n")); /* "HEAD /a? []" has 11, "GET /b? []" has 10 */
    assert_true(got_has(&w, "content-length: 11\r\n"));
    assert_false(got_has(&w, "HEAD /a"));
    world_fini(&w);
}

static void test_expect_continue(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, &(struct http_server_options){0});
    say(&w, S("POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"));
    UNTIL(&w, got_has(&w, "100 Continue\r\n\r\n"));
    say(&w, S("ok"));
    UNTIL(&w, got_has(&w, "[ok]"));
    world_fini(&w);
}

/* The second request is there before the first is answered, and is answered after it. */
static void test_pipelined_answers_keep_order(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, &(struct http_server_options){0});
    say(&w, S(GET("/hold") GET("/second") GET("/hold/2")));
    UNTIL(&w, w.held_n == 1);
    for (int i = 0; i < 10; i++)
        env_uv_turn(w.env, 0);
    assert_int_equal(w.requests, 1);
    assert_int_equal(w.got.n, 0);
    http_respond(w.held[0], 200, S("text/plain"), S("first"));
    UNTIL(&w, w.held_n == 2);
    UNTIL(&w, got_has(&w, "GET /second"));
    http_respond(w.held[1], 200, S("text/plain"), S("third"));
    UNTIL(&w, got_has(&w, "third"));
    struct slice got = buf_slice(&w.got);
    const char *first = memmem(got.p, got.n, "first", 5),
               *second = memmem(got.p, got.n, "second", 6);
    assert_true(first && second && first < second);
    world_fini(&w);
}

/* A client that sends without reading answers must be stopped, not stored. */
static void test_pipelining_is_bounded(void **state)
{
    enum { REQUESTS = 200000 };
    static const char request[] = GET("/hold");
    struct world w;
    struct buf all = {0};
    (void)state;
    world_init(&w, &(struct http_server_options){0});
    for (int i = 0; i < REQUESTS; i++)
        buf_append(&all, slice_mem(request, sizeof(request) - 1));
    say(&w, buf_slice(&all));
    UNTIL(&w, w.held_n == 1);
    for (int i = 0; i < 200; i++)
        env_uv_turn(w.env, 0);
    /* Kernel buffers and the read-ahead took some; the rest waits at the client. */
    assert_true(env_stream_queued(w.s) > all.n / 10);
    buf_fini(&all);
    world_fini(&w);
}

static void test_stream(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, &(struct http_server_options){0});
    say(&w, S(GET("/hold")));
    UNTIL(&w, w.held_n == 1);
    http_respond_start(w.held[0], 200, S("application/json"));
    http_respond_chunk(w.held[0], S("{\"a\":1}\n"));
    http_respond_chunk(w.held[0], S(""));
    UNTIL(&w, got_has(&w, "8\r\n{\"a\":1}\n\r\n"));
    assert_true(got_has(&w, "transfer-encoding: chunked\r\n"));
    assert_false(got_has(&w, "0\r\n\r\n"));
    http_respond_end(w.held[0]);
    UNTIL(&w, got_has(&w, "0\r\n\r\n"));
    say(&w, S(GET("/again")));
    UNTIL(&w, got_has(&w, "GET /again"));
    world_fini(&w);
}

/* The producer hears when the client has taken what was queued; a client that stops taking is cut.
 */
static void test_stream_backpressure(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, &(struct http_server_options){.stall_timeout = 50});
    say(&w, S(GET("/hold")));
    UNTIL(&w, w.held_n == 1);
    w.fill = true;
    http_respond_start(w.held[0], 200, S("text/plain"));
    fill(&w, w.held[0]);
    UNTIL(&w, w.drains == 3);
    env_stream_read_pause(w.s);
    UNTIL(&w, w.closes == 1);
    assert_int_equal(http_server_stats(w.server)->stalled_total, 1);
    assert_int_equal(http_server_stats(w.server)->requests_open, 0);
    world_fini(&w);
}

static void test_client_goes_during_stream(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, &(struct http_server_options){0});
    say(&w, S(GET("/hold")));
    UNTIL(&w, w.held_n == 1);
    http_respond_start(w.held[0], 200, S("text/plain"));
    UNTIL(&w, w.got.n);
    env_stream_close(w.s);
    UNTIL(&w, w.closes == 1);
    assert_int_equal(http_server_stats(w.server)->connections, 0);
    assert_int_equal(http_server_stats(w.server)->requests_open, 0);
    world_fini(&w);
}

/* A handler that does not care about clients going may still answer later. */
static void test_late_answer_to_nobody(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, &(struct http_server_options){0});
    say(&w, S(GET("/hold/silent")));
    UNTIL(&w, w.held_n == 1);
    env_stream_close(w.s);
    UNTIL(&w, w.closed);
    for (int i = 0; i < 10; i++)
        env_uv_turn(w.env, 0);
    assert_int_equal(http_server_stats(w.server)->connections, 1); /* it may still want an answer */
    http_respond_start(w.held[0], 200, S("text/plain"));
    UNTIL(&w, http_server_stats(w.server)->connections == 0);
    assert_int_equal(http_server_stats(w.server)->requests_open, 1);
    assert_int_equal(http_respond_chunk(w.held[0], S("x")), 0);
    http_respond_end(w.held[0]);
    assert_int_equal(http_server_stats(w.server)->requests_open, 0);
    world_fini(&w);
}

/* "printf … | nc": the client ends its side and still wants all its answers. */
static void test_half_closed_client_is_answered(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, &(struct http_server_options){0});
    say(&w, S(GET("/hold") GET("/second")));
    env_stream_shutdown(w.s);
    UNTIL(&w, w.held_n == 1);
    for (int i = 0; i < 10; i++)
        env_uv_turn(w.env, 0);
    http_respond(w.held[0], 200, S("text/plain"), S("first"));
    UNTIL(&w, w.closed);
    assert_true(got_has(&w, "first"));
    assert_true(got_has(&w, "GET /second"));
    world_fini(&w);
}

static void test_timeouts(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, &(struct http_server_options){.idle_timeout = 30, .request_timeout = 60});
    say(&w, S(GET("/a")));
    UNTIL(&w, w.ended); /* idle */
    assert_true(got_has(&w, "200 OK"));
    env_stream_close(w.s);
    UNTIL(&w, w.closed);
    world_connect(&w);
    say(&w, S("GET /a HTTP/1.1\r\nHos"));
    UNTIL(&w, w.ended);
    assert_true(got_has(&w, "408 Request Timeout"));
    env_stream_close(w.s);
    UNTIL(&w, w.closed);
    world_connect(&w); /* never says a word */
    UNTIL(&w, w.ended);
    assert_int_equal(w.got.n, 0);
    world_fini(&w);
}

static void test_connection_bound(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, &(struct http_server_options){.connections_max = 1});
    say(&w, S(GET("/hold")));
    UNTIL(&w, w.held_n == 1);
    struct env_stream *first = w.s;
    world_connect(&w);
    UNTIL(&w, w.ended || w.closed);
    assert_int_equal(http_server_stats(w.server)->overflow_total, 1);
    env_stream_set_events(first, NULL, NULL);
    env_stream_close(first);
    world_fini(&w);
}

static void on_server_closed(void *ctx)
{
    ((struct world *)ctx)->server_closed = true;
}

static void test_graceful_end(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, &(struct http_server_options){0});
    say(&w, S(GET("/hold")));
    UNTIL(&w, w.held_n == 1);
    http_server_close(w.server, 60000, on_server_closed, &w);
    for (int i = 0; i < 10; i++)
        env_uv_turn(w.env, 0);
    assert_false(w.server_closed);
    http_respond(w.held[0], 200, S("text/plain"), S("done"));
    UNTIL(&w, w.ended);
    assert_true(got_has(&w, "connection: close"));
    assert_true(got_has(&w, "done"));
    env_stream_close(w.s);
    UNTIL(&w, w.server_closed);
    world_fini(&w);
}

static void test_grace_runs_out(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, &(struct http_server_options){0});
    say(&w, S(GET("/hold")));
    UNTIL(&w, w.held_n == 1);
    http_server_close(w.server, 30, on_server_closed, &w);
    UNTIL(&w, w.server_closed);
    assert_int_equal(w.closes, 1);
    world_fini(&w);
}

/* Ends with a held request: the handler is told from inside free. */
static void test_free_tells_handlers(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, &(struct http_server_options){0});
    say(&w, S(GET("/hold")));
    UNTIL(&w, w.held_n == 1);
    world_fini(&w);
    assert_int_equal(w.closes, 1);
}

static void test_large_last_answer_is_not_cut(void **state)
{
    enum { BYTES = 24 << 20 };
    struct world w;
    (void)state;
    world_init(&w, &(struct http_server_options){0});
    say(&w, S("GET /hold HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    UNTIL(&w, w.held_n == 1);
    char *bytes = calloc(1, BYTES);
    assert_non_null(bytes);
    env_stream_read_pause(w.s);
    http_respond(w.held[0], 200, S("text/plain"), slice_mem(bytes, BYTES));
    free(bytes);
    /* The client rests for longer than the last bytes of a connection are waited for. */
    wf_ms began = env_now(w.env);
    UNTIL(&w, env_now(w.env) - began > HTTP_SERVER_LINGER_MS + 100);
    env_stream_read_resume(w.s);
    UNTIL(&w, w.ended);
    assert_true(w.got.n > BYTES);
    world_fini(&w);
}

static void test_adopted_stream_with_first_bytes(void **state)
{
    struct world w;
    struct http_server *second;
    (void)state;
    world_init(&w, &(struct http_server_options){0});
    UNTIL(&w, http_server_stats(w.server)->connections == 1);
    /* A second server takes over a connection of which bytes were read already. */
    second = http_server_new(w.env, &(struct http_server_options){0}, on_request, &w);
    say(&w, S(GET("/hold")));
    UNTIL(&w, w.held_n == 1);
    struct env_addr at = *http_server_addr(w.server, 0);
    struct env_stream *s = env_connect(w.env, &at, NULL, &client_events, &w);
    http_server_adopt(second, s, S(GET("/hold/2")));
    UNTIL(&w, w.held_n == 2);
    assert_int_equal(http_server_stats(second)->requests_total, 1);
    http_server_free(second);
    assert_int_equal(w.closes, 1);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_slow_client),
        cmocka_unit_test(test_head_has_length_without_body),
        cmocka_unit_test(test_expect_continue),
        cmocka_unit_test(test_pipelined_answers_keep_order),
        cmocka_unit_test(test_pipelining_is_bounded),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_backpressure),
        cmocka_unit_test(test_client_goes_during_stream),
        cmocka_unit_test(test_late_answer_to_nobody),
        cmocka_unit_test(test_half_closed_client_is_answered),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_connection_bound),
        cmocka_unit_test(test_graceful_end),
        cmocka_unit_test(test_grace_runs_out),
        cmocka_unit_test(test_free_tells_handlers),
        cmocka_unit_test(test_large_last_answer_is_not_cut),
        cmocka_unit_test(test_adopted_stream_with_first_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
