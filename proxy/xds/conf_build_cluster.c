/* Clusters and their endpoints. */
#include "proxy/xds/conf_build_internal.h"

#include <string.h>

#include "api/proto/cluster.pb-c.h"
#include "api/proto/endpoint.pb-c.h"
#include "api/proto/lb_least_request.pb-c.h"
#include "api/proto/lb_maglev.pb-c.h"
#include "api/proto/lb_ring_hash.pb-c.h"
#include "api/proto/upstream_http.pb-c.h"
#include "base/wire/header.h"
#include "google/protobuf/struct.pb-c.h"

#define MSG(name) Envoy__Config__Cluster__V3__##name
#define EDS(name) Envoy__Config__Endpoint__V3__##name

/* Envoy's defaults (circuit_breaker.proto, cluster.proto). */
#define BREAKER_DEFAULT 1024
#define BREAKER_RETRIES 3
#define CONNECT_TIMEOUT_MS 5000
#define RING_MIN 1024
#define RING_MAX 8388608
#define MAGLEV_SIZE 65537

/* Endpoints. */

/* istio's workload metadata: "name;namespace;canonical;revision;cluster". */
static void endpoint_workload(struct arena *arena, const EDS(LbEndpoint) * in, struct endpoint *e)
{
    struct slice rest = build_struct_text(build_metadata(in->metadata, "istio"), "workload");
    struct slice part;
    struct slice *fields[] = {&e->workload, &e->ns, &e->canonical, &e->version};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        slice_cut(rest, ';', &part, &rest);
        *fields[i] = arena_dup(arena, part);
    }
}

/* Of a DNS cluster an address may be a name: the data path resolves it. */
static bool endpoint_name(struct arena *arena, const Envoy__Config__Core__V3__Address *a,
                          struct endpoint *e)
{
    if (!a || a->address_case != ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS ||
        a->socket_address->port_value > 65535 ||
        !http_authority_ok(slice_of(a->socket_address->address), false))
        return false;
    e->text =
        arena_printf(arena, "%s:%u", a->socket_address->address, a->socket_address->port_value);
    return true;
}

static bool endpoint_address(struct arena *arena, const Envoy__Config__Core__V3__Address *a,
                             bool names, struct endpoint *e, struct err *err)
{
    char text[ENV_ADDR_TEXT];
    if (!build_addr(a, &e->addr, err)) {
        e->addr = (struct env_addr){0};
        return names && endpoint_name(arena, a, e);
    }
    e->text = arena_dup(arena, env_addr_format(&e->addr, text));
    return true;
}

static bool endpoint_fill(struct arena *arena, const EDS(LocalityLbEndpoints) * group,
                          const EDS(LbEndpoint) * in, bool names, struct endpoint *e,
                          struct err *err)
{
    if (in->host_identifier_case !=
        ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT)
        return err_set(err, ERR_UNSUPPORTED, "endpoint_name: not known");
    if (!endpoint_address(arena, in->endpoint->address, names, e, err))
        return false;
    e->hostname = build_text(arena, in->endpoint->hostname);
    e->weight = build_u32(in->load_balancing_weight, 1);
    e->priority = group->priority;
    if (e->weight == 0)
        return err_set(err, ERR_INVALID, "endpoint %.*s: load_balancing_weight must be at least 1",
                       SLICE(e->text));
    /* HealthStatus: UNKNOWN, HEALTHY, UNHEALTHY, DRAINING, TIMEOUT, DEGRADED. */
    static const enum endpoint_health health[] = {HEALTH_UNKNOWN,   HEALTH_HEALTHY,
                                                  HEALTH_UNHEALTHY, HEALTH_DRAINING,
                                                  HEALTH_UNHEALTHY, HEALTH_DEGRADED};
    e->health =
        (size_t)in->health_status < ARRAY_LEN(health) ? health[in->health_status] : HEALTH_UNKNOWN;
    if (group->locality) {
        e->region = build_text(arena, group->locality->region);
        e->zone = build_text(arena, group->locality->zone);
        e->subzone = build_text(arena, group->locality->sub_zone);
    }
    endpoint_workload(arena, in, e);
    return true;
}

static bool endpoints_fill(struct endpoint_set *set, const EDS(ClusterLoadAssignment) * in,
                           bool names, struct err *err)
{
    struct arena *arena = &set->part.arena;
    size_t n = 0;
    for (size_t g = 0; g < in->n_endpoints; g++)
        n += in->endpoints[g]->n_lb_endpoints;
    set->items = ARENA_ARRAY(arena, struct endpoint, n + 1);
    for (size_t g = 0; g < in->n_endpoints; g++) {
        if (in->endpoints[g]->priority > 128)
            return err_set(err, ERR_INVALID, "endpoints[%zu].priority: must be at most 128", g);
        for (size_t i = 0; i < in->endpoints[g]->n_lb_endpoints; i++)
            if (!endpoint_fill(arena, in->endpoints[g], in->endpoints[g]->lb_endpoints[i], names,
                               &set->items[set->n++], err))
                return false;
    }
    return true;
}

static struct endpoint_set *endpoints_of(const EDS(ClusterLoadAssignment) * in, struct slice name,
                                         struct xds_stamp version, bool names, struct err *err)
{
    struct endpoint_set *set = endpoint_set_new();
    set->name = arena_dup(&set->part.arena, name);
    set->version = version;
    if (endpoints_fill(set, in, names, err))
        return set;
    conf_part_unref(&set->part);
    return NULL;
}

struct endpoint_set *conf_build_endpoints(struct slice name, struct xds_stamp version,
                                          struct slice body, struct err *err)
{
    struct arena scratch = {0};
    const EDS(ClusterLoadAssignment) *in = pb_unpack(
        &envoy__config__endpoint__v3__cluster_load_assignment__descriptor, body, &scratch, err);
    struct endpoint_set *set = in ? endpoints_of(in, name, version, false, err) : NULL;
    if (!set)
        err_wrap(err, "ClusterLoadAssignment %.*s", SLICE(name));
    arena_fini(&scratch);
    return set;
}

/* Clusters. */

static bool build_kind(struct cluster *c, const MSG(Cluster) * in, struct err *err)
{
    static const enum cluster_kind kinds[] = {
        [ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__STATIC] = CLUSTER_STATIC,
        [ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__STRICT_DNS] = CLUSTER_DNS,
        [ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__LOGICAL_DNS] = CLUSTER_DNS,
        [ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__EDS] = CLUSTER_EDS,
        [ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__ORIGINAL_DST] = CLUSTER_ORIGINAL_DST,
    };
    if (in->cluster_discovery_type_case ==
        ENVOY__CONFIG__CLUSTER__V3__CLUSTER__CLUSTER_DISCOVERY_TYPE_CLUSTER_TYPE)
        return err_set(err, ERR_UNSUPPORTED, "cluster_type %s: not known", in->cluster_type->name);
    if (in->type >= ARRAY_LEN(kinds))
        return err_set(err, ERR_INVALID, "type: unknown");
    c->kind = kinds[in->type];
    if (c->kind == CLUSTER_ORIGINAL_DST && slice_eq(c->name, S("PassthroughCluster")))
        c->kind = CLUSTER_PASSTHROUGH;
    if (c->kind == CLUSTER_EDS) {
        bool named = in->eds_cluster_config && in->eds_cluster_config->service_name[0];
        c->eds_name =
            named ? build_text(&c->part.arena, in->eds_cluster_config->service_name) : c->name;
    }
    return true;
}

static bool build_lb(struct cluster *c, const MSG(Cluster) * in, struct err *err)
{
    c->lr_choices = 2;
    c->ring_min = RING_MIN;
    c->ring_max = RING_MAX;
    c->maglev_size = MAGLEV_SIZE;
    switch (in->lb_policy) {
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__ROUND_ROBIN:
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__CLUSTER_PROVIDED:
        c->lb = LB_ROUND_ROBIN;
        break;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__LEAST_REQUEST:
        c->lb = LB_LEAST_REQUEST;
        break;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__RANDOM:
        c->lb = LB_RANDOM;
        break;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__RING_HASH:
        c->lb = LB_RING_HASH;
        break;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__MAGLEV:
        c->lb = LB_MAGLEV;
        break;
    default:
        return err_set(err, ERR_UNSUPPORTED, "lb_policy %d: not known", (int)in->lb_policy);
    }
    switch (in->lb_config_case) {
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_RING_HASH_LB_CONFIG:
        if (in->ring_hash_lb_config->minimum_ring_size)
            c->ring_min = in->ring_hash_lb_config->minimum_ring_size->value;
        if (in->ring_hash_lb_config->maximum_ring_size)
            c->ring_max = in->ring_hash_lb_config->maximum_ring_size->value;
        break;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_MAGLEV_LB_CONFIG:
        if (in->maglev_lb_config->table_size)
            c->maglev_size = in->maglev_lb_config->table_size->value;
        break;
    case ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_LEAST_REQUEST_LB_CONFIG:
        c->lr_choices = build_u32(in->least_request_lb_config->choice_count, 2);
        break;
    default:
        break;
    }
    if (c->ring_min > c->ring_max || c->ring_max > RING_MAX)
        return err_set(err, ERR_INVALID, "ring_hash_lb_config: sizes must be ≤ 8388608, min ≤ max");
    if (c->maglev_size < 2 || c->maglev_size > 5000011)
        return err_set(err, ERR_INVALID, "maglev_lb_config.table_size: must be 2..5000011");
    return c->lr_choices >= 2
               ? true
               : err_set(err, ERR_INVALID, "least_request_lb_config.choice_count < 2");
}

static void build_breakers(struct cluster *c, const MSG(CircuitBreakers) * in)
{
    c->max_connections = c->max_pending = c->max_requests = BREAKER_DEFAULT;
    c->max_retries = BREAKER_RETRIES;
    for (size_t i = 0; in && i < in->n_thresholds; i++) {
        const MSG(CircuitBreakers__Thresholds) *t = in->thresholds[i];
        if (t->priority != 0)
            continue;
        c->max_connections = build_u32(t->max_connections, BREAKER_DEFAULT);
        c->max_pending = build_u32(t->max_pending_requests, BREAKER_DEFAULT);
        c->max_requests = build_u32(t->max_requests, BREAKER_DEFAULT);
        c->max_retries = build_u32(t->max_retries, BREAKER_RETRIES);
        if (t->retry_budget) {
            c->has_retry_budget = true;
            c->retry_budget_percent =
                t->retry_budget->budget_percent ? t->retry_budget->budget_percent->value : 20;
            c->retry_budget_min = build_u32(t->retry_budget->min_retry_concurrency, 3);
        }
        return;
    }
}

static void build_outlier(struct cluster *c, const MSG(OutlierDetection) * in)
{
    if (!in)
        return;
    bool enforce_5xx = build_u32(in->enforcing_consecutive_5xx, 100) > 0;
    bool enforce_gateway = build_u32(in->enforcing_consecutive_gateway_failure, 0) > 0;
    c->outlier.consecutive_5xx = enforce_5xx ? build_u32(in->consecutive_5xx, 5) : 0;
    c->outlier.consecutive_gateway =
        enforce_gateway ? build_u32(in->consecutive_gateway_failure, 5) : 0;
    c->outlier.max_ejection_percent = build_u32(in->max_ejection_percent, 10);
    c->outlier.interval = build_ms(in->interval, 10000);
    c->outlier.base_ejection = build_ms(in->base_ejection_time, 30000);
    c->outlier.max_ejection = build_ms(in->max_ejection_time, 300000);
}

#define HTTP(name) Envoy__Extensions__Upstreams__Http__V3__##name

static bool build_protocol_options(struct cluster *c, const HTTP(HttpProtocolOptions) * in,
                                   struct err *err)
{
    switch (in->upstream_protocol_options_case) {
    case ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_EXPLICIT_HTTP_CONFIG:
        if (in->explicit_http_config->protocol_config_case ==
            ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__EXPLICIT_HTTP_CONFIG__PROTOCOL_CONFIG_HTTP2_PROTOCOL_OPTIONS) {
            c->protocol = UPSTREAM_HTTP2;
            c->max_concurrent_streams = build_u32(
                in->explicit_http_config->http2_protocol_options->max_concurrent_streams, 0);
        }
        break;
    case ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_USE_DOWNSTREAM_PROTOCOL_CONFIG:
        c->protocol = UPSTREAM_DOWNSTREAM;
        break;
    case ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS__NOT_SET:
        break;
    default:
        return err_set(err, ERR_UNSUPPORTED, "auto_config: needs TLS, which is not known");
    }
    if (in->common_http_protocol_options) {
        c->idle_timeout = build_ms(in->common_http_protocol_options->idle_timeout, c->idle_timeout);
        c->max_requests_per_connection =
            build_u32(in->common_http_protocol_options->max_requests_per_connection, 0);
    }
    return true;
}

static bool build_protocol(struct cluster *c, const MSG(Cluster) * in, struct err *err)
{
    c->protocol = UPSTREAM_HTTP1;
    c->idle_timeout = 3600000; /* Envoy: 1 h */
    bool ok = true;
    for (size_t i = 0; ok && i < in->n_typed_extension_protocol_options; i++) {
        struct arena scratch = {0};
        if (strcmp(in->typed_extension_protocol_options[i]->key,
                   "envoy.extensions.upstreams.http.v3.HttpProtocolOptions") != 0)
            continue;
        const HTTP(HttpProtocolOptions) *o =
            any_unpack(in->typed_extension_protocol_options[i]->value,
                       &envoy__extensions__upstreams__http__v3__http_protocol_options__descriptor,
                       &scratch, err);
        ok = o && build_protocol_options(c, o, err);
        arena_fini(&scratch);
    }
    return ok;
}

/* istio's cluster metadata: services: [{host, name, namespace}]. */
static void build_service(struct cluster *c, const MSG(Cluster) * in)
{
    const Google__Protobuf__Struct *m = build_metadata(in->metadata, "istio");
    for (size_t i = 0; m && i < m->n_fields; i++) {
        const Google__Protobuf__Value *v = m->fields[i]->value;
        if (strcmp(m->fields[i]->key, "services") != 0 || !v ||
            v->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE ||
            v->list_value->n_values == 0)
            continue;
        const Google__Protobuf__Value *s = v->list_value->values[0];
        if (s->kind_case != GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE)
            continue;
        c->service_host = arena_dup(&c->part.arena, build_struct_text(s->struct_value, "host"));
        c->service_name = arena_dup(&c->part.arena, build_struct_text(s->struct_value, "name"));
        c->service_ns = arena_dup(&c->part.arena, build_struct_text(s->struct_value, "namespace"));
    }
}

/* What decides who gets a request, and is not known here. */
static bool check_unknown(const MSG(Cluster) * in, struct err *err)
{
    const char *what = in->n_health_checks              ? "health_checks"
                       : in->lb_subset_config           ? "lb_subset_config"
                       : in->load_balancing_policy      ? "load_balancing_policy"
                       : in->n_transport_socket_matches ? "transport_socket_matches"
                                                        : NULL;
    return what ? err_set(err, ERR_UNSUPPORTED, "%s: not known", what) : true;
}

static bool cluster_fill(struct cluster *c, const MSG(Cluster) * in, struct err *err)
{
    if (!check_unknown(in, err))
        return false;
    if (in->transport_socket &&
        strcmp(in->transport_socket->name, "envoy.transport_sockets.raw_buffer") != 0)
        return err_set(err, ERR_UNSUPPORTED, "transport_socket %s: not known",
                       in->transport_socket->name);
    c->connect_timeout = build_ms(in->connect_timeout, CONNECT_TIMEOUT_MS);
    if (c->connect_timeout <= 0)
        return err_set(err, ERR_INVALID, "connect_timeout: must be above 0");
    c->panic_percent = in->common_lb_config && in->common_lb_config->healthy_panic_threshold
                           ? in->common_lb_config->healthy_panic_threshold->value
                           : 50;
    build_breakers(c, in->circuit_breakers);
    build_outlier(c, in->outlier_detection);
    build_service(c, in);
    if (!build_kind(c, in, err) || !build_lb(c, in, err) || !build_protocol(c, in, err))
        return false;
    /* Without an assignment a cluster has no endpoints: that is how a black hole is written. */
    if ((c->kind == CLUSTER_STATIC || c->kind == CLUSTER_DNS) && in->load_assignment) {
        c->endpoints =
            endpoints_of(in->load_assignment, c->name, c->version, c->kind == CLUSTER_DNS, err);
        return c->endpoints != NULL;
    }
    return true;
}

struct cluster *conf_build_cluster(struct slice name, struct xds_stamp version, struct slice body,
                                   struct err *err)
{
    struct arena scratch = {0};
    struct cluster *c = NULL;
    const MSG(Cluster) *in =
        pb_unpack(&envoy__config__cluster__v3__cluster__descriptor, body, &scratch, err);
    if (in) {
        c = cluster_new();
        c->name = arena_dup(&c->part.arena, name);
        c->version = version;
    }
    if (!in || !cluster_fill(c, in, err)) {
        err_wrap(err, "Cluster %.*s", SLICE(name));
        if (c)
            conf_part_unref(&c->part);
        c = NULL;
    }
    arena_fini(&scratch);
    return c;
}

struct cluster *conf_bind_cluster(struct cluster *spec, struct endpoint_set *endpoints)
{
    struct cluster *c = cluster_new();
    conf_part_copy(&c->part, &spec->part, sizeof(*c));
    c->endpoints = endpoints;
    if (endpoints)
        conf_part_ref(&endpoints->part);
    return c;
}
