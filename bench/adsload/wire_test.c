/* If these failed, the load client would ask for the wrong names and measure a mesh that nobody
 * has. */
#include "bench/adsload/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "api/any_types.h"
#include "api/proto/discovery.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "base/wire/json.h"
#include "base/wire/pb_json.h"

static struct slice wire_of(const ProtobufCMessageDescriptor *type, const char *json,
                            struct arena *arena)
{
    struct err err;
    const struct pb_json_options opt = {.types = &any_types};
    json_t *j = json_parse(slice_of(json), &err);
    const ProtobufCMessage *m = j ? pb_json_parse(type, j, &opt, arena, &err) : NULL;
    if (!m)
        fail_msg("%s", err.msg);
    json_decref(j);
    return pb_pack_arena(m, arena);
}

/* What the writer makes is what the official layout says. */
static void request(void **state)
{
    (void)state;
    struct arena a = {0};
    struct buf b = {0};
    struct err err;
    load_put_node(&b, &(struct load_node){.id = S("i"), .agent = S("g"), .ns = S("n")});
    load_put_type(&b, XDS_EDS);
    load_put_subscribe(&b, S("x"));
    load_put_initial(&b, S("y"), S("1.0"));
    load_put_nonce(&b, S("7"));
    const Envoy__Service__Discovery__V3__DeltaDiscoveryRequest *m =
        pb_unpack(&envoy__service__discovery__v3__delta_discovery_request__descriptor,
                  buf_slice(&b), &a, &err);
    if (!m)
        fail_msg("%s", err.msg);
    assert_string_equal(m->node->id, "i");
    assert_string_equal(m->node->user_agent_name, "g");
    assert_string_equal(m->node->metadata->fields[0]->key, "NAMESPACE");
    assert_string_equal(m->node->metadata->fields[0]->value->string_value, "n");
    assert_string_equal(m->type_url, xds_types[XDS_EDS].url.p);
    assert_string_equal(m->resource_names_subscribe[0], "x");
    assert_string_equal(m->initial_resource_versions[0]->key, "y");
    assert_string_equal(m->initial_resource_versions[0]->value, "1.0");
    assert_string_equal(m->response_nonce, "7");
    buf_fini(&b);
    arena_fini(&a);
}

struct seen {
    struct buf text;
};

static void on_resource(void *ctx, const struct load_resource *r)
{
    struct seen *s = ctx;
    buf_printf(&s->text, "+%.*s@%.*s(%zu)", SLICE(r->name), SLICE(r->version), r->body.n);
}

static void on_removed(void *ctx, struct slice name)
{
    struct seen *s = ctx;
    buf_printf(&s->text, "-%.*s", SLICE(name));
}

static void response(void **state)
{
    (void)state;
    struct arena a = {0};
    struct seen s = {0};
    struct load_response r;
    struct slice wire = wire_of(
        &envoy__service__discovery__v3__delta_discovery_response__descriptor,
        "{\"typeUrl\":\"type.googleapis.com/envoy.config.cluster.v3.Cluster\",\"nonce\":\"9\","
        "\"resources\":[{\"name\":\"a\",\"version\":\"1.2\",\"resource\":{\"@type\":"
        "\"type.googleapis.com/envoy.config.cluster.v3.Cluster\",\"name\":\"a\"}}],"
        "\"removedResources\":[\"b\"]}",
        &a);
    assert_true(load_response_head(wire, &r));
    assert_int_equal(r.type, XDS_CDS);
    assert_true(slice_eq(r.nonce, S("9")));
    assert_true(load_response_each(wire, on_resource, on_removed, &s));
    assert_true(slice_eq(buf_slice(&s.text), S("+a@1.2(3)-b")));
    /* No cut of it is read beyond its end; most are refused. */
    for (size_t n = 0; n < wire.n; n++) {
        buf_clear(&s.text);
        (void)load_response_head(slice_sub(wire, 0, n), &r);
        (void)load_response_each(slice_sub(wire, 0, n), on_resource, on_removed, &s);
    }
    buf_fini(&s.text);
    arena_fini(&a);
}

static void on_name(void *ctx, struct slice name)
{
    struct seen *s = ctx;
    buf_printf(&s->text, "[%.*s]", SLICE(name));
}

static void what_to_ask_next(void **state)
{
    (void)state;
    struct arena a = {0};
    struct seen s = {0};
    const ProtobufCMessageDescriptor *cluster = xds_types[XDS_CDS].message;
    struct slice plain = wire_of(cluster, "{\"name\":\"c\",\"type\":\"STATIC\"}", &a);
    struct slice eds = wire_of(cluster, "{\"name\":\"c\",\"edsClusterConfig\":{}}", &a);
    struct slice other =
        wire_of(cluster, "{\"name\":\"c\",\"edsClusterConfig\":{\"serviceName\":\"s\"}}", &a);
    assert_int_equal(load_cluster_eds(plain, S("c")).n, 0);
    assert_true(slice_eq(load_cluster_eds(eds, S("c")), S("c")));
    assert_true(slice_eq(load_cluster_eds(other, S("c")), S("s")));

    struct slice listener = wire_of(
        xds_types[XDS_LDS].message,
        "{\"name\":\"l\",\"filterChains\":[{\"filters\":[{\"name\":\"t\",\"typedConfig\":{\"@"
        "type\":"
        "\"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy\","
        "\"statPrefix\":\"x\",\"cluster\":\"y\"}}]},{\"filters\":[{\"name\":\"h\",\"typedConfig\":"
        "{\"@type\":\"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager."
        "v3.HttpConnectionManager\",\"statPrefix\":\"x\",\"rds\":{\"routeConfigName\":\"80\"}}}]}]"
        "}",
        &a);
    load_listener_rds(listener, on_name, &s);
    assert_true(slice_eq(buf_slice(&s.text), S("[80]")));

    const ProtobufCMessageDescriptor *route = xds_types[XDS_RDS].message;
    assert_false(load_route_vhds(wire_of(route, "{\"name\":\"80\"}", &a)));
    assert_true(load_route_vhds(wire_of(route, "{\"name\":\"80\",\"vhds\":{}}", &a)));
    buf_fini(&s.text);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request),
        cmocka_unit_test(response),
        cmocka_unit_test(what_to_ask_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
