#include "registry/apiserver/apiserver.h"

#include "registry/apiserver/internal.h"

static void on_request(void *ctx, struct http_request *req)
{
    api_dispatch(ctx, req);
}

static void on_applied(void *ctx, reg_rev revision)
{
    struct apiserver *s = ctx;
    api_waiters_wake(s, revision);
    api_watches_wake(s);
}

static void cells_init(struct api_cells *cells, struct metric_set *set)
{
    static const struct metric_def watches = {
        .name = "weft_api_watches", .kind = METRIC_GAUGE, .help = "Watches open on this node"};
    static const struct metric_def events = {.name = "weft_api_watch_events_total",
                                             .kind = METRIC_COUNTER,
                                             .help = "Events sent to watches, bookmarks included"};
    static const struct metric_def watches_refused = {
        .name = "weft_api_watches_refused_total",
        .kind = METRIC_COUNTER,
        .help = "Watches refused because too many were open"};
    static const struct metric_def blocked = {
        .name = "weft_api_watches_blocked",
        .kind = METRIC_GAUGE,
        .help = "watches whose client does not read what was sent"};
    static const struct metric_def lag = {.name = "weft_api_watch_lag_revisions",
                                          .kind = METRIC_GAUGE,
                                          .help = "revisions that the slowest of them is behind"};
    static const struct metric_def writes = {
        .name = "weft_api_writes", .kind = METRIC_GAUGE, .help = "Writes under way on this node"};
    static const struct metric_def writes_refused = {
        .name = "weft_api_writes_refused_total",
        .kind = METRIC_COUNTER,
        .help = "Writes refused because too many were under way"};
    static const struct metric_def reads_refused = {
        .name = "weft_api_reads_refused_total",
        .kind = METRIC_COUNTER,
        .help = "Reads refused because too many waited for the leader"};
    *cells = (struct api_cells){.reads_refused = metric_get(set, &reads_refused, 0, NULL),
                                .watches = metric_get(set, &watches, 0, NULL),
                                .watch_events = metric_get(set, &events, 0, NULL),
                                .watches_refused = metric_get(set, &watches_refused, 0, NULL),
                                .watches_blocked = metric_get(set, &blocked, 0, NULL),
                                .watch_lag = metric_get(set, &lag, 0, NULL),
                                .writes = metric_get(set, &writes, 0, NULL),
                                .writes_refused = metric_get(set, &writes_refused, 0, NULL)};
}

struct apiserver *apiserver_new(const struct apiserver_options *opt, struct err *err)
{
    if (!env_addr_loopback(&opt->at)) {
        char text[ENV_ADDR_TEXT];
        err_set(err, ERR_FORBIDDEN,
                "%.*s: plain HTTP is served on loopback only, until the API has TLS",
                SLICE(env_addr_format(&opt->at, text)));
        return NULL;
    }
    struct apiserver *s = MEM_NEW(struct apiserver);
    s->opt = *opt;
    s->env = opt->env;
    s->store = reg_node_store(opt->node);
    if (opt->mesh)
        s->mesh = *opt->mesh;
    if (!s->opt.write_timeout)
        s->opt.write_timeout = 5000;
    if (!s->opt.bookmark_interval)
        s->opt.bookmark_interval = API_BOOKMARK_MS;
    list_init(&s->watches);
    list_init(&s->waiters);
    list_init(&s->writes);
    list_init(&s->indexes);
    list_init(&s->changes);
    list_init(&s->snapshots);
    s->started_wall_ms = env_wall_ms(s->env);
    s->metrics = metric_set_new(1000);
    cells_init(&s->cells, s->metrics);
    s->http = http_server_new(s->env,
                              &(struct http_server_options){.body_bytes_max = REG_REQUEST_BYTES_MAX,
                                                            .connections_max = API_CONNECTIONS_MAX,
                                                            .request_timeout = opt->request_timeout,
                                                            .stall_timeout = opt->stall_timeout},
                              on_request, s);
    if (!http_server_listen(s->http, &opt->at, NULL, err)) {
        apiserver_free(s);
        return NULL;
    }
    s->notify = reg_notify_open(s->store, s->env, on_applied, s);
    return s;
}

const struct env_addr *apiserver_addr(const struct apiserver *s)
{
    return http_server_addr(s->http, 0);
}

struct metric_set *apiserver_metrics(struct apiserver *s)
{
    api_watches_measure(s);
    return s->metrics;
}

void apiserver_close(struct apiserver *s, wf_ms grace, void (*on_closed)(void *ctx), void *ctx)
{
    http_server_close(s->http, grace, on_closed, ctx);
}

void apiserver_free(struct apiserver *s)
{
    if (!s)
        return;
    http_server_free(s->http);
    api_writes_leave(s);
    api_indexes_leave(s);
    api_changes_leave(s);
    api_snapshots_leave(s);
    reg_notify_close(s->notify);
    metric_set_free(s->metrics);
    api_line_fini(&s->line);
    mem_free(s);
}
