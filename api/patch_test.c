/* If these fail, kubectl apply or edit makes another object than the user wrote, or a patch of a
 * few bytes eats the machine. */
#include "api/patch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/wire/json.h"

struct patch_case {
    const char *target, *patch, *result; /* result NULL: refused */
    enum err_code code;
};

enum type { MERGE, JSON, STRATEGIC };

static json_t *apply(const struct kind *k, enum type type, const json_t *target,
                     const json_t *patch, struct err *err)
{
    if (type == STRATEGIC)
        return patch_strategic(k, target, patch, err);
    return type == JSON ? patch_json(target, patch, err) : patch_merge(target, patch, err);
}

static void run(const struct kind *k, enum type type, const struct patch_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct err err = {0};
        json_t *target = json_parse(slice_of(cases[i].target), &err);
        json_t *patch = json_parse(slice_of(cases[i].patch), &err);
        assert_non_null(target);
        assert_non_null(patch);
        json_t *before = json_deep_copy(target);
        json_t *result = apply(k, type, target, patch, &err);
        struct buf out = {0};
        if (result)
            assert_true(json_write(&out, result, NULL));
        buf_append_byte(&out, 0);
        if ((result != NULL) != (cases[i].result != NULL) ||
            (result && strcmp(out.p + out.at, cases[i].result) != 0) ||
            (!result && err.code != cases[i].code))
            fail_msg("%s + %s: %s %s", cases[i].target, cases[i].patch, out.p + out.at, err.msg);
        assert_true(json_equal(before, target));
        buf_fini(&out);
        json_decref(before);
        json_decref(target);
        json_decref(patch);
        json_decref(result);
    }
}

static void merge_patches(void **state)
{
    /* RFC 7386 appendix A, as far as target and result are objects. */
    static const struct patch_case cases[] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}", 0},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}", 0},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}", 0},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}", 0},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}", 0},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}", 0},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}", 0},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}", 0},
        {"{\"e\":null}", "{\"a\":1}", "{\"a\":1,\"e\":null}", 0},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}", 0},
        {"{}", "[1]", NULL, ERR_INVALID},
    };
    (void)state;
    run(&kinds[KIND_VIRTUAL_SERVICE], MERGE, cases, ARRAY_LEN(cases));
}

static void json_patches(void **state)
{
    /* RFC 6902 appendix A, and what is wrong. */
    static const struct patch_case cases[] = {
        {"{\"foo\":\"bar\"}", "[{\"op\":\"add\",\"path\":\"/baz\",\"value\":\"qux\"}]",
         "{\"baz\":\"qux\",\"foo\":\"bar\"}", 0},
        {"{\"foo\":[\"bar\",\"baz\"]}", "[{\"op\":\"add\",\"path\":\"/foo/1\",\"value\":\"qux\"}]",
         "{\"foo\":[\"bar\",\"qux\",\"baz\"]}", 0},
        {"{\"baz\":\"qux\",\"foo\":\"bar\"}", "[{\"op\":\"remove\",\"path\":\"/baz\"}]",
         "{\"foo\":\"bar\"}", 0},
        {"{\"foo\":[1,2,3]}", "[{\"op\":\"remove\",\"path\":\"/foo/1\"}]", "{\"foo\":[1,3]}", 0},
        {"{\"baz\":\"qux\"}", "[{\"op\":\"replace\",\"path\":\"/baz\",\"value\":5}]", "{\"baz\":5}",
         0},
        {"{\"a\":[1,2]}", "[{\"op\":\"replace\",\"path\":\"/a/0\",\"value\":5}]", "{\"a\":[5,2]}",
         0},
        {"{\"foo\":{\"bar\":1},\"qux\":{}}",
         "[{\"op\":\"move\",\"from\":\"/foo/bar\",\"path\":\"/qux/thud\"}]",
         "{\"foo\":{},\"qux\":{\"thud\":1}}", 0},
        {"{\"foo\":[\"all\",\"grass\",\"cows\",\"eat\"]}",
         "[{\"op\":\"move\",\"from\":\"/foo/1\",\"path\":\"/foo/3\"}]",
         "{\"foo\":[\"all\",\"cows\",\"eat\",\"grass\"]}", 0},
        {"{\"a\":{\"b\":1}}",
         "[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/c\"},{\"op\":\"add\",\"path\":\"/c/"
         "b\",\"value\":2}]",
         "{\"a\":{\"b\":1},\"c\":{\"b\":2}}", 0},
        {"{\"baz\":\"qux\",\"foo\":[\"a\",2]}",
         "[{\"op\":\"test\",\"path\":\"/foo/1\",\"value\":2}]",
         "{\"baz\":\"qux\",\"foo\":[\"a\",2]}", 0},
        {"{\"baz\":\"qux\"}", "[{\"op\":\"test\",\"path\":\"/baz\",\"value\":\"bar\"}]", NULL,
         ERR_CONFLICT},
        {"{\"foo\":[\"bar\"]}", "[{\"op\":\"add\",\"path\":\"/foo/-\",\"value\":[\"abc\"]}]",
         "{\"foo\":[\"bar\",[\"abc\"]]}", 0},
        {"{\"/\":9,\"~1\":10}",
         "[{\"op\":\"test\",\"path\":\"/~01\",\"value\":10},{\"op\":\"remove\",\"path\":\"/~1\"}]",
         "{\"~1\":10}", 0},
        {"{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"\",\"value\":{\"b\":2}}]", "{\"b\":2}", 0},
        {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/b/c\",\"value\":1}]", NULL, ERR_INVALID},
        {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/a/c\",\"value\":1}]", NULL, ERR_INVALID},
        {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"b\",\"value\":1}]", NULL, ERR_INVALID},
        {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/b\"}]", NULL, ERR_INVALID},
        {"{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"/b\"}]", NULL, ERR_INVALID},
        {"{\"a\":1}", "[{\"op\":\"remove\",\"path\":\"\"}]", NULL, ERR_INVALID},
        {"{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"/b\",\"value\":1}]", NULL, ERR_INVALID},
        {"{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/2\",\"value\":1}]", NULL, ERR_INVALID},
        {"{\"a\":[1]}", "[{\"op\":\"add\",\"path\":\"/a/01\",\"value\":1}]", NULL, ERR_INVALID},
        {"{\"a\":[1]}", "[{\"op\":\"replace\",\"path\":\"/a/-\",\"value\":1}]", NULL, ERR_INVALID},
        {"{\"a\":{\"b\":{}}}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a/b/c\"}]", NULL,
         ERR_INVALID},
        {"{\"a\":1}", "[{\"op\":\"copy\",\"from\":\"/b\",\"path\":\"/c\"}]", NULL, ERR_INVALID},
        {"{\"a\":1}", "[{\"op\":\"add\",\"path\":\"/~2\",\"value\":1}]", NULL, ERR_INVALID},
        {"{\"a\":1}", "[{\"op\":\"frob\",\"path\":\"/a\"}]", NULL, ERR_INVALID},
        {"{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"\",\"value\":[]}]", NULL, ERR_INVALID},
        {"{\"a\":1}", "[5]", NULL, ERR_INVALID},
        {"{\"a\":1}", "{\"op\":\"remove\"}", NULL, ERR_INVALID},
    };
    (void)state;
    run(&kinds[KIND_VIRTUAL_SERVICE], JSON, cases, ARRAY_LEN(cases));
}

static void copies_do_not_explode(void **state)
{
    struct err err = {0};
    json_t *target = json_pack("{s:[i,i,i,i]}", "a", 1, 2, 3, 4), *wide = json_array();
    (void)state;
    for (int i = 0; i < 40; i++)
        json_array_append_new(
            wide, json_pack("{s:s,s:s,s:s}", "op", "copy", "from", "/a", "path", "/a/0"));
    assert_null(patch_json(target, wide, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    json_decref(wide);

    wide = json_array();
    for (int i = 0; i <= PATCH_OPS_MAX; i++)
        json_array_append_new(wide,
                              json_pack("{s:s,s:s,s:i}", "op", "add", "path", "/b", "value", i));
    assert_null(patch_json(target, wide, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    json_array_remove(wide, 0);
    json_t *result = patch_json(target, wide, &err);
    assert_int_equal(json_int(result, "b", 0), PATCH_OPS_MAX);
    json_decref(result);
    json_decref(wide);
    json_decref(target);
}

#define PORTS(items) "{\"spec\":{\"ports\":[" items "]}}"

static void strategic_patches(void **state)
{
    static const struct patch_case cases[] = {
        /* ports merge by "port" */
        {PORTS("{\"name\":\"a\",\"port\":1},{\"name\":\"b\",\"port\":2}"),
         PORTS("{\"name\":\"c\",\"port\":2},{\"port\":3}"),
         PORTS("{\"name\":\"a\",\"port\":1},{\"name\":\"c\",\"port\":2},{\"port\":3}"), 0},
        {PORTS("{\"port\":1},{\"port\":2}"), PORTS("{\"$patch\":\"delete\",\"port\":1}"),
         PORTS("{\"port\":2}"), 0},
        {PORTS("{\"port\":1},{\"port\":2}"), PORTS("{\"$patch\":\"replace\"},{\"port\":9}"),
         PORTS("{\"port\":9}"), 0},
        {PORTS("{\"name\":\"a\",\"port\":1}"), PORTS("{\"$patch\":\"replace\",\"port\":1}"),
         PORTS("{\"port\":1}"), 0},
        {PORTS("{\"port\":1,\"name\":\"a\"}"), PORTS("{\"port\":1,\"name\":null}"),
         PORTS("{\"port\":1}"), 0},
        {PORTS("{\"port\":1}"), PORTS("{\"name\":\"x\"}"), NULL, ERR_INVALID},
        {"{}", PORTS("{\"port\":1}"), PORTS("{\"port\":1}"), 0},
        {PORTS("{\"port\":1},{\"port\":2}"),
         "{\"spec\":{\"$setElementOrder/"
         "ports\":[{\"port\":3},{\"port\":1}],\"ports\":[{\"port\":3}]}}",
         PORTS("{\"port\":3},{\"port\":1},{\"port\":2}"), 0},
        /* maps merge, other lists are replaced */
        {"{\"metadata\":{\"labels\":{\"a\":\"1\",\"b\":\"2\"}}}",
         "{\"metadata\":{\"labels\":{\"a\":null,\"c\":\"3\"}}}",
         "{\"metadata\":{\"labels\":{\"b\":\"2\",\"c\":\"3\"}}}", 0},
        {"{\"metadata\":{\"labels\":{\"a\":\"1\"}}}",
         "{\"metadata\":{\"labels\":{\"$patch\":\"replace\",\"c\":\"3\"}}}",
         "{\"metadata\":{\"labels\":{\"c\":\"3\"}}}", 0},
        {"{\"spec\":{\"selector\":{\"a\":\"1\"}}}",
         "{\"spec\":{\"selector\":{\"$patch\":\"delete\"}}}", "{\"spec\":{}}", 0},
        {"{\"spec\":{\"selector\":{\"a\":\"1\",\"b\":\"2\"}}}",
         "{\"spec\":{\"selector\":{\"$retainKeys\":[\"b\"],\"b\":\"3\"}}}",
         "{\"spec\":{\"selector\":{\"b\":\"3\"}}}", 0},
        {"{\"spec\":{\"externalIPs\":[\"a\",\"b\"]}}", "{\"spec\":{\"externalIPs\":[\"c\"]}}",
         "{\"spec\":{\"externalIPs\":[\"c\"]}}", 0},
        {"{\"metadata\":{\"finalizers\":[\"a\",\"b\"]}}",
         "{\"metadata\":{\"finalizers\":[\"b\",\"c\"],\"$deleteFromPrimitiveList/"
         "finalizers\":[\"a\"]}}",
         "{\"metadata\":{\"finalizers\":[\"b\",\"c\"]}}", 0},
        {"{\"spec\":5}", "{\"spec\":{\"type\":\"a\"}}", "{\"spec\":{\"type\":\"a\"}}", 0},
        {"{}", "[]", NULL, ERR_INVALID},
    };
    (void)state;
    run(&kinds[KIND_SERVICE], STRATEGIC, cases, ARRAY_LEN(cases));
    static const struct patch_case refused[] = {{"{}", "{}", NULL, ERR_UNSUPPORTED}};
    run(&kinds[KIND_VIRTUAL_SERVICE], STRATEGIC, refused, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merge_patches),
        cmocka_unit_test(json_patches),
        cmocka_unit_test(copies_do_not_explode),
        cmocka_unit_test(strategic_patches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
