/* If these fail, a list or a watch shows objects that were not asked for, or hides some that were.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/wire/json.h"
#include "registry/apiserver/select.h"

static const char object_text[] =
    "{\"metadata\":{\"name\":\"reviews\",\"namespace\":\"shop\",\"labels\":{\"app\":\"reviews\","
    "\"version\":\"v2\",\"empty\":\"\"}}}";

static void test_labels(void **state)
{
    static const struct {
        const char *selector;
        bool matches;
    } rows[] = {
        {"", true},
        {"app", true},
        {"!app", false},
        {"none", false},
        {"!none", true},
        {"app=reviews", true},
        {"app==reviews", true},
        {"app=details", false},
        {"app!=details", true},
        {"none!=x", true},
        {"app=reviews,version=v2", true},
        {"app=reviews,version=v1", false},
        {"version in (v1,v2)", true},
        {"version in (v1, v3)", false},
        {"version notin (v1,v3)", true},
        {"none notin (v1)", true},
        {"app=reviews,version in (v1,v2),!none", true},
        {"empty=", true},
        {" app = reviews ", true},
    };
    struct err err = {0};
    struct arena arena = {0};
    json_t *o = json_parse(slice_of(object_text), &err);
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct selector sel = {0};
        if (!selector_parse_labels(&sel, slice_of(rows[i].selector), &arena, &err))
            fail_msg("%s: %s", rows[i].selector, err.msg);
        if (selector_match(&sel, o) != rows[i].matches)
            fail_msg("%s", rows[i].selector);
    }
    json_decref(o);
    arena_fini(&arena);
}

static void test_malformed(void **state)
{
    static const char *const rows[] = {"=a",         "a in v1", "a in (v1", "a b",
                                       "a near (b)", "(x)",     ",,",       "!"};
    struct arena arena = {0};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct selector sel = {0};
        struct err err = {0};
        if (selector_parse_labels(&sel, slice_of(rows[i]), &arena, &err))
            fail_msg("%s", rows[i]);
        assert_int_equal(err.code, ERR_INVALID);
    }
    arena_fini(&arena);
}

static void test_fields(void **state)
{
    struct err err = {0};
    struct arena arena = {0};
    struct selector sel = {0};
    json_t *o = json_parse(slice_of(object_text), &err);
    (void)state;
    assert_true(selector_parse_fields(&sel, S("metadata.name=reviews,metadata.namespace!=other"),
                                      &arena, &err));
    assert_true(selector_match(&sel, o));
    sel = (struct selector){0};
    assert_true(selector_parse_fields(&sel, S("metadata.namespace=other"), &arena, &err));
    assert_false(selector_match(&sel, o));
    assert_false(selector_parse_fields(&sel, S("spec.type=x"), &arena, &err));
    json_decref(o);
    arena_fini(&arena);
}

static void test_bound(void **state)
{
    struct arena arena = {0};
    struct buf text = {0};
    struct selector sel = {0};
    struct err err = {0};
    (void)state;
    for (int i = 0; i <= SELECTOR_TERMS_MAX; i++)
        buf_printf(&text, "%sa%d", i ? "," : "", i);
    assert_false(selector_parse_labels(&sel, buf_slice(&text), &arena, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_fini(&text);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
