#include "mixer/metrics.h"

#include <stdlib.h>

#include "base/wire/test.h"

struct fixture {
    struct metric_set *set;
    struct metrics *m;
    struct metrics_cache cache;
    struct metrics_party target;
    struct metrics_labels labels;
};

static void fixture_init(struct fixture *f)
{
    struct metrics_party self = {
        .workload = S("productpage-v1"), .ns = S("shop"), .version = S("v1")};
    *f = (struct fixture){.set = metric_set_new(20000)};
    f->m = metrics_new(f->set, &self);
    f->target = (struct metrics_party){.workload = S("reviews-v2"), .ns = S("shop")};
    f->labels = (struct metrics_labels){.target = &f->target,
                                        .service_host = S("reviews.shop.svc.cluster.local"),
                                        .service_name = S("reviews"),
                                        .service_ns = S("shop")};
}

static void fixture_fini(struct fixture *f)
{
    metrics_cache_clear(&f->cache);
    metric_set_free(f->set);
    metrics_free(f->m);
}

static char *text_of(struct fixture *f)
{
    struct buf out = {0};
    metric_write_text(&f->set, 1, &out);
    buf_append_byte(&out, 0);
    return out.p;
}

/* Wrong: dashboards and graphs, which join on Istio's names and labels, stay empty. */
static void test_labels(void **state)
{
    (void)state;
    static const char *const want[] = {
        "istio_requests_total{",
        "reporter=\"source\"",
        "source_workload=\"productpage-v1\"",
        "source_workload_namespace=\"shop\"",
        "source_principal=\"unknown\"",
        "source_version=\"v1\"",
        "destination_workload=\"reviews-v2\"",
        "destination_service=\"reviews.shop.svc.cluster.local\"",
        "destination_service_name=\"reviews\"",
        "destination_service_namespace=\"shop\"",
        "destination_canonical_revision=\"latest\"",
        "request_protocol=\"grpc\"",
        "response_code=\"200\"",
        "response_flags=\"UF,URX\"",
        "grpc_response_status=\"14\"",
        "connection_security_policy=\"unknown\"",
        "istio_request_duration_milliseconds_bucket{",
        "istio_request_bytes_sum{",
        "istio_response_bytes_count{",
    };
    struct fixture f;
    fixture_init(&f);
    struct record r = {.status = 200, .grpc = true, .grpc_status = 14, .flags = FLAG_UF | FLAG_URX};
    metrics_request(f.m, &f.cache, &f.labels, &r);
    char *text = text_of(&f);
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        if (!strstr(text, want[i]))
            fail_msg("missing: %s", want[i]);
    mem_free(text);
    fixture_fini(&f);
}

/* Wrong: the callee's proxy reports itself as the caller. */
static void test_destination(void **state)
{
    (void)state;
    struct fixture f;
    struct metrics_party unknown = {.workload = S("")};
    fixture_init(&f);
    f.labels = (struct metrics_labels){.destination = true, .source = &unknown, .mutual_tls = true};
    struct record r = {.status = 200, .grpc_status = -1};
    metrics_request(f.m, &f.cache, &f.labels, &r);
    char *text = text_of(&f);
    assert_non_null(strstr(text, "reporter=\"destination\""));
    assert_non_null(strstr(text, "destination_workload=\"productpage-v1\""));
    assert_non_null(strstr(text, "source_workload=\"unknown\""));
    assert_non_null(strstr(text, "connection_security_policy=\"mutual_tls\""));
    assert_null(strstr(text, "grpc_response_status"));
    mem_free(text);
    fixture_fini(&f);
}

/* Wrong: outcomes share a series, so that errors look like successes. */
static void test_combinations(void **state)
{
    (void)state;
    struct fixture f;
    char line[64];
    fixture_init(&f);
    for (int round = 0; round < 3; round++) {
        for (uint16_t status = 200; status < 600; status++) {
            struct record r = {.status = status, .grpc_status = -1, .end_ns = 7000000};
            for (int i = 0; i <= status % 3; i++)
                metrics_request(f.m, &f.cache, &f.labels, &r);
        }
    }
    char *text = text_of(&f);
    for (unsigned status = 200; status < 600; status++) {
        snprintf(line, sizeof(line), "response_code=\"%u\"", status);
        char *at = strstr(text, "istio_requests_total{"), *end;
        while (at && (end = strchr(at, '\n')) &&
               !memmem(at, (size_t)(end - at), line, strlen(line)))
            at = end + 1;
        assert_non_null(at);
        assert_int_equal(strtol(strstr(at, "} ") + 2, NULL, 10), 3 * (status % 3 + 1));
    }
    mem_free(text);
    fixture_fini(&f);
}

/* Wrong: a peer that makes up status codes and flags grows our memory. */
static void test_bound(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    for (uint32_t flags = 0; flags < 4 * METRICS_CELLS_MAX; flags++) {
        struct record r = {.status = 200, .grpc_status = -1, .flags = flags};
        metrics_request(f.m, &f.cache, &f.labels, &r);
    }
    assert_true(f.cache.n <= METRICS_CELLS_MAX);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_destination),
        cmocka_unit_test(test_combinations),
        cmocka_unit_test(test_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
