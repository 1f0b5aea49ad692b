/* For the fuzz targets: what must hold for any bytes that a peer sends as a message of a type. */
#ifndef WEFT_API_FUZZ_RESOURCE_H
#define WEFT_API_FUZZ_RESOURCE_H

#include <jansson.h>

#include "api/any_types.h"
#include "base/core/assert.h"
#include "base/wire/pb_json.h"

/* Narrow, so that the fuzzer spends its time on shapes and not on size. */
static const struct pb_limits fuzz_limits = {
    .depth = PB_DEPTH_MAX, .bytes = 1 << 20, .elements = 1 << 16, .memory = 64 << 20};

/* What was accepted is packed to bytes that are accepted, and those are their own canonical form.
 */
static inline void fuzz_packs_again(const ProtobufCMessage *msg, struct arena *arena)
{
    struct slice once = pb_pack_arena(msg, arena);
    const ProtobufCMessage *back = pb_unpack(msg->descriptor, once, arena, NULL);
    wf_assert(back);
    wf_assert(slice_eq(pb_pack_arena(back, arena), once));
}

/* JSON text that we write is JSON; what is read from it can be packed. */
static inline void fuzz_prints(const ProtobufCMessage *msg, struct arena *arena)
{
    struct pb_json_options o = {.types = &any_types};
    struct buf out = {.limit = 8 << 20};
    if (pb_json_print(msg, &o, &out, NULL)) {
        struct slice text = buf_slice(&out);
        json_t *j = json_loadb(text.p, text.n, JSON_DECODE_ANY, NULL);
        wf_assert(j);
        const ProtobufCMessage *back = pb_json_parse(msg->descriptor, j, &o, arena, NULL);
        if (back)
            fuzz_packs_again(back, arena);
        json_decref(j);
    }
    buf_fini(&out);
}

/* Returns the message, or NULL when it is refused, which says why. */
static inline void *fuzz_message(const ProtobufCMessageDescriptor *type, struct slice wire,
                                 struct arena *arena)
{
    struct err err = {0};
    ProtobufCMessage *msg = pb_unpack_limited(type, wire, &fuzz_limits, arena, &err);
    wf_assert(msg || (err.code != ERR_NONE && err.msg[0]));
    if (msg) {
        fuzz_packs_again(msg, arena);
        fuzz_prints(msg, arena);
    }
    return msg;
}

#endif
