#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "base/core/assert.h"
#include "base/env/env_uv_impl.h"

#define THREAD_NAME_BYTES 16 /* pthread_setname_np(3) */

struct env_thread {
    pthread_t thread;
    struct env *env;
    void (*start)(void *ctx, struct env *env);
    void *ctx;
    char name[THREAD_NAME_BYTES];
};

static void *thread_main(void *arg)
{
    struct env_thread *t = arg;
    pthread_setname_np(pthread_self(), t->name);
    t->start(t->ctx, t->env);
    env_uv_run(t->env);
    return NULL;
}

struct env_thread *env_thread_start(const char *name, void (*start)(void *ctx, struct env *env),
                                    void *ctx, struct err *err)
{
    struct env *env = env_uv_new(err);
    if (!env)
        return NULL;
    uv_env_hold(env);
    struct env_thread *t = MEM_NEW(struct env_thread);
    *t = (struct env_thread){.env = env, .start = start, .ctx = ctx};
    snprintf(t->name, sizeof(t->name), "%s", name);
    int rc = pthread_create(&t->thread, NULL, thread_main, t);
    if (rc == 0)
        return t;
    err_errno(err, rc, "thread %s", name);
    env_uv_free(env);
    mem_free(t);
    return NULL;
}

struct env *env_thread_env(struct env_thread *t)
{
    return t->env;
}

void env_thread_join(struct env_thread *t)
{
    if (!t)
        return;
    env_uv_stop(t->env);
    int rc = pthread_join(t->thread, NULL);
    wf_assert(rc == 0);
    env_uv_free(t->env);
    mem_free(t);
}

/* Aside. */

static void *aside_main(void *arg)
{
    struct env_aside *a = arg;
    pthread_setname_np(pthread_self(), "aside");
    a->work(a);
    return NULL;
}

void uv_aside_begin(struct env *env, struct env_aside *a)
{
    pthread_t *thread = MEM_NEW(pthread_t);
    (void)env;
    if (pthread_create(thread, NULL, aside_main, a) == 0) {
        a->impl = thread;
        return;
    }
    mem_free(thread);
    a->impl = NULL;
    a->work(a);
}

void uv_aside_end(struct env *env, struct env_aside *a)
{
    pthread_t *thread = a->impl;
    (void)env;
    if (!thread)
        return;
    int rc = pthread_join(*thread, NULL);
    wf_assert(rc == 0);
    mem_free(thread);
    a->impl = NULL;
}
