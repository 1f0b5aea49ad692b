/* A log entry or a forwarded request of any bytes is refused or read, and what is read is written
 * and read again the same. */
#include <stdint.h>
#include <string.h>

#include "base/core/assert.h"
#include "registry/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_again(const struct reg_request *q)
{
    struct buf bytes = {0}, again = {0};
    struct arena arena = {0};
    struct reg_request second;
    struct err err = {0};
    reg_request_encode(&bytes, q);
    struct reader r = reader_of(buf_slice(&bytes));
    wf_assert(reg_request_decode(&r, VERSION_NEWEST, &arena, &second, &err));
    wf_assert(reader_done(&r));
    reg_request_encode(&again, &second);
    wf_assert(slice_eq(buf_slice(&bytes), buf_slice(&again)));
    arena_fini(&arena);
    buf_fini(&bytes);
    buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice s = slice_mem(data, size);
    struct arena arena = {0};
    struct err err = {0};
    struct reg_entry_head head = {0};
    struct reader r = reader_of(s);
    struct reg_request q;
    if (reg_entry_open(&r, &head, &err))
        for (uint32_t i = 0; i < head.count; i++)
            if (!reg_request_decode(&r, head.version, &arena, &q, &err))
                break;
    for (unsigned version = 1; version <= VERSION_NEWEST; version++) {
        r = reader_of(s);
        if (reg_request_decode(&r, version, &arena, &q, &err))
            read_again(&q);
    }
    arena_fini(&arena);
    return 0;
}
