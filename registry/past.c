/* The state at an earlier revision: the present, with the first change of each object after that
 * revision undone. */
#include <stdlib.h>

#include "base/core/assert.h"
#include "registry/store_internal.h"

struct undo {
    bool there; /* was it there then? */
    struct reg_object was;
};

struct reg_past {
    struct reg_txn *txn;
    struct arena arena;
    struct map by_key; /* struct undo */
    VEC(struct undo *) undone;
};

static bool undo_first(void *ctx, const struct reg_event *e)
{
    struct reg_past *p = ctx;
    struct slice key = e->object.key;
    if (map_get(&p->by_key, key))
        return true;
    struct undo *u = ARENA_NEW(&p->arena, struct undo);
    *u = (struct undo){.there = e->prev_mod_rev != 0,
                       .was = {.key = key,
                               .value = e->prev_value,
                               .create_rev = e->object.create_rev,
                               .mod_rev = e->prev_mod_rev,
                               .version = e->object.version - 1}};
    map_put(&p->by_key, key, u);
    *vec_push(&p->undone) = u;
    return true;
}

static int by_key(const void *a, const void *b)
{
    const struct undo *const *x = a, *const *y = b;
    return slice_cmp((*x)->was.key, (*y)->was.key);
}

enum reg_history reg_past_open(struct reg_txn *txn, reg_rev at, struct slice prefix,
                               struct reg_past **ret_past)
{
    struct reg_past *p = MEM_NEW(struct reg_past);
    struct reg_range range = {.from = at, .to = UINT64_MAX, .prefix = prefix};
    *p = (struct reg_past){.txn = txn};
    if (reg_changes_in(txn, &range, undo_first, p) == REG_HISTORY_COMPACTED) {
        reg_past_free(p);
        return REG_HISTORY_COMPACTED;
    }
    if (p->undone.n)
        qsort(p->undone.p, p->undone.n, sizeof(struct undo *), by_key);
    *ret_past = p;
    return REG_HISTORY_OK;
}

void reg_past_free(struct reg_past *p)
{
    if (!p)
        return;
    map_fini(&p->by_key);
    vec_fini(&p->undone);
    arena_fini(&p->arena);
    mem_free(p);
}

bool reg_past_get(struct reg_past *p, struct slice key, struct reg_object *ret_object)
{
    const struct undo *u = map_get(&p->by_key, key);
    if (!u)
        return reg_get(p->txn, key, ret_object);
    if (u->there)
        *ret_object = u->was;
    return u->there;
}

/* Merges what is there with what was undone, both in order of keys. */
struct merge {
    struct reg_past *past;
    struct slice prefix, after;
    size_t next; /* of past->undone */
    bool (*fn)(void *ctx, const struct reg_object *o);
    void *ctx;
    bool stopped;
};

/* Gives what was undone before `key` (all of it: NULL). */
static void give_before(struct merge *m, const struct slice *key)
{
    for (; m->next < m->past->undone.n && !m->stopped; m->next++) {
        const struct undo *u = m->past->undone.p[m->next];
        if (key && slice_cmp(u->was.key, *key) >= 0)
            return;
        bool wanted = u->there && slice_starts(u->was.key, m->prefix) &&
                      (!m->after.n || slice_cmp(u->was.key, m->after) > 0);
        if (wanted && !m->fn(m->ctx, &u->was))
            m->stopped = true;
    }
}

static bool merge_present(void *ctx, const struct reg_object *o)
{
    struct merge *m = ctx;
    give_before(m, &o->key);
    if (!m->stopped && !map_get(&m->past->by_key, o->key))
        m->stopped = !m->fn(m->ctx, o);
    return !m->stopped;
}

void reg_past_scan(struct reg_past *p, struct slice prefix, struct slice after,
                   bool (*fn)(void *ctx, const struct reg_object *o), void *ctx)
{
    struct merge m = {.past = p, .prefix = prefix, .after = after, .fn = fn, .ctx = ctx};
    reg_scan(p->txn, prefix, after, merge_present, &m);
    give_before(&m, NULL);
}
