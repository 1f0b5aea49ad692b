/* The production env: libuv, sockets, real files.
 *
 *   struct env *env = env_uv_new(&err);
 *   … set up …
 *   env_uv_run(env);          returns after env_uv_stop (from any thread) or when nothing is left
 *   env_uv_free(env);
 */
#ifndef WEFT_BASE_ENV_ENV_UV_H
#define WEFT_BASE_ENV_ENV_UV_H

#include "base/env/env.h"

struct env *env_uv_new(struct err *err);
/* Listeners, streams, timers, tasks, posts and jobs are work; waiting for a signal is none. */
void env_uv_run(struct env *env);
/* One turn; waits at most `wait` ms. For tests and the CLI. */
void env_uv_turn(struct env *env, wf_ms wait);
/* Thread-safe. */
void env_uv_stop(struct env *env);
/* Closes what is open; on_close callbacks and posts that are under way run before it returns,
 * timers do not (they are stopped). Waits for env_work jobs. NULL is fine. */
void env_uv_free(struct env *env);
/* SIGINT, SIGTERM, SIGHUP, … delivered on this env's thread. */
void env_uv_on_signal(struct env *env, int signum, void (*fn)(void *ctx, int signum), void *ctx);

/* A thread with a loop of its own. start() runs on it before the loop. */
struct env_thread;
struct env_thread *env_thread_start(const char *name, void (*start)(void *ctx, struct env *env),
                                    void *ctx, struct err *err);
struct env *env_thread_env(struct env_thread *t);
/* Stops the loop, joins, frees. */
void env_thread_join(struct env_thread *t);

#endif
