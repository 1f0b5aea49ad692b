#include "registry/raft/bulk.h"

#include <fcntl.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/core/reader.h"
#include "registry/raft/raft_limits.h"
#include "registry/raft/snapshot.h"

/* Serving. */

struct bulk_session {
    struct list_node node;
    struct bulk_server *server;
    struct conn conn;
    struct env_timer timer, next; /* idle; the next chunk */
    uint64_t to;
    struct env_file *file; /* NULL until GET */
    uint64_t offset, bytes;
    char *chunk;
    bool ended;
};

struct bulk_server {
    struct env *env;
    uint64_t self, cluster;
    char *dir;
    struct list sessions;
    size_t count;
};

struct bulk_server *bulk_server_new(struct env *env, uint64_t self, uint64_t cluster,
                                    const char *dir)
{
    struct bulk_server *b = MEM_NEW(struct bulk_server);
    *b = (struct bulk_server){
        .env = env, .self = self, .cluster = cluster, .dir = mem_new(strlen(dir) + 1)};
    memcpy(b->dir, dir, strlen(dir) + 1);
    list_init(&b->sessions);
    return b;
}

static void session_free(struct bulk_session *s)
{
    env_timer_stop(s->server->env, &s->timer);
    env_timer_stop(s->server->env, &s->next);
    conn_close(&s->conn);
    if (s->file)
        env_file_close(s->file);
    list_remove(&s->node);
    s->server->count--;
    mem_free(s->chunk);
    mem_free(s);
}

void bulk_server_free(struct bulk_server *b)
{
    struct list_node *n;
    if (!b)
        return;
    while ((n = list_first(&b->sessions)))
        session_free(container_of(n, struct bulk_session, node));
    mem_free(b->dir);
    mem_free(b);
}

void bulk_server_cut(struct bulk_server *b, uint64_t to)
{
    LIST_EACH (&b->sessions, n) {
        struct bulk_session *s = container_of(n, struct bulk_session, node);
        if (s->to == to)
            session_free(s);
    }
}

bool bulk_server_busy(const struct bulk_server *b)
{
    return b->count > 0;
}

static void send_u64(struct conn *c, enum frame_type type, uint64_t v)
{
    conn_send(c, type, 0, &(struct iovec){&v, sizeof(v)}, 1);
}

/* false: the session is gone. */
static bool session_send(struct bulk_session *s)
{
    struct err err = {0};
    uint64_t left = s->bytes - s->offset;
    size_t want = left < BULK_CHUNK_BYTES ? (size_t)left : BULK_CHUNK_BYTES, got;
    if (!env_file_read(s->file, s->offset, s->chunk, want, &got, &err) || got != want) {
        LOG_ERROR("registry.checkpoint.read", F_ERR(&err));
        session_free(s);
        return false;
    }
    struct iovec pieces[] = {{&s->offset, sizeof(s->offset)}, {s->chunk, got}};
    conn_send(&s->conn, FRAME_BULK_DATA, 0, pieces, 2);
    s->offset += got;
    env_timer_start(s->server->env, &s->timer, BULK_SILENCE_MS);
    return true;
}

/* One chunk a turn, whatever the socket would take: this thread sends the heartbeats too, and a
 * chunk is read, summed and encrypted in some 2 ms. What waits goes on at on_drain. */
static void session_pump(struct bulk_session *s)
{
    if (s->offset < s->bytes && conn_queued(&s->conn) < BULK_CHUNK_BYTES && !session_send(s))
        return;
    if (s->offset < s->bytes && conn_queued(&s->conn) == 0)
        env_timer_start(s->server->env, &s->next, 0);
    if (s->offset == s->bytes && !s->ended) {
        s->ended = true;
        send_u64(&s->conn, FRAME_BULK_END, s->bytes);
    }
}

static void on_session_next(struct env_timer *t)
{
    session_pump(container_of(t, struct bulk_session, next));
}

static bool session_open(struct bulk_session *s, uint64_t index, uint64_t tag, struct err *err)
{
    char path[SNAPSHOT_PATH_BYTES];
    snapshot_file_path(s->server->dir, index, tag, path);
    s->file = env_file_open(s->server->env, path, O_RDONLY, err);
    return s->file && env_file_size(s->file, &s->bytes, err);
}

static void on_session_frame(void *ctx, const struct frame *f)
{
    struct bulk_session *s = ctx;
    struct reader r = reader_of(f->payload);
    struct err err = {0};
    uint64_t index = reader_u64le(&r), tag = reader_u64le(&r), offset = reader_u64le(&r);
    if (f->type != FRAME_BULK_GET || !reader_done(&r) || s->file) {
        session_free(s);
        return;
    }
    if (!session_open(s, index, tag, &err) || offset > s->bytes) {
        conn_send(&s->conn, FRAME_BULK_GONE, 0, NULL, 0);
        conn_close_after_write(&s->conn);
        session_free(s);
        return;
    }
    s->offset = offset;
    s->chunk = mem_new(BULK_CHUNK_BYTES);
    session_pump(s);
}

static void on_session_drain(void *ctx)
{
    struct bulk_session *s = ctx;
    if (s->file)
        session_pump(s);
}

static void on_session_close(void *ctx, const struct err *why)
{
    (void)why;
    session_free(ctx);
}

static void on_session_timer(struct env_timer *t)
{
    session_free(container_of(t, struct bulk_session, timer));
}

static const struct conn_events session_events = {
    .on_frame = on_session_frame, .on_drain = on_session_drain, .on_close = on_session_close};

void bulk_server_adopt(struct bulk_server *b, uint64_t from, struct env_stream *stream,
                       unsigned version)
{
    if (b->count == BULK_SESSIONS_MAX) {
        LOG_WARN("registry.checkpoint.busy", F_U64("peer", from));
        env_stream_close(stream);
        return;
    }
    struct bulk_session *s = MEM_NEW(struct bulk_session);
    s->server = b;
    s->to = from;
    s->timer.fn = on_session_timer;
    s->next.fn = on_session_next;
    list_push(&b->sessions, &s->node);
    b->count++;
    conn_adopt(&s->conn, b->env, stream,
               &(struct conn_options){.self = b->self, .cluster = b->cluster, .version = version},
               &session_events, s);
    env_timer_start(b->env, &s->timer, BULK_SILENCE_MS);
}

/* Fetching. */

static void fetch_connect(struct bulk_fetch *f);

static void fetch_over(struct bulk_fetch *f, const struct err *err)
{
    struct err copy = *err;
    void (*fn)(void *, const struct err *) = f->opt.fn;
    void *ctx = f->opt.ctx;
    bulk_fetch_cancel(f);
    fn(ctx, &copy);
}

static void fetch_retry(struct bulk_fetch *f, const struct err *why)
{
    struct err err = *why;
    env_timer_stop(f->opt.env, &f->silence);
    conn_close(&f->conn);
    if (++f->failures > BULK_RETRIES_MAX) {
        err.code = ERR_UNAVAILABLE;
        fetch_over(f, &err);
        return;
    }
    env_timer_start(f->opt.env, &f->timer, BULK_RETRY_MS);
}

/* Whoever only waits is not told by TCP that the other end is gone. */
static void on_silence(struct env_timer *t)
{
    struct bulk_fetch *f = container_of(t, struct bulk_fetch, silence);
    struct err err = {0};
    err_set(&err, ERR_TIMEOUT, "node %llu sends nothing of the checkpoint",
            (unsigned long long)f->opt.peer);
    fetch_retry(f, &err);
}

static void fetch_wait(struct bulk_fetch *f)
{
    env_timer_start(f->opt.env, &f->silence, f->opt.silence);
}

static void on_fetch_timer(struct env_timer *t)
{
    struct bulk_fetch *f = container_of(t, struct bulk_fetch, timer);
    if (f->chunk.n > 0) /* still being written */
        env_timer_start(f->opt.env, t, BULK_RETRY_MS);
    else
        fetch_connect(f);
}

static void on_chunk_written(struct env_file_write *w, const struct err *err)
{
    struct bulk_fetch *f = container_of(w, struct bulk_fetch, write);
    if (err->code)
        wf_die("checkpoint %s: %s: the node stops, the others go on", f->path, err->msg);
    f->offset += f->chunk.n;
    f->failures = 0;
    buf_clear(&f->chunk);
    if (conn_open(&f->conn))
        fetch_wait(f);
    conn_resume(&f->conn);
}

static bool fetch_data(struct bulk_fetch *f, struct reader *r)
{
    uint64_t offset = reader_u64le(r);
    struct slice bytes = reader_bytes(r, reader_left(r));
    if (!reader_ok(r) || offset != f->offset || bytes.n == 0 || bytes.n > BULK_CHUNK_BYTES ||
        bytes.n > f->opt.bytes - f->offset)
        return false;
    buf_append(&f->chunk, bytes);
    struct slice chunk = buf_slice(&f->chunk);
    f->iov = (struct iovec){(void *)(uintptr_t)chunk.p, chunk.n};
    f->write = (struct env_file_write){
        .iov = &f->iov, .iov_n = 1, .offset = f->offset, .fn = on_chunk_written};
    env_file_write_sync(f->file, &f->write);
    conn_pause(&f->conn);
    env_timer_stop(f->opt.env, &f->silence); /* until our own disk is done */
    return true;
}

static void on_greeting(struct bulk_fetch *f, const struct frame *fr)
{
    struct hello h;
    struct err err = {0};
    unsigned version = 0;
    if (fr->type != FRAME_HELLO || fr->from != f->opt.peer ||
        !hello_decode(fr->payload, &h, &err)) {
        err_set(&err, ERR_INVALID, "node %llu does not greet as it should",
                (unsigned long long)f->opt.peer);
        fetch_retry(f, &err);
        return;
    }
    version = version_agree(f->opt.reads, h.reads, &err);
    if (!version) {
        fetch_retry(f, &err);
        return;
    }
    f->greeted = true;
    conn_set_version(&f->conn, version);
    uint64_t get[] = {f->opt.index, f->opt.tag, f->offset};
    conn_send(&f->conn, FRAME_BULK_GET, 0, &(struct iovec){get, sizeof(get)}, 1);
}

static void on_fetch_frame(void *ctx, const struct frame *fr)
{
    struct bulk_fetch *f = ctx;
    struct reader r = reader_of(fr->payload);
    struct err err = {0};
    fetch_wait(f);
    if (!f->greeted) {
        on_greeting(f, fr);
        return;
    }
    if (fr->type == FRAME_BULK_DATA && fetch_data(f, &r))
        return;
    if (fr->type == FRAME_BULK_END && f->offset == f->opt.bytes) {
        fetch_over(f, &err);
        return;
    }
    if (fr->type == FRAME_BULK_GONE) {
        err_set(&err, ERR_NOT_FOUND, "node %llu has the checkpoint no more",
                (unsigned long long)f->opt.peer);
        fetch_over(f, &err);
        return;
    }
    err_set(&err, ERR_INVALID, "frame of type %d in a checkpoint", fr->type);
    fetch_retry(f, &err);
}

static void on_fetch_connect(void *ctx)
{
    struct bulk_fetch *f = ctx;
    struct buf b = {0};
    hello_encode(&b, &(struct hello){.role = HELLO_BULK,
                                     .to = f->opt.peer,
                                     .incarnation = f->opt.incarnation,
                                     .reads = f->opt.reads});
    struct slice s = buf_slice(&b);
    conn_send(&f->conn, FRAME_HELLO, 0, &(struct iovec){(void *)(uintptr_t)s.p, s.n}, 1);
    buf_fini(&b);
}

static void on_fetch_close(void *ctx, const struct err *why)
{
    fetch_retry(ctx, why);
}

static const struct conn_events fetch_events = {
    .on_connect = on_fetch_connect, .on_frame = on_fetch_frame, .on_close = on_fetch_close};

static void fetch_connect(struct bulk_fetch *f)
{
    f->greeted = false;
    fetch_wait(f);
    conn_connect(
        &f->conn, f->opt.env, &f->opt.addr,
        &(struct conn_options){
            .self = f->opt.self, .cluster = f->opt.cluster, .tls = f->opt.tls, .peer = f->opt.peer},
        &fetch_events, f);
}

bool bulk_fetch_start(struct bulk_fetch *f, const struct bulk_fetch_options *opt, struct err *err)
{
    wf_assert(!f->active);
    *f = (struct bulk_fetch){.opt = *opt, .timer.fn = on_fetch_timer, .silence.fn = on_silence};
    f->opt.reads = versions_or_all(opt->reads);
    f->opt.silence = opt->silence ? opt->silence : BULK_SILENCE_MS;
    f->file = env_file_open(opt->env, opt->path, O_RDWR | O_CREAT | O_TRUNC, err);
    if (!f->file)
        return false;
    f->path = mem_new(strlen(opt->path) + 1);
    memcpy(f->path, opt->path, strlen(opt->path) + 1);
    f->opt.path = f->path;
    f->active = true;
    fetch_connect(f);
    return true;
}

void bulk_fetch_cancel(struct bulk_fetch *f)
{
    if (!f->active)
        return;
    env_timer_stop(f->opt.env, &f->timer);
    env_timer_stop(f->opt.env, &f->silence);
    conn_close(&f->conn);
    env_file_close(f->file);
    buf_fini(&f->chunk);
    mem_free(f->path);
    *f = (struct bulk_fetch){0};
}
