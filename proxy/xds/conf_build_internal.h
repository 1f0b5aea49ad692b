/* Shared by the conf_build_*.c files only. */
#ifndef WEFT_PROXY_XDS_CONF_BUILD_INTERNAL_H
#define WEFT_PROXY_XDS_CONF_BUILD_INTERNAL_H

#include "api/any_types.h"
#include "api/proto/core.pb-c.h"
#include "api/proto/matcher.pb-c.h"
#include "api/proto/route.pb-c.h"
#include "api/proto/semantic_type.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/wrappers.pb-c.h"
#include "proxy/xds/conf_build.h"

/* Copies into the part's arena. */
struct slice build_text(struct arena *arena, const char *field);
/* Lower-cased copy. */
struct slice build_lower(struct arena *arena, const char *field);
/* Milliseconds, rounded up so that 1 ns is not "none"; `absent` without the field. */
wf_ms build_ms(const Google__Protobuf__Duration *d, wf_ms absent);
static inline uint32_t build_u32(const Google__Protobuf__UInt32Value *v, uint32_t absent)
{
    return v ? v->value : absent;
}
static inline bool build_bool(const Google__Protobuf__BoolValue *v, bool absent)
{
    return v ? v->value : absent;
}
struct fraction build_fraction(const Envoy__Type__V3__FractionalPercent *f);
struct regex *build_regex(const Envoy__Type__Matcher__V3__RegexMatcher *m, struct err *err);
bool build_string_match(struct arena *arena, const Envoy__Type__Matcher__V3__StringMatcher *m,
                        struct string_match *ret, struct err *err);
/* 127.0.0.1:80; pipes as unix:. */
bool build_addr(const Envoy__Config__Core__V3__Address *a, struct env_addr *ret, struct err *err);
bool build_header_changes(struct arena *arena, Envoy__Config__Core__V3__HeaderValueOption **add,
                          size_t add_count, char **remove, size_t remove_count,
                          struct header_changes *ret, struct err *err);
/* A string in a Struct by key; empty when it is not there. */
struct slice build_struct_text(const Google__Protobuf__Struct *s, const char *key);
const Google__Protobuf__Struct *build_metadata(const Envoy__Config__Core__V3__Metadata *m,
                                               const char *filter);
bool build_virtual_host(const Envoy__Config__Route__V3__VirtualHost *in, struct virtual_host **ret,
                        struct err *err);
bool build_route_spec(const Envoy__Config__Route__V3__RouteConfiguration *in, struct slice name,
                      struct xds_stamp version, struct route_spec *ret, struct err *err);
bool build_route(struct arena *arena, const Envoy__Config__Route__V3__Route *in, struct route *r,
                 struct err *err);
bool build_route_match(struct arena *arena, const Envoy__Config__Route__V3__RouteMatch *in,
                       struct route *r, struct err *err);
bool build_retry(struct arena *arena, const Envoy__Config__Route__V3__RetryPolicy *in,
                 struct retry_policy *ret, struct err *err);

#endif
