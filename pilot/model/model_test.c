/* If these failed, a rule would be taken for the wrong host, a port for the wrong protocol, an
 * endpoint for the wrong service; or a change would not be noticed by what it concerns. */
#include "pilot/model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct world {
    struct graph g;
    struct model m;
    reg_rev rev;
    struct arena a;
};

static void world_init(struct world *w)
{
    memset(w, 0, sizeof(*w));
    graph_init(&w->g);
    model_init(&w->m, &w->g, S("istio-system"));
}

static void world_fini(struct world *w)
{
    graph_fini(&w->g);
    model_fini(&w->m);
    arena_fini(&w->a);
}

static void put(struct world *w, const char *key, const char *json)
{
    w->rev++;
    model_apply(&w->m, slice_of(key), slice_of(json), w->rev, w->rev);
}

/* Words. */

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ns; /* -1: refused */
    } cases[] = {{"10s", 10000000000},
                 {"1.5s", 1500000000},
                 {"100ms", 100000000},
                 {"1h30m", 5400000000000},
                 {"0s", 0},
                 {"0", 0},
                 {".5s", 500000000},
                 {"1m0.5s", 60500000000},
                 {"1us", 1000},
                 {"7ns", 7},
                 {"", -1},
                 {"10", -1},
                 {"s", -1},
                 {"1d", -1},
                 {"-1s", -1},
                 {"1s ", -1},
                 {"99999999999h", -1},
                 {"1.s", 1000000000},
                 {".s", -1}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t ns = -1;
        json_t *o = json_pack("{s:s}", "d", cases[i].text);
        bool ok = jr_duration(o, "d", &ns);
        json_decref(o);
        if (ok != (cases[i].ns >= 0) || (ok && ns != cases[i].ns))
            fail_msg("%s: %lld", cases[i].text, (long long)ns);
    }
}

static void protocols(void **state)
{
    (void)state;
    static const struct {
        const char *app, *name;
        uint32_t port;
        enum model_protocol protocol;
    } cases[] = {
        {"", "http", 80, PROTOCOL_HTTP},
        {"", "http-web", 80, PROTOCOL_HTTP},
        {"", "HTTP2-x", 80, PROTOCOL_HTTP2},
        {"", "grpc", 80, PROTOCOL_GRPC},
        {"", "grpc-web", 80, PROTOCOL_GRPC_WEB},
        {"", "grpc-web-x", 80, PROTOCOL_GRPC_WEB},
        {"", "tcp-db", 80, PROTOCOL_TCP},
        {"", "web", 80, PROTOCOL_AUTO},
        {"", "httpx", 80, PROTOCOL_AUTO},
        {"", "", 3306, PROTOCOL_TCP},
        {"", "", 25, PROTOCOL_TCP},
        {"grpc", "http", 80, PROTOCOL_GRPC},
        {"kubernetes.io/h2c", "x", 80, PROTOCOL_HTTP2},
        {"kubernetes.io/wss", "http", 80, PROTOCOL_HTTPS},
        {"unknown.io/x", "http", 80, PROTOCOL_HTTP},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(
            model_protocol_of(slice_of(cases[i].app), slice_of(cases[i].name), cases[i].port),
            cases[i].protocol);
}

static void hosts(void **state)
{
    (void)state;
    struct arena a = {0};
    static const struct {
        const char *pattern, *host;
        bool match;
    } cases[] = {{"*", "a.b", true},      {"*.b", "a.b", true}, {"*.b", "a.a.b", true},
                 {"*.b", "b", false},     {"*.b", ".b", false}, {"*.b", "*.a.b", true},
                 {"*.a.b", "*.b", false}, {"a.b", "a.b", true}, {"a.b", "x.a.b", false},
                 {"", "a", false},        {"*.b", "ab", false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(model_host_match(slice_of(cases[i].pattern), slice_of(cases[i].host)),
                         cases[i].match);

    struct slice at = S("a.b.c");
    static const char *const walk[] = {"*.b.c", "*.c", "*"};
    for (size_t i = 0; i < ARRAY_LEN(walk); i++) {
        assert_true(model_host_wider(&at, &a));
        assert_true(slice_eq(at, slice_of(walk[i])));
    }
    assert_false(model_host_wider(&at, &a));
    assert_true(slice_eq(model_host_resolve(S("r"), S("n"), &a), S("r.n.svc.cluster.local")));
    assert_true(slice_eq(model_host_resolve(S("r.n"), S("n"), &a), S("r.n")));
    assert_true(slice_eq(model_host_resolve(S("*"), S("n"), &a), S("*")));
    arena_fini(&a);
}

/* Indexes. */

struct probe {
    struct graph_cell cell;
    struct model *m;
    enum model_index index;
    struct slice name;
    size_t members;
};

static bool probe_compute(struct graph *g, struct graph_cell *cell)
{
    struct probe *p = (struct probe *)cell;
    (void)g;
    p->members = model_index(p->m, p->index, p->name)->n;
    return true;
}

static const struct graph_cell_kind probe_kind = {"probe", sizeof(struct probe), probe_compute,
                                                  NULL};

/* Does the change make readers of an index look again? */
static bool notices(struct world *w, struct probe *p, const char *key, const char *json)
{
    graph_get(&w->g, &p->cell);
    uint64_t before = w->g.computed;
    put(w, key, json);
    graph_get(&w->g, &p->cell);
    return w->g.computed != before;
}

static struct probe *probe(struct world *w, enum model_index index, const char *name)
{
    struct buf key = {0};
    bool is_new;
    buf_printf(&key, "%d%s", (int)index, name);
    struct probe *p = (struct probe *)graph_cell(&w->g, &probe_kind, buf_slice(&key), &is_new);
    buf_fini(&key);
    p->m = &w->m;
    p->index = index;
    p->name = slice_of(name);
    if (is_new)
        graph_pin(&p->cell);
    return p;
}

#define DR_KEY "destinationrules.networking.istio.io/default/r"

static void changes_touch_what_they_concern(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    struct probe *a = probe(&w, MODEL_RULE_HOST, "a.default.svc.cluster.local");
    struct probe *b = probe(&w, MODEL_RULE_HOST, "b.default.svc.cluster.local");
    assert_true(notices(&w, a, DR_KEY, "{\"spec\":{\"host\":\"a\"}}"));
    assert_int_equal(a->members, 1);
    assert_false(notices(&w, b, DR_KEY, "{\"spec\":{\"host\":\"a\",\"subsets\":[]}}"));
    /* The same spec with another status or comment concerns nobody. */
    graph_get(&w.g, &a->cell);
    uint64_t before = w.g.computed;
    model_apply(&w.m, S(DR_KEY),
                S("{\"spec\":{\"host\":\"a\",\"subsets\":[]},\"status\":{\"conditions\":[1]}}"), 2,
                9);
    model_apply(&w.m, S(DR_KEY), S("{\"spec\":{\"host\":\"a\",\"subsets\":[]}}"), 2, 10);
    graph_get(&w.g, &a->cell);
    assert_true(w.g.computed <= before + 1); /* create_rev differs from before: once */
    assert_true(notices(&w, b, DR_KEY, "{\"spec\":{\"host\":\"b\"}}"));
    graph_get(&w.g, &a->cell);
    assert_true(a->members == 0 && b->members == 1);
    model_delete(&w.m, S(DR_KEY), ++w.rev);
    graph_get(&w.g, &b->cell);
    assert_int_equal(b->members, 0);
    world_fini(&w);
}

/* A status that was written later makes nothing that comes from the spec look newer, on any
 * replica. */
static void status_is_no_revision(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        reg_rev revision;
    } cases[] = {
        {"{\"metadata\":{\"generation\":2},\"spec\":{\"host\":\"a\"},\"status\":{\"conditions\":[{"
         "\"type\":\"Distributed\","
         "\"message\":\"3/3 @41\",\"observedGeneration\":2}]}}",
         41},
        {"{\"metadata\":{\"generation\":3},\"spec\":{\"host\":\"a\"},\"status\":{\"conditions\":[{"
         "\"type\":\"Distributed\","
         "\"message\":\"3/3 @41\",\"observedGeneration\":2}]}}",
         50},
        {"{\"spec\":{\"host\":\"a\"},\"status\":{\"conditions\":[{\"type\":\"Distributed\","
         "\"message\":\"3/3 @41\"}]}}",
         50},
        {"{\"metadata\":{\"generation\":2},\"spec\":{\"host\":\"a\"},\"status\":{\"conditions\":[{"
         "\"type\":\"Distributed\","
         "\"message\":\"no proxies\",\"observedGeneration\":2}]}}",
         50},
        {"{\"metadata\":{\"generation\":2},\"spec\":{\"host\":\"a\"},\"status\":{\"conditions\":[{"
         "\"type\":\"Distributed\","
         "\"message\":\"3/3 @99\",\"observedGeneration\":2}]}}",
         50},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world w;
        world_init(&w);
        model_apply(&w.m, S(DR_KEY), slice_of(cases[i].json), 7, 50);
        const struct model_fact *f =
            model_index(&w.m, MODEL_RULE_HOST, S("a.default.svc.cluster.local"));
        assert_int_equal(f->node.revision, cases[i].revision);
        world_fini(&w);
    }
}

static void oldest_first(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    model_apply(&w.m, S("virtualservices.networking.istio.io/x/young"),
                S("{\"spec\":{\"hosts\":[\"h.com\"]}}"), 9, 9);
    model_apply(&w.m, S("virtualservices.networking.istio.io/x/old"),
                S("{\"spec\":{\"hosts\":[\"h.com\"]}}"), 3, 12);
    model_apply(&w.m, S("virtualservices.networking.istio.io/a/old"),
                S("{\"spec\":{\"hosts\":[\"h.com\"]}}"), 3, 12);
    const struct model_fact *f = model_index(&w.m, MODEL_ROUTE_HOST, S("h.com"));
    assert_int_equal(f->n, 3);
    assert_true(slice_eq(f->members[0]->ns, S("a")) && slice_eq(f->members[1]->name, S("old")) &&
                slice_eq(f->members[2]->name, S("young")));
    assert_int_equal(f->node.revision, 12);
    world_fini(&w);
}

static void bad_objects_are_issues(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    put(&w, "services/default/a", "{\"spec\":{\"ports\":[{\"port\":80}]}}");
    put(&w, "services/default/a", "nonsense");
    put(&w, "serviceentries.networking.istio.io/default/e", "{\"spec\":{}}");
    put(&w, "virtualservices.networking.istio.io/default/v", "{}");
    put(&w, "pods/default/p", "not ours");
    put(&w, "malformed", "{}");
    assert_int_equal(w.m.issues.n, 3);
    assert_int_equal(model_index(&w.m, MODEL_SERVICES, S(""))->n, 0);
    put(&w, "services/default/a", "{\"spec\":{\"ports\":[{\"port\":80}]}}");
    model_delete(&w.m, S("virtualservices.networking.istio.io/default/v"), ++w.rev);
    assert_int_equal(w.m.issues.n, 1);
    /* Of the wrong type everywhere: nothing is read, nothing breaks. */
    put(&w, "services/default/a",
        "{\"spec\":{\"ports\":{},\"selector\":[1],\"clusterIPs\":\"x\"}}");
    put(&w, "endpointslices.discovery.k8s.io/default/a",
        "{\"metadata\":{\"labels\":{\"kubernetes.io/"
        "service-name\":\"a\"}},\"endpoints\":{\"a\":1},\"ports\":3}");
    put(&w, "workloadentries.networking.istio.io/default/a",
        "{\"spec\":{\"labels\":[],\"ports\":\"\"}}");
    world_fini(&w);
}

/* What is used but for a part says which, and loses the remark with the part. */
static void parts_not_in_effect(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    put(&w, DR_KEY,
        "{\"spec\":{\"host\":\"a\",\"subsets\":[{\"name\":\"x\",\"trafficPolicy\":{\"tls\":{"
        "\"mode\":\"SIMPLE\"}}}]}}");
    const struct slice *m = map_get(&w.m.issues, S(DR_KEY));
    assert_true(m && slice_contains(*m, S("tls.mode SIMPLE is not in effect")));
    assert_int_equal(model_index(&w.m, MODEL_RULE_HOST, S("a.default.svc.cluster.local"))->n, 1);
    put(&w, DR_KEY,
        "{\"spec\":{\"host\":\"a\",\"trafficPolicy\":{\"tls\":{\"mode\":\"DISABLE\"}}}}");
    assert_int_equal(w.m.issues.n, 0);
    world_fini(&w);
}

/* Endpoints. */

static void endpoints_are_sorted_and_once(void **state)
{
    (void)state;
    struct world w;
    struct model_endpoints out = {0};
    world_init(&w);
    put(&w, "services/n/s",
        "{\"spec\":{\"selector\":{\"app\":\"s\"},\"ports\":[{\"name\":\"http\",\"port\":80,"
        "\"targetPort\":\"web\"}]}}");
    put(&w, "endpointslices.discovery.k8s.io/n/s-2",
        "{\"metadata\":{\"labels\":{\"kubernetes.io/"
        "service-name\":\"s\"}},\"ports\":[{\"name\":\"http\",\"port\":8080}],"
        "\"endpoints\":[{\"addresses\":[\"10.0.0.9\"]},{\"addresses\":[\"10.0.0.2\"],"
        "\"deprecatedTopology\":{\"version\":"
        "\"v3\"}},{\"addresses\":[\"10.0.0.1\"],\"conditions\":{\"ready\":false}}]}");
    put(&w, "workloadentries.networking.istio.io/n/w",
        "{\"spec\":{\"address\":\"10.0.0.9\",\"labels\":{\"app\":\"s\",\"version\":\"v1\"},"
        "\"ports\":{\"web\":8080}}}");
    put(&w, "workloadentries.networking.istio.io/n/noport",
        "{\"spec\":{\"address\":\"10.0.0.8\",\"labels\":{\"app\":\"s\"}}}");
    put(&w, "workloadentries.networking.istio.io/other/w",
        "{\"spec\":{\"address\":\"10.0.0.7\",\"labels\":{\"app\":\"s\"},\"ports\":{\"web\":1}}}");
    const struct model_service *s = model_object(&w.m, S("services/n/s"))->body->services;
    model_endpoints(&w.m, s, &s->ports[0], &w.a, &out);
    assert_int_equal(out.n, 2);
    assert_true(slice_eq(out.p[0].address, S("10.0.0.2")) &&
                slice_eq(out.p[1].address, S("10.0.0.9")));
    assert_true(slice_eq(jr_pairs_get(out.p[0].labels, S("version")), S("v3")));
    assert_true(slice_eq(jr_pairs_get(out.p[1].labels, S("version")),
                         S("v1"))); /* the workload knows more */
    assert_int_equal(jr_pairs_get(out.p[0].labels, S("kubernetes.io/service-name")).n, 0);
    vec_fini(&out);

    struct model_instances in = {0};
    model_instances(&w.m, S("10.0.0.9"), &w.a, &in);
    assert_int_equal(in.n, 1);
    assert_true(in.p[0].target == 8080 && in.p[0].service == s);
    vec_fini(&in);
    model_instances(&w.m, S("10.0.0.200"), &w.a, &in);
    assert_int_equal(in.n, 0);
    world_fini(&w);
}

static void exports(void **state)
{
    (void)state;
    static const struct {
        const char *list, *ns;
        bool seen;
    } cases[] = {{"null", "b", true},     {"[]", "b", true},       {"[\"*\"]", "b", true},
                 {"[\".\"]", "a", true},  {"[\".\"]", "b", false}, {"[\"b\"]", "b", true},
                 {"[\"b\"]", "a", false}, {"[\"~\"]", "a", false}, {"[\".\",\"b\"]", "b", true}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *j = json_loads(cases[i].list, JSON_DECODE_ANY, NULL);
        if (model_exported(j, S("a"), slice_of(cases[i].ns)) != cases[i].seen)
            fail_msg("%s for %s", cases[i].list, cases[i].ns);
        json_decref(j);
    }
}

/* After a gap in the history everything is read again: only differences are noticed. */
static void reload_notices_differences(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    struct probe *a = probe(&w, MODEL_RULE_HOST, "a.default.svc.cluster.local");
    struct probe *b = probe(&w, MODEL_RULE_HOST, "b.default.svc.cluster.local");
    put(&w, DR_KEY, "{\"spec\":{\"host\":\"a\"}}");
    put(&w, DR_KEY "2", "{\"spec\":{\"host\":\"b\"}}");
    put(&w, "services/default/broken", "nonsense");
    graph_get(&w.g, &a->cell);
    graph_get(&w.g, &b->cell);
    uint64_t before = w.g.computed;
    model_reload_begin(&w.m);
    model_apply(&w.m, S(DR_KEY), S("{\"spec\":{\"host\":\"a\"}}"), 1, 1);
    model_reload_end(&w.m, 77);
    graph_get(&w.g, &a->cell);
    assert_int_equal(w.g.computed, before);
    graph_get(&w.g, &b->cell);
    assert_int_equal(b->members, 0);
    assert_int_equal(b->cell.node.revision, 77);
    assert_int_equal(w.m.objects.n, 1);
    world_fini(&w);
}

/* Facts of names that come and go do not pile up. */
static void empty_facts_are_forgotten(void **state)
{
    (void)state;
    struct world w;
    char key[100], json[200];
    world_init(&w);
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(key, sizeof(key), "workloadentries.networking.istio.io/n/w%u", i);
        snprintf(json, sizeof(json),
                 "{\"spec\":{\"address\":\"10.%u.%u.%u\",\"labels\":{\"pod\":\"p%u\"}}}", i >> 16,
                 i >> 8 & 255, i & 255, i);
        put(&w, key, json);
        model_delete(&w.m, slice_of(key), ++w.rev);
        model_collect(&w.m);
    }
    assert_true(w.m.facts.n < 3000);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations),
        cmocka_unit_test(protocols),
        cmocka_unit_test(hosts),
        cmocka_unit_test(changes_touch_what_they_concern),
        cmocka_unit_test(status_is_no_revision),
        cmocka_unit_test(oldest_first),
        cmocka_unit_test(bad_objects_are_issues),
        cmocka_unit_test(parts_not_in_effect),
        cmocka_unit_test(endpoints_are_sorted_and_once),
        cmocka_unit_test(exports),
        cmocka_unit_test(reload_notices_differences),
        cmocka_unit_test(empty_facts_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
