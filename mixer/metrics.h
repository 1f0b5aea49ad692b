/* Istio's standard metrics of one proxy, with their full label set. A request costs a look at a
 * small table and plain stores: the series of one destination are found once for each combination
 * of code, flags and protocol, and kept.
 *
 *   struct metrics *m = metrics_new(set, &self);
 *   metrics_request(m, &host->cells, &labels, &record);
 */
#ifndef WEFT_MIXER_METRICS_H
#define WEFT_MIXER_METRICS_H

#include "base/core/metric.h"
#include "mixer/record.h"

/* One end of a call. Empty fields print "unknown". */
struct metrics_party {
    struct slice workload, ns, app, version, canonical, revision, cluster, principal;
};

struct metrics_labels {
    bool destination; /* reporter="destination": we are the callee's proxy */
    const struct metrics_party *source, *target; /* NULL = this proxy itself */
    struct slice service_host, service_name, service_ns;
    bool mutual_tls;
};

struct metrics_cell;
/* Zeroed is valid and empty; in the owner of a destination. */
struct metrics_cache {
    struct metrics_cell *cells;
    uint32_t n, cap, last;
};
#define METRICS_CELLS_MAX                                                                          \
    512 /* combinations of one destination; the rest share the set's overflow */

struct metrics;
struct metrics *metrics_new(struct metric_set *set, const struct metrics_party *self);
/* A new identity (the conf was swapped): caches made before must be cleared by their owners. */
void metrics_set_self(struct metrics *m, const struct metrics_party *self);
void metrics_free(struct metrics *m);
void metrics_cache_clear(struct metrics_cache *cache);

/* requests_total, duration, sizes. labels are read only when the series is new. */
void metrics_request(struct metrics *m, struct metrics_cache *cache,
                     const struct metrics_labels *labels, const struct record *r);

/* TCP: opened once, bytes as they go, closed once. */
enum metrics_tcp { METRICS_TCP_OPENED, METRICS_TCP_CLOSED };
void metrics_tcp(struct metrics *m, struct metrics_cache *cache,
                 const struct metrics_labels *labels, const struct record *r,
                 enum metrics_tcp what);
void metrics_tcp_bytes(struct metrics *m, struct metrics_cache *cache,
                       const struct metrics_labels *labels, uint64_t sent, uint64_t received);

#endif
