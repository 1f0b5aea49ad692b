/* Questions about proxies wherever in the cluster they hang: asked of this node's xDS server and,
 * by message, of every connected node's.
 *
 *   struct fleet *f = fleet_new(env, node, server, &err);
 *   fleet_proxies(f, on_answer, me);           on_answer(me, 200, {"items":[…]}) on env
 *
 * A node that does not answer within FLEET_TIMEOUT_MS is left out and named in "silent".
 */
#ifndef WEFT_PILOT_FLEET_H
#define WEFT_PILOT_FLEET_H

#include "pilot/ads_server.h"

#define FLEET_TIMEOUT_MS 2000
#define FLEET_CALLS_MAX 256

struct fleet;

/* All on env's thread. server may be NULL: this node serves no proxies itself. */
struct fleet *fleet_new(struct env *env, struct reg_node *node, struct ads_server *server);
/* Calls under way are answered with 503. Before the server and the node stop. NULL is fine. */
void fleet_free(struct fleet *f);

typedef void fleet_fn(void *arg, int status, struct slice json);
/* {"items":[{"name":…,"node":"n1","types":{…}}],"silent":[]}, sorted by name. fn is never called
 * from inside. */
void fleet_proxies(struct fleet *f, fleet_fn *fn, void *arg);
/* One proxy by name, name.namespace or node id:
 * {"name":…,"node":…,"types":{"cds":[{"name":…,"version":…, "status":…,"body":{…}}]}}; 404 when no
 * node has it. type empty: all. */
void fleet_config(struct fleet *f, struct slice proxy, struct slice type, fleet_fn *fn, void *arg);

#endif
