/* Questions about proxies wherever in the cluster they hang: asked of this node's xDS server and,
 * by message, of every connected node's.
 *
 *   struct fleet *f = fleet_new(env, node, fleet_source_of(server));
 *   fleet_proxies(f, on_answer, me);           on_answer(me, 200, {"items":[…]}) on env
 *
 * A node that is not connected, or says nothing for FLEET_TIMEOUT_MS, is left out and named
 * in "silent": its proxies are unknown, not absent. Answers travel in pieces, one at a time.
 */
#ifndef WEFT_PILOT_FLEET_H
#define WEFT_PILOT_FLEET_H

#include "pilot/ads_server.h"

#define FLEET_TIMEOUT_MS 2000
#define FLEET_CALLS_MAX 256            /* asked here and under way; more are answered 429 */
#define FLEET_SERVING_MAX 256          /* asked by others and under way; more are not answered */
#define FLEET_PIECE_BYTES (256u << 10) /* at a time: Raft's own messages go the same way */
#define FLEET_ANSWER_BYTES_MAX (32u << 20) /* of one node */
#define FLEET_BYTES_MAX (256u << 20)       /* of all answers under way, both ways */

struct fleet;

/* Who answers for this node. No query: it serves no proxies itself. */
struct fleet_source {
    void *ctx;
    void (*query)(void *ctx, struct ads_query *q); /* as ads_server_query */
};
struct fleet_source fleet_source_of(struct ads_server *server);

/* All on env's thread. */
struct fleet *fleet_new(struct env *env, struct reg_node *node, struct fleet_source source);
/* Calls under way are answered with 503, from inside. Before source and node stop; what the
 * source still answers goes when it comes (on env, which turns or ends after it). NULL is fine. */
void fleet_free(struct fleet *f);

typedef void fleet_fn(void *arg, int status, struct slice json);
/* {"items":[{"name":…,"node":"n1","types":{…}}],"silent":[]}, sorted by name. fn is never
 * called from inside. */
void fleet_proxies(struct fleet *f, fleet_fn *fn, void *arg);
/* One proxy by name, name.namespace or node id:
 * {"node":…,"name":…,"types":{"cds":[{"name":…,"version":…,"status":…,"body":{…}}]}}
 * 404 when no node that answered has it; 413 when it is larger than FLEET_ANSWER_BYTES_MAX.
 * type empty: all. */
void fleet_config(struct fleet *f, struct slice proxy, struct slice type, fleet_fn *fn, void *arg);

#endif
