#include "registry/raft/frame.h"

#include <string.h>

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/core/reader.h"
#include "registry/raft/raft_limits.h"

#define FRAME_MAGIC 0x31504657u /* "WFP1" */
#define FRAME_CRC_AT 8

static bool type_known(unsigned t)
{
    return (t >= FRAME_HELLO && t <= FRAME_ENROLLED) ||
           (t >= FRAME_APPEND && t <= FRAME_TIMEOUT_NOW) ||
           (t >= FRAME_READ_PING && t <= FRAME_LEASE_RENEWED) ||
           (t >= FRAME_BULK_GET && t <= FRAME_BULK_GONE);
}

static bool is_greeting(unsigned type)
{
    return type >= FRAME_HELLO && type <= FRAME_ENROLLED;
}

static bool version_right(unsigned type, unsigned version, unsigned agreed, struct err *err)
{
    unsigned want = is_greeting(type) ? FRAME_GREETING_VERSION : agreed;
    if (!want)
        return err_set(err, ERR_INVALID, "frame of type %u before the greeting", type);
    if (is_greeting(type) && version != want)
        return err_set(err, ERR_UNSUPPORTED,
                       "greeting of version %u, this program reads %u: the programs are too far "
                       "apart, upgrade all nodes at once",
                       version, want);
    return version == want ||
           err_set(err, ERR_INVALID, "frame of version %u, %u was agreed on", version, want);
}

static uint32_t frame_crc(const char *head, const struct iovec *payload, int n)
{
    uint32_t crc = crc32c(0, head, FRAME_CRC_AT);
    crc = crc32c(crc, head + FRAME_CRC_AT + 4, FRAME_HEAD_BYTES - FRAME_CRC_AT - 4);
    for (int i = 0; i < n; i++)
        crc = crc32c(crc, payload[i].iov_base, payload[i].iov_len);
    return crc;
}

enum frame_status frame_decode(struct slice bytes, const struct frame_expected *expected,
                               struct frame *ret_frame, size_t *ret_n, struct err *err)
{
    wf_assert(expected->payload_max <= FRAME_PAYLOAD_BYTES_MAX);
    if (bytes.n < FRAME_HEAD_BYTES)
        return FRAME_MORE;
    struct reader r = reader_of(bytes);
    uint32_t magic = reader_u32le(&r);
    uint32_t length = reader_u32le(&r);
    uint32_t crc = reader_u32le(&r);
    uint16_t type = reader_u16le(&r);
    uint16_t version = reader_u16le(&r);
    struct frame f = {
        .type = (enum frame_type)type, .version = version, .cluster = reader_u64le(&r)};
    f.from = reader_u64le(&r);
    f.term = reader_u64le(&r);
    if (magic != FRAME_MAGIC) {
        err_set(err, ERR_INVALID, "not a frame of a registry peer");
        return FRAME_BAD;
    }
    if (!version_right(type, version, expected->version, err))
        return FRAME_BAD;
    if (f.cluster != expected->cluster) {
        err_set(err, ERR_FORBIDDEN, "cluster %016llx, ours is %016llx: the members differ",
                (unsigned long long)f.cluster, (unsigned long long)expected->cluster);
        return FRAME_BAD;
    }
    if (length > expected->payload_max || !type_known(type) || f.from == 0) {
        err_set(err, ERR_INVALID, "frame of type %u with %u bytes from node %llu", type, length,
                (unsigned long long)f.from);
        return FRAME_BAD;
    }
    if (reader_left(&r) < length)
        return FRAME_MORE;
    f.payload = reader_bytes(&r, length);
    struct iovec iov = {(void *)(uintptr_t)f.payload.p, f.payload.n};
    if (crc != frame_crc(bytes.p, &iov, 1)) {
        err_set(err, ERR_CORRUPT, "frame of type %u: wrong checksum", type);
        return FRAME_BAD;
    }
    *ret_frame = f;
    *ret_n = FRAME_HEAD_BYTES + length;
    return FRAME_OK;
}

static char *put_u16(char *p, uint16_t v)
{
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

static char *put_u32(char *p, uint32_t v)
{
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

static char *put_u64(char *p, uint64_t v)
{
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "numbers are stored as they lie in memory");

void frame_encode_head(char dst[FRAME_HEAD_BYTES], const struct frame *f,
                       const struct iovec *payload, int n)
{
    unsigned version = is_greeting(f->type) ? FRAME_GREETING_VERSION : f->version;
    size_t length = 0;
    for (int i = 0; i < n; i++)
        length += payload[i].iov_len;
    wf_assert(length <= FRAME_PAYLOAD_BYTES_MAX);
    char *p = put_u32(dst, FRAME_MAGIC);
    p = put_u32(p, (uint32_t)length);
    p = put_u32(p, 0);
    p = put_u16(p, (uint16_t)f->type);
    p = put_u16(p, (uint16_t)version);
    p = put_u64(p, f->cluster);
    p = put_u64(p, f->from);
    p = put_u64(p, f->term);
    wf_assert(p == dst + FRAME_HEAD_BYTES);
    put_u32(dst + FRAME_CRC_AT, frame_crc(dst, payload, n));
}

void hello_encode(struct buf *out, const struct hello *h)
{
    wf_assert(h->name.n <= PEER_NAME_BYTES_MAX && h->program.n < PEER_PROGRAM_BYTES_MAX);
    buf_u32le(out, (uint32_t)h->role);
    buf_u64le(out, h->to);
    buf_u64le(out, h->incarnation);
    buf_u64le(out, h->genesis);
    buf_u32le(out, (uint32_t)h->name.n);
    buf_append(out, h->name);
    buf_u32le(out, h->reads.oldest);
    buf_u32le(out, h->reads.newest);
    buf_u32le(out, h->version);
    buf_u32le(out, (uint32_t)h->program.n);
    buf_append(out, h->program);
}

bool hello_decode(struct slice payload, struct hello *ret, struct err *err)
{
    struct reader r = reader_of(payload);
    struct hello h = {.role = (enum hello_role)reader_u32le(&r)};
    h.to = reader_u64le(&r);
    h.incarnation = reader_u64le(&r);
    h.genesis = reader_u64le(&r);
    h.name = reader_bytes(&r, reader_u32le(&r));
    h.reads.oldest = reader_u32le(&r);
    h.reads.newest = reader_u32le(&r);
    h.version = reader_u32le(&r);
    h.program = reader_bytes(&r, reader_u32le(&r));
    if (!reader_ok(&r) || h.name.n > PEER_NAME_BYTES_MAX || h.program.n >= PEER_PROGRAM_BYTES_MAX ||
        !h.reads.oldest || h.reads.oldest > h.reads.newest || h.reads.newest > UINT16_MAX ||
        (h.role != HELLO_CONTROL && h.role != HELLO_BULK))
        return err_set(err, ERR_INVALID, "hello at byte %zu", reader_offset(&r));
    *ret = h;
    return true;
}
