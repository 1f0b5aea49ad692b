#include "registry/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "base/core/mutant.h"
#include "base/env/env.h"
#include "registry/store_internal.h"

/* Records. */

static uint32_t record_crc(struct slice key, const char *head, struct slice value)
{
    uint32_t crc = crc32c(0, key.p, key.n);
    crc = crc32c(crc, head, 24);
    return crc32c(crc, value.p, value.n);
}

void store_record_write(char *dst, struct slice key, const struct store_record *r)
{
    memcpy(dst, &r->create_rev, 8);
    memcpy(dst + 8, &r->mod_rev, 8);
    memcpy(dst + 16, &r->version, 8);
    uint32_t crc = record_crc(key, dst, r->value);
    memcpy(dst + 24, &crc, 4);
    memcpy(dst + STORE_RECORD_HEAD, r->value.p, r->value.n);
}

bool store_record_check(struct slice key, MDB_val v, struct store_record *ret)
{
    const char *p = v.mv_data;
    if (v.mv_size < STORE_RECORD_HEAD)
        return false;
    struct store_record r = {.value = {p + STORE_RECORD_HEAD, v.mv_size - STORE_RECORD_HEAD}};
    uint32_t crc;
    memcpy(&r.create_rev, p, 8);
    memcpy(&r.mod_rev, p + 8, 8);
    memcpy(&r.version, p + 16, 8);
    memcpy(&crc, p + 24, 4);
    *ret = r;
    return crc == record_crc(key, p, r.value);
}

struct store_record store_record_read(const struct reg_store *s, struct slice key, MDB_val v)
{
    struct store_record r;
    if (!store_record_check(key, v, &r))
        store_doubt(s, "a record's checksum is wrong");
    return r;
}

/* The file and its marks. */

#define MARK_BYTES_MAX 128

static void store_path(const struct reg_store *s, const char *name, char *dst, size_t n)
{
    int len = snprintf(dst, n, "%s/%s", s->dir, name);
    wf_assert(len > 0 && (size_t)len < n);
}

/* "open <boot id>" while a process has the store, "clean" after a proper close; set aside while it
 * is being opened. In the directory for good before the file changes: an old mark that came back
 * with a power cut would vouch for a file that is torn. */
static bool mark_write(const struct reg_store *s, bool clean, struct err *err)
{
    char path[4096], text[80], boot[ENV_BOOT_ID_BYTES];
    store_path(s, "mark", path, sizeof(path));
    env_boot_id(s->opt.env, boot);
    if (clean)
        snprintf(text, sizeof(text), "clean\n");
    else
        snprintf(text, sizeof(text), "open %s %u\n", boot, s->unclean);
    return env_file_store(s->opt.env, path, slice_of(text), err) || err_wrap(err, "store's mark");
}

static bool mark_rename(const struct reg_store *s, const char *from, const char *to,
                        struct err *err)
{
    char old[4096], new[4096];
    struct err e = {0};
    store_path(s, from, old, sizeof(old));
    store_path(s, to, new, sizeof(new));
    if (!env_file_rename(s->opt.env, old, new, &e))
        return e.code == ERR_NOT_FOUND || err_set(err, e.code, "store's mark: %s", e.msg);
    return env_dir_sync(s->opt.env, s->dir, err);
}

/* Damage may end the process while it opens and verifies the file. Without a mark meanwhile, the
 * next start rebuilds instead of ending again. */
static bool mark_set_aside(const struct reg_store *s, struct err *err)
{
    return mark_rename(s, "mark", "mark.opening", err);
}

/* It was not the file's fault. */
static void mark_put_back(const struct reg_store *s)
{
    struct err err = {0};
    mark_rename(s, "mark.opening", "mark", &err);
}

/* Is it there? What cannot be read counts as there. */
static bool mark_read(const struct reg_store *s, const char *name, struct buf *text)
{
    char path[4096];
    struct err err = {0};
    store_path(s, name, path, sizeof(path));
    return env_file_load(s->opt.env, path, MARK_BYTES_MAX, text, &err) || err.code != ERR_NOT_FOUND;
}

/* "open <boot id> N\n" of this start of the machine: the process ended for the N+1st time. */
static bool mark_is_open(struct reg_store *s, struct slice text)
{
    char open[80], boot[ENV_BOOT_ID_BYTES];
    env_boot_id(s->opt.env, boot);
    for (unsigned n = 0; boot[0] && n < STORE_UNCLEAN_MAX; n++) {
        snprintf(open, sizeof(open), "open %s %u\n", boot, n);
        if (!slice_eq(text, slice_of(open)))
            continue;
        s->unclean = n + 1;
        return true;
    }
    return false;
}

static bool doubted(const struct reg_store *s)
{
    struct buf doubt = {0};
    bool there = mark_read(s, "doubt", &doubt);
    buf_fini(&doubt);
    return there;
}

static bool mark_trusted(struct reg_store *s)
{
    struct buf mark = {0};
    mark_read(s, "mark", &mark);
    struct slice text = buf_slice(&mark);
    bool trusted =
        MUTANT(TRUST_TORN_STORE) || slice_eq(text, S("clean\n")) || mark_is_open(s, text);
    buf_fini(&mark);
    return trusted;
}

void store_settle(struct reg_store *s)
{
    struct err err = {0};
    if (s->unclean == 0 || ++s->commits < STORE_SETTLED_COMMITS)
        return;
    s->unclean = s->commits = 0;
    mark_write(s, false, &err); /* without it the next start may rebuild: slower, not wrong */
}

void store_doubt(const struct reg_store *s, const char *what)
{
    char path[4096];
    struct err err = {0};
    store_path(s, "doubt", path, sizeof(path));
    env_file_store(s->opt.env, path, S("doubt\n"),
                   &err); /* the process ends, whatever becomes of it */
    wf_die("store %s: %s; start again: it is rebuilt from checkpoint and log", s->dir, what);
}

static bool is_damage(int rc)
{
    switch (rc) {
    case MDB_CORRUPTED:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_PAGE_NOTFOUND:
    case MDB_PANIC:
    /* What our own calls cannot give, and pages that are not what they were do. */
    case MDB_BAD_TXN:
    case MDB_BAD_VALSIZE:
    case MDB_BAD_DBI:
    case MDB_INCOMPATIBLE:
    case MDB_CURSOR_FULL:
    case MDB_DBS_FULL:
        return true;
    default:
        return false;
    }
}

void store_die(const struct reg_store *s, const char *what, int rc)
{
    char room[64] = "";
    struct statvfs fs;
    if (is_damage(rc))
        store_doubt(s, mdb_strerror(rc));
    if ((rc == EIO || rc == ENOSPC) && statvfs(s->dir, &fs) == 0)
        snprintf(room, sizeof(room), ", with %llu MiB free there",
                 (unsigned long long)fs.f_bavail * fs.f_frsize >> 20);
    wf_die("store %s: %s: %s%s: this node stops", s->dir, what, mdb_strerror(rc), room);
}

bool reg_store_discard(struct env *env, const char *dir, struct err *err)
{
    static const char *const names[] = {"data.mdb", "data.mdb-lock", "mark", "mark.opening",
                                        "doubt"};
    char path[4096];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct err e = {0};
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        if (!env_file_remove(env, path, &e) && e.code != ERR_NOT_FOUND)
            return err_set(err, e.code, "store: %s", e.msg);
    }
    return true;
}

/* Open and close. */

static bool lmdb_err(struct err *err, const struct reg_store *s, const char *what, int rc)
{
    return err_set(err, is_damage(rc) ? ERR_CORRUPT : ERR_IO, "store %s: %s: %s", s->dir, what,
                   mdb_strerror(rc));
}

static int dbis_open(struct reg_store *s, MDB_txn *txn)
{
    int rc = mdb_dbi_open(txn, "meta", MDB_CREATE, &s->dbi_meta);
    if (!rc)
        rc = mdb_dbi_open(txn, "kv", MDB_CREATE, &s->dbi_kv);
    if (!rc)
        rc = mdb_dbi_open(txn, "hist", MDB_CREATE | MDB_INTEGERKEY, &s->dbi_hist);
    if (!rc)
        rc = mdb_dbi_open(txn, "clients", MDB_CREATE | MDB_INTEGERKEY, &s->dbi_clients);
    if (!rc)
        rc = mdb_dbi_open(txn, "once", MDB_CREATE, &s->dbi_once);
    if (!rc)
        rc = mdb_dbi_open(txn, "once_by", MDB_CREATE | MDB_INTEGERKEY, &s->dbi_once_by);
    if (!rc)
        rc = mdb_dbi_open(txn, "leases", MDB_CREATE, &s->dbi_leases);
    if (!rc)
        rc = mdb_dbi_open(txn, "lease_objects", MDB_CREATE, &s->dbi_lease_objects);
    return rc;
}

static uint64_t meta_crc(const struct store_meta *m)
{
    return crc32c(0, m, offsetof(struct store_meta, crc));
}

void store_meta_seal(struct store_meta *m)
{
    m->crc = meta_crc(m);
}

bool store_meta_read(MDB_val v, struct store_meta *ret)
{
    if (v.mv_size != sizeof(*ret))
        return false;
    memcpy(ret, v.mv_data, sizeof(*ret));
    return ret->crc == meta_crc(ret);
}

/* A new store has its row from the start: one without is no new store. */
static int meta_create(struct reg_store *s, MDB_txn *txn)
{
    s->meta = (struct store_meta){.schema = STORE_SCHEMA};
    store_meta_seal(&s->meta);
    return mdb_put(txn, s->dbi_meta, &(MDB_val){1, "m"}, &(MDB_val){sizeof(s->meta), &s->meta}, 0);
}

static bool meta_load(struct reg_store *s, MDB_txn *txn, struct err *err)
{
    MDB_val v;
    MDB_envinfo info;
    mdb_env_info(s->env, &info);
    int rc = info.me_last_txnid == 0 ? meta_create(s, txn)
                                     : mdb_get(txn, s->dbi_meta, &(MDB_val){1, "m"}, &v);
    if (rc && rc != MDB_NOTFOUND)
        return lmdb_err(err, s, "meta", rc);
    if (info.me_last_txnid == 0)
        return true;
    if (rc || !store_meta_read(v, &s->meta))
        return err_set(err, ERR_CORRUPT, "store %s: the row that says what it holds is damaged",
                       s->dir);
    if (s->meta.schema != STORE_SCHEMA)
        return err_set(err, ERR_CORRUPT, "store %s: schema %u, this program writes %d", s->dir,
                       s->meta.schema, STORE_SCHEMA);
    return version_fits(s->opt.reads, store_meta_version(&s->meta), S("this program"), err) ||
           err_wrap(err, "store %s", s->dir);
}

unsigned store_meta_version(const struct store_meta *m)
{
    return m->version ? m->version : m->applied_index ? VERSION_OLDEST : 0;
}

unsigned reg_store_version(const struct reg_store *s)
{
    return store_meta_version(&s->meta);
}

static struct store_meta meta_of(const struct reg_store *s, MDB_txn *txn)
{
    MDB_val v;
    struct store_meta meta;
    int rc = mdb_get(txn, s->dbi_meta, &(MDB_val){1, "m"}, &v);
    if (rc || !store_meta_read(v, &meta))
        store_doubt(s, "the row that says what it holds is damaged");
    return meta;
}

uint64_t store_used_bytes(const struct reg_store *s)
{
    MDB_envinfo info;
    MDB_stat st;
    mdb_env_info(s->env, &info);
    mdb_env_stat(s->env, &st);
    return (uint64_t)(info.me_last_pgno + 1) * st.ms_psize;
}

/* Who reads a page and who may write it again agree in LMDB's table of readers, which TSan does not
 * see: with it pages are written by system calls. */
#ifdef __SANITIZE_THREAD__
#define MAP_FLAGS 0
#else
#define MAP_FLAGS MDB_WRITEMAP
#endif

static int data_fd(const struct reg_store *s)
{
    mdb_filehandle_t fd;
    wf_assert(mdb_env_get_fd(s->env, &fd) == 0);
    return fd;
}

/* LMDB makes the file as long as the map; here it is as long as what the disk has promised. */
static bool file_shorten(struct reg_store *s, uint64_t bytes, struct err *err)
{
    return ftruncate(data_fd(s), (off_t)bytes) == 0 ||
           err_errno(err, errno, "store %s: data.mdb", s->dir);
}

/* Blocks behind the pages that the batch can take: of each operation its leaf, what splits, and
 * the rows that go with it; of the bytes what store_internal.h says of them. */
static uint64_t batch_pages(const struct reg_store *s, uint64_t used, uint64_t of_op,
                            uint64_t times, uint64_t slack)
{
    uint64_t copies = s->batch_ops * of_op;
    return slack + 4 * s->batch_bytes + s->batch_beside +
           (copies < times * used ? copies : times * used);
}

bool store_blocks_reserve(struct reg_store *s, struct err *err)
{
    uint64_t used = s->batch ? s->batch_used : store_used_bytes(s);
    uint64_t need = batch_pages(s, used, STORE_OP_BLOCKS_ROOMY, 2, STORE_SLACK_ROOMY);
    if (s->file_bytes >= used + need)
        return true;
    uint64_t want = used + (need > s->opt.step_bytes ? need : s->opt.step_bytes);
    want += s->opt.step_bytes;
    if (want < s->file_bytes)
        want = s->file_bytes;
    int why = env_disk_reserve(s->opt.env, data_fd(s), want);
    if (why == 0 || (why == EOPNOTSUPP && file_shorten(s, want, err))) {
        s->file_bytes = want;
        return true;
    }
    uint64_t least = used + batch_pages(s, used, STORE_OP_BLOCKS_LEAST, 1, STORE_SLACK_LEAST);
    if (s->file_bytes >= least)
        return true;
    if (env_disk_reserve(s->opt.env, data_fd(s), least) == 0) {
        s->file_bytes = least;
        return true;
    }
    return err_errno(err, why, "store %s: data.mdb", s->dir);
}

/* A page behind the end of the file would be a SIGBUS. What we leave is long enough: it was cut.
 * Looked at before LMDB opens it to write, which makes it as long as the map. */
static bool file_is_whole(const struct reg_store *s, const char *path, uint64_t bytes,
                          struct err *err)
{
    MDB_env *env = NULL;
    MDB_envinfo info = {0};
    MDB_stat st = {0};
    int rc = mdb_env_create(&env);
    if (!rc) /* what the meta page says of the map's size may be a flipped bit */
        rc = mdb_env_set_mapsize(env, s->opt.map_bytes);
    if (!rc)
        rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0600);
    if (!rc) {
        mdb_env_info(env, &info);
        mdb_env_stat(env, &st);
    }
    if (env)
        mdb_env_close(env);
    if (rc)
        return lmdb_err(err, s, "open", rc);
    uint64_t want = (uint64_t)(info.me_last_pgno + 1) * st.ms_psize;
    return bytes >= want ||
           err_set(err, ERR_CORRUPT, "store %s: data.mdb has %llu bytes, its pages need %llu",
                   s->dir, (unsigned long long)bytes, (unsigned long long)want);
}

static bool file_found(struct reg_store *s, const char *path, enum store_image image,
                       uint64_t *ret_bytes, struct err *err)
{
    struct stat file = {0};
    if (stat(path, &file) != 0 && errno != ENOENT)
        return err_errno(err, errno, "store %s: data.mdb", s->dir);
    *ret_bytes = (uint64_t)file.st_size;
    /* Else LMDB makes the map as large as the pages, which is no power of two (lmdb_check.h). */
    while (s->opt.map_bytes < *ret_bytes)
        s->opt.map_bytes *= 2;
    return image == STORE_PROVED || file.st_size == 0 ||
           file_is_whole(s, path, (uint64_t)file.st_size, err);
}

/* The file after LMDB has opened it. An image that was proved may be short of pages that nothing
 * refers to. */
static bool file_settle(struct reg_store *s, uint64_t had, struct err *err)
{
    uint64_t used = store_used_bytes(s);
    s->file_bytes = 0;
    s->batch_bytes = s->batch_ops = s->batch_beside = 0;
    return file_shorten(s, had > used ? had : used, err) && store_blocks_reserve(s, err);
}

bool store_map_open(struct reg_store *s, enum store_image image, struct err *err)
{
    char path[4096];
    MDB_txn *txn = NULL;
    uint64_t had = 0;
    store_path(s, "data.mdb", path, sizeof(path));
    if (!file_found(s, path, image, &had, err))
        return false;
    int rc = mdb_env_create(&s->env);
    if (!rc)
        rc = mdb_env_set_maxdbs(s->env, 8);
    if (!rc)
        rc = mdb_env_set_maxreaders(s->env, STORE_READERS_MAX);
    if (!rc)
        rc = mdb_env_set_mapsize(s->env, s->opt.map_bytes);
    /* NOSYNC: the log is durable, this is its cache. NOTLS: a transaction is not bound to a thread.
     * WRITEMAP: a commit is no system call; without it the writes of pages were a quarter of what a
     * write costs. */
    if (!rc)
        rc = mdb_env_open(s->env, path,
                          MDB_NOSUBDIR | MDB_NOSYNC | MDB_NOTLS | MDB_NORDAHEAD | MAP_FLAGS, 0600);
    if (!rc && !file_settle(s, had, err)) {
        store_map_close(s);
        return false;
    }
    if (!rc)
        rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (!rc)
        rc = dbis_open(s, txn);
    if (rc) {
        if (txn)
            mdb_txn_abort(txn);
        store_map_close(s);
        return lmdb_err(err, s, "open", rc);
    }
    bool ok = meta_load(s, txn, err);
    s->object_bytes = store_dbi_bytes(txn, s->dbi_kv);
    rc = mdb_txn_commit(txn);
    if (!ok || rc) {
        store_map_close(s);
        return ok ? lmdb_err(err, s, "open", rc) : false;
    }
    MDB_envinfo info;
    mdb_env_info(s->env, &info);
    s->opt.map_bytes = info.me_mapsize;
    rc = store_map_grow(s);
    return !rc || lmdb_err(err, s, "grow", rc);
}

uint64_t store_map_room(const struct reg_store *s)
{
    return STORE_MAP_ROOM_BYTES + STORE_MAP_ROOM_OBJECTS * s->object_bytes;
}

/* Address space only: the file grows with its use. */
int store_map_grow(struct reg_store *s)
{
    uint64_t used = store_used_bytes(s), want = s->opt.map_bytes;
    while (want < used * 2 || want - used < 2 * store_map_room(s))
        want *= 2;
    if (want == s->opt.map_bytes)
        return 0;
    int rc = mdb_env_set_mapsize(s->env, want);
    if (!rc)
        s->opt.map_bytes = want;
    struct err err = {0};
    return rc || file_shorten(s, s->file_bytes, &err) ? rc : errno;
}

void store_map_close(struct reg_store *s)
{
    if (s->env)
        mdb_env_close(s->env);
    s->env = NULL;
}

static bool file_trusted(struct reg_store *s, struct err *err)
{
    char path[4096];
    struct stat st;
    store_path(s, "data.mdb", path, sizeof(path));
    if (stat(path, &st) != 0)
        return errno == ENOENT ? true : err_errno(err, errno, "store: %s", path);
    if (doubted(s))
        return err_set(err, ERR_CORRUPT, "store %s: was found damaged while it was open", s->dir);
    if (!mark_trusted(s))
        return err_set(err, ERR_CORRUPT,
                       "store %s: the machine stopped while it was open, it did not open well, or "
                       "the process ended again and again",
                       s->dir);
    if (st.st_size == 0) /* LMDB would take it for new */
        return err_set(err, ERR_CORRUPT, "store %s: data.mdb is empty", s->dir);
    s->found = true;
    return true;
}

/* A flipped bit on disk must become neither an answer nor the end of the process: what is found is
 * looked at before LMDB follows it. With the mark set aside: a page that cannot be read at all ends
 * the process, once. */
static void check_work(struct env_aside *a)
{
    struct reg_store *s = container_of(a, struct reg_store, opening.aside);
    char path[4096];
    struct store_opening *o = &s->opening;
    store_path(s, "data.mdb", path, sizeof(path));
    o->ok = store_image_map(path, &o->image, &o->err) &&
            (store_verify_image(o->image, false, &o->tally, &o->err) ||
             err_wrap(&o->err, "store: %s", path));
}

/* Beside what comes next: it takes a fifth as long as the look did. */
static void unmap_work(struct env_aside *a)
{
    struct store_opening *o = container_of(a, struct store_opening, aside);
    store_image_unmap(o->image);
    o->image = (struct slice){0};
}

static void check_end(struct reg_store *s)
{
    struct store_opening *o = &s->opening;
    if (!o->checks)
        return;
    env_aside_end(s->opt.env, &o->aside);
    o->aside.work = unmap_work;
    env_aside_begin(s->opt.env, &o->aside);
}

static void store_init(struct reg_store *s, const struct reg_store_options *opt)
{
    s->opt = *opt;
    if (!s->opt.map_bytes)
        s->opt.map_bytes = STORE_MAP_BYTES_DEFAULT;
    wf_assert((s->opt.map_bytes & (s->opt.map_bytes - 1)) == 0); /* lmdb_check.h */
    s->opt.reads = versions_or_all(s->opt.reads);
    if (!s->opt.history_revisions)
        s->opt.history_revisions = STORE_HISTORY_DEFAULT;
    pthread_rwlock_init(&s->map_lock, NULL);
    pthread_mutex_init(&s->notify_lock, NULL);
    pthread_mutex_init(&s->quota_lock, NULL);
    list_init(&s->notifies);
    s->opening.aside.work = check_work;
}

static void store_free(struct reg_store *s)
{
    if (s->opening.checks)
        env_aside_end(s->opt.env, &s->opening.aside);
    store_map_close(s);
    store_clients_fini(s);
    store_quota_fini(s);
    store_tally_fini(&s->opening.tally);
    pthread_mutex_destroy(&s->quota_lock);
    pthread_rwlock_destroy(&s->map_lock);
    pthread_mutex_destroy(&s->notify_lock);
    mem_free(s);
}

static bool file_begin(struct reg_store *s, struct err *err)
{
    if (!slice_cstr(slice_of(s->opt.dir), s->dir, sizeof(s->dir)))
        return err_set(err, ERR_INVALID, "store: directory name is too long");
    s->opt.dir = s->dir;
    return env_dir_make(s->opt.env, s->dir, err) && file_trusted(s, err) && mark_set_aside(s, err);
}

struct reg_store *reg_store_open_begin(const struct reg_store_options *opt)
{
    struct reg_store *s = MEM_NEW(struct reg_store);
    struct store_opening *o = &s->opening;
    store_init(s, opt);
    s->begun = o->ok = file_begin(s, &o->err);
    o->checks = o->ok && s->found && s->opt.verify;
    if (o->checks)
        env_aside_begin(s->opt.env, &o->aside);
    return s;
}

static bool file_open(struct reg_store *s, struct err *err)
{
    struct store_opening *o = &s->opening;
    check_end(s);
    if (!o->ok)
        return err_set(err, o->err.code, "%s", o->err.msg);
    if (!store_map_open(s, STORE_FOUND, err) || !store_clients_load(s, err) ||
        !(o->checks || store_quota_load(s, err)) || !mark_write(s, false, err))
        return false;
    if (o->checks)
        store_quota_take(s, &o->tally);
    store_tally_fini(&o->tally);
    return true;
}

struct reg_store *reg_store_open_end(struct reg_store *s, struct err *err)
{
    struct err e = {0};
    if (file_open(s, &e))
        return s;
    if (s->begun && e.code != ERR_CORRUPT)
        mark_put_back(s);
    store_free(s);
    err_set(err, e.code, "%s", e.msg);
    return NULL;
}

void reg_store_open_drop(struct reg_store *s)
{
    if (!s)
        return;
    if (s->opening.checks)
        env_aside_end(s->opt.env, &s->opening.aside);
    s->opening.checks = false;
    store_image_unmap(s->opening.image);
    if (s->begun)
        mark_put_back(s);
    store_free(s);
}

struct reg_store *reg_store_open(const struct reg_store_options *opt, struct err *err)
{
    return reg_store_open_end(reg_store_open_begin(opt), err);
}

void reg_store_close(struct reg_store *s)
{
    struct err err = {0};
    if (!s)
        return;
    wf_assert(!s->batch);
    wf_assert(list_empty(&s->notifies));
    if (file_shorten(s, store_used_bytes(s), &err) && mdb_env_sync(s->env, 1) == 0)
        mark_write(s, true, &err); /* without it the next start rebuilds: slower, not wrong */
    store_free(s);
}

void reg_store_applied(struct reg_store *s, reg_rev *ret_index, uint64_t *ret_term)
{
    *ret_index = s->meta.applied_index;
    *ret_term = s->meta.applied_term;
}

uint64_t reg_store_genesis(const struct reg_store *s)
{
    return s->meta.genesis;
}

uint64_t store_dbi_bytes(MDB_txn *txn, MDB_dbi dbi)
{
    MDB_stat st;
    if (mdb_stat(txn, dbi, &st) != 0)
        return 0;
    return (st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages) * (uint64_t)st.ms_psize;
}

void reg_store_usage(struct reg_store *s, struct reg_store_usage *ret)
{
    MDB_envinfo info;
    MDB_txn *txn;
    pthread_rwlock_rdlock(&s->map_lock);
    mdb_env_info(s->env, &info);
    *ret =
        (struct reg_store_usage){.used_bytes = store_used_bytes(s), .map_bytes = info.me_mapsize};
    if (mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn) == 0) {
        ret->object_bytes = store_dbi_bytes(txn, s->dbi_kv);
        ret->history_bytes = store_dbi_bytes(txn, s->dbi_hist);
        mdb_txn_abort(txn);
    }
    pthread_rwlock_unlock(&s->map_lock);
}

/* Reads. */

bool reg_txn_begin(struct reg_store *s, struct reg_txn *ret_txn, struct err *err)
{
    MDB_txn *txn;
    pthread_rwlock_rdlock(&s->map_lock);
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc) {
        pthread_rwlock_unlock(&s->map_lock);
        return lmdb_err(err, s, "read transaction", rc);
    }
    struct store_meta meta = meta_of(s, txn);
    *ret_txn = (struct reg_txn){
        .store = s, .mdb = txn, .revision = meta.revision, .compacted = meta.compacted};
    return true;
}

void reg_txn_end(struct reg_txn *txn)
{
    if (!txn->mdb)
        return;
    mdb_txn_abort(txn->mdb);
    txn->mdb = NULL;
    pthread_rwlock_unlock(&txn->store->map_lock);
}

static struct reg_object object_of(struct slice key, struct store_record r)
{
    return (struct reg_object){
        .key = key,
        .value = r.value,
        .create_rev = r.create_rev,
        .mod_rev = r.mod_rev,
        .version = r.version,
    };
}

bool reg_get(struct reg_txn *txn, struct slice key, struct reg_object *ret_object)
{
    struct reg_store *s = txn->store;
    MDB_val k = store_val(key), v;
    if (key.n == 0 || key.n > REG_KEY_BYTES_MAX)
        return false;
    int rc = mdb_get(txn->mdb, s->dbi_kv, &k, &v);
    if (rc == MDB_NOTFOUND)
        return false;
    if (rc)
        store_doubt(s, mdb_strerror(rc));
    *ret_object = object_of(key, store_record_read(s, key, v));
    return true;
}

void reg_scan(struct reg_txn *txn, struct slice prefix, struct slice after,
              bool (*fn)(void *ctx, const struct reg_object *o), void *ctx)
{
    struct reg_store *s = txn->store;
    struct slice from = slice_cmp(after, prefix) > 0 ? after : prefix;
    MDB_val k = store_val(from), v;
    MDB_cursor *cur;
    int rc = mdb_cursor_open(txn->mdb, s->dbi_kv, &cur);
    if (rc)
        store_doubt(s, mdb_strerror(rc));
    rc = mdb_cursor_get(cur, &k, &v, from.n ? MDB_SET_RANGE : MDB_FIRST);
    for (; !rc; rc = mdb_cursor_get(cur, &k, &v, MDB_NEXT)) {
        struct slice key = store_slice(k);
        if (!slice_starts(key, prefix))
            break;
        if (after.n && slice_cmp(key, after) <= 0)
            continue;
        struct reg_object o = object_of(key, store_record_read(s, key, v));
        if (!fn(ctx, &o))
            break;
    }
    if (rc && rc != MDB_NOTFOUND)
        store_doubt(s, mdb_strerror(rc));
    mdb_cursor_close(cur);
}

uint64_t reg_state_hash(struct reg_txn *txn)
{
    return meta_of(txn->store, txn->mdb).state_hash;
}
