#include "proxy/worker.h"

#include <semaphore.h>
#include <time.h>

#include "base/core/assert.h"
#include "base/env/env_uv.h"
#include "proxy/down.h"
#include "proxy/pool.h"
#include "proxy/worker_int.h"

struct wconf *wconf_ref(struct wconf *c)
{
    c->users++;
    return c;
}

void wconf_unref(struct wconf *c)
{
    wf_assert(c->users > 0);
    if (--c->users > 0)
        return;
    conf_unref(c->conf);
    mem_free(c);
}

static struct wconf *wconf_new(struct conf *conf)
{
    struct wconf *c = MEM_NEW(struct wconf);
    c->conf = conf_ref(conf);
    c->users = 1;
    return c;
}

struct slice worker_date(struct worker *w)
{
    int64_t second = env_wall_ms(w->env) / 1000;
    if (second != w->date_second) {
        time_t t = (time_t)second;
        struct tm tm;
        gmtime_r(&t, &tm);
        strftime(w->date, sizeof(w->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        w->date_second = second;
    }
    return slice_of(w->date);
}

/* Time-outs that need no precision. */

void worker_sweep_start(struct worker *w)
{
    if (!w->sweep.armed && !w->closing)
        env_timer_start(w->env, &w->sweep, PROXY_SWEEP_MS);
}

static void sweep(struct env_timer *t)
{
    struct worker *w = container_of(t, struct worker, sweep);
    wf_ms now = env_now(w->env);
    LIST_EACH (&w->streams, n)
        stream_sweep(container_of(n, struct stream, node), now);
    LIST_EACH (&w->conns, n) {
        struct down_conn *c = container_of(n, struct down_conn, node);
        c->ops->sweep(c, now);
    }
    pool_sweep(w, now);
    listeners_sweep(w);
    clusters_sweep(w);
    if (w->conn_count || !list_empty(&w->up_conns) || !list_empty(&w->listeners_draining))
        worker_sweep_start(w);
}

/* Life. */

static struct metrics_party party_of(const struct conf *c)
{
    if (!c)
        return (struct metrics_party){0};
    return (struct metrics_party){.workload = c->workload,
                                  .ns = c->ns,
                                  .app = c->app,
                                  .version = c->version,
                                  .canonical = c->canonical,
                                  .revision = c->version,
                                  .cluster = c->cluster_id};
}

static void lists_init(struct worker *w)
{
    list_init(&w->listeners);
    list_init(&w->listeners_draining);
    list_init(&w->conns);
    list_init(&w->streams);
    list_init(&w->dead);
    list_init(&w->spare);
    list_init(&w->up_conns);
    list_init(&w->log_files);
}

struct worker *worker_new(struct env *env, const struct worker_options *opt, struct err *err)
{
    struct worker *w = MEM_NEW(struct worker);
    struct metrics_party self = party_of(opt->conf);
    w->env = env;
    w->hostname = opt->hostname;
    w->access_log_off = opt->access_log_off;
    lists_init(w);
    env_random(env, &w->rng.s, sizeof(w->rng.s));
    flush_init(&w->flush, env);
    w->h2_pool = h2_pool_new();
    w->recycle.fn = streams_recycle;
    w->sweep.fn = sweep;
    w->metric_set = metric_set_new(opt->series_max ? opt->series_max : METRIC_SERIES_MAX_DEFAULT);
    w->metrics = metrics_new(w->metric_set, &self);
    worker_stats_init(&w->stats, w->metric_set);
    if (!opt->conf || worker_apply(w, opt->conf, err))
        return w;
    worker_close(w);
    worker_free(w);
    return NULL;
}

void worker_close(struct worker *w)
{
    w->closing = true;
    env_timer_stop(w->env, &w->sweep);
    listeners_close(w);
    LIST_EACH (&w->conns, n) {
        struct down_conn *c = container_of(n, struct down_conn, node);
        c->ops->close(c);
    }
    pool_close(w);
    clusters_close(w);
    listeners_close_logs(w);
}

bool worker_idle(const struct worker *w)
{
    return w->conn_count == 0 && list_empty(&w->up_conns) && w->stream_count == 0;
}

void worker_free(struct worker *w)
{
    wf_assert(w->closing && worker_idle(w));
    env_defer_cancel(&w->recycle);
    streams_free(w);
    flush_fini(&w->flush);
    h2_pool_free(w->h2_pool);
    map_fini(&w->clusters);
    metrics_cache_clear(&w->no_host);
    if (w->conf)
        wconf_unref(w->conf);
    metric_set_free(w->metric_set);
    metrics_free(w->metrics);
    mem_free(w);
}

/* Configuration. */

static void apply(struct worker *w, struct conf *conf, struct bind_failures *failures)
{
    struct wconf *next = wconf_new(conf), *old = w->conf;
    struct metrics_party self = party_of(conf);
    listeners_apply(w, next, failures);
    w->conf = next;
    metrics_set_self(w->metrics, &self);
    metrics_cache_clear(&w->no_host);
    clusters_update(w);
    if (old)
        wconf_unref(old);
}

bool worker_apply(struct worker *w, struct conf *conf, struct err *err)
{
    struct bind_failures failures = {0};
    apply(w, conf, &failures);
    bool bound = failures.list.n == 0;
    if (!bound && err)
        *err = failures.list.p[0].why;
    bind_failures_fini(&failures);
    return bound;
}

static void update_done(struct env_post *p)
{
    struct worker_update *u = container_of(p, struct worker_update, post);
    u->done(u);
}

static void update_run(struct env_post *p)
{
    struct worker_update *u = container_of(p, struct worker_update, post);
    apply(u->worker, u->conf, &u->failures);
    u->post.fn = update_done;
    env_post(u->reply_to, &u->post);
}

void worker_update(struct worker *w, struct worker_update *u)
{
    u->worker = w;
    u->post.fn = update_run;
    env_post(w->env, &u->post);
}

void worker_drain(struct worker *w)
{
    w->draining = true;
    listeners_drain(w);
}

/* A thread of its own. */

struct start {
    const struct worker_options *opt;
    struct worker *w;
    struct err err;
    sem_t done;
};

static void start_on_thread(void *ctx, struct env *env)
{
    struct start *s = ctx;
    s->w = worker_new(env, s->opt, &s->err);
    sem_post(&s->done);
}

static void wait_for(sem_t *done)
{
    while (sem_wait(done) != 0)
        ;
    sem_destroy(done);
}

struct worker *worker_start(const struct worker_options *opt, struct err *err)
{
    struct start s = {.opt = opt};
    sem_init(&s.done, 0, 0);
    struct env_thread *t =
        env_thread_start(opt->name ? opt->name : "worker", start_on_thread, &s, err);
    if (!t)
        return NULL;
    wait_for(&s.done);
    if (!s.w) {
        env_thread_join(t);
        err_set(err, s.err.code, "%s", s.err.msg);
        return NULL;
    }
    s.w->thread = t;
    return s.w;
}

struct stop {
    struct env_post post;
    struct env_timer timer;
    struct worker *w;
    sem_t done;
};

/* Waits for the on_close callbacks of this and the next turns. */
static void stop_when_idle(struct env_timer *t)
{
    struct stop *s = container_of(t, struct stop, timer);
    if (!worker_idle(s->w)) {
        env_timer_start(s->w->env, t, 1);
        return;
    }
    worker_free(s->w);
    sem_post(&s->done);
}

static void stop_on_thread(struct env_post *p)
{
    struct stop *s = container_of(p, struct stop, post);
    worker_close(s->w);
    s->timer.fn = stop_when_idle;
    env_timer_start(s->w->env, &s->timer, 0);
}

void worker_stop(struct worker *w)
{
    if (!w)
        return;
    struct env_thread *t = w->thread;
    struct stop s = {.w = w, .post.fn = stop_on_thread};
    wf_assert(t);
    sem_init(&s.done, 0, 0);
    env_post(w->env, &s.post);
    wait_for(&s.done);
    env_thread_join(t);
}

/* For the admin. */

struct env *worker_env(const struct worker *w)
{
    return w->env;
}

struct metric_set *worker_metrics(const struct worker *w)
{
    return w->metric_set;
}

uint64_t worker_generation(const struct worker *w)
{
    return w->conf ? w->conf->conf->generation : 0;
}

void worker_hosts(const struct worker *w, void (*fn)(void *ctx, const struct worker_host *h),
                  void *ctx)
{
    MAP_EACH (&w->clusters, ce) {
        const struct up_cluster *c = ce->value;
        MAP_EACH (&c->hosts, he) {
            const struct up_host *h = he->value;
            struct worker_host out = {.cluster = c->name,
                                      .address = h->key,
                                      .active = h->lb.active,
                                      .connections = h->conns,
                                      .requests = h->requests,
                                      .errors = h->errors,
                                      .healthy = h->lb.endpoint && lb_host_healthy(&h->lb),
                                      .ejected = h->lb.ejected};
            fn(ctx, &out);
        }
    }
}
