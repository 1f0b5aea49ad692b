/* Leases: objects that somebody holds for a time, and what hangs on them.
 *
 * A lease is an object like any other (coordination.k8s.io Lease; its key is the lease's name)
 * whose writes carry a grant: who holds it, how long a sign of life is good for, and an epoch. The
 * state machine keeps a row of its own beside the object, and these rules, equal on all nodes:
 *
 *   holder   Nobody takes a lease from its holder: first it is released (a grant with an empty
 *            holder), expires, or is deleted.
 *   epoch    The fencing number. Rises with every acquisition, also by the one who held it last,
 *            and never falls, not even when the lease is deleted and made again under its name.
 *   fence    A write with the check REG_EXPECT_EPOCH has its effect only while the lease is held at
 *            that epoch. So a holder that was away and does not know it cannot write, whatever its
 *            clock says.
 *   attach   An object may hang on a lease (reg_op.attach) that is held, or is granted by an
 *            operation before it in the same write. When the lease is deleted, expires or
 *            is released, it is deleted in the same entry.
 *   expiry   Only a leader lets a lease expire, by a write of its own term that expects the
 *            revision of the last grant: a lease that was granted again, or a leader that is
 *            none any more, makes it void. A registration is deleted then; of
 *            any other lease the holder is taken.
 *
 * Signs of life are not in the log: the leader keeps them in memory (lease_clock.h), and whoever
 * leads next gives everybody a full time to live.
 */
#ifndef WEFT_REGISTRY_LEASE_H
#define WEFT_REGISTRY_LEASE_H

#include "registry/store.h"

#define REG_HOLDER_BYTES_MAX 256
#define REG_LEASE_TTL_MS_MAX (7u * 24 * 3600 * 1000)
/* Of one node's store, and attached to one lease: what one entry may delete has numbers in the
 * history (history.c). */
#define REG_LEASES_MAX 10000
#define REG_LEASE_OBJECTS_MAX 64

struct reg_grant {
    struct slice holder; /* empty: released; at most REG_HOLDER_BYTES_MAX */
    uint32_t ttl_ms;     /* 0: does not expire; at most REG_LEASE_TTL_MS_MAX */
    /* What the writer has worked out from reg_lease_get or reg_lease_epoch_next; CONFLICT when it
     * is not the one of the rules. */
    uint64_t epoch;
    bool registration; /* deleted when it expires */
};

/* Borrowed from the transaction. */
struct reg_lease {
    struct slice key, holder;
    uint64_t id; /* of this lease under its name; never used again */
    reg_rev rev; /* of the last grant */
    uint64_t epoch;
    uint32_t ttl_ms, objects; /* objects: attached to it */
    bool registration;
};

bool reg_lease_get(struct reg_txn *txn, struct slice key, struct reg_lease *ret);
/* The epoch that the next acquisition of `key` has to name (or a greater one). */
uint64_t reg_lease_epoch_next(struct reg_txn *txn, struct slice key);
/* The lease that an object hangs on, borrowed from the transaction: who writes the object again
 * attaches it again, or it lives by itself. */
bool reg_lease_of(struct reg_txn *txn, struct slice object, struct slice *ret_lease);
/* All of them, by key, until fn returns false. */
void reg_lease_scan(struct reg_txn *txn, bool (*fn)(void *ctx, const struct reg_lease *l),
                    void *ctx);
/* Keys of the objects that are attached to it. */
void reg_lease_objects(struct reg_txn *txn, const struct reg_lease *l,
                       bool (*fn)(void *ctx, struct slice object), void *ctx);

#endif
