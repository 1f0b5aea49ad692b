/* Who a proxy says it is: the Node of the first request of a stream, bounded, as the compiler's
 * class input. Nothing in it is authority: it chooses what a proxy asks to see.
 *
 *   sidecar~10.0.0.7~reviews-v1-5f.default~default.svc.cluster.local     Istio's form of the id
 *
 * Read from metadata: NAMESPACE, LABELS, INTERCEPTION_MODE, CLUSTER_ID, WEFT_ADMIN, ISTIO_VERSION.
 */
#ifndef WEFT_PILOT_ADS_NODE_H
#define WEFT_PILOT_ADS_NODE_H

#include "pilot/snapshot/snapshot.h"

struct ads_node {
    struct slice id;
    struct slice name;       /* "reviews-v1-5f.default": of the id, or the whole id */
    struct slice cluster_id; /* CLUSTER_ID, else empty */
    struct slice agent;      /* "envoy", "weft-proxy", "gRPC Go" */
    struct slice version;    /* of the agent, as text; empty if unknown */
    struct slice admin;      /* WEFT_ADMIN: address of its admin page */
    struct proxy_class_input class_input;
};

/* Parses the bytes of an envoy.config.core.v3.Node into the arena; everything borrows from it.
 * false: malformed, or over a bound of ads_limits.h (the message names it). */
bool ads_node_parse(struct slice wire, struct arena *arena, struct ads_node *ret_node,
                    struct err *err);

/* The parts of an id: false when it is not TYPE~IP~NAME.NS~DOMAIN. */
struct ads_node_id {
    struct slice type, ip, name, ns, domain;
};
bool ads_node_id_parse(struct slice id, struct ads_node_id *ret_id);

#endif
