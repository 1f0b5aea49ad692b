#include "proxy/app/proxy.h"

#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/env/env_uv.h"

/* Who we are. */

static struct slice label(const struct proxy_options *o, struct slice name)
{
    for (size_t i = 0; i < o->label_count; i++)
        if (slice_eq(o->labels[i][0], name))
            return o->labels[i][1];
    return S("");
}

static void metadata_add(struct proxy *p, struct slice key, struct slice value)
{
    wf_assert(p->node.metadata_count < PROXY_METADATA_MAX);
    p->metadata[p->node.metadata_count][0] = key;
    p->metadata[p->node.metadata_count++][1] = value;
}

/* Names of the metadata as Istio's agent sends them. */
static void proxy_identify(struct proxy *p)
{
    const struct proxy_options *o = &p->opt;
    char admin[ENV_ADDR_TEXT];
    p->node.id = arena_printf(&p->arena, "%.*s~%.*s~%.*s.%.*s~%.*s.svc.%.*s", SLICE(o->type),
                              SLICE(o->address), SLICE(o->name), SLICE(o->ns), SLICE(o->ns),
                              SLICE(o->domain));
    p->node.cluster = arena_printf(&p->arena, "%.*s.%.*s", SLICE(o->name), SLICE(o->ns));
    p->node.version = S(WEFT_VERSION);
    p->node.region = o->region;
    p->node.zone = o->zone;
    p->node.subzone = o->subzone;
    p->node.label_count = o->label_count;
    p->node.labels = (const struct slice(*)[2])o->labels;
    p->node.metadata = (const struct slice(*)[2])p->metadata;
    metadata_add(p, S("NAMESPACE"), o->ns);
    metadata_add(p, S("WORKLOAD_NAME"), o->name);
    metadata_add(p, S("CLUSTER_ID"), o->cluster_id);
    metadata_add(p, S("INTERCEPTION_MODE"), o->redirect ? S("REDIRECT") : S("NONE"));
    if (o->admin.len)
        metadata_add(p, S("WEFT_ADMIN"), arena_dup(&p->arena, env_addr_format(&o->admin, admin)));
}

static void conf_identify(const struct proxy *p, struct conf *c)
{
    struct slice app = label(&p->opt, S("app")), version = label(&p->opt, S("version"));
    struct slice canonical = label(&p->opt, S("service.istio.io/canonical-name"));
    c->node_id = p->node.id;
    c->ns = p->opt.ns;
    c->workload = p->opt.name;
    c->app = app;
    c->version = version;
    c->canonical = canonical.n ? canonical : app;
    c->cluster_id = p->opt.cluster_id;
}

/* Trees. */

static void proxy_apply(struct proxy *p);

/* before: what could not be bound until now. */
static void log_applied(const struct proxy *p, bool again, const char *before)
{
    const struct conf *c = p->active;
    const char *failed = p->client.failed;
    bool said = strcmp(failed, before) == 0;
    if (!again)
        LOG_INFO("proxy.applied", F_U64("generation", c->generation),
                 F_U64("listeners", c->listener_count), F_U64("clusters", c->cluster_count));
    if (!said && failed[0])
        LOG_WARN("proxy.not_bound", F_CSTR("err", failed));
    else if (!said)
        LOG_INFO("proxy.bound", F_U64("generation", c->generation));
}

/* The address may become free without any change of the configuration. */
static void on_rebind(struct env_timer *t)
{
    struct proxy *p = container_of(t, struct proxy, rebind);
    if (p->applying || p->draining)
        return;
    p->next = conf_ref(p->active);
    proxy_apply(p);
}

static void apply_finished(struct proxy *p)
{
    bool again = p->applying == p->active;
    char before[sizeof(p->client.failed)];
    memcpy(before, p->client.failed, sizeof(before));
    conf_unref(p->active);
    p->active = p->applying;
    p->applying = NULL;
    p->generation = p->active->generation;
    client_applied(&p->client, p->generation, &p->failures);
    log_applied(p, again, before);
    if (p->next)
        proxy_apply(p);
    else if (p->failures.list.n)
        env_timer_start(p->env, &p->rebind, PROXY_REBIND_MS);
}

static void on_applied(struct worker_update *u)
{
    struct proxy *p = u->ctx;
    if (p->stopping) /* its workers have ended; this came from one of them before */
        return;
    for (size_t i = 0; i < u->failures.list.n; i++)
        bind_failures_add(&p->failures, u->failures.list.p[i].name, &u->failures.list.p[i].why);
    bind_failures_fini(&u->failures);
    if (++p->replies == p->worker_count)
        apply_finished(p);
}

static void proxy_apply(struct proxy *p)
{
    p->applying = p->next;
    p->next = NULL;
    p->replies = 0;
    bind_failures_fini(&p->failures);
    for (size_t i = 0; i < p->worker_count; i++) {
        p->updates[i] = (struct worker_update){
            .conf = p->applying, .reply_to = p->env, .done = on_applied, .ctx = p};
        worker_update(p->workers[i], &p->updates[i]);
    }
}

static void on_conf(void *ctx, struct conf *take_conf)
{
    struct proxy *p = ctx;
    conf_identify(p, take_conf);
    conf_unref(p->next);
    p->next = take_conf;
    if (!p->applying)
        proxy_apply(p);
}

bool proxy_ready(const struct proxy *p)
{
    return client_live(&p->client) && !p->client.failed[0] && !p->failing_health && !p->draining;
}

/* Life. */

static bool workers_start(struct proxy *p, struct err *err)
{
    for (size_t i = 0; i < p->opt.workers; i++) {
        char name[32];
        snprintf(name, sizeof(name), "worker%zu", i);
        struct worker *w = worker_start(
            &(struct worker_options){
                .name = name, .hostname = p->opt.name, .access_log_off = p->opt.access_log_off},
            err);
        if (!w)
            return false;
        p->workers[p->worker_count++] = w;
    }
    return true;
}

static bool state_file(struct proxy *p, struct err *err)
{
    if (!p->opt.state_dir)
        return true;
    if (!env_dir_make(p->env, p->opt.state_dir, err))
        return err_wrap(err, "--state-dir");
    int n =
        snprintf(p->state_file, sizeof(p->state_file), "%s/last-known-good.weft", p->opt.state_dir);
    if (n < 0 || (size_t)n >= sizeof(p->state_file))
        return err_set(err, ERR_INVALID, "--state-dir: the name is too long");
    return true;
}

static void on_quit(struct env_timer *t)
{
    env_uv_stop(container_of(t, struct proxy, quit)->env);
}

bool proxy_start(struct proxy *p, struct env *env, const struct proxy_options *opt, struct err *err)
{
    *p = (struct proxy){.env = env, .opt = *opt, .quit.fn = on_quit, .rebind.fn = on_rebind};
    p->started_wall_ms = env_wall_ms(env);
    p->metrics = metric_set_new(1000);
    if (!p->opt.drain_time)
        p->opt.drain_time = 5000;
    wf_assert(opt->workers > 0 && opt->workers <= PROXY_WORKERS_MAX);
    proxy_identify(p);
    if (!state_file(p, err) || !workers_start(p, err) || (opt->admin.len && !admin_start(p, err)))
        return false;
    struct client_options co = {.env = env,
                                .server_count = opt->server_count,
                                .node = &p->node,
                                .metrics = p->metrics,
                                .state_file = p->state_file[0] ? p->state_file : NULL,
                                .on_conf = on_conf,
                                .ctx = p};
    memcpy(co.servers, opt->servers, sizeof(co.servers));
    client_start(&p->client, &co);
    return true;
}

struct drain_post {
    struct env_post post;
    struct worker *worker;
};

static void on_worker_drain(struct env_post *post)
{
    struct drain_post *d = container_of(post, struct drain_post, post);
    worker_drain(d->worker);
    mem_free(d);
}

void proxy_drain(struct proxy *p)
{
    if (p->draining)
        return;
    p->draining = true;
    LOG_INFO("proxy.drain", F_I64("ms", p->opt.drain_time));
    for (size_t i = 0; i < p->worker_count; i++) {
        struct drain_post *d = MEM_NEW(struct drain_post);
        *d = (struct drain_post){.post.fn = on_worker_drain, .worker = p->workers[i]};
        env_post(worker_env(p->workers[i]), &d->post);
    }
    env_timer_start(p->env, &p->quit, p->opt.drain_time);
}

void proxy_stop(struct proxy *p)
{
    p->stopping = true;
    env_timer_stop(p->env, &p->quit);
    env_timer_stop(p->env, &p->rebind);
    if (p->client.opt.env)
        client_close(&p->client);
    http_server_free(p->admin);
    for (size_t i = 0; i < p->worker_count; i++)
        worker_stop(p->workers[i]);
    for (size_t i = 0; i < p->worker_count; i++)
        bind_failures_fini(&p->updates[i].failures);
    bind_failures_fini(&p->failures);
    conf_unref(p->applying);
    conf_unref(p->next);
    conf_unref(p->active);
    metric_set_free(p->metrics);
    arena_fini(&p->arena);
}
