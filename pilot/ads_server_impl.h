/* Inside of the xDS server: workers and their sessions. */
#ifndef WEFT_PILOT_ADS_SERVER_IMPL_H
#define WEFT_PILOT_ADS_SERVER_IMPL_H

#include <pthread.h>

#include "base/env/env_uv.h"
#include "base/net/grpc_server.h"
#include "pilot/ads/session.h"
#include "pilot/ads_server.h"
#include "pilot/compiler.h"
#include "pilot/pilot_limits.h"

/* Cells of one worker, made once, so that a push costs no look-up. */
struct ads_metrics {
    struct metric *connected;
    struct metric *pushes[XDS_TYPE_COUNT], *rejects[XDS_TYPE_COUNT], *nacks[XDS_TYPE_COUNT];
    struct metric *bytes[XDS_TYPE_COUNT];
    struct metric *ack_time[XDS_TYPE_COUNT];
    struct metric *expired_nonce, *convergence_time, *malformed, *refused;
};

struct ads_worker;

/* One stream. */
struct ads_session {
    struct list_node node;
    struct ads_worker *worker;
    struct grpc_stream *stream;
    struct ads *ads;
    struct env_timer timer;
    struct list pushes;              /* responses being written */
    struct convergence_proxy *proxy; /* NULL: not identified, or nobody asks */
    uint64_t class_id;
    bool has_class, ended;
    bool rejecting; /* the last report to convergence had rejections */
    enum xds_variant variant;
    struct xds_view *view; /* last given to ads; compared by address only */
    reg_rev revision;
    wf_ms connected_at;
    char *text; /* holds the strings below */
    struct slice id, name, agent, version, address, admin, cluster_id, ns;
    enum proxy_dialect dialect;
};

struct ads_path {
    struct ads_worker *worker;
    enum xds_variant variant;
    const struct xds_type_info *type; /* NULL: aggregated */
};

#define ADS_PATHS_MAX (2 + 2 * XDS_TYPE_COUNT)

struct ads_worker {
    struct ads_server *server;
    struct env_thread *thread;
    struct env *env;
    struct grpc_server *grpc;
    struct compiler_watch *watch;
    struct xds_snapshot *snapshot;
    struct list sessions;
    uint32_t session_count;
    struct ads_names names;
    struct arena scratch; /* of one request */
    struct metric_set *set;
    struct ads_metrics metrics;
    struct ads_path paths[ADS_PATHS_MAX];
    struct env_timer calm; /* after streams came or went: gives memory back */
    uint32_t stirred;      /* so many since the last time */
    struct env_post stop;
    bool ready, drained; /* under the server's lock */
    struct err err;
};

struct ads_server {
    struct ads_server_options opt;
    char identifier[64];
    struct env_addr addr;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    size_t trips; /* questions that are with the workers; under the lock */
    size_t worker_count;
    struct ads_worker workers[ADS_SERVER_WORKERS_MAX];
};

/* ads_server.c: a stream came or went. */
void ads_worker_stir(struct ads_worker *w);

/* A question is with the workers: they live as long as it is. */
void ads_server_trip_begins(struct ads_server *s);
void ads_server_trip_ended(struct ads_server *s);

/* ads_session.c */
extern const struct grpc_stream_events ads_session_events;
void *ads_session_open(void *ctx, struct grpc_stream *stream, const struct http_head *head,
                       wf_ms timeout);
/* The worker has a new snapshot. */
void ads_session_snapshot(struct ads_session *s);
void ads_session_drain(struct ads_session *s);

/* ads_metrics.c */
void ads_metrics_init(struct ads_metrics *m, struct metric_set *set);

/* ads_query.c */
void ads_query_write(struct ads_worker *w, const struct ads_query *q, struct buf *out, bool *found);

#endif
