/* Certificates and requests come from strangers: reading one must not crash, and a
 * request that is accepted has a key. The bytes are taken as text, and as what the text of a
 * certificate or a request holds. */
#include "base/core/assert.h"
#include "base/wire/base64.h"
#include "base/wire/x509.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_text(struct slice text)
{
    struct buf out = {0};
    struct x509_info info;
    struct err err = {0};
    if (x509_read(text, &info, &err))
        wf_assert(slice_of(info.name).n <= X509_COMMON_NAME_MAX);
    if (x509_csr_public(text, &out, &err))
        wf_assert(out.n > 0);
    buf_fini(&out);
}

static void try_der(const char *label, struct slice der)
{
    struct buf pem = {0};
    buf_printf(&pem, "-----BEGIN %s-----\n", label);
    for (; der.n; der = slice_skip(der, 48)) {
        base64_encode(&pem, slice_sub(der, 0, 48));
        buf_append_byte(&pem, '\n');
    }
    buf_printf(&pem, "-----END %s-----\n", label);
    try_text(buf_slice(&pem));
    buf_fini(&pem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_mem(data, size);
    try_text(in);
    try_der("CERTIFICATE", in);
    try_der("CERTIFICATE REQUEST", in);
    return 0;
}
