#include "proxy/pool.h"

#include "base/core/assert.h"
#include "proxy/worker_int.h"

#define IDLE_TIMEOUT_DEFAULT 3600000 /* Envoy: an hour */

/* Waiting streams. */

static void pending_add(struct up_host *h, struct stream *s, enum up_protocol p)
{
    wf_assert(!s->pending_in);
    list_push(&h->pending[p], &s->pending);
    s->pending_in = true;
    h->pending_n[p]++;
    h->cluster->pending++;
    metric_add(h->cluster->stats.rq_pending_total, 1);
    metric_set_value(h->cluster->stats.rq_pending_active, h->cluster->pending);
}

static void pending_remove(struct up_host *h, struct stream *s)
{
    wf_assert(s->pending_in);
    list_remove(&s->pending);
    s->pending_in = false;
    h->pending_n[s->up_protocol]--;
    h->cluster->pending--;
    metric_set_value(h->cluster->stats.rq_pending_active, h->cluster->pending);
}

static struct stream *pending_pop(struct up_host *h, enum up_protocol p)
{
    struct list_node *n = list_first(&h->pending[p]);
    if (!n)
        return NULL;
    struct stream *s = container_of(n, struct stream, pending);
    pending_remove(h, s);
    return s;
}

void pool_cancel(struct stream *s)
{
    if (!s->pending_in)
        return;
    metric_add(s->host->cluster->stats.rq_cancelled, 1);
    pending_remove(s->host, s);
}

/* Opening. */

/* An endpoint without any connection may always open one (Envoy): else a breaker filled by one
 * endpoint would starve the others for good. */
static bool may_connect(const struct up_host *h)
{
    return h->cluster->conns < h->cluster->conf->max_connections || h->conns == 0;
}

static bool open_one(struct up_host *h, enum up_protocol p)
{
    if (h->cluster->w->closing)
        return false;
    if (!may_connect(h)) {
        metric_add(h->cluster->stats.cx_overflow, 1);
        return false;
    }
    if (p == UP_HTTP2)
        up_h2_connect(h);
    else
        up_h1_connect(h);
    return true;
}

void pool_conn_init(struct up_conn *c, struct up_host *h, enum up_protocol protocol)
{
    struct up_cluster *cluster = h->cluster;
    c->w = cluster->w;
    c->host = h;
    c->protocol = protocol;
    c->state = UP_CONNECTING;
    list_push(&c->w->up_conns, &c->node);
    cluster_ref(cluster);
    h->conns++;
    cluster->conns++;
    if (protocol != UP_TCP)
        h->connecting[protocol]++;
    metric_add(cluster->stats.cx_total, 1);
    metric_add(protocol == UP_HTTP2 ? cluster->stats.cx_http2_total : cluster->stats.cx_http1_total,
               protocol != UP_TCP);
    metric_set_value(cluster->stats.cx_active, cluster->conns);
    worker_sweep_start(c->w);
}

static struct up_conn *session_find(struct up_host *h)
{
    LIST_EACH (&h->sessions, n) {
        struct up_conn *c = container_of(n, struct up_conn, in_host);
        if (c->state != UP_CONNECTING && up_h2_can_attach(c))
            return c;
    }
    return NULL;
}

static bool acquire_now(struct up_host *h, struct stream *s, enum up_protocol p)
{
    if (p == UP_HTTP2) {
        struct up_conn *c = session_find(h);
        if (c)
            up_h2_attach(c, s);
        return c != NULL;
    }
    struct list_node *n = list_pop(&h->idle);
    if (!n)
        return false;
    struct up_conn *c = container_of(n, struct up_conn, in_host);
    c->state = UP_BUSY;
    up_h1_attach(c, s);
    return true;
}

enum pool_result pool_acquire(struct up_host *h, struct stream *s, enum up_protocol protocol)
{
    s->up_protocol = (uint8_t)protocol;
    if (protocol == UP_TCP) {
        if (!may_connect(h))
            return POOL_OVERFLOW;
        up_tcp_connect(h, s);
        return POOL_OK;
    }
    if (acquire_now(h, s, protocol))
        return POOL_OK;
    if (h->cluster->pending >= h->cluster->conf->max_pending) {
        metric_add(h->cluster->stats.rq_pending_overflow, 1);
        return POOL_OVERFLOW;
    }
    bool opening = protocol == UP_HTTP2 && h->connecting[UP_HTTP2] > 0;
    if (!opening)
        open_one(h, protocol);
    pending_add(h, s, protocol);
    return POOL_OK;
}

/* A connection is there. */

static bool worn_out(const struct up_conn *c)
{
    uint32_t max = c->host->cluster->conf->max_requests_per_connection;
    return c->retired || c->host->removed || (max && c->requests >= max);
}

void pool_conn_connected(struct up_conn *c)
{
    wf_assert(c->state == UP_CONNECTING);
    c->state = UP_BUSY;
    if (c->protocol != UP_TCP)
        c->host->connecting[c->protocol]--;
    if (c->protocol == UP_HTTP1)
        pool_conn_free(c);
    else if (c->protocol == UP_HTTP2)
        pool_session_pump(c);
}

void pool_conn_free(struct up_conn *c)
{
    wf_assert(c->protocol == UP_HTTP1 && c->state == UP_BUSY);
    /* A new connection serves who waited for it, be its endpoint removed meanwhile: another one
     * would be no better. */
    struct stream *s = worn_out(c) && c->requests ? NULL : pending_pop(c->host, UP_HTTP1);
    if (s) {
        up_h1_attach(c, s);
        return;
    }
    if (worn_out(c)) {
        pool_conn_close(c);
        return;
    }
    c->state = UP_IDLE;
    c->idle_since = env_now(c->w->env);
    list_push_front(&c->host->idle, &c->in_host);
}

void pool_session_pump(struct up_conn *c)
{
    struct stream *s;
    while (c->state != UP_CLOSED && up_h2_can_attach(c) && (s = pending_pop(c->host, UP_HTTP2)))
        up_h2_attach(c, s);
    if (c->streams == 0)
        c->idle_since = env_now(c->w->env);
    if (c->state != UP_CLOSED && c->streams == 0 && worn_out(c))
        pool_conn_close(c);
    else if (c->host->pending_n[UP_HTTP2] && !c->host->connecting[UP_HTTP2])
        open_one(c->host, UP_HTTP2);
}

/* The end. */

static void conn_close(struct up_conn *c, bool linger)
{
    if (c->state == UP_CLOSED)
        return;
    if (c->state == UP_CONNECTING && c->protocol != UP_TCP)
        c->host->connecting[c->protocol]--;
    c->state = UP_CLOSED;
    list_remove(&c->in_host);
    if (linger)
        env_stream_close_after_write(c->es, PROXY_LINGER);
    else
        env_stream_close(c->es);
}

void pool_conn_close(struct up_conn *c)
{
    conn_close(c, false);
}

void pool_conn_close_sent(struct up_conn *c)
{
    conn_close(c, true);
}

static void pending_fail(struct up_host *h, enum up_protocol p, uint32_t n, const struct err *why)
{
    struct stream *s;
    for (; n && (s = pending_pop(h, p)); n--) {
        metric_add(h->cluster->stats.rq_pending_failure_eject, 1);
        stream_up_failed(s, TRY_CONNECT_FAILURE, slice_of(why->msg));
    }
}

/* The connection that some stream waited for could not be opened. Of HTTP/1 one stream fails with
 * it, of HTTP/2 all, for they waited for this session; and all when no connection is left to wait
 * for. */
static void connect_failed(struct up_conn *c, const struct err *why)
{
    struct up_host *h = c->host;
    struct cluster_stats *stats = &h->cluster->stats;
    metric_add(stats->cx_connect_fail, 1);
    metric_add(stats->cx_connect_timeout, why->code == ERR_TIMEOUT);
    if (c->protocol == UP_TCP)
        return;
    bool all = h->conns == 0 || (c->protocol == UP_HTTP2 && h->connecting[UP_HTTP2] == 0);
    pending_fail(h, c->protocol, all ? UINT32_MAX : 1, why);
}

void pool_conn_gone(struct up_conn *c, const struct err *why)
{
    struct up_host *h = c->host;
    struct up_cluster *cluster = h->cluster;
    bool connecting = c->state == UP_CONNECTING;
    if (connecting && c->protocol != UP_TCP)
        h->connecting[c->protocol]--;
    c->state = UP_CLOSED;
    list_remove(&c->in_host);
    list_remove(&c->node);
    h->conns--;
    cluster->conns--;
    metric_add(cluster->stats.cx_destroy, 1);
    metric_set_value(cluster->stats.cx_active, cluster->conns);
    h->lb.active++; /* keeps h through what follows */
    if (connecting && why->code != ERR_NONE)
        connect_failed(c, why);
    else if (c->protocol != UP_TCP && h->pending_n[c->protocol] > h->connecting[c->protocol])
        open_one(h, c->protocol);
    h->lb.active--;
    host_release(h);
    cluster_unref(cluster);
}

/* What is still connecting serves who waits for it, and goes then, as the host is removed. */
static void retire(struct list *conns)
{
    LIST_EACH (conns, n) {
        struct up_conn *c = container_of(n, struct up_conn, in_host);
        if (c->state == UP_CONNECTING)
            continue;
        c->retired = true;
        if (c->streams == 0)
            pool_conn_close(c);
    }
}

void pool_host_retire(struct up_host *h)
{
    retire(&h->idle);
    retire(&h->sessions);
}

void pool_sweep(struct worker *w, wf_ms now)
{
    LIST_EACH (&w->up_conns, n) {
        struct up_conn *c = container_of(n, struct up_conn, node);
        wf_ms timeout = c->host->cluster->conf->idle_timeout;
        bool idle = c->streams == 0 && (c->state == UP_IDLE || c->protocol == UP_HTTP2) &&
                    c->state != UP_CONNECTING && c->state != UP_CLOSED;
        if (!idle || now - c->idle_since < (timeout > 0 ? timeout : IDLE_TIMEOUT_DEFAULT))
            continue;
        metric_add(c->host->cluster->stats.cx_idle_timeout, 1);
        pool_conn_close(c);
    }
}

void pool_close(struct worker *w)
{
    LIST_EACH (&w->up_conns, n)
        pool_conn_close(container_of(n, struct up_conn, node));
}
