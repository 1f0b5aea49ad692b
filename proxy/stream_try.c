/* The tries of a request: endpoint, connection, failure, another try. */
#include "base/core/assert.h"
#include "proxy/pool.h"
#include "proxy/worker_int.h"

const struct retry_policy *stream_retry_policy(const struct stream *s)
{
    if (s->route && s->route->has_retry)
        return &s->route->retry;
    return s->vhost && s->vhost->has_retry ? &s->vhost->retry : NULL;
}

/* One try. */

static enum up_protocol protocol_of(const struct stream *s)
{
    if (s->head.method_id == HTTP_CONNECT && !s->upgrade.n)
        return UP_TCP;
    switch (s->cluster->conf->protocol) {
    case UPSTREAM_HTTP1:
        return UP_HTTP1;
    case UPSTREAM_HTTP2:
        return UP_HTTP2;
    case UPSTREAM_DOWNSTREAM:
        return s->down->protocol == RECORD_HTTP2 ? UP_HTTP2 : UP_HTTP1;
    }
    wf_unreachable("upstream protocol");
}

/* Where the client itself wanted to go: its connection's original destination, or the address that
 * it names as authority. */
static struct up_host *pick_by_address(struct stream *s)
{
    struct env_addr addr;
    const struct env_addr *local = env_stream_local(s->down_es);
    struct slice name, port, target = s->authority;
    if (env_stream_original_dst(s->down_es, &addr) && !env_addr_equal(&addr, local))
        return cluster_host_at(s->cluster, &addr);
    if (!slice_cut_last(target, ':', &name, &port) || slice_ends(target, S("]")))
        target = arena_printf(&s->arena, "%.*s:80", SLICE(target));
    if (!env_addr_parse(&addr, target, NULL))
        return cluster_host_named(s->cluster, target);
    /* To ourselves would be a circle without end. */
    return env_addr_equal(&addr, local) ? NULL : cluster_host_at(s->cluster, &addr);
}

static struct up_host *pick(struct stream *s)
{
    const struct retry_policy *p = stream_retry_policy(s);
    enum cluster_kind kind = s->cluster->conf->kind;
    if (kind == CLUSTER_PASSTHROUGH || kind == CLUSTER_ORIGINAL_DST)
        return pick_by_address(s);
    bool avoid = p && p->avoid_previous_hosts && s->tried_n;
    uint32_t tries = p && p->host_attempts_max ? p->host_attempts_max : 1;
    return cluster_pick(s->cluster, s->hash, s->tried, avoid ? s->tried_n : 0, tries);
}

static void host_take(struct stream *s, struct up_host *h)
{
    struct up_cluster *c = s->cluster;
    s->host = h;
    h->lb.active++;
    h->requests++;
    c->requests++;
    s->attempts++;
    metric_add(c->stats.rq_total, 1);
    metric_set_value(c->stats.rq_active, c->requests);
}

void stream_try_release(struct stream *s)
{
    struct up_host *h = s->host;
    wf_assert(!s->up_conn && !s->pending_in);
    if (!h)
        return;
    s->host = NULL;
    h->lb.active--;
    s->cluster->requests--;
    metric_set_value(s->cluster->stats.rq_active, s->cluster->requests);
    host_release(h);
}

static void try_forget(struct stream *s)
{
    s->up_end = s->up_answered = s->up_reused = false;
    s->response_owed = 0;
    s->up_trailers = NULL;
    s->try_deadline = 0;
    buf_clear(&s->up_out);
}

void stream_try_cancel(struct stream *s)
{
    pool_cancel(s);
    dns_wait_cancel(&s->name_wait);
    if (s->up_conn) {
        metric_add(s->cluster->stats.rq_tx_reset, 1);
        s->up->reset(s);
    }
    wf_assert(!s->up_conn);
    s->up = NULL;
    try_forget(s);
}

static void per_try_headers(struct stream *s)
{
    if (s->route->auto_host_rewrite && s->host->lb.endpoint && s->host->lb.endpoint->hostname.n)
        s->head.authority = s->host->lb.endpoint->hostname;
    if (s->vhost->attempt_count_header)
        headers_set(&s->head.headers, &s->arena, HDR_X_ENVOY_ATTEMPT_COUNT,
                    stream_u64(&s->arena, s->attempts));
}

static void connect_to(struct stream *s)
{
    if (pool_acquire(s->host, s, protocol_of(s)) == POOL_OVERFLOW)
        stream_up_failed(s, TRY_OVERFLOW, S("overflow"));
}

static void name_failed(struct stream *s)
{
    s->flags |= FLAG_DF;
    stream_up_failed(s, TRY_CONNECT_FAILURE, S("name resolution failed"));
}

static void on_name(struct dns_wait *w, bool ok)
{
    struct stream *s = container_of(w, struct stream, name_wait);
    wf_assert(s->sm.now == STREAM_WAIT);
    if (ok)
        connect_to(s);
    else
        name_failed(s);
}

static void resolve(struct stream *s)
{
    s->name_wait.fn = on_name;
    switch (dns_lookup(s->host->dns, &s->name_wait)) {
    case DNS_READY:
        connect_to(s);
        break;
    case DNS_FAILED:
        name_failed(s);
        break;
    case DNS_WAIT:
        break;
    }
}

void stream_try(struct stream *s)
{
    struct up_cluster *c = s->cluster;
    stream_try_release(s);
    if (c->requests >= c->conf->max_requests) {
        metric_add(c->stats.rq_pending_overflow, 1);
        stream_move(s, STREAM_WAIT);
        stream_up_failed(s, TRY_OVERFLOW, S("overflow"));
        return;
    }
    struct up_host *h = pick(s);
    if (!h || (!h->dns && !h->addr.len)) {
        metric_add(c->stats.none_healthy, 1);
        stream_reply(s, 503, FLAG_UH, S("no_healthy_upstream"), S("no healthy upstream"));
        return;
    }
    host_take(s, h);
    per_try_headers(s);
    stream_move(s, STREAM_WAIT);
    if (h->dns)
        resolve(s);
    else
        connect_to(s);
}

/* When it fails. */

static void tried_remember(struct stream *s)
{
    if (s->host && s->tried_n < PROXY_TRIED_HOSTS_MAX)
        s->tried[s->tried_n++] = s->host;
}

bool stream_retry(struct stream *s, const struct retry_outcome *o)
{
    const struct retry_policy *p = stream_retry_policy(s);
    struct up_cluster *c = s->cluster;
    if (!p || !p->attempts_max || s->down_head || s->body_lost)
        return false;
    if (!retry_wanted(p, o)) {
        metric_add(c->stats.rq_retry_success, s->retries > 0 && o->failure == TRY_OK);
        return false;
    }
    if (s->retries >= p->attempts_max || s->retries >= PROXY_RETRIES_MAX) {
        s->flags |= FLAG_URX;
        metric_add(c->stats.rq_retry_limit_exceeded, 1);
        return false;
    }
    if (!retry_budget_allows(c->conf, c->requests, c->retries - s->retry_counted)) {
        metric_add(c->stats.rq_retry_overflow, 1);
        return false;
    }
    stream_try_cancel(s);
    tried_remember(s);
    c->retries += !s->retry_counted;
    s->retry_counted = true;
    s->retries++;
    metric_add(c->stats.rq_retry, 1);
    s->wake = env_now(s->w->env) + retry_backoff(p, s->retries, rng_next(&s->w->rng));
    stream_move(s, STREAM_BACKOFF);
    stream_timer_arm(s);
    return true;
}

/* A kept-alive connection that the upstream closed while the request was on its way: nothing was
 * answered, so a request that may be repeated (RFC 9110 §9.2.2) is, once, without asking a policy.
 */
static bool retry_stale(struct stream *s, enum try_failure failure)
{
    if (failure != TRY_RESET || !s->up_reused || s->up_answered || s->retried_stale ||
        !s->idempotent || s->body_lost || s->upgrade.n)
        return false;
    s->retried_stale = true;
    try_forget(s);
    stream_try(s);
    return true;
}

static void reply_failed(struct stream *s, enum try_failure failure)
{
    static const struct {
        uint32_t flag;
        struct slice reason;
    } table[] = {
        [TRY_OK] = {0, S_INIT("")},
        [TRY_CONNECT_FAILURE] = {FLAG_UF, S_INIT("connection failure")},
        [TRY_REFUSED_STREAM] = {FLAG_UR, S_INIT("remote refused stream reset")},
        [TRY_RESET_BEFORE_REQUEST] = {FLAG_UC, S_INIT("connection termination")},
        [TRY_RESET] = {FLAG_UC, S_INIT("connection termination")},
        [TRY_REMOTE_RESET] = {FLAG_UR, S_INIT("remote reset")},
        [TRY_TIMEOUT] = {FLAG_UT, S_INIT("timeout")},
        [TRY_OVERFLOW] = {FLAG_UO, S_INIT("overflow")},
    };
    bool protocol = s->flags & FLAG_UPE;
    struct slice reason = protocol ? S("protocol error") : table[failure].reason;
    struct slice body = arena_printf(
        &s->arena, "upstream connect error or disconnect/reset before headers. reset reason: %.*s",
        SLICE(reason));
    struct slice details =
        arena_printf(&s->arena, "upstream_reset_before_response_started{%.*s}", SLICE(reason));
    char *p = (char *)(uintptr_t)details.p;
    for (size_t i = 0; i < details.n; i++)
        p[i] = p[i] == ' ' ? '_' : p[i];
    stream_reply(s, protocol ? 502 : 503, protocol ? 0 : table[failure].flag, details, body);
}

/* The answer has begun: nobody can take it back, only cut it. */
static void cut_response(struct stream *s)
{
    s->flags |= FLAG_UC;
    s->details = S("upstream_reset_after_response_started{connection_termination}");
    try_forget(s);
    stream_cut(s, H2_INTERNAL_ERROR);
}

void stream_up_failed(struct stream *s, enum try_failure failure, struct slice why)
{
    struct retry_outcome o = {.failure = failure, .grpc_status = -1};
    wf_assert(!s->up_conn && !s->pending_in);
    s->up = NULL;
    s->failure = arena_dup(&s->arena, why);
    if (failure != TRY_OVERFLOW && s->host) {
        metric_add(s->cluster->stats.rq_rx_reset, failure != TRY_CONNECT_FAILURE);
        cluster_result(s->host, 0);
    }
    if (s->down_head) {
        cut_response(s);
        return;
    }
    if (retry_stale(s, failure))
        return;
    try_forget(s);
    if (!stream_retry(s, &o))
        reply_failed(s, failure);
}
