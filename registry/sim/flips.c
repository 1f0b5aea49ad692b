/* Bit rot: single bits, one at a time, at rest and under a node that runs. Each must come to
 * nothing: the node comes back by itself, in a few starts, with the state that the others have, and
 * whatever clients were told holds (oracle.c). The next bit is flipped when the one before is over.
 */
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "registry/raft/raft_limits.h"
#include "registry/sim/run.h"

#define STARTS_MAX 3 /* more for one bit is a crash loop */
#define BACK_MAX (30 * SIM_S)

static const char *const file_names[] = {[FLIP_LOG] = "log",
                                         [FLIP_META] = "metadata",
                                         [FLIP_SNAPSHOT] = "snapshot",
                                         [FLIP_LMDB] = "lmdb"};
static const char *const end_names[] = {[FLIP_UNNOTICED] = "unnoticed",
                                        [FLIP_CORRECTED] = "corrected",
                                        [FLIP_REBUILT] = "rebuilt",
                                        [FLIP_REFUSED] = "refused"};

/* Of the directory of a node. */
static const char *const patterns[FLIP_FILES][5] = {
    [FLIP_LOG] = {"log/*.log"},
    [FLIP_META] = {"meta", "snapshot*", "log/end", "store/mark"},
    [FLIP_SNAPSHOT] = {"ckpt-*.mdb"},
    [FLIP_LMDB] = {"store/data.mdb"},
};

/* How many of a hundred. */
static const unsigned shares[FLIP_FILES] = {
    [FLIP_LOG] = 30, [FLIP_META] = 25, [FLIP_SNAPSHOT] = 25, [FLIP_LMDB] = 20};

const char *flip_file_name(enum flip_file f)
{
    return file_names[f];
}

const char *flip_end_name(enum flip_end e)
{
    return end_names[e];
}

/* Three nodes, no other faults; checkpoints and segments that come and go quickly. */
void flips_knobs(struct run *run)
{
    struct run_knobs *k = &run->knobs;
    memset(k->fault_weight, 0, sizeof(k->fault_weight));
    k->nodes = 3;
    k->keys = 40;
    k->segment_bytes = 64 << 10;
    k->snapshot_log_bytes = sim_chance(run->sim, 500) ? 16 << 10 : 64 << 10;
    k->value_max = sim_chance(run->sim, 500) ? 300 : 2000;
    k->think_max = 100 * SIM_MS;
    k->clients = k->clients < 3 ? 3 : k->clients;
}

void flips_on_log(void *ctx, const struct sim_host *h, struct slice line)
{
    static const char *const mended[] = {"registry.store.rebuild", "registry.log.torn_tail",
                                         "registry.checkpoint.damaged",
                                         "registry.checkpoint.older"};
    struct run *run = ctx;
    struct member *m = &run->member[sim_host_index(h)];
    m->put_aside |= slice_contains(line, S("registry.quarantine"));
    for (size_t i = 0; i < ARRAY_LEN(mended); i++)
        m->mended |= slice_contains(line, slice_of(mended[i]));
}

static bool failed(const struct run *run)
{
    return run->oracle.violation[0];
}

/* Runs, votes, and has applied what anybody has. */
static bool member_good(const struct member *m)
{
    return member_ready(m) && !m->wiped && m->node->guard.standing == GUARD_MEMBER &&
           m->node->io.works == 0 && !m->node->remaking;
}

static bool all_good(const struct run *run)
{
    for (size_t i = 0; i < run->members; i++)
        if (!member_good(&run->member[i]))
            return false;
    return true;
}

static void await_all(struct run *run)
{
    sim_ns deadline = sim_now(run->sim) + BACK_MAX;
    while (!failed(run) && !all_good(run)) {
        run_step(run);
        if (sim_now(run->sim) > deadline)
            oracle_fail(&run->oracle, "a bit was flipped, and the nodes do not come to rest");
    }
}

/* One that is damaged is back when it is as new as the others were when it was started, and has
 * looked at its checkpoints. */
static void await_back(struct run *run, const struct member *m)
{
    reg_rev least = run->oracle.last;
    sim_ns deadline = sim_now(run->sim) + BACK_MAX;
    sim_ns looks = sim_now(run->sim) + SCRUB_FIRST_MS * SIM_MS;
    while (!failed(run) && sim_now(run->sim) <= looks)
        run_step(run);
    while (!failed(run) &&
           !(member_good(m) && m->node->store->meta.applied_index >= least && all_good(run))) {
        run_step(run);
        if (sim_now(run->sim) > deadline)
            oracle_fail(&run->oracle, "%s does not come back after a bit was flipped",
                        sim_host_name(m->host));
    }
}

/* Files. */

struct spot {
    char path[160];
    uint64_t at;
    unsigned bit;
};

/* Behind it there is nothing but zeros that were never written. */
static uint64_t used_bytes(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    wf_assert(fd >= 0 && fstat(fd, &st) == 0);
    char *bytes = mem_new((size_t)st.st_size + 1);
    size_t used = (size_t)st.st_size;
    wf_assert(pread(fd, bytes, used, 0) == st.st_size);
    close(fd);
    while (used && !bytes[used - 1])
        used--;
    mem_free(bytes);
    return used;
}

static bool spot_draw(struct run *run, const struct member *m, enum flip_file file,
                      struct spot *ret)
{
    glob_t g = {0};
    char pattern[160];
    for (size_t i = 0; patterns[file][i]; i++) {
        snprintf(pattern, sizeof(pattern), "%s/%s", sim_host_name(m->host), patterns[file][i]);
        glob(pattern, i ? GLOB_APPEND : 0, NULL, &g);
    }
    uint64_t used = 0;
    if (g.gl_pathc) {
        snprintf(ret->path, sizeof(ret->path), "%s", g.gl_pathv[sim_below(run->sim, g.gl_pathc)]);
        used = used_bytes(ret->path);
    }
    globfree(&g);
    if (!used)
        return false;
    ret->at = sim_below(run->sim, used);
    ret->bit = (unsigned)sim_below(run->sim, 8);
    return true;
}

static void flip(struct run *run, struct member *m, const struct spot *s)
{
    unsigned char c;
    int fd = open(s->path, O_RDWR | O_CLOEXEC);
    wf_assert(fd >= 0 && pread(fd, &c, 1, (off_t)s->at) == 1);
    c = (unsigned char)(c ^ 1u << s->bit);
    wf_assert(pwrite(fd, &c, 1, (off_t)s->at) == 1);
    close(fd);
    sim_trace(run->sim, "%s: bit %u of byte %" PRIu64 " is flipped", s->path, s->bit, s->at);
    m->put_aside = m->mended = false;
    member_rotted(m);
}

/* The disk is taken for a new one: it would be refused at the fourth time. */
static void forget_asides(const struct member *m)
{
    glob_t g = {0};
    char pattern[64];
    snprintf(pattern, sizeof(pattern), "%s/quarantine-*", sim_host_name(m->host));
    glob(pattern, 0, NULL, &g);
    for (size_t i = 0; i < g.gl_pathc; i++)
        sim_dir_remove(g.gl_pathv[i]);
    globfree(&g);
}

/* One bit. */

static struct member *leader(struct run *run)
{
    for (size_t i = 0; i < run->members; i++)
        if (member_leads(&run->member[i]))
            return &run->member[i];
    return &run->member[0];
}

static void restart(struct run *run, struct member *m)
{
    if (sim_host_runs(m->host))
        member_kill(m);
    member_restart_later(m, sim_between(run->sim, 0, 300 * SIM_MS));
    while (!failed(run) && m->restart.armed)
        run_step(run);
}

/* Its process is killed, or with the machine, which leaves data.mdb torn: then the checkpoint is
 * what it begins with. */
static bool flip_at_rest(struct run *run, struct member *m, enum flip_file file)
{
    struct spot s;
    if (file == FLIP_SNAPSHOT && sim_chance(run->sim, 500))
        member_power_off(m);
    else
        member_kill(m);
    bool any = spot_draw(run, m, file, &s);
    if (any)
        flip(run, m, &s);
    restart(run, m);
    return any;
}

/* Under a process that goes on for a while. */
static bool flip_running(struct run *run, struct member *m, enum flip_file file)
{
    struct spot s;
    if (!spot_draw(run, m, file, &s))
        return false;
    flip(run, m, &s);
    run_until(run, sim_now(run->sim) + sim_between(run->sim, 0, SIM_S));
    restart(run, m);
    return true;
}

/* Under a leader from which somebody needs the checkpoint. */
static bool flip_served(struct run *run, struct member *m)
{
    struct member *away = &run->member[(m->index + 1) % run->members];
    struct spot s;
    bool any = false;
    member_kill(away);
    run_until(run, sim_now(run->sim) + sim_between(run->sim, 500 * SIM_MS, 2 * SIM_S));
    if (!failed(run) && (any = member_ready(m) && spot_draw(run, m, FLIP_SNAPSHOT, &s)))
        flip(run, m, &s);
    restart(run, away);
    run_until(run, sim_now(run->sim) + sim_between(run->sim, 0, SIM_S));
    restart(run, m);
    return any;
}

static enum flip_file file_draw(struct run *run)
{
    uint64_t dice = sim_below(run->sim, 100);
    unsigned file = 0;
    while (dice >= shares[file])
        dice -= shares[file++];
    return (enum flip_file)file;
}

static bool flip_any(struct run *run, enum flip_file file, struct member **ret)
{
    bool running = file != FLIP_LMDB && sim_chance(run->sim, 500); /* a map under it: weftd only */
    struct member *m = &run->member[sim_below(run->sim, run->members)];
    if (file == FLIP_SNAPSHOT && running) {
        *ret = leader(run);
        return flip_served(run, *ret);
    }
    *ret = m;
    return running ? flip_running(run, m, file) : flip_at_rest(run, m, file);
}

static enum flip_end end_of(const struct member *m)
{
    if (m->rot_deaths > 1)
        return FLIP_REFUSED;
    return m->put_aside ? FLIP_REBUILT : m->mended ? FLIP_CORRECTED : FLIP_UNNOTICED;
}

/* Everything that it stores, against the model. */
static void look_at_all(struct run *run, struct member *m)
{
    struct watcher fresh = {.run = run};
    if (!failed(run))
        watcher_look(&fresh, m);
}

static void flip_one(struct run *run)
{
    struct run_result *r = run->result;
    enum flip_file file = file_draw(run);
    struct member *m = NULL;
    run_until(run, sim_now(run->sim) + sim_between(run->sim, 20 * SIM_MS, 400 * SIM_MS));
    await_all(run);
    if (failed(run))
        return;
    bool flipped = flip_any(run, file, &m);
    if (failed(run))
        return;
    await_back(run, m);
    look_at_all(run, m);
    if (flipped && m->rot_deaths > r->flip_starts_max)
        r->flip_starts_max = m->rot_deaths;
    if (flipped && m->rot_deaths > STARTS_MAX)
        oracle_fail(&run->oracle, "%s needed %u starts after a bit of its %s was flipped",
                    sim_host_name(m->host), m->rot_deaths, file_names[file]);
    if (flipped)
        r->flips[file][end_of(m)]++;
    m->rot_deaths = 0;
    forget_asides(m);
}

static uint64_t flips_done(const struct run_result *r)
{
    uint64_t n = 0;
    for (size_t f = 0; f < FLIP_FILES; f++)
        for (size_t e = 0; e < FLIP_ENDS; e++)
            n += r->flips[f][e];
    return n;
}

void flips_play(struct run *run)
{
    run_until(run, 2 * SIM_S);
    await_all(run);
    while (!failed(run) && flips_done(run->result) < run->opt.flips)
        flip_one(run);
}
