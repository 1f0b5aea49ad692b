/* Checkpoints: whole images of the LMDB file, named by their hash. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "registry/store_internal.h"

#define HASH_CHUNK (64u << 10)

bool store_digest(int fd, const char *path, struct reg_checkpoint *ret, struct err *err)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    char *chunk = mem_new(HASH_CHUNK);
    ssize_t n = 0;
    unsigned len = 0;
    ret->bytes = 0;
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
    while (ok && (n = read(fd, chunk, HASH_CHUNK)) > 0) {
        ok = EVP_DigestUpdate(md, chunk, (size_t)n) == 1;
        ret->bytes += (uint64_t)n;
    }
    ok = ok && n == 0 && EVP_DigestFinal_ex(md, ret->sha256, &len) == 1 &&
         len == sizeof(ret->sha256);
    int saved = errno;
    EVP_MD_CTX_free(md);
    mem_free(chunk);
    return ok ? true : err_errno(err, saved, "checkpoint %s: read", path);
}

/* SHA-256 and length of a file; optionally synced. */
static bool file_digest(const char *path, bool sync, struct reg_checkpoint *ret, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return err_set(err, ERR_CORRUPT, "checkpoint %s is gone", path);
    if (fd < 0)
        return err_errno(err, errno, "checkpoint %s", path);
    bool ok = store_digest(fd, path, ret, err);
    if (ok && sync && fsync(fd) != 0)
        ok = err_errno(err, errno, "checkpoint %s: sync", path);
    close(fd);
    return ok;
}

/* Index and term of what is in the image, from the image itself. */
static bool image_meta(const char *path, struct store_meta *ret, struct err *err)
{
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    MDB_dbi dbi;
    MDB_val v;
    int rc = mdb_env_create(&env);
    if (!rc)
        rc = mdb_env_set_maxdbs(env, 8);
    if (!rc)
        rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0600);
    if (!rc)
        rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
    if (!rc)
        rc = mdb_dbi_open(txn, "meta", 0, &dbi);
    if (!rc)
        rc = mdb_get(txn, dbi, &(MDB_val){1, "m"}, &v);
    if (!rc && !store_meta_read(v, ret))
        rc = MDB_CORRUPTED;
    if (txn)
        mdb_txn_abort(txn);
    if (env)
        mdb_env_close(env);
    return rc ? err_set(err, ERR_CORRUPT, "checkpoint %s: %s", path, mdb_strerror(rc)) : true;
}

bool reg_store_checkpoint(struct reg_store *s, const char *path, struct reg_checkpoint *ret,
                          struct err *err)
{
    struct store_meta meta;
    struct reg_checkpoint c = {0};
    if (unlink(path) != 0 && errno != ENOENT)
        return err_errno(err, errno, "checkpoint %s", path);
    pthread_rwlock_rdlock(&s->map_lock);
    int rc = mdb_env_copy2(s->env, path, 0);
    pthread_rwlock_unlock(&s->map_lock);
    if (rc) {
        unlink(path); /* what there is of it may be what fills the disk */
        return err_set(err, ERR_IO, "checkpoint %s: %s", path, mdb_strerror(rc));
    }
    /* What is damaged would be copied with its damage, to the peers too, and the log that could
     * make it anew would be gone. */
    if (!store_verify(path, true, err)) {
        if (err->code == ERR_CORRUPT)
            store_doubt(s, err->msg);
        return false;
    }
    if (!image_meta(path, &meta, err) || !file_digest(path, true, &c, err))
        return false;
    c.index = meta.applied_index;
    c.term = meta.applied_term;
    *ret = c;
    return true;
}

bool reg_checkpoint_verify(const char *path, const struct reg_checkpoint *c, struct err *err)
{
    struct reg_checkpoint have = {0};
    struct store_meta meta;
    if (!file_digest(path, false, &have, err))
        return false;
    if (have.bytes != c->bytes || memcmp(have.sha256, c->sha256, sizeof(c->sha256)) != 0)
        return err_set(err, ERR_CORRUPT, "checkpoint %s: hash differs from its manifest", path);
    if (!image_meta(path, &meta, err))
        return false;
    if (meta.applied_index != c->index)
        return err_set(err, ERR_CORRUPT, "checkpoint %s: holds index %llu, its manifest says %llu",
                       path, (unsigned long long)meta.applied_index, (unsigned long long)c->index);
    return true;
}

static bool file_copy(const char *from, const char *to, struct err *err)
{
    struct stat st;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    bool ok = in >= 0 && out >= 0 && fstat(in, &st) == 0;
    for (off_t left = ok ? st.st_size : 0; ok && left > 0;) {
        ssize_t n = sendfile(out, in, NULL, (size_t)left);
        ok = n > 0;
        left -= n;
    }
    ok = ok && fsync(out) == 0;
    int saved = errno;
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    return ok ? true : err_errno(err, saved, "checkpoint %s: copy to %s", from, to);
}

bool reg_store_restore(struct reg_store *s, const char *path, const struct reg_checkpoint *c,
                       struct err *err)
{
    char data[4096], fresh[4096];
    struct store_meta meta;
    wf_assert(!s->batch);
    if (!reg_checkpoint_verify(path, c, err) || !image_meta(path, &meta, err))
        return false;
    if (!version_fits(s->opt.reads, store_meta_version(&meta), S("this program"), err))
        return err_wrap(err, "checkpoint %s", path);
    snprintf(data, sizeof(data), "%s/data.mdb", s->dir);
    snprintf(fresh, sizeof(fresh), "%s/data.mdb.new", s->dir);
    if (!file_copy(path, fresh, err))
        return false;
    pthread_rwlock_wrlock(&s->map_lock);
    store_map_close(s);
    bool ok = rename(fresh, data) == 0;
    if (!ok)
        err_errno(err, errno, "store %s: install checkpoint", s->dir);
    /* An image may be larger than the map was. */
    while (s->opt.map_bytes < c->bytes * 2)
        s->opt.map_bytes *= 2;
    ok = store_map_open(s, STORE_PROVED, err) && ok && store_clients_load(s, err) &&
         store_quota_load(s, err);
    pthread_rwlock_unlock(&s->map_lock);
    if (ok)
        store_notify_all(s);
    return ok;
}
