/* weft-demo-app: one instance of a service of the demo. It answers every request with JSON that
 * says who answered, after calling its own upstreams through its proxy, the way an application with
 * http_proxy set does.
 *
 *   weft-demo-app --name reviews --version v2 --listen 127.0.0.1:18132 --proxy 127.1.0.32:15001
 *                 --call ratings:9080/ratings [--call …] [--fail]
 *
 * The answer's x-version is "reviews-v2"; x-chain lists those below. An upstream's failure makes
 * the answer 503. SIGUSR1 switches failing on and off. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env/env_uv.h"
#include "base/net/http_client.h"
#include "base/net/http_server.h"

#define CALLS_MAX 8

struct app {
    struct env *env;
    struct http_server *server;
    struct http_client *client;
    const char *name, *version;
    struct env_addr listen, proxy;
    struct slice authority[CALLS_MAX], path[CALLS_MAX];
    size_t call_count;
    bool failing;
};

/* A request under way: its calls run one after the other. */
struct work {
    struct app *app;
    struct http_request *req;
    struct http_call *call;
    struct headers forward;
    size_t next;
    struct buf chain;
    bool failed;
};

static void work_next(struct work *w);

static void work_free(struct work *w)
{
    buf_fini(&w->chain);
    mem_free(w);
}

static void work_gone(struct http_request *req)
{
    struct work *w = req->user;
    if (w->call)
        http_call_cancel(w->call);
    work_free(w);
}

static void work_answer(struct work *w)
{
    struct app *a = w->app;
    struct http_request *req = w->req;
    bool failed = w->failed || a->failing;
    struct slice who = arena_printf(req->arena, "%s-%s", a->name, a->version);
    struct slice chain = arena_dup(req->arena, buf_slice(&w->chain));
    struct slice body =
        arena_printf(req->arena, "{\"service\":\"%s\",\"version\":\"%s\",\"below\":\"%.*s\"}\n",
                     a->name, a->version, SLICE(chain));
    headers_add_name(&req->response, req->arena, S("x-version"), who);
    headers_add_name(
        &req->response, req->arena, S("x-chain"),
        arena_printf(req->arena, "%.*s%s%.*s", SLICE(who), chain.n ? " " : "", SLICE(chain)));
    work_free(w);
    http_respond(req, failed ? 503 : 200, S("application/json"), body);
}

static void on_done(void *ctx, const struct http_response *r)
{
    struct work *w = ctx;
    const struct header *chain = headers_find(r->headers, S("x-chain"));
    w->call = NULL;
    if (chain)
        buf_printf(&w->chain, "%s%.*s", w->chain.n ? " " : "", SLICE(chain->value));
    w->failed |= r->status >= 500;
    work_next(w);
}

static void on_fail(void *ctx, const struct err *err)
{
    struct work *w = ctx;
    w->call = NULL;
    w->failed = true;
    buf_printf(&w->chain, "%serror:%d", w->chain.n ? " " : "", (int)err->code);
    work_next(w);
}

static void work_next(struct work *w)
{
    struct app *a = w->app;
    if (w->next == a->call_count) {
        work_answer(w);
        return;
    }
    size_t i = w->next++;
    w->call = http_call_start(a->client, &(struct http_call_options){
                                             .method = S("GET"),
                                             .addrs = &a->proxy,
                                             .addr_n = 1,
                                             .authority = a->authority[i],
                                             .path = a->path[i],
                                             .headers = &w->forward,
                                             .timeout = 10000,
                                             .on_done = on_done,
                                             .on_fail = on_fail,
                                             .ctx = w,
                                         });
}

static void on_request(void *ctx, struct http_request *req)
{
    static const char *const carried[] = {"end-user", "x-request-id", "traceparent", "b3"};
    struct work *w = MEM_NEW(struct work);
    w->app = ctx;
    w->req = req;
    req->user = w;
    req->on_close = work_gone;
    for (size_t i = 0; i < ARRAY_LEN(carried); i++) {
        const struct header *h = headers_find(req->headers, slice_of(carried[i]));
        if (h)
            headers_add_name(&w->forward, req->arena, h->name, h->value);
    }
    work_next(w);
}

static void on_signal(void *ctx, int signum)
{
    struct app *a = ctx;
    if (signum == SIGUSR1)
        a->failing = !a->failing;
    else
        env_uv_stop(a->env);
}

static _Noreturn void usage(const char *why)
{
    fprintf(stderr,
            "weft-demo-app: %s\nweft-demo-app --name N --version V --listen ADDR [--proxy ADDR]\n"
            "              [--call HOST:PORT/PATH]… [--fail]\n",
            why);
    exit(64);
}

static void app_call(struct app *a, const char *text)
{
    struct slice s = slice_of(text);
    size_t slash = slice_find(s, '/');
    if (a->call_count == CALLS_MAX || slash == SIZE_MAX)
        usage("--call wants HOST:PORT/PATH, at most 8 times");
    a->authority[a->call_count] = slice_sub(s, 0, slash);
    a->path[a->call_count++] = slice_skip(s, slash);
}

static void app_options(struct app *a, int argc, char **argv)
{
    static const struct option longs[] = {
        {"name", 1, NULL, 'n'},  {"version", 1, NULL, 'v'}, {"listen", 1, NULL, 'l'},
        {"proxy", 1, NULL, 'p'}, {"call", 1, NULL, 'c'},    {"fail", 0, NULL, 'f'},
        {NULL, 0, NULL, 0},
    };
    struct err err = {0};
    int opt;
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (opt == 'n')
            a->name = optarg;
        else if (opt == 'v')
            a->version = optarg;
        else if (opt == 'c')
            app_call(a, optarg);
        else if (opt == 'f')
            a->failing = true;
        else if (opt == '?' ||
                 !env_addr_parse(opt == 'l' ? &a->listen : &a->proxy, slice_of(optarg), &err))
            usage(err.code ? err.msg : "unknown option");
    }
    if (!a->name || !a->version || !a->listen.len || (a->call_count && !a->proxy.len))
        usage("--name, --version, --listen, and --proxy with --call are needed");
}

int main(int argc, char **argv)
{
    struct app a = {0};
    struct err err = {0};
    app_options(&a, argc, argv);
    a.env = env_uv_new(&err);
    if (!a.env)
        usage(err.msg);
    a.client = http_client_new(a.env, &(struct http_client_options){0});
    a.server = http_server_new(a.env, &(struct http_server_options){.connections_max = 4096},
                               on_request, &a);
    if (!http_server_listen(a.server, &a.listen, NULL, &err)) {
        fprintf(stderr, "weft-demo-app: %s\n", err.msg);
        return 1;
    }
    env_uv_on_signal(a.env, SIGUSR1, on_signal, &a);
    env_uv_on_signal(a.env, SIGTERM, on_signal, &a);
    env_uv_on_signal(a.env, SIGINT, on_signal, &a);
    env_uv_run(a.env);
    http_server_free(a.server);
    http_client_free(a.client);
    env_uv_free(a.env);
    return 0;
}
