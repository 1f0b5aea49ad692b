/* If these fail, a route to a subset that does not exist is committed and a tenth of all requests
 * gets 503; or users are refused what is fine and turn analysis off. */
#include "api/analyze.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "api/corpus.h"
#include "base/wire/yaml.h"

/* A state of a few documents. */
struct world {
    struct yaml_stream docs;
};

static void world_init(struct world *w, const char *yaml)
{
    struct err err = {0};
    if (!yaml_parse(slice_of(yaml), &w->docs, &err))
        fail_msg("%s", err.msg);
}

static const json_t *world_get(void *ctx, enum kind_id id, struct slice ns, struct slice name)
{
    struct world *w = ctx;
    for (size_t i = 0; i < w->docs.count; i++) {
        const json_t *o = w->docs.docs[i].root;
        if (slice_eq(json_str(o, "kind"), slice_of(kinds[id].kind)) &&
            slice_eq(json_str(o, "metadata.namespace"), ns) &&
            slice_eq(json_str(o, "metadata.name"), name))
            return o;
    }
    return NULL;
}

/* A reader that skips what the hint lets it skip: answers must not change by it. */
static bool mentions(const struct analyze_hint *hint, const json_t *object)
{
    struct buf text = {0};
    bool found;
    assert_true(json_write(&text, object, NULL));
    found = analyze_hint_matches(hint, buf_slice(&text));
    buf_fini(&text);
    return found;
}

static void world_each(void *ctx, enum kind_id id, struct slice ns, const struct analyze_hint *hint,
                       bool (*fn)(void *arg, const json_t *object), void *arg)
{
    struct world *w = ctx;
    for (size_t i = 0; i < w->docs.count; i++) {
        const json_t *o = w->docs.docs[i].root;
        if (slice_eq(json_str(o, "kind"), slice_of(kinds[id].kind)) &&
            (!ns.n || slice_eq(json_str(o, "metadata.namespace"), ns)) && mentions(hint, o) &&
            !fn(arg, o))
            return;
    }
}

#define META(name, ns) "metadata: {name: " name ", namespace: " ns "}"
#define SERVICE(name, ns, ports)                                                                   \
    "---\nkind: Service\n" META(name, ns) "\nspec: {ports: " ports "}\n"
#define RULE(name, ns, spec) "---\nkind: DestinationRule\n" META(name, ns) "\nspec: " spec "\n"
#define ROUTES(name, ns, spec) "---\nkind: VirtualService\n" META(name, ns) "\nspec: " spec "\n"
#define ENTRY(name, ns, spec) "---\nkind: ServiceEntry\n" META(name, ns) "\nspec: " spec "\n"
#define GATEWAY(name, ns, hosts)                                                                   \
    "---\nkind: Gateway\n" META(name, ns) "\nspec: {servers: [{hosts: " hosts "}]}\n"
#define SIDECAR(name, ns, spec) "---\nkind: Sidecar\n" META(name, ns) "\nspec: " spec "\n"

static const char shop[] = SERVICE("reviews", "default", "[{port: 9080}]")
    SERVICE("ratings", "default", "[{port: 9080}, {port: 9090}]")
        RULE("reviews", "default", "{host: reviews, subsets: [{name: v1}, {name: v2}]}")
            RULE("hidden", "other",
                 "{host: reviews.default.svc.cluster.local, exportTo: [.], subsets: [{name: v7}]}")
                RULE("wild", "default", "{host: '*.example.com', subsets: [{name: a}]}")
                    ENTRY("ext", "default", "{hosts: [api.example.com, '*.wild.com']}")
                        ENTRY("far", "other", "{hosts: [far.com], exportTo: [.]}")
                            GATEWAY("edge", "default", "['*.shop.com', other/only.com]")
                                ROUTES("old", "default", "{hosts: [ratings], http: []}")
                                    SIDECAR("all", "default", "{egress: []}");

struct analysis_case {
    const char *object; /* kind: …, spec below */
    const char *field;  /* NULL: not a word */
    const char *message;
    bool error;
};

/* One of many sees what one alone sees. */
static void assert_same_reports(const struct kind_report *a, const struct kind_report *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        assert_true(slice_eq(a->items[i].field, b->items[i].field));
        assert_true(slice_eq(a->items[i].message, b->items[i].message));
    }
}

static void run(const char *world, const struct analysis_case *cases, size_t n)
{
    struct world w;
    world_init(&w, world);
    const struct analyze_lookup lookup = {&w, world_get, world_each};
    struct analyzer *batch = analyzer_new(&lookup);
    for (size_t i = 0; i < n; i++) {
        struct yaml_stream s;
        struct err err = {0};
        struct kind_report report = {0}, of_batch = {0};
        if (!yaml_parse(slice_of(cases[i].object), &s, &err))
            fail_msg("%s: %s", cases[i].object, err.msg);
        const struct kind *k = kind_guess(json_str(s.docs[0].root, "kind"));
        bool ok = kind_analyze(k, s.docs[0].root, &lookup, &report),
             found = !cases[i].field && !report.count;
        for (size_t p = 0; p < report.count && cases[i].field; p++)
            found |= slice_eq(report.items[p].field, slice_of(cases[i].field)) &&
                     slice_contains(report.items[p].message, slice_of(cases[i].message)) &&
                     report.items[p].warning != cases[i].error;
        for (size_t p = 0; p < report.count && !found; p++)
            print_error("%.*s: %.*s\n", SLICE(report.items[p].field),
                        SLICE(report.items[p].message));
        if (!found || ok == cases[i].error)
            fail_msg("%s: wanted %s: %s", cases[i].object, cases[i].field ? cases[i].field : "",
                     cases[i].message);
        analyzer_object(batch, k, s.docs[0].root, &of_batch);
        assert_same_reports(&report, &of_batch);
        yaml_stream_fini(&s);
        kind_report_fini(&report);
        kind_report_fini(&of_batch);
    }
    analyzer_free(batch);
    yaml_stream_fini(&w.docs);
}

#define VS(spec) "kind: VirtualService\n" META("x", "default") "\nspec: " spec
#define TO(destination) VS("{hosts: [x], http: [{route: [{destination: " destination "}]}]}")

static void judges_routes(void **state)
{
    static const struct analysis_case cases[] = {
        {TO("{host: reviews, subset: v1}"), NULL, "", false},
        {TO("{host: reviews, subset: v9}"), "spec.http[0].route[0].destination.subset",
         "WFT0173: host \"reviews\" has no subset \"v9\": DestinationRule default/reviews defines "
         "v1, v2 (did you mean "
         "\"v1\"?); its share of requests would get 503: add the subset there first",
         true},
        {TO("{host: reviews.default.svc.cluster.local, subset: v9}"),
         "spec.http[0].route[0].destination.subset", "WFT0173", true},
        /* A rule that its namespace keeps to itself says nothing about others. */
        {TO("{host: reviews, subset: v7}"), "spec.http[0].route[0].destination.subset", "WFT0173",
         true},
        {TO("{host: ratings, subset: v1, port: {number: 9080}}"),
         "spec.http[0].route[0].destination.subset",
         "WFT0101: no DestinationRule for \"ratings\" defines", false},
        {TO("{host: reviewz}"), "spec.http[0].route[0].destination.host",
         "WFT0101: no Service default/reviewz and no ServiceEntry for \"reviewz\": requests get "
         "503 until there is one, "
         "did you mean \"reviews\"?",
         false},
        {TO("{host: nope.com}"), "spec.http[0].route[0].destination.host",
         "WFT0101: no Service and no ServiceEntry", false},
        {TO("{host: api.example.com}"), NULL, "", false},
        {TO("{host: a.wild.com}"), NULL, "", false},
        {TO("{host: far.com}"), "spec.http[0].route[0].destination.host", "WFT0101", false},
        {TO("{host: api.example.com, subset: a}"), NULL, "", false},
        {TO("{host: api.example.com, subset: b}"), "spec.http[0].route[0].destination.subset",
         "WFT0173", true},
        {TO("{host: ratings}"), "spec.http[0].route[0].destination.port", "WFT0112", false},
        {TO("{host: ratings, port: {number: 1}}"), "spec.http[0].route[0].destination.port",
         "WFT0101: Service default/ratings has no port 1", false},
        {TO("{host: ratings, port: {number: 9090}}"), NULL, "", false},
        {VS("{hosts: [x], http: [{mirrors: [{destination: {host: reviews, subset: v9}}]}]}"),
         "spec.http[0].mirrors[0].destination.subset", "WFT0173", true},
        {VS("{hosts: [x], http: [{mirror: {host: reviews, subset: v9}}]}"),
         "spec.http[0].mirror.subset", "WFT0173", true},
        {VS("{hosts: [x], tcp: [{route: [{destination: {host: reviews, subset: v9}}]}]}"),
         "spec.tcp[0].route[0].destination.subset", "WFT0173", true},
        {"kind: VirtualService\n" META(
             "x",
             "other") "\nspec: {hosts: [x], http: [{route: [{destination: {host: reviews}}]}]}",
         "spec.http[0].route[0].destination.host", "no Service other/reviews", false},
        /* gateways and hosts */
        {VS("{hosts: [a.shop.com], gateways: [edge]}"), NULL, "", false},
        {VS("{hosts: ['*'], gateways: [default/edge]}"), NULL, "", false},
        {VS("{hosts: [shop.org], gateways: [edge]}"), "spec.gateways[0]", "WFT0132", false},
        {VS("{hosts: [only.com], gateways: [edge]}"), "spec.gateways[0]", "WFT0132", false},
        {VS("{hosts: [a.shop.com], gateways: [edgy]}"), "spec.gateways[0]",
         "WFT0101: no Gateway default/edgy", false},
        {VS("{hosts: [y, ratings]}"), "spec.hosts[1]", "WFT0109: VirtualService default/old",
         false},
        {VS("{hosts: [ratings.default.svc.cluster.local]}"), "spec.hosts[0]", "WFT0109", false},
        {VS("{hosts: [ratings], gateways: [edge]}"), "spec.gateways[0]", "WFT0132", false},
        {"kind: VirtualService\n" META("old", "default") "\nspec: {hosts: [ratings]}", NULL, "",
         false},
    };
    (void)state;
    run(shop, cases, ARRAY_LEN(cases));
}

static void judges_destination_rules(void **state)
{
    static const char world[] = SERVICE("reviews", "default", "[{port: 9080}]")
        RULE("reviews", "default", "{host: reviews, subsets: [{name: v1}, {name: v2}]}")
            RULE("more", "default", "{host: reviews, subsets: [{name: v3}]}")
                ROUTES("canary", "default",
                       "{hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: "
                       "v2}}, {destination: "
                       "{host: reviews, subset: v3}}]}]}");
#define DR(name, spec) "kind: DestinationRule\n" META(name, "default") "\nspec: " spec
    static const struct analysis_case cases[] = {
        {DR("reviews", "{host: reviews, subsets: [{name: v1}, {name: v2}]}"), NULL, "", false},
        {DR("reviews", "{host: reviews, subsets: [{name: v1}]}"), "spec.subsets",
         "WFT0173: VirtualService default/canary routes to subset \"v2\"", false},
        {DR("reviews", "{host: reviews.default.svc.cluster.local}"), "spec.subsets", "WFT0173",
         false},
        {DR("x", "{host: nope}"), "spec.host", "WFT0174", false},
        {DR("x", "{host: '*.com'}"), NULL, "", false},
    };
    (void)state;
    run(world, cases, ARRAY_LEN(cases));
}

static void judges_sidecars(void **state)
{
    static const struct analysis_case cases[] = {
        {SIDECAR("all", "default", "{egress: []}"), NULL, "", false},
        {SIDECAR("second", "default", "{egress: []}"), "spec.workloadSelector",
         "WFT0111: Sidecar default/all", false},
        {SIDECAR("second", "other", "{egress: []}"), NULL, "", false},
        {SIDECAR("second", "default", "{workloadSelector: {labels: {a: b}}}"), NULL, "", false},
    };
    (void)state;
    run(shop, cases, ARRAY_LEN(cases));
}

/* Samples are applied file by file, in any order: nothing in them may be refused against an empty
 * state. */
static void refuse_nothing(void *ctx, const char *path)
{
    struct world empty = {0};
    const struct analyze_lookup lookup = {&empty, world_get, world_each};
    struct buf text = {0};
    struct yaml_stream s;
    struct err err = {0};
    assert_true(corpus_read(path, &text) && yaml_parse(buf_slice(&text), &s, &err));
    for (size_t i = 0; i < s.count; i++) {
        const struct kind *k = kind_of_object(s.docs[i].root, &err);
        struct kind_report report = {0};
        if (!k)
            continue;
        ++*(size_t *)ctx;
        if (!kind_analyze(k, s.docs[i].root, &lookup, &report))
            fail_msg("%s: %.*s", path, SLICE(report.items[0].message));
        kind_report_fini(&report);
    }
    yaml_stream_fini(&s);
    buf_fini(&text);
}

static void samples_are_not_refused(void **state)
{
    char dir[512], path[600];
    size_t objects = 0;
    (void)state;
    if (!corpus_dir(dir, sizeof(dir))) {
        print_message("skipped: no corpus (istio/samples)\n");
        skip();
    }
    snprintf(path, sizeof(path), "%s/istio/samples", dir);
    corpus_each(path, refuse_nothing, &objects);
    assert_true(objects > 50);
}

/* With the rules of destination-rule-all.yaml in place, every route of the bookinfo samples still
 * goes through. */
static void add_to_world(void *ctx, const char *path)
{
    struct buf *all = ctx;
    if (strstr(path, "destination-rule-all.yaml")) {
        assert_true(corpus_read(path, all));
        buf_append(all, S("\n---\n"));
    }
}

static void check_against_rules(void *ctx, const char *path)
{
    const struct analyze_lookup *lookup = ctx;
    struct buf text = {0};
    struct yaml_stream s;
    struct err err = {0};
    if (!strstr(path, "virtual-service-"))
        return;
    assert_true(corpus_read(path, &text) && yaml_parse(buf_slice(&text), &s, &err));
    for (size_t i = 0; i < s.count; i++) {
        struct kind_report report = {0};
        const struct kind *k = kind_of_object(s.docs[i].root, &err);
        json_object_set_new(json_object_get(s.docs[i].root, "metadata"), "namespace",
                            json_string("default"));
        if (k && !kind_analyze(k, s.docs[i].root, lookup, &report))
            fail_msg("%s: %.*s", path, SLICE(report.items[0].message));
        kind_report_fini(&report);
    }
    yaml_stream_fini(&s);
    buf_fini(&text);
}

static void bookinfo_routes_fit_bookinfo_rules(void **state)
{
    char dir[512], path[600];
    struct buf all = {0};
    struct world w;
    (void)state;
    if (!corpus_dir(dir, sizeof(dir))) {
        print_message("skipped: no corpus (istio/samples/bookinfo)\n");
        skip();
    }
    snprintf(path, sizeof(path), "%s/istio/samples/bookinfo/networking", dir);
    corpus_each(path, add_to_world, &all);
    assert_true(all.n > 100);
    buf_append_byte(&all, 0);
    world_init(&w, all.p + all.at);
    for (size_t i = 0; i < w.docs.count; i++)
        json_object_set_new(json_object_get(w.docs.docs[i].root, "metadata"), "namespace",
                            json_string("default"));
    struct analyze_lookup lookup = {&w, world_get, world_each};
    corpus_each(path, check_against_rules, &lookup);
    yaml_stream_fini(&w.docs);
    buf_fini(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judges_routes),
        cmocka_unit_test(judges_destination_rules),
        cmocka_unit_test(judges_sidecars),
        cmocka_unit_test(samples_are_not_refused),
        cmocka_unit_test(bookinfo_routes_fit_bookinfo_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
