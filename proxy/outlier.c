#include "proxy/outlier.h"

#include "base/core/assert.h"

static bool gateway_failure(int status)
{
    return status == 0 || (status >= 502 && status <= 504);
}

static bool row(uint32_t *count, bool failed, uint32_t threshold)
{
    *count = failed ? *count + 1 : 0;
    return threshold && *count >= threshold;
}

bool outlier_result(struct outlier_host *h, const struct outlier_options *opt, int status)
{
    bool failed = status == 0 || status >= 500;
    bool by_5xx = row(&h->row_5xx, failed, opt->consecutive_5xx);
    bool by_gateway = row(&h->row_gateway, gateway_failure(status), opt->consecutive_gateway);
    return opt->interval && !h->until && (by_5xx || by_gateway);
}

bool outlier_eject(struct outlier_host *h, const struct outlier_options *opt, uint32_t ejected,
                   uint32_t total, wf_ms now)
{
    wf_assert(!h->until);
    wf_assert(total > 0);
    if (ejected && (uint64_t)(ejected + 1) * 100 > (uint64_t)opt->max_percent * total)
        return false;
    h->times++;
    wf_ms span = opt->ejection_base * h->times;
    wf_ms cap = opt->ejection_max > opt->ejection_base ? opt->ejection_max : opt->ejection_base;
    h->until = now + (span < cap ? span : cap);
    h->until = h->until > 0 ? h->until : 1;
    h->row_5xx = h->row_gateway = 0;
    return true;
}

bool outlier_due(struct outlier_host *h, wf_ms now)
{
    if (!h->until) {
        h->times -= h->times > 0;
        return false;
    }
    if (now < h->until)
        return false;
    h->until = 0;
    return true;
}
