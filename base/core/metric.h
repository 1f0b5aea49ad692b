/* Metrics: named cells that cost a plain store to change, written out as Prometheus text.
 *
 *   static const struct metric_def pushes = {"pilot_xds_pushes", METRIC_COUNTER, "xDS pushes"};
 *   struct metric *m = metric_get(set, &pushes, 1, (struct metric_label[]){{S("type"), S("cds")}});
 *   metric_add(m, 1);
 *
 * A set belongs to one thread of writers (relaxed atomic stores); any thread may read it. The text
 * of several sets (one a worker) is summed by series. A set has a bound on its series; past it
 * metric_get returns a shared overflow cell and weft_metrics_series_dropped_total grows.
 */
#ifndef WEFT_BASE_CORE_METRIC_H
#define WEFT_BASE_CORE_METRIC_H

#include "base/core/mem.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_def {
    const char *name;
    enum metric_kind kind;
    const char *help;
    const double *buckets; /* upper bounds, ascending, without +Inf; histograms only */
    size_t bucket_count;
};

struct metric_label {
    struct slice name, value;
};

/* Istio's and Envoy's default histogram bounds, milliseconds. */
extern const double metric_buckets_ms[];
extern const size_t metric_buckets_ms_count;

struct metric;
struct metric_set;

#define METRIC_SERIES_MAX_DEFAULT 20000

struct metric_set *metric_set_new(size_t series_max);
void metric_set_free(struct metric_set *set);
/* Finds or makes the series. Labels in any order; values are copied. The def is kept by address and
 * must outlive the set. Same name, other def: assertion. */
struct metric *metric_get(struct metric_set *set, const struct metric_def *def, size_t n,
                          const struct metric_label *labels);
void metric_add(struct metric *m, uint64_t n);      /* counter */
void metric_set_value(struct metric *m, int64_t v); /* gauge */
void metric_observe(struct metric *m, double v);    /* histogram */
uint64_t metric_value(const struct metric *m);

/* Prometheus text 0.0.4 of all the sets, series of equal name and labels added up, sorted. */
void metric_write_text(struct metric_set *const *sets, size_t n, struct buf *out);

#endif
