/* What the files env_uv_*.c share. Nobody else includes it. */
#ifndef WEFT_BASE_ENV_ENV_UV_IMPL_H
#define WEFT_BASE_ENV_ENV_UV_IMPL_H

#include <uv.h>

#include "base/env/env_impl.h"
#include "base/env/env_uv.h"

/* All uv handles here are unreferenced but `wake`, which is referenced while there is something to
 * wait for: so one rule (uv_env_has_work) says when the loop may end. */
struct uv_env {
    struct env base;
    uv_loop_t loop;
    uv_prepare_t prepare; /* before the poll: how long may it wait? */
    uv_check_t check;     /* after it: the rest of the turn */
    uv_idle_t idle;       /* active = the poll must not wait */
    uv_timer_t timer;     /* the earliest env timer, or the end of env_uv_turn's wait */
    uv_poll_t wake;       /* posts and stop from other threads */
    int wake_fd;
    int asleep; /* atomic: in the poll, or about to: a post must wake it */
    wf_ms timer_due;
    wf_ms turn_wait_until;   /* INT64_MAX outside env_uv_turn */
    struct env_post *posted; /* atomic: newest first */
    int stopped;             /* atomic */
    bool hold;               /* runs until stopped, even without work */
    size_t works;

    struct list streams, listeners, files, signals;
    struct list files_dirty;  /* with writes of this turn */
    struct list files_synced; /* with completions for the next turn */
    char *read_buf;           /* ENV_READ_BYTES */
};

/* Every callback out of the poll calls it first: the time of the turn is that of the poll's end. */
static inline void uv_env_tick(struct uv_env *env)
{
    env->base.now = (wf_ms)uv_now(&env->loop);
}

/* env_uv_loop.c: runs until stopped, even without work. */
void uv_env_hold(struct env *base);

/* env_uv_stream.c */
struct env_stream *uv_stream_accepted(struct uv_env *env, int fd, const struct env_addr *peer);
/* Was on_accept's duty done: events set, or closed? */
bool uv_stream_adopted(const struct env_stream *s);
void uv_streams_close_all(struct uv_env *env);
struct env_stream *uv_stream_connect(struct env *env, const struct env_addr *to,
                                     const struct env_stream_options *opt,
                                     const struct env_stream_events *events, void *ctx);

/* env_uv_listen.c */
struct env_listener *uv_env_listen(struct env *env, const struct env_addr *at,
                                   const struct env_listen_options *opt,
                                   void (*on_accept)(void *ctx, struct env_stream *s), void *ctx,
                                   struct err *err);
const struct env_addr *uv_listener_addr(const struct env_listener *l);
void uv_listener_close(struct env_listener *l);
void uv_listeners_close_all(struct uv_env *env);

/* env_uv_file.c */
struct env_file *uv_file_open(struct env *env, const char *path, int flags, struct err *err);
void uv_file_close(struct env_file *f);
bool uv_file_read(struct env_file *f, uint64_t offset, void *p, size_t n, size_t *ret_n,
                  struct err *err);
bool uv_file_write(struct env_file *f, uint64_t offset, const void *p, size_t n, struct err *err);
bool uv_file_size(struct env_file *f, uint64_t *ret_size, struct err *err);
bool uv_file_truncate(struct env_file *f, uint64_t size, struct err *err);
bool uv_file_preallocate(struct env_file *f, uint64_t size, struct err *err);
void uv_file_write_through(struct env_file *f);
/* Was the last write with sync one? For tests. */
bool uv_file_went_through(const struct env_file *f);
void uv_file_write_sync(struct env_file *f, struct env_file_write *w);
void uv_files_flush(struct uv_env *env);    /* end of the turn: writes and one sync a file */
void uv_files_complete(struct uv_env *env); /* start of the next: fn of each write */
void uv_files_close_all(struct uv_env *env);

/* env_uv_dir.c: whole files and directories */
bool uv_file_load(struct env *env, const char *path, size_t bytes_max, struct buf *ret_bytes,
                  struct err *err);
bool uv_file_store(struct env *env, const char *path, struct slice bytes, struct err *err);
bool uv_file_rename(struct env *env, const char *from, const char *to, struct err *err);
bool uv_file_remove(struct env *env, const char *path, struct err *err);
bool uv_dir_make(struct env *env, const char *path, struct err *err);
bool uv_dir_sync(struct env *env, const char *path, struct err *err);
bool uv_disk_free(struct env *env, const char *path, uint64_t *ret_bytes, struct err *err);
int uv_disk_reserve(struct env *env, int fd, uint64_t bytes);
void uv_aside_begin(struct env *env, struct env_aside *a);
void uv_aside_end(struct env *env, struct env_aside *a);
bool uv_dir_list(struct env *env, const char *path, void (*fn)(void *ctx, const char *name),
                 void *ctx, struct err *err);

/* env_uv_lock.c: what belongs to the machine */
void uv_env_boot_id(struct env *env, char *dst);
struct env_lock *uv_lock_take(struct env *env, const char *path, struct err *err);
void uv_lock_release(struct env_lock *l);

#endif
