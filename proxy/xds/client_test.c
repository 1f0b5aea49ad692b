/* If these fail, a proxy stays with a dead control-plane node while others live, hammers one that
 * is down, comes up empty although it had a configuration, or forgets what it learnt after a
 * restart. Real gRPC, servers and client on one loop. */
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
#include "proxy/xds/client.h"
#include "proxy/xds/lkg.h"
#include "proxy/xds/xds_testing.h"

#define SERVERS 3

/* A control-plane node. */

struct node {
    struct grpc_server *srv;
    struct env_addr addr;
    struct grpc_stream *stream; /* the last, while it lives */
    unsigned opened;
    bool silent; /* answers nothing by itself */
    struct arena arena;
    VEC(REQ *) requests;
};

struct fixture {
    struct env *env;
    struct metric_set *metrics;
    char dir[64], file[128];
    struct node nodes[SERVERS];
    struct client client;
    bool started;
    struct conf *conf; /* the newest tree */
    unsigned confs;
    bool hold;          /* do not apply */
    const char *failed; /* what the workers cannot bind */
    struct arena arena;
    struct slice body; /* of cluster c1 */
};

static const struct ads_node me = {.id = S_INIT("sidecar~127.0.0.1~a.default~x"),
                                   .cluster = S_INIT("a")};

static void say(struct node *n, struct slice message)
{
    assert_non_null(n->stream);
    assert_true(grpc_stream_send_copy(n->stream, message));
}

static void *node_open(void *ctx, struct grpc_stream *s, const struct http_head *head,
                       wf_ms timeout)
{
    struct node *n = ctx;
    (void)head;
    (void)timeout;
    n->stream = s;
    n->opened++;
    return n;
}

static void node_message(void *user, struct slice message)
{
    struct node *n = user;
    struct err err = {0};
    REQ *r = pb_unpack(&envoy__service__discovery__v3__delta_discovery_request__descriptor,
                       arena_dup(&n->arena, message), &n->arena, &err);
    assert_non_null(r);
    *vec_push(&n->requests) = r;
}

static void node_close(void *user, int status, struct slice message)
{
    struct node *n = user;
    (void)status;
    (void)message;
    n->stream = NULL;
}

static const struct grpc_stream_events node_events = {.on_message = node_message,
                                                      .on_close = node_close};

static void node_up(struct fixture *f, size_t i)
{
    struct node *n = &f->nodes[i];
    struct err err = {0};
    n->srv = grpc_server_new(f->env, &(struct grpc_server_options){0});
    grpc_server_handle(n->srv, &(struct grpc_handler){.path = S(XDS_PATH_ADS_DELTA),
                                                      .ctx = n,
                                                      .events = &node_events,
                                                      .on_open = node_open});
    if (!n->addr.len)
        assert_true(env_addr_parse(&n->addr, S("127.0.0.1:0"), &err));
    if (!grpc_server_listen(n->srv, &n->addr, &err))
        fail_msg("%s", err.msg);
    n->addr = *grpc_server_addr(n->srv);
}

static void node_down(struct fixture *f, size_t i)
{
    grpc_server_free(f->nodes[i].srv);
    f->nodes[i].srv = NULL;
}

/* The proxy. */

static void applied(struct fixture *f)
{
    struct bind_failures failures = failing(f->failed ? f->failed : "");
    client_applied(&f->client, f->conf->generation, &failures);
    bind_failures_fini(&failures);
}

static void on_conf(void *ctx, struct conf *take_conf)
{
    struct fixture *f = ctx;
    conf_unref(f->conf);
    f->conf = take_conf;
    f->confs++;
    if (!f->hold)
        applied(f);
}

static void start(struct fixture *f, size_t servers)
{
    struct client_options opt = {.env = f->env,
                                 .server_count = servers,
                                 .node = &me,
                                 .state_file = f->file,
                                 .metrics = f->metrics,
                                 .on_conf = on_conf,
                                 .ctx = f};
    for (size_t i = 0; i < servers; i++)
        opt.servers[i] = f->nodes[i].addr;
    f->started = true;
    client_start(&f->client, &opt);
}

static void stop(struct fixture *f)
{
    client_close(&f->client);
    f->started = false;
    conf_unref(f->conf);
    f->conf = NULL;
}

#define UNTIL(cond)                                                                                \
    do {                                                                                           \
        for (int turns_ = 0; !(cond); turns_++) {                                                  \
            if (turns_ > 3000)                                                                     \
                fail_msg("never: %s", #cond);                                                      \
            env_uv_turn(f->env, 10);                                                               \
        }                                                                                          \
    } while (0)

/* Of all nodes: the one with the stream. */
static struct node *serving(struct fixture *f)
{
    for (size_t i = 0; i < SERVERS; i++)
        if (f->nodes[i].stream && f->nodes[i].requests.n)
            return &f->nodes[i];
    return NULL;
}

static bool got_nonce(const struct node *n, const char *nonce)
{
    for (size_t i = 0; i < n->requests.n; i++)
        if (strcmp(n->requests.p[i]->response_nonce, nonce) == 0)
            return true;
    return false;
}

static const REQ *request_of(const struct node *n, enum xds_type type)
{
    for (size_t i = 0; i < n->requests.n; i++)
        if (slice_eq(slice_of(n->requests.p[i]->type_url), xds_types[type].url))
            return n->requests.p[i];
    return NULL;
}

static struct slice cluster_response(struct fixture *f, const char *nonce, const char *version)
{
    return response(&f->arena, XDS_CDS, nonce, &(struct res){"c1", version, f->body}, 1, NULL);
}

/* All that it takes to be complete: a cluster, its endpoints, no listener. */
static void bring_up(struct fixture *f)
{
    struct node *n = &f->nodes[0];
    say(n, cluster_response(f, "n1", "1.a"));
    say(n, response(&f->arena, XDS_EDS, "e1", NULL, 0, "c1"));
    say(n, response(&f->arena, XDS_LDS, "l1", NULL, 0, NULL));
    UNTIL(got_nonce(n, "n1") && got_nonce(n, "e1") && got_nonce(n, "l1"));
}

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct err err = {0};
    strcpy(f->dir, "/tmp/weft-xds-client-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->file, sizeof(f->file), "%s/lkg", f->dir);
    f->env = env_uv_new(&err);
    f->metrics = metric_set_new(100);
    f->body = body_cluster(&f->arena, "c1", false);
    for (size_t i = 0; i < SERVERS; i++)
        node_up(f, i);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->started)
        stop(f);
    for (size_t i = 0; i < SERVERS; i++) {
        grpc_server_free(f->nodes[i].srv);
        vec_fini(&f->nodes[i].requests);
        arena_fini(&f->nodes[i].arena);
    }
    env_uv_free(f->env);
    metric_set_free(f->metrics);
    arena_fini(&f->arena);
    unlink(f->file);
    rmdir(f->dir);
    mem_free(f);
    return 0;
}

static struct slice file_load(struct fixture *f)
{
    struct buf b = {0};
    struct err err = {0};
    if (!env_file_load(f->env, f->file, 1 << 20, &b, &err))
        return S("");
    struct slice s = arena_dup(&f->arena, buf_slice(&b));
    buf_fini(&b);
    return s;
}

/* Cases. */

static void test_connects_acks_and_saves(void **state)
{
    struct fixture *f = *state;
    start(f, 1);
    assert_string_equal(client_state_name(&f->client), "connecting");
    UNTIL(serving(f) && f->nodes[0].requests.n == 2);
    assert_string_equal(f->nodes[0].requests.p[0]->node->id, me.id.p);
    bring_up(f);
    assert_int_equal(f->conf->cluster_count, 1);
    assert_false(client_restored(&f->client));
    UNTIL(file_load(f).n > 0); /* written by itself, a little later */
    struct resources rs = {0};
    struct err err = {0};
    assert_true(lkg_decode(&rs, me.id, file_load(f), 0, &err));
    assert_non_null(resources_find(&rs, XDS_CDS, S("c1")));
    resources_fini(&rs);
}

static void test_no_ack_before_it_is_active(void **state)
{
    struct fixture *f = *state;
    f->hold = true;
    start(f, 1);
    UNTIL(serving(f));
    say(&f->nodes[0], cluster_response(f, "n1", "1.a"));
    UNTIL(f->conf);
    /* A response that changes nothing is answered at once, and overtakes nothing. */
    say(&f->nodes[0], response(&f->arena, XDS_LDS, "n2", NULL, 0, NULL));
    UNTIL(got_nonce(&f->nodes[0], "n2"));
    assert_false(got_nonce(&f->nodes[0], "n1"));
    applied(f);
    UNTIL(got_nonce(&f->nodes[0], "n1"));
}

/* Wrong: what happened to a listener after its answer stays unknown to the control plane. The
 * stream goes on: what else is under way on it is not lost. */
static void test_late_loss_is_told(void **state)
{
    struct fixture *f = *state;
    struct node *n = &f->nodes[0];
    struct slice l1 = body_listener(&f->arena, "l1", "80");
    static const char *const failed[] = {"l1: in use", NULL}, *const nonces[] = {"n2", "n3"};
    start(f, 1);
    UNTIL(serving(f));
    say(n, response(&f->arena, XDS_LDS, "n1", &(struct res){"l1", "1.a", l1}, 1, NULL));
    UNTIL(got_nonce(n, "n1"));
    for (size_t i = 0; i < ARRAY_LEN(failed); i++) {
        n->requests.n = 0;
        f->failed = failed[i];
        applied(f);
        UNTIL(request_of(n, XDS_LDS));
        assert_string_equal(request_of(n, XDS_LDS)->resource_names_subscribe[0], "l1");
        assert_string_equal(request_of(n, XDS_LDS)->resource_names_unsubscribe[0], "l1");
        say(n, response(&f->arena, XDS_LDS, nonces[i], &(struct res){"l1", "1.a", l1}, 1, NULL));
        UNTIL(got_nonce(n, nonces[i]));
        const REQ *last = n->requests.p[n->requests.n - 1];
        assert_int_equal(last->error_detail != NULL, failed[i] != NULL);
    }
    assert_int_equal(n->opened, 1);
}

/* The tree of the file is handed over before anything is connected; a later one is saved over it,
 * also in a second life that began from the file. */
static void test_restores_then_saves_again(void **state)
{
    struct fixture *f = *state;
    start(f, 1);
    UNTIL(serving(f));
    bring_up(f);
    assert_true(f->client.save.armed);
    stop(f); /* writes what waits */
    struct slice first = file_load(f);
    assert_true(first.n > 0);

    UNTIL(!f->nodes[0].stream);
    f->nodes[0].requests.n = 0;
    start(f, 1);
    assert_non_null(f->conf); /* before any turn of the loop */
    assert_int_equal(f->conf->cluster_count, 1);
    assert_true(client_restored(&f->client));
    assert_false(f->client.save.armed); /* the file has it */
    UNTIL(f->nodes[0].stream && f->nodes[0].requests.n >= 2);
    const REQ *cds = request_of(&f->nodes[0], XDS_CDS);
    assert_int_equal(cds->n_initial_resource_versions, 1); /* so that it is not sent again */
    assert_string_equal(cds->initial_resource_versions[0]->value, "1.a");
    say(&f->nodes[0], response(&f->arena, XDS_LDS, "n2", NULL, 0, NULL));
    UNTIL(got_nonce(&f->nodes[0], "n2"));
    assert_true(client_restored(&f->client)); /* nothing newer is active */
    assert_false(f->client.save.armed);
    say(&f->nodes[0], cluster_response(f, "n3", "2.a"));
    UNTIL(got_nonce(&f->nodes[0], "n3"));
    assert_false(client_restored(&f->client));
    assert_true(f->client.save.armed);
    stop(f);
    struct slice second = file_load(f);
    assert_false(slice_eq(first, second));
}

/* Wrong: after an hour of a full disk a proxy starts from what was an hour ago, although the disk
 * has had room since; or nobody sees that it does not write. (No such directory stands for it.) */
static void test_a_write_that_fails_is_tried_again(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    char where[sizeof(f->file)];
    snprintf(where, sizeof(where), "%s/later", f->dir);
    snprintf(f->file, sizeof(f->file), "%s/later/lkg", f->dir);
    start(f, 1);
    UNTIL(serving(f));
    bring_up(f);
    UNTIL(metric_value(f->client.save_failures) == 1);
    assert_int_equal(f->client.save_backoff, XDS_LKG_RETRY_MIN_MS);
    UNTIL(metric_value(f->client.save_failures) == 2);
    assert_int_equal(f->client.save_backoff, 2 * XDS_LKG_RETRY_MIN_MS);
    assert_true(env_dir_make(f->env, where, &err));
    UNTIL(file_load(f).n > 0); /* without any change of the configuration */
    assert_int_equal(f->client.save_backoff, 0);
    assert_int_equal(metric_value(f->client.save_failures), 2);
    /* The end comes while one is due: it is tried once more, and nothing is left armed. */
    unlink(f->file);
    rmdir(where);
    say(&f->nodes[0], cluster_response(f, "n2", "2.a"));
    UNTIL(metric_value(f->client.save_failures) == 3);
    f->client.save_backoff = XDS_LKG_RETRY_MAX_MS - 1;
    f->client.save.fn(&f->client.save);
    assert_int_equal(f->client.save_backoff, XDS_LKG_RETRY_MAX_MS);
    stop(f);
    assert_false(f->client.save.armed);
}

static void test_refuses_a_file_that_is_not_its_own(void **state)
{
    struct fixture *f = *state;
    struct resources rs = {0};
    struct buf bytes = {0};
    struct err err = {0};
    assert_true(resources_put(&rs, XDS_CDS, S("c1"), S("1.a"), f->body, 0, &err));
    lkg_encode(&rs, S("another"), &bytes);
    assert_true(env_file_store(f->env, f->file, buf_slice(&bytes), &err));
    start(f, 1);
    assert_null(f->conf);
    stop(f);
    lkg_encode(&rs, me.id, &bytes);
    bytes.p[bytes.n / 2] ^= 1;
    assert_true(env_file_store(f->env, f->file, buf_slice(&bytes), &err));
    start(f, 1);
    assert_null(f->conf);
    assert_false(client_restored(&f->client));
    buf_fini(&bytes);
    resources_fini(&rs);
}

static void test_goes_to_the_next_at_once(void **state)
{
    struct fixture *f = *state;
    node_down(f, 0);
    node_down(f, 2);
    start(f, 3);
    f->client.opt.env = f->env;
    UNTIL(serving(f));
    assert_ptr_equal(serving(f), &f->nodes[1]);
    assert_int_equal(f->client.backoff, 0); /* none was waited for */
    assert_true(f->client.connects <= 3);
    assert_int_equal(f->client.connects, f->client.connect_failures + 1);
}

/* Node dies, or drains, or ends the stream: the next one has the proxy. */
static void lose_node(struct fixture *f, size_t at, int how)
{
    switch (how) {
    case 0:
        node_down(f, at);
        break;
    case 1:
        grpc_server_drain(f->nodes[at].srv, 60000, NULL, NULL);
        break;
    case 2:
        grpc_stream_finish(f->nodes[at].stream, GRPC_UNAVAILABLE, S("going away"));
        break;
    case 3: /* no answer of an xDS server */
        say(&f->nodes[at], S("\xff\xff\xff"));
        break;
    default:
        fail();
    }
}

static void test_failover(void **state)
{
    struct fixture *f = *state;
    for (int how = 0; how < 4; how++) {
        start(f, 2);
        UNTIL(serving(f));
        struct node *first = serving(f);
        size_t at = first == &f->nodes[0] ? 0 : 1;
        char nonce[8], version[8];
        snprintf(nonce, sizeof(nonce), "n%d", how);
        snprintf(version, sizeof(version), "%d.a", how + 1);
        say(first, cluster_response(f, nonce, version));
        UNTIL(got_nonce(first, nonce));
        struct node *second = &f->nodes[1 - at];
        second->requests.n = 0;
        lose_node(f, at, how);
        UNTIL(second->stream && second->requests.n >= 2);
        const REQ *cds = request_of(second, XDS_CDS);
        assert_int_equal(cds->n_initial_resource_versions, 1);
        assert_string_equal(cds->initial_resource_versions[0]->value, version);
        assert_int_equal(f->conf->cluster_count, 1); /* and nothing was dropped meanwhile */
        stop(f);
        UNTIL(!f->nodes[0].stream && !f->nodes[1].stream);
        for (size_t i = 0; i < 2; i++) {
            f->nodes[i].requests.n = 0;
            if (f->nodes[i].srv)
                node_down(f, i);
            node_up(f, i);
        }
    }
}

static void test_backs_off_and_comes_back(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < SERVERS; i++)
        node_down(f, i);
    start(f, 2);
    UNTIL(f->client.connect_failures >= 8);
    assert_true(f->client.backoff >= 4 * XDS_BACKOFF_MIN_MS); /* doubled after each round */
    assert_true(f->client.backoff <= XDS_BACKOFF_MAX_MS);
    node_up(f, 0);
    UNTIL(serving(f));
    assert_string_equal(client_state_name(&f->client), "streaming");
}

/* A node that answers and hangs up, again and again, is not asked in a tight loop. */
static void test_flapping_server_is_backed_off(void **state)
{
    struct fixture *f = *state;
    start(f, 1);
    for (int i = 0; i < 6; i++) {
        UNTIL(serving(f));
        say(&f->nodes[0], response(&f->arena, XDS_CDS, "n", NULL, 0, NULL));
        grpc_stream_finish(f->nodes[0].stream, GRPC_UNAVAILABLE, S("no"));
        UNTIL(!f->nodes[0].stream);
        f->nodes[0].requests.n = 0;
    }
    UNTIL(f->nodes[0].stream);
    assert_true(f->client.backoff >= 16 * XDS_BACKOFF_MIN_MS);
}

static bool listens(const struct fixture *f, const char *name)
{
    for (size_t i = 0; f->conf && i < f->conf->listener_count; i++)
        if (slice_eq(f->conf->listeners[i]->name, slice_of(name)))
            return true;
    return false;
}

/* Wrong: a listener whose routes never come keeps others closed, or is never heard of again; or the
 * last known good is replaced by something that does not serve yet. The wait is the real one. */
static void test_routes_that_never_come(void **state)
{
    struct fixture *f = *state;
    struct arena *a = &f->arena;
    struct res rs[] = {{"l1", "1.a", body_listener(a, "l1", "80")},
                       {"l2", "1.a", body_listener(a, "l2", "none")}};
    start(f, 1);
    UNTIL(serving(f));
    struct node *n = &f->nodes[0];
    say(n, cluster_response(f, "c", "1.a"));
    say(n, response(a, XDS_EDS, "e", NULL, 0, "c1"));
    say(n, response(a, XDS_LDS, "l", rs, 2, NULL));
    UNTIL(got_nonce(n, "l"));
    assert_false(listens(f, "l1"));
    say(n, response(a, XDS_RDS, "r", &(struct res){"80", "1.b", body_routes(a, "80", false)}, 1,
                    NULL));
    UNTIL(got_nonce(n, "r"));
    assert_true(listens(f, "l1"));
    assert_false(listens(f, "l2") || client_live(&f->client) || f->client.save.armed);
    assert_true(f->client.warm.armed);
    UNTIL(listens(f, "l2"));
    assert_true(client_live(&f->client));
    assert_false(f->client.warm.armed);
    UNTIL(file_load(f).n > 0);
}

/* Routes that cannot be bound are not acknowledged. */
static void test_domain_twice_is_a_nack(void **state)
{
    struct fixture *f = *state;
    struct arena *a = &f->arena;
    start(f, 1);
    UNTIL(serving(f));
    struct node *n = &f->nodes[0];
    say(n, response(a, XDS_LDS, "n1", &(struct res){"l1", "1.a", body_listener(a, "l1", "80")}, 1,
                    NULL));
    say(n, response(a, XDS_RDS, "n2", &(struct res){"80", "1.b", body_routes(a, "80", true)}, 1,
                    NULL));
    UNTIL(got_nonce(n, "n2"));
    struct res rs[] = {{"80/x", "2.c", pb_pack_arena(&vhost(a, "x", "same", "c1")->base, a)},
                       {"80/y", "2.c", pb_pack_arena(&vhost(a, "y", "same", "c1")->base, a)}};
    say(n, response(a, XDS_VHDS, "n3", rs, 2, NULL));
    UNTIL(got_nonce(n, "n3"));
    const REQ *last = n->requests.p[n->requests.n - 1];
    assert_non_null(last->error_detail);
    assert_non_null(strstr(last->error_detail->message, "same"));
    assert_int_equal(f->client.ads.rejected, 1);
    assert_non_null(resources_find(&f->client.resources, XDS_RDS, S("80"))->error);
    say(n, response(a, XDS_VHDS, "n4", NULL, 0, "80/y"));
    UNTIL(got_nonce(n, "n4"));
    assert_null(n->requests.p[n->requests.n - 1]->error_detail);
    assert_null(resources_find(&f->client.resources, XDS_RDS, S("80"))->error);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_connects_acks_and_saves),
        CASE(test_no_ack_before_it_is_active),
        CASE(test_late_loss_is_told),
        CASE(test_restores_then_saves_again),
        CASE(test_a_write_that_fails_is_tried_again),
        CASE(test_refuses_a_file_that_is_not_its_own),
        CASE(test_goes_to_the_next_at_once),
        CASE(test_failover),
        CASE(test_backs_off_and_comes_back),
        CASE(test_flapping_server_is_backed_off),
        CASE(test_domain_twice_is_a_nack),
        CASE(test_routes_that_never_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
