/* If these fail, people see another past than there was, or a rollback changes what they did not
 * see. */
#include "cli/fake.h"

#define STATUS(code, reason, message)                                                              \
    "{\"kind\":\"Status\",\"status\":\"Failure\",\"code\":" #code ",\"reason\":\"" reason          \
    "\",\"message\":\"" message "\"}"
#define VS(name, rv, host)                                                                         \
    "{\"apiVersion\":\"networking.istio.io/v1\",\"kind\":\"VirtualService\",\"metadata\":{"        \
    "\"name\":\"" name "\",\"namespace\":\"default\",\"generation\":1,\"uid\":\"u\","              \
    "\"resourceVersion\":\"" rv "\"},\"spec\":{\"hosts\":[\"" host "\"]},\"status\":{}}"
#define NAMED(name)                                                                                \
    "\"kind\":\"VirtualService\",\"group\":\"networking.istio.io\","                               \
    "\"resource\":\"virtualservices\",\"namespace\":\"default\",\"name\":\"" name "\""
#define CHANGE(rev, change, name, by)                                                              \
    "{\"revision\":" rev ",\"change\":\"" change "\",\"time\":\"2026-11-24T19:47:44Z\"" by         \
    "," NAMED(name) "}"
#define BY(who) ",\"by\":\"" who "\""
#define QUERY_VS "&resource=virtualservices.networking.istio.io&namespace=default"

static void test_history(void **state)
{
    (void)state;
    static const char items[] = "{\"oldest\":3,\"revision\":9,\"items\":[" CHANGE(
        "5", "created", "a",
        BY("kubectl/v1.32.4")) "," CHANGE("6", "status", "a",
                                          BY("weftd")) "," CHANGE("9", "configured", "a", "") "]}";
    static const struct canned answers[] = {
        {"GET /weft/v1/history?limit=100" QUERY_VS "&name=a", 200, items, NULL},
        {"GET /weft/v1/history?limit=20" QUERY_VS "&name=a", 200, items, NULL},
        {"GET /weft/v1/history?limit=5" QUERY_VS "&name=a", 200, items, NULL},
        {"GET /weft/v1/history?limit=100", 200, items, NULL},
        {"GET /weft/v1/history?limit=100&resource=virtualservices.networking.istio.io", 200,
         "{\"oldest\":3,\"revision\":9,\"items\":[]}", NULL},
        {0}};
    struct fake f;
    fake_start(&f, answers);
    fake_check(&f, "history vs/a", CLI_OK,
               "REVISION   CHANGE       BY                AGE\n"
               "@5         created      kubectl/v1.32.4   10s\n"
               "@9         configured   <unknown>         10s\n",
               "");
    fake_check(&f, "history vs a --show-status --no-headers", CLI_OK,
               "@5   created      kubectl/v1.32.4   10s\n"
               "@6   status       weftd             10s\n"
               "@9   configured   <unknown>         10s\n",
               "");
    fake_check(&f, "history vs/a --limit 1 --no-headers", CLI_OK,
               "@9   configured   <unknown>   10s\n", "");
    fake_check(&f, "history -o wide", CLI_OK,
               "REVISION   CHANGE       OBJECT                                 BY                "
               "TIME\n"
               "@5         created      virtualservice.networking.istio.io/a   kubectl/v1.32.4   "
               "2026-11-24T19:47:44Z\n"
               "@9         configured   virtualservice.networking.istio.io/a   <unknown>         "
               "2026-11-24T19:47:44Z\n",
               "");
    fake_check(&f, "history vs -A", CLI_OK, "",
               "No changes since @3, the oldest revision that is kept.\n");
    assert_int_equal(fake_run(&f, "history proxies"), CLI_USAGE);
    assert_int_equal(fake_run(&f, "history vs,dr"), CLI_USAGE);
    assert_int_equal(fake_run(&f, "history vs --limit 0"), CLI_USAGE);
    fake_stop(&f);
}

#define PAIR(change, name, parts) "{\"change\":\"" change "\"," NAMED(name) parts "}"
#define DIFF(to, items) "{\"oldest\":3,\"from\":5,\"to\":" to ",\"items\":[" items "]}"

static void test_diff_of_revisions(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {"GET /weft/v1/diff?from=5&to=9" QUERY_VS "&name=a", 200,
         DIFF("9", PAIR("configured", "a",
                        ",\"before\":" VS("a", "5", "x") ",\"after\":" VS("a", "9", "w"))),
         NULL},
        {"GET /weft/v1/diff?from=5", 200, DIFF("9", ""), NULL},
        {"GET /weft/v1/diff?from=2", 410, STATUS(410, "Expired", "the oldest is 3"), NULL},
        {0}};
    struct fake f;
    fake_start(&f, answers);
    fake_check(&f, "diff @5..@9 vs/a", CLI_DIFF_DIFFERS,
               "--- @5/virtualservices.networking.istio.io/default/a\n"
               "+++ @9/virtualservices.networking.istio.io/default/a\n"
               "@@ -5,4 +5,4 @@\n"
               "   namespace: default\n"
               " spec:\n"
               "   hosts:\n"
               "-  - x\n"
               "+  - w\n",
               "");
    fake_check(&f, "diff @5", CLI_DIFF_SAME, "", "");
    fake_check(&f, "diff @2", CLI_DIFF_FAILED, "", "error: the oldest is 3\n");
    static const char *const bad[] = {"diff",      "diff @x",      "diff @5..9x",      "diff @5.@9",
                                      "diff vs/a", "diff @5 -f -", "diff @5 nothing/a"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(fake_run(&f, bad[i]), CLI_USAGE);
    fake_stop(&f);
}

#define TXN "POST /weft/v1/transaction?fieldValidation=Warn"
#define ALL                                                                                        \
    PAIR("configured", "a", ",\"before\":" VS("a", "5", "x") ",\"after\":" VS("a", "9", "w"))      \
    "," PAIR("created", "b", ",\"after\":" VS("b", "8", "x")) "," PAIR(                            \
        "deleted", "c", ",\"before\":" VS("c", "4", "x"))
#define DONE(rev)                                                                                  \
    "{\"revision\":" rev ",\"items\":[{\"result\":\"configured\"},{\"result\":\"deleted\"},"       \
    "{\"result\":\"created\"}]}"

static void test_rollback(void **state)
{
    (void)state;
    static const struct canned answers[] = {{"GET /weft/v1/diff?from=5", 200, DIFF("9", ALL), NULL},
                                            {TXN, 200, DONE("12"), NULL},
                                            {TXN "&dryRun=All", 200, DONE("9"), NULL},
                                            {"GET /weft/v1/diff?from=9", 200, DIFF("9", ""), NULL},
                                            {"GET /weft/v1/wait?revision=12&timeout=30s", 200,
                                             "{\"revision\":12,\"live\":1,\"total\":1,\"ms\":3}",
                                             NULL},
                                            {0}};
    struct fake f;
    fake_start(&f, answers);
    fake_check(&f, "rollback @5 --yes --wait", CLI_OK,
               "virtualservice.networking.istio.io/a restored\n"
               "virtualservice.networking.istio.io/b deleted\n"
               "virtualservice.networking.istio.io/c restored\n"
               "as at @5, now @12\n"
               "rolled back @12, live on 1/1 in 3 ms\n",
               "");
    assert_int_equal(f.keys.n, 37);
    /* Each as it was, without what the server sets, and only if it still is as it was seen. */
    struct err err = {0};
    json_t *body = json_parse(buf_slice(&f.last_body), &err);
    const json_t *items = json_object_get(body, "items");
    assert_int_equal(json_array_size(items), 3);
    static const struct {
        const char *verb, *revision;
    } want[] = {{"update", "9"}, {"delete", "8"}, {"create", ""}};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        const json_t *item = json_array_get(items, i);
        check_slice(json_str(item, "verb"), slice_of(want[i].verb));
        check_slice(json_str(item, "precondition.resourceVersion"), slice_of(want[i].revision));
        check_slice(json_str(item, "object.spec.hosts[0]"), S("x"));
        assert_null(json_at(item, "object.metadata.uid"));
        assert_null(json_at(item, "object.metadata.resourceVersion"));
        assert_null(json_at(item, "object.status"));
    }
    json_decref(body);
    /* Without --yes it asks. */
    f.input = "n\n";
    fake_check(&f, "rollback @5", CLI_FAILED, "",
               "Roll back 3 objects of all namespaces to @5? [y/N] "
               "error: nothing was rolled back; say --yes, or name what to roll back\n");
    f.input = "y\n";
    assert_int_equal(fake_run(&f, "rollback @5 -o name"), CLI_OK);
    f.input = NULL;
    assert_int_equal(fake_run(&f, "rollback @5 --dry-run"), CLI_OK);
    assert_true(slice_contains(slice_of(f.out), S("-  - w\n+  - x\n")));
    assert_true(slice_contains(slice_of(f.out), S("a restored (server dry run)\n")));
    assert_int_equal(f.keys.n, 0);
    fake_check(&f, "rollback @9", CLI_OK, "nothing to roll back: all is as it was at @9\n", "");
    static const char *const bad[] = {"rollback", "rollback vs/a", "rollback @5..@9",
                                      "rollback @5 --dry-run=client", "rollback @0"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(fake_run(&f, bad[i]), CLI_USAGE);
    fake_stop(&f);
}

#define DIFF_A "GET /weft/v1/diff?from=5" QUERY_VS "&name=a"
#define SEEN(rv, host)                                                                             \
    DIFF("9", PAIR("configured", "a",                                                              \
                   ",\"before\":" VS("a", "5", "x") ",\"after\":" VS("a", rv, host)))

/* A status that was written meanwhile is no reason to give up; a change is. */
static void test_rollback_meanwhile(void **state)
{
    (void)state;
    static const struct canned moved[] = {
        {DIFF_A, 200, SEEN("9", "w"), NULL},
        {TXN, 409, STATUS(409, "Conflict", "items[0]: modified"), NULL},
        {DIFF_A, 200, SEEN("10", "w"), NULL},
        {TXN, 200, "{\"revision\":12,\"items\":[{\"result\":\"configured\"}]}", NULL},
        {0}};
    static const struct canned changed[] = {
        {DIFF_A, 200, SEEN("9", "w"), NULL},
        {TXN, 409, STATUS(409, "Conflict", "items[0]: modified"), NULL},
        {DIFF_A, 200, SEEN("10", "z"), NULL},
        {0}};
    struct fake f;
    fake_start(&f, moved);
    fake_check(&f, "rollback @5 vs/a", CLI_OK,
               "virtualservice.networking.istio.io/a restored\nas at @5, now @12\n", "");
    assert_true(slice_contains(buf_slice(&f.last_body), S("\"resourceVersion\":\"10\"")));
    fake_stop(&f);
    fake_start(&f, changed);
    fake_check(&f, "rollback @5 vs/a", CLI_FAILED, "",
               "error: changed by somebody else meanwhile, nothing was rolled back; look again: "
               "items[0]: modified\n");
    fake_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_diff_of_revisions),
        cmocka_unit_test(test_rollback),
        cmocka_unit_test(test_rollback_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
