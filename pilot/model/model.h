/* The service model: the registry's objects in memory, indexed by what the compiler asks for. Pure:
 * changes go in, facts of the graph (graph.h) come out; every question that is asked while a cell
 * computes is recorded as an input of that cell.
 *
 *   model_apply(m, key, json, create_rev, mod_rev);     model_delete(m, key, revision);
 *   f = model_index(m, MODEL_RULE_HOST, S("reviews.default.svc.cluster.local"));
 *   for (size_t i = 0; i < f->n; i++)
 *       use(f->members[i]);                             oldest first
 *
 * "Oldest" is by create_rev, then key: the log index has no ties between writes. Pointers into the
 * model live until the next change: a cell's value copies what it keeps.
 *
 * Of WorkloadEntries and EndpointSlices the model keeps what the compiler reads, and no tree: there
 * may be a hundred thousand. A key that one object has and that nobody has asked for takes eight
 * bytes (index.c).
 */
#ifndef WEFT_PILOT_MODEL_MODEL_H
#define WEFT_PILOT_MODEL_MODEL_H

#include "api/kind.h"
#include "pilot/model/graph.h"
#include "pilot/model/json_read.h"
#include "pilot/model/numbers.h"
#include "pilot/model/postings.h"

#define MODEL_CLUSTER_DOMAIN "svc.cluster.local"

/* What an index is keyed by, and whose objects it holds. An index changes when an object enters or
 * leaves it or when that part of the object changes which the index is for. */
enum model_index {
    MODEL_OBJECT,         /* key: the object itself */
    MODEL_HOST,           /* host name: Service, ServiceEntry */
    MODEL_SERVICES,       /* "": all of these; changes with hosts, ports' numbers, exports */
    MODEL_SLICES,         /* ns/service: EndpointSlice */
    MODEL_WORKLOADS,      /* ns/label=value: WorkloadEntry */
    MODEL_SELECTING,      /* ns/label=value, the first of a selector: Service, ServiceEntry */
    MODEL_ADDRESS,        /* IP: EndpointSlice, WorkloadEntry, ServiceEntry with that endpoint */
    MODEL_RULE_HOST,      /* host or wildcard: DestinationRule */
    MODEL_ROUTE_HOST,     /* host or wildcard: VirtualService of the mesh */
    MODEL_ROUTES,         /* "": all VirtualServices of the mesh; changes with hosts and exports */
    MODEL_GATEWAY_ROUTES, /* ns/name of a gateway: VirtualService */
    MODEL_GATEWAYS,       /* "": all Gateways */
    MODEL_SIDECARS,       /* ns: Sidecar */
    MODEL_SELECTORS,      /* "": rules that select the calling workload by labels */
    MODEL_INDEX_COUNT,
};

enum model_protocol {
    PROTOCOL_AUTO, /* not said: HTTP or not is found out on the connection */
    PROTOCOL_TCP,
    PROTOCOL_HTTP,
    PROTOCOL_HTTP2,
    PROTOCOL_GRPC,
    PROTOCOL_GRPC_WEB,
    PROTOCOL_HTTPS,
    PROTOCOL_TLS,
    PROTOCOL_MONGO,
    PROTOCOL_REDIS,
    PROTOCOL_MYSQL,
    PROTOCOL_UDP,
};

/* Is it HTTP in the clear for sure? */
bool model_protocol_http(enum model_protocol p);
/* appProtocol, else the name before its first '-', else by well-known port (Istio's rule). */
enum model_protocol model_protocol_of(struct slice app_protocol, struct slice name, uint32_t port);

enum model_resolution {
    RESOLUTION_ENDPOINTS, /* by EDS */
    RESOLUTION_DNS,       /* every address of the names */
    RESOLUTION_DNS_ONE,   /* the first address */
    RESOLUTION_NONE,      /* where the caller was going */
};

struct model_port {
    struct slice name;
    uint32_t number;
    uint32_t target;          /* 0: same as number, or by target_name */
    struct slice target_name; /* named target port */
    enum model_protocol protocol;
};

struct model_object;

/* One host of a Service or ServiceEntry. */
struct model_service {
    const struct model_object *object;
    struct slice host, ns, name;
    enum model_resolution resolution;
    struct slice external_name; /* Service of type ExternalName */
    bool mesh_external, headless;
    size_t port_count;
    const struct model_port *ports;
    const json_t *addresses;  /* ServiceEntry: IP or CIDR; Service: clusterIPs */
    struct jr_pairs selector; /* of workloads; n = 0: none */
    const json_t *endpoints;  /* ServiceEntry: given ones */
};

/* What stands in an index: the name in it, without what else has that name. */
struct model_key {
    enum model_index index;
    struct slice name;
};

struct model_entry {
    struct model_key key;
    uint64_t sign;    /* of the part that the index is for */
    reg_rev revision; /* since when it says that there */
};

struct model_backends;

/* What the model keeps of an object, but of a WorkloadEntry. */
struct model_body {
    struct arena arena;                    /* of all of the object */
    const struct model_backends *backends; /* EndpointSlice: this and the entries are all */
    json_t *json;
    const json_t *spec;
    struct jr_pairs labels, annotations;
    const json_t *export_to; /* NULL = to all */
    size_t service_count;
    const struct model_service *services;
    size_t entry_count;
    struct model_entry *entries; /* sorted by key */
    reg_rev mod_rev; /* of what it says: later writes of its status alone do not count */
};

struct model_object {
    struct slice key, ns, name;
    struct model_body *body; /* NULL: a WorkloadEntry, read by model_endpoints and the like */
    reg_rev create_rev;
    uint32_t number; /* in model.objects */
    uint32_t seen;   /* by which reload */
    enum kind_id kind;
};

struct model_fact {
    struct graph_node node;
    struct model_key key;
    uint32_t number; /* in model.facts */
    size_t n, cap;
    struct model_object **members;
    struct model_object *one; /* where a single member stands */
};

struct model {
    struct graph *graph;
    struct slice root_ns;
    struct numbers objects, facts;
    struct postings index; /* of every key of an object and of every fact (index.c) */
    struct hash_key hash_key;
    uint32_t hash_mask; /* all ones; a test makes keys collide by fewer */
    size_t facts_swept; /* facts after the last sweep */
    size_t object_bytes, fact_bytes;
    struct map issues; /* key -> message (struct slice *) */
    uint32_t reloads;  /* so far: what an object was last seen by */
    struct arena scratch;
};

void model_init(struct model *m, struct graph *g, struct slice root_ns);
/* After graph_fini. */
void model_fini(struct model *m);

/* Value as in the registry. Keys of kinds that the model does not know are ignored. */
void model_apply(struct model *m, struct slice key, struct slice value, reg_rev create_rev,
                 reg_rev mod_rev);
void model_delete(struct model *m, struct slice key, reg_rev revision);
/* Between the two, model_apply is called with every object that there is: at the end those that
 * were not are deleted. What did not change is not touched, so nothing is computed again for it. */
void model_reload_begin(struct model *m);
void model_reload_end(struct model *m, reg_rev revision);
/* Forgets facts that nobody reads, where the objects say as much. Outside of computations. */
void model_collect(struct model *m);

/* What it holds: blocks as they were asked for, and tables. Without issues. */
size_t model_bytes(const struct model *m);

const struct model_fact *model_index(struct model *m, enum model_index index, struct slice name);
/* NULL when it is not there (which is recorded too). */
const struct model_object *model_object(struct model *m, struct slice key);

/* Does an exportTo let a namespace see what `owner` exports? "*", ".", "~" or namespaces. */
bool model_exported(const json_t *export_to, struct slice owner, struct slice ns);

/* "reviews" -> "reviews.<ns>.svc.cluster.local"; names with a dot, "*" and wildcards stay. */
struct slice model_host_resolve(struct slice host, struct slice ns, struct arena *arena);
/* "*" or "*.suffix" against a name or a narrower wildcard. */
bool model_host_match(struct slice pattern, struct slice host);
/* Walks from the host over its wildcards to "*", most specific first: begin with *at = host. */
bool model_host_wider(struct slice *at, struct arena *arena);

/* Endpoints. */

struct model_locality {
    struct slice region, zone, subzone;
};

struct model_endpoint {
    struct slice address; /* IP, or a name where the service resolves by DNS */
    uint32_t port;
    uint32_t weight; /* ≥ 1 */
    struct jr_pairs labels;
    struct model_locality locality;
    struct slice workload, ns;
    const struct model_object *object;
};

struct model_endpoints {
    struct model_endpoint *p;
    size_t n, cap;
};

/* All that take traffic for a port of the service, in an order that is a function of the objects.
 * Fills from the arena. */
void model_endpoints(struct model *m, const struct model_service *s, const struct model_port *port,
                     struct arena *arena, struct model_endpoints *out);
int model_locality_cmp(const struct model_locality *a, const struct model_locality *b);

/* A service that has the address among its endpoints, and the ports there. */
struct model_instance {
    const struct model_service *service;
    const struct model_port *port;
    uint32_t target; /* port at the workload */
};

struct model_instances {
    struct model_instance *p;
    size_t n, cap;
};

/* What runs at an address, oldest service first, then by port. */
void model_instances(struct model *m, struct slice address, struct arena *arena,
                     struct model_instances *out);

#endif
