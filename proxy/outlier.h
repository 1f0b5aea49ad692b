/* Outlier detection: an endpoint that fails again and again gets no requests for a while. Pure.
 *
 *   if (outlier_result(&host->outlier, &o->opt, outcome)) ask outlier_eject(&host->outlier, …)
 *   once an interval: if (outlier_due(&host->outlier, opt, now)) take it back
 *
 * As in Envoy: counts of consecutive failures; ejection lasts base x the number of ejections so
 * far, at most `ejection_max`; at most max_percent of the cluster (but always one) is out at a
 * time; an interval without ejection takes one off the multiplier.
 */
#ifndef WEFT_PROXY_OUTLIER_H
#define WEFT_PROXY_OUTLIER_H

#include "base/core/slice.h"

struct outlier_options {
    uint32_t consecutive_5xx, consecutive_gateway; /* 0 = not counted */
    uint32_t max_percent;
    wf_ms interval, ejection_base, ejection_max; /* interval 0: off */
};

/* Zeroed: a host in good standing. */
struct outlier_host {
    uint32_t row_5xx, row_gateway; /* failures in a row */
    uint32_t times;                /* multiplier of the ejection time */
    wf_ms until;                   /* ejected until; 0 = not */
};

/* A response's status, or 0 for a connection that failed or was reset (Envoy counts it as 5xx and
 * as gateway failure). True when the host has reached a threshold. */
bool outlier_result(struct outlier_host *h, const struct outlier_options *opt, int status);
/* Ejects unless too many of the cluster's hosts are out. ejected, total: of the cluster, now. */
bool outlier_eject(struct outlier_host *h, const struct outlier_options *opt, uint32_t ejected,
                   uint32_t total, wf_ms now);
/* Once an interval. True: its time is over, the caller takes it back. */
bool outlier_due(struct outlier_host *h, wf_ms now);

#endif
