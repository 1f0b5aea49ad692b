#include "api/openapi2.h"

#include "api/kind.h"
#include "base/wire/json.h"
#include "base/wire/pb.h"

#define GVK_EXTENSION S("x-kubernetes-group-version-kind")
#define DRY_RUN S("dryRun")

/* A kind in one of its versions. */
struct subject {
    const struct kind *kind;
    const char *version;
};

static struct slice subject_path(const struct subject *s, struct arena *arena)
{
    const struct kind *k = s->kind;
    return arena_printf(arena, "%s%s/%s/%s%s/{name}", k->group[0] ? "/apis/" : "/api", k->group,
                        s->version, k->namespaced ? "namespaces/{namespace}/" : "", k->plural);
}

static void each_subject(void (*fn)(void *ctx, const struct subject *s), void *ctx)
{
    for (size_t i = 0; i < KIND_COUNT; i++)
        for (size_t v = 0; v < KIND_VERSIONS_MAX && kinds[i].versions[v]; v++)
            fn(ctx, &(struct subject){&kinds[i], kinds[i].versions[v]});
}

/* Protobuf. Field numbers: gnostic, openapiv2/OpenAPIv2.proto. */

enum {
    DOCUMENT_SWAGGER = 1,
    DOCUMENT_INFO = 2,
    DOCUMENT_PATHS = 8,
    INFO_TITLE = 1,
    INFO_VERSION = 2,
    PATHS_PATH = 2,
    NAMED_NAME = 1,
    NAMED_VALUE = 2,
    PATH_ITEM_PATCH = 8,
    OPERATION_PARAMETERS = 8,
    OPERATION_EXTENSION = 13,
    ANY_YAML = 2,
    PARAMETERS_ITEM_PARAMETER = 1,
    PARAMETER_NON_BODY = 2,
    NON_BODY_QUERY = 3,
    QUERY_IN = 2,
    QUERY_NAME = 4,
    QUERY_TYPE = 6,
};

/* What `inner` holds becomes a field of `out`; inner is empty after it. */
static void put(struct buf *out, uint32_t field, struct buf *inner)
{
    pbw_bytes(out, field, buf_slice(inner));
    buf_fini(inner);
}

static void put_dry_run(struct buf *operation)
{
    struct buf query = {0}, non_body = {0}, parameter = {0}, item = {0};
    pbw_bytes(&query, QUERY_IN, S("query"));
    pbw_bytes(&query, QUERY_NAME, DRY_RUN);
    pbw_bytes(&query, QUERY_TYPE, S("string"));
    put(&non_body, NON_BODY_QUERY, &query);
    put(&parameter, PARAMETER_NON_BODY, &non_body);
    put(&item, PARAMETERS_ITEM_PARAMETER, &parameter);
    put(operation, OPERATION_PARAMETERS, &item);
}

static void put_gvk(struct buf *operation, const struct subject *s)
{
    struct buf yaml = {0}, any = {0}, named = {0};
    buf_printf(&yaml, "group: \"%s\"\nkind: %s\nversion: %s\n", s->kind->group, s->kind->kind,
               s->version);
    put(&any, ANY_YAML, &yaml);
    pbw_bytes(&named, NAMED_NAME, GVK_EXTENSION);
    put(&named, NAMED_VALUE, &any);
    put(operation, OPERATION_EXTENSION, &named);
}

static void put_path(void *ctx, const struct subject *s)
{
    struct buf *paths = ctx, operation = {0}, item = {0}, named = {0};
    struct arena arena = {0};
    put_dry_run(&operation);
    put_gvk(&operation, s);
    put(&item, PATH_ITEM_PATCH, &operation);
    pbw_bytes(&named, NAMED_NAME, subject_path(s, &arena));
    put(&named, NAMED_VALUE, &item);
    put(paths, PATHS_PATH, &named);
    arena_fini(&arena);
}

static void write_proto(struct buf *out)
{
    struct buf info = {0}, paths = {0};
    pbw_bytes(&info, INFO_TITLE, S("weft"));
    pbw_bytes(&info, INFO_VERSION, S(WEFT_VERSION));
    each_subject(put_path, &paths);
    pbw_bytes(out, DOCUMENT_SWAGGER, S("2.0"));
    put(out, DOCUMENT_INFO, &info);
    put(out, DOCUMENT_PATHS, &paths);
}

/* JSON. */

static void add_path(void *ctx, const struct subject *s)
{
    json_t *paths = ctx;
    struct arena arena = {0};
    json_object_set_new(paths, subject_path(s, &arena).p,
                        json_pack("{s:{s:[{s:s,s:s,s:s}],s:{s:{s:s}},s:{s:s,s:s,s:s}}}", "patch",
                                  "parameters", "in", "query", "name", DRY_RUN.p, "type", "string",
                                  "responses", "200", "description", "OK", GVK_EXTENSION.p, "group",
                                  s->kind->group, "kind", s->kind->kind, "version", s->version));
    arena_fini(&arena);
}

static void write_json(struct buf *out)
{
    struct err err = {0};
    json_t *paths = json_object();
    each_subject(add_path, paths);
    json_t *doc = json_pack("{s:s,s:{s:s,s:s},s:o,s:{}}", "swagger", "2.0", "info", "title", "weft",
                            "version", WEFT_VERSION, "paths", paths, "definitions");
    json_write(out, doc, &err);
    json_decref(doc);
}

/* Clients ask by the name with "@", which is no media type (RFC 6838 §4.2) and which Go's clients
 * do not take back, or, since 1.28, by the one that is. */
enum openapi2_form openapi2_form(struct slice accept, struct slice *ret_type)
{
    static const struct slice old =
        S_INIT("application/com.github.proto-openapi.spec.v2@v1.0+protobuf");
    static const struct slice proto =
        S_INIT("application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    bool asked = slice_contains(accept, old) || slice_contains(accept, proto);
    *ret_type = asked ? proto : S("application/json");
    return asked ? OPENAPI2_PROTO : OPENAPI2_JSON;
}

void openapi2_write(enum openapi2_form form, struct buf *out)
{
    if (form == OPENAPI2_PROTO)
        write_proto(out);
    else
        write_json(out);
}
