#include "api/analyze_state.h"

#include "api/names.h"

/* ---- names ---- */

struct slice analyze_full_host(struct slice host, struct slice ns, struct arena *arena)
{
    if (!host.n || slice_find(host, '.') != SIZE_MAX || slice_starts(host, S("*")))
        return host;
    return arena_printf(arena, "%.*s.%.*s." ANALYZE_DOMAIN, SLICE(host), SLICE(ns));
}

bool analyze_is_visible(const json_t *export_to, struct slice owner, struct slice from)
{
    const json_t *to;
    size_t i;
    if (!json_array_size(export_to))
        return true;
    json_array_foreach(export_to, i, to)
    {
        struct slice s = json_slice(to);
        if (slice_eq(s, S("*")) || slice_eq(s, from) ||
            (slice_eq(s, S(".")) && slice_eq(owner, from)))
            return true;
    }
    return false;
}

struct analysis *analysis_of(struct check *c)
{
    return c->ctx;
}

bool analysis_service_name(struct slice full_host, struct slice *ret_ns, struct slice *ret_name)
{
    struct slice rest, domain;
    return slice_cut(full_host, '.', ret_name, &rest) && slice_cut(rest, '.', ret_ns, &domain) &&
           slice_eq(domain, S(ANALYZE_DOMAIN));
}

/* ---- hosts ---- */

static bool read_entry(void *arg, const json_t *entry)
{
    struct analysis *a = arg;
    const json_t *host;
    size_t i;
    if (!analyze_is_visible(json_at(entry, "spec.exportTo"), json_str(entry, "metadata.namespace"),
                            a->ns))
        return true;
    json_array_foreach(json_at(entry, "spec.hosts"), i, host)
    {
        *vec_push(&a->entry_hosts) = arena_dup(&a->arena, json_slice(host));
    }
    return a->entry_hosts.n < ANALYZE_OBJECTS_MAX;
}

bool analysis_host_known(struct analysis *a, struct slice full_host)
{
    struct slice ns, name;
    if (analysis_service_name(full_host, &ns, &name) &&
        a->lookup->get(a->lookup->ctx, KIND_SERVICE, ns, name))
        return true;
    if (!a->hosts_read)
        a->lookup->each(a->lookup->ctx, KIND_SERVICE_ENTRY, S(""), read_entry, a);
    a->hosts_read = true;
    for (size_t i = 0; i < a->entry_hosts.n; i++)
        if (name_host_covers(a->entry_hosts.p[i], full_host))
            return true;
    return false;
}

struct near_service {
    struct name_suggest suggest;
    struct arena *arena;
};

static bool try_service(void *arg, const json_t *service)
{
    struct near_service *n = arg;
    size_t edits = n->suggest.best.n ? n->suggest.edits : SIZE_MAX;
    struct slice name = json_str(service, "metadata.name");
    name_suggest_try(&n->suggest, name);
    if (n->suggest.best.n && n->suggest.edits < edits)
        n->suggest.best = arena_dup(n->arena, name);
    return true;
}

struct slice analysis_near_service(struct analysis *a, struct slice ns, struct slice name)
{
    struct near_service n = {.suggest = {.word = name}, .arena = &a->arena};
    a->lookup->each(a->lookup->ctx, KIND_SERVICE, ns, try_service, &n);
    return n.suggest.best;
}

/* ---- rules ---- */

/* A rule that is analysed: the state may still hold it as it was. */
static bool is_self(const struct analysis *a, const json_t *rule, struct slice ns)
{
    return a->check.kind->id == KIND_DESTINATION_RULE && slice_eq(ns, a->ns) &&
           slice_eq(json_str(rule, "metadata.name"), json_str(a->check.object, "metadata.name"));
}

static bool read_rule(void *arg, const json_t *object)
{
    struct analysis *a = arg;
    struct slice ns = json_str(object, "metadata.namespace");
    const json_t *spec = json_object_get(object, "spec"),
                 *subsets = json_object_get(spec, "subsets"), *subset;
    size_t i;
    if (!analyze_is_visible(json_object_get(spec, "exportTo"), ns, a->ns) || is_self(a, object, ns))
        return true;
    struct analyze_rule *r = vec_push(&a->rules);
    r->ns = arena_dup(&a->arena, ns);
    r->name = arena_dup(&a->arena, json_str(object, "metadata.name"));
    r->host = arena_dup(&a->arena, analyze_full_host(json_str(spec, "host"), ns, &a->arena));
    r->subset_count = json_array_size(subsets);
    r->subsets = ARENA_ARRAY(&a->arena, struct slice, r->subset_count ? r->subset_count : 1);
    json_array_foreach(subsets, i, subset) r->subsets[i] =
        arena_dup(&a->arena, json_str(subset, "name"));
    return a->rules.n < ANALYZE_OBJECTS_MAX;
}

static bool defines(const struct analyze_rule *r, struct slice subset)
{
    for (size_t i = 0; i < r->subset_count; i++)
        if (slice_eq(r->subsets[i], subset))
            return true;
    return false;
}

/* The longest host that covers: an exact one is longer than any wildcard. */
static size_t most_specific(const struct analysis *a, struct slice full_host)
{
    size_t best = 0;
    for (size_t i = 0; i < a->rules.n; i++)
        if (a->rules.p[i].host.n > best && name_host_covers(a->rules.p[i].host, full_host))
            best = a->rules.p[i].host.n;
    return best;
}

size_t analysis_rules(struct analysis *a, struct slice full_host, struct slice subset,
                      const struct analyze_rule **ret_first, bool *ret_found)
{
    if (!a->rules_read)
        a->lookup->each(a->lookup->ctx, KIND_DESTINATION_RULE, S(""), read_rule, a);
    a->rules_read = true;
    size_t length = most_specific(a, full_host), n = 0;
    *ret_found = false;
    for (size_t i = 0; i < a->rules.n && length; i++) {
        const struct analyze_rule *r = &a->rules.p[i];
        if (r->host.n != length || !name_host_covers(r->host, full_host))
            continue;
        if (!n++)
            *ret_first = r;
        *ret_found |= defines(r, subset);
    }
    return n;
}
