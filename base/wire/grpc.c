#include "base/wire/grpc.h"

#include <assert.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/wire/h2.h"

static const struct {
    struct slice name, digits;
    uint8_t err; /* enum err_code */
} statuses[] = {
    [GRPC_OK] = {S_INIT("OK"), S_INIT("0"), ERR_NONE},
    [GRPC_CANCELLED] = {S_INIT("CANCELLED"), S_INIT("1"), ERR_CANCELLED},
    [GRPC_UNKNOWN] = {S_INIT("UNKNOWN"), S_INIT("2"), ERR_UNKNOWN_OUTCOME},
    [GRPC_INVALID_ARGUMENT] = {S_INIT("INVALID_ARGUMENT"), S_INIT("3"), ERR_INVALID},
    [GRPC_DEADLINE_EXCEEDED] = {S_INIT("DEADLINE_EXCEEDED"), S_INIT("4"), ERR_TIMEOUT},
    [GRPC_NOT_FOUND] = {S_INIT("NOT_FOUND"), S_INIT("5"), ERR_NOT_FOUND},
    [GRPC_ALREADY_EXISTS] = {S_INIT("ALREADY_EXISTS"), S_INIT("6"), ERR_EXISTS},
    [GRPC_PERMISSION_DENIED] = {S_INIT("PERMISSION_DENIED"), S_INIT("7"), ERR_FORBIDDEN},
    [GRPC_RESOURCE_EXHAUSTED] = {S_INIT("RESOURCE_EXHAUSTED"), S_INIT("8"), ERR_LIMIT},
    [GRPC_FAILED_PRECONDITION] = {S_INIT("FAILED_PRECONDITION"), S_INIT("9"), ERR_CONFLICT},
    [GRPC_ABORTED] = {S_INIT("ABORTED"), S_INIT("10"), ERR_CONFLICT},
    [GRPC_OUT_OF_RANGE] = {S_INIT("OUT_OF_RANGE"), S_INIT("11"), ERR_GONE},
    [GRPC_UNIMPLEMENTED] = {S_INIT("UNIMPLEMENTED"), S_INIT("12"), ERR_UNSUPPORTED},
    [GRPC_INTERNAL] = {S_INIT("INTERNAL"), S_INIT("13"), ERR_INTERNAL},
    [GRPC_UNAVAILABLE] = {S_INIT("UNAVAILABLE"), S_INIT("14"), ERR_UNAVAILABLE},
    [GRPC_DATA_LOSS] = {S_INIT("DATA_LOSS"), S_INIT("15"), ERR_CORRUPT},
    [GRPC_UNAUTHENTICATED] = {S_INIT("UNAUTHENTICATED"), S_INIT("16"), ERR_UNAUTHENTICATED},
};
static_assert(ARRAY_LEN(statuses) == GRPC_STATUS_COUNT, "one row a status");

static size_t row(int status)
{
    return status >= 0 && status < GRPC_STATUS_COUNT ? (size_t)status : (size_t)GRPC_UNKNOWN;
}

const char *grpc_status_name(int status)
{
    return statuses[row(status)].name.p;
}

bool grpc_status_parse(struct slice name, enum grpc_status *ret_status)
{
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        if (slice_eq(name, statuses[i].name)) {
            *ret_status = (enum grpc_status)i;
            return true;
        }
    }
    return false;
}

enum grpc_status grpc_status_of_http(int http_status)
{
    switch (http_status) {
    case 400:
        return GRPC_INTERNAL;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
        return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return GRPC_UNKNOWN;
    }
}

enum grpc_status grpc_status_of_h2(uint32_t h2_error)
{
    switch (h2_error) {
    case H2_REFUSED_STREAM:
        return GRPC_UNAVAILABLE;
    case H2_CANCEL:
        return GRPC_CANCELLED;
    case H2_ENHANCE_YOUR_CALM:
        return GRPC_RESOURCE_EXHAUSTED;
    case 12: /* INADEQUATE_SECURITY */
        return GRPC_PERMISSION_DENIED;
    default:
        return GRPC_INTERNAL;
    }
}

/* Framing. */

#define PARTIAL_KEEP (16u * 1024) /* memory that a stream between messages may hold */

void grpc_frame_head(char dst[GRPC_FRAME_HEAD], uint32_t message_bytes)
{
    dst[0] = 0;
    dst[1] = (char)(message_bytes >> 24);
    dst[2] = (char)(message_bytes >> 16);
    dst[3] = (char)(message_bytes >> 8);
    dst[4] = (char)message_bytes;
}

static bool head_ready(struct grpc_deframer *d, struct slice *in)
{
    while (d->head_n < GRPC_FRAME_HEAD && in->n) {
        d->head[d->head_n++] = (uint8_t)in->p[0];
        *in = slice_skip(*in, 1);
    }
    return d->head_n == GRPC_FRAME_HEAD;
}

static bool head_read(struct grpc_deframer *d, struct err *err)
{
    const uint8_t *h = d->head;
    size_t max = d->message_bytes_max ? d->message_bytes_max : GRPC_MESSAGE_BYTES;
    if (h[0] == 1)
        return err_set(err, ERR_UNSUPPORTED, "grpc: compressed message; no grpc-encoding is taken");
    if (h[0] != 0)
        return err_set(err, ERR_INVALID, "grpc: message flag %u", h[0]);
    d->need = (uint32_t)h[1] << 24 | (uint32_t)h[2] << 16 | (uint32_t)h[3] << 8 | h[4];
    if (d->need > max)
        return err_set(err, ERR_LIMIT, "grpc: message of %u bytes, at most %zu", d->need, max);
    return true;
}

static void forget(struct grpc_deframer *d)
{
    d->given = false;
    if (d->partial.cap > PARTIAL_KEEP)
        buf_fini(&d->partial);
    else
        buf_clear(&d->partial);
}

enum grpc_deframe_result grpc_deframe(struct grpc_deframer *d, struct slice *in,
                                      struct slice *ret_message, struct err *err)
{
    if (d->given)
        forget(d);
    bool fresh = d->head_n < GRPC_FRAME_HEAD;
    if (!head_ready(d, in))
        return GRPC_MORE;
    if (fresh && !head_read(d, err))
        return GRPC_BAD;
    if (!d->partial.n && in->n >= d->need) {
        *ret_message = slice_sub(*in, 0, d->need);
        *in = slice_skip(*in, d->need);
        d->head_n = 0;
        return GRPC_MESSAGE;
    }
    struct slice part = slice_sub(*in, 0, d->need - d->partial.n);
    *in = slice_skip(*in, part.n);
    buf_append(&d->partial, part);
    if (d->partial.n < d->need)
        return GRPC_MORE;
    *ret_message = buf_slice(&d->partial);
    d->head_n = 0;
    d->given = true;
    return GRPC_MESSAGE;
}

bool grpc_deframer_partial(const struct grpc_deframer *d)
{
    return d->head_n != 0;
}

void grpc_deframer_fini(struct grpc_deframer *d)
{
    buf_fini(&d->partial);
    *d = (struct grpc_deframer){0};
}

/* Metadata. */

bool grpc_timeout_parse(struct slice value, wf_ms *ret_ms)
{
    uint64_t n;
    if (value.n < 2 || value.n > 9 || !slice_u64(slice_sub(value, 0, value.n - 1), &n))
        return false;
    switch (value.p[value.n - 1]) {
    case 'H':
        *ret_ms = (wf_ms)(n * 3600000);
        return true;
    case 'M':
        *ret_ms = (wf_ms)(n * 60000);
        return true;
    case 'S':
        *ret_ms = (wf_ms)(n * 1000);
        return true;
    case 'm':
        *ret_ms = (wf_ms)n;
        return true;
    case 'u':
        *ret_ms = (wf_ms)((n + 999) / 1000);
        return true;
    case 'n':
        *ret_ms = (wf_ms)((n + 999999) / 1000000);
        return true;
    default:
        return false;
    }
}

struct slice grpc_timeout_format(wf_ms ms, char dst[GRPC_TIMEOUT_TEXT])
{
    static const struct {
        wf_ms ms;
        char unit;
    } units[] = {{1, 'm'}, {1000, 'S'}, {60000, 'M'}, {3600000, 'H'}};
    uint64_t n = ms > 0 ? (uint64_t)ms : 0, digits = n;
    size_t u = 0;
    while (digits > 99999999 && u + 1 < ARRAY_LEN(units))
        digits = n / (uint64_t)units[++u].ms;
    if (digits > 99999999)
        digits = 99999999; /* 11,000 years */
    char *end = dst + GRPC_TIMEOUT_TEXT, *p = end;
    *--p = units[u].unit;
    do
        *--p = (char)('0' + digits % 10);
    while (digits /= 10);
    return (struct slice){p, (size_t)(end - p)};
}

static bool plain(char c)
{
    return c >= ' ' && c <= '~' && c != '%';
}

struct slice grpc_message_encode(struct slice text, struct arena *arena)
{
    text = slice_sub(text, 0, GRPC_ERROR_BYTES);
    size_t odd = 0;
    for (size_t i = 0; i < text.n; i++)
        odd += !plain(text.p[i]);
    /* A field value may not begin or end with a blank (RFC 9113 §8.2.1). */
    bool edges = text.n && (text.p[0] == ' ' || text.p[text.n - 1] == ' ');
    if (!odd && !edges)
        return arena_dup(arena, text);
    char *p = arena_alloc(arena, text.n + 2 * odd + 4);
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        bool edge = text.p[i] == ' ' && (i == 0 || i + 1 == text.n);
        if (plain(text.p[i]) && !edge) {
            p[n++] = text.p[i];
            continue;
        }
        uint8_t b = (uint8_t)text.p[i];
        p[n++] = '%';
        p[n++] = "0123456789ABCDEF"[b >> 4];
        p[n++] = "0123456789ABCDEF"[b & 15];
    }
    return (struct slice){p, n};
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

struct slice grpc_message_decode(struct slice value, struct arena *arena)
{
    char *p = arena_alloc(arena, value.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < value.n; i++) {
        int high = -1, low = -1;
        if (value.p[i] == '%' && i + 2 < value.n) {
            high = hex(value.p[i + 1]);
            low = hex(value.p[i + 2]);
        }
        bool escape = high >= 0 && low >= 0;
        p[n++] = (char)(escape ? high << 4 | low : value.p[i]);
        i += escape ? 2 : 0;
    }
    return (struct slice){p, n};
}

bool grpc_content_type(struct slice value)
{
    const struct slice base = S("application/grpc");
    if (!slice_eq_nocase(slice_sub(value, 0, base.n), base))
        return false;
    return value.n == base.n || value.p[base.n] == '+' || value.p[base.n] == ';' ||
           value.p[base.n] == ' ';
}

void grpc_response_head(struct http_head *ret_head, struct arena *arena)
{
    *ret_head = (struct http_head){.status = 200};
    headers_add(&ret_head->headers, arena, HDR_CONTENT_TYPE, S("application/grpc"));
}

static void add_status(struct headers *hs, struct arena *arena, int status, struct slice message)
{
    headers_add(hs, arena, HDR_GRPC_STATUS, statuses[row(status)].digits);
    if (message.n)
        headers_add(hs, arena, HDR_GRPC_MESSAGE, grpc_message_encode(message, arena));
}

void grpc_trailers(struct headers *ret_trailers, struct arena *arena, int status,
                   struct slice message)
{
    *ret_trailers = (struct headers){0};
    add_status(ret_trailers, arena, status, message);
}

void grpc_trailers_only(struct http_head *ret_head, struct arena *arena, int status,
                        struct slice message)
{
    grpc_response_head(ret_head, arena);
    add_status(&ret_head->headers, arena, status, message);
}

bool grpc_status_read(const struct headers *hs, struct arena *arena, int *ret_status,
                      struct slice *ret_message)
{
    const struct header *h = headers_get(hs, HDR_GRPC_STATUS);
    uint32_t n;
    if (!h)
        return false;
    *ret_status = slice_u32(h->value, &n) && n < GRPC_STATUS_COUNT ? (int)n : GRPC_UNKNOWN;
    *ret_message = grpc_message_decode(headers_value(hs, HDR_GRPC_MESSAGE), arena);
    return true;
}

void grpc_request_head(struct http_head *ret_head, struct arena *arena, struct slice scheme,
                       struct slice authority, struct slice path, wf_ms timeout)
{
    *ret_head = (struct http_head){
        .method = S("POST"),
        .scheme = scheme,
        .authority = authority,
        .path = path,
        .method_id = HTTP_POST,
    };
    struct headers *hs = &ret_head->headers;
    headers_add(hs, arena, HDR_TE, S("trailers"));
    headers_add(hs, arena, HDR_CONTENT_TYPE, S("application/grpc"));
    headers_add(hs, arena, HDR_USER_AGENT, S("weft/" WEFT_VERSION));
    if (timeout > 0) {
        char *text = arena_alloc(arena, GRPC_TIMEOUT_TEXT);
        headers_add(hs, arena, HDR_GRPC_TIMEOUT, grpc_timeout_format(timeout, text));
    }
}
