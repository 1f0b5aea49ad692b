/* If this fails, a change is sent in parts, twice or not at all, is said to be live when it is not,
 * or a script that looks at the exit code goes on as if nothing had happened. */
#include "cli/cli_limits.h"
#include "cli/fake.h"

#define BATCH "POST /weft/v1/batch?fieldValidation=Strict"
#define DRY BATCH "&dryRun=All"
#define VS(name)                                                                                   \
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: " name "}\n"       \
    "spec:\n  hosts: [" name "]\n"
#define ROUTE "  http: [{route: [{destination: {host: reviews}}]}]\n"
#define ITEM(result, name)                                                                         \
    "{\"verb\":\"apply\",\"result\":\"" result "\",\"kind\":\"VirtualService\","                   \
    "\"group\":\"networking.istio.io\",\"namespace\":\"default\",\"name\":\"" name "\"}"
#define ANSWER(items) "{\"revision\":41,\"dryRun\":false,\"items\":[" items "],\"warnings\":[]}"
#define CAUSE(field, message)                                                                      \
    "{\"field\":\"" field "\",\"message\":\"" message "\",\"reason\":\"FieldValueInvalid\"}"
#define INVALID(causes)                                                                            \
    "{\"kind\":\"Status\",\"status\":\"Failure\",\"code\":422,\"reason\":\"Invalid\","             \
    "\"message\":\"VirtualService is invalid\",\"details\":{\"causes\":[" causes "]}}"
#define STATUS(code, reason, message)                                                              \
    "{\"kind\":\"Status\",\"status\":\"Failure\",\"code\":" #code ",\"reason\":\"" reason          \
    "\",\"message\":\"" message "\"}"

static void test_apply(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {BATCH, 200, ANSWER(ITEM("configured", "one") "," ITEM("created", "two")), NULL},
        {DRY, 200, ANSWER(ITEM("configured", "one") "," ITEM("created", "two")), NULL},
        {"GET /weft/v1/wait?revision=41&timeout=30s", 200,
         "{\"revision\":41,\"live\":6,\"total\":6,\"ms\":12,\"rejected\":[]}", NULL},
        {0},
    };
    struct fake f;
    struct err err = {0};
    fake_start(&f, answers);
    f.input = VS("one") "---\n" VS("two");
    fake_check(&f, "apply -f -", CLI_OK,
               "virtualservice.networking.istio.io/one configured\n"
               "virtualservice.networking.istio.io/two created\n",
               "");
    /* All of it in one request. */
    check_slice(buf_slice(&f.log), S(BATCH "\n"));
    json_t *sent = json_parse(buf_slice(&f.last_body), &err);
    assert_int_equal(json_array_size(json_object_get(sent, "items")), 2);
    check_slice(json_str(sent, "items[1].verb"), S("apply"));
    check_slice(json_str(sent, "items[1].object.metadata.name"), S("two"));
    check_slice(json_str(sent, "items[1].object.metadata.namespace"), S("default"));
    json_decref(sent);

    fake_check(&f, "apply -f - --wait", CLI_OK,
               "virtualservice.networking.istio.io/one configured\n"
               "virtualservice.networking.istio.io/two created\n"
               "configured @41, live on 6/6 in 12 ms\n",
               "");
    fake_check(&f, "apply -f - --dry-run=server", CLI_OK,
               "virtualservice.networking.istio.io/one configured (server dry run)\n"
               "virtualservice.networking.istio.io/two created (server dry run)\n",
               "");
    check_slice(buf_slice(&f.log), S(DRY "\n"));
    fake_check(&f, "apply -f - --dry-run --wait -o name", CLI_OK,
               "virtualservice.networking.istio.io/one\nvirtualservice.networking.istio.io/two\n",
               "");
    assert_int_equal(fake_run(&f, "apply -f - --wait -o json"), CLI_OK);
    json_t *out = json_parse(slice_of(f.out), &err);
    assert_int_equal(json_int(out, "revision", 0), 41);
    assert_int_equal(json_int(out, "wait.live", 0), 6);
    json_decref(out);
    fake_stop(&f);
}

static void test_client_dry_run_asks_nobody(void **state)
{
    (void)state;
    static const struct canned answers[] = {{0}};
    struct fake f;
    fake_start(&f, answers);
    f.input = VS("one") ROUTE;
    fake_check(&f, "apply -f - --dry-run=client", CLI_OK,
               "virtualservice.networking.istio.io/one checked (client dry run)\n", "");
    f.input = VS("one") ROUTE "  hots: [b]\n";
    assert_int_equal(fake_run(&f, "apply -f - --dry-run=client"), CLI_BAD_INPUT);
    assert_true(
        slice_starts(slice_of(f.err), S("stdin:7: VirtualService default/one: spec.hots: ")));
    assert_string_equal(f.out, "");
    assert_int_equal(f.log.n, 0);
    fake_stop(&f);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {BATCH, 422,
         INVALID(CAUSE("items[1].spec.hosts", "must not be empty") "," CAUSE(
             "items[0].spec.http[0].route", "add up to 120")),
         NULL},
        {BATCH, 422, INVALID(CAUSE("items[1].spec.hosts[0]", "WFT0173: no such subset")), NULL},
        {BATCH, 400, STATUS(400, "BadRequest", "items[1].object: is wrong"), NULL},
        {BATCH, 404, STATUS(404, "NotFound", "namespaces not found"), NULL},
        {BATCH, 403, STATUS(403, "Forbidden", "no"), NULL},
        {BATCH, 503, STATUS(503, "ServiceUnavailable", "no quorum"), NULL},
        {BATCH, 504, STATUS(504, "Timeout", "the write may have been made"), NULL},
        {BATCH, 500, "it broke\n", NULL},
        {BATCH, 404, STATUS(404, "NotFound", "items[1]: namespaces not found"), NULL},
        {BATCH, 404, "<html>\n<h1>not here</h1>\n</html>\n", NULL},
        {0},
    };
    struct fake f;
    fake_start(&f, answers);
    f.input = VS("one") "---\n" VS("two");
    fake_check(&f, "apply -f -", CLI_BAD_INPUT, "",
               "stdin:11: VirtualService default/two: spec.hosts: must not be empty\n"
               "stdin:4: VirtualService default/one: spec.http[0].route: add up to 120\n"
               "error: refused, nothing was changed\n");
    fake_check(&f, "apply -f -", CLI_FINDINGS, "",
               "stdin:11: VirtualService default/two: spec.hosts[0]: WFT0173: no such subset\n"
               "error: refused, nothing was changed\n");
    fake_check(&f, "apply -f -", CLI_BAD_INPUT, "",
               "stdin:7: VirtualService default/two: is wrong\n"
               "error: refused, nothing was changed\n");
    fake_check(&f, "apply -f -", CLI_FAILED, "", "error: namespaces not found\n");
    fake_check(&f, "apply -f -", CLI_FAILED, "", "error: no\n");
    fake_check(&f, "apply -f -", CLI_UNREACHABLE, "", "error: no quorum\n");
    fake_check(&f, "apply -f -", CLI_TIMED_OUT, "", "error: the write may have been made\n");
    fake_check(&f, "apply -f -", CLI_FAILED, "", "error: it broke\n");
    fake_check(&f, "apply -f -", CLI_FAILED, "",
               "stdin:7: VirtualService default/two: namespaces not found\n"
               "error: refused, nothing was changed\n");
    assert_int_equal(fake_run(&f, "apply -f -"), CLI_UNREACHABLE);
    assert_true(slice_contains(slice_of(f.err), S("answers HTTP 404 and is not weft's API")));
    /* What cannot be understood is sent nowhere. */
    f.input = "kind: [";
    assert_int_equal(fake_run(&f, "apply -f -"), CLI_BAD_INPUT);
    assert_int_equal(fake_run(&f, "apply -f /nonexistent/x.yaml"), CLI_FAILED);
    assert_int_equal(fake_run(&f, "apply"), CLI_USAGE);
    assert_int_equal(fake_run(&f, "apply vs.yaml"), CLI_USAGE);
    assert_int_equal(f.log.n, 0);
    fake_stop(&f);
}

static void test_warnings_go_to_stderr(void **state)
{
    (void)state;
    static const char body[] = "{\"revision\":41,\"items\":[" ITEM(
        "created", "one") "],\"warnings\":["
                          "\"items[0].spec.hosts[0]: WFT0101: unknown host\",\"spec.x: odd\"]}";
    static const struct canned answers[] = {
        {BATCH, 200, body, "299 - \"spec.x: odd\""}, {DRY, 200, body, NULL}, {0}};
    struct fake f;
    fake_start(&f, answers);
    f.input = VS("one");
    fake_check(
        &f, "apply -f -", CLI_OK, "virtualservice.networking.istio.io/one created\n",
        "Warning: stdin:5: VirtualService default/one: spec.hosts[0]: WFT0101: unknown host\n"
        "Warning: spec.x: odd\n");
    /* Nothing is sent but the dry run. */
    assert_int_equal(fake_run(&f, "apply -f - --fail-on warning"), CLI_FINDINGS);
    check_slice(buf_slice(&f.log), S(DRY "\n"));
    assert_string_equal(f.out, "");
    fake_stop(&f);
}

static void test_wait(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {"GET /weft/v1/wait?revision=41&timeout=30s", 200,
         "{\"revision\":41,\"live\":6,\"total\":6,\"ms\":12,\"rejected\":[]}", NULL},
        {"GET /weft/v1/wait?timeout=500ms", 504,
         "{\"revision\":44,\"live\":5,\"total\":6,\"ms\":500,\"rejected\":[],"
         "\"behind\":[\"reviews-v2.default\"]}",
         NULL},
        {"GET /weft/v1/wait?timeout=400ms", 504,
         "{\"revision\":44,\"live\":5,\"total\":6,\"ms\":-1,\"silent\":[\"n2\",\"n3\"],"
         "\"rejected\":[]}",
         NULL},
        {"GET /weft/v1/wait?revision=7&timeout=10s", 200,
         "{\"revision\":7,\"live\":5,\"total\":6,\"ms\":3,\"rejected\":[{\"proxy\":\"p.default\","
         "\"proxies\":2,\"type\":\"rds\",\"resource\":\"80\",\"message\":\"bad regex\","
         "\"sources\":[\"virtualservices.networking.istio.io/default/one\"]}]}",
         NULL},
        {"GET /weft/v1/wait?revision=9&timeout=30s", 504,
         STATUS(504, "Timeout", "not applied here"), NULL},
        {0},
    };
    struct fake f;
    fake_start(&f, answers);
    fake_check(&f, "wait @41", CLI_OK, "@41, live on 6/6 in 12 ms\n", "");
    fake_check(&f, "wait 41", CLI_OK, "@41, live on 6/6 in 12 ms\n", "");
    fake_check(&f, "wait --timeout 500ms", CLI_TIMED_OUT, "",
               "error: timed out: @44 is live on 5/6 after 500 ms; behind: reviews-v2.default\n");
    fake_check(&f, "wait --timeout 400ms", CLI_TIMED_OUT, "",
               "error: timed out: @44 is live on 5/6; weft proxy-status says which are behind; "
               "silent nodes: n2, n3\n");
    fake_check(&f, "wait @7 --timeout=10s", CLI_FAILED, "",
               "rejected by p.default and 1 more: rds 80: bad regex (from "
               "virtualservices.networking.istio.io/default/one)\n"
               "error: rejected: @7 is live on 5/6 after 3 ms\n");
    fake_check(&f, "wait @9", CLI_TIMED_OUT, "", "error: not applied here\n");
    assert_int_equal(fake_run(&f, "wait @x"), CLI_USAGE);
    assert_int_equal(fake_run(&f, "wait --for=condition=X"), CLI_USAGE);
    assert_int_equal(fake_run(&f, "wait --for=sunshine vs/one"), CLI_USAGE);
    fake_stop(&f);
}

/* The change is made, and a proxy does not take it: the file that caused it is named, and scripts
 * see a failure whatever the format. */
static void test_rejected_change_names_the_file(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {BATCH, 200, ANSWER(ITEM("configured", "one")), NULL},
        {"GET /weft/v1/wait?revision=41&timeout=2s", 200,
         "{\"revision\":41,\"live\":5,\"total\":6,\"ms\":3,\"rejected\":[{\"proxy\":\"p.default\","
         "\"proxies\":1,\"type\":\"rds\",\"resource\":\"80\",\"message\":\"bad regex\","
         "\"sources\":[\"virtualservices.networking.istio.io/default/one\"]}]}",
         NULL},
        {0},
    };
    static const char said[] =
        "stdin:1: VirtualService default/one: rejected by p.default: rds 80: bad regex (from "
        "virtualservices.networking.istio.io/default/one)\n"
        "error: rejected: @41 is live on 5/6 after 3 ms\n";
    struct fake f;
    struct err err = {0};
    fake_start(&f, answers);
    f.input = VS("one");
    fake_check(&f, "apply -f - --wait=2s", CLI_FAILED,
               "virtualservice.networking.istio.io/one configured\n", said);
    assert_int_equal(fake_run(&f, "apply -f - --wait=2s -o json"), CLI_FAILED);
    assert_string_equal(f.err, said);
    json_t *out = json_parse(slice_of(f.out), &err);
    check_slice(json_str(out, "wait.rejected[0].proxy"), S("p.default"));
    json_decref(out);
    fake_stop(&f);
}

#define VS_PATH "/apis/networking.istio.io/v1/namespaces/default/virtualservices"
#define LIVE(rv, generation, observed, status)                                                     \
    "{\"metadata\":{\"name\":\"one\",\"resourceVersion\":\"" rv "\",\"generation\":" generation    \
    "},\"status\":{\"conditions\":[{\"type\":\"Distributed\",\"status\":\"" status                 \
    "\",\"observedGeneration\":" observed "}]}}"

static void test_wait_for(void **state)
{
    (void)state;
    static const char list[] = "GET " VS_PATH "?fieldSelector=metadata.name%3Done";
    static const char watch[] =
        "GET " VS_PATH
        "?watch=1&fieldSelector=metadata.name%3Done&allowWatchBookmarks=true&resourceVersion=5";
    static const struct canned answers[] = {
        /* A condition of the last generation does not count. */
        {list, 200,
         "{\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[" LIVE("5", "2", "1", "True") "]}",
         NULL},
        {watch, 200,
         "{\"type\":\"MODIFIED\",\"object\":" LIVE(
             "6", "2", "2", "False") "}\n"
                                     "{\"type\":\"MODIFIED\",\"object\":" LIVE("7", "2", "2",
                                                                               "True") "}\n",
         NULL},
        {list, 200,
         "{\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[" LIVE("5", "1", "1", "True") "]}",
         NULL},
        {watch, 200, "{\"type\":\"DELETED\",\"object\":" LIVE("8", "1", "1", "True") "}\n", NULL},
        {list, 200, "{\"metadata\":{\"resourceVersion\":\"8\"},\"items\":[]}", NULL},
        {0},
    };
    struct fake f;
    fake_start(&f, answers);
    fake_check(&f, "wait --for=condition=Distributed vs/one", CLI_OK,
               "virtualservice.networking.istio.io/one condition Distributed met\n", "");
    fake_check(&f, "wait --for=delete vs one", CLI_OK,
               "virtualservice.networking.istio.io/one deleted\n", "");
    fake_check(&f, "wait --for=condition=Distributed vs/one", CLI_FAILED, "",
               "error: virtualservices \"one\" not found\n");
    assert_int_equal(fake_run(&f, "wait --for=condition=Distributed svc/one"), CLI_BAD_INPUT);
    assert_non_null(strstr(f.err, "services carry no condition Distributed"));
    fake_stop(&f);
}

static void test_delete(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {BATCH, 200,
         "{\"revision\":42,\"items\":[{\"verb\":\"delete\",\"result\":\"deleted\",\"kind\":"
         "\"VirtualService\",\"group\":\"networking.istio.io\",\"name\":\"one\"}]}",
         NULL},
        {BATCH, 404,
         STATUS(404, "NotFound", "items[0]: virtualservices.networking.istio.io not found"), NULL},
        {"GET " VS_PATH "?limit=500&labelSelector=app%3Dx", 200,
         "{\"metadata\":{},\"items\":[{\"metadata\":{\"name\":\"one\",\"namespace\":\"default\"}}]"
         "}",
         NULL},
        {"GET " VS_PATH "/gone", 404, STATUS(404, "NotFound", "gone"), NULL},
        {"GET " VS_PATH "/one", 200, LIVE("5", "1", "1", "True"), NULL},
        {0},
    };
    struct fake f;
    struct err err = {0};
    fake_start(&f, answers);
    fake_check(&f, "delete vs one", CLI_OK, "virtualservice.networking.istio.io/one deleted\n", "");
    json_t *sent = json_parse(buf_slice(&f.last_body), &err);
    check_slice(json_str(sent, "items[0].verb"), S("delete"));
    check_slice(json_str(sent, "items[0].object.kind"), S("VirtualService"));
    json_decref(sent);
    fake_check(&f, "delete vs/one", CLI_FAILED, "",
               "error: virtualservices.networking.istio.io not found\n");
    assert_int_equal(fake_run(&f, "delete vs"), CLI_USAGE);
    assert_int_equal(fake_run(&f, "delete proxies p"), CLI_USAGE);
    assert_int_equal(fake_run(&f, "delete"), CLI_USAGE);
    assert_int_equal(f.log.n, 0);
    fake_stop(&f);
    fake_start(&f, answers);
    fake_check(&f, "delete vs -l app=x", CLI_OK, "virtualservice.networking.istio.io/one deleted\n",
               "");
    fake_stop(&f);
    fake_start(&f, answers);
    fake_check(&f, "delete vs gone --ignore-not-found", CLI_OK, "", "No resources found\n");
    fake_check(&f, "delete vs gone one --ignore-not-found", CLI_OK,
               "virtualservice.networking.istio.io/one deleted\n", "");
    sent = json_parse(buf_slice(&f.last_body), &err);
    assert_int_equal(json_array_size(json_object_get(sent, "items")), 1);
    json_decref(sent);
    fake_stop(&f);
}

/* Wrong: what holds more objects than one revision can cannot be deleted. */
static void test_delete_many(void **state)
{
    (void)state;
    struct buf list = {0};
    struct err err = {0};
    buf_append(&list, S("{\"metadata\":{},\"items\":["));
    for (int i = 0; i < 2 * CLI_DELETE_PART + 5; i++)
        buf_printf(&list, "%s{\"metadata\":{\"name\":\"n%d\",\"namespace\":\"default\"}}",
                   i ? "," : "", i);
    buf_append(&list, S("]}"));
    buf_append_byte(&list, 0);
    const struct canned answers[] = {
        {"GET " VS_PATH "?limit=500", 200, list.p, NULL},
        {BATCH, 200, "{\"revision\":42,\"items\":[]}", NULL},
        {0},
    };
    struct fake f;
    fake_start(&f, answers);
    assert_int_equal(fake_run(&f, "delete vs --all"), CLI_OK);
    check_slice(buf_slice(&f.log),
                S("GET " VS_PATH "?limit=500\n" BATCH "\n" BATCH "\n" BATCH "\n"));
    json_t *sent = json_parse(buf_slice(&f.last_body), &err);
    assert_int_equal(json_array_size(json_object_get(sent, "items")), 5);
    check_slice(json_str(sent, "items[4].object.metadata.name"), S("n2004"));
    json_decref(sent);
    fake_stop(&f);
    buf_fini(&list);
}

static void test_diff(void **state)
{
    (void)state;
#define OBJECT(host, rv)                                                                           \
    "{\"apiVersion\":\"networking.istio.io/v1\",\"kind\":\"VirtualService\",\"metadata\":{"        \
    "\"name\":\"one\",\"namespace\":\"default\",\"uid\":\"u\",\"generation\":" rv                  \
    "},\"spec\":{\"hosts\":[\"" host "\"]},\"status\":{}}"
#define PREVIEW(host)                                                                              \
    "{\"revision\":41,\"items\":[{\"result\":\"configured\",\"name\":\"one\",\"object\":" OBJECT(  \
        host, "9") "}]}"
    static const struct canned answers[] = {
        {DRY, 200, PREVIEW("one"), NULL},
        {"GET " VS_PATH "/one", 200, OBJECT("one", "8"), NULL},
        {DRY, 200, PREVIEW("two"), NULL},
        {DRY, 422, INVALID(CAUSE("items[0].spec", "is wrong")), NULL},
        {DRY, 404, STATUS(404, "NotFound", "namespaces not found"), NULL},
        {0},
    };
    struct fake f;
    fake_start(&f, answers);
    f.input = VS("one");
    fake_check(&f, "diff -f -", CLI_DIFF_SAME, "", "");
    fake_check(&f, "diff -f -", CLI_DIFF_DIFFERS,
               "--- live/virtualservices.networking.istio.io/default/one\n"
               "+++ new/virtualservices.networking.istio.io/default/one\n"
               "@@ -5,4 +5,4 @@\n"
               "   namespace: default\n"
               " spec:\n"
               "   hosts:\n"
               "-  - one\n"
               "+  - two\n",
               "");
    assert_int_equal(fake_run(&f, "diff -f -"), CLI_BAD_INPUT);
    /* 1 would say that something differs. */
    assert_int_equal(fake_run(&f, "diff -f -"), CLI_DIFF_FAILED);
    fake_stop(&f);
}

/* Fail-over. */

static void on_accept(void *ctx, struct env_stream *s)
{
    (void)ctx;
    env_stream_close(s);
}

/* An address on which nobody listens. */
static struct slice dead_address(struct env *env, char *dst)
{
    struct env_addr any;
    struct err err = {0};
    assert_true(env_addr_parse(&any, S("127.0.0.1:0"), &err));
    struct env_listener *l = env_listen(env, &any, NULL, on_accept, NULL, &err);
    assert_non_null(l);
    struct slice text = env_addr_format(env_listener_addr(l), dst);
    env_listener_close(l);
    return text;
}

static void test_the_next_node_is_asked(void **state)
{
    (void)state;
    static const struct canned answers[] = {{BATCH, 200, ANSWER(ITEM("configured", "one")), NULL},
                                            {0}};
    static const struct canned alone[] = {
        {BATCH, 503, STATUS(503, "ServiceUnavailable", "no quorum"), NULL}, {0}};
    struct fake f, cut_off;
    char dead[ENV_ADDR_TEXT], addrs[ENV_ADDR_TEXT * 3];
    fake_start(&f, answers);
    f.input = VS("one");
    dead_address(f.env, dead);
    snprintf(addrs, sizeof(addrs), "%s,%s", dead, f.addr);
    assert_int_equal(fake_run_at(&f, addrs, "apply -f -"), CLI_OK);
    assert_int_equal(fake_run_at(&f, dead, "apply -f -"), CLI_UNREACHABLE);
    assert_true(slice_contains(slice_of(f.err), slice_of(dead)));
    /* A node without the others refuses; another one may have them. Both share one loop here. */
    cut_off = (struct fake){.answers = alone, .env = f.env};
    cut_off.server =
        http_server_new(f.env, &(struct http_server_options){0}, fake_on_request, &cut_off);
    struct env_addr any;
    struct err err = {0};
    assert_true(env_addr_parse(&any, S("127.0.0.1:0"), &err));
    assert_true(http_server_listen(cut_off.server, &any, NULL, &err));
    env_addr_format(http_server_addr(cut_off.server, 0), cut_off.addr);
    snprintf(addrs, sizeof(addrs), "%s,%s", cut_off.addr, f.addr);
    assert_int_equal(fake_run_at(&f, addrs, "apply -f -"), CLI_OK);
    check_slice(buf_slice(&cut_off.log), S(BATCH "\n"));
    http_server_free(cut_off.server);
    buf_fini(&cut_off.log);
    buf_fini(&cut_off.last_body);
    fake_stop(&f);
}

/* The answer of a write is lost: what does the same when done twice is done again, the rest is left
 * to the user, who is told. */
static void test_lost_answers(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {BATCH, 0, NULL, NULL}, {BATCH, 200, ANSWER(ITEM("unchanged", "one")), NULL}, {0}};
    struct fake f;
    char twice[ENV_ADDR_TEXT * 2 + 2];
    fake_start(&f, answers);
    f.input = VS("one");
    snprintf(twice, sizeof(twice), "%s,%s", f.addr, f.addr);
    assert_int_equal(fake_run_at(&f, twice, "apply -f -"), CLI_OK);
    check_slice(buf_slice(&f.log), S(BATCH "\n" BATCH "\n"));
    fake_stop(&f);
    fake_start(&f, answers);
    f.input = VS("one");
    snprintf(twice, sizeof(twice), "%s,%s", f.addr, f.addr);
    assert_int_equal(fake_run_at(&f, twice, "create -f -"), CLI_FAILED);
    check_slice(buf_slice(&f.log), S(BATCH "\n"));
    assert_true(slice_contains(slice_of(f.err), S("the change may have been made")));
    fake_stop(&f);
}

static void test_bad_addresses(void **state)
{
    (void)state;
    static const struct canned answers[] = {{0}};
    struct fake f;
    fake_start(&f, answers);
    f.input = VS("one");
    assert_int_equal(fake_run_at(&f, "https://x", "status"), CLI_FAILED);
    assert_int_equal(fake_run_at(&f, ",", "status"), CLI_BAD_INPUT);
    assert_int_equal(fake_run_at(&f, "127.0.0.1:99999", "status"), CLI_BAD_INPUT);
    fake_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apply),
        cmocka_unit_test(test_client_dry_run_asks_nobody),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_warnings_go_to_stderr),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_rejected_change_names_the_file),
        cmocka_unit_test(test_wait_for),
        cmocka_unit_test(test_delete),
        cmocka_unit_test(test_delete_many),
        cmocka_unit_test(test_diff),
        cmocka_unit_test(test_the_next_node_is_asked),
        cmocka_unit_test(test_lost_answers),
        cmocka_unit_test(test_bad_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
