/* For tests: random messages of any type, filled by descriptor. What JSON cannot hold (durations
 * out of range, numbers that are not finite, an Any of no known type, equal keys in a map) does not
 * come up.
 *
 *   struct pb_random r = {.arena = &arena, .seed = 7};
 *   ProtobufCMessage *msg = pb_random_message(&r, type, 8);
 */
#ifndef WEFT_API_PB_RANDOM_H
#define WEFT_API_PB_RANDOM_H

#include <string.h>

#include "api/any_types.h"
#include "base/wire/pb_field.h"
#include "base/wire/pb_wkt.h"
#include "google/protobuf/struct.pb-c.h"

struct pb_random {
    struct arena *arena;
    uint64_t seed; /* not 0 */
};

static inline uint64_t pb_random_u64(struct pb_random *r)
{
    r->seed ^= r->seed << 13;
    r->seed ^= r->seed >> 7;
    r->seed ^= r->seed << 17;
    return r->seed;
}

static inline ProtobufCMessage *
pb_random_message(struct pb_random *r, const ProtobufCMessageDescriptor *type, int depth);

static inline char *pb_random_string(struct pb_random *r)
{
    static const char *const strings[] = {"", "a", "*.example.com", "\"\\\n\x7f", "aé日", "~"};
    return pb_str(r->arena, slice_of(strings[pb_random_u64(r) % ARRAY_LEN(strings)]));
}

static inline void pb_random_value(struct pb_random *r, const ProtobufCFieldDescriptor *f, void *at,
                                   int depth)
{
    static const uint64_t edges[] = {0, 1, 127, 128, 300, 0x7fffffff, 0xffffffff, UINT64_MAX};
    uint64_t v = pb_random_u64(r);
    v = v % 2 ? edges[v / 2 % ARRAY_LEN(edges)] : v;
    double real = (double)(v >> 12) / 8;
    float single = (float)(v >> 48) / 3;
    protobuf_c_boolean truth = v & 1;
    ProtobufCBinaryData bytes;
    void *pointer;
    switch (f->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        pointer = pb_random_message(r, f->descriptor, depth - 1);
        memcpy(at, &pointer, sizeof(pointer));
        break;
    case PROTOBUF_C_TYPE_STRING:
        pointer = pb_random_string(r);
        memcpy(at, &pointer, sizeof(pointer));
        break;
    case PROTOBUF_C_TYPE_BYTES:
        bytes = pb_bytes(r->arena, slice_mem(&v, v % 9));
        memcpy(at, &bytes, sizeof(bytes));
        break;
    case PROTOBUF_C_TYPE_BOOL:
        memcpy(at, &truth, sizeof(truth));
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        memcpy(at, &real, sizeof(real));
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        memcpy(at, &single, sizeof(single));
        break;
    default:
        memcpy(at, &v, pb_value_size(f->type));
    }
}

static inline void pb_random_repeated(struct pb_random *r, ProtobufCMessage *msg,
                                      const ProtobufCFieldDescriptor *f, int depth)
{
    size_t n = pb_random_u64(r) % 5, size = pb_value_size(f->type);
    char *items = arena_alloc(r->arena, 1 + n * size);
    for (size_t i = 0; i < n; i++) {
        pb_random_value(r, f, items + i * size, depth);
        if (!pb_field_is_map(f))
            continue;
        /* Keys in order; the value is there, as it is in JSON. */
        ProtobufCMessage *entry = pb_load_ptr(items + i * size);
        const ProtobufCFieldDescriptor *fields = entry->descriptor->fields;
        char *key = pb_str(r->arena, arena_printf(r->arena, "key%zu", i));
        memcpy((char *)entry + fields[0].offset, &key, sizeof(key));
        if (fields[1].type == PROTOBUF_C_TYPE_MESSAGE)
            pb_random_value(r, &fields[1], (char *)entry + fields[1].offset, depth - 1);
    }
    memcpy((char *)msg + f->offset, &items, sizeof(items));
    memcpy((char *)msg + f->quantifier_offset, &n, sizeof(n));
}

static inline void pb_random_field(struct pb_random *r, ProtobufCMessage *msg,
                                   const ProtobufCFieldDescriptor *f, int depth)
{
    if ((f->type == PROTOBUF_C_TYPE_MESSAGE && depth <= 0) || pb_random_u64(r) % 4 == 0)
        return;
    bool in_oneof = f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
    if (in_oneof && pb_random_u64(r) % 3) /* else its last member would win nearly always */
        return;
    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        pb_random_repeated(r, msg, f, depth);
        return;
    }
    if (in_oneof)
        memcpy((char *)msg + f->quantifier_offset, &f->id, sizeof(f->id));
    pb_random_value(r, f, (char *)msg + f->offset, depth);
}

static inline void pb_random_any(struct pb_random *r, Google__Protobuf__Any *any, int depth)
{
    const ProtobufCMessageDescriptor *type = any_types.v[pb_random_u64(r) % any_types.n];
    *any = *any_new(r->arena, pb_random_message(r, type, depth - 1));
}

static inline ProtobufCMessage *pb_random_message(struct pb_random *r,
                                                  const ProtobufCMessageDescriptor *type, int depth)
{
    ProtobufCMessage *msg = pb_new(r->arena, type);
    enum pb_wkt wkt = pb_wkt_of(type);
    int64_t seconds = (int64_t)(pb_random_u64(r) % 250000000000);
    int32_t nanos = (int32_t)(pb_random_u64(r) % 1000 * 1000000);
    if (wkt == PB_WKT_ANY && depth > 0) {
        pb_random_any(r, (Google__Protobuf__Any *)(void *)msg, depth);
    } else if (wkt == PB_WKT_DURATION || wkt == PB_WKT_TIMESTAMP) {
        memcpy((char *)msg + type->fields[0].offset, &seconds, sizeof(seconds));
        memcpy((char *)msg + type->fields[1].offset, &nanos, sizeof(nanos));
    } else if (wkt != PB_WKT_ANY) {
        for (unsigned i = 0; i < type->n_fields; i++)
            pb_random_field(r, msg, &type->fields[i], depth);
    }
    if (wkt == PB_WKT_VALUE) {
        Google__Protobuf__Value *value = (Google__Protobuf__Value *)(void *)msg;
        if (value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND__NOT_SET)
            value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE;
        if (value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_NULL_VALUE)
            value->null_value = GOOGLE__PROTOBUF__NULL_VALUE__NULL_VALUE;
    }
    return msg;
}

#endif
