/* If these failed, what a proxy says about itself or asks for would be read as something else, or a
 * hostile request would cost more than its bytes. */
#include "pilot/ads/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "api/proto/discovery.pb-c.h"
#include "base/wire/json.h"
#include "base/wire/pb_json.h"
#include "google/protobuf/struct.pb-c.h"
#include "pilot/ads/ads_limits.h"
#include "pilot/ads/names.h"

typedef Envoy__Service__Discovery__V3__DeltaDiscoveryRequest delta_request;

/* Wire bytes of a message that is written as JSON, in the arena. */
static struct slice wire_of(const ProtobufCMessageDescriptor *type, const char *json,
                            struct arena *arena)
{
    struct err err;
    struct buf b = {0};
    json_t *j = json_parse(slice_of(json), &err);
    if (!j)
        fail_msg("%s", err.msg);
    const struct pb_json_options opt = {0};
    const ProtobufCMessage *m = pb_json_parse(type, j, &opt, arena, &err);
    if (!m)
        fail_msg("%s", err.msg);
    pb_pack(m, &b);
    struct slice out = arena_dup(arena, buf_slice(&b));
    buf_fini(&b);
    json_decref(j);
    return out;
}

static struct slice delta_wire(const char *json, struct arena *arena)
{
    return wire_of(&envoy__service__discovery__v3__delta_discovery_request__descriptor, json,
                   arena);
}

static struct slice sotw_wire(const char *json, struct arena *arena)
{
    return wire_of(&envoy__service__discovery__v3__discovery_request__descriptor, json, arena);
}

static void delta_fields(void **state)
{
    (void)state;
    struct arena a = {0};
    struct err err;
    struct ads_request r;
    struct slice wire = delta_wire(
        "{\"typeUrl\":\"t\",\"responseNonce\":\"n\",\"resourceNamesSubscribe\":[\"a\",\"b\"],"
        "\"resourceNamesUnsubscribe\":[\"c\"],\"initialResourceVersions\":{\"d\":\"1.0\",\"e\":"
        "\"\"},"
        "\"errorDetail\":{\"code\":13,\"message\":\"no\"}}",
        &a);
    assert_true(ads_request_parse(wire, XDS_DELTA, &a, &r, &err));
    assert_true(slice_eq(r.type_url, S("t")) && slice_eq(r.nonce, S("n")));
    assert_int_equal(r.name_count, 2);
    assert_true(slice_eq(r.names[1], S("b")));
    assert_int_equal(r.unsubscribe_count, 1);
    assert_true(slice_eq(r.unsubscribe[0], S("c")));
    assert_int_equal(r.initial_count, 2);
    assert_true(slice_eq(r.initial[0].name, S("d")) && slice_eq(r.initial[0].version, S("1.0")));
    assert_true(slice_eq(r.initial[1].name, S("e")) && !r.initial[1].version.n);
    assert_true(r.nack && r.error_code == 13 && slice_eq(r.error, S("no")));
    assert_null(r.node);
    arena_fini(&a);
}

static void sotw_fields(void **state)
{
    (void)state;
    struct arena a = {0};
    struct err err;
    struct ads_request r;
    struct slice wire =
        sotw_wire("{\"versionInfo\":\"4.a\",\"node\":{\"id\":\"x\"},\"resourceNames\":"
                  "[\"a\"],\"typeUrl\":\"t\",\"responseNonce\":\"n\"}",
                  &a);
    assert_true(ads_request_parse(wire, XDS_SOTW, &a, &r, &err));
    assert_true(slice_eq(r.version, S("4.a")) && slice_eq(r.names[0], S("a")) && !r.nack);
    assert_true(slice_eq(r.node->id, S("x")) && slice_eq(r.node->name, S("x")));
    arena_fini(&a);
}

/* An error_detail without content is a rejection all the same (S4). */
static void empty_error_is_a_nack(void **state)
{
    (void)state;
    struct arena a = {0};
    struct err err;
    struct ads_request r;
    assert_true(ads_request_parse(S("\x3a\x00"), XDS_DELTA, &a, &r, &err));
    assert_true(r.nack);
    arena_fini(&a);
}

static void malformed(void **state)
{
    (void)state;
    static const struct {
        struct slice wire;
        enum err_code code;
    } rows[] = {
        {S_INIT("\x12"), ERR_INVALID}, /* cut behind a tag */
        {S_INIT("\x12\x05"
                "ab"),
         ERR_INVALID},                             /* longer than what is there */
        {S_INIT("\x10\x01"), ERR_INVALID},         /* type_url as a number */
        {S_INIT("\x03"), ERR_INVALID},             /* field 0 */
        {S_INIT("\x13\x14"), ERR_INVALID},         /* a group */
        {S_INIT("\x1a\x02\xff\xfe"), ERR_INVALID}, /* a name that is not UTF-8 */
        {S_INIT("\x1a\x02"
                "a\x00"),
         ERR_INVALID},                              /* a name with NUL */
        {S_INIT("\x2a\x03\x0a\x05x"), ERR_INVALID}, /* a map entry that is cut */
        {S_INIT("\x3a\x02\x12\x09"), ERR_INVALID},  /* an error that is cut */
        {S_INIT("\x0a\x02\x0a\x09"), ERR_INVALID},  /* a node that is cut */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena a = {0};
        struct err err = {0};
        struct ads_request r;
        assert_false(ads_request_parse(rows[i].wire, XDS_DELTA, &a, &r, &err));
        assert_int_equal(err.code, rows[i].code);
        arena_fini(&a);
    }
}

/* Fields that a newer client sends are nothing to us. */
static void unknown_fields(void **state)
{
    (void)state;
    struct arena a = {0};
    struct err err;
    struct ads_request r;
    struct slice wire = S("\x12\x01t\xfa\x01\x01x\x80\x02\x05\x8d\x02"
                          "abcd\x89\x02"
                          "abcdefgh");
    assert_true(ads_request_parse(wire, XDS_DELTA, &a, &r, &err));
    assert_true(slice_eq(r.type_url, S("t")));
    arena_fini(&a);
}

static void limits(void **state)
{
    (void)state;
    struct arena a = {0};
    struct err err = {0};
    struct ads_request r;
    struct buf b = {0};
    for (size_t i = 0; i <= ADS_NAMES_MAX; i++)
        pbw_bytes(&b, 3, S("n"));
    assert_false(ads_request_parse(buf_slice(&b), XDS_DELTA, &a, &r, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_true(ads_request_parse(slice_skip(buf_slice(&b), 3), XDS_DELTA, &a, &r, &err));
    assert_int_equal(r.name_count, ADS_NAMES_MAX);

    char name[ADS_NAME_BYTES_MAX + 1];
    memset(name, 'x', sizeof(name));
    buf_clear(&b);
    pbw_bytes(&b, 3, slice_mem(name, sizeof(name)));
    assert_false(ads_request_parse(buf_slice(&b), XDS_DELTA, &a, &r, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_fini(&b);
    arena_fini(&a);
}

/* Node. */

static bool node_of(const char *json, struct arena *a, struct ads_node *ret, struct err *err)
{
    return ads_node_parse(wire_of(&envoy__config__core__v3__node__descriptor, json, a), a, ret,
                          err);
}

static void node_class(void **state)
{
    (void)state;
    struct arena a = {0};
    struct err err;
    struct ads_node n;
    assert_true(node_of("{\"id\":\"sidecar~10.0.0.7~reviews-v1.shop~shop.svc.cluster.local\","
                        "\"userAgentName\":\"weft-proxy\",\"userAgentVersion\":\"0.1.0\","
                        "\"locality\":{\"region\":\"eu\",\"zone\":\"eu-1\",\"subZone\":\"r7\"},"
                        "\"metadata\":{\"NAMESPACE\":\"shop\",\"INTERCEPTION_MODE\":\"NONE\","
                        "\"CLUSTER_ID\":\"k\",\"WEFT_ADMIN\":\"127.0.0.1:15000\","
                        "\"LABELS\":{\"version\":\"v1\",\"app\":\"reviews\"}}}",
                        &a, &n, &err));
    const struct proxy_class_input *in = &n.class_input;
    assert_true(slice_eq(n.name, S("reviews-v1.shop")) && slice_eq(n.version, S("0.1.0")));
    assert_true(slice_eq(n.cluster_id, S("k")) && slice_eq(n.admin, S("127.0.0.1:15000")));
    assert_int_equal(in->type, PROXY_SIDECAR);
    assert_int_equal(in->dialect, DIALECT_WEFT);
    assert_int_equal(in->capture, CAPTURE_NONE);
    assert_true(slice_eq(in->ns, S("shop")) && slice_eq(in->address, S("10.0.0.7")));
    assert_true(slice_eq(in->dns_domain, S("shop.svc.cluster.local")));
    assert_true(slice_eq(in->region, S("eu")) && slice_eq(in->subzone, S("r7")));
    assert_int_equal(in->label_count, 2);
    assert_true(slice_eq(in->labels[0][0], S("app")) && slice_eq(in->labels[1][1], S("v1")));
    arena_fini(&a);
}

static void node_defaults(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        enum proxy_type type;
        enum proxy_dialect dialect;
        struct slice ns, address, domain;
    } rows[] = {
        {"{\"id\":\"x\"}",
         PROXY_SIDECAR,
         DIALECT_ENVOY,
         S_INIT("default"),
         {0},
         S_INIT("default.svc.cluster.local")},
        {"{\"id\":\"router~10.0.0.1~gw.edge~edge.svc\",\"userAgentName\":\"envoy\"}", PROXY_ROUTER,
         DIALECT_ENVOY, S_INIT("edge"), S_INIT("10.0.0.1"), S_INIT("edge.svc")},
        {"{\"id\":\"n\",\"userAgentName\":\"gRPC Go\"}",
         PROXY_SIDECAR,
         DIALECT_GRPC,
         S_INIT("default"),
         {0},
         S_INIT("default.svc.cluster.local")},
        {"{\"clientFeatures\":[\"envoy.lb.does_not_support_overprovisioning\"]}",
         PROXY_SIDECAR,
         DIALECT_GRPC,
         S_INIT("default"),
         {0},
         S_INIT("default.svc.cluster.local")},
        /* An address that is none is no address: it selects no workload. */
        {"{\"id\":\"sidecar~not-an-ip~a.b~b.svc\"}",
         PROXY_SIDECAR,
         DIALECT_ENVOY,
         S_INIT("b"),
         {0},
         S_INIT("b.svc")},
        {"{\"id\":\"sidecar~::1~a.b~\"}", PROXY_SIDECAR, DIALECT_ENVOY, S_INIT("b"), S_INIT("::1"),
         S_INIT("b.svc.cluster.local")},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct arena a = {0};
        struct err err;
        struct ads_node n;
        assert_true(node_of(rows[i].json, &a, &n, &err));
        assert_int_equal(n.class_input.type, rows[i].type);
        assert_int_equal(n.class_input.dialect, rows[i].dialect);
        assert_int_equal(n.class_input.capture, CAPTURE_REDIRECT);
        assert_true(slice_eq(n.class_input.ns, rows[i].ns));
        assert_true(slice_eq(n.class_input.address, rows[i].address));
        assert_true(slice_eq(n.class_input.dns_domain, rows[i].domain));
        arena_fini(&a);
    }
}

static void node_limits(void **state)
{
    (void)state;
    struct arena a = {0};
    struct err err = {0};
    struct ads_node n;
    struct buf json = {0};
    buf_printf(&json, "{\"metadata\":{\"LABELS\":{");
    for (int i = 0; i <= ADS_NODE_LABELS_MAX; i++)
        buf_printf(&json, "%s\"l%d\":\"v\"", i ? "," : "", i);
    buf_printf(&json, "}}}");
    buf_append_byte(&json, '\0');
    assert_false(node_of(buf_slice(&json).p, &a, &n, &err));
    assert_int_equal(err.code, ERR_LIMIT);

    struct buf wire = {0};
    char big[ADS_NODE_BYTES_MAX];
    memset(big, 'x', sizeof(big));
    pbw_bytes(&wire, 1, slice_mem(big, sizeof(big)));
    assert_false(ads_node_parse(buf_slice(&wire), &a, &n, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_clear(&wire);
    pbw_bytes(&wire, 1, slice_mem(big, ADS_NODE_ID_BYTES_MAX + 1));
    assert_false(ads_node_parse(buf_slice(&wire), &a, &n, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_fini(&wire);
    buf_fini(&json);
    arena_fini(&a);
}

/* Names. */

static void name_sets(void **state)
{
    (void)state;
    struct ads_names names = {0};
    struct ads_nameset set = {0};
    const struct slice some[] = {S("b"), S("a"), S("b"), S("d")}, more[] = {S("c"), S("a")};
    ads_nameset_add(&set, &names, some, ARRAY_LEN(some));
    ads_nameset_add(&set, &names, more, ARRAY_LEN(more));
    assert_int_equal(set.n, 4);
    for (uint32_t i = 0; i < set.n; i++)
        assert_int_equal(set.p[i]->text[0], 'a' + (int)i);
    assert_true(ads_nameset_del(&set, &names, S("b")));
    assert_false(ads_nameset_del(&set, &names, S("b")));
    assert_false(ads_nameset_has(&set, S("b")));
    assert_true(ads_nameset_has(&set, S("c")));
    /* Equal names are one object. */
    struct ads_name *a = ads_name_intern(&names, S("a"));
    assert_ptr_equal(a, set.p[0]);
    ads_name_unref(&names, a);
    ads_nameset_fini(&set, &names);
    ads_names_fini(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delta_fields), cmocka_unit_test(sotw_fields),
        cmocka_unit_test(malformed),    cmocka_unit_test(empty_error_is_a_nack),
        cmocka_unit_test(limits),       cmocka_unit_test(unknown_fields),
        cmocka_unit_test(node_class),   cmocka_unit_test(node_defaults),
        cmocka_unit_test(node_limits),  cmocka_unit_test(name_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
