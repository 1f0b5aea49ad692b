/* Index keys -> objects.
 *
 * A key that one object has is a posting of eight bytes: hash and number of the object, which knows
 * its keys. It becomes a fact, with a copy of the key, when somebody asks for it or when a second
 * object has it; the fact then says what it would say had it been there all along, with the
 * revision since when the object has the key as it is. Facts that nobody reads any more go back, if
 * that loses no revision (model_collect).
 *
 * So a key has no posting (nobody has it, and nobody asks), that of the one object that has it, or
 * that of its fact. Hashes are of 32 bits and only narrow the search: keys are compared. Where two
 * keys of one object have the same hash, their postings are equal, and either stands for either.
 */
#include "pilot/model/model_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"

/* Keys. */

static int cmp_key(struct model_key a, struct model_key b)
{
    return a.index != b.index ? (a.index < b.index ? -1 : 1) : slice_cmp(a.name, b.name);
}

static uint32_t key_hash(const struct model *m, struct model_key key)
{
    struct hash_key seed = {m->hash_key.k0 + key.index, m->hash_key.k1};
    return (uint32_t)hash_keyed(&seed, key.name.n ? key.name : S("")) & m->hash_mask;
}

static int cmp_entry(const void *va, const void *vb)
{
    const struct model_entry *a = va, *b = vb;
    int c = cmp_key(a->key, b->key);
    return c ? c : (a->sign > b->sign) - (a->sign < b->sign);
}

void model_entry_add(struct model_entries *e, enum model_index index, struct slice name,
                     uint64_t sign)
{
    *vec_push(e) = (struct model_entry){.key = {index, name}, .sign = sign};
}

void model_entries_sort(struct model_entries *e)
{
    size_t n = 0;
    qsort(e->p, e->n, sizeof(*e->p), cmp_entry);
    for (size_t i = 0; i < e->n; i++) {
        if (n && cmp_key(e->p[n - 1].key, e->p[i].key) == 0)
            e->p[n - 1].sign = hash_u64(e->p[n - 1].sign) ^ e->p[i].sign;
        else
            e->p[n++] = e->p[i];
    }
    e->n = n;
}

struct entries {
    struct model_entry *p;
    size_t n;
};

/* Of an object, or none; in `room` where the object does not store them. */
static struct entries entries_of(const struct model_object *o, struct model_entries *room)
{
    if (!o)
        return (struct entries){0};
    if (o->body)
        return (struct entries){o->body->entries, o->body->entry_count};
    model_workload_entries(o, room);
    model_entries_sort(room);
    return (struct entries){room->p, room->n};
}

static bool object_has(const struct model_object *o, struct model_key key, reg_rev *ret_revision)
{
    if (!o->body)
        return model_workload_has(o, key, ret_revision);
    size_t lo = 0, hi = o->body->entry_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct model_entry *e = &o->body->entries[mid];
        int c = cmp_key(e->key, key);
        if (c == 0) {
            *ret_revision = e->revision;
            return true;
        }
        lo = c < 0 ? mid + 1 : lo;
        hi = c < 0 ? hi : mid;
    }
    return false;
}

/* Postings. */

static uint32_t posting_of_object(uint32_t number)
{
    return number << 1;
}

static uint32_t posting_of_fact(uint32_t number)
{
    return number << 1 | 1;
}

/* What a key has. Zeroed: nothing. */
struct holder {
    struct model_fact *fact;
    struct model_object *object; /* alone, without a fact */
    reg_rev revision;            /* since when the object has the key as it is */
};

/* `entering` has the key without a posting for it yet; may be NULL. */
static struct holder holder_find(const struct model *m, struct model_key key, uint32_t hash,
                                 const struct model_object *entering)
{
    struct holder out = {0};
    for (size_t at = postings_first(&m->index, hash); at != POSTINGS_END;
         at = postings_next(&m->index, at)) {
        uint32_t number = m->index.slots[at].number;
        if (number & 1) {
            struct model_fact *f = numbers_at(&m->facts, number >> 1);
            if (cmp_key(f->key, key) == 0)
                return (struct holder){.fact = f};
        } else if (!out.object) {
            struct model_object *o = numbers_at(&m->objects, number >> 1);
            if (o != entering && object_has(o, key, &out.revision))
                out.object = o;
        }
    }
    return out;
}

/* Facts. */

static bool older(const struct model_object *a, const struct model_object *b)
{
    if (a->create_rev != b->create_rev)
        return a->create_rev < b->create_rev;
    return slice_cmp(a->key, b->key) < 0;
}

/* The first member that is not older than o: a namespace may hold ten thousand. */
static size_t fact_place(const struct model_fact *f, const struct model_object *o)
{
    size_t lo = 0, hi = f->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (older(f->members[mid], o))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static size_t fact_bytes(const struct model_fact *f)
{
    return sizeof(*f) + f->key.name.n + (f->members == &f->one ? 0 : f->cap * sizeof(*f->members));
}

static void fact_grow(struct model *m, struct model_fact *f)
{
    bool inside = f->members == &f->one;
    m->fact_bytes -= fact_bytes(f);
    f->cap *= 2;
    f->members = mem_resize(inside ? NULL : f->members, f->cap * sizeof(struct model_object *));
    if (inside)
        f->members[0] = f->one;
    m->fact_bytes += fact_bytes(f);
}

static void fact_insert(struct model *m, struct model_fact *f, struct model_object *o)
{
    if (f->n == f->cap)
        fact_grow(m, f);
    size_t i = fact_place(f, o);
    memmove(f->members + i + 1, f->members + i, (f->n - i) * sizeof(struct model_object *));
    f->members[i] = o;
    f->n++;
}

static void fact_remove(struct model_fact *f, const struct model_object *o)
{
    size_t i = fact_place(f, o);
    wf_assert(i < f->n && f->members[i] == o);
    f->n--;
    memmove(f->members + i, f->members + i + 1, (f->n - i) * sizeof(struct model_object *));
}

/* The same object, changed: equally old. */
static void fact_replace(struct model_fact *f, const struct model_object *was,
                         struct model_object *is)
{
    size_t i = fact_place(f, was);
    wf_assert(i < f->n && f->members[i] == was);
    f->members[i] = is;
}

static struct model_fact *fact_new(struct model *m, struct model_key key)
{
    struct model_fact *f = mem_new(sizeof(*f) + key.name.n);
    char *name = (char *)(f + 1);
    graph_fact_init(&f->node);
    if (key.name.n)
        memcpy(name, key.name.p, key.name.n);
    f->key = (struct model_key){key.index, slice_mem(name, key.name.n)};
    f->members = &f->one;
    f->cap = 1;
    f->number = numbers_take(&m->facts, f);
    m->fact_bytes += fact_bytes(f);
    return f;
}

static void fact_free(struct model *m, struct model_fact *f)
{
    numbers_give(&m->facts, f->number);
    m->fact_bytes -= fact_bytes(f);
    if (f->members != &f->one)
        mem_free(f->members);
    mem_free(f);
}

/* Takes the posting of the object that has the key alone. */
static struct model_fact *fact_of_object(struct model *m, struct model_key key, uint32_t hash,
                                         struct holder alone)
{
    struct model_fact *f = fact_new(m, key);
    postings_set(&m->index, hash, posting_of_object(alone.object->number),
                 posting_of_fact(f->number));
    fact_insert(m, f, alone.object);
    f->node.revision = alone.revision;
    return f;
}

static struct model_fact *fact_get(struct model *m, struct model_key key)
{
    uint32_t hash = key_hash(m, key);
    struct holder h = holder_find(m, key, hash, NULL);
    if (h.fact)
        return h.fact;
    if (h.object)
        return fact_of_object(m, key, hash, h);
    struct model_fact *f = fact_new(m, key);
    postings_put(&m->index, hash, posting_of_fact(f->number));
    return f;
}

const struct model_fact *model_index(struct model *m, enum model_index index, struct slice name)
{
    struct model_fact *f = fact_get(m, (struct model_key){index, name});
    graph_read(m->graph, &f->node);
    return f;
}

const struct model_object *model_object(struct model *m, struct slice key)
{
    const struct model_fact *f = model_index(m, MODEL_OBJECT, key);
    return f->n ? f->members[0] : NULL;
}

struct model_object *model_index_peek(struct model *m, struct slice key)
{
    struct model_key k = {MODEL_OBJECT, key};
    struct holder h = holder_find(m, k, key_hash(m, k), NULL);
    if (!h.fact)
        return h.object;
    return h.fact->n ? h.fact->members[0] : NULL;
}

/* Changes. */

/* An object from one state to the next; either may be NULL. */
struct move {
    struct model *m;
    struct model_object *was, *is;
    struct entries before, after;
    reg_rev revision;
};

static void key_leave(const struct move *v, struct model_key key)
{
    uint32_t hash = key_hash(v->m, key);
    struct holder h = holder_find(v->m, key, hash, NULL);
    wf_assert(h.fact || h.object == v->was);
    if (!h.fact) {
        postings_del(&v->m->index, hash, posting_of_object(v->was->number));
        return;
    }
    fact_remove(h.fact, v->was);
    graph_fact_touch(v->m->graph, &h.fact->node, v->revision);
}

static void key_enter(const struct move *v, struct model_key key)
{
    uint32_t hash = key_hash(v->m, key);
    struct holder h = holder_find(v->m, key, hash, v->is);
    if (!h.fact && !h.object) {
        postings_put(&v->m->index, hash, posting_of_object(v->is->number));
        return;
    }
    struct model_fact *f = h.fact ? h.fact : fact_of_object(v->m, key, hash, h);
    fact_insert(v->m, f, v->is);
    graph_fact_touch(v->m->graph, &f->node, v->revision);
}

static void key_stay(const struct move *v, struct model_key key, bool changed)
{
    struct holder h = holder_find(v->m, key, key_hash(v->m, key), NULL);
    wf_assert(h.fact || h.object == v->was);
    if (!h.fact)
        return;
    if (v->was->create_rev == v->is->create_rev) {
        fact_replace(h.fact, v->was, v->is);
    } else {
        fact_remove(h.fact, v->was);
        fact_insert(v->m, h.fact, v->is);
    }
    if (changed)
        graph_fact_touch(v->m->graph, &h.fact->node, v->revision);
}

/* The entry of that key, at *i or further on in a sorted list; NULL. */
static struct model_entry *entry_at(struct entries list, size_t *i, struct model_key key)
{
    while (*i < list.n && cmp_key(list.p[*i].key, key) < 0)
        ++*i;
    return *i < list.n && cmp_key(list.p[*i].key, key) == 0 ? &list.p[*i] : NULL;
}

/* What the object has no longer, and what it still has. The number still stands for `was`. */
static void move_before(const struct move *v)
{
    for (size_t i = 0, j = 0; i < v->before.n; i++) {
        const struct model_entry *from = &v->before.p[i];
        struct model_entry *to = entry_at(v->after, &j, from->key);
        if (!to) {
            key_leave(v, from->key);
            continue;
        }
        bool changed = from->sign != to->sign;
        to->revision = from->revision;
        if (changed && v->revision > from->revision)
            to->revision = v->revision;
        key_stay(v, from->key, changed);
    }
}

/* What it did not have. The number stands for `is`. */
static void move_after(const struct move *v)
{
    for (size_t i = 0, j = 0; j < v->after.n; j++) {
        struct model_entry *to = &v->after.p[j];
        if (entry_at(v->before, &i, to->key))
            continue;
        to->revision = v->revision;
        key_enter(v, to->key);
    }
}

void model_index_move(struct model *m, struct model_object *was, struct model_object *is,
                      reg_rev revision)
{
    struct model_entries before = {.arena = &m->scratch}, after = {.arena = &m->scratch};
    wf_assert(!m->graph->current);
    struct move v = {.m = m,
                     .was = was,
                     .is = is,
                     .before = entries_of(was, &before),
                     .after = entries_of(is, &after),
                     .revision = revision};
    if (is)
        is->number = was ? was->number : numbers_take(&m->objects, is);
    move_before(&v);
    if (was && is)
        numbers_set(&m->objects, is->number, is);
    else if (was)
        numbers_give(&m->objects, was->number);
    move_after(&v);
    if (is && !is->body)
        model_workload_said(is, v.after.p[0].revision);
    vec_fini(&before);
    vec_fini(&after);
}

/* Life. */

/* Would a fact that is made anew say the same? */
static bool fact_spare(const struct model_fact *f)
{
    reg_rev since;
    return !graph_fact_used(&f->node) &&
           (f->n == 0 ||
            (f->n == 1 && object_has(f->members[0], f->key, &since) && since == f->node.revision));
}

static void fact_forget(struct model *m, struct model_fact *f)
{
    uint32_t hash = key_hash(m, f->key);
    if (f->n)
        postings_set(&m->index, hash, posting_of_fact(f->number),
                     posting_of_object(f->members[0]->number));
    else
        postings_del(&m->index, hash, posting_of_fact(f->number));
    fact_free(m, f);
}

#define FACTS_SWEEP_MIN 1024

void model_index_sweep(struct model *m)
{
    NUMBERS_EACH (&m->facts, i) {
        struct model_fact *f = numbers_at(&m->facts, i);
        if (fact_spare(f))
            fact_forget(m, f);
    }
    m->facts_swept = m->facts.n;
}

void model_collect(struct model *m)
{
    if (m->facts.n >= FACTS_SWEEP_MIN && m->facts.n >= 2 * m->facts_swept)
        model_index_sweep(m);
}

void model_index_fini(struct model *m)
{
    NUMBERS_EACH (&m->facts, i)
        fact_free(m, numbers_at(&m->facts, i));
    numbers_fini(&m->facts);
    postings_fini(&m->index);
}
