/* A node's roster from the wire: what is accepted is in order, and encodes to the same bytes. */
#include "base/core/assert.h"
#include "pilot/roster.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct roster r;
    struct err err;
    if (!roster_decode(slice_mem(data, size), &r, &err))
        return 0;
    const struct roster *self[] = {&r};
    struct buf again = {0};
    wf_assert(roster_missing(&r, self, 0) == r.n);
    wf_assert(roster_missing(&r, self, 1) == 0);
    roster_encode(&r, &again);
    wf_assert(slice_eq(buf_slice(&again), slice_mem(data, size)));
    buf_fini(&again);
    roster_fini(&r);
    return 0;
}
