/* Macros that the schema tables are built of. Only for api/schema_*.c.
 *
 *   OBJECT(port_selector, FIELD("number", &schema_uint32, "Port number."));
 *   LIST(destinations, &destination);
 */
#ifndef WEFT_API_SCHEMA_TABLE_H
#define WEFT_API_SCHEMA_TABLE_H

#include "api/schema.h"

#define FIELD(name, schema, about)                                                                 \
    {                                                                                              \
        name, schema, about, false, 0                                                              \
    }
#define REQUIRED(name, schema, about)                                                              \
    {                                                                                              \
        name, schema, about, true, 0                                                               \
    }
/* One of the fields of the same number. */
#define CHOICE(number, name, schema, about)                                                        \
    {                                                                                              \
        name, schema, about, false, number                                                         \
    }

#define OBJECT_AS(linkage, id, more, ...)                                                          \
    static const struct schema_field id##_fields[] = {__VA_ARGS__};                                \
    linkage const struct schema id = {                                                             \
        .type = SCHEMA_OBJECT, .fields = id##_fields, .field_count = ARRAY_LEN(id##_fields), more}
#define OBJECT(id, ...) OBJECT_AS(static, id, .open = false, __VA_ARGS__)
#define OPEN_OBJECT(id, ...) OBJECT_AS(static, id, .open = true, __VA_ARGS__)
#define SHARED_OBJECT(id, ...) OBJECT_AS(, id, .open = false, __VA_ARGS__)

#define LIST(id, of) static const struct schema id = {.type = SCHEMA_LIST, .items = of}
#define LIST_BOUNDED(id, of, least, most)                                                          \
    static const struct schema id = {                                                              \
        .type = SCHEMA_LIST, .items = of, .length_min = least, .length_max = most}
#define LIST_KEYED(id, of, most, key)                                                              \
    static const struct schema id = {                                                              \
        .type = SCHEMA_LIST, .items = of, .length_max = most, .list_key = key, .unique = true}
#define MAP_BOUNDED(id, of, most)                                                                  \
    static const struct schema id = {.type = SCHEMA_MAP, .items = of, .length_max = most}
#define STRING_MAX(id, most)                                                                       \
    static const struct schema id = {.type = SCHEMA_STRING, .length_max = most}
#define ENUM(id, ...)                                                                              \
    static const char *const id##_values[] = {__VA_ARGS__, NULL};                                  \
    static const struct schema id = {.type = SCHEMA_STRING, .values = id##_values}
#define RANGE(id, least, most)                                                                     \
    static const struct schema id = {.type = SCHEMA_INT, .bounded = true, .min = least, .max = most}

/* Shared leaves. */
extern const struct schema schema_string, schema_strings, schema_string_map, schema_bool,
    schema_nullable_bool, schema_int, schema_int32, schema_int64, schema_uint32,
    schema_nullable_uint32, schema_uint, schema_number, schema_percent, schema_duration,
    schema_duration_any, schema_int_or_string, schema_date_time, schema_any;
/* Parts that several kinds share. */
extern const struct schema schema_conditions, schema_istio_status, schema_workload_selector,
    schema_server_tls, schema_server_port, schema_connection_pool, schema_destination,
    schema_port_selector, schema_workload_entry_spec;

#define TOP_FIELDS                                                                                 \
    FIELD("apiVersion", &schema_string, "Group and version of the schema of this object."),        \
        FIELD("kind", &schema_string, "What this object is."),                                     \
        FIELD("metadata", &schema_object_meta,                                                     \
              "Name, namespace, labels and what the server keeps.")

#endif
