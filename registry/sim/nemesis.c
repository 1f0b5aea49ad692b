#include "registry/sim/nemesis.h"

#include <string.h>

#include "base/core/assert.h"
#include "registry/sim/run.h"

static struct member *any(struct run *run)
{
    return &run->member[sim_below(run->sim, run->members)];
}

static struct member *leader_or_any(struct run *run)
{
    if (sim_chance(run->sim, 500))
        for (size_t i = 0; i < run->members; i++)
            if (member_leads(&run->member[i]))
                return &run->member[i];
    return any(run);
}

static void cut(struct run *run, size_t from, size_t to, bool on)
{
    if (from != to)
        sim_link(run->sim, run->member[from].host, run->member[to].host)->cut = on;
}

static void cut_both(struct run *run, size_t a, size_t b, bool on)
{
    cut(run, a, b, on);
    cut(run, b, a, on);
}

static sim_ns some_time(struct run *run)
{
    return sim_between(run->sim, SIM_MS, 3 * SIM_S);
}

/* Faults. */

static void kill_one(struct run *run)
{
    struct member *m = leader_or_any(run);
    member_kill(m);
    member_restart_later(m, some_time(run));
}

/* Not where a file was damaged since the process ended: a disk that loses at a power cut what it
 * had synced is two faults in one, and more than is promised. */
static void power_off(struct run *run, struct member *m)
{
    if (!sim_host_runs(m->host) && m->rot_deaths && m->wiped)
        return;
    member_power_off(m);
    member_restart_later(m, some_time(run));
}

static void power_all(struct run *run)
{
    for (size_t i = 0; i < run->members; i++)
        power_off(run, &run->member[i]);
}

static void on_resume(struct sim_event *e)
{
    struct member *m = container_of(e, struct member, resume);
    sim_trace(m->run->sim, "%s goes on", sim_host_name(m->host));
    sim_host_resume(m->host);
}

static void pause_one(struct run *run)
{
    struct member *m = leader_or_any(run);
    if (!sim_host_runs(m->host) || m->resume.armed)
        return;
    sim_host_pause(m->host);
    m->resume.fn = on_resume;
    sim_event_start(run->sim, &m->resume, some_time(run));
}

/* Only while everybody else has all that it ever acknowledged: two lost disks of three are more
 * than Raft survives. */
static struct member *may_lose_disk(struct run *run)
{
    /* The last that came has its own way to begin. */
    struct member *m = sim_chance(run->sim, 300) ? &run->member[run->members - 1] : any(run);
    size_t voters = 0;
    for (size_t i = 0; i < run->members; i++)
        voters += run->member[i].voter;
    /* Of two voters none may be lost; and a change must know who votes. */
    if (!member_in(m) || !operator_idle(run) || (run->conf.n && voters < 3))
        return NULL;
    for (size_t i = 0; i < run->members; i++) {
        struct member *k = &run->member[i];
        if (k != m && !k->gone &&
            (k->wiped || !k->node || !k->node->raft_started ||
             k->node->guard.standing != GUARD_MEMBER))
            return NULL;
    }
    return m;
}

static void wipe_one(struct run *run)
{
    struct member *m = may_lose_disk(run);
    if (!m)
        return;
    member_wipe(m);
    member_restart_later(m, some_time(run));
}

static void isolate(struct run *run)
{
    size_t i = leader_or_any(run)->index;
    unsigned ways = 1 + (unsigned)sim_below(run->sim, 3);
    for (size_t k = 0; k < run->members; k++) {
        if (ways & 1)
            cut(run, i, k, true);
        if (ways & 2)
            cut(run, k, i, true);
    }
}

static void halves(struct run *run)
{
    uint64_t side = sim_below(run->sim, 1u << run->members);
    for (size_t a = 0; a < run->members; a++)
        for (size_t b = 0; b < run->members; b++)
            cut(run, a, b, (side >> a & 1) != (side >> b & 1));
    sim_links_changed(run->sim);
}

static void slow_net(struct run *run)
{
    sim_ns max = sim_between(run->sim, SIM_MS, 150 * SIM_MS);
    for (size_t a = 0; a < run->members; a++)
        for (size_t b = 0; b < run->members; b++)
            if (a != b && sim_chance(run->sim, 500))
                sim_link(run->sim, run->member[a].host, run->member[b].host)->latency_max = max;
}

static void disk_slows(struct member *m, unsigned stall_per_mille)
{
    struct sim *sim = m->run->sim;
    struct sim_disk *d = sim_disk(m->host);
    d->sync_max = sim_between(sim, d->sync_min, 80 * SIM_MS);
    d->stall_per_mille = stall_per_mille;
    d->stall_max = sim_between(sim, SIM_MS, 2 * SIM_S);
}

static void slow_disk(struct run *run)
{
    bool at_each = sim_chance(run->sim, 100);
    disk_slows(any(run), at_each ? 1000 : (unsigned)sim_below(run->sim, 50));
}

static void disk_fails(struct member *m)
{
    m->disk_failed = true;
    sim_disk(m->host)->error_per_mille = 300;
}

/* A node that does not run meets it at its start. */
static void bad_disk(struct run *run)
{
    disk_fails(any(run));
}

static void rot_one(struct run *run)
{
    struct member *m = may_lose_disk(run);
    /* Nor after a power cut (power_off). */
    if (!m || !sim_host_runs(m->host))
        return;
    member_rot(m);
    if (run->knobs.fault_weight[FAULT_BAD_DISK] && sim_chance(run->sim, 500))
        disk_fails(m); /* such a disk may refuse what its node does about it, too */
    member_restart_later(m, some_time(run));
}

static void full_disk(struct run *run)
{
    struct sim_disk *d = sim_disk(any(run)->host);
    d->limited = !d->limited || sim_chance(run->sim, 500);
    /* What is left is enough for what is under way: a message, two segments, and more. */
    uint64_t segment = run->knobs.segment_bytes;
    d->room = MESSAGE_APPEND_BYTES_MAX + 5 * segment + sim_below(run->sim, 3 * segment);
}

static void clock_odd(struct run *run)
{
    struct member *m = any(run);
    sim_host_drift(m->host, (int)sim_below(run->sim, 100001) - 50000);
    sim_host_wall_jump(m->host, (int64_t)sim_below(run->sim, 7200000) - 3600000);
}

static void links_default(struct run *run, size_t a, size_t b)
{
    struct sim_link *l = sim_link(run->sim, run->member[a].host, run->member[b].host);
    *l = (struct sim_link){.latency_min = 50 * SIM_US, .latency_max = 300 * SIM_US};
}

static void heal_network(struct run *run)
{
    for (size_t a = 0; a < run->members; a++)
        for (size_t b = 0; b < run->members; b++)
            links_default(run, a, b);
    api_heal(run);
    sim_links_changed(run->sim);
}

static void heal_member(struct member *m)
{
    struct sim_disk *d = sim_disk(m->host);
    d->sync_min = 50 * SIM_US;
    d->sync_max = 500 * SIM_US;
    d->stall_per_mille = d->error_per_mille = 0;
    d->limited = m->disk_failed = false;
    sim_event_stop(&m->resume);
    sim_host_resume(m->host);
    sim_host_drift(m->host, 0);
    member_upgrade(m);
    if (!sim_host_runs(m->host) && member_wanted(m)) {
        sim_event_stop(&m->restart);
        member_restart_later(m, sim_between(m->run->sim, 0, 200 * SIM_MS));
    }
}

void nemesis_heal(struct run *run)
{
    sim_trace(run->sim, "healed");
    heal_network(run);
    for (size_t i = 0; i < run->members; i++)
        heal_member(&run->member[i]);
}

/* Each of the core has heard of each: who slept while others came does not let them in, by whatever
 * certificate, until one whom it knows tells it of them. */
static bool acquainted(const struct run *run, const bool core[RUN_MEMBERS_MAX])
{
    unsigned all = 0;
    for (size_t i = 0; i < run->members; i++)
        all |= core[i] ? 1u << i : 0;
    for (size_t i = 0; i < run->members; i++)
        if (core[i] && run->member[i].knows_at && (all & ~run->member[i].knows))
            return false;
    return true;
}

void nemesis_core(struct run *run, bool core[RUN_MEMBERS_MAX])
{
    size_t n = run->members, voters = 0, from = 0;
    /* Who has lost its disk votes again when all have answered it, not before. */
    for (size_t i = 0; i < n; i++) {
        voters += run->member[i].voter;
        from += run->member[i].voter && !run->member[i].wiped;
    }
    size_t left = voters / 2 + 1;
    bool all = from < left || !operator_idle(run); /* not begun, or being changed */
    for (size_t i = 0; i < n; i++) {
        bool may = run->member[i].voter && !run->member[i].wiped;
        core[i] = all || (may && sim_below(run->sim, from) < left);
        from -= may;
        left -= !all && core[i];
    }
    if (!all && !acquainted(run, core)) {
        all = true;
        memset(core, true, n * sizeof(core[0]));
    }
    heal_network(run);
    for (size_t a = 0; a < n; a++) {
        if (core[a])
            heal_member(&run->member[a]);
        for (size_t b = 0; b < n; b++)
            if (!all && core[a] != core[b])
                cut_both(run, a, b, true);
        sim_trace(run->sim, "n%zu %s the core", a + 1, core[a] ? "is of" : "is cut off from");
    }
}

static void reset_pair(struct run *run)
{
    struct member *a = any(run), *b = any(run);
    if (a != b)
        sim_reset_between(run->sim, a->host, b->host);
}

static void other_program(struct run *run)
{
    struct member *m = any(run);
    member_change_program(m);
    if (!sim_host_runs(m->host))
        member_restart_later(m, some_time(run));
}

static void power_one(struct run *run)
{
    power_off(run, leader_or_any(run));
}

static void stop_one(struct run *run)
{
    member_stop(leader_or_any(run), some_time(run));
}

static void cut_one_way(struct run *run)
{
    cut(run, any(run)->index, any(run)->index, true);
}

static void cut_pair(struct run *run)
{
    cut_both(run, any(run)->index, any(run)->index, true);
}

static const struct {
    const char *name;
    void (*run)(struct run *run);
} faults[FAULT_COUNT] = {
    [FAULT_KILL] = {"kill", kill_one},
    [FAULT_POWER] = {"power", power_one},
    [FAULT_POWER_ALL] = {"power_all", power_all},
    [FAULT_PAUSE] = {"pause", pause_one},
    [FAULT_STOP] = {"stop", stop_one},
    [FAULT_WIPE] = {"wipe", wipe_one},
    [FAULT_ROT] = {"rot", rot_one},
    [FAULT_CUT_ONE_WAY] = {"cut_one_way", cut_one_way},
    [FAULT_CUT_PAIR] = {"cut_pair", cut_pair},
    [FAULT_ISOLATE] = {"isolate", isolate},
    [FAULT_HALVES] = {"halves", halves},
    [FAULT_RESET] = {"reset", reset_pair},
    [FAULT_SLOW_NET] = {"slow_net", slow_net},
    [FAULT_SLOW_DISK] = {"slow_disk", slow_disk},
    [FAULT_BAD_DISK] = {"bad_disk", bad_disk},
    [FAULT_FULL_DISK] = {"full_disk", full_disk},
    [FAULT_MEMBERS] = {"members", operator_change},
    [FAULT_PROGRAM] = {"program", other_program},
    [FAULT_CLOCK] = {"clock", clock_odd},
    [FAULT_API] = {"api", api_fault},
    [FAULT_HEAL] = {"heal", heal_network},
};

const char *fault_name(enum fault f)
{
    return faults[f].name;
}

/* Healing is always among them: else a run ends in the first partition. */
static enum fault draw(struct run *run)
{
    unsigned total = 2;
    for (size_t i = 0; i < FAULT_COUNT; i++)
        total += run->knobs.fault_weight[i];
    uint64_t dice = sim_below(run->sim, total);
    for (size_t i = 0; i < FAULT_COUNT; i++) {
        if (dice < run->knobs.fault_weight[i])
            return (enum fault)i;
        dice -= run->knobs.fault_weight[i];
    }
    return FAULT_HEAL;
}

/* The version is being raised: the leader speaks with one member alone, which goes back to the
 * program before. */
static void on_raise(struct sim_event *e)
{
    struct run *run = container_of(e, struct run, raise);
    struct member *leader = run->raiser, *back = any(run);
    if (back == leader || !sim_host_runs(back->host) || !member_in(back) ||
        back->reads.newest < VERSION_NEWEST)
        return;
    sim_trace(run->sim, "n%zu raises the version: alone with n%zu", leader->index + 1,
              back->index + 1);
    for (size_t i = 0; i < run->members; i++)
        if (i != back->index)
            cut_both(run, leader->index, i, true);
    member_change_program(back);
    member_restart_later(back, sim_between(run->sim, SIM_MS, 50 * SIM_MS));
}

void nemesis_on_log(void *ctx, const struct sim_host *h, struct slice line)
{
    struct run *run = ctx;
    if (!run->knobs.raise_cut || run->quiet || run->raise.armed ||
        !slice_contains(line, S("event=registry.version.raises")))
        return;
    run->raiser = &run->member[sim_host_index(h)];
    sim_event_start(run->sim, &run->raise, 0);
}

static void on_fault(struct sim_event *e)
{
    struct run *run = container_of(e, struct run, fault);
    enum fault f = draw(run);
    sim_trace(run->sim, "fault %s", faults[f].name);
    faults[f].run(run);
    sim_event_start(run->sim, e, sim_between(run->sim, 0, run->knobs.pause_between_faults));
}

void nemesis_start(struct run *run)
{
    run->fault.fn = on_fault;
    run->raise.fn = on_raise;
    /* A disk that is slow from its first write on: its node lives, and has nothing yet. */
    if (!run->knobs.calm && run->knobs.fault_weight[FAULT_SLOW_DISK])
        disk_slows(any(run), 1000);
    sim_event_start(run->sim, &run->fault, run->knobs.calm + sim_between(run->sim, 0, SIM_S));
}

void nemesis_stop(struct run *run)
{
    sim_event_stop(&run->fault);
    sim_event_stop(&run->raise);
}
