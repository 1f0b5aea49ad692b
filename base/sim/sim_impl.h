/* What the files of base/sim share. */
#ifndef WEFT_BASE_SIM_SIM_IMPL_H
#define WEFT_BASE_SIM_SIM_IMPL_H

#include <setjmp.h>

#include "base/env/env_impl.h"
#include "base/sim/sim.h"

#define SIM_PATH_BYTES 512
#define SIM_DIE_BYTES 400

/* sim_heap.c: the heap of a process, and the world's own. */
struct sim_zone {
    struct list blocks;
    size_t bytes;
};
/* Of whom is what is allocated from now on? NULL: of the world. Returns who it was. */
struct sim_zone *sim_zone_enter(struct sim_zone *zone);
/* Frees everything. */
void sim_zone_drop(struct sim_zone *zone);
/* Of the world, whoever runs. Zeroed; freed by mem_free. */
void *sim_new_bytes(size_t n);
#define SIM_NEW(type) ((type *)sim_new_bytes(sizeof(type)))

struct sim_host {
    struct env base;
    struct sim *sim;
    size_t index;
    char name[32];
    struct env_addr addr; /* port 0 */
    struct sim_host_events events;
    bool on, runs, paused, died, may_fault;
    uint64_t boots;
    char why[SIM_DIE_BYTES];
    jmp_buf die;
    struct sim_zone zone;
    uint64_t prng;
    /* Local clock: base + (world - since) * rate. */
    sim_ns local_base, local_since;
    int drift_ppm;
    int64_t wall_offset_ms;

    struct env_post *posts, **posts_end;
    struct sim_event wake;
    struct list parked; /* events that wait for the end of a pause */
    struct list works;

    struct list streams, listeners; /* of the process */
    uint16_t next_port;

    struct list files, dirty, locks, undo;
    struct list unsynced; /* newest first */
    uint64_t undo_count;
    struct sim_disk disk;
};

struct sim {
    void (*on_log)(void *ctx, const struct sim_host *h, struct slice line);
    void *log_ctx;
    uint64_t prng;
    sim_ns now;
    uint64_t events, hash;
    bool verbose;
    char dir[SIM_PATH_BYTES];
    struct heap heap;
    struct sim_host *host[SIM_HOSTS_MAX];
    size_t host_count;
    struct sim_link links[SIM_HOSTS_MAX][SIM_HOSTS_MAX];
    struct list orphans; /* streams whose process is gone */
    uint64_t next_stream;
};

/* sim_world.c */
static inline struct sim_host *sim_host_of(struct env *env)
{
    return container_of(env, struct sim_host, base);
}
void sim_turn(struct sim_host *h, void (*fn)(void *arg), void *arg);
/* Whose turn it is; NULL = the world's. */
struct sim_host *sim_current(void);
_Noreturn void sim_process_died(const char *why);
void sim_mix(struct sim *sim, uint64_t v); /* into the trace's hash */
uint64_t sim_next(uint64_t *prng);

/* sim_net.c */
struct env_stream *sim_net_connect(struct env *env, const struct env_addr *to,
                                   const struct env_stream_options *opt,
                                   const struct env_stream_events *events, void *ctx);
struct env_listener *sim_net_listen(struct env *env, const struct env_addr *at,
                                    const struct env_listen_options *opt,
                                    void (*on_accept)(void *ctx, struct env_stream *s), void *ctx,
                                    struct err *err);
const struct env_addr *sim_net_listener_addr(const struct env_listener *l);
void sim_net_listener_close(struct env_listener *l);
/* The process is gone; with `silent` the machine too. */
void sim_net_crash(struct sim_host *h, bool silent);
void sim_net_pump_all(struct sim *sim);
void sim_net_fini(struct sim *sim);

/* sim_disk.c */
extern const struct env_ops sim_disk_ops; /* the file part */
void sim_disk_flush(struct sim_host *h);  /* end of a turn */
void sim_disk_crash(struct sim_host *h, bool power);
bool sim_dir_make_new(const char *path);

#endif
