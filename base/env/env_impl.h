/* For those who supply an env (libuv in env_uv_*.c, the simulator): the operations behind env.h,
 * and what all implementations share. Users of env.h never include this.
 *
 *   struct my_env { struct env base; … };
 *   env_impl_init(&my->base, &my_ops);
 *   each turn:  my->base.now = …; deliver I/O; env_impl_run_timers(); env_impl_run_deferred();
 *
 * Listeners, files and locks of an implementation begin with their struct env pointer (struct
 * env_handle), by which env.c finds the operations; streams with struct env_stream_handle. */
#ifndef WEFT_BASE_ENV_ENV_IMPL_H
#define WEFT_BASE_ENV_ENV_IMPL_H

#include "base/env/env.h"

/* What a stream does. Each stream names its own, so that one may be put on top of another (TLS)
 * without its user knowing. */
struct env_stream_ops {
    size_t (*write)(struct env_stream *s, const struct iovec *iov, int n);
    size_t (*queued)(const struct env_stream *s);
    void (*read_pause)(struct env_stream *s);
    void (*read_resume)(struct env_stream *s);
    void (*shutdown)(struct env_stream *s);
    void (*close)(struct env_stream *s);
    void (*close_after_write)(struct env_stream *s, wf_ms linger);
    void (*set_events)(struct env_stream *s, const struct env_stream_events *events, void *ctx);
    const struct env_addr *(*local)(const struct env_stream *s);
    const struct env_addr *(*peer)(const struct env_stream *s);
    /* NULL: the implementation has no such thing. */
    bool (*original_dst)(const struct env_stream *s, struct env_addr *ret_addr);
    bool (*peer_cred)(const struct env_stream *s, struct env_peer_cred *ret_cred);
};

struct env_ops {
    uint64_t (*now_ns)(struct env *env);
    int64_t (*wall_ms)(struct env *env);
    void (*random)(struct env *env, void *p, size_t n);
    void (*boot_id)(struct env *env, char *dst);
    void (*post)(struct env *env, struct env_post *p);
    void (*work)(struct env *env, struct env_work *w);
    void (*aside_begin)(struct env *env, struct env_aside *a);
    void (*aside_end)(struct env *env, struct env_aside *a);

    struct env_stream *(*connect)(struct env *env, const struct env_addr *to,
                                  const struct env_stream_options *opt,
                                  const struct env_stream_events *events, void *ctx);
    struct env_listener *(*listen)(struct env *env, const struct env_addr *at,
                                   const struct env_listen_options *opt,
                                   void (*on_accept)(void *ctx, struct env_stream *s), void *ctx,
                                   struct err *err);
    const struct env_addr *(*listener_addr)(const struct env_listener *l);
    void (*listener_close)(struct env_listener *l);

    struct env_file *(*file_open)(struct env *env, const char *path, int flags, struct err *err);
    void (*file_close)(struct env_file *f);
    bool (*file_read)(struct env_file *f, uint64_t offset, void *p, size_t n, size_t *ret_n,
                      struct err *err);
    bool (*file_write)(struct env_file *f, uint64_t offset, const void *p, size_t n,
                       struct err *err);
    bool (*file_size)(struct env_file *f, uint64_t *ret_size, struct err *err);
    bool (*file_truncate)(struct env_file *f, uint64_t size, struct err *err);
    bool (*file_preallocate)(struct env_file *f, uint64_t size, struct err *err);
    void (*file_write_through)(struct env_file *f);
    void (*file_write_sync)(struct env_file *f, struct env_file_write *w);
    bool (*file_load)(struct env *env, const char *path, size_t bytes_max, struct buf *ret_bytes,
                      struct err *err);
    bool (*file_store)(struct env *env, const char *path, struct slice bytes, struct err *err);
    bool (*file_rename)(struct env *env, const char *from, const char *to, struct err *err);
    bool (*file_remove)(struct env *env, const char *path, struct err *err);
    bool (*dir_make)(struct env *env, const char *path, struct err *err);
    bool (*dir_sync)(struct env *env, const char *path, struct err *err);
    bool (*disk_free)(struct env *env, const char *path, uint64_t *ret_bytes, struct err *err);
    int (*disk_reserve)(struct env *env, int fd, uint64_t bytes);
    bool (*dir_list)(struct env *env, const char *path, void (*fn)(void *ctx, const char *name),
                     void *ctx, struct err *err);
    struct env_lock *(*lock_take)(struct env *env, const char *path, struct err *err);
    void (*lock_release)(struct env_lock *l);
};

struct env {
    const struct env_ops *ops;
    wf_ms now; /* the implementation sets it at the start of each turn */
    struct heap timers;
    struct list deferred;
    uint64_t prng; /* state of env_random_below; a simulation may set it */
};

/* First member of every struct env_listener, env_file and env_lock. */
struct env_handle {
    struct env *env;
};

/* First member of every struct env_stream. */
struct env_stream_handle {
    struct env *env;
    const struct env_stream_ops *ops;
};

/* now and prng are the implementation's to set. */
void env_impl_init(struct env *env, const struct env_ops *ops);
/* Runs the timers that are due at env->now, in order of time, then of start. */
void env_impl_run_timers(struct env *env);
/* Runs deferred tasks until none is left. */
void env_impl_run_deferred(struct env *env);
/* Time of the next timer, or INT64_MAX. */
wf_ms env_impl_next_timer(const struct env *env);

#endif
