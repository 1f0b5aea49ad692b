/* One run: a cluster of registry nodes in a simulated world, clients, a nemesis, and the oracle
 * that judges them. All of a run follows from its seed: how many nodes, how fast the network,
 * which faults, every knob is drawn (swarm testing: a run with few kinds of faults goes deeper
 * into them).
 *
 *   struct run_result r;
 *   run_seed(&(struct run_options){.seed = 7, .dir = "/dev/shm/weft-sim-1"}, &r);
 *
 * Phases: faults and load (safety); a random core of a majority is healed, and must make progress
 * (liveness); everything is healed, and all nodes must come to the same state; stop, and nothing
 * may be left on the heap. */
#ifndef WEFT_REGISTRY_SIM_RUN_H
#define WEFT_REGISTRY_SIM_RUN_H

#include "base/sim/sim.h"
#include "registry/apiserver/apiserver.h"
#include "registry/node_impl.h"
#include "registry/sim/nemesis.h"
#include "registry/sim/oracle.h"
#include "registry/store_internal.h"

#define RUN_MEMBERS_MAX 9 /* with those that come and go */
#define RUN_CLIENTS_MAX 16
#define RUN_WATCHERS_MAX 4
#define RUN_HOLDERS_MAX 6
#define RUN_API_CLIENTS_MAX 4
#define RUN_API_WATCHERS_MAX 4

struct run_options {
    uint64_t seed;
    const char *dir;
    bool verbose;
    unsigned guards_off; /* enum guard_rule: to show that the faults are hard enough */
    /* Not 0: instead of the faults that are drawn, so many single bits of files, one after the
     * other (flips.c). */
    unsigned flips;
};

/* A bit of a file of one node is flipped; the others are good. What it was of, … */
enum flip_file {
    FLIP_LOG,      /* segments of the log */
    FLIP_META,     /* term and vote, the log's end, the checkpoints' manifests, the store's mark */
    FLIP_SNAPSHOT, /* checkpoint files */
    FLIP_LMDB,     /* data.mdb */
    FLIP_FILES,
};
/* … and what the node did. */
enum flip_end {
    FLIP_UNNOTICED, /* nothing: it does not look there, or had written it anew */
    FLIP_CORRECTED, /* made anew from what else it has */
    FLIP_REBUILT,   /* put everything aside, and got it from the others */
    FLIP_REFUSED,   /* ended itself with an error, and did one of the above at the next start */
    FLIP_ENDS,
};
const char *flip_file_name(enum flip_file f);
const char *flip_end_name(enum flip_end e);

struct run_result {
    char violation[512]; /* "" = none */
    uint64_t trace;      /* hash of everything that happened */
    uint64_t events, writes, acked, reads, watched, deaths, leaders, checkpoints, rots, changes;
    uint64_t renewals, expiries, programs, raises;
    uint64_t flips[FLIP_FILES][FLIP_ENDS], flip_starts_max; /* starts that one flip took at most */
    uint64_t api_writes, api_acked, api_reads, api_watched, api_resumes, api_relists, api_replays,
        api_torn, api_rollbacks;
    sim_ns virtual_ns;
};

void run_seed(const struct run_options *opt, struct run_result *ret);

/* Inside: what the files of this folder share. */

/* Drawn from the seed (knobs.c). */
struct run_knobs {
    size_t nodes, clients, watchers, keys;
    wf_ms election, heartbeat, snapshot_rest;
    uint64_t segment_bytes, snapshot_log_bytes, history, store_bytes;
    sim_ns think_max, chaos, calm, pause_between_faults; /* calm: before the first fault */
    size_t value_max;
    wf_ms write_timeout;
    unsigned fault_weight[FAULT_COUNT];
    size_t holders;
    uint32_t lease_ttl; /* ms */
    /* Clients of the API, on a machine of their own. */
    size_t api_clients, api_watchers;
    wf_ms api_bookmarks, api_patience, api_stall, api_timeout;
    size_t api_piece, api_buffer;            /* of their connections: see struct sim_link */
    unsigned api_breaks, api_slow, api_torn; /* per mille: of calls, of looks, of writes */
    /* How many of a thousand nodes begin with the program before; may they go back to it? */
    unsigned old_per_mille;
    bool rollback;
    bool raise_cut; /* … and does one, just when the version is raised (nemesis_on_log)? */
    wf_ms version_settle;
};

struct run;

/* A node: machine, process, and what is remembered of it over its deaths. */
struct member {
    struct run *run;
    struct sim_host *host;
    struct reg_node *node; /* NULL while its process does not run, or is being opened */
    struct apiserver *api; /* likewise; or nobody would ask it */
    bool api_closed;
    size_t index;
    struct raft_fsm fsm; /* in front of the node's */
    struct sim_event restart, stopped, resume;
    sim_ns started;          /* this process */
    sim_ns down;             /* after an end in order; < 0: for good */
    raft_index last_applied; /* of this process; 0 = nothing yet */
    uint64_t led_term;
    bool disk_failed; /* an error was injected: it may end itself */
    bool stopping;
    unsigned rot_deaths;    /* since its files were damaged; 0 = they were not */
    bool put_aside, mended; /* it said so, since a bit was flipped (flips.c) */
    bool newcomer, gone;    /* added while it ran; taken out again */
    unsigned knows;         /* bits of those in the newest committed configuration that it has */
    raft_index knows_at;    /* the index of that; 0 = none yet */
    bool voter;             /* in the newest committed configuration that anybody has */
    bool wiped;             /* its disk is new, and it does not vote yet */
    bool held;              /* a log that it told others of is on its disk */
    struct versions reads;  /* of its program, from its next start on */
    /* What was durable when its process ended: terms of entries from `first`. */
    raft_index dead_first, dead_last, dead_snapshot;
    VEC(raft_term) dead_terms;
    bool dead_unseen; /* it ended in order: libraft was closed before one could look */
};

/* The newest revision that anybody was told of, and when: for reads that may be so old. */
struct told {
    sim_ns at;
    reg_rev rev;
};

struct client {
    struct run *run;
    size_t index, home;
    struct sim_event tick;
    struct op *op; /* under way */
};

struct operator
{
    struct run *run;
    struct sim_event tick;
    struct reg_member_change change;
    struct member *at, *target;
    unsigned phase, tries;
    bool busy, kill;
};

/* Takes a lease, keeps it alive, hangs objects on it, writes behind its fence, falls silent, and
 * comes back without knowing what it lost. */
struct holder {
    struct run *run;
    size_t index;
    struct sim_event tick;
    char name[24], key[40];
    bool registration;
    uint64_t epoch;    /* at which it believes to hold the lease; 0 = it does not */
    bool returns;      /* from silence: it grants itself again what it may have lost */
    uint64_t number;   /* of its writes */
    struct deed *deed; /* under way */
};

struct watcher {
    struct run *run;
    size_t at;
    struct sim_event tick;
    reg_rev cursor;
    bool listed;
};

struct run {
    struct run_options opt;
    struct run_result *result;
    struct run_knobs knobs;
    struct sim *sim;
    struct oracle oracle;
    struct member member[RUN_MEMBERS_MAX];
    size_t members;
    struct operator operator;
    /* The newest committed configuration that a node knew of, and the one before. */
    raft_index conf_at;
    struct raft_configuration conf, conf_before;
    uint64_t cluster;
    struct client client[RUN_CLIENTS_MAX];
    struct watcher watcher[RUN_WATCHERS_MAX];
    struct holder holder[RUN_HOLDERS_MAX];
    struct sim_event fault, raise;
    struct member *raiser; /* the leader that has just begun to raise the version */
    bool quiet;            /* no new operations */
    struct op *probe;      /* for progress */
    reg_rev acked_max;     /* no linearizable read may show less */
    VEC(struct told) told;
    struct api_world *api; /* api.c; NULL: no clients of it in this run */
};

void knobs_draw(struct sim *sim, struct run_knobs *k);
void knobs_trace(struct sim *sim, const struct run_knobs *k);

/* member.c */
void member_init(struct run *run, size_t i);
void member_fini(struct member *m);
void member_start(struct member *m);
void member_restart_later(struct member *m, sim_ns delay);
void member_kill(struct member *m);
void member_power_off(struct member *m);
void member_wipe(struct member *m);   /* the machine is off: its disk is new */
void member_rot(struct member *m);    /* killed; then one of its files is damaged */
void member_rotted(struct member *m); /* one of its files was damaged */
/* In order; restarts after `down`, never when negative. */
void member_stop(struct member *m, sim_ns down);
/* The program of its next start: the newer one, or, where that is allowed, the one before. */
void member_change_program(struct member *m);
/* … the newer one; what runs is killed when it is not. */
void member_upgrade(struct member *m);
bool member_ready(const struct member *m); /* its process can be called */
bool member_leads(const struct member *m);
/* Entry `index` of `term` is on its disk. */
bool member_has(const struct member *m, raft_index index, raft_term term);
/* It is, or may be, of the cluster. */
bool member_in(const struct member *m);
/* Its process should run: not gone, and added if it is to be. */
bool member_wanted(const struct member *m);
void member_self(const struct member *m, struct reg_member *ret);
void member_api_addr(const struct member *m, struct env_addr *ret);
bool member_serves(const struct member *m); /* its API answers, for all one can know */
/* Where it stands, for whoever reads the trace of a run that failed. */
void member_trace(const struct member *m);
/* After each event. */
void member_look(struct member *m);

/* client.c */
void clients_start(struct run *run);
void clients_host_down(struct run *run, const struct sim_host *h);
void clients_fini(struct run *run);
bool clients_idle(const struct run *run);
/* Somebody was told of it: later linearizable reads show it. */
void run_told(struct run *run, reg_rev rev);
/* The newest that somebody had been told of at that time. */
reg_rev run_told_before(const struct run *run, sim_ns at);
/* A write was acknowledged at rev: it is on the disks of a majority. */
void run_acked(struct run *run, uint64_t number, reg_rev rev);
/* A write that must succeed: progress. NULL when m cannot be called. */
struct op *client_probe(struct run *run, struct member *m);
bool op_done(const struct op *op);
bool op_succeeded(const struct op *op);
void op_free(struct op *op);

/* api.c */
bool api_clients_any(const struct run *run);
void api_start(struct run *run);
void api_fault(struct run *run);
void api_heal(struct run *run);
/* After all is healed: nobody is idle who could know more. false: not yet. */
bool api_settled(struct run *run);
/* Each member has listed everything, linearizably, and it was right. false: not yet. */
bool api_checked(struct run *run);
void api_stop(struct run *run);
void api_fini(struct run *run);
/* operator.c */
void operator_init(struct run *run);
void operator_change(struct run *run); /* begins one, if none is under way */
void operator_host_down(struct run *run, const struct sim_host *h);
bool operator_idle(const struct run *run);
void operator_fini(struct run *run);

/* holder.c */
void holders_start(struct run *run);
void holders_host_down(struct run *run, const struct sim_host *h);
void holders_fini(struct run *run);
bool holders_idle(const struct run *run);

/* watcher.c */
void watchers_start(struct run *run);
void watcher_look(struct watcher *w, struct member *m);
void watchers_fini(struct run *run);

/* flips.c */
void flips_knobs(struct run *run);
void flips_on_log(void *run, const struct sim_host *h, struct slice line);
void flips_play(struct run *run);
/* run.c: until then, or a violation. */
void run_until(struct run *run, sim_ns end);
void run_step(struct run *run);

/* nemesis.c */
void nemesis_start(struct run *run);
void nemesis_stop(struct run *run);
/* Every line that a node logs: some moments are too short to be met by chance. */
void nemesis_on_log(void *ctx, const struct sim_host *h, struct slice line);
/* Cuts what does not belong to a random majority, heals the rest. core[i]: node i belongs. */
void nemesis_core(struct run *run, bool core[RUN_MEMBERS_MAX]);
void nemesis_heal(struct run *run);

#endif
