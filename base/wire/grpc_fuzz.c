/* gRPC frames in any cut, deadlines and messages. */
#include "base/core/assert.h"
#include "base/wire/grpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum grpc_deframe_result run(struct slice in, size_t step, struct buf *log)
{
    struct grpc_deframer d = {.message_bytes_max = 1000};
    enum grpc_deframe_result r = GRPC_MORE;
    for (size_t at = 0; at < in.n && r != GRPC_BAD; at += step) {
        struct slice piece = slice_sub(in, at, step), message;
        while ((r = grpc_deframe(&d, &piece, &message, NULL)) == GRPC_MESSAGE) {
            buf_u32le(log, (uint32_t)message.n);
            buf_append(log, message);
        }
    }
    grpc_deframer_fini(&d);
    return r;
}

static void fuzz_frames(struct slice in, size_t step)
{
    struct buf whole = {0}, cut = {0};
    enum grpc_deframe_result a = run(in, in.n ? in.n : 1, &whole), b = run(in, step, &cut);
    wf_assert(a == b && slice_eq(buf_slice(&whole), buf_slice(&cut)));
    buf_fini(&whole);
    buf_fini(&cut);
}

static void fuzz_text(struct slice in)
{
    struct arena a = {0};
    wf_ms ms, again;
    char text[GRPC_TIMEOUT_TEXT];
    if (grpc_timeout_parse(in, &ms)) {
        wf_assert(ms >= 0);
        wf_assert(grpc_timeout_parse(grpc_timeout_format(ms, text), &again) && again <= ms);
    }
    struct slice wire = grpc_message_encode(in, &a);
    wf_assert(header_value_ok(wire));
    wf_assert(slice_eq(grpc_message_decode(wire, &a), slice_sub(in, 0, GRPC_ERROR_BYTES)));
    grpc_message_decode(in, &a);
    grpc_content_type(in);
    arena_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct slice in = slice_mem(data + 1, size - 1);
    if (data[0] & 1)
        fuzz_frames(in, 1 + (size_t)(data[0] >> 1));
    else
        fuzz_text(in);
    return 0;
}
