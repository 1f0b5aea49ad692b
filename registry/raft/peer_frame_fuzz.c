/* A hostile or broken peer must not crash a registry node, and what we accept must encode to the
 * same bytes again. */
#include <stdint.h>
#include <string.h>

#include "base/core/assert.h"
#include "registry/raft/message.h"
#include "registry/raft/raft_limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void message_round_trip(const struct frame *f)
{
    struct raft_message m;
    struct err err = {0};
    if (!message_decode(f, &m, &err))
        return;
    struct message_out out;
    message_encode(&out, &m);
    wf_assert(out.type == f->type && out.term == f->term);
    size_t at = 0;
    bool whole = m.type != RAFT_IO_APPEND_ENTRIES || out.entries_sent == m.append_entries.n_entries;
    for (int i = 0; whole && i < out.piece_count; i++) {
        wf_assert(at + out.pieces[i].iov_len <= f->payload.n);
        wf_assert(memcmp(f->payload.p + at, out.pieces[i].iov_base, out.pieces[i].iov_len) == 0);
        at += out.pieces[i].iov_len;
    }
    wf_assert(!whole || at == f->payload.n);
    message_out_fini(&out);
    message_free(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_mem(data, size);
    struct err err = {0};
    struct frame f;
    size_t n;
    const struct frame_expected expected = {
        .cluster = 1, .version = VERSION_NEWEST, .payload_max = FRAME_PAYLOAD_BYTES_MAX};
    while (frame_decode(in, &expected, &f, &n, &err) == FRAME_OK) {
        struct hello h;
        wf_assert(n <= in.n);
        hello_decode(f.payload, &h, &err);
        message_round_trip(&f);
        in = slice_skip(in, n);
    }
    /* Chance does not hit a checksum: the same bytes as payloads of each type. */
    for (int type = FRAME_APPEND; type <= FRAME_TIMEOUT_NOW; type++) {
        f = (struct frame){.type = (enum frame_type)type, .cluster = 1, .from = 1, .term = 1};
        f.payload = slice_mem(data, size);
        message_round_trip(&f);
    }
    return 0;
}
