/* What the codecs cost, without sockets:
 *   parse    an HTTP/1 request head of 373 bytes and nine fields; goal 150 ns
 *   h2       a gRPC-shaped request and its answer of 1 KiB through an HTTP/2 proxy in memory:
 *            client -> (server, client) -> server, 16 streams at a time, one flush a turn.
 *            The figure is the whole of four sessions; a proxy's own share is half of it.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/core/assert.h"
#include "base/wire/h2.h"
#include "base/wire/http1.h"

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static const char head[] = "GET /api/v2/products/42/reviews?limit=20&offset=40 HTTP/1.1\r\n"
                           "Host: reviews.default.svc.cluster.local:9080\r\n"
                           "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:115.0)\r\n"
                           "Accept: application/json, text/plain\r\n"
                           "Accept-Encoding: gzip, deflate, br\r\n"
                           "X-Request-Id: 7a3c2f1e-95f7-9d2c-8b1e-2f3c4d5e6f70\r\n"
                           "X-Forwarded-For: 10.1.2.3\r\n"
                           "X-Forwarded-Proto: http\r\n"
                           "Connection: keep-alive\r\n"
                           "\r\n";

static void bench_parse(void)
{
    enum { ROUNDS = 1000000 };
    struct arena a = {0};
    struct http1_head h;
    uint64_t best = UINT64_MAX;
    for (int run = 0; run < 5; run++) {
        uint64_t t = now_ns();
        for (int i = 0; i < ROUNDS; i++) {
            struct http1_progress at = {0};
            arena_reset(&a);
            wf_assert(http1_parse_request(&at, slice_mem(head, sizeof(head) - 1), NULL, &a, &h) ==
                      HTTP1_DONE);
        }
        t = now_ns() - t;
        best = t < best ? t : best;
    }
    printf("parse: %zu bytes, %u fields: %.0f ns\n", sizeof(head) - 1, h.http.headers.n + 1,
           (double)best / ROUNDS);
    arena_fini(&a);
}

/* Client -> proxy -> server. */

struct hop {
    struct h2 *h2;
    struct proxy *proxy;
};

struct proxy {
    struct hop client, down, up, server;
    uint32_t done, to_do, flying;
    struct arena arena;
};

/* A request on its way through the proxy. */
struct relay {
    int32_t down, up;
    char body[2048];
    size_t n;
    bool end, trailers_ready;
    struct headers trailers;
    struct relay *next;
};
static struct relay pool[256];
static struct relay *free_relays;

static struct http_head request_head(struct arena *a)
{
    struct http_head h = {.method = S("POST"),
                          .scheme = S("http"),
                          .authority = S("reviews.default:9080"),
                          .path = S("/test.Reviews/Get"),
                          .method_id = HTTP_POST};
    headers_add(&h.headers, a, HDR_TE, S("trailers"));
    headers_add(&h.headers, a, HDR_CONTENT_TYPE, S("application/grpc"));
    headers_add(&h.headers, a, HDR_USER_AGENT, S("grpc-go/1.60.0"));
    headers_add(&h.headers, a, HDR_GRPC_TIMEOUT, S("4999m"));
    return h;
}

static void client_more(struct proxy *p)
{
    while (p->flying < 16 && p->done + p->flying < p->to_do) {
        struct http_head h = request_head(&p->arena);
        wf_assert(h2_request(p->client.h2, &h, true, NULL) > 0);
        arena_reset(&p->arena);
        p->flying++;
    }
}

static enum h2_read client_read(void *ctx, int32_t id, void *user, char *dst, size_t n, size_t *ret)
{
    (void)ctx, (void)id, (void)user, (void)n;
    memset(dst, 1, 30);
    *ret = 30;
    return H2_READ_END;
}

static void client_headers(void *ctx, int32_t id, void *user, enum h2_kind kind,
                           struct http_head *h, bool end)
{
    (void)ctx, (void)id, (void)user, (void)kind, (void)h, (void)end;
}

static void client_data(void *ctx, int32_t id, void *user, struct slice bytes, bool end)
{
    struct hop *hop = ctx;
    (void)user, (void)end;
    h2_consume(hop->h2, id, bytes.n);
}

static void client_close(void *ctx, int32_t id, void *user, uint32_t code)
{
    struct hop *hop = ctx;
    (void)id, (void)user;
    wf_assert(code == 0);
    hop->proxy->done++;
    hop->proxy->flying--;
}

static void server_headers(void *ctx, int32_t id, void *user, enum h2_kind kind,
                           struct http_head *h, bool end)
{
    (void)ctx, (void)id, (void)user, (void)kind, (void)h, (void)end;
}

static void server_data(void *ctx, int32_t id, void *user, struct slice bytes, bool end)
{
    struct hop *hop = ctx;
    (void)user;
    h2_consume(hop->h2, id, bytes.n);
    if (!end)
        return;
    struct http_head h = {.status = 200};
    headers_add(&h.headers, &hop->proxy->arena, HDR_CONTENT_TYPE, S("application/grpc"));
    h2_respond(hop->h2, id, &h, true);
    arena_reset(&hop->proxy->arena);
}

static enum h2_read server_read(void *ctx, int32_t id, void *user, char *dst, size_t n, size_t *ret)
{
    struct hop *hop = ctx;
    (void)user, (void)n;
    struct headers t = {0};
    memset(dst, 2, 1024);
    *ret = 1024;
    headers_add(&t, &hop->proxy->arena, HDR_GRPC_STATUS, S("0"));
    h2_trailers(hop->h2, id, &t);
    arena_reset(&hop->proxy->arena);
    return H2_READ_TRAILERS;
}

static void down_headers(void *ctx, int32_t id, void *user, enum h2_kind kind, struct http_head *h,
                         bool end)
{
    struct hop *hop = ctx;
    (void)user, (void)kind, (void)end;
    struct relay *r = free_relays;
    free_relays = r->next;
    r->n = 0;
    r->end = r->trailers_ready = false;
    r->down = id;
    r->up = h2_request(hop->proxy->up.h2, h, true, r);
    h2_set_user(hop->h2, id, r);
}

static void take(struct relay *r, struct slice bytes, bool end)
{
    wf_assert(r->n + bytes.n <= sizeof(r->body));
    if (bytes.n)
        memcpy(r->body + r->n, bytes.p, bytes.n);
    r->n += bytes.n;
    r->end |= end;
}

static void down_data(void *ctx, int32_t id, void *user, struct slice bytes, bool end)
{
    struct hop *hop = ctx;
    struct relay *r = user;
    take(r, bytes, end);
    h2_consume(hop->h2, id, bytes.n);
    h2_resume(hop->proxy->up.h2, r->up);
}

static enum h2_read relay_read(struct relay *r, char *dst, size_t *ret)
{
    memcpy(dst, r->body, r->n);
    *ret = r->n;
    r->n = 0;
    if (r->end) {
        r->end = false;
        return H2_READ_END;
    }
    return *ret ? H2_READ_SOME : H2_READ_WAIT;
}

static enum h2_read up_read(void *ctx, int32_t id, void *user, char *dst, size_t n, size_t *ret)
{
    (void)ctx, (void)id, (void)n;
    return relay_read(user, dst, ret);
}

static void up_headers(void *ctx, int32_t id, void *user, enum h2_kind kind, struct http_head *h,
                       bool end)
{
    struct hop *hop = ctx;
    struct relay *r = user;
    (void)id, (void)end;
    if (kind == H2_RESPONSE) {
        h2_respond(hop->proxy->down.h2, r->down, h, true);
        return;
    }
    headers_copy(&r->trailers, &hop->proxy->arena, &h->headers, true);
    r->trailers_ready = true;
    h2_resume(hop->proxy->down.h2, r->down);
}

static void up_data(void *ctx, int32_t id, void *user, struct slice bytes, bool end)
{
    struct hop *hop = ctx;
    struct relay *r = user;
    take(r, bytes, end);
    h2_consume(hop->h2, id, bytes.n);
    h2_resume(hop->proxy->down.h2, r->down);
}

static enum h2_read down_read(void *ctx, int32_t id, void *user, char *dst, size_t n, size_t *ret)
{
    struct hop *hop = ctx;
    struct relay *r = user;
    (void)n;
    enum h2_read res = relay_read(r, dst, ret);
    if (res == H2_READ_END || !r->trailers_ready)
        return res;
    h2_trailers(hop->h2, id, &r->trailers);
    return H2_READ_TRAILERS;
}

static void down_close(void *ctx, int32_t id, void *user, uint32_t code)
{
    struct relay *r = user;
    (void)ctx, (void)id;
    wf_assert(code == 0);
    r->next = free_relays;
    free_relays = r;
}

static const struct h2_events client_events = {.on_headers = client_headers,
                                               .on_data = client_data,
                                               .on_read = client_read,
                                               .on_close = client_close};
static const struct h2_events server_events = {
    .on_headers = server_headers, .on_data = server_data, .on_read = server_read};
static const struct h2_events down_events = {
    .on_headers = down_headers, .on_data = down_data, .on_read = down_read, .on_close = down_close};
static const struct h2_events up_events = {
    .on_headers = up_headers, .on_data = up_data, .on_read = up_read};

static bool move_bytes(struct hop *from, struct hop *to, struct buf *out)
{
    buf_clear(out);
    h2_send(from->h2, out, 65536, NULL);
    if (out->n)
        wf_assert(h2_recv(to->h2, 0, buf_slice(out), NULL));
    return out->n > 0;
}

static void bench_h2(void)
{
    enum { REQUESTS = 300000 };
    struct proxy p = {.to_do = REQUESTS};
    struct buf out = {0};
    for (size_t i = 0; i < ARRAY_LEN(pool); i++) {
        pool[i].next = free_relays;
        free_relays = &pool[i];
    }
    struct hop *hops[] = {&p.client, &p.down, &p.up, &p.server};
    for (size_t i = 0; i < ARRAY_LEN(hops); i++)
        hops[i]->proxy = &p;
    p.client.h2 = h2_client_new(NULL, &client_events, &p.client);
    p.down.h2 = h2_server_new(NULL, &down_events, &p.down);
    p.up.h2 = h2_client_new(NULL, &up_events, &p.up);
    p.server.h2 = h2_server_new(NULL, &server_events, &p.server);
    uint64_t t = now_ns();
    while (p.done < p.to_do) {
        client_more(&p);
        move_bytes(&p.client, &p.down, &out);
        move_bytes(&p.up, &p.server, &out);
        move_bytes(&p.server, &p.up, &out);
        move_bytes(&p.down, &p.client, &out);
    }
    t = now_ns() - t;
    printf("h2: four sessions: %.2f us a request; a proxy's two: %.2f us\n",
           (double)t / REQUESTS / 1000, (double)t / REQUESTS / 2000);
    for (size_t i = 0; i < ARRAY_LEN(hops); i++)
        h2_free(hops[i]->h2);
    buf_fini(&out);
    arena_fini(&p.arena);
}

int main(void)
{
    bench_parse();
    bench_h2();
    return 0;
}
