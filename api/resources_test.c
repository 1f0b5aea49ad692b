/* How to build one resource of each kind, and what it is in JSON. If this fails, the example that
 * api/proto/README.md points to does not build what it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/any_types.h"
#include "api/proto/cluster.pb-c.h"
#include "api/proto/endpoint.pb-c.h"
#include "api/proto/hcm.pb-c.h"
#include "api/proto/listener.pb-c.h"
#include "api/proto/route.pb-c.h"
#include "api/proto/router.pb-c.h"
#include "api/wkt.h"
#include "base/wire/pb_json.h"

static Envoy__Config__Core__V3__Address *socket_address(struct arena *a, struct slice ip,
                                                        uint32_t port)
{
    Envoy__Config__Core__V3__SocketAddress *sa = PB_NEW(a, envoy__config__core__v3__socket_address);
    sa->address = pb_str(a, ip);
    sa->port_specifier_case = ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PORT_SPECIFIER_PORT_VALUE;
    sa->port_value = port;
    Envoy__Config__Core__V3__Address *address = PB_NEW(a, envoy__config__core__v3__address);
    address->address_case = ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS;
    address->socket_address = sa;
    return address;
}

/* "From where you got this": the same stream. */
static Envoy__Config__Core__V3__ConfigSource *ads(struct arena *a)
{
    Envoy__Config__Core__V3__ConfigSource *source =
        PB_NEW(a, envoy__config__core__v3__config_source);
    source->resource_api_version = ENVOY__CONFIG__CORE__V3__API_VERSION__V3;
    source->config_source_specifier_case =
        ENVOY__CONFIG__CORE__V3__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_ADS;
    source->ads = PB_NEW(a, envoy__config__core__v3__aggregated_config_source);
    return source;
}

static Google__Protobuf__Any *http_connection_manager(struct arena *a)
{
    Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager *hcm =
        PB_NEW(
            a,
            envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager);
    hcm->stat_prefix = pb_str(a, S("outbound_0.0.0.0_80"));
    hcm->route_specifier_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_CONNECTION_MANAGER__ROUTE_SPECIFIER_RDS;
    hcm->rds = PB_NEW(a, envoy__extensions__filters__network__http_connection_manager__v3__rds);
    hcm->rds->config_source = ads(a);
    hcm->rds->route_config_name = pb_str(a, S("80"));
    Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpFilter *filter =
        PB_NEW(a, envoy__extensions__filters__network__http_connection_manager__v3__http_filter);
    Envoy__Extensions__Filters__Http__Router__V3__Router *router =
        PB_NEW(a, envoy__extensions__filters__http__router__v3__router);
    filter->name = pb_str(a, S("envoy.filters.http.router"));
    filter->config_type_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_FILTER__CONFIG_TYPE_TYPED_CONFIG;
    filter->typed_config = any_new(a, &router->base);
    PB_PUSH(a, hcm, http_filters, filter);
    return any_new(a, &hcm->base);
}

static const ProtobufCMessage *listener(struct arena *a)
{
    Envoy__Config__Listener__V3__Filter *filter = PB_NEW(a, envoy__config__listener__v3__filter);
    filter->name = pb_str(a, S("envoy.filters.network.http_connection_manager"));
    filter->config_type_case = ENVOY__CONFIG__LISTENER__V3__FILTER__CONFIG_TYPE_TYPED_CONFIG;
    filter->typed_config = http_connection_manager(a);
    Envoy__Config__Listener__V3__FilterChain *chain =
        PB_NEW(a, envoy__config__listener__v3__filter_chain);
    PB_PUSH(a, chain, filters, filter);
    Envoy__Config__Listener__V3__Listener *l = PB_NEW(a, envoy__config__listener__v3__listener);
    l->name = pb_str(a, S("0.0.0.0_80"));
    l->address = socket_address(a, S("0.0.0.0"), 80);
    l->traffic_direction = ENVOY__CONFIG__CORE__V3__TRAFFIC_DIRECTION__OUTBOUND;
    PB_PUSH(a, l, filter_chains, chain);
    return &l->base;
}

static Envoy__Config__Route__V3__Route *route_to(struct arena *a, struct slice cluster)
{
    Envoy__Config__Route__V3__Route *route = PB_NEW(a, envoy__config__route__v3__route);
    route->match = PB_NEW(a, envoy__config__route__v3__route_match);
    route->match->path_specifier_case =
        ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX;
    route->match->prefix = pb_str(a, S("/"));
    route->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
    route->route = PB_NEW(a, envoy__config__route__v3__route_action);
    route->route->cluster_specifier_case =
        ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
    route->route->cluster = pb_str(a, cluster);
    route->route->timeout = wkt_duration(a, 0); /* none, which is not "absent" */
    return route;
}

static const ProtobufCMessage *route_configuration(struct arena *a)
{
    Envoy__Config__Route__V3__VirtualHost *host = PB_NEW(a, envoy__config__route__v3__virtual_host);
    host->name = pb_str(a, S("reviews:80"));
    PB_PUSH(a, host, domains, pb_str(a, S("reviews")));
    PB_PUSH(a, host, domains, pb_str(a, S("reviews:80")));
    PB_PUSH(a, host, routes, route_to(a, S("outbound|80||reviews")));
    Envoy__Config__Route__V3__RouteConfiguration *rc =
        PB_NEW(a, envoy__config__route__v3__route_configuration);
    rc->name = pb_str(a, S("80"));
    rc->validate_clusters = wkt_bool(a, false);
    PB_PUSH(a, rc, virtual_hosts, host);
    return &rc->base;
}

static const ProtobufCMessage *cluster(struct arena *a)
{
    Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds *limits =
        PB_NEW(a, envoy__config__cluster__v3__circuit_breakers__thresholds);
    limits->max_connections = wkt_u32(a, 1024);
    Envoy__Config__Cluster__V3__Cluster *c = PB_NEW(a, envoy__config__cluster__v3__cluster);
    c->name = pb_str(a, S("outbound|80||reviews"));
    c->cluster_discovery_type_case =
        ENVOY__CONFIG__CLUSTER__V3__CLUSTER__CLUSTER_DISCOVERY_TYPE_TYPE;
    c->type = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__DISCOVERY_TYPE__EDS;
    c->eds_cluster_config = PB_NEW(a, envoy__config__cluster__v3__cluster__eds_cluster_config);
    c->eds_cluster_config->eds_config = ads(a);
    c->connect_timeout = wkt_duration(a, 10000);
    c->lb_policy = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_POLICY__LEAST_REQUEST;
    c->circuit_breakers = PB_NEW(a, envoy__config__cluster__v3__circuit_breakers);
    PB_PUSH(a, c->circuit_breakers, thresholds, limits);
    return &c->base;
}

static const ProtobufCMessage *load_assignment(struct arena *a)
{
    Envoy__Config__Endpoint__V3__LbEndpoint *lb =
        PB_NEW(a, envoy__config__endpoint__v3__lb_endpoint);
    lb->host_identifier_case = ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT;
    lb->endpoint = PB_NEW(a, envoy__config__endpoint__v3__endpoint);
    lb->endpoint->address = socket_address(a, S("10.1.0.7"), 9080);
    lb->health_status = ENVOY__CONFIG__CORE__V3__HEALTH_STATUS__HEALTHY;
    Envoy__Config__Endpoint__V3__LocalityLbEndpoints *locality =
        PB_NEW(a, envoy__config__endpoint__v3__locality_lb_endpoints);
    locality->load_balancing_weight = wkt_u32(a, 1);
    PB_PUSH(a, locality, lb_endpoints, lb);
    Envoy__Config__Endpoint__V3__ClusterLoadAssignment *cla =
        PB_NEW(a, envoy__config__endpoint__v3__cluster_load_assignment);
    cla->cluster_name = pb_str(a, S("outbound|80||reviews"));
    PB_PUSH(a, cla, endpoints, locality);
    return &cla->base;
}

#define ADS "{\"ads\":{},\"resourceApiVersion\":\"V3\"}"
#define URL "\"@type\":\"type.googleapis.com/envoy.extensions.filters."

static const struct {
    const ProtobufCMessage *(*build)(struct arena *);
    const char *json;
} resources[] = {
    {listener,
     "{\"name\":\"0.0.0.0_80\",\"address\":{\"socketAddress\":{\"address\":\"0.0.0.0\","
     "\"portValue\":80}},\"filterChains\":[{\"filters\":[{\"name\":"
     "\"envoy.filters.network.http_connection_manager\",\"typedConfig\":{" URL
     "network.http_connection_manager.v3.HttpConnectionManager\",\"statPrefix\":"
     "\"outbound_0.0.0.0_80\",\"rds\":{\"configSource\":" ADS ",\"routeConfigName\":\"80\"},"
     "\"httpFilters\":[{\"name\":\"envoy.filters.http.router\",\"typedConfig\":{" URL
     "http.router.v3.Router\"}}]}}]}],\"trafficDirection\":\"OUTBOUND\"}"},
    {route_configuration,
     "{\"name\":\"80\",\"virtualHosts\":[{\"name\":\"reviews:80\",\"domains\":[\"reviews\","
     "\"reviews:80\"],\"routes\":[{\"match\":{\"prefix\":\"/\"},\"route\":{\"cluster\":"
     "\"outbound|80||reviews\",\"timeout\":\"0s\"}}]}],\"validateClusters\":false}"},
    {cluster, "{\"name\":\"outbound|80||reviews\",\"type\":\"EDS\",\"edsClusterConfig\":"
              "{\"edsConfig\":" ADS "},\"connectTimeout\":\"10s\",\"lbPolicy\":\"LEAST_REQUEST\","
              "\"circuitBreakers\":{\"thresholds\":[{\"maxConnections\":1024}]}}"},
    {load_assignment,
     "{\"clusterName\":\"outbound|80||reviews\",\"endpoints\":[{\"lbEndpoints\":[{\"endpoint\":"
     "{\"address\":{\"socketAddress\":{\"address\":\"10.1.0.7\",\"portValue\":9080}}},"
     "\"healthStatus\":\"HEALTHY\"}],\"loadBalancingWeight\":1}]}"},
};

static void test_resources(void **state)
{
    (void)state;
    const struct pb_json_options o = {.types = &any_types};
    for (size_t i = 0; i < ARRAY_LEN(resources); i++) {
        struct arena arena = {0};
        struct buf out = {0};
        struct err err = {0};
        const ProtobufCMessage *built = resources[i].build(&arena);
        const ProtobufCMessage *msg =
            pb_unpack(built->descriptor, pb_pack_arena(built, &arena), &arena, &err);
        assert_non_null(msg);
        assert_true(pb_json_print(msg, &o, &out, &err));
        if (!slice_eq(buf_slice(&out), slice_of(resources[i].json)))
            fail_msg("%.*s\n   is not %s", SLICE(buf_slice(&out)), resources[i].json);
        buf_fini(&out);
        arena_fini(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_resources)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
