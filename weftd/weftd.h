/* weftd: one control-plane node. Wiring of registry, pilot and the API; it decides nothing.
 *
 *   weftd_start(&d, env, &options, &err);  env_uv_run(env);  weftd_stop(&d);
 *
 * Threads: raft (registry/node.c), builder (pilot/compiler.c), xDS workers (pilot/ads_server.c),
 * and this one: the API, convergence, conditions, metrics.
 */
#ifndef WEFT_WEFTD_WEFTD_H
#define WEFT_WEFTD_WEFTD_H

#include "base/net/http_server.h"
#include "pilot/ads_server.h"
#include "pilot/compiler.h"
#include "pilot/conditions.h"
#include "pilot/fleet.h"
#include "registry/apiserver/apiserver.h"

#define WEFTD_API_GRACE_MS 500 /* for requests under way when the node is stopped */

struct weftd_options {
    struct reg_node_options node;
    char name[64];
    struct env_addr api, xds, metrics; /* metrics: len 0 = none */
    bool standby;                      /* of a newcomer: it does not ask for a vote */
    unsigned xds_workers;
    struct slice cluster_id;
};

struct weftd_promote {
    struct env_timer timer;
    struct reg_member_change change;
    bool asking, noted, over;
};

struct weftd {
    struct env *env;
    struct weftd_options opt;
    char identifier[96];
    struct reg_node *node;
    struct compiler *compiler;
    struct convergence *convergence;
    struct convergence_link *link;
    struct conditions *conditions;
    struct ads_server *xds;
    struct fleet *fleet;
    struct apiserver *api;
    struct http_server *metrics;
    struct metric_set *own;
    /* Namespaces that every mesh has, written once by whoever leads first. */
    struct env_timer seed;
    struct reg_op seed_ops[2];
    struct reg_write seed_write;
    char seed_values[2][512];
    struct weftd_promote promote;
    bool stopping;
};

bool weftd_start(struct weftd *d, struct env *env, const struct weftd_options *opt,
                 struct err *err);
/* Also after a start that failed. d stays until env has ended: the registry may still answer. */
void weftd_stop(struct weftd *d);

/* metrics.c */
bool weftd_metrics_start(struct weftd *d, struct err *err);
/* promote.c: of a node that joined (join.h). */
void weftd_promote_start(struct weftd *d);
void weftd_promote_stop(struct weftd *d);
/* mesh.c: what the API asks of pilot. */
struct api_mesh weftd_mesh(struct weftd *d);

#endif
