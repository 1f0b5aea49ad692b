#include "proxy/retry.h"

#include "base/wire/test.h"
#include "proxy/fault.h"
#include "proxy/outlier.h"
#include "proxy/rng.h"

/* Wrong: a request that may not be repeated is sent twice, or a failing instance is not hidden. */
static void test_wanted(void **state)
{
    (void)state;
    static const struct {
        uint32_t on;
        size_t statuses; /* so many of 503, 429 */
        struct retry_outcome outcome;
        bool want;
    } cases[] = {
        {RETRY_5XX, 0, {TRY_OK, 500, -1}, true},
        {RETRY_5XX, 0, {TRY_OK, 499, -1}, false},
        {RETRY_5XX, 0, {TRY_RESET, 0, -1}, true},
        {RETRY_5XX, 0, {TRY_CONNECT_FAILURE, 0, -1}, true},
        {RETRY_5XX, 0, {TRY_TIMEOUT, 0, -1}, true},
        {RETRY_5XX, 0, {TRY_OVERFLOW, 0, -1}, false},
        {RETRY_GATEWAY_ERROR, 0, {TRY_OK, 500, -1}, false},
        {RETRY_GATEWAY_ERROR, 0, {TRY_OK, 502, -1}, true},
        {RETRY_GATEWAY_ERROR, 0, {TRY_OK, 505, -1}, false},
        {RETRY_CONNECT_FAILURE, 0, {TRY_CONNECT_FAILURE, 0, -1}, true},
        {RETRY_CONNECT_FAILURE, 0, {TRY_RESET, 0, -1}, false},
        {RETRY_CONNECT_FAILURE, 0, {TRY_OK, 503, -1}, false},
        {RETRY_REFUSED_STREAM, 0, {TRY_REFUSED_STREAM, 0, -1}, true},
        {RETRY_REFUSED_STREAM, 0, {TRY_RESET, 0, -1}, false},
        {RETRY_RESET, 0, {TRY_RESET, 0, -1}, true},
        {RETRY_RESET, 0, {TRY_OK, 503, -1}, false},
        {RETRY_RESET_BEFORE_REQUEST, 0, {TRY_RESET_BEFORE_REQUEST, 0, -1}, true},
        {RETRY_RESET_BEFORE_REQUEST, 0, {TRY_RESET, 0, -1}, false},
        {RETRY_RETRIABLE_4XX, 0, {TRY_OK, 409, -1}, true},
        {RETRY_RETRIABLE_4XX, 0, {TRY_OK, 404, -1}, false},
        {RETRY_RETRIABLE_STATUS_CODES, 2, {TRY_OK, 429, -1}, true},
        {RETRY_RETRIABLE_STATUS_CODES, 1, {TRY_OK, 429, -1}, false},
        {RETRY_GRPC_UNAVAILABLE, 0, {TRY_OK, 200, 14}, true},
        {RETRY_GRPC_UNAVAILABLE | RETRY_GRPC_CANCELLED, 0, {TRY_OK, 200, 1}, true},
        {RETRY_GRPC_UNAVAILABLE, 0, {TRY_OK, 200, 0}, false},
        {RETRY_GRPC_UNAVAILABLE, 0, {TRY_OK, 200, -1}, false},
        {RETRY_GRPC_UNAVAILABLE, 0, {TRY_OK, 503, -1}, false},
        /* Istio's default names retriable-status-codes without a code: inert. */
        {RETRY_CONNECT_FAILURE | RETRY_REFUSED_STREAM | RETRY_GRPC_UNAVAILABLE |
             RETRY_GRPC_CANCELLED | RETRY_RETRIABLE_STATUS_CODES,
         0,
         {TRY_OK, 503, -1},
         false},
    };
    uint32_t statuses[] = {503, 429};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct retry_policy p = {
            .on = cases[i].on, .status_count = cases[i].statuses, .statuses = statuses};
        if (retry_wanted(&p, &cases[i].outcome) != cases[i].want)
            fail_msg("case %zu: %x", i, cases[i].on);
    }
}

/* Wrong: retries come in step and hammer an upstream that is coming back. */
static void test_backoff(void **state)
{
    (void)state;
    static const struct {
        struct retry_policy p;
        uint32_t n;
        wf_ms max;
    } cases[] = {
        {{0}, 1, 24},
        {{0}, 2, 74},
        {{0}, 3, 174},
        {{0}, 9, 250},
        {{.backoff_base = 100, .backoff_max = 150}, 1, 99},
        {{.backoff_base = 100, .backoff_max = 150}, 2, 150},
        {{.backoff_base = 100, .backoff_max = 150}, 4000, 150},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rng rng = {i};
        wf_ms low = INT64_MAX, high = 0;
        for (int k = 0; k < 5000; k++) {
            wf_ms d = retry_backoff(&cases[i].p, cases[i].n, rng_next(&rng));
            low = d < low ? d : low;
            high = d > high ? d : high;
        }
        assert_int_equal(high, cases[i].max);
        assert_in_range(low, 0, cases[i].n > 100 ? 150 : cases[i].max / 10);
    }
}

/* Wrong: when everything fails, retries multiply the load. */
static void test_budget(void **state)
{
    (void)state;
    struct cluster fixed = {.max_retries = 3};
    struct cluster budget = {
        .has_retry_budget = true, .retry_budget_percent = 20, .retry_budget_min = 3};
    assert_true(retry_budget_allows(&fixed, 1000, 2));
    assert_false(retry_budget_allows(&fixed, 1000, 3));
    assert_true(retry_budget_allows(&budget, 0, 2));
    assert_false(retry_budget_allows(&budget, 0, 3));
    assert_true(retry_budget_allows(&budget, 100, 19));
    assert_false(retry_budget_allows(&budget, 100, 20));
}

/* Wrong: an instance that fails all requests keeps getting them, or one bad minute empties the
 * cluster. */
static void test_outlier(void **state)
{
    (void)state;
    struct outlier_options opt = {.consecutive_5xx = 3,
                                  .consecutive_gateway = 2,
                                  .max_percent = 30,
                                  .interval = 10000,
                                  .ejection_base = 30000,
                                  .ejection_max = 70000};
    struct outlier_host h = {0};
    assert_false(outlier_result(&h, &opt, 500));
    assert_false(outlier_result(&h, &opt, 500));
    assert_false(outlier_result(&h, &opt, 200));
    assert_false(outlier_result(&h, &opt, 500));
    assert_false(outlier_result(&h, &opt, 404));
    assert_false(outlier_result(&h, &opt, 0));
    assert_true(outlier_result(&h, &opt, 503));       /* two gateway failures in a row */
    assert_true(outlier_eject(&h, &opt, 0, 1, 1000)); /* one may always go */
    assert_int_equal(h.until, 31000);
    assert_false(outlier_result(&h, &opt, 0)); /* it is out already */
    assert_false(outlier_due(&h, 30999));
    assert_true(outlier_due(&h, 31000));
    struct outlier_host second = {0}, third = {0};
    assert_false(outlier_eject(&second, &opt, 1, 6, 0)); /* 2 of 6 is more than 30 % */
    assert_true(outlier_eject(&third, &opt, 1, 7, 0));
    assert_true(outlier_eject(&h, &opt, 0, 5, 40000));
    assert_int_equal(h.until, 40000 + 60000);
    assert_true(outlier_due(&h, 100000));
    assert_true(outlier_eject(&h, &opt, 0, 5, 100000));
    assert_int_equal(h.until, 100000 + 70000); /* the cap */
    assert_true(outlier_due(&h, 170000));
    for (int i = 0; i < 3; i++)
        assert_false(outlier_due(&h, 180000));
    assert_int_equal(h.times, 0); /* forgiven */
    opt.interval = 0;
    for (int i = 0; i < 10; i++)
        assert_false(outlier_result(&h, &opt, 500));
}

/* Wrong: an experiment breaks more, or other, requests than it was asked to. */
static void test_fault(void **state)
{
    (void)state;
    struct fault f = {.delay = 500,
                      .delay_fraction = {100000},
                      .abort_fraction = {500000},
                      .abort_status = 503,
                      .abort_grpc = -1};
    struct rng rng = {5};
    int delays = 0, aborts = 0;
    for (int i = 0; i < 20000; i++) {
        struct fault_verdict v = fault_decide(&f, rng_next(&rng), rng_next(&rng));
        delays += v.delay > 0;
        aborts += v.abort;
        assert_true(!v.abort || (v.status == 503 && v.grpc_status == -1));
    }
    assert_in_range(delays, 1850, 2150);
    assert_in_range(aborts, 9700, 10300);
    struct fault grpc = {.abort_fraction = {1000000}, .abort_grpc = 14};
    assert_int_equal(fault_decide(&grpc, 1, 2).grpc_status, 14);
    struct fault none = {.abort_grpc = -1, .abort_fraction = {1000000}};
    assert_false(fault_decide(&none, 0, 0).abort);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wanted), cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_budget), cmocka_unit_test(test_outlier),
        cmocka_unit_test(test_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
