/* The named bounds of base/core. */
#ifndef WEFT_BASE_CORE_CORE_LIMITS_H
#define WEFT_BASE_CORE_CORE_LIMITS_H

#define ARENA_BLOCK_BYTES_MIN 4096        /* first block of an arena */
#define ARENA_BLOCK_BYTES_MAX (256 << 10) /* blocks double up to this */
/* Freed by a thread and kept for it, of one size and in all: the trees of the writes that wait for
 * one entry, say. */
#define MEM_CACHE_CLASS_BYTES_MAX (256u << 10)
#define MEM_CACHE_BYTES_MAX (1u << 20)
#define MEM_CACHE_BLOCK_BYTES_MAX (16u << 10)
#define BUF_BYTES_MIN 256                /* first allocation of a buf */
#define MAP_SLOTS_MIN 8                  /* first allocation of a map; a power of two */
#define LOG_LINE_BYTES_MAX 4096          /* a longer record loses its last fields, and says so */
#define LOG_SITE_PER_SECOND 100          /* lines of one call site */
#define REGEX_MEMORY_BYTES_MAX (1 << 20) /* compiled program and its state cache */

#endif
