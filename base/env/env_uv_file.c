#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "base/env/env_limits.h"
#include "base/env/env_uv_impl.h"

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
    list_init(&f->writes);
    list_init(&f->done);
    list_push(&env_of(f)->files, &f->node);
    return f;
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

static bool flush_file(struct env_file *f, struct err *err)
{
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
