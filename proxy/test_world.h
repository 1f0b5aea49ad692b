/* A small world for tests of the data path, on one loop over loopback: a worker, fake upstreams
 * whose behaviour the request's path chooses, and raw clients. Tests only.
 *
 *   struct world w;
 *   world_start(&w, 2, tune);         two upstreams; tune changes the tree before use
 *   struct client *c = client_open(&w);
 *   client_send(c, "GET /ok HTTP/1.1\r\nhost: a\r\n\r\n");
 *   UNTIL(&w, client_has(c, "ok"));
 *   world_end(&w);
 */
#ifndef WEFT_PROXY_TEST_WORLD_H
#define WEFT_PROXY_TEST_WORLD_H

#include "base/wire/test.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/env/env_uv.h"
#include "proxy/route.h"
#include "proxy/stream.h"
#include "proxy/worker_int.h"

#define WORLD_FAKES_MAX 4
#define WORLD_PATIENCE_MS 20000

/* Time. */

struct world;

static inline int64_t world_clock_ms(struct env *env)
{
    return (int64_t)(env_now_ns(env) / 1000000);
}

/* Turns the loop until cond holds; fails the test if it never does. */
#define UNTIL(w, cond)                                                                             \
    do {                                                                                           \
        int64_t start_ = world_clock_ms((w)->env);                                                 \
        while (!(cond)) {                                                                          \
            env_uv_turn((w)->env, 20);                                                             \
            if (world_clock_ms((w)->env) - start_ > WORLD_PATIENCE_MS)                             \
                fail_msg("never happened: %s", #cond);                                             \
        }                                                                                          \
    } while (0)

/* Fake upstreams. */

struct fake {
    struct world *world;
    struct env_listener *listener;
    struct env_addr addr;
    char text[ENV_ADDR_TEXT];
    struct list conns;
    int accepted, requests, open, aborted;
    const char *always;   /* behaves as if every request were for this path */
    int fail_first;       /* so many requests get 503 */
    bool close_on_second; /* a connection's second request finds it closed */
    uint64_t written;     /* body bytes of /big that the kernel or the queue took */
    struct buf last;      /* the last whole request, as it came */
};

struct fake_conn {
    struct list_node node;
    struct fake *f;
    struct env_stream *es;
    struct buf in;
    int requests;
    bool hold; /* answers nothing more: it hangs, or it is a tunnel */
    bool tunnel;
    uint64_t big_left;
};

struct parts { /* of the tree, for tune() */
    struct conf *conf;
    struct listener *listener;
    struct filter_chain *chain;
    struct route_table *table;
    struct virtual_host *vhost;
    struct route *route;
    struct cluster *cluster;
    struct endpoint_set *endpoints;
};

struct world {
    struct env *env;
    struct worker *worker;
    struct env_addr proxy; /* where the worker listens */
    size_t fake_n;
    struct fake fakes[WORLD_FAKES_MAX];
    struct list clients;
    void (*tune)(struct parts *p);
    struct env_timer tick;
};

static inline void fake_write(struct fake_conn *c, struct slice s)
{
    struct iovec iov = {(void *)(uintptr_t)s.p, s.n};
    env_stream_write(c->es, &iov, 1);
}

static inline void fake_big(struct fake_conn *c)
{
    static char block[16384];
    while (c->big_left && env_stream_queued(c->es) < 65536) {
        size_t n = c->big_left < sizeof(block) ? (size_t)c->big_left : sizeof(block);
        fake_write(c, slice_mem(block, n));
        c->big_left -= n;
        c->f->written += n;
    }
}

static inline void fake_reset(struct fake_conn *c)
{
    env_stream_close(c->es);
}

static inline void fake_body(struct fake_conn *c, int status, struct slice body)
{
    char head[128];
    int n = snprintf(head, sizeof(head), "HTTP/1.1 %d X\r\ncontent-length: %zu\r\n\r\n", status,
                     body.n);
    fake_write(c, slice_mem(head, (size_t)n));
    fake_write(c, body);
}

static inline void fake_answer(struct fake_conn *c, struct slice path, struct slice head,
                               struct slice body)
{
    struct fake *f = c->f;
    uint64_t n;
    (void)head;
    if (f->always)
        path = slice_of(f->always);
    if (slice_eq(path, S("/ok")))
        fake_body(c, 200, S("ok"));
    else if (slice_starts(path, S("/status/")) && slice_u64(slice_skip(path, 8), &n))
        fake_body(c, (int)n, S("status"));
    else if (slice_eq(path, S("/echo")))
        fake_body(c, 200, body);
    else if (slice_eq(path, S("/close")))
        env_stream_close_after_write(c->es, 100);
    else if (slice_eq(path, S("/hang")))
        c->hold = true;
    else if (slice_eq(path, S("/garbage")))
        fake_write(c, S("SMTP 220 hello\r\n\r\n"));
    else if (slice_eq(path, S("/half"))) {
        fake_write(c, S("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this"));
        env_stream_close_after_write(c->es, 100);
    } else if (slice_eq(path, S("/chunked")))
        fake_write(c, S("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
                        "3\r\nabc\r\n4\r\ndefg\r\n0\r\nx-sum: 7\r\n\r\n"));
    else if (slice_eq(path, S("/until-close"))) {
        fake_write(c, S("HTTP/1.1 200 OK\r\n\r\nto the end"));
        env_stream_close_after_write(c->es, 100);
    } else if (slice_eq(path, S("/hints")))
        fake_write(c, S("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
                        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    else if (slice_eq(path, S("/many-hints")))
        for (int i = 0; i < 1000; i++)
            fake_write(c, S("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"));
    else if (slice_starts(path, S("/big/")) && slice_u64(slice_skip(path, 5), &n)) {
        char text[96];
        int len = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\ncontent-length: %llu\r\n\r\n",
                           (unsigned long long)n);
        fake_write(c, slice_mem(text, (size_t)len));
        c->big_left = n;
        fake_big(c);
    } else if (slice_eq(path, S("/ws"))) {
        fake_write(c, S("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n"
                        "upgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n"));
        c->tunnel = true;
    } else
        fake_body(c, 404, S("what"));
}

static inline bool fake_early(struct fake_conn *c, struct slice path)
{
    if (!slice_eq(path, S("/early")))
        return false;
    fake_body(c, 200, S("early"));
    c->hold = true;
    return true;
}

static inline char *find_in(struct slice s, const char *text)
{
    return s.n ? memmem(s.p, s.n, text, strlen(text)) : NULL;
}

static inline struct slice header_in(struct slice head, const char *name)
{
    char *at = find_in(head, name);
    struct slice line, rest;
    if (!at)
        return (struct slice){0};
    slice_cut(slice_skip(head, (size_t)(at - head.p) + strlen(name)), '\r', &line, &rest);
    return slice_trim(line);
}

/* The whole request at the front of `in`, or 0. Chunked bodies are taken up to their last chunk. */
static inline size_t fake_whole(struct slice in, struct slice *ret_head, struct slice *ret_body)
{
    char *end = find_in(in, "\r\n\r\n");
    uint64_t length = 0;
    if (!end)
        return 0;
    *ret_head = slice_sub(in, 0, (size_t)(end - in.p) + 4);
    struct slice rest = slice_skip(in, ret_head->n);
    if (header_in(*ret_head, "\ntransfer-encoding:").n) {
        char *last = find_in(rest, "\r\n0\r\n"), *stop;
        if (!last ||
            !(stop = memmem(last + 3, (size_t)(rest.p + rest.n - last - 3), "\r\n\r\n", 4)))
            return 0;
        *ret_body = slice_sub(rest, 0, (size_t)(stop - rest.p) + 4);
        return ret_head->n + ret_body->n;
    }
    slice_u64(header_in(*ret_head, "\ncontent-length:"), &length);
    if (rest.n < length)
        return 0;
    *ret_body = slice_sub(rest, 0, (size_t)length);
    return ret_head->n + ret_body->n;
}

static inline struct slice path_of(struct slice head)
{
    struct slice method, rest, path, version;
    slice_cut(head, ' ', &method, &rest);
    slice_cut(rest, ' ', &path, &version);
    return path;
}

static inline void fake_data(void *ctx, struct slice bytes)
{
    struct fake_conn *c = ctx;
    struct slice head, body;
    size_t n;
    if (c->tunnel) {
        fake_write(c, bytes);
        return;
    }
    buf_append(&c->in, bytes);
    struct slice in = buf_slice(&c->in);
    char *end = find_in(in, "\r\n\r\n");
    if (!c->hold && end && fake_early(c, path_of(in)))
        return;
    while (!c->hold && !c->tunnel && (n = fake_whole(buf_slice(&c->in), &head, &body)) > 0) {
        buf_clear(&c->f->last);
        buf_append(&c->f->last, slice_sub(buf_slice(&c->in), 0, n));
        c->f->requests++;
        if (++c->requests > 1 && c->f->close_on_second) {
            fake_reset(c);
            return;
        }
        if (c->f->fail_first > 0) {
            c->f->fail_first--;
            fake_body(c, 503, S("failing"));
        } else {
            fake_answer(c, path_of(head), head, body);
        }
        buf_consume(&c->in, n);
    }
}

static inline void fake_drain(void *ctx)
{
    fake_big(ctx);
}

static inline void fake_end(void *ctx)
{
    struct fake_conn *c = ctx;
    if (c->tunnel)
        env_stream_shutdown(c->es);
    else
        env_stream_close(c->es);
}

static inline void fake_close(void *ctx, const struct err *why)
{
    struct fake_conn *c = ctx;
    (void)why;
    c->f->aborted += c->hold || c->big_left;
    c->f->open--;
    list_remove(&c->node);
    buf_fini(&c->in);
    mem_free(c);
}

static const struct env_stream_events fake_events = {
    .on_data = fake_data, .on_end = fake_end, .on_drain = fake_drain, .on_close = fake_close};

static inline void fake_accept(void *ctx, struct env_stream *es)
{
    struct fake *f = ctx;
    struct fake_conn *c = MEM_NEW(struct fake_conn);
    c->f = f;
    c->es = es;
    f->accepted++;
    f->open++;
    list_push(&f->conns, &c->node);
    env_stream_set_events(es, &fake_events, c);
}

static inline void fake_listen(struct world *w, struct fake *f,
                               void (*accept_fn)(void *ctx, struct env_stream *es))
{
    struct env_addr any;
    assert_true(env_addr_parse(&any, S("127.0.0.1:0"), NULL));
    f->world = w;
    list_init(&f->conns);
    f->listener = env_listen(w->env, &any, NULL, accept_fn, f, NULL);
    assert_non_null(f->listener);
    f->addr = *env_listener_addr(f->listener);
    env_addr_format(&f->addr, f->text);
}

/* The tree. */

static inline void world_parts(struct world *w, struct parts *p)
{
    p->conf = conf_new();
    struct arena *a = &p->conf->part.arena;
    p->endpoints = endpoint_set_new();
    p->endpoints->items = ARENA_ARRAY(&p->endpoints->part.arena, struct endpoint, WORLD_FAKES_MAX);
    for (size_t i = 0; i < w->fake_n; i++) {
        struct endpoint *e = &p->endpoints->items[p->endpoints->n++];
        *e = (struct endpoint){.addr = w->fakes[i].addr, .weight = 1};
        e->text = arena_dup(&p->endpoints->part.arena, slice_of(w->fakes[i].text));
        e->workload = S("reviews-v1");
    }
    p->cluster = cluster_new();
    struct cluster *c = p->cluster;
    c->name = S("outbound|80||reviews");
    c->lb = LB_ROUND_ROBIN;
    c->connect_timeout = 2000;
    c->max_connections = c->max_pending = c->max_requests = 1024;
    c->max_retries = 100;
    c->service_host = S("reviews");
    c->endpoints = p->endpoints;
    p->vhost = virtual_host_new();
    struct virtual_host *v = p->vhost;
    struct arena *va = &v->part.arena;
    v->name = S("reviews");
    v->domains = ARENA_NEW(va, struct slice);
    v->domains[v->domain_count++] = S("*");
    v->routes = ARENA_ARRAY(va, struct route, 4);
    v->route_count = 1;
    p->route = v->routes;
    struct weighted_cluster *wc = ARENA_NEW(va, struct weighted_cluster);
    *wc = (struct weighted_cluster){.cluster = c->name, .weight = 1};
    *p->route = (struct route){.name = S("default"),
                               .path_kind = PATH_PREFIX,
                               .path = S("/"),
                               .cluster_count = 1,
                               .clusters = wc,
                               .weight_total = 1,
                               .fault.abort_grpc = -1};
    p->table = route_table_new();
    p->table->name = S("80");
    p->table->vhosts = ARENA_NEW(&p->table->part.arena, struct virtual_host *);
    p->table->vhosts[p->table->vhost_count++] = v;
    p->listener = listener_new();
    struct listener *l = p->listener;
    l->name = S("out");
    assert_true(env_addr_parse(&l->addr, S("127.0.0.1:0"), NULL));
    l->bind = true;
    l->chain_count = 1;
    l->chains = p->chain = ARENA_NEW(&l->part.arena, struct filter_chain);
    p->chain->routes = p->table;
    p->chain->generate_request_id = p->chain->normalize_path = p->chain->websocket = true;
    p->conf->clusters = ARENA_ARRAY(a, struct cluster *, 4);
    p->conf->clusters[p->conf->cluster_count++] = c;
    p->conf->listeners = ARENA_ARRAY(a, struct listener *, 4);
    p->conf->listeners[p->conf->listener_count++] = l;
    p->conf->workload = S("productpage-v1");
}

static inline struct conf *world_conf(struct world *w, void (*tune)(struct parts *p))
{
    struct parts p;
    world_parts(w, &p);
    if (tune)
        tune(&p);
    assert_true(route_table_index(p.table, NULL));
    conf_index(p.conf);
    return p.conf;
}

static inline void world_listen_addr(struct world *w)
{
    struct list_node *n = list_first(&w->worker->listeners);
    assert_non_null(n);
    w->proxy = *env_listener_addr(container_of(n, struct wlistener, node)->socket);
}

static inline void world_begin_with(struct world *w, size_t fakes,
                                    void (*accept_fn)(void *ctx, struct env_stream *es))
{
    *w = (struct world){.fake_n = fakes};
    list_init(&w->clients);
    w->env = env_uv_new(NULL);
    assert_non_null(w->env);
    for (size_t i = 0; i < fakes; i++)
        fake_listen(w, &w->fakes[i], accept_fn);
}

static inline void world_begin(struct world *w, size_t fakes)
{
    world_begin_with(w, fakes, fake_accept);
}

static inline void world_run(struct world *w, void (*tune)(struct parts *p))
{
    struct err err = {0};
    struct conf *conf = world_conf(w, tune);
    w->worker = worker_new(w->env, &(struct worker_options){.conf = conf}, &err);
    if (!w->worker)
        fail_msg("%s", err.msg);
    conf_unref(conf);
    world_listen_addr(w);
}

static inline void world_start(struct world *w, size_t fakes, void (*tune)(struct parts *p))
{
    world_begin(w, fakes);
    world_run(w, tune);
}

/* Clients. */

struct client {
    struct list_node node;
    struct world *w;
    struct env_stream *es;
    struct buf in;
    uint64_t received;
    bool count_only, ended, closed;
};

static inline void client_data(void *ctx, struct slice bytes)
{
    struct client *c = ctx;
    c->received += bytes.n;
    if (!c->count_only)
        buf_append(&c->in, bytes);
}

static inline void client_end(void *ctx)
{
    struct client *c = ctx;
    c->ended = true;
}

static inline void client_closed(void *ctx, const struct err *why)
{
    struct client *c = ctx;
    (void)why;
    c->closed = c->ended = true;
    c->es = NULL;
}

static const struct env_stream_events client_events = {
    .on_data = client_data, .on_end = client_end, .on_close = client_closed};

static inline struct client *client_open_at(struct world *w, const struct env_addr *addr)
{
    struct client *c = MEM_NEW(struct client);
    c->w = w;
    c->es = env_connect(w->env, addr, NULL, &client_events, c);
    list_push(&w->clients, &c->node);
    return c;
}

static inline struct client *client_open(struct world *w)
{
    return client_open_at(w, &w->proxy);
}

static inline void client_send(struct client *c, const char *text)
{
    struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
    if (c->es)
        env_stream_write(c->es, &iov, 1);
}

static inline bool client_has(const struct client *c, const char *text)
{
    return slice_contains(buf_slice(&c->in), slice_of(text));
}

static inline void client_close(struct client *c)
{
    if (c->es)
        env_stream_close(c->es);
}

/* Sends a GET and waits for the head of the answer; returns its status. */
static inline int client_get(struct client *c, const char *path)
{
    char text[256];
    snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nhost: reviews\r\n\r\n", path);
    buf_clear(&c->in);
    client_send(c, text);
    UNTIL(c->w, client_has(c, "\r\n\r\n") || c->ended);
    struct slice in = buf_slice(&c->in);
    return in.n > 12 ? atoi(in.p + 9) : 0;
}

/* On a connection of its own. */
static inline int get(struct world *w, const char *path)
{
    struct client *c = client_open(w);
    int status = client_get(c, path);
    client_close(c);
    return status;
}

/* Looking inside. */

/* The value of the first series whose line holds both texts; -1 if there is none. */
static inline double metric_of(struct world *w, const char *name, const char *labels)
{
    struct metric_set *set = worker_metrics(w->worker);
    struct buf out = {0};
    double value = -1;
    metric_write_text(&set, 1, &out);
    buf_append_byte(&out, 0);
    for (char *line = out.p, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        if (strncmp(line, name, strlen(name)) == 0 && strstr(line, labels)) {
            value = strtod(strrchr(line, ' '), NULL);
            break;
        }
    }
    buf_fini(&out);
    return value;
}

static inline bool flag_seen(struct world *w, const char *flags)
{
    char label[64];
    snprintf(label, sizeof(label), "response_flags=\"%s\"", flags);
    return metric_of(w, "istio_requests_total", label) > 0;
}

static inline void world_end(struct world *w)
{
    LIST_EACH (&w->clients, n)
        client_close(container_of(n, struct client, node));
    worker_close(w->worker);
    UNTIL(w, worker_idle(w->worker));
    worker_free(w->worker);
    for (size_t i = 0; i < w->fake_n; i++)
        env_listener_close(w->fakes[i].listener);
    env_uv_free(w->env);
    struct list_node *n;
    while ((n = list_pop(&w->clients))) {
        struct client *c = container_of(n, struct client, node);
        buf_fini(&c->in);
        mem_free(c);
    }
    for (size_t i = 0; i < w->fake_n; i++)
        buf_fini(&w->fakes[i].last);
}

#endif
