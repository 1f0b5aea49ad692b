/* If these fail, a client that hangs up takes the server with it or leaks a write each time, a
 * write is answered twice, or a patch puts something into the registry that is no object. */
#include "registry/apiserver/api_testing.h"

#include "registry/apiserver/internal.h"

static int setup_quotas(void **state)
{
    struct fixture *f = fixture_settling(1, 1);
    struct reg_status st;
    do {
        env_uv_turn(f->env, 10);
        reg_node_status(f->node, &st);
    } while (st.version < VERSION_QUOTAS);
    expect(f, 201, "POST", "/api/v1/namespaces", JSON,
           "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"default\"}}",
           "Active");
    *state = f;
    return 0;
}

static int setup_no_quorum(void **state)
{
    *state = fixture_new(3);
    return 0;
}

struct outcome {
    unsigned answers, failures;
};

static void count_answer(void *ctx, const struct http_response *r)
{
    (void)r;
    ((struct outcome *)ctx)->answers++;
}

static void count_failure(void *ctx, const struct err *err)
{
    (void)err;
    ((struct outcome *)ctx)->failures++;
}

static struct http_call *begin(struct fixture *f, struct outcome *o, const char *method,
                               const char *path, const char *type, const char *body)
{
    struct http_call *call_ =
        http_call_start(f->http.client, &(struct http_call_options){.method = slice_of(method),
                                                                    .addrs = apiserver_addr(f->api),
                                                                    .addr_n = 1,
                                                                    .authority = S("weft"),
                                                                    .path = slice_of(path),
                                                                    .content_type = slice_of(type),
                                                                    .body = slice_of(body),
                                                                    .timeout = 10000,
                                                                    .on_done = count_answer,
                                                                    .on_fail = count_failure,
                                                                    .ctx = o});
    size_t before = f->api->write_count;
    unsigned known = o->answers + o->failures;
    while (f->api->write_count == before && o->answers + o->failures == known) /* both in a turn */
        env_uv_turn(f->env, 1000);
    return call_;
}

static const struct {
    const char *method, *path, *type, *body;
} writes[] = {
    {"POST", "/api/v1/namespaces", JSON,
     "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"x\"}}"},
    {"POST", "/weft/v1/batch", JSON,
     "{\"items\":[{\"verb\":\"apply\",\"object\":{\"apiVersion\":\"v1\",\"kind\":\"Namespace\","
     "\"metadata\":{\"name\":\"y\"}}},{\"verb\":\"create\",\"object\":{\"apiVersion\":\"v1\","
     "\"kind\":\"Namespace\",\"metadata\":{\"name\":\"z\"}}}]}"},
};

static void test_client_hangs_up_while_its_write_waits(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(writes); i++) {
        struct outcome o = {0};
        struct http_call *call_ =
            begin(f, &o, writes[i].method, writes[i].path, writes[i].type, writes[i].body);
        http_call_cancel(call_);
        while (f->api->write_count) /* the registry gives up, nobody is answered */
            env_uv_turn(f->env, 1000);
        assert_int_equal(o.answers + o.failures, 0);
    }
}

static void test_no_quorum_is_said(void **state)
{
    struct fixture *f = *state;
    expect(f, 503, writes[0].method, writes[0].path, JSON, writes[0].body, "ServiceUnavailable");
    expect(f, 503, "GET", "/readyz", "", "", "no quorum");
    expect(f, 200, "GET", "/livez", "", "", "ok");
    expect(f, 503, "GET", "/api/v1/namespaces", "", "", "no state yet"); /* it never had one */
}

/* Clients are cut, and what the registry answers afterwards finds nobody. */
static void test_server_ends_while_writes_wait(void **state)
{
    struct fixture *f = *state;
    struct outcome o = {0};
    for (size_t i = 0; i < ARRAY_LEN(writes); i++)
        begin(f, &o, writes[i].method, writes[i].path, writes[i].type, writes[i].body);
    apiserver_free(f->api);
    f->api = NULL;
    while (o.failures < ARRAY_LEN(writes))
        env_uv_turn(f->env, 1000);
    assert_int_equal(o.answers, 0);
}

static void test_clients_hang_up_at_any_moment(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 60; i++) {
        struct outcome o = {0};
        char body[256];
        snprintf(body, sizeof(body),
                 "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"n%u\"}}",
                 i);
        struct http_call *call_ = begin(f, &o, "POST", "/api/v1/namespaces", JSON, body);
        for (unsigned k = 0; k < i % 4; k++)
            env_uv_turn(f->env, 0);
        if (o.answers == 0)
            http_call_cancel(call_);
        while (f->api->write_count)
            env_uv_turn(f->env, 1000);
        assert_true(o.answers <= 1);
        assert_int_equal(o.failures, 0);
    }
    expect(f, 200, "GET", "/api/v1/namespaces", "", "", "NamespaceList");
}

static void test_too_many_writes(void **state)
{
    struct fixture *f = *state;
    f->api->write_count += API_WRITES_MAX;
    expect(f, 429, "POST", VS, JSON, VS_BODY("a", "1"), "TooManyRequests");
    expect(f, 429, "PUT", VS "/a", JSON, VS_BODY("a", "1"), "TooManyRequests");
    expect(f, 429, "PATCH", VS "/a", "application/merge-patch+json", "{}", "TooManyRequests");
    expect(f, 429, "DELETE", VS "/a", "", "", "TooManyRequests");
    expect(f, 429, "DELETE", VS, "", "", "TooManyRequests");
    expect(f, 429, "POST", "/weft/v1/batch", JSON, "{\"items\":[]}", "TooManyRequests");
    assert_int_equal(metric_value(f->api->cells.writes_refused), 6);
    f->api->write_count -= API_WRITES_MAX;
    expect(f, 201, "POST", VS, JSON, VS_BODY("a", "1"), NULL);
}

/* Whatever a patch makes of it, an object stays an object. */
static void test_patches_that_break_the_object(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *path, *type, *body;
    } rows[] = {
        {VS "/a", "application/json-patch+json",
         "[{\"op\":\"replace\",\"path\":\"\",\"value\":5}]"},
        {VS "/a", "application/json-patch+json",
         "[{\"op\":\"replace\",\"path\":\"/metadata\",\"value\":\"m\"}]"},
        {VS "/a", "application/json-patch+json",
         "[{\"op\":\"replace\",\"path\":\"/metadata/labels\",\"value\":[1]}]"},
        {VS "/a", "application/merge-patch+json", "{\"metadata\":5}"},
        {VS "/a", "application/merge-patch+json", "{\"kind\":\"Service\"}"},
        {VS "/a", "application/merge-patch+json", "{\"apiVersion\":\"v1\"}"},
        {VS "/a", "application/merge-patch+json", "{\"metadata\":{\"name\":\"b\"}}"},
        {VS "/a", "application/merge-patch+json", "{\"spec\":null}"},
        {VS "/a", "application/merge-patch+json", "[]"},
        {VS "/a/status", "application/merge-patch+json", "{\"status\":5}"},
        {VS "/a/status", "application/merge-patch+json", "{\"status\":null}"},
        {VS "/a/status", "application/merge-patch+json", "5"},
        {VS "/a/status", "application/json-patch+json",
         "[{\"op\":\"replace\",\"path\":\"\",\"value\":[]}]"},
    };
    expect(f, 201, "POST", VS, JSON, VS_BODY("a", "1"), NULL);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int status = call(f, "PATCH", rows[i].path, rows[i].type, rows[i].body);
        struct err err = {0};
        assert_int_equal(call(f, "GET", VS "/a", "", ""), 200);
        json_t *o = json_parse(slice_of(text(f)), &err);
        bool whole = slice_eq(json_str(o, "kind"), S("VirtualService")) &&
                     slice_eq(json_str(o, "metadata.name"), S("a")) &&
                     slice_eq(json_str(o, "apiVersion"), S("networking.istio.io/v1")) &&
                     json_is_object(json_at(o, "spec")) && json_is_object(json_at(o, "status"));
        if (!whole || status >= 500)
            fail_msg("%s %s: %d, then %s", rows[i].path, rows[i].body, status, text(f));
        json_decref(o);
    }
}

/* However it was written, it is stored in one version and read in any. */
static void test_versions_of_a_write(void **state)
{
    struct fixture *f = *state;
    static const char body[] =
        "{\"apiVersion\":\"networking.istio.io/v1beta1\",\"kind\":\"VirtualService\",\"metadata\":{"
        "\"name\":\"a\"},\"spec\":{\"hosts\":[\"a\"],\"http\":[{\"route\":[{\"destination\":{"
        "\"host\":\"a\"}}]}]}}";
    static const char beta[] =
        "/apis/networking.istio.io/v1beta1/namespaces/default/virtualservices";
    expect(f, 201, "POST", beta, JSON, body, "networking.istio.io/v1beta1");
    expect(f, 200, "GET", VS "/a", "", "", "\"networking.istio.io/v1\"");
    expect(f, 200, "POST", "/weft/v1/batch", JSON,
           "{\"items\":[{\"verb\":\"apply\",\"object\":" VS_BODY("a", "3") "}]}", "configured");
    expect(f, 200, "GET", VS, "", "", "\"networking.istio.io/v1\"");
    assert_null(strstr(text(f), "v1beta1"));
}

#define SHOP "/apis/networking.istio.io/v1/namespaces/shop/virtualservices"

/* Refused by name, with the way out, and shown; not at the neighbour's. */
static void test_a_namespace_has_a_quota(void **state)
{
    struct fixture *f = *state;
    expect(f, 422, "POST", "/api/v1/namespaces", JSON,
           "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"shop\","
           "\"annotations\":{\"weft.dev/quota-objects\":\"two\"}}}",
           "must be a number of objects");
    expect(f, 201, "POST", "/api/v1/namespaces", JSON,
           "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"shop\","
           "\"annotations\":{\"weft.dev/quota-objects\":\"2\"}}}",
           NULL);
    expect(f, 201, "POST", SHOP, JSON, VS_BODY("a", "1"), NULL);
    expect(f, 201, "POST", SHOP, JSON, VS_BODY("b", "1"), NULL);
    expect(f, 507, "POST", SHOP, JSON, VS_BODY("c", "1"),
           "namespace shop has 2 of 2 objects, and this would make it more than its quota");
    expect(f, 201, "POST", VS, JSON, VS_BODY("c", "1"), NULL);
    expect(f, 200, "GET", "/weft/v1/status", "", "", "\"namespaceQuotas\":{\"shop\":");
    assert_non_null(strstr(text(f), "\"full\":true,\"objects\":2,\"objectsMax\":2"));
    expect(f, 200, "PUT", SHOP "/a", JSON, VS_BODY("a", "100"), NULL);
    expect(f, 200, "DELETE", SHOP "/a", "", "", NULL);
    expect(f, 201, "POST", SHOP, JSON, VS_BODY("c", "1"), NULL);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define CASE_NO_QUORUM(name) cmocka_unit_test_setup_teardown(name, setup_no_quorum, teardown)
    const struct CMUnitTest tests[] = {
        CASE_NO_QUORUM(test_client_hangs_up_while_its_write_waits),
        CASE_NO_QUORUM(test_no_quorum_is_said),
        CASE_NO_QUORUM(test_server_ends_while_writes_wait),
        CASE(test_clients_hang_up_at_any_moment),
        CASE(test_too_many_writes),
        CASE(test_patches_that_break_the_object),
        CASE(test_versions_of_a_write),
        cmocka_unit_test_setup_teardown(test_a_namespace_has_a_quota, setup_quotas, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
