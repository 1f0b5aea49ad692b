#include <string.h>

#include "base/core/assert.h"
#include "base/wire/h2_int.h"
#include "base/wire/scan.h"

static struct slice of(nghttp2_rcbuf *rc)
{
    nghttp2_vec v = nghttp2_rcbuf_get_buf(rc);
    return (struct slice){(const char *)v.base, v.len};
}

static void grow(struct h2_block *b)
{
    uint32_t cap = b->cap * 4;
    struct header *fields = mem_array(cap, sizeof(*fields));
    nghttp2_rcbuf **refs = mem_array(2 * (size_t)cap, sizeof(*refs));
    memcpy(fields, b->head.headers.p, b->head.headers.n * sizeof(*fields));
    memcpy(refs, b->refs, b->ref_n * sizeof(*refs));
    if (b->refs != b->refs_inline) {
        mem_free(b->refs);
        mem_free(b->big);
    }
    b->refs = refs;
    b->big = fields;
    b->cap = cap;
    b->head.headers.p = fields;
    b->head.headers.cap = cap;
}

static struct slice hold(struct h2_block *b, nghttp2_rcbuf *rc)
{
    if (b->ref_n == 2 * b->cap)
        grow(b);
    nghttp2_rcbuf_incref(rc);
    b->refs[b->ref_n++] = rc;
    return of(rc);
}

static uint16_t status_of(struct slice v)
{
    uint32_t n;
    return slice_u32(v, &n) && n >= 100 && n <= 599 ? (uint16_t)n : 0;
}

/* nghttp2 has checked that each comes once, in front, and where it may. */
static void on_pseudo(struct h2_block *b, enum header_id id, nghttp2_rcbuf *value)
{
    struct slice v = hold(b, value);
    struct http_head *h = &b->head;
    switch (id) {
    case HDR_PSEUDO_METHOD:
        h->method = v;
        h->method_id = (uint8_t)http_method_parse(v);
        break;
    case HDR_PSEUDO_SCHEME:
        h->scheme = v;
        break;
    case HDR_PSEUDO_AUTHORITY:
        h->authority = v;
        break;
    case HDR_PSEUDO_PATH:
        h->path = v;
        break;
    case HDR_PSEUDO_PROTOCOL:
        h->protocol = v;
        break;
    case HDR_PSEUDO_STATUS:
        h->status = status_of(v);
        b->invalid |= !h->status;
        break;
    default:
        b->invalid = true;
    }
}

static void on_plain(struct h2_block *b, enum header_id id, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags)
{
    struct headers *hs = &b->head.headers;
    if (hs->n + H2_BLOCK_SPARE >= b->cap || b->ref_n + 2 > 2 * b->cap)
        grow(b);
    struct header *f = &hs->p[hs->n++];
    *f = (struct header){
        .name = id ? header_name(id) : hold(b, name),
        .value = hold(b, value),
        .id = (uint8_t)id,
        .flags = flags & NGHTTP2_NV_FLAG_NO_INDEX ? HEADER_SENSITIVE : 0,
    };
}

enum h2_block_result h2_block_field(struct h2_block *b, const struct h2_options *opt,
                                    nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags)
{
    struct slice n = of(name), v = of(value);
    b->fields_seen++;
    b->bytes += (uint32_t)(n.n + v.n + 32);
    if (b->fields_seen > opt->headers || b->bytes > opt->header_bytes) {
        b->too_large = true;
        /* The compression state needs every field to be decoded; but one byte on the wire can name
         * 4 KiB, so decoding for nothing has an end too. */
        return b->fields_seen > 4 * opt->headers || b->bytes > 4 * opt->header_bytes
                   ? H2_BLOCK_KILL
                   : H2_BLOCK_LARGE;
    }
    enum header_id id = header_intern(n);
    if (n.n && n.p[0] == ':') {
        on_pseudo(b, id, value);
    } else if (id == HDR_HOST) {
        b->invalid |= b->host.p != NULL;
        if (!b->host.p)
            b->host = hold(b, value);
    } else {
        on_plain(b, id, name, value, flags);
    }
    return H2_BLOCK_FINE;
}

/* RFC 9113 §8.3.1: Host stands in for :authority, and may not contradict it. */
static bool settle_authority(struct h2_block *b, const struct h2_options *opt)
{
    struct http_head *h = &b->head;
    if (!h->authority.n)
        h->authority = b->host;
    else if (b->host.n && !slice_eq_nocase(b->host, h->authority))
        return false;
    if (!h->authority.n)
        return false;
    return opt->any_authority ||
           http_authority_ok(h->authority, h->method_id == HTTP_CONNECT && !h->protocol.n);
}

static bool settle_scheme(struct http_head *h)
{
    if (slice_eq_nocase(h->scheme, S("https")))
        h->scheme = S("https");
    else if (slice_eq_nocase(h->scheme, S("http")))
        h->scheme = S("http");
    else
        return false;
    return true;
}

static bool settle_path(const struct http_head *h)
{
    if (slice_eq(h->path, S("*")))
        return h->method_id == HTTP_OPTIONS;
    return h->path.n && h->path.p[0] == '/' && scan_target_all(h->path.p, h->path.n);
}

/* RFC 9113 §8.2.3: crumbs of a cookie are one field again for everybody above. */
static void join_cookies(struct h2_block *b)
{
    struct headers *hs = &b->head.headers;
    const struct header *first = headers_get(hs, HDR_COOKIE);
    if (!first || !headers_next(hs, first))
        return;
    size_t bytes = 0;
    for (const struct header *f = first; f; f = headers_next(hs, f))
        bytes += f->value.n + 2;
    char *p = b->joined = mem_array(bytes, 1);
    for (const struct header *f = first; f; f = headers_next(hs, f)) {
        if (!f->value.n)
            continue;
        if (p != b->joined) {
            memcpy(p, "; ", 2);
            p += 2;
        }
        memcpy(p, f->value.p, f->value.n);
        p += f->value.n;
    }
    headers_set(hs, NULL, HDR_COOKIE, (struct slice){b->joined, (size_t)(p - b->joined)});
}

static bool settle_request(struct h2_block *b, const struct h2_options *opt)
{
    struct http_head *h = &b->head;
    if (!header_name_ok(h->method) || !settle_authority(b, opt))
        return false;
    join_cookies(b);
    if (h->method_id == HTTP_CONNECT && !h->protocol.n)
        return true;
    return settle_scheme(h) && settle_path(h);
}

bool h2_block_settle(struct h2_block *b, enum h2_kind kind, const struct h2_options *opt)
{
    if (b->invalid)
        return false;
    return kind == H2_REQUEST ? settle_request(b, opt) : true;
}
