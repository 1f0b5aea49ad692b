/* What a node knows of its proxies, small enough to be told to the others at every change: how many
 * are at which revision, and what they reject. Pure.
 *
 *   converged   everything at and before the revision is acknowledged
 *   settled     the same, but a rejection counts as an answer: nothing more will come of waiting
 */
#ifndef WEFT_PILOT_SUMMARY_H
#define WEFT_PILOT_SUMMARY_H

#include "base/core/err.h"
#include "base/core/mem.h"
#include "pilot/pilot_limits.h"
#include "registry/store.h"

/* How many at which revision: sorted, no bucket is empty. Zeroed is empty. */
struct summary_dist {
    struct summary_bucket {
        reg_rev revision;
        uint32_t count;
    } * p;
    size_t n, cap;
};

void summary_dist_add(struct summary_dist *d, reg_rev revision, uint32_t count);
/* That many must be there. */
void summary_dist_sub(struct summary_dist *d, reg_rev revision, uint32_t count);
/* How many are at this revision or beyond. */
uint32_t summary_dist_at_least(const struct summary_dist *d, reg_rev revision);
/* UINT64_MAX when nobody is there. */
reg_rev summary_dist_lowest(const struct summary_dist *d);
void summary_dist_fini(struct summary_dist *d);

/* A resource that proxies refuse. */
struct summary_rejection {
    struct slice type;           /* "rds" */
    struct slice resource;       /* its name */
    struct slice version;        /* that was refused */
    struct slice message;        /* the proxy's words */
    struct slice proxy;          /* one of them */
    uint32_t proxies;            /* how many */
    const struct slice *sources; /* registry keys of the objects that it was made of */
    size_t source_count;
};

struct summary {
    uint32_t total; /* proxies connected */
    struct summary_dist converged, settled;
    const struct summary_rejection *rejections;
    size_t rejection_count;
    uint32_t rejections_left_out;
};

void summary_encode(const struct summary *s, struct buf *out);
/* Strings are borrowed from the bytes, the rest is the arena's (also the buckets: no fini). false:
 * ERR_INVALID, bytes of no summary. */
bool summary_decode(struct slice bytes, struct arena *arena, struct summary *ret_summary,
                    struct err *err);
/* By what is refused: qsort. */
int summary_cmp_rejection(const void *a, const void *b);

/* A sum: zeroed, add, end. */
struct summary_sum {
    struct summary out;
    struct summary_rejection r[SUMMARY_REJECTIONS_MAX];
};
/* s is borrowed until the end. count: only so many of its proxies, those that are least far
 * (s->total: all). */
void summary_sum_add(struct summary_sum *m, const struct summary *s, uint32_t count);
struct summary summary_sum_end(struct summary_sum *m, struct arena *arena);

/* A copy that borrows nothing, in the arena. */
struct summary summary_copy(const struct summary *s, struct arena *arena);

#endif
