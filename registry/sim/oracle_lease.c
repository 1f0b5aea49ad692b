/* The model's leases (registry/lease.h): the same rules once more, slow and obvious, and what no
 * rule of a state machine can say: when a lease may expire. */
#include <stdlib.h>

#include "registry/sim/oracle.h"

#define ULL(x) ((unsigned long long)(x))
#define NS_PER_MS 1000000
/* Clocks of the simulation run up to 5 % fast. */
#define TTL_SURE(l) ((int64_t)(l)->ttl_ms * NS_PER_MS * 9 / 10)

void oracle_lease_fini(struct oracle_key *k)
{
    if (k->lease.holder.n)
        slice_free(k->lease.holder);
}

static bool held(const struct oracle_lease *l)
{
    return l->there && l->holder.n;
}

static bool grant_allowed(const struct oracle *o, const struct oracle_lease *l,
                          const struct reg_grant *g)
{
    if (!l->there)
        return g->epoch > o->epoch_floor;
    if (held(l) && g->holder.n && !slice_eq(l->holder, g->holder))
        return false;
    bool acquires = !held(l) && g->holder.n;
    return acquires ? g->epoch > l->epoch : g->epoch == l->epoch;
}

bool oracle_lease_allowed(struct oracle *o, const struct reg_op *op, uint64_t term)
{
    const struct oracle_lease *l = &oracle_key_of(o, op->key)->lease;
    if (op->expect == REG_EXPECT_EPOCH && (!held(l) || l->epoch != op->expected))
        return false;
    if (op->expiry_term && op->expiry_term != term)
        return false;
    if (op->grant && !grant_allowed(o, l, op->grant))
        return false;
    return !op->attach.n || held(&oracle_key_of(o, op->attach)->lease);
}

/* Nobody is thrown out who was told that he has time, or whom this leader has not waited for. */
static void expiry_is_due(struct oracle *o, const struct oracle_key *k, uint64_t term)
{
    const struct oracle_lease *l = &k->lease;
    int64_t since = term < o->terms.n ? o->terms.p[term].since : 0;
    o->expiries++;
    if (o->now < l->vouched + TTL_SURE(l))
        oracle_fail(o, "%.*s expires %llu ms after a sign of life that was answered (TTL %llu ms)",
                    SLICE(k->key), ULL((o->now - l->vouched) / NS_PER_MS), ULL(l->ttl_ms));
    if (o->now < since + TTL_SURE(l))
        oracle_fail(o, "%.*s expires %llu ms after the leader of term %llu came (TTL %llu ms)",
                    SLICE(k->key), ULL((o->now - since) / NS_PER_MS), ULL(term), ULL(l->ttl_ms));
}

static void lease_ends(struct oracle *o, struct oracle_lease *l)
{
    if (l->epoch > o->epoch_floor)
        o->epoch_floor = l->epoch;
    if (l->holder.n)
        slice_free(l->holder);
    *l = (struct oracle_lease){0};
}

static void lease_granted(struct oracle *o, struct oracle_lease *l, const struct reg_grant *g)
{
    struct slice holder = g->holder.n ? slice_dup(g->holder) : (struct slice){0};
    if (l->holder.n)
        slice_free(l->holder);
    *l = (struct oracle_lease){.there = true,
                               .registration = g->registration,
                               .holder = holder,
                               .epoch = g->epoch,
                               .ttl_ms = g->ttl_ms,
                               .vouched = o->now};
}

void oracle_lease_apply(struct oracle *o, struct oracle_key *k, const struct reg_op *op)
{
    if (op->expiry_term)
        expiry_is_due(o, k, op->expiry_term);
    k->on = op->attach.n ? oracle_key_of(o, op->attach) : NULL;
    if (op->grant)
        lease_granted(o, &k->lease, op->grant);
    else if (op->del && k->lease.there)
        lease_ends(o, &k->lease);
}

static int by_key(const void *a, const void *b)
{
    const struct oracle_key *const *x = a, *const *y = b;
    return slice_cmp((*x)->key, (*y)->key);
}

void oracle_lease_falls(struct oracle *o, const struct reg_op *op, struct oracle_keys *ret)
{
    struct oracle_key *lease = oracle_key_of(o, op->key);
    bool ends = op->del || (op->grant && !op->grant->holder.n);
    for (size_t i = 0; ends && i < o->keys.n; i++)
        if (o->keys.p[i]->on == lease)
            *vec_push(&ret->v) = o->keys.p[i];
    if (ret->v.n)
        qsort(ret->v.p, ret->v.n, sizeof(*ret->v.p), by_key);
}

void oracle_vouched(struct oracle *o, struct slice lease, uint64_t epoch, int64_t sent)
{
    struct oracle_lease *l = &oracle_key_of(o, lease)->lease;
    if (held(l) && l->epoch == epoch && sent > l->vouched)
        l->vouched = sent;
}

const struct oracle_key *oracle_held(const struct oracle *o)
{
    for (size_t i = 0; i < o->keys.n; i++)
        if (held(&o->keys.p[i]->lease))
            return o->keys.p[i];
    return NULL;
}
