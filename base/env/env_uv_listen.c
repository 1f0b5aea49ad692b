#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/env/env_limits.h"
#include "base/env/env_uv_impl.h"

struct env_listener {
    struct env_handle handle;
    struct list_node node;
    struct env_addr addr;
    void (*on_accept)(void *ctx, struct env_stream *s);
    void *ctx;
    int fd;
    bool owns_path;         /* a Unix socket whose file we made */
    bool closed;            /* by the owner; lives until libuv lets go of the handle */
    struct env_timer pause; /* out of descriptors: accept again later */
    uv_poll_t poll;
};

static struct uv_env *env_of(const struct env_listener *l)
{
    return container_of(l->handle.env, struct uv_env, base);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void pause_accepting(struct env_listener *l, int errnum)
{
    struct err err = {0};
    char text[ENV_ADDR_TEXT];
    env_addr_format(&l->addr, text);
    err_errno(&err, errnum, "accept on %s", text);
    LOG_WARN("env.accept", F_ERR(&err), F_I64("pause_ms", ENV_ACCEPT_PAUSE_MS));
    uv_poll_stop(&l->poll);
    env_timer_start(l->handle.env, &l->pause, ENV_ACCEPT_PAUSE_MS);
}

static void on_pause_end(struct env_timer *t)
{
    struct env_listener *l = container_of(t, struct env_listener, pause);
    uv_poll_start(&l->poll, UV_READABLE, on_poll);
}

/* Takes one connection; false when there is none now. */
static bool accept_one(struct env_listener *l)
{
    struct env_addr peer = {0};
    peer.len = sizeof(peer.un);
    int fd = accept4(l->fd, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
        pause_accepting(l, errno);
    if (fd < 0)
        return errno == EINTR || errno == ECONNABORTED;
    struct env_stream *s = uv_stream_accepted(env_of(l), fd, &peer);
    l->on_accept(l->ctx, s);
    wf_assert(uv_stream_adopted(s));
    return true;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct env_listener *l = container_of(poll, struct env_listener, poll);
    (void)status;
    (void)events;
    uv_env_tick(env_of(l));
    for (int i = 0; i < ENV_ACCEPTS_PER_EVENT && !l->closed; i++)
        if (!accept_one(l))
            break;
}

/* Accepted sockets inherit TCP_NODELAY, so it costs nothing a connection. */
static void set_options(int fd, const struct env_addr *at, const struct env_listen_options *opt)
{
    int on = 1;
    if (at->sa.sa_family == AF_UNIX)
        return;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (opt->reuse_port)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    if (at->sa.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (opt->transparent && at->sa.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, &on, sizeof(on));
    else if (opt->transparent)
        setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on));
}

static bool has_path(const struct env_addr *at)
{
    return at->sa.sa_family == AF_UNIX && at->un.sun_path[0] != '\0';
}

/* A socket file that nobody listens on is left from a process that died. */
static void remove_stale(const struct env_addr *at)
{
    struct stat st;
    if (stat(at->un.sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, &at->sa, at->len) != 0 && errno == ECONNREFUSED)
        unlink(at->un.sun_path);
    close(fd);
}

/* SO_REUSEPORT lets another process of this user share the port, and take half of what comes. */
static bool nobody_listens(const struct env_addr *at)
{
    const struct env_listen_options alone = {0};
    int fd = socket(at->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    set_options(fd, at, &alone);
    bool ok = bind(fd, &at->sa, at->len) == 0;
    int errnum = errno;
    close(fd);
    errno = errnum;
    return ok;
}

static bool bind_and_listen(int fd, const struct env_addr *at, const struct env_listen_options *opt)
{
    if (opt->reuse_port && opt->first && !nobody_listens(at))
        return false;
    set_options(fd, at, opt);
    if (has_path(at))
        remove_stale(at);
    /* Closed to others from the first moment: nobody can connect before listen. */
    if (bind(fd, &at->sa, at->len) != 0)
        return false;
    if (has_path(at) && chmod(at->un.sun_path, opt->unix_mode ? opt->unix_mode : 0600) != 0)
        return false;
    return listen(fd, opt->backlog ? opt->backlog : ENV_BACKLOG_DEFAULT) == 0;
}

static int open_socket(const struct env_addr *at, const struct env_listen_options *opt,
                       struct err *err)
{
    char text[ENV_ADDR_TEXT];
    int fd = socket(at->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind_and_listen(fd, at, opt))
        return fd;
    int errnum = errno;
    env_addr_format(at, text);
    err_errno(err, errnum, "listen on %s", text);
    if (fd >= 0)
        close(fd);
    return -1;
}

struct env_listener *uv_env_listen(struct env *base, const struct env_addr *at,
                                   const struct env_listen_options *opt,
                                   void (*on_accept)(void *ctx, struct env_stream *s), void *ctx,
                                   struct err *err)
{
    struct uv_env *env = container_of(base, struct uv_env, base);
    int fd = open_socket(at, opt, err);
    if (fd < 0)
        return NULL;
    struct env_listener *l = MEM_NEW(struct env_listener);
    l->handle.env = base;
    l->fd = fd;
    l->on_accept = on_accept;
    l->ctx = ctx;
    l->owns_path = has_path(at);
    l->pause.fn = on_pause_end;
    l->addr.len = sizeof(l->addr.un);
    getsockname(fd, &l->addr.sa, &l->addr.len);
    int rc = uv_poll_init(&env->loop, &l->poll, fd);
    wf_assert(rc == 0);
    uv_poll_start(&l->poll, UV_READABLE, on_poll);
    uv_unref((uv_handle_t *)&l->poll);
    list_push(&env->listeners, &l->node);
    return l;
}

const struct env_addr *uv_listener_addr(const struct env_listener *l)
{
    return &l->addr;
}

static void on_poll_closed(uv_handle_t *handle)
{
    mem_free(container_of(handle, struct env_listener, poll));
}

void uv_listener_close(struct env_listener *l)
{
    wf_assert(!l->closed);
    l->closed = true;
    env_timer_stop(l->handle.env, &l->pause);
    list_remove(&l->node);
    uv_poll_stop(&l->poll);
    uv_close((uv_handle_t *)&l->poll, on_poll_closed);
    close(l->fd);
    if (l->owns_path)
        unlink(l->addr.un.sun_path);
}

void uv_listeners_close_all(struct uv_env *env)
{
    LIST_EACH (&env->listeners, n)
        uv_listener_close(container_of(n, struct env_listener, node));
}
