#include "base/core/mem.h"

#include <assert.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/core_limits.h"

void *mem_array(size_t count, size_t size)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        wf_die("out of memory for %zu times %zu bytes", count, size);
    return mem_new(n);
}

void mem_trim(void)
{
    malloc_trim(0);
}

struct slice slice_dup(struct slice s)
{
    char *p = mem_new(s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    return (struct slice){p, s.n};
}

void slice_free(struct slice s)
{
    mem_free((void *)(uintptr_t)s.p);
}

void vec_grow_(void **p, size_t *n, size_t *cap, size_t size)
{
    if (*n == *cap) {
        size_t want = *cap ? *cap * 2 : 8;
        size_t bytes;
        if (__builtin_mul_overflow(want, size, &bytes))
            wf_die("out of memory for %zu times %zu bytes", want, size);
        *p = mem_resize(*p, bytes);
        *cap = want;
    }
    memset((char *)*p + *n * size, 0, size);
    (*n)++;
}

/* Arena. */

struct arena_block {
    struct arena_block *next;
    size_t size; /* with this header */
    _Alignas(16) char bytes[];
};
static_assert(sizeof(struct arena_block) % 16 == 0, "blocks start aligned");

static size_t round16(size_t n)
{
    if (n > SIZE_MAX - 15)
        return 0;
    return n ? (n + 15) & ~(size_t)15 : 16;
}

/* Size of a new block that holds n bytes: double of the last, within the bounds and the limit; 0
 * when the limit leaves no room. */
static size_t block_size(const struct arena *a, size_t n)
{
    size_t least;
    if (__builtin_add_overflow(n, sizeof(struct arena_block), &least))
        return 0;
    size_t size = a->head    ? a->head->size * 2
                  : a->first ? round16(a->first + sizeof(struct arena_block))
                             : ARENA_BLOCK_BYTES_MIN;
    if (size > ARENA_BLOCK_BYTES_MAX)
        size = ARENA_BLOCK_BYTES_MAX;
    if (size < least)
        size = least;
    if (!a->limit)
        return size;
    size_t room = a->limit > a->total ? a->limit - a->total : 0;
    if (least > room)
        return 0;
    return size < room ? size : room & ~(size_t)15;
}

static bool add_block(struct arena *a, size_t n)
{
    size_t size = block_size(a, n);
    if (!size)
        return false;
    struct arena_block *b = mem_try(size);
    if (!b)
        return false;
    *b = (struct arena_block){.next = a->head, .size = size};
    a->head = b;
    a->pos = b->bytes;
    a->end = (char *)b + size;
    a->total += size;
    return true;
}

void *arena_try_alloc(struct arena *a, size_t n)
{
    n = round16(n);
    if (!n)
        return NULL;
    if (n > (size_t)(a->end - a->pos) && !add_block(a, n))
        return NULL;
    char *p = a->pos;
    a->pos += n;
    wf_assert(a->pos <= a->end);
    return memset(p, 0, n);
}

void *arena_alloc(struct arena *a, size_t n)
{
    void *p = arena_try_alloc(a, n);
    if (!p)
        wf_die("an arena of %zu bytes (limit %zu) has no room for %zu", a->total, a->limit, n);
    return p;
}

void *arena_array_(struct arena *a, size_t count, size_t size)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        wf_die("an arena has no room for %zu times %zu bytes", count, size);
    return arena_alloc(a, n);
}

struct slice arena_dup(struct arena *a, struct slice s)
{
    return arena_concat(a, s, (struct slice){0});
}

struct slice arena_concat(struct arena *a, struct slice x, struct slice y)
{
    char *p = arena_alloc(a, x.n + y.n + 1);
    if (x.n)
        memcpy(p, x.p, x.n);
    if (y.n)
        memcpy(p + x.n, y.p, y.n);
    return (struct slice){p, x.n + y.n};
}

struct slice arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
    char small[256];
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof(small), fmt, ap);
    wf_assert(n >= 0);
    char *p = arena_alloc(a, (size_t)n + 1);
    if ((size_t)n < sizeof(small))
        memcpy(p, small, (size_t)n);
    else
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return (struct slice){p, (size_t)n};
}

struct slice arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct slice s = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return s;
}

static void free_blocks(struct arena_block *b)
{
    while (b) {
        struct arena_block *next = b->next;
        mem_free(b);
        b = next;
    }
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = a->head;
    if (!keep)
        return;
    free_blocks(keep->next);
    keep->next = NULL;
    a->pos = keep->bytes;
    a->end = (char *)keep + keep->size;
    a->total = keep->size;
}

void arena_fini(struct arena *a)
{
    free_blocks(a->head);
    *a = (struct arena){0};
}

/* Buf. */

struct slice buf_slice(const struct buf *b)
{
    return b->n ? (struct slice){b->p + b->at, b->n} : (struct slice){0};
}

static void buf_move(struct buf *b, size_t cap)
{
    char *p = mem_resize(NULL, cap);
    if (b->n)
        memcpy(p, b->p + b->at, b->n);
    mem_free(b->p);
    b->p = p;
    b->at = 0;
    b->cap = cap;
}

/* Room for n more bytes behind the live ones. They move to the front only where at least half of
 * the allocation is consumed, else into a larger one: so a byte moves once a doubling or once a
 * half that passed through, never once an append. */
static void make_room(struct buf *b, size_t n)
{
    size_t need;
    if (b->cap - b->at - b->n >= n)
        return;
    if (b->at >= b->cap / 2 && b->cap - b->n >= n) {
        memmove(b->p, b->p + b->at, b->n);
        b->at = 0;
        return;
    }
    if (__builtin_add_overflow(b->n, n, &need) || need > SIZE_MAX / 4)
        wf_die("out of memory for %zu more bytes", n);
    size_t cap = b->cap < BUF_BYTES_MIN ? BUF_BYTES_MIN : 2 * b->cap;
    while (cap < need)
        cap *= 2;
    buf_move(b, cap);
}

char *buf_reserve(struct buf *b, size_t n)
{
    if (b->limit && (n > b->limit || b->n > b->limit - n)) {
        b->overflowed = true;
        return NULL;
    }
    make_room(b, n ? n : 1);
    return b->p + b->at + b->n;
}

void buf_commit(struct buf *b, size_t n)
{
    wf_assert(n <= b->cap - b->at - b->n);
    b->n += n;
}

bool buf_append_more(struct buf *b, struct slice s)
{
    if (s.n == 0)
        return true;
    char *p = buf_reserve(b, s.n);
    if (!p)
        return false;
    memcpy(p, s.p, s.n);
    b->n += s.n;
    return true;
}

bool buf_printf(struct buf *b, const char *fmt, ...)
{
    char small[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    wf_assert(n >= 0);
    if ((size_t)n < sizeof(small))
        return buf_append(b, (struct slice){small, (size_t)n});
    if (b->limit && b->n + (size_t)n > b->limit) {
        b->overflowed = true;
        return false;
    }
    make_room(b, (size_t)n + 1); /* vsnprintf writes a NUL, which is not counted */
    va_start(ap, fmt);
    vsnprintf(b->p + b->at + b->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->n += (size_t)n;
    return true;
}

static bool append_le(struct buf *b, uint64_t v, size_t n)
{
    char bytes[8];
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(v >> (8 * i));
    return buf_append(b, (struct slice){bytes, n});
}

bool buf_u16le(struct buf *b, uint16_t v)
{
    return append_le(b, v, 2);
}

bool buf_u32le(struct buf *b, uint32_t v)
{
    return append_le(b, v, 4);
}

bool buf_u64le(struct buf *b, uint64_t v)
{
    return append_le(b, v, 8);
}

bool buf_u32be(struct buf *b, uint32_t v)
{
    return append_le(b, __builtin_bswap32(v), 4);
}

bool buf_varint(struct buf *b, uint64_t v)
{
    char bytes[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        bytes[n++] = (char)(v | 0x80);
    bytes[n++] = (char)v;
    return buf_append(b, (struct slice){bytes, n});
}

void buf_consume(struct buf *b, size_t n)
{
    wf_assert(n <= b->n);
    b->n -= n;
    b->at = b->n ? b->at + n : 0;
}

void buf_clear(struct buf *b)
{
    b->at = b->n = 0;
    b->overflowed = false;
}

void buf_fini(struct buf *b)
{
    mem_free(b->p);
    *b = (struct buf){.limit = b->limit};
}
