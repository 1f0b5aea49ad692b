/* Files: real ones in a directory of memory, so that LMDB may map them; what a power cut does to
 * them is decided here. A write with sync reaches its file when its sync ends; before that a crash
 * may leave all, a part or nothing of it, and a power cut later may take that back. Names that were
 * made, renamed or removed since the directory was synced may be as before. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "base/sim/sim_impl.h"

#define SECTOR 512
#define NAMES_MAX 1024

/* Names that are not durable yet, oldest first. */
struct undo {
    struct list_node node;
    enum { UNDO_CREATE, UNDO_RENAME, UNDO_REMOVE } kind;
    bool kept; /* `saved` holds what was at `to` before */
    char from[SIM_PATH_BYTES], to[SIM_PATH_BYTES], saved[SIM_PATH_BYTES];
};

struct flush {
    struct list_node node;
    struct sim_event event;
    struct env_file *f;
    struct list writes;
};

struct env_file {
    struct env_handle handle;
    struct list_node node, dirty;
    struct list writes;  /* of this turn */
    struct list flushes; /* on their way */
    bool *gone;          /* set to true when a write's fn closes the file */
    int fd;
    ino_t ino; /* all of a host are on one file system */
    char path[SIM_PATH_BYTES];
};

struct env_lock {
    struct env_handle handle;
    struct list_node node;
    char path[SIM_PATH_BYTES];
};

/* Directories of the simulation itself. */

bool sim_dir_make_new(const char *path)
{
    char undo[SIM_PATH_BYTES];
    snprintf(undo, sizeof(undo), "%s.undo", path);
    return (mkdir(path, 0700) == 0 || errno == EEXIST) &&
           (mkdir(undo, 0700) == 0 || errno == EEXIST);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

void sim_dir_remove(const char *path)
{
    char undo[SIM_PATH_BYTES];
    snprintf(undo, sizeof(undo), "%s.undo", path);
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    nftw(undo, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Names. */

static void copy_path(char dst[SIM_PATH_BYTES], const char *path)
{
    int n = snprintf(dst, SIM_PATH_BYTES, "%s", path);
    wf_assert(n >= 0 && n < SIM_PATH_BYTES);
}

static struct undo *undo_add(struct sim_host *h, int kind, const char *from, const char *to)
{
    struct undo *u = SIM_NEW(struct undo);
    u->kind = kind;
    copy_path(u->from, from);
    copy_path(u->to, to);
    snprintf(u->saved, sizeof(u->saved), "%s.undo/%" PRIu64, h->name, h->undo_count++);
    list_push(&h->undo, &u->node);
    return u;
}

static void undo_drop(struct undo *u)
{
    if (u->kept)
        unlink(u->saved);
    list_remove(&u->node);
    mem_free(u);
}

static void names_durable(struct sim_host *h)
{
    LIST_EACH (&h->undo, n)
        undo_drop(container_of(n, struct undo, node));
}

/* What the disk has to give. */

static void room_back(struct sim_host *h, uint64_t bytes)
{
    if (h->disk.limited)
        h->disk.room += bytes;
}

static void room_take(struct sim_host *h, uint64_t bytes)
{
    struct sim_disk *d = &h->disk;
    if (d->limited)
        d->room -= bytes < d->room ? bytes : d->room;
}

static uint64_t bytes_at(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void undo_one(struct sim_host *h, struct undo *u)
{
    if (u->kind == UNDO_CREATE) {
        room_back(h, bytes_at(u->to));
        unlink(u->to);
    }
    if (u->kind == UNDO_RENAME)
        (void)!rename(u->to, u->from);
    if (!u->kept || rename(u->saved, u->to) != 0)
        return;
    u->kept = false;
    if (u->kind == UNDO_REMOVE)
        room_take(h, bytes_at(u->to));
}

/* A journal's: what survives is a beginning of it. */
static void names_lost(struct sim_host *h)
{
    size_t n = 0;
    LIST_EACH (&h->undo, node)
        n++;
    size_t lost = sim_below(h->sim, n + 1);
    while (lost-- > 0) {
        struct undo *u = container_of(h->undo.head.prev, struct undo, node);
        undo_one(h, u);
        undo_drop(u);
    }
    names_durable(h);
}

/* Open files. */

static struct env_file *file_open(struct env *env, const char *path, int flags, struct err *err)
{
    struct sim_host *h = sim_host_of(env);
    bool made = (flags & O_CREAT) && access(path, F_OK) != 0;
    if (made && h->disk.limited && !h->disk.room) {
        err_errno(err, ENOSPC, "open %s", path);
        return NULL;
    }
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0) {
        err_errno(err, errno, "open %s", path);
        return NULL;
    }
    if (made)
        undo_add(h, UNDO_CREATE, path, path);
    struct env_file *f = SIM_NEW(struct env_file);
    struct stat st;
    wf_assert(fstat(fd, &st) == 0);
    f->handle.env = env;
    f->fd = fd;
    f->ino = st.st_ino;
    copy_path(f->path, path);
    list_init(&f->writes);
    list_init(&f->flushes);
    list_push(&h->files, &f->node);
    return f;
}

static void write_bytes(const struct env_file *f, const struct env_file_write *w, size_t n)
{
    uint64_t at = w->offset;
    for (int i = 0; i < w->iov_n && n > 0; i++) {
        size_t part = w->iov[i].iov_len < n ? w->iov[i].iov_len : n;
        wf_assert(pwrite(f->fd, w->iov[i].iov_base, part, (off_t)at) == (ssize_t)part);
        at += part;
        n -= part;
    }
}

/* Writes that the disk does not have yet: those without sync, and what a process that ended had
 * not waited for. The next process reads them; a power cut may bring back what lay under them. */
struct unsynced {
    struct list_node node;
    ino_t ino;
    int fd; /* of its own: the file may be closed, renamed and removed */
    uint64_t offset;
    size_t n;
    char before[];
};

static void unsynced_drop(struct unsynced *u)
{
    close(u->fd);
    list_remove(&u->node);
    mem_free(u);
}

/* It was synced: whatever of it lies in these bytes is on the disk. */
static void unsynced_durable(struct env_file *f, uint64_t from, uint64_t to)
{
    LIST_EACH (&sim_host_of(f->handle.env)->unsynced, node) {
        struct unsynced *u = container_of(node, struct unsynced, node);
        if (u->offset < to && from < u->offset + u->n && u->ino == f->ino)
            unsynced_drop(u);
    }
}

static void read_before(const struct env_file *f, uint64_t offset, char *p, size_t n)
{
    memset(p, 0, n); /* behind the file's end */
    wf_assert(pread(f->fd, p, n, (off_t)offset) >= 0);
}

/* Before it is written. */
static void unsynced_add(struct env_file *f, uint64_t offset, size_t n)
{
    struct unsynced *u = sim_new_bytes(sizeof(*u) + n);
    *u = (struct unsynced){.ino = f->ino, .fd = dup(f->fd), .offset = offset, .n = n};
    wf_assert(u->fd >= 0);
    read_before(f, offset, u->before, n);
    list_push_front(&sim_host_of(f->handle.env)->unsynced, &u->node);
}

/* One is kept for each place that is written again and again. What a power cut brings back is now
 * the write before, now one long ago. */
static bool file_write(struct env_file *f, uint64_t offset, const void *p, size_t n,
                       struct err *err)
{
    struct sim_host *h = sim_host_of(f->handle.env);
    struct unsynced *u = NULL;
    LIST_EACH (&h->unsynced, node) {
        struct unsynced *old = container_of(node, struct unsynced, node);
        if (old->offset == offset && old->n == n && old->ino == f->ino)
            u = old;
    }
    if (!u)
        unsynced_add(f, offset, n);
    else if (sim_chance(h->sim, 500))
        read_before(f, offset, u->before, n);
    return pwrite(f->fd, p, n, (off_t)offset) == (ssize_t)n ||
           err_errno(err, errno, "write %s", f->path);
}

/* A power cut: each sector is old or new, in any mixture. Newest first. */
static void unsynced_lost(struct sim_host *h)
{
    struct list_node *node;
    while ((node = h->unsynced.head.next) != &h->unsynced.head) {
        struct unsynced *u = container_of(node, struct unsynced, node);
        unsigned lost = u->n <= SECTOR ? 500 : (unsigned)sim_below(h->sim, 1001);
        for (size_t at = 0; at < u->n; at += SECTOR) {
            size_t part = u->n - at < SECTOR ? u->n - at : SECTOR;
            if (sim_chance(h->sim, lost))
                wf_assert(pwrite(u->fd, u->before + at, part, (off_t)(u->offset + at)) ==
                          (ssize_t)part);
        }
        unsynced_drop(u);
    }
}

static size_t write_size(const struct env_file_write *w)
{
    size_t n = 0;
    for (int i = 0; i < w->iov_n; i++)
        n += w->iov[i].iov_len;
    return n;
}

static void write_unsynced(struct env_file *f, const struct env_file_write *w, size_t n)
{
    unsynced_add(f, w->offset, n);
    write_bytes(f, w, n);
}

/* What becomes of writes that nobody waits for any more: a process that ends has made all or a part
 * of each, or not yet. */
static void forget(struct env_file *f, struct list *writes)
{
    struct sim *sim = sim_host_of(f->handle.env)->sim;
    struct list_node *n;
    while ((n = list_pop(writes))) {
        struct env_file_write *w = container_of(n, struct env_file_write, node);
        write_unsynced(f, w,
                       sim_chance(sim, 500) ? write_size(w) : sim_below(sim, write_size(w) + 1));
    }
}

static void flush_free(struct flush *fl)
{
    sim_event_stop(&fl->event);
    list_remove(&fl->node);
    mem_free(fl);
}

static void file_drop(struct env_file *f)
{
    LIST_EACH (&f->flushes, n) {
        struct flush *fl = container_of(n, struct flush, node);
        forget(f, &fl->writes);
        flush_free(fl);
    }
    forget(f, &f->writes);
    list_remove(&f->dirty);
    list_remove(&f->node);
    close(f->fd);
    mem_free(f);
}

static void file_close(struct env_file *f)
{
    if (f->gone)
        *f->gone = true;
    file_drop(f);
}

static bool file_read(struct env_file *f, uint64_t offset, void *p, size_t n, size_t *ret_n,
                      struct err *err)
{
    ssize_t got = pread(f->fd, p, n, (off_t)offset);
    if (got < 0)
        return err_errno(err, errno, "read %s", f->path);
    *ret_n = (size_t)got;
    return true;
}

static bool file_size(struct env_file *f, uint64_t *ret_size, struct err *err)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return err_errno(err, errno, "size of %s", f->path);
    *ret_size = (uint64_t)st.st_size;
    return true;
}

static bool file_truncate(struct env_file *f, uint64_t size, struct err *err)
{
    uint64_t now;
    if (file_size(f, &now, err) && now > size)
        room_back(sim_host_of(f->handle.env), now - size);
    return ftruncate(f->fd, (off_t)size) == 0 || err_errno(err, errno, "truncate %s", f->path);
}

static bool file_preallocate(struct env_file *f, uint64_t size, struct err *err)
{
    uint64_t now;
    if (!file_size(f, &now, err))
        return false;
    struct sim_host *h = sim_host_of(f->handle.env);
    if (now < size && h->disk.limited && h->disk.room < size - now)
        return err_errno(err, ENOSPC, "reserve %s", f->path);
    if (now < size) {
        room_take(h, size - now);
        if (!file_truncate(f, size, err))
            return false;
    }
    unsynced_durable(f, 0, UINT64_MAX);
    return true;
}

/* Writes with sync. */

static void file_write_through(struct env_file *f)
{
    (void)f;
}

static void file_write_sync(struct env_file *f, struct env_file_write *w)
{
    list_push(&f->writes, &w->node);
    if (!list_linked(&f->dirty))
        list_push(&sim_host_of(f->handle.env)->dirty, &f->dirty);
}

static void flush_write(struct flush *fl, struct err *result)
{
    struct sim_host *h = sim_host_of(fl->f->handle.env);
    bool fails = sim_chance(h->sim, h->disk.error_per_mille);
    LIST_EACH (&fl->writes, n) {
        struct env_file_write *w = container_of(n, struct env_file_write, node);
        if (fails) {
            write_unsynced(fl->f, w, sim_below(h->sim, write_size(w) + 1));
            continue;
        }
        write_bytes(fl->f, w, write_size(w));
        unsynced_durable(fl->f, w->offset, w->offset + write_size(w));
    }
    if (fails)
        err_errno(result, EIO, "sync %s", fl->f->path);
}

static void on_flushed(struct sim_event *e)
{
    struct flush *fl = container_of(e, struct flush, event);
    struct env_file *f = fl->f;
    struct err result = {0};
    struct list done;
    struct list_node *n;
    bool gone = false;
    flush_write(fl, &result);
    list_init(&done);
    while ((n = list_pop(&fl->writes)))
        list_push(&done, n);
    flush_free(fl);
    f->gone = &gone;
    while (!gone && (n = list_pop(&done))) {
        struct env_file_write *w = container_of(n, struct env_file_write, node);
        w->fn(w, &result);
    }
    if (!gone)
        f->gone = NULL;
}

static sim_ns sync_time(struct sim_host *h)
{
    const struct sim_disk *d = &h->disk;
    if (d->stall_per_mille && sim_chance(h->sim, d->stall_per_mille))
        return sim_between(h->sim, d->sync_max, d->sync_max + d->stall_max);
    return sim_between(h->sim, d->sync_min, d->sync_max);
}

void sim_disk_flush(struct sim_host *h)
{
    struct list_node *n;
    while ((n = list_pop(&h->dirty))) {
        struct env_file *f = container_of(n, struct env_file, dirty);
        struct flush *fl = SIM_NEW(struct flush);
        fl->f = f;
        fl->event.fn = on_flushed;
        fl->event.host = h;
        list_init(&fl->writes);
        while ((n = list_pop(&f->writes)))
            list_push(&fl->writes, n);
        list_push(&f->flushes, &fl->node);
        sim_event_start(h->sim, &fl->event, sync_time(h));
    }
}

/* Whole files, names. */

static bool read_all(int fd, size_t bytes_max, struct buf *out)
{
    char chunk[4096];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
        if (out->n + (size_t)n > bytes_max) {
            errno = EFBIG;
            return false;
        }
        buf_append(out, slice_mem(chunk, (size_t)n));
    }
    return n == 0;
}

static bool file_load(struct env *env, const char *path, size_t bytes_max, struct buf *ret_bytes,
                      struct err *err)
{
    (void)env;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, "open %s", path);
    bool ok = read_all(fd, bytes_max, ret_bytes);
    int errnum = errno;
    close(fd);
    if (!ok && errnum == EFBIG)
        return err_set(err, ERR_LIMIT, "%s is larger than %zu bytes", path, bytes_max);
    return ok || err_errno(err, errnum, "read %s", path);
}

static bool file_store(struct env *env, const char *path, struct slice bytes, struct err *err)
{
    struct sim_host *h = sim_host_of(env);
    char fresh[SIM_PATH_BYTES + 8];
    if (h->disk.limited && h->disk.room < bytes.n)
        return err_errno(err, ENOSPC, "write %s", path);
    if (h->disk.error_per_mille && sim_chance(h->sim, h->disk.error_per_mille))
        return err_errno(err, EIO, "write %s", path);
    snprintf(fresh, sizeof(fresh), "%s.fresh", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, errno, "create %s", fresh);
    bool ok = write(fd, bytes.p, bytes.n) == (ssize_t)bytes.n;
    close(fd);
    if (!ok || rename(fresh, path) != 0)
        return err_errno(err, errno, "write %s", path);
    names_durable(h);
    return true;
}

static bool file_rename(struct env *env, const char *from, const char *to, struct err *err)
{
    struct sim_host *h = sim_host_of(env);
    if (access(from, F_OK) != 0)
        return err_errno(err, errno, "rename %s to %s", from, to);
    struct undo *u = undo_add(h, UNDO_RENAME, from, to);
    u->kept = rename(to, u->saved) == 0;
    return rename(from, to) == 0 || err_errno(err, errno, "rename %s to %s", from, to);
}

static bool file_remove(struct env *env, const char *path, struct err *err)
{
    struct sim_host *h = sim_host_of(env);
    if (access(path, F_OK) != 0)
        return err_errno(err, errno, "remove %s", path);
    room_back(h, bytes_at(path));
    struct undo *u = undo_add(h, UNDO_REMOVE, path, path);
    u->kept = rename(path, u->saved) == 0;
    return u->kept || err_errno(err, errno, "remove %s", path);
}

static bool dir_make(struct env *env, const char *path, struct err *err)
{
    (void)env;
    return mkdir(path, 0700) == 0 || errno == EEXIST ||
           err_errno(err, errno, "make directory %s", path);
}

static bool dir_sync(struct env *env, const char *path, struct err *err)
{
    (void)path;
    (void)err;
    names_durable(sim_host_of(env)); /* one journal for the file system */
    return true;
}

static bool disk_free(struct env *env, const char *path, uint64_t *ret_bytes, struct err *err)
{
    const struct sim_disk *d = &sim_host_of(env)->disk;
    (void)path;
    (void)err;
    *ret_bytes = d->limited ? d->room : UINT64_C(1) << 40;
    return true;
}

/* Blocks are memory here, of which there is enough: full disks are drawn elsewhere. */
static int disk_reserve(struct env *env, int fd, uint64_t bytes)
{
    struct stat st;
    (void)env;
    if (fstat(fd, &st) != 0)
        return errno;
    return st.st_size >= (off_t)bytes || ftruncate(fd, (off_t)bytes) == 0 ? 0 : errno;
}

static int name_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool dir_list(struct env *env, const char *path, void (*fn)(void *ctx, const char *name),
                     void *ctx, struct err *err)
{
    char *names[NAMES_MAX];
    size_t n = 0;
    const struct dirent *e;
    (void)env;
    DIR *dir = opendir(path);
    if (!dir)
        return err_errno(err, errno, "open directory %s", path);
    while ((e = readdir(dir))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        wf_assert(n < NAMES_MAX);
        size_t len = strlen(e->d_name) + 1;
        names[n] = sim_new_bytes(len);
        memcpy(names[n++], e->d_name, len);
    }
    closedir(dir);
    qsort(names, n, sizeof(names[0]), name_order);
    for (size_t i = 0; i < n; i++) {
        fn(ctx, names[i]);
        mem_free(names[i]);
    }
    return true;
}

/* Locks end with their process. */

static struct env_lock *lock_take(struct env *env, const char *path, struct err *err)
{
    struct sim_host *h = sim_host_of(env);
    LIST_EACH (&h->locks, n)
        if (strcmp(container_of(n, struct env_lock, node)->path, path) == 0) {
            err_set(err, ERR_UNAVAILABLE, "%s is held by another process", path);
            return NULL;
        }
    struct env_lock *l = SIM_NEW(struct env_lock);
    l->handle.env = env;
    copy_path(l->path, path);
    list_push(&h->locks, &l->node);
    return l;
}

static void lock_release(struct env_lock *l)
{
    list_remove(&l->node);
    mem_free(l);
}

void sim_disk_crash(struct sim_host *h, bool power)
{
    LIST_EACH (&h->files, n)
        file_drop(container_of(n, struct env_file, node));
    LIST_EACH (&h->locks, n)
        lock_release(container_of(n, struct env_lock, node));
    if (!power)
        return;
    unsynced_lost(h);
    names_lost(h);
}

const struct env_ops sim_disk_ops = {
    .file_open = file_open,
    .file_close = file_close,
    .file_read = file_read,
    .file_write = file_write,
    .file_size = file_size,
    .file_truncate = file_truncate,
    .file_preallocate = file_preallocate,
    .file_write_through = file_write_through,
    .file_write_sync = file_write_sync,
    .file_load = file_load,
    .file_store = file_store,
    .file_rename = file_rename,
    .file_remove = file_remove,
    .dir_make = dir_make,
    .dir_sync = dir_sync,
    .disk_free = disk_free,
    .disk_reserve = disk_reserve,
    .dir_list = dir_list,
    .lock_take = lock_take,
    .lock_release = lock_release,
};
