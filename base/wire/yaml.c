#include "base/wire/yaml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/core/assert.h"
#include "base/wire/yaml_scalar.h"

#define NODE_BYTES 64 /* what a tree node costs, beside its string */

/* Lines, in a tree of the same shape as the JSON. */
struct yaml_node {
    unsigned line;
    size_t count;
    struct yaml_child {
        struct slice key; /* empty in a list */
        const struct yaml_node *node;
    } * children;
};

/* A finished value, its lines and its cost. */
struct value {
    json_t *json;
    const struct yaml_node *node;
    size_t bytes, height;
};

struct anchor {
    struct slice name;
    struct value value; /* owns its json */
};

struct loader {
    yaml_parser_t parser;
    struct arena *arena;
    struct err *err;
    struct buf path;
    size_t bytes; /* of all trees so far */
    VEC(struct anchor) anchors;
};

typedef VEC(struct yaml_child) children_vec;

static bool refuse(struct loader *l, enum err_code code, unsigned line, const char *why,
                   struct slice what)
{
    struct slice path = slice_sub(buf_slice(&l->path), 0, JSON_PATH_BYTES_MAX);
    return err_set(l->err, code, "line %u: %.*s%s%s%s%.*s%s", line, SLICE(path), path.n ? ": " : "",
                   why, what.n ? " \"" : "", SLICE(slice_sub(what, 0, 80)), what.n ? "\"" : "");
}

static bool next(struct loader *l, yaml_event_t *event)
{
    if (yaml_parser_parse(&l->parser, event))
        return true;
    const char *why = l->parser.problem ? l->parser.problem : "not YAML";
    unsigned line = (unsigned)l->parser.problem_mark.line + 1;
    if (l->parser.error == YAML_READER_ERROR) /* has a byte offset, no mark */
        line = (unsigned)l->parser.mark.line + 1;
    return refuse(l, ERR_INVALID, line, why, (struct slice){0});
}

static bool spend(struct loader *l, size_t bytes, unsigned line)
{
    if (bytes > YAML_TREE_BYTES_MAX - l->bytes)
        return refuse(l, ERR_LIMIT, line, "too big, aliases expanded", (struct slice){0});
    l->bytes += bytes;
    return true;
}

static unsigned line_of(const yaml_event_t *e)
{
    return (unsigned)e->start_mark.line + 1;
}

static struct yaml_node *node_new(struct loader *l, unsigned line)
{
    struct yaml_node *n = ARENA_NEW(l->arena, struct yaml_node);
    n->line = line;
    return n;
}

static void take_children(struct loader *l, struct yaml_node *node, children_vec *take_children)
{
    node->count = take_children->n;
    node->children = ARENA_ARRAY(l->arena, struct yaml_child, node->count ? node->count : 1);
    if (node->count)
        memcpy(node->children, take_children->p, node->count * sizeof(*node->children));
    vec_fini(take_children);
}

static bool load(struct loader *l, yaml_event_t *event, size_t depth, struct value *ret);

/* Scalars and aliases. */

static bool load_scalar(struct loader *l, const yaml_event_t *e, struct value *ret)
{
    struct slice text = slice_mem(e->data.scalar.value, e->data.scalar.length);
    bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (!spend(l, NODE_BYTES + text.n, line_of(e)))
        return false;
    if (memchr(text.p, 0, text.n))
        return refuse(l, ERR_INVALID, line_of(e), "NUL in a string", (struct slice){0});
    json_t *v = yaml_scalar_json(text, slice_of((const char *)e->data.scalar.tag), plain);
    if (!v)
        return refuse(l, ERR_INVALID, line_of(e),
                      "not a value of its tag, or an infinite number:", text);
    *ret = (struct value){v, node_new(l, line_of(e)), NODE_BYTES + text.n, 0};
    return true;
}

static bool load_alias(struct loader *l, const yaml_event_t *e, size_t depth, struct value *ret)
{
    struct slice name = slice_of((const char *)e->data.alias.anchor);
    for (size_t i = l->anchors.n; i-- > 0;) {
        const struct anchor *a = &l->anchors.p[i];
        if (!slice_eq(a->name, name))
            continue;
        if (depth + a->value.height > YAML_DEPTH_MAX)
            return refuse(l, ERR_LIMIT, line_of(e), "nested too deep by the alias", name);
        if (!spend(l, a->value.bytes, line_of(e)))
            return false;
        *ret = a->value;
        ret->json = json_deep_copy(a->value.json);
        return true;
    }
    return refuse(l, ERR_INVALID, line_of(e), "no anchor of the name", name);
}

static bool remember(struct loader *l, const yaml_char_t *name, unsigned line,
                     const struct value *v)
{
    if (!name)
        return true;
    if (l->anchors.n == YAML_ANCHORS_MAX)
        return refuse(l, ERR_LIMIT, line, "too many anchors", (struct slice){0});
    if (!spend(l, v->bytes, line))
        return false;
    struct anchor *a = vec_push(&l->anchors);
    a->name = arena_dup(l->arena, slice_of((const char *)name));
    a->value = *v;
    a->value.json = json_deep_copy(v->json);
    return true;
}

/* Lists. */

static bool load_items(struct loader *l, size_t depth, struct value *v, children_vec *children)
{
    for (size_t path = l->path.n;; l->path.n = path) {
        yaml_event_t e;
        if (!next(l, &e))
            return false;
        if (e.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&e);
            return true;
        }
        json_path_index(&l->path, children->n);
        struct value item;
        if (!load(l, &e, depth + 1, &item))
            return false;
        json_array_append_new(v->json, item.json);
        *vec_push(children) = (struct yaml_child){.node = item.node};
        v->bytes += item.bytes;
        v->height = item.height + 1 > v->height ? item.height + 1 : v->height;
    }
}

/* Maps. */

static bool key_text(struct loader *l, const yaml_event_t *e, struct slice *ret)
{
    if (e->type != YAML_SCALAR_EVENT)
        return refuse(l, ERR_INVALID, line_of(e), "a key that is no scalar", (struct slice){0});
    struct value v;
    if (!load_scalar(l, e, &v))
        return false;
    struct buf text = {0};
    bool ok = !json_is_null(v.json);
    if (json_is_string(v.json))
        buf_append(&text, json_slice(v.json));
    else
        json_write(&text, v.json, NULL);
    *ret = arena_dup(l->arena, buf_slice(&text));
    buf_fini(&text);
    json_decref(v.json);
    return ok || refuse(l, ERR_INVALID, line_of(e), "a key that is null", (struct slice){0});
}

static bool is_merge(const yaml_event_t *e)
{
    return e->type == YAML_SCALAR_EVENT && e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           slice_eq(slice_mem(e->data.scalar.value, e->data.scalar.length), S("<<"));
}

/* Keys of `from` that the map does not have itself (YAML 1.1 merge keys). */
static bool merge_one(struct loader *l, struct value *v, children_vec *children, const json_t *from,
                      const struct yaml_node *node)
{
    if (!json_is_object(from))
        return refuse(l, ERR_INVALID, node->line, "<< of what is no map", (struct slice){0});
    for (size_t i = 0; i < node->count; i++) {
        struct slice key = node->children[i].key;
        if (json_get(v->json, key))
            continue;
        json_object_setn_new(v->json, key.p, key.n, json_deep_copy(json_get(from, key)));
        *vec_push(children) = node->children[i];
    }
    return true;
}

static bool merge(struct loader *l, struct value *v, children_vec *children,
                  const struct value *from)
{
    if (!json_is_array(from->json))
        return merge_one(l, v, children, from->json, from->node);
    for (size_t i = 0; i < from->node->count; i++)
        if (!merge_one(l, v, children, json_array_get(from->json, i), from->node->children[i].node))
            return false;
    return true;
}

static bool load_entry(struct loader *l, struct slice key, unsigned line, size_t depth,
                       struct value *v, children_vec *children)
{
    if (json_get(v->json, key))
        return refuse(l, ERR_INVALID, line, "a key twice:", key);
    json_path_key(&l->path, key);
    yaml_event_t e;
    struct value item;
    if (!next(l, &e) || !load(l, &e, depth + 1, &item))
        return false;
    if (json_object_setn_new(v->json, key.p, key.n, item.json) != 0)
        return refuse(l, ERR_INVALID, line, "a key that is not UTF-8", (struct slice){0});
    struct yaml_node *own = ARENA_NEW(l->arena, struct yaml_node);
    *own = *item.node;
    own->line = line; /* of the key: that is where a reader looks */
    *vec_push(children) = (struct yaml_child){key, own};
    v->bytes += item.bytes + key.n;
    v->height = item.height + 1 > v->height ? item.height + 1 : v->height;
    return true;
}

/* The value behind "<<", kept until the map's own keys are known. */
static bool load_merge(struct loader *l, unsigned line, size_t depth, struct value *merged)
{
    if (merged->json)
        return refuse(l, ERR_INVALID, line, "a key twice:", S("<<"));
    yaml_event_t e;
    return next(l, &e) && load(l, &e, depth + 1, merged);
}

static bool load_entries(struct loader *l, size_t depth, struct value *v, children_vec *children,
                         struct value *merged)
{
    for (size_t path = l->path.n;; l->path.n = path) {
        yaml_event_t e;
        if (!next(l, &e))
            return false;
        if (e.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&e);
            return true;
        }
        unsigned line = line_of(&e);
        bool merges = is_merge(&e);
        struct slice key = {0};
        bool ok = merges || key_text(l, &e, &key);
        yaml_event_delete(&e);
        if (!ok || !(merges ? load_merge(l, line, depth, merged)
                            : load_entry(l, key, line, depth, v, children)))
            return false;
    }
}

static bool load_map(struct loader *l, size_t depth, struct value *v, children_vec *children)
{
    struct value merged = {0};
    bool ok = load_entries(l, depth, v, children, &merged);
    if (ok && merged.json) {
        v->bytes += merged.bytes;
        v->height = merged.height > v->height ? merged.height : v->height;
        ok = spend(l, merged.bytes, merged.node->line) && merge(l, v, children, &merged);
    }
    json_decref(merged.json);
    return ok;
}

/* Any node. */

static bool load_collection(struct loader *l, const yaml_event_t *e, size_t depth,
                            struct value *ret)
{
    bool map = e->type == YAML_MAPPING_START_EVENT;
    if (depth >= YAML_DEPTH_MAX)
        return refuse(l, ERR_LIMIT, line_of(e), "nested too deep", (struct slice){0});
    if (!spend(l, NODE_BYTES, line_of(e)))
        return false;
    struct yaml_node *node = node_new(l, line_of(e));
    struct value v = {map ? json_object() : json_array(), node, NODE_BYTES, 1};
    children_vec children = {0};
    bool ok = map ? load_map(l, depth, &v, &children) : load_items(l, depth, &v, &children);
    take_children(l, node, &children);
    if (ok)
        *ret = v;
    else
        json_decref(v.json);
    return ok;
}

static bool load_node(struct loader *l, const yaml_event_t *e, size_t depth, struct value *ret)
{
    switch (e->type) {
    case YAML_ALIAS_EVENT:
        return load_alias(l, e, depth, ret);
    case YAML_SCALAR_EVENT:
        return load_scalar(l, e, ret) && remember(l, e->data.scalar.anchor, line_of(e), ret);
    case YAML_SEQUENCE_START_EVENT:
        return load_collection(l, e, depth, ret) &&
               remember(l, e->data.sequence_start.anchor, line_of(e), ret);
    case YAML_MAPPING_START_EVENT:
        return load_collection(l, e, depth, ret) &&
               remember(l, e->data.mapping_start.anchor, line_of(e), ret);
    default:
        return refuse(l, ERR_INVALID, line_of(e), "not a value", (struct slice){0});
    }
}

/* Consumes the event. On failure *ret owns nothing. */
static bool load(struct loader *l, yaml_event_t *event, size_t depth, struct value *ret)
{
    struct value v = {0};
    bool ok = load_node(l, event, depth, &v);
    yaml_event_delete(event);
    if (!ok)
        json_decref(v.json);
    else
        *ret = v;
    return ok;
}

static void forget_anchors(struct loader *l)
{
    for (size_t i = 0; i < l->anchors.n; i++)
        json_decref(l->anchors.p[i].value.json);
    l->anchors.n = 0;
}

typedef VEC(struct yaml_doc) docs_vec;

static bool load_document(struct loader *l, docs_vec *docs)
{
    yaml_event_t e;
    struct value v;
    buf_clear(&l->path);
    if (!next(l, &e) || !load(l, &e, 0, &v))
        return false;
    forget_anchors(l);
    if (json_is_null(v.json)) {
        json_decref(v.json);
        return true;
    }
    *vec_push(docs) = (struct yaml_doc){v.json, v.node};
    return docs->n <= YAML_DOCS_MAX ||
           refuse(l, ERR_LIMIT, v.node->line, "more documents than one file may have: split it",
                  (struct slice){0});
}

static bool load_stream(struct loader *l, docs_vec *docs)
{
    for (;;) {
        yaml_event_t e;
        if (!next(l, &e))
            return false;
        yaml_event_type_t type = e.type;
        yaml_event_delete(&e);
        if (type == YAML_STREAM_END_EVENT)
            return true;
        if (type == YAML_DOCUMENT_START_EVENT && !load_document(l, docs))
            return false;
    }
}

static void free_docs(const struct yaml_doc *docs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        json_decref(docs[i].root);
}

static bool parse(struct loader *l, struct slice text, struct yaml_stream *ret)
{
    if (slice_starts(text, S("\xEF\xBB\xBF"))) /* a byte order mark: editors of Windows leave one */
        text = slice_skip(text, 3);
    yaml_parser_set_encoding(&l->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&l->parser, (const unsigned char *)(text.p ? text.p : ""), text.n);
    docs_vec docs = {0};
    bool ok = load_stream(l, &docs);
    forget_anchors(l);
    if (ok) {
        ret->docs = ARENA_ARRAY(l->arena, struct yaml_doc, docs.n ? docs.n : 1);
        ret->count = docs.n;
        if (docs.n)
            memcpy(ret->docs, docs.p, docs.n * sizeof(*docs.p));
    } else {
        free_docs(docs.p, docs.n);
    }
    vec_fini(&docs);
    return ok;
}

bool yaml_parse(struct slice text, struct yaml_stream *ret, struct err *err)
{
    *ret = (struct yaml_stream){0};
    if (text.n > YAML_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "YAML of %zu bytes: at most %u", text.n, YAML_BYTES_MAX);
    struct loader l = {.arena = &ret->arena, .err = err};
    if (!yaml_parser_initialize(&l.parser))
        wf_die("out of memory");
    bool ok = parse(&l, text, ret);
    yaml_parser_delete(&l.parser);
    vec_fini(&l.anchors);
    buf_fini(&l.path);
    if (!ok)
        yaml_stream_fini(ret);
    return ok;
}

void yaml_stream_fini(struct yaml_stream *s)
{
    free_docs(s->docs, s->count);
    arena_fini(&s->arena);
    *s = (struct yaml_stream){0};
}

static const struct yaml_node *child_of(const struct yaml_node *node, const struct json_step *step)
{
    if (step->is_index)
        return step->index < node->count ? node->children[step->index].node : NULL;
    for (size_t i = 0; i < node->count; i++)
        if (slice_eq(node->children[i].key, step->key))
            return node->children[i].node;
    return NULL;
}

unsigned yaml_line(const struct yaml_doc *doc, struct slice path)
{
    const struct yaml_node *node = doc->lines, *child;
    struct json_step step;
    while (json_path_next(&path, &step) && (child = child_of(node, &step)))
        node = child;
    return node->line;
}
