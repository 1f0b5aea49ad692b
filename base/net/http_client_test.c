/* If this fails, the CLI and nodes believe that a write was refused which was done, do it twice, or
 * wait for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env/env_uv.h"
#include "base/net/http_client.h"
#include "base/net/http_server.h"

/* A scripted peer: answers each connection with raw bytes, then ends it or not. */
struct script {
    const char *answer;
    bool end; /* close behind the answer */
};

struct world {
    struct env *env;
    struct http_client *client;
    struct http_server *server;
    struct http_request *held;
    int server_requests, server_closes;

    struct env_listener *raw;
    const struct script *script;
    int raw_accepts, raw_requests;

    struct http_call *call;
    int done, heads, ends, fails, status;
    enum err_code why;
    char message[ERR_MSG_BYTES];
    struct buf body;
    bool cancel_in_head, cancel_in_data, cancel_in_done;
};

/* The servers. */

static void on_request_close(struct http_request *req)
{
    ((struct world *)req->user)->server_closes++;
}

static void on_request(void *ctx, struct http_request *req)
{
    struct world *w = ctx;
    req->user = w;
    w->server_requests++;
    if (slice_eq(req->path, S("/hold"))) {
        req->on_close = on_request_close;
        w->held = req;
        return;
    }
    struct slice text =
        arena_printf(req->arena, "%.*s %.*s?%.*s %.*s %.*s [%.*s]", SLICE(req->method),
                     SLICE(req->path), SLICE(req->query), SLICE(req->authority),
                     SLICE(headers_value(req->headers, HDR_CONTENT_TYPE)), SLICE(req->body));
    http_respond(req, 200, S("text/plain"), text);
}

struct raw_conn {
    struct world *w;
    struct env_stream *s;
};

static void raw_data(void *ctx, struct slice bytes)
{
    struct raw_conn *c = ctx;
    const struct script *script = c->w->script;
    struct iovec iov = {(void *)(uintptr_t)script->answer, strlen(script->answer)};
    (void)bytes;
    c->w->raw_requests++;
    env_stream_write(c->s, &iov, 1);
    if (script->end)
        env_stream_close_after_write(c->s, 1000);
}

static void raw_end(void *ctx)
{
    (void)ctx;
}

static void raw_close(void *ctx, const struct err *why)
{
    (void)why;
    free(ctx);
}

static const struct env_stream_events raw_events = {
    .on_data = raw_data, .on_end = raw_end, .on_close = raw_close};

static void raw_accept(void *ctx, struct env_stream *s)
{
    struct raw_conn *c = calloc(1, sizeof(*c));
    *c = (struct raw_conn){.w = ctx, .s = s};
    c->w->raw_accepts++;
    env_stream_set_events(s, &raw_events, c);
}

/* The caller. */

static void on_done(void *ctx, const struct http_response *r)
{
    struct world *w = ctx;
    w->done++;
    w->status = r->status;
    buf_append(&w->body, r->body);
    if (w->cancel_in_done)
        http_call_cancel(w->call);
}

static void on_head(void *ctx, const struct http_response *r)
{
    struct world *w = ctx;
    w->heads++;
    w->status = r->status;
    if (w->cancel_in_head)
        http_call_cancel(w->call);
}

static void on_data(void *ctx, struct slice bytes)
{
    struct world *w = ctx;
    buf_append(&w->body, bytes);
    if (w->cancel_in_data)
        http_call_cancel(w->call);
}

static void on_end(void *ctx)
{
    ((struct world *)ctx)->ends++;
}

static void on_fail(void *ctx, const struct err *err)
{
    struct world *w = ctx;
    w->fails++;
    w->why = err->code;
    snprintf(w->message, sizeof(w->message), "%s", err->msg);
}

static struct env_addr any(void)
{
    struct env_addr at;
    struct err err;
    assert_true(env_addr_parse(&at, S("127.0.0.1:0"), &err));
    return at;
}

static void world_init(struct world *w)
{
    struct err err;
    struct env_addr at = any();
    *w = (struct world){0};
    w->env = env_uv_new(&err);
    assert_non_null(w->env);
    w->client = http_client_new(w->env, &(struct http_client_options){0});
    w->server = http_server_new(w->env, &(struct http_server_options){0}, on_request, w);
    assert_true(http_server_listen(w->server, &at, NULL, &err));
    w->raw = env_listen(w->env, &at, NULL, raw_accept, w, &err);
    assert_non_null(w->raw);
}

static void world_fini(struct world *w)
{
    http_client_free(w->client);
    http_server_free(w->server);
    env_uv_free(w->env);
    buf_fini(&w->body);
}

static struct http_call_options options(struct world *w, const char *method, const char *path,
                                        const struct env_addr *at)
{
    return (struct http_call_options){.method = slice_of(method),
                                      .path = slice_of(path),
                                      .authority = S("weft.test"),
                                      .addrs = at,
                                      .addr_n = 1,
                                      .on_done = on_done,
                                      .on_fail = on_fail,
                                      .ctx = w};
}

#define UNTIL(w, condition)                                                                        \
    for (int turns_ = 0; !(condition); turns_++) {                                                 \
        assert_true(turns_ < 20000);                                                               \
        env_uv_turn((w)->env, 1000);                                                               \
    }

static bool body_is(const struct world *w, const char *text)
{
    return slice_eq(buf_slice(&w->body), slice_of(text));
}

static void test_request_arrives_whole(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    struct http_call_options o = options(&w, "POST", "/p?x=1", http_server_addr(w.server, 0));
    char body[] = "hello";
    o.body = slice_of(body);
    o.content_type = S("application/json");
    http_call_start(w.client, &o);
    memset(body, 'X', sizeof(body) - 1); /* it was copied */
    assert_int_equal(w.done + w.fails, 0);
    UNTIL(&w, w.done);
    assert_int_equal(w.status, 200);
    assert_true(body_is(&w, "POST /p?x=1 weft.test application/json [hello]"));
    world_fini(&w);
    assert_int_equal(w.fails, 0);
}

static void test_connections_are_used_again(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    struct http_call_options o = options(&w, "GET", "/a", http_server_addr(w.server, 0));
    for (int i = 1; i <= 5; i++) {
        http_call_start(w.client, &o);
        UNTIL(&w, w.done == i);
    }
    assert_int_equal(http_server_stats(w.server)->connections_total, 1);
    /* Three at a time take three. */
    for (int i = 0; i < 3; i++)
        http_call_start(w.client, &o);
    UNTIL(&w, w.done == 8);
    assert_int_equal(http_server_stats(w.server)->connections_total, 3);
    world_fini(&w);
}

static void test_addresses_in_order(void **state)
{
    struct world w;
    struct err err;
    (void)state;
    world_init(&w);
    struct env_addr at = any();
    struct env_listener *nobody = env_listen(w.env, &at, NULL, raw_accept, &w, &err);
    struct env_addr addrs[3] = {*env_listener_addr(nobody), *http_server_addr(w.server, 0),
                                *env_listener_addr(w.raw)};
    env_listener_close(nobody);
    struct http_call_options o = options(&w, "POST", "/a", addrs);
    o.addr_n = 3;
    http_call_start(w.client, &o);
    UNTIL(&w, w.done == 1);
    assert_int_equal(w.raw_accepts, 0);
    o.addr_n = 1;
    http_call_start(w.client, &o);
    UNTIL(&w, w.fails == 1);
    assert_int_equal(w.why, ERR_UNAVAILABLE);
    world_fini(&w);
}

static void test_answers(void **state)
{
    static const struct {
        const char *method;
        struct script script;
        const char *body; /* NULL = fails */
        enum err_code why;
    } cases[] = {
        {"GET",
         {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", .end = false},
         "ok",
         0},
        {"GET",
         {.answer = "HTTP/1.1 200 OK\r\n\r\nuntil the end", .end = true},
         "until the end",
         0},
        {"GET",
         {.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
                    "chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"},
         "abcde",
         0},
        {"GET", {.answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"}, "", 0},
        {"HEAD", {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"}, "", 0},
        {"GET", {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n"}, NULL, ERR_TIMEOUT},
        {"GET",
         {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut", .end = true},
         NULL,
         ERR_UNAVAILABLE},
        {"POST",
         {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut", .end = true},
         NULL,
         ERR_UNKNOWN_OUTCOME},
        {"POST", {.answer = "", .end = true}, NULL, ERR_UNKNOWN_OUTCOME},
        {"PUT", {.answer = "", .end = true}, NULL, ERR_UNKNOWN_OUTCOME},
        {"DELETE", {.answer = "", .end = true}, NULL, ERR_UNKNOWN_OUTCOME},
        {"GET", {.answer = "", .end = true}, NULL, ERR_UNAVAILABLE},
        {"GET",
         {.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
          .end = true},
         NULL,
         ERR_UNAVAILABLE},
        {"GET", {.answer = "SSH-2.0-OpenSSH\r\n\r\n"}, NULL, ERR_INVALID},
        {"GET",
         {.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"},
         NULL,
         ERR_INVALID},
        {"GET",
         {.answer =
              "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"},
         NULL,
         ERR_INVALID},
        {"GET",
         {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n12345678901"},
         NULL,
         ERR_LIMIT},
        {"GET",
         {.answer = "HTTP/1.1 200 OK\r\n\r\n12345678901234567890", .end = true},
         NULL,
         ERR_LIMIT},
        {"GET",
         {.answer = "HTTP/1.1 102 a\r\n\r\nHTTP/1.1 102 a\r\n\r\nHTTP/1.1 102 a\r\n\r\nHTTP/1.1 "
                    "102 a\r\n\r\n"
                    "HTTP/1.1 102 a\r\n\r\nHTTP/1.1 102 a\r\n\r\nHTTP/1.1 102 a\r\n\r\nHTTP/1.1 "
                    "102 a\r\n\r\n"
                    "HTTP/1.1 102 a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
         NULL,
         ERR_INVALID},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world w;
        world_init(&w);
        w.script = &cases[i].script;
        struct http_call_options o = options(&w, cases[i].method, "/a", env_listener_addr(w.raw));
        o.response_bytes_max = cases[i].why == ERR_LIMIT ? 10 : 1000;
        o.timeout = cases[i].why == ERR_TIMEOUT ? 50 : 0;
        http_call_start(w.client, &o);
        UNTIL(&w, w.done + w.fails);
        if (cases[i].body ? !w.done || !body_is(&w, cases[i].body)
                          : !w.fails || w.why != cases[i].why)
            fail_msg("case %zu: status %d, body %.*s, err %d %s", i, w.status,
                     SLICE(buf_slice(&w.body)), (int)w.why, w.message);
        assert_int_equal(w.done + w.fails, 1);
        world_fini(&w);
    }
}

/* A kept connection that the server closes just as we use it: a read goes out again, a write does
 * not. Nor does one that HTTP calls idempotent: the second's refusal ("nothing was done") says
 * nothing of the first. */
static void test_stale_connection(void **state)
{
    static const struct {
        const char *method;
        bool again;
    } cases[] = {{"GET", true},   {"HEAD", true}, {"OPTIONS", true},
                 {"POST", false}, {"PUT", false}, {"DELETE", false}};
    static const struct script alive = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                                        .end = false};
    static const struct script dies = {.answer = "", .end = true};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world w;
        world_init(&w);
        w.script = &alive;
        struct http_call_options o = options(&w, cases[i].method, "/a", env_listener_addr(w.raw));
        http_call_start(w.client, &o);
        http_call_start(w.client, &o);
        UNTIL(&w, w.done == 2); /* two connections are kept */
        assert_int_equal(w.raw_accepts, 2);
        w.script = &dies;
        http_call_start(w.client, &o);
        UNTIL(&w, w.done + w.fails == 3);
        /* A read: once more, on a fresh connection, which dies too. */
        assert_int_equal(w.raw_accepts, cases[i].again ? 3 : 2);
        assert_int_equal(w.raw_requests, cases[i].again ? 4 : 3);
        assert_int_equal(w.why, cases[i].again ? ERR_UNAVAILABLE : ERR_UNKNOWN_OUTCOME);
        world_fini(&w);
    }
}

static struct http_call_options stream_options(struct world *w)
{
    struct http_call_options o = options(w, "GET", "/hold", http_server_addr(w->server, 0));
    o.on_done = NULL;
    o.on_head = on_head;
    o.on_data = on_data;
    o.on_end = on_end;
    return o;
}

static void test_stream(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    struct http_call_options o = stream_options(&w);
    o.timeout = 100;
    w.call = http_call_start(w.client, &o);
    UNTIL(&w, w.held);
    http_respond_start(w.held, 200, S("application/json"));
    UNTIL(&w, w.heads == 1);
    /* The time-out is one for the head. */
    wf_ms began = env_now(w.env);
    UNTIL(&w, env_now(w.env) - began > 150);
    http_respond_chunk(w.held, S("one"));
    UNTIL(&w, body_is(&w, "one"));
    http_call_pause(w.call);
    http_respond_chunk(w.held, S("two"));
    for (int i = 0; i < 20; i++)
        env_uv_turn(w.env, 0);
    assert_true(body_is(&w, "one"));
    http_call_resume(w.call);
    UNTIL(&w, body_is(&w, "onetwo"));
    http_respond_end(w.held);
    UNTIL(&w, w.ends == 1);
    assert_int_equal(w.fails, 0);
    world_fini(&w);
}

static void test_stream_stalls(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    struct http_call_options o = stream_options(&w);
    o.stall_timeout = 40;
    http_call_start(w.client, &o);
    UNTIL(&w, w.held);
    http_respond_start(w.held, 200, S("application/json"));
    UNTIL(&w, w.fails == 1);
    assert_int_equal(w.why, ERR_TIMEOUT);
    UNTIL(&w, w.server_closes == 1);
    world_fini(&w);
}

static void test_cancel(void **state)
{
    (void)state;
    for (int when = 0; when < 5; when++) {
        struct world w;
        world_init(&w);
        struct http_call_options o = stream_options(&w);
        if (when == 4)
            o = options(&w, "GET", "/a", http_server_addr(w.server, 0));
        w.cancel_in_head = when == 2;
        w.cancel_in_data = when == 3;
        w.cancel_in_done = when == 4;
        w.call = http_call_start(w.client, &o);
        if (when == 0)
            http_call_cancel(w.call); /* before anything was sent */
        if (when == 1) {
            UNTIL(&w, w.held);
            http_call_cancel(w.call);
            UNTIL(&w, w.server_requests == 1);
        }
        if (when == 2 || when == 3) {
            UNTIL(&w, w.held);
            http_respond_start(w.held, 200, S(""));
            http_respond_chunk(w.held, S("data"));
            UNTIL(&w, w.server_closes == 1);
        }
        if (when == 4)
            UNTIL(&w, w.done == 1);
        for (int i = 0; i < 20; i++)
            env_uv_turn(w.env, 0);
        assert_int_equal(w.fails + w.ends, 0);
        assert_int_equal(w.heads, when == 2 || when == 3);
        world_fini(&w);
    }
}

static void test_free_ends_calls_silently(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    struct http_call_options o = stream_options(&w);
    http_call_start(w.client, &o);
    UNTIL(&w, w.held);
    http_call_start(w.client, &o);
    world_fini(&w);
    assert_int_equal(w.fails + w.done + w.ends, 0);
}

static void test_bad_field_is_refused(void **state)
{
    struct world w;
    (void)state;
    world_init(&w);
    struct http_call_options o = options(&w, "GET", "/a b", http_server_addr(w.server, 0));
    http_call_start(w.client, &o);
    UNTIL(&w, w.fails == 1);
    assert_int_equal(w.why, ERR_INVALID);
    assert_int_equal(w.server_requests, 0);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_arrives_whole),
        cmocka_unit_test(test_connections_are_used_again),
        cmocka_unit_test(test_addresses_in_order),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_stale_connection),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_stalls),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_free_ends_calls_silently),
        cmocka_unit_test(test_bad_field_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
