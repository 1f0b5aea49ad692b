#include "api/schema_table.h"

/* networking.istio.io: DestinationRule. */

/* Load balancing. */

OBJECT(cookie_attribute, REQUIRED("name", &schema_string, NULL),
       FIELD("value", &schema_string, NULL));
LIST(cookie_attributes, &cookie_attribute);
OBJECT(hash_cookie, REQUIRED("name", &schema_string, "Name of the cookie."),
       FIELD("path", &schema_string, "Path of the cookie."),
       FIELD("ttl", &schema_duration_any, "Life of a cookie that is made; a session's when 0s."),
       FIELD("attributes", &cookie_attributes, NULL));
OBJECT(ring_hash, FIELD("minimumRingSize", &schema_uint, "1024 when absent."));
OBJECT(maglev, FIELD("tableSize", &schema_uint, "A prime; 65537 when absent."));
OBJECT(consistent_hash, CHOICE(1, "httpHeaderName", &schema_string, "Hash a header."),
       CHOICE(1, "httpCookie", &hash_cookie, "Hash a cookie."),
       CHOICE(1, "useSourceIp", &schema_bool, "Hash the address of the caller."),
       CHOICE(1, "httpQueryParameterName", &schema_string, "Hash a parameter of the query."),
       CHOICE(2, "ringHash", &ring_hash, NULL), CHOICE(2, "maglev", &maglev, NULL),
       FIELD("minimumRingSize", &schema_uint, NULL));
static const struct schema weights_by_locality = {.type = SCHEMA_MAP, .items = &schema_uint32};
OBJECT(locality_distribute,
       FIELD("from", &schema_string, "Locality of the caller: region/zone/subzone, or *."),
       FIELD("to", &weights_by_locality, "Percent by locality; they add up to 100."));
LIST(locality_distributes, &locality_distribute);
OBJECT(locality_failover, FIELD("from", &schema_string, "Region of the caller."),
       FIELD("to", &schema_string, "Region to use when its own is unhealthy."));
LIST(locality_failovers, &locality_failover);
OBJECT(locality_lb, FIELD("enabled", &schema_nullable_bool, NULL),
       FIELD("distribute", &locality_distributes, "Share of load by locality."),
       FIELD("failover", &locality_failovers, "Where load goes when a region is unhealthy."),
       FIELD("failoverPriority", &schema_strings, "Labels whose equality makes an endpoint near."));
static const struct schema min_cluster_size = {
    .type = SCHEMA_INT, .nullable = true, .bounded = true, .min = 1, .max = UINT32_MAX};
OBJECT(zone_aware_lb, FIELD("enabled", &schema_nullable_bool, NULL),
       FIELD("failover", &locality_failovers, NULL),
       FIELD("failoverPriority", &schema_strings, NULL),
       FIELD("minClusterSize", &min_cluster_size, "6 when absent."));
static const struct schema aggression = {
    .type = SCHEMA_NUMBER, .nullable = true, .bounded = true, .min = 0, .max = INT64_MAX};
static const struct schema percent_number = {
    .type = SCHEMA_NUMBER, .nullable = true, .bounded = true, .min = 0, .max = 100};
OBJECT(warmup, REQUIRED("duration", &schema_duration, "How long a new endpoint is spared."),
       FIELD("minimumPercent", &percent_number, "Share it begins with; 10 when absent."),
       FIELD("aggression", &aggression, "Shape of the rise; 1 is linear."));
OBJECT(backend_utilization, FIELD("errorUtilizationPenaltyPercent", &schema_uint32, NULL),
       FIELD("metricNamesForComputingUtilization", &schema_strings, NULL),
       FIELD("weightExpirationPeriod", &schema_duration_any, NULL),
       FIELD("weightStabilizationPeriod", &schema_duration_any, NULL),
       FIELD("weightUpdatePeriod", &schema_duration_any, NULL));
ENUM(simple_lb, "UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN",
     "LEAST_REQUEST");
OBJECT(load_balancer, CHOICE(1, "simple", &simple_lb, "LEAST_REQUEST when absent."),
       CHOICE(1, "consistentHash", &consistent_hash, "The same endpoint for the same key."),
       CHOICE(1, "backendUtilization", &backend_utilization, "By load that endpoints report."),
       FIELD("localityLbSetting", &locality_lb, NULL),
       FIELD("zoneAwareLbSetting", &zone_aware_lb, NULL),
       FIELD("warmup", &warmup, "Spare new endpoints for a while."),
       FIELD("warmupDurationSecs", &schema_duration, "As warmup.duration (deprecated)."));

/* The rest of a policy. */

RANGE(http_code, 100, 599);
LIST(http_codes, &http_code);
OBJECT(outlier_detection,
       FIELD("consecutive5xxErrors", &schema_nullable_uint32, "5 when absent; 0 turns it off."),
       FIELD("consecutiveGatewayErrors", &schema_nullable_uint32,
             "Of 502, 503, 504. Off when absent."),
       FIELD("consecutiveLocalOriginFailures", &schema_nullable_uint32,
             "Connection failures; 5 when absent."),
       FIELD("splitExternalLocalOriginErrors", &schema_bool, "Count connection failures apart."),
       FIELD("consecutiveErrors", &schema_int32, NULL),
       FIELD("interval", &schema_duration, "Time between looks; 10s when absent."),
       FIELD("baseEjectionTime", &schema_duration, "First time out; 30s when absent."),
       FIELD("maxEjectionPercent", &schema_int32, "Endpoints out at a time; 10 when absent."),
       FIELD("minHealthPercent", &schema_int32, "Below this share of healthy endpoints it is off."),
       FIELD("outlierDetectionHttpErrorCodes", &http_codes, NULL));
ENUM(client_tls_mode, "DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL");
OBJECT(client_tls,
       FIELD("mode", &client_tls_mode, "Whether and with which certificates to speak TLS."),
       FIELD("clientCertificate", &schema_string, "Path of the certificate (MUTUAL)."),
       FIELD("privateKey", &schema_string, "Path of its key (MUTUAL)."),
       FIELD("caCertificates", &schema_string, "Path of the authorities of the server."),
       FIELD("caCrl", &schema_string, "Path of a revocation list."),
       FIELD("credentialName", &schema_string, "Name of the secret with certificate and key."),
       FIELD("subjectAltNames", &schema_strings,
             "Names of which the server's certificate must have one."),
       FIELD("sni", &schema_string, "Server name to ask for."),
       FIELD("insecureSkipVerify", &schema_nullable_bool, NULL));
OBJECT(tunnel, FIELD("protocol", &schema_string, "CONNECT (when absent) or POST."),
       REQUIRED("targetHost", &schema_string, "Host behind the tunnel."),
       REQUIRED("targetPort", &schema_uint32, "Port behind the tunnel."));
ENUM(proxy_protocol_version, "V1", "V2");
OBJECT(proxy_protocol, FIELD("version", &proxy_protocol_version, NULL));
OBJECT(retry_budget,
       FIELD("percent", &percent_number, "Retries in percent of requests; 20 when absent."),
       FIELD("minRetryConcurrency", &schema_uint32,
             "Retries at a time that are always let through; 3."),
       FIELD("budgetInterval", &schema_duration_any, NULL));

#define POLICY_FIELDS                                                                              \
    FIELD("loadBalancer", &load_balancer, "Which endpoint gets a request."),                       \
        FIELD("connectionPool", &schema_connection_pool, "Limits of connections and requests."),   \
        FIELD("outlierDetection", &outlier_detection, "Take failing endpoints out for a while."),  \
        FIELD("tls", &client_tls, "TLS to the destination; mutual TLS of the mesh when absent.")

OBJECT(port_traffic_policy, FIELD("port", &schema_port_selector, "Port that the settings are for."),
       POLICY_FIELDS);
LIST_BOUNDED(port_traffic_policies, &port_traffic_policy, 0, 4096);
OBJECT(traffic_policy, POLICY_FIELDS,
       FIELD("portLevelSettings", &port_traffic_policies,
             "Settings of a port; they replace the others."),
       FIELD("tunnel", &tunnel, NULL), FIELD("proxyProtocol", &proxy_protocol, NULL),
       FIELD("retryBudget", &retry_budget, NULL));
OBJECT(subset, REQUIRED("name", &schema_string, "Name that routes use."),
       FIELD("labels", &schema_string_map, "Labels of the endpoints in the subset."),
       FIELD("trafficPolicy", &traffic_policy, "Settings of the subset, before the rule's."));
LIST(subsets, &subset);
STRING_MAX(selector_value, 63);
static const struct schema selector_map = {
    .type = SCHEMA_MAP, .items = &selector_value, .length_max = 4096};
OBJECT(workload_selector,
       FIELD("matchLabels", &selector_map, "Labels that a calling workload must all have."));
OBJECT(destination_rule_spec, REQUIRED("host", &schema_string, "Service that the rule is for."),
       FIELD("trafficPolicy", &traffic_policy, "Settings for all subsets and ports."),
       FIELD("subsets", &subsets, "Named parts of the service."),
       FIELD("exportTo", &schema_strings,
             "Namespaces that see it: \"*\" (all, when absent), \".\" (own)."),
       FIELD("workloadSelector", &workload_selector,
             "Calling workloads that the rule is for; all when absent."));
SHARED_OBJECT(schema_destination_rule, TOP_FIELDS, FIELD("spec", &destination_rule_spec, NULL),
              FIELD("status", &schema_istio_status, NULL));
