/* The well-known types of protobuf as plain C values: wrappers (absent is not 0), durations,
 * timestamps, Struct.
 *
 *   thresholds->max_connections = wkt_u32(arena, 1024);
 *   cluster->connect_timeout = wkt_duration(arena, 5000);
 *   uint32_t weight = wkt_u32_or(endpoint->load_balancing_weight, 1);
 */
#ifndef WEFT_API_WKT_H
#define WEFT_API_WKT_H

#include "base/wire/pb.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"
#include "google/protobuf/wrappers.pb-c.h"

/* Building: all memory from the arena. */

Google__Protobuf__UInt32Value *wkt_u32(struct arena *arena, uint32_t v);
Google__Protobuf__UInt64Value *wkt_u64(struct arena *arena, uint64_t v);
Google__Protobuf__BoolValue *wkt_bool(struct arena *arena, bool v);
/* Of a span in ms, which may be negative. */
Google__Protobuf__Duration *wkt_duration(struct arena *arena, wf_ms ms);

Google__Protobuf__Struct *wkt_struct(struct arena *arena);
/* They append; keys must be new. Call wkt_struct_sort() once before packing. */
void wkt_struct_set(struct arena *arena, Google__Protobuf__Struct *s, struct slice key,
                    Google__Protobuf__Value *value);
void wkt_struct_set_string(struct arena *arena, Google__Protobuf__Struct *s, struct slice key,
                           struct slice value);
void wkt_struct_set_number(struct arena *arena, Google__Protobuf__Struct *s, struct slice key,
                           double value);
void wkt_struct_sort(Google__Protobuf__Struct *s);

/* Reading: NULL gives the fallback. */

static inline uint32_t wkt_u32_or(const Google__Protobuf__UInt32Value *w, uint32_t fallback)
{
    return w ? w->value : fallback;
}

static inline uint64_t wkt_u64_or(const Google__Protobuf__UInt64Value *w, uint64_t fallback)
{
    return w ? w->value : fallback;
}

static inline bool wkt_bool_or(const Google__Protobuf__BoolValue *w, bool fallback)
{
    return w ? w->value != 0 : fallback;
}

static inline double wkt_double_or(const Google__Protobuf__DoubleValue *w, double fallback)
{
    return w ? w->value : fallback;
}

/* In ms: a fraction of a millisecond rounds away from zero, so that 1 ns is not "at once"; clamped
 * to what wf_ms holds. */
wf_ms wkt_duration_ms_or(const Google__Protobuf__Duration *d, wf_ms fallback);

#endif
