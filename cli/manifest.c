#include "cli/manifest.h"

#include <string.h>

#include "base/core/assert.h"
#include "cli/cli_limits.h"

/* Places. */

static struct slice path_in_doc(const struct manifest_item *item, struct slice field,
                                struct arena *scratch)
{
    if (!item->at.n)
        return field;
    const char *dot = field.n && field.p[0] != '[' ? "." : "";
    return arena_printf(scratch, "%.*s%s%.*s", SLICE(item->at), dot, SLICE(field));
}

unsigned manifest_line(const struct manifest_item *item, struct slice field)
{
    struct arena scratch = {0};
    unsigned line = yaml_line(item->doc, path_in_doc(item, field, &scratch));
    arena_fini(&scratch);
    return line;
}

struct manifest_part manifest_all(const struct manifest *m)
{
    return (struct manifest_part){.p = m->items.p, .n = m->items.n};
}

bool manifest_place(struct manifest_part part, struct slice text, size_t *ret_index,
                    struct slice *ret_rest)
{
    struct slice number, rest;
    uint32_t index;
    if (!slice_starts(text, S("items[")) ||
        !slice_cut(slice_skip(text, sizeof("items[") - 1), ']', &number, &rest) ||
        !slice_u32(number, &index) || index >= part.n)
        return false;
    if (slice_starts(rest, S(".")))
        rest = slice_skip(rest, 1);
    *ret_index = index;
    *ret_rest = rest;
    return true;
}

/* In front of a failure: "file:line". */
static bool fail_at(const struct manifest_item *item, struct slice field, struct err *err)
{
    return err_wrap(err, "%.*s:%u", SLICE(item->file), manifest_line(item, field));
}

/* One object. */

static bool item_namespace(struct manifest *m, struct manifest_item *item, struct err *err)
{
    struct slice ns = json_str(item->object, "metadata.namespace");
    if (!item->kind->namespaced)
        return true;
    item->ns = ns.n ? ns : m->ns;
    if (ns.n && m->ns_fixed && !slice_eq(ns, m->ns)) {
        err_set(err, ERR_INVALID, "metadata.namespace is \"%.*s\", but -n says \"%.*s\"", SLICE(ns),
                SLICE(m->ns));
        return fail_at(item, S("metadata.namespace"), err);
    }
    if (ns.n)
        return true;
    json_t *value = json_string_of(item->ns);
    if (!value)
        return err_set(err, ERR_INVALID, "the namespace is no UTF-8");
    json_object_set_new(json_object_child(item->object, "metadata"), "namespace", value);
    return true;
}

static bool item_once(struct manifest *m, const struct manifest_item *item, struct err *err)
{
    struct slice key;
    if (!kind_key(item->kind, item->ns, item->name, &m->arena, &key, err))
        return fail_at(item, S("metadata.name"), err);
    const struct manifest_item *first = manifest_find(m, key);
    if (first) {
        err_set(err, ERR_INVALID, "%s %.*s is in the set twice, first at %.*s:%u", item->kind->kind,
                SLICE(item->name), SLICE(first->file), manifest_line(first, S("metadata.name")));
        return fail_at(item, S("metadata.name"), err);
    }
    map_put(&m->seen, key, (void *)(uintptr_t)(m->items.n + 1));
    return true;
}

static bool add_object(struct manifest *m, struct manifest_item item, struct err *err)
{
    if (!json_is_object(item.object)) {
        err_set(err, ERR_INVALID, "an object with apiVersion and kind is expected here");
        return fail_at(&item, S(""), err);
    }
    item.kind = kind_of_object(item.object, err);
    if (!item.kind)
        return fail_at(&item, S("kind"), err);
    item.name = json_str(item.object, "metadata.name");
    if (!item.name.n) {
        bool there = json_at(item.object, "metadata.name") != NULL;
        err_set(err, ERR_INVALID, "%s: metadata.name %s", item.kind->kind,
                there ? "must be a string: YAML takes no, on, 1 for others, unless they are quoted"
                      : "is required");
        return fail_at(&item, there ? S("metadata.name") : S("metadata"), err);
    }
    if (m->items.n == CLI_OBJECTS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d objects in one call: make the change in parts",
                       CLI_OBJECTS_MAX);
    if (!item_namespace(m, &item, err) || !item_once(m, &item, err))
        return false;
    *vec_push(&m->items) = item;
    return true;
}

/* Documents. */

static bool is_list(const json_t *root)
{
    return slice_ends(json_str(root, "kind"), S("List")) &&
           json_is_array(json_object_get(root, "items"));
}

static bool add_document(struct manifest *m, struct slice file, const struct yaml_doc *doc,
                         struct err *err)
{
    struct manifest_item item = {.file = file, .doc = doc, .object = doc->root};
    if (!is_list(doc->root))
        return add_object(m, item, err);
    size_t i;
    json_t *object;
    json_array_foreach (json_object_get(doc->root, "items"), i, object) {
        item.object = object;
        item.at = arena_printf(&m->arena, "items[%zu]", i);
        if (!add_object(m, item, err))
            return false;
    }
    return true;
}

/* "line 4: …" of the parser becomes "file:4: …", so that editors can jump to it. */
static bool fail_parse(struct slice file, const struct err *why, struct err *err)
{
    struct slice text = slice_of(why->msg);
    size_t digits = 0;
    if (slice_starts(text, S("line "))) {
        text = slice_skip(text, sizeof("line ") - 1);
        while (digits < text.n && text.p[digits] >= '0' && text.p[digits] <= '9')
            digits++;
    }
    return digits ? err_set(err, why->code, "%.*s:%.*s%s%.*s", SLICE(file),
                            SLICE(slice_sub(text, 0, digits)),
                            text.n > digits && text.p[digits] == ':' ? "" : ": ",
                            SLICE(slice_skip(text, digits)))
                  : err_set(err, why->code, "%.*s: %s", SLICE(file), why->msg);
}

bool manifest_add(struct manifest *m, struct slice file, struct slice text, struct err *err)
{
    struct err why = {0};
    struct yaml_stream *s = MEM_NEW(struct yaml_stream);
    if (!yaml_parse(text, s, &why)) {
        mem_free(s);
        return fail_parse(file, &why, err);
    }
    *vec_push(&m->streams) = s;
    file = arena_dup(&m->arena, file);
    for (size_t i = 0; i < s->count; i++)
        if (!add_document(m, file, &s->docs[i], err))
            return false;
    return true;
}

const struct manifest_item *manifest_find(const struct manifest *m, struct slice key)
{
    size_t at = (size_t)(uintptr_t)map_get(&m->seen, key);
    return at ? &m->items.p[at - 1] : NULL;
}

/* The places of all that is kept move. */
void manifest_filter(struct manifest *m, const bool *keep)
{
    size_t kept = 0;
    map_fini(&m->seen);
    for (size_t i = 0; i < m->items.n; i++) {
        struct manifest_item item = m->items.p[i];
        struct slice key;
        if (!keep[i])
            continue;
        m->items.p[kept++] = item;
        bool ok = kind_key(item.kind, item.ns, item.name, &m->arena, &key, NULL);
        wf_assert(ok); /* it was when the item was added */
        map_put(&m->seen, key, (void *)(uintptr_t)kept);
    }
    m->items.n = kept;
}

void manifest_fini(struct manifest *m)
{
    for (size_t i = 0; i < m->streams.n; i++) {
        yaml_stream_fini(m->streams.p[i]);
        mem_free(m->streams.p[i]);
    }
    vec_fini(&m->streams);
    vec_fini(&m->items);
    map_fini(&m->seen);
    arena_fini(&m->arena);
    *m = (struct manifest){0};
}
