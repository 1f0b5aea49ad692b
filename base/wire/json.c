#include "base/wire/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/wire/json_bytes.h"
#include "base/wire/json_tree.h"

#define WRITE_DEPTH_MAX (JSON_DEPTH_MAX + 8)
#define FIELDS_FEW 16

/* Memory. jansson asks for it without saying for what: the arena is the thread's. */

static _Thread_local struct arena *tree_arena;

static void *tree_malloc(size_t n)
{
    return tree_arena ? arena_alloc(tree_arena, n) : mem_try(n);
}

static void tree_free(void *p)
{
    if (!tree_arena)
        mem_free(p);
}

/* Before any thread can have a tree. */
__attribute__((constructor)) static void tree_memory_init(void)
{
    json_set_alloc_funcs(tree_malloc, tree_free);
}

void json_use_arena(struct arena *arena)
{
    wf_assert(!arena || !tree_arena);
    tree_arena = arena;
}

/* Paths. */

static bool word_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '$';
}

static bool is_word(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!word_byte(s.p[i]))
            return false;
    return s.n > 0;
}

/* "[3]", "[\"a.b\"]" or "[a.b]"; *path starts at the bracket. */
static bool next_bracket(struct slice *path, struct json_step *step)
{
    bool quoted = path->n > 1 && path->p[1] == '"';
    size_t from = quoted ? 2 : 1, end = from;
    while (end < path->n && path->p[end] != (quoted ? '"' : ']'))
        end++;
    size_t close = quoted ? end + 1 : end;
    if (close >= path->n || path->p[close] != ']')
        return false;
    struct slice inside = slice_sub(*path, from, end - from);
    uint64_t index;
    step->is_index = !quoted && slice_u64(inside, &index);
    if (step->is_index)
        step->index = (size_t)index;
    else
        step->key = inside;
    *path = slice_skip(*path, close + 1);
    return true;
}

bool json_path_next(struct slice *path, struct json_step *ret_step)
{
    *ret_step = (struct json_step){0};
    if (!path->n)
        return false;
    if (path->p[0] == '[')
        return next_bracket(path, ret_step);
    struct slice rest = path->p[0] == '.' ? slice_skip(*path, 1) : *path;
    size_t end = 0;
    while (end < rest.n && rest.p[end] != '.' && rest.p[end] != '[')
        end++;
    if (!end)
        return false;
    ret_step->key = slice_sub(rest, 0, end);
    *path = slice_skip(rest, end);
    return true;
}

void json_path_key(struct buf *path, struct slice key)
{
    bool word = is_word(key);
    buf_append(path, !word ? S("[\"") : path->n ? S(".") : S(""));
    buf_append(path, key);
    buf_append(path, word ? S("") : S("\"]"));
}

void json_path_index(struct buf *path, size_t index)
{
    buf_printf(path, "[%zu]", index);
}

json_t *json_at_slice(const json_t *value, struct slice path)
{
    struct json_step step;
    while (value && json_path_next(&path, &step))
        value = step.is_index ? json_array_get(value, step.index) : json_get(value, step.key);
    return path.n ? NULL : (json_t *)(uintptr_t)value;
}

json_t *json_at(const json_t *value, const char *path)
{
    return json_at_slice(value, slice_of(path));
}

/* Reading. */

json_t *json_get(const json_t *object, struct slice key)
{
    return json_object_getn(object, key.p ? key.p : "", key.n);
}

struct slice json_slice(const json_t *value)
{
    if (!json_is_string(value))
        return (struct slice){0};
    return (struct slice){json_string_value(value), json_string_length(value)};
}

struct slice json_str(const json_t *value, const char *path)
{
    return json_slice(json_at(value, path));
}

int64_t json_int(const json_t *value, const char *path, int64_t otherwise)
{
    const json_t *v = json_at(value, path);
    return json_is_integer(v) ? json_integer_value(v) : otherwise;
}

bool json_bool(const json_t *value, const char *path, bool otherwise)
{
    const json_t *v = json_at(value, path);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

json_t *json_string_of(struct slice s)
{
    return json_stringn(s.p ? s.p : "", s.n);
}

json_t *json_object_child(json_t *object, const char *key)
{
    json_t *child = json_object_get(object, key);
    if (!child && json_object_set_new(object, key, child = json_object()) != 0)
        return NULL;
    return json_is_object(child) ? child : NULL;
}

static int by_bytes(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

struct slice *json_keys_sorted(const json_t *object, struct arena *arena, size_t *ret_count)
{
    size_t n = json_object_size(object), i = 0;
    struct slice *keys = ARENA_ARRAY(arena, struct slice, n ? n : 1);
    json_t *o = (json_t *)(uintptr_t)object;
    for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it))
        keys[i++] = (struct slice){json_object_iter_key(it), json_object_iter_key_len(it)};
    wf_assert(i == n);
    qsort(keys, n, sizeof(*keys), by_bytes);
    *ret_count = n;
    return keys;
}

static bool same_list(const json_t *a, const json_t *b)
{
    if (json_array_size(a) != json_array_size(b))
        return false;
    for (size_t i = 0; i < json_array_size(a); i++)
        if (!json_same(json_array_get(a, i), json_array_get(b, i)))
            return false;
    return true;
}

static bool same_object(const json_t *a, const json_t *b)
{
    if (json_object_size(a) != json_object_size(b))
        return false;
    json_t *o = (json_t *)(uintptr_t)a;
    for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it)) {
        const json_t *other =
            json_object_getn(b, json_object_iter_key(it), json_object_iter_key_len(it));
        if (!other || !json_same(json_object_iter_value(it), other))
            return false;
    }
    return true;
}

bool json_same(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b) && json_typeof(a) != json_typeof(b))
        return json_number_value(a) == json_number_value(b);
    if (json_is_array(a) && json_is_array(b))
        return same_list(a, b);
    if (json_is_object(a) && json_is_object(b))
        return same_object(a, b);
    return json_equal(a, b);
}

/* Where in the text. */

struct frame {
    bool list, want_key;
    size_t index;
    struct slice key;
};

/* Walks over tokens, knowing only brackets, commas and strings: enough to know the depth and the
 * path of a position, in text that need not be valid. */
struct scan {
    struct slice text;
    size_t pos, depth, depth_max;
    struct frame frames[JSON_DEPTH_MAX];
};

static size_t skip_string(const struct scan *s, size_t from)
{
    size_t i = from + 1;
    while (i < s->text.n && s->text.p[i] != '"')
        i += s->text.p[i] == '\\' ? 2 : 1;
    return i < s->text.n ? i + 1 : s->text.n;
}

static void scan_string(struct scan *s)
{
    size_t end = skip_string(s, s->pos);
    struct frame *f = s->depth ? &s->frames[s->depth - 1] : NULL;
    if (f && f->want_key) {
        f->key = slice_sub(s->text, s->pos + 1, end > s->pos + 2 ? end - s->pos - 2 : 0);
        f->want_key = false;
    }
    s->pos = end;
}

static void scan_comma(struct scan *s)
{
    struct frame *f = s->depth ? &s->frames[s->depth - 1] : NULL;
    if (f && f->list)
        f->index++;
    else if (f)
        f->want_key = true;
}

/* Up to `until`; false when it gets deeper than depth_max, at the bracket that does. */
static bool scan_to(struct scan *s, size_t until)
{
    while (s->pos < until && s->pos < s->text.n) {
        char c = s->text.p[s->pos];
        if (c == '"') {
            scan_string(s);
            continue;
        }
        if (c == '{' || c == '[') {
            if (s->depth == s->depth_max)
                return false;
            s->frames[s->depth++] = (struct frame){.list = c == '[', .want_key = c == '{'};
        } else if ((c == '}' || c == ']') && s->depth) {
            s->depth--;
        } else if (c == ',') {
            scan_comma(s);
        }
        s->pos++;
    }
    return true;
}

static void scan_path(const struct scan *s, struct buf *out)
{
    for (size_t i = 0; i < s->depth && out->n < JSON_PATH_BYTES_MAX; i++) {
        const struct frame *f = &s->frames[i];
        if (f->list)
            json_path_index(out, f->index);
        else if (f->key.n && slice_utf8(f->key))
            json_path_key(out, slice_sub(f->key, 0, 64));
    }
}

static void line_of(struct slice text, size_t pos, size_t *ret_line, size_t *ret_column)
{
    size_t line = 1, start = 0;
    for (size_t i = 0; i < pos && i < text.n; i++)
        if (text.p[i] == '\n') {
            line++;
            start = i + 1;
        }
    *ret_line = line;
    *ret_column = pos - start + 1;
}

static json_t *refuse_at(struct slice text, size_t pos, enum err_code code, const char *why,
                         struct err *err)
{
    struct scan s = {.text = text, .depth_max = JSON_DEPTH_MAX};
    scan_to(&s, pos);
    struct buf path = {0};
    scan_path(&s, &path);
    size_t line, column;
    line_of(text, pos, &line, &column);
    err_set(err, code, "line %zu, column %zu: %.*s%s%s", line, column, SLICE(buf_slice(&path)),
            path.n ? ": " : "", why);
    buf_fini(&path);
    return NULL;
}

json_t *json_parse_capped(struct slice text, size_t bytes_max, size_t depth_max, struct err *err)
{
    wf_assert(depth_max <= JSON_DEPTH_MAX);
    if (text.n > bytes_max) {
        err_set(err, ERR_LIMIT, "JSON of %zu bytes: at most %zu", text.n, bytes_max);
        return NULL;
    }
    json_t *v = json_tree_read(text, depth_max);
    if (v)
        return v;
    struct scan s = {.text = text, .depth_max = depth_max};
    if (!scan_to(&s, text.n)) {
        char why[64];
        snprintf(why, sizeof(why), "nested deeper than %zu", depth_max);
        return refuse_at(text, s.pos, ERR_LIMIT, why, err);
    }
    json_error_t e;
    v = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES, &e);
    if (v)
        return v;
    /* jansson's position is a byte offset just behind the token that it refuses. */
    size_t pos = e.position > 0 ? (size_t)e.position : 0;
    return refuse_at(text, pos < text.n ? pos : text.n, ERR_INVALID, e.text, err);
}

json_t *json_parse(struct slice text, struct err *err)
{
    return json_parse_capped(text, JSON_BYTES_MAX, JSON_DEPTH_MAX, err);
}

/* In a text that json_write wrote, which is valid, sorted and without white space. */

static size_t text_value_end(const struct scan *s, size_t from)
{
    size_t depth = 0, i = from;
    while (i < s->text.n) {
        char c = s->text.p[i];
        if (c == '"') {
            i = skip_string(s, i);
            continue;
        }
        if ((c == ',' || c == '}' || c == ']') && depth == 0)
            return i;
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        i++;
    }
    return i;
}

/* at: behind an opening brace. The first field that is not below the key, or the closing brace. */
static size_t text_field(const struct scan *s, size_t at, struct slice key, bool *ret_same)
{
    *ret_same = false;
    while (at < s->text.n && s->text.p[at] == '"') {
        size_t end = skip_string(s, at);
        int c = slice_cmp(slice_sub(s->text, at + 1, end - at - 2), key);
        if (c >= 0) {
            *ret_same = c == 0;
            return at;
        }
        at = text_value_end(s, end + 1);
        at += at < s->text.n && s->text.p[at] == ',';
    }
    return at;
}

bool json_write_with(struct buf *out, struct slice text, struct slice child, struct slice key,
                     struct slice value)
{
    struct scan s = {.text = text};
    bool same, there;
    size_t at = text_field(&s, 1, child, &same);
    at = skip_string(&s, at) + 2; /* ":{" */
    if (!same || at > text.n || text.p[at - 1] != '{')
        return false;
    size_t first = at;
    at = text_field(&s, at, key, &there);
    if (there || at >= text.n)
        return false;
    bool last = text.p[at] == '}';
    buf_append(out, slice_sub(text, 0, at));
    if (last && at > first)
        buf_append_byte(out, ',');
    json_write_string(out, key);
    buf_append_byte(out, ':');
    json_write_string(out, value);
    if (!last)
        buf_append_byte(out, ',');
    return buf_append(out, slice_skip(text, at));
}

/* Writing. */

static const char *short_escape(unsigned char c)
{
    switch (c) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    default:
        return NULL;
    }
}

/* Bytes of a string that are written as they are. */
static inline bool is_plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\' && c != 0x7f;
}

/* From i on, the next byte that is not plain, or the end. */
static size_t next_special(struct slice s, size_t i)
{
    unsigned char high = 0;
    while (i < s.n) {
        size_t run = json_plain_run(s.p + i, s.n - i, &high);
        if (run && memchr(s.p + i, 0x7f, run))
            run = 0;
        for (size_t end = i + run + 8 < s.n ? i + run + 8 : s.n, at = i + run; at < end; at++)
            if (!is_plain((unsigned char)s.p[at]))
                return at;
        i += run + 8;
    }
    return s.n;
}

bool json_write_string(struct buf *out, struct slice s)
{
    buf_append_byte(out, '"');
    size_t from = 0;
    for (size_t i = next_special(s, 0); i < s.n; i = next_special(s, i + 1)) {
        unsigned char c = (unsigned char)s.p[i];
        buf_append(out, slice_sub(s, from, i - from));
        from = i + 1;
        if (short_escape(c))
            buf_append(out, slice_of(short_escape(c)));
        else
            buf_printf(out, "\\u%04x", c);
    }
    buf_append(out, slice_skip(s, from));
    return buf_append_byte(out, '"');
}

static bool write_integer(struct buf *out, json_int_t v)
{
    char text[24];
    size_t at = sizeof(text);
    uint64_t rest = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do
        text[--at] = (char)('0' + rest % 10);
    while (rest /= 10);
    if (v < 0)
        text[--at] = '-';
    return buf_append(out, slice_mem(text + at, sizeof(text) - at));
}

void json_write_real(struct buf *out, double v)
{
    /* Above 2^53 neighbouring integers are the same double: keep the exponent then. */
    if (v == floor(v) && fabs(v) < 9007199254740992.0) {
        buf_printf(out, "%lld", (long long)v);
        return;
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_append(out, slice_of(text));
    if (!strpbrk(text, ".e"))
        buf_append(out, S(".0"));
}

struct writer {
    struct buf *out;
    struct arena keys;
    bool pretty;
};

static void write_break(struct writer *w, size_t depth)
{
    if (!w->pretty)
        return;
    buf_append_byte(w->out, '\n');
    for (size_t i = 0; i < depth; i++)
        buf_append(w->out, S("  "));
}

static bool write_value(struct writer *w, const json_t *v, size_t depth);

struct field {
    struct slice key;
    const json_t *value;
};

static int by_key(const void *a, const void *b)
{
    return slice_cmp(((const struct field *)a)->key, ((const struct field *)b)->key);
}

/* Few fields are the common case, and mostly sorted already: what was stored was. */
static void sort_fields(struct field *f, size_t n)
{
    if (n > FIELDS_FEW) {
        qsort(f, n, sizeof(*f), by_key);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        struct field one = f[i];
        size_t at = i;
        for (; at > 0 && slice_cmp(one.key, f[at - 1].key) < 0; at--)
            f[at] = f[at - 1];
        f[at] = one;
    }
}

static bool write_fields(struct writer *w, const struct field *f, size_t n, size_t depth)
{
    buf_append_byte(w->out, '{');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_append_byte(w->out, ',');
        write_break(w, depth + 1);
        json_write_string(w->out, f[i].key);
        buf_append(w->out, w->pretty ? S(": ") : S(":"));
        if (!write_value(w, f[i].value, depth + 1))
            return false;
    }
    if (n)
        write_break(w, depth);
    return buf_append_byte(w->out, '}');
}

static bool write_object(struct writer *w, const json_t *v, size_t depth)
{
    json_t *o = (json_t *)(uintptr_t)v;
    struct field few[FIELDS_FEW], *f = few;
    size_t n = json_object_size(v), i = 0;
    if (n > FIELDS_FEW)
        f = ARENA_ARRAY(&w->keys, struct field, n);
    for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it))
        f[i++] = (struct field){{json_object_iter_key(it), json_object_iter_key_len(it)},
                                json_object_iter_value(it)};
    wf_assert(i == n);
    sort_fields(f, n);
    return write_fields(w, f, n, depth);
}

static bool write_list(struct writer *w, const json_t *v, size_t depth)
{
    buf_append_byte(w->out, '[');
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (i)
            buf_append_byte(w->out, ',');
        write_break(w, depth + 1);
        if (!write_value(w, json_array_get(v, i), depth + 1))
            return false;
    }
    if (json_array_size(v))
        write_break(w, depth);
    return buf_append_byte(w->out, ']');
}

static bool write_value(struct writer *w, const json_t *v, size_t depth)
{
    if (depth > WRITE_DEPTH_MAX)
        return false;
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return write_object(w, v, depth);
    case JSON_ARRAY:
        return write_list(w, v, depth);
    case JSON_STRING:
        return json_write_string(w->out, json_slice(v));
    case JSON_INTEGER:
        return write_integer(w->out, json_integer_value(v));
    case JSON_REAL:
        json_write_real(w->out, json_real_value(v));
        return true;
    case JSON_TRUE:
        return buf_append(w->out, S("true"));
    case JSON_FALSE:
        return buf_append(w->out, S("false"));
    case JSON_NULL:
        return buf_append(w->out, S("null"));
    }
    wf_unreachable("jansson has eight types");
}

static bool write_tree(struct buf *out, const json_t *value, bool pretty, struct err *err)
{
    struct writer w = {.out = out, .pretty = pretty};
    bool ok = write_value(&w, value, 0);
    arena_fini(&w.keys);
    if (out->overflowed)
        return err_set(err, ERR_LIMIT, "JSON text over %zu bytes", out->limit);
    return ok || err_set(err, ERR_LIMIT, "JSON tree deeper than %d", WRITE_DEPTH_MAX);
}

bool json_write(struct buf *out, const json_t *value, struct err *err)
{
    return write_tree(out, value, false, err);
}

bool json_write_pretty(struct buf *out, const json_t *value, struct err *err)
{
    return write_tree(out, value, true, err);
}
