/* weft's API: POST creates, PUT changes, GET reads, HTTP/1.1 with keep-alive. */
#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/wire/http1.h"
#include "bench/regload/client.h"

#define PATH "/apis/networking.istio.io/v1/namespaces/default/workloadentries"

struct weft_client {
    struct env_stream *stream;
    const struct regload_events *events;
    void *ctx;
    struct buf in;
    struct arena arena;
    struct http1_progress at;
    struct http1_head head;
    struct http1_chunked chunked;
    uint64_t body_left;
    bool in_body;
};

static void client_free(struct weft_client *c)
{
    buf_fini(&c->in);
    arena_fini(&c->arena);
    mem_free(c);
}

static void fail(struct weft_client *c, struct slice why)
{
    env_stream_set_events(c->stream, NULL, NULL);
    env_stream_close(c->stream);
    c->events->on_close(c->ctx, why);
    client_free(c);
}

/* true: the whole body is here. */
static bool body_done(struct weft_client *c, bool *ret_bad)
{
    struct slice in = buf_slice(&c->in), data;
    struct headers trailers;
    enum http1_result r = HTTP1_MORE;
    if (c->head.body == HTTP1_BODY_LENGTH) {
        size_t n = in.n < c->body_left ? in.n : (size_t)c->body_left;
        c->body_left -= n;
        buf_consume(&c->in, n);
        return c->body_left == 0;
    }
    if (c->head.body != HTTP1_BODY_CHUNKED)
        return true;
    do
        r = http1_chunked_next(&c->chunked, &in, &c->arena, &data, &trailers);
    while (r == HTTP1_MORE && data.n);
    buf_consume(&c->in, c->in.n - in.n);
    *ret_bad = r == HTTP1_BAD;
    return r == HTTP1_DONE;
}

static void answered(struct weft_client *c)
{
    char why[32];
    uint16_t status = c->head.http.status;
    int n = snprintf(why, sizeof(why), "status %u", status);
    c->in_body = false;
    c->at = (struct http1_progress){0};
    c->chunked = (struct http1_chunked){0};
    arena_reset(&c->arena);
    c->events->on_done(c->ctx, status / 100 == 2, slice_mem(why, (size_t)n));
}

static void on_data(void *ctx, struct slice bytes)
{
    struct weft_client *c = ctx;
    bool bad = false;
    buf_append(&c->in, bytes);
    if (!c->in_body) {
        enum http1_result r =
            http1_parse_response(&c->at, buf_slice(&c->in), HTTP_POST, NULL, &c->arena, &c->head);
        if (r == HTTP1_BAD)
            fail(c, S("bad response"));
        if (r != HTTP1_DONE)
            return;
        c->in_body = true;
        c->body_left = c->head.length;
        buf_consume(&c->in, c->head.bytes);
    }
    if (body_done(c, &bad))
        answered(c);
    else if (bad)
        fail(c, S("bad chunk"));
}

static void on_connect(void *ctx)
{
    struct weft_client *c = ctx;
    c->events->on_ready(c->ctx);
}

static void on_close(void *ctx, const struct err *why)
{
    struct weft_client *c = ctx;
    c->events->on_close(c->ctx, slice_of(why->code ? why->msg : "closed"));
    client_free(c);
}

static const struct env_stream_events stream_events = {
    .on_connect = on_connect, .on_data = on_data, .on_close = on_close};

static struct regload_client *client_open(struct env *env, const struct env_addr *to,
                                          const struct regload_events *events, void *ctx)
{
    struct weft_client *c = MEM_NEW(struct weft_client);
    c->events = events;
    c->ctx = ctx;
    c->stream = env_connect(env, to, NULL, &stream_events, c);
    return (struct regload_client *)c;
}

static void client_put(struct regload_client *client, const struct regload_put *put)
{
    struct weft_client *c = (struct weft_client *)client;
    char name[REGLOAD_KEY_BYTES], head[256], bytes[REGLOAD_VALUE_BYTES_MAX];
    struct slice item = put->create ? S("") : regload_name(put->key, name);
    int n = snprintf(head, sizeof(head),
                     "%s " PATH "%s%.*s HTTP/1.1\r\nHost: weft\r\nContent-Type: "
                     "application/json\r\nContent-Length: %u\r\n\r\n",
                     put->create ? "POST" : "PUT", put->create ? "" : "/", SLICE(item), put->bytes);
    wf_assert(n > 0 && (size_t)n < sizeof(head));
    struct slice value = regload_value(put, bytes);
    struct iovec iov[] = {{head, (size_t)n}, {bytes, value.n}};
    env_stream_write(c->stream, iov, 2);
}

static void client_get(struct regload_client *client, uint64_t key)
{
    struct weft_client *c = (struct weft_client *)client;
    char name[REGLOAD_KEY_BYTES], head[256];
    int n = snprintf(head, sizeof(head),
                     "GET " PATH "/%.*s?consistency=linearizable HTTP/1.1\r\nHost: weft\r\n\r\n",
                     SLICE(regload_name(key, name)));
    wf_assert(n > 0 && (size_t)n < sizeof(head));
    env_stream_write(c->stream, &(struct iovec){head, (size_t)n}, 1);
}

static void client_close(struct regload_client *client)
{
    struct weft_client *c = (struct weft_client *)client;
    if (!c)
        return;
    env_stream_set_events(c->stream, NULL, NULL);
    env_stream_close(c->stream);
    client_free(c);
}

const struct regload_store regload_weft = {.name = "weft",
                                           .open = client_open,
                                           .put = client_put,
                                           .get = client_get,
                                           .close = client_close};
