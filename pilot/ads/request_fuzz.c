/* Bytes of a peer as a request of either variant. What is accepted must be within the bounds, and a
 * session must bear it: it is fed to one, twice, around a snapshot. */
#include "base/core/assert.h"
#include "pilot/ads/ads_limits.h"
#include "pilot/ads/testing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct ads_request *req)
{
    wf_assert(req->name_count <= ADS_NAMES_MAX && req->initial_count <= ADS_NAMES_MAX);
    for (size_t i = 0; i < req->name_count; i++)
        wf_assert(req->names[i].n <= ADS_NAME_BYTES_MAX && slice_utf8(req->names[i]));
    if (req->node)
        wf_assert(req->node->class_input.label_count <= ADS_NODE_LABELS_MAX);
}

static void feed(const struct ads_request *req, enum xds_variant variant)
{
    struct ads_names names = {0};
    struct world w = {0};
    struct ads_out out = {0};
    struct ads_request known = *req;
    struct ads_node node = {.id = S("n")};
    known.node = req->node ? req->node : &node;
    struct ads *a = ads_new(&(struct ads_options){.names = &names, .variant = variant});
    world_put(&w, XDS_CDS, S("a"), S("body"), S("a"));
    struct xds_view *view = world_view(&w);
    const struct ads_event request = {.kind = ADS_REQUEST, .request = &known};
    const struct ads_event snapshot = {.kind = ADS_SNAPSHOT, .view = view, .revision = w.revision};
    ads_step(a, 1, &request, &out);
    ads_step(a, 2, &snapshot, &out);
    ads_step(a, 3, &request, &out);
    ads_step(a, 30000, &(struct ads_event){.kind = ADS_TICK}, &out);
    ads_out_reset(&out);
    ads_free(a);
    xds_view_unref(view);
    world_fini(&w);
    ads_names_fini(&names);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    enum xds_variant variant = data[0] & 1 ? XDS_DELTA : XDS_SOTW;
    struct arena arena = {0};
    struct ads_request req;
    struct err err;
    if (ads_request_parse(slice_mem(data + 1, size - 1), variant, &arena, &req, &err)) {
        check(&req);
        feed(&req, variant);
    }
    arena_fini(&arena);
    return 0;
}
