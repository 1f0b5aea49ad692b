#include "pilot/model/json_read.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "api/duration.h"
#include "base/core/hash.h"

const json_t *jr_get(const json_t *o, const char *field)
{
    return json_object_get(o, field);
}

const json_t *jr_path(const json_t *o, ...)
{
    va_list ap;
    va_start(ap, o);
    for (const char *f; o && (f = va_arg(ap, const char *));)
        o = json_object_get(o, f);
    va_end(ap);
    return o;
}

struct slice jr_str(const json_t *o, const char *field)
{
    return json_slice(json_object_get(o, field));
}

bool jr_bool(const json_t *o, const char *field)
{
    return json_is_true(json_object_get(o, field));
}

uint64_t jr_u64(const json_t *o, const char *field, uint64_t absent)
{
    const json_t *v = json_object_get(o, field);
    uint64_t n;
    if (json_is_integer(v))
        return json_integer_value(v) >= 0 ? (uint64_t)json_integer_value(v) : absent;
    if (json_is_real(v))
        return json_real_value(v) >= 0 && json_real_value(v) < 1e18 ? (uint64_t)json_real_value(v)
                                                                    : absent;
    return slice_u64(json_slice(v), &n) ? n : absent;
}

uint32_t jr_u32(const json_t *o, const char *field, uint32_t absent)
{
    uint64_t n = jr_u64(o, field, absent);
    return n <= UINT32_MAX ? (uint32_t)n : absent;
}

double jr_double(const json_t *o, const char *field, double absent)
{
    const json_t *v = json_object_get(o, field);
    return json_is_number(v) ? json_number_value(v) : absent;
}

bool jr_duration(const json_t *o, const char *field, int64_t *ret_ns)
{
    int64_t ns;
    if (!duration_parse(jr_str(o, field), &ns) || ns < 0)
        return false;
    *ret_ns = ns;
    return true;
}

size_t jr_len(const json_t *array)
{
    return json_array_size(array);
}

const json_t *jr_at(const json_t *array, size_t i)
{
    return json_array_get(array, i);
}

/* Maps of strings. */

static int cmp_pair(const void *a, const void *b)
{
    return slice_cmp(((const struct jr_pair *)a)->name, ((const struct jr_pair *)b)->name);
}

struct jr_pairs jr_pairs(const json_t *map, struct arena *arena)
{
    size_t n = 0, size = json_object_size(map);
    if (!size)
        return (struct jr_pairs){0};
    struct jr_pair *p = ARENA_ARRAY(arena, struct jr_pair, size);
    const char *name;
    json_t *v;
    json_object_foreach ((json_t *)map, name, v)
        if (json_is_string(v))
            p[n++] = (struct jr_pair){slice_of(name), json_slice(v)};
    if (n)
        qsort(p, n, sizeof(*p), cmp_pair);
    return (struct jr_pairs){p, n};
}

static const struct jr_pair *pairs_find(struct jr_pairs pairs, struct slice name)
{
    struct jr_pair key = {.name = name};
    return pairs.n ? bsearch(&key, pairs.p, pairs.n, sizeof(key), cmp_pair) : NULL;
}

struct slice jr_pairs_get(struct jr_pairs pairs, struct slice name)
{
    const struct jr_pair *p = pairs_find(pairs, name);
    return p ? p->value : (struct slice){0};
}

bool jr_pairs_select(struct jr_pairs selector, struct jr_pairs labels)
{
    for (size_t i = 0; i < selector.n; i++) {
        const struct jr_pair *p = pairs_find(labels, selector.p[i].name);
        if (!p || !slice_eq(p->value, selector.p[i].value))
            return false;
    }
    return true;
}

struct jr_pairs jr_pairs_merge(struct jr_pairs under, struct jr_pairs over, struct arena *arena)
{
    if (!under.n || !over.n)
        return under.n ? under : over;
    struct jr_pair *p = ARENA_ARRAY(arena, struct jr_pair, under.n + over.n);
    size_t n = 0, i = 0, j = 0;
    while (i < under.n || j < over.n) {
        int c = i == under.n ? 1 : j == over.n ? -1 : cmp_pair(&under.p[i], &over.p[j]);
        p[n++] = c < 0 ? under.p[i] : over.p[j];
        i += c <= 0;
        j += c >= 0;
    }
    return (struct jr_pairs){p, n};
}

static uint64_t hash_list(const json_t *v)
{
    uint64_t h = hash_u64(json_array_size(v) + JSON_ARRAY);
    for (size_t i = 0; i < json_array_size(v); i++)
        h = hash_u64(h ^ jr_hash(json_array_get(v, i)));
    return h;
}

/* The order of fields does not count. */
static uint64_t hash_object(const json_t *v)
{
    json_t *o = (json_t *)(uintptr_t)v;
    uint64_t h = hash_u64(json_object_size(v) + JSON_OBJECT);
    for (void *it = json_object_iter(o); it; it = json_object_iter_next(o, it)) {
        struct slice key = slice_mem(json_object_iter_key(it), json_object_iter_key_len(it));
        h += hash_bytes_seed(key, jr_hash(json_object_iter_value(it)));
    }
    return h;
}

uint64_t jr_hash(const json_t *v)
{
    double real;
    uint64_t bits;
    if (!v)
        return 0;
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return hash_object(v);
    case JSON_ARRAY:
        return hash_list(v);
    case JSON_STRING:
        return hash_bytes_seed(json_slice(v), JSON_STRING);
    case JSON_INTEGER:
        return hash_u64((uint64_t)json_integer_value(v) + JSON_INTEGER);
    case JSON_REAL:
        real = json_real_value(v);
        memcpy(&bits, &real, sizeof(bits));
        return hash_u64(bits + JSON_REAL);
    default:
        return hash_u64((uint64_t)json_typeof(v) + 1);
    }
}
