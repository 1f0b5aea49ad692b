/* Numbers under hashes of keys, eight bytes a slot. The keys are not in it: whoever knows what a
 * number stands for looks whether the key is there.
 *
 *   postings_put(&t, hash, number);
 *   for (size_t at = postings_first(&t, hash); at != POSTINGS_END; at = postings_next(&t, at))
 *       if (has_key(t.slots[at].number)) …
 *   postings_del(&t, hash, number);
 *
 * A key is expected to have one number: many under one hash make it slow.
 */
#ifndef WEFT_PILOT_MODEL_POSTINGS_H
#define WEFT_PILOT_MODEL_POSTINGS_H

#include <stddef.h>
#include <stdint.h>

struct posting {
    uint32_t hash;
    uint32_t number; /* 0: the slot is free */
};

/* Zeroed is valid and empty. */
struct postings {
    struct posting *slots;
    size_t n, cap;
};

#define POSTINGS_END SIZE_MAX

void postings_put(struct postings *t, uint32_t hash, uint32_t number);
/* Of equal ones, one. It must be there. */
void postings_del(struct postings *t, uint32_t hash, uint32_t number);
/* Another number in the place of one that must be there. */
void postings_set(struct postings *t, uint32_t hash, uint32_t number, uint32_t other);
/* Slots with the hash, in no order, until the next put or del. */
size_t postings_first(const struct postings *t, uint32_t hash);
size_t postings_next(const struct postings *t, size_t at);
void postings_fini(struct postings *t);

#endif
