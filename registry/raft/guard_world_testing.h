/* The world of the guard's schedules: nodes of the real library in virtual time, with a simulated
 * disk and network. For tests only, one program each; all of it is in this header.
 *
 *   struct world *w = world_new(seed, GUARD_G3_CLIP);  rules that are off
 *   run(w, 600);
 *   raft_index at = put(w, leader(w));
 *   world_free(w);
 */
#ifndef WEFT_REGISTRY_RAFT_GUARD_WORLD_TESTING_H
#define WEFT_REGISTRY_RAFT_GUARD_WORLD_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/core/assert.h"
#include "base/core/mem.h"
#include "registry/raft/conf.h"
#include "registry/raft/guard.h"

#define NODES 3
#define ELECTION_MS 100
#define HEARTBEAT_MS 20
#define INDEX_MAX 4096
#define ALL_RULES 0u

/* The world. */

struct disk_entry {
    raft_term term;
    unsigned short type;
    uint64_t value; /* of a command */
    struct buf bytes;
};

struct disk_op { /* in order; durable when it is due */
    struct list_node node;
    raft_time due;
    raft_index first; /* a truncation first cuts here */
    VEC(struct disk_entry) entries;
    struct raft_io_append *req;
};

struct send_done {
    struct list_node node;
    struct raft_io_send *req;
};

struct packet {
    struct list_node node;
    int from, to;
    raft_time due;
    struct raft_message m;
    VEC(struct disk_entry) entries;
};

struct disk_snapshot {                       /* index 0: none */
    raft_index index, conf_index, kept_from; /* of the log, entries from there on count */
    raft_term term;
    struct raft_configuration conf;
};

struct world;

struct sim_node {
    struct world *w;
    int i;
    bool alive;
    struct raft raft;
    struct raft_io io;
    struct raft_fsm fsm;
    struct guard guard;
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    raft_time next_tick;
    unsigned disk_max; /* ms of a write, at most */
    bool disk_fails;   /* writes of the log do, and land nowhere */
    /* Survives a crash. */
    raft_term term;
    raft_id vote;
    VEC(struct disk_entry) log; /* whole: what was compacted is not read any more */
    struct disk_snapshot snap;
    /* Does not. */
    struct raft_io_snapshot_put *put;
    struct disk_snapshot putting;
    struct raft_io_snapshot_get *get;
    raft_time put_due, get_due;
    unsigned get_ms; /* of reading a snapshot */
    unsigned put_ms; /* of writing one, beside the least of 5 */
    raft_index next_index;
    struct list ops, sends;
};

struct world {
    struct sim_node node[NODES];
    raft_time now;
    uint64_t random;
    unsigned off; /* rules switched off on all nodes */
    struct list packets;
    int refuse_installs;         /* that many snapshots are refused by whom they are sent to */
    bool cut[NODES][NODES];      /* from, to: lost on the way */
    unsigned latency_max;        /* ms of a packet */
    bool lossy;                  /* a crash loses writes that are not synced */
    int hold_to;                 /* packets to this node wait; -1 = none */
    bool hold_own_term;          /* an append carries no entry of its sender's own term */
    uint64_t applied[INDEX_MAX]; /* value that was first applied at an index */
    int conflicts;               /* another value was applied there later */
    int strays;                  /* messages to ids that nobody has */
    uint64_t next_value;
    bool joining; /* who boots now has an empty disk, and knows it */
};

static const char *const addresses[NODES] = {"1", "2", "3"};

static inline uint64_t rnd(struct world *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

static inline struct disk_entry entry_copy(const struct raft_entry *e)
{
    struct disk_entry d = {.term = e->term, .type = e->type};
    buf_append(&d.bytes, slice_mem(e->buf.base, e->buf.len));
    if (e->type == RAFT_COMMAND)
        memcpy(&d.value, e->buf.base, sizeof(d.value));
    return d;
}

static inline struct disk_entry entry_dup(const struct disk_entry *e)
{
    struct disk_entry d = {.term = e->term, .type = e->type, .value = e->value};
    buf_append(&d.bytes, buf_slice(&e->bytes));
    return d;
}

static inline struct raft_entry *entries_out(const struct disk_entry *es, size_t n)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += es[i].bytes.n;
    char *batch = raft_malloc(total + 1);
    struct raft_entry *out = raft_calloc(n, sizeof(*out));
    for (size_t i = 0, at = 0; i < n; at += es[i].bytes.n, i++) {
        memcpy(batch + at, buf_slice(&es[i].bytes).p, es[i].bytes.n);
        out[i] = (struct raft_entry){.term = es[i].term,
                                     .type = es[i].type,
                                     .buf = {batch + at, es[i].bytes.n},
                                     .batch = batch};
    }
    return out;
}

static inline void entries_fini(struct disk_entry *es, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_fini(&es[i].bytes);
    mem_free(es);
}

static inline struct raft_buffer snapshot_bytes(void)
{
    return (struct raft_buffer){raft_calloc(1, 8), 8}; /* the world knows what was applied */
}

static inline struct raft_snapshot *snapshot_out(const struct disk_snapshot *d)
{
    struct raft_snapshot *s = raft_calloc(1, sizeof(*s));
    *s = (struct raft_snapshot){.index = d->index,
                                .term = d->term,
                                .configuration_index = d->conf_index,
                                .bufs = raft_malloc(sizeof(*s->bufs)),
                                .n_bufs = 1};
    conf_copy(&d->conf, &s->configuration);
    s->bufs[0] = snapshot_bytes();
    return s;
}

/* Struct raft_io over the world. */

static inline struct sim_node *node_of(struct raft_io *io)
{
    return io->impl;
}

static inline int io_init(struct raft_io *io, raft_id id, const char *address)
{
    (void)io;
    (void)id;
    (void)address;
    return 0;
}

static inline void io_close(struct raft_io *io, raft_io_close_cb cb)
{
    cb(io);
}

static inline int io_load(struct raft_io *io, raft_term *term, raft_id *vote,
                          struct raft_snapshot **snap, raft_index *start,
                          struct raft_entry *entries[], size_t *n)
{
    struct sim_node *x = node_of(io);
    *term = x->term;
    *vote = x->vote;
    *snap = x->snap.index ? snapshot_out(&x->snap) : NULL;
    *start = x->snap.index ? x->snap.kept_from : 1;
    *n = x->log.n - (*start - 1);
    *entries = *n ? entries_out(x->log.p + *start - 1, *n) : NULL;
    x->next_index = x->log.n + 1;
    return 0;
}

static inline int io_start(struct raft_io *io, unsigned ms, raft_io_tick_cb tick,
                           raft_io_recv_cb recv)
{
    struct sim_node *x = node_of(io);
    x->tick = tick;
    x->recv = recv;
    x->next_tick = x->w->now + rnd(x->w) % ms;
    return 0;
}

static inline int io_bootstrap(struct raft_io *io, const struct raft_configuration *conf)
{
    struct sim_node *x = node_of(io);
    struct raft_entry e = {.term = 1, .type = RAFT_CHANGE};
    assert_int_equal(raft_configuration_encode(conf, &e.buf), 0);
    x->term = 1;
    *vec_push(&x->log) = entry_copy(&e);
    raft_free(e.buf.base);
    return 0;
}

static inline int io_set_term(struct raft_io *io, raft_term term)
{
    node_of(io)->term = term;
    node_of(io)->vote = 0;
    return 0;
}

static inline int io_set_vote(struct raft_io *io, raft_id id)
{
    node_of(io)->vote = id;
    return 0;
}

static inline int io_send(struct raft_io *io, struct raft_io_send *req,
                          const struct raft_message *m, raft_io_send_cb cb)
{
    struct sim_node *x = node_of(io);
    if (cb) {
        struct send_done *d = MEM_NEW(struct send_done);
        req->cb = cb;
        d->req = req;
        list_push(&x->sends, &d->node);
    }
    x->w->strays += m->server_id > NODES;
    if (m->server_id == 0 || m->server_id > NODES || !x->alive)
        return 0;
    struct packet *p = MEM_NEW(struct packet);
    p->from = x->i;
    p->to = (int)m->server_id - 1;
    p->m = *m;
    p->due = x->w->now + 1 + rnd(x->w) % x->w->latency_max;
    LIST_EACH (&x->w->packets, n) {
        struct packet *q = container_of(n, struct packet, node);
        if (q->from == p->from && q->to == p->to && q->due > p->due)
            p->due = q->due; /* TCP keeps the order */
    }
    if (m->type == RAFT_IO_APPEND_ENTRIES)
        for (unsigned i = 0; i < m->append_entries.n_entries; i++)
            if (!x->w->hold_own_term || m->append_entries.entries[i].term < m->append_entries.term)
                *vec_push(&p->entries) = entry_copy(&m->append_entries.entries[i]);
    if (m->type == RAFT_IO_INSTALL_SNAPSHOT)
        conf_copy(&m->install_snapshot.conf, &p->m.install_snapshot.conf);
    list_push(&x->w->packets, &p->node);
    return 0;
}

static inline int io_append(struct raft_io *io, struct raft_io_append *req,
                            const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    struct sim_node *x = node_of(io);
    struct disk_op *op = MEM_NEW(struct disk_op);
    req->cb = cb;
    op->req = req;
    op->first = x->next_index;
    op->due = x->w->now + 1 + rnd(x->w) % x->disk_max;
    x->next_index += n;
    for (unsigned i = 0; i < n; i++)
        *vec_push(&op->entries) = entry_copy(&entries[i]);
    list_push(&x->ops, &op->node);
    return 0;
}

static inline int io_truncate(struct raft_io *io, raft_index index)
{
    node_of(io)->next_index = index;
    return 0;
}

/* At most one of each at a time: schedules have one follower that needs a snapshot. */
static inline int io_snapshot_put(struct raft_io *io, unsigned trailing,
                                  struct raft_io_snapshot_put *req, const struct raft_snapshot *s,
                                  raft_io_snapshot_put_cb cb)
{
    struct sim_node *x = node_of(io);
    wf_assert(!x->put);
    bool all = trailing == 0 || s->index <= trailing;
    req->cb = cb;
    x->put = req;
    x->put_due = x->w->now + 5 + x->put_ms;
    x->putting =
        (struct disk_snapshot){.index = s->index,
                               .term = s->term,
                               .conf_index = s->configuration_index,
                               .kept_from = trailing == 0 ? s->index + 1 : s->index - trailing + 1};
    if (trailing && all)
        x->putting.kept_from = 1;
    conf_copy(&s->configuration, &x->putting.conf);
    return 0;
}

static inline int io_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req,
                                  raft_io_snapshot_get_cb cb)
{
    struct sim_node *x = node_of(io);
    wf_assert(!x->get);
    req->cb = cb;
    x->get = req;
    x->get_due = x->w->now + x->get_ms;
    return 0;
}

static inline raft_time io_time(struct raft_io *io)
{
    return node_of(io)->w->now;
}

static inline int io_random(struct raft_io *io, int min, int max)
{
    return min + (int)(rnd(node_of(io)->w) % (unsigned)(max - min + 1));
}

/* State machine: remembers what was applied where. */

static inline int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct sim_node *x = fsm->data;
    raft_index index = x->raft.last_applied + 1;
    uint64_t value;
    memcpy(&value, buf->base, sizeof(value));
    *result = NULL;
    if (!x->alive)
        return 0; /* what a dead node does is seen by nobody */
    wf_assert(index < INDEX_MAX);
    if (x->w->applied[index] == 0)
        x->w->applied[index] = value;
    else if (x->w->applied[index] != value)
        x->w->conflicts++;
    return 0;
}

static inline int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n)
{
    (void)fsm;
    *bufs = raft_malloc(sizeof(**bufs));
    **bufs = snapshot_bytes();
    *n = 1;
    return 0;
}

static inline int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    (void)fsm;
    raft_free(buf->base);
    return 0;
}

/* Life and death. */

static inline void boot(struct world *w, int i, bool first)
{
    struct sim_node *x = &w->node[i];
    x->w = w;
    x->i = i;
    x->alive = true;
    memset(&x->raft, 0, sizeof(x->raft));
    x->disk_max = 3;
    list_init(&x->ops);
    list_init(&x->sends);
    x->io = (struct raft_io){.version = 2,
                             .impl = x,
                             .init = io_init,
                             .close = io_close,
                             .load = io_load,
                             .start = io_start,
                             .bootstrap = io_bootstrap,
                             .set_term = io_set_term,
                             .set_vote = io_set_vote,
                             .send = io_send,
                             .append = io_append,
                             .truncate = io_truncate,
                             .snapshot_put = io_snapshot_put,
                             .snapshot_get = io_snapshot_get,
                             .time = io_time,
                             .random = io_random};
    x->fsm = (struct raft_fsm){.version = 1,
                               .data = x,
                               .apply = fsm_apply,
                               .snapshot = fsm_snapshot,
                               .restore = fsm_restore};
    guard_init(&x->guard, &x->io, &x->raft, &(struct guard_events){0}, NULL);
    x->guard.off = w->off;
    if (w->joining)
        guard_join_begin(&x->guard);
    assert_int_equal(raft_init(&x->raft, &x->guard.io, &x->fsm, (raft_id)i + 1, addresses[i]), 0);
    raft_set_election_timeout(&x->raft, ELECTION_MS);
    raft_set_heartbeat_timeout(&x->raft, HEARTBEAT_MS);
    raft_set_snapshot_threshold(&x->raft, 1u << 30);
    raft_set_pre_vote(&x->raft, true);
    if (first) {
        struct raft_configuration conf;
        raft_configuration_init(&conf);
        for (int k = 0; k < NODES; k++)
            raft_configuration_add(&conf, (raft_id)k + 1, addresses[k], RAFT_VOTER);
        assert_int_equal(raft_bootstrap(&x->raft, &conf), 0);
        raft_configuration_close(&conf);
    }
    assert_int_equal(raft_start(&x->raft), 0);
}

static inline void op_free(struct disk_op *op)
{
    list_remove(&op->node);
    entries_fini(op->entries.p, op->entries.n);
    mem_free(op);
}

static inline void packet_free(struct packet *p)
{
    list_remove(&p->node);
    entries_fini(p->entries.p, p->entries.n);
    if (p->m.type == RAFT_IO_INSTALL_SNAPSHOT)
        raft_configuration_close(&p->m.install_snapshot.conf);
    mem_free(p);
}

static inline void op_land(struct sim_node *x, struct disk_op *op)
{
    while (x->log.n >= op->first)
        buf_fini(&x->log.p[--x->log.n].bytes);
    for (size_t i = 0; i < op->entries.n; i++)
        *vec_push(&x->log) = entry_dup(&op->entries.p[i]);
}

static inline void run_sends(struct sim_node *x)
{
    struct list_node *n;
    while ((n = list_pop(&x->sends))) {
        struct send_done *d = container_of(n, struct send_done, node);
        d->req->cb(d->req, 0);
        mem_free(d);
    }
}

static inline void run_disk(struct sim_node *x, raft_time now)
{
    struct list_node *n;
    while ((n = list_first(&x->ops))) {
        struct disk_op *op = container_of(n, struct disk_op, node);
        if (op->due > now)
            return;
        struct raft_io_append *req = op->req;
        if (!x->disk_fails)
            op_land(x, op);
        op_free(op);
        req->cb(req, x->disk_fails ? RAFT_IOERR : 0);
    }
}

/* What an installed snapshot replaces is filled up, so that an index stays a place in the log. */
static inline void land_put(struct sim_node *x)
{
    struct raft_io_snapshot_put *req = x->put;
    raft_configuration_close(&x->snap.conf);
    x->snap = x->putting;
    x->put = NULL;
    if (x->snap.kept_from > x->snap.index) {
        while (x->log.n > x->snap.index)
            buf_fini(&x->log.p[--x->log.n].bytes);
        while (x->log.n < x->snap.index)
            *vec_push(&x->log) = (struct disk_entry){.type = RAFT_BARRIER};
        x->next_index = x->snap.index + 1;
    }
    req->cb(req, 0);
}

static inline void land_get(struct sim_node *x)
{
    struct raft_io_snapshot_get *req = x->get;
    x->get = NULL;
    req->cb(req, snapshot_out(&x->snap), 0);
}

static inline void run_snapshots(struct sim_node *x, raft_time now)
{
    if (x->put && x->put_due <= now)
        land_put(x);
    if (x->get && x->get_due <= now)
        land_get(x);
}

/* What is in flight to the disk lands, up to some point if the world is lossy. The library is told
 * that all of it did, so that it frees its memory: nobody hears of that. */
static inline void end_writes(struct world *w, struct sim_node *x)
{
    struct list_node *n;
    bool lands = true;
    run_snapshots(x, UINT64_MAX);
    while ((n = list_first(&x->ops)) || !list_empty(&x->sends)) {
        run_sends(x);
        if (!(n = list_first(&x->ops)))
            continue;
        struct disk_op *op = container_of(n, struct disk_op, node);
        struct raft_io_append *req = op->req;
        lands = lands && (!w->lossy || rnd(w) % 2);
        if (lands)
            op_land(x, op);
        op_free(op);
        req->cb(req, 0);
    }
}

/* Memory and packets on their way are gone. */
static inline void crash(struct world *w, int i)
{
    struct sim_node *x = &w->node[i];
    x->alive = false;
    end_writes(w, x);
    LIST_EACH (&w->packets, n) {
        struct packet *p = container_of(n, struct packet, node);
        if (p->to == i || p->from == i)
            packet_free(p);
    }
    raft_close(&x->raft, NULL);
    guard_fini(&x->guard);
}

/* The transport does not get the snapshot's file. */
static inline void refuse_install(struct world *w, const struct packet *p)
{
    struct raft *r = &w->node[p->to].raft;
    struct raft_message m = {.type = RAFT_IO_APPEND_ENTRIES_RESULT,
                             .server_id = (raft_id)p->from + 1,
                             .append_entries_result = {.term = r->current_term,
                                                       .rejected = p->m.install_snapshot.last_index,
                                                       .last_log_index = r->last_stored}};
    w->refuse_installs--;
    io_send(&w->node[p->to].io, NULL, &m, NULL);
}

static inline void deliver(struct world *w, struct packet *p)
{
    struct sim_node *x = &w->node[p->to];
    struct raft_message m = p->m;
    if (m.type == RAFT_IO_INSTALL_SNAPSHOT) {
        if (w->refuse_installs > 0) {
            refuse_install(w, p);
            packet_free(p);
            return;
        }
        conf_copy(&p->m.install_snapshot.conf, &m.install_snapshot.conf);
        m.install_snapshot.data = snapshot_bytes();
    }
    m.server_id = (raft_id)p->from + 1;
    m.server_address = addresses[p->from];
    if (m.type == RAFT_IO_APPEND_ENTRIES) {
        m.append_entries.n_entries = (unsigned)p->entries.n;
        m.append_entries.entries = p->entries.n ? entries_out(p->entries.p, p->entries.n) : NULL;
    }
    packet_free(p);
    x->recv(&x->io, &m);
}

static inline bool deliver_one(struct world *w)
{
    LIST_EACH (&w->packets, n) {
        struct packet *p = container_of(n, struct packet, node);
        if (p->due > w->now || p->to == w->hold_to)
            continue;
        if (w->cut[p->from][p->to] || !w->node[p->to].alive)
            packet_free(p);
        else
            deliver(w, p);
        return true;
    }
    return false;
}

static inline void step(struct world *w)
{
    w->now++;
    for (int i = 0; i < NODES; i++) {
        struct sim_node *x = &w->node[i];
        if (!x->alive)
            continue;
        run_sends(x);
        run_disk(x, w->now);
        run_snapshots(x, w->now);
        if (w->now >= x->next_tick) {
            x->next_tick = w->now + HEARTBEAT_MS;
            x->tick(&x->io);
        }
    }
    while (deliver_one(w))
        ;
    for (int i = 0; i < NODES; i++)
        if (w->node[i].alive)
            guard_tell_commit(&w->node[i].guard);
}

static inline void run(struct world *w, int ms)
{
    for (int i = 0; i < ms; i++)
        step(w);
}

static inline int leader(const struct world *w)
{
    int best = -1;
    for (int i = 0; i < NODES; i++)
        if (w->node[i].alive && w->node[i].raft.state == RAFT_LEADER &&
            (best < 0 || w->node[i].raft.current_term > w->node[best].raft.current_term))
            best = i;
    return best;
}

/* Is it on that node's disk what `l` wrote in its own term? */
static inline bool entry_is_leaders(const struct world *w, int node, raft_index index, int l)
{
    const struct sim_node *x = &w->node[node];
    return index <= x->log.n && x->log.p[index - 1].term == w->node[l].raft.current_term;
}

static inline bool run_until_leads(struct world *w, int i, int ms)
{
    while (ms-- > 0 && leader(w) != i)
        step(w);
    return leader(w) == i;
}

static inline void cut_all(struct world *w, bool cut)
{
    for (int i = 0; i < NODES; i++)
        for (int k = 0; k < NODES; k++)
            w->cut[i][k] = cut;
}

static inline void join_only(struct world *w, int a, int b)
{
    cut_all(w, true);
    w->cut[a][b] = w->cut[b][a] = false;
}

static inline void drop_packets(struct world *w)
{
    LIST_EACH (&w->packets, n)
        packet_free(container_of(n, struct packet, node));
}

static inline void on_put(struct raft_apply *req, int status, void *result)
{
    (void)status;
    (void)result;
    mem_free(req);
}

/* Returns the index, 0 when the node does not lead. */
static inline raft_index put(struct world *w, int i)
{
    struct sim_node *x = &w->node[i];
    struct raft_apply *req = MEM_NEW(struct raft_apply);
    struct raft_buffer buf = {raft_malloc(8), 8};
    uint64_t value = w->next_value++;
    memcpy(buf.base, &value, 8);
    if (raft_apply(&x->raft, req, &buf, 1, on_put) == 0)
        return guard_last_index(&x->raft);
    raft_free(buf.base);
    mem_free(req);
    return 0;
}

static inline void on_assigned(struct raft_change *req, int status)
{
    (void)status;
    mem_free(req);
}

static inline bool assign(struct world *w, int leader, int i, int role)
{
    struct raft_change *req = MEM_NEW(struct raft_change);
    if (raft_assign(&w->node[leader].raft, req, (raft_id)i + 1, role, on_assigned) == 0)
        return true;
    mem_free(req);
    return false;
}

static inline struct world *world_new(uint64_t seed, unsigned off)
{
    struct world *w = MEM_NEW(struct world);
    w->random = seed * 7919 + 12345;
    w->off = off;
    w->now = 1;
    w->hold_to = -1;
    w->latency_max = 5;
    w->next_value = 1000;
    list_init(&w->packets);
    for (int i = 0; i < NODES; i++)
        boot(w, i, true);
    return w;
}

static inline void world_free(struct world *w)
{
    for (int i = 0; i < NODES; i++) {
        if (w->node[i].alive)
            crash(w, i);
        entries_fini(w->node[i].log.p, w->node[i].log.n);
        raft_configuration_close(&w->node[i].snap.conf);
    }
    drop_packets(w);
    mem_free(w);
}

/* Of a schedule. LOST: what the rule prevents appeared. */
enum outcome { SAFE, LOST, NOT_REACHED };

#define SEEDS 20

static inline int count(enum outcome (*schedule)(uint64_t, unsigned), unsigned off,
                        enum outcome what)
{
    int n = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        n += schedule(seed, off) == what;
    return n;
}

/* Without some rules: the loss that they prevent. Else the schedule proves nothing. */
static inline void most_lose(enum outcome (*schedule)(uint64_t, unsigned), unsigned off)
{
    int lost = count(schedule, off, LOST);
    print_message("lost in %d of %d\n", lost, SEEDS);
    assert_true(lost > SEEDS / 2);
}

/* With all of them; and most seeds get there. */
static inline void none_loses(enum outcome (*schedule)(uint64_t, unsigned))
{
    assert_int_equal(count(schedule, ALL_RULES, LOST), 0);
    assert_true(count(schedule, ALL_RULES, SAFE) > SEEDS / 2);
}

#endif
