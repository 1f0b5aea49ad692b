/* A data directory out of a snapshot file, offline: a new incarnation of a cluster begins.
 *
 * Every member restores the same file, with the same options, into an empty directory; then they
 * are started and are one cluster at once: each has the whole state, and nothing is transferred.
 *
 * - Nodes and directories of the old cluster are refused: the history has another genesis
 *   (raft/peers.h), and terms are far above those that the old one can have had.
 * - Revisions never go back. Whoever followed the old cluster may have seen changes that are not in
 *   the file. So the first revision of the new incarnation is the next multiple of
 *   RESTORE_REVISION_STEP that is at least half a step away, and everything before it is
 *   compacted: an older resourceVersion gives 410, and its owner lists again.
 *
 * With half a step, 5·10^10, a cluster that makes 1,000 entries a second passes it in 19 months. A
 * file that is older than that, or is restored a second time, needs `above`: a revision that the
 * new one must pass. The number of a change must stay below 2^44 (history.c): 175 incarnations.
 */
#ifndef WEFT_REGISTRY_RESTORE_H
#define WEFT_REGISTRY_RESTORE_H

#include "api/snapshot_head.h"
#include "registry/node.h"

#define RESTORE_REVISION_STEP UINT64_C(100000000000)
#define RESTORE_REVISION_MAX (UINT64_C(1) << 43)
#define RESTORE_TERM_STEP UINT64_C(1000000)

struct reg_restore_options {
    struct env *env;
    const char *from; /* the snapshot file */
    uint64_t above;   /* 0 = nothing more is known */
    /* As the node will be started: dir, id, members, peer_tls_dir, segment_bytes. */
    const struct reg_node_options *node;
};

struct reg_restored {
    struct snapshot_head head; /* of the file */
    reg_rev revision;          /* that the new incarnation begins at */
    uint64_t term;
};

/* The revision that a cluster with entries up to `index` is continued at; 0: there is none left. */
reg_rev reg_restore_revision(uint64_t index, uint64_t above);

/* Reads and checks the whole file first. ERR_EXISTS: the directory holds data of a node.
 * ERR_CORRUPT, ERR_INVALID: the file is damaged, or is no snapshot. ERR_UNSUPPORTED: of a version
 * that this program does not read. On failure nothing of it stays
 * in the directory. */
bool reg_restore(const struct reg_restore_options *o, struct reg_restored *ret, struct err *err);

#endif
