/* If these fail, a hostile body gets past the caps at the door, or two replicas store different
 * bytes for the same object. */
#include "base/core/hash.h"
#include "base/wire/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/wire/json_tree.h"

static struct slice text_of(const char *s)
{
    return slice_of(s);
}

static void refuses_with_place(void **state)
{
    static const struct {
        const char *text, *message;
        enum err_code code;
    } cases[] = {
        {"{\"spec\":{\"http\":[{},\n {\"uri\":1,\"uri\":2}]}}",
         "line 2, column 16: spec.http[1].uri: duplicate object key near '\"uri\"'", ERR_INVALID},
        {"{\"a\":\"x\\u0000\"}", "a: \\u0000 is not allowed", ERR_INVALID},
        {"{\"a\\u0000b\":1}", "\\u0000", ERR_INVALID},
        {"{\"a\":1,}", "line 1", ERR_INVALID},
        {"{\"a\":1} x", "end of file expected", ERR_INVALID},
        {"", "line 1, column 1", ERR_INVALID},
        {"5", "'[' or '{' expected", ERR_INVALID},
        {"{\"a\":\"\xff\"}", "unable to decode byte 0xff", ERR_INVALID},
        {"{\"a\":1e999}", "a: ", ERR_INVALID},
        {"{\"a\":9223372036854775808}", "a: too big integer", ERR_INVALID},
        {"{\"a\":[NaN]}", "a[0]", ERR_INVALID},
        {"{\"a/b\":{\"c\":tru}}", "[\"a/b\"].c", ERR_INVALID},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        assert_null(json_parse(text_of(cases[i].text), &err));
        if (err.code != cases[i].code || !strstr(err.msg, cases[i].message))
            fail_msg("%s: \"%s\", wanted \"%s\"", cases[i].text, err.msg, cases[i].message);
    }
}

static json_t *nested(size_t depth, struct err *err)
{
    struct buf b = {0};
    for (size_t i = 0; i < depth; i++)
        buf_append(&b, i % 2 ? S("{\"a\":") : S("["));
    buf_append_byte(&b, '1');
    for (size_t i = depth; i-- > 0;)
        buf_append_byte(&b, i % 2 ? '}' : ']');
    json_t *v = json_parse(buf_slice(&b), err);
    buf_fini(&b);
    return v;
}

static void bounds_depth_and_bytes(void **state)
{
    struct err err = {0};
    json_t *v = nested(JSON_DEPTH_MAX, &err);
    (void)state;
    assert_non_null(v);
    json_decref(v);
    assert_null(nested(JSON_DEPTH_MAX + 1, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.msg, "[0].a[0].a"));

    char *big = malloc(JSON_BYTES_MAX + 1);
    memset(big, ' ', JSON_BYTES_MAX + 1);
    memcpy(big, "{}", 2);
    v = json_parse(slice_mem(big, JSON_BYTES_MAX), &err);
    assert_non_null(v);
    json_decref(v);
    assert_null(json_parse(slice_mem(big, JSON_BYTES_MAX + 1), &err));
    assert_int_equal(err.code, ERR_LIMIT);
    free(big);
}

static void writes_canonical_form(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"{ \"b\" : 1 , \"a\" : [ true , null , \"x\\ny\\u0001\\/\" ] }",
         "{\"a\":[true,null,\"x\\ny\\u0001/\"],\"b\":1}"},
        {"[0.1,5.0,-0.5,1e300,1e20,100,3.3333333333333335]",
         "[0.1,5,-0.5,1e+300,1e+20,100,3.3333333333333335]"},
        {"{\"aa\":1,\"a\":2,\"B\":3,\"\":4,\"\xc3\xa9\":5}",
         "{\"\":4,\"B\":3,\"a\":2,\"aa\":1,\"\xc3\xa9\":5}"},
        {"{}", "{}"},
        {"[]", "[]"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct buf out = {0};
        json_t *v = json_parse(text_of(cases[i].in), &err);
        assert_non_null(v);
        assert_true(json_write(&out, v, &err));
        buf_append_byte(&out, 0);
        assert_string_equal(out.p + out.at, cases[i].out);
        json_decref(v);
        buf_fini(&out);
    }
}

static void writing_is_bounded(void **state)
{
    struct err err = {0};
    struct buf out = {.limit = 16};
    json_t *v = json_pack("{s:s}", "key", "a value that does not fit");
    (void)state;
    assert_false(json_write(&out, v, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    json_decref(v);
    buf_fini(&out);

    json_t *deep = json_array();
    for (size_t i = 0; i < JSON_DEPTH_MAX + 10; i++) {
        json_t *outer = json_array();
        json_array_append_new(outer, deep);
        deep = outer;
    }
    out = (struct buf){0};
    assert_false(json_write(&out, deep, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    json_decref(deep);
    buf_fini(&out);
}

static void reads_paths(void **state)
{
    struct err err = {0};
    json_t *v = json_parse(S("{\"spec\":{\"http\":[{\"match\":[1,2]},{\"timeout\":\"5s\"}]},"
                             "\"labels\":{\"a.b/c\":\"d\",\"plain\":true},\"n\":7}"),
                           &err);
    (void)state;
    assert_int_equal(json_int(v, "spec.http[0].match[1]", 0), 2);
    assert_true(slice_eq(json_str(v, "spec.http[1].timeout"), S("5s")));
    assert_true(slice_eq(json_str(v, "labels[\"a.b/c\"]"), S("d")));
    assert_true(slice_eq(json_str(v, "labels[a.b/c]"), S("d")));
    assert_true(json_bool(v, "labels.plain", false));
    assert_int_equal(json_int(v, "n", 0), 7);
    static const char *const absent[] = {"spec.http[2]", "spec.http.match", "n.x", "spec[0]",
                                         "labels[x",     "spec..http",      "nope"};
    for (size_t i = 0; i < ARRAY_LEN(absent); i++)
        assert_null(json_at(v, absent[i]));
    assert_ptr_equal(json_at(v, ""), v);
    json_decref(v);
}

static void compares_numbers_by_value(void **state)
{
    struct err err = {0};
    json_t *a = json_parse(S("{\"x\":[5,{\"y\":1}]}"), &err),
           *b = json_parse(S("{\"x\":[5.0,{\"y\":1}]}"), &err);
    json_t *c = json_parse(S("{\"x\":[5,{\"y\":2}]}"), &err);
    (void)state;
    assert_true(json_same(a, b));
    assert_false(json_same(a, c));
    json_decref(a);
    json_decref(b);
    json_decref(c);
}

/* json_tree_read and jansson agree: a text that one of two parsers of a system reads otherwise is
 * how policy is got around. `fast`: the short way is really taken. */
static void reads_as_jansson_does(void **state)
{
    static const struct {
        const char *text;
        bool fast;
    } cases[] = {
        {"{}", true},
        {" [ ] \r\n\t", true},
        {"{\"a\":{\"b\":[1,-2,0,-0,3.5,1e3,-1E-3,0.0,123456789012345678]}}", true},
        {"[true,false,null,\"\",\"x\",[],{}]", true},
        {"[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20AC\\ud83d\\ude00\"]", true},
        {"[\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"]", true},
        {"{\"\xc3\xa9\":1}", true},
        {"{\"a\\/b\":1}", false}, /* taken, but by jansson */
        {"[1234567890123456789]", false},
        {"[-9223372036854775808]", false},
        {"[9223372036854775808]", false},
        {"[01]", false},
        {"[-]", false},
        {"[1.]", false},
        {"[.5]", false},
        {"[1e]", false},
        {"[1e+]", false},
        {"[1e999]", false},
        {"[+1]", false},
        {"[1 2]", false},
        {"[1,]", false},
        {"[,1]", false},
        {"{\"a\"}", false},
        {"{\"a\":}", false},
        {"{\"a\":1,}", false},
        {"{a:1}", false},
        {"{\"a\":1,\"a\":1}", false},
        {"{\"a\":1}}", false},
        {"{\"a\":1", false},
        {"[\"a", false},
        {"[\"a\\", false},
        {"[\"\\x\"]", false},
        {"[\"\\u12\"]", false},
        {"[\"\\u0000\"]", false},
        {"[\"\\ud800\"]", false},
        {"[\"\\ud800\\u0041\"]", false},
        {"[\"\\udc00\"]", false},
        {"[\"\x01\"]", false},
        {"[\"\xc0\x80\"]", false},
        {"[\"\xed\xa0\x80\"]", false},
        {"[\"\\n\xff\"]", false},
        {"[tru]", false},
        {"[nul", false},
        {"\"a\"", false},
        {"1", false},
        {"", false},
        {"\xef\xbb\xbf{}", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice text = text_of(cases[i].text);
        json_t *fast = json_tree_read(text, JSON_DEPTH_MAX);
        json_t *slow = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
        if ((fast != NULL) != cases[i].fast || (fast && !json_equal(fast, slow)))
            fail_msg("%s", cases[i].text);
        json_decref(fast);
        json_decref(slow);
    }
    assert_null(json_tree_read((struct slice){0}, JSON_DEPTH_MAX));
    assert_null(json_tree_read(S("[[1]]"), 1));
    json_t *v = json_tree_read(S("[[1],[2],[[3]]]"), 3);
    assert_non_null(v);
    json_decref(v);
}

/* Wrong: a byte that must be escaped slips through where eight are looked at in one step, or a
 * string that was read has lost or gained some. */
static void test_strings_of_any_bytes(void **state)
{
    static const char bytes[] = "abcdefgh \"\\\n\t\x01\x1f\x7f\xc3\xa4~";
    uint64_t seed = 3;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        char text[64];
        size_t n = hash_u64(seed++) % sizeof(text), at = 0;
        while (at < n) {
            size_t k = hash_u64(seed++) % (i % 2 ? 9 : sizeof(bytes) - 1);
            if (bytes[k] == '\xc3' || bytes[k] == '\xa4') {
                if (at + 2 > n)
                    continue;
                memcpy(text + at, "\xc3\xa4", 2);
                at += 2;
                continue;
            }
            text[at++] = bytes[k];
        }
        struct buf out = {0};
        struct err err = {0};
        buf_append_byte(&out, '[');
        json_write_string(&out, slice_mem(text, n));
        buf_append_byte(&out, ']');
        for (size_t j = 0; j < out.n; j++)
            assert_true((unsigned char)buf_slice(&out).p[j] >= 0x20 &&
                        buf_slice(&out).p[j] != 0x7f);
        json_t *v = json_parse(buf_slice(&out), &err);
        assert_non_null(v);
        assert_true(slice_eq(json_slice(json_array_get(v, 0)), slice_mem(text, n)));
        json_decref(v);
        buf_fini(&out);
    }
}

/* Wrong: what is said of an object that was written is not what a reader gets. */
static void test_write_with(void **state)
{
    static const char *const texts[] = {
        "{\"metadata\":{}}",
        "{\"metadata\":{\"name\":\"a\"}}",
        "{\"metadata\":{\"uid\":\"a\"},\"spec\":{}}",
        "{\"apiVersion\":\"v1\",\"metadata\":{\"annotations\":{\"a\":\"}\\\"{,\"},\"list\":[{},[1,"
        "2],\"]\"],"
        "\"name\":\"n\",\"uid\":\"u\"},\"spec\":{\"metadata\":1}}",
    };
    static const char *const without[] = {
        "{}",
        "{\"a\":{\"metadata\":{}}}",
        "{\"metadata\":\"text\"}",
        "{\"metadata\":{\"name\":\"n\",\"resourceVersion\":\"1\"}}",
        "{\"zeta\":{}}",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct buf with = {0}, tree = {0};
        struct err err = {0};
        json_t *o = json_parse(slice_of(texts[i]), &err);
        assert_non_null(o);
        json_object_set_new(json_object_get(o, "metadata"), "resourceVersion", json_string("7"));
        assert_true(json_write(&tree, o, &err));
        assert_true(json_write_with(&with, slice_of(texts[i]), S("metadata"), S("resourceVersion"),
                                    S("7")));
        assert_true(slice_eq(buf_slice(&with), buf_slice(&tree)));
        json_decref(o);
        buf_fini(&with);
        buf_fini(&tree);
    }
    for (size_t i = 0; i < ARRAY_LEN(without); i++) {
        struct buf out = {0};
        assert_false(json_write_with(&out, slice_of(without[i]), S("metadata"),
                                     S("resourceVersion"), S("7")));
        assert_int_equal(out.n, 0);
        buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_with_place),    cmocka_unit_test(bounds_depth_and_bytes),
        cmocka_unit_test(writes_canonical_form), cmocka_unit_test(writing_is_bounded),
        cmocka_unit_test(reads_paths),           cmocka_unit_test(compares_numbers_by_value),
        cmocka_unit_test(reads_as_jansson_does), cmocka_unit_test(test_strings_of_any_bytes),
        cmocka_unit_test(test_write_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
