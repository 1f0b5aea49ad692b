#include "pilot/compiler.h"

#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "pilot/compiler_internal.h"

/* Classes. */

/* Every field with its length, so that different inputs have different bytes. */
static void key_add(struct buf *b, struct slice s)
{
    buf_u32le(b, (uint32_t)s.n);
    buf_append(b, s);
}

static void key_of(struct buf *b, const struct proxy_class_input *in)
{
    buf_append_byte(b, (char)in->type);
    buf_append_byte(b, (char)in->dialect);
    buf_append_byte(b, (char)in->capture);
    key_add(b, in->ns);
    key_add(b, in->dns_domain);
    key_add(b, in->address);
    key_add(b, in->region);
    key_add(b, in->zone);
    key_add(b, in->subzone);
    for (size_t i = 0; i < in->label_count; i++) {
        key_add(b, in->labels[i][0]);
        key_add(b, in->labels[i][1]);
    }
}

static void copy_input(struct compiler_class *k, const struct proxy_class_input *in)
{
    struct arena *a = &k->arena;
    k->in = *in;
    k->in.ns = arena_dup(a, in->ns);
    k->in.dns_domain = arena_dup(a, in->dns_domain);
    k->in.address = arena_dup(a, in->address);
    k->in.region = arena_dup(a, in->region);
    k->in.zone = arena_dup(a, in->zone);
    k->in.subzone = arena_dup(a, in->subzone);
    struct slice(*labels)[2] = arena_alloc(a, (in->label_count + 1) * sizeof(*labels));
    for (size_t i = 0; i < in->label_count; i++) {
        labels[i][0] = arena_dup(a, in->labels[i][0]);
        labels[i][1] = arena_dup(a, in->labels[i][1]);
    }
    k->in.labels = (const struct slice(*)[2])labels;
}

static struct slice id_key(const uint64_t *id)
{
    return slice_mem(id, sizeof(*id));
}

static struct compiler_class *class_new(struct compiler *c, const struct proxy_class_input *in,
                                        struct slice key)
{
    struct compiler_class *k = MEM_NEW(struct compiler_class);
    k->id = ++c->last_id;
    k->key = arena_dup(&k->arena, key);
    copy_input(k, in);
    map_put(&c->by_key, k->key, k);
    map_put(&c->by_id, id_key(&k->id), k);
    list_push(&c->classes, &k->node);
    return k;
}

void compiler_class_remove(struct compiler *c, struct compiler_class *k)
{
    wf_assert(k->sessions == 0);
    map_del(&c->by_key, k->key);
    map_del(&c->by_id, id_key(&k->id));
    list_remove(&k->node);
    arena_fini(&k->arena);
    mem_free(k);
}

uint64_t compiler_class_acquire(struct compiler *c, const struct proxy_class_input *in)
{
    struct buf key = {0};
    key_of(&key, in);
    pthread_mutex_lock(&c->lock);
    struct compiler_class *k = map_get(&c->by_key, buf_slice(&key));
    bool is_new = !k;
    if (is_new)
        k = class_new(c, in, buf_slice(&key));
    k->sessions++;
    uint64_t id = k->id;
    pthread_mutex_unlock(&c->lock);
    buf_fini(&key);
    if (is_new && c->builder)
        c->wake(c->builder);
    return id;
}

void compiler_class_release(struct compiler *c, uint64_t class_id)
{
    pthread_mutex_lock(&c->lock);
    struct compiler_class *k = map_get(&c->by_id, id_key(&class_id));
    wf_assert(k && k->sessions > 0);
    k->sessions--;
    pthread_mutex_unlock(&c->lock);
}

/* Watches. */

/* One message to its thread is under way at most. Closing while it is under way leaves the memory
 * to it. */
struct compiler_watch {
    struct env_post post;
    struct list_node node;
    struct compiler *compiler;
    struct env *env;
    void (*fn)(void *ctx);
    void *ctx;
    bool posted; /* under the lock */
    bool closed; /* of the watch's own thread */
};

static void on_watch_post(struct env_post *p)
{
    struct compiler_watch *w = container_of(p, struct compiler_watch, post);
    if (w->closed) {
        mem_free(w);
        return;
    }
    pthread_mutex_lock(&w->compiler->lock);
    w->posted = false;
    pthread_mutex_unlock(&w->compiler->lock);
    w->fn(w->ctx);
}

static void watch_post(struct compiler_watch *w)
{
    if (w->posted)
        return;
    w->posted = true;
    w->post.fn = on_watch_post;
    env_post(w->env, &w->post);
}

struct compiler_watch *compiler_watch_open(struct compiler *c, struct env *env,
                                           void (*fn)(void *ctx), void *ctx)
{
    struct compiler_watch *w = MEM_NEW(struct compiler_watch);
    *w = (struct compiler_watch){.compiler = c, .env = env, .fn = fn, .ctx = ctx};
    pthread_mutex_lock(&c->lock);
    list_push(&c->watches, &w->node);
    if (c->snapshot)
        watch_post(w);
    pthread_mutex_unlock(&c->lock);
    return w;
}

void compiler_watch_close(struct compiler_watch *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->compiler->lock);
    list_remove(&w->node);
    bool posted = w->posted;
    pthread_mutex_unlock(&w->compiler->lock);
    w->closed = true;
    if (!posted)
        mem_free(w);
}

/* Snapshots. */

struct xds_snapshot *compiler_snapshot(struct compiler *c)
{
    pthread_mutex_lock(&c->lock);
    struct xds_snapshot *s = c->snapshot ? xds_snapshot_ref(c->snapshot) : NULL;
    pthread_mutex_unlock(&c->lock);
    return s;
}

void compiler_publish(struct compiler *c, struct xds_snapshot *take_snapshot)
{
    pthread_mutex_lock(&c->lock);
    struct xds_snapshot *old = c->snapshot;
    c->snapshot = take_snapshot;
    LIST_EACH (&c->watches, n)
        watch_post(container_of(n, struct compiler_watch, node));
    pthread_mutex_unlock(&c->lock);
    xds_snapshot_unref(old);
}

/* Life. */

void compiler_door_init(struct compiler *c)
{
    pthread_mutex_init(&c->lock, NULL);
    list_init(&c->classes);
    list_init(&c->watches);
}

void compiler_door_fini(struct compiler *c)
{
    wf_assert(list_empty(&c->watches));
    LIST_EACH (&c->classes, n) {
        struct compiler_class *k = container_of(n, struct compiler_class, node);
        k->sessions = 0;
        compiler_class_remove(c, k);
    }
    map_fini(&c->by_key);
    map_fini(&c->by_id);
    xds_snapshot_unref(c->snapshot);
    pthread_mutex_destroy(&c->lock);
}

struct compiler *compiler_new_manual(void)
{
    struct compiler *c = MEM_NEW(struct compiler);
    compiler_door_init(c);
    return c;
}

void compiler_stop(struct compiler *c)
{
    if (!c)
        return;
    if (c->builder)
        c->stop(c->builder);
    compiler_door_fini(c);
    mem_free(c);
}
