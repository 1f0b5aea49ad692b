/* Requests, responses, chunked bodies and paths from hostile bytes. Beside memory errors it looks
 * for what smuggling lives on: a parse that depends on how the bytes were cut, and a head that is
 * not the same after writing and parsing it again.
 */
#include "base/core/assert.h"
#include "base/wire/http1.h"
#include "base/wire/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http1_limits limits = {.allow_http10 = true};

static void same_headers(const struct headers *a, const struct headers *b, uint32_t from)
{
    wf_assert(a->n == b->n - from);
    for (uint32_t i = 0; i < a->n; i++) {
        wf_assert(slice_eq(a->p[i].name, b->p[i].name));
        wf_assert(slice_eq(a->p[i].value, b->p[i].value));
        wf_assert(a->p[i].id == b->p[i].id);
    }
}

static void drop_framing(struct headers *hs)
{
    static const enum header_id ids[] = {HDR_CONTENT_LENGTH, HDR_TRANSFER_ENCODING, HDR_CONNECTION,
                                         HDR_KEEP_ALIVE,     HDR_PROXY_CONNECTION,  HDR_UPGRADE,
                                         HDR_HOST,           HDR_HTTP2_SETTINGS};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        headers_del(hs, ids[i]);
}

static void round_trip_request(struct http1_head *h, struct arena *a)
{
    struct buf b = {0};
    struct http1_write how = {.body = h->body, .length = h->length, .upgrade = h->upgrade};
    if (!h->http.authority.n && h->minor)
        return;
    wf_assert(http1_write_request(&b, &h->http, &how) ||
              (h->upgrade.n && !header_value_ok(h->upgrade)));
    struct http1_progress at = {0};
    struct http1_head again;
    if (h->http.authority.n) {
        wf_assert(http1_parse_request(&at, buf_slice(&b), &limits, a, &again) == HTTP1_DONE);
        wf_assert(again.bytes == b.n && again.body == h->body && again.length == h->length);
        wf_assert(slice_eq(again.http.method, h->http.method));
        wf_assert(slice_eq(again.http.path, h->http.path));
        wf_assert(slice_eq(again.http.authority, h->http.authority));
        drop_framing(&h->http.headers);
        drop_framing(&again.http.headers);
        same_headers(&h->http.headers, &again.http.headers, 0);
    }
    buf_fini(&b);
}

static void on_path(struct slice path, uint8_t bits, struct arena *a)
{
    const struct path_options opt = {.slashes = bits % 3, .merge_slashes = bits >> 7};
    struct slice once, twice;
    if (path_canonical(path, &opt, a, &once) > PATH_CHANGED)
        return;
    wf_assert(path_canonical(once, &opt, a, &twice) == PATH_OK);
    wf_assert(slice_eq(once, twice));
}

static void fuzz_request(struct slice in, uint8_t bits, struct arena *a)
{
    struct http1_progress whole = {0}, cut = {0};
    struct http1_head h, h2;
    enum http1_result r = http1_parse_request(&whole, in, &limits, a, &h), r2 = HTTP1_MORE;
    size_t step = 1 + bits % 64;
    for (size_t n = 0; r2 == HTTP1_MORE && n < in.n;) {
        n = n + step < in.n ? n + step : in.n;
        r2 = http1_parse_request(&cut, slice_sub(in, 0, n), &limits, a, &h2);
    }
    wf_assert((r == HTTP1_DONE) == (r2 == HTTP1_DONE));
    if (r != HTTP1_DONE)
        return;
    wf_assert(h.bytes == h2.bytes && h.body == h2.body && h.length == h2.length);
    same_headers(&h.http.headers, &h2.http.headers, 0);
    on_path(h.http.path, bits, a);
    round_trip_request(&h, a);
    struct headers strip;
    headers_copy(&strip, a, &h.http.headers, false);
    headers_strip_hop(&strip);
    wf_assert(!headers_get(&strip, HDR_CONNECTION));
}

static void fuzz_response(struct slice in, uint8_t bits, struct arena *a)
{
    static const enum http_method methods[] = {HTTP_GET, HTTP_HEAD, HTTP_CONNECT};
    struct http1_progress at = {0};
    struct http1_head h, again;
    struct buf b = {0};
    if (http1_parse_response(&at, in, methods[bits % 3], NULL, a, &h) != HTTP1_DONE)
        return;
    const struct http1_write how = {.body = h.body, .length = h.length, .to_head = true};
    wf_assert(http1_write_response(&b, &h.http, &how));
    at = (struct http1_progress){0};
    wf_assert(http1_parse_response(&at, buf_slice(&b), methods[bits % 3], NULL, a, &again) ==
              HTTP1_DONE);
    wf_assert(again.body == h.body && again.http.status == h.http.status);
    buf_fini(&b);
}

static enum http1_result decode(struct slice in, size_t step, struct arena *a, struct buf *body,
                                size_t *ret_used)
{
    struct http1_chunked c = {0};
    struct headers trailers = {0};
    size_t used = 0, have = 0;
    enum http1_result r = HTTP1_MORE;
    while (r == HTTP1_MORE && have < in.n) {
        have = have + step < in.n ? have + step : in.n;
        struct slice rest = slice_sub(in, used, have - used), span;
        do {
            r = http1_chunked_next(&c, &rest, a, &span, &trailers);
            buf_append(body, span);
        } while (r == HTTP1_MORE && span.n);
        used = have - rest.n;
    }
    *ret_used = used;
    return r;
}

static void fuzz_chunked(struct slice in, uint8_t bits, struct arena *a)
{
    struct buf whole = {0}, cut = {0};
    size_t used, used2;
    enum http1_result r = decode(in, in.n, a, &whole, &used);
    enum http1_result r2 = decode(in, 1 + bits % 64, a, &cut, &used2);
    wf_assert((r == HTTP1_DONE) == (r2 == HTTP1_DONE));
    if (r == HTTP1_DONE)
        wf_assert(used == used2 && slice_eq(buf_slice(&whole), buf_slice(&cut)));
    buf_fini(&whole);
    buf_fini(&cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    struct arena a = {0};
    /* A copy of its own size, so that reading past the end is seen. */
    char *own = mem_array(size - 2, 1);
    for (size_t i = 0; i < size - 2; i++)
        own[i] = (char)data[i + 2];
    struct slice in = {own, size - 2};
    switch (data[0] % 4) {
    case 0:
        fuzz_request(in, data[1], &a);
        break;
    case 1:
        fuzz_response(in, data[1], &a);
        break;
    case 2:
        fuzz_chunked(in, data[1], &a);
        break;
    default:
        on_path(in, data[1], &a);
    }
    mem_free(own);
    arena_fini(&a);
    return 0;
}
