/* If these fail, a transaction is done in part, is done although what it relied on has changed, or
 * does not say which of its preconditions does not hold. */
#include "registry/apiserver/api_testing.h"

#define TXN "/weft/v1/transaction"
#define REF(name)                                                                                  \
    "\"object\":{\"apiVersion\":\"networking.istio.io/v1\",\"kind\":\"VirtualService\","           \
    "\"metadata\":{\"name\":\"" name "\",\"namespace\":\"default\"}}"
#define PUT(verb, name, weight) "{\"verb\":\"" verb "\",\"object\":" VS_BODY(name, weight) "}"

static reg_rev make(struct fixture *f, const char *body)
{
    expect(f, 201, "POST", VS, JSON, body, NULL);
    return answer_revision(f);
}

static void test_all_or_nothing(void **state)
{
    struct fixture *f = *state;
    make(f, VS_BODY("a", "1"));
    make(f, VS_BODY("gone", "1"));
    expect(f, 200, "POST", TXN, JSON,
           "{\"items\":[" PUT("update", "a", "2") "," PUT("create", "b", "2") "," PUT(
               "apply", "c", "2") ",{\"verb\":\"delete\"," REF("gone") "}]}",
           "\"result\":\"configured\"");
    reg_rev rev = answer_revision(f);
    const char *seen = with("\"resourceVersion\":\"%llu\"", (unsigned long long)rev);
    expect(f, 200, "GET", VS "/a", "", "", seen);
    expect(f, 200, "GET", VS "/b", "", "", seen);
    expect(f, 200, "GET", VS "/c", "", "", seen);
    expect(f, 404, "GET", VS "/gone", "", "", NULL);
    /* The last one is refused: none is done. */
    expect(f, 409, "POST", TXN, JSON,
           "{\"items\":[" PUT("update", "a", "3") "," PUT("create", "b", "3") "]}", "items[1]");
    expect(f, 404, "POST", TXN, JSON,
           "{\"items\":[" PUT("create", "d", "3") "," PUT("update", "none", "3") "]}", "items[1]");
    expect(f, 422, "POST", TXN, JSON,
           "{\"items\":[" PUT("update", "a", "3") "," PUT("create", "d", "-1") "]}",
           "items[1].spec.http[0].route[0].weight");
    expect(f, 200, "GET", VS "/a", "", "", seen);
    expect(f, 404, "GET", VS "/d", "", "", NULL);
}

static void test_preconditions(void **state)
{
    struct fixture *f = *state;
    unsigned long long a = make(f, VS_BODY("a", "1")), b = make(f, VS_BODY("b", "1"));
    static const struct {
        int status;
        const char *checks; /* %llu: revision of b */
        const char *part;
    } rows[] = {
        {200, "{" REF("b") ",\"resourceVersion\":\"%llu\"}", "\"result\":\"configured\""},
        {200, "{" REF("b") ",\"exists\":true}", NULL},
        {200, "{" REF("none") ",\"absent\":true},{" REF("b") ",\"exists\":true}", NULL},
        {409, "{" REF("b") ",\"resourceVersion\":\"1%llu\"}", "preconditions[0]"},
        {404, "{" REF("none") ",\"exists\":true}", "preconditions[0]"},
        {404, "{" REF("none") ",\"resourceVersion\":\"%llu\"}", "\\\"none\\\" not found"},
        {409, "{" REF("none") ",\"absent\":true},{" REF("b") ",\"absent\":true}",
         "preconditions[1]"},
        {400, "{" REF("b") "}", "preconditions[0]: one of resourceVersion"},
        {400, "{" REF("b") ",\"absent\":true,\"exists\":true}", "one of"},
        {400, "{" REF("b") ",\"resourceVersion\":41}", "text of a revision"},
        {400, "{\"exists\":true}", "preconditions[0]: object: is required"},
        {400, "{" REF("a") ",\"exists\":true}", "is in the request twice"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char checks[512], weight[8];
        snprintf(checks, sizeof(checks), rows[i].checks, b);
        snprintf(weight, sizeof(weight), "%zu", i + 2);
        char *body = strdup(with("{\"items\":[" PUT("apply", "a", "%s") "],\"preconditions\":[%s]}",
                                 weight, checks));
        expect(f, rows[i].status, "POST", TXN, JSON, body, rows[i].part);
        expect(f, 200, "GET", VS "/a", "", "", NULL);
        if ((strstr(text(f), with("\"weight\":%s}", weight)) != NULL) != (rows[i].status == 200))
            fail_msg("row %zu: %s", i, text(f));
        free(body);
    }
    expect(f, 200, "GET", VS "/b", "", "", with("\"resourceVersion\":\"%llu\"", b));
    (void)a;
}

static void test_an_item_has_its_own(void **state)
{
    struct fixture *f = *state;
    unsigned long long a = make(f, VS_BODY("a", "1"));
    const char *with_a = "{\"items\":[{\"verb\":\"%s\",\"object\":" VS_BODY(
        "a", "7") ",\"precondition\":{\"resourceVersion\":\"%llu\"}}]}";
    expect(f, 409, "POST", TXN, JSON, with(with_a, "delete", a + 1), "items[0]");
    expect(f, 409, "POST", TXN, JSON, with(with_a, "apply", a + 1), "items[0]");
    expect(f, 200, "POST", TXN, JSON, with(with_a, "apply", a), "configured");
    unsigned long long now = answer_revision(f);
    expect(f, 409, "POST", TXN, JSON, with(with_a, "delete", a), "items[0]");
    expect(f, 200, "POST", TXN, JSON, with(with_a, "delete", now), "deleted");
    expect(f, 404, "POST", TXN, JSON, with(with_a, "apply", now), "items[0]");
    expect(f, 400, "POST", TXN, JSON, "{\"items\":[" PUT("patch", "a", "1") "]}",
           "verb: apply, create, update or delete");
}

/* A refusal on what the node has is looked at again with what there is; alone it cannot be. */
static int setup_alone(void **state)
{
    *state = fixture_new(3);
    return 0;
}

static void test_refusal_without_a_leader(void **state)
{
    struct fixture *f = *state;
    expect(f, 503, "POST", TXN, JSON, "{\"items\":[" PUT("update", "a", "1") "]}",
           "as far as this node knows");
    expect(f, 404, "POST", TXN "?dryRun=All", JSON, "{\"items\":[" PUT("update", "a", "1") "]}",
           "not found");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_or_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_preconditions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_item_has_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusal_without_a_leader, setup_alone, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
