/* If these failed, a proxy that has left a node that hangs would count there for ever, or one that
 * has not would be taken for another's. */
#include "pilot/roster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define LAST 9 /* ends a list */

static struct roster of(const uint64_t *list)
{
    struct roster r = {0};
    for (; *list != LAST; list++)
        roster_add(&r, *list);
    return r;
}

static void missing(void **state)
{
    static const struct {
        uint64_t here[6], there[2][6];
        uint32_t want;
    } cases[] = {
        {{LAST}, {{1, LAST}, {LAST}}, 0},
        {{1, 2, 3, LAST}, {{LAST}, {LAST}}, 3},
        {{3, 1, 2, LAST}, {{2, LAST}, {LAST}}, 2},
        {{3, 1, 2, LAST}, {{2, 1, LAST}, {3, LAST}}, 0},
        {{3, 1, 2, LAST}, {{4, 0, 5, LAST}, {LAST}}, 3}, /* strangers are nobody's replacement */
        {{1, LAST}, {{1, LAST}, {1, LAST}}, 0},
        {{1, 1, 2, LAST}, {{1, 2, LAST}, {LAST}}, 1}, /* two of one name, and one has come */
        {{1, 1, 2, LAST}, {{1, LAST}, {2, 1, LAST}}, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct roster r = of(cases[i].here), a = of(cases[i].there[0]), b = of(cases[i].there[1]);
        const struct roster *others[] = {&a, &b};
        uint32_t got = roster_missing(&r, others, 2);
        if (got != cases[i].want)
            fail_msg("case %zu: %u are missing, not %u", i, got, cases[i].want);
        roster_fini(&r);
        roster_fini(&a);
        roster_fini(&b);
    }
}

static void comes_and_goes_in_any_order(void **state)
{
    struct roster r = {0};
    (void)state;
    for (uint64_t i = 0; i < 100; i++)
        roster_add(&r, i * 37 % 50);
    for (size_t i = 1; i < r.n; i++)
        assert_true(r.p[i - 1] <= r.p[i]);
    for (uint64_t i = 0; i < 100; i++)
        roster_remove(&r, i * 11 % 50);
    assert_int_equal(r.n, 0);
    roster_fini(&r);
}

static void bytes_there_and_back(void **state)
{
    static const uint64_t list[] = {7, UINT64_MAX, 1, 7, LAST};
    struct roster r = of(list), back = {0};
    struct buf bytes = {0};
    struct err err;
    (void)state;
    roster_encode(&r, &bytes);
    assert_true(roster_is(buf_slice(&bytes)));
    assert_true(roster_decode(buf_slice(&bytes), &back, &err));
    assert_int_equal(back.n, 4);
    assert_memory_equal(back.p, r.p, 4 * sizeof(r.p[0]));
    struct roster untouched = back;
    for (size_t n = 0; n < bytes.n; n++)
        assert_false(roster_decode(slice_sub(buf_slice(&bytes), 0, n), &back, &err));
    bytes.p[bytes.at + 5 + 8] = 0; /* the second is below the first */
    assert_false(roster_decode(buf_slice(&bytes), &back, &err));
    assert_memory_equal(&back, &untouched, sizeof(back));
    roster_fini(&r);
    roster_fini(&back);
    buf_fini(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing),
        cmocka_unit_test(comes_and_goes_in_any_order),
        cmocka_unit_test(bytes_there_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
