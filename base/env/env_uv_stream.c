#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "base/core/sm.h"
#include "base/env/env_limits.h"
#include "base/env/env_uv_impl.h"

/* linux/netfilter_ipv4.h and netfilter_ipv6/ip6_tables.h, which clash with netinet/in.h. */
#define ORIGINAL_DST_OPTION 80

/*  connecting ──> open ──> lingering ──> closed
 *       └───────────┴────────────┴─────────^
 * lingering: the owner asked to close after what is queued; closed: the descriptor is gone,
 * on_close is queued or done, and the memory goes when libuv lets go of the handle. */
enum stream_state { STREAM_CONNECTING, STREAM_OPEN, STREAM_LINGERING, STREAM_CLOSED };

static const struct sm_state stream_states[] = {
    [STREAM_CONNECTING] = {"connecting", SM(STREAM_OPEN) | SM(STREAM_CLOSED)},
    [STREAM_OPEN] = {"open", SM(STREAM_LINGERING) | SM(STREAM_CLOSED)},
    [STREAM_LINGERING] = {"lingering", SM(STREAM_CLOSED)},
    [STREAM_CLOSED] = {"closed", 0},
};
static const struct sm_table stream_table = {"env.stream", stream_states, ARRAY_LEN(stream_states),
                                             NULL};

/* The flags are independent facts about the two directions. */
struct env_stream {
    struct env_stream_handle handle;
    struct sm sm;
    bool has_poll;      /* libuv knows the handle */
    bool reported;      /* on_close is done */
    bool paused;        /* the owner wants no reads */
    bool read_ended;    /* the peer's FIN was read */
    bool write_ended;   /* our FIN was sent */
    bool write_failed;  /* the kernel takes no more; `why` says it */
    bool want_shutdown; /* FIN behind what is queued */
    bool want_linger;   /* close_after_write came before the connection */
    bool drain_due;     /* a write was queued and on_drain has not come since */
    int interest;       /* what the poll handle watches: UV_READABLE | UV_WRITABLE */
    int fd;
    size_t low_water;
    const struct env_stream_events *events; /* NULL = detached */
    void *ctx;
    struct buf out;         /* empty, without memory, while the kernel takes all */
    struct err *why;        /* NULL = no failure */
    struct env_timer timer; /* connecting: time-out; lingering: the end of patience */
    wf_ms linger_ms;
    struct env_task task; /* closed: on_close; else a connection that was there at once */
    struct list_node node;
    struct env_addr peer;
    struct env_addr *local; /* asked for at the first use */
    uv_poll_t poll;
};

static struct uv_env *env_of(const struct env_stream *s)
{
    return container_of(s->handle.env, struct uv_env, base);
}

static void stream_move(struct env_stream *s, enum stream_state to)
{
    sm_move(&stream_table, &s->sm, (uint8_t)to, s);
}

/* Interest. */

static void on_poll(uv_poll_t *poll, int status, int events);
static void uv_stream_close_after_write(struct env_stream *s, wf_ms linger);
static const struct env_stream_ops stream_ops;

/* Tells the loop what to wait for; nothing when nothing changed. Pausing alone does not come here:
 * an owner that pauses and resumes between two packets costs no system call (see on_readable). */
static void update_interest(struct env_stream *s)
{
    int want = 0;
    if (s->sm.now == STREAM_CLOSED)
        return;
    if (s->sm.now != STREAM_CONNECTING && !s->paused && !s->read_ended)
        want |= UV_READABLE;
    if (s->sm.now == STREAM_CONNECTING || (s->out.n && !s->write_failed))
        want |= UV_WRITABLE;
    if (want == s->interest)
        return;
    s->interest = want;
    int rc = want ? uv_poll_start(&s->poll, want, on_poll) : uv_poll_stop(&s->poll);
    wf_assert(rc == 0);
}

/* End of a stream. */

static void stream_free(struct env_stream *s)
{
    wf_assert(!list_linked(&s->task.node));
    wf_assert(!s->timer.armed);
    list_remove(&s->node);
    buf_fini(&s->out);
    mem_free(s->why);
    mem_free(s->local);
    mem_free(s);
}

/* The last of on_close and libuv's own end frees the stream. */
static void on_poll_closed(uv_handle_t *handle)
{
    struct env_stream *s = container_of(handle, struct env_stream, poll);
    s->has_poll = false;
    if (s->reported)
        stream_free(s);
}

static void report_close(struct env_task *task)
{
    struct env_stream *s = container_of(task, struct env_stream, task);
    const struct err none = {.code = ERR_NONE};
    const struct env_stream_events *events = s->events;
    s->events = NULL;
    if (events)
        events->on_close(s->ctx, s->why ? s->why : &none);
    s->reported = true;
    if (!s->has_poll)
        stream_free(s);
}

/* Gives the descriptor back at once; on_close follows at the end of the turn. */
static void finish(struct env_stream *s)
{
    if (s->sm.now == STREAM_CLOSED)
        return;
    stream_move(s, STREAM_CLOSED);
    env_timer_stop(s->handle.env, &s->timer);
    env_defer_cancel(&s->task);
    if (s->fd >= 0) {
        /* In this order: libuv takes the number out of the poll, then somebody else may get it. */
        uv_close((uv_handle_t *)&s->poll, on_poll_closed);
        close(s->fd);
        s->fd = -1;
    }
    buf_fini(&s->out);
    s->task.fn = report_close;
    env_defer(s->handle.env, &s->task);
}

static void set_why(struct env_stream *s, enum err_code code, int errnum, const char *what)
{
    char text[ENV_ADDR_TEXT];
    if (s->why)
        return;
    s->why = MEM_NEW(struct err);
    env_addr_format(&s->peer, text);
    if (errnum)
        err_errno(s->why, errnum, "%s %s", what, text);
    else
        err_set(s->why, code, "%s %s", what, text);
    s->why->code = code;
}

static void fail(struct env_stream *s, enum err_code code, int errnum, const char *what)
{
    if (s->sm.now == STREAM_CLOSED)
        return;
    set_why(s, code, errnum, what);
    finish(s);
}

/* The kernel takes no more bytes. What the peer sent before it went is still read: an early answer
 * often stands there. Where nobody reads, this is the end. */
static void fail_write(struct env_stream *s, int errnum)
{
    s->write_failed = true;
    buf_fini(&s->out);
    set_why(s, ERR_IO, errnum, "write to");
    if (s->paused || s->read_ended || s->sm.now == STREAM_LINGERING)
        finish(s);
    else
        update_interest(s);
}

/* Writing. */

static ssize_t send_pieces(int fd, const struct iovec *iov, int n)
{
    ssize_t sent;
    do {
        if (n == 1) {
            sent = send(fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
        } else {
            struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                                 .msg_iovlen = (size_t)n};
            sent = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
    } while (sent < 0 && errno == EINTR);
    return sent;
}

static void send_fin(struct env_stream *s)
{
    s->want_shutdown = false;
    s->write_ended = true;
    shutdown(s->fd, SHUT_WR);
    if (s->read_ended)
        finish(s);
}

static void queue_rest(struct env_stream *s, const struct iovec *iov, int n, size_t skip)
{
    for (int i = 0; i < n; i++) {
        struct slice piece = slice_mem(iov[i].iov_base, iov[i].iov_len);
        size_t from = skip < piece.n ? skip : piece.n;
        skip -= from;
        buf_append(&s->out, slice_skip(piece, from));
    }
}

static size_t uv_stream_write(struct env_stream *s, const struct iovec *iov, int n)
{
    size_t total = 0, sent = 0;
    if (s->sm.now == STREAM_CLOSED || s->sm.now == STREAM_LINGERING || s->write_failed)
        return 0;
    wf_assert(!s->write_ended && !s->want_shutdown);
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    if (s->sm.now == STREAM_OPEN && !s->out.n && total) {
        ssize_t rc = send_pieces(s->fd, iov, n < ENV_IOV_MAX ? n : ENV_IOV_MAX);
        if (rc < 0 && errno != EAGAIN) {
            fail_write(s, errno);
            return 0;
        }
        sent = rc > 0 ? (size_t)rc : 0;
    }
    if (sent == total)
        return s->out.n;
    queue_rest(s, iov, n, sent);
    s->drain_due = true;
    update_interest(s);
    return s->out.n;
}

/* Sends what is queued; false when the stream is closed by it. */
static bool flush(struct env_stream *s)
{
    while (s->out.n) {
        struct slice bytes = buf_slice(&s->out);
        ssize_t sent = send(s->fd, bytes.p, bytes.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent < 0) {
            fail_write(s, errno);
            return s->sm.now != STREAM_CLOSED;
        }
        buf_consume(&s->out, (size_t)sent);
        if ((size_t)sent < bytes.n)
            break;
    }
    if (!s->out.n) {
        buf_fini(&s->out);
        if (s->want_shutdown)
            send_fin(s);
    }
    return s->sm.now != STREAM_CLOSED;
}

static void on_writable(struct env_stream *s)
{
    if (s->write_failed || !flush(s))
        return;
    update_interest(s);
    if (!s->drain_due || s->write_failed || s->out.n > s->low_water)
        return;
    s->drain_due = false;
    if (s->events && s->events->on_drain && s->sm.now == STREAM_OPEN)
        s->events->on_drain(s->ctx);
}

static size_t uv_stream_queued(const struct env_stream *s)
{
    return s->out.n;
}

static void uv_stream_shutdown(struct env_stream *s)
{
    if (s->sm.now == STREAM_CLOSED || s->write_failed || s->write_ended)
        return;
    s->want_shutdown = true;
    if (s->sm.now != STREAM_CONNECTING && !s->out.n)
        send_fin(s);
}

/* Reading. */

static void on_peer_end(struct env_stream *s)
{
    s->read_ended = true;
    if (s->write_failed || s->sm.now == STREAM_LINGERING) {
        /* Lingering, everything is sent when the FIN is: a peer that ends first is only waited for
         * until then. */
        if (s->write_failed || s->write_ended)
            finish(s);
        else
            update_interest(s);
        return;
    }
    if (s->write_ended) {
        if (s->events && s->events->on_end)
            s->events->on_end(s->ctx);
        finish(s);
        return;
    }
    update_interest(s);
    if (s->events && s->events->on_end) {
        s->events->on_end(s->ctx);
        return;
    }
    set_why(s, ERR_IO, 0, "connection ended by");
    uv_stream_close_after_write(s, ENV_CONNECT_TIMEOUT_DEFAULT_MS);
}

static void deliver(struct env_stream *s, struct slice bytes)
{
    if (s->sm.now == STREAM_OPEN && s->events && s->events->on_data)
        s->events->on_data(s->ctx, bytes);
}

static bool wants_data(const struct env_stream *s)
{
    return s->sm.now != STREAM_CLOSED && !s->paused && !s->read_ended;
}

/* A read that does not fill the buffer was the last: asking once more only to hear EAGAIN would
 * cost a system call a request. */
static void on_readable(struct env_stream *s)
{
    char *buf = env_of(s)->read_buf;
    for (int i = 0; i < ENV_READS_PER_EVENT && wants_data(s); i++) {
        ssize_t n = recv(s->fd, buf, ENV_READ_BYTES, MSG_DONTWAIT);
        if (n > 0)
            deliver(s, slice_mem(buf, (size_t)n));
        else if (n == 0)
            on_peer_end(s);
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            fail(s, ERR_IO, errno, "read from");
        if (n > 0 && n < ENV_READ_BYTES)
            break;
    }
    /* Paused: only now, that something came, stop the loop from telling again. */
    if (s->paused)
        update_interest(s);
}

static void uv_stream_read_pause(struct env_stream *s)
{
    s->paused = true;
}

static void uv_stream_read_resume(struct env_stream *s)
{
    s->paused = false;
    update_interest(s);
}

/* Connecting. */

static void begin_linger(struct env_stream *s);

static void on_connected(struct env_stream *s)
{
    stream_move(s, STREAM_OPEN);
    env_timer_stop(s->handle.env, &s->timer);
    if (s->want_linger)
        begin_linger(s);
    else if (s->events && s->events->on_connect)
        s->events->on_connect(s->ctx);
    if (s->sm.now != STREAM_CLOSED)
        on_writable(s);
    /* want_shutdown with nothing queued: flush has sent the FIN. */
}

static void check_connected(struct env_stream *s)
{
    int errnum = 0;
    socklen_t n = sizeof(errnum);
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &errnum, &n);
    if (errnum)
        fail(s, ERR_UNAVAILABLE, errnum, "connect to");
    else
        on_connected(s);
}

/* connect(2) said at once how it went; the caller hears at the end of the turn. */
static void connected_at_once(struct env_task *task)
{
    struct env_stream *s = container_of(task, struct env_stream, task);
    wf_assert(s->sm.now == STREAM_CONNECTING);
    on_connected(s);
}

static void on_stream_timer(struct env_timer *t)
{
    struct env_stream *s = container_of(t, struct env_stream, timer);
    if (s->sm.now == STREAM_CONNECTING)
        fail(s, ERR_TIMEOUT, 0, "connect timed out to");
    else
        finish(s);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct env_stream *s = container_of(poll, struct env_stream, poll);
    uv_env_tick(env_of(s));
    if (status < 0) {
        /* libuv has stopped the handle after EPOLLERR: let the calls find out what it was. */
        s->interest = 0;
        events = UV_READABLE | UV_WRITABLE;
    }
    if (s->sm.now == STREAM_CONNECTING) {
        check_connected(s);
        return;
    }
    if (events & UV_WRITABLE && s->sm.now != STREAM_CLOSED)
        on_writable(s);
    if (events & UV_READABLE && s->sm.now != STREAM_CLOSED)
        on_readable(s);
    if (status < 0)
        update_interest(s);
}

/* Birth. */

static struct env_stream *stream_new(struct uv_env *env, int fd, const struct env_addr *peer,
                                     enum stream_state state)
{
    struct env_stream *s = MEM_NEW(struct env_stream);
    s->handle = (struct env_stream_handle){&env->base, &stream_ops};
    s->sm.now = (uint8_t)state;
    s->fd = fd;
    s->low_water = ENV_LOW_WATER_DEFAULT;
    s->peer = *peer;
    s->timer.fn = on_stream_timer;
    list_push(&env->streams, &s->node);
    if (fd < 0)
        return s;
    int rc = uv_poll_init(&env->loop, &s->poll, fd);
    wf_assert(rc == 0);
    uv_unref((uv_handle_t *)&s->poll);
    s->has_poll = true;
    return s;
}

struct env_stream *uv_stream_accepted(struct uv_env *env, int fd, const struct env_addr *peer)
{
    struct env_stream *s = stream_new(env, fd, peer, STREAM_OPEN);
    update_interest(s);
    return s;
}

bool uv_stream_adopted(const struct env_stream *s)
{
    return s->events || s->sm.now == STREAM_CLOSED;
}

static bool set_options(int fd, const struct env_addr *to, const struct env_stream_options *opt)
{
    int on = 1;
    unsigned user_timeout = (unsigned)opt->user_timeout;
    bool tcp = to->sa.sa_family != AF_UNIX;
    if (tcp && !opt->nodelay_off)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (tcp && user_timeout)
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof(user_timeout));
    if (opt->mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &opt->mark, sizeof(opt->mark)) != 0)
        return false;
    if (!opt->source)
        return true;
    if (tcp && env_addr_port(opt->source) == 0)
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    return bind(fd, &opt->source->sa, opt->source->len) == 0;
}

/* Opens and connects: 0 established, EINPROGRESS on its way, else the failure. */
static int socket_connect(const struct env_addr *to, const struct env_stream_options *opt,
                          int *ret_fd)
{
    int fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    if (!set_options(fd, to, opt) || (connect(fd, &to->sa, to->len) != 0 && errno != EINPROGRESS)) {
        int errnum = errno;
        close(fd);
        return errnum;
    }
    /* A Unix socket is there at once; loopback TCP too, but says EINPROGRESS and the poll tells. */
    *ret_fd = fd;
    return to->sa.sa_family == AF_UNIX ? 0 : EINPROGRESS;
}

struct env_stream *uv_stream_connect(struct env *base, const struct env_addr *to,
                                     const struct env_stream_options *opt,
                                     const struct env_stream_events *events, void *ctx)
{
    struct uv_env *env = container_of(base, struct uv_env, base);
    int fd = -1;
    int errnum = socket_connect(to, opt, &fd);
    struct env_stream *s = stream_new(env, fd, to, STREAM_CONNECTING);
    s->events = events;
    s->ctx = ctx;
    if (opt->low_water)
        s->low_water = opt->low_water;
    if (errnum == EINPROGRESS) {
        wf_ms timeout =
            opt->connect_timeout ? opt->connect_timeout : ENV_CONNECT_TIMEOUT_DEFAULT_MS;
        env_timer_start(base, &s->timer, timeout);
        update_interest(s);
    } else if (errnum == 0) {
        s->task.fn = connected_at_once;
        env_defer(base, &s->task);
    } else {
        fail(s, ERR_UNAVAILABLE, errnum, "connect to");
    }
    return s;
}

/* Closing. */

static void uv_stream_close(struct env_stream *s)
{
    if (s->sm.now == STREAM_CLOSED)
        return;
    mem_free(s->why);
    s->why = NULL;
    finish(s);
}

static void begin_linger(struct env_stream *s)
{
    stream_move(s, STREAM_LINGERING);
    s->paused = false;
    env_timer_start(s->handle.env, &s->timer, s->linger_ms);
    if (s->write_ended) {
        if (s->read_ended)
            finish(s);
        else
            update_interest(s);
        return;
    }
    s->want_shutdown = true;
    if (!s->out.n)
        send_fin(s);
    update_interest(s);
}

static void uv_stream_close_after_write(struct env_stream *s, wf_ms linger)
{
    if (s->sm.now == STREAM_CLOSED || s->sm.now == STREAM_LINGERING)
        return;
    if (s->write_failed) {
        finish(s);
        return;
    }
    s->linger_ms = linger;
    if (s->sm.now == STREAM_CONNECTING)
        s->want_linger = true;
    else
        begin_linger(s);
}

void uv_streams_close_all(struct uv_env *env)
{
    LIST_EACH (&env->streams, n)
        uv_stream_close(container_of(n, struct env_stream, node));
}

static void uv_stream_set_events(struct env_stream *s, const struct env_stream_events *events,
                                 void *ctx)
{
    s->events = events;
    s->ctx = ctx;
}

/* Who is there. */

static const struct env_addr *uv_stream_local(const struct env_stream *cs)
{
    struct env_stream *s = (struct env_stream *)(uintptr_t)cs;
    if (!s->local) {
        s->local = MEM_NEW(struct env_addr);
        s->local->len = sizeof(s->local->un);
        if (s->fd < 0 || getsockname(s->fd, &s->local->sa, &s->local->len) != 0)
            *s->local = (struct env_addr){0};
    }
    return s->local;
}

static const struct env_addr *uv_stream_peer(const struct env_stream *s)
{
    return &s->peer;
}

static bool uv_stream_original_dst(const struct env_stream *s, struct env_addr *ret_addr)
{
    struct env_addr a = {0};
    a.len = sizeof(a.in6);
    if (s->fd < 0 || s->peer.sa.sa_family == AF_UNIX)
        return false;
    bool v6 = s->peer.sa.sa_family == AF_INET6;
    if (getsockopt(s->fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, ORIGINAL_DST_OPTION, &a.sa, &a.len) != 0)
        return false;
    *ret_addr = a;
    return true;
}

static bool uv_stream_peer_cred(const struct env_stream *s, struct env_peer_cred *ret_cred)
{
    struct ucred cred;
    socklen_t n = sizeof(cred);
    if (s->fd < 0 || s->peer.sa.sa_family != AF_UNIX ||
        getsockopt(s->fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) != 0)
        return false;
    *ret_cred = (struct env_peer_cred){.pid = cred.pid, .uid = cred.uid, .gid = cred.gid};
    return true;
}

static const struct env_stream_ops stream_ops = {
    .write = uv_stream_write,
    .queued = uv_stream_queued,
    .read_pause = uv_stream_read_pause,
    .read_resume = uv_stream_read_resume,
    .shutdown = uv_stream_shutdown,
    .close = uv_stream_close,
    .close_after_write = uv_stream_close_after_write,
    .set_events = uv_stream_set_events,
    .local = uv_stream_local,
    .peer = uv_stream_peer,
    .original_dst = uv_stream_original_dst,
    .peer_cred = uv_stream_peer_cred,
};
