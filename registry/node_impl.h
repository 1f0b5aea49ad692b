/* Inside a registry node: what node*.c share. Everything but what stands under `lock` belongs to
 * the raft thread.
 *
 *   callers ──env_post──▶ raft thread ──▶ window of pending writes ──▶ entry (leader)
 *                                                                  └─▶ FORWARD (follower)
 *   libraft ──apply──▶ store ──commit at the end of the turn──▶ results ──env_post──▶ callers
 */
#ifndef WEFT_REGISTRY_NODE_IMPL_H
#define WEFT_REGISTRY_NODE_IMPL_H

#include <limits.h>
#include <pthread.h>
#include <raft.h>

#include "base/core/map.h"
#include "base/core/metric.h"
#include "base/core/sm.h"
#include "base/env/env_uv.h"
#include "registry/command.h"
#include "registry/fsm.h"
#include "registry/lease_clock.h"
#include "registry/node.h"
#include "registry/node_limits.h"
#include "registry/raft/conf.h"
#include "registry/raft/guard.h"
#include "registry/raft/join.h"
#include "registry/raft/raft_io.h"

/* A write or a read index on its way.
 *
 *   QUEUED ──packed by us, leading──▶ PROPOSED ──applied──▶ DONE
 *     │  ▲───leadership lost─────────────┘                   ▲
 *     │  ▲───refused, leader changed, connection lost──┐     │
 *     └──┴─sent to the leader──▶ FORWARDED ────────────┴─────┘
 *   and from everywhere to DONE: time is up, no quorum (only what nobody was given), stop.
 */
enum { PENDING_QUEUED, PENDING_PROPOSED, PENDING_FORWARDED, PENDING_DONE };

struct pending {
    struct env_post post;  /* to the raft thread; later to w->env */
    struct list_node node; /* in queue, reads or done */
    struct reg_node *owner;
    struct reg_write *w;
    struct sm sm;
    bool read;
    uint64_t sequence;
    uint64_t entry;  /* of ours, that it is in */
    unsigned handed; /* times it was given away without hearing that it was not taken */
    wf_ms deadline;
    reg_rev index; /* a read: applied up to here, then done; 0 = not known yet */
    struct reg_result result;
};

/* A request of another node, waiting for an entry of ours. */
struct foreign {
    struct list_node node;
    uint64_t from;
    size_t bytes;
    struct reg_request request;
    struct reg_once once;
    struct reg_op ops[]; /* and behind them their keys and values */
};

/* An entry of ours that is not committed yet. */
struct node_entry {
    struct raft_apply req;
    struct reg_node *owner;
    uint64_t id;
    uint64_t began_ns;
};

/* Channels. */

struct node_message {
    struct list_node node;
    uint64_t peer; /* to or from; 0 = all */
    enum reg_channel channel;
    bool down; /* no bytes: the peer is gone */
    size_t n;
    char bytes[];
};

/* Has a lock of its own: a post of it may be on its way when the node ends. */
struct node_receiver {
    pthread_mutex_t lock;
    bool closed;
    struct env *env;
    void (*fn)(void *ctx, uint64_t from, struct slice bytes);
    void (*peer_down)(void *ctx, uint64_t peer);
    void *ctx;
    struct env_post post;
    bool posted;
    struct list queue;
    size_t count;
};

struct reg_leader_watch {
    struct list_node node;
    struct reg_node *owner; /* NULL: closed while a post was on its way */
    struct env *env;
    void (*fn)(void *ctx);
    void *ctx;
    struct env_post post;
    bool posted;
};

/* A read index that we gather for ourselves or for another node. */
struct node_read {
    struct list_node node;
    uint64_t from, id;   /* another node's; 0 = ours */
    struct list waiters; /* ours: struct pending */
    wf_ms asked;
};

/* Of the node's set of metrics. */
struct node_cells {
    struct metric *commit, *apply, *store_commit, *entry_writes, *read_repeats, *reads_refused,
        *enrolls_refused;
    struct log_cells log;
};

enum node_stop { NODE_RUNS, NODE_TRANSFERS, NODE_DRAINS, NODE_CLOSES, NODE_STOPPED };

struct reg_node {
    struct reg_node_options opt;
    char *dir;
    struct env_lock *dir_lock;
    struct env_thread *thread; /* NULL: runs on an env of the caller (simulation) */
    struct env *env;
    struct err start_err;
    struct metric_set *metrics; /* written by the raft thread */
    struct node_cells cells;

    struct peer_tls *tls; /* NULL: peers without TLS */
    struct raft raft;
    struct raft_fsm fsm;
    struct raftio io;
    struct guard guard;
    bool raft_inited, raft_started, raft_closed;
    struct reg_store *store, *store_begun; /* begun: while the node opens */
    reg_rev committed;                     /* what the store was last told */
    struct env_work remake;                /* of a damaged checkpoint file */
    struct reg_checkpoint remade;
    struct err remake_err;
    bool remaking;
    raft_index checkpoint_seen; /* the last one, … */
    wf_ms checkpoint_at;        /* … and since when */
    struct env_work heap;       /* gives back what the log took */
    bool heap_due, heap_busy;
    /* node_member.c */
    struct list member_changes; /* struct member_request: asked for by callers here */
    uint64_t member_request_id;
    uint64_t members_seen; /* hash of what the list of members was made of */
    raft_index conf_seen, conf_seen_uncommitted;
    enum raftio_birth birth;
    /* Newer than ours, from a member: somebody that we do not know yet may have to tell us. */
    struct raft_configuration heard;
    raft_index heard_at;
    uint64_t votes[RAFT_MEMBERS_MAX]; /* ids of the connected peers that said that they vote */
    bool belonged;                    /* a committed configuration held this node */
    struct raft_change conf_change;
    struct raft_transfer conf_transfer;
    bool conf_transferring;
    uint64_t join_conf; /* index of the newest configuration that we were told of meanwhile */
    struct join join;   /* while guard.standing is GUARD_ASKING */

    /* node_version.c */
    unsigned version;      /* of the cluster, as we last told the peers */
    wf_ms version_since;   /* since when all members read a newer one; 0 = they do not */
    uint64_t version_term; /* in which we proposed it */

    /* node_write.c */
    uint64_t client, next_sequence, oldest_sequence;
    struct pending *window[REG_CLIENT_WINDOW];
    struct list admission; /* beyond the window */
    struct list queue;     /* QUEUED, by sequence */
    struct list done;      /* applied, to be answered after the commit */
    struct list foreigns;
    size_t foreign_bytes;
    uint64_t next_entry;
    unsigned entries_in_flight;
    unsigned outstanding; /* atomic: accepted from callers */
    struct env_task turn;
    struct env_timer retry;

    /* node_room.c */
    uint64_t object_bytes;
    bool over_quota;
    bool no_room, reserved;
    uint64_t room;
    wf_ms room_looked, room_told, room_handed;
    unsigned room_next; /* to whom it is handed over next */
    struct raft_transfer room_transfer;
    bool room_transferring;
    struct {
        uint64_t id;
        wf_ms none_until;
    } room_of[REG_NODES_MAX + 1];

    /* node_read.c */
    struct list reads_waiting; /* struct pending: no leader asked yet */
    struct list reads_asked;   /* struct node_read: the leader was asked (follower) */
    struct list reads_next;    /* struct node_read: for the next round (leader) */
    struct list reads_round;   /* struct node_read: of the round in flight */
    struct list reads_apply;   /* struct pending: index known, not applied yet */
    uint64_t read_round, read_id;
    /* Who answered in this round, by id: a change of the configuration moves places. */
    uint64_t read_pongs[REG_NODES_MAX];
    unsigned read_pong_count;
    bool read_busy;
    reg_rev read_index; /* of the round: commit index when it began */
    wf_ms read_began;
    wf_ms read_ran; /* when we last ran, as far as it matters to a round */
    uint64_t read_repeats, reads_refused;
    wf_ms read_probed;
    wf_ms fresh_at;      /* everything committed until then is applied; 0 = never known */
    reg_rev fresh_index; /* from here on fresh_at is fresh_asked; 0 = none */
    wf_ms fresh_asked;

    /* node_status.c */
    uint64_t seen_leader;
    unsigned short seen_state;
    raft_term seen_term;
    wf_ms leaderless_since, majority_since;
    wf_ms greeted; /* when the others were last told that this node lives */
    bool had_majority;
    uint64_t leader_changes;
    bool status_due, watch_due;
    struct env_timer tick, expedite;
    unsigned expedite_tries; /* since the leader went */
    pthread_mutex_t lock;
    struct reg_status status;                           /* under lock */
    struct list watches;                                /* under lock */
    struct node_receiver *receivers[REG_CHANNEL_COUNT]; /* under lock */
    struct list outbox[REG_CHANNEL_COUNT];              /* under lock: struct node_message */
    size_t outbox_count[REG_CHANNEL_COUNT];
    struct env_post outbox_post;
    bool outbox_posted;

    /* node_lease.c */
    struct lease_clock leases;
    uint64_t lease_term;        /* in which the clock leads; 0 = it does not */
    struct list renews;         /* struct renew: ours, for whoever leads */
    struct list renews_asked;   /* ours, the leader was asked */
    struct list renews_confirm; /* struct confirm: ours and others' */
    struct list leases_ending;  /* struct lease_end */
    size_t renew_count, ending_count;
    uint64_t renew_id, renewed;
    bool lease_due, lease_held_back;

    /* node_enroll.c */
    struct list enrols; /* struct enrol */
    size_t enrol_count;
    uint64_t enrols_refused;

    /* node.c */
    enum node_stop stop;
    bool abrupt;
    wf_ms stop_deadline;
    struct raft_transfer transfer; /* must outlive its callback (libraft 0.15) */
    struct env_post stop_post;
    struct env_timer stop_timer;
    pthread_cond_t changed; /* with lock: started or stopped */
    bool started, stopped;
};

/* node.c: reg_node_start and reg_node_stop in steps, for those who turn the node's env themselves.
 * NULL and err: the options do not fit together. */
struct reg_node *node_new(const struct reg_node_options *opt, struct err *err);
bool node_open(struct reg_node *n, struct env *env, struct err *err);
/* n->stopped says when it is done; then node_free. After a node_open that failed: node_free. */
void node_stop_begin(struct reg_node *n, bool abrupt);
void node_free(struct reg_node *n);
/* Stops as a killed process would look to the others: no transfer, connections cut. For tests. */
void reg_node_kill(struct reg_node *node);
/* Wakes the end-of-turn work: commit, answers, new entries. */
void node_turn(struct reg_node *n);
bool node_leads(const struct reg_node *n);
/* Whom to ask; 0 = nobody known. */
uint64_t node_leader(const struct reg_node *n);
unsigned node_voters(const struct reg_node *n);

/* Of a cluster without certificates: what its members' ids and addresses give. */
uint64_t node_cluster_id(const struct reg_node_options *opt);

/* node_quarantine.c: is it, in a node's directory, what makes the node what it is? */
bool node_is_data(struct slice name);
/* Moves it into a new directory of dir, prefix and a number; ERR_LIMIT: there are `max` already. */
bool node_put_aside(struct env *env, const char *dir, const char *prefix, size_t max,
                    char ret_name[NAME_MAX + 1], struct err *err);
/* Puts all that the directory holds aside. false and err: it cannot, or has too often. */
bool node_quarantine(struct reg_node *n, const struct err *why, struct err *err);
/* It was put aside, and the process ended before it had begun anew. */
bool node_quarantine_unfinished(struct env *env, const char *dir);

/* node_write.c */
void node_write_init(struct reg_node *n);
void node_write_on_result(void *ctx, const struct reg_result *r);
/* Packs what waits into entries (leader) or sends it on (follower). */
void node_write_advance(struct reg_node *n);
void node_write_on_forward(struct reg_node *n, uint64_t from, const struct frame *f);
void node_write_on_refused(struct reg_node *n, const struct frame *f);
/* What was given to others goes back into the queue: leader changed, or a connection was lost. */
void node_write_recall(struct reg_node *n);
void node_write_tick(struct reg_node *n);
void node_write_answer_done(struct reg_node *n);
void node_write_fail_all(struct reg_node *n);
/* Proposes an entry of this version without requests. false: not just now. */
bool node_write_raise(struct reg_node *n, unsigned version);
/* Answers p->w on its env and frees p. */
void node_answer(struct pending *p);
bool node_expired(struct reg_node *n, struct pending *p);

/* node_version.c */
/* Before raft_start: is there an entry in the log that this program does not read? */
bool node_version_log_fits(const struct reg_node *n, struct err *err);
/* What is committed is of this version: tells the peers. */
void node_version_advance(struct reg_node *n);
/* A leader raises it when all members read a newer one. */
void node_version_tick(struct reg_node *n);
/* That a leader writes. */
unsigned node_version_write(const struct reg_node *n);
/* What a member runs; {0, 0}: it never said. */
struct versions node_version_reads(const struct reg_node *n, uint64_t id);

/* node_room.c */
void node_room_init(struct reg_node *n);
void node_room_tick(struct reg_node *n);
/* Gives the reserve up; false: it is gone already. */
bool node_room_make(void *ctx);
void node_room_on_frame(struct reg_node *n, uint64_t from, const struct frame *f);
bool node_room_none(const struct reg_node *n, uint64_t id);
/* May a copy of so many bytes be made? */
bool node_room_for(const struct reg_node *n, uint64_t bytes);
/* A leader asks: the id of a node for whose disk no write can be taken, or NODE_ROOM_QUOTA; 0 =
 * they can. */
uint64_t node_room_refuses(const struct reg_node *n);
#define NODE_ROOM_QUOTA UINT64_MAX /* instead of an id: it is the quota */
/* What the store uses now. */
void node_room_used(struct reg_node *n, const struct reg_store_usage *used);
/* Does the quota keep it out? Deletions make room. */
bool node_room_grows(const struct reg_op *ops, size_t n);
bool node_room_err(const struct reg_node *n, uint64_t id, struct err *err);

/* node_read.c */
void node_read_init(struct reg_node *n);
void node_read_add(struct reg_node *n, struct pending *p);
void node_read_advance(struct reg_node *n);
void node_read_on_frame(struct reg_node *n, uint64_t from, const struct frame *f);
void node_read_recall(struct reg_node *n);
void node_read_tick(struct reg_node *n);
void node_read_fail_all(struct reg_node *n);

/* node_lease.c */
void node_lease_init(struct reg_node *n);
void node_lease_fini(struct reg_node *n);
/* For the store's options. */
void node_lease_on_change(void *ctx, const struct reg_lease *l, bool gone);
/* Another store is open: reads all. */
void node_lease_load(struct reg_node *n);
void node_lease_tick(struct reg_node *n);
void node_lease_advance(struct reg_node *n);
void node_lease_on_frame(struct reg_node *n, uint64_t from, const struct frame *f);
/* Leader or connection changed: what was asked is asked again. */
void node_lease_recall(struct reg_node *n);
void node_lease_fail_all(struct reg_node *n);

/* node_status.c */
void node_status_init(struct reg_node *n);
/* We are it, or it says something (reg_member_status). */
bool node_member_connected(const struct reg_node *n, uint64_t id);
void node_status_publish(struct reg_node *n);
void node_status_advance(struct reg_node *n);
void node_status_on_step(struct reg_node *n);
/* The process of a peer is gone: if it led, an election begins at once. */
void node_status_on_gone(struct reg_node *n, uint64_t id);
/* "no quorum: 1 of 3 voters answer (n1); traffic goes on; start the missing nodes (n2, n3)" */
void node_no_quorum(struct reg_node *n, struct err *err);
/* No leader, and none to be expected soon: what nobody was given is answered now. */
bool node_hopeless(struct reg_node *n);
void node_watch_fini(struct reg_node *n);

/* node_metrics.c */
void node_metrics_init(struct reg_node *n);
void node_metrics_fini(struct reg_node *n);
/* The time since, env_now_ns then. */
void node_metrics_since(struct reg_node *n, struct metric *m, uint64_t began_ns);
/* What the status says of the peers. */
void node_metrics_refresh(struct reg_node *n, const struct reg_status *s);

/* node_member.c */
void node_member_init(struct reg_node *n);
/* The list of members follows the configuration. */
void node_member_advance(struct reg_node *n);
void node_member_tick(struct reg_node *n);
/* The committed configuration as in an entry; raft_free(ret->base). */
void node_member_encode(const struct reg_node *n, struct raft_buffer *ret);
/* Tells `to` (0: all) whether this node votes. */
void node_member_tell(struct reg_node *n, uint64_t to);
void node_member_on_down(struct reg_node *n, uint64_t peer);
void node_member_on_frame(struct reg_node *n, uint64_t from, const struct frame *f);
void node_member_fail_all(struct reg_node *n);

/* node_known.c: the members, kept beside the data. */
void node_known_keep(struct reg_node *n);
/* A node whose data was put aside hears of them. */
void node_known_recall(struct reg_node *n);

/* node_join.c */
void node_join_begin(struct reg_node *n);
void node_join_ask(struct reg_node *n);
void node_join_on_ask(struct reg_node *n, uint64_t from);
/* node_member.c: another node's committed configuration. Who is in it may connect. */
void node_member_learn(struct reg_node *n, raft_index index, const struct raft_configuration *c);
void node_join_on_state(struct reg_node *n, uint64_t from, const struct frame *f);

/* node_enroll.c */
/* Does the CA's directory fit, if there is one? After the I/O is open. */
bool node_enroll_open(struct reg_node *n, struct err *err);
/* Who has no certificate asks for one. Takes s. */
void node_enroll_on_ask(struct reg_node *n, struct slice payload, struct env_stream *s);
void node_enroll_fail_all(struct reg_node *n);

/* node_channel.c */
void node_channel_init(struct reg_node *n);
void node_channel_on_frame(struct reg_node *n, uint64_t from, const struct frame *f);
void node_channel_on_down(struct reg_node *n, uint64_t peer);
void node_channel_fini(struct reg_node *n);

#endif
