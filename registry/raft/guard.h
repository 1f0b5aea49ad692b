/* The guard: what libraft 0.15 lacks to be a safe Raft, added from outside.
 *
 * Debian's libraft loses committed entries in schedules that are easy to write down (guard_test.c
 * plays them). Every call between the library and its I/O passes through this wrapper, which
 * repairs what is wrong in either direction; the library itself stays as it is. It has no I/O and
 * no clock of its own: over a simulated struct raft_io a whole cluster runs in virtual time.
 *
 *   guard_init(&g, &my_io, &raft, &(struct guard_events){…}, ctx);
 *   raft_init(&raft, &g.io, &fsm, id, address);
 *
 * The inner I/O must: complete every send through its callback, never by a return code (libraft
 * frees entries twice otherwise); take a message to an unknown id (0) as lost; complete appends in
 * order.
 *
 * The rules need fields of struct raft that only this ABI shows (CMake demands raft 0.15.0).
 */
#ifndef WEFT_REGISTRY_RAFT_GUARD_H
#define WEFT_REGISTRY_RAFT_GUARD_H

#include <raft.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/core/list.h"
#include "registry/raft/raft_limits.h"

/* Each rule can be switched off, for tests that show what it prevents. */
enum guard_rule {
    /* A new leader writes a barrier at once, and nothing linearizable is served before it commits:
     * entries of older terms commit only below one of the own term (Raft §5.4.2). */
    GUARD_G1_BARRIER = 1u << 0,
    /* Until the first entry of its own term is on its disk, a leader does not see successful append
     * results: 0.15 would commit what lies at its last stored index by counting (figure 8). */
    GUARD_G2_HOLD = 1u << 1,
    /* A reply acknowledges at most what its request covered (previous index + entries): 0.15
     * answers a heartbeat with its whole stored log, of which the end may be another leader's. */
    GUARD_G3_CLIP = 1u << 2,
    /* A follower with a log write or an install in flight does not become a candidate: its last
     * index is not on disk, and the completion would meet a role that it does not expect (crash).
     */
    GUARD_G4_BUSY_TICK = 1u << 3,
    /* The same for TimeoutNow: it waits for what is in flight. */
    GUARD_G5_BUSY_TIMEOUT_NOW = 1u << 4,
    /* An append that starts before what was compacted becomes a heartbeat at our commit index: 0.15
     * would append it a second time behind the log. */
    GUARD_G6_PREFIX = 1u << 5,
    /* A pre-vote refusal carries our higher term: without it three candidates with different terms
     * refuse each other for ever. */
    GUARD_G7_PREVOTE_TERM = 1u << 6,
    /* A failed write of log, term or vote ends the process: 0.15 leads on with a log in memory that
     * differs from its disk. */
    GUARD_G8_FAIL_STOP = 1u << 7,
    /* G9, a bounded number of entries in flight, is the proposer's (registry/node_write.c). */
    /* Entries are multiples of eight bytes: others are lost or shifted after a restart. */
    GUARD_G10_PAD = 1u << 9,
    /* An append begun under one term is not acknowledged to the leader of another. */
    GUARD_G11_TERM = 1u << 10,
    /* Results go only to whom they are due: 0.15 reads the destination from another role's memory
     * when it is no follower any more. And no append is taken from a second leader of our own term.
     */
    GUARD_G12_TARGET = 1u << 11,
    /* A node that may have lost its disk neither votes nor stands before it has asked and caught up
     * (join.h). */
    GUARD_G13_JOIN = 1u << 12,
    /* Followers hear at once how far the commit has come: 0.15 tells with the next entry or
     * heartbeat, and until then nothing is applied there (guard_tell_commit). */
    GUARD_G14_TELL = 1u << 13,
    /* A follower commits at most what a request covers (Raft figure 2: the lower of leaderCommit
     * and the last new entry): 0.15 takes its own last stored index, which may be another leader's
     * entry. */
    GUARD_G15_COMMIT = 1u << 14,
    /* A configuration that is not committed can be taken back. 0.15 looks for the one before in its
     * log, where it may be compacted (crash), takes what it finds there at a start for committed,
     * and keeps the mark of an uncommitted one over an installed snapshot. */
    GUARD_G16_CONF = 1u << 15,
    /* A follower's refusal of a snapshot names the one that was sent. 0.15 compares it with the one
     * that it had when it asked for it, and waits for its time-out where a newer one was sent. */
    GUARD_G17_SNAPSHOT = 1u << 16,
    /* A member votes also while the log that it has does not yet say that it is a voter: the vote
     * of the one that was just promoted may be what a majority lacks (Raft dissertation §4.1). 0.15
     * refuses; who counts a vote is for the candidate to know. */
    GUARD_G18_PROMOTED = 1u << 17,
};

enum guard_standing { GUARD_MEMBER, GUARD_ASKING, GUARD_CATCHING };

struct guard_events {
    /* State, term or leader may have changed; called after each callback into libraft. */
    void (*on_step)(void *ctx);
    /* Has caught up: a member from now on (G13). */
    void (*on_joined)(void *ctx);
};

struct guard_held {
    struct list_node node;
    struct raft_message message;
};

struct guard {
    struct raft_io io; /* the outer one: for raft_init */
    struct raft_io *inner;
    struct raft *raft;
    unsigned off; /* rules that are switched off: tests only */
    struct guard_events events;
    void *ctx;

    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    raft_io_close_cb close_cb;

    /* What libraft is being told just now. */
    const struct raft_message *receiving;
    raft_index receiving_end; /* of an append: previous index + entries */
    bool mute_results;

    unsigned appends_in_flight;
    bool installing;
    struct list held; /* append results that wait for G2 */
    unsigned held_count;

    struct raft_message told_to_stand; /* waits for G5 */
    bool stand_held;

    struct raft_barrier barrier;
    bool barrier_pending;
    raft_term barrier_term, ready_term;

    /* The disk is full: no commands are taken into the log, from whatever leader; what they say of
     * the commit is. And leadership is not taken over from another. */
    bool no_room;

    enum guard_standing standing;
    raft_term join_term;   /* of the leader that is being caught up with */
    raft_index join_index; /* what it knew to be committed when we first heard of it */

    struct raft_configuration committed; /* the newest that is (G16) */
    raft_index committed_at;

    raft_term forgot_term; /* our term when the leader was forgotten */
    raft_term drawn_term;  /* whose leader we wait for with the time-out that was drawn last */

    raft_term told_term;               /* of what follows */
    unsigned told_members;             /* of the configuration then */
    raft_index told[RAFT_MEMBERS_MAX]; /* commit that a member was sent; index of configuration */
};

void guard_init(struct guard *g, struct raft_io *inner, struct raft *raft,
                const struct guard_events *events, void *ctx);
void guard_fini(struct guard *g);
/* After raft_start, which makes the only voter a leader without a callback. */
void guard_step(struct guard *g);

/* G16, after raft_start. Everything up to `known` is committed; `older` is the configuration of the
 * snapshot that the log begins with (NULL: none). */
void guard_conf_begin(struct guard *g, raft_index known, const struct raft_configuration *older,
                      raft_index older_index);
/* A change of members may be begun: none is under way, and what we lead is our own (Raft: a leader
 * must have committed an entry of its term before it changes who belongs to the cluster). */
bool guard_conf_idle(const struct guard *g);

/* G14. At the end of a turn: what was proposed in it has told the followers already. */
void guard_tell_commit(struct guard *g);

/* Is this node leader, and has an entry of its own term committed? Only then do commit index and
 * state machine contain everything that was ever acknowledged. */
bool guard_ready(const struct guard *g);
/* Nothing is in flight that libraft must see before raft_close. */
bool guard_idle(const struct guard *g);
/* A checkpoint that a leader sent may be handed to libraft (otherwise it would be dropped
 * silently). */
bool guard_can_install(const struct guard *g);

/* G13. Before raft_start: the directory is new. */
void guard_join_begin(struct guard *g);
/* A new cluster: nothing was promised. */
void guard_join_member(struct guard *g);
/* All have answered; `term` is the highest that they know. */
void guard_join_catch_up(struct guard *g, raft_term term);
/* A leader hears that a peer has lost its log: what it acknowledged counts no more. */
void guard_peer_lost_log(struct guard *g, raft_id id);

/* A connection to or from a peer stands again: a snapshot that was on its way, or the answer to it,
 * may be lost, and libraft would wait for that until install_snapshot_timeout. */
void guard_peer_up(struct guard *g, raft_id id);

/* The leader's process is gone (its connection was reset and a new one refused): forget it, so that
 * votes are granted, … */
void guard_forget_leader(struct guard *g, raft_id leader);
/* … and stand for election now, unless a leader or another candidate was heard of since. Pre-vote
 * keeps this from disturbing a leader that the others can see. `retry` ms: how long the candidate
 * waits before it tries again by itself (instead of one to two election timeouts). false: a write
 * is in flight (G4), or pre-votes are asked for and not granted: those who have not noticed yet
 * refuse. Call again soon, which asks once more. */
bool guard_expedite(struct guard *g, unsigned retry);

/* Term of the entry at index in memory, or of the snapshot; 0 = unknown. */
raft_term guard_term_of(const struct raft *r, raft_index index);
raft_index guard_last_index(const struct raft *r);

#endif
