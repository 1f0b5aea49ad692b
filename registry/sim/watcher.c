/* Watches: each follows the history of one node, moves to another when that one is away, and must
 * see every change once and in order wherever it is. */
#include <inttypes.h>

#include "base/core/assert.h"
#include "registry/sim/run.h"

#define PAUSE_MAX (200 * SIM_MS)

struct look {
    struct watcher *w;
    struct member *m;
    size_t at, count;
};

static bool on_event(void *ctx, const struct reg_event *e)
{
    struct look *l = ctx;
    struct oracle *o = &l->w->run->oracle;
    oracle_event_is(o, sim_host_name(l->m->host), l->at++, e);
    l->w->run->result->watched++;
    return !o->violation[0];
}

static bool on_object(void *ctx, const struct reg_object *obj)
{
    struct look *l = ctx;
    struct oracle *o = &l->w->run->oracle;
    l->count++;
    oracle_read(o, sim_host_name(l->m->host), obj->key, l->w->cursor, obj);
    return !o->violation[0];
}

/* A list: everything, at one revision. */
static void list_all(struct look *l, struct reg_txn *t)
{
    struct oracle *o = &l->w->run->oracle;
    l->w->cursor = t->revision;
    l->w->listed = true;
    reg_scan(t, (struct slice){0}, (struct slice){0}, on_object, l);
    if (!o->violation[0] && l->count != oracle_count(o, t->revision))
        oracle_fail(o, "%s lists %zu objects at %" PRIu64 ", the model has %zu",
                    sim_host_name(l->m->host), l->count, t->revision, oracle_count(o, t->revision));
}

static void follow(struct look *l, struct reg_txn *t)
{
    struct oracle *o = &l->w->run->oracle;
    l->at = oracle_after(o, l->w->cursor);
    if (reg_changes(t, l->w->cursor, on_event, l) == REG_HISTORY_COMPACTED) {
        list_all(l, t);
        return;
    }
    if (!o->violation[0] && l->at != oracle_after(o, t->revision))
        oracle_fail(o, "%s: a watch up to %" PRIu64 " gave %zu events, there were %zu",
                    sim_host_name(l->m->host), t->revision, l->at, oracle_after(o, t->revision));
    l->w->cursor = t->revision;
}

static void look_turn(void *ctx)
{
    struct look *l = ctx;
    struct reg_txn t;
    struct err err = {0};
    struct sim_zone *was = sim_world_enter();
    if (!reg_txn_begin(l->m->node->store, &t, &err)) {
        oracle_fail(&l->w->run->oracle, "%s: %s", sim_host_name(l->m->host), err.msg);
    } else {
        if (!l->w->listed)
            list_all(l, &t);
        else if (t.revision > l->w->cursor)
            follow(l, &t);
        reg_txn_end(&t);
    }
    sim_world_leave(was);
}

void watcher_look(struct watcher *w, struct member *m)
{
    sim_host_call(m->host, look_turn, &(struct look){.w = w, .m = m});
}

static void on_tick(struct sim_event *e)
{
    struct watcher *w = container_of(e, struct watcher, tick);
    struct run *run = w->run;
    if (sim_chance(run->sim, 30))
        w->at = sim_below(run->sim, run->members);
    if (member_ready(&run->member[w->at]))
        watcher_look(w, &run->member[w->at]);
    else
        w->at = sim_below(run->sim, run->members);
    sim_event_start(run->sim, e, sim_between(run->sim, SIM_MS, PAUSE_MAX));
}

void watchers_start(struct run *run)
{
    for (size_t i = 0; i < run->knobs.watchers; i++) {
        struct watcher *w = &run->watcher[i];
        *w = (struct watcher){.run = run, .at = i % run->members, .tick.fn = on_tick};
        sim_event_start(run->sim, &w->tick, sim_between(run->sim, SIM_MS, PAUSE_MAX));
    }
}

void watchers_fini(struct run *run)
{
    for (size_t i = 0; i < run->knobs.watchers; i++)
        sim_event_stop(&run->watcher[i].tick);
}
