/* Whether a failed try is repeated, and when. Pure.
 *
 *   struct retry_outcome o = {.status = 503, .grpc_status = -1};
 *   if (retries < p->attempts_max && retry_wanted(p, &o) && retry_budget_allows(…))
 *       again after retry_backoff(p, ++retries, rng_next(&rng)) ms
 *
 * Names and meaning: Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on.
 */
#ifndef WEFT_PROXY_RETRY_H
#define WEFT_PROXY_RETRY_H

#include "proxy/conf.h"

enum try_failure {
    TRY_OK, /* a response came: see status */
    TRY_CONNECT_FAILURE,
    TRY_REFUSED_STREAM,       /* the peer says it did nothing */
    TRY_RESET_BEFORE_REQUEST, /* the connection ended before a byte of the request left */
    TRY_RESET,                /* the connection ended */
    TRY_REMOTE_RESET,         /* the upstream reset the stream alone */
    TRY_TIMEOUT,              /* per-try timeout */
    TRY_OVERFLOW,             /* our own circuit breaker: never repeated */
};

struct retry_outcome {
    enum try_failure failure;
    uint16_t status;
    int grpc_status; /* of a trailers-only response; -1 = none */
};

bool retry_wanted(const struct retry_policy *p, const struct retry_outcome *o);
/* Fully jittered: uniform in [0, (2^n - 1) x base), at most backoff_max. n: this is the n-th retry.
 */
wf_ms retry_backoff(const struct retry_policy *p, uint32_t n, uint64_t random);
/* requests: under way in the cluster, retries: how many of these are retries. */
bool retry_budget_allows(const struct cluster *c, uint32_t requests, uint32_t retries);

#endif
