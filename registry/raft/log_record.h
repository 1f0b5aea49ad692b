/* The bytes of the Raft log on disk: segments of records, without I/O.
 *
 *   segment  head (64 bytes), records, zeros
 *   head     magic u64, crc u32, version u32, segment u64, cluster u64, node u64, chain u64, zeros
 *   record   magic u32, crc u32, length u32, type u16, zero u16, index u64, term u64, chain u64,
 *            batch u64, payload, zeros to 8
 *
 * Little endian. `crc` (CRC-32C, seeded with the segment's number) covers everything behind it.
 * `chain` is the hash of the record before, across segments: a record cannot be lost, moved or
 * taken from another life of the file without notice. `batch` is the offset of the first record of
 * the group that was written and synced together: it tells a write that nobody was told of (torn
 * tail) from damage to what was acknowledged.
 *
 * The log only grows: a record whose index is not above the last one replaces that entry and all
 * behind it (Raft's truncation); a LOG_RESET record says "from here on the log starts behind index,
 * term" (a checkpoint was installed).
 */
#ifndef WEFT_REGISTRY_RAFT_LOG_RECORD_H
#define WEFT_REGISTRY_RAFT_LOG_RECORD_H

#include "base/core/err.h"
#include "base/core/mem.h"
#include "base/core/slice.h"

#define LOG_SEGMENT_HEAD_BYTES 64
#define LOG_RECORD_HEAD_BYTES 48

/* Raft's own entry types, and ours. */
enum log_type { LOG_COMMAND = 1, LOG_BARRIER = 2, LOG_CHANGE = 3, LOG_RESET = 16 };

struct log_segment_head {
    uint64_t segment, cluster, node;
    uint64_t chain; /* hash of the last record of the segment before */
};

struct log_record {
    uint64_t index, term;
    enum log_type type;
    struct slice payload;
    uint64_t chain, batch;
};

void log_segment_head_encode(struct buf *out, const struct log_segment_head *h);
bool log_segment_head_decode(struct slice bytes, struct log_segment_head *ret, struct err *err);

/* Bytes that a record with such a payload takes. */
size_t log_record_bytes(size_t payload);
/* Appends one record; returns the chain value for the next. */
uint64_t log_record_encode(struct buf *out, const struct log_record *r, uint64_t segment);

enum log_decode { LOG_DECODE_OK, LOG_DECODE_ZERO, LOG_DECODE_BAD };
/* The record at the start of `bytes` (which reach to the end of the segment). ZERO: nothing but
 * zeros from here on. Payload borrows. *ret_n: bytes taken; *ret_chain: value for the next. */
enum log_decode log_record_decode(struct slice bytes, uint64_t segment, struct log_record *ret,
                                  size_t *ret_n, uint64_t *ret_chain);

/* Where a segment ends. */
struct log_scan_end {
    uint64_t offset; /* of the first byte behind the last good record */
    uint64_t chain;  /* of that record */
    bool torn;       /* what lies behind was never acknowledged: it is to be zeroed */
};

/* Reads a whole segment. `last`: of the files that are there; only it may end in a torn tail. `fn`
 * gets each record and returns false with err to stop. `segment` and `chain` are what the head must
 * say (chain 0 in the first file that is left: taken from the head, see *chain). ERR_CORRUPT with
 * the offset for anything else. */
bool log_segment_scan(struct slice bytes, uint64_t segment, bool last, uint64_t cluster,
                      uint64_t node, const uint64_t *chain,
                      bool (*fn)(void *ctx, const struct log_record *r, struct err *err), void *ctx,
                      struct log_scan_end *ret_end, struct err *err);

#endif
