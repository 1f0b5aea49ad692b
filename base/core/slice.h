/* Slices: a borrowed run of bytes, by value. The string type of the whole project.
 *
 *   struct slice host = slice_trim(header);
 *   if (slice_eq_nocase(host, S("localhost"))) …
 *   LOG… "%.*s", SLICE(host)
 */
#ifndef WEFT_BASE_CORE_SLICE_H
#define WEFT_BASE_CORE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Milliseconds: a point of loop time (monotonic) or a span. */
typedef int64_t wf_ms;

/* Bytes borrowed from somebody else; not NUL-terminated. {NULL, 0} is the empty slice. */
struct slice {
    const char *p;
    size_t n;
};

/* A slice of a string literal. */
#define S(literal) ((struct slice){"" literal, sizeof(literal) - 1})
/* The same as a constant initialiser, for tables. */
/* clang-format off */
#define S_INIT(literal) {"" literal, sizeof(literal) - 1}
/* clang-format on */
/* Arguments for "%.*s". */
#define SLICE(s) (int)(s).n, (s).p
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
/* The struct that embeds *ptr as its member. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Of a NUL-terminated string; NULL gives the empty slice. */
struct slice slice_of(const char *cstr);
struct slice slice_mem(const void *p, size_t n);
bool slice_eq(struct slice a, struct slice b);
/* ASCII case folding only. */
bool slice_eq_nocase(struct slice a, struct slice b);
/* Bytewise order, shorter first: <0, 0, >0. The order of all sorted lists that reach the wire. */
int slice_cmp(struct slice a, struct slice b);
bool slice_starts(struct slice s, struct slice prefix);
bool slice_ends(struct slice s, struct slice suffix);
bool slice_contains(struct slice s, struct slice part);
/* Position of the byte, or SIZE_MAX. */
size_t slice_find(struct slice s, char c);
size_t slice_find_last(struct slice s, char c);
/* From byte `from` for at most `n` bytes; clamped to the slice. */
struct slice slice_sub(struct slice s, size_t from, size_t n);
struct slice slice_skip(struct slice s, size_t n);
/* Without spaces and tabs at both ends. */
struct slice slice_trim(struct slice s);
/* Splits at the first sep: true and *ret_head, *ret_tail; false (whole in head, empty tail)
 * without. */
bool slice_cut(struct slice s, char sep, struct slice *ret_head, struct slice *ret_tail);
/* Splits at the last sep, the same way. */
bool slice_cut_last(struct slice s, char sep, struct slice *ret_head, struct slice *ret_tail);
/* Decimal without sign, spaces or leading "+"; false on anything else or overflow. */
bool slice_u64(struct slice s, uint64_t *ret_value);
bool slice_u32(struct slice s, uint32_t *ret_value);
/* NUL-terminated copy into a caller's array; false when it does not fit or holds a NUL. */
bool slice_cstr(struct slice s, char *dst, size_t dst_size);
/* Well-formed UTF-8 without surrogates and overlong forms (RFC 3629). */
bool slice_utf8(struct slice s);

#endif
