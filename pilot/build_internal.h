/* Between the files of the compiler's core (pilot/build*.c). */
#ifndef WEFT_PILOT_BUILD_INTERNAL_H
#define WEFT_PILOT_BUILD_INTERNAL_H

#include "base/core/assert.h"
#include "pilot/build.h"
#include "pilot/pbx.h"

static inline struct build *build_of(struct graph *g)
{
    return container_of(g, struct build, graph);
}

/* Scopes (build_scope.c) */

/* Proxyless gRPC takes other forms of all resources. */
enum flavor { FLAVOR_MESH, FLAVOR_GRPC };

struct scope {
    unsigned refs;
    uint64_t id; /* of this process: in cells' keys, never in bytes */
    enum flavor flavor;
    struct slice key, ns;
    struct slice sidecar; /* key of the Sidecar object; empty: none */
    struct model_locality locality;
    size_t selector_count;
    const struct slice *selectors; /* canonical texts that match, sorted */
    struct arena arena;
};

/* The scope of a class; records what it depends on. One reference. */
struct scope *scope_of_class(struct build *b, const struct proxy_class_input *in);
void scope_unref(struct build *b, struct scope *s);
/* Does the calling workload match? An empty selector does. */
bool scope_selects(const struct scope *s, const json_t *labels, struct arena *a);

struct scope_port {
    uint32_t number;
    enum model_protocol protocol;
};

/* A service that a scope sees. */
struct scope_service {
    struct slice host, ns, key;
    enum model_resolution resolution;
    bool headless;
    size_t port_count, address_count;
    const struct scope_port *ports;
    const struct slice *addresses; /* single IPs only */
};

struct scope_services {
    size_t n;
    const struct scope_service *p; /* sorted by host */
};

/* All that it sees; borrowed until the computation ends. Recorded; ret_changed says when it last
 * changed. */
struct scope_services scope_services(struct build *b, struct scope *s, uint64_t *ret_changed);
/* The one service of a host that the scope sees: same namespace, then Service, then the oldest. */
const struct model_service *scope_pick(struct build *b, const struct scope *s, struct slice host);
/* Does the scope's Sidecar (or this egress listener of it) let in a host of a namespace? */
bool scope_imports(struct build *b, const struct scope *s, struct slice ns, struct slice host);
bool egress_imports(const json_t *egress, struct slice own_ns, struct slice ns, struct slice host);
const json_t *scope_sidecar(struct build *b, const struct scope *s); /* its spec; NULL */

/* Rules (build_rule.c) */

/* Keys of the DestinationRules for a host of a service, in the order of merging, joined by '\n'. */
struct graph_cell *rule_cell(struct build *b, struct scope *s, struct slice host,
                             struct slice service_ns);
struct slice rule_value(const struct graph_cell *c);

/* What merged rules say; trees of the model. */
struct rules {
    size_t n;
    const struct model_object **objects;
    const json_t *policy; /* first trafficPolicy; NULL */
    size_t subset_count;
    struct rule_subset {
        struct slice name;
        struct jr_pairs labels;
        const json_t *policy;
        const struct model_object *object;
    } * subsets;
};
/* Reads the objects of a rule value. */
struct rules rules_read(struct build *b, struct slice value, struct arena *a);
/* A section of the policy that holds for a port of a subset (NULL: of the whole): port settings
 * replace, a subset's overlays the destination's. "loadBalancer", "connectionPool",
 * "outlierDetection", "tls". */
const json_t *rules_section(const struct rules *r, const struct rule_subset *subset, uint32_t port,
                            const char *section);

/* Units: resources of one service. */

struct sources {
    struct slice *p;
    size_t n, cap;
};

struct unit_out {
    struct xds_resource **p;
    size_t n, cap;
};

struct unit_cell {
    struct graph_cell cell;
    struct scope *scope; /* NULL: not of a scope */
    enum flavor flavor;
    struct slice service, host, rule; /* owned copies */
    struct model_locality locality;   /* borrowed from host's copy */
    char variant;
    size_t n;
    struct xds_resource **resources; /* sorted by name */
    char *memory;
};

/* What the lists hold, one unit a service. */
enum list_what {
    LIST_CLUSTERS,
    LIST_ENDPOINTS,
    LIST_VHOSTS_PORTS, /* virtual hosts of tables that are named by port */
    LIST_VHOSTS_PROXY, /* of the table http_proxy */
    LIST_LISTENERS,    /* of TCP services with addresses */
    LIST_GRPC_LISTENERS,
    LIST_GRPC_ROUTES,
    LIST_WHAT_COUNT,
};

/* Makes (or keeps, when the bytes are equal) a resource of the unit and adds it. */
void unit_add(struct build *b, struct unit_cell *u, struct unit_out *out, enum xds_type type,
              struct slice name, const ProtobufCMessage *msg, const struct sources *sources,
              struct slice follows);
/* Ends a computation: true if the resources differ from the last ones. */
bool unit_end(struct unit_cell *u, struct unit_out *out);
/* The same for whoever is no unit: `was` (may be NULL) is kept when the bytes are equal. One
 * reference. */
struct xds_resource *build_resource(struct build *b, struct xds_resource *was, enum xds_type type,
                                    struct slice name, const ProtobufCMessage *msg,
                                    const struct sources *sources, struct slice follows);
struct xds_resource *build_resource_bytes(struct build *b, struct xds_resource *was,
                                          const struct xds_resource_parts *parts);
/* One that is the same in every state of the registry: revision 0. */
struct xds_resource *build_resource_constant(struct build *b, enum xds_type type, struct slice name,
                                             struct slice body);
static inline void sources_add(struct sources *s, struct slice key)
{
    *vec_push(s) = key;
}

/* The service that a unit is of; NULL when it is gone. Recorded. */
const struct model_service *unit_service(struct build *b, const struct unit_cell *u);

/* How each kind of unit is computed, in the file of its type. */
bool unit_clusters_compute(struct graph *g, struct graph_cell *cell);
bool unit_endpoints_compute(struct graph *g, struct graph_cell *cell);
bool unit_vhosts_compute(struct graph *g, struct graph_cell *cell);
bool unit_listeners_compute(struct graph *g, struct graph_cell *cell);
bool unit_grpc_listeners_compute(struct graph *g, struct graph_cell *cell);
bool unit_grpc_routes_compute(struct graph *g, struct graph_cell *cell);

/* Virtual hosts of a host that has no service; not computed yet. */
struct unit_cell *unit_host_cell(struct build *b, struct scope *s, struct slice host, char variant);

/* A list, and where in it stands what is given in one order again and again. */
struct list_state {
    struct xds_list *list;
    uint32_t *order; /* given -> place; NULL: unknown */
    size_t n;        /* given */
};
/* Makes s->list of borrowed resources (empties `given`; of a repeated name the first counts); true
 * if it is another list than before. */
bool list_set(struct list_state *s, struct unit_out *given);
void list_state_fini(struct list_state *s);
/* A resource to be sorted by name; of a repeated name the first that was given comes first. */
struct placed {
    struct xds_resource *resource;
    size_t from; /* in the order in which it was given */
};
int cmp_placed(const void *a, const void *b);
/* Would the next list have the same names as this one? */
bool list_same_names(const struct list_state *s, const struct unit_out *given);

/* The list of a scope; borrowed. Recorded. */
struct xds_list *list_get(struct build *b, enum list_what what, struct scope *s,
                          uint64_t *ret_changed);

/* Clusters (build_cluster.c) */

struct slice cluster_name(struct arena *a, struct slice direction, uint32_t port,
                          struct slice subset, struct slice host);
/* connect timeout, breakers without limits: what every cluster has. */
CLUSTER(Cluster) *build_cluster_new(struct arena *a, struct slice name);
void cluster_protocol(struct arena *a, CLUSTER(Cluster) *c, enum model_protocol protocol,
                      const json_t *pool);
/* PassthroughCluster and BlackHoleCluster. */
void clusters_builtin(struct build *b, struct unit_out *out);

/* Load assignments (build_endpoint.c) */

struct assignment {
    const struct model_service *service;
    const struct model_port *port;
    struct slice name;
    struct jr_pairs subset;            /* labels that an endpoint must have */
    const struct model_locality *near; /* of the caller; NULL: locality does not matter */
    const json_t *locality;            /* localityLbSetting; NULL: defaults */
    bool failover;                     /* nearer places first */
    enum flavor flavor;
};

/* One CLA. */
ENDPOINT(ClusterLoadAssignment) *assignment_make(struct build *b, const struct assignment *want,
                                                 struct arena *a, struct sources *sources);

/* Routes (build_route.c, build_vhost.c) */

struct route_context {
    struct build *b;
    struct arena *a;
    struct scope *scope;
    const struct model_object *vs;
    struct slice gateway; /* "mesh" or ns/name */
    struct slice host;    /* of the virtual host */
    uint32_t port;        /* of the listener */
    struct sources *sources;
};

/* Bodies of direct responses: what a RouteConfiguration allows (Envoy's default is 4 KiB). */
#define DIRECT_BODY_BYTES_MAX (1024 * 1024)

/* The VirtualService that a rule leaves its routes to; NULL. Recorded. */
const struct model_object *delegate_of(struct route_context *rc, const json_t *http);
/* Its rules within that rule: a new array. */
json_t *delegate_rules(const struct model_object *delegate, const json_t *http);
/* Appends the routes of a VirtualService's http rules, catch-all ones last. false: none matched. */
bool routes_http(struct route_context *rc, ROUTE(VirtualHost) *vhost);
/* Where the routes of several rules are joined: what catches all stands behind the rest. */
void routes_catch_all_last(ROUTE(VirtualHost) *vhost);
/* Everything to one cluster. */
ROUTE(Route) *route_default(struct route_context *rc, const struct model_service *s, uint32_t port);
/* The cluster that a destination means. */
struct slice route_cluster(struct route_context *rc, const json_t *destination);
/* Oldest VirtualService of the mesh for a host that the scope sees, the most specific host first.
 */
const struct model_object *route_rule(struct build *b, const struct scope *s, struct slice host,
                                      struct arena *a);
/* exact, prefix or regex of a StringMatch. */
MATCHER(StringMatcher) *match_string(struct arena *a, const json_t *m);
/* A block of http[].match; NULL matches everything. */
ROUTE(RouteMatch) *match_make(struct arena *a, const json_t *m);
bool match_catches_all(const ROUTE(RouteMatch) *m);
/* http[].fault and http[].corsPolicy, NULL = none, as the route's settings of these filters. */
void filter_fault(struct arena *a, ROUTE(Route) *r, const json_t *fault);
void filter_cors(struct arena *a, ROUTE(Route) *r, const json_t *cors);
/* Does a match block hold for this caller, gateway and port? */
bool route_match_applies(struct route_context *rc, const json_t *match);
/* Names under which a client of ns may call a host; with ":port" if port is not 0. */
void host_domains(struct arena *a, struct slice host, struct slice ns, uint32_t port,
                  ROUTE(VirtualHost) *vhost);

/* How the proxies of a scope that capture in one way find their routes. */
struct tables {
    struct list_state vhosts; /* named TABLE/VHOST */
    struct list_state vhds;   /* RouteConfigurations that point to them */
};
/* Borrowed; recorded. */
const struct tables *tables_get(struct build *b, struct scope *s, enum proxy_capture capture);
/* RouteConfigurations with the virtual hosts inside, for whoever takes no VHDS. Borrowed; recorded.
 */
struct xds_list *tables_inside(struct build *b, struct scope *s, enum proxy_capture capture);

/* Listeners (build_listener.c, build_own.c) */

/* Shared outbound listeners of a scope; borrowed. Recorded. NULL: none. */
struct xds_list *listeners_get(struct build *b, struct scope *s, enum proxy_capture capture);

/* What only one class has. */
struct own_cell {
    struct graph_cell cell;
    const struct proxy_class_input *in; /* of the class cell */
    struct scope *scope;
    size_t n[XDS_TYPE_COUNT];
    struct xds_resource **resources[XDS_TYPE_COUNT];
};
extern const struct graph_cell_kind own_kind;

struct own_job {
    struct build *b;
    struct own_cell *own;
    struct arena *a;
    const json_t *sidecar; /* NULL: none */
    struct unit_out types[XDS_TYPE_COUNT];
};
/* Of two with one name the first counts. */
void own_add_sources(struct own_job *j, enum xds_type type, struct slice name,
                     const ProtobufCMessage *msg, const struct sources *sources);
void own_gateway(struct own_job *j); /* build_gateway.c */

/* Takes what out holds into (*p, *n), sorted; true if it differs. */
bool resources_take(struct unit_out *out, struct xds_resource ***p, size_t *n);

/* HCM with Istio's settings: routes by RDS name, or inside. */
HCM(HttpConnectionManager) *hcm_new(struct arena *a, struct slice stat_prefix,
                                    struct slice rds_name, ROUTE(RouteConfiguration) *inside);
LISTENER(FilterChain) *chain_http(struct arena *a, const HCM(HttpConnectionManager) *hcm);
LISTENER(FilterChain) *chain_tcp(struct arena *a, struct slice stat_prefix, struct slice cluster);
/* To a service's cluster, or where the tcp (tls) rules of its VirtualService say. */
LISTENER(FilterChain) *chain_service(struct build *b, struct scope *s, struct slice host,
                                     uint32_t port, bool tls, struct arena *a,
                                     struct sources *sources);
/* By the tcp or tls rules ("tcp", "tls") of rc->vs; NULL when none holds. */
LISTENER(FilterChain) *chain_rule(struct route_context *rc, const char *kind);
/* Makes the match on demand. */
LISTENER(FilterChainMatch) *chain_match(struct arena *a, LISTENER(FilterChain) *c);
/* Plain HTTP, as http_inspector reports it. */
void chain_match_http(struct arena *a, LISTENER(FilterChain) *c);
LISTENER(Listener) *build_listener_new(struct arena *a, struct slice name, struct slice ip,
                                       uint32_t port, bool outbound);
void listener_inspect(struct arena *a, LISTENER(Listener) *l, bool tls, bool http);

#endif
