#include "base/env/env_uv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "base/env/env_limits.h"
#include "base/env/env_uv_impl.h"

static struct uv_env *uv_env_of(struct env *env)
{
    return container_of(env, struct uv_env, base);
}

/* Clock, random, posts. */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t uv_env_now_ns(struct env *env)
{
    (void)env;
    return clock_ns(CLOCK_MONOTONIC);
}

static int64_t uv_env_wall_ms(struct env *env)
{
    (void)env;
    return (int64_t)(clock_ns(CLOCK_REALTIME) / 1000000u);
}

static void uv_env_random(struct env *env, void *p, size_t n)
{
    (void)env;
    char *at = p;
    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            wf_die("getrandom: errno %d", errno);
        at += got;
        n -= (size_t)got;
    }
}

/* An eventfd of our own: uv_async_send makes the receiver spin until the sender has left it, and on
 * a machine with few cores the sender is often the one who has to wait for the core. */
static void wake(struct uv_env *env)
{
    uint64_t one = 1;
    ssize_t n = write(env->wake_fd, &one, sizeof(one));
    wf_assert(n == sizeof(one) || errno == EAGAIN); /* full: it is awake soon enough */
}

/* A stack that the receiver takes whole and turns round. Only the post that finds it empty has to
 * wake the loop, and only where it sleeps. Both sides store first and look then, so one of them
 * sees the other. */
static void uv_env_post(struct env *target, struct env_post *p)
{
    struct uv_env *env = uv_env_of(target);
    struct env_post *head = __atomic_load_n(&env->posted, __ATOMIC_RELAXED);
    do
        p->next = head;
    while (!__atomic_compare_exchange_n(&env->posted, &head, p, true, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED));
    if (!head && __atomic_exchange_n(&env->asleep, 0, __ATOMIC_SEQ_CST))
        wake(env);
}

static void run_posts(struct uv_env *env)
{
    struct env_post *p = __atomic_exchange_n(&env->posted, NULL, __ATOMIC_ACQUIRE);
    struct env_post *in_order = NULL;
    while (p) {
        struct env_post *next = p->next;
        p->next = in_order;
        in_order = p;
        p = next;
    }
    while (in_order) {
        p = in_order;
        in_order = p->next;
        p->fn(p);
    }
}

/* Work aside. */

struct uv_work {
    uv_work_t req;
    struct uv_env *env;
    struct env_work *w;
};

static void work_run(uv_work_t *req)
{
    struct uv_work *job = container_of(req, struct uv_work, req);
    job->w->work(job->w);
}

static void work_done(uv_work_t *req, int status)
{
    struct uv_work *job = container_of(req, struct uv_work, req);
    struct env_work *w = job->w;
    wf_assert(status == 0); /* we cancel none */
    job->env->works--;
    w->impl = NULL;
    mem_free(job);
    w->done(w);
}

static void uv_env_work(struct env *base, struct env_work *w)
{
    struct uv_env *env = uv_env_of(base);
    struct uv_work *job = MEM_NEW(struct uv_work);
    job->env = env;
    job->w = w;
    w->impl = job;
    env->works++;
    int rc = uv_queue_work(&env->loop, &job->req, work_run, work_done);
    wf_assert(rc == 0);
}

/* The turn. */

static bool has_turn_work(struct uv_env *env)
{
    return !list_empty(&env->base.deferred) || !list_empty(&env->files_dirty) ||
           !list_empty(&env->files_synced) || __atomic_load_n(&env->posted, __ATOMIC_SEQ_CST);
}

static bool uv_env_has_work(struct uv_env *env)
{
    return env->hold || env->turn_wait_until != INT64_MAX || has_turn_work(env) ||
           env->base.timers.n || env->works || !list_empty(&env->streams) ||
           !list_empty(&env->listeners);
}

static void update_alive(struct uv_env *env)
{
    if (uv_env_has_work(env))
        uv_ref((uv_handle_t *)&env->wake);
    else
        uv_unref((uv_handle_t *)&env->wake);
}

static void on_timer(uv_timer_t *timer)
{
    /* It only ends the poll: on_check runs what is due. */
    (void)timer;
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle;
}

static void on_wake(uv_poll_t *poll, int status, int events)
{
    struct uv_env *env = container_of(poll, struct uv_env, wake);
    uint64_t count;
    (void)status;
    (void)events;
    ssize_t n = read(env->wake_fd, &count, sizeof(count));
    (void)n; /* on_check does the rest */
}

/* Bounds the wait of the poll by the next timer and by what is queued already. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct uv_env *env = container_of(prepare, struct uv_env, prepare);
    uv_env_tick(env);
    update_alive(env); /* streams have gone since on_check */
    wf_ms due = env_impl_next_timer(&env->base);
    if (env->turn_wait_until < due)
        due = env->turn_wait_until;
    __atomic_store_n(&env->asleep, 1, __ATOMIC_SEQ_CST);
    if (has_turn_work(env) || due <= env->base.now)
        uv_idle_start(&env->idle, on_idle);
    else
        uv_idle_stop(&env->idle);
    if (due == env->timer_due)
        return;
    env->timer_due = due;
    if (due == INT64_MAX)
        uv_timer_stop(&env->timer);
    else
        uv_timer_start(&env->timer, on_timer,
                       due > env->base.now ? (uint64_t)(due - env->base.now) : 0, 0);
}

static void on_check(uv_check_t *check)
{
    struct uv_env *env = container_of(check, struct uv_env, check);
    __atomic_store_n(&env->asleep, 0, __ATOMIC_RELAXED);
    uv_env_tick(env);
    if (env->timer_due <= env->base.now)
        env->timer_due = -1; /* it has fired or will at once: arm it anew */
    uv_files_complete(env);
    env_impl_run_timers(&env->base);
    run_posts(env);
    env_impl_run_deferred(&env->base);
    uv_files_flush(env);
    update_alive(env);
    if (__atomic_load_n(&env->stopped, __ATOMIC_ACQUIRE))
        uv_stop(&env->loop);
}

/* Life. */

static const struct env_ops ops = {
    .now_ns = uv_env_now_ns,
    .wall_ms = uv_env_wall_ms,
    .random = uv_env_random,
    .boot_id = uv_env_boot_id,
    .post = uv_env_post,
    .work = uv_env_work,
    .aside_begin = uv_aside_begin,
    .aside_end = uv_aside_end,
    .connect = uv_stream_connect,
    .listen = uv_env_listen,
    .listener_addr = uv_listener_addr,
    .listener_close = uv_listener_close,
    .file_open = uv_file_open,
    .file_close = uv_file_close,
    .file_read = uv_file_read,
    .file_write = uv_file_write,
    .file_size = uv_file_size,
    .file_truncate = uv_file_truncate,
    .file_preallocate = uv_file_preallocate,
    .file_write_through = uv_file_write_through,
    .file_write_sync = uv_file_write_sync,
    .file_load = uv_file_load,
    .file_store = uv_file_store,
    .file_rename = uv_file_rename,
    .file_remove = uv_file_remove,
    .dir_make = uv_dir_make,
    .dir_sync = uv_dir_sync,
    .disk_free = uv_disk_free,
    .disk_reserve = uv_disk_reserve,
    .dir_list = uv_dir_list,
    .lock_take = uv_lock_take,
    .lock_release = uv_lock_release,
};

static void init_lists(struct uv_env *env)
{
    list_init(&env->streams);
    list_init(&env->listeners);
    list_init(&env->files);
    list_init(&env->signals);
    list_init(&env->files_dirty);
    list_init(&env->files_synced);
}

static void init_handles(struct uv_env *env)
{
    uv_prepare_init(&env->loop, &env->prepare);
    uv_check_init(&env->loop, &env->check);
    uv_idle_init(&env->loop, &env->idle);
    uv_timer_init(&env->loop, &env->timer);
    uv_prepare_start(&env->prepare, on_prepare);
    uv_check_start(&env->check, on_check);
    uv_unref((uv_handle_t *)&env->prepare);
    uv_unref((uv_handle_t *)&env->check);
    uv_unref((uv_handle_t *)&env->idle);
    uv_unref((uv_handle_t *)&env->timer);
    uv_poll_start(&env->wake, UV_READABLE, on_wake);
    uv_unref((uv_handle_t *)&env->wake);
}

/* A program that was started without them would get a socket in their place: libuv dies of that,
 * and what is printed would go to a peer. */
static void hold_standard_descriptors(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY);
}

struct env *env_uv_new(struct err *err)
{
    hold_standard_descriptors();
    struct uv_env *env = MEM_NEW(struct uv_env);
    int rc = uv_loop_init(&env->loop);
    if (rc != 0) {
        mem_free(env);
        err_errno(err, -rc, "event loop");
        return NULL;
    }
    env->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    rc = env->wake_fd < 0 ? -errno : uv_poll_init(&env->loop, &env->wake, env->wake_fd);
    if (rc != 0) {
        uv_loop_close(&env->loop);
        if (env->wake_fd >= 0)
            close(env->wake_fd);
        mem_free(env);
        err_errno(err, -rc, "event loop's wake-up");
        return NULL;
    }
    env_impl_init(&env->base, &ops);
    env->base.now = (wf_ms)uv_now(&env->loop);
    uv_env_random(&env->base, &env->base.prng, sizeof(env->base.prng));
    env->timer_due = env->turn_wait_until = INT64_MAX;
    env->read_buf = mem_new(ENV_READ_BYTES);
    init_lists(env);
    init_handles(env);
    return &env->base;
}

void env_uv_run(struct env *base)
{
    struct uv_env *env = uv_env_of(base);
    update_alive(env);
    uv_run(&env->loop, UV_RUN_DEFAULT);
    __atomic_store_n(&env->stopped, 0, __ATOMIC_RELEASE);
}

void env_uv_turn(struct env *base, wf_ms wait)
{
    struct uv_env *env = uv_env_of(base);
    uv_update_time(&env->loop);
    env->turn_wait_until = (wf_ms)uv_now(&env->loop) + (wait > 0 ? wait : 0);
    update_alive(env); /* a loop without work would not even poll */
    uv_run(&env->loop, UV_RUN_ONCE);
    env->turn_wait_until = INT64_MAX;
}

void env_uv_stop(struct env *base)
{
    struct uv_env *env = uv_env_of(base);
    __atomic_store_n(&env->stopped, 1, __ATOMIC_RELEASE);
    wake(env);
}

void uv_env_hold(struct env *base)
{
    uv_env_of(base)->hold = true;
}

/* Signals. */

struct uv_signal {
    struct list_node node;
    uv_signal_t handle;
    struct uv_env *env;
    void (*fn)(void *ctx, int signum);
    void *ctx;
};

static void on_signal(uv_signal_t *handle, int signum)
{
    struct uv_signal *s = container_of(handle, struct uv_signal, handle);
    uv_env_tick(s->env);
    s->fn(s->ctx, signum);
}

void env_uv_on_signal(struct env *base, int signum, void (*fn)(void *ctx, int signum), void *ctx)
{
    struct uv_env *env = uv_env_of(base);
    struct uv_signal *s = MEM_NEW(struct uv_signal);
    s->env = env;
    s->fn = fn;
    s->ctx = ctx;
    uv_signal_init(&env->loop, &s->handle);
    int rc = uv_signal_start(&s->handle, on_signal, signum);
    wf_assert(rc == 0);
    uv_unref((uv_handle_t *)&s->handle);
    list_push(&env->signals, &s->node);
}

static void signal_closed(uv_handle_t *handle)
{
    mem_free(container_of(handle, struct uv_signal, handle));
}

static void close_signals(struct uv_env *env)
{
    struct list_node *n;
    while ((n = list_pop(&env->signals)))
        uv_close((uv_handle_t *)&container_of(n, struct uv_signal, node)->handle, signal_closed);
}

/* The end. */

/* Callbacks of the end may open new things; somebody who never stops doing so is a bug. */
#define FREE_ROUNDS_MAX 100

static void forget_timers(struct uv_env *env)
{
    struct heap_node *n;
    while ((n = heap_pop(&env->base.timers)))
        container_of(n, struct env_timer, node)->armed = false;
}

static void close_everything(struct uv_env *env)
{
    for (int round = 0; uv_env_has_work(env) || round == 0; round++) {
        wf_assert(round < FREE_ROUNDS_MAX);
        forget_timers(env);
        uv_listeners_close_all(env);
        uv_streams_close_all(env);
        env_uv_turn(&env->base, env->works ? 1000 : 0);
    }
}

void env_uv_free(struct env *base)
{
    if (!base)
        return;
    struct uv_env *env = uv_env_of(base);
    env->hold = false;
    close_everything(env);
    uv_files_close_all(env);
    close_signals(env);
    uv_close((uv_handle_t *)&env->prepare, NULL);
    uv_close((uv_handle_t *)&env->check, NULL);
    uv_close((uv_handle_t *)&env->idle, NULL);
    uv_close((uv_handle_t *)&env->timer, NULL);
    uv_close((uv_handle_t *)&env->wake, NULL);
    uv_run(&env->loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&env->loop);
    wf_assert(rc == 0);
    close(env->wake_fd);
    mem_free(env->read_buf);
    mem_free(env);
}
