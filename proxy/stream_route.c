/* From a request's head to its first try: canonical path, route, faults, header changes. */
#include <string.h>

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/wire/grpc.h"
#include "base/wire/path.h"
#include "proxy/fault.h"
#include "proxy/header_ops.h"
#include "proxy/pool.h"
#include "proxy/worker_int.h"

/* What a hop does to every request. */

/* x-envoy-* fields that command a router: ours takes its orders from the configuration alone. */
static const uint8_t commands[] = {
    HDR_X_ENVOY_MAX_RETRIES,
    HDR_X_ENVOY_RETRY_ON,
    HDR_X_ENVOY_RETRY_GRPC_ON,
    HDR_X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS,
    HDR_X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS,
    HDR_X_ENVOY_EXPECTED_RQ_TIMEOUT_MS,
    HDR_X_ENVOY_INTERNAL,
    HDR_X_ENVOY_EXTERNAL_ADDRESS,
    HDR_X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT,
    HDR_X_ENVOY_RETRIABLE_STATUS_CODES,
    HDR_X_ENVOY_RETRIABLE_HEADER_NAMES,
    HDR_X_ENVOY_FORCE_TRACE,
    HDR_X_ENVOY_IS_TIMEOUT_RETRY,
    HDR_X_ENVOY_ORIGINAL_PATH,
    HDR_X_ENVOY_ORIGINAL_HOST,
};

static bool is_command(uint8_t id)
{
    return id && memchr(commands, id, sizeof(commands)) != NULL;
}

static void strip(struct headers *hs)
{
    headers_strip_hop(hs);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < hs->n; i++)
        if (!is_command(hs->p[i].id) && hs->p[i].id != HDR_EXPECT)
            hs->p[kept++] = hs->p[i];
    hs->n = kept;
}

static struct slice uuid(struct stream *s)
{
    uint64_t random[2] = {rng_next(&s->w->rng), rng_next(&s->w->rng)};
    char *p = arena_alloc(&s->arena, UUID_BYTES);
    uuid_encode(p, (const uint8_t *)random);
    return (struct slice){p, UUID_BYTES};
}

static struct slice peer_ip(struct stream *s)
{
    char text[ENV_ADDR_TEXT];
    struct slice host, port, full = env_addr_format(env_stream_peer(s->down_es), text);
    if (!slice_cut_last(full, ':', &host, &port))
        host = full;
    if (slice_starts(host, S("[")) && slice_ends(host, S("]")))
        host = slice_sub(host, 1, host.n - 2);
    return arena_dup(&s->arena, host);
}

static void forwarded_for(struct stream *s)
{
    struct headers *hs = &s->head.headers;
    struct slice ip = peer_ip(s), old = headers_value(hs, HDR_X_FORWARDED_FOR);
    headers_set(hs, &s->arena, HDR_X_FORWARDED_FOR,
                old.n ? arena_printf(&s->arena, "%.*s,%.*s", SLICE(old), SLICE(ip)) : ip);
}

static void hop_headers(struct stream *s)
{
    struct headers *hs = &s->head.headers;
    const struct filter_chain *chain = s->chain;
    strip(hs);
    if (chain->use_remote_address)
        forwarded_for(s);
    if (chain->use_remote_address)
        headers_set(hs, &s->arena, HDR_X_FORWARDED_PROTO, S("http"));
    else if (!headers_get(hs, HDR_X_FORWARDED_PROTO))
        headers_add(hs, &s->arena, HDR_X_FORWARDED_PROTO, S("http"));
    const struct header *id = headers_get(hs, HDR_X_REQUEST_ID);
    if (chain->generate_request_id && (!id || chain->use_remote_address))
        headers_set(hs, &s->arena, HDR_X_REQUEST_ID, uuid(s));
    if (!s->head.scheme.n)
        s->head.scheme = S("http");
}

static bool canonical_path(struct stream *s)
{
    struct path_options opt = {.slashes = PATH_SLASHES_KEEP,
                               .merge_slashes = s->chain->merge_slashes};
    struct slice path = s->head.path;
    if (!path.n)
        return s->head.method_id == HTTP_CONNECT;
    if (s->chain->normalize_path && path_canonical(path, &opt, &s->arena, &path) > PATH_CHANGED)
        return false;
    s->head.path = path;
    s->has_query = slice_find(path, '?') != SIZE_MAX;
    path_split(path, &s->path, &s->query);
    return true;
}

/* Matching. */

static struct route_request route_request_of(const struct stream *s)
{
    return (struct route_request){.head = &s->head,
                                  .path = s->path,
                                  .query = s->query,
                                  .has_query = s->has_query,
                                  .grpc = s->grpc,
                                  .random = s->random};
}

static const struct route *find(struct stream *s)
{
    struct route_request rq = route_request_of(s);
    s->vhost = route_vhost_find(s->chain->routes, s->head.authority);
    if (!s->vhost)
        return NULL;
    const struct route *r = route_match(s->vhost, &rq);
    /* A forward proxy asked for a tunnel: the host's routes say where to, as for "/". */
    if (!r && s->head.method_id == HTTP_CONNECT && !s->path.n && s->listener->http_proxy) {
        rq.path = S("/");
        r = route_match(s->vhost, &rq);
    }
    return r;
}

/* What kind of stream it becomes if the upstream agrees. False: refused. */
static bool upgrade_allowed(struct stream *s)
{
    if (!s->upgrade.n)
        return true;
    if (!slice_eq_nocase(s->upgrade, S("websocket"))) {
        s->upgrade = (struct slice){0}; /* RFC 9110 §7.8: a server may ignore it */
        s->request_end = true;          /* then it is a request without a body like others */
        return true;
    }
    return s->route->websocket_set ? s->route->websocket : s->chain->websocket;
}

static void reply_redirect(struct stream *s)
{
    struct route_request rq = route_request_of(s);
    struct slice location;
    struct http_head *head = ARENA_NEW(&s->arena, struct http_head);
    head->status = (uint16_t)(s->route->redirect_status ? s->route->redirect_status : 301);
    route_redirect_location(s->route, &rq, s->head.scheme, &s->arena, &location);
    headers_add(&head->headers, &s->arena, HDR_LOCATION, location);
    stream_reply_head(s, head, S("direct_response"), S(""), S(""));
}

static void reply_direct(struct stream *s)
{
    struct http_head *head = ARENA_NEW(&s->arena, struct http_head);
    head->status = (uint16_t)(s->route->direct_status ? s->route->direct_status : 200);
    struct slice body = s->route->direct_body;
    stream_reply_head(s, head, S("direct_response"), body, body.n ? S("text/plain") : S(""));
}

/* Decides on injected faults; true: the stream waits, or was answered. */
static bool inject(struct stream *s)
{
    if (!s->route->has_fault)
        return false;
    struct fault_verdict v =
        fault_decide(&s->route->fault, rng_next(&s->w->rng), rng_next(&s->w->rng));
    s->fault = (struct fault_state){v.abort, v.status, v.grpc_status};
    if (v.delay) {
        s->flags |= FLAG_DI;
        s->wake = env_now(s->w->env) + v.delay;
        stream_move(s, STREAM_DELAY);
        stream_timer_arm(s);
        return true;
    }
    if (v.abort)
        stream_fault_abort(s);
    return v.abort;
}

static void act(struct stream *s)
{
    switch (s->route->action) {
    case ROUTE_REDIRECT:
        reply_redirect(s);
        return;
    case ROUTE_DIRECT:
        reply_direct(s);
        return;
    case ROUTE_FORWARD:
        break;
    }
    if (!upgrade_allowed(s))
        stream_reply(s, 403, 0, S("upgrade_failed"), S(""));
    else if (!inject(s))
        stream_route_forward(s);
}

void stream_route(struct stream *s)
{
    s->grpc = grpc_content_type(headers_value(&s->head.headers, HDR_CONTENT_TYPE));
    if (!canonical_path(s)) {
        stream_reply(s, 400, FLAG_DPE, S("path_normalization_failed"), S("Bad Request"));
        return;
    }
    if (!s->head.authority.n) {
        stream_reply(s, 400, FLAG_DPE, S("missing_host_header"), S("Bad Request"));
        return;
    }
    hop_headers(s);
    s->route = s->chain->routes ? find(s) : NULL;
    if (!s->route) {
        stream_reply(s, 404, FLAG_NR, S("route_not_found"), S(""));
        return;
    }
    act(s);
}

/* Forwarding. */

static void request_changes(struct stream *s)
{
    const struct header_changes *changes[] = {&s->weighted->request, &s->route->request,
                                              &s->vhost->request, &s->chain->routes->request};
    struct record record;
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        if (!changes[i]->add_count && !changes[i]->remove_count)
            continue;
        stream_record_fill(s, &record);
        header_changes_apply(changes[i], &s->head, &s->arena, &record);
    }
}

static bool rewrite(struct stream *s)
{
    const struct route *r = s->route;
    struct route_request rq = route_request_of(s);
    if (r->host_rewrite.n)
        s->head.authority = r->host_rewrite;
    s->authority = s->head.authority;
    if (!r->has_prefix_rewrite && !r->regex_rewrite)
        return true;
    s->original_path = s->head.path;
    if (!route_path_rewrite(r, &rq, &s->arena, &s->head.path))
        return false;
    headers_set(&s->head.headers, &s->arena, HDR_X_ENVOY_ORIGINAL_PATH, s->original_path);
    return true;
}

static bool idempotent(uint8_t method) /* RFC 9110 §9.2.2 */
{
    return method == HTTP_GET || method == HTTP_HEAD || method == HTTP_PUT ||
           method == HTTP_DELETE || method == HTTP_OPTIONS || method == HTTP_TRACE;
}

static void affinity(struct stream *s)
{
    struct route_request rq = route_request_of(s);
    if (!s->route->hash_count)
        return;
    struct slice fresh = arena_printf(&s->arena, "%016llx", (unsigned long long)s->random);
    const struct hash_policy *make;
    s->hash = route_hash(s->route, &rq, peer_ip(s), hash_bytes(fresh), &make);
    if (!make)
        return;
    struct slice path = make->cookie_path;
    s->cookie = arena_printf(&s->arena, "%.*s=\"%.*s\"%s%.*s; HttpOnly", SLICE(make->name),
                             SLICE(fresh), path.n ? "; Path=" : "", SLICE(path));
    if (make->cookie_ttl > 0)
        s->cookie = arena_printf(&s->arena, "%.*s; Max-Age=%lld", SLICE(s->cookie),
                                 (long long)(make->cookie_ttl / 1000));
}

static void continue_request(struct stream *s)
{
    if (!s->expect_continue || s->request_end || s->minor == 0)
        return;
    struct http_head *head = ARENA_NEW(&s->arena, struct http_head);
    head->status = 100;
    s->down->head(s, head, false);
}

void stream_route_forward(struct stream *s)
{
    const struct route *r = s->route;
    s->weighted = route_cluster_pick(r->clusters, r->cluster_count, r->weight_total, s->random);
    struct up_cluster *c = cluster_take(s->w, s->conf->conf, s->weighted->cluster);
    if (!c) {
        stream_reply(s, 503, FLAG_NC, S("cluster_not_found"), S(""));
        return;
    }
    s->cluster = c;
    affinity(s);
    request_changes(s);
    if (!rewrite(s)) {
        stream_reply(s, 500, 0, S("rewrite_failed"), S("Internal Server Error"));
        return;
    }
    s->body_keep = stream_retry_policy(s) || idempotent(s->head.method_id);
    s->idempotent = idempotent(s->head.method_id);
    stream_deadline_start(s);
    continue_request(s);
    stream_try(s);
}
