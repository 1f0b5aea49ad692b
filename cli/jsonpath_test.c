/* If this fails, scripts that pick a field out of an object get another one, or nothing. */
#include <stdlib.h>

#include "base/wire/json.h"
#include "base/wire/test.h"
#include "cli/jsonpath.h"

static const char object[] = "{\"kind\":\"List\",\"n\":3,\"on\":true,\"items\":["
                             "{\"metadata\":{\"name\":\"b\",\"labels\":{\"a.b/"
                             "c\":\"x\"},\"generation\":10},\"tags\":[1,2.5]},"
                             "{\"metadata\":{\"name\":\"a\",\"generation\":9}}]}";

static const struct {
    const char *format, *want; /* NULL: refused */
} cases[] = {
    {"{.kind}", "List"},
    {"{$.kind}-{.n}-{.on}", "List-3-true"},
    {"{.items[*].metadata.name}", "b a"},
    {"{.items[1].metadata.name}", "a"},
    {"{.items[7].metadata.name}", ""},
    {"{.nothing.there}", ""},
    {"{.items[0].metadata.labels.a\\.b/c}", "x"},
    {"{.items[0].metadata.labels['a.b/c']}", "x"},
    {"{.items[0].tags}", "[1,2.5]"},
    {"{.items[0].tags[*]}", "1 2.5"},
    {"{range .items[*]}{.metadata.name}{\"\\n\"}{end}", "b\na\n"},
    {"{range .items[*]}{range .tags[*]}<{@}>{end};{end}", "<1><2.5>;;"},
    {"plain", "plain"},
    {"{\"{}\"}", "{}"},
    {"{.kind", NULL},
    {"{kind}", NULL},
    {"{range .items[*]}x", NULL},
    {"{.items[x]}", NULL},
};

static void test_templates(void **state)
{
    (void)state;
    struct err err = {0};
    json_t *o = json_parse(slice_of(object), &err);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *text = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);
        bool ok = jsonpath_print(o, slice_of(cases[i].format), f, &err);
        fclose(f);
        if (ok != (cases[i].want != NULL))
            fail_msg("%s: %s", cases[i].format, ok ? "taken" : err.msg);
        if (ok)
            assert_string_equal(text, cases[i].want);
        free(text);
    }
    json_decref(o);
}

static void check_order(const char *path, const char *first)
{
    struct err err = {0};
    struct arena arena = {0};
    json_t *o = json_parse(slice_of(object), &err);
    bool ok = jsonpath_sort(json_object_get(o, "items"), "", slice_of(path), &arena, &err);
    assert_int_equal(ok, first != NULL);
    if (first)
        check_slice(json_str(o, "items[0].metadata.name"), slice_of(first));
    json_decref(o);
    arena_fini(&arena);
}

static void test_sort(void **state)
{
    (void)state;
    check_order(".metadata.name", "a");
    check_order("{.metadata.name}", "a");
    check_order("metadata.generation", "a"); /* by value: "10" < "9" as text */
    check_order(".tags[0]", "a");            /* what is not there comes first */
    check_order(".metadata.nmae", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_templates),
        cmocka_unit_test(test_sort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
