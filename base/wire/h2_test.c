#include "base/wire/h2.h"

#include <nghttp2/nghttp2.h>

#include "base/core/assert.h"
#include "base/wire/test.h"

/* One end of a connection in memory, and the log of what happened to it. Its behaviour: a server
 * answers each request with `answer` bytes when the request has ended; both ends consume what they
 * get unless told not to. */
struct end {
    struct h2 *h2;
    struct arena arena;
    struct buf log, out, body;
    size_t to_send;  /* bytes of body still to give */
    size_t per_read; /* 0 = all */
    bool sleepy;     /* WAIT instead of END */
    bool trailers;   /* end with trailers */
    bool fail;       /* RESET instead of END */
    bool hold;       /* do not consume */
    bool silent;     /* server: do not answer */
    size_t answer;
    size_t held;
    int32_t last; /* stream of the last event */
    uint32_t reads;
};

static void on_headers(void *ctx, int32_t id, void *user, enum h2_kind kind, struct http_head *head,
                       bool end)
{
    struct end *e = ctx;
    (void)user;
    static const char *const kinds[] = {"request", "response", "info", "trailers"};
    e->last = id;
    buf_printf(&e->log, "%s %d", kinds[kind], id);
    if (kind == H2_REQUEST)
        buf_printf(&e->log, " %.*s %.*s://%.*s%.*s", SLICE(head->method), SLICE(head->scheme),
                   SLICE(head->authority), SLICE(head->path));
    else if (kind != H2_TRAILERS)
        buf_printf(&e->log, " %d", head->status);
    for (uint32_t i = 0; i < head->headers.n; i++)
        buf_printf(&e->log, " %.*s=%.*s", SLICE(head->headers.p[i].name),
                   SLICE(head->headers.p[i].value));
    buf_printf(&e->log, "%s\n", end ? " end" : "");
    if (kind == H2_REQUEST && end && !e->silent) {
        struct http_head answer = {.status = 200};
        e->to_send = e->answer;
        assert_true(h2_respond(e->h2, id, &answer, e->answer > 0 || e->trailers || e->sleepy));
    }
}

static void on_data(void *ctx, int32_t id, void *user, struct slice bytes, bool end)
{
    struct end *e = ctx;
    (void)user;
    buf_append(&e->body, bytes);
    e->held += bytes.n;
    if (!e->hold) {
        h2_consume(e->h2, id, bytes.n);
        e->held -= bytes.n;
    }
    if (end)
        buf_printf(&e->log, "end %d\n", id);
    if (end && h2_user(e->h2, id) == NULL && e->answer) {
        struct http_head answer = {.status = 200};
        e->to_send = e->answer;
        h2_respond(e->h2, id, &answer, true);
    }
}

static enum h2_read on_read(void *ctx, int32_t id, void *user, char *dst, size_t n, size_t *ret_n)
{
    struct end *e = ctx;
    (void)user;
    e->reads++;
    if (e->per_read && n > e->per_read)
        n = e->per_read;
    if (n > e->to_send)
        n = e->to_send;
    memset(dst, 'x', n);
    e->to_send -= n;
    *ret_n = n;
    if (e->to_send)
        return H2_READ_SOME;
    if (e->sleepy)
        return n ? H2_READ_SOME : H2_READ_WAIT;
    if (e->fail)
        return H2_READ_RESET;
    if (!e->trailers)
        return H2_READ_END;
    struct headers t = {0};
    headers_add(&t, &e->arena, HDR_GRPC_STATUS, S("0"));
    assert_true(h2_trailers(e->h2, id, &t));
    return H2_READ_TRAILERS;
}

static void on_close(void *ctx, int32_t id, void *user, uint32_t code)
{
    struct end *e = ctx;
    (void)user;
    buf_printf(&e->log, "close %d %s\n", id, h2_error_name(code));
}

static void on_goaway(void *ctx, int32_t last, uint32_t code)
{
    struct end *e = ctx;
    buf_printf(&e->log, "goaway %d %s\n", last, h2_error_name(code));
}

static void on_ping_ack(void *ctx, uint64_t opaque)
{
    struct end *e = ctx;
    buf_printf(&e->log, "pong %d\n", (int)opaque);
}

static const struct h2_events events = {
    .on_headers = on_headers,
    .on_data = on_data,
    .on_read = on_read,
    .on_close = on_close,
    .on_goaway = on_goaway,
    .on_ping_ack = on_ping_ack,
};

struct pair {
    struct end client, server;
    struct err err;
    wf_ms now;
    bool broken;
};

static bool move_bytes(struct pair *p, struct end *from, struct end *to)
{
    if (from->h2 && !h2_send(from->h2, &from->out, SIZE_MAX, &p->err))
        p->broken = true;
    if (!from->out.n)
        return false;
    if (to->h2 && !h2_recv(to->h2, p->now, buf_slice(&from->out), &p->err))
        p->broken = true;
    buf_clear(&from->out);
    return true;
}

/* Until nobody has anything to say. */
static void pump(struct pair *p)
{
    for (;;) {
        bool a = move_bytes(p, &p->client, &p->server);
        bool b = move_bytes(p, &p->server, &p->client);
        if (!a && !b)
            return;
    }
}

static void pair_init(struct pair *p, const struct h2_options *client,
                      const struct h2_options *server)
{
    *p = (struct pair){0};
    p->client.h2 = h2_client_new(client, &events, &p->client);
    p->server.h2 = h2_server_new(server, &events, &p->server);
    pump(p);
}

static void end_fini(struct end *e)
{
    h2_free(e->h2);
    arena_fini(&e->arena);
    buf_fini(&e->log);
    buf_fini(&e->out);
    buf_fini(&e->body);
}

static void pair_fini(struct pair *p)
{
    end_fini(&p->client);
    end_fini(&p->server);
}

static void expect_log(struct end *e, const char *want)
{
    check_slice(buf_slice(&e->log), slice_of(want));
    buf_clear(&e->log);
}

static struct http_head get_head(const char *path)
{
    return (struct http_head){.method = S("GET"),
                              .scheme = S("http"),
                              .authority = S("host:1"),
                              .path = slice_of(path),
                              .method_id = HTTP_GET};
}

static int32_t get(struct pair *p, const char *path, bool body)
{
    struct http_head h = get_head(path);
    return h2_request(p->client.h2, &h, body, NULL);
}

/* Wrong: a request or its answer changes on the way. */
static void test_request_and_answer(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, NULL, NULL);
    p.server.answer = 5;
    p.server.trailers = true;
    struct http_head h = get_head("/a?b");
    struct headers *hs = &h.headers;
    headers_add(hs, &p.client.arena, HDR_USER_AGENT, S("me"));
    headers_add_name(hs, &p.client.arena, S("x-own"), S("1 2"));
    headers_add(hs, &p.client.arena, HDR_TE, S("trailers"));
    headers_add(hs, &p.client.arena, HDR_COOKIE, S("a=1"));
    headers_add(hs, &p.client.arena, HDR_COOKIE, S("b=2"));
    headers_add(hs, &p.client.arena, HDR_CONNECTION, S("close"));
    headers_add(hs, &p.client.arena, HDR_TRANSFER_ENCODING, S("chunked"));
    assert_int_equal(h2_request(p.client.h2, &h, false, NULL), 1);
    pump(&p);
    expect_log(&p.server, "request 1 GET http://host:1/a?b user-agent=me x-own=1 2 te=trailers "
                          "cookie=a=1; b=2 end\nclose 1 NO_ERROR\n");
    expect_log(&p.client, "response 1 200\ntrailers 1 grpc-status=0 end\nclose 1 NO_ERROR\n");
    check_slice(buf_slice(&p.client.body), S("xxxxx"));
    assert_int_equal(h2_streams(p.client.h2) + h2_streams(p.server.h2), 0);
    pair_fini(&p);
}

/* Wrong: a head with more fields than a record holds inline is cut or corrupted. */
static void test_many_headers(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, NULL, NULL);
    struct http_head h = get_head("/");
    for (int i = 0; i < 90; i++)
        headers_add_name(&h.headers, &p.client.arena, arena_printf(&p.client.arena, "x-%d", i),
                         arena_printf(&p.client.arena, "v%d", i));
    assert_int_equal(h2_request(p.client.h2, &h, false, NULL), 1);
    pump(&p);
    assert_true(slice_contains(buf_slice(&p.server.log), S(" x-0=v0 x-1=v1 ")));
    assert_true(slice_contains(buf_slice(&p.server.log), S(" x-88=v88 x-89=v89 end")));
    pair_fini(&p);
}

/* Wrong: a head over the bound takes memory, or the client is not told why it was refused. */
static void test_too_many_headers(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, NULL, NULL);
    struct http_head h = get_head("/");
    for (int i = 0; i < 97; i++) /* with 4 pseudo fields: one too many */
        headers_add(&h.headers, &p.client.arena, HDR_VIA, S("v"));
    h2_request(p.client.h2, &h, false, NULL);
    pump(&p);
    expect_log(&p.server, "");
    expect_log(&p.client, "response 1 431 end\nclose 1 NO_ERROR\n");
    assert_int_equal(h2_stats(p.server.h2)->headers_refused, 1);
    h.headers.n = 96;
    h2_request(p.client.h2, &h, false, NULL);
    pump(&p);
    assert_true(slice_starts(buf_slice(&p.server.log), S("request 3 ")));
    pair_fini(&p);
}

/* Wrong: a reader that does not read is sent more than its window, or never gets the rest. */
static void test_flow_control(void **state)
{
    (void)state;
    struct pair p;
    const struct h2_options server = {.stream_window = 70000, .session_window = 100000};
    pair_init(&p, NULL, &server);
    p.server.hold = true;
    p.client.to_send = 500000;
    int32_t id = get(&p, "/", true);
    pump(&p);
    assert_int_equal(p.server.body.n, 70000);
    for (int round = 0; p.server.held; round++) {
        assert_true(round < 100);
        size_t n = p.server.held;
        p.server.held = 0;
        h2_consume(p.server.h2, id, n);
        pump(&p);
    }
    assert_int_equal(p.server.body.n, 500000);
    assert_true(slice_contains(buf_slice(&p.server.log), S("end 1")));
    pair_fini(&p);
}

/* Wrong: a stream that dies with unread bytes eats the window of the connection for good. */
static void test_window_of_dead_streams_returns(void **state)
{
    (void)state;
    struct pair p;
    const struct h2_options server = {.stream_window = 65536, .session_window = 100000};
    pair_init(&p, NULL, &server);
    p.server.hold = true;
    for (int i = 0; i < 20; i++) {
        p.client.to_send = 65000;
        p.server.body.n = 0;
        p.client.sleepy = true;
        int32_t id = get(&p, "/", true);
        pump(&p);
        assert_int_equal(p.server.body.n, 65000);
        h2_reset(p.server.h2, id, H2_CANCEL);
        pump(&p);
    }
    assert_int_equal(h2_streams(p.server.h2), 0);
    pair_fini(&p);
}

/* Wrong: a sleeping body is polled, or is not woken. */
static void test_sleep_and_resume(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, NULL, NULL);
    p.client.sleepy = true;
    int32_t id = get(&p, "/", true);
    pump(&p);
    uint32_t reads = p.client.reads;
    assert_false(h2_want_send(p.client.h2));
    pump(&p);
    assert_int_equal(p.client.reads, reads);
    p.client.to_send = 10;
    h2_resume(p.client.h2, id);
    h2_resume(p.client.h2, id);
    pump(&p);
    assert_int_equal(p.server.body.n, 10);
    p.client.sleepy = false;
    h2_resume(p.client.h2, id);
    h2_resume(p.client.h2, 99);
    pump(&p);
    assert_true(slice_contains(buf_slice(&p.server.log), S("end 1")));
    pair_fini(&p);
}

/* Wrong: one side's cancellation is not seen by the other, or is seen twice. */
static void test_resets(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, NULL, NULL);
    p.server.silent = true;
    int32_t id = get(&p, "/", false);
    pump(&p);
    h2_reset(p.client.h2, id, H2_CANCEL);
    pump(&p);
    expect_log(&p.client, "close 1 CANCEL\n");
    expect_log(&p.server, "request 1 GET http://host:1/ end\nclose 1 CANCEL\n");
    id = get(&p, "/", false);
    h2_reset(p.client.h2, id, H2_CANCEL); /* before it was sent */
    pump(&p);
    expect_log(&p.client, "close 3 CANCEL\n");
    expect_log(&p.server, "");
    id = get(&p, "/", false);
    pump(&p);
    h2_reset(p.server.h2, id, H2_REFUSED_STREAM);
    pump(&p);
    expect_log(&p.client, "close 5 REFUSED_STREAM\n");
    p.server.silent = false;
    p.server.answer = 100;
    p.server.per_read = 60;
    p.server.fail = true;
    get(&p, "/", false);
    pump(&p);
    expect_log(&p.client, "response 7 200\nclose 7 INTERNAL_ERROR\n");
    h2_reset(p.client.h2, 7, H2_CANCEL); /* gone: nothing */
    pump(&p);
    expect_log(&p.client, "");
    pair_fini(&p);
}

/* Wrong: a drain loses a request that was under way, or takes new ones for ever (RFC 9113 §6.8). */
static void test_drain(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, NULL, NULL);
    p.server.silent = true;
    get(&p, "/1", false);
    pump(&p);
    buf_clear(&p.server.log);
    h2_drain(p.server.h2);
    get(&p, "/2", false); /* crosses the notice */
    move_bytes(&p, &p.client, &p.server);
    expect_log(&p.server, "request 3 GET http://host:1/2 end\n");
    pump(&p);
    expect_log(&p.client, "goaway 2147483647 NO_ERROR\ngoaway 3 NO_ERROR\n");
    assert_true(h2_draining(p.client.h2));
    assert_false(h2_can_request(p.client.h2));
    assert_int_equal(get(&p, "/3", false), -1);
    struct http_head answer = {.status = 204};
    assert_false(h2_done(p.server.h2));
    h2_respond(p.server.h2, 1, &answer, false);
    h2_respond(p.server.h2, 3, &answer, false);
    pump(&p);
    expect_log(&p.client, "response 1 204 end\nclose 1 NO_ERROR\nresponse 3 204 end\n"
                          "close 3 NO_ERROR\n");
    assert_true(h2_done(p.server.h2));
    assert_true(h2_done(p.client.h2));
    pair_fini(&p);
}

/* Wrong: a client opens more than the server allows, or not again after one ended. */
static void test_concurrency(void **state)
{
    (void)state;
    struct pair p;
    const struct h2_options server = {.streams_max = 2};
    pair_init(&p, NULL, &server);
    p.server.silent = true;
    assert_int_equal(get(&p, "/1", false), 1);
    assert_int_equal(get(&p, "/2", false), 3);
    assert_false(h2_can_request(p.client.h2));
    assert_int_equal(get(&p, "/3", false), -1);
    pump(&p);
    h2_reset(p.server.h2, 1, H2_CANCEL);
    pump(&p);
    assert_int_equal(get(&p, "/3", false), 5);
    pair_fini(&p);
}

/* Wrong: a dead peer is not found, or a peer makes us queue PINGs. */
static void test_ping(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, NULL, NULL);
    assert_true(h2_ping(p.client.h2, 7));
    assert_false(h2_ping(p.client.h2, 8));
    pump(&p);
    expect_log(&p.client, "pong 7\n");
    assert_true(h2_ping(p.client.h2, 9));
    pair_fini(&p);
}

/* Wrong: 1xx heads are taken for the answer. */
static void test_informational(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, NULL, NULL);
    p.server.silent = true;
    int32_t id = get(&p, "/", false);
    pump(&p);
    struct http_head info = {.status = 100}, answer = {.status = 200};
    h2_respond(p.server.h2, id, &info, false);
    h2_respond(p.server.h2, id, &info, false);
    h2_respond(p.server.h2, id, &answer, false);
    pump(&p);
    expect_log(&p.client, "info 1 100\ninfo 1 100\nresponse 1 200 end\nclose 1 NO_ERROR\n");
    pair_fini(&p);
}

/* Wrong: one slow connection makes us buffer all that it was sent. */
static void test_send_is_bounded(void **state)
{
    (void)state;
    struct pair p;
    const struct h2_options big = {.stream_window = 1 << 24, .session_window = 1 << 24};
    pair_init(&p, NULL, &big);
    p.client.to_send = 10000000;
    get(&p, "/", true);
    struct buf out = {0};
    assert_true(h2_send(p.client.h2, &out, 65536, NULL));
    assert_true(out.n >= 65536 && out.n < 65536 + 16384 + 9);
    size_t n = out.n;
    assert_true(h2_send(p.client.h2, &out, 65536, NULL));
    assert_int_equal(out.n, n);
    assert_true(h2_want_send(p.client.h2));
    buf_fini(&out);
    pair_fini(&p);
}

/* Wrong: streams of one thread's sessions get mixed up in the shared pool. */
static void test_shared_pool(void **state)
{
    (void)state;
    struct h2_pool *pool = h2_pool_new();
    const struct h2_options opt = {.pool = pool};
    struct pair p[4];
    for (int i = 0; i < 4; i++)
        pair_init(&p[i], &opt, &opt);
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 4; i++) {
            p[i].server.answer = (size_t)(i + 1);
            get(&p[i], "/", false);
        }
        for (int i = 0; i < 4; i++) {
            pump(&p[i]);
            assert_int_equal(p[i].client.body.n, (round + 1) * (i + 1));
        }
    }
    for (int i = 0; i < 4; i++)
        pair_fini(&p[i]);
    h2_pool_free(pool);
}

/* Wrong: values that are new in every request push what repeats out of the compression table. */
static void test_unique_values_leave_the_table_alone(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, NULL, NULL);
    char repeated[200], id[37];
    memset(repeated, '~', sizeof(repeated)); /* 13 bits each in Huffman's code: stays literal */
    for (int i = 0; i < 200; i++) {
        struct http_head h = get_head("/");
        snprintf(id, sizeof(id), "%036d", i);
        headers_add(&h.headers, &p.client.arena, HDR_X_REQUEST_ID, slice_of(id));
        headers_add(&h.headers, &p.client.arena, HDR_TRACEPARENT, slice_of(id));
        headers_add_name(&h.headers, &p.client.arena, S("x-own"),
                         (struct slice){repeated, sizeof(repeated)});
        assert_true(h2_request(p.client.h2, &h, false, NULL) > 0);
        assert_true(h2_send(p.client.h2, &p.client.out, SIZE_MAX, &p.err));
        if (i)
            assert_in_range(p.client.out.n, 1, sizeof(repeated));
        pump(&p);
    }
    pair_fini(&p);
}

/* A hostile client: frames by hand. */

struct raw {
    struct pair p;
    struct buf out;
    nghttp2_hd_deflater *hd;
};

static void frame(struct buf *b, size_t n, uint8_t type, uint8_t flags, uint32_t id)
{
    buf_append_byte(b, (char)(n >> 16));
    buf_append_byte(b, (char)(n >> 8));
    buf_append_byte(b, (char)n);
    buf_append_byte(b, (char)type);
    buf_append_byte(b, (char)flags);
    buf_u32be(b, id);
}

static void raw_init(struct raw *r)
{
    *r = (struct raw){0};
    r->p.server.h2 = h2_server_new(NULL, &events, &r->p.server);
    r->p.server.silent = true;
    wf_assert(nghttp2_hd_deflate_new(&r->hd, 4096) == 0);
    buf_append(&r->out, S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    frame(&r->out, 0, NGHTTP2_SETTINGS, 0, 0);
}

static void raw_fini(struct raw *r)
{
    nghttp2_hd_deflate_del(r->hd);
    buf_fini(&r->out);
    end_fini(&r->p.server);
}

/* Fields as "name", "value", …, NULL. */
static size_t block(struct raw *r, const char *const *fields, char *dst, size_t size)
{
    nghttp2_nv nv[64];
    size_t n = 0;
    for (; fields[2 * n]; n++)
        nv[n] = (nghttp2_nv){
            .name = (uint8_t *)(uintptr_t)fields[2 * n],
            .value = (uint8_t *)(uintptr_t)fields[2 * n + 1],
            .namelen = strlen(fields[2 * n]),
            .valuelen = strlen(fields[2 * n + 1]),
        };
    ssize_t got = nghttp2_hd_deflate_hd(r->hd, (uint8_t *)dst, size, nv, n);
    wf_assert(got >= 0);
    return (size_t)got;
}

static void raw_headers(struct raw *r, uint32_t id, uint8_t flags, const char *const *fields)
{
    char bytes[4096];
    size_t n = block(r, fields, bytes, sizeof(bytes));
    frame(&r->out, n, NGHTTP2_HEADERS, flags, id);
    buf_append(&r->out, slice_mem(bytes, n));
}

/* The server's frames of one type since the last call: how many, and the last four bytes of the
 * last one (an error code, in RST_STREAM and GOAWAY). */
static uint32_t raw_deliver(struct raw *r, uint8_t type, uint32_t *ret_code)
{
    struct buf back = {0};
    bool fine = h2_recv(r->p.server.h2, r->p.now, buf_slice(&r->out), &r->p.err);
    r->p.broken |= !fine;
    buf_clear(&r->out);
    h2_send(r->p.server.h2, &back, SIZE_MAX, NULL);
    uint32_t found = 0;
    const uint8_t *p = (const uint8_t *)buf_slice(&back).p;
    for (size_t at = 0; at < back.n;) {
        size_t n = (size_t)p[at] << 16 | (size_t)p[at + 1] << 8 | p[at + 2];
        if (p[at + 3] == type) {
            const uint8_t *code = type == NGHTTP2_GOAWAY ? p + at + 13 : p + at + 9;
            *ret_code = (uint32_t)code[0] << 24 | (uint32_t)code[1] << 16 | (uint32_t)code[2] << 8 |
                        code[3];
            found++;
        }
        at += 9 + n;
    }
    buf_fini(&back);
    return found;
}

#define BASE ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a"
#define END_HEADERS 4
#define END_BOTH 5

struct malformed {
    const char *clause;
    const char *fields[20];
};

static const struct malformed malformed[] = {
    {"9113 §8.3.1 no method", {":scheme", "http", ":path", "/", ":authority", "a"}},
    {"9113 §8.3.1 no path", {":method", "GET", ":scheme", "http", ":authority", "a"}},
    {"9113 §8.3.1 empty path",
     {":method", "GET", ":scheme", "http", ":path", "", ":authority", "a"}},
    {"9113 §8.3.1 path without slash",
     {":method", "GET", ":scheme", "http", ":path", "a", ":authority", "a"}},
    {"9113 §8.3.1 fragment",
     {":method", "GET", ":scheme", "http", ":path", "/#a", ":authority", "a"}},
    {"9113 §8.3.1 blank in the path",
     {":method", "GET", ":scheme", "http", ":path", "/ HTTP/1.1", ":authority", "a"}},
    {"path beyond ASCII",
     {":method", "GET", ":scheme", "http", ":path", "/\xc3\xa9", ":authority", "a"}},
    {"9113 §8.3.1 asterisk without OPTIONS",
     {":method", "GET", ":scheme", "http", ":path", "*", ":authority", "a"}},
    {"9113 §8.3.1 no authority", {":method", "GET", ":scheme", "http", ":path", "/"}},
    {"9113 §8.3.1 userinfo",
     {":method", "GET", ":scheme", "http", ":path", "/", ":authority", "u@a"}},
    {"9113 §8.3.1 Host says otherwise", {BASE, "host", "b"}},
    {"9113 §8.3.1 two Hosts", {BASE, "host", "a", "host", "a"}},
    {"9113 §8.3 pseudo field twice", {BASE, ":path", "/b"}},
    {"9113 §8.3 unknown pseudo field", {BASE, ":foo", "b"}},
    {"9113 §8.3 pseudo field of a response", {BASE, ":status", "200"}},
    {"9113 §8.3 pseudo field behind others",
     {":method", "GET", ":scheme", "http", ":path", "/", "x", "y", ":authority", "a"}},
    {"9113 §8.2.1 capitals", {BASE, "X-Y", "a"}},
    {"9113 §8.2.1 blank in a name", {BASE, "x y", "a"}},
    {"9113 §8.2.1 colon in a name", {BASE, "x:y", "a"}},
    {"9113 §8.2.1 CRLF in a value", {BASE, "x", "a\r\nb: c"}},
    {"9113 §8.2.1 LF in a value", {BASE, "x", "a\nb"}},
    {"9113 §8.2.1 blank at the end of a value", {BASE, "x", "a "}},
    {"9113 §8.2.2 connection", {BASE, "connection", "close"}},
    {"9113 §8.2.2 transfer-encoding", {BASE, "transfer-encoding", "chunked"}},
    {"9113 §8.2.2 upgrade", {BASE, "upgrade", "h2c"}},
    {"9113 §8.2.2 te", {BASE, "te", "gzip"}},
    {"9113 §8.1.1 two lengths", {BASE, "content-length", "0", "content-length", "0"}},
    {"9113 §8.1.1 length of no body", {BASE, "content-length", "5"}},
    {"9113 §8.1.1 length is no number", {BASE, "content-length", "+0"}},
    {"scheme is not ours", {":method", "GET", ":scheme", "ftp", ":path", "/", ":authority", "a"}},
    {"method is no token", {":method", "G ET", ":scheme", "http", ":path", "/", ":authority", "a"}},
    {"9113 §8.5 CONNECT with a path",
     {":method", "CONNECT", ":scheme", "http", ":path", "/", ":authority", "a:1"}},
    {"9113 §8.5 CONNECT without a port", {":method", "CONNECT", ":authority", "a"}},
    {"8441 §3 extended CONNECT was not offered",
     {":method", "CONNECT", ":scheme", "http", ":path", "/", ":authority", "a", ":protocol",
      "websocket"}},
};

/* Wrong: a malformed request goes on, as another one, to an HTTP/1 server behind us. */
static void test_malformed_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(malformed); i++) {
        struct raw r;
        uint32_t code = 0;
        raw_init(&r);
        raw_headers(&r, 1, END_BOTH, malformed[i].fields);
        uint32_t resets = raw_deliver(&r, NGHTTP2_RST_STREAM, &code);
        if (r.p.server.log.n || (resets != 1 && !r.p.broken) || code == NGHTTP2_NO_ERROR)
            fail_msg("%s: %u resets, code %u, \"%.*s\"", malformed[i].clause, resets, code,
                     SLICE(buf_slice(&r.p.server.log)));
        /* The session goes on. */
        raw_headers(&r, 3, END_BOTH, (const char *const[]){BASE, NULL});
        raw_deliver(&r, NGHTTP2_RST_STREAM, &code);
        if (!slice_starts(buf_slice(&r.p.server.log), S("request 3 ")))
            fail_msg("%s: the session is dead", malformed[i].clause);
        raw_fini(&r);
    }
}

/* Wrong: mixed case of a scheme or Host makes two canonical forms of one request. */
static void test_normalised_requests(void **state)
{
    (void)state;
    struct raw r;
    uint32_t code;
    raw_init(&r);
    raw_headers(&r, 1, END_BOTH,
                (const char *const[]){":method", "GET", ":scheme", "HTTPS", ":path", "/", "host",
                                      "b", NULL});
    raw_headers(&r, 3, END_BOTH, (const char *const[]){BASE, "host", "A", NULL});
    raw_deliver(&r, NGHTTP2_RST_STREAM, &code);
    expect_log(&r.p.server, "request 1 GET https://b/ end\nrequest 3 GET http://a/ end\n");
    raw_headers(&r, 5, END_BOTH,
                (const char *const[]){BASE, "cookie", "", "cookie", "a=b", "cookie", "", NULL});
    raw_headers(&r, 7, END_BOTH, (const char *const[]){BASE, "cookie", "", "cookie", "", NULL});
    raw_deliver(&r, NGHTTP2_RST_STREAM, &code);
    expect_log(&r.p.server, "request 5 GET http://a/ cookie=a=b end\n"
                            "request 7 GET http://a/ cookie= end\n");
    raw_fini(&r);
}

/* Floods. */

enum flood {
    FLOOD_RESET,
    FLOOD_OUR_RESET,
    FLOOD_SETTINGS,
    FLOOD_PING,
    FLOOD_PING_ACK,
    FLOOD_EMPTY_DATA,
    FLOOD_PRIORITY,
    FLOOD_WINDOW,
    FLOOD_COUNT,
};

static void flood_frame(struct raw *r, enum flood kind, uint32_t i)
{
    static const char *const fine[] = {BASE, NULL}, *const bad[] = {BASE, "te", "x", NULL};
    uint32_t id = 3 + 2 * i;
    switch (kind) {
    case FLOOD_RESET:
        raw_headers(r, id, END_BOTH, fine);
        frame(&r->out, 4, NGHTTP2_RST_STREAM, 0, id);
        buf_u32be(&r->out, NGHTTP2_CANCEL);
        break;
    case FLOOD_OUR_RESET:
        raw_headers(r, id, END_BOTH, bad);
        break;
    case FLOOD_SETTINGS:
        frame(&r->out, 0, NGHTTP2_SETTINGS, 0, 0);
        break;
    case FLOOD_PING:
    case FLOOD_PING_ACK:
        frame(&r->out, 8, NGHTTP2_PING, kind == FLOOD_PING_ACK, 0);
        buf_u64le(&r->out, i);
        break;
    case FLOOD_EMPTY_DATA:
        frame(&r->out, 0, NGHTTP2_DATA, 0, 1);
        break;
    case FLOOD_PRIORITY:
        frame(&r->out, 5, NGHTTP2_PRIORITY, 0, 1);
        buf_append(&r->out, S("\0\0\0\0\x10"));
        break;
    case FLOOD_WINDOW:
        frame(&r->out, 4, NGHTTP2_WINDOW_UPDATE, 0, 1);
        buf_u32be(&r->out, 1);
        break;
    case FLOOD_COUNT:
        break;
    }
}

/* Wrong: frames that cost the sender nothing keep a core busy (CVE-2019-9511 and following,
 * CVE-2023-44487, CVE-2025-8671). */
static void test_floods(void **state)
{
    (void)state;
    for (int kind = 0; kind < FLOOD_COUNT; kind++) {
        struct raw r;
        raw_init(&r);
        raw_headers(&r, 1, END_HEADERS, (const char *const[]){BASE, NULL});
        uint32_t frames = 0, code = 0, goaways = 0;
        while (!goaways && frames < 5000) {
            for (int k = 0; k < 10; k++)
                flood_frame(&r, (enum flood)kind, frames++);
            goaways = raw_deliver(&r, NGHTTP2_GOAWAY, &code);
        }
        if (!goaways || frames > 1200 || code == NGHTTP2_NO_ERROR)
            fail_msg("flood %d: %u frames, %u GOAWAY, code %u", kind, frames, goaways, code);
        assert_true(h2_done(r.p.server.h2));
        raw_fini(&r);
    }
}

/* Wrong: a peer that behaves is cut off because it has lived long. */
static void test_slow_oddities_are_forgiven(void **state)
{
    (void)state;
    for (int kind = 0; kind < FLOOD_COUNT; kind++) {
        struct raw r;
        raw_init(&r);
        raw_headers(&r, 1, END_HEADERS, (const char *const[]){BASE, NULL});
        uint32_t code, goaways = 0;
        for (uint32_t i = 0; i < 3000; i++) {
            if (kind == FLOOD_RESET) /* nghttp2 counts these by the wall clock */
                break;
            flood_frame(&r, (enum flood)kind, i);
            r.p.now += 200;
            goaways += raw_deliver(&r, NGHTTP2_GOAWAY, &code);
        }
        if (goaways)
            fail_msg("flood %d", kind);
        raw_fini(&r);
    }
}

/* Wrong: a head without end (CVE-2024-28182), or one that unpacks to a thousand times its size,
 * takes memory or time. */
static void test_head_bombs(void **state)
{
    (void)state;
    static const char *const fine[] = {BASE, NULL};
    struct raw r;
    uint32_t code = 0, goaways = 0;
    raw_init(&r);
    raw_headers(&r, 1, 0, fine);
    for (int i = 0; i < 20; i++)
        frame(&r.out, 0, NGHTTP2_CONTINUATION, 0, 1);
    goaways = raw_deliver(&r, NGHTTP2_GOAWAY, &code);
    assert_int_equal(goaways, 1);
    assert_true(h2_done(r.p.server.h2));
    raw_fini(&r);

    raw_init(&r);
    char big[3000];
    memset(big, 'a', sizeof(big));
    big[sizeof(big) - 1] = 0;
    char bytes[16000];
    size_t n = block(&r, (const char *const[]){BASE, "x", big, NULL}, bytes, sizeof(bytes));
    frame(&r.out, n + 10000, NGHTTP2_HEADERS, END_BOTH, 1);
    buf_append(&r.out, slice_mem(bytes, n));
    for (int i = 0; i < 10000; i++)
        buf_append_byte(&r.out, (char)0xbe); /* the newest entry of the dynamic table */
    goaways = raw_deliver(&r, NGHTTP2_GOAWAY, &code);
    assert_int_equal(goaways, 1);
    assert_int_equal(code, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_true(r.p.broken);
    assert_int_equal(r.p.err.code, ERR_LIMIT);
    raw_fini(&r);
}

/* Wrong: bytes of another protocol are taken for HTTP/2. */
static void test_bad_preface(void **state)
{
    (void)state;
    struct raw r;
    raw_init(&r);
    assert_false(h2_recv(r.p.server.h2, 0, S("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), &r.p.err));
    assert_int_equal(r.p.err.code, ERR_INVALID);
    assert_false(h2_recv(r.p.server.h2, 0, S("x"), &r.p.err));
    raw_fini(&r);
}

/* Wrong: WebSocket over HTTP/2 is refused where it was offered. */
static void test_extended_connect(void **state)
{
    (void)state;
    struct pair p;
    const struct h2_options opt = {.extended_connect = true};
    pair_init(&p, NULL, &opt);
    struct http_head h = get_head("/ws");
    h.method = S("CONNECT");
    h.method_id = HTTP_CONNECT;
    h.protocol = S("websocket");
    p.client.sleepy = true;
    assert_int_equal(h2_request(p.client.h2, &h, true, NULL), 1);
    pump(&p);
    expect_log(&p.server, "request 1 CONNECT http://host:1/ws\n");
    pair_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_and_answer),
        cmocka_unit_test(test_many_headers),
        cmocka_unit_test(test_too_many_headers),
        cmocka_unit_test(test_flow_control),
        cmocka_unit_test(test_window_of_dead_streams_returns),
        cmocka_unit_test(test_sleep_and_resume),
        cmocka_unit_test(test_resets),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_concurrency),
        cmocka_unit_test(test_ping),
        cmocka_unit_test(test_informational),
        cmocka_unit_test(test_send_is_bounded),
        cmocka_unit_test(test_shared_pool),
        cmocka_unit_test(test_unique_values_leave_the_table_alone),
        cmocka_unit_test(test_malformed_requests),
        cmocka_unit_test(test_normalised_requests),
        cmocka_unit_test(test_floods),
        cmocka_unit_test(test_slow_oddities_are_forgiven),
        cmocka_unit_test(test_head_bombs),
        cmocka_unit_test(test_bad_preface),
        cmocka_unit_test(test_extended_connect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
