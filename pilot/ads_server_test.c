/* If these failed, no proxy could connect, or what arrives at it would not be what the compiler
 * made: a real server with two workers, real connections, and a client that decodes every byte. */
#include "pilot/ads_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/proto/discovery.pb-c.h"
#include "base/env/env_uv.h"
#include "base/net/grpc_client.h"
#include "base/wire/json.h"
#include "google/protobuf/struct.pb-c.h"
#include "pilot/ads/testing.h"
#include "pilot/compiler.h"

typedef Envoy__Service__Discovery__V3__DeltaDiscoveryRequest delta_request;
typedef Envoy__Service__Discovery__V3__DeltaDiscoveryResponse delta_response;
typedef Envoy__Service__Discovery__V3__DiscoveryRequest sotw_request;
typedef Envoy__Service__Discovery__V3__DiscoveryResponse sotw_response;

struct bench {
    struct env *env;
    struct world world;
    struct compiler *compiler;
    struct convergence *convergence;
    struct ads_server *server;
};

/* One stream of a client. */
struct client {
    struct bench *b;
    struct grpc_client *conn;
    struct grpc_stream *stream;
    bool delta, gone, lost;
    int status;
    char status_text[256];
    struct arena arena;
    VEC(const delta_response *) deltas;
    VEC(const sotw_response *) sotws;
    size_t taken;
};

static int setup(void **state)
{
    struct bench *b = MEM_NEW(struct bench);
    struct err err = {0};
    b->env = env_uv_new(&err);
    b->compiler = compiler_new_manual();
    b->convergence = convergence_new(&(struct convergence_options){.env = b->env});
    struct ads_server_options opt = {
        .compiler = b->compiler, .convergence = b->convergence, .identifier = S("weftd/n1")};
    assert_true(env_addr_parse(&opt.addr, S("127.0.0.1:0"), &err));
    b->server = ads_server_start(&opt, &err);
    if (!b->server)
        fail_msg("%s", err.msg);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    ads_server_stop(b->server);
    compiler_stop(b->compiler);
    env_uv_turn(b->env, 0);
    convergence_free(b->convergence);
    env_uv_free(b->env);
    world_fini(&b->world);
    mem_free(b);
    return 0;
}

static void publish(struct bench *b)
{
    struct xds_view *view = world_view(&b->world);
    compiler_publish(b->compiler, xds_snapshot_new(b->world.revision, &view, 1));
    xds_view_unref(view);
}

static void on_message(void *user, struct slice message)
{
    struct client *c = user;
    struct err err;
    const void *m =
        c->delta ? pb_unpack(&envoy__service__discovery__v3__delta_discovery_response__descriptor,
                             message, &c->arena, &err)
                 : pb_unpack(&envoy__service__discovery__v3__discovery_response__descriptor,
                             message, &c->arena, &err);
    if (!m)
        fail_msg("a response that does not decode: %s", err.msg);
    if (c->delta)
        *vec_push(&c->deltas) = m;
    else
        *vec_push(&c->sotws) = m;
}

static void on_stream_close(void *user, int status, struct slice message)
{
    struct client *c = user;
    c->gone = true;
    c->status = status;
    snprintf(c->status_text, sizeof(c->status_text), "%.*s", SLICE(message));
}

static void on_conn_close(void *ctx, const struct err *why)
{
    (void)why;
    ((struct client *)ctx)->lost = true;
}

static const struct grpc_stream_events stream_events = {.on_message = on_message,
                                                        .on_close = on_stream_close};
static const struct grpc_client_events conn_events = {.on_close = on_conn_close};

static void client_open(struct client *c, struct bench *b, struct slice path, bool delta)
{
    *c = (struct client){.b = b, .delta = delta};
    c->conn = grpc_client_new(b->env, ads_server_addr(b->server), NULL, &conn_events, c);
    c->stream =
        grpc_client_call(c->conn, &(struct grpc_call_options){.path = path}, &stream_events, c);
    assert_non_null(c->stream);
}

static void client_close(struct client *c)
{
    grpc_client_free(c->conn);
    env_uv_turn(c->b->env, 0); /* the server hears of it */
    vec_fini(&c->deltas);
    vec_fini(&c->sotws);
    arena_fini(&c->arena);
}

static Envoy__Config__Core__V3__Node *node(struct arena *a, const char *agent)
{
    Envoy__Config__Core__V3__Node *n = PB_NEW(a, envoy__config__core__v3__node);
    n->id = pb_str(a, S("sidecar~127.1.0.2~reviews.default~default.svc.cluster.local"));
    n->user_agent_name = pb_str(a, slice_of(agent));
    return n;
}

static void client_send(struct client *c, const ProtobufCMessage *m)
{
    struct buf bytes = {0};
    pb_pack(m, &bytes);
    assert_true(grpc_stream_send_copy(c->stream, buf_slice(&bytes)));
    buf_fini(&bytes);
}

/* A delta request: names to subscribe separated by spaces; nonce NULL: none. */
static void subscribe(struct client *c, enum xds_type type, const char *names, const char *nonce)
{
    struct arena a = {0};
    delta_request *m = PB_NEW(&a, envoy__service__discovery__v3__delta_discovery_request);
    m->node = node(&a, "weft-proxy");
    m->type_url = pb_str(&a, xds_types[type].url);
    m->response_nonce = pb_str(&a, slice_of(nonce));
    struct slice rest = slice_of(names), word;
    while (rest.n) {
        slice_cut(rest, ' ', &word, &rest);
        PB_PUSH(&a, m, resource_names_subscribe, pb_str(&a, word));
    }
    client_send(c, &m->base);
    arena_fini(&a);
}

static const delta_response *next_delta(struct client *c)
{
    while (c->deltas.n == c->taken && !c->gone)
        env_uv_turn(c->b->env, 100);
    if (c->gone)
        fail_msg("stream ended: %d %s", c->status, c->status_text);
    return c->deltas.p[c->taken++];
}

static const sotw_response *next_sotw(struct client *c)
{
    while (c->sotws.n == c->taken && !c->gone)
        env_uv_turn(c->b->env, 100);
    if (c->gone)
        fail_msg("stream ended: %d %s", c->status, c->status_text);
    return c->sotws.p[c->taken++];
}

static void set(struct bench *b, enum xds_type type, const char *name, const char *body,
                const char *follows)
{
    world_put(&b->world, type, slice_of(name), slice_of(body), slice_of(follows));
}

/* Tests. */

static void delta_bytes(void **state)
{
    struct bench *b = *state;
    struct client c;
    char big[70000], version[XDS_VERSION_TEXT];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    set(b, XDS_CDS, "a", big, "");
    set(b, XDS_CDS, "b", "", "");
    publish(b);
    client_open(&c, b, S(XDS_PATH_ADS_DELTA), true);
    subscribe(&c, XDS_CDS, "", NULL);
    const delta_response *r = next_delta(&c);
    assert_string_equal(r->type_url, "type.googleapis.com/envoy.config.cluster.v3.Cluster");
    assert_string_equal(r->system_version_info, "2");
    assert_string_equal(r->control_plane->identifier, "weftd/n1");
    assert_int_equal(r->n_resources, 2);
    for (size_t i = 0; i < 2; i++) {
        const Envoy__Service__Discovery__V3__Resource *res = r->resources[i];
        struct xds_resource *want = world_get(&b->world, XDS_CDS, slice_of(res->name));
        assert_non_null(want);
        assert_string_equal(res->version, xds_version_format(want->version, version).p);
        assert_string_equal(res->resource->type_url, r->type_url);
        assert_int_equal(res->resource->value.len, want->body.n);
        assert_memory_equal(res->resource->value.data, want->body.p, want->body.n);
    }
    /* A name that does not exist: removed, and an error that names it. */
    subscribe(&c, XDS_EDS, "nowhere", NULL);
    r = next_delta(&c);
    assert_int_equal(r->n_removed_resources, 1);
    assert_string_equal(r->removed_resources[0], "nowhere");
    assert_int_equal(r->n_resource_errors, 1);
    assert_string_equal(r->resource_errors[0]->resource_name->name, "nowhere");
    assert_int_equal(r->resource_errors[0]->error_detail->code, 5);
    client_close(&c);
}

static void sotw_bytes(void **state)
{
    struct bench *b = *state;
    struct client c;
    struct arena a = {0};
    set(b, XDS_LDS, "l", "body", "");
    publish(b);
    client_open(&c, b, xds_types[XDS_LDS].sotw_path, false);
    sotw_request *m = PB_NEW(&a, envoy__service__discovery__v3__discovery_request);
    m->node = node(&a, "gRPC Go");
    PB_PUSH(&a, m, resource_names, pb_str(&a, S("l")));
    PB_PUSH(&a, m, resource_names, pb_str(&a, S("m")));
    client_send(&c, &m->base); /* no type_url: the service says it */
    const sotw_response *r = next_sotw(&c);
    struct xds_version v;
    assert_true(xds_version_parse(slice_of(r->version_info), &v));
    assert_int_equal(v.revision, 1);
    assert_int_equal(r->n_resources, 1);
    assert_string_equal(r->resources[0]->type_url, xds_types[XDS_LDS].url.p);
    assert_memory_equal(r->resources[0]->value.data, "body", 4);
    assert_int_equal(r->n_resource_errors, 1);
    assert_string_equal(r->resource_errors[0]->resource_name->name, "m");
    arena_fini(&a);
    client_close(&c);
}

static void a_change_arrives_and_converges(void **state)
{
    struct bench *b = *state;
    struct client c;
    set(b, XDS_CDS, "a", "1", "");
    set(b, XDS_CDS, "b", "1", "");
    client_open(&c, b, S(XDS_PATH_ADS_DELTA), true);
    subscribe(&c, XDS_CDS, "", NULL); /* before there is a snapshot */
    env_uv_turn(b->env, 10);
    publish(b);
    const delta_response *r = next_delta(&c);
    assert_int_equal(r->n_resources, 2);
    subscribe(&c, XDS_CDS, "", r->nonce);
    set(b, XDS_CDS, "a", "2", "");
    publish(b);
    r = next_delta(&c);
    assert_int_equal(r->n_resources, 1);
    assert_string_equal(r->resources[0]->name, "a");
    subscribe(&c, XDS_CDS, "", r->nonce);
    while (convergence_local_lowest(b->convergence) != 3)
        env_uv_turn(b->env, 10);
    client_close(&c);
}

static void malformed_is_refused(void **state)
{
    struct bench *b = *state;
    struct client c;
    client_open(&c, b, S(XDS_PATH_ADS_DELTA), true);
    assert_true(grpc_stream_send_copy(c.stream, S("\xff\xff garbage")));
    while (!c.gone)
        env_uv_turn(b->env, 100);
    assert_int_equal(c.status, GRPC_INVALID_ARGUMENT);
    client_close(&c);

    client_open(&c, b, S(XDS_PATH_ADS_DELTA), true);
    assert_true(grpc_stream_send_copy(c.stream, S("")));
    while (!c.gone)
        env_uv_turn(b->env, 100);
    assert_int_equal(c.status, GRPC_INVALID_ARGUMENT);
    assert_string_equal(c.status_text, "the first request of a stream must name its node");
    client_close(&c);
}

static void plaintext_stays_on_loopback(void **state)
{
    struct bench *b = *state;
    struct err err;
    struct ads_server_options opt = {.compiler = b->compiler};
    assert_true(env_addr_parse(&opt.addr, S("0.0.0.0:0"), &err));
    assert_null(ads_server_start(&opt, &err));
    assert_int_equal(err.code, ERR_FORBIDDEN);
}

struct answer {
    struct ads_query q;
    bool done;
};

static void on_answer(struct ads_query *q)
{
    container_of(q, struct answer, q)->done = true;
}

static json_t *query(struct bench *b, struct answer *a)
{
    struct err err;
    a->q.env = b->env;
    a->q.fn = on_answer;
    a->done = false;
    ads_server_query(b->server, &a->q);
    while (!a->done)
        env_uv_turn(b->env, 100);
    json_t *j = a->q.json.n ? json_parse_capped(buf_slice(&a->q.json), 1 << 20, 16, &err) : NULL;
    if (a->q.json.n && !j)
        fail_msg("%s in %.*s", err.msg, SLICE(buf_slice(&a->q.json)));
    buf_fini(&a->q.json);
    return j;
}

static void who_has_what(void **state)
{
    struct bench *b = *state;
    struct client c;
    struct answer all = {.q.kind = ADS_QUERY_PROXIES};
    struct answer one = {
        .q = {.kind = ADS_QUERY_CONFIG, .proxy = S("reviews.default"), .bodies = true}};
    json_t *j = query(b, &all);
    assert_int_equal(json_array_size(j), 0);
    json_decref(j);

    set(b, XDS_CDS, "a", "\n\001a", "");
    publish(b);
    client_open(&c, b, S(XDS_PATH_ADS_DELTA), true);
    subscribe(&c, XDS_CDS, "", NULL);
    const delta_response *r = next_delta(&c);
    j = query(b, &all);
    assert_true(slice_eq(json_str(j, "[0].name"), S("reviews.default")));
    assert_true(slice_eq(json_str(j, "[0].address"), S("127.1.0.2")));
    assert_true(slice_eq(json_str(j, "[0].dialect"), S("weft")));
    assert_true(slice_eq(json_str(j, "[0].types.cds.status"), S("STALE")));
    json_decref(j);

    subscribe(&c, XDS_CDS, "", r->nonce);
    while (convergence_local_lowest(b->convergence) != 1)
        env_uv_turn(b->env, 10);
    j = query(b, &all);
    assert_true(slice_eq(json_str(j, "[0].types.cds.status"), S("SYNCED")));
    assert_int_equal(json_int(j, "[0].revision", 0), 1);
    json_decref(j);

    j = query(b, &one);
    assert_true(one.q.found);
    assert_true(slice_eq(json_str(j, "types.cds[0].name"), S("a")));
    assert_true(slice_eq(json_str(j, "types.cds[0].status"), S("SYNCED")));
    assert_true(slice_eq(json_str(j, "types.cds[0].body.name"), S("a")));
    assert_true(slice_eq(json_str(j, "types.cds[0].sources[0]"),
                         S("virtualservices.networking.istio.io/default/x")));
    json_decref(j);
    one.q.proxy = S("nobody");
    assert_null(query(b, &one));
    assert_false(one.q.found);
    client_close(&c);
}

/* A replica that stops ends its streams with OK, so that clients come back at once elsewhere. */
static void drain(void **state)
{
    struct bench *b = *state;
    struct client c;
    set(b, XDS_CDS, "a", "1", "");
    publish(b);
    client_open(&c, b, S(XDS_PATH_ADS_DELTA), true);
    subscribe(&c, XDS_CDS, "", NULL);
    next_delta(&c);
    ads_server_stop(b->server);
    b->server = NULL;
    while (!c.gone && !c.lost)
        env_uv_turn(b->env, 100);
    assert_true(c.gone);
    assert_int_equal(c.status, GRPC_OK);
    client_close(&c);
}

static void metrics(void **state)
{
    struct bench *b = *state;
    struct client c;
    struct metric_set *sets[8];
    struct buf text = {0};
    set(b, XDS_CDS, "a", "1", "");
    publish(b);
    client_open(&c, b, S(XDS_PATH_ADS_DELTA), true);
    subscribe(&c, XDS_CDS, "", NULL);
    next_delta(&c);
    size_t n = ads_server_metrics(b->server, sets, ARRAY_LEN(sets));
    assert_int_equal(n, 2);
    metric_write_text(sets, n, &text);
    assert_true(slice_contains(buf_slice(&text), S("pilot_xds_pushes{type=\"cds\"} 1\n")));
    assert_true(slice_contains(buf_slice(&text), S("pilot_xds{version=\"")));
    buf_fini(&text);
    client_close(&c);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(delta_bytes),
        TEST(sotw_bytes),
        TEST(a_change_arrives_and_converges),
        TEST(malformed_is_refused),
        TEST(plaintext_stays_on_loopback),
        TEST(who_has_what),
        TEST(drain),
        TEST(metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
