/* The resource types of xDS, in the order in which their changes are pushed (clusters before what
 * sends to them, listeners before their routes), and the gRPC paths that carry them.
 *
 *   const struct xds_type_info *t = xds_type_by_url(slice_of(request->type_url));
 *   if (!t) … a type that weft does not serve: answer with nothing, keep the stream
 *   struct slice name = xds_resource_name(t, cluster);
 */
#ifndef WEFT_API_XDS_TYPES_H
#define WEFT_API_XDS_TYPES_H

#include "base/wire/pb.h"

enum xds_type {
    XDS_CDS,
    XDS_EDS,
    XDS_LDS,
    XDS_RDS,
    XDS_VHDS,
    XDS_TYPE_COUNT,
};

struct xds_type_info {
    enum xds_type type;
    const char *short_name; /* "cds" */
    struct slice url;       /* "type.googleapis.com/envoy.config.cluster.v3.Cluster" */
    const ProtobufCMessageDescriptor *message;
    /* A request without names subscribes to everything (xDS: wildcard), and a state-of-the-world
     * response lists all resources, so that what is missing is deleted. */
    bool wildcard;
    /* Services of this type alone; their requests may leave out type_url. Empty where xDS has none.
     */
    struct slice sotw_path, delta_path;
};

/* Indexed by enum xds_type. */
extern const struct xds_type_info xds_types[XDS_TYPE_COUNT];

#define XDS_PATH_ADS_SOTW                                                                          \
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
#define XDS_PATH_ADS_DELTA                                                                         \
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

/* NULL for a type that weft does not serve. */
const struct xds_type_info *xds_type_by_url(struct slice type_url);

enum xds_variant { XDS_SOTW, XDS_DELTA };

/* What a gRPC path asks for: ADS gives *ret_type NULL. false: no xDS path. */
bool xds_path_parse(struct slice path, enum xds_variant *ret_variant,
                    const struct xds_type_info **ret_type);

/* The name of an unpacked resource of this type, borrowed from it. */
struct slice xds_resource_name(const struct xds_type_info *type, const void *resource);
/* The same from wire bytes that are trusted or scanned; empty when it has none. */
struct slice xds_resource_name_wire(const struct xds_type_info *type, struct slice wire);

#endif
