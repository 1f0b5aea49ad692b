/* All of data.mdb before LMDB is let at it: the pages (lmdb_check.h), and the checksum of each row.
 * Rows of once_by have none: each must be the other side of one of once. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/core/hash.h"
#include "registry/lmdb_check.h"
#include "registry/store_internal.h"

enum { DB_META, DB_KV, DB_HIST, DB_CLIENTS, DB_ONCE, DB_ONCE_BY, DB_LEASES, DB_LEASE_OBJECTS };

/* As store.c's dbis_open makes them. */
static const struct lmdb_check_db dbs[] = {
    [DB_META] = {.name = "meta"},
    [DB_KV] = {.name = "kv"},
    [DB_HIST] = {.name = "hist", .integer_keys = true},
    [DB_CLIENTS] = {.name = "clients", .integer_keys = true},
    [DB_ONCE] = {.name = "once"},
    [DB_ONCE_BY] = {.name = "once_by", .integer_keys = true},
    [DB_LEASES] = {.name = "leases"},
    [DB_LEASE_OBJECTS] = {.name = "lease_objects"},
};

struct verify {
    uint64_t once, once_by; /* sums of hashes of (key, id): the order does not matter */
    struct store_tally *tally;
};

static uint64_t pair_hash(struct slice key, uint64_t id)
{
    return hash_bytes_seed(key, id);
}

static bool once_by_ok(struct verify *v, MDB_val k, MDB_val value)
{
    uint64_t id;
    memcpy(&id, k.mv_data, sizeof(id));
    v->once_by += pair_hash(store_slice(value), id);
    return value.mv_size == REG_ONCE_HASH_BYTES;
}

static bool once_ok(struct verify *v, MDB_val k, MDB_val value)
{
    uint64_t id = 0;
    if (!store_once_row_ok(k, value, &id))
        return false;
    v->once += pair_hash(store_slice(k), id);
    return true;
}

static bool meta_ok(MDB_val k, MDB_val value)
{
    struct store_meta m;
    return slice_eq(store_slice(k), S("m")) && store_meta_read(value, &m);
}

static bool kv_ok(struct verify *v, struct slice key, MDB_val value)
{
    struct store_record r;
    if (!store_record_check(key, value, &r))
        return false;
    if (v->tally)
        store_tally_row(v->tally, key, r.value);
    return true;
}

static bool on_row(void *ctx, size_t db, struct slice key, struct slice value, struct err *err)
{
    struct verify *v = ctx;
    MDB_val k = store_val(key), val = store_val(value);
    bool ok = false;
    switch (db) {
    case DB_META:
        ok = meta_ok(k, val);
        break;
    case DB_KV:
        ok = kv_ok(v, key, val);
        break;
    case DB_HIST:
        ok = store_history_row_ok(k, val);
        break;
    case DB_CLIENTS:
        ok = store_client_row_ok(k, val);
        break;
    case DB_ONCE:
        ok = once_ok(v, k, val);
        break;
    case DB_ONCE_BY:
        ok = once_by_ok(v, k, val);
        break;
    case DB_LEASES:
        ok = store_lease_row_ok(k, val);
        break;
    case DB_LEASE_OBJECTS:
        ok = store_lease_object_row_ok(k, val);
        break;
    }
    return ok || err_set(err, ERR_CORRUPT, "a checksum in %s is wrong", dbs[db].name);
}

bool store_verify_image(struct slice image, bool may_be_short, struct store_tally *tally,
                        struct err *err)
{
    struct verify v = {.tally = tally};
    struct lmdb_check_options opt = {.dbs = dbs,
                                     .db_count = ARRAY_LEN(dbs),
                                     .row = on_row,
                                     .ctx = &v,
                                     .may_be_short = may_be_short};
    if (!lmdb_check(image, &opt, err))
        return false;
    return v.once == v.once_by ||
           err_set(err, ERR_CORRUPT, "the order of the remembered requests is not theirs");
}

bool store_image_map(const char *path, struct slice *ret, struct err *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        int saved = errno;
        if (fd >= 0)
            close(fd);
        return err_errno(err, saved, "store: %s", path);
    }
    void *image = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    int saved = errno;
    close(fd);
    if (image == MAP_FAILED)
        return err_errno(err, saved, "store: %s", path);
    *ret = slice_mem(image, (size_t)st.st_size);
    return true;
}

void store_image_unmap(struct slice image)
{
    if (image.n)
        munmap((void *)(uintptr_t)image.p, image.n);
}

bool store_verify(const char *path, bool may_be_short, struct err *err)
{
    struct slice image;
    if (!store_image_map(path, &image, err))
        return false;
    bool ok =
        store_verify_image(image, may_be_short, NULL, err) || err_wrap(err, "store: %s", path);
    store_image_unmap(image);
    return ok;
}
