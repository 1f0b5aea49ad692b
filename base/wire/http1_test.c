#include "base/wire/http1.h"
#include "base/wire/test.h"

#define HOST "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n" HOST
#define POST "POST / HTTP/1.1\r\n" HOST

/* One request that must be refused, with the clause that says so. */
struct refusal {
    const char *clause;
    struct slice bytes;
    enum http1_fault fault;
};
#define NO(clause, text, fault)                                                                    \
    {                                                                                              \
        clause, S_INIT(text), HTTP1_##fault                                                        \
    }

static const struct refusal refusals[] = {
    /* request line */
    NO("9112 §2.2 bare LF", "GET / HTTP/1.1\nHost: a\n\n", BAD_LINE),
    NO("9112 §2.2 bare LF after a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", BAD_LINE),
    NO("9112 §2.2 bare CR", "GET / HTTP/1.1\rHost: a\r\n\r\n", BAD_LINE),
    NO("9112 §2.2 bare CR in a value", GET "X: a\rb\r\n\r\n", BAD_LINE),
    NO("9112 §2.2 one empty line, not two", "\r\n\r\n" GET "\r\n", BAD_METHOD),
    NO("9112 §3 blank before the method", " GET / HTTP/1.1\r\n" HOST "\r\n", BAD_METHOD),
    NO("9112 §3 two blanks", "GET  / HTTP/1.1\r\n" HOST "\r\n", BAD_TARGET),
    NO("9112 §3 two blanks before the version", "GET /  HTTP/1.1\r\n" HOST "\r\n", BAD_LINE),
    NO("9112 §3 tab", "GET\t/ HTTP/1.1\r\n" HOST "\r\n", BAD_METHOD),
    NO("9112 §3 blank behind the version", "GET / HTTP/1.1 \r\n" HOST "\r\n", BAD_LINE),
    NO("9110 §5.6.2 method is a token", "G@T / HTTP/1.1\r\n" HOST "\r\n", BAD_METHOD),
    NO("bound: method", "GETGETGETGETGETGETGETGETGETGETGET / HTTP/1.1\r\n" HOST "\r\n", BAD_METHOD),
    NO("HTTP/0.9", "GET /\r\n\r\n", BAD_LINE),
    NO("9112 §2.3 version", "GET / HTTP/1.7\r\n" HOST "\r\n", BAD_VERSION),
    NO("9112 §2.3 version", "GET / HTTP/2.0\r\n" HOST "\r\n", BAD_VERSION),
    NO("9112 §2.3 version is one digit", "GET / HTTP/1.10\r\n" HOST "\r\n", BAD_LINE),
    NO("9112 §2.3 name is in capitals", "GET / http/1.1\r\n" HOST "\r\n", BAD_LINE),
    NO("1.0 is off", "GET / HTTP/1.0\r\n\r\n", OLD_VERSION),
    /* target */
    NO("9112 §3.2 fragment", "GET /#a HTTP/1.1\r\n" HOST "\r\n", BAD_TARGET),
    NO("9112 §3.2 control byte", "GET /\x01 HTTP/1.1\r\n" HOST "\r\n", BAD_TARGET),
    NO("9112 §3.2 NUL", "GET /\0 HTTP/1.1\r\n" HOST "\r\n", BAD_TARGET),
    NO("9112 §3.2 not ASCII", "GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n", BAD_TARGET),
    NO("9112 §3.2 relative", "GET a HTTP/1.1\r\n" HOST "\r\n", BAD_TARGET),
    NO("9112 §3.2.4 asterisk is for OPTIONS", "GET * HTTP/1.1\r\n" HOST "\r\n", BAD_TARGET),
    NO("9112 §3.2.3 authority-form is for CONNECT", "GET a:80 HTTP/1.1\r\n" HOST "\r\n",
       BAD_TARGET),
    NO("9112 §3.2.3 CONNECT needs a port", "CONNECT a HTTP/1.1\r\n" HOST "\r\n", BAD_TARGET),
    NO("9112 §3.2.3 CONNECT takes no path", "CONNECT / HTTP/1.1\r\n" HOST "\r\n", BAD_TARGET),
    NO("9112 §3.2.2 no authority", "GET http:///a HTTP/1.1\r\n" HOST "\r\n", BAD_TARGET),
    NO("9110 §4.2.4 userinfo", "GET http://u@a/ HTTP/1.1\r\n" HOST "\r\n", BAD_TARGET),
    NO("9112 §3.2.2 scheme", "GET ftp://a/ HTTP/1.1\r\n" HOST "\r\n", BAD_TARGET),
    /* fields */
    NO("9112 §5.1 blank before the colon", GET "X : a\r\n\r\n", BAD_NAME),
    NO("9112 §5.1 tab before the colon", GET "X\t: a\r\n\r\n", BAD_NAME),
    NO("9112 §5.1 no name", GET ": a\r\n\r\n", BAD_NAME),
    NO("9112 §5.1 no colon", GET "X\r\n\r\n", BAD_NAME),
    NO("9110 §5.1 name is a token", GET "X\x80: a\r\n\r\n", BAD_NAME),
    NO("9110 §5.1 NUL in a name", GET "X\0: a\r\n\r\n", BAD_NAME),
    NO("9112 §5.2 obs-fold", GET "X: a\r\n b\r\n\r\n", BAD_FOLD),
    NO("9112 §5.2 obs-fold of nothing", GET "X: a\r\n \r\n\r\n", BAD_FOLD),
    NO("9112 §2.2 blank before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", BAD_FOLD),
    NO("9110 §5.5 NUL", GET "X: a\0b\r\n\r\n", BAD_VALUE),
    NO("9110 §5.5 control byte",
       GET "X: a\x0b"
           "b\r\n\r\n",
       BAD_VALUE),
    NO("9110 §5.5 DEL", GET "X: a\x7f\r\n\r\n", BAD_VALUE),
    NO("bare CR hides a field", GET "Dummy:\rTransfer-Encoding: chunked\r\n\r\n", BAD_LINE),
    /* Host */
    NO("9112 §3.2 no Host", "GET / HTTP/1.1\r\n\r\n", BAD_HOST),
    NO("9112 §3.2 two Hosts", GET HOST "\r\n", BAD_HOST),
    NO("9112 §3.2 empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", BAD_HOST),
    NO("9112 §3.2 two hosts in one", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", BAD_HOST),
    NO("9112 §3.2 userinfo", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", BAD_HOST),
    NO("9112 §3.2 path in Host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BAD_HOST),
    NO("9112 §3.2 Host also with an absolute target", "GET http://a/ HTTP/1.1\r\n\r\n", BAD_HOST),
    /* Content-Length */
    NO("9112 §6.3 sign", POST "Content-Length: +0\r\n\r\n", BAD_LENGTH),
    NO("9112 §6.3 sign", POST "Content-Length: -1\r\n\r\n", BAD_LENGTH),
    NO("9112 §6.3 not a number", POST "Content-Length: 1a\r\n\r\n", BAD_LENGTH),
    NO("9112 §6.3 hex", POST "Content-Length: 0x1\r\n\r\n", BAD_LENGTH),
    NO("9112 §6.3 blank inside", POST "Content-Length: 1 1\r\n\r\n", BAD_LENGTH),
    NO("9112 §6.3 empty", POST "Content-Length:\r\n\r\n", BAD_LENGTH),
    NO("9112 §6.3 list", POST "Content-Length: 1, 1\r\n\r\n", BAD_LENGTH),
    NO("9112 §6.3 twice, equal", POST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", BAD_LENGTH),
    NO("9112 §6.3 twice", POST "Content-Length: 1\r\ncontent-length: 2\r\n\r\n", BAD_LENGTH),
    NO("9110 §8.6 octal?", POST "Content-Length: 010\r\n\r\n", BAD_LENGTH),
    NO("9110 §8.6 overflow", POST "Content-Length: 18446744073709551617\r\n\r\n", BAD_LENGTH),
    NO("9110 §8.6 overflow", POST "Content-Length: 9999999999999999999\r\n\r\n", BAD_LENGTH),
    /* Transfer-Encoding */
    NO("9112 §6.3 CL and TE", POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
       BAD_FRAMING),
    NO("9112 §6.3 TE and CL", POST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
       BAD_FRAMING),
    NO("9112 §6.1 twice", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
       BAD_CODING),
    NO("9112 §6.1 chunked twice", POST "Transfer-Encoding: chunked, chunked\r\n\r\n", BAD_CODING),
    NO("9112 §6.1 not last", POST "Transfer-Encoding: chunked, gzip\r\n\r\n", BAD_CODING),
    NO("9112 §6.1 identity after chunked", POST "Transfer-Encoding: chunked, identity\r\n\r\n",
       BAD_CODING),
    NO("9112 §6.1 empty", POST "Transfer-Encoding:\r\n\r\n", BAD_CODING),
    NO("9112 §6.1 empty element", POST "Transfer-Encoding: ,chunked\r\n\r\n", BAD_CODING),
    NO("9112 §6.1 unknown", POST "Transfer-Encoding: gzip, chunked\r\n\r\n", UNKNOWN_CODING),
    NO("9112 §6.1 unknown", POST "Transfer-Encoding: xchunked\r\n\r\n", UNKNOWN_CODING),
    NO("9112 §6.1 unknown", POST "Transfer-Encoding: identity\r\n\r\n", UNKNOWN_CODING),
    NO("9112 §7.1 parameter", POST "Transfer-Encoding: chunked;a=b\r\n\r\n", UNKNOWN_CODING),
    NO("9112 §6.1 quoted", POST "Transfer-Encoding: \"chunked\"\r\n\r\n", UNKNOWN_CODING),
    NO("9110 §9.3.6 CONNECT has no content",
       "CONNECT a:1 HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\n", BAD_FRAMING),
    NO("9110 §9.3.8 TRACE has no content",
       "TRACE / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", BAD_FRAMING),
    NO("9110 §10.1.1 Expect", POST "Expect: 200-ok\r\nContent-Length: 1\r\n\r\n", BAD_EXPECT),
};

static enum http1_result parse_whole(struct slice bytes, struct arena *a, struct http1_head *h,
                                     enum http1_fault *fault)
{
    struct http1_progress at = {0};
    enum http1_result r = http1_parse_request(&at, bytes, NULL, a, h);
    *fault = at.fault;
    return r;
}

/* Wrong: a request passes that another parser behind us reads as two, or as another one. */
static void test_refusals(void **state)
{
    (void)state;
    struct arena a = {0};
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        const struct refusal *c = &refusals[i];
        struct http1_head h;
        enum http1_fault fault;
        enum http1_result r = parse_whole(c->bytes, &a, &h, &fault);
        if (r != HTTP1_BAD || fault != c->fault)
            fail_msg("%s (row %zu): result %d, %s", c->clause, i, r, http1_fault_name(fault));
        assert_in_range(http1_fault_status(fault), 400, 505);
    }
    arena_fini(&a);
}

/* Wrong: a client that dribbles bytes gets something through that it could not send at once. */
static void test_refusals_byte_by_byte(void **state)
{
    (void)state;
    struct arena a = {0};
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        struct http1_progress at = {0};
        struct http1_head h;
        enum http1_result r = HTTP1_MORE;
        /* The rest may be needed to see the end of head that never comes. */
        for (size_t n = 1; n <= refusals[i].bytes.n && r == HTTP1_MORE; n++)
            r = http1_parse_request(&at, slice_sub(refusals[i].bytes, 0, n), NULL, &a, &h);
        if (r == HTTP1_DONE)
            fail_msg("%s (row %zu) passed", refusals[i].clause, i);
    }
    arena_fini(&a);
}

/* Wrong: a usual request loses a part or is framed wrongly. */
static void test_request_parts(void **state)
{
    (void)state;
    struct arena a = {0};
    struct slice in =
        S("POST /a/b?c=d HTTP/1.1\r\nHOST: example.com:8080\r\nX-Own-Name:  v w \t\r\n"
          "Empty:\r\nContent-Length: 12\r\nTE: gzip, Trailers\r\n"
          "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
          "Expect: 100-Continue\r\n\r\nbody");
    for (size_t cut = 0; cut <= in.n; cut++) {
        struct http1_progress at = {0};
        struct http1_head h;
        enum http1_result r = http1_parse_request(&at, slice_sub(in, 0, cut), NULL, &a, &h);
        if (cut < in.n - 4)
            assert_int_equal(r, HTTP1_MORE);
        if (r == HTTP1_MORE)
            r = http1_parse_request(&at, in, NULL, &a, &h);
        assert_int_equal(r, HTTP1_DONE);
        assert_int_equal(h.bytes, in.n - 4);
        check_slice(h.http.method, S("POST"));
        assert_int_equal(h.http.method_id, HTTP_POST);
        check_slice(h.http.path, S("/a/b?c=d"));
        check_slice(h.http.authority, S("example.com:8080"));
        assert_int_equal(h.http.headers.n, 7);
        check_slice(headers_find(&h.http.headers, S("x-own-name"))->value, S("v w"));
        check_slice(headers_find(&h.http.headers, S("empty"))->value, S(""));
        assert_int_equal(h.body, HTTP1_BODY_LENGTH);
        assert_int_equal(h.length, 12);
        assert_true(h.keep_alive && h.expect_continue && h.te_trailers);
        check_slice(h.upgrade, S("websocket"));
        arena_reset(&a);
    }
    arena_fini(&a);
}

/* Wrong: a form of the target is mapped to another resource (RFC 9112 §3.2). */
static void test_request_targets(void **state)
{
    (void)state;
    static const struct {
        const char *line, *authority, *path;
        enum http1_form form;
    } cases[] = {
        {"GET /a HTTP/1.1", "h", "/a", HTTP1_ORIGIN},
        {"GET //x/a HTTP/1.1", "h", "//x/a", HTTP1_ORIGIN},
        {"GET http://other:1/a?b HTTP/1.1", "other:1", "/a?b", HTTP1_ABSOLUTE},
        {"GET HTTPS://other HTTP/1.1", "other", "/", HTTP1_ABSOLUTE},
        {"GET http://other?q HTTP/1.1", "other", "/?q", HTTP1_ABSOLUTE},
        {"OPTIONS http://other HTTP/1.1", "other", "*", HTTP1_ABSOLUTE},
        {"OPTIONS * HTTP/1.1", "h", "*", HTTP1_ASTERISK},
        {"CONNECT x:443 HTTP/1.1", "x:443", "", HTTP1_AUTHORITY},
    };
    struct arena a = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http1_head h;
        enum http1_fault fault;
        struct slice in = arena_printf(&a, "%s\r\nHost: h\r\n\r\n", cases[i].line);
        assert_int_equal(parse_whole(in, &a, &h, &fault), HTTP1_DONE);
        check_slice(h.http.authority, slice_of(cases[i].authority));
        check_slice(h.http.path, slice_of(cases[i].path));
        assert_int_equal(h.form, cases[i].form);
    }
    arena_fini(&a);
}

/* Wrong: a bound of the head is not one, or refuses what it allows. */
static void test_bounds(void **state)
{
    (void)state;
    struct arena a = {0};
    for (uint32_t n = 98; n <= 101; n++) {
        struct buf b = {0};
        buf_append(&b, S("GET / HTTP/1.1\r\nHost: a\r\n"));
        for (uint32_t i = 0; i < n; i++)
            buf_append(&b, S("X: y\r\n"));
        buf_append(&b, S("\r\n"));
        struct http1_head h;
        enum http1_fault fault;
        enum http1_result r = parse_whole(buf_slice(&b), &a, &h, &fault);
        assert_int_equal(r, n < HTTP1_HEADERS ? HTTP1_DONE : HTTP1_BAD);
        if (r == HTTP1_BAD)
            assert_int_equal(fault, HTTP1_TOO_MANY_HEADERS);
        buf_fini(&b);
    }
    for (size_t n = HTTP1_TARGET_BYTES - 1; n <= HTTP1_TARGET_BYTES + 1; n++) {
        struct slice in = arena_printf(&a, "GET /%0*d HTTP/1.1\r\nHost: a\r\n\r\n", (int)n - 1, 0);
        struct http1_head h;
        enum http1_fault fault;
        enum http1_result r = parse_whole(in, &a, &h, &fault);
        assert_int_equal(r, n <= HTTP1_TARGET_BYTES ? HTTP1_DONE : HTTP1_BAD);
        assert_int_equal(fault, n <= HTTP1_TARGET_BYTES ? HTTP1_OK : HTTP1_TARGET_TOO_LONG);
    }
    struct slice big = arena_printf(&a, "GET / HTTP/1.1\r\nHost: a\r\nX: %0*d", 70000, 0);
    struct http1_progress at = {0};
    struct http1_head h;
    assert_int_equal(http1_parse_request(&at, slice_sub(big, 0, 60000), NULL, &a, &h), HTTP1_MORE);
    struct slice full = slice_sub(big, 0, HTTP1_HEAD_BYTES);
    at = (struct http1_progress){0};
    assert_int_equal(http1_parse_request(&at, full, NULL, &a, &h), HTTP1_BAD);
    assert_int_equal(at.fault, HTTP1_HEAD_TOO_LARGE);
    arena_fini(&a);
}

/* Wrong: a dribbled head larger than the bound is read for ever. */
static void test_bound_while_dribbling(void **state)
{
    (void)state;
    struct arena a = {0};
    struct slice big = arena_printf(&a, "GET / HTTP/1.1\r\nHost: a\r\nX: %0*d", 70000, 0);
    struct http1_progress at = {0};
    struct http1_head h;
    enum http1_result r = HTTP1_MORE;
    size_t n = 0;
    while (r == HTTP1_MORE && n < big.n)
        r = http1_parse_request(&at, slice_sub(big, 0, n += 100), NULL, &a, &h);
    assert_int_equal(r, HTTP1_BAD);
    assert_int_equal(at.fault, HTTP1_HEAD_TOO_LARGE);
    assert_true(n <= HTTP1_HEAD_BYTES + 100);
    arena_fini(&a);
}

struct response_case {
    const char *head;
    enum http_method request;
    enum http1_body body;
    uint64_t length;
    bool keep_alive;
};

static const struct response_case responses[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", HTTP_GET, HTTP1_BODY_LENGTH, 5, true},
    {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", HTTP_GET, HTTP1_BODY_NONE, 0, true},
    {"HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n", HTTP_GET, HTTP1_BODY_CHUNKED, 0, true},
    {"HTTP/1.1 200 \r\n\r\n", HTTP_GET, HTTP1_BODY_UNTIL_CLOSE, 0, false},
    {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", HTTP_GET, HTTP1_BODY_LENGTH, 5, false},
    {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n", HTTP_GET,
     HTTP1_BODY_LENGTH, 5, true},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", HTTP_GET,
     HTTP1_BODY_LENGTH, 5, false},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", HTTP_HEAD, HTTP1_BODY_NONE, 0, true},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", HTTP_GET, HTTP1_BODY_NONE, 0, true},
    {"HTTP/1.1 204 No Content\r\n\r\n", HTTP_GET, HTTP1_BODY_NONE, 0, true},
    {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", HTTP_GET, HTTP1_BODY_NONE, 0, false},
    {"HTTP/1.1 100 Continue\r\n\r\n", HTTP_POST, HTTP1_BODY_NONE, 0, true},
    {"HTTP/1.1 101 Switching Protocols\r\n\r\n", HTTP_GET, HTTP1_BODY_TUNNEL, 0, true},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", HTTP_CONNECT, HTTP1_BODY_TUNNEL, 0, true},
    {"HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\n", HTTP_CONNECT, HTTP1_BODY_LENGTH, 5, true},
};

/* Wrong: the end of a response is seen elsewhere than the server meant (RFC 9112 §6.3). */
static void test_responses(void **state)
{
    (void)state;
    struct arena a = {0};
    for (size_t i = 0; i < ARRAY_LEN(responses); i++) {
        const struct response_case *c = &responses[i];
        struct http1_progress at = {0};
        struct http1_head h;
        struct slice in = slice_of(c->head);
        if (http1_parse_response(&at, in, c->request, NULL, &a, &h) != HTTP1_DONE)
            fail_msg("row %zu: %s", i, http1_fault_name(at.fault));
        if (h.body != c->body || h.length != c->length || h.keep_alive != c->keep_alive)
            fail_msg("row %zu: body %d, length %lu, keep %d", i, h.body, h.length, h.keep_alive);
        for (size_t cut = 0; cut < in.n; cut++) {
            at = (struct http1_progress){0};
            assert_int_equal(
                http1_parse_response(&at, slice_sub(in, 0, cut), c->request, NULL, &a, &h),
                HTTP1_MORE);
        }
    }
    arena_fini(&a);
}

/* Wrong: response splitting or a desynchronised upstream connection. */
static void test_response_refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "HTTP/1.1 099 No\r\n\r\n",
        "HTTP/1.1 600 No\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 200 O\x01K\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\n\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
    };
    struct arena a = {0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct http1_progress at = {0};
        struct http1_head h;
        if (http1_parse_response(&at, slice_of(bad[i]), HTTP_GET, NULL, &a, &h) != HTTP1_BAD)
            fail_msg("row %zu passed", i);
    }
    arena_fini(&a);
}

/* Feeds `in` in pieces of `step` bytes, as a connection would, and gathers the body. */
static enum http1_result decode(struct slice in, size_t step, struct arena *a, struct buf *body,
                                struct headers *trailers, size_t *ret_used)
{
    struct http1_chunked c = {0};
    size_t used = 0, have = 0;
    enum http1_result r = HTTP1_MORE;
    while (r == HTTP1_MORE && have < in.n) {
        have = have + step < in.n ? have + step : in.n;
        struct slice rest = slice_sub(in, used, have - used), data;
        do {
            r = http1_chunked_next(&c, &rest, a, &data, trailers);
            buf_append(body, data);
        } while (r == HTTP1_MORE && data.n);
        used = have - rest.n;
    }
    *ret_used = used;
    return r;
}

/* Wrong: a chunked body ends early or late, and the rest becomes the next request. */
static void test_chunked(void **state)
{
    (void)state;
    static const struct {
        const char *in, *body;
        uint32_t trailers;
    } cases[] = {
        {"0\r\n\r\n", "", 0},
        {"5\r\nhello\r\n0\r\n\r\n", "hello", 0},
        {"5;a=b;c=\"d e\"\r\nhello\r\n00\r\n\r\n", "hello", 0},
        {"A\r\n0123456789\r\n1\r\nx\r\n0\r\nX-Sum: 1\r\ngrpc-status: 0\r\n\r\n", "0123456789x", 2},
        {"000003\r\n\r\n\r\r\n0\r\n\r\n", "\r\n\r", 0},
    };
    struct arena a = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice in = arena_printf(&a, "%sGET /", cases[i].in);
        for (size_t step = 1; step <= in.n; step++) {
            struct buf body = {0};
            struct headers trailers = {0};
            size_t used;
            assert_int_equal(decode(in, step, &a, &body, &trailers, &used), HTTP1_DONE);
            assert_int_equal(used, in.n - 5);
            check_slice(buf_slice(&body), slice_of(cases[i].body));
            assert_int_equal(trailers.n, cases[i].trailers);
            buf_fini(&body);
        }
    }
    arena_fini(&a);
}

/* Wrong: chunk framing that others read differently passes (RFC 9112 §7.1). */
static void test_chunked_refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\r\nhello",
        "x\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5 ;a\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\rhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\x01\r\nhello\r\n0\r\n\r\n",
        "1000000000000000\r\n",
        "0000000000000000000000000005\r\nhello\r\n0\r\n\r\n",
        "0\r\nX : a\r\n\r\n",
        "0\r\nX: a\r\n b\r\n\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0\r\nHost: b\r\n\r\n",
        "0\r\n\n",
        "0\r\nX\r\n\r\n",
    };
    struct arena a = {0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        for (size_t step = 1; step < 40; step += 13) {
            struct buf body = {0};
            struct headers trailers = {0};
            size_t used;
            if (decode(slice_of(bad[i]), step, &a, &body, &trailers, &used) != HTTP1_BAD)
                fail_msg("row %zu passed in steps of %zu", i, step);
            buf_fini(&body);
        }
    }
    arena_fini(&a);
}

/* Wrong: a peer sends kilobytes of extensions for each byte of body (CVE-2023-39326). */
static void test_chunk_extension_bound(void **state)
{
    (void)state;
    struct arena a = {0};
    struct buf in = {0}, body = {0};
    for (int i = 0; i < 100; i++)
        buf_printf(&in, "1;%0*d\r\nx\r\n", 250, 0);
    buf_append(&in, S("0\r\n\r\n"));
    struct headers trailers;
    size_t used;
    assert_int_equal(decode(buf_slice(&in), in.n, &a, &body, &trailers, &used), HTTP1_BAD);
    buf_clear(&in);
    buf_printf(&in, "1;%0*d\r\nx\r\n", 300, 0);
    assert_int_equal(decode(buf_slice(&in), in.n, &a, &body, &trailers, &used), HTTP1_BAD);
    buf_fini(&in);
    buf_fini(&body);
    arena_fini(&a);
}

/* Wrong: what we write is not what we would read. */
static void test_write_request(void **state)
{
    (void)state;
    struct arena a = {0};
    struct buf b = {0};
    struct http1_head in, out;
    enum http1_fault fault;
    struct slice bytes =
        S("POST /p?q HTTP/1.1\r\nHost: h:1\r\nX-Y: z\r\nTransfer-Encoding: chunked\r\n"
          "Connection: x, upgrade\r\nUpgrade: foo\r\nKeep-Alive: 5\r\n\r\n");
    assert_int_equal(parse_whole(bytes, &a, &in, &fault), HTTP1_DONE);
    struct http1_write how = {
        .body = HTTP1_BODY_LENGTH, .length = 18446744073709551615u, .close = true};
    assert_true(http1_write_request(&b, &in.http, &how));
    check_slice(
        buf_slice(&b),
        S("POST /p?q HTTP/1.1\r\nhost: h:1\r\nx-y: z\r\ncontent-length: 18446744073709551615\r\n"
          "connection: close\r\n\r\n"));
    buf_clear(&b);
    how = (struct http1_write){
        .body = HTTP1_BODY_CHUNKED, .upgrade = S("websocket"), .absolute = true};
    in.http.scheme = S("http");
    assert_true(http1_write_request(&b, &in.http, &how));
    assert_int_equal(parse_whole(buf_slice(&b), &a, &out, &fault), HTTP1_DONE);
    check_slice(out.target, S("http://h:1/p?q"));
    check_slice(out.upgrade, S("websocket"));
    assert_int_equal(out.body, HTTP1_BODY_CHUNKED);
    buf_fini(&b);
    arena_fini(&a);
}

/* Wrong: bytes from an HTTP/2 peer become a second request on an HTTP/1 connection. */
static void test_write_refuses_injection(void **state)
{
    (void)state;
    struct arena a = {0};
    struct buf b = {0};
    struct http1_write how = {0};
    static const struct http_head base = {.method = S_INIT("GET"),
                                          .path = S_INIT("/"),
                                          .authority = S_INIT("h"),
                                          .method_id = HTTP_GET};
    struct http_head h = base;
    h.path = S("/ HTTP/1.1\r\nX: y");
    assert_false(http1_write_request(&b, &h, &how));
    h = base, h.method = S("GET / HTTP/1.1\r\n");
    assert_false(http1_write_request(&b, &h, &how));
    h = base, h.authority = S("h\r\nX: y");
    assert_false(http1_write_request(&b, &h, &how));
    h = base, headers_add_name(&h.headers, &a, S("x"), S("y\r\nz: 1"));
    assert_false(http1_write_request(&b, &h, &how));
    h = base, headers_add_name(&h.headers, &a, S("x: y\r\nz"), S("1"));
    assert_false(http1_write_request(&b, &h, &how));
    h = base, headers_add(&h.headers, &a, HDR_PSEUDO_PATH, S("/"));
    assert_false(http1_write_request(&b, &h, &how));
    h = (struct http_head){.status = 200};
    headers_add(&h.headers, &a, HDR_LOCATION, S("/\r\nset-cookie: a=b"));
    assert_false(http1_write_response(&b, &h, &how));
    assert_int_equal(b.n, 0);
    h = base;
    assert_true(http1_write_request(&b, &h, &how));
    b.limit = b.n + 10;
    assert_false(http1_write_request(&b, &h, &how));
    buf_fini(&b);
    arena_fini(&a);
}

/* Wrong: the client waits for a body that does not come, or takes the next answer for one. */
static void test_write_response(void **state)
{
    (void)state;
    static const struct {
        uint16_t status;
        struct http1_write how;
        const char *length, *out;
    } cases[] = {
        {200,
         {.body = HTTP1_BODY_LENGTH, .length = 2},
         NULL,
         "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"},
        {200,
         {.body = HTTP1_BODY_CHUNKED, .close = true},
         "7",
         "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"},
        {503,
         {.body = HTTP1_BODY_NONE},
         NULL,
         "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"},
        {200,
         {.body = HTTP1_BODY_NONE, .to_head = true},
         "7",
         "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"},
        {200, {.body = HTTP1_BODY_NONE, .to_head = true}, NULL, "HTTP/1.1 200 OK\r\n\r\n"},
        {304, {.body = HTTP1_BODY_NONE}, NULL, "HTTP/1.1 304 Not Modified\r\n\r\n"},
        {204, {.body = HTTP1_BODY_NONE}, "7", "HTTP/1.1 204 No Content\r\n\r\n"},
        {200,
         {.body = HTTP1_BODY_UNTIL_CLOSE, .minor_is_zero = 1},
         NULL,
         "HTTP/1.0 200 OK\r\n\r\n"},
        {101,
         {.body = HTTP1_BODY_TUNNEL, .upgrade = S_INIT("websocket")},
         NULL,
         "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"},
    };
    struct arena a = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = {0};
        struct http_head h = {.status = cases[i].status};
        if (cases[i].length)
            headers_add(&h.headers, &a, HDR_CONTENT_LENGTH, slice_of(cases[i].length));
        assert_true(http1_write_response(&b, &h, &cases[i].how));
        check_slice(buf_slice(&b), slice_of(cases[i].out));
        buf_fini(&b);
    }
    arena_fini(&a);
}

/* Wrong: encoder and decoder of chunks disagree. */
static void test_chunk_round_trip(void **state)
{
    (void)state;
    struct arena a = {0};
    for (size_t n = 1; n < 70000; n = n * 3 + 1) {
        struct buf b = {0}, body = {0};
        char head[HTTP1_CHUNK_HEAD_BYTES];
        struct slice data = arena_printf(&a, "%0*d", (int)n, 7);
        buf_append(&b, http1_chunk_head(head, n));
        buf_append(&b, data);
        buf_append(&b, HTTP1_CHUNK_TAIL);
        struct headers trailers = {0}, got = {0};
        headers_add(&trailers, &a, HDR_GRPC_STATUS, S("0"));
        assert_true(http1_write_last_chunk(&b, &trailers));
        size_t used;
        assert_int_equal(decode(buf_slice(&b), 1000, &a, &body, &got, &used), HTTP1_DONE);
        assert_int_equal(used, b.n);
        check_slice(buf_slice(&body), data);
        check_slice(headers_value(&got, HDR_GRPC_STATUS), S("0"));
        buf_fini(&b);
        buf_fini(&body);
    }
    arena_fini(&a);
}

/* Wrong: an HTTP/2 client is answered in HTTP/1, or the other way. */
static void test_h2_preface(void **state)
{
    (void)state;
    assert_int_equal(http1_is_h2_preface(S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxx")), HTTP1_DONE);
    assert_int_equal(http1_is_h2_preface(S("PRI * HTTP")), HTTP1_MORE);
    assert_int_equal(http1_is_h2_preface(S("")), HTTP1_MORE);
    assert_int_equal(http1_is_h2_preface(S("PRINT")), HTTP1_BAD);
    assert_int_equal(http1_is_h2_preface(S("GET")), HTTP1_BAD);
}

/* Wrong: HTTP/1.0 is taken where it is allowed, but framed as 1.1. */
static void test_http10(void **state)
{
    (void)state;
    struct arena a = {0};
    const struct http1_limits lim = {.allow_http10 = true};
    struct http1_head h;
    struct http1_progress at = {0};
    assert_int_equal(http1_parse_request(&at, S("GET / HTTP/1.0\r\n\r\n"), &lim, &a, &h),
                     HTTP1_DONE);
    assert_false(h.keep_alive);
    at = (struct http1_progress){0};
    assert_int_equal(
        http1_parse_request(&at, S("GET / HTTP/1.0\r\nExpect: x\r\n\r\n"), &lim, &a, &h),
        HTTP1_DONE);
    assert_null(headers_get(&h.http.headers, HDR_EXPECT)); /* RFC 9110 §10.1.1 */
    at = (struct http1_progress){0};
    struct slice in =
        S("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, upgrade\r\nUpgrade: x\r\n\r\n");
    assert_int_equal(http1_parse_request(&at, in, &lim, &a, &h), HTTP1_DONE);
    assert_true(h.keep_alive && !h.upgrade.n);
    at = (struct http1_progress){0};
    in = S("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_int_equal(http1_parse_request(&at, in, &lim, &a, &h), HTTP1_BAD);
    assert_int_equal(at.fault, HTTP1_BAD_FRAMING); /* RFC 9112 §6.1 */
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_refusals_byte_by_byte),
        cmocka_unit_test(test_request_parts),
        cmocka_unit_test(test_request_targets),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_bound_while_dribbling),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_response_refusals),
        cmocka_unit_test(test_chunked),
        cmocka_unit_test(test_chunked_refusals),
        cmocka_unit_test(test_chunk_extension_bound),
        cmocka_unit_test(test_write_request),
        cmocka_unit_test(test_write_refuses_injection),
        cmocka_unit_test(test_write_response),
        cmocka_unit_test(test_chunk_round_trip),
        cmocka_unit_test(test_h2_preface),
        cmocka_unit_test(test_http10),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
