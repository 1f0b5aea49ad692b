/* If these fail, a request that is sent again because its answer was lost is done twice, or the one
 * that is sent again gets another answer than the first. */
#include "registry/apiserver/api_testing.h"

#define KEY "idempotency-key"

static char *answer_of(struct fixture *f, const char *key, int status, const char *method,
                       const char *path, const char *body)
{
    expect_with(f, KEY, key, status, method, path, body, NULL);
    char *answer = strdup(text(f)), *warnings = strstr(answer, ",\"warnings\":");
    if (warnings) /* of the analysis: the second time nothing is analysed */
        *warnings = 0;
    return answer;
}

/* Each kind of write, twice, with changes by others between. */
static void test_same_answer(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *method, *path, *body;
        int status;
    } rows[] = {
        {"POST", VS, VS_BODY("new", "1"), 201},
        {"PUT", VS "/a", VS_BODY("a", "50"), 200},
        {"PUT", VS "/a", VS_BODY("a", "50"), 200}, /* changes nothing */
        {"POST", VS, VS_BODY("a", "1"), 409},
        {"PUT", VS "/none", VS_BODY("none", "1"), 404},
        {"DELETE", VS "/none", "", 404},
        {"POST", "/weft/v1/transaction",
         "{\"items\":[{\"verb\":\"apply\",\"object\":" VS_BODY("b", "3") "},{\"verb\":\"apply\","
                                                                         "\"object\":" VS_BODY(
                                                                             "a", "50") "}]}",
         200},
        {"POST", "/weft/v1/transaction",
         "{\"items\":[{\"verb\":\"create\",\"object\":" VS_BODY("a", "3") "}]}", 409},
        {"DELETE", VS "/b", "", 200},
    };
    expect(f, 201, "POST", VS, JSON, VS_BODY("a", "1"), NULL);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *key = with("row-%zu", i);
        char *first = answer_of(f, key, rows[i].status, rows[i].method, rows[i].path, rows[i].body);
        reg_rev revision = rows[i].status < 300 ? answer_revision(f) : 0;
        assert_null(strstr(f->http.head.p, "idempotent-replayed"));
        call(f, "DELETE", VS "/new", "", "");
        call(f, "PUT", VS "/a", JSON, VS_BODY("a", "99"));
        call(f, "DELETE", VS "/b", "", "");
        call(f, "POST", VS, JSON, VS_BODY("none", "1"));
        char *again = answer_of(f, key, rows[i].status, rows[i].method, rows[i].path, rows[i].body);
        expect_head(f, "idempotent-replayed: true\n");
        if (revision)
            assert_int_equal(answer_revision(f), revision);
        assert_string_equal(again, first);
        expect(f, 404, "GET", VS "/new", "", "", NULL);
        expect(f, 200, "GET", VS "/a", "", "", "\"weight\":99");
        call(f, "DELETE", VS "/none", "", "");
        call(f, "PUT", VS "/a", JSON, VS_BODY("a", "50"));
        call(f, "POST", VS, JSON, VS_BODY("b", "1"));
        free(first);
        free(again);
    }
}

static void test_another_request(void **state)
{
    struct fixture *f = *state;
    expect_with(f, KEY, "k", 201, "POST", VS, VS_BODY("a", "1"), NULL);
    expect_with(f, KEY, "k", 422, "POST", VS, VS_BODY("b", "1"), "use a new key");
    expect_with(f, KEY, "k", 422, "DELETE", VS "/a", "", "another request");
    expect_with(f, KEY, "k2", 201, "POST", VS, VS_BODY("b", "1"), NULL);
    expect(f, 200, "GET", VS "/a", "", "", NULL);
}

static void test_keys(void **state)
{
    struct fixture *f = *state;
    char long_key[131];
    memset(long_key, 'k', 129);
    long_key[129] = 0;
    expect_with(f, KEY, long_key, 400, "POST", VS, VS_BODY("a", "1"), "1 to 128 printable");
    expect_with(f, KEY, "k\xc3\xa4", 400, "POST", VS, VS_BODY("a", "1"), "printable");
    expect(f, 404, "GET", VS "/a", "", "", NULL);
    long_key[128] = 0;
    expect_with(f, KEY, long_key, 201, "POST", VS, VS_BODY("a", "1"), NULL);
    /* A dry run takes no key up. */
    expect_with(f, KEY, "dry", 201, "POST", VS "?dryRun=All", VS_BODY("b", "1"), NULL);
    expect_with(f, KEY, "dry", 201, "POST", VS, VS_BODY("b", "1"), NULL);
    /* What is wrong with the request itself is not remembered. */
    expect_with(f, KEY, "bad", 422, "POST", VS, VS_BODY("c", "-1"), NULL);
    expect_with(f, KEY, "bad", 201, "POST", VS, VS_BODY("c", "1"), NULL);
}

static void test_generated_name(void **state)
{
    struct fixture *f = *state;
    static const char body[] =
        "{\"apiVersion\":\"networking.istio.io/v1\",\"kind\":\"VirtualService\",\"metadata\":{"
        "\"generateName\":\"g-\"},\"spec\":{\"hosts\":[\"a\"],\"http\":[{\"route\":[{"
        "\"destination\":{\"host\":\"a\"}}]}]}}";
    char *first = answer_of(f, "k", 201, "POST", VS, body);
    char *again = answer_of(f, "k", 201, "POST", VS, body);
    assert_string_equal(first, again);
    free(first);
    free(again);
}

/* Beyond the window of history (50 rows here) there is no object to show; it is not done again. */
static void test_beyond_the_history(void **state)
{
    struct fixture *f = *state;
    expect_with(f, KEY, "k", 201, "POST", VS, VS_BODY("a", "1"), NULL);
    reg_rev revision = answer_revision(f);
    for (int i = 2; i < 70; i++)
        expect(f, 200, "PUT", VS "/a", JSON,
               with("{\"apiVersion\":\"networking.istio.io/v1\",\"kind\":\"VirtualService\","
                    "\"metadata\":{\"name\":\"a\"},\"spec\":{\"hosts\":[\"a%d\"],\"http\":[{"
                    "\"route\":[{\"destination\":{\"host\":\"a\"}}]}]}}",
                    i),
               NULL);
    expect_with(f, KEY, "k", 200, "POST", VS, VS_BODY("a", "1"), "not kept any more");
    assert_int_equal(answer_revision(f), revision);
    expect(f, 200, "GET", VS "/a", "", "", "a69");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_request, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_generated_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_beyond_the_history, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
