#include "base/core/reader.h"

#include <string.h>

struct reader reader_of(struct slice s)
{
    /* An empty slice may have no address; the reader always has one, so that positions subtract. */
    const unsigned char *p = (const unsigned char *)(s.p ? s.p : "");
    return (struct reader){.start = p, .pos = p, .end = p + s.n};
}

/* The next n bytes, or NULL after marking the failure. */
static const unsigned char *take(struct reader *r, uint64_t n)
{
    if (r->failed || n > (uint64_t)(r->end - r->pos)) {
        r->failed = true;
        return NULL;
    }
    const unsigned char *p = r->pos;
    r->pos += n;
    return p;
}

static uint64_t take_le(struct reader *r, size_t n)
{
    const unsigned char *p = take(r, n);
    uint64_t v = 0;
    for (size_t i = 0; p && i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint8_t reader_u8(struct reader *r)
{
    return (uint8_t)take_le(r, 1);
}

uint16_t reader_u16le(struct reader *r)
{
    return (uint16_t)take_le(r, 2);
}

uint32_t reader_u32le(struct reader *r)
{
    return (uint32_t)take_le(r, 4);
}

uint64_t reader_u64le(struct reader *r)
{
    return take_le(r, 8);
}

uint64_t reader_varint(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        const unsigned char *p = take(r, 1);
        if (!p)
            return 0;
        /* The tenth byte has room for one bit only. */
        if (shift == 63 && *p > 1)
            break;
        v |= (uint64_t)(*p & 0x7Fu) << shift;
        if (*p < 0x80)
            return v;
    }
    r->failed = true;
    return 0;
}

struct slice reader_bytes(struct reader *r, uint64_t n)
{
    const unsigned char *p = take(r, n);
    return p ? slice_mem(p, (size_t)n) : (struct slice){0};
}

size_t reader_left(const struct reader *r)
{
    return r->failed ? 0 : (size_t)(r->end - r->pos);
}

size_t reader_offset(const struct reader *r)
{
    return (size_t)(r->pos - r->start);
}

bool reader_ok(const struct reader *r)
{
    return !r->failed;
}

bool reader_done(const struct reader *r)
{
    return !r->failed && r->pos == r->end;
}
