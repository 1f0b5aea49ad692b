#include <string.h>

#include "base/core/assert.h"
#include "base/wire/http1_int.h"
#include "base/wire/scan.h"

/* size -> ext? -> size_lf -> data -> data_cr -> data_lf -> size … -> trailers -> done */
enum chunk_state {
    CHUNK_SIZE, /* zero: where a body starts */
    CHUNK_EXT,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_TRAILERS,
    CHUNK_OVER,
};

#define CHUNK_DIGITS 15 /* 2^60 bytes: no addition of lengths can overflow */

static uint8_t hex_value(char c)
{
    return (uint8_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

static bool on_size(struct http1_chunked *c, char b)
{
    if (scan_is(b, SCAN_HEX)) {
        c->left = c->left << 4 | hex_value(b);
        return ++c->digits <= CHUNK_DIGITS;
    }
    c->state = b == '\r' ? CHUNK_SIZE_LF : CHUNK_EXT;
    c->ext = 0;
    return c->digits && (b == '\r' || b == ';');
}

/* Extensions are skipped (RFC 9112 §7.1.1), but they are work for nothing: bounded. */
static bool on_ext(struct http1_chunked *c, char b)
{
    if (b == '\r') {
        c->state = CHUNK_SIZE_LF;
        return true;
    }
    return scan_is(b, SCAN_VALUE) && ++c->ext <= HTTP1_CHUNK_EXT_BYTES &&
           ++c->ext_total <= HTTP1_CHUNK_EXT_TOTAL;
}

/* A byte of the framing around the data. */
static bool on_byte(struct http1_chunked *c, char b)
{
    switch (c->state) {
    case CHUNK_SIZE:
        return on_size(c, b);
    case CHUNK_EXT:
        return on_ext(c, b);
    case CHUNK_SIZE_LF:
        c->state = c->left ? CHUNK_DATA : CHUNK_TRAILERS;
        return b == '\n';
    case CHUNK_DATA_CR:
        c->state = CHUNK_DATA_LF;
        return b == '\r';
    case CHUNK_DATA_LF:
        c->state = CHUNK_SIZE;
        c->digits = 0;
        return b == '\n';
    default:
        wf_unreachable("state without framing bytes");
    }
}

static bool trailer_forbidden(const struct header *h)
{
    switch (h->id) {
    case HDR_HOST:
    case HDR_CONTENT_LENGTH:
    case HDR_TRANSFER_ENCODING:
    case HDR_CONNECTION:
    case HDR_TE:
    case HDR_TRAILER:
    case HDR_UPGRADE:
    case HDR_EXPECT:
    case HDR_AUTHORIZATION:
    case HDR_COOKIE:
    case HDR_SET_COOKIE:
    case HDR_CONTENT_TYPE:
    case HDR_CONTENT_ENCODING:
    case HDR_CONTENT_RANGE:
    case HDR_RANGE:
    case HDR_X_FORWARDED_FOR:
    case HDR_X_FORWARDED_CLIENT_CERT:
        return true;
    default:
        return false;
    }
}

static enum http1_fault trailer_fields(struct cursor *c, struct header *store, uint32_t *ret_n)
{
    for (uint32_t n = 0;; n++) {
        bool end = false;
        enum http1_fault f = http1_field(c, &store[n], &end);
        if (f)
            return f;
        if (end) {
            *ret_n = n;
            return HTTP1_OK;
        }
        if (n == HTTP1_HEADERS)
            return HTTP1_TOO_MANY_HEADERS;
        if (trailer_forbidden(&store[n]))
            return HTTP1_BAD_TRAILER;
    }
}

static enum http1_result trailers(struct http1_chunked *c, struct slice *in, struct arena *arena,
                                  struct headers *ret)
{
    if (!in->n)
        return HTTP1_MORE;
    if (in->p[0] != '\r' && !http1_worth_parsing(&c->trailer, *in, HTTP1_TRAILER_BYTES))
        return HTTP1_MORE;
    struct cursor at = {in->p, in->p + in->n};
    struct header store[HTTP1_HEADERS + 1];
    uint32_t n = 0;
    enum http1_fault f = trailer_fields(&at, store, &n);
    size_t used = (size_t)(at.p - in->p);
    enum http1_result r = http1_settle(&c->trailer, *in, used, HTTP1_TRAILER_BYTES, f);
    c->fault = c->trailer.fault;
    if (r == HTTP1_DONE) {
        c->state = CHUNK_OVER;
        *ret = n ? http1_keep(arena, store, n) : (struct headers){0};
        *in = slice_skip(*in, used);
    }
    return r;
}

static struct slice data(struct http1_chunked *c, struct slice *in)
{
    struct slice span = slice_sub(*in, 0, c->left < in->n ? (size_t)c->left : in->n);
    *in = slice_skip(*in, span.n);
    c->left -= span.n;
    if (!c->left)
        c->state = CHUNK_DATA_CR;
    return span;
}

enum http1_result http1_chunked_next(struct http1_chunked *c, struct slice *in, struct arena *arena,
                                     struct slice *ret_data, struct headers *ret_trailers)
{
    wf_assert(c->state != CHUNK_OVER);
    *ret_data = (struct slice){0};
    if (c->fault)
        return HTTP1_BAD;
    while (in->n && c->state != CHUNK_DATA && c->state != CHUNK_TRAILERS) {
        if (!on_byte(c, in->p[0])) {
            c->fault = HTTP1_BAD_CHUNK;
            return HTTP1_BAD;
        }
        *in = slice_skip(*in, 1);
    }
    if (c->state == CHUNK_TRAILERS)
        return trailers(c, in, arena, ret_trailers);
    if (in->n)
        *ret_data = data(c, in);
    return HTTP1_MORE;
}

struct slice http1_chunk_head(char dst[HTTP1_CHUNK_HEAD_BYTES], uint64_t n)
{
    wf_assert(n > 0); /* the chunk of 0 bytes ends the body */
    char *end = dst + HTTP1_CHUNK_HEAD_BYTES, *p = end;
    *--p = '\n';
    *--p = '\r';
    for (; n; n >>= 4)
        *--p = "0123456789abcdef"[n & 15];
    return (struct slice){p, (size_t)(end - p)};
}
