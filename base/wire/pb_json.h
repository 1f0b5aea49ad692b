/* Protobuf messages as JSON and back, by descriptor: the mapping of
 * protobuf.dev/programming-guides/json.
 *
 *   struct pb_json_options o = {.types = &any_types, .indent = 2};
 *   if (!pb_json_print(&listener->base, &o, &out, err)) …
 *
 *   json_t *j = …;
 *   Envoy__Config__Listener__V3__Listener *l =
 *       pb_json_parse(&envoy__config__listener__v3__listener__descriptor, j, &o, arena, err);
 *   -> "filterChains[0].filters[1].typedConfig.statPrefx: HttpConnectionManager has no such field"
 *
 * Names are lowerCamelCase on output (or as in the .proto), both on input. 64-bit integers are
 * strings, enums their names, bytes base64, maps objects; Duration is "1.5s", Timestamp RFC 3339,
 * wrappers the bare value, Struct, Value and ListValue plain JSON, an Any its message with "@type".
 */
#ifndef WEFT_BASE_WIRE_PB_JSON_H
#define WEFT_BASE_WIRE_PB_JSON_H

#include <jansson.h>

#include "base/wire/pb.h"

struct pb_json_options {
    const struct pb_types *types; /* what an Any may hold; NULL: nothing */
    unsigned indent;              /* printing: spaces a level; 0 = one line */
    bool proto_names;    /* printing: stat_prefix, not statPrefix (Envoy's own config_dump) */
    bool defaults;       /* printing: also fields that have their default */
    bool ignore_unknown; /* parsing: skip fields and enum names that are not known */
};

/* Appends the JSON text of msg. An Any of a type that is not in the table is written as
 * {"@type": …, "value": base64}. false: ERR_INVALID for what JSON cannot hold (a Duration out of
 * range, an Any with malformed bytes), ERR_LIMIT at out's limit or past PB_JSON_DEPTH_MAX; out then
 * holds a part. Unknown fields are left out. */
bool pb_json_print(const ProtobufCMessage *msg, const struct pb_json_options *options,
                   struct buf *out, struct err *err);

/* A message in the arena; borrows nothing from json. NULL: ERR_INVALID with the path of the field,
 * or ERR_LIMIT past PB_JSON_DEPTH_MAX. An Any must be of a type in the table. Entries of maps come
 * sorted. null means absent. */
void *pb_json_parse(const ProtobufCMessageDescriptor *type, const json_t *json,
                    const struct pb_json_options *options, struct arena *arena, struct err *err);

/* The lowerCamelCase name of a field, in the arena. */
struct slice pb_json_name(struct arena *arena, const char *field_name);

#endif
