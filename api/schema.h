/* The shape of objects as constant tables: one source for validation, for OpenAPI (kubectl explain,
 * client side validation) and for "did you mean".
 *
 *   schema_check(kind->schema, object, KIND_UNKNOWN_WARN, &check);    adds to check.report
 *
 * Own tables of the facts in Istio's CRDs (v1) and of core/v1 and discovery.k8s.io/v1; a test
 * compares every property path with the CRDs, both ways. A table is an object schema: its fields
 * name other schemas.
 */
#ifndef WEFT_API_SCHEMA_H
#define WEFT_API_SCHEMA_H

#include "api/kind.h"

enum schema_type {
    SCHEMA_OBJECT,
    SCHEMA_MAP, /* any key, values of one schema */
    SCHEMA_LIST,
    SCHEMA_STRING,
    SCHEMA_INT,
    SCHEMA_NUMBER,
    SCHEMA_BOOL,
    SCHEMA_INT_OR_STRING,
    SCHEMA_ANY,
};

enum schema_format {
    SCHEMA_FORMAT_NONE,
    SCHEMA_FORMAT_DURATION,     /* Go duration, at least 1ms */
    SCHEMA_FORMAT_DURATION_ANY, /* Go duration, 0s too */
    SCHEMA_FORMAT_INT32,
    SCHEMA_FORMAT_INT64,
    SCHEMA_FORMAT_UINT32,
    SCHEMA_FORMAT_DATE_TIME, /* RFC 3339 */
    SCHEMA_FORMAT_BYTES,     /* base64 */
    SCHEMA_FORMAT_IP,
    SCHEMA_FORMAT_COUNT,
};

struct schema {
    enum schema_type type;
    enum schema_format format;
    bool nullable;
    bool open; /* object: fields that it does not name are kept, without a warning */
    const struct schema_field *fields;
    size_t field_count;
    const struct schema *items;    /* of a list, values of a map */
    const char *const *values;     /* enum of strings, NULL at the end; NULL = any */
    bool bounded;                  /* min and max hold */
    int64_t min, max;              /* of a number */
    size_t length_min, length_max; /* items of a list or map, bytes of a string; max 0 = none */
    const char
        *list_key; /* list of objects: the field that a strategic merge tells items apart by */
    bool unique;   /* items differ in list_key (x-kubernetes-list-type: map) */
    bool set;      /* list of scalars: a strategic merge adds (patchStrategy: merge) */
};

struct schema_field {
    const char *name;
    const struct schema *schema;
    const char *about; /* one sentence for kubectl explain; NULL = none */
    bool required;
    unsigned char choice; /* of the fields with the same number (not 0) at most one may be set */
};

/* Tables of the kinds, in the order of enum kind_id. */
extern const struct schema schema_namespace, schema_service, schema_endpoint_slice,
    schema_workload_entry, schema_service_entry, schema_virtual_service, schema_destination_rule,
    schema_gateway, schema_sidecar, schema_lease;
/* metadata of every kind. */
extern const struct schema schema_object_meta;

/* The field of an object schema, or NULL. */
const struct schema_field *schema_field(const struct schema *s, struct slice name);
/* The schema at a path ("spec.http[0].route", "spec.http.route"), or NULL: `weft explain`. */
const struct schema *schema_at(const struct schema *s, struct slice path);
/* "integer", "string" …: OpenAPI's name of a type. */
const char *schema_type_name(enum schema_type type);
/* OpenAPI's name of a format, or NULL. */
const char *schema_format_name(enum schema_format format);

struct check;
/* Every problem of value against the schema, at check's path. Pure; recursion is bounded by the
 * depth of the tables. */
void schema_check(const struct schema *s, const json_t *value, int unknown_fields, struct check *c);

#endif
