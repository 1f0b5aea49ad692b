/* Small blocks that a thread has freed and will want again: trees of JSON, first blocks of arenas,
 * requests. Malloc keeps seven of a size by thread; a request here takes and gives back a hundred.
 *
 *   void *p = mem_cache_take(n);     // NULL: out of memory; contents are whatever they were
 *   mem_cache_give(p);               // on any thread; NULL is fine
 *
 * Blocks are malloc's: what was taken here may go to free(), and the other way round. Bounded:
 * MEM_CACHE_BYTES_MAX a thread (core_limits.h). Not in builds with a sanitizer, which would not see
 * the use of a block after its end. */
#ifndef WEFT_BASE_CORE_MEM_CACHE_H
#define WEFT_BASE_CORE_MEM_CACHE_H

#include <stddef.h>

void *mem_cache_take(size_t n);
void mem_cache_give(void *p);

#endif
