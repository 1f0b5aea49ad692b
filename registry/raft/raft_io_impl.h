/* What raft_io.c and raft_io_snapshot.c have of each other. */
#ifndef WEFT_REGISTRY_RAFT_RAFT_IO_IMPL_H
#define WEFT_REGISTRY_RAFT_RAFT_IO_IMPL_H

#include "registry/raft/raft_io.h"

static inline struct raftio *raftio_of(struct raft_io *io)
{
    return io->impl;
}

/* raft_io.c */

struct completion {
    struct list_node node;
    void (*fn)(struct raftio *io, struct completion *c);
    union {
        struct raft_io_send *send;
        struct raft_io_snapshot_put *put;
        struct raft_io_append *append;
    };
    int status;
};

/* Runs fn in the next turn: libraft is never called from inside a call of its own. The answer is
 * for what fn needs. */
struct completion *raftio_complete_later(struct raftio *io,
                                         void (*fn)(struct raftio *, struct completion *),
                                         int status);
/* Tells libraft what went wrong; returns its code. */
int raftio_fail(struct raftio *io, const struct err *err);
/* Stores a new term, if there is one: before anything goes out or into the log under it. */
void raftio_settled(struct raftio *io);
/* From now on a directory without a log is a loss. */
void raftio_mark_started(struct raftio *io);
/* Counts the log since the newest checkpoint anew, at an open. */
void raftio_count_log(struct raftio *io);
/* Takes what m holds. */
void raftio_deliver(struct raftio *io, uint64_t from, struct raft_message *m);

/* raft_io_snapshot.c */

int raftio_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                        const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb);
int raftio_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req,
                        raft_io_snapshot_get_cb cb);
/* Those that wait are answered with RAFT_CANCELED. */
void raftio_gets_cancel(struct raftio *io);
/* libraft's to free, as it frees what a load gave it. */
struct raft_snapshot *raftio_make_snapshot(const struct snapshot_manifest *m);
void raftio_on_scrub(struct env_timer *t);

/* lost: what is wrong with the newest, in whose place is the one before until the log was read, */
bool raftio_manifest_open(struct raftio *io, struct err *lost, struct err *err);
/* and for good. */
bool raftio_older_settle(struct raftio *io, const struct err *why, struct err *err);
/* Removes the files of checkpoints that no manifest names. */
bool raftio_sweep(struct raftio *io, struct err *err);

/* A leader sends a checkpoint; takes what m holds. */
void raftio_on_install(struct raftio *io, uint64_t from, struct raft_message *m);
/* … its file is here: libraft takes it as soon as it can. */
void raftio_install_try(struct raftio *io);
void raftio_install_drop(struct raftio *io);

#endif
