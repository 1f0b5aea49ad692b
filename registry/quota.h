/* How much each namespace holds, and how much it may (api/quota.h). A write that makes a namespace
 * larger than its quota is refused by every replica alike, as a part of the state machine: the
 * quota is in the log, and no race goes past it. What does not grow it, deletions first, is always
 * taken; a quota that is lowered below what is there refuses growth only.
 *
 * What the control plane itself says about objects (reg_write.no_quota) counts, and is not refused.
 *
 *   reg_quota_each(store, show, ctx);
 */
#ifndef WEFT_REGISTRY_QUOTA_H
#define WEFT_REGISTRY_QUOTA_H

#include "registry/store.h"

struct reg_quota {
    struct slice ns;
    uint64_t objects, bytes;         /* that there are: of keys and values, history apart */
    uint64_t objects_max, bytes_max; /* 0 = no limit */
    uint64_t refused;                /* writes, since this node counts */
};

/* Nothing more fits in, or almost nothing: all its objects, or 95 % of its bytes. */
bool reg_quota_full(const struct reg_quota *q);
/* Namespaces that have a quota, in no order; q is borrowed for the call, which must be short and
 * not call back. From any thread. */
void reg_quota_each(struct reg_store *store, void (*fn)(void *ctx, const struct reg_quota *q),
                    void *ctx);
/* Why a write of this key was refused, and what to do. */
#define REG_QUOTA_TEXT 400
void reg_quota_refusal(struct reg_store *store, struct slice key, char dst[REG_QUOTA_TEXT]);

#endif
