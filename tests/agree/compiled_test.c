/* If this fails, the control plane sends its own proxy something that the proxy refuses, or that it
 * takes and does not do. All that pilot compiles for bookinfo, for every networking file of it and
 * for the features below goes through the proxy's builder and into trees. */
#include "api/corpus.h"
#include "pilot/build_testing.h"
#include "proxy/xds/resources.h"

#define BOOKINFO "istio/samples/bookinfo/"

static const struct slice labels_gw[][2] = {{S_INIT("istio"), S_INIT("ingressgateway")}};

static const struct proxy_class_input classes[] = {
    {.dialect = DIALECT_WEFT,
     .capture = CAPTURE_NONE,
     .ns = S_INIT("default"),
     .address = S_INIT("127.1.0.1")},
    {.dialect = DIALECT_WEFT,
     .capture = CAPTURE_NONE,
     .ns = S_INIT("default"),
     .address = S_INIT("127.1.0.4")},
    {.dialect = DIALECT_WEFT,
     .capture = CAPTURE_REDIRECT,
     .ns = S_INIT("default"),
     .address = S_INIT("127.1.0.2")},
    {.type = PROXY_ROUTER,
     .dialect = DIALECT_WEFT,
     .ns = S_INIT("istio-system"),
     .label_count = 1,
     .labels = labels_gw},
};

/* Into the proxy. */

struct proxy {
    struct resources rs;
    size_t taken;
    const char *refused; /* words that a refusal may have; NULL: nothing may be refused */
    bool refusal_seen;
};

static void take(struct proxy *p, const struct xds_resource *r)
{
    struct err err = {0};
    char version[XDS_VERSION_TEXT];
    bool ok = resources_put(&p->rs, r->type, r->name, xds_version_format(r->version, version),
                            r->body, 0, &err);
    if (!ok && !(p->refused && strstr(err.msg, p->refused))) {
        json_t *j = resource_json(r);
        fail_msg("%s\n%s", err.msg, json_dumps(j, JSON_INDENT(1)));
    }
    p->refusal_seen |= !ok;
    p->taken++;
}

static void take_view(struct proxy *p, const struct xds_view *v)
{
    for (size_t t = 0; t < XDS_TYPE_COUNT; t++) {
        struct xds_list_iter it = {.list = v->types[t]};
        for (struct xds_resource *r; (r = xds_list_next(&it));)
            take(p, r);
        p->rs.received[t] = true;
    }
}

/* Rules of bookinfo that send to what other files bring. */
static bool brought_by_others(struct slice cluster)
{
    static const struct slice names[] = {S_INIT("mysql"), S_INIT("mongodb"),
                                         S_INIT("cert-manager-resolver"), S_INIT("|v2|details")};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (slice_contains(cluster, names[i]))
            return true;
    return false;
}

static void check_route(const struct conf *c, const struct route *r)
{
    for (size_t i = 0; i < r->cluster_count; i++) {
        struct slice name = r->clusters[i].cluster;
        if (r->clusters[i].weight && !conf_cluster(c, name) && !brought_by_others(name))
            fail_msg("a route goes to %.*s, which is no cluster", SLICE(name));
    }
}

/* Something takes plain text: else whoever connects is hung up on. */
static void check_chains(const struct listener *l)
{
    bool plain = false;
    for (size_t k = 0; k < l->chain_count; k++)
        plain |= !l->chains[k].tls;
    if (!plain)
        fail_msg("listener %.*s takes TLS alone", SLICE(l->name));
}

static void check_tree(struct proxy *p)
{
    struct err err = {0};
    struct conf *c = resources_seal(&p->rs, &err);
    if (err.code)
        fail_msg("%s", err.msg);
    assert_non_null(c);
    assert_true(resources_complete(&p->rs));
    assert_int_equal(c->listener_count, p->rs.by_name[XDS_LDS].n); /* no listener warms */
    assert_int_equal(c->cluster_count, p->rs.by_name[XDS_CDS].n);
    for (size_t i = 0; i < c->listener_count; i++) {
        check_chains(c->listeners[i]);
        for (size_t k = 0; k < c->listeners[i]->chain_count; k++) {
            const struct route_table *t = c->listeners[i]->chains[k].routes;
            for (size_t v = 0; t && v < t->vhost_count; v++)
                for (size_t r = 0; r < t->vhosts[v]->route_count; r++)
                    check_route(c, &t->vhosts[v]->routes[r]);
        }
    }
    conf_unref(c);
}

/* Each class as a proxy of its own that just came. */
static size_t check_world(struct world *w, const char *refused)
{
    size_t taken = 0, refusals = 0;
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        struct proxy p = {.refused = refused};
        take_view(&p, build_view(&w->build, i + 1, &classes[i]));
        check_tree(&p);
        taken += p.taken;
        refusals += p.refusal_seen;
        resources_fini(&p.rs);
    }
    assert_true(!refused || refusals);
    return taken;
}

/* The features. */

static const char services[] =
    "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: default}\n"
    "spec: {ports: [{name: http, port: 80}, {name: tcp-db, port: 3306}, {name: grpc, port: 7070},"
    " {name: https, port: 443}, {name: any, port: 9999}], selector: {app: a}}\n"
    "---\n"
    "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n"
    "metadata: {name: a-v1, namespace: default}\n"
    "spec: {address: 127.1.0.1, labels: {app: a, version: v1}, locality: r1/z1}\n"
    "---\n"
    "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n"
    "metadata: {name: a-v2, namespace: default}\n"
    "spec: {address: 127.1.0.4, labels: {app: a, version: v2}, locality: r1/z2, weight: 3}\n"
    "---\n"
    "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"
    "metadata: {name: outside, namespace: default}\n"
    "spec: {hosts: [www.example.com], location: MESH_EXTERNAL, resolution: DNS,"
    " ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]}\n"
    "---\n"
    "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"
    "metadata: {name: wide, namespace: default}\n"
    "spec: {hosts: ['*.example.org'], location: MESH_EXTERNAL, resolution: NONE,"
    " ports: [{number: 80, name: http, protocol: HTTP}]}\n";

#define RULE(http)                                                                                 \
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"                                   \
    "metadata: {name: a, namespace: default}\nspec: {hosts: [a], http: [" http "]}\n"
#define TO "route: [{destination: {host: a, port: {number: 80}}}]"
#define POLICY(policy)                                                                             \
    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"                                  \
    "metadata: {name: a, namespace: default}\nspec: {host: a, trafficPolicy: {" policy             \
    "}, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}\n"

static const struct {
    const char *name, *yaml;
} features[] = {
    {"weights", RULE("{route: [{destination: {host: a, subset: v1}, weight: 30},"
                     " {destination: {host: a, subset: v2}, weight: 70}]}")},
    {"matches",
     RULE("{match: [{uri: {prefix: /x}, headers: {end-user: {exact: j}, h: {regex: 'a.*'}},"
          " method: {exact: GET}, queryParams: {q: {exact: '1'}}, ignoreUriCase: true},"
          " {uri: {regex: '/[0-9]+'}}, {uri: {exact: /e}, withoutHeaders: {n: {}}},"
          " {authority: {prefix: a}}, {scheme: {exact: http}}, {port: 80}]," TO "}")},
    {"retries", RULE("{retries: {attempts: 3, perTryTimeout: 1s, retryOn: '5xx,connect-failure'},"
                     " timeout: 5s," TO "}")},
    {"faults", RULE("{fault: {delay: {percentage: {value: 10}, fixedDelay: 1s},"
                    " abort: {percentage: {value: 0.1}, httpStatus: 503}}," TO "}")},
    {"rewrite", RULE("{match: [{uri: {prefix: /x}}], rewrite: {uri: /y, authority: z}," TO "}")},
    {"rewrite by regex",
     RULE("{rewrite: {uriRegexRewrite: {match: '/a/(.*)', rewrite: '/b/\\\\1'}}," TO "}")},
    {"redirect", RULE("{redirect: {uri: /n, authority: other, redirectCode: 308}}")},
    {"redirect to a port", RULE("{redirect: {port: 8080, scheme: https}}")},
    {"direct response", RULE("{directResponse: {status: 404, body: {string: gone}}}")},
    {"headers", RULE("{headers: {request: {add: {x: '1'}, set: {y: '2'}, remove: [z]},"
                     " response: {set: {s: '3'}}}," TO "}")},
    {"headers of a destination",
     RULE("{route: [{destination: {host: a}, headers: {request: {set: {x: '1'}}}}]}")},
    {"balancing", POLICY("loadBalancer: {simple: LEAST_REQUEST}")},
    {"random", POLICY("loadBalancer: {simple: RANDOM}")},
    {"passthrough", POLICY("loadBalancer: {simple: PASSTHROUGH}")},
    {"ring", POLICY("loadBalancer: {consistentHash: {httpHeaderName: u, ringHash: {minimumRingSize:"
                    " 512}}}")},
    {"maglev", POLICY("loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 101}}"
                      "}")},
    {"cookie", POLICY("loadBalancer: {consistentHash: {httpCookie: {name: c, ttl: 10s}}}")},
    {"locality", POLICY("loadBalancer: {localityLbSetting: {enabled: true, failover: [{from: r1,"
                        " to: r2}]}}, outlierDetection: {consecutive5xxErrors: 3, interval: 1s,"
                        " baseEjectionTime: 2s, maxEjectionPercent: 50, minHealthPercent: 40}")},
    {"limits",
     POLICY("connectionPool: {tcp: {maxConnections: 10, connectTimeout: 1s}, http:"
            " {http1MaxPendingRequests: 1, http2MaxRequests: 2, maxRequestsPerConnection: 3,"
            " maxRetries: 4, idleTimeout: 5s, h2UpgradePolicy: UPGRADE}}")},
    {"a gateway",
     "apiVersion: networking.istio.io/v1\nkind: Gateway\n"
     "metadata: {name: g, namespace: default}\n"
     "spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http,"
     " protocol: HTTP}, hosts: ['*.example.com']}, {port: {number: 8080, name: h2,"
     " protocol: HTTP2}, hosts: ['*']}, {port: {number: 3306, name: tcp, protocol: TCP}, hosts:"
     " ['*']}]}\n---\n"
     "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
     "metadata: {name: g, namespace: default}\n"
     "spec: {hosts: [www.example.com], gateways: [g], http: [{" TO "}], tcp: [{route: [{"
     "destination: {host: a, port: {number: 3306}}}]}]}\n"},
    {"tcp rules",
     "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
     "metadata: {name: db, namespace: default}\nspec: {hosts: [a], tcp: [{match: [{port: 3306}],"
     " route: [{destination: {host: a, subset: v1, port: {number: 3306}}, weight: 60},"
     " {destination: {host: a, subset: v2, port: {number: 3306}}, weight: 40}]}]}\n"},
    {"a gateway that wants TLS",
     "apiVersion: networking.istio.io/v1\nkind: Gateway\n"
     "metadata: {name: g, namespace: default}\n"
     "spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http,"
     " protocol: HTTP}, hosts: ['*.example.com'], tls: {httpsRedirect: true}}]}\n---\n"
     "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
     "metadata: {name: g, namespace: default}\n"
     "spec: {hosts: [www.example.com], gateways: [g], http: [{" TO "}]}\n"},
    {"a sidecar",
     "apiVersion: networking.istio.io/v1\nkind: Sidecar\n"
     "metadata: {name: default, namespace: default}\n"
     "spec: {egress: [{port: {number: 15080, protocol: HTTP_PROXY, name: p}, bind: 127.1.0.1,"
     " hosts: ['./*']}, {port: {number: 3306, protocol: TCP, name: db}, bind: 127.1.0.1, hosts:"
     " ['./a.default.svc.cluster.local']}], ingress: [{port: {number: 9080, protocol: HTTP, name:"
     " http}, defaultEndpoint: '127.0.0.1:9080'}]}\n"},
};

static void test_features(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(features); i++) {
        struct world w;
        world_init(&w);
        world_apply(&w, services);
        world_apply(&w, POLICY("loadBalancer: {simple: ROUND_ROBIN}"));
        world_apply(&w, features[i].yaml);
        print_message("    %s\n", features[i].name);
        assert_true(check_world(&w, NULL) > 10);
        world_fini(&w);
    }
}

/* What the proxy cannot do yet, it says. */
static void test_refusals(void **state)
{
    static const char *const rows[][2] = {
        {RULE("{corsPolicy: {allowOrigins: [{exact: 'https://example.com'}]}," TO "}"),
         "envoy.filters.http.cors: not known"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct world w;
        world_init(&w);
        world_apply(&w, services);
        world_apply(&w, rows[i][0]);
        check_world(&w, rows[i][1]);
        world_fini(&w);
    }
}

/* Bookinfo. */

static const char *const workloads[][2] = {
    {"productpage", "v1"}, {"details", "v1"}, {"details", "v2"}, {"reviews", "v1"},
    {"reviews", "v2"},     {"reviews", "v3"}, {"ratings", "v1"}, {"ratings", "v2"}};

static void apply_workloads(struct world *w)
{
    char yaml[400];
    for (size_t i = 0; i < ARRAY_LEN(workloads); i++) {
        snprintf(yaml, sizeof(yaml),
                 "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: %s-%s, "
                 "namespace: default}\nspec: {address: 127.1.0.%zu, labels: {app: %s, version: "
                 "%s}}\n",
                 workloads[i][0], workloads[i][1], i + 1, workloads[i][0], workloads[i][1]);
        world_apply(w, yaml);
    }
}

static void apply_file(void *ctx, const char *path)
{
    struct world *w = ctx;
    struct buf text = {0};
    print_message("    %s\n", strrchr(path, '/') + 1);
    assert_true(corpus_read(path, &text));
    world_apply_slice(w, buf_slice(&text));
    check_world(w, NULL);
    buf_fini(&text);
}

static void test_bookinfo(void **state)
{
    struct world w;
    char dir[2000], path[4096];
    (void)state;
    if (!corpus_dir(dir, sizeof(dir))) {
        print_message("    skipped: shared/corpus is not there\n");
        skip();
    }
    world_init(&w);
    snprintf(path, sizeof(path), "%s/" BOOKINFO "platform/kube/bookinfo.yaml", dir);
    apply_file(&w, path);
    apply_workloads(&w);
    snprintf(path, sizeof(path), "%s/" BOOKINFO "networking", dir);
    corpus_each(path, apply_file, &w);
    assert_true(check_world(&w, NULL) > 50);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_features),
                                       cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_bookinfo)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
