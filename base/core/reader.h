/* Reads bytes from outside: position, end, and a failure that sticks.
 *
 *   struct reader r = reader_of(frame);
 *   struct slice name = reader_bytes(&r, reader_u32le(&r));
 *   if (!reader_done(&r)) return err_set(err, ERR_INVALID, "frame at byte %zu", reader_offset(&r));
 *
 * After a failure every read gives 0 or an empty slice. Lengths are compared with what remains.
 */
#ifndef WEFT_BASE_CORE_READER_H
#define WEFT_BASE_CORE_READER_H

#include "base/core/slice.h"

struct reader {
    const unsigned char *start, *pos, *end;
    bool failed;
};

struct reader reader_of(struct slice s);
uint8_t reader_u8(struct reader *r);
uint16_t reader_u16le(struct reader *r);
uint32_t reader_u32le(struct reader *r);
uint64_t reader_u64le(struct reader *r);
/* LEB128 of protobuf, at most 10 bytes. */
uint64_t reader_varint(struct reader *r);
/* The next n bytes, borrowed from the input. */
struct slice reader_bytes(struct reader *r, uint64_t n);
size_t reader_left(const struct reader *r);
size_t reader_offset(const struct reader *r);
bool reader_ok(const struct reader *r);
/* Nothing failed and everything was read. */
bool reader_done(const struct reader *r);

#endif
