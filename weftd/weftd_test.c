/* If these fail, a control-plane node does not come up whole, shows a port to the world that has no
 * TLS, or cannot be stopped without losing what it was doing. One node in this process, every floor
 * real. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/env/env_uv.h"
#include "base/net/grpc_client.h"
#include "base/net/http_testing.h"
#include "base/wire/json.h"
#include "weftd/weftd.h"

struct fixture {
    struct env *env;
    char dir[64];
    struct weftd_options opt;
    struct weftd *d;
    struct http_probe http;
};

static void parse_addr(struct env_addr *at, const char *text)
{
    struct err err = {0};
    if (!env_addr_parse(at, slice_of(text), &err))
        fail_msg("%s", err.msg);
}

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct err err = {0};
    f->env = env_uv_new(&err);
    f->d = MEM_NEW(struct weftd);
    strcpy(f->dir, "/tmp/weftd-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    http_probe_init(&f->http, f->env);
    f->opt = (struct weftd_options){.name = "n1",
                                    .node = {.dir = f->dir,
                                             .id = 1,
                                             .member_count = 1,
                                             .segment_bytes = 1 << 20,
                                             .store_bytes = 1 << 22}};
    f->opt.node.members[0].id = 1;
    strcpy(f->opt.node.members[0].name, "n1");
    parse_addr(&f->opt.node.members[0].addr, "127.0.0.1:0");
    parse_addr(&f->opt.api, "127.0.0.1:0");
    parse_addr(&f->opt.xds, "127.0.0.1:0");
    parse_addr(&f->opt.metrics, "127.0.0.1:0");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    http_probe_fini(&f->http);
    env_uv_free(f->env);
    mem_free(f->d);
    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    mem_free(f);
    return 0;
}

static void start(struct fixture *f)
{
    struct err err = {0};
    if (!weftd_start(f->d, f->env, &f->opt, &err))
        fail_msg("%s", err.msg);
}

/* Requests. */

static struct http_call_options request(const struct env_addr *at, const char *method,
                                        const char *path, const char *body)
{
    return (struct http_call_options){.method = slice_of(method),
                                      .addrs = at,
                                      .path = slice_of(path),
                                      .content_type = S("application/json"),
                                      .body = slice_of(body)};
}

static void begin(struct fixture *f, const char *method, const char *path, const char *body)
{
    struct http_call_options o = request(apiserver_addr(f->d->api), method, path, body);
    http_probe_begin(&f->http, &o);
}

static int call(struct fixture *f, const struct env_addr *at, const char *method, const char *path,
                const char *body)
{
    struct http_call_options o = request(at, method, path, body);
    return http_probe_call(&f->http, &o);
}

static int api(struct fixture *f, const char *method, const char *path, const char *body)
{
    return call(f, apiserver_addr(f->d->api), method, path, body);
}

static int metrics(struct fixture *f, const char *path)
{
    return call(f, http_server_addr(f->d->metrics, 0), "GET", path, "");
}

static void until_ready(struct fixture *f)
{
    while (metrics(f, "/ready") != 200 ||
           api(f, "GET", "/api/v1/namespaces/istio-system", "") != 200)
        env_uv_turn(f->env, 10);
}

static bool body_has(const struct fixture *f, const char *part)
{
    return strstr(http_probe_text(&f->http), part) != NULL;
}

/* Cases. */

static void test_every_floor_answers(void **state)
{
    struct fixture *f = *state;
    start(f);
    until_ready(f);
    assert_int_equal(api(f, "GET", "/weft/v1/status", ""), 200);
    assert_true(body_has(f, "\"name\":\"n1\""));
    assert_true(body_has(f, "\"role\":\"leader\""));
    assert_int_equal(api(f, "GET", "/weft/v1/proxies", ""), 200);
    assert_true(body_has(f, "\"items\":[]"));
    assert_int_equal(api(f, "GET", "/weft/v1/proxies/nobody/config", ""), 404);
    assert_int_equal(api(f, "GET", "/weft/v1/wait?revision=1&timeout=5s", ""), 200);
    assert_true(body_has(f, "\"total\":0"));
    assert_true(body_has(f, "\"unknown\":0"));
    assert_true(body_has(f, "\"silent\":[]"));
    assert_int_equal(metrics(f, "/metrics"), 200);
    static const char *const series[] = {"weft_raft_is_leader 1",
                                         "weft_raft_peers 1",
                                         "weft_raft_peers_refused_total 0",
                                         "weft_raft_peer_certificate_expiry_seconds 0",
                                         "weft_proxies{",
                                         "weft_api_watches 0",
                                         "weft_store_"};
    for (size_t i = 0; i < ARRAY_LEN(series); i++)
        if (!body_has(f, series[i]))
            fail_msg("no %s", series[i]);
    assert_int_equal(metrics(f, "/version"), 200);
    assert_int_equal(metrics(f, "/other"), 404);
    weftd_stop(f->d);
}

static void test_stops_at_once(void **state)
{
    struct fixture *f = *state;
    start(f);
    weftd_stop(f->d); /* the first write, the seed, may be under way */
}

static void test_comes_back_with_what_it_had(void **state)
{
    struct fixture *f = *state;
    start(f);
    until_ready(f);
    assert_int_equal(api(f, "POST", "/api/v1/namespaces",
                         "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":"
                         "\"shop\"}}"),
                     201);
    weftd_stop(f->d);
    env_uv_turn(f->env, 0);
    start(f);
    until_ready(f);
    assert_int_equal(api(f, "GET", "/api/v1/namespaces/shop", ""), 200);
    weftd_stop(f->d);
}

static void on_stream_message(void *user, struct slice message)
{
    (void)user;
    (void)message;
}

static void on_stream_close(void *user, int status, struct slice message)
{
    (void)status;
    (void)message;
    *(bool *)user = true;
}

static void on_conn_close(void *ctx, const struct err *why)
{
    (void)ctx;
    (void)why;
}

/* A proxy, a watch, a wait for what never comes and a question are under way. */
static void test_stops_while_busy(void **state)
{
    struct fixture *f = *state;
    static const struct grpc_stream_events stream_events = {.on_message = on_stream_message,
                                                            .on_close = on_stream_close};
    static const struct grpc_client_events conn_events = {.on_close = on_conn_close};
    bool closed = false;
    start(f);
    until_ready(f);
    struct grpc_client *conn =
        grpc_client_new(f->env, ads_server_addr(f->d->xds), NULL, &conn_events, NULL);
    struct grpc_stream *stream = grpc_client_call(
        conn, &(struct grpc_call_options){.path = S(XDS_PATH_ADS_DELTA)}, &stream_events, &closed);
    assert_non_null(stream);
    /* A first request as a proxy sends it: node.id, type. */
    assert_true(grpc_stream_send_copy(
        stream, S("\x0a\x22\x0a\x20sidecar~127.1.0.1~a.default~x.yz"
                  "\x12\x33type.googleapis.com/envoy.config.cluster.v3.Cluster")));
    begin(f, "GET", "/api/v1/namespaces?watch=1", "");
    begin(f, "GET", "/weft/v1/wait?revision=999999&timeout=60s", "");
    begin(f, "GET", "/weft/v1/proxies", "");
    begin(f, "POST", "/api/v1/namespaces",
          "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"x\"}}");
    while (convergence_summary(f->d->convergence)->total == 0)
        env_uv_turn(f->env, 100);
    weftd_stop(f->d);
    while (!closed)
        env_uv_turn(f->env, 100);
    grpc_client_free(conn);
    env_uv_turn(f->env, 0);
}

/* Without identity nothing is shown to the world, and what is left of a start goes again. */
static void test_refuses_the_world(void **state)
{
    struct fixture *f = *state;
    struct weftd_options good = f->opt;
    struct env_addr *const ports[] = {&f->opt.api, &f->opt.xds, &f->opt.metrics,
                                      &f->opt.node.members[0].addr};
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        static const char *const worlds[] = {"0.0.0.0:0", "192.0.2.1:0", "[::]:0"};
        for (size_t k = 0; k < ARRAY_LEN(worlds); k++) {
            struct err err = {0};
            f->opt = good;
            parse_addr(ports[i], worlds[k]);
            assert_false(weftd_start(f->d, f->env, &f->opt, &err));
            if (err.code != ERR_FORBIDDEN || !strstr(err.msg, "loopback"))
                fail_msg("port %zu at %s: %s", i, worlds[k], err.msg);
            weftd_stop(f->d);
            env_uv_turn(f->env, 0);
        }
    }
}

static void on_other(void *ctx, struct http_request *req)
{
    (void)ctx;
    http_respond(req, 200, S(""), S(""));
}

static void test_refuses_a_port_that_is_taken(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct env_addr any;
    struct weftd_options good = f->opt;
    struct http_server *other =
        http_server_new(f->env, &(struct http_server_options){0}, on_other, NULL);
    parse_addr(&any, "127.0.0.1:0");
    assert_true(http_server_listen(other, &any, NULL, &err));
    struct env_addr *const ports[] = {&f->opt.api, &f->opt.xds, &f->opt.metrics,
                                      &f->opt.node.members[0].addr};
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        f->opt = good;
        *ports[i] = *http_server_addr(other, 0);
        err_clear(&err);
        assert_false(weftd_start(f->d, f->env, &f->opt, &err));
        assert_true(err.code != ERR_NONE && err.msg[0]);
        weftd_stop(f->d);
        env_uv_turn(f->env, 0);
    }
    http_server_free(other);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_every_floor_answers),         CASE(test_stops_at_once),
        CASE(test_comes_back_with_what_it_had), CASE(test_stops_while_busy),
        CASE(test_refuses_the_world),           CASE(test_refuses_a_port_that_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
