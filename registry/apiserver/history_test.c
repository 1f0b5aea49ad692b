/* If these fail, somebody who asks what was changed, when and by whom is told something else, or a
 * rollback restores what never was. */
#include "registry/apiserver/api_testing.h"

#define HISTORY "/weft/v1/history?resource=virtualservices&namespace=default"
#define DIFF "/weft/v1/diff?from=%llu"

static json_t *ask(struct fixture *f, const char *path)
{
    struct err err = {0};
    expect(f, 200, "GET", path, "", "", NULL);
    json_t *o = json_parse(slice_of(text(f)), &err);
    assert_non_null(o);
    return o;
}

/* "created a, configured a": change and name of each item. */
static void expect_changes(struct fixture *f, const char *path, const char *want)
{
    struct buf got = {0};
    size_t i;
    json_t *o = ask(f, path), *item;
    json_array_foreach (json_object_get(o, "items"), i, item)
        buf_printf(&got, "%s%s %s", i ? ", " : "", json_string_value(json_at(item, "change")),
                   json_string_value(json_at(item, "name")));
    buf_append_byte(&got, 0);
    if (strcmp(got.p, want) != 0)
        fail_msg("%s: %s\nwanted %s\n%s", path, got.p, want, text(f));
    buf_fini(&got);
    json_decref(o);
}

static unsigned long long put(struct fixture *f, const char *method, const char *path,
                              const char *body)
{
    int status = call(f, method, path, *body ? JSON : "", body);
    if (status >= 300)
        fail_msg("%s %s: %s", method, path, text(f));
    return answer_revision(f);
}

static void test_history(void **state)
{
    struct fixture *f = *state;
    unsigned long long a = put(f, "POST", VS, VS_BODY("a", "1"));
    put(f, "POST", VS, VS_BODY("b", "1"));
    unsigned long long a2 = put(f, "PUT", VS "/a", VS_BODY("a", "2"));
    call(f, "PATCH", VS "/a/status", "application/merge-patch+json",
         "{\"status\":{\"observedGeneration\":\"2\"}}");
    put(f, "DELETE", VS "/a", "");
    expect_with(f, "user-agent", "kubectl/v1.32.4 (linux/amd64)", 201, "POST", VS,
                VS_BODY("a", "3"), NULL);
    expect_changes(f, HISTORY "&name=a", "created a, configured a, status a, deleted a, created a");
    expect_changes(f, HISTORY,
                   "created a, created b, configured a, status a, deleted a, created a");
    expect_changes(f, HISTORY "&limit=2", "deleted a, created a");
    assert_non_null(strstr(text(f), "\"more\":true"));
    expect_changes(f, with(HISTORY "&from=%llu&to=%llu", a, a2), "created b, configured a");
    expect_changes(f, "/weft/v1/history?limit=1", "created a");
    assert_non_null(strstr(text(f), "\"by\":\"kubectl/v1.32.4\""));
    assert_non_null(strstr(text(f), "\"time\":\"20"));
    assert_null(strstr(text(f), "\"object\""));
    expect_changes(f, with(HISTORY "&name=a&to=%llu&values=true&limit=1", a2), "configured a");
    assert_non_null(strstr(text(f), "\"weight\":2"));
}

static void test_diff(void **state)
{
    struct fixture *f = *state;
    put(f, "POST", VS, VS_BODY("changed", "1"));
    put(f, "POST", VS, VS_BODY("gone", "1"));
    unsigned long long then = put(f, "POST", VS, VS_BODY("back", "1"));
    put(f, "PUT", VS "/changed", VS_BODY("changed", "2"));
    put(f, "PUT", VS "/changed", VS_BODY("changed", "3"));
    put(f, "DELETE", VS "/gone", "");
    put(f, "PUT", VS "/back", VS_BODY("back", "2"));
    put(f, "PUT", VS "/back", VS_BODY("back", "1"));
    put(f, "POST", VS, VS_BODY("brief", "1"));
    put(f, "DELETE", VS "/brief", "");
    unsigned long long now = put(f, "POST", VS, VS_BODY("new", "1"));
    expect_changes(f, with(DIFF, then), "configured changed, deleted gone, created new");
    assert_non_null(strstr(text(f), with("\"to\":%llu", now)));
    expect_changes(f, with(DIFF "&to=%llu", now, then),
                   "configured changed, created gone, deleted new");
    expect_changes(f, with(DIFF "&to=%llu", then, then), "");
    expect_changes(f, with(DIFF "&resource=virtualservices&namespace=default&name=new", then),
                   "created new");
    expect_changes(f, with(DIFF "&resource=services", then), "");
    /* An object, a list, as they were. */
    expect(f, 200, "GET", with(VS "/changed?resourceVersion=%llu&resourceVersionMatch=Exact", then),
           "", "", "\"weight\":1");
    expect_head(f, with("weft-revision: %llu\n", then));
    expect(f, 404, "GET", with(VS "/new?resourceVersion=%llu&resourceVersionMatch=Exact", then), "",
           "", "not found");
    expect(f, 200, "GET", with(VS "?resourceVersion=%llu&resourceVersionMatch=Exact", then), "", "",
           "\"name\":\"gone\"");
    assert_null(strstr(text(f), "\"name\":\"new\""));
}

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int status;
        const char *path, *part;
    } rows[] = {
        {400, "/weft/v1/diff", "from: is required"},
        {400, "/weft/v1/diff?from=x", "from=x: must be a number"},
        {504, "/weft/v1/diff?from=1000000", "ask again"},
        {400, "/weft/v1/history?resource=nothings", "no such kind"},
        {400, "/weft/v1/history?name=a", "needs a resource"},
        {400, "/weft/v1/history?resource=vs&name=a", "needs a namespace"},
        {400, "/weft/v1/history?resource=namespaces&namespace=a", "have none"},
        {400, "/weft/v1/history?limit=0", "1 to 1000"},
        {400, "/weft/v1/history?consistency=some", "consistency=some"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect(f, rows[i].status, "GET", rows[i].path, "", "", rows[i].part);
    /* The window has 50 rows. */
    put(f, "POST", VS, VS_BODY("a", "1"));
    for (int i = 0; i < 60; i++)
        put(f, "PUT", VS "/a", i % 2 ? VS_BODY("a", "2") : VS_BODY("a", "3"));
    expect(f, 410, "GET", "/weft/v1/diff?from=2", "", "", "the oldest that can be read is");
    expect(f, 410, "GET", "/weft/v1/history?from=2", "", "", "the oldest that can be read is");
    expect(f, 410, "GET", VS "/a?resourceVersion=2&resourceVersionMatch=Exact", "", "", "oldest");
    expect(f, 410, "GET", VS "?resourceVersion=2&resourceVersionMatch=Exact", "", "", "Expired");
    expect(f, 200, "GET", "/weft/v1/history?consistency=linearizable", "", "", "\"items\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_history, setup, teardown),
        cmocka_unit_test_setup_teardown(test_diff, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
