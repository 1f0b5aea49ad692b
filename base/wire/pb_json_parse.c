/* JSON trees as messages. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire/base64.h"
#include "base/wire/pb_field.h"
#include "base/wire/pb_json.h"
#include "base/wire/pb_wkt.h"

enum { PATH_BYTES = 256, FIELDS_MAX = 256, NUMBER_TEXT = 64 };

struct parse {
    const struct pb_json_options *options;
    struct arena *arena;
    struct err *err;
    size_t depth;
    size_t path_n; /* may be more than fits: what does not fit is not written */
    char path[PATH_BYTES];
};

/* The path of the value at hand. */

/* Returns the length to go back to with path_leave(). */
static size_t path_enter(struct parse *p, const char *separator, const char *name)
{
    size_t before = p->path_n;
    size_t at = before < PATH_BYTES ? before : PATH_BYTES - 1;
    int n = snprintf(p->path + at, PATH_BYTES - at, "%s%s", before ? separator : "", name);
    p->path_n = before + (size_t)n;
    return before;
}

static size_t path_enter_index(struct parse *p, size_t i)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "[%zu]", i);
    return path_enter(p, "", text);
}

static void path_leave(struct parse *p, size_t before)
{
    p->path_n = before;
    p->path[before < PATH_BYTES ? before : PATH_BYTES - 1] = 0;
}

/* "virtualHosts[0].name: <what>" */
__attribute__((format(printf, 2, 3))) static bool refuse(struct parse *p, const char *fmt, ...)
{
    char what[ERR_MSG_BYTES];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    return err_set(p->err, ERR_INVALID, "%s%s%s", p->path, p->path_n ? ": " : "", what);
}

/* What is parsed must be fit to be packed. */
static_assert(PB_JSON_DEPTH_MAX <= PB_DEPTH_MAX, "a level of JSON is at least one message");

static bool refuse_depth(struct parse *p)
{
    return err_set(p->err, ERR_LIMIT, "%s: nested deeper than %d", p->path, PB_JSON_DEPTH_MAX);
}

static const char *kind_of(const json_t *j)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",  [JSON_STRING] = "a string",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null",
    };
    return names[json_typeof(j)];
}

static bool refuse_kind(struct parse *p, const char *want, const json_t *j)
{
    return refuse(p, "must be %s, not %s", want, kind_of(j));
}

static struct slice string_of(const json_t *j)
{
    return slice_mem(json_string_value(j), json_string_length(j));
}

/* Numbers. */

/* An integer that is written as a number (2 or 2.0) or as a string. */
struct integer {
    bool negative;
    uint64_t magnitude;
};

static bool integer_of_string(const json_t *j, struct integer *ret)
{
    struct slice s = string_of(j);
    ret->negative = slice_starts(s, S("-"));
    return slice_u64(slice_skip(s, ret->negative), &ret->magnitude);
}

static bool integer_of_real(double v, struct integer *ret)
{
    ret->negative = v < 0;
    if (!(fabs(v) < 18446744073709551616.0) || v != trunc(v)) /* 2^64 */
        return false;
    ret->magnitude = (uint64_t)fabs(v);
    return true;
}

static bool parse_integer(struct parse *p, const json_t *j, uint64_t max, uint64_t negative_max,
                          uint64_t *ret)
{
    struct integer v = {0};
    bool ok;
    if (json_is_integer(j)) {
        json_int_t i = json_integer_value(j);
        v = (struct integer){i < 0, i < 0 ? 0 - (uint64_t)i : (uint64_t)i};
        ok = true;
    } else if (json_is_real(j)) {
        ok = integer_of_real(json_real_value(j), &v);
    } else if (json_is_string(j)) {
        ok = integer_of_string(j, &v);
    } else {
        return refuse_kind(p, "an integer", j);
    }
    if (!ok)
        return refuse(p, "must be an integer");
    if (v.magnitude > (v.negative ? negative_max : max))
        return refuse(p, "the number is out of range");
    *ret = v.negative ? 0 - v.magnitude : v.magnitude;
    return true;
}

static bool parse_real(struct parse *p, const json_t *j, double *ret)
{
    char text[NUMBER_TEXT], *end;
    if (json_is_number(j)) {
        *ret = json_number_value(j);
        return true;
    }
    if (!json_is_string(j))
        return refuse_kind(p, "a number", j);
    struct slice s = string_of(j);
    if (slice_eq(s, S("NaN")) || slice_eq(s, S("Infinity")) || slice_eq(s, S("-Infinity"))) {
        *ret = s.p[0] == 'N' ? NAN : s.p[0] == 'I' ? INFINITY : -INFINITY;
        return true;
    }
    bool plain = s.n && strspn(json_string_value(j), "0123456789+-.eE") == s.n;
    if (!plain || !slice_cstr(s, text, sizeof(text)))
        return refuse(p, "must be a number");
    *ret = strtod(text, &end);
    return *end == 0 && isfinite(*ret) ? true : refuse(p, "must be a number");
}

static bool parse_u32(struct parse *p, const json_t *j, bool is_signed, void *at)
{
    uint64_t v;
    if (!parse_integer(p, j, is_signed ? INT32_MAX : UINT32_MAX, is_signed ? 1u << 31 : 0, &v))
        return false;
    uint32_t narrow = (uint32_t)v;
    memcpy(at, &narrow, sizeof(narrow));
    return true;
}

static bool parse_u64(struct parse *p, const json_t *j, bool is_signed, void *at)
{
    uint64_t v;
    if (!parse_integer(p, j, is_signed ? INT64_MAX : UINT64_MAX, is_signed ? 1ull << 63 : 0, &v))
        return false;
    memcpy(at, &v, sizeof(v));
    return true;
}

static bool parse_float(struct parse *p, const json_t *j, void *at)
{
    double v;
    if (!parse_real(p, j, &v))
        return false;
    float narrow = (float)v;
    if (isfinite(v) && !isfinite(narrow))
        return refuse(p, "the number is out of range");
    memcpy(at, &narrow, sizeof(narrow));
    return true;
}

static bool parse_double(struct parse *p, const json_t *j, void *at)
{
    double v;
    if (!parse_real(p, j, &v))
        return false;
    memcpy(at, &v, sizeof(v));
    return true;
}

/* Other scalars. */

static bool parse_bool(struct parse *p, const json_t *j, void *at)
{
    if (!json_is_boolean(j))
        return refuse_kind(p, "true or false", j);
    protobuf_c_boolean v = json_is_true(j);
    memcpy(at, &v, sizeof(v));
    return true;
}

static bool parse_enum(struct parse *p, const ProtobufCEnumDescriptor *type, const json_t *j,
                       void *at)
{
    if (json_is_null(j) && pb_wkt_is_null_enum(type))
        return true; /* NULL_VALUE is 0 */
    if (!json_is_string(j))
        return parse_u32(p, j, true, at);
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value_by_name(type, json_string_value(j));
    if (!value && p->options->ignore_unknown)
        return true;
    if (!value)
        return refuse(p, "%s has no \"%.64s\"", type->short_name, json_string_value(j));
    memcpy(at, &value->value, sizeof(value->value));
    return true;
}

static bool parse_string(struct parse *p, const json_t *j, void *at)
{
    if (!json_is_string(j))
        return refuse_kind(p, "a string", j);
    if (slice_find(string_of(j), '\0') != SIZE_MAX)
        return refuse(p, "the string holds a NUL");
    char *s = pb_str(p->arena, string_of(j));
    memcpy(at, &s, sizeof(s));
    return true;
}

static bool parse_bytes(struct parse *p, const json_t *j, void *at)
{
    if (!json_is_string(j))
        return refuse_kind(p, "base64", j);
    struct buf decoded = {0};
    bool ok = base64_decode(&decoded, string_of(j)) || refuse(p, "must be base64");
    if (ok) {
        ProtobufCBinaryData bytes = pb_bytes(p->arena, buf_slice(&decoded));
        memcpy(at, &bytes, sizeof(bytes));
    }
    buf_fini(&decoded);
    return ok;
}

/* Values. */

static ProtobufCMessage *parse_message(struct parse *p, const ProtobufCMessageDescriptor *type,
                                       const json_t *j);

static bool parse_embedded(struct parse *p, const ProtobufCMessageDescriptor *type, const json_t *j,
                           void *at)
{
    ProtobufCMessage *msg = parse_message(p, type, j);
    memcpy(at, &msg, sizeof(msg));
    return msg;
}

static bool parse_value(struct parse *p, const ProtobufCFieldDescriptor *f, const json_t *j,
                        void *at)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return parse_u32(p, j, true, at);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return parse_u32(p, j, false, at);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return parse_u64(p, j, true, at);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return parse_u64(p, j, false, at);
    case PROTOBUF_C_TYPE_FLOAT:
        return parse_float(p, j, at);
    case PROTOBUF_C_TYPE_DOUBLE:
        return parse_double(p, j, at);
    case PROTOBUF_C_TYPE_BOOL:
        return parse_bool(p, j, at);
    case PROTOBUF_C_TYPE_ENUM:
        return parse_enum(p, f->descriptor, j, at);
    case PROTOBUF_C_TYPE_STRING:
        return parse_string(p, j, at);
    case PROTOBUF_C_TYPE_BYTES:
        return parse_bytes(p, j, at);
    case PROTOBUF_C_TYPE_MESSAGE:
        return parse_embedded(p, f->descriptor, j, at);
    }
    wf_unreachable("a field's type");
}

static void store_repeated(ProtobufCMessage *msg, const ProtobufCFieldDescriptor *f, void *items,
                           size_t n)
{
    memcpy((char *)msg + f->offset, &items, sizeof(items));
    memcpy((char *)msg + f->quantifier_offset, &n, sizeof(n));
}

static bool parse_list(struct parse *p, ProtobufCMessage *msg, const ProtobufCFieldDescriptor *f,
                       const json_t *j)
{
    if (!json_is_array(j))
        return refuse_kind(p, "a list", j);
    size_t n = json_array_size(j), size = pb_value_size(f->type);
    if (n == 0)
        return true;
    char *items = arena_alloc(p->arena, n * size);
    for (size_t i = 0; i < n; i++) {
        size_t before = path_enter_index(p, i);
        if (!parse_value(p, f, json_array_get(j, i), items + i * size))
            return false;
        path_leave(p, before);
    }
    store_repeated(msg, f, items, n);
    return true;
}

/* An entry is a message of its own on the wire, so it counts as a level. */
static bool parse_entry(struct parse *p, ProtobufCMessage *entry, const char *key,
                        const json_t *value)
{
    const ProtobufCFieldDescriptor *fields = entry->descriptor->fields;
    if (p->depth == PB_JSON_DEPTH_MAX)
        return refuse_depth(p);
    char *copy = pb_str(p->arena, slice_of(key));
    memcpy((char *)entry + fields[0].offset, &copy, sizeof(copy));
    p->depth++;
    bool ok = parse_value(p, &fields[1], value, (char *)entry + fields[1].offset);
    p->depth--;
    return ok;
}

static bool parse_map(struct parse *p, ProtobufCMessage *msg, const ProtobufCFieldDescriptor *f,
                      const json_t *j)
{
    if (!json_is_object(j))
        return refuse_kind(p, "an object", j);
    size_t n = json_object_size(j), i = 0;
    if (n == 0)
        return true;
    void **entries = ARENA_ARRAY(p->arena, void *, n);
    for (void *it = json_object_iter((json_t *)(uintptr_t)j); it;
         it = json_object_iter_next((json_t *)(uintptr_t)j, it)) {
        const char *key = json_object_iter_key(it);
        size_t before = path_enter(p, ".", key);
        entries[i] = pb_new(p->arena, f->descriptor);
        if (!parse_entry(p, entries[i++], key, json_object_iter_value(it)))
            return false;
        path_leave(p, before);
    }
    wf_assert(i == n);
    pb_sort_map(entries, n);
    store_repeated(msg, f, entries, n);
    return true;
}

static bool parse_repeated(struct parse *p, ProtobufCMessage *msg,
                           const ProtobufCFieldDescriptor *f, const json_t *j)
{
    return pb_field_is_map(f) ? parse_map(p, msg, f, j) : parse_list(p, msg, f, j);
}

/* Plain messages. */

/* Is json "filterChains" the name of "filter_chains"? */
static bool is_json_name(const char *json, const char *field)
{
    const char *rest = pb_camel_match(json, field, false);
    return rest && !*rest;
}

static const ProtobufCFieldDescriptor *field_of_name(const ProtobufCMessageDescriptor *type,
                                                     const char *name)
{
    const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(type, name);
    for (size_t i = 0; !f && i < type->n_fields; i++)
        if (is_json_name(name, type->fields[i].name))
            f = &type->fields[i];
    return f;
}

static bool null_has_meaning(const ProtobufCFieldDescriptor *f)
{
    if (f->type == PROTOBUF_C_TYPE_ENUM)
        return pb_wkt_is_null_enum(f->descriptor);
    return f->type == PROTOBUF_C_TYPE_MESSAGE && f->label != PROTOBUF_C_LABEL_REPEATED &&
           pb_wkt_of(f->descriptor) == PB_WKT_VALUE;
}

static bool parse_singular(struct parse *p, ProtobufCMessage *msg,
                           const ProtobufCFieldDescriptor *f, const json_t *j)
{
    char *quantifier = (char *)msg + f->quantifier_offset;
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        if (pb_load_u32(quantifier))
            return refuse(p, "only one of its oneof may be set");
        memcpy(quantifier, &f->id, sizeof(f->id));
    }
    return parse_value(p, f, j, (char *)msg + f->offset);
}

static bool parse_field(struct parse *p, ProtobufCMessage *msg, const ProtobufCFieldDescriptor *f,
                        const json_t *j)
{
    if (json_is_null(j) && !null_has_meaning(f))
        return true;
    return f->label == PROTOBUF_C_LABEL_REPEATED ? parse_repeated(p, msg, f, j)
                                                 : parse_singular(p, msg, f, j);
}

/* The fields of an object; those of an Any stand beside its "@type". */
static bool parse_fields(struct parse *p, ProtobufCMessage *msg, const json_t *j, bool in_any)
{
    uint64_t seen[FIELDS_MAX / 64] = {0};
    wf_assert(msg->descriptor->n_fields <= FIELDS_MAX);
    for (void *it = json_object_iter((json_t *)(uintptr_t)j); it;
         it = json_object_iter_next((json_t *)(uintptr_t)j, it)) {
        const char *name = json_object_iter_key(it);
        if (in_any && strcmp(name, "@type") == 0)
            continue;
        const ProtobufCFieldDescriptor *f = field_of_name(msg->descriptor, name);
        size_t before = path_enter(p, ".", name);
        if (!f && !p->options->ignore_unknown)
            return refuse(p, "%s has no such field", msg->descriptor->short_name);
        if (f) {
            size_t i = (size_t)(f - msg->descriptor->fields);
            if (seen[i / 64] & 1ull << i % 64)
                return refuse(p, "the field is there under two names");
            seen[i / 64] |= 1ull << i % 64;
            if (!parse_field(p, msg, f, json_object_iter_value(it)))
                return false;
        }
        path_leave(p, before);
    }
    return true;
}

/* Well-known types. */

static bool parse_time(struct parse *p, ProtobufCMessage *msg, enum pb_wkt wkt, const json_t *j)
{
    int64_t seconds;
    int32_t nanos;
    bool duration = wkt == PB_WKT_DURATION;
    if (!json_is_string(j))
        return refuse_kind(p, duration ? "a duration such as \"1.5s\"" : "an RFC 3339 time", j);
    bool ok = duration ? pb_duration_parse(string_of(j), &seconds, &nanos)
                       : pb_timestamp_parse(string_of(j), &seconds, &nanos);
    if (!ok)
        return refuse(p, duration ? "must be a duration such as \"1.5s\""
                                  : "must be an RFC 3339 time such as \"2026-03-01T10:00:00Z\"");
    memcpy((char *)(uintptr_t)pb_field_of(msg, PB_SECONDS), &seconds, sizeof(seconds));
    memcpy((char *)(uintptr_t)pb_field_of(msg, PB_NANOS), &nanos, sizeof(nanos));
    return true;
}

/* Which member of google.protobuf.Value holds it. */
static uint32_t value_member(const json_t *j)
{
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        return PB_VALUE_STRUCT;
    case JSON_ARRAY:
        return PB_VALUE_LIST;
    case JSON_STRING:
        return PB_VALUE_STRING;
    case JSON_INTEGER:
    case JSON_REAL:
        return PB_VALUE_NUMBER;
    case JSON_TRUE:
    case JSON_FALSE:
        return PB_VALUE_BOOL;
    case JSON_NULL:
        return PB_VALUE_NULL;
    }
    wf_unreachable("a JSON type");
}

static bool parse_struct_value(struct parse *p, ProtobufCMessage *msg, const json_t *j)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field(msg->descriptor, value_member(j));
    wf_assert(f);
    return parse_singular(p, msg, f, j);
}

static bool parse_any_message(struct parse *p, ProtobufCMessage *inner, const json_t *j);

static bool parse_any(struct parse *p, ProtobufCMessage *msg, const json_t *j)
{
    if (!json_is_object(j))
        return refuse_kind(p, "an object with \"@type\"", j);
    const json_t *url = json_object_get(j, "@type");
    if (!url && json_object_size(j) == 0)
        return true; /* the empty Any */
    if (!json_is_string(url))
        return refuse(p, "must have \"@type\"");
    const ProtobufCMessageDescriptor *type =
        p->options->types ? pb_types_find(p->options->types, string_of(url)) : NULL;
    if (!type)
        return refuse(p, "\"@type\" %.200s is not known", json_string_value(url));
    ProtobufCMessage *inner = pb_new(p->arena, type);
    if (!parse_any_message(p, inner, j))
        return false;
    struct slice wire = pb_pack_arena(inner, p->arena);
    ProtobufCBinaryData bytes = {.len = wire.n, .data = (uint8_t *)(uintptr_t)wire.p};
    memcpy((char *)(uintptr_t)pb_field_of(msg, PB_ANY_VALUE), &bytes, sizeof(bytes));
    return parse_string(p, url, (char *)(uintptr_t)pb_field_of(msg, PB_ANY_TYPE_URL));
}

static bool parse_contents(struct parse *p, ProtobufCMessage *msg, const json_t *j)
{
    const ProtobufCFieldDescriptor *first = msg->descriptor->fields;
    enum pb_wkt wkt = pb_wkt_of(msg->descriptor);
    switch (wkt) {
    case PB_WKT_ANY:
        return parse_any(p, msg, j);
    case PB_WKT_DURATION:
    case PB_WKT_TIMESTAMP:
        return parse_time(p, msg, wkt, j);
    case PB_WKT_WRAPPER:
        return parse_value(p, first, j, (char *)msg + first->offset);
    case PB_WKT_STRUCT:
    case PB_WKT_LIST:
        return parse_repeated(p, msg, first, j);
    case PB_WKT_VALUE:
        return parse_struct_value(p, msg, j);
    case PB_WKT_NONE:
        break;
    }
    return json_is_object(j) ? parse_fields(p, msg, j, false) : refuse_kind(p, "an object", j);
}

static bool parse_any_message(struct parse *p, ProtobufCMessage *inner, const json_t *j)
{
    if (pb_wkt_of(inner->descriptor) == PB_WKT_NONE)
        return parse_fields(p, inner, j, true);
    const json_t *value = json_object_get(j, "value");
    if (!value || json_object_size(j) != 2)
        return refuse(p, "must have \"@type\" and \"value\" and nothing else");
    size_t before = path_enter(p, ".", "value");
    bool ok = parse_contents(p, inner, value);
    path_leave(p, before);
    return ok;
}

static ProtobufCMessage *parse_message(struct parse *p, const ProtobufCMessageDescriptor *type,
                                       const json_t *j)
{
    if (p->depth == PB_JSON_DEPTH_MAX) {
        (void)refuse_depth(p);
        return NULL;
    }
    p->depth++;
    ProtobufCMessage *msg = pb_new(p->arena, type);
    bool ok = parse_contents(p, msg, j);
    p->depth--;
    return ok ? msg : NULL;
}

void *pb_json_parse(const ProtobufCMessageDescriptor *type, const json_t *json,
                    const struct pb_json_options *options, struct arena *arena, struct err *err)
{
    struct parse p = {.options = options, .arena = arena, .err = err};
    return parse_message(&p, type, json);
}
