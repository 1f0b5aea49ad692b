#include "proxy/flush.h"

#include "base/wire/http1.h"
#include "proxy/proxy_limits.h"

static void slot_write(struct flush *f)
{
    struct slice bytes = buf_slice(&f->slot);
    struct iovec iov = {(void *)(uintptr_t)bytes.p, bytes.n};
    if (f->slot_owner && bytes.n)
        env_stream_write(f->slot_owner, &iov, 1);
    f->slot_owner = NULL;
    buf_clear(&f->slot);
}

static void session_write(struct flush *f, struct flush_h2 *c)
{
    struct err err = {0};
    bool ok = true;
    while (ok && h2_want_send(c->h2) && env_stream_queued(c->stream) < PROXY_BODY_SOFT_BYTES) {
        buf_clear(&f->frames);
        ok = h2_send(c->h2, &f->frames, PROXY_H2_OUT_BYTES, &err);
        struct slice bytes = buf_slice(&f->frames);
        struct iovec iov = {(void *)(uintptr_t)bytes.p, bytes.n};
        if (!bytes.n)
            break;
        env_stream_write(c->stream, &iov, 1);
    }
    c->flushed(c, &err);
}

static void run(struct env_task *task)
{
    struct flush *f = container_of(task, struct flush, task);
    struct list_node *n;
    slot_write(f);
    while ((n = list_pop(&f->dirty)))
        session_write(f, container_of(n, struct flush_h2, node));
    slot_write(f);
}

void flush_init(struct flush *f, struct env *env)
{
    *f = (struct flush){.env = env, .task.fn = run};
    list_init(&f->dirty);
}

void flush_fini(struct flush *f)
{
    env_defer_cancel(&f->task);
    buf_fini(&f->slot);
    buf_fini(&f->frames);
}

struct buf *flush_slot(struct flush *f, struct env_stream *s)
{
    if (f->slot_owner != s) {
        slot_write(f);
        f->slot_owner = s;
        env_defer(f->env, &f->task);
    }
    return &f->slot;
}

size_t flush_body(struct flush *f, struct env_stream *s, struct slice body, bool more)
{
    bool waiting = f->slot_owner == s && f->slot.n;
    if (more && body.n <= PROXY_FLUSH_SMALL_BYTES && f->slot.n + body.n <= PROXY_H2_OUT_BYTES) {
        buf_append(flush_slot(f, s), body);
        return flush_queued(f, s);
    }
    struct slice head = waiting ? buf_slice(&f->slot) : (struct slice){0};
    struct iovec iov[] = {{(void *)(uintptr_t)head.p, head.n}, {(void *)(uintptr_t)body.p, body.n}};
    size_t queued = env_stream_queued(s);
    if (waiting && body.n)
        queued = env_stream_write(s, iov, 2);
    else if (waiting || body.n)
        queued = env_stream_write(s, waiting ? &iov[0] : &iov[1], 1);
    if (waiting) {
        f->slot_owner = NULL;
        buf_clear(&f->slot);
    }
    return queued;
}

static void append_tail(struct buf *slot, bool end)
{
    buf_append(slot, HTTP1_CHUNK_TAIL);
    if (end)
        http1_write_last_chunk(slot, NULL);
}

size_t flush_chunk(struct flush *f, struct env_stream *s, struct slice body, bool end)
{
    char head[HTTP1_CHUNK_HEAD_BYTES];
    struct buf *slot = flush_slot(f, s);
    if (!body.n)
        return end ? flush_last_chunk(f, s, NULL) : flush_queued(f, s);
    buf_append(slot, http1_chunk_head(head, body.n));
    if (body.n <= PROXY_FLUSH_SMALL_BYTES && slot->n + body.n <= PROXY_H2_OUT_BYTES) {
        buf_append(slot, body);
        append_tail(slot, end);
    } else {
        flush_body(f, s, body, false);
        append_tail(flush_slot(f, s), end);
    }
    return end ? flush_body(f, s, (struct slice){0}, false) : flush_queued(f, s);
}

size_t flush_last_chunk(struct flush *f, struct env_stream *s, const struct headers *trailers)
{
    struct buf *slot = flush_slot(f, s);
    if (!http1_write_last_chunk(slot, trailers)) /* a field that cannot be said: without them */
        http1_write_last_chunk(slot, NULL);
    return flush_body(f, s, (struct slice){0}, false);
}

void flush_now(struct flush *f, struct env_stream *s)
{
    if (f->slot_owner == s)
        slot_write(f);
}

void flush_drop(struct flush *f, struct env_stream *s)
{
    if (f->slot_owner != s)
        return;
    f->slot_owner = NULL;
    buf_clear(&f->slot);
}

size_t flush_queued(const struct flush *f, const struct env_stream *s)
{
    return env_stream_queued(s) + (f->slot_owner == s ? f->slot.n : 0);
}

void flush_h2_mark(struct flush *f, struct flush_h2 *c)
{
    if (!list_linked(&c->node))
        list_push(&f->dirty, &c->node);
    env_defer(f->env, &f->task);
}

void flush_h2_drop(struct flush_h2 *c)
{
    list_remove(&c->node);
}
