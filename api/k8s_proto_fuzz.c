/* Any bytes behind the magic: no crash, and an object that JSON can show. */
#include "api/k8s_proto.h"
#include "base/core/assert.h"
#include "base/wire/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    struct buf out = {0};
    json_t *o = k8s_proto_parse(slice_mem(data, size), &err);
    wf_assert(o || err.code == ERR_INVALID || err.code == ERR_UNSUPPORTED || err.code == ERR_LIMIT);
    if (o) {
        wf_assert(json_write(&out, o, &err));
        json_t *again = json_parse_capped(buf_slice(&out), 64u << 20, JSON_DEPTH_MAX, &err);
        wf_assert(again && json_same(o, again));
        json_decref(again);
    }
    buf_fini(&out);
    json_decref(o);
    return 0;
}
