/* Envoy's statistics by their Prometheus names, made at first use: an idle cluster costs nothing.
 */
#ifndef WEFT_PROXY_STATS_H
#define WEFT_PROXY_STATS_H

#include "base/core/metric.h"

/* X(field, kind, suffix of the name, help) */
#define STATS_CLUSTER(X)                                                                           \
    X(rq_total, COUNTER, "upstream_rq_total", "Requests")                                          \
    X(rq_active, GAUGE, "upstream_rq_active", "Requests under way")                                \
    X(rq_pending_total, COUNTER, "upstream_rq_pending_total", "Requests that waited")              \
    X(rq_pending_active, GAUGE, "upstream_rq_pending_active", "Requests that wait")                \
    X(rq_pending_overflow, COUNTER, "upstream_rq_pending_overflow", "Refused by a breaker")        \
    X(rq_pending_failure_eject, COUNTER, "upstream_rq_pending_failure_eject",                      \
      "Failed with their connection")                                                              \
    X(rq_cancelled, COUNTER, "upstream_rq_cancelled", "Cancelled before a connection was there")   \
    X(rq_timeout, COUNTER, "upstream_rq_timeout", "Route time-outs")                               \
    X(rq_per_try_timeout, COUNTER, "upstream_rq_per_try_timeout", "Per-try time-outs")             \
    X(rq_rx_reset, COUNTER, "upstream_rq_rx_reset", "Reset by the upstream")                       \
    X(rq_tx_reset, COUNTER, "upstream_rq_tx_reset", "Reset by us")                                 \
    X(rq_retry, COUNTER, "upstream_rq_retry", "Retries")                                           \
    X(rq_retry_success, COUNTER, "upstream_rq_retry_success", "Retries that worked")               \
    X(rq_retry_overflow, COUNTER, "upstream_rq_retry_overflow", "Retries refused by the budget")   \
    X(rq_retry_limit_exceeded, COUNTER, "upstream_rq_retry_limit_exceeded",                        \
      "Requests that used all their retries")                                                      \
    X(cx_total, COUNTER, "upstream_cx_total", "Connections")                                       \
    X(cx_active, GAUGE, "upstream_cx_active", "Open connections")                                  \
    X(cx_http1_total, COUNTER, "upstream_cx_http1_total", "HTTP/1.1 connections")                  \
    X(cx_http2_total, COUNTER, "upstream_cx_http2_total", "HTTP/2 connections")                    \
    X(cx_connect_fail, COUNTER, "upstream_cx_connect_fail", "Failed connects")                     \
    X(cx_connect_timeout, COUNTER, "upstream_cx_connect_timeout", "Connects that timed out")       \
    X(cx_idle_timeout, COUNTER, "upstream_cx_idle_timeout", "Closed for being idle")               \
    X(cx_overflow, COUNTER, "upstream_cx_overflow", "Connections refused by the breaker")          \
    X(cx_destroy, COUNTER, "upstream_cx_destroy", "Closed connections")                            \
    X(cx_rx_bytes, COUNTER, "upstream_cx_rx_bytes_total", "Bytes received")                        \
    X(cx_tx_bytes, COUNTER, "upstream_cx_tx_bytes_total", "Body bytes sent")                       \
    X(none_healthy, COUNTER, "upstream_cx_none_healthy", "Requests without a healthy endpoint")    \
    X(outlier_ejections, COUNTER, "outlier_detection_ejections_enforced_total", "Ejections")       \
    X(outlier_active, GAUGE, "outlier_detection_ejections_active", "Ejected endpoints")            \
    X(membership_total, GAUGE, "membership_total", "Endpoints")                                    \
    X(membership_healthy, GAUGE, "membership_healthy", "Healthy endpoints")

#define STATS_HTTP(X)                                                                              \
    X(cx_total, COUNTER, "downstream_cx_total", "Connections")                                     \
    X(cx_active, GAUGE, "downstream_cx_active", "Open connections")                                \
    X(cx_http1_total, COUNTER, "downstream_cx_http1_total", "HTTP/1 connections")                  \
    X(cx_http2_total, COUNTER, "downstream_cx_http2_total", "HTTP/2 connections")                  \
    X(cx_protocol_error, COUNTER, "downstream_cx_protocol_error", "Closed for malformed bytes")    \
    X(cx_idle_timeout, COUNTER, "downstream_cx_idle_timeout", "Closed for being idle")             \
    X(cx_upgrades_total, COUNTER, "downstream_cx_upgrades_total", "Upgraded streams")              \
    X(rq_total, COUNTER, "downstream_rq_total", "Requests")                                        \
    X(rq_active, GAUGE, "downstream_rq_active", "Requests under way")                              \
    X(rq_rx_reset, COUNTER, "downstream_rq_rx_reset", "Reset by the client")                       \
    X(rq_timeout, COUNTER, "downstream_rq_timeout", "Request time-outs")                           \
    X(rq_idle_timeout, COUNTER, "downstream_rq_idle_timeout", "Idle streams")                      \
    X(rq_header_timeout, COUNTER, "downstream_rq_header_timeout", "Heads that did not arrive")

#define STATS_WORKER(X)                                                                            \
    X(cx_total, COUNTER, "downstream_cx_total", "Accepted connections")                            \
    X(cx_active, GAUGE, "downstream_cx_active", "Open connections")                                \
    X(cx_overflow, COUNTER, "downstream_cx_overflow", "Connections over the worker's bound")       \
    X(log_dropped, COUNTER, "access_log_dropped", "Lines that found no room")

/* Classes 1xx to 5xx. */
#define STATS_CLASSES 5

struct cluster_stats {
#define X(field, kind, name, help) struct metric *field;
    STATS_CLUSTER(X)
#undef X
    struct metric *rq_xx[STATS_CLASSES];
};

struct listener_stats {
#define X(field, kind, name, help) struct metric *field;
    STATS_HTTP(X)
#undef X
    struct metric *rq_xx[STATS_CLASSES];
};

struct worker_stats {
#define X(field, kind, name, help) struct metric *field;
    STATS_WORKER(X)
#undef X
};

void cluster_stats_init(struct cluster_stats *s, struct metric_set *set, struct slice cluster);
void listener_stats_init(struct listener_stats *s, struct metric_set *set, struct slice prefix);
void worker_stats_init(struct worker_stats *s, struct metric_set *set);
/* One more of the status' class. */
void stats_class_add(struct metric *const xx[STATS_CLASSES], unsigned status);

#endif
