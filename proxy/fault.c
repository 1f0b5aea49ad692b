#include "proxy/fault.h"

static bool hit(struct fraction f, uint64_t random)
{
    return random % 1000000 < f.per_million;
}

struct fault_verdict fault_decide(const struct fault *f, uint64_t random_delay,
                                  uint64_t random_abort)
{
    struct fault_verdict v = {.grpc_status = -1};
    if (f->delay > 0 && hit(f->delay_fraction, random_delay))
        v.delay = f->delay;
    if ((f->abort_status || f->abort_grpc >= 0) && hit(f->abort_fraction, random_abort)) {
        v.abort = true;
        v.status = f->abort_status ? (uint16_t)f->abort_status : 200;
        v.grpc_status = f->abort_status ? -1 : f->abort_grpc;
    }
    return v;
}
