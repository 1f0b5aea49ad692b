#include "proxy/stats.h"

static const struct metric_def cluster_defs[] = {
#define X(field, kind, name, help) {"envoy_cluster_" name, METRIC_##kind, help, NULL, 0},
    STATS_CLUSTER(X)
#undef X
};
static const struct metric_def http_defs[] = {
#define X(field, kind, name, help) {"envoy_http_" name, METRIC_##kind, help, NULL, 0},
    STATS_HTTP(X)
#undef X
};
static const struct metric_def worker_defs[] = {
#define X(field, kind, name, help) {"envoy_listener_" name, METRIC_##kind, help, NULL, 0},
    STATS_WORKER(X)
#undef X
};
static const struct metric_def cluster_xx = {"envoy_cluster_upstream_rq_xx", METRIC_COUNTER,
                                             "Responses by class", NULL, 0};
static const struct metric_def http_xx = {"envoy_http_downstream_rq_xx", METRIC_COUNTER,
                                          "Responses by class", NULL, 0};

static void classes_init(struct metric *xx[STATS_CLASSES], struct metric_set *set,
                         const struct metric_def *def, struct metric_label owner)
{
    static const struct slice names[STATS_CLASSES] = {S_INIT("1"), S_INIT("2"), S_INIT("3"),
                                                      S_INIT("4"), S_INIT("5")};
    for (size_t i = 0; i < STATS_CLASSES; i++) {
        struct metric_label labels[] = {owner, {S("envoy_response_code_class"), names[i]}};
        xx[i] = metric_get(set, def, 2, labels);
    }
}

void cluster_stats_init(struct cluster_stats *s, struct metric_set *set, struct slice cluster)
{
    struct metric_label owner = {S("envoy_cluster_name"), cluster};
    size_t i = 0;
#define X(field, kind, name, help) s->field = metric_get(set, &cluster_defs[i++], 1, &owner);
    STATS_CLUSTER(X)
#undef X
    classes_init(s->rq_xx, set, &cluster_xx, owner);
}

void listener_stats_init(struct listener_stats *s, struct metric_set *set, struct slice prefix)
{
    struct metric_label owner = {S("envoy_http_conn_manager_prefix"), prefix};
    size_t i = 0;
#define X(field, kind, name, help) s->field = metric_get(set, &http_defs[i++], 1, &owner);
    STATS_HTTP(X)
#undef X
    classes_init(s->rq_xx, set, &http_xx, owner);
}

void worker_stats_init(struct worker_stats *s, struct metric_set *set)
{
    size_t i = 0;
#define X(field, kind, name, help) s->field = metric_get(set, &worker_defs[i++], 0, NULL);
    STATS_WORKER(X)
#undef X
}

void stats_class_add(struct metric *const xx[STATS_CLASSES], unsigned status)
{
    if (status >= 100 && status < 600)
        metric_add(xx[status / 100 - 1], 1);
}
