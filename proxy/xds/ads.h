/* The proxy's end of delta ADS: a core without I/O.
 *
 *   connected      -> ads_open: first request of every type, with the versions held (nothing is
 *                     sent twice)
 *   message        -> ads_message: resources change; an answer is due
 *   end of turn    -> the shell seals a tree and hands it to the workers
 *   tree is active -> ads_applied: ACK or NACK for everything that the tree contains
 *   disconnected   -> ads_close; resources stay
 *
 * A response is acknowledged when what it brought is active in every worker, not when it was read.
 * A resource that cannot be used is refused by name in the NACK; the others of its response are
 * applied (gRPC A46), and the refused one keeps its last good form. Rules: xDS protocol,
 * "Incremental xDS" (subscribe, unsubscribe and ACK may travel in one request).
 *
 * A listener whose address is taken is refused in the answer to the response that brought it, and
 * in no other. When that changes after the answer (it had waited for its routes; the address became
 * free) there is nothing to answer: the listener is subscribed to by name and given up again in one
 * request, so that the server sends it anew and the new answer tells.
 */
#ifndef WEFT_PROXY_XDS_ADS_H
#define WEFT_PROXY_XDS_ADS_H

#include "proxy/xds/resources.h"

/* Who the proxy says to be: set once, borrowed for the life of the ads. */
struct ads_node {
    struct slice id, cluster, version;
    struct slice region, zone, subzone;
    size_t metadata_count;
    const struct slice (*metadata)[2]; /* string values by key */
    size_t label_count;
    const struct slice (*labels)[2]; /* metadata LABELS */
};

/* A response that waits for its tree. */
struct ads_pending {
    enum xds_type type;
    uint64_t number; /* counts the responses */
    bool sealed;
    uint64_t generation; /* of the tree that contains it, once sealed */
    char nonce[128];
    char *error; /* text of the NACK, or NULL */
};

struct ads {
    const struct ads_node *node;
    struct resources *resources;
    bool open;
    struct map subscribed[XDS_TYPE_COUNT]; /* names asked for on this stream */
    bool asked[XDS_TYPE_COUNT];            /* a first request of the type went out */
    bool heard[XDS_TYPE_COUNT];            /* a response of the type came on this stream */
    size_t pending_count;
    struct ads_pending pending[XDS_PENDING_MAX];
    /* Counters for the admin interface. */
    uint64_t updates, rejected, resource_bytes, resources_received;
    char control_plane[128];
};

/* Requests to send now, in order: whole DeltaDiscoveryRequest messages. */
struct ads_out {
    VEC(struct slice) messages;
    struct arena arena;
};
void ads_out_fini(struct ads_out *out);

void ads_init(struct ads *a, const struct ads_node *node, struct resources *resources);
void ads_fini(struct ads *a);
void ads_open(struct ads *a, struct ads_out *out);
void ads_close(struct ads *a);
/* One DeltaDiscoveryResponse. false: it was malformed, the stream must be closed (err says why). */
bool ads_message(struct ads *a, struct slice message, int64_t wall_ms, struct ads_out *out,
                 struct err *err);
/* The tree that comes has an older table of routes: what was read so far of routes and virtual
 * hosts cannot be bound. Before ads_sealed. */
void ads_not_bound(struct ads *a, struct slice why);
/* A tree was sealed: responses read so far are in it. */
void ads_sealed(struct ads *a, uint64_t generation);
/* The tree is active. failed: its listeners that could not be opened; NULL: the same as last time.
 */
void ads_applied(struct ads *a, uint64_t generation, const struct bind_failures *failed,
                 struct ads_out *out);

#endif
