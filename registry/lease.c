/* Rows of leases and of what hangs on them, beside the objects; all of it a pure function of the
 * log. */
#include "registry/lease.h"

#include <string.h>

#include "base/core/assert.h"
#include "base/core/mutant.h"
#include "registry/store_internal.h"

/* Dbi leases, by the lease's key: id, rev, epoch u64, ttl, objects, flags u32, crc32c u32 of key
 * and the rest, holder. The key of one zero byte: the highest epoch of all that were deleted, in a
 * row of the same shape, so that a lease that is made again goes on behind it. */
#define ROW_HEAD 40
#define ROW_CRC_AT 36
#define ROW_REGISTRATION 1u
#define FLOOR_KEY slice_mem("\0", 1)

/* Dbi lease_objects: 'o' and an object's key -> crc u32, id u64 and key of its lease; 'l', id of a
 * lease (big endian) and an object's key -> crc u32 of the key. */
#define OBJECT_KEY_BYTES (9 + REG_KEY_BYTES_MAX)
#define OBJECT_HEAD 12
#define INDEX_HEAD 9
static_assert(OBJECT_KEY_BYTES <= 511, "LMDB's longest key");
static_assert((uint64_t)REG_LEASES_MAX * REG_LEASE_OBJECTS_MAX + REG_ENTRY_BYTES_MAX / 15 <=
                  1u << 20,
              "every change of an entry has a number of its own (history.c)");

static void must(const struct reg_store *s, int rc)
{
    if (rc)
        store_die(s, "leases", rc);
}

/* Rows. */

static uint32_t row_crc(struct slice key, const char *p, size_t n)
{
    uint32_t crc = crc32c(0, key.p, key.n);
    crc = crc32c(crc, p, ROW_CRC_AT);
    return crc32c(crc, p + ROW_HEAD, n - ROW_HEAD);
}

bool store_lease_row_ok(MDB_val k, MDB_val v)
{
    uint32_t crc;
    if (v.mv_size < ROW_HEAD)
        return false;
    memcpy(&crc, (char *)v.mv_data + ROW_CRC_AT, 4);
    return crc == row_crc(store_slice(k), v.mv_data, v.mv_size);
}

static struct reg_lease row_read(const struct reg_store *s, struct slice key, MDB_val v)
{
    const char *p = v.mv_data;
    struct reg_lease l = {.key = key};
    uint32_t flags = 0;
    if (!store_lease_row_ok(store_val(key), v))
        store_doubt(s, "the checksum of a lease is wrong");
    memcpy(&l.id, p, 8);
    memcpy(&l.rev, p + 8, 8);
    memcpy(&l.epoch, p + 16, 8);
    memcpy(&l.ttl_ms, p + 24, 4);
    memcpy(&l.objects, p + 28, 4);
    memcpy(&flags, p + 32, 4);
    l.registration = flags & ROW_REGISTRATION;
    l.holder = slice_mem(p + ROW_HEAD, v.mv_size - ROW_HEAD);
    return l;
}

static bool row_find(const struct reg_store *s, MDB_txn *txn, struct slice key,
                     struct reg_lease *ret)
{
    MDB_val k = store_val(key), v;
    int rc = mdb_get(txn, s->dbi_leases, &k, &v);
    if (rc == MDB_NOTFOUND)
        return false;
    if (rc)
        store_doubt(s, mdb_strerror(rc));
    *ret = row_read(s, key, v);
    return true;
}

/* l->holder may lie in a page that the put reuses: a copy goes in. */
static void row_write(struct reg_store *s, const struct reg_lease *l)
{
    char holder[REG_HOLDER_BYTES_MAX];
    MDB_val k = store_val(l->key), v = {ROW_HEAD + l->holder.n, NULL};
    uint32_t flags = l->registration ? ROW_REGISTRATION : 0;
    wf_assert(l->holder.n <= sizeof(holder));
    if (l->holder.n)
        memcpy(holder, l->holder.p, l->holder.n);
    must(s, mdb_put(s->batch, s->dbi_leases, &k, &v, MDB_RESERVE));
    char *p = v.mv_data;
    memcpy(p, &l->id, 8);
    memcpy(p + 8, &l->rev, 8);
    memcpy(p + 16, &l->epoch, 8);
    memcpy(p + 24, &l->ttl_ms, 4);
    memcpy(p + 28, &l->objects, 4);
    memcpy(p + 32, &flags, 4);
    if (l->holder.n)
        memcpy(p + ROW_HEAD, holder, l->holder.n);
    uint32_t crc = row_crc(l->key, p, v.mv_size);
    memcpy(p + ROW_CRC_AT, &crc, 4);
}

static uint64_t epoch_floor(const struct reg_store *s, MDB_txn *txn)
{
    struct reg_lease l;
    return row_find(s, txn, FLOOR_KEY, &l) ? l.epoch : 0;
}

static uint64_t lease_count(const struct reg_store *s)
{
    MDB_stat st;
    must(s, mdb_stat(s->batch, s->dbi_leases, &st));
    return st.ms_entries;
}

static void changed(const struct reg_store *s, const struct reg_lease *l, bool gone)
{
    if (s->opt.on_lease)
        s->opt.on_lease(s->opt.ctx, l, gone);
}

/* What hangs on a lease. */

struct object_key {
    char bytes[OBJECT_KEY_BYTES];
    size_t n;
};

static MDB_val object_key(struct object_key *k, char tag, const uint64_t *id, struct slice object)
{
    k->n = 0;
    k->bytes[k->n++] = tag;
    for (int shift = 56; id && shift >= 0; shift -= 8)
        k->bytes[k->n++] = (char)(*id >> shift);
    if (object.n)
        memcpy(k->bytes + k->n, object.p, object.n);
    k->n += object.n;
    return (MDB_val){k->n, k->bytes};
}

static uint32_t object_crc(MDB_val k, MDB_val v)
{
    uint32_t crc = crc32c(0, k.mv_data, k.mv_size);
    return crc32c(crc, (char *)v.mv_data + 4, v.mv_size - 4);
}

static void object_put(struct reg_store *s, MDB_val k, const uint64_t *id, struct slice lease)
{
    MDB_val v = {(id ? OBJECT_HEAD : 4u) + lease.n, NULL};
    must(s, mdb_put(s->batch, s->dbi_lease_objects, &k, &v, MDB_RESERVE));
    char *p = v.mv_data;
    if (id)
        memcpy(p + 4, id, 8);
    if (lease.n)
        memcpy(p + OBJECT_HEAD, lease.p, lease.n);
    uint32_t crc = object_crc(k, v);
    memcpy(p, &crc, 4);
}

static bool object_row_ok(MDB_val k, MDB_val v, size_t least)
{
    uint32_t crc;
    if (v.mv_size < least)
        return false;
    memcpy(&crc, v.mv_data, 4);
    return crc == object_crc(k, v);
}

bool store_lease_object_row_ok(MDB_val k, MDB_val v)
{
    return object_row_ok(k, v, *(const char *)k.mv_data == 'o' ? OBJECT_HEAD : 4);
}

static void object_row_check(const struct reg_store *s, MDB_val k, MDB_val v, size_t least)
{
    if (!object_row_ok(k, v, least))
        store_doubt(s, "the checksum of what hangs on a lease is wrong");
}

static bool object_find(const struct reg_store *s, MDB_txn *txn, struct slice object,
                        uint64_t *ret_id, struct slice *ret_lease)
{
    struct object_key key;
    MDB_val k = object_key(&key, 'o', NULL, object), v;
    int rc = mdb_get(txn, s->dbi_lease_objects, &k, &v);
    if (rc == MDB_NOTFOUND)
        return false;
    must(s, rc);
    object_row_check(s, k, v, OBJECT_HEAD);
    memcpy(ret_id, (char *)v.mv_data + 4, 8);
    *ret_lease = slice_skip(store_slice(v), OBJECT_HEAD);
    wf_assert(ret_lease->n <= REG_KEY_BYTES_MAX);
    return true;
}

/* The lease that an object hangs on; its key is copied. */
static bool object_lease(struct reg_store *s, struct slice object, uint64_t *ret_id,
                         char lease[REG_KEY_BYTES_MAX], size_t *ret_n)
{
    struct slice found;
    if (!object_find(s, s->batch, object, ret_id, &found))
        return false;
    *ret_n = found.n;
    memcpy(lease, found.p, found.n);
    return true;
}

static void count_objects(struct reg_store *s, struct slice lease, int by)
{
    struct reg_lease l;
    if (!row_find(s, s->batch, lease, &l))
        return; /* its own end takes its objects along */
    wf_assert(by > 0 || l.objects > 0);
    l.objects += (uint32_t)by;
    row_write(s, &l);
}

static void detach(struct reg_store *s, struct slice object)
{
    char lease[REG_KEY_BYTES_MAX];
    struct object_key key;
    uint64_t id;
    size_t n;
    if (!object_lease(s, object, &id, lease, &n))
        return;
    MDB_val k = object_key(&key, 'o', NULL, object);
    must(s, mdb_del(s->batch, s->dbi_lease_objects, &k, NULL));
    k = object_key(&key, 'l', &id, object);
    must(s, mdb_del(s->batch, s->dbi_lease_objects, &k, NULL));
    count_objects(s, slice_mem(lease, n), -1);
}

static void attach(struct reg_store *s, struct slice object, struct slice lease)
{
    struct object_key key;
    struct reg_lease l;
    if (!row_find(s, s->batch, lease, &l) || !l.holder.n)
        return; /* ended by an earlier operation of the same request */
    uint64_t id = l.id;
    object_put(s, object_key(&key, 'o', NULL, object), &id, lease);
    object_put(s, object_key(&key, 'l', &id, object), NULL, (struct slice){0});
    count_objects(s, lease, 1);
}

static void objects_each(const struct reg_store *s, MDB_txn *txn, uint64_t id,
                         bool (*fn)(void *ctx, struct slice object), void *ctx)
{
    struct object_key key;
    MDB_cursor *cur;
    MDB_val k = object_key(&key, 'l', &id, (struct slice){0}), v;
    struct slice prefix = slice_mem(key.bytes, key.n);
    must(s, mdb_cursor_open(txn, s->dbi_lease_objects, &cur));
    int rc = mdb_cursor_get(cur, &k, &v, MDB_SET_RANGE);
    for (; !rc && slice_starts(store_slice(k), prefix);
         rc = mdb_cursor_get(cur, &k, &v, MDB_NEXT)) {
        object_row_check(s, k, v, 4);
        if (!fn(ctx, slice_skip(store_slice(k), INDEX_HEAD)))
            break;
    }
    mdb_cursor_close(cur);
    if (rc && rc != MDB_NOTFOUND)
        store_doubt(s, mdb_strerror(rc));
}

/* Rules. */

static enum err_code check_grant(const struct reg_store *s, const struct reg_grant *g, bool there,
                                 const struct reg_lease *l, size_t before)
{
    uint64_t least = (there ? l->epoch : epoch_floor(s, s->batch)) + 1;
    bool held = there && l->holder.n;
    if (!there && lease_count(s) + before >= REG_LEASES_MAX)
        return ERR_LIMIT;
    if (held && g->holder.n && !slice_eq(l->holder, g->holder))
        return ERR_CONFLICT;
    if (there && (held || !g->holder.n))
        return g->epoch == l->epoch ? ERR_NONE : ERR_CONFLICT;
    return g->epoch >= least ? ERR_NONE : ERR_CONFLICT;
}

/* Does an operation of the request before number i grant this lease? */
static bool granted_before(const struct reg_request *q, size_t i, struct slice lease)
{
    while (i-- > 0)
        if (slice_eq(q->ops[i].key, lease))
            return q->ops[i].grant && q->ops[i].grant->holder.n;
    return false;
}

static enum err_code check_attach(struct reg_store *s, const struct reg_request *q, size_t i)
{
    const struct reg_op *op = &q->ops[i];
    char now[REG_KEY_BYTES_MAX];
    struct reg_lease l;
    uint64_t id;
    size_t n;
    if (op->grant || slice_eq(op->attach, op->key)) /* leases live by themselves */
        return ERR_GONE;
    if (granted_before(q, i, op->attach))
        return i < REG_LEASE_OBJECTS_MAX ? ERR_NONE : ERR_LIMIT;
    if (!row_find(s, s->batch, op->attach, &l) || !l.holder.n)
        return ERR_GONE;
    bool same = object_lease(s, op->key, &id, now, &n) && id == l.id;
    return same || l.objects + i < REG_LEASE_OBJECTS_MAX ? ERR_NONE : ERR_LIMIT;
}

enum err_code store_lease_check(struct reg_store *s, const struct reg_request *q, size_t i,
                                uint64_t term)
{
    const struct reg_op *op = &q->ops[i];
    struct reg_lease l = {0};
    bool lease = op->grant || op->expect == REG_EXPECT_EPOCH;
    bool there = lease && row_find(s, s->batch, op->key, &l);
    enum err_code code = ERR_NONE;
    if (op->expect == REG_EXPECT_EPOCH && !MUTANT(FENCE_IGNORED) &&
        (!there || !l.holder.n || l.epoch != op->expected))
        return ERR_CONFLICT;
    if (op->expiry_term && op->expiry_term != term)
        return ERR_CONFLICT;
    if (op->grant)
        code = check_grant(s, op->grant, there, &l, i);
    if (code == ERR_NONE && op->attach.n)
        code = check_attach(s, q, i);
    return code;
}

static void grant_row(struct reg_store *s, const struct reg_op *op, reg_rev index, uint64_t id)
{
    struct reg_lease l;
    if (!row_find(s, s->batch, op->key, &l))
        l = (struct reg_lease){.key = op->key, .id = id};
    l.rev = index;
    l.holder = op->grant->holder;
    l.epoch = op->grant->epoch;
    l.ttl_ms = op->grant->ttl_ms;
    l.registration = op->grant->registration;
    row_write(s, &l);
    changed(s, &l, false);
}

static void raise_floor(struct reg_store *s, uint64_t epoch)
{
    if (epoch > epoch_floor(s, s->batch))
        row_write(s, &(struct reg_lease){.key = FLOOR_KEY, .epoch = epoch});
}

static void drop_row(struct reg_store *s, struct slice key)
{
    struct reg_lease l;
    MDB_val k = store_val(key);
    if (!row_find(s, s->batch, key, &l))
        return;
    uint64_t epoch = l.epoch;
    changed(s, &l, true);
    must(s, mdb_del(s->batch, s->dbi_leases, &k, NULL));
    raise_floor(s, epoch);
}

void store_lease_apply(struct reg_store *s, const struct reg_op *op, reg_rev index, uint32_t sub)
{
    detach(s, op->key);
    if (op->attach.n)
        attach(s, op->key, op->attach);
    if (op->grant)
        grant_row(s, op, index, index << 20 | sub);
    else if (op->del)
        drop_row(s, op->key);
}

void store_lease_same(struct reg_store *s, const struct reg_op *op)
{
    struct reg_lease l;
    if (op->grant && row_find(s, s->batch, op->key, &l))
        changed(s, &l, false);
}

struct collected {
    struct arena *arena;
    VEC(struct slice) keys;
};

static bool collect(void *ctx, struct slice object)
{
    struct collected *c = ctx;
    *vec_push(&c->keys) = arena_dup(c->arena, object);
    return true;
}

struct slice *store_lease_falls(struct reg_store *s, const struct reg_op *op, struct arena *arena,
                                size_t *ret_n)
{
    struct reg_lease l;
    struct collected c = {.arena = arena};
    bool ends = op->del || (op->grant && !op->grant->holder.n);
    *ret_n = 0;
    if (!ends || !row_find(s, s->batch, op->key, &l) || !l.objects)
        return NULL;
    objects_each(s, s->batch, l.id, collect, &c);
    struct slice *keys = ARENA_ARRAY(arena, struct slice, c.keys.n + 1);
    if (c.keys.n)
        memcpy(keys, c.keys.p, c.keys.n * sizeof(*keys));
    *ret_n = c.keys.n;
    vec_fini(&c.keys);
    return keys;
}

static void each(const struct reg_store *s, MDB_txn *txn,
                 bool (*fn)(void *ctx, const struct reg_lease *l), void *ctx)
{
    MDB_cursor *cur;
    MDB_val k, v;
    must(s, mdb_cursor_open(txn, s->dbi_leases, &cur));
    int rc = mdb_cursor_get(cur, &k, &v, MDB_FIRST);
    for (; !rc; rc = mdb_cursor_get(cur, &k, &v, MDB_NEXT)) {
        struct reg_lease l = row_read(s, store_slice(k), v);
        if (!slice_eq(l.key, FLOOR_KEY) && !fn(ctx, &l))
            break;
    }
    mdb_cursor_close(cur);
    if (rc && rc != MDB_NOTFOUND)
        store_doubt(s, mdb_strerror(rc));
}

/* Reads. */

bool reg_lease_get(struct reg_txn *txn, struct slice key, struct reg_lease *ret)
{
    return key.n > 1 && key.n <= REG_KEY_BYTES_MAX && row_find(txn->store, txn->mdb, key, ret);
}

bool reg_lease_of(struct reg_txn *txn, struct slice object, struct slice *ret_lease)
{
    uint64_t id;
    return object.n && object.n <= REG_KEY_BYTES_MAX &&
           object_find(txn->store, txn->mdb, object, &id, ret_lease);
}

uint64_t reg_lease_epoch_next(struct reg_txn *txn, struct slice key)
{
    struct reg_lease l;
    bool there = reg_lease_get(txn, key, &l);
    return (there ? l.epoch : epoch_floor(txn->store, txn->mdb)) + 1;
}

void reg_lease_scan(struct reg_txn *txn, bool (*fn)(void *ctx, const struct reg_lease *l),
                    void *ctx)
{
    each(txn->store, txn->mdb, fn, ctx);
}

void reg_lease_objects(struct reg_txn *txn, const struct reg_lease *l,
                       bool (*fn)(void *ctx, struct slice object), void *ctx)
{
    objects_each(txn->store, txn->mdb, l->id, fn, ctx);
}
