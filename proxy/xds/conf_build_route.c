/* Routes and virtual hosts. */
#include "proxy/xds/conf_build_internal.h"

#include <ctype.h>
#include <string.h>

#include "api/proto/fault.pb-c.h"

#define MSG(name) Envoy__Config__Route__V3__##name
#define FAULT_FILTER "envoy.filters.http.fault"
#define CORS_FILTER "envoy.filters.http.cors"

/* Match. */

static bool build_header_match(struct arena *arena, const MSG(HeaderMatcher) * in,
                               struct header_match *ret, struct err *err)
{
    struct header_match out = {
        .name = build_lower(arena, in->name),
        .invert = in->invert_match,
        .missing_as_empty = in->treat_missing_header_as_empty,
    };
    if (out.name.n == 0)
        return err_set(err, ERR_INVALID, "headers.name: must not be empty");
    switch (in->header_match_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER__NOT_SET:
        out.value.kind = MATCH_PRESENT;
        break;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PRESENT_MATCH:
        out.value.kind = MATCH_PRESENT;
        out.invert = in->present_match ? out.invert : !out.invert;
        break;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_RANGE_MATCH:
        out.value.kind = MATCH_RANGE;
        out.value.range_start = in->range_match->start;
        out.value.range_end = in->range_match->end;
        break;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_STRING_MATCH:
        if (!build_string_match(arena, in->string_match, &out.value, err))
            return err_wrap(err, "headers %s", in->name);
        break;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_EXACT_MATCH:
        out.value =
            (struct string_match){.kind = MATCH_EXACT, .text = build_text(arena, in->exact_match)};
        break;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_PREFIX_MATCH:
        out.value = (struct string_match){.kind = MATCH_PREFIX,
                                          .text = build_text(arena, in->prefix_match)};
        break;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_SUFFIX_MATCH:
        out.value = (struct string_match){.kind = MATCH_SUFFIX,
                                          .text = build_text(arena, in->suffix_match)};
        break;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_CONTAINS_MATCH:
        out.value = (struct string_match){.kind = MATCH_CONTAINS,
                                          .text = build_text(arena, in->contains_match)};
        break;
    case ENVOY__CONFIG__ROUTE__V3__HEADER_MATCHER__HEADER_MATCH_SPECIFIER_SAFE_REGEX_MATCH:
        out.value.kind = MATCH_REGEX;
        out.value.regex = build_regex(in->safe_regex_match, err);
        if (!out.value.regex)
            return err_wrap(err, "headers %s", in->name);
        break;
    default:
        return err_set(err, ERR_INVALID, "headers %s: no match that this proxy knows", in->name);
    }
    *ret = out;
    return true;
}

static bool build_query_match(struct arena *arena, const MSG(QueryParameterMatcher) * in,
                              struct query_match *ret, struct err *err)
{
    struct query_match out = {.name = build_text(arena, in->name), .value.kind = MATCH_PRESENT};
    if (out.name.n == 0)
        return err_set(err, ERR_INVALID, "query_parameters.name: must not be empty");
    if (in->query_parameter_match_specifier_case ==
            ENVOY__CONFIG__ROUTE__V3__QUERY_PARAMETER_MATCHER__QUERY_PARAMETER_MATCH_SPECIFIER_STRING_MATCH &&
        !build_string_match(arena, in->string_match, &out.value, err))
        return err_wrap(err, "query_parameters %s", in->name);
    *ret = out;
    return true;
}

static bool build_path(struct arena *arena, const MSG(RouteMatch) * in, struct route *r,
                       struct err *err)
{
    const char *text = "";
    switch (in->path_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX:
        r->path_kind = PATH_PREFIX;
        text = in->prefix;
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH:
        r->path_kind = PATH_EXACT;
        text = in->path;
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PATH_SEPARATED_PREFIX:
        r->path_kind = PATH_SEPARATED_PREFIX;
        text = in->path_separated_prefix;
        if (slice_ends(slice_of(text), S("/")))
            return err_set(err, ERR_INVALID, "path_separated_prefix: must not end in /");
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_CONNECT_MATCHER:
        r->path_kind = PATH_CONNECT;
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_SAFE_REGEX:
        r->path_kind = PATH_REGEX;
        r->path_regex = build_regex(in->safe_regex, err);
        return r->path_regex ? true : err_wrap(err, "safe_regex");
    default:
        return err_set(err, ERR_INVALID, "match: no path specifier that this proxy knows");
    }
    r->ignore_case = !build_bool(in->case_sensitive, true);
    r->path = r->ignore_case ? build_lower(arena, text) : build_text(arena, text);
    return true;
}

bool build_route_match(struct arena *arena, const MSG(RouteMatch) * in, struct route *r,
                       struct err *err)
{
    if (!in)
        return err_set(err, ERR_INVALID, "match: missing");
    if (in->n_dynamic_metadata || in->n_filter_state || in->tls_context)
        return err_set(err, ERR_UNSUPPORTED,
                       "match: metadata, filter state and TLS context are not known");
    r->grpc_only = in->grpc != NULL;
    r->headers = ARENA_ARRAY(arena, struct header_match, in->n_headers + 1);
    r->queries = ARENA_ARRAY(arena, struct query_match, in->n_query_parameters + 1);
    if (!build_path(arena, in, r, err))
        return false;
    for (; r->header_count < in->n_headers; r->header_count++)
        if (!build_header_match(arena, in->headers[r->header_count], &r->headers[r->header_count],
                                err))
            return false;
    for (; r->query_count < in->n_query_parameters; r->query_count++)
        if (!build_query_match(arena, in->query_parameters[r->query_count],
                               &r->queries[r->query_count], err))
            return false;
    if (in->runtime_fraction) {
        r->has_runtime_fraction = true;
        r->runtime_fraction = build_fraction(in->runtime_fraction->default_value);
    }
    return true;
}

/* Retries. */

static const struct {
    struct slice name;
    uint32_t bit;
} retry_names[] = {
    {S_INIT("5xx"), RETRY_5XX},
    {S_INIT("gateway-error"), RETRY_GATEWAY_ERROR},
    {S_INIT("reset"), RETRY_RESET},
    {S_INIT("reset-before-request"), RETRY_RESET_BEFORE_REQUEST},
    {S_INIT("connect-failure"), RETRY_CONNECT_FAILURE},
    {S_INIT("refused-stream"), RETRY_REFUSED_STREAM},
    {S_INIT("retriable-4xx"), RETRY_RETRIABLE_4XX},
    {S_INIT("retriable-status-codes"), RETRY_RETRIABLE_STATUS_CODES},
    {S_INIT("cancelled"), RETRY_GRPC_CANCELLED},
    {S_INIT("deadline-exceeded"), RETRY_GRPC_DEADLINE_EXCEEDED},
    {S_INIT("internal"), RETRY_GRPC_INTERNAL},
    {S_INIT("resource-exhausted"), RETRY_GRPC_RESOURCE_EXHAUSTED},
    {S_INIT("unavailable"), RETRY_GRPC_UNAVAILABLE},
};

/* Unknown conditions are ignored, as Envoy does. */
static uint32_t retry_on_bits(struct slice list)
{
    uint32_t bits = 0;
    while (list.n) {
        struct slice word;
        slice_cut(list, ',', &word, &list);
        word = slice_trim(word);
        for (size_t i = 0; i < ARRAY_LEN(retry_names); i++)
            if (slice_eq(word, retry_names[i].name))
                bits |= retry_names[i].bit;
    }
    return bits;
}

bool build_retry(struct arena *arena, const MSG(RetryPolicy) * in, struct retry_policy *ret,
                 struct err *err)
{
    struct retry_policy p = {
        .on = retry_on_bits(slice_of(in->retry_on)),
        .attempts_max = build_u32(in->num_retries, 1),
        .per_try_timeout = build_ms(in->per_try_timeout, 0),
        .backoff_base = 25,
        .avoid_previous_hosts = in->n_retry_host_predicate > 0,
        .host_attempts_max =
            in->host_selection_retry_max_attempts > 0 && in->host_selection_retry_max_attempts < 100
                ? (uint32_t)in->host_selection_retry_max_attempts
                : 1,
        .status_count = in->n_retriable_status_codes,
    };
    if (in->retry_back_off) {
        p.backoff_base = build_ms(in->retry_back_off->base_interval, 0);
        p.backoff_max = build_ms(in->retry_back_off->max_interval, 0);
        if (p.backoff_base <= 0)
            return err_set(err, ERR_INVALID, "retry_back_off.base_interval: must be above 0");
    }
    if (p.backoff_max == 0)
        p.backoff_max = p.backoff_base * 10;
    p.statuses = ARENA_ARRAY(arena, uint32_t, p.status_count + 1);
    for (size_t i = 0; i < p.status_count; i++)
        p.statuses[i] = in->retriable_status_codes[i];
    *ret = p;
    return true;
}

/* Faults. */

static bool build_fault(const Envoy__Extensions__Filters__Http__Fault__V3__HTTPFault *in,
                        struct fault *ret, struct err *err)
{
    struct fault f = {.abort_grpc = -1};
    if (in->delay) {
        if (in->delay->fault_delay_secifier_case !=
            ENVOY__EXTENSIONS__FILTERS__COMMON__FAULT__V3__FAULT_DELAY__FAULT_DELAY_SECIFIER_FIXED_DELAY)
            return err_set(err, ERR_UNSUPPORTED, "fault.delay: only fixed_delay is known");
        f.delay = build_ms(in->delay->fixed_delay, 0);
        f.delay_fraction = build_fraction(in->delay->percentage);
    }
    if (in->abort) {
        f.abort_fraction = build_fraction(in->abort->percentage);
        switch (in->abort->error_type_case) {
        case ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_HTTP_STATUS:
            f.abort_status = in->abort->http_status;
            if (f.abort_status < 200 || f.abort_status > 599)
                return err_set(err, ERR_INVALID, "fault.abort.http_status: must be 200..599");
            break;
        case ENVOY__EXTENSIONS__FILTERS__HTTP__FAULT__V3__FAULT_ABORT__ERROR_TYPE_GRPC_STATUS:
            f.abort_grpc = (int32_t)in->abort->grpc_status;
            break;
        default:
            return err_set(err, ERR_UNSUPPORTED, "fault.abort: header_abort is not known");
        }
    }
    *ret = f;
    return true;
}

static bool build_filter_config(const MSG(Route) * in, struct route *r, struct err *err)
{
    bool ok = true;
    for (size_t i = 0; ok && i < in->n_typed_per_filter_config; i++) {
        const char *name = in->typed_per_filter_config[i]->key;
        struct arena scratch = {0};
        if (strcmp(name, CORS_FILTER) == 0)
            return err_set(err, ERR_UNSUPPORTED, "typed_per_filter_config %s: not known", name);
        if (strcmp(name, FAULT_FILTER) != 0)
            continue;
        const Envoy__Extensions__Filters__Http__Fault__V3__HTTPFault *f = any_unpack(
            in->typed_per_filter_config[i]->value,
            &envoy__extensions__filters__http__fault__v3__httpfault__descriptor, &scratch, err);
        ok = f && build_fault(f, &r->fault, err);
        r->has_fault = ok;
        arena_fini(&scratch);
    }
    return ok;
}

/* Of filters that this proxy has; those that it has not do nothing anywhere. */
static bool only_on_routes(const char *filter, struct err *err)
{
    if (strcmp(filter, FAULT_FILTER) != 0 && strcmp(filter, CORS_FILTER) != 0)
        return true;
    return err_set(err, ERR_UNSUPPORTED, "typed_per_filter_config %s: only routes may have it",
                   filter);
}

/* Actions. */

static bool build_weighted(struct arena *arena, const MSG(WeightedCluster) * in, struct route *r,
                           struct err *err)
{
    uint64_t total = 0;
    r->clusters = ARENA_ARRAY(arena, struct weighted_cluster, in->n_clusters + 1);
    for (size_t i = 0; i < in->n_clusters; i++) {
        const MSG(WeightedCluster__ClusterWeight) *w = in->clusters[i];
        r->clusters[i].cluster = build_text(arena, w->name);
        r->clusters[i].weight = build_u32(w->weight, 0);
        total += r->clusters[i].weight;
        if (!w->name[0])
            return err_set(err, ERR_INVALID,
                           "weighted_clusters.clusters[%zu].name: must not be empty", i);
        for (size_t k = 0; k < w->n_typed_per_filter_config; k++)
            if (!only_on_routes(w->typed_per_filter_config[k]->key, err))
                return err_wrap(err, "weighted_clusters.clusters[%zu]", i);
        if (!build_header_changes(arena, w->request_headers_to_add, w->n_request_headers_to_add,
                                  w->request_headers_to_remove, w->n_request_headers_to_remove,
                                  &r->clusters[i].request, err) ||
            !build_header_changes(arena, w->response_headers_to_add, w->n_response_headers_to_add,
                                  w->response_headers_to_remove, w->n_response_headers_to_remove,
                                  &r->clusters[i].response, err))
            return false;
    }
    if (total == 0 || total > UINT32_MAX)
        return err_set(err, ERR_INVALID, "weighted_clusters: the weights add up to %llu",
                       (unsigned long long)total);
    r->cluster_count = in->n_clusters;
    r->weight_total = (uint32_t)total;
    return true;
}

static bool build_cluster_choice(struct arena *arena, const MSG(RouteAction) * in, struct route *r,
                                 struct err *err)
{
    switch (in->cluster_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER:
        if (!in->cluster[0])
            return err_set(err, ERR_INVALID, "route.cluster: must not be empty");
        r->clusters = ARENA_NEW(arena, struct weighted_cluster);
        r->clusters->cluster = build_text(arena, in->cluster);
        r->clusters->weight = 1;
        r->cluster_count = 1;
        r->weight_total = 1;
        return true;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_WEIGHTED_CLUSTERS:
        return build_weighted(arena, in->weighted_clusters, r, err);
    default:
        return err_set(err, ERR_UNSUPPORTED, "route: only cluster and weighted_clusters are known");
    }
}

static bool build_hash(struct arena *arena, const MSG(RouteAction__HashPolicy) * in,
                       struct hash_policy *ret, struct err *err)
{
    struct hash_policy h = {.terminal = in->terminal, .cookie_ttl = -1};
    switch (in->policy_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_HEADER:
        h.kind = HASH_HEADER;
        h.name = build_lower(arena, in->header->header_name);
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_COOKIE:
        h.kind = HASH_COOKIE;
        h.name = build_text(arena, in->cookie->name);
        h.cookie_path = build_text(arena, in->cookie->path);
        h.cookie_ttl = build_ms(in->cookie->ttl, -1);
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_CONNECTION_PROPERTIES:
        h.kind = HASH_SOURCE_IP;
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_QUERY_PARAMETER:
        h.kind = HASH_QUERY;
        h.name = build_text(arena, in->query_parameter->name);
        break;
    default:
        return err_set(err, ERR_UNSUPPORTED, "hash_policy: this kind is not known");
    }
    *ret = h;
    return true;
}

static bool build_rewrites(struct arena *arena, const MSG(RouteAction) * in, struct route *r,
                           struct err *err)
{
    r->prefix_rewrite = build_text(arena, in->prefix_rewrite);
    r->has_prefix_rewrite = r->prefix_rewrite.n > 0;
    if (in->regex_rewrite && in->regex_rewrite->pattern) {
        r->regex_rewrite = build_regex(in->regex_rewrite->pattern, err);
        if (!r->regex_rewrite)
            return err_wrap(err, "regex_rewrite");
        r->regex_substitution = build_text(arena, in->regex_rewrite->substitution);
    }
    switch (in->host_rewrite_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER__NOT_SET:
        return true;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_HOST_REWRITE_LITERAL:
        r->host_rewrite = build_text(arena, in->host_rewrite_literal);
        return true;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HOST_REWRITE_SPECIFIER_AUTO_HOST_REWRITE:
        r->auto_host_rewrite = in->auto_host_rewrite->value;
        return true;
    default:
        return err_set(err, ERR_UNSUPPORTED, "route: this host rewrite is not known");
    }
}

/* What changes where a request goes or what becomes of it, and is not known here. */
static bool check_unknown(const MSG(RouteAction) * in, struct err *err)
{
    const char *what = in->n_request_mirror_policies  ? "request_mirror_policies"
                       : in->n_rate_limits            ? "rate_limits"
                       : in->metadata_match           ? "metadata_match"
                       : in->hedge_policy             ? "hedge_policy"
                       : in->internal_redirect_policy ? "internal_redirect_policy"
                                                      : NULL;
    return what ? err_set(err, ERR_UNSUPPORTED, "route.%s: not known", what) : true;
}

static bool build_forward(struct arena *arena, const MSG(RouteAction) * in, struct route *r,
                          struct err *err)
{
    r->action = ROUTE_FORWARD;
    if (!check_unknown(in, err))
        return false;
    r->timeout = build_ms(in->timeout, 15000);
    r->idle_timeout = build_ms(in->idle_timeout, 0);
    if (in->max_stream_duration && in->max_stream_duration->max_stream_duration)
        r->timeout = build_ms(in->max_stream_duration->max_stream_duration, 0);
    r->hashes = ARENA_ARRAY(arena, struct hash_policy, in->n_hash_policy + 1);
    for (; r->hash_count < in->n_hash_policy; r->hash_count++)
        if (!build_hash(arena, in->hash_policy[r->hash_count], &r->hashes[r->hash_count], err))
            return false;
    for (size_t i = 0; i < in->n_upgrade_configs; i++)
        if (slice_eq_nocase(slice_of(in->upgrade_configs[i]->upgrade_type), S("websocket"))) {
            r->websocket_set = true;
            r->websocket = build_bool(in->upgrade_configs[i]->enabled, true);
        }
    if (in->retry_policy) {
        if (!build_retry(arena, in->retry_policy, &r->retry, err))
            return false;
        r->has_retry = true;
    }
    return build_cluster_choice(arena, in, r, err) && build_rewrites(arena, in, r, err);
}

static bool build_redirect(struct arena *arena, const MSG(RedirectAction) * in, struct route *r,
                           struct err *err)
{
    static const uint32_t codes[] = {301, 302, 303, 307, 308};
    r->action = ROUTE_REDIRECT;
    if ((size_t)in->response_code >= ARRAY_LEN(codes))
        return err_set(err, ERR_INVALID, "redirect.response_code: unknown");
    r->redirect_status = codes[in->response_code];
    r->redirect_host = build_text(arena, in->host_redirect);
    r->redirect_port = in->port_redirect;
    r->redirect_strip_query = in->strip_query;
    switch (in->path_rewrite_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER__NOT_SET:
        break;
    case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PATH_REDIRECT:
        r->redirect_path = build_text(arena, in->path_redirect);
        r->redirect_has_path = r->redirect_path.n > 0;
        break;
    case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__PATH_REWRITE_SPECIFIER_PREFIX_REWRITE:
        r->redirect_prefix = build_text(arena, in->prefix_rewrite);
        r->redirect_has_prefix = true;
        break;
    default:
        return err_set(err, ERR_UNSUPPORTED, "redirect.regex_rewrite: not known");
    }
    switch (in->scheme_rewrite_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_HTTPS_REDIRECT:
        r->redirect_scheme = in->https_redirect ? S("https") : S("");
        break;
    case ENVOY__CONFIG__ROUTE__V3__REDIRECT_ACTION__SCHEME_REWRITE_SPECIFIER_SCHEME_REDIRECT:
        r->redirect_scheme = build_text(arena, in->scheme_redirect);
        break;
    default:
        break;
    }
    return true;
}

static bool build_direct(struct arena *arena, const MSG(DirectResponseAction) * in, struct route *r,
                         struct err *err)
{
    const Envoy__Config__Core__V3__DataSource *body = in->body;
    r->action = ROUTE_DIRECT;
    r->direct_status = in->status;
    if (in->status < 200 || in->status > 599)
        return err_set(err, ERR_INVALID, "direct_response.status: must be 200..599");
    if (!body)
        return true;
    switch (body->specifier_case) {
    case ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_STRING:
        r->direct_body = build_text(arena, body->inline_string);
        return true;
    case ENVOY__CONFIG__CORE__V3__DATA_SOURCE__SPECIFIER_INLINE_BYTES:
        r->direct_body =
            arena_dup(arena, slice_mem(body->inline_bytes.data, body->inline_bytes.len));
        return true;
    default:
        return err_set(err, ERR_UNSUPPORTED, "direct_response.body: only inline bodies are known");
    }
}

static bool build_action(struct arena *arena, const MSG(Route) * in, struct route *r,
                         struct err *err)
{
    switch (in->action_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE:
        return build_forward(arena, in->route, r, err);
    case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_REDIRECT:
        return build_redirect(arena, in->redirect, r, err);
    case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE:
        return build_direct(arena, in->direct_response, r, err);
    default:
        return err_set(err, ERR_UNSUPPORTED, "action: neither route, redirect nor direct_response");
    }
}

bool build_route(struct arena *arena, const MSG(Route) * in, struct route *r, struct err *err)
{
    r->name = build_text(arena, in->name);
    return build_route_match(arena, in->match, r, err) && build_action(arena, in, r, err) &&
           build_header_changes(arena, in->request_headers_to_add, in->n_request_headers_to_add,
                                in->request_headers_to_remove, in->n_request_headers_to_remove,
                                &r->request, err) &&
           build_header_changes(arena, in->response_headers_to_add, in->n_response_headers_to_add,
                                in->response_headers_to_remove, in->n_response_headers_to_remove,
                                &r->response, err) &&
           build_filter_config(in, r, err);
}

/* Virtual hosts. */

/* require_tls: all that comes here came without, so it is sent to come again. */
static void require_tls(struct virtual_host *v)
{
    struct arena *arena = &v->part.arena;
    v->routes = ARENA_NEW(arena, struct route);
    v->routes[0] = (struct route){.path_kind = PATH_PREFIX,
                                  .path = S("/"),
                                  .action = ROUTE_REDIRECT,
                                  .redirect_status = 301,
                                  .redirect_scheme = S("https")};
    v->route_count = 1;
}

static bool vhost_routes(struct virtual_host *v, const MSG(VirtualHost) * in, struct err *err)
{
    if (in->require_tls == ENVOY__CONFIG__ROUTE__V3__VIRTUAL_HOST__TLS_REQUIREMENT_TYPE__ALL) {
        require_tls(v);
        return true;
    }
    if (in->require_tls != ENVOY__CONFIG__ROUTE__V3__VIRTUAL_HOST__TLS_REQUIREMENT_TYPE__NONE)
        return err_set(err, ERR_UNSUPPORTED, "require_tls: only NONE and ALL are known");
    v->routes = ARENA_ARRAY(&v->part.arena, struct route, in->n_routes + 1);
    for (size_t i = 0; i < in->n_routes; i++) {
        v->route_count++; /* first: a half-built route is released too */
        if (!build_route(&v->part.arena, in->routes[i], &v->routes[i], err))
            return err_wrap(err, "routes[%zu] %s", i, in->routes[i]->name);
    }
    return true;
}

static bool vhost_check(const MSG(VirtualHost) * in, struct err *err)
{
    if (in->n_domains == 0)
        return err_set(err, ERR_INVALID, "domains: must not be empty");
    for (size_t i = 0; i < in->n_typed_per_filter_config; i++)
        if (!only_on_routes(in->typed_per_filter_config[i]->key, err))
            return false;
    if (in->n_request_mirror_policies || in->n_rate_limits || in->hedge_policy)
        return err_set(err, ERR_UNSUPPORTED, "mirrors, rate limits and hedging are not known");
    return true;
}

static bool vhost_fill(struct virtual_host *v, const MSG(VirtualHost) * in, struct err *err)
{
    struct arena *arena = &v->part.arena;
    v->name = build_text(arena, in->name);
    v->attempt_count_header = in->include_request_attempt_count;
    v->domains = ARENA_ARRAY(arena, struct slice, in->n_domains + 1);
    if (!vhost_check(in, err))
        return false;
    for (; v->domain_count < in->n_domains; v->domain_count++)
        v->domains[v->domain_count] = build_lower(arena, in->domains[v->domain_count]);
    if (!vhost_routes(v, in, err))
        return false;
    if (in->retry_policy) {
        if (!build_retry(arena, in->retry_policy, &v->retry, err))
            return false;
        v->has_retry = true;
    }
    return build_header_changes(arena, in->request_headers_to_add, in->n_request_headers_to_add,
                                in->request_headers_to_remove, in->n_request_headers_to_remove,
                                &v->request, err) &&
           build_header_changes(arena, in->response_headers_to_add, in->n_response_headers_to_add,
                                in->response_headers_to_remove, in->n_response_headers_to_remove,
                                &v->response, err);
}

bool build_virtual_host(const MSG(VirtualHost) * in, struct virtual_host **ret, struct err *err)
{
    struct virtual_host *v = virtual_host_new();
    if (!vhost_fill(v, in, err)) {
        conf_part_unref(&v->part);
        return err_wrap(err, "virtual host %s", in->name);
    }
    *ret = v;
    return true;
}

struct virtual_host *conf_build_virtual_host(struct slice name, struct slice body, struct err *err)
{
    struct arena scratch = {0};
    struct virtual_host *v = NULL;
    const MSG(VirtualHost) *in =
        pb_unpack(&envoy__config__route__v3__virtual_host__descriptor, body, &scratch, err);
    if (!in || !build_virtual_host(in, &v, err))
        err_wrap(err, "VirtualHost %.*s", SLICE(name));
    arena_fini(&scratch);
    return v;
}
