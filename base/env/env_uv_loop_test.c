/* If this fails, timers fire early or twice, a callback comes from inside the call that caused it,
 * or messages between threads are lost or overtake each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/core/hash.h"
#include "base/env/env_uv.h"
#include "base/env/env_uv_impl.h"

static struct env *new_env(void)
{
    struct err err;
    struct env *env = env_uv_new(&err);
    assert_non_null(env);
    return env;
}

#define UNTIL(env, condition)                                                                      \
    for (int turns_ = 0; !(condition); turns_++) {                                                 \
        assert_true(turns_ < 10000);                                                               \
        env_uv_turn(env, 1000);                                                                    \
    }

/* A trace of what happened. */

struct step {
    struct env *env;
    struct env_timer timer;
    struct env_task task;
    struct env_post post;
    struct buf *trace;
    const char *name;
    struct step *defers, *starts, *stops;
    wf_ms fired_at;
};

static void note(struct step *s)
{
    buf_printf(s->trace, "%s ", s->name);
    s->fired_at = env_now(s->env);
    if (s->defers)
        env_defer(s->env, &s->defers->task);
    if (s->starts)
        env_timer_start(s->env, &s->starts->timer, 0);
    if (s->stops)
        env_timer_stop(s->env, &s->stops->timer);
}

static void on_timer(struct env_timer *t)
{
    note(container_of(t, struct step, timer));
}

static void on_task(struct env_task *t)
{
    note(container_of(t, struct step, task));
}

static void on_post(struct env_post *p)
{
    note(container_of(p, struct step, post));
}

static struct step step_of(struct env *env, struct buf *trace, const char *name)
{
    return (struct step){.env = env,
                         .timer.fn = on_timer,
                         .task.fn = on_task,
                         .post.fn = on_post,
                         .trace = trace,
                         .name = name};
}

static void expect(struct buf *trace, const char *text)
{
    if (!slice_eq(buf_slice(trace), slice_of(text)))
        fail_msg("got: %.*s", SLICE(buf_slice(trace)));
    buf_clear(trace);
}

static void test_timers(void **state)
{
    struct env *env = new_env();
    struct buf trace = {0};
    struct step a = step_of(env, &trace, "a"), b = step_of(env, &trace, "b"),
                c = step_of(env, &trace, "c"), d = step_of(env, &trace, "d");
    (void)state;
    env_timer_stop(env, &a.timer); /* stopped already */
    wf_ms began = env_now(env);
    env_timer_start(env, &a.timer, 40);
    env_timer_start(env, &b.timer, 20);
    env_timer_start(env, &c.timer, 20);
    env_timer_start(env, &d.timer, 10);
    b.stops = &d;
    env_timer_start(env, &d.timer, 30); /* restarted: later */
    env_uv_run(env);                    /* returns when nothing is left */
    expect(&trace, "b c a ");
    assert_true(b.fired_at - began >= 20);
    assert_true(a.fired_at - began >= 40 && a.fired_at - began < 400);
    assert_false(a.timer.armed || d.timer.armed);
    env_uv_free(env);
    buf_fini(&trace);
}

/* A timer that starts itself again at once must leave the turn to the others. */
static void test_zero_timer_waits_for_next_round(void **state)
{
    struct env *env = new_env();
    struct buf trace = {0};
    struct step a = step_of(env, &trace, "a"), b = step_of(env, &trace, "b");
    (void)state;
    a.starts = &a;
    env_timer_start(env, &a.timer, 0);
    env_defer(env, &b.task);
    env_uv_turn(env, 0);
    expect(&trace, "a b ");
    env_uv_turn(env, 0);
    expect(&trace, "a ");
    env_uv_free(env);
    assert_false(a.timer.armed);
    buf_fini(&trace);
}

static void test_turn_order(void **state)
{
    struct env *env = new_env();
    struct buf trace = {0};
    struct step timer = step_of(env, &trace, "timer"), post = step_of(env, &trace, "post"),
                task = step_of(env, &trace, "task"), first = step_of(env, &trace, "first"),
                never = step_of(env, &trace, "never");
    (void)state;
    first.defers = &task; /* from a task: the same pass */
    env_defer(env, &first.task);
    env_defer(env, &first.task); /* once */
    env_defer(env, &never.task);
    env_defer_cancel(&never.task);
    env_defer_cancel(&never.task);
    env_post(env, &post.post);
    env_timer_start(env, &timer.timer, 0);
    assert_int_equal(trace.n, 0);
    env_uv_turn(env, 0);
    expect(&trace, "timer post first task ");
    env_uv_free(env);
    buf_fini(&trace);
}

/* Files. */

struct file_write {
    struct env_file_write w;
    struct iovec iov[2];
    struct buf *trace;
    char name;
    enum err_code code;
    struct env_file *close_in_fn;
};

static void on_written(struct env_file_write *w, const struct err *err)
{
    struct file_write *f = container_of(w, struct file_write, w);
    buf_printf(f->trace, "%c ", f->name);
    f->code = err->code;
    if (f->close_in_fn)
        env_file_close(f->close_in_fn);
}

static struct file_write write_of(struct buf *trace, char name, const char *one, const char *two,
                                  uint64_t offset)
{
    return (struct file_write){
        .w = {.iov_n = 2, .offset = offset, .fn = on_written},
        .iov = {{(void *)(uintptr_t)one, strlen(one)}, {(void *)(uintptr_t)two, strlen(two)}},
        .trace = trace,
        .name = name,
        .code = ERR_INTERNAL};
}

static void submit(struct env_file *f, struct file_write *w)
{
    w->w.iov = w->iov;
    env_file_write_sync(f, &w->w);
}

static char *temporary_dir(char *dst)
{
    snprintf(dst, 64, "/tmp/weft-env-XXXXXX");
    assert_non_null(mkdtemp(dst));
    return dst;
}

static void test_file_writes(void **state)
{
    struct env *env = new_env();
    struct buf trace = {0};
    struct err err;
    char dir[64], path[96], got[16];
    size_t n;
    uint64_t size;
    (void)state;
    snprintf(path, sizeof(path), "%s/log", temporary_dir(dir));
    struct env_file *f = env_file_open(env, path, O_RDWR | O_CREAT, &err);
    assert_non_null(f);
    struct file_write a = write_of(&trace, 'a', "he", "llo", 0),
                      b = write_of(&trace, 'b', " wor", "ld", 5),
                      c = write_of(&trace, 'c', "J", "", 0);
    submit(f, &a);
    submit(f, &b);
    assert_int_equal(trace.n, 0);
    env_uv_turn(env, 0);
    assert_int_equal(trace.n, 0); /* durable now, told in the next turn */
    submit(f, &c);
    env_uv_turn(env, 1000);
    expect(&trace, "a b ");
    assert_int_equal(a.code, ERR_NONE);
    env_uv_run(env); /* ends when the last was told */
    expect(&trace, "c ");
    assert_true(env_file_read(f, 0, got, sizeof(got), &n, &err));
    assert_true(slice_eq(slice_mem(got, n), S("Jello world")));
    assert_true(env_file_size(f, &size, &err) && size == 11);
    assert_true(env_file_truncate(f, 5, &err));
    assert_true(env_file_preallocate(f, 100000, &err));
    char small[4] = {0};
    assert_true(env_file_write(f, 99990, "abcd", 4, &err));
    assert_true(env_file_read(f, 99990, small, 4, &n, &err));
    assert_memory_equal(small, "abcd", 4);
    assert_true(env_file_size(f, &size, &err) && size == 100000);
    assert_true(env_file_read(f, 3, got, 4, &n, &err) && n == 4 && memcmp(got, "lo\0\0", 4) == 0);
    env_file_close(f);
    env_file_close(NULL);
    assert_true(env_file_remove(env, path, &err));
    assert_null(env_file_open(env, path, O_RDWR, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    rmdir(dir);
    env_uv_free(env);
    buf_fini(&trace);
}

struct through_write {
    struct env_file_write w;
    int code;
};

static void on_through(struct env_file_write *w, const struct err *err)
{
    container_of(w, struct through_write, w)->code = (int)err->code;
}

#define THROUGH_FILE_BYTES 1000000

static bool takes_direct(const char *path)
{
    int fd = open(path, O_WRONLY | O_DIRECT);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* In the directory of the test, on a disk, and in memory, where the file system refuses. */
static void through_like_a_plain_file(const char *dir)
{
    struct env *env = new_env();
    struct err err;
    char path[96];
    snprintf(path, sizeof(path), "%s/through", dir);
    char *model = mem_new(THROUGH_FILE_BYTES), *got = mem_new(THROUGH_FILE_BYTES);
    struct env_file *f = env_file_open(env, path, O_RDWR | O_CREAT, &err);
    assert_non_null(f);
    assert_true(env_file_preallocate(f, THROUGH_FILE_BYTES, &err));
    env_file_write_through(f);
    env_file_write_through(f);
    uint64_t seed = 9, at = 0, n;
    int went = 0;
    for (int i = 0; i < 400; i++) {
        uint64_t draw = hash_u64(seed++);
        if (draw % 16 == 0)
            at = hash_u64(seed++) % THROUGH_FILE_BYTES;
        size_t bytes = 1 + hash_u64(seed++) % (draw % 64 == 1 ? 600000 : draw % 4 ? 700 : 20000);
        if (at + bytes > THROUGH_FILE_BYTES)
            at = THROUGH_FILE_BYTES - bytes;
        if (draw % 50 == 2) { /* beside it, by the system's memory */
            assert_true(env_file_write(f, at / 2, "plain", 5, &err));
            memcpy(model + at / 2, "plain", 5);
        }
        memset(model + at, (int)(draw >> 8), bytes);
        struct iovec iov[2] = {{model + at, bytes / 3},
                               {model + at + bytes / 3, bytes - bytes / 3}};
        struct through_write w = {.w = {.iov = iov, .iov_n = 2, .offset = at, .fn = on_through},
                                  .code = -1};
        env_file_write_sync(f, &w.w);
        UNTIL(env, w.code >= 0);
        assert_int_equal(w.code, ERR_NONE);
        went += uv_file_went_through(f);
        at += bytes;
    }
    assert_true(takes_direct(path) ? went > 300 : went == 0);
    assert_true(env_file_size(f, &n, &err) && n == THROUGH_FILE_BYTES);
    env_file_close(f);
    f = env_file_open(env, path, O_RDONLY, &err);
    size_t read;
    assert_true(env_file_read(f, 0, got, THROUGH_FILE_BYTES, &read, &err));
    assert_int_equal(read, THROUGH_FILE_BYTES);
    assert_memory_equal(got, model, THROUGH_FILE_BYTES);
    env_file_close(f);
    unlink(path);
    mem_free(model);
    mem_free(got);
    env_uv_free(env);
}

static void test_file_write_through(void **state)
{
    char dir[64];
    (void)state;
    through_like_a_plain_file(temporary_dir(dir));
    rmdir(dir);
    through_like_a_plain_file("/dev/shm");
}

/* A disk that refuses: all writes of the turn fail, for nothing of them is known to be durable. */
static void test_file_write_fails(void **state)
{
    struct env *env = new_env();
    struct buf trace = {0};
    struct err err;
    (void)state;
    struct env_file *f = env_file_open(env, "/dev/full", O_RDWR, &err);
    assert_non_null(f);
    struct file_write a = write_of(&trace, 'a', "x", "y", 0),
                      b = write_of(&trace, 'b', "x", "y", 2);
    submit(f, &a);
    submit(f, &b);
    UNTIL(env, trace.n == 4);
    assert_int_equal(a.code, ERR_IO);
    assert_int_equal(b.code, ERR_IO);
    env_file_close(f);
    env_uv_free(env);
    buf_fini(&trace);
}

static void test_file_closed_in_its_callback(void **state)
{
    struct env *env = new_env();
    struct buf trace = {0};
    struct err err;
    char dir[64], path[96];
    (void)state;
    snprintf(path, sizeof(path), "%s/log", temporary_dir(dir));
    struct env_file *f = env_file_open(env, path, O_RDWR | O_CREAT, &err);
    struct file_write a = write_of(&trace, 'a', "x", "y", 0),
                      b = write_of(&trace, 'b', "x", "y", 2);
    a.close_in_fn = f;
    submit(f, &a);
    submit(f, &b);
    for (int i = 0; i < 5; i++)
        env_uv_turn(env, 0);
    expect(&trace, "a "); /* b's fn is forgotten with the file */
    env_uv_free(env);
    unlink(path);
    rmdir(dir);
    buf_fini(&trace);
}

static void list_name(void *ctx, const char *name)
{
    buf_printf(ctx, "%s ", name);
}

static void test_whole_files(void **state)
{
    struct env *env = new_env();
    struct buf got = {0}, names = {0};
    struct err err;
    char dir[64], sub[96], path[128], other[128];
    (void)state;
    snprintf(sub, sizeof(sub), "%s/sub", temporary_dir(dir));
    snprintf(path, sizeof(path), "%s/b", sub);
    snprintf(other, sizeof(other), "%s/a", sub);
    assert_true(env_dir_make(env, sub, &err));
    assert_true(env_dir_make(env, sub, &err)); /* it is there */
    assert_true(env_file_store(env, path, S("one"), &err));
    assert_true(env_file_store(env, path, S("two!"), &err));
    assert_true(env_file_load(env, path, 4, &got, &err));
    assert_true(slice_eq(buf_slice(&got), S("two!")));
    assert_false(env_file_load(env, path, 3, &got, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_false(env_file_load(env, other, 3, &got, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_false(env_file_store(env, "/nowhere/at/all", S("x"), &err));
    assert_true(env_file_store(env, other, S(""), &err));
    assert_true(env_dir_list(env, sub, list_name, &names, &err));
    assert_true(slice_eq(buf_slice(&names), S("a b "))); /* no temporary file left behind */
    assert_true(env_file_rename(env, path, other, &err));
    assert_true(env_dir_sync(env, sub, &err));
    assert_false(env_dir_make(env, other, &err));
    assert_true(env_file_remove(env, other, &err));
    assert_false(env_file_remove(env, other, &err));
    assert_false(env_dir_list(env, other, list_name, &names, &err));
    rmdir(sub);
    rmdir(dir);
    env_uv_free(env);
    buf_fini(&got);
    buf_fini(&names);
}

/* Threads. */

#define SENDERS 4
#define POSTS 20000

struct message {
    struct env_post post;
    struct receiver *to;
    int sender, number;
};

struct receiver {
    struct env *env;
    pthread_t thread;
    int next[SENDERS];
    int received, wrong;
};

static void on_message(struct env_post *p)
{
    struct message *m = container_of(p, struct message, post);
    struct receiver *r = m->to;
    r->wrong += !pthread_equal(r->thread, pthread_self());
    r->wrong += r->next[m->sender]++ != m->number;
    if (++r->received == SENDERS * POSTS)
        env_uv_stop(r->env);
    free(m);
}

struct sender {
    struct receiver *to;
    int id;
};

static void *send_all(void *arg)
{
    struct sender *s = arg;
    for (int i = 0; i < POSTS; i++) {
        struct message *m = calloc(1, sizeof(*m));
        *m = (struct message){.post.fn = on_message, .to = s->to, .sender = s->id, .number = i};
        env_post(s->to->env, &m->post);
    }
    return NULL;
}

static void hold(struct env_timer *t)
{
    (void)t;
}

static void test_posts_of_threads(void **state)
{
    struct receiver r = {.env = new_env(), .thread = pthread_self()};
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    struct env_timer alive = {.fn = hold};
    (void)state;
    env_timer_start(r.env, &alive, 60000);
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){&r, i};
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
    }
    env_uv_run(r.env);
    for (int i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(r.received, SENDERS * POSTS);
    assert_int_equal(r.wrong, 0);
    env_uv_free(r.env);
}

/* Ping-pong between this loop and one of another thread. */
struct pong {
    struct env_post post;
    struct env *home, *away;
    int rounds;
    bool at_home;
};

static void on_pong(struct env_post *p)
{
    struct pong *g = container_of(p, struct pong, post);
    g->at_home = !g->at_home;
    if (g->at_home && ++g->rounds == 2000)
        env_uv_stop(g->home);
    else
        env_post(g->at_home ? g->away : g->home, &g->post);
}

static void start_thread(void *ctx, struct env *env)
{
    *(struct env **)ctx = env;
}

static void test_env_thread(void **state)
{
    struct env *home = new_env(), *told = NULL;
    struct env_timer alive = {.fn = hold};
    struct err err;
    (void)state;
    struct env_thread *t = env_thread_start("worker", start_thread, &told, &err);
    assert_non_null(t);
    struct pong g = {.post.fn = on_pong, .home = home, .away = env_thread_env(t), .at_home = true};
    env_timer_start(home, &alive, 60000);
    env_post(g.away, &g.post);
    env_uv_run(home);
    assert_int_equal(g.rounds, 2000);
    env_thread_join(t);
    assert_ptr_equal(told, g.away);
    env_thread_join(NULL);
    env_uv_free(home);
}

/* Posts that are under way when a loop ends are run, so that their memory is not lost. */
static void test_free_runs_posts(void **state)
{
    struct env *env = new_env();
    struct buf trace = {0};
    struct step p = step_of(env, &trace, "post");
    (void)state;
    env_post(env, &p.post);
    env_uv_free(env);
    expect(&trace, "post ");
    buf_fini(&trace);
}

struct job {
    struct env_work w;
    struct env *env;
    pthread_t worked, done;
    int dones;
};

static void job_work(struct env_work *w)
{
    container_of(w, struct job, w)->worked = pthread_self();
}

static void job_done(struct env_work *w)
{
    struct job *j = container_of(w, struct job, w);
    j->done = pthread_self();
    j->dones++;
}

static void test_work(void **state)
{
    struct env *env = new_env();
    struct job jobs[10], late;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        jobs[i] = (struct job){.w = {.work = job_work, .done = job_done}};
        env_work(env, &jobs[i].w);
    }
    env_uv_run(env); /* ends when the jobs have */
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        assert_int_equal(jobs[i].dones, 1);
        assert_true(pthread_equal(jobs[i].done, pthread_self()));
        assert_false(pthread_equal(jobs[i].worked, pthread_self()));
    }
    late = (struct job){.w = {.work = job_work, .done = job_done}};
    env_work(env, &late.w);
    env_uv_free(env);
    assert_int_equal(late.dones, 1);
}

struct beside {
    struct env_aside a;
    pthread_t worked;
    int works;
};

static void beside_work(struct env_aside *a)
{
    struct beside *b = container_of(a, struct beside, a);
    b->worked = pthread_self();
    b->works++;
}

static void test_aside(void **state)
{
    struct env *env = new_env();
    struct beside b = {.a.work = beside_work};
    (void)state;
    for (int i = 1; i <= 2; i++) {
        env_aside_begin(env, &b.a);
        env_aside_end(env, &b.a);
        assert_int_equal(b.works, i);
        assert_false(pthread_equal(b.worked, pthread_self()));
    }
    env_aside_end(env, &b.a); /* it was ended */
    env_uv_free(env);
}

static void on_signal(void *ctx, int signum)
{
    *(volatile int *)ctx = signum;
}

static void test_signal(void **state)
{
    struct env *env = new_env();
    volatile int got = 0;
    (void)state;
    env_uv_on_signal(env, SIGHUP, on_signal, (void *)(uintptr_t)&got);
    env_uv_run(env); /* waiting for a signal is no work */
    raise(SIGHUP);
    UNTIL(env, got == SIGHUP);
    env_uv_free(env);
}

static void test_random_and_clock(void **state)
{
    struct env *env = new_env();
    unsigned counts[10] = {0};
    uint64_t a, b;
    (void)state;
    env_random(env, &a, sizeof(a));
    env_random(env, &b, sizeof(b));
    assert_true(a != b);
    for (int i = 0; i < 100000; i++)
        counts[env_random_below(env, 10)]++;
    for (size_t i = 0; i < 10; i++)
        assert_in_range(counts[i], 9000, 11000);
    assert_int_equal(env_random_below(env, 1), 0);
    a = env_now_ns(env);
    assert_true(env_now_ns(env) >= a);
    assert_true(env_wall_ms(env) > 1600000000000);
    env_uv_free(env);
}

static void test_stop_before_run(void **state)
{
    struct env *env = new_env();
    struct env_timer alive = {.fn = hold};
    (void)state;
    env_timer_start(env, &alive, 60000);
    env_uv_stop(env);
    env_uv_run(env);
    assert_true(alive.armed);
    env_uv_free(env);
}

/* Addresses. */

static void test_addresses(void **state)
{
    static const struct {
        const char *text; /* comes back as it is */
        bool loopback;
        int port;
    } good[] = {
        {"127.0.0.1:80", true, 80},       {"127.9.9.9:0", true, 0},
        {"10.0.0.1:65535", false, 65535}, {"[::1]:443", true, 443},
        {"[fe80::1]:1", false, 1},        {"unix:/run/weft.sock", true, 0},
        {"unix:@abstract", true, 0},      {"0.0.0.0:15001", false, 15001},
    };
    static const char *const bad[] = {
        "",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:x",
        ":80",
        "localhost:80",
        "::1:80",
        "[::1:80",
        "[::1]",
        "[127.0.0.1]:80",
        "256.0.0.1:80",
        "unix:",
        "127.0.0.1:-1",
        "[]:80",
        ("unix:/0123456789012345678901234567890123456789012345678901234567890123456789"
         "012345678901234567890123456789012345678901234567890123456789"),
    };
    struct env_addr a, b = {0};
    struct err err;
    char text[ENV_ADDR_TEXT];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(env_addr_parse(&a, slice_of(good[i].text), &err));
        assert_true(slice_eq(env_addr_format(&a, text), slice_of(good[i].text)));
        assert_int_equal(env_addr_loopback(&a), good[i].loopback);
        assert_int_equal(env_addr_port(&a), good[i].port);
        assert_true(env_addr_equal(&a, &a));
        assert_false(env_addr_equal(&a, &b));
        b = a;
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (env_addr_parse(&a, slice_of(bad[i]), &err))
            fail_msg("took %s", bad[i]);
    env_addr_parse(&a, S("[::1]:1"), &err);
    env_addr_set_port(&a, 15001);
    assert_int_equal(env_addr_port(&a), 15001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers),
        cmocka_unit_test(test_zero_timer_waits_for_next_round),
        cmocka_unit_test(test_turn_order),
        cmocka_unit_test(test_file_writes),
        cmocka_unit_test(test_file_write_fails),
        cmocka_unit_test(test_file_closed_in_its_callback),
        cmocka_unit_test(test_whole_files),
        cmocka_unit_test(test_posts_of_threads),
        cmocka_unit_test(test_env_thread),
        cmocka_unit_test(test_free_runs_posts),
        cmocka_unit_test(test_work),
        cmocka_unit_test(test_aside),
        cmocka_unit_test(test_file_write_through),
        cmocka_unit_test(test_signal),
        cmocka_unit_test(test_random_and_clock),
        cmocka_unit_test(test_stop_before_run),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
