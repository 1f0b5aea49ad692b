/* A worker: one loop on one thread that accepts, routes and forwards by a struct conf.
 *
 *   struct worker *w = worker_start(&(struct worker_options){.index = 0, .conf = conf}, &err);
 *   struct worker_update u = {.conf = next, .reply_to = main_env, .done = on_applied};
 *   worker_update(w, &u);           every worker binds, then runs the new tree; done tells how it
 *                                   went
 *   worker_stop(w);
 *
 * A swap touches no request that is under way: it ends on the tree that routed it. New requests,
 * also on connections that are open, take the new one. Listeners that are gone stop accepting and
 * drain.
 */
#ifndef WEFT_PROXY_WORKER_H
#define WEFT_PROXY_WORKER_H

#include "base/core/metric.h"
#include "proxy/conf.h"

struct worker;

struct worker_options {
    const char *name;      /* thread's name; NULL = "worker" */
    struct conf *conf;     /* borrowed: the worker takes its own reference; NULL = nothing yet */
    size_t series_max;     /* of the metric set; 0 = METRIC_SERIES_MAX_DEFAULT */
    struct slice hostname; /* of the access log; borrowed for the worker's life */
    bool access_log_off;   /* whatever the listeners say */
};

/* On a thread of its own. NULL and err: no thread, or conf's listeners cannot be bound. */
struct worker *worker_start(const struct worker_options *opt, struct err *err);
/* Closes everything at once, joins, frees. Drain first to be kind. */
void worker_stop(struct worker *w);

/* On the caller's loop (tests, simulation): same life, same thread. */
struct worker *worker_new(struct env *env, const struct worker_options *opt, struct err *err);
/* Connections end in on_close callbacks: call from outside of them, and turn the loop until
 * worker_idle() before the env goes. */
void worker_close(struct worker *w);
bool worker_idle(const struct worker *w);
void worker_free(struct worker *w);

/* A new tree, from any thread. The struct is the worker's until done is called, on reply_to's
 * thread. New requests use the tree then. failures: its listeners that are not bound, which are
 * tried again with the next tree; all others are. The receiver ends them. */
struct worker_update {
    struct env_post post;
    struct worker *worker;
    struct conf *conf; /* borrowed until done */
    struct env *reply_to;
    void (*done)(struct worker_update *u);
    void *ctx;
    struct bind_failures failures;
};
void worker_update(struct worker *w, struct worker_update *u);
/* The same at once, on the worker's own thread. false: err is of the first that is not bound. */
bool worker_apply(struct worker *w, struct conf *conf, struct err *err);

/* Ends kindly: HTTP/1 answers carry Connection: close, HTTP/2 gets GOAWAY, nothing is accepted any
 * more when the listeners' drain time has passed. On the worker's thread (worker_env). */
void worker_drain(struct worker *w);

struct env *worker_env(const struct worker *w);
/* Written by the worker's thread, readable from any. */
struct metric_set *worker_metrics(const struct worker *w);
uint64_t worker_generation(const struct worker *w); /* of the tree in use; worker's thread */

/* What the admin's /clusters shows; worker's thread. */
struct worker_host {
    struct slice cluster, address;
    uint32_t active, connections;
    uint64_t requests, errors;
    bool healthy, ejected;
};
void worker_hosts(const struct worker *w, void (*fn)(void *ctx, const struct worker_host *h),
                  void *ctx);

#endif
