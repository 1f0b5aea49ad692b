/* Who a registry node is, as its certificate says it: one URI SAN.
 *
 *   weft://00c0ffee00c0ffee/node/3      cluster (16 hexadecimal digits), node id (decimal, 1 …)
 *
 * A scheme of our own, so that nobody takes a node's certificate for a workload's (spiffe://).
 */
#ifndef WEFT_REGISTRY_RAFT_IDENTITY_H
#define WEFT_REGISTRY_RAFT_IDENTITY_H

#include "base/core/err.h"
#include "base/core/slice.h"

#define IDENTITY_TEXT 64

struct identity {
    uint64_t cluster, node; /* neither is 0 */
};

/* NUL-terminated in dst, returned as a slice of it. */
struct slice identity_format(const struct identity *id, char dst[IDENTITY_TEXT]);
/* Only the one form that identity_format gives. */
bool identity_parse(struct slice uri, struct identity *ret, struct err *err);
/* 16 lower-case hexadecimal digits, not all zero. */
bool identity_cluster_parse(struct slice text, uint64_t *ret);

#endif
