#include "api/analyze.h"

#include "api/analyze_state.h"
#include "api/names.h"
#include "base/core/assert.h"

#define CUT(s) SLICE(slice_sub((s), 0, 80))

/* ---- destinations ---- */

static void warn_unknown_host(struct check *c, struct slice host, struct slice full)
{
    struct analysis *a = analysis_of(c);
    struct slice ns, name, near = {0};
    bool of_cluster = analysis_service_name(full, &ns, &name);
    if (of_cluster)
        near = analysis_near_service(a, ns, name);
    size_t at = check_enter(c, "host");
    if (of_cluster)
        check_warn(c,
                   "WFT0101: no Service %.*s/%.*s and no ServiceEntry for \"%.*s\": requests get "
                   "503 until there is "
                   "one%s%.*s%s",
                   SLICE(ns), SLICE(name), CUT(host), near.n ? ", did you mean \"" : "",
                   SLICE(near), near.n ? "\"?" : "");
    else
        check_warn(c,
                   "WFT0101: no Service and no ServiceEntry has the host \"%.*s\": requests get "
                   "503 until there is one",
                   CUT(host));
    check_leave(c, at);
}

static bool has_port(const json_t *service, int64_t number)
{
    const json_t *port;
    size_t i;
    json_array_foreach(json_at(service, "spec.ports"), i,
                       port) if (json_int(port, "port", -1) == number) return true;
    return false;
}

/* Of a Service; what a ServiceEntry has is not looked at. */
static void warn_port(struct check *c, const json_t *destination, struct slice full)
{
    struct analysis *a = analysis_of(c);
    struct slice ns, name;
    int64_t number = json_int(destination, "port.number", 0);
    const json_t *service = analysis_service_name(full, &ns, &name)
                                ? a->lookup->get(a->lookup->ctx, KIND_SERVICE, ns, name)
                                : NULL;
    if (!service)
        return;
    size_t ports = json_array_size(json_at(service, "spec.ports")), at = check_enter(c, "port");
    if (number && !has_port(service, number))
        check_warn(c, "WFT0101: Service %.*s/%.*s has no port %lld", SLICE(ns), SLICE(name),
                   (long long)number);
    else if (!number && ports > 1)
        check_warn(c,
                   "WFT0112: Service %.*s/%.*s has %zu ports: say which, or the port of the "
                   "request is used",
                   SLICE(ns), SLICE(name), ports);
    check_leave(c, at);
}

static void list_subsets(const struct analyze_rule *r, struct buf *out)
{
    for (size_t i = 0; i < r->subset_count && i < 8; i++)
        buf_printf(out, "%s%.*s", i ? ", " : "", CUT(r->subsets[i]));
    if (!r->subset_count)
        buf_append(out, S("none"));
}

static void refuse_subset(struct check *c, struct slice subset, struct slice host,
                          const struct analyze_rule *r)
{
    struct buf has = {0};
    struct name_suggest near = {.word = subset};
    for (size_t i = 0; i < r->subset_count; i++)
        name_suggest_try(&near, r->subsets[i]);
    list_subsets(r, &has);
    check_invalid(
        c,
        "WFT0173: host \"%.*s\" has no subset \"%.*s\": DestinationRule %.*s/%.*s defines "
        "%.*s%s%.*s%s; its "
        "share of requests would get 503: add the subset there first, or send both in one apply",
        CUT(host), CUT(subset), SLICE(r->ns), SLICE(r->name), SLICE(buf_slice(&has)),
        near.best.n ? " (did you mean \"" : "", SLICE(near.best), near.best.n ? "\"?)" : "");
    buf_fini(&has);
}

static void check_subset(struct check *c, const json_t *destination, struct slice full)
{
    struct slice subset = json_str(destination, "subset");
    const struct analyze_rule *first = NULL;
    bool found;
    if (!subset.n)
        return;
    size_t rules = analysis_rules(analysis_of(c), full, subset, &first, &found);
    if (found)
        return;
    size_t at = check_enter(c, "subset");
    if (rules)
        refuse_subset(c, subset, json_str(destination, "host"), first);
    else
        check_warn(c,
                   "WFT0101: no DestinationRule for \"%.*s\" defines the subset \"%.*s\": requests "
                   "get 503 until one "
                   "does",
                   CUT(json_str(destination, "host")), CUT(subset));
    check_leave(c, at);
}

static void check_destination(struct check *c, const json_t *destination)
{
    struct analysis *a = analysis_of(c);
    struct slice host = json_str(destination, "host");
    struct slice full = analyze_full_host(host, a->ns, &a->arena);
    if (!host.n)
        return;
    if (!analysis_host_known(a, full))
        warn_unknown_host(c, host, full);
    else
        warn_port(c, destination, full);
    check_subset(c, destination, full);
}

static void check_weighted(struct check *c, const json_t *route)
{
    check_field(c, route, "destination", check_destination);
}

static void check_route(struct check *c, const json_t *route)
{
    check_each(c, route, "route", check_weighted);
    check_field(c, route, "mirror", check_destination);
    check_each(c, route, "mirrors", check_weighted);
}

/* ---- gateways of a VirtualService ---- */

/* "host", "ns/host", "./host" of a Gateway's server. */
static bool server_serves(const json_t *server, struct slice gateway_ns, struct slice ns,
                          struct slice host)
{
    const json_t *item;
    size_t i;
    json_array_foreach(json_object_get(server, "hosts"), i, item)
    {
        struct slice scope, served;
        if (!slice_cut(json_slice(item), '/', &scope, &served)) {
            served = json_slice(item);
            scope = S("*");
        }
        bool sees = slice_eq(scope, S("*")) || slice_eq(scope, ns) ||
                    (slice_eq(scope, S(".")) && slice_eq(gateway_ns, ns));
        if (sees && (name_host_covers(served, host) || name_host_covers(host, served)))
            return true;
    }
    return false;
}

static void warn_unserved_hosts(struct check *c, const json_t *gateway)
{
    struct analysis *a = analysis_of(c);
    struct slice gateway_ns = json_str(gateway, "metadata.namespace");
    const json_t *host, *server;
    size_t i, k;
    json_array_foreach(json_at(c->object, "spec.hosts"), i, host)
    {
        bool served = false;
        struct slice full = analyze_full_host(json_slice(host), a->ns, &a->arena);
        json_array_foreach(json_at(gateway, "spec.servers"), k, server) served |=
            server_serves(server, gateway_ns, a->ns, json_slice(host)) ||
            server_serves(server, gateway_ns, a->ns, full);
        if (!served)
            check_warn(c, "WFT0132: no server of Gateway %.*s/%.*s has the host \"%.*s\"",
                       SLICE(gateway_ns), CUT(json_str(gateway, "metadata.name")),
                       CUT(json_slice(host)));
    }
}

static void check_gateway(struct check *c, const json_t *reference)
{
    struct analysis *a = analysis_of(c);
    struct slice text = json_slice(reference), ns, name;
    if (slice_eq(text, S("mesh")) || !text.n)
        return;
    if (!slice_cut(text, '/', &ns, &name)) {
        name = text;
        ns = a->ns;
    }
    if (slice_eq(ns, S(".")))
        ns = a->ns;
    const json_t *gateway = a->lookup->get(a->lookup->ctx, KIND_GATEWAY, ns, name);
    if (gateway)
        warn_unserved_hosts(c, gateway);
    else
        check_warn(c,
                   "WFT0101: no Gateway %.*s/%.*s: the routes do nothing there until there is one",
                   CUT(ns), CUT(name));
}

/* ---- hosts of a VirtualService ---- */

static bool is_for_mesh(const json_t *spec)
{
    const json_t *gateway;
    size_t i;
    if (!json_array_size(json_object_get(spec, "gateways")))
        return true;
    json_array_foreach(json_object_get(spec, "gateways"), i,
                       gateway) if (slice_eq(json_slice(gateway), S("mesh"))) return true;
    return false;
}

static bool same_object(const json_t *a, const json_t *b)
{
    return slice_eq(json_str(a, "metadata.name"), json_str(b, "metadata.name")) &&
           slice_eq(json_str(a, "metadata.namespace"), json_str(b, "metadata.namespace"));
}

/* The first host of `other` that is also one of ours, in full. */
static size_t shared_host(struct analysis *a, const json_t *other)
{
    const json_t *hosts = json_at(a->check.object, "spec.hosts"), *theirs;
    struct slice ns = json_str(other, "metadata.namespace");
    size_t i, k;
    json_array_foreach(json_at(other, "spec.hosts"), k, theirs)
    {
        struct slice full = analyze_full_host(json_slice(theirs), ns, &a->arena);
        for (i = 0; i < json_array_size(hosts); i++)
            if (slice_eq_nocase(
                    analyze_full_host(json_slice(json_array_get(hosts, i)), a->ns, &a->arena),
                    full))
                return i;
    }
    return SIZE_MAX;
}

static bool warn_same_host(void *arg, const json_t *other)
{
    struct analysis *a = arg;
    struct check *c = &a->check;
    const json_t *spec = json_object_get(other, "spec");
    struct slice ns = json_str(other, "metadata.namespace");
    if (same_object(other, c->object) || !is_for_mesh(spec) ||
        !analyze_is_visible(json_object_get(spec, "exportTo"), ns, a->ns))
        return true;
    size_t i = shared_host(a, other);
    if (i == SIZE_MAX)
        return true;
    size_t at = check_enter(c, "spec"), hosts = check_enter(c, "hosts"),
           item = check_enter_index(c, i);
    check_warn(c,
               "WFT0109: VirtualService %.*s/%.*s has the host for the mesh too: the older one "
               "counts, merge them",
               CUT(ns), CUT(json_str(other, "metadata.name")));
    check_leave(c, item);
    check_leave(c, hosts);
    check_leave(c, at);
    return true;
}

static void analyze_virtual_service(struct analysis *a, const json_t *spec)
{
    static const char *const routes[] = {"http", "tls", "tcp"};
    struct check *c = &a->check;
    size_t at = check_enter(c, "spec");
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        check_each(c, spec, routes[i], check_route);
    check_each(c, spec, "gateways", check_gateway);
    check_leave(c, at);
    if (is_for_mesh(spec))
        a->lookup->each(a->lookup->ctx, KIND_VIRTUAL_SERVICE, S(""), warn_same_host, a);
}

/* ---- DestinationRule ---- */

static bool has_subset(const json_t *spec, struct slice name)
{
    const json_t *subset;
    size_t i;
    json_array_foreach(json_object_get(spec, "subsets"), i,
                       subset) if (slice_eq(json_str(subset, "name"), name)) return true;
    return false;
}

/* Does a destination of another object's route name a subset that this rule leaves out? */
static bool is_dropped(struct analysis *a, const json_t *user, const json_t *destination)
{
    const json_t *spec = json_object_get(a->check.object, "spec");
    struct slice subset = json_str(destination, "subset"),
                 ns = json_str(user, "metadata.namespace");
    struct slice host = analyze_full_host(json_str(spec, "host"), a->ns, &a->arena);
    struct slice full = analyze_full_host(json_str(destination, "host"), ns, &a->arena);
    const struct analyze_rule *first;
    bool found;
    if (!subset.n || !slice_eq_nocase(host, full) || has_subset(spec, subset))
        return false;
    analysis_rules(a, full, subset, &first, &found); /* of the other rules */
    return !found;
}

static void warn_dropped(struct analysis *a, const json_t *user, struct slice subset)
{
    size_t at = check_enter(&a->check, "spec"), field = check_enter(&a->check, "subsets");
    check_warn(&a->check,
               "WFT0173: VirtualService %.*s/%.*s routes to subset \"%.*s\", which no "
               "DestinationRule defines: its "
               "share of requests gets 503",
               CUT(json_str(user, "metadata.namespace")), CUT(json_str(user, "metadata.name")),
               CUT(subset));
    check_leave(&a->check, field);
    check_leave(&a->check, at);
}

/* One warning for a VirtualService. */
static bool warn_user(void *arg, const json_t *user)
{
    static const char *const kinds_of_routes[] = {"http", "tls", "tcp"};
    const json_t *spec = json_object_get(user, "spec"), *route, *weighted;
    size_t i, k;
    for (size_t r = 0; r < ARRAY_LEN(kinds_of_routes); r++)
        json_array_foreach(json_object_get(spec, kinds_of_routes[r]), i, route)
            json_array_foreach(json_object_get(route, "route"), k, weighted)
        {
            const json_t *destination = json_object_get(weighted, "destination");
            if (!is_dropped(arg, user, destination))
                continue;
            warn_dropped(arg, user, json_str(destination, "subset"));
            return true;
        }
    return true;
}

static void analyze_destination_rule(struct analysis *a, const json_t *spec)
{
    struct slice host = json_str(spec, "host"), full = analyze_full_host(host, a->ns, &a->arena);
    if (!slice_starts(full, S("*")) && !analysis_host_known(a, full)) {
        size_t at = check_enter(&a->check, "spec"), field = check_enter(&a->check, "host");
        check_warn(
            &a->check,
            "WFT0174: no Service and no ServiceEntry has the host \"%.*s\": the rule does nothing",
            CUT(host));
        check_leave(&a->check, field);
        check_leave(&a->check, at);
    }
    a->lookup->each(a->lookup->ctx, KIND_VIRTUAL_SERVICE, S(""), warn_user, a);
}

/* ---- Sidecar ---- */

static bool has_selector(const json_t *sidecar)
{
    return json_object_size(json_at(sidecar, "spec.workloadSelector.labels")) > 0;
}

static bool warn_second_default(void *arg, const json_t *other)
{
    struct analysis *a = arg;
    if (same_object(other, a->check.object) || has_selector(other))
        return true;
    size_t at = check_enter(&a->check, "spec"), field = check_enter(&a->check, "workloadSelector");
    check_warn(
        &a->check,
        "WFT0111: Sidecar %.*s/%.*s has no selector either: the older one counts for the namespace",
        SLICE(a->ns), CUT(json_str(other, "metadata.name")));
    check_leave(&a->check, field);
    check_leave(&a->check, at);
    return false;
}

/* ---- by kind ---- */

bool kind_analyze(const struct kind *k, const json_t *object, const struct analyze_lookup *lookup,
                  struct kind_report *report)
{
    size_t errors = report->errors;
    struct analysis a = {.check = {.kind = k, .object = object, .report = report},
                         .lookup = lookup};
    const json_t *spec = json_object_get(object, "spec");
    a.check.ctx = &a;
    a.ns = json_str(object, "metadata.namespace");
    if (k->id == KIND_VIRTUAL_SERVICE)
        analyze_virtual_service(&a, spec);
    else if (k->id == KIND_DESTINATION_RULE)
        analyze_destination_rule(&a, spec);
    else if (k->id == KIND_SIDECAR && !has_selector(object))
        lookup->each(lookup->ctx, KIND_SIDECAR, a.ns, warn_second_default, &a);
    wf_assert(a.check.path.n == 0);
    buf_fini(&a.check.path);
    vec_fini(&a.rules);
    vec_fini(&a.entry_hosts);
    arena_fini(&a.arena);
    return report->errors == errors;
}
