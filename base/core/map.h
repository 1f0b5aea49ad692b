/* Hash map: slice -> pointer, open addressing, SipHash keyed per map. Owns neither values nor,
 * unless asked, keys.
 *
 *   struct map m = {0};
 *   map_put(&m, name, cluster);            key borrowed: must outlive the entry
 *   struct cluster *c = map_get(&m, name);
 *   MAP_EACH(&m, e) use(e->key, e->value);   order is unspecified: sort before it reaches the wire
 */
#ifndef WEFT_BASE_CORE_MAP_H
#define WEFT_BASE_CORE_MAP_H

#include "base/core/hash.h"

struct map_entry {
    struct slice key;
    void *value; /* NULL = free slot */
    uint64_t hash;
};

/* Zeroed is valid and empty. */
struct map {
    struct map_entry *slots;
    size_t n, cap;
    struct hash_key key; /* zero: chosen at the first put */
    bool copies_keys;    /* set before the first put: keys are copied and freed by the map */
};

/* The value, or NULL. */
void *map_get(const struct map *m, struct slice key);
/* Stores a value (not NULL); returns the one it replaced, or NULL. A replaced entry borrows the new
 * key from now on. */
void *map_put(struct map *m, struct slice key, void *value);
/* Removes; returns the value that was there, or NULL. */
void *map_del(struct map *m, struct slice key);
void map_clear(struct map *m);
void map_fini(struct map *m);
/* Next live entry after `prev` (NULL = first); NULL at the end. No put or del in between. */
struct map_entry *map_next(const struct map *m, const struct map_entry *prev);
#define MAP_EACH(m, e) for (struct map_entry *e = map_next((m), NULL); e; e = map_next((m), e))

#endif
