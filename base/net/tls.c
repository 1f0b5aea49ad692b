#include "base/net/tls.h"

#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>

#include "base/core/assert.h"
#include "base/core/sm.h"
#include "base/env/env_impl.h"
#include "base/net/net_limits.h"
#include "base/net/tls_int.h"

/*  connecting ──▶ handshaking ──▶ open ──▶ lingering ──▶ closed
 *       └──────────────┴───────────┴───────────┴────────────^
 * connecting: the stream below is not there yet; lingering: it sends what it has and ends; closed:
 * it was let go, on_close is queued. */
enum { TLS_CONNECTING, TLS_HANDSHAKING, TLS_OPEN, TLS_LINGERING, TLS_CLOSED };

static const struct sm_state tls_states[] = {
    [TLS_CONNECTING] = {"connecting", SM(TLS_HANDSHAKING) | SM(TLS_CLOSED)},
    [TLS_HANDSHAKING] = {"handshaking", SM(TLS_OPEN) | SM(TLS_CLOSED)},
    [TLS_OPEN] = {"open", SM(TLS_LINGERING) | SM(TLS_CLOSED)},
    [TLS_LINGERING] = {"lingering", SM(TLS_CLOSED)},
    [TLS_CLOSED] = {"closed", 0},
};

/* The flags are independent facts about the two directions. */
struct tls_stream {
    struct env_stream_handle handle;
    struct sm sm;
    bool client;
    bool paused;              /* the owner wants no reads */
    bool read_ended;          /* the peer's close_notify was read */
    bool write_ended;         /* ours was sent */
    bool want_shutdown;       /* it follows the handshake and what was written early */
    bool want_linger;         /* close_after_write came before the end of the handshake */
    bool drain_due;           /* a write was queued and on_drain has not come since */
    struct env_stream *lower; /* NULL = let go */
    struct tls_ctx *ctx;
    SSL *ssl;
    struct tls_check *check; /* until the end of the handshake */
    struct slice in;         /* came from below, not decrypted yet; borrowed */
    struct buf kept;         /* the same while the owner pauses: at most one read of the lower */
    struct buf out;          /* encrypted; goes down before any call returns */
    struct buf early;        /* written before the end of the handshake */
    const struct env_stream_events *events; /* NULL = detached */
    void *events_ctx;
    struct err *why; /* NULL = no failure */
    struct env_timer timer;
    wf_ms handshake_ms, linger_ms;
    struct env_task task; /* closed: on_close; else reading goes on */
    struct env_addr peer;
    char name[TLS_NAME_BYTES_MAX + 1];
    struct slice uri; /* on the heap */
};

static const struct env_stream_ops tls_ops;

static bool tls_ok(const void *owner)
{
    const struct tls_stream *t = owner;
    return (t->sm.now == TLS_CLOSED) == !t->lower && (t->sm.now < TLS_OPEN || !t->check);
}

static const struct sm_table tls_table = {"net.tls", tls_states, ARRAY_LEN(tls_states), tls_ok};

static struct tls_stream *of(struct env_stream *s)
{
    return (struct tls_stream *)(void *)s;
}

static const struct tls_stream *of_const(const struct env_stream *s)
{
    return (const struct tls_stream *)(const void *)s;
}

static void move(struct tls_stream *t, uint8_t to)
{
    sm_move(&tls_table, &t->sm, to, t);
}

/* The end. */

static void check_free(struct tls_stream *t)
{
    mem_free(t->check);
    t->check = NULL;
    SSL_set_app_data(t->ssl, NULL);
}

static void stream_free(struct tls_stream *t)
{
    wf_assert(!t->timer.armed && !list_linked(&t->task.node));
    check_free(t);
    SSL_free(t->ssl);
    tls_ctx_unref(t->ctx);
    buf_fini(&t->kept);
    buf_fini(&t->out);
    buf_fini(&t->early);
    slice_free(t->uri);
    mem_free(t->why);
    mem_free(t);
}

static void report(struct tls_stream *t)
{
    const struct err none = {.code = ERR_NONE};
    const struct env_stream_events *events = t->events;
    t->events = NULL;
    if (events)
        events->on_close(t->events_ctx, t->why ? t->why : &none);
    stream_free(t);
}

static void on_report(struct env_task *task)
{
    report(container_of(task, struct tls_stream, task));
}

/* The lower stream is gone or let go. */
static void closed(struct tls_stream *t)
{
    t->lower = NULL;
    if (t->sm.now < TLS_OPEN)
        check_free(t);
    move(t, TLS_CLOSED);
    env_timer_stop(t->handle.env, &t->timer);
    env_defer_cancel(&t->task);
    t->task.fn = on_report;
}

/* gently: what it holds (an alert, close_notify) still arrives. on_close follows. */
static void finish(struct tls_stream *t, bool gently)
{
    if (t->sm.now == TLS_CLOSED)
        return;
    env_stream_set_events(t->lower, NULL, NULL);
    if (gently)
        env_stream_close_after_write(t->lower, TLS_LINGER_MS);
    else
        env_stream_close(t->lower);
    closed(t);
    env_defer(t->handle.env, &t->task);
}

static void set_why(struct tls_stream *t, const struct err *why)
{
    char text[ENV_ADDR_TEXT];
    if (t->why)
        return;
    t->why = MEM_NEW(struct err);
    *t->why = *why;
    env_addr_format(&t->peer, text);
    err_wrap(t->why, "TLS with %s%s%s", t->name, t->name[0] ? " at " : "", text);
}

/* Down. */

static void flush(struct tls_stream *t)
{
    struct slice bytes = buf_slice(&t->out);
    if (bytes.n && t->lower && !t->write_ended)
        env_stream_write(t->lower, &(struct iovec){(void *)(uintptr_t)bytes.p, bytes.n}, 1);
    buf_fini(&t->out);
}

static void fail(struct tls_stream *t, const struct err *why)
{
    if (t->sm.now == TLS_CLOSED)
        return;
    set_why(t, why);
    flush(t);
    finish(t, true);
}

static void fail_openssl(struct tls_stream *t)
{
    struct err err = {0};
    tls_explain(t->ssl, t->check, &err);
    fail(t, &err);
}

static void fail_text(struct tls_stream *t, enum err_code code, const char *text)
{
    struct err err = {0};
    err_set(&err, code, "%s", text);
    fail(t, &err);
}

/* false: the stream is closed by it. */
static bool encrypt(struct tls_stream *t, struct slice bytes)
{
    size_t n;
    ERR_clear_error();
    if (!bytes.n)
        return true;
    if (SSL_write_ex(t->ssl, bytes.p, bytes.n, &n) == 1) {
        wf_assert(n == bytes.n); /* our BIO takes all */
        return true;
    }
    fail_openssl(t);
    return false;
}

/* Small pieces share a record: a head of forty bytes is none of its own. */
static void encrypt_pieces(struct tls_stream *t, const struct iovec *iov, int n)
{
    char record[TLS_PLAIN_BYTES];
    size_t used = 0;
    for (int i = 0; i < n; i++) {
        struct slice rest = slice_mem(iov[i].iov_base, iov[i].iov_len);
        while (rest.n) {
            size_t whole = used ? 0 : rest.n / sizeof(record) * sizeof(record);
            if (whole && !encrypt(t, slice_sub(rest, 0, whole)))
                return;
            rest = slice_skip(rest, whole);
            size_t take = rest.n < sizeof(record) - used ? rest.n : sizeof(record) - used;
            if (take)
                memcpy(record + used, rest.p, take);
            used += take;
            rest = slice_skip(rest, take);
            if (used == sizeof(record)) {
                used = 0;
                if (!encrypt(t, slice_mem(record, sizeof(record))))
                    return;
            }
        }
    }
    encrypt(t, slice_mem(record, used));
}

static size_t tls_queued(const struct env_stream *s)
{
    const struct tls_stream *t = of_const(s);
    return t->early.n + (t->lower ? env_stream_queued(t->lower) : 0);
}

static size_t tls_write(struct env_stream *s, const struct iovec *iov, int n)
{
    struct tls_stream *t = of(s);
    if (t->sm.now >= TLS_LINGERING || t->want_linger)
        return 0;
    wf_assert(!t->write_ended && !t->want_shutdown);
    if (t->sm.now == TLS_OPEN) {
        encrypt_pieces(t, iov, n);
        flush(t);
    } else {
        for (int i = 0; i < n; i++)
            buf_append(&t->early, slice_mem(iov[i].iov_base, iov[i].iov_len));
    }
    if (t->sm.now == TLS_CLOSED)
        return 0;
    size_t queued = tls_queued(s);
    t->drain_due |= queued > 0;
    return queued;
}

static void send_end(struct tls_stream *t)
{
    t->want_shutdown = false;
    ERR_clear_error();
    SSL_shutdown(t->ssl);
    flush(t);
    t->write_ended = true;
    if (t->read_ended)
        finish(t, true);
    else
        env_stream_shutdown(t->lower);
}

static void tls_shutdown(struct env_stream *s)
{
    struct tls_stream *t = of(s);
    if (t->sm.now >= TLS_LINGERING || t->want_linger || t->write_ended)
        return;
    t->want_shutdown = true;
    if (t->sm.now == TLS_OPEN)
        send_end(t);
}

static void begin_linger(struct tls_stream *t)
{
    move(t, TLS_LINGERING);
    env_defer_cancel(&t->task);
    if (!t->write_ended) {
        ERR_clear_error();
        SSL_shutdown(t->ssl);
        flush(t);
        t->write_ended = true;
    }
    env_stream_close_after_write(t->lower, t->linger_ms);
}

static void tls_close_after_write(struct env_stream *s, wf_ms linger)
{
    struct tls_stream *t = of(s);
    if (t->sm.now >= TLS_LINGERING)
        return;
    t->linger_ms = linger;
    if (t->sm.now == TLS_OPEN)
        begin_linger(t);
    else
        t->want_linger = true;
}

static void tls_close(struct env_stream *s)
{
    struct tls_stream *t = of(s);
    if (t->sm.now == TLS_CLOSED)
        return;
    mem_free(t->why);
    t->why = NULL;
    if (t->sm.now == TLS_OPEN && !t->write_ended && env_stream_queued(t->lower) == 0) {
        ERR_clear_error();
        SSL_shutdown(t->ssl);
        flush(t);
    }
    finish(t, false);
}

/* Up. */

static void deliver(struct tls_stream *t, struct slice bytes)
{
    if (t->events && t->events->on_data)
        t->events->on_data(t->events_ctx, bytes);
}

static void on_peer_end(struct tls_stream *t)
{
    struct err err = {0};
    t->read_ended = true;
    if (t->events && t->events->on_end)
        t->events->on_end(t->events_ctx);
    else if (!t->write_ended) {
        err_set(&err, ERR_IO, "it ended the connection");
        set_why(t, &err);
        t->linger_ms = TLS_LINGER_MS;
        begin_linger(t);
        return;
    }
    if (t->sm.now == TLS_OPEN && t->write_ended)
        finish(t, true);
}

/* Decrypts and hands on until what came is used up, or the owner pauses or closes. */
static void pump(struct tls_stream *t)
{
    char plain[TLS_PLAIN_BYTES];
    while (t->sm.now == TLS_OPEN && !t->paused && !t->read_ended) {
        size_t n;
        ERR_clear_error();
        if (SSL_read_ex(t->ssl, plain, sizeof(plain), &n) == 1) {
            deliver(t, slice_mem(plain, n));
            continue;
        }
        int why = SSL_get_error(t->ssl, 0);
        if (why == SSL_ERROR_WANT_READ)
            break;
        if (why == SSL_ERROR_ZERO_RETURN)
            on_peer_end(t);
        else
            fail_openssl(t);
    }
    flush(t); /* an answer to a change of keys */
}

static void tell_drain(struct tls_stream *t)
{
    if (!t->drain_due || t->sm.now != TLS_OPEN)
        return;
    t->drain_due = false;
    if (t->events && t->events->on_drain)
        t->events->on_drain(t->events_ctx);
}

static void opened(struct tls_stream *t)
{
    t->uri = slice_dup(slice_of(t->check->cert.uri));
    check_free(t);
    env_timer_stop(t->handle.env, &t->timer);
    move(t, TLS_OPEN);
    struct slice early = buf_slice(&t->early);
    encrypt_pieces(t, &(struct iovec){(void *)(uintptr_t)early.p, early.n}, 1);
    flush(t);
    buf_fini(&t->early);
    if (t->sm.now == TLS_OPEN && t->paused)
        env_stream_read_pause(t->lower);
    if (t->sm.now == TLS_OPEN && t->want_linger) {
        begin_linger(t);
        return;
    }
    if (t->sm.now == TLS_OPEN && t->client && t->events && t->events->on_connect)
        t->events->on_connect(t->events_ctx);
    if (t->sm.now == TLS_OPEN && t->want_shutdown)
        send_end(t);
    if (t->sm.now == TLS_OPEN && env_stream_queued(t->lower) == 0)
        tell_drain(t);
}

static void handshake(struct tls_stream *t)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(t->ssl);
    if (rc == 1) {
        flush(t);
        opened(t);
        return;
    }
    if (SSL_get_error(t->ssl, rc) == SSL_ERROR_WANT_READ)
        flush(t);
    else
        fail_openssl(t);
}

static void feed(struct tls_stream *t, struct slice bytes)
{
    t->in = bytes;
    if (t->sm.now == TLS_HANDSHAKING)
        handshake(t);
    if (t->sm.now == TLS_OPEN)
        pump(t);
    if (t->sm.now == TLS_OPEN && !t->read_ended)
        buf_append(&t->kept, t->in);
    t->in = (struct slice){0};
}

static void tls_read_pause(struct env_stream *s)
{
    struct tls_stream *t = of(s);
    t->paused = true;
    if (t->sm.now == TLS_OPEN)
        env_stream_read_pause(t->lower);
}

static void on_resume(struct env_task *task)
{
    struct tls_stream *t = container_of(task, struct tls_stream, task);
    struct buf kept = t->kept;
    t->kept = (struct buf){0};
    if (t->paused) {
        t->kept = kept;
        return;
    }
    feed(t, buf_slice(&kept));
    buf_fini(&kept);
    if (t->sm.now == TLS_OPEN && !t->paused)
        env_stream_read_resume(t->lower);
}

/* What was kept is handed on by a task: nobody is called back from his own call. */
static void tls_read_resume(struct env_stream *s)
{
    struct tls_stream *t = of(s);
    t->paused = false;
    if (t->sm.now != TLS_OPEN)
        return;
    t->task.fn = on_resume;
    env_defer(t->handle.env, &t->task);
}

/* From below. */

static void begin_handshake(struct tls_stream *t)
{
    /* The env's clock, not the system's: the same code runs in virtual time. */
    X509_VERIFY_PARAM_set_time(SSL_get0_param(t->ssl), (time_t)(env_wall_ms(t->handle.env) / 1000));
    env_timer_start(t->handle.env, &t->timer, t->handshake_ms);
    if (t->client)
        handshake(t);
}

static void on_lower_connect(void *ctx)
{
    struct tls_stream *t = ctx;
    move(t, TLS_HANDSHAKING);
    begin_handshake(t);
}

static void on_lower_data(void *ctx, struct slice bytes)
{
    struct tls_stream *t = ctx;
    if (t->read_ended || t->sm.now == TLS_LINGERING)
        return;
    if (t->kept.n > 0 || (t->paused && t->sm.now == TLS_OPEN))
        buf_append(&t->kept, bytes); /* came in spite of the pause */
    else
        feed(t, bytes);
}

static void on_lower_end(void *ctx)
{
    struct tls_stream *t = ctx;
    if (t->sm.now == TLS_HANDSHAKING)
        fail_text(t, ERR_IO, "it ended the connection in the handshake: does it speak TLS?");
    else if (t->sm.now == TLS_OPEN && !t->read_ended)
        fail_text(t, ERR_IO, "the connection was cut: it ended without TLS's close");
}

static void on_lower_drain(void *ctx)
{
    tell_drain(ctx);
}

static void on_lower_close(void *ctx, const struct err *why)
{
    struct tls_stream *t = ctx;
    if (why->code != ERR_NONE && !t->why) {
        t->why = MEM_NEW(struct err);
        *t->why = *why;
        if (t->sm.now == TLS_HANDSHAKING)
            err_wrap(t->why, "TLS handshake");
    }
    closed(t);
    report(t);
}

static const struct env_stream_events lower_events = {.on_connect = on_lower_connect,
                                                      .on_data = on_lower_data,
                                                      .on_end = on_lower_end,
                                                      .on_drain = on_lower_drain,
                                                      .on_close = on_lower_close};

static void on_timer(struct env_timer *timer)
{
    struct tls_stream *t = container_of(timer, struct tls_stream, timer);
    struct err err = {0};
    wf_assert(t->sm.now == TLS_HANDSHAKING);
    err_set(&err, ERR_TIMEOUT, "no handshake within %lld ms", (long long)t->handshake_ms);
    fail(t, &err);
}

/* OpenSSL's side: bytes in memory, both ways. */

int tls_bio_read(BIO *bio, char *dst, int n)
{
    struct tls_stream *t = BIO_get_data(bio);
    size_t take = n < 0 ? 0 : (size_t)n;
    BIO_clear_retry_flags(bio);
    if (t->in.n == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    take = take < t->in.n ? take : t->in.n;
    memcpy(dst, t->in.p, take);
    t->in = slice_skip(t->in, take);
    return (int)take;
}

int tls_bio_write(BIO *bio, const char *p, int n)
{
    struct tls_stream *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    buf_append(&t->out, slice_mem(p, n < 0 ? 0 : (size_t)n));
    if (t->out.n >= TLS_FLUSH_BYTES)
        flush(t);
    return n;
}

/* Birth. */

static struct tls_stream *stream_new(struct env *env, enum tls_role role, uint8_t state,
                                     const struct tls_options *opt, const struct env_addr *peer)
{
    struct tls_stream *t = MEM_NEW(struct tls_stream);
    *t = (struct tls_stream){
        .handle = {env, &tls_ops},
        .sm.now = state,
        .client = role == TLS_CLIENT,
        .ctx = tls_ctx_ref(opt->ctx),
        .check = MEM_NEW(struct tls_check),
        .timer.fn = on_timer,
        .handshake_ms = opt->handshake_timeout ? opt->handshake_timeout : TLS_HANDSHAKE_TIMEOUT_MS,
        .peer = *peer,
    };
    slice_cstr(slice_sub(opt->name, 0, TLS_NAME_BYTES_MAX), t->name, sizeof(t->name));
    t->ssl = tls_ctx_ssl_new(t->ctx, opt, t->check, t);
    if (t->client)
        SSL_set_connect_state(t->ssl);
    else
        SSL_set_accept_state(t->ssl);
    return t;
}

struct env_stream *tls_connect(struct env *env, const struct env_addr *to,
                               const struct env_stream_options *stream_opt,
                               const struct tls_options *opt,
                               const struct env_stream_events *events, void *ctx)
{
    wf_assert(events && events->on_close);
    struct tls_stream *t = stream_new(env, TLS_CLIENT, TLS_CONNECTING, opt, to);
    t->events = events;
    t->events_ctx = ctx;
    t->lower = env_connect(env, to, stream_opt, &lower_events, t);
    return (struct env_stream *)t;
}

struct env_stream *tls_over(struct env *env, struct env_stream *take_lower, enum tls_role role,
                            const struct tls_options *opt)
{
    struct tls_stream *t = stream_new(env, role, TLS_HANDSHAKING, opt, env_stream_peer(take_lower));
    t->lower = take_lower;
    env_stream_set_events(take_lower, &lower_events, t);
    begin_handshake(t);
    return (struct env_stream *)t;
}

/* Who is there. */

static void tls_set_events(struct env_stream *s, const struct env_stream_events *events, void *ctx)
{
    of(s)->events = events;
    of(s)->events_ctx = ctx;
}

static const struct env_addr *tls_local(const struct env_stream *s)
{
    static const struct env_addr nowhere;
    const struct tls_stream *t = of_const(s);
    return t->lower ? env_stream_local(t->lower) : &nowhere;
}

static const struct env_addr *tls_peer(const struct env_stream *s)
{
    return &of_const(s)->peer;
}

struct slice tls_peer_uri(const struct env_stream *s)
{
    wf_assert(of_const(s)->handle.ops == &tls_ops);
    return of_const(s)->uri;
}

static const struct env_stream_ops tls_ops = {
    .write = tls_write,
    .queued = tls_queued,
    .read_pause = tls_read_pause,
    .read_resume = tls_read_resume,
    .shutdown = tls_shutdown,
    .close = tls_close,
    .close_after_write = tls_close_after_write,
    .set_events = tls_set_events,
    .local = tls_local,
    .peer = tls_peer,
};
