#include "proxy/retry.h"

#include "base/core/assert.h"
#include "base/wire/grpc.h"

static bool status_listed(const struct retry_policy *p, uint16_t status)
{
    for (size_t i = 0; i < p->status_count; i++)
        if (p->statuses[i] == status)
            return true;
    return false;
}

static bool status_wanted(const struct retry_policy *p, uint16_t status)
{
    return ((p->on & RETRY_5XX) && status >= 500) ||
           ((p->on & RETRY_GATEWAY_ERROR) && status >= 502 && status <= 504) ||
           ((p->on & RETRY_RETRIABLE_4XX) && status == 409) ||
           ((p->on & RETRY_RETRIABLE_STATUS_CODES) && status_listed(p, status));
}

static bool grpc_wanted(const struct retry_policy *p, int status)
{
    static const struct {
        int status;
        uint32_t bit;
    } table[] = {
        {GRPC_CANCELLED, RETRY_GRPC_CANCELLED},
        {GRPC_DEADLINE_EXCEEDED, RETRY_GRPC_DEADLINE_EXCEEDED},
        {GRPC_INTERNAL, RETRY_GRPC_INTERNAL},
        {GRPC_RESOURCE_EXHAUSTED, RETRY_GRPC_RESOURCE_EXHAUSTED},
        {GRPC_UNAVAILABLE, RETRY_GRPC_UNAVAILABLE},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].status == status)
            return (p->on & table[i].bit) != 0;
    return false;
}

bool retry_wanted(const struct retry_policy *p, const struct retry_outcome *o)
{
    /* Envoy counts each of these as a 5xx, since the client would get one. */
    const uint32_t any = RETRY_5XX | RETRY_GATEWAY_ERROR | RETRY_RESET;
    switch (o->failure) {
    case TRY_OK:
        return status_wanted(p, o->status) ||
               (o->grpc_status > 0 && grpc_wanted(p, o->grpc_status));
    case TRY_CONNECT_FAILURE:
        return (p->on & (any | RETRY_CONNECT_FAILURE | RETRY_RESET_BEFORE_REQUEST)) != 0;
    case TRY_REFUSED_STREAM:
        return (p->on & (any | RETRY_REFUSED_STREAM)) != 0;
    case TRY_RESET_BEFORE_REQUEST:
        return (p->on & (any | RETRY_RESET_BEFORE_REQUEST)) != 0;
    case TRY_RESET:
    case TRY_REMOTE_RESET:
    case TRY_TIMEOUT:
        return (p->on & any) != 0;
    case TRY_OVERFLOW:
        return false;
    }
    wf_unreachable("try failure");
}

wf_ms retry_backoff(const struct retry_policy *p, uint32_t n, uint64_t random)
{
    wf_assert(n > 0);
    wf_ms base = p->backoff_base > 0 ? p->backoff_base : 25;
    wf_ms max = p->backoff_max > 0 ? p->backoff_max : 10 * base;
    uint32_t shift = n < 20 ? n : 20;
    uint64_t span = (uint64_t)base * ((1u << shift) - 1);
    wf_ms delay = (wf_ms)(random % span);
    return delay < max ? delay : max;
}

bool retry_budget_allows(const struct cluster *c, uint32_t requests, uint32_t retries)
{
    if (!c->has_retry_budget)
        return retries < c->max_retries;
    double allowed = (double)requests * c->retry_budget_percent / 100.0;
    if (allowed < c->retry_budget_min)
        allowed = c->retry_budget_min;
    return (double)retries < allowed;
}
