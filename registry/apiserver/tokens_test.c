/* If these fail, somebody is given a token that cannot be used, or one for ever. Those that are
 * good have tests with real nodes, for they need certificates (tests/e2e/join_test.py). */
#include "registry/apiserver/api_testing.h"

#define TOKENS "/weft/v1/jointokens"

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int status;
        const char *method, *body, *part;
    } rows[] = {
        {409, "POST", "", "began without TLS"},
        {409, "POST", "{\"ttlSeconds\":86400}", "docs/operate-members.md"},
        {400, "POST", "{\"ttlSeconds\":0}", "ttlSeconds: must be 1 to 86400"},
        {400, "POST", "{\"ttlSeconds\":86401}", "ttlSeconds: must be 1 to 86400"},
        {400, "POST", "{\"ttlSeconds\":-1}", "ttlSeconds: must be"},
        {400, "POST", "{", "line 1"},
        {429, "POST", "[[[[[[1]]]]]]", "nested deeper than 4"},
        {404, "GET", "", "NotFound"},
        {404, "DELETE", "", "NotFound"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect(f, rows[i].status, rows[i].method, TOKENS, JSON, rows[i].body, rows[i].part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
