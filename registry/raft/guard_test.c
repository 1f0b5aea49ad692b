/* libraft 0.15 loses committed entries. These schedules show how, over the real library in virtual
 * time with a simulated disk and network, and that the guard prevents each: with the rule switched
 * off the loss must appear (or the schedule proves nothing), with it on it must not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/mem.h"
#include "registry/raft/guard.h"
#include "registry/raft/join.h"

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
    /* Survives a crash. */
    raft_term term;
    raft_id vote;
    VEC(struct disk_entry) log;
    /* Does not. */
    raft_index next_index;
    struct list ops, sends;
};

struct world {
    struct sim_node node[NODES];
    raft_time now;
    uint64_t random;
    unsigned off; /* rules switched off on all nodes */
    struct list packets;
    bool cut[NODES][NODES];      /* from, to: lost on the way */
    unsigned latency_max;        /* ms of a packet */
    bool lossy;                  /* a crash loses writes that are not synced */
    int hold_to;                 /* packets to this node wait; -1 = none */
    bool hold_own_term;          /* an append carries no entry of its sender's own term */
    uint64_t applied[INDEX_MAX]; /* value that was first applied at an index */
    int conflicts;               /* another value was applied there later */
    uint64_t next_value;
    bool joining; /* who boots now has an empty disk, and knows it */
};

static const char *const addresses[NODES] = {"1", "2", "3"};

static uint64_t rnd(struct world *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

static struct disk_entry entry_copy(const struct raft_entry *e)
{
    struct disk_entry d = {.term = e->term, .type = e->type};
    buf_append(&d.bytes, slice_mem(e->buf.base, e->buf.len));
    if (e->type == RAFT_COMMAND)
        memcpy(&d.value, e->buf.base, sizeof(d.value));
    return d;
}

static struct disk_entry entry_dup(const struct disk_entry *e)
{
    struct disk_entry d = {.term = e->term, .type = e->type, .value = e->value};
    buf_append(&d.bytes, buf_slice(&e->bytes));
    return d;
}

static struct raft_entry *entries_out(const struct disk_entry *es, size_t n)
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

static void entries_fini(struct disk_entry *es, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_fini(&es[i].bytes);
    mem_free(es);
}

/* Struct raft_io over the world. */

static struct sim_node *node_of(struct raft_io *io)
{
    return io->impl;
}

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    (void)io;
    (void)id;
    (void)address;
    return 0;
}

static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
    cb(io);
}

static int io_load(struct raft_io *io, raft_term *term, raft_id *vote, struct raft_snapshot **snap,
                   raft_index *start, struct raft_entry *entries[], size_t *n)
{
    struct sim_node *x = node_of(io);
    *term = x->term;
    *vote = x->vote;
    *snap = NULL;
    *start = 1;
    *n = x->log.n;
    *entries = x->log.n ? entries_out(x->log.p, x->log.n) : NULL;
    x->next_index = x->log.n + 1;
    return 0;
}

static int io_start(struct raft_io *io, unsigned ms, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct sim_node *x = node_of(io);
    x->tick = tick;
    x->recv = recv;
    x->next_tick = x->w->now + rnd(x->w) % ms;
    return 0;
}

static int io_bootstrap(struct raft_io *io, const struct raft_configuration *conf)
{
    struct sim_node *x = node_of(io);
    struct raft_entry e = {.term = 1, .type = RAFT_CHANGE};
    assert_int_equal(raft_configuration_encode(conf, &e.buf), 0);
    x->term = 1;
    *vec_push(&x->log) = entry_copy(&e);
    raft_free(e.buf.base);
    return 0;
}

static int io_set_term(struct raft_io *io, raft_term term)
{
    node_of(io)->term = term;
    node_of(io)->vote = 0;
    return 0;
}

static int io_set_vote(struct raft_io *io, raft_id id)
{
    node_of(io)->vote = id;
    return 0;
}

static int io_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *m,
                   raft_io_send_cb cb)
{
    struct sim_node *x = node_of(io);
    if (cb) {
        struct send_done *d = MEM_NEW(struct send_done);
        req->cb = cb;
        d->req = req;
        list_push(&x->sends, &d->node);
    }
    if (m->server_id == 0 || !x->alive)
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
    list_push(&x->w->packets, &p->node);
    return 0;
}

static int io_append(struct raft_io *io, struct raft_io_append *req,
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

static int io_truncate(struct raft_io *io, raft_index index)
{
    node_of(io)->next_index = index;
    return 0;
}

static raft_time io_time(struct raft_io *io)
{
    return node_of(io)->w->now;
}

static int io_random(struct raft_io *io, int min, int max)
{
    return min + (int)(rnd(node_of(io)->w) % (unsigned)(max - min + 1));
}

/* State machine: remembers what was applied where. */

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
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

static int fsm_no_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n)
{
    (void)fsm;
    (void)bufs;
    (void)n;
    return RAFT_BUSY;
}

static int fsm_no_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    (void)fsm;
    (void)buf;
    return RAFT_INVALID;
}

/* Life and death. */

static void boot(struct world *w, int i, bool first)
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
                             .time = io_time,
                             .random = io_random};
    x->fsm = (struct raft_fsm){.version = 1,
                               .data = x,
                               .apply = fsm_apply,
                               .snapshot = fsm_no_snapshot,
                               .restore = fsm_no_restore};
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

static void op_free(struct disk_op *op)
{
    list_remove(&op->node);
    entries_fini(op->entries.p, op->entries.n);
    mem_free(op);
}

static void packet_free(struct packet *p)
{
    list_remove(&p->node);
    entries_fini(p->entries.p, p->entries.n);
    mem_free(p);
}

static void op_land(struct sim_node *x, struct disk_op *op)
{
    while (x->log.n >= op->first)
        buf_fini(&x->log.p[--x->log.n].bytes);
    for (size_t i = 0; i < op->entries.n; i++)
        *vec_push(&x->log) = entry_dup(&op->entries.p[i]);
}

static void run_sends(struct sim_node *x)
{
    struct list_node *n;
    while ((n = list_pop(&x->sends))) {
        struct send_done *d = container_of(n, struct send_done, node);
        d->req->cb(d->req, 0);
        mem_free(d);
    }
}

static void run_disk(struct sim_node *x, raft_time now)
{
    struct list_node *n;
    while ((n = list_first(&x->ops))) {
        struct disk_op *op = container_of(n, struct disk_op, node);
        if (op->due > now)
            return;
        struct raft_io_append *req = op->req;
        op_land(x, op);
        op_free(op);
        req->cb(req, 0);
    }
}

/* What is in flight to the disk lands, up to some point if the world is lossy. The library is told
 * that all of it did, so that it frees its memory: nobody hears of that. */
static void end_writes(struct world *w, struct sim_node *x)
{
    struct list_node *n;
    bool lands = true;
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
static void crash(struct world *w, int i)
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

static void deliver(struct world *w, struct packet *p)
{
    struct sim_node *x = &w->node[p->to];
    struct raft_message m = p->m;
    m.server_id = (raft_id)p->from + 1;
    m.server_address = addresses[p->from];
    if (m.type == RAFT_IO_APPEND_ENTRIES) {
        m.append_entries.n_entries = (unsigned)p->entries.n;
        m.append_entries.entries = p->entries.n ? entries_out(p->entries.p, p->entries.n) : NULL;
    }
    packet_free(p);
    x->recv(&x->io, &m);
}

static bool deliver_one(struct world *w)
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

static void step(struct world *w)
{
    w->now++;
    for (int i = 0; i < NODES; i++) {
        struct sim_node *x = &w->node[i];
        if (!x->alive)
            continue;
        run_sends(x);
        run_disk(x, w->now);
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

static void run(struct world *w, int ms)
{
    for (int i = 0; i < ms; i++)
        step(w);
}

static int leader(const struct world *w)
{
    int best = -1;
    for (int i = 0; i < NODES; i++)
        if (w->node[i].alive && w->node[i].raft.state == RAFT_LEADER &&
            (best < 0 || w->node[i].raft.current_term > w->node[best].raft.current_term))
            best = i;
    return best;
}

static bool run_until_leads(struct world *w, int i, int ms)
{
    while (ms-- > 0 && leader(w) != i)
        step(w);
    return leader(w) == i;
}

static void cut_all(struct world *w, bool cut)
{
    for (int i = 0; i < NODES; i++)
        for (int k = 0; k < NODES; k++)
            w->cut[i][k] = cut;
}

static void join_only(struct world *w, int a, int b)
{
    cut_all(w, true);
    w->cut[a][b] = w->cut[b][a] = false;
}

static void drop_packets(struct world *w)
{
    LIST_EACH (&w->packets, n)
        packet_free(container_of(n, struct packet, node));
}

static void on_put(struct raft_apply *req, int status, void *result)
{
    (void)status;
    (void)result;
    mem_free(req);
}

/* Returns the index, 0 when the node does not lead. */
static raft_index put(struct world *w, int i)
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

static struct world *world_new(uint64_t seed, unsigned off)
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

static void world_free(struct world *w)
{
    for (int i = 0; i < NODES; i++) {
        if (w->node[i].alive)
            crash(w, i);
        entries_fini(w->node[i].log.p, w->node[i].log.n);
    }
    drop_packets(w);
    mem_free(w);
}

/* Raft §5.4.2, figure 8.
 * A writes X to its own disk only and dies. B leads with C, writes Y to its own disk only, dies. A
 * leads again with C and copies X to it; no entry of its own term gets there. X is on two of three
 * disks, and still B can win with Y: X must not have been applied. */
enum outcome { SAFE, LOST, NOT_REACHED };

static enum outcome figure_8(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    enum outcome out = NOT_REACHED;
    run(w, 600);
    int a = leader(w);
    if (a < 0)
        goto end;
    put(w, a);
    run(w, 60);
    cut_all(w, true);
    if (!put(w, a)) /* X */
        goto end;
    run(w, 15);
    crash(w, a);
    int b = (a + 1) % NODES, c = (a + 2) % NODES;
    join_only(w, b, c);
    for (int t = 0; t < 3000 && leader(w) < 0; t++)
        step(w);
    if (leader(w) == c) {
        c = b;
        b = leader(w);
    }
    if (leader(w) != b)
        goto end;
    cut_all(w, true);
    drop_packets(w);
    if (!put(w, b)) /* Y */
        goto end;
    run(w, 15);
    crash(w, b);
    boot(w, a, false);
    join_only(w, a, c);
    w->hold_own_term = true;
    if (!run_until_leads(w, a, 5000))
        goto end;
    run(w, 300);
    w->hold_own_term = false;
    crash(w, a);
    boot(w, b, false);
    join_only(w, b, c);
    if (!run_until_leads(w, b, 5000)) {
        out = SAFE; /* C has what is newer than Y and refuses B */
        goto end;
    }
    put(w, b);
    run(w, 300);
    boot(w, a, false);
    cut_all(w, false);
    run(w, 1000);
    out = w->conflicts ? LOST : SAFE;
end:
    world_free(w);
    return out;
}

/* The stale suffix.
 * A writes three entries that nobody else gets, and is cut off but lives. The others elect L, which
 * writes one entry at the same index and has only A to count on. A's answer to a heartbeat must not
 * make L count A's old entry as its own. */
static bool entry_is_leaders(const struct world *w, int node, raft_index index, int l)
{
    const struct sim_node *x = &w->node[node];
    return index <= x->log.n && x->log.p[index - 1].term == w->node[l].raft.current_term;
}

static enum outcome stale_suffix(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    enum outcome out = NOT_REACHED;
    run(w, 600);
    int a = leader(w);
    if (a < 0)
        goto end;
    put(w, a);
    run(w, 80);
    int b = (a + 1) % NODES, c = (a + 2) % NODES;
    for (int i = 0; i < NODES; i++)
        w->cut[a][i] = true;
    for (int i = 0; i < 3; i++)
        put(w, a);
    run(w, 10);
    w->hold_to = a; /* what is sent to A waits in TCP's buffers */
    for (int t = 0; t < 4000 && leader(w) != b && leader(w) != c; t++)
        step(w);
    int l = leader(w), f = l == b ? c : b;
    if (l == a || l < 0)
        goto end;
    w->cut[l][f] = w->cut[f][l] = true;
    raft_index at = put(w, l);
    run(w, 10);
    for (int i = 0; i < NODES; i++)
        w->cut[a][i] = false;
    w->hold_to = -1;
    out = SAFE;
    for (int t = 0; t < 90 && at; t++) {
        step(w);
        if (w->node[l].raft.commit_index >= at && !entry_is_leaders(w, a, at, l))
            out = LOST; /* committed, and on no majority */
    }
end:
    world_free(w);
    return out;
}

/* The stale suffix, committed.
 * As before, A holds an entry that nobody else got. L commits another one at its index with F, and
 * tells A of it with an append that ends before: Raft allows that, and rule G6 makes such ones. A
 * must not take its own entry for the committed one. */
static enum outcome stale_commit(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    enum outcome out = NOT_REACHED;
    run(w, 600);
    int a = leader(w);
    if (a < 0)
        goto end;
    raft_index shared = put(w, a);
    run(w, 80);
    cut_all(w, true);
    put(w, a);
    run(w, 10);
    int b = (a + 1) % NODES, c = (a + 2) % NODES;
    join_only(w, b, c);
    for (int t = 0; t < 4000 && leader(w) != b && leader(w) != c; t++)
        step(w);
    int l = leader(w);
    if (l == a || l < 0)
        goto end;
    put(w, l);
    run(w, 100);
    struct raft *lead = &w->node[l].raft;
    struct raft_message m = {.type = RAFT_IO_APPEND_ENTRIES,
                             .server_id = (raft_id)l + 1,
                             .server_address = addresses[l],
                             .append_entries = {.term = lead->current_term,
                                                .prev_log_index = shared,
                                                .prev_log_term = guard_term_of(lead, shared),
                                                .leader_commit = lead->commit_index}};
    if (lead->commit_index <= shared)
        goto end;
    w->node[a].recv(&w->node[a].io, &m);
    out = w->node[a].raft.last_applied > shared ? LOST : SAFE;
end:
    world_free(w);
    return out;
}

/* A wiped voter.
 * A and C hold X, which is committed; B was cut off. C loses its disk. With A away, B and C are a
 * majority by number: if C simply voted, X would be gone. */
static void ask_around(struct world *w, int i)
{
    struct join j = {.count = 0};
    uint64_t term = 0;
    struct sim_node *x = &w->node[i];
    if (x->guard.standing != GUARD_ASKING)
        return;
    for (int k = 0; k < NODES; k++) {
        if (k == i)
            continue;
        join_add(&j, (uint64_t)k + 1);
        if (!w->node[k].alive || w->cut[i][k] || w->cut[k][i])
            continue;
        join_answer(&j, (uint64_t)k + 1, w->node[k].raft.current_term,
                    guard_last_index(&w->node[k].raft));
        guard_peer_lost_log(&w->node[k].guard, (raft_id)i + 1);
    }
    bool virgin = join_virgin(x->raft.current_term, guard_last_index(&x->raft));
    if (join_decide(&j, virgin, &term) == JOIN_CATCH_UP)
        guard_join_catch_up(&x->guard, term);
}

static enum outcome wiped_voter(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    enum outcome out = NOT_REACHED;
    run(w, 600);
    int a = leader(w);
    if (a < 0)
        goto end;
    int b = (a + 1) % NODES, c = (a + 2) % NODES;
    join_only(w, a, c);
    raft_index x = put(w, a);
    run(w, 100);
    if (!x || !w->applied[x])
        goto end;
    crash(w, c);
    entries_fini(w->node[c].log.p, w->node[c].log.n);
    memset(&w->node[c].log, 0, sizeof(w->node[c].log));
    w->node[c].vote = 0;
    w->joining = !(off & GUARD_G13_JOIN);
    boot(w, c, true);
    w->joining = false;
    join_only(w, b, c);
    for (int ms = 0; ms < 3000; ms++) {
        ask_around(w, c);
        step(w);
        if (leader(w) == b)
            put(w, b);
    }
    cut_all(w, false);
    for (int ms = 0; ms < 1000; ms++) {
        ask_around(w, c);
        step(w);
    }
    int l = leader(w);
    out = l < 0 || w->node[l].log.p[x - 1].value == w->applied[x] ? SAFE : LOST;
    if (out == SAFE && off == ALL_RULES) { /* and it is a voter again */
        assert_int_equal(w->node[c].guard.standing, GUARD_MEMBER);
        assert_int_equal(w->node[c].raft.last_applied, w->node[a].raft.last_applied);
    }
end:
    world_free(w);
    return out;
}

/* A promoted voter that does not know it.
 * C is a standby; A makes it a voter, which B hears and C does not; A dies. B and C are a majority,
 * and only B's log says so. */
static void on_assigned(struct raft_change *req, int status)
{
    (void)status;
    mem_free(req);
}

static bool assign(struct world *w, int leader, int i, int role)
{
    struct raft_change *req = MEM_NEW(struct raft_change);
    if (raft_assign(&w->node[leader].raft, req, (raft_id)i + 1, role, on_assigned) == 0)
        return true;
    mem_free(req);
    return false;
}

static enum outcome promoted_voter(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    enum outcome out = NOT_REACHED;
    run(w, 600);
    int a = leader(w), b = (a + 1) % NODES, c = (a + 2) % NODES;
    if (a < 0 || !assign(w, a, c, RAFT_STANDBY))
        goto end;
    run(w, 100);
    join_only(w, a, b);
    if (!assign(w, a, c, RAFT_VOTER))
        goto end;
    run(w, 60);
    if (w->node[a].raft.configuration_uncommitted_index || leader(w) != a)
        goto end;
    crash(w, a);
    join_only(w, b, c);
    out = run_until_leads(w, b, 5000) ? SAFE : LOST;
    if (out == SAFE) {
        run(w, 300);
        assert_int_equal(w->node[c].raft.last_applied, w->node[b].raft.last_applied);
    }
end:
    world_free(w);
    return out;
}

/* Tests. */

#define SEEDS 20

static int count(enum outcome (*schedule)(uint64_t, unsigned), unsigned off, enum outcome what)
{
    int n = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        n += schedule(seed, off) == what;
    return n;
}

static void figure_8_is_lost_without_the_guard(void **state)
{
    (void)state;
    int lost = count(figure_8, GUARD_G1_BARRIER | GUARD_G2_HOLD, LOST);
    print_message("lost in %d of %d\n", lost, SEEDS);
    assert_true(lost > SEEDS / 2);
}

static void figure_8_is_safe_with_it(void **state)
{
    (void)state;
    assert_int_equal(count(figure_8, ALL_RULES, LOST), 0);
    assert_true(count(figure_8, ALL_RULES, SAFE) > SEEDS / 2);
}

static void a_stale_suffix_is_counted_without_the_guard(void **state)
{
    (void)state;
    int lost = count(stale_suffix, GUARD_G3_CLIP, LOST);
    print_message("lost in %d of %d\n", lost, SEEDS);
    assert_true(lost > SEEDS / 2);
}

static void a_stale_suffix_is_not_counted_with_it(void **state)
{
    (void)state;
    assert_int_equal(count(stale_suffix, ALL_RULES, LOST), 0);
    assert_true(count(stale_suffix, ALL_RULES, SAFE) > SEEDS / 2);
}

static void a_stale_suffix_is_applied_without_the_guard(void **state)
{
    (void)state;
    int lost = count(stale_commit, GUARD_G15_COMMIT, LOST);
    print_message("lost in %d of %d\n", lost, SEEDS);
    assert_true(lost > SEEDS / 2);
}

static void a_stale_suffix_is_not_applied_with_it(void **state)
{
    (void)state;
    assert_int_equal(count(stale_commit, ALL_RULES, LOST), 0);
    assert_true(count(stale_commit, ALL_RULES, SAFE) > SEEDS / 2);
}

static void a_wiped_voter_loses_entries_without_the_guard(void **state)
{
    (void)state;
    int lost = count(wiped_voter, GUARD_G13_JOIN, LOST);
    print_message("lost in %d of %d\n", lost, SEEDS);
    assert_true(lost > SEEDS / 2);
}

static void a_wiped_voter_waits_with_it(void **state)
{
    (void)state;
    assert_int_equal(count(wiped_voter, ALL_RULES, LOST), 0);
    assert_true(count(wiped_voter, ALL_RULES, SAFE) > SEEDS / 2);
}

static void a_promoted_voter_is_missed_without_the_guard(void **state)
{
    (void)state;
    int lost = count(promoted_voter, GUARD_G18_PROMOTED, LOST);
    print_message("no leader in %d of %d\n", lost, SEEDS);
    assert_true(lost > SEEDS / 2);
}

static void a_promoted_voter_votes_with_it(void **state)
{
    (void)state;
    assert_int_equal(count(promoted_voter, ALL_RULES, LOST), 0);
    assert_true(count(promoted_voter, ALL_RULES, SAFE) > SEEDS / 2);
}

/* A commit that followers hear of late.
 * A cluster at rest takes one write. Appending, answering and telling take at most 5 + 3 + 5 + 5 ms
 * here and twice the disk's 3; the next heartbeat is up to 80 ms away. */
static enum outcome late_commit(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    enum outcome out = NOT_REACHED;
    for (int i = 0; i < NODES; i++)
        raft_set_heartbeat_timeout(&w->node[i].raft, 80);
    run(w, 1000 + (int)(seed % 80));
    int l = leader(w);
    raft_index at = l < 0 ? 0 : put(w, l);
    if (at) {
        run(w, 30);
        out = SAFE;
        for (int i = 0; i < NODES; i++)
            if (w->node[i].raft.last_applied < at)
                out = LOST; /* so far */
    }
    world_free(w);
    return out;
}

static void a_commit_is_late_without_the_guard(void **state)
{
    (void)state;
    assert_true(count(late_commit, GUARD_G14_TELL, LOST) > SEEDS / 3);
}

static void a_commit_is_told_at_once_with_it(void **state)
{
    (void)state;
    assert_int_equal(count(late_commit, ALL_RULES, LOST), 0);
    assert_true(count(late_commit, ALL_RULES, SAFE) > SEEDS / 2);
}

/* Time-outs of elections.
 * Of two followers the one with the shorter time-out stands; if the other kept its long one from
 * leader to leader, most elections would begin as late as if there were only one follower. */
static int outlast_leader(struct world *w, int l)
{
    unsigned before[NODES], same = 0;
    for (int i = 0; i < NODES; i++)
        before[i] = w->node[i].raft.follower_state.randomized_election_timeout;
    join_only(w, (l + 1) % NODES, (l + 2) % NODES);
    for (int t = 0; t < 3000 && leader(w) == l; t++)
        step(w);
    int next = leader(w);
    cut_all(w, false);
    run(w, 200);
    for (int i = 0; i < NODES; i++)
        if (i != l && i != next)
            same = w->node[i].raft.follower_state.randomized_election_timeout == before[i];
    return (int)same;
}

static void a_follower_draws_a_time_out_for_each_leader(void **state)
{
    (void)state;
    struct world *w = world_new(1, ALL_RULES);
    int same = 0, leaders = 0;
    run(w, 600);
    for (int i = 0; i < SEEDS; i++) {
        int l = leader(w);
        assert_true(l >= 0);
        same += outlast_leader(w, l);
        leaders += leader(w) != l;
    }
    world_free(w);
    assert_int_equal(leaders, SEEDS);
    assert_true(same < 4); /* two draws of a hundred may be equal */
}

/* Random faults: cuts in one and both directions, crashes that lose what is not synced, slow
 * packets and disks. */
static void random_fault(struct world *w)
{
    uint64_t dice = rnd(w) % 10000;
    int i = (int)(rnd(w) % NODES), k = (int)(rnd(w) % NODES);
    if (dice < 30)
        cut_all(w, false);
    else if (dice < 60)
        w->cut[i][k] = true;
    else if (dice < 90)
        w->cut[i][(i + 1) % NODES] = w->cut[i][(i + 2) % NODES] = true;
    else if (dice < 120)
        cut_all(w, true);
    else if (dice < 180 && w->node[i].alive)
        crash(w, i);
    else if (dice < 210)
        w->node[i].disk_max = rnd(w) % 2 ? 3 : 60;
    else if (dice < 230)
        w->latency_max = rnd(w) % 2 ? 5 : 120;
    else if (dice < 2200 && w->node[i].alive && guard_last_index(&w->node[i].raft) + 8 < INDEX_MAX)
        put(w, i);
    for (int n = 0; n < NODES; n++)
        if (!w->node[n].alive && rnd(w) % 50 == 0)
            boot(w, n, false);
}

static int random_run(uint64_t seed, unsigned off, int *ret_committed)
{
    struct world *w = world_new(seed, off);
    w->lossy = true;
    for (int ms = 0; ms < 15000; ms++) {
        random_fault(w);
        step(w);
    }
    w->latency_max = 5;
    w->lossy = false;
    cut_all(w, false);
    for (int i = 0; i < NODES; i++) {
        if (!w->node[i].alive)
            boot(w, i, false);
        w->node[i].disk_max = 3;
    }
    run(w, 3000);
    int l = leader(w), conflicts = w->conflicts;
    *ret_committed = 0;
    for (size_t i = 0; i < INDEX_MAX; i++)
        *ret_committed += w->applied[i] != 0;
    if (off == ALL_RULES) {
        assert_true(l >= 0); /* progress after the faults */
        raft_index before = w->node[l].raft.commit_index;
        put(w, l);
        run(w, 500);
        assert_true(w->node[l].raft.commit_index > before);
    }
    world_free(w);
    return conflicts;
}

/* The faults are hard enough: the library alone does not survive them. */
static void random_faults_lose_entries_without_the_guard(void **state)
{
    (void)state;
    int lost = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        int committed;
        lost += random_run(seed, GUARD_G1_BARRIER | GUARD_G2_HOLD | GUARD_G3_CLIP, &committed) > 0;
    }
    print_message("lost in %d of 200\n", lost);
    assert_true(lost > 0);
}

static void random_faults_lose_nothing(void **state)
{
    (void)state;
    int total = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        int committed;
        assert_int_equal(random_run(seed, ALL_RULES, &committed), 0);
        total += committed;
    }
    print_message("%d entries committed\n", total);
    assert_true(total > 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figure_8_is_lost_without_the_guard),
        cmocka_unit_test(figure_8_is_safe_with_it),
        cmocka_unit_test(a_stale_suffix_is_counted_without_the_guard),
        cmocka_unit_test(a_stale_suffix_is_not_counted_with_it),
        cmocka_unit_test(a_stale_suffix_is_applied_without_the_guard),
        cmocka_unit_test(a_stale_suffix_is_not_applied_with_it),
        cmocka_unit_test(a_wiped_voter_loses_entries_without_the_guard),
        cmocka_unit_test(a_wiped_voter_waits_with_it),
        cmocka_unit_test(a_follower_draws_a_time_out_for_each_leader),
        cmocka_unit_test(a_promoted_voter_is_missed_without_the_guard),
        cmocka_unit_test(a_promoted_voter_votes_with_it),
        cmocka_unit_test(a_commit_is_late_without_the_guard),
        cmocka_unit_test(a_commit_is_told_at_once_with_it),
        cmocka_unit_test(random_faults_lose_entries_without_the_guard),
        cmocka_unit_test(random_faults_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
