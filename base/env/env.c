#include "base/env/env.h"

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/env/env_impl.h"

/* Shared by all implementations. */

void env_impl_init(struct env *env, const struct env_ops *ops)
{
    *env = (struct env){.ops = ops};
    list_init(&env->deferred);
}

wf_ms env_now(struct env *env)
{
    return env->now;
}

/* SplitMix64: a counter behind a mixer. Lemire's multiplication instead of a division; its bias is
 * below / 2^64. */
uint64_t env_random_below(struct env *env, uint64_t below)
{
    wf_assert(below > 0);
    uint64_t r = hash_u64(env->prng);
    env->prng += 0x9E3779B97F4A7C15u;
    return (uint64_t)(((unsigned __int128)r * below) >> 64);
}

void env_timer_start(struct env *env, struct env_timer *t, wf_ms delay)
{
    wf_assert(t->fn);
    env_timer_stop(env, t);
    if (delay < 0)
        delay = 0;
    wf_ms due = delay < INT64_MAX - env->now ? env->now + delay : INT64_MAX - 1;
    heap_push(&env->timers, &t->node, due);
    t->armed = true;
}

void env_timer_stop(struct env *env, struct env_timer *t)
{
    if (!t->armed)
        return;
    heap_remove(&env->timers, &t->node);
    t->armed = false;
}

wf_ms env_impl_next_timer(const struct env *env)
{
    const struct heap_node *n = heap_peek(&env->timers);
    return n ? n->key : INT64_MAX;
}

void env_impl_run_timers(struct env *env)
{
    /* What is started from here on waits for the next round, even if it is due at once. */
    uint64_t seq_end = env->timers.seq;
    struct heap_node *n;
    while ((n = heap_peek(&env->timers)) && n->key <= env->now && n->seq < seq_end) {
        struct env_timer *t = container_of(n, struct env_timer, node);
        env_timer_stop(env, t);
        t->fn(t);
    }
}

void env_defer(struct env *env, struct env_task *t)
{
    wf_assert(t->fn);
    if (!list_linked(&t->node))
        list_push(&env->deferred, &t->node);
}

void env_defer_cancel(struct env_task *t)
{
    list_remove(&t->node);
}

void env_impl_run_deferred(struct env *env)
{
    struct list_node *n;
    while ((n = list_pop(&env->deferred))) {
        struct env_task *t = container_of(n, struct env_task, node);
        t->fn(t);
    }
}

/* The ports. */

static const struct env_ops *ops_of(const void *handle)
{
    return ((const struct env_handle *)handle)->env->ops;
}

static const struct env_stream_ops *stream_ops(const struct env_stream *s)
{
    return ((const struct env_stream_handle *)(const void *)s)->ops;
}

uint64_t env_now_ns(struct env *env)
{
    return env->ops->now_ns(env);
}

int64_t env_wall_ms(struct env *env)
{
    return env->ops->wall_ms(env);
}

void env_random(struct env *env, void *p, size_t n)
{
    env->ops->random(env, p, n);
}

void env_boot_id(struct env *env, char dst[ENV_BOOT_ID_BYTES])
{
    env->ops->boot_id(env, dst);
}

void env_post(struct env *target, struct env_post *p)
{
    target->ops->post(target, p);
}

void env_work(struct env *env, struct env_work *w)
{
    wf_assert(w->work && w->done);
    env->ops->work(env, w);
}

void env_aside_begin(struct env *env, struct env_aside *a)
{
    env->ops->aside_begin(env, a);
}

void env_aside_end(struct env *env, struct env_aside *a)
{
    env->ops->aside_end(env, a);
}

struct env_stream *env_connect(struct env *env, const struct env_addr *to,
                               const struct env_stream_options *opt,
                               const struct env_stream_events *events, void *ctx)
{
    static const struct env_stream_options defaults;
    wf_assert(events && events->on_close);
    return env->ops->connect(env, to, opt ? opt : &defaults, events, ctx);
}

size_t env_stream_write(struct env_stream *s, const struct iovec *iov, int n)
{
    return stream_ops(s)->write(s, iov, n);
}

size_t env_stream_queued(const struct env_stream *s)
{
    return stream_ops(s)->queued(s);
}

void env_stream_read_pause(struct env_stream *s)
{
    stream_ops(s)->read_pause(s);
}

void env_stream_read_resume(struct env_stream *s)
{
    stream_ops(s)->read_resume(s);
}

void env_stream_shutdown(struct env_stream *s)
{
    stream_ops(s)->shutdown(s);
}

void env_stream_close(struct env_stream *s)
{
    stream_ops(s)->close(s);
}

void env_stream_close_after_write(struct env_stream *s, wf_ms linger)
{
    stream_ops(s)->close_after_write(s, linger);
}

void env_stream_set_events(struct env_stream *s, const struct env_stream_events *events, void *ctx)
{
    wf_assert(!events || events->on_close);
    stream_ops(s)->set_events(s, events, ctx);
}

const struct env_addr *env_stream_local(const struct env_stream *s)
{
    return stream_ops(s)->local(s);
}

const struct env_addr *env_stream_peer(const struct env_stream *s)
{
    return stream_ops(s)->peer(s);
}

bool env_stream_original_dst(const struct env_stream *s, struct env_addr *ret_addr)
{
    const struct env_stream_ops *ops = stream_ops(s);
    return ops->original_dst && ops->original_dst(s, ret_addr);
}

bool env_stream_peer_cred(const struct env_stream *s, struct env_peer_cred *ret_cred)
{
    const struct env_stream_ops *ops = stream_ops(s);
    return ops->peer_cred && ops->peer_cred(s, ret_cred);
}

struct env_listener *env_listen(struct env *env, const struct env_addr *at,
                                const struct env_listen_options *opt,
                                void (*on_accept)(void *ctx, struct env_stream *s), void *ctx,
                                struct err *err)
{
    static const struct env_listen_options defaults;
    wf_assert(on_accept);
    return env->ops->listen(env, at, opt ? opt : &defaults, on_accept, ctx, err);
}

const struct env_addr *env_listener_addr(const struct env_listener *l)
{
    return ops_of(l)->listener_addr(l);
}

void env_listener_close(struct env_listener *l)
{
    ops_of(l)->listener_close(l);
}

struct env_file *env_file_open(struct env *env, const char *path, int flags, struct err *err)
{
    return env->ops->file_open(env, path, flags, err);
}

void env_file_close(struct env_file *f)
{
    if (f)
        ops_of(f)->file_close(f);
}

bool env_file_read(struct env_file *f, uint64_t offset, void *p, size_t n, size_t *ret_n,
                   struct err *err)
{
    return ops_of(f)->file_read(f, offset, p, n, ret_n, err);
}

bool env_file_write(struct env_file *f, uint64_t offset, const void *p, size_t n, struct err *err)
{
    return ops_of(f)->file_write(f, offset, p, n, err);
}

bool env_file_size(struct env_file *f, uint64_t *ret_size, struct err *err)
{
    return ops_of(f)->file_size(f, ret_size, err);
}

bool env_file_truncate(struct env_file *f, uint64_t size, struct err *err)
{
    return ops_of(f)->file_truncate(f, size, err);
}

bool env_file_preallocate(struct env_file *f, uint64_t size, struct err *err)
{
    return ops_of(f)->file_preallocate(f, size, err);
}

void env_file_write_sync(struct env_file *f, struct env_file_write *w)
{
    wf_assert(w->fn && w->iov_n > 0);
    ops_of(f)->file_write_sync(f, w);
}

void env_file_write_through(struct env_file *f)
{
    ops_of(f)->file_write_through(f);
}

bool env_file_load(struct env *env, const char *path, size_t bytes_max, struct buf *ret_bytes,
                   struct err *err)
{
    return env->ops->file_load(env, path, bytes_max, ret_bytes, err);
}

bool env_file_store(struct env *env, const char *path, struct slice bytes, struct err *err)
{
    return env->ops->file_store(env, path, bytes, err);
}

bool env_file_rename(struct env *env, const char *from, const char *to, struct err *err)
{
    return env->ops->file_rename(env, from, to, err);
}

bool env_file_remove(struct env *env, const char *path, struct err *err)
{
    return env->ops->file_remove(env, path, err);
}

bool env_dir_make(struct env *env, const char *path, struct err *err)
{
    return env->ops->dir_make(env, path, err);
}

bool env_dir_sync(struct env *env, const char *path, struct err *err)
{
    return env->ops->dir_sync(env, path, err);
}

bool env_disk_free(struct env *env, const char *path, uint64_t *ret_bytes, struct err *err)
{
    return env->ops->disk_free(env, path, ret_bytes, err);
}

int env_disk_reserve(struct env *env, int fd, uint64_t bytes)
{
    return env->ops->disk_reserve(env, fd, bytes);
}

bool env_dir_list(struct env *env, const char *path, void (*fn)(void *ctx, const char *name),
                  void *ctx, struct err *err)
{
    return env->ops->dir_list(env, path, fn, ctx, err);
}

struct env_lock *env_lock_take(struct env *env, const char *path, struct err *err)
{
    return env->ops->lock_take(env, path, err);
}

void env_lock_release(struct env_lock *l)
{
    if (l)
        ops_of(l)->lock_release(l);
}
