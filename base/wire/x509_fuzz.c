/* Certificates and requests come from strangers: reading one must not crash, and what is accepted as
 * a key must be one that is read again. */
#include "base/core/assert.h"
#include "base/wire/x509.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_mem(data, size);
    struct buf out = {0}, again = {0};
    struct x509_info info;
    struct err err = {0};
    if (x509_read(in, &info, &err))
        wf_assert(slice_of(info.name).n <= X509_COMMON_NAME_MAX);
    x509_csr_public(in, &out, &err);
    if (x509_key_public(in, &again, &err))
        wf_assert(again.n > 0);
    buf_fini(&out);
    buf_fini(&again);
    return 0;
}
