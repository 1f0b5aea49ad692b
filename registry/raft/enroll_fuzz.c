/* Who holds no certificate sends these bytes to a member: they must not crash it, and what is taken
 * encodes to the same bytes again. The answer the same way, for the node that joins. */
#include <stdint.h>

#include "base/core/assert.h"
#include "registry/raft/enroll.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_mem(data, size);
    struct enroll_ask ask;
    struct enroll_answer answer;
    struct err err = {0}, why;
    struct buf again = {0};
    if (enroll_ask_decode(in, &ask, &err)) {
        enroll_ask_encode(&again, &ask);
        wf_assert(slice_eq(buf_slice(&again), in));
    }
    buf_clear(&again);
    if (enroll_answer_decode(in, &answer, &why, &err)) {
        if (why.code)
            enroll_refusal_encode(&again, &why);
        else
            enroll_answer_encode(&again, &answer);
        wf_assert(why.code || slice_eq(buf_slice(&again), in));
    }
    buf_fini(&again);
    return 0;
}
