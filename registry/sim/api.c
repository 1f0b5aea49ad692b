/* Clients of the API: their machine, its network, and what a list must be. */
#include "registry/sim/api.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"

#define ADDRESS "127.0.1.1"
#define CONNECT_MS 400
#define IDLE_MS 4000

bool api_clients_any(const struct run *run)
{
    return run->knobs.api_clients + run->knobs.api_watchers > 0;
}

/* The machine. */

static void process_main(void *ctx, struct env *env)
{
    struct api_world *w = ctx;
    w->http = http_client_new(
        env, &(struct http_client_options){.idle_timeout = IDLE_MS, .connect_timeout = CONNECT_MS});
}

static void on_restart(struct sim_event *e)
{
    struct api_world *w = container_of(e, struct api_world, restart);
    if (!sim_host_runs(w->host))
        sim_host_start(w->host, process_main, w);
}

static void on_crash(void *ctx, struct sim_host *h, const char *why)
{
    struct api_world *w = ctx;
    (void)h;
    if (why[0])
        oracle_fail(&w->run->oracle, "the clients of the API ended themselves: %s", why);
    w->http = NULL;
    w->torn = 0;
    for (size_t i = 0; i < w->run->knobs.api_clients; i++)
        api_client_lost(&w->client[i]);
    for (size_t i = 0; i < w->run->knobs.api_watchers; i++)
        api_watcher_lost(&w->watcher[i]);
    if (!w->restart.armed)
        sim_event_start(w->run->sim, &w->restart, sim_between(w->run->sim, SIM_MS, SIM_S));
}

/* Its network. */

static void link_each(struct api_world *w, void (*fn)(struct sim_link *l, const struct run *run))
{
    for (size_t i = 0; i < w->run->members; i++) {
        struct sim_host *m = w->run->member[i].host;
        fn(sim_link(w->run->sim, w->host, m), w->run);
        fn(sim_link(w->run->sim, m, w->host), w->run);
    }
    sim_links_changed(w->run->sim);
}

static void link_default(struct sim_link *l, const struct run *run)
{
    *l = (struct sim_link){.latency_min = 50 * SIM_US,
                           .latency_max = 300 * SIM_US,
                           .piece_max = run->knobs.api_piece,
                           .buffer_bytes = run->knobs.api_buffer};
}

static void link_slow(struct sim_link *l, const struct run *run)
{
    (void)run;
    l->latency_max = 40 * SIM_MS;
}

void api_heal(struct run *run)
{
    if (run->api)
        link_each(run->api, link_default);
}

void api_fault(struct run *run)
{
    struct api_world *w = run->api;
    uint64_t dice = sim_below(run->sim, 100);
    if (!w)
        return;
    struct sim_host *m = run->member[sim_below(run->sim, run->members)].host;
    if (dice < 55) {
        sim_reset_between(run->sim, w->host, m);
    } else if (dice < 70) {
        sim_link(run->sim, w->host, m)->cut = true;
    } else if (dice < 85) {
        sim_link(run->sim, m, w->host)->cut = true;
    } else if (dice < 92) {
        link_each(w, link_slow);
    } else if (dice < 96) {
        sim_host_kill(w->host);
    } else {
        sim_host_power_off(w->host);
        if (!w->restart.armed)
            sim_event_start(run->sim, &w->restart, sim_between(run->sim, SIM_MS, 2 * SIM_S));
    }
}

/* What clients and watchers share. */

const char *api_ns_pick(struct api_world *w, bool all)
{
    uint64_t dice = sim_below(w->run->sim, all ? 4 : 3);
    return dice == 3 ? NULL : dice == 2 ? "other" : "default";
}

struct slice api_path(const char *ns, char dst[96])
{
    if (ns)
        snprintf(dst, 96, ORACLE_API_PATH "namespaces/%s/workloadentries", ns);
    else
        snprintf(dst, 96, ORACLE_API_PATH "workloadentries");
    return slice_of(dst);
}

struct slice api_prefix_of(const char *ns)
{
    return !ns                          ? S(ORACLE_API_PREFIX)
           : strcmp(ns, "default") == 0 ? S(ORACLE_API_PREFIX "default/")
                                        : S(ORACLE_API_PREFIX "other/");
}

reg_rev api_revision(const struct http_response *r)
{
    const struct header *h = headers_find(r->headers, S("weft-revision"));
    uint64_t rev = 0;
    return h && slice_u64(h->value, &rev) ? rev : 0;
}

bool api_same(struct run *run, const char *what, struct slice got, struct slice want)
{
    size_t at = 0;
    if (slice_eq(got, want))
        return true;
    while (at < got.n && at < want.n && got.p[at] == want.p[at])
        at++;
    at = at > 40 ? at - 40 : 0;
    oracle_fail(&run->oracle, "%s: at byte %zu: …%.*s, the model says …%.*s", what, at,
                SLICE(slice_sub(got, at, 120)), SLICE(slice_sub(want, at, 120)));
    return false;
}

void api_check_list(struct run *run, const struct http_response *r, struct slice prefix,
                    struct slice after, size_t limit, const char *what)
{
    struct buf want = {0};
    oracle_shown_list(&run->oracle, prefix, after, limit, api_revision(r), &want);
    api_same(run, what, r->body, buf_slice(&want));
    buf_fini(&want);
}

struct http_call_options api_call_to(struct api_world *w, size_t i, struct env_addr *addr)
{
    member_api_addr(&w->run->member[i], addr);
    return (struct http_call_options){.method = S("GET"),
                                      .addrs = addr,
                                      .addr_n = 1,
                                      .authority = S("weft"),
                                      .timeout = w->run->knobs.api_timeout};
}

size_t api_member_pick(struct api_world *w, size_t *home)
{
    struct run *run = w->run;
    if (sim_chance(run->sim, 60) || !member_in(&run->member[*home]) ||
        (!member_serves(&run->member[*home]) && sim_chance(run->sim, 600)))
        *home = sim_below(run->sim, run->members);
    return *home;
}

/* The end: everybody has everything. */

static void check_answered(void *ctx, const struct http_response *r)
{
    struct member *m = ctx;
    struct run *run = m->run;
    struct sim_zone *was = sim_world_enter();
    run->api->checks--;
    if (r->status == 200) {
        reg_rev rev = api_revision(r);
        run->api->checked[m->index] = true;
        if (rev < run->acked_max)
            oracle_fail(&run->oracle,
                        "%s: at the end a linearizable list is of %" PRIu64 ", %" PRIu64
                        " was acknowledged",
                        sim_host_name(m->host), rev, run->acked_max);
        api_check_list(run, r, S(ORACLE_API_PREFIX), S(""), 5000, "the list at the end");
    }
    sim_world_leave(was);
}

static void check_failed(void *ctx, const struct err *err)
{
    struct member *m = ctx;
    (void)err;
    m->run->api->checks--;
}

static void checks_turn(void *ctx)
{
    struct api_world *w = ctx;
    for (size_t i = 0; i < w->run->members; i++) {
        struct env_addr addr;
        struct http_call_options o = api_call_to(w, i, &addr);
        if (!member_in(&w->run->member[i]) || w->checked[i])
            continue;
        o.path = S(ORACLE_API_PATH "workloadentries?consistency=linearizable");
        o.on_done = check_answered;
        o.on_fail = check_failed;
        o.ctx = &w->run->member[i];
        w->checks++;
        http_call_start(w->http, &o);
    }
}

bool api_checked(struct run *run)
{
    struct api_world *w = run->api;
    if (!w)
        return true;
    if (w->checks)
        return false;
    bool all = true;
    for (size_t i = 0; i < run->members; i++)
        all = all && (w->checked[i] || !member_in(&run->member[i]));
    if (!all && w->http)
        sim_host_call(w->host, checks_turn, w);
    return all;
}

bool api_settled(struct run *run)
{
    struct api_world *w = run->api;
    bool all = !w || !w->torn;
    for (size_t i = 0; w && i < run->knobs.api_clients; i++)
        all = all && api_client_idle(&w->client[i]);
    for (size_t i = 0; w && i < run->knobs.api_watchers; i++)
        all = all && api_watcher_settled(&w->watcher[i]);
    return all;
}

/* Life. */

void api_start(struct run *run)
{
    if (!api_clients_any(run))
        return;
    struct api_world *w = run->api = MEM_NEW(struct api_world);
    w->run = run;
    w->restart.fn = on_restart;
    w->host = sim_host_add(run->sim, "api", ADDRESS,
                           &(struct sim_host_events){.on_crash = on_crash, .ctx = w});
    link_each(w, link_default);
    sim_host_start(w->host, process_main, w);
    for (size_t i = 0; i < run->knobs.api_clients; i++)
        api_client_start(w, i);
    for (size_t i = 0; i < run->knobs.api_watchers; i++)
        api_watcher_start(w, i);
}

static void leave_turn(void *ctx)
{
    struct api_world *w = ctx;
    for (size_t i = 0; i < w->run->knobs.api_clients; i++)
        api_client_leave(&w->client[i]);
    for (size_t i = 0; i < w->run->knobs.api_watchers; i++)
        api_watcher_leave(&w->watcher[i]);
    http_client_free(w->http);
    w->http = NULL;
}

void api_stop(struct run *run)
{
    struct api_world *w = run->api;
    if (!w || !w->http)
        return;
    sim_event_stop(&w->restart);
    sim_host_call(w->host, leave_turn, w);
    size_t left = sim_host_exit(w->host);
    if (left > 0)
        oracle_fail(&run->oracle, "the clients of the API left %zu bytes on the heap", left);
}

void api_fini(struct run *run)
{
    struct api_world *w = run->api;
    if (!w)
        return;
    sim_host_kill(w->host);
    for (size_t i = 0; i < run->knobs.api_clients; i++)
        api_client_fini(&w->client[i]);
    for (size_t i = 0; i < run->knobs.api_watchers; i++)
        api_watcher_fini(&w->watcher[i]);
    sim_event_stop(&w->restart);
    run->api = NULL;
    mem_free(w);
}
