/* A connection on which a part of a request comes, and then nothing: it ends, or just stays. */
#include "base/core/assert.h"
#include "registry/sim/api.h"

#define STAYS_MS_MAX 4000

struct torn {
    struct api_world *world;
    struct env *env;
    struct env_stream *stream;
    struct env_timer timer;
};

static void on_close(void *ctx, const struct err *why)
{
    struct torn *t = ctx;
    (void)why;
    t->world->torn--;
    env_timer_stop(t->env, &t->timer);
    mem_free(t);
}

static const struct env_stream_events events = {.on_close = on_close};

static void on_timer(struct env_timer *timer)
{
    struct torn *t = container_of(timer, struct torn, timer);
    env_stream_close(t->stream);
}

void api_torn_send(struct api_world *w, const struct env_addr *to, struct slice part)
{
    struct env *env = sim_host_env(w->host);
    struct torn *t = MEM_NEW(struct torn);
    struct iovec iov = {(void *)(uintptr_t)part.p, part.n};
    *t = (struct torn){.world = w, .env = env, .timer.fn = on_timer};
    w->torn++;
    t->stream = env_connect(env, to, NULL, &events, t);
    env_stream_write(t->stream, &iov, 1);
    if (sim_chance(w->run->sim, 300))
        env_stream_shutdown(t->stream);
    env_timer_start(env, &t->timer, (wf_ms)sim_below(w->run->sim, STAYS_MS_MAX));
}
