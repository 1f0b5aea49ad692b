/* A hostile or broken control plane: any bytes as a response, then the tree that results. */
#include "proxy/xds/ads.h"
#include "proxy/xds/lkg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ads_node node = {.id = S_INIT("n"), .cluster = S_INIT("c")};
    struct resources rs = {0};
    struct ads ads;
    struct ads_out out = {0};
    struct err err = {0};
    ads_init(&ads, &node, &rs);
    ads_open(&ads, &out);
    if (ads_message(&ads, slice_mem(data, size), 0, &out, &err)) {
        struct conf *c = resources_seal(&rs, &err);
        if (c) {
            ads_sealed(&ads, c->generation);
            ads_applied(&ads, c->generation, &(struct bind_failures){0}, &out);
            conf_unref(c);
        }
    }
    lkg_decode(&rs, S("n"), slice_mem(data, size), 0, &err);
    ads_out_fini(&out);
    ads_fini(&ads);
    resources_fini(&rs);
    return 0;
}
