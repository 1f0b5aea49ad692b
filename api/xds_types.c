#include "api/xds_types.h"

#include <string.h>

#include "api/proto/cluster.pb-c.h"
#include "api/proto/endpoint.pb-c.h"
#include "api/proto/listener.pb-c.h"
#include "api/proto/route.pb-c.h"
#include "base/core/assert.h"
#include "base/core/reader.h"

const struct xds_type_info xds_types[XDS_TYPE_COUNT] = {
    [XDS_CDS] =
        {
            .type = XDS_CDS,
            .short_name = "cds",
            .url = S_INIT("type.googleapis.com/envoy.config.cluster.v3.Cluster"),
            .message = &envoy__config__cluster__v3__cluster__descriptor,
            .wildcard = true,
            .sotw_path = S_INIT("/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters"),
            .delta_path = S_INIT("/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters"),
        },
    [XDS_EDS] =
        {
            .type = XDS_EDS,
            .short_name = "eds",
            .url = S_INIT("type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"),
            .message = &envoy__config__endpoint__v3__cluster_load_assignment__descriptor,
            .sotw_path =
                S_INIT("/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints"),
            .delta_path =
                S_INIT("/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints"),
        },
    [XDS_LDS] =
        {
            .type = XDS_LDS,
            .short_name = "lds",
            .url = S_INIT("type.googleapis.com/envoy.config.listener.v3.Listener"),
            .message = &envoy__config__listener__v3__listener__descriptor,
            .wildcard = true,
            .sotw_path =
                S_INIT("/envoy.service.listener.v3.ListenerDiscoveryService/StreamListeners"),
            .delta_path =
                S_INIT("/envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners"),
        },
    [XDS_RDS] =
        {
            .type = XDS_RDS,
            .short_name = "rds",
            .url = S_INIT("type.googleapis.com/envoy.config.route.v3.RouteConfiguration"),
            .message = &envoy__config__route__v3__route_configuration__descriptor,
            .sotw_path = S_INIT("/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes"),
            .delta_path = S_INIT("/envoy.service.route.v3.RouteDiscoveryService/DeltaRoutes"),
        },
    [XDS_VHDS] =
        {
            .type = XDS_VHDS,
            .short_name = "vhds",
            .url = S_INIT("type.googleapis.com/envoy.config.route.v3.VirtualHost"),
            .message = &envoy__config__route__v3__virtual_host__descriptor,
            /* xDS: virtual hosts come incrementally only. */
            .delta_path =
                S_INIT("/envoy.service.route.v3.VirtualHostDiscoveryService/DeltaVirtualHosts"),
        },
};

/* The name of all these types is field 1, a string. */
enum { NAME_FIELD = 1 };

const struct xds_type_info *xds_type_by_url(struct slice type_url)
{
    for (size_t i = 0; i < XDS_TYPE_COUNT; i++)
        if (slice_eq(xds_types[i].url, type_url))
            return &xds_types[i];
    return NULL;
}

bool xds_path_parse(struct slice path, enum xds_variant *ret_variant,
                    const struct xds_type_info **ret_type)
{
    if (slice_eq(path, S(XDS_PATH_ADS_SOTW)) || slice_eq(path, S(XDS_PATH_ADS_DELTA))) {
        *ret_variant = slice_eq(path, S(XDS_PATH_ADS_SOTW)) ? XDS_SOTW : XDS_DELTA;
        *ret_type = NULL;
        return true;
    }
    for (size_t i = 0; i < XDS_TYPE_COUNT && path.n; i++) {
        bool sotw = slice_eq(path, xds_types[i].sotw_path);
        if (!sotw && !slice_eq(path, xds_types[i].delta_path))
            continue;
        *ret_variant = sotw ? XDS_SOTW : XDS_DELTA;
        *ret_type = &xds_types[i];
        return true;
    }
    return false;
}

struct slice xds_resource_name(const struct xds_type_info *type, const void *resource)
{
    const ProtobufCFieldDescriptor *name = &type->message->fields[0];
    wf_assert(((const ProtobufCMessage *)resource)->descriptor == type->message);
    wf_assert(name->id == NAME_FIELD && name->type == PROTOBUF_C_TYPE_STRING);
    const char *s;
    memcpy(&s, (const char *)resource + name->offset, sizeof(s));
    return pb_slice(s);
}

struct slice xds_resource_name_wire(const struct xds_type_info *type, struct slice wire)
{
    wf_assert(type->message->fields[0].id == NAME_FIELD);
    struct slice name = {0};
    struct reader r = reader_of(wire);
    while (reader_left(&r) && reader_ok(&r)) {
        uint64_t tag = reader_varint(&r);
        switch (tag & 7) {
        case PBW_LEN: {
            struct slice body = reader_bytes(&r, reader_varint(&r));
            if (tag >> 3 == NAME_FIELD)
                name = body; /* the last one wins, as when it is unpacked */
            break;
        }
        case PBW_VARINT:
            (void)reader_varint(&r);
            break;
        case PBW_FIXED32:
            (void)reader_u32le(&r);
            break;
        case PBW_FIXED64:
            (void)reader_u64le(&r);
            break;
        default:
            return (struct slice){0};
        }
    }
    return reader_ok(&r) ? name : (struct slice){0};
}
