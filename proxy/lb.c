#include "proxy/lb.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/hash.h"

static uint32_t weight(const struct lb_host *h)
{
    return h->endpoint->weight ? h->endpoint->weight : 1;
}

bool lb_host_healthy(const struct lb_host *h)
{
    enum endpoint_health e = h->endpoint->health;
    return !h->ejected && (e == HEALTH_UNKNOWN || e == HEALTH_HEALTHY);
}

static bool degraded(const struct lb_host *h)
{
    return !h->ejected && h->endpoint->health == HEALTH_DEGRADED;
}

static bool usable(const struct lb_host *h)
{
    return lb_host_healthy(h) || degraded(h);
}

/* Groups. */

static void group_init(struct lb_group *g, struct arena *arena, size_t cap)
{
    uint64_t turn = g->turn;
    *g = (struct lb_group){.items = ARENA_ARRAY(arena, struct lb_host *, cap),
                           .sums = ARENA_ARRAY(arena, uint64_t, cap),
                           .turn = turn};
}

static void group_add(struct lb_group *g, struct lb_host *h)
{
    uint64_t sum = g->n ? g->sums[g->n - 1] : 0;
    g->items[g->n] = h;
    g->sums[g->n] = sum + weight(h);
    g->weighted = g->weighted || weight(h) != weight(g->items[0]);
    g->n++;
}

static void group_filter(struct lb_group *g, const struct lb_group *all,
                         bool (*want)(const struct lb_host *h))
{
    g->n = 0;
    g->weighted = false;
    for (size_t i = 0; i < all->n; i++)
        if (want(all->items[i]))
            group_add(g, all->items[i]);
}

static struct lb_host *group_at(const struct lb_group *g, uint64_t at)
{
    size_t low = 0, high = g->n - 1;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (at < g->sums[mid])
            high = mid;
        else
            low = mid + 1;
    }
    return g->items[low];
}

static struct lb_host *group_random(const struct lb_group *g, struct rng *rng)
{
    if (!g->weighted)
        return g->items[rng_below(rng, g->n)];
    return group_at(g, rng_below(rng, g->sums[g->n - 1]));
}

/* Equal weights take turns. Others follow the points k * phi of the circle of weights: that
 * sequence gives each arc its share to within a constant at every moment (three-distance theorem),
 * so it is a weighted round robin whose only state is k. */
static struct lb_host *group_turn(struct lb_group *g)
{
    uint64_t k = g->turn++;
    if (!g->weighted)
        return g->items[k % g->n];
    uint64_t point = k * 0x9e3779b97f4a7c15u;
    return group_at(g, (uint64_t)(((unsigned __int128)point * g->sums[g->n - 1]) >> 64));
}

/* Power of choices: of some at random (by weight), the one with the least under way for its weight.
 */
static struct lb_host *group_least(const struct lb_group *g, uint32_t choices, struct rng *rng)
{
    struct lb_host *best = group_random(g, rng);
    for (uint32_t i = 1; i < choices && g->n > 1; i++) {
        struct lb_host *other = group_random(g, rng);
        if (other->active < best->active)
            best = other;
    }
    return best;
}

/* Ring hash. */

static int point_order(const void *a, const void *b)
{
    const struct lb_point *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return slice_cmp(x->host->endpoint->text, y->host->endpoint->text);
}

/* Points a host: its share of the ring, scaled so that the lightest host has a whole number
 * (Envoy's rule) and this number is a power of two: a host more or less then seldom changes how
 * many points the others have, and moves its own keys only. */
static void ring_build(struct lb_level *l, const struct lb_options *opt, struct arena *arena)
{
    double total = 0, lightest = INFINITY;
    for (size_t i = 0; i < l->all.n; i++) {
        total += weight(l->all.items[i]);
        lightest = fmin(lightest, weight(l->all.items[i]));
    }
    double min_share = lightest / total;
    double points = exp2(ceil(log2(fmax(1, min_share * (double)opt->ring_min))));
    double scale = fmin(points / min_share, (double)opt->ring_max);
    size_t cap = (size_t)ceil(scale) + l->all.n, n = 0;
    l->ring = ARENA_ARRAY(arena, struct lb_point, cap);
    double target = 0;
    for (size_t i = 0; i < l->all.n; i++) {
        struct lb_host *h = l->all.items[i];
        target += scale * weight(h) / total;
        for (uint64_t k = 0; (double)n < target && n < cap; k++)
            l->ring[n++] = (struct lb_point){hash_bytes_seed(h->endpoint->text, k), h};
    }
    l->ring_n = n;
    qsort(l->ring, n, sizeof(*l->ring), point_order);
}

/* First point at or after the hash whose host may be used: walking past a host's points is what
 * building the ring without it would give, so a host that leaves moves its own keys only. */
static struct lb_host *ring_pick(const struct lb_level *l, uint64_t hash, bool any)
{
    size_t low = 0, high = l->ring_n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (l->ring[mid].hash < hash)
            low = mid + 1;
        else
            high = mid;
    }
    for (size_t i = 0; i < l->ring_n; i++) {
        struct lb_host *h = l->ring[(low + i) % l->ring_n].host;
        if (any || usable(h))
            return h;
    }
    return NULL;
}

/* Maglev (Eisenbud et al. 2016, section 3.4) */

struct filler {
    uint64_t offset, skip, next;
    double turn, weight; /* a host fills when its turn is due: weighted as in Envoy */
};

static void maglev_fill(struct lb_level *l, struct filler *f, double heaviest)
{
    size_t left = l->maglev_n;
    for (size_t round = 1; left; round++) {
        for (size_t i = 0; i < l->all.n && left; i++) {
            if ((double)round * f[i].weight < f[i].turn)
                continue;
            f[i].turn += heaviest;
            uint64_t at;
            do
                at = (f[i].offset + f[i].skip * f[i].next++) % l->maglev_n;
            while (l->maglev[at] != UINT32_MAX);
            l->maglev[at] = (uint32_t)i;
            left--;
        }
    }
}

static void maglev_build(struct lb_level *l, const struct lb_options *opt, struct arena *arena)
{
    double heaviest = 0;
    struct filler *f = mem_array(l->all.n, sizeof(*f));
    l->maglev_n = opt->maglev_size;
    l->maglev = ARENA_ARRAY(arena, uint32_t, l->maglev_n);
    memset(l->maglev, 0xff, l->maglev_n * sizeof(*l->maglev));
    for (size_t i = 0; i < l->all.n; i++) {
        struct slice key = l->all.items[i]->endpoint->text;
        f[i].offset = hash_bytes_seed(key, 0) % l->maglev_n;
        f[i].skip = hash_bytes_seed(key, 1) % (l->maglev_n - 1) + 1;
        f[i].weight = weight(l->all.items[i]);
        heaviest = fmax(heaviest, f[i].weight);
    }
    maglev_fill(l, f, heaviest);
    mem_free(f);
}

/* A key whose host may not be used is hashed again, so that its load spreads over all others. */
static struct lb_host *maglev_pick(const struct lb_level *l, uint64_t hash, bool any)
{
    for (size_t i = 0; i < 64; i++, hash = hash_u64(hash + i)) {
        struct lb_host *h = l->all.items[l->maglev[hash % l->maglev_n]];
        if (any || usable(h))
            return h;
    }
    const struct lb_group *g = l->healthy.n ? &l->healthy : &l->degraded;
    return g->n ? g->items[hash % g->n] : NULL;
}

/* Priorities. */

static uint32_t availability(const struct lb_level *l, size_t n)
{
    uint64_t percent = l->all.n ? 140 * (uint64_t)n / l->all.n : 0; /* overprovisioning 1.4 */
    return percent > 100 ? 100 : (uint32_t)percent;
}

static uint32_t take(uint32_t *left, uint32_t available, uint32_t total)
{
    uint32_t load = available * 100 / total;
    load = load > *left ? *left : load;
    *left -= load;
    return load;
}

static void loads_compute(struct lb *lb)
{
    uint32_t total = 0, left = 100;
    for (size_t i = 0; i < lb->level_count; i++) {
        struct lb_level *l = &lb->levels[i];
        total += availability(l, l->healthy.n) + availability(l, l->degraded.n);
    }
    uint32_t scale = total > 100 ? 100 : total;
    for (size_t i = 0; i < lb->level_count; i++) {
        struct lb_level *l = &lb->levels[i];
        l->load_healthy = scale ? take(&left, availability(l, l->healthy.n), scale) : 0;
        double percent =
            l->all.n ? 100.0 * (double)(l->healthy.n + l->degraded.n) / (double)l->all.n : 0;
        l->panic = total < 100 && l->all.n && percent < lb->opt.panic_percent;
    }
    for (size_t i = 0; i < lb->level_count; i++) {
        struct lb_level *l = &lb->levels[i];
        l->load_degraded = scale ? take(&left, availability(l, l->degraded.n), scale) : 0;
    }
    /* What rounding left over goes to the first that has anything. */
    for (size_t i = 0; i < lb->level_count && left && left < 100; i++) {
        struct lb_level *l = &lb->levels[i];
        if (l->load_healthy || l->load_degraded) {
            *(l->load_healthy ? &l->load_healthy : &l->load_degraded) += left;
            left = 0;
        }
    }
}

void lb_refresh(struct lb *lb)
{
    for (size_t i = 0; i < lb->level_count; i++) {
        struct lb_level *l = &lb->levels[i];
        group_filter(&l->healthy, &l->all, lb_host_healthy);
        group_filter(&l->degraded, &l->all, degraded);
    }
    loads_compute(lb);
}

static void options_set(struct lb *lb, const struct lb_options *opt)
{
    lb->opt = *opt;
    struct lb_options *o = &lb->opt;
    o->choices = o->choices ? o->choices : 2;
    o->ring_min = o->ring_min ? o->ring_min : PROXY_LB_RING_MIN;
    o->ring_max = o->ring_max && o->ring_max < PROXY_LB_RING_MAX ? o->ring_max : PROXY_LB_RING_MAX;
    o->ring_min = o->ring_min > o->ring_max ? o->ring_max : o->ring_min;
    o->maglev_size = o->maglev_size > 1 && o->maglev_size <= PROXY_LB_MAGLEV_MAX ? o->maglev_size
                                                                                 : PROXY_LB_MAGLEV;
}

static size_t level_of(const struct lb_host *h)
{
    uint32_t p = h->endpoint->priority;
    return p < PROXY_LB_PRIORITIES ? p : PROXY_LB_PRIORITIES - 1;
}

static void levels_resize(struct lb *lb, size_t n)
{
    if (n == lb->level_count)
        return;
    mem_free(lb->levels);
    lb->levels = n ? mem_array(n, sizeof(*lb->levels)) : NULL;
    lb->level_count = n;
}

static void levels_fill(struct lb *lb, struct lb_host *const *hosts, size_t n)
{
    size_t counts[PROXY_LB_PRIORITIES] = {0}, levels = 0;
    for (size_t i = 0; i < n; i++) {
        counts[level_of(hosts[i])]++;
        levels = level_of(hosts[i]) + 1 > levels ? level_of(hosts[i]) + 1 : levels;
    }
    levels_resize(lb, levels);
    for (size_t i = 0; i < levels; i++) {
        struct lb_level *l = &lb->levels[i];
        l->ring = NULL;
        l->maglev = NULL;
        l->ring_n = l->maglev_n = 0;
        group_init(&l->all, &lb->arena, counts[i] + 1);
        group_init(&l->healthy, &lb->arena, counts[i] + 1);
        group_init(&l->degraded, &lb->arena, counts[i] + 1);
    }
    for (size_t i = 0; i < n; i++)
        group_add(&lb->levels[level_of(hosts[i])].all, hosts[i]);
}

void lb_update(struct lb *lb, const struct lb_options *opt, struct lb_host *const *hosts, size_t n)
{
    options_set(lb, opt);
    arena_reset(&lb->arena);
    levels_fill(lb, hosts, n);
    for (size_t i = 0; i < lb->level_count; i++) {
        struct lb_level *l = &lb->levels[i];
        if (l->all.n && opt->policy == LB_RING_HASH)
            ring_build(l, &lb->opt, &lb->arena);
        if (l->all.n && opt->policy == LB_MAGLEV)
            maglev_build(l, &lb->opt, &lb->arena);
    }
    lb_refresh(lb);
}

/* The level and, of it, the kind of hosts that this request goes to. */
static struct lb_level *level_pick(struct lb *lb, uint64_t hash, struct rng *rng,
                                   struct lb_group **ret_group)
{
    struct lb_level *l = lb->levels;
    if (l->load_healthy == 100 && !l->panic) { /* nearly always */
        *ret_group = &l->healthy;
        return l;
    }
    uint64_t at = hash ? hash % 100 : rng_below(rng, 100);
    for (size_t degraded_turn = 0; degraded_turn < 2; degraded_turn++) {
        for (size_t i = 0; i < lb->level_count; i++) {
            l = &lb->levels[i];
            uint32_t load = degraded_turn ? l->load_degraded : l->load_healthy;
            if (at < load) {
                *ret_group = degraded_turn ? &l->degraded : &l->healthy;
                return l;
            }
            at -= load;
        }
    }
    /* No load anywhere: nothing healthy at any priority. The first that panics, if any. */
    for (size_t i = 0; i < lb->level_count; i++)
        if (lb->levels[i].panic)
            return &lb->levels[i];
    return NULL;
}

/* The hosts that this request may go to; NULL or empty: there are none. */
static struct lb_group *candidates(struct lb *lb, uint64_t hash, struct rng *rng,
                                   struct lb_level **ret_level)
{
    struct lb_group *g = NULL;
    *ret_level = lb->level_count ? level_pick(lb, hash, rng, &g) : NULL;
    return *ret_level && (*ret_level)->panic ? &(*ret_level)->all : g;
}

/* By weight, of those in the group that fit. */
static struct lb_host *group_fitting(const struct lb_group *g, struct rng *rng,
                                     bool (*fits)(const void *ctx, const struct lb_host *h),
                                     const void *ctx)
{
    struct lb_host *found = NULL;
    uint64_t seen = 0;
    for (size_t i = 0; i < g->n; i++) {
        if (!fits(ctx, g->items[i]))
            continue;
        seen += weight(g->items[i]);
        if (rng_below(rng, seen) < weight(g->items[i]))
            found = g->items[i];
    }
    return found;
}

struct lb_host *lb_pick_fitting(struct lb *lb, struct rng *rng,
                                bool (*fits)(const void *ctx, const struct lb_host *h),
                                const void *ctx)
{
    struct lb_level *l;
    const struct lb_group *g = candidates(lb, 0, rng, &l);
    struct lb_host *found = g ? group_fitting(g, rng, fits, ctx) : NULL;
    for (size_t i = 0; i < lb->level_count && !found; i++) {
        l = &lb->levels[i];
        if (l->panic)
            found = group_fitting(&l->all, rng, fits, ctx);
        if (!found && l->load_healthy)
            found = group_fitting(&l->healthy, rng, fits, ctx);
        if (!found && l->load_degraded)
            found = group_fitting(&l->degraded, rng, fits, ctx);
    }
    return found;
}

struct lb_host *lb_pick(struct lb *lb, uint64_t hash, struct rng *rng)
{
    struct lb_level *l;
    struct lb_group *g = candidates(lb, hash, rng, &l);
    if (!g || !g->n)
        return NULL;
    uint64_t key = hash ? hash : rng_next(rng);
    switch (lb->opt.policy) {
    case LB_ROUND_ROBIN:
        return group_turn(g);
    case LB_RANDOM:
        return group_random(g, rng);
    case LB_LEAST_REQUEST:
        return group_least(g, lb->opt.choices, rng);
    case LB_RING_HASH:
        return ring_pick(l, key, l->panic);
    case LB_MAGLEV:
        return maglev_pick(l, key, l->panic);
    }
    wf_unreachable("lb policy");
}

void lb_fini(struct lb *lb)
{
    mem_free(lb->levels);
    arena_fini(&lb->arena);
    *lb = (struct lb){0};
}
