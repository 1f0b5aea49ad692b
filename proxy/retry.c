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

static bool name_parse(struct slice name, uint32_t *ret_bit)
{
    static const struct {
        struct slice name;
        uint32_t bit;
    } table[] = {
        {S_INIT("5xx"), RETRY_5XX},
        {S_INIT("gateway-error"), RETRY_GATEWAY_ERROR},
        {S_INIT("reset"), RETRY_RESET},
        {S_INIT("connect-failure"), RETRY_CONNECT_FAILURE},
        {S_INIT("refused-stream"), RETRY_REFUSED_STREAM},
        {S_INIT("retriable-4xx"), RETRY_RETRIABLE_4XX},
        {S_INIT("retriable-status-codes"), RETRY_RETRIABLE_STATUS_CODES},
        {S_INIT("reset-before-request"), RETRY_RESET_BEFORE_REQUEST},
        {S_INIT("cancelled"), RETRY_GRPC_CANCELLED},
        {S_INIT("deadline-exceeded"), RETRY_GRPC_DEADLINE_EXCEEDED},
        {S_INIT("internal"), RETRY_GRPC_INTERNAL},
        {S_INIT("resource-exhausted"), RETRY_GRPC_RESOURCE_EXHAUSTED},
        {S_INIT("unavailable"), RETRY_GRPC_UNAVAILABLE},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (slice_eq(table[i].name, name)) {
            *ret_bit = table[i].bit;
            return true;
        }
    }
    return false;
}

bool retry_on_parse(struct slice text, struct arena *arena, struct retry_policy *p, struct err *err)
{
    struct slice token, rest = text;
    size_t cap = p->status_count + text.n / 4 + 1;
    uint32_t *statuses = ARENA_ARRAY(arena, uint32_t, cap), bit, status;
    for (size_t i = 0; i < p->status_count; i++)
        statuses[i] = p->statuses[i];
    p->statuses = statuses;
    while (rest.n) {
        slice_cut(rest, ',', &token, &rest);
        token = slice_trim(token);
        if (!token.n)
            continue;
        if (name_parse(token, &bit)) {
            p->on |= bit;
        } else if (slice_u32(token, &status) && status >= 100 && status <= 599) {
            p->on |= RETRY_RETRIABLE_STATUS_CODES;
            p->statuses[p->status_count++] = status;
        } else {
            return err_set(err, ERR_INVALID, "retry_on: \"%.*s\" is no condition", SLICE(token));
        }
    }
    return true;
}
