/* Protobuf over protobuf-c: bytes from outside are scanned before they are unpacked, trees live in
 * an arena, packing is deterministic.
 *
 *   const Envoy__Config__Route__V3__RouteConfiguration *rc =
 *       pb_unpack(&envoy__config__route__v3__route_configuration__descriptor, bytes, arena, err);
 *   if (!rc)
 *       return err_wrap(err, "route %.*s", SLICE(name));
 *
 *   Envoy__Config__Route__V3__Route *r = PB_NEW(arena, envoy__config__route__v3__route);
 *   r->name = pb_str(arena, name);
 *   PB_PUSH(arena, vhost, routes, r);
 *   pb_pack(&vhost->base, out);
 *
 * protobuf-c itself knows no limit of depth, does not check UTF-8 and cuts a string at its first
 * NUL: never call protobuf_c_message_unpack() on bytes of a peer.
 */
#ifndef WEFT_BASE_WIRE_PB_H
#define WEFT_BASE_WIRE_PB_H

#include <protobuf-c/protobuf-c.h>

#include "base/core/err.h"
#include "base/core/mem.h"
#include "base/core/slice.h"
#include "base/wire/pb_limits.h"

/* Decoding. */

struct pb_limits {
    size_t depth;    /* messages inside messages, the outermost is 1; at most PB_DEPTH_MAX */
    size_t bytes;    /* of the wire */
    size_t elements; /* fields, entries, elements of packed fields */
    size_t memory;   /* bytes of the unpacked tree */
};

/* The PB_*_MAX of pb_limits.h. */
extern const struct pb_limits pb_limits_default;

/* Walks the wire bytes with the descriptors, without recursion and without memory. Refuses what is
 * cut short or longer than what holds it, field number 0, groups, a known field of the wrong wire
 * type, a singular message that comes in parts, strings that are not UTF-8 or hold a NUL, and
 * whatever exceeds the limits (NULL: the defaults). Bytes inside an Any or a bytes field are not
 * looked into: they get a pb_unpack() of their own. ERR_INVALID or ERR_LIMIT; the message names the
 * path of fields and the byte. */
bool pb_scan(const ProtobufCMessageDescriptor *type, struct slice wire,
             const struct pb_limits *limits, struct err *err);

/* Scans, then unpacks into the arena; the tree borrows nothing from wire and is never freed by
 * hand. NULL on failure: as pb_scan, or ERR_LIMIT when the arena has a limit and reached it.
 * Unknown fields are kept and are packed again. */
void *pb_unpack(const ProtobufCMessageDescriptor *type, struct slice wire, struct arena *arena,
                struct err *err);
void *pb_unpack_limited(const ProtobufCMessageDescriptor *type, struct slice wire,
                        const struct pb_limits *limits, struct arena *arena, struct err *err);

/* Types by name. */

/* Message types, sorted by full name. */
struct pb_types {
    const ProtobufCMessageDescriptor *const *v;
    size_t n;
};

/* By full name ("envoy.config.core.v3.Node") or type URL (what stands behind its last '/'); NULL
 * when the table has none. */
const ProtobufCMessageDescriptor *pb_types_find(const struct pb_types *types, struct slice name);

/* Building. */

/* A new message with its defaults: PB_NEW(arena, envoy__config__core__v3__address). */
void *pb_new(struct arena *arena, const ProtobufCMessageDescriptor *type);
#define PB_NEW(arena, c_name) pb_new((arena), &c_name##__descriptor)

/* Appends to a repeated field of messages or strings that was filled by PB_PUSH alone:
 * PB_PUSH(arena, cla, endpoints, locality). The pointer array doubles in the arena. */
#define PB_PUSH(arena, msg, field, item)                                                           \
    pb_push_((arena), (void *)&(msg)->field, &(msg)->n_##field, true ? (item) : *(msg)->field)
void pb_push_(struct arena *arena, void *array, size_t *n, void *item);

/* NUL-terminated copy for a string field. The slice must not hold a NUL. */
char *pb_str(struct arena *arena, struct slice s);
/* Copy for a bytes field. */
ProtobufCBinaryData pb_bytes(struct arena *arena, struct slice s);
/* A string field's value; NULL gives the empty slice. */
static inline struct slice pb_slice(const char *field)
{
    return slice_of(field);
}

/* Sorts the entries of a map field (an array of n pointers to entry messages) by key, bytewise, so
 * that equal maps have equal bytes: pb_sort_map(m->labels, m->n_labels). Keys must be strings. */
void pb_sort_map(void *entries, size_t n);

/* Is the field a map with string keys, that is a repeated <FieldName>Entry of key and value?
 * protobuf-c has no mark.
 */
bool pb_field_is_map(const ProtobufCFieldDescriptor *field);

/* Packing. */

/* Appends the wire bytes of msg: fields in order of number, then unknown fields, the same bytes on
 * every replica. Linear in the size of the tree (protobuf-c's own is not). false at out's limit. */
bool pb_pack(const ProtobufCMessage *msg, struct buf *out);
struct slice pb_pack_arena(const ProtobufCMessage *msg, struct arena *arena);

/* A small forward writer for hot paths: fields of known size into a buffer. */

enum { PBW_VARINT = 0, PBW_FIXED64 = 1, PBW_LEN = 2, PBW_FIXED32 = 5 };

/* Bytes that pbw_varint(v) writes: 1..10. */
static inline size_t pbw_varint_size(uint64_t v)
{
    return ((size_t)(63 - __builtin_clzll(v | 1)) * 9 + 73) / 64;
}

/* Bytes of a length-delimited field with n bytes inside, header included. */
static inline size_t pbw_len_size(uint32_t field, size_t n)
{
    return pbw_varint_size((uint64_t)field << 3) + pbw_varint_size(n) + n;
}

/* The size of a bytes or string field; 0 for an empty one, which proto3 does not write. */
static inline size_t pbw_bytes_size(uint32_t field, struct slice s)
{
    return s.n ? pbw_len_size(field, s.n) : 0;
}

/* All of them: false at the buffer's limit (and it is marked as overflowed). */
static inline bool pbw_tag(struct buf *b, uint32_t field, unsigned wire_type)
{
    return buf_varint(b, (uint64_t)field << 3 | wire_type);
}

/* Header of a length-delimited field; the caller appends n bytes. */
static inline bool pbw_len(struct buf *b, uint32_t field, size_t n)
{
    return pbw_tag(b, field, PBW_LEN) && buf_varint(b, n);
}

/* A string, bytes or embedded message; nothing when it is empty. */
static inline bool pbw_bytes(struct buf *b, uint32_t field, struct slice s)
{
    return s.n == 0 || (pbw_len(b, field, s.n) && buf_append(b, s));
}

/* An integer, bool or enum; nothing when it is 0. */
static inline bool pbw_u64(struct buf *b, uint32_t field, uint64_t v)
{
    return v == 0 || (pbw_tag(b, field, PBW_VARINT) && buf_varint(b, v));
}

/* Bytes inside a google.protobuf.Any, without the header of the field that holds it. */
size_t pbw_any_size(struct slice type_url, size_t value_bytes);
/* A field of type google.protobuf.Any up to its value: the caller appends value_bytes bytes. */
bool pbw_any_header(struct buf *b, uint32_t field, struct slice type_url, size_t value_bytes);

#endif
