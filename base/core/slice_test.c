/* If this fails, names of hosts, paths and numbers from outside are read as others than they are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/core/reader.h"
#include "base/core/slice.h"

static void test_compare(void **state)
{
    static const struct {
        const char *a, *b;
        int order;
        bool nocase;
    } cases[] = {
        {"", "", 0, true},       {"a", "", 1, false},   {"a", "a", 0, true},
        {"a", "A", 1, true},     {"ab", "a", 1, false}, {"a", "b", -1, false},
        {"a.b", "A.B", 1, true}, {"[", "{", -1, false}, {"\xff", "a", 1, false},
        {"@", "`", -1, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice a = slice_of(cases[i].a), b = slice_of(cases[i].b);
        int order = slice_cmp(a, b), back = slice_cmp(b, a);
        assert_int_equal((order > 0) - (order < 0), cases[i].order);
        assert_int_equal((back > 0) - (back < 0), -cases[i].order);
        assert_int_equal(slice_eq(a, b), cases[i].order == 0);
        assert_int_equal(slice_eq_nocase(a, b), cases[i].nocase);
    }
}

static void test_parts(void **state)
{
    struct slice head, tail, s = S("a:b:c"), none = {0};
    (void)state;
    assert_true(slice_starts(s, S("a:")) && slice_starts(s, none) && !slice_starts(S("a"), s));
    assert_true(slice_ends(s, S(":c")) && slice_ends(none, none) && !slice_ends(S("c"), s));
    assert_true(slice_contains(s, S("b:")) && slice_contains(none, none));
    assert_false(slice_contains(s, S("bc")));
    assert_int_equal(slice_find(s, ':'), 1);
    assert_int_equal(slice_find_last(s, ':'), 3);
    assert_true(slice_find(s, 'x') == SIZE_MAX && slice_find(none, 'x') == SIZE_MAX);
    assert_true(slice_find_last(none, 'x') == SIZE_MAX);
    assert_true(slice_cut(s, ':', &head, &tail));
    assert_true(slice_eq(head, S("a")) && slice_eq(tail, S("b:c")));
    assert_true(slice_cut_last(s, ':', &head, &tail));
    assert_true(slice_eq(head, S("a:b")) && slice_eq(tail, S("c")));
    assert_false(slice_cut(s, '-', &head, &tail));
    assert_true(slice_eq(head, s) && tail.n == 0);
    assert_true(slice_cut(S("a:"), ':', &head, &tail) && tail.n == 0);
    assert_true(slice_eq(slice_sub(s, 2, 1), S("b")));
    assert_true(slice_eq(slice_sub(s, 4, 100), S("c")));
    assert_int_equal(slice_sub(s, 5, 1).n, 0);
    assert_int_equal(slice_skip(s, 99).n, 0);
    assert_true(slice_eq(slice_trim(S(" \t a b\t ")), S("a b")));
    assert_int_equal(slice_trim(S(" \t ")).n, 0);
    assert_int_equal(slice_trim(none).n, 0);
}

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        bool ok64, ok32;
        uint64_t v;
    } cases[] = {
        {"0", true, true, 0},
        {"007", true, true, 7},
        {"4294967295", true, true, UINT32_MAX},
        {"4294967296", true, false, 4294967296u},
        {"18446744073709551615", true, false, UINT64_MAX},
        {"18446744073709551616", false, false, 0},
        {"99999999999999999999", false, false, 0},
        {"", false, false, 0},
        {"+1", false, false, 0},
        {"-1", false, false, 0},
        {" 1", false, false, 0},
        {"1 ", false, false, 0},
        {"0x1", false, false, 0},
        {"1a", false, false, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t v64 = 42;
        uint32_t v32 = 42;
        assert_int_equal(slice_u64(slice_of(cases[i].text), &v64), cases[i].ok64);
        assert_int_equal(slice_u32(slice_of(cases[i].text), &v32), cases[i].ok32);
        assert_true(v64 == (cases[i].ok64 ? cases[i].v : 42));
        assert_true(v32 == (cases[i].ok32 ? cases[i].v : 42));
    }
}

static void test_cstr(void **state)
{
    char dst[4];
    (void)state;
    assert_true(slice_cstr(S("abc"), dst, sizeof(dst)));
    assert_string_equal(dst, "abc");
    assert_false(slice_cstr(S("abcd"), dst, sizeof(dst)));
    assert_false(slice_cstr(S("a\0b"), dst, sizeof(dst)));
    assert_true(slice_cstr((struct slice){0}, dst, 1));
    assert_false(slice_cstr((struct slice){0}, dst, 0));
}

/* Writes a code point as UTF-8 by the book's four patterns, whatever it is. */
static size_t encode(char *dst, uint32_t c, size_t n)
{
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    if (n == 1) {
        dst[0] = (char)c;
        return 1;
    }
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        dst[i] = (char)(0x80 | (c & 0x3F));
    dst[0] = (char)(lead[n] | c);
    return n;
}

static size_t shortest(uint32_t c)
{
    return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
}

/* Every code point in every length: legal exactly in its shortest form, and never as a surrogate.
 */
static void test_utf8_against_definition(void **state)
{
    static const uint32_t room[] = {0, 0x80, 0x800, 0x10000, 0x200000};
    char text[32];
    (void)state;
    for (size_t n = 1; n <= 4; n++) {
        for (uint32_t c = 0; c < room[n]; c++) {
            bool legal = n == shortest(c) && c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF);
            size_t len = encode(text, c, n);
            if (slice_utf8(slice_mem(text, len)) != legal)
                fail_msg("U+%X in %zu bytes", c, n);
        }
    }
    /* Cut at every place, and behind the fast path for ASCII. */
    memcpy(text, "0123456789abcdef\xE2\x82\xAC", 19);
    for (size_t n = 0; n <= 19; n++)
        assert_int_equal(slice_utf8(slice_mem(text, n)), n <= 16 || n == 19);
    assert_false(slice_utf8(S("\x80")));
    assert_false(slice_utf8(S("\xF8\x88\x80\x80\x80")));
}

static void test_reader(void **state)
{
    static const unsigned char bytes[] = {1,  2,  3,  4,    5, 6, 7, 8, 9, 10,   11,  12,
                                          13, 14, 15, 0xAC, 2, 0, 1, 2, 3, 0x12, 0x34};
    struct reader r = reader_of(slice_mem(bytes, sizeof(bytes)));
    (void)state;
    assert_int_equal(reader_u8(&r), 1);
    assert_int_equal(reader_u16le(&r), 0x0302);
    assert_int_equal(reader_u32le(&r), 0x07060504);
    assert_true(reader_u64le(&r) == 0x0F0E0D0C0B0A0908u);
    assert_int_equal(reader_varint(&r), 300);
    assert_int_equal(reader_bytes(&r, 4).n, 4);
    assert_int_equal(reader_offset(&r), 21);
    assert_int_equal(reader_left(&r), 2);
    assert_false(reader_done(&r));
    assert_int_equal(reader_u16le(&r), 0x3412);
    assert_true(reader_done(&r));
    assert_int_equal(reader_u8(&r), 0);
    assert_false(reader_ok(&r));
}

static void test_reader_failure_sticks(void **state)
{
    struct reader r = reader_of(S("abc"));
    (void)state;
    assert_int_equal(reader_bytes(&r, UINT64_MAX).n, 0);
    assert_false(reader_ok(&r));
    assert_int_equal(reader_u8(&r), 0);
    assert_int_equal(reader_bytes(&r, 1).n, 0);
    assert_int_equal(reader_left(&r), 0);
    assert_int_equal(reader_offset(&r), 0);
    assert_false(reader_done(&r));
    r = reader_of((struct slice){0});
    assert_true(reader_done(&r));
    assert_int_equal(reader_u64le(&r), 0);
    assert_false(reader_ok(&r));
}

static void test_varint(void **state)
{
    static const struct {
        struct slice in;
        bool ok;
        uint64_t v;
    } cases[] = {
        {S_INIT("\x00"), true, 0},
        {S_INIT("\x7F"), true, 127},
        {S_INIT("\x80\x01"), true, 128},
        {S_INIT("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"), true, UINT64_MAX},
        {S_INIT("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02"), false, 0},
        {S_INIT("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), false, 0},
        {S_INIT("\x80"), false, 0},
        {S_INIT(""), false, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct reader r = reader_of(cases[i].in);
        assert_true(reader_varint(&r) == cases[i].v);
        assert_int_equal(reader_ok(&r), cases[i].ok);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_cstr),
        cmocka_unit_test(test_utf8_against_definition),
        cmocka_unit_test(test_reader),
        cmocka_unit_test(test_reader_failure_sticks),
        cmocka_unit_test(test_varint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
