#include "pilot/snapshot/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/core/mem.h"

/* Versions. */

struct slice xds_version_format(struct xds_version v, char *dst)
{
    int n = snprintf(dst, XDS_VERSION_TEXT, "%" PRIu64 ".%016" PRIx64, v.revision, v.hash);
    wf_assert(n > 0 && n < XDS_VERSION_TEXT);
    return (struct slice){dst, (size_t)n};
}

static bool hex16(struct slice s, uint64_t *ret)
{
    uint64_t v = 0;
    if (s.n != 16)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *ret = v;
    return true;
}

bool xds_version_parse(struct slice text, struct xds_version *ret_version)
{
    struct slice rev, hex;
    struct xds_version v;
    if (text.n >= XDS_VERSION_TEXT || !slice_cut(text, '.', &rev, &hex))
        return false;
    if (!slice_u64(rev, &v.revision) || (rev.n > 1 && rev.p[0] == '0') || !hex16(hex, &v.hash))
        return false;
    *ret_version = v;
    return true;
}

bool xds_version_in_sync(struct xds_version client, struct xds_version server)
{
    return client.hash == server.hash && client.revision >= server.revision;
}

/* Resources. */

static int cmp_slice(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static struct slice put(char **at, struct slice s)
{
    struct slice out = {*at, s.n};
    if (s.n)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return out;
}

struct xds_resource *xds_resource_new(const struct xds_resource_parts *p)
{
    size_t bytes = sizeof(struct xds_resource) + p->source_count * sizeof(struct slice);
    size_t text = p->name.n + p->body.n + p->follows.n;
    for (size_t i = 0; i < p->source_count; i++)
        text += p->sources[i].n;

    struct xds_resource *r = mem_resize(NULL, bytes + text); /* half a megabyte: not zeroed first */
    struct slice *sources = (struct slice *)(void *)(r + 1);
    char *at = (char *)(sources + p->source_count);
    *r = (struct xds_resource){.type = p->type, .version = {p->revision, hash_bytes(p->body)}};
    atomic_init(&r->refs, 1);
    r->name = put(&at, p->name);
    r->body = put(&at, p->body);
    r->follows = put(&at, p->follows);
    for (size_t i = 0; i < p->source_count; i++)
        sources[i] = p->sources[i];
    if (p->source_count)
        qsort(sources, p->source_count, sizeof(*sources), cmp_slice);
    for (size_t i = 0; i < p->source_count; i++)
        if (r->source_count == 0 || !slice_eq(sources[r->source_count - 1], sources[i]))
            sources[r->source_count++] = put(&at, sources[i]);
    r->sources = sources;
    return r;
}

struct xds_resource *xds_resource_ref(struct xds_resource *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

/* true: that was the last reference. */
static bool drop(atomic_uint *refs)
{
    unsigned before = atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel);
    wf_assert(before > 0);
    return before == 1;
}

void xds_resource_unref(struct xds_resource *r)
{
    if (r && drop(&r->refs))
        mem_free(r);
}

/* Lists. */

static int cmp_resource(const void *a, const void *b)
{
    const struct xds_resource *const *x = a, *const *y = b;
    return slice_cmp((*x)->name, (*y)->name);
}

static struct xds_resource *find_in(const struct xds_list *l, struct slice name)
{
    size_t lo = 0, hi = l->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = slice_cmp(l->items[mid]->name, name);
        if (c == 0)
            return l->items[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* What an item adds to its list's hash: a sum, so that a change costs the same in a long list. */
static uint64_t item_hash(const struct xds_resource *r)
{
    return hash_bytes_seed(r->name, r->version.hash ^ hash_u64(r->version.revision));
}

static bool in_order(struct xds_resource *const *items, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (slice_cmp(items[i - 1]->name, items[i]->name) >= 0)
            return false;
    return true;
}

struct xds_list *xds_list_new(struct xds_list *base, struct xds_resource *const *items, size_t n)
{
    wf_assert(!base || !base->base);
    struct xds_list *l = mem_new(sizeof(*l) + n * sizeof(l->items[0]));
    *l = (struct xds_list){.n = n};
    atomic_init(&l->refs, 1);
    if (base) {
        l->base = xds_list_ref(base);
        l->revision = base->revision;
        l->hash = hash_u64(base->hash);
    }
    if (n)
        memcpy(l->items, items, n * sizeof(l->items[0]));
    if (!in_order(l->items, n)) {
        qsort(l->items, n, sizeof(l->items[0]), cmp_resource);
        wf_assert(in_order(l->items, n)); /* names are unique */
    }
    for (size_t i = 0; i < n; i++) {
        struct xds_resource *r = xds_resource_ref(l->items[i]);
        wf_assert(!base || !find_in(base, r->name));
        l->revision = r->version.revision > l->revision ? r->version.revision : l->revision;
        l->hash += item_hash(r);
    }
    return l;
}

static reg_rev list_revision(const struct xds_list *l)
{
    reg_rev rev = l->base ? l->base->revision : 0;
    for (size_t i = 0; i < l->n; i++)
        rev = l->items[i]->version.revision > rev ? l->items[i]->version.revision : rev;
    return rev;
}

struct xds_list *xds_list_patched(const struct xds_list *was, const struct xds_list_patch *p,
                                  size_t n)
{
    size_t bytes = sizeof(*was) + was->n * sizeof(was->items[0]);
    struct xds_list *l = mem_new(bytes);
    *l = (struct xds_list){.revision = was->revision, .hash = was->hash, .n = was->n};
    atomic_init(&l->refs, 1);
    l->base = was->base ? xds_list_ref(was->base) : NULL;
    memcpy(l->items, was->items, was->n * sizeof(was->items[0]));
    bool lower = false;
    for (size_t i = 0; i < n; i++) {
        struct xds_resource **item = &l->items[p[i].at];
        wf_assert(p[i].at < l->n && slice_eq((*item)->name, p[i].is->name));
        lower = lower || ((*item)->version.revision == l->revision &&
                          p[i].is->version.revision < l->revision);
        l->hash += item_hash(p[i].is) - item_hash(*item);
        if (p[i].is->version.revision > l->revision)
            l->revision = p[i].is->version.revision;
        *item = p[i].is;
    }
    for (size_t i = 0; i < l->n; i++)
        xds_resource_ref(l->items[i]);
    if (lower)
        l->revision = list_revision(l);
    return l;
}

struct xds_list *xds_list_ref(struct xds_list *l)
{
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    return l;
}

void xds_list_unref(struct xds_list *l)
{
    if (!l || !drop(&l->refs))
        return;
    for (size_t i = 0; i < l->n; i++)
        xds_resource_unref(l->items[i]);
    xds_list_unref(l->base);
    mem_free(l);
}

struct xds_resource *xds_list_find(const struct xds_list *l, struct slice name)
{
    if (!l)
        return NULL;
    struct xds_resource *r = find_in(l, name);
    return r || !l->base ? r : find_in(l->base, name);
}

size_t xds_list_count(const struct xds_list *l)
{
    return l ? l->n + (l->base ? l->base->n : 0) : 0;
}

struct xds_resource *xds_list_next(struct xds_list_iter *it)
{
    const struct xds_list *l = it->list, *base = l ? l->base : NULL;
    struct xds_resource *own = l && it->own < l->n ? l->items[it->own] : NULL;
    struct xds_resource *shared = base && it->shared < base->n ? base->items[it->shared] : NULL;
    if (own && (!shared || slice_cmp(own->name, shared->name) < 0)) {
        it->own++;
        return own;
    }
    it->shared += shared ? 1 : 0;
    return shared;
}

typedef void diff_fn(void *ctx, struct xds_resource *was, struct xds_resource *is);

static void diff_iters(struct xds_list_iter *x, struct xds_list_iter *y, diff_fn *fn, void *ctx)
{
    struct xds_resource *a = xds_list_next(x), *b = xds_list_next(y);
    while (a || b) {
        int c = !a ? 1 : !b ? -1 : slice_cmp(a->name, b->name);
        if (c < 0)
            fn(ctx, a, NULL);
        else if (c > 0)
            fn(ctx, NULL, b);
        else if (a != b)
            fn(ctx, a, b);
        a = c <= 0 ? xds_list_next(x) : a;
        b = c >= 0 ? xds_list_next(y) : b;
    }
}

void xds_list_diff(const struct xds_list *was, const struct xds_list *is, diff_fn *fn, void *ctx)
{
    if (was == is)
        return;
    struct xds_list_iter x = {.list = was}, y = {.list = is};
    /* The same base has no differences, and its names are in neither list's own layer. */
    if (was && is && was->base && was->base == is->base)
        x.shared = y.shared = was->base->n;
    diff_iters(&x, &y, fn, ctx);
}

/* Views and snapshots. */

struct xds_view *xds_view_new(uint64_t class_id, struct xds_list *const lists[XDS_TYPE_COUNT])
{
    struct xds_view *v = MEM_NEW(struct xds_view);
    v->class_id = class_id;
    atomic_init(&v->refs, 1);
    for (size_t i = 0; i < XDS_TYPE_COUNT; i++)
        v->types[i] = lists[i] ? xds_list_ref(lists[i]) : NULL;
    return v;
}

struct xds_view *xds_view_ref(struct xds_view *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void xds_view_unref(struct xds_view *v)
{
    if (!v || !drop(&v->refs))
        return;
    for (size_t i = 0; i < XDS_TYPE_COUNT; i++)
        xds_list_unref(v->types[i]);
    mem_free(v);
}

static int cmp_view(const void *a, const void *b)
{
    const struct xds_view *const *x = a, *const *y = b;
    return (*x)->class_id < (*y)->class_id ? -1 : (*x)->class_id > (*y)->class_id;
}

struct xds_snapshot *xds_snapshot_new(reg_rev revision, struct xds_view *const *views, size_t n)
{
    struct xds_snapshot *s = mem_new(sizeof(*s) + n * sizeof(s->views[0]));
    s->revision = revision;
    s->n = n;
    atomic_init(&s->refs, 1);
    for (size_t i = 0; i < n; i++)
        s->views[i] = xds_view_ref(views[i]);
    if (n)
        qsort(s->views, n, sizeof(s->views[0]), cmp_view);
    for (size_t i = 1; i < n; i++)
        wf_assert(s->views[i - 1]->class_id < s->views[i]->class_id);
    return s;
}

struct xds_snapshot *xds_snapshot_ref(struct xds_snapshot *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void xds_snapshot_unref(struct xds_snapshot *s)
{
    if (!s || !drop(&s->refs))
        return;
    for (size_t i = 0; i < s->n; i++)
        xds_view_unref(s->views[i]);
    mem_free(s);
}

struct xds_view *xds_snapshot_view(const struct xds_snapshot *s, uint64_t class_id)
{
    size_t lo = 0, hi = s ? s->n : 0;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->views[mid]->class_id == class_id)
            return s->views[mid];
        if (s->views[mid]->class_id < class_id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}
