/* The match blocks of VirtualServices: what of a request an HTTP rule is for, and for which
 * callers. */
#include "pilot/build_internal.h"

#include <stdlib.h>
#include <string.h>

MATCHER(StringMatcher) *match_string(struct arena *a, const json_t *m)
{
    MATCHER(StringMatcher) *out = NEW_MATCHER(a, string_matcher);
    struct slice exact = jr_str(m, "exact"), prefix = jr_str(m, "prefix"),
                 regex = jr_str(m, "regex");
    if (regex.n) {
        out->match_pattern_case =
            ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SAFE_REGEX;
        out->safe_regex = pbx_regex(a, regex);
    } else if (prefix.n) {
        out->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_PREFIX;
        out->prefix = pb_str(a, prefix);
    } else {
        out->match_pattern_case = ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT;
        out->exact = pb_str(a, exact);
    }
    return out;
}

static bool is_empty_match(const json_t *m)
{
    return !jr_get(m, "exact") && !jr_get(m, "prefix") && !jr_get(m, "regex");
}

static void match_header(struct arena *a, ROUTE(RouteMatch) *rm, struct slice name, const json_t *m,
                         bool invert)
{
    ROUTE(HeaderMatcher) *h = NEW_ROUTE(a, header_matcher);
    h->name = pb_str(a, name);
    h->invert_match = invert;
    if (is_empty_match(m)) {
        h->header_match_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PRESENT_MATCH;
        h->present_match = true;
    } else {
        h->header_match_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_STRING_MATCH;
        h->string_match = match_string(a, m);
        /* "Without x: v" also holds where there is no x. */
        h->treat_missing_header_as_empty = invert;
    }
    PB_PUSH(a, rm, headers, h);
}

/* Fields of an object in the order of their names. */
struct named {
    struct slice name;
    const json_t *value;
};

static int cmp_named(const void *a, const void *b)
{
    return slice_cmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static size_t named_sorted(const json_t *o, struct arena *a, struct named **ret)
{
    struct named *p = ARENA_ARRAY(a, struct named, json_object_size(o) + 1);
    size_t n = 0;
    const char *key;
    json_t *v;
    json_object_foreach ((json_t *)o, key, v) {
        p[n++] = (struct named){slice_of(key), v};
    }
    if (n)
        qsort(p, n, sizeof(*p), cmp_named);
    *ret = p;
    return n;
}

static void match_headers(struct arena *a, ROUTE(RouteMatch) *rm, const json_t *headers,
                          bool invert)
{
    struct named *p;
    size_t n = named_sorted(headers, a, &p);
    for (size_t i = 0; i < n; i++)
        match_header(a, rm, p[i].name, p[i].value, invert);
}

static void match_query(struct arena *a, ROUTE(RouteMatch) *rm, const json_t *params)
{
    struct named *p;
    size_t n = named_sorted(params, a, &p);
    for (size_t i = 0; i < n; i++) {
        ROUTE(QueryParameterMatcher) *q = NEW_ROUTE(a, query_parameter_matcher);
        q->name = pb_str(a, p[i].name);
        if (is_empty_match(p[i].value)) {
            q->query_parameter_match_specifier_case =
                ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_PRESENT_MATCH;
            q->present_match = true;
        } else {
            q->query_parameter_match_specifier_case =
                ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_STRING_MATCH;
            q->string_match = match_string(a, p[i].value);
        }
        PB_PUSH(a, rm, query_parameters, q);
    }
}

static void match_prefix(ROUTE(RouteMatch) *rm, char *prefix)
{
    rm->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX;
    rm->prefix = prefix;
}

static void match_uri(struct arena *a, ROUTE(RouteMatch) *rm, const json_t *uri, bool ignore_case)
{
    struct slice exact = jr_str(uri, "exact"), prefix = jr_str(uri, "prefix"),
                 regex = jr_str(uri, "regex");
    if (exact.n) {
        rm->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH;
        rm->path = pb_str(a, exact);
    } else if (regex.n) {
        rm->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_SAFE_REGEX;
        rm->safe_regex = pbx_regex(a, regex);
    } else {
        match_prefix(rm, pb_str(a, prefix.n ? prefix : S("/")));
    }
    if (ignore_case && !regex.n)
        rm->case_sensitive = wkt_bool(a, false);
}

ROUTE(RouteMatch) *match_make(struct arena *a, const json_t *m)
{
    static const struct {
        const char *field;
        struct slice header;
    } pseudo[] = {{"method", S_INIT(":method")},
                  {"authority", S_INIT(":authority")},
                  {"scheme", S_INIT(":scheme")}};
    ROUTE(RouteMatch) *rm = NEW_ROUTE(a, route_match);
    match_uri(a, rm, jr_get(m, "uri"), jr_bool(m, "ignoreUriCase"));
    match_headers(a, rm, jr_get(m, "headers"), false);
    match_headers(a, rm, jr_get(m, "withoutHeaders"), true);
    for (size_t i = 0; i < ARRAY_LEN(pseudo); i++)
        if (jr_get(m, pseudo[i].field))
            match_header(a, rm, pseudo[i].header, jr_get(m, pseudo[i].field), false);
    match_query(a, rm, jr_get(m, "queryParams"));
    return rm;
}

bool match_catches_all(const ROUTE(RouteMatch) *m)
{
    return m->path_specifier_case == ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX &&
           strcmp(m->prefix, "/") == 0 && m->n_headers == 0 && m->n_query_parameters == 0;
}

static bool gateway_listed(const struct route_context *rc, const json_t *gateways)
{
    JR_EACH (gateways, i, v) {
        struct slice name = json_slice(v);
        bool local = slice_find(name, '/') == SIZE_MAX && !slice_eq(name, S("mesh"));
        if (local)
            name = arena_printf(rc->a, "%.*s/%.*s", SLICE(rc->vs->ns), SLICE(name));
        if (slice_eq(name, rc->gateway))
            return true;
    }
    return jr_len(gateways) == 0;
}

/* A JWT claim in place of a header name needs request authentication at a gateway: it cannot match
 * here, and leaving it out of the match would widen the rule. */
static bool has_claims(const json_t *m)
{
    const char *name;
    json_t *v;
    json_object_foreach ((json_t *)jr_get(m, "headers"), name, v) {
        if (slice_starts(slice_of(name), S("@request.auth.claims")))
            return true;
    }
    return false;
}

bool route_match_applies(struct route_context *rc, const json_t *m)
{
    uint32_t port = jr_u32(m, "port", 0);
    struct slice ns = jr_str(m, "sourceNamespace");
    bool from = slice_eq(rc->gateway, S("mesh"));
    if ((port && port != rc->port) || !gateway_listed(rc, jr_get(m, "gateways")) || has_claims(m))
        return false;
    return !from || (scope_selects(rc->scope, jr_get(m, "sourceLabels"), rc->a) &&
                     (!ns.n || slice_eq(ns, rc->scope->ns)));
}
