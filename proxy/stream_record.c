/* What is kept of a request when it has ended: metrics and a line of the access log. */
#include "base/core/assert.h"
#include "proxy/log_file.h"
#include "proxy/worker_int.h"
#include "proxy/stream.h"

struct slice stream_u64(struct arena *arena, uint64_t v)
{
    char *end = (char *)arena_alloc(arena, 20) + 20, *p = end;
    do
        *--p = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    return (struct slice){p, (size_t)(end - p)};
}

static uint64_t since(const struct stream *s, wf_ms then)
{
    return then > s->start ? (uint64_t)(then - s->start) * 1000000 : 0;
}

static enum record_protocol protocol_of(const struct stream *s)
{
    if (s->down->protocol == RECORD_HTTP11 && s->minor == 0)
        return RECORD_HTTP10;
    return s->down->protocol;
}

void stream_record_fill(const struct stream *s, struct record *r)
{
    wf_ms now = env_now(s->w->env);
    *r = (struct record){
        .start_wall_ms = env_wall_ms(s->w->env) - (now - s->start),
        .request_ns = since(s, s->request_done),
        .response_first_ns = since(s, s->response_first),
        .end_ns = since(s, now),
        .protocol = protocol_of(s),
        .request = &s->head,
        .original_path = s->original_path,
        .response = &s->response,
        .trailers = s->response_trailers,
        .status = s->status,
        .grpc = s->grpc,
        .grpc_status = s->grpc_status,
        .flags = s->flags,
        .details = s->details,
        .transport_failure = s->failure,
        .bytes_received = s->bytes_received,
        .bytes_sent = s->bytes_sent,
        .upstream_service_ms = s->service_ms,
        .has_upstream_service = s->has_service_ms,
        .upstream_host = s->host ? s->host->key : (struct slice){0},
        .upstream_cluster = s->weighted ? s->weighted->cluster : (struct slice){0},
        .route_name = s->route ? s->route->name : (struct slice){0},
        .hostname = s->w->hostname,
        .upstream_local = s->up_local.len ? &s->up_local : NULL,
        .downstream_local = s->down_es ? env_stream_local(s->down_es) : NULL,
        .downstream_remote = s->down_es ? env_stream_peer(s->down_es) : NULL,
        .attempts = s->attempts,
        .connection_id = s->connection_id,
    };
}

/* Only what metrics read: the hot path asks for no address and no wall clock. */
static void record_counts(const struct stream *s, struct record *r)
{
    *r = (struct record){.end_ns = since(s, env_now(s->w->env)),
                         .status = s->status,
                         .grpc = s->grpc,
                         .grpc_status = s->grpc_status,
                         .flags = s->flags,
                         .bytes_received = s->bytes_received,
                         .bytes_sent = s->bytes_sent};
}

static void count(struct stream *s)
{
    static const struct metrics_party unknown;
    struct record r;
    struct worker *w = s->w;
    const struct cluster *c = s->cluster ? s->cluster->conf : NULL;
    struct metrics_party target = host_party(s->host);
    struct metrics_labels labels = {
        .destination = s->listener->inbound,
        .source = s->listener->inbound ? &unknown : NULL,
        .target = s->listener->inbound ? NULL : &target,
        .service_host = c && c->service_host.n ? c->service_host : s->authority,
        .service_name = c ? c->service_name : (struct slice){0},
        .service_ns = c ? c->service_ns : (struct slice){0},
    };
    record_counts(s, &r);
    if (!c) /* a name that a client made up would be a label without bound */
        labels.service_host = S("");
    struct metrics_cache *cache = s->host      ? &s->host->cells
                                  : s->cluster ? &s->cluster->cells
                                               : &w->no_host;
    metrics_request(w->metrics, cache, &labels, &r);
}

static void log_line(struct stream *s)
{
    struct record r;
    if (!s->wl->log || !s->wl->file)
        return;
    stream_record_fill(s, &r);
    if (!access_log_line(s->wl->log, &r, log_file_buf(s->wl->file)))
        metric_add(s->w->stats.log_dropped, 1);
}

void stream_record(struct stream *s)
{
    if (s->recorded || !s->head.method.n) /* a head that never came is no request */
        return;
    s->recorded = true;
    stats_class_add(s->wl->stats.rq_xx, s->status);
    count(s);
    log_line(s);
}
