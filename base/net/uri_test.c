/* If this fails, a label selector or an object's name in a URL selects other objects than meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/net/uri.h"

static void test_decode(void **state)
{
    static const struct {
        const char *in, *plain, *form; /* NULL = refused */
    } cases[] = {
        {"", "", ""},
        {"abc", "abc", "abc"},
        {"a%20b", "a b", "a b"},
        {"a+b", "a+b", "a b"},
        {"a%2Bb+c", "a+b+c", "a+b c"},
        {"%41%7a", "Az", "Az"},
        {"%e2%80%A6", "\xE2\x80\xA6", "\xE2\x80\xA6"},
        {"%00", NULL, NULL},
        {"%", NULL, NULL},
        {"%4", NULL, NULL},
        {"%4g", NULL, NULL},
        {"%%41", NULL, NULL},
    };
    struct arena a = {0};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice out, in = slice_of(cases[i].in);
        bool ok = uri_decode(in, &a, &out);
        assert_int_equal(ok, cases[i].plain != NULL);
        assert_true(!ok || slice_eq(out, slice_of(cases[i].plain)));
        ok = uri_decode_form(in, &a, &out);
        assert_int_equal(ok, cases[i].form != NULL);
        assert_true(!ok || slice_eq(out, slice_of(cases[i].form)));
    }
    arena_fini(&a);
}

static void test_encode_round_trip(void **state)
{
    struct arena a = {0};
    char all[255];
    struct slice back;
    (void)state;
    assert_true(slice_eq(uri_encode(S("a/b c~1=%"), &a), S("a%2Fb%20c~1%3D%25")));
    for (size_t i = 0; i < sizeof(all); i++)
        all[i] = (char)(i + 1);
    struct slice text = uri_encode(slice_mem(all, sizeof(all)), &a);
    assert_true(uri_decode(text, &a, &back));
    assert_true(slice_eq(back, slice_mem(all, sizeof(all))));
    assert_true(uri_decode_form(text, &a, &back));
    assert_true(slice_eq(back, slice_mem(all, sizeof(all))));
    arena_fini(&a);
}

static void test_query(void **state)
{
    struct arena a = {0};
    struct slice v, q = S("&a=1&&b=x%3Dy+z&flag&a=2&bad=%zz&e=");
    (void)state;
    assert_true(uri_query_get(q, S("a"), &a, &v) && slice_eq(v, S("1")));
    assert_true(uri_query_get(q, S("b"), &a, &v) && slice_eq(v, S("x=y z")));
    assert_true(uri_query_get(q, S("flag"), &a, &v) && v.n == 0);
    assert_true(uri_query_get(q, S("e"), &a, &v) && v.n == 0);
    assert_false(uri_query_get(q, S("bad"), &a, &v));
    assert_true(uri_query_has(q, S("bad")));
    assert_false(uri_query_has(q, S("fla")));
    assert_false(uri_query_has(S(""), S("")));
    int n = 0;
    struct slice name;
    while (uri_query_next(&q, &name, &v))
        n++;
    assert_int_equal(n, 6);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_encode_round_trip),
        cmocka_unit_test(test_query),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
