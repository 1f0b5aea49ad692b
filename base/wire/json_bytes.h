/* Runs of bytes in JSON strings that need no look: most strings are one. */
#ifndef WEFT_BASE_WIRE_JSON_BYTES_H
#define WEFT_BASE_WIRE_JSON_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes of a word that are 0, each as 0x80 (Warren, Hacker's Delight §6-1; bytes above a zero byte
 * may be marked too: only the lowest counts). */
static inline uint64_t json_zeros(uint64_t v)
{
    return (v - 0x0101010101010101u) & ~v & 0x8080808080808080u;
}

static inline uint64_t json_ones(unsigned char c)
{
    return 0x0101010101010101u * c;
}

/* How many bytes from p on are neither a quote nor a backslash nor below a blank, in steps of
 * eight: the caller looks at what is left. *high gets 0x80 when one is not ASCII. */
static inline size_t json_plain_run(const char *p, size_t n, unsigned char *high)
{
    size_t i = 0;
    uint64_t all = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t v;
        memcpy(&v, p + i, 8);
        uint64_t low = (v - json_ones(0x20)) & ~v & json_ones(0x80);
        if (low | json_zeros(v ^ json_ones('"')) | json_zeros(v ^ json_ones('\\')))
            break;
        all |= v;
    }
    *high |= all & json_ones(0x80) ? 0x80 : 0;
    return i;
}

#endif
