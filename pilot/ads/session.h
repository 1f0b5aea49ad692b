/* One xDS stream of one proxy: requests and snapshots in, responses out. Pure: no socket, no clock.
 *
 *   struct ads *a = ads_new(&(struct ads_options){.names = &names, .variant = XDS_DELTA});
 *   struct ads_out out = {0};
 *   ads_step(a, now, &(struct ads_event){.kind = ADS_REQUEST, .request = &req}, &out);
 *   if (out.identified) … acquire the class, then an ADS_SNAPSHOT with its view …
 *   for each out.responses: write it, then ADS_WRITTEN
 *   ads_out_reset(&out);
 *   … timer at ads_deadline(a): ADS_TICK …
 *
 * Rules are named as in the project's notes on the protocol: S1-S11 for the state of the world,
 * D1-D11 for delta. At most one response a type is un-ACKed; what changes meanwhile is coalesced as
 * state, never queued as messages.
 *
 * Order on a stream (make before break): clusters, endpoints; once these are acknowledged
 * listeners, routes, virtual hosts; once these are acknowledged removals of clusters, then of
 * endpoints. Each wait has a bound, ADS_ORDER_WAIT_MS. Endpoints always follow a changed cluster,
 * changed or not.
 */
#ifndef WEFT_PILOT_ADS_SESSION_H
#define WEFT_PILOT_ADS_SESSION_H

#include "pilot/ads/sub.h"

struct ads;

struct ads_options {
    struct ads_names *names; /* the worker's; outlives the session */
    enum xds_variant variant;
    const struct xds_type_info *type; /* a stream of this type alone; NULL: aggregated */
    uint32_t nonce_salt;              /* so that a nonce of another stream is not taken for ours */
};

enum ads_event_kind {
    ADS_REQUEST,  /* request: borrowed */
    ADS_SNAPSHOT, /* view (borrowed; NULL: not compiled yet) of the class, at `revision` */
    ADS_WRITTEN,  /* a response went to the transport */
    ADS_TICK,     /* ads_deadline has passed */
    ADS_DRAIN,    /* end when what is being written is out */
};

struct ads_event {
    enum ads_event_kind kind;
    const struct ads_request *request;
    struct xds_view *view;
    reg_rev revision;
};

/* A rejection. resource: exactly what was rejected (a reference), or NULL when a response of
 * several was and it is not known yet which; the session then sends them apart to find out. */
struct ads_nack {
    const struct xds_type_info *type;
    struct xds_resource *resource;
    reg_rev revision;   /* of the snapshot that the response was made from */
    struct slice error; /* borrowed from the request */
};

struct ads_out {
    bool identified;                      /* the node is known now: ads_node_of */
    VEC(struct ads_response *) responses; /* a reference each, in the order to write */
    VEC(struct ads_nack) nacks;
    uint32_t acks, stale_nonces;
    bool progress;      /* ads_converged or the rejections may have changed */
    bool closed;        /* finish the stream with: */
    int status;         /* enum grpc_status */
    const char *reason; /* static */
};
/* Gives back what it holds and zeroes it; keeps nothing. */
void ads_out_reset(struct ads_out *out);

struct ads *ads_new(const struct ads_options *opt);
void ads_free(struct ads *a); /* NULL is fine */

/* Adds to *out. After out->closed the session takes no events. */
void ads_step(struct ads *a, wf_ms now, const struct ads_event *ev, struct ads_out *out);
/* When to send ADS_TICK; 0: no need. */
wf_ms ads_deadline(const struct ads *a);

/* The lowest revision over all its subscriptions; what does not concern the proxy counts as had. 0
 * while it has no subscription or no view. */
reg_rev ads_converged(const struct ads *a);
/* The same, where a rejection counts as an answer. */
reg_rev ads_settled(const struct ads *a);
/* NULL: not subscribed. Borrowed. */
const struct ads_sub *ads_sub_of(const struct ads *a, enum xds_type type);
/* Resources that the proxy holds out against. */
void ads_each_rejected(const struct ads *a,
                       void (*fn)(void *ctx, const struct xds_type_info *type,
                                  const struct ads_dev *dev),
                       void *ctx);
size_t ads_rejected(const struct ads *a);

#endif
