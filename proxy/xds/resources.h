/* The resources that a proxy holds, by type and name: the bytes as they came (for the last known
 * good file, the configuration dump and the versions of a reconnect) and the parts built from them.
 *
 *   resources_put(rs, XDS_CDS, name, version, body, &err)    refused: what was there stays
 *   struct conf *c = resources_seal(rs, …);                   a tree of what is complete
 *   next = resources_warm(rs, now, …);                        until when to wait for the rest
 *
 * Pure. As in Envoy a listener warms: it is left out of the tree, or stands in it in its last form,
 * until the route tables that it names are there, each with the virtual hosts that it asks for;
 * the first ones also until the clusters and their endpoints are. What does not come in XDS_WARM_MS
 * is done without. Later a cluster whose endpoints are missing is in the tree without any.
 */
#ifndef WEFT_PROXY_XDS_RESOURCES_H
#define WEFT_PROXY_XDS_RESOURCES_H

#include "api/xds_types.h"
#include "base/core/map.h"
#include "proxy/xds/conf_build.h"
#include "proxy/xds/xds_limits.h"

/* What the server of this stream knows of a listener's socket. */
enum ads_told {
    ADS_TOLD_BOUND,   /* that it is bound: by an ACK, or by the version in the first request */
    ADS_TOLD_UNBOUND, /* that it is not: by a NACK */
    ADS_TOLD_NOTHING, /* it was made to send the listener again; the answer will tell */
};

struct resource {
    enum xds_type type;
    struct slice name, version, body; /* owned */
    struct xds_stamp stamp;           /* of the version, when it is weft's own; else its hash */
    int64_t updated_wall_ms;
    char *error;       /* last refusal, or NULL */
    bool not_bound;    /* the error is of binding: gone when it binds */
    bool answered;     /* a table: its virtual hosts came, or were waited for long enough */
    bool waited;       /* a listener: so were its tables */
    wf_ms warms_since; /* 0 = not seen to warm */
    struct {
        char *unbound; /* why it is not open in the workers, or NULL */
        enum ads_told told;
        uint64_t response; /* number of the last one that brought it; 0 = none of this stream */
    } socket;              /* of a listener */
    union {
        struct cluster *cluster;
        struct endpoint_set *endpoints;
        struct listener *listener;
        struct route_spec routes;
        struct virtual_host *vhost;
    };
    /* What went into the last tree, with what it was bound to. */
    union {
        struct cluster *bound_cluster;
        struct listener *bound_listener;
        struct route_table *bound_routes;
    };
    bool stale; /* must be bound again */
};

struct resources {
    struct map by_name[XDS_TYPE_COUNT]; /* -> struct resource */
    bool received[XDS_TYPE_COUNT];      /* a response of the type came, or it was restored */
    bool opened;                        /* clusters came: listeners may open, from now on */
    bool vhosts_to_come;                /* the last response of VHDS may have been cut */
    wf_ms closed_since, cut_since;      /* as warms_since, of these two */
    struct route_table *no_routes;      /* stands for one that did not come */
    uint64_t generation;                /* of the last sealed tree */
    bool dirty;                         /* something changed since */
    struct map eds_changed;             /* names; their clusters are bound again at the next seal */
};

/* Takes copies. false and err: the resource is refused, its predecessor stays. */
bool resources_put(struct resources *rs, enum xds_type type, struct slice name,
                   struct slice version, struct slice body, int64_t wall_ms, struct err *err);
void resources_remove(struct resources *rs, enum xds_type type, struct slice name);
/* The listeners that are not open in the workers, and no others. */
void resources_opened(struct resources *rs, const struct bind_failures *failed);
struct resource *resources_find(const struct resources *rs, enum xds_type type, struct slice name);

/* The names that the held resources refer to: EDS of clusters, RDS of listeners, VHDS globs (all
 * below the name) of route configurations. Into a map with copied keys (values are not NULL); the
 * caller ends it. */
void resources_wanted(const struct resources *rs, enum xds_type type, struct map *ret_names);

/* A new tree (one reference, the caller's), or NULL when nothing changed since the last. Failures
 * of binding (two virtual hosts with one domain) keep the last bound table and are reported in err
 * (first one). */
struct conf *resources_seal(struct resources *rs, struct err *err);
/* After each seal, and when the time that it returns has come (0 = nothing warms): gives up what
 * was waited for long enough, so that another seal is due (dirty). What, goes to `given_up`: names
 * of listeners and tables. now: loop time. */
wf_ms resources_warm(struct resources *rs, wf_ms now, struct buf *given_up);
/* The table's virtual hosts are here, be it none. */
void resources_answered(struct resources *rs, struct slice table);
/* All came from the last known good: what is not in it need not be waited for. */
void resources_restored(struct resources *rs);
/* Everything that serves traffic is there: listeners and clusters came, and none warms. */
bool resources_complete(const struct resources *rs);
void resources_fini(struct resources *rs);

#endif
