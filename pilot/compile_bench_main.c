/* How long the compiler takes and how much memory it holds: `compile_bench [services] [classes]`,
 * default 1,000 and 1,000. Each service has two endpoints, all listen on one port; the classes
 * differ by address, in ten namespaces, half of them weft-proxy and half Envoy. Then a hundred
 * thousand endpoints in EndpointSlices of a hundred, and as many WorkloadEntries. CPU is this
 * thread's.
 */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pilot/build.h"

#define NAMESPACES 10
#define ROUNDS 40

struct bench {
    struct build build;
    reg_rev revision;
    size_t services, classes;
};

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void put(struct bench *b, const char *key, const char *json)
{
    b->revision++;
    model_apply(&b->build.model, slice_of(key), slice_of(json), 1, b->revision);
}

static void put_service(struct bench *b, size_t i)
{
    char key[200], json[1000];
    snprintf(key, sizeof(key), "services/ns%zu/svc-%zu", i % NAMESPACES, i);
    snprintf(
        json, sizeof(json),
        "{\"metadata\":{\"name\":\"svc-%zu\",\"namespace\":\"ns%zu\"},\"spec\":{\"clusterIP\":\"10."
        "1.%zu.%zu\","
        "\"ports\":[{\"name\":\"http\",\"port\":80,\"protocol\":\"TCP\",\"targetPort\":8080}]}}",
        i, i % NAMESPACES, i / 250, i % 250);
    put(b, key, json);
}

static void put_slice(struct bench *b, size_t i, unsigned salt)
{
    char key[200], json[1000];
    snprintf(key, sizeof(key), "endpointslices.discovery.k8s.io/ns%zu/svc-%zu-1", i % NAMESPACES,
             i);
    snprintf(json, sizeof(json),
             "{\"metadata\":{\"name\":\"svc-%zu-1\",\"namespace\":\"ns%zu\",\"labels\":{\"app\":"
             "\"svc-%zu\","
             "\"kubernetes.io/"
             "service-name\":\"svc-%zu\"}},\"addressType\":\"IPv4\",\"ports\":[{\"name\":\"http\","
             "\"port\":8080}],\"endpoints\":[{\"addresses\":[\"10.2.%zu.%zu\"]},{\"addresses\":["
             "\"10.%u.%zu.%zu\"]}]}",
             i, i % NAMESPACES, i, i, i / 250, i % 250, 3 + salt, i / 250, i % 250);
    put(b, key, json);
}

static void put_rule(struct bench *b, size_t i, unsigned weight)
{
    char key[200], json[1000];
    snprintf(key, sizeof(key), "virtualservices.networking.istio.io/ns%zu/svc-%zu", i % NAMESPACES,
             i);
    snprintf(json, sizeof(json),
             "{\"metadata\":{\"name\":\"svc-%zu\",\"namespace\":\"ns%zu\"},\"spec\":{\"hosts\":["
             "\"svc-%zu\"],"
             "\"http\":[{\"route\":[{\"destination\":{\"host\":\"svc-%zu\",\"subset\":\"v1\"},"
             "\"weight\":%u},"
             "{\"destination\":{\"host\":\"svc-%zu\",\"subset\":\"v2\"},\"weight\":%u}]}]}}",
             i, i % NAMESPACES, i, i, weight, i, 100 - weight);
    put(b, key, json);
}

/* The views of all classes, as a snapshot needs them. */
static double compile(struct bench *b)
{
    double began = now_ms();
    struct xds_view **views = mem_array(b->classes + 1, sizeof(*views));
    for (size_t i = 0; i < b->classes; i++) {
        char ns[16], ip[32];
        snprintf(ns, sizeof(ns), "ns%zu", i % NAMESPACES);
        snprintf(ip, sizeof(ip), "10.2.%zu.%zu", i / 250, i % 250);
        struct proxy_class_input in = {.dialect = i % 2 ? DIALECT_WEFT : DIALECT_ENVOY,
                                       .capture = i % 2 ? CAPTURE_NONE : CAPTURE_REDIRECT,
                                       .ns = slice_of(ns),
                                       .address = slice_of(ip)};
        views[i] = build_view(&b->build, i + 1, &in);
    }
    struct xds_snapshot *s = xds_snapshot_new(b->revision, views, b->classes);
    double took = now_ms() - began;
    xds_snapshot_unref(s);
    mem_free(views);
    build_collect(&b->build);
    return took;
}

static size_t heap_bytes(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static int cmp_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(struct bench *b, const char *what,
                   void (*change)(struct bench *b, unsigned round))
{
    double ms[ROUNDS], apply = 0;
    uint64_t encoded = b->build.encoded, computed = b->build.graph.computed;
    for (unsigned i = 0; i < ROUNDS; i++) {
        double began = now_ms();
        change(b, i);
        double model = now_ms() - began;
        apply += model;
        ms[i] = model + compile(b);
    }
    qsort(ms, ROUNDS, sizeof(*ms), cmp_double);
    printf("%-24s p50 %.3f ms  max %.3f ms  (model %.3f)  encoded %" PRIu64 "  cells %" PRIu64 "\n",
           what, ms[ROUNDS / 2], ms[ROUNDS - 1], apply / ROUNDS,
           (b->build.encoded - encoded) / ROUNDS, (b->build.graph.computed - computed) / ROUNDS);
}

static void change_endpoint(struct bench *b, unsigned round)
{
    put_slice(b, 7, 1 + round % 100);
}

static void change_weight(struct bench *b, unsigned round)
{
    put_rule(b, 7, round % 90 + 1);
}

static void change_service(struct bench *b, unsigned round)
{
    put_service(b, b->services + round);
}

static void change_nothing(struct bench *b, unsigned round)
{
    put(b, "configmaps/ns0/unrelated", round % 2 ? "{\"spec\":{}}" : "{\"spec\":{\"a\":1}}");
}

/* Many. */

#define MANY 100000
#define SELECTED 10000 /* of them, by one service */

/* As weft-regload writes them, with a label more where a service selects it. */
static void put_workload(struct bench *b, size_t i, unsigned turn)
{
    char key[200], json[1000];
    snprintf(key, sizeof(key), "workloadentries.networking.istio.io/default/w-%08zu", i);
    snprintf(json, sizeof(json),
             "{\"apiVersion\":\"networking.istio.io/v1\",\"kind\":\"WorkloadEntry\",\"metadata\":{"
             "\"annotations\":{\"pad\":\"%060u\"},\"name\":\"w-%08zu\",\"namespace\":\"default\"},"
             "\"spec\":{\"address\":\"10.%zu.%zu.%zu\",\"labels\":{%s\"turn\":\"%zu\"}}}",
             0, i, i >> 16 & 255, i >> 8 & 255, i & 255, i < SELECTED ? "\"app\":\"s\"," : "",
             i + turn * MANY);
    put(b, key, json);
}

static void report_many(const char *what, double began)
{
    double took = cpu_ms() - began;
    printf("%d %s  %.0f ms CPU, %.2f us each, %.0f bytes each\n", MANY, what, took,
           took * 1e3 / MANY, (double)heap_bytes() / MANY);
}

static void workloads_put(struct bench *b, const char *what, unsigned turn)
{
    double began = cpu_ms();
    for (size_t i = 0; i < MANY; i++)
        put_workload(b, i, turn);
    report_many(what, began);
}

static void report_compile(struct bench *b, const char *what)
{
    double began = cpu_ms();
    compile(b);
    printf("%s  %.1f ms CPU\n", what, cpu_ms() - began);
}

static void bench_workloads(void)
{
    struct bench b = {.classes = 2};
    build_init(&b.build, S("istio-system"), S("Kubernetes"));
    workloads_put(&b, "workloads     ", 0);
    workloads_put(&b, "again         ", 1);
    put(&b, "services/default/s",
        "{\"spec\":{\"selector\":{\"app\":\"s\"},\"ports\":[{\"name\":\"http\",\"port\":80},"
        "{\"name\":\"http-2\",\"port\":81}]}}");
    put(&b, "destinationrules.networking.istio.io/default/s",
        "{\"spec\":{\"host\":\"s\",\"subsets\":[{\"name\":\"a\",\"labels\":{\"turn\":\"100007\"}},"
        "{\"name\":\"b\",\"labels\":{\"turn\":\"100008\"}}]}}");
    report_compile(&b, "a service of 10000 workloads  ");
    put_workload(&b, 7, 2);
    report_compile(&b, "one of them changed           ");
    build_fini(&b.build);
}

#define SLICE_ENDPOINTS 100
#define SLICES_OF_SERVICE 10

/* As Kubernetes writes them, for pods. */
static void put_full_slice(struct bench *b, size_t i, unsigned port)
{
    char key[200];
    struct buf json = {0};
    size_t service = i / SLICES_OF_SERVICE;
    snprintf(key, sizeof(key), "endpointslices.discovery.k8s.io/default/s-%zu", i);
    buf_printf(
        &json,
        "{\"metadata\":{\"name\":\"s-%zu\",\"labels\":{\"kubernetes.io/service-name\":\"s%zu\"}},"
        "\"addressType\":\"IPv4\",\"ports\":[{\"name\":\"http\",\"port\":%u}],\"endpoints\":[",
        i, service, port);
    for (size_t j = 0; j < SLICE_ENDPOINTS; j++) {
        size_t n = i * SLICE_ENDPOINTS + j;
        buf_printf(
            &json,
            "%s{\"addresses\":[\"10.%zu.%zu.%zu\"],\"conditions\":{\"ready\":true},\"nodeName\":"
            "\"node-%zu\",\"targetRef\":{\"kind\":\"Pod\",\"name\":\"s%zu-5d8f-%zu\","
            "\"namespace\":\"default\"},\"zone\":\"eu-1a\"}",
            j ? "," : "", n >> 16, n >> 8 & 255, n & 255, j, service, j);
    }
    buf_append(&json, S("]}"));
    buf_append_byte(&json, 0);
    put(b, key, buf_slice(&json).p);
    buf_fini(&json);
}

static void bench_slices(void)
{
    struct bench b = {.classes = 2};
    build_init(&b.build, S("istio-system"), S("Kubernetes"));
    for (unsigned turn = 0; turn < 2; turn++) {
        double began = cpu_ms();
        for (size_t i = 0; i < MANY / SLICE_ENDPOINTS; i++)
            put_full_slice(&b, i, 8080 + turn);
        report_many(turn ? "again         " : "in slices     ", began);
    }
    for (size_t i = 0; i < MANY / SLICE_ENDPOINTS / SLICES_OF_SERVICE; i++) {
        char key[100];
        snprintf(key, sizeof(key), "services/default/s%zu", i);
        put(&b, key, "{\"spec\":{\"ports\":[{\"name\":\"http\",\"port\":80}]}}");
    }
    report_compile(&b, "100 services of 1000 endpoints");
    build_fini(&b.build);
}

int main(int argc, char **argv)
{
    struct bench b = {.services = argc > 1 ? (size_t)atol(argv[1]) : 1000,
                      .classes = argc > 2 ? (size_t)atol(argv[2]) : 1000};
    build_init(&b.build, S("istio-system"), S("Kubernetes"));
    double began = now_ms();
    for (size_t i = 0; i < b.services; i++) {
        put_service(&b, i);
        put_slice(&b, i, 0);
        put_rule(&b, i, 50);
    }
    size_t model = heap_bytes();
    printf("model of %zu services    %.1f ms, %.1f MB\n", b.services, now_ms() - began,
           (double)model / 1e6);
    double first = compile(&b);
    size_t all = heap_bytes();
    printf("first compile, %zu classes  %.1f ms, %.1f MB, %.1f KB a class\n", b.classes, first,
           (double)all / 1e6, (double)(all - model) / 1e3 / (double)b.classes);
    report(&b, "no relevant change", change_nothing);
    report(&b, "one endpoint", change_endpoint);
    report(&b, "one weight", change_weight);
    if (argc <= 3)
        report(&b, "one more service", change_service);
    build_fini(&b.build);
    bench_slices();
    bench_workloads();
    return 0;
}
