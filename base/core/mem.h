/* Memory: abort-on-failure allocation for what our own code sizes, an arena for what dies together,
 * and a growing byte buffer.
 *
 *   struct arena a = {0};
 *   char *s = arena_printf(&a, "outbound|%u||%s", port, host).p;
 *   arena_fini(&a);
 *
 * Growth that a peer controls uses a bound (arena.limit, buf.limit): the try_ calls then return
 * NULL or false and the caller answers with back-pressure or a status.
 */
#ifndef WEFT_BASE_CORE_MEM_H
#define WEFT_BASE_CORE_MEM_H

#include <stdarg.h>
#include <string.h>

#include "base/core/slice.h"

/* Zeroed; never NULL: running out of memory for our own structures ends the process. */
void *mem_new(size_t n);
/* Not zeroed; NULL when there is none. */
void *mem_try(size_t n);
void *mem_array(size_t count, size_t size);
void *mem_resize(void *p, size_t n);
void mem_free(void *p);
/* Gives what was freed back to the system; other threads' allocations wait for a moment. */
void mem_trim(void);
#define MEM_NEW(type) ((type *)mem_new(sizeof(type)))
/* A copy on the heap, NUL-terminated behind the slice. */
struct slice slice_dup(struct slice s);
void slice_free(struct slice s); /* of slice_dup; zeroed is fine */

/* A growing array: VEC(struct route) routes = {0}; *vec_push(&routes) = r; vec_fini(&routes). */
#define VEC(type)                                                                                  \
    struct {                                                                                       \
        type *p;                                                                                   \
        size_t n, cap;                                                                             \
    }
/* Address of a new, zeroed last element. Valid until the next push. */
#define vec_push(v)                                                                                \
    (vec_grow_((void **)&(v)->p, &(v)->n, &(v)->cap, sizeof(*(v)->p)), &(v)->p[(v)->n - 1])
#define vec_fini(v) (mem_free((v)->p), (v)->p = NULL, (v)->n = (v)->cap = 0)
void vec_grow_(void **p, size_t *n, size_t *cap, size_t size);

struct arena_block;
/* Zeroed is valid and empty. */
struct arena {
    struct arena_block *head;
    char *pos, *end;
    size_t total; /* bytes taken from the heap */
    size_t limit; /* bytes; 0 = none */
    size_t first; /* bytes of the first block, for what is small and there are many of; 0 = 4 KiB */
};

/* 16-aligned, zeroed. The plain calls abort at the limit, so use them only without one. */
void *arena_alloc(struct arena *a, size_t n);
void *arena_try_alloc(struct arena *a, size_t n);
#define ARENA_NEW(a, type) ((type *)arena_alloc((a), sizeof(type)))
#define ARENA_ARRAY(a, type, count) ((type *)arena_array_((a), (count), sizeof(type)))
void *arena_array_(struct arena *a, size_t count, size_t size);
/* Copies are NUL-terminated behind the slice. */
struct slice arena_dup(struct arena *a, struct slice s);
struct slice arena_printf(struct arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
struct slice arena_vprintf(struct arena *a, const char *fmt, va_list ap);
/* "a" "b" -> "ab". */
struct slice arena_concat(struct arena *a, struct slice x, struct slice y);
/* Forgets everything, keeps one block for the next use. */
void arena_reset(struct arena *a);
void arena_fini(struct arena *a);

/* Bytes that grow at the end and are consumed at the front. Zeroed is valid and empty. */
struct buf {
    char *p;   /* start of the allocation */
    size_t at; /* consumed so far */
    size_t n;  /* live bytes, from p + at */
    size_t cap;
    size_t limit;    /* live bytes; 0 = none */
    bool overflowed; /* sticky: a try_ call was refused at the limit */
};

struct slice buf_slice(const struct buf *b);
/* Room for at least n more bytes; what is written there counts after buf_commit. NULL at the
 * limit. */
char *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);
/* false (and nothing appended) at the limit. */
bool buf_append_more(struct buf *b, struct slice s);
static inline bool buf_append(struct buf *b, struct slice s)
{
    if (b->limit || b->cap - b->at - b->n < s.n || s.n == 0)
        return buf_append_more(b, s);
    memcpy(b->p + b->at + b->n, s.p, s.n);
    b->n += s.n;
    return true;
}
static inline bool buf_append_byte(struct buf *b, char c)
{
    return buf_append(b, (struct slice){&c, 1});
}
bool buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_u16le(struct buf *b, uint16_t v);
bool buf_u32le(struct buf *b, uint32_t v);
bool buf_u64le(struct buf *b, uint64_t v);
bool buf_u32be(struct buf *b, uint32_t v);
bool buf_varint(struct buf *b, uint64_t v);
void buf_consume(struct buf *b, size_t n);
void buf_clear(struct buf *b);
/* Frees the memory; the buffer is empty and usable. */
void buf_fini(struct buf *b);

#endif
