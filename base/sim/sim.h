/* A world in virtual time: machines with processes, a network between them, disks that fail. One
 * thread, one seed: the same seed gives the same run, event by event, in any process.
 *
 *   struct sim *sim = sim_new(&(struct sim_options){.seed = 7, .dir = "/dev/shm/sim-x"});
 *   struct sim_host *h = sim_host_add(sim, "n1", "127.0.0.1");
 *   sim_host_start(h, start_node, node);         the process; start_node gets its env
 *   while (sim_now(sim) < 20 * SIM_S && sim_step(sim)) …
 *   sim_free(sim);
 *
 * A process sees struct env and nothing else. It may end at any moment: sim_host_kill (SIGKILL:
 * what the kernel was given stays), sim_host_power_off (what was not synced may be gone or torn),
 * or by its own wf_die (counted as killed). Its memory is then taken back as a whole, without a
 * word to it. A failed wf_assert ends the run.
 *
 * Program and library: what links weft_sim gets its heap, its wf_die and its clock from here
 * (sim_heap.c, sim_forbid.c); a call for time, randomness, threads or sockets past env ends the
 * run. */
#ifndef WEFT_BASE_SIM_SIM_H
#define WEFT_BASE_SIM_SIM_H

#include "base/env/env.h"

struct sim;
struct sim_host;

/* World time, nanoseconds. */
typedef int64_t sim_ns;
#define SIM_US ((sim_ns)1000)
#define SIM_MS ((sim_ns)1000 * 1000)
#define SIM_S ((sim_ns)1000 * 1000 * 1000)

#define SIM_HOSTS_MAX 16

struct sim_options {
    uint64_t seed;
    const char *dir; /* made, emptied, and removed by sim_free; becomes the working directory */
    bool verbose;    /* trace lines on standard error */
    /* Every line that a process logs, as it logs it; may be NULL. Not to allocate in. */
    void (*on_log)(void *ctx, const struct sim_host *h, struct slice line);
    void *ctx;
};

/* Removes a directory and what is in it: of a simulation that died. */
void sim_dir_remove(const char *path);
struct sim *sim_new(const struct sim_options *opt);
void sim_free(struct sim *sim);
sim_ns sim_now(const struct sim *sim);
/* The next event. false: none is left. */
bool sim_step(struct sim *sim);
uint64_t sim_events(const struct sim *sim); /* so far */

/* Dice of the world; below > 0. */
uint64_t sim_below(struct sim *sim, uint64_t below);
bool sim_chance(struct sim *sim, unsigned per_mille);
/* Uniform in [a, b]. */
sim_ns sim_between(struct sim *sim, sim_ns a, sim_ns b);

/* A line of the trace: goes into the hash, and is printed when verbose. */
void sim_trace(struct sim *sim, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint64_t sim_trace_hash(const struct sim *sim);

/* Events of the world (a nemesis, a test's script). */
struct sim_event {
    struct heap_node node;
    struct list_node parked;
    void (*fn)(struct sim_event *e);
    struct sim *sim;
    struct sim_host *host; /* runs as a turn of it; NULL = of the world */
    bool armed;
};
/* Embedded in its owner; zeroed but for fn. */
void sim_event_start(struct sim *sim, struct sim_event *e, sim_ns delay);
void sim_event_stop(struct sim_event *e);

/* Machines. */

struct sim_host_events {
    /* The process is about to lose its memory: close what lies outside (LMDB). why "" = killed. */
    void (*on_crash)(void *ctx, struct sim_host *h, const char *why);
    void *ctx;
};

/* name is its directory (relative to the world's), address an IPv4 address; both copied. */
struct sim_host *sim_host_add(struct sim *sim, const char *name, const char *address,
                              const struct sim_host_events *events);
const char *sim_host_name(const struct sim_host *h);
size_t sim_host_index(const struct sim_host *h);
/* A new process; main runs as its first turn. The machine is switched on if it was off. */
void sim_host_start(struct sim_host *h, void (*main)(void *ctx, struct env *env), void *ctx);
bool sim_host_runs(const struct sim_host *h);
bool sim_host_paused(const struct sim_host *h);
/* Posts are on their way to it: what they point to is still needed. */
bool sim_host_posted(const struct sim_host *h);
struct env *sim_host_env(struct sim_host *h);
void sim_host_kill(struct sim_host *h);
void sim_host_power_off(struct sim_host *h);
/* The process ended in order: all that it opened is closed. Returns the bytes that it leaked. */
size_t sim_host_exit(struct sim_host *h);
/* SIGSTOP and SIGCONT. */
void sim_host_pause(struct sim_host *h);
void sim_host_resume(struct sim_host *h);
/* A turn of the process in which fn runs: how a test calls into it. Not when it is paused. false:
 * the process ended in it. */
bool sim_host_call(struct sim_host *h, void (*fn)(void *ctx), void *ctx);
/* What is allocated between the two belongs to the world, not to the process whose turn it is. */
struct sim_zone *sim_world_enter(void);
void sim_world_leave(struct sim_zone *was);
/* Bytes that the process has from the heap. */
size_t sim_host_heap(const struct sim_host *h);

/* Its files are damaged: what reads a mapped one may end by SIGSEGV or SIGBUS, which is then a
 * death like another (why = "signal …") and not the end of the run. */
void sim_host_may_fault(struct sim_host *h, bool may);
/* Such a process shares its memory with the simulation: it may have broken more than itself. Then
 * the program ends with this status, and the run is undecided. */
#define SIM_UNDECIDED 4

/* Clocks: rate in parts per million off; the wall clock may be set. */
void sim_host_drift(struct sim_host *h, int ppm);
void sim_host_wall_jump(struct sim_host *h, int64_t ms);

/* Network. */

struct sim_link {
    sim_ns latency_min, latency_max; /* of a piece; streams keep their order */
    unsigned bytes_per_us;           /* 0 = no limit */
    size_t piece_max;    /* what is written at once arrives in pieces of 1 to so many; 0 = whole */
    size_t buffer_bytes; /* what the kernels hold of a direction; 0 = 256 KiB */
    bool cut;            /* nothing arrives; what is under way waits */
};
/* One way. Borrowed: may be changed at any time; after `cut` is taken back: sim_links_changed. */
struct sim_link *sim_link(struct sim *sim, struct sim_host *from, struct sim_host *to);
void sim_links_changed(struct sim *sim);
/* Resets all connections between the two. */
void sim_reset_between(struct sim *sim, struct sim_host *a, struct sim_host *b);

/* Disks. */

struct sim_disk {
    sim_ns sync_min, sync_max;
    unsigned stall_per_mille; /* of the syncs take up to stall_max */
    sim_ns stall_max;
    unsigned error_per_mille; /* of the syncs fail, with a part of the bytes written */
    bool limited;             /* files may grow by `room` bytes, and no more */
    uint64_t room;
};
struct sim_disk *sim_disk(struct sim_host *h);

#endif
