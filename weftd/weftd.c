#include "weftd/weftd.h"

#include <stdio.h>
#include <string.h>

#include "api/status.h"
#include "base/core/hash.h"
#include "base/core/log.h"
#include "base/env/env_uv.h"

#define SEED_RETRY_MS 1000

/* The namespaces that are always there. */

static const char *const seed_names[] = {"default", "istio-system"};

static void seed_done(struct reg_write *w)
{
    struct weftd *d = container_of(w, struct weftd, seed_write);
    bool there = w->err.code == ERR_NONE || w->err.code == ERR_EXISTS;
    if (!there && !d->stopping)
        env_timer_start(d->env, &d->seed, SEED_RETRY_MS);
}

static void seed_run(struct env_timer *t)
{
    struct weftd *d = container_of(t, struct weftd, seed);
    char now[STATUS_TIME_BYTES], uid[UUID_BYTES];
    uint8_t random[16];
    for (size_t i = 0; i < ARRAY_LEN(seed_names); i++) {
        env_random(d->env, random, sizeof(random));
        uuid_encode(uid, random);
        int n = snprintf(d->seed_values[i], sizeof(d->seed_values[i]),
                         "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{"
                         "\"creationTimestamp\":\"%s\",\"generation\":1,"
                         "\"name\":\"%s\",\"uid\":\"%.*s\"},"
                         "\"status\":{\"phase\":\"Active\"}}",
                         status_time(env_wall_ms(d->env), now), seed_names[i], UUID_BYTES, uid);
        d->seed_ops[i].value = slice_mem(d->seed_values[i], (size_t)n);
    }
    d->seed_ops[0].key = S("namespaces//default");
    d->seed_ops[1].key = S("namespaces//istio-system");
    for (size_t i = 0; i < ARRAY_LEN(d->seed_ops); i++)
        d->seed_ops[i].expect = REG_EXPECT_ABSENT;
    d->seed_write = (struct reg_write){.ops = d->seed_ops,
                                       .op_count = ARRAY_LEN(d->seed_ops),
                                       .origin = S("weftd"),
                                       .env = d->env,
                                       .fn = seed_done};
    reg_write(d->node, &d->seed_write);
}

/* Only a registry that never had anything needs them. */
static void seed_start(struct weftd *d)
{
    struct reg_txn txn;
    struct err err = {0};
    struct reg_object o;
    if (!reg_txn_begin(reg_node_store(d->node), &txn, &err))
        return;
    bool there = reg_get(&txn, S("namespaces//default"), &o) || txn.revision > 0;
    reg_txn_end(&txn);
    if (!there)
        env_timer_start(d->env, &d->seed, 0);
}

/* Life. */

static void on_convergence(void *ctx)
{
    struct weftd *d = ctx;
    if (d->conditions)
        conditions_wake(d->conditions);
}

static bool pilot_start(struct weftd *d, struct err *err)
{
    d->compiler = compiler_start(&(struct compiler_options){.store = reg_node_store(d->node),
                                                            .cluster_id = d->opt.cluster_id},
                                 err);
    if (!d->compiler)
        return err_wrap(err, "compiler");
    d->convergence = convergence_new(
        &(struct convergence_options){.env = d->env, .on_change = on_convergence, .ctx = d});
    d->link = convergence_link(d->convergence, d->env, d->node);
    d->conditions = conditions_new(&(struct conditions_options){
        .env = d->env, .node = d->node, .convergence = d->convergence});
    d->xds = ads_server_start(&(struct ads_server_options){.compiler = d->compiler,
                                                           .convergence = d->convergence,
                                                           .addr = d->opt.xds,
                                                           .workers = d->opt.xds_workers,
                                                           .identifier = slice_of(d->identifier)},
                              err);
    if (!d->xds)
        return err_wrap(err, "--xds");
    d->fleet = fleet_new(d->env, d->node, fleet_source_of(d->xds));
    return true;
}

static bool api_start(struct weftd *d, struct err *err)
{
    struct api_mesh mesh = weftd_mesh(d);
    d->api = apiserver_new(
        &(struct apiserver_options){
            .env = d->env, .node = d->node, .at = d->opt.api, .mesh = &mesh},
        err);
    return d->api || err_wrap(err, "--api");
}

bool weftd_start(struct weftd *d, struct env *env, const struct weftd_options *opt, struct err *err)
{
    *d = (struct weftd){.env = env, .opt = *opt, .seed.fn = seed_run};
    d->own = metric_set_new(1000);
    snprintf(d->identifier, sizeof(d->identifier), "weftd/%s", d->opt.name);
    d->node = reg_node_start(&d->opt.node, err);
    if (!d->node)
        return false;
    if (!pilot_start(d, err) || !api_start(d, err) || !weftd_metrics_start(d, err))
        return false;
    seed_start(d);
    weftd_promote_start(d);
    char api[ENV_ADDR_TEXT], xds[ENV_ADDR_TEXT];
    LOG_INFO("weftd.started", F_CSTR("name", d->opt.name),
             F_STR("api", env_addr_format(apiserver_addr(d->api), api)),
             F_STR("xds", env_addr_format(ads_server_addr(d->xds), xds)));
    return true;
}

static void on_api_closed(void *ctx)
{
    bool *closed = ctx;
    *closed = true;
}

/* Writes under way are answered; what waits longer (a watch) is cut, and goes on elsewhere. */
static void api_stop(struct weftd *d)
{
    bool closed = !d->api;
    if (d->api)
        apiserver_close(d->api, WEFTD_API_GRACE_MS, on_api_closed, &closed);
    while (!closed)
        env_uv_turn(d->env, 100);
    apiserver_free(d->api);
}

/* Upper floors first: nobody may ask a floor that is gone. What the registry still answers to those
 * that are gone comes before env ends, and finds nothing to do. */
void weftd_stop(struct weftd *d)
{
    d->stopping = true;
    env_timer_stop(d->env, &d->seed);
    weftd_promote_stop(d);
    http_server_free(d->metrics);
    api_stop(d);
    fleet_free(d->fleet);
    conditions_free(d->conditions);
    d->conditions = NULL;
    ads_server_stop(d->xds);
    convergence_unlink(d->link);
    convergence_free(d->convergence);
    compiler_stop(d->compiler);
    if (d->node)
        reg_node_stop(d->node);
    metric_set_free(d->own);
}
