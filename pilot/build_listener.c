/* LDS: the parts of listeners, and the outbound listeners that the proxies of a scope share
 * (REDIRECT).
 *
 * Traffic that is captured comes to virtualOutbound (build_own.c), which hands a connection to the
 * listener of its original destination: VIP_PORT for TCP services with an address, 0.0.0.0_PORT for
 * the rest. None of these binds a port.
 */
#include "pilot/build_internal.h"

#include <stdlib.h>
#include <string.h>

#include "api/proto/access_log_file.pb-c.h"
#include "api/proto/cors.pb-c.h"
#include "api/proto/fault.pb-c.h"
#include "api/proto/http_inspector.pb-c.h"
#include "api/proto/router.pb-c.h"
#include "api/proto/tls_inspector.pb-c.h"

/* Parts. */

/* Envoy's default format, to standard output. */
static Envoy__Config__Accesslog__V3__AccessLog *access_log(struct arena *a)
{
    Envoy__Extensions__AccessLoggers__File__V3__FileAccessLog *file =
        PB_NEW(a, envoy__extensions__access_loggers__file__v3__file_access_log);
    file->path = pb_str(a, S("/dev/stdout"));
    Envoy__Config__Accesslog__V3__AccessLog *log =
        PB_NEW(a, envoy__config__accesslog__v3__access_log);
    log->name = pb_str(a, S("envoy.access_loggers.file"));
    log->config_type_case = ENVOY__CONFIG__ACCESSLOG__V3__ACCESS_LOG__CONFIG_TYPE_TYPED_CONFIG;
    log->typed_config = any_new(a, &file->base);
    return log;
}

static void http_filters(struct arena *a, HCM(HttpConnectionManager) *hcm)
{
    ProtobufCMessage *fault = PB_NEW(a, envoy__extensions__filters__http__fault__v3__httpfault);
    ProtobufCMessage *cors = PB_NEW(a, envoy__extensions__filters__http__cors__v3__cors);
    ProtobufCMessage *router = PB_NEW(a, envoy__extensions__filters__http__router__v3__router);
    PB_PUSH(a, hcm, http_filters, pbx_http_filter(a, "envoy.filters.http.fault", fault));
    PB_PUSH(a, hcm, http_filters, pbx_http_filter(a, "envoy.filters.http.cors", cors));
    PB_PUSH(a, hcm, http_filters, pbx_http_filter(a, "envoy.filters.http.router", router));
}

HCM(HttpConnectionManager) *hcm_new(struct arena *a, struct slice stat_prefix,
                                    struct slice rds_name, ROUTE(RouteConfiguration) *inside)
{
    HCM(HttpConnectionManager) *h = NEW_HCM(a, http_connection_manager);
    h->stat_prefix = pb_str(a, stat_prefix);
    if (inside) {
        h->route_specifier_case =
            ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_ROUTE_CONFIG;
        h->route_config = inside;
    } else {
        h->route_specifier_case =
            ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_RDS;
        h->rds = NEW_HCM(a, rds);
        h->rds->config_source = pbx_ads_no_timeout(a);
        h->rds->route_config_name = pb_str(a, rds_name);
    }
    http_filters(a, h);
    h->use_remote_address = wkt_bool(a, false);
    h->normalize_path = wkt_bool(a, true);
    h->stream_idle_timeout = wkt_duration(a, 0);
    h->server_header_transformation =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__SERVER_HEADER_TRANSFORMATION__PASS_THROUGH;
    HCM(HttpConnectionManager__UpgradeConfig) *up =
        NEW_HCM(a, http_connection_manager__upgrade_config);
    up->upgrade_type = pb_str(a, S("websocket"));
    PB_PUSH(a, h, upgrade_configs, up);
    PB_PUSH(a, h, access_log, access_log(a));
    return h;
}

LISTENER(FilterChain) *chain_http(struct arena *a, const HCM(HttpConnectionManager) *hcm)
{
    LISTENER(FilterChain) *c = NEW_LISTENER(a, filter_chain);
    PB_PUSH(a, c, filters,
            pbx_filter(a, "envoy.filters.network.http_connection_manager", &hcm->base));
    return c;
}

static LISTENER(FilterChain) *chain_proxy(struct arena *a, TCP_PROXY(TcpProxy) *p)
{
    LISTENER(FilterChain) *c = NEW_LISTENER(a, filter_chain);
    PB_PUSH(a, p, access_log, access_log(a));
    PB_PUSH(a, c, filters, pbx_filter(a, "envoy.filters.network.tcp_proxy", &p->base));
    return c;
}

LISTENER(FilterChain) *chain_tcp(struct arena *a, struct slice stat_prefix, struct slice cluster)
{
    TCP_PROXY(TcpProxy) *p = NEW_TCP_PROXY(a, tcp_proxy);
    p->stat_prefix = pb_str(a, stat_prefix);
    p->cluster_specifier_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__CLUSTER_SPECIFIER_CLUSTER;
    p->cluster = pb_str(a, cluster);
    return chain_proxy(a, p);
}

LISTENER(FilterChainMatch) *chain_match(struct arena *a, LISTENER(FilterChain) *c)
{
    if (!c->filter_chain_match)
        c->filter_chain_match = NEW_LISTENER(a, filter_chain_match);
    return c->filter_chain_match;
}

void chain_match_http(struct arena *a, LISTENER(FilterChain) *c)
{
    LISTENER(FilterChainMatch) *m = chain_match(a, c);
    PB_PUSH(a, m, application_protocols, pb_str(a, S("http/1.0")));
    PB_PUSH(a, m, application_protocols, pb_str(a, S("http/1.1")));
    PB_PUSH(a, m, application_protocols, pb_str(a, S("h2c")));
}

LISTENER(Listener) *build_listener_new(struct arena *a, struct slice name, struct slice ip,
                                       uint32_t port, bool outbound)
{
    LISTENER(Listener) *l = NEW_LISTENER(a, listener);
    l->name = pb_str(a, name);
    l->address = pbx_address(a, ip, port);
    l->traffic_direction = outbound ? ENVOY__CONFIG__CORE__V3__TRAFFIC_DIRECTION__OUTBOUND
                                    : ENVOY__CONFIG__CORE__V3__TRAFFIC_DIRECTION__INBOUND;
    return l;
}

void listener_inspect(struct arena *a, LISTENER(Listener) *l, bool tls, bool http)
{
    ProtobufCMessage *t =
        PB_NEW(a, envoy__extensions__filters__listener__tls_inspector__v3__tls_inspector);
    ProtobufCMessage *h =
        PB_NEW(a, envoy__extensions__filters__listener__http_inspector__v3__http_inspector);
    if (tls)
        PB_PUSH(a, l, listener_filters,
                pbx_listener_filter(a, "envoy.filters.listener.tls_inspector", t));
    if (http)
        PB_PUSH(a, l, listener_filters,
                pbx_listener_filter(a, "envoy.filters.listener.http_inspector", h));
    /* A server that speaks first sends nothing to inspect: go on without waiting (Istio's 0 s). */
    l->listener_filters_timeout = wkt_duration(a, 0);
    l->continue_on_listener_filters_timeout = true;
}

/* Tcp and tls rules. */

static void weights_add(struct route_context *rc, TCP_PROXY(TcpProxy) *p, const json_t *routes)
{
    p->weighted_clusters = NEW_TCP_PROXY(rc->a, tcp_proxy__weighted_cluster);
    p->cluster_specifier_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__TCP_PROXY__V3__TCP_PROXY__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS;
    JR_EACH (routes, i, v) {
        if (jr_u32(v, "weight", 0) == 0)
            continue;
        TCP_PROXY(TcpProxy__WeightedCluster__ClusterWeight) *w =
            NEW_TCP_PROXY(rc->a, tcp_proxy__weighted_cluster__cluster_weight);
        w->name = pb_str(rc->a, route_cluster(rc, jr_get(v, "destination")));
        w->weight = jr_u32(v, "weight", 0);
        PB_PUSH(rc->a, p->weighted_clusters, clusters, w);
    }
}

/* The chain to a rule's destinations; NULL when they get no traffic. */
static LISTENER(FilterChain) *chain_weights(struct route_context *rc, struct slice stat_prefix,
                                            const json_t *routes)
{
    if (jr_len(routes) == 1)
        return chain_tcp(rc->a, stat_prefix,
                         route_cluster(rc, jr_get(jr_at(routes, 0), "destination")));
    TCP_PROXY(TcpProxy) *p = NEW_TCP_PROXY(rc->a, tcp_proxy);
    p->stat_prefix = pb_str(rc->a, stat_prefix);
    weights_add(rc, p, routes);
    return p->weighted_clusters->n_clusters ? chain_proxy(rc->a, p) : NULL;
}

static bool sni_named(const json_t *match, struct slice host)
{
    bool named = jr_len(jr_get(match, "sniHosts")) == 0;
    JR_EACH (jr_get(match, "sniHosts"), i, v) {
        named = named || model_host_match(json_slice(v), host);
    }
    return named;
}

/* Routes of the first tcp (or tls) rule that holds for a connection to the host. */
static const json_t *rule_routes(struct route_context *rc, const char *kind)
{
    JR_EACH (jr_get(rc->vs->body->spec, kind), i, rule) {
        const json_t *matches = jr_get(rule, "match");
        if (jr_len(matches) == 0)
            return jr_get(rule, "route");
        JR_EACH (matches, j, m) {
            if (route_match_applies(rc, m) && sni_named(m, rc->host))
                return jr_get(rule, "route");
        }
    }
    return NULL;
}

LISTENER(FilterChain) *chain_rule(struct route_context *rc, const char *kind)
{
    const json_t *routes = rule_routes(rc, kind);
    return routes ? chain_weights(rc, rc->host, routes) : NULL;
}

LISTENER(FilterChain) *chain_service(struct build *b, struct scope *s, struct slice host,
                                     uint32_t port, bool tls, struct arena *a,
                                     struct sources *sources)
{
    struct slice cluster = cluster_name(a, S("outbound"), port, (struct slice){0}, host);
    struct route_context rc = {.b = b,
                               .a = a,
                               .scope = s,
                               .gateway = S("mesh"),
                               .host = host,
                               .port = port,
                               .sources = sources};
    rc.vs = route_rule(b, s, host, a);
    const json_t *routes = rc.vs ? rule_routes(&rc, tls ? "tls" : "tcp") : NULL;
    LISTENER(FilterChain) *c = routes ? chain_weights(&rc, cluster, routes) : NULL;
    if (c)
        sources_add(sources, rc.vs->key);
    return c ? c : chain_tcp(a, cluster, cluster);
}

/* Listeners of one TCP service: one an address. */

static bool is_tls(enum model_protocol p)
{
    return p == PROTOCOL_TLS || p == PROTOCOL_HTTPS;
}

static bool is_tcp(enum model_protocol p)
{
    return p != PROTOCOL_UDP && p != PROTOCOL_AUTO && !model_protocol_http(p);
}

static void listener_vip(struct build *b, struct unit_cell *u, struct unit_out *out,
                         struct arena *a, struct slice ip, const struct model_port *p)
{
    struct sources sources = {0};
    struct slice name = arena_printf(a, "%.*s_%u", SLICE(ip), p->number);
    LISTENER(Listener) *l = build_listener_new(a, name, ip, p->number, true);
    sources_add(&sources, u->service);
    PB_PUSH(a, l, filter_chains,
            chain_service(b, u->scope, u->host, p->number, is_tls(p->protocol), a, &sources));
    l->bind_to_port = wkt_bool(a, false);
    unit_add(b, u, out, XDS_LDS, name, &l->base, &sources, (struct slice){0});
    vec_fini(&sources);
}

bool unit_listeners_compute(struct graph *g, struct graph_cell *cell)
{
    struct build *b = build_of(g);
    struct unit_cell *u = (struct unit_cell *)cell;
    struct arena a = {0};
    struct unit_out out = {0};
    const struct model_service *s = unit_service(b, u);
    JR_EACH (s ? s->addresses : NULL, i, v) {
        struct slice ip = json_slice(v);
        for (size_t k = 0; ip.n && slice_find(ip, '/') == SIZE_MAX && k < s->port_count; k++)
            if (is_tcp(s->ports[k].protocol))
                listener_vip(b, u, &out, &a, ip, &s->ports[k]);
    }
    arena_fini(&a);
    return unit_end(u, &out);
}

/* Plain HTTP on a port: the same listener for everybody. */

struct http_port_cell {
    struct graph_cell cell;
    uint32_t port;
    struct xds_resource *listener;
};

static LISTENER(FilterChain) *chain_http_port(struct arena *a, uint32_t port)
{
    struct slice rds = arena_printf(a, "%u", port);
    return chain_http(a, hcm_new(a, arena_printf(a, "outbound_0.0.0.0_%u", port), rds, NULL));
}

static bool http_port_compute(struct graph *g, struct graph_cell *cell)
{
    struct build *b = build_of(g);
    struct http_port_cell *c = (struct http_port_cell *)cell;
    struct arena a = {0};
    struct slice name = arena_printf(&a, "0.0.0.0_%u", c->port);
    LISTENER(Listener) *l = build_listener_new(&a, name, S("0.0.0.0"), c->port, true);
    PB_PUSH(&a, l, filter_chains, chain_http_port(&a, c->port));
    l->bind_to_port = wkt_bool(&a, false);
    buf_clear(&b->packed);
    pb_pack(&l->base, &b->packed);
    xds_resource_unref(c->listener);
    c->listener = build_resource_constant(b, XDS_LDS, name, buf_slice(&b->packed));
    arena_fini(&a);
    return true;
}

static void http_port_fini(struct graph_cell *cell)
{
    xds_resource_unref(((struct http_port_cell *)cell)->listener);
}

static const struct graph_cell_kind http_port_kind = {"http_port", sizeof(struct http_port_cell),
                                                      http_port_compute, http_port_fini};

static struct xds_resource *http_port_listener(struct build *b, uint32_t port)
{
    bool is_new;
    struct graph_cell *cell =
        graph_cell(&b->graph, &http_port_kind, slice_mem(&port, sizeof(port)), &is_new);
    if (is_new)
        ((struct http_port_cell *)cell)->port = port;
    graph_get(&b->graph, cell);
    return ((struct http_port_cell *)cell)->listener;
}

/* Shared listeners of a scope. */

/* All that wants connections to one port, whatever their address. */
struct wild_port {
    uint32_t number;
    bool http, sniff;
    const struct scope_service *tcp; /* first without an address */
};

struct listeners_cell {
    struct graph_cell cell;
    struct scope *scope;
    struct list_state state;
};

struct listeners_job {
    struct build *b;
    struct listeners_cell *cell;
    struct scope_services services;
    struct unit_out out; /* owned until the list is made */
    struct arena *a;
};

static void listener_keep(struct listeners_job *j, const LISTENER(Listener) *l,
                          const struct sources *s)
{
    struct slice name = pb_slice(l->name);
    *vec_push(&j->out) = build_resource(j->b, xds_list_find(j->cell->state.list, name), XDS_LDS,
                                        name, &l->base, s, (struct slice){0});
}

static struct slice passthrough(struct listeners_job *j)
{
    const json_t *sidecar = scope_sidecar(j->b, j->cell->scope);
    struct slice mode = jr_str(jr_get(sidecar, "outboundTrafficPolicy"), "mode");
    return slice_eq(mode, S("REGISTRY_ONLY")) ? S("BlackHoleCluster") : S("PassthroughCluster");
}

/* TLS services without an address are told apart by the name that the client asks for. */
static bool add_sni_chains(struct listeners_job *j, LISTENER(Listener) *l, uint32_t port,
                           struct sources *sources)
{
    bool any = false;
    for (size_t i = 0; i < j->services.n; i++) {
        const struct scope_service *s = &j->services.p[i];
        for (size_t k = 0; k < s->port_count && s->address_count == 0 && !s->headless; k++) {
            if (s->ports[k].number != port || !is_tls(s->ports[k].protocol))
                continue;
            LISTENER(FilterChain) *c =
                chain_service(j->b, j->cell->scope, s->host, port, true, j->a, sources);
            LISTENER(FilterChainMatch) *m = chain_match(j->a, c);
            m->transport_protocol = pb_str(j->a, S("tls"));
            if (!slice_eq(s->host, S("*")))
                PB_PUSH(j->a, m, server_names, pb_str(j->a, s->host));
            PB_PUSH(j->a, l, filter_chains, c);
            sources_add(sources, s->key);
            any = true;
        }
    }
    return any;
}

static void listener_wild(struct listeners_job *j, const struct wild_port *w)
{
    struct arena *a = j->a;
    struct sources sources = {0};
    struct slice name = arena_printf(a, "0.0.0.0_%u", w->number);
    LISTENER(Listener) *l = build_listener_new(a, name, S("0.0.0.0"), w->number, true);
    bool tls = add_sni_chains(j, l, w->number, &sources);
    if (w->http && !w->sniff && !tls && !w->tcp) {
        *vec_push(&j->out) = xds_resource_ref(http_port_listener(j->b, w->number));
        vec_fini(&sources);
        return;
    }
    if (w->http || w->sniff) {
        LISTENER(FilterChain) *c = chain_http_port(a, w->number);
        chain_match_http(a, c);
        PB_PUSH(a, l, filter_chains, c);
    }
    struct slice pass = passthrough(j);
    listener_inspect(a, l, tls, w->http || w->sniff);
    if (w->tcp)
        sources_add(&sources, w->tcp->key);
    l->default_filter_chain =
        w->tcp ? chain_service(j->b, j->cell->scope, w->tcp->host, w->number, false, a, &sources)
               : chain_tcp(a, pass, pass);
    l->bind_to_port = wkt_bool(a, false);
    listener_keep(j, l, &sources);
    vec_fini(&sources);
}

static int cmp_wild(const void *va, const void *vb)
{
    const struct wild_port *a = va, *b = vb;
    return (a->number > b->number) - (a->number < b->number);
}

static bool wild_of(const struct scope_service *s, const struct scope_port *p,
                    struct wild_port *ret)
{
    *ret = (struct wild_port){.number = p->number,
                              .http = model_protocol_http(p->protocol),
                              .sniff = p->protocol == PROTOCOL_AUTO};
    if (p->protocol == PROTOCOL_UDP || (is_tcp(p->protocol) && (s->address_count || s->headless)))
        return false;
    if (is_tcp(p->protocol) && !is_tls(p->protocol))
        ret->tcp = s;
    return true;
}

/* Hundreds of services share a port: one row each, then merged. */
static void listeners_wild(struct listeners_job *j)
{
    VEC(struct wild_port) rows = {0};
    struct wild_port w;
    for (size_t i = 0; i < j->services.n; i++)
        for (size_t k = 0; k < j->services.p[i].port_count; k++)
            if (wild_of(&j->services.p[i], &j->services.p[i].ports[k], &w))
                *vec_push(&rows) = w;
    if (rows.n)
        qsort(rows.p, rows.n, sizeof(*rows.p), cmp_wild);
    for (size_t i = 0; i < rows.n;) {
        w = rows.p[i];
        for (; i < rows.n && rows.p[i].number == w.number; i++) {
            w.http = w.http || rows.p[i].http;
            w.sniff = w.sniff || rows.p[i].sniff;
            if (rows.p[i].tcp && (!w.tcp || slice_cmp(rows.p[i].tcp->host, w.tcp->host) < 0))
                w.tcp = rows.p[i].tcp;
        }
        if (w.number != 15001 && w.number != 15006)
            listener_wild(j, &w);
    }
    vec_fini(&rows);
}

static bool listeners_compute(struct graph *g, struct graph_cell *cell)
{
    struct listeners_cell *c = (struct listeners_cell *)cell;
    struct arena a = {0};
    struct listeners_job j = {.b = build_of(g), .cell = c, .a = &a};
    j.services = scope_services(j.b, c->scope, NULL);
    listeners_wild(&j);
    struct unit_out all = {0};
    const struct xds_list *vips = list_get(j.b, LIST_LISTENERS, c->scope, NULL);
    for (size_t i = 0; i < vips->n; i++)
        *vec_push(&all) = vips->items[i];
    for (size_t i = 0; i < j.out.n; i++)
        *vec_push(&all) = j.out.p[i];
    bool changed = list_set(&c->state, &all);
    for (size_t i = 0; i < j.out.n; i++)
        xds_resource_unref(j.out.p[i]);
    vec_fini(&j.out);
    arena_fini(&a);
    return changed;
}

static void listeners_fini(struct graph_cell *cell)
{
    list_state_fini(&((struct listeners_cell *)cell)->state);
}

static const struct graph_cell_kind listeners_kind = {"listeners", sizeof(struct listeners_cell),
                                                      listeners_compute, listeners_fini};

struct xds_list *listeners_get(struct build *b, struct scope *s, enum proxy_capture capture)
{
    if (capture == CAPTURE_NONE)
        return NULL;
    bool is_new;
    struct graph_cell *cell =
        graph_cell(&b->graph, &listeners_kind, slice_mem(&s->id, sizeof(s->id)), &is_new);
    if (is_new)
        ((struct listeners_cell *)cell)->scope = s;
    graph_get(&b->graph, cell);
    return ((struct listeners_cell *)cell)->state.list;
}

/* Proxyless gRPC: one API listener for each name under which a client may dial. */

static void grpc_listener(struct build *b, struct unit_cell *u, struct unit_out *out,
                          struct arena *a, struct slice name, uint32_t port,
                          const struct sources *sources)
{
    HCM(HttpConnectionManager) *h = NEW_HCM(a, http_connection_manager);
    h->stat_prefix = pb_str(a, name);
    h->route_specifier_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_RDS;
    h->rds = NEW_HCM(a, rds);
    h->rds->config_source = pbx_ads_no_timeout(a);
    h->rds->route_config_name =
        pb_str(a, cluster_name(a, S("outbound"), port, (struct slice){0}, u->host));
    ProtobufCMessage *fault = PB_NEW(a, envoy__extensions__filters__http__fault__v3__httpfault);
    ProtobufCMessage *router = PB_NEW(a, envoy__extensions__filters__http__router__v3__router);
    PB_PUSH(a, h, http_filters, pbx_http_filter(a, "envoy.filters.http.fault", fault));
    PB_PUSH(a, h, http_filters, pbx_http_filter(a, "envoy.filters.http.router", router));
    LISTENER(Listener) *l = NEW_LISTENER(a, listener);
    l->name = pb_str(a, name);
    l->api_listener = NEW_LISTENER(a, api_listener);
    l->api_listener->api_listener = any_new(a, &h->base);
    unit_add(b, u, out, XDS_LDS, name, &l->base, sources, (struct slice){0});
}

bool unit_grpc_listeners_compute(struct graph *g, struct graph_cell *cell)
{
    struct build *b = build_of(g);
    struct unit_cell *u = (struct unit_cell *)cell;
    struct arena a = {0};
    struct unit_out out = {0};
    struct sources sources = {0};
    const struct model_service *s = unit_service(b, u);
    sources_add(&sources, u->service);
    for (size_t i = 0; s && i < s->port_count; i++) {
        ROUTE(VirtualHost) *names = NEW_ROUTE(&a, virtual_host);
        host_domains(&a, u->host, u->scope->ns, s->ports[i].number, names);
        for (size_t k = 0; k < names->n_domains && s->ports[i].protocol != PROTOCOL_UDP; k++)
            grpc_listener(b, u, &out, &a, pb_slice(names->domains[k]), s->ports[i].number,
                          &sources);
    }
    vec_fini(&sources);
    arena_fini(&a);
    return unit_end(u, &out);
}
