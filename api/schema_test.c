/* If these fail, weft takes fields that Istio does not know or refuses fields that it knows, or a
 * user is not told which field of the object is wrong. */
#include "api/schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "api/check.h"
#include "api/corpus.h"
#include "base/wire/yaml.h"

/* Against the CRDs. */

struct compare {
    struct buf path;
    size_t fields, differences;
};

static void differs(struct compare *m, const char *what)
{
    m->differences++;
    print_error("%.*s: %s\n", SLICE(buf_slice(&m->path)), what);
}

static bool same_type(const json_t *crd, const struct schema *s)
{
    if (json_bool(crd, "x-kubernetes-int-or-string", false))
        return s->type == SCHEMA_INT_OR_STRING;
    return slice_eq(json_str(crd, "type"), slice_of(schema_type_name(s->type)));
}

static bool same_values(const json_t *crd, const struct schema *s)
{
    const json_t *values = json_object_get(crd, "enum");
    size_t n = 0;
    for (; s->values && s->values[n]; n++)
        if (!slice_eq(json_slice(json_array_get(values, n)), slice_of(s->values[n])))
            return false;
    return n == json_array_size(values);
}

static size_t crd_max_length(const json_t *crd)
{
    return (size_t)(json_int(crd, "maxItems", 0) + json_int(crd, "maxLength", 0) +
                    json_int(crd, "maxProperties", 0));
}

static bool same_range(const json_t *crd, const struct schema *s)
{
    if (s->format == SCHEMA_FORMAT_UINT32)
        return json_int(crd, "minimum", -1) == 0 && json_int(crd, "maximum", -1) == UINT32_MAX;
    int64_t max = json_int(crd, "maximum", INT64_MAX);
    return check_has(crd, "minimum") == s->bounded &&
           (!s->bounded || (json_int(crd, "minimum", -1) == s->min && max == s->max));
}

static bool crd_requires(const json_t *crd, const char *name)
{
    const json_t *required;
    size_t i;
    json_array_foreach (json_object_get(crd, "required"), i, required)
        if (slice_eq(json_slice(required), slice_of(name)))
            return true;
    return false;
}

static void compare(struct compare *m, const json_t *crd, const struct schema *s);

static void compare_fields(struct compare *m, const json_t *crd, const struct schema *s)
{
    const json_t *properties = json_object_get(crd, "properties");
    const char *name;
    json_t *property;
    size_t at = m->path.n;
    json_object_foreach ((json_t *)(uintptr_t)properties, name, property) {
        const struct schema_field *f = schema_field(s, slice_of(name));
        json_path_key(&m->path, slice_of(name));
        m->fields++;
        if (!f)
            differs(m, "only in the CRD");
        else if (f->required != crd_requires(crd, name))
            differs(m, "required differs");
        if (f)
            compare(m, property, f->schema);
        m->path.n = at;
    }
    for (size_t i = 0; i < s->field_count; i++) {
        json_path_key(&m->path, slice_of(s->fields[i].name));
        if (!json_object_get(properties, s->fields[i].name))
            differs(m, "only in our schema");
        m->path.n = at;
    }
}

static void compare(struct compare *m, const json_t *crd, const struct schema *s)
{
    size_t at = m->path.n;
    if (!same_type(crd, s))
        differs(m, "type differs");
    if (!same_values(crd, s))
        differs(m, "enum differs");
    if (crd_max_length(crd) != s->length_max ||
        (size_t)json_int(crd, "minItems", 0) != s->length_min)
        differs(m, "length differs");
    if ((s->type == SCHEMA_INT || s->type == SCHEMA_NUMBER) && !same_range(crd, s))
        differs(m, "range differs");
    if (json_bool(crd, "nullable", false) != s->nullable)
        differs(m, "nullable differs");
    if (json_bool(crd, "x-kubernetes-preserve-unknown-fields", false) && !s->open)
        differs(m, "keeps unknown fields");
    if (s->type == SCHEMA_OBJECT)
        compare_fields(m, crd, s);
    if (s->type == SCHEMA_LIST || s->type == SCHEMA_MAP) {
        const json_t *items =
            json_object_get(crd, s->type == SCHEMA_LIST ? "items" : "additionalProperties");
        buf_append(&m->path, s->type == SCHEMA_LIST ? S("[]") : S("{}"));
        compare(m, items, s->items);
    }
    m->path.n = at;
}

static void compare_crd(struct compare *m, const json_t *crd)
{
    const struct kind *k = kind_guess(json_str(crd, "spec.names.singular"));
    if (!k || !slice_eq(json_str(crd, "spec.group"), slice_of(k->group)))
        return;
    static const char *const parts[] = {"spec", "status"};
    const json_t *schema = json_at(crd, "spec.versions[0].schema.openAPIV3Schema");
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        const struct schema_field *f = schema_field(k->schema, slice_of(parts[i]));
        buf_clear(&m->path);
        buf_printf(&m->path, "%s.%s", k->kind, parts[i]);
        assert_non_null(f);
        assert_int_equal(f->required, crd_requires(schema, parts[i]));
        compare(m, json_object_get(json_object_get(schema, "properties"), parts[i]), f->schema);
    }
}

static void knows_every_field_of_the_crds(void **state)
{
    char dir[512];
    char path[600];
    struct buf text = {0};
    struct compare m = {0};
    struct yaml_stream s;
    struct err err = {0};
    (void)state;
    if (!corpus_dir(dir, sizeof(dir))) {
        print_message("skipped: no corpus (istio/crds.yaml)\n");
        skip();
    }
    snprintf(path, sizeof(path), "%s/istio/crds.yaml", dir);
    assert_true(corpus_read(path, &text));
    if (!yaml_parse(buf_slice(&text), &s, &err))
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < s.count; i++)
        compare_crd(&m, s.docs[i].root);
    print_message("%zu fields compared\n", m.fields);
    assert_true(m.fields > 700);
    assert_int_equal(m.differences, 0);
    yaml_stream_fini(&s);
    buf_fini(&text);
    buf_fini(&m.path);
}

/* Problems. */

static void expect(enum kind_id id, int unknown, const char *yaml, const char *field,
                   const char *message, bool warning)
{
    struct kind_report report = {0};
    struct check c = {.report = &report, .kind = &kinds[id]};
    struct yaml_stream s;
    struct err err = {0};
    if (!yaml_parse(slice_of(yaml), &s, &err))
        fail_msg("%s: %s", yaml, err.msg);
    schema_check(kinds[id].schema, s.docs[0].root, unknown, &c);
    bool found = !field && report.count == 0;
    for (size_t i = 0; i < report.count && field; i++)
        found |= slice_eq(report.items[i].field, slice_of(field)) &&
                 slice_contains(report.items[i].message, slice_of(message)) &&
                 report.items[i].warning == warning;
    for (size_t i = 0; i < report.count && !found; i++)
        print_error("%.*s: %.*s\n", SLICE(report.items[i].field), SLICE(report.items[i].message));
    if (!found)
        fail_msg("%s: no \"%s: %s\"", yaml, field ? field : "", message);
    yaml_stream_fini(&s);
    kind_report_fini(&report);
    buf_fini(&c.path);
}

static void names_the_field_that_is_wrong(void **state)
{
    static const struct {
        enum kind_id id;
        const char *yaml, *field, *message;
    } cases[] = {
        {KIND_VIRTUAL_SERVICE, "spec: {hosts: a}", "spec.hosts",
         "must be an array, not string \"a\""},
        {KIND_VIRTUAL_SERVICE, "spec: {htp: []}", "spec.htp",
         "unknown field \"spec.htp\", did you mean \"http\"?"},
        {KIND_VIRTUAL_SERVICE, "spec: {http: [{timeout: 5}]}", "spec.http[0].timeout",
         "must be a string, not integer 5"},
        {KIND_VIRTUAL_SERVICE, "spec: {http: [{timeout: 5x}]}", "spec.http[0].timeout",
         "must be a duration like"},
        {KIND_VIRTUAL_SERVICE, "spec: {http: [{timeout: 0s}]}", "spec.http[0].timeout",
         "at least 1ms"},
        {KIND_VIRTUAL_SERVICE, "spec: {http: [{route: [{}]}]}", "spec.http[0].route[0].destination",
         "must be set"},
        {KIND_VIRTUAL_SERVICE, "spec: {http: [{match: [{headers: {x-a: {exact: a, prefix: b}}}]}]}",
         "spec.http[0].match[0].headers.x-a.prefix", "may not be set together with exact"},
        {KIND_VIRTUAL_SERVICE, "spec: {http: [{match: [{headers: {a.b: {exact: 1}}}]}]}",
         "spec.http[0].match[0].headers[\"a.b\"].exact", "must be a string, not integer 1"},
        {KIND_VIRTUAL_SERVICE, "spec: {http: [{route: [{weight: 2147483648}]}]}",
         "spec.http[0].route[0].weight", "32 bits"},
        {KIND_VIRTUAL_SERVICE, "spec: {http: [{route: [{weight: 1.5}]}]}",
         "spec.http[0].route[0].weight", "must be an integer, not number 1.5"},
        {KIND_VIRTUAL_SERVICE, "spec: {http: [{match: [{port: -1}]}]}",
         "spec.http[0].match[0].port", "between 0 and 4294967295"},
        {KIND_VIRTUAL_SERVICE,
         "spec: {http: [{directResponse: {status: 200, body: {bytes: 'a$'}}}]}",
         "spec.http[0].directResponse.body.bytes", "base64"},
        {KIND_DESTINATION_RULE,
         "spec: {host: a, trafficPolicy: {loadBalancer: {simple: ROUNDROBIN}}}",
         "spec.trafficPolicy.loadBalancer.simple",
         "must be one of UNSPECIFIED, LEAST_CONN, RANDOM"},
        {KIND_DESTINATION_RULE, "spec: {}", "spec.host", "must be set"},
        {KIND_DESTINATION_RULE,
         "spec: {host: a, trafficPolicy: {loadBalancer: {warmup: {duration: 1s, minimumPercent: "
         "101}}}}",
         "spec.trafficPolicy.loadBalancer.warmup.minimumPercent", "between 0 and 100"},
        {KIND_SERVICE_ENTRY, "spec: {hosts: []}", "spec.hosts", "at least 1 item"},
        {KIND_SERVICE_ENTRY,
         "spec: {hosts: [a], ports: [{name: a, number: 1}, {name: a, number: 2}]}",
         "spec.ports[1].name", "\"a\" is there twice"},
        {KIND_SERVICE_ENTRY, "metadata: {name: a}", "spec", "must be set"},
        {KIND_GATEWAY, "spec: {servers: [{tls: {credentialNames: [a, b, c]}}]}",
         "spec.servers[0].tls.credentialNames", "3 items: at most 2"},
        {KIND_SERVICE, "spec: {ports: [{port: 0}]}", "spec.ports[0].port", "between 1 and 65535"},
        {KIND_SERVICE, "spec: {ports: [{port: 1, protocol: tcp}]}", "spec.ports[0].protocol",
         "one of TCP, UDP, SCTP"},
        {KIND_SERVICE, "spec: {ports: [{port: 1, targetPort: true}]}", "spec.ports[0].targetPort",
         "must be an integer or string, not boolean true"},
        {KIND_SERVICE, "metadata: {labels: {a: 1}}", "metadata.labels.a",
         "must be a string, not integer 1"},
        {KIND_SERVICE, "metadata: {creationTimestamp: yesterday}", "metadata.creationTimestamp",
         "must be a time"},
        {KIND_ENDPOINT_SLICE, "endpoints: [{addresses: []}]", "endpoints[0].addresses",
         "at least 1 item"},
        {KIND_ENDPOINT_SLICE, "endpoints: []", "addressType", "must be set"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect(cases[i].id, KIND_UNKNOWN_REFUSE, cases[i].yaml, cases[i].field, cases[i].message,
               false);
}

static void treats_unknown_fields_as_asked(void **state)
{
    static const char yaml[] = "spec: {htp: [], zzzzzzzzzzzzzz: 1}";
    (void)state;
    expect(KIND_VIRTUAL_SERVICE, KIND_UNKNOWN_WARN, yaml, "spec.htp", "did you mean \"http\"?",
           true);
    expect(KIND_VIRTUAL_SERVICE, KIND_UNKNOWN_WARN, yaml, "spec.zzzzzzzzzzzzzz",
           "unknown field \"spec.zzzzzzzzzzzzzz\"", true);
    expect(KIND_VIRTUAL_SERVICE, KIND_UNKNOWN_REFUSE, yaml, "spec.htp", "did you mean \"http\"?",
           false);
    expect(KIND_VIRTUAL_SERVICE, KIND_UNKNOWN_IGNORE, yaml, NULL, "", false);
    /* Status is written by controllers that may know more. */
    expect(KIND_VIRTUAL_SERVICE, KIND_UNKNOWN_REFUSE, "status: {conditions: [{foo: 1}], more: 2}",
           NULL, "", false);
    /* null means absent. */
    expect(KIND_VIRTUAL_SERVICE, KIND_UNKNOWN_REFUSE,
           "metadata: {creationTimestamp: null}\nspec: {http: null}", NULL, "", false);
}

static void finds_schemas_by_path(void **state)
{
    static const struct {
        const char *path;
        enum schema_type type;
    } cases[] = {
        {"spec", SCHEMA_OBJECT},
        {"spec.http", SCHEMA_LIST},
        {"spec.http[0].route[1].weight", SCHEMA_INT},
        {"spec.http.route.weight", SCHEMA_INT},
        {"spec.http.match.headers.x-user", SCHEMA_OBJECT},
        {"spec.http.match.headers.x-user.exact", SCHEMA_STRING},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct schema *s = schema_at(&schema_virtual_service, slice_of(cases[i].path));
        assert_non_null(s);
        assert_int_equal(s->type, cases[i].type);
    }
    assert_null(schema_at(&schema_virtual_service, S("spec.nope")));
    assert_null(schema_at(&schema_virtual_service, S("spec.http[0].name.x")));
    assert_null(schema_at(&schema_virtual_service, S("spec[0]")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_every_field_of_the_crds),
        cmocka_unit_test(names_the_field_that_is_wrong),
        cmocka_unit_test(treats_unknown_fields_as_asked),
        cmocka_unit_test(finds_schemas_by_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
