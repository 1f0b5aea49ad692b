#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "registry/sim/run.h"

/* Something that a holder asks for; of the world, so that it outlives the process. */
enum deed_kind { DEED_ACQUIRE, DEED_RENEW, DEED_REGRANT, DEED_FENCED, DEED_ATTACH, DEED_RELEASE };

struct deed {
    struct holder *holder;
    struct member *member;
    enum deed_kind kind;
    bool done, lost;
    sim_ns sent;
    uint64_t epoch;
    struct reg_renew renew;
    struct reg_renewal renewal;
    struct reg_write w;
    struct reg_op ops[2];
    struct reg_grant grant;
    char key[48], value[128];
};

static sim_ns ttl(const struct holder *h)
{
    return (sim_ns)h->run->knobs.lease_ttl * SIM_MS;
}

static void later(struct holder *h, sim_ns least, sim_ns most)
{
    if (!h->tick.armed)
        sim_event_start(h->run->sim, &h->tick, sim_between(h->run->sim, least, most));
}

static void renewed(struct deed *d)
{
    struct holder *h = d->holder;
    if (d->renew.err.code)
        return;
    if (d->renewal.lost && h->epoch == d->epoch)
        h->epoch = 0;
    if (d->renewal.lost)
        return;
    h->run->result->renewals++;
    oracle_vouched(&h->run->oracle, slice_of(h->key), d->epoch, d->sent);
}

static void written(struct deed *d)
{
    struct holder *h = d->holder;
    enum err_code code = d->w.err.code;
    bool grants = d->kind == DEED_ACQUIRE || d->kind == DEED_REGRANT;
    if (code == ERR_NONE && grants)
        h->epoch = d->epoch;
    else if (code == ERR_NONE && d->kind == DEED_RELEASE)
        h->epoch = 0;
    else if ((code == ERR_CONFLICT || code == ERR_GONE) && sim_chance(h->run->sim, 500))
        h->epoch = 0; /* the others go on as if they held it */
}

static void over(struct deed *d)
{
    struct holder *h = d->holder;
    struct sim_zone *was = sim_world_enter();
    wf_assert(!d->done);
    d->done = true;
    enum err_code code = d->kind == DEED_RENEW ? d->renew.err.code : d->w.err.code;
    sim_trace(h->run->sim, "%s deed %d at epoch %" PRIu64 " -> %s%s", h->name, d->kind, d->epoch,
              err_code_name(code), d->renewal.lost ? ", lost" : "");
    if (d->kind == DEED_RENEW)
        renewed(d);
    else
        written(d);
    later(h, ttl(h) / 40, ttl(h) / 5);
    sim_world_leave(was);
}

static void on_written(struct reg_write *w)
{
    over(container_of(w, struct deed, w));
}

static void on_renewed(struct reg_renew *r)
{
    over(container_of(r, struct deed, renew));
}

/* What each kind asks for. */

static void grant_op(struct deed *d, struct slice holder)
{
    struct holder *h = d->holder;
    int n = snprintf(d->value, sizeof(d->value),
                     "{\"n\":\"%s.%" PRIu64 "\",\"spec\":{\"holderIdentity\":\"%.*s\"}}", h->name,
                     ++h->number, SLICE(holder));
    d->grant = (struct reg_grant){.holder = holder,
                                  .ttl_ms = h->run->knobs.lease_ttl,
                                  .epoch = d->epoch,
                                  .registration = h->registration};
    d->ops[0] = (struct reg_op){
        .key = slice_of(h->key), .value = slice_mem(d->value, (size_t)n), .grant = &d->grant};
    d->w.op_count = 1;
}

static bool acquire_op(struct deed *d)
{
    struct reg_txn t;
    struct reg_lease l;
    struct err err = {0};
    if (!reg_txn_begin(d->member->node->store, &t, &err))
        return false;
    bool free = !reg_lease_get(&t, slice_of(d->holder->key), &l) || !l.holder.n ||
                slice_eq(l.holder, slice_of(d->holder->name));
    bool mine = free && reg_lease_get(&t, slice_of(d->holder->key), &l) && l.holder.n;
    d->epoch = mine ? l.epoch : reg_lease_epoch_next(&t, slice_of(d->holder->key));
    reg_txn_end(&t);
    if (free)
        grant_op(d, slice_of(d->holder->name));
    return free;
}

static void fenced_op(struct deed *d)
{
    struct holder *h = d->holder;
    snprintf(d->key, sizeof(d->key), "plain/fenced/%s", h->key + 7);
    snprintf(d->value, sizeof(d->value), "f%s.%" PRIu64, h->name, ++h->number);
    d->ops[0] = (struct reg_op){
        .check = true, .key = slice_of(h->key), .expect = REG_EXPECT_EPOCH, .expected = d->epoch};
    d->ops[1] = (struct reg_op){.key = slice_of(d->key), .value = slice_of(d->value)};
    d->w.op_count = 2;
}

static void attach_op(struct deed *d)
{
    struct holder *h = d->holder;
    snprintf(d->key, sizeof(d->key), "plain/on/%s-%d", h->name, (int)sim_below(h->run->sim, 3));
    snprintf(d->value, sizeof(d->value), "a%s.%" PRIu64, h->name, ++h->number);
    d->ops[0] = (struct reg_op){
        .key = slice_of(d->key), .value = slice_of(d->value), .attach = slice_of(h->key)};
    d->w.op_count = 1;
}

static enum deed_kind kind_pick(const struct holder *h)
{
    uint64_t dice = sim_below(h->run->sim, 100);
    if (!h->epoch)
        return DEED_ACQUIRE;
    if (h->returns)
        return DEED_REGRANT;
    return dice < 55   ? DEED_RENEW
           : dice < 65 ? DEED_REGRANT
           : dice < 80 ? DEED_FENCED
           : dice < 97 ? DEED_ATTACH
                       : DEED_RELEASE;
}

static bool deed_fill(struct deed *d)
{
    switch (d->kind) {
    case DEED_ACQUIRE:
        return acquire_op(d);
    case DEED_REGRANT:
        grant_op(d, slice_of(d->holder->name));
        return true;
    case DEED_RELEASE:
        grant_op(d, (struct slice){0});
        return true;
    case DEED_FENCED:
        fenced_op(d);
        return true;
    case DEED_ATTACH:
        attach_op(d);
        return true;
    case DEED_RENEW:
        d->renewal = (struct reg_renewal){.key = slice_of(d->holder->key), .epoch = d->epoch};
        return true;
    }
    return false;
}

static void give(void *ctx)
{
    struct deed *d = ctx;
    struct reg_node *n = d->member->node;
    struct sim_zone *was = sim_world_enter();
    bool any = deed_fill(d);
    d->sent = sim_now(d->holder->run->sim);
    d->lost = !any;
    if (!any) /* somebody else has it */
        later(d->holder, ttl(d->holder) / 4, ttl(d->holder));
    sim_world_leave(was);
    d->w.ops = d->ops;
    d->w.env = d->renew.env = n->env;
    d->w.fn = on_written;
    d->renew =
        (struct reg_renew){.leases = &d->renewal, .count = 1, .env = n->env, .fn = on_renewed};
    if (any && d->kind == DEED_RENEW)
        reg_lease_renew(n, &d->renew);
    else if (any)
        reg_write(n, &d->w);
}

static struct member *member_pick(struct run *run)
{
    size_t from = sim_below(run->sim, run->members);
    for (size_t i = 0; i < run->members; i++) {
        struct member *m = &run->member[(from + i) % run->members];
        if (member_ready(m) && member_in(m))
            return m;
    }
    return NULL;
}

static bool deed_over(const struct deed *d)
{
    return !d || d->done || d->lost;
}

/* Until the leader lets its lease expire; -1: there is none, or it does not know the lease. */
static sim_ns until_expiry(const struct holder *h)
{
    for (size_t i = 0; i < h->run->members; i++) {
        const struct member *m = &h->run->member[i];
        const struct lease_entry *e = member_ready(m) && member_leads(m)
                                          ? map_get(&m->node->leases.by_key, slice_of(h->key))
                                          : NULL;
        if (e && e->deadline > env_now(m->node->env))
            return (e->deadline - env_now(m->node->env)) * SIM_MS;
    }
    return -1;
}

/* For some time, or until the very moment at which it would lose the lease. It will not know. */
static void fall_silent(struct holder *h)
{
    sim_ns left = sim_chance(h->run->sim, 500) ? until_expiry(h) : -1;
    h->returns = left >= 0;
    if (left >= 0)
        later(h, left, left + 2 * h->run->knobs.heartbeat * SIM_MS);
    else
        later(h, ttl(h) * 9 / 10, ttl(h) * 2);
}

static void on_tick(struct sim_event *e)
{
    struct holder *h = container_of(e, struct holder, tick);
    struct run *run = h->run;
    struct member *m = member_pick(run);
    if (run->quiet || !deed_over(h->deed))
        return;
    mem_free(h->deed);
    h->deed = NULL;
    if (h->epoch && !h->returns && sim_chance(run->sim, 100)) {
        fall_silent(h);
        return;
    }
    if (!m) {
        later(h, ttl(h) / 40, ttl(h) / 5);
        return;
    }
    h->deed = MEM_NEW(struct deed);
    *h->deed = (struct deed){.holder = h, .member = m, .epoch = h->epoch, .kind = kind_pick(h)};
    h->returns = false;
    h->deed->w.timeout = run->knobs.write_timeout;
    sim_host_call(m->host, give, h->deed);
}

void holders_host_down(struct run *run, const struct sim_host *host)
{
    for (size_t i = 0; i < run->knobs.holders; i++) {
        struct holder *h = &run->holder[i];
        if (deed_over(h->deed) || h->deed->member->host != host)
            continue;
        h->deed->lost = true;
        later(h, ttl(h) / 40, ttl(h) / 5);
    }
}

bool holders_idle(const struct run *run)
{
    for (size_t i = 0; i < run->knobs.holders; i++)
        if (!deed_over(run->holder[i].deed))
            return false;
    return true;
}

/* Two for each lease; the first is a registration, the others are owned. */
void holders_start(struct run *run)
{
    for (size_t i = 0; i < run->knobs.holders; i++) {
        struct holder *h = &run->holder[i];
        *h = (struct holder){.run = run, .index = i, .registration = i < 2, .tick.fn = on_tick};
        snprintf(h->name, sizeof(h->name), "h%zu", i);
        snprintf(h->key, sizeof(h->key), "leases/l%zu", i / 2);
        later(h, 0, ttl(h));
    }
}

void holders_fini(struct run *run)
{
    for (size_t i = 0; i < run->knobs.holders; i++) {
        sim_event_stop(&run->holder[i].tick);
        mem_free(run->holder[i].deed);
    }
}
