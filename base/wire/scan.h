/* Byte classes of HTTP/1 and fast searches for the first byte outside one. Internal to base/wire.
 * SSE2 is part of x86-64; other machines take the table.
 */
#ifndef WEFT_BASE_WIRE_SCAN_H
#define WEFT_BASE_WIRE_SCAN_H

#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum scan_class {
    SCAN_TOKEN = 1,  /* RFC 9110 §5.6.2 tchar */
    SCAN_VALUE = 2,  /* RFC 9110 §5.5: VCHAR, obs-text, SP, HTAB */
    SCAN_TARGET = 4, /* visible ASCII without "#" */
    SCAN_HOST = 8,   /* reg-name without "%" and "," (RFC 3986 §3.2.2) */
    SCAN_UPPER = 16,
    SCAN_HEX = 32,
    SCAN_UNRESERVED = 64, /* RFC 3986 §2.3 */
};

extern const uint8_t scan_table[256];

static inline int scan_is(char c, unsigned class_bits)
{
    return (scan_table[(uint8_t)c] & class_bits) != 0;
}

static inline const char *scan_slow(const char *p, const char *end, unsigned class_bits)
{
    while (p < end && scan_is(*p, class_bits))
        p++;
    return p;
}

/* First byte that may not stand in a field value, or end. */
static inline const char *scan_value(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i ctl = _mm_set1_epi8(0x1f), tab = _mm_set1_epi8('\t'), del = _mm_set1_epi8(0x7f);
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, ctl), v);
        __m128i bad =
            _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(v, tab), low), _mm_cmpeq_epi8(v, del));
        int mask = _mm_movemask_epi8(bad);
        if (mask)
            return p + __builtin_ctz((unsigned)mask);
    }
#endif
    return scan_slow(p, end, SCAN_VALUE);
}

/* First byte that may not stand in a request target, or end. */
static inline const char *scan_target(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i low = _mm_set1_epi8(0x20), high = _mm_set1_epi8(0x7f), hash = _mm_set1_epi8('#');
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i bad = _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(v, low), v),
                                   _mm_cmpeq_epi8(_mm_max_epu8(v, high), v));
        int mask = _mm_movemask_epi8(_mm_or_si128(bad, _mm_cmpeq_epi8(v, hash)));
        if (mask)
            return p + __builtin_ctz((unsigned)mask);
    }
#endif
    return scan_slow(p, end, SCAN_TARGET);
}

/* Whole runs, also empty ones without an address. */
static inline int scan_value_all(const char *p, size_t n)
{
    return !n || scan_value(p, p + n) == p + n;
}

static inline int scan_target_all(const char *p, size_t n)
{
    return !n || scan_target(p, p + n) == p + n;
}

#endif
