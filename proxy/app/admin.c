/* The admin interface: Envoy's paths and shapes, so that its tools read them. What changes
 * something is POST. It listens on loopback or a Unix socket only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/any_types.h"
#include "base/core/log.h"
#include "base/core/regex.h"
#include "base/env/env_uv.h"
#include "base/net/uri.h"
#include "base/wire/pb_json.h"
#include "proxy/app/proxy.h"

#define ADMIN_TEXT S("text/plain; charset=utf-8")
#define ADMIN_JSON S("application/json")

static void respond_buf(struct http_request *req, struct slice type, struct buf *body)
{
    http_respond(req, 200, type, buf_slice(body));
    buf_fini(body);
}

/* Small answers. */

static void do_ready(struct proxy *p, struct http_request *req)
{
    bool ready = proxy_ready(p);
    char why[sizeof(p->client.failed) + 32];
    snprintf(why, sizeof(why), "%s%s\n", p->client.failed[0] ? "NOT_BOUND " : "PRE_INITIALIZING",
             p->client.failed);
    http_respond(req, ready ? 200 : 503, ADMIN_TEXT,
                 ready         ? S("LIVE\n")
                 : p->draining ? S("DRAINING\n")
                               : slice_of(why));
}

static void do_server_info(struct proxy *p, struct http_request *req)
{
    struct buf b = {0};
    char addr[ENV_ADDR_TEXT];
    buf_printf(
        &b,
        "{\n \"version\": \"weft/%s\",\n \"state\": \"%s\",\n \"uptime_current_epoch\": "
        "\"%llds\",\n"
        " \"node\": {\"id\": \"%.*s\", \"cluster\": \"%.*s\"},\n \"xds\": {\"state\": \"%s\", "
        "\"server\": "
        "\"%.*s\", \"control_plane\": \"%s\", \"updates\": %llu, \"rejected\": %llu, "
        "\"resource_bytes\": "
        "%llu, \"connects\": %llu, \"restored\": %s},\n \"generation\": %llu\n}\n",
        WEFT_VERSION, proxy_ready(p) ? "LIVE" : "INITIALIZING",
        (long long)((env_wall_ms(p->env) - p->started_wall_ms) / 1000), SLICE(p->node.id),
        SLICE(p->node.cluster), client_state_name(&p->client),
        SLICE(env_addr_format(client_server(&p->client), addr)), p->client.ads.control_plane,
        (unsigned long long)p->client.ads.updates, (unsigned long long)p->client.ads.rejected,
        (unsigned long long)p->client.ads.resource_bytes, (unsigned long long)p->client.connects,
        client_restored(&p->client) ? "true" : "false", (unsigned long long)p->generation);
    respond_buf(req, ADMIN_JSON, &b);
}

static void do_memory(struct proxy *p, struct http_request *req)
{
    struct buf b = {0}, status = {0};
    struct err err = {0};
    long pages = 0, resident = 0;
    if (env_file_load(p->env, "/proc/self/statm", 4096, &status, &err)) {
        buf_append_byte(&status, 0);
        sscanf(status.p + status.at, "%ld %ld", &pages, &resident);
    }
    buf_printf(&b, "{\n \"allocated\": \"%ld\",\n \"resident\": \"%ld\"\n}\n",
               pages * sysconf(_SC_PAGESIZE), resident * sysconf(_SC_PAGESIZE));
    buf_fini(&status);
    respond_buf(req, ADMIN_JSON, &b);
}

static void do_listeners(struct proxy *p, struct http_request *req)
{
    struct buf b = {0};
    bool json = uri_query_has(req->query, S("format"));
    size_t n = 0;
    if (json)
        buf_printf(&b, "{\"listener_statuses\":[");
    MAP_EACH (&p->client.resources.by_name[XDS_LDS], e) {
        const struct resource *r = e->value;
        char addr[ENV_ADDR_TEXT];
        struct slice at = env_addr_format(&r->listener->addr, addr);
        if (json)
            buf_printf(&b,
                       "%s{\"name\":\"%.*s\",\"local_address\":{\"socket_address\":{\"address\":"
                       "\"%.*s\"}}}",
                       n++ ? "," : "", SLICE(r->name), SLICE(at));
        else
            buf_printf(&b, "%.*s::%.*s\n", SLICE(r->name), SLICE(at));
    }
    if (json)
        buf_printf(&b, "]}\n");
    respond_buf(req, json ? ADMIN_JSON : ADMIN_TEXT, &b);
}

/* config_dump. */

struct dump {
    const char *type, *list, *item;
    enum xds_type xds;
    bool state; /* listeners stand inside active_state */
};

static const struct dump dumps[] = {
    {"envoy.admin.v3.ClustersConfigDump", "dynamic_active_clusters", "cluster", XDS_CDS, false},
    {"envoy.admin.v3.EndpointsConfigDump", "dynamic_endpoint_configs", "endpoint_config", XDS_EDS,
     false},
    {"envoy.admin.v3.ListenersConfigDump", "dynamic_listeners", "listener", XDS_LDS, true},
    {"envoy.admin.v3.RoutesConfigDump", "dynamic_route_configs", "route_config", XDS_RDS, false},
    {"weft.admin.v1.VirtualHostsConfigDump", "dynamic_virtual_hosts", "virtual_host", XDS_VHDS,
     false},
};

static int by_name(const void *a, const void *b)
{
    const struct resource *x = *(struct resource *const *)a, *y = *(struct resource *const *)b;
    return slice_cmp(x->name, y->name);
}

static void json_text(struct buf *b, const char *text)
{
    json_t *s = json_string(text);
    char *out = s ? json_dumps(s, JSON_ENCODE_ANY) : NULL;
    buf_append(b, out ? slice_of(out) : S("\"\""));
    free(out);
    json_decref(s);
}

static void dump_body(struct buf *b, const struct resource *r)
{
    struct arena scratch = {0};
    struct err err = {0};
    const ProtobufCMessage *m = pb_unpack(xds_types[r->type].message, r->body, &scratch, &err);
    struct buf text = {0};
    struct pb_json_options o = {.types = &any_types, .proto_names = true};
    if (m && pb_json_print(m, &o, &text, &err) && text.n > 2) {
        /* As an Any: "@type" in front of the fields. */
        buf_printf(b, "{\"@type\":\"%.*s\",", SLICE(xds_types[r->type].url));
        buf_append(b, slice_skip(buf_slice(&text), 1));
    } else {
        buf_printf(b, "{\"@type\":\"%.*s\"}", SLICE(xds_types[r->type].url));
    }
    buf_fini(&text);
    arena_fini(&scratch);
}

static void dump_resource(struct buf *b, const struct dump *d, const struct resource *r)
{
    buf_printf(b, "{");
    if (d->state || d->xds == XDS_VHDS) {
        buf_printf(b, "\"name\":");
        json_text(b, r->name.p);
        buf_printf(b, d->state ? ",\"active_state\":{" : ",");
    }
    buf_printf(b, "\"version_info\":");
    json_text(b, r->version.p);
    buf_printf(b, ",\"%s\":", d->item);
    dump_body(b, r);
    buf_printf(b, d->state ? "}" : "");
    if (r->error) {
        buf_printf(b, ",\"error_state\":{\"details\":");
        json_text(b, r->error);
        buf_printf(b, "}");
    }
    buf_printf(b, "}");
}

static void dump_type(struct buf *b, const struct dump *d, const struct resources *rs)
{
    const struct map *m = &rs->by_name[d->xds];
    struct resource **list = mem_array(m->n + 1, sizeof(*list));
    size_t n = 0;
    MAP_EACH (m, e)
        list[n++] = e->value;
    qsort(list, n, sizeof(*list), by_name);
    buf_printf(b, "{\"@type\":\"type.googleapis.com/%s\",\"%s\":[", d->type, d->list);
    for (size_t i = 0; i < n; i++) {
        buf_printf(b, i ? "," : "");
        dump_resource(b, d, list[i]);
    }
    buf_printf(b, "]}");
    mem_free(list);
}

static void do_config_dump(struct proxy *p, struct http_request *req)
{
    struct buf b = {0};
    struct slice only = {0};
    bool filtered = uri_query_get(req->query, S("resource"), req->arena, &only);
    bool eds = uri_query_has(req->query, S("include_eds"));
    bool first = true;
    buf_printf(&b, "{\"configs\":[");
    for (size_t i = 0; i < ARRAY_LEN(dumps); i++) {
        if ((filtered && !slice_eq(only, slice_of(dumps[i].list))) ||
            (!filtered && dumps[i].xds == XDS_EDS && !eds))
            continue;
        buf_printf(&b, first ? "" : ",");
        dump_type(&b, &dumps[i], &p->client.resources);
        first = false;
    }
    buf_printf(&b, "]}\n");
    respond_buf(req, ADMIN_JSON, &b);
}

/* Statistics. */

static void stats_text(struct proxy *p, struct buf *out)
{
    struct metric_set *sets[PROXY_WORKERS_MAX + 1];
    for (size_t i = 0; i < p->worker_count; i++)
        sets[i] = worker_metrics(p->workers[i]);
    sets[p->worker_count] = p->metrics;
    metric_write_text(sets, p->worker_count + 1, out);
}

static void do_prometheus(struct proxy *p, struct http_request *req)
{
    struct buf b = {0};
    stats_text(p, &b);
    respond_buf(req, S("text/plain; version=0.0.4"), &b);
}

/* start: a label's name, =", as the text has it. */
static bool stats_label(struct slice labels, struct slice start, struct slice *ret)
{
    struct slice rest;
    for (size_t at = 0; at + start.n < labels.n; at++)
        if (slice_starts(slice_skip(labels, at), start))
            return slice_cut(slice_skip(labels, at + start.n), '"', ret, &rest);
    return false;
}

/* A line of Prometheus' text by Envoy's name:
 * envoy_cluster_upstream_rq_total{envoy_cluster_name="x"} 3 -> cluster.x.upstream_rq_total
 * envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",…} -> cluster.x.upstream_rq_2xx */
static struct slice stats_name(struct slice series, struct arena *a)
{
    static const struct {
        struct slice prefix, label, envoy;
    } rows[] = {
        {S_INIT("envoy_cluster_"), S_INIT("envoy_cluster_name=\""), S_INIT("cluster.")},
        {S_INIT("envoy_http_"), S_INIT("envoy_http_conn_manager_prefix=\""), S_INIT("http.")},
        {S_INIT("envoy_listener_"), S_INIT("envoy_listener_address=\""), S_INIT("listener.")},
    };
    struct slice name, labels, owner, class = S("");
    slice_cut(series, '{', &name, &labels);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!slice_starts(name, rows[i].prefix) || !stats_label(labels, rows[i].label, &owner))
            continue;
        if (slice_ends(name, S("_xx")) &&
            stats_label(labels, S("envoy_response_code_class=\""), &class))
            name.n -= 2;
        return arena_printf(a, "%.*s%.*s.%.*s%.*s%s", SLICE(rows[i].envoy), SLICE(owner),
                            SLICE(slice_skip(name, rows[i].prefix.n)), SLICE(class),
                            class.n ? "xx" : "");
    }
    return series;
}

/* filter: NULL for all. */
static void stats_lines(struct slice text, const struct regex *filter, struct buf *out)
{
    struct slice line, series, value;
    struct arena scratch = {0};
    while (text.n) {
        slice_cut(text, '\n', &line, &text);
        if (line.n == 0 || line.p[0] == '#' || !slice_cut_last(line, ' ', &series, &value))
            continue;
        struct slice name = stats_name(series, &scratch);
        if (!filter || regex_full_match(filter, name))
            buf_printf(out, "%.*s: %.*s\n", SLICE(name), SLICE(value));
        arena_reset(&scratch);
    }
    arena_fini(&scratch);
}

static void do_stats(struct proxy *p, struct http_request *req)
{
    struct buf text = {0}, out = {0};
    struct err err = {0};
    struct regex *re = NULL;
    struct slice filter = S(""), format = S("");
    uri_query_get(req->query, S("filter"), req->arena, &filter);
    uri_query_get(req->query, S("format"), req->arena, &format);
    if (slice_eq(format, S("prometheus"))) {
        do_prometheus(p, req);
        return;
    }
    /* Envoy's filter matches anywhere in the name. */
    if (filter.n &&
        !(re = regex_new(arena_printf(req->arena, ".*(?:%.*s).*", SLICE(filter)), &err))) {
        http_respond(req, 400, ADMIN_TEXT, slice_of(err.msg));
        return;
    }
    stats_text(p, &text);
    stats_lines(buf_slice(&text), re, &out);
    regex_free(re);
    buf_fini(&text);
    respond_buf(req, ADMIN_TEXT, &out);
}

/* Clusters: rows live in the workers. */

struct host_row {
    struct slice key; /* "cluster::address" */
    uint64_t active, connections, requests, errors;
    bool healthy, ejected;
};

struct gather {
    struct env_post post;
    struct proxy *proxy;
    struct http_request *req; /* NULL: the client is gone */
    size_t worker;
    struct arena arena;
    struct map rows; /* struct host_row */
};

static struct host_row *gather_find(struct gather *g, struct slice key)
{
    struct host_row *row = map_get(&g->rows, key);
    if (row)
        return row;
    row = ARENA_NEW(&g->arena, struct host_row);
    row->key = arena_dup(&g->arena, key);
    row->healthy = true;
    map_put(&g->rows, row->key, row);
    return row;
}

/* On the worker's thread: no longer than it must. */
static void gather_row(void *ctx, const struct worker_host *h)
{
    struct gather *g = ctx;
    char key[1024];
    int n = snprintf(key, sizeof(key), "%.*s::%.*s", SLICE(h->cluster), SLICE(h->address));
    struct host_row *row =
        gather_find(g, slice_mem(key, (size_t)n < sizeof(key) ? (size_t)n : sizeof(key) - 1));
    row->active += h->active;
    row->connections += h->connections;
    row->requests += h->requests;
    row->errors += h->errors;
    row->healthy = row->healthy && h->healthy;
    row->ejected = row->ejected || h->ejected;
}

static int by_key(const void *a, const void *b)
{
    return slice_cmp((*(struct host_row *const *)a)->key, (*(struct host_row *const *)b)->key);
}

static void write_row(struct buf *b, const struct host_row *r)
{
    const struct {
        const char *name;
        uint64_t value;
    } cells[] = {{"cx_active", r->connections},
                 {"rq_active", r->active},
                 {"rq_total", r->requests},
                 {"rq_error", r->errors}};
    for (size_t i = 0; i < ARRAY_LEN(cells); i++)
        buf_printf(b, "%.*s::%s::%llu\n", SLICE(r->key), cells[i].name,
                   (unsigned long long)cells[i].value);
    buf_printf(b, "%.*s::health_flags::%s\n", SLICE(r->key),
               r->ejected   ? "/failed_outlier_check"
               : r->healthy ? "healthy"
                            : "/failed_eds_health");
}

static void gather_answer(struct gather *g)
{
    struct buf b = {0};
    size_t n = 0;
    struct host_row **list = mem_array(g->rows.n + 1, sizeof(struct host_row *));
    MAP_EACH (&g->rows, e)
        list[n++] = e->value;
    qsort(list, n, sizeof(*list), by_key);
    for (size_t i = 0; g->req && i < n; i++)
        write_row(&b, list[i]);
    if (g->req)
        respond_buf(g->req, ADMIN_TEXT, &b);
    mem_free(list);
    map_fini(&g->rows);
    arena_fini(&g->arena);
    mem_free(g);
}

static void gather_in_worker(struct env_post *post);

static void gather_back(struct env_post *post)
{
    struct gather *g = container_of(post, struct gather, post);
    if (g->proxy->stopping || ++g->worker == g->proxy->worker_count) {
        gather_answer(g);
        return;
    }
    g->post = (struct env_post){.fn = gather_in_worker};
    env_post(worker_env(g->proxy->workers[g->worker]), &g->post);
}

static void gather_in_worker(struct env_post *post)
{
    struct gather *g = container_of(post, struct gather, post);
    worker_hosts(g->proxy->workers[g->worker], gather_row, g);
    g->post = (struct env_post){.fn = gather_back};
    env_post(g->proxy->env, &g->post);
}

static void gather_gone(struct http_request *req)
{
    ((struct gather *)req->user)->req = NULL;
}

static void do_clusters(struct proxy *p, struct http_request *req)
{
    struct gather *g = MEM_NEW(struct gather);
    *g = (struct gather){.post.fn = gather_in_worker, .proxy = p, .req = req};
    req->user = g;
    req->on_close = gather_gone;
    env_post(worker_env(p->workers[0]), &g->post);
}

/* Changes. */

static void do_logging(struct proxy *p, struct http_request *req)
{
    struct slice level = {0};
    enum log_level l;
    (void)p;
    if (!uri_query_get(req->query, S("level"), req->arena, &level) || !log_level_parse(level, &l)) {
        http_respond(req, 400, ADMIN_TEXT, S("usage: /logging?level=debug|info|warning|error\n"));
        return;
    }
    log_set_level(l);
    http_respond(req, 200, ADMIN_TEXT, S("OK\n"));
}

static void do_fail(struct proxy *p, struct http_request *req)
{
    p->failing_health = true;
    http_respond(req, 200, ADMIN_TEXT, S("OK\n"));
}

static void do_ok(struct proxy *p, struct http_request *req)
{
    p->failing_health = false;
    http_respond(req, 200, ADMIN_TEXT, S("OK\n"));
}

static void do_quit(struct proxy *p, struct http_request *req)
{
    http_respond(req, 200, ADMIN_TEXT, S("OK\n"));
    proxy_drain(p);
}

static void do_help(struct proxy *p, struct http_request *req);

static const struct admin_path {
    struct slice path;
    bool post;
    void (*fn)(struct proxy *p, struct http_request *req);
    const char *help;
} paths[] = {
    {S_INIT("/"), false, do_help, "this list"},
    {S_INIT("/clusters"), false, do_clusters, "endpoints with their connections and requests"},
    {S_INIT("/config_dump"), false, do_config_dump,
     "active configuration (?include_eds, ?resource=)"},
    {S_INIT("/drain_listeners"), true, do_quit, "drain, then end"},
    {S_INIT("/healthcheck/fail"), true, do_fail, "make /ready fail"},
    {S_INIT("/healthcheck/ok"), true, do_ok, "make /ready work again"},
    {S_INIT("/help"), false, do_help, "this list"},
    {S_INIT("/listeners"), false, do_listeners, "listeners and their addresses"},
    {S_INIT("/logging"), true, do_logging, "set the log level (?level=)"},
    {S_INIT("/memory"), false, do_memory, "memory of the process"},
    {S_INIT("/quitquitquit"), true, do_quit, "drain, then end"},
    {S_INIT("/ready"), false, do_ready, "200 LIVE when everything configured is active"},
    {S_INIT("/server_info"), false, do_server_info, "version, state, xDS connection"},
    {S_INIT("/stats"), false, do_stats, "counters (?filter=, ?format=prometheus)"},
    {S_INIT("/stats/prometheus"), false, do_prometheus, "all metrics as Prometheus text"},
};

static void do_help(struct proxy *p, struct http_request *req)
{
    struct buf b = {0};
    (void)p;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        buf_printf(&b, "  %-20s %s%s\n", paths[i].path.p, paths[i].post ? "(POST) " : "",
                   paths[i].help);
    respond_buf(req, ADMIN_TEXT, &b);
}

static void on_request(void *ctx, struct http_request *req)
{
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        if (!slice_eq(req->path, paths[i].path))
            continue;
        if (paths[i].post && req->method_id != HTTP_POST) {
            http_respond(req, 405, ADMIN_TEXT, S("this changes something: use POST\n"));
            return;
        }
        paths[i].fn(ctx, req);
        return;
    }
    http_respond(req, 404, ADMIN_TEXT, S("unknown path; see /help\n"));
}

bool admin_start(struct proxy *p, struct err *err)
{
    if (!env_addr_loopback(&p->opt.admin))
        return err_set(err, ERR_FORBIDDEN,
                       "--admin: must be a loopback address or unix:/path: whoever reaches it may "
                       "stop this proxy");
    p->admin = http_server_new(p->env, &(struct http_server_options){.connections_max = 64},
                               on_request, p);
    return http_server_listen(p->admin, &p->opt.admin, NULL, err) || err_wrap(err, "--admin");
}
