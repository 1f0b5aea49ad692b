#include "proxy/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/core/log.h"
#include "proxy/proxy_limits.h"

struct log_file {
    struct env *env;
    int fd;
    bool own_fd, writing, closing, failed;
    struct buf filling, full; /* full: being written by the helper thread */
    struct env_timer timer;
    struct env_work work;
    char path[256];
};

static void free_file(struct log_file *f)
{
    if (f->own_fd)
        close(f->fd);
    buf_fini(&f->filling);
    buf_fini(&f->full);
    mem_free(f);
}

/* On the helper thread: touches nothing but `full`, fd and `failed`. */
static void write_out(struct env_work *w)
{
    struct log_file *f = container_of(w, struct log_file, work);
    struct slice left = buf_slice(&f->full);
    f->failed = false;
    while (left.n) {
        ssize_t n = write(f->fd, left.p, left.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            f->failed = true;
            return;
        }
        left = slice_skip(left, (size_t)n);
    }
}

static void start_write(struct log_file *f)
{
    if (f->writing || !f->filling.n)
        return;
    struct buf empty = f->full;
    f->full = f->filling;
    f->filling = empty;
    f->filling.limit = f->full.limit;
    f->writing = true;
    env_timer_stop(f->env, &f->timer);
    env_work(f->env, &f->work);
}

static void written(struct env_work *w)
{
    struct log_file *f = container_of(w, struct log_file, work);
    f->writing = false;
    if (f->failed)
        LOG_WARN("proxy.access_log.write_failed", F_CSTR("path", f->path));
    if (f->full.cap > PROXY_BODY_SOFT_BYTES)
        buf_fini(&f->full);
    buf_clear(&f->full);
    f->full.limit = PROXY_LOG_BUFFER_BYTES;
    if (f->filling.n)
        start_write(f);
    else if (f->closing)
        free_file(f);
}

static void on_timer(struct env_timer *t)
{
    start_write(container_of(t, struct log_file, timer));
}

struct log_file *log_file_open(struct env *env, struct slice path, struct err *err)
{
    struct log_file *f = MEM_NEW(struct log_file);
    f->env = env;
    f->timer.fn = on_timer;
    f->work.work = write_out;
    f->work.done = written;
    f->filling.limit = f->full.limit = PROXY_LOG_BUFFER_BYTES;
    if (!slice_cstr(path, f->path, sizeof(f->path))) {
        mem_free(f);
        err_set(err, ERR_INVALID, "access log path is too long");
        return NULL;
    }
    if (slice_eq(path, S("/dev/stdout")) || slice_eq(path, S("/dev/stderr"))) {
        f->fd = slice_eq(path, S("/dev/stdout")) ? STDOUT_FILENO : STDERR_FILENO;
        return f;
    }
    f->fd = open(f->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    f->own_fd = true;
    if (f->fd >= 0)
        return f;
    err_errno(err, errno, "access log %s", f->path);
    mem_free(f);
    return NULL;
}

struct slice log_file_path(const struct log_file *f)
{
    return slice_of(f->path);
}

struct buf *log_file_buf(struct log_file *f)
{
    if (f->filling.n > PROXY_LOG_BUFFER_BYTES / 16)
        start_write(f);
    if (!f->timer.armed && !f->writing)
        env_timer_start(f->env, &f->timer, LOG_FLUSH_MS);
    return &f->filling;
}

void log_file_close(struct log_file *f)
{
    if (!f)
        return;
    f->closing = true;
    env_timer_stop(f->env, &f->timer);
    start_write(f);
    if (!f->writing)
        free_file(f);
}
