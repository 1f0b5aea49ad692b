/* VirtualService http rules to routes: destinations, headers, time-outs, retries, redirects. */
#include "base/wire/base64.h"
#include "pilot/build_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Destinations. */

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

/* Headers. */

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
        struct slice name = json_slice(v);
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

/* Clusters and weights. */

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

/* Hash policies. */

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

/* Timeouts, retries. */

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

/* Rewrite, mirror. */

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

/* Actions. */

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

static CORE(DataSource) *direct_body(struct arena *a, const json_t *body)
{
    struct slice text = jr_str(body, "string"), bytes = jr_str(body, "bytes");
    struct buf raw = {0};
    CORE(DataSource) *d = NEW_CORE(a, data_source);
    if (bytes.n && base64_decode(&raw, bytes) && raw.n <= DIRECT_BODY_BYTES_MAX) {
        d->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_BYTES;
        d->inline_bytes = pb_bytes(a, buf_slice(&raw));
    } else if (text.n && text.n <= DIRECT_BODY_BYTES_MAX) {
        d->specifier_case = ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING;
        d->inline_string = pb_str(a, text);
    } else {
        d = NULL;
    }
    buf_fini(&raw);
    return d;
}

static void action_direct(struct arena *a, ROUTE(Route) *r, const json_t *direct)
{
    ROUTE(DirectResponseAction) *d = NEW_ROUTE(a, direct_response_action);
    r->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE;
    r->direct_response = d;
    d->status = jr_u32(direct, "status", 200);
    d->body = direct_body(a, jr_get(direct, "body"));
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
        return NULL; /* nothing to do */
    if (r->action_case != ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE)
        route_headers(rc->a, r, jr_get(http, "headers"));
    filter_cors(rc->a, r, jr_get(http, "corsPolicy"));
    filter_fault(rc->a, r, jr_get(http, "fault"));
    decorate(rc, r);
    name_config(rc, r);
    return r;
}

/* The routes of one rule, one a match block. true: it catches all, what follows is never reached.
 */
static bool add_rule(struct route_context *rc, ROUTE(VirtualHost) *vhost, const json_t *http)
{
    const json_t *matches = jr_get(http, "match");
    size_t n = jr_len(matches) ? jr_len(matches) : 1;
    for (size_t j = 0; j < n; j++) {
        const json_t *match = jr_at(matches, j);
        if (match && !route_match_applies(rc, match))
            continue;
        ROUTE(Route) *r = route_make(rc, http, match);
        if (!r)
            continue;
        PB_PUSH(rc->a, vhost, routes, r);
        if (match_catches_all(r->match))
            return true;
    }
    return false;
}

/* Names in a delegate are of the delegate's namespace. */
static bool add_delegated(struct route_context *rc, ROUTE(VirtualHost) *vhost, const json_t *http)
{
    const struct model_object *delegate = delegate_of(rc, http);
    bool all = false;
    if (!delegate)
        return false;
    struct route_context inner = *rc;
    inner.vs = delegate;
    sources_add(rc->sources, delegate->key);
    json_t *rules = delegate_rules(delegate, http);
    JR_EACH (rules, i, rule) {
        all = all || add_rule(&inner, vhost, rule);
    }
    json_decref(rules);
    return all;
}

bool routes_http(struct route_context *rc, ROUTE(VirtualHost) *vhost)
{
    bool all = false;
    sources_add(rc->sources, rc->vs->key);
    JR_EACH (jr_get(rc->vs->body->spec, "http"), i, http) {
        if (!all)
            all = jr_get(http, "delegate") ? add_delegated(rc, vhost, http)
                                           : add_rule(rc, vhost, http);
    }
    return vhost->n_routes > 0;
}

void routes_catch_all_last(ROUTE(VirtualHost) *vhost)
{
    size_t n = 0;
    ROUTE(Route) *first = NULL; /* what follows it is never reached */
    for (size_t i = 0; i < vhost->n_routes; i++) {
        bool all = match_catches_all(vhost->routes[i]->match);
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
