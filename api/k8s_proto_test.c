/* If these fail, `kubectl create namespace` does not work against weft, or bytes of a stranger
 * crash it. */
#include "api/k8s_proto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/wire/json.h"

static struct slice unhex(const char *hex, struct arena *arena)
{
    size_t n = strlen(hex) / 2;
    char *bytes = arena_alloc(arena, n + 1);
    for (size_t i = 0; i < n; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
        bytes[i] = (char)strtoul(pair, NULL, 16);
    }
    return (struct slice){bytes, n};
}

/* Bodies as kubectl 1.32 sent them. */
static const struct {
    const char *hex, *json;
} bodies[] = {
    /* create ns prod */
    {"6b3873000a0f0a02763112094e616d657370616365121c0a140a0470726f6412001a0022002a00320038004200120"
     "01a020a001a002200",
     "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"prod\"},\"spec\":{}}"},
    /* create service clusterip web --tcp=80:8080 --tcp=443 */
    {"6b3873000a0d0a0276311207536572766963651283010a1f0a0377656212001a0022002a003200380042005a0a0a0"
     "361707012037765621"
     "25c0a1b0a0738302d38303830120354435018502207080010903f1a0028000a180a03343433120354435018bb0322"
     "07080010bb031a0028"
     "00120a0a0361707012037765621a002209436c757374657249503a00420052005a00600068001a020a001a002200",
     "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"labels\":{\"app\":\"web\"},"
     "\"name\":\"web\"},\"spec\":"
     "{\"ports\":[{\"name\":\"80-8080\",\"port\":80,\"protocol\":\"TCP\",\"targetPort\":8080},{"
     "\"name\":\"443\",\"port\":"
     "443,\"protocol\":\"TCP\",\"targetPort\":443}],\"selector\":{\"app\":\"web\"},\"type\":"
     "\"ClusterIP\"}}"},
    /* create service externalname ext --external-name a.com */
    {"6b3873000a0d0a02763112075365727669636512540a1f0a0365787412001a0022002a003200380042005a0a0a036"
     "170701203657874122d"
     "120a0a0361707012036578741a00220c45787465726e616c4e616d653a0042005205612e636f6d5a00600068001a0"
     "20a001a002200",
     "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"labels\":{\"app\":\"ext\"},"
     "\"name\":\"ext\"},\"spec\":"
     "{\"externalName\":\"a.com\",\"selector\":{\"app\":\"ext\"},\"type\":\"ExternalName\"}}"},
};

static void reads_what_kubectl_sends(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct arena arena = {0};
        struct err err = {0};
        struct buf out = {0};
        struct slice body = unhex(bodies[i].hex, &arena);
        assert_true(k8s_proto_is(body));
        json_t *o = k8s_proto_parse(body, &err);
        if (!o)
            fail_msg("%s", err.msg);
        json_write(&out, o, NULL);
        buf_append_byte(&out, 0);
        assert_string_equal(out.p + out.at, bodies[i].json);
        json_decref(o);
        buf_fini(&out);
        arena_fini(&arena);
    }
}

/* Appends a field of bytes. */
static void put(struct buf *b, unsigned number, struct slice bytes)
{
    buf_varint(b, number << 3 | 2);
    buf_varint(b, bytes.n);
    buf_append(b, bytes);
}

static json_t *parse_slice(struct slice endpoints, struct err *err)
{
    struct buf type = {0}, message = {0}, body = {0};
    put(&type, 1, S("discovery.k8s.io/v1"));
    put(&type, 2, S("EndpointSlice"));
    put(&message, 2, endpoints);
    put(&message, 4, S("IPv4"));
    buf_append(&body, (struct slice){"k8s\0", 4});
    put(&body, 1, buf_slice(&type));
    put(&body, 2, buf_slice(&message));
    json_t *o = k8s_proto_parse(buf_slice(&body), err);
    buf_fini(&type);
    buf_fini(&message);
    buf_fini(&body);
    return o;
}

static void a_pointer_to_false_is_false(void **state)
{
    struct buf endpoint = {0};
    struct err err = {0};
    (void)state;
    put(&endpoint, 1, S("10.0.0.1"));
    put(&endpoint, 2, S("\x08\x00\x10\x01")); /* ready: false, serving: true */
    json_t *o = parse_slice(buf_slice(&endpoint), &err);
    assert_false(json_bool(o, "endpoints[0].conditions.ready", true));
    assert_true(json_bool(o, "endpoints[0].conditions.serving", false));
    assert_true(slice_eq(json_str(o, "endpoints[0].addresses[0]"), S("10.0.0.1")));
    json_decref(o);
    buf_fini(&endpoint);
}

static void refuses_what_is_malformed(void **state)
{
    static const struct slice endpoints[] = {
        S_INIT("\x0a\x7f"),     /* longer than what is left */
        S_INIT("\x0a"),         /* no length */
        S_INIT("\x08\x01"),     /* a number where a string is */
        S_INIT("\x0a\x01\xff"), /* not UTF-8 */
        S_INIT("\x0a\x02"
               "a\x00"),             /* NUL */
        S_INIT("\x0b"),              /* a group */
        S_INIT("\x00\x00"),          /* field number 0 */
        S_INIT("\x2a\x03\x0a\x05x"), /* a map entry cut short */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
        struct err err = {0};
        assert_null(parse_slice(endpoints[i], &err));
        assert_int_equal(err.code, ERR_INVALID);
    }
    struct err err = {0};
    assert_null(k8s_proto_parse(S("{}"), &err));
    assert_null(k8s_proto_parse((struct slice){"k8s\0\x0a\x06\x0a\x01"
                                               "a\x12\x01"
                                               "b",
                                               12},
                                &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
}

/* Every cut and every flipped bit of a body gives an object or an error. */
static void survives_damage(void **state)
{
    struct arena arena = {0};
    struct slice body = unhex(bodies[1].hex, &arena);
    char *bytes = (char *)(uintptr_t)body.p;
    (void)state;
    for (size_t n = 0; n < body.n; n++) {
        char *cut = malloc(n ? n : 1); /* of its own, so that a read behind it is seen */
        memcpy(cut, body.p, n);
        json_decref(k8s_proto_parse((struct slice){cut, n}, NULL));
        free(cut);
    }
    for (size_t i = 0; i < body.n * 8; i++) {
        bytes[i / 8] = (char)(bytes[i / 8] ^ 1 << i % 8);
        json_decref(k8s_proto_parse(body, NULL));
        bytes[i / 8] = (char)(bytes[i / 8] ^ 1 << i % 8);
    }
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_kubectl_sends),
        cmocka_unit_test(a_pointer_to_false_is_false),
        cmocka_unit_test(refuses_what_is_malformed),
        cmocka_unit_test(survives_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
