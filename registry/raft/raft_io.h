/* struct raft_io over env: the log, term and vote on disk, the peers' connections, checkpoints
 * beside.
 *
 *   raftio_open(&io, &(struct raftio_options){…}, &err);    reads and checks the directory
 *   guard_init(&guard, &io.io, &raft, …); raft_init(&raft, &guard.io, …);
 *   if (raftio_bootstraps(&io)) raft_bootstrap(&raft, &conf);
 *   raft_start(&raft);                                      listens, connects
 *   … raft_close(&raft, cb);                                closes all that start opened
 *   raftio_fini(&io);
 *
 * Sends never fail by a return code; what cannot be sent completes with RAFT_NOCONNECTION.
 */
#ifndef WEFT_REGISTRY_RAFT_RAFT_IO_H
#define WEFT_REGISTRY_RAFT_RAFT_IO_H

#include <raft.h>

#include "registry/raft/bulk.h"
#include "registry/raft/conf.h"
#include "registry/raft/log.h"
#include "registry/raft/meta.h"
#include "registry/raft/peers.h"
#include "registry/raft/snapshot.h"

struct raftio_events {
    /* A frame that is not Raft's own (FRAME_READ_PING … FRAME_CHANNEL). */
    void (*on_frame)(void *ctx, uint64_t from, const struct frame *f);
    void (*on_up)(void *ctx, uint64_t id);
    void (*on_down)(void *ctx, uint64_t id);
    void (*on_heard)(void *ctx, uint64_t id); /* peers.h */
    void (*on_gone)(void *ctx, uint64_t id);  /* likewise */
    /* peers.h; only with raftio_options.enrolls */
    void (*on_enroll)(void *ctx, struct slice payload, struct env_stream *s);
    /* The file of our newest checkpoint is damaged: make another (raftio_replace_checkpoint). */
    void (*on_damaged)(void *ctx);
    /* Term and vote could not be written: is there room now? May be NULL. */
    bool (*make_room)(void *ctx);
    /* Does the file have the hash of its description? On a helper thread. */
    bool (*verify)(void *ctx, const char *path, const struct snapshot_file *f, struct err *err);
};

/* WITH_CLUSTER: one of those that begin it. NEWCOMER: of an id that was never used; begins
 * without a log. AGAIN: what it had is damaged; the same, and it must ask before it votes. */
enum raftio_birth { RAFTIO_WITH_CLUSTER, RAFTIO_NEWCOMER, RAFTIO_AGAIN };

struct raftio_options {
    struct env *env;
    const char *dir; /* of the node; made if absent; copied */
    uint64_t self, cluster;
    const struct peer_member *members;
    size_t member_count;
    struct versions reads;               /* default all that this program reads */
    enum raftio_birth birth;             /* of a new directory */
    wf_ms user_timeout, connect_timeout; /* of peers (peers.h) */
    struct peer_tls *tls;                /* NULL = peers without TLS; must outlive the I/O */
    bool enrolls;                        /* peers.h */
    uint64_t segment_bytes;
    struct log_cells log_cells;
    const struct raft *raft; /* to be, of this I/O */
    const struct raftio_events *events;
    void *ctx;
};

/* A checkpoint that a leader offered, on its way. */
enum install_phase { INSTALL_NONE, INSTALL_FETCH, INSTALL_VERIFY, INSTALL_READY };

struct raftio_install {
    enum install_phase phase;
    struct raft_message message; /* held back until its file is here */
    uint64_t from;
    struct snapshot_file file;
    struct bulk_fetch fetch;
    struct env_work work;
    struct err err;
    char part[SNAPSHOT_PATH_BYTES];
};

struct raftio {
    struct raft_io io;
    struct env *env;
    char *dir;
    uint64_t self, cluster;
    struct versions reads;
    unsigned version; /* of the cluster; 0 = nothing was written yet */
    struct peer_member members[RAFT_MEMBERS_MAX];
    char addresses[RAFT_MEMBERS_MAX][CONF_TEXT];
    size_t member_count;
    wf_ms user_timeout, connect_timeout;
    struct peer_tls *tls;
    bool enrolls;
    const struct raft *raft;
    const struct raftio_events *events;
    void *ctx;

    enum raftio_birth birth;
    bool no_room; /* its owner's to set: checkpoints are not fetched */
    bool fresh;   /* nothing was there: to be bootstrapped, if it is born with the cluster */
    bool bootstrapping;
    struct meta meta;
    bool term_is_new; /* than the one that is stored */
    uint64_t genesis;
    struct log *log;
    struct log_contents contents; /* until load */
    raft_index next_index;
    struct log_append boot_append; /* of bootstrap, or of a reset at load */
    bool has_manifest;
    struct snapshot_manifest manifest;
    /* The checkpoint before, which is begun with when the newest is damaged: the log is kept from
     * there on. */
    bool has_older;
    struct snapshot_manifest older;
    uint64_t bytes_at_snapshot; /* log_appended_bytes then; less what was loaded */

    struct peers *peers;
    struct bulk_server *bulk;
    struct raftio_install install;

    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    unsigned tick_ms;
    struct env_timer tick_timer, scrub_timer;

    struct list completions;
    struct list gets; /* wait until a damaged checkpoint is made anew */
    struct env_task complete;
    unsigned works; /* on helper threads */
};

/* ERR_INVALID: the directory is another node's. ERR_CORRUPT: what was acknowledged is damaged. */
bool raftio_open(struct raftio *io, const struct raftio_options *opt, struct err *err);
void raftio_fini(struct raftio *io);

/* Index of the last entry that is on disk or in a checkpoint: what can be applied at most. Before
 * raft_start. */
uint64_t raftio_recovered_index(const struct raftio *io);
/* raft_bootstrap is to be called, before raft_start. */
bool raftio_bootstraps(const struct raftio *io);
/* The first entry of a new cluster is on this node's disk: before that nothing may be told to have
 * been applied, here or to the store. */
bool raftio_begun(const struct raftio *io);
/* What tells this history from another of the same members (peers.h); 0 = nothing was written. */
void raftio_set_genesis(struct raftio *io, uint64_t genesis);
/* What is committed is of this version (version.h, rule 3). */
void raftio_set_version(struct raftio *io, unsigned version);
/* The highest version of an entry in the log, from open to raft_start; 0 = none. */
unsigned raftio_recovered_version(const struct raftio *io);
/* Bytes of log since the last checkpoint. */
uint64_t raftio_log_bytes(const struct raftio *io);
/* Nothing of ours is on a helper thread or on its way to the disk: raft_close may be called. */
bool raftio_idle(const struct raftio *io);
/* Cuts all connections now, as a death of the process would. */
void raftio_disconnect(struct raftio *io);
/* The file at snapshot_remade_path takes the place of that of the newest checkpoint. */
bool raftio_replace_checkpoint(struct raftio *io, const struct snapshot_file *f, struct err *err);
/* The newest checkpoint cannot be used: the one before takes its place. Before raft_start. false:
 * there is none, or the log does not reach back to it. */
bool raftio_fall_back(struct raftio *io, const struct err *why, struct err *err);
/* Gives the room of the checkpoint before the newest back; false: there is none. */
bool raftio_drop_older(struct raftio *io);
/* The membership from now on (peers.h): whoever is not in it is cut off at once, whatever goes to
 * it or comes from it. */
void raftio_set_members(struct raftio *io, const struct peer_member *members, size_t n);
bool raftio_serving_checkpoint(const struct raftio *io);

bool raftio_send(struct raftio *io, uint64_t to, enum frame_type type, uint64_t term,
                 const struct iovec *payload, int n);
/* The node votes from now on, also after a restart (join.h). */
void raftio_set_joined(struct raftio *io);
const char *raftio_address(const struct raftio *io, uint64_t id);

#endif
