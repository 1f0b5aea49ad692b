#include "api/validate.h"

#include "api/names.h"
#include "api/quota.h"
#include "api/validate_parts.h"

/* core/v1, discovery.k8s.io/v1 and coordination.k8s.io/v1: what a Kubernetes API server refuses. */

#define CUT(s) SLICE(slice_sub((s), 0, 80))

/* Service. */

static void check_target_port(struct check *c, const json_t *target)
{
    if (json_is_string(target) && !name_is_port(json_slice(target)))
        check_invalid(
            c, "\"%.*s\": must be a port number or a port's name (at most 15 of a-z, 0-9, \"-\")",
            CUT(json_slice(target)));
    else
        validate_port(c, target);
}

static void check_service_port(struct check *c, const json_t *port)
{
    struct slice name = json_str(port, "name");
    if (name.n && !name_is_label(name))
        check_invalid_at(c, "name", "\"%.*s\": must be a DNS label", CUT(name));
    check_field(c, port, "targetPort", check_target_port);
}

static struct slice protocol_of(const json_t *port)
{
    struct slice protocol = json_str(port, "protocol");
    return protocol.n ? protocol : S("TCP");
}

/* Names are there and differ, (port, protocol) differ. */
static void check_ports_differ(struct check *c, const json_t *ports)
{
    size_t n = json_array_size(ports);
    if (n > 1000) /* the schema says so */
        return;
    for (size_t i = 0; i < n; i++) {
        const json_t *port = json_array_get(ports, i);
        struct slice name = json_str(port, "name");
        size_t at = check_enter_index(c, i);
        if (n > 1 && !name.n)
            check_required_at(c, "name", "a service of several ports names each");
        for (size_t k = 0; k < i; k++) {
            const json_t *other = json_array_get(ports, k);
            if (name.n && slice_eq(name, json_str(other, "name")))
                check_invalid_at(c, "name", "\"%.*s\" is there twice", CUT(name));
            if (json_int(port, "port", -1) == json_int(other, "port", -2) &&
                slice_eq(protocol_of(port), protocol_of(other)))
                check_invalid_at(c, "port", "is there twice for %.*s", SLICE(protocol_of(port)));
        }
        check_leave(c, at);
    }
}

static void check_cluster_ip(struct check *c, const json_t *ip)
{
    struct slice s = json_slice(ip);
    if (s.n && !slice_eq(s, S("None")) && !name_is_ip(s))
        check_invalid(c, "\"%.*s\": must be an IP address, \"None\" or empty", CUT(s));
}

static void check_external_name(struct check *c, const json_t *spec)
{
    struct slice name = json_str(spec, "externalName");
    if (!name.n)
        check_required_at(c, "externalName", "a service of type ExternalName says which");
    else if (!name_is_host(name))
        check_invalid_at(c, "externalName", "\"%.*s\": must be a DNS name", CUT(name));
    if (json_str(spec, "clusterIP").n)
        check_forbidden_at(c, "clusterIP", "a service of type ExternalName has none");
}

static void check_ip_item(struct check *c, const json_t *ip)
{
    if (json_is_string(ip) && !name_is_ip(json_slice(ip)))
        check_invalid(c, "\"%.*s\": must be an IP address", CUT(json_slice(ip)));
}

static void check_cidr_item(struct check *c, const json_t *cidr)
{
    if (json_is_string(cidr) && !name_is_cidr(slice_trim(json_slice(cidr))))
        check_invalid(c, "\"%.*s\": must be a subnet like 10.0.0.0/8", CUT(json_slice(cidr)));
}

static void check_service_spec(struct check *c, const json_t *spec)
{
    bool external = slice_eq(json_str(spec, "type"), S("ExternalName"));
    bool headless = slice_eq(json_str(spec, "clusterIP"), S("None"));
    if (external)
        check_external_name(c, spec);
    else if (!headless && !json_array_size(json_object_get(spec, "ports")))
        check_required_at(c, "ports", "must have at least one port");
    check_each(c, spec, "ports", check_service_port);
    check_field(c, spec, "ports", check_ports_differ);
    check_field(c, spec, "clusterIP", check_cluster_ip);
    check_field(c, spec, "selector", validate_labels);
    check_each(c, spec, "clusterIPs", check_cluster_ip);
    check_each(c, spec, "externalIPs", check_ip_item);
    check_each(c, spec, "loadBalancerSourceRanges", check_cidr_item);
    if (check_has(spec, "sessionAffinityConfig") &&
        !slice_eq(json_str(spec, "sessionAffinity"), S("ClientIP")))
        check_forbidden_at(c, "sessionAffinityConfig", "needs sessionAffinity ClientIP");
}

void validate_service(struct check *c, const json_t *object)
{
    if (!check_has(object, "spec"))
        check_required_at(c, "spec.ports", "must have at least one port");
    check_field(c, object, "spec", check_service_spec);
}

/* EndpointSlice. */

static void check_address(struct check *c, const json_t *address)
{
    struct slice type = json_str(c->object, "addressType"), s = json_slice(address);
    bool ok = slice_eq(type, S("IPv4"))   ? name_is_ipv4(s)
              : slice_eq(type, S("IPv6")) ? name_is_ipv6(s)
              : slice_eq(type, S("FQDN")) ? name_is_host(s)
                                          : true; /* the schema says so */
    if (json_is_string(address) && !ok)
        check_invalid(c, "\"%.*s\": must be %s address, as addressType says", CUT(s),
                      slice_eq(type, S("IPv4"))   ? "an IPv4"
                      : slice_eq(type, S("IPv6")) ? "an IPv6"
                                                  : "a DNS name as");
}

static void check_endpoint(struct check *c, const json_t *endpoint)
{
    struct slice hostname = json_str(endpoint, "hostname");
    check_each(c, endpoint, "addresses", check_address);
    if (hostname.n && !name_is_label(hostname))
        check_invalid_at(c, "hostname", "\"%.*s\": must be a DNS label", CUT(hostname));
}

static void check_slice_ports(struct check *c, const json_t *ports)
{
    size_t n = json_array_size(ports);
    for (size_t i = 0; i < n && n <= 100; i++) {
        struct slice name = json_str(json_array_get(ports, i), "name");
        size_t at = check_enter_index(c, i);
        if (name.n && !name_is_label(name))
            check_invalid_at(c, "name", "\"%.*s\": must be a DNS label", CUT(name));
        for (size_t k = 0; k < i; k++)
            if (slice_eq(name, json_str(json_array_get(ports, k), "name")))
                check_invalid_at(c, "name", "\"%.*s\" is there twice", CUT(name));
        check_leave(c, at);
    }
}

void validate_endpoint_slice(struct check *c, const json_t *object)
{
    check_each(c, object, "endpoints", check_endpoint);
    check_field(c, object, "ports", check_slice_ports);
    struct slice was = json_str(c->old, "addressType");
    if (was.n && !slice_eq(was, json_str(object, "addressType")))
        check_invalid_at(c, "addressType", "may not change from %.*s", SLICE(was));
    if (!json_str(object, "metadata.labels[\"kubernetes.io/service-name\"]").n) {
        size_t at = check_enter(c, "metadata"), labels = check_enter(c, "labels");
        check_warn(c, "no label kubernetes.io/service-name: the slice belongs to no service");
        check_leave(c, labels);
        check_leave(c, at);
    }
}

/* Lease. */

static void check_on_expiry(struct check *c, const json_t *word)
{
    struct slice s = json_slice(word);
    if (!slice_eq(s, S("delete")) && !slice_eq(s, S("release")))
        check_invalid(c,
                      "\"%.*s\": must be \"delete\" (the lease and what lives on it) or "
                      "\"release\" (the holder is taken)",
                      CUT(s));
}

static void check_lease_annotations(struct check *c, const json_t *annotations)
{
    check_field(c, annotations, KIND_LEASE_ON_EXPIRY, check_on_expiry);
    if (json_object_get(annotations, KIND_ON_LEASE))
        check_forbidden_at(c, KIND_ON_LEASE, "a lease lives on no other lease");
}

static void check_lease_meta(struct check *c, const json_t *meta)
{
    check_field(c, meta, "annotations", check_lease_annotations);
}

static void check_lease_spec(struct check *c, const json_t *spec)
{
    const json_t *holder = json_object_get(spec, "holderIdentity");
    if (holder && json_slice(holder).n && !json_object_get(spec, "leaseDurationSeconds"))
        check_warn(c, "no leaseDurationSeconds: the lease does not expire");
}

void validate_lease(struct check *c, const json_t *object)
{
    check_field(c, object, "metadata", check_lease_meta);
    check_field(c, object, "spec", check_lease_spec);
}

/* Namespace. */

static void check_quota_objects(struct check *c, const json_t *text)
{
    uint64_t n;
    if (!quota_parse(json_slice(text), false, &n))
        check_invalid(c, "\"%.*s\": must be a number of objects from 1 on", CUT(json_slice(text)));
}

static void check_quota_bytes(struct check *c, const json_t *text)
{
    uint64_t n;
    if (!quota_parse(json_slice(text), true, &n))
        check_invalid(c, "\"%.*s\": must be bytes from 1 on, as 1048576, 1024Ki, 1Mi",
                      CUT(json_slice(text)));
}

static void check_namespace_annotations(struct check *c, const json_t *annotations)
{
    check_field(c, annotations, QUOTA_OBJECTS, check_quota_objects);
    check_field(c, annotations, QUOTA_BYTES, check_quota_bytes);
}

static void check_namespace_meta(struct check *c, const json_t *meta)
{
    check_field(c, meta, "annotations", check_namespace_annotations);
}

void validate_namespace(struct check *c, const json_t *object)
{
    check_field(c, object, "metadata", check_namespace_meta);
}
