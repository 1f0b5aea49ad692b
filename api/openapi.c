#include "api/openapi.h"

#include <stdio.h>
#include <string.h>

#include "api/schema.h"
#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/wire/json.h"

#define DOCUMENTS_MAX 16

/* Schemas. */

static json_t *schema_json(const struct schema *s, const char *about);

static void set_int(json_t *o, const char *key, int64_t value)
{
    json_object_set_new(o, key, json_integer(value));
}

static void object_json(json_t *o, const struct schema *s)
{
    json_t *properties = json_object(), *required = json_array();
    for (size_t i = 0; i < s->field_count; i++) {
        const struct schema_field *f = &s->fields[i];
        json_object_set_new(properties, f->name, schema_json(f->schema, f->about));
        if (f->required)
            json_array_append_new(required, json_string(f->name));
    }
    json_object_set_new(o, "properties", properties);
    if (json_array_size(required))
        json_object_set(o, "required", required);
    json_decref(required);
    if (s->open)
        json_object_set_new(o, "x-kubernetes-preserve-unknown-fields", json_true());
}

static void list_json(json_t *o, const struct schema *s)
{
    json_object_set_new(o, "items", schema_json(s->items, NULL));
    if (s->length_max)
        set_int(o, "maxItems", (int64_t)s->length_max);
    if (s->length_min)
        set_int(o, "minItems", (int64_t)s->length_min);
    if (s->list_key) {
        json_object_set_new(o, "x-kubernetes-patch-merge-key", json_string(s->list_key));
        json_object_set_new(o, "x-kubernetes-patch-strategy", json_string("merge"));
    }
    if (s->set)
        json_object_set_new(o, "x-kubernetes-patch-strategy", json_string("merge"));
}

static void string_json(json_t *o, const struct schema *s)
{
    json_t *values = json_array();
    for (size_t i = 0; s->values && s->values[i]; i++)
        json_array_append_new(values, json_string(s->values[i]));
    if (json_array_size(values))
        json_object_set(o, "enum", values);
    json_decref(values);
    if (s->length_max)
        set_int(o, "maxLength", (int64_t)s->length_max);
}

static void number_json(json_t *o, const struct schema *s)
{
    if (s->format == SCHEMA_FORMAT_UINT32) {
        set_int(o, "minimum", 0);
        set_int(o, "maximum", UINT32_MAX);
    } else if (s->bounded) {
        set_int(o, "minimum", s->min);
        if (s->max != INT64_MAX)
            set_int(o, "maximum", s->max);
    }
}

static json_t *schema_json(const struct schema *s, const char *about)
{
    json_t *o = json_object();
    if (about)
        json_object_set_new(o, "description", json_string(about));
    if (s->type == SCHEMA_ANY) {
        json_object_set_new(o, "x-kubernetes-preserve-unknown-fields", json_true());
        return o;
    }
    if (s->type == SCHEMA_INT_OR_STRING) {
        json_object_set_new(o, "x-kubernetes-int-or-string", json_true());
        json_object_set_new(o, "anyOf",
                            json_pack("[{s:s},{s:s}]", "type", "integer", "type", "string"));
        return o;
    }
    json_object_set_new(o, "type", json_string(schema_type_name(s->type)));
    if (schema_format_name(s->format))
        json_object_set_new(o, "format", json_string(schema_format_name(s->format)));
    if (s->nullable)
        json_object_set_new(o, "nullable", json_true());
    if (s->type == SCHEMA_OBJECT)
        object_json(o, s);
    else if (s->type == SCHEMA_LIST)
        list_json(o, s);
    else if (s->type == SCHEMA_MAP)
        json_object_set_new(o, "additionalProperties", schema_json(s->items, NULL));
    else if (s->type == SCHEMA_STRING)
        string_json(o, s);
    else
        number_json(o, s);
    return o;
}

/* Names. */

/* Of one document. */
struct group {
    const char *group, *version;
    struct arena arena;
};

/* Names as Kubernetes' own documents have them: io.k8s.api.core.v1.Service. */
static const char *schema_name(struct group *g, const struct kind *k, const char *suffix)
{
    const char *prefix = k->group[0] == 0                            ? "io.k8s.api.core"
                         : strcmp(k->group, "discovery.k8s.io") == 0 ? "io.k8s.api.discovery"
                                                                     : "io.istio.networking";
    return arena_printf(&g->arena, "%s.%s.%s%s", prefix, g->version, k->kind, suffix).p;
}

static json_t *reference(struct group *g, const struct kind *k, const char *suffix)
{
    struct slice ref =
        arena_printf(&g->arena, "#/components/schemas/%s", schema_name(g, k, suffix));
    return json_pack("{s:s}", "$ref", ref.p);
}

static json_t *group_version_kind(const struct group *g, const struct kind *k, const char *suffix)
{
    struct buf kind = {0};
    buf_printf(&kind, "%s%s", k->kind, suffix);
    json_t *gvk = json_pack("{s:s,s:s,s:o}", "group", g->group, "version", g->version, "kind",
                            json_string_of(buf_slice(&kind)));
    buf_fini(&kind);
    return gvk;
}

/* Operations. */

static void add_parameter(json_t *list, const char *name, const char *in, const char *type,
                          const char *about)
{
    json_t *p = json_pack("{s:s,s:s,s:s,s:{s:s}}", "name", name, "in", in, "description", about,
                          "schema", "type", type);
    if (strcmp(in, "path") == 0)
        json_object_set_new(p, "required", json_true());
    json_array_append_new(list, p);
}

static json_t *write_parameters(void)
{
    json_t *list = json_array();
    add_parameter(list, "dryRun", "query", "string", "All: check, answer, change nothing.");
    add_parameter(list, "fieldManager", "query", "string", "Name of the client.");
    add_parameter(list, "fieldValidation", "query", "string",
                  "Unknown fields: Ignore, Warn or Strict.");
    add_parameter(list, "Idempotency-Key", "header", "string",
                  "Sent again with the same key the request is done once.");
    return list;
}

static json_t *read_parameters(void)
{
    json_t *list = json_array();
    add_parameter(list, "consistency", "query", "string",
                  "local (the default), bounded or linearizable.");
    add_parameter(list, "maxStalenessMs", "query", "integer", "The age that bounded allows.");
    add_parameter(list, "resourceVersion", "query", "string",
                  "At least this revision; with resourceVersionMatch=Exact the state of then.");
    add_parameter(list, "resourceVersionMatch", "query", "string", "NotOlderThan or Exact.");
    return list;
}

static json_t *list_parameters(void)
{
    json_t *list = read_parameters();
    add_parameter(list, "labelSelector", "query", "string", "Labels that objects must have.");
    add_parameter(list, "fieldSelector", "query", "string", "Fields that objects must have.");
    add_parameter(list, "limit", "query", "integer", "Objects of one answer.");
    add_parameter(list, "continue", "query", "string", "Where the last answer ended.");
    add_parameter(list, "watch", "query", "boolean", "Go on with changes.");
    return list;
}

static json_t *content(const char *const *types, json_t *take_schema)
{
    json_t *c = json_object();
    for (; *types; types++)
        json_object_set_new(c, *types, json_pack("{s:O}", "schema", take_schema));
    json_decref(take_schema);
    return c;
}

static const char *const json_types[] = {"application/json", NULL};

static json_t *operation(struct group *g, const struct kind *k, const char *action,
                         const char *suffix)
{
    json_t *ok = json_pack("{s:s,s:o}", "description", "OK", "content",
                           content(json_types, reference(g, k, suffix)));
    return json_pack("{s:s,s:o,s:{s:o}}", "x-kubernetes-action", action,
                     "x-kubernetes-group-version-kind", group_version_kind(g, k, ""), "responses",
                     "200", ok);
}

static json_t *write_operation(struct group *g, const struct kind *k, const char *action,
                               json_t *take_content)
{
    json_t *op = operation(g, k, action, "");
    json_object_set_new(op, "parameters", write_parameters());
    json_object_set_new(op, "requestBody",
                        json_pack("{s:b,s:o}", "required", 1, "content", take_content));
    return op;
}

/* The media types tell kubectl which patch to send. */
static json_t *patch_operation(struct group *g, const struct kind *k)
{
    static const char *const types[] = {"application/json-patch+json",
                                        "application/merge-patch+json",
                                        "application/strategic-merge-patch+json", NULL};
    static const char *const istio[] = {"application/json-patch+json",
                                        "application/merge-patch+json", NULL};
    bool is_istio = strcmp(k->group, "networking.istio.io") == 0;
    json_t *schema = json_pack("{s:s}", "type", "object");
    return write_operation(g, k, "patch", content(is_istio ? istio : types, schema));
}

static json_t *path_parameters(bool namespaced, bool named)
{
    json_t *list = json_array();
    if (named)
        add_parameter(list, "name", "path", "string", "Name of the object.");
    if (namespaced)
        add_parameter(list, "namespace", "path", "string", "Namespace of the object.");
    return list;
}

static json_t *collection_path(struct group *g, const struct kind *k, bool namespaced)
{
    json_t *list = operation(g, k, "list", "List");
    json_object_set_new(list, "parameters", list_parameters());
    json_t *path =
        json_pack("{s:o,s:o}", "parameters", path_parameters(namespaced, false), "get", list);
    if (namespaced == k->namespaced)
        json_object_set_new(
            path, "post", write_operation(g, k, "post", content(json_types, reference(g, k, ""))));
    return path;
}

static json_t *object_path(struct group *g, const struct kind *k, bool with_delete)
{
    json_t *get = operation(g, k, "get", "");
    json_object_set_new(get, "parameters", read_parameters());
    json_t *path = json_pack("{s:o,s:o,s:o,s:o}", "parameters",
                             path_parameters(k->namespaced, true), "get", get, "put",
                             write_operation(g, k, "put", content(json_types, reference(g, k, ""))),
                             "patch", patch_operation(g, k));
    if (with_delete)
        json_object_set_new(path, "delete", operation(g, k, "delete", ""));
    return path;
}

static void add_paths(json_t *paths, struct group *g, const struct kind *k)
{
    const char *root =
        g->group[0] ? arena_printf(&g->arena, "/apis/%s/%s", g->group, g->version).p : "/api/v1";
    const char *ns = k->namespaced ? "/namespaces/{namespace}" : "";
    const char *all = arena_printf(&g->arena, "%s/%s", root, k->plural).p;
    const char *some = arena_printf(&g->arena, "%s%s/%s", root, ns, k->plural).p;
    const char *one = arena_printf(&g->arena, "%s/{name}", some).p;
    json_object_set_new(paths, all, collection_path(g, k, false));
    if (k->namespaced)
        json_object_set_new(paths, some, collection_path(g, k, true));
    json_object_set_new(paths, one, object_path(g, k, true));
    if (k->has_status)
        json_object_set_new(paths, arena_printf(&g->arena, "%s/status", one).p,
                            object_path(g, k, false));
}

/* Documents. */

static void add_schemas(json_t *schemas, struct group *g, const struct kind *k)
{
    json_t *one = schema_json(k->schema, k->about);
    json_object_set_new(one, "x-kubernetes-group-version-kind",
                        json_pack("[o]", group_version_kind(g, k, "")));
    json_object_set_new(schemas, schema_name(g, k, ""), one);
    json_t *list = json_pack("{s:s,s:[s],s:{s:{s:s},s:{s:s},s:{s:s},s:{s:s,s:o}},s:[o]}", "type",
                             "object", "required", "items", "properties", "apiVersion", "type",
                             "string", "kind", "type", "string", "metadata", "type", "object",
                             "items", "type", "array", "items", reference(g, k, ""),
                             "x-kubernetes-group-version-kind", group_version_kind(g, k, "List"));
    json_object_set_new(schemas, schema_name(g, k, "List"), list);
}

static bool write_group(const char *group, const char *version, struct buf *out)
{
    struct group g = {.group = group, .version = version};
    json_t *paths = json_object(), *schemas = json_object();
    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (strcmp(kinds[i].group, group) != 0 || !kind_serves(&kinds[i], slice_of(version)))
            continue;
        add_paths(paths, &g, &kinds[i]);
        add_schemas(schemas, &g, &kinds[i]);
    }
    json_t *doc =
        json_pack("{s:s,s:{s:s,s:s},s:o,s:{s:o}}", "openapi", "3.0.0", "info", "title", "weft",
                  "version", WEFT_VERSION, "paths", paths, "components", "schemas", schemas);
    wf_assert(doc);
    bool ok = json_write(out, doc, NULL);
    json_decref(doc);
    arena_fini(&g.arena);
    return ok;
}

/* "api/v1", "apis/networking.istio.io/v1" and what they are of, each once; "weft/v1" the last. */
struct document {
    struct slice name;
    const char *group, *version; /* NULL: weft's own */
};

static bool write_document(const struct document *d, struct buf *out)
{
    return d->group ? write_group(d->group, d->version, out) : openapi_weft_write(out);
}

static size_t documents(struct arena *arena, struct document docs[DOCUMENTS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < KIND_COUNT; i++)
        for (size_t v = 0; v < KIND_VERSIONS_MAX && kinds[i].versions[v]; v++) {
            const char *group = kinds[i].group, *version = kinds[i].versions[v];
            struct slice name = group[0] ? arena_printf(arena, "apis/%s/%s", group, version)
                                         : arena_printf(arena, "api/%s", version);
            size_t k = 0;
            while (k < n && !slice_eq(docs[k].name, name))
                k++;
            wf_assert(k < DOCUMENTS_MAX);
            if (k == n)
                docs[n++] = (struct document){name, group, version};
        }
    wf_assert(n < DOCUMENTS_MAX);
    docs[n++] = (struct document){.name = S("weft/v1")};
    return n;
}

static bool write_index(const struct document *docs, size_t n, struct buf *out)
{
    json_t *paths = json_object();
    for (size_t i = 0; i < n; i++) {
        struct buf text = {0}, url = {0};
        write_document(&docs[i], &text);
        buf_printf(&url, "/openapi/v3/%.*s?hash=%016llX", SLICE(docs[i].name),
                   (unsigned long long)hash_bytes(buf_slice(&text)));
        json_object_setn_new(
            paths, docs[i].name.p, docs[i].name.n,
            json_pack("{s:o}", "serverRelativeURL", json_string_of(buf_slice(&url))));
        buf_fini(&text);
        buf_fini(&url);
    }
    json_t *index = json_pack("{s:o}", "paths", paths);
    bool ok = json_write(out, index, NULL);
    json_decref(index);
    return ok;
}

bool openapi_write(struct slice path, struct buf *out)
{
    struct document docs[DOCUMENTS_MAX];
    struct arena arena = {0};
    size_t n = documents(&arena, docs);
    bool ok = false;
    if (slice_eq(path, S("/openapi/v3")) || slice_eq(path, S("/openapi/v3/")))
        ok = write_index(docs, n, out);
    for (size_t i = 0; i < n && !ok; i++)
        if (slice_starts(path, S("/openapi/v3/")) && slice_eq(slice_skip(path, 12), docs[i].name))
            ok = write_document(&docs[i], out);
    arena_fini(&arena);
    return ok;
}
