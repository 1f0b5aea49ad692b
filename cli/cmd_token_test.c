/* If these fail, an operator takes a token that is used or over for a good one, revokes another
 * lease than a token, or pipes more than the token to a file. */
#include "cli/fake.h"

#define LEASES "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases"
#define TOKEN(name, holder, expires, more)                                                         \
    "{\"metadata\":{\"name\":\"weft-join-" name "\",\"annotations\":{\"weft.dev/join-token\":"     \
    "\"ab\",\"weft.dev/expires\":\"" expires "\"" more "}},\"spec\":{" holder "}}"
#define HELD "\"holderIdentity\":\"not used yet\""

static void test_create(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {"POST /weft/v1/jointokens", 201,
         "{\"token\":\"weft1.abc\",\"name\":\"weft-join-1\",\"expires\":\"2026-11-24T20:00:00Z\"}",
         NULL},
        {"POST /weft/v1/jointokens", 400,
         "{\"kind\":\"Status\",\"code\":400,\"message\":\"ttlSeconds: must be 1 to 86400\"}", NULL},
        {0}};
    struct fake f;
    fake_start(&f, answers);
    fake_check(&f, "operator token create", CLI_OK, "weft1.abc\n",
               "weft-join-1 is good for one node, until 2026-11-24T20:00:00Z\n");
    assert_true(slice_eq(buf_slice(&f.last_body), S("{\"ttlSeconds\":600}")));
    fake_run(&f, "operator token create --ttl 48h");
    assert_true(slice_eq(buf_slice(&f.last_body), S("{\"ttlSeconds\":172800}")));
    assert_non_null(strstr(f.err, "ttlSeconds: must be 1 to 86400"));
    assert_int_equal(fake_run(&f, "operator token create --ttl soon"), CLI_USAGE);
    fake_stop(&f);
}

static void test_list(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {"GET " LEASES, 200,
         "{\"items\":[{\"metadata\":{\"name\":\"weft-join-0\"}},"
         "{\"metadata\":{\"name\":\"leader\",\"annotations\":{\"weft.dev/"
         "join-token\":\"x\"}}}," TOKEN("1", HELD, "2026-11-24T19:47:55Z", "") "," TOKEN(
             "2", HELD, "2026-11-24T19:47:54Z",
             "") "," TOKEN("3", "", "2026-11-24T20:00:00Z",
                           "") "," TOKEN("4", "", "2026-11-24T19:00:00Z",
                                         ",\"weft.dev/joined\":\"77\"") "]}",
         NULL},
        {0}};
    struct fake f;
    fake_start(&f, answers);
    fake_check(&f, "operator token list", CLI_OK,
               "NAME          STATE        EXPIRES\n"
               "weft-join-1   good         2026-11-24T19:47:55Z\n"
               "weft-join-2   expired      2026-11-24T19:47:54Z\n"
               "weft-join-3   expired      2026-11-24T20:00:00Z\n"
               "weft-join-4   used by 77   2026-11-24T19:00:00Z\n",
               "");
    assert_int_equal(fake_run(&f, "operator token list -o json"), CLI_OK);
    assert_null(strstr(f.out, "leader"));
    fake_stop(&f);
}

static void test_revoke(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {"DELETE " LEASES "/weft-join-1", 200, "{\"status\":\"Success\"}", NULL},
        {"DELETE " LEASES "/weft-join-1", 404,
         "{\"kind\":\"Status\",\"code\":404,\"message\":\"leases \\\"weft-join-1\\\" not found\"}",
         NULL},
        {0}};
    struct fake f;
    fake_start(&f, answers);
    fake_check(&f, "operator token revoke weft-join-1", CLI_OK, "weft-join-1 revoked\n", "");
    fake_check(&f, "operator token revoke weft-join-1", CLI_FAILED, "",
               "error: leases \"weft-join-1\" not found\n");
    fake_check(&f, "operator token revoke leader", CLI_USAGE, "",
               "error: \"leader\" is the name of no token: weft operator token list\n"
               "See \"weft operator token revoke --help\".\n");
    fake_stop(&f);
}

/* The answer is lost: the next node is asked under the same key, and says what came of it. */
static void test_revoke_lost(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {"DELETE " LEASES "/weft-join-1", 0, NULL, NULL},
        {"DELETE " LEASES "/weft-join-1", 200, "{\"status\":\"Success\"}", NULL},
        {0}};
    struct fake f;
    struct slice first, second;
    char twice[ENV_ADDR_TEXT * 2 + 2];
    fake_start(&f, answers);
    snprintf(twice, sizeof(twice), "%s,%s", f.addr, f.addr);
    assert_int_equal(fake_run_at(&f, twice, "operator token revoke weft-join-1"), CLI_OK);
    slice_cut(buf_slice(&f.keys), '\n', &first, &second);
    assert_true(first.n > 0 && slice_starts(second, first));
    fake_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_revoke),
        cmocka_unit_test(test_revoke_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
