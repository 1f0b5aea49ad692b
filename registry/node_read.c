/* The read index (Raft dissertation §6.4): the leader notes its commit index, asks a majority
 * whether they still are in its term, and answers. No log write. A round serves all that came
 * before it began; what comes meanwhile waits for the next. Sound by the term alone: a majority
 * that is in our term after the round began elected nobody else before it. A round in which we did
 * not run for long (SIGSTOP, a machine that sleeps) is asked again all the same, so that an answer
 * is never older than an election time-out (etcd issue 20418).
 *
 * Every index that was confirmed also says how old this node's state is at most: `fresh_at`. Where
 * nobody reads, a probe asks for one now and then. */
#include "base/core/assert.h"
#include "base/core/mutant.h"
#include "registry/node_impl.h"

void node_read_init(struct reg_node *n)
{
    list_init(&n->reads_waiting);
    list_init(&n->reads_asked);
    list_init(&n->reads_next);
    list_init(&n->reads_round);
    list_init(&n->reads_apply);
}

static struct node_read *read_new(struct reg_node *n, uint64_t from, uint64_t id)
{
    struct node_read *r = MEM_NEW(struct node_read);
    r->from = from;
    r->id = id;
    r->asked = env_now(n->env);
    if (MUTANT(LEAK_A_READ))
        mem_new(8);
    list_init(&r->waiters);
    return r;
}

/* Of several, the first that is not applied yet: under constant reads the latest never would be. */
static void note_fresh(struct reg_node *n, wf_ms asked, reg_rev index)
{
    if (n->fresh_index)
        return;
    n->fresh_index = index;
    n->fresh_asked = asked;
}

void node_read_add(struct reg_node *n, struct pending *p)
{
    list_push(&n->reads_waiting, &p->node);
}

static void move_all(struct list *from, struct list *to)
{
    struct list_node *node;
    while ((node = list_pop(from)))
        list_push(to, node);
}

static void give_index(struct reg_node *n, struct node_read *r, reg_rev index)
{
    LIST_EACH (&r->waiters, node)
        container_of(node, struct pending, node)->index = index;
    move_all(&r->waiters, &n->reads_apply);
    mem_free(r);
}

static void send_u64s(struct reg_node *n, uint64_t to, enum frame_type type, const uint64_t *v,
                      size_t count)
{
    raftio_send(&n->io, to, type, n->raft.current_term,
                &(struct iovec){(void *)(uintptr_t)v, count * sizeof(*v)}, 1);
}

static void answer_other(struct reg_node *n, uint64_t to, uint64_t id, reg_rev index)
{
    uint64_t v[] = {id, index};
    send_u64s(n, to, FRAME_READ_INDEX_RESULT, v, 2);
}

/* Leader. */

static void round_over(struct reg_node *n)
{
    struct list_node *node;
    n->read_busy = false;
    note_fresh(n, n->read_began, n->read_index);
    while ((node = list_pop(&n->reads_round))) {
        struct node_read *r = container_of(node, struct node_read, node);
        if (r->from) {
            answer_other(n, r->from, r->id, n->read_index);
            mem_free(r);
        } else {
            give_index(n, r, n->read_index);
        }
    }
    node_turn(n);
}

static bool answered(const struct reg_node *n, uint64_t id)
{
    for (unsigned i = 0; i < n->read_pong_count; i++)
        if (n->read_pongs[i] == id)
            return true;
    return id == n->opt.id;
}

static bool majority_answered(const struct reg_node *n)
{
    unsigned votes = 0;
    for (unsigned i = 0; i < n->raft.configuration.n; i++) {
        const struct raft_server *s = &n->raft.configuration.servers[i];
        if (s->role == RAFT_VOTER && answered(n, s->id))
            votes++;
    }
    return votes > node_voters(n) / 2;
}

static void round_ask(struct reg_node *n)
{
    for (unsigned i = 0; i < n->raft.configuration.n; i++) {
        const struct raft_server *s = &n->raft.configuration.servers[i];
        if (s->role == RAFT_VOTER && !answered(n, s->id))
            send_u64s(n, s->id, FRAME_READ_PING, &n->read_round, 1);
    }
    if (majority_answered(n) || MUTANT(READ_WITHOUT_ROUND))
        round_over(n);
}

/* Also once more, for the same reads. */
static void round_start(struct reg_node *n)
{
    n->read_index = n->raft.commit_index;
    n->read_began = env_now(n->env);
    n->read_round++;
    n->read_pong_count = 0;
    n->read_busy = true;
    round_ask(n);
}

static void round_begin(struct reg_node *n)
{
    if (n->read_busy || list_empty(&n->reads_next))
        return;
    move_all(&n->reads_next, &n->reads_round);
    round_start(n);
}

/* Before anything else of a turn is believed. The tick comes every heartbeat, and before the frames
 * that waited meanwhile. */
static bool was_paused(struct reg_node *n)
{
    wf_ms now = env_now(n->env), gap = now - n->read_ran;
    n->read_ran = now;
    return gap > n->opt.election_timeout / 2;
}

static void round_repeat(struct reg_node *n)
{
    n->read_repeats++;
    round_start(n);
}

static void on_pong(struct reg_node *n, uint64_t from, const struct frame *f)
{
    struct reader r = reader_of(f->payload);
    uint64_t round = reader_u64le(&r);
    bool paused = was_paused(n);
    if (!reader_done(&r) || !n->read_busy || round != n->read_round ||
        f->term != n->raft.current_term || !guard_ready(&n->guard))
        return;
    if (paused) {
        round_repeat(n);
        return;
    }
    if (!answered(n, from) && n->read_pong_count < REG_NODES_MAX)
        n->read_pongs[n->read_pong_count++] = from;
    if (majority_answered(n))
        round_over(n);
}

static void on_ping(struct reg_node *n, uint64_t from, const struct frame *f)
{
    struct reader r = reader_of(f->payload);
    uint64_t round = reader_u64le(&r);
    if (reader_done(&r) && f->term == n->raft.current_term && n->raft.state == RAFT_FOLLOWER)
        send_u64s(n, from, FRAME_READ_PONG, &round, 1);
}

static size_t asked_by(const struct list *reads, uint64_t from)
{
    size_t n = 0;
    LIST_EACH (reads, node)
        n += container_of(node, struct node_read, node)->from == from;
    return n;
}

/* It asks again at its next tick. */
static bool asks_too_much(const struct reg_node *n, uint64_t from)
{
    return asked_by(&n->reads_next, from) + asked_by(&n->reads_round, from) >= NODE_READ_ASKS_MAX;
}

static void on_ask(struct reg_node *n, uint64_t from, const struct frame *f)
{
    struct reader r = reader_of(f->payload);
    uint64_t id = reader_u64le(&r);
    if (!reader_done(&r))
        return;
    bool too_many = asks_too_much(n, from);
    n->reads_refused += too_many;
    if (!guard_ready(&n->guard) || too_many) {
        answer_other(n, from, id, 0);
        return;
    }
    list_push(&n->reads_next, &read_new(n, from, id)->node);
    node_turn(n);
}

/* Follower. */

static void ask_leader(struct reg_node *n, uint64_t leader)
{
    struct node_read *r = read_new(n, 0, ++n->read_id);
    if (!raftio_send(&n->io, leader, FRAME_READ_INDEX, n->raft.current_term,
                     &(struct iovec){&r->id, sizeof(r->id)}, 1)) {
        mem_free(r);
        return; /* the next tick tries again */
    }
    move_all(&n->reads_waiting, &r->waiters);
    list_push(&n->reads_asked, &r->node);
}

static void on_index(struct reg_node *n, const struct frame *f)
{
    struct reader r = reader_of(f->payload);
    uint64_t id = reader_u64le(&r), index = reader_u64le(&r);
    if (!reader_done(&r))
        return;
    LIST_EACH (&n->reads_asked, node) {
        struct node_read *asked = container_of(node, struct node_read, node);
        if (asked->id != id)
            continue;
        list_remove(&asked->node);
        if (index == 0) {
            move_all(&asked->waiters, &n->reads_waiting);
            mem_free(asked);
        } else {
            note_fresh(n, asked->asked, index);
            give_index(n, asked, index);
            node_turn(n);
        }
        return;
    }
}

void node_read_on_frame(struct reg_node *n, uint64_t from, const struct frame *f)
{
    switch (f->type) {
    case FRAME_READ_PING:
        on_ping(n, from, f);
        break;
    case FRAME_READ_PONG:
        on_pong(n, from, f);
        break;
    case FRAME_READ_INDEX:
        on_ask(n, from, f);
        break;
    case FRAME_READ_INDEX_RESULT:
        on_index(n, f);
        break;
    default:
        wf_unreachable("the caller sorts the types");
    }
}

/* Both. */

static void recall(struct reg_node *n, struct list *reads)
{
    struct list_node *node;
    while ((node = list_pop(reads))) {
        struct node_read *r = container_of(node, struct node_read, node);
        if (r->from)
            answer_other(n, r->from, r->id, 0);
        move_all(&r->waiters, &n->reads_waiting);
        mem_free(r);
    }
}

void node_read_recall(struct reg_node *n)
{
    n->read_busy = false;
    recall(n, &n->reads_round);
    recall(n, &n->reads_next);
    recall(n, &n->reads_asked);
}

static void fresh_advance(struct reg_node *n)
{
    if (!n->fresh_index || n->fresh_index > n->committed)
        return;
    n->fresh_at = n->fresh_asked;
    n->fresh_index = 0;
}

static void answer_applied(struct reg_node *n)
{
    LIST_EACH (&n->reads_apply, node) {
        struct pending *p = container_of(node, struct pending, node);
        if (p->index > n->committed)
            continue;
        list_remove(&p->node);
        p->w->revision = p->index;
        node_answer(p);
    }
}

void node_read_advance(struct reg_node *n)
{
    fresh_advance(n);
    answer_applied(n);
    uint64_t leader = node_leader(n);
    if (list_empty(&n->reads_waiting) && list_empty(&n->reads_next))
        return;
    if (guard_ready(&n->guard)) {
        if (!list_empty(&n->reads_waiting)) {
            struct node_read *r = read_new(n, 0, 0);
            move_all(&n->reads_waiting, &r->waiters);
            list_push(&n->reads_next, &r->node);
        }
        round_begin(n);
    } else if (leader && leader != n->opt.id && !list_empty(&n->reads_waiting)) {
        ask_leader(n, leader);
    }
}

static void expire(struct reg_node *n, struct list *l, bool no_quorum)
{
    LIST_EACH (l, node) {
        struct pending *p = container_of(node, struct pending, node);
        if (no_quorum)
            node_no_quorum(n, &p->w->err);
        else if (!node_expired(n, p))
            continue;
        list_remove(&p->node);
        node_answer(p);
    }
}

static void expire_reads(struct reg_node *n, struct list *reads)
{
    LIST_EACH (reads, node)
        expire(n, &container_of(node, struct node_read, node)->waiters, false);
}

/* An index that nobody waits for, where none is on its way. */
static void probe(struct reg_node *n)
{
    wf_ms now = env_now(n->env);
    uint64_t leader = node_leader(n);
    if (now - n->read_probed < NODE_READ_PROBE_MS || n->read_busy || !list_empty(&n->reads_asked) ||
        !list_empty(&n->reads_next))
        return;
    n->read_probed = now;
    if (guard_ready(&n->guard))
        list_push(&n->reads_next, &read_new(n, 0, 0)->node);
    else if (leader && leader != n->opt.id)
        ask_leader(n, leader);
}

void node_read_tick(struct reg_node *n)
{
    bool paused = was_paused(n);
    expire(n, &n->reads_waiting, node_hopeless(n));
    expire(n, &n->reads_apply, false);
    expire_reads(n, &n->reads_next);
    expire_reads(n, &n->reads_round);
    expire_reads(n, &n->reads_asked);
    probe(n);
    if (n->read_busy && paused)
        round_repeat(n);
    else if (n->read_busy)
        round_ask(n); /* a ping may have been lost with its connection */
    node_turn(n);
}

void node_read_fail_all(struct reg_node *n)
{
    node_read_recall(n);
    move_all(&n->reads_apply, &n->reads_waiting);
    LIST_EACH (&n->reads_waiting, node) {
        struct pending *p = container_of(node, struct pending, node);
        err_set(&p->w->err, ERR_UNAVAILABLE, "this node is stopping");
        list_remove(&p->node);
        node_answer(p);
    }
}
