/* For the tests of the compiler: objects as YAML in, resources as JSON out.
 *
 *   struct world w; world_init(&w);
 *   world_apply(&w, "apiVersion: v1\nkind: Service …\n---\n…");
 *   const json_t *c = world_get(&w, &sidecar, XDS_CDS, "outbound|80||a.default.svc.cluster.local");
 *   assert_string(c, "lbPolicy", "LEAST_REQUEST");
 *
 * Every write takes the next revision, as in the log.
 */
#ifndef WEFT_PILOT_BUILD_TESTING_H
#define WEFT_PILOT_BUILD_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "api/any_types.h"
#include "api/kind.h"
#include "base/wire/pb_json.h"
#include "base/wire/yaml.h"
#include "pilot/build.h"

#define WORLD_CLASSES_MAX 64

struct world {
    struct build build;
    reg_rev revision;
    struct map created; /* key -> create_rev as pointer */
    struct proxy_class_input classes[WORLD_CLASSES_MAX];
    size_t class_count;
    json_t *last; /* of world_get */
};

static inline void world_init(struct world *w)
{
    memset(w, 0, sizeof(*w));
    w->created.copies_keys = true;
    build_init(&w->build, S("istio-system"), S("Kubernetes"));
}

static inline void world_fini(struct world *w)
{
    build_fini(&w->build);
    map_fini(&w->created);
    json_decref(w->last);
}

static inline void world_put(struct world *w, json_t *object)
{
    struct err err = {0};
    struct arena a = {0};
    struct buf bytes = {0};
    const struct kind *k = kind_of_object(object, &err);
    assert_non_null(k);
    kind_default(k, object);
    const json_t *md = json_object_get(object, "metadata");
    const char *ns = json_string_value(json_object_get(md, "namespace"));
    struct slice key;
    if (!kind_key(k, slice_of(ns ? ns : "default"),
                  slice_of(json_string_value(json_object_get(md, "name"))), &a, &key, &err))
        fail_msg("%s", err.msg);
    assert_true(kind_encode(object, &bytes, &err));
    w->revision++;
    if (!map_get(&w->created, key))
        map_put(&w->created, key, (void *)(uintptr_t)w->revision);
    model_apply(&w->build.model, key, buf_slice(&bytes),
                (reg_rev)(uintptr_t)map_get(&w->created, key), w->revision);
    buf_fini(&bytes);
    arena_fini(&a);
}

/* Number of documents of kinds that the table has; the others are passed over. */
static inline size_t world_apply_slice(struct world *w, struct slice yaml)
{
    struct err err = {0};
    struct yaml_stream s = {0};
    size_t n = 0;
    if (!yaml_parse(yaml, &s, &err))
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < s.count; i++)
        if (kind_of_object(s.docs[i].root, NULL)) {
            world_put(w, s.docs[i].root);
            n++;
        }
    yaml_stream_fini(&s);
    return n;
}

static inline void world_apply(struct world *w, const char *yaml)
{
    assert_true(world_apply_slice(w, slice_of(yaml)) > 0);
}

static inline void world_delete(struct world *w, const char *key)
{
    map_del(&w->created, slice_of(key));
    model_delete(&w->build.model, slice_of(key), ++w->revision);
}

/* Id of a class: its place among those seen (by address of the input). */
static inline struct xds_view *world_view(struct world *w, const struct proxy_class_input *in)
{
    size_t i = 0;
    while (i < w->class_count && memcmp(&w->classes[i], in, sizeof(*in)) != 0)
        i++;
    if (i == w->class_count) {
        assert_true(i < WORLD_CLASSES_MAX);
        w->classes[w->class_count++] = *in;
    }
    return build_view(&w->build, i + 1, in);
}

static inline struct xds_resource *world_find(struct world *w, const struct proxy_class_input *in,
                                              enum xds_type type, const char *name)
{
    return xds_list_find(world_view(w, in)->types[type], slice_of(name));
}

static inline json_t *resource_json(const struct xds_resource *r)
{
    struct err err = {0};
    struct arena a = {0};
    struct buf text = {0};
    json_error_t e;
    ProtobufCMessage *m = pb_unpack(xds_types[r->type].message, r->body, &a, &err);
    if (!m)
        fail_msg("%.*s: %s", SLICE(r->name), err.msg);
    if (!pb_json_print(m, &(struct pb_json_options){.types = &any_types}, &text, &err))
        fail_msg("%.*s: %s", SLICE(r->name), err.msg);
    json_t *j = json_loadb(buf_slice(&text).p, text.n, 0, &e);
    assert_non_null(j);
    buf_fini(&text);
    arena_fini(&a);
    return j;
}

/* Borrowed until the next call; NULL when there is none. */
static inline const json_t *world_get(struct world *w, const struct proxy_class_input *in,
                                      enum xds_type type, const char *name)
{
    const struct xds_resource *r = world_find(w, in, type, name);
    json_decref(w->last);
    w->last = r ? resource_json(r) : NULL;
    return w->last;
}

/* The value at a path as JSON text; "null" when nothing is there. */
static inline void assert_at(const json_t *j, const char *path, const char *expected)
{
    const json_t *v = path[0] ? json_at(j, path) : j;
    char *text =
        v ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS) : strdup("null");
    if (strcmp(text, expected) != 0) {
        char *all = j ? json_dumps(j, JSON_INDENT(1)) : strdup("null");
        fail_msg("%s is %s, not %s in\n%s", path, text, expected, all);
    }
    free(text);
}

/* Names of a type's resources, joined by spaces. */
static inline void names_of(struct world *w, const struct proxy_class_input *in, enum xds_type type,
                            struct buf *out)
{
    struct xds_list_iter it = {.list = world_view(w, in)->types[type]};
    for (struct xds_resource *r; (r = xds_list_next(&it));)
        buf_printf(out, "%s%.*s", out->n ? " " : "", SLICE(r->name));
}

static inline void assert_names(struct world *w, const struct proxy_class_input *in,
                                enum xds_type type, const char *expected)
{
    struct buf names = {0};
    names_of(w, in, type, &names);
    if (!slice_eq(buf_slice(&names), slice_of(expected)))
        fail_msg("names are\n%.*s\nnot\n%s", SLICE(buf_slice(&names)), expected);
    buf_fini(&names);
}

#endif
