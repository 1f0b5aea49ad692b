/* Somebody who changes the members of the cluster while it runs: adds a node and makes it a voter,
 * takes one out, moves leadership. One thing at a time; what is not done yet is asked for again, of
 * whichever node answers. */
#include <stdio.h>

#include "base/core/assert.h"
#include "registry/sim/run.h"

#define ASK_TIMEOUT_MS 1500
#define TRIES_MAX 400

enum { OPERATOR_IDLE, OPERATOR_ADDS, OPERATOR_PROMOTES, OPERATOR_REMOVES, OPERATOR_MOVES };

static const enum reg_member_change_kind kinds[] = {[OPERATOR_ADDS] = REG_MEMBER_ADD,
                                                    [OPERATOR_PROMOTES] = REG_MEMBER_PROMOTE,
                                                    [OPERATOR_REMOVES] = REG_MEMBER_REMOVE,
                                                    [OPERATOR_MOVES] = REG_MEMBER_LEAD};

static const char *const names[] = {"idle", "add", "promote", "remove", "lead"};

static void again(struct operator* o)
{
    if (!o->tick.armed)
        sim_event_start(o->run->sim, &o->tick, sim_between(o->run->sim, SIM_MS, 100 * SIM_MS));
}

static void end_of(struct operator* o)
{
    struct run *run = o->run;
    sim_trace(run->sim, "operator: %s %s: done", names[o->phase], sim_host_name(o->target->host));
    run->result->changes++;
    switch (o->phase) {
    case OPERATOR_ADDS:
        o->phase = OPERATOR_PROMOTES;
        member_restart_later(o->target, sim_between(run->sim, 0, 500 * SIM_MS));
        return;
    case OPERATOR_REMOVES:
        o->target->gone = true;
        o->phase = OPERATOR_IDLE;
        o->kill = true; /* not from inside a turn */
        return;
    default:
        o->phase = OPERATOR_IDLE;
    }
}

static void on_answer(struct reg_member_change *c)
{
    struct operator* o = container_of(c, struct operator, change);
    struct sim_zone *was = sim_world_enter();
    struct run *run = o->run;
    o->busy = false;
    sim_trace(run->sim, "operator: %s %s: %s", names[o->phase], sim_host_name(o->target->host),
              c->err.code ? c->err.msg : "ok");
    if (c->err.code == ERR_NONE)
        end_of(o);
    else if (c->err.code != ERR_TIMEOUT && c->err.code != ERR_UNAVAILABLE)
        o->phase = OPERATOR_IDLE; /* refused: it would have been one too many */
    if (o->phase != OPERATOR_IDLE || o->kill)
        again(o);
    sim_world_leave(was);
}

static void submit(void *ctx)
{
    struct operator* o = ctx;
    reg_member_change(o->at->node, &o->change);
}

static void ask(struct operator* o)
{
    struct run *run = o->run;
    struct member *at = &run->member[sim_below(run->sim, run->members)];
    if (!member_ready(at) || !member_in(at)) {
        again(o);
        return;
    }
    o->at = at;
    o->busy = true;
    o->change = (struct reg_member_change){.kind = kinds[o->phase],
                                           .timeout = ASK_TIMEOUT_MS,
                                           .env = sim_host_env(at->host),
                                           .fn = on_answer};
    member_self(o->target, &o->change.member);
    sim_host_call(at->host, submit, o);
}

static void on_tick(struct sim_event *e)
{
    struct operator* o = container_of(e, struct operator, tick);
    if (o->kill) {
        o->kill = false;
        sim_event_stop(&o->target->resume);
        sim_host_resume(o->target->host);
        member_kill(o->target);
    }
    if (o->phase == OPERATOR_IDLE || o->busy)
        return;
    if (++o->tries > TRIES_MAX && o->run->quiet)
        oracle_fail(&o->run->oracle, "no progress: %s of %s does not come to an end",
                    names[o->phase], sim_host_name(o->target->host));
    ask(o);
}

static struct member *newcomer(struct run *run)
{
    size_t i = run->members++;
    struct member *m = &run->member[i];
    member_init(run, i);
    m->newcomer = true;
    m->wiped = false; /* it has never voted */
    return m;
}

void operator_change(struct run *run)
{
    struct operator* o = & run->operator;
    size_t n = 0;
    if (o->phase != OPERATOR_IDLE || o->busy || o->kill)
        return;
    for (size_t i = 0; i < run->members; i++) {
        struct member *m = &run->member[i];
        n += member_in(m);
        if (member_in(m) && m->wiped)
            return; /* first things first */
    }
    if (n == 0) /* the cluster has not begun */
        return;
    uint64_t dice = sim_below(run->sim, 100);
    o->tries = 0;
    if (dice < 40 && run->members < RUN_MEMBERS_MAX && n < REG_NODES_MAX) {
        o->target = newcomer(run);
        o->phase = OPERATOR_ADDS;
    } else {
        o->target = &run->member[sim_below(run->sim, run->members)];
        if (!member_in(o->target) || (dice < 75 && n <= 3))
            return;
        o->phase = dice < 75 ? OPERATOR_REMOVES : OPERATOR_MOVES;
    }
    sim_trace(run->sim, "operator: %s %s", names[o->phase], sim_host_name(o->target->host));
    again(o);
}

void operator_init(struct run *run)
{
    run->operator=(struct operator){.run = run, .tick.fn = on_tick};
}

void operator_host_down(struct run *run, const struct sim_host *h)
{
    struct operator* o = & run->operator;
    if (!o->busy || o->at->host != h)
        return;
    o->busy = false;
    again(o);
}

bool operator_idle(const struct run *run)
{
    return run->operator.phase == OPERATOR_IDLE && !run->operator.busy && !run->operator.kill;
}

void operator_fini(struct run *run)
{
    sim_event_stop(&run->operator.tick);
}
