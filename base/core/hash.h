/* Hashes, each for its purpose.
 *
 *   hash_bytes  XXH3-64: content versions, ring hash; equal on every machine and version.
 *   hash_keyed  SipHash-1-3 with a per-process key: tables whose keys a peer chooses.
 *   crc32c      Castagnoli: records on disk and in checkpoints (hardware where there is any).
 */
#ifndef WEFT_BASE_CORE_HASH_H
#define WEFT_BASE_CORE_HASH_H

#include "base/core/slice.h"

uint64_t hash_bytes(struct slice s);
uint64_t hash_bytes_seed(struct slice s, uint64_t seed);
uint64_t hash_u64(uint64_t v); /* a mixer */

struct hash_key {
    uint64_t k0, k1;
};
uint64_t hash_keyed(const struct hash_key *key, struct slice s);
/* A key that peers cannot guess, another one at each call. */
struct hash_key hash_key_new(void);
/* From now on hash_key_new() gives a sequence that depends on `key` alone: for a simulation that
 * must repeat from its seed. Before other threads start. */
void hash_key_fix(struct hash_key key);

/* Start with crc = 0; chain by passing the last result. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
/* The same without special instructions. */
uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n);

/* A UUID of version 4 (RFC 9562 §5.4) of 16 random bytes: 36 characters, no NUL. */
#define UUID_BYTES 36
void uuid_encode(char dst[UUID_BYTES], const uint8_t random[16]);

#endif
