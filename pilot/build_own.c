/* What only one class of proxies has: inbound listeners and clusters, which follow from what runs
 * at its address, and outbound listeners that it binds itself (NONE), or the two that catch
 * redirected traffic.
 */
#include "pilot/build_internal.h"

#include <stdlib.h>
#include <string.h>

#include "api/proto/original_dst.pb-c.h"

#define PORT_OUTBOUND 15001
#define PORT_INBOUND 15006

static struct xds_resource *own_find(const struct own_cell *o, enum xds_type type,
                                     struct slice name)
{
    for (size_t i = 0; i < o->n[type]; i++)
        if (slice_eq(o->resources[type][i]->name, name))
            return o->resources[type][i];
    return NULL;
}

void own_add_sources(struct own_job *j, enum xds_type type, struct slice name,
                     const ProtobufCMessage *msg, const struct sources *sources)
{
    struct unit_out *out = &j->types[type];
    for (size_t i = 0; i < out->n; i++)
        if (slice_eq(out->p[i]->name, name))
            return;
    *vec_push(out) = build_resource(j->b, own_find(j->own, type, name), type, name, msg, sources,
                                    (struct slice){0});
}

/* Made by one object (empty: none) and the Sidecar. */
static void own_add(struct own_job *j, enum xds_type type, struct slice name,
                    const ProtobufCMessage *msg, struct slice source)
{
    struct slice p[2];
    struct sources s = {.p = p, .cap = 2};
    if (source.n)
        p[s.n++] = source;
    if (j->own->scope->sidecar.n)
        p[s.n++] = j->own->scope->sidecar;
    own_add_sources(j, type, name, msg, &s);
}

static void add_listener(struct own_job *j, const LISTENER(Listener) *l, struct slice source)
{
    own_add(j, XDS_LDS, pb_slice(l->name), &l->base, source);
}

static bool blocks(const struct own_job *j)
{
    struct slice mode = jr_str(jr_get(j->sidecar, "outboundTrafficPolicy"), "mode");
    return slice_eq(mode, S("REGISTRY_ONLY"));
}

/* Clusters to the workload itself. */

/* Captured traffic goes on to where it was going; from 127.0.0.6, which capture leaves alone. */
static void cluster_original(struct own_job *j, struct slice name, enum model_protocol protocol,
                             struct slice source)
{
    struct arena *a = j->a;
    CLUSTER(Cluster) *c = build_cluster_new(a, name);
    c->cluster_discovery_type_case =
        ENVOY__CONFIG__CLUSTER__V3__CLUSTER__CLUSTER_DISCOVERY_TYPE_TYPE;
    c->type = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__ORIGINAL_DST;
    c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__CLUSTER_PROVIDED;
    c->upstream_bind_config = NEW_CORE(a, bind_config);
    c->upstream_bind_config->source_address = pbx_address(a, S("127.0.0.6"), 0)->socket_address;
    cluster_protocol(a, c, protocol, NULL);
    own_add(j, XDS_CDS, name, &c->base, source);
}

static void endpoint_set(struct own_job *j, CLUSTER(Cluster) *c, CORE(Address) *address)
{
    struct arena *a = j->a;
    ENDPOINT(LbEndpoint) *e = NEW_ENDPOINT(a, lb_endpoint);
    e->host_identifier_case = ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT;
    e->endpoint = NEW_ENDPOINT(a, endpoint);
    e->endpoint->address = address;
    ENDPOINT(LocalityLbEndpoints) *group = NEW_ENDPOINT(a, locality_lb_endpoints);
    PB_PUSH(a, group, lb_endpoints, e);
    c->load_assignment = NEW_ENDPOINT(a, cluster_load_assignment);
    c->load_assignment->cluster_name = c->name;
    PB_PUSH(a, c->load_assignment, endpoints, group);
}

static void cluster_static(struct own_job *j, struct slice name, CORE(Address) *address,
                           enum model_protocol protocol, struct slice source)
{
    CLUSTER(Cluster) *c = build_cluster_new(j->a, name);
    c->cluster_discovery_type_case =
        ENVOY__CONFIG__CLUSTER__V3__CLUSTER__CLUSTER_DISCOVERY_TYPE_TYPE;
    c->type = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__STATIC;
    endpoint_set(j, c, address);
    cluster_protocol(j->a, c, protocol, NULL);
    own_add(j, XDS_CDS, name, &c->base, source);
}

static struct slice inbound_name(struct own_job *j, uint32_t port)
{
    return cluster_name(j->a, S("inbound"), port, (struct slice){0}, (struct slice){0});
}

/* Inbound. */

struct inbound {
    uint32_t port; /* of the listener, or the original destination */
    enum model_protocol protocol;
    struct slice source;
};

static ROUTE(RouteConfiguration) *inbound_routes(struct arena *a, struct slice cluster,
                                                 uint32_t port)
{
    ROUTE(RouteConfiguration) *rc = NEW_ROUTE(a, route_configuration);
    ROUTE(VirtualHost) *v = NEW_ROUTE(a, virtual_host);
    ROUTE(Route) *r = NEW_ROUTE(a, route);
    rc->name = pb_str(a, cluster);
    rc->validate_clusters = wkt_bool(a, false);
    v->name = pbx_printf(a, "inbound|http|%u", port);
    r->name = pb_str(a, S("default"));
    r->match = NEW_ROUTE(a, route_match);
    r->match->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX;
    r->match->prefix = pb_str(a, S("/"));
    r->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
    r->route = NEW_ROUTE(a, route_action);
    r->route->cluster_specifier_case =
        ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
    r->route->cluster = pb_str(a, cluster);
    r->route->timeout = wkt_duration(a, 0);
    r->route->max_stream_duration = NEW_ROUTE(a, route_action__max_stream_duration);
    r->route->max_stream_duration->grpc_timeout_header_max = wkt_duration(a, 0);
    PB_PUSH(a, v, domains, pb_str(a, S("*")));
    PB_PUSH(a, v, routes, r);
    PB_PUSH(a, rc, virtual_hosts, v);
    return rc;
}

static LISTENER(FilterChain) *inbound_http(struct own_job *j, const struct inbound *in)
{
    struct slice cluster = inbound_name(j, in->port);
    struct slice stat = arena_printf(j->a, "inbound_0.0.0.0_%u", in->port);
    return chain_http(
        j->a, hcm_new(j->a, stat, (struct slice){0}, inbound_routes(j->a, cluster, in->port)));
}

static LISTENER(FilterChain) *inbound_tcp(struct own_job *j, const struct inbound *in)
{
    struct slice cluster = inbound_name(j, in->port);
    return chain_tcp(j->a, cluster, cluster);
}

static void set_destination_port(struct own_job *j, LISTENER(FilterChain) *c, uint32_t port)
{
    if (port)
        chain_match(j->a, c)->destination_port = wkt_u32(j->a, port);
}

/* The chains for one port; match_port: of a listener that serves several. */
static void inbound_chains(struct own_job *j, LISTENER(Listener) *l, const struct inbound *in,
                           uint32_t match_port)
{
    bool sniff = in->protocol == PROTOCOL_AUTO;
    struct slice name = arena_printf(j->a, "0.0.0.0_%u", in->port);
    if (sniff || model_protocol_http(in->protocol)) {
        LISTENER(FilterChain) *c = inbound_http(j, in);
        c->name = pb_str(j->a, name);
        set_destination_port(j, c, match_port);
        if (sniff)
            chain_match_http(j->a, c);
        PB_PUSH(j->a, l, filter_chains, c);
    }
    if (sniff || !model_protocol_http(in->protocol)) {
        LISTENER(FilterChain) *c = inbound_tcp(j, in);
        c->name = sniff ? pbx_printf(j->a, "%.*s_tcp", SLICE(name)) : pb_str(j->a, name);
        set_destination_port(j, c, match_port);
        PB_PUSH(j->a, l, filter_chains, c);
    }
}

struct inbounds {
    struct inbound *p;
    size_t n, cap;
};

/* Oldest service first; one a target port (istio.md §1.4: the oldest wins). */
static void inbounds_collect(struct own_job *j, struct inbounds *out)
{
    struct model_instances all = {0};
    model_instances(&j->b->model, j->own->in->address, j->a, &all);
    for (size_t i = 0; i < all.n; i++) {
        bool seen = all.p[i].port->protocol == PROTOCOL_UDP;
        for (size_t k = 0; k < out->n && !seen; k++)
            seen = out->p[k].port == all.p[i].target;
        if (!seen)
            *vec_push(out) = (struct inbound){all.p[i].target, all.p[i].port->protocol,
                                              arena_dup(j->a, all.p[i].service->object->key)};
    }
    vec_fini(&all);
}

static bool any_sniffed(const struct inbounds *in)
{
    for (size_t i = 0; i < in->n; i++)
        if (in->p[i].protocol == PROTOCOL_AUTO)
            return true;
    return false;
}

/* Sidecar's ingress. */

/* "127.0.0.1:8080", ":8080", "0.0.0.0:8080" (the workload's own address), "unix:///path". */
static CORE(Address) *ingress_target(struct own_job *j, struct slice text)
{
    struct slice host, port_text;
    uint32_t port;
    if (slice_starts(text, S("unix://"))) {
        CORE(Address) *out = NEW_CORE(j->a, address);
        out->address_case = ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_PIPE;
        out->pipe = NEW_CORE(j->a, pipe);
        out->pipe->path = pb_str(j->a, slice_skip(text, 7));
        return out;
    }
    if (!slice_cut_last(text, ':', &host, &port_text) || !slice_u32(port_text, &port))
        return NULL;
    if (slice_eq(host, S("0.0.0.0")) || slice_eq(host, S("[::]")))
        host = j->own->in->address;
    return pbx_address(j->a, host.n ? host : S("127.0.0.1"), port);
}

static void ingress_listener(struct own_job *j, const json_t *ingress)
{
    const json_t *port = jr_get(ingress, "port");
    struct slice bind = jr_str(ingress, "bind"), target = jr_str(ingress, "defaultEndpoint");
    struct inbound in = {.port = jr_u32(port, "number", 0),
                         .protocol =
                             model_protocol_of(jr_str(port, "protocol"), jr_str(port, "name"),
                                               jr_u32(port, "number", 0))};
    CORE(Address) *address =
        target.n ? ingress_target(j, target) : pbx_address(j->a, S("127.0.0.1"), in.port);
    bind = bind.n ? bind : j->own->in->address;
    if (!in.port || in.port > 65535 || !address || !bind.n)
        return;
    struct slice name = arena_printf(j->a, "%.*s_%u", SLICE(bind), in.port);
    LISTENER(Listener) *l = build_listener_new(j->a, name, bind, in.port, false);
    inbound_chains(j, l, &in, 0);
    if (in.protocol == PROTOCOL_AUTO)
        listener_inspect(j->a, l, false, true);
    add_listener(j, l, in.source);
    cluster_static(j, inbound_name(j, in.port), address, in.protocol, in.source);
}

/* NONE: listeners that bind. */

static void none_inbound(struct own_job *j)
{
    const json_t *ingress = jr_get(j->sidecar, "ingress");
    struct inbounds in = {0};
    JR_EACH (ingress, i, v) {
        ingress_listener(j, v);
    }
    if (jr_len(ingress))
        return;
    inbounds_collect(j, &in);
    for (size_t i = 0; i < in.n; i++) {
        struct slice ip = j->own->in->address;
        struct slice name = arena_printf(j->a, "%.*s_%u", SLICE(ip), in.p[i].port);
        LISTENER(Listener) *l = build_listener_new(j->a, name, ip, in.p[i].port, false);
        inbound_chains(j, l, &in.p[i], 0);
        if (in.p[i].protocol == PROTOCOL_AUTO)
            listener_inspect(j->a, l, false, true);
        add_listener(j, l, in.p[i].source);
        cluster_static(j, inbound_name(j, in.p[i].port),
                       pbx_address(j->a, S("127.0.0.1"), in.p[i].port), in.p[i].protocol,
                       in.p[i].source);
    }
    vec_fini(&in);
}

static void listen_http(struct own_job *j, struct slice bind, uint32_t port, struct slice table)
{
    struct slice name = arena_printf(j->a, "%.*s_%u", SLICE(bind), port);
    LISTENER(Listener) *l = build_listener_new(j->a, name, bind, port, true);
    struct slice stat = arena_printf(j->a, "outbound_%.*s", SLICE(name));
    PB_PUSH(j->a, l, filter_chains, chain_http(j->a, hcm_new(j->a, stat, table, NULL)));
    add_listener(j, l, (struct slice){0});
}

/* The first service, by host, that has the port and that the listener lets in. */
static void listen_tcp(struct own_job *j, struct slice bind, uint32_t port, const json_t *egress)
{
    struct scope_services all = scope_services(j->b, j->own->scope, NULL);
    struct sources sources = {0};
    struct slice name = arena_printf(j->a, "%.*s_%u", SLICE(bind), port);
    for (size_t i = 0; i < all.n; i++) {
        const struct scope_service *s = &all.p[i];
        bool has = false;
        for (size_t k = 0; k < s->port_count; k++)
            has = has || (s->ports[k].number == port && s->ports[k].protocol != PROTOCOL_UDP);
        if (!has || !egress_imports(egress, j->own->scope->ns, s->ns, s->host))
            continue;
        LISTENER(Listener) *l = build_listener_new(j->a, name, bind, port, true);
        PB_PUSH(j->a, l, filter_chains,
                chain_service(j->b, j->own->scope, s->host, port, false, j->a, &sources));
        add_listener(j, l, arena_dup(j->a, s->key));
        break;
    }
    vec_fini(&sources);
}

/* Where a listener of the workload binds unless told: its own address if that is a loopback one
 * (several workloads on a machine), else 127.0.0.1 (Istio). */
static struct slice default_bind(const struct own_job *j)
{
    return slice_starts(j->own->in->address, S("127.")) ? j->own->in->address : S("127.0.0.1");
}

static bool egress_listener(struct own_job *j, const json_t *egress)
{
    const json_t *port = jr_get(egress, "port");
    struct slice protocol = jr_str(port, "protocol"), bind = jr_str(egress, "bind");
    uint32_t number = jr_u32(port, "number", 0);
    bind = bind.n ? bind : default_bind(j);
    if (number == 0 || number > 65535)
        return false;
    if (slice_eq_nocase(protocol, S("HTTP_PROXY")))
        listen_http(j, bind, number, S("http_proxy"));
    else if (model_protocol_http(model_protocol_of(protocol, (struct slice){0}, 0)))
        listen_http(j, bind, number, arena_printf(j->a, "%u", number));
    else
        listen_tcp(j, bind, number, egress);
    return true;
}

static void none_outbound(struct own_job *j)
{
    bool any = false;
    JR_EACH (jr_get(j->sidecar, "egress"), i, v) {
        any = egress_listener(j, v) || any;
    }
    if (!any && j->own->in->address.n)
        listen_http(j, j->own->in->address, PORT_OUTBOUND, S("http_proxy"));
}

/* REDIRECT: the two listeners that capture leads to. */

/* Somebody who dials the capture port itself would go round in circles. */
static LISTENER(FilterChain) *chain_hole(struct own_job *j, const char *name, uint32_t port)
{
    LISTENER(FilterChain) *c = chain_tcp(j->a, S("BlackHoleCluster"), S("BlackHoleCluster"));
    c->name = pb_str(j->a, slice_of(name));
    set_destination_port(j, c, port);
    return c;
}

static void redirect_outbound(struct own_job *j)
{
    struct slice to = blocks(j) ? S("BlackHoleCluster") : S("PassthroughCluster");
    LISTENER(Listener) *l =
        build_listener_new(j->a, S("virtualOutbound"), S("0.0.0.0"), PORT_OUTBOUND, true);
    LISTENER(FilterChain) *rest = chain_tcp(j->a, to, to);
    rest->name = pb_str(j->a, S("virtualOutbound-catchall-tcp"));
    PB_PUSH(j->a, l, filter_chains, chain_hole(j, "virtualOutbound-blackhole", PORT_OUTBOUND));
    PB_PUSH(j->a, l, filter_chains, rest);
    l->use_original_dst = wkt_bool(j->a, true);
    add_listener(j, l, (struct slice){0});
}

static void ingress_inbounds(struct own_job *j, const json_t *ingress, struct inbounds *out)
{
    JR_EACH (ingress, i, v) {
        const json_t *port = jr_get(v, "port");
        uint32_t number = jr_u32(port, "number", 0);
        CORE(Address) *target = ingress_target(j, jr_str(v, "defaultEndpoint"));
        if (number == 0 || number > 65535)
            continue;
        struct inbound in = {
            .port = number,
            .protocol = model_protocol_of(jr_str(port, "protocol"), jr_str(port, "name"), number)};
        *vec_push(out) = in;
        if (target)
            cluster_static(j, inbound_name(j, number), target, in.protocol, in.source);
    }
}

static void redirect_inbound(struct own_job *j)
{
    const json_t *ingress = jr_get(j->sidecar, "ingress");
    struct inbounds in = {0};
    LISTENER(Listener) *l =
        build_listener_new(j->a, S("virtualInbound"), S("0.0.0.0"), PORT_INBOUND, false);
    ProtobufCMessage *dst =
        PB_NEW(j->a, envoy__extensions__filters__listener__original_dst__v3__original_dst);
    PB_PUSH(j->a, l, listener_filters,
            pbx_listener_filter(j->a, "envoy.filters.listener.original_dst", dst));
    PB_PUSH(j->a, l, filter_chains, chain_hole(j, "virtualInbound-blackhole", PORT_INBOUND));
    cluster_original(j, S("InboundPassthroughCluster"), PROTOCOL_AUTO, (struct slice){0});
    if (jr_len(ingress))
        ingress_inbounds(j, ingress, &in);
    else
        inbounds_collect(j, &in);
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i].port == PORT_INBOUND)
            continue;
        inbound_chains(j, l, &in.p[i], in.p[i].port);
        cluster_original(j, inbound_name(j, in.p[i].port), in.p[i].protocol, in.p[i].source);
    }
    if (any_sniffed(&in))
        listener_inspect(j->a, l, false, true);
    l->default_filter_chain =
        chain_tcp(j->a, S("InboundPassthroughCluster"), S("InboundPassthroughCluster"));
    l->default_filter_chain->name = pb_str(j->a, S("virtualInbound"));
    add_listener(j, l, (struct slice){0});
    vec_fini(&in);
}

/* The cell. */

static bool own_end(struct own_job *j)
{
    bool changed = false;
    for (size_t i = 0; i < XDS_TYPE_COUNT; i++)
        changed = resources_take(&j->types[i], &j->own->resources[i], &j->own->n[i]) || changed;
    return changed;
}

static bool own_compute(struct graph *g, struct graph_cell *cell)
{
    struct arena a = {0};
    struct own_job j = {.b = build_of(g), .own = (struct own_cell *)cell, .a = &a};
    const struct proxy_class_input *in = j.own->in;
    j.sidecar = scope_sidecar(j.b, j.own->scope);
    if (in->dialect == DIALECT_GRPC) {
        /* all of it is shared */
    } else if (in->type == PROXY_ROUTER) {
        own_gateway(&j);
    } else if (in->capture == CAPTURE_NONE) {
        none_outbound(&j);
        none_inbound(&j);
    } else {
        redirect_outbound(&j);
        redirect_inbound(&j);
    }
    arena_fini(&a);
    return own_end(&j);
}

static void own_fini(struct graph_cell *cell)
{
    struct own_cell *c = (struct own_cell *)cell;
    for (size_t i = 0; i < XDS_TYPE_COUNT; i++) {
        for (size_t k = 0; k < c->n[i]; k++)
            xds_resource_unref(c->resources[i][k]);
        mem_free(c->resources[i]);
    }
}

const struct graph_cell_kind own_kind = {"own", sizeof(struct own_cell), own_compute, own_fini};
