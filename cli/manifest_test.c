/* If this fails, an apply sends objects that the files do not say, or points at the wrong line. */
#include "base/wire/test.h"
#include "cli/manifest.h"

#define VS(name)                                                                                   \
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: " name "}\n"

static void test_streams_lists_and_lines(void **state)
{
    (void)state;
    struct manifest m = {.ns = S("prod")};
    struct err err = {0};
    static const char text[] = "# two documents\n" VS(
        "one") "spec:\n  hosts: [a]\n---\n"
               "kind: List\napiVersion: v1\nitems:\n"
               "- apiVersion: v1\n  kind: Service\n"
               "  metadata: {name: two, namespace: other}\n"
               "  spec:\n    ports:\n    - port: 80\n"
               "- apiVersion: v1\n  kind: Namespace\n  metadata: {name: three}\n";
    assert_true(manifest_add(&m, S("a.yaml"), slice_of(text), &err));
    assert_true(manifest_add(&m, S("b.json"),
                             S("{\"apiVersion\": \"v1\",\n \"kind\": \"Service\",\n"
                               " \"metadata\": {\"name\": \"four\"}}"),
                             &err));
    assert_int_equal(m.items.n, 4);
    static const struct {
        const char *kind, *ns, *name, *file, *field;
        unsigned line;
    } want[] = {
        {"VirtualService", "prod", "one", "a.yaml", "spec.hosts[0]", 6},
        {"Service", "other", "two", "a.yaml", "spec.ports[0].port", 16},
        {"Namespace", "", "three", "a.yaml", "metadata.name", 19},
        {"Service", "prod", "four", "b.json", "metadata.name", 3},
    };
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        const struct manifest_item *item = &m.items.p[i];
        assert_string_equal(item->kind->kind, want[i].kind);
        check_slice(item->ns, slice_of(want[i].ns));
        check_slice(item->name, slice_of(want[i].name));
        check_slice(item->file, slice_of(want[i].file));
        assert_int_equal(manifest_line(item, slice_of(want[i].field)), want[i].line);
    }
    /* The namespace is said to the server; one that has none gets none. */
    check_slice(json_str(m.items.p[0].object, "metadata.namespace"), S("prod"));
    assert_null(json_at(m.items.p[2].object, "metadata.namespace"));
    assert_ptr_equal(manifest_find(&m, S("services/other/two")), &m.items.p[1]);
    assert_null(manifest_find(&m, S("services/prod/two")));
    manifest_fini(&m);
}

static const struct {
    const char *text, *error;
} refused[] = {
    {VS("a") VS("b"), "f.yaml:4: "},
    {"a: [1\n", "f.yaml:"},
    {"- 1\n", "f.yaml:1: an object with apiVersion and kind is expected here"},
    {"\n\nkind: Pod\napiVersion: v1\nmetadata: {name: a}\n", "f.yaml:3: no kind \"Pod\""},
    {"apiVersion: networking.istio.io/v1\nkind: VirtualServise\n",
     "did you mean \"VirtualService\"?"},
    {"apiVersion: v1\nkind: Service\nmetadata: {}\n",
     "f.yaml:3: Service: metadata.name is required"},
    {"apiVersion: v1\nkind: Service\nmetadata: {name: no}\n",
     "f.yaml:3: Service: metadata.name must be a string"},
    {"apiVersion: v1\nkind: Service\nmetadata: {name: UPPER}\n", "f.yaml:3: "},
    {VS("a") "---\n" VS("b") "---\n" VS("a"),
     "f.yaml:11: VirtualService a is in the set twice, first at f.yaml:3"},
    {VS("a") "---\n" VS("b, namespace: other"),
     "f.yaml:7: metadata.namespace is \"other\", but -n says \"prod\""},
};

static void test_refusals_name_the_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct manifest m = {.ns = S("prod"), .ns_fixed = true};
        struct err err = {0};
        assert_false(manifest_add(&m, S("f.yaml"), slice_of(refused[i].text), &err));
        if (!strstr(err.msg, refused[i].error))
            fail_msg("case %zu: \"%s\" lacks \"%s\"", i, err.msg, refused[i].error);
        assert_int_equal(err.code, ERR_INVALID);
        manifest_fini(&m);
    }
}

static void test_places_of_a_batch(void **state)
{
    (void)state;
    struct manifest m = {.ns = S("prod")};
    struct err err = {0};
    size_t index = 99;
    struct slice rest = {0};
    assert_true(manifest_add(&m, S("f"), S(VS("a") "---\n" VS("b")), &err));
    assert_true(manifest_place(manifest_all(&m), S("items[1].spec.http[0]"), &index, &rest));
    assert_int_equal(index, 1);
    check_slice(rest, S("spec.http[0]"));
    assert_true(manifest_place(manifest_all(&m), S("items[0]: is twice"), &index, &rest));
    assert_int_equal(index, 0);
    check_slice(rest, S(": is twice"));
    assert_false(manifest_place(manifest_all(&m), S("items[2].spec"), &index, &rest));
    assert_false(manifest_place(manifest_all(&m), S("spec.items[1]"), &index, &rest));
    assert_false(manifest_place(manifest_all(&m), S("items[1"), &index, &rest));
    manifest_fini(&m);
}

/* Wrong: of a set of which objects were left out, a rejection names another object's line. */
static void test_filter(void **state)
{
    (void)state;
    struct manifest m = {.ns = S("prod")};
    struct err err = {0};
    static const bool keep[] = {false, true, false, true};
    assert_true(
        manifest_add(&m, S("f"), S(VS("a") "---\n" VS("b") "---\n" VS("c") "---\n" VS("d")), &err));
    manifest_filter(&m, keep);
    assert_int_equal(manifest_all(&m).n, 2);
    check_slice(m.items.p[0].name, S("b"));
    check_slice(m.items.p[1].name, S("d"));
    assert_ptr_equal(manifest_find(&m, S("virtualservices.networking.istio.io/prod/d")),
                     &m.items.p[1]);
    assert_null(manifest_find(&m, S("virtualservices.networking.istio.io/prod/a")));
    manifest_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams_lists_and_lines),
        cmocka_unit_test(test_refusals_name_the_line),
        cmocka_unit_test(test_places_of_a_batch),
        cmocka_unit_test(test_filter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
