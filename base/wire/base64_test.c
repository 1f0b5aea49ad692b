/* If this fails, secrets and tokens that peers send are read as other bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/wire/base64.h"

static void test_vectors(void **state)
{
    (void)state;
    /* RFC 4648 §10, and what the two alphabets differ in. */
    static const struct {
        const char *bytes, *text, *url;
    } cases[] = {{"", "", ""},
                 {"f", "Zg==", "Zg"},
                 {"fo", "Zm8=", "Zm8"},
                 {"foo", "Zm9v", "Zm9v"},
                 {"foob", "Zm9vYg==", "Zm9vYg"},
                 {"fooba", "Zm9vYmE=", "Zm9vYmE"},
                 {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
                 {"\xfb\xff\xfe", "+//+", "-__-"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = {0}, u = {0}, back = {0};
        assert_true(base64_encode(&b, slice_of(cases[i].bytes)));
        assert_true(base64url_encode(&u, slice_of(cases[i].bytes)));
        assert_true(slice_eq(buf_slice(&b), slice_of(cases[i].text)));
        assert_true(slice_eq(buf_slice(&u), slice_of(cases[i].url)));
        assert_true(base64_decode(&back, buf_slice(&b)));
        assert_true(base64_decode(&back, buf_slice(&u)));
        assert_int_equal(back.n, 2 * strlen(cases[i].bytes));
        buf_fini(&b);
        buf_fini(&u);
        buf_fini(&back);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {"Z",
                                      "Zg=",
                                      "Zg===",
                                      "=",
                                      "Zh==",
                                      "Zm9=",
                                      "Zm 9v",
                                      "Zm9v\n",
                                      "Zg==Zg==",
                                      "Z=g=",
                                      "Zm9vY",
                                      ("\xc3\xa9"
                                       "aa")};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf b = {0};
        if (base64_decode(&b, slice_of(bad[i])))
            fail_msg("\"%s\" was accepted", bad[i]);
        buf_fini(&b);
    }
    struct buf small = {.limit = 2};
    assert_false(base64_decode(&small, S("Zm9v")));
    buf_fini(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors),
                                       cmocka_unit_test(test_refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
