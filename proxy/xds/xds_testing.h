/* Resources and responses as a control plane sends them, for the tests of the xDS client.
 *
 *   struct slice body = body_cluster(&arena, "c1", false);
 *   response(&arena, XDS_CDS, "n1", &(struct res){"c1", "1.a", body}, 1, NULL)
 */
#ifndef WEFT_PROXY_XDS_XDS_TESTING_H
#define WEFT_PROXY_XDS_XDS_TESTING_H

#include "api/any_types.h"
#include "api/proto/cluster.pb-c.h"
#include "api/proto/discovery.pb-c.h"
#include "api/proto/endpoint.pb-c.h"
#include "api/proto/hcm.pb-c.h"
#include "api/proto/listener.pb-c.h"
#include "api/proto/route.pb-c.h"
#include "api/proto/router.pb-c.h"
#include "api/xds_types.h"
#include "google/protobuf/duration.pb-c.h"
#include "proxy/conf.h"

#define RESP Envoy__Service__Discovery__V3__DeltaDiscoveryResponse
#define REQ Envoy__Service__Discovery__V3__DeltaDiscoveryRequest

/* Resources. */

static inline struct slice body_cluster(struct arena *a, const char *name, bool bad)
{
    Envoy__Config__Cluster__V3__Cluster *c = PB_NEW(a, envoy__config__cluster__v3__cluster);
    c->name = pb_str(a, slice_of(name));
    c->cluster_discovery_type_case =
        ENVOY__CONFIG__CLUSTER__V3__CLUSTER__CLUSTER_DISCOVERY_TYPE_TYPE;
    c->type = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__EDS;
    c->connect_timeout = PB_NEW(a, google__protobuf__duration);
    c->connect_timeout->seconds = bad ? 0 : 1;
    return pb_pack_arena(&c->base, a);
}

static inline Envoy__Config__Core__V3__Address *address(struct arena *a, const char *ip,
                                                        unsigned port)
{
    Envoy__Config__Core__V3__Address *addr = PB_NEW(a, envoy__config__core__v3__address);
    addr->address_case = ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS;
    addr->socket_address = PB_NEW(a, envoy__config__core__v3__socket_address);
    addr->socket_address->address = pb_str(a, slice_of(ip));
    addr->socket_address->port_specifier_case =
        ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PORT_SPECIFIER_PORT_VALUE;
    addr->socket_address->port_value = port;
    return addr;
}

static inline struct slice body_endpoints(struct arena *a, const char *name, unsigned port)
{
    Envoy__Config__Endpoint__V3__ClusterLoadAssignment *cla =
        PB_NEW(a, envoy__config__endpoint__v3__cluster_load_assignment);
    cla->cluster_name = pb_str(a, slice_of(name));
    Envoy__Config__Endpoint__V3__LocalityLbEndpoints *group =
        PB_NEW(a, envoy__config__endpoint__v3__locality_lb_endpoints);
    Envoy__Config__Endpoint__V3__LbEndpoint *e =
        PB_NEW(a, envoy__config__endpoint__v3__lb_endpoint);
    e->host_identifier_case = ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT;
    e->endpoint = PB_NEW(a, envoy__config__endpoint__v3__endpoint);
    e->endpoint->address = address(a, "127.0.0.1", port);
    PB_PUSH(a, group, lb_endpoints, e);
    PB_PUSH(a, cla, endpoints, group);
    return pb_pack_arena(&cla->base, a);
}

static inline struct slice body_listener_at(struct arena *a, const char *name, const char *route,
                                            const char *ip, unsigned port)
{
    Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager *hcm =
        PB_NEW(
            a,
            envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager);
    Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpFilter *filter =
        PB_NEW(a, envoy__extensions__filters__network__http_connection_manager__v3__http_filter);
    Envoy__Extensions__Filters__Http__Router__V3__Router *router =
        PB_NEW(a, envoy__extensions__filters__http__router__v3__router);
    Envoy__Config__Listener__V3__Listener *l = PB_NEW(a, envoy__config__listener__v3__listener);
    Envoy__Config__Listener__V3__FilterChain *chain =
        PB_NEW(a, envoy__config__listener__v3__filter_chain);
    Envoy__Config__Listener__V3__Filter *net = PB_NEW(a, envoy__config__listener__v3__filter);
    filter->name = pb_str(a, S("envoy.filters.http.router"));
    filter->config_type_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_FILTER__CONFIG_TYPE_TYPED_CONFIG;
    filter->typed_config = any_new(a, &router->base);
    hcm->stat_prefix = pb_str(a, S("test"));
    hcm->route_specifier_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_RDS;
    hcm->rds = PB_NEW(a, envoy__extensions__filters__network__http_connection_manager__v3__rds);
    hcm->rds->route_config_name = pb_str(a, slice_of(route));
    PB_PUSH(a, hcm, http_filters, filter);
    net->name = pb_str(a, S("envoy.filters.network.http_connection_manager"));
    net->config_type_case = ENVOY__CONFIG__LISTENER__V3__FILTER__CONFIG_TYPE_TYPED_CONFIG;
    net->typed_config = any_new(a, &hcm->base);
    PB_PUSH(a, chain, filters, net);
    l->name = pb_str(a, slice_of(name));
    l->address = address(a, ip, port);
    PB_PUSH(a, l, filter_chains, chain);
    return pb_pack_arena(&l->base, a);
}

static inline struct slice body_listener(struct arena *a, const char *name, const char *route)
{
    return body_listener_at(a, name, route, "127.0.0.1", 8080);
}

static inline Envoy__Config__Route__V3__VirtualHost *vhost(struct arena *a, const char *name,
                                                           const char *domain, const char *cluster)
{
    Envoy__Config__Route__V3__VirtualHost *v = PB_NEW(a, envoy__config__route__v3__virtual_host);
    Envoy__Config__Route__V3__Route *r = PB_NEW(a, envoy__config__route__v3__route);
    v->name = pb_str(a, slice_of(name));
    PB_PUSH(a, v, domains, pb_str(a, slice_of(domain)));
    r->match = PB_NEW(a, envoy__config__route__v3__route_match);
    r->match->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX;
    r->match->prefix = pb_str(a, S("/"));
    r->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
    r->route = PB_NEW(a, envoy__config__route__v3__route_action);
    r->route->cluster_specifier_case =
        ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
    r->route->cluster = pb_str(a, slice_of(cluster));
    PB_PUSH(a, v, routes, r);
    return v;
}

static inline struct slice body_routes(struct arena *a, const char *name, bool vhds)
{
    Envoy__Config__Route__V3__RouteConfiguration *rc =
        PB_NEW(a, envoy__config__route__v3__route_configuration);
    rc->name = pb_str(a, slice_of(name));
    if (vhds)
        rc->vhds = PB_NEW(a, envoy__config__route__v3__vhds);
    else
        PB_PUSH(a, rc, virtual_hosts, vhost(a, "all", "*", "c1"));
    return pb_pack_arena(&rc->base, a);
}

/* What the workers say of "l1: in use": that l1 is not open; of "": nothing. */
static inline struct bind_failures failing(const char *text)
{
    struct bind_failures f = {0};
    struct slice name, rest;
    struct err why = {0};
    if (slice_cut(slice_of(text), ':', &name, &rest)) {
        err_set(&why, ERR_EXISTS, "%s", text);
        bind_failures_add(&f, name, &why);
    }
    return f;
}

/* A server's responses. */

struct res {
    const char *name, *version;
    struct slice body;
};

static inline struct slice response(struct arena *a, enum xds_type type, const char *nonce,
                                    const struct res *rs, size_t n, const char *removed)
{
    RESP *r = PB_NEW(a, envoy__service__discovery__v3__delta_discovery_response);
    r->type_url = pb_str(a, xds_types[type].url);
    r->nonce = pb_str(a, slice_of(nonce));
    for (size_t i = 0; i < n; i++) {
        Envoy__Service__Discovery__V3__Resource *res =
            PB_NEW(a, envoy__service__discovery__v3__resource);
        res->name = pb_str(a, slice_of(rs[i].name));
        res->version = pb_str(a, slice_of(rs[i].version));
        res->resource = any_of_bytes(a, xds_types[type].url, rs[i].body);
        PB_PUSH(a, r, resources, res);
    }
    if (removed)
        PB_PUSH(a, r, removed_resources, pb_str(a, slice_of(removed)));
    return pb_pack_arena(&r->base, a);
}

#endif
