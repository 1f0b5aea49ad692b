/* weft-adsfake: the xDS server over a made-up mesh, without registry and compiler, so that the cost
 * of the sessions alone can be measured with weft-adsload.
 *
 *   weft-adsfake --listen 127.0.0.1:21600 --services 1000 --proxies 1000 --workers 2
 *
 * Commands on standard input: endpoint, weight (one resource changes; the line says at which
 * CLOCK_MONOTONIC ns it was published), memory, quit. */
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/env/env_uv.h"
#include "pilot/ads_server.h"
#include "pilot/compiler.h"

enum { SERVICES_MAX = 20000, BODY_BYTES = 2048 };

struct mesh {
    struct env *env;
    struct compiler *compiler;
    struct convergence *convergence;
    struct ads_server *server;
    uint32_t services, proxies, workers;
    struct env_addr addr;
    reg_rev revision;
    struct xds_resource **res[XDS_TYPE_COUNT];
    size_t n[XDS_TYPE_COUNT];
    struct xds_list *lists[XDS_TYPE_COUNT];
};

/* A body of that many bytes behind a name in field 1; `tail` goes behind it. */
static struct slice body_of(struct buf *b, struct slice name, struct slice tail, size_t bytes)
{
    char filler[BODY_BYTES];
    buf_clear(b);
    pbw_bytes(b, 1, name);
    buf_append(b, tail);
    if (b->n + 4 < bytes) {
        size_t n = bytes - b->n - 4;
        memset(filler, 'x', n);
        pbw_bytes(b, 1000, slice_mem(filler, n));
    }
    return buf_slice(b);
}

static void put(struct mesh *m, enum xds_type type, size_t i, struct slice name,
                struct slice follows, struct slice tail, size_t bytes)
{
    struct buf b = {0};
    struct xds_resource *old = m->res[type][i];
    m->res[type][i] =
        xds_resource_new(&(struct xds_resource_parts){.type = type,
                                                      .name = name,
                                                      .body = body_of(&b, name, tail, bytes),
                                                      .follows = follows,
                                                      .revision = ++m->revision});
    xds_resource_unref(old);
    xds_list_unref(m->lists[type]);
    m->lists[type] = NULL;
    buf_fini(&b);
}

static struct slice text(struct arena *a, const char *fmt, size_t i)
{
    char buf[128];
    int n = snprintf(buf, sizeof(buf), fmt, i);
    return arena_dup(a, slice_mem(buf, (size_t)n));
}

/* Sizes as the real messages have: a cluster 700 bytes, an assignment 350, a virtual host 1,000. */
static void put_endpoint(struct mesh *m, size_t i)
{
    struct arena a = {0};
    struct slice eds = text(&a, "outbound|80||service-%06zu.default.svc.cluster.local", i);
    char rev[32];
    int n = snprintf(rev, sizeof(rev), "%" PRIu64, m->revision);
    struct buf tail = {0};
    pbw_bytes(&tail, 999, slice_mem(rev, (size_t)n));
    put(m, XDS_EDS, i, eds, (struct slice){0}, buf_slice(&tail), 350);
    buf_fini(&tail);
    arena_fini(&a);
}

static void put_host(struct mesh *m, size_t i)
{
    struct arena a = {0};
    struct slice name = text(&a, "80/service-%06zu.default.svc.cluster.local:80", i);
    char rev[32];
    int n = snprintf(rev, sizeof(rev), "%" PRIu64, m->revision);
    struct buf tail = {0};
    pbw_bytes(&tail, 999, slice_mem(rev, (size_t)n));
    put(m, XDS_VHDS, i, name, (struct slice){0}, buf_slice(&tail), 1000);
    buf_fini(&tail);
    arena_fini(&a);
}

static void put_cluster(struct mesh *m, size_t i)
{
    struct arena a = {0};
    struct slice name = text(&a, "outbound|80||service-%06zu.default.svc.cluster.local", i);
    struct buf tail = {0};
    pbw_bytes(&tail, 3, S("\x0a\x02\x1a\x00")); /* eds_cluster_config {eds_config {ads {}}} */
    put(m, XDS_CDS, i, name, name, buf_slice(&tail), 700);
    buf_fini(&tail);
    arena_fini(&a);
}

/* Listener > filter chain > filter > HttpConnectionManager > rds > "80". */
static struct slice wrap(struct buf *b, uint32_t field, struct slice inner)
{
    struct buf out = {0};
    pbw_bytes(&out, field, inner);
    buf_fini(b);
    *b = out;
    return buf_slice(b);
}

static void put_listener(struct mesh *m)
{
    struct buf b = {0}, any = {0};
    struct slice s = wrap(&b, 2, S("80"));
    s = wrap(&b, 3, s);
    pbw_bytes(&any, 1,
              S("type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
                "HttpConnectionManager"));
    pbw_bytes(&any, 2, s);
    s = wrap(&b, 4, buf_slice(&any));
    s = wrap(&b, 3, s);
    s = wrap(&b, 3, s);
    put(m, XDS_LDS, 0, S("0.0.0.0_80"), (struct slice){0}, s, 600);
    put(m, XDS_RDS, 0, S("80"), (struct slice){0}, S("\x4a\x00"), 60); /* vhds {} */
    buf_fini(&any);
    buf_fini(&b);
}

static void publish(struct mesh *m)
{
    for (size_t t = 0; t < XDS_TYPE_COUNT; t++)
        if (!m->lists[t])
            m->lists[t] = xds_list_new(NULL, m->res[t], m->n[t]);
    struct xds_view **views = mem_array(m->proxies, sizeof(struct xds_view *));
    for (uint32_t i = 0; i < m->proxies; i++)
        views[i] = xds_view_new(i + 1, m->lists);
    convergence_committed(m->convergence, m->revision, (wf_ms)(env_now_ns(m->env) / 1000000));
    compiler_publish(m->compiler, xds_snapshot_new(m->revision, views, m->proxies));
    for (uint32_t i = 0; i < m->proxies; i++)
        xds_view_unref(views[i]);
    mem_free(views);
}

static void build(struct mesh *m)
{
    const size_t n[XDS_TYPE_COUNT] = {[XDS_CDS] = m->services,
                                      [XDS_EDS] = m->services,
                                      [XDS_LDS] = 1,
                                      [XDS_RDS] = 1,
                                      [XDS_VHDS] = m->services};
    for (size_t t = 0; t < XDS_TYPE_COUNT; t++) {
        m->n[t] = n[t];
        m->res[t] = mem_array(n[t], sizeof(struct xds_resource *));
    }
    for (size_t i = 0; i < m->services; i++) {
        put_cluster(m, i);
        put_endpoint(m, i);
        put_host(m, i);
    }
    put_listener(m);
    publish(m);
}

struct settle {
    struct convergence_wait wait;
    uint64_t from_ns;
    const char *what;
    struct mesh *mesh;
};

static void on_settled(struct convergence_wait *w)
{
    struct settle *s = container_of(w, struct settle, wait);
    double ms = (double)(env_now_ns(s->mesh->env) - s->from_ns) / 1e6;
    printf("{\"event\":\"settled\",\"what\":\"%s\",\"live\":%u,\"total\":%u,\"ms\":%.3f}\n",
           s->what, w->result.live, w->result.total, ms);
    fflush(stdout);
    mem_free(s);
}

static void change(struct mesh *m, const char *what)
{
    struct settle *s = MEM_NEW(struct settle);
    *s = (struct settle){.what = what, .mesh = m};
    if (strcmp(what, "endpoint") == 0)
        put_endpoint(m, 7);
    else
        put_host(m, 7);
    s->from_ns = env_now_ns(m->env);
    publish(m);
    printf("{\"event\":\"%s\",\"at_ns\":%" PRIu64 "}\n", what, s->from_ns);
    fflush(stdout);
    s->wait =
        (struct convergence_wait){.revision = m->revision, .timeout = 10000, .fn = on_settled};
    convergence_wait(m->convergence, &s->wait);
}

static void print_memory(void)
{
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, "RssAnon", 7) == 0 || strncmp(line, "VmHWM", 5) == 0)
            printf("{\"event\":\"memory\",\"line\":\"%.*s\"}\n", (int)strcspn(line, "\n"), line);
    if (f)
        fclose(f);
    fflush(stdout);
}

struct command {
    struct env_post post;
    struct mesh *mesh;
    char line[64];
};

static void on_command(struct env_post *post)
{
    struct command *c = container_of(post, struct command, post);
    if (strcmp(c->line, "quit") == 0)
        env_uv_stop(c->mesh->env);
    else if (strcmp(c->line, "memory") == 0)
        print_memory();
    else if (strcmp(c->line, "endpoint") == 0)
        change(c->mesh, "endpoint");
    else if (strcmp(c->line, "weight") == 0)
        change(c->mesh, "weight");
    mem_free(c);
}

static void *read_commands(void *arg)
{
    bool more = true;
    while (more) {
        struct command *c = MEM_NEW(struct command);
        c->post.fn = on_command;
        c->mesh = arg;
        more = fgets(c->line, sizeof(c->line), stdin) != NULL;
        if (!more)
            snprintf(c->line, sizeof(c->line), "quit");
        c->line[strcspn(c->line, "\n")] = '\0';
        more = more && strcmp(c->line, "quit") != 0;
        env_post(c->mesh->env, &c->post);
    }
    return NULL;
}

static bool parse_options(struct mesh *m, int argc, char **argv, struct err *err)
{
    static const struct option longs[] = {{"listen", required_argument, NULL, 'l'},
                                          {"services", required_argument, NULL, 's'},
                                          {"proxies", required_argument, NULL, 'p'},
                                          {"workers", required_argument, NULL, 'w'},
                                          {0}};
    int opt;
    err_set(err, ERR_INVALID, "--listen ADDR --services N --proxies N --workers N");
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        bool ok = opt == 'l'   ? env_addr_parse(&m->addr, slice_of(optarg), err)
                  : opt == 's' ? slice_u32(slice_of(optarg), &m->services)
                  : opt == 'p' ? slice_u32(slice_of(optarg), &m->proxies)
                  : opt == 'w' ? slice_u32(slice_of(optarg), &m->workers)
                               : false;
        if (!ok)
            return false;
    }
    return m->addr.len && m->services && m->services <= SERVICES_MAX && m->proxies;
}

static bool start(struct mesh *m, struct err *err)
{
    m->env = env_uv_new(err);
    if (!m->env)
        return false;
    m->compiler = compiler_new_manual();
    m->convergence = convergence_new(&(struct convergence_options){.env = m->env});
    build(m);
    m->server = ads_server_start(&(struct ads_server_options){.compiler = m->compiler,
                                                              .convergence = m->convergence,
                                                              .addr = m->addr,
                                                              .workers = m->workers,
                                                              .identifier = S("adsfake")},
                                 err);
    return m->server != NULL;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct mesh m = {.services = 1000, .proxies = 1000, .workers = 2};
    pthread_t reader;
    log_set_level(LOG_WARN_);
    if (!parse_options(&m, argc, argv, &err) || !start(&m, &err)) {
        fprintf(stderr, "weft-adsfake: %s\n", err.msg);
        return 2;
    }
    int rc = pthread_create(&reader, NULL, read_commands, &m);
    wf_assert(rc == 0);
    printf("{\"event\":\"listening\"}\n");
    fflush(stdout);
    env_uv_run(m.env);
    pthread_join(reader, NULL);
    ads_server_stop(m.server);
    convergence_free(m.convergence);
    compiler_stop(m.compiler);
    for (size_t t = 0; t < XDS_TYPE_COUNT; t++) {
        for (size_t i = 0; i < m.n[t]; i++)
            xds_resource_unref(m.res[t][i]);
        mem_free(m.res[t]);
        xds_list_unref(m.lists[t]);
    }
    env_uv_free(m.env);
    return 0;
}
