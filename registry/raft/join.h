/* How a node with an empty directory becomes a voter without hurting what it may have promised
 * before.
 *
 * The directory can be empty because the cluster is new, or because the disk was lost. In the
 * second case the node has voted in terms and acknowledged entries that it does not know any more:
 * if it simply started, a second leader of one term, or a majority without a committed entry, were
 * possible. So it asks all the others first:
 *
 *   ASKING ──all others have answered, and are as new as we are────▶ MEMBER      (a new cluster)
 *     │
 *     └─all others have answered, and some are not new─▶ CATCHING ──▶ MEMBER
 *                                                        up to an entry of a term not below theirs
 *
 * All, and not a majority: of three members A may hold nothing because it was away from the start,
 * and B because it lost its disk. To each other they look like a new cluster; only C knows better.
 *
 * ASKING: votes for nobody, stands for nothing, takes no entries. CATCHING: takes entries of
 * leaders whose term is not below the highest that it was told (whatever it voted in is not above
 * that: whoever it voted for was asked), and still does not vote. It votes again when it holds all
 * that a leader of such a term knew to be committed.
 *
 * So a new cluster begins when all its members have been up at once, and a lost disk is replaced
 * while all the others are there.
 *
 * A pure decision; guard.h holds the node back, raft_io.h remembers across restarts.
 */
#ifndef WEFT_REGISTRY_RAFT_JOIN_H
#define WEFT_REGISTRY_RAFT_JOIN_H

#include "base/core/slice.h"
#include "registry/raft/raft_limits.h"

struct join_peer {
    uint64_t id, term;
    bool answered, virgin;
};

struct join {
    struct join_peer peer[RAFT_MEMBERS_MAX]; /* the other voters */
    size_t count;
};

enum join_verdict { JOIN_WAIT, JOIN_NEW_CLUSTER, JOIN_CATCH_UP };

/* Nothing but the first entry, and no vote in a later term: such a node has promised nothing. */
bool join_virgin(uint64_t term, uint64_t last_index);
void join_add(struct join *j, uint64_t id);
/* The same with what it had answered in `was`. */
void join_keep(struct join *j, const struct join *was, uint64_t id);
/* The newest answer of a peer counts. */
void join_answer(struct join *j, uint64_t id, uint64_t term, uint64_t last_index);
/* *ret_term: for CATCH_UP, the highest that was told. */
enum join_verdict join_decide(const struct join *j, bool self_virgin, uint64_t *ret_term);

#endif
