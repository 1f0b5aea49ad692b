#include "api/validate.h"

#include <string.h>

#include "api/duration.h"
#include "api/names.h"
#include "api/validate_parts.h"
#include "base/core/map.h"
#include "base/core/regex.h"
#include "base/wire/grpc.h"

/* VirtualService. */

#define CUT(s) SLICE(slice_sub((s), 0, 80))
#define DIRECT_BODY_BYTES_WARN (100u * 1024u)
#define DIRECT_BODY_BYTES_MAX (1024u * 1024u)
#define ROUTES_COMPARED_MAX 500 /* more routes are not compared with each other */

/* Matches. */

static void check_prefix(struct check *c, const json_t *prefix)
{
    if (json_is_string(prefix) && !json_slice(prefix).n)
        check_invalid(c, "must not be empty: an empty prefix matches everything");
}

static void check_string_match(struct check *c, const json_t *match)
{
    check_field(c, match, "prefix", check_prefix);
    check_field(c, match, "regex", validate_regex);
}

static void check_match_names(struct check *c, const json_t *headers)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)headers, key, value) {
        size_t at = check_enter_key(c, slice_of(key));
        struct slice name = slice_of(key);
        bool pseudo = slice_starts(name, S(":"));
        /* "@request.auth.claims.…" reads a claim of a token. */
        bool claim = slice_starts(name, S("@request.auth.claims"));
        if (!claim && !name_is_token(pseudo ? slice_skip(name, 1) : name))
            check_invalid(c, "is no header name");
        check_leave(c, at);
    }
}

static void check_sources(struct check *c, const json_t *match)
{
    struct slice ns = json_str(match, "sourceNamespace");
    check_field(c, match, "sourceLabels", validate_labels);
    check_field(c, match, "port", validate_port);
    if (ns.n && !name_is_label(ns))
        check_invalid_at(c, "sourceNamespace", "\"%.*s\": must be a namespace", CUT(ns));
}

static void check_gateway_name(struct check *c, const json_t *gateway)
{
    struct slice s = json_slice(gateway), ns, name;
    if (!json_is_string(gateway) || slice_eq(s, S("mesh")))
        return;
    if (!slice_cut(s, '/', &ns, &name)) {
        if (!name_is_host(s))
            check_invalid(c, "\"%.*s\": must be mesh, a gateway's name or namespace/name", CUT(s));
    } else if ((!name_is_label(ns) && !slice_eq(ns, S("."))) || !name_is_subdomain(name)) {
        check_invalid(c, "\"%.*s\": must be mesh, a gateway's name or namespace/name", CUT(s));
    }
}

static void check_http_match(struct check *c, const json_t *match)
{
    static const char *const strings[] = {"uri", "scheme", "method", "authority"};
    static const char *const maps[] = {"headers", "withoutHeaders", "queryParams"};
    for (size_t i = 0; i < ARRAY_LEN(strings); i++)
        check_field(c, match, strings[i], check_string_match);
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        check_each_value(c, match, maps[i], check_string_match);
    check_field(c, match, "headers", check_match_names);
    check_field(c, match, "withoutHeaders", check_match_names);
    check_sources(c, match);
    check_each(c, match, "gateways", check_gateway_name);
}

/* Header changes. */

static void check_header_names(struct check *c, const json_t *headers)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)headers, key, value) {
        struct slice name = slice_of(key);
        size_t at = check_enter_key(c, name);
        if (!name_is_token(slice_starts(name, S(":")) ? slice_skip(name, 1) : name))
            check_invalid(c, "is no header name");
        else if (strpbrk(json_slice(value).n ? json_string_value(value) : "", "\r\n"))
            check_invalid(c, "a header's value is one line");
        check_leave(c, at);
    }
}

static void check_header_removed(struct check *c, const json_t *name)
{
    if (json_is_string(name) && !name_is_token(json_slice(name)))
        check_invalid(c, "\"%.*s\": is no header name", CUT(json_slice(name)));
}

static void check_operations(struct check *c, const json_t *operations)
{
    check_field(c, operations, "set", check_header_names);
    check_field(c, operations, "add", check_header_names);
    check_each(c, operations, "remove", check_header_removed);
}

static void check_headers(struct check *c, const json_t *headers)
{
    check_field(c, headers, "request", check_operations);
    check_field(c, headers, "response", check_operations);
}

/* Destinations. */

static void check_route_destination(struct check *c, const json_t *route)
{
    check_field(c, route, "destination", validate_destination);
    check_field(c, route, "weight", validate_not_negative);
    check_field(c, route, "headers", check_headers);
}

/* Shares are in proportion to the sum; a single destination needs none. */
static void check_weights(struct check *c, const json_t *routes)
{
    size_t n = json_array_size(routes);
    double total = 0;
    for (size_t i = 0; i < n; i++)
        total += (double)json_int(json_array_get(routes, i), "weight", 0);
    if (n > VALIDATE_DESTINATIONS_MAX)
        check_invalid(c, "%zu destinations: at most %d", n, VALIDATE_DESTINATIONS_MAX);
    else if (n > 1 && total == 0)
        check_invalid(c, "the weights add up to 0: give the destinations weights, best so that "
                         "they add up to 100");
    else if (total > UINT32_MAX)
        check_invalid(c, "the weights add up to more than %u", UINT32_MAX);
}

static void check_routes(struct check *c, const json_t *rule)
{
    check_each(c, rule, "route", check_route_destination);
    check_field(c, rule, "route", check_weights);
}

/* Other actions. */

static void check_redirect(struct check *c, const json_t *redirect)
{
    static const char *const says[] = {"uri",  "prefixRewrite", "authority", "scheme",
                                       "port", "derivePort",    NULL};
    int64_t code = json_int(redirect, "redirectCode", 301);
    struct slice scheme = json_str(redirect, "scheme");
    if (!check_count(redirect, says, NULL))
        check_invalid(c, "must say where to: uri, authority, scheme or port");
    if (check_has(redirect, "uri") && check_has(redirect, "prefixRewrite"))
        check_forbidden_at(c, "prefixRewrite", "may not be set together with uri");
    if (code && (code < 300 || code > 399))
        check_invalid_at(c, "redirectCode", "must be 301, 302, 303, 307 or 308");
    if (scheme.n && !slice_eq(scheme, S("http")) && !slice_eq(scheme, S("https")))
        check_invalid_at(c, "scheme", "\"%.*s\": must be http or https", CUT(scheme));
    check_field(c, redirect, "port", validate_port);
}

static void check_direct_response(struct check *c, const json_t *response)
{
    int64_t status = json_int(response, "status", 200);
    struct slice text = json_str(response, "body.string"), bytes = json_str(response, "body.bytes");
    size_t n = text.n ? text.n : bytes.n / 4 * 3;
    if (status < 200 || status > 599)
        check_invalid_at(c, "status", "must be between 200 and 599");
    if (n > DIRECT_BODY_BYTES_MAX)
        check_invalid_at(c, "body", "%zu bytes: at most %u", n, DIRECT_BODY_BYTES_MAX);
    else if (n > DIRECT_BODY_BYTES_WARN) {
        size_t at = check_enter(c, "body");
        check_warn(c, "%zu bytes go to every proxy: serve large bodies from a service", n);
        check_leave(c, at);
    }
}

static void check_delegate(struct check *c, const json_t *delegate)
{
    struct slice name = json_str(delegate, "name"), ns = json_str(delegate, "namespace");
    if (!name_is_subdomain(name))
        check_required_at(c, "name", "must name a VirtualService");
    if (ns.n && !name_is_label(ns))
        check_invalid_at(c, "namespace", "\"%.*s\": must be a namespace", CUT(ns));
}

/* Modifiers. */

static void check_regex_rewrite(struct check *c, const json_t *rewrite)
{
    if (!json_str(rewrite, "match").n || !check_has(rewrite, "rewrite"))
        check_required(c, "needs both match and rewrite");
    check_field(c, rewrite, "match", validate_regex);
}

static void check_rewrite(struct check *c, const json_t *rewrite)
{
    static const char *const says[] = {"uri", "authority", "uriRegexRewrite", NULL};
    if (!check_count(rewrite, says, NULL))
        check_invalid(c, "must say what: uri, uriRegexRewrite or authority");
    if (check_has(rewrite, "uri") && check_has(rewrite, "uriRegexRewrite"))
        check_forbidden_at(c, "uriRegexRewrite", "may not be set together with uri");
    check_field(c, rewrite, "uriRegexRewrite", check_regex_rewrite);
}

/* Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on, and any HTTP status. */
static const char *const retry_conditions[] = {"5xx",
                                               "gateway-error",
                                               "reset",
                                               "reset-before-request",
                                               "connect-failure",
                                               "envoy-ratelimited",
                                               "retriable-4xx",
                                               "refused-stream",
                                               "retriable-status-codes",
                                               "retriable-headers",
                                               "http3-post-connect-failure",
                                               "cancelled",
                                               "deadline-exceeded",
                                               "internal",
                                               "resource-exhausted",
                                               "unavailable",
                                               NULL};

static bool is_retry_condition(struct slice word)
{
    uint32_t status;
    for (size_t i = 0; retry_conditions[i]; i++)
        if (slice_eq(word, slice_of(retry_conditions[i])))
            return true;
    return slice_u32(word, &status) && status >= 100 && status <= 599;
}

static void check_retry_on(struct check *c, const json_t *retry_on)
{
    struct slice word, rest = json_slice(retry_on);
    bool more = rest.n > 0;
    while (more) {
        more = slice_cut(rest, ',', &word, &rest);
        word = slice_trim(word);
        if (is_retry_condition(word))
            continue;
        struct name_suggest near = {.word = word};
        for (size_t i = 0; retry_conditions[i]; i++)
            name_suggest_try(&near, slice_of(retry_conditions[i]));
        check_invalid(c, "\"%.*s\" is no retry condition%s%.*s%s", CUT(word),
                      near.best.n ? ", did you mean \"" : "", SLICE(near.best),
                      near.best.n ? "\"?" : "");
    }
}

static void check_retries(struct check *c, const json_t *retries)
{
    int64_t attempts = json_int(retries, "attempts", -1);
    check_field(c, retries, "attempts", validate_not_negative);
    check_field(c, retries, "retryOn", check_retry_on);
    if (attempts == 0 && (json_str(retries, "retryOn").n || check_has(retries, "perTryTimeout")))
        check_invalid_at(c, "attempts",
                         "0 turns retries off: drop retryOn and perTryTimeout, or raise it");
}

static void check_delay(struct check *c, const json_t *delay)
{
    check_field(c, delay, "percentage", validate_percentage);
    check_field(c, delay, "percent", validate_percent);
    if (check_has(delay, "exponentialDelay"))
        check_forbidden_at(c, "exponentialDelay", "is not supported: use fixedDelay");
    else if (!check_has(delay, "fixedDelay"))
        check_required_at(c, "fixedDelay", "must be set");
}

static void check_grpc_status(struct check *c, const json_t *status)
{
    const char *names[GRPC_STATUS_COUNT + 1] = {NULL};
    uint32_t number;
    enum grpc_status known;
    if (slice_u32(json_slice(status), &number) ? number < GRPC_STATUS_COUNT
                                               : grpc_status_parse(json_slice(status), &known))
        return;
    for (int i = 0; i < GRPC_STATUS_COUNT; i++)
        names[i] = grpc_status_name(i);
    check_unsupported(c, json_slice(status), names);
}

static void check_abort(struct check *c, const json_t *abort)
{
    static const char *const says[] = {"httpStatus", "grpcStatus", "http2Error", NULL};
    int64_t status = json_int(abort, "httpStatus", 200);
    check_field(c, abort, "percentage", validate_percentage);
    check_field(c, abort, "grpcStatus", check_grpc_status);
    if (!check_count(abort, says, NULL))
        check_required_at(c, "httpStatus", "must be set (or grpcStatus)");
    if (check_has(abort, "http2Error"))
        check_forbidden_at(c, "http2Error", "is not supported: use httpStatus or grpcStatus");
    if (status < 200 || status > 599)
        check_invalid_at(c, "httpStatus", "must be between 200 and 599");
}

static void check_fault(struct check *c, const json_t *fault)
{
    if (!check_has(fault, "delay") && !check_has(fault, "abort"))
        check_required(c, "must have delay or abort");
    check_field(c, fault, "delay", check_delay);
    check_field(c, fault, "abort", check_abort);
}

static void check_mirror(struct check *c, const json_t *mirror)
{
    check_field(c, mirror, "destination", validate_destination);
    check_field(c, mirror, "percentage", validate_percentage);
}

static void check_mirrors(struct check *c, const json_t *http)
{
    check_field(c, http, "mirror", validate_destination);
    check_field(c, http, "mirrorPercentage", validate_percentage);
    check_field(c, http, "mirrorPercent", validate_percent);
    check_field(c, http, "mirror_percent", validate_percent);
    check_each(c, http, "mirrors", check_mirror);
    if (check_has(http, "mirror") && check_has(http, "mirrors"))
        check_forbidden_at(c, "mirrors", "may not be set together with mirror");
}

static void check_method(struct check *c, const json_t *method)
{
    struct slice s = json_slice(method);
    if (json_is_string(method) && !slice_eq(s, S("*")) && !name_is_token(s))
        check_invalid(c, "\"%.*s\": is no HTTP method", CUT(s));
}

static void check_cors_header(struct check *c, const json_t *name)
{
    struct slice s = json_slice(name);
    if (json_is_string(name) && !slice_eq(s, S("*")) && !name_is_token(s))
        check_invalid(c, "\"%.*s\": is no header name", CUT(s));
}

static void check_max_age(struct check *c, const json_t *age)
{
    int64_t ns;
    if (duration_parse(json_slice(age), &ns) && ns % 1000000000)
        check_invalid(c, "\"%.*s\": a browser takes whole seconds", CUT(json_slice(age)));
}

static void check_cors(struct check *c, const json_t *cors)
{
    check_each(c, cors, "allowOrigins", check_string_match);
    check_each(c, cors, "allowMethods", check_method);
    check_each(c, cors, "allowHeaders", check_cors_header);
    check_each(c, cors, "exposeHeaders", check_cors_header);
    check_field(c, cors, "maxAge", check_max_age);
}

/* HTTP routes. */

static bool is_delegate(const json_t *object)
{
    return !json_array_size(json_at(object, "spec.hosts"));
}

static void check_action(struct check *c, const json_t *http)
{
    static const char *const actions[] = {"route", "redirect", "directResponse", "delegate"};
    const char *first = NULL;
    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        const json_t *action = json_object_get(http, actions[i]);
        if (!check_has(http, actions[i]) || (json_is_array(action) && !json_array_size(action)))
            continue;
        if (first)
            check_forbidden_at(c, actions[i], "may not be set together with %s", first);
        else
            first = actions[i];
    }
    if (!first)
        check_required_at(c, "route", "must be set (or redirect, directResponse, delegate)");
    if (is_delegate(c->object) && check_has(http, "delegate"))
        check_forbidden_at(c, "delegate",
                           "a delegate (a VirtualService without hosts) may not delegate on");
}

/* What changes requests has no meaning where none goes on. */
static void check_modifiers_apply(struct check *c, const json_t *http)
{
    static const char *const modifiers[] = {"rewrite", "fault", "mirror", "mirrors", NULL};
    const char *found = NULL;
    bool answers = check_has(http, "redirect") || check_has(http, "directResponse");
    if (answers && check_has(http, "rewrite"))
        check_forbidden_at(c, "rewrite", "may not be set together with %s",
                           check_has(http, "redirect") ? "redirect" : "directResponse");
    else if (check_has(http, "redirect") && check_count(http, modifiers + 1, &found))
        check_forbidden_at(c, found, "may not be set together with redirect");
}

static void check_http(struct check *c, const json_t *http)
{
    check_each(c, http, "match", check_http_match);
    check_action(c, http);
    check_modifiers_apply(c, http);
    check_routes(c, http);
    check_field(c, http, "redirect", check_redirect);
    check_field(c, http, "directResponse", check_direct_response);
    check_field(c, http, "delegate", check_delegate);
    check_field(c, http, "rewrite", check_rewrite);
    check_field(c, http, "retries", check_retries);
    check_field(c, http, "fault", check_fault);
    check_mirrors(c, http);
    check_field(c, http, "corsPolicy", check_cors);
    check_field(c, http, "headers", check_headers);
}

/* TLS and TCP routes. */

static bool covered_by_hosts(const struct check *c, struct slice sni)
{
    const json_t *host;
    size_t i;
    json_array_foreach (json_at(c->object, "spec.hosts"), i, host) {
        struct slice h = json_slice(host);
        /* A short name covers its own full form. */
        if (name_host_covers(h, sni) || (slice_find(h, '.') == SIZE_MAX && slice_starts(sni, h)))
            return true;
    }
    return false;
}

static void check_sni(struct check *c, const json_t *sni)
{
    struct slice s = json_slice(sni);
    if (!json_is_string(sni))
        return;
    if (name_is_ip(s))
        check_warn(c, "\"%.*s\": clients send no address as server name, so this never matches",
                   SLICE(s));
    else if (!name_is_wildcard_host(s))
        check_invalid(c, "\"%.*s\": must be a DNS name or a wildcard like \"*.example.com\"",
                      CUT(s));
    else if (!covered_by_hosts(c, s))
        check_invalid(c, "\"%.*s\" is none of spec.hosts", CUT(s));
}

static void check_subnet(struct check *c, const json_t *subnet)
{
    if (json_is_string(subnet) && !name_is_cidr(json_slice(subnet)))
        check_invalid(c, "\"%.*s\": must be an IP address or a subnet like 10.0.0.0/8",
                      CUT(json_slice(subnet)));
}

static void check_l4_match(struct check *c, const json_t *match)
{
    check_each(c, match, "destinationSubnets", check_subnet);
    check_field(c, match, "sourceSubnet", check_subnet);
    check_sources(c, match);
    check_each(c, match, "gateways", check_gateway_name);
}

static void check_tls_match(struct check *c, const json_t *match)
{
    if (check_has(match, "sniHosts") && !json_array_size(json_object_get(match, "sniHosts")))
        check_required_at(c, "sniHosts", "must have at least one name");
    check_each(c, match, "sniHosts", check_sni);
    check_l4_match(c, match);
}

static void check_has_route(struct check *c, const json_t *rule)
{
    if (!json_array_size(json_object_get(rule, "route")))
        check_required_at(c, "route", "must have at least one destination");
    check_routes(c, rule);
}

static void check_tls(struct check *c, const json_t *tls)
{
    if (check_has(tls, "match") && !json_array_size(json_object_get(tls, "match")))
        check_required_at(c, "match", "must have at least one match");
    check_each(c, tls, "match", check_tls_match);
    check_has_route(c, tls);
}

static void check_tcp(struct check *c, const json_t *tcp)
{
    check_each(c, tcp, "match", check_l4_match);
    check_has_route(c, tcp);
}

/* Rules that nothing reaches. */

static bool matches_all(const json_t *match)
{
    static const char *const allowed[] = {"name", "statPrefix", "ignoreUriCase"};
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)match, key, value) {
        bool harmless = (json_is_object(value) || json_is_array(value)) &&
                        !json_object_size(value) && !json_array_size(value);
        for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
            harmless |= strcmp(key, allowed[i]) == 0;
        if (!harmless && strcmp(key, "uri") == 0)
            harmless = slice_eq(json_str(value, "prefix"), S("/")) ||
                       slice_eq(json_str(value, "regex"), S(".*"));
        if (!harmless)
            return false;
    }
    return true;
}

static bool catches_all(const json_t *route)
{
    const json_t *matches = json_object_get(route, "match"), *match;
    size_t i;
    if (!json_array_size(matches))
        return true;
    json_array_foreach (matches, i, match)
        if (matches_all(match))
            return true;
    return false;
}

/* Weaker than the order that a proxy is given, where catch-all routes are last: what is warned of
 * here is behind another route that takes everything. */
static void warn_unreachable(struct check *c, const json_t *routes)
{
    size_t n = json_array_size(routes), catch_all = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        const json_t *route = json_array_get(routes, i);
        size_t at = check_enter_index(c, i);
        if (catch_all != SIZE_MAX && catches_all(route))
            check_warn(c, "WFT0130: never reached: route %zu takes everything before it",
                       catch_all);
        else if (catch_all == SIZE_MAX && catches_all(route))
            catch_all = i;
        check_leave(c, at);
    }
}

static void warn_duplicate_matches(struct check *c, const json_t *routes)
{
    size_t n = json_array_size(routes);
    for (size_t i = 0; i < n && n <= ROUTES_COMPARED_MAX; i++)
        for (size_t k = 0; k < i; k++) {
            const json_t *a = json_object_get(json_array_get(routes, i), "match");
            const json_t *b = json_object_get(json_array_get(routes, k), "match");
            if (!json_array_size(a) || !json_same(a, b))
                continue;
            size_t at = check_enter_index(c, i), match = check_enter(c, "match");
            check_warn(c, "WFT0131: the same as that of route %zu: never reached", k);
            check_leave(c, match);
            check_leave(c, at);
            break;
        }
}

/* The whole rule. */

static bool is_for_mesh(const json_t *spec)
{
    const json_t *gateways = json_object_get(spec, "gateways"), *gateway;
    size_t i;
    if (!json_array_size(gateways))
        return true;
    json_array_foreach (gateways, i, gateway)
        if (slice_eq(json_slice(gateway), S("mesh")))
            return true;
    return false;
}

static void check_hosts(struct check *c, const json_t *hosts)
{
    struct map seen = {0};
    const json_t *host;
    size_t i;
    bool mesh = is_for_mesh(json_object_get(c->object, "spec"));
    json_array_foreach (hosts, i, host) {
        struct slice s = json_slice(host);
        size_t at = check_enter_index(c, i);
        if (mesh && slice_eq(s, S("*")))
            check_invalid(
                c, "\"*\" is not for the mesh: name the hosts, or gateways without \"mesh\"");
        else
            validate_wildcard_host(c, host);
        if (s.n && map_put(&seen, s, &seen))
            check_duplicate(c, s);
        check_leave(c, at);
    }
    map_fini(&seen);
}

static void check_delegate_rule(struct check *c, const json_t *spec)
{
    static const char *const none[] = {"gateways", "tls", "tcp"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        if (json_array_size(json_object_get(spec, none[i])))
            check_forbidden_at(c, none[i],
                               "a VirtualService without hosts is a delegate, which has none");
    if (!json_array_size(json_object_get(spec, "http")))
        check_required_at(c, "hosts",
                          "must have at least one host (or http routes, as a delegate)");
}

static void check_virtual_service(struct check *c, const json_t *spec)
{
    static const char *const kinds_of_routes[] = {"http", "tls", "tcp", NULL};
    if (is_delegate(c->object))
        check_delegate_rule(c, spec);
    else if (!check_count(spec, kinds_of_routes, NULL))
        check_required_at(c, "http", "must have routes: http, tls or tcp");
    check_field(c, spec, "hosts", check_hosts);
    check_each(c, spec, "gateways", check_gateway_name);
    check_each(c, spec, "http", check_http);
    check_each(c, spec, "tls", check_tls);
    check_each(c, spec, "tcp", check_tcp);
    check_field(c, spec, "exportTo", validate_export_to);
    check_field(c, spec, "http", warn_unreachable);
    check_field(c, spec, "http", warn_duplicate_matches);
}

void validate_virtual_service(struct check *c, const json_t *object)
{
    if (!check_has(object, "spec"))
        check_required_at(c, "spec.hosts", "must have at least one host");
    check_field(c, object, "spec", check_virtual_service);
}
