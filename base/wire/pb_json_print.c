/* Messages as JSON text. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire/base64.h"
#include "base/wire/pb_field.h"
#include "base/wire/pb_json.h"
#include "base/wire/pb_wkt.h"

struct print {
    const struct pb_json_options *options;
    struct buf *out;
    struct err *err;
    size_t depth; /* open objects and arrays */
    bool empty;   /* nothing was written yet in the innermost */
};

static bool full(struct print *p)
{
    return err_set(p->err, ERR_LIMIT, "the JSON text is longer than allowed");
}

static bool put(struct print *p, struct slice s)
{
    return buf_append(p->out, s) || full(p);
}

/* Structure. */

static bool new_line(struct print *p)
{
    if (!p->options->indent)
        return true;
    size_t spaces = p->depth * p->options->indent;
    char *at = buf_reserve(p->out, spaces + 1);
    if (!at)
        return full(p);
    at[0] = '\n';
    memset(at + 1, ' ', spaces);
    buf_commit(p->out, spaces + 1);
    return true;
}

static bool open_with(struct print *p, char bracket)
{
    if (p->depth == PB_JSON_DEPTH_MAX)
        return err_set(p->err, ERR_LIMIT, "JSON is nested deeper than %d", PB_JSON_DEPTH_MAX);
    p->depth++;
    p->empty = true;
    return put(p, (struct slice){&bracket, 1});
}

static bool close_with(struct print *p, char bracket)
{
    wf_assert(p->depth > 0);
    p->depth--;
    bool ok = p->empty || new_line(p);
    p->empty = false;
    return ok && put(p, (struct slice){&bracket, 1});
}

/* Before each element of an array and each name of an object. */
static bool element(struct print *p)
{
    bool first = p->empty;
    p->empty = false;
    return (first || put(p, S(","))) && new_line(p);
}

/* Strings. */

static bool put_escape(struct print *p, unsigned char c)
{
    switch (c) {
    case '"':
        return put(p, S("\\\""));
    case '\\':
        return put(p, S("\\\\"));
    case '\n':
        return put(p, S("\\n"));
    case '\r':
        return put(p, S("\\r"));
    case '\t':
        return put(p, S("\\t"));
    default:
        return buf_printf(p->out, "\\u%04x", c) || full(p);
    }
}

static bool must_escape(char c)
{
    return (unsigned char)c < 0x20 || c == '"' || c == '\\' || c == 0x7f;
}

static bool put_string(struct print *p, struct slice s)
{
    bool ok = put(p, S("\""));
    while (ok && s.n) {
        size_t plain = 0;
        while (plain < s.n && !must_escape(s.p[plain]))
            plain++;
        ok = put(p, slice_sub(s, 0, plain));
        if (ok && plain < s.n)
            ok = put_escape(p, (unsigned char)s.p[plain++]);
        s = slice_skip(s, plain);
    }
    return ok && put(p, S("\""));
}

static bool put_name(struct print *p, struct slice name)
{
    return element(p) && put_string(p, name) && put(p, p->options->indent ? S(": ") : S(":"));
}

static bool put_field_name(struct print *p, const ProtobufCFieldDescriptor *f)
{
    if (p->options->proto_names)
        return put_name(p, slice_of(f->name));
    struct arena scratch = {0};
    bool ok = put_name(p, pb_json_name(&scratch, f->name));
    arena_fini(&scratch);
    return ok;
}

struct slice pb_json_name(struct arena *arena, const char *field_name)
{
    char *name = arena_alloc(arena, strlen(field_name) + 1);
    size_t n = 0;
    bool upper = false;
    for (const char *c = field_name; *c; c++) {
        if (*c == '_') {
            upper = true;
            continue;
        }
        name[n++] = upper && *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c;
        upper = false;
    }
    return (struct slice){name, n};
}

/* Numbers. */

/* The shortest text that reads back as the same number. */
static bool put_real(struct print *p, double v, bool single)
{
    char text[32];
    if (isnan(v) || isinf(v))
        return put(p, isnan(v) ? S("\"NaN\"") : v > 0 ? S("\"Infinity\"") : S("\"-Infinity\""));
    for (int digits = single ? 6 : 15; digits <= (single ? 9 : 17); digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, v);
        if (single ? strtof(text, NULL) == (float)v : strtod(text, NULL) == v)
            break;
    }
    return put(p, slice_of(text));
}

static bool put_float(struct print *p, const void *at)
{
    float v;
    memcpy(&v, at, sizeof(v));
    return put_real(p, v, true);
}

static bool put_double(struct print *p, const void *at)
{
    double v;
    memcpy(&v, at, sizeof(v));
    return put_real(p, v, false);
}

static bool put_enum(struct print *p, const ProtobufCEnumDescriptor *type, int32_t v)
{
    if (pb_wkt_is_null_enum(type))
        return put(p, S("null"));
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(type, v);
    if (value)
        return put_string(p, slice_of(value->name));
    return buf_printf(p->out, "%d", v) || full(p);
}

static bool put_base64(struct print *p, const void *at)
{
    ProtobufCBinaryData bytes;
    memcpy(&bytes, at, sizeof(bytes));
    return put(p, S("\"")) &&
           (base64_encode(p->out, slice_mem(bytes.data, bytes.len)) || full(p)) && put(p, S("\""));
}

/* Values. */

static bool put_message(struct print *p, const ProtobufCMessage *msg);

/* A value of a field, or an element of a repeated one. */
static bool put_value(struct print *p, const ProtobufCFieldDescriptor *f, const void *at)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return buf_printf(p->out, "%d", (int32_t)pb_load_u32(at)) || full(p);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return buf_printf(p->out, "%u", pb_load_u32(at)) || full(p);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return buf_printf(p->out, "\"%lld\"", (long long)pb_load_u64(at)) || full(p);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return buf_printf(p->out, "\"%llu\"", (unsigned long long)pb_load_u64(at)) || full(p);
    case PROTOBUF_C_TYPE_FLOAT:
        return put_float(p, at);
    case PROTOBUF_C_TYPE_DOUBLE:
        return put_double(p, at);
    case PROTOBUF_C_TYPE_BOOL:
        return put(p, pb_load_u32(at) ? S("true") : S("false"));
    case PROTOBUF_C_TYPE_ENUM:
        return put_enum(p, f->descriptor, (int32_t)pb_load_u32(at));
    case PROTOBUF_C_TYPE_STRING:
        return put_string(p, pb_slice(pb_load_ptr(at)));
    case PROTOBUF_C_TYPE_BYTES:
        return put_base64(p, at);
    case PROTOBUF_C_TYPE_MESSAGE:
        return put_message(p, pb_load_ptr(at));
    }
    wf_unreachable("a field's type");
}

/* The value of a map entry; an entry whose value was not on the wire has the default. */
static bool put_entry_value(struct print *p, const ProtobufCMessage *entry)
{
    const ProtobufCFieldDescriptor *f = &entry->descriptor->fields[1];
    if (f->type != PROTOBUF_C_TYPE_MESSAGE || pb_load_ptr(pb_field_at(entry, f)))
        return put_value(p, f, pb_field_at(entry, f));
    return put(p, pb_wkt_of(f->descriptor) == PB_WKT_VALUE ? S("null") : S("{}"));
}

/* Keys are strings in every map of api/proto. */
static bool put_entry(struct print *p, const ProtobufCMessage *entry)
{
    const ProtobufCFieldDescriptor *key = &entry->descriptor->fields[0];
    wf_assert(key->type == PROTOBUF_C_TYPE_STRING);
    return put_name(p, pb_slice(pb_load_ptr(pb_field_at(entry, key)))) && put_entry_value(p, entry);
}

static bool put_map(struct print *p, const void *entries, size_t n)
{
    bool ok = open_with(p, '{');
    for (size_t i = 0; i < n && ok; i++)
        ok = put_entry(p, pb_load_ptr((const char *)entries + i * sizeof(void *)));
    return ok && close_with(p, '}');
}

static bool put_list(struct print *p, const ProtobufCFieldDescriptor *f, const void *items,
                     size_t n)
{
    bool ok = open_with(p, '[');
    for (size_t i = 0; i < n && ok; i++)
        ok = element(p) && put_value(p, f, (const char *)items + i * pb_value_size(f->type));
    return ok && close_with(p, ']');
}

static bool put_repeated(struct print *p, const ProtobufCMessage *msg,
                         const ProtobufCFieldDescriptor *f)
{
    const void *items = pb_load_ptr(pb_field_at(msg, f));
    size_t n = pb_field_count(msg, f);
    return pb_field_is_map(f) ? put_map(p, items, n) : put_list(p, f, items, n);
}

static bool put_field(struct print *p, const ProtobufCMessage *msg,
                      const ProtobufCFieldDescriptor *f)
{
    bool repeated = f->label == PROTOBUF_C_LABEL_REPEATED;
    bool present = repeated ? pb_field_count(msg, f) > 0 : pb_field_is_present(msg, f);
    bool has_default = f->type != PROTOBUF_C_TYPE_MESSAGE || repeated;
    bool in_oneof = f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
    if (!present && (!p->options->defaults || !has_default || in_oneof))
        return true;
    if (!put_field_name(p, f))
        return false;
    return repeated ? put_repeated(p, msg, f) : put_value(p, f, pb_field_at(msg, f));
}

/* The fields of a message whose object is open. */
static bool put_fields(struct print *p, const ProtobufCMessage *msg)
{
    bool ok = true;
    for (size_t i = 0; i < msg->descriptor->n_fields && ok; i++)
        ok = put_field(p, msg, &msg->descriptor->fields[i]);
    return ok;
}

/* Well-known types. */

static bool put_time(struct print *p, const ProtobufCMessage *msg, enum pb_wkt wkt)
{
    char text[PB_TIME_TEXT];
    int64_t seconds = (int64_t)pb_load_u64(pb_field_of(msg, PB_SECONDS));
    int32_t nanos = (int32_t)pb_load_u32(pb_field_of(msg, PB_NANOS));
    bool ok = wkt == PB_WKT_DURATION ? pb_duration_format(seconds, nanos, text)
                                     : pb_timestamp_format(seconds, nanos, text);
    if (!ok)
        return err_set(p->err, ERR_INVALID, "%s of %lld s and %d ns is out of range",
                       msg->descriptor->short_name, (long long)seconds, nanos);
    return put_string(p, slice_of(text));
}

static bool put_struct_value(struct print *p, const ProtobufCMessage *msg)
{
    for (size_t i = 0; i < msg->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &msg->descriptor->fields[i];
        double number;
        if (!pb_field_is_present(msg, f))
            continue;
        memcpy(&number, pb_field_at(msg, f), sizeof(number));
        if (f->id == PB_VALUE_NUMBER && !isfinite(number))
            return err_set(p->err, ERR_INVALID, "a google.protobuf.Value holds no finite number");
        return put_value(p, f, pb_field_at(msg, f));
    }
    return put(p, S("null"));
}

static bool put_any_message(struct print *p, const ProtobufCMessage *msg)
{
    if (pb_wkt_of(msg->descriptor) == PB_WKT_NONE)
        return put_fields(p, msg);
    return put_name(p, S("value")) && put_message(p, msg);
}

static bool put_any(struct print *p, const ProtobufCMessage *msg)
{
    struct slice url = pb_slice(pb_load_ptr(pb_field_of(msg, PB_ANY_TYPE_URL)));
    const void *value = pb_field_of(msg, PB_ANY_VALUE);
    const ProtobufCMessageDescriptor *type =
        p->options->types ? pb_types_find(p->options->types, url) : NULL;
    if (!open_with(p, '{') || (url.n && !(put_name(p, S("@type")) && put_string(p, url))))
        return false;
    if (!type && url.n)
        return put_name(p, S("value")) && put_base64(p, value) && close_with(p, '}');
    if (type) {
        ProtobufCBinaryData bytes;
        memcpy(&bytes, value, sizeof(bytes));
        struct arena arena = {0};
        const ProtobufCMessage *inner =
            pb_unpack(type, slice_mem(bytes.data, bytes.len), &arena, p->err);
        bool ok = inner && put_any_message(p, inner);
        arena_fini(&arena);
        if (!ok)
            return false;
    }
    return close_with(p, '}');
}

static bool put_message(struct print *p, const ProtobufCMessage *msg)
{
    enum pb_wkt wkt = pb_wkt_of(msg->descriptor);
    switch (wkt) {
    case PB_WKT_ANY:
        return put_any(p, msg);
    case PB_WKT_DURATION:
    case PB_WKT_TIMESTAMP:
        return put_time(p, msg, wkt);
    case PB_WKT_WRAPPER: /* one field, whose bare value stands for it */
        return put_value(p, &msg->descriptor->fields[0],
                         pb_field_at(msg, &msg->descriptor->fields[0]));
    case PB_WKT_STRUCT: /* one repeated field each: the object, the array */
    case PB_WKT_LIST:
        return put_repeated(p, msg, &msg->descriptor->fields[0]);
    case PB_WKT_VALUE:
        return put_struct_value(p, msg);
    case PB_WKT_NONE:
        break;
    }
    return open_with(p, '{') && put_fields(p, msg) && close_with(p, '}');
}

bool pb_json_print(const ProtobufCMessage *msg, const struct pb_json_options *options,
                   struct buf *out, struct err *err)
{
    struct print p = {.options = options, .out = out, .err = err};
    return put_message(&p, msg);
}
