/* If these fail, `kubectl diff` and `--dry-run=server` of the kubectl that Debian has say that our
 * kinds do not support them. */
#include "api/openapi2.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/kind.h"
#include "base/core/reader.h"
#include "base/wire/json.h"
#include "base/wire/pb.h"

static uint64_t varint(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && reader_ok(r); shift += 7) {
        uint8_t b = reader_u8(r);
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            break;
    }
    return v;
}

/* The nth value of a field; a message here has fields of bytes only. */
static bool field(struct slice message, uint32_t want, size_t nth, struct slice *ret)
{
    struct reader r = reader_of(message);
    while (reader_ok(&r) && !reader_done(&r)) {
        uint64_t tag = varint(&r);
        assert_int_equal(tag & 7, 2);
        struct slice value = reader_bytes(&r, (size_t)varint(&r));
        assert_true(reader_ok(&r));
        if (tag >> 3 == want && nth-- == 0) {
            *ret = value;
            return true;
        }
    }
    return false;
}

/* Down a path of field numbers, the first of each. */
static struct slice down(struct slice message, const uint32_t *fields, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!field(message, fields[i], 0, &message))
            fail_msg("field %u is not there", fields[i]);
    return message;
}
#define DOWN(message, ...)                                                                         \
    down(message, (const uint32_t[]){__VA_ARGS__},                                                 \
         sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static size_t versions(void)
{
    size_t n = 0;
    for (size_t i = 0; i < KIND_COUNT; i++)
        for (size_t v = 0; v < KIND_VERSIONS_MAX && kinds[i].versions[v]; v++)
            n++;
    return n;
}

/* As kubectl 1.20 asks: is there a patch of this kind that takes dryRun? */
static bool takes_dry_run(struct slice document, const struct kind *k, const char *version)
{
    struct slice paths = DOWN(document, 8), path;
    char gvk[256];
    snprintf(gvk, sizeof(gvk), "group: \"%s\"\nkind: %s\nversion: %s\n", k->group, k->kind,
             version);
    for (size_t i = 0; field(paths, 2, i, &path); i++) {
        struct slice patch = DOWN(path, 2, 8), extension = DOWN(patch, 13);
        if (!slice_eq(DOWN(extension, 1), S("x-kubernetes-group-version-kind")) ||
            !slice_eq(DOWN(extension, 2, 2), slice_of(gvk)))
            continue;
        struct slice query = DOWN(patch, 8, 1, 2, 3);
        return slice_eq(DOWN(query, 4), S("dryRun")) && slice_eq(DOWN(query, 2), S("query"));
    }
    return false;
}

static void every_kind_takes_dry_run(void **state)
{
    struct buf out = {0};
    struct slice path;
    size_t n = 0;
    (void)state;
    openapi2_write(OPENAPI2_PROTO, &out);
    struct slice document = buf_slice(&out);
    assert_true(slice_eq(DOWN(document, 1), S("2.0")));
    assert_true(slice_eq(DOWN(document, 2, 1), S("weft")));
    while (field(DOWN(document, 8), 2, n, &path))
        n++;
    assert_int_equal(n, versions());
    for (size_t i = 0; i < KIND_COUNT; i++)
        for (size_t v = 0; v < KIND_VERSIONS_MAX && kinds[i].versions[v]; v++)
            assert_true(takes_dry_run(document, &kinds[i], kinds[i].versions[v]));
    buf_fini(&out);
}

static void json_says_the_same(void **state)
{
    struct buf out = {0};
    struct err err = {0};
    const char *name;
    json_t *path;
    (void)state;
    openapi2_write(OPENAPI2_JSON, &out);
    json_t *doc = json_parse(buf_slice(&out), &err), *paths = json_object_get(doc, "paths");
    assert_non_null(doc);
    assert_int_equal(json_object_size(paths), versions());
    assert_non_null(json_object_get(paths, "/api/v1/namespaces/{name}"));
    assert_non_null(json_object_get(
        paths, "/apis/networking.istio.io/v1/namespaces/{namespace}/virtualservices/{name}"));
    json_object_foreach (paths, name, path) {
        assert_true(slice_eq(json_str(path, "patch.parameters[0].name"), S("dryRun")));
        assert_non_null(json_at(path, "patch.responses"));
    }
    json_decref(doc);
    buf_fini(&out);
}

static void form_is_what_was_asked_for(void **state)
{
    static const struct {
        struct slice accept;
        enum openapi2_form form;
        struct slice type;
    } rows[] = {
        {S_INIT(""), OPENAPI2_JSON, S_INIT("application/json")},
        {S_INIT("application/json, */*"), OPENAPI2_JSON, S_INIT("application/json")},
        {S_INIT("application/com.github.proto-openapi.spec.v2@v1.0+protobuf"), OPENAPI2_PROTO,
         S_INIT("application/com.github.proto-openapi.spec.v2.v1.0+protobuf")},
        {S_INIT("application/com.github.proto-openapi.spec.v2.v1.0+protobuf;q=1, application/json"),
         OPENAPI2_PROTO, S_INIT("application/com.github.proto-openapi.spec.v2.v1.0+protobuf")},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct slice type;
        assert_int_equal(openapi2_form(rows[i].accept, &type), rows[i].form);
        assert_true(slice_eq(type, rows[i].type));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_takes_dry_run),
        cmocka_unit_test(json_says_the_same),
        cmocka_unit_test(form_is_what_was_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
