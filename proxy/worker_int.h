/* What the files of the data path share: the worker and its lists. Not for others.
 *
 *   down_h1, down_h2   client connections: bytes <-> requests
 *   stream_*           one request: route, tries, bodies, answers, record
 *   cluster, pool      endpoints and connections to them
 *   up_h1, up_h2       upstream connections: requests <-> bytes
 *
 * Nothing is freed inside a callback that may still use it: a finished stream goes to `dead` and is
 * recycled at the end of the turn; a connection goes in its on_close.
 */
#ifndef WEFT_PROXY_WORKER_INT_H
#define WEFT_PROXY_WORKER_INT_H

#include "base/wire/h2.h"
#include "mixer/access_log.h"
#include "mixer/metrics.h"
#include "proxy/flush.h"
#include "proxy/proxy_limits.h"
#include "proxy/rng.h"
#include "proxy/stats.h"
#include "proxy/worker.h"

/* The tree as one worker holds it: one atomic reference for all its streams. */
struct wconf {
    struct conf *conf;
    uint32_t users;
};
struct wconf *wconf_ref(struct wconf *c);
void wconf_unref(struct wconf *c);

/* A listener as one worker runs it. Lives as long as a connection uses it. */
struct wlistener {
    struct list_node node;
    struct worker *w;
    uint32_t users;
    struct wconf *conf; /* that `listener` is part of */
    const struct listener *listener;
    struct env_listener *socket; /* NULL: not bound, or closed */
    bool draining;
    wf_ms drain_until;
    size_t conn_count, stream_count;
    struct access_log *log;
    struct log_file *file;
    struct listener_stats stats;
};
struct wlistener *wlistener_ref(struct wlistener *wl);
void wlistener_unref(struct wlistener *wl);

struct worker {
    struct env *env;
    struct env_thread *thread; /* NULL: on somebody else's loop */
    struct slice hostname;
    bool access_log_off;
    struct rng rng;
    struct wconf *conf; /* NULL: none yet */
    struct list listeners, listeners_draining;
    struct map clusters;  /* name -> struct up_cluster */
    size_t leaving_count; /* of clusters */
    struct list conns;    /* struct down_conn */
    size_t conn_count;
    uint64_t conn_id;
    bool draining, closing;

    struct list streams; /* under way */
    struct list dead, spare;
    size_t stream_count, spare_count;
    struct env_task recycle;

    struct flush flush;
    struct h2_pool *h2_pool;
    struct list up_conns; /* struct up_conn, all clusters */
    struct env_timer sweep;
    struct list log_files;

    struct metric_set *metric_set;
    struct metrics *metrics;
    struct metrics_cache no_host; /* cells of requests that reached no endpoint */
    struct worker_stats stats;
    char date[32];
    int64_t date_second;
};

/* "Tue, 24 Nov 2026 18:38:52 GMT"; valid until the next call. */
struct slice worker_date(struct worker *w);
/* Starts the periodic look at time-outs, if it does not run. */
void worker_sweep_start(struct worker *w);

/* listener.c */
void listeners_apply(struct worker *w, struct wconf *next, struct bind_failures *failures);
void listeners_drain(struct worker *w);
void listeners_sweep(struct worker *w);
void listeners_close(struct worker *w);
void listeners_close_logs(struct worker *w);
/* The chain for a connection to `dst`; NULL: none fits. */
const struct filter_chain *listener_chain(const struct listener *l, const struct env_addr *dst);
void listener_destination(const struct env_stream *es, struct env_addr *ret_addr);

#endif
