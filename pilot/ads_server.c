#include "pilot/ads_server.h"

#include <string.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "pilot/ads/ads_limits.h"
#include "pilot/ads_server_impl.h"

/* A worker, on its own thread. */

/* A thousand proxies that connect at once bring a thousand big requests, which the allocator would
 * keep for the next time: worth more than all sessions together. Once it is calm it goes back. */
static void on_calm(struct env_timer *t)
{
    struct ads_worker *w = container_of(t, struct ads_worker, calm);
    w->stirred = 0;
    mem_trim();
}

void ads_worker_stir(struct ads_worker *w)
{
    if (++w->stirred >= ADS_SERVER_STIR_MIN)
        env_timer_start(w->env, &w->calm, ADS_SERVER_CALM_MS);
}

static void on_snapshot(void *ctx)
{
    struct ads_worker *w = ctx;
    struct xds_snapshot *old = w->snapshot;
    w->snapshot = compiler_snapshot(w->server->opt.compiler);
    xds_snapshot_unref(old);
    LIST_EACH (&w->sessions, n)
        ads_session_snapshot(container_of(n, struct ads_session, node));
}

static void add_path(struct ads_worker *w, struct slice path, size_t *n)
{
    struct ads_path *p = &w->paths[*n];
    if (!path.n)
        return;
    p->worker = w;
    bool known = xds_path_parse(path, &p->variant, &p->type);
    wf_assert(known && *n < ADS_PATHS_MAX);
    ++*n;
    grpc_server_handle(w->grpc, &(struct grpc_handler){.path = path,
                                                       .ctx = p,
                                                       .events = &ads_session_events,
                                                       .on_open = ads_session_open});
}

static void add_paths(struct ads_worker *w)
{
    size_t n = 0;
    add_path(w, S(XDS_PATH_ADS_SOTW), &n);
    add_path(w, S(XDS_PATH_ADS_DELTA), &n);
    for (size_t t = 0; t < XDS_TYPE_COUNT; t++) {
        add_path(w, xds_types[t].sotw_path, &n);
        add_path(w, xds_types[t].delta_path, &n);
    }
}

/* Tells whoever started or stops the server. */
static void signal_server(struct ads_worker *w, bool *flag)
{
    pthread_mutex_lock(&w->server->lock);
    *flag = true;
    pthread_cond_broadcast(&w->server->cond);
    pthread_mutex_unlock(&w->server->lock);
}

static void worker_start(void *ctx, struct env *env)
{
    struct ads_worker *w = ctx;
    w->env = env;
    w->grpc = grpc_server_new(
        env, &(struct grpc_server_options){.message_bytes_max = ADS_REQUEST_BYTES_MAX,
                                           .connections_max = ADS_SERVER_SESSIONS_MAX,
                                           .reuse_port = true,
                                           .first = w == w->server->workers});
    add_paths(w);
    w->watch = compiler_watch_open(w->server->opt.compiler, env, on_snapshot, w);
    if (grpc_server_listen(w->grpc, &w->server->addr, &w->err))
        w->server->addr = *grpc_server_addr(w->grpc);
    signal_server(w, &w->ready);
}

static void on_drained(void *ctx)
{
    struct ads_worker *w = ctx;
    signal_server(w, &w->drained);
}

static void on_stop(struct env_post *post)
{
    struct ads_worker *w = container_of(post, struct ads_worker, stop);
    compiler_watch_close(w->watch);
    LIST_EACH (&w->sessions, n)
        ads_session_drain(container_of(n, struct ads_session, node));
    grpc_server_drain(w->grpc, ADS_SERVER_DRAIN_MS, on_drained, w);
}

/* The server. */

static void wait_for(struct ads_server *s, const bool *flag)
{
    pthread_mutex_lock(&s->lock);
    while (!*flag)
        pthread_cond_wait(&s->cond, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

/* One after the other: the first may choose the port. */
static bool start_worker(struct ads_server *s, struct err *err)
{
    struct ads_worker *w = &s->workers[s->worker_count];
    w->server = s;
    list_init(&w->sessions);
    w->stop.fn = on_stop;
    w->calm.fn = on_calm;
    w->set = metric_set_new(METRIC_SERIES_MAX_DEFAULT);
    ads_metrics_init(&w->metrics, w->set);
    w->thread = env_thread_start("xds", worker_start, w, err);
    if (!w->thread) {
        metric_set_free(w->set);
        return false;
    }
    s->worker_count++;
    wait_for(s, &w->ready);
    if (w->err.code == ERR_NONE)
        return true;
    *err = w->err;
    return err_wrap(err, "xDS server");
}

struct ads_server *ads_server_start(const struct ads_server_options *opt, struct err *err)
{
    unsigned workers = opt->workers ? opt->workers : 2;
    if (!env_addr_loopback(&opt->addr)) {
        err_set(err, ERR_FORBIDDEN, "xDS server: it has no TLS yet and listens on loopback only");
        return NULL;
    }
    struct ads_server *s = MEM_NEW(struct ads_server);
    s->opt = *opt;
    s->addr = opt->addr;
    struct slice id = slice_sub(opt->identifier, 0, sizeof(s->identifier));
    if (id.n)
        memcpy(s->identifier, id.p, id.n);
    s->opt.identifier = (struct slice){s->identifier, id.n};
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->cond, NULL);
    for (unsigned i = 0; i < workers && i < ADS_SERVER_WORKERS_MAX; i++) {
        if (start_worker(s, err))
            continue;
        ads_server_stop(s);
        return NULL;
    }
    char text[ENV_ADDR_TEXT];
    LOG_INFO("ads.listening", F_STR("addr", env_addr_format(&s->addr, text)),
             F_U64("workers", s->worker_count));
    return s;
}

/* The thread has ended: whatever it left is freed here. */
static void worker_fini(struct ads_worker *w)
{
    wf_assert(w->session_count == 0);
    xds_snapshot_unref(w->snapshot);
    ads_names_fini(&w->names);
    arena_fini(&w->scratch);
    metric_set_free(w->set);
}

static void on_free(struct env_post *post)
{
    struct ads_worker *w = container_of(post, struct ads_worker, stop);
    grpc_server_free(w->grpc);
    env_timer_stop(w->env, &w->calm);
    signal_server(w, &w->ready);
}

void ads_server_trip_begins(struct ads_server *s)
{
    pthread_mutex_lock(&s->lock);
    s->trips++;
    pthread_mutex_unlock(&s->lock);
}

void ads_server_trip_ended(struct ads_server *s)
{
    pthread_mutex_lock(&s->lock);
    s->trips--;
    pthread_cond_broadcast(&s->cond);
    pthread_mutex_unlock(&s->lock);
}

static void wait_for_trips(struct ads_server *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->trips)
        pthread_cond_wait(&s->cond, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void ads_server_stop(struct ads_server *s)
{
    if (!s)
        return;
    wait_for_trips(s);
    for (size_t i = 0; i < s->worker_count; i++)
        env_post(s->workers[i].env, &s->workers[i].stop);
    for (size_t i = 0; i < s->worker_count; i++) {
        struct ads_worker *w = &s->workers[i];
        wait_for(s, &w->drained);
        w->ready = false;
        w->stop = (struct env_post){.fn = on_free};
        env_post(w->env, &w->stop);
        wait_for(s, &w->ready);
        env_thread_join(w->thread);
        worker_fini(w);
    }
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->cond);
    mem_free(s);
}

const struct env_addr *ads_server_addr(const struct ads_server *s)
{
    return &s->addr;
}

size_t ads_server_metrics(struct ads_server *s, struct metric_set **sets, size_t n)
{
    size_t i = 0;
    for (; i < s->worker_count && i < n; i++)
        sets[i] = s->workers[i].set;
    return i;
}
