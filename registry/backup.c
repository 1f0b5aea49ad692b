#include "registry/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/env/env.h"
#include "registry/store_internal.h"

#define FD_PATH_BYTES 64

/* A file without a name: it is gone with the process, however that ends. */
static int nameless(const char *dir, struct err *err)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/backup-XXXXXX", dir);
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0 || unlink(path) != 0) {
        err_errno(err, errno, "snapshot: %s", path);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

static bool copy(struct reg_store *s, int fd, struct err *err)
{
    pthread_rwlock_rdlock(&s->map_lock);
    int rc = mdb_env_copyfd2(s->env, fd, 0);
    pthread_rwlock_unlock(&s->map_lock);
    if (rc == ENOSPC || rc == EIO) /* a full disk is EIO to LMDB */
        return err_set(err, ERR_NO_ROOM, "snapshot: %s: no room for a copy: %s", s->dir,
                       mdb_strerror(rc));
    return !rc || err_set(err, ERR_IO, "snapshot: %s: %s", s->dir, mdb_strerror(rc));
}

/* What is in it. */

static struct slice kind_of(struct slice key)
{
    size_t at = slice_find(key, '/');
    return slice_sub(key, 0, at == SIZE_MAX ? key.n : at);
}

static bool count_one(struct snapshot_head *h, struct slice key, struct slice value)
{
    struct slice kind = kind_of(key);
    struct snapshot_kind *k = h->kind_count ? &h->kinds[h->kind_count - 1] : NULL;
    if (!k || !slice_eq(slice_of(k->name), kind)) { /* keys come in their order */
        if (h->kind_count == SNAPSHOT_HEAD_KINDS_MAX)
            return false;
        k = &h->kinds[h->kind_count++];
        if (!slice_cstr(slice_sub(kind, 0, sizeof(k->name) - 1), k->name, sizeof(k->name)))
            return false;
    }
    k->objects++;
    k->bytes += value.n;
    return true;
}

static int count_all(MDB_txn *txn, struct snapshot_head *h)
{
    MDB_dbi dbi;
    MDB_cursor *cur = NULL;
    MDB_val k, v;
    struct store_record r;
    int rc = mdb_dbi_open(txn, "kv", 0, &dbi);
    if (!rc)
        rc = mdb_cursor_open(txn, dbi, &cur);
    for (rc = rc ? rc : mdb_cursor_get(cur, &k, &v, MDB_FIRST); !rc;
         rc = mdb_cursor_get(cur, &k, &v, MDB_NEXT))
        if (!store_record_check(store_slice(k), v, &r) || !count_one(h, store_slice(k), r.value))
            rc = MDB_CORRUPTED;
    if (cur)
        mdb_cursor_close(cur);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int meta_of(MDB_txn *txn, struct snapshot_head *h)
{
    MDB_dbi dbi;
    MDB_val v;
    struct store_meta m;
    int rc = mdb_dbi_open(txn, "meta", 0, &dbi);
    if (!rc)
        rc = mdb_get(txn, dbi, &(MDB_val){1, "m"}, &v);
    if (rc || !store_meta_read(v, &m))
        return rc ? rc : MDB_CORRUPTED;
    h->genesis = m.genesis;
    h->index = m.applied_index;
    h->term = m.applied_term;
    h->revision = m.revision;
    h->compacted = m.compacted;
    h->state_hash = m.state_hash;
    return 0;
}

static bool describe(int fd, struct snapshot_head *h, struct err *err)
{
    char path[FD_PATH_BYTES];
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int rc = mdb_env_create(&env);
    if (!rc)
        rc = mdb_env_set_maxdbs(env, 8);
    if (!rc)
        rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0600);
    if (!rc)
        rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
    if (!rc)
        rc = meta_of(txn, h);
    if (!rc)
        rc = count_all(txn, h);
    if (txn)
        mdb_txn_abort(txn);
    if (env)
        mdb_env_close(env);
    return !rc || err_set(err, ERR_CORRUPT, "snapshot: the copy: %s", mdb_strerror(rc));
}

bool reg_backup_take(struct reg_store *s, struct reg_backup *ret, struct err *err)
{
    struct reg_checkpoint c = {0};
    struct snapshot_head h = {.wall_ms = env_wall_ms(s->opt.env)};
    int fd = nameless(s->dir, err);
    if (fd < 0)
        return false;
    bool ok = copy(s, fd, err) && describe(fd, &h, err) && lseek(fd, 0, SEEK_SET) == 0 &&
              store_digest(fd, "copy", &c, err) && lseek(fd, 0, SEEK_SET) == 0;
    if (!ok) {
        close(fd);
        return false;
    }
    h.image_bytes = c.bytes;
    memcpy(h.sha256, c.sha256, sizeof(h.sha256));
    *ret = (struct reg_backup){.fd = fd, .head = h};
    return true;
}

void reg_backup_fini(struct reg_backup *b)
{
    if (b->fd > 0)
        close(b->fd);
    *b = (struct reg_backup){0};
}
