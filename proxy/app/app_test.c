/* If these fail, weft-proxy as a whole fails at what its parts do: traffic does not flow, a change
 * that is not in force is acknowledged, an operator cannot see or stop it, or a check kills a proxy
 * that works. The whole proxy with real workers; control plane, backend and clients on the test's
 * loop. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/env/env_uv.h"
#include "base/net/grpc_server.h"
#include "base/net/http_testing.h"
#include "base/wire/json.h"
#include "proxy/app/proxy.h"
#include "proxy/xds/xds_testing.h"

struct fixture {
    struct env *env;
    char dir[64];
    struct proxy_options opt;
    struct proxy *proxy;
    bool started;
    /* The control plane. */
    struct grpc_server *srv;
    struct grpc_stream *stream;
    struct arena arena;
    VEC(REQ *) requests;
    /* The backend. */
    struct http_server *backend;
    unsigned served;
    unsigned port; /* of the proxy's listener */
    struct http_probe http;
};

#define UNTIL(cond)                                                                                \
    do {                                                                                           \
        for (int turns_ = 0; !(cond); turns_++) {                                                  \
            if (turns_ > 2000)                                                                     \
                fail_msg("never: %s", #cond);                                                      \
            env_uv_turn(f->env, 10);                                                               \
        }                                                                                          \
    } while (0)

/* The control plane. */

static void *node_open(void *ctx, struct grpc_stream *s, const struct http_head *head,
                       wf_ms timeout)
{
    struct fixture *f = ctx;
    (void)head;
    (void)timeout;
    f->stream = s;
    return f;
}

static void node_message(void *user, struct slice message)
{
    struct fixture *f = user;
    struct err err = {0};
    REQ *r = pb_unpack(&envoy__service__discovery__v3__delta_discovery_request__descriptor,
                       arena_dup(&f->arena, message), &f->arena, &err);
    assert_non_null(r);
    *vec_push(&f->requests) = r;
}

static void node_close(void *user, int status, struct slice message)
{
    struct fixture *f = user;
    (void)status;
    (void)message;
    f->stream = NULL;
}

static const struct grpc_stream_events node_events = {.on_message = node_message,
                                                      .on_close = node_close};

static const REQ *answer_to(const struct fixture *f, const char *nonce)
{
    for (size_t i = 0; i < f->requests.n; i++)
        if (strcmp(f->requests.p[i]->response_nonce, nonce) == 0)
            return f->requests.p[i];
    return NULL;
}

/* Sends, and waits for the answer. */
static const REQ *give(struct fixture *f, enum xds_type type, const char *nonce, const char *name,
                       struct slice body)
{
    struct res r = {name, nonce, body};
    UNTIL(f->stream && f->requests.n >= 2);
    assert_true(grpc_stream_send_copy(f->stream, response(&f->arena, type, nonce, &r, 1, NULL)));
    UNTIL(answer_to(f, nonce));
    return answer_to(f, nonce);
}

static unsigned free_port(struct fixture *f)
{
    struct err err = {0};
    struct env_addr any;
    struct http_server *s = http_server_new(f->env, &(struct http_server_options){0},
                                            (void (*)(void *, struct http_request *))abort, NULL);
    assert_true(env_addr_parse(&any, S("127.0.0.1:0"), &err));
    assert_true(http_server_listen(s, &any, NULL, &err));
    unsigned port = env_addr_port(http_server_addr(s, 0));
    http_server_free(s);
    env_uv_turn(f->env, 0);
    return port;
}

/* One service behind one listener: cluster c1, routes 80. */
static void configure(struct fixture *f)
{
    struct arena *a = &f->arena;
    f->port = free_port(f);
    give(f, XDS_CDS, "c", "c1", body_cluster(a, "c1", false));
    give(f, XDS_EDS, "e", "c1",
         body_endpoints(a, "c1", env_addr_port(http_server_addr(f->backend, 0))));
    give(f, XDS_RDS, "r", "80", body_routes(a, "80", false));
    give(f, XDS_LDS, "l", "l1", body_listener_at(a, "l1", "80", "127.0.0.1", f->port));
}

/* Requests. */

static int call(struct fixture *f, const struct env_addr *at, const char *method, const char *path)
{
    return http_probe_call(&f->http, &(struct http_call_options){.method = slice_of(method),
                                                                 .addrs = at,
                                                                 .authority = S("svc"),
                                                                 .path = slice_of(path)});
}

static int admin(struct fixture *f, const char *method, const char *path)
{
    return call(f, http_server_addr(f->proxy->admin, 0), method, path);
}

static int through(struct fixture *f)
{
    struct err err = {0};
    struct env_addr at;
    char text[32];
    snprintf(text, sizeof(text), "127.0.0.1:%u", f->port);
    assert_true(env_addr_parse(&at, slice_of(text), &err));
    return call(f, &at, "GET", "/x");
}

static const char *text(const struct fixture *f)
{
    return http_probe_text(&f->http);
}

static void has(struct fixture *f, const char *part)
{
    if (!strstr(text(f), part))
        fail_msg("no %s in\n%s", part, text(f));
}

static void on_backend(void *ctx, struct http_request *req)
{
    struct fixture *f = ctx;
    f->served++;
    http_respond(req, 200, S("text/plain"), S("hello\n"));
}

/* Life. */

static void start(struct fixture *f)
{
    struct err err = {0};
    f->started = true;
    if (!proxy_start(f->proxy, f->env, &f->opt, &err))
        fail_msg("%s", err.msg);
}

static void stop(struct fixture *f)
{
    proxy_stop(f->proxy);
    f->started = false;
}

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct err err = {0};
    struct env_addr any;
    f->env = env_uv_new(&err);
    f->proxy = MEM_NEW(struct proxy);
    strcpy(f->dir, "/tmp/weft-proxy-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_true(env_addr_parse(&any, S("127.0.0.1:0"), &err));
    f->srv = grpc_server_new(f->env, &(struct grpc_server_options){0});
    grpc_server_handle(f->srv, &(struct grpc_handler){.path = S(XDS_PATH_ADS_DELTA),
                                                      .ctx = f,
                                                      .events = &node_events,
                                                      .on_open = node_open});
    assert_true(grpc_server_listen(f->srv, &any, &err));
    f->backend = http_server_new(f->env, &(struct http_server_options){0}, on_backend, f);
    assert_true(http_server_listen(f->backend, &any, NULL, &err));
    http_probe_init(&f->http, f->env);
    f->opt = (struct proxy_options){.type = S("sidecar"),
                                    .name = S("a-v1"),
                                    .ns = S("default"),
                                    .domain = S("cluster.local"),
                                    .address = S("127.0.0.1"),
                                    .cluster_id = S("Kubernetes"),
                                    .server_count = 1,
                                    .admin = any,
                                    .state_dir = f->dir,
                                    .workers = 2,
                                    .drain_time = 100,
                                    .access_log_off = true};
    f->opt.servers[0] = *grpc_server_addr(f->srv);
    start(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    if (f->started)
        stop(f);
    http_probe_fini(&f->http);
    grpc_server_free(f->srv);
    http_server_free(f->backend);
    env_uv_free(f->env);
    mem_free(f->proxy);
    vec_fini(&f->requests);
    arena_fini(&f->arena);
    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    mem_free(f);
    return 0;
}

/* Cases. */

static void test_traffic_flows_and_is_counted(void **state)
{
    struct fixture *f = *state;
    configure(f);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(through(f), 200);
        assert_string_equal(text(f), "hello\n");
    }
    assert_int_equal(f->served, 5);
    assert_int_equal(admin(f, "GET", "/clusters"), 200);
    char row[128];
    snprintf(row, sizeof(row), "c1::127.0.0.1:%u::rq_total::5\n",
             env_addr_port(http_server_addr(f->backend, 0)));
    has(f, row); /* the sum of both workers */
    has(f, "::health_flags::healthy\n");
    assert_int_equal(admin(f, "GET", "/stats?filter=c1.*upstream_rq_total"), 200);
    has(f, "cluster.c1.upstream_rq_total: 5\n");
    assert_null(strstr(text(f), "upstream_cx"));
    assert_int_equal(admin(f, "GET", "/stats?filter=("), 400);
    assert_int_equal(admin(f, "GET", "/stats/prometheus"), 200);
    has(f, "envoy_cluster_upstream_rq_total{");
    has(f, "istio_requests_total{");
    assert_int_equal(admin(f, "GET", "/stats?format=prometheus"), 200);
    has(f, "envoy_cluster_upstream_rq_total{");
    assert_int_equal(admin(f, "GET", "/stats?filter=last_known_good"), 200);
    has(f, "weft_proxy_last_known_good_failures_total: 0\n");
}

static void test_ready(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(admin(f, "GET", "/ready"), 503);
    has(f, "PRE_INITIALIZING");
    configure(f);
    assert_int_equal(admin(f, "GET", "/ready"), 200);
    has(f, "LIVE");
    assert_int_equal(admin(f, "POST", "/healthcheck/fail"), 200);
    assert_int_equal(admin(f, "GET", "/ready"), 503);
    assert_int_equal(through(f), 200); /* it serves on */
    assert_int_equal(admin(f, "POST", "/healthcheck/ok"), 200);
    assert_int_equal(admin(f, "GET", "/ready"), 200);
}

static void test_paths_and_methods(void **state)
{
    struct fixture *f = *state;
    static const char *const changing[] = {"/drain_listeners", "/healthcheck/fail",
                                           "/healthcheck/ok", "/logging", "/quitquitquit"};
    static const char *const reading[] = {"/",
                                          "/clusters",
                                          "/config_dump",
                                          "/help",
                                          "/listeners",
                                          "/memory",
                                          "/server_info",
                                          "/stats",
                                          "/stats/prometheus"};
    for (size_t i = 0; i < ARRAY_LEN(changing); i++) {
        assert_int_equal(admin(f, "GET", changing[i]), 405);
        has(f, "use POST");
    }
    for (size_t i = 0; i < ARRAY_LEN(reading); i++)
        assert_int_equal(admin(f, "GET", reading[i]), 200);
    assert_int_equal(admin(f, "GET", "/no/such/path"), 404);
    assert_int_equal(admin(f, "GET", "/help"), 200);
    for (size_t i = 0; i < ARRAY_LEN(changing); i++)
        has(f, changing[i]);
    assert_false(f->proxy->draining || f->proxy->failing_health);
    assert_int_equal(admin(f, "POST", "/logging?level=nonsense"), 400);
    assert_int_equal(admin(f, "POST", "/logging?level=info"), 200);
}

static json_t *parsed(struct fixture *f, const char *path)
{
    struct err err = {0};
    assert_int_equal(admin(f, "GET", path), 200);
    json_t *o = json_parse_capped(slice_of(text(f)), 8u << 20, JSON_DEPTH_MAX, &err);
    if (!o)
        fail_msg("%s: %s in %s", path, err.msg, text(f));
    return o;
}

static void test_what_it_says_of_itself(void **state)
{
    struct fixture *f = *state;
    configure(f);
    json_t *o = parsed(f, "/server_info");
    assert_true(slice_eq(json_str(o, "state"), S("LIVE")));
    assert_true(slice_eq(json_str(o, "node.id"),
                         S("sidecar~127.0.0.1~a-v1.default~default.svc.cluster.local")));
    assert_true(slice_eq(json_str(o, "xds.state"), S("streaming")));
    assert_int_equal(json_int(o, "xds.rejected", -1), 0);
    assert_false(json_bool(o, "xds.restored", true));
    json_decref(o);
    o = parsed(f, "/memory");
    assert_true(json_str(o, "resident").n > 3);
    json_decref(o);
    assert_int_equal(admin(f, "GET", "/listeners"), 200);
    char line[64];
    snprintf(line, sizeof(line), "l1::127.0.0.1:%u\n", f->port);
    has(f, line);
    o = parsed(f, "/listeners?format=json");
    assert_true(slice_eq(json_str(o, "listener_statuses[0].name"), S("l1")));
    json_decref(o);
}

static void test_config_dump(void **state)
{
    struct fixture *f = *state;
    configure(f);
    json_t *o = parsed(f, "/config_dump");
    assert_int_equal(json_array_size(json_object_get(o, "configs")), 4);
    assert_true(
        slice_eq(json_str(o, "configs[0].dynamic_active_clusters[0].cluster.name"), S("c1")));
    assert_true(
        slice_eq(json_str(o, "configs[0].dynamic_active_clusters[0].version_info"), S("c")));
    json_decref(o);
    o = parsed(f, "/config_dump?include_eds");
    assert_int_equal(json_array_size(json_object_get(o, "configs")), 5);
    json_decref(o);
    o = parsed(f, "/config_dump?resource=dynamic_listeners");
    assert_int_equal(json_array_size(json_object_get(o, "configs")), 1);
    assert_true(slice_eq(json_str(o, "configs[0].dynamic_listeners[0].active_state.listener.name"),
                         S("l1")));
    json_decref(o);
    /* What was refused stands beside what is in force. */
    const REQ *r = give(f, XDS_CDS, "c2", "c1", body_cluster(&f->arena, "c1", true));
    assert_non_null(r->error_detail);
    o = parsed(f, "/config_dump?resource=dynamic_active_clusters");
    struct slice why = json_str(o, "configs[0].dynamic_active_clusters[0].error_state.details");
    assert_true(slice_contains(why, S("connect_timeout")));
    assert_true(
        slice_eq(json_str(o, "configs[0].dynamic_active_clusters[0].version_info"), S("c")));
    json_decref(o);
    assert_int_equal(through(f), 200);
}

static const REQ *asked_for(const struct fixture *f, const char *name)
{
    for (size_t i = 0; i < f->requests.n; i++)
        for (size_t k = 0; k < f->requests.p[i]->n_resource_names_subscribe; k++)
            if (strcmp(f->requests.p[i]->resource_names_subscribe[k], name) == 0)
                return f->requests.p[i];
    return NULL;
}

static void on_hold(void *ctx, struct env_stream *s)
{
    (void)ctx;
    env_stream_set_events(s, NULL, NULL);
    env_stream_close(s);
}

/* Wrong: one address that is taken makes others refused, or is refused for ever. It is refused by
 * name, everything else serves, and it is bound as soon as it can be. */
static void test_listener_on_a_taken_address(void **state)
{
    struct fixture *f = *state;
    struct arena *a = &f->arena;
    struct err err = {0};
    struct env_addr any;
    char why[64];
    configure(f);
    assert_true(env_addr_parse(&any, S("127.0.0.1:0"), &err));
    struct env_listener *holder = env_listen(f->env, &any, NULL, on_hold, NULL, &err);
    unsigned taken = env_addr_port(env_listener_addr(holder));
    struct slice l2 = body_listener_at(a, "l2", "80", "127.0.0.1", taken);
    const REQ *r = give(f, XDS_LDS, "l2", "l2", l2);
    assert_non_null(r->error_detail);
    snprintf(why, sizeof(why), "127.0.0.1:%u", taken);
    if (!strstr(r->error_detail->message, why) || !strstr(r->error_detail->message, "l2"))
        fail_msg("%s", r->error_detail->message);
    assert_int_equal(through(f), 200);
    assert_int_equal(admin(f, "GET", "/ready"), 503);
    has(f, "NOT_BOUND");
    has(f, why);
    f->port = free_port(f);
    r = give(f, XDS_LDS, "l3", "l3", body_listener_at(a, "l3", "80", "127.0.0.1", f->port));
    assert_null(r->error_detail);
    assert_int_equal(through(f), 200);
    env_listener_close(holder);
    UNTIL(asked_for(f, "l2"));
    assert_int_equal(admin(f, "GET", "/ready"), 200);
    assert_null(give(f, XDS_LDS, "l2-again", "l2", l2)->error_detail);
    f->port = taken;
    assert_int_equal(through(f), 200);
}

static void on_drained(void *ctx)
{
    *(bool *)ctx = true;
}

static void test_drain(void **state)
{
    struct fixture *f = *state;
    bool drained = false;
    configure(f);
    assert_int_equal(through(f), 200);
    assert_int_equal(admin(f, "POST", "/quitquitquit"), 200);
    assert_true(f->proxy->draining);
    assert_int_equal(admin(f, "GET", "/ready"), 503);
    has(f, "DRAINING");
    grpc_server_drain(f->srv, 1, on_drained, &drained);
    env_uv_run(f->env); /* ends by itself, after the drain time */
    assert_true(f->proxy->draining);
}

/* Without any control plane it serves as it did. */
static void test_last_known_good(void **state)
{
    struct fixture *f = *state;
    configure(f);
    stop(f); /* saves */
    env_uv_turn(f->env, 0);
    grpc_server_free(f->srv);
    f->srv = NULL;
    start(f);
    UNTIL(f->proxy->generation > 0);
    assert_int_equal(admin(f, "GET", "/ready"), 200);
    assert_int_equal(through(f), 200);
    json_t *o = parsed(f, "/server_info");
    assert_true(json_bool(o, "xds.restored", false));
    json_decref(o);
}

/* Its end may come while a tree is on its way and somebody asks. */
static void test_stops_while_busy(void **state)
{
    struct fixture *f = *state;
    struct arena *a = &f->arena;
    configure(f);
    for (int i = 0; i < 3; i++) {
        struct res r = {"c1", "x", body_endpoints(a, "c1", (unsigned)(1000 + i))};
        assert_true(grpc_stream_send_copy(f->stream, response(a, XDS_EDS, "x", &r, 1, NULL)));
        http_probe_begin(&f->http,
                         &(struct http_call_options){.method = S("GET"),
                                                     .addrs = http_server_addr(f->proxy->admin, 0),
                                                     .path = S("/clusters")});
    }
    UNTIL(f->proxy->applying);
    stop(f);
    UNTIL(f->http.answered);
}

static void test_admin_is_for_this_machine(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    stop(f);
    env_uv_turn(f->env, 0);
    assert_true(env_addr_parse(&f->opt.admin, S("0.0.0.0:0"), &err));
    assert_false(proxy_start(f->proxy, f->env, &f->opt, &err));
    assert_int_equal(err.code, ERR_FORBIDDEN);
    f->started = true; /* what is left of it goes in teardown */
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_traffic_flows_and_is_counted),
        CASE(test_ready),
        CASE(test_paths_and_methods),
        CASE(test_what_it_says_of_itself),
        CASE(test_config_dump),
        CASE(test_listener_on_a_taken_address),
        CASE(test_drain),
        CASE(test_last_known_good),
        CASE(test_stops_while_busy),
        CASE(test_admin_is_for_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
