/* If a case failed, a field that a user wrote would do nothing, or something else than Istio's
 * documentation says. Each case: objects over a small shop, and what a resource then holds at a
 * path.
 */
#include <stdio.h>

#include "pilot/build_testing.h"

static const char shop[] =
    "apiVersion: v1\n"
    "kind: Service\n"
    "metadata: {name: a, namespace: default}\n"
    "spec: {clusterIP: 10.0.0.1, selector: {app: a}, ports: [{name: http, port: 80, targetPort: "
    "8080}]}\n"
    "---\n"
    "apiVersion: v1\n"
    "kind: Service\n"
    "metadata: {name: b, namespace: shop}\n"
    "spec: {clusterIP: 10.0.0.2, selector: {app: b}, ports: [{name: tcp, port: 9000}]}\n"
    "---\n"
    "apiVersion: networking.istio.io/v1\n"
    "kind: WorkloadEntry\n"
    "metadata: {name: a1, namespace: default}\n"
    "spec: {address: 127.1.0.2, labels: {app: a, version: v1}, locality: r1/z1/s1}\n"
    "---\n"
    "apiVersion: networking.istio.io/v1\n"
    "kind: WorkloadEntry\n"
    "metadata: {name: a2, namespace: default}\n"
    "spec: {address: 127.1.0.3, labels: {app: a, version: v2}, locality: r2/z1}\n";

static const struct slice labels_a[][2] = {{S_INIT("app"), S_INIT("a")}};
static const struct slice labels_gw[][2] = {{S_INIT("istio"), S_INIT("ingressgateway")}};

static const struct proxy_class_input weft = {.dialect = DIALECT_WEFT,
                                              .capture = CAPTURE_NONE,
                                              .ns = S_INIT("default"),
                                              .address = S_INIT("127.1.0.2"),
                                              .label_count = 1,
                                              .labels = labels_a,
                                              .region = S_INIT("r2"),
                                              .zone = S_INIT("z1")};
static const struct proxy_class_input redirect = {.dialect = DIALECT_ENVOY,
                                                  .capture = CAPTURE_REDIRECT,
                                                  .ns = S_INIT("default"),
                                                  .address = S_INIT("127.1.0.2")};
static const struct proxy_class_input shop_ns = {.dialect = DIALECT_WEFT,
                                                 .capture = CAPTURE_NONE,
                                                 .ns = S_INIT("shop"),
                                                 .address = S_INIT("127.1.0.9")};
static const struct proxy_class_input grpc = {.dialect = DIALECT_GRPC, .ns = S_INIT("default")};
static const struct proxy_class_input gateway = {.type = PROXY_ROUTER,
                                                 .dialect = DIALECT_ENVOY,
                                                 .ns = S_INIT("istio-system"),
                                                 .address = S_INIT("127.1.0.8"),
                                                 .label_count = 1,
                                                 .labels = labels_gw};

struct rule_case {
    const char *what;
    const char *yaml;
    const struct proxy_class_input *class;
    enum xds_type type;
    const char *name, *path, *expected; /* expected: JSON; "null" with path "" = no such resource */
};

#define A "a.default.svc.cluster.local"
#define CLUSTER_A "outbound|80||" A
#define VHOST_A "http_proxy/" A ":80"

#define DR(spec)                                                                                   \
    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a, namespace: "   \
    "default}\n"                                                                                   \
    "spec: " spec "\n"
#define DR_AT(ns, name, spec)                                                                      \
    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: " name            \
    ", namespace: " ns "}\nspec: " spec "\n"
#define VS(spec)                                                                                   \
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a, namespace: "    \
    "default}\n"                                                                                   \
    "spec: " spec "\n"
#define VS_AT(ns, name, spec)                                                                      \
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: " name             \
    ", namespace: " ns "}\nspec: " spec "\n"
#define SE(spec)                                                                                   \
    "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: x, namespace: "      \
    "default}\n"                                                                                   \
    "spec: " spec "\n"
#define SIDECAR(spec)                                                                              \
    "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s, namespace: default}\n" \
    "spec: " spec "\n"
#define GATEWAY(spec)                                                                              \
    "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw, namespace: "          \
    "istio-system}\n"                                                                              \
    "spec: " spec "\n"

static const struct rule_case cluster_cases[] = {
    {"round robin", DR("{host: a, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}"), &weft,
     XDS_CDS, CLUSTER_A, "lbPolicy", "null"},
    {"random", DR("{host: a, trafficPolicy: {loadBalancer: {simple: RANDOM}}}"), &weft, XDS_CDS,
     CLUSTER_A, "lbPolicy", "\"RANDOM\""},
    {"ring hash by default of consistentHash",
     DR("{host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x}}}}"), &weft,
     XDS_CDS, CLUSTER_A, "ringHashLbConfig", "{\"minimumRingSize\":\"1024\"}"},
    {"the route hashes",
     DR("{host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x}}}}"), &weft,
     XDS_VHDS, VHOST_A, "routes[0].route.hashPolicy", "[{\"header\":{\"headerName\":\"x\"}}]"},
    {"with a hash a retry may meet the same host",
     DR("{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}}"), &weft,
     XDS_VHDS, VHOST_A, "routes[0].route.retryPolicy.retryHostPredicate", "null"},
    {"maglev",
     DR("{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, maglev: "
        "{tableSize: "
        "251}}}}}"),
     &weft, XDS_CDS, CLUSTER_A, "maglevLbConfig.tableSize", "\"251\""},
    {"a table that is not prime",
     DR("{host: a, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, maglev: "
        "{tableSize: "
        "1000}}}}}"),
     &weft, XDS_CDS, CLUSTER_A, "maglevLbConfig.tableSize", "\"65537\""},
    {"a name among addresses is left out",
     "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: a0, namespace: "
     "default}\n"
     "spec: {address: host.example.com, labels: {app: a}}\n",
     &weft, XDS_EDS, CLUSTER_A, "endpoints[2]", "null"},
    {"gRPC has no maglev",
     DR("{host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x, maglev: "
        "{}}}}}"),
     &grpc, XDS_CDS, CLUSTER_A, "lbPolicy", "\"RING_HASH\""},
    {"pool",
     DR("{host: a, trafficPolicy: {connectionPool: {tcp: {maxConnections: 5, connectTimeout: "
        "250ms}, http: "
        "{http1MaxPendingRequests: 6, http2MaxRequests: 7, maxRetries: 8}}}}"),
     &weft, XDS_CDS, CLUSTER_A, "circuitBreakers.thresholds[0]",
     "{\"maxConnections\":5,\"maxPendingRequests\":6,\"maxRequests\":7,\"maxRetries\":8,"
     "\"trackRemaining\":true}"},
    {"connect timeout",
     DR("{host: a, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 250ms}}}}"), &weft,
     XDS_CDS, CLUSTER_A, "connectTimeout", "\"0.250s\""},
    {"requests of a connection",
     DR("{host: a, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 9, "
        "idleTimeout: 5s}}}}"),
     &weft, XDS_CDS, CLUSTER_A,
     "typedExtensionProtocolOptions[\"envoy.extensions.upstreams.http.v3.HttpProtocolOptions\"]."
     "commonHttpProtocolOptions",
     "{\"idleTimeout\":\"5s\",\"maxRequestsPerConnection\":9}"},
    {"upgrade to HTTP/2",
     DR("{host: a, trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}}"), &weft,
     XDS_CDS, CLUSTER_A,
     "typedExtensionProtocolOptions[\"envoy.extensions.upstreams.http.v3.HttpProtocolOptions\"]."
     "explicitHttpConfig.http2ProtocolOptions",
     "{}"},
    {"outlier detection",
     DR("{host: a, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3, interval: 1s, "
        "baseEjectionTime: "
        "30s, maxEjectionPercent: 50, minHealthPercent: 20}}}"),
     &weft, XDS_CDS, CLUSTER_A, "outlierDetection",
     "{\"baseEjectionTime\":\"30s\",\"consecutive5xx\":3,\"enforcingConsecutive5xx\":100,"
     "\"enforcingSuccessRate\":0,\"interval\":\"1s\",\"maxEjectionPercent\":50}"},
    {"panic threshold of outlier detection",
     DR("{host: a, trafficPolicy: {outlierDetection: {minHealthPercent: 20}}}"), &weft, XDS_CDS,
     CLUSTER_A, "commonLbConfig.healthyPanicThreshold", "{\"value\":20}"},
    {"outlier detection turns failover by locality on",
     DR("{host: a, trafficPolicy: {outlierDetection: {interval: 1s}}}"), &weft, XDS_EDS, CLUSTER_A,
     "endpoints[0].priority", "1"},
    {"without it no priorities", DR("{host: a}"), &weft, XDS_EDS, CLUSTER_A,
     "endpoints[0].priority", "null"},
    {"failover to a named region",
     DR("{host: a, trafficPolicy: {outlierDetection: {interval: 1s}, loadBalancer: "
        "{localityLbSetting: {failover: "
        "[{from: r2, to: r3}]}}}}"),
     &weft, XDS_EDS, CLUSTER_A, "endpoints[0].priority", "1"},
    {"no locality, no failover",
     DR("{host: a, trafficPolicy: {outlierDetection: {interval: 1s}, loadBalancer: "
        "{localityLbSetting: {enabled: "
        "false}}}}"),
     &weft, XDS_EDS, CLUSTER_A, "endpoints[0].priority", "null"},
    {"distribution by place",
     DR("{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: "
        "\"r2/*\", to: {\"r1/*\": 20, "
        "\"r2/z1/*\": 80}}]}}}}"),
     &weft, XDS_EDS, CLUSTER_A, "endpoints[1].lbEndpoints[0].loadBalancingWeight", "800000"},
    {"a place without a share gets nothing",
     DR("{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: "
        "\"r2/*\", to: {\"r2/*\": "
        "100}}]}}}}"),
     &weft, XDS_EDS, CLUSTER_A, "endpoints[1]", "null"},
    {"a distribution for other places",
     DR("{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: "
        "\"r9/*\", to: {\"r2/*\": "
        "100}}]}}}}"),
     &weft, XDS_EDS, CLUSTER_A, "endpoints[0].loadBalancingWeight", "1"},
    {"warm-up",
     DR("{host: a, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 60s}}}}"),
     &weft, XDS_CDS, CLUSTER_A, "roundRobinLbConfig.slowStartConfig.slowStartWindow", "\"60s\""},
    {"settings of a port replace all others",
     DR("{host: a, trafficPolicy: {loadBalancer: {simple: RANDOM}, connectionPool: {tcp: "
        "{maxConnections: 5}}, "
        "portLevelSettings: [{port: {number: 80}, connectionPool: {tcp: {maxConnections: 6}}}]}}"),
     &weft, XDS_CDS, CLUSTER_A, "lbPolicy", "\"LEAST_REQUEST\""},
    {"a subset's policy overlays",
     DR("{host: a, trafficPolicy: {loadBalancer: {simple: RANDOM}, connectionPool: {tcp: "
        "{maxConnections: 5}}}, "
        "subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: "
        "ROUND_ROBIN}}}]}"),
     &weft, XDS_CDS, "outbound|80|v1|" A, "circuitBreakers.thresholds[0].maxConnections", "5"},
    {"a subset of no endpoints", DR("{host: a, subsets: [{name: v9, labels: {version: v9}}]}"),
     &weft, XDS_EDS, "outbound|80|v9|" A, "endpoints", "null"},
    {"the most specific host decides",
     DR("{host: a, trafficPolicy: {loadBalancer: {simple: RANDOM}}}") "---\n" DR_AT(
         "default", "wild",
         "{host: \"*.default.svc.cluster.local\", trafficPolicy: {loadBalancer: {simple: "
         "ROUND_ROBIN}}}"),
     &weft, XDS_CDS, CLUSTER_A, "lbPolicy", "\"RANDOM\""},
    {"a wildcard is used where nothing else is",
     DR_AT("default", "wild",
           "{host: \"*.default.svc.cluster.local\", trafficPolicy: {loadBalancer: {simple: "
           "RANDOM}}}"),
     &weft, XDS_CDS, CLUSTER_A, "lbPolicy", "\"RANDOM\""},
    {"the caller's namespace goes before the service's",
     DR("{host: a, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}") "---\n" DR_AT(
         "shop", "a", "{host: " A ", trafficPolicy: {loadBalancer: {simple: RANDOM}}}"),
     &shop_ns, XDS_CDS, CLUSTER_A, "lbPolicy", "\"RANDOM\""},
    {"the service's namespace is seen by others",
     DR("{host: a, trafficPolicy: {loadBalancer: {simple: RANDOM}}}"), &shop_ns, XDS_CDS, CLUSTER_A,
     "lbPolicy", "\"RANDOM\""},
    {"but not what it keeps to itself",
     DR("{host: a, exportTo: [\".\"], trafficPolicy: {loadBalancer: {simple: RANDOM}}}"), &shop_ns,
     XDS_CDS, CLUSTER_A, "lbPolicy", "\"LEAST_REQUEST\""},
    {"the root namespace last",
     DR_AT("istio-system", "all",
           "{host: \"*.svc.cluster.local\", trafficPolicy: {loadBalancer: {simple: RANDOM}}}"),
     &weft, XDS_CDS, CLUSTER_A, "lbPolicy", "\"RANDOM\""},
    {"two rules of one host: the first policy",
     DR("{host: a, trafficPolicy: {loadBalancer: {simple: RANDOM}}}") "---\n" DR_AT(
         "default", "a2",
         "{host: a, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}, subsets: [{name: v2, "
         "labels: {version: v2}}]}"),
     &weft, XDS_CDS, CLUSTER_A, "lbPolicy", "\"RANDOM\""},
    {"and the subsets of both",
     DR("{host: a}") "---\n" DR_AT("default", "a2",
                                   "{host: a, subsets: [{name: v2, labels: {version: v2}}]}"),
     &weft, XDS_EDS, "outbound|80|v2|" A,
     "endpoints[0].lbEndpoints[0].endpoint.address.socketAddress.address", "\"127.1.0.3\""},
    {"a rule for callers with a label",
     DR("{host: a, workloadSelector: {matchLabels: {app: a}}, trafficPolicy: {loadBalancer: "
        "{simple: RANDOM}}}"),
     &weft, XDS_CDS, CLUSTER_A, "lbPolicy", "\"RANDOM\""},
    {"is not for others",
     DR("{host: a, workloadSelector: {matchLabels: {app: a}}, trafficPolicy: {loadBalancer: "
        "{simple: RANDOM}}}"),
     &redirect, XDS_CDS, CLUSTER_A, "lbPolicy", "\"LEAST_REQUEST\""},
};

static const struct rule_case route_cases[] = {
    {"exact path",
     VS("{hosts: [a], http: [{match: [{uri: {exact: /x}}], route: [{destination: "
        "{host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].match", "{\"path\":\"/x\"}"},
    {"prefix, any case",
     VS("{hosts: [a], http: [{match: [{uri: {prefix: /x}, ignoreUriCase: true}], "
        "route: [{destination: {host: "
        "a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].match", "{\"caseSensitive\":false,\"prefix\":\"/x\"}"},
    {"regular expression",
     VS("{hosts: [a], http: [{match: [{uri: {regex: \"/x.*\"}}], route: [{destination: "
        "{host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].match.safeRegex", "{\"regex\":\"/x.*\"}"},
    {"headers in the order of names",
     VS("{hosts: [a], http: [{match: [{headers: {z: {exact: \"1\"}, b: {prefix: p}, m: "
        "{}}}], route: "
        "[{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].match.headers",
     "[{\"name\":\"b\",\"stringMatch\":{\"prefix\":\"p\"}},{\"name\":\"m\","
     "\"presentMatch\":true},{\"name\":\"z\","
     "\"stringMatch\":{\"exact\":\"1\"}}]"},
    {"without a header's value also holds where it is missing",
     VS("{hosts: [a], http: [{match: [{withoutHeaders: {x: {exact: \"1\"}}}], route: "
        "[{destination: {host: "
        "a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].match.headers",
     "[{\"invertMatch\":true,\"name\":\"x\",\"stringMatch\":{\"exact\":\"1\"},"
     "\"treatMissingHeaderAsEmpty\":true}]"},
    {"method, authority, scheme",
     VS("{hosts: [a], http: [{match: [{method: {exact: GET}, authority: {prefix: a}, "
        "scheme: {exact: http}}], "
        "route: [{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].match.headers",
     "[{\"name\":\":method\",\"stringMatch\":{\"exact\":\"GET\"}},{\"name\":\":"
     "authority\",\"stringMatch\":"
     "{\"prefix\":\"a\"}},{\"name\":\":scheme\",\"stringMatch\":{\"exact\":\"http\"}}"
     "]"},
    {"query",
     VS("{hosts: [a], http: [{match: [{queryParams: {q: {exact: \"1\"}}}], route: "
        "[{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].match.queryParameters",
     "[{\"name\":\"q\",\"stringMatch\":{\"exact\":\"1\"}}]"},
    {"two match blocks are two routes",
     VS("{hosts: [a], http: [{name: main, match: [{name: one, uri: {prefix: /1}}, {uri: "
        "{prefix: /2}}], route: "
        "[{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].name", "\"main.one\""},
    {"what follows a catch-all is never reached",
     VS("{hosts: [a], http: [{route: [{destination: {host: a}}]}, {match: [{uri: "
        "{prefix: /x}}], route: "
        "[{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[1]", "null"},
    {"rules for other ports are left out",
     VS("{hosts: [a], http: [{match: [{port: 81, uri: {prefix: /x}}], redirect: {uri: "
        "/y}}, {route: "
        "[{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].route.cluster", "\"" CLUSTER_A "\""},
    {"source labels hold",
     VS("{hosts: [a], http: [{match: [{sourceLabels: {app: a}}], redirect: {uri: /y}}, "
        "{route: [{destination: "
        "{host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].redirect.pathRedirect", "\"/y\""},
    {"source labels do not hold",
     VS("{hosts: [a], http: [{match: [{sourceLabels: {app: z}}], redirect: {uri: /y}}, "
        "{route: [{destination: "
        "{host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].redirect", "null"},
    {"source namespace",
     VS("{hosts: [a], http: [{match: [{sourceNamespace: shop}], redirect: {uri: /y}}, "
        "{route: [{destination: "
        "{host: a}}]}]}"),
     &shop_ns, XDS_VHDS, VHOST_A, "routes[0].redirect.pathRedirect", "\"/y\""},
    {"rules of a gateway are not the mesh's",
     VS("{hosts: [a], gateways: [gw], http: [{redirect: {uri: /y}}]}"), &weft, XDS_VHDS, VHOST_A,
     "routes[0].route.cluster", "\"" CLUSTER_A "\""},
    {"timeout", VS("{hosts: [a], http: [{timeout: 1.5s, route: [{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].route.timeout", "\"1.500s\""},
    {"retries",
     VS("{hosts: [a], http: [{retries: {attempts: 3, perTryTimeout: 2s, retryOn: "
        "\"5xx,429\"}, route: "
        "[{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].route.retryPolicy.retryOn",
     "\"5xx,retriable-status-codes\""},
    {"a number in retryOn is a status",
     VS("{hosts: [a], http: [{retries: {attempts: 3, perTryTimeout: 2s, retryOn: "
        "\"5xx,429\"}, route: "
        "[{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].route.retryPolicy.retriableStatusCodes", "[429]"},
    {"no attempts, no retries",
     VS("{hosts: [a], http: [{retries: {attempts: 0}, route: [{destination: {host: "
        "a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].route.retryPolicy", "null"},
    {"rewrite",
     VS("{hosts: [a], http: [{rewrite: {uri: /new, authority: other}, route: "
        "[{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].route.prefixRewrite", "\"/new\""},
    {"rewrite the authority",
     VS("{hosts: [a], http: [{rewrite: {authority: other}, route: [{destination: "
        "{host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].route.hostRewriteLiteral", "\"other\""},
    {"rewrite by expression",
     VS("{hosts: [a], http: [{rewrite: {uriRegexRewrite: {match: \"^/(.*)\", rewrite: "
        "\"/p/\\\\1\"}}, route: "
        "[{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].route.regexRewrite",
     "{\"pattern\":{\"regex\":\"^/(.*)\"},\"substitution\":\"/p/\\\\1\"}"},
    {"redirect",
     VS("{hosts: [a], http: [{redirect: {uri: /y, authority: z, scheme: https, port: "
        "8443, redirectCode: 308}}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].redirect",
     "{\"hostRedirect\":\"z\",\"pathRedirect\":\"/"
     "y\",\"portRedirect\":8443,\"responseCode\":\"PERMANENT_REDIRECT\","
     "\"schemeRedirect\":\"https\"}"},
    {"redirect that keeps the rest of the path",
     VS("{hosts: [a], http: [{match: [{uri: {prefix: /old}}], redirect: {uri: "
        "\"%PREFIX()%/new\"}}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].redirect", "{\"prefixRewrite\":\"/new\"}"},
    {"direct response",
     VS("{hosts: [a], http: [{directResponse: {status: 503, body: {string: gone}}}]}"), &weft,
     XDS_VHDS, VHOST_A, "routes[0].directResponse",
     "{\"body\":{\"inlineString\":\"gone\"},\"status\":503}"},
    {"headers of the request",
     VS("{hosts: [a], http: [{headers: {request: {set: {x: \"1\"}, add: {w: \"2\"}, "
        "remove: [z]}}, route: "
        "[{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].requestHeadersToAdd",
     "[{\"appendAction\":\"OVERWRITE_IF_EXISTS_OR_ADD\",\"header\":{\"key\":\"x\","
     "\"value\":\"1\"}},{\"header\":"
     "{\"key\":\"w\",\"value\":\"2\"}}]"},
    {"headers to remove",
     VS("{hosts: [a], http: [{headers: {response: {remove: [z]}}, route: "
        "[{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].responseHeadersToRemove", "[\"z\"]"},
    {"setting the host is a rewrite",
     VS("{hosts: [a], http: [{headers: {request: {set: {Host: h}}}, route: "
        "[{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].route.hostRewriteLiteral", "\"h\""},
    {"headers of one destination",
     VS("{hosts: [a], http: [{route: [{destination: {host: a}, headers: {request: "
        "{set: {x: \"1\"}}}}]}]}"),
     &weft, XDS_VHDS, VHOST_A,
     "routes[0].route.weightedClusters.clusters[0].requestHeadersToAdd[0].header",
     "{\"key\":\"x\",\"value\":\"1\"}"},
    {"a weight of 0 gets nothing",
     VS("{hosts: [a], http: [{route: [{destination: {host: a, subset: v1}, weight: "
        "100}, {destination: {host: a, "
        "subset: v2}, weight: 0}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].route.cluster", "\"outbound|80|v1|" A "\""},
    {"delay",
     VS("{hosts: [a], http: [{fault: {delay: {fixedDelay: 7s, percentage: {value: "
        "0.1}}}, route: [{destination: "
        "{host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].typedPerFilterConfig[\"envoy.filters.http.fault\"].delay",
     "{\"fixedDelay\":\"7s\",\"percentage\":{\"denominator\":\"MILLION\",\"numerator\":"
     "1000}}"},
    {"abort of gRPC",
     VS("{hosts: [a], http: [{fault: {abort: {grpcStatus: UNAVAILABLE}}, route: "
        "[{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].typedPerFilterConfig[\"envoy.filters.http.fault\"].abort",
     "{\"grpcStatus\":14,\"percentage\":{\"denominator\":\"MILLION\",\"numerator\":"
     "1000000}}"},
    {"mirror",
     VS("{hosts: [a], http: [{mirror: {host: b.shop.svc.cluster.local}, "
        "mirrorPercentage: {value: 50}, route: "
        "[{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].route.requestMirrorPolicies",
     "[{\"cluster\":\"outbound|9000||b.shop.svc.cluster.local\",\"runtimeFraction\":{"
     "\"defaultValue\":"
     "{\"denominator\":\"MILLION\",\"numerator\":500000}}}]"},
    {"CORS",
     VS("{hosts: [a], http: [{corsPolicy: {allowOrigins: [{exact: \"https://x\"}], "
        "allowMethods: [GET, POST], maxAge: "
        "24h, allowCredentials: true}, route: [{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A,
     "routes[0].typedPerFilterConfig[\"envoy.filters.http.cors\"].allowMethods", "\"GET,POST\""},
    {"the age of CORS in seconds",
     VS("{hosts: [a], http: [{corsPolicy: {maxAge: 24h}, route: [{destination: {host: "
        "a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].typedPerFilterConfig[\"envoy.filters.http.cors\"].maxAge",
     "\"86400\""},
    {"the only port of a destination",
     VS("{hosts: [a], http: [{route: [{destination: {host: "
        "b.shop.svc.cluster.local}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].route.cluster",
     "\"outbound|9000||b.shop.svc.cluster.local\""},
    {"short names are of the rule's namespace",
     VS_AT("shop", "x", "{hosts: [" A "], http: [{route: [{destination: {host: b}}]}]}"), &weft,
     XDS_VHDS, VHOST_A, "routes[0].route.cluster", "\"outbound|9000||b.shop.svc.cluster.local\""},
    {"of two rules of a host the older counts",
     VS("{hosts: [a], http: [{redirect: {uri: /old}}]}") "---\n" VS_AT(
         "default", "0-younger", "{hosts: [a], http: [{redirect: {uri: /young}}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].redirect.pathRedirect", "\"/old\""},
    {"the most specific host counts",
     VS_AT("default", "wild",
           "{hosts: [\"*.default.svc.cluster.local\"], http: [{redirect: {uri: "
           "/wild}}]}") "---\n" VS("{hosts: [a], http: [{redirect: {uri: /exact}}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].redirect.pathRedirect", "\"/exact\""},
    {"what is kept to its namespace does not reach others",
     VS("{hosts: [a], exportTo: [\".\"], http: [{redirect: {uri: /y}}]}"), &shop_ns, XDS_VHDS,
     VHOST_A, "routes[0].route.cluster", "\"" CLUSTER_A "\""},
    {"a host that only a rule knows",
     VS("{hosts: [virtual.example.com], http: [{route: [{destination: {host: a}}]}]}"), &weft,
     XDS_VHDS, "http_proxy/virtual.example.com:80", "domains",
     "[\"virtual.example.com:80\",\"virtual.example.com\"]"},
    {"which has routes too",
     VS("{hosts: [virtual.example.com], http: [{route: [{destination: {host: a}}]}]}"), &redirect,
     XDS_RDS, "80", "virtualHosts[2].routes[0].route.cluster", "\"" CLUSTER_A "\""},
    {"a body of bytes",
     VS("{hosts: [a], http: [{directResponse: {status: 200, body: {bytes: aGVsbG8=}}}]}"), &weft,
     XDS_VHDS, VHOST_A, "routes[0].directResponse.body", "{\"inlineBytes\":\"aGVsbG8=\"}"},
    {"a delegate's rule within the rule that delegates",
     VS("{hosts: [a], http: [{name: root, match: [{uri: {prefix: /x}}], timeout: 5s, delegate: "
        "{name: d, namespace: "
        "shop}}, {redirect: {uri: /rest}}]}") "---\n" VS_AT("shop", "d",
                                                            "{http: [{name: own, match: [{uri: "
                                                            "{prefix: /x/1}}], route: "
                                                            "[{destination: {host: b}}]}, {match: "
                                                            "[{uri: {prefix: /other}}], redirect: "
                                                            "{uri: /never}}, {redirect: {uri: "
                                                            "/all}}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].match", "{\"prefix\":\"/x/1\"}"},
    {"takes what it does not say from it",
     VS("{hosts: [a], http: [{name: root, match: [{uri: {prefix: /x}}], timeout: 5s, delegate: "
        "{name: d, namespace: "
        "shop}}]}") "---\n" VS_AT("shop", "d",
                                  "{http: [{name: own, route: [{destination: {host: b}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].route.timeout", "\"5s\""},
    {"names hosts from where it stands",
     VS("{hosts: [a], http: [{name: root, match: [{uri: {prefix: /x}}], delegate: {name: d, "
        "namespace: shop}}]}") "---\n" VS_AT("shop", "d",
                                             "{http: [{name: own, route: [{destination: {host: "
                                             "b}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].route.cluster",
     "\"outbound|9000||b.shop.svc.cluster.local\""},
    {"and what contradicts it is dropped",
     VS("{hosts: [a], http: [{match: [{uri: {prefix: /x}}], delegate: {name: d, namespace: shop}}, "
        "{redirect: {uri: "
        "/rest}}]}") "---\n" VS_AT("shop", "d",
                                   "{http: [{match: [{uri: {prefix: /other}}], redirect: {uri: "
                                   "/never}}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].redirect.pathRedirect", "\"/rest\""},
    {"a delegate that is not there leaves the other rules",
     VS("{hosts: [a], http: [{match: [{uri: {prefix: /x}}], delegate: {name: gone}}, {redirect: "
        "{uri: /rest}}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].redirect.pathRedirect", "\"/rest\""},
    {"a claim of a token cannot match in the mesh, and does not widen the rule",
     VS("{hosts: [a], http: [{match: [{headers: {\"@request.auth.claims.g\": {exact: "
        "x}}}], redirect: {uri: /y}}, "
        "{route: [{destination: {host: a}}]}]}"),
     &weft, XDS_VHDS, VHOST_A, "routes[0].redirect", "null"},
    {"gRPC's own clients take the limit from the stream",
     VS("{hosts: [a], http: [{timeout: 3s, route: [{destination: {host: a}}]}]}"), &grpc, XDS_RDS,
     CLUSTER_A, "virtualHosts[0].routes[0].route.maxStreamDuration",
     "{\"grpcTimeoutHeaderMax\":\"3s\",\"maxStreamDuration\":\"3s\"}"},
};

static const struct rule_case scope_cases[] = {
    {"REGISTRY_ONLY", SIDECAR("{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"), &weft, XDS_VHDS,
     "http_proxy/block_all", "routes[0].directResponse.status", "502"},
    {"egress hosts hide the rest", SIDECAR("{egress: [{hosts: [\"./*\"]}]}"), &weft, XDS_CDS,
     "outbound|9000||b.shop.svc.cluster.local", "", "null"},
    {"and let in what they name", SIDECAR("{egress: [{hosts: [\"shop/*\"]}]}"), &weft, XDS_CDS,
     CLUSTER_A, "", "null"},
    {"a listener of the egress",
     SIDECAR("{egress: [{port: {number: 8888, protocol: HTTP_PROXY, name: p}, bind: 127.0.0.9, "
             "hosts: [\"*/*\"]}]}"),
     &weft, XDS_LDS, "127.0.0.9_8888", "filterChains[0].filters[0].typedConfig.rds.routeConfigName",
     "\"http_proxy\""},
    {"an HTTP port of the egress has a table of its own",
     SIDECAR("{egress: [{port: {number: 80, protocol: HTTP, name: h}, hosts: [\"*/*\"]}]}"), &weft,
     XDS_LDS, "127.1.0.2_80", "filterChains[0].filters[0].typedConfig.rds.routeConfigName",
     "\"80\""},
    {"and its virtual hosts ignore ports",
     SIDECAR("{egress: [{port: {number: 80, protocol: HTTP, name: h}, hosts: [\"*/*\"]}]}"), &weft,
     XDS_VHDS, "80/" A ":80", "domains",
     "[\"" A "\",\"a\",\"a.default\",\"a.default.svc\",\"10.0.0.1\"]"},
    {"a TCP port of the egress",
     SIDECAR("{egress: [{port: {number: 9000, protocol: TCP, name: t}, hosts: [\"*/*\"]}]}"), &weft,
     XDS_LDS, "127.1.0.2_9000", "filterChains[0].filters[0].typedConfig.cluster",
     "\"outbound|9000||b.shop.svc.cluster.local\""},
    {"ingress replaces what the services say",
     SIDECAR("{ingress: [{port: {number: 7000, protocol: HTTP, name: h}, defaultEndpoint: "
             "\"127.0.0.1:7001\"}]}"),
     &weft, XDS_CDS, "inbound|7000||",
     "loadAssignment.endpoints[0].lbEndpoints[0].endpoint.address.socketAddress.portValue", "7001"},
    {"and is the only inbound listener",
     SIDECAR("{ingress: [{port: {number: 7000, protocol: HTTP, name: h}, defaultEndpoint: "
             "\"127.0.0.1:7001\"}]}"),
     &weft, XDS_LDS, "127.1.0.2_8080", "", "null"},
    {"a Sidecar that selects others changes nothing",
     SIDECAR(
         "{workloadSelector: {labels: {app: z}}, outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"),
     &weft, XDS_VHDS, "http_proxy/allow_any", "name", "\"allow_any\""},
    {"a static ServiceEntry",
     SE("{hosts: [ext.example.com], location: MESH_EXTERNAL, resolution: STATIC, ports: [{number: "
        "80, name: http, "
        "protocol: HTTP, targetPort: 8000}], endpoints: [{address: 10.9.0.1}, {address: 10.9.0.2, "
        "ports: {http: "
        "8001}, weight: 2}]}"),
     &weft, XDS_EDS, "outbound|80||ext.example.com",
     "endpoints[0].lbEndpoints[1].endpoint.address.socketAddress",
     "{\"address\":\"10.9.0.2\",\"portValue\":8001}"},
    {"a ServiceEntry by DNS",
     SE("{hosts: [ext.example.com], location: MESH_EXTERNAL, resolution: DNS, ports: [{number: "
        "443, name: https, "
        "protocol: HTTPS}]}"),
     &weft, XDS_CDS, "outbound|443||ext.example.com", "type", "\"STRICT_DNS\""},
    {"whose own host is the name",
     SE("{hosts: [ext.example.com], location: MESH_EXTERNAL, resolution: DNS, ports: [{number: "
        "443, name: https, "
        "protocol: HTTPS}]}"),
     &weft, XDS_CDS, "outbound|443||ext.example.com",
     "loadAssignment.endpoints[0].lbEndpoints[0].endpoint.address.socketAddress.address",
     "\"ext.example.com\""},
    {"a ServiceEntry without resolution goes where the caller was going",
     SE("{hosts: [\"*.example.com\"], location: MESH_EXTERNAL, resolution: NONE, ports: [{number: "
        "443, name: tls, "
        "protocol: TLS}]}"),
     &weft, XDS_CDS, "outbound|443||*.example.com", "type", "\"ORIGINAL_DST\""},
    {"and is found by name",
     SE("{hosts: [\"*.example.com\"], location: MESH_EXTERNAL, resolution: NONE, ports: [{number: "
        "443, name: tls, "
        "protocol: TLS}]}"),
     &redirect, XDS_LDS, "0.0.0.0_443", "filterChains[0].filterChainMatch",
     "{\"serverNames\":[\"*.example.com\"],\"transportProtocol\":\"tls\"}"},
    {"a ServiceEntry of workloads",
     SE("{hosts: [ext.example.com], location: MESH_INTERNAL, resolution: STATIC, workloadSelector: "
        "{labels: {app: "
        "a}}, ports: [{number: 80, name: http, protocol: HTTP}]}"),
     &weft, XDS_EDS, "outbound|80||ext.example.com",
     "endpoints[1].lbEndpoints[0].endpoint.address.socketAddress",
     "{\"address\":\"127.1.0.3\",\"portValue\":80}"},
    {"TCP goes by the address of the service", "", &redirect, XDS_LDS, "10.0.0.2_9000",
     "filterChains[0].filters[0].typedConfig.cluster",
     "\"outbound|9000||b.shop.svc.cluster.local\""},
    {"or where a rule sends it",
     VS_AT("shop", "b",
           "{hosts: [b], tcp: [{route: [{destination: {host: b, subset: v1}, weight: 20}, "
           "{destination: {host: b, "
           "subset: v2}, weight: 80}]}]}"),
     &redirect, XDS_LDS, "10.0.0.2_9000",
     "filterChains[0].filters[0].typedConfig.weightedClusters.clusters[1]",
     "{\"name\":\"outbound|9000|v2|b.shop.svc.cluster.local\",\"weight\":80}"},
    {"a captured port leads to the workload", "", &redirect, XDS_LDS, "virtualInbound",
     "filterChains[1].filterChainMatch.destinationPort", "8080"},
    {"from an address that is not captured again", "", &redirect, XDS_CDS, "inbound|8080||",
     "upstreamBindConfig.sourceAddress.address", "\"127.0.0.6\""},
    {"an address of the rest of the world", "", &redirect, XDS_LDS, "virtualOutbound",
     "useOriginalDst", "true"},
    {"a gateway's port",
     GATEWAY("{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, "
             "protocol: HTTP}, hosts: "
             "[\"*\"]}]}"),
     &gateway, XDS_LDS, "0.0.0.0_80", "filterChains[0].filters[0].typedConfig.rds.routeConfigName",
     "\"http.80\""},
    {"nobody routes there yet",
     GATEWAY("{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, "
             "protocol: HTTP}, hosts: "
             "[\"*\"]}]}"),
     &gateway, XDS_RDS, "http.80", "virtualHosts[0].routes[0].directResponse.status", "404"},
    {"a gateway that selects others",
     GATEWAY("{selector: {istio: other}, servers: [{port: {number: 80, name: http, protocol: "
             "HTTP}, hosts: [\"*\"]}]}"),
     &gateway, XDS_LDS, "0.0.0.0_80", "", "null"},
    {"routes of two rules of one host are joined, catch-all last",
     GATEWAY(
         "{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: "
         "HTTP}, hosts: "
         "[\"*\"]}]}") "---\n" VS("{hosts: [x.example.com], gateways: [istio-system/gw], http: "
                                  "[{route: "
                                  "[{destination: {host: a}}]}]}") "---\n" VS_AT("default", "more",
                                                                                 "{hosts: "
                                                                                 "[x.example.com], "
                                                                                 "gateways: "
                                                                                 "[istio-system/"
                                                                                 "gw], http: "
                                                                                 "[{match: [{uri: "
                                                                                 "{prefix: "
                                                                                 "/more}}], "
                                                                                 "redirect: "
                                                                                 "{uri: /y}}]}"),
     &gateway, XDS_RDS, "http.80", "virtualHosts[0].routes[0].match.prefix", "\"/more\""},
    {"hosts that the server does not have are not served",
     GATEWAY("{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, "
             "protocol: HTTP}, hosts: "
             "[\"*.example.com\"]}]}") "---\n" VS("{hosts: [x.other.org], gateways: "
                                                  "[istio-system/gw], http: [{route: "
                                                  "[{destination: {host: a}}]}]}"),
     &gateway, XDS_RDS, "http.80", "virtualHosts[0].name", "\"blackhole:80\""},
    {"the narrower of rule and server",
     GATEWAY("{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, "
             "protocol: HTTP}, hosts: "
             "[\"x.example.com\"]}]}") "---\n" VS("{hosts: [\"*.example.com\"], gateways: "
                                                  "[istio-system/gw], http: "
                                                  "[{route: [{destination: {host: a}}]}]}"),
     &gateway, XDS_RDS, "http.80", "virtualHosts[0].domains", "[\"x.example.com\"]"},
    {"redirect to HTTPS",
     GATEWAY("{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, "
             "protocol: HTTP}, tls: "
             "{httpsRedirect: true}, hosts: [\"*\"]}]}") "---\n" VS("{hosts: [x.example.com], "
                                                                    "gateways: "
                                                                    "[istio-system/gw], http: "
                                                                    "[{route: [{destination: "
                                                                    "{host: a}}]}]}"),
     &gateway, XDS_RDS, "http.80", "virtualHosts[0].requireTls", "\"ALL\""},
    {"TLS that is passed through",
     GATEWAY(
         "{selector: {istio: ingressgateway}, servers: [{port: {number: 443, name: tls, protocol: "
         "TLS}, tls: {mode: "
         "PASSTHROUGH}, hosts: [\"x.example.com\"]}]}") "---\n" VS("{hosts: [x.example.com], "
                                                                   "gateways: [istio-system/gw], "
                                                                   "tls: [{match: [{port: 443, "
                                                                   "sniHosts: "
                                                                   "[x.example.com]}], route: "
                                                                   "[{destination: {host: "
                                                                   "b.shop.svc.cluster.local}}]}]"
                                                                   "}"),
     &gateway, XDS_LDS, "0.0.0.0_443", "filterChains[0].filterChainMatch.serverNames",
     "[\"x.example.com\"]"},
    {"a certificate of a secret is not served yet, and blocks nothing",
     GATEWAY("{selector: {istio: ingressgateway}, servers: [{port: {number: 443, name: https, "
             "protocol: HTTPS}, tls: "
             "{mode: SIMPLE, credentialName: c}, hosts: [\"*\"]}, {port: {number: 80, name: http, "
             "protocol: HTTP}, "
             "hosts: [\"*\"]}]}"),
     &gateway, XDS_LDS, "0.0.0.0_443", "", "null"},
};

static void check(const struct rule_case *c)
{
    struct world w;
    world_init(&w);
    world_apply(&w, shop);
    if (c->yaml[0])
        world_apply(&w, c->yaml);
    const json_t *j = world_get(&w, c->class, c->type, c->name);
    print_message("    %s\n", c->what);
    if (!j && c->path[0]) {
        struct buf names = {0};
        names_of(&w, c->class, c->type, &names);
        fail_msg("no %s among %.*s", c->name, SLICE(buf_slice(&names)));
    }
    assert_at(j, c->path, c->expected);
    world_fini(&w);
}

static void destination_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cluster_cases); i++)
        check(&cluster_cases[i]);
}

static void virtual_services(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(route_cases); i++)
        check(&route_cases[i]);
}

static void scopes_and_listeners(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scope_cases); i++)
        check(&scope_cases[i]);
}

/* One JSON line: {"what": …, "objects": […]}. tests/e2e/rules_test.py sends them to real proxies.
 */
static void dump(const char *what, const char *yaml)
{
    struct err err = {0};
    struct yaml_stream stream = {0};
    json_t *objects = json_array();
    if (!yaml_parse(slice_of(yaml), &stream, &err))
        fail_msg("%s: %s", what, err.msg);
    for (size_t i = 0; i < stream.count; i++)
        json_array_append(objects, stream.docs[i].root);
    json_t *line = json_pack("{s:s,s:o}", "what", what, "objects", objects);
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(line);
    yaml_stream_fini(&stream);
}

static void dump_all(const struct rule_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (cases[i].yaml[0])
            dump(cases[i].what, cases[i].yaml);
}

/* --dump: the objects of the cases instead of the tests, the shop first. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(destination_rules),
        cmocka_unit_test(virtual_services),
        cmocka_unit_test(scopes_and_listeners),
    };
    if (argc == 2 && strcmp(argv[1], "--dump") == 0) {
        dump("shop", shop);
        dump_all(cluster_cases, ARRAY_LEN(cluster_cases));
        dump_all(route_cases, ARRAY_LEN(route_cases));
        dump_all(scope_cases, ARRAY_LEN(scope_cases));
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
