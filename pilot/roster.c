#include "pilot/roster.h"

#include <string.h>

#include "base/core/assert.h"
#include "base/core/reader.h"
#include "pilot/pilot_limits.h"

static size_t bound(const struct roster *r, uint64_t proxy)
{
    size_t lo = 0, hi = r->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (r->p[mid] < proxy)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

void roster_add(struct roster *r, uint64_t proxy)
{
    size_t i = bound(r, proxy);
    (void)vec_push(r);
    memmove(r->p + i + 1, r->p + i, (r->n - 1 - i) * sizeof(r->p[0]));
    r->p[i] = proxy;
}

void roster_remove(struct roster *r, uint64_t proxy)
{
    size_t i = bound(r, proxy);
    wf_assert(i < r->n && r->p[i] == proxy);
    memmove(r->p + i, r->p + i + 1, (r->n - 1 - i) * sizeof(r->p[0]));
    r->n--;
}

void roster_fini(struct roster *r)
{
    mem_free(r->p);
    *r = (struct roster){0};
}

struct roster roster_copy(const struct roster *r)
{
    struct roster out = {.p = mem_array(r->n + 1, sizeof(*r->p)), .n = r->n, .cap = r->n + 1};
    if (r->n)
        memcpy(out.p, r->p, r->n * sizeof(*r->p));
    return out;
}

/* How often it is there. */
static size_t count(const struct roster *r, uint64_t proxy)
{
    size_t n = 0;
    for (size_t i = bound(r, proxy); i < r->n && r->p[i] == proxy; i++)
        n++;
    return n;
}

uint32_t roster_missing(const struct roster *r, const struct roster *const *others, size_t n)
{
    size_t left = 0, here = 0;
    for (size_t i = 0; i < r->n; i += here) {
        size_t there = 0;
        here = count(r, r->p[i]);
        for (size_t k = 0; k < n; k++)
            there += count(others[k], r->p[i]);
        left += here > there ? here - there : 0;
    }
    return (uint32_t)left;
}

/* Bytes: u8 format (another than a summary's), u32 n, n × u64, none below the one before. */

enum { FORMAT = 2 };

void roster_encode(const struct roster *r, struct buf *out)
{
    size_t n = r->n < ROSTER_MAX ? r->n : ROSTER_MAX;
    buf_append_byte(out, FORMAT);
    buf_u32le(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        buf_u64le(out, r->p[i]);
}

bool roster_is(struct slice bytes)
{
    return bytes.n > 0 && bytes.p[0] == FORMAT;
}

bool roster_decode(struct slice bytes, struct roster *ret_roster, struct err *err)
{
    struct reader r = reader_of(bytes);
    struct roster out = {0};
    uint8_t format = reader_u8(&r);
    uint32_t n = reader_u32le(&r);
    if (!reader_ok(&r) || format != FORMAT || n > ROSTER_MAX ||
        reader_left(&r) != n * sizeof(*out.p))
        return err_set(err, ERR_INVALID, "roster: malformed");
    out.p = mem_array(n + 1, sizeof(*out.p));
    out.n = n;
    out.cap = n + 1;
    bool sorted = true;
    for (uint32_t i = 0; i < n; i++) {
        out.p[i] = reader_u64le(&r);
        sorted &= i == 0 || out.p[i - 1] <= out.p[i];
    }
    if (!sorted) {
        roster_fini(&out);
        return err_set(err, ERR_INVALID, "roster: out of order");
    }
    *ret_roster = out;
    return true;
}
