#include "api/kind_columns.h"

#include "api/kind.h"

static void text_or(struct buf *out, struct slice text, struct slice otherwise)
{
    buf_append(out, text.n ? text : otherwise);
}

static void text_at(struct buf *out, const json_t *object, const char *path)
{
    text_or(out, json_str(object, path), S("<none>"));
}

/* Lists as a CRD's printer column shows them: ["a","b"]. */
static void list_at(struct buf *out, const json_t *object, const char *path)
{
    const json_t *list = json_at(object, path);
    if (json_array_size(list))
        json_write(out, list, NULL);
}

/* Joins items by commas; says how many are left out. */
struct joiner {
    struct buf *out;
    size_t shown, all, max;
};

static bool join_next(struct joiner *j)
{
    if (j->all++ >= j->max)
        return false;
    if (j->shown++)
        buf_append_byte(j->out, ',');
    return true;
}

static void join_end(struct joiner *j)
{
    if (!j->all)
        buf_append(j->out, S("<none>"));
    else if (j->all > j->shown)
        buf_printf(j->out, " + %zu more...", j->all - j->shown);
}

void kind_cell_namespace_status(const json_t *object, struct buf *out)
{
    bool ending = json_at(object, "metadata.deletionTimestamp") != NULL;
    text_or(out, ending ? S("Terminating") : json_str(object, "status.phase"), S("Active"));
}

void kind_cell_service_type(const json_t *object, struct buf *out)
{
    text_or(out, json_str(object, "spec.type"), S("ClusterIP"));
}

void kind_cell_cluster_ip(const json_t *object, struct buf *out)
{
    text_at(out, object, "spec.clusterIP");
}

void kind_cell_external_ip(const json_t *object, struct buf *out)
{
    if (slice_eq(json_str(object, "spec.type"), S("ExternalName"))) {
        text_at(out, object, "spec.externalName");
        return;
    }
    struct joiner j = {.out = out, .max = KIND_CELL_ITEMS_MAX};
    const json_t *v;
    size_t i;
    json_array_foreach (json_at(object, "status.loadBalancer.ingress"), i, v) {
        struct slice ip = json_str(v, "ip");
        if (join_next(&j))
            buf_append(out, ip.n ? ip : json_str(v, "hostname"));
    }
    json_array_foreach (json_at(object, "spec.externalIPs"), i, v)
        if (join_next(&j))
            buf_append(out, json_slice(v));
    join_end(&j);
}

void kind_cell_service_ports(const json_t *object, struct buf *out)
{
    struct joiner j = {.out = out, .max = SIZE_MAX};
    const json_t *v;
    size_t i;
    json_array_foreach (json_at(object, "spec.ports"), i, v) {
        join_next(&j);
        buf_printf(out, "%lld", (long long)json_int(v, "port", 0));
        if (json_int(v, "nodePort", 0))
            buf_printf(out, ":%lld", (long long)json_int(v, "nodePort", 0));
        buf_append_byte(out, '/');
        text_or(out, json_str(v, "protocol"), S("TCP"));
    }
    join_end(&j);
}

void kind_cell_service_selector(const json_t *object, struct buf *out)
{
    struct joiner j = {.out = out, .max = SIZE_MAX};
    const json_t *selector = json_at(object, "spec.selector");
    struct arena arena = {0};
    size_t n;
    struct slice *keys = json_keys_sorted(selector, &arena, &n);
    for (size_t i = 0; i < n; i++) {
        join_next(&j);
        buf_printf(out, "%.*s=%.*s", SLICE(keys[i]),
                   SLICE(json_slice(json_get(selector, keys[i]))));
    }
    join_end(&j);
    arena_fini(&arena);
}

void kind_cell_address_type(const json_t *object, struct buf *out)
{
    text_at(out, object, "addressType");
}

void kind_cell_slice_ports(const json_t *object, struct buf *out)
{
    struct joiner j = {.out = out, .max = KIND_CELL_ITEMS_MAX};
    const json_t *v;
    size_t i;
    json_array_foreach (json_at(object, "ports"), i, v) {
        if (!join_next(&j))
            continue;
        if (json_at(v, "port"))
            buf_printf(out, "%lld", (long long)json_int(v, "port", 0));
        else
            buf_append_byte(out, '*');
    }
    join_end(&j);
}

void kind_cell_slice_endpoints(const json_t *object, struct buf *out)
{
    struct joiner j = {.out = out, .max = KIND_CELL_ITEMS_MAX};
    const json_t *endpoint, *address;
    size_t i, k;
    json_array_foreach (json_at(object, "endpoints"), i, endpoint)
        json_array_foreach (json_object_get(endpoint, "addresses"), k, address)
            if (join_next(&j))
                buf_append(out, json_slice(address));
    join_end(&j);
}

void kind_cell_workload_address(const json_t *object, struct buf *out)
{
    text_at(out, object, "spec.address");
}

void kind_cell_hosts(const json_t *object, struct buf *out)
{
    list_at(out, object, "spec.hosts");
}

void kind_cell_gateways(const json_t *object, struct buf *out)
{
    list_at(out, object, "spec.gateways");
}

void kind_cell_location(const json_t *object, struct buf *out)
{
    buf_append(out, json_str(object, "spec.location"));
}

void kind_cell_resolution(const json_t *object, struct buf *out)
{
    buf_append(out, json_str(object, "spec.resolution"));
}

void kind_cell_host(const json_t *object, struct buf *out)
{
    buf_append(out, json_str(object, "spec.host"));
}

void kind_cell_subsets(const json_t *object, struct buf *out)
{
    struct joiner j = {.out = out, .max = KIND_CELL_ITEMS_MAX};
    const json_t *v;
    size_t i;
    json_array_foreach (json_at(object, "spec.subsets"), i, v)
        if (join_next(&j))
            buf_append(out, json_str(v, "name"));
    join_end(&j);
}

void kind_cell_gateway_ports(const json_t *object, struct buf *out)
{
    struct joiner j = {.out = out, .max = KIND_CELL_ITEMS_MAX};
    const json_t *v;
    size_t i;
    json_array_foreach (json_at(object, "spec.servers"), i, v)
        if (join_next(&j))
            buf_printf(out, "%lld/%.*s", (long long)json_int(v, "port.number", 0),
                       SLICE(json_str(v, "port.protocol")));
    join_end(&j);
}

void kind_cell_lease_holder(const json_t *object, struct buf *out)
{
    text_at(out, object, "spec.holderIdentity");
}

void kind_cell_lease_epoch(const json_t *object, struct buf *out)
{
    buf_printf(out, "%lld", (long long)json_int(object, "spec.leaseTransitions", 0));
}

void kind_cell_lease_ttl(const json_t *object, struct buf *out)
{
    long long seconds = (long long)json_int(object, "spec.leaseDurationSeconds", 0);
    if (seconds)
        buf_printf(out, "%llds", seconds);
    else
        buf_append(out, S("<none>"));
}

void kind_cell_lease_on_expiry(const json_t *object, struct buf *out)
{
    const json_t *annotations = json_at(object, "metadata.annotations");
    struct slice word = json_slice(json_object_get(annotations, KIND_LEASE_ON_EXPIRY));
    buf_append(out, word.n ? word : S("release"));
}

void kind_cell_live(const json_t *object, struct buf *out)
{
    const json_t *condition;
    size_t i;
    json_array_foreach (json_at(object, "status.conditions"), i, condition) {
        if (slice_eq(json_str(condition, "type"), S("Distributed"))) {
            buf_append(out, json_str(condition, "message"));
            return;
        }
    }
    buf_append(out, S("<unknown>"));
}
