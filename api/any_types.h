/* Every message that weft puts into a google.protobuf.Any or takes out of one.
 *
 *   filter->typed_config = any_new(arena, &hcm->base);
 *   const Envoy__…__Router *r = any_unpack(any, &envoy__…__router__descriptor, arena, err);
 *
 * The type URL of a message is always "type.googleapis.com/" and its full name.
 */
#ifndef WEFT_API_ANY_TYPES_H
#define WEFT_API_ANY_TYPES_H

#include "base/wire/pb.h"
#include "google/protobuf/any.pb-c.h"

/* For pb_json and for whoever meets an Any: what it may hold. */
extern const struct pb_types any_types;

struct slice any_type_url(struct arena *arena, const ProtobufCMessageDescriptor *type);

/* Packs msg; everything is copied into the arena. */
Google__Protobuf__Any *any_new(struct arena *arena, const ProtobufCMessage *msg);
/* For bytes that are packed already. */
Google__Protobuf__Any *any_of_bytes(struct arena *arena, struct slice type_url, struct slice value);

/* Is it of this type? NULL is of none. */
bool any_is(const Google__Protobuf__Any *any, const ProtobufCMessageDescriptor *type);
/* The type by the table; NULL when weft does not know it. */
const ProtobufCMessageDescriptor *any_type(const Google__Protobuf__Any *any);
struct slice any_value(const Google__Protobuf__Any *any);

/* The message inside, scanned and unpacked into the arena (pb_unpack). NULL when it is missing, of
 * another type (ERR_UNSUPPORTED, naming both) or malformed. */
void *any_unpack(const Google__Protobuf__Any *any, const ProtobufCMessageDescriptor *type,
                 struct arena *arena, struct err *err);

#endif
