/* If these failed, a proxy would keep what an earlier state said, or two replicas would send
 * different bytes for the same state: views after any sequence of edits are compared with views
 * made from nothing.
 */
#include <stdio.h>

#include "pilot/build_testing.h"

#define OBJECTS 60
#define EDITS 600
#define SEEDS 6

/* A source of repeatable numbers. */

struct dice {
    uint64_t state;
};

static uint32_t roll(struct dice *d, uint32_t below)
{
    d->state = d->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((d->state >> 33) % below);
}

static const char *one_of(struct dice *d, const char *const *words, uint32_t n)
{
    return words[roll(d, n)];
}
#define ONE_OF(d, ...)                                                                             \
    one_of(d, (const char *const[]){__VA_ARGS__},                                                  \
           (uint32_t)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

/* Objects. */

struct object {
    char key[200], json[4000];
    reg_rev create_rev, mod_rev;
    bool live;
};

#define NS(d) ONE_OF(d, "default", "shop", "istio-system")
#define APP(d) ONE_OF(d, "a", "b", "c")
#define HOST(d)                                                                                    \
    ONE_OF(d, "a", "b", "c", "a.default.svc.cluster.local", "b.shop.svc.cluster.local",            \
           "c.shop.svc.cluster.local", "ext.example.com", "*.example.com",                         \
           "*.default.svc.cluster.local")
#define EXPORT(d)                                                                                  \
    ONE_OF(d, "", "", "", "\"exportTo\":[\".\"],", "\"exportTo\":[\"*\"],",                        \
           "\"exportTo\":[\"shop\"],")

static void service(struct object *o, struct dice *d)
{
    const char *ns = NS(d), *app = APP(d);
    snprintf(o->key, sizeof(o->key), "services/%s/%s", ns, app);
    snprintf(o->json, sizeof(o->json),
             "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"%s\"},\"spec\":{%s\"selector\":{"
             "\"app\":\"%s\"},"
             "\"ports\":[{\"name\":\"%s\",\"port\":%s,\"targetPort\":8080},{\"name\":\"%s\","
             "\"port\":%s}]}}",
             app, ns, ONE_OF(d, "", "\"clusterIP\":\"10.0.0.1\",", "\"clusterIP\":\"None\","), app,
             ONE_OF(d, "http", "grpc-x", "tcp", "x"), ONE_OF(d, "80", "8080"),
             ONE_OF(d, "http-b", "tcp-b", "https"), ONE_OF(d, "80", "443", "9000"));
}

static void slice(struct object *o, struct dice *d)
{
    const char *ns = NS(d), *app = APP(d);
    snprintf(o->key, sizeof(o->key), "endpointslices.discovery.k8s.io/%s/%s-%u", ns, app,
             roll(d, 2));
    snprintf(
        o->json, sizeof(o->json),
        "{\"metadata\":{\"labels\":{\"kubernetes.io/service-name\":\"%s\",\"version\":\"%s\"}},"
        "\"ports\":[{\"name\":\"%s\",\"port\":8080}],\"endpoints\":[{\"addresses\":[\"10.1.0.%u\"],"
        "\"zone\":\"%s\"},{\"addresses\":[\"10.1.0.%u\"]%s}]}",
        app, ONE_OF(d, "v1", "v2"), ONE_OF(d, "http", "grpc-x", "tcp"), roll(d, 5),
        ONE_OF(d, "z1", "z2"), roll(d, 5), ONE_OF(d, "", ",\"conditions\":{\"ready\":false}"));
}

static void workload(struct object *o, struct dice *d)
{
    const char *ns = NS(d);
    snprintf(o->key, sizeof(o->key), "workloadentries.networking.istio.io/%s/w%u", ns, roll(d, 4));
    snprintf(o->json, sizeof(o->json),
             "{\"metadata\":{},\"spec\":{\"address\":\"10.1.0.%u\",\"labels\":{\"app\":\"%s\","
             "\"version\":\"%s\"},"
             "\"locality\":\"r1/%s\",\"weight\":%u}}",
             roll(d, 5), APP(d), ONE_OF(d, "v1", "v2"), ONE_OF(d, "z1", "z2"), 1 + roll(d, 3));
}

static void service_entry(struct object *o, struct dice *d)
{
    const char *resolution = ONE_OF(d, "STATIC", "DNS", "NONE");
    bool fixed = strcmp(resolution, "STATIC") == 0;
    snprintf(o->key, sizeof(o->key), "serviceentries.networking.istio.io/%s/se%u", NS(d),
             roll(d, 3));
    snprintf(o->json, sizeof(o->json),
             "{\"metadata\":{},\"spec\":{%s\"hosts\":[\"%s\"%s],\"resolution\":\"%s\",%s\"ports\":"
             "[{\"number\":%s,\"name\":\"p\",\"protocol\":\"%s\"}]}}",
             EXPORT(d), ONE_OF(d, "ext.example.com", "a.default.svc.cluster.local", "a"),
             ONE_OF(d, "", ",\"x.example.com\""), resolution,
             fixed ? "\"endpoints\":[{\"address\":\"10.9.0.1\",\"labels\":{\"version\":\"v1\"}}],"
                   : "",
             ONE_OF(d, "80", "443"), ONE_OF(d, "HTTP", "HTTPS", "TCP", "GRPC"));
}

static void rule(struct object *o, struct dice *d)
{
    snprintf(o->key, sizeof(o->key), "destinationrules.networking.istio.io/%s/dr%u", NS(d),
             roll(d, 3));
    snprintf(
        o->json, sizeof(o->json),
        "{\"metadata\":{},\"spec\":{%s\"host\":\"%s\",%s%s\"subsets\":[{\"name\":\"%s\",\"labels\":"
        "{\"version\":\"v1\"}},{\"name\":\"v2\",\"labels\":{\"version\":\"v2\"},\"trafficPolicy\":"
        "{\"loadBalancer\":{\"simple\":\"%s\"}}}]}}",
        EXPORT(d), HOST(d),
        ONE_OF(d, "", "\"workloadSelector\":{\"matchLabels\":{\"app\":\"a\"}},"),
        ONE_OF(
            d, "", "\"trafficPolicy\":{\"outlierDetection\":{\"interval\":\"1s\"}},",
            "\"trafficPolicy\":{\"loadBalancer\":{\"consistentHash\":{\"httpHeaderName\":\"x\"}}},",
            "\"trafficPolicy\":{\"portLevelSettings\":[{\"port\":{\"number\":80},"
            "\"connectionPool\":"
            "{\"http\":{\"http2MaxRequests\":7}}}]},"),
        ONE_OF(d, "v1", "v3"), ONE_OF(d, "RANDOM", "ROUND_ROBIN"));
}

static void routes(struct object *o, struct dice *d)
{
    snprintf(o->key, sizeof(o->key), "virtualservices.networking.istio.io/%s/vs%u", NS(d),
             roll(d, 4));
    snprintf(
        o->json, sizeof(o->json),
        "{\"metadata\":{},\"spec\":{%s\"hosts\":[\"%s\",\"%s\"],%s\"http\":[{\"match\":[{\"uri\":{"
        "\"prefix\":"
        "\"/"
        "x\"}%s}],\"route\":[{\"destination\":{\"host\":\"%s\",\"subset\":\"v1\"},\"weight\":%u},"
        "{\"destination\":{\"host\":\"%s\"},\"weight\":50}]},{\"route\":[{\"destination\":{"
        "\"host\":\"%s\"%s}}]}],"
        "\"tcp\":[{\"route\":[{\"destination\":{\"host\":\"%s\"}}]}]}}",
        EXPORT(d), HOST(d), HOST(d),
        ONE_OF(d, "", "", "\"gateways\":[\"istio-system/g0\"],",
               "\"gateways\":[\"mesh\",\"istio-system/g1\"],"),
        ONE_OF(d, "", ",\"sourceLabels\":{\"app\":\"a\"}", ",\"sourceNamespace\":\"shop\"",
               ",\"port\":80"),
        HOST(d), roll(d, 100), HOST(d), HOST(d), ONE_OF(d, "", ",\"port\":{\"number\":80}"),
        HOST(d));
}

static void sidecar(struct object *o, struct dice *d)
{
    snprintf(o->key, sizeof(o->key), "sidecars.networking.istio.io/%s/s%u", NS(d), roll(d, 2));
    snprintf(o->json, sizeof(o->json),
             "{\"metadata\":{},\"spec\":{%s%s\"egress\":[{%s\"hosts\":[\"%s\"]}%s]}}",
             ONE_OF(d, "", "\"workloadSelector\":{\"labels\":{\"app\":\"a\"}},"),
             ONE_OF(d, "", "\"outboundTrafficPolicy\":{\"mode\":\"REGISTRY_ONLY\"},",
                    "\"ingress\":[{\"port\":{\"number\":7000,\"protocol\":\"HTTP\",\"name\":\"h\"},"
                    "\"defaultEndpoint\":\"127.0.0.1:7001\"}],"),
             ONE_OF(d, "", "\"port\":{\"number\":80,\"protocol\":\"HTTP\",\"name\":\"h\"},",
                    "\"port\":{\"number\":3128,\"protocol\":\"HTTP_PROXY\",\"name\":\"h\"},"),
             ONE_OF(d, "*/*", "./*", "shop/*", "*/a.default.svc.cluster.local"),
             ONE_OF(d, "",
                    ",{\"port\":{\"number\":9000,\"protocol\":\"TCP\",\"name\":\"t\"},\"hosts\":["
                    "\"*/*\"]}"));
}

/* A rule that delegates, or the delegate. */
static void delegation(struct object *o, struct dice *d)
{
    unsigned which = roll(d, 2);
    snprintf(o->key, sizeof(o->key), "virtualservices.networking.istio.io/default/%s",
             which ? "root" : "leaf");
    snprintf(o->json, sizeof(o->json),
             which ? "{\"metadata\":{},\"spec\":{\"hosts\":[\"%s\"],\"gateways\":[\"mesh\",\"istio-"
                     "system/g0\"],\"http\":"
                     "[{\"match\":[{\"uri\":{\"prefix\":\"/"
                     "d\"}}],\"timeout\":\"%us\",\"delegate\":{\"name\":\"leaf\"}},"
                     "{\"route\":[{\"destination\":{\"host\":\"a\"}}]}]}}"
                   : "{\"metadata\":{},\"spec\":{\"http\":[{\"match\":[{\"uri\":{\"prefix\":\"/d/"
                     "1\"}}],\"route\":"
                     "[{\"destination\":{\"host\":\"%s\"}}]},{\"redirect\":{\"port\":%u}}]}}",
             HOST(d), 1 + roll(d, 9));
}

static void gateway(struct object *o, struct dice *d)
{
    snprintf(o->key, sizeof(o->key), "gateways.networking.istio.io/istio-system/g%u", roll(d, 2));
    snprintf(o->json, sizeof(o->json),
             "{\"metadata\":{},\"spec\":{\"selector\":{\"app\":\"%s\"},\"servers\":[{\"port\":{"
             "\"number\":%s,\"protocol\":"
             "\"%s\",\"name\":\"p\"},%s\"hosts\":[\"%s\"]}]}}",
             ONE_OF(d, "a", "a", "z"), ONE_OF(d, "80", "443"),
             ONE_OF(d, "HTTP", "HTTP", "TLS", "TCP"),
             ONE_OF(d, "", "\"tls\":{\"httpsRedirect\":true},"),
             ONE_OF(d, "*", "*.example.com", "default/*", "a.default.svc.cluster.local"));
}

static void make(struct object *o, struct dice *d)
{
    static void (*const makers[])(struct object *, struct dice *) = {
        service, service, slice,  slice,      workload, service_entry, rule,
        rule,    routes,  routes, delegation, gateway,  sidecar};
    makers[roll(d, ARRAY_LEN(makers))](o, d);
}

/* Classes. */

static const struct slice label_a[][2] = {{S_INIT("app"), S_INIT("a")},
                                          {S_INIT("version"), S_INIT("v1")}};

static const struct proxy_class_input classes[] = {
    {.dialect = DIALECT_WEFT,
     .capture = CAPTURE_NONE,
     .ns = S_INIT("default"),
     .address = S_INIT("10.1.0.1"),
     .label_count = 2,
     .labels = label_a,
     .region = S_INIT("r1"),
     .zone = S_INIT("z1")},
    {.dialect = DIALECT_WEFT,
     .capture = CAPTURE_NONE,
     .ns = S_INIT("shop"),
     .address = S_INIT("10.1.0.2")},
    {.dialect = DIALECT_ENVOY,
     .capture = CAPTURE_REDIRECT,
     .ns = S_INIT("default"),
     .address = S_INIT("10.1.0.3")},
    {.dialect = DIALECT_ENVOY,
     .capture = CAPTURE_REDIRECT,
     .ns = S_INIT("shop"),
     .address = S_INIT("10.1.0.4"),
     .label_count = 2,
     .labels = label_a},
    {.dialect = DIALECT_ENVOY, .capture = CAPTURE_NONE, .ns = S_INIT("istio-system")},
    {.dialect = DIALECT_GRPC, .ns = S_INIT("default"), .address = S_INIT("10.1.0.1")},
    {.type = PROXY_ROUTER,
     .dialect = DIALECT_ENVOY,
     .ns = S_INIT("istio-system"),
     .label_count = 2,
     .labels = label_a},
};

/* Comparison. */

static void show_difference(const struct xds_resource *a, const struct xds_resource *b)
{
    json_t *x = resource_json(a), *y = resource_json(b);
    fail_msg("%.*s\n%s\nnot\n%s", SLICE(a->name), json_dumps(x, JSON_INDENT(1)),
             json_dumps(y, JSON_INDENT(1)));
}

static bool same_sources(const struct xds_resource *a, const struct xds_resource *b)
{
    bool same = a->source_count == b->source_count;
    for (size_t i = 0; same && i < a->source_count; i++)
        same = slice_eq(a->sources[i], b->sources[i]);
    return same;
}

/* Every resource decodes, names are those of the bodies, and both views say the same. */
static void same_list(const struct xds_list *a, const struct xds_list *b, enum xds_type type,
                      bool versions)
{
    struct xds_list_iter x = {.list = a}, y = {.list = b};
    struct xds_resource *r, *s;
    for (;;) {
        r = xds_list_next(&x);
        s = xds_list_next(&y);
        if (!r || !s)
            break;
        if (!slice_eq(r->name, s->name))
            fail_msg("%.*s here, %.*s from nothing", SLICE(r->name), SLICE(s->name));
        if (!slice_eq(r->body, s->body))
            show_difference(r, s);
        assert_true(r->version.hash == s->version.hash && slice_eq(r->follows, s->follows));
        if (versions)
            assert_true(r->version.revision == s->version.revision && same_sources(r, s));
        if (type != XDS_VHDS)
            assert_true(slice_eq(xds_resource_name_wire(&xds_types[type], r->body), r->name));
    }
    if (r || s)
        fail_msg("%.*s is in one view only", SLICE((r ? r : s)->name));
    if (versions && a && b)
        assert_true(a->hash == b->hash && a->revision == b->revision);
}

/* A domain that stands twice in a table is refused by Envoy, and so is a cluster's second name by
 * us. */
static void tables_are_valid(const struct xds_list *rds)
{
    for (size_t i = 0; rds && i < rds->n; i++) {
        json_t *j = resource_json(rds->items[i]), *seen = json_object();
        size_t k, l;
        json_t *vhost, *domain;
        json_array_foreach (json_object_get(j, "virtualHosts"), k, vhost) {
            json_array_foreach (json_object_get(vhost, "domains"), l, domain) {
                if (json_object_get(seen, json_string_value(domain)))
                    fail_msg("%.*s has %s twice in\n%s", SLICE(rds->items[i]->name),
                             json_string_value(domain), json_dumps(j, JSON_INDENT(1)));
                json_object_set(seen, json_string_value(domain), json_true());
            }
        }
        json_decref(seen);
        json_decref(j);
    }
}

static void same_views(struct build *a, struct build *b, bool versions)
{
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        struct xds_view *x = build_view(a, i + 1, &classes[i]),
                        *y = build_view(b, i + 1, &classes[i]);
        for (size_t t = 0; t < XDS_TYPE_COUNT; t++)
            same_list(x->types[t], y->types[t], (enum xds_type)t, versions);
        tables_are_valid(y->types[XDS_RDS]);
    }
}

/* The histories. */

static void from_nothing(struct build *b, const struct object *objects, bool backwards)
{
    build_init(b, S("istio-system"), S("c1"));
    for (size_t i = 0; i < OBJECTS; i++) {
        const struct object *o = &objects[backwards ? OBJECTS - 1 - i : i];
        if (o->live)
            model_apply(&b->model, slice_of(o->key), slice_of(o->json), o->create_rev, o->mod_rev);
    }
}

static struct object *place_for(struct object *objects, const char *key)
{
    struct object *empty = NULL;
    for (size_t i = 0; i < OBJECTS; i++) {
        if (objects[i].live && strcmp(objects[i].key, key) == 0)
            return &objects[i];
        if (!objects[i].live && !empty)
            empty = &objects[i];
    }
    return empty;
}

static void edit(struct build *b, struct object *objects, struct dice *d, reg_rev rev)
{
    if (roll(d, 4) == 0) {
        struct object *o = &objects[roll(d, OBJECTS)];
        if (o->live)
            model_delete(&b->model, slice_of(o->key), rev);
        o->live = false;
        return;
    }
    struct object made = {.live = true, .create_rev = rev, .mod_rev = rev};
    make(&made, d);
    struct object *o = place_for(objects, made.key);
    if (!o)
        return;
    if (o->live)
        made.create_rev = o->create_rev;
    *o = made;
    model_apply(&b->model, slice_of(o->key), slice_of(o->json), o->create_rev, o->mod_rev);
}

static void history(uint64_t seed)
{
    struct dice d = {seed};
    struct build b;
    struct object *objects = calloc(OBJECTS, sizeof(*objects));
    build_init(&b, S("istio-system"), S("c1"));
    for (reg_rev rev = 1; rev <= EDITS; rev++) {
        edit(&b, objects, &d, rev);
        if (roll(&d, 3) == 0) /* some states are passed without a look */
            for (size_t i = 0; i < ARRAY_LEN(classes); i++)
                build_view(&b, i + 1, &classes[i]);
        build_collect(&b);
        if (rev % 20)
            continue;
        struct build fresh, backwards;
        from_nothing(&fresh, objects, false);
        from_nothing(&backwards, objects, true);
        same_views(&b, &fresh, false);
        same_views(&fresh, &backwards, true);
        build_fini(&fresh);
        build_fini(&backwards);
    }
    build_fini(&b);
    free(objects);
}

static void edits_equal_from_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        history(seed * 7919);
}

/* The edits do reach what they are meant to: else the comparison above would prove little. */
static void histories_are_rich(void **state)
{
    (void)state;
    struct dice d = {42};
    struct object *objects = calloc(OBJECTS, sizeof(*objects));
    struct build b;
    size_t most[XDS_TYPE_COUNT] = {0};
    build_init(&b, S("istio-system"), S("c1"));
    for (reg_rev rev = 1; rev <= EDITS; rev++) {
        edit(&b, objects, &d, rev);
        for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
            struct xds_view *v = build_view(&b, i + 1, &classes[i]);
            for (size_t t = 0; t < XDS_TYPE_COUNT; t++)
                most[t] =
                    xds_list_count(v->types[t]) > most[t] ? xds_list_count(v->types[t]) : most[t];
        }
    }
    assert_true(most[XDS_CDS] > 20 && most[XDS_EDS] > 15 && most[XDS_LDS] > 8 &&
                most[XDS_RDS] > 3 && most[XDS_VHDS] > 8);
    build_fini(&b);
    free(objects);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edits_equal_from_nothing),
        cmocka_unit_test(histories_are_rich),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
