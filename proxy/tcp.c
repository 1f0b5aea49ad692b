/* The TCP proxy: a connection to a weighted cluster's endpoint, bytes both ways. */
#include "base/core/assert.h"
#include "proxy/down.h"
#include "proxy/log_file.h"
#include "proxy/pool.h"
#include "proxy/worker_int.h"

#define CONNECT_TRIES 3 /* nothing was sent yet: another endpoint may be tried */

/*  connecting ──> open ──> closing
 * Each direction ends by itself: a FIN is passed on, the other direction goes on until its own. */
enum tcp_state { TCP_CONNECTING, TCP_OPEN, TCP_CLOSING };

struct tcp {
    struct down_conn c;
    struct wconf *conf; /* the tree that `chain` is part of, referenced */
    enum tcp_state state;
    bool down_ended, up_ended, down_paused, up_paused;
    const struct weighted_cluster *weighted;
    struct up_cluster *cluster; /* referenced, or NULL */
    struct up_host *host;       /* counted, or NULL */
    struct dns_wait name_wait;
    struct env_stream *up; /* NULL: none, or gone */
    uint32_t tries;
    wf_ms start;
    uint32_t flags;
    uint64_t sent, received, sent_shown, received_shown; /* to and from the client */
    struct err why;                                      /* of the last failed connect */
};

static const struct env_stream_events up_events;

static void connect_failed(struct tcp *t, const struct err *why);

/* Record. */

struct labels {
    struct metrics_party target;
    struct metrics_labels all;
    struct metrics_cache *cache;
};

static void labels_fill(struct tcp *t, struct labels *l)
{
    static const struct metrics_party unknown;
    const struct cluster *c = t->cluster ? t->cluster->conf : NULL;
    bool inbound = t->c.wl->listener->inbound;
    l->target = host_party(t->host);
    l->all = (struct metrics_labels){
        .destination = inbound,
        .source = inbound ? &unknown : NULL,
        .target = inbound ? NULL : &l->target,
        .service_host = c ? c->service_host : (struct slice){0},
        .service_name = c ? c->service_name : (struct slice){0},
        .service_ns = c ? c->service_ns : (struct slice){0},
    };
    l->cache = t->host ? &t->host->cells : t->cluster ? &t->cluster->cells : &t->c.w->no_host;
}

static void bytes_show(struct tcp *t)
{
    struct labels l;
    if (t->sent == t->sent_shown && t->received == t->received_shown)
        return;
    labels_fill(t, &l);
    metrics_tcp_bytes(t->c.w->metrics, l.cache, &l.all, t->sent - t->sent_shown,
                      t->received - t->received_shown);
    t->sent_shown = t->sent;
    t->received_shown = t->received;
}

static void record_fill(struct tcp *t, struct record *r)
{
    struct worker *w = t->c.w;
    wf_ms now = env_now(w->env);
    *r = (struct record){
        .start_wall_ms = env_wall_ms(w->env) - (now - t->start),
        .end_ns = (uint64_t)(now - t->start) * 1000000,
        .protocol = RECORD_TCP,
        .grpc_status = -1,
        .flags = t->flags,
        .transport_failure = slice_of(t->why.msg),
        .bytes_received = t->received,
        .bytes_sent = t->sent,
        .upstream_host = t->host ? t->host->key : (struct slice){0},
        .upstream_cluster = t->weighted ? t->weighted->cluster : (struct slice){0},
        .upstream_local = t->up ? env_stream_local(t->up) : NULL,
        .downstream_local = env_stream_local(t->c.es),
        .downstream_remote = env_stream_peer(t->c.es),
        .hostname = w->hostname,
        .attempts = t->tries,
        .connection_id = t->c.id,
    };
}

static void record(struct tcp *t)
{
    struct labels l;
    struct record r;
    struct wlistener *wl = t->c.wl;
    bytes_show(t);
    labels_fill(t, &l);
    record_fill(t, &r);
    metrics_tcp(t->c.w->metrics, l.cache, &l.all, &r, METRICS_TCP_CLOSED);
    if (wl->log && !access_log_line(wl->log, &r, log_file_buf(wl->file)))
        metric_add(t->c.w->stats.log_dropped, 1);
}

/* End. */

static void host_release_of(struct tcp *t)
{
    struct up_host *h = t->host;
    if (!h)
        return;
    t->host = NULL;
    h->lb.active--;
    h->conns--;
    t->cluster->conns--;
    t->cluster->requests--;
    metric_set_value(t->cluster->stats.cx_active, t->cluster->conns);
    host_release(h);
}

/* Both sides end; what is queued to the client is still sent. */
static void finish(struct tcp *t)
{
    if (t->state == TCP_CLOSING)
        return;
    bool open = t->state == TCP_OPEN;
    t->state = TCP_CLOSING;
    record(t);
    if (t->up) {
        env_stream_set_events(t->up, NULL, NULL);
        if (open)
            env_stream_close_after_write(t->up, PROXY_LINGER);
        else
            env_stream_close(t->up);
        t->up = NULL;
    }
    dns_wait_cancel(&t->name_wait);
    host_release_of(t);
    env_stream_close_after_write(t->c.es, PROXY_LINGER);
}

/* Connecting. */

static void refuse(struct tcp *t, uint32_t flag)
{
    t->flags |= flag;
    finish(t);
}

static void host_take(struct tcp *t, struct up_host *h)
{
    struct up_cluster *c = t->cluster;
    t->host = h;
    h->lb.active++;
    h->requests++;
    h->conns++;
    c->conns++;
    c->requests++;
    metric_add(c->stats.cx_total, 1);
    metric_set_value(c->stats.cx_active, c->conns);
}

static struct up_host *pick(struct tcp *t, struct up_host *const *avoid, size_t n)
{
    struct env_addr addr;
    enum cluster_kind kind = t->cluster->conf->kind;
    if (kind != CLUSTER_PASSTHROUGH && kind != CLUSTER_ORIGINAL_DST)
        return cluster_pick(t->cluster, 0, avoid, n, 5);
    if (!env_stream_original_dst(t->c.es, &addr))
        return NULL;
    return cluster_host_at(t->cluster, &addr);
}

static void connect_to(struct tcp *t)
{
    struct env_stream_options opt = {.low_water = PROXY_BODY_LOW_BYTES,
                                     .user_timeout = PROXY_USER_TIMEOUT,
                                     .connect_timeout = t->cluster->conf->connect_timeout};
    t->up = env_connect(t->c.w->env, host_addr(t->host), &opt, &up_events, t);
}

static void name_failed(struct tcp *t)
{
    const struct err why = {.code = ERR_UNAVAILABLE, .msg = "name resolution failed"};
    t->flags |= FLAG_DF;
    connect_failed(t, &why);
}

static void on_name(struct dns_wait *w, bool ok)
{
    struct tcp *t = container_of(w, struct tcp, name_wait);
    if (ok)
        connect_to(t);
    else
        name_failed(t);
}

static void resolve(struct tcp *t)
{
    t->name_wait.fn = on_name;
    switch (dns_lookup(t->host->dns, &t->name_wait)) {
    case DNS_READY:
        connect_to(t);
        break;
    case DNS_FAILED:
        name_failed(t);
        break;
    case DNS_WAIT:
        break;
    }
}

static void connect_next(struct tcp *t, struct up_host *failed)
{
    struct up_cluster *c = t->cluster;
    if (c->conns >= c->conf->max_connections) {
        metric_add(c->stats.cx_overflow, 1);
        refuse(t, FLAG_UO);
        return;
    }
    struct up_host *h = pick(t, &failed, failed ? 1 : 0);
    if (!h || (!h->dns && !h->addr.len)) {
        metric_add(c->stats.none_healthy, 1);
        refuse(t, FLAG_UH);
        return;
    }
    host_take(t, h);
    t->tries++;
    if (h->dns)
        resolve(t);
    else
        connect_to(t);
}

static void connect_failed(struct tcp *t, const struct err *why)
{
    struct up_host *failed = t->host;
    t->why = *why;
    metric_add(t->cluster->stats.cx_connect_fail, 1);
    cluster_result(failed, 0);
    host_release_of(t);
    if (t->tries < CONNECT_TRIES)
        connect_next(t, failed);
    else
        refuse(t, FLAG_UF | FLAG_URX);
}

/* Bytes. */

static void both_ended(struct tcp *t)
{
    if (t->down_ended && t->up_ended)
        finish(t);
}

static void up_connect(void *ctx)
{
    struct tcp *t = ctx;
    struct labels l;
    struct record r;
    t->state = TCP_OPEN;
    t->c.active = env_now(t->c.w->env);
    cluster_result(t->host, 200);
    labels_fill(t, &l);
    record_fill(t, &r);
    r.flags = 0;
    metrics_tcp(t->c.w->metrics, l.cache, &l.all, &r, METRICS_TCP_OPENED);
    env_stream_read_resume(t->c.es);
}

static size_t pass(struct tcp *t, struct env_stream *to, struct slice bytes)
{
    struct iovec iov = {(void *)(uintptr_t)bytes.p, bytes.n};
    t->c.active = env_now(t->c.w->env);
    return env_stream_write(to, &iov, 1);
}

static void up_data(void *ctx, struct slice bytes)
{
    struct tcp *t = ctx;
    t->sent += bytes.n;
    if (pass(t, t->c.es, bytes) > PROXY_BODY_SOFT_BYTES) {
        t->up_paused = true;
        env_stream_read_pause(t->up);
    }
}

static void up_end(void *ctx)
{
    struct tcp *t = ctx;
    t->up_ended = true;
    env_stream_shutdown(t->c.es);
    both_ended(t);
}

static void up_drain(void *ctx)
{
    struct tcp *t = ctx;
    if (!t->down_paused)
        return;
    t->down_paused = false;
    env_stream_read_resume(t->c.es);
}

static void up_close(void *ctx, const struct err *why)
{
    struct tcp *t = ctx;
    t->up = NULL;
    if (t->state == TCP_CONNECTING) {
        connect_failed(t, why);
        return;
    }
    if (!t->up_ended)
        t->flags |= FLAG_UC;
    finish(t);
}

static const struct env_stream_events up_events = {
    .on_connect = up_connect,
    .on_data = up_data,
    .on_end = up_end,
    .on_drain = up_drain,
    .on_close = up_close,
};

static void down_data(void *ctx, struct slice bytes)
{
    struct tcp *t = ctx;
    t->received += bytes.n;
    if (t->up && pass(t, t->up, bytes) > PROXY_BODY_SOFT_BYTES) {
        t->down_paused = true;
        env_stream_read_pause(t->c.es);
    }
}

static void down_end(void *ctx)
{
    struct tcp *t = ctx;
    t->down_ended = true;
    if (t->up)
        env_stream_shutdown(t->up);
    both_ended(t);
}

static void down_drain(void *ctx)
{
    struct tcp *t = ctx;
    if (!t->up_paused || !t->up)
        return;
    t->up_paused = false;
    env_stream_read_resume(t->up);
}

static void down_close(void *ctx, const struct err *why)
{
    struct tcp *t = ctx;
    if (t->state != TCP_CLOSING && why->code != ERR_NONE)
        t->flags |= FLAG_DC;
    finish(t);
    if (t->cluster)
        cluster_drop(t->cluster);
    wconf_unref(t->conf);
    down_conn_gone(&t->c);
    mem_free(t);
}

static const struct env_stream_events down_events = {
    .on_data = down_data,
    .on_end = down_end,
    .on_drain = down_drain,
    .on_close = down_close,
};

/* The connection. */

static void sweep(struct down_conn *c, wf_ms now)
{
    struct tcp *t = container_of(c, struct tcp, c);
    if (t->state == TCP_CLOSING)
        return;
    bytes_show(t);
    if (down_conn_idle(c, now))
        finish(t);
}

static void drain(struct down_conn *c)
{
    c->draining = true; /* it has its time; nothing tells a TCP peer to hurry */
}

static void close_conn(struct down_conn *c)
{
    struct tcp *t = container_of(c, struct tcp, c);
    finish(t);
    env_stream_close(c->es);
}

static const struct down_conn_ops conn_ops = {.sweep = sweep, .drain = drain, .close = close_conn};

void down_tcp_accept(struct worker *w, struct wlistener *wl, const struct filter_chain *chain,
                     struct env_stream *es)
{
    struct tcp *t = MEM_NEW(struct tcp);
    down_conn_init(&t->c, w, wl, chain, &conn_ops, es);
    t->conf = wconf_ref(wl->conf);
    t->start = t->c.active;
    env_stream_set_events(es, &down_events, t);
    env_stream_read_pause(es);
    if (chain->tcp_cluster_count)
        t->weighted = route_cluster_pick(chain->tcp_clusters, chain->tcp_cluster_count,
                                         chain->tcp_weight_total, rng_next(&w->rng));
    struct up_cluster *c =
        t->weighted ? cluster_take(w, t->conf->conf, t->weighted->cluster) : NULL;
    if (!c) {
        refuse(t, FLAG_NC);
        return;
    }
    t->cluster = c;
    connect_next(t, NULL);
}
