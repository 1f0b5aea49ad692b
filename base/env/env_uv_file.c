#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "base/env/env_limits.h"
#include "base/env/env_uv_impl.h"

/* Writes past the system's memory: whole blocks, from a buffer that is aligned to them. */
#define THROUGH_BLOCK 4096u
#define THROUGH_BYTES_MAX (256u << 10)
struct through {
    int fd; /* with O_DIRECT and O_DSYNC; -1 = not in use */
    char *buf;
    uint64_t last; /* the block that the buffer's first block is a copy of; NO_BLOCK = none */
};
#define NO_BLOCK UINT64_MAX

struct env_file {
    struct env_handle handle;
    struct list_node node;   /* in env->files */
    struct list_node dirty;  /* in env->files_dirty */
    struct list_node synced; /* in env->files_synced */
    struct list writes;      /* submitted this turn */
    struct list done;        /* synced, fn to be called in the next turn */
    struct err result;       /* of what is in done */
    bool *gone;              /* set to true when fn closes the file */
    int fd;
    struct through through;
    char path[];
};

static struct uv_env *env_of(const struct env_file *f)
{
    return container_of(f->handle.env, struct uv_env, base);
}

static bool file_err(const struct env_file *f, struct err *err, const char *what)
{
    return err_errno(err, errno, "%s %s", what, f->path);
}

struct env_file *uv_file_open(struct env *base, const char *path, int flags, struct err *err)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0) {
        err_errno(err, errno, "open %s", path);
        return NULL;
    }
    struct env_file *f = mem_new(sizeof(*f) + strlen(path) + 1);
    memcpy(f->path, path, strlen(path) + 1);
    f->handle.env = base;
    f->fd = fd;
    f->through = (struct through){.fd = -1, .last = NO_BLOCK};
    list_init(&f->writes);
    list_init(&f->done);
    list_push(&env_of(f)->files, &f->node);
    return f;
}

static void through_end(struct env_file *f)
{
    if (f->through.fd < 0)
        return;
    close(f->through.fd);
    free(f->through.buf);
    f->through = (struct through){.fd = -1, .last = NO_BLOCK};
}

static void forget(struct list *writes)
{
    while (list_pop(writes))
        ;
}

void uv_file_close(struct env_file *f)
{
    if (f->gone)
        *f->gone = true;
    forget(&f->writes);
    forget(&f->done);
    list_remove(&f->dirty);
    list_remove(&f->synced);
    list_remove(&f->node);
    through_end(f);
    close(f->fd);
    mem_free(f);
}

void uv_files_close_all(struct uv_env *env)
{
    LIST_EACH (&env->files, n)
        uv_file_close(container_of(n, struct env_file, node));
}

bool uv_file_read(struct env_file *f, uint64_t offset, void *p, size_t n, size_t *ret_n,
                  struct err *err)
{
    size_t got = 0;
    while (got < n) {
        ssize_t rc = pread(f->fd, (char *)p + got, n - got, (off_t)(offset + got));
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc < 0)
            return file_err(f, err, "read");
        if (rc == 0)
            break;
        got += (size_t)rc;
    }
    *ret_n = got;
    return true;
}

bool uv_file_size(struct env_file *f, uint64_t *ret_size, struct err *err)
{
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return file_err(f, err, "size of");
    *ret_size = (uint64_t)st.st_size;
    return true;
}

bool uv_file_truncate(struct env_file *f, uint64_t size, struct err *err)
{
    f->through.last = NO_BLOCK;
    return ftruncate(f->fd, (off_t)size) == 0 || file_err(f, err, "truncate");
}

static bool write_all(int fd, const char *p, size_t n, uint64_t offset)
{
    while (n > 0) {
        ssize_t rc = pwrite(fd, p, n, (off_t)offset);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc < 0)
            return false;
        p += rc;
        n -= (size_t)rc;
        offset += (uint64_t)rc;
    }
    return true;
}

bool uv_file_write(struct env_file *f, uint64_t offset, const void *p, size_t n, struct err *err)
{
    f->through.last = NO_BLOCK;
    return write_all(f->fd, p, n, offset) || file_err(f, err, "write");
}

/* Zeroes are written, not only reserved: an extent that posix_fallocate made is "unwritten", and
 * its first real write would change metadata, which is what the caller pays this for not to happen.
 */
bool uv_file_preallocate(struct env_file *f, uint64_t size, struct err *err)
{
    static const char zeroes[64 << 10];
    uint64_t at;
    if (!uv_file_size(f, &at, err))
        return false;
    int rc = posix_fallocate(f->fd, 0, (off_t)size);
    if (rc != 0)
        return err_errno(err, rc, "reserve %llu bytes in %s", (unsigned long long)size, f->path);
    for (; at < size; at += sizeof(zeroes)) {
        size_t n = size - at < sizeof(zeroes) ? (size_t)(size - at) : sizeof(zeroes);
        if (!write_all(f->fd, zeroes, n, at))
            return file_err(f, err, "zero");
    }
    return fsync(f->fd) == 0 || file_err(f, err, "sync");
}

static bool file_sync(struct env_file *f, struct err *err)
{
    return fdatasync(f->fd) == 0 || file_err(f, err, "sync");
}

/* Writes with sync. */

void uv_file_write_sync(struct env_file *f, struct env_file_write *w)
{
    list_push(&f->writes, &w->node);
    if (!list_linked(&f->dirty))
        list_push(&env_of(f)->files_dirty, &f->dirty);
}

/* The pieces one by one where the kernel wrote less than all of them. */
static bool write_rest(int fd, const struct env_file_write *w, size_t skip)
{
    uint64_t offset = w->offset;
    for (int i = 0; i < w->iov_n; i++) {
        const char *p = w->iov[i].iov_base;
        size_t n = w->iov[i].iov_len;
        size_t from = skip < n ? skip : n;
        skip -= from;
        if (!write_all(fd, p + from, n - from, offset + from))
            return false;
        offset += n;
    }
    return true;
}

static bool write_one(int fd, const struct env_file_write *w)
{
    ssize_t rc;
    do
        rc = pwritev(fd, w->iov, w->iov_n < ENV_IOV_MAX ? w->iov_n : ENV_IOV_MAX, (off_t)w->offset);
    while (rc < 0 && errno == EINTR);
    return rc >= 0 && write_rest(fd, w, (size_t)rc);
}

/* Through. */

void uv_file_write_through(struct env_file *f)
{
    struct through *t = &f->through;
    if (t->fd >= 0)
        return;
    t->fd = open(f->path, O_WRONLY | O_DIRECT | O_DSYNC | O_CLOEXEC);
    if (t->fd < 0)
        return; /* tmpfs and others: as before */
    t->buf = aligned_alloc(THROUGH_BLOCK, THROUGH_BYTES_MAX + 2 * THROUGH_BLOCK);
    if (!t->buf)
        through_end(f);
}

bool uv_file_went_through(const struct env_file *f)
{
    return f->through.last != NO_BLOCK;
}

static uint64_t bytes_of(const struct env_file_write *w)
{
    uint64_t n = 0;
    for (int i = 0; i < w->iov_n; i++)
        n += w->iov[i].iov_len;
    return n;
}

/* What the file has in the block, into the buffer's block `at`; false: not all of it is there. */
static bool block_read(const struct env_file *f, uint64_t block, size_t at)
{
    ssize_t rc;
    do
        rc = pread(f->fd, f->through.buf + at, THROUGH_BLOCK, (off_t)(block * THROUGH_BLOCK));
    while (rc < 0 && errno == EINTR);
    return rc == THROUGH_BLOCK;
}

/* The whole blocks that the write touches, into the buffer. Blocks that end behind the file are not
 * for here: its length would change. */
static bool through_fill(struct env_file *f, const struct env_file_write *w, uint64_t first,
                         uint64_t last)
{
    struct through *t = &f->through;
    size_t at = (size_t)(w->offset - first * THROUGH_BLOCK);
    size_t end = (size_t)(last - first) * THROUGH_BLOCK;
    if (first != t->last && !block_read(f, first, 0))
        return false;
    t->last = NO_BLOCK;
    if (last != first && !block_read(f, last, end))
        return false;
    for (int i = 0; i < w->iov_n; i++) {
        memcpy(t->buf + at, w->iov[i].iov_base, w->iov[i].iov_len);
        at += w->iov[i].iov_len;
    }
    return true;
}

/* The write of this turn, if it is one and fits. */
static const struct env_file_write *through_takes(const struct env_file *f)
{
    const struct env_file_write *one = NULL;
    if (f->through.fd < 0)
        return NULL;
    LIST_EACH (&f->writes, n) {
        if (one)
            return NULL;
        one = container_of(n, struct env_file_write, node);
    }
    uint64_t bytes = bytes_of(one);
    return bytes > 0 && bytes <= THROUGH_BYTES_MAX ? one : NULL;
}

enum through_result { THROUGH_DONE, THROUGH_FAILED, THROUGH_NOT };

/* NOT: nothing was written, or a part, which the usual way writes again. */
static enum through_result write_through(struct env_file *f)
{
    struct through *t = &f->through;
    const struct env_file_write *w = through_takes(f);
    if (!w)
        return THROUGH_NOT;
    uint64_t first = w->offset / THROUGH_BLOCK;
    uint64_t last = (w->offset + bytes_of(w) - 1) / THROUGH_BLOCK;
    size_t n = (size_t)(last - first + 1) * THROUGH_BLOCK;
    if (!through_fill(f, w, first, last))
        return THROUGH_NOT;
    ssize_t rc;
    do
        rc = pwrite(t->fd, t->buf, n, (off_t)(first * THROUGH_BLOCK));
    while (rc < 0 && errno == EINTR);
    if (rc < 0 && (errno == EIO || errno == ENOSPC || errno == EDQUOT))
        return THROUGH_FAILED;
    if (rc != (ssize_t)n) {
        through_end(f); /* this file system wants something else */
        return THROUGH_NOT;
    }
    memmove(t->buf, t->buf + n - THROUGH_BLOCK, THROUGH_BLOCK);
    t->last = last;
    return THROUGH_DONE;
}

static bool flush_file(struct env_file *f, struct err *err)
{
    enum through_result through = write_through(f);
    if (through == THROUGH_DONE)
        return true;
    if (through == THROUGH_FAILED)
        return file_err(f, err, "write");
    f->through.last = NO_BLOCK;
    LIST_EACH (&f->writes, n)
        if (!write_one(f->fd, container_of(n, struct env_file_write, node)))
            return file_err(f, err, "write");
    return file_sync(f, err);
}

void uv_files_flush(struct uv_env *env)
{
    struct list_node *n;
    while ((n = list_pop(&env->files_dirty))) {
        struct env_file *f = container_of(n, struct env_file, dirty);
        wf_assert(list_empty(&f->done)); /* completed at the start of this turn */
        err_clear(&f->result);
        flush_file(f, &f->result);
        while ((n = list_pop(&f->writes)))
            list_push(&f->done, n);
        list_push(&env->files_synced, &f->synced);
    }
}

static void complete_file(struct env_file *f)
{
    struct list_node *n;
    bool gone = false;
    f->gone = &gone;
    while (!gone && (n = list_pop(&f->done))) {
        struct env_file_write *w = container_of(n, struct env_file_write, node);
        w->fn(w, &f->result);
    }
    if (!gone)
        f->gone = NULL;
}

void uv_files_complete(struct uv_env *env)
{
    struct list_node *n;
    while ((n = list_pop(&env->files_synced)))
        complete_file(container_of(n, struct env_file, synced));
}
