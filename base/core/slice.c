#include "base/core/slice.h"

#include <string.h>

struct slice slice_of(const char *cstr)
{
    return cstr ? (struct slice){cstr, strlen(cstr)} : (struct slice){0};
}

struct slice slice_mem(const void *p, size_t n)
{
    return (struct slice){p, n};
}

/* memcmp must not see NULL, not even for no bytes. */
static bool same_bytes(const char *a, const char *b, size_t n)
{
    return n == 0 || memcmp(a, b, n) == 0;
}

bool slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && same_bytes(a.p, b.p, a.n);
}

static unsigned char fold(char c)
{
    unsigned char u = (unsigned char)c;
    return u >= 'A' && u <= 'Z' ? (unsigned char)(u | 0x20) : u;
}

bool slice_eq_nocase(struct slice a, struct slice b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (fold(a.p[i]) != fold(b.p[i]))
            return false;
    return true;
}

int slice_cmp(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;
    if (order)
        return order;
    return a.n < b.n ? -1 : a.n > b.n;
}

bool slice_starts(struct slice s, struct slice prefix)
{
    return s.n >= prefix.n && same_bytes(s.p, prefix.p, prefix.n);
}

bool slice_ends(struct slice s, struct slice suffix)
{
    if (s.n < suffix.n)
        return false;
    return suffix.n == 0 || memcmp(s.p + (s.n - suffix.n), suffix.p, suffix.n) == 0;
}

bool slice_contains(struct slice s, struct slice part)
{
    if (part.n == 0)
        return true;
    return s.n >= part.n && memmem(s.p, s.n, part.p, part.n) != NULL;
}

size_t slice_find(struct slice s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
    return at ? (size_t)(at - s.p) : SIZE_MAX;
}

size_t slice_find_last(struct slice s, char c)
{
    const char *at = s.n ? memrchr(s.p, c, s.n) : NULL;
    return at ? (size_t)(at - s.p) : SIZE_MAX;
}

struct slice slice_sub(struct slice s, size_t from, size_t n)
{
    if (from >= s.n)
        return (struct slice){0};
    return (struct slice){s.p + from, n < s.n - from ? n : s.n - from};
}

struct slice slice_skip(struct slice s, size_t n)
{
    return slice_sub(s, n, SIZE_MAX);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice s)
{
    while (s.n && blank(s.p[0]))
        s = (struct slice){s.p + 1, s.n - 1};
    while (s.n && blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

static bool cut_at(struct slice s, size_t at, struct slice *ret_head, struct slice *ret_tail)
{
    if (at == SIZE_MAX) {
        *ret_head = s;
        *ret_tail = (struct slice){0};
        return false;
    }
    *ret_head = slice_sub(s, 0, at);
    *ret_tail = slice_skip(s, at + 1);
    return true;
}

bool slice_cut(struct slice s, char sep, struct slice *ret_head, struct slice *ret_tail)
{
    return cut_at(s, slice_find(s, sep), ret_head, ret_tail);
}

bool slice_cut_last(struct slice s, char sep, struct slice *ret_head, struct slice *ret_tail)
{
    return cut_at(s, slice_find_last(s, sep), ret_head, ret_tail);
}

bool slice_u64(struct slice s, uint64_t *ret_value)
{
    uint64_t v = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    }
    *ret_value = v;
    return true;
}

bool slice_u32(struct slice s, uint32_t *ret_value)
{
    uint64_t v;
    if (!slice_u64(s, &v) || v > UINT32_MAX)
        return false;
    *ret_value = (uint32_t)v;
    return true;
}

bool slice_cstr(struct slice s, char *dst, size_t dst_size)
{
    if (s.n >= dst_size || slice_find(s, '\0') != SIZE_MAX)
        return false;
    if (s.n)
        memcpy(dst, s.p, s.n);
    dst[s.n] = '\0';
    return true;
}

/* What may follow a lead byte (RFC 3629 §4): the range of the second byte excludes overlong forms,
 * surrogates and what is past U+10FFFF. */
static size_t utf8_length(unsigned char lead, unsigned char *ret_low, unsigned char *ret_high)
{
    *ret_low = 0x80;
    *ret_high = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF)
        return 2;
    if (lead >= 0xE0 && lead <= 0xEF) {
        if (lead == 0xE0)
            *ret_low = 0xA0;
        if (lead == 0xED)
            *ret_high = 0x9F;
        return 3;
    }
    if (lead >= 0xF0 && lead <= 0xF4) {
        if (lead == 0xF0)
            *ret_low = 0x90;
        if (lead == 0xF4)
            *ret_high = 0x8F;
        return 4;
    }
    return 0;
}

/* Length of the well-formed character at p with `left` bytes there, 0 if it is none. */
static size_t utf8_char(const unsigned char *p, size_t left)
{
    unsigned char low, high;
    if (p[0] < 0x80)
        return 1;
    size_t n = utf8_length(p[0], &low, &high);
    if (n == 0 || n > left || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return n;
}

bool slice_utf8(struct slice s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t i = 0;
    while (i < s.n) {
        uint64_t eight;
        if (s.n - i >= sizeof(eight)) {
            memcpy(&eight, p + i, sizeof(eight));
            if ((eight & 0x8080808080808080u) == 0) {
                i += sizeof(eight);
                continue;
            }
        }
        size_t n = utf8_char(p + i, s.n - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}
