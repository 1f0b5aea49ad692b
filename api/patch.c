#include "api/patch.h"

#include "base/core/assert.h"
#include "base/wire/json.h"

/* Merge patch. */

/* RFC 7386 §2: what the patch says stands; null removes. */
static json_t *merge(json_t *take_target, const json_t *patch, size_t depth)
{
    wf_assert(depth <= JSON_DEPTH_MAX + 1); /* json_parse bounds patches */
    if (!json_is_object(patch)) {
        json_decref(take_target);
        return json_deep_copy(patch);
    }
    json_t *target = take_target;
    if (!json_is_object(target)) {
        json_decref(target);
        target = json_object();
    }
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)patch, key, value) {
        if (json_is_null(value))
            json_object_del(target, key);
        else
            json_object_set_new(target, key,
                                merge(json_incref(json_object_get(target, key)), value, depth + 1));
    }
    return target;
}

json_t *patch_merge(const json_t *current, const json_t *patch, struct err *err)
{
    if (!json_is_object(patch)) {
        err_set(err, ERR_INVALID, "a merge patch is an object");
        return NULL;
    }
    return merge(json_deep_copy(current), patch, 0);
}

/* JSON patch. */

struct ops {
    json_t *root; /* owned; NULL after the whole document was removed */
    size_t nodes; /* that "copy" has added */
    struct err *err;
};

/* A place: the container and what follows it. */
struct place {
    json_t *parent;      /* NULL: the whole document */
    struct slice token;  /* last step, unescaped */
    struct arena *arena; /* of token */
};

/* RFC 6901 §4: ~1 is /, ~0 is ~. */
static bool unescape(struct slice s, struct arena *arena, struct slice *ret)
{
    char *out = arena_alloc(arena, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        out[n] = s.p[i];
        if (s.p[i] == '~') {
            if (++i == s.n || (s.p[i] != '0' && s.p[i] != '1'))
                return false;
            out[n] = s.p[i] == '0' ? '~' : '/';
        }
        n++;
    }
    *ret = (struct slice){out, n};
    return true;
}

/* §4: digits without leading zeros; "-" is the place behind the last item. */
static bool list_index(struct slice token, size_t size, size_t *ret)
{
    uint64_t n;
    if (slice_eq(token, S("-"))) {
        *ret = size;
        return true;
    }
    if (!slice_u64(token, &n) || (token.n > 1 && token.p[0] == '0') || n > size)
        return false;
    *ret = (size_t)n;
    return true;
}

static json_t *child_of(const json_t *parent, struct slice token)
{
    size_t i;
    if (json_is_object(parent))
        return json_get(parent, token);
    return json_is_array(parent) && list_index(token, json_array_size(parent), &i)
               ? json_array_get(parent, i)
               : NULL;
}

static bool find_place(struct ops *o, struct slice pointer, struct arena *arena, struct place *ret)
{
    struct slice part, rest = pointer;
    json_t *at = o->root;
    *ret = (struct place){.arena = arena};
    if (!pointer.n)
        return true;
    if (pointer.p[0] != '/')
        return err_set(o->err, ERR_INVALID, "\"%.*s\": a pointer starts with /",
                       SLICE(slice_sub(pointer, 0, 120)));
    rest = slice_skip(rest, 1);
    while (slice_cut(rest, '/', &part, &rest)) {
        struct slice token;
        if (!unescape(part, arena, &token) || !(at = child_of(at, token)))
            return err_set(o->err, ERR_INVALID, "nothing is at \"%.*s\"",
                           SLICE(slice_sub(pointer, 0, 120)));
    }
    ret->parent = at;
    if (!unescape(part, arena, &ret->token) || !(json_is_object(at) || json_is_array(at)))
        return err_set(o->err, ERR_INVALID, "nothing can be at \"%.*s\"",
                       SLICE(slice_sub(pointer, 0, 120)));
    return true;
}

static json_t *value_at(const struct ops *o, const struct place *p)
{
    return p->parent ? child_of(p->parent, p->token) : o->root;
}

static bool put(struct ops *o, const struct place *p, json_t *take_value, bool replace)
{
    size_t i, size = json_array_size(p->parent);
    int rc = 0;
    if (!p->parent) {
        json_decref(o->root);
        o->root = take_value;
    } else if (json_is_object(p->parent)) {
        rc = json_object_setn_new(p->parent, p->token.p, p->token.n, take_value);
    } else if (!list_index(p->token, size, &i)) {
        json_decref(take_value);
        return err_set(o->err, ERR_INVALID, "\"%.*s\" is no place in a list of %zu",
                       SLICE(slice_sub(p->token, 0, 80)), size);
    } else {
        rc = replace ? json_array_set_new(p->parent, i, take_value)
                     : json_array_insert_new(p->parent, i, take_value);
    }
    return rc == 0 ||
           err_set(o->err, ERR_INVALID, "\"%.*s\" is no key", SLICE(slice_sub(p->token, 0, 80)));
}

static bool take_away(struct ops *o, const struct place *p)
{
    size_t i;
    if (!p->parent)
        return err_set(o->err, ERR_INVALID, "the whole object cannot be removed by a patch");
    if (json_is_object(p->parent) && json_object_deln(p->parent, p->token.p, p->token.n) == 0)
        return true;
    if (json_is_array(p->parent) && list_index(p->token, json_array_size(p->parent), &i) &&
        json_array_remove(p->parent, i) == 0)
        return true;
    return err_set(o->err, ERR_INVALID, "nothing is there to remove");
}

/* Nodes and depth of a tree; stops early past the limits. */
static void measure(const json_t *v, size_t depth, size_t *nodes, size_t *deepest)
{
    const char *key;
    json_t *child;
    size_t i;
    ++*nodes;
    *deepest = depth > *deepest ? depth : *deepest;
    if (depth > JSON_DEPTH_MAX || *nodes > PATCH_NODES_MAX)
        return;
    json_object_foreach ((json_t *)(uintptr_t)v, key, child)
        measure(child, depth + 1, nodes, deepest);
    json_array_foreach (v, i, child)
        measure(child, depth + 1, nodes, deepest);
}

static size_t steps(struct slice pointer)
{
    size_t n = 0;
    for (size_t i = 0; i < pointer.n; i++)
        n += pointer.p[i] == '/';
    return n;
}

/* A value put at a pointer must not nest too deep, and copies must not add up to too much. */
static bool fits(struct ops *o, const json_t *value, struct slice pointer)
{
    size_t nodes = 0, deepest = 0;
    measure(value, 0, &nodes, &deepest);
    o->nodes += nodes;
    if (o->nodes > PATCH_NODES_MAX)
        return err_set(o->err, ERR_LIMIT, "the values of the patch add up to more than %d nodes",
                       PATCH_NODES_MAX);
    if (steps(pointer) + deepest > JSON_DEPTH_MAX)
        return err_set(o->err, ERR_LIMIT, "the result nests deeper than %d", JSON_DEPTH_MAX);
    return true;
}

enum op { OP_ADD, OP_REMOVE, OP_REPLACE, OP_MOVE, OP_COPY, OP_TEST, OP_COUNT };

static enum op op_of(struct slice name)
{
    static const char *const names[OP_COUNT] = {"add", "remove", "replace", "move", "copy", "test"};
    size_t i = 0;
    while (i < OP_COUNT && !slice_eq(name, slice_of(names[i])))
        i++;
    return (enum op)i;
}

static bool op_with_value(struct ops *o, enum op op, const json_t *value, struct slice path,
                          const struct place *to)
{
    if (!value)
        return err_set(o->err, ERR_INVALID, "value is missing");
    if (op == OP_TEST) {
        const json_t *there = value_at(o, to);
        return (there && json_same(there, value)) ||
               err_set(o->err, ERR_CONFLICT, "the value there is another");
    }
    if (op == OP_REPLACE && !value_at(o, to))
        return err_set(o->err, ERR_INVALID, "nothing is there to replace");
    return fits(o, value, path) && put(o, to, json_deep_copy(value), op == OP_REPLACE);
}

static bool op_from(struct ops *o, enum op op, struct slice from, struct slice path,
                    struct arena *arena)
{
    struct place source, to;
    if (!find_place(o, from, arena, &source))
        return false;
    json_t *value = json_incref(value_at(o, &source));
    if (!value)
        return err_set(o->err, ERR_INVALID, "nothing is at \"%.*s\"",
                       SLICE(slice_sub(from, 0, 120)));
    bool inside =
        op == OP_MOVE && slice_starts(path, from) && path.n > from.n && path.p[from.n] == '/';
    bool ok = !inside || err_set(o->err, ERR_INVALID, "a value cannot move into itself");
    ok = ok && fits(o, value, path) && (op == OP_COPY || take_away(o, &source)) &&
         find_place(o, path, arena, &to) &&
         put(o, &to, op == OP_COPY ? json_deep_copy(value) : json_incref(value), false);
    json_decref(value);
    return ok;
}

static bool apply_op(struct ops *o, const json_t *step)
{
    struct arena arena = {0};
    struct slice path = json_str(step, "path"), from = json_str(step, "from");
    enum op op = op_of(json_str(step, "op"));
    struct place to;
    bool ok;
    if (op == OP_COUNT || !json_is_string(json_object_get(step, "path")))
        ok = err_set(o->err, ERR_INVALID,
                     "op must be add, remove, replace, move, copy or test, path a pointer");
    else if (op == OP_MOVE || op == OP_COPY)
        ok = op_from(o, op, from, path, &arena);
    else if (!find_place(o, path, &arena, &to))
        ok = false;
    else if (op == OP_REMOVE)
        ok = take_away(o, &to);
    else
        ok = op_with_value(o, op, json_object_get(step, "value"), path, &to);
    arena_fini(&arena);
    return ok;
}

json_t *patch_json(const json_t *current, const json_t *patch, struct err *err)
{
    struct ops o = {.root = json_deep_copy(current), .err = err};
    const json_t *step;
    size_t i;
    bool ok = true;
    if (!json_is_array(patch))
        ok = err_set(err, ERR_INVALID, "a JSON patch is a list of operations");
    else if (json_array_size(patch) > PATCH_OPS_MAX)
        ok = err_set(err, ERR_LIMIT, "%zu operations: at most %d", json_array_size(patch),
                     PATCH_OPS_MAX);
    for (i = 0; ok && i < json_array_size(patch); i++) {
        step = json_array_get(patch, i);
        if (!apply_op(&o, step))
            ok = err_wrap(err, "operation %zu (%.*s %.*s)", i,
                          SLICE(slice_sub(json_str(step, "op"), 0, 16)),
                          SLICE(slice_sub(json_str(step, "path"), 0, 120)));
    }
    if (ok && !json_is_object(o.root))
        ok = err_set(err, ERR_INVALID, "the result is no object");
    if (ok)
        return o.root;
    json_decref(o.root);
    return NULL;
}
