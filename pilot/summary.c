#include "pilot/summary.h"

#include <string.h>

#include "base/core/assert.h"
#include "base/core/reader.h"

/* Distributions. */

static size_t bound(const struct summary_dist *d, reg_rev revision)
{
    size_t lo = 0, hi = d->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (d->p[mid].revision < revision)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

void summary_dist_add(struct summary_dist *d, reg_rev revision, uint32_t count)
{
    size_t i = bound(d, revision);
    if (i < d->n && d->p[i].revision == revision) {
        d->p[i].count += count;
        return;
    }
    (void)vec_push(d);
    memmove(d->p + i + 1, d->p + i, (d->n - 1 - i) * sizeof(d->p[0]));
    d->p[i] = (struct summary_bucket){revision, count};
}

void summary_dist_sub(struct summary_dist *d, reg_rev revision, uint32_t count)
{
    size_t i = bound(d, revision);
    wf_assert(i < d->n && d->p[i].revision == revision && d->p[i].count >= count);
    d->p[i].count -= count;
    if (d->p[i].count)
        return;
    memmove(d->p + i, d->p + i + 1, (d->n - 1 - i) * sizeof(d->p[0]));
    d->n--;
}

uint32_t summary_dist_at_least(const struct summary_dist *d, reg_rev revision)
{
    uint32_t n = 0;
    for (size_t i = bound(d, revision); i < d->n; i++)
        n += d->p[i].count;
    return n;
}

reg_rev summary_dist_lowest(const struct summary_dist *d)
{
    return d->n ? d->p[0].revision : UINT64_MAX;
}

void summary_dist_fini(struct summary_dist *d)
{
    mem_free(d->p);
    *d = (struct summary_dist){0};
}

/* Bytes.
 *
 * u8 format, u32 total, converged and settled (u32 n, n × {u64 revision, u32 count}), u32 left out,
 * u32 n rejections × {5 texts, u32 proxies, u32 n, n texts}; a text is u32 length and bytes. */

enum { FORMAT = 1 };

static void put_text(struct buf *b, struct slice s)
{
    s = slice_sub(s, 0, SUMMARY_TEXT_BYTES_MAX);
    buf_u32le(b, (uint32_t)s.n);
    buf_append(b, s);
}

static void put_dist(struct buf *b, const struct summary_dist *d)
{
    size_t skip = d->n > SUMMARY_BUCKETS_MAX ? d->n - SUMMARY_BUCKETS_MAX : 0;
    uint32_t low = 0; /* whoever is below the kept buckets counts with the lowest of all */
    for (size_t i = 0; i < skip; i++)
        low += d->p[i].count;
    buf_u32le(b, (uint32_t)(d->n - skip + (skip ? 1 : 0)));
    if (skip) {
        buf_u64le(b, d->p[0].revision);
        buf_u32le(b, low);
    }
    for (size_t i = skip; i < d->n; i++) {
        buf_u64le(b, d->p[i].revision);
        buf_u32le(b, d->p[i].count);
    }
}

static void put_rejection(struct buf *b, const struct summary_rejection *r)
{
    size_t sources = r->source_count < SUMMARY_SOURCES_MAX ? r->source_count : SUMMARY_SOURCES_MAX;
    put_text(b, r->type);
    put_text(b, r->resource);
    put_text(b, r->version);
    put_text(b, r->message);
    put_text(b, r->proxy);
    buf_u32le(b, r->proxies);
    buf_u32le(b, (uint32_t)sources);
    for (size_t i = 0; i < sources; i++)
        put_text(b, r->sources[i]);
}

void summary_encode(const struct summary *s, struct buf *out)
{
    size_t n =
        s->rejection_count < SUMMARY_REJECTIONS_MAX ? s->rejection_count : SUMMARY_REJECTIONS_MAX;
    buf_append_byte(out, FORMAT);
    buf_u32le(out, s->total);
    put_dist(out, &s->converged);
    put_dist(out, &s->settled);
    buf_u32le(out, s->rejections_left_out + (uint32_t)(s->rejection_count - n));
    buf_u32le(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        put_rejection(out, &s->rejections[i]);
}

static struct slice get_text(struct reader *r)
{
    uint32_t n = reader_u32le(r);
    if (n > SUMMARY_TEXT_BYTES_MAX)
        r->failed = true;
    return reader_bytes(r, n);
}

static void get_dist(struct reader *r, struct arena *arena, uint32_t total,
                     struct summary_dist *ret)
{
    uint32_t n = reader_u32le(r);
    uint64_t sum = 0;
    if (n > SUMMARY_BUCKETS_MAX + 1) {
        r->failed = true;
        return;
    }
    ret->p = ARENA_ARRAY(arena, struct summary_bucket, n);
    ret->n = ret->cap = n;
    for (uint32_t i = 0; i < n; i++) {
        ret->p[i].revision = reader_u64le(r);
        ret->p[i].count = reader_u32le(r);
        sum += ret->p[i].count;
        if (!ret->p[i].count || (i && ret->p[i].revision <= ret->p[i - 1].revision))
            r->failed = true;
    }
    if (sum != total)
        r->failed = true;
}

static void get_rejection(struct reader *r, struct arena *arena, struct summary_rejection *ret)
{
    ret->type = get_text(r);
    ret->resource = get_text(r);
    ret->version = get_text(r);
    ret->message = get_text(r);
    ret->proxy = get_text(r);
    ret->proxies = reader_u32le(r);
    uint32_t n = reader_u32le(r);
    if (n > SUMMARY_SOURCES_MAX) {
        r->failed = true;
        return;
    }
    struct slice *sources = ARENA_ARRAY(arena, struct slice, n);
    for (uint32_t i = 0; i < n; i++)
        sources[i] = get_text(r);
    ret->sources = sources;
    ret->source_count = n;
}

bool summary_decode(struct slice bytes, struct arena *arena, struct summary *ret_summary,
                    struct err *err)
{
    struct reader r = reader_of(bytes);
    struct summary s = {0};
    uint8_t format = reader_u8(&r);
    s.total = reader_u32le(&r);
    get_dist(&r, arena, s.total, &s.converged);
    get_dist(&r, arena, s.total, &s.settled);
    s.rejections_left_out = reader_u32le(&r);
    uint32_t n = reader_u32le(&r);
    if (!reader_ok(&r) || format != FORMAT || n > SUMMARY_REJECTIONS_MAX)
        return err_set(err, ERR_INVALID, "summary: malformed at byte %zu", reader_offset(&r));
    struct summary_rejection *rejections = ARENA_ARRAY(arena, struct summary_rejection, n);
    for (uint32_t i = 0; i < n; i++)
        get_rejection(&r, arena, &rejections[i]);
    if (!reader_done(&r))
        return err_set(err, ERR_INVALID, "summary: malformed at byte %zu", reader_offset(&r));
    s.rejections = rejections;
    s.rejection_count = n;
    *ret_summary = s;
    return true;
}

struct summary summary_copy(const struct summary *s, struct arena *arena)
{
    struct buf bytes = {0};
    struct summary out = {0};
    struct err err;
    summary_encode(s, &bytes);
    struct slice kept = arena_dup(arena, buf_slice(&bytes));
    buf_fini(&bytes);
    bool ok = summary_decode(kept, arena, &out, &err);
    wf_assert(ok);
    return out;
}

/* Sums. */

int summary_cmp_rejection(const void *a, const void *b)
{
    const struct summary_rejection *x = a, *y = b;
    int c = slice_cmp(x->type, y->type);
    c = c ? c : slice_cmp(x->resource, y->resource);
    c = c ? c : slice_cmp(x->version, y->version);
    return c ? c : slice_cmp(x->message, y->message);
}

static void sum_dist(struct summary_dist *into, const struct summary_dist *d, uint32_t count)
{
    for (size_t i = 0; i < d->n && count; i++) {
        uint32_t n = d->p[i].count < count ? d->p[i].count : count;
        summary_dist_add(into, d->p[i].revision, n);
        count -= n;
    }
}

static void sum_rejection(struct summary_sum *m, const struct summary_rejection *r,
                          uint32_t proxies)
{
    size_t at = 0;
    while (at < m->out.rejection_count && summary_cmp_rejection(&m->r[at], r) != 0)
        at++;
    if (at < m->out.rejection_count) {
        m->r[at].proxies += proxies;
    } else if (at < ARRAY_LEN(m->r)) {
        m->r[m->out.rejection_count++] = *r;
        m->r[at].proxies = proxies;
    } else {
        m->out.rejections_left_out++;
    }
}

void summary_sum_add(struct summary_sum *m, const struct summary *s, uint32_t count)
{
    wf_assert(count <= s->total);
    if (!count)
        return;
    m->out.total += count;
    sum_dist(&m->out.converged, &s->converged, count);
    sum_dist(&m->out.settled, &s->settled, count);
    for (size_t i = 0; i < s->rejection_count; i++) {
        uint32_t n = s->rejections[i].proxies;
        sum_rejection(m, &s->rejections[i], n < count ? n : count);
    }
    m->out.rejections_left_out += s->rejections_left_out;
}

struct summary summary_sum_end(struct summary_sum *m, struct arena *arena)
{
    m->out.rejections = m->r;
    struct summary s = summary_copy(&m->out, arena);
    summary_dist_fini(&m->out.converged);
    summary_dist_fini(&m->out.settled);
    return s;
}
