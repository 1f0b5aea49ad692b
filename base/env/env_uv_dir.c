#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/env/env_limits.h"
#include "base/env/env_uv_impl.h"

/* Whole files. */

static bool read_all(int fd, const char *path, size_t bytes_max, struct buf *out, struct err *err)
{
    size_t total = 0;
    for (;;) {
        char chunk[16 << 10];
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, errno, "read %s", path);
        if (n == 0)
            return true;
        total += (size_t)n;
        if (total > bytes_max || !buf_append(out, slice_mem(chunk, (size_t)n)))
            return err_set(err, ERR_LIMIT, "%s is larger than %zu bytes", path, bytes_max);
    }
}

bool uv_file_load(struct env *env, const char *path, size_t bytes_max, struct buf *ret_bytes,
                  struct err *err)
{
    (void)env;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, "open %s", path);
    bool ok = read_all(fd, path, bytes_max, ret_bytes, err);
    close(fd);
    return ok;
}

static bool write_and_sync(int fd, struct slice bytes)
{
    while (bytes.n > 0) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        bytes = slice_skip(bytes, (size_t)n);
    }
    return fsync(fd) == 0;
}

/* The directory of a path, in an arena. */
static const char *dir_of(struct arena *a, const char *path)
{
    struct slice head, tail;
    if (!slice_cut_last(slice_of(path), '/', &head, &tail))
        return ".";
    return head.n ? arena_dup(a, head).p : "/";
}

/* A temporary name of its own for each writer: two that store one path at a time must not mix. */
static bool store_temporary(char *temporary, struct slice bytes, struct err *err)
{
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, "create %s", temporary);
    bool ok = write_and_sync(fd, bytes);
    int errnum = errno;
    close(fd);
    if (ok)
        return true;
    unlink(temporary);
    return err_errno(err, errnum, "write %s", temporary);
}

bool uv_file_store(struct env *env, const char *path, struct slice bytes, struct err *err)
{
    struct arena a = {0};
    char *temporary = (char *)(uintptr_t)arena_printf(&a, "%s.XXXXXX", path).p;
    bool ok = store_temporary(temporary, bytes, err);
    if (ok && rename(temporary, path) != 0) {
        ok = err_errno(err, errno, "rename to %s", path);
        unlink(temporary);
    }
    ok = ok && uv_dir_sync(env, dir_of(&a, path), err);
    arena_fini(&a);
    return ok;
}

bool uv_file_rename(struct env *env, const char *from, const char *to, struct err *err)
{
    (void)env;
    return rename(from, to) == 0 || err_errno(err, errno, "rename %s to %s", from, to);
}

bool uv_file_remove(struct env *env, const char *path, struct err *err)
{
    (void)env;
    return unlink(path) == 0 || err_errno(err, errno, "remove %s", path);
}

/* Directories. */

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool uv_dir_make(struct env *env, const char *path, struct err *err)
{
    (void)env;
    if (mkdir(path, 0700) == 0)
        return true;
    int errnum = errno;
    return (errnum == EEXIST && is_dir(path)) || err_errno(err, errnum, "make directory %s", path);
}

bool uv_dir_sync(struct env *env, const char *path, struct err *err)
{
    (void)env;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, errno, "open directory %s", path);
    bool ok = fsync(fd) == 0;
    int errnum = errno;
    close(fd);
    return ok || err_errno(err, errnum, "sync directory %s", path);
}

static int name_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

struct names {
    VEC(const char *) list;
    struct arena arena;
};

static bool collect(DIR *dir, const char *path, struct names *names, struct err *err)
{
    const struct dirent *entry;
    for (errno = 0; (entry = readdir(dir)); errno = 0) {
        if (is_dot(entry->d_name))
            continue;
        if (names->list.n == ENV_DIR_ENTRIES_MAX)
            return err_set(err, ERR_LIMIT, "directory %s has more than %d entries", path,
                           ENV_DIR_ENTRIES_MAX);
        *vec_push(&names->list) = arena_dup(&names->arena, slice_of(entry->d_name)).p;
    }
    return errno == 0 || err_errno(err, errno, "list directory %s", path);
}

bool uv_disk_free(struct env *env, const char *path, uint64_t *ret_bytes, struct err *err)
{
    struct statvfs fs;
    (void)env;
    if (statvfs(path, &fs) != 0)
        return err_errno(err, errno, "room at %s", path);
    *ret_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    return true;
}

int uv_disk_reserve(struct env *env, int fd, uint64_t bytes)
{
    (void)env;
    return fallocate(fd, 0, 0, (off_t)bytes) == 0 ? 0 : errno;
}

bool uv_dir_list(struct env *env, const char *path, void (*fn)(void *ctx, const char *name),
                 void *ctx, struct err *err)
{
    (void)env;
    DIR *dir = opendir(path);
    if (!dir)
        return err_errno(err, errno, "open directory %s", path);
    struct names names = {0};
    bool ok = collect(dir, path, &names, err);
    closedir(dir);
    if (ok && names.list.n)
        qsort(names.list.p, names.list.n, sizeof(*names.list.p), name_order);
    for (size_t i = 0; ok && i < names.list.n; i++)
        fn(ctx, names.list.p[i]);
    vec_fini(&names.list);
    arena_fini(&names.arena);
    return ok;
}
