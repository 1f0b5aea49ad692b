#include "mixer/format.h"

#include "base/wire/test.h"
#include "mixer/access_log.h"

struct fixture {
    struct arena arena;
    struct http_head head;
    struct headers response;
    struct env_addr local;
    struct record r;
};

static void fixture_init(struct fixture *f)
{
    *f = (struct fixture){0};
    f->head = (struct http_head){.method = S("GET"),
                                 .path = S("/v2/x?q=1"),
                                 .authority = S("reviews:9080"),
                                 .scheme = S("http")};
    headers_add_name(&f->head.headers, &f->arena, S("user-agent"), S("curl/8 \"x\"\n\\"));
    headers_add_name(&f->head.headers, &f->arena, S("x-request-id"), S("id-1"));
    headers_add_name(&f->response, &f->arena, S("x-kind"), S("blue"));
    assert_true(env_addr_parse(&f->local, S("127.1.0.4:9080"), NULL));
    f->r = (struct record){
        .start_wall_ms = 1764009532123,
        .end_ns = 12900000,
        .response_first_ns = 10000000,
        .protocol = RECORD_HTTP11,
        .request = &f->head,
        .original_path = S("/x?q=1"),
        .response = &f->response,
        .status = 503,
        .grpc_status = -1,
        .flags = FLAG_UF | FLAG_URX,
        .details = S("upstream_reset"),
        .bytes_received = 7,
        .bytes_sent = 91,
        .has_upstream_service = true,
        .upstream_service_ms = 4,
        .upstream_host = S("10.0.0.1:80"),
        .upstream_cluster = S("outbound|9080||reviews"),
        .downstream_local = &f->local,
        .attempts = 3,
    };
}

/* Wrong: people's log pipelines, written for Envoy's names, read something else. */
static void test_commands(void **state)
{
    (void)state;
    static const struct {
        const char *format, *want;
    } cases[] = {
        {"plain", "plain"},
        {"100%%", "100%"},
        {"%START_TIME%", "2025-11-24T18:38:52.123Z"},
        {"%START_TIME(%Y/%m %H:%M)%", "2025/11 18:38"},
        {"%REQ(:METHOD)% %REQ(:AUTHORITY)%", "GET reviews:9080"},
        {"%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/x?q=1"},
        {"%REQ(:PATH)%", "/v2/x?q=1"},
        {"%REQ(:PATH):5%", "/v2/x"},
        {"%REQ(NOPE?X-REQUEST-ID)%", "id-1"},
        {"%REQ(NOPE)%", "-"},
        {"%REQ(USER-AGENT)%", "curl/8 \\x22x\\x22\\x0a\\x5c"},
        {"%RESP(X-KIND)% %TRAILER(X)%", "blue -"},
        {"%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "4"},
        {"%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS%", "HTTP/1.1 503 UF,URX"},
        {"%RESPONSE_FLAGS_LONG%", "UpstreamConnectionFailure,UpstreamRetryLimitExceeded"},
        {"%BYTES_RECEIVED% %BYTES_SENT% %DURATION%", "7 91 12"},
        {"%RESPONSE_DURATION% %RESPONSE_TX_DURATION% %REQUEST_DURATION%", "10 2 -"},
        {"%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
         "127.1.0.4:9080 127.1.0.4"},
        {"%DOWNSTREAM_LOCAL_PORT% %DOWNSTREAM_REMOTE_ADDRESS%", "9080 -"},
        {"%UPSTREAM_HOST% %UPSTREAM_CLUSTER%", "10.0.0.1:80 outbound|9080||reviews"},
        {"%UPSTREAM_REQUEST_ATTEMPT_COUNT% %GRPC_STATUS% %DYNAMIC_METADATA(a:b)%", "3 - -"},
    };
    struct fixture f;
    fixture_init(&f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct buf out = {0};
        struct format *fmt = format_new(slice_of(cases[i].format), &err);
        if (!fmt)
            fail_msg("%s: %s", cases[i].format, err.msg);
        assert_true(format_write(fmt, &f.r, FORMAT_TEXT, &out));
        check_slice(buf_slice(&out), slice_of(cases[i].want));
        buf_fini(&out);
        format_free(fmt);
    }
    arena_fini(&f.arena);
}

/* Wrong: a typing error in a log format shows up as an empty column weeks later. */
static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"%NOPE%",  "%REQ%",          "%REQ()%",
                                      "50% off", "%START_TIME",    "%PROTOCOL(x)%",
                                      "%REQ(a%", "%REQ(:PATH):x%", "%RESPONSE_code%"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = {0};
        if (format_new(slice_of(bad[i]), &err))
            fail_msg("%s was taken", bad[i]);
        assert_int_equal(err.code, ERR_INVALID);
    }
}

/* Wrong: a peer's bytes make a second log line or a second header. */
static void test_injection(void **state)
{
    (void)state;
    for (int json = 0; json < 2; json++) {
        struct fixture f;
        struct buf out = {0};
        fixture_init(&f);
        struct access_log *log = access_log_new((struct slice){0}, json, NULL);
        for (int c = 0; c < 256; c++) {
            char byte = (char)c;
            f.head.path = f.head.authority = f.r.original_path = f.r.server_name =
                (struct slice){&byte, 1};
            buf_clear(&out);
            assert_true(access_log_line(log, &f.r, &out));
            struct slice line = buf_slice(&out);
            assert_int_equal(slice_find(line, '\n'), line.n - 1);
            for (size_t i = 0; i + 1 < line.n; i++)
                assert_in_range((unsigned char)line.p[i], 0x20, 0x7e);
        }
        access_log_free(log);
        buf_fini(&out);
        arena_fini(&f.arena);
    }
    struct fixture f;
    struct slice value;
    fixture_init(&f);
    assert_true(format_value(S("a%REQ(USER-AGENT)%b%REQ(NOPE)%"), &f.r, &f.arena, &value));
    check_slice(value, S("acurl/8 \"x\"\\b"));
    arena_fini(&f.arena);
}

/* Wrong: the default line is not the one that Istio's parsers know. */
static void test_default_line(void **state)
{
    (void)state;
    struct fixture f;
    struct buf out = {0};
    fixture_init(&f);
    headers_del(&f.head.headers, HDR_USER_AGENT);
    struct access_log *log = access_log_new((struct slice){0}, false, NULL);
    assert_true(access_log_line(log, &f.r, &out));
    check_slice(
        buf_slice(&out),
        S("[2025-11-24T18:38:52.123Z] \"GET /x?q=1 HTTP/1.1\" 503 UF,URX upstream_reset - \"-\" "
          "7 91 12 4 \"-\" \"-\" \"id-1\" \"reviews:9080\" \"10.0.0.1:80\" "
          "outbound|9080||reviews - 127.1.0.4:9080 - - -\n"));
    assert_false(access_log_reads_response(log));
    out.limit = out.n + 10;
    assert_false(access_log_line(log, &f.r, &out)); /* full: the buffer stays as it was */
    assert_int_equal(out.n, out.limit - 10);
    access_log_free(log);
    buf_fini(&out);
    arena_fini(&f.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_injection),
        cmocka_unit_test(test_default_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
