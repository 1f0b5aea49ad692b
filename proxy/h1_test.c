#include "proxy/test_world.h"

#define REQUEST(line) line " HTTP/1.1\r\nhost: reviews\r\n"

/* Wrong: nothing works. And: hop-by-hop fields leak, requests cannot be traced. */
static void test_roundtrip(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, NULL);
    struct client *c = client_open(&w);
    client_send(c, "GET /ok?x=1 HTTP/1.1\r\nHost: reviews:80\r\nConnection: x-hop\r\nX-Hop: 1\r\n"
                   "X-Envoy-Max-Retries: 9\r\nX-Keep: yes\r\n\r\n");
    w.fakes[0].always = "/ok";
    UNTIL(&w, client_has(c, "\r\n\r\nok"));
    struct slice seen = buf_slice(&w.fakes[0].last);
    assert_true(slice_starts(seen, S("GET /ok?x=1 HTTP/1.1\r\n")));
    assert_true(slice_contains(seen, S("\r\nhost: reviews:80\r\n")));
    assert_true(slice_contains(seen, S("\r\nx-keep: yes\r\n")));
    assert_true(slice_contains(seen, S("\r\nx-forwarded-proto: http\r\n")));
    assert_int_equal(header_in(seen, "\nx-request-id:").n, 36);
    assert_false(slice_contains(seen, S("x-hop")));
    assert_false(slice_contains(seen, S("max-retries")));
    assert_true(client_has(c, "HTTP/1.1 200 "));
    assert_true(client_has(c, "\r\nserver: weft\r\n"));
    assert_true(client_has(c, "\r\nx-envoy-upstream-service-time: "));
    assert_true(metric_of(&w, "istio_requests_total", "destination_workload=\"reviews-v1\"") == 1);
    world_end(&w);
}

/* Wrong: a connection a request; or answers out of order. */
static void test_reuse(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, NULL);
    struct client *c = client_open(&w);
    for (int i = 0; i < 5; i++)
        assert_int_equal(client_get(c, "/ok"), 200);
    assert_int_equal(w.fakes[0].accepted, 1);
    buf_clear(&c->in);
    client_send(
        c, REQUEST("GET /status/201") "\r\n" REQUEST("GET /status/202") "\r\n" REQUEST(
               "POST /echo") "content-length: 5\r\n\r\nhello" REQUEST("GET /status/203") "\r\n");
    UNTIL(&w, client_has(c, " 203 "));
    struct slice in = buf_slice(&c->in);
    const char *const order[] = {" 201 ", " 202 ", "hello", " 203 "};
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        char *p = memmem(in.p + at, in.n - at, order[i], strlen(order[i]));
        assert_non_null(p);
        at = (size_t)(p - in.p);
    }
    assert_false(c->ended);
    world_end(&w);
}

/* Answers of our own. */

static void tune_timeout(struct parts *p)
{
    p->route->timeout = 50;
}

static void tune_http10(struct parts *p)
{
    p->chain->accept_http10 = true;
}

static void tune_no_cluster(struct parts *p)
{
    p->route->clusters[0].cluster = S("outbound|80||gone");
}

static void tune_unhealthy(struct parts *p)
{
    for (size_t i = 0; i < p->endpoints->n; i++)
        p->endpoints->items[i].health = HEALTH_UNHEALTHY;
}

static void tune_no_route(struct parts *p)
{
    p->route->path = S("/elsewhere");
}

static void tune_other_host(struct parts *p)
{
    p->vhost->domains[0] = S("other");
}

static void tune_no_requests(struct parts *p)
{
    p->cluster->max_requests = 0;
}

static void tune_dead(struct parts *p)
{
    /* Port 1 of loopback: nobody. */
    env_addr_set_port(&p->endpoints->items[0].addr, 1);
}

static void tune_dead_retry(struct parts *p)
{
    tune_dead(p);
    p->route->has_retry = true;
    p->route->retry =
        (struct retry_policy){.on = RETRY_CONNECT_FAILURE, .attempts_max = 2, .backoff_base = 1};
}

static void tune_direct(struct parts *p)
{
    p->route->action = ROUTE_DIRECT;
    p->route->direct_status = 418;
    p->route->direct_body = S("short and stout");
}

static void tune_redirect(struct parts *p)
{
    p->route->action = ROUTE_REDIRECT;
    p->route->redirect_scheme = S("https");
    p->route->redirect_status = 308;
}

static void tune_abort(struct parts *p)
{
    p->route->has_fault = true;
    p->route->fault = (struct fault){.abort_fraction = {1000000},
                                     .abort_status = 555,
                                     .abort_grpc = -1,
                                     .delay = 20,
                                     .delay_fraction = {1000000}};
}

static void tune_request_timeout(struct parts *p)
{
    p->chain->request_timeout = 300;
}

static void tune_stream_idle(struct parts *p)
{
    p->chain->stream_idle_timeout = 300;
}

/* Wrong: people who look for the cause of an error find another one, or none. */
static void test_local_replies(void **state)
{
    (void)state;
    static const struct {
        void (*tune)(struct parts *p);
        const char *request;
        int status;
        const char *flags, *body;
    } cases[] = {
        {tune_no_route, REQUEST("GET /ok") "\r\n", 404, "NR", ""},
        {tune_other_host, REQUEST("GET /ok") "\r\n", 404, "NR", ""},
        {tune_no_cluster, REQUEST("GET /ok") "\r\n", 503, "NC", ""},
        {tune_unhealthy, REQUEST("GET /ok") "\r\n", 503, "UH", "no healthy upstream"},
        {tune_no_requests, REQUEST("GET /ok") "\r\n", 503, "UO", "overflow"},
        {tune_dead, REQUEST("GET /ok") "\r\n", 503, "UF", "connection failure"},
        {tune_dead_retry, REQUEST("GET /ok") "\r\n", 503, "UF,URX", "connection failure"},
        {tune_timeout, REQUEST("GET /hang") "\r\n", 504, "UT", "upstream request timeout"},
        {tune_abort, REQUEST("GET /ok") "\r\n", 555, "DI,FI", "fault filter abort"},
        {tune_direct, REQUEST("GET /ok") "\r\n", 418, "-", "short and stout"},
        {tune_redirect, REQUEST("GET /ok?q") "\r\n", 308, "-", "location: https://reviews/ok?q"},
        {tune_request_timeout, REQUEST("POST /echo") "content-length: 9\r\n\r\nhal", 408, "DT", ""},
        {tune_stream_idle, REQUEST("GET /hang") "\r\n", 504, "SI", "stream timeout"},
        {NULL, REQUEST("GET /close") "\r\n", 503, "UC", "connection termination"},
        {NULL, REQUEST("GET /garbage") "\r\n", 502, "UPE", "protocol error"},
        {tune_http10, "GET /many-hints HTTP/1.0\r\nhost: a\r\n\r\n", 502, "UPE", "protocol error"},
        {NULL, "GET /ok HTTP/1.1\r\n\r\n", 400, "DPE", ""},
        {NULL, REQUEST("GET /a%00b") "\r\n", 400, "DPE", ""},
        {NULL, "GET /ok HTTP/1.0\r\nhost: a\r\n\r\n", 426, "DPE", ""},
        {NULL, REQUEST("POST /echo") "content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400,
         "DPE", ""},
        {NULL, REQUEST("POST /echo") "transfer-encoding: chunked\r\n\r\nzz\r\n", 400, "DPE", ""},
        {NULL, "BREW\r\n\r\n", 400, "DPE", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world w;
        world_start(&w, 1, cases[i].tune);
        struct client *c = client_open(&w);
        client_send(c, cases[i].request);
        UNTIL(&w, client_has(c, "\r\n\r\n") && client_has(c, cases[i].body));
        int status = atoi(buf_slice(&c->in).p + 9);
        if (status != cases[i].status || !flag_seen(&w, cases[i].flags))
            fail_msg("case %zu: %d, wanted %d %s", i, status, cases[i].status, cases[i].flags);
        world_end(&w);
    }
}

/* Wrong: a slow head, or a client that never sends one, holds a connection for ever. */
static void tune_head(struct parts *p)
{
    p->chain->headers_timeout = 300;
    p->chain->idle_timeout = 300;
}

static void test_slow_head(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, tune_head);
    struct client *slow = client_open(&w), *idle = client_open(&w);
    client_send(slow, "GET /ok HTTP/1.1\r\nho");
    UNTIL(&w, client_has(slow, " 408 ") && slow->ended && idle->ended);
    assert_int_equal(idle->received, 0);
    UNTIL(&w, w.worker->conn_count == 0);
    world_end(&w);
}

/* Tries. */

static void tune_retry(struct parts *p)
{
    p->route->has_retry = true;
    p->route->retry = (struct retry_policy){.on = RETRY_5XX,
                                            .attempts_max = 2,
                                            .backoff_base = 1,
                                            .avoid_previous_hosts = true,
                                            .host_attempts_max = 5};
    p->vhost->attempt_count_header = true;
}

/* Wrong: one failing instance is seen by the users. */
static void test_retries_hide(void **state)
{
    (void)state;
    static const char *const failures[] = {"/status/503", "/close", "/garbage", "/status/500"};
    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        struct world w;
        world_start(&w, 2, tune_retry);
        w.fakes[0].always = failures[i];
        struct client *c = client_open(&w);
        for (int k = 0; k < 20; k++)
            assert_int_equal(client_get(c, "/ok"), 200);
        assert_true(w.fakes[0].requests > 0);
        assert_int_equal(w.fakes[1].requests, 20);
        assert_true(metric_of(&w, "envoy_cluster_upstream_rq_retry{", "") == w.fakes[0].requests);
        world_end(&w);
    }
}

static void tune_retry_least(struct parts *p)
{
    tune_retry(p);
    p->cluster->lb = LB_LEAST_REQUEST;
}

/* Wrong: who fails fast is never busy, so by least requests it draws the retries too. */
static void test_retries_find_the_busy_one(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 2, tune_retry_least);
    w.fakes[0].always = "/status/503";
    w.fakes[1].always = "/hang";
    for (int i = 0; i < 8; i++)
        client_send(client_open(&w), REQUEST("GET /") "\r\n");
    UNTIL(&w, w.fakes[1].requests == 8);
    w.fakes[1].always = "/ok";
    struct client *c = client_open(&w);
    for (int i = 0; i < 200; i++)
        assert_int_equal(client_get(c, "/ok"), 200);
    assert_true(w.fakes[0].requests > 50);
    world_end(&w);
}

/* Wrong: a retried POST arrives without its body, or twice the body. */
static void test_retry_body(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, tune_retry);
    w.fakes[0].fail_first = 2;
    struct client *c = client_open(&w);
    client_send(c, REQUEST("POST /echo") "content-length: 11\r\n\r\nhello");
    UNTIL(&w, w.fakes[0].accepted == 1);
    client_send(c, " world");
    UNTIL(&w, client_has(c, "\r\n\r\nhello world"));
    assert_true(client_has(c, " 200 "));
    assert_int_equal(w.fakes[0].requests, 3);
    assert_true(slice_contains(buf_slice(&w.fakes[0].last), S("x-envoy-attempt-count: 3\r\n")));
    world_end(&w);
}

/* Wrong: a body larger than what is kept is sent again in part. */
static void test_retry_large_body(void **state)
{
    (void)state;
    enum { SIZE = 200000 };
    struct world w;
    world_start(&w, 1, tune_retry);
    w.fakes[0].fail_first = 1;
    struct client *c = client_open(&w);
    char *body = mem_new(SIZE + 1);
    memset(body, 'b', SIZE);
    client_send(c, REQUEST("POST /echo") "content-length: 200000\r\n\r\n");
    client_send(c, body);
    UNTIL(&w, client_has(c, "\r\n\r\nfailing"));
    assert_true(client_has(c, " 503 "));
    assert_int_equal(w.fakes[0].requests, 1);
    buf_clear(&c->in);
    client_send(c, REQUEST("POST /echo") "content-length: 200000\r\n\r\n");
    client_send(c, body);
    UNTIL(&w, c->in.n > SIZE);
    assert_true(client_has(c, " 200 "));
    buf_clear(&c->in); /* the same on a connection that is there: the body streams through */
    w.fakes[0].fail_first = 1;
    client_send(c, REQUEST("POST /echo") "content-length: 200000\r\n\r\n");
    client_send(c, body);
    UNTIL(&w, client_has(c, "\r\n\r\nfailing"));
    assert_int_equal(w.fakes[0].requests, 3);
    mem_free(body);
    world_end(&w);
}

static void tune_per_try(struct parts *p)
{
    tune_retry(p);
    p->route->retry.per_try_timeout = 60;
    p->route->timeout = 5000;
}

/* Wrong: an instance that hangs takes the whole timeout of the request. */
static void test_per_try_timeout(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 2, tune_per_try);
    w.fakes[0].always = "/hang";
    struct client *c = client_open(&w);
    for (int i = 0; i < 4; i++)
        assert_int_equal(client_get(c, "/ok"), 200);
    assert_true(metric_of(&w, "envoy_cluster_upstream_rq_per_try_timeout", "") >= 1);
    UNTIL(&w, w.fakes[0].open == 0); /* what was given up is cancelled */
    world_end(&w);
}

/* Wrong: every deployment of an upstream that closes idle connections shows as errors. */
static void test_stale_connection(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, NULL);
    w.fakes[0].close_on_second = true;
    struct client *c = client_open(&w);
    for (int i = 0; i < 6; i++)
        assert_int_equal(client_get(c, "/ok"), 200);
    buf_clear(&c->in); /* a POST may have been done: it is not repeated */
    client_send(c, REQUEST("POST /ok") "content-length: 1\r\n\r\nx");
    UNTIL(&w, client_has(c, "\r\n\r\n"));
    assert_true(client_has(c, " 503 "));
    assert_true(flag_seen(&w, "UC"));
    world_end(&w);
}

static void tune_outlier(struct parts *p)
{
    p->cluster->outlier.consecutive_5xx = 3;
    p->cluster->outlier.max_ejection_percent = 50;
    p->cluster->outlier.interval = 50;
    p->cluster->outlier.base_ejection = 200;
    p->cluster->outlier.max_ejection = 200;
}

/* Wrong: an instance that only fails goes on getting its share, or never comes back. */
static void test_outlier(void **state)
{
    (void)state;
    struct world w;
    int failed = 0;
    world_start(&w, 2, tune_outlier);
    w.fakes[0].always = "/status/500";
    struct client *c = client_open(&w);
    for (int i = 0; i < 20; i++)
        failed += client_get(c, "/ok") != 200;
    assert_int_equal(failed, 3);
    w.fakes[0].always = NULL;
    int before = w.fakes[0].requests;
    UNTIL(&w, client_get(c, "/ok") == 200 && w.fakes[0].requests > before);
    world_end(&w);
}

static void tune_breakers(struct parts *p)
{
    p->cluster->max_connections = 1;
    p->cluster->max_pending = 2;
}

/* Wrong: a slow upstream gathers requests without bound. */
static void test_breakers(void **state)
{
    (void)state;
    struct world w;
    struct client *c[6];
    int refused = 0;
    world_start(&w, 1, tune_breakers);
    for (int i = 0; i < 6; i++) {
        c[i] = client_open(&w);
        client_send(c[i], REQUEST("GET /hang") "\r\n");
        UNTIL(&w, (int)w.worker->stream_count + refused == i + 1 || client_has(c[i], " 503 "));
        refused += client_has(c[i], " 503 ");
    }
    assert_int_equal(refused, 3); /* one on its connection, two that wait */
    assert_int_equal(w.fakes[0].accepted, 1);
    assert_true(flag_seen(&w, "UO"));
    assert_true(client_has(c[5], "x-envoy-overloaded: true"));
    client_close(c[0]); /* the connection goes; the next in line gets a new one */
    UNTIL(&w, w.fakes[0].accepted == 2);
    world_end(&w);
}

/* Bodies. */

/* Wrong: framing is lost on the way. */
static void test_framing(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, NULL);
    struct client *c = client_open(&w);
    client_send(c, REQUEST("POST /echo") "transfer-encoding: chunked\r\n\r\n5\r\nhel");
    UNTIL(&w, w.fakes[0].accepted == 1);
    client_send(c, "lo\r\n6;ext=1\r\n world\r\n0\r\nx-end: 1\r\n\r\n");
    UNTIL(&w, client_has(c, "\r\n\r\n"));
    struct slice seen = buf_slice(&w.fakes[0].last);
    assert_true(slice_contains(seen, S("\r\ntransfer-encoding: chunked\r\n")));
    assert_true(slice_ends(seen, S("0\r\nx-end: 1\r\n\r\n")));
    buf_clear(&c->in);
    client_send(c, REQUEST("GET /chunked") "\r\n");
    UNTIL(&w, client_has(c, "x-sum: 7\r\n\r\n"));
    assert_true(client_has(c, "transfer-encoding: chunked"));
    buf_clear(&c->in);
    client_send(c, REQUEST("GET /until-close") "\r\n");
    UNTIL(&w, client_has(c, "to the end\r\n0\r\n\r\n"));
    buf_clear(&c->in);
    client_send(c, REQUEST("HEAD /ok") "\r\n");
    UNTIL(&w, client_has(c, "\r\n\r\n"));
    assert_true(client_has(c, "content-length: 2"));
    assert_true(slice_ends(buf_slice(&c->in), S("\r\n\r\n")));
    buf_clear(&c->in);
    client_send(c, REQUEST("GET /hints") "\r\n");
    UNTIL(&w, client_has(c, "\r\n\r\nok"));
    assert_true(client_has(c, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200"));
    assert_false(c->ended);
    world_end(&w);
}

/* Wrong: old clients hang, waiting for an end that never comes. */
static void test_http10(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, tune_http10);
    struct client *c = client_open(&w);
    client_send(c, "GET /chunked HTTP/1.0\r\nhost: a\r\n\r\n");
    UNTIL(&w, c->ended);
    assert_true(slice_ends(buf_slice(&c->in), S("\r\n\r\nabcdefg")));
    struct client *keep = client_open(&w);
    client_send(keep, "GET /ok HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n");
    UNTIL(&w, client_has(keep, "\r\n\r\nok"));
    assert_true(client_has(keep, "connection: keep-alive"));
    world_end(&w);
}

/* Wrong: clients that ask first (curl with a large body) wait a second for nothing. */
static void test_expect(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, NULL);
    struct client *c = client_open(&w);
    client_send(c, REQUEST("POST /echo") "content-length: 2\r\nexpect: 100-continue\r\n\r\n");
    UNTIL(&w, client_has(c, "HTTP/1.1 100 "));
    client_send(c, "hi");
    UNTIL(&w, client_has(c, "\r\n\r\nhi"));
    assert_false(slice_contains(buf_slice(&w.fakes[0].last), S("expect")));
    world_end(&w);
}

/* Wrong: an answer that comes before the request's end is lost, or poisons the connection. */
static void test_early_response(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, NULL);
    struct client *c = client_open(&w);
    client_send(c, REQUEST("POST /early") "content-length: 1000000\r\n\r\nsome");
    UNTIL(&w, client_has(c, "\r\n\r\nearly"));
    assert_true(client_has(c, "connection: close"));
    UNTIL(&w, c->ended);
    UNTIL(&w, w.fakes[0].open == 0); /* nor is the upstream's used again */
    world_end(&w);
}

/* Wrong: work goes on for clients that have left. */
static void test_client_abort(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, NULL);
    struct client *c = client_open(&w);
    client_send(c, REQUEST("GET /hang") "\r\n");
    UNTIL(&w, w.fakes[0].requests == 1);
    client_close(c);
    UNTIL(&w, w.fakes[0].aborted == 1);
    assert_true(flag_seen(&w, "DC"));
    assert_int_equal(w.worker->stream_count, 0);
    world_end(&w);
}

/* Wrong: half an answer looks like a whole one. */
static void test_cut_response(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, NULL);
    struct client *c = client_open(&w);
    client_send(c, REQUEST("GET /half") "\r\n");
    UNTIL(&w, c->ended);
    assert_true(client_has(c, "content-length: 100"));
    assert_true(flag_seen(&w, "UC"));
    world_end(&w);
}

/* Wrong: a slow reader makes the proxy hold what the upstream can send. */
static void test_backpressure(void **state)
{
    (void)state;
    const uint64_t size = 64u << 20;
    struct world w;
    world_start(&w, 1, NULL);
    struct client *c = client_open(&w);
    c->count_only = true;
    client_send(c, REQUEST("GET /big/67108864") "\r\n");
    UNTIL(&w, w.fakes[0].written > 1u << 20);
    env_stream_read_pause(c->es);
    uint64_t before;
    do { /* until nothing moves any more */
        before = w.fakes[0].written;
        for (int i = 0; i < 20; i++)
            env_uv_turn(w.env, 2);
    } while (w.fakes[0].written != before);
    assert_true(w.fakes[0].written < size / 2);
    struct stream *s = container_of(list_first(&w.worker->streams), struct stream, node);
    assert_true(s->down->queued(s) <= 4u * PROXY_BODY_SOFT_BYTES);
    env_stream_read_resume(c->es);
    UNTIL(&w, c->received > size);
    world_end(&w);
}

/* And the other way: an upload to an upstream that does not read. */
static void test_backpressure_upload(void **state)
{
    (void)state;
    enum { PIECE = 1 << 20, SIZE = 64 << 20 };
    struct world w;
    world_start(&w, 1, NULL);
    struct client *c = client_open(&w);
    char *piece = mem_new(PIECE + 1);
    uint64_t sent = 0;
    memset(piece, 'x', PIECE);
    client_send(c, REQUEST("POST /early") "content-length: 67108864\r\n\r\n");
    UNTIL(&w, w.fakes[0].open == 1);
    struct fake_conn *up = container_of(list_first(&w.fakes[0].conns), struct fake_conn, node);
    env_stream_read_pause(up->es);
    for (int quiet = 0; quiet < 20 && sent < SIZE;) {
        if (env_stream_queued(c->es) == 0) {
            client_send(c, piece);
            sent += PIECE;
            quiet = 0;
        } else {
            quiet++;
        }
        env_uv_turn(w.env, 2);
    }
    assert_true(sent < SIZE / 2);
    struct stream *s = container_of(list_first(&w.worker->streams), struct stream, node);
    assert_true(s->up->queued(s) <= 4u * PROXY_BODY_SOFT_BYTES);
    mem_free(piece);
    world_end(&w);
}

/* Tunnels. */

/* Wrong: WebSockets do not open, or lose bytes that came early. */
static void test_websocket(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, NULL);
    struct client *c = client_open(&w);
    client_send(c, REQUEST("GET /ws") "connection: Upgrade\r\nupgrade: websocket\r\n"
                                      "sec-websocket-key: abc\r\n\r\nfirst");
    UNTIL(&w, client_has(c, "\r\n\r\nfirst"));
    assert_true(client_has(c, "HTTP/1.1 101 "));
    assert_true(client_has(c, "upgrade: websocket"));
    client_send(c, "second");
    UNTIL(&w, client_has(c, "second"));
    env_stream_shutdown(c->es);
    UNTIL(&w, c->ended && w.fakes[0].open == 0);
    UNTIL(&w, w.worker->stream_count == 0);
    assert_true(metric_of(&w, "istio_requests_total", "response_code=\"101\"") == 1);
    world_end(&w);
}

static void tune_no_websocket(struct parts *p)
{
    p->chain->websocket = false;
}

/* Wrong: bytes behind a refused upgrade become a request (smuggling). */
static void test_upgrade_refused(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, tune_no_websocket);
    struct client *c = client_open(&w);
    client_send(c, REQUEST("GET /ws") "connection: upgrade\r\nupgrade: websocket\r\n\r\n" REQUEST(
                       "GET /status/299") "\r\n");
    UNTIL(&w, c->ended);
    assert_true(client_has(c, " 403 "));
    assert_false(client_has(c, " 299 "));
    struct client *h2c = client_open(&w); /* what we do not speak is ignored */
    client_send(h2c, REQUEST("GET /ok") "connection: upgrade\r\nupgrade: h2c\r\n\r\n" REQUEST(
                         "GET /status/201") "\r\n");
    UNTIL(&w, client_has(h2c, " 201 "));
    assert_true(client_has(h2c, " 200 "));
    assert_int_equal(w.fakes[0].requests, 2);
    world_end(&w);
}

static void tune_proxy(struct parts *p)
{
    p->listener->http_proxy = true;
}

/* Wrong: an application that is told to use us as its HTTP proxy cannot. */
static void test_forward_proxy(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, tune_proxy);
    struct client *c = client_open(&w);
    client_send(c, "GET http://reviews:9080/ok HTTP/1.1\r\nhost: reviews:9080\r\n\r\n");
    UNTIL(&w, client_has(c, "\r\n\r\nok"));
    assert_true(
        slice_starts(buf_slice(&w.fakes[0].last), S("GET /ok HTTP/1.1\r\nhost: reviews:9080")));
    struct client *t = client_open(&w);
    client_send(t, "CONNECT reviews:9080 HTTP/1.1\r\nhost: reviews:9080\r\n\r\n");
    UNTIL(&w, client_has(t, "HTTP/1.1 200 "));
    assert_false(client_has(t, "content-length"));
    client_send(t, REQUEST("GET /status/207") "\r\n");
    UNTIL(&w, client_has(t, " 207 "));
    client_close(t);
    UNTIL(&w, w.worker->stream_count == 0);
    world_end(&w);
}

static void tune_passthrough(struct parts *p)
{
    tune_proxy(p);
    p->cluster->kind = CLUSTER_PASSTHROUGH;
    p->cluster->endpoints->n = 0;
}

/* Wrong: what the mesh does not know cannot be reached through it, or the proxy calls itself. */
static void test_passthrough(void **state)
{
    (void)state;
    struct world w;
    char text[256];
    world_start(&w, 1, tune_passthrough);
    unsigned port = env_addr_port(&w.fakes[0].addr);
    const char *const names[] = {"127.0.0.1", "localhost"};
    for (int round = 0; round < 4; round++) {
        struct client *c = client_open(&w);
        snprintf(text, sizeof(text), "GET http://%s:%u/ok HTTP/1.1\r\nhost: %s:%u\r\n\r\n",
                 names[round % 2], port, names[round % 2], port);
        client_send(c, text);
        UNTIL(&w, client_has(c, "\r\n\r\nok"));
    }
    assert_int_equal(w.fakes[0].accepted, 2); /* connections are kept for each of the names */
    struct client *t = client_open(&w);
    snprintf(text, sizeof(text), "CONNECT localhost:%u HTTP/1.1\r\nhost: localhost:%u\r\n\r\n",
             port, port);
    client_send(t, text);
    UNTIL(&w, client_has(t, " 200 "));
    client_send(t, REQUEST("GET /status/208") "\r\n");
    UNTIL(&w, client_has(t, " 208 "));
    struct client *n = client_open(&w);
    client_send(n, "GET / HTTP/1.1\r\nhost: no-such-name.invalid\r\n\r\n");
    UNTIL(&w, client_has(n, " 503 "));
    assert_true(flag_seen(&w, "UF,DF"));
    struct client *self = client_open(&w);
    snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nhost: 127.0.0.1:%u\r\n\r\n",
             env_addr_port(&w.proxy));
    client_send(self, text);
    UNTIL(&w, client_has(self, " 503 "));
    assert_true(flag_seen(&w, "UH"));
    world_end(&w);
}

static void tune_named(struct parts *p)
{
    struct endpoint *e = &p->endpoints->items[0];
    e->text =
        arena_printf(&p->endpoints->part.arena, "localhost:%u", (unsigned)env_addr_port(&e->addr));
    e->addr = (struct env_addr){0};
}

/* Wrong: an external service that is known by name only is never reached. */
static void test_named_endpoint(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, tune_named);
    struct client *c = client_open(&w);
    for (int i = 0; i < 3; i++)
        assert_int_equal(client_get(c, "/ok"), 200);
    assert_int_equal(w.fakes[0].accepted, 1);
    struct client *gone = client_open(&w);
    client_send(gone, REQUEST("GET /ok") "\r\n");
    client_close(gone); /* while it waits, perhaps */
    world_end(&w);
}

/* Change. */

static void swap(struct world *w, void (*tune)(struct parts *p))
{
    struct conf *next = world_conf(w, tune);
    assert_true(worker_apply(w->worker, next, NULL));
    conf_unref(next);
}

struct loader {
    struct client *c;
    int sent, answered;
};

static void load_step(struct world *w, struct loader *l, size_t n, int *failed)
{
    for (size_t i = 0; i < n; i++) {
        struct loader *x = &l[i];
        if (!x->c || x->c->closed || x->c->ended) {
            *failed += x->sent != x->answered;
            if (x->c)
                client_close(x->c);
            x->c = client_open(w);
            x->sent = x->answered;
        }
        if (client_has(x->c, "\r\n\r\n")) {
            x->answered++;
            *failed += !client_has(x->c, "HTTP/1.1 200 ");
            bool closing = client_has(x->c, "connection: close");
            buf_clear(&x->c->in);
            if (closing)
                continue;
        }
        if (x->sent == x->answered) {
            client_send(x->c, REQUEST("HEAD /ok") "\r\n");
            x->sent++;
        }
    }
}

/* Wrong: a connection that is quiet looks into a tree that is gone. */
static void test_swap_idle(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, NULL);
    struct client *c = client_open(&w), *silent = client_open(&w);
    assert_int_equal(client_get(c, "/ok"), 200);
    UNTIL(&w, w.worker->conn_count == 2);
    for (int i = 0; i < 3; i++) {
        struct conf *next = world_conf(&w, NULL);
        assert_true(worker_apply(w.worker, next, NULL));
        conf_unref(next);
    }
    int64_t then = world_clock_ms(w.env);
    UNTIL(&w, world_clock_ms(w.env) > then + 3 * PROXY_SWEEP_MS);
    assert_int_equal(client_get(c, "/ok"), 200);
    assert_int_equal(client_get(silent, "/ok"), 200);
    assert_int_equal(w.fakes[0].accepted, 1); /* endpoints keep their connections too */
    world_end(&w);
}

static void tune_drain(struct parts *p)
{
    p->chain->drain_timeout = 1000;
}

static void tune_renamed(struct parts *p)
{
    p->listener->name = S("out-again");
    p->cluster->name = S("outbound|80|v2|reviews");
    p->route->clusters[0].cluster = p->cluster->name;
}

/* Wrong: a change of configuration costs requests. */
static void test_swap(void **state)
{
    (void)state;
    struct world w;
    struct loader l[8] = {0};
    int failed = 0;
    world_start(&w, 2, NULL);
    for (int round = 0; round < 40; round++) {
        struct conf *next = world_conf(&w, NULL);
        next->generation = (uint64_t)round;
        /* Alternately another cluster object, an endpoint less, the same again. */
        if (round % 3 == 1)
            next->clusters[0]->endpoints->n = 1;
        assert_true(worker_apply(w.worker, next, NULL));
        conf_unref(next);
        for (int i = 0; i < 20; i++) {
            load_step(&w, l, ARRAY_LEN(l), &failed);
            env_uv_turn(w.env, 1);
        }
    }
    int answered = 0;
    for (size_t i = 0; i < ARRAY_LEN(l); i++)
        answered += l[i].answered;
    assert_true(answered > 500);
    assert_int_equal(failed, 0);
    assert_true(w.fakes[1].requests > 100);
    assert_int_equal(worker_generation(w.worker), 39);
    world_end(&w);
}

/* Wrong: a listener or cluster that goes takes requests with it; one that comes is not there. */
static void test_listener_change(void **state)
{
    (void)state;
    struct world w;
    struct loader l[4] = {0};
    int failed = 0;
    world_start(&w, 1, tune_drain);
    struct client *slow = client_open(&w), *kept = client_open(&w);
    client_send(slow, REQUEST("GET /hang") "\r\n");
    assert_int_equal(client_get(kept, "/ok"), 200);
    UNTIL(&w, w.fakes[0].requests == 2);
    struct conf *next = world_conf(&w, tune_renamed);
    assert_true(worker_apply(w.worker, next, NULL));
    conf_unref(next);
    struct env_addr old = w.proxy;
    world_listen_addr(&w);
    assert_false(env_addr_equal(&old, &w.proxy));
    for (int i = 0; i < 50; i++) {
        load_step(&w, l, ARRAY_LEN(l), &failed);
        env_uv_turn(w.env, 1);
    }
    assert_int_equal(failed, 0);
    assert_int_equal(client_get(kept, "/ok"), 200); /* by the tree that it had */
    assert_true(client_has(kept, "connection: close"));
    struct client *late =
        client_open_at(&w, &old); /* the queue of the old socket is still served */
    assert_int_equal(client_get(late, "/ok"), 200);
    assert_true(client_has(late, "connection: close"));
    struct fake_conn *hung = container_of(list_first(&w.fakes[0].conns), struct fake_conn, node);
    fake_body(hung, 200, S("at last"));
    UNTIL(&w, client_has(slow, "at last"));
    assert_true(client_has(slow, "connection: close"));
    UNTIL(&w, slow->ended && list_empty(&w.worker->listeners_draining));
    /* The old cluster went with the last that used it. */
    UNTIL(&w, w.worker->clusters.n == 1);
    world_end(&w);
}

static void tune_slow_start(struct parts *p)
{
    p->route->has_fault = true;
    p->route->fault = (struct fault){.abort_grpc = -1, .delay = 100, .delay_fraction = {1000000}};
    p->route->has_retry = true;
    p->route->retry =
        (struct retry_policy){.on = RETRY_5XX, .attempts_max = 2, .backoff_base = 100};
}

static void tune_other_cluster(struct parts *p)
{
    p->cluster->name = S("outbound|80|v2|reviews");
    p->route->clusters[0].cluster = p->cluster->name;
}

/* Wrong: a request that was routed and waits, for a fault's delay or for its retry, finds its
 * cluster gone although the endpoints live. */
static void test_cluster_goes_while_waiting(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, tune_slow_start);
    struct client *delayed = client_open(&w);
    client_send(delayed, REQUEST("GET /ok") "\r\n");
    UNTIL(&w, w.worker->stream_count == 1);
    swap(&w, tune_other_cluster); /* nothing of the old cluster was in use yet */
    UNTIL(&w, client_has(delayed, "HTTP/1.1 200 "));
    swap(&w, tune_slow_start);
    w.fakes[0].fail_first = 1;
    int before = w.fakes[0].requests;
    struct client *again = client_open(&w);
    client_send(again, REQUEST("GET /ok") "\r\n");
    UNTIL(&w, w.fakes[0].requests == before + 1);
    swap(&w, tune_other_cluster);
    UNTIL(&w, client_has(again, "HTTP/1.1 200 "));
    UNTIL(&w, w.worker->clusters.n == 0); /* and then it goes */
    world_end(&w);
}

static void tune_warming(struct parts *p)
{
    tune_slow_start(p);
    p->cluster->kind = CLUSTER_EDS;
    conf_part_unref(&p->endpoints->part);
    p->cluster->endpoints = NULL;
}

static void tune_eds(struct parts *p)
{
    tune_slow_start(p);
    p->cluster->kind = CLUSTER_EDS;
}

/* Wrong: the cluster comes back before its endpoints do, and who waits finds none. */
static void test_cluster_comes_back_without_endpoints(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, 1, tune_eds);
    assert_int_equal(get(&w, "/ok"), 200);
    struct client *delayed = client_open(&w);
    client_send(delayed, REQUEST("GET /ok") "\r\n");
    UNTIL(&w, w.worker->stream_count == 1);
    swap(&w, tune_other_cluster);
    swap(&w, tune_warming);
    UNTIL(&w, client_has(delayed, "HTTP/1.1 200 "));
    /* The same for one that was there already, and waits for its retry. */
    swap(&w, tune_eds);
    w.fakes[0].fail_first = 1;
    int before = w.fakes[0].requests;
    struct client *again = client_open(&w);
    client_send(again, REQUEST("GET /ok") "\r\n");
    UNTIL(&w, w.fakes[0].requests == before + 1);
    swap(&w, tune_other_cluster);
    swap(&w, tune_warming);
    UNTIL(&w, client_has(again, "HTTP/1.1 200 "));
    world_end(&w);
}

/* Wrong: a listener that goes and comes back piles up sockets and trees, one for each change. */
static void test_listener_returns(void **state)
{
    (void)state;
    struct world w;
    int failed = 0;
    struct loader l[4] = {0};
    world_start(&w, 1, tune_drain);
    for (int round = 0; round < 40; round++) {
        struct conf *next = world_conf(&w, round % 2 ? tune_drain : tune_renamed);
        assert_true(worker_apply(w.worker, next, NULL));
        conf_unref(next);
        size_t draining = 0;
        LIST_EACH (&w.worker->listeners_draining, n)
            draining += n != NULL;
        assert_int_equal(draining, 1);
        for (int i = 0; i < 5; i++) {
            load_step(&w, l, ARRAY_LEN(l), &failed);
            env_uv_turn(w.env, 1);
        }
    }
    assert_int_equal(failed, 0);
    struct env_addr first = w.proxy;
    world_listen_addr(&w);
    assert_true(env_addr_equal(&first, &w.proxy));
    /* One that listens no more cannot go on: it is bound anew. */
    swap(&w, tune_renamed);
    struct wlistener *old =
        container_of(list_first(&w.worker->listeners_draining), struct wlistener, node);
    UNTIL(&w, !old->socket);
    swap(&w, tune_drain);
    world_listen_addr(&w);
    assert_int_equal(get(&w, "/ok"), 200);
    world_end(&w);
}

/* Wrong: one address that is taken keeps everything else from changing, or nobody hears of it. */
static void test_bind_failure(void **state)
{
    (void)state;
    struct world w;
    struct err err = {0};
    world_start(&w, 1, NULL);
    struct conf *next = world_conf(&w, NULL), *other = world_conf(&w, tune_renamed);
    struct listener **both = ARENA_ARRAY(&next->part.arena, struct listener *, 2);
    other->listeners[0]->addr = w.fakes[0].addr; /* somebody else's, without SO_REUSEPORT */
    both[0] = other->listeners[0];
    both[1] = next->listeners[0];
    conf_part_ref(&both[0]->part);
    next->listeners = both;
    next->listener_count = 2;
    next->generation = 7;
    assert_false(worker_apply(w.worker, next, &err));
    assert_non_null(strstr(err.msg, "out-again"));
    conf_unref(next);
    conf_unref(other);
    assert_int_equal(worker_generation(w.worker), 7);
    assert_int_equal(get(&w, "/ok"), 200);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roundtrip),
        cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_local_replies),
        cmocka_unit_test(test_slow_head),
        cmocka_unit_test(test_retries_hide),
        cmocka_unit_test(test_retries_find_the_busy_one),
        cmocka_unit_test(test_retry_body),
        cmocka_unit_test(test_retry_large_body),
        cmocka_unit_test(test_per_try_timeout),
        cmocka_unit_test(test_stale_connection),
        cmocka_unit_test(test_outlier),
        cmocka_unit_test(test_breakers),
        cmocka_unit_test(test_framing),
        cmocka_unit_test(test_http10),
        cmocka_unit_test(test_expect),
        cmocka_unit_test(test_early_response),
        cmocka_unit_test(test_client_abort),
        cmocka_unit_test(test_cut_response),
        cmocka_unit_test(test_backpressure),
        cmocka_unit_test(test_backpressure_upload),
        cmocka_unit_test(test_websocket),
        cmocka_unit_test(test_upgrade_refused),
        cmocka_unit_test(test_forward_proxy),
        cmocka_unit_test(test_passthrough),
        cmocka_unit_test(test_named_endpoint),
        cmocka_unit_test(test_swap),
        cmocka_unit_test(test_swap_idle),
        cmocka_unit_test(test_listener_change),
        cmocka_unit_test(test_listener_returns),
        cmocka_unit_test(test_cluster_goes_while_waiting),
        cmocka_unit_test(test_cluster_comes_back_without_endpoints),
        cmocka_unit_test(test_bind_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
