/* Packing from the last byte to the first: the length of an embedded message is known when its
 * header is written, so that nothing is measured twice. */
#include "base/wire/pb_field.h"

enum { SMALL = 2048 };

/* Bytes grow downwards from end to pos, inside `small` until they need the heap. */
struct back {
    uint8_t *start, *pos, *end;
    uint8_t *heap;
    uint8_t small[SMALL];
};

static void back_grow(struct back *b, size_t need)
{
    size_t used = (size_t)(b->end - b->pos);
    size_t cap = (size_t)(b->end - b->start) * 2;
    while (cap - used < need)
        cap *= 2;
    uint8_t *grown = mem_new(cap);
    memcpy(grown + cap - used, b->pos, used);
    mem_free(b->heap);
    b->heap = b->start = grown;
    b->end = grown + cap;
    b->pos = b->end - used;
}

/* Room for n bytes in front of what is there. */
static uint8_t *back_take(struct back *b, size_t n)
{
    if ((size_t)(b->pos - b->start) < n)
        back_grow(b, n);
    b->pos -= n;
    return b->pos;
}

static void back_bytes(struct back *b, const void *p, size_t n)
{
    if (n)
        memcpy(back_take(b, n), p, n);
}

static void back_varint(struct back *b, uint64_t v)
{
    uint8_t *p = back_take(b, pbw_varint_size(v));
    for (; v >= 0x80; v >>= 7)
        *p++ = (uint8_t)(v | 0x80);
    *p = (uint8_t)v;
}

static void back_tag(struct back *b, uint32_t id, unsigned wire_type)
{
    back_varint(b, (uint64_t)id << 3 | wire_type);
}

static void back_le(struct back *b, uint64_t v, size_t n)
{
    uint8_t *p = back_take(b, n);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

/* Values. */

static uint64_t sign_extend(uint32_t v)
{
    return (uint64_t)(int64_t)(int32_t)v;
}

static uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

/* A number without its tag; returns its wire type. */
static unsigned back_number(struct back *b, ProtobufCType type, const void *at)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM: /* negative: ten bytes, as everywhere */
        return back_varint(b, sign_extend(pb_load_u32(at))), PBW_VARINT;
    case PROTOBUF_C_TYPE_SINT32:
        return back_varint(b, (uint32_t)zigzag((int32_t)pb_load_u32(at))), PBW_VARINT;
    case PROTOBUF_C_TYPE_UINT32:
        return back_varint(b, pb_load_u32(at)), PBW_VARINT;
    case PROTOBUF_C_TYPE_BOOL:
        return back_varint(b, pb_load_u32(at) != 0), PBW_VARINT;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        return back_varint(b, pb_load_u64(at)), PBW_VARINT;
    case PROTOBUF_C_TYPE_SINT64:
        return back_varint(b, zigzag((int64_t)pb_load_u64(at))), PBW_VARINT;
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return back_le(b, pb_load_u32(at), 4), PBW_FIXED32;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return back_le(b, pb_load_u64(at), 8), PBW_FIXED64;
    default:
        wf_unreachable("a number");
    }
}

static void back_message(struct back *b, const ProtobufCMessage *msg, size_t depth);

/* What a length-delimited field holds, without tag and length. */
static void back_body(struct back *b, ProtobufCType type, const void *at, size_t depth)
{
    if (type == PROTOBUF_C_TYPE_MESSAGE) {
        back_message(b, pb_load_ptr(at), depth + 1);
    } else if (type == PROTOBUF_C_TYPE_STRING) {
        const char *s = pb_load_ptr(at);
        back_bytes(b, s, s ? strlen(s) : 0);
    } else {
        ProtobufCBinaryData bytes;
        memcpy(&bytes, at, sizeof(bytes));
        back_bytes(b, bytes.data, bytes.len);
    }
}

static bool is_length_delimited(ProtobufCType type)
{
    return type == PROTOBUF_C_TYPE_MESSAGE || type == PROTOBUF_C_TYPE_STRING ||
           type == PROTOBUF_C_TYPE_BYTES;
}

static void back_value(struct back *b, const ProtobufCFieldDescriptor *f, const void *at,
                       size_t depth)
{
    if (!is_length_delimited(f->type)) {
        unsigned wire_type = back_number(b, f->type, at);
        back_tag(b, f->id, wire_type);
        return;
    }
    size_t before = (size_t)(b->end - b->pos);
    back_body(b, f->type, at, depth);
    back_varint(b, (size_t)(b->end - b->pos) - before);
    back_tag(b, f->id, PBW_LEN);
}

/* Fields. */

static void back_repeated(struct back *b, const ProtobufCFieldDescriptor *f, const void *at,
                          size_t n, size_t depth)
{
    const char *items = pb_load_ptr(at);
    size_t size = pb_value_size(f->type);
    if (is_length_delimited(f->type) || !(f->flags & PROTOBUF_C_FIELD_FLAG_PACKED)) {
        while (n--)
            back_value(b, f, items + n * size, depth);
        return;
    }
    if (n == 0)
        return;
    size_t before = (size_t)(b->end - b->pos);
    while (n--)
        (void)back_number(b, f->type, items + n * size);
    back_varint(b, (size_t)(b->end - b->pos) - before);
    back_tag(b, f->id, PBW_LEN);
}

/* proto3: a field without explicit presence is not written when it has its default. */
static bool is_default(const ProtobufCFieldDescriptor *f, const void *at)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        return !pb_load_ptr(at);
    case PROTOBUF_C_TYPE_STRING: {
        const char *s = pb_load_ptr(at);
        return !s || !*s;
    }
    case PROTOBUF_C_TYPE_BYTES:
        return pb_load_u64(at) == 0; /* the length */
    case PROTOBUF_C_TYPE_FLOAT: {
        float v;
        memcpy(&v, at, sizeof(v));
        return v == 0;
    }
    case PROTOBUF_C_TYPE_DOUBLE: {
        double v;
        memcpy(&v, at, sizeof(v));
        return v == 0;
    }
    default:
        return pb_value_size(f->type) == 8 ? pb_load_u64(at) == 0 : pb_load_u32(at) == 0;
    }
}
static_assert(offsetof(ProtobufCBinaryData, len) == 0, "is_default reads the length of bytes");

bool pb_field_is_present(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *f)
{
    const char *at = pb_field_at(msg, f), *quantifier = (const char *)msg + f->quantifier_offset;
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return pb_load_u32(quantifier) == f->id &&
               !(f->type == PROTOBUF_C_TYPE_MESSAGE && !pb_load_ptr(at));
    if (f->label == PROTOBUF_C_LABEL_NONE)
        return !is_default(f, at);
    if (f->label == PROTOBUF_C_LABEL_REQUIRED)
        return true;
    if (f->type == PROTOBUF_C_TYPE_MESSAGE || f->type == PROTOBUF_C_TYPE_STRING)
        return pb_load_ptr(at) && pb_load_ptr(at) != f->default_value;
    return pb_load_u32(quantifier) != 0;
}

static void back_unknown(struct back *b, const ProtobufCMessage *msg)
{
    for (size_t i = msg->n_unknown_fields; i-- > 0;) {
        const ProtobufCMessageUnknownField *u = &msg->unknown_fields[i];
        back_bytes(b, u->data, u->len);
        back_tag(b, u->tag, u->wire_type);
    }
}

static void back_message(struct back *b, const ProtobufCMessage *msg, size_t depth)
{
    wf_assert(depth <= PB_DEPTH_MAX);
    const ProtobufCMessageDescriptor *type = msg->descriptor;
    wf_assert(type->magic == PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC);
    back_unknown(b, msg);
    for (size_t i = type->n_fields; i-- > 0;) {
        const ProtobufCFieldDescriptor *f = &type->fields[i];
        const char *at = pb_field_at(msg, f);
        if (f->label == PROTOBUF_C_LABEL_REPEATED)
            back_repeated(b, f, at, pb_field_count(msg, f), depth);
        else if (pb_field_is_present(msg, f))
            back_value(b, f, at, depth);
    }
}

static void back_init(struct back *b)
{
    b->start = b->small;
    b->pos = b->end = b->small + sizeof(b->small);
    b->heap = NULL;
}

static struct slice back_slice(const struct back *b)
{
    return slice_mem(b->pos, (size_t)(b->end - b->pos));
}

bool pb_pack(const ProtobufCMessage *msg, struct buf *out)
{
    struct back b;
    back_init(&b);
    back_message(&b, msg, 1);
    bool fits = buf_append(out, back_slice(&b));
    mem_free(b.heap);
    return fits;
}

struct slice pb_pack_arena(const ProtobufCMessage *msg, struct arena *arena)
{
    struct back b;
    back_init(&b);
    back_message(&b, msg, 1);
    struct slice bytes = arena_dup(arena, back_slice(&b));
    mem_free(b.heap);
    return bytes;
}

/* google.protobuf.Any. */

enum { ANY_TYPE_URL = 1, ANY_VALUE = 2 };

size_t pbw_any_size(struct slice type_url, size_t value_bytes)
{
    return pbw_bytes_size(ANY_TYPE_URL, type_url) +
           (value_bytes ? pbw_len_size(ANY_VALUE, value_bytes) : 0);
}

bool pbw_any_header(struct buf *b, uint32_t field, struct slice type_url, size_t value_bytes)
{
    return pbw_len(b, field, pbw_any_size(type_url, value_bytes)) &&
           pbw_bytes(b, ANY_TYPE_URL, type_url) &&
           (value_bytes == 0 || pbw_len(b, ANY_VALUE, value_bytes));
}
