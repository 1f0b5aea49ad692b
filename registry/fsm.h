/* The state machine over LMDB, as the raft thread drives it. One writer, always the same thread.
 *
 *   reg_store_open → for each committed entry: reg_fsm_apply … → reg_fsm_commit (publishes, wakes)
 *
 * LMDB is a cache: NOSYNC, the applied index in the same transaction as the data, a checksum in
 * each record. After an unclean stop of the machine (other boot id, no clean mark), a failed
 * check, or an end of the process while it opened the file, it is thrown away and rebuilt from the
 * newest checkpoint and the log.
 */
#ifndef WEFT_REGISTRY_FSM_H
#define WEFT_REGISTRY_FSM_H

#include "registry/command.h"

struct reg_store_options {
    struct env *env;    /* whose files hold the marks */
    const char *dir;    /* made if absent; holds data.mdb */
    uint64_t map_bytes; /* to begin with; grows by itself when half of what is left is used */
    uint64_t history_revisions; /* window of changes that are kept, … */
    uint64_t history_bytes;     /* and at most so much of it; 0 = whatever it takes */
    uint64_t step_bytes;   /* data.mdb is so much longer than it must be, where there is room */
    bool verify;           /* look at every page and every checksum at open */
    struct versions reads; /* default all that this program reads */
    /* Told at once of every lease that an entry grants, renews or ends, before the commit. */
    void (*on_lease)(void *ctx, const struct reg_lease *l, bool gone);
    void *ctx;
};

/* ERR_UNSUPPORTED: what it holds is of a version that this program does not read (raft/version.h).
 * ERR_CORRUPT: the caller restores a checkpoint (reg_store_restore) or starts from an empty store
 * and replays the log; reg_store_discard makes it empty. */
struct reg_store *reg_store_open(const struct reg_store_options *opt, struct err *err);
/* In two parts: from begin on data.mdb is looked at beside whatever else the start has to do. end
 * gives the store that may be used, or what reg_store_open would; drop is for a start that failed
 * (NULL is fine). */
struct reg_store *reg_store_open_begin(const struct reg_store_options *opt);
struct reg_store *reg_store_open_end(struct reg_store *begun, struct err *err);
void reg_store_open_drop(struct reg_store *begun);
bool reg_store_discard(struct env *env, const char *dir, struct err *err);
/* Marks the store clean and syncs it. */
void reg_store_close(struct reg_store *store);

/* What LMDB holds: index and term of the last applied entry; 0, 0 when empty. */
void reg_store_applied(struct reg_store *store, reg_rev *ret_index, uint64_t *ret_term);
/* Tells the history of one cluster from that of another: set by the first change that was ever
 * committed, equal on all nodes, also after a checkpoint. 0: nothing was ever written. */
uint64_t reg_store_genesis(const struct reg_store *store);
/* Of the cluster; 0: nothing was ever applied. */
unsigned reg_store_version(const struct reg_store *store);

struct reg_result {
    uint64_t client, sequence;
    /* NONE, CONFLICT, EXISTS, NOT_FOUND; GONE, LIMIT of leases; NO_ROOM: the quota of a namespace
     * (quota.h); INVALID: a key that another write used; CANCELLED: a sequence below settled */
    enum err_code code;
    bool repeated; /* it was applied before: the answer of then */
    bool replayed; /* another request with the same key was: the answer of that one */
    reg_rev revision, failed_rev;
    uint32_t failed_op;
};

/* Applies one committed entry inside the open batch (opens it if none is). Indexes rise (barriers
 * and configurations take some too); an index that the store has already is skipped without a
 * result (replay after a restart, a checkpoint that is newer than its snapshot). Never fails for
 * reasons of data: each request gets its result through fn, before it returns; answer nobody before
 * reg_fsm_commit. Entries of an unknown version or with broken bytes end the process: a replica
 * must not guess. */
void reg_fsm_apply(struct reg_store *store, reg_rev index, uint64_t term, struct slice entry,
                   void (*fn)(void *ctx, const struct reg_result *r), void *ctx);
/* Commits the batch and moves the applied index to `index` (≥ the last applied entry), publishes
 * the revision and wakes the watchers. Cheap when nothing is open and index did not move. LMDB
 * errors end the process. */
void reg_fsm_commit(struct reg_store *store, reg_rev index, uint64_t term);

/* Checkpoints. */

struct reg_checkpoint {
    reg_rev index;
    uint64_t term;
    uint64_t bytes;
    unsigned char sha256[32];
};

/* Copies a consistent image to `path` (fsynced, hashed). Runs on any thread, beside the writer;
 * holds a read transaction meanwhile. */
bool reg_store_checkpoint(struct reg_store *store, const char *path, struct reg_checkpoint *ret,
                          struct err *err);
/* Checks the file against its manifest. */
bool reg_checkpoint_verify(const char *path, const struct reg_checkpoint *c, struct err *err);
/* Replaces the contents by a checkpoint (writer thread; readers on other threads see the new state
 * from their next transaction on; watchers behind it get REG_HISTORY_COMPACTED). */
bool reg_store_restore(struct reg_store *store, const char *path, const struct reg_checkpoint *c,
                       struct err *err);

struct reg_store_usage {
    uint64_t used_bytes, map_bytes;
    uint64_t object_bytes, history_bytes; /* pages that hold something */
};
void reg_store_usage(struct reg_store *store, struct reg_store_usage *ret);
/* Logs which namespaces became full (quota.h), or have room again. On the writer's thread. */
void reg_quota_tell(struct reg_store *store);

#endif
