#include "pilot/ads/names.h"

#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/mem.h"

struct ads_name *ads_name_intern(struct ads_names *names, struct slice text)
{
    if (!text.n) /* an empty name has no address; a key needs one */
        text = S("");
    struct ads_name *name = map_get(&names->map, text);
    if (name) {
        name->refs++;
        return name;
    }
    name = mem_new(sizeof(*name) + text.n + 1);
    name->refs = 1;
    name->n = (uint32_t)text.n;
    if (text.n)
        memcpy(name->text, text.p, text.n);
    map_put(&names->map, ads_name_slice(name), name);
    return name;
}

struct ads_name *ads_name_ref(struct ads_name *name)
{
    wf_assert(name->refs > 0);
    name->refs++;
    return name;
}

void ads_name_unref(struct ads_names *names, struct ads_name *name)
{
    if (!name)
        return;
    wf_assert(name->refs > 0);
    if (--name->refs)
        return;
    map_del(&names->map, ads_name_slice(name));
    mem_free(name);
}

void ads_names_fini(struct ads_names *names)
{
    wf_assert(names->map.n == 0);
    map_fini(&names->map);
}

/* First index whose name is not below. */
static uint32_t lower_bound(const struct ads_nameset *set, struct slice name)
{
    uint32_t lo = 0, hi = set->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (slice_cmp(ads_name_slice(set->p[mid]), name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool ads_nameset_has(const struct ads_nameset *set, struct slice name)
{
    uint32_t i = lower_bound(set, name);
    return i < set->n && slice_eq(ads_name_slice(set->p[i]), name);
}

static int cmp_names(const void *a, const void *b)
{
    const struct ads_name *const *x = a, *const *y = b;
    return ads_name_cmp(*x, *y);
}

static void reserve(struct ads_nameset *set, size_t n)
{
    if (n <= set->cap)
        return;
    /* Exact for the one big request that is usual, some room for what trickles. */
    set->cap = (uint32_t)(set->n ? n + n / 4 : n);
    set->p = mem_resize(set->p, set->cap * sizeof(set->p[0]));
}

void ads_nameset_add(struct ads_nameset *set, struct ads_names *names, const struct slice *v,
                     size_t n)
{
    uint32_t old = set->n;
    reserve(set, old + n);
    for (size_t i = 0; i < n; i++) {
        uint32_t at = old ? lower_bound(&(struct ads_nameset){set->p, old, 0}, v[i]) : 0;
        if (at < old && slice_eq(ads_name_slice(set->p[at]), v[i]))
            continue;
        set->p[set->n++] = ads_name_intern(names, v[i]);
    }
    uint32_t fresh = set->n - old;
    if (!fresh)
        return;
    qsort(set->p + old, fresh, sizeof(set->p[0]), cmp_names);
    uint32_t kept = old;
    for (uint32_t i = old; i < set->n; i++) {
        if (i > old && set->p[i] == set->p[kept - 1])
            ads_name_unref(names, set->p[i]);
        else
            set->p[kept++] = set->p[i];
    }
    set->n = kept;
    if (old && cmp_names(&set->p[old - 1], &set->p[old]) > 0)
        qsort(set->p, set->n, sizeof(set->p[0]), cmp_names);
}

bool ads_nameset_del(struct ads_nameset *set, struct ads_names *names, struct slice name)
{
    uint32_t i = lower_bound(set, name);
    if (i == set->n || !slice_eq(ads_name_slice(set->p[i]), name))
        return false;
    ads_name_unref(names, set->p[i]);
    memmove(set->p + i, set->p + i + 1, (set->n - i - 1) * sizeof(set->p[0]));
    set->n--;
    return true;
}

void ads_nameset_fini(struct ads_nameset *set, struct ads_names *names)
{
    for (uint32_t i = 0; i < set->n; i++)
        ads_name_unref(names, set->p[i]);
    mem_free(set->p);
    *set = (struct ads_nameset){0};
}
