#include "api/check.h"

#include <stdio.h>

#include "base/core/assert.h"

size_t check_enter_key(struct check *c, struct slice key)
{
    size_t at = c->path.n;
    json_path_key(&c->path, key);
    return at;
}

size_t check_enter(struct check *c, const char *key)
{
    return check_enter_key(c, slice_of(key));
}

size_t check_enter_index(struct check *c, size_t index)
{
    size_t at = c->path.n;
    json_path_index(&c->path, index);
    return at;
}

void check_leave(struct check *c, size_t at)
{
    wf_assert(at <= c->path.n);
    c->path.n = at;
}

void check_field(struct check *c, const json_t *object, const char *key, check_fn *fn)
{
    const json_t *value = json_object_get(object, key);
    if (!value || json_is_null(value))
        return;
    size_t at = check_enter(c, key);
    fn(c, value);
    check_leave(c, at);
}

void check_each(struct check *c, const json_t *object, const char *key, check_fn *fn)
{
    const json_t *list = json_object_get(object, key);
    size_t at = check_enter(c, key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        size_t item = check_enter_index(c, i);
        fn(c, json_array_get(list, i));
        check_leave(c, item);
    }
    check_leave(c, at);
}

void check_each_value(struct check *c, const json_t *object, const char *key, check_fn *fn)
{
    const json_t *map = json_object_get(object, key);
    struct arena arena = {0};
    size_t n, at = check_enter(c, key);
    struct slice *keys = json_keys_sorted(map, &arena, &n);
    for (size_t i = 0; i < n; i++) {
        size_t item = check_enter_key(c, keys[i]);
        fn(c, json_get(map, keys[i]));
        check_leave(c, item);
    }
    check_leave(c, at);
    arena_fini(&arena);
}

/* Problems. */

static void add(struct check *c, bool warning, const char *reason, const char *key, const char *fmt,
                va_list ap)
{
    struct kind_report *r = c->report;
    if (!warning)
        r->errors++;
    if (r->count == KIND_PROBLEMS_MAX)
        return;
    size_t at = c->path.n;
    if (key)
        buf_printf(&c->path, "%s%s", at ? "." : "", key);
    r->items[r->count++] = (struct kind_problem){
        .warning = warning,
        .field = arena_dup(&r->arena, buf_slice(&c->path)),
        .message = arena_vprintf(&r->arena, fmt, ap),
        .reason = reason,
    };
    check_leave(c, at);
}

#define ADD(warning, reason, key)                                                                  \
    va_list ap;                                                                                    \
    va_start(ap, fmt);                                                                             \
    add(c, warning, reason, key, fmt, ap);                                                         \
    va_end(ap)

void check_invalid(struct check *c, const char *fmt, ...)
{
    ADD(false, "FieldValueInvalid", NULL);
}

void check_required(struct check *c, const char *fmt, ...)
{
    ADD(false, "FieldValueRequired", NULL);
}

void check_warn(struct check *c, const char *fmt, ...)
{
    ADD(true, "FieldValueInvalid", NULL);
}

void check_invalid_at(struct check *c, const char *key, const char *fmt, ...)
{
    ADD(false, "FieldValueInvalid", key);
}

void check_required_at(struct check *c, const char *key, const char *fmt, ...)
{
    ADD(false, "FieldValueRequired", key);
}

void check_forbidden_at(struct check *c, const char *key, const char *fmt, ...)
{
    ADD(false, "FieldValueForbidden", key);
}

static void add_as(struct check *c, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void add_as(struct check *c, const char *reason, const char *fmt, ...)
{
    ADD(false, reason, NULL);
}

void check_duplicate(struct check *c, struct slice value)
{
    add_as(c, "FieldValueDuplicate", "\"%.*s\" is there twice", SLICE(slice_sub(value, 0, 80)));
}

void check_unsupported(struct check *c, struct slice value, const char *const *supported)
{
    struct buf list = {0};
    for (size_t i = 0; supported[i]; i++)
        buf_printf(&list, "%s%s", i ? ", " : "", supported[i]);
    add_as(c, "FieldValueNotSupported", "\"%.*s\": must be one of %.*s",
           SLICE(slice_sub(value, 0, 80)), SLICE(buf_slice(&list)));
    buf_fini(&list);
}

bool check_has(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value && !json_is_null(value);
}

size_t check_count(const json_t *object, const char *const *keys, const char **ret_last)
{
    size_t n = 0;
    for (; *keys; keys++) {
        if (!check_has(object, *keys))
            continue;
        n++;
        if (ret_last)
            *ret_last = *keys;
    }
    return n;
}
