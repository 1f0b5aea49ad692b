#include "pilot/conditions.h"

#include <stdio.h>
#include <string.h>

#include "api/kind.h"
#include "api/status.h"
#include "base/core/log.h"
#include "base/core/hash.h"
#include "base/core/map.h"
#include "base/wire/json.h"
#include "registry/lease.h"

/* An object that waits for its proxies, or that one refuses. */
struct pending {
    struct slice key;
    reg_rev revision;    /* of its last change */
    bool none_said;      /* waiting: it says that there are no proxies */
    bool hopeless;       /* its status does not fit into it: until its next change */
    uint64_t said;       /* refused: hash of the refusal that it tells */
    wf_ms missing_since; /* refused: when the refusal was first not there; 0 = it is */
};

struct conditions {
    struct conditions_options opt;
    struct reg_store *store;
    struct reg_notify *notify;
    struct reg_leader_watch *leader;
    struct env_task task;
    struct env_timer retry;
    struct map waiting; /* key -> struct pending: Distributed is not True yet */
    struct map refused; /* key -> struct pending: Accepted is False */
    reg_rev seen;       /* changes up to it are in the maps */
    bool scanned;
    wf_ms leads_since; /* valid while scanned */
    bool left_out;     /* a map was full: what is missing is looked for when there is room */
    wf_ms recheck;     /* a refusal that is missing counts as gone then; 0 = none is */
    /* The write under way. */
    bool writing, closing;
    struct arena arena;
    struct reg_op ops[CONDITIONS_BATCH_MAX];
    size_t op_count, op_bytes;
    struct reg_write write;
};

/* Which objects. */

/* NULL: the map is full. */
static struct pending *pending_put(struct conditions *c, struct map *m, struct slice key,
                                   reg_rev revision)
{
    struct pending *p = map_get(m, key);
    if (!p) {
        if (m->n >= CONDITIONS_PENDING_MAX) {
            c->left_out = true;
            return NULL;
        }
        p = mem_new(sizeof(*p) + key.n + 1);
        char *copy = (char *)(p + 1);
        memcpy(copy, key.p, key.n);
        p->key = (struct slice){copy, key.n};
        map_put(m, p->key, p);
    }
    p->revision = revision;
    p->hopeless = false;
    p->said = 0;
    return p;
}

static void pending_del(struct map *m, struct slice key)
{
    mem_free(map_del(m, key));
}

static void pending_clear(struct map *m)
{
    MAP_EACH (m, e)
        mem_free(e->value);
    map_clear(m);
}

static bool condition_is(const json_t *object, const char *type, const char *status)
{
    return slice_eq(json_str(condition_get(object, type), "status"), slice_of(status));
}

static bool says_no_proxies(const json_t *object)
{
    return slice_eq(json_str(condition_get(object, "Distributed"), "reason"), S("NoProxies"));
}

/* Live on proxies; "on none, as there are none" is said anew when one comes. */
static bool is_live(const json_t *object)
{
    return condition_is(object, "Distributed", "True") && !says_no_proxies(object);
}

/* The kind when it carries our conditions. */
static const struct kind *kind_of_key(struct slice key)
{
    const struct kind *k;
    struct slice ns, name;
    return kind_key_parse(key, &k, &ns, &name) && k->distributed ? k : NULL;
}

static void look_at(struct conditions *c, const struct reg_object *o)
{
    struct err err = {0};
    struct pending *p;
    if (!kind_of_key(o->key))
        return;
    json_t *object = json_parse_capped(o->value, REG_VALUE_BYTES_MAX, JSON_DEPTH_MAX, &err);
    if (is_live(object))
        pending_del(&c->waiting, o->key);
    else if ((p = pending_put(c, &c->waiting, o->key, o->mod_rev)))
        p->none_said = says_no_proxies(object);
    if (condition_is(object, "Accepted", "False"))
        pending_put(c, &c->refused, o->key, o->mod_rev);
    else
        pending_del(&c->refused, o->key);
    json_decref(object);
}

static bool on_event(void *ctx, const struct reg_event *e)
{
    struct conditions *c = ctx;
    if (!e->deleted) {
        look_at(c, &e->object);
    } else {
        pending_del(&c->waiting, e->object.key);
        pending_del(&c->refused, e->object.key);
    }
    return true;
}

static bool on_object(void *ctx, const struct reg_object *o)
{
    look_at(ctx, o);
    return true;
}

static bool has_room(const struct conditions *c)
{
    return c->waiting.n < CONDITIONS_PENDING_MAX / 2 && c->refused.n < CONDITIONS_PENDING_MAX / 2;
}

/* Brings the maps up to the transaction's revision. */
static void follow(struct conditions *c, struct reg_txn *txn)
{
    bool again = !c->scanned || (c->left_out && has_room(c));
    if (!again && reg_changes(txn, c->seen, on_event, c) == REG_HISTORY_OK) {
        c->seen = txn->revision;
        return;
    }
    pending_clear(&c->waiting);
    pending_clear(&c->refused);
    c->left_out = false;
    reg_scan(txn, S(""), S(""), on_object, c);
    c->seen = txn->revision;
    c->scanned = true;
}

/* What to write. */

static const struct summary_rejection *rejection_of(const struct summary *s, struct slice key)
{
    for (size_t i = 0; i < s->rejection_count; i++)
        for (size_t k = 0; k < s->rejections[i].source_count; k++)
            if (slice_eq(s->rejections[i].sources[k], key))
                return &s->rejections[i];
    return NULL;
}

/* The message ends in the revision at which a user wrote what is judged: status_said_at. */
static bool set_distributed(json_t *object, const struct summary *s, bool refused, reg_rev revision,
                            int64_t wall_ms)
{
    char text[96];
    unsigned long long at = revision;
    if (refused)
        snprintf(text, sizeof(text), "refused @%llu", at);
    else if (s->total)
        snprintf(text, sizeof(text), "%u/%u @%llu", s->total, s->total, at);
    else
        snprintf(text, sizeof(text), "no proxies @%llu", at);
    return condition_set(object, &(struct condition){.type = "Distributed",
                                                     .status = refused ? "False" : "True",
                                                     .reason = refused    ? "Rejected"
                                                               : s->total ? "Live"
                                                                          : "NoProxies",
                                                     .message = slice_of(text),
                                                     .observed_generation =
                                                         json_int(object, "metadata.generation", 1),
                                                     .wall_ms = wall_ms});
}

/* The proxy's words are foreign, and cut anywhere: what is stored must read back as it was given,
 * or it would be written for ever. */
static void make_utf8(char *text)
{
    if (slice_utf8(slice_of(text)))
        return;
    for (char *p = text; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
}

/* "<how many, who> refused: <resource>: <why>". Only the second part makes it another refusal: that
 * one more proxy agrees is no news. */
static bool set_accepted(json_t *object, const struct summary_rejection *r, int64_t wall_ms)
{
    char who[512], what[1600], text[2200];
    bool is = condition_is(object, "Accepted", "False");
    if (r) {
        snprintf(who, sizeof(who), "%u prox%s (%.*s) refused", r->proxies,
                 r->proxies == 1 ? "y" : "ies", SLICE(slice_sub(r->proxy, 0, 400)));
        snprintf(what, sizeof(what), ": %.*s %.*s: %.*s", SLICE(r->type),
                 SLICE(slice_sub(r->resource, 0, 400)), SLICE(slice_sub(r->message, 0, 1024)));
        make_utf8(who);
        make_utf8(what);
        snprintf(text, sizeof(text), "%s%s", who, what);
        if (is &&
            slice_ends(json_str(condition_get(object, "Accepted"), "message"), slice_of(what)))
            return false;
    }
    return condition_set(object, &(struct condition){.type = "Accepted",
                                                     .status = r ? "False" : "True",
                                                     .reason = r ? "ProxyRejected" : "Accepted",
                                                     .message = r ? slice_of(text) : S(""),
                                                     .observed_generation =
                                                         json_int(object, "metadata.generation", 1),
                                                     .wall_ms = wall_ms});
}

/* false: it can never be written. */
static bool op_add(struct conditions *c, struct reg_txn *txn, const struct reg_object *o,
                   const json_t *object)
{
    struct err err = {0};
    struct buf value = {0};
    bool ok = kind_encode(object, &value, &err) && value.n <= REG_VALUE_BYTES_MAX;
    if (ok) {
        c->ops[c->op_count++] = (struct reg_op){
            .key = arena_dup(&c->arena, o->key),
            .value = arena_dup(&c->arena, buf_slice(&value)),
            .expect = REG_EXPECT_REV,
            .expected = o->mod_rev,
        };
        struct slice lease;
        if (reg_lease_of(txn, o->key, &lease))
            c->ops[c->op_count - 1].attach = arena_dup(&c->arena, lease);
        c->op_bytes += o->key.n + value.n;
    }
    buf_fini(&value);
    return ok;
}

/* Room for one more object of any size. */
static bool full(const struct conditions *c)
{
    return c->op_count == CONDITIONS_BATCH_MAX ||
           c->op_bytes + REG_VALUE_BYTES_MAX + REG_KEY_BYTES_MAX > REG_REQUEST_BYTES_MAX;
}

/* A proxy that reconnects refuses again a moment later: what is missing is gone only after a while.
 * (A user's correction does not wait: a new generation begins as accepted.) */
static bool is_gone(struct conditions *c, struct pending *p)
{
    wf_ms now = env_now(c->opt.env);
    if (!p->missing_since)
        p->missing_since = now;
    wf_ms at = p->missing_since + c->opt.patience;
    if (now >= at)
        return true;
    if (!c->recheck || at < c->recheck)
        c->recheck = at;
    return false;
}

/* One object against the picture; adds an operation when its conditions are not true any more. */
static void judge(struct conditions *c, struct reg_txn *txn, const struct summary *s,
                  struct pending *p)
{
    struct reg_object o;
    struct err err = {0};
    if (p->hopeless || full(c) || !reg_get(txn, p->key, &o))
        return;
    json_t *object = json_parse_capped(o.value, REG_VALUE_BYTES_MAX, JSON_DEPTH_MAX, &err);
    const struct summary_rejection *r = rejection_of(s, p->key);
    struct pending *refused = map_get(&c->refused, p->key);
    int64_t now = env_wall_ms(c->opt.env);
    bool told = condition_is(object, "Accepted", "False"), changed = false;
    bool stands = r || (told && !(refused && is_gone(c, refused)));
    if (r || (told && !stands))
        changed |= set_accepted(object, r, now);
    bool all_have_it = summary_dist_lowest(&s->converged) >= o.mod_rev;
    if (r || (!stands && !is_live(object) && all_have_it))
        changed |= set_distributed(object, s, r != NULL, status_said_at(object, o.mod_rev), now);
    if (changed)
        p->hopeless = !op_add(c, txn, &o, object);
    json_decref(object);
}

static uint64_t refusal_hash(const struct summary_rejection *r)
{
    return hash_bytes(r->resource) * 31 + hash_bytes(r->message) + 1;
}

static void note_refusals(struct conditions *c, const struct summary *s)
{
    for (size_t i = 0; i < s->rejection_count; i++)
        for (size_t k = 0; k < s->rejections[i].source_count; k++) {
            struct slice key = s->rejections[i].sources[k];
            if (kind_of_key(key) && !map_get(&c->refused, key))
                pending_put(c, &c->refused, key, 0);
        }
}

static void judge_waiting(struct conditions *c, struct reg_txn *txn, const struct summary *s)
{
    reg_rev lowest = summary_dist_lowest(&s->converged);
    MAP_EACH (&c->waiting, e) {
        struct pending *p = e->value;
        if (p->revision <= lowest && !(p->none_said && s->total == 0))
            judge(c, txn, s, p);
    }
}

static void judge_refused(struct conditions *c, struct reg_txn *txn, const struct summary *s)
{
    MAP_EACH (&c->refused, e) {
        struct pending *p = e->value;
        const struct summary_rejection *r = rejection_of(s, p->key);
        if (r)
            p->missing_since = 0;
        if (r && p->said == refusal_hash(r))
            continue;
        size_t before = c->op_count;
        judge(c, txn, s, p);
        if (r && !full(c) && c->op_count == before)
            p->said = refusal_hash(r);
    }
}

/* An object that waits and is refused is in both maps: one operation an object. */
static void drop_doubles(struct conditions *c)
{
    struct map seen = {0};
    size_t kept = 0;
    for (size_t i = 0; i < c->op_count; i++)
        if (!map_put(&seen, c->ops[i].key, c))
            c->ops[kept++] = c->ops[i];
    c->op_count = kept;
    map_fini(&seen);
}

/* The picture has all nodes, but for those that have been away so long that their proxies must have
 * found another. */
static bool is_whole(struct conditions *c)
{
    struct reg_status st;
    reg_node_status(c->opt.node, &st);
    for (size_t i = 0; i < st.member_count; i++) {
        const struct reg_member_status *m = &st.members[i];
        wf_ms away = m->last_contact < 0 ? env_now(c->opt.env) - c->leads_since : m->last_contact;
        if (!m->self && !m->connected && away < c->opt.patience)
            return false;
    }
    return convergence_is_whole(c->opt.convergence);
}

/* From half a picture a change would be live on all of half. */
static void judge_all(struct conditions *c, struct reg_txn *txn)
{
    const struct summary *s = convergence_summary(c->opt.convergence);
    c->recheck = 0;
    if (!is_whole(c)) {
        env_timer_start(c->opt.env, &c->retry, c->opt.patience / 4 + 1);
        return;
    }
    note_refusals(c, s);
    judge_waiting(c, txn, s);
    judge_refused(c, txn, s);
    drop_doubles(c);
    wf_ms now = env_now(c->opt.env);
    if (c->recheck)
        env_timer_start(c->opt.env, &c->retry, c->recheck > now ? c->recheck - now : 0);
}

/* Writing. */

static void conditions_fini(struct conditions *c)
{
    pending_clear(&c->waiting);
    pending_clear(&c->refused);
    map_fini(&c->waiting);
    map_fini(&c->refused);
    arena_fini(&c->arena);
    mem_free(c);
}

static void on_written(struct reg_write *w)
{
    struct conditions *c = container_of(w, struct conditions, write);
    if (c->closing) {
        conditions_fini(c);
        return;
    }
    c->writing = false;
    if (w->err.code && w->err.code != ERR_CONFLICT && w->err.code != ERR_NOT_FOUND)
        LOG_WARN("conditions.write", F_ERR(&w->err));
    env_timer_start(c->opt.env, &c->retry, w->err.code ? CONDITIONS_RETRY_MS : 0);
}

static bool leads(const struct conditions *c)
{
    struct reg_status st;
    reg_node_status(c->opt.node, &st);
    return st.role == REG_LEADER;
}

static void conditions_run(struct env_task *t)
{
    struct conditions *c = container_of(t, struct conditions, task);
    struct reg_txn txn;
    struct err err = {0};
    if (c->writing)
        return;
    if (!leads(c)) {
        c->scanned = false;
        return;
    }
    if (!reg_txn_begin(c->store, &txn, &err)) {
        LOG_ERROR("conditions.read", F_ERR(&err));
        env_timer_start(c->opt.env, &c->retry, CONDITIONS_RETRY_MS);
        return;
    }
    if (!c->scanned)
        c->leads_since = env_now(c->opt.env);
    arena_reset(&c->arena);
    c->op_count = c->op_bytes = 0;
    follow(c, &txn);
    judge_all(c, &txn);
    reg_txn_end(&txn);
    if (c->op_count == 0)
        return;
    c->writing = true;
    c->write = (struct reg_write){.ops = c->ops,
                                  .op_count = c->op_count,
                                  .origin = S("weftd conditions"),
                                  .no_quota = true,
                                  .env = c->opt.env,
                                  .fn = on_written};
    reg_write(c->opt.node, &c->write);
}

void conditions_wake(struct conditions *c)
{
    env_defer(c->opt.env, &c->task);
}

static void on_retry(struct env_timer *t)
{
    conditions_wake(container_of(t, struct conditions, retry));
}

static void on_revision(void *ctx, reg_rev revision)
{
    (void)revision;
    conditions_wake(ctx);
}

static void on_leader(void *ctx)
{
    conditions_wake(ctx);
}

struct conditions *conditions_new(const struct conditions_options *opt)
{
    struct conditions *c = MEM_NEW(struct conditions);
    *c = (struct conditions){.opt = *opt,
                             .store = reg_node_store(opt->node),
                             .task.fn = conditions_run,
                             .retry.fn = on_retry};
    if (!c->opt.patience)
        c->opt.patience = CONDITIONS_PATIENCE_MS;
    c->notify = reg_notify_open(c->store, opt->env, on_revision, c);
    c->leader = reg_leader_watch_open(opt->node, opt->env, on_leader, c);
    return c;
}

void conditions_free(struct conditions *c)
{
    if (!c)
        return;
    reg_notify_close(c->notify);
    reg_leader_watch_close(c->leader);
    env_timer_stop(c->opt.env, &c->retry);
    env_defer_cancel(&c->task);
    c->closing = true;
    if (!c->writing)
        conditions_fini(c);
}
