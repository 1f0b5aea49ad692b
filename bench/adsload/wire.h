/* Delta xDS as a light client needs it: requests written straight into a buffer, responses read for
 * names, versions and what to ask for next, and nothing else.
 */
#ifndef WEFT_BENCH_ADSLOAD_WIRE_H
#define WEFT_BENCH_ADSLOAD_WIRE_H

#include "api/xds_types.h"

struct load_node {
    struct slice id, cluster, agent, ns, capture; /* capture: INTERCEPTION_MODE, may be empty */
};

/* A DeltaDiscoveryRequest, field by field. */
void load_put_node(struct buf *b, const struct load_node *node);
void load_put_type(struct buf *b, enum xds_type type);
void load_put_subscribe(struct buf *b, struct slice name);
void load_put_initial(struct buf *b, struct slice name, struct slice version);
void load_put_nonce(struct buf *b, struct slice nonce);

struct load_resource {
    struct slice name, version, body;
};

struct load_response {
    enum xds_type type; /* XDS_TYPE_COUNT: another */
    struct slice nonce;
};

/* What stands once in a DeltaDiscoveryResponse. false: malformed. */
bool load_response_head(struct slice message, struct load_response *ret);
/* Each resource and each removed name, in order. */
bool load_response_each(struct slice message,
                        void (*resource)(void *ctx, const struct load_resource *r),
                        void (*removed)(void *ctx, struct slice name), void *ctx);

/* The name of the assignment that a Cluster wants by EDS; empty: none. */
struct slice load_cluster_eds(struct slice cluster, struct slice name);
/* Each route table that a Listener wants by RDS. */
void load_listener_rds(struct slice listener, void (*fn)(void *ctx, struct slice name), void *ctx);
/* Does a RouteConfiguration take its virtual hosts by VHDS? */
bool load_route_vhds(struct slice route);

#endif
