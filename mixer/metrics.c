#include "mixer/metrics.h"

#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"

static const struct metric_def requests_def = {
    "istio_requests_total", METRIC_COUNTER, "Requests by source, destination and outcome", NULL, 0};
static const struct metric_def opened_def = {"istio_tcp_connections_opened_total", METRIC_COUNTER,
                                             "TCP connections opened", NULL, 0};
static const struct metric_def closed_def = {"istio_tcp_connections_closed_total", METRIC_COUNTER,
                                             "TCP connections closed", NULL, 0};
static const struct metric_def sent_def = {"istio_tcp_sent_bytes_total", METRIC_COUNTER,
                                           "Bytes sent to the client of TCP connections", NULL, 0};
static const struct metric_def received_def = {"istio_tcp_received_bytes_total", METRIC_COUNTER,
                                               "Bytes received from the client of TCP connections",
                                               NULL, 0};

enum cell_kind { CELL_HTTP, CELL_TCP };

/* The series of one combination. key: what tells combinations of one destination apart. */
struct metrics_cell {
    uint64_t key;
    union {
        struct {
            struct metric *requests, *duration, *request_bytes, *response_bytes;
        };
        struct {
            struct metric *opened, *closed, *sent, *received;
        };
    };
};

struct metrics {
    struct metric_set *set;
    struct arena arena; /* self's strings */
    struct metrics_party self;
    struct metric_def duration_def, request_bytes_def, response_bytes_def;
};

static void self_copy(struct metrics *m, const struct metrics_party *self)
{
    struct arena *a = &m->arena;
    arena_reset(a);
    m->self = (struct metrics_party){
        .workload = arena_dup(a, self->workload),
        .ns = arena_dup(a, self->ns),
        .app = arena_dup(a, self->app),
        .version = arena_dup(a, self->version),
        .canonical = arena_dup(a, self->canonical),
        .revision = arena_dup(a, self->revision),
        .cluster = arena_dup(a, self->cluster),
        .principal = arena_dup(a, self->principal),
    };
}

struct metrics *metrics_new(struct metric_set *set, const struct metrics_party *self)
{
    struct metrics *m = MEM_NEW(struct metrics);
    m->set = set;
    struct metric_def histogram = {.kind = METRIC_HISTOGRAM,
                                   .buckets = metric_buckets_ms,
                                   .bucket_count = metric_buckets_ms_count};
    m->duration_def = m->request_bytes_def = m->response_bytes_def = histogram;
    m->duration_def.name = "istio_request_duration_milliseconds";
    m->duration_def.help = "Time from the first byte of a request to the last of its response";
    m->request_bytes_def.name = "istio_request_bytes";
    m->request_bytes_def.help = "Body bytes of requests";
    m->response_bytes_def.name = "istio_response_bytes";
    m->response_bytes_def.help = "Body bytes of responses";
    self_copy(m, self);
    return m;
}

void metrics_set_self(struct metrics *m, const struct metrics_party *self)
{
    self_copy(m, self);
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    arena_fini(&m->arena);
    mem_free(m);
}

void metrics_cache_clear(struct metrics_cache *cache)
{
    mem_free(cache->cells);
    *cache = (struct metrics_cache){0};
}

/* Labels. */

#define LABELS_MAX 32

struct label_list {
    struct metric_label items[LABELS_MAX];
    size_t n;
};

static void label(struct label_list *l, struct slice name, struct slice value)
{
    wf_assert(l->n < LABELS_MAX);
    l->items[l->n++] = (struct metric_label){name, value.n ? value : S("unknown")};
}

static void party_labels(struct label_list *l, const struct metrics_party *p, bool source)
{
#define SIDE(suffix) (source ? S("source_" suffix) : S("destination_" suffix))
    label(l, SIDE("workload"), p->workload);
    label(l, SIDE("workload_namespace"), p->ns);
    label(l, SIDE("principal"), p->principal);
    label(l, SIDE("app"), p->app);
    label(l, SIDE("version"), p->version);
    label(l, SIDE("canonical_service"), p->canonical);
    label(l, SIDE("canonical_revision"), p->revision.n ? p->revision : S("latest"));
    label(l, SIDE("cluster"), p->cluster);
#undef SIDE
}

static void common_labels(const struct metrics *m, struct label_list *l,
                          const struct metrics_labels *in)
{
    label(l, S("reporter"), in->destination ? S("destination") : S("source"));
    party_labels(l, in->source ? in->source : &m->self, true);
    party_labels(l, in->target ? in->target : &m->self, false);
    label(l, S("destination_service"), in->service_host);
    label(l, S("destination_service_name"),
          in->service_name.n ? in->service_name : in->service_host);
    label(l, S("destination_service_namespace"), in->service_ns);
    label(l, S("connection_security_policy"),
          !in->destination ? S("unknown")
          : in->mutual_tls ? S("mutual_tls")
                           : S("none"));
}

static void http_cell(struct metrics *m, struct metrics_cell *c, const struct metrics_labels *in,
                      const struct record *r)
{
    char code[8], grpc[8], flags[RECORD_FLAGS_TEXT * 5];
    struct label_list l = {.n = 0};
    common_labels(m, &l, in);
    snprintf(code, sizeof(code), "%u", r->status);
    snprintf(grpc, sizeof(grpc), "%d", r->grpc_status);
    label(&l, S("request_protocol"), r->grpc ? S("grpc") : S("http"));
    label(&l, S("response_code"), slice_of(code));
    label(&l, S("response_flags"), record_flags_text(r->flags, false, flags));
    if (r->grpc)
        label(&l, S("grpc_response_status"), r->grpc_status >= 0 ? slice_of(grpc) : S(""));
    c->requests = metric_get(m->set, &requests_def, l.n, l.items);
    c->duration = metric_get(m->set, &m->duration_def, l.n, l.items);
    c->request_bytes = metric_get(m->set, &m->request_bytes_def, l.n, l.items);
    c->response_bytes = metric_get(m->set, &m->response_bytes_def, l.n, l.items);
}

static void tcp_cell(struct metrics *m, struct metrics_cell *c, const struct metrics_labels *in,
                     const struct record *r)
{
    char flags[RECORD_FLAGS_TEXT * 5];
    struct label_list l = {.n = 0};
    common_labels(m, &l, in);
    label(&l, S("request_protocol"), S("tcp"));
    label(&l, S("response_flags"), record_flags_text(r ? r->flags : 0, false, flags));
    c->opened = metric_get(m->set, &opened_def, l.n, l.items);
    c->closed = metric_get(m->set, &closed_def, l.n, l.items);
    c->sent = metric_get(m->set, &sent_def, l.n, l.items);
    c->received = metric_get(m->set, &received_def, l.n, l.items);
}

/* Cells. */

static struct metrics_cell *cell_find(struct metrics_cache *cache, uint64_t key)
{
    if (cache->n && cache->cells[cache->last].key == key)
        return &cache->cells[cache->last];
    for (uint32_t i = 0; i < cache->n; i++) {
        if (cache->cells[i].key == key) {
            cache->last = i;
            return &cache->cells[i];
        }
    }
    return NULL;
}

static struct metrics_cell *cell_add(struct metrics_cache *cache, uint64_t key)
{
    if (cache->n ==
        METRICS_CELLS_MAX) /* a peer that varies its codes: reuse, the set keeps the sum */
        cache->n--;
    if (cache->n == cache->cap) {
        cache->cap = cache->cap ? cache->cap * 2 : 4;
        cache->cells = mem_resize(cache->cells, cache->cap * sizeof(*cache->cells));
    }
    cache->last = cache->n++;
    cache->cells[cache->last] = (struct metrics_cell){.key = key};
    return &cache->cells[cache->last];
}

/* status 10 bits, gRPC 6, kind and reporter 3, TLS 1, flags 32: one word. */
static uint64_t cell_key(enum cell_kind kind, const struct metrics_labels *in,
                         const struct record *r)
{
    uint64_t key = (uint64_t)kind | (in->destination ? 2u : 0) | (in->mutual_tls ? 4u : 0);
    if (!r)
        return key;
    uint64_t grpc = !r->grpc ? 0 : r->grpc_status < 0 ? 1 : (uint64_t)(r->grpc_status % 60) + 2;
    return key | grpc << 4 | (uint64_t)(r->status & 1023) << 10 | (uint64_t)r->flags << 32;
}

void metrics_request(struct metrics *m, struct metrics_cache *cache,
                     const struct metrics_labels *labels, const struct record *r)
{
    uint64_t key = cell_key(CELL_HTTP, labels, r);
    struct metrics_cell *c = cell_find(cache, key);
    if (!c) {
        c = cell_add(cache, key);
        http_cell(m, c, labels, r);
    }
    metric_add(c->requests, 1);
    metric_observe(c->duration, (double)(r->end_ns / 1000000));
    metric_observe(c->request_bytes, (double)r->bytes_received);
    metric_observe(c->response_bytes, (double)r->bytes_sent);
}

static struct metrics_cell *tcp_find(struct metrics *m, struct metrics_cache *cache,
                                     const struct metrics_labels *labels, const struct record *r)
{
    uint64_t key = cell_key(CELL_TCP, labels, r);
    struct metrics_cell *c = cell_find(cache, key);
    if (!c) {
        c = cell_add(cache, key);
        tcp_cell(m, c, labels, r);
    }
    return c;
}

void metrics_tcp(struct metrics *m, struct metrics_cache *cache,
                 const struct metrics_labels *labels, const struct record *r, enum metrics_tcp what)
{
    struct metrics_cell *c = tcp_find(m, cache, labels, r);
    metric_add(what == METRICS_TCP_OPENED ? c->opened : c->closed, 1);
}

void metrics_tcp_bytes(struct metrics *m, struct metrics_cache *cache,
                       const struct metrics_labels *labels, uint64_t sent, uint64_t received)
{
    struct metrics_cell *c = tcp_find(m, cache, labels, NULL);
    metric_add(c->sent, sent);
    metric_add(c->received, received);
}
