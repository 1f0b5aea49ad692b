#include "registry/sim/oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/hash.h"

#define ULL(x) ((unsigned long long)(x))

void oracle_init(struct oracle *o)
{
    *o = (struct oracle){
        .executed.copies_keys = true, .settled.copies_keys = true, .once.copies_keys = true};
    *vec_push(&o->ops) = (struct oracle_op){0}; /* number 0 is nobody's */
}

void oracle_fini(struct oracle *o)
{
    for (size_t i = 0; i < o->keys.n; i++) {
        struct oracle_key *k = o->keys.p[i];
        for (size_t v = 0; v < k->versions.n; v++) {
            if (!k->versions.p[v].deleted)
                slice_free(k->versions.p[v].value);
            slice_free(k->versions.p[v].shown);
        }
        vec_fini(&k->versions);
        oracle_lease_fini(k);
        slice_free(k->key);
        mem_free(k);
    }
    vec_fini(&o->keys);
    vec_fini(&o->api_keys);
    vec_fini(&o->api_events);
    vec_fini(&o->entries);
    vec_fini(&o->events);
    vec_fini(&o->ops);
    vec_fini(&o->terms);
    map_fini(&o->by_key);
    map_fini(&o->executed);
    map_fini(&o->settled);
    map_fini(&o->once);
}

void oracle_fail(struct oracle *o, const char *fmt, ...)
{
    va_list ap;
    if (o->violation[0])
        return;
    va_start(ap, fmt);
    vsnprintf(o->violation, sizeof(o->violation), fmt, ap);
    va_end(ap);
}

/* The model of the state machine. */

struct oracle_key *oracle_key_of(struct oracle *o, struct slice key)
{
    struct oracle_key *k = map_get(&o->by_key, key);
    if (k)
        return k;
    k = MEM_NEW(struct oracle_key);
    k->key = slice_dup(key);
    map_put(&o->by_key, k->key, k);
    *vec_push(&o->keys) = k;
    oracle_api_key_add(o, k);
    return k;
}

static const struct oracle_version *newest(const struct oracle_key *k)
{
    const struct oracle_version *v = k->versions.n ? &k->versions.p[k->versions.n - 1] : NULL;
    return v && !v->deleted ? v : NULL;
}

static bool op_allowed(const struct reg_op *op, const struct oracle_version *now)
{
    switch (op->expect) {
    case REG_EXPECT_ABSENT:
        return !now;
    case REG_EXPECT_EXISTS:
        return now;
    case REG_EXPECT_REV:
        return now && now->rev == op->expected;
    case REG_EXPECT_ANY:
    case REG_EXPECT_EPOCH:
        break;
    }
    return true;
}

static bool op_run(struct oracle *o, const struct reg_op *op, reg_rev index)
{
    struct oracle_key *k = oracle_key_of(o, op->key);
    const struct oracle_version *now = newest(k);
    if (op->del ? !now : now && slice_eq(now->value, op->value))
        return false;
    struct oracle_version next = {.rev = index,
                                  .create_rev = now ? now->create_rev : index,
                                  .version = now ? now->version + 1 : 1,
                                  .deleted = op->del,
                                  .value = op->del ? now->value : slice_dup(op->value)};
    *vec_push(&k->versions) = next;
    *vec_push(&o->events) =
        (struct oracle_event){.rev = index, .key = k, .version = k->versions.n - 1};
    if (slice_starts(k->key, S(ORACLE_API_PREFIX)))
        *vec_push(&o->api_events) = o->events.n - 1;
    o->revision = index;
    oracle_lease_apply(o, k, op);
    return true;
}

/* What hangs on a lease goes before it. */
static bool falls_run(struct oracle *o, const struct reg_op *op, reg_rev index)
{
    struct oracle_keys keys = {0};
    oracle_lease_falls(o, op, &keys);
    for (size_t i = 0; i < keys.v.n; i++)
        op_run(o, &(struct reg_op){.del = true, .key = keys.v.p[i]->key}, index);
    bool any = keys.v.n > 0;
    vec_fini(&keys.v);
    return any;
}

static uint64_t op_number(const struct reg_request *r)
{
    uint64_t number = 0;
    if (slice_starts(r->origin, S("sim/")))
        return slice_u64(slice_skip(r->origin, 4), &number) ? number : 0;
    for (size_t i = 0; i < r->op_count; i++)
        if (r->ops[i].value.n > 1 && r->ops[i].value.p[0] == 'v')
            return strtoull(r->ops[i].value.p + 1, NULL, 10);
    return 0;
}

static void op_effect(struct oracle *o, uint64_t number, reg_rev index)
{
    if (!number)
        return;
    wf_assert(number < o->ops.n);
    struct oracle_op *op = &o->ops.p[number];
    if (op->rev)
        oracle_fail(o, "write %llu has its effect twice: at %llu and at %llu", ULL(number),
                    ULL(op->rev), ULL(index));
    if (op->refused)
        oracle_fail(o,
                    "write %llu has an effect at %llu, but its client was told that nothing "
                    "was done",
                    ULL(number), ULL(index));
    op->rev = index;
}

/* Once for each (client, sequence), and never below what a client has settled. */
static bool executes(struct oracle *o, const struct reg_request *r)
{
    uint64_t id[2] = {r->client, r->sequence};
    struct slice client = slice_mem(id, 8), both = slice_mem(id, 16);
    uint64_t settled = (uint64_t)(uintptr_t)map_get(&o->settled, client);
    if (map_get(&o->executed, both) || r->sequence < settled)
        return false;
    map_put(&o->executed, both, o);
    if (r->settled > settled)
        map_put(&o->settled, client, (void *)(uintptr_t)r->settled);
    return true;
}

static void request_run(struct oracle *o, const struct reg_request *r, reg_rev index, uint64_t term)
{
    bool changed = false;
    struct slice key = r->once ? slice_mem(r->once->key, sizeof(r->once->key)) : S("");
    if (!executes(o, r) || (key.n && map_get(&o->once, key)))
        return;
    for (size_t i = 0; i < r->op_count; i++)
        if (!op_allowed(&r->ops[i], newest(oracle_key_of(o, r->ops[i].key))) ||
            !oracle_lease_allowed(o, &r->ops[i], term))
            return;
    for (size_t i = 0; i < r->op_count; i++) {
        changed |= falls_run(o, &r->ops[i], index);
        changed |= !r->ops[i].check && op_run(o, &r->ops[i], index);
    }
    if (key.n)
        map_put(&o->once, key, o);
    if (changed)
        op_effect(o, op_number(r), index);
}

static void entry_run(struct oracle *o, reg_rev index, struct slice entry)
{
    struct reader in = reader_of(entry);
    struct reg_entry_head head = {0};
    struct arena arena = {0};
    struct err err = {0};
    if (!reg_entry_open(&in, &head, &err))
        oracle_fail(o, "entry %llu: %s", ULL(index), err.msg);
    if (head.version > o->version)
        o->version = head.version;
    for (uint32_t i = 0; !o->violation[0] && i < head.count; i++) {
        struct reg_request r;
        if (reg_request_decode(&in, head.version, &arena, &r, &err))
            request_run(o, &r, index, head.term);
        else
            oracle_fail(o, "entry %llu: %s", ULL(index), err.msg);
        arena_reset(&arena);
    }
    arena_fini(&arena);
}

/* What the nodes do. */

static struct oracle_entry *entry_at(struct oracle *o, reg_rev index)
{
    while (o->entries.n <= index)
        *vec_push(&o->entries) = (struct oracle_entry){0};
    return &o->entries.p[index];
}

void oracle_applied(struct oracle *o, const char *node, reg_rev before, reg_rev index,
                    uint64_t term, struct slice entry)
{
    struct oracle_entry *e = entry_at(o, index);
    uint64_t hash = hash_bytes(entry);
    for (reg_rev i = before + 1; before && i < index; i++)
        if (o->entries.p[i].applied)
            oracle_fail(o, "%s skips entry %llu: after %llu it applies %llu", node, ULL(i),
                        ULL(before), ULL(index));
    if (e->applied) {
        if (e->bytes_hash != hash || (term && e->term && e->term != term))
            oracle_fail(o,
                        "%s applies another entry at %llu (term %llu) than others did (term "
                        "%llu)",
                        node, ULL(index), ULL(term), ULL(e->term));
        return;
    }
    if (index <= o->last)
        oracle_fail(o,
                    "%s applies an entry at %llu, which others passed without one (they are at "
                    "%llu)",
                    node, ULL(index), ULL(o->last));
    *e = (struct oracle_entry){.applied = true, .term = term, .bytes_hash = hash};
    o->last = index;
    entry_run(o, index, entry);
}

void oracle_hash(struct oracle *o, const char *node, reg_rev index, uint64_t state_hash)
{
    if (index == 0)
        return;
    struct oracle_entry *e = entry_at(o, index);
    if (e->hashed && e->state_hash != state_hash)
        oracle_fail(o, "%s: state hash %016llx at %llu, others had %016llx", node, ULL(state_hash),
                    ULL(index), ULL(e->state_hash));
    e->hashed = true;
    e->state_hash = state_hash;
}

void oracle_leads(struct oracle *o, uint64_t id, uint64_t term)
{
    while (o->terms.n <= term)
        *vec_push(&o->terms) = (struct oracle_term){0};
    struct oracle_term *t = &o->terms.p[term];
    if (t->leader && t->leader != id)
        oracle_fail(o, "two leaders in term %llu: %llu and %llu", ULL(term), ULL(t->leader),
                    ULL(id));
    if (!t->leader)
        t->since = o->now;
    t->leader = id;
}

/* What the clients see. */

uint64_t oracle_op_new(struct oracle *o)
{
    *vec_push(&o->ops) = (struct oracle_op){0};
    return o->ops.n - 1;
}

void oracle_acked(struct oracle *o, uint64_t op, reg_rev rev)
{
    struct oracle_op *w = &o->ops.p[op];
    if (w->rev != rev)
        oracle_fail(o, "write %llu was acknowledged at %llu, its effect was at %llu", ULL(op),
                    ULL(rev), ULL(w->rev));
    w->acked = true;
}

void oracle_refused(struct oracle *o, uint64_t op, const char *why)
{
    struct oracle_op *w = &o->ops.p[op];
    if (w->rev)
        oracle_fail(o, "write %llu was refused (%s), but had its effect at %llu", ULL(op), why,
                    ULL(w->rev));
    w->refused = true;
}

const struct oracle_version *oracle_at(struct oracle *o, struct slice key, reg_rev rev)
{
    const struct oracle_key *k = map_get(&o->by_key, key);
    for (size_t i = k ? k->versions.n : 0; i-- > 0;)
        if (k->versions.p[i].rev <= rev)
            return k->versions.p[i].deleted ? NULL : &k->versions.p[i];
    return NULL;
}

static bool same_object(const struct oracle_version *v, const struct reg_object *o)
{
    return v->rev == o->mod_rev && v->create_rev == o->create_rev && v->version == o->version &&
           slice_eq(v->value, o->value);
}

void oracle_read(struct oracle *o, const char *node, struct slice key, reg_rev rev,
                 const struct reg_object *found)
{
    const struct oracle_version *v = oracle_at(o, key, rev);
    if ((v != NULL) != (found != NULL))
        oracle_fail(o, "%s: at %llu %.*s %s, the model says it %s", node, ULL(rev), SLICE(key),
                    found ? "exists" : "does not exist", v ? "does" : "does not");
    else if (v && !same_object(v, found))
        oracle_fail(o, "%s: at %llu %.*s is of %llu (version %llu), the model says %llu (%llu)",
                    node, ULL(rev), SLICE(key), ULL(found->mod_rev), ULL(found->version),
                    ULL(v->rev), ULL(v->version));
}

size_t oracle_count(struct oracle *o, reg_rev rev)
{
    size_t n = 0;
    for (size_t i = 0; i < o->keys.n; i++)
        n += oracle_at(o, o->keys.p[i]->key, rev) != NULL;
    return n;
}

size_t oracle_after(const struct oracle *o, reg_rev rev)
{
    size_t a = 0, b = o->events.n;
    while (a < b) {
        size_t m = (a + b) / 2;
        if (o->events.p[m].rev <= rev)
            a = m + 1;
        else
            b = m;
    }
    return a;
}

void oracle_event_is(struct oracle *o, const char *node, size_t at, const struct reg_event *e)
{
    if (at >= o->events.n) {
        oracle_fail(o, "%s: a watch gives an event of %llu that nobody made", node,
                    ULL(e->revision));
        return;
    }
    const struct oracle_event *want = &o->events.p[at];
    const struct oracle_version *v = &want->key->versions.p[want->version];
    if (want->rev != e->revision || !slice_eq(want->key->key, e->object.key) ||
        v->deleted != e->deleted || !same_object(v, &e->object))
        oracle_fail(o, "%s: a watch gives %.*s at %llu, the next change was %.*s at %llu", node,
                    SLICE(e->object.key), ULL(e->revision), SLICE(want->key->key), ULL(want->rev));
    reg_rev prev = want->version && !want->key->versions.p[want->version - 1].deleted
                       ? want->key->versions.p[want->version - 1].rev
                       : 0;
    if (!o->violation[0] && prev != e->prev_mod_rev)
        oracle_fail(o, "%s: a watch says that %.*s at %llu replaced %llu, it was %llu", node,
                    SLICE(e->object.key), ULL(e->revision), ULL(e->prev_mod_rev), ULL(prev));
}
