#include "cli/jsonpath.h"

#include <stdlib.h>
#include <string.h>

#include "base/wire/json.h"

/* One path. */

struct walk {
    FILE *out;
    bool any; /* a value was printed */
    struct err *err;
};

enum step_kind { STEP_KEY, STEP_INDEX, STEP_ALL };

struct step {
    enum step_kind kind;
    struct slice key;
    uint32_t index;
};

static bool bad(struct err *err, struct slice at)
{
    return err_set(err, ERR_INVALID, "jsonpath: cannot read \"%.*s\"", SLICE(slice_sub(at, 0, 60)));
}

static bool step_bracket(struct slice *path, struct step *ret, struct err *err)
{
    struct slice inside, rest;
    if (!slice_cut(slice_skip(*path, 1), ']', &inside, &rest))
        return bad(err, *path);
    if (slice_eq(inside, S("*")))
        *ret = (struct step){.kind = STEP_ALL};
    else if (slice_u32(inside, &ret->index))
        ret->kind = STEP_INDEX;
    else if (inside.n > 2 && (inside.p[0] == '\'' || inside.p[0] == '"'))
        *ret = (struct step){.kind = STEP_KEY, .key = slice_sub(inside, 1, inside.n - 2)};
    else
        return bad(err, *path);
    *path = rest;
    return true;
}

/* ".key", "[3]", "[*]", ".*", "['a/b']". */
static bool step_next(struct slice *path, struct step *ret, struct err *err)
{
    size_t n = 0;
    if (path->p[0] == '[')
        return step_bracket(path, ret, err);
    if (path->p[0] == '.')
        *path = slice_skip(*path, 1);
    while (n < path->n && path->p[n] != '.' && path->p[n] != '[')
        n += path->p[n] == '\\' ? 2 : 1;
    if (n == 0 || n > path->n)
        return bad(err, *path);
    struct slice key = slice_sub(*path, 0, n);
    *ret = (struct step){.kind = slice_eq(key, S("*")) ? STEP_ALL : STEP_KEY, .key = key};
    *path = slice_skip(*path, n);
    return true;
}

/* Keys may have dots behind a backslash: a\.b. */
static json_t *child(const json_t *value, struct slice key)
{
    struct buf plain = {0};
    for (size_t i = 0; i < key.n; i++) {
        if (key.p[i] == '\\' && i + 1 < key.n)
            i++;
        buf_append_byte(&plain, key.p[i]);
    }
    json_t *found = json_get(value, buf_slice(&plain));
    buf_fini(&plain);
    return found;
}

typedef bool (*found_fn)(void *ctx, const json_t *value);

static bool path_each(const json_t *value, struct slice path, found_fn fn, void *ctx,
                      struct err *err)
{
    struct step step = {0};
    size_t i;
    json_t *v;
    void *it;
    if (!value)
        return true;
    if (!path.n || slice_eq(path, S(".")))
        return fn(ctx, value);
    if (!step_next(&path, &step, err))
        return false;
    if (step.kind == STEP_KEY)
        return path_each(child(value, step.key), path, fn, ctx, err);
    if (step.kind == STEP_INDEX)
        return path_each(json_array_get(value, step.index), path, fn, ctx, err);
    json_array_foreach (value, i, v)
        if (!path_each(v, path, fn, ctx, err))
            return false;
    for (it = json_object_iter((json_t *)(uintptr_t)value); it;
         it = json_object_iter_next((json_t *)(uintptr_t)value, it))
        if (!path_each(json_object_iter_value(it), path, fn, ctx, err))
            return false;
    return true;
}

static bool print_value(void *ctx, const json_t *value)
{
    struct walk *w = ctx;
    struct slice text = json_slice(value);
    struct buf json = {0};
    if (!json_is_string(value)) {
        if (json_is_object(value) || json_is_array(value)) {
            if (!json_write(&json, value, w->err))
                return false;
        } else {
            char *s = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
            buf_append(&json, slice_of(s));
            free(s);
        }
        text = buf_slice(&json);
    }
    if (w->any)
        fputc(' ', w->out);
    w->any = true;
    fwrite(text.p, 1, text.n, w->out);
    buf_fini(&json);
    return true;
}

/* Templates. */

struct template
{
    FILE *out;
    struct err *err;
    unsigned depth;
};

/* The text between this "{" and its "}", quotes respected. */
static bool brace(struct slice *rest, struct slice *ret_inside, struct err *err)
{
    char quote = 0;
    for (size_t i = 1; i < rest->n; i++) {
        char ch = rest->p[i];
        if (quote) {
            if (ch == '\\')
                i++;
            else if (ch == quote)
                quote = 0;
        } else if (ch == '"' || ch == '\'') {
            quote = ch;
        } else if (ch == '}') {
            *ret_inside = slice_trim(slice_sub(*rest, 1, i - 1));
            *rest = slice_skip(*rest, i + 1);
            return true;
        }
    }
    return bad(err, *rest);
}

static void print_quoted(struct slice quoted, FILE *out)
{
    for (size_t i = 1; i + 1 < quoted.n; i++) {
        char ch = quoted.p[i];
        if (ch == '\\' && i + 2 < quoted.n) {
            ch = quoted.p[++i];
            ch = ch == 'n' ? '\n' : ch == 't' ? '\t' : ch == 'r' ? '\r' : ch;
        }
        fputc(ch, out);
    }
}

/* What stands between a range and its end; *rest goes behind the end. */
static bool range_body(struct slice *rest, struct slice *ret_body, struct err *err)
{
    struct slice start = *rest, inside;
    unsigned open = 1;
    while (rest->n) {
        if (rest->p[0] != '{') {
            *rest = slice_skip(*rest, 1);
            continue;
        }
        size_t at = (size_t)(rest->p - start.p);
        if (!brace(rest, &inside, err))
            return false;
        if (slice_starts(inside, S("range ")))
            open++;
        if (slice_eq(inside, S("end")) && --open == 0) {
            *ret_body = slice_sub(start, 0, at);
            return true;
        }
    }
    return err_set(err, ERR_INVALID, "jsonpath: {range} without {end}");
}

static bool template_run(struct template *t, const json_t *value, struct slice text);

struct range {
    struct template *t;
    struct slice body;
};

static bool range_item(void *ctx, const json_t *value)
{
    struct range *r = ctx;
    return template_run(r->t, value, r->body);
}

static bool run_range(struct template *t, const json_t *value, struct slice path,
                      struct slice *rest)
{
    struct range r = {.t = t};
    if (t->depth == JSONPATH_RANGE_DEPTH_MAX)
        return err_set(t->err, ERR_LIMIT, "jsonpath: {range} nested too deeply");
    if (!range_body(rest, &r.body, t->err))
        return false;
    t->depth++;
    bool ok = path_each(value, slice_trim(path), range_item, &r, t->err);
    t->depth--;
    return ok;
}

static bool run_brace(struct template *t, const json_t *value, struct slice *rest)
{
    struct slice inside;
    struct walk w = {.out = t->out, .err = t->err};
    if (!brace(rest, &inside, t->err))
        return false;
    if (slice_starts(inside, S("range ")))
        return run_range(t, value, slice_skip(inside, sizeof("range ") - 1), rest);
    if (inside.n >= 2 && (inside.p[0] == '"' || inside.p[0] == '\'')) {
        print_quoted(inside, t->out);
        return true;
    }
    if (slice_starts(inside, S("$")) || slice_starts(inside, S("@")))
        inside = slice_skip(inside, 1);
    else if (!slice_starts(inside, S(".")) && !slice_starts(inside, S("[")))
        return bad(t->err, inside);
    return path_each(value, inside, print_value, &w, t->err);
}

static bool template_run(struct template *t, const json_t *value, struct slice text)
{
    while (text.n) {
        if (text.p[0] == '{') {
            if (!run_brace(t, value, &text))
                return false;
        } else {
            fputc(text.p[0], t->out);
            text = slice_skip(text, 1);
        }
    }
    return true;
}

bool jsonpath_print(const json_t *value, struct slice format, FILE *out, struct err *err)
{
    struct template t = {.out = out, .err = err};
    return template_run(&t, value, format);
}

/* Order. */

struct sortable {
    json_t *item;
    const json_t *key;
    size_t at;
};

static int key_compare(const json_t *a, const json_t *b)
{
    if (!a || !b)
        return (a != NULL) - (b != NULL);
    if (json_is_number(a) && json_is_number(b)) {
        double x = json_number_value(a), y = json_number_value(b);
        return (x > y) - (x < y);
    }
    return slice_cmp(json_slice(a), json_slice(b));
}

static int item_compare(const void *a, const void *b)
{
    const struct sortable *x = a, *y = b;
    int order = key_compare(x->key, y->key);
    return order ? order : x->at < y->at ? -1 : 1;
}

bool jsonpath_sort(json_t *list, const char *prefix, struct slice path, struct arena *scratch,
                   struct err *err)
{
    size_t n = json_array_size(list), present = 0;
    if (slice_starts(path, S("{")) && slice_ends(path, S("}")))
        path = slice_sub(path, 1, path.n - 2);
    if (slice_starts(path, S(".")))
        path = slice_skip(path, 1);
    struct slice full = arena_printf(scratch, "%s%.*s", prefix, SLICE(path));
    struct sortable *s = ARENA_ARRAY(scratch, struct sortable, n + 1);
    for (size_t i = 0; i < n; i++) {
        json_t *item = json_array_get(list, i);
        s[i] = (struct sortable){.item = item, .key = json_at_slice(item, full), .at = i};
        present += s[i].key != NULL;
    }
    if (n && !present)
        return err_set(err, ERR_INVALID, "--sort-by: nothing stands at \"%.*s\"%s", SLICE(path),
                       *prefix ? "; a table knows .metadata only, -o yaml or json the rest" : "");
    qsort(s, n, sizeof(*s), item_compare);
    for (size_t i = 0; i < n; i++)
        json_incref(s[i].item);
    json_array_clear(list);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, s[i].item);
    return true;
}
