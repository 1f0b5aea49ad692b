/* If these fail, kubectl shows users a refusal that says nothing, a table without rows, or
 * conditions are written to the log again and again without a change. */
#include "api/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "api/check.h"
#include "api/table.h"
#include "base/wire/json.h"

static void expect(json_t *take, const char *text)
{
    struct buf out = {0};
    assert_true(json_write(&out, take, NULL));
    buf_append_byte(&out, 0);
    assert_string_equal(out.p + out.at, text);
    buf_fini(&out);
    json_decref(take);
}

static void says_no_as_kubernetes_does(void **state)
{
    struct err err = {0};
    const struct status_details details = {.name = S("a"), .kind = S("services")};
    (void)state;
    err_set(&err, ERR_NOT_FOUND, "services \"a\" not found");
    expect(status_of_err(&err, &details), "{\"apiVersion\":\"v1\",\"code\":404,\"details\":{"
                                          "\"kind\":\"services\",\"name\":\"a\"},\"kind\":"
                                          "\"Status\",\"message\":\"services \\\"a\\\" not "
                                          "found\",\"metadata\":{},\"reason\":\"NotFound\","
                                          "\"status\":\"Failure\"}");
    expect(status_success(&details), "{\"apiVersion\":\"v1\",\"code\":200,\"details\":{\"kind\":"
                                     "\"services\",\"name\":\"a\"},\"kind\":"
                                     "\"Status\",\"metadata\":{},\"status\":\"Success\"}");
    err_set(&err, ERR_GONE, "bytes \xff from outside");
    expect(status_of_err(&err, NULL),
           "{\"apiVersion\":\"v1\",\"code\":410,\"kind\":\"Status\",\"message\":\"bytes ? from "
           "outside\","
           "\"metadata\":{},\"reason\":\"Expired\",\"status\":\"Failure\"}");
}

static void gives_a_cause_for_each_problem(void **state)
{
    struct kind_report report = {0};
    struct check c = {.report = &report};
    (void)state;
    check_required_at(&c, "spec.host", "must be set");
    check_warn(&c, "only a warning");
    size_t at = check_enter(&c, "spec");
    check_invalid_at(&c, "port", "must be between %d and %d", 1, 65535);
    check_leave(&c, at);
    json_t *s = status_of_report(&kinds[KIND_DESTINATION_RULE], S("a"), &report);
    assert_int_equal(json_array_size(json_at(s, "details.causes")), 2);
    assert_true(slice_eq(json_str(s, "details.causes[0].reason"), S("FieldValueRequired")));
    assert_true(slice_eq(json_str(s, "details.causes[1].field"), S("spec.port")));
    assert_true(
        slice_eq(json_str(s, "message"),
                 S("DestinationRule.networking.istio.io \"a\" is invalid: spec.host: must be set; "
                   "spec.port: must be between 1 and 65535")));
    assert_int_equal(json_int(s, "code", 0), 422);
    json_decref(s);
    kind_report_fini(&report);
    buf_fini(&c.path);
}

static void conditions_change_only_when_they_do(void **state)
{
    json_t *o = json_pack("{s:{}}", "metadata");
    struct condition c = {.type = "Distributed",
                          .status = "False",
                          .reason = "Pending",
                          .message = S("0/2 @5"),
                          .observed_generation = 1,
                          .wall_ms = 1767225600000};
    (void)state;
    assert_true(condition_set(o, &c));
    c.wall_ms += 9000;
    assert_false(condition_set(o, &c));
    c.message = S("1/2 @5");
    assert_true(condition_set(o, &c));
    assert_true(slice_eq(json_str(condition_get(o, "Distributed"), "lastTransitionTime"),
                         S("2026-01-01T00:00:00Z")));
    c.status = "True";
    assert_true(condition_set(o, &c));
    assert_true(slice_eq(json_str(condition_get(o, "Distributed"), "lastTransitionTime"),
                         S("2026-01-01T00:00:09Z")));
    c.type = "Accepted";
    assert_true(condition_set(o, &c));
    assert_int_equal(json_array_size(json_at(o, "status.conditions")), 2);
    assert_null(condition_get(o, "Nope"));
    json_decref(o);
}

static void ages_as_kubectl(void **state)
{
    static const struct {
        int64_t seconds;
        const char *text;
    } cases[] = {
        {-5, "0s"},     {0, "0s"},        {119, "119s"},  {120, "2m"},      {200, "3m20s"},
        {600, "10m"},   {10799, "179m"},  {10800, "3h"},  {11100, "3h5m"},  {86400, "24h"},
        {172800, "2d"}, {180000, "2d2h"}, {691200, "8d"}, {3456000, "40d"},
    };
    char then[STATUS_TIME_BYTES];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = {0};
        table_age(slice_of(status_time(1767225600000, then)),
                  1767225600000 + cases[i].seconds * 1000, &out);
        buf_append_byte(&out, 0);
        assert_string_equal(out.p + out.at, cases[i].text);
        buf_fini(&out);
    }
}

static void tables_have_the_columns_of_the_kind(void **state)
{
    struct err err = {0};
    json_t *items = json_parse(S("[{\"metadata\":{\"name\":\"reviews\",\"creationTimestamp\":"
                                 "\"2026-01-01T00:00:00Z\"},\"spec\":{\"hosts\":"
                                 "[\"reviews\"],\"gateways\":[\"mesh\",\"g\"]},\"status\":{"
                                 "\"conditions\":[{\"type\":\"Distributed\","
                                 "\"message\":\"6/6 @41\"}]}}]"),
                               &err);
    json_t *t = table_of(&kinds[KIND_VIRTUAL_SERVICE], items, S("41"), 1767225600000 + 5000);
    static const char *const cells[] = {"reviews", "[\"mesh\",\"g\"]", "[\"reviews\"]", "6/6 @41",
                                        "5s"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cells); i++)
        assert_true(slice_eq(json_slice(json_array_get(json_at(t, "rows[0].cells"), i)),
                             slice_of(cells[i])));
    assert_int_equal(json_array_size(json_at(t, "columnDefinitions")), ARRAY_LEN(cells));
    assert_true(slice_eq(json_str(t, "metadata.resourceVersion"), S("41")));
    json_decref(t);
    json_decref(items);
}

static const char service[] = "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"type\":\"NodePort\","
                              "\"clusterIP\":\"10.0.0.1\",\"ports\":[{\"port\":80,"
                              "\"nodePort\":30080},{\"port\":53,\"protocol\":\"UDP\"}],"
                              "\"selector\":{\"b\":\"2\",\"a\":\"1\"}}}";
static const char slice_object[] = "{\"metadata\":{\"name\":\"a\"},\"addressType\":\"IPv4\","
                                   "\"ports\":[{\"port\":80},{}],\"endpoints\":[{\"addresses\":"
                                   "[\"1.1.1.1\"]},{\"addresses\":[\"1.1.1.2\",\"1.1.1.3\"]},{"
                                   "\"addresses\":[\"1.1.1.4\"]},{\"addresses\":[\"1.1.1.5\"]}]}";

static void cells_say_what_kubectl_says(void **state)
{
    static const struct {
        enum kind_id id;
        const char *object;
        const char *cells[6];
    } cases[] = {
        {KIND_SERVICE,
         service,
         {"NodePort", "10.0.0.1", "<none>", "80:30080/TCP,53/UDP", "a=1,b=2"}},
        {KIND_SERVICE, "{}", {"ClusterIP", "<none>", "<none>", "<none>", "<none>"}},
        {KIND_SERVICE,
         "{\"spec\":{\"type\":\"ExternalName\",\"externalName\":\"a.com\"}}",
         {"ExternalName", "<none>", "a.com", "<none>", "<none>"}},
        {KIND_ENDPOINT_SLICE,
         slice_object,
         {"IPv4", "80,*", "1.1.1.1,1.1.1.2,1.1.1.3 + 2 more..."}},
        {KIND_GATEWAY,
         "{\"spec\":{\"servers\":[{\"port\":{\"number\":80,\"protocol\":\"HTTP\"}}]}}",
         {"80/HTTP", "<unknown>"}},
        {KIND_DESTINATION_RULE,
         "{\"spec\":{\"host\":\"a\",\"subsets\":[{\"name\":\"v1\"},{\"name\":\"v2\"}]}}",
         {"a", "v1,v2", "<unknown>"}},
        {KIND_NAMESPACE, "{\"metadata\":{\"deletionTimestamp\":\"x\"}}", {"Terminating"}},
        {KIND_NAMESPACE, "{\"spec\":5}", {"Active"}},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        const struct kind *k = &kinds[cases[i].id];
        json_t *o = json_parse(slice_of(cases[i].object), &err);
        for (size_t c = 0; c < k->column_count; c++) {
            struct buf out = {0};
            k->columns[c].cell(o, &out);
            buf_append_byte(&out, 0);
            assert_string_equal(out.p + out.at, cases[i].cells[c]);
            buf_fini(&out);
        }
        json_decref(o);
    }
}

/* Else replicas that start at different times give one resource different versions. */
static void names_the_revision_of_what_is_said(void **state)
{
    (void)state;
#define SAYS(generation, observed, message)                                                        \
    "{\"metadata\":{\"generation\":" generation                                                    \
    "},\"status\":{\"conditions\":[{\"type\":\"Distributed\",\"observedGeneration\":" observed     \
    ",\"message\":\"" message "\"}]}}"
    static const struct {
        const char *object;
        uint64_t revision; /* with mod_rev 50 */
    } cases[] = {
        {SAYS("2", "2", "8/8 @41"), 41},
        {SAYS("2", "2", "no proxies @7"), 7},
        {SAYS("3", "2", "8/8 @41"), 50},
        {SAYS("2", "2", "8/8"), 50},
        {SAYS("2", "2", "8/8 @x"), 50},
        {SAYS("2", "2", "8/8 @51"), 50},
        {"{\"metadata\":{\"generation\":1}}", 50},
        {"{}", 50},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *o = json_parse(slice_of(cases[i].object), NULL);
        assert_non_null(o);
        if (status_said_at(o, 50) != cases[i].revision)
            fail_msg("%s", cases[i].object);
        json_decref(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_no_as_kubernetes_does),
        cmocka_unit_test(gives_a_cause_for_each_problem),
        cmocka_unit_test(conditions_change_only_when_they_do),
        cmocka_unit_test(ages_as_kubectl),
        cmocka_unit_test(tables_have_the_columns_of_the_kind),
        cmocka_unit_test(cells_say_what_kubectl_says),
        cmocka_unit_test(names_the_revision_of_what_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
