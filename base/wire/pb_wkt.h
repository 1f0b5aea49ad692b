/* Inside base/wire/pb_json*: the well-known types that JSON writes in a way of their own, and the
 * text forms of Duration and Timestamp. */
#ifndef WEFT_BASE_WIRE_PB_WKT_H
#define WEFT_BASE_WIRE_PB_WKT_H

#include "base/wire/pb.h"

enum pb_wkt {
    PB_WKT_NONE, /* a plain message */
    PB_WKT_ANY,
    PB_WKT_DURATION,
    PB_WKT_TIMESTAMP,
    PB_WKT_STRUCT,
    PB_WKT_VALUE,
    PB_WKT_LIST,
    PB_WKT_WRAPPER,
};

enum pb_wkt pb_wkt_of(const ProtobufCMessageDescriptor *type);
/* Is it google.protobuf.NullValue, whose one value is null? */
bool pb_wkt_is_null_enum(const ProtobufCEnumDescriptor *type);

/* Field numbers. */
enum {
    PB_SECONDS = 1, /* Duration, Timestamp */
    PB_NANOS = 2,
    PB_ANY_TYPE_URL = 1,
    PB_ANY_VALUE = 2,
    PB_WRAPPER_VALUE = 1,
    PB_STRUCT_FIELDS = 1,
    PB_LIST_VALUES = 1,
    PB_VALUE_NULL = 1,
    PB_VALUE_NUMBER = 2,
    PB_VALUE_STRING = 3,
    PB_VALUE_BOOL = 4,
    PB_VALUE_STRUCT = 5,
    PB_VALUE_LIST = 6,
};

#define PB_TIME_TEXT 48

/* "1.500s": 0, 3, 6 or 9 digits behind the point. NUL-terminated into dst[PB_TIME_TEXT]. false when
 * out of range (10,000 years) or the signs differ. */
bool pb_duration_format(int64_t seconds, int32_t nanos, char *dst);
bool pb_duration_parse(struct slice text, int64_t *ret_seconds, int32_t *ret_nanos);
/* "2026-03-01T10:00:00.250Z", years 1 to 9999. */
bool pb_timestamp_format(int64_t seconds, int32_t nanos, char *dst);
/* With Z or an offset. */
bool pb_timestamp_parse(struct slice text, int64_t *ret_seconds, int32_t *ret_nanos);

#endif
