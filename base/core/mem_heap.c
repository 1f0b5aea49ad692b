/* Where memory comes from. A file of its own: a simulation supplies another (base/sim). */
#include <stdlib.h>

#include "base/core/assert.h"
#include "base/core/mem.h"

void *mem_new(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    if (!p)
        wf_die("out of memory for %zu bytes", n);
    return p;
}

void *mem_try(size_t n)
{
    return malloc(n);
}

void *mem_resize(void *p, size_t n)
{
    p = realloc(p, n ? n : 1);
    if (!p)
        wf_die("out of memory for %zu bytes", n);
    return p;
}

void mem_free(void *p)
{
    free(p);
}
