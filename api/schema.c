#include "api/schema.h"

#include <math.h>
#include <string.h>

#include "api/check.h"
#include "api/duration.h"
#include "api/names.h"
#include "base/core/assert.h"
#include "base/core/map.h"

static const char *const type_names[] = {
    [SCHEMA_OBJECT] = "object",
    [SCHEMA_MAP] = "object",
    [SCHEMA_LIST] = "array",
    [SCHEMA_STRING] = "string",
    [SCHEMA_INT] = "integer",
    [SCHEMA_NUMBER] = "number",
    [SCHEMA_BOOL] = "boolean",
    [SCHEMA_ANY] = "any",
    [SCHEMA_INT_OR_STRING] = "integer or string",
};

const char *schema_type_name(enum schema_type type)
{
    return type_names[type];
}

const char *schema_format_name(enum schema_format format)
{
    static const char *const names[SCHEMA_FORMAT_COUNT] = {
        [SCHEMA_FORMAT_INT32] = "int32",
        [SCHEMA_FORMAT_INT64] = "int64",
        [SCHEMA_FORMAT_DATE_TIME] = "date-time",
        [SCHEMA_FORMAT_BYTES] = "byte",
    };
    return names[format];
}

const struct schema_field *schema_field(const struct schema *s, struct slice name)
{
    for (size_t i = 0; i < s->field_count; i++)
        if (slice_eq(slice_of(s->fields[i].name), name))
            return &s->fields[i];
    return NULL;
}

static const struct schema *step_into(const struct schema *s, const struct json_step *step)
{
    if (s->type == SCHEMA_MAP)
        return s->items;
    if (s->type == SCHEMA_LIST)
        return step->is_index ? s->items : step_into(s->items, step);
    const struct schema_field *f = step->is_index ? NULL : schema_field(s, step->key);
    return f ? f->schema : NULL;
}

const struct schema *schema_at(const struct schema *s, struct slice path)
{
    struct json_step step;
    while (s && json_path_next(&path, &step))
        s = s->type == SCHEMA_OBJECT || s->items ? step_into(s, &step) : NULL;
    return path.n ? NULL : s;
}

/* Types. */

static bool is_integral(const json_t *v)
{
    if (json_is_integer(v))
        return true;
    double r = json_real_value(v);
    return json_is_real(v) && r == floor(r) && fabs(r) < 9007199254740992.0;
}

static bool has_type(enum schema_type type, const json_t *v)
{
    switch (type) {
    case SCHEMA_OBJECT:
    case SCHEMA_MAP:
        return json_is_object(v);
    case SCHEMA_LIST:
        return json_is_array(v);
    case SCHEMA_STRING:
        return json_is_string(v);
    case SCHEMA_INT:
        return is_integral(v);
    case SCHEMA_NUMBER:
        return json_is_number(v);
    case SCHEMA_BOOL:
        return json_is_boolean(v);
    case SCHEMA_INT_OR_STRING:
        return is_integral(v) || json_is_string(v);
    case SCHEMA_ANY:
        return true;
    }
    wf_unreachable("nine types");
}

static const char *json_type_name(const json_t *v)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "object",   [JSON_ARRAY] = "array", [JSON_STRING] = "string",
        [JSON_INTEGER] = "integer", [JSON_REAL] = "number", [JSON_TRUE] = "boolean",
        [JSON_FALSE] = "boolean",   [JSON_NULL] = "null",
    };
    return names[json_typeof(v)];
}

static void check_type(struct check *c, const struct schema *s, const json_t *v)
{
    struct buf text = {0};
    if (!json_is_object(v) && !json_is_array(v))
        json_write(&text, v, NULL);
    check_invalid(c, "must be %s %s, not %s%s%.*s",
                  strchr("aeiou", type_names[s->type][0]) ? "an" : "a", type_names[s->type],
                  json_type_name(v), text.n ? " " : "", SLICE(slice_sub(buf_slice(&text), 0, 80)));
    buf_fini(&text);
}

/* Scalars. */

static void check_range(struct check *c, const struct schema *s, const json_t *v)
{
    double n = json_number_value(v);
    if (s->bounded && (n < (double)s->min || n > (double)s->max))
        check_invalid(c, "must be between %lld and %lld", (long long)s->min, (long long)s->max);
    else if (s->format == SCHEMA_FORMAT_INT32 && (n < INT32_MIN || n > INT32_MAX))
        check_invalid(c, "must fit 32 bits");
    else if (s->format == SCHEMA_FORMAT_UINT32 && (n < 0 || n > UINT32_MAX))
        check_invalid(c, "must be between 0 and %u", UINT32_MAX);
}

static bool is_value(const char *const *values, struct slice text)
{
    for (; *values; values++)
        if (slice_eq(slice_of(*values), text))
            return true;
    return false;
}

static void check_duration(struct check *c, struct slice text, int64_t min_ns)
{
    int64_t ns;
    if (!duration_parse(text, &ns))
        check_invalid(c, "\"%.*s\": must be a duration like 300ms, 1.5s or 1h30m",
                      SLICE(slice_sub(text, 0, 80)));
    else if (ns < min_ns)
        check_invalid(c, "\"%.*s\": must be a duration of at least %s",
                      SLICE(slice_sub(text, 0, 80)), min_ns ? "1ms" : "0s");
}

/* The digits of RFC 3339: 2006-01-02T15:04:05[.999]Z or an offset. */
static bool is_date_time(struct slice s)
{
    static const char shape[] = "dddd-dd-ddTdd:dd:dd";
    if (s.n < sizeof(shape))
        return false;
    for (size_t i = 0; shape[i]; i++)
        if (shape[i] == 'd' ? s.p[i] < '0' || s.p[i] > '9' : (s.p[i] & ~0x20) != (shape[i] & ~0x20))
            return false;
    char last = s.p[s.n - 1];
    return last == 'Z' || last == 'z' || (last >= '0' && last <= '9');
}

static bool is_base64(struct slice s)
{
    size_t pad = 0;
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i];
        bool letter =
            (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9');
        if (ch == '=')
            pad++;
        else if (pad || (!letter && !strchr("+/-_", ch)))
            return false;
    }
    return pad <= 2 && s.n % 4 == 0;
}

static void check_format(struct check *c, enum schema_format format, struct slice text)
{
    if (format == SCHEMA_FORMAT_DURATION)
        check_duration(c, text, 1000000);
    else if (format == SCHEMA_FORMAT_DURATION_ANY)
        check_duration(c, text, 0);
    else if (format == SCHEMA_FORMAT_DATE_TIME && !is_date_time(text))
        check_invalid(c, "must be a time like 2026-01-02T15:04:05Z");
    else if (format == SCHEMA_FORMAT_BYTES && !is_base64(text))
        check_invalid(c, "must be base64");
    else if (format == SCHEMA_FORMAT_IP && !name_is_ip(text))
        check_invalid(c, "\"%.*s\": must be an IP address", SLICE(slice_sub(text, 0, 80)));
}

static void check_string(struct check *c, const struct schema *s, struct slice text)
{
    if (s->length_max && text.n > s->length_max)
        check_invalid(c, "%zu bytes: at most %zu", text.n, s->length_max);
    else if (text.n < s->length_min)
        check_invalid(c, "must not be empty");
    else if (s->values && !is_value(s->values, text))
        check_unsupported(c, text, s->values);
    else
        check_format(c, s->format, text);
}

/* Lists and maps. */

static void check_length(struct check *c, const struct schema *s, size_t n)
{
    if (s->length_max && n > s->length_max)
        check_invalid(c, "%zu items: at most %zu", n, s->length_max);
    else if (n < s->length_min)
        check_invalid(c, "must have at least %zu item%s", s->length_min,
                      s->length_min == 1 ? "" : "s");
}

/* Items are told apart by one field (x-kubernetes-list-map-keys). */
static void check_unique(struct check *c, const char *key, const json_t *list)
{
    struct arena arena = {0};
    struct map seen = {0};
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_object_get(json_array_get(list, i), key);
        struct buf text = {0};
        if (!v || !json_write(&text, v, NULL))
            continue;
        if (map_put(&seen, arena_dup(&arena, buf_slice(&text)), &seen)) {
            size_t at = check_enter_index(c, i), field = check_enter(c, key);
            check_duplicate(c, json_is_string(v) ? json_slice(v) : buf_slice(&text));
            check_leave(c, field);
            check_leave(c, at);
        }
        buf_fini(&text);
    }
    map_fini(&seen);
    arena_fini(&arena);
}

struct walk {
    struct check *c;
    int unknown_fields;
};

static void walk_value(struct walk *w, const struct schema *s, const json_t *value);

static void walk_list(struct walk *w, const struct schema *s, const json_t *list)
{
    check_length(w->c, s, json_array_size(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        size_t at = check_enter_index(w->c, i);
        walk_value(w, s->items, json_array_get(list, i));
        check_leave(w->c, at);
    }
    if (s->unique)
        check_unique(w->c, s->list_key, list);
}

static void walk_map(struct walk *w, const struct schema *s, const json_t *map)
{
    const char *key;
    json_t *value;
    check_length(w->c, s, json_object_size(map));
    json_object_foreach ((json_t *)(uintptr_t)map, key, value) {
        size_t at = check_enter_key(w->c, slice_of(key));
        walk_value(w, s->items, value);
        check_leave(w->c, at);
    }
}

/* Objects. */

static void unknown_field(struct walk *w, const struct schema *s, struct slice name)
{
    if (s->open || w->unknown_fields == KIND_UNKNOWN_IGNORE)
        return;
    struct name_suggest near = {.word = name};
    for (size_t i = 0; i < s->field_count; i++)
        name_suggest_try(&near, slice_of(s->fields[i].name));
    size_t at = check_enter_key(w->c, slice_sub(name, 0, 80));
    (w->unknown_fields == KIND_UNKNOWN_WARN ? check_warn : check_invalid)(
        w->c, "unknown field \"%.*s\"%s%.*s%s", SLICE(buf_slice(&w->c->path)),
        near.best.n ? ", did you mean \"" : "", SLICE(near.best), near.best.n ? "\"?" : "");
    check_leave(w->c, at);
}

static void check_choices(struct check *c, const struct schema *s, const json_t *object)
{
    const char *first[8] = {0};
    for (size_t i = 0; i < s->field_count; i++) {
        const struct schema_field *f = &s->fields[i];
        if (!f->choice || !check_has(object, f->name))
            continue;
        wf_assert(f->choice < ARRAY_LEN(first));
        if (first[f->choice])
            check_forbidden_at(c, f->name, "may not be set together with %s", first[f->choice]);
        else
            first[f->choice] = f->name;
    }
}

static void walk_object(struct walk *w, const struct schema *s, const json_t *object)
{
    json_t *o = (json_t *)(uintptr_t)object;
    for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it)) {
        struct slice name = {json_object_iter_key(it), json_object_iter_key_len(it)};
        const struct schema_field *f = schema_field(s, name);
        if (!f) {
            unknown_field(w, s, name);
            continue;
        }
        size_t at = check_enter(w->c, f->name);
        walk_value(w, f->schema, json_object_iter_value(it));
        check_leave(w->c, at);
    }
    for (size_t i = 0; i < s->field_count; i++)
        if (s->fields[i].required && !check_has(object, s->fields[i].name))
            check_required_at(w->c, s->fields[i].name, "must be set");
    check_choices(w->c, s, object);
}

static void walk_value(struct walk *w, const struct schema *s, const json_t *v)
{
    if (json_is_null(v)) /* dropped by kind_default */
        return;
    if (!has_type(s->type, v)) {
        check_type(w->c, s, v);
        return;
    }
    switch (s->type) {
    case SCHEMA_OBJECT:
        walk_object(w, s, v);
        break;
    case SCHEMA_MAP:
        walk_map(w, s, v);
        break;
    case SCHEMA_LIST:
        walk_list(w, s, v);
        break;
    case SCHEMA_STRING:
        check_string(w->c, s, json_slice(v));
        break;
    case SCHEMA_INT:
    case SCHEMA_NUMBER:
        check_range(w->c, s, v);
        break;
    default:
        break;
    }
}

void schema_check(const struct schema *s, const json_t *value, int unknown_fields, struct check *c)
{
    struct walk w = {.c = c, .unknown_fields = unknown_fields};
    walk_value(&w, s, value);
}
