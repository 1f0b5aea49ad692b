#include "api/any_types.h"

#include "api/proto/access_log_file.pb-c.h"
#include "api/proto/access_log_stream.pb-c.h"
#include "api/proto/aggregate.pb-c.h"
#include "api/proto/cluster.pb-c.h"
#include "api/proto/core.pb-c.h"
#include "api/proto/cors.pb-c.h"
#include "api/proto/discovery.pb-c.h"
#include "api/proto/endpoint.pb-c.h"
#include "api/proto/fault.pb-c.h"
#include "api/proto/grpc_stats.pb-c.h"
#include "api/proto/grpc_web.pb-c.h"
#include "api/proto/hcm.pb-c.h"
#include "api/proto/header_mutation.pb-c.h"
#include "api/proto/health_check_filter.pb-c.h"
#include "api/proto/http_inspector.pb-c.h"
#include "api/proto/internal_upstream.pb-c.h"
#include "api/proto/lb_client_wrr.pb-c.h"
#include "api/proto/lb_least_request.pb-c.h"
#include "api/proto/lb_maglev.pb-c.h"
#include "api/proto/lb_pick_first.pb-c.h"
#include "api/proto/lb_random.pb-c.h"
#include "api/proto/lb_ring_hash.pb-c.h"
#include "api/proto/lb_round_robin.pb-c.h"
#include "api/proto/lb_subset.pb-c.h"
#include "api/proto/lb_wrr_locality.pb-c.h"
#include "api/proto/listener.pb-c.h"
#include "api/proto/original_dst.pb-c.h"
#include "api/proto/proxy_protocol.pb-c.h"
#include "api/proto/raw_buffer.pb-c.h"
#include "api/proto/route.pb-c.h"
#include "api/proto/router.pb-c.h"
#include "api/proto/sni_cluster.pb-c.h"
#include "api/proto/tcp_proxy.pb-c.h"
#include "api/proto/tls.pb-c.h"
#include "api/proto/tls_inspector.pb-c.h"
#include "api/proto/trace.pb-c.h"
#include "api/proto/udpa_type.pb-c.h"
#include "api/proto/upstream_http.pb-c.h"
#include "api/proto/xds_type.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/empty.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "google/protobuf/wrappers.pb-c.h"
#include "base/core/assert.h"

/* Sorted by full name: any_types_test.c holds the order. */
// clang-format off
static const ProtobufCMessageDescriptor *const types[] = {
    &envoy__config__cluster__v3__cluster__descriptor,
    &envoy__config__core__v3__typed_extension_config__descriptor,
    &envoy__config__endpoint__v3__cluster_load_assignment__descriptor,
    &envoy__config__endpoint__v3__lb_endpoint__descriptor,
    &envoy__config__listener__v3__listener__descriptor,
    &envoy__config__route__v3__filter_config__descriptor,
    &envoy__config__route__v3__route_configuration__descriptor,
    &envoy__config__route__v3__scoped_route_configuration__descriptor,
    &envoy__config__route__v3__virtual_host__descriptor,
    &envoy__config__trace__v3__open_telemetry_config__descriptor,
    &envoy__config__trace__v3__zipkin_config__descriptor,
    &envoy__extensions__access_loggers__file__v3__file_access_log__descriptor,
    &envoy__extensions__access_loggers__stream__v3__stderr_access_log__descriptor,
    &envoy__extensions__access_loggers__stream__v3__stdout_access_log__descriptor,
    &envoy__extensions__clusters__aggregate__v3__cluster_config__descriptor,
    &envoy__extensions__filters__http__cors__v3__cors__descriptor,
    &envoy__extensions__filters__http__cors__v3__cors_policy__descriptor,
    &envoy__extensions__filters__http__fault__v3__httpfault__descriptor,
    &envoy__extensions__filters__http__grpc_stats__v3__filter_config__descriptor,
    &envoy__extensions__filters__http__grpc_web__v3__grpc_web__descriptor,
    &envoy__extensions__filters__http__header_mutation__v3__header_mutation__descriptor,
    &envoy__extensions__filters__http__header_mutation__v3__header_mutation_per_route__descriptor,
    &envoy__extensions__filters__http__health_check__v3__health_check__descriptor,
    &envoy__extensions__filters__http__router__v3__router__descriptor,
    &envoy__extensions__filters__listener__http_inspector__v3__http_inspector__descriptor,
    &envoy__extensions__filters__listener__original_dst__v3__original_dst__descriptor,
    &envoy__extensions__filters__listener__proxy_protocol__v3__proxy_protocol__descriptor,
    &envoy__extensions__filters__listener__tls_inspector__v3__tls_inspector__descriptor,
    &envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager__descriptor,
    &envoy__extensions__filters__network__sni_cluster__v3__sni_cluster__descriptor,
    &envoy__extensions__filters__network__tcp_proxy__v3__tcp_proxy__descriptor,
    &envoy__extensions__load_balancing_policies__client_side_weighted_round_robin__v3__client_side_weighted_round_robin__descriptor,
    &envoy__extensions__load_balancing_policies__least_request__v3__least_request__descriptor,
    &envoy__extensions__load_balancing_policies__maglev__v3__maglev__descriptor,
    &envoy__extensions__load_balancing_policies__pick_first__v3__pick_first__descriptor,
    &envoy__extensions__load_balancing_policies__random__v3__random__descriptor,
    &envoy__extensions__load_balancing_policies__ring_hash__v3__ring_hash__descriptor,
    &envoy__extensions__load_balancing_policies__round_robin__v3__round_robin__descriptor,
    &envoy__extensions__load_balancing_policies__subset__v3__subset__descriptor,
    &envoy__extensions__load_balancing_policies__wrr_locality__v3__wrr_locality__descriptor,
    &envoy__extensions__transport_sockets__internal_upstream__v3__internal_upstream_transport__descriptor,
    &envoy__extensions__transport_sockets__raw_buffer__v3__raw_buffer__descriptor,
    &envoy__extensions__transport_sockets__tls__v3__downstream_tls_context__descriptor,
    &envoy__extensions__transport_sockets__tls__v3__spiffecert_validator_config__descriptor,
    &envoy__extensions__transport_sockets__tls__v3__secret__descriptor,
    &envoy__extensions__transport_sockets__tls__v3__upstream_tls_context__descriptor,
    &envoy__extensions__upstreams__http__v3__http_protocol_options__descriptor,
    &envoy__service__discovery__v3__resource__descriptor,
    &google__protobuf__bool_value__descriptor,
    &google__protobuf__bytes_value__descriptor,
    &google__protobuf__double_value__descriptor,
    &google__protobuf__duration__descriptor,
    &google__protobuf__empty__descriptor,
    &google__protobuf__float_value__descriptor,
    &google__protobuf__int32_value__descriptor,
    &google__protobuf__int64_value__descriptor,
    &google__protobuf__list_value__descriptor,
    &google__protobuf__string_value__descriptor,
    &google__protobuf__struct__descriptor,
    &google__protobuf__timestamp__descriptor,
    &google__protobuf__uint32_value__descriptor,
    &google__protobuf__uint64_value__descriptor,
    &google__protobuf__value__descriptor,
    &udpa__type__v1__typed_struct__descriptor,
    &xds__type__v3__typed_struct__descriptor,
};
// clang-format on

const struct pb_types any_types = {types, ARRAY_LEN(types)};

#define URL_PREFIX "type.googleapis.com/"

struct slice any_type_url(struct arena *arena, const ProtobufCMessageDescriptor *type)
{
    return arena_concat(arena, S(URL_PREFIX), slice_of(type->name));
}

Google__Protobuf__Any *any_of_bytes(struct arena *arena, struct slice type_url, struct slice value)
{
    Google__Protobuf__Any *any = PB_NEW(arena, google__protobuf__any);
    any->type_url = pb_str(arena, type_url);
    any->value = pb_bytes(arena, value);
    return any;
}

Google__Protobuf__Any *any_new(struct arena *arena, const ProtobufCMessage *msg)
{
    wf_assert(pb_types_find(&any_types, slice_of(msg->descriptor->name)));
    Google__Protobuf__Any *any = PB_NEW(arena, google__protobuf__any);
    struct slice value = pb_pack_arena(msg, arena);
    any->type_url = (char *)(uintptr_t)any_type_url(arena, msg->descriptor).p;
    any->value = (ProtobufCBinaryData){.len = value.n, .data = (uint8_t *)(uintptr_t)value.p};
    return any;
}

/* What stands behind the last '/'. */
static struct slice type_name(const Google__Protobuf__Any *any)
{
    struct slice url = pb_slice(any->type_url);
    size_t slash = slice_find_last(url, '/');
    return slash == SIZE_MAX ? url : slice_skip(url, slash + 1);
}

bool any_is(const Google__Protobuf__Any *any, const ProtobufCMessageDescriptor *type)
{
    return any && slice_eq(type_name(any), slice_of(type->name));
}

const ProtobufCMessageDescriptor *any_type(const Google__Protobuf__Any *any)
{
    return any ? pb_types_find(&any_types, type_name(any)) : NULL;
}

struct slice any_value(const Google__Protobuf__Any *any)
{
    return slice_mem(any->value.data, any->value.len);
}

void *any_unpack(const Google__Protobuf__Any *any, const ProtobufCMessageDescriptor *type,
                 struct arena *arena, struct err *err)
{
    if (!any) {
        (void)err_set(err, ERR_INVALID, "an Any of %s is missing", type->name);
        return NULL;
    }
    if (!any_is(any, type)) {
        (void)err_set(err, ERR_UNSUPPORTED, "an Any holds \"%s\" where %s belongs", any->type_url,
                      type->name);
        return NULL;
    }
    return pb_unpack(type, any_value(any), arena, err);
}
