/* Any bytes: no crash, and what parses is written in a form that reads back the same. What the fast
 * reader takes, jansson takes, with the same result. */
#include "base/wire/json.h"

#include "base/core/assert.h"
#include "base/wire/json_tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void compare(struct slice text)
{
    json_t *fast = json_tree_read(text, JSON_DEPTH_MAX);
    if (!fast)
        return;
    json_t *slow = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    wf_assert(slow && json_equal(fast, slow));
    json_decref(fast);
    json_decref(slow);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    compare(slice_mem(data, size));
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
