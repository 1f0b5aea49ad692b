#include "mixer/format.h"

#include "base/core/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any text compiles or is refused; what compiles writes one line, whatever a peer sent. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text, peer, all = slice_mem(data, size);
    slice_cut(all, '\n', &text, &peer);
    struct format *f = format_new(text, NULL);
    if (!f)
        return 0;
    struct arena arena = {0};
    struct buf out = {.limit = 1u << 20};
    struct http_head head = {.method = peer, .path = peer, .authority = peer};
    headers_add_name(&head.headers, &arena, S("user-agent"), peer);
    struct record r = {.request = &head, .grpc_status = -1, .server_name = peer, .details = peer};
    if (format_write(f, &r, FORMAT_TEXT, &out))
        for (size_t i = 0; i < out.n; i++)
            wf_assert(buf_slice(&out).p[i] != '\n' || slice_find(text, '\n') != SIZE_MAX);
    buf_clear(&out);
    format_write(f, &r, FORMAT_JSON, &out);
    buf_fini(&out);
    arena_fini(&arena);
    format_free(f);
    return 0;
}
