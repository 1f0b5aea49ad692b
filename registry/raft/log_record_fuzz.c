/* A log segment from a damaged disk must be refused or read, never crash the node, and a segment
 * that reads must read the same again. */
#include <stdint.h>

#include "base/core/assert.h"
#include "registry/raft/log_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool on_record(void *ctx, const struct log_record *r, struct err *err)
{
    (void)err;
    uint64_t *sum = ctx;
    *sum = *sum * 31 + r->index + r->payload.n;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice s = slice_mem(data, size);
    struct err err = {0};
    for (int last = 0; last < 2; last++) {
        struct log_scan_end a = {0}, b = {0};
        uint64_t sum_a = 0, sum_b = 0;
        bool ok = log_segment_scan(s, 1, last, 2, 3, NULL, on_record, &sum_a, &a, &err);
        wf_assert(ok == log_segment_scan(s, 1, last, 2, 3, NULL, on_record, &sum_b, &b, &err));
        wf_assert(sum_a == sum_b && a.offset == b.offset);
        wf_assert(!ok || a.offset <= size);
        wf_assert(!ok || last || !a.torn);
    }
    /* The records alone, past a head that chance will not hit. */
    struct log_record rec;
    size_t n;
    uint64_t chain;
    if (log_record_decode(s, 1, &rec, &n, &chain) == LOG_DECODE_OK)
        wf_assert(n <= size && rec.payload.n <= n);
    return 0;
}
