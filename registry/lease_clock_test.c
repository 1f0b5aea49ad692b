/* If these fail, a machine that lives is thrown out of the registry after an election, a pause or a
 * cut, or one that is gone stays. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "registry/lease_clock.h"

#define TTL 10000
#define GRACE 300
#define TICK 100

static void set(struct lease_clock *c, int i, reg_rev rev, bool registration, wf_ms now)
{
    char key[16];
    snprintf(key, sizeof(key), "l%d", i);
    lease_clock_set(c,
                    &(struct reg_lease){.key = slice_of(key),
                                        .holder = S("x"),
                                        .id = (uint64_t)i,
                                        .rev = rev,
                                        .epoch = 1,
                                        .ttl_ms = TTL,
                                        .registration = registration},
                    now);
}

static bool renew(struct lease_clock *c, int i, wf_ms now)
{
    char key[16];
    snprintf(key, sizeof(key), "l%d", i);
    return lease_clock_renew(c, slice_of(key), 1, now);
}

/* Ticks until `end`; how many were given, the last of them in *last. */
static size_t run(struct lease_clock *c, wf_ms *now, wf_ms end, struct lease_due *last)
{
    struct lease_due due[64];
    size_t sum = 0, n;
    for (; *now < end; *now += TICK)
        if ((n = lease_clock_step(c, *now, due, 64))) {
            sum += n;
            *last = due[n - 1];
        }
    return sum;
}

static struct lease_clock clock_new(int leases, bool registration)
{
    struct lease_clock c;
    lease_clock_init(&c, GRACE, LEASE_RATE_MAX_DEFAULT);
    for (int i = 0; i < leases; i++)
        set(&c, i, 1, registration, 0);
    lease_clock_lead(&c, 0);
    return c;
}

static void who_is_silent_goes(void **state)
{
    (void)state;
    struct lease_clock c = clock_new(2, true);
    struct lease_due due = {0};
    wf_ms now = 0;
    assert_int_equal(run(&c, &now, 6000, &due), 0);
    assert_true(renew(&c, 1, now));
    assert_int_equal(run(&c, &now, TTL + GRACE, &due), 0);
    assert_int_equal(run(&c, &now, TTL + GRACE + 2 * TICK, &due), 1);
    assert_true(slice_eq(due.key, S("l0")));
    assert_false(renew(&c, 0, now)); /* it has lost it */
    assert_int_equal(run(&c, &now, 6000 + TTL - TICK, &due), 0);
    assert_int_equal(run(&c, &now, 6000 + TTL + 2 * TICK, &due), 1);
    assert_true(slice_eq(due.key, S("l1")));
    assert_int_equal(run(&c, &now, 60000, &due), 0); /* each once */
    lease_clock_failed(&c, S("l0"), 1);
    lease_clock_failed(&c, S("l1"), 7); /* another grant's */
    assert_int_equal(run(&c, &now, now + 2 * TICK, &due), 1);
    set(&c, 0, 2, true, now); /* granted again before that write came */
    assert_true(renew(&c, 0, now));
    lease_clock_fini(&c);
}

static void others_epochs_are_no_sign_of_life(void **state)
{
    (void)state;
    struct lease_clock c = clock_new(1, true);
    assert_false(lease_clock_renew(&c, S("l0"), 2, 0));
    assert_false(lease_clock_renew(&c, S("l9"), 1, 0));
    assert_true(lease_clock_renew(&c, S("l0"), 1, 0));
    lease_clock_fini(&c);
}

static void a_new_leader_has_heard_nobody(void **state)
{
    (void)state;
    struct lease_clock c = clock_new(5, true);
    struct lease_due due;
    wf_ms now = 0;
    lease_clock_follow(&c);
    assert_int_equal(run(&c, &now, 50000, &due), 0);
    lease_clock_lead(&c, now);
    assert_int_equal(run(&c, &now, 50000 + TTL + GRACE, &due), 0);
    assert_int_equal(run(&c, &now, now + 2 * TICK, &due), 5);
    lease_clock_fini(&c);
}

static void pauses_are_given_back(void **state)
{
    (void)state;
    struct lease_clock c = clock_new(1, true);
    struct lease_due due;
    wf_ms now = 0;
    assert_int_equal(run(&c, &now, 8000, &due), 0);
    now += 30000; /* stopped */
    assert_int_equal(run(&c, &now, 38000 + 2000, &due), 0);
    assert_int_equal(run(&c, &now, 38000 + 2700, &due), 1);
    lease_clock_fini(&c);
}

static void expiry_has_a_rate(void **state)
{
    (void)state;
    struct lease_clock c;
    struct lease_due due[64];
    size_t sum = 0;
    lease_clock_init(&c, 0, 100);
    for (int i = 0; i < 500; i++)
        set(&c, i, 1, false, 0);
    lease_clock_lead(&c, 0);
    for (wf_ms now = 0; now < TTL + 2000; now += 50)
        sum += lease_clock_step(&c, now, due, 64);
    assert_in_range(sum, 250, 310); /* what was saved up for a second, and two seconds */
    lease_clock_fini(&c);
}

static void many_at_once_are_held_back(void **state)
{
    (void)state;
    struct lease_clock c = clock_new(60, true);
    struct lease_due due;
    wf_ms now = 0;
    run(&c, &now, 5000, &due);
    for (int i = 0; i < 30; i++)
        renew(&c, i, now);
    assert_int_equal(run(&c, &now, TTL + GRACE + 2000, &due), 0); /* 30 of 60 */
    assert_true(c.holds);
    assert_int_equal(c.due, 30);
    for (int i = 0; i < 45; i++) /* 15 come back */
        assert_true(renew(&c, i, now));
    assert_int_equal(run(&c, &now, now + 1000, &due), 15);
    assert_false(c.holds);
    lease_clock_fini(&c);
}

static void what_is_held_back_may_be_approved(void **state)
{
    (void)state;
    struct lease_clock c = clock_new(60, true);
    struct lease_due due;
    wf_ms now = 0;
    assert_int_equal(run(&c, &now, 3 * TTL, &due), 0);
    assert_int_equal(lease_clock_approve(&c), 60);
    assert_int_equal(run(&c, &now, now + 1000, &due), 60);
    assert_int_equal(c.expired, 60);
    lease_clock_fini(&c);
}

/* One after the other, within the window, is at once too. */
static void a_row_of_deaths_is_held_back(void **state)
{
    (void)state;
    struct lease_clock c = clock_new(60, true);
    struct lease_due due;
    wf_ms now = 0;
    size_t gone = 0;
    for (int i = 0; i < 60; i++) {
        gone += run(&c, &now, 4000 + i * TICK, &due);
        renew(&c, i, now);
    }
    gone += run(&c, &now, 5 * TTL, &due);
    assert_int_equal(gone, LEASE_MASS_MIN);
    assert_true(c.holds);
    lease_clock_fini(&c);
}

static void takeovers_are_not_held_back(void **state)
{
    (void)state;
    struct lease_clock c = clock_new(60, false);
    struct lease_due due;
    wf_ms now = 0;
    assert_int_equal(run(&c, &now, TTL + GRACE + 2000, &due), 60);
    lease_clock_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_silent_goes),
        cmocka_unit_test(others_epochs_are_no_sign_of_life),
        cmocka_unit_test(a_new_leader_has_heard_nobody),
        cmocka_unit_test(pauses_are_given_back),
        cmocka_unit_test(expiry_has_a_rate),
        cmocka_unit_test(many_at_once_are_held_back),
        cmocka_unit_test(what_is_held_back_may_be_approved),
        cmocka_unit_test(a_row_of_deaths_is_held_back),
        cmocka_unit_test(takeovers_are_not_held_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
