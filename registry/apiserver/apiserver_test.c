/* If these fail, kubectl and our own CLI get wrong answers: an object that is not there, a change
 * that was refused but done, half of a batch, a watch that misses or repeats. One node, real HTTP,
 * in this process. */
#include "registry/apiserver/api_testing.h"

/* Cases. */

static void test_life_of_an_object(void **state)
{
    struct fixture *f = *state;
    expect(f, 404, "GET", VS "/a", "", "", "\"reason\":\"NotFound\"");
    expect(f, 201, "POST", VS, JSON, VS_BODY("a", "100"), "\"generation\":1");
    expect(f, 409, "POST", VS, JSON, VS_BODY("a", "100"), "\"reason\":\"AlreadyExists\"");
    expect(f, 200, "GET", VS "/a", "", "", "\"uid\":");
    expect(f, 200, "PUT", VS "/a", JSON, VS_BODY("a", "50"), "\"generation\":2");
    expect(f, 200, "PATCH", VS "/a", "application/merge-patch+json",
           "{\"metadata\":{\"labels\":{\"x\":\"y\"}}}", "\"x\":\"y\"");
    expect(f, 200, "GET", VS "/a", "", "", "\"generation\":2");
    expect(f, 200, "PATCH", VS "/a", "application/json-patch+json",
           "[{\"op\":\"replace\",\"path\":\"/spec/http/0/route/0/weight\",\"value\":7}]",
           "\"weight\":7");
    expect(f, 415, "PATCH", VS "/a", "application/strategic-merge-patch+json", "{}",
           "UnsupportedMediaType");
    expect(f, 415, "PATCH", VS "/a", "application/apply-patch+yaml", "{}", "UnsupportedMediaType");
    expect(f, 200, "DELETE", VS "/a", "", "", "\"status\":\"Success\"");
    expect(f, 404, "DELETE", VS "/a", "", "", "NotFound");
}

static void test_conflict(void **state)
{
    struct fixture *f = *state;
    expect(f, 201, "POST", VS, JSON, VS_BODY("a", "1"), NULL);
    expect(f, 409, "PATCH", VS "/a", "application/merge-patch+json",
           "{\"metadata\":{\"resourceVersion\":\"1\"},\"spec\":{\"hosts\":[\"b\"]}}",
           "\"reason\":\"Conflict\"");
    expect(f, 200, "GET", VS "/a", "", "", "\"hosts\":[\"a\"]");
}

static void test_refusals_name_field_and_reason(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int status;
        const char *path, *body, *part;
    } rows[] = {
        {400, VS, "{", "line 1"},
        {400, VS, "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"a\"}}",
         "Service"},
        {422, VS, VS_BODY("a", "-1"), "spec.http[0].route[0].weight"},
        {400, VS, VS_BODY("UPPER", "1"), "DNS subdomain"},
        {422, VS "?fieldValidation=Strict",
         "{\"apiVersion\":\"networking.istio.io/"
         "v1\",\"kind\":\"VirtualService\",\"metadata\":{\"name\":\"a\"},"
         "\"spec\":{\"hosts\":[\"a\"],\"htp\":[]}}",
         "spec.htp"},
        {404, "/apis/networking.istio.io/v1/namespaces/nowhere/virtualservices", VS_BODY("a", "1"),
         "nowhere"},
        {404, "/apis/networking.istio.io/v9/namespaces/default/virtualservices", VS_BODY("a", "1"),
         NULL},
        {400, VS "?dryRun=Some", VS_BODY("a", "1"), "dryRun"},
        {400, VS "?fieldValidation=Maybe", VS_BODY("a", "1"), "fieldValidation"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect(f, rows[i].status, "POST", rows[i].path, JSON, rows[i].body, rows[i].part);
    expect(f, 200, "GET", VS, "", "", "\"items\":[]");
}

static void test_warnings_travel_back(void **state)
{
    struct fixture *f = *state;
    expect(f, 201, "POST", VS, JSON,
           "{\"apiVersion\":\"networking.istio.io/"
           "v1\",\"kind\":\"VirtualService\",\"metadata\":{\"name\":\"a\"},"
           "\"spec\":{\"hosts\":[\"a\"],\"htp\":[],\"http\":[{\"route\":[{\"destination\":{"
           "\"host\":\"gone\"}}]}]}}",
           NULL);
    assert_non_null(strstr(f->http.warnings.p, "htp"));
    assert_non_null(strstr(f->http.warnings.p, "WFT0101"));
}

static void test_dry_run_changes_nothing(void **state)
{
    struct fixture *f = *state;
    expect(
        f, 201, "POST", VS, JSON,
        "{\"apiVersion\":\"networking.istio.io/v1\",\"kind\":\"VirtualService\",\"metadata\":{"
        "\"name\":\"d\",\"annotations\":{},\"labels\":{}},\"spec\":{\"hosts\":[\"d\"],\"http\":[{"
        "\"route\":[{\"destination\":{\"host\":\"d\"}}]}]}}",
        "Distributing");
    assert_null(strstr(text(f), "annotations"));
    assert_null(strstr(text(f), "labels"));
    /* What a diff compares is what the user changes, not what becomes of it. */
    expect(f, 200, "PATCH", VS "/d?dryRun=All", "application/merge-patch+json",
           "{\"metadata\":{\"annotations\":{}},\"spec\":{\"hosts\":[\"e\"]}}",
           "\"observedGeneration\":1");
    assert_null(strstr(text(f), "annotations"));
    expect(f, 200, "DELETE", VS "/d", "", "", NULL);
    expect(f, 201, "POST", VS "?dryRun=All", JSON, VS_BODY("a", "1"), "\"uid\"");
    expect(f, 404, "GET", VS "/a", "", "", NULL);
    expect(f, 200, "POST", "/weft/v1/batch?dryRun=All", JSON,
           "{\"items\":[{\"verb\":\"apply\",\"object\":" VS_BODY("a", "1") "}]}",
           "\"dryRun\":true");
    expect(f, 404, "GET", VS "/a", "", "", NULL);
}

#define ITEM(verb, object) "{\"verb\":\"" verb "\",\"object\":" object "}"

static void test_batch_is_atomic(void **state)
{
    struct fixture *f = *state;
    expect(
        f, 200, "POST", "/weft/v1/batch", JSON,
        "{\"items\":[" ITEM("apply", VS_BODY("a", "1")) "," ITEM("create", VS_BODY("b", "1")) "]}",
        "\"result\":\"created\"");
    expect(
        f, 422, "POST", "/weft/v1/batch", JSON,
        "{\"items\":[" ITEM("apply", VS_BODY("a", "2")) "," ITEM("apply", VS_BODY("c", "-2")) "]}",
        "items[1].spec.http[0].route[0].weight");
    /* A warning says of which object it is, too. */
    expect(f, 200, "POST", "/weft/v1/batch?dryRun=All", JSON,
           "{\"items\":[" ITEM(
               "apply", "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\","
                        "\"metadata\":{\"name\":\"n\"}}") "," ITEM("apply", VS_BODY("c", "1")) "]}",
           "\"items[1].spec");
    expect(
        f, 409, "POST", "/weft/v1/batch", JSON,
        "{\"items\":[" ITEM("apply", VS_BODY("a", "2")) "," ITEM("create", VS_BODY("b", "2")) "]}",
        "AlreadyExists");
    expect(f, 200, "GET", VS "/a", "", "", "\"weight\":1");
    expect(
        f, 400, "POST", "/weft/v1/batch", JSON,
        "{\"items\":[" ITEM("apply", VS_BODY("a", "2")) "," ITEM("delete", VS_BODY("a", "2")) "]}",
        "twice");
    expect(f, 200, "POST", "/weft/v1/batch", JSON,
           "{\"items\":[" ITEM("apply", VS_BODY("a", "1")) "]}", "unchanged");
    expect(
        f, 200, "POST", "/weft/v1/batch", JSON,
        "{\"items\":[" ITEM("delete", VS_BODY("a", "1")) "," ITEM("delete", VS_BODY("b", "1")) "]}",
        "deleted");
    expect(f, 200, "GET", VS, "", "", "\"items\":[]");
}

static void test_list_pages_and_selectors(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    expect(f, 201, "POST", VS, JSON, VS_BODY("a", "1"), NULL);
    expect(f, 201, "POST", VS, JSON, VS_BODY("b", "1"), NULL);
    expect(f, 201, "POST", VS, JSON, VS_BODY("c", "1"), NULL);
    expect(f, 200, "GET", VS "?limit=2", "", "", "\"continue\":");
    assert_null(strstr(text(f), "\"name\":\"c\""));
    json_t *list = json_parse(slice_of(text(f)), &err);
    char path[512];
    snprintf(path, sizeof(path), VS "?limit=2&continue=%s",
             json_string_value(json_at(list, "metadata.continue")));
    json_decref(list);
    expect(f, 200, "GET", path, "", "", "\"name\":\"c\"");
    assert_null(strstr(text(f), "\"name\":\"b\""));
    expect(f, 400, "GET", VS "?continue=***", "", "", "continue");
    expect(f, 200, "GET", VS "?labelSelector=app%3Db", "", "", "\"name\":\"b\"");
    assert_null(strstr(text(f), "\"name\":\"a\""));
    expect(f, 200, "GET", VS "?fieldSelector=metadata.name%3Dc", "", "", "\"name\":\"c\"");
    expect(f, 200, "DELETE", VS "?labelSelector=app%20in%20(a,b)", "", "", "Success");
    expect(f, 200, "GET", VS, "", "", "\"name\":\"c\"");
    assert_null(strstr(text(f), "\"name\":\"a\""));
}

static void test_versions_and_discovery(void **state)
{
    struct fixture *f = *state;
    expect(f, 201, "POST", VS, JSON, VS_BODY("a", "1"), NULL);
    expect(f, 200, "GET", "/apis/networking.istio.io/v1beta1/namespaces/default/virtualservices/a",
           "", "", "networking.istio.io/v1beta1");
    expect(f, 200, "GET", "/apis", "", "", "networking.istio.io");
    expect(f, 200, "GET", "/api/v1", "", "", "services");
    expect(f, 200, "GET", "/openapi/v3", "", "", "apis/networking.istio.io/v1");
    expect(f, 200, "GET", "/openapi/v2", "", "", "\"swagger\":\"2.0\"");
    expect(f, 404, "GET", "/apis/none.example/v1", "", "", NULL);
    expect(f, 200, "GET", "/weft/v1/status", "", "", "\"quorum\":true");
    assert_non_null(strstr(text(f), "\"oldest\":0"));
}

static void test_status_subresource(void **state)
{
    struct fixture *f = *state;
    expect(f, 201, "POST", VS, JSON, VS_BODY("a", "1"), "Distributing");
    expect(f, 200, "PATCH", VS "/a/status", "application/merge-patch+json",
           "{\"spec\":{\"hosts\":[\"z\"]},\"status\":{\"x\":1}}", "\"x\":1");
    expect(f, 200, "GET", VS "/a", "", "", "\"hosts\":[\"a\"]");
    expect(f, 200, "PATCH", VS "/a", "application/merge-patch+json", "{\"status\":{\"x\":2}}",
           "\"x\":1");
}

#define SHOP "/api/v1/namespaces/shop"
#define SHOP_BODY "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"shop\"}}"
#define SHOP_VS "/apis/networking.istio.io/v1/namespaces/shop/virtualservices"

/* Wrong: a batch deletes a namespace and leaves orphans, or puts something into it. */
static void test_namespace_in_a_batch(void **state)
{
    struct fixture *f = *state;
    expect(f, 201, "POST", "/api/v1/namespaces", JSON, SHOP_BODY, NULL);
    expect(f, 201, "POST", SHOP_VS, JSON, VS_BODY("a", "1"), NULL);
    expect(f, 201, "POST", SHOP_VS, JSON, VS_BODY("b", "1"), NULL);
    expect(
        f, 404, "POST", "/weft/v1/batch", JSON,
        "{\"items\":[" ITEM("delete", SHOP_BODY) ",{\"verb\":\"create\",\"object\":{\"apiVersion\":"
                                                 "\"v1\",\"kind\":\"Service\",\"metadata\":{"
                                                 "\"name\":\"s\",\"namespace\":\"shop\"},\"spec\":{"
                                                 "\"ports\":[{\"port\":80}]}}}]}",
        "namespaces");
    expect(f, 200, "GET", SHOP_VS "/a", "", "", NULL);
    expect(
        f, 200, "POST", "/weft/v1/batch", JSON,
        "{\"items\":[{\"verb\":\"delete\",\"object\":{\"apiVersion\":\"networking.istio.io/v1\","
        "\"kind\":\"VirtualService\",\"metadata\":{\"name\":\"b\",\"namespace\":\"shop\"}}}," ITEM(
            "delete", SHOP_BODY) "]}",
        "\"name\":\"shop\"");
    assert_null(strstr(text(f), "\"name\":\"a\"")); /* the answer is of what was asked for */
    expect(f, 200, "GET", "/apis/networking.istio.io/v1/virtualservices", "", "", "\"items\":[]");
    expect(f, 404, "GET", SHOP, "", "", NULL);
}

/* Wrong: a deletion that names no object by itself deletes one, or another than was meant. */
static void test_deletions_that_are_none(void **state)
{
    struct fixture *f = *state;
    expect(f, 201, "POST", "/api/v1/namespaces", JSON, SHOP_BODY, NULL);
    expect(f, 201, "POST", SHOP_VS, JSON, VS_BODY("a", "1"), NULL);
    expect(f, 501, "DELETE", SHOP "/status", "", "", NULL);
    expect(f, 501, "DELETE", SHOP_VS "/a/status", "", "", NULL);
    expect(f, 501, "DELETE", "/api/v1/namespaces", "", "", NULL);
    expect(f, 409, "DELETE", SHOP_VS "/a", JSON, "{\"preconditions\":{\"uid\":\"another\"}}",
           "uid");
    expect(f, 200, "GET", SHOP_VS "/a", "", "", NULL);
}

static void test_namespace_takes_its_objects_along(void **state)
{
    struct fixture *f = *state;
    expect(f, 201, "POST", "/api/v1/namespaces", JSON,
           "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"shop\"}}", NULL);
    expect(f, 201, "POST", "/apis/networking.istio.io/v1/namespaces/shop/virtualservices", JSON,
           VS_BODY("a", "1"), NULL);
    expect(f, 200, "DELETE", "/api/v1/namespaces/shop", "", "", "Success");
    expect(f, 200, "GET", "/apis/networking.istio.io/v1/virtualservices", "", "", "\"items\":[]");
}

/* count Services in a namespace, in batches. */
static void fill_namespace(struct fixture *f, const char *ns, size_t count)
{
    for (size_t i = 0; i < count;) {
        struct buf body = {0};
        buf_append(&body, S("{\"items\":["));
        for (size_t n = 0; n < 1000 && i < count; n++, i++)
            buf_printf(
                &body,
                "%s{\"verb\":\"apply\",\"object\":{\"apiVersion\":\"v1\",\"kind\":"
                "\"Service\",\"metadata\":{\"name\":\"s%zu\",\"namespace\":\"%s\",\"labels\":{"
                "\"even\":\"%d\"}},\"spec\":{\"ports\":[{\"port\":80}]}}}",
                n ? "," : "", i, ns, i % 2 == 0);
        buf_append(&body, S("]}"));
        buf_append_byte(&body, 0);
        expect(f, 200, "POST", "/weft/v1/batch", JSON, body.p, NULL);
        buf_fini(&body);
    }
}

static size_t count_services(struct fixture *f, const char *ns)
{
    struct err err = {0};
    char path[256];
    snprintf(path, sizeof(path), "/api/v1/namespaces/%s/services", ns);
    expect(f, 200, "GET", path, "", "", "items");
    json_t *list = json_parse(slice_of(text(f)), &err);
    size_t n = json_array_size(json_object_get(list, "items"));
    json_decref(list);
    return n;
}

/* Wrong: what holds more than one entry does cannot be deleted; or a deletion that is refused has
 * begun. */
static void test_large_deletions(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 2 * REG_REQUEST_OPS_MAX + 100 };
    expect(f, 201, "POST", "/api/v1/namespaces", JSON,
           "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"shop\"}}", NULL);
    fill_namespace(f, "shop", COUNT);
    fill_namespace(f, "default", 3);
    expect(f, 409, "DELETE", SHOP, JSON, "{\"preconditions\":{\"resourceVersion\":\"1\"}}", NULL);
    expect(f, 200, "DELETE", SHOP "?dryRun=All", "", "", NULL);
    expect(f, 200, "DELETE", SHOP "/services?dryRun=All", "", "", NULL);
    expect(f, 403, "DELETE", "/api/v1/namespaces/default", "", "", "may not be deleted");
    assert_int_equal(count_services(f, "shop"), COUNT);
    expect(f, 200, "DELETE", SHOP "/services?labelSelector=even%3D1", "", "", "Success");
    assert_int_equal(count_services(f, "shop"), COUNT / 2);
    expect(f, 429, "POST", "/weft/v1/batch", JSON, "{\"items\":[" ITEM("delete", SHOP_BODY) "]}",
           "delete the namespace by itself");
    assert_int_equal(count_services(f, "shop"), COUNT / 2);
    expect(f, 200, "DELETE", SHOP, "", "", "\"name\":\"shop\"");
    expect(f, 404, "GET", SHOP, "", "", NULL);
    assert_int_equal(count_services(f, "shop"), 0);
    assert_int_equal(count_services(f, "default"), 3);
    fill_namespace(f, "default", COUNT);
    expect(f, 200, "DELETE", "/api/v1/services", "", "", "Success");
    assert_int_equal(count_services(f, "default"), 0);
}

static reg_rev revision_of(struct fixture *f)
{
    struct reg_txn txn;
    struct err err = {0};
    assert_true(reg_txn_begin(reg_node_store(f->node), &txn, &err));
    reg_rev revision = txn.revision;
    reg_txn_end(&txn);
    return revision;
}

static void never(void *ctx, const struct http_response *r)
{
    (void)ctx, (void)r;
    fail_msg("an answer for who has left");
}

static void never_fails(void *ctx, const struct err *err)
{
    (void)ctx;
    fail_msg("%s", err->msg);
}

/* Wrong: a client that leaves between two entries takes the server with it. */
static void test_client_leaves_a_large_deletion(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 2 * REG_REQUEST_OPS_MAX + 100 };
    fill_namespace(f, "default", COUNT);
    reg_rev before = revision_of(f);
    struct http_call *c =
        http_call_start(f->http.client, &(struct http_call_options){.method = S("DELETE"),
                                                                    .addrs = apiserver_addr(f->api),
                                                                    .addr_n = 1,
                                                                    .authority = S("weft"),
                                                                    .path = S("/api/v1/services"),
                                                                    .timeout = 10000,
                                                                    .response_bytes_max = 1 << 20,
                                                                    .on_done = never,
                                                                    .on_fail = never_fails,
                                                                    .ctx = f});
    while (revision_of(f) == before)
        env_uv_turn(f->env, 1);
    http_call_cancel(c);
    expect(f, 200, "DELETE", "/api/v1/services", "", "", "Success");
    assert_int_equal(count_services(f, "default"), 0);
}

/* Watches. */

static void test_watch_from_a_revision(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct watcher w = {0};
    char path[256];
    expect(f, 201, "POST", VS, JSON, VS_BODY("a", "1"), NULL);
    json_t *o = json_parse(slice_of(text(f)), &err);
    snprintf(path, sizeof(path), VS "?watch=1&labelSelector=app%%3Da&resourceVersion=%s",
             json_string_value(json_at(o, "metadata.resourceVersion")));
    json_decref(o);
    struct http_call *call_ = watch(f, &w, path);
    expect(f, 201, "POST", VS, JSON, VS_BODY("b", "1"), NULL); /* not selected */
    expect(f, 200, "PUT", VS "/a", JSON, VS_BODY("a", "2"), NULL);
    expect(f, 200, "PATCH", VS "/a", "application/merge-patch+json",
           "{\"metadata\":{\"labels\":{\"app\":\"z\"}}}", NULL); /* leaves the selection */
    expect(f, 200, "PATCH", VS "/a", "application/merge-patch+json",
           "{\"metadata\":{\"labels\":{\"app\":\"a\"}}}", NULL); /* enters it */
    expect(f, 200, "DELETE", VS "/a", "", "", NULL);
    until_lines(f, &w, 4);
    const char *p = w.lines.p;
    assert_memory_equal(p, "{\"type\":\"MODIFIED\"", 18);
    assert_non_null(p = strchr(p, '\n') + 1);
    assert_memory_equal(p, "{\"type\":\"DELETED\"", 17);
    p = strchr(p, '\n') + 1;
    assert_memory_equal(p, "{\"type\":\"ADDED\"", 15);
    p = strchr(p, '\n') + 1;
    assert_memory_equal(p, "{\"type\":\"DELETED\"", 17);
    http_call_cancel(call_);
    buf_fini(&w.lines);
}

static void test_watch_initial_events_and_gone(void **state)
{
    struct fixture *f = *state;
    struct watcher w = {0}, old = {0};
    expect(f, 201, "POST", VS, JSON, VS_BODY("a", "1"), NULL);
    struct http_call *call_ = watch(f, &w,
                                    VS "?watch=1&sendInitialEvents=true&resourceVersionMatch="
                                       "NotOlderThan&allowWatchBookmarks=true");
    until_lines(f, &w, 2);
    assert_memory_equal(w.lines.p, "{\"type\":\"ADDED\"", 15);
    assert_non_null(strstr(w.lines.p, "k8s.io/initial-events-end"));
    http_call_cancel(call_);
    for (int i = 0; i < 60; i++) { /* past the window of 50 changes */
        char body[512];
        snprintf(body, sizeof(body), "{\"metadata\":{\"labels\":{\"n\":\"%d\"}}}", i);
        expect(f, 200, "PATCH", VS "/a", "application/merge-patch+json", body, NULL);
    }
    expect(f, 410, "GET", VS "?watch=1&resourceVersion=1", "", "", "\"reason\":\"Expired\"");
    buf_fini(&w.lines);
    buf_fini(&old.lines);
}

static void test_future_revision_waits(void **state)
{
    struct fixture *f = *state;
    expect(f, 504, "GET", VS "?resourceVersion=100000", "", "", "Too large resource version");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life_of_an_object, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conflict, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals_name_field_and_reason, setup, teardown),
        cmocka_unit_test_setup_teardown(test_warnings_travel_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dry_run_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batch_is_atomic, setup, teardown),
        cmocka_unit_test_setup_teardown(test_list_pages_and_selectors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_versions_and_discovery, setup, teardown),
        cmocka_unit_test_setup_teardown(test_status_subresource, setup, teardown),
        cmocka_unit_test_setup_teardown(test_namespace_takes_its_objects_along, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_deletions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_client_leaves_a_large_deletion, setup, teardown),
        cmocka_unit_test_setup_teardown(test_namespace_in_a_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deletions_that_are_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watch_from_a_revision, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watch_initial_events_and_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_future_revision_waits, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
