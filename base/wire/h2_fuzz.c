/* An HTTP/2 session fed with hostile frames behind a good preface. The owner answers requests,
 * opens some of its own, and keeps the books: no event for a stream that was closed or never
 * opened, no body beyond the window.
 */
#include "base/core/assert.h"
#include "base/wire/h2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LIVE_MAX 256 /* streams_max is 100 */

struct owner {
    struct h2 *h2;
    bool server;
    int32_t live[LIVE_MAX], last;
    uint32_t live_n;
    size_t unconsumed;
    uint32_t turn;
};

static uint32_t find(const struct owner *o, int32_t id)
{
    uint32_t i = 0;
    while (i < o->live_n && o->live[i] != id)
        i++;
    return i;
}

static void must_live(const struct owner *o, int32_t id)
{
    wf_assert(find(o, id) < o->live_n);
}

static void born(struct owner *o, int32_t id)
{
    wf_assert(id > o->last && o->live_n < LIVE_MAX);
    o->last = id;
    o->live[o->live_n++] = id;
}

static void on_headers(void *ctx, int32_t id, void *user, enum h2_kind kind, struct http_head *head,
                       bool end)
{
    struct owner *o = ctx;
    (void)user, (void)end;
    if (kind != H2_REQUEST) {
        must_live(o, id);
        return;
    }
    wf_assert(o->server);
    born(o, id);
    wf_assert(header_name_ok(head->method) && head->authority.n);
    for (uint32_t i = 0; i < head->headers.n; i++) {
        wf_assert(header_name_ok(head->headers.p[i].name));
        wf_assert(header_value_ok(head->headers.p[i].value));
    }
    const struct http_head answer = {.status = 200};
    h2_respond(o->h2, id, &answer, id % 4 == 1);
}

static void on_data(void *ctx, int32_t id, void *user, struct slice bytes, bool end)
{
    struct owner *o = ctx;
    (void)user, (void)end;
    must_live(o, id);
    o->unconsumed += bytes.n;
    wf_assert(o->unconsumed <= 1 << 20);
    if (++o->turn % 3) {
        h2_consume(o->h2, id, bytes.n);
        o->unconsumed -= bytes.n;
    }
}

static enum h2_read on_read(void *ctx, int32_t id, void *user, char *dst, size_t n, size_t *ret_n)
{
    struct owner *o = ctx;
    (void)user;
    must_live(o, id);
    size_t k = n < 10 ? n : 10;
    for (size_t i = 0; i < k; i++)
        dst[i] = 'x';
    *ret_n = k;
    switch (++o->turn % 5) {
    case 0:
        *ret_n = 0;
        return H2_READ_WAIT;
    case 1:
        return H2_READ_END;
    case 2:
        return h2_trailers(o->h2, id, &(struct headers){0}) ? H2_READ_TRAILERS : H2_READ_RESET;
    case 3:
        return H2_READ_RESET;
    default:
        return H2_READ_SOME;
    }
}

static void on_close(void *ctx, int32_t id, void *user, uint32_t code)
{
    struct owner *o = ctx;
    (void)user, (void)code;
    must_live(o, id);
    o->live[find(o, id)] = o->live[--o->live_n];
}

static const struct h2_events events = {
    .on_headers = on_headers, .on_data = on_data, .on_read = on_read, .on_close = on_close};

static void open_some(struct owner *o)
{
    const struct http_head head = {.method = S("GET"),
                                   .scheme = S("http"),
                                   .authority = S("a"),
                                   .path = S("/"),
                                   .method_id = HTTP_GET};
    for (int i = 0; i < 4; i++) {
        int32_t id = h2_request(o->h2, &head, i & 1, NULL);
        wf_assert(id > 0);
        born(o, id);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct owner o = {.server = size && data[0] & 1};
    struct buf out = {0};
    if (size < 2)
        return 0;
    o.h2 = o.server ? h2_server_new(NULL, &events, &o) : h2_client_new(NULL, &events, &o);
    bool fine = true;
    if (o.server)
        fine = h2_recv(o.h2, 0, S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"), NULL);
    else
        open_some(&o);
    fine = fine && h2_send(o.h2, &out, 65536, NULL);
    size_t step = 1 + data[1];
    for (size_t at = 2; fine && at < size; at += step) {
        size_t n = at + step < size ? step : size - at;
        fine = h2_recv(o.h2, (wf_ms)at, slice_mem(data + at, n), NULL);
        buf_clear(&out);
        fine &= h2_send(o.h2, &out, 65536, NULL);
        h2_resume(o.h2, 1);
    }
    h2_free(o.h2);
    buf_fini(&out);
    return 0;
}
