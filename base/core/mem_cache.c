#include "base/core/mem_cache.h"

#include <assert.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/core/core_limits.h"

#if !defined(__has_feature)
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)

void *mem_cache_take(size_t n)
{
    return malloc(n);
}

void mem_cache_give(void *p)
{
    free(p);
}

#else

/* Sizes: a small one is every size that malloc has, a large one a whole KiB. */
#define MALLOC_MIN 24 /* its smallest block */
#define SMALL_MAX 1024
#define SMALL_STEP 16
#define SMALL_CLASSES (SMALL_MAX / SMALL_STEP + 1)
#define LARGE_STEP 1024
#define LARGE_MAX MEM_CACHE_BLOCK_BYTES_MAX
#define CLASSES (SMALL_CLASSES + LARGE_MAX / LARGE_STEP + 1)
#define NO_CLASS CLASSES

struct block {
    struct block *next;
};

struct cache {
    struct block *first[CLASSES];
    uint32_t bytes[CLASSES], all;
    enum { CACHE_NEW, CACHE_USED, CACHE_ENDED } state;
};

static _Thread_local struct cache cache;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;

/* Blocks of a small class hold SMALL_STEP * class - 8 bytes and no more: a chunk of malloc is a
 * multiple of 16 with 8 of its own. */
static size_t class_of_want(size_t n)
{
    if (n < MALLOC_MIN)
        n = MALLOC_MIN;
    if (n <= SMALL_MAX - 8)
        return (n + 8 + SMALL_STEP - 1) / SMALL_STEP;
    return n <= LARGE_MAX ? SMALL_CLASSES + (n + LARGE_STEP - 1) / LARGE_STEP : NO_CLASS;
}

static size_t class_of_block(size_t usable)
{
    if (usable <= SMALL_MAX - 8)
        return (usable + 8) / SMALL_STEP;
    return usable >= LARGE_STEP && usable < LARGE_MAX + LARGE_STEP
               ? SMALL_CLASSES + usable / LARGE_STEP
               : NO_CLASS;
}

static void thread_ends(void *arg)
{
    struct cache *c = arg;
    c->state = CACHE_ENDED; /* destructors that come after this one */
    for (size_t i = 0; i < CLASSES; i++) {
        while (c->first[i]) {
            struct block *b = c->first[i];
            c->first[i] = b->next;
            free(b);
        }
        c->bytes[i] = 0;
    }
    c->all = 0;
}

static void key_make(void)
{
    if (pthread_key_create(&key, thread_ends) != 0)
        abort();
}

static bool cache_open(struct cache *c)
{
    if (c->state == CACHE_NEW) {
        pthread_once(&key_once, key_make);
        c->state = pthread_setspecific(key, c) == 0 ? CACHE_USED : CACHE_ENDED;
    }
    return c->state == CACHE_USED;
}

void *mem_cache_take(size_t n)
{
    struct cache *c = &cache;
    size_t k = class_of_want(n);
    if (k == NO_CLASS)
        return malloc(n);
    struct block *b = c->first[k];
    if (!b)
        return malloc(k < SMALL_CLASSES ? n : (k - SMALL_CLASSES) * LARGE_STEP);
    c->first[k] = b->next;
    uint32_t got = (uint32_t)malloc_usable_size(b);
    c->bytes[k] -= got;
    c->all -= got;
    return b;
}

void mem_cache_give(void *p)
{
    struct cache *c = &cache;
    if (!p)
        return;
    size_t n = malloc_usable_size(p), k = class_of_block(n);
    if (k == NO_CLASS || c->bytes[k] + n > MEM_CACHE_CLASS_BYTES_MAX ||
        c->all + n > MEM_CACHE_BYTES_MAX || !cache_open(c)) {
        free(p);
        return;
    }
    struct block *b = p;
    b->next = c->first[k];
    c->first[k] = b;
    c->bytes[k] += (uint32_t)n;
    c->all += (uint32_t)n;
}

#endif
