#include "api/validate.h"

#include "api/names.h"
#include "api/validate_parts.h"
#include "base/core/map.h"

/* WorkloadEntry, ServiceEntry, Gateway and Sidecar. */

#define CUT(s) SLICE(slice_sub((s), 0, 80))

void validate_workload_entry(struct check *c, const json_t *object)
{
    check_field(c, object, "spec", validate_workload);
}

/* ServiceEntry. */

static struct slice resolution_of(const json_t *spec)
{
    struct slice resolution = json_str(spec, "resolution");
    return resolution.n ? resolution : S("NONE");
}

static bool resolves_by_dns(struct slice resolution)
{
    return slice_eq(resolution, S("DNS")) || slice_eq(resolution, S("DNS_ROUND_ROBIN"));
}

static void check_entry_host(struct check *c, const json_t *host)
{
    if (slice_eq(json_slice(host), S("*")))
        check_invalid(c, "\"*\": an entry for every host would catch all traffic: name a domain");
    else
        validate_wildcard_host(c, host);
}

static void check_entry_address(struct check *c, const json_t *address)
{
    const json_t *spec = json_object_get(c->object, "spec");
    struct slice s = json_slice(address), resolution = resolution_of(spec);
    bool subnet = slice_find(s, '/') != SIZE_MAX;
    if (json_is_string(address) && !name_is_cidr(s))
        check_invalid(c, "\"%.*s\": must be an IP address or a subnet like 10.0.0.0/8", CUT(s));
    else if (subnet && !slice_eq(resolution, S("NONE")) && !slice_eq(resolution, S("STATIC")))
        check_invalid(c, "a subnet needs resolution NONE or STATIC, not %.*s", SLICE(resolution));
}

static void check_entry_port(struct check *c, const json_t *port)
{
    struct slice name = json_str(port, "name");
    check_field(c, port, "number", validate_port);
    check_field(c, port, "targetPort", validate_port);
    check_field(c, port, "protocol", validate_protocol);
    if (check_has(port, "name") && !name_is_label(name))
        check_invalid_at(c, "name", "\"%.*s\": must be a DNS label (a-z, 0-9, \"-\")", CUT(name));
}

static void check_port_numbers_differ(struct check *c, const json_t *ports)
{
    size_t n = json_array_size(ports);
    for (size_t i = 0; i < n && n <= 256; i++)
        for (size_t k = 0; k < i; k++) {
            if (json_int(json_array_get(ports, i), "number", -1) !=
                json_int(json_array_get(ports, k), "number", -2))
                continue;
            size_t at = check_enter_index(c, i);
            check_invalid_at(c, "number", "port %lld is there twice",
                             (long long)json_int(json_array_get(ports, i), "number", 0));
            check_leave(c, at);
        }
}

static bool has_port_named(const json_t *spec, struct slice name)
{
    const json_t *port;
    size_t i;
    json_array_foreach (json_object_get(spec, "ports"), i, port)
        if (slice_eq(json_str(port, "name"), name))
            return true;
    return false;
}

static void check_endpoint_port(struct check *c, const json_t *port)
{
    (void)port;
    struct slice path = buf_slice(&c->path);
    size_t dot = slice_find_last(path, '.');
    struct slice name = dot == SIZE_MAX ? path : slice_skip(path, dot + 1);
    if (!has_port_named(json_object_get(c->object, "spec"), name))
        check_invalid(c, "the entry has no port of the name \"%.*s\"", CUT(name));
}

static void check_endpoint_address(struct check *c, const json_t *spec, struct slice address)
{
    struct slice resolution = resolution_of(spec);
    if (slice_eq(resolution, S("STATIC")) && address.n && !is_unix_address(address) &&
        !name_is_ip(address))
        check_invalid_at(c, "address",
                         "\"%.*s\": resolution STATIC takes IP addresses; use DNS for names",
                         CUT(address));
    if (resolves_by_dns(resolution) && is_unix_address(address))
        check_invalid_at(c, "address", "a Unix socket needs resolution STATIC");
    if (is_unix_address(address) && json_array_size(json_object_get(spec, "ports")) != 1)
        check_invalid_at(c, "address", "a Unix socket needs an entry of exactly one port");
}

static void check_entry_endpoint(struct check *c, const json_t *endpoint)
{
    validate_workload(c, endpoint);
    check_endpoint_address(c, json_object_get(c->object, "spec"), json_str(endpoint, "address"));
    check_each_value(c, endpoint, "ports", check_endpoint_port);
}

static bool has_wildcard_host(const json_t *spec)
{
    const json_t *host;
    size_t i;
    json_array_foreach (json_object_get(spec, "hosts"), i, host)
        if (slice_starts(json_slice(host), S("*")))
            return true;
    return false;
}

/* Which endpoints a resolution takes. */
static void check_resolution(struct check *c, const json_t *spec)
{
    struct slice resolution = resolution_of(spec);
    size_t endpoints = json_array_size(json_object_get(spec, "endpoints"));
    if (slice_eq(resolution, S("NONE")) && check_has(spec, "endpoints"))
        check_forbidden_at(c, "endpoints", "resolution NONE takes none: use STATIC or DNS");
    if (slice_eq(resolution, S("DYNAMIC_DNS")) && check_has(spec, "endpoints"))
        check_forbidden_at(c, "endpoints", "resolution DYNAMIC_DNS takes none");
    if (slice_eq(resolution, S("DNS_ROUND_ROBIN")) && endpoints > 1)
        check_invalid_at(c, "endpoints", "resolution DNS_ROUND_ROBIN takes at most one");
    if (resolves_by_dns(resolution) && !endpoints && has_wildcard_host(spec) &&
        !check_has(spec, "workloadSelector"))
        check_invalid_at(c, "hosts",
                         "resolution %.*s without endpoints cannot look up a wildcard host",
                         SLICE(resolution));
}

static void check_selector(struct check *c, const json_t *selector)
{
    if (json_is_object(selector) && !json_object_size(json_object_get(selector, "labels")))
        check_warn(c, "no labels: selects every workload of the namespace");
    check_field(c, selector, "labels", validate_labels);
}

static void check_service_entry(struct check *c, const json_t *spec)
{
    check_each(c, spec, "hosts", check_entry_host);
    check_each(c, spec, "addresses", check_entry_address);
    check_each(c, spec, "ports", check_entry_port);
    check_field(c, spec, "ports", check_port_numbers_differ);
    check_each(c, spec, "endpoints", check_entry_endpoint);
    check_field(c, spec, "workloadSelector", check_selector);
    check_field(c, spec, "exportTo", validate_export_to);
    if (check_has(spec, "workloadSelector") && check_has(spec, "endpoints"))
        check_forbidden_at(c, "endpoints", "may not be set together with workloadSelector");
    check_resolution(c, spec);
}

void validate_service_entry(struct check *c, const json_t *object)
{
    check_field(c, object, "spec", check_service_entry);
}

/* "namespace/host". */

/* Gateways: [namespace/]host, namespace of ".", "*" or a name. Sidecars: namespace/host, and "~"
 * too. */
static void check_scoped_host(struct check *c, struct slice text, bool is_gateway)
{
    struct slice ns, host;
    if (!slice_cut(text, '/', &ns, &host)) {
        if (!is_gateway)
            check_invalid(c, "\"%.*s\": must be namespace/host (\"./*\" is the own namespace)",
                          CUT(text));
        else if (!name_is_wildcard_host(text) && !name_is_ip(text))
            check_invalid(c, "\"%.*s\": must be a host, \"*\" or a wildcard like \"*.example.com\"",
                          CUT(text));
        return;
    }
    bool scope = slice_eq(ns, S("*")) || slice_eq(ns, S(".")) || name_is_label(ns) ||
                 (!is_gateway && slice_eq(ns, S("~")));
    if (!scope)
        check_invalid(c, "\"%.*s\": the namespace must be \"*\", \".\"%s or a name", CUT(text),
                      is_gateway ? "" : ", \"~\"");
    else if (!name_is_wildcard_host(host))
        check_invalid(c, "\"%.*s\": \"%.*s\" is not a host", CUT(text), CUT(host));
}

static void check_gateway_host(struct check *c, const json_t *host)
{
    if (json_is_string(host))
        check_scoped_host(c, json_slice(host), true);
}

static void check_egress_host(struct check *c, const json_t *host)
{
    if (json_is_string(host))
        check_scoped_host(c, json_slice(host), false);
}

/* Gateway. */

static void check_gateway_port(struct check *c, const json_t *port)
{
    check_field(c, port, "number", validate_port);
    check_field(c, port, "protocol", validate_protocol);
    if (check_has(port, "name") && !json_str(port, "name").n)
        check_required_at(c, "name", "must not be empty");
}

static void check_bind(struct check *c, const json_t *bind)
{
    struct slice s = json_slice(bind);
    if (is_unix_address(s))
        validate_unix_address(c, s);
    else if (s.n && !name_is_ip(s))
        check_invalid(c, "\"%.*s\": must be an IP address or a unix:// path", CUT(s));
}

static void check_server_security(struct check *c, const json_t *server)
{
    struct slice protocol = json_str(server, "port.protocol");
    const json_t *tls = json_object_get(server, "tls");
    bool redirect = json_bool(tls, "httpsRedirect", false);
    if (protocol_is_tls(protocol) && !json_is_object(tls))
        check_required_at(c, "tls", "a server of %.*s needs it", SLICE(protocol));
    else if (protocol_is_tls(protocol) && redirect)
        check_forbidden_at(c, "tls.httpsRedirect", "is for servers of plain HTTP");
    else if (protocol_is_http(protocol) && json_is_object(tls) && !redirect)
        check_forbidden_at(c, "tls", "a server of %.*s takes httpsRedirect alone: use HTTPS",
                           SLICE(protocol));
}

/* Whether Envoy is told to terminate it: pilot/build_gateway.c, terminate_tls(). */
static bool is_terminated(const json_t *tls)
{
    struct slice mode = json_str(tls, "mode");
    bool mutual = slice_eq(mode, S("MUTUAL"));
    return (mutual || slice_eq(mode, S("SIMPLE"))) && !json_str(tls, "credentialName").n &&
           json_str(tls, "serverCertificate").n && json_str(tls, "privateKey").n &&
           (!mutual || json_str(tls, "caCertificates").n);
}

/* What happens to it as long as secrets are not served and weft-proxy has no TLS. */
static void warn_server_tls(struct check *c, const json_t *server)
{
    const json_t *tls = json_object_get(server, "tls");
    struct slice mode = json_str(tls, "mode");
    bool https = slice_eq_nocase(json_str(server, "port.protocol"), S("HTTPS"));
    size_t at = check_enter(c, "tls");
    if (slice_eq(mode, S("PASSTHROUGH")))
        check_warn(c, "WFT0202: only an Envoy as gateway tells hosts apart by the name in TLS: "
                      "weft-proxy does not look there yet");
    else if (!https)
        check_warn(c,
                   "WFT0202: %.*s is not in effect yet: TLS is not ended here but passed through, "
                   "and only an Envoy as gateway tells hosts apart by its name",
                   CUT(mode.n ? mode : S("it")));
    else if (is_terminated(tls))
        check_warn(c, "WFT0202: only an Envoy as gateway serves it, with the files on its machine: "
                      "weft-proxy has no TLS yet, and refuses the listener");
    else
        check_warn(c, "WFT0202: the server is left out: only SIMPLE and MUTUAL with files on the "
                      "gateway's machine are served yet");
    check_leave(c, at);
}

static void check_server(struct check *c, const json_t *server)
{
    struct slice protocol = json_str(server, "port.protocol");
    check_field(c, server, "port", check_gateway_port);
    check_field(c, server, "bind", check_bind);
    if (check_has(server, "hosts") && !json_array_size(json_object_get(server, "hosts")))
        check_required_at(c, "hosts", "must have at least one host");
    check_each(c, server, "hosts", check_gateway_host);
    check_server_security(c, server);
    if (!protocol_is_tls(protocol))
        return;
    check_field(c, server, "tls", validate_server_tls);
    if (json_is_object(json_object_get(server, "tls")))
        warn_server_tls(c, server);
}

/* Port names tell servers apart in statistics and merges. */
static void check_server_names(struct check *c, const json_t *servers)
{
    struct map seen = {0};
    const json_t *server;
    size_t i;
    json_array_foreach (servers, i, server) {
        struct slice name = json_str(server, "port.name");
        if (!name.n || !map_put(&seen, name, &seen))
            continue;
        size_t at = check_enter_index(c, i);
        check_invalid_at(c, "port.name", "\"%.*s\" is there twice", CUT(name));
        check_leave(c, at);
    }
    map_fini(&seen);
}

static void check_gateway(struct check *c, const json_t *spec)
{
    if (!json_array_size(json_object_get(spec, "servers")))
        check_required_at(c, "servers", "must have at least one server");
    check_each(c, spec, "servers", check_server);
    check_field(c, spec, "servers", check_server_names);
    check_field(c, spec, "selector", validate_labels);
}

void validate_gateway(struct check *c, const json_t *object)
{
    if (!check_has(object, "spec"))
        check_required_at(c, "spec.servers", "must have at least one server");
    check_field(c, object, "spec", check_gateway);
}

/* Sidecar. */

static void check_listener_port(struct check *c, const json_t *port)
{
    if (!check_has(port, "number"))
        check_required_at(c, "number", "must be set");
    check_field(c, port, "number", validate_port);
    check_field(c, port, "protocol", validate_protocol);
}

static void check_default_endpoint(struct check *c, const json_t *endpoint)
{
    static const struct slice addresses[] = {S_INIT("127.0.0.1"), S_INIT("0.0.0.0"),
                                             S_INIT("[::1]"), S_INIT("[::]"), S_INIT("")};
    struct slice s = json_slice(endpoint), address, port;
    uint32_t number;
    if (is_unix_address(s)) {
        validate_unix_address(c, s);
        return;
    }
    bool ok = slice_cut_last(s, ':', &address, &port) && slice_u32(port, &number) && number >= 1 &&
              number <= 65535;
    bool local = false;
    for (size_t i = 0; ok && i < ARRAY_LEN(addresses); i++)
        local |= slice_eq(address, addresses[i]);
    /* Workloads that share a machine have a loopback address each. */
    local |= ok && slice_starts(address, S("127.")) && name_is_ipv4(address);
    if (s.n && !local)
        check_invalid(
            c, "\"%.*s\": must be 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT or a unix:// path",
            CUT(s));
}

/* pilot tells no proxy of it (build_own.c). */
static void warn_ingress_tls(struct check *c, const json_t *tls)
{
    (void)tls;
    check_warn(c, "WFT0201: is not in effect yet: the listener takes plain text");
}

static void check_ingress(struct check *c, const json_t *listener)
{
    check_field(c, listener, "port", check_listener_port);
    check_field(c, listener, "bind", check_bind);
    check_field(c, listener, "defaultEndpoint", check_default_endpoint);
    check_field(c, listener, "connectionPool", validate_connection_pool);
    check_field(c, listener, "tls", validate_server_tls);
    check_field(c, listener, "tls", warn_ingress_tls);
    if (check_has(listener, "tls") && !protocol_is_tls(json_str(listener, "port.protocol")))
        check_forbidden_at(c, "tls", "needs a port of protocol HTTPS or TLS");
}

static void check_egress(struct check *c, const json_t *listener)
{
    if (check_has(listener, "hosts") && !json_array_size(json_object_get(listener, "hosts")))
        check_required_at(c, "hosts", "must have at least one host");
    check_each(c, listener, "hosts", check_egress_host);
    check_field(c, listener, "port", check_listener_port);
    check_field(c, listener, "bind", check_bind);
    if (is_unix_address(json_str(listener, "bind")) && json_int(listener, "port.number", 0))
        check_forbidden_at(c, "port.number", "a Unix socket has no port");
}

/* Two listeners cannot have one place. */
static void check_places_differ(struct check *c, const json_t *listeners)
{
    struct map seen = {0};
    struct arena arena = {0};
    const json_t *listener;
    size_t i;
    json_array_foreach (listeners, i, listener) {
        int64_t number = json_int(listener, "port.number", 0);
        struct slice place =
            arena_printf(&arena, "%.*s:%lld", SLICE(json_str(listener, "bind")), (long long)number);
        if ((!number && !json_str(listener, "bind").n) || !map_put(&seen, place, &seen))
            continue;
        size_t at = check_enter_index(c, i);
        check_invalid_at(c, "port", "another listener has %.*s", CUT(place));
        check_leave(c, at);
    }
    map_fini(&seen);
    arena_fini(&arena);
}

static void check_catch_all_last(struct check *c, const json_t *listeners)
{
    size_t n = json_array_size(listeners);
    for (size_t i = 0; i + 1 < n; i++) {
        const json_t *listener = json_array_get(listeners, i);
        if (check_has(listener, "port") || check_has(listener, "bind"))
            continue;
        size_t at = check_enter_index(c, i);
        check_invalid(c, "a listener without a port catches the rest: it must be the last one");
        check_leave(c, at);
    }
}

static void check_outbound_policy(struct check *c, const json_t *policy)
{
    if (check_has(policy, "egressProxy") && !slice_eq(json_str(policy, "mode"), S("ALLOW_ANY")))
        check_forbidden_at(c, "egressProxy", "needs mode ALLOW_ANY");
    check_field(c, policy, "egressProxy", validate_destination);
}

static void check_sidecar(struct check *c, const json_t *spec)
{
    static const char *const parts[] = {"ingress", "egress", "outboundTrafficPolicy",
                                        "inboundConnectionPool", NULL};
    if (!check_count(spec, parts, NULL))
        check_required_at(
            c, "egress", "a Sidecar without egress, ingress or outboundTrafficPolicy says nothing");
    check_field(c, spec, "workloadSelector", check_selector);
    check_each(c, spec, "ingress", check_ingress);
    check_field(c, spec, "ingress", check_places_differ);
    check_each(c, spec, "egress", check_egress);
    check_field(c, spec, "egress", check_places_differ);
    check_field(c, spec, "egress", check_catch_all_last);
    check_field(c, spec, "outboundTrafficPolicy", check_outbound_policy);
    check_field(c, spec, "inboundConnectionPool", validate_connection_pool);
}

void validate_sidecar(struct check *c, const json_t *object)
{
    if (!check_has(object, "spec"))
        check_required_at(c, "spec.egress", "a Sidecar without egress or ingress says nothing");
    check_field(c, object, "spec", check_sidecar);
}
