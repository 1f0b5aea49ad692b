/* What the files of the HTTP/1 codec share. Internal. */
#ifndef WEFT_BASE_WIRE_HTTP1_INT_H
#define WEFT_BASE_WIRE_HTTP1_INT_H

#include "base/wire/http1.h"

struct cursor {
    const char *p, *end;
};

/* Beside the faults: the input ends too early to tell. */
#define SHORT HTTP1_FAULT_COUNT
/* In header.flags while parsing: the name has capitals and no id. */
#define FIELD_UPPER 0x80u

/* What the fields of a head said about framing and the connection. */
struct framing {
    uint64_t length;
    struct slice expect;
    uint32_t length_n, coding_n, host_n, expect_n;
    bool close, keep, upgrade;
};

enum http1_fault http1_crlf(struct cursor *c);
/* One field line, or the empty line (*ret_end). */
enum http1_fault http1_field(struct cursor *c, struct header *ret, bool *ret_end);
/* Moves parsed fields into the arena and lowers the names. */
struct headers http1_keep(struct arena *arena, const struct header *fields, uint32_t n);
/* A peer that sends a byte at a time must not make us parse as often: a new try is made when the
 * end is in sight or the bytes have doubled, so the work is linear. */
bool http1_worth_parsing(struct http1_progress *at, struct slice bytes, size_t bytes_max);
enum http1_result http1_settle(struct http1_progress *at, struct slice bytes, size_t used,
                               size_t bytes_max, enum http1_fault f);

#endif
