#include "registry/sim/run.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/core/assert.h"

#define PROGRESS_MAX (30 * SIM_S) /* after healing; tens of election time-outs of the slowest run */

static bool failed(const struct run *run)
{
    return run->oracle.violation[0];
}

void run_step(struct run *run)
{
    if (!sim_step(run->sim))
        wf_die("nothing happens any more");
    for (size_t i = 0; i < run->members; i++)
        member_look(&run->member[i]);
}

void run_until(struct run *run, sim_ns end)
{
    while (!failed(run) && sim_now(run->sim) < end)
        run_step(run);
}

/* A write through m, tried again until it succeeds: false when it does not. */
static bool progresses(struct run *run, struct member *m, sim_ns deadline)
{
    bool ok = false;
    while (!failed(run) && !ok && sim_now(run->sim) < deadline) {
        if (!member_in(m)) /* taken out meanwhile */
            return true;
        struct op *op = client_probe(run, m);
        if (!op) {
            run_step(run);
            continue;
        }
        while (!failed(run) && !op_done(op) && sim_now(run->sim) < deadline)
            run_step(run);
        ok = op_succeeded(op);
        if (!op_done(op)) /* its process still has it */
            sim_host_kill(m->host);
        run->probe = NULL;
        op_free(op);
    }
    return ok;
}

static void core_makes_progress(struct run *run)
{
    bool core[RUN_MEMBERS_MAX];
    nemesis_core(run, core);
    sim_ns deadline = sim_now(run->sim) + PROGRESS_MAX;
    for (size_t i = 0; i < run->members && !failed(run); i++)
        if (core[i] && member_in(&run->member[i]) && !progresses(run, &run->member[i], deadline))
            oracle_fail(&run->oracle,
                        "no progress: a majority is connected, and a write through "
                        "n%zu does not succeed within %d s",
                        i + 1, (int)(PROGRESS_MAX / SIM_S));
}

static bool settled(struct run *run)
{
    if (!clients_idle(run) || !operator_idle(run) || !holders_idle(run) || !api_settled(run))
        return false;
    for (size_t i = 0; i < run->members; i++) {
        const struct member *m = &run->member[i];
        if (!member_in(m))
            continue;
        if (!member_ready(m) || m->node->version != VERSION_NEWEST ||
            m->node->store->meta.revision != run->oracle.revision ||
            m->node->guard.standing != GUARD_MEMBER)
            return false;
    }
    return true;
}

/* Nobody gives signs of life any more. */
static void leases_expire(struct run *run)
{
    const struct oracle_key *k;
    sim_ns slack = 4 * run->knobs.election * SIM_MS + 10 * SIM_S;
    sim_ns deadline = sim_now(run->sim) + run->knobs.lease_ttl * SIM_MS + slack;
    while (!failed(run) && (k = oracle_held(&run->oracle))) {
        run_step(run);
        if (sim_now(run->sim) > deadline)
            oracle_fail(&run->oracle, "all is healed, and %.*s is still held by %.*s",
                        SLICE(k->key), SLICE(k->lease.holder));
    }
}

static void all_agree(struct run *run)
{
    nemesis_heal(run);
    sim_ns deadline = sim_now(run->sim) + PROGRESS_MAX;
    for (size_t i = 0; i < run->members && !failed(run); i++)
        if (member_in(&run->member[i]) && !progresses(run, &run->member[i], deadline))
            oracle_fail(&run->oracle,
                        "no progress: all is healed, and a write through n%zu does "
                        "not succeed within %d s",
                        i + 1, (int)(PROGRESS_MAX / SIM_S));
    leases_expire(run);
    deadline = sim_now(run->sim) + PROGRESS_MAX;
    while (!failed(run) && !settled(run)) {
        run_step(run);
        if (sim_now(run->sim) > deadline)
            oracle_fail(&run->oracle, "all is healed, and the nodes do not come to one state");
    }
    deadline = sim_now(run->sim) + PROGRESS_MAX;
    while (!failed(run) && !api_checked(run)) {
        run_step(run);
        if (sim_now(run->sim) > deadline)
            oracle_fail(&run->oracle, "all is healed, and a node does not answer its API");
    }
    for (size_t i = 0; i < run->members && !failed(run); i++) {
        struct watcher fresh = {.run = run};
        if (!member_in(&run->member[i]))
            continue;
        watcher_look(&fresh, &run->member[i]); /* a list of everything */
        for (size_t k = 0; k < run->knobs.watchers && !failed(run); k++)
            watcher_look(&run->watcher[k], &run->member[i]);
    }
}

static bool any_runs(const struct run *run)
{
    for (size_t i = 0; i < run->members; i++)
        if (sim_host_runs(run->member[i].host))
            return true;
    return false;
}

static void stop_all(struct run *run)
{
    watchers_fini(run);
    if (!failed(run))
        api_stop(run);
    for (size_t i = 0; i < run->members && !failed(run); i++)
        member_stop(&run->member[i], -1);
    sim_ns deadline = sim_now(run->sim) + PROGRESS_MAX;
    while (!failed(run) && any_runs(run)) {
        run_step(run);
        if (sim_now(run->sim) > deadline)
            oracle_fail(&run->oracle, "the nodes do not stop");
    }
}

static void begin(struct run *run)
{
    run->sim =
        sim_new(&(struct sim_options){.seed = run->opt.seed,
                                      .dir = run->opt.dir,
                                      .verbose = run->opt.verbose,
                                      .on_log = run->opt.flips ? flips_on_log : nemesis_on_log,
                                      .ctx = run});
    oracle_init(&run->oracle);
    knobs_draw(run->sim, &run->knobs);
    if (run->opt.flips)
        flips_knobs(run);
    knobs_trace(run->sim, &run->knobs);
    run->members = run->knobs.nodes;
    operator_init(run);
    for (size_t i = 0; i < run->members; i++)
        member_init(run, i);
    for (size_t i = 0; i < run->members; i++)
        member_restart_later(&run->member[i], sim_between(run->sim, 0, 300 * SIM_MS));
    api_start(run);
    clients_start(run);
    holders_start(run);
    watchers_start(run);
    if (!run->opt.flips)
        nemesis_start(run);
}

static void end(struct run *run)
{
    struct run_result *r = run->result;
    for (size_t i = 0; failed(run) && i < run->members; i++)
        member_trace(&run->member[i]);
    r->trace = sim_trace_hash(run->sim);
    r->expiries = run->oracle.expiries;
    r->events = sim_events(run->sim);
    r->virtual_ns = sim_now(run->sim);
    snprintf(r->violation, sizeof(r->violation), "%s", run->oracle.violation);
    for (size_t i = 0; i < run->members; i++)
        sim_host_kill(run->member[i].host);
    api_fini(run);
    clients_fini(run);
    holders_fini(run);
    watchers_fini(run);
    operator_fini(run);
    vec_fini(&run->told);
    raft_configuration_close(&run->conf);
    raft_configuration_close(&run->conf_before);
    sim_free(run->sim);
    for (size_t i = 0; i < run->members; i++)
        member_fini(&run->member[i]);
    oracle_fini(&run->oracle);
}

void run_seed(const struct run_options *opt, struct run_result *ret)
{
    struct run *run = MEM_NEW(struct run);
    *ret = (struct run_result){0};
    run->opt = *opt;
    run->result = ret;
    begin(run);
    if (opt->flips)
        flips_play(run);
    else
        run_until(run, run->knobs.chaos);
    nemesis_stop(run);
    run->quiet = true;
    if (!opt->flips)
        core_makes_progress(run);
    all_agree(run);
    stop_all(run);
    end(run);
    mem_free(run);
}
