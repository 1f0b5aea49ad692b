/* Any bytes: no crash, and what parses is written in a form that reads back the same. */
#include "base/wire/json.h"

#include "base/core/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    json_t *v = json_parse(slice_mem(data, size), &err);
    if (!v) {
        wf_assert(err.code == ERR_INVALID || err.code == ERR_LIMIT);
        return 0;
    }
    struct buf once = {0}, twice = {0};
    wf_assert(json_write(&once, v, &err));
    json_t *again = json_parse(buf_slice(&once), &err);
    wf_assert(again && json_same(v, again) && json_write(&twice, again, &err));
    wf_assert(slice_eq(buf_slice(&once), buf_slice(&twice)));
    json_decref(v);
    json_decref(again);
    buf_fini(&once);
    buf_fini(&twice);
    return 0;
}
