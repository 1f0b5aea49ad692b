/* If these fail, a policy that somebody wrote is not in force although the proxy acknowledged it,
 * or the proxy refuses what it could do, or says so in words that help nobody. A table: resources
 * in YAML, and what becomes of them or why they are refused. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "api/any_types.h"
#include "api/xds_types.h"
#include "base/wire/pb_json.h"
#include "base/wire/yaml.h"
#include "proxy/xds/conf_build.h"

/* Resources from YAML. */

static struct slice body_of(struct arena *a, enum xds_type type, const char *yaml)
{
    struct err err = {0};
    struct yaml_stream s = {0};
    const struct pb_json_options o = {.types = &any_types};
    if (!yaml_parse(slice_of(yaml), &s, &err))
        fail_msg("%s: %s", yaml, err.msg);
    const ProtobufCMessage *m = pb_json_parse(xds_types[type].message, s.docs[0].root, &o, a, &err);
    if (!m)
        fail_msg("%s: %s", yaml, err.msg);
    struct slice body = pb_pack_arena(m, a);
    yaml_stream_fini(&s);
    return body;
}

/* Parts as text. */

static void say_changes(struct buf *b, const char *what, const struct header_changes *h)
{
    static const char *const actions[] = {"append", "if-absent", "overwrite", "if-exists"};
    for (size_t i = 0; i < h->add_count; i++)
        buf_printf(b, " %s.%s(%.*s=%.*s)", what, actions[h->add[i].action], SLICE(h->add[i].name),
                   SLICE(h->add[i].value));
    for (size_t i = 0; i < h->remove_count; i++)
        buf_printf(b, " %s.remove(%.*s)", what, SLICE(h->remove[i]));
}

static void say_match(struct buf *b, const struct string_match *m)
{
    static const char *const kinds[] = {
        [MATCH_EXACT] = "exact",       [MATCH_PREFIX] = "prefix", [MATCH_SUFFIX] = "suffix",
        [MATCH_CONTAINS] = "contains", [MATCH_REGEX] = "regex",   [MATCH_PRESENT] = "present",
        [MATCH_RANGE] = "range"};
    buf_printf(b, "%s:%.*s%s", kinds[m->kind], SLICE(m->text), m->ignore_case ? "/i" : "");
    if (m->kind == MATCH_RANGE)
        buf_printf(b, "%lld-%lld", (long long)m->range_start, (long long)m->range_end);
    if (m->kind == MATCH_REGEX)
        buf_printf(b, "%s", regex_full_match(m->regex, S("abc")) ? "abc" : "");
}

static void say_retry(struct buf *b, const struct retry_policy *p)
{
    buf_printf(b, " retry(on=%x n=%u try=%lld back=%lld-%lld hosts=%d/%u", p->on, p->attempts_max,
               (long long)p->per_try_timeout, (long long)p->backoff_base, (long long)p->backoff_max,
               p->avoid_previous_hosts, p->host_attempts_max);
    for (size_t i = 0; i < p->status_count; i++)
        buf_printf(b, " %u", p->statuses[i]);
    buf_printf(b, ")");
}

static void say_route_match(struct buf *b, const struct route *r)
{
    static const char *const paths[] = {"prefix", "exact", "regex", "separated", "connect"};
    buf_printf(b, " path=%s:%.*s%s%s", paths[r->path_kind], SLICE(r->path),
               r->ignore_case ? "/i" : "", r->grpc_only ? " grpc" : "");
    for (size_t i = 0; i < r->header_count; i++) {
        const struct header_match *h = &r->headers[i];
        buf_printf(b, " h(%s%.*s%s ", h->invert ? "!" : "", SLICE(h->name),
                   h->missing_as_empty ? "?" : "");
        say_match(b, &h->value);
        buf_printf(b, ")");
    }
    for (size_t i = 0; i < r->query_count; i++) {
        buf_printf(b, " q(%.*s ", SLICE(r->queries[i].name));
        say_match(b, &r->queries[i].value);
        buf_printf(b, ")");
    }
    if (r->has_runtime_fraction)
        buf_printf(b, " share=%u", r->runtime_fraction.per_million);
}

static void say_forward(struct buf *b, const struct route *r)
{
    static const char *const hashes[] = {"header", "cookie", "source", "query"};
    for (size_t i = 0; i < r->cluster_count; i++) {
        buf_printf(b, " to(%.*s %u/%u", SLICE(r->clusters[i].cluster), r->clusters[i].weight,
                   r->weight_total);
        say_changes(b, "req", &r->clusters[i].request);
        say_changes(b, "resp", &r->clusters[i].response);
        buf_printf(b, ")");
    }
    buf_printf(b, " timeout=%lld/%lld", (long long)r->timeout, (long long)r->idle_timeout);
    if (r->has_prefix_rewrite)
        buf_printf(b, " rewrite=%.*s", SLICE(r->prefix_rewrite));
    if (r->regex_rewrite)
        buf_printf(b, " rewrite/r=%.*s", SLICE(r->regex_substitution));
    if (r->host_rewrite.n || r->auto_host_rewrite)
        buf_printf(b, " host=%.*s%s", SLICE(r->host_rewrite), r->auto_host_rewrite ? "auto" : "");
    if (r->has_retry)
        say_retry(b, &r->retry);
    if (r->websocket_set)
        buf_printf(b, " websocket=%d", r->websocket);
    for (size_t i = 0; i < r->hash_count; i++) {
        const struct hash_policy *h = &r->hashes[i];
        buf_printf(b, " hash(%s %.*s %lld %.*s%s)", hashes[h->kind], SLICE(h->name),
                   (long long)h->cookie_ttl, SLICE(h->cookie_path), h->terminal ? " last" : "");
    }
}

static void say_route(struct buf *b, const struct route *r)
{
    buf_printf(b, "\nroute %.*s", SLICE(r->name));
    say_route_match(b, r);
    if (r->action == ROUTE_FORWARD)
        say_forward(b, r);
    if (r->action == ROUTE_REDIRECT)
        buf_printf(b, " redirect(%u %.*s://%.*s:%u path=%d%.*s prefix=%d%.*s query=%d)",
                   r->redirect_status, SLICE(r->redirect_scheme), SLICE(r->redirect_host),
                   r->redirect_port, r->redirect_has_path, SLICE(r->redirect_path),
                   r->redirect_has_prefix, SLICE(r->redirect_prefix), !r->redirect_strip_query);
    if (r->action == ROUTE_DIRECT)
        buf_printf(b, " direct(%u %.*s)", r->direct_status, SLICE(r->direct_body));
    if (r->has_fault)
        buf_printf(b, " fault(delay=%lld@%u abort=%u/%d@%u)", (long long)r->fault.delay,
                   r->fault.delay_fraction.per_million, r->fault.abort_status, r->fault.abort_grpc,
                   r->fault.abort_fraction.per_million);
    say_changes(b, "req", &r->request);
    say_changes(b, "resp", &r->response);
}

static void say_vhost(struct buf *b, const struct virtual_host *v)
{
    buf_printf(b, "vhost %.*s", SLICE(v->name));
    for (size_t i = 0; i < v->domain_count; i++)
        buf_printf(b, " d=%.*s", SLICE(v->domains[i]));
    if (v->has_retry)
        say_retry(b, &v->retry);
    if (v->attempt_count_header)
        buf_printf(b, " attempts");
    say_changes(b, "req", &v->request);
    say_changes(b, "resp", &v->response);
    for (size_t i = 0; i < v->route_count; i++)
        say_route(b, &v->routes[i]);
}

static void say_endpoints(struct buf *b, const struct endpoint_set *set)
{
    static const char *const health[] = {"unknown", "healthy", "unhealthy", "draining", "degraded"};
    for (size_t i = 0; set && i < set->n; i++) {
        const struct endpoint *e = &set->items[i];
        buf_printf(
            b, "\nendpoint %.*s%s w=%u p=%u %s l=%.*s/%.*s/%.*s wl=%.*s;%.*s;%.*s;%.*s h=%.*s",
            SLICE(e->text), e->addr.len ? "" : "(name)", e->weight, e->priority, health[e->health],
            SLICE(e->region), SLICE(e->zone), SLICE(e->subzone), SLICE(e->workload), SLICE(e->ns),
            SLICE(e->canonical), SLICE(e->version), SLICE(e->hostname));
    }
}

static void say_cluster(struct buf *b, const struct cluster *c)
{
    static const char *const kinds[] = {"static", "eds", "dns", "original_dst", "passthrough"};
    static const char *const lbs[] = {"round_robin", "random", "least", "ring", "maglev"};
    static const char *const protocols[] = {"http1", "http2", "downstream"};
    buf_printf(b, "%s lb=%s %s eds=%.*s connect=%lld idle=%lld", kinds[c->kind], lbs[c->lb],
               protocols[c->protocol], SLICE(c->eds_name), (long long)c->connect_timeout,
               (long long)c->idle_timeout);
    buf_printf(b, " cb=%u/%u/%u/%u", c->max_connections, c->max_pending, c->max_requests,
               c->max_retries);
    if (c->has_retry_budget)
        buf_printf(b, " budget=%g/%u", c->retry_budget_percent, c->retry_budget_min);
    buf_printf(b, " per=%u streams=%u lr=%u ring=%llu-%llu maglev=%llu panic=%g",
               c->max_requests_per_connection, c->max_concurrent_streams, c->lr_choices,
               (unsigned long long)c->ring_min, (unsigned long long)c->ring_max,
               (unsigned long long)c->maglev_size, c->panic_percent);
    buf_printf(b, " svc=%.*s/%.*s/%.*s", SLICE(c->service_host), SLICE(c->service_name),
               SLICE(c->service_ns));
    if (c->outlier.interval)
        buf_printf(b, " outlier=%u/%u/%u%%/%lld/%lld/%lld", c->outlier.consecutive_5xx,
                   c->outlier.consecutive_gateway, c->outlier.max_ejection_percent,
                   (long long)c->outlier.interval, (long long)c->outlier.base_ejection,
                   (long long)c->outlier.max_ejection);
    say_endpoints(b, c->endpoints);
}

static void say_chain(struct buf *b, const struct filter_chain *f)
{
    static const char *const codecs[] = {"auto", "http1", "http2"};
    buf_printf(b, "\nchain %.*s port=%u%s", SLICE(f->name), f->destination_port,
               f->tls ? " tls" : "");
    for (size_t i = 0; i < f->sni_count; i++)
        buf_printf(b, " sni=%.*s", SLICE(f->snis[i]));
    if (f->kind == CHAIN_TCP) {
        buf_printf(b, " tcp %.*s idle=%lld", SLICE(f->stat_prefix), (long long)f->idle_timeout);
        for (size_t i = 0; i < f->tcp_cluster_count; i++)
            buf_printf(b, " to(%.*s %u/%u)", SLICE(f->tcp_clusters[i].cluster),
                       f->tcp_clusters[i].weight, f->tcp_weight_total);
        return;
    }
    buf_printf(b, " http %.*s rds=%.*s %s t=%lld/%lld/%lld/%lld/%lld kb=%u", SLICE(f->stat_prefix),
               SLICE(f->route_name), codecs[f->codec], (long long)f->idle_timeout,
               (long long)f->stream_idle_timeout, (long long)f->request_timeout,
               (long long)f->headers_timeout, (long long)f->drain_timeout, f->headers_kb_max);
    buf_printf(b, " %s%s%s%s%s%s%s", f->generate_request_id ? "id," : "",
               f->use_remote_address ? "xff," : "", f->normalize_path ? "normalize," : "",
               f->merge_slashes ? "merge," : "", f->websocket ? "websocket," : "",
               f->accept_http10 ? "http10," : "", f->has_fault_filter ? "fault," : "");
    for (size_t i = 0; f->routes && i < f->routes->vhost_count; i++) {
        buf_append_byte(b, '\n');
        say_vhost(b, f->routes->vhosts[i]);
    }
}

static void say_listener(struct buf *b, const struct listener *l)
{
    char addr[ENV_ADDR_TEXT];
    buf_printf(b, "%.*s%s%s%s%s", SLICE(env_addr_format(&l->addr, addr)), l->bind ? " bind" : "",
               l->use_original_dst ? " original_dst" : "", l->inbound ? " inbound" : "",
               l->http_proxy ? " proxy" : "");
    if (l->access_log)
        buf_printf(b, " log=%.*s:%.*s", SLICE(l->access_log_path), SLICE(l->access_log_format));
    for (size_t i = 0; i < l->chain_count; i++)
        say_chain(b, &l->chains[i]);
}

static void say_routes(struct buf *b, const struct route_spec *s)
{
    buf_printf(b, "table%s%s", s->vhds ? " vhds" : "", s->table->ignore_port ? " no-port" : "");
    say_changes(b, "req", &s->table->request);
    say_changes(b, "resp", &s->table->response);
    for (size_t i = 0; i < s->vhost_count; i++) {
        buf_append_byte(b, '\n');
        say_vhost(b, s->vhosts[i]);
    }
}

/* Builds and says; "refused: why" when it is. */
static void build_and_say(enum xds_type type, struct slice body, struct buf *b)
{
    struct err err = {0};
    struct xds_stamp stamp = {0};
    struct route_spec spec;
    struct conf_part *part = NULL;
    if (type == XDS_RDS) {
        if (conf_build_routes(S("x"), stamp, body, &spec, &err)) {
            say_routes(b, &spec);
            route_spec_fini(&spec);
        }
    } else if (type == XDS_CDS) {
        struct cluster *c = conf_build_cluster(S("x"), stamp, body, &err);
        part = c ? &c->part : NULL;
        if (c)
            say_cluster(b, c);
    } else if (type == XDS_EDS) {
        struct endpoint_set *e = conf_build_endpoints(S("x"), stamp, body, &err);
        part = e ? &e->part : NULL;
        if (e)
            say_endpoints(b, e);
    } else if (type == XDS_LDS) {
        struct listener *l = conf_build_listener(S("x"), stamp, body, &err);
        part = l ? &l->part : NULL;
        if (l)
            say_listener(b, l);
    } else {
        struct virtual_host *v = conf_build_virtual_host(S("x"), body, &err);
        part = v ? &v->part : NULL;
        if (v)
            say_vhost(b, v);
    }
    conf_part_unref(part);
    if (err.code)
        buf_printf(b, "refused: %s", err.msg);
}

struct row {
    const char *yaml;
    const char *want; /* parts that must be there, separated by ';' */
};

static void check(enum xds_type type, const char *before, const struct row *rows, size_t n,
                  const char *after)
{
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++) {
        struct arena a = {0};
        struct buf b = {0};
        char yaml[4096];
        snprintf(yaml, sizeof(yaml), "%s%s%s", before, rows[i].yaml, after);
        build_and_say(type, body_of(&a, type, yaml), &b);
        struct slice rest = slice_of(rows[i].want), part;
        while (rest.n) {
            slice_cut(rest, ';', &part, &rest);
            if (slice_contains(buf_slice(&b), part))
                continue;
            print_error("%s\nis   %.*s\nwant %.*s\n\n", yaml, SLICE(buf_slice(&b)), SLICE(part));
            wrong++;
        }
        buf_fini(&b);
        arena_fini(&a);
    }
    assert_int_equal(wrong, 0);
}

/* Clusters. */

static void test_clusters(void **state)
{
    static const struct row rows[] = {
        {"type: EDS",
         "eds lb=round_robin http1 eds=x connect=5000 idle=3600000 cb=1024/1024/1024/3 "
         "per=0 streams=0 lr=2 ring=1024-8388608 maglev=65537 panic=50"},
        {"type: EDS, edsClusterConfig: {serviceName: other}", "eds=other"},
        {"type: STRICT_DNS", "dns lb"},
        {"type: LOGICAL_DNS", "dns lb"},
        {"type: ORIGINAL_DST, lbPolicy: CLUSTER_PROVIDED", "original_dst lb=round_robin"},
        {"lbPolicy: LEAST_REQUEST, leastRequestLbConfig: {choiceCount: 5}", "static lb=least;lr=5"},
        {"lbPolicy: RANDOM", "lb=random"},
        {"lbPolicy: RING_HASH, ringHashLbConfig: {minimumRingSize: 7, maximumRingSize: 9}",
         "lb=ring;ring=7-9"},
        {"lbPolicy: MAGLEV, maglevLbConfig: {tableSize: 101}", "lb=maglev;maglev=101"},
        {"connectTimeout: 0.2501s", "connect=251"},
        {"commonLbConfig: {healthyPanicThreshold: {value: 0}}", "panic=0"},
        {"circuitBreakers: {thresholds: [{priority: HIGH, maxRequests: 9}, {maxConnections: 1,"
         " maxPendingRequests: 2, maxRequests: 3, maxRetries: 4, retryBudget: {budgetPercent:"
         " {value: 30}, minRetryConcurrency: 5}}]}",
         "cb=1/2/3/4 budget=30/5"},
        {"circuitBreakers: {thresholds: [{retryBudget: {}}]}", "cb=1024/1024/1024/3 budget=20/3"},
        {"outlierDetection: {}", "outlier=5/0/10%/10000/30000/300000"},
        {"outlierDetection: {consecutive5xx: 7, consecutiveGatewayFailure: 3,"
         " enforcingConsecutiveGatewayFailure: 100, interval: 1s, baseEjectionTime: 2s,"
         " maxEjectionTime: 9s, maxEjectionPercent: 60}",
         "outlier=7/3/60%/1000/2000/9000"},
        {"outlierDetection: {enforcingConsecutive5xx: 0}", "outlier=0/0/"},
        {"metadata: {filterMetadata: {istio: {services: [{host: h, name: m, namespace: ns}]}}}",
         "svc=h/m/ns"},
        {"loadAssignment: {endpoints: [{lbEndpoints: [{endpoint: {address: {socketAddress:"
         " {address: 127.0.0.1, portValue: 80}}}}]}]}",
         "static;endpoint 127.0.0.1:80 w=1 p=0 unknown"},
        {"type: STRICT_DNS, loadAssignment: {endpoints: [{lbEndpoints: [{endpoint: {address:"
         " {socketAddress: {address: www.example.com, portValue: 443}}}}]}]}",
         "endpoint www.example.com:443(name)"},
        {"transportSocket: {name: envoy.transport_sockets.raw_buffer}", "static"},
        /* Refusals. */
        {"connectTimeout: 0s", "refused: Cluster x: connect_timeout: must be above 0"},
        {"connectTimeout: -1s", "connect_timeout: must be above 0"},
        {"type: STRICT_DNS, loadAssignment: {endpoints: [{lbEndpoints: [{endpoint: {address:"
         " {socketAddress: {address: 'a b', portValue: 443}}}}]}]}",
         "refused"},
        {"loadAssignment: {endpoints: [{lbEndpoints: [{endpoint: {address: {socketAddress:"
         " {address: www.example.com, portValue: 80}}}}]}]}",
         "refused;www.example.com"},
        {"clusterType: {name: envoy.clusters.redis}", "refused: Cluster x: cluster_type"},
        {"transportSocket: {name: envoy.transport_sockets.tls}",
         "refused: Cluster x: transport_socket envoy.transport_sockets.tls: not known"},
        {"lbPolicy: LOAD_BALANCING_POLICY_CONFIG", "refused: Cluster x: lb_policy"},
        {"loadBalancingPolicy: {}", "refused: Cluster x: load_balancing_policy: not known"},
        {"lbSubsetConfig: {}", "refused: Cluster x: lb_subset_config: not known"},
        {"healthChecks: [{timeout: 1s}]", "refused: Cluster x: health_checks: not known"},
        {"transportSocketMatches: [{name: a}]", "transport_socket_matches: not known"},
        {"leastRequestLbConfig: {choiceCount: 1}", "least_request_lb_config.choice_count < 2"},
        {"ringHashLbConfig: {minimumRingSize: 10, maximumRingSize: 9}",
         "ring_hash_lb_config: sizes"},
        {"ringHashLbConfig: {maximumRingSize: 8388609}", "ring_hash_lb_config: sizes"},
        {"maglevLbConfig: {tableSize: 1}", "maglev_lb_config.table_size"},
        {"maglevLbConfig: {tableSize: 5000012}", "maglev_lb_config.table_size"},
    };
    (void)state;
    check(XDS_CDS, "{name: x, ", rows, ARRAY_LEN(rows), "}");
}

#define HTTP_OPTIONS(options)                                                                      \
    "{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type':"                           \
    " type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, " options "}}"

static void test_upstream_protocols(void **state)
{
    static const struct row rows[] = {
        {HTTP_OPTIONS("explicitHttpConfig: {httpProtocolOptions: {}}"), " http1 "},
        {HTTP_OPTIONS("explicitHttpConfig: {http2ProtocolOptions: {maxConcurrentStreams: 7}}"),
         " http2 ;streams=7"},
        {HTTP_OPTIONS("useDownstreamProtocolConfig: {}"), " downstream "},
        {HTTP_OPTIONS("commonHttpProtocolOptions: {idleTimeout: 4s, maxRequestsPerConnection: 3}"),
         "idle=4000;per=3"},
        {"{another.extension: {'@type': type.googleapis.com/google.protobuf.Duration, value: 1s}}",
         " http1 "},
        {HTTP_OPTIONS("autoConfig: {}"), "refused: Cluster x: auto_config: needs TLS"},
        {"{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type':"
         " type.googleapis.com/google.protobuf.Duration, value: 1s}}",
         "refused: Cluster x"},
    };
    (void)state;
    check(XDS_CDS, "{name: x, typedExtensionProtocolOptions: ", rows, ARRAY_LEN(rows), "}");
}

/* Endpoints. */

static void test_endpoints(void **state)
{
    static const struct row rows[] = {
        {"{locality: {region: r, zone: z, subZone: s}, priority: 2, lbEndpoints: [{endpoint:"
         " {address: {socketAddress: {address: 127.1.0.1, portValue: 80}}, hostname: h},"
         " healthStatus: DRAINING, loadBalancingWeight: 5, metadata: {filterMetadata: {istio:"
         " {workload: 'w;n;c;v;k'}}}}]}",
         "endpoint 127.1.0.1:80 w=5 p=2 draining l=r/z/s wl=w;n;c;v h=h"},
        {"{lbEndpoints: [{healthStatus: HEALTHY, endpoint: {address: {socketAddress: {address:"
         " '::1', portValue: 80}}}}, {healthStatus: UNHEALTHY, endpoint: {address: {pipe: {path:"
         " /run/x}}}}, {healthStatus: TIMEOUT, endpoint: {address: {socketAddress: {address:"
         " 127.0.0.1, portValue: 1}}}}, {healthStatus: DEGRADED, endpoint: {address:"
         " {socketAddress: {address: 127.0.0.2, portValue: 1}}}}]}",
         "[::1]:80 w=1 p=0 healthy;unix:/run/x w=1 p=0 unhealthy;127.0.0.1:1 w=1 p=0 unhealthy;"
         "127.0.0.2:1 w=1 p=0 degraded"},
        {"{}", ""},
        {"{priority: 129}", "refused: ClusterLoadAssignment x: endpoints[0].priority"},
        {"{lbEndpoints: [{endpointName: e}]}", "endpoint_name: not known"},
        {"{lbEndpoints: [{}]}", "refused"},
        {"{lbEndpoints: [{endpoint: {}}]}", "address: missing"},
        {"{lbEndpoints: [{endpoint: {address: {socketAddress: {address: name, portValue: 1}}}}]}",
         "refused;name"},
        {"{lbEndpoints: [{endpoint: {address: {socketAddress: {address: 127.0.0.1, portValue:"
         " 65536}}}}]}",
         "address: port 65536"},
        {"{lbEndpoints: [{loadBalancingWeight: 0, endpoint: {address: {socketAddress: {address:"
         " 127.0.0.1, portValue: 1}}}}]}",
         "endpoint 127.0.0.1:1: load_balancing_weight must be at least 1"},
    };
    (void)state;
    check(XDS_EDS, "{clusterName: x, endpoints: [", rows, ARRAY_LEN(rows), "]}");
}

/* Routes. */

static void test_route_matches(void **state)
{
    static const struct row rows[] = {
        {"{prefix: /a}", "path=prefix:/a"},
        {"{path: /A, caseSensitive: false}", "path=exact:/a/i"},
        {"{pathSeparatedPrefix: /a}", "path=separated:/a"},
        {"{safeRegex: {regex: '/[0-9]+'}}", "path=regex:"},
        {"{connectMatcher: {}}", "path=connect:"},
        {"{prefix: /, grpc: {}}", " grpc"},
        {"{prefix: /, runtimeFraction: {defaultValue: {numerator: 25}}}", "share=250000"},
        {"{prefix: /, runtimeFraction: {defaultValue: {numerator: 5, denominator: TEN_THOUSAND}}}",
         "share=500"},
        {"{prefix: /, runtimeFraction: {defaultValue: {numerator: 7, denominator: MILLION}}}",
         "share=7"},
        {"{prefix: /, headers: [{name: A}]}", "h(a present:)"},
        {"{prefix: /, headers: [{name: a, presentMatch: true, invertMatch: true}]}",
         "h(!a present:)"},
        {"{prefix: /, headers: [{name: a, presentMatch: false}]}", "h(!a present:)"},
        {"{prefix: /, headers: [{name: a, rangeMatch: {start: -1, end: 10}}]}", "h(a range:-1-10)"},
        {"{prefix: /, headers: [{name: a, stringMatch: {exact: V}}]}", "h(a exact:V)"},
        {"{prefix: /, headers: [{name: a, stringMatch: {exact: V, ignoreCase: true}}]}",
         "h(a exact:v/i)"},
        {"{prefix: /, headers: [{name: a, stringMatch: {prefix: v}, treatMissingHeaderAsEmpty:"
         " true}]}",
         "h(a? prefix:v)"},
        {"{prefix: /, headers: [{name: a, stringMatch: {suffix: v}}]}", "h(a suffix:v)"},
        {"{prefix: /, headers: [{name: a, stringMatch: {contains: v}}]}", "h(a contains:v)"},
        {"{prefix: /, headers: [{name: a, stringMatch: {safeRegex: {regex: 'a.c'}}}]}",
         "h(a regex:abc)"},
        {"{prefix: /, headers: [{name: a, exactMatch: v}, {name: b, prefixMatch: w}, {name: c,"
         " suffixMatch: x}, {name: d, containsMatch: z}, {name: e, safeRegexMatch: {regex: "
         "'a.c'}}]}",
         "h(a exact:v) h(b prefix:w) h(c suffix:x) h(d contains:z) h(e regex:abc)"},
        {"{prefix: /, queryParameters: [{name: Q}, {name: r, stringMatch: {exact: '1'}},"
         " {name: s, presentMatch: true}]}",
         "q(Q present:) q(r exact:1) q(s present:)"},
        {"{}", "refused: VirtualHost x: virtual host v: routes[0] r: match: no path specifier"},
        {"{pathSeparatedPrefix: /a/}", "path_separated_prefix: must not end in /"},
        {"{safeRegex: {regex: '('}}", "safe_regex"},
        {"{prefix: /, headers: [{name: ''}]}", "headers.name: must not be empty"},
        {"{prefix: /, headers: [{name: a, stringMatch: {prefix: ''}}]}",
         "headers a: string match: must not be empty"},
        {"{prefix: /, headers: [{name: a, stringMatch: {}}]}",
         "headers a: string match: no pattern"},
        {"{prefix: /, headers: [{name: a, safeRegexMatch: {regex: '['}}]}", "refused;headers a"},
        {"{prefix: /, queryParameters: [{name: ''}]}", "query_parameters.name: must not be empty"},
        {"{prefix: /, queryParameters: [{name: q, stringMatch: {suffix: ''}}]}",
         "query_parameters q: string match"},
        {"{prefix: /, tlsContext: {}}", "TLS context are not known"},
        {"{prefix: /, dynamicMetadata: [{filter: f}]}", "metadata, filter state"},
    };
    (void)state;
    check(XDS_VHDS,
          "{name: v, domains: ['*'], routes: [{name: r, route: {cluster: c}, match: ", rows,
          ARRAY_LEN(rows), "}]}");
}

static void test_route_actions(void **state)
{
    static const struct row rows[] = {
        {"route: {cluster: c}", "to(c 1/1) timeout=15000/0"},
        {"route: {cluster: c, timeout: 0s, idleTimeout: 2s}", "timeout=0/2000"},
        {"route: {cluster: c, timeout: 1s, maxStreamDuration: {maxStreamDuration: 3s}}",
         "timeout=3000/0"},
        {"route: {weightedClusters: {clusters: [{name: a, weight: 30, requestHeadersToAdd: "
         "[{header:"
         " {key: X, value: '1'}}], responseHeadersToRemove: [W]}, {name: b, weight: 70}, {name: c,"
         " weight: 0}]}}",
         "to(a 30/100 req.append(x=1) resp.remove(w)) to(b 70/100) to(c 0/100)"},
        {"route: {cluster: c, prefixRewrite: /n, hostRewriteLiteral: h}", "rewrite=/n;host=h"},
        {"route: {cluster: c, autoHostRewrite: true}", "host=auto"},
        {"route: {cluster: c, regexRewrite: {pattern: {regex: 'a(.)'}, substitution: 'b\\1'}}",
         "rewrite/r=b\\1"},
        {"route: {cluster: c, retryPolicy: {retryOn: '5xx, gateway-error,nonsense', numRetries: 3,"
         " perTryTimeout: 0.5s}}",
         "retry(on=3 n=3 try=500 back=25-250 hosts=0/1)"},
        {"route: {cluster: c, retryPolicy: {retryOn: 'reset,connect-failure,refused-stream,"
         "retriable-4xx,retriable-status-codes,reset-before-request,cancelled,deadline-exceeded,"
         "internal,resource-exhausted,unavailable', retriableStatusCodes: [503, 504],"
         " retryBackOff: {baseInterval: 1s, maxInterval: 2s}, hostSelectionRetryMaxAttempts: 5,"
         " retryHostPredicate: [{name: envoy.retry_host_predicates.previous_hosts}]}}",
         "retry(on=1ffc n=1 try=0 back=1000-2000 hosts=1/5 503 504)"},
        {"route: {cluster: c, upgradeConfigs: [{upgradeType: websocket}]}", "websocket=1"},
        {"route: {cluster: c, upgradeConfigs: [{upgradeType: WebSocket, enabled: false}]}",
         "websocket=0"},
        {"route: {cluster: c, hashPolicy: [{header: {headerName: U}, terminal: true}, {cookie: "
         "{name:"
         " C, ttl: 5s, path: /p}}, {cookie: {name: D}}, {connectionProperties: {sourceIp: true}},"
         " {queryParameter: {name: q}}]}",
         "hash(header u -1  last) hash(cookie C 5000 /p) hash(cookie D -1 ) hash(source  -1 ) "
         "hash(query q -1 )"},
        {"redirect: {}", "redirect(301 ://:0 path=0 prefix=0 query=1)"},
        {"redirect: {httpsRedirect: true, hostRedirect: h, portRedirect: 8443, pathRedirect: /p,"
         " responseCode: PERMANENT_REDIRECT, stripQuery: true}",
         "redirect(308 https://h:8443 path=1/p prefix=0 query=0)"},
        {"redirect: {schemeRedirect: ftp, prefixRewrite: /q, responseCode: FOUND}",
         "redirect(302 ftp://:0 path=0 prefix=1/q query=1)"},
        {"directResponse: {status: 404}", "direct(404 )"},
        {"directResponse: {status: 200, body: {inlineString: hi}}", "direct(200 hi)"},
        {"directResponse: {status: 200, body: {inlineBytes: aGk=}}", "direct(200 hi)"},
        {"route: {cluster: c}, requestHeadersToAdd: [{header: {key: A, value: '%X%'}, appendAction:"
         " OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: b}, appendAction: ADD_IF_ABSENT}, {header:"
         " {key: c}, appendAction: OVERWRITE_IF_EXISTS}], requestHeadersToRemove: [D],"
         " responseHeadersToAdd: [{header: {key: e}}], responseHeadersToRemove: [f]",
         "req.overwrite(a=%X%) req.if-absent(b=) req.if-exists(c=) req.remove(d) resp.append(e=) "
         "resp.remove(f)"},
        /* Refusals. */
        {"route: {cluster: ''}", "refused;routes[0] r: route.cluster: must not be empty"},
        {"route: {clusterHeader: h}", "route: only cluster and weighted_clusters are known"},
        {"route: {}", "route: only cluster"},
        {"route: {weightedClusters: {clusters: [{name: a}]}}", "the weights add up to 0"},
        {"route: {weightedClusters: {clusters: [{name: a, weight: 4294967295}, {name: b, weight:"
         " 1}]}}",
         "the weights add up to 4294967296"},
        {"route: {weightedClusters: {clusters: [{name: '', weight: 1}]}}",
         "weighted_clusters.clusters[0].name: must not be empty"},
        {"route: {weightedClusters: {clusters: [{name: a, weight: 1, typedPerFilterConfig:"
         " {envoy.filters.http.fault: {'@type': type.googleapis.com/google.protobuf.Duration, "
         "value:"
         " 1s}}}]}}",
         "weighted_clusters.clusters[0]: typed_per_filter_config envoy.filters.http.fault: only"},
        {"route: {cluster: c, requestMirrorPolicies: [{cluster: m}]}",
         "route.request_mirror_policies: not known"},
        {"route: {cluster: c, rateLimits: [{stage: 1}]}", "route.rate_limits: not known"},
        {"route: {cluster: c, metadataMatch: {}}", "route.metadata_match: not known"},
        {"route: {cluster: c, hedgePolicy: {}}", "route.hedge_policy: not known"},
        {"route: {cluster: c, internalRedirectPolicy: {}}", "route.internal_redirect_policy"},
        {"route: {cluster: c, regexRewrite: {pattern: {regex: '('}}}", "refused;regex_rewrite"},
        {"route: {cluster: c, hostRewriteHeader: h}", "route: this host rewrite is not known"},
        {"route: {cluster: c, hashPolicy: [{filterState: {key: k}}]}", "hash_policy: this kind"},
        {"route: {cluster: c, retryPolicy: {retryBackOff: {baseInterval: 0s}}}",
         "retry_back_off.base_interval: must be above 0"},
        {"redirect: {regexRewrite: {pattern: {regex: a}}}", "redirect.regex_rewrite: not known"},
        {"directResponse: {status: 99}", "direct_response.status: must be 200..599"},
        {"directResponse: {status: 600}", "direct_response.status: must be 200..599"},
        {"directResponse: {status: 200, body: {filename: /etc/passwd}}", "only inline bodies"},
        {"nonForwardingAction: {}", "action: neither route, redirect nor direct_response"},
        {"requestHeadersToAdd: [{header: {key: ''}}], route: {cluster: c}",
         "headers_to_add[0].header.key: must not be empty"},
    };
    (void)state;
    check(XDS_VHDS, "{name: v, domains: ['*'], routes: [{name: r, match: {prefix: /}, ", rows,
          ARRAY_LEN(rows), "}]}");
}

#define FAULT "'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, "

static void test_faults(void **state)
{
    static const struct row rows[] = {
        {"envoy.filters.http.fault: {" FAULT
         "delay: {fixedDelay: 0.3s, percentage: {numerator: 50}},"
         " abort: {httpStatus: 503, percentage: {numerator: 1, denominator: MILLION}}}",
         "fault(delay=300@500000 abort=503/-1@1)"},
        {"envoy.filters.http.fault: {" FAULT
         "abort: {grpcStatus: 14, percentage: {numerator: 100}}}",
         "fault(delay=0@0 abort=0/14@1000000)"},
        {"another.filter: {'@type': type.googleapis.com/google.protobuf.Duration, value: 1s}",
         "to(c 1/1)"},
        {"envoy.filters.http.fault: {" FAULT "abort: {httpStatus: 100}}",
         "fault.abort.http_status: must be 200..599"},
        {"envoy.filters.http.fault: {" FAULT "abort: {headerAbort: {}}}",
         "fault.abort: header_abort is not known"},
        {"envoy.filters.http.fault: {" FAULT "delay: {headerDelay: {}}}",
         "fault.delay: only fixed_delay is known"},
        {"envoy.filters.http.fault: {'@type': type.googleapis.com/google.protobuf.Duration, value:"
         " 1s}",
         "refused"},
        {"envoy.filters.http.cors: {'@type':"
         " type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy}",
         "typed_per_filter_config envoy.filters.http.cors: not known"},
    };
    (void)state;
    check(XDS_VHDS,
          "{name: v, domains: ['*'], routes: [{name: r, match: {prefix: /}, route: {cluster: c},"
          " typedPerFilterConfig: {",
          rows, ARRAY_LEN(rows), "}}]}");
}

static void test_virtual_hosts(void **state)
{
    static const struct row rows[] = {
        {"domains: [A.example.com, '*.B', '*'], includeRequestAttemptCount: true, retryPolicy:"
         " {retryOn: 5xx}, requestHeadersToAdd: [{header: {key: x}}], responseHeadersToRemove: [w]",
         "vhost v d=a.example.com d=*.b d=* retry(on=1 ;attempts;req.append(x=);resp.remove(w)"},
        {"domains: [a], requireTls: ALL, routes: [{match: {prefix: /}, route: {cluster: c}}]",
         "path=prefix:/ redirect(301 https://:0"},
        {"domains: [a], requireTls: EXTERNAL_ONLY", "require_tls: only NONE and ALL are known"},
        {"routes: []", "refused: VirtualHost x: virtual host v: domains: must not be empty"},
        {"domains: [a], requestMirrorPolicies: [{cluster: c}]", "mirrors, rate limits"},
        {"domains: [a], hedgePolicy: {}", "mirrors, rate limits"},
        {"domains: [a], typedPerFilterConfig: {envoy.filters.http.fault: {" FAULT "}}",
         "typed_per_filter_config envoy.filters.http.fault: only routes may have it"},
        {"domains: [a], retryPolicy: {retryBackOff: {}}", "retry_back_off.base_interval"},
    };
    (void)state;
    check(XDS_VHDS, "{name: v, ", rows, ARRAY_LEN(rows), "}");
}

static void test_route_configurations(void **state)
{
    static const struct row rows[] = {
        {"vhds: {}", "table vhds"},
        {"ignorePortInHostMatching: true, requestHeadersToAdd: [{header: {key: x}}],"
         " responseHeadersToRemove: [w]",
         "table no-port req.append(x=) resp.remove(w)"},
        {"virtualHosts: [{name: a, domains: [a]}, {name: b, domains: [b]}]", "vhost a d=a;vhost b"},
        {"virtualHosts: [{name: a}]", "refused: RouteConfiguration x: virtual host a: domains"},
        {"requestMirrorPolicies: [{cluster: c}]", "refused: RouteConfiguration x: mirrors"},
    };
    (void)state;
    check(XDS_RDS, "{name: x, ", rows, ARRAY_LEN(rows), "}");
}

/* Listeners. */

#define ROUTER                                                                                     \
    "{name: envoy.filters.http.router, typedConfig: {'@type':"                                     \
    " type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}"
#define HCM                                                                                        \
    "'@type': type.googleapis.com/"                                                                \
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

static void test_connection_managers(void **state)
{
    static const struct row rows[] = {
        {"statPrefix: s, rds: {routeConfigName: r}, httpFilters: [" ROUTER "]",
         "http s rds=r auto t=3600000/300000/0/0/5000 kb=60 id,"},
        {"statPrefix: s, rds: {routeConfigName: r}, codecType: HTTP1, httpFilters: [" ROUTER "]",
         " http1 "},
        {"statPrefix: s, rds: {routeConfigName: r}, codecType: HTTP2, httpFilters: [" ROUTER "]",
         " http2 "},
        {"statPrefix: s, rds: {routeConfigName: r}, httpFilters: [" ROUTER "],"
         " commonHttpProtocolOptions: {idleTimeout: 1s}, streamIdleTimeout: 2s, requestTimeout: 3s,"
         " requestHeadersTimeout: 4s, drainTimeout: 6s, maxRequestHeadersKb: 96, generateRequestId:"
         " false, useRemoteAddress: true, normalizePath: true, mergeSlashes: true,"
         " httpProtocolOptions: {acceptHttp10: true}, upgradeConfigs: [{upgradeType: websocket}]",
         "t=1000/2000/3000/4000/6000 kb=96 xff,normalize,merge,websocket,http10,"},
        {"statPrefix: s, rds: {routeConfigName: r}, httpFilters: [" ROUTER "], httpProtocolOptions:"
         " {allowAbsoluteUrl: true}",
         " proxy"},
        {"statPrefix: s, rds: {routeConfigName: r}, httpFilters: [" ROUTER "], upgradeConfigs:"
         " [{upgradeType: CONNECT}]",
         " proxy"},
        {"statPrefix: s, routeConfig: {name: r, virtualHosts: [{name: v, domains: ['*'], routes:"
         " [{match: {prefix: /}, route: {cluster: c}}]}]}, httpFilters: [" ROUTER "]",
         "vhost v d=*;to(c 1/1)"},
        {"statPrefix: s, rds: {routeConfigName: r}, httpFilters: [{name: f, typedConfig: {" FAULT
         "}}, {name: optional, isOptional: true}, " ROUTER "]",
         "fault,"},
        {"statPrefix: s, rds: {routeConfigName: r}, httpFilters: [" ROUTER
         "], accessLog: [{name: l,"
         " typedConfig: {'@type':"
         " type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /x}}]",
         "log=/x:"},
        {"statPrefix: s, rds: {routeConfigName: r}, httpFilters: [" ROUTER
         "], accessLog: [{name: l,"
         " typedConfig: {'@type':"
         " type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /x,"
         " logFormat: {textFormatSource: {inlineString: '%RESPONSE_CODE%'}}}}]",
         "log=/x:%RESPONSE_CODE%"},
        {"statPrefix: s, rds: {routeConfigName: r}, httpFilters: [" ROUTER
         "], accessLog: [{name: l,"
         " typedConfig: {'@type':"
         " type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog}}]",
         "log=/dev/stdout:"},
        /* Refusals. */
        {"rds: {routeConfigName: r}, httpFilters: [" ROUTER "]", "stat_prefix: must not be empty"},
        {"statPrefix: s, httpFilters: [" ROUTER "]",
         "route_specifier: neither rds nor route_config"},
        {"statPrefix: s, rds: {}, httpFilters: [" ROUTER "]", "rds.route_config_name: empty"},
        {"statPrefix: s, rds: {routeConfigName: r}",
         "http_filters: the last one must be the router"},
        {"statPrefix: s, rds: {routeConfigName: r}, codecType: HTTP3, httpFilters: [" ROUTER "]",
         "codec_type 3: not known"},
        {"statPrefix: s, rds: {routeConfigName: r}, httpFilters: [{name: envoy.filters.http.rbac},"
         " " ROUTER "]",
         "refused: Listener x: filter_chains[0]: http_filters[0] envoy.filters.http.rbac: not "
         "known"},
        {"statPrefix: s, rds: {routeConfigName: r}, httpFilters: [{name: d, isOptional: true,"
         " configDiscovery: {typeUrls: [t]}}]",
         "http_filters: the last one must be the router"},
        {"statPrefix: s, rds: {routeConfigName: r}, httpFilters: [{name: f, typedConfig: {" FAULT
         "abort: {httpStatus: 503}}}, " ROUTER "]",
         "http_filters[0] f: faults for all routes are not known"},
        {"statPrefix: s, routeConfig: {name: r, virtualHosts: [{name: v, domains: [a]}, {name: w,"
         " domains: [A]}]}, httpFilters: [" ROUTER "]",
         "domain a belongs to virtual hosts v and w"},
        {"statPrefix: s, rds: {routeConfigName: r}, httpFilters: [" ROUTER "], accessLog: [{name:"
         " l}]",
         "access_log l: not known"},
        {"statPrefix: s, rds: {routeConfigName: r}, httpFilters: [" ROUTER
         "], accessLog: [{name: l,"
         " typedConfig: {'@type':"
         " type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /x,"
         " logFormat: {jsonFormat: {a: b}}}}]",
         "access_log: only inline text formats are known"},
        {"statPrefix: s, rds: {routeConfigName: r}, httpFilters: [" ROUTER
         "], accessLog: [{name: l,"
         " typedConfig: {'@type':"
         " type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /x,"
         " format: '%NO_SUCH_THING%'}}]",
         "refused;access_log;NO_SUCH_THING"},
    };
    (void)state;
    check(XDS_LDS,
          "{name: x, address: {socketAddress: {address: 127.0.0.1, portValue: 80}}, filterChains:"
          " [{filters: [{name: hcm, typedConfig: {" HCM ", ",
          rows, ARRAY_LEN(rows), "}}]}]}");
}

#define TCP                                                                                        \
    "{name: tcp, typedConfig: {'@type':"                                                           \
    " type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, statPrefix: s, "
#define TCP_C TCP "cluster: c}}"

static void test_listeners(void **state)
{
    static const struct row rows[] = {
        {"filterChains: [{name: m, filters: [" TCP_C "]}]",
         "127.0.0.1:80 bind;chain m port=0 tcp s idle=3600000 to(c 1/1)"},
        {"filterChains: [{filters: [" TCP "idleTimeout: 5s, weightedClusters: {clusters: [{name: a,"
         " weight: 1}, {name: b, weight: 3}]}}}]}]",
         "idle=5000 to(a 1/4) to(b 3/4)"},
        {"bindToPort: false, useOriginalDst: true, trafficDirection: INBOUND, filterChains:"
         " [{filters: [" TCP_C "]}]",
         "127.0.0.1:80 original_dst inbound"},
        {"filterChains: [{filterChainMatch: {destinationPort: 8080}, filters: [" TCP_C
         "]}], defaultFilterChain: {name: d, filters: [" TCP_C "]}",
         "chain  port=8080 tcp;chain d port=0"},
        {"filterChains: [{filterChainMatch: {transportProtocol: tls, serverNames: [A]}, filters: "
         "[" TCP_C "]}, {filters: [" TCP_C "]}]",
         "port=0 tls sni=a tcp;chain  port=0 tcp"},
        {"filterChains: [{filterChainMatch: {transportProtocol: raw_buffer}, transportSocket: "
         "{name:"
         " envoy.transport_sockets.raw_buffer}, filters: [" TCP_C "]}]",
         "chain  port=0 tcp"},
        /* Refusals. */
        {"apiListener: {}", "refused: Listener x: api_listener: is for gRPC"},
        {"filterChains: []", "filter_chains: must not be empty"},
        {"filterChains: [{}]", "filter_chains[0]: filters: must not be empty"},
        {"filterChains: [{filters: [{name: envoy.filters.network.redis_proxy}]}]",
         "filter envoy.filters.network.redis_proxy: neither http_connection_manager nor tcp_proxy"},
        {"filterChains: [{filters: [{name: d, configDiscovery: {typeUrls: [t]}}]}]",
         "filter d: neither http_connection_manager nor tcp_proxy"},
        {"filterChains: [{filters: [{name: envoy.filters.network.rbac}, " TCP_C "]}]",
         "filters[0] envoy.filters.network.rbac: only one filter a chain is known"},
        {"filterChains: [{transportSocket: {name: envoy.transport_sockets.tls}, filters: [" TCP_C
         "]}]",
         "filter_chains[0]: transport_socket envoy.transport_sockets.tls: not known"},
        {"filterChains: [{filterChainMatch: {prefixRanges: [{addressPrefix: 10.0.0.0, prefixLen: "
         "8}]},"
         " filters: [" TCP_C "]}]",
         "filter_chain_match: addresses, sources and source ports are not known"},
        {"filterChains: [{filterChainMatch: {sourcePrefixRanges: [{addressPrefix: 10.0.0.0}]},"
         " filters: [" TCP_C "]}]",
         "filter_chain_match: addresses"},
        {"filterChains: [{filterChainMatch: {sourcePorts: [1]}, filters: [" TCP_C "]}]",
         "filter_chain_match: addresses"},
        {"filterChains: [{filters: [" TCP "cluster: ''}}]}]",
         "tcp_proxy: a cluster without a name"},
        {"filterChains: [{filters: [" TCP "weightedClusters: {clusters: [{name: a}]}}}]}]",
         "tcp_proxy: the weights add up to 0"},
        {"filterChains: [{filters: [" TCP "cluster: c, tunnelingConfig: {hostname: h}}}]}]",
         "tcp_proxy.tunneling_config: not known"},
        {"filterChains: [{filters: [" TCP_C "]}], defaultFilterChain: {}",
         "default_filter_chain: filters: must not be empty"},
    };
    (void)state;
    check(XDS_LDS, "{name: x, address: {socketAddress: {address: 127.0.0.1, portValue: 80}}, ",
          rows, ARRAY_LEN(rows), "}");
}

static void test_listener_addresses(void **state)
{
    static const struct row rows[] = {
        {"{socketAddress: {address: '::', portValue: 80}}", "[::]:80 bind"},
        {"{pipe: {path: /run/x}}", "unix:/run/x bind"},
        {"{socketAddress: {address: a.b, portValue: 80}}", "refused: Listener x"},
        {"{socketAddress: {address: 127.0.0.1, portValue: 70000}}", "address: port 70000"},
        {"{}", "address: neither a socket address nor a pipe"},
        {"{envoyInternalAddress: {serverListenerName: i}}", "address: neither a socket address"},
    };
    (void)state;
    check(XDS_LDS, "{name: x, filterChains: [{filters: [" TCP_C "]}], address: ", rows,
          ARRAY_LEN(rows), "}");
}

/* Bytes that are no message are refused by name, whatever the type. */
static void test_foreign_bytes(void **state)
{
    (void)state;
    for (int t = 0; t < XDS_TYPE_COUNT; t++) {
        struct buf b = {0};
        build_and_say((enum xds_type)t, S("\x0a\xff\xff\xff\xff\x0f"), &b);
        assert_true(slice_contains(buf_slice(&b), S("refused: ")));
        assert_true(slice_contains(buf_slice(&b), S(" x")));
        buf_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clusters),
        cmocka_unit_test(test_upstream_protocols),
        cmocka_unit_test(test_endpoints),
        cmocka_unit_test(test_route_matches),
        cmocka_unit_test(test_route_actions),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_virtual_hosts),
        cmocka_unit_test(test_route_configurations),
        cmocka_unit_test(test_connection_managers),
        cmocka_unit_test(test_listeners),
        cmocka_unit_test(test_listener_addresses),
        cmocka_unit_test(test_foreign_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
