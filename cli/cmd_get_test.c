/* If this fails, people see other objects than there are, or scripts that read -o json, names or
 * columns get something else. */
#include "cli/fake.h"

#define VS_LIST "/apis/networking.istio.io/v1/namespaces/default/virtualservices"
#define VS_ALL "/apis/networking.istio.io/v1/virtualservices"
#define STATUS(code, reason, message)                                                              \
    "{\"kind\":\"Status\",\"status\":\"Failure\",\"code\":" #code ",\"reason\":\"" reason          \
    "\",\"message\":\"" message "\"}"

/* Not as our server would: another column, an integer cell, so that the table is the server's. */
#define COLUMNS                                                                                    \
    "[{\"name\":\"Name\",\"priority\":0},{\"name\":\"Weight\",\"priority\":0},"                    \
    "{\"name\":\"Hosts\",\"priority\":1},{\"name\":\"Age\",\"priority\":0}]"
#define ROW(name, ns, weight, rv)                                                                  \
    "{\"cells\":[\"" name "\"," weight                                                             \
    ",\"[h]\",\"5s\"],\"object\":{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"" ns         \
    "\",\"resourceVersion\":\"" rv "\",\"labels\":{\"app\":\"" name "\",\"a\":\"1\"}}}}"
#define TABLE(meta, rows)                                                                          \
    "{\"kind\":\"Table\",\"metadata\":{" meta "},\"columnDefinitions\":" COLUMNS                   \
    ",\"rows\":[" rows "]}"
#define VS(name, generation)                                                                       \
    "{\"apiVersion\":\"networking.istio.io/v1\",\"kind\":\"VirtualService\",\"metadata\":{"        \
    "\"name\":\"" name "\",\"namespace\":\"default\",\"generation\":" generation "}}"

static void test_tables(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {"GET " VS_LIST "?limit=500", 200,
         TABLE("\"continue\":\"x/y\",\"resourceVersion\":\"7\"", ROW("b", "default", "90", "5")),
         NULL},
        {"GET " VS_LIST "?limit=500&continue=x%2Fy", 200,
         TABLE("\"resourceVersion\":\"7\"", ROW("a", "default", "null", "6")), NULL},
        {"GET " VS_ALL "?limit=500", 200,
         TABLE("", ROW("b", "default", "90", "5") "," ROW("c", "other", "1.5", "5")), NULL},
        {"GET " VS_LIST "?limit=500&labelSelector=app%3Dnone", 200, TABLE("", ""), NULL},
        {"GET " VS_LIST "/b", 200, TABLE("", ROW("b", "default", "90", "5")), NULL},
        {"GET " VS_LIST "/nope", 404, STATUS(404, "NotFound", "vs \\\"nope\\\" not found"), NULL},
        {"GET /api/v1/namespaces/default/services?limit=500", 200,
         TABLE("", ROW("s", "default", "1", "2")), NULL},
        {0},
    };
    struct fake f;
    fake_start(&f, answers);
    /* All pages, a table each, one head. */
    fake_check(&f, "get vs", CLI_OK,
               "NAME   WEIGHT   AGE\nb      90       5s\na      <none>   5s\n", "");
    fake_check(&f, "get VirtualServices --no-headers", CLI_OK, "b   90       5s\na   <none>   5s\n",
               "");
    fake_check(
        &f, "get vs -o wide --sort-by .metadata.name", CLI_OK,
        "NAME   WEIGHT   HOSTS   AGE\na      <none>   [h]     5s\nb      90       [h]     5s\n",
        "");
    fake_check(&f, "get vs -A", CLI_OK,
               "NAMESPACE   NAME   WEIGHT   AGE\n"
               "default     b      90       5s\n"
               "other       c      1.5      5s\n",
               "");
    fake_check(&f, "get vs b --show-labels -L app,x/missing", CLI_OK,
               "NAME   WEIGHT   AGE   APP   MISSING   LABELS\n"
               "b      90       5s    b     <none>    a=1,app=b\n",
               "");
    fake_check(&f, "get vs,svc", CLI_OK,
               "NAME                                   WEIGHT   AGE\n"
               "virtualservice.networking.istio.io/b   90       5s\n"
               "virtualservice.networking.istio.io/a   <none>   5s\n"
               "\n"
               "NAME        WEIGHT   AGE\n"
               "service/s   1        5s\n",
               "");
    fake_check(&f, "get vs -l app=none", CLI_OK, "", "No resources found in default namespace.\n");
    /* One that is missing does not hide the others. */
    fake_check(&f, "get vs nope b", CLI_FAILED, "NAME   WEIGHT   AGE\nb      90       5s\n",
               "error: vs \"nope\" not found\n");
    fake_check(&f, "get vs/nope --ignore-not-found", CLI_OK, "", "");
    assert_int_equal(fake_run(&f, "get vs -A b"), CLI_USAGE);
    assert_int_equal(fake_run(&f, "get"), CLI_USAGE);
    assert_int_equal(fake_run(&f, "get virtualservise"), CLI_USAGE);
    assert_true(slice_contains(slice_of(f.err), S("did you mean \"virtualservice\"?")));
    assert_int_equal(fake_run(&f, "get vs/a svc"), CLI_USAGE);
    fake_stop(&f);
}

static void test_data(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {"GET " VS_LIST "?limit=500", 200,
         "{\"kind\":\"VirtualServiceList\",\"metadata\":{},\"items\":[" VS("b", "10") "," VS(
             "a", "9") "]}",
         NULL},
        {"GET " VS_LIST "/b", 200, VS("b", "10"), "299 - \"deprecated\""},
        {"GET " VS_LIST "/nope", 404, STATUS(404, "NotFound", "nope"), NULL},
        {0},
    };
    struct fake f;
    struct err err = {0};
    fake_start(&f, answers);
    fake_check(&f, "get vs b -o yaml", CLI_OK,
               "apiVersion: networking.istio.io/v1\n"
               "kind: VirtualService\n"
               "metadata:\n"
               "  generation: 10\n"
               "  name: b\n"
               "  namespace: default\n",
               "Warning: deprecated\n");
    fake_check(&f, "get vs -o name", CLI_OK,
               "virtualservice.networking.istio.io/b\nvirtualservice.networking.istio.io/a\n", "");
    fake_check(&f, "get vs -o name --sort-by {.metadata.generation}", CLI_OK,
               "virtualservice.networking.istio.io/a\nvirtualservice.networking.istio.io/b\n", "");
    fake_check(&f, "get vs -o 'jsonpath={.items[*].metadata.name}'", CLI_OK, "b a", "");
    fake_check(&f, "get vs b -o jsonpath={.metadata.name}", CLI_OK, "b", "Warning: deprecated\n");
    assert_int_equal(fake_run(&f, "get vs -o json"), CLI_OK);
    json_t *list = json_parse(slice_of(f.out), &err);
    check_slice(json_str(list, "kind"), S("List"));
    check_slice(json_str(list, "items[1].metadata.name"), S("a"));
    json_decref(list);
    /* What goes wrong is said once and nowhere near the data; the code is the same as of a table.
     */
    fake_check(&f, "get vs nope -o json", CLI_FAILED, "", "error: nope\n");
    assert_int_equal(fake_run(&f, "get vs b -o jsonpath={.metadata"), CLI_USAGE);
    /* A list that nobody could give is no empty list. */
    assert_int_equal(fake_run_at(&f, "127.0.0.1:1", "get vs -o json"), CLI_UNREACHABLE);
    assert_string_equal(f.out, "");
    fake_stop(&f);
}

static void test_watch_goes_on_where_it_was_cut(void **state)
{
    (void)state;
#define EVENT(type, rows) "{\"type\":\"" type "\",\"object\":" TABLE("", rows) "}\n"
    static const struct canned answers[] = {
        {"GET " VS_LIST "?limit=500", 200,
         TABLE("\"resourceVersion\":\"7\"", ROW("a", "default", "1", "5")), NULL},
        {"GET " VS_LIST "?limit=500&watch=1&allowWatchBookmarks=true&resourceVersion=7", 200,
         EVENT("MODIFIED", ROW("a", "default", "2", "8"))
             EVENT("ADDED", ROW("longer-name", "default", "3", "9")) "{\"type\":\"MODI",
         NULL},
        {"GET " VS_LIST "?limit=500&watch=1&allowWatchBookmarks=true&resourceVersion=9", 200,
         "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"12\"}}}\n", NULL},
        {"GET " VS_LIST "?limit=500&watch=1&allowWatchBookmarks=true&resourceVersion=12", 200,
         EVENT("DELETED", ROW("a", "default", "2", "13")) "{\"type\":\"ERROR\",\"object\":" STATUS(
             410, "Expired", "too old") "}\n",
         NULL},
        {0},
    };
    struct fake f;
    fake_start(&f, answers);
    fake_check(&f, "get vs -w --output-watch-events", CLI_FAILED,
               "EVENT   NAME   WEIGHT   AGE\n"
               "ADDED   a      1        5s\n"
               "MODIFIED   a      2        5s\n"
               "ADDED      longer-name   3        5s\n"
               "DELETED    a             2        5s\n",
               "error: too old\n");
    fake_stop(&f);
}

static void test_watch_as_lines(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {"GET " VS_LIST "?limit=500&fieldSelector=metadata.name%3Da", 200,
         "{\"metadata\":{\"resourceVersion\":\"7\"},\"items\":[" VS("a", "1") "]}", NULL},
        {"GET " VS_LIST "?limit=500&fieldSelector=metadata.name%3Da&watch=1&allowWatchBookmarks="
         "true&resourceVersion=7",
         200,
         "{\"type\":\"MODIFIED\",\"object\":" VS("a", "2") "}\n"
                                                           "{\"type\":\"ERROR\",\"object\":" STATUS(
                                                               410, "Expired", "too old") "}\n",
         NULL},
        {0},
    };
    struct fake f;
    struct err err = {0};
    struct slice first, second, rest;
    fake_start(&f, answers);
    assert_int_equal(fake_run(&f, "get vs a -w -o json"), CLI_FAILED);
    assert_true(slice_cut(slice_of(f.out), '\n', &first, &rest));
    assert_true(slice_cut(rest, '\n', &second, &rest));
    assert_int_equal(rest.n, 0);
    json_t *a = json_parse(first, &err), *b = json_parse(second, &err);
    assert_int_equal(json_int(a, "metadata.generation", 0), 1);
    assert_int_equal(json_int(b, "metadata.generation", 0), 2);
    json_decref(a);
    json_decref(b);
    assert_int_equal(fake_run(&f, "get vs,svc -w"), CLI_USAGE);
    fake_stop(&f);
}

static void test_a_watch_that_always_ends_is_given_up(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {"GET " VS_LIST "?limit=500", 200, TABLE("\"resourceVersion\":\"7\"", ""), NULL},
        {"GET " VS_LIST "?limit=500&watch=1&allowWatchBookmarks=true&resourceVersion=7", 200, "\n",
         NULL},
        {0},
    };
    struct fake f;
    fake_start(&f, answers);
    assert_int_equal(fake_run(&f, "get vs -w"), CLI_UNREACHABLE);
    fake_stop(&f);
}

static void test_describe(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {"GET " VS_LIST "/one", 200,
         "{\"apiVersion\":\"networking.istio.io/v1\",\"kind\":\"VirtualService\",\"metadata\":{"
         "\"name\":\"one\",\"namespace\":\"default\",\"resourceVersion\":\"41\",\"generation\":2,"
         "\"creationTimestamp\":\"2026-11-24T19:45:54Z\",\"labels\":{\"b\":\"2\",\"a\":\"1\"}},"
         "\"spec\":{\"hosts\":[\"one\\u001b[2J\"]},\"status\":{\"conditions\":[{\"type\":"
         "\"Distributed\",\"status\":\"False\",\"reason\":\"Rejected\",\"message\":\"by p\","
         "\"lastTransitionTime\":\"2026-11-24T19:47:50Z\"}]}}",
         NULL},
        {"GET /weft/v1/wait?revision=41&timeout=0s", 504,
         "{\"revision\":41,\"live\":5,\"total\":6,\"rejected\":[{\"proxy\":\"p.default\",\"type\":"
         "\"rds\",\"resource\":\"80\",\"message\":\"bad regex\",\"sources\":["
         "\"virtualservices.networking.istio.io/default/one\"]},{\"proxy\":\"q\",\"sources\":["
         "\"virtualservices.networking.istio.io/default/two\"]}]}",
         NULL},
        {0},
    };
    struct fake f;
    fake_start(&f, answers);
    fake_check(&f, "describe vs one", CLI_OK,
               "Name:         one\n"
               "Namespace:    default\n"
               "Kind:         VirtualService networking.istio.io/v1\n"
               "Labels:       a=1\n"
               "              b=2\n"
               "Annotations:  <none>\n"
               "Created:      2026-11-24T19:45:54Z (2m ago)\n"
               "Generation:   2\n"
               "Revision:     @41\n"
               "Live:         5/6 proxies\n"
               "Rejected by:  p.default: rds 80: bad regex\n"
               "\n"
               "spec:\n"
               "  hosts:\n"
               "  - \"one\\x1B[2J\"\n"
               "\n"
               "CONDITION     STATUS   REASON     AGE   MESSAGE\n"
               "Distributed   False    Rejected   4s    by p\n",
               "");
    fake_stop(&f);
}

static void test_explain(void **state)
{
    (void)state;
    static const struct canned answers[] = {{0}};
    struct fake f;
    fake_start(&f, answers);
    assert_int_equal(fake_run(&f, "explain vs.spec.http.retries"), CLI_OK);
    assert_true(slice_starts(slice_of(f.out), S("KIND:     VirtualService\n"
                                                "VERSION:  networking.istio.io/v1\n"
                                                "FIELD:    spec.http.retries <object>\n")));
    assert_true(slice_contains(slice_of(f.out), S("  attempts\t<integer>")));
    assert_int_equal(fake_run(&f, "explain vs.spec.htpp"), CLI_BAD_INPUT);
    assert_int_equal(fake_run(&f, "explain pod"), CLI_USAGE);
    assert_int_equal(fake_run(&f, "explain proxies"), CLI_USAGE);
    fake_stop(&f);
}

static void test_how_fresh(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {"GET " VS_LIST "/b?consistency=linearizable", 200,
         TABLE("", ROW("b", "default", "90", "5")), NULL},
        {"GET " VS_LIST "?limit=500&consistency=bounded&maxStalenessMs=1500", 200,
         TABLE("", ROW("b", "default", "90", "5")), NULL},
        {"GET " VS_LIST "/b?resourceVersion=4&resourceVersionMatch=Exact", 200,
         TABLE("", ROW("b", "default", "50", "4")), NULL},
        {"GET " VS_LIST "?limit=500&resourceVersion=4&resourceVersionMatch=Exact", 200,
         TABLE("", ROW("b", "default", "50", "4")), NULL},
        {0},
    };
    struct fake f;
    fake_start(&f, answers);
    fake_check(&f, "get vs b --consistency linearizable --no-headers", CLI_OK, "b   90   5s\n", "");
    fake_check(&f, "get vs --consistency=bounded --max-staleness 1500ms --no-headers", CLI_OK,
               "b   90   5s\n", "");
    fake_check(&f, "get vs b @4 --no-headers", CLI_OK, "b   50   5s\n", "");
    fake_check(&f, "get vs/b @4 --no-headers", CLI_OK, "b   50   5s\n", "");
    fake_check(&f, "get vs @4 --no-headers", CLI_OK, "b   50   5s\n", "");
    fake_check(&f, "get vs --consistency strong", CLI_USAGE, "",
               "error: --consistency=strong: must be one of local, bounded, linearizable\n"
               "See \"weft get --help\".\n");
    fake_check(&f, "get vs --consistency bounded", CLI_USAGE, "",
               "error: --consistency=bounded needs --max-staleness=TIME\n"
               "See \"weft get --help\".\n");
    fake_check(&f, "get vs --max-staleness 5s", CLI_USAGE, "",
               "error: --max-staleness=5s goes with --consistency=bounded\n"
               "See \"weft get --help\".\n");
    fake_check(&f, "get vs @x", CLI_USAGE, "",
               "error: \"@x\": @ and a revision, as @41\nSee \"weft get --help\".\n");
    fake_check(&f, "get proxies @4", CLI_USAGE, "",
               "error: proxies take neither --consistency nor @REVISION: they are no objects\n"
               "See \"weft get --help\".\n");
    fake_check(&f, "get vs b @4 -w", CLI_USAGE, "",
               "error: --watch takes neither --consistency nor @REVISION\n"
               "See \"weft get --help\".\n");
    fake_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_how_fresh),
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_watch_goes_on_where_it_was_cut),
        cmocka_unit_test(test_watch_as_lines),
        cmocka_unit_test(test_a_watch_that_always_ends_is_given_up),
        cmocka_unit_test(test_describe),
        cmocka_unit_test(test_explain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
