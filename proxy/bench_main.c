/* A proxy of one static route, for measuring the data path against others:
 *
 *   weft-bench-proxy --listen 127.0.0.1:21701 --upstream 127.0.0.1:21700 [--upstream …]
 *                    [--h2-upstream] [--tcp] [--lb least|round|random|ring|maglev] [--workers N]
 *                    [--access-log PATH] [--metrics PATH]   (written at the end)
 */
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/route.h"
#include "proxy/worker.h"

#define UPSTREAMS_MAX 64
#define WORKERS_MAX 64

struct flags {
    struct slice listen, upstreams[UPSTREAMS_MAX], access_log, metrics;
    size_t upstream_n;
    uint32_t workers;
    bool h2_upstream, tcp;
    enum lb_policy lb;
};

static void die(const char *what)
{
    fprintf(stderr, "weft-bench-proxy: %s\n", what);
    exit(2);
}

static enum lb_policy lb_parse(struct slice name)
{
    static const struct {
        struct slice name;
        enum lb_policy policy;
    } table[] = {{S_INIT("least"), LB_LEAST_REQUEST},
                 {S_INIT("round"), LB_ROUND_ROBIN},
                 {S_INIT("random"), LB_RANDOM},
                 {S_INIT("ring"), LB_RING_HASH},
                 {S_INIT("maglev"), LB_MAGLEV}};
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (slice_eq(table[i].name, name))
            return table[i].policy;
    die("--lb: least, round, random, ring or maglev");
    return LB_LEAST_REQUEST;
}

enum { OPT_LISTEN, OPT_UPSTREAM, OPT_H2, OPT_TCP, OPT_LB, OPT_WORKERS, OPT_LOG, OPT_METRICS };

static struct flags flags_parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"listen", required_argument, NULL, OPT_LISTEN},
        {"upstream", required_argument, NULL, OPT_UPSTREAM},
        {"h2-upstream", no_argument, NULL, OPT_H2},
        {"tcp", no_argument, NULL, OPT_TCP},
        {"lb", required_argument, NULL, OPT_LB},
        {"workers", required_argument, NULL, OPT_WORKERS},
        {"access-log", required_argument, NULL, OPT_LOG},
        {"metrics", required_argument, NULL, OPT_METRICS},
        {NULL, 0, NULL, 0},
    };
    struct flags f = {.workers = 1, .lb = LB_LEAST_REQUEST};
    int opt;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (opt == OPT_LISTEN)
            f.listen = slice_of(optarg);
        else if (opt == OPT_UPSTREAM && f.upstream_n < UPSTREAMS_MAX)
            f.upstreams[f.upstream_n++] = slice_of(optarg);
        else if (opt == OPT_H2)
            f.h2_upstream = true;
        else if (opt == OPT_TCP)
            f.tcp = true;
        else if (opt == OPT_LB)
            f.lb = lb_parse(slice_of(optarg));
        else if (opt == OPT_WORKERS && slice_u32(slice_of(optarg), &f.workers) && f.workers)
            continue;
        else if (opt == OPT_LOG)
            f.access_log = slice_of(optarg);
        else if (opt == OPT_METRICS)
            f.metrics = slice_of(optarg);
        else
            die("bad flag");
    }
    if (!f.listen.n || !f.upstream_n || f.workers > WORKERS_MAX)
        die("--listen and --upstream are needed");
    return f;
}

static void address(struct env_addr *addr, struct slice text)
{
    struct err err = {0};
    if (!env_addr_parse(addr, text, &err))
        die(err.msg);
}

static struct endpoint_set *endpoints_of(const struct flags *f)
{
    struct endpoint_set *set = endpoint_set_new();
    set->name = S("upstream");
    set->items = ARENA_ARRAY(&set->part.arena, struct endpoint, f->upstream_n);
    for (size_t i = 0; i < f->upstream_n; i++) {
        struct endpoint *e = &set->items[set->n++];
        address(&e->addr, f->upstreams[i]);
        e->text = f->upstreams[i];
        e->weight = 1;
        e->workload = S("bench-v1");
        e->ns = S("default");
    }
    return set;
}

static struct cluster *cluster_of(const struct flags *f)
{
    struct cluster *c = cluster_new();
    c->name = S("outbound|80||bench.default.svc.cluster.local");
    c->lb = f->lb;
    c->protocol = f->h2_upstream ? UPSTREAM_HTTP2 : UPSTREAM_HTTP1;
    c->connect_timeout = 5000;
    c->max_connections = c->max_pending = c->max_requests = 1u << 20;
    c->max_retries = 3;
    c->service_host = S("bench.default.svc.cluster.local");
    c->service_name = S("bench");
    c->service_ns = S("default");
    c->endpoints = endpoints_of(f);
    return c;
}

static struct route_table *routes_of(const struct cluster *c)
{
    struct route_table *t = route_table_new();
    struct virtual_host *v = virtual_host_new();
    t->name = S("80");
    v->name = S("bench");
    v->domain_count = v->route_count = 1;
    v->domains = ARENA_NEW(&v->part.arena, struct slice);
    v->domains[0] = S("*");
    v->routes = ARENA_NEW(&v->part.arena, struct route);
    struct weighted_cluster *w = ARENA_NEW(&v->part.arena, struct weighted_cluster);
    *w = (struct weighted_cluster){.cluster = c->name, .weight = 100};
    v->routes[0] = (struct route){.name = S("default"),
                                  .path_kind = PATH_PREFIX,
                                  .path = S("/"),
                                  .cluster_count = 1,
                                  .clusters = w,
                                  .weight_total = 100};
    t->vhosts = ARENA_NEW(&t->part.arena, struct virtual_host *);
    t->vhosts[0] = v;
    t->vhost_count = 1;
    if (!route_table_index(t, NULL))
        die("route table");
    return t;
}

static struct listener *listener_of(const struct flags *f, const struct cluster *c)
{
    struct listener *l = listener_new();
    l->name = S("bench");
    address(&l->addr, f->listen);
    l->bind = true;
    l->access_log = f->access_log.n > 0;
    l->access_log_path = f->access_log;
    l->chain_count = 1;
    l->chains = ARENA_NEW(&l->part.arena, struct filter_chain);
    struct filter_chain *chain = l->chains;
    chain->stat_prefix = S("outbound_0.0.0.0_80");
    if (f->tcp) {
        chain->kind = CHAIN_TCP;
        chain->tcp_clusters = ARENA_NEW(&l->part.arena, struct weighted_cluster);
        chain->tcp_clusters[0] = (struct weighted_cluster){.cluster = c->name, .weight = 1};
        chain->tcp_cluster_count = chain->tcp_weight_total = 1;
        return l;
    }
    chain->routes = routes_of(c);
    chain->stream_idle_timeout = 300000;
    chain->generate_request_id = chain->normalize_path = chain->websocket = true;
    return l;
}

static struct conf *conf_of(const struct flags *f)
{
    struct conf *conf = conf_new();
    struct arena *a = &conf->part.arena;
    conf->generation = 1;
    conf->workload = S("client-v1");
    conf->ns = S("default");
    conf->clusters = ARENA_NEW(a, struct cluster *);
    conf->clusters[0] = cluster_of(f);
    conf->cluster_count = 1;
    conf->listeners = ARENA_NEW(a, struct listener *);
    conf->listeners[0] = listener_of(f, conf->clusters[0]);
    conf->listener_count = 1;
    conf_index(conf);
    return conf;
}

static void metrics_store(const struct flags *f, struct worker **workers)
{
    struct metric_set *sets[WORKERS_MAX];
    char path[256];
    struct buf out = {0};
    for (uint32_t i = 0; i < f->workers; i++)
        sets[i] = worker_metrics(workers[i]);
    metric_write_text(sets, f->workers, &out);
    FILE *file = slice_cstr(f->metrics, path, sizeof(path)) ? fopen(path, "we") : NULL;
    if (!file || fwrite(buf_slice(&out).p, 1, out.n, file) != out.n || fclose(file) != 0)
        die("--metrics: cannot write");
    buf_fini(&out);
}

int main(int argc, char **argv)
{
    struct flags f = flags_parse(argc, argv);
    struct worker *workers[WORKERS_MAX];
    struct err err = {0};
    struct conf *conf = conf_of(&f);
    sigset_t ends;
    int signum;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    for (uint32_t i = 0; i < f.workers; i++) {
        workers[i] = worker_start(&(struct worker_options){.conf = conf}, &err);
        if (!workers[i])
            die(err.msg);
    }
    sigwait(&ends, &signum);
    if (f.metrics.n)
        metrics_store(&f, workers);
    for (uint32_t i = 0; i < f.workers; i++)
        worker_stop(workers[i]);
    conf_unref(conf);
    return 0;
}
