/* The first bytes that a proxy sends: DiscoveryRequest and DeltaDiscoveryRequest. The first byte of
 * the input chooses. */
#include "api/fuzz_resource.h"
#include "api/proto/discovery.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0)
        return 0;
    const ProtobufCMessageDescriptor *type =
        data[0] & 1 ? &envoy__service__discovery__v3__delta_discovery_request__descriptor
                    : &envoy__service__discovery__v3__discovery_request__descriptor;
    struct arena arena = {0};
    (void)fuzz_message(type, slice_mem(data + 1, n - 1), &arena);
    arena_fini(&arena);
    return 0;
}
