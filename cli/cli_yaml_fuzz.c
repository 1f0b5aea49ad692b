/* Apply's loader: any bytes as a file, and every place that a server may name in them. */
#include "base/core/assert.h"
#include "cli/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest m = {.ns = S("default"), .ns_fixed = size % 2 == 0};
    struct err err = {0};
    struct slice text = slice_mem(data, size), rest;
    size_t index;
    if (!manifest_add(&m, S("fuzz"), text, &err))
        wf_assert(err.code != ERR_NONE);
    for (size_t i = 0; i < m.items.n; i++) {
        const struct manifest_item *item = &m.items.p[i];
        wf_assert(item->kind && item->name.n && json_is_object(item->object));
        wf_assert(!item->kind->namespaced || item->ns.n);
        wf_assert(manifest_line(item, S("spec.http[0].route[0]")) >= 1);
        wf_assert(manifest_line(item, text) >= 1);
    }
    if (manifest_place(manifest_all(&m), text, &index, &rest))
        wf_assert(index < m.items.n && rest.n < text.n);
    manifest_fini(&m);
    return 0;
}
