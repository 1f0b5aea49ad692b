#include "api/validate_parts.h"

#include "api/duration.h"
#include "api/names.h"
#include "base/core/regex.h"

#define CUT(s) SLICE(slice_sub((s), 0, 80))

void validate_port(struct check *c, const json_t *number)
{
    if (json_is_integer(number) &&
        (json_integer_value(number) < 1 || json_integer_value(number) > 65535))
        check_invalid(c, "port must be between 1 and 65535");
}

void validate_not_negative(struct check *c, const json_t *number)
{
    if (json_is_number(number) && json_number_value(number) < 0)
        check_invalid(c, "must not be negative");
}

void validate_host(struct check *c, const json_t *host)
{
    struct slice s = json_slice(host);
    if (json_is_string(host) && !name_is_host(s))
        check_invalid(c, "\"%.*s\": must be a host: a service's short name or a DNS name%s", CUT(s),
                      slice_starts(s, S("*")) ? ", without a wildcard" : "");
}

void validate_wildcard_host(struct check *c, const json_t *host)
{
    struct slice s = json_slice(host);
    if (json_is_string(host) && !name_is_wildcard_host(s) && !name_is_ip(s))
        check_invalid(c, "\"%.*s\": must be a DNS name, \"*\" or a wildcard like \"*.example.com\"",
                      CUT(s));
}

/* ExportTo. */

static struct slice namespace_of(const struct check *c)
{
    struct slice ns = json_str(c->object, "metadata.namespace");
    return ns.n ? ns : S("default");
}

static bool is_visibility(struct slice s)
{
    return slice_eq(s, S("*")) || slice_eq(s, S(".")) || slice_eq(s, S("~")) || name_is_label(s);
}

/* "." and the name of the own namespace are the same. */
static struct slice visible_in(const struct check *c, const json_t *list, size_t i)
{
    struct slice s = json_slice(json_array_get(list, i));
    return slice_eq(s, S(".")) ? namespace_of(c) : s;
}

static bool is_repeated(const struct check *c, const json_t *list, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (slice_eq(visible_in(c, list, k), visible_in(c, list, i)))
            return true;
    return false;
}

void validate_export_to(struct check *c, const json_t *list)
{
    size_t n = json_array_size(list);
    if (n > 1024) {
        check_invalid(c, "%zu namespaces: at most 1024", n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct slice s = json_slice(json_array_get(list, i));
        size_t at = check_enter_index(c, i);
        if (!is_visibility(s))
            check_invalid(c, "\"%.*s\": must be \"*\", \".\", \"~\" or a namespace", CUT(s));
        else if (is_repeated(c, list, i))
            check_duplicate(c, s);
        else if (n > 1 && (slice_eq(s, S("*")) || slice_eq(s, S("~"))))
            check_invalid(c, "\"%.*s\" stands alone or not at all", SLICE(s));
        check_leave(c, at);
    }
}

/* Destinations, protocols, numbers. */

void validate_port_selector(struct check *c, const json_t *port)
{
    if (!check_has(port, "number"))
        check_required_at(c, "number", "must be set");
    check_field(c, port, "number", validate_port);
}

static void check_subset_name(struct check *c, const json_t *subset)
{
    if (json_is_string(subset) && json_slice(subset).n && !name_is_label(json_slice(subset)))
        check_invalid(c, "\"%.*s\": must be a DNS label", CUT(json_slice(subset)));
}

static void check_destination_host(struct check *c, const json_t *host)
{
    struct slice s = json_slice(host);
    if (slice_eq(s, S("*")))
        check_invalid(c, "\"*\": a destination is one host");
    else
        validate_host(c, host);
}

void validate_destination(struct check *c, const json_t *destination)
{
    check_field(c, destination, "host", check_destination_host);
    check_field(c, destination, "subset", check_subset_name);
    check_field(c, destination, "port", validate_port_selector);
}

static const char *const protocols[] = {"HTTP", "HTTPS", "HTTP2",      "GRPC",  "GRPC-WEB",
                                        "TCP",  "TLS",   "MONGO",      "MYSQL", "REDIS",
                                        "UDP",  "HBONE", "HTTP_PROXY", NULL};

void validate_protocol(struct check *c, const json_t *protocol)
{
    struct slice s = json_slice(protocol);
    if (!json_is_string(protocol) || !s.n)
        return;
    for (size_t i = 0; protocols[i]; i++)
        if (slice_eq_nocase(s, slice_of(protocols[i])))
            return;
    check_unsupported(c, s, protocols);
}

bool protocol_is_tls(struct slice protocol)
{
    return slice_eq_nocase(protocol, S("HTTPS")) || slice_eq_nocase(protocol, S("TLS"));
}

bool protocol_is_http(struct slice protocol)
{
    return slice_eq_nocase(protocol, S("HTTP")) || slice_eq_nocase(protocol, S("HTTP2")) ||
           slice_eq_nocase(protocol, S("GRPC")) || slice_eq_nocase(protocol, S("GRPC-WEB")) ||
           slice_eq_nocase(protocol, S("HTTP_PROXY"));
}

void validate_percent(struct check *c, const json_t *percent)
{
    if (json_is_number(percent) &&
        (json_number_value(percent) < 0 || json_number_value(percent) > 100))
        check_invalid(c, "must be between 0 and 100");
}

static void check_percent_value(struct check *c, const json_t *value)
{
    double v = json_number_value(value);
    if (json_is_number(value) && (v < 0 || v > 100))
        check_invalid(c, "must be between 0 and 100");
    else if (json_is_number(value) && v > 0 && v < 0.0001)
        check_invalid(c, "must be 0 or at least 0.0001");
}

void validate_percentage(struct check *c, const json_t *percentage)
{
    check_field(c, percentage, "value", check_percent_value);
}

void validate_regex(struct check *c, const json_t *regex)
{
    struct slice s = json_slice(regex);
    struct err err = {0};
    if (!json_is_string(regex))
        return;
    if (!s.n) {
        check_invalid(c, "must not be empty");
        return;
    }
    struct regex *compiled = regex_new(s, &err);
    if (!compiled)
        check_invalid(c, "%s", err.msg);
    regex_free(compiled);
}

/* Labels. */

void validate_labels(struct check *c, const json_t *labels)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)labels, key, value) {
        struct slice v = json_slice(value);
        size_t at = check_enter_key(c, slice_of(key));
        if (slice_find(slice_of(key), '*') != SIZE_MAX || slice_find(v, '*') != SIZE_MAX)
            check_invalid(c, "wildcards do not select: name the label in full");
        else if (!name_is_qualified(slice_of(key)))
            check_invalid(
                c, "a label's key is [DNS name/]name, name at most 63 of A-Z, a-z, 0-9, \"-_.\"");
        else if (!name_is_label_value(v))
            check_invalid(c, "\"%.*s\": a label's value is at most 63 of A-Z, a-z, 0-9, \"-_.\"",
                          CUT(v));
        check_leave(c, at);
    }
}

/* Connection pool. */

static void check_each_not_negative(struct check *c, const json_t *object, const char *const *keys)
{
    for (; *keys; keys++)
        check_field(c, object, *keys, validate_not_negative);
}

static void check_tcp_pool(struct check *c, const json_t *tcp)
{
    check_field(c, tcp, "maxConnections", validate_not_negative);
}

static void check_http_pool(struct check *c, const json_t *http)
{
    static const char *const counts[] = {"http1MaxPendingRequests",  "http2MaxRequests",
                                         "maxRequestsPerConnection", "maxRetries",
                                         "maxConcurrentStreams",     NULL};
    check_each_not_negative(c, http, counts);
    if (json_bool(http, "useClientProtocol", false) &&
        slice_eq(json_str(http, "h2UpgradePolicy"), S("UPGRADE")))
        check_forbidden_at(c, "useClientProtocol", "may not be true with h2UpgradePolicy UPGRADE");
}

void validate_connection_pool(struct check *c, const json_t *pool)
{
    if (json_is_object(pool) && !check_has(pool, "tcp") && !check_has(pool, "http"))
        check_required(c, "must have tcp or http");
    check_field(c, pool, "tcp", check_tcp_pool);
    check_field(c, pool, "http", check_http_pool);
}

/* TLS of a server. */

static int tls_version_rank(struct slice version)
{
    static const char *const order[] = {"TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"};
    for (size_t i = 1; i < ARRAY_LEN(order); i++)
        if (slice_eq(version, slice_of(order[i])))
            return (int)i;
    return 0;
}

static void check_no_certificates(struct check *c, const json_t *tls, struct slice mode)
{
    static const char *const all[] = {
        "serverCertificate", "privateKey",      "caCertificates",       "credentialName",
        "credentialNames",   "tlsCertificates", "caCertCredentialName", NULL};
    for (size_t i = 0; all[i]; i++)
        if (check_has(tls, all[i]))
            check_forbidden_at(c, all[i], "mode %.*s takes no certificates here", SLICE(mode));
}

static void check_certificates(struct check *c, const json_t *tls, struct slice mode, bool mutual)
{
    static const char *const named[] = {"credentialName", "credentialNames", NULL};
    const char *source = NULL;
    check_count(tls, named, &source);
    if (source || check_has(tls, "tlsCertificates"))
        return;
    if (!json_str(tls, "serverCertificate").n)
        check_required_at(c, "serverCertificate",
                          "mode %.*s needs a certificate: by path, or credentialName", SLICE(mode));
    if (!json_str(tls, "privateKey").n)
        check_required_at(c, "privateKey", "mode %.*s needs a key: by path, or credentialName",
                          SLICE(mode));
    if (mutual && !json_str(tls, "caCertificates").n && !check_has(tls, "caCertCredentialName"))
        check_required_at(c, "caCertificates", "mode %.*s needs the authorities of clients",
                          SLICE(mode));
}

/* The CRD's CEL rules: one source of certificates. */
static void check_one_source(struct check *c, const json_t *tls)
{
    static const char *const sources[] = {"credentialName", "credentialNames", "tlsCertificates"};
    const char *first = NULL;
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        if (!check_has(tls, sources[i]))
            continue;
        if (first)
            check_forbidden_at(c, sources[i], "may not be set together with %s", first);
        else
            first = sources[i];
    }
}

void validate_server_tls(struct check *c, const json_t *tls)
{
    struct slice mode = json_str(tls, "mode");
    bool mutual = slice_eq(mode, S("MUTUAL")) || slice_eq(mode, S("OPTIONAL_MUTUAL"));
    check_one_source(c, tls);
    if (slice_eq(mode, S("ISTIO_MUTUAL")) || slice_eq(mode, S("AUTO_PASSTHROUGH")) ||
        (slice_eq(mode, S("PASSTHROUGH")) && mode.n))
        check_no_certificates(c, tls, mode);
    else if (mutual || slice_eq(mode, S("SIMPLE")))
        check_certificates(c, tls, mode, mutual);
    int min = tls_version_rank(json_str(tls, "minProtocolVersion"));
    int max = tls_version_rank(json_str(tls, "maxProtocolVersion"));
    if (min && max && min > max)
        check_invalid_at(c, "minProtocolVersion", "is above maxProtocolVersion");
}

/* Workloads. */

bool is_unix_address(struct slice s)
{
    return slice_starts(s, S("unix://"));
}

void validate_unix_address(struct check *c, struct slice address)
{
    struct slice path = slice_skip(address, 7);
    if (!slice_starts(path, S("/")) && !slice_starts(path, S("@")))
        check_invalid(c,
                      "a Unix socket is an absolute path (unix:///run/x) or abstract (unix://@x)");
    else if (slice_ends(address, S("/")))
        check_invalid(c, "a Unix socket is not a directory");
}

static void check_workload_address(struct check *c, const json_t *address)
{
    struct slice s = json_slice(address);
    if (is_unix_address(s))
        validate_unix_address(c, s);
    else if (s.n && !name_is_ip(s) && !name_is_host(s))
        check_invalid(c, "\"%.*s\": must be an IP address, a DNS name or a unix:// path", CUT(s));
}

/* CEL: fewer than 63 of letters, digits and inner "-". */
static bool is_port_label(struct slice s)
{
    if (!s.n || s.n >= 63)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i] | 0x20;
        bool inner = i > 0 && i + 1 < s.n;
        if (!(ch >= 'a' && ch <= 'z') && !(s.p[i] >= '0' && s.p[i] <= '9') &&
            !(inner && s.p[i] == '-'))
            return false;
    }
    return true;
}

static void check_workload_ports(struct check *c, const json_t *ports)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)ports, key, value) {
        size_t at = check_enter_key(c, slice_of(key));
        if (!is_port_label(slice_of(key)))
            check_invalid(c, "a port's name is at most 62 of letters, digits and inner \"-\"");
        validate_port(c, value);
        check_leave(c, at);
    }
}

static void check_locality(struct check *c, const json_t *locality)
{
    struct slice part, rest = json_slice(locality);
    size_t parts = 0;
    bool more = rest.n > 0;
    while (more) {
        more = slice_cut(rest, '/', &part, &rest);
        if (!part.n || ++parts > 3) {
            check_invalid(c, "must be region, region/zone or region/zone/subzone");
            return;
        }
    }
}

void validate_workload(struct check *c, const json_t *workload)
{
    struct slice address = json_str(workload, "address");
    if (!address.n && !json_str(workload, "network").n)
        check_required_at(c, "address", "must be set (or network)");
    if (is_unix_address(address) && check_has(workload, "ports"))
        check_forbidden_at(c, "ports", "a Unix socket has no ports");
    check_field(c, workload, "address", check_workload_address);
    check_field(c, workload, "ports", check_workload_ports);
    check_field(c, workload, "labels", validate_labels);
    check_field(c, workload, "locality", check_locality);
}
