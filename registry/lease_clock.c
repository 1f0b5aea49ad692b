#include "registry/lease_clock.h"

#include "base/core/assert.h"
#include "base/core/mutant.h"

#define SLOT_MS (LEASE_MASS_WINDOW_MS / LEASE_MASS_SLOTS)
#define PAUSE_PART 4 /* of a TTL */
#define CREDIT_MAX_MS 1000
#define NEVER INT64_MAX

void lease_clock_init(struct lease_clock *c, wf_ms grace, unsigned rate_max)
{
    wf_assert(rate_max > 0 && rate_max <= 1000);
    *c = (struct lease_clock){
        .grace = grace, .rate_max = rate_max, .earliest = NEVER, .ttl_min = NEVER};
}

void lease_clock_clear(struct lease_clock *c)
{
    while (c->timed.n)
        lease_clock_drop(c, c->timed.p[c->timed.n - 1]->key);
    c->earliest = NEVER;
}

void lease_clock_fini(struct lease_clock *c)
{
    lease_clock_clear(c);
    vec_fini(&c->timed);
    map_fini(&c->by_key);
}

static bool counts_as_due(const struct lease_entry *e)
{
    return e->registration && (e->state == LEASE_DUE || e->state == LEASE_APPROVED);
}

static bool counts(const struct lease_entry *e)
{
    return e->registration && e->state != LEASE_ENDING;
}

static void move(struct lease_clock *c, struct lease_entry *e, int state)
{
    c->due -= counts_as_due(e);
    c->registrations -= counts(e);
    e->state = state;
    c->due += counts_as_due(e);
    c->registrations += counts(e);
}

static void alive_until(struct lease_clock *c, struct lease_entry *e, wf_ms deadline)
{
    move(c, e, LEASE_ALIVE);
    e->deadline = deadline;
    if (deadline < c->earliest)
        c->earliest = deadline;
}

void lease_clock_drop(struct lease_clock *c, struct slice key)
{
    struct lease_entry *e = map_get(&c->by_key, key);
    if (!e)
        return;
    move(c, e, LEASE_ENDING);
    map_del(&c->by_key, e->key);
    struct lease_entry *last = c->timed.p[--c->timed.n];
    c->timed.p[e->at] = last;
    last->at = e->at;
    slice_free(e->key);
    mem_free(e);
}

static struct lease_entry *entry_of(struct lease_clock *c, struct slice key)
{
    struct lease_entry *e = map_get(&c->by_key, key);
    if (e)
        return e;
    e = MEM_NEW(struct lease_entry);
    *e = (struct lease_entry){.key = slice_dup(key), .at = c->timed.n};
    map_put(&c->by_key, e->key, e);
    *vec_push(&c->timed) = e;
    return e;
}

void lease_clock_set(struct lease_clock *c, const struct reg_lease *l, wf_ms now)
{
    if (!l->holder.n || !l->ttl_ms) {
        lease_clock_drop(c, l->key);
        return;
    }
    struct lease_entry *e = entry_of(c, l->key);
    move(c, e, LEASE_ENDING);
    e->registration = l->registration;
    e->id = l->id;
    e->rev = l->rev;
    e->epoch = l->epoch;
    e->ttl = l->ttl_ms;
    if (e->ttl < c->ttl_min)
        c->ttl_min = e->ttl;
    alive_until(c, e, now + e->ttl + c->grace);
}

void lease_clock_lead(struct lease_clock *c, wf_ms now)
{
    c->leads = true;
    c->holds = false;
    c->stepped = now;
    c->credit_ms = CREDIT_MAX_MS;
    for (size_t i = 0; i < c->timed.n; i++) {
        struct lease_entry *e = c->timed.p[i];
        wf_ms ttl = MUTANT(LEASE_EXPIRES_EARLY) ? 0 : e->ttl;
        alive_until(c, e, now + ttl + c->grace);
    }
}

void lease_clock_follow(struct lease_clock *c)
{
    c->leads = c->holds = false;
}

bool lease_clock_renew(struct lease_clock *c, struct slice key, uint64_t epoch, wf_ms now)
{
    struct lease_entry *e = map_get(&c->by_key, key);
    if (!e || e->epoch != epoch || e->state == LEASE_ENDING)
        return false;
    if (e->state != LEASE_ALIVE || now + e->ttl > e->deadline)
        alive_until(c, e, now + e->ttl);
    return true;
}

void lease_clock_failed(struct lease_clock *c, struct slice key, reg_rev rev)
{
    struct lease_entry *e = map_get(&c->by_key, key);
    if (e && e->rev == rev && e->state == LEASE_ENDING)
        move(c, e, LEASE_DUE);
    c->earliest = 0;
}

size_t lease_clock_approve(struct lease_clock *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->timed.n; i++)
        if (c->timed.p[i]->state == LEASE_DUE) {
            move(c, c->timed.p[i], LEASE_APPROVED);
            n++;
        }
    return n;
}

/* Time in which signs of life may have waited in a socket. */
static void give_back(struct lease_clock *c, wf_ms pause)
{
    for (size_t i = 0; pause > c->ttl_min / PAUSE_PART && i < c->timed.n; i++) {
        struct lease_entry *e = c->timed.p[i];
        if (e->state == LEASE_ALIVE && pause > e->ttl / PAUSE_PART)
            e->deadline += pause;
    }
}

static size_t recently(struct lease_clock *c, wf_ms now)
{
    size_t n = 0;
    wf_ms slot = now / SLOT_MS;
    if (slot - c->recent_slot >= LEASE_MASS_SLOTS)
        c->recent_slot = slot - LEASE_MASS_SLOTS;
    while (c->recent_slot < slot)
        c->recent[++c->recent_slot % LEASE_MASS_SLOTS] = 0;
    for (size_t i = 0; i < LEASE_MASS_SLOTS; i++)
        n += c->recent[i];
    return n;
}

/* Sees whose time is up, and when the next one's is. */
static void look(struct lease_clock *c, wf_ms now)
{
    if (now < c->earliest)
        return;
    c->earliest = NEVER;
    for (size_t i = 0; i < c->timed.n; i++) {
        struct lease_entry *e = c->timed.p[i];
        if (e->state == LEASE_ALIVE && e->deadline <= now)
            move(c, e, LEASE_DUE);
        if (e->state == LEASE_ALIVE && e->deadline < c->earliest)
            c->earliest = e->deadline;
        if (e->state == LEASE_DUE || e->state == LEASE_APPROVED)
            c->earliest = now;
    }
}

static bool too_many(struct lease_clock *c, wf_ms now)
{
    size_t recent = recently(c, now), going = c->due + recent, all = c->registrations + recent;
    return c->due && going > LEASE_MASS_MIN && going * 100 > all * LEASE_MASS_PER_CENT;
}

static bool may_go(const struct lease_clock *c, const struct lease_entry *e)
{
    return e->state == LEASE_APPROVED || (e->state == LEASE_DUE && !(c->holds && e->registration));
}

size_t lease_clock_step(struct lease_clock *c, wf_ms now, struct lease_due *ret, size_t max)
{
    size_t n = 0;
    wf_ms passed = now - c->stepped, cost = 1000 / (wf_ms)c->rate_max;
    if (!c->leads)
        return 0;
    c->stepped = now;
    c->credit_ms = c->credit_ms + passed > CREDIT_MAX_MS ? CREDIT_MAX_MS : c->credit_ms + passed;
    give_back(c, passed);
    look(c, now);
    c->holds = too_many(c, now);
    for (size_t i = 0; i < c->timed.n && n < max && c->earliest <= now && c->credit_ms >= cost;
         i++) {
        struct lease_entry *e = c->timed.p[i];
        if (!may_go(c, e))
            continue;
        move(c, e, LEASE_ENDING);
        c->recent[now / SLOT_MS % LEASE_MASS_SLOTS] += e->registration;
        c->credit_ms -= cost;
        c->expired++;
        ret[n++] = (struct lease_due){.key = e->key, .rev = e->rev};
    }
    return n;
}
