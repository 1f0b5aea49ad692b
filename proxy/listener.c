/* Listeners of a worker: bound with SO_REUSEPORT, replaced and drained without losing a request. */
#include <string.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "proxy/down.h"
#include "proxy/log_file.h"
#include "proxy/worker_int.h"

struct wlistener *wlistener_ref(struct wlistener *wl)
{
    wl->users++;
    return wl;
}

void wlistener_unref(struct wlistener *wl)
{
    wf_assert(wl->users > 0);
    if (--wl->users > 0)
        return;
    wf_assert(!wl->socket);
    access_log_free(wl->log);
    list_remove(&wl->node);
    wconf_unref(wl->conf);
    mem_free(wl);
}

static bool chain_fits(const struct filter_chain *c, const struct env_addr *dst)
{
    return !c->destination_port || c->destination_port == env_addr_port(dst);
}

/* Envoy: the most specific chain; then the default one, which is the last without a match. */
const struct filter_chain *listener_chain(const struct listener *l, const struct env_addr *dst)
{
    const struct filter_chain *fallback = NULL;
    for (size_t i = 0; i < l->chain_count; i++) {
        const struct filter_chain *c = &l->chains[i];
        if (!chain_fits(c, dst) || c->tls)
            continue;
        if (c->destination_port)
            return c;
        fallback = c;
    }
    return fallback;
}

/* Where the client wanted to go: before a redirection, or simply our end of the connection. */
void listener_destination(const struct env_stream *es, struct env_addr *ret_addr)
{
    if (!env_stream_original_dst(es, ret_addr))
        *ret_addr = *env_stream_local(es);
}

static bool any_host(const struct env_addr *a)
{
    static const struct in6_addr any6 = IN6ADDR_ANY_INIT;
    if (a->sa.sa_family == AF_INET)
        return a->in4.sin_addr.s_addr == htonl(INADDR_ANY);
    return a->sa.sa_family == AF_INET6 && memcmp(&a->in6.sin6_addr, &any6, sizeof(any6)) == 0;
}

/* Envoy's use_original_dst: the listener of exactly that address, then of its port on any address,
 * else the one that accepted. */
static struct wlistener *redirected_to(struct wlistener *wl, const struct env_stream *es)
{
    struct env_addr dst;
    struct wlistener *by_port = NULL;
    if (!wl->listener->use_original_dst || !env_stream_original_dst(es, &dst))
        return wl;
    LIST_EACH (&wl->w->listeners, n) {
        struct wlistener *other = container_of(n, struct wlistener, node);
        const struct env_addr *addr = &other->listener->addr;
        if (env_addr_equal(addr, &dst))
            return other;
        if (any_host(addr) && env_addr_port(addr) == env_addr_port(&dst))
            by_port = other;
    }
    return by_port ? by_port : wl;
}

static const struct filter_chain *chain_for(const struct listener *l, const struct env_stream *es)
{
    struct env_addr dst;
    if (l->chain_count == 1 && !l->chains[0].destination_port)
        return &l->chains[0];
    listener_destination(es, &dst);
    return listener_chain(l, &dst);
}

static void on_accept(void *ctx, struct env_stream *es)
{
    struct wlistener *wl = redirected_to(ctx, es);
    struct worker *w = wl->w;
    const struct listener *l = wl->listener;
    if (w->conn_count >= PROXY_CONNECTIONS_MAX) {
        metric_add(w->stats.cx_overflow, 1);
        env_stream_set_events(es, NULL, NULL);
        env_stream_close(es);
        return;
    }
    const struct filter_chain *chain = chain_for(l, es);
    if (!chain) {
        env_stream_set_events(es, NULL, NULL);
        env_stream_close(es);
    } else if (chain->kind == CHAIN_TCP) {
        down_tcp_accept(w, wl, chain, es);
    } else if (chain->codec == CODEC_HTTP2) {
        down_h2_accept(w, wl, chain, es);
    } else {
        down_h1_accept(w, wl, chain, es);
    }
}

/* Access log. */

struct log_slot {
    struct list_node node;
    struct log_file *file;
};

static struct log_file *log_find(struct worker *w, struct slice path, struct err *err)
{
    LIST_EACH (&w->log_files, n) {
        struct log_slot *slot = container_of(n, struct log_slot, node);
        if (slice_eq(log_file_path(slot->file), path))
            return slot->file;
    }
    struct log_file *f = log_file_open(w->env, path, err);
    if (!f)
        return NULL;
    struct log_slot *slot = MEM_NEW(struct log_slot);
    slot->file = f;
    list_push(&w->log_files, &slot->node);
    return f;
}

void listeners_close_logs(struct worker *w)
{
    struct list_node *n;
    while ((n = list_pop(&w->log_files))) {
        struct log_slot *slot = container_of(n, struct log_slot, node);
        log_file_close(slot->file);
        mem_free(slot);
    }
}

static bool log_attach(struct wlistener *wl, struct err *err)
{
    const struct listener *l = wl->listener;
    if (!l->access_log || wl->w->access_log_off)
        return true;
    struct slice path = l->access_log_path.n ? l->access_log_path : S("/dev/stdout");
    wl->file = log_find(wl->w, path, err);
    wl->log = wl->file ? access_log_new(l->access_log_format, l->access_log_json, err) : NULL;
    return wl->log || err_wrap(err, "listener %.*s", SLICE(l->name));
}

/* Change. */

static struct wlistener *wlistener_new(struct worker *w, struct wconf *conf,
                                       const struct listener *l, struct err *err)
{
    struct wlistener *wl = MEM_NEW(struct wlistener);
    wl->w = w;
    wl->users = 1;
    wl->conf = wconf_ref(conf);
    wl->listener = l;
    struct slice prefix = l->chain_count ? l->chains[0].stat_prefix : (struct slice){0};
    listener_stats_init(&wl->stats, w->metric_set, prefix.n ? prefix : l->name);
    if (log_attach(wl, err))
        return wl;
    wlistener_unref(wl);
    return NULL;
}

static bool is_same(const struct wlistener *wl, const struct listener *l)
{
    return slice_eq(wl->listener->name, l->name) && env_addr_equal(&wl->listener->addr, &l->addr) &&
           wl->listener->bind == l->bind;
}

static struct wlistener *find(struct worker *w, const struct listener *l)
{
    LIST_EACH (&w->listeners, n) {
        struct wlistener *wl = container_of(n, struct wlistener, node);
        if (is_same(wl, l))
            return wl;
    }
    return NULL;
}

/* A draining listener that is wanted again goes on: a service that changes to and fro would pile up
 * sockets and trees. The connections that were told to close do. */
static bool revive(struct worker *w, const struct listener *l)
{
    LIST_EACH (&w->listeners_draining, n) {
        struct wlistener *wl = container_of(n, struct wlistener, node);
        if (!is_same(wl, l) || (l->bind && !wl->socket))
            continue;
        wl->draining = false;
        list_remove(&wl->node);
        list_push(&w->listeners, &wl->node);
        return true;
    }
    return false;
}

static bool bind_one(struct wlistener *wl, struct err *err)
{
    struct env_listen_options opt = {.reuse_port = true};
    const struct listener *l = wl->listener;
    if (!l->bind)
        return true;
    wl->socket = env_listen(wl->w->env, &l->addr, &opt, on_accept, wl, err);
    return wl->socket || err_wrap(err, "listener %.*s", SLICE(l->name));
}

static void close_socket(struct wlistener *wl)
{
    if (wl->socket)
        env_listener_close(wl->socket);
    wl->socket = NULL;
}

/* Binds what is new in `next` into `fresh`. One that cannot be bound is left out and tried again
 * with the next tree: it must not keep the others from changing. */
static void bind_new(struct worker *w, struct wconf *next, struct list *fresh,
                     struct bind_failures *failures)
{
    const struct conf *conf = next->conf;
    for (size_t i = 0; i < conf->listener_count && !w->draining; i++) {
        struct err why = {0};
        if (find(w, conf->listeners[i]) || revive(w, conf->listeners[i]))
            continue;
        struct wlistener *wl = wlistener_new(w, next, conf->listeners[i], &why);
        if (wl && bind_one(wl, &why)) {
            list_push(fresh, &wl->node);
            continue;
        }
        if (wl)
            wlistener_unref(wl);
        bind_failures_add(failures, conf->listeners[i]->name, &why);
    }
}

static void drop_all(struct list *l)
{
    struct list_node *n;
    while ((n = list_pop(l))) {
        struct wlistener *wl = container_of(n, struct wlistener, node);
        close_socket(wl);
        wlistener_unref(wl);
    }
}

static bool same_log(const struct listener *a, const struct listener *b)
{
    return a->access_log == b->access_log && a->access_log_json == b->access_log_json &&
           slice_eq(a->access_log_path, b->access_log_path) &&
           slice_eq(a->access_log_format, b->access_log_format);
}

/* The same listener in the new tree: its socket and its connections go on, by the new chains. */
static void adopt(struct wlistener *wl, struct wconf *next, const struct listener *l)
{
    struct wconf *old = wl->conf;
    const struct listener *was = wl->listener;
    wl->conf = wconf_ref(next);
    wl->listener = l;
    if (!same_log(was, l)) {
        struct err err = {0};
        access_log_free(wl->log);
        wl->log = NULL;
        if (!log_attach(wl, &err))
            LOG_WARN("proxy.access_log.failed", F_STR("listener", l->name), F_ERR(&err));
    }
    wconf_unref(old);
}

static void conns_drain(struct worker *w, const struct wlistener *wl)
{
    LIST_EACH (&w->conns, n) {
        struct down_conn *c = container_of(n, struct down_conn, node);
        if (c->wl == wl)
            c->ops->drain(c);
    }
}

static wf_ms drain_time(const struct listener *l)
{
    wf_ms t = l->chain_count ? l->chains[0].drain_timeout : 0;
    return t > 0 ? t : 5000;
}

/* Closing a socket resets what waits in its queue, and clients hear later than we do: so it stays
 * open for half of the drain time. Connections that still come are served by the old tree, and
 * closed. */
static void drain(struct wlistener *wl)
{
    struct worker *w = wl->w;
    wl->draining = true;
    wl->drain_until = env_now(w->env) + drain_time(wl->listener);
    list_remove(&wl->node);
    list_push(&w->listeners_draining, &wl->node);
    conns_drain(w, wl);
    worker_sweep_start(w);
}

void listeners_apply(struct worker *w, struct wconf *next, struct bind_failures *failures)
{
    struct list fresh;
    list_init(&fresh);
    bind_new(w, next, &fresh, failures);
    LIST_EACH (&w->listeners, n) {
        struct wlistener *wl = container_of(n, struct wlistener, node);
        const struct listener *still = NULL;
        for (size_t i = 0; i < next->conf->listener_count && !still; i++)
            if (find(w, next->conf->listeners[i]) == wl)
                still = next->conf->listeners[i];
        if (still)
            adopt(wl, next, still);
        else
            drain(wl);
    }
    struct list_node *n;
    while ((n = list_pop(&fresh)))
        list_push(&w->listeners, n);
}

void listeners_drain(struct worker *w)
{
    LIST_EACH (&w->listeners, n)
        drain(container_of(n, struct wlistener, node));
}

/* Draining listeners stop accepting after half of their time; what is open at its end is closed. */
void listeners_sweep(struct worker *w)
{
    wf_ms now = env_now(w->env);
    LIST_EACH (&w->listeners_draining, n) {
        struct wlistener *wl = container_of(n, struct wlistener, node);
        if (now >= wl->drain_until - drain_time(wl->listener) / 2)
            close_socket(wl);
        if (now < wl->drain_until)
            continue;
        LIST_EACH (&w->conns, m) {
            struct down_conn *c = container_of(m, struct down_conn, node);
            if (c->wl == wl)
                c->ops->close(c);
        }
        list_remove(&wl->node);
        wlistener_unref(wl);
    }
}

void listeners_close(struct worker *w)
{
    drop_all(&w->listeners);
    drop_all(&w->listeners_draining);
}
