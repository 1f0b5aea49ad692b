#include "bench/adsload/proxy.h"

#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/log.h"

/* Names and versions. */

static load_id intern(struct load *l, struct map *map, struct slice text, struct slice *ret_kept,
                      size_t next)
{
    void *found = map_get(map, text);
    if (found) /* stored plus one: a map holds no NULL */
        return (load_id)((uintptr_t)found - 1);
    *ret_kept = arena_dup(&l->texts, text);
    map_put(map, *ret_kept, (void *)(uintptr_t)(next + 1));
    return (load_id)next;
}

static load_id name_id(struct load *l, struct slice text)
{
    load_id guess = l->last_name < l->names.n ? l->names.p[l->last_name].after : 0;
    if (guess < l->names.n && slice_eq(l->names.p[guess].text, text))
        return l->last_name = guess;
    struct slice kept;
    load_id id = intern(l, &l->by_name, text, &kept, l->names.n);
    if (id == l->names.n)
        *vec_push(&l->names) = (struct load_name){.text = kept};
    if (l->last_name < l->names.n)
        l->names.p[l->last_name].after = id;
    return l->last_name = id;
}

static load_id version_id(struct load *l, load_id name, struct slice text)
{
    load_id last = l->names.p[name].version;
    if (last < l->versions.n && slice_eq(l->versions.p[last], text))
        return last;
    struct slice kept;
    load_id id = intern(l, &l->by_version, text, &kept, l->versions.n);
    if (id == l->versions.n)
        *vec_push(&l->versions) = kept;
    return l->names.p[name].version = id;
}

static size_t held_bound(const struct load_held *h, load_id name)
{
    size_t lo = 0, hi = h->n;
    if (hi && h->p[hi - 1].name < name)
        return hi;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (h->p[mid].name < name)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct load_item *held_find(const struct load_held *h, load_id name)
{
    size_t i = held_bound(h, name);
    return i < h->n && h->p[i].name == name ? &h->p[i] : NULL;
}

/* true: it is new. */
static bool held_put(struct load_held *h, load_id name, load_id version)
{
    size_t i = held_bound(h, name);
    if (i < h->n && h->p[i].name == name) {
        h->p[i].version = version;
        return false;
    }
    (void)vec_push(h);
    memmove(h->p + i + 1, h->p + i, (h->n - 1 - i) * sizeof(h->p[0]));
    h->p[i] = (struct load_item){name, version};
    return true;
}

static void held_del(struct load_held *h, load_id name)
{
    struct load_item *at = held_find(h, name);
    if (!at)
        return;
    memmove(at, at + 1, (size_t)(h->p + h->n - (at + 1)) * sizeof(*at));
    h->n--;
}

/* Requests. */

static void send_request(struct load_proxy *p, struct buf *b)
{
    p->load->stats.requests++;
    p->load->stats.request_bytes += b->n;
    if (!grpc_stream_send_copy(p->stream, buf_slice(b)))
        p->load->stats.errors++;
    buf_fini(b);
}

static void put_node(struct load_proxy *p, struct buf *b)
{
    const struct load_options *o = &p->load->opt;
    char id[160];
    uint32_t n = p->number + 2; /* .0 and .1 are somebody else's */
    snprintf(id, sizeof(id), "sidecar~127.1.%u.%u~load-%u.%.*s~%.*s.svc.cluster.local",
             n >> 8 & 255, n & 255, p->number, SLICE(o->ns), SLICE(o->ns));
    load_put_node(b, &(struct load_node){.id = slice_of(id),
                                         .cluster = S("load"),
                                         .agent = o->agent,
                                         .ns = o->ns,
                                         .capture = o->capture});
}

/* The first request of a type on a stream: what is wanted and what is held already. After a
 * reconnect that is a hundred kilobytes a type; it is written as the stream takes it, so that a
 * thousand of them do not stand in memory at once. */
struct opening {
    struct grpc_source src;
    struct load *load;
    struct buf ready; /* made and not yet taken */
    size_t asked_n, held_n, at;
    struct load_item items[]; /* asked, then held, as they were */
};

static void put_item(struct opening *o, struct buf *b, size_t i)
{
    struct load *l = o->load;
    struct slice name = l->names.p[o->items[i].name].text;
    if (i < o->asked_n)
        load_put_subscribe(b, name);
    else
        load_put_initial(b, name, l->versions.p[o->items[i].version]);
}

static void opening_read(struct grpc_source *src, char *dst, size_t n)
{
    struct opening *o = container_of(src, struct opening, src);
    while (n) {
        if (!o->ready.n) {
            buf_clear(&o->ready);
            wf_assert(o->at < o->asked_n + o->held_n);
            put_item(o, &o->ready, o->at++);
        }
        struct slice from = buf_slice(&o->ready);
        size_t take = from.n < n ? from.n : n;
        memcpy(dst, from.p, take);
        buf_consume(&o->ready, take);
        dst += take;
        n -= take;
    }
}

static void opening_done(struct grpc_source *src, bool sent)
{
    struct opening *o = container_of(src, struct opening, src);
    (void)sent;
    buf_fini(&o->ready);
    mem_free(o);
}

static size_t items_size(struct opening *o)
{
    struct buf b = {0};
    size_t bytes = 0;
    for (size_t i = 0; i < o->asked_n + o->held_n; i++) {
        buf_clear(&b);
        put_item(o, &b, i);
        bytes += b.n;
    }
    buf_fini(&b);
    return bytes;
}

static void open_type(struct load_proxy *p, enum xds_type type, bool with_node)
{
    struct load *l = p->load;
    struct load_sub *sub = &p->subs[type];
    size_t n = sub->asked.n + sub->held.n;
    struct opening *o = mem_new(sizeof(*o) + n * sizeof(o->items[0]));
    o->load = l;
    o->asked_n = sub->asked.n;
    o->held_n = sub->held.n;
    if (o->asked_n)
        memcpy(o->items, sub->asked.p, o->asked_n * sizeof(o->items[0]));
    if (o->held_n)
        memcpy(o->items + o->asked_n, sub->held.p, o->held_n * sizeof(o->items[0]));
    if (with_node)
        put_node(p, &o->ready);
    load_put_type(&o->ready, type);
    o->src = (struct grpc_source){.bytes = (uint32_t)(o->ready.n + items_size(o)),
                                  .read = opening_read,
                                  .done = opening_done};
    sub->open = true;
    l->stats.requests++;
    l->stats.request_bytes += o->src.bytes;
    if (grpc_stream_send(p->stream, &o->src))
        return;
    l->stats.errors++;
    opening_done(&o->src, false);
}

/* Names that came up while a response was read; sent with its ACK's turn. */
struct wants {
    struct load_proxy *p;
    enum xds_type type;
    struct buf b;
    size_t n;
};

static void want(struct wants *w, struct slice name)
{
    struct load_sub *sub = &w->p->subs[w->type];
    load_id id = name_id(w->p->load, name);
    bool known = held_find(&sub->held, id) != NULL;
    if (!held_put(&sub->asked, id, known))
        return;
    sub->unanswered += !known;
    load_put_subscribe(&w->b, name);
    w->n++;
}

static void send_wants(struct wants *w)
{
    struct load_sub *sub = &w->p->subs[w->type];
    if (w->n && sub->open) {
        load_put_type(&w->b, w->type);
        send_request(w->p, &w->b);
    } else if (w->n) {
        open_type(w->p, w->type, false);
    }
    buf_fini(&w->b);
}

/* Responses. */

struct reading {
    struct load_proxy *p;
    enum xds_type type;
    struct wants next; /* CDS: endpoints; LDS: routes; RDS: virtual hosts */
    size_t resources;
};

static void answered(struct load_sub *sub, load_id name)
{
    struct load_item *asked = held_find(&sub->asked, name);
    if (!asked || asked->version)
        return;
    asked->version = 1;
    sub->unanswered--;
}

static void on_rds_name(void *ctx, struct slice name)
{
    want(ctx, name);
}

static void follow(struct reading *rd, const struct load_resource *r)
{
    if (rd->type == XDS_CDS) {
        struct slice eds = load_cluster_eds(r->body, r->name);
        if (eds.n)
            want(&rd->next, eds);
    } else if (rd->type == XDS_LDS) {
        load_listener_rds(r->body, on_rds_name, &rd->next);
    } else if (rd->type == XDS_RDS && load_route_vhds(r->body)) {
        char glob[1100];
        int n = snprintf(glob, sizeof(glob), "%.*s/*", SLICE(r->name));
        if (n > 0 && (size_t)n < sizeof(glob))
            want(&rd->next, slice_mem(glob, (size_t)n));
    }
}

static void on_resource(void *ctx, const struct load_resource *r)
{
    struct reading *rd = ctx;
    struct load *l = rd->p->load;
    struct load_sub *sub = &rd->p->subs[rd->type];
    load_id name = name_id(l, r->name);
    held_put(&sub->held, name, version_id(l, name, r->version));
    answered(sub, name);
    l->stats.resources++;
    l->stats.resource_bytes += r->body.n;
    rd->resources++;
    follow(rd, r);
}

static void on_removed(void *ctx, struct slice text)
{
    struct reading *rd = ctx;
    struct load_sub *sub = &rd->p->subs[rd->type];
    load_id name = name_id(rd->p->load, text);
    held_del(&sub->held, name);
    answered(sub, name);
    rd->p->load->stats.removed++;
}

static enum xds_type next_type(enum xds_type type)
{
    static const enum xds_type next[XDS_TYPE_COUNT] = {[XDS_CDS] = XDS_EDS,
                                                       [XDS_EDS] = XDS_TYPE_COUNT,
                                                       [XDS_LDS] = XDS_RDS,
                                                       [XDS_RDS] = XDS_VHDS,
                                                       [XDS_VHDS] = XDS_TYPE_COUNT};
    return next[type];
}

static bool in_sync(const struct load_proxy *p)
{
    for (size_t t = 0; t < XDS_TYPE_COUNT; t++) {
        const struct load_sub *s = &p->subs[t];
        /* A glob is answered by the first response of its type, whatever that holds. */
        if (s->open && (!s->answered || (t != XDS_VHDS && s->unanswered)))
            return false;
    }
    return p->subs[XDS_CDS].open && p->subs[XDS_LDS].open;
}

static void note(struct load_proxy *p, bool news)
{
    struct load *l = p->load;
    uint64_t now = env_now_ns(l->env);
    if (!p->synced && in_sync(p)) {
        p->synced = true;
        l->synced++;
        if (l->on_synced)
            l->on_synced(l->ctx, now);
    }
    if (!p->marked && news && p->synced) {
        p->marked = true;
        l->marked++;
        if (l->on_marked)
            l->on_marked(l->ctx, now);
    }
}

static void ack(struct load_proxy *p, const struct load_response *r)
{
    struct buf b = {0};
    load_put_type(&b, r->type);
    load_put_nonce(&b, r->nonce);
    send_request(p, &b);
}

static void on_message(void *user, struct slice message)
{
    struct load_proxy *p = user;
    struct load *l = p->load;
    struct load_response r;
    l->stats.bytes += message.n;
    l->stats.responses++;
    if (!load_response_head(message, &r) || r.type == XDS_TYPE_COUNT) {
        l->stats.errors++;
        return;
    }
    enum xds_type next = next_type(r.type);
    struct reading rd = {.p = p, .type = r.type, .next = {.p = p, .type = next}};
    if (!load_response_each(message, on_resource, on_removed, &rd))
        l->stats.errors++;
    p->subs[r.type].answered = true;
    p->backoff = LOAD_BACKOFF_MIN_MS;
    ack(p, &r);
    if (next != XDS_TYPE_COUNT)
        send_wants(&rd.next);
    note(p, rd.resources > 0);
}

/* Connections. */

static void connect_proxy(struct load_proxy *p);

static void forget_stream(struct load_proxy *p)
{
    for (size_t t = 0; t < XDS_TYPE_COUNT; t++) {
        struct load_sub *s = &p->subs[t];
        s->open = s->answered = false;
        s->unanswered = 0;
        for (size_t i = 0; i < s->asked.n; i++) {
            s->asked.p[i].version = held_find(&s->held, s->asked.p[i].name) != NULL;
            s->unanswered += !s->asked.p[i].version;
        }
    }
    p->load->synced -= p->synced;
    p->synced = false;
}

static void retry_later(struct load_proxy *p)
{
    struct load *l = p->load;
    wf_ms wait = p->backoff / 2 + (wf_ms)env_random_below(l->env, (uint64_t)p->backoff);
    p->backoff = p->backoff * 2 < LOAD_BACKOFF_MAX_MS ? p->backoff * 2 : LOAD_BACKOFF_MAX_MS;
    env_timer_start(l->env, &p->retry, wait);
}

static void on_retry(struct env_timer *t)
{
    connect_proxy(container_of(t, struct load_proxy, retry));
}

static void lose(struct load_proxy *p)
{
    p->load->stats.losses++;
    grpc_client_free(p->conn);
    p->conn = NULL;
    p->stream = NULL;
    forget_stream(p);
    retry_later(p);
}

static void on_stream_close(void *user, int status, struct slice message)
{
    struct load_proxy *p = user;
    LOG_DEBUG("load.stream_closed", F_U64("proxy", p->number), F_I64("status", status),
              F_STR("message", message));
    p->stream = NULL;
    lose(p);
}

static void on_conn_close(void *ctx, const struct err *why)
{
    struct load_proxy *p = ctx;
    LOG_DEBUG("load.connection_closed", F_U64("proxy", p->number), F_ERR(why));
    lose(p);
}

static const struct grpc_stream_events stream_events = {.on_message = on_message,
                                                        .on_close = on_stream_close};
static const struct grpc_client_events conn_events = {.on_close = on_conn_close};

/* On a first connect clusters and listeners; later also what these led to, in one go. */
static void open_stream(struct load_proxy *p)
{
    bool node = true;
    for (size_t t = 0; t < XDS_TYPE_COUNT; t++) {
        bool wildcard = xds_types[t].wildcard;
        if (!wildcard && !p->subs[t].asked.n)
            continue;
        open_type(p, (enum xds_type)t, node);
        node = false;
    }
}

static void connect_proxy(struct load_proxy *p)
{
    struct load *l = p->load;
    const struct env_addr *to = &l->opt.servers[p->server++ % l->opt.server_count];
    l->stats.connects++;
    p->conn = grpc_client_new(
        l->env, to, &(struct grpc_client_options){.message_bytes_max = 64u << 20}, &conn_events, p);
    p->stream = grpc_client_call(
        p->conn, &(struct grpc_call_options){.path = S(XDS_PATH_ADS_DELTA)}, &stream_events, p);
    wf_assert(p->stream);
    open_stream(p);
}

/* All of them. */

static void start_some(struct load *l, uint32_t n)
{
    for (; n && l->started < l->opt.proxies; n--)
        connect_proxy(&l->proxies[l->started++]);
}

enum { PACE_MS = 10 };

static void on_pace(struct env_timer *t)
{
    struct load *l = container_of(t, struct load, pace);
    uint32_t n = l->opt.rate * PACE_MS / 1000;
    start_some(l, n ? n : 1);
    if (l->started < l->opt.proxies)
        env_timer_start(l->env, &l->pace, PACE_MS);
}

void load_init(struct load *l, struct env *env, const struct load_options *opt)
{
    wf_assert(opt->proxies <= LOAD_PROXIES_MAX && opt->server_count > 0);
    *l = (struct load){.env = env, .opt = *opt};
    l->pace.fn = on_pace;
    l->proxies = mem_array(opt->proxies, sizeof(l->proxies[0]));
    for (uint32_t i = 0; i < opt->proxies; i++) {
        l->proxies[i].load = l;
        l->proxies[i].number = i;
        l->proxies[i].server = i;
        l->proxies[i].backoff = LOAD_BACKOFF_MIN_MS;
        l->proxies[i].retry.fn = on_retry;
    }
}

static void close_proxy(struct load_proxy *p)
{
    env_timer_stop(p->load->env, &p->retry);
    if (p->stream)
        grpc_stream_detach(p->stream);
    grpc_client_free(p->conn);
    p->conn = NULL;
    p->stream = NULL;
}

void load_fini(struct load *l)
{
    env_timer_stop(l->env, &l->pace);
    for (uint32_t i = 0; i < l->opt.proxies; i++) {
        close_proxy(&l->proxies[i]);
        for (size_t t = 0; t < XDS_TYPE_COUNT; t++) {
            vec_fini(&l->proxies[i].subs[t].held);
            vec_fini(&l->proxies[i].subs[t].asked);
        }
    }
    mem_free(l->proxies);
    map_fini(&l->by_name);
    map_fini(&l->by_version);
    vec_fini(&l->names);
    vec_fini(&l->versions);
    arena_fini(&l->texts);
    *l = (struct load){0};
}

void load_start(struct load *l)
{
    if (l->opt.rate)
        on_pace(&l->pace);
    else
        start_some(l, l->opt.proxies);
}

void load_restart(struct load *l)
{
    env_timer_stop(l->env, &l->pace);
    for (uint32_t i = 0; i < l->started; i++) {
        close_proxy(&l->proxies[i]);
        forget_stream(&l->proxies[i]);
    }
    l->started = 0;
    wf_assert(l->synced == 0);
    load_start(l);
}

void load_mark(struct load *l)
{
    for (uint32_t i = 0; i < l->opt.proxies; i++)
        l->proxies[i].marked = false;
    l->marked = 0;
}
