/* Where memory comes from. A file of its own: a simulation supplies another (base/sim). */
#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/core_limits.h"
#include "base/core/mem.h"
#include "base/core/mem_cache.h"

void *mem_new(size_t n)
{
    void *p = n <= MEM_CACHE_BLOCK_BYTES_MAX ? mem_cache_take(n) : calloc(1, n);
    if (!p)
        wf_die("out of memory for %zu bytes", n);
    return n <= MEM_CACHE_BLOCK_BYTES_MAX ? memset(p, 0, n) : p;
}

void *mem_try(size_t n)
{
    return mem_cache_take(n);
}

void *mem_resize(void *p, size_t n)
{
    p = p ? realloc(p, n ? n : 1) : mem_cache_take(n);
    if (!p)
        wf_die("out of memory for %zu bytes", n);
    return p;
}

void mem_free(void *p)
{
    mem_cache_give(p);
}
