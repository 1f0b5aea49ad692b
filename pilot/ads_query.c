#include <inttypes.h>
#include <stdatomic.h>

#include "api/any_types.h"
#include "base/core/assert.h"
#include "base/wire/json.h"
#include "base/wire/pb_json.h"
#include "pilot/ads_server_impl.h"

static const char *const status_names[] = {
    [ADS_SYNCED] = "SYNCED",
    [ADS_NOT_SENT] = "NOT_SENT",
    [ADS_STALE] = "STALE",
    [ADS_ERROR] = "ERROR",
};

static const char *const dialect_names[] = {
    [DIALECT_ENVOY] = "envoy",
    [DIALECT_GRPC] = "grpc",
    [DIALECT_WEFT] = "weft",
};

/* Small JSON. */

static void put_key(struct buf *b, const char *key)
{
    struct slice so_far = buf_slice(b);
    if (so_far.n && so_far.p[so_far.n - 1] != '{')
        buf_append_byte(b, ',');
    buf_printf(b, "\"%s\":", key);
}

static void put_str(struct buf *b, const char *key, struct slice value)
{
    if (!value.n)
        return;
    put_key(b, key);
    json_write_string(b, value);
}

static void put_u64(struct buf *b, const char *key, uint64_t value)
{
    put_key(b, key);
    buf_printf(b, "%" PRIu64, value);
}

static void put_comma(struct buf *b)
{
    struct slice so_far = buf_slice(b);
    if (so_far.n && so_far.p[so_far.n - 1] == '}')
        buf_append_byte(b, ',');
}

/* One proxy. */

struct tally {
    size_t n[4];
};

static void count_config(void *ctx, const struct ads_config *c)
{
    ((struct tally *)ctx)->n[c->status]++;
}

/* What a person wants to know first: an error, then whatever is not there yet. */
static enum ads_config_status worst(const struct tally *t, const struct ads_sub *sub)
{
    if (t->n[ADS_ERROR] || sub->sm.now == ADS_SUB_REJECTED)
        return ADS_ERROR;
    if (t->n[ADS_STALE] || (sub->inflight && sub->inflight->since))
        return ADS_STALE;
    return t->n[ADS_NOT_SENT] || sub->sm.now == ADS_SUB_WAITING ? ADS_NOT_SENT : ADS_SYNCED;
}

static void write_type(struct buf *b, const struct ads_sub *sub)
{
    struct tally t = {0};
    ads_sub_each(sub, count_config, &t);
    put_key(b, sub->type->short_name);
    buf_append_byte(b, '{');
    put_str(b, "status", slice_of(status_names[worst(&t, sub)]));
    put_u64(b, "evaluated", sub->evaluated);
    put_u64(b, "sent", sub->sent);
    put_u64(b, "acked", sub->acked);
    put_u64(b, "resources", t.n[ADS_SYNCED] + t.n[ADS_STALE] + t.n[ADS_NOT_SENT] + t.n[ADS_ERROR]);
    put_u64(b, "rejected", t.n[ADS_ERROR]);
    put_u64(b, "pushes", sub->pushes);
    put_u64(b, "acks", sub->acks);
    put_u64(b, "nacks", sub->nacks);
    if (sub->error)
        put_str(b, "error", ads_name_slice(sub->error));
    buf_append_byte(b, '}');
}

static void write_who(struct buf *b, struct ads_session *s)
{
    put_str(b, "name", s->name);
    put_str(b, "id", s->id);
    put_str(b, "namespace", s->ns);
    put_str(b, "address", s->address);
    put_str(b, "cluster", s->cluster_id);
    put_str(b, "agent", s->agent);
    put_str(b, "version", s->version);
    put_str(b, "admin", s->admin);
    put_str(b, "dialect", slice_of(dialect_names[s->dialect]));
    put_str(b, "variant", s->variant == XDS_DELTA ? S("delta") : S("sotw"));
    put_str(b, "server", s->worker->server->opt.identifier);
    put_u64(b, "connectedMs", (uint64_t)(env_now(s->worker->env) - s->connected_at));
    put_u64(b, "class", s->class_id);
    put_u64(b, "revision", ads_converged(s->ads));
}

static void write_proxy(struct buf *b, struct ads_session *s)
{
    put_comma(b);
    buf_append_byte(b, '{');
    write_who(b, s);
    put_key(b, "types");
    buf_append_byte(b, '{');
    for (size_t t = 0; t < XDS_TYPE_COUNT; t++) {
        const struct ads_sub *sub = ads_sub_of(s->ads, (enum xds_type)t);
        if (sub)
            write_type(b, sub);
    }
    buf_printf(b, "}}");
}

/* Its resources. */

struct listing {
    struct buf *b;
    const struct xds_type_info *type;
    bool bodies;
};

static void write_body(struct buf *b, const struct xds_type_info *type,
                       const struct xds_resource *r)
{
    struct arena scratch = {0};
    struct err err;
    const struct pb_json_options opt = {.types = &any_types};
    const ProtobufCMessage *m = pb_unpack(type->message, r->body, &scratch, &err);
    size_t before = b->n;
    put_key(b, "body");
    if (!m || !pb_json_print(m, &opt, b, &err)) {
        b->n = before; /* whatever of it was written */
        put_str(b, "bodyError", slice_of(err.msg));
    }
    arena_fini(&scratch);
}

static void write_config(void *ctx, const struct ads_config *c)
{
    struct listing *l = ctx;
    char text[XDS_VERSION_TEXT];
    put_comma(l->b);
    buf_append_byte(l->b, '{');
    put_str(l->b, "name", c->name);
    put_str(l->b, "version", xds_version_format(c->version, text));
    put_str(l->b, "status", slice_of(status_names[c->status]));
    put_str(l->b, "error", c->error);
    if (c->resource && c->resource->source_count) {
        put_key(l->b, "sources");
        buf_append_byte(l->b, '[');
        for (uint32_t i = 0; i < c->resource->source_count; i++) {
            if (i)
                buf_append_byte(l->b, ',');
            json_write_string(l->b, c->resource->sources[i]);
        }
        buf_append_byte(l->b, ']');
    }
    if (l->bodies && c->resource)
        write_body(l->b, l->type, c->resource);
    buf_append_byte(l->b, '}');
}

static void write_resources(struct buf *b, struct ads_session *s, const struct ads_query *q)
{
    buf_append_byte(b, '{');
    write_who(b, s);
    put_key(b, "types");
    buf_append_byte(b, '{');
    for (size_t t = 0; t < XDS_TYPE_COUNT; t++) {
        const struct ads_sub *sub = ads_sub_of(s->ads, (enum xds_type)t);
        struct listing l = {b, &xds_types[t], q->bodies};
        if (!sub || (q->type.n && !slice_eq(q->type, slice_of(xds_types[t].short_name))))
            continue;
        put_key(b, xds_types[t].short_name);
        buf_append_byte(b, '[');
        ads_sub_each(sub, write_config, &l);
        buf_append_byte(b, ']');
    }
    buf_printf(b, "}}");
}

void ads_query_write(struct ads_worker *w, const struct ads_query *q, struct buf *out, bool *found)
{
    LIST_EACH (&w->sessions, n) {
        struct ads_session *s = container_of(n, struct ads_session, node);
        if (!s->id.n || s->ended)
            continue;
        if (q->kind == ADS_QUERY_PROXIES) {
            write_proxy(out, s);
        } else if (!*found && (slice_eq(s->name, q->proxy) || slice_eq(s->id, q->proxy))) {
            *found = true;
            write_resources(out, s, q);
        }
    }
}

/* Asking the workers one after the other.
 *
 * The question travels from worker to worker and then home, so nothing is shared. */

struct trip {
    struct env_post post;
    struct ads_server *server;
    struct ads_query *q;
    size_t next;
    struct buf out;
    bool found;
};

static void on_home(struct env_post *post)
{
    struct trip *t = container_of(post, struct trip, post);
    struct ads_query *q = t->q;
    q->json = t->out;
    q->found = t->found;
    q->impl = NULL;
    mem_free(t);
    q->fn(q);
}

static void travel(struct trip *t);

static void on_worker(struct env_post *post)
{
    struct trip *t = container_of(post, struct trip, post);
    struct ads_worker *w = &t->server->workers[t->next++];
    ads_query_write(w, t->q, &t->out, &t->found);
    travel(t);
}

static void travel(struct trip *t)
{
    struct ads_server *s = t->server;
    bool more = t->next < s->worker_count;
    if (!more && t->q->kind == ADS_QUERY_PROXIES)
        buf_append_byte(&t->out, ']');
    t->post = (struct env_post){.fn = more ? on_worker : on_home};
    env_post(more ? s->workers[t->next].env : t->q->env, &t->post);
    if (!more)
        ads_server_trip_ended(s);
}

void ads_server_query(struct ads_server *s, struct ads_query *q)
{
    struct trip *t = MEM_NEW(struct trip);
    ads_server_trip_begins(s);
    t->server = s;
    t->q = q;
    q->impl = t;
    q->found = false;
    if (q->kind == ADS_QUERY_PROXIES)
        buf_append_byte(&t->out, '[');
    travel(t);
}
