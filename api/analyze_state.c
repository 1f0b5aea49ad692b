#include "api/analyze_state.h"

#include <string.h>

#include "api/names.h"
#include "base/core/assert.h"

/* Names. */

struct slice analyze_full_host(struct slice host, struct slice ns, struct arena *arena)
{
    if (!host.n || slice_find(host, '.') != SIZE_MAX || slice_starts(host, S("*")))
        return host;
    return arena_printf(arena, "%.*s.%.*s." ANALYZE_DOMAIN, SLICE(host), SLICE(ns));
}

bool analyze_hint_matches(const struct analyze_hint *hint, struct slice json)
{
    for (size_t i = 0; i < hint->count; i++)
        if (slice_contains(json, hint->needles[i]))
            return true;
    return !hint->count;
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

bool analyze_is_for_mesh(const json_t *spec)
{
    const json_t *gateway;
    size_t i;
    if (!json_array_size(json_object_get(spec, "gateways")))
        return true;
    json_array_foreach (json_object_get(spec, "gateways"), i, gateway)
        if (slice_eq(json_slice(gateway), S("mesh")))
            return true;
    return false;
}

/* Destinations of a VirtualService. */

struct visit {
    bool (*fn)(void *arg, const json_t *destination);
    void *arg;
};

static bool visit_weighted(const struct visit *v, const json_t *list)
{
    const json_t *item, *destination;
    size_t i;
    json_array_foreach (list, i, item) {
        destination = json_object_get(item, "destination");
        if (destination && !v->fn(v->arg, destination))
            return false;
    }
    return true;
}

static bool visit_route(const struct visit *v, const json_t *route)
{
    const json_t *mirror = json_object_get(route, "mirror");
    return visit_weighted(v, json_object_get(route, "route")) &&
           (!mirror || v->fn(v->arg, mirror)) &&
           visit_weighted(v, json_object_get(route, "mirrors"));
}

void analyze_each_destination(const json_t *spec, bool (*fn)(void *arg, const json_t *destination),
                              void *arg)
{
    static const char *const kinds_of_routes[] = {"http", "tls", "tcp"};
    const struct visit v = {fn, arg};
    const json_t *route;
    size_t i;
    for (size_t r = 0; r < ARRAY_LEN(kinds_of_routes); r++)
        json_array_foreach (json_object_get(spec, kinds_of_routes[r]), i, route)
            if (!visit_route(&v, route))
                return;
}

/* Indexes. */

/* Hosts are compared in lower case (RFC 4343). */
static struct slice lower(struct slice s, struct arena *arena)
{
    char *copy = arena_alloc(arena, s.n + 1);
    for (size_t i = 0; i < s.n; i++)
        copy[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] + 32) : s.p[i];
    return (struct slice){copy, s.n};
}

static void list_append(struct analyze_list *list, struct analyze_item *item)
{
    if (list->last)
        list->last->next = item;
    else
        list->first = item;
    list->last = item;
}

static struct slice *copy_words(struct analyzer *a, const json_t *list, const char *key,
                                size_t *ret_count)
{
    const json_t *item;
    size_t i;
    struct slice *words = ARENA_ARRAY(&a->arena, struct slice, json_array_size(list) + 1);
    json_array_foreach (list, i, item)
        words[i] = arena_dup(&a->arena, json_slice(key ? json_object_get(item, key) : item));
    *ret_count = json_array_size(list);
    return words;
}

/* An item of an object under a host as its namespace sees it. */
static struct analyze_item *index_add(struct analyzer *a, struct analyze_index *ix,
                                      const json_t *object, struct slice host)
{
    struct analyze_item *item = ARENA_NEW(&a->arena, struct analyze_item);
    item->ns = arena_dup(&a->arena, json_str(object, "metadata.namespace"));
    item->name = arena_dup(&a->arena, json_str(object, "metadata.name"));
    item->host = lower(analyze_full_host(host, item->ns, &a->arena), &a->arena);
    item->export_to = copy_words(a, json_at(object, "spec.exportTo"), NULL, &item->export_count);
    ix->count++;
    struct analyze_list *list = &ix->wild;
    if (!slice_starts(item->host, S("*"))) {
        list = map_get(&ix->by_host, item->host);
        if (!list)
            map_put(&ix->by_host, item->host, list = ARENA_NEW(&a->arena, struct analyze_list));
    }
    list_append(list, item);
    return item;
}

const struct analyze_item *analyze_index_get(const struct analyze_index *ix, struct slice host)
{
    struct arena scratch = {0};
    const struct analyze_list *list = map_get(&ix->by_host, lower(host, &scratch));
    arena_fini(&scratch);
    return list ? list->first : NULL;
}

bool analyze_item_visible(const struct analyze_item *item, struct slice from)
{
    for (size_t i = 0; i < item->export_count; i++) {
        struct slice to = item->export_to[i];
        if (slice_eq(to, S("*")) || slice_eq(to, from) ||
            (slice_eq(to, S(".")) && slice_eq(item->ns, from)))
            return true;
    }
    return !item->export_count;
}

bool analyze_item_is(const struct analyze_item *item, struct slice ns, struct slice name)
{
    return slice_eq(item->ns, ns) && slice_eq(item->name, name);
}

/* Reading. */

static bool read_entry(void *arg, const json_t *object)
{
    struct analyzer *a = arg;
    const json_t *host;
    size_t i;
    json_array_foreach (json_at(object, "spec.hosts"), i, host)
        index_add(a, &a->entries, object, json_slice(host));
    return a->entries.count < ANALYZE_OBJECTS_MAX;
}

static bool read_rule(void *arg, const json_t *object)
{
    struct analyzer *a = arg;
    struct analyze_item *item = index_add(a, &a->rules, object, json_str(object, "spec.host"));
    item->subsets = copy_words(a, json_at(object, "spec.subsets"), "name", &item->subset_count);
    return a->rules.count < ANALYZE_OBJECTS_MAX;
}

struct user {
    struct analyzer *state;
    const json_t *object;
};

static bool read_user(void *arg, const json_t *destination)
{
    struct user *u = arg;
    struct slice subset = json_str(destination, "subset");
    if (!subset.n)
        return true;
    struct analyze_item *item =
        index_add(u->state, &u->state->users, u->object, json_str(destination, "host"));
    item->subsets = ARENA_NEW(&u->state->arena, struct slice);
    item->subsets[0] = arena_dup(&u->state->arena, subset);
    item->subset_count = 1;
    return u->state->users.count < ANALYZE_OBJECTS_MAX;
}

static bool read_virtual_service(void *arg, const json_t *object)
{
    struct analyzer *a = arg;
    const json_t *spec = json_object_get(object, "spec"), *host;
    size_t i;
    if (analyze_is_for_mesh(spec))
        json_array_foreach (json_object_get(spec, "hosts"), i, host)
            index_add(a, &a->mesh_hosts, object, json_slice(host));
    analyze_each_destination(spec, read_user, &(struct user){a, object});
    return a->mesh_hosts.count < ANALYZE_OBJECTS_MAX;
}

static bool read_sidecar(void *arg, const json_t *object)
{
    struct analyzer *a = arg;
    if (!json_object_size(json_at(object, "spec.workloadSelector.labels")))
        index_add(a, &a->sidecars, object, json_str(object, "metadata.namespace"));
    return a->sidecars.count < ANALYZE_OBJECTS_MAX;
}

void analyzer_read(struct analyzer *a, enum kind_id kind)
{
    static bool (*const readers[KIND_COUNT])(void *, const json_t *) = {
        [KIND_SERVICE_ENTRY] = read_entry,
        [KIND_DESTINATION_RULE] = read_rule,
        [KIND_VIRTUAL_SERVICE] = read_virtual_service,
        [KIND_SIDECAR] = read_sidecar,
    };
    static const struct analyze_hint all;
    wf_assert(readers[kind]);
    if (a->have[kind])
        return;
    a->have[kind] = true;
    a->lookup->each(a->lookup->ctx, kind, S(""), kind == KIND_SIDECAR ? &all : &a->hint,
                    readers[kind], a);
}

/* Questions. */

bool analysis_host_known(struct analysis *a, struct slice full_host)
{
    struct analyzer *s = a->state;
    struct slice ns, name;
    if (analysis_service_name(full_host, &ns, &name) &&
        s->lookup->get(s->lookup->ctx, KIND_SERVICE, ns, name))
        return true;
    analyzer_read(s, KIND_SERVICE_ENTRY);
    for (const struct analyze_item *e = analyze_index_get(&s->entries, full_host); e; e = e->next)
        if (analyze_item_visible(e, a->ns))
            return true;
    for (const struct analyze_item *e = s->entries.wild.first; e; e = e->next)
        if (name_host_covers(e->host, full_host) && analyze_item_visible(e, a->ns))
            return true;
    return false;
}

static bool read_service_name(void *arg, const json_t *service)
{
    struct analyzer *s = arg;
    *vec_push(&s->service_names) = arena_dup(&s->arena, json_str(service, "metadata.name"));
    return s->service_names.n < ANALYZE_OBJECTS_MAX;
}

struct slice analysis_near_service(struct analysis *a, struct slice ns, struct slice name)
{
    static const struct analyze_hint all;
    struct analyzer *s = a->state;
    struct name_suggest near = {.word = name};
    if (!s->service_ns.p || !slice_eq(s->service_ns, ns)) {
        s->service_ns = arena_dup(&s->arena, ns);
        s->service_names.n = 0;
        s->lookup->each(s->lookup->ctx, KIND_SERVICE, ns, &all, read_service_name, s);
    }
    for (size_t i = 0; i < s->service_names.n; i++)
        name_suggest_try(&near, s->service_names.p[i]);
    return near.best;
}

/* A rule that counts: seen from the object's namespace, and not the object itself (the state may
 * hold it as it was). */
static bool rule_counts(const struct analysis *a, const struct analyze_item *rule)
{
    bool itself = a->check.kind->id == KIND_DESTINATION_RULE &&
                  analyze_item_is(rule, a->ns, json_str(a->check.object, "metadata.name"));
    return !itself && analyze_item_visible(rule, a->ns);
}

static bool defines(const struct analyze_item *rule, struct slice subset)
{
    for (size_t i = 0; i < rule->subset_count; i++)
        if (slice_eq(rule->subsets[i], subset))
            return true;
    return false;
}

/* The length of the longest wildcard that covers. */
static size_t longest_wildcard(const struct analysis *a, struct slice full_host)
{
    size_t longest = 0;
    for (const struct analyze_item *r = a->state->rules.wild.first; r; r = r->next)
        if (r->host.n > longest && name_host_covers(r->host, full_host) && rule_counts(a, r))
            longest = r->host.n;
    return longest;
}

const struct analyze_item *analysis_rules(struct analysis *a, struct slice full_host,
                                          struct slice subset, bool *ret_found)
{
    const struct analyze_item *first = NULL, *r;
    analyzer_read(a->state, KIND_DESTINATION_RULE);
    *ret_found = false;
    for (r = analyze_index_get(&a->state->rules, full_host); r; r = r->next) {
        if (!rule_counts(a, r))
            continue;
        first = first ? first : r;
        *ret_found |= defines(r, subset);
    }
    size_t longest = first ? 0 : longest_wildcard(a, full_host);
    for (r = a->state->rules.wild.first; r && longest; r = r->next) {
        if (r->host.n != longest || !name_host_covers(r->host, full_host) || !rule_counts(a, r))
            continue;
        first = first ? first : r;
        *ret_found |= defines(r, subset);
    }
    return first;
}
