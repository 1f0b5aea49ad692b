/* Which proxies a node holds, as far as others need to know it: a number for each, the hash of its
 * node id. It tells whether a proxy of a node that hangs has come to another node. Pure.
 *
 *   roster_add(&r, hash_bytes(id));
 *   left = roster_missing(&of_the_silent, others, n);     those that are in none of the others
 */
#ifndef WEFT_PILOT_ROSTER_H
#define WEFT_PILOT_ROSTER_H

#include "base/core/err.h"
#include "base/core/mem.h"

/* Sorted; a number is in it as often as it was added. Zeroed is empty. */
struct roster {
    uint64_t *p;
    size_t n, cap;
};

void roster_add(struct roster *r, uint64_t proxy);
/* It must be there. */
void roster_remove(struct roster *r, uint64_t proxy);
void roster_fini(struct roster *r);
struct roster roster_copy(const struct roster *r);
/* How many of r are in none of the others; what is in r twice must be elsewhere twice. */
uint32_t roster_missing(const struct roster *r, const struct roster *const *others, size_t n);

/* At most ROSTER_MAX of it: who is not named is nowhere else. */
void roster_encode(const struct roster *r, struct buf *out);
/* Whether the bytes claim to be a roster (and not a summary). */
bool roster_is(struct slice bytes);
/* ret_roster: untouched on failure (ERR_INVALID); else roster_fini. */
bool roster_decode(struct slice bytes, struct roster *ret_roster, struct err *err);

#endif
