/* CDS: outbound clusters of a service, one a port and subset. */
#include "pilot/build_internal.h"

#include <string.h>

#include "api/proto/upstream_http.pb-c.h"

#define HTTP_OPTIONS_KEY "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
#define UPSTREAM(name) Envoy__Extensions__Upstreams__Http__V3__##name
#define NEW_UPSTREAM(a, name) ((void *)PB_NEW(a, envoy__extensions__upstreams__http__v3__##name))

#define CONNECT_TIMEOUT_NS 10000000000
#define RING_SIZE_MIN 1024
#define RING_SIZE_MAX 8388608 /* Envoy and gRPC refuse more */
#define MAGLEV_TABLE 65537
#define MAGLEV_TABLE_MAX 5000011

struct slice cluster_name(struct arena *a, struct slice direction, uint32_t port,
                          struct slice subset, struct slice host)
{
    return arena_printf(a, "%.*s|%u|%.*s|%.*s", SLICE(direction), port, SLICE(subset), SLICE(host));
}

/* No limits unless asked for: Envoy's own 1,024 and 3 retries would surprise (istio.md §1.1). */
static CLUSTER(CircuitBreakers__Thresholds) *thresholds(struct arena *a, CLUSTER(Cluster) *c)
{
    CLUSTER(CircuitBreakers__Thresholds) *t = NEW_CLUSTER(a, circuit_breakers__thresholds);
    t->max_connections = wkt_u32(a, UINT32_MAX);
    t->max_pending_requests = wkt_u32(a, UINT32_MAX);
    t->max_requests = wkt_u32(a, UINT32_MAX);
    t->max_retries = wkt_u32(a, UINT32_MAX);
    t->track_remaining = true;
    c->circuit_breakers = NEW_CLUSTER(a, circuit_breakers);
    PB_PUSH(a, c->circuit_breakers, thresholds, t);
    return t;
}

CLUSTER(Cluster) *build_cluster_new(struct arena *a, struct slice name)
{
    CLUSTER(Cluster) *c = NEW_CLUSTER(a, cluster);
    c->name = pb_str(a, name);
    c->connect_timeout = pbx_duration_ns(a, CONNECT_TIMEOUT_NS);
    thresholds(a, c);
    return c;
}

static void cluster_type(CLUSTER(Cluster) *c, CLUSTER(Cluster__DiscoveryType) type)
{
    c->cluster_discovery_type_case =
        ENVOY__CONFIG__CLUSTER__V3__CLUSTER__CLUSTER_DISCOVERY_TYPE_TYPE;
    c->type = type;
}

/* Connection pool, protocol. */

static void set_u32(struct arena *a, Google__Protobuf__UInt32Value **field, const json_t *o,
                    const char *name)
{
    uint32_t v = jr_u32(o, name, 0);
    if (v)
        *field = wkt_u32(a, v);
}

static void set_duration(struct arena *a, Google__Protobuf__Duration **field, const json_t *o,
                         const char *name)
{
    int64_t ns;
    if (jr_duration(o, name, &ns) && ns > 0)
        *field = pbx_duration_ns(a, ns);
}

static void apply_pool(struct arena *a, CLUSTER(Cluster) *c, const json_t *pool)
{
    const json_t *tcp = jr_get(pool, "tcp"), *http = jr_get(pool, "http");
    CLUSTER(CircuitBreakers__Thresholds) *t = c->circuit_breakers->thresholds[0];
    set_duration(a, &c->connect_timeout, tcp, "connectTimeout");
    set_u32(a, &t->max_connections, tcp, "maxConnections");
    set_u32(a, &t->max_pending_requests, http, "http1MaxPendingRequests");
    set_u32(a, &t->max_requests, http, "http2MaxRequests");
    set_u32(a, &t->max_retries, http, "maxRetries");
    const json_t *keepalive = jr_get(tcp, "tcpKeepalive");
    if (!keepalive)
        return;
    CORE(TcpKeepalive) *k = NEW_CORE(a, tcp_keepalive);
    int64_t ns;
    set_u32(a, &k->keepalive_probes, keepalive, "probes");
    if (jr_duration(keepalive, "time", &ns) && ns >= 1000000000)
        k->keepalive_time = wkt_u32(a, (uint32_t)(ns / 1000000000));
    if (jr_duration(keepalive, "interval", &ns) && ns >= 1000000000)
        k->keepalive_interval = wkt_u32(a, (uint32_t)(ns / 1000000000));
    c->upstream_connection_options = NEW_CLUSTER(a, upstream_connection_options);
    c->upstream_connection_options->tcp_keepalive = k;
}

static CORE(HttpProtocolOptions) *pool_common(struct arena *a, const json_t *pool)
{
    const json_t *http = jr_get(pool, "http"), *tcp = jr_get(pool, "tcp");
    CORE(HttpProtocolOptions) *o = NEW_CORE(a, http_protocol_options);
    set_duration(a, &o->idle_timeout, http, "idleTimeout");
    set_u32(a, &o->max_requests_per_connection, http, "maxRequestsPerConnection");
    set_duration(a, &o->max_connection_duration, tcp, "maxConnectionDuration");
    bool used = o->idle_timeout || o->max_requests_per_connection || o->max_connection_duration;
    return used ? o : NULL;
}

static CORE(Http2ProtocolOptions) *http2_options(struct arena *a, const json_t *pool)
{
    CORE(Http2ProtocolOptions) *o = NEW_CORE(a, http2_protocol_options);
    set_u32(a, &o->max_concurrent_streams, jr_get(pool, "http"), "maxConcurrentStreams");
    return o;
}

static void protocol_explicit(struct arena *a, UPSTREAM(HttpProtocolOptions) *o, bool http2,
                              const json_t *pool)
{
    o->upstream_protocol_options_case =
        ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_EXPLICIT_HTTP_CONFIG;
    o->explicit_http_config = NEW_UPSTREAM(a, http_protocol_options__explicit_http_config);
    UPSTREAM(HttpProtocolOptions__ExplicitHttpConfig) *e = o->explicit_http_config;
    if (http2) {
        e->protocol_config_case =
            ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__EXPLICIT_HTTP_CONFIG__PROTOCOL_CONFIG_HTTP2_PROTOCOL_OPTIONS;
        e->http2_protocol_options = http2_options(a, pool);
    } else {
        e->protocol_config_case =
            ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__EXPLICIT_HTTP_CONFIG__PROTOCOL_CONFIG_HTTP_PROTOCOL_OPTIONS;
        e->http_protocol_options = NEW_CORE(a, http1_protocol_options);
    }
}

static void protocol_downstream(struct arena *a, UPSTREAM(HttpProtocolOptions) *o,
                                const json_t *pool)
{
    o->upstream_protocol_options_case =
        ENVOY__EXTENSIONS__UPSTREAMS__HTTP__V3__HTTP_PROTOCOL_OPTIONS__UPSTREAM_PROTOCOL_OPTIONS_USE_DOWNSTREAM_PROTOCOL_CONFIG;
    o->use_downstream_protocol_config =
        NEW_UPSTREAM(a, http_protocol_options__use_downstream_http_config);
    o->use_downstream_protocol_config->http_protocol_options = NEW_CORE(a, http1_protocol_options);
    o->use_downstream_protocol_config->http2_protocol_options = http2_options(a, pool);
}

void cluster_protocol(struct arena *a, CLUSTER(Cluster) *c, enum model_protocol protocol,
                      const json_t *pool)
{
    const json_t *http = jr_get(pool, "http");
    bool http2 =
        protocol == PROTOCOL_HTTP2 || protocol == PROTOCOL_GRPC || protocol == PROTOCOL_GRPC_WEB ||
        (protocol == PROTOCOL_HTTP && slice_eq(jr_str(http, "h2UpgradePolicy"), S("UPGRADE")));
    bool as_client = protocol == PROTOCOL_AUTO ||
                     (model_protocol_http(protocol) && jr_bool(http, "useClientProtocol"));
    CORE(HttpProtocolOptions) *common = pool_common(a, pool);
    if (!http2 && !as_client && !common)
        return;
    UPSTREAM(HttpProtocolOptions) *o = NEW_UPSTREAM(a, http_protocol_options);
    o->common_http_protocol_options = common;
    if (as_client)
        protocol_downstream(a, o, pool);
    else
        protocol_explicit(a, o, http2, pool);
    CLUSTER(Cluster__TypedExtensionProtocolOptionsEntry) *e =
        NEW_CLUSTER(a, cluster__typed_extension_protocol_options_entry);
    e->key = pb_str(a, S(HTTP_OPTIONS_KEY));
    e->value = any_new(a, &o->base);
    PB_PUSH(a, c, typed_extension_protocol_options, e);
}

/* Balancing. */

static uint64_t clamp(uint64_t v, uint64_t lo, uint64_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

static void ring_hash(struct arena *a, CLUSTER(Cluster) *c, uint64_t minimum)
{
    c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__RING_HASH;
    c->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_RING_HASH_LB_CONFIG;
    c->ring_hash_lb_config = NEW_CLUSTER(a, cluster__ring_hash_lb_config);
    c->ring_hash_lb_config->minimum_ring_size = wkt_u64(a, clamp(minimum, 1, RING_SIZE_MAX));
}

/* Envoy refuses a table whose size is not prime. */
static uint64_t maglev_size(uint64_t n)
{
    bool prime = n >= 2 && n <= MAGLEV_TABLE_MAX;
    for (uint64_t d = 2; prime && d * d <= n; d++)
        prime = n % d != 0;
    return prime ? n : MAGLEV_TABLE;
}

static void consistent_hash(struct arena *a, CLUSTER(Cluster) *c, const json_t *hash,
                            enum flavor flavor)
{
    const json_t *maglev = jr_get(hash, "maglev");
    uint64_t minimum = jr_u64(jr_get(hash, "ringHash"), "minimumRingSize",
                              jr_u64(hash, "minimumRingSize", RING_SIZE_MIN));
    if (!maglev || flavor == FLAVOR_GRPC) {
        ring_hash(a, c, minimum);
        return;
    }
    c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__MAGLEV;
    c->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_MAGLEV_LB_CONFIG;
    c->maglev_lb_config = NEW_CLUSTER(a, cluster__maglev_lb_config);
    c->maglev_lb_config->table_size =
        wkt_u64(a, maglev_size(jr_u64(maglev, "tableSize", MAGLEV_TABLE)));
}

static CLUSTER(Cluster__SlowStartConfig) *slow_start(struct arena *a, const json_t *lb)
{
    const json_t *warmup = jr_get(lb, "warmup");
    int64_t ns;
    if (!jr_duration(warmup, "duration", &ns) && !jr_duration(lb, "warmupDurationSecs", &ns))
        return NULL;
    CLUSTER(Cluster__SlowStartConfig) *s = NEW_CLUSTER(a, cluster__slow_start_config);
    s->slow_start_window = pbx_duration_ns(a, ns);
    s->min_weight_percent = pbx_percent(a, jr_double(warmup, "minimumPercent", 10));
    CORE(RuntimeDouble) *aggression = NEW_CORE(a, runtime_double);
    aggression->default_value = jr_double(warmup, "aggression", 1);
    aggression->runtime_key = pb_str(a, S("upstream.warmup_aggression"));
    s->aggression = aggression;
    return s;
}

static void round_robin(struct arena *a, CLUSTER(Cluster) *c, const json_t *lb)
{
    CLUSTER(Cluster__SlowStartConfig) *s = slow_start(a, lb);
    c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__ROUND_ROBIN;
    if (!s)
        return;
    c->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_ROUND_ROBIN_LB_CONFIG;
    c->round_robin_lb_config = NEW_CLUSTER(a, cluster__round_robin_lb_config);
    c->round_robin_lb_config->slow_start_config = s;
}

static void least_request(struct arena *a, CLUSTER(Cluster) *c, const json_t *lb)
{
    CLUSTER(Cluster__SlowStartConfig) *s = slow_start(a, lb);
    c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__LEAST_REQUEST;
    if (!s)
        return;
    c->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_LEAST_REQUEST_LB_CONFIG;
    c->least_request_lb_config = NEW_CLUSTER(a, cluster__least_request_lb_config);
    c->least_request_lb_config->slow_start_config = s;
}

/* gRPC knows round robin and ring hash; Envoy and weft-proxy all. */
static void apply_balancing(struct arena *a, CLUSTER(Cluster) *c, const json_t *lb,
                            enum flavor flavor)
{
    struct slice simple = jr_str(lb, "simple");
    const json_t *hash = jr_get(lb, "consistentHash");
    if (hash)
        consistent_hash(a, c, hash, flavor);
    else if (flavor == FLAVOR_GRPC)
        c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__ROUND_ROBIN;
    else if (slice_eq(simple, S("ROUND_ROBIN")))
        round_robin(a, c, lb);
    else if (slice_eq(simple, S("RANDOM")))
        c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__RANDOM;
    else
        least_request(a, c, lb);
}

/* Outlier detection. */

static void consecutive(struct arena *a, const json_t *o, const char *name,
                        Google__Protobuf__UInt32Value **count,
                        Google__Protobuf__UInt32Value **enforcing)
{
    uint32_t v = jr_u32(o, name, UINT32_MAX);
    if (v == UINT32_MAX)
        return;
    *count = wkt_u32(a, v);
    *enforcing = wkt_u32(a, v ? 100 : 0);
}

static void apply_outlier(struct arena *a, CLUSTER(Cluster) *c, const json_t *o)
{
    if (!json_is_object(o))
        return;
    CLUSTER(OutlierDetection) *d = NEW_CLUSTER(a, outlier_detection);
    d->enforcing_success_rate = wkt_u32(a, 0);
    consecutive(a, o, "consecutive5xxErrors", &d->consecutive_5xx, &d->enforcing_consecutive_5xx);
    consecutive(a, o, "consecutiveGatewayErrors", &d->consecutive_gateway_failure,
                &d->enforcing_consecutive_gateway_failure);
    d->split_external_local_origin_errors = jr_bool(o, "splitExternalLocalOriginErrors");
    if (d->split_external_local_origin_errors)
        consecutive(a, o, "consecutiveLocalOriginFailures", &d->consecutive_local_origin_failure,
                    &d->enforcing_consecutive_local_origin_failure);
    set_duration(a, &d->interval, o, "interval");
    set_duration(a, &d->base_ejection_time, o, "baseEjectionTime");
    set_u32(a, &d->max_ejection_percent, o, "maxEjectionPercent");
    c->outlier_detection = d;
    c->common_lb_config = NEW_CLUSTER(a, cluster__common_lb_config);
    c->common_lb_config->healthy_panic_threshold =
        pbx_percent(a, jr_double(o, "minHealthPercent", 0));
}

/* Metadata. */

static Google__Protobuf__Value *service_value(struct arena *a, const struct model_service *s)
{
    Google__Protobuf__Struct *v = wkt_struct(a);
    wkt_struct_set_string(a, v, S("host"), s->host);
    wkt_struct_set_string(a, v, S("name"), s->name);
    wkt_struct_set_string(a, v, S("namespace"), s->ns);
    return pbx_struct_value(a, v);
}

/* What telemetry needs to name the destination (Istio's layout). */
static void apply_metadata(struct arena *a, CLUSTER(Cluster) *c, const struct model_service *s,
                           uint32_t port, struct slice subset)
{
    Google__Protobuf__Struct *istio = wkt_struct(a);
    Google__Protobuf__Value *services[] = {service_value(a, s)};
    wkt_struct_set_number(a, istio, S("default_original_port"), port);
    wkt_struct_set(a, istio, S("services"), pbx_list_value(a, services, 1));
    if (subset.n)
        wkt_struct_set_string(a, istio, S("subset"), subset);
    c->metadata = NEW_CORE(a, metadata);
    pbx_metadata_set(a, c->metadata, S("istio"), istio);
}

/* Clusters of a service. */

struct cluster_job {
    struct build *b;
    struct unit_cell *unit;
    struct unit_out *out;
    const struct model_service *service;
    const struct rules *rules;
    struct sources *sources;
    struct arena *a;
};

static void apply_discovery(struct cluster_job *j, CLUSTER(Cluster) *c,
                            const struct model_port *port, const struct rule_subset *subset)
{
    struct jr_pairs labels = subset ? subset->labels : (struct jr_pairs){0};
    struct slice name = pb_slice(c->name);
    switch (j->service->resolution) {
    case RESOLUTION_ENDPOINTS:
        cluster_type(c, ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__EDS);
        c->eds_cluster_config = NEW_CLUSTER(j->a, cluster__eds_cluster_config);
        c->eds_cluster_config->eds_config = pbx_ads(j->a);
        c->eds_cluster_config->service_name = pb_str(j->a, name);
        return;
    case RESOLUTION_NONE:
        cluster_type(c, ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__ORIGINAL_DST);
        c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__CLUSTER_PROVIDED;
        c->lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG__NOT_SET;
        return;
    default:
        cluster_type(c, j->service->resolution == RESOLUTION_DNS && j->unit->flavor == FLAVOR_MESH
                            ? ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__STRICT_DNS
                            : ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__LOGICAL_DNS);
        c->dns_lookup_family = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DNS_LOOKUP_FAMILY__V4_PREFERRED;
        c->load_assignment = assignment_make(j->b,
                                             &(struct assignment){.service = j->service,
                                                                  .port = port,
                                                                  .name = name,
                                                                  .subset = labels,
                                                                  .flavor = j->unit->flavor},
                                             j->a, j->sources);
    }
}

static void add_cluster(struct cluster_job *j, const struct model_port *port,
                        const struct rule_subset *subset)
{
    struct slice subset_name = subset ? subset->name : (struct slice){0};
    struct slice name =
        cluster_name(j->a, S("outbound"), port->number, subset_name, j->service->host);
    CLUSTER(Cluster) *c = build_cluster_new(j->a, name);
    const json_t *pool = rules_section(j->rules, subset, port->number, "connectionPool");
    apply_pool(j->a, c, pool);
    cluster_protocol(j->a, c, port->protocol, pool);
    apply_balancing(j->a, c, rules_section(j->rules, subset, port->number, "loadBalancer"),
                    j->unit->flavor);
    apply_outlier(j->a, c, rules_section(j->rules, subset, port->number, "outlierDetection"));
    apply_discovery(j, c, port, subset);
    apply_metadata(j->a, c, j->service, port->number, subset_name);
    bool eds = j->service->resolution == RESOLUTION_ENDPOINTS;
    unit_add(j->b, j->unit, j->out, XDS_CDS, name, &c->base, j->sources,
             eds ? name : (struct slice){0});
}

/* gRPC has no cluster for "where the caller was going", and no names but one. */
static bool has_clusters(const struct model_service *s, enum flavor flavor)
{
    return flavor == FLAVOR_MESH || s->resolution != RESOLUTION_NONE;
}

bool unit_clusters_compute(struct graph *g, struct graph_cell *cell)
{
    struct build *b = build_of(g);
    struct unit_cell *u = (struct unit_cell *)cell;
    struct arena a = {0};
    struct sources sources = {0};
    struct unit_out out = {0};
    const struct model_service *s = unit_service(b, u);
    struct rules rules = rules_read(b, u->rule, &a);
    sources_add(&sources, u->service);
    for (size_t i = 0; i < rules.n; i++)
        sources_add(&sources, rules.objects[i]->key);
    struct cluster_job j = {b, u, &out, s, &rules, &sources, &a};
    for (size_t i = 0; s && has_clusters(s, u->flavor) && i < s->port_count; i++) {
        if (s->ports[i].protocol == PROTOCOL_UDP)
            continue;
        add_cluster(&j, &s->ports[i], NULL);
        for (size_t k = 0; k < rules.subset_count; k++)
            add_cluster(&j, &s->ports[i], &rules.subsets[k]);
    }
    vec_fini(&sources);
    arena_fini(&a);
    return unit_end(u, &out);
}

/* The clusters that every proxy has. */

void clusters_builtin(struct build *b, struct unit_out *out)
{
    struct arena a = {0};
    CLUSTER(Cluster) *pass = build_cluster_new(&a, S("PassthroughCluster"));
    cluster_type(pass, ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__ORIGINAL_DST);
    pass->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__CLUSTER_PROVIDED;
    cluster_protocol(&a, pass, PROTOCOL_AUTO, NULL);
    CLUSTER(Cluster) *hole = build_cluster_new(&a, S("BlackHoleCluster"));
    cluster_type(hole, ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__STATIC);
    CLUSTER(Cluster) *both[] = {hole, pass};
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        buf_clear(&b->packed);
        pb_pack(&both[i]->base, &b->packed);
        /* Made of nothing: revision 0 everywhere. */
        *vec_push(out) =
            build_resource_constant(b, XDS_CDS, pb_slice(both[i]->name), buf_slice(&b->packed));
    }
    arena_fini(&a);
}
