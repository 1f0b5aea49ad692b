/* What a route says to HTTP filters: injected faults, CORS. */
#include "pilot/build_internal.h"

#include <string.h>

#include "api/proto/cors.pb-c.h"
#include "api/proto/fault.pb-c.h"
#include "base/wire/grpc.h"

#define FAULT(name) Envoy__Extensions__Filters__Http__Fault__V3__##name

static void per_filter(struct arena *a, ROUTE(Route) *r, const char *name,
                       const ProtobufCMessage *config)
{
    ROUTE(Route__TypedPerFilterConfigEntry) *e = NEW_ROUTE(a, route__typed_per_filter_config_entry);
    e->key = pb_str(a, slice_of(name));
    e->value = any_new(a, config);
    PB_PUSH(a, r, typed_per_filter_config, e);
}

static double fault_percent(const json_t *o)
{
    return jr_double(jr_get(o, "percentage"), "value", jr_double(o, "percent", 100));
}

static Envoy__Extensions__Filters__Common__Fault__V3__FaultDelay *fault_delay(struct arena *a,
                                                                              const json_t *delay)
{
    int64_t ns;
    if (!jr_duration(delay, "fixedDelay", &ns) || ns <= 0)
        return NULL;
    Envoy__Extensions__Filters__Common__Fault__V3__FaultDelay *d =
        PB_NEW(a, envoy__extensions__filters__common__fault__v3__fault_delay);
    d->fault_delay_secifier_case =
        ENVOY__EXTENSIONS__FILTERS__COMMON__FAULT__V3__FAULT_DELAY__FAULT_DELAY_SECIFIER_FIXED_DELAY;
    d->fixed_delay = pbx_duration_ns(a, ns);
    d->percentage = pbx_fraction(a, fault_percent(delay));
    return d;
}

/* By name or by number. */
static bool grpc_status(struct slice text, uint32_t *ret)
{
    enum grpc_status status;
    if (!grpc_status_parse(text, &status))
        return slice_u32(text, ret) && *ret < GRPC_STATUS_COUNT;
    *ret = status;
    return true;
}

static FAULT(FaultAbort) *fault_abort(struct arena *a, const json_t *abort)
{
    uint32_t status = jr_u32(abort, "httpStatus", 0), grpc = 0;
    bool is_grpc = grpc_status(jr_str(abort, "grpcStatus"), &grpc);
    if (!is_grpc && (status < 200 || status > 599))
        return NULL;
    FAULT(FaultAbort) *f = PB_NEW(a, envoy__extensions__filters__http__fault__v3__fault_abort);
    f->error_type_case =
        is_grpc ? ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_GRPC_STATUS
                : ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_HTTP_STATUS;
    if (is_grpc)
        f->grpc_status = grpc;
    else
        f->http_status = status;
    f->percentage = pbx_fraction(a, fault_percent(abort));
    return f;
}

void filter_fault(struct arena *a, ROUTE(Route) *r, const json_t *fault)
{
    FAULT(HTTPFault) *f = PB_NEW(a, envoy__extensions__filters__http__fault__v3__httpfault);
    f->delay = fault_delay(a, jr_get(fault, "delay"));
    f->abort = jr_get(fault, "abort") ? fault_abort(a, jr_get(fault, "abort")) : NULL;
    if (f->delay || f->abort)
        per_filter(a, r, "envoy.filters.http.fault", &f->base);
}

static char *joined(struct arena *a, const json_t *list)
{
    struct buf b = {0};
    JR_EACH (list, i, v) {
        buf_printf(&b, "%s%.*s", i ? "," : "", SLICE(json_slice(v)));
    }
    char *out = pb_str(a, buf_slice(&b));
    buf_fini(&b);
    return out;
}

void filter_cors(struct arena *a, ROUTE(Route) *r, const json_t *cors)
{
    int64_t ns;
    if (!cors)
        return;
    Envoy__Extensions__Filters__Http__Cors__V3__CorsPolicy *p =
        PB_NEW(a, envoy__extensions__filters__http__cors__v3__cors_policy);
    JR_EACH (jr_get(cors, "allowOrigins"), i, v) {
        PB_PUSH(a, p, allow_origin_string_match, match_string(a, v));
    }
    p->allow_methods = joined(a, jr_get(cors, "allowMethods"));
    p->allow_headers = joined(a, jr_get(cors, "allowHeaders"));
    p->expose_headers = joined(a, jr_get(cors, "exposeHeaders"));
    if (jr_duration(cors, "maxAge", &ns))
        p->max_age = pbx_printf(a, "%lld", (long long)(ns / 1000000000));
    if (jr_get(cors, "allowCredentials"))
        p->allow_credentials = wkt_bool(a, jr_bool(cors, "allowCredentials"));
    p->filter_enabled = NEW_CORE(a, runtime_fractional_percent);
    p->filter_enabled->default_value = pbx_fraction(a, 100);
    if (slice_eq(jr_str(cors, "unmatchedPreflights"), S("IGNORE")))
        p->forward_not_matching_preflights = wkt_bool(a, false);
    per_filter(a, r, "envoy.filters.http.cors", &p->base);
}
