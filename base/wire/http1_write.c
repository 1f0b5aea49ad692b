#include <string.h>

#include "base/core/assert.h"
#include "base/wire/http1_int.h"
#include "base/wire/scan.h"

/* Bytes written through a bound that was computed before. */
struct pen {
    char *p;
};

static void put(struct pen *w, struct slice s)
{
    if (s.n)
        memcpy(w->p, s.p, s.n);
    w->p += s.n;
}

static void put_field(struct pen *w, struct slice name, struct slice value)
{
    put(w, name);
    put(w, S(": "));
    put(w, value);
    put(w, S("\r\n"));
}

static void put_u64(struct pen *w, uint64_t v)
{
    char digits[20], *end = digits + sizeof(digits), *p = end;
    do
        *--p = (char)('0' + v % 10);
    while (v /= 10);
    put(w, (struct slice){p, (size_t)(end - p)});
}

static bool written_by_us(uint8_t id)
{
    switch (id) {
    case HDR_HOST:
    case HDR_CONTENT_LENGTH:
    case HDR_TRANSFER_ENCODING:
    case HDR_CONNECTION:
    case HDR_KEEP_ALIVE:
    case HDR_PROXY_CONNECTION:
    case HDR_UPGRADE:
    case HDR_HTTP2_SETTINGS:
        return true;
    default:
        return false;
    }
}

/* Both names and values may come from HTTP/2, whose peers could hide a CRLF there. */
static bool field_safe(const struct header *h)
{
    return (h->id ? h->name.p[0] != ':' : header_name_ok(h->name)) &&
           scan_value_all(h->value.p, h->value.n);
}

static bool fields_size(const struct headers *hs, size_t *size)
{
    for (uint32_t i = 0; i < hs->n; i++) {
        if (!field_safe(&hs->p[i]))
            return false;
        *size += hs->p[i].name.n + hs->p[i].value.n + 4;
    }
    return true;
}

static void put_fields(struct pen *w, const struct headers *hs)
{
    for (uint32_t i = 0; i < hs->n; i++)
        if (!written_by_us(hs->p[i].id))
            put_field(w, hs->p[i].name, hs->p[i].value);
}

static void put_connection(struct pen *w, const struct http1_write *how)
{
    if (how->upgrade.n) {
        put(w, S("connection: upgrade\r\n"));
        put_field(w, S("upgrade"), how->upgrade);
    } else if (how->close) {
        put(w, S("connection: close\r\n"));
    } else if (how->keep_alive) {
        put(w, S("connection: keep-alive\r\n"));
    }
}

static void put_length(struct pen *w, uint64_t n)
{
    put(w, S("content-length: "));
    put_u64(w, n);
    put(w, S("\r\n"));
}

/* Room for the fields that `how` adds. */
#define HOW_BYTES 160

static bool safe(struct slice s, bool may_be_empty)
{
    return (s.n || may_be_empty) && scan_target_all(s.p, s.n);
}

static struct slice version(const struct http1_write *how)
{
    return how->minor_is_zero ? S("HTTP/1.0") : S("HTTP/1.1");
}

/* CONNECT names only the authority; the absolute form all (RFC 9112 §3.2). */
static void put_target(struct pen *w, const struct http_head *head, const struct http1_write *how)
{
    if (head->method_id == HTTP_CONNECT) {
        put(w, head->authority);
        return;
    }
    if (how->absolute) {
        put(w, head->scheme);
        put(w, S("://"));
        put(w, head->authority);
    }
    put(w, head->path);
}

static bool request_safe(const struct http_head *head, const struct http1_write *how)
{
    bool connect = head->method_id == HTTP_CONNECT;
    return header_name_ok(head->method) && safe(head->path, connect) &&
           (!head->authority.n ? !connect && !how->absolute
                               : http_authority_ok(head->authority, connect)) &&
           safe(head->scheme, !how->absolute) && header_value_ok(how->upgrade);
}

/* RFC 9110 §8.6: these say Content-Length: 0 rather than nothing. */
static bool method_expects_body(uint8_t method)
{
    return method == HTTP_POST || method == HTTP_PUT || method == HTTP_PATCH;
}

bool http1_write_request(struct buf *b, const struct http_head *head, const struct http1_write *how)
{
    wf_assert(how->body != HTTP1_BODY_UNTIL_CLOSE && !head->status);
    size_t size = head->method.n + head->path.n + head->scheme.n + 2 * head->authority.n +
                  how->upgrade.n + HOW_BYTES;
    if (!request_safe(head, how) || !fields_size(&head->headers, &size))
        return false;
    char *start = buf_reserve(b, size);
    if (!start)
        return false;
    struct pen w = {start};
    put(&w, head->method);
    put(&w, S(" "));
    put_target(&w, head, how);
    put(&w, S(" "));
    put(&w, version(how));
    put(&w, S("\r\n"));
    if (head->authority.n)
        put_field(&w, S("host"), head->authority);
    put_fields(&w, &head->headers);
    if (how->body == HTTP1_BODY_LENGTH)
        put_length(&w, how->length);
    else if (how->body == HTTP1_BODY_CHUNKED)
        put(&w, S("transfer-encoding: chunked\r\n"));
    else if (method_expects_body(head->method_id))
        put_length(&w, 0);
    put_connection(&w, how);
    put(&w, S("\r\n"));
    wf_assert((size_t)(w.p - start) <= size);
    buf_commit(b, (size_t)(w.p - start));
    return true;
}

/* Of an answer without body: what HEAD or 304 would have had, else 0; 1xx, 204 and a tunnel say
 * nothing (RFC 9110 §8.6). */
static void put_response_framing(struct pen *w, const struct http_head *head,
                                 const struct http1_write *how)
{
    if (how->body == HTTP1_BODY_LENGTH) {
        put_length(w, how->length);
    } else if (how->body == HTTP1_BODY_CHUNKED) {
        put(w, S("transfer-encoding: chunked\r\n"));
    } else if (how->body == HTTP1_BODY_NONE && head->status >= 200 && head->status != 204) {
        uint64_t n;
        struct slice given = headers_value(&head->headers, HDR_CONTENT_LENGTH);
        if (slice_u64(given, &n))
            put_length(w, n);
        else if (head->status != 304 && !how->to_head)
            put_length(w, 0);
    }
}

bool http1_write_response(struct buf *b, const struct http_head *head,
                          const struct http1_write *how)
{
    wf_assert(head->status >= 100 && head->status <= 599);
    struct slice reason = how->reason.n ? how->reason : http_status_text(head->status);
    size_t size = reason.n + how->upgrade.n + HOW_BYTES;
    if (!scan_value_all(reason.p, reason.n) || !header_value_ok(how->upgrade) ||
        !fields_size(&head->headers, &size))
        return false;
    char *start = buf_reserve(b, size);
    if (!start)
        return false;
    struct pen w = {start};
    put(&w, version(how));
    put(&w, S(" "));
    put_u64(&w, head->status);
    put(&w, S(" "));
    put(&w, reason);
    put(&w, S("\r\n"));
    put_fields(&w, &head->headers);
    put_response_framing(&w, head, how);
    put_connection(&w, how);
    put(&w, S("\r\n"));
    wf_assert((size_t)(w.p - start) <= size);
    buf_commit(b, (size_t)(w.p - start));
    return true;
}

bool http1_write_last_chunk(struct buf *b, const struct headers *trailers)
{
    size_t size = 8;
    if (trailers && !fields_size(trailers, &size))
        return false;
    char *start = buf_reserve(b, size);
    if (!start)
        return false;
    struct pen w = {start};
    put(&w, S("0\r\n"));
    if (trailers)
        put_fields(&w, trailers);
    put(&w, S("\r\n"));
    buf_commit(b, (size_t)(w.p - start));
    return true;
}
