/* If this fails, dashboards show wrong numbers or Prometheus refuses the whole page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>

#include "base/core/metric.h"

static const struct metric_def pushes = {
    .name = "pilot_xds_pushes", .kind = METRIC_COUNTER, .help = "xDS pushes\nby \\type"};
static const struct metric_def clients = {
    .name = "pilot_xds", .kind = METRIC_GAUGE, .help = "Connected"};
static const double bounds[] = {0.5, 10, 2500};
static const struct metric_def times = {.name = "push_time",
                                        .kind = METRIC_HISTOGRAM,
                                        .help = "ms",
                                        .buckets = bounds,
                                        .bucket_count = ARRAY_LEN(bounds)};

#define DROPPED_ZERO                                                                               \
    "# HELP weft_metrics_series_dropped_total Requests for a series past the set's bound\n"        \
    "# TYPE weft_metrics_series_dropped_total counter\n"                                           \
    "weft_metrics_series_dropped_total "

static void expect(struct metric_set *const *sets, size_t n, const char *text)
{
    struct buf out = {0};
    metric_write_text(sets, n, &out);
    if (!slice_eq(buf_slice(&out), slice_of(text)))
        fail_msg("got:\n%.*s", SLICE(buf_slice(&out)));
    buf_fini(&out);
}

static void test_text(void **state)
{
    struct metric_set *set = metric_set_new(100);
    (void)state;
    expect(&set, 1, DROPPED_ZERO "0\n");
    struct metric *cds = metric_get(
        set, &pushes, 2, (struct metric_label[]){{S("type"), S("cds")}, {S("a"), S("x\"\n\\")}});
    metric_add(cds, 2);
    /* The same series, whatever the order of labels. */
    metric_add(metric_get(set, &pushes, 2,
                          (struct metric_label[]){{S("a"), S("x\"\n\\")}, {S("type"), S("cds")}}),
               1);
    assert_int_equal(metric_value(cds), 3);
    struct metric *g = metric_get(set, &clients, 0, NULL);
    metric_set_value(g, 5);
    metric_set_value(g, -2);
    struct metric *h = metric_get(set, &times, 1, (struct metric_label[]){{S("t"), S("eds")}});
    metric_observe(h, 0.5);
    metric_observe(h, 0.75);
    metric_observe(h, 2501);
    expect(&set, 1,
           "# HELP pilot_xds Connected\n# TYPE pilot_xds gauge\npilot_xds -2\n"
           "# HELP pilot_xds_pushes xDS pushes\\nby \\\\type\n# TYPE pilot_xds_pushes counter\n"
           "pilot_xds_pushes{a=\"x\\\"\\n\\\\\",type=\"cds\"} 3\n"
           "# HELP push_time ms\n# TYPE push_time histogram\n"
           "push_time_bucket{t=\"eds\",le=\"0.5\"} 1\npush_time_bucket{t=\"eds\",le=\"10\"} 2\n"
           "push_time_bucket{t=\"eds\",le=\"2500\"} 2\npush_time_bucket{t=\"eds\",le=\"+Inf\"} 3\n"
           "push_time_sum{t=\"eds\"} 2502.25\npush_time_count{t=\"eds\"} 3\n" DROPPED_ZERO "0\n");
    metric_set_free(set);
}

/* A worker each has its set; the page shows their sums. */
static void test_sets_are_summed(void **state)
{
    struct metric_set *sets[3];
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        sets[i] = metric_set_new(100);
        metric_add(metric_get(sets[i], &pushes, 1, (struct metric_label[]){{S("t"), S("both")}}),
                   i + 1);
        metric_set_value(metric_get(sets[i], &clients, 0, NULL), -(int64_t)i);
        metric_observe(metric_get(sets[i], &times, 0, NULL), (double)(i * 10));
    }
    metric_add(metric_get(sets[1], &pushes, 1, (struct metric_label[]){{S("t"), S("a")}}), 9);
    expect(sets, 3,
           "# HELP pilot_xds Connected\n# TYPE pilot_xds gauge\npilot_xds -3\n"
           "# HELP pilot_xds_pushes xDS pushes\\nby \\\\type\n# TYPE pilot_xds_pushes counter\n"
           "pilot_xds_pushes{t=\"a\"} 9\npilot_xds_pushes{t=\"both\"} 6\n"
           "# HELP push_time ms\n# TYPE push_time histogram\n"
           "push_time_bucket{le=\"0.5\"} 1\npush_time_bucket{le=\"10\"} 2\n"
           "push_time_bucket{le=\"2500\"} 3\npush_time_bucket{le=\"+Inf\"} 3\n"
           "push_time_sum 30\npush_time_count 3\n" DROPPED_ZERO "0\n");
    for (size_t i = 0; i < 3; i++)
        metric_set_free(sets[i]);
}

static void test_bound(void **state)
{
    struct metric_set *set = metric_set_new(2);
    char name[8];
    (void)state;
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "%d", i);
        metric_add(metric_get(set, &pushes, 1, (struct metric_label[]){{S("i"), slice_of(name)}}),
                   1);
    }
    metric_observe(metric_get(set, &times, 0, NULL), 3);
    metric_set_value(metric_get(set, &clients, 0, NULL), 3);
    metric_add(metric_get(set, &pushes, 1, (struct metric_label[]){{S("i"), S("1")}}), 1);
    expect(&set, 1,
           "# HELP pilot_xds_pushes xDS pushes\\nby \\\\type\n# TYPE pilot_xds_pushes counter\n"
           "pilot_xds_pushes{i=\"0\"} 1\npilot_xds_pushes{i=\"1\"} 2\n" DROPPED_ZERO "5\n");
    metric_set_free(set);
    metric_set_free(NULL);
}

static void *work(void *arg)
{
    struct metric_set *set = arg;
    for (int i = 0; i < 20000; i++) {
        char name[8];
        snprintf(name, sizeof(name), "%d", i % 300);
        struct metric_label label = {S("i"), slice_of(name)};
        metric_add(metric_get(set, &pushes, 1, &label), 1);
        metric_observe(metric_get(set, &times, 1, &label), i);
    }
    return NULL;
}

/* The page is read while workers write and make series. */
static void test_read_while_written(void **state)
{
    struct metric_set *sets[2] = {metric_set_new(1000), metric_set_new(1000)};
    pthread_t threads[2];
    struct buf out = {0};
    uint64_t total = 0;
    (void)state;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, sets[i]), 0);
    for (int i = 0; i < 20; i++) {
        buf_clear(&out);
        metric_write_text(sets, 2, &out);
    }
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    buf_clear(&out);
    metric_write_text(sets, 2, &out);
    struct slice rest = buf_slice(&out), line, head, value;
    while (rest.n) {
        uint64_t v;
        slice_cut(rest, '\n', &line, &rest);
        if (slice_starts(line, S("pilot_xds_pushes{")) &&
            slice_cut_last(line, ' ', &head, &value) && slice_u64(value, &v))
            total += v;
    }
    assert_int_equal(total, 40000);
    buf_fini(&out);
    metric_set_free(sets[0]);
    metric_set_free(sets[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_sets_are_summed),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_read_while_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
