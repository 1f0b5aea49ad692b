/* A cluster as one worker runs it: its endpoints with their connections, counters and health. Keyed
 * by name and address, so it survives every new tree; what the tree no longer names goes when its
 * last request has ended. Not for others than the data path.
 */
#ifndef WEFT_PROXY_CLUSTER_H
#define WEFT_PROXY_CLUSTER_H

#include "mixer/metrics.h"
#include "proxy/dns.h"
#include "proxy/lb.h"
#include "proxy/outlier.h"
#include "proxy/stats.h"

struct worker;
struct stream;
struct up_conn;

enum up_protocol { UP_HTTP1, UP_HTTP2, UP_TCP };

struct up_host {
    struct lb_host lb; /* first: lb_pick's result is cast */
    struct up_cluster *cluster;
    struct slice key; /* the address as text, our own copy */
    struct env_addr addr;
    struct dns_name *dns;     /* NULL: addr is it */
    struct endpoint_set *set; /* that lb.endpoint is part of, referenced */
    struct outlier_host outlier;
    struct list idle;       /* HTTP/1 connections, last used first */
    struct list sessions;   /* HTTP/2 connections that take streams or are being opened */
    struct list pending[2]; /* streams that wait for a connection, by up_protocol */
    uint32_t pending_n[2], connecting[2];
    uint32_t conns; /* all open or being opened */
    uint64_t requests, errors;
    bool removed;
    bool transient; /* made by cluster_host_at: goes with its last connection */
    struct metrics_cache cells;
};

struct up_cluster {
    struct worker *w;
    struct slice name;        /* our own copy */
    struct cluster *conf;     /* referenced */
    struct endpoint_set *set; /* referenced, may be NULL */
    bool leaving;    /* the worker's tree has it no more: removed when nobody is routed here */
    bool removed;    /* lives on for `users` alone */
    uint32_t routed; /* requests and TCP connections between cluster_take and cluster_drop */
    uint32_t users;  /* they and upstream connections */
    uint32_t requests, pending, retries, conns; /* what the circuit breakers look at */
    uint32_t ejected;
    struct lb lb;
    struct map hosts; /* address -> struct up_host */
    struct env_timer outlier_timer;
    struct outlier_options outlier;
    struct cluster_stats stats;
    struct metrics_cache cells; /* of requests that reached no endpoint */
};

/* For a request or TCP connection that was routed by its own tree, which may be older than the
 * worker's: a cluster that the worker's has no more is as it was, or as the own tree says. NULL:
 * neither has it. Until cluster_drop it keeps its endpoints, whatever the trees say. */
struct up_cluster *cluster_take(struct worker *w, const struct conf *own, struct slice name);
void cluster_drop(struct up_cluster *c);
/* For upstream connections: the memory. */
struct up_cluster *cluster_ref(struct up_cluster *c);
void cluster_unref(struct up_cluster *c);
/* The worker has a new tree. */
void clusters_update(struct worker *w);
/* Removes what left and serves nobody any more. */
void clusters_sweep(struct worker *w);
/* Drops idle connections and everything that nobody uses. */
void clusters_close(struct worker *w);

/* An endpoint by the cluster's policy. When that gives one that `avoid` names `attempts` times, any
 * other that it could give (Envoy would take the avoided one); only when there is no other, one
 * that is named. NULL: none is healthy. */
struct up_host *cluster_pick(struct up_cluster *c, uint64_t hash, struct up_host *const *avoid,
                             size_t avoid_n, uint32_t attempts);
/* For CLUSTER_PASSTHROUGH and ORIGINAL_DST: the host of an address, made at first use; NULL: too
 * many are in use. */
struct up_host *cluster_host_at(struct up_cluster *c, const struct env_addr *addr);
/* The same by "name:port". */
struct up_host *cluster_host_named(struct up_cluster *c, struct slice name_port);
/* Where to connect to now: of a name, its addresses in turn. */
const struct env_addr *host_addr(struct up_host *h);
/* Who it is, for metrics; h may be NULL. Borrowed from its endpoint. */
struct metrics_party host_party(const struct up_host *h);
/* What came of a request: a status, or 0 for a failure of the connection. */
void cluster_result(struct up_host *h, int status);
/* h may be gone afterwards if it was removed and nobody uses it. */
void host_release(struct up_host *h);

#endif
