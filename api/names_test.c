/* If these fail, a name that breaks keys or wire formats is let in, or a time-out means another
 * span than its writer meant. */
#include "api/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "api/duration.h"

typedef bool predicate(struct slice s);

static void expect(predicate *is, const char *const *yes, const char *const *no)
{
    for (; *yes; yes++)
        if (!is(slice_of(*yes)))
            fail_msg("\"%s\" is refused", *yes);
    for (; *no; no++)
        if (is(slice_of(*no)))
            fail_msg("\"%s\" is let in", *no);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define L63 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg"

static void predicates(void **state)
{
    (void)state;
    expect(name_is_label, WORDS("a", "a-b", "1a", L63),
           WORDS("", "-a", "a-", "A", "a.b", "a_b", L63 "h"));
    expect(name_is_label_1035, WORDS("a", "a1"), WORDS("1a", ""));
    expect(name_is_subdomain, WORDS("a", "a.b-c.d", "1.2"),
           WORDS("", ".a", "a.", "a..b", "a.-b", "A.b", "a/b"));
    expect(name_is_qualified, WORDS("app", "a.b/C_d.e", "kubernetes.io/service-name"),
           WORDS("", "/a", "a/", "A/b", "a/b/c", "-a", "a b"));
    expect(name_is_label_value, WORDS("", "A", "v1.0_b-c"), WORDS("-a", "a-", "a b", L63 "h"));
    expect(name_is_port, WORDS("http", "a1-b"), WORDS("", "80", "a--b", "A", "abcdefghijklmnop"));
    expect(name_is_host, WORDS("a", "A.b", "a_b.c", "a.b."),
           WORDS("", ".", "a..b", "*.a", "a b", "-a.b"));
    expect(name_is_wildcard_host, WORDS("*", "*.a.com", "*a.com", "*-a.com", "a.com"),
           WORDS("", "a.*", "**", "*.", "a.*.b"));
    expect(name_is_token, WORDS("x-user", "a!b"), WORDS("", "a b", "a:b", "a\tb", "\xc3\xa9"));
    expect(name_is_ip, WORDS("1.2.3.4", "::1", "fe80::1"),
           WORDS("", "1.2.3", "1.2.3.4.5", "01.2.3.4x", "::g"));
    expect(name_is_cidr, WORDS("1.2.3.4", "10.0.0.0/8", "::/0", "::1/128"),
           WORDS("", "10.0.0.0/33", "10.0.0.0/", "a/8", "::/129", "10.0.0.0/8/8"));
}

static void wildcards_cover(void **state)
{
    (void)state;
    assert_true(name_host_covers(S("*.com"), S("a.com")));
    assert_true(name_host_covers(S("*.com"), S("*.a.com")));
    assert_true(name_host_covers(S("*"), S("a")));
    assert_true(name_host_covers(S("A.com"), S("a.COM")));
    assert_false(name_host_covers(S("*.a.com"), S("*.com")));
    assert_false(name_host_covers(S("*.com"), S("com")));
    assert_false(name_host_covers(S("a.com"), S("*.com")));
}

static struct slice suggested(const char *word, const char *const *candidates)
{
    struct name_suggest s = {.word = slice_of(word)};
    for (; *candidates; candidates++)
        name_suggest_try(&s, slice_of(*candidates));
    return s.best;
}

static void suggests_what_is_near(void **state)
{
    const char *const *fields = WORDS("hosts", "gateways", "http", "tls", "tcp", "exportTo");
    (void)state;
    assert_true(slice_eq(suggested("htp", fields), S("http")));
    assert_true(slice_eq(suggested("hsots", fields), S("hosts"))); /* a swap is one edit */
    assert_true(slice_eq(suggested("exportto", fields), S("exportTo")));
    assert_int_equal(suggested("routes", fields).n, 0);
    assert_int_equal(suggested("", fields).n, 0);
}

static void durations(void **state)
{
    static const struct {
        const char *text;
        int64_t ns; /* INT64_MIN: refused */
    } cases[] = {
        {"5s", 5000000000},
        {"1h30m", 5400000000000},
        {"1.5s", 1500000000},
        {".5s", 500000000},
        {"1.s", 1000000000},
        {"300ms", 300000000},
        {"1us", 1000},
        {"1\xC2\xB5s", 1000},
        {"-5s", -5000000000},
        {"+5s", 5000000000},
        {"0", 0},
        {"0s", 0},
        {"1m0.000000001s", 60000000001},
        {"2562047h47m16.854775807s", INT64_MAX},
        {"2562047h47m16.854775808s", INT64_MIN},
        {"99999999999h", INT64_MIN},
        {"", INT64_MIN},
        {"-", INT64_MIN},
        {"5", INT64_MIN},
        {"s", INT64_MIN},
        {".s", INT64_MIN},
        {"5 s", INT64_MIN},
        {"5x", INT64_MIN},
        {"5s5", INT64_MIN},
        {"1..5s", INT64_MIN},
        {"1d", INT64_MIN},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t ns = INT64_MIN;
        bool ok = duration_parse(slice_of(cases[i].text), &ns);
        if (ok != (cases[i].ns != INT64_MIN) || (ok && ns != cases[i].ns))
            fail_msg("\"%s\": %lld", cases[i].text, (long long)ns);
    }
    assert_int_equal(duration_ms(S("1500us"), -1), 2);
    assert_int_equal(duration_ms(S("2s"), -1), 2000);
    assert_int_equal(duration_ms(S(""), 7), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(predicates),
        cmocka_unit_test(wildcards_cover),
        cmocka_unit_test(suggests_what_is_near),
        cmocka_unit_test(durations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
