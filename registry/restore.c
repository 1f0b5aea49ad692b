#include "registry/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "registry/node_impl.h"
#include "registry/raft/conf.h"
#include "registry/raft/peer_tls.h"
#include "registry/store_internal.h"

#define CHUNK_BYTES (1u << 20)
#define PATH_BYTES SNAPSHOT_PATH_BYTES

reg_rev reg_restore_revision(uint64_t index, uint64_t above)
{
    uint64_t least = (index > above ? index : above) + RESTORE_REVISION_STEP / 2;
    uint64_t next = (least / RESTORE_REVISION_STEP + 1) * RESTORE_REVISION_STEP;
    return least < RESTORE_REVISION_MAX && next < RESTORE_REVISION_MAX ? next : 0;
}

/* The file. */

static bool read_whole(int fd, char *dst, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t got = read(fd, dst + at, n - at);
        if (got <= 0)
            return false;
        at += (size_t)got;
    }
    return true;
}

static bool write_whole(int fd, const char *p, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t put = write(fd, p + at, n - at);
        if (put <= 0)
            return false;
        at += (size_t)put;
    }
    return true;
}

static bool head_read(int fd, struct snapshot_head *ret, struct err *err)
{
    char *bytes = mem_new(SNAPSHOT_HEAD_BYTES_MAX);
    size_t n = 0;
    bool ok = read_whole(fd, bytes, SNAPSHOT_HEAD_BYTES_MIN);
    if (!ok)
        err_set(err, ERR_INVALID, "is no snapshot of weft: it is too short");
    ok = ok && snapshot_head_bytes(slice_mem(bytes, SNAPSHOT_HEAD_BYTES_MIN), &n, err);
    if (ok && !read_whole(fd, bytes + SNAPSHOT_HEAD_BYTES_MIN, n - SNAPSHOT_HEAD_BYTES_MIN))
        ok = err_set(err, ERR_CORRUPT, "is cut off in its head");
    ok = ok && snapshot_head_decode(slice_mem(bytes, n), ret, err);
    mem_free(bytes);
    return ok;
}

/* Copies n bytes and hashes them on the way. */
static bool image_copy(int in, int out, uint64_t n, EVP_MD_CTX *md, struct err *err)
{
    char *chunk = mem_new(CHUNK_BYTES);
    bool ok = true;
    for (uint64_t left = n; ok && left;) {
        size_t part = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        if (!read_whole(in, chunk, part))
            ok = err_set(err, ERR_CORRUPT, "is cut off: %llu bytes of %llu are missing",
                         (unsigned long long)left, (unsigned long long)n);
        else if (!write_whole(out, chunk, part))
            ok = err_errno(err, errno, "its copy");
        else
            ok = EVP_DigestUpdate(md, chunk, part) == 1;
        left -= part;
    }
    char more;
    if (ok && read(in, &more, 1) != 0)
        ok = err_set(err, ERR_CORRUPT, "is damaged: there are bytes behind its end");
    mem_free(chunk);
    return ok;
}

static bool image_take(int in, const char *to, const struct snapshot_head *h, struct err *err)
{
    unsigned char sha[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    int out = open(to, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (out < 0)
        return err_errno(err, errno, "%s", to);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
              image_copy(in, out, h->image_bytes, md, err) &&
              EVP_DigestFinal_ex(md, sha, &len) == 1;
    if (ok && memcmp(sha, h->sha256, sizeof(h->sha256)) != 0)
        ok = err_set(err, ERR_CORRUPT, "is damaged: its SHA-256 is not what its head says");
    EVP_MD_CTX_free(md);
    close(out);
    return ok;
}

/* The image becomes the first state of the new incarnation. */

static uint64_t new_genesis(const struct snapshot_head *h, reg_rev revision)
{
    uint64_t seed = h->genesis ^ hash_u64(revision);
    return hash_bytes_seed(slice_mem(h->sha256, sizeof(h->sha256)), seed) | 1;
}

static int drop(MDB_txn *txn, const char *name, unsigned flags)
{
    MDB_dbi dbi;
    int rc = mdb_dbi_open(txn, name, MDB_CREATE | flags, &dbi);
    return rc ? rc : mdb_drop(txn, dbi, 0);
}

/* Objects stay as they are. The history, the answers to nodes that are no more, and the keys of
 * requests, which count from an index, go. */
static int image_change(MDB_txn *txn, const struct reg_restored *r, struct versions reads,
                        struct err *err)
{
    MDB_dbi dbi;
    MDB_val v;
    struct store_meta m;
    int rc = mdb_dbi_open(txn, "meta", 0, &dbi);
    if (!rc)
        rc = mdb_get(txn, dbi, &(MDB_val){1, "m"}, &v);
    if (rc || !store_meta_read(v, &m) || m.schema != STORE_SCHEMA)
        return rc ? rc : MDB_VERSION_MISMATCH;
    if (!version_fits(reads, store_meta_version(&m), S("this program"), err))
        return MDB_INCOMPATIBLE;
    m.applied_index = m.revision = r->revision;
    m.compacted = r->revision - 1;
    m.applied_term = r->term;
    m.genesis = new_genesis(&r->head, r->revision);
    store_meta_seal(&m);
    rc = mdb_put(txn, dbi, &(MDB_val){1, "m"}, &(MDB_val){sizeof(m), &m}, 0);
    if (!rc)
        rc = drop(txn, "hist", MDB_INTEGERKEY);
    if (!rc)
        rc = drop(txn, "clients", MDB_INTEGERKEY);
    if (!rc)
        rc = drop(txn, "once", 0);
    return rc ? rc : drop(txn, "once_by", MDB_INTEGERKEY);
}

static bool image_begin(const char *path, const struct reg_restored *r, struct versions reads,
                        struct err *err)
{
    struct err why = {0};
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    int rc = mdb_env_create(&env);
    if (!rc)
        rc = mdb_env_set_maxdbs(env, 8);
    if (!rc)
        rc = mdb_env_set_mapsize(env, r->head.image_bytes * 2 + STORE_MAP_ROOM_BYTES);
    if (!rc)
        rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
    if (!rc)
        rc = mdb_txn_begin(env, NULL, 0, &txn);
    if (!rc)
        rc = image_change(txn, r, versions_or_all(reads), &why);
    if (!rc) {
        rc = mdb_txn_commit(txn);
        txn = NULL;
    }
    if (txn)
        mdb_txn_abort(txn);
    if (env)
        mdb_env_close(env);
    if (why.code)
        return err_set(err, why.code, "%s", why.msg);
    return !rc || err_set(err, rc == ENOSPC ? ERR_IO : ERR_CORRUPT, "%s", mdb_strerror(rc));
}

/* The directory. */

static void on_data(void *ctx, const char *name)
{
    char *found = ctx;
    struct slice s = slice_of(name);
    if (!found[0] && node_is_data(s))
        slice_cstr(s, found, NAME_MAX + 1);
}

static bool dir_is_free(struct env *env, const char *dir, struct err *err)
{
    char found[NAME_MAX + 1] = "";
    if (!env_dir_list(env, dir, on_data, found, err))
        return false;
    return !found[0] ||
           err_set(err, ERR_EXISTS, "%s holds data of a node (%s): a restore needs an empty one",
                   dir, found);
}

static bool cluster_of(struct env *env, const struct reg_node_options *o, uint64_t *ret,
                       struct err *err)
{
    struct peer_tls *tls = NULL;
    if (o->peer_tls_dir && !(tls = peer_tls_open(env, o->peer_tls_dir, err)))
        return false;
    *ret = tls ? peer_tls_self(tls)->cluster : node_cluster_id(o);
    bool ok = !tls || peer_tls_self(tls)->node == o->id ||
              err_set(err, ERR_INVALID, "%s has the certificate of another node", o->peer_tls_dir);
    peer_tls_close(tls);
    return ok;
}

/* An empty log; the start puts it behind the checkpoint. */
static bool log_make(const struct reg_restore_options *o, uint64_t cluster, struct err *err)
{
    char path[PATH_BYTES];
    struct log_contents c = {0};
    snprintf(path, sizeof(path), "%s/log", o->node->dir);
    struct log *log = log_open(&(struct log_options){.env = o->env,
                                                     .dir = path,
                                                     .cluster = cluster,
                                                     .node = o->node->id,
                                                     .segment_bytes = o->node->segment_bytes},
                               &c, err);
    log_contents_fini(&c);
    log_close(log);
    return log != NULL;
}

static bool manifest_make(const struct reg_restore_options *o, const struct reg_restored *r,
                          const struct snapshot_file *f, struct err *err)
{
    struct snapshot_manifest m = {
        .index = r->revision, .term = r->term, .conf_index = r->revision, .file = *f};
    int rc = 0;
    raft_configuration_init(&m.conf);
    for (size_t i = 0; rc == 0 && i < o->node->member_count; i++) {
        const struct reg_member *from = &o->node->members[i];
        struct peer_member to = {.id = from->id, .addr = from->addr};
        char text[CONF_TEXT];
        snprintf(to.name, sizeof(to.name), "%.*s", (int)sizeof(to.name) - 1, from->name);
        rc = raft_configuration_add(&m.conf, to.id, conf_member_format(&to, text), RAFT_VOTER);
    }
    bool ok = (rc == 0 || err_set(err, ERR_INVALID, "members: %s", raft_strerror(rc))) &&
              snapshot_manifest_store(o->env, o->node->dir, SNAPSHOT_NEWEST, &m, err);
    snapshot_manifest_fini(&m);
    return ok;
}

/* Term and vote come last: without them the rest is no node (raft_io.c, contents_fit). */
static bool dir_make(const struct reg_restore_options *o, const struct reg_restored *r,
                     const char *image, struct err *err)
{
    char path[PATH_BYTES];
    struct reg_checkpoint c = {0};
    struct meta meta = {.node = o->node->id, .term = r->term, .started = 1};
    int fd = open(image, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, "%s", image);
    bool ok = store_digest(fd, image, &c, err) &&
              (fsync(fd) == 0 || err_errno(err, errno, "%s: sync", image));
    close(fd);
    struct snapshot_file f = {.index = r->revision, .term = r->term, .bytes = c.bytes};
    memcpy(f.sha256, c.sha256, sizeof(f.sha256));
    env_random(o->env, &meta.incarnation, sizeof(meta.incarnation));
    return ok && cluster_of(o->env, o->node, &meta.cluster, err) &&
           log_make(o, meta.cluster, err) &&
           env_file_rename(o->env, image,
                           snapshot_file_path(o->node->dir, f.index, snapshot_file_tag(&f), path),
                           err) &&
           env_dir_sync(o->env, o->node->dir, err) && manifest_make(o, r, &f, err) &&
           meta_store(o->env, o->node->dir, &meta, err);
}

/* What a failed restore leaves: it was empty before. */
static void dir_clear(const struct reg_restore_options *o)
{
    char path[PATH_BYTES];
    struct err err = {0};
    const char *names[] = {"snapshot", "log/0000000000000001.log", "log/spare", "log/end"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", o->node->dir, names[i]);
        env_file_remove(o->env, path, &err);
    }
    snprintf(path, sizeof(path), "%s/log", o->node->dir);
    rmdir(path);
    snapshot_sweep(o->env, o->node->dir, NULL, &err);
}

static bool revision_begin(const struct reg_restore_options *o, struct reg_restored *r,
                           struct err *err)
{
    r->revision = reg_restore_revision(r->head.index, o->above);
    r->term = (r->head.term / RESTORE_TERM_STEP + 1) * RESTORE_TERM_STEP;
    if (!r->revision)
        return err_set(err, ERR_LIMIT, "no revision is left above %llu",
                       (unsigned long long)(o->above > r->head.index ? o->above : r->head.index));
    return true;
}

static bool restore_from(const struct reg_restore_options *o, int in, struct reg_restored *r,
                         struct err *err)
{
    char image[PATH_BYTES];
    snapshot_temp_path(o->node->dir, image);
    bool ok =
        (head_read(in, &r->head, err) && revision_begin(o, r, err) &&
         image_take(in, image, &r->head, err) && image_begin(image, r, o->node->reads, err)) ||
        err_wrap(err, "%s", o->from);
    ok = ok && dir_make(o, r, image, err);
    if (!ok)
        dir_clear(o);
    return ok;
}

bool reg_restore(const struct reg_restore_options *o, struct reg_restored *ret, struct err *err)
{
    char path[PATH_BYTES];
    struct reg_restored *r = MEM_NEW(struct reg_restored); /* its head is large */
    bool ok = false;
    int in = open(o->from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        err_errno(err, errno, "%s", o->from);
    snprintf(path, sizeof(path), "%s/lock", o->node->dir);
    struct env_lock *lock = NULL;
    if (in >= 0 && env_dir_make(o->env, o->node->dir, err) &&
        (lock = env_lock_take(o->env, path, err)))
        ok = dir_is_free(o->env, o->node->dir, err) && restore_from(o, in, r, err);
    env_lock_release(lock);
    if (in >= 0)
        close(in);
    if (ok)
        *ret = *r;
    mem_free(r);
    return ok;
}
