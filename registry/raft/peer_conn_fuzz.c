/* A member after a valid handshake: whatever it sends through TLS, cut anywhere and read with
 * pauses, gives the same frames as at once, or the end of its own connection.
 *
 * The first byte says how it is cut and whether the reader pauses. Then records: type u8, length
 * u16, spoilt u8 (the byte of the head that is changed; 255: none), payload. */
#include <string.h>

#include "base/core/hash.h"
#include "base/core/reader.h"
#include "base/net/tls_testing.h"
#include "registry/raft/conn.h"
#include "registry/raft/message.h"
#include "registry/raft/raft_limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CLUSTER 77u

struct reading {
    struct conn conn;
    bool pauses, ended;
    uint64_t hash; /* of all frames */
    size_t frames;
};

static void on_frame(void *ctx, const struct frame *f)
{
    struct reading *r = ctx;
    struct raft_message m;
    struct hello h;
    struct err err = {0};
    r->hash = hash_bytes_seed(f->payload, r->hash + (uint64_t)f->type);
    r->frames++;
    hello_decode(f->payload, &h, &err);
    if (f->type >= FRAME_APPEND && f->type <= FRAME_TIMEOUT_NOW && message_decode(f, &m, &err))
        message_free(&m);
    if (r->pauses)
        conn_pause(&r->conn);
}

static void on_close(void *ctx, const struct err *why)
{
    (void)why;
    ((struct reading *)ctx)->ended = true;
}

static const struct conn_events events = {.on_frame = on_frame, .on_close = on_close};

static void on_sender_close(void *ctx, const struct err *why)
{
    (void)why;
    *(struct env_stream **)ctx = NULL;
}

static const struct env_stream_events sender_events = {.on_close = on_sender_close};

static struct tls_ctx *context(void)
{
    static struct tls_ctx *ctx;
    const int64_t now = 1700000000;
    if (!ctx) {
        struct tls_test_ca ca;
        tls_test_ca_init(&ca, now);
        ctx = tls_test_ctx(&ca, &ca,
                           &(struct x509_subject){.name = S("n1"),
                                                  .uri = S("weft://000000000000004d/node/1"),
                                                  .from = now - 10,
                                                  .until = now + TLS_TEST_DAY});
        tls_test_ca_fini(&ca);
    }
    return ctx;
}

static void put_frames(struct buf *out, struct slice in)
{
    struct reader r = reader_of(in);
    while (reader_left(&r) >= 4) {
        char head[FRAME_HEAD_BYTES];
        uint8_t type = reader_u8(&r), spoilt;
        size_t n = reader_u16le(&r);
        spoilt = reader_u8(&r);
        struct slice payload = reader_bytes(&r, n < reader_left(&r) ? n : reader_left(&r));
        struct iovec iov = {(void *)(uintptr_t)payload.p, payload.n};
        frame_encode_head(head,
                          &(struct frame){.type = (enum frame_type)type,
                                          .version = VERSION_NEWEST,
                                          .cluster = CLUSTER,
                                          .from = 2,
                                          .term = 1},
                          &iov, 1);
        if (spoilt < FRAME_HEAD_BYTES)
            head[spoilt] ^= 0x55;
        buf_append(out, slice_mem(head, sizeof(head)));
        buf_append(out, payload);
    }
}

static void read_all(struct reading *r, struct slice bytes, size_t cut, bool pauses)
{
    struct mem_env env;
    struct mem_stream near, far;
    const struct tls_options opt = {.ctx = context()};
    mem_env_init(&env);
    *r = (struct reading){.pauses = pauses};
    struct env_stream *sender = tls_over(&env.base, mem_stream_init(&near, &env), TLS_CLIENT, &opt);
    env_stream_set_events(sender, &sender_events, &sender);
    conn_adopt(&r->conn, &env.base,
               tls_over(&env.base, mem_stream_init(&far, &env), TLS_SERVER, &opt),
               &(struct conn_options){.self = 1, .cluster = CLUSTER, .version = VERSION_NEWEST},
               &events, r);
    env_stream_write(sender, &(struct iovec){(void *)(uintptr_t)bytes.p, bytes.n}, 1);
    for (bool any = true; any;) {
        any = mem_move(&near, &far, cut);
        any |= mem_move(&far, &near, 0);
        any |= r->conn.paused || !list_empty(&env.base.deferred);
        conn_resume(&r->conn);
        env_impl_run_deferred(&env.base);
    }
    conn_close(&r->conn);
    if (sender)
        env_stream_close(sender);
    env_impl_run_deferred(&env.base);
    wf_assert(!sender);
    buf_fini(&near.out);
    buf_fini(&far.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reading whole, parts;
    struct buf bytes = {0};
    if (size < 1)
        return 0;
    put_frames(&bytes, slice_mem(data + 1, size - 1));
    read_all(&whole, buf_slice(&bytes), 0, false);
    read_all(&parts, buf_slice(&bytes), data[0] >> 1, data[0] & 1);
    wf_assert(whole.hash == parts.hash && whole.frames == parts.frames);
    wf_assert(whole.ended == parts.ended);
    buf_fini(&bytes);
    return 0;
}
