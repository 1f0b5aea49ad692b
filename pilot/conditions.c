#include "pilot/conditions.h"

#include <stdio.h>
#include <string.h>

#include "api/kind.h"
#include "api/status.h"
#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/core/map.h"
#include "base/wire/json.h"

/* An object that waits for its proxies, or that one refuses. */
struct pending {
    struct slice key;
    reg_rev revision; /* of its last change by a user */
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
    bool left_out; /* a map was full: scan again when there is room */
    /* The write under way. */
    bool writing;
    struct arena arena;
    struct reg_op ops[CONDITIONS_BATCH_MAX];
    size_t op_count;
    struct reg_write write;
};

/* Which objects. */

static void pending_put(struct conditions *c, struct map *m, struct slice key, reg_rev revision)
{
    struct pending *p = map_get(m, key);
    if (!p) {
        if (m->n >= CONDITIONS_PENDING_MAX) {
            c->left_out = true;
            return;
        }
        p = mem_new(sizeof(*p) + key.n + 1);
        char *copy = (char *)(p + 1);
        memcpy(copy, key.p, key.n);
        p->key = (struct slice){copy, key.n};
        map_put(m, p->key, p);
    }
    p->revision = revision;
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

/* Live on proxies; "on none, as there are none" is said anew when one comes. */
static bool is_live(const json_t *object)
{
    return condition_is(object, "Distributed", "True") &&
           !slice_eq(json_str(condition_get(object, "Distributed"), "reason"), S("NoProxies"));
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
    if (!kind_of_key(o->key))
        return;
    json_t *object = json_parse(o->value, &err);
    if (is_live(object))
        pending_del(&c->waiting, o->key);
    else
        pending_put(c, &c->waiting, o->key, o->mod_rev);
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
    return c->waiting.n <= CONDITIONS_PENDING_MAX / 2 && c->refused.n <= CONDITIONS_PENDING_MAX / 2;
}

/* Brings the maps up to the transaction's revision. */
static void follow(struct conditions *c, struct reg_txn *txn)
{
    bool again = c->left_out && has_room(c);
    if (c->scanned && !again && reg_changes(txn, c->seen, on_event, c) == REG_HISTORY_OK) {
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

static bool set_accepted(json_t *object, const struct summary_rejection *r, int64_t wall_ms)
{
    char text[1024];
    if (r)
        snprintf(text, sizeof(text), "%.*s of %u prox%s refused: %.*s %.*s: %.*s", SLICE(r->type),
                 r->proxies, r->proxies == 1 ? "y" : "ies", SLICE(r->proxy), SLICE(r->resource),
                 SLICE(r->message));
    return condition_set(object, &(struct condition){.type = "Accepted",
                                                     .status = r ? "False" : "True",
                                                     .reason = r ? "ProxyRejected" : "Accepted",
                                                     .message = r ? slice_of(text) : S(""),
                                                     .observed_generation =
                                                         json_int(object, "metadata.generation", 1),
                                                     .wall_ms = wall_ms});
}

static void op_add(struct conditions *c, const struct reg_object *o, json_t *object)
{
    struct err err = {0};
    struct buf value = {0};
    if (kind_encode(object, &value, &err))
        c->ops[c->op_count++] = (struct reg_op){
            .key = arena_dup(&c->arena, o->key),
            .value = arena_dup(&c->arena, buf_slice(&value)),
            .expect = REG_EXPECT_REV,
            .expected = o->mod_rev,
        };
    buf_fini(&value);
}

/* One object against the picture; adds an operation when its conditions are not true any more. */
static void judge(struct conditions *c, struct reg_txn *txn, const struct summary *s,
                  struct slice key)
{
    struct reg_object o;
    struct err err = {0};
    if (c->op_count == CONDITIONS_BATCH_MAX || !reg_get(txn, key, &o))
        return;
    json_t *object = json_parse(o.value, &err);
    const struct summary_rejection *r = rejection_of(s, key);
    int64_t now = env_wall_ms(c->opt.env);
    bool changed = false;
    bool was_refused = condition_is(object, "Accepted", "False");
    if (r || was_refused)
        changed |= set_accepted(object, r, now);
    if (r || (!is_live(object) && summary_dist_lowest(&s->converged) >= o.mod_rev))
        changed |= set_distributed(object, s, r != NULL, status_said_at(object, o.mod_rev), now);
    if (changed)
        op_add(c, &o, object);
    json_decref(object);
}

static void judge_all(struct conditions *c, struct reg_txn *txn)
{
    const struct summary *s = convergence_summary(c->opt.convergence);
    for (size_t i = 0; i < s->rejection_count; i++)
        for (size_t k = 0; k < s->rejections[i].source_count; k++)
            if (kind_of_key(s->rejections[i].sources[k]) &&
                !map_get(&c->refused, s->rejections[i].sources[k]))
                pending_put(c, &c->refused, s->rejections[i].sources[k], 0);
    reg_rev lowest = summary_dist_lowest(&s->converged);
    MAP_EACH (&c->waiting, e)
        if (((struct pending *)e->value)->revision <= lowest)
            judge(c, txn, s, e->key);
    /* What is refused mostly waits too, for as long as it is refused. */
    MAP_EACH (&c->refused, e) {
        const struct pending *waits = map_get(&c->waiting, e->key);
        if (!waits || waits->revision > lowest)
            judge(c, txn, s, e->key);
    }
}

/* Writing. */

static void on_written(struct reg_write *w)
{
    struct conditions *c = container_of(w, struct conditions, write);
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
    arena_reset(&c->arena);
    c->op_count = 0;
    follow(c, &txn);
    judge_all(c, &txn);
    reg_txn_end(&txn);
    if (c->op_count == 0)
        return;
    c->writing = true;
    c->write = (struct reg_write){
        .ops = c->ops, .op_count = c->op_count, .env = c->opt.env, .fn = on_written};
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
    c->notify = reg_notify_open(c->store, opt->env, on_revision, c);
    c->leader = reg_leader_watch_open(opt->node, opt->env, on_leader, c);
    return c;
}

bool conditions_idle(const struct conditions *c)
{
    return !c->writing;
}

void conditions_free(struct conditions *c)
{
    if (!c)
        return;
    wf_assert(!c->writing);
    reg_notify_close(c->notify);
    reg_leader_watch_close(c->leader);
    env_timer_stop(c->opt.env, &c->retry);
    env_defer_cancel(&c->task);
    pending_clear(&c->waiting);
    pending_clear(&c->refused);
    map_fini(&c->waiting);
    map_fini(&c->refused);
    arena_fini(&c->arena);
    mem_free(c);
}
