#include "proxy/pool.h"
#include "proxy/test_world.h"

/* An HTTP/2 end of a connection. */

struct peer {
    struct list_node node;
    struct world *w;
    struct fake *f; /* server only */
    struct env_stream *es;
    struct h2 *h2;
    struct list calls;
    bool closed, goaway, no_consume;
};

/* One stream, at either end. */
struct call {
    struct list_node node;
    struct peer *p;
    int32_t id;
    int status, informational;
    char grpc_status[8], path[64], server[16];
    struct buf in, out;
    uint64_t received, big_left;
    bool head_end, end, closed, out_end, trailers_out, tunnel, cut;
    uint32_t code;
    size_t unconsumed;
};

static void peer_flush(struct peer *p)
{
    struct buf out = {0};
    struct err err;
    if (p->closed)
        return;
    h2_send(p->h2, &out, 1u << 20, &err);
    struct slice s = buf_slice(&out);
    struct iovec iov = {(void *)(uintptr_t)s.p, s.n};
    if (s.n)
        env_stream_write(p->es, &iov, 1);
    buf_fini(&out);
}

static enum h2_read call_read(void *ctx, int32_t id, void *user, char *dst, size_t n, size_t *ret_n)
{
    struct peer *p = ctx;
    struct call *c = user;
    if (c->big_left) {
        if (env_stream_queued(p->es) > 1u << 20)
            return H2_READ_WAIT;
        *ret_n = n < c->big_left ? n : (size_t)c->big_left;
        memset(dst, 'b', *ret_n);
        c->big_left -= *ret_n;
        if (p->f)
            p->f->written += *ret_n;
        return c->big_left ? H2_READ_SOME : H2_READ_END;
    }
    struct slice out = buf_slice(&c->out);
    *ret_n = out.n < n ? out.n : n;
    if (*ret_n)
        memcpy(dst, out.p, *ret_n);
    buf_consume(&c->out, *ret_n);
    if (c->out.n || (!c->out_end && *ret_n))
        return H2_READ_SOME;
    if (c->cut)
        return H2_READ_RESET;
    if (!c->out_end)
        return H2_READ_WAIT;
    if (!c->trailers_out)
        return H2_READ_END;
    struct arena a = {0};
    struct headers hs = {0};
    headers_add(&hs, &a, HDR_GRPC_STATUS, S("7"));
    headers_add_name(&hs, &a, S("x-end"), S("yes"));
    h2_trailers(p->h2, id, &hs);
    arena_fini(&a);
    return H2_READ_TRAILERS;
}

static void call_close(void *ctx, int32_t id, void *user, uint32_t code)
{
    struct call *c = user;
    (void)ctx;
    (void)id;
    if (!c)
        return;
    c->closed = true;
    c->code = code;
    if (c->p->f && code != H2_NO_ERROR)
        c->p->f->aborted++;
}

static void call_body(void *ctx, int32_t id, void *user, struct slice bytes, bool end);

static struct call *call_new(struct peer *p)
{
    struct call *c = MEM_NEW(struct call);
    c->p = p;
    list_push(&p->calls, &c->node);
    return c;
}

static void call_facts(struct call *c, const struct headers *hs)
{
    slice_cstr(headers_value(hs, HDR_GRPC_STATUS), c->grpc_status, sizeof(c->grpc_status));
    slice_cstr(headers_value(hs, HDR_SERVER), c->server, sizeof(c->server));
}

/* Fake upstream. */

static void respond(struct call *c, int status, const char *body, bool trailers)
{
    struct arena a = {0};
    struct http_head head = {.status = (uint16_t)status};
    if (trailers)
        headers_add(&head.headers, &a, HDR_CONTENT_TYPE, S("application/grpc"));
    h2_respond(c->p->h2, c->id, &head, true);
    buf_append(&c->out, slice_of(body));
    c->out_end = true;
    c->trailers_out = trailers;
    arena_fini(&a);
}

static void trailers_only(struct call *c, struct slice status)
{
    struct arena a = {0};
    struct http_head head = {.status = 200};
    headers_add(&head.headers, &a, HDR_CONTENT_TYPE, S("application/grpc"));
    headers_add(&head.headers, &a, HDR_GRPC_STATUS, status);
    h2_respond(c->p->h2, c->id, &head, false);
    arena_fini(&a);
}

static void serve(struct call *c)
{
    struct fake *f = c->p->f;
    struct slice path = slice_of(f->always ? f->always : c->path);
    uint64_t n;
    f->requests++;
    if (f->fail_first > 0) {
        f->fail_first--;
        trailers_only(c, S("14"));
    } else if (slice_eq(path, S("/ok")))
        respond(c, 200, "ok", false);
    else if (slice_eq(path, S("/echo"))) {
        char *text = mem_new(c->in.n + 1);
        slice_cstr(buf_slice(&c->in), text, c->in.n + 1);
        respond(c, 200, text, false);
        mem_free(text);
    } else if (slice_eq(path, S("/grpc")))
        respond(c, 200, "message", true);
    else if (slice_eq(path, S("/refuse")))
        h2_reset(c->p->h2, c->id, H2_REFUSED_STREAM);
    else if (slice_eq(path, S("/reset")))
        h2_reset(c->p->h2, c->id, H2_INTERNAL_ERROR);
    else if (slice_eq(path, S("/cut"))) {
        struct http_head head = {.status = 200};
        h2_respond(c->p->h2, c->id, &head, true);
        buf_append(&c->out, S("part"));
        c->cut = true;
    } else if (slice_eq(path, S("/goaway"))) {
        respond(c, 200, "last", false);
        h2_drain(c->p->h2);
    } else if (slice_starts(path, S("/big/")) && slice_u64(slice_skip(path, 5), &n)) {
        struct http_head head = {.status = 200};
        h2_respond(c->p->h2, c->id, &head, true);
        c->big_left = n;
    }
}

static void fake_headers(void *ctx, int32_t id, void *user, enum h2_kind kind,
                         struct http_head *head, bool end)
{
    struct peer *p = ctx;
    struct call *c = user;
    if (kind == H2_TRAILERS) {
        slice_cstr(headers_value(&head->headers, HDR_GRPC_STATUS), c->grpc_status,
                   sizeof(c->grpc_status));
        c->end = true;
        serve(c);
        return;
    }
    c = call_new(p);
    c->id = id;
    h2_set_user(p->h2, id, c);
    slice_cstr(head->path, c->path, sizeof(c->path));
    buf_clear(&p->f->last);
    for (uint32_t i = 0; i < head->headers.n; i++)
        buf_printf(&p->f->last, "%.*s: %.*s\n", SLICE(head->headers.p[i].name),
                   SLICE(head->headers.p[i].value));
    if (head->protocol.n) {
        struct http_head answer = {.status = 200};
        c->tunnel = true;
        h2_respond(p->h2, id, &answer, true);
    } else if (end) {
        c->end = true;
        serve(c);
    } else if (slice_eq(head->path, S("/early"))) {
        p->f->requests++;
        respond(c, 200, "early", false);
    }
}

static void call_body(void *ctx, int32_t id, void *user, struct slice bytes, bool end)
{
    struct peer *p = ctx;
    struct call *c = user;
    if (!c)
        return;
    c->received += bytes.n;
    if (c->in.n < 100000)
        buf_append(&c->in, bytes);
    if (p->no_consume)
        c->unconsumed += bytes.n;
    else
        h2_consume(p->h2, id, bytes.n);
    c->end = c->end || end;
    if (c->tunnel) {
        buf_append(&c->out, bytes);
        c->out_end = end;
        h2_resume(p->h2, id);
    } else if (end && p->f && strcmp(c->path, "/early") != 0) {
        serve(c);
    }
}

static const struct h2_events fake_h2_events = {
    .on_headers = fake_headers, .on_data = call_body, .on_read = call_read, .on_close = call_close};

static void peer_data(void *ctx, struct slice bytes)
{
    struct peer *p = ctx;
    struct err err;
    h2_recv(p->h2, env_now(p->w->env), bytes, &err);
    peer_flush(p);
}

static void peer_free(struct peer *p)
{
    struct list_node *n;
    while ((n = list_pop(&p->calls))) {
        struct call *c = container_of(n, struct call, node);
        buf_fini(&c->in);
        buf_fini(&c->out);
        mem_free(c);
    }
    h2_free(p->h2);
    mem_free(p);
}

static void peer_end(void *ctx)
{
    struct peer *p = ctx;
    env_stream_close(p->es);
}

static void peer_drained(void *ctx)
{
    struct peer *p = ctx;
    LIST_EACH (&p->calls, n)
        h2_resume(p->h2, container_of(n, struct call, node)->id);
    peer_flush(p);
}

static void fake_h2_close(void *ctx, const struct err *why)
{
    struct peer *p = ctx;
    (void)why;
    p->f->open--;
    peer_free(p);
}

static const struct env_stream_events fake_stream_events = {
    .on_data = peer_data, .on_end = peer_end, .on_drain = peer_drained, .on_close = fake_h2_close};

static void fake_h2_accept(void *ctx, struct env_stream *es)
{
    struct fake *f = ctx;
    struct peer *p = MEM_NEW(struct peer);
    struct h2_options opt = {.extended_connect = true};
    p->w = f->world;
    p->f = f;
    p->es = es;
    p->h2 = h2_server_new(&opt, &fake_h2_events, p);
    list_init(&p->calls);
    f->accepted++;
    f->open++;
    env_stream_set_events(es, &fake_stream_events, p);
    peer_flush(p);
}

/* Client. */

static void client_headers(void *ctx, int32_t id, void *user, enum h2_kind kind,
                           struct http_head *head, bool end)
{
    struct call *c = user;
    (void)ctx;
    (void)id;
    if (kind == H2_INFORMATIONAL)
        c->informational = head->status;
    else if (kind == H2_RESPONSE)
        c->status = head->status;
    c->head_end = kind == H2_RESPONSE && end;
    c->end = c->end || end;
    call_facts(c, &head->headers);
}

static void client_goaway(void *ctx, int32_t last, uint32_t code)
{
    struct peer *p = ctx;
    (void)last;
    (void)code;
    p->goaway = true;
}

static const struct h2_events client_h2_events = {.on_headers = client_headers,
                                                  .on_data = call_body,
                                                  .on_read = call_read,
                                                  .on_close = call_close,
                                                  .on_goaway = client_goaway};

static void client_h2_close(void *ctx, const struct err *why)
{
    struct peer *p = ctx;
    (void)why;
    p->closed = true;
    p->es = NULL;
}

static const struct env_stream_events client_stream_events = {.on_data = peer_data,
                                                              .on_end = peer_end,
                                                              .on_drain = peer_drained,
                                                              .on_close = client_h2_close};

static struct peer *h2_open(struct world *w)
{
    struct peer *p = MEM_NEW(struct peer);
    p->w = w;
    list_init(&p->calls);
    p->h2 = h2_client_new(NULL, &client_h2_events, p);
    p->es = env_connect(w->env, &w->proxy, NULL, &client_stream_events, p);
    peer_flush(p);
    return p;
}

static void h2_close(struct peer *p)
{
    if (p->es)
        env_stream_close(p->es);
    UNTIL(p->w, p->closed);
    peer_free(p);
}

struct ask {
    const char *path, *method, *content_type, *body, *protocol;
    bool keep_open, trailers;
};

static struct call *call(struct peer *p, const struct ask *a)
{
    struct arena arena = {0};
    struct call *c = call_new(p);
    struct http_head head = {.method = slice_of(a->method ? a->method : "GET"),
                             .scheme = S("http"),
                             .authority = S("reviews"),
                             .path = slice_of(a->path),
                             .protocol = slice_of(a->protocol)};
    head.method_id = (uint8_t)http_method_parse(head.method);
    if (a->content_type)
        headers_add(&head.headers, &arena, HDR_CONTENT_TYPE, slice_of(a->content_type));
    headers_add(&head.headers, &arena, HDR_TE, S("trailers"));
    if (a->body)
        buf_append(&c->out, slice_of(a->body));
    c->out_end = !a->keep_open;
    c->trailers_out = a->trailers;
    c->id = h2_request(p->h2, &head, a->body || a->keep_open || a->trailers, c);
    assert_true(c->id > 0);
    arena_fini(&arena);
    peer_flush(p);
    return c;
}

static void call_more(struct call *c, const char *text, bool end)
{
    buf_append(&c->out, slice_of(text));
    c->out_end = end;
    h2_resume(c->p->h2, c->id);
    peer_flush(c->p);
}

#define GRPC .method = "POST", .content_type = "application/grpc", .body = "m"

/* Trees. */

static void tune_h2(struct parts *p)
{
    p->cluster->protocol = UPSTREAM_HTTP2;
}

static void tune_h2_retry(struct parts *p)
{
    tune_h2(p);
    p->route->has_retry = true;
    p->route->retry = (struct retry_policy){
        .on = RETRY_REFUSED_STREAM | RETRY_GRPC_UNAVAILABLE, .attempts_max = 2, .backoff_base = 1};
}

/* HTTP/1 upstream, HTTP/2 client and so on: bit 0 client, bit 1 upstream. */
static void world_of(struct world *w, int kind, size_t fakes)
{
    world_begin_with(w, fakes, kind & 2 ? fake_h2_accept : fake_accept);
    world_run(w, kind & 2 ? tune_h2 : NULL);
}

/* Wrong: one of the four translations loses a body, a trailer or a status. */
static void test_translation(void **state)
{
    (void)state;
    for (int kind = 1; kind <= 3; kind++) {
        struct world w;
        world_of(&w, kind, 1);
        if (kind == 2) { /* HTTP/1 client */
            struct client *c = client_open(&w);
            assert_int_equal(client_get(c, "/ok"), 200);
            UNTIL(&w, client_has(c, "2\r\nok\r\n0\r\n\r\n")); /* no length came: chunked */
            buf_clear(&c->in);
            client_send(c, "POST /echo HTTP/1.1\r\nhost: reviews\r\ntransfer-encoding: chunked\r\n"
                           "\r\n5\r\nhello\r\n0\r\ngrpc-status: 3\r\n\r\n");
            UNTIL(&w, client_has(c, "hello"));
            buf_clear(&c->in);
            client_send(c, "GET /grpc HTTP/1.1\r\nhost: reviews\r\n\r\n");
            UNTIL(&w, client_has(c, "grpc-status: 7\r\nx-end: yes\r\n\r\n"));
            world_end(&w);
            continue;
        }
        struct peer *p = h2_open(&w);
        struct call *ok = call(p, &(struct ask){.path = "/ok"});
        struct call *echo =
            call(p, &(struct ask){.path = "/echo", .method = "POST", .body = "hello"});
        UNTIL(&w, ok->closed && echo->closed);
        assert_int_equal(ok->status, 200);
        check_slice(buf_slice(&ok->in), S("ok"));
        assert_string_equal(ok->server, "weft");
        assert_true(slice_contains(buf_slice(&echo->in), S("hello"))); /* fakes echo chunks too */
        assert_int_equal(echo->code, H2_NO_ERROR);
        struct call *tail = call(p, &(struct ask){.path = kind & 2 ? "/grpc" : "/chunked"});
        UNTIL(&w, tail->closed);
        if (kind & 2)
            assert_string_equal(tail->grpc_status, "7");
        else
            check_slice(buf_slice(&tail->in), S("abcdefg"));
        h2_close(p);
        world_end(&w);
    }
}

static void tune_second_only(struct parts *p)
{
    p->endpoints->items[0] = p->endpoints->items[1];
    p->endpoints->n = 1;
}

static void tune_second_only_h2(struct parts *p)
{
    tune_second_only(p);
    tune_h2(p);
}

/* Wrong: a request that waits for a connection to an endpoint that goes meanwhile waits for ever,
 * while one connection after the other is opened for it and closed again. */
static void test_endpoint_goes_while_connecting(void **state)
{
    (void)state;
    for (int kind = 0; kind <= 2; kind += 2) {
        struct world w;
        world_of(&w, kind, 2);
        struct client *c = client_open(&w);
        client_send(c, "GET /ok HTTP/1.1\r\nhost: reviews\r\n\r\n");
        UNTIL(&w, w.worker->stream_count == 1);
        struct up_conn *up = container_of(list_first(&w.worker->up_conns), struct up_conn, node);
        assert_int_equal(up->state, UP_CONNECTING);
        struct conf *next = world_conf(&w, kind ? tune_second_only_h2 : tune_second_only);
        assert_true(worker_apply(w.worker, next, NULL));
        conf_unref(next);
        UNTIL(&w, client_has(c, "HTTP/1.1 200 "));
        assert_int_equal(w.fakes[0].accepted, 1);
        UNTIL(&w, w.fakes[0].open == 0); /* and the connection is not kept */
        world_end(&w);
    }
}

/* Wrong: gRPC clients see "unknown" instead of the status. */
static void test_grpc(void **state)
{
    (void)state;
    struct world w;
    world_of(&w, 3, 1);
    struct peer *p = h2_open(&w);
    struct call *c = call(p, &(struct ask){.path = "/grpc", GRPC, .trailers = true});
    UNTIL(&w, c->closed);
    assert_string_equal(c->grpc_status, "7");
    check_slice(buf_slice(&c->in), S("message"));
    assert_true(metric_of(&w, "istio_requests_total", "grpc_response_status=\"7\"") == 1);
    assert_true(slice_contains(buf_slice(&w.fakes[0].last), S("te: trailers")));
    h2_close(p);
    world_end(&w);
    /* Nobody there: our own answer is a status too, not an HTTP error. */
    world_begin_with(&w, 1, fake_h2_accept);
    w.fake_n = 0; /* no endpoint */
    world_run(&w, tune_h2);
    w.fake_n = 1;
    p = h2_open(&w);
    c = call(p, &(struct ask){.path = "/grpc", GRPC});
    UNTIL(&w, c->closed);
    assert_int_equal(c->status, 200);
    assert_true(c->head_end);
    assert_string_equal(c->grpc_status, "14");
    assert_true(flag_seen(&w, "UH"));
    h2_close(p);
    world_end(&w);
}

/* Wrong: an upstream that says "not me, try again" is passed on as an error. */
static void test_refused_and_unavailable(void **state)
{
    (void)state;
    struct world w;
    world_begin_with(&w, 2, fake_h2_accept);
    world_run(&w, tune_h2_retry);
    w.fakes[0].always = "/refuse";
    struct peer *p = h2_open(&w);
    for (int i = 0; i < 6; i++) {
        struct call *c = call(p, &(struct ask){.path = "/ok", .method = "POST", .body = "x"});
        UNTIL(&w, c->closed);
        assert_int_equal(c->status, 200);
    }
    assert_true(w.fakes[0].requests > 0);
    w.fakes[0].always = NULL;
    w.fakes[0].fail_first = w.fakes[1].fail_first = 1;
    struct call *c = call(p, &(struct ask){.path = "/grpc", GRPC});
    UNTIL(&w, c->closed);
    assert_string_equal(c->grpc_status, "7"); /* after two UNAVAILABLE */
    h2_close(p);
    world_end(&w);
}

/* Wrong: an upstream's reset hangs the client, or takes its other streams along. */
static void test_resets(void **state)
{
    (void)state;
    struct world w;
    world_of(&w, 3, 1);
    struct peer *p = h2_open(&w);
    struct call *before = call(p, &(struct ask){.path = "/reset"});
    struct call *after = call(p, &(struct ask){.path = "/cut"});
    struct call *fine = call(p, &(struct ask){.path = "/ok"});
    UNTIL(&w, before->closed && after->closed && fine->closed);
    assert_int_equal(before->status, 503);
    assert_true(flag_seen(&w, "UR"));
    assert_int_equal(after->code, H2_INTERNAL_ERROR);
    assert_int_equal(fine->status, 200);
    assert_int_equal(w.fakes[0].accepted, 1);
    h2_close(p);
    world_end(&w);
}

/* Wrong: work goes on for calls that were cancelled. */
static void test_cancel(void **state)
{
    (void)state;
    for (int kind = 1; kind <= 3; kind += 2) {
        struct world w;
        world_of(&w, kind, 1);
        struct peer *p = h2_open(&w);
        struct call *c = call(p, &(struct ask){.path = "/hang"});
        UNTIL(&w, w.fakes[0].requests == 1);
        h2_reset(p->h2, c->id, H2_CANCEL);
        peer_flush(p);
        UNTIL(&w, w.fakes[0].aborted == 1 && w.worker->stream_count == 0);
        assert_true(flag_seen(&w, "DC"));
        struct call *next = call(p, &(struct ask){.path = "/ok"});
        UNTIL(&w, next->closed);
        assert_int_equal(next->status, 200);
        call(p, &(struct ask){.path = "/hang"});
        UNTIL(&w, w.fakes[0].requests == 3);
        h2_close(p); /* the whole connection */
        UNTIL(&w, w.fakes[0].aborted == 2 && w.worker->stream_count == 0);
        world_end(&w);
    }
}

/* Wrong: the answer that came early is lost, or the client goes on uploading. */
static void test_early(void **state)
{
    (void)state;
    for (int kind = 1; kind <= 3; kind += 2) {
        struct world w;
        world_of(&w, kind, 1);
        struct peer *p = h2_open(&w);
        struct call *c = call(
            p, &(struct ask){.path = "/early", .method = "POST", .body = "a", .keep_open = true});
        UNTIL(&w, c->closed);
        assert_int_equal(c->status, 200);
        check_slice(buf_slice(&c->in), S("early"));
        assert_int_equal(c->code, H2_NO_ERROR);
        assert_int_equal(w.worker->stream_count, 0);
        h2_close(p);
        world_end(&w);
    }
}

/* Wrong: an upstream that restarts gracefully costs requests. */
static void test_goaway(void **state)
{
    (void)state;
    struct world w;
    world_of(&w, 3, 1);
    struct peer *p = h2_open(&w);
    for (int i = 0; i < 10; i++) {
        struct call *c = call(p, &(struct ask){.path = i % 3 == 1 ? "/goaway" : "/ok"});
        UNTIL(&w, c->closed);
        assert_int_equal(c->status, 200);
    }
    assert_true(w.fakes[0].accepted >= 3);
    UNTIL(&w, w.fakes[0].open <= 1);
    h2_close(p);
    world_end(&w);
}

/* Wrong: one slow reader fills our memory. */
static void test_backpressure(void **state)
{
    (void)state;
    const uint64_t size = 32u << 20;
    for (int kind = 1; kind <= 3; kind += 2) {
        struct world w;
        world_of(&w, kind, 1);
        struct peer *p = h2_open(&w);
        p->no_consume = true;
        struct call *c = call(p, &(struct ask){.path = "/big/33554432"});
        UNTIL(&w, c->received >= 65535);
        uint64_t before;
        do {
            before = w.fakes[0].written;
            for (int i = 0; i < 20; i++)
                env_uv_turn(w.env, 2);
        } while (w.fakes[0].written != before);
        assert_true(w.fakes[0].written < size / 2);
        struct stream *s = container_of(list_first(&w.worker->streams), struct stream, node);
        assert_true(s->down_out.n <= 5u * PROXY_BODY_SOFT_BYTES);
        /* Other calls of the connection go on: windows are the stream's own. */
        p->no_consume = false;
        h2_consume(p->h2, c->id, c->unconsumed);
        peer_flush(p);
        UNTIL(&w, c->closed);
        assert_true(c->received == size);
        h2_close(p);
        world_end(&w);
    }
}

/* And upwards: the upstream does not take the upload. */
static void test_backpressure_upload(void **state)
{
    (void)state;
    for (int kind = 1; kind <= 3; kind += 2) {
        struct world w;
        world_of(&w, kind, 1);
        struct peer *p = h2_open(&w);
        struct call *c =
            call(p, &(struct ask){.path = "/hang", .method = "POST", .keep_open = true});
        UNTIL(&w, w.fakes[0].open == 1);
        if (kind & 2) /* its session window is 1 MiB: it takes no more */
            c->p = p;
        else
            env_stream_read_pause(
                container_of(list_first(&w.fakes[0].conns), struct fake_conn, node)->es);
        c->big_left = 32u << 20;
        h2_resume(p->h2, c->id);
        peer_flush(p);
        uint64_t before;
        do {
            before = c->big_left;
            for (int i = 0; i < 20; i++)
                env_uv_turn(w.env, 2);
        } while (c->big_left != before);
        struct stream *s = container_of(list_first(&w.worker->streams), struct stream, node);
        assert_true(s->up->queued(s) + s->body.n <= 5u * PROXY_BODY_SOFT_BYTES);
        if (!(kind & 2))
            assert_true(c->big_left > 16u << 20);
        h2_close(p);
        world_end(&w);
    }
}

/* Wrong: WebSockets die wherever one side speaks HTTP/2. */
static void test_websocket(void **state)
{
    (void)state;
    for (int kind = 1; kind <= 3; kind++) {
        struct world w;
        world_of(&w, kind, 1);
        if (kind == 2) {
            struct client *c = client_open(&w);
            client_send(c, "GET /ws HTTP/1.1\r\nhost: reviews\r\nconnection: upgrade\r\n"
                           "upgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                           "\r\n");
            UNTIL(&w, client_has(c, "\r\n\r\n"));
            assert_true(client_has(c, "HTTP/1.1 101 "));
            /* The example of RFC 6455 §1.3. */
            assert_true(client_has(c, "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
            client_send(c, "ping");
            UNTIL(&w, client_has(c, "ping"));
            env_stream_shutdown(c->es);
            UNTIL(&w, c->ended && w.worker->stream_count == 0);
            world_end(&w);
            continue;
        }
        struct peer *p = h2_open(&w);
        for (int i = 0; i < 2; i++) { /* the server's SETTINGS must have come first */
            struct call *first = call(p, &(struct ask){.path = "/ok"});
            UNTIL(&w, first->closed);
        }
        struct call *c = call(
            p, &(struct ask){
                   .path = "/ws", .method = "CONNECT", .protocol = "websocket", .keep_open = true});
        UNTIL(&w, c->status == 200);
        call_more(c, "ping", false);
        UNTIL(&w, slice_eq(buf_slice(&c->in), S("ping")));
        call_more(c, "pong", true);
        UNTIL(&w, c->closed);
        check_slice(buf_slice(&c->in), S("pingpong"));
        assert_int_equal(c->code, H2_NO_ERROR);
        h2_close(p);
        world_end(&w);
    }
}

static void tune_h2_few(struct parts *p)
{
    tune_h2(p);
    p->cluster->max_concurrent_streams = 2;
}

/* Wrong: more streams than an upstream bears go on one connection, or streams wait for ever. */
static void test_concurrency(void **state)
{
    (void)state;
    struct world w;
    struct call *c[10];
    world_begin_with(&w, 1, fake_h2_accept);
    world_run(&w, tune_h2_few);
    struct peer *p = h2_open(&w);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        c[i] = call(p, &(struct ask){.path = i < 4 ? "/hang" : "/ok"});
    for (size_t i = 4; i < ARRAY_LEN(c); i++)
        UNTIL(&w, c[i]->closed && c[i]->status == 200);
    assert_true(w.fakes[0].accepted >= 3);
    h2_close(p);
    world_end(&w);
}

/* Wrong: a worker that drains drops what is under way, or never ends. */
static void test_drain(void **state)
{
    (void)state;
    struct world w;
    world_of(&w, 3, 1);
    struct peer *p = h2_open(&w);
    struct call *slow =
        call(p, &(struct ask){.path = "/echo", .method = "POST", .body = "a", .keep_open = true});
    UNTIL(&w, w.fakes[0].open == 1);
    worker_drain(w.worker);
    UNTIL(&w, p->goaway);
    call_more(slow, "b", true);
    UNTIL(&w, slow->closed);
    check_slice(buf_slice(&slow->in), S("ab"));
    UNTIL(&w, p->closed); /* its last stream has ended */
    peer_free(p);
    world_end(&w);
}

/* Wrong: 1,000 calls at a time mix up their bodies. */
static void test_many(void **state)
{
    (void)state;
    for (int kind = 1; kind <= 3; kind += 2) {
        struct world w;
        struct call *c[90];
        char body[90][32];
        world_of(&w, kind, 3);
        struct peer *p = h2_open(&w);
        for (int round = 0; round < 5; round++) {
            for (size_t i = 0; i < ARRAY_LEN(c); i++) {
                snprintf(body[i], sizeof(body[i]), "body %d of round %d", (int)i, round);
                c[i] = call(p, &(struct ask){.path = "/echo", .method = "POST", .body = body[i]});
            }
            for (size_t i = 0; i < ARRAY_LEN(c); i++) {
                UNTIL(&w, c[i]->closed);
                assert_true(slice_contains(buf_slice(&c[i]->in), slice_of(body[i])));
            }
        }
        h2_close(p);
        world_end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_translation),  cmocka_unit_test(test_endpoint_goes_while_connecting),
        cmocka_unit_test(test_grpc),         cmocka_unit_test(test_refused_and_unavailable),
        cmocka_unit_test(test_resets),       cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_early),        cmocka_unit_test(test_goaway),
        cmocka_unit_test(test_backpressure), cmocka_unit_test(test_backpressure_upload),
        cmocka_unit_test(test_websocket),    cmocka_unit_test(test_concurrency),
        cmocka_unit_test(test_drain),        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
