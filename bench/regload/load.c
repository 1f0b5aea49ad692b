#include "bench/regload/load.h"

#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"

static void slot_open(struct regload_slot *s);

static void note_failure(struct regload *l, struct slice why)
{
    double t = (double)(env_now_ns(l->env) - l->start_ns) / 1e9;
    l->failed++;
    size_t n = 0;
    int head = snprintf(l->last_failure, sizeof(l->last_failure), "%.3f s: ", t);
    for (size_t i = 0; i < why.n && (size_t)head + n + 1 < sizeof(l->last_failure); i++)
        if (why.p[i] >= ' ' && why.p[i] != '"' && why.p[i] != '\\')
            l->last_failure[(size_t)head + n++] = why.p[i];
    l->last_failure[(size_t)head + n] = 0;
}

/* What to write next. */

static uint64_t random_key(struct regload *l)
{
    l->random = l->random * 6364136223846793005u + 1442695040888963407u;
    return (l->random >> 33) % l->opt.keys;
}

static void slot_begin(struct regload_slot *s, uint64_t key)
{
    struct regload *l = s->load;
    wf_assert(!s->busy && s->conn);
    s->busy = true;
    s->key = key;
    s->sent_ns = env_now_ns(l->env);
    l->sent++;
    env_timer_start(l->env, &s->timeout, l->opt.timeout_ms);
}

static void slot_put(struct regload_slot *s, uint64_t key, bool create)
{
    struct regload *l = s->load;
    slot_begin(s, key);
    l->opt.store->put(
        s->conn, &(struct regload_put){
                     .key = key, .value = l->value++, .create = create, .bytes = l->opt.bytes});
}

static void slot_get(struct regload_slot *s, uint64_t key)
{
    slot_begin(s, key);
    s->load->opt.store->get(s->conn, key);
}

/* The slot's connection is ready and it has nothing to do. */
static void slot_next(struct regload_slot *s)
{
    struct regload *l = s->load;
    bool filled = l->opt.mode == REGLOAD_FILL && l->next_key == l->opt.keys;
    if (filled || l->opt.mode == REGLOAD_STEADY)
        list_push(&l->idle, &s->idle);
    else if (l->opt.mode == REGLOAD_FILL)
        slot_put(s, l->next_key++, true);
    else if (l->opt.mode == REGLOAD_READS)
        slot_get(s, random_key(l));
    else
        slot_put(s, random_key(l), false);
}

static void steady_pump(struct regload *l)
{
    uint64_t elapsed = env_now_ns(l->env) - l->start_ns;
    uint64_t due = (uint64_t)((double)elapsed / 1e9 * l->opt.rate);
    for (; l->due < due; l->due++) {
        struct list_node *n = list_pop(&l->idle);
        if (n)
            slot_put(container_of(n, struct regload_slot, idle), l->next_key++, true);
        else
            l->skipped++;
    }
}

static void on_tick(struct env_timer *t)
{
    struct regload *l = container_of(t, struct regload, tick);
    steady_pump(l);
    env_timer_start(l->env, &l->tick, 1);
}

/* Answers. */

static void acknowledged(struct regload_slot *s)
{
    struct regload *l = s->load;
    uint64_t now = env_now_ns(l->env);
    if (l->opt.mode != REGLOAD_STEADY) {
        *vec_push(&l->us) = (uint32_t)((now - s->sent_ns) / 1000);
        return;
    }
    struct regload_ack *ack = vec_push(&l->acks);
    *ack = (struct regload_ack){s->key, s->sent_ns, now};
    if (l->on_ack)
        l->on_ack(l->ctx, ack);
}

static void on_ready(void *ctx)
{
    slot_next(ctx);
}

static void on_done(void *ctx, bool ok, struct slice why)
{
    struct regload_slot *s = ctx;
    struct regload *l = s->load;
    if (!s->busy)
        return;
    s->busy = false;
    env_timer_stop(l->env, &s->timeout);
    if (ok)
        acknowledged(s);
    else
        note_failure(l, why);
    slot_next(s);
    if (l->opt.mode == REGLOAD_FILL && l->us.n + l->failed + l->lost == l->opt.keys)
        l->on_filled(l->ctx);
}

/* Connections. */

static void slot_lost(struct regload_slot *s, struct slice why)
{
    struct regload *l = s->load;
    bool was_up = s->busy || list_linked(&s->idle);
    s->conn = NULL;
    list_remove(&s->idle);
    env_timer_stop(l->env, &s->timeout);
    if (s->busy) {
        l->lost++;
        note_failure(l, why);
    }
    s->busy = false;
    s->server = (s->server + 1) % l->opt.server_count;
    env_timer_start(l->env, &s->retry, was_up ? 0 : REGLOAD_RETRY_MS);
}

static void on_close(void *ctx, struct slice why)
{
    slot_lost(ctx, why);
}

static const struct regload_events slot_events = {
    .on_ready = on_ready, .on_done = on_done, .on_close = on_close};

static void on_timeout(struct env_timer *t)
{
    struct regload_slot *s = container_of(t, struct regload_slot, timeout);
    s->load->opt.store->close(s->conn);
    slot_lost(s, S("timed out"));
}

static void on_retry(struct env_timer *t)
{
    slot_open(container_of(t, struct regload_slot, retry));
}

static void slot_open(struct regload_slot *s)
{
    struct regload *l = s->load;
    wf_assert(!s->conn && !s->busy);
    s->conn = l->opt.store->open(l->env, &l->opt.servers[s->server], &slot_events, s);
}

void regload_spread(struct regload *l)
{
    for (uint32_t i = 0; i < l->opt.clients; i++) {
        struct regload_slot *s = &l->slots[i];
        if (!list_linked(&s->idle) || s->server == i % l->opt.server_count)
            continue;
        list_remove(&s->idle);
        l->opt.store->close(s->conn);
        s->conn = NULL;
        s->server = i % l->opt.server_count;
        slot_open(s);
    }
}

/* All of them. */

void regload_init(struct regload *l, struct env *env, const struct regload_options *opt)
{
    wf_assert(opt->clients && opt->clients <= REGLOAD_CLIENTS_MAX && opt->server_count);
    *l = (struct regload){.env = env, .opt = *opt, .tick.fn = on_tick, .next_key = opt->first};
    if (!l->opt.bytes)
        l->opt.bytes = REGLOAD_VALUE_BYTES;
    list_init(&l->idle);
    env_random(env, &l->random, sizeof(l->random));
    l->value = env_now_ns(env); /* no value comes twice, over several runs */
    l->slots = mem_array(opt->clients, sizeof(l->slots[0]));
    for (uint32_t i = 0; i < opt->clients; i++) {
        struct regload_slot *s = &l->slots[i];
        s->load = l;
        s->server = i % opt->server_count;
        s->timeout.fn = on_timeout;
        s->retry.fn = on_retry;
    }
}

void regload_fini(struct regload *l)
{
    env_timer_stop(l->env, &l->tick);
    for (uint32_t i = 0; i < l->opt.clients; i++) {
        env_timer_stop(l->env, &l->slots[i].timeout);
        env_timer_stop(l->env, &l->slots[i].retry);
        l->opt.store->close(l->slots[i].conn);
    }
    mem_free(l->slots);
    vec_fini(&l->us);
    vec_fini(&l->acks);
    *l = (struct regload){0};
}

void regload_start(struct regload *l)
{
    l->start_ns = env_now_ns(l->env);
    for (uint32_t i = 0; i < l->opt.clients; i++)
        slot_open(&l->slots[i]);
    if (l->opt.mode == REGLOAD_STEADY)
        env_timer_start(l->env, &l->tick, 1);
}

const struct regload_ack *regload_first_after(const struct regload *l, uint64_t ns)
{
    /* Answers are in order of time, and an answer is never before its write. */
    size_t lo = 0, hi = l->acks.n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->acks.p[mid].acked_ns < ns)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < l->acks.n; lo++)
        if (l->acks.p[lo].sent_ns >= ns)
            return &l->acks.p[lo];
    return NULL;
}
