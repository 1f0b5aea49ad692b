#include "api/schema_table.h"

/* networking.istio.io: VirtualService. */

OBJECT(string_match, CHOICE(1, "exact", &schema_string, "The whole value."),
       CHOICE(1, "prefix", &schema_string, "What the value starts with."),
       CHOICE(1, "regex", &schema_string, "RE2 expression that matches the whole value."));
LIST(string_matches, &string_match);
static const struct schema string_match_map = {.type = SCHEMA_MAP, .items = &string_match};

/* Match. */

OBJECT(http_match, FIELD("name", &schema_string, "Name for statistics and logs."),
       FIELD("uri", &string_match, "Path, case-sensitive unless ignoreUriCase."),
       FIELD("scheme", &string_match, "http or https."),
       FIELD("method", &string_match, "HTTP method."),
       FIELD("authority", &string_match, "Host of the request."),
       FIELD("headers", &string_match_map, "Headers by lower-case name; {} = present."),
       FIELD("withoutHeaders", &string_match_map, "Headers that must not match."),
       FIELD("queryParams", &string_match_map, "Parameters of the query; {} = present."),
       FIELD("port", &schema_uint32, "Port that the request was sent to."),
       FIELD("sourceLabels", &schema_string_map, "Labels of the calling workload."),
       FIELD("sourceNamespace", &schema_string, "Namespace of the calling workload."),
       FIELD("gateways", &schema_strings, "Gateways of this match; overrides the rule's own."),
       FIELD("ignoreUriCase", &schema_bool, "exact and prefix of uri in any case."),
       FIELD("statPrefix", &schema_string, NULL));
LIST(http_matches, &http_match);

OBJECT(tls_match,
       REQUIRED("sniHosts", &schema_strings, "Server names; wildcards stand on the left."),
       FIELD("destinationSubnets", &schema_strings, "Addresses or subnets of the destination."),
       FIELD("port", &schema_uint32, "Port that the connection was made to."),
       FIELD("sourceLabels", &schema_string_map, "Labels of the calling workload."),
       FIELD("sourceNamespace", &schema_string, "Namespace of the calling workload."),
       FIELD("gateways", &schema_strings, "Gateways of this match."));
LIST(tls_matches, &tls_match);

OBJECT(tcp_match,
       FIELD("destinationSubnets", &schema_strings, "Addresses or subnets of the destination."),
       FIELD("port", &schema_uint32, "Port that the connection was made to."),
       FIELD("sourceSubnet", &schema_string, NULL),
       FIELD("sourceLabels", &schema_string_map, "Labels of the calling workload."),
       FIELD("sourceNamespace", &schema_string, "Namespace of the calling workload."),
       FIELD("gateways", &schema_strings, "Gateways of this match."));
LIST(tcp_matches, &tcp_match);

/* Action. */

OBJECT(header_operations, FIELD("set", &schema_string_map, "Overwrite."),
       FIELD("add", &schema_string_map, "Append."), FIELD("remove", &schema_strings, "Remove."));
OBJECT(headers, FIELD("request", &header_operations, "Before the request goes on."),
       FIELD("response", &header_operations, "Before the answer goes back."));

OBJECT(http_route_destination, REQUIRED("destination", &schema_destination, "Where requests go."),
       FIELD("weight", &schema_int32, "Share of requests, in proportion to the others' weights."),
       FIELD("headers", &headers, "Header changes for this destination alone."));
LIST(http_route_destinations, &http_route_destination);

OBJECT(route_destination, REQUIRED("destination", &schema_destination, "Where connections go."),
       FIELD("weight", &schema_int32, "Share of connections."));
LIST(route_destinations, &route_destination);

ENUM(derive_port, "FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT");
OBJECT(redirect, FIELD("uri", &schema_string, "Path of the new location."),
       FIELD("prefixRewrite", &schema_string, NULL),
       FIELD("authority", &schema_string, "Host of the new location."),
       CHOICE(1, "port", &schema_uint32, "Port of the new location."),
       CHOICE(1, "derivePort", &derive_port, NULL),
       FIELD("scheme", &schema_string, "Scheme of the new location."),
       FIELD("redirectCode", &schema_uint32, "301 when absent."));

static const struct schema bytes = {.type = SCHEMA_STRING, .format = SCHEMA_FORMAT_BYTES};
OBJECT(http_body, CHOICE(1, "string", &schema_string, "Body as text."),
       CHOICE(1, "bytes", &bytes, "Body in base64."));
OBJECT(direct_response, REQUIRED("status", &schema_uint32, "HTTP status."),
       FIELD("body", &http_body, "Body of the answer."));
OBJECT(delegate, FIELD("name", &schema_string, "Name of the VirtualService that goes on."),
       FIELD("namespace", &schema_string, "Its namespace; the own one when absent."));

/* Modifiers. */

OBJECT(regex_rewrite, FIELD("match", &schema_string, "RE2 expression."),
       FIELD("rewrite", &schema_string, "What stands instead; \\1 is the first group."));
OBJECT(rewrite,
       FIELD("uri", &schema_string, "Path, or prefix of the path, instead of what matched."),
       FIELD("authority", &schema_string, "Host instead of the request's."),
       FIELD("uriRegexRewrite", &regex_rewrite, NULL));
OBJECT(retries, FIELD("attempts", &schema_int32, "Retries of a request; 0 turns them off."),
       FIELD("perTryTimeout", &schema_duration, "Time for each try; the request's when absent."),
       FIELD("retryOn", &schema_string,
             "Conditions, by comma: 5xx, connect-failure, unavailable, 503 …"),
       FIELD("retryRemoteLocalities", &schema_nullable_bool, NULL),
       FIELD("retryIgnorePreviousHosts", &schema_nullable_bool,
             "Try another endpoint than before."),
       FIELD("backoff", &schema_duration, "Least time between tries; 25ms when absent."));
OBJECT(fault_delay, CHOICE(1, "fixedDelay", &schema_duration, "How long."),
       CHOICE(1, "exponentialDelay", &schema_duration, NULL),
       FIELD("percentage", &schema_percent, "Share of requests."),
       FIELD("percent", &schema_int32, NULL));
OBJECT(fault_abort, CHOICE(1, "httpStatus", &schema_int32, "HTTP status of the answer."),
       CHOICE(1, "grpcStatus", &schema_string, "gRPC status of the answer: UNAVAILABLE …"),
       CHOICE(1, "http2Error", &schema_string, NULL),
       FIELD("percentage", &schema_percent, "Share of requests."));
OBJECT(fault, FIELD("delay", &fault_delay, "Delay requests before they go on."),
       FIELD("abort", &fault_abort, "Answer requests with an error."));
OBJECT(mirror_policy, REQUIRED("destination", &schema_destination, "Where copies go."),
       FIELD("percentage", &schema_percent, "Share of requests; all when absent."));
LIST(mirrors, &mirror_policy);
ENUM(preflights, "UNSPECIFIED", "FORWARD", "IGNORE");
OBJECT(cors, FIELD("allowOrigin", &schema_strings, NULL),
       FIELD("allowOrigins", &string_matches, "Origins that are let in."),
       FIELD("allowMethods", &schema_strings, NULL), FIELD("allowHeaders", &schema_strings, NULL),
       FIELD("exposeHeaders", &schema_strings, NULL),
       FIELD("maxAge", &schema_duration, "How long a browser keeps the answer."),
       FIELD("allowCredentials", &schema_nullable_bool, NULL),
       FIELD("unmatchedPreflights", &preflights, NULL));

/* Routes. */

OBJECT(http_route, FIELD("name", &schema_string, "Name for logs and statistics."),
       FIELD("match", &http_matches, "Any of these; every request when absent."),
       FIELD("route", &http_route_destinations, "Where requests go, by weight."),
       FIELD("redirect", &redirect, "Answer with a redirect."),
       FIELD("directResponse", &direct_response, "Answer here."),
       FIELD("delegate", &delegate, "Another VirtualService goes on."),
       FIELD("rewrite", &rewrite, "Change path or host before requests go on."),
       FIELD("timeout", &schema_duration,
             "Time for a request with all its tries; none when absent."),
       FIELD("retries", &retries, "2 tries on connection failure when absent."),
       FIELD("fault", &fault, "Delays and errors on purpose."),
       FIELD("mirror", &schema_destination, "Where copies of requests go."),
       FIELD("mirrorPercentage", &schema_percent, "Share of requests that are copied."),
       FIELD("mirrorPercent", &schema_nullable_uint32, NULL),
       FIELD("mirror_percent", &schema_nullable_uint32, NULL),
       FIELD("mirrors", &mirrors, "Several places where copies go."),
       FIELD("corsPolicy", &cors, NULL),
       FIELD("headers", &headers, "Header changes for all destinations."));
LIST(http_routes, &http_route);
OBJECT(tls_route, REQUIRED("match", &tls_matches, "Any of these."),
       FIELD("route", &route_destinations, "Where connections go, by weight."));
LIST(tls_routes, &tls_route);
OBJECT(tcp_route, FIELD("match", &tcp_matches, "Any of these; every connection when absent."),
       FIELD("route", &route_destinations, "Where connections go, by weight."));
LIST(tcp_routes, &tcp_route);

OBJECT(virtual_service_spec,
       FIELD("hosts", &schema_strings,
             "Hosts that clients ask for; short names are of the own namespace."),
       FIELD("gateways", &schema_strings,
             "Gateways the routes are for; \"mesh\" (all sidecars) when absent."),
       FIELD("http", &http_routes, "Routes for HTTP; the first that matches counts."),
       FIELD("tls", &tls_routes, "Routes for TLS that is passed through."),
       FIELD("tcp", &tcp_routes, "Routes for other TCP."),
       FIELD("exportTo", &schema_strings,
             "Namespaces that see it: \"*\" (all, when absent), \".\" (own)."));
SHARED_OBJECT(schema_virtual_service, TOP_FIELDS, FIELD("spec", &virtual_service_spec, NULL),
              FIELD("status", &schema_istio_status, NULL));
