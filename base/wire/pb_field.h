/* Inside base/wire/pb*: fields of a protobuf-c message by descriptor. */
#ifndef WEFT_BASE_WIRE_PB_FIELD_H
#define WEFT_BASE_WIRE_PB_FIELD_H

#include <string.h>

#include "base/core/assert.h"
#include "base/wire/pb.h"

static inline uint32_t pb_load_u32(const void *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof(v));
    return v;
}

static inline uint64_t pb_load_u64(const void *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof(v));
    return v;
}

static inline void *pb_load_ptr(const void *at)
{
    void *p;
    memcpy(&p, at, sizeof(p));
    return p;
}

/* Of one value of the type, as it lies in a message or in the array of a repeated field. */
static inline size_t pb_value_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4;
    }
}
static_assert(sizeof(protobuf_c_boolean) == 4 && sizeof(size_t) == 8, "as pb_value_size says");

static inline const char *pb_field_at(const ProtobufCMessage *msg,
                                      const ProtobufCFieldDescriptor *f)
{
    return (const char *)msg + f->offset;
}

static inline size_t pb_field_count(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *f)
{
    wf_assert(f->label == PROTOBUF_C_LABEL_REPEATED);
    return pb_load_u64((const char *)msg + f->quantifier_offset);
}

/* A singular field that is set: what is written. */
bool pb_field_is_present(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *f);

/* Does name begin with the field's name in camel case ("filter_chains" as "filterChains", or with
 * upper as "FilterChains")? Returns what stands behind it in name, or NULL. */
static inline const char *pb_camel_match(const char *name, const char *field, bool upper)
{
    for (; *field; field++) {
        if (*field == '_') {
            upper = true;
            continue;
        }
        char want = upper && *field >= 'a' && *field <= 'z' ? (char)(*field - 'a' + 'A') : *field;
        if (*name++ != want)
            return NULL;
        upper = false;
    }
    return name;
}

/* The field of a well-known type, which is known to be there. */
static inline const char *pb_field_of(const ProtobufCMessage *msg, uint32_t id)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field(msg->descriptor, id);
    wf_assert(f);
    return pb_field_at(msg, f);
}

#endif
