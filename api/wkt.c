#include "api/wkt.h"

enum { MS_PER_S = 1000, NS_PER_MS = 1000000 };

Google__Protobuf__UInt32Value *wkt_u32(struct arena *arena, uint32_t v)
{
    Google__Protobuf__UInt32Value *w = PB_NEW(arena, google__protobuf__uint32_value);
    w->value = v;
    return w;
}

Google__Protobuf__UInt64Value *wkt_u64(struct arena *arena, uint64_t v)
{
    Google__Protobuf__UInt64Value *w = PB_NEW(arena, google__protobuf__uint64_value);
    w->value = v;
    return w;
}

Google__Protobuf__BoolValue *wkt_bool(struct arena *arena, bool v)
{
    Google__Protobuf__BoolValue *w = PB_NEW(arena, google__protobuf__bool_value);
    w->value = v;
    return w;
}

Google__Protobuf__Duration *wkt_duration(struct arena *arena, wf_ms ms)
{
    Google__Protobuf__Duration *d = PB_NEW(arena, google__protobuf__duration);
    d->seconds = ms / MS_PER_S; /* protobuf: seconds and nanos have the same sign */
    d->nanos = (int32_t)(ms % MS_PER_S) * NS_PER_MS;
    return d;
}

/* Struct. */

Google__Protobuf__Struct *wkt_struct(struct arena *arena)
{
    return PB_NEW(arena, google__protobuf__struct);
}

void wkt_struct_set(struct arena *arena, Google__Protobuf__Struct *s, struct slice key,
                    Google__Protobuf__Value *value)
{
    Google__Protobuf__Struct__FieldsEntry *entry =
        PB_NEW(arena, google__protobuf__struct__fields_entry);
    entry->key = pb_str(arena, key);
    entry->value = value;
    PB_PUSH(arena, s, fields, entry);
}

static Google__Protobuf__Value *value_new(struct arena *arena,
                                          Google__Protobuf__Value__KindCase kind)
{
    Google__Protobuf__Value *v = PB_NEW(arena, google__protobuf__value);
    v->kind_case = kind;
    return v;
}

void wkt_struct_set_string(struct arena *arena, Google__Protobuf__Struct *s, struct slice key,
                           struct slice value)
{
    Google__Protobuf__Value *v = value_new(arena, GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE);
    v->string_value = pb_str(arena, value);
    wkt_struct_set(arena, s, key, v);
}

void wkt_struct_set_number(struct arena *arena, Google__Protobuf__Struct *s, struct slice key,
                           double value)
{
    Google__Protobuf__Value *v = value_new(arena, GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE);
    v->number_value = value;
    wkt_struct_set(arena, s, key, v);
}

void wkt_struct_sort(Google__Protobuf__Struct *s)
{
    pb_sort_map(s->fields, s->n_fields);
}

/* Durations. */

wf_ms wkt_duration_ms_or(const Google__Protobuf__Duration *d, wf_ms fallback)
{
    if (!d)
        return fallback;
    wf_ms ms, part = d->nanos / NS_PER_MS;
    if (d->nanos % NS_PER_MS)
        part += d->nanos > 0 ? 1 : -1;
    if (__builtin_mul_overflow(d->seconds, (wf_ms)MS_PER_S, &ms) ||
        __builtin_add_overflow(ms, part, &ms))
        return d->seconds < 0 ? INT64_MIN : INT64_MAX;
    return ms;
}
