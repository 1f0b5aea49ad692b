#include "api/validate.h"

#include "api/names.h"
#include "api/schema.h"
#include "base/core/assert.h"

#define ANNOTATIONS_BYTES_MAX (256u * 1024u) /* Kubernetes: TotalAnnotationSizeLimitB */

/* Beyond schema and metadata. */
static check_fn *const rules[KIND_COUNT] = {
    [KIND_NAMESPACE] = validate_namespace,
    [KIND_SERVICE] = validate_service,
    [KIND_ENDPOINT_SLICE] = validate_endpoint_slice,
    [KIND_WORKLOAD_ENTRY] = validate_workload_entry,
    [KIND_SERVICE_ENTRY] = validate_service_entry,
    [KIND_VIRTUAL_SERVICE] = validate_virtual_service,
    [KIND_DESTINATION_RULE] = validate_destination_rule,
    [KIND_GATEWAY] = validate_gateway,
    [KIND_SIDECAR] = validate_sidecar,
    [KIND_LEASE] = validate_lease,
};

/* Metadata. */

static void check_name(struct check *c, const json_t *meta)
{
    struct slice name = json_str(meta, "name"), generate = json_str(meta, "generateName");
    struct slice ns = c->kind->namespaced ? S("default") : (struct slice){0}, key;
    struct arena scratch = {0};
    struct err err = {0};
    if (!name.n && !generate.n)
        check_required_at(c, "name", "must be set");
    else if (name.n && !kind_key(c->kind, ns, name, &scratch, &key, &err))
        check_invalid_at(c, "name", "%s", err.msg);
    arena_fini(&scratch);
}

static void check_namespace(struct check *c, const json_t *meta)
{
    struct slice ns = json_str(meta, "namespace");
    if (ns.n && !c->kind->namespaced)
        check_forbidden_at(c, "namespace", "objects of this kind have none");
    else if (ns.n && !name_is_label(ns))
        check_invalid_at(c, "namespace",
                         "\"%.*s\": must be a DNS label (a-z, 0-9, \"-\"; at most 63)",
                         SLICE(slice_sub(ns, 0, 80)));
}

static void check_labels(struct check *c, const json_t *labels)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)labels, key, value) {
        size_t at = check_enter(c, key);
        if (!name_is_qualified(slice_of(key)))
            check_invalid(
                c, "a label's key is [DNS name/]name, name at most 63 of A-Z, a-z, 0-9, \"-_.\"");
        else if (json_is_string(value) && !name_is_label_value(json_slice(value)))
            check_invalid(c, "\"%.*s\": a label's value is at most 63 of A-Z, a-z, 0-9, \"-_.\"",
                          SLICE(slice_sub(json_slice(value), 0, 80)));
        check_leave(c, at);
    }
}

static void check_annotations(struct check *c, const json_t *annotations)
{
    size_t total = 0;
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)annotations, key, value) {
        size_t at = check_enter(c, key);
        total += slice_of(key).n + json_slice(value).n;
        if (!name_is_qualified(slice_of(key)))
            check_invalid(c, "an annotation's key is [DNS name/]name");
        check_leave(c, at);
    }
    if (total > ANNOTATIONS_BYTES_MAX)
        check_invalid(c, "%zu bytes: at most %u", total, ANNOTATIONS_BYTES_MAX);
}

static void check_meta(struct check *c, const json_t *meta)
{
    check_name(c, meta);
    check_namespace(c, meta);
    check_field(c, meta, "labels", check_labels);
    check_field(c, meta, "annotations", check_annotations);
}

void validate_meta(struct check *c, const json_t *object)
{
    if (!check_has(object, "metadata"))
        check_required_at(c, "metadata.name", "must be set");
    else
        check_field(c, object, "metadata", check_meta);
}

/* The key of an object never changes (kubectl edit can try). */
static void check_same_name(struct check *c, const json_t *object)
{
    static const char *const fixed[] = {"metadata.name", "metadata.namespace"};
    for (size_t i = 0; c->old && i < ARRAY_LEN(fixed); i++) {
        struct slice was = json_str(c->old, fixed[i]), is = json_str(object, fixed[i]);
        if (was.n && is.n && !slice_eq(was, is))
            check_invalid_at(c, fixed[i], "may not change from \"%.*s\" to \"%.*s\"", SLICE(was),
                             SLICE(is));
    }
}

/* The whole object. */

bool kind_validate(const struct kind *k, const json_t *object, const struct kind_check *check,
                   struct kind_report *report)
{
    size_t errors = report->errors;
    struct check c = {.kind = k, .object = object, .old = check->old, .report = report};
    if (!json_is_object(object)) {
        check_invalid(&c, "must be an object");
        return false;
    }
    schema_check(k->schema, object, (int)check->unknown_fields, &c);
    validate_meta(&c, object);
    check_same_name(&c, object);
    if (rules[k->id])
        rules[k->id](&c, object);
    wf_assert(c.path.n == 0);
    buf_fini(&c.path);
    return report->errors == errors;
}

void kind_report_fini(struct kind_report *report)
{
    arena_fini(&report->arena);
    *report = (struct kind_report){0};
}
