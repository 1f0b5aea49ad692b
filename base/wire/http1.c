#include "base/wire/http1.h"

#include <assert.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/wire/http1_int.h"
#include "base/wire/scan.h"

static const struct {
    uint16_t status;
    const char *name;
} faults[] = {
    [HTTP1_OK] = {200, "http1.ok"},
    [HTTP1_BAD_LINE] = {400, "http1.line"},
    [HTTP1_BAD_METHOD] = {400, "http1.method"},
    [HTTP1_BAD_TARGET] = {400, "http1.target"},
    [HTTP1_BAD_VERSION] = {505, "http1.version"},
    [HTTP1_BAD_STATUS] = {502, "http1.status"},
    [HTTP1_BAD_NAME] = {400, "http1.name"},
    [HTTP1_BAD_VALUE] = {400, "http1.value"},
    [HTTP1_BAD_FOLD] = {400, "http1.fold"},
    [HTTP1_BAD_HOST] = {400, "http1.host"},
    [HTTP1_BAD_LENGTH] = {400, "http1.length"},
    [HTTP1_BAD_FRAMING] = {400, "http1.framing"},
    [HTTP1_BAD_CODING] = {400, "http1.coding"},
    [HTTP1_UNKNOWN_CODING] = {501, "http1.unknown_coding"},
    [HTTP1_BAD_EXPECT] = {417, "http1.expect"},
    [HTTP1_BAD_CHUNK] = {400, "http1.chunk"},
    [HTTP1_BAD_TRAILER] = {400, "http1.trailer"},
    [HTTP1_HEAD_TOO_LARGE] = {431, "http1.head_too_large"},
    [HTTP1_TARGET_TOO_LONG] = {414, "http1.target_too_long"},
    [HTTP1_TOO_MANY_HEADERS] = {431, "http1.too_many_headers"},
    [HTTP1_OLD_VERSION] = {426, "http1.old_version"},
};
static_assert(ARRAY_LEN(faults) == HTTP1_FAULT_COUNT, "one row a fault");

int http1_fault_status(enum http1_fault fault)
{
    wf_assert(fault < HTTP1_FAULT_COUNT);
    return faults[fault].status;
}

const char *http1_fault_name(enum http1_fault fault)
{
    wf_assert(fault < HTTP1_FAULT_COUNT);
    return faults[fault].name;
}

enum http1_fault http1_crlf(struct cursor *c)
{
    if (c->p == c->end)
        return SHORT;
    if (*c->p != '\r')
        return HTTP1_BAD_LINE;
    if (c->end - c->p < 2)
        return SHORT;
    if (c->p[1] != '\n')
        return HTTP1_BAD_LINE;
    c->p += 2;
    return HTTP1_OK;
}

static enum http1_fault take(struct cursor *c, const char *text, enum http1_fault otherwise)
{
    for (; *text; text++, c->p++) {
        if (c->p == c->end)
            return SHORT;
        if (*c->p != *text)
            return otherwise;
    }
    return HTTP1_OK;
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/" DIGIT "." DIGIT, of which 1.0 and 1.1 are ours (RFC 9112 §2.3). */
static enum http1_fault version(struct cursor *c, uint8_t *ret_minor)
{
    enum http1_fault f = take(c, "HTTP/", HTTP1_BAD_LINE);
    if (f)
        return f;
    if (c->end - c->p < 3)
        return SHORT;
    if (!digit(c->p[0]) || c->p[1] != '.' || !digit(c->p[2]))
        return HTTP1_BAD_LINE;
    if (c->p[0] != '1' || c->p[2] > '1')
        return HTTP1_BAD_VERSION;
    *ret_minor = (uint8_t)(c->p[2] - '0');
    c->p += 3;
    return HTTP1_OK;
}

/* Up to and with one SP. */
static enum http1_fault method(struct cursor *c, struct slice *ret)
{
    const char *start = c->p;
    c->p = scan_slow(c->p, c->end, SCAN_TOKEN);
    size_t n = (size_t)(c->p - start);
    if (n > HTTP1_METHOD_BYTES)
        return HTTP1_BAD_METHOD;
    if (c->p == c->end)
        return SHORT;
    if (!n || *c->p != ' ')
        return HTTP1_BAD_METHOD;
    c->p++;
    *ret = (struct slice){start, n};
    return HTTP1_OK;
}

static enum http1_fault target(struct cursor *c, size_t bytes_max, struct slice *ret)
{
    const char *start = c->p;
    c->p = scan_target(c->p, c->end);
    size_t n = (size_t)(c->p - start);
    if (n > bytes_max)
        return HTTP1_TARGET_TOO_LONG;
    if (c->p == c->end)
        return SHORT;
    if (*c->p == '\r' || *c->p == '\n')
        return HTTP1_BAD_LINE; /* HTTP/0.9 */
    if (!n || *c->p != ' ')
        return HTTP1_BAD_TARGET;
    c->p++;
    *ret = (struct slice){start, n};
    return HTTP1_OK;
}

static enum http1_fault request_line(struct cursor *c, const struct http1_limits *lim,
                                     struct http1_head *h)
{
    if (c->p < c->end && *c->p == '\r') {
        enum http1_fault f = http1_crlf(c); /* RFC 9112 §2.2: one empty line is forgiven */
        if (f)
            return f;
    }
    enum http1_fault f = method(c, &h->http.method);
    if (!f)
        f = target(c, lim->target_bytes, &h->target);
    if (!f)
        f = version(c, &h->minor);
    if (!f)
        f = http1_crlf(c);
    if (!f && !h->minor && !lim->allow_http10)
        f = HTTP1_OLD_VERSION;
    h->http.method_id = (uint8_t)http_method_parse(h->http.method);
    return f;
}

/* The SP before an empty reason may be missing: servers do so, and nothing else can be meant. */
static enum http1_fault status_line(struct cursor *c, struct http1_head *h)
{
    enum http1_fault f = version(c, &h->minor);
    if (f)
        return f;
    if (c->end - c->p < 5)
        return SHORT;
    const char *s = c->p;
    if (s[0] != ' ' || s[1] < '1' || s[1] > '5' || !digit(s[2]) || !digit(s[3]))
        return HTTP1_BAD_STATUS;
    h->http.status = (uint16_t)((s[1] - '0') * 100 + (s[2] - '0') * 10 + (s[3] - '0'));
    c->p += 4;
    if (*c->p == ' ') {
        const char *reason = ++c->p;
        c->p = scan_value(c->p, c->end);
        h->reason = (struct slice){reason, (size_t)(c->p - reason)};
    } else if (*c->p != '\r') {
        return HTTP1_BAD_STATUS;
    }
    return http1_crlf(c);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

static enum http1_fault field_name(struct cursor *c, struct header *f)
{
    const char *start = c->p, *end = c->end, *p = start;
    unsigned seen = 0;
    for (; p < end; p++) {
        unsigned bits = scan_table[(uint8_t)*p];
        if (!(bits & SCAN_TOKEN))
            break;
        seen |= bits;
    }
    if (p == end)
        return SHORT;
    if (p == start || *p != ':')
        return *p == '\n' ? HTTP1_BAD_LINE : HTTP1_BAD_NAME;
    c->p = p + 1;
    struct slice name = {start, (size_t)(p - start)};
    enum header_id id = header_intern(name);
    f->id = (uint8_t)id;
    f->flags = !id && (seen & SCAN_UPPER) ? FIELD_UPPER : 0;
    f->name = id ? header_name(id) : name;
    return HTTP1_OK;
}

static enum http1_fault field_value(struct cursor *c, struct header *f)
{
    const char *start = c->p, *end = c->end;
    while (start < end && blank(*start))
        start++;
    const char *stop = scan_value(start, end), *last = stop;
    if (stop < end && *stop != '\r' && *stop != '\n')
        return HTTP1_BAD_VALUE;
    c->p = stop;
    enum http1_fault fault = http1_crlf(c);
    if (fault)
        return fault;
    while (last > start && blank(last[-1]))
        last--;
    f->value = (struct slice){start, (size_t)(last - start)};
    return HTTP1_OK;
}

enum http1_fault http1_field(struct cursor *c, struct header *ret, bool *ret_end)
{
    if (c->p == c->end)
        return SHORT;
    *ret_end = *c->p == '\r';
    if (*ret_end)
        return http1_crlf(c);
    if (blank(*c->p))
        return HTTP1_BAD_FOLD;
    enum http1_fault f = field_name(c, ret);
    return f ? f : field_value(c, ret);
}

struct headers http1_keep(struct arena *arena, const struct header *fields, uint32_t n)
{
    struct headers hs = {.n = n, .cap = n + 8};
    hs.p = ARENA_ARRAY(arena, struct header, hs.cap);
    if (n)
        memcpy(hs.p, fields, n * sizeof(*fields));
    for (uint32_t i = 0; i < n; i++) {
        struct header *h = &hs.p[i];
        if (!(h->flags & FIELD_UPPER))
            continue;
        char *low = arena_alloc(arena, h->name.n);
        for (size_t k = 0; k < h->name.n; k++)
            low[k] = scan_is(h->name.p[k], SCAN_UPPER) ? (char)(h->name.p[k] | 0x20) : h->name.p[k];
        h->name.p = low;
        h->flags = 0;
    }
    return hs;
}

/* What the fields say about the message. */

/* 1*DIGIT, and canonical: "+0", "00" or "1,1" are ways to be read differently (RFC 9112 §6.3). */
static enum http1_fault on_length(struct framing *fr, struct slice value)
{
    if (fr->length_n++)
        return HTTP1_BAD_LENGTH;
    if (!value.n || value.n > 19 || (value.p[0] == '0' && value.n > 1) ||
        !slice_u64(value, &fr->length) || fr->length > INT64_MAX)
        return HTTP1_BAD_LENGTH;
    return HTTP1_OK;
}

/* "chunked" alone is what we can decode. Anything with a misplaced chunked is an attack; the rest
 * is a coding that we do not know (RFC 9112 §6.1). */
static enum http1_fault on_coding(struct framing *fr, struct slice value)
{
    if (fr->coding_n++)
        return HTTP1_BAD_CODING;
    if (slice_eq_nocase(value, S("chunked")))
        return HTTP1_OK;
    struct slice item, rest = value;
    uint32_t chunked = 0, items = 0;
    bool last = false;
    while (header_next_token(&rest, &item)) {
        last = slice_eq_nocase(item, S("chunked"));
        chunked += last;
        items++;
    }
    return !items || (chunked && !(last && chunked == 1 && items > 1)) ? HTTP1_BAD_CODING
                                                                       : HTTP1_UNKNOWN_CODING;
}

static void on_connection(struct framing *fr, struct slice value)
{
    struct slice item;
    while (header_next_token(&value, &item)) {
        fr->close |= slice_eq_nocase(item, S("close"));
        fr->keep |= slice_eq_nocase(item, S("keep-alive"));
        fr->upgrade |= slice_eq_nocase(item, S("upgrade"));
    }
}

static enum http1_fault on_field(struct framing *fr, struct http1_head *h, const struct header *f)
{
    switch (f->id) {
    case HDR_CONTENT_LENGTH:
        return on_length(fr, f->value);
    case HDR_TRANSFER_ENCODING:
        return on_coding(fr, f->value);
    case HDR_CONNECTION:
        on_connection(fr, f->value);
        return HTTP1_OK;
    case HDR_HOST:
        if (fr->host_n++ && !h->http.status)
            return HTTP1_BAD_HOST;
        h->http.authority = f->value;
        return HTTP1_OK;
    case HDR_UPGRADE:
        if (!h->upgrade.n)
            h->upgrade = f->value;
        return HTTP1_OK;
    case HDR_EXPECT:
        fr->expect = f->value;
        fr->expect_n++;
        return HTTP1_OK;
    case HDR_TE:
        h->te_trailers |= header_has_token(f->value, S("trailers"));
        return HTTP1_OK;
    default:
        return HTTP1_OK;
    }
}

static enum http1_fault fields(struct cursor *c, const struct http1_limits *lim, struct framing *fr,
                               struct http1_head *h, struct header *store, uint32_t *ret_n)
{
    uint32_t n = 0;
    for (uint32_t lines = 0;; lines++) {
        struct header *f = &store[n];
        bool end = false;
        enum http1_fault fault = http1_field(c, f, &end);
        if (fault)
            return fault;
        if (end)
            break;
        if (lines == lim->headers)
            return HTTP1_TOO_MANY_HEADERS;
        fault = on_field(fr, h, f);
        if (fault)
            return fault;
        n += f->id != HDR_HOST || h->http.status;
    }
    *ret_n = n;
    return HTTP1_OK;
}

static void settle_connection(const struct framing *fr, struct http1_head *h)
{
    h->keep_alive = h->minor ? !fr->close : fr->keep && !fr->close;
    if (!fr->upgrade || !h->minor)
        h->upgrade = (struct slice){0};
}

/* http:// or https:// authority path-abempty [ "?" query ] (RFC 9112 §3.2.2). Its authority
 * replaces Host. */
static enum http1_fault absolute_target(struct http1_head *h, struct arena *arena)
{
    struct slice rest;
    if (slice_eq_nocase(slice_sub(h->target, 0, 7), S("http://"))) {
        h->http.scheme = S("http");
        rest = slice_skip(h->target, 7);
    } else if (slice_eq_nocase(slice_sub(h->target, 0, 8), S("https://"))) {
        h->http.scheme = S("https");
        rest = slice_skip(h->target, 8);
    } else {
        return HTTP1_BAD_TARGET;
    }
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
        n++;
    h->http.authority = slice_sub(rest, 0, n);
    h->http.path = slice_skip(rest, n);
    if (!http_authority_ok(h->http.authority, false))
        return HTTP1_BAD_TARGET;
    if (!h->http.path.n)
        h->http.path = h->http.method_id == HTTP_OPTIONS ? S("*") : S("/");
    else if (h->http.path.p[0] == '?')
        h->http.path = arena_concat(arena, S("/"), h->http.path);
    return HTTP1_OK;
}

static enum http1_fault settle_target(struct http1_head *h, struct arena *arena)
{
    if (h->http.method_id == HTTP_CONNECT) {
        h->form = HTTP1_AUTHORITY;
        h->http.authority = h->target;
        return http_authority_ok(h->target, true) ? HTTP1_OK : HTTP1_BAD_TARGET;
    }
    h->http.path = h->target;
    if (h->target.p[0] == '/') {
        h->form = HTTP1_ORIGIN;
        return HTTP1_OK;
    }
    if (slice_eq(h->target, S("*"))) {
        h->form = HTTP1_ASTERISK;
        return h->http.method_id == HTTP_OPTIONS ? HTTP1_OK : HTTP1_BAD_TARGET;
    }
    h->form = HTTP1_ABSOLUTE;
    return absolute_target(h, arena);
}

static enum http1_fault settle_request_body(const struct framing *fr, struct http1_head *h)
{
    bool body = fr->coding_n || fr->length_n;
    if (fr->coding_n && (fr->length_n || !h->minor))
        return HTTP1_BAD_FRAMING;
    if (body && (h->http.method_id == HTTP_CONNECT || h->http.method_id == HTTP_TRACE))
        return HTTP1_BAD_FRAMING; /* RFC 9110 §9.3.6, §9.3.8 */
    h->length = fr->length;
    h->body = fr->coding_n   ? HTTP1_BODY_CHUNKED
              : fr->length_n ? (fr->length ? HTTP1_BODY_LENGTH : HTTP1_BODY_NONE)
                             : HTTP1_BODY_NONE;
    return HTTP1_OK;
}

static enum http1_fault settle_request(const struct framing *fr, struct http1_head *h,
                                       struct arena *arena)
{
    if (fr->host_n ? !http_authority_ok(h->http.authority, false) : h->minor != 0)
        return HTTP1_BAD_HOST; /* RFC 9112 §3.2 */
    enum http1_fault f = settle_target(h, arena);
    if (!f)
        f = settle_request_body(fr, h);
    if (f)
        return f;
    settle_connection(fr, h);
    if (fr->expect_n && h->minor) {
        if (fr->expect_n > 1 || !slice_eq_nocase(fr->expect, S("100-continue")))
            return HTTP1_BAD_EXPECT;
        h->expect_continue = h->body != HTTP1_BODY_NONE;
    }
    return HTTP1_OK;
}

/* RFC 9112 §6.3, in its order. */
static enum http1_fault settle_response(const struct framing *fr, enum http_method request,
                                        struct http1_head *h)
{
    int status = h->http.status;
    if (fr->coding_n && (fr->length_n || !h->minor))
        return HTTP1_BAD_FRAMING;
    settle_connection(fr, h);
    if (status == 101 || (request == HTTP_CONNECT && status / 100 == 2)) {
        h->body = HTTP1_BODY_TUNNEL;
    } else if (status / 100 == 1 || status == 204) {
        h->body = HTTP1_BODY_NONE;
        /* It says that it has a body where there is none: whoever believed it would lose step. */
        h->keep_alive &= !fr->coding_n && !fr->length;
    } else if (status == 304 || request == HTTP_HEAD) {
        h->body = HTTP1_BODY_NONE;
    } else if (fr->coding_n) {
        h->body = HTTP1_BODY_CHUNKED;
    } else if (fr->length_n) {
        h->body = fr->length ? HTTP1_BODY_LENGTH : HTTP1_BODY_NONE;
        h->length = fr->length;
    } else {
        h->body = HTTP1_BODY_UNTIL_CLOSE;
        h->keep_alive = false;
    }
    return HTTP1_OK;
}

/* Whole heads. */

bool http1_worth_parsing(struct http1_progress *at, struct slice bytes, size_t bytes_max)
{
    wf_assert(bytes.n >= at->seen);
    if (!at->parsed || bytes.n >= 2 * at->parsed || bytes.n >= bytes_max)
        return true;
    size_t from = at->seen > 3 ? at->seen - 3 : 0;
    at->seen = bytes.n;
    return memmem(bytes.p + from, bytes.n - from, "\r\n\r\n", 4) != NULL;
}

static struct http1_limits effective(const struct http1_limits *given)
{
    struct http1_limits l = given ? *given : (struct http1_limits){0};
    if (!l.head_bytes)
        l.head_bytes = HTTP1_HEAD_BYTES;
    if (!l.target_bytes)
        l.target_bytes = HTTP1_TARGET_BYTES;
    if (!l.headers)
        l.headers = HTTP1_HEADERS;
    wf_assert(l.headers <= HTTP1_HEADERS_CAP);
    return l;
}

enum http1_result http1_settle(struct http1_progress *at, struct slice bytes, size_t used,
                               size_t bytes_max, enum http1_fault f)
{
    if (f == SHORT && bytes.n < bytes_max) {
        at->parsed = at->seen = bytes.n;
        return HTTP1_MORE;
    }
    if (f == SHORT || (!f && used > bytes_max))
        f = HTTP1_HEAD_TOO_LARGE;
    at->fault = f;
    return f ? HTTP1_BAD : HTTP1_DONE;
}

enum http1_result http1_parse_request(struct http1_progress *at, struct slice bytes,
                                      const struct http1_limits *limits, struct arena *arena,
                                      struct http1_head *ret_head)
{
    struct http1_limits lim = effective(limits);
    if (!bytes.n || !http1_worth_parsing(at, bytes, lim.head_bytes))
        return HTTP1_MORE;
    struct cursor c = {bytes.p, bytes.p + bytes.n};
    struct http1_head h = {0};
    struct framing fr = {0};
    struct header store[HTTP1_HEADERS_CAP + 1];
    uint32_t n = 0;
    enum http1_fault f = request_line(&c, &lim, &h);
    if (!f)
        f = fields(&c, &lim, &fr, &h, store, &n);
    if (!f)
        f = settle_request(&fr, &h, arena);
    h.bytes = (size_t)(c.p - bytes.p);
    enum http1_result r = http1_settle(at, bytes, h.bytes, lim.head_bytes, f);
    if (r == HTTP1_DONE) {
        h.http.headers = http1_keep(arena, store, n);
        if (!h.minor) /* to be ignored (RFC 9110 §10.1.1), so nobody behind us may see it */
            headers_del(&h.http.headers, HDR_EXPECT);
        *ret_head = h;
    }
    return r;
}

enum http1_result http1_parse_response(struct http1_progress *at, struct slice bytes,
                                       enum http_method request_method,
                                       const struct http1_limits *limits, struct arena *arena,
                                       struct http1_head *ret_head)
{
    struct http1_limits lim = effective(limits);
    if (!bytes.n || !http1_worth_parsing(at, bytes, lim.head_bytes))
        return HTTP1_MORE;
    struct cursor c = {bytes.p, bytes.p + bytes.n};
    struct http1_head h = {0};
    struct framing fr = {0};
    struct header store[HTTP1_HEADERS_CAP + 1];
    uint32_t n = 0;
    enum http1_fault f = status_line(&c, &h);
    if (!f)
        f = fields(&c, &lim, &fr, &h, store, &n);
    if (!f)
        f = settle_response(&fr, request_method, &h);
    h.bytes = (size_t)(c.p - bytes.p);
    enum http1_result r = http1_settle(at, bytes, h.bytes, lim.head_bytes, f);
    if (r == HTTP1_DONE) {
        h.http.authority = (struct slice){0};
        h.http.headers = http1_keep(arena, store, n);
        *ret_head = h;
    }
    return r;
}

static void slice_rebase(struct slice *s, struct slice from, const char *to)
{
    uintptr_t p = (uintptr_t)s->p, start = (uintptr_t)from.p;
    if (s->p && p >= start && p < start + from.n)
        s->p = to + (p - start);
}

void http1_head_keep(struct http1_head *h, struct slice bytes, struct arena *arena)
{
    struct slice from = slice_sub(bytes, 0, h->bytes);
    const char *to = arena_dup(arena, from).p;
    slice_rebase(&h->target, from, to);
    slice_rebase(&h->reason, from, to);
    slice_rebase(&h->http.method, from, to);
    slice_rebase(&h->http.scheme, from, to);
    slice_rebase(&h->http.authority, from, to);
    slice_rebase(&h->http.path, from, to);
    slice_rebase(&h->upgrade, from, to);
    for (uint32_t i = 0; i < h->http.headers.n; i++) {
        slice_rebase(&h->http.headers.p[i].name, from, to);
        slice_rebase(&h->http.headers.p[i].value, from, to);
    }
}

enum http1_result http1_is_h2_preface(struct slice bytes)
{
    const struct slice preface = S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    size_t n = bytes.n < preface.n ? bytes.n : preface.n;
    if (n && memcmp(bytes.p, preface.p, n) != 0)
        return HTTP1_BAD;
    return n == preface.n ? HTTP1_DONE : HTTP1_MORE;
}
