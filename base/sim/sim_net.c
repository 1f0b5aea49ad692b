/* Connections like TCP's: in order, bounded, acknowledged by kernels and not by processes. A
 * process that is killed leaves its kernel to send what it wrote; a machine that loses power
 * leaves its peers in the dark until they write to it again. */
#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/sim/sim_impl.h"

#define KERNEL_BYTES (256u << 10) /* beyond it a writer sees its queue grow */
#define SYN_RETRY SIM_S
#define LOW_WATER_DEFAULT (16u << 10)
#define CONNECT_TIMEOUT_DEFAULT_MS 5000

enum chunk_kind { CHUNK_DATA, CHUNK_FIN, CHUNK_RST };

struct chunk {
    struct list_node node;
    enum chunk_kind kind;
    sim_ns born, due;
    size_t n;
    char bytes[];
};

/*   CONNECTING ──SYN was answered──▶ OPEN ──▶ ENDING (on_close is to come) ──▶ gone, or ORPHAN
 *                                                      (the kernel sends the rest) ──▶ gone   */
enum stream_state { ST_CONNECTING, ST_OPEN, ST_ENDING, ST_ORPHAN };

struct env_stream {
    struct env_stream_handle handle;
    struct list_node node; /* in host->streams or sim->orphans */
    uint64_t id;
    enum stream_state state;
    struct sim *sim;
    struct sim_host *host, *far; /* far: NULL = no such machine */
    struct env_stream *other;    /* the other end; NULL: not there (any more) */
    struct env_listener *listener;
    const struct env_stream_events *events;
    void *ctx;
    struct env_addr local, remote;
    size_t low_water;
    wf_ms user_timeout;
    bool read_paused, fin_sent, fin_seen, want_drain, discards;

    struct list out; /* to the other end, in order */
    size_t out_bytes;
    sim_ns last_due, unacked_since; /* 0 = all is acknowledged */
    struct sim_event deliver, stall, connect, drain, linger;
    sim_ns connect_deadline;
    struct env_task end;
    struct err why;
};

struct env_listener {
    struct env_handle handle;
    struct list_node node;
    struct env_addr addr;
    void (*on_accept)(void *ctx, struct env_stream *s);
    void *ctx;
};

static const struct env_stream_ops stream_ops;

static struct sim_link *link_of(const struct env_stream *s, bool back)
{
    size_t a = s->host->index, b = s->far->index;
    return back ? &s->sim->links[b][a] : &s->sim->links[a][b];
}

static sim_ns latency(struct sim *sim, const struct sim_link *l)
{
    return sim_between(sim, l->latency_min, l->latency_max);
}

static struct sim_host *host_at(struct sim *sim, const struct env_addr *addr)
{
    for (size_t i = 0; i < sim->host_count; i++) {
        struct env_addr a = sim->host[i]->addr;
        env_addr_set_port(&a, env_addr_port(addr));
        if (env_addr_equal(&a, addr))
            return sim->host[i];
    }
    return NULL;
}

/* Life. */

static void on_deliver(struct sim_event *e);
static void on_stall(struct sim_event *e);
static void on_connect(struct sim_event *e);
static void on_drain(struct sim_event *e);
static void on_linger(struct sim_event *e);
static void on_end(struct env_task *t);

static struct env_stream *stream_new(struct sim_host *h, struct sim_host *far)
{
    struct env_stream *s = SIM_NEW(struct env_stream);
    s->handle = (struct env_stream_handle){&h->base, &stream_ops};
    s->id = ++h->sim->next_stream;
    s->sim = h->sim;
    s->host = h;
    s->far = far;
    s->low_water = LOW_WATER_DEFAULT;
    s->deliver.fn = on_deliver;
    s->stall.fn = on_stall;
    s->stall.host = h;
    s->connect.fn = on_connect;
    s->drain.fn = on_drain;
    s->drain.host = h;
    s->linger.fn = on_linger;
    s->linger.host = h;
    s->end.fn = on_end;
    list_init(&s->out);
    list_push(&h->streams, &s->node);
    return s;
}

static void out_drop(struct env_stream *s)
{
    struct list_node *n;
    while ((n = list_pop(&s->out)))
        mem_free(container_of(n, struct chunk, node));
    s->out_bytes = 0;
}

static void stream_free(struct env_stream *s)
{
    struct sim_event *const events[] = {&s->deliver, &s->stall, &s->connect, &s->drain, &s->linger};
    for (size_t i = 0; i < ARRAY_LEN(events); i++)
        sim_event_stop(events[i]);
    env_defer_cancel(&s->end);
    if (s->other)
        s->other->other = NULL;
    out_drop(s);
    list_remove(&s->node);
    mem_free(s);
}

static void pump(struct env_stream *s);

static struct chunk *chunk_new(struct env_stream *s, enum chunk_kind kind, size_t bytes)
{
    struct chunk *c = sim_new_bytes(sizeof(*c) + bytes);
    c->kind = kind;
    c->n = bytes;
    c->born = s->sim->now;
    if (s->far) {
        const struct sim_link *l = link_of(s, false);
        c->due = s->sim->now + latency(s->sim, l);
        if (c->due < s->last_due)
            c->due = s->last_due;
        if (l->bytes_per_us)
            c->due += (sim_ns)(bytes / l->bytes_per_us) * SIM_US;
        s->last_due = c->due;
    }
    list_push(&s->out, &c->node);
    s->out_bytes += bytes;
    return c;
}

static size_t piece_bytes(struct env_stream *s, size_t left)
{
    size_t max = s->far ? link_of(s, false)->piece_max : 0;
    size_t n = max ? 1 + sim_below(s->sim, max) : left;
    return n < left ? n : left;
}

static void out_push(struct env_stream *s, enum chunk_kind kind, const struct iovec *iov, int n)
{
    size_t left = 0, filled = 0;
    struct chunk *c = NULL;
    for (int i = 0; i < n; i++)
        left += iov[i].iov_len;
    if (left == 0)
        chunk_new(s, kind, 0);
    for (int i = 0; i < n; i++) {
        struct slice from = slice_mem(iov[i].iov_base, iov[i].iov_len);
        while (from.n) {
            if (!c || filled == c->n) {
                c = chunk_new(s, kind, piece_bytes(s, left));
                filled = 0;
            }
            size_t part = from.n < c->n - filled ? from.n : c->n - filled;
            memcpy(c->bytes + filled, from.p, part);
            filled += part;
            left -= part;
            from = slice_skip(from, part);
        }
    }
    pump(s);
}

/* The process hears of the end at the end of its turn. */
static void stream_end(struct env_stream *s, enum err_code code, const char *text)
{
    if (s->state >= ST_ENDING)
        return;
    s->state = ST_ENDING;
    err_clear(&s->why);
    if (code != ERR_NONE)
        err_set(&s->why, code, "%s", text);
    env_defer(&s->host->base, &s->end);
}

static void orphan(struct env_stream *s)
{
    s->state = ST_ORPHAN;
    s->events = NULL;
    sim_event_stop(&s->stall);
    sim_event_stop(&s->connect);
    sim_event_stop(&s->drain);
    sim_event_stop(&s->linger);
    list_remove(&s->node);
    list_push(&s->sim->orphans, &s->node);
    pump(s);
}

static void on_end(struct env_task *t)
{
    struct env_stream *s = container_of(t, struct env_stream, end);
    const struct env_stream_events *events = s->events;
    s->events = NULL;
    if (events)
        events->on_close(s->ctx, &s->why);
    if (s->other && !list_empty(&s->out))
        orphan(s);
    else
        stream_free(s);
}

/* Delivery. */

static bool out_ready(const struct env_stream *s)
{
    return !list_empty(&s->out) && s->state != ST_CONNECTING && s->far;
}

static void stall_watch(struct env_stream *s)
{
    if (s->user_timeout && s->state == ST_OPEN && !s->stall.armed)
        sim_event_start(s->sim, &s->stall, (sim_ns)s->user_timeout * SIM_MS / 4 + 1);
}

static void pump(struct env_stream *s)
{
    if (!out_ready(s))
        return;
    stall_watch(s);
    if (s->deliver.armed)
        return;
    struct chunk *c = container_of(list_first(&s->out), struct chunk, node);
    sim_event_start(s->sim, &s->deliver, c->due > s->sim->now ? c->due - s->sim->now : 0);
}

static void on_stall(struct sim_event *e)
{
    struct env_stream *s = container_of(e, struct env_stream, stall);
    sim_ns limit = (sim_ns)s->user_timeout * SIM_MS, since = s->unacked_since;
    bool stuck = link_of(s, false)->cut || !s->far->on;
    if (!since && stuck && !list_empty(&s->out))
        since = container_of(list_first(&s->out), struct chunk, node)->born;
    if (since && s->sim->now - since >= limit) {
        out_drop(s);
        stream_end(s, ERR_TIMEOUT, "no acknowledgement from the peer");
        if (s->other)
            s->other->other = NULL;
        s->other = NULL;
    } else if (since || !list_empty(&s->out)) {
        stall_watch(s);
    }
}

/* Of what was written, what no kernel has taken. */
static size_t queued_bytes(const struct env_stream *s)
{
    size_t kernel = s->far ? link_of(s, false)->buffer_bytes : 0;
    kernel = kernel ? kernel : KERNEL_BYTES;
    return s->out_bytes > kernel ? s->out_bytes - kernel : 0;
}

static void account(struct env_stream *s, size_t n)
{
    s->out_bytes -= n;
    size_t queued = queued_bytes(s);
    if (s->want_drain && queued <= s->low_water && s->state == ST_OPEN && !s->drain.armed)
        sim_event_start(s->sim, &s->drain, 0);
}

static void on_drain(struct sim_event *e)
{
    struct env_stream *s = container_of(e, struct env_stream, drain);
    if (s->state != ST_OPEN || !s->want_drain)
        return;
    s->want_drain = false;
    if (s->events && s->events->on_drain)
        s->events->on_drain(s->ctx);
}

struct arrival {
    struct env_stream *to;
    struct chunk *c;
};

static void take_fin(struct env_stream *t)
{
    t->fin_seen = true;
    if (t->discards) {
        stream_end(t, ERR_NONE, "");
    } else if (t->events && t->events->on_end) {
        t->events->on_end(t->ctx);
        if (t->fin_sent)
            stream_end(t, ERR_NONE, "");
    } else {
        stream_end(t, ERR_IO, "the peer ended the connection");
    }
}

static void take(void *arg)
{
    struct arrival *a = arg;
    struct env_stream *t = a->to;
    switch (a->c->kind) {
    case CHUNK_DATA:
        if (t->events && t->events->on_data && !t->discards)
            t->events->on_data(t->ctx, slice_mem(a->c->bytes, a->c->n));
        break;
    case CHUNK_FIN:
        take_fin(t);
        break;
    case CHUNK_RST:
        out_drop(t);
        stream_end(t, ERR_IO, "connection reset by the peer");
        break;
    }
}

static void take_reset(void *arg)
{
    struct env_stream *s = arg;
    out_drop(s);
    stream_end(s, ERR_IO, "connection reset by the peer");
}

/* The other end is not there: its kernel says so. */
static void bounce(struct env_stream *s)
{
    if (link_of(s, true)->cut)
        return;
    if (s->state == ST_ORPHAN)
        stream_free(s);
    else if (!s->host->paused && s->state == ST_OPEN)
        sim_turn(s->host, take_reset, s);
}

static void on_deliver(struct sim_event *e)
{
    struct env_stream *s = container_of(e, struct env_stream, deliver), *t = s->other;
    if (link_of(s, false)->cut || !s->far->on)
        return; /* sim_net_pump_all tries again */
    if (!t || t->state >= ST_ENDING) {
        bounce(s);
        return;
    }
    struct chunk *c = container_of(list_first(&s->out), struct chunk, node);
    if (t->host->paused || t->state == ST_CONNECTING || t->listener ||
        (t->read_paused && c->kind != CHUNK_RST))
        return;
    list_remove(&c->node);
    if (link_of(s, true)->cut)
        s->unacked_since = s->unacked_since ? s->unacked_since : c->born;
    sim_mix(s->sim, s->id << 32 ^ c->n);
    account(s, c->n);
    bool last = s->state == ST_ORPHAN && list_empty(&s->out);
    if (!last)
        pump(s);
    else
        stream_free(s);
    sim_turn(t->host, take, &(struct arrival){t, c});
    mem_free(c);
}

static void acks_arrive(struct env_stream *s)
{
    if (s->far && !link_of(s, true)->cut)
        s->unacked_since = 0;
}

void sim_net_pump_all(struct sim *sim)
{
    for (size_t i = 0; i < sim->host_count; i++)
        LIST_EACH (&sim->host[i]->streams, n) {
            struct env_stream *s = container_of(n, struct env_stream, node);
            acks_arrive(s);
            pump(s);
        }
    LIST_EACH (&sim->orphans, n)
        pump(container_of(n, struct env_stream, node));
}

void sim_links_changed(struct sim *sim)
{
    sim_net_pump_all(sim);
}

struct sim_link *sim_link(struct sim *sim, struct sim_host *from, struct sim_host *to)
{
    return &sim->links[from->index][to->index];
}

/* Connecting: SYN, its answer, and what the kernels do without their processes. */

static struct env_listener *listener_at(const struct sim_host *h, const struct env_addr *addr)
{
    LIST_EACH (&h->listeners, n) {
        struct env_listener *l = container_of(n, struct env_listener, node);
        if (env_addr_port(&l->addr) == env_addr_port(addr))
            return l;
    }
    return NULL;
}

static void syn_again(struct env_stream *s)
{
    sim_ns left = s->connect_deadline - s->sim->now;
    s->connect.host = left > 0 ? NULL : s->host;
    sim_event_start(s->sim, &s->connect, left < 0 ? 0 : left < SYN_RETRY ? left : SYN_RETRY);
}

/* On the accepting side: in a turn of its process. */
static void on_accept(struct sim_event *e)
{
    struct env_stream *t = container_of(e, struct env_stream, connect);
    struct env_listener *l = t->listener;
    t->listener = NULL;
    l->on_accept(l->ctx, t);
    if (t->other)
        pump(t->other);
}

static void accept_from(struct env_stream *s, struct env_listener *l)
{
    struct env_stream *t = stream_new(s->far, s->host);
    t->state = ST_OPEN;
    t->local = s->remote;
    t->remote = s->local;
    t->other = s;
    s->other = t;
    t->listener = l;
    t->connect.fn = on_accept;
    t->connect.host = t->host;
    sim_event_start(s->sim, &t->connect, 0);
}

/* The answer to a SYN reaches the process, or its patience ends. */
static void on_answer(struct env_stream *s)
{
    if (s->state != ST_CONNECTING)
        return;
    if (s->other) {
        s->state = ST_OPEN;
        LIST_EACH (&s->out, n) {
            struct chunk *c = container_of(n, struct chunk, node);
            c->due += s->sim->now - c->born;
        }
        pump(s);
        if (s->events && s->events->on_connect)
            s->events->on_connect(s->ctx);
        if (s->other)
            pump(s->other);
    } else if (s->sim->now >= s->connect_deadline) {
        stream_end(s, ERR_TIMEOUT, "no answer");
    } else {
        stream_end(s, ERR_UNAVAILABLE, "connection refused");
    }
}

static void on_connect(struct sim_event *e)
{
    struct env_stream *s = container_of(e, struct env_stream, connect);
    struct sim_link *to, *back;
    if (e->host) {
        on_answer(s);
        return;
    }
    if (!s->far) {
        syn_again(s);
        return;
    }
    to = link_of(s, false);
    back = link_of(s, true);
    if (to->cut || back->cut || !s->far->on) {
        syn_again(s);
        return;
    }
    struct env_listener *l = s->far->runs ? listener_at(s->far, &s->remote) : NULL;
    if (l && !s->other)
        accept_from(s, l);
    s->connect.host = s->host;
    sim_event_start(s->sim, &s->connect, latency(s->sim, back));
}

struct env_stream *sim_net_connect(struct env *env, const struct env_addr *to,
                                   const struct env_stream_options *opt,
                                   const struct env_stream_events *events, void *ctx)
{
    struct sim_host *h = sim_host_of(env);
    struct env_stream *s = stream_new(h, host_at(h->sim, to));
    s->events = events;
    s->ctx = ctx;
    s->remote = *to;
    s->local = h->addr;
    env_addr_set_port(&s->local, h->next_port++);
    if (h->next_port == 0)
        h->next_port = 30000;
    s->low_water = opt->low_water ? opt->low_water : LOW_WATER_DEFAULT;
    s->user_timeout = opt->user_timeout;
    wf_ms patience = opt->connect_timeout ? opt->connect_timeout : CONNECT_TIMEOUT_DEFAULT_MS;
    s->connect_deadline = h->sim->now + (sim_ns)patience * SIM_MS;
    sim_event_start(h->sim, &s->connect,
                    s->far ? latency(h->sim, link_of(s, false)) : 100 * SIM_US);
    return s;
}

/* Listeners. */

struct env_listener *sim_net_listen(struct env *env, const struct env_addr *at,
                                    const struct env_listen_options *opt,
                                    void (*on_accept_fn)(void *ctx, struct env_stream *s),
                                    void *ctx, struct err *err)
{
    struct sim_host *h = sim_host_of(env);
    (void)opt;
    if (host_at(h->sim, at) != h || listener_at(h, at)) {
        char text[ENV_ADDR_TEXT];
        err_set(err, ERR_UNAVAILABLE, "listen on %.*s: cannot be bound on %s",
                SLICE(env_addr_format(at, text)), h->name);
        return NULL;
    }
    struct env_listener *l = SIM_NEW(struct env_listener);
    l->handle.env = env;
    l->addr = *at;
    l->on_accept = on_accept_fn;
    l->ctx = ctx;
    list_push(&h->listeners, &l->node);
    return l;
}

const struct env_addr *sim_net_listener_addr(const struct env_listener *l)
{
    return &l->addr;
}

void sim_net_listener_close(struct env_listener *l)
{
    struct sim_host *h = sim_host_of(l->handle.env);
    LIST_EACH (&h->streams, n) {
        struct env_stream *s = container_of(n, struct env_stream, node);
        if (s->listener != l)
            continue;
        s->listener = NULL; /* connected, never accepted */
        out_push(s, CHUNK_RST, NULL, 0);
        orphan(s);
    }
    list_remove(&l->node);
    mem_free(l);
}

/* Crashes. */

static void leave(struct env_stream *s, bool silent)
{
    env_defer_cancel(&s->end);
    if (silent || !s->other) {
        stream_free(s);
        return;
    }
    if (!s->fin_sent)
        out_push(s, sim_chance(s->sim, 500) ? CHUNK_FIN : CHUNK_RST, NULL, 0);
    orphan(s);
}

void sim_net_crash(struct sim_host *h, bool silent)
{
    LIST_EACH (&h->streams, n)
        leave(container_of(n, struct env_stream, node), silent);
    if (silent)
        LIST_EACH (&h->sim->orphans, n) {
            struct env_stream *s = container_of(n, struct env_stream, node);
            if (s->host == h)
                stream_free(s);
        }
    LIST_EACH (&h->listeners, n) {
        list_remove(n);
        mem_free(container_of(n, struct env_listener, node));
    }
}

void sim_reset_between(struct sim *sim, struct sim_host *a, struct sim_host *b)
{
    LIST_EACH (&a->streams, n) {
        struct env_stream *s = container_of(n, struct env_stream, node);
        if (s->far != b || !s->other || s->state != ST_OPEN || s->other->state != ST_OPEN)
            continue;
        out_drop(s);
        out_push(s, CHUNK_RST, NULL, 0);
        out_drop(s->other);
        out_push(s->other, CHUNK_RST, NULL, 0);
    }
    sim_trace(sim, "reset %s %s", a->name, b->name);
}

void sim_net_fini(struct sim *sim)
{
    LIST_EACH (&sim->orphans, n)
        stream_free(container_of(n, struct env_stream, node));
}

/* Operations. */

static size_t op_queued(const struct env_stream *s)
{
    return queued_bytes(s);
}

static size_t op_write(struct env_stream *s, const struct iovec *iov, int n)
{
    if (s->state > ST_OPEN || s->fin_sent)
        return 0;
    out_push(s, CHUNK_DATA, iov, n);
    size_t queued = queued_bytes(s);
    if (queued > 0)
        s->want_drain = true;
    return queued;
}

static void op_read_pause(struct env_stream *s)
{
    s->read_paused = true;
}

static void op_read_resume(struct env_stream *s)
{
    s->read_paused = false;
    if (s->other)
        pump(s->other);
}

static void op_shutdown(struct env_stream *s)
{
    if (s->state > ST_OPEN || s->fin_sent)
        return;
    out_push(s, CHUNK_FIN, NULL, 0);
    s->fin_sent = true;
    if (s->fin_seen)
        stream_end(s, ERR_NONE, "");
}

static void op_close(struct env_stream *s)
{
    if (s->other && !s->fin_sent && s->state < ST_ENDING)
        out_push(s, CHUNK_FIN, NULL, 0);
    s->fin_sent = true;
    stream_end(s, ERR_NONE, "");
}

static void on_linger(struct sim_event *e)
{
    op_close(container_of(e, struct env_stream, linger));
}

static void op_close_after_write(struct env_stream *s, wf_ms linger)
{
    op_shutdown(s);
    s->discards = true;
    if (s->state <= ST_OPEN && !s->linger.armed)
        sim_event_start(s->sim, &s->linger, (sim_ns)linger * SIM_MS);
}

static void op_set_events(struct env_stream *s, const struct env_stream_events *events, void *ctx)
{
    s->events = events;
    s->ctx = ctx;
}

static const struct env_addr *op_local(const struct env_stream *s)
{
    return &s->local;
}

static const struct env_addr *op_peer(const struct env_stream *s)
{
    return &s->remote;
}

static const struct env_stream_ops stream_ops = {
    .write = op_write,
    .queued = op_queued,
    .read_pause = op_read_pause,
    .read_resume = op_read_resume,
    .shutdown = op_shutdown,
    .close = op_close,
    .close_after_write = op_close_after_write,
    .set_events = op_set_events,
    .local = op_local,
    .peer = op_peer,
};
