/* A registry node as the rest of weftd sees it: writes, who leads, messages between nodes.
 *
 *   struct reg_node *node = reg_node_start(&(struct reg_node_options){…}, &err);   own raft thread
 *   reg_write(node, &w->write);             completion on w->write.env
 *   reg_node_stop(node);
 *
 * All functions may be called from any thread.
 */
#ifndef WEFT_REGISTRY_NODE_H
#define WEFT_REGISTRY_NODE_H

#include "base/env/env.h"
#include "registry/raft/version.h"
#include "registry/store.h"

#define REG_NODES_MAX 7

struct reg_member {
    uint64_t id;
    char name[64];
    struct env_addr addr; /* of the peers' port */
};

struct reg_node_options {
    const char *dir; /* data directory */
    uint64_t id;     /* of this node; one of members */
    /* The initial cluster (`--cluster`); used when dir is new. Of a newcomer: itself, and the
     * members that will call it. From then on the members are what the cluster says. */
    struct reg_member members[REG_NODES_MAX + 1];
    size_t member_count;
    bool newcomer;    /* to the cluster `cluster`: it has been, or will be, added by a member */
    uint64_t cluster; /* of a newcomer: reg_node_cluster of a member */
    wf_ms election_timeout;      /* default 300 */
    wf_ms heartbeat_timeout;     /* default 50 */
    uint64_t segment_bytes;      /* of the log; default 16 MiB */
    uint64_t snapshot_log_bytes; /* checkpoint after so much log; default 64 MiB … */
    wf_ms snapshot_rest; /* … or, at the next write, after an eighth of it and of the state, when
                            the last is so old; default 30,000. The log since is in memory */
    uint64_t history_revisions; /* watch window; default 100,000 */
    uint64_t quota_bytes; /* of objects, and as much again of history; default 2 GiB. Above it only
                             deletions are taken */
    uint64_t room_bytes;  /* free on the disk, or no writes are taken; default: two segments and at
                            least 64 MiB */
    uint64_t store_bytes; /* LMDB map to begin with, a power of two; default 1 GiB, doubles */
    /* Directory of the certificates for peers (raft/peer_tls.h; made by `weftd init`); NULL: peers
     * speak without TLS, and only on loopback addresses. */
    const char *peer_tls_dir;
    /* Directory of the CA of these certificates, with its key: this node signs those of nodes that
     * bring a join token. NULL: it does not. */
    const char *ca_dir;
    /* Which versions it reads and so takes part in (raft/version.h); default all that the program
     * knows. Less holds the cluster's version where it is: every node can go back to the program
     * before as long as one does so. */
    struct versions reads;
    wf_ms version_settle; /* what all members read they read for so long before it is written;
                             default 10,000 */
};

struct reg_node;

/* Opens or creates the data directory, recovers, starts the raft thread. NULL and err: the
 * directory is another node's, is in use, is of a version that it does not read (UNSUPPORTED), is
 * damaged beyond what log and checkpoint can rebuild, or an address is not loopback and there are
 * no certificates, or they are another node's. */
struct reg_node *reg_node_start(const struct reg_node_options *opt, struct err *err);
/* Hands leadership over when it can, stops the thread, closes. */
void reg_node_stop(struct reg_node *node);
struct reg_store *reg_node_store(struct reg_node *node);
uint64_t reg_node_id(const struct reg_node *node);
/* Tells this cluster from another: random or made of its first members, the same on all of them. */
uint64_t reg_node_cluster(const struct reg_node *node);

/* Writes. */

enum reg_expect {
    REG_EXPECT_ANY,
    REG_EXPECT_ABSENT, /* create */
    REG_EXPECT_REV,    /* update or delete of what was read at `expected` (its mod_rev) */
    REG_EXPECT_EXISTS,
    REG_EXPECT_EPOCH, /* a fence, of a check: `key` is a lease that is held at epoch `expected` */
};

struct reg_op {
    bool del;
    struct slice key, value;
    enum reg_expect expect;
    reg_rev expected;
    bool check; /* the expectation alone: nothing is written */
    /* Leases (lease.h). */
    const struct reg_grant *grant; /* the object is a lease, and this is what it grants */
    struct slice attach;           /* the object lives as long as this lease; empty = by itself */
    uint64_t expiry_term;          /* the leader of this term lets the lease expire; 0 = a user */
};

/* All ops of a write commit in one entry or none does. */
struct reg_write {
    const struct reg_op *ops; /* borrowed until fn */
    size_t op_count;
    /* Borrowed until fn; may be NULL. With it a write of the same key that was done before is not
     * done again: `replayed`, and reg_once_get tells the answer of then. INVALID: the key was used
     * for a write of another digest. What an expectation refuses is not remembered; whoever finds
     * that refusal final says so by a write without operations, whose memo tells it. */
    const struct reg_once *once;
    struct slice origin; /* at most REG_ORIGIN_BYTES_MAX */
    /* What the control plane says about objects that are there: the quota of a namespace (quota.h)
     * is not asked, or one that is full would hide what is wrong in it, and in others. */
    bool no_quota;
    wf_ms timeout;   /* default 5,000 */
    struct env *env; /* where fn runs */
    void (*fn)(struct reg_write *w);

    /* Filled before fn. */
    struct err err;   /* ERR_NONE: durable on a quorum and applied on this node.
                         CONFLICT, EXISTS, NOT_FOUND, GONE, LIMIT: op `failed_op`, nothing was
                         done (GONE: the lease to attach to is not held).
                         NO_ROOM: nothing was done; of a namespace's quota: op `failed_op`.
                         UNAVAILABLE: no quorum, nothing was done; the message says how many voters
                         answer. UNKNOWN_OUTCOME: timed out after it was handed over. */
    reg_rev revision; /* of the commit; for a write that changed nothing (equal values) that of the
                         object */
    bool replayed;
    size_t failed_op;
    reg_rev failed_rev; /* current mod_rev of the object that refused */
    void *impl;
};

/* Goes to the leader from any node, retried across a change of leader exactly once in effect
 * (client id and sequence in the entry) until the timeout. */
void reg_write(struct reg_node *node, struct reg_write *w);

/* Completes (same fields) when everything committed before the call is applied here: the start of a
 * linearizable read. Costs a round of heartbeats, no log write. UNAVAILABLE: no leader. TIMEOUT:
 * the leader did not get a majority to confirm it in time. */
void reg_read_index(struct reg_node *node, struct reg_write *w);

/* Signs of life of leases (lease.h). */

#define REG_RENEWALS_MAX 1024 /* of one message */

struct reg_renewal {
    struct slice key; /* of the lease */
    uint64_t epoch;   /* at which it is held */
    bool lost;        /* filled: it is not, or is about to end; a holder stops what it does */
};

struct reg_renew {
    struct reg_renewal *leases; /* borrowed until fn, their keys too */
    size_t count;               /* 1 … REG_RENEWALS_MAX; 0 only with approve */
    bool approve;               /* what mass expiry holds back may expire */
    wf_ms timeout;              /* default 2,000 */
    struct env *env;            /* where fn runs */
    void (*fn)(struct reg_renew *r);

    /* Filled before fn. */
    struct err err;  /* NONE: a leader that a majority confirmed counts each for a full TTL from the
                        moment at which it heard of it, or says that it is lost. UNAVAILABLE,
                        TIMEOUT: nobody knows; ask again. LIMIT: too many, or too many under way. */
    size_t approved; /* leases */
    void *impl;
};

/* Goes to the leader from any node, in one message; nothing is logged. */
void reg_lease_renew(struct reg_node *node, struct reg_renew *r);

/* Status. */

struct reg_lease_status {
    uint64_t held;          /* with a TTL, by somebody; known on every node */
    uint64_t registrations; /* of them */
    /* The leader's; 0 on the others. */
    uint64_t held_back;        /* registrations that mass expiry keeps */
    uint64_t expired, renewed; /* by this node since it started */
};

enum reg_role { REG_FOLLOWER, REG_CANDIDATE, REG_LEADER, REG_UNAVAILABLE };

/* A standby is sent everything and has no vote; a spare is not sent anything yet. */
enum reg_member_role { REG_MEMBER_STANDBY, REG_MEMBER_VOTER, REG_MEMBER_SPARE };

struct reg_member_status {
    struct reg_member member;
    bool self;
    enum reg_member_role role;
    /* What we send reaches it, and something came from it within ten election time-outs
     * (NODE_SILENT_ELECTIONS; each says something once in every one). A process that is stopped and
     * not dead keeps its connections open: this is how it is told from one that lives. */
    bool connected;
    reg_rev match_index; /* leader's view; 0 = unknown */
    wf_ms last_contact;  /* ms since the last message; -1 = never */
    bool no_room;        /* its disk is full: it takes no writes (node_room.c) */
    /* What it runs, as it said when it was last connected; {0, 0}, "": it never was. */
    struct versions reads;
    char release[32];
};

struct reg_status {
    enum reg_role role;
    uint64_t term, leader_id; /* 0 = none known */
    reg_rev last_index, commit_index, applied_index;
    bool quorum; /* a leader is known and was heard of within an election timeout */
    uint64_t leader_changes;
    /* Loop time (monotonic, of this machine) until which everything that was committed anywhere is
     * applied here; a leader confirmed it, so a leader that was deposed unknowingly cannot make it
     * younger. Renewed by each read index, twice a second where there is none. 0 = never. */
    wf_ms fresh_at;
    uint64_t reads_refused; /* read indexes of other nodes, beyond NODE_READ_ASKS_MAX of each */
    uint64_t read_repeats; /* rounds of a read index asked again, because this process had paused */
    uint64_t log_bytes, store_bytes_used, store_bytes_map;
    uint64_t object_bytes, history_bytes, quota_bytes;
    bool over_quota; /* only deletions are taken, until there is less again */
    uint64_t disk_free_bytes, disk_room_bytes; /* of these at least the second are wanted */
    uint64_t state_hash;
    struct reg_lease_status leases;
    unsigned version;               /* of the cluster (raft/version.h); 0 = nothing written yet */
    uint64_t peers_refused;         /* connections to the peer port; since the start */
    int64_t peer_certificate_until; /* seconds since 1970; 0 = peers speak without TLS */
    uint8_t peer_ca_sha256[32];     /* of the first CA in peer_tls_dir; zeros without */
    bool signs;                     /* for nodes that join with a token (ca_dir) */
    uint64_t enrolls_refused;       /* of those; since the start */
    size_t member_count;
    struct reg_member_status members[REG_NODES_MAX + 1]; /* one more during a change */
};

/* Latencies, sizes of batches, peers. Valid until the node is stopped. */
struct metric_set *reg_node_metrics(struct reg_node *node);
/* A copy of what the raft thread published last (at most a heartbeat old). */
void reg_node_status(struct reg_node *node, struct reg_status *ret_status);
/* "" for an id that is no member's. Borrowed from st. */
const char *reg_member_name(const struct reg_status *st, uint64_t id);
/* fn on env's thread at every change of leader or role, coalesced. */
struct reg_leader_watch *reg_leader_watch_open(struct reg_node *node, struct env *env,
                                               void (*fn)(void *ctx), void *ctx);
void reg_leader_watch_close(struct reg_leader_watch *w);

/* Membership. One change at a time; each is asked for again and again, on whoever leads, until the
 * cluster is as it says, so that to ask twice, or for what is so already, is fine. */
enum reg_member_change_kind {
    REG_MEMBER_ADD,     /* `member` becomes a standby; its id was never used before */
    REG_MEMBER_PROMOTE, /* standby -> voter, when it has nearly all of the log */
    REG_MEMBER_REMOVE,  /* cut off once that is committed; a leader hands over first */
    REG_MEMBER_LEAD,    /* `member` leads */
};

struct reg_member_change {
    enum reg_member_change_kind kind;
    struct reg_member member; /* ADD: all of it; else id */
    wf_ms timeout;            /* default 10,000 */
    struct env *env;          /* where fn runs */
    void (*fn)(struct reg_member_change *c);

    /* ERR_NONE: it is so, and committed. NOT_FOUND: no such member. CONFLICT: id, name or
     * address are another's; the last voters cannot go; too few of the others answer; REMOVE:
     * somebody who stays does not know of all who came (start it, or remove it first). LIMIT:
     * REG_NODES_MAX. TIMEOUT: not so yet (the message says why); it may still come about. */
    struct err err;
    void *impl;
};
void reg_member_change(struct reg_node *node, struct reg_member_change *c);
/* Random, never used in this cluster as far as one can tell. */
uint64_t reg_member_new_id(struct env *env);

/* Messages between nodes.
 * For what belongs to a connection and is not in the log: convergence of the proxies that hang on
 * each node, questions about them. A channel is a small number known to both sides. Best effort,
 * ordered per pair of nodes while the connection lives; at most REG_MESSAGE_BYTES_MAX; beyond
 * REG_MESSAGES_QUEUED_MAX the oldest of the same channel is dropped. */
#define REG_MESSAGE_BYTES_MAX (4u * 1024u * 1024u)
#define REG_MESSAGES_QUEUED_MAX 256

enum reg_channel {
    REG_CHANNEL_CONVERGENCE = 1, /* pilot: summary of a node's proxies */
    REG_CHANNEL_CALL = 2,        /* API: request and answer */
    REG_CHANNEL_COUNT,
};
/* to = 0: all other nodes. bytes are copied. */
void reg_send(struct reg_node *node, uint64_t to, enum reg_channel channel, struct slice bytes);
/* One receiver a channel. fn on env's thread; bytes borrowed until it returns. peer_down (may be
 * NULL) when a node's connection is lost: forget what it said. fn NULL, on env's thread: the
 * receiver goes, nothing comes after. */
void reg_receive(struct reg_node *node, enum reg_channel channel, struct env *env,
                 void (*fn)(void *ctx, uint64_t from, struct slice bytes),
                 void (*peer_down)(void *ctx, uint64_t peer), void *ctx);

#endif
