#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/env/env_uv_impl.h"

#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_DIGITS 36

void uv_env_boot_id(struct env *env, char *dst)
{
    (void)env;
    memset(dst, 0, ENV_BOOT_ID_BYTES);
    int fd = open(BOOT_ID_FILE, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (read(fd, dst, BOOT_ID_DIGITS) != BOOT_ID_DIGITS)
        memset(dst, 0, ENV_BOOT_ID_BYTES);
    close(fd);
}

struct env_lock {
    struct env_handle handle;
    int fd;
};

struct env_lock *uv_lock_take(struct env *env, const char *path, struct err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        err_errno(err, errno, "open %s", path);
        return NULL;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            err_set(err, ERR_UNAVAILABLE, "%s is held by another process", path);
        else
            err_errno(err, errno, "lock %s", path);
        close(fd);
        return NULL;
    }
    struct env_lock *l = MEM_NEW(struct env_lock);
    *l = (struct env_lock){.handle.env = env, .fd = fd};
    return l;
}

void uv_lock_release(struct env_lock *l)
{
    close(l->fd);
    mem_free(l);
}
