/* The builder's thread: registry changes and classes in, snapshots out. Decides nothing about
 * content (pilot/build.h does); what it decides is when: one turn takes all that there is, so that
 * a builder that is behind skips the states in between.
 */
#include <semaphore.h>

#include "base/core/hash.h"
#include "base/core/log.h"
#include "base/env/env_uv.h"
#include "pilot/build.h"
#include "pilot/compiler_internal.h"
#include "pilot/compiler_limits.h"

struct builder {
    struct compiler *compiler;
    struct compiler_options options;
    struct env_thread *thread;
    struct env *env; /* of the thread; the fields below are its own */
    struct reg_notify *notify;
    struct env_post wake;
    atomic_bool wake_posted;
    struct env_timer sweep;
    struct build build;
    bool loaded;
    reg_rev revision; /* that the model has */
    struct metric_set *metrics;
    struct metric *published, *ms, *encoded, *computed, *class_count, *objects, *unusable;
    pthread_mutex_t issues_lock;
    struct buf issues;    /* key, message: u32 length before each */
    uint64_t issues_hash; /* of what was logged last, in any order */
};

static const double build_ms[] = {0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 25, 50, 100, 250, 1000};

static const struct metric_def def_published = {
    .name = "weft_compiler_snapshots_total", .kind = METRIC_COUNTER, .help = "snapshots published"};
static const struct metric_def def_ms = {.name = "weft_compiler_build_milliseconds",
                                         .kind = METRIC_HISTOGRAM,
                                         .help =
                                             "from the wake-up to the publication of a snapshot",
                                         .buckets = build_ms,
                                         .bucket_count = ARRAY_LEN(build_ms)};
static const struct metric_def def_encoded = {.name = "weft_compiler_resources_encoded_total",
                                              .kind = METRIC_COUNTER,
                                              .help = "xDS resources encoded"};
static const struct metric_def def_computed = {.name = "weft_compiler_cells_computed_total",
                                               .kind = METRIC_COUNTER,
                                               .help = "cells of the graph computed"};
static const struct metric_def def_classes = {
    .name = "weft_compiler_classes", .kind = METRIC_GAUGE, .help = "classes of proxies"};
static const struct metric_def def_objects = {.name = "weft_compiler_objects",
                                              .kind = METRIC_GAUGE,
                                              .help = "objects of the registry in the model"};
static const struct metric_def def_unusable = {
    .name = "weft_compiler_unusable_objects",
    .kind = METRIC_GAUGE,
    .help = "objects that the compiler cannot use, wholly or in part"};

/* Registry -> model. */

static bool load_one(void *ctx, const struct reg_object *o)
{
    struct builder *b = ctx;
    model_apply(&b->build.model, o->key, o->value, o->create_rev, o->mod_rev);
    return true;
}

static bool change_one(void *ctx, const struct reg_event *e)
{
    struct builder *b = ctx;
    if (e->deleted)
        model_delete(&b->build.model, e->object.key, e->revision);
    else
        model_apply(&b->build.model, e->object.key, e->object.value, e->object.create_rev,
                    e->object.mod_rev);
    return true;
}

/* At first, and again where the history is gone: what is the same stays the same resource. */
static void load_all(struct builder *b, struct reg_txn *t)
{
    model_reload_begin(&b->build.model);
    reg_scan(t, S(""), S(""), load_one, b);
    model_reload_end(&b->build.model, t->revision);
    b->loaded = true;
}

/* false: nothing is new. */
static bool read_changes(struct builder *b, struct err *err)
{
    struct reg_txn t;
    if (!reg_txn_begin(b->options.store, &t, err))
        return false;
    bool fresh = !b->loaded || t.revision != b->revision;
    if (!b->loaded || t.revision < b->revision ||
        (fresh && reg_changes(&t, b->revision, change_one, b) == REG_HISTORY_COMPACTED))
        load_all(b, &t);
    b->revision = t.revision;
    reg_txn_end(&t);
    return fresh;
}

/* Classes -> views. */

struct class_ref {
    uint64_t id;
    const struct proxy_class_input *in; /* lives as long as the builder does not remove the class */
};

struct class_refs {
    struct class_ref *p;
    size_t n, cap;
};

static void classes_list(struct builder *b, struct class_refs *out)
{
    struct compiler *c = b->compiler;
    pthread_mutex_lock(&c->lock);
    LIST_EACH (&c->classes, n) {
        struct compiler_class *k = container_of(n, struct compiler_class, node);
        *vec_push(out) = (struct class_ref){k->id, &k->in};
    }
    pthread_mutex_unlock(&c->lock);
}

static struct xds_snapshot *snapshot_make(struct builder *b)
{
    struct class_refs refs = {0};
    classes_list(b, &refs);
    struct xds_view **views = mem_array(refs.n + 1, sizeof(struct xds_view *));
    for (size_t i = 0; i < refs.n; i++)
        views[i] = build_view(&b->build, refs.p[i].id, refs.p[i].in);
    struct xds_snapshot *s = xds_snapshot_new(b->revision, views, refs.n);
    metric_set_value(b->class_count, (int64_t)refs.n);
    mem_free(views);
    vec_fini(&refs);
    return s;
}

/* Issues. */

static void put_slice(struct buf *out, struct slice s)
{
    buf_u32le(out, (uint32_t)s.n);
    buf_append(out, s);
}

static uint64_t issues_sum(const struct map *issues)
{
    uint64_t sum = 0;
    MAP_EACH (issues, e)
        sum += hash_bytes_seed(e->key, hash_bytes(*(const struct slice *)e->value));
    return sum;
}

/* All of them, whenever the set changes: the site's rate limit bounds it. */
static void issues_log(struct builder *b)
{
    uint64_t sum = issues_sum(&b->build.model.issues);
    if (sum == b->issues_hash)
        return;
    b->issues_hash = sum;
    MAP_EACH (&b->build.model.issues, e)
        LOG_WARN("compiler.unusable", F_STR("object", e->key),
                 F_STR("why", *(const struct slice *)e->value));
}

static void issues_copy(struct builder *b)
{
    metric_set_value(b->unusable, (int64_t)b->build.model.issues.n);
    issues_log(b);
    if (!b->build.model.issues.n && !b->issues.n)
        return;
    pthread_mutex_lock(&b->issues_lock);
    buf_clear(&b->issues);
    MAP_EACH (&b->build.model.issues, e) {
        const struct slice *message = e->value;
        put_slice(&b->issues, e->key);
        put_slice(&b->issues, *message);
    }
    pthread_mutex_unlock(&b->issues_lock);
}

/* Turns. */

static void publish(struct builder *b, uint64_t began_ns)
{
    struct xds_snapshot *s = snapshot_make(b);
    issues_copy(b);
    compiler_publish(b->compiler, s);
    metric_add(b->published, 1);
    metric_observe(b->ms, (double)(env_now_ns(b->env) - began_ns) / 1e6);
    metric_add(b->encoded, b->build.encoded - metric_value(b->encoded));
    metric_add(b->computed, b->build.graph.computed - metric_value(b->computed));
    metric_set_value(b->objects, (int64_t)b->build.model.objects.n);
    build_collect(&b->build);
}

static void turn(struct builder *b, bool classes_new)
{
    struct err err = {0};
    uint64_t began = env_now_ns(b->env);
    bool fresh = read_changes(b, &err);
    if (err.code != ERR_NONE) {
        /* The next change wakes us again; what is published stays. */
        LOG_ERROR("compiler.read", F_ERR(&err));
        return;
    }
    /* A node that knows nothing yet has nothing to say: an empty mesh would be a lie. */
    if (b->revision > 0 && (fresh || classes_new))
        publish(b, began);
}

static void on_notify(void *ctx, reg_rev revision)
{
    (void)revision;
    turn(ctx, false);
}

static void on_wake(struct env_post *p)
{
    struct builder *b = container_of(p, struct builder, wake);
    atomic_store(&b->wake_posted, false);
    turn(b, true);
}

static void builder_wake(struct builder *b)
{
    if (!atomic_exchange(&b->wake_posted, true))
        env_post(env_thread_env(b->thread), &b->wake);
}

/* Classes without sessions. */

/* Ids that have been idle for long enough, forgotten under the lock; views go with the next
 * snapshot. */
static size_t sweep_classes(struct builder *b, uint64_t *ids, size_t max)
{
    struct compiler *c = b->compiler;
    wf_ms now = env_now(b->env);
    size_t n = 0;
    pthread_mutex_lock(&c->lock);
    LIST_EACH (&c->classes, node) {
        struct compiler_class *k = container_of(node, struct compiler_class, node);
        if (k->sessions)
            k->idle_since = 0;
        else if (!k->idle_since)
            k->idle_since = now ? now : 1;
        else if (now - k->idle_since >= COMPILER_CLASS_IDLE_MS && n < max) {
            ids[n++] = k->id;
            compiler_class_remove(c, k);
        }
    }
    pthread_mutex_unlock(&c->lock);
    return n;
}

static void on_sweep(struct env_timer *t)
{
    struct builder *b = container_of(t, struct builder, sweep);
    uint64_t ids[COMPILER_SWEEP_MAX];
    size_t n = sweep_classes(b, ids, ARRAY_LEN(ids));
    for (size_t i = 0; i < n; i++)
        build_forget(&b->build, ids[i]);
    if (n)
        turn(b, true);
    env_timer_start(b->env, &b->sweep, COMPILER_SWEEP_MS);
}

/* Life. */

static void metrics_init(struct builder *b)
{
    b->metrics = metric_set_new(METRIC_SERIES_MAX_DEFAULT);
    b->published = metric_get(b->metrics, &def_published, 0, NULL);
    b->ms = metric_get(b->metrics, &def_ms, 0, NULL);
    b->encoded = metric_get(b->metrics, &def_encoded, 0, NULL);
    b->computed = metric_get(b->metrics, &def_computed, 0, NULL);
    b->class_count = metric_get(b->metrics, &def_classes, 0, NULL);
    b->objects = metric_get(b->metrics, &def_objects, 0, NULL);
    b->unusable = metric_get(b->metrics, &def_unusable, 0, NULL);
}

static void on_start(void *ctx, struct env *env)
{
    struct builder *b = ctx;
    b->env = env;
    b->wake.fn = on_wake;
    b->sweep.fn = on_sweep;
    b->notify = reg_notify_open(b->options.store, env, on_notify, b);
    reg_notify_pause(b->notify, COMPILER_PAUSE_MS);
    env_timer_start(env, &b->sweep, COMPILER_SWEEP_MS);
    turn(b, true);
}

struct stop {
    struct env_post post;
    struct builder *builder;
    sem_t done;
};

/* What belongs to the loop ends on its thread. */
static void on_stop(struct env_post *p)
{
    struct stop *s = container_of(p, struct stop, post);
    reg_notify_close(s->builder->notify);
    env_timer_stop(s->builder->env, &s->builder->sweep);
    sem_post(&s->done);
}

static void builder_free(struct builder *b)
{
    build_fini(&b->build);
    metric_set_free(b->metrics);
    buf_fini(&b->issues);
    pthread_mutex_destroy(&b->issues_lock);
    mem_free((void *)b->options.root_ns.p);
    mem_free((void *)b->options.cluster_id.p);
    mem_free(b);
}

static void builder_stop(struct builder *b)
{
    struct stop s = {.post = {.fn = on_stop}, .builder = b};
    sem_init(&s.done, 0, 0);
    env_post(env_thread_env(b->thread), &s.post);
    while (sem_wait(&s.done) != 0)
        continue; /* EINTR */
    sem_destroy(&s.done);
    env_thread_join(b->thread);
    builder_free(b);
}

struct compiler *compiler_start(const struct compiler_options *opt, struct err *err)
{
    struct builder *b = MEM_NEW(struct builder);
    struct compiler *c = compiler_new_manual();
    b->compiler = c;
    b->options.store = opt->store;
    b->options.root_ns = slice_dup(opt->root_ns.n ? opt->root_ns : S("istio-system"));
    b->options.cluster_id = slice_dup(opt->cluster_id.n ? opt->cluster_id : S("Kubernetes"));
    pthread_mutex_init(&b->issues_lock, NULL);
    build_init(&b->build, b->options.root_ns, b->options.cluster_id);
    metrics_init(b);
    b->thread = env_thread_start("compiler", on_start, b, err);
    if (!b->thread) {
        builder_free(b);
        compiler_stop(c);
        return NULL;
    }
    c->wake = builder_wake;
    c->stop = builder_stop;
    c->builder = b;
    return c;
}

struct metric_set *compiler_metrics(struct compiler *c)
{
    return c->builder ? c->builder->metrics : NULL;
}

static struct slice take_slice(struct slice *from)
{
    const unsigned char *p = (const unsigned char *)from->p;
    uint32_t n = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    struct slice out = slice_sub(*from, 4, n);
    *from = slice_skip(*from, 4 + n);
    return out;
}

void compiler_issues(struct compiler *c,
                     void (*fn)(void *ctx, struct slice key, struct slice message), void *ctx)
{
    struct builder *b = c->builder;
    if (!b)
        return;
    pthread_mutex_lock(&b->issues_lock);
    struct slice rest = buf_slice(&b->issues);
    while (rest.n) {
        struct slice key = take_slice(&rest);
        fn(ctx, key, take_slice(&rest));
    }
    pthread_mutex_unlock(&b->issues_lock);
}
