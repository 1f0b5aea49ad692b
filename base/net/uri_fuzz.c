/* Decoding never reads past its input, and what it takes survives encoding and decoding again. */
#include "base/core/assert.h"
#include "base/net/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a = {0};
    struct slice in = slice_mem(data, size), out, back, rest = in, name, value;
    if (uri_decode(in, &a, &out)) {
        bool nul_in = slice_find(in, '\0') != SIZE_MAX;
        wf_assert(out.n <= in.n && (slice_find(out, '\0') != SIZE_MAX) == nul_in);
        if (!nul_in)
            wf_assert(uri_decode(uri_encode(out, &a), &a, &back) && slice_eq(out, back));
    }
    while (uri_query_next(&rest, &name, &value)) {
        wf_assert(name.n + value.n <= in.n);
        if (uri_query_get(in, name, &a, &out))
            wf_assert(out.n <= in.n);
    }
    arena_fini(&a);
    return 0;
}
