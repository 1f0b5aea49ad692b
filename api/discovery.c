#include "api/discovery.h"

#include "base/core/assert.h"
#include "base/wire/json.h"

#define GROUPS_MAX 16

/* Kinds and extra resources, seen alike. */
struct catalog {
    const struct discovery_resource *extra;
    size_t extra_count;
};

struct version_of_group {
    struct slice group, version;
};

/* Groups and versions. */

/* Served groups in the order of the kinds, then of the extra resources; the core group is "". */
static size_t groups_of(const struct catalog *c, struct slice groups[GROUPS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < KIND_COUNT + c->extra_count; i++) {
        struct slice group =
            slice_of(i < KIND_COUNT ? kinds[i].group : c->extra[i - KIND_COUNT].group);
        size_t k = 0;
        while (k < n && !slice_eq(groups[k], group))
            k++;
        if (k < n)
            continue;
        wf_assert(n < GROUPS_MAX);
        groups[n++] = group;
    }
    return n;
}

/* Versions of a group, preferred first. */
static size_t versions_of(const struct catalog *c, struct slice group,
                          struct slice versions[KIND_VERSIONS_MAX])
{
    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (!slice_eq(slice_of(kinds[i].group), group))
            continue;
        size_t n = 0; /* all kinds of a group have the same versions */
        for (; n < KIND_VERSIONS_MAX && kinds[i].versions[n]; n++)
            versions[n] = slice_of(kinds[i].versions[n]);
        return n;
    }
    for (size_t i = 0; i < c->extra_count; i++) {
        if (!slice_eq(slice_of(c->extra[i].group), group))
            continue;
        versions[0] = slice_of(c->extra[i].version);
        return 1;
    }
    return 0;
}

/* "networking.istio.io/v1", "v1". */
static json_t *group_version(struct slice group, struct slice version)
{
    struct buf text = {0};
    buf_printf(&text, "%.*s%s%.*s", SLICE(group), group.n ? "/" : "", SLICE(version));
    json_t *v = json_string_of(buf_slice(&text));
    buf_fini(&text);
    return v;
}

/* Resources. */

static json_t *strings(const char *const *words, size_t max)
{
    json_t *list = json_array();
    for (size_t i = 0; i < max && words[i]; i++)
        json_array_append_new(list, json_string(words[i]));
    return list;
}

static json_t *kind_verbs(void)
{
    static const char *const verbs[] = {"create", "delete", "deletecollection", "get",
                                        "list",   "patch",  "update",           "watch"};
    return strings(verbs, ARRAY_LEN(verbs));
}

static json_t *status_verbs(void)
{
    static const char *const verbs[] = {"get", "patch", "update"};
    return strings(verbs, ARRAY_LEN(verbs));
}

static json_t *kind_categories(const struct kind *k)
{
    json_t *categories = json_array();
    if (k->distributed || k->id == KIND_WORKLOAD_ENTRY) {
        json_array_append_new(categories, json_string("istio-io"));
        json_array_append_new(categories, json_string("networking-istio-io"));
    } else if (k->id == KIND_SERVICE) {
        json_array_append_new(categories, json_string("all"));
    }
    return categories;
}

static void set_if_any(json_t *object, const char *key, json_t *take_list)
{
    if (json_array_size(take_list))
        json_object_set(object, key, take_list);
    json_decref(take_list);
}

static json_t *plain_kind(const struct kind *k)
{
    json_t *r = json_pack("{s:s,s:s,s:b,s:s,s:o}", "name", k->plural, "singularName", k->singular,
                          "namespaced", k->namespaced, "kind", k->kind, "verbs", kind_verbs());
    set_if_any(r, "shortNames", strings(k->short_names, KIND_SHORT_NAMES_MAX));
    set_if_any(r, "categories", kind_categories(k));
    return r;
}

static json_t *plain_status(const struct kind *k)
{
    struct buf name = {0};
    buf_printf(&name, "%s/status", k->plural);
    json_t *r =
        json_pack("{s:o,s:s,s:b,s:s,s:o}", "name", json_string_of(buf_slice(&name)), "singularName",
                  "", "namespaced", k->namespaced, "kind", k->kind, "verbs", status_verbs());
    buf_fini(&name);
    return r;
}

static json_t *plain_extra(const struct discovery_resource *e)
{
    return json_pack("{s:s,s:s,s:b,s:s,s:o}", "name", e->plural, "singularName", e->singular,
                     "namespaced", e->namespaced, "kind", e->kind, "verbs",
                     strings(e->verbs, ARRAY_LEN(e->verbs)));
}

static bool is_extra_of(const struct discovery_resource *e, struct version_of_group gv)
{
    return slice_eq(slice_of(e->group), gv.group) && slice_eq(slice_of(e->version), gv.version);
}

static bool is_kind_of(const struct kind *k, struct version_of_group gv)
{
    return slice_eq(slice_of(k->group), gv.group) && kind_serves(k, gv.version);
}

static json_t *resource_list(const struct catalog *c, struct version_of_group gv)
{
    json_t *resources = json_array();
    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (!is_kind_of(&kinds[i], gv))
            continue;
        json_array_append_new(resources, plain_kind(&kinds[i]));
        if (kinds[i].has_status)
            json_array_append_new(resources, plain_status(&kinds[i]));
    }
    for (size_t i = 0; i < c->extra_count; i++)
        if (is_extra_of(&c->extra[i], gv))
            json_array_append_new(resources, plain_extra(&c->extra[i]));
    return json_pack("{s:s,s:s,s:o,s:o}", "kind", "APIResourceList", "apiVersion", "v1",
                     "groupVersion", group_version(gv.group, gv.version), "resources", resources);
}

/* Groups. */

static json_t *version_entry(struct slice group, struct slice version)
{
    return json_pack("{s:o,s:o}", "groupVersion", group_version(group, version), "version",
                     json_string_of(version));
}

static json_t *group_entry(const struct catalog *c, struct slice group)
{
    struct slice versions[KIND_VERSIONS_MAX];
    size_t n = versions_of(c, group, versions);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, version_entry(group, versions[i]));
    return json_pack("{s:o,s:o,s:o}", "name", json_string_of(group), "versions", list,
                     "preferredVersion", version_entry(group, versions[0]));
}

static json_t *group_list(const struct catalog *c)
{
    struct slice groups[GROUPS_MAX];
    size_t n = groups_of(c, groups);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        if (groups[i].n)
            json_array_append_new(list, group_entry(c, groups[i]));
    return json_pack("{s:s,s:s,s:o}", "kind", "APIGroupList", "apiVersion", "v1", "groups", list);
}

/* Aggregated. */

static json_t *response_kind(struct version_of_group gv, const char *kind)
{
    return json_pack("{s:o,s:o,s:s}", "group", json_string_of(gv.group), "version",
                     json_string_of(gv.version), "kind", kind);
}

static json_t *aggregated_kind(const struct kind *k, struct version_of_group gv)
{
    json_t *r =
        json_pack("{s:s,s:o,s:s,s:s,s:o}", "resource", k->plural, "responseKind",
                  response_kind(gv, k->kind), "scope", k->namespaced ? "Namespaced" : "Cluster",
                  "singularResource", k->singular, "verbs", kind_verbs());
    set_if_any(r, "shortNames", strings(k->short_names, KIND_SHORT_NAMES_MAX));
    set_if_any(r, "categories", kind_categories(k));
    if (k->has_status)
        json_object_set_new(r, "subresources",
                            json_pack("[{s:s,s:o,s:o}]", "subresource", "status", "responseKind",
                                      response_kind(gv, k->kind), "verbs", status_verbs()));
    return r;
}

static json_t *aggregated_extra(const struct discovery_resource *e, struct version_of_group gv)
{
    return json_pack("{s:s,s:o,s:s,s:s,s:o}", "resource", e->plural, "responseKind",
                     response_kind(gv, e->kind), "scope", e->namespaced ? "Namespaced" : "Cluster",
                     "singularResource", e->singular, "verbs",
                     strings(e->verbs, ARRAY_LEN(e->verbs)));
}

static json_t *aggregated_version(const struct catalog *c, struct version_of_group gv)
{
    json_t *resources = json_array();
    for (size_t i = 0; i < KIND_COUNT; i++)
        if (is_kind_of(&kinds[i], gv))
            json_array_append_new(resources, aggregated_kind(&kinds[i], gv));
    for (size_t i = 0; i < c->extra_count; i++)
        if (is_extra_of(&c->extra[i], gv))
            json_array_append_new(resources, aggregated_extra(&c->extra[i], gv));
    return json_pack("{s:o,s:o,s:s}", "version", json_string_of(gv.version), "resources", resources,
                     "freshness", "Current");
}

static json_t *aggregated_group(const struct catalog *c, struct slice group)
{
    struct slice versions[KIND_VERSIONS_MAX];
    size_t n = versions_of(c, group, versions);
    json_t *list = json_array(), *meta = json_object();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list,
                              aggregated_version(c, (struct version_of_group){group, versions[i]}));
    if (group.n)
        json_object_set_new(meta, "name", json_string_of(group));
    return json_pack("{s:o,s:o}", "metadata", meta, "versions", list);
}

static json_t *aggregated_list(const struct catalog *c, bool core)
{
    struct slice groups[GROUPS_MAX];
    size_t n = groups_of(c, groups);
    json_t *items = json_array();
    for (size_t i = 0; i < n; i++)
        if (core == (groups[i].n == 0))
            json_array_append_new(items, aggregated_group(c, groups[i]));
    return json_pack("{s:s,s:s,s:{},s:o}", "kind", "APIGroupDiscoveryList", "apiVersion",
                     "apidiscovery.k8s.io/v2", "metadata", "items", items);
}

/* Documents. */

static json_t *version_document(void)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:s}", "major", "1", "minor", "32", "gitVersion",
                     "v1.32.0+weft-" WEFT_VERSION, "platform", "linux", "compiler", "weft");
}

static json_t *apis_document(const struct catalog *c, struct slice rest)
{
    struct slice group, version, versions[KIND_VERSIONS_MAX];
    bool has_version = slice_cut(rest, '/', &group, &version);
    size_t n = group.n ? versions_of(c, group, versions) : 0;
    if (!has_version) {
        json_t *g = n ? group_entry(c, group) : NULL;
        if (g) {
            json_object_set_new(g, "kind", json_string("APIGroup"));
            json_object_set_new(g, "apiVersion", json_string("v1"));
        }
        return g;
    }
    for (size_t i = 0; i < n; i++)
        if (slice_eq(versions[i], version))
            return resource_list(c, (struct version_of_group){group, version});
    return NULL;
}

static json_t *document(const struct catalog *c, struct slice path, bool aggregated)
{
    if (slice_eq(path, S("/api")))
        return aggregated ? aggregated_list(c, true)
                          : json_pack("{s:s,s:[s],s:[]}", "kind", "APIVersions", "versions", "v1",
                                      "serverAddressByClientCIDRs");
    if (slice_eq(path, S("/apis")))
        return aggregated ? aggregated_list(c, false) : group_list(c);
    if (slice_eq(path, S("/api/v1")))
        return resource_list(c, (struct version_of_group){S(""), S("v1")});
    if (slice_eq(path, S("/version")))
        return version_document();
    return slice_starts(path, S("/apis/")) ? apis_document(c, slice_skip(path, 6)) : NULL;
}

bool discovery_write(struct slice path, bool aggregated, const struct discovery_resource *extra,
                     size_t extra_count, struct buf *out)
{
    struct catalog c = {extra, extra_count};
    if (path.n > 1 && slice_ends(path, S("/")))
        path.n--;
    json_t *d = document(&c, path, aggregated);
    bool ok = d && json_write(out, d, NULL);
    json_decref(d);
    return ok;
}

bool discovery_wants_aggregated(struct slice accept)
{
    struct slice media, rest = accept;
    bool more = accept.n > 0;
    while (more) {
        more = slice_cut(rest, ',', &media, &rest);
        if (slice_contains(media, S("as=APIGroupDiscoveryList")) &&
            slice_contains(media, S("v=v2")) && !slice_contains(media, S("v=v2beta1")))
            return true;
    }
    return false;
}
