/* Which endpoint of a cluster takes a request. Pure: no clock, no I/O; one a cluster and worker.
 *
 *   struct lb lb = {0};
 *   lb_update(&lb, &(struct lb_options){.policy = LB_LEAST_REQUEST}, hosts, n);
 *   struct lb_host *h = lb_pick(&lb, hash, &rng);          NULL: 503 UH
 *   h->active++; … h->active--;                            least request reads it
 *   h->ejected = true; lb_refresh(&lb);                    outlier detection
 *
 * Priorities and panic as in Envoy: a priority that has 1 / 1.4 or more of its endpoints healthy
 * takes all its load, below it the next one takes the rest; a priority below panic_percent, when
 * all priorities together cannot take 100 %, is spread over all its endpoints.
 */
#ifndef WEFT_PROXY_LB_H
#define WEFT_PROXY_LB_H

#include "proxy/conf.h"
#include "proxy/proxy_limits.h"
#include "proxy/rng.h"

/* Embedded in the worker's state of an endpoint. */
struct lb_host {
    const struct endpoint *endpoint; /* of the set of the last lb_update */
    uint32_t active;                 /* requests under way */
    bool ejected;
};

struct lb_options {
    enum lb_policy policy;
    double panic_percent;
    uint32_t choices;                         /* of LB_LEAST_REQUEST; 0 = 2 */
    uint64_t ring_min, ring_max, maglev_size; /* 0 = the limits' */
};

struct lb_group { /* endpoints that one pick chooses from */
    struct lb_host **items;
    uint64_t *sums; /* running sum of weights */
    size_t n;
    bool weighted; /* else all weigh the same */
    uint64_t turn; /* round robin; survives updates */
};

struct lb_point {
    uint64_t hash;
    struct lb_host *host;
};

struct lb_level { /* one priority */
    struct lb_group all, healthy, degraded;
    struct lb_point *ring;
    size_t ring_n;
    uint32_t *maglev; /* index into all.items */
    size_t maglev_n;
    uint32_t load_healthy, load_degraded; /* percent */
    bool panic;
};

/* Zeroed is valid and empty. */
struct lb {
    struct lb_options opt;
    size_t level_count;
    struct lb_level *levels;
    struct arena arena;
};

/* New endpoints, weights, health or options. hosts: borrowed until the next update. At most one of
 * an address, so that rings and tables are stable. */
void lb_update(struct lb *lb, const struct lb_options *opt, struct lb_host *const *hosts, size_t n);
/* Health or ejection of a host changed. */
void lb_refresh(struct lb *lb);
/* hash: affinity key, 0 = none (a hashing policy then picks at random). */
struct lb_host *lb_pick(struct lb *lb, uint64_t hash, struct rng *rng);
/* One that lb_pick might give and that fits, by weight and nothing else; NULL when none does. For a
 * retry that wants another host: by policy, a host that fails fast and so is never busy is picked
 * again and again. fits: no calls back. */
struct lb_host *lb_pick_fitting(struct lb *lb, struct rng *rng,
                                bool (*fits)(const void *ctx, const struct lb_host *h),
                                const void *ctx);
/* May it be picked without panic? */
bool lb_host_healthy(const struct lb_host *h);
void lb_fini(struct lb *lb);

#endif
