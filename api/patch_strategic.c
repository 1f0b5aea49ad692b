#include "api/patch.h"

#include <string.h>

#include "api/schema.h"
#include "base/wire/json.h"

static bool merge_map(const struct schema *s, json_t *target, const json_t *patch, struct err *err);

static bool is_directive(const char *key)
{
    return key[0] == '$';
}

/* The schema below a key; NULL where the tables end. */
static const struct schema *below(const struct schema *s, const char *key)
{
    if (!s)
        return NULL;
    if (s->type == SCHEMA_MAP)
        return s->items;
    const struct schema_field *f = s->type == SCHEMA_OBJECT ? schema_field(s, slice_of(key)) : NULL;
    return f ? f->schema : NULL;
}

/* Lists of objects. */

static size_t find_item(const json_t *list, const char *key, const json_t *value)
{
    size_t i = 0, n = json_array_size(list);
    while (i < n && !json_same(json_object_get(json_array_get(list, i), key), value))
        i++;
    return i;
}

static bool merge_item(const struct schema *s, json_t *list, const json_t *item, struct err *err)
{
    const json_t *value = json_object_get(item, s->list_key);
    struct slice directive = json_str(item, "$patch");
    if (!value)
        return err_set(err, ERR_INVALID,
                       "an item of the patch has no \"%s\", by which the list merges", s->list_key);
    size_t at = find_item(list, s->list_key, value);
    bool there = at < json_array_size(list);
    if (slice_eq(directive, S("delete"))) {
        /* Items that differ in other fields may share the key. */
        for (; there; there = (at = find_item(list, s->list_key, value)) < json_array_size(list))
            json_array_remove(list, at);
        return true;
    }
    json_t *target = there ? json_array_get(list, at) : json_object();
    if (!there)
        json_array_append_new(list, target);
    if (slice_eq(directive, S("replace")))
        json_object_clear(target);
    return merge_map(s->items, target, item, err);
}

static bool merge_items(const struct schema *s, json_t *list, const json_t *patch, struct err *err)
{
    const json_t *item;
    size_t i;
    if (json_array_size(list) + json_array_size(patch) > PATCH_ITEMS_MAX)
        return err_set(err, ERR_LIMIT, "a list of more than %d items", PATCH_ITEMS_MAX);
    json_array_foreach (patch, i, item)
        if (slice_eq(json_str(item, "$patch"), S("replace")) && json_object_size(item) == 1)
            json_array_clear(list);
    json_array_foreach (patch, i, item) {
        bool only_directive =
            slice_eq(json_str(item, "$patch"), S("replace")) && json_object_size(item) == 1;
        if (!only_directive && !merge_item(s, list, item, err))
            return false;
    }
    return true;
}

/* Items in the order's order; what it does not name stays behind, in its own order. */
static void order_items(const char *key, json_t *list, const json_t *order)
{
    json_t *sorted = json_array();
    const json_t *wanted;
    size_t i;
    if (json_array_size(order) > PATCH_ITEMS_MAX || json_array_size(list) > PATCH_ITEMS_MAX)
        return;
    json_array_foreach (order, i, wanted) {
        size_t at = find_item(list, key, json_object_get(wanted, key));
        if (at == json_array_size(list))
            continue;
        json_array_append(sorted, json_array_get(list, at));
        json_array_remove(list, at);
    }
    json_array_extend(sorted, list);
    json_array_clear(list);
    json_array_extend(list, sorted);
    json_decref(sorted);
}

/* Lists of scalars. */

static size_t find_scalar(const json_t *list, const json_t *value)
{
    size_t i = 0;
    while (i < json_array_size(list) && !json_same(json_array_get(list, i), value))
        i++;
    return i;
}

static void merge_set(json_t *list, const json_t *patch)
{
    json_t *value;
    size_t i;
    json_array_foreach (patch, i, value)
        if (json_array_size(list) < PATCH_ITEMS_MAX &&
            find_scalar(list, value) == json_array_size(list))
            json_array_append(list, value);
}

static void remove_scalars(json_t *list, const json_t *gone)
{
    const json_t *value;
    size_t i;
    json_array_foreach (gone, i, value) {
        size_t at = find_scalar(list, value);
        if (at < json_array_size(list))
            json_array_remove(list, at);
    }
}

/* Maps. */

static void retain(json_t *target, const json_t *keys)
{
    void *next;
    const char *key;
    json_t *value;
    json_object_foreach_safe (target, next, key, value) {
        json_t *name = json_string(key);
        if (find_scalar(keys, name) == json_array_size(keys))
            json_object_del(target, key);
        json_decref(name);
    }
}

static bool merge_list(const struct schema *s, json_t *target, const char *key, const json_t *patch,
                       struct err *err)
{
    json_t *list = json_object_get(target, key);
    bool merges = s && (s->list_key || s->set) && json_is_array(list);
    if (!merges && !(s && s->list_key)) {
        json_object_set_new(target, key, json_deep_copy(patch));
        return true;
    }
    if (!json_is_array(list))
        json_object_set_new(target, key, list = json_array());
    if (s->list_key)
        return merge_items(s, list, patch, err);
    merge_set(list, patch);
    return true;
}

static bool merge_field(const struct schema *s, json_t *target, const char *key,
                        const json_t *patch, struct err *err)
{
    json_t *there = json_object_get(target, key);
    if (json_is_null(patch)) {
        json_object_del(target, key);
        return true;
    }
    if (json_is_array(patch))
        return merge_list(below(s, key), target, key, patch, err);
    if (!json_is_object(patch)) {
        json_object_set_new(target, key, json_deep_copy(patch));
        return true;
    }
    if (!json_is_object(there))
        json_object_set_new(target, key, there = json_object());
    if (slice_eq(json_str(patch, "$patch"), S("delete"))) {
        json_object_del(target, key);
        return true;
    }
    return merge_map(below(s, key), there, patch, err);
}

/* Directives that name a list of the map: "$setElementOrder/ports". */
static void apply_list_directives(const struct schema *s, json_t *target, const json_t *patch)
{
    static const char order[] = "$setElementOrder/", gone[] = "$deleteFromPrimitiveList/";
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)patch, key, value) {
        if (strncmp(key, order, sizeof(order) - 1) == 0) {
            const char *name = key + sizeof(order) - 1;
            const struct schema *list = below(s, name);
            if (list && list->list_key)
                order_items(list->list_key, json_object_get(target, name), value);
        } else if (strncmp(key, gone, sizeof(gone) - 1) == 0) {
            remove_scalars(json_object_get(target, key + sizeof(gone) - 1), value);
        }
    }
}

static bool merge_map(const struct schema *s, json_t *target, const json_t *patch, struct err *err)
{
    const char *key;
    json_t *value;
    if (slice_eq(json_str(patch, "$patch"), S("replace")))
        json_object_clear(target);
    json_object_foreach ((json_t *)(uintptr_t)patch, key, value) {
        if (!is_directive(key) && !merge_field(s, target, key, value, err))
            return err_wrap(err, "%.80s", key);
    }
    if (json_is_array(json_object_get(patch, "$retainKeys")))
        retain(target, json_object_get(patch, "$retainKeys"));
    apply_list_directives(s, target, patch);
    return true;
}

json_t *patch_strategic(const struct kind *k, const json_t *current, const json_t *patch,
                        struct err *err)
{
    if (strcmp(k->group, "networking.istio.io") == 0) {
        err_set(err, ERR_UNSUPPORTED,
                "%s takes merge-patch+json and json-patch+json, no strategic-merge-patch",
                k->plural);
        return NULL;
    }
    if (!json_is_object(patch)) {
        err_set(err, ERR_INVALID, "a strategic merge patch is an object");
        return NULL;
    }
    json_t *next = json_deep_copy(current);
    if (merge_map(k->schema, next, patch, err))
        return next;
    json_decref(next);
    return NULL;
}
