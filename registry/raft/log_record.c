#include "registry/raft/log_record.h"

#include <string.h>

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/core/mutant.h"
#include "base/core/reader.h"
#include "registry/raft/raft_limits.h"

#define SEGMENT_MAGIC 0x31474F4C54464557u /* "WEFTLOG1" */
#define SEGMENT_VERSION 1u
#define SEGMENT_CRC_AT 8
#define RECORD_MAGIC 0x31435257u /* "WRC1" */
#define RECORD_CRC_AT 4

static_assert(LOG_RECORD_HEAD_BYTES % 8 == 0 && LOG_SEGMENT_HEAD_BYTES % 8 == 0,
              "records start at multiples of eight");

static uint32_t crc_behind(struct slice bytes, size_t crc_at, uint64_t seed)
{
    uint32_t crc = crc32c(0, &seed, sizeof(seed));
    crc = crc32c(crc, bytes.p, crc_at);
    return crc32c(crc, bytes.p + crc_at + 4, bytes.n - crc_at - 4);
}

static void put_crc(struct buf *out, size_t start, size_t crc_at, uint64_t seed)
{
    struct slice all = slice_skip(buf_slice(out), start);
    uint32_t crc = crc_behind(all, crc_at, seed);
    memcpy(out->p + out->at + start + crc_at, &crc, sizeof(crc));
}

static void put_zeros(struct buf *out, size_t n)
{
    if (n == 0)
        return;
    memset(buf_reserve(out, n), 0, n);
    buf_commit(out, n);
}

static bool all_zero(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i])
            return false;
    return true;
}

void log_segment_head_encode(struct buf *out, const struct log_segment_head *h)
{
    size_t start = out->n;
    buf_u64le(out, SEGMENT_MAGIC);
    buf_u32le(out, 0);
    buf_u32le(out, SEGMENT_VERSION);
    buf_u64le(out, h->segment);
    buf_u64le(out, h->cluster);
    buf_u64le(out, h->node);
    buf_u64le(out, h->chain);
    put_zeros(out, LOG_SEGMENT_HEAD_BYTES - (out->n - start));
    put_crc(out, start, SEGMENT_CRC_AT, 0);
}

bool log_segment_head_decode(struct slice bytes, struct log_segment_head *ret, struct err *err)
{
    struct slice head = slice_sub(bytes, 0, LOG_SEGMENT_HEAD_BYTES);
    struct reader r = reader_of(head);
    uint64_t magic = reader_u64le(&r);
    uint32_t crc = reader_u32le(&r);
    uint32_t version = reader_u32le(&r);
    struct log_segment_head h = {.segment = reader_u64le(&r)};
    h.cluster = reader_u64le(&r);
    h.node = reader_u64le(&r);
    h.chain = reader_u64le(&r);
    if (head.n < LOG_SEGMENT_HEAD_BYTES || magic != SEGMENT_MAGIC ||
        crc != crc_behind(head, SEGMENT_CRC_AT, 0))
        return err_set(err, ERR_CORRUPT, "segment head is damaged");
    if (version != SEGMENT_VERSION)
        return err_set(err, ERR_UNSUPPORTED, "segment version %u, this node knows %u", version,
                       SEGMENT_VERSION);
    *ret = h;
    return true;
}

static size_t pad8(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

size_t log_record_bytes(size_t payload)
{
    return LOG_RECORD_HEAD_BYTES + pad8(payload);
}

uint64_t log_record_encode(struct buf *out, const struct log_record *r, uint64_t segment)
{
    size_t start = out->n;
    wf_assert(r->index > 0);
    wf_assert(r->payload.n <= LOG_PAYLOAD_BYTES_MAX);
    buf_u32le(out, RECORD_MAGIC);
    buf_u32le(out, 0);
    buf_u32le(out, (uint32_t)r->payload.n);
    buf_u16le(out, (uint16_t)r->type);
    buf_u16le(out, 0);
    buf_u64le(out, r->index);
    buf_u64le(out, r->term);
    buf_u64le(out, r->chain);
    buf_u64le(out, r->batch);
    buf_append(out, r->payload);
    put_zeros(out, pad8(r->payload.n) - r->payload.n);
    wf_assert(out->n - start == log_record_bytes(r->payload.n));
    put_crc(out, start, RECORD_CRC_AT, segment);
    return hash_bytes(slice_skip(buf_slice(out), start));
}

static bool type_known(unsigned type)
{
    return (type >= LOG_COMMAND && type <= LOG_CHANGE) || type == LOG_RESET;
}

enum log_decode log_record_decode(struct slice bytes, uint64_t segment, struct log_record *ret,
                                  size_t *ret_n, uint64_t *ret_chain)
{
    struct reader r = reader_of(bytes);
    uint32_t magic = reader_u32le(&r);
    if (magic != RECORD_MAGIC)
        return all_zero(bytes) ? LOG_DECODE_ZERO : LOG_DECODE_BAD;
    uint32_t crc = reader_u32le(&r);
    uint32_t length = reader_u32le(&r);
    uint16_t type = reader_u16le(&r);
    uint16_t reserved = reader_u16le(&r);
    struct log_record rec = {.type = (enum log_type)type, .index = reader_u64le(&r)};
    rec.term = reader_u64le(&r);
    rec.chain = reader_u64le(&r);
    rec.batch = reader_u64le(&r);
    if (!reader_ok(&r) || length > LOG_PAYLOAD_BYTES_MAX || pad8(length) > reader_left(&r))
        return LOG_DECODE_BAD;
    struct slice whole = slice_sub(bytes, 0, log_record_bytes(length));
    if (crc != crc_behind(whole, RECORD_CRC_AT, segment) && !MUTANT(IGNORE_CRC))
        return LOG_DECODE_BAD;
    if (!type_known(type) || reserved || rec.index == 0)
        return LOG_DECODE_BAD;
    rec.payload = slice_sub(whole, LOG_RECORD_HEAD_BYTES, length);
    *ret = rec;
    *ret_n = whole.n;
    *ret_chain = hash_bytes(whole);
    return LOG_DECODE_OK;
}

/* Is there a good record at or behind `from` that belongs to a group which began behind `bad`? Such
 * a group was written only after the one at `bad` was on disk: then `bad` was acknowledged. */
static bool later_group_exists(struct slice bytes, uint64_t segment, size_t bad, uint64_t *ret_at)
{
    struct log_record rec;
    uint64_t chain;
    size_t n;
    for (size_t at = bad; at + LOG_RECORD_HEAD_BYTES <= bytes.n; at += 8) {
        uint32_t magic;
        memcpy(&magic, bytes.p + at, sizeof(magic));
        if (magic != RECORD_MAGIC ||
            log_record_decode(slice_skip(bytes, at), segment, &rec, &n, &chain) != LOG_DECODE_OK)
            continue;
        if (rec.batch > bad) {
            *ret_at = at;
            return true;
        }
    }
    return false;
}

static bool damage(struct slice bytes, uint64_t segment, size_t at, bool last, struct err *err)
{
    uint64_t later;
    size_t group = at ? at : LOG_SEGMENT_HEAD_BYTES; /* the head is of the first group */
    if (!last)
        return err_set(err, ERR_CORRUPT, "byte %zu is damaged and newer segments exist", at);
    if (later_group_exists(bytes, segment, group, &later))
        return err_set(err, ERR_CORRUPT, "byte %zu is damaged and byte %llu was written after it",
                       at, (unsigned long long)later);
    return true;
}

static bool head_fits(const struct log_segment_head *h, uint64_t segment, uint64_t cluster,
                      uint64_t node, const uint64_t *chain, struct err *err)
{
    if (h->segment != segment)
        return err_set(err, ERR_CORRUPT, "its head says segment %llu",
                       (unsigned long long)h->segment);
    if (h->cluster != cluster || h->node != node)
        return err_set(err, ERR_CORRUPT, "it belongs to node %llu of cluster %016llx",
                       (unsigned long long)h->node, (unsigned long long)h->cluster);
    if (chain && h->chain != *chain)
        return err_set(err, ERR_CORRUPT, "it does not continue the segment before it");
    return true;
}

bool log_segment_scan(struct slice bytes, uint64_t segment, bool last, uint64_t cluster,
                      uint64_t node, const uint64_t *chain,
                      bool (*fn)(void *ctx, const struct log_record *r, struct err *err), void *ctx,
                      struct log_scan_end *ret_end, struct err *err)
{
    struct log_segment_head head;
    struct log_scan_end end = {.offset = 0};
    if (!log_segment_head_decode(bytes, &head, err)) {
        /* The head is written with the first group. */
        if ((err && err->code == ERR_UNSUPPORTED) || !damage(bytes, segment, 0, last, err))
            return false;
        err_clear(err);
        end.chain = chain ? *chain : 0;
        end.torn = true;
        *ret_end = end;
        return true;
    }
    if (!head_fits(&head, segment, cluster, node, chain, err))
        return false;
    end.offset = LOG_SEGMENT_HEAD_BYTES;
    end.chain = head.chain;
    while (end.offset < bytes.n) {
        struct log_record rec;
        size_t n;
        uint64_t next;
        enum log_decode d =
            log_record_decode(slice_skip(bytes, end.offset), segment, &rec, &n, &next);
        if (d == LOG_DECODE_ZERO)
            break;
        if (d == LOG_DECODE_OK && rec.chain != end.chain)
            return err_set(err, ERR_CORRUPT,
                           "the record at byte %llu does not follow the one before",
                           (unsigned long long)end.offset);
        if (d == LOG_DECODE_BAD) {
            if (!damage(bytes, segment, end.offset, last, err))
                return false;
            end.torn = true;
            break;
        }
        if (!fn(ctx, &rec, err))
            return false;
        end.offset += n;
        end.chain = next;
    }
    *ret_end = end;
    return true;
}
