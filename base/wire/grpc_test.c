#include "base/wire/grpc.h"
#include "base/wire/h2.h"
#include "base/wire/test.h"

/* Wrong: messages are cut, joined or lost when the bytes come in other pieces. */
static void test_deframe_any_split(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 5, 0, 300, 70000, 2};
    struct buf in = {0};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char head[GRPC_FRAME_HEAD];
        grpc_frame_head(head, (uint32_t)sizes[i]);
        buf_append(&in, slice_mem(head, sizeof(head)));
        for (size_t k = 0; k < sizes[i]; k++)
            buf_append_byte(&in, (char)(i + k));
    }
    for (size_t step = 1; step < in.n; step = step * 2 + 1) {
        struct grpc_deframer d = {0};
        size_t found = 0;
        for (size_t at = 0; at < in.n; at += step) {
            struct slice piece = slice_sub(buf_slice(&in), at, step), message;
            while (grpc_deframe(&d, &piece, &message, NULL) == GRPC_MESSAGE) {
                assert_int_equal(message.n, sizes[found]);
                for (size_t k = 0; k < message.n; k++)
                    assert_int_equal((uint8_t)message.p[k], (uint8_t)(found + k));
                found++;
            }
            assert_int_equal(piece.n, 0);
        }
        assert_int_equal(found, ARRAY_LEN(sizes));
        assert_false(grpc_deframer_partial(&d));
        grpc_deframer_fini(&d);
    }
    buf_fini(&in);
}

/* Wrong: a peer's length makes us allocate, or a message passes that we cannot read. */
static void test_deframe_refuses(void **state)
{
    (void)state;
    static const struct {
        struct slice in;
        enum err_code code;
    } cases[] = {
        {S_INIT("\1\0\0\0\1a"), ERR_UNSUPPORTED},
        {S_INIT("\2\0\0\0\1a"), ERR_INVALID},
        {S_INIT("\0\0\0\0\x0b"), ERR_LIMIT},
        {S_INIT("\0\xff\xff\xff\xff"), ERR_LIMIT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct grpc_deframer d = {.message_bytes_max = 10};
        struct slice in = cases[i].in, message;
        struct err err;
        assert_int_equal(grpc_deframe(&d, &in, &message, &err), GRPC_BAD);
        assert_int_equal(err.code, cases[i].code);
        grpc_deframer_fini(&d);
    }
    struct grpc_deframer d = {.message_bytes_max = 1u << 30};
    struct slice in = S("\0\x30\0\0\0abc"), message;
    assert_int_equal(grpc_deframe(&d, &in, &message, NULL), GRPC_MORE);
    assert_true(d.partial.cap < 100000);
    assert_true(grpc_deframer_partial(&d));
    grpc_deframer_fini(&d);
}

/* Wrong: deadlines differ between hops. */
static void test_timeout(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        wf_ms ms;
    } good[] = {{"1H", 3600000}, {"2M", 120000},
                {"3S", 3000},    {"4m", 4},
                {"1u", 1},       {"1001u", 2},
                {"1n", 1},       {"1000001n", 2},
                {"0S", 0},       {"99999999H", 359999996400000}};
    static const char *const bad[] = {"",    "1",   "S",   "123456789S", "1s",
                                      "-1S", "+1S", "1 S", "1.5S"};
    wf_ms ms;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(grpc_timeout_parse(slice_of(good[i].text), &ms));
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(grpc_timeout_parse(slice_of(bad[i]), &ms));
    char text[GRPC_TIMEOUT_TEXT];
    check_slice(grpc_timeout_format(99999999, text), S("99999999m"));
    check_slice(grpc_timeout_format(100000000, text), S("100000S"));
    check_slice(grpc_timeout_format(-5, text), S("0m"));
    check_slice(grpc_timeout_format(INT64_MAX, text), S("99999999H"));
}

/* Wrong: an error text breaks the header block, or is not what the server wrote. */
static void test_message(void **state)
{
    (void)state;
    struct arena a = {0};
    check_slice(grpc_message_encode(S("route \"a\": 50% of\nb\xc3\xa9"), &a),
                S("route \"a\": 50%25 of%0Ab%C3%A9"));
    check_slice(grpc_message_encode(S(" a b "), &a), S("%20a b%20"));
    check_slice(grpc_message_decode(S("50%25%0Ab%C3%A9"), &a), S("50%\nb\xc3\xa9"));
    check_slice(grpc_message_decode(S("%zz%4"), &a), S("%zz%4"));
    char all[255];
    for (int i = 0; i < 255; i++)
        all[i] = (char)(i + 1);
    struct slice text = slice_mem(all, sizeof(all));
    struct slice wire = grpc_message_encode(text, &a);
    assert_true(header_value_ok(wire));
    check_slice(grpc_message_decode(wire, &a), text);
    struct slice longer = arena_printf(&a, "%0*d", 5000, 1);
    assert_int_equal(grpc_message_encode(longer, &a).n, GRPC_ERROR_BYTES);
    arena_fini(&a);
}

/* Wrong: a status changes its meaning on the way through us. */
static void test_status(void **state)
{
    (void)state;
    struct arena a = {0};
    for (int i = 0; i < GRPC_STATUS_COUNT; i++) {
        enum grpc_status back;
        struct headers t;
        int status;
        struct slice message;
        assert_true(grpc_status_parse(slice_of(grpc_status_name(i)), &back));
        assert_int_equal(back, i);
        grpc_trailers(&t, &a, i, S("why"));
        assert_true(grpc_status_read(&t, &a, &status, &message));
        assert_int_equal(status, i);
        check_slice(message, S("why"));
    }
    assert_string_equal(grpc_status_name(99), "UNKNOWN");
    assert_int_equal(grpc_status_of_http(503), GRPC_UNAVAILABLE);
    assert_int_equal(grpc_status_of_http(404), GRPC_UNIMPLEMENTED);
    assert_int_equal(grpc_status_of_http(200), GRPC_UNKNOWN);
    assert_int_equal(grpc_status_of_h2(H2_REFUSED_STREAM), GRPC_UNAVAILABLE);
    assert_int_equal(grpc_status_of_h2(H2_CANCEL), GRPC_CANCELLED);
    struct headers t = {0};
    int status;
    struct slice message;
    assert_false(grpc_status_read(&t, &a, &status, &message));
    headers_add(&t, &a, HDR_GRPC_STATUS, S("77"));
    assert_true(grpc_status_read(&t, &a, &status, &message));
    assert_int_equal(status, GRPC_UNKNOWN);
    arena_fini(&a);
}

/* Wrong: a request that is not gRPC is answered as if it were. */
static void test_content_type(void **state)
{
    (void)state;
    assert_true(grpc_content_type(S("application/grpc")));
    assert_true(grpc_content_type(S("application/grpc+proto")));
    assert_true(grpc_content_type(S("Application/gRPC; charset=utf-8")));
    assert_false(grpc_content_type(S("application/grpc-web")));
    assert_false(grpc_content_type(S("application/json")));
    assert_false(grpc_content_type(S("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deframe_any_split),
        cmocka_unit_test(test_deframe_refuses),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_message),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_content_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
