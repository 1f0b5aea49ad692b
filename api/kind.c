#include "api/kind.h"

#include <stdio.h>
#include <string.h>

#include "api/kind_columns.h"
#include "api/names.h"
#include "api/schema.h"
#include "base/core/assert.h"
#include "base/wire/json.h"

#define ISTIO_VERSIONS                                                                             \
    {                                                                                              \
        "v1", "v1beta1", "v1alpha3"                                                                \
    }

const struct kind kinds[KIND_COUNT] = {
    [KIND_NAMESPACE] = {.id = KIND_NAMESPACE,
                        .about = "A namespace holds objects whose names are their own.",
                        .schema = &schema_namespace,
                        .group = "",
                        .versions = {"v1"},
                        .kind = "Namespace",
                        .plural = "namespaces",
                        .singular = "namespace",
                        .short_names = {"ns"},
                        .has_status = true,
                        .column_count = 1,
                        .columns = {{"Status", "string", "Phase of the namespace.", 0,
                                     kind_cell_namespace_status}}},
    [KIND_SERVICE] =
        {.id = KIND_SERVICE,
         .about =
             "A service is a name and ports for workloads that a selector or EndpointSlices name.",
         .schema = &schema_service,
         .group = "",
         .versions = {"v1"},
         .kind = "Service",
         .plural = "services",
         .singular = "service",
         .short_names = {"svc"},
         .namespaced = true,
         .has_status = true,
         .column_count = 5,
         .columns = {{"Type", "string", "How the service is exposed.", 0, kind_cell_service_type},
                     {"Cluster-IP", "string", "Virtual address.", 0, kind_cell_cluster_ip},
                     {"External-IP", "string", "Addresses from outside.", 0, kind_cell_external_ip},
                     {"Port(s)", "string", "Ports and protocols.", 0, kind_cell_service_ports},
                     {"Selector", "string", "Labels of the workloads.", 1,
                      kind_cell_service_selector}}},
    [KIND_ENDPOINT_SLICE] =
        {.id = KIND_ENDPOINT_SLICE,
         .about = "An EndpointSlice holds addresses of a service.",
         .schema = &schema_endpoint_slice,
         .group = "discovery.k8s.io",
         .versions = {"v1"},
         .kind = "EndpointSlice",
         .plural = "endpointslices",
         .singular = "endpointslice",
         .namespaced = true,
         .column_count = 3,
         .columns = {{"AddressType", "string", "IPv4, IPv6 or FQDN.", 0, kind_cell_address_type},
                     {"Ports", "string", "Port numbers.", 0, kind_cell_slice_ports},
                     {"Endpoints", "string", "Addresses.", 0, kind_cell_slice_endpoints}}},
    [KIND_WORKLOAD_ENTRY] =
        {.id = KIND_WORKLOAD_ENTRY,
         .about = "A WorkloadEntry is one workload that is no pod: a machine, a process.",
         .schema = &schema_workload_entry,
         .group = "networking.istio.io",
         .versions = ISTIO_VERSIONS,
         .kind = "WorkloadEntry",
         .plural = "workloadentries",
         .singular = "workloadentry",
         .short_names = {"we"},
         .namespaced = true,
         .has_status = true,
         .column_count = 1,
         .columns = {{"Address", "string", "Address of the workload.", 0,
                      kind_cell_workload_address}}},
    [KIND_SERVICE_ENTRY] =
        {.id = KIND_SERVICE_ENTRY,
         .about = "A ServiceEntry adds hosts to the mesh, inside it or outside.",
         .schema = &schema_service_entry,
         .group = "networking.istio.io",
         .versions = ISTIO_VERSIONS,
         .kind = "ServiceEntry",
         .plural = "serviceentries",
         .singular = "serviceentry",
         .short_names = {"se"},
         .namespaced = true,
         .has_status = true,
         .distributed = true,
         .column_count = 4,
         .columns = {{"Hosts", "string", "Hosts of the entry.", 0, kind_cell_hosts},
                     {"Location", "string", "MESH_EXTERNAL or MESH_INTERNAL.", 0,
                      kind_cell_location},
                     {"Resolution", "string", "NONE, STATIC, DNS …", 0, kind_cell_resolution},
                     {"Live", "string", "Proxies that have it.", 0, kind_cell_live}}},
    [KIND_VIRTUAL_SERVICE] =
        {.id = KIND_VIRTUAL_SERVICE,
         .about = "A VirtualService says where requests for hosts go.",
         .schema = &schema_virtual_service,
         .group = "networking.istio.io",
         .versions = ISTIO_VERSIONS,
         .kind = "VirtualService",
         .plural = "virtualservices",
         .singular = "virtualservice",
         .short_names = {"vs"},
         .namespaced = true,
         .has_status = true,
         .distributed = true,
         .column_count = 3,
         .columns = {{"Gateways", "string", "Gateways that the routes are for.", 0,
                      kind_cell_gateways},
                     {"Hosts", "string", "Hosts that are routed.", 0, kind_cell_hosts},
                     {"Live", "string", "Proxies that have it.", 0, kind_cell_live}}},
    [KIND_DESTINATION_RULE] =
        {.id = KIND_DESTINATION_RULE,
         .about =
             "A DestinationRule says how a service is spoken to: balancing, limits, TLS, subsets.",
         .schema = &schema_destination_rule,
         .group = "networking.istio.io",
         .versions = ISTIO_VERSIONS,
         .kind = "DestinationRule",
         .plural = "destinationrules",
         .singular = "destinationrule",
         .short_names = {"dr"},
         .namespaced = true,
         .has_status = true,
         .distributed = true,
         .column_count = 3,
         .columns = {{"Host", "string", "Service that the rule is for.", 0, kind_cell_host},
                     {"Subsets", "string", "Names of the subsets.", 1, kind_cell_subsets},
                     {"Live", "string", "Proxies that have it.", 0, kind_cell_live}}},
    [KIND_GATEWAY] =
        {.id = KIND_GATEWAY,
         .about =
             "A Gateway says on which ports, for which hosts and with which TLS gateways listen.",
         .schema = &schema_gateway,
         .group = "networking.istio.io",
         .versions = ISTIO_VERSIONS,
         .kind = "Gateway",
         .plural = "gateways",
         .singular = "gateway",
         .short_names = {"gw"},
         .namespaced = true,
         .has_status = true,
         .distributed = true,
         .column_count = 2,
         .columns = {{"Ports", "string", "Ports of the servers.", 1, kind_cell_gateway_ports},
                     {"Live", "string", "Proxies that have it.", 0, kind_cell_live}}},
    [KIND_SIDECAR] = {.id = KIND_SIDECAR,
                      .about =
                          "A Sidecar narrows what the proxies of workloads listen on and reach.",
                      .schema = &schema_sidecar,
                      .group = "networking.istio.io",
                      .versions = ISTIO_VERSIONS,
                      .kind = "Sidecar",
                      .plural = "sidecars",
                      .singular = "sidecar",
                      .namespaced = true,
                      .has_status = true,
                      .distributed = true,
                      .column_count = 1,
                      .columns = {{"Live", "string", "Proxies that have it.", 0, kind_cell_live}}},
    [KIND_LEASE] = {.id = KIND_LEASE,
                    .about = "A Lease is held by one at a time, who gives signs of life.",
                    .schema = &schema_lease,
                    .group = "coordination.k8s.io",
                    .versions = {"v1"},
                    .kind = "Lease",
                    .plural = "leases",
                    .singular = "lease",
                    .namespaced = true,
                    .column_count = 4,
                    .columns = {{"Holder", "string", "Who holds it.", 0, kind_cell_lease_holder},
                                {"Epoch", "string", "Number of this holding, for fences.", 0,
                                 kind_cell_lease_epoch},
                                {"TTL", "string", "How long a sign of life is good for.", 0,
                                 kind_cell_lease_ttl},
                                {"On-Expiry", "string", "What becomes of it: delete or release.", 0,
                                 kind_cell_lease_on_expiry}}},
};

/* Finding. */

bool kind_serves(const struct kind *k, struct slice version)
{
    for (size_t i = 0; i < KIND_VERSIONS_MAX && k->versions[i]; i++)
        if (slice_eq(slice_of(k->versions[i]), version))
            return true;
    return false;
}

const struct kind *kind_find(struct slice group, struct slice version, struct slice plural)
{
    for (size_t i = 0; i < KIND_COUNT; i++)
        if (slice_eq(slice_of(kinds[i].plural), plural) &&
            slice_eq(slice_of(kinds[i].group), group))
            return kind_serves(&kinds[i], version) ? &kinds[i] : NULL;
    return NULL;
}

/* "networking.istio.io/v1" -> group and version; "v1" -> the empty group. */
static void split_api_version(struct slice api_version, struct slice *ret_group,
                              struct slice *ret_version)
{
    if (slice_cut(api_version, '/', ret_group, ret_version))
        return;
    *ret_version = api_version;
    *ret_group = (struct slice){0};
}

/* Of the kind that was meant, its group too where that is not the one that was written. */
static const char *meant(struct slice group, struct slice name, char dst[128])
{
    dst[0] = '\0';
    for (size_t i = 0; i < KIND_COUNT && name.n; i++) {
        const struct kind *k = &kinds[i];
        if (!slice_eq(slice_of(k->kind), name))
            continue;
        if (slice_eq(slice_of(k->group), group))
            snprintf(dst, 128, ", did you mean \"%s\"?", k->kind);
        else
            snprintf(dst, 128, ", did you mean %s %s?", kind_api_version(k), k->kind);
    }
    return dst;
}

static void unknown_kind(struct slice api_version, struct slice kind, struct err *err)
{
    char hint[128];
    struct name_suggest near = {.word = kind};
    struct slice group, version;
    split_api_version(api_version, &group, &version);
    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (slice_eq(slice_of(kinds[i].kind), kind) && slice_eq(slice_of(kinds[i].group), group)) {
            err_set(err, ERR_INVALID, "%.*s is not served in version \"%.*s\": use %s", SLICE(kind),
                    SLICE(version), kind_api_version(&kinds[i]));
            return;
        }
        name_suggest_try(&near, slice_of(kinds[i].kind));
    }
    err_set(err, ERR_INVALID, "no kind \"%.*s\" in \"%.*s\"%s", SLICE(slice_sub(kind, 0, 80)),
            SLICE(slice_sub(api_version, 0, 80)), meant(group, near.best, hint));
}

const struct kind *kind_of_object(const json_t *object, struct err *err)
{
    struct slice api_version = json_str(object, "apiVersion"), kind = json_str(object, "kind");
    if (!api_version.n || !kind.n) {
        err_set(err, ERR_INVALID, "%s is missing: every object says its apiVersion and kind",
                api_version.n ? "kind" : "apiVersion");
        return NULL;
    }
    struct slice group, version;
    split_api_version(api_version, &group, &version);
    for (size_t i = 0; i < KIND_COUNT; i++)
        if (slice_eq(slice_of(kinds[i].kind), kind) && slice_eq(slice_of(kinds[i].group), group) &&
            kind_serves(&kinds[i], version))
            return &kinds[i];
    unknown_kind(api_version, kind, err);
    return NULL;
}

const char *kind_api_version(const struct kind *k)
{
    static const char *const names[KIND_COUNT] = {
        [KIND_NAMESPACE] = "v1",
        [KIND_SERVICE] = "v1",
        [KIND_ENDPOINT_SLICE] = "discovery.k8s.io/v1",
        [KIND_WORKLOAD_ENTRY] = "networking.istio.io/v1",
        [KIND_SERVICE_ENTRY] = "networking.istio.io/v1",
        [KIND_VIRTUAL_SERVICE] = "networking.istio.io/v1",
        [KIND_DESTINATION_RULE] = "networking.istio.io/v1",
        [KIND_GATEWAY] = "networking.istio.io/v1",
        [KIND_SIDECAR] = "networking.istio.io/v1",
        [KIND_LEASE] = "coordination.k8s.io/v1",
    };
    return names[k->id];
}

static bool has_short_name(const struct kind *k, struct slice word)
{
    for (size_t i = 0; i < KIND_SHORT_NAMES_MAX && k->short_names[i]; i++)
        if (slice_eq_nocase(slice_of(k->short_names[i]), word))
            return true;
    return false;
}

const struct kind *kind_guess(struct slice word)
{
    struct slice name, group;
    bool qualified = slice_cut(word, '.', &name, &group);
    for (size_t i = 0; i < KIND_COUNT; i++) {
        const struct kind *k = &kinds[i];
        if (qualified && !slice_eq_nocase(slice_of(k->group), group))
            continue;
        if (slice_eq_nocase(slice_of(k->plural), name) ||
            slice_eq_nocase(slice_of(k->singular), name) || has_short_name(k, name))
            return k;
    }
    return NULL;
}

/* Keys. */

static bool name_fits(const struct kind *k, struct slice name)
{
    if (k->id == KIND_NAMESPACE)
        return name_is_label(name);
    return k->id == KIND_SERVICE ? name_is_label_1035(name) : name_is_subdomain(name);
}

static struct slice key_of(struct arena *arena, const struct kind *k, struct slice ns,
                           struct slice name)
{
    const struct slice parts[] = {slice_of(k->plural),
                                  slice_of(k->group[0] ? "." : ""),
                                  slice_of(k->group),
                                  S("/"),
                                  ns,
                                  S("/"),
                                  name};
    size_t n = 0, at = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        n += parts[i].n;
    char *p = arena_alloc(arena, n + 1);
    for (size_t i = 0; i < ARRAY_LEN(parts); at += parts[i++].n)
        if (parts[i].n)
            memcpy(p + at, parts[i].p, parts[i].n);
    return slice_mem(p, n);
}

bool kind_key(const struct kind *k, struct slice ns, struct slice name, struct arena *arena,
              struct slice *ret_key, struct err *err)
{
    if (k->namespaced ? !name_is_label(ns) : ns.n > 0)
        return err_set(err, ERR_INVALID, "namespace \"%.*s\": %s", SLICE(slice_sub(ns, 0, 80)),
                       k->namespaced ? "must be a DNS label (a-z, 0-9, \"-\"; at most 63)"
                                     : "objects of this kind have none");
    if (!name_fits(k, name))
        return err_set(err, ERR_INVALID, "%s name \"%.*s\": must be a DNS %s", k->singular,
                       SLICE(slice_sub(name, 0, 80)),
                       k->id == KIND_NAMESPACE ? "label (a-z, 0-9, \"-\"; at most 63)"
                       : k->id == KIND_SERVICE ? "label that starts with a letter (at most 63)"
                                               : "subdomain (a-z, 0-9, \"-\", \".\"; at most 253)");
    *ret_key = key_of(arena, k, ns, name);
    return true;
}

bool kind_key_parse(struct slice key, const struct kind **ret_kind, struct slice *ret_ns,
                    struct slice *ret_name)
{
    struct slice resource, rest, ns, name, plural, group;
    if (!slice_cut(key, '/', &resource, &rest) || !slice_cut(rest, '/', &ns, &name) || !name.n)
        return false;
    slice_cut(resource, '.', &plural, &group);
    for (size_t i = 0; i < KIND_COUNT; i++) {
        const struct kind *k = &kinds[i];
        if (!slice_eq(slice_of(k->plural), plural) || !slice_eq(slice_of(k->group), group))
            continue;
        if (k->namespaced != (ns.n > 0))
            return false;
        *ret_kind = k;
        *ret_ns = ns;
        *ret_name = name;
        return true;
    }
    return false;
}

/* Canonical form. */

/* Server-owned and not part of what is stored. */
static const char *const unstored[] = {"resourceVersion", "managedFields", "selfLink"};

static void drop_nulls(json_t *v)
{
    void *next;
    const char *key;
    json_t *child;
    size_t i;
    json_object_foreach_safe (v, next, key, child) {
        if (json_is_null(child))
            json_object_del(v, key);
        else
            drop_nulls(child);
    }
    json_array_foreach (v, i, child)
        drop_nulls(child);
}

static void set_default(json_t *object, const char *key, const char *value)
{
    if (!json_object_get(object, key))
        json_object_set_new(object, key, json_string(value));
}

static void default_service(json_t *object)
{
    json_t *spec = json_object_child(object, "spec"), *port;
    if (!spec)
        return;
    set_default(spec, "type", "ClusterIP");
    set_default(spec, "sessionAffinity", "None");
    bool external_name = slice_eq(json_str(spec, "type"), S("ExternalName"));
    size_t i;
    json_array_foreach (json_object_get(spec, "ports"), i, port) {
        if (!json_is_object(port))
            continue;
        set_default(port, "protocol", "TCP");
        if (!external_name && !json_object_get(port, "targetPort") && json_object_get(port, "port"))
            json_object_set(port, "targetPort", json_object_get(port, "port"));
    }
}

static void default_endpoint_slice(json_t *object)
{
    json_t *port;
    size_t i;
    json_array_foreach (json_object_get(object, "ports"), i, port)
        if (json_is_object(port))
            set_default(port, "protocol", "TCP");
}

static void default_namespace(json_t *object)
{
    json_t *meta = json_object_child(object, "metadata"),
           *status = json_object_child(object, "status");
    json_t *labels = meta ? json_object_child(meta, "labels") : NULL;
    json_t *name = json_object_get(meta, "name");
    if (labels && json_is_string(name))
        json_object_set(labels, "kubernetes.io/metadata.name", name);
    if (status)
        set_default(status, "phase", "Active");
}

void kind_default(const struct kind *k, json_t *object)
{
    drop_nulls(object);
    json_object_set_new(object, "apiVersion", json_string(kind_api_version(k)));
    json_object_set_new(object, "kind", json_string(k->kind));
    json_t *meta = json_object_get(object, "metadata");
    json_object_del(meta, "managedFields");
    json_object_del(meta, "selfLink");
    if (k->id == KIND_SERVICE)
        default_service(object);
    else if (k->id == KIND_ENDPOINT_SLICE)
        default_endpoint_slice(object);
    else if (k->id == KIND_NAMESPACE)
        default_namespace(object);
}

/* A copy that shares everything with the object but the metadata map, which lacks `keys`. */
static json_t *without_metadata(const json_t *object, const char *const *keys, size_t count)
{
    json_t *copy = json_copy((json_t *)(uintptr_t)object);
    json_t *meta = json_copy(json_object_get(object, "metadata"));
    for (size_t i = 0; i < count; i++)
        json_object_del(meta, keys[i]);
    if (meta)
        json_object_set_new(copy, "metadata", meta);
    return copy;
}

bool kind_encode(const json_t *object, struct buf *out, struct err *err)
{
    const json_t *meta = json_object_get(object, "metadata");
    bool whole = true;
    for (size_t i = 0; i < ARRAY_LEN(unstored); i++)
        whole = whole && !json_object_get(meta, unstored[i]);
    if (whole)
        return json_write(out, object, err);
    json_t *stored = without_metadata(object, unstored, ARRAY_LEN(unstored));
    bool ok = json_write(out, stored, err);
    json_decref(stored);
    return ok;
}

static bool is_apart(const char *key, const char *const *apart, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(key, apart[i]) == 0)
            return true;
    return false;
}

static size_t size_apart(const json_t *o, const char *const *apart, size_t n)
{
    size_t size = json_object_size(o);
    for (size_t i = 0; i < n; i++)
        size -= json_object_get(o, apart[i]) != NULL;
    return size;
}

/* Are two objects the same but for fields of these names? */
static bool same_apart(const json_t *a, const json_t *b, const char *const *apart, size_t n)
{
    json_t *o = (json_t *)(uintptr_t)a;
    if (size_apart(a, apart, n) != size_apart(b, apart, n))
        return false;
    for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it)) {
        const char *key = json_object_iter_key(it);
        if (is_apart(key, apart, n))
            continue;
        const json_t *other = json_object_get(b, key);
        if (!other || !json_same(json_object_iter_value(it), other))
            return false;
    }
    return true;
}

bool kind_same_content(const json_t *a, const json_t *b)
{
    static const char *const metadata[] = {"metadata"};
    static const char *const apart[] = {"resourceVersion", "managedFields", "selfLink",
                                        "generation"};
    return same_apart(a, b, metadata, ARRAY_LEN(metadata)) &&
           same_apart(json_object_get(a, "metadata"), json_object_get(b, "metadata"), apart,
                      ARRAY_LEN(apart));
}

bool kind_same_spec(const json_t *a, const json_t *b)
{
    static const char *const apart[] = {"metadata", "status", "apiVersion", "kind"};
    return same_apart(a, b, apart, ARRAY_LEN(apart));
}
