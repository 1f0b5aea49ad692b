/* The world as ports: clock, timers, tasks, random, streams, files. One struct env is one loop on
 * one thread. Production gives libuv and sockets (env_uv.h); a simulation gives virtual time, a
 * seeded network and a disk that fails. Registry, pilot and the proxy's xDS client know nothing
 * else.
 *
 *   struct env_timer t = {.fn = on_retry};
 *   env_timer_start(env, &t, 250);
 *
 * Everything here is called on the env's own thread, but for env_post. Callbacks run on it too,
 * never from inside the call that caused them (env_connect, env_stream_close, … return first),
 * except where a function says so.
 *
 * A turn: poll -> stream, accept and I/O callbacks, due timers, posted tasks -> deferred tasks ->
 * file writes with sync. So network output of a turn leaves before the disk is waited for.
 */
#ifndef WEFT_BASE_ENV_ENV_H
#define WEFT_BASE_ENV_ENV_H

#include <netinet/in.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "base/core/err.h"
#include "base/core/heap.h"
#include "base/core/list.h"
#include "base/core/mem.h"
#include "base/core/slice.h"

struct env;

/* Clock, random. */

/* Loop time: monotonic, milliseconds, constant during a turn. */
wf_ms env_now(struct env *env);
/* Monotonic, fresh, nanoseconds: for measuring. */
uint64_t env_now_ns(struct env *env);
/* Wall clock, ms since 1970. For people and certificates, never for decisions of a core. */
int64_t env_wall_ms(struct env *env);
void env_random(struct env *env, void *p, size_t n);
/* Names this start of the machine; "" where none is known. Other after a power cut: what was not
 * synced before may be gone. NUL-terminated in dst. From any thread. */
#define ENV_BOOT_ID_BYTES 64
void env_boot_id(struct env *env, char dst[ENV_BOOT_ID_BYTES]);
/* Uniform in [0, below), below > 0. Fast and not for secrets. */
uint64_t env_random_below(struct env *env, uint64_t below);

/* Timers. */

/* Embedded in its owner; zeroed but for fn is valid and stopped. */
struct env_timer {
    struct heap_node node;
    void (*fn)(struct env_timer *t);
    bool armed;
};

/* Fires once, `delay` milliseconds after env_now; at the earliest in the next round of timers, so
 * that a timer that restarts itself with 0 does not hold the turn. Restarts an armed timer. */
void env_timer_start(struct env *env, struct env_timer *t, wf_ms delay);
/* Harmless on a stopped timer. After it fn is not called. */
void env_timer_stop(struct env *env, struct env_timer *t);

/* Tasks. */

/* Embedded in its owner. Queued at most once at a time. */
struct env_task {
    struct list_node node;
    void (*fn)(struct env_task *t);
};

/* Runs at the end of this turn, in order. Deferring a queued task changes nothing. From a deferred
 * task itself: runs in the same end-of-turn pass, after those queued. */
void env_defer(struct env *env, struct env_task *t);
/* Harmless on a task that is not queued. (A task must be zeroed before its first use.) */
void env_defer_cancel(struct env_task *t);

/* A message to another thread's loop. */
struct env_post {
    struct env_post *next;
    void (*fn)(struct env_post *p);
};
/* From any thread; never blocks. Runs on target's thread, posts of one sender in their order. The
 * struct is the receiver's from now on. Bounds are the caller's: post only what is counted. */
void env_post(struct env *target, struct env_post *p);

/* Addresses. */

struct env_addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
    socklen_t len;
};

#define ENV_ADDR_TEXT 128
/* "127.0.0.1:80", "[::1]:80", "unix:/path", "unix:@abstract". No names: resolving is somebody
 * else's work. */
bool env_addr_parse(struct env_addr *addr, struct slice text, struct err *err);
/* The same form back; NUL-terminated in dst (ENV_ADDR_TEXT bytes), returned as a slice of it. */
struct slice env_addr_format(const struct env_addr *addr, char *dst);
bool env_addr_loopback(const struct env_addr *addr); /* 127/8, ::1 or a Unix socket */
bool env_addr_equal(const struct env_addr *a, const struct env_addr *b);
uint16_t env_addr_port(const struct env_addr *addr);
void env_addr_set_port(struct env_addr *addr, uint16_t port);

/* Streams. */

struct env_stream;

/* Kept by address: a static table. All optional but on_close. on_close is the last callback: after
 * it the stream is gone. Without on_end the peer's end is a failure (on_close with ERR_IO, after
 * what is queued has been sent). When both sides have ended, the stream closes itself (ERR_NONE).
 * why->code: ERR_UNAVAILABLE a connection that did not come about, ERR_TIMEOUT, ERR_IO a reset. */
struct env_stream_events {
    void (*on_connect)(void *ctx);                      /* outgoing only: established */
    void (*on_data)(void *ctx, struct slice bytes);     /* borrowed until return; never empty */
    void (*on_end)(void *ctx);                          /* the peer will send no more */
    void (*on_drain)(void *ctx);                        /* queued bytes fell to low_water or less */
    void (*on_close)(void *ctx, const struct err *why); /* why->code == ERR_NONE: we closed it */
};

struct env_stream_options {
    size_t low_water;      /* bytes; default 16 KiB */
    wf_ms connect_timeout; /* outgoing; default 5,000 */
    wf_ms user_timeout;    /* TCP_USER_TIMEOUT; 0 = the system's */
    bool nodelay_off;      /* TCP_NODELAY is on unless set */
    /* Outgoing: bind to it first (port 0: any); NULL = the system's. */
    const struct env_addr *source;
    uint32_t mark; /* outgoing: SO_MARK; 0 = none */
};

/* Never NULL: a refused connection comes through on_close. opt may be NULL. */
struct env_stream *env_connect(struct env *env, const struct env_addr *to,
                               const struct env_stream_options *opt,
                               const struct env_stream_events *events, void *ctx);
/* Takes all: writes what the kernel takes now, copies and queues the rest. Returns the bytes queued
 * after the call; the caller bounds them (stop producing above its mark, go on at on_drain). After
 * a write that returned more than 0, on_drain or on_close comes. A write on a failed or closed
 * stream is dropped; on_close says so. May be called before on_connect. */
size_t env_stream_write(struct env_stream *s, const struct iovec *iov, int n);
size_t env_stream_queued(const struct env_stream *s);
/* Reading is on at birth. Paused, no on_data and no on_end come. */
void env_stream_read_pause(struct env_stream *s);
void env_stream_read_resume(struct env_stream *s);
/* Sends what is queued, then FIN. Reading goes on. */
void env_stream_shutdown(struct env_stream *s);
/* Drops what is queued; on_close follows at the end of the turn, unless `events` was detached
 * (env_stream_set_events with NULL). */
void env_stream_close(struct env_stream *s);
/* Sends what is queued and a FIN, drops what still comes until the peer ends too (so that no reset
 * overtakes the last bytes), then closes; at most `linger` ms for all. Only on_close follows. */
void env_stream_close_after_write(struct env_stream *s, wf_ms linger);
/* New owner for the events (a connection that changes hands). NULL detaches: a detached stream
 * drops what comes and ends with its peer, so only env_stream_close may follow, and at once. */
void env_stream_set_events(struct env_stream *s, const struct env_stream_events *events, void *ctx);
const struct env_addr *env_stream_local(const struct env_stream *s);
const struct env_addr *env_stream_peer(const struct env_stream *s);
/* Where the client wanted to go before iptables redirected it here (SO_ORIGINAL_DST); false where
 * nothing was redirected. */
bool env_stream_original_dst(const struct env_stream *s, struct env_addr *ret_addr);
/* Who is at the other end of a Unix socket; false for other streams. */
struct env_peer_cred {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};
bool env_stream_peer_cred(const struct env_stream *s, struct env_peer_cred *ret_cred);

struct env_listener;
struct env_listen_options {
    int backlog;        /* default 1,024 */
    bool reuse_port;    /* one listener a worker on the same address */
    bool first;         /* with reuse_port: refused when another socket listens there already */
    bool transparent;   /* IP_TRANSPARENT, for TPROXY */
    uint32_t unix_mode; /* permission bits of a Unix socket's file; 0 = 0600 */
};
/* on_accept gets a live stream and must call env_stream_set_events or env_stream_close before it
 * returns. NULL and err when the address cannot be bound (the message names it). Port 0 binds any:
 * see env_listener_addr. "[::]" takes IPv6 only. A stale Unix socket file is replaced; one that
 * somebody listens on is not. opt may be NULL. */
struct env_listener *env_listen(struct env *env, const struct env_addr *at,
                                const struct env_listen_options *opt,
                                void (*on_accept)(void *ctx, struct env_stream *s), void *ctx,
                                struct err *err);
const struct env_addr *env_listener_addr(const struct env_listener *l);
/* No on_accept after it. The listener is gone. */
void env_listener_close(struct env_listener *l);

/* Files. */

/* Small and rare things are synchronous; a write with sync is a request with a completion. */
struct env_file;

/* flags as open(2). NULL and err on failure. */
struct env_file *env_file_open(struct env *env, const char *path, int flags, struct err *err);
/* Writes whose fn has not run are forgotten: they may or may not be durable. NULL is fine. */
void env_file_close(struct env_file *f);
/* Reads until n bytes or the end of the file: *ret_n says how many. */
bool env_file_read(struct env_file *f, uint64_t offset, void *p, size_t n, size_t *ret_n,
                   struct err *err);
/* Into the system's memory: outlives the process, not a power cut. Blocks; for a few bytes. */
bool env_file_write(struct env_file *f, uint64_t offset, const void *p, size_t n, struct err *err);
bool env_file_size(struct env_file *f, uint64_t *ret_size, struct err *err);
bool env_file_truncate(struct env_file *f, uint64_t size, struct err *err);
/* Reserves and zeroes, so that later syncs write no metadata. */
bool env_file_preallocate(struct env_file *f, uint64_t size, struct err *err);

/* One write with data sync: everything submitted to one file in one turn becomes durable with one
 * sync, after the turn's network output. fn runs in a later turn, in submission order. Where one
 * write or the sync fails, all writes of that file and turn fail: nothing of them is known to be
 * durable. */
struct env_file_write {
    struct list_node node;
    const struct iovec *iov; /* stays valid until fn */
    int iov_n;
    uint64_t offset;
    void (*fn)(struct env_file_write *w, const struct err *err); /* err->code ERR_NONE: durable */
};
void env_file_write_sync(struct env_file *f, struct env_file_write *w);
/* From now on small writes with sync inside of the file go past the system's memory, where the file
 * system can do that: the disk is waited for once instead of twice. What is read afterwards comes
 * from the disk. Such a write makes itself durable, and not what env_file_write or a truncation did
 * before. Call it before the file gets another name. */
void env_file_write_through(struct env_file *f);

/* Whole small files; from any thread, as all below. Load appends to ret_bytes; a file above
 * bytes_max is ERR_LIMIT. Store is atomic: temporary file, sync, rename, directory sync. */
bool env_file_load(struct env *env, const char *path, size_t bytes_max, struct buf *ret_bytes,
                   struct err *err);
bool env_file_store(struct env *env, const char *path, struct slice bytes, struct err *err);
bool env_file_rename(struct env *env, const char *from, const char *to, struct err *err);
bool env_file_remove(struct env *env, const char *path, struct err *err);
bool env_dir_make(struct env *env, const char *path, struct err *err); /* fine if it is there */
bool env_dir_sync(struct env *env, const char *path, struct err *err);
/* Bytes that may still be written to the disk that holds path. */
bool env_disk_free(struct env *env, const char *path, uint64_t *ret_bytes, struct err *err);
/* Has the disk promise blocks for so many bytes of a file that a library writes, and makes it so
 * long if it is shorter. 0, or why not (errno): EOPNOTSUPP where the file system cannot promise. */
int env_disk_reserve(struct env *env, int fd, uint64_t bytes);
/* Calls fn with each entry's name, sorted, without "." and "..". */
bool env_dir_list(struct env *env, const char *path, void (*fn)(void *ctx, const char *name),
                  void *ctx, struct err *err);

/* Holds `path` (made if absent) against other processes, until it is released or the process ends,
 * however it ends. NULL and err: ERR_UNAVAILABLE when another has it. */
struct env_lock;
struct env_lock *env_lock_take(struct env *env, const char *path, struct err *err);
void env_lock_release(struct env_lock *l); /* NULL is fine */

/* Work aside. */

/* Runs work() on a helper thread, then done() on the env's thread. For checkpoints and the like.
 * The struct stays valid until done. */
struct env_work {
    void (*work)(struct env_work *w);
    void (*done)(struct env_work *w);
    void *impl;
};
void env_work(struct env *env, struct env_work *w);

/* Runs work() beside the caller, who needs what comes of it before the next turn; in a simulation,
 * and where no thread can be had, at once. The struct stays where it is until the end, which
 * waits. */
struct env_aside {
    void (*work)(struct env_aside *a);
    void *impl;
};
void env_aside_begin(struct env *env, struct env_aside *a);
void env_aside_end(struct env *env, struct env_aside *a); /* nothing, if it was ended */

#endif
