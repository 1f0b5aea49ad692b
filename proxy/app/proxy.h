/* weft-proxy as a whole: the xDS client on the main loop, workers on theirs, the admin interface.
 *
 *   proxy_start(&p, env, &options, &err);
 *   env_uv_run(env);
 *   proxy_stop(&p);
 *
 * A tree goes from the client to all workers; when each has it, the client acknowledges. At most
 * one tree is on its way; of those that come meanwhile the newest waits.
 */
#ifndef WEFT_PROXY_APP_PROXY_H
#define WEFT_PROXY_APP_PROXY_H

#include "base/net/http_server.h"
#include "proxy/worker.h"
#include "proxy/xds/client.h"

#define PROXY_WORKERS_MAX 64
#define PROXY_LABELS_MAX 32
#define PROXY_METADATA_MAX 16
#define PROXY_REBIND_MS 2000 /* between tries of a listener whose address is taken */

struct proxy_options {
    struct slice type, name, ns,
        domain;           /* "sidecar" or "router"; workload; namespace; cluster.local */
    struct slice address; /* workload's IP */
    struct slice region, zone, subzone, cluster_id;
    bool redirect; /* INTERCEPTION_MODE=REDIRECT */
    size_t label_count;
    struct slice labels[PROXY_LABELS_MAX][2]; /* sorted by name */
    struct env_addr servers[XDS_SERVERS_MAX];
    size_t server_count;
    struct env_addr admin; /* len 0 = none */
    const char *state_dir; /* last known good; NULL = none */
    size_t workers;
    bool access_log_off; /* whatever the control plane says */
    wf_ms drain_time;    /* of /quitquitquit and SIGTERM; default 5,000 */
};

struct proxy {
    struct env *env;
    struct proxy_options opt;
    struct arena arena; /* of the node's texts */
    struct ads_node node;
    struct slice metadata[PROXY_METADATA_MAX][2];
    struct client client;
    char state_file[4096];
    struct worker *workers[PROXY_WORKERS_MAX];
    size_t worker_count;
    /* The tree on its way. */
    struct worker_update updates[PROXY_WORKERS_MAX];
    struct conf *applying, *next;
    size_t replies;
    struct bind_failures failures; /* of the tree applied last; names borrowed from it */
    struct conf *active; /* in all workers; applied again while a listener of it is not bound */
    struct env_timer rebind;
    uint64_t generation; /* of the active tree */
    int64_t started_wall_ms;
    bool failing_health, draining, stopping;
    struct env_timer quit;
    struct http_server *admin;
    struct metric_set *metrics; /* of the main loop */
};

bool proxy_start(struct proxy *p, struct env *env, const struct proxy_options *opt,
                 struct err *err);
/* LIVE: everything that was configured at the start is active, none of it is not bound now, and
 * nobody asked to fail the check. */
bool proxy_ready(const struct proxy *p);
/* Lets the requests under way end (at most drain_time), then stops the loop. */
void proxy_drain(struct proxy *p);
/* Also after a start that failed. p stays until env has ended: workers may still have answered. */
void proxy_stop(struct proxy *p);

/* admin.c */
bool admin_start(struct proxy *p, struct err *err);

#endif
