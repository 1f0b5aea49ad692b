#include "pilot/pbx.h"

#include <stdarg.h>

char *pbx_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct slice s = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return (char *)s.p;
}

CORE(ConfigSource) *pbx_ads(struct arena *a)
{
    CORE(ConfigSource) *c = NEW_CORE(a, config_source);
    c->config_source_specifier_case =
        ENVOY__CONFIG__CORE__V3__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_ADS;
    c->ads = NEW_CORE(a, aggregated_config_source);
    c->resource_api_version = ENVOY__CONFIG__CORE__V3__API_VERSION__V3;
    return c;
}

CORE(ConfigSource) *pbx_ads_no_timeout(struct arena *a)
{
    CORE(ConfigSource) *c = pbx_ads(a);
    c->initial_fetch_timeout = wkt_duration(a, 0);
    return c;
}

CORE(Address) *pbx_address(struct arena *a, struct slice ip, uint32_t port)
{
    CORE(SocketAddress) *sa = NEW_CORE(a, socket_address);
    sa->address = pb_str(a, ip);
    sa->port_specifier_case = ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PORT_SPECIFIER_PORT_VALUE;
    sa->port_value = port;
    CORE(Address) *out = NEW_CORE(a, address);
    out->address_case = ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS;
    out->socket_address = sa;
    return out;
}

Google__Protobuf__Duration *pbx_duration_ns(struct arena *a, int64_t ns)
{
    Google__Protobuf__Duration *d = PB_NEW(a, google__protobuf__duration);
    d->seconds = ns / 1000000000;
    d->nanos = (int32_t)(ns % 1000000000);
    return d;
}

TYPE(Percent) *pbx_percent(struct arena *a, double v)
{
    TYPE(Percent) *p = NEW_TYPE(a, percent);
    p->value = v;
    return p;
}

TYPE(FractionalPercent) *pbx_fraction(struct arena *a, double percent)
{
    TYPE(FractionalPercent) *f = NEW_TYPE(a, fractional_percent);
    percent = percent < 0 ? 0 : percent > 100 ? 100 : percent;
    f->numerator = (uint32_t)(percent * 10000 + 0.5);
    f->denominator = ENVOY__TYPE__V3__FRACTIONAL_PERCENT__DENOMINATOR_TYPE__MILLION;
    return f;
}

MATCHER(RegexMatcher) *pbx_regex(struct arena *a, struct slice re)
{
    MATCHER(RegexMatcher) *m = NEW_MATCHER(a, regex_matcher);
    m->regex = pb_str(a, re);
    return m;
}

void pbx_metadata_set(struct arena *a, CORE(Metadata) *m, struct slice filter,
                      Google__Protobuf__Struct *s)
{
    CORE(Metadata__FilterMetadataEntry) *e = NEW_CORE(a, metadata__filter_metadata_entry);
    wkt_struct_sort(s);
    e->key = pb_str(a, filter);
    e->value = s;
    PB_PUSH(a, m, filter_metadata, e);
}

Google__Protobuf__Value *pbx_list_value(struct arena *a, Google__Protobuf__Value *const *items,
                                        size_t n)
{
    Google__Protobuf__Value *v = PB_NEW(a, google__protobuf__value);
    v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_LIST_VALUE;
    v->list_value = PB_NEW(a, google__protobuf__list_value);
    for (size_t i = 0; i < n; i++)
        PB_PUSH(a, v->list_value, values, items[i]);
    return v;
}

Google__Protobuf__Value *pbx_struct_value(struct arena *a, Google__Protobuf__Struct *s)
{
    Google__Protobuf__Value *v = PB_NEW(a, google__protobuf__value);
    wkt_struct_sort(s);
    v->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE;
    v->struct_value = s;
    return v;
}

HCM(HttpFilter) *pbx_http_filter(struct arena *a, const char *name, const ProtobufCMessage *config)
{
    HCM(HttpFilter) *f = NEW_HCM(a, http_filter);
    f->name = pb_str(a, slice_of(name));
    f->config_type_case =
        ENVOY__EXTENSIONS__FILTERS__NETWORK__HTTP_CONNECTION_MANAGER__V3__HTTP_FILTER__CONFIG_TYPE_TYPED_CONFIG;
    f->typed_config = any_new(a, config);
    return f;
}

LISTENER(Filter) *pbx_filter(struct arena *a, const char *name, const ProtobufCMessage *config)
{
    LISTENER(Filter) *f = NEW_LISTENER(a, filter);
    f->name = pb_str(a, slice_of(name));
    f->config_type_case = ENVOY__CONFIG__LISTENER__V3__FILTER__CONFIG_TYPE_TYPED_CONFIG;
    f->typed_config = any_new(a, config);
    return f;
}

LISTENER(ListenerFilter) *pbx_listener_filter(struct arena *a, const char *name,
                                              const ProtobufCMessage *config)
{
    LISTENER(ListenerFilter) *f = NEW_LISTENER(a, listener_filter);
    f->name = pb_str(a, slice_of(name));
    f->config_type_case = ENVOY__CONFIG__LISTENER__V3__LISTENER_FILTER__CONFIG_TYPE_TYPED_CONFIG;
    f->typed_config = any_new(a, config);
    return f;
}
