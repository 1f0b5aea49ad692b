/* If this fails, a change is sent in parts, twice or not at all, is said to be live when it is not,
 * or a script that looks at the exit code goes on as if nothing had happened. */
#include "base/core/hash.h"
#include "base/wire/yaml.h"
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

/* Deletions of many objects: n0, n1, … in three parts. */

#define PART CLI_DELETE_PART_OBJECTS_MAX
#define MANY (2 * PART + 5)
#define DELETED(kind, group, name)                                                                 \
    "{\"verb\":\"delete\",\"result\":\"deleted\",\"kind\":\"" kind "\",\"group\":\"" group         \
    "\",\"name\":\"" name "\"}"
#define VS_DELETED(name) DELETED("VirtualService", "networking.istio.io", name)
#define PART_ANSWER(revision, name, warnings)                                                      \
    "{\"revision\":" revision                                                                      \
    ",\"dryRun\":false,\"items\":[" VS_DELETED(name) "],\"warnings\":[" warnings "]}"
#define VS_TITLE "virtualservice.networking.istio.io/"
static_assert(PART == 1000, "the texts below say so");

/* VirtualServices n0…, each with a host of host_bytes. */
static const char *many_yaml(struct buf *text, int n, int host_bytes)
{
    for (int i = 0; i < n; i++)
        buf_printf(text,
                   "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                   "metadata: {name: n%d}\nspec:\n  hosts: [%0*d]\n",
                   i, host_bytes, i);
    buf_append_byte(text, 0);
    return text->p;
}

/* Wrong: more objects than one revision holds, or one stream of YAML, cannot be deleted. */
static void test_delete_many(void **state)
{
    (void)state;
    static const int counts[] = {MANY, 2 * YAML_DOCS_MAX + 5};
    for (size_t k = 0; k < ARRAY_LEN(counts); k++) {
        struct buf list = {0};
        size_t requests = 0, sent = 0, parts = (size_t)(counts[k] + PART - 1) / PART;
        struct err err = {0};
        buf_append(&list, S("{\"metadata\":{},\"items\":["));
        for (int i = 0; i < counts[k]; i++)
            buf_printf(&list, "%s{\"metadata\":{\"name\":\"n%d\",\"namespace\":\"default\"}}",
                       i ? "," : "", i);
        buf_append(&list, S("]}"));
        buf_append_byte(&list, 0);
        const struct canned answers[] = {
            {"GET " VS_PATH "?limit=500", 200, list.p, NULL},
            {BATCH, 200, PART_ANSWER("42", "n0", ""), NULL},
            {0},
        };
        struct fake f;
        fake_start(&f, answers);
        assert_int_equal(fake_run(&f, "delete vs --all"), CLI_OK);
        struct slice rest = buf_slice(&f.log), line;
        while (rest.n) {
            slice_cut(rest, '\n', &line, &rest);
            requests += slice_eq(line, S(BATCH));
        }
        assert_int_equal(requests, parts);
        json_t *last = json_parse(buf_slice(&f.last_body), &err);
        json_t *items = json_object_get(last, "items");
        sent = json_array_size(items);
        assert_int_equal(sent + (parts - 1) * PART, counts[k]);
        char name[16];
        snprintf(name, sizeof(name), "n%d", counts[k] - 1);
        check_slice(json_str(json_array_get(items, sent - 1), "object.metadata.name"),
                    slice_of(name));
        json_decref(last);
        fake_stop(&f);
        buf_fini(&list);
    }
}

#define PART_1 "error: refused; 1,000 of 2,005 objects are deleted already\n"

/* Wrong: somebody reads that nothing was changed, and 1,000 objects are gone; or is sent to the
 * line of another object. */
static void test_refusal_of_a_later_part(void **state)
{
    (void)state;
    static const struct {
        struct canned second;
        const char *line;
        int code;
        const char *out, *err;
    } cases[] = {
        {{BATCH, 404, STATUS(404, "NotFound", "items[5]: gone"), NULL},
         "delete -f -",
         CLI_FAILED,
         VS_TITLE "n0 deleted\n",
         "stdin:6032: VirtualService default/n1005: gone\n" PART_1},
        {{BATCH, 422, INVALID(CAUSE("items[999].spec", "WFT0173: is used")), NULL},
         "delete -f -",
         CLI_FINDINGS,
         VS_TITLE "n0 deleted\n",
         "stdin:11999: VirtualService default/n1999: spec: WFT0173: is used\n" PART_1},
        {{BATCH, 503, STATUS(503, "ServiceUnavailable", "no quorum"), NULL},
         "delete -f -",
         CLI_UNREACHABLE,
         VS_TITLE "n0 deleted\n",
         "error: no quorum\nerror: stopped; 1,000 of 2,005 objects are deleted already\n"},
        {{DRY, 404, STATUS(404, "NotFound", "items[5]: gone"), NULL},
         "delete -f - --dry-run",
         CLI_FAILED,
         VS_TITLE "n0 deleted (server dry run)\n",
         "stdin:6032: VirtualService default/n1005: gone\nerror: refused, nothing was changed\n"},
    };
    struct buf text = {0};
    const char *input = many_yaml(&text, MANY, 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct canned answers[] = {
            {cases[i].second.request, 200, PART_ANSWER("42", "n0", ""), NULL},
            cases[i].second,
            {0},
        };
        struct fake f;
        fake_start(&f, answers);
        f.input = input;
        fake_check(&f, cases[i].line, cases[i].code, cases[i].out, cases[i].err);
        struct slice first, second, rest; /* and no third */
        assert_true(slice_cut(buf_slice(&f.log), '\n', &first, &rest));
        assert_true(slice_cut(rest, '\n', &second, &rest));
        assert_int_equal(rest.n, 0);
        fake_stop(&f);
    }
    buf_fini(&text);
}

/* Wrong: with --fail-on=warning a later part is deleted against its finding, or it is said that
 * nothing was changed. */
static void test_finding_in_a_later_part(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {DRY, 200, PART_ANSWER("41", "n0", ""), NULL},
        {BATCH, 200, PART_ANSWER("42", "n0", ""), NULL},
        {DRY, 200, PART_ANSWER("42", "n1000", "\"items[0].spec: WFT0101: is used\""), NULL},
        {0},
    };
    struct buf text = {0};
    struct fake f;
    fake_start(&f, answers);
    f.input = many_yaml(&text, MANY, 1);
    fake_check(&f, "delete -f - --fail-on=warning", CLI_FINDINGS, VS_TITLE "n0 deleted\n",
               "Warning: stdin:6005: VirtualService default/n1000: spec: WFT0101: is used\n"
               "error: the analysis warns and --fail-on=warning was given; "
               "1,000 of 2,005 objects are deleted already\n");
    check_slice(buf_slice(&f.log), S(DRY "\n" BATCH "\n" DRY "\n"));
    fake_stop(&f);
    buf_fini(&text);
}

#define REJECTED(source)                                                                           \
    "{\"revision\":44,\"live\":5,\"total\":6,\"ms\":3,\"rejected\":[{\"proxy\":\"p.default\","     \
    "\"proxies\":1,\"type\":\"rds\",\"resource\":\"80\",\"message\":\"bad regex\","                \
    "\"sources\":[\"virtualservices.networking.istio.io/default/" source "\"]}]}"
#define PARTS                                                                                      \
    {BATCH, 200, PART_ANSWER("42", "n0", ""), NULL},                                               \
        {BATCH, 200, PART_ANSWER("43", "n1000", "\"spec.x: odd\",\"items[0].spec: odd\""), NULL},  \
    {                                                                                              \
        BATCH, 200, PART_ANSWER("44", "n2000", "\"items[4].spec: odd\""), NULL                     \
    }
#define PARTS_LOG BATCH "\n" BATCH "\n" BATCH "\n"
#define WAIT_44 "GET /weft/v1/wait?revision=44&timeout=30s"

/* Wrong: one slow or refusing proxy leaves the rest undeleted; or the line of another object is
 * said to be the reason. */
static void test_wait_once_for_all_parts(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        PARTS,
        {WAIT_44, 200, REJECTED("n3"), NULL},
        {WAIT_44, 200, REJECTED("n1005"), NULL},
        {WAIT_44, 504, "{\"revision\":44,\"live\":5,\"total\":6,\"ms\":-1,\"rejected\":[]}", NULL},
        {0},
    };
    static const struct {
        int code;
        const char *err; /* begins so */
    } want[] = {
        {CLI_FAILED, "stdin:20: VirtualService default/n3: rejected by p.default: "},
        {CLI_FAILED, "stdin:6032: VirtualService default/n1005: rejected by p.default: "},
        {CLI_TIMED_OUT, "error: timed out: @44 is live on 5/6"},
    };
    struct buf text = {0};
    struct fake f;
    fake_start(&f, answers);
    f.input = many_yaml(&text, MANY, 1);
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_int_equal(fake_run(&f, "delete -f - --wait"), want[i].code);
        check_slice(buf_slice(&f.log), S(PARTS_LOG WAIT_44 "\n"));
        if (!slice_contains(slice_of(f.err), slice_of(want[i].err)))
            fail_msg("case %zu: \"%s\" lacks \"%s\"", i, f.err, want[i].err);
        memset(f.used, 0, 3 * sizeof(f.used[0])); /* the parts again */
    }
    fake_stop(&f);
    buf_fini(&text);
}

/* Wrong: a script that reads the answer finds three of them, or only a part of what was done. */
static void test_parts_are_one_answer(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        PARTS,
        {WAIT_44, 200, "{\"revision\":44,\"live\":6,\"total\":6,\"ms\":3,\"rejected\":[]}", NULL},
        {0},
    };
    static const struct canned broken[] = {
        {BATCH, 200, PART_ANSWER("42", "n0", ""), NULL}, {BATCH, 0, NULL, NULL}, {0}};
    struct buf text = {0};
    struct err err = {0};
    struct fake f;
    fake_start(&f, answers);
    f.input = many_yaml(&text, MANY, 1);
    assert_int_equal(fake_run(&f, "delete -f - --wait -o json"), CLI_OK);
    json_t *out = json_parse(slice_of(f.out), &err);
    assert_non_null(out);
    assert_int_equal(json_int(out, "revision", 0), 44);
    assert_int_equal(json_int(out, "wait.live", 0), 6);
    assert_int_equal(json_array_size(json_object_get(out, "items")), 3);
    check_slice(json_str(out, "items[0].name"), S("n0"));
    check_slice(json_str(out, "items[2].name"), S("n2000"));
    /* items[…] of a part is said of the item of the whole; each part has one here. */
    check_slice(json_str(out, "warnings[0]"), S("spec.x: odd"));
    check_slice(json_str(out, "warnings[1]"), S("items[1].spec: odd"));
    check_slice(json_str(out, "warnings[2]"), S("items[6].spec: odd"));
    json_decref(out);
    fake_stop(&f);
    fake_start(&f, broken);
    f.input = text.p;
    assert_int_equal(fake_run(&f, "delete -f - -o json"), CLI_FAILED);
    assert_true(slice_contains(slice_of(f.err), S("stopped; 1,000 of 2,005 objects are deleted")));
    out = json_parse(slice_of(f.out), &err); /* what is deleted, is */
    assert_int_equal(json_array_size(json_object_get(out, "items")), 1);
    json_decref(out);
    fake_stop(&f);
    buf_fini(&text);
}

/* Wrong: large objects cannot be deleted, since 1,000 of them are more than a request may have. */
static void test_deletion_sends_identity_only(void **state)
{
    (void)state;
    static const struct canned answers[] = {{BATCH, 200, PART_ANSWER("42", "n0", ""), NULL}, {0}};
    struct buf text = {0};
    struct err err = {0};
    struct fake f;
    fake_start(&f, answers);
    f.input = many_yaml(&text, PART, 2000);
    assert_true(text.n > JSON_BYTES_MAX);
    fake_check(&f, "delete -f -", CLI_OK, VS_TITLE "n0 deleted\n", "");
    check_slice(buf_slice(&f.log), S(BATCH "\n"));
    json_t *sent = json_parse(buf_slice(&f.last_body), &err);
    json_t *want = json_parse(S("{\"apiVersion\":\"networking.istio.io/v1\","
                                "\"kind\":\"VirtualService\","
                                "\"metadata\":{\"name\":\"n999\",\"namespace\":\"default\"}}"),
                              &err);
    assert_true(json_equal(json_at(sent, "items[999].object"), want));
    json_decref(want);
    json_decref(sent);
    fake_stop(&f);
    buf_fini(&text);
}

/* Wrong: a change that is always refused is sent all the same, and nobody says what to do. */
static void test_more_than_one_revision_holds(void **state)
{
    (void)state;
    static const struct canned answers[] = {{BATCH, 200, ANSWER(ITEM("created", "n0")), NULL}, {0}};
    static const char *const lines[] = {"apply -f -", "create -f -", "apply -f - --dry-run",
                                        "diff -f -"};
    static const char said[] = "error: 1,025 objects are more than one change can hold (1,024): "
                               "make it in parts, several calls with fewer files each\n";
    struct buf text = {0}, fitting = {0};
    struct fake f;
    fake_start(&f, answers);
    f.input = many_yaml(&text, CLI_CHANGE_OBJECTS_MAX + 1, 1);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        fake_check(&f, lines[i], CLI_BAD_INPUT, "", said);
        assert_int_equal(f.log.n, 0);
    }
    f.input = many_yaml(&fitting, CLI_CHANGE_OBJECTS_MAX, 1);
    assert_int_equal(fake_run(&f, "apply -f -"), CLI_OK);
    fake_stop(&f);
    buf_fini(&text);
    buf_fini(&fitting);
}

/* Wrong: a change is made and then the command line is said to be wrong. */
static void test_wait_time_is_read_first(void **state)
{
    (void)state;
    static const struct canned answers[] = {{0}};
    struct fake f;
    fake_start(&f, answers);
    assert_int_equal(fake_run(&f, "delete vs one --wait=soon"), CLI_USAGE);
    assert_int_equal(f.log.n, 0);
    fake_stop(&f);
}

/* Namespaces. */

#define NS_PATH "/api/v1/namespaces/"
#define DELETE_NS(name) "DELETE " NS_PATH name
#define SUCCESS "{\"kind\":\"Status\",\"status\":\"Success\"}"
#define NS(name) "apiVersion: v1\nkind: Namespace\nmetadata: {name: " name "}\n"
#define WAIT_NEWEST "GET /weft/v1/wait?timeout=30s"

/* Wrong: a namespace of more objects than one revision holds cannot be deleted; or what else is to
 * go is looked for in a namespace that is gone already. */
static void test_delete_namespaces(void **state)
{
    (void)state;
    static const struct canned answers[] = {
        {DELETE_NS("shop"), 200, SUCCESS, NULL},
        {DELETE_NS("bank"), 200, SUCCESS, NULL},
        {DELETE_NS("shop?dryRun=All"), 200, SUCCESS, NULL},
        {BATCH, 200, PART_ANSWER("42", "one", ""), NULL},
        {DRY, 200, PART_ANSWER("42", "one", ""), NULL},
        {WAIT_NEWEST, 200, "{\"revision\":47,\"live\":6,\"total\":6,\"ms\":12,\"rejected\":[]}",
         NULL},
        {0},
    };
    struct fake f;
    struct err err = {0};
    fake_start(&f, answers);
    fake_check(&f, "delete namespace shop bank --wait", CLI_OK,
               "namespace/shop deleted\nnamespace/bank deleted\n"
               "deleted @47, live on 6/6 in 12 ms\n",
               "");
    check_slice(buf_slice(&f.log),
                S(DELETE_NS("shop") "\n" DELETE_NS("bank") "\n" WAIT_NEWEST "\n"));
    f.input = NS("shop") "---\n" VS("one");
    fake_check(&f, "delete -f - --wait -o name", CLI_OK, VS_TITLE "one\nnamespace/shop\n", "");
    check_slice(buf_slice(&f.log), S(BATCH "\n" DELETE_NS("shop") "\n" WAIT_NEWEST "\n"));
    json_t *sent = json_parse(buf_slice(&f.last_body), &err);
    assert_int_equal(json_array_size(json_object_get(sent, "items")), 1);
    json_decref(sent);
    fake_check(&f, "delete -f - --dry-run=server", CLI_OK,
               VS_TITLE "one deleted (server dry run)\nnamespace/shop deleted (server dry run)\n",
               "");
    check_slice(buf_slice(&f.log), S(DRY "\n" DELETE_NS("shop?dryRun=All") "\n"));

    assert_int_equal(fake_run(&f, "delete -f - -o json"), CLI_OK);
    json_t *out = json_parse(slice_of(f.out), &err);
    json_t *item = json_parse(S(DELETED("Namespace", "", "shop")), &err);
    assert_int_equal(json_array_size(json_object_get(out, "items")), 2);
    assert_true(json_equal(json_at(out, "items[1]"), item));
    /* That of the batch is not the last. */
    assert_null(json_object_get(out, "revision"));
    json_decref(item);
    json_decref(out);
    fake_stop(&f);
}

/* Wrong: a namespace is gone in part and it is said that nothing was changed; or the other way
 * round, one that was never reached is said to be damaged. */
static void test_namespace_is_refused(void **state)
{
    (void)state;
    static const struct {
        struct canned answer;
        const char *line, *input;
        int code;
        const char *err;
    } cases[] = {
        {{DELETE_NS("shop"), 404, STATUS(404, "NotFound", "namespaces not found"), NULL},
         "delete ns shop",
         "",
         CLI_FAILED,
         "error: namespaces not found\n"},
        {{DELETE_NS("shop"), 404, STATUS(404, "NotFound", "namespaces not found"), NULL},
         "delete -f -",
         NS("shop"),
         CLI_FAILED,
         "stdin:1: Namespace shop: namespaces not found\nerror: refused, nothing was changed\n"},
        {{DELETE_NS("shop"), 404, STATUS(404, "NotFound", "namespaces not found"), NULL},
         "delete -f -",
         NS("shop") "---\n" VS("one"),
         CLI_FAILED,
         "stdin:1: Namespace shop: namespaces not found\n"
         "error: refused; 1 of 2 objects is deleted already\n"},
        {{DELETE_NS("shop"), 504, STATUS(504, "Timeout", "the write may have been made"), NULL},
         "delete ns shop",
         "",
         CLI_TIMED_OUT,
         "error: the write may have been made\n"
         "error: stopped; some of what lives in namespace/shop may be deleted\n"},
        /* --timeout holds instead of the long time that a namespace may take. */
        {{DELETE_NS("shop"), FAKE_SILENT, NULL, NULL},
         "delete ns shop --timeout=20ms",
         "",
         CLI_UNREACHABLE,
         "error: the control plane did not answer in time: DELETE /api/v1/namespaces/shop: no "
         "answer in time\n"
         "error: stopped; some of what lives in namespace/shop may be deleted\n"},
        {{DELETE_NS("shop?dryRun=All"), 504, STATUS(504, "Timeout", "late"), NULL},
         "delete ns shop --dry-run",
         "",
         CLI_TIMED_OUT,
         "error: late\n"},
        {{DELETE_NS("shop?dryRun=All"), 200, SUCCESS, "299 - \"spec: WFT0101: is used\""},
         "delete ns shop --fail-on=warning",
         "",
         CLI_FINDINGS,
         "Warning: spec: WFT0101: is used\n"
         "error: the analysis warns and --fail-on=warning was given, nothing was changed\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct canned answers[] = {
            cases[i].answer, {BATCH, 200, PART_ANSWER("42", "one", ""), NULL}, {0}};
        struct fake f;
        fake_start(&f, answers);
        f.input = cases[i].input[0] ? cases[i].input : NULL;
        wf_ms began = env_now(f.env);
        assert_int_equal(fake_run(&f, cases[i].line), cases[i].code);
        assert_string_equal(f.err, cases[i].err);
        assert_true(env_now(f.env) - began < CLI_TIMEOUT_MS);
        fake_stop(&f);
    }
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
    assert_int_equal(fake_run_at(&f, dead, "delete ns shop"), CLI_UNREACHABLE);
    assert_false(slice_contains(slice_of(f.err), S("may be deleted")));
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
    buf_fini(&cut_off.keys);
    fake_stop(&f);
}

/* The answer of a write is lost, or a node does not know what came of it: the same is sent to the
 * next one under the same key, which does it once. */
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
    assert_int_equal(fake_run_at(&f, twice, "create -f -"), CLI_OK);
    check_slice(buf_slice(&f.log), S(BATCH "\n" BATCH "\n"));
    struct slice first, second;
    slice_cut(buf_slice(&f.keys), '\n', &first, &second);
    assert_int_equal(first.n, UUID_BYTES);
    assert_true(slice_starts(second, first));
    fake_stop(&f);
    static const struct canned unknown[] = {
        {BATCH, 504, "{\"kind\":\"Status\",\"code\":504,\"message\":\"no answer in time\"}", NULL},
        {BATCH, 200, ANSWER(ITEM("created", "one")), NULL},
        {0}};
    fake_start(&f, unknown);
    f.input = VS("one");
    snprintf(twice, sizeof(twice), "%s,%s", f.addr, f.addr);
    assert_int_equal(fake_run_at(&f, twice, "create -f -"), CLI_OK);
    check_slice(buf_slice(&f.log), S(BATCH "\n" BATCH "\n"));
    fake_stop(&f);
}

/* A write of which nobody knows, sent again to a node that refuses it: "nothing was done" is true of
 * the second try only, and is no answer to whether the change was made. */
static void test_a_refusal_does_not_settle_a_lost_answer(void **state)
{
    static const struct {
        struct canned first, second;
        int code;
        bool open;
    } cases[] = {
        {{BATCH, 0, NULL, NULL},
         {BATCH, 503, STATUS(503, "ServiceUnavailable", "no quorum: nothing was done"), NULL},
         CLI_FAILED,
         true},
        {{BATCH, 504, STATUS(504, "Timeout", "it may have been done"), NULL},
         {BATCH, 507, STATUS(507, "InsufficientStorage", "full: nothing was done"), NULL},
         CLI_FAILED,
         true},
        {{BATCH, 0, NULL, NULL}, {BATCH, 0, NULL, NULL}, CLI_FAILED, true},
        {{BATCH, 503, STATUS(503, "ServiceUnavailable", "no quorum: nothing was done"), NULL},
         {BATCH, 503, STATUS(503, "ServiceUnavailable", "no quorum: nothing was done"), NULL},
         CLI_UNREACHABLE,
         false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct canned answers[] = {cases[i].first, cases[i].second, {0}};
        struct fake f;
        char twice[ENV_ADDR_TEXT * 2 + 2];
        fake_start(&f, answers);
        f.input = VS("one");
        snprintf(twice, sizeof(twice), "%s,%s", f.addr, f.addr);
        assert_int_equal(fake_run_at(&f, twice, "apply -f -"), cases[i].code);
        check_slice(buf_slice(&f.log), S(BATCH "\n" BATCH "\n"));
        assert_true(slice_contains(slice_of(f.err), S("the change may have been made")) ==
                    cases[i].open);
        fake_stop(&f);
    }
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
        cmocka_unit_test(test_refusal_of_a_later_part),
        cmocka_unit_test(test_finding_in_a_later_part),
        cmocka_unit_test(test_wait_once_for_all_parts),
        cmocka_unit_test(test_parts_are_one_answer),
        cmocka_unit_test(test_deletion_sends_identity_only),
        cmocka_unit_test(test_more_than_one_revision_holds),
        cmocka_unit_test(test_wait_time_is_read_first),
        cmocka_unit_test(test_delete_namespaces),
        cmocka_unit_test(test_namespace_is_refused),
        cmocka_unit_test(test_diff),
        cmocka_unit_test(test_the_next_node_is_asked),
        cmocka_unit_test(test_lost_answers),
        cmocka_unit_test(test_a_refusal_does_not_settle_a_lost_answer),
        cmocka_unit_test(test_bad_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
