#include "api/analyze.h"

#include "api/analyze_state.h"
#include "api/names.h"
#include "base/core/assert.h"

#define CUT(s) SLICE(slice_sub((s), 0, 80))

/* Destinations. */

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
    json_array_foreach (json_at(service, "spec.ports"), i, port)
        if (json_int(port, "port", -1) == number)
            return true;
    return false;
}

/* Of a Service; what a ServiceEntry has is not looked at. */
static void warn_port(struct check *c, const json_t *destination, struct slice full)
{
    struct analyze_lookup const *l = analysis_of(c)->state->lookup;
    struct slice ns, name;
    int64_t number = json_int(destination, "port.number", 0);
    const json_t *service =
        analysis_service_name(full, &ns, &name) ? l->get(l->ctx, KIND_SERVICE, ns, name) : NULL;
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

static void list_subsets(const struct analyze_item *r, struct buf *out)
{
    for (size_t i = 0; i < r->subset_count && i < 8; i++)
        buf_printf(out, "%s%.*s", i ? ", " : "", CUT(r->subsets[i]));
    if (!r->subset_count)
        buf_append(out, S("none"));
}

static void refuse_subset(struct check *c, struct slice subset, struct slice host,
                          const struct analyze_item *r)
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

/* Of an unknown host a missing rule is no news. */
static void check_subset(struct check *c, const json_t *destination, struct slice full,
                         bool host_known)
{
    struct slice subset = json_str(destination, "subset");
    bool found;
    if (!subset.n)
        return;
    const struct analyze_item *first = analysis_rules(analysis_of(c), full, subset, &found);
    if (found)
        return;
    size_t at = check_enter(c, "subset");
    if (first)
        refuse_subset(c, subset, json_str(destination, "host"), first);
    else if (host_known)
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
    bool known = analysis_host_known(a, full);
    if (known)
        warn_port(c, destination, full);
    else
        warn_unknown_host(c, host, full);
    check_subset(c, destination, full, known);
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

/* Gateways of a VirtualService. */

/* "host", "ns/host", "./host" of a Gateway's server. */
static bool server_serves(const json_t *server, struct slice gateway_ns, struct slice ns,
                          struct slice host)
{
    const json_t *item;
    size_t i;
    json_array_foreach (json_object_get(server, "hosts"), i, item) {
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
    json_array_foreach (json_at(c->object, "spec.hosts"), i, host) {
        bool served = false;
        struct slice full = analyze_full_host(json_slice(host), a->ns, &a->arena);
        json_array_foreach (json_at(gateway, "spec.servers"), k, server)
            served |= server_serves(server, gateway_ns, a->ns, json_slice(host)) ||
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
    const struct analyze_lookup *l = a->state->lookup;
    struct slice text = json_slice(reference), ns, name;
    if (slice_eq(text, S("mesh")) || !text.n)
        return;
    if (!slice_cut(text, '/', &ns, &name)) {
        name = text;
        ns = a->ns;
    }
    if (slice_eq(ns, S(".")))
        ns = a->ns;
    const json_t *gateway = l->get(l->ctx, KIND_GATEWAY, ns, name);
    if (gateway)
        warn_unserved_hosts(c, gateway);
    else
        check_warn(c,
                   "WFT0101: no Gateway %.*s/%.*s: the routes do nothing there until there is one",
                   CUT(ns), CUT(name));
}

/* Hosts of a VirtualService. */

static void warn_same_host(struct check *c, const json_t *host)
{
    struct analysis *a = analysis_of(c);
    struct slice full = analyze_full_host(json_slice(host), a->ns, &a->arena);
    struct slice own = json_str(c->object, "metadata.name");
    const struct analyze_item *other = analyze_index_get(&a->state->mesh_hosts, full);
    while (other && (analyze_item_is(other, a->ns, own) || !analyze_item_visible(other, a->ns)))
        other = other->next;
    if (other)
        check_warn(c,
                   "WFT0109: VirtualService %.*s/%.*s has the host for the mesh too: the older one "
                   "counts, merge "
                   "them",
                   CUT(other->ns), CUT(other->name));
}

static void analyze_virtual_service(struct analysis *a, const json_t *spec)
{
    static const char *const routes[] = {"http", "tls", "tcp"};
    struct check *c = &a->check;
    size_t at = check_enter(c, "spec");
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        check_each(c, spec, routes[i], check_route);
    check_each(c, spec, "gateways", check_gateway);
    if (analyze_is_for_mesh(spec)) {
        analyzer_read(a->state, KIND_VIRTUAL_SERVICE);
        check_each(c, spec, "hosts", warn_same_host);
    }
    check_leave(c, at);
}

/* DestinationRule. */

static bool has_subset(const json_t *spec, struct slice name)
{
    const json_t *subset;
    size_t i;
    json_array_foreach (json_object_get(spec, "subsets"), i, subset)
        if (slice_eq(json_str(subset, "name"), name))
            return true;
    return false;
}

/* Routes to subsets that this rule leaves out and no other one of the host defines. */
static void warn_dropped(struct check *c, struct slice full)
{
    struct analysis *a = analysis_of(c);
    const json_t *spec = json_object_get(c->object, "spec");
    bool found;
    analyzer_read(a->state, KIND_VIRTUAL_SERVICE);
    for (const struct analyze_item *u = analyze_index_get(&a->state->users, full); u; u = u->next) {
        struct slice subset = u->subsets[0];
        if (has_subset(spec, subset))
            continue;
        analysis_rules(a, full, subset, &found);
        if (!found)
            check_warn(c,
                       "WFT0173: VirtualService %.*s/%.*s routes to subset \"%.*s\", which no "
                       "DestinationRule "
                       "defines: its share of requests gets 503",
                       CUT(u->ns), CUT(u->name), CUT(subset));
    }
}

static void analyze_destination_rule(struct analysis *a, const json_t *spec)
{
    struct check *c = &a->check;
    struct slice host = json_str(spec, "host"), full = analyze_full_host(host, a->ns, &a->arena);
    if (slice_starts(full, S("*")))
        return;
    size_t at = check_enter(c, "spec"), field = check_enter(c, "host");
    if (!analysis_host_known(a, full))
        check_warn(
            c,
            "WFT0174: no Service and no ServiceEntry has the host \"%.*s\": the rule does nothing",
            CUT(host));
    check_leave(c, field);
    field = check_enter(c, "subsets");
    warn_dropped(c, full);
    check_leave(c, field);
    check_leave(c, at);
}

/* Sidecar. */

static void analyze_sidecar(struct analysis *a, const json_t *spec)
{
    struct check *c = &a->check;
    if (json_object_size(json_at(spec, "workloadSelector.labels")))
        return;
    analyzer_read(a->state, KIND_SIDECAR);
    struct slice place = analyze_full_host(a->ns, a->ns, &a->arena); /* as they are indexed */
    const struct analyze_item *other = analyze_index_get(&a->state->sidecars, place);
    while (other && analyze_item_is(other, a->ns, json_str(c->object, "metadata.name")))
        other = other->next;
    if (!other)
        return;
    size_t at = check_enter(c, "spec"), field = check_enter(c, "workloadSelector");
    check_warn(
        c,
        "WFT0111: Sidecar %.*s/%.*s has no selector either: the older one counts for the namespace",
        CUT(other->ns), CUT(other->name));
    check_leave(c, field);
    check_leave(c, at);
}

/* One object, many objects. */

bool analyzer_object(struct analyzer *s, const struct kind *k, const json_t *object,
                     struct kind_report *report)
{
    size_t errors = report->errors;
    struct analysis a = {.check = {.kind = k, .object = object, .report = report}, .state = s};
    const json_t *spec = json_object_get(object, "spec");
    a.check.ctx = &a;
    a.ns = json_str(object, "metadata.namespace");
    if (k->id == KIND_VIRTUAL_SERVICE)
        analyze_virtual_service(&a, spec);
    else if (k->id == KIND_DESTINATION_RULE)
        analyze_destination_rule(&a, spec);
    else if (k->id == KIND_SIDECAR)
        analyze_sidecar(&a, spec);
    wf_assert(a.check.path.n == 0);
    buf_fini(&a.check.path);
    arena_fini(&a.arena);
    return report->errors == errors;
}

/* What any object must mention to matter to this one: the first labels of the hosts that it names,
 * or a wildcard. */
static bool hint_add(void *arg, struct slice host)
{
    struct analyze_hint *hint = arg;
    struct slice label, rest;
    slice_cut(host, '.', &label, &rest);
    for (size_t i = 0; i < hint->count; i++)
        if (slice_eq(hint->needles[i], label))
            return true;
    if (!label.n || hint->count == ANALYZE_NEEDLES_MAX || slice_starts(label, S("*")))
        return false;
    hint->needles[hint->count++] = label;
    return true;
}

struct hinting {
    struct analyze_hint hint;
    bool all; /* too many hosts, or a wildcard: everything matters */
};

static bool hint_destination(void *arg, const json_t *destination)
{
    struct hinting *h = arg;
    h->all |= !hint_add(&h->hint, json_str(destination, "host"));
    return !h->all;
}

static struct analyze_hint hint_of(const json_t *object)
{
    struct hinting h = {.hint = {.needles = {S("\"*")}, .count = 1}};
    const json_t *spec = json_object_get(object, "spec"), *host;
    size_t i;
    analyze_each_destination(spec, hint_destination, &h);
    json_array_foreach (json_object_get(spec, "hosts"), i, host)
        h.all |= !hint_add(&h.hint, json_slice(host));
    if (json_str(spec, "host").n)
        h.all |= !hint_add(&h.hint, json_str(spec, "host"));
    return h.all ? (struct analyze_hint){0} : h.hint;
}

struct analyzer *analyzer_new(const struct analyze_lookup *lookup)
{
    struct analyzer *s = MEM_NEW(struct analyzer);
    s->lookup = lookup;
    return s;
}

static void index_fini(struct analyze_index *ix)
{
    map_fini(&ix->by_host);
}

void analyzer_free(struct analyzer *s)
{
    if (!s)
        return;
    index_fini(&s->rules);
    index_fini(&s->entries);
    index_fini(&s->mesh_hosts);
    index_fini(&s->users);
    index_fini(&s->sidecars);
    vec_fini(&s->service_names);
    arena_fini(&s->arena);
    mem_free(s);
}

bool kind_analyze(const struct kind *k, const json_t *object, const struct analyze_lookup *lookup,
                  struct kind_report *report)
{
    struct analyzer *s = analyzer_new(lookup);
    s->hint = hint_of(object);
    bool ok = analyzer_object(s, k, object, report);
    analyzer_free(s);
    return ok;
}
