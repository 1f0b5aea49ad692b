/* Fault injection: what an injected fault does to one request. Pure.
 *
 *   struct fault_verdict v = fault_decide(&route->fault, rng_next(&rng), rng_next(&rng));
 */
#ifndef WEFT_PROXY_FAULT_H
#define WEFT_PROXY_FAULT_H

#include "proxy/conf.h"

struct fault_verdict {
    wf_ms delay; /* first; 0 = none (flag DI) */
    bool abort;  /* then (flag FI) */
    uint16_t status;
    int grpc_status; /* -1 = none */
};

/* Delay and abort are decided each for itself, as in Envoy. */
struct fault_verdict fault_decide(const struct fault *f, uint64_t random_delay,
                                  uint64_t random_abort);

#endif
