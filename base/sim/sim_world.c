#include "base/sim/sim.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/core/log.h"
#include "base/sim/sim_impl.h"

#define WALL_START_MS 1700000000000 /* any date will do */
#define POST_MAX (20 * SIM_US)      /* between threads */
#define WORK_MAX (20 * SIM_MS)

/* Dice. SplitMix64, as in env.c. */

uint64_t sim_next(uint64_t *prng)
{
    uint64_t r = hash_u64(*prng);
    *prng += 0x9E3779B97F4A7C15u;
    return r;
}

uint64_t sim_below(struct sim *sim, uint64_t below)
{
    wf_assert(below > 0);
    return (uint64_t)(((unsigned __int128)sim_next(&sim->prng) * below) >> 64);
}

bool sim_chance(struct sim *sim, unsigned per_mille)
{
    return sim_below(sim, 1000) < per_mille;
}

sim_ns sim_between(struct sim *sim, sim_ns a, sim_ns b)
{
    wf_assert(a <= b);
    return a + (sim_ns)sim_below(sim, (uint64_t)(b - a) + 1);
}

/* Trace. */

void sim_mix(struct sim *sim, uint64_t v)
{
    sim->hash = hash_u64(sim->hash ^ v);
}

#define DIGEST_DIGITS 16 /* and more, in hexadecimal */

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* The trace without digests: files may hold bytes that nobody wrote on purpose (LMDB leaves heap
 * pointers in the unused part of a page), and their digests differ from process to process. */
static void mix_line(struct sim *sim, struct slice line)
{
    size_t from = 0;
    for (size_t i = 0, run; i < line.n; i += run ? run : 1) {
        for (run = 0; i + run < line.n && is_hex(line.p[i + run]);)
            run++;
        if (run < DIGEST_DIGITS)
            continue;
        sim->hash = hash_bytes_seed(slice_sub(line, from, i - from), sim->hash);
        from = i + run;
    }
    sim->hash = hash_bytes_seed(slice_sub(line, from, line.n - from), sim->hash);
}

static void trace_line(struct sim *sim, const char *who, struct slice line)
{
    sim_mix(sim, (uint64_t)sim->now);
    mix_line(sim, line);
    if (sim->verbose)
        fprintf(stderr, "%10.3f %-4s %.*s\n", (double)sim->now / (double)SIM_MS, who, SLICE(line));
}

void sim_trace(struct sim *sim, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    trace_line(sim, "--", slice_of(text));
}

uint64_t sim_trace_hash(const struct sim *sim)
{
    return sim->hash;
}

/* Whose turn it is: wf_die and the log have no other way to know. One world a process. */
static struct sim_host *current;

struct sim_host *sim_current(void)
{
    return current;
}

static void on_log(void *ctx, enum log_level level, struct slice line)
{
    struct sim *sim = ctx;
    (void)level;
    trace_line(sim, current ? current->name : "--", line);
    if (sim->on_log && current)
        sim->on_log(sim->log_ctx, current, line);
}

/* Events. */

void sim_event_start(struct sim *sim, struct sim_event *e, sim_ns delay)
{
    wf_assert(e->fn && !e->armed && delay >= 0);
    e->sim = sim;
    e->armed = true;
    heap_push(&sim->heap, &e->node, sim->now + delay);
}

void sim_event_stop(struct sim_event *e)
{
    if (!e->armed)
        return;
    if (list_linked(&e->parked))
        list_remove(&e->parked);
    else
        heap_remove(&e->sim->heap, &e->node);
    e->armed = false;
}

static void event_turn(void *arg)
{
    struct sim_event *e = arg;
    e->fn(e);
}

bool sim_step(struct sim *sim)
{
    struct heap_node *n = heap_pop(&sim->heap);
    if (!n)
        return false;
    struct sim_event *e = container_of(n, struct sim_event, node);
    wf_assert(n->key >= sim->now);
    sim->now = n->key;
    sim->events++;
    sim_mix(sim, (uint64_t)sim->now);
    if (e->host && e->host->paused) {
        list_push(&e->host->parked, &e->parked);
        return true;
    }
    e->armed = false;
    if (e->host)
        sim_turn(e->host, event_turn, e);
    else
        e->fn(e);
    return true;
}

sim_ns sim_now(const struct sim *sim)
{
    return sim->now;
}

uint64_t sim_events(const struct sim *sim)
{
    return sim->events;
}

/* Clocks. */

static sim_ns local_ns(const struct sim_host *h)
{
    __int128 gone = h->sim->now - h->local_since;
    return h->local_base + (sim_ns)(gone * (1000000 + h->drift_ppm) / 1000000);
}

void sim_host_drift(struct sim_host *h, int ppm)
{
    h->local_base = local_ns(h);
    h->local_since = h->sim->now;
    h->drift_ppm = ppm;
}

void sim_host_wall_jump(struct sim_host *h, int64_t ms)
{
    h->wall_offset_ms += ms;
}

static uint64_t op_now_ns(struct env *env)
{
    return (uint64_t)local_ns(sim_host_of(env));
}

static int64_t op_wall_ms(struct env *env)
{
    struct sim_host *h = sim_host_of(env);
    return WALL_START_MS + h->sim->now / SIM_MS + h->wall_offset_ms;
}

static void op_random(struct env *env, void *p, size_t n)
{
    struct sim_host *h = sim_host_of(env);
    for (size_t at = 0; at < n; at += 8) {
        uint64_t r = sim_next(&h->prng);
        memcpy((char *)p + at, &r, n - at < 8 ? n - at : 8);
    }
}

static void op_boot_id(struct env *env, char *dst)
{
    struct sim_host *h = sim_host_of(env);
    snprintf(dst, ENV_BOOT_ID_BYTES, "%s-boot-%" PRIu64, h->name, h->boots);
}

/* Turns. */

static void on_wake(struct sim_event *e)
{
    (void)e; /* the turn itself runs what is due */
}

static void wake_after(struct sim_host *h, sim_ns delay)
{
    if (h->wake.armed && h->wake.node.key <= h->sim->now + delay && !list_linked(&h->wake.parked))
        return;
    sim_event_stop(&h->wake);
    sim_event_start(h->sim, &h->wake, delay);
}

static void wake_for_timers(struct sim_host *h)
{
    wf_ms due = env_impl_next_timer(&h->base);
    if (due == INT64_MAX)
        return;
    __int128 left = (__int128)due * SIM_MS - local_ns(h);
    left = left > 0 ? left * 1000000 / (1000000 + h->drift_ppm) + 1 : 1;
    if (left < (__int128)3600 * SIM_S)
        wake_after(h, (sim_ns)left);
}

static void run_posts(struct sim_host *h)
{
    struct env_post *p = h->posts;
    h->posts = NULL;
    h->posts_end = &h->posts;
    while (p) {
        struct env_post *next = p->next;
        p->fn(p);
        p = next;
    }
}

static void op_post(struct env *env, struct env_post *p)
{
    struct sim_host *h = sim_host_of(env);
    wf_assert(h->runs);
    p->next = NULL;
    *h->posts_end = p;
    h->posts_end = &p->next;
    wake_after(h, sim_between(h->sim, 0, POST_MAX));
}

static void host_down(struct sim_host *h, bool power);

void sim_turn(struct sim_host *h, void (*fn)(void *arg), void *arg)
{
    wf_assert(h->runs && !h->paused && !current);
    struct sim_zone *was = sim_zone_enter(&h->zone);
    current = h;
    h->base.now = (wf_ms)(local_ns(h) / SIM_MS);
    if (setjmp(h->die) == 0) {
        fn(arg);
        env_impl_run_timers(&h->base);
        run_posts(h);
        env_impl_run_deferred(&h->base);
        sim_disk_flush(h);
    }
    current = NULL;
    sim_zone_enter(was);
    if (h->died)
        host_down(h, false);
    else if (h->runs)
        wake_for_timers(h);
}

_Noreturn void sim_process_died(const char *why)
{
    struct sim_host *h = current;
    wf_assert(h);
    snprintf(h->why, sizeof(h->why), "%s", why);
    h->died = true;
    longjmp(h->die, 1);
}

static bool any_may_fault;

static void on_signal(int signum)
{
    char why[32];
    if (signum == SIGABRT && any_may_fault)
        _exit(SIM_UNDECIDED);
    if (!current || !current->may_fault) {
        if (any_may_fault)
            _exit(SIM_UNDECIDED);
        signal(signum, SIG_DFL);
        raise(signum);
        return;
    }
    snprintf(why, sizeof(why), "signal %d", signum);
    sim_process_died(why);
}

void sim_host_may_fault(struct sim_host *h, bool may)
{
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_NODEFER};
    h->may_fault = may;
    any_may_fault |= may;
    if (may) {
        sigaction(SIGABRT, &act, NULL);
        sigaction(SIGSEGV, &act, NULL);
        sigaction(SIGBUS, &act, NULL);
        sigaction(SIGFPE, &act, NULL);
    }
}

/* Work aside. */

struct job {
    struct list_node node;
    struct sim_event event;
    struct env_work *w;
};

static void on_job(struct sim_event *e)
{
    struct job *job = container_of(e, struct job, event);
    struct env_work *w = job->w;
    list_remove(&job->node);
    mem_free(job);
    w->work(w);
    w->done(w);
}

static void op_work(struct env *env, struct env_work *w)
{
    struct sim_host *h = sim_host_of(env);
    struct job *job = SIM_NEW(struct job);
    job->w = w;
    job->event.fn = on_job;
    job->event.host = h;
    list_push(&h->works, &job->node);
    sim_event_start(h->sim, &job->event, sim_between(h->sim, 0, WORK_MAX));
}

static void op_aside_begin(struct env *env, struct env_aside *a)
{
    (void)env;
    a->work(a);
}

static void op_aside_end(struct env *env, struct env_aside *a)
{
    (void)env, (void)a;
}

static void run_work(void *arg)
{
    struct env_work *w = arg;
    w->work(w);
}

/* A helper thread may have come to its end, unheard. */
static void works_crash(struct sim_host *h)
{
    struct list_node *n;
    while ((n = list_pop(&h->works))) {
        struct job *job = container_of(n, struct job, node);
        sim_event_stop(&job->event);
        if (sim_chance(h->sim, 300)) {
            struct sim_zone *was = sim_zone_enter(&h->zone);
            current = h;
            if (setjmp(h->die) == 0)
                run_work(job->w);
            current = NULL;
            sim_zone_enter(was);
        }
        mem_free(job);
    }
}

/* Machines. */

static struct env_ops ops;

static void ops_fill(void)
{
    ops = sim_disk_ops;
    ops.now_ns = op_now_ns;
    ops.wall_ms = op_wall_ms;
    ops.random = op_random;
    ops.boot_id = op_boot_id;
    ops.post = op_post;
    ops.work = op_work;
    ops.aside_begin = op_aside_begin;
    ops.aside_end = op_aside_end;
    ops.connect = sim_net_connect;
    ops.listen = sim_net_listen;
    ops.listener_addr = sim_net_listener_addr;
    ops.listener_close = sim_net_listener_close;
}

struct sim_host *sim_host_add(struct sim *sim, const char *name, const char *address,
                              const struct sim_host_events *events)
{
    struct err err = {0};
    char text[64];
    wf_assert(sim->host_count < SIM_HOSTS_MAX);
    struct sim_host *h = SIM_NEW(struct sim_host);
    h->sim = sim;
    h->index = sim->host_count;
    h->events = *events;
    h->prng = sim_next(&sim->prng);
    h->wake.fn = on_wake;
    h->wake.host = h;
    h->local_base = sim_between(sim, SIM_S, 1000000 * SIM_S);
    h->next_port = 30000;
    h->disk = (struct sim_disk){.sync_min = 50 * SIM_US, .sync_max = 500 * SIM_US};
    snprintf(h->name, sizeof(h->name), "%s", name);
    snprintf(text, sizeof(text), "%s:0", address);
    if (!env_addr_parse(&h->addr, slice_of(text), &err))
        wf_die("%s", err.msg);
    list_init(&h->parked);
    list_init(&h->works);
    list_init(&h->streams);
    list_init(&h->listeners);
    list_init(&h->files);
    list_init(&h->dirty);
    list_init(&h->locks);
    list_init(&h->undo);
    list_init(&h->unsynced);
    for (size_t i = 0; i <= sim->host_count; i++)
        sim->links[i][h->index] = sim->links[h->index][i] =
            (struct sim_link){.latency_min = 50 * SIM_US, .latency_max = 300 * SIM_US};
    sim->host[sim->host_count++] = h;
    if (!sim_dir_make_new(h->name))
        wf_die("%s: %s", h->name, strerror(errno));
    return h;
}

const char *sim_host_name(const struct sim_host *h)
{
    return h->name;
}

size_t sim_host_index(const struct sim_host *h)
{
    return h->index;
}

bool sim_host_runs(const struct sim_host *h)
{
    return h->runs;
}

bool sim_host_paused(const struct sim_host *h)
{
    return h->paused;
}

bool sim_host_posted(const struct sim_host *h)
{
    return h->posts != NULL;
}

struct env *sim_host_env(struct sim_host *h)
{
    return &h->base;
}

size_t sim_host_heap(const struct sim_host *h)
{
    return h->zone.bytes;
}

struct main_call {
    void (*main)(void *ctx, struct env *env);
    void *ctx;
    struct sim_host *h;
};

static void main_turn(void *arg)
{
    struct main_call *m = arg;
    m->main(m->ctx, &m->h->base);
}

void sim_host_start(struct sim_host *h, void (*main)(void *ctx, struct env *env), void *ctx)
{
    wf_assert(!h->runs);
    if (!h->on)
        h->boots++;
    h->on = h->runs = true;
    h->paused = h->died = false;
    env_impl_init(&h->base, &ops);
    h->base.prng = sim_next(&h->sim->prng);
    h->posts = NULL;
    h->posts_end = &h->posts;
    sim_trace(h->sim, "%s starts", h->name);
    sim_turn(h, main_turn, &(struct main_call){main, ctx, h});
    sim_net_pump_all(h->sim);
}

static void host_down(struct sim_host *h, bool power)
{
    struct sim *sim = h->sim;
    const char *why = h->died ? h->why : "";
    sim_trace(sim, "%s %s%s", h->name, power ? "loses power" : "dies: ", why);
    h->runs = h->died = h->paused = false;
    if (power)
        h->on = false;
    works_crash(h);
    sim_event_stop(&h->wake);
    sim_net_crash(h, power);
    sim_disk_crash(h, power);
    wf_assert(list_empty(&h->parked));
    if (h->events.on_crash)
        h->events.on_crash(h->events.ctx, h, why);
    sim_zone_drop(&h->zone);
    sim_net_pump_all(sim);
}

void sim_host_kill(struct sim_host *h)
{
    if (h->runs)
        host_down(h, false);
}

void sim_host_power_off(struct sim_host *h)
{
    if (h->runs) {
        host_down(h, true);
        return;
    }
    h->on = false;
    sim_net_crash(h, true);
    sim_disk_crash(h, true);
}

size_t sim_host_exit(struct sim_host *h)
{
    wf_assert(h->runs && !h->paused);
    size_t left = h->zone.bytes;
    sim_trace(h->sim, "%s ends, %zu bytes left", h->name, left);
    h->runs = false;
    works_crash(h);
    sim_event_stop(&h->wake);
    sim_net_crash(h, false);
    sim_disk_crash(h, false);
    sim_zone_drop(&h->zone);
    return left;
}

void sim_host_pause(struct sim_host *h)
{
    h->paused = h->runs;
}

void sim_host_resume(struct sim_host *h)
{
    struct list_node *n;
    if (!h->paused)
        return;
    h->paused = false;
    while ((n = list_pop(&h->parked))) {
        struct sim_event *e = container_of(n, struct sim_event, parked);
        e->armed = false;
        sim_event_start(h->sim, e, 0);
    }
    sim_net_pump_all(h->sim);
}

bool sim_host_call(struct sim_host *h, void (*fn)(void *ctx), void *ctx)
{
    uint64_t boots = h->boots;
    sim_turn(h, fn, ctx);
    return h->runs && h->boots == boots;
}

struct sim_disk *sim_disk(struct sim_host *h)
{
    return &h->disk;
}

/* The world. */

struct sim *sim_new(const struct sim_options *opt)
{
    struct sim *sim = SIM_NEW(struct sim);
    any_may_fault = false;
    ops_fill();
    sim->prng = hash_u64(opt->seed ^ 0x5741EFu);
    sim->verbose = opt->verbose;
    sim->on_log = opt->on_log;
    sim->log_ctx = opt->ctx;
    snprintf(sim->dir, sizeof(sim->dir), "%s", opt->dir);
    list_init(&sim->orphans);
    sim_dir_remove(sim->dir);
    if (!sim_dir_make_new(sim->dir) || chdir(sim->dir) != 0)
        wf_die("%s: %s", sim->dir, strerror(errno));
    hash_key_fix((struct hash_key){.k0 = opt->seed, .k1 = 1});
    log_set_sink(on_log, sim);
    return sim;
}

void sim_free(struct sim *sim)
{
    if (!sim)
        return;
    for (size_t i = 0; i < sim->host_count; i++)
        sim_host_power_off(sim->host[i]);
    sim_net_fini(sim);
    log_set_sink(NULL, NULL);
    if (chdir("/") == 0)
        sim_dir_remove(sim->dir);
    for (size_t i = 0; i < sim->host_count; i++)
        mem_free(sim->host[i]);
    mem_free(sim);
}
