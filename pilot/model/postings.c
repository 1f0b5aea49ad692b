#include "pilot/model/postings.h"

#include "base/core/assert.h"
#include "base/core/mem.h"

#define CAP_MIN 64

/* Linear probing, at most 3/4 full, without tombstones: as base/core/map.c. */

static size_t slot_next(const struct postings *t, size_t i)
{
    return (i + 1) & (t->cap - 1);
}

static size_t slot_home(const struct postings *t, uint32_t hash)
{
    return hash & (t->cap - 1);
}

static size_t slot_free(const struct postings *t, uint32_t hash)
{
    size_t i = slot_home(t, hash);
    while (t->slots[i].number)
        i = slot_next(t, i);
    return i;
}

static void grow(struct postings *t)
{
    struct posting *old = t->slots;
    size_t old_cap = t->cap;
    t->cap = old_cap ? old_cap * 2 : CAP_MIN;
    t->slots = mem_array(t->cap, sizeof(*t->slots));
    for (size_t i = 0; i < old_cap; i++)
        if (old[i].number)
            t->slots[slot_free(t, old[i].hash)] = old[i];
    mem_free(old);
}

void postings_put(struct postings *t, uint32_t hash, uint32_t number)
{
    wf_assert(number);
    if ((t->n + 1) * 4 > t->cap * 3)
        grow(t);
    t->slots[slot_free(t, hash)] = (struct posting){hash, number};
    t->n++;
}

static size_t slot_from(const struct postings *t, size_t i, uint32_t hash)
{
    while (t->slots[i].number && t->slots[i].hash != hash)
        i = slot_next(t, i);
    return t->slots[i].number ? i : POSTINGS_END;
}

size_t postings_first(const struct postings *t, uint32_t hash)
{
    return t->n ? slot_from(t, slot_home(t, hash), hash) : POSTINGS_END;
}

size_t postings_next(const struct postings *t, size_t at)
{
    return slot_from(t, slot_next(t, at), t->slots[at].hash);
}

static size_t slot_of(const struct postings *t, uint32_t hash, uint32_t number)
{
    size_t at = postings_first(t, hash);
    while (at != POSTINGS_END && t->slots[at].number != number)
        at = postings_next(t, at);
    wf_assert(at != POSTINGS_END);
    return at;
}

void postings_set(struct postings *t, uint32_t hash, uint32_t number, uint32_t other)
{
    wf_assert(other);
    t->slots[slot_of(t, hash, number)].number = other;
}

/* Fills the hole by slots further on in the run whose home is not between the hole and them. */
static void close_hole(struct postings *t, size_t hole)
{
    for (size_t i = slot_next(t, hole); t->slots[i].number; i = slot_next(t, i)) {
        size_t home = slot_home(t, t->slots[i].hash);
        if (((i - home) & (t->cap - 1)) < ((i - hole) & (t->cap - 1)))
            continue;
        t->slots[hole] = t->slots[i];
        hole = i;
    }
    t->slots[hole] = (struct posting){0};
}

void postings_del(struct postings *t, uint32_t hash, uint32_t number)
{
    close_hole(t, slot_of(t, hash, number));
    t->n--;
}

void postings_fini(struct postings *t)
{
    mem_free(t->slots);
    *t = (struct postings){0};
}
