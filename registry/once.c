/* Requests that a client gave a key, so that a repeated one is done once: key -> what was asked and
 * answered. Equal on all replicas: what is forgotten depends on the entries alone. */
#include <string.h>

#include "base/core/assert.h"
#include "registry/store_internal.h"

/* Row of dbi once, by key: id u64, revision u64, digest 16, crc32c u32 of key and the rest, memo.
 * id = index of the entry << 20 | number in it; dbi once_by: id -> key, oldest first. */
#define ROW_HEAD 36
#define ROW_CRC_AT 32
#define ROW_SUB_BITS 20
static_assert((1u << ROW_SUB_BITS) >= REG_ENTRY_REQUESTS_MAX, "each request has an id of its own");

/* One put adds one row: the bounds are kept with room for what they were lowered by. */
#define FORGET_MAX 4

struct row {
    uint64_t id, revision;
    struct slice digest, memo;
};

static uint32_t row_crc(const void *key, const char *p, size_t n)
{
    uint32_t crc = crc32c(0, key, REG_ONCE_HASH_BYTES);
    crc = crc32c(crc, p, ROW_CRC_AT);
    return crc32c(crc, p + ROW_HEAD, n - ROW_HEAD);
}

static bool row_ok(const void *key, MDB_val v)
{
    uint32_t crc;
    if (v.mv_size < ROW_HEAD)
        return false;
    memcpy(&crc, (char *)v.mv_data + ROW_CRC_AT, 4);
    return crc == row_crc(key, v.mv_data, v.mv_size);
}

static struct row row_read(const struct reg_store *s, const void *key, MDB_val v)
{
    const char *p = v.mv_data;
    struct row r = {0};
    if (!row_ok(key, v))
        store_doubt(s, "the checksum of a remembered request is wrong");
    memcpy(&r.id, p, 8);
    memcpy(&r.revision, p + 8, 8);
    r.digest = slice_mem(p + 16, REG_ONCE_HASH_BYTES);
    r.memo = slice_mem(p + ROW_HEAD, v.mv_size - ROW_HEAD);
    return r;
}

static bool row_find(const struct reg_store *s, MDB_txn *txn, const void *key, struct row *ret)
{
    MDB_val k = {REG_ONCE_HASH_BYTES, (void *)(uintptr_t)key}, v;
    int rc = mdb_get(txn, s->dbi_once, &k, &v);
    if (rc == MDB_NOTFOUND)
        return false;
    if (rc)
        store_doubt(s, mdb_strerror(rc));
    *ret = row_read(s, key, v);
    return true;
}

static bool is_over(uint64_t id, reg_rev index)
{
    return (id >> ROW_SUB_BITS) + REG_ONCE_ENTRIES < index;
}

bool store_once_find(const struct reg_store *s, MDB_txn *txn,
                     const uint8_t key[REG_ONCE_HASH_BYTES], reg_rev index,
                     struct reg_once_answer *ret)
{
    struct row r;
    if (!row_find(s, txn, key, &r) || is_over(r.id, index))
        return false;
    memcpy(ret->digest, r.digest.p, sizeof(ret->digest));
    ret->revision = r.revision;
    ret->memo = r.memo;
    return true;
}

static void must(const struct reg_store *s, int rc)
{
    if (rc)
        store_die(s, "remembered requests", rc);
}

static void forget(struct reg_store *s, uint64_t id, const void *key)
{
    must(s, mdb_del(s->batch, s->dbi_once, &(MDB_val){REG_ONCE_HASH_BYTES, (void *)(uintptr_t)key},
                    NULL));
    must(s, mdb_del(s->batch, s->dbi_once_by, &(MDB_val){sizeof(id), &id}, NULL));
}

/* The oldest, when it is over or there is one too many. */
static bool forget_oldest(struct reg_store *s, reg_rev index)
{
    MDB_cursor *cur;
    MDB_stat st;
    MDB_val k, v;
    uint64_t id = 0;
    uint8_t key[REG_ONCE_HASH_BYTES] = {0};
    must(s, mdb_stat(s->batch, s->dbi_once_by, &st));
    if (st.ms_entries == 0)
        return false;
    must(s, mdb_cursor_open(s->batch, s->dbi_once_by, &cur));
    int rc = mdb_cursor_get(cur, &k, &v, MDB_FIRST);
    bool sound = !rc && k.mv_size == sizeof(id) && v.mv_size == sizeof(key);
    if (sound) {
        memcpy(&id, k.mv_data, sizeof(id));
        memcpy(key, v.mv_data, sizeof(key));
    }
    mdb_cursor_close(cur);
    must(s, rc);
    if (!sound)
        store_doubt(s, "a remembered request has no key");
    if (st.ms_entries <= REG_ONCE_MAX && !is_over(id, index))
        return false;
    struct row r; /* has the checksum of both */
    if (!row_find(s, s->batch, key, &r) || r.id != id)
        store_doubt(s, "the order of the remembered requests is not theirs");
    forget(s, id, key);
    return true;
}

static void row_write(struct reg_store *s, const struct reg_once *once, const struct row *r)
{
    MDB_val k = {sizeof(once->key), (void *)(uintptr_t)once->key};
    MDB_val v = {ROW_HEAD + r->memo.n, NULL};
    must(s, mdb_put(s->batch, s->dbi_once, &k, &v, MDB_RESERVE));
    char *p = v.mv_data;
    memcpy(p, &r->id, 8);
    memcpy(p + 8, &r->revision, 8);
    memcpy(p + 16, r->digest.p, REG_ONCE_HASH_BYTES);
    if (r->memo.n)
        memcpy(p + ROW_HEAD, r->memo.p, r->memo.n);
    uint32_t crc = row_crc(once->key, p, v.mv_size);
    memcpy(p + ROW_CRC_AT, &crc, 4);
}

void store_once_put(struct reg_store *s, const struct reg_once *once, reg_rev index, uint32_t sub,
                    reg_rev revision)
{
    struct row old, r = {.id = index << ROW_SUB_BITS | sub,
                         .revision = revision,
                         .digest = slice_mem(once->digest, sizeof(once->digest)),
                         .memo = once->memo};
    if (row_find(s, s->batch, once->key, &old))
        forget(s, old.id, once->key);
    row_write(s, once, &r);
    must(s, mdb_put(s->batch, s->dbi_once_by, &(MDB_val){sizeof(r.id), &r.id},
                    &(MDB_val){sizeof(once->key), (void *)(uintptr_t)once->key}, MDB_APPEND));
    for (int i = 0; i < FORGET_MAX; i++)
        if (!forget_oldest(s, index))
            break;
}

bool reg_once_get(struct reg_txn *txn, const uint8_t key[REG_ONCE_HASH_BYTES],
                  struct reg_once_answer *ret)
{
    return store_once_find(txn->store, txn->mdb, key, txn->revision, ret);
}

bool store_once_row_ok(MDB_val k, MDB_val v, uint64_t *ret_id)
{
    if (k.mv_size != REG_ONCE_HASH_BYTES || !row_ok(k.mv_data, v))
        return false;
    memcpy(ret_id, v.mv_data, sizeof(*ret_id));
    return true;
}
