#include "base/core/map.h"

#include <string.h>

#include "base/core/assert.h"
#include "base/core/core_limits.h"
#include "base/core/mem.h"

/* Linear probing, at most 3/4 full. Deletion moves later entries of the run back, so there are no
 * tombstones and a table that churns never degrades. */

static size_t slot_next(const struct map *m, size_t i)
{
    return (i + 1) & (m->cap - 1);
}

static size_t slot_home(const struct map *m, uint64_t hash)
{
    return (size_t)hash & (m->cap - 1);
}

/* The entry of the key, or the free slot where it belongs. cap must not be 0. */
static size_t slot_find(const struct map *m, struct slice key, uint64_t hash)
{
    size_t i = slot_home(m, hash);
    while (m->slots[i].value && !(m->slots[i].hash == hash && slice_eq(m->slots[i].key, key)))
        i = slot_next(m, i);
    return i;
}

static void grow(struct map *m)
{
    struct map_entry *old = m->slots;
    size_t old_cap = m->cap;
    m->cap = old_cap ? old_cap * 2 : MAP_SLOTS_MIN;
    m->slots = mem_array(m->cap, sizeof(*m->slots));
    for (size_t i = 0; i < old_cap; i++) {
        if (!old[i].value)
            continue;
        size_t at = slot_home(m, old[i].hash);
        while (m->slots[at].value)
            at = slot_next(m, at);
        m->slots[at] = old[i];
    }
    mem_free(old);
}

static struct slice own_key(const struct map *m, struct slice key)
{
    if (!m->copies_keys || !key.n)
        return key;
    char *p = mem_new(key.n);
    memcpy(p, key.p, key.n);
    return (struct slice){p, key.n};
}

static void drop_key(const struct map *m, struct slice key)
{
    if (m->copies_keys && key.n)
        mem_free((void *)(uintptr_t)key.p);
}

void *map_get(const struct map *m, struct slice key)
{
    if (m->n == 0)
        return NULL;
    return m->slots[slot_find(m, key, hash_keyed(&m->key, key))].value;
}

void *map_put(struct map *m, struct slice key, void *value)
{
    wf_assert(value);
    if (m->cap == 0 && !m->key.k0 && !m->key.k1)
        m->key = hash_key_new();
    if ((m->n + 1) * 4 > m->cap * 3)
        grow(m);
    uint64_t hash = hash_keyed(&m->key, key);
    struct map_entry *e = &m->slots[slot_find(m, key, hash)];
    if (e->value) {
        void *old = e->value;
        e->value = value;
        if (!m->copies_keys)
            e->key = key;
        return old;
    }
    *e = (struct map_entry){.key = own_key(m, key), .value = value, .hash = hash};
    m->n++;
    return NULL;
}

/* Fills the hole by entries further on in the run whose home is not between the hole and them. */
static void close_hole(struct map *m, size_t hole)
{
    for (size_t i = slot_next(m, hole); m->slots[i].value; i = slot_next(m, i)) {
        size_t home = slot_home(m, m->slots[i].hash);
        size_t from_home = (i - home) & (m->cap - 1);
        size_t from_hole = (i - hole) & (m->cap - 1);
        if (from_home < from_hole)
            continue;
        m->slots[hole] = m->slots[i];
        hole = i;
    }
    m->slots[hole] = (struct map_entry){0};
}

void *map_del(struct map *m, struct slice key)
{
    if (m->n == 0)
        return NULL;
    size_t i = slot_find(m, key, hash_keyed(&m->key, key));
    void *value = m->slots[i].value;
    if (!value)
        return NULL;
    drop_key(m, m->slots[i].key);
    close_hole(m, i);
    m->n--;
    return value;
}

void map_clear(struct map *m)
{
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].value)
            drop_key(m, m->slots[i].key);
    if (m->cap)
        memset(m->slots, 0, m->cap * sizeof(*m->slots));
    m->n = 0;
}

void map_fini(struct map *m)
{
    map_clear(m);
    mem_free(m->slots);
    *m = (struct map){0};
}

struct map_entry *map_next(const struct map *m, const struct map_entry *prev)
{
    size_t i = prev ? (size_t)(prev - m->slots) + 1 : 0;
    for (; i < m->cap; i++)
        if (m->slots[i].value)
            return &m->slots[i];
    return NULL;
}
