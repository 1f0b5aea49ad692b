/* VirtualService http rules to Envoy routes (istio.md §1.1). */
#include "pilot/build_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/proto/cors.pb-c.h"
#include "api/proto/fault.pb-c.h"

#define FAULT(name) Envoy__Extensions__Filters__Http__Fault__V3__##name
#define DIRECT_BODY_BYTES_MAX (1024 * 1024)

/* ---- matching ---- */

static MATCHER(StringMatcher) *string_matcher(struct arena *a, const json_t *m)
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
        h->string_match = string_matcher(a, m);
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
            q->string_match = string_matcher(a, p[i].value);
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

static ROUTE(RouteMatch) *match_make(struct arena *a, const json_t *m)
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

static bool is_catch_all(const ROUTE(RouteMatch) *m)
{
    return m->path_specifier_case == ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX &&
           strcmp(m->prefix, "/") == 0 && m->n_headers == 0 && m->n_query_parameters == 0;
}

static bool gateway_listed(const struct route_context *rc, const json_t *gateways)
{
    JR_EACH (gateways, i, v) {
        struct slice name = jr_slice(v);
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

/* ---- destinations ---- */

static struct slice destination_host(struct route_context *rc, const json_t *d)
{
    return model_host_resolve(jr_str(d, "host"), rc->vs->ns, rc->a);
}

struct slice route_cluster(struct route_context *rc, const json_t *d)
{
    struct slice host = destination_host(rc, d);
    uint32_t port = jr_u32(jr_get(d, "port"), "number", 0);
    const struct model_service *s = scope_pick(rc->b, rc->scope, host);
    if (s)
        sources_add(rc->sources, s->object->key);
    if (!port)
        port = s && s->port_count == 1 ? s->ports[0].number : rc->port;
    return cluster_name(rc->a, S("outbound"), port, jr_str(d, "subset"), host);
}

/* ---- headers ---- */

static void header_option(struct arena *a, struct slice name, struct slice value, bool append,
                          CORE(HeaderValueOption) **ret)
{
    CORE(HeaderValueOption) *o = NEW_CORE(a, header_value_option);
    o->header = NEW_CORE(a, header_value);
    o->header->key = pb_str(a, name);
    o->header->value = pb_str(a, value);
    o->append_action =
        append
            ? ENVOY__CONFIG__CORE__V3__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__APPEND_IF_EXISTS_OR_ADD
            : ENVOY__CONFIG__CORE__V3__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__OVERWRITE_IF_EXISTS_OR_ADD;
    *ret = o;
}

static bool is_host(struct slice name)
{
    return slice_eq_nocase(name, S("host")) || slice_eq(name, S(":authority"));
}

struct header_list {
    CORE(HeaderValueOption) **p;
    size_t n, cap;
};

/* set, then add, each by name. A host that is set is a rewrite: *ret_host. */
static void header_options(struct arena *a, const json_t *ops, struct header_list *out,
                           struct slice *ret_host)
{
    static const char *const ways[] = {"set", "add"};
    for (size_t k = 0; k < ARRAY_LEN(ways); k++) {
        struct jr_pairs pairs = jr_pairs(jr_get(ops, ways[k]), a);
        for (size_t i = 0; i < pairs.n; i++) {
            if (is_host(pairs.p[i].name)) {
                *ret_host = pairs.p[i].value;
                continue;
            }
            header_option(a, pairs.p[i].name, pairs.p[i].value, k == 1, vec_push(out));
        }
    }
}

/* The fields that Route and ClusterWeight have in common. */
struct header_fields {
    size_t *n_request_add, *n_response_add, *n_request_remove, *n_response_remove;
    CORE(HeaderValueOption) ***request_add, ***response_add;
    char ***request_remove, ***response_remove;
};

static void remove_list(struct arena *a, const json_t *list, size_t *n, char ***p)
{
    *p = ARENA_ARRAY(a, char *, jr_len(list) + 1);
    JR_EACH (list, i, v) {
        struct slice name = jr_slice(v);
        if (name.n && name.p[0] != ':' && !is_host(name))
            (*p)[(*n)++] = pb_str(a, name);
    }
}

static void option_list(struct arena *a, const json_t *ops, size_t *n, CORE(HeaderValueOption) ***p,
                        struct slice *ret_host)
{
    struct header_list list = {0};
    header_options(a, ops, &list, ret_host);
    *p = ARENA_ARRAY(a, CORE(HeaderValueOption) *, list.n + 1);
    if (list.n)
        memcpy(*p, list.p, list.n * sizeof(*list.p));
    *n = list.n;
    vec_fini(&list);
}

static struct slice apply_headers(struct arena *a, const json_t *headers,
                                  const struct header_fields *f)
{
    struct slice host = {0}, unused = {0};
    option_list(a, jr_get(headers, "request"), f->n_request_add, f->request_add, &host);
    option_list(a, jr_get(headers, "response"), f->n_response_add, f->response_add, &unused);
    remove_list(a, jr_path(headers, "request", "remove", NULL), f->n_request_remove,
                f->request_remove);
    remove_list(a, jr_path(headers, "response", "remove", NULL), f->n_response_remove,
                f->response_remove);
    return host;
}

static void host_rewrite(struct arena *a, ROUTE(RouteAction) *act, struct slice host)
{
    if (!host.n)
        return;
    act->host_rewrite_specifier_case =
        ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL;
    act->host_rewrite_literal = pb_str(a, host);
}

static void route_headers(struct arena *a, ROUTE(Route) *r, const json_t *headers)
{
    if (!headers)
        return;
    struct slice host = apply_headers(
        a, headers,
        &(struct header_fields){&r->n_request_headers_to_add, &r->n_response_headers_to_add,
                                &r->n_request_headers_to_remove, &r->n_response_headers_to_remove,
                                &r->request_headers_to_add, &r->response_headers_to_add,
                                &r->request_headers_to_remove, &r->response_headers_to_remove});
    if (r->action_case == ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE)
        host_rewrite(a, r->route, host);
}

/* ---- clusters and weights ---- */

static ROUTE(WeightedCluster__ClusterWeight) *weight_make(struct route_context *rc, const json_t *r)
{
    struct arena *a = rc->a;
    ROUTE(WeightedCluster__ClusterWeight) *w = NEW_ROUTE(a, weighted_cluster__cluster_weight);
    w->name = pb_str(a, route_cluster(rc, jr_get(r, "destination")));
    w->weight = wkt_u32(a, jr_u32(r, "weight", 100)); /* a single one may have none */
    if (!jr_get(r, "headers"))
        return w;
    struct slice host = apply_headers(
        a, jr_get(r, "headers"),
        &(struct header_fields){&w->n_request_headers_to_add, &w->n_response_headers_to_add,
                                &w->n_request_headers_to_remove, &w->n_response_headers_to_remove,
                                &w->request_headers_to_add, &w->response_headers_to_add,
                                &w->request_headers_to_remove, &w->response_headers_to_remove});
    if (host.n) {
        w->host_rewrite_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__WEIGHTED_CLUSTER__CLUSTER_WEIGHT__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL;
        w->host_rewrite_literal = pb_str(a, host);
    }
    return w;
}

static void to_weights(struct route_context *rc, ROUTE(RouteAction) *act, const json_t *routes)
{
    act->cluster_specifier_case =
        ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS;
    act->weighted_clusters = NEW_ROUTE(rc->a, weighted_cluster);
    JR_EACH (routes, i, v) {
        if (jr_u32(v, "weight", 0) > 0 || jr_len(routes) == 1)
            PB_PUSH(rc->a, act->weighted_clusters, clusters, weight_make(rc, v));
    }
}

static void to_cluster(struct arena *a, ROUTE(RouteAction) *act, struct slice name)
{
    act->cluster_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
    act->cluster = pb_str(a, name);
}

/* Destinations that get traffic; a single one needs no weight. */
static size_t weighted_count(const json_t *routes, const json_t **ret_only)
{
    size_t n = 0;
    if (jr_len(routes) == 1) {
        *ret_only = jr_at(routes, 0);
        return 1;
    }
    JR_EACH (routes, i, v) {
        if (jr_u32(v, "weight", 0) > 0) {
            *ret_only = v;
            n++;
        }
    }
    return n;
}

/* ---- hash policies ---- */

static void hash_cookie(struct arena *a, ROUTE(RouteAction__HashPolicy) *p, const json_t *cookie)
{
    int64_t ns;
    p->policy_specifier_case =
        ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_COOKIE;
    p->cookie = NEW_ROUTE(a, route_action__hash_policy__cookie);
    p->cookie->name = pb_str(a, jr_str(cookie, "name"));
    p->cookie->path = pb_str(a, jr_str(cookie, "path"));
    if (jr_duration(cookie, "ttl", &ns))
        p->cookie->ttl = pbx_duration_ns(a, ns);
}

static ROUTE(RouteAction__HashPolicy) *hash_policy(struct arena *a, const json_t *hash)
{
    ROUTE(RouteAction__HashPolicy) *p = NEW_ROUTE(a, route_action__hash_policy);
    struct slice header = jr_str(hash, "httpHeaderName"),
                 query = jr_str(hash, "httpQueryParameterName");
    const json_t *cookie = jr_get(hash, "httpCookie");
    if (header.n) {
        p->policy_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_HEADER;
        p->header = NEW_ROUTE(a, route_action__hash_policy__header);
        p->header->header_name = pb_str(a, header);
    } else if (cookie) {
        hash_cookie(a, p, cookie);
    } else if (query.n) {
        p->policy_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_QUERY_PARAMETER;
        p->query_parameter = NEW_ROUTE(a, route_action__hash_policy__query_parameter);
        p->query_parameter->name = pb_str(a, query);
    } else if (jr_bool(hash, "useSourceIp")) {
        p->policy_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_CONNECTION_PROPERTIES;
        p->connection_properties = NEW_ROUTE(a, route_action__hash_policy__connection_properties);
        p->connection_properties->source_ip = true;
    } else {
        return NULL;
    }
    return p;
}

static const struct rule_subset *subset_find(const struct rules *r, struct slice name)
{
    for (size_t i = 0; i < r->subset_count; i++)
        if (name.n && slice_eq(r->subsets[i].name, name))
            return &r->subsets[i];
    return NULL;
}

/* The hash of a destination's rule is taken from the request, so it belongs to the route. true:
 * hashes. */
static bool apply_hash(struct route_context *rc, ROUTE(RouteAction) *act,
                       const struct model_service *s, uint32_t port, struct slice subset)
{
    if (!s)
        return false;
    struct graph_cell *rule = rule_cell(rc->b, rc->scope, s->host, s->ns);
    graph_get(&rc->b->graph, rule);
    struct rules rules = rules_read(rc->b, rule_value(rule), rc->a);
    const json_t *lb = rules_section(&rules, subset_find(&rules, subset), port, "loadBalancer");
    ROUTE(RouteAction__HashPolicy) *p = hash_policy(rc->a, jr_get(lb, "consistentHash"));
    if (p)
        PB_PUSH(rc->a, act, hash_policy, p);
    return p != NULL;
}

static bool apply_hash_of(struct route_context *rc, ROUTE(RouteAction) *act,
                          const json_t *destination)
{
    const struct model_service *s = scope_pick(rc->b, rc->scope, destination_host(rc, destination));
    uint32_t port = jr_u32(jr_get(destination, "port"), "number", 0);
    if (!port)
        port = s && s->port_count == 1 ? s->ports[0].number : rc->port;
    return apply_hash(rc, act, s, port, jr_str(destination, "subset"));
}

/* ---- timeouts, retries ---- */

#define RETRY_ON "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
#define PREVIOUS_HOSTS_URL                                                                         \
    "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"

static void other_hosts(struct arena *a, ROUTE(RetryPolicy) *p)
{
    ROUTE(RetryPolicy__RetryHostPredicate) *h = NEW_ROUTE(a, retry_policy__retry_host_predicate);
    h->name = pb_str(a, S("envoy.retry_host_predicates.previous_hosts"));
    h->config_type_case =
        ENVOY__CONFIG__ROUTE__V3__RETRY_POLICY__RETRY_HOST_PREDICATE__CONFIG_TYPE_TYPED_CONFIG;
    h->typed_config = any_of_bytes(a, S(PREVIOUS_HOSTS_URL), (struct slice){0});
    PB_PUSH(a, p, retry_host_predicate, h);
    p->host_selection_retry_max_attempts = 5;
}

/* Numbers in retryOn are status codes. */
static void retry_on(struct arena *a, ROUTE(RetryPolicy) *p, struct slice text)
{
    struct buf words = {0};
    struct slice word;
    uint32_t code;
    p->retriable_status_codes = ARENA_ARRAY(a, uint32_t, text.n / 2 + 1);
    while (text.n) {
        slice_cut(text, ',', &word, &text);
        word = slice_trim(word);
        if (slice_u32(word, &code) && code >= 100 && code <= 599)
            p->retriable_status_codes[p->n_retriable_status_codes++] = code;
        else if (word.n)
            buf_printf(&words, "%s%.*s", words.n ? "," : "", SLICE(word));
    }
    if (p->n_retriable_status_codes &&
        !slice_contains(buf_slice(&words), S("retriable-status-codes")))
        buf_printf(&words, "%sretriable-status-codes", words.n ? "," : "");
    p->retry_on = pb_str(a, buf_slice(&words));
    buf_fini(&words);
}

static ROUTE(RetryPolicy) *retry_policy(struct arena *a, const json_t *retries, bool hashed)
{
    int64_t ns;
    uint32_t attempts = jr_u32(retries, "attempts", retries ? 0 : 2);
    struct slice on = jr_str(retries, "retryOn");
    if (attempts == 0)
        return NULL;
    ROUTE(RetryPolicy) *p = NEW_ROUTE(a, retry_policy);
    p->num_retries = wkt_u32(a, attempts);
    retry_on(a, p, on.n ? on : S(RETRY_ON));
    if (jr_duration(retries, "perTryTimeout", &ns) && ns > 0)
        p->per_try_timeout = pbx_duration_ns(a, ns);
    if (jr_duration(retries, "backoff", &ns) && ns > 0) {
        p->retry_back_off = NEW_ROUTE(a, retry_policy__retry_back_off);
        p->retry_back_off->base_interval = pbx_duration_ns(a, ns);
    }
    /* With a hash another host would be against the affinity. */
    if (!hashed && !json_is_false(jr_get(retries, "retryIgnorePreviousHosts")))
        other_hosts(a, p);
    return p;
}

/* None by default. For gRPC's own clients the limit is that of the stream. */
static void apply_timeout(struct route_context *rc, ROUTE(RouteAction) *act, const json_t *http)
{
    int64_t ns = 0;
    jr_duration(http, "timeout", &ns);
    act->timeout = pbx_duration_ns(rc->a, ns);
    act->max_stream_duration = NEW_ROUTE(rc->a, route_action__max_stream_duration);
    act->max_stream_duration->grpc_timeout_header_max = pbx_duration_ns(rc->a, ns);
    if (rc->scope->flavor == FLAVOR_GRPC)
        act->max_stream_duration->max_stream_duration = pbx_duration_ns(rc->a, ns);
}

/* ---- rewrite, mirror ---- */

static void apply_rewrite(struct arena *a, ROUTE(RouteAction) *act, const json_t *rewrite)
{
    const json_t *regex = jr_get(rewrite, "uriRegexRewrite");
    struct slice uri = jr_str(rewrite, "uri");
    if (regex) {
        act->regex_rewrite = NEW_MATCHER(a, regex_match_and_substitute);
        act->regex_rewrite->pattern = pbx_regex(a, jr_str(regex, "match"));
        act->regex_rewrite->substitution = pb_str(a, jr_str(regex, "rewrite"));
    } else if (uri.n) {
        act->prefix_rewrite = pb_str(a, uri);
    }
    host_rewrite(a, act, jr_str(rewrite, "authority"));
}

static void add_mirror(struct route_context *rc, ROUTE(RouteAction) *act, const json_t *destination,
                       double percent)
{
    if (percent <= 0)
        return;
    ROUTE(RouteAction__RequestMirrorPolicy) *m =
        NEW_ROUTE(rc->a, route_action__request_mirror_policy);
    m->cluster = pb_str(rc->a, route_cluster(rc, destination));
    m->runtime_fraction = NEW_CORE(rc->a, runtime_fractional_percent);
    m->runtime_fraction->default_value = pbx_fraction(rc->a, percent);
    PB_PUSH(rc->a, act, request_mirror_policies, m);
}

static void apply_mirrors(struct route_context *rc, ROUTE(RouteAction) *act, const json_t *http)
{
    const json_t *one = jr_get(http, "mirror");
    double old = jr_double(http, "mirrorPercent", 100);
    if (one)
        add_mirror(rc, act, one, jr_double(jr_get(http, "mirrorPercentage"), "value", old));
    JR_EACH (jr_get(http, "mirrors"), i, v) {
        add_mirror(rc, act, jr_get(v, "destination"),
                   jr_double(jr_get(v, "percentage"), "value", 100));
    }
}

/* ---- per-route filter settings ---- */

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

static bool grpc_status(struct slice name, uint32_t *ret)
{
    static const char *const names[] = {"OK",
                                        "CANCELLED",
                                        "UNKNOWN",
                                        "INVALID_ARGUMENT",
                                        "DEADLINE_EXCEEDED",
                                        "NOT_FOUND",
                                        "ALREADY_EXISTS",
                                        "PERMISSION_DENIED",
                                        "RESOURCE_EXHAUSTED",
                                        "FAILED_PRECONDITION",
                                        "ABORTED",
                                        "OUT_OF_RANGE",
                                        "UNIMPLEMENTED",
                                        "INTERNAL",
                                        "UNAVAILABLE",
                                        "DATA_LOSS",
                                        "UNAUTHENTICATED"};
    for (uint32_t i = 0; i < ARRAY_LEN(names); i++)
        if (slice_eq(name, slice_of(names[i]))) {
            *ret = i;
            return true;
        }
    return slice_u32(name, ret) && *ret < ARRAY_LEN(names);
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

static void apply_fault(struct arena *a, ROUTE(Route) *r, const json_t *fault)
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
        buf_printf(&b, "%s%.*s", i ? "," : "", SLICE(jr_slice(v)));
    }
    char *out = pb_str(a, buf_slice(&b));
    buf_fini(&b);
    return out;
}

static void apply_cors(struct arena *a, ROUTE(Route) *r, const json_t *cors)
{
    int64_t ns;
    if (!cors)
        return;
    Envoy__Extensions__Filters__Http__Cors__V3__CorsPolicy *p =
        PB_NEW(a, envoy__extensions__filters__http__cors__v3__cors_policy);
    JR_EACH (jr_get(cors, "allowOrigins"), i, v) {
        PB_PUSH(a, p, allow_origin_string_match, string_matcher(a, v));
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

/* ---- actions ---- */

static void action_redirect(struct arena *a, ROUTE(Route) *r, const json_t *redirect, uint32_t port)
{
    static const struct {
        uint32_t status;
        ROUTE(RedirectAction__RedirectResponseCode) code;
    } codes[] = {
        {301, ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__MOVED_PERMANENTLY},
        {302, ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__FOUND},
        {303, ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__SEE_OTHER},
        {307,
         ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__TEMPORARY_REDIRECT},
        {308,
         ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__REDIRECT_RESPONSE_CODE__PERMANENT_REDIRECT}};
    ROUTE(RedirectAction) *d = NEW_ROUTE(a, redirect_action);
    struct slice uri = jr_str(redirect, "uri"), scheme = jr_str(redirect, "scheme");
    r->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_REDIRECT;
    r->redirect = d;
    if (slice_starts(uri, S("%PREFIX()%"))) {
        d->path_rewrite_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PREFIX_REWRITE;
        d->prefix_rewrite = pb_str(a, slice_skip(uri, 10));
    } else if (uri.n) {
        d->path_rewrite_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PATH_REDIRECT;
        d->path_redirect = pb_str(a, uri);
    }
    d->host_redirect = pb_str(a, jr_str(redirect, "authority"));
    if (scheme.n) {
        d->scheme_rewrite_specifier_case =
            ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_SCHEME_REDIRECT;
        d->scheme_redirect = pb_str(a, scheme);
    }
    d->port_redirect = jr_u32(redirect, "port", 0);
    if (slice_eq(jr_str(redirect, "derivePort"), S("FROM_REQUEST_PORT")))
        d->port_redirect = port;
    uint32_t status = jr_u32(redirect, "redirectCode", 301);
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (codes[i].status == status)
            d->response_code = codes[i].code;
}

static void action_direct(struct arena *a, ROUTE(Route) *r, const json_t *direct)
{
    ROUTE(DirectResponseAction) *d = NEW_ROUTE(a, direct_response_action);
    struct slice text = jr_str(jr_get(direct, "body"), "string");
    r->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE;
    r->direct_response = d;
    d->status = jr_u32(direct, "status", 200);
    if (!text.n || text.n > DIRECT_BODY_BYTES_MAX)
        return;
    d->body = NEW_CORE(a, data_source);
    d->body->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING;
    d->body->inline_string = pb_str(a, text);
}

static ROUTE(RouteAction) *action_route(struct arena *a, ROUTE(Route) *r)
{
    r->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
    r->route = NEW_ROUTE(a, route_action);
    return r->route;
}

static void action_forward(struct route_context *rc, ROUTE(Route) *r, const json_t *http)
{
    const json_t *routes = jr_get(http, "route"), *only = NULL;
    size_t n = weighted_count(routes, &only);
    ROUTE(RouteAction) *act = action_route(rc->a, r);
    if (n > 1 || jr_get(only, "headers"))
        to_weights(rc, act, routes);
    else
        to_cluster(rc->a, act, route_cluster(rc, jr_get(only, "destination")));
    bool hashed = false;
    JR_EACH (routes, i, v) {
        hashed = hashed || apply_hash_of(rc, act, jr_get(v, "destination"));
    }
    apply_timeout(rc, act, http);
    act->retry_policy = retry_policy(rc->a, jr_get(http, "retries"), hashed);
    apply_rewrite(rc->a, act, jr_get(http, "rewrite"));
    apply_mirrors(rc, act, http);
    route_headers(rc->a, r, jr_get(http, "headers"));
}

static void decorate(struct route_context *rc, ROUTE(Route) *r)
{
    const ROUTE(RouteMatch) *m = r->match;
    const char *path = "/*";
    switch (m->path_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH:
        path = m->path;
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_SAFE_REGEX:
        path = m->safe_regex->regex;
        break;
    default:
        path = pbx_printf(rc->a, "%s*", m->prefix);
    }
    r->decorator = NEW_ROUTE(rc->a, decorator);
    r->decorator->operation = pbx_printf(rc->a, "%.*s:%u%s", SLICE(rc->host), rc->port, path);
}

/* Where the rule stands, as Istio's tools show it. */
static void name_config(struct route_context *rc, ROUTE(Route) *r)
{
    Google__Protobuf__Struct *istio = wkt_struct(rc->a);
    struct slice config =
        arena_printf(rc->a, "/apis/networking.istio.io/v1/namespaces/%.*s/virtual-service/%.*s",
                     SLICE(rc->vs->ns), SLICE(rc->vs->name));
    wkt_struct_set_string(rc->a, istio, S("config"), config);
    r->metadata = NEW_CORE(rc->a, metadata);
    pbx_metadata_set(rc->a, r->metadata, S("istio"), istio);
}

static char *route_name(struct arena *a, const json_t *http, const json_t *match)
{
    struct slice name = jr_str(http, "name"), sub = jr_str(match, "name");
    if (sub.n)
        return pbx_printf(a, "%.*s.%.*s", SLICE(name), SLICE(sub));
    return pb_str(a, name);
}

static ROUTE(Route) *route_make(struct route_context *rc, const json_t *http, const json_t *match)
{
    ROUTE(Route) *r = NEW_ROUTE(rc->a, route);
    r->name = route_name(rc->a, http, match);
    r->match = match_make(rc->a, match);
    r->stat_prefix = pb_str(rc->a, jr_str(match, "statPrefix"));
    if (jr_get(http, "redirect"))
        action_redirect(rc->a, r, jr_get(http, "redirect"), rc->port);
    else if (jr_get(http, "directResponse"))
        action_direct(rc->a, r, jr_get(http, "directResponse"));
    else if (jr_len(jr_get(http, "route")))
        action_forward(rc, r, http);
    else
        return NULL; /* delegates are resolved before, or there is nothing to do */
    if (r->action_case != ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE)
        route_headers(rc->a, r, jr_get(http, "headers"));
    apply_cors(rc->a, r, jr_get(http, "corsPolicy"));
    apply_fault(rc->a, r, jr_get(http, "fault"));
    decorate(rc, r);
    name_config(rc, r);
    return r;
}

bool routes_http(struct route_context *rc, ROUTE(VirtualHost) *vhost)
{
    ROUTE(Route) *catch_all = NULL;
    sources_add(rc->sources, rc->vs->key);
    JR_EACH (jr_get(rc->vs->spec, "http"), i, http) {
        const json_t *matches = jr_get(http, "match");
        size_t n = jr_len(matches) ? jr_len(matches) : 1;
        for (size_t j = 0; j < n && !catch_all; j++) {
            const json_t *match = jr_at(matches, j);
            if (match && !route_match_applies(rc, match))
                continue;
            ROUTE(Route) *r = route_make(rc, http, match);
            if (r && is_catch_all(r->match))
                catch_all = r; /* what follows is never reached */
            else if (r)
                PB_PUSH(rc->a, vhost, routes, r);
        }
    }
    if (catch_all)
        PB_PUSH(rc->a, vhost, routes, catch_all);
    return vhost->n_routes > 0;
}

void routes_catch_all_last(ROUTE(VirtualHost) *vhost)
{
    size_t n = 0;
    ROUTE(Route) *first = NULL; /* what follows it is never reached */
    for (size_t i = 0; i < vhost->n_routes; i++) {
        bool all = is_catch_all(vhost->routes[i]->match);
        if (!all)
            vhost->routes[n++] = vhost->routes[i];
        else if (!first)
            first = vhost->routes[i];
    }
    if (first)
        vhost->routes[n++] = first;
    vhost->n_routes = n;
}

ROUTE(Route) *route_default(struct route_context *rc, const struct model_service *s, uint32_t port)
{
    ROUTE(Route) *r = NEW_ROUTE(rc->a, route);
    r->name = pb_str(rc->a, S("default"));
    r->match = match_make(rc->a, NULL);
    ROUTE(RouteAction) *act = action_route(rc->a, r);
    to_cluster(rc->a, act, cluster_name(rc->a, S("outbound"), port, (struct slice){0}, s->host));
    bool hashed = apply_hash(rc, act, s, port, (struct slice){0});
    apply_timeout(rc, act, NULL);
    act->retry_policy = retry_policy(rc->a, NULL, hashed);
    decorate(rc, r);
    return r;
}
