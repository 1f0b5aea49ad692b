#include <string.h>

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/core/log.h"
#include "pilot/ads/ads_limits.h"
#include "pilot/ads_server_impl.h"

/* A response on its way out. */
struct push {
    struct list_node node;
    struct grpc_source src;
    struct ads_encoder enc;
    struct ads_response *response;
    struct ads_session *session; /* NULL: the stream is gone */
};

static void handle(struct ads_session *s, const struct ads_event *ev);

static wf_ms now_of(const struct ads_session *s)
{
    return env_now(s->worker->env);
}

/* Out. */

static void push_read(struct grpc_source *src, char *dst, size_t n)
{
    ads_encoder_read(&container_of(src, struct push, src)->enc, dst, n);
}

static void push_done(struct grpc_source *src, bool sent)
{
    struct push *p = container_of(src, struct push, src);
    struct ads_session *s = p->session;
    list_remove(&p->node);
    ads_encoder_fini(&p->enc);
    ads_response_unref(p->response);
    mem_free(p);
    if (s && sent)
        handle(s, &(struct ads_event){.kind = ADS_WRITTEN});
}

static void push(struct ads_session *s, struct ads_response *r)
{
    struct ads_metrics *m = &s->worker->metrics;
    struct slice identifier = s->worker->server->opt.identifier;
    if (r->type) {
        metric_add(m->pushes[r->type->type], 1);
        metric_observe(m->bytes[r->type->type], (double)r->bytes);
    }
    struct push *p = MEM_NEW(struct push);
    p->session = s;
    p->response = ads_response_ref(r);
    p->src = (struct grpc_source){
        .bytes = (uint32_t)ads_encoder_size(r, identifier), .read = push_read, .done = push_done};
    ads_encoder_init(&p->enc, r, identifier);
    list_push(&s->pushes, &p->node);
    /* At most one a type is under way, so it is refused only by a stream that is ending. */
    if (!grpc_stream_send(s->stream, &p->src))
        push_done(&p->src, false);
}

/* Convergence. */

struct reject_list {
    struct convergence_reject *v;
    char (*versions)[XDS_VERSION_TEXT];
    size_t n;
};

static void on_rejected(void *ctx, const struct xds_type_info *type, const struct ads_dev *dev)
{
    struct reject_list *l = ctx;
    if (l->n == CONVERGENCE_PER_PROXY_MAX)
        return;
    size_t i = l->n++;
    l->v[i] = (struct convergence_reject){
        .type = type->short_name,
        .resource = ads_name_slice(dev->name),
        .version = xds_version_format(dev->version, l->versions[i]),
        .message = dev->error ? ads_name_slice(dev->error) : (struct slice){0},
        .sources = dev->old ? dev->old->sources : NULL,
        .source_count = dev->old ? dev->old->source_count : 0};
}

static void report(struct ads_session *s)
{
    struct convergence *c = s->worker->server->opt.convergence;
    if (!c || !s->proxy)
        return;
    struct convergence_reject v[CONVERGENCE_PER_PROXY_MAX];
    char versions[CONVERGENCE_PER_PROXY_MAX][XDS_VERSION_TEXT];
    struct reject_list l = {v, versions, 0};
    ads_each_rejected(s->ads, on_rejected, &l);
    wf_ms now = (wf_ms)(env_now_ns(s->worker->env) / 1000000);
    wf_ms took =
        convergence_update(c, s->proxy, now, ads_converged(s->ads), ads_settled(s->ads), v, l.n);
    if (took >= 0)
        metric_observe(s->worker->metrics.convergence_time, (double)took / 1000);
}

/* Who it is. */

static struct slice keep(char **at, struct slice text)
{
    struct slice out = {*at, text.n};
    if (text.n)
        memcpy(*at, text.p, text.n);
    *at += text.n;
    return out;
}

static void remember(struct ads_session *s, const struct ads_node *n)
{
    const struct proxy_class_input *in = &n->class_input;
    size_t bytes = n->id.n + n->name.n + n->agent.n + n->version.n + in->address.n + n->admin.n +
                   n->cluster_id.n + in->ns.n;
    char *at = s->text = mem_new(bytes + 1);
    s->id = keep(&at, n->id);
    s->name = keep(&at, n->name);
    s->agent = keep(&at, n->agent);
    s->version = keep(&at, n->version);
    s->address = keep(&at, in->address);
    s->admin = keep(&at, n->admin);
    s->cluster_id = keep(&at, n->cluster_id);
    s->ns = keep(&at, in->ns);
    s->dialect = in->dialect;
}

static void identified(struct ads_session *s, const struct ads_node *n)
{
    struct ads_server_options *opt = &s->worker->server->opt;
    remember(s, n);
    s->class_id = compiler_class_acquire(opt->compiler, &n->class_input);
    s->has_class = true;
    if (opt->convergence)
        s->proxy = convergence_join(opt->convergence, s->name, hash_bytes(s->id));
    LOG_INFO("ads.connected", F_STR("node", s->id), F_STR("agent", s->agent),
             F_U64("class", s->class_id));
    ads_session_snapshot(s);
}

/* The core's actions. */

static void log_nacks(struct ads_session *s, const struct ads_out *out)
{
    for (size_t i = 0; i < out->nacks.n; i++) {
        const struct ads_nack *n = &out->nacks.p[i];
        struct slice type = n->type ? slice_of(n->type->short_name) : S("?");
        LOG_WARN("ads.nack", F_STR("node", s->id), F_STR("type", type),
                 F_STR("resource", n->resource ? n->resource->name : S("?")),
                 F_U64("revision", n->revision), F_STR("message", n->error));
        if (i == 0 && n->type) { /* one response was rejected */
            metric_add(s->worker->metrics.rejects[n->type->type], 1);
            metric_add(s->worker->metrics.nacks[n->type->type], 1);
        }
    }
}

static void rearm(struct ads_session *s)
{
    wf_ms at = ads_deadline(s->ads), now = now_of(s);
    if (!at)
        env_timer_stop(s->worker->env, &s->timer);
    else
        env_timer_start(s->worker->env, &s->timer, at > now ? at - now : 0);
}

static void act(struct ads_session *s, struct ads_out *out)
{
    if (out->stale_nonces)
        metric_add(s->worker->metrics.expired_nonce, out->stale_nonces);
    log_nacks(s, out);
    for (size_t i = 0; i < out->responses.n; i++)
        push(s, out->responses.p[i]);
    if (out->progress)
        report(s);
    if (out->closed && !s->ended) {
        s->ended = true;
        grpc_stream_finish(s->stream, out->status, slice_of(out->reason));
    }
}

static void handle(struct ads_session *s, const struct ads_event *ev)
{
    struct ads_out out = {0};
    if (s->ended)
        return;
    ads_step(s->ads, now_of(s), ev, &out);
    if (out.identified)
        identified(s, ev->request->node);
    act(s, &out);
    ads_out_reset(&out);
    if (!s->ended)
        rearm(s);
}

static void on_timer(struct env_timer *t)
{
    handle(container_of(t, struct ads_session, timer), &(struct ads_event){.kind = ADS_TICK});
}

void ads_session_snapshot(struct ads_session *s)
{
    struct xds_snapshot *snap = s->worker->snapshot;
    if (!s->has_class || !snap)
        return;
    struct xds_view *view = xds_snapshot_view(snap, s->class_id);
    if (!view || (view == s->view && snap->revision == s->revision))
        return;
    s->view = view;
    s->revision = snap->revision;
    handle(s, &(struct ads_event){.kind = ADS_SNAPSHOT, .view = view, .revision = snap->revision});
}

void ads_session_drain(struct ads_session *s)
{
    handle(s, &(struct ads_event){.kind = ADS_DRAIN});
}

/* The stream. */

static void refuse(struct ads_session *s, const struct err *err)
{
    metric_add(s->worker->metrics.malformed, 1);
    LOG_WARN("ads.malformed", F_STR("node", s->id), F_ERR(err));
    s->ended = true;
    grpc_stream_fail(s->stream, err);
}

static void on_message(void *user, struct slice message)
{
    struct ads_session *s = user;
    struct ads_request req;
    struct err err;
    if (s->ended)
        return;
    struct arena *scratch = &s->worker->scratch;
    if (ads_request_parse(message, s->variant, scratch, &req, &err))
        handle(s, &(struct ads_event){.kind = ADS_REQUEST, .request = &req});
    else
        refuse(s, &err);
    arena_reset(scratch);
}

static void on_half_close(void *user)
{
    struct ads_session *s = user;
    if (s->ended)
        return;
    s->ended = true;
    grpc_stream_finish(s->stream, GRPC_OK, (struct slice){0});
}

static void on_close(void *user, int status, struct slice message)
{
    struct ads_session *s = user;
    struct ads_worker *w = s->worker;
    (void)message;
    if (s->id.n)
        LOG_INFO("ads.closed", F_STR("node", s->id), F_I64("status", status));
    LIST_EACH (&s->pushes, n)
        container_of(n, struct push, node)->session = NULL;
    if (s->proxy)
        convergence_leave(w->server->opt.convergence, s->proxy);
    if (s->has_class)
        compiler_class_release(w->server->opt.compiler, s->class_id);
    env_timer_stop(w->env, &s->timer);
    ads_free(s->ads);
    list_remove(&s->node);
    w->session_count--;
    ads_worker_stir(w);
    metric_set_value(w->metrics.connected, w->session_count);
    mem_free(s->text);
    mem_free(s);
}

const struct grpc_stream_events ads_session_events = {
    .on_message = on_message,
    .on_half_close = on_half_close,
    .on_close = on_close,
};

void *ads_session_open(void *ctx, struct grpc_stream *stream, const struct http_head *head,
                       wf_ms timeout)
{
    const struct ads_path *path = ctx;
    struct ads_worker *w = path->worker;
    uint32_t salt;
    (void)head;
    (void)timeout;
    env_random(w->env, &salt, sizeof(salt));
    struct ads_session *s = MEM_NEW(struct ads_session);
    s->worker = w;
    s->stream = stream;
    s->variant = path->variant;
    s->timer.fn = on_timer;
    s->connected_at = env_now(w->env);
    list_init(&s->pushes);
    s->ads = ads_new(&(struct ads_options){
        .names = &w->names, .variant = path->variant, .type = path->type, .nonce_salt = salt});
    list_push(&w->sessions, &s->node);
    w->session_count++;
    ads_worker_stir(w);
    metric_set_value(w->metrics.connected, w->session_count);
    if (w->session_count > ADS_SERVER_SESSIONS_MAX) {
        metric_add(w->metrics.refused, 1);
        s->ended = true;
        grpc_stream_finish(stream, GRPC_RESOURCE_EXHAUSTED,
                           S("this worker has as many streams as it may"));
    }
    return s;
}
