/* If these fail, /config_dump and proxy-config show something else than what is loaded, or a patch
 * in JSON becomes another configuration than its author wrote. (base/wire/pb_json.h, with real
 * messages.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "api/any_types.h"
#include "api/pb_random.h"
#include "api/proto/cluster.pb-c.h"
#include "api/proto/core.pb-c.h"
#include "api/proto/discovery.pb-c.h"
#include "api/proto/listener.pb-c.h"
#include "api/proto/route.pb-c.h"
#include "base/wire/pb_json.h"
#include "base/wire/pb_wkt.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "google/protobuf/wrappers.pb-c.h"

#define CLUSTER (&envoy__config__cluster__v3__cluster__descriptor)
#define LISTENER (&envoy__config__listener__v3__listener__descriptor)
#define NODE (&envoy__config__core__v3__node__descriptor)
#define HEADER (&envoy__config__core__v3__header_value__descriptor)
#define ROUTE (&envoy__config__route__v3__route__descriptor)
#define STRUCT (&google__protobuf__struct__descriptor)
#define SOCKET_OPTION (&envoy__config__core__v3__socket_option__descriptor)
#define URL "type.googleapis.com/"

static const struct pb_json_options plain = {.types = &any_types};

static void *parse(const ProtobufCMessageDescriptor *type, const char *text,
                   const struct pb_json_options *o, struct arena *arena, struct err *err)
{
    json_error_t where;
    json_t *j = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &where);
    if (!j)
        fail_msg("%s: %s", text, where.text);
    void *msg = pb_json_parse(type, j, o, arena, err);
    json_decref(j);
    return msg;
}

/* What is read is written in the one canonical way. */
struct mapping {
    const ProtobufCMessageDescriptor *type;
    const char *in;
    const char *out; /* NULL: the same as in */
};

static const struct mapping mappings[] = {
    /* names */
    {CLUSTER, "{\"name\":\"a\",\"connectTimeout\":\"1.500s\"}", NULL},
    {CLUSTER, "{\"name\":\"a\",\"connect_timeout\":\"1.5s\"}",
     "{\"name\":\"a\",\"connectTimeout\":\"1.500s\"}"},
    {CLUSTER, "{\"name\":\"\",\"lbPolicy\":\"ROUND_ROBIN\",\"healthChecks\":[],\"metadata\":null}",
     "{}"},
    /* enums, oneofs, nesting */
    {CLUSTER, "{\"type\":\"EDS\",\"lbPolicy\":\"MAGLEV\"}", NULL},
    {CLUSTER, "{\"type\":3,\"lbPolicy\":99}", "{\"type\":\"EDS\",\"lbPolicy\":99}"},
    {CLUSTER, "{\"type\":\"STATIC\"}", NULL}, /* in a oneof, 0 is not absent */
    {ROUTE, "{\"match\":{\"prefix\":\"\"},\"route\":{\"cluster\":\"c\"}}", NULL},
    /* wrappers: absent is not 0 */
    {CLUSTER, "{\"perConnectionBufferLimitBytes\":0}", NULL},
    {CLUSTER, "{\"perConnectionBufferLimitBytes\":\"32768\"}",
     "{\"perConnectionBufferLimitBytes\":32768}"},
    {CLUSTER, "{\"ringHashLbConfig\":{\"minimumRingSize\":1024}}",
     "{\"ringHashLbConfig\":{\"minimumRingSize\":\"1024\"}}"},
    {&google__protobuf__bool_value__descriptor, "false", NULL},
    {&google__protobuf__string_value__descriptor, "\"a\"", NULL},
    /* numbers */
    {SOCKET_OPTION, "{\"level\":\"-9223372036854775808\",\"intValue\":\"9223372036854775807\"}",
     NULL},
    {SOCKET_OPTION, "{\"level\":-6,\"intValue\":2.0}", "{\"level\":\"-6\",\"intValue\":\"2\"}"},
    {&google__protobuf__uint64_value__descriptor, "\"18446744073709551615\"", NULL},
    {&google__protobuf__double_value__descriptor, "0.1", NULL},
    {&google__protobuf__double_value__descriptor, "\"-Infinity\"", NULL},
    {&google__protobuf__double_value__descriptor, "\"1e3\"", "1000"},
    {&google__protobuf__float_value__descriptor, "0.1", NULL},
    {&google__protobuf__float_value__descriptor, "\"NaN\"", NULL},
    /* text and bytes */
    {HEADER, "{\"key\":\"\\u0001\\\"\\\\\\n\\t/\\u00e9\"}",
     "{\"key\":\"\\u0001\\\"\\\\\\n\\t/é\"}"},
    {HEADER, "{\"rawValue\":\"--_A\"}", "{\"rawValue\":\"++/A\"}"},
    {HEADER, "{\"rawValue\":\"YQ\"}", "{\"rawValue\":\"YQ==\"}"},
    /* times */
    {&google__protobuf__duration__descriptor, "\"-0.000000001s\"", NULL},
    {&google__protobuf__duration__descriptor, "\"315576000000s\"", NULL},
    {&google__protobuf__duration__descriptor, "\"3.10s\"", "\"3.100s\""},
    {&google__protobuf__timestamp__descriptor, "\"1970-01-01T00:00:00Z\"", NULL},
    {&google__protobuf__timestamp__descriptor, "\"2024-02-29T23:59:59.000001Z\"", NULL},
    {&google__protobuf__timestamp__descriptor, "\"0001-01-01T00:00:00Z\"", NULL},
    {&google__protobuf__timestamp__descriptor, "\"9999-12-31T23:59:59.999999999Z\"", NULL},
    {&google__protobuf__timestamp__descriptor, "\"2000-03-01T00:30:00+01:30\"",
     "\"2000-02-29T23:00:00Z\""},
    /* Struct, maps (sorted) */
    {STRUCT, "{\"b\":[1,null,true,\"x\",{}],\"a\":{\"c\":1.5}}",
     "{\"a\":{\"c\":1.5},\"b\":[1,null,true,\"x\",{}]}"},
    {NODE, "{\"id\":\"n\",\"metadata\":{\"NAMESPACE\":\"default\",\"LABELS\":{\"app\":\"x\"}}}",
     "{\"id\":\"n\",\"metadata\":{\"LABELS\":{\"app\":\"x\"},\"NAMESPACE\":\"default\"}}"},
    {CLUSTER, "{\"metadata\":{\"filterMetadata\":{\"istio\":{\"config\":\"/x\"}}}}", NULL},
    /* Any */
    {LISTENER,
     "{\"filterChains\":[{\"filters\":[{\"name\":\"hcm\",\"typedConfig\":{\"@type\":\"" URL
     "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\","
     "\"statPrefix\":\"s\",\"httpFilters\":[{\"name\":\"router\",\"typedConfig\":{\"@type\":\"" URL
     "envoy.extensions.filters.http.router.v3.Router\"}}]}}]}]}",
     NULL},
    {&google__protobuf__any__descriptor,
     "{\"@type\":\"" URL "google.protobuf.Duration\",\"value\":\"1s\"}", NULL},
    {&google__protobuf__any__descriptor,
     "{\"@type\":\"" URL "google.protobuf.Struct\",\"value\":{\"a\":1}}", NULL},
    {&google__protobuf__any__descriptor, "{}", NULL},
};

static void test_mapping(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(mappings); i++) {
        const struct mapping *m = &mappings[i];
        struct arena arena = {0};
        struct buf out = {0};
        struct err err = {0};
        ProtobufCMessage *msg = parse(m->type, m->in, &plain, &arena, &err);
        if (!msg)
            fail_msg("%s: %s", m->in, err.msg);
        if (!pb_json_print(msg, &plain, &out, &err))
            fail_msg("%s: %s", m->in, err.msg);
        if (!slice_eq(buf_slice(&out), slice_of(m->out ? m->out : m->in)))
            fail_msg("%s\n   became %.*s", m->in, SLICE(buf_slice(&out)));
        buf_fini(&out);
        arena_fini(&arena);
    }
}

struct refusal {
    const ProtobufCMessageDescriptor *type;
    const char *in, *message;
};

static const struct refusal refusals[] = {
    {CLUSTER, "{\"nmae\":\"a\"}", "nmae: Cluster has no such field"},
    {LISTENER,
     "{\"filterChains\":[{},{\"filters\":[{\"typedConfig\":{\"@type\":\"" URL
     "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\","
     "\"statPrefx\":\"s\"}}]}]}",
     "filterChains[1].filters[0].typedConfig.statPrefx: HttpConnectionManager has no such field"},
    {CLUSTER, "{\"connectTimeout\":5}",
     "connectTimeout: must be a duration such as \"1.5s\", not a number"},
    {CLUSTER, "{\"connectTimeout\":\"5\"}", "connectTimeout: must be a duration"},
    {CLUSTER, "{\"connectTimeout\":\"5.s\"}", "must be a duration"},
    {CLUSTER, "{\"connectTimeout\":\"+5s\"}", "must be a duration"},
    {CLUSTER, "{\"connectTimeout\":\"1.0000000001s\"}", "must be a duration"},
    {CLUSTER, "{\"connectTimeout\":\"315576000001s\"}", "must be a duration"},
    {CLUSTER, "{\"connectTimeout\":\"1s\",\"connect_timeout\":\"1s\"}", "under two names"},
    {CLUSTER, "{\"lbPolicy\":\"FASTEST\"}", "lbPolicy: LbPolicy has no \"FASTEST\""},
    {CLUSTER, "{\"type\":\"EDS\",\"clusterType\":{\"name\":\"x\"}}",
     "only one of its oneof may be set"},
    {CLUSTER, "{\"healthChecks\":{}}", "healthChecks: must be a list, not an object"},
    {CLUSTER, "{\"healthChecks\":[null]}", "healthChecks[0]: must be an object, not null"},
    {CLUSTER, "{\"perConnectionBufferLimitBytes\":-1}", "out of range"},
    {CLUSTER, "{\"perConnectionBufferLimitBytes\":4294967296}", "out of range"},
    {CLUSTER, "{\"perConnectionBufferLimitBytes\":1.5}", "must be an integer"},
    {CLUSTER, "{\"perConnectionBufferLimitBytes\":\" 1\"}", "must be an integer"},
    {CLUSTER, "{\"perConnectionBufferLimitBytes\":1e300}", "must be an integer"},
    {CLUSTER, "{\"perConnectionBufferLimitBytes\":true}", "must be an integer, not true"},
    {CLUSTER, "[]", "must be an object, not a list"},
    {SOCKET_OPTION, "{\"level\":\"9223372036854775808\"}", "level: the number is out of range"},
    {&google__protobuf__double_value__descriptor, "\"0x10\"", "must be a number"},
    {&google__protobuf__double_value__descriptor, "\"inf\"", "must be a number"},
    {&google__protobuf__float_value__descriptor, "1e39", "out of range"},
    {&google__protobuf__bool_value__descriptor, "\"true\"", "must be true or false, not a string"},
    {HEADER, "{\"rawValue\":\"a\"}", "rawValue: must be base64"},
    {&google__protobuf__timestamp__descriptor, "\"2023-02-29T00:00:00Z\"", "RFC 3339"},
    {&google__protobuf__timestamp__descriptor, "\"2023-02-28T24:00:00Z\"", "RFC 3339"},
    {&google__protobuf__timestamp__descriptor, "\"2023-02-28T00:00:00\"", "RFC 3339"},
    {&google__protobuf__timestamp__descriptor, "\"0001-01-01T00:00:00+01:00\"", "RFC 3339"},
    {&google__protobuf__any__descriptor, "{\"a\":1}", "must have \"@type\""},
    {&google__protobuf__any__descriptor, "{\"@type\":\"" URL "no.such.Type\"}", "is not known"},
    {&google__protobuf__any__descriptor, "{\"@type\":\"" URL "google.protobuf.Duration\",\"v\":1}",
     "\"value\""},
};

static void test_refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        const struct refusal *c = &refusals[i];
        struct arena arena = {0};
        struct err err = {0};
        if (parse(c->type, c->in, &plain, &arena, &err))
            fail_msg("%s: accepted", c->in);
        if (err.code != ERR_INVALID || !strstr(err.msg, c->message))
            fail_msg("%s: %s", c->in, err.msg);
        arena_fini(&arena);
    }
}

static void test_ignores_unknown_when_asked(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct pb_json_options o = {.types = &any_types, .ignore_unknown = true};
    Envoy__Config__Cluster__V3__Cluster *c =
        parse(CLUSTER, "{\"nmae\":{\"x\":[1]},\"name\":\"a\",\"lbPolicy\":\"FASTEST\"}", &o, &arena,
              NULL);
    assert_non_null(c);
    assert_string_equal(c->name, "a");
    assert_int_equal(c->lb_policy, 0);
    arena_fini(&arena);
}

/* Lists in lists, n of them around a number. */
static void *parse_nested(size_t n, struct arena *arena, struct err *err)
{
    struct buf b = {0};
    for (size_t i = 0; i < n; i++)
        assert_true(buf_append(&b, S("{\"a\":")));
    assert_true(buf_append(&b, S("1")));
    for (size_t i = 0; i < n; i++)
        assert_true(buf_append(&b, S("}")));
    assert_true(buf_append(&b, S("\0")));
    void *msg = parse(STRUCT, buf_slice(&b).p, &plain, arena, err);
    buf_fini(&b);
    return msg;
}

/* Whatever can be parsed can be packed, unpacked and printed. */
static void test_depth(void **state)
{
    (void)state;
    size_t accepted = 0;
    for (size_t n = 1; n < 120; n++) {
        struct arena arena = {0};
        struct err err = {0};
        struct buf out = {0};
        ProtobufCMessage *msg = parse_nested(n, &arena, &err);
        if (msg) {
            accepted = n;
            msg = pb_unpack(STRUCT, pb_pack_arena(msg, &arena), &arena, &err);
            assert_non_null(msg);
            assert_true(pb_json_print(msg, &plain, &out, &err));
        } else {
            assert_int_equal(err.code, ERR_LIMIT);
        }
        buf_fini(&out);
        arena_fini(&arena);
    }
    assert_int_equal(accepted, PB_DEPTH_MAX / 3); /* Struct, entry and Value a level */
}

static void test_round_trip_property(void **state)
{
    (void)state;
    size_t bytes = 0;
    for (uint64_t round = 1; round <= 12; round++)
        for (size_t i = 0; i < any_types.n; i++) {
            struct arena arena = {0};
            struct err err = {0};
            struct buf out = {0};
            struct pb_random r = {&arena, round * 0x9e3779b97f4a7c15u + i};
            struct pb_json_options o = {.types = &any_types,
                                        .indent = round % 2 ? 2 : 0,
                                        .proto_names = round % 3 == 0,
                                        .defaults = round % 5 == 0};
            ProtobufCMessage *msg = pb_random_message(&r, any_types.v[i], 5);
            if (!pb_json_print(msg, &o, &out, &err))
                fail_msg("%s: %s", any_types.v[i]->name, err.msg);
            bytes += out.n;
            assert_true(buf_append(&out, S("\0")));
            ProtobufCMessage *back = parse(any_types.v[i], buf_slice(&out).p, &plain, &arena, &err);
            if (!back)
                fail_msg("%s: %s\n%s", any_types.v[i]->name, err.msg, buf_slice(&out).p);
            struct slice a = pb_pack_arena(msg, &arena), b = pb_pack_arena(back, &arena);
            if (!slice_eq(a, b))
                fail_msg("%s changed:\n%s", any_types.v[i]->name, buf_slice(&out).p);
            buf_fini(&out);
            arena_fini(&arena);
        }
    assert_true(bytes > 100000);
}

static void test_layout(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct buf out = {0};
    struct pb_json_options o = {.types = &any_types, .indent = 2, .proto_names = true};
    ProtobufCMessage *msg =
        parse(CLUSTER, "{\"connectTimeout\":\"1s\",\"metadata\":{},\"altStatName\":\"x\"}", &plain,
              &arena, NULL);
    assert_true(pb_json_print(msg, &o, &out, NULL));
    assert_true(
        slice_eq(buf_slice(&out), S("{\n  \"connect_timeout\": \"1s\",\n  \"metadata\": {},\n"
                                    "  \"alt_stat_name\": \"x\"\n}")));
    buf_fini(&out);
    arena_fini(&arena);
}

/* A type that is not in the table is shown, not lost; malformed bytes are an error, not a crash. */
static void test_foreign_any(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct buf out = {0};
    struct err err = {0};
    Google__Protobuf__Any *any = any_of_bytes(&arena, S(URL "no.such.Type"), S("\x08\x01"));
    assert_true(pb_json_print(&any->base, &plain, &out, &err));
    assert_true(
        slice_eq(buf_slice(&out), S("{\"@type\":\"" URL "no.such.Type\",\"value\":\"CAE=\"}")));
    any = any_of_bytes(&arena, S(URL "envoy.config.cluster.v3.Cluster"), S("\x0a\x05"));
    buf_clear(&out);
    assert_false(pb_json_print(&any->base, &plain, &out, &err));
    assert_int_equal(err.code, ERR_INVALID);
    buf_fini(&out);
    arena_fini(&arena);
}

static void test_print_limits(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct err err = {0};
    ProtobufCMessage *msg =
        parse(CLUSTER, "{\"name\":\"abcdefgh\",\"connectTimeout\":\"1s\"}", &plain, &arena, NULL);
    for (size_t limit = 1; limit < 40; limit++) {
        struct buf out = {.limit = limit};
        assert_false(pb_json_print(msg, &plain, &out, &err));
        assert_int_equal(err.code, ERR_LIMIT);
        buf_fini(&out);
    }
    Google__Protobuf__Duration d;
    google__protobuf__duration__init(&d);
    d.seconds = 1;
    d.nanos = -1;
    struct buf out = {0};
    assert_false(pb_json_print(&d.base, &plain, &out, &err));
    assert_int_equal(err.code, ERR_INVALID);
    buf_fini(&out);
    arena_fini(&arena);
}

/* Every day of 2,000 years, against counting. */
static void test_calendar(void **state)
{
    (void)state;
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t seconds = -62135596800;
    for (int year = 1; year <= 2400; year++)
        for (int month = 1; month <= 12; month++) {
            bool leap = year % 4 == 0 && (year % 100 || year % 400 == 0);
            for (int day = 1; day <= days[month - 1] + (month == 2 && leap); day++) {
                char want[PB_TIME_TEXT], got[PB_TIME_TEXT];
                int64_t back;
                int32_t nanos;
                (void)snprintf(want, sizeof(want), "%04d-%02d-%02dT00:00:00Z", year, month, day);
                if (!pb_timestamp_format(seconds, 0, got) || strcmp(want, got) != 0)
                    fail_msg("%s became %s", want, got);
                if (!pb_timestamp_parse(slice_of(want), &back, &nanos) || back != seconds)
                    fail_msg("%s", want);
                seconds += 86400;
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mapping),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_ignores_unknown_when_asked),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_round_trip_property),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_foreign_any),
        cmocka_unit_test(test_print_limits),
        cmocka_unit_test(test_calendar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
