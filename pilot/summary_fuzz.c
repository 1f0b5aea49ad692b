/* A node's summary from the wire: what is accepted is consistent, and encodes to the same bytes. */
#include "base/core/assert.h"
#include "pilot/summary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct summary s;
    struct err err;
    if (summary_decode(slice_mem(data, size), &arena, &s, &err)) {
        wf_assert(summary_dist_at_least(&s.converged, 0) == s.total);
        struct buf again = {0};
        summary_encode(&s, &again);
        if (s.converged.n <= 64 && s.settled.n <= 64)
            wf_assert(slice_eq(buf_slice(&again), slice_mem(data, size)));
        buf_fini(&again);
    }
    arena_fini(&arena);
    return 0;
}
