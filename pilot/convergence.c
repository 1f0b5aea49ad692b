#include "pilot/convergence.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/core/map.h"
#include "pilot/pilot_limits.h"
#include "pilot/roster.h"

/* One refused content, however many proxies refuse it. */
struct refusal {
    struct slice key; /* in the arena: type, resource, version, message, each with its NUL */
    struct arena arena;
    struct summary_rejection r;
};

struct convergence_proxy {
    struct slice name;
    uint64_t identity;
    reg_rev converged, settled;
    struct refusal **refusals;
    size_t refusal_count;
};

/* When a revision came here, and when the last proxy of the cluster had dealt with it. */
struct moment {
    reg_rev revision;
    wf_ms applied, settled; /* settled: -1 = not yet */
};

/* The message to env's thread. Outlives its convergence if that ends while it is under way. */
struct poke {
    struct env_post post;
    struct convergence *owner; /* under its lock; NULL: gone */
};

struct peer {
    uint64_t id; /* 0: free */
    bool reported, silent;
    wf_ms heard;
    struct arena arena;
    struct summary summary;
    struct roster roster;
};

struct convergence {
    struct convergence_options opt;

    pthread_mutex_t lock;
    struct summary local; /* without its rejections */
    struct roster roster;
    bool roster_changed;
    struct map refusals;
    struct moment moments[CONVERGENCE_REVISIONS_MAX];
    size_t moment_count, moment_next; /* a ring */
    struct poke *poke;
    bool poked, changed;

    /* env's thread */
    struct peer peers[REG_NODES_MAX];
    struct buf sent;
    wf_ms sent_at;
    struct env_timer gap, refresh, roster_gap;
    struct roster own_roster; /* of the same moment as own */
    bool roster_due;
    wf_ms roster_sent_at;
    uint32_t unknown;
    struct arena own_arena, merged_arena;
    struct summary own, merged;
    struct list waits;
    size_t wait_count;
    struct env_task change;
    struct metric_set *metrics;
    struct metric *acked_index, *proxies_synced, *proxies_stale, *proxies_rejected;
};

static wf_ms now_of(struct env *env)
{
    return (wf_ms)(env_now_ns(env) / 1000000);
}

/* Times of revisions (under the lock) */

static struct moment *moment_at(struct convergence *c, size_t i)
{
    size_t first = c->moment_next - c->moment_count;
    return &c->moments[(first + i) % CONVERGENCE_REVISIONS_MAX];
}

/* Index of the first moment that holds this revision: notifications are coalesced, so one stands
 * for all revisions since the one before. moment_count: none does. */
static size_t moment_for(struct convergence *c, reg_rev revision)
{
    size_t lo = 0, hi = c->moment_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (moment_at(c, mid)->revision < revision)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

void convergence_committed(struct convergence *c, reg_rev revision, wf_ms now)
{
    pthread_mutex_lock(&c->lock);
    size_t n = c->moment_count;
    if (!n || moment_at(c, n - 1)->revision < revision) {
        c->moments[c->moment_next++ % CONVERGENCE_REVISIONS_MAX] =
            (struct moment){.revision = revision, .applied = now, .settled = -1};
        c->moment_count += n < CONVERGENCE_REVISIONS_MAX;
    }
    pthread_mutex_unlock(&c->lock);
}

/* Sessions. */

/* Under the lock. */
static void touch(struct convergence *c)
{
    c->changed = true;
    if (c->poked)
        return;
    c->poked = true;
    env_post(c->opt.env, &c->poke->post);
}

struct convergence_proxy *convergence_join(struct convergence *c, struct slice name,
                                           uint64_t identity)
{
    struct convergence_proxy *p = mem_new(sizeof(*p) + name.n + 1);
    char *text = (char *)(p + 1);
    if (name.n)
        memcpy(text, name.p, name.n);
    p->name = (struct slice){text, name.n};
    p->identity = identity;
    pthread_mutex_lock(&c->lock);
    roster_add(&c->roster, identity);
    c->roster_changed = true;
    c->local.total++;
    summary_dist_add(&c->local.converged, 0, 1);
    summary_dist_add(&c->local.settled, 0, 1);
    touch(c);
    pthread_mutex_unlock(&c->lock);
    return p;
}

static void move(struct summary_dist *d, reg_rev *at, reg_rev to)
{
    if (*at == to)
        return;
    summary_dist_sub(d, *at, 1);
    summary_dist_add(d, to, 1);
    *at = to;
}

static struct slice cut(struct slice s)
{
    return slice_sub(s, 0, SUMMARY_TEXT_BYTES_MAX);
}

static struct refusal *refusal_new(const struct convergence_reject *in, struct slice key,
                                   struct slice proxy)
{
    struct refusal *r = MEM_NEW(struct refusal);
    struct arena *a = &r->arena;
    size_t n = in->source_count < SUMMARY_SOURCES_MAX ? in->source_count : SUMMARY_SOURCES_MAX;
    struct slice *sources = ARENA_ARRAY(a, struct slice, n);
    for (size_t i = 0; i < n; i++)
        sources[i] = arena_dup(a, cut(in->sources[i]));
    r->key = arena_dup(a, key);
    r->r = (struct summary_rejection){.type = slice_of(in->type),
                                      .resource = arena_dup(a, cut(in->resource)),
                                      .version = arena_dup(a, cut(in->version)),
                                      .message = arena_dup(a, cut(in->message)),
                                      .proxy = arena_dup(a, cut(proxy)),
                                      .sources = sources,
                                      .source_count = n};
    return r;
}

/* Under the lock. */
static struct refusal *refusal_take(struct convergence *c, const struct convergence_reject *in,
                                    struct slice proxy)
{
    struct buf key = {0};
    struct slice parts[] = {slice_of(in->type), in->resource, in->version, cut(in->message)};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        buf_append(&key, parts[i]);
        buf_append_byte(&key, '\0');
    }
    struct refusal *r = map_get(&c->refusals, buf_slice(&key));
    if (!r) {
        r = refusal_new(in, buf_slice(&key), proxy);
        map_put(&c->refusals, r->key, r);
    }
    buf_fini(&key);
    r->r.proxies++;
    return r;
}

static void refusal_give(struct convergence *c, struct refusal *r)
{
    wf_assert(r->r.proxies > 0);
    if (--r->r.proxies)
        return;
    map_del(&c->refusals, r->key);
    arena_fini(&r->arena);
    mem_free(r);
}

static void refusals_clear(struct convergence *c, struct convergence_proxy *p)
{
    for (size_t i = 0; i < p->refusal_count; i++)
        refusal_give(c, p->refusals[i]);
    mem_free(p->refusals);
    p->refusals = NULL;
    p->refusal_count = 0;
}

static void refusals_set(struct convergence *c, struct convergence_proxy *p,
                         const struct convergence_reject *rejects, size_t n)
{
    struct refusal **next = NULL;
    n = n < CONVERGENCE_PER_PROXY_MAX ? n : CONVERGENCE_PER_PROXY_MAX;
    if (n)
        next = mem_array(n, sizeof(struct refusal *));
    for (size_t i = 0; i < n; i++)
        next[i] = refusal_take(c, &rejects[i], p->name);
    refusals_clear(c, p);
    p->refusals = next;
    p->refusal_count = n;
}

wf_ms convergence_update(struct convergence *c, struct convergence_proxy *p, wf_ms now,
                         reg_rev converged, reg_rev settled,
                         const struct convergence_reject *rejects, size_t n)
{
    wf_ms ms = -1;
    wf_assert(settled >= converged);
    pthread_mutex_lock(&c->lock);
    if (p->converged && converged > p->converged) {
        size_t i = moment_for(c, p->converged + 1);
        if (i < c->moment_count && moment_at(c, i)->revision <= converged)
            ms = now - moment_at(c, i)->applied;
    }
    bool changed = p->converged != converged || p->settled != settled || n || p->refusal_count;
    move(&c->local.converged, &p->converged, converged);
    move(&c->local.settled, &p->settled, settled);
    if (n || p->refusal_count)
        refusals_set(c, p, rejects, n);
    if (changed)
        touch(c);
    pthread_mutex_unlock(&c->lock);
    return ms;
}

void convergence_leave(struct convergence *c, struct convergence_proxy *p)
{
    pthread_mutex_lock(&c->lock);
    roster_remove(&c->roster, p->identity);
    c->roster_changed = true;
    c->local.total--;
    summary_dist_sub(&c->local.converged, p->converged, 1);
    summary_dist_sub(&c->local.settled, p->settled, 1);
    refusals_clear(c, p);
    touch(c);
    pthread_mutex_unlock(&c->lock);
    mem_free(p);
}

reg_rev convergence_local_lowest(struct convergence *c)
{
    pthread_mutex_lock(&c->lock);
    reg_rev rev = summary_dist_lowest(&c->local.converged);
    pthread_mutex_unlock(&c->lock);
    return rev;
}

/* The sum. */

/* A copy of what this node's sessions have said. */
static void copy_own(struct convergence *c)
{
    struct arena old = c->own_arena;
    c->own_arena = (struct arena){0};
    pthread_mutex_lock(&c->lock);
    struct summary now = c->local;
    struct summary_rejection *r = mem_array(c->refusals.n + 1, sizeof(*r));
    MAP_EACH (&c->refusals, e)
        r[now.rejection_count++] = ((struct refusal *)e->value)->r;
    if (now.rejection_count) /* the map has no order */
        qsort(r, now.rejection_count, sizeof(*r), summary_cmp_rejection);
    now.rejections = r;
    c->own = summary_copy(&now, &c->own_arena);
    if (c->roster_changed) {
        roster_fini(&c->own_roster);
        c->own_roster = roster_copy(&c->roster);
        c->roster_due = true;
    }
    c->roster_changed = false;
    c->changed = false;
    pthread_mutex_unlock(&c->lock);
    mem_free(r);
    arena_fini(&old);
}

/* How many of a silent node's proxies are with none of the others. What it has reported and not
 * named may be anywhere. */
static uint32_t nowhere_else(const struct peer *p, const struct roster *const *others, size_t n)
{
    uint32_t missing = roster_missing(&p->roster, others, n);
    uint32_t named = (uint32_t)p->roster.n, total = p->summary.total;
    uint32_t left = missing + (total > named ? total - named : 0);
    return left < total ? left : total;
}

static void merge_silent(struct convergence *c, struct summary_sum *m)
{
    const struct roster *others[REG_NODES_MAX + 1] = {&c->own_roster};
    size_t n = 1;
    for (size_t i = 0; i < REG_NODES_MAX; i++)
        if (c->peers[i].id && !c->peers[i].silent)
            others[n++] = &c->peers[i].roster;
    for (size_t i = 0; i < REG_NODES_MAX; i++) {
        struct peer *p = &c->peers[i];
        if (!p->silent)
            continue;
        uint32_t left = nowhere_else(p, others, n);
        summary_sum_add(m, &p->summary, left);
        c->unknown += left;
        others[n++] = &p->roster; /* who was on two nodes that hang counts once */
    }
}

static void merge_all(struct convergence *c)
{
    struct summary_sum m = {0};
    c->unknown = 0;
    summary_sum_add(&m, &c->own, c->own.total);
    for (size_t i = 0; i < REG_NODES_MAX; i++)
        if (!c->peers[i].silent)
            summary_sum_add(&m, &c->peers[i].summary, c->peers[i].summary.total);
    merge_silent(c, &m);
    arena_fini(&c->merged_arena);
    c->merged_arena = (struct arena){0};
    c->merged = summary_sum_end(&m, &c->merged_arena);
}

static size_t connected_peers(struct convergence *c, uint64_t ids[REG_NODES_MAX])
{
    return c->opt.port.peers ? c->opt.port.peers(c->opt.port.ctx, ids) : 0;
}

/* Whether any node fell silent or speaks again. */
static bool notice_silence(struct convergence *c)
{
    uint64_t ids[REG_NODES_MAX];
    size_t n = connected_peers(c, ids);
    wf_ms now = now_of(c->opt.env);
    bool changed = false;
    for (size_t i = 0; i < REG_NODES_MAX; i++) {
        struct peer *p = &c->peers[i];
        bool silent = p->reported && now - p->heard >= CONVERGENCE_SILENT_MS;
        for (size_t k = 0; k < n; k++)
            silent = silent && ids[k] != p->id;
        changed |= silent != p->silent;
        p->silent = silent;
    }
    return changed;
}

uint32_t convergence_unknown(const struct convergence *c)
{
    return c->unknown;
}

const struct summary *convergence_summary(struct convergence *c)
{
    return &c->merged;
}

/* Waits. */

/* Ids of the connected nodes that have not reported; returns their number. */
static size_t without_report(struct convergence *c, uint64_t ids[REG_NODES_MAX])
{
    size_t kept = 0, n = connected_peers(c, ids);
    for (size_t i = 0; i < n; i++) {
        bool reported = false;
        for (size_t p = 0; p < REG_NODES_MAX; p++)
            reported |= c->peers[p].reported && c->peers[p].id == ids[i];
        if (!reported)
            ids[kept++] = ids[i];
    }
    return kept;
}

static bool all_reported(struct convergence *c)
{
    uint64_t ids[REG_NODES_MAX];
    return without_report(c, ids) == 0;
}

static void fill_silent(struct convergence *c, struct convergence_result *r)
{
    uint64_t ids[REG_NODES_MAX];
    size_t n = without_report(c, ids);
    for (size_t i = 0; i < n; i++)
        r->silent[r->silent_count++] = ids[i];
    for (size_t i = 0; i < REG_NODES_MAX && r->silent_count < REG_NODES_MAX; i++)
        if (c->peers[i].silent)
            r->silent[r->silent_count++] = c->peers[i].id;
}

static void fill_result(struct convergence *c, struct convergence_wait *w)
{
    w->result = (struct convergence_result){
        .revision = w->revision,
        .live = summary_dist_at_least(&c->merged.converged, w->revision),
        .total = c->merged.total,
        .unknown = c->unknown,
        .ms = -1,
        .rejections = c->merged.rejections,
        .rejection_count = c->merged.rejection_count,
    };
    fill_silent(c, &w->result);
    pthread_mutex_lock(&c->lock);
    size_t i = moment_for(c, w->revision);
    if (i < c->moment_count && moment_at(c, i)->settled >= 0)
        w->result.ms = moment_at(c, i)->settled - moment_at(c, i)->applied;
    pthread_mutex_unlock(&c->lock);
}

/* Sessions said something that is not in the sum yet. */
static bool is_changed(struct convergence *c)
{
    pthread_mutex_lock(&c->lock);
    bool changed = c->changed;
    pthread_mutex_unlock(&c->lock);
    return changed;
}

bool convergence_is_whole(struct convergence *c)
{
    return !is_changed(c) && all_reported(c);
}

static bool is_decided(struct convergence *c, const struct convergence_wait *w)
{
    return convergence_is_whole(c) &&
           summary_dist_at_least(&c->merged.settled, w->revision) == c->merged.total;
}

static void on_answer(struct env_task *t)
{
    struct convergence_wait *w = container_of(t, struct convergence_wait, answer);
    fill_result(w->owner, w);
    w->fn(w);
}

static void decide(struct convergence_wait *w)
{
    struct convergence *c = w->owner;
    list_remove(&w->node);
    c->wait_count--;
    env_timer_stop(c->opt.env, &w->timer);
    env_defer(c->opt.env, &w->answer);
}

static void on_wait_timeout(struct env_timer *t)
{
    struct convergence_wait *w = container_of(t, struct convergence_wait, timer);
    fill_result(w->owner, w);
    err_set(&w->err, ERR_TIMEOUT, "%u of %u proxies have revision %llu", w->result.live,
            w->result.total, (unsigned long long)w->revision);
    decide(w);
}

void convergence_wait(struct convergence *c, struct convergence_wait *w)
{
    w->owner = c;
    w->timer = (struct env_timer){.fn = on_wait_timeout};
    w->answer = (struct env_task){.fn = on_answer};
    w->node = (struct list_node){0};
    w->started = now_of(c->opt.env);
    err_clear(&w->err);
    if (c->wait_count >= CONVERGENCE_WAITS_MAX) {
        err_set(&w->err, ERR_LIMIT, "more than %d waits at once", CONVERGENCE_WAITS_MAX);
        env_defer(c->opt.env, &w->answer);
        return;
    }
    if (notice_silence(c))
        merge_all(c);
    list_push(&c->waits, &w->node);
    c->wait_count++;
    if (is_decided(c, w))
        decide(w);
    else
        env_timer_start(c->opt.env, &w->timer, w->timeout);
}

void convergence_wait_cancel(struct convergence_wait *w)
{
    if (!w->owner)
        return;
    if (list_linked(&w->node)) {
        list_remove(&w->node);
        w->owner->wait_count--;
    }
    env_timer_stop(w->owner->opt.env, &w->timer);
    env_defer_cancel(&w->answer);
}

/* What follows from a change. */

static void note_settled(struct convergence *c)
{
    reg_rev lowest = summary_dist_lowest(&c->merged.settled);
    wf_ms now = now_of(c->opt.env);
    if (!c->merged.total || !all_reported(c))
        return;
    pthread_mutex_lock(&c->lock);
    for (size_t i = c->moment_count; i-- > 0;) {
        struct moment *m = moment_at(c, i);
        if (m->revision > lowest)
            continue;
        if (m->settled >= 0)
            break;
        m->settled = now;
    }
    pthread_mutex_unlock(&c->lock);
}

static void set_metrics(struct convergence *c)
{
    const struct summary *s = &c->own;
    reg_rev lowest = summary_dist_lowest(&s->converged);
    reg_rev newest = s->settled.n ? s->settled.p[s->settled.n - 1].revision : 0;
    uint32_t synced = summary_dist_at_least(&s->converged, newest);
    uint32_t done = summary_dist_at_least(&s->settled, newest);
    metric_set_value(c->acked_index, s->total ? (int64_t)lowest : 0);
    metric_set_value(c->proxies_synced, newest ? synced : 0);
    metric_set_value(c->proxies_rejected, newest ? done - synced : 0);
    metric_set_value(c->proxies_stale, newest ? s->total - done : s->total);
}

static void on_merged(struct convergence *c)
{
    notice_silence(c);
    merge_all(c);
    note_settled(c);
    set_metrics(c);
    LIST_EACH (&c->waits, n) {
        struct convergence_wait *w = container_of(n, struct convergence_wait, node);
        if (is_decided(c, w))
            decide(w);
    }
    if (c->opt.on_change)
        env_defer(c->opt.env, &c->change);
}

static void on_change_task(struct env_task *t)
{
    struct convergence *c = container_of(t, struct convergence, change);
    c->opt.on_change(c->opt.ctx);
}

static void send_own(struct convergence *c, uint64_t to)
{
    if (c->opt.port.send)
        c->opt.port.send(c->opt.port.ctx, to, buf_slice(&c->sent));
}

/* Names. */

static void send_roster(struct convergence *c, uint64_t to)
{
    struct buf bytes = {0};
    roster_encode(&c->own_roster, &bytes);
    if (c->opt.port.send)
        c->opt.port.send(c->opt.port.ctx, to, buf_slice(&bytes));
    buf_fini(&bytes);
}

/* If there is a name more or less; of many that come one after the other once in a while. Names go
 * after the summary that counts them: who is named here is not counted at the node that it left. */
static void tell_roster(struct convergence *c)
{
    wf_ms now = now_of(c->opt.env), wait = c->roster_sent_at + CONVERGENCE_ROSTER_GAP_MS - now;
    if (!c->roster_due)
        return;
    if (wait > 0) {
        if (!c->roster_gap.armed)
            env_timer_start(c->opt.env, &c->roster_gap, wait);
        return;
    }
    c->roster_due = false;
    c->roster_sent_at = now;
    send_roster(c, 0);
}

static void on_roster_gap(struct env_timer *t)
{
    tell_roster(container_of(t, struct convergence, roster_gap));
}

/* Tells the others if anything is new. */
static void flush(struct convergence *c)
{
    struct buf bytes = {0};
    copy_own(c);
    summary_encode(&c->own, &bytes);
    bool same = slice_eq(buf_slice(&bytes), buf_slice(&c->sent));
    buf_fini(&c->sent);
    c->sent = bytes;
    if (!same) {
        send_own(c, 0);
        c->sent_at = now_of(c->opt.env);
    }
    tell_roster(c);
    on_merged(c);
}

static void on_gap(struct env_timer *t)
{
    flush(container_of(t, struct convergence, gap));
}

/* The first change goes at once; what comes within the gap goes together. */
static void on_touched(struct convergence *c)
{
    wf_ms wait = c->sent_at + CONVERGENCE_GAP_MS - now_of(c->opt.env);
    if (wait <= 0)
        flush(c);
    else if (!c->gap.armed)
        env_timer_start(c->opt.env, &c->gap, wait);
}

static void on_poke(struct env_post *post)
{
    struct poke *p = container_of(post, struct poke, post);
    struct convergence *c = p->owner;
    if (!c) {
        mem_free(p);
        return;
    }
    pthread_mutex_lock(&c->lock);
    c->poked = false;
    pthread_mutex_unlock(&c->lock);
    on_touched(c);
}

/* Other nodes. */

static void peer_forget(struct peer *p)
{
    arena_fini(&p->arena);
    roster_fini(&p->roster);
    *p = (struct peer){0};
}

static bool forget_silent(struct convergence *c)
{
    wf_ms now = now_of(c->opt.env);
    bool any = false;
    for (size_t i = 0; i < REG_NODES_MAX; i++) {
        struct peer *p = &c->peers[i];
        if (!p->silent || now - p->heard < c->opt.forget_after)
            continue;
        LOG_WARN("convergence.forgotten", F_U64("node", p->id), F_U64("proxies", p->summary.total));
        peer_forget(p);
        any = true;
    }
    return any;
}

/* A message that was lost is made good by the next; and silence makes no event. */
static void on_refresh(struct env_timer *t)
{
    struct convergence *c = container_of(t, struct convergence, refresh);
    send_own(c, 0);
    send_roster(c, 0);
    bool changed = notice_silence(c), forgot = forget_silent(c);
    if (changed || forgot)
        on_merged(c);
    env_timer_start(c->opt.env, &c->refresh, CONVERGENCE_REFRESH_MS);
}

static struct peer *peer_of(struct convergence *c, uint64_t id, bool *ret_new)
{
    struct peer *empty = NULL;
    for (size_t i = 0; i < REG_NODES_MAX; i++) {
        if (c->peers[i].id == id)
            return &c->peers[i];
        if (!c->peers[i].id && !empty)
            empty = &c->peers[i];
    }
    *ret_new = empty != NULL;
    return empty;
}

static bool take_summary(struct peer *p, struct slice bytes, struct err *err)
{
    struct arena arena = {0};
    struct summary s;
    if (!summary_decode(arena_dup(&arena, bytes), &arena, &s, err)) {
        arena_fini(&arena);
        return false;
    }
    arena_fini(&p->arena);
    p->arena = arena;
    p->summary = s;
    p->reported = true;
    return true;
}

static bool take_roster(struct peer *p, struct slice bytes, struct err *err)
{
    struct roster r;
    if (!roster_decode(bytes, &r, err))
        return false;
    roster_fini(&p->roster);
    p->roster = r;
    return true;
}

void convergence_receive(struct convergence *c, uint64_t from, struct slice bytes)
{
    bool is_new = false;
    struct err err;
    struct peer *p = from ? peer_of(c, from, &is_new) : NULL;
    if (!p)
        return;
    if (!(roster_is(bytes) ? take_roster : take_summary)(p, bytes, &err)) {
        LOG_WARN("convergence.malformed", F_U64("node", from), F_ERR(&err));
        return;
    }
    p->id = from;
    p->heard = now_of(c->opt.env);
    if (is_new) {
        send_own(c, from);
        send_roster(c, from);
    }
    if (notice_silence(c) || !roster_is(bytes) || c->unknown)
        on_merged(c);
}

void convergence_peer_down(struct convergence *c, uint64_t id)
{
    bool is_new = false;
    struct peer *p = id ? peer_of(c, id, &is_new) : NULL;
    if (p && !is_new)
        peer_forget(p);
    on_merged(c); /* also for one that never reported: nobody waits for its report any more */
}

/* Life. */

void convergence_set_port(struct convergence *c, const struct convergence_port *port)
{
    c->opt.port = *port;
    send_own(c, 0);
    send_roster(c, 0);
}

static void make_metrics(struct convergence *c)
{
    static const struct metric_def acked = {
        .name = "weft_proxy_acked_index",
        .kind = METRIC_GAUGE,
        .help = "Lowest revision that all proxies of this node have acknowledged"};
    static const struct metric_def proxies = {
        .name = "weft_proxies",
        .kind = METRIC_GAUGE,
        .help = "Proxies connected to this node, by whether they have the newest revision"};
    c->metrics = metric_set_new(16);
    c->acked_index = metric_get(c->metrics, &acked, 0, NULL);
    c->proxies_synced =
        metric_get(c->metrics, &proxies, 1, (struct metric_label[]){{S("state"), S("synced")}});
    c->proxies_stale =
        metric_get(c->metrics, &proxies, 1, (struct metric_label[]){{S("state"), S("stale")}});
    c->proxies_rejected =
        metric_get(c->metrics, &proxies, 1, (struct metric_label[]){{S("state"), S("rejected")}});
}

struct metric_set *convergence_metrics(struct convergence *c)
{
    return c->metrics;
}

struct convergence *convergence_new(const struct convergence_options *opt)
{
    struct convergence *c = MEM_NEW(struct convergence);
    c->opt = *opt;
    pthread_mutex_init(&c->lock, NULL);
    list_init(&c->waits);
    c->gap.fn = on_gap;
    c->refresh.fn = on_refresh;
    c->roster_gap.fn = on_roster_gap;
    c->roster_sent_at = -CONVERGENCE_ROSTER_GAP_MS;
    if (!c->opt.forget_after)
        c->opt.forget_after = CONVERGENCE_FORGET_MS;
    c->change.fn = on_change_task;
    c->poke = MEM_NEW(struct poke);
    c->poke->post.fn = on_poke;
    c->poke->owner = c;
    make_metrics(c);
    flush(c);
    env_timer_start(opt->env, &c->refresh, CONVERGENCE_REFRESH_MS);
    return c;
}

static void cancel_waits(struct convergence *c)
{
    LIST_EACH (&c->waits, n) {
        struct convergence_wait *w = container_of(n, struct convergence_wait, node);
        convergence_wait_cancel(w);
        err_set(&w->err, ERR_CANCELLED, "this node is stopping");
        w->fn(w);
    }
}

void convergence_free(struct convergence *c)
{
    if (!c)
        return;
    wf_assert(c->local.total == 0);
    cancel_waits(c);
    env_timer_stop(c->opt.env, &c->gap);
    env_timer_stop(c->opt.env, &c->refresh);
    env_timer_stop(c->opt.env, &c->roster_gap);
    env_defer_cancel(&c->change);
    if (c->poked)
        c->poke->owner = NULL;
    else
        mem_free(c->poke);
    for (size_t i = 0; i < REG_NODES_MAX; i++)
        peer_forget(&c->peers[i]);
    roster_fini(&c->roster);
    roster_fini(&c->own_roster);
    summary_dist_fini(&c->local.converged);
    summary_dist_fini(&c->local.settled);
    map_fini(&c->refusals);
    arena_fini(&c->own_arena);
    arena_fini(&c->merged_arena);
    buf_fini(&c->sent);
    metric_set_free(c->metrics);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
}
