/* If these failed, proxies would get configuration that sends requests elsewhere than the objects
 * say. */
#include "pilot/build_testing.h"

/* Two services, one with two versions. */
static const char shop[] =
    "apiVersion: v1\n"
    "kind: Service\n"
    "metadata: {name: reviews, namespace: default}\n"
    "spec:\n"
    "  clusterIP: 10.0.0.1\n"
    "  selector: {app: reviews}\n"
    "  ports: [{name: http, port: 9080, targetPort: 9080}]\n"
    "---\n"
    "apiVersion: networking.istio.io/v1\n"
    "kind: WorkloadEntry\n"
    "metadata: {name: reviews-v1, namespace: default}\n"
    "spec: {address: 127.1.0.2, labels: {app: reviews, version: v1}, locality: eu/a}\n"
    "---\n"
    "apiVersion: networking.istio.io/v1\n"
    "kind: WorkloadEntry\n"
    "metadata: {name: reviews-v2, namespace: default}\n"
    "spec: {address: 127.1.0.3, labels: {app: reviews, version: v2}, weight: 3}\n"
    "---\n"
    "apiVersion: v1\n"
    "kind: Service\n"
    "metadata: {name: details, namespace: default}\n"
    "spec:\n"
    "  ports: [{name: grpc, port: 80, targetPort: 9081}, {name: tcp-admin, port: 9000}]\n"
    "---\n"
    "apiVersion: discovery.k8s.io/v1\n"
    "kind: EndpointSlice\n"
    "metadata:\n"
    "  name: details-1\n"
    "  namespace: default\n"
    "  labels: {kubernetes.io/service-name: details, app: details}\n"
    "addressType: IPv4\n"
    "ports: [{name: grpc, port: 9081}, {name: tcp-admin, port: 9000}]\n"
    "endpoints:\n"
    "- addresses: [127.1.0.5]\n"
    "  zone: z1\n"
    "- addresses: [127.1.0.6]\n"
    "  conditions: {ready: false}\n";

static const char subsets[] = "apiVersion: networking.istio.io/v1\n"
                              "kind: DestinationRule\n"
                              "metadata: {name: reviews, namespace: default}\n"
                              "spec:\n"
                              "  host: reviews\n"
                              "  subsets:\n"
                              "  - {name: v1, labels: {version: v1}}\n"
                              "  - {name: v2, labels: {version: v2}}\n";

static const char weights[] = "apiVersion: networking.istio.io/v1\n"
                              "kind: VirtualService\n"
                              "metadata: {name: reviews, namespace: default}\n"
                              "spec:\n"
                              "  hosts: [reviews]\n"
                              "  http:\n"
                              "  - route:\n"
                              "    - {destination: {host: reviews, subset: v1}, weight: 90}\n"
                              "    - {destination: {host: reviews, subset: v2}, weight: 10}\n";

#define REVIEWS "reviews.default.svc.cluster.local"
#define DETAILS "details.default.svc.cluster.local"

static const struct proxy_class_input weft = {.dialect = DIALECT_WEFT,
                                              .capture = CAPTURE_NONE,
                                              .ns = S_INIT("default"),
                                              .address = S_INIT("127.1.0.2")};
static const struct proxy_class_input envoy = {.dialect = DIALECT_ENVOY,
                                               .capture = CAPTURE_NONE,
                                               .ns = S_INIT("default"),
                                               .address = S_INIT("127.1.0.5")};
static const struct proxy_class_input other_ns = {.dialect = DIALECT_WEFT,
                                                  .capture = CAPTURE_NONE,
                                                  .ns = S_INIT("other"),
                                                  .address = S_INIT("127.1.0.9")};
static const struct proxy_class_input redirect = {.dialect = DIALECT_ENVOY,
                                                  .capture = CAPTURE_REDIRECT,
                                                  .ns = S_INIT("default"),
                                                  .address = S_INIT("127.1.0.5")};
static const struct proxy_class_input grpc = {.dialect = DIALECT_GRPC, .ns = S_INIT("default")};

static void clusters_and_endpoints(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_apply(&w, shop);
    world_apply(&w, subsets);
    assert_names(&w, &weft, XDS_CDS,
                 "BlackHoleCluster PassthroughCluster inbound|9080|| outbound|80||" DETAILS
                 " outbound|9000||" DETAILS " outbound|9080|v1|" REVIEWS
                 " outbound|9080|v2|" REVIEWS " outbound|9080||" REVIEWS);
    const json_t *c = world_get(&w, &weft, XDS_CDS, "outbound|9080|v1|" REVIEWS);
    assert_at(c, "type", "\"EDS\"");
    assert_at(c, "lbPolicy", "\"LEAST_REQUEST\"");
    assert_at(c, "connectTimeout", "\"10s\"");
    assert_at(c, "edsClusterConfig.edsConfig", "{\"ads\":{},\"resourceApiVersion\":\"V3\"}");
    assert_at(c, "circuitBreakers.thresholds[0].maxRetries", "4294967295");
    assert_at(c, "metadata.filterMetadata.istio.subset", "\"v1\"");
    assert_at(c, "metadata.filterMetadata.istio.services[0].name", "\"reviews\"");
    assert_true(slice_eq(world_find(&w, &weft, XDS_CDS, "outbound|9080|v1|" REVIEWS)->follows,
                         S("outbound|9080|v1|" REVIEWS)));
    c = world_get(&w, &weft, XDS_CDS, "outbound|80||" DETAILS);
    assert_at(
        c,
        "typedExtensionProtocolOptions[\"envoy.extensions.upstreams.http.v3.HttpProtocolOptions\"]."
        "explicitHttpConfig",
        "{\"http2ProtocolOptions\":{}}");
    const json_t *e = world_get(&w, &weft, XDS_EDS, "outbound|9080|v1|" REVIEWS);
    assert_at(e, "endpoints[0].lbEndpoints[0].endpoint.address.socketAddress",
              "{\"address\":\"127.1.0.2\",\"portValue\":9080}");
    assert_at(e, "endpoints[0].locality", "{\"region\":\"eu\",\"zone\":\"a\"}");
    assert_at(e, "endpoints[0].lbEndpoints[0].metadata.filterMetadata.istio.workload",
              "\"reviews-v1;default;reviews;v1;Kubernetes\"");
    assert_at(e, "endpoints[1]", "null");
    e = world_get(&w, &weft, XDS_EDS, "outbound|9080||" REVIEWS);
    assert_at(e, "endpoints[0].loadBalancingWeight", "3");
    assert_at(e, "endpoints[1].loadBalancingWeight", "1");
    e = world_get(&w, &weft, XDS_EDS, "outbound|80||" DETAILS);
    assert_at(e, "endpoints[0].lbEndpoints[1]", "null"); /* not ready */
    assert_at(e, "endpoints[0].lbEndpoints[0].endpoint.address.socketAddress.portValue", "9081");
    world_fini(&w);
}

static void routes_of_a_rule(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_apply(&w, shop);
    const json_t *v = world_get(&w, &weft, XDS_VHDS, "http_proxy/" REVIEWS ":9080");
    assert_at(v, "domains",
              "[\"" REVIEWS
              ":9080\",\"reviews:9080\",\"reviews.default:9080\",\"reviews.default.svc:9080\","
              "\"10.0.0.1:9080\"]");
    assert_at(v, "routes[0].route.cluster", "\"outbound|9080||" REVIEWS "\"");
    assert_at(v, "routes[0].route.timeout", "\"0s\"");
    assert_at(v, "routes[0].route.retryPolicy.numRetries", "2");
    v = world_get(&w, &other_ns, XDS_VHDS, "http_proxy/" DETAILS ":80");
    assert_at(v, "domains",
              "[\"" DETAILS ":80\",\"details.default:80\",\"details.default.svc:80\",\"" DETAILS
              "\",\"details.default\",\"details.default.svc\"]");

    world_apply(&w, subsets);
    world_apply(&w, weights);
    v = world_get(&w, &weft, XDS_VHDS, "http_proxy/" REVIEWS ":9080");
    assert_at(v, "routes[0].route.weightedClusters.clusters[0].name",
              "\"outbound|9080|v1|" REVIEWS "\"");
    assert_at(v, "routes[0].route.weightedClusters.clusters[0].weight", "90");
    assert_at(v, "routes[0].route.weightedClusters.clusters[1].weight", "10");
    const struct xds_resource *r = world_find(&w, &weft, XDS_VHDS, "http_proxy/" REVIEWS ":9080");
    assert_int_equal(r->source_count, 2);
    assert_true(slice_eq(r->sources[1], S("virtualservices.networking.istio.io/default/reviews")));
    world_fini(&w);
}

static void tables_by_dialect(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_apply(&w, shop);
    const json_t *rc = world_get(&w, &weft, XDS_RDS, "http_proxy");
    assert_at(rc, "vhds.configSource", "{\"ads\":{},\"resourceApiVersion\":\"V3\"}");
    assert_at(rc, "virtualHosts", "null");
    assert_names(&w, &weft, XDS_VHDS,
                 "http_proxy/allow_any http_proxy/" DETAILS ":80 http_proxy/" REVIEWS ":9080");
    rc = world_get(&w, &envoy, XDS_RDS, "http_proxy");
    assert_at(rc, "vhds", "null");
    assert_at(rc, "validateClusters", "false");
    assert_at(rc, "virtualHosts[0].name", "\"allow_any\"");
    assert_at(rc, "virtualHosts[0].routes[0].route.cluster", "\"PassthroughCluster\"");
    assert_at(rc, "virtualHosts[2].name", "\"" REVIEWS ":9080\"");
    assert_names(&w, &envoy, XDS_VHDS, "");
    assert_names(&w, &redirect, XDS_RDS, "80 9080");
    rc = world_get(&w, &redirect, XDS_RDS, "9080");
    assert_at(rc, "ignorePortInHostMatching", "true");
    assert_at(rc, "virtualHosts[1].domains",
              "[\"" REVIEWS
              "\",\"reviews\",\"reviews.default\",\"reviews.default.svc\",\"10.0.0.1\"]");
    world_fini(&w);
}

static void listeners_by_capture(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_apply(&w, shop);
    assert_names(&w, &weft, XDS_LDS, "127.1.0.2_15001 127.1.0.2_9080");
    const json_t *l = world_get(&w, &weft, XDS_LDS, "127.1.0.2_15001");
    assert_at(l, "filterChains[0].filters[0].typedConfig.rds.routeConfigName", "\"http_proxy\"");
    assert_at(l, "filterChains[0].filters[0].typedConfig.rds.configSource",
              "{\"ads\":{},\"initialFetchTimeout\":\"0s\",\"resourceApiVersion\":\"V3\"}");
    assert_at(l, "filterChains[0].filters[0].typedConfig.httpFilters[2].name",
              "\"envoy.filters.http.router\"");
    l = world_get(&w, &weft, XDS_LDS, "127.1.0.2_9080");
    assert_at(l, "trafficDirection", "\"INBOUND\"");
    assert_at(l,
              "filterChains[0].filters[0].typedConfig.routeConfig.virtualHosts[0].routes[0].route."
              "cluster",
              "\"inbound|9080||\"");
    const json_t *c = world_get(&w, &weft, XDS_CDS, "inbound|9080||");
    assert_at(c, "loadAssignment.endpoints[0].lbEndpoints[0].endpoint.address.socketAddress",
              "{\"address\":\"127.0.0.1\",\"portValue\":9080}");
    assert_names(&w, &redirect, XDS_LDS,
                 "0.0.0.0_80 0.0.0.0_9000 0.0.0.0_9080 virtualInbound virtualOutbound");
    l = world_get(&w, &redirect, XDS_LDS, "virtualInbound");
    assert_at(l, "filterChains[1].filterChainMatch.destinationPort", "9081");
    assert_at(l, "filterChains[2].filterChainMatch.destinationPort", "9000");
    assert_at(l, "filterChains[2].filters[0].name", "\"envoy.filters.network.tcp_proxy\"");
    world_fini(&w);
}

static void grpc_resources(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_apply(&w, shop);
    world_apply(&w, subsets);
    world_apply(&w, weights);
    const json_t *l = world_get(&w, &grpc, XDS_LDS, "reviews:9080");
    assert_at(l, "apiListener.apiListener.rds.routeConfigName", "\"outbound|9080||" REVIEWS "\"");
    assert_non_null(world_get(&w, &grpc, XDS_LDS, REVIEWS ":9080"));
    assert_non_null(world_get(&w, &grpc, XDS_LDS, "reviews.default.svc:9080"));
    const json_t *rc = world_get(&w, &grpc, XDS_RDS, "outbound|9080||" REVIEWS);
    assert_at(rc, "virtualHosts[0].domains", "[\"*\"]");
    assert_at(rc, "virtualHosts[0].routes[0].route.weightedClusters.clusters[1].weight", "10");
    const json_t *c = world_get(&w, &grpc, XDS_CDS, "outbound|9080|v2|" REVIEWS);
    assert_at(c, "lbPolicy", "null"); /* ROUND_ROBIN is 0 */
    assert_non_null(world_get(&w, &grpc, XDS_EDS, "outbound|9080|v2|" REVIEWS));
    assert_null(world_get(&w, &grpc, XDS_CDS, "PassthroughCluster"));
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clusters_and_endpoints), cmocka_unit_test(routes_of_a_rule),
        cmocka_unit_test(tables_by_dialect),      cmocka_unit_test(listeners_by_capture),
        cmocka_unit_test(grpc_resources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
