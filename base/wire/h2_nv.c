#include "base/core/assert.h"
#include "base/wire/h2_int.h"

static nghttp2_nv nv_of(struct slice name, struct slice value, uint8_t flags)
{
    return (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)name.p,
        .value = (uint8_t *)(uintptr_t)value.p,
        .namelen = name.n,
        .valuelen = value.n,
        .flags = flags,
    };
}

static nghttp2_nv nv_pseudo(enum header_id id, struct slice value)
{
    return nv_of(header_name(id), value, NGHTTP2_NV_FLAG_NO_COPY_NAME);
}

/* RFC 9113 §8.2.2: fields of a connection have no place here; Host travels as :authority. */
static bool stays_out(const struct header *h)
{
    switch (h->id) {
    case HDR_HOST:
    case HDR_CONNECTION:
    case HDR_KEEP_ALIVE:
    case HDR_PROXY_CONNECTION:
    case HDR_TRANSFER_ENCODING:
    case HDR_UPGRADE:
    case HDR_HTTP2_SETTINGS:
        return true;
    case HDR_TE:
        return !slice_eq(h->value, S("trailers"));
    default:
        return false;
    }
}

/* Values that are new in every message: in the compression table they would push out what repeats,
 * and cost either end an insertion and a removal. */
static bool never_repeats(enum header_id id)
{
    switch (id) {
    case HDR_X_REQUEST_ID:
    case HDR_TRACEPARENT:
    case HDR_B3:
    case HDR_X_B3_TRACEID:
    case HDR_X_B3_SPANID:
    case HDR_X_B3_PARENTSPANID:
        return true;
    default:
        return false;
    }
}

static size_t add_headers(nghttp2_nv *nv, size_t n, const struct headers *hs)
{
    if (hs->n > HEADERS_SENT_MAX)
        return 0;
    for (uint32_t i = 0; i < hs->n; i++) {
        const struct header *h = &hs->p[i];
        if (stays_out(h))
            continue;
        uint8_t flags = h->id ? NGHTTP2_NV_FLAG_NO_COPY_NAME : 0;
        if ((h->flags & HEADER_SENSITIVE) || never_repeats((enum header_id)h->id))
            flags |= NGHTTP2_NV_FLAG_NO_INDEX;
        nv[n++] = nv_of(h->name, h->value, flags);
    }
    return n;
}

static size_t request_pseudo(nghttp2_nv *nv, const struct http_head *head)
{
    size_t n = 0;
    bool plain_connect = head->method_id == HTTP_CONNECT && !head->protocol.n;
    nv[n++] = nv_pseudo(HDR_PSEUDO_METHOD, head->method);
    if (!plain_connect) {
        nv[n++] = nv_pseudo(HDR_PSEUDO_SCHEME, head->scheme.n ? head->scheme : S("http"));
        nv[n++] = nv_pseudo(HDR_PSEUDO_PATH, head->path);
    }
    if (head->authority.n)
        nv[n++] = nv_pseudo(HDR_PSEUDO_AUTHORITY, head->authority);
    if (head->protocol.n)
        nv[n++] = nv_pseudo(HDR_PSEUDO_PROTOCOL, head->protocol);
    return n;
}

size_t h2_nv_head(nghttp2_nv nv[H2_NV_MAX], const struct http_head *head, char status[3])
{
    if (!head->status)
        return add_headers(nv, request_pseudo(nv, head), &head->headers);
    wf_assert(head->status >= 100 && head->status <= 599);
    status[0] = (char)('0' + head->status / 100);
    status[1] = (char)('0' + head->status / 10 % 10);
    status[2] = (char)('0' + head->status % 10);
    nv[0] = nv_pseudo(HDR_PSEUDO_STATUS, (struct slice){status, 3});
    return add_headers(nv, 1, &head->headers);
}

size_t h2_nv_headers(nghttp2_nv nv[H2_NV_MAX], const struct headers *hs)
{
    return add_headers(nv, 0, hs);
}
