/* If these fail, kubectl and the CLI find other objects than they name, a hostile name gets into a
 * key of the registry, or an apply that changes nothing makes a new revision. */
#include "api/kind.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/wire/json.h"

static void finds_by_api_path(void **state)
{
    (void)state;
    for (size_t i = 0; i < KIND_COUNT; i++) {
        const struct kind *k = &kinds[i];
        assert_int_equal(k->id, i);
        for (size_t v = 0; v < KIND_VERSIONS_MAX && k->versions[v]; v++)
            assert_ptr_equal(
                kind_find(slice_of(k->group), slice_of(k->versions[v]), slice_of(k->plural)), k);
        struct buf want = {0};
        buf_printf(&want, "%s%s%s", k->group, k->group[0] ? "/" : "", k->versions[0]);
        assert_true(slice_eq(buf_slice(&want), slice_of(kind_api_version(k))));
        buf_fini(&want);
    }
    assert_null(kind_find(S(""), S("v1"), S("virtualservices")));
    assert_null(kind_find(S("networking.istio.io"), S("v2"), S("virtualservices")));
}

static void guesses_what_people_type(void **state)
{
    static const struct {
        const char *word;
        enum kind_id id;
    } cases[] = {
        {"vs", KIND_VIRTUAL_SERVICE},
        {"VirtualService", KIND_VIRTUAL_SERVICE},
        {"virtualservices.networking.istio.io", KIND_VIRTUAL_SERVICE},
        {"dr", KIND_DESTINATION_RULE},
        {"svc", KIND_SERVICE},
        {"services", KIND_SERVICE},
        {"NS", KIND_NAMESPACE},
        {"gateway.networking.istio.io", KIND_GATEWAY},
        {"endpointslice", KIND_ENDPOINT_SLICE},
        {"we", KIND_WORKLOAD_ENTRY},
        {"se", KIND_SERVICE_ENTRY},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct kind *k = kind_guess(slice_of(cases[i].word));
        assert_non_null(k);
        assert_int_equal(k->id, cases[i].id);
    }
    assert_null(kind_guess(S("pods")));
    assert_null(kind_guess(S("services.networking.istio.io")));
    assert_null(kind_guess(S("")));
}

static void names_the_kind_that_was_meant(void **state)
{
    static const struct {
        const char *object, *message;
    } cases[] = {
        {"{\"kind\":\"Service\"}", "apiVersion is missing"},
        {"{\"apiVersion\":\"v1\"}", "kind is missing"},
        {"{\"apiVersion\":\"networking.istio.io/v1\",\"kind\":\"VirtualServise\"}",
         "did you mean \"VirtualService\"?"},
        /* Wrong: did you mean "Gateway"?, which is what was written. */
        {"{\"apiVersion\":\"gateway.networking.k8s.io/v1\",\"kind\":\"Gateway\"}",
         "no kind \"Gateway\" in \"gateway.networking.k8s.io/v1\", did you mean "
         "networking.istio.io/v1 Gateway?"},
        {"{\"apiVersion\":\"v1\",\"kind\":\"VirtualServise\"}",
         "did you mean networking.istio.io/v1 VirtualService?"},
        {"{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\"}",
         "no kind \"Deployment\" in \"apps/v1\""},
        {"{\"apiVersion\":\"networking.istio.io/v9\",\"kind\":\"Gateway\"}",
         "use networking.istio.io/v1"},
        {"{\"apiVersion\":\"v1\",\"kind\":5}", "kind is missing"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        json_t *o = json_parse(slice_of(cases[i].object), &err);
        assert_null(kind_of_object(o, &err));
        if (!strstr(err.msg, cases[i].message))
            fail_msg("%s: %s", cases[i].object, err.msg);
        json_decref(o);
    }
}

static void keys_go_both_ways(void **state)
{
    static const struct {
        enum kind_id id;
        const char *ns, *name, *key; /* key NULL: refused */
    } cases[] = {
        {KIND_VIRTUAL_SERVICE, "default", "reviews",
         "virtualservices.networking.istio.io/default/reviews"},
        {KIND_VIRTUAL_SERVICE, "default", "a.b-c.d",
         "virtualservices.networking.istio.io/default/a.b-c.d"},
        {KIND_SERVICE, "default", "reviews", "services/default/reviews"},
        {KIND_NAMESPACE, "", "prod", "namespaces//prod"},
        {KIND_NAMESPACE, "x", "prod", NULL},
        {KIND_NAMESPACE, "", "a.b", NULL},
        {KIND_SERVICE, "", "reviews", NULL},
        {KIND_SERVICE, "default", "1st", NULL},
        {KIND_SERVICE, "default", "a/b", NULL},
        {KIND_VIRTUAL_SERVICE, "default", "Reviews", NULL},
        {KIND_VIRTUAL_SERVICE, "default", "", NULL},
        {KIND_VIRTUAL_SERVICE, "default", "..", NULL},
        {KIND_VIRTUAL_SERVICE, "de/fault", "x", NULL},
        {KIND_VIRTUAL_SERVICE, "default",
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaaaaaaaaa"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaaaaaaaaa"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         NULL},
    };
    struct arena arena = {0};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct slice key, ns, name;
        const struct kind *k;
        bool ok = kind_key(&kinds[cases[i].id], slice_of(cases[i].ns), slice_of(cases[i].name),
                           &arena, &key, &err);
        assert_int_equal(ok, cases[i].key != NULL);
        if (!ok)
            continue;
        assert_string_equal(key.p, cases[i].key);
        assert_true(kind_key_parse(key, &k, &ns, &name));
        assert_int_equal(k->id, cases[i].id);
        assert_true(slice_eq(ns, slice_of(cases[i].ns)) && slice_eq(name, slice_of(cases[i].name)));
    }
    static const char *const foreign[] = {"",
                                          "services",
                                          "services/x",
                                          "pods/a/b",
                                          "services//x",
                                          "namespaces/a/b",
                                          "services/x/",
                                          "services.x/a/b"};
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++) {
        const struct kind *k;
        struct slice ns, name;
        assert_false(kind_key_parse(slice_of(foreign[i]), &k, &ns, &name));
    }
    arena_fini(&arena);
}

static void defaults_what_users_see(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"a\","
         "\"creationTimestamp\":null,"
         "\"managedFields\":[]},\"spec\":{\"ports\":[{\"port\":80},{\"port\":90,\"targetPort\":"
         "\"web\"}]}}",
         "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"a\"},\"spec\":{"
         "\"ports\":["
         "{\"port\":80,\"protocol\":\"TCP\",\"targetPort\":80},{\"port\":90,\"protocol\":\"TCP\","
         "\"targetPort\":"
         "\"web\"}],\"sessionAffinity\":\"None\",\"type\":\"ClusterIP\"}}"},
        {"{\"apiVersion\":\"networking.istio.io/"
         "v1alpha3\",\"kind\":\"Gateway\",\"metadata\":{\"name\":\"a\","
         "\"resourceVersion\":\"5\",\"uid\":\"u\"},\"spec\":{\"selector\":null}}",
         "{\"apiVersion\":\"networking.istio.io/"
         "v1\",\"kind\":\"Gateway\",\"metadata\":{\"name\":\"a\",\"uid\":"
         "\"u\"},\"spec\":{}}"},
        {"{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"a\"}}",
         "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"labels\":{\"kubernetes.io/"
         "metadata.name\":"
         "\"a\"},\"name\":\"a\"},\"status\":{\"phase\":\"Active\"}}"},
        {"{\"apiVersion\":\"discovery.k8s.io/"
         "v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"a\"},"
         "\"ports\":[{\"port\":1},5]}",
         "{\"apiVersion\":\"discovery.k8s.io/"
         "v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"a\"},"
         "\"ports\":[{\"port\":1,\"protocol\":\"TCP\"},5]}"},
        /* Shapes that validation refuses later must survive defaulting. */
        {"{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":5,\"spec\":[]}",
         "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":5,\"spec\":[]}"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct buf out = {0};
        json_t *o = json_parse(slice_of(cases[i].in), &err);
        const struct kind *k = kind_of_object(o, &err);
        assert_non_null(k);
        kind_default(k, o);
        assert_true(kind_encode(o, &out, &err));
        buf_append_byte(&out, 0);
        assert_string_equal(out.p + out.at, cases[i].out);
        json_t *once = json_deep_copy(o);
        kind_default(k, o);
        assert_true(json_equal(once, o));
        json_decref(once);
        json_decref(o);
        buf_fini(&out);
    }
}

static void knows_what_changed(void **state)
{
    struct err err = {0};
    json_t *a = json_parse(
        S("{\"metadata\":{\"name\":\"x\",\"resourceVersion\":\"4\"},\"spec\":{\"w\":1}}"), &err);
    json_t *b = json_parse(
        S("{\"metadata\":{\"name\":\"x\",\"generation\":2},\"spec\":{\"w\":1.0}}"), &err);
    json_t *c = json_parse(
        S("{\"metadata\":{\"name\":\"x\",\"labels\":{\"a\":\"b\"}},\"spec\":{\"w\":1}}"), &err);
    json_t *d = json_parse(S("{\"metadata\":{\"name\":\"x\"},\"spec\":{\"w\":2}}"), &err);
    (void)state;
    assert_true(kind_same_content(a, b));
    assert_false(kind_same_content(a, c));
    assert_true(kind_same_spec(a, c));
    assert_false(kind_same_spec(a, d));
    json_decref(a);
    json_decref(b);
    json_decref(c);
    json_decref(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_by_api_path),
        cmocka_unit_test(guesses_what_people_type),
        cmocka_unit_test(names_the_kind_that_was_meant),
        cmocka_unit_test(keys_go_both_ways),
        cmocka_unit_test(defaults_what_users_see),
        cmocka_unit_test(knows_what_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
