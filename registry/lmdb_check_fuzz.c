/* A file of LMDB with any bytes of it changed: the check ends, and reads nothing outside of it. The
 * input is a list of changes (offset u24, byte to be mixed in), then nothing or the length to cut
 * to; without changes the file is good. */
#include <lmdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "base/core/mem.h"
#include "registry/lmdb_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define IMAGE_BYTES_MAX (1u << 20)

static struct {
    char bytes[IMAGE_BYTES_MAX];
    size_t n;
} good;

static void must(int rc)
{
    wf_assert(rc == 0);
}

static void put_some(MDB_env *env, uint64_t round)
{
    static char value[9000];
    MDB_txn *txn;
    MDB_dbi kv, hist;
    must(mdb_txn_begin(env, NULL, 0, &txn));
    must(mdb_dbi_open(txn, "kv", MDB_CREATE, &kv));
    must(mdb_dbi_open(txn, "hist", MDB_CREATE | MDB_INTEGERKEY, &hist));
    for (uint64_t i = 0; i < 40; i++) {
        char key[32];
        int n = snprintf(key, sizeof(key), "key of some length %02u", (unsigned)(i * 7 % 60));
        MDB_val k = {(size_t)n, key}, v = {i % 8 ? 100 : sizeof(value), value};
        if (round && i % 3 == 0)
            mdb_del(txn, kv, &k, NULL);
        else
            must(mdb_put(txn, kv, &k, &v, 0));
        uint64_t id = round << 20 | i;
        must(mdb_put(txn, hist, &(MDB_val){sizeof(id), &id}, &(MDB_val){60, value}, 0));
    }
    must(mdb_txn_commit(txn));
}

static void make_good(void)
{
    char path[] = "/tmp/weft-fuzz-lmdb-XXXXXX";
    MDB_env *env;
    int fd = mkstemp(path);
    wf_assert(fd >= 0);
    must(mdb_env_create(&env));
    must(mdb_env_set_maxdbs(env, 4));
    must(mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOSYNC | MDB_NOLOCK, 0600));
    for (uint64_t round = 0; round < 4; round++)
        put_some(env, round);
    mdb_env_close(env);
    good.n = (size_t)pread(fd, good.bytes, sizeof(good.bytes), 0);
    close(fd);
    unlink(path);
}

static bool on_row(void *ctx, size_t db, struct slice key, struct slice value, struct err *err)
{
    uint64_t *sum = ctx;
    (void)err;
    wf_assert(db < 2);
    for (size_t i = 0; i < key.n; i++)
        *sum += (unsigned char)key.p[i];
    for (size_t i = 0; i < value.n; i++)
        *sum += (unsigned char)value.p[i];
    return true;
}

static bool check(const char *bytes, size_t n, bool may_be_short)
{
    static const struct lmdb_check_db dbs[] = {{.name = "kv"},
                                               {.name = "hist", .integer_keys = true}};
    struct err err = {0};
    uint64_t sum = 0;
    bool ok = lmdb_check(
        slice_mem(bytes, n),
        &(struct lmdb_check_options){
            .dbs = dbs, .db_count = 2, .row = on_row, .ctx = &sum, .may_be_short = may_be_short},
        &err);
    wf_assert(ok || err.code == ERR_CORRUPT);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (good.n == 0) {
        make_good();
        wf_assert(check(good.bytes, good.n, false));
    }
    size_t n = good.n;
    /* Of its own size: what is read behind it is found. */
    if (size % 4 == 3)
        n = (data[size - 1] | (size_t)data[size - 2] << 8 | (size_t)data[size - 3] << 16) % (n + 1);
    char *bytes = mem_new(n + 1);
    memcpy(bytes, good.bytes, n);
    for (size_t i = 0; n && i + 4 <= size; i += 4) {
        size_t at = (data[i] | (size_t)data[i + 1] << 8 | (size_t)data[i + 2] << 16) % n;
        bytes[at] = (char)(bytes[at] ^ data[i + 3]);
    }
    char *exact = mem_try(n ? n : 1);
    memcpy(exact, bytes, n);
    check(exact, n, size % 2);
    mem_free(exact);
    mem_free(bytes);
    return 0;
}
