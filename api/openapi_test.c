/* If these fail, kubectl does not find our kinds, does not ask for field validation (typos are then
 * taken silently), or sends a patch that we refuse. */
#include "api/openapi.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "api/discovery.h"
#include "api/schema.h"
#include "base/wire/json.h"

static const struct discovery_resource extra[] = {
    {"weft.dev", "v1alpha1", "Member", "members", "member", false, {"get", "list"}},
    {"weft.dev", "v1alpha1", "Proxy", "proxies", "proxy", false, {"get", "list"}},
};

static json_t *discovered(const char *path, bool aggregated)
{
    struct buf out = {0};
    struct err err = {0};
    json_t *d = NULL;
    if (discovery_write(slice_of(path), aggregated, extra, ARRAY_LEN(extra), &out))
        d = json_parse(buf_slice(&out), &err);
    buf_fini(&out);
    return d;
}

static json_t *documented(const char *path)
{
    struct buf out = {0};
    struct err err = {0};
    json_t *d = NULL;
    if (openapi_write(slice_of(path), &out))
        d = json_parse_capped(buf_slice(&out), 8u << 20, JSON_DEPTH_MAX, &err);
    buf_fini(&out);
    return d;
}

static const json_t *by_name(const json_t *list, const char *key, const char *name)
{
    const json_t *item;
    size_t i;
    json_array_foreach (list, i, item)
        if (slice_eq(json_str(item, key), slice_of(name)))
            return item;
    return NULL;
}

static void every_kind_is_discovered(void **state)
{
    (void)state;
    for (size_t i = 0; i < KIND_COUNT; i++) {
        for (size_t v = 0; v < KIND_VERSIONS_MAX && kinds[i].versions[v]; v++) {
            struct arena arena = {0};
            const char *path =
                kinds[i].group[0]
                    ? arena_printf(&arena, "/apis/%s/%s", kinds[i].group, kinds[i].versions[v]).p
                    : "/api/v1";
            json_t *list = discovered(path, false);
            const json_t *r = by_name(json_object_get(list, "resources"), "name", kinds[i].plural);
            assert_non_null(r);
            assert_true(slice_eq(json_str(r, "kind"), slice_of(kinds[i].kind)));
            assert_int_equal(json_bool(r, "namespaced", !kinds[i].namespaced), kinds[i].namespaced);
            const char *status = arena_printf(&arena, "%s/status", kinds[i].plural).p;
            assert_int_equal(by_name(json_object_get(list, "resources"), "name", status) != NULL,
                             kinds[i].has_status);
            json_decref(list);
            arena_fini(&arena);
        }
    }
}

static void groups_are_listed_once_with_the_stored_version_first(void **state)
{
    json_t *list = discovered("/apis", false);
    (void)state;
    assert_int_equal(json_array_size(json_object_get(list, "groups")), 4);
    const json_t *istio = by_name(json_object_get(list, "groups"), "name", "networking.istio.io");
    assert_true(
        slice_eq(json_str(istio, "preferredVersion.groupVersion"), S("networking.istio.io/v1")));
    assert_int_equal(json_array_size(json_object_get(istio, "versions")), 3);
    assert_non_null(by_name(json_object_get(list, "groups"), "name", "weft.dev"));
    json_decref(list);
    json_t *group = discovered("/apis/networking.istio.io", false);
    assert_true(slice_eq(json_str(group, "kind"), S("APIGroup")));
    json_decref(group);
    list = discovered("/apis/weft.dev/v1alpha1", false);
    assert_true(slice_eq(json_str(list, "resources[1].name"), S("proxies")));
    json_decref(list);
    list = discovered("/version", false);
    assert_true(slice_eq(json_str(list, "major"), S("1")));
    json_decref(list);
    list = discovered("/api/", false);
    assert_true(slice_eq(json_str(list, "kind"), S("APIVersions")));
    json_decref(list);
    static const char *const nothing[] = {"/",          "/apix",
                                          "/apis/nope", "/apis/nope/v1",
                                          "/apis//v1",  "/apis/networking.istio.io/v9",
                                          "/api/v2",    ""};
    for (size_t i = 0; i < ARRAY_LEN(nothing); i++)
        assert_null(discovered(nothing[i], false));
}

static void aggregated_discovery_says_all_at_once(void **state)
{
    json_t *core = discovered("/api", true), *rest = discovered("/apis", true);
    (void)state;
    assert_true(slice_eq(json_str(core, "apiVersion"), S("apidiscovery.k8s.io/v2")));
    assert_int_equal(json_array_size(json_object_get(core, "items")), 1);
    assert_non_null(
        by_name(json_at(core, "items[0].versions[0].resources"), "resource", "services"));
    assert_int_equal(json_array_size(json_object_get(rest, "items")), 4);
    const json_t *dr =
        by_name(json_at(rest, "items[1].versions[0].resources"), "resource", "destinationrules");
    assert_true(slice_eq(json_str(dr, "responseKind.kind"), S("DestinationRule")));
    assert_true(
        slice_eq(json_slice(json_array_get(json_object_get(dr, "shortNames"), 0)), S("dr")));
    assert_true(slice_eq(json_str(dr, "scope"), S("Namespaced")));
    json_decref(core);
    json_decref(rest);
    assert_true(discovery_wants_aggregated(S(
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json")));
    assert_false(discovery_wants_aggregated(
        S("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/"
          "json")));
    assert_false(discovery_wants_aggregated(S("application/json")));
}

/* kubectl looks for the PATCH of a kind and the parameter fieldValidation in it. */
static void patches_take_field_validation(void **state)
{
    (void)state;
    for (size_t i = 0; i < KIND_COUNT; i++) {
        struct arena arena = {0};
        const struct kind *k = &kinds[i];
        const char *root = k->group[0] ? arena_printf(&arena, "apis/%s/v1", k->group).p : "api/v1";
        json_t *doc = documented(arena_printf(&arena, "/openapi/v3/%s", root).p);
        const char *path = arena_printf(&arena, "/%s/%s%s/{name}", root,
                                        k->namespaced ? "namespaces/{namespace}/" : "", k->plural)
                               .p;
        const json_t *patch =
            json_object_get(json_object_get(json_object_get(doc, "paths"), path), "patch");
        assert_non_null(patch);
        assert_non_null(by_name(json_object_get(patch, "parameters"), "name", "fieldValidation"));
        assert_non_null(by_name(json_object_get(patch, "parameters"), "name", "dryRun"));
        assert_true(
            slice_eq(json_str(patch, "x-kubernetes-group-version-kind.kind"), slice_of(k->kind)));
        bool strategic = json_object_get(json_at(patch, "requestBody.content"),
                                         "application/strategic-merge-patch+json");
        assert_int_equal(strategic, strcmp(k->group, "networking.istio.io") != 0);
        json_decref(doc);
        arena_fini(&arena);
    }
}

static void references_lead_somewhere(const json_t *schemas, const json_t *v)
{
    const char *key;
    json_t *child;
    size_t i;
    struct slice ref = json_str(v, "$ref");
    if (ref.n && slice_starts(ref, S("#/components/schemas/")))
        assert_non_null(json_get(schemas, slice_skip(ref, 21)));
    json_object_foreach ((json_t *)(uintptr_t)v, key, child)
        references_lead_somewhere(schemas, child);
    json_array_foreach (v, i, child)
        references_lead_somewhere(schemas, child);
}

static void the_index_lists_documents_that_exist(void **state)
{
    json_t *index = documented("/openapi/v3"), *entry;
    const char *name;
    size_t n = 0;
    (void)state;
    json_object_foreach (json_object_get(index, "paths"), name, entry) {
        struct slice url = json_str(entry, "serverRelativeURL"), path, query;
        struct arena arena = {0};
        assert_true(slice_cut(url, '?', &path, &query) && slice_starts(query, S("hash=")));
        json_t *doc = documented(arena_dup(&arena, path).p);
        assert_non_null(doc);
        assert_true(slice_eq(json_str(doc, "openapi"), S("3.0.0")));
        references_lead_somewhere(json_at(doc, "components.schemas"), doc);
        json_decref(doc);
        arena_fini(&arena);
        n++;
    }
    assert_int_equal(n, 7);
    json_decref(index);
    assert_null(documented("/openapi/v3/apis/nope/v1"));
    assert_null(documented("/openapi/v2"));
}

static void what_is_ours_is_described(void **state)
{
    json_t *doc = documented("/openapi/v3/weft/v1");
    const json_t *post = json_object_get(
        json_object_get(json_object_get(doc, "paths"), "/weft/v1/transaction"), "post");
    (void)state;
    assert_non_null(by_name(json_object_get(post, "parameters"), "name", "Idempotency-Key"));
    assert_non_null(json_at(post, "requestBody.content"));
    const json_t *diff =
        json_object_get(json_object_get(json_object_get(doc, "paths"), "/weft/v1/diff"), "get");
    assert_non_null(by_name(json_object_get(diff, "parameters"), "name", "maxStalenessMs"));
    const json_t *members = json_object_get(json_object_get(doc, "paths"), "/weft/v1/members");
    assert_int_equal(json_object_size(members), 2); /* one path, two methods */
    assert_non_null(json_at(members, "post.requestBody.content"));
    json_decref(doc);
    doc = documented("/openapi/v3/api/v1");
    const json_t *get = json_object_get(
        json_object_get(json_object_get(doc, "paths"), "/api/v1/namespaces/{name}"), "get");
    assert_non_null(by_name(json_object_get(get, "parameters"), "name", "consistency"));
    json_decref(doc);
}

static void schemas_say_what_the_tables_say(void **state)
{
    json_t *doc = documented("/openapi/v3/api/v1");
    const json_t *svc =
        json_object_get(json_at(doc, "components.schemas"), "io.k8s.api.core.v1.Service");
    const json_t *ports = json_at(svc, "properties.spec.properties.ports");
    (void)state;
    assert_true(slice_eq(json_str(ports, "x-kubernetes-patch-merge-key"), S("port")));
    assert_true(slice_eq(json_slice(json_at(ports, "items.required[0]")), S("port")));
    assert_int_equal(json_int(ports, "items.properties.port.maximum", 0), 65535);
    assert_true(
        slice_eq(json_str(svc, "properties.spec.properties.selector.additionalProperties.type"),
                 S("string")));
    assert_true(slice_eq(json_str(svc, "x-kubernetes-group-version-kind[0].kind"), S("Service")));
    json_decref(doc);
    doc = documented("/openapi/v3/apis/networking.istio.io/v1beta1");
    const json_t *vs = json_object_get(json_at(doc, "components.schemas"),
                                       "io.istio.networking.v1beta1.VirtualService");
    assert_true(
        slice_eq(json_str(vs, "properties.spec.properties.http.items.properties.timeout.type"),
                 S("string")));
    json_decref(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_discovered),
        cmocka_unit_test(groups_are_listed_once_with_the_stored_version_first),
        cmocka_unit_test(aggregated_discovery_says_all_at_once),
        cmocka_unit_test(patches_take_field_validation),
        cmocka_unit_test(the_index_lists_documents_that_exist),
        cmocka_unit_test(what_is_ours_is_described),
        cmocka_unit_test(schemas_say_what_the_tables_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
