#include "base/wire/header.h"
#include "base/wire/scan.h"
#include "base/wire/test.h"

/* Wrong: a known header gets the id of none, and routing, framing or policy overlooks it. */
static void test_intern_knows_every_name(void **state)
{
    (void)state;
    for (int id = 1; id < HDR_COUNT; id++) {
        struct slice name = header_name((enum header_id)id);
        if (header_intern(name) != (enum header_id)id)
            fail_msg("%.*s belongs in slot %u", SLICE(name), header_slot(name));
        char upper[64];
        for (size_t i = 0; i < name.n; i++)
            upper[i] = name.p[i] >= 'a' && name.p[i] <= 'z' ? (char)(name.p[i] - 32) : name.p[i];
        assert_int_equal(header_intern(slice_mem(upper, name.n)), id);
        upper[name.n - 1] = '~';
        assert_int_equal(header_intern(slice_mem(upper, name.n)), HDR_OTHER);
    }
    assert_int_equal(header_intern(S("")), HDR_OTHER);
    assert_int_equal(header_intern(S("x")), HDR_OTHER);
    assert_int_equal(header_intern(S("hosts")), HDR_OTHER);
}

/* Wrong: a byte class differs from the RFC, and a request that we pass is read differently behind
 * us. */
static void test_scan_classes(void **state)
{
    (void)state;
    for (int i = 0; i < 256; i++) {
        char c = (char)i;
        bool alnum = (i >= '0' && i <= '9') || (i >= 'a' && i <= 'z') || (i >= 'A' && i <= 'Z');
        assert_int_equal(scan_is(c, SCAN_TOKEN), alnum || (i && strchr("!#$%&'*+-.^_`|~", i)));
        assert_int_equal(scan_is(c, SCAN_VALUE), i == 9 || (i >= 32 && i != 127));
        assert_int_equal(scan_is(c, SCAN_TARGET), i > 32 && i < 127 && i != '#');
        assert_int_equal(scan_is(c, SCAN_HOST), alnum || (i && strchr("-._~!$&'()*+;=", i)));
        assert_int_equal(scan_is(c, SCAN_HEX),
                         (i >= '0' && i <= '9') || (i && strchr("abcdefABCDEF", i)));
        assert_int_equal(scan_is(c, SCAN_UNRESERVED), alnum || (i && strchr("-._~", i)));
        assert_int_equal(scan_is(c, SCAN_UPPER), i >= 'A' && i <= 'Z');
    }
}

/* Wrong: the vector search stops at another byte than the table says. */
static void test_scan_vectors_equal_table(void **state)
{
    (void)state;
    char buf[48];
    for (int byte = 0; byte < 256; byte++) {
        for (size_t at = 0; at < sizeof(buf); at++) {
            memset(buf, 'a', sizeof(buf));
            buf[at] = (char)byte;
            const char *end = buf + sizeof(buf);
            assert_ptr_equal(scan_value(buf, end), scan_slow(buf, end, SCAN_VALUE));
            assert_ptr_equal(scan_target(buf, end), scan_slow(buf, end, SCAN_TARGET));
        }
    }
}

/* Wrong: a changed list loses fields, keeps removed ones or reorders values of one name. */
static void test_list_operations(void **state)
{
    (void)state;
    struct arena a = {0};
    struct headers hs = {0};
    headers_add(&hs, &a, HDR_COOKIE, S("a=1"));
    headers_add_name(&hs, &a, S("x-own"), S("1"));
    headers_add_name(&hs, &a, S("cookie"), S("b=2"));
    headers_add_name(&hs, &a, S("x-own"), S("2"));
    assert_int_equal(hs.n, 4);
    const struct header *h = headers_get(&hs, HDR_COOKIE);
    check_slice(h->value, S("a=1"));
    h = headers_next(&hs, h);
    check_slice(h->value, S("b=2"));
    assert_null(headers_next(&hs, h));
    h = headers_next(&hs, headers_find(&hs, S("x-own")));
    check_slice(h->value, S("2"));
    headers_set_name(&hs, &a, S("x-own"), S("3"));
    assert_int_equal(hs.n, 3);
    check_slice(headers_find(&hs, S("x-own"))->value, S("3"));
    assert_int_equal(headers_del(&hs, HDR_COOKIE), 2);
    assert_int_equal(hs.n, 1);
    for (int i = 0; i < 100; i++)
        headers_add(&hs, &a, HDR_VIA, S("v"));
    struct headers copy;
    headers_copy(&copy, &a, &hs, true);
    assert_int_equal(headers_del_name(&hs, S("via")), 100);
    assert_int_equal(copy.n, 101);
    check_slice(copy.p[100].name, S("via"));
    arena_fini(&a);
}

/* Wrong: a hop's own fields reach the next hop, or a peer uses Connection to strip what says who it
 * is. */
static void test_strip_hop(void **state)
{
    (void)state;
    struct arena a = {0};
    struct headers hs = {0};
    headers_add(&hs, &a, HDR_CONNECTION, S("close, X-Mine ,x-forwarded-for"));
    headers_add(&hs, &a, HDR_CONNECTION, S("Authorization,cookie,x-two"));
    headers_add(&hs, &a, HDR_KEEP_ALIVE, S("timeout=5"));
    headers_add(&hs, &a, HDR_TE, S("gzip, trailers"));
    headers_add(&hs, &a, HDR_TE, S("deflate"));
    headers_add(&hs, &a, HDR_TRANSFER_ENCODING, S("chunked"));
    headers_add(&hs, &a, HDR_UPGRADE, S("h2c"));
    headers_add(&hs, &a, HDR_HTTP2_SETTINGS, S("AAMAAABkAAQAAP__"));
    headers_add(&hs, &a, HDR_X_FORWARDED_FOR, S("1.2.3.4"));
    headers_add(&hs, &a, HDR_AUTHORIZATION, S("Bearer x"));
    headers_add(&hs, &a, HDR_COOKIE, S("a=b"));
    headers_add_name(&hs, &a, S("x-mine"), S("1"));
    headers_add_name(&hs, &a, S("x-two"), S("2"));
    headers_add_name(&hs, &a, S("x-three"), S("3"));
    headers_strip_hop(&hs);
    static const struct slice left[] = {S_INIT("te"), S_INIT("x-forwarded-for"),
                                        S_INIT("authorization"), S_INIT("cookie"),
                                        S_INIT("x-three")};
    assert_int_equal(hs.n, ARRAY_LEN(left));
    for (uint32_t i = 0; i < hs.n; i++)
        check_slice(hs.p[i].name, left[i]);
    check_slice(hs.p[0].value, S("trailers"));
    arena_fini(&a);
}

/* Wrong: list syntax is read in another way than by the peer. */
static void test_tokens(void **state)
{
    (void)state;
    assert_true(header_has_token(S("a, Chunked ,b"), S("chunked")));
    assert_false(header_has_token(S("a, xchunked"), S("chunked")));
    assert_false(header_has_token(S(""), S("chunked")));
    struct slice rest = S(" , a ,,b\t"), item;
    assert_true(header_next_token(&rest, &item));
    check_slice(item, S("a"));
    assert_true(header_next_token(&rest, &item));
    check_slice(item, S("b"));
    assert_false(header_next_token(&rest, &item));
}

/* Wrong: a name with user information, a list or a bad port is routed as if it were a host. */
static void test_authority(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok, with_port;
    } cases[] = {
        {"a", true, false},
        {"a.b-c_d.example", true, false},
        {"a:80", true, true},
        {"a:65535", true, true},
        {"[::1]", true, false},
        {"[::1]:80", true, true},
        {"10.0.0.1:1", true, true},
        {"", false, false},
        {":80", false, false},
        {"a:", false, false},
        {"a:65536", false, false},
        {"a:+1", false, false},
        {"a:000080", false, false},
        {"u@a", false, false},
        {"a/b", false, false},
        {"a,b", false, false},
        {"a b", false, false},
        {"a\\b", false, false},
        {"a%41", false, false},
        {"[::1", false, false},
        {"[::1]a", false, false},
        {"[]", false, false},
        {"a:80:80", false, false},
        {"a?b", false, false},
        {"a#b", false, false},
        {"\xc3\xa9", false, false},
        {"[::1%25eth0]", false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice s = slice_of(cases[i].text);
        if (http_authority_ok(s, false) != cases[i].ok ||
            http_authority_ok(s, true) != (cases[i].ok && cases[i].with_port))
            fail_msg("authority \"%s\"", cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_intern_knows_every_name),
        cmocka_unit_test(test_scan_classes),
        cmocka_unit_test(test_scan_vectors_equal_table),
        cmocka_unit_test(test_list_operations),
        cmocka_unit_test(test_strip_hop),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_authority),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
