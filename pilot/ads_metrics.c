#include "pilot/ads_server_impl.h"

/* Seconds, Istio's bounds for what they call convergence; finer below, where we are. */
static const double seconds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                 0.25,  0.5,    1,     3,    5,     10,   30};
static const double sizes[] = {1e3, 1e4, 1e5, 1e6, 4e6, 1e7, 4e7};

static const struct metric_def connected_def = {
    .name = "pilot_xds", .kind = METRIC_GAUGE, .help = "Proxies connected to this node by xDS"};
static const struct metric_def pushes_def = {
    .name = "pilot_xds_pushes", .kind = METRIC_COUNTER, .help = "xDS responses sent, by type"};
static const struct metric_def rejects_def = {.name = "pilot_total_xds_rejects",
                                              .kind = METRIC_COUNTER,
                                              .help =
                                                  "xDS responses that proxies rejected, by type"};
static const struct metric_def nacks_def = {.name = "weft_xds_nack_total",
                                            .kind = METRIC_COUNTER,
                                            .help = "xDS responses that proxies rejected, by type"};
static const struct metric_def bytes_def = {.name = "pilot_xds_config_size_bytes",
                                            .kind = METRIC_HISTOGRAM,
                                            .help = "Resource bytes of one xDS response, by type",
                                            .buckets = sizes,
                                            .bucket_count = ARRAY_LEN(sizes)};
static const struct metric_def ack_def = {.name = "pilot_xds_send_time",
                                          .kind = METRIC_HISTOGRAM,
                                          .help = "Seconds from a response to its ACK, by type",
                                          .buckets = seconds,
                                          .bucket_count = ARRAY_LEN(seconds)};
static const struct metric_def nonce_def = {
    .name = "pilot_xds_expired_nonce",
    .kind = METRIC_COUNTER,
    .help = "xDS requests that answered a response other than the last"};
static const struct metric_def convergence_def = {
    .name = "pilot_proxy_convergence_time",
    .kind = METRIC_HISTOGRAM,
    .help = "Seconds from the commit of a change to its acknowledgement by a proxy",
    .buckets = seconds,
    .bucket_count = ARRAY_LEN(seconds)};
static const struct metric_def malformed_def = {
    .name = "pilot_total_xds_internal_errors",
    .kind = METRIC_COUNTER,
    .help = "xDS streams ended because of a malformed request"};
static const struct metric_def refused_def = {
    .name = "weft_xds_streams_refused_total",
    .kind = METRIC_COUNTER,
    .help = "xDS streams refused because the worker had as many as it may"};

static struct metric *of_type(struct metric_set *set, const struct metric_def *def, size_t type)
{
    struct slice name = slice_of(xds_types[type].short_name);
    return metric_get(set, def, 1, (struct metric_label[]){{S("type"), name}});
}

void ads_metrics_init(struct ads_metrics *m, struct metric_set *set)
{
    m->connected = metric_get(set, &connected_def, 1,
                              (struct metric_label[]){{S("version"), S(WEFT_VERSION)}});
    for (size_t t = 0; t < XDS_TYPE_COUNT; t++) {
        m->pushes[t] = of_type(set, &pushes_def, t);
        m->rejects[t] = of_type(set, &rejects_def, t);
        m->nacks[t] = of_type(set, &nacks_def, t);
        m->bytes[t] = of_type(set, &bytes_def, t);
        m->ack_time[t] = of_type(set, &ack_def, t);
    }
    m->expired_nonce = metric_get(set, &nonce_def, 0, NULL);
    m->convergence_time = metric_get(set, &convergence_def, 0, NULL);
    m->malformed = metric_get(set, &malformed_def, 0, NULL);
    m->refused = metric_get(set, &refused_def, 0, NULL);
}
