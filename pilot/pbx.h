/* Short names and small builders for the protobuf trees that the compiler makes. All memory is the
 * arena's.
 */
#ifndef WEFT_PILOT_PBX_H
#define WEFT_PILOT_PBX_H

#include "api/any_types.h"
#include "api/proto/cluster.pb-c.h"
#include "api/proto/core.pb-c.h"
#include "api/proto/endpoint.pb-c.h"
#include "api/proto/hcm.pb-c.h"
#include "api/proto/listener.pb-c.h"
#include "api/proto/matcher.pb-c.h"
#include "api/proto/route.pb-c.h"
#include "api/proto/tcp_proxy.pb-c.h"
#include "api/wkt.h"

#define CORE(name) Envoy__Config__Core__V3__##name
#define CLUSTER(name) Envoy__Config__Cluster__V3__##name
#define ENDPOINT(name) Envoy__Config__Endpoint__V3__##name
#define LISTENER(name) Envoy__Config__Listener__V3__##name
#define ROUTE(name) Envoy__Config__Route__V3__##name
#define HCM(name) Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__##name
#define TCP_PROXY(name) Envoy__Extensions__Filters__Network__TcpProxy__V3__##name
#define MATCHER(name) Envoy__Type__Matcher__V3__##name
#define TYPE(name) Envoy__Type__V3__##name

#define NEW_CORE(a, name) ((void *)PB_NEW(a, envoy__config__core__v3__##name))
#define NEW_CLUSTER(a, name) ((void *)PB_NEW(a, envoy__config__cluster__v3__##name))
#define NEW_ENDPOINT(a, name) ((void *)PB_NEW(a, envoy__config__endpoint__v3__##name))
#define NEW_LISTENER(a, name) ((void *)PB_NEW(a, envoy__config__listener__v3__##name))
#define NEW_ROUTE(a, name) ((void *)PB_NEW(a, envoy__config__route__v3__##name))
#define NEW_HCM(a, name)                                                                           \
    ((void *)PB_NEW(a, envoy__extensions__filters__network__http_connection_manager__v3__##name))
#define NEW_TCP_PROXY(a, name)                                                                     \
    ((void *)PB_NEW(a, envoy__extensions__filters__network__tcp_proxy__v3__##name))
#define NEW_MATCHER(a, name) ((void *)PB_NEW(a, envoy__type__matcher__v3__##name))
#define NEW_TYPE(a, name) ((void *)PB_NEW(a, envoy__type__v3__##name))

char *pbx_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ads {} with V3: the same bytes wherever a resource names its source (Envoy #47309). */
CORE(ConfigSource) *pbx_ads(struct arena *a);
/* The same for RDS, which waits for its routes as long as it takes (Istio). */
CORE(ConfigSource) *pbx_ads_no_timeout(struct arena *a);
CORE(Address) *pbx_address(struct arena *a, struct slice ip, uint32_t port);
Google__Protobuf__Duration *pbx_duration_ns(struct arena *a, int64_t ns);
TYPE(Percent) *pbx_percent(struct arena *a, double v);
/* Of a percentage 0..100 with millionths. */
TYPE(FractionalPercent) *pbx_fraction(struct arena *a, double percent);
MATCHER(RegexMatcher) *pbx_regex(struct arena *a, struct slice re);

/* Adds one entry to metadata.filter_metadata[filter]; filters must come in order of their names. */
void pbx_metadata_set(struct arena *a, CORE(Metadata) *m, struct slice filter,
                      Google__Protobuf__Struct *s);
Google__Protobuf__Value *pbx_list_value(struct arena *a, Google__Protobuf__Value *const *items,
                                        size_t n);
Google__Protobuf__Value *pbx_struct_value(struct arena *a, Google__Protobuf__Struct *s);

/* typed_per_filter_config and the like: sort with pb_sort_map when there are several. */
HCM(HttpFilter) *pbx_http_filter(struct arena *a, const char *name, const ProtobufCMessage *config);
LISTENER(Filter) *pbx_filter(struct arena *a, const char *name, const ProtobufCMessage *config);
LISTENER(ListenerFilter) *pbx_listener_filter(struct arena *a, const char *name,
                                              const ProtobufCMessage *config);

#endif
