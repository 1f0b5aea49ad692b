/* If these fail, a peer's bytes can crash a node or mean something else than they say, or two
 * replicas send different bytes for the same resource. (base/wire/pb.h; here because they need real
 * messages.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "api/any_types.h"
#include "api/pb_random.h"
#include "api/proto/cluster.pb-c.h"
#include "api/proto/discovery.pb-c.h"
#include "api/proto/endpoint.pb-c.h"
#include "api/proto/hcm.pb-c.h"
#include "api/proto/listener.pb-c.h"
#include "api/proto/route.pb-c.h"
#include "api/proto/router.pb-c.h"
#include "api/wkt.h"
#include "api/xds_types.h"

#define DISCOVERY_REQUEST (&envoy__service__discovery__v3__discovery_request__descriptor)
#define VALUE (&google__protobuf__value__descriptor)

/* What must be refused. */

/* One wire message, in hex with spaces. */
struct refusal {
    const char *what;
    const ProtobufCMessageDescriptor *type;
    const char *hex;
    enum err_code code;
    const char *message; /* part of it */
};

static const struct refusal refusals[] = {
    {"string longer than the message", DISCOVERY_REQUEST, "0a 05 61 62", ERR_INVALID,
     "DiscoveryRequest.version_info at byte 2: longer than what holds it"},
    {"length of 2^63", DISCOVERY_REQUEST, "0a ff ff ff ff ff ff ff ff 7f 61", ERR_INVALID,
     "longer than what holds it"},
    {"field reaching out of its message", DISCOVERY_REQUEST, "12 03 0a 05 61 62 63 64 65",
     ERR_INVALID, "DiscoveryRequest.node.id"},
    {"field number 0", DISCOVERY_REQUEST, "02 00", ERR_INVALID, "out of range"},
    {"field number above 2^29", DISCOVERY_REQUEST, "82 80 80 80 10 00", ERR_INVALID,
     "out of range"},
    {"endless varint", DISCOVERY_REQUEST, "78 ff ff ff ff ff ff ff ff ff ff ff 01", ERR_INVALID,
     "cut short"},
    {"group", DISCOVERY_REQUEST, "7b 7c", ERR_INVALID, "groups"},
    {"wire type 7", DISCOVERY_REQUEST, "7f", ERR_INVALID, "unknown wire types"},
    {"number for a string", DISCOVERY_REQUEST, "08 01", ERR_INVALID, "wrong wire type"},
    {"string for a message of a number", &google__protobuf__uint32_value__descriptor, "0a 01 61",
     ERR_INVALID, "wrong wire type"},
    {"ff fe as text", DISCOVERY_REQUEST, "22 02 ff fe", ERR_INVALID,
     "type_url at byte 4: not UTF-8"},
    {"surrogate", DISCOVERY_REQUEST, "22 03 ed a0 80", ERR_INVALID, "not UTF-8"},
    {"overlong slash", DISCOVERY_REQUEST, "22 02 c0 af", ERR_INVALID, "not UTF-8"},
    {"bad text in a list", DISCOVERY_REQUEST, "1a 01 61 1a 01 80", ERR_INVALID, "resource_names"},
    {"NUL in a name", DISCOVERY_REQUEST, "1a 03 61 00 62", ERR_INVALID, "holds a NUL"},
    {"bad text in a map key", &google__protobuf__struct__descriptor, "0a 03 0a 01 ff", ERR_INVALID,
     "Struct.fields.key at byte 5: not UTF-8"},
    {"a message in parts", DISCOVERY_REQUEST, "12 03 52 01 61 22 01 61 12 03 52 01 62", ERR_INVALID,
     "DiscoveryRequest.node at byte 13: the message is there twice"},
    {"packed numbers cut short", &envoy__config__listener__v3__filter_chain_match__descriptor,
     "3a 02 01 80", ERR_INVALID, "source_ports"},
};

static struct slice unhex(struct arena *arena, const char *hex)
{
    char *p = arena_alloc(arena, strlen(hex) + 1);
    size_t n = 0;
    while (*hex) {
        char *end;
        unsigned long byte = strtoul(hex, &end, 16);
        if (end == hex)
            break;
        p[n++] = (char)byte;
        hex = end;
    }
    return (struct slice){p, n};
}

static void test_refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        const struct refusal *c = &refusals[i];
        struct arena arena = {0};
        struct err err = {0};
        if (pb_unpack(c->type, unhex(&arena, c->hex), &arena, &err))
            fail_msg("%s: accepted", c->what);
        if (err.code != c->code || !strstr(err.msg, c->message))
            fail_msg("%s: %s: %s", c->what, err_code_name(err.code), err.msg);
        arena_fini(&arena);
    }
}

/* google.protobuf.Value in lists, `depth` messages in all; the innermost is an empty Value. */
static struct slice nested_lists(struct arena *arena, size_t pairs)
{
    struct buf b = {0}, next = {0};
    for (size_t i = 0; i < pairs; i++) {
        size_t list = pbw_len_size(1, b.n);
        buf_clear(&next);
        assert_true(pbw_len(&next, 6, list)); /* Value.list_value */
        assert_true(pbw_len(&next, 1, b.n));  /* ListValue.values */
        assert_true(buf_append(&next, buf_slice(&b)));
        struct buf swap = b;
        b = next;
        next = swap;
    }
    struct slice wire = arena_dup(arena, buf_slice(&b));
    buf_fini(&b);
    buf_fini(&next);
    return wire;
}

static void test_depth(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct err err = {0};
    /* A Value and a ListValue a pair, and the innermost Value: 49 pairs are 99 messages. */
    assert_non_null(pb_unpack(VALUE, nested_lists(&arena, 49), &arena, &err));
    assert_null(pb_unpack(VALUE, nested_lists(&arena, 50), &arena, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.msg, "nested too deep"));
    assert_null(pb_unpack(VALUE, nested_lists(&arena, 5000), &arena, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    arena_fini(&arena);
}

static void test_limits(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct err err = {0};
    struct buf b = {0};
    for (size_t i = 0; i < 1000; i++)
        assert_true(buf_append(&b, S("\x2a\x00"))); /* response_nonce: "" */
    struct slice wire = buf_slice(&b);
    struct pb_limits limits = pb_limits_default;
    assert_true(pb_scan(DISCOVERY_REQUEST, wire, &limits, &err));
    limits.elements = 1000;
    assert_true(pb_scan(DISCOVERY_REQUEST, wire, &limits, &err));
    limits.elements = 999;
    assert_false(pb_scan(DISCOVERY_REQUEST, wire, &limits, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    limits = pb_limits_default;
    limits.bytes = wire.n - 1;
    assert_false(pb_scan(DISCOVERY_REQUEST, wire, &limits, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    limits = pb_limits_default;
    limits.memory = 1000;
    assert_false(pb_scan(DISCOVERY_REQUEST, wire, &limits, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_fini(&b);
    arena_fini(&arena);
}

/* The estimate that the memory limit works on must not be below what unpacking takes. */
static void test_memory_estimate(void **state)
{
    (void)state;
    struct arena scratch = {0}, arena = {0};
    Envoy__Config__Cluster__V3__Cluster empty;
    envoy__config__cluster__v3__cluster__init(&empty);
    struct buf b = {0};
    enum { N = 2000 };
    /* StaticResources-like worst case: empty filter chains of a listener, two bytes each. */
    for (size_t i = 0; i < N; i++)
        assert_true(buf_append(&b, S("\x1a\x00")));
    const ProtobufCMessageDescriptor *type = &envoy__config__listener__v3__listener__descriptor;
    assert_non_null(pb_unpack(type, buf_slice(&b), &arena, NULL));
    struct pb_limits limits = pb_limits_default;
    limits.memory = arena.total / 2; /* the arena takes blocks ahead */
    assert_false(pb_scan(type, buf_slice(&b), &limits, NULL));
    buf_fini(&b);
    arena_fini(&arena);
    arena_fini(&scratch);
}

static void test_arena_limit(void **state)
{
    (void)state;
    struct arena arena = {.limit = 4096};
    struct err err = {0};
    struct buf b = {0};
    for (size_t i = 0; i < 2000; i++)
        assert_true(buf_append(&b, S("\x1a\x00")));
    assert_null(
        pb_unpack(&envoy__config__listener__v3__listener__descriptor, buf_slice(&b), &arena, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_fini(&b);
    arena_fini(&arena);
}

/* Packing. */

static struct slice reference_pack(struct arena *arena, const ProtobufCMessage *msg)
{
    size_t n = protobuf_c_message_get_packed_size(msg);
    uint8_t *p = arena_alloc(arena, n + 1);
    assert_int_equal(protobuf_c_message_pack(msg, p), n);
    return slice_mem(p, n);
}

static void assert_same(struct slice a, struct slice b)
{
    assert_int_equal(a.n, b.n);
    if (a.n)
        assert_memory_equal(a.p, b.p, a.n);
}

/* One locality with n endpoints. */
static Envoy__Config__Endpoint__V3__ClusterLoadAssignment *assignment(struct arena *arena,
                                                                      unsigned n)
{
    Envoy__Config__Endpoint__V3__ClusterLoadAssignment *cla =
        PB_NEW(arena, envoy__config__endpoint__v3__cluster_load_assignment);
    cla->cluster_name = pb_str(arena, S("outbound|80||reviews.default.svc.cluster.local"));
    Envoy__Config__Endpoint__V3__LocalityLbEndpoints *locality =
        PB_NEW(arena, envoy__config__endpoint__v3__locality_lb_endpoints);
    locality->load_balancing_weight = wkt_u32(arena, n);
    for (unsigned i = 0; i < n; i++) {
        Envoy__Config__Core__V3__SocketAddress *sa =
            PB_NEW(arena, envoy__config__core__v3__socket_address);
        sa->address = pb_str(arena, arena_printf(arena, "10.1.%u.%u", i / 250, i % 250));
        sa->port_specifier_case =
            ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PORT_SPECIFIER_PORT_VALUE;
        sa->port_value = 8080;
        Envoy__Config__Core__V3__Address *address = PB_NEW(arena, envoy__config__core__v3__address);
        address->address_case = ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS;
        address->socket_address = sa;
        Envoy__Config__Endpoint__V3__Endpoint *endpoint =
            PB_NEW(arena, envoy__config__endpoint__v3__endpoint);
        endpoint->address = address;
        Envoy__Config__Endpoint__V3__LbEndpoint *lb =
            PB_NEW(arena, envoy__config__endpoint__v3__lb_endpoint);
        lb->host_identifier_case =
            ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT;
        lb->endpoint = endpoint;
        PB_PUSH(arena, locality, lb_endpoints, lb);
    }
    PB_PUSH(arena, cla, endpoints, locality);
    return cla;
}

static void test_pack_equals_reference(void **state)
{
    (void)state;
    struct arena arena = {0};
    for (unsigned n = 0; n < 400; n += 37) {
        Envoy__Config__Endpoint__V3__ClusterLoadAssignment *cla = assignment(&arena, n);
        struct slice wire = pb_pack_arena(&cla->base, &arena);
        assert_same(wire, reference_pack(&arena, &cla->base));
        Envoy__Config__Endpoint__V3__ClusterLoadAssignment *back =
            pb_unpack(cla->base.descriptor, wire, &arena, NULL);
        assert_non_null(back);
        assert_int_equal(back->endpoints[0]->n_lb_endpoints, n);
        assert_same(pb_pack_arena(&back->base, &arena), wire);
    }
    arena_fini(&arena);
}

/* Random trees of every type of the table: our writer against protobuf-c's. */
static void test_pack_property(void **state)
{
    (void)state;
    size_t bytes = 0;
    for (uint64_t round = 1; round <= 12; round++)
        for (size_t i = 0; i < any_types.n; i++) {
            struct arena arena = {0};
            struct err err = {0};
            struct pb_random r = {&arena, round * 0x9e3779b97f4a7c15u + i};
            ProtobufCMessage *msg = pb_random_message(&r, any_types.v[i], 8);
            struct slice wire = pb_pack_arena(msg, &arena);
            assert_same(wire, reference_pack(&arena, msg));
            ProtobufCMessage *back = pb_unpack(any_types.v[i], wire, &arena, &err);
            if (!back)
                fail_msg("%s seed %llu: %s", any_types.v[i]->name, (unsigned long long)round,
                         err.msg);
            assert_same(pb_pack_arena(back, &arena), wire);
            bytes += wire.n;
            arena_fini(&arena);
        }
    if (bytes < 100000) /* the generator must generate */
        fail_msg("only %zu bytes", bytes);
}

/* A field that this build does not know travels on: an older node must not strip it. */
static void test_unknown_fields_survive(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct slice wire = unhex(&arena, "22 01 61 9a 3f 02 68 69 a0 3f 07");
    ProtobufCMessage *msg = pb_unpack(DISCOVERY_REQUEST, wire, &arena, NULL);
    assert_non_null(msg);
    assert_int_equal(msg->n_unknown_fields, 2);
    assert_same(pb_pack_arena(msg, &arena), wire);
    arena_fini(&arena);
}

static void test_pack_at_the_limit(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct buf out = {.limit = 100};
    Envoy__Config__Endpoint__V3__ClusterLoadAssignment *cla = assignment(&arena, 50);
    assert_false(pb_pack(&cla->base, &out));
    assert_int_equal(out.n, 0);
    buf_fini(&out);
    arena_fini(&arena);
}

static void test_maps_are_sorted(void **state)
{
    (void)state;
    struct arena arena = {0};
    static const char *const keys[] = {"b", "", "aa", "a", "\xc3\xa9"};
    Google__Protobuf__Struct *s = wkt_struct(&arena);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        wkt_struct_set_number(&arena, s, slice_of(keys[i]), 1);
    wkt_struct_sort(s);
    static const char *const want[] = {"", "a", "aa", "b", "\xc3\xa9"};
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_string_equal(s->fields[i]->key, want[i]);
    assert_true(pb_field_is_map(&google__protobuf__struct__descriptor.fields[0]));
    assert_false(pb_field_is_map(
        &envoy__config__endpoint__v3__cluster_load_assignment__descriptor.fields[1]));
    arena_fini(&arena);
}

/* Types and names. */

static void test_type_table(void **state)
{
    (void)state;
    for (size_t i = 1; i < any_types.n; i++)
        if (strcmp(any_types.v[i - 1]->name, any_types.v[i]->name) >= 0)
            fail_msg("%s is not in order", any_types.v[i]->name);
    for (size_t i = 0; i < any_types.n; i++)
        assert_ptr_equal(pb_types_find(&any_types, slice_of(any_types.v[i]->name)), any_types.v[i]);
    assert_null(pb_types_find(&any_types, S("type.googleapis.com/envoy.config.cluster.v3.Clust")));
    assert_null(pb_types_find(&any_types, S("envoy.config.cluster.v3.Cluster2")));
    assert_null(pb_types_find(&any_types, (struct slice){0}));
}

static void test_any(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct err err = {0};
    Envoy__Extensions__Filters__Http__Router__V3__Router *router =
        PB_NEW(&arena, envoy__extensions__filters__http__router__v3__router);
    router->suppress_envoy_headers = true;
    Google__Protobuf__Any *any = any_new(&arena, &router->base);
    assert_string_equal(any->type_url,
                        "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router");
    struct buf b = {0};
    assert_true(pbw_any_header(&b, 2, slice_of(any->type_url), any_value(any).n));
    buf_append(&b, any_value(any));
    Envoy__Service__Discovery__V3__DiscoveryResponse *response =
        pb_unpack(&envoy__service__discovery__v3__discovery_response__descriptor, buf_slice(&b),
                  &arena, &err);
    assert_int_equal(response->n_resources, 1);
    router =
        any_unpack(response->resources[0],
                   &envoy__extensions__filters__http__router__v3__router__descriptor, &arena, &err);
    assert_non_null(router);
    assert_true(router->suppress_envoy_headers);
    assert_null(any_unpack(any, DISCOVERY_REQUEST, &arena, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_null(any_unpack(NULL, DISCOVERY_REQUEST, &arena, &err));
    assert_int_equal(err.code, ERR_INVALID);
    buf_fini(&b);
    arena_fini(&arena);
}

static void test_xds_types(void **state)
{
    (void)state;
    struct arena arena = {0};
    for (size_t i = 0; i < XDS_TYPE_COUNT; i++) {
        const struct xds_type_info *t = &xds_types[i];
        assert_int_equal(t->type, i);
        assert_true(slice_eq(t->url, any_type_url(&arena, t->message)));
        assert_ptr_equal(xds_type_by_url(t->url), t);
        enum xds_variant variant;
        const struct xds_type_info *found;
        assert_true(xds_path_parse(t->delta_path, &variant, &found));
        assert_true(variant == XDS_DELTA && found == t);
        assert_true(t->type == XDS_VHDS || xds_path_parse(t->sotw_path, &variant, &found));
        assert_true(t->type == XDS_VHDS || (variant == XDS_SOTW && found == t));
        ProtobufCMessage *msg = pb_new(&arena, t->message);
        assert_true(slice_eq(xds_resource_name(t, msg), S("")));
        struct slice wire = unhex(&arena, "0a 03 61 7c 62");
        assert_true(slice_eq(xds_resource_name_wire(t, wire), S("a|b")));
        assert_true(
            slice_eq(xds_resource_name(t, pb_unpack(t->message, wire, &arena, NULL)), S("a|b")));
    }
    const struct xds_type_info *type = &xds_types[0];
    enum xds_variant variant;
    assert_true(xds_path_parse(S(XDS_PATH_ADS_DELTA), &variant, &type));
    assert_true(variant == XDS_DELTA && !type);
    assert_false(xds_path_parse(S(""), &variant, &type));
    arena_fini(&arena);
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        int32_t nanos;
        wf_ms ms;
    } cases[] = {{0, 0, 0},       {1, 500000000, 1500},      {0, 1, 1},
                 {-1, -1, -1001}, {INT64_MAX, 0, INT64_MAX}, {INT64_MIN, 0, INT64_MIN}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        Google__Protobuf__Duration d;
        google__protobuf__duration__init(&d);
        d.seconds = cases[i].seconds;
        d.nanos = cases[i].nanos;
        assert_int_equal(wkt_duration_ms_or(&d, 7), cases[i].ms);
    }
    struct arena arena = {0};
    assert_int_equal(wkt_duration_ms_or(wkt_duration(&arena, -2750), 0), -2750);
    assert_int_equal(wkt_duration_ms_or(NULL, 7), 7);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_memory_estimate),
        cmocka_unit_test(test_arena_limit),
        cmocka_unit_test(test_pack_equals_reference),
        cmocka_unit_test(test_pack_property),
        cmocka_unit_test(test_unknown_fields_survive),
        cmocka_unit_test(test_pack_at_the_limit),
        cmocka_unit_test(test_maps_are_sorted),
        cmocka_unit_test(test_type_table),
        cmocka_unit_test(test_any),
        cmocka_unit_test(test_xds_types),
        cmocka_unit_test(test_durations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
