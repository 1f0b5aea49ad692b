#include "api/validate.h"

#include "api/duration.h"
#include "api/names.h"
#include "api/validate_parts.h"
#include "base/core/map.h"

/* DestinationRule. */

#define CUT(s) SLICE(slice_sub((s), 0, 80))

/* Load balancing. */

static void check_consistent_hash(struct check *c, const json_t *hash)
{
    static const char *const keys[] = {"httpHeaderName", "httpCookie", "useSourceIp",
                                       "httpQueryParameterName", NULL};
    struct slice header = json_str(hash, "httpHeaderName");
    int64_t table = json_int(hash, "maglev.tableSize", 65537);
    if (!check_count(hash, keys, NULL))
        check_required(c, "must say what to hash: httpHeaderName, httpCookie, useSourceIp or "
                          "httpQueryParameterName");
    if (check_has(hash, "httpHeaderName") && !name_is_token(header))
        check_invalid_at(c, "httpHeaderName", "\"%.*s\": is no header name", CUT(header));
    if (json_int(hash, "minimumRingSize", 0) &&
        (check_has(hash, "ringHash") || check_has(hash, "maglev")))
        check_forbidden_at(c, "minimumRingSize", "may not be set together with ringHash or maglev");
    if (json_int(hash, "ringHash.minimumRingSize", 0) > 8388608)
        check_invalid_at(c, "ringHash.minimumRingSize", "must be at most 8388608");
    if (table > 5000011)
        check_invalid_at(c, "maglev.tableSize", "must be a prime of at most 5000011");
}

static void check_distribute(struct check *c, const json_t *distribute)
{
    const char *key;
    json_t *value;
    int64_t total = 0;
    bool seen_zero = false;
    json_object_foreach (json_object_get(distribute, "to"), key, value) {
        int64_t weight = json_is_integer(value) ? json_integer_value(value) : 0;
        seen_zero |= weight <= 0 || weight > 100;
        total += weight > 100 ? 100 : weight;
    }
    if (!json_str(distribute, "from").n)
        check_required_at(c, "from", "must be a locality, or \"*\"");
    if (seen_zero)
        check_invalid_at(c, "to", "each share must be between 1 and 100");
    else if (total != 100)
        check_invalid_at(c, "to", "the shares add up to %lld, not 100", (long long)total);
}

static void check_failover(struct check *c, const json_t *failover)
{
    struct slice from = json_str(failover, "from"), to = json_str(failover, "to");
    if (from.n && slice_eq(from, to))
        check_invalid_at(c, "to", "\"%.*s\": is the region itself", CUT(to));
    if (slice_find(from, '/') != SIZE_MAX || slice_find(from, '*') != SIZE_MAX)
        check_invalid_at(c, "from", "\"%.*s\": must be a region, without zone or wildcard",
                         CUT(from));
    if (slice_find(to, '/') != SIZE_MAX || slice_find(to, '*') != SIZE_MAX)
        check_invalid_at(c, "to", "\"%.*s\": must be a region, without zone or wildcard", CUT(to));
}

static void check_locality_lb(struct check *c, const json_t *setting)
{
    if (json_array_size(json_object_get(setting, "distribute")) &&
        (json_array_size(json_object_get(setting, "failover")) ||
         json_array_size(json_object_get(setting, "failoverPriority"))))
        check_forbidden_at(c, "distribute",
                           "may not be set together with failover or failoverPriority");
    check_each(c, setting, "distribute", check_distribute);
    check_each(c, setting, "failover", check_failover);
}

static void check_warmup(struct check *c, const json_t *lb)
{
    struct slice simple = json_str(lb, "simple");
    bool fits = !simple.n || slice_eq(simple, S("ROUND_ROBIN")) ||
                slice_eq(simple, S("LEAST_REQUEST")) || slice_eq(simple, S("UNSPECIFIED")) ||
                slice_eq(simple, S("LEAST_CONN"));
    bool warms = check_has(lb, "warmup") || check_has(lb, "warmupDurationSecs");
    if (check_has(lb, "warmup") && check_has(lb, "warmupDurationSecs"))
        check_forbidden_at(c, "warmupDurationSecs", "may not be set together with warmup");
    if (warms && (!fits || check_has(lb, "consistentHash")))
        check_forbidden_at(c, check_has(lb, "warmup") ? "warmup" : "warmupDurationSecs",
                           "needs ROUND_ROBIN or LEAST_REQUEST");
}

static void check_load_balancer(struct check *c, const json_t *lb)
{
    check_field(c, lb, "consistentHash", check_consistent_hash);
    check_field(c, lb, "localityLbSetting", check_locality_lb);
    check_warmup(c, lb);
    if (slice_eq(json_str(lb, "simple"), S("LEAST_CONN"))) {
        size_t at = check_enter(c, "simple");
        check_warn(c, "WFT0135: LEAST_CONN is deprecated: use LEAST_REQUEST");
        check_leave(c, at);
    }
}

/* Outlier detection. */

static void check_outlier_detection(struct check *c, const json_t *outlier)
{
    check_field(c, outlier, "maxEjectionPercent", validate_percent);
    check_field(c, outlier, "minHealthPercent", validate_percent);
    check_field(c, outlier, "consecutiveErrors", validate_not_negative);
    if (json_int(outlier, "consecutiveLocalOriginFailures", 0) &&
        !json_bool(outlier, "splitExternalLocalOriginErrors", false))
        check_invalid_at(c, "consecutiveLocalOriginFailures",
                         "needs splitExternalLocalOriginErrors");
    if (check_has(outlier, "consecutiveErrors")) {
        size_t at = check_enter(c, "consecutiveErrors");
        check_warn(c,
                   "WFT0135: is deprecated: use consecutive5xxErrors or consecutiveGatewayErrors");
        check_leave(c, at);
    }
}

/* TLS to the destination. */

static void check_mutual_tls(struct check *c, const json_t *tls)
{
    if (check_has(tls, "credentialName"))
        return;
    if (!json_str(tls, "clientCertificate").n)
        check_required_at(c, "clientCertificate",
                          "mode MUTUAL needs a certificate: by path, or credentialName");
    if (!json_str(tls, "privateKey").n)
        check_required_at(c, "privateKey", "mode MUTUAL needs a key: by path, or credentialName");
}

static void check_mesh_tls(struct check *c, const json_t *tls)
{
    static const char *const files[] = {"clientCertificate", "privateKey", "caCertificates",
                                        "credentialName"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if (check_has(tls, files[i]))
            check_forbidden_at(c, files[i], "mode ISTIO_MUTUAL uses the certificates of the mesh");
}

/* pilot says nothing of it to any proxy (build_cluster.c). */
static void warn_plain_text(struct check *c, struct slice mode)
{
    size_t at = check_enter(c, "mode");
    if (mode.n && !slice_eq(mode, S("DISABLE")))
        check_warn(c, "WFT0201: %.*s is not in effect yet: requests to the host stay in plain text",
                   CUT(mode));
    check_leave(c, at);
}

static void check_client_tls(struct check *c, const json_t *tls)
{
    struct slice mode = json_str(tls, "mode");
    static const char *const files[] = {"clientCertificate", "privateKey", "caCertificates", NULL};
    const char *file = NULL;
    warn_plain_text(c, mode);
    if (slice_eq(mode, S("ISTIO_MUTUAL")))
        check_mesh_tls(c, tls);
    else if (slice_eq(mode, S("MUTUAL")))
        check_mutual_tls(c, tls);
    if (check_has(tls, "credentialName") && check_count(tls, files, &file) &&
        !slice_eq(mode, S("ISTIO_MUTUAL")))
        check_forbidden_at(c, file, "may not be set together with credentialName");
    if (json_bool(tls, "insecureSkipVerify", false) &&
        (json_str(tls, "caCertificates").n || check_has(tls, "subjectAltNames")))
        check_forbidden_at(
            c, "insecureSkipVerify",
            "skips what caCertificates and subjectAltNames ask for: drop one of them");
}

/* Policies. */

static void check_tunnel(struct check *c, const json_t *tunnel)
{
    struct slice protocol = json_str(tunnel, "protocol"), host = json_str(tunnel, "targetHost");
    if (protocol.n && !slice_eq(protocol, S("CONNECT")) && !slice_eq(protocol, S("POST")))
        check_invalid_at(c, "protocol", "\"%.*s\": must be CONNECT or POST", CUT(protocol));
    if (host.n && !name_is_host(host) && !name_is_ip(host))
        check_invalid_at(c, "targetHost", "\"%.*s\": must be a DNS name or an IP address",
                         CUT(host));
    check_field(c, tunnel, "targetPort", validate_port);
}

static void check_policy_parts(struct check *c, const json_t *policy)
{
    check_field(c, policy, "loadBalancer", check_load_balancer);
    check_field(c, policy, "connectionPool", validate_connection_pool);
    check_field(c, policy, "outlierDetection", check_outlier_detection);
    check_field(c, policy, "tls", check_client_tls);
}

static void check_port_policy(struct check *c, const json_t *policy)
{
    if (!check_has(policy, "port"))
        check_required_at(c, "port", "must be set");
    check_field(c, policy, "port", validate_port_selector);
    check_policy_parts(c, policy);
}

static void check_policy(struct check *c, const json_t *policy)
{
    check_policy_parts(c, policy);
    check_each(c, policy, "portLevelSettings", check_port_policy);
    check_field(c, policy, "tunnel", check_tunnel);
}

/* Subsets. */

static void check_subset(struct check *c, const json_t *subset)
{
    struct slice name = json_str(subset, "name");
    if (check_has(subset, "name") && !name_is_label(name))
        check_invalid_at(c, "name", "\"%.*s\": must be a DNS label (a-z, 0-9, \"-\")", CUT(name));
    check_field(c, subset, "labels", validate_labels);
    check_field(c, subset, "trafficPolicy", check_policy);
}

static void check_subsets_differ(struct check *c, const json_t *subsets)
{
    struct map seen = {0};
    const json_t *subset;
    size_t i;
    json_array_foreach (subsets, i, subset) {
        struct slice name = json_str(subset, "name");
        if (!name.n || !map_put(&seen, name, &seen))
            continue;
        size_t at = check_enter_index(c, i), field = check_enter(c, "name");
        check_duplicate(c, name);
        check_leave(c, field);
        check_leave(c, at);
    }
    map_fini(&seen);
}

/* A rule for some callers is seen by its own namespace alone. */
static void check_selector(struct check *c, const json_t *selector)
{
    const json_t *export_to = json_at(c->object, "spec.exportTo");
    struct slice ns = json_str(c->object, "metadata.namespace");
    struct slice to = json_slice(json_array_get(export_to, 0));
    bool own = slice_eq(to, S(".")) || slice_eq(to, ns.n ? ns : S("default"));
    if (json_array_size(export_to) && (json_array_size(export_to) > 1 || !own))
        check_invalid(c, "needs exportTo [\".\"]: workloads of other namespaces are not selected");
    check_field(c, selector, "matchLabels", validate_labels);
}

static void check_destination_rule(struct check *c, const json_t *spec)
{
    check_field(c, spec, "host", validate_wildcard_host);
    check_field(c, spec, "trafficPolicy", check_policy);
    check_each(c, spec, "subsets", check_subset);
    check_field(c, spec, "subsets", check_subsets_differ);
    check_field(c, spec, "exportTo", validate_export_to);
    check_field(c, spec, "workloadSelector", check_selector);
}

void validate_destination_rule(struct check *c, const json_t *object)
{
    if (!check_has(object, "spec"))
        check_required_at(c, "spec.host", "must be set");
    check_field(c, object, "spec", check_destination_rule);
}
