/* What a control plane sends to our proxy: DiscoveryResponse and DeltaDiscoveryResponse (the first
 * byte of the input chooses), and every resource inside by its type URL. */
#include "api/fuzz_resource.h"
#include "api/proto/discovery.pb-c.h"
#include "api/xds_types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void resource(const Google__Protobuf__Any *any, struct arena *arena)
{
    const ProtobufCMessageDescriptor *type = any_type(any);
    if (!type)
        return;
    const void *msg = fuzz_message(type, any_value(any), arena);
    const struct xds_type_info *xds = xds_type_by_url(pb_slice(any->type_url));
    if (msg && xds)
        wf_assert(
            slice_eq(xds_resource_name(xds, msg), xds_resource_name_wire(xds, any_value(any))));
}

static void sotw(struct slice wire, struct arena *arena)
{
    const Envoy__Service__Discovery__V3__DiscoveryResponse *r =
        fuzz_message(&envoy__service__discovery__v3__discovery_response__descriptor, wire, arena);
    for (size_t i = 0; r && i < r->n_resources; i++)
        resource(r->resources[i], arena);
}

static void delta(struct slice wire, struct arena *arena)
{
    const Envoy__Service__Discovery__V3__DeltaDiscoveryResponse *r = fuzz_message(
        &envoy__service__discovery__v3__delta_discovery_response__descriptor, wire, arena);
    for (size_t i = 0; r && i < r->n_resources; i++)
        resource(r->resources[i]->resource, arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    struct arena arena = {0};
    struct slice wire = slice_mem(data + 1, n - 1);
    if (data[0] & 1)
        delta(wire, &arena);
    else
        sotw(wire, &arena);
    arena_fini(&arena);
    return 0;
}
