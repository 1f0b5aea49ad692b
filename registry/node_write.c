#include <string.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/core/mutant.h"
#include "registry/node_impl.h"
#include "registry/quota.h"

#define TIMEOUT_DEFAULT_MS 5000

static const struct sm_state pending_states[] = {
    [PENDING_QUEUED] = {"queued", SM(PENDING_PROPOSED) | SM(PENDING_FORWARDED) | SM(PENDING_DONE)},
    [PENDING_PROPOSED] = {"proposed", SM(PENDING_QUEUED) | SM(PENDING_DONE)},
    [PENDING_FORWARDED] = {"forwarded", SM(PENDING_QUEUED) | SM(PENDING_DONE)},
    [PENDING_DONE] = {"done", 0},
};

static bool pending_ok(const void *owner)
{
    const struct pending *p = owner;
    bool listed = p->sm.now == PENDING_QUEUED || p->sm.now == PENDING_DONE;
    return listed == list_linked(&p->node);
}

static const struct sm_table pending_table = {"registry.write", pending_states,
                                              ARRAY_LEN(pending_states), pending_ok};

static void on_retry(struct env_timer *t)
{
    node_turn(container_of(t, struct reg_node, retry));
}

void node_write_init(struct reg_node *n)
{
    env_random(n->env, &n->client, sizeof(n->client));
    n->next_sequence = n->oldest_sequence = 1;
    list_init(&n->admission);
    list_init(&n->queue);
    list_init(&n->done);
    list_init(&n->foreigns);
    n->retry.fn = on_retry;
}

/* Answers. */

static void on_answer(struct env_post *post)
{
    struct pending *p = container_of(post, struct pending, post);
    struct reg_write *w = p->w;
    mem_free(p);
    w->impl = NULL;
    w->fn(w);
}

void node_answer(struct pending *p)
{
    __atomic_sub_fetch(&p->owner->outstanding, 1, __ATOMIC_RELAXED);
    p->owner = NULL;
    p->post.fn = on_answer;
    env_post(p->w->env, &p->post);
}

static void window_remove(struct reg_node *n, struct pending *p)
{
    struct pending **slot = &n->window[p->sequence % REG_CLIENT_WINDOW];
    wf_assert(*slot == p);
    *slot = NULL;
    while (n->oldest_sequence < n->next_sequence &&
           !n->window[n->oldest_sequence % REG_CLIENT_WINDOW])
        n->oldest_sequence++;
}

static void answer_write(struct reg_node *n, struct pending *p)
{
    list_remove(&p->node);
    if (p->sequence)
        window_remove(n, p);
    node_answer(p);
}

static const char *refusal(enum err_code code)
{
    switch (code) {
    case ERR_CONFLICT:
        return "the object was changed by somebody else";
    case ERR_EXISTS:
        return "the object exists";
    case ERR_NOT_FOUND:
        return "the object does not exist";
    case ERR_GONE:
        return "the lease that it is to live on is not held";
    case ERR_LIMIT:
        return "there are too many leases, or objects on this lease";
    default:
        return "refused";
    }
}

static void refused_op(struct reg_node *n, struct reg_write *w, const struct reg_result *r)
{
    const struct reg_op *op = &w->ops[r->failed_op];
    char quota[REG_QUOTA_TEXT];
    if (r->code == ERR_NO_ROOM) {
        reg_quota_refusal(n->store, op->key, quota);
        err_set(&w->err, r->code, "%s", quota);
        return;
    }
    const char *why = op->expect == REG_EXPECT_EPOCH
                          ? "the lease is not held at this epoch any more"
                          : refusal(r->code);
    err_set(&w->err, r->code, "%.*s: %s", SLICE(op->key), why);
}

static void answer_result(struct reg_node *n, struct pending *p)
{
    const struct reg_result *r = &p->result;
    struct reg_write *w = p->w;
    w->revision = r->revision;
    w->failed_op = r->failed_op;
    w->failed_rev = r->failed_rev;
    w->replayed = r->replayed;
    if (r->code == ERR_CANCELLED)
        err_set(&w->err, ERR_UNKNOWN_OUTCOME, "the answer of an earlier try is forgotten");
    else if (r->code == ERR_INVALID)
        err_set(&w->err, ERR_INVALID, "the key was used for another write (revision %llu)",
                (unsigned long long)r->revision);
    else if (r->code != ERR_NONE && r->failed_op < w->op_count)
        refused_op(n, w, r);
    else if (r->code != ERR_NONE)
        err_set(&w->err, r->code, "%s", refusal(r->code));
    answer_write(n, p);
}

/* After the commit: what is said to be applied can be read. */
void node_write_answer_done(struct reg_node *n)
{
    while (!list_empty(&n->done))
        answer_result(n, container_of(list_first(&n->done), struct pending, node));
}

void node_write_on_result(void *ctx, const struct reg_result *r)
{
    struct reg_node *n = ctx;
    if (r->client != n->client)
        return;
    struct pending *p = n->window[r->sequence % REG_CLIENT_WINDOW];
    if (!p || p->sequence != r->sequence || p->sm.now == PENDING_DONE)
        return;
    p->result = *r;
    list_remove(&p->node);
    list_push(&n->done, &p->node);
    sm_move(&pending_table, &p->sm, PENDING_DONE, p);
}

bool node_expired(struct reg_node *n, struct pending *p)
{
    struct err *err = &p->w->err;
    if (env_now(n->env) < p->deadline)
        return false;
    if (p->read && node_leader(n))
        err_set(err, ERR_TIMEOUT,
                "the leader was not confirmed by a majority in time; nothing was read");
    else if (p->handed)
        err_set(err, ERR_UNKNOWN_OUTCOME,
                "no answer in time: the write may have been done or may still be");
    else if (!node_leader(n))
        node_no_quorum(n, err);
    else
        err_set(err, ERR_UNAVAILABLE, "the leader takes no writes just now; nothing was done");
    return true;
}

/* Taking in. */

static bool write_fits(const struct reg_write *w, struct err *err)
{
    size_t bytes = 0;
    if (w->origin.n > REG_ORIGIN_BYTES_MAX || (w->once && w->once->memo.n > REG_MEMO_BYTES_MAX))
        return err_set(err, ERR_LIMIT, "origin of %zu bytes (at most %d) or memo of %zu (%d)",
                       w->origin.n, REG_ORIGIN_BYTES_MAX, w->once ? w->once->memo.n : 0,
                       REG_MEMO_BYTES_MAX);
    if ((w->op_count == 0 && !w->once) || w->op_count > REG_REQUEST_OPS_MAX)
        return err_set(err, ERR_LIMIT, "%zu operations in one write; 1 to %d are possible",
                       w->op_count, REG_REQUEST_OPS_MAX);
    for (size_t i = 0; i < w->op_count; i++) {
        const struct reg_op *op = &w->ops[i];
        if (op->key.n == 0 || op->key.n > REG_KEY_BYTES_MAX)
            return err_set(err, ERR_LIMIT, "key of %zu bytes; 1 to %d are possible", op->key.n,
                           REG_KEY_BYTES_MAX);
        if (op->value.n > REG_VALUE_BYTES_MAX)
            return err_set(err, ERR_LIMIT, "%.*s: %zu bytes; at most %u are possible",
                           SLICE(op->key), op->value.n, REG_VALUE_BYTES_MAX);
        if (op->attach.n > REG_KEY_BYTES_MAX ||
            (op->grant && (op->grant->holder.n > REG_HOLDER_BYTES_MAX ||
                           op->grant->ttl_ms > REG_LEASE_TTL_MS_MAX)))
            return err_set(err, ERR_LIMIT, "%.*s: a holder has at most %d bytes, a lease %u s",
                           SLICE(op->key), REG_HOLDER_BYTES_MAX, REG_LEASE_TTL_MS_MAX / 1000);
        bytes += op->key.n + op->value.n;
    }
    return bytes <= REG_REQUEST_BYTES_MAX ||
           err_set(err, ERR_LIMIT, "%zu bytes in one write; at most %u are possible", bytes,
                   REG_REQUEST_BYTES_MAX);
}

static bool keys_distinct(const struct reg_write *w, struct err *err)
{
    struct map keys = {0};
    bool ok = true;
    for (size_t i = 0; ok && w->op_count > 1 && i < w->op_count; i++)
        if (map_put(&keys, w->ops[i].key, &keys))
            ok = err_set(err, ERR_INVALID, "%.*s: twice in one write", SLICE(w->ops[i].key));
    map_fini(&keys);
    return ok;
}

static void admit(struct reg_node *n)
{
    while (!list_empty(&n->admission) &&
           n->next_sequence - n->oldest_sequence < REG_CLIENT_WINDOW) {
        struct pending *p = container_of(list_pop(&n->admission), struct pending, node);
        p->sequence = n->next_sequence++;
        wf_assert(!n->window[p->sequence % REG_CLIENT_WINDOW]);
        n->window[p->sequence % REG_CLIENT_WINDOW] = p;
        list_push(&n->queue, &p->node);
    }
}

static void on_submit(struct env_post *post)
{
    struct pending *p = container_of(post, struct pending, post);
    struct reg_node *n = p->owner;
    p->deadline = env_now(n->env) + (p->w->timeout ? p->w->timeout : TIMEOUT_DEFAULT_MS);
    if (n->stop != NODE_RUNS) {
        err_set(&p->w->err, ERR_UNAVAILABLE, "this node is stopping");
        node_answer(p);
        return;
    }
    if (p->read)
        node_read_add(n, p);
    else
        list_push(&n->admission, &p->node);
    node_turn(n);
}

static void submit(struct reg_node *n, struct reg_write *w, bool read)
{
    struct pending *p = MEM_NEW(struct pending);
    *p = (struct pending){.owner = n, .w = w, .read = read};
    w->impl = p;
    err_clear(&w->err);
    w->revision = w->failed_rev = 0;
    w->failed_op = 0;
    w->replayed = false;
    unsigned count = __atomic_add_fetch(&n->outstanding, 1, __ATOMIC_RELAXED);
    bool ok = read || (write_fits(w, &w->err) && keys_distinct(w, &w->err));
    if (ok && count > NODE_WRITES_MAX)
        ok =
            err_set(&w->err, ERR_LIMIT, "%u writes are waiting on this node: slow down", count - 1);
    if (!ok) {
        node_answer(p);
        return;
    }
    p->post.fn = on_submit;
    env_post(n->env, &p->post);
}

void reg_write(struct reg_node *node, struct reg_write *w)
{
    submit(node, w, false);
}

void reg_read_index(struct reg_node *node, struct reg_write *w)
{
    submit(node, w, true);
}

/* Back into the queue. */

/* By sequence: the queue is short, and what comes back is mostly older than all of it. */
static void requeue(struct reg_node *n, struct pending *p)
{
    struct list_node *at = n->queue.head.next;
    while (at != &n->queue.head && container_of(at, struct pending, node)->sequence < p->sequence)
        at = at->next;
    wf_assert(!list_linked(&p->node));
    p->node.prev = at->prev;
    p->node.next = at;
    at->prev->next = &p->node;
    at->prev = &p->node;
    sm_move(&pending_table, &p->sm, PENDING_QUEUED, p);
}

static void requeue_if(struct reg_node *n, uint8_t state, uint64_t entry, bool not_taken)
{
    for (uint64_t s = n->next_sequence; s-- > n->oldest_sequence;) {
        struct pending *p = n->window[s % REG_CLIENT_WINDOW];
        if (!p || p->sm.now != state || (entry && p->entry != entry))
            continue;
        if (not_taken)
            p->handed--;
        requeue(n, p);
    }
}

void node_write_recall(struct reg_node *n)
{
    requeue_if(n, PENDING_FORWARDED, 0, false);
    node_turn(n);
}

static void retry_soon(struct reg_node *n)
{
    if (!n->retry.armed)
        env_timer_start(n->env, &n->retry, NODE_RETRY_MS);
}

/* Leader: entries. */

static void on_entry(struct raft_apply *req, int status, void *result)
{
    struct node_entry *e = container_of(req, struct node_entry, req);
    struct reg_node *n = e->owner;
    (void)result;
    wf_assert(n->entries_in_flight > 0);
    n->entries_in_flight--;
    /* Leadership was lost: the entry may commit or not. Sent again under the same sequence, it has
     * its effect once. */
    if (status != 0)
        requeue_if(n, PENDING_PROPOSED, e->id, false);
    else
        node_metrics_since(n, n->cells.commit, e->began_ns);
    mem_free(e);
    node_turn(n);
}

/* Many writes of one holder share an entry: a fence looks at no revision. */
static bool is_fence(const struct reg_op *op)
{
    return op->expect == REG_EXPECT_EPOCH;
}

/* At most one operation per object and entry: its revision is the entry's. What has to wait blocks
 * its keys for those behind it, so that writes to one object keep their order. */
static bool keys_free(struct map *keys, const struct reg_request *r)
{
    bool fresh = true;
    for (size_t i = 0; fresh && i < r->op_count; i++)
        fresh = is_fence(&r->ops[i]) || !map_get(keys, r->ops[i].key);
    for (size_t i = 0; i < r->op_count; i++)
        if (!is_fence(&r->ops[i]))
            map_put(keys, r->ops[i].key, keys);
    return fresh;
}

static struct reg_request request_of(const struct reg_node *n, const struct pending *p)
{
    return (struct reg_request){.client = n->client,
                                .sequence = p->sequence,
                                .settled = n->oldest_sequence,
                                .op_count = p->w->op_count,
                                .ops = p->w->ops,
                                .once = p->w->once,
                                .origin = p->w->origin,
                                .no_quota = p->w->no_quota &&
                                            reg_store_version(n->store) >= VERSION_QUOTAS};
}

struct pack {
    struct reg_node *n;
    struct reg_entry_builder builder;
    struct map keys;
    size_t looked;
    bool full;
    uint64_t id;
};

static bool pack_add(struct pack *k, const struct reg_request *r)
{
    k->looked++;
    if (!keys_free(&k->keys, r))
        return false;
    k->full = !reg_entry_add(&k->builder, r);
    return !k->full;
}

static void pack_own(struct pack *k)
{
    struct reg_node *n = k->n;
    LIST_EACH (&n->queue, node) {
        struct pending *p = container_of(node, struct pending, node);
        struct reg_request r = request_of(n, p);
        if (k->full || k->looked == NODE_PACK_LOOK_MAX)
            return;
        if (!pack_add(k, &r))
            continue;
        list_remove(&p->node);
        p->entry = k->id;
        p->handed++;
        sm_move(&pending_table, &p->sm, PENDING_PROPOSED, p);
    }
}

static void foreign_free(struct reg_node *n, struct foreign *f)
{
    list_remove(&f->node);
    n->foreign_bytes -= f->bytes;
    mem_free(f);
}

static void pack_foreign(struct pack *k, struct list *packed)
{
    LIST_EACH (&k->n->foreigns, node) {
        struct foreign *f = container_of(node, struct foreign, node);
        if (k->full || k->looked == NODE_PACK_LOOK_MAX)
            return;
        if (!pack_add(k, &f->request))
            continue;
        list_remove(&f->node);
        list_push(packed, &f->node);
    }
}

static bool propose(struct reg_node *n, struct pack *k)
{
    struct slice bytes = reg_entry_end(&k->builder);
    struct raft_buffer buf = {raft_malloc(bytes.n), bytes.n};
    if (!buf.base)
        wf_die("out of memory");
    memcpy(buf.base, bytes.p, bytes.n);
    struct node_entry *e = MEM_NEW(struct node_entry);
    e->owner = n;
    e->id = k->id;
    e->began_ns = env_now_ns(n->env);
    n->entries_in_flight++;
    if (raft_apply(&n->raft, &e->req, &buf, 1, on_entry) == 0) {
        metric_observe(n->cells.entry_writes, k->builder.count);
        return true;
    }
    n->entries_in_flight--;
    raft_free(buf.base);
    mem_free(e);
    requeue_if(n, PENDING_PROPOSED, k->id, true);
    retry_soon(n);
    return false;
}

bool node_write_raise(struct reg_node *n, unsigned version)
{
    struct pack k = {.n = n, .id = ++n->next_entry};
    k.builder.term = n->raft.current_term;
    k.builder.version = version;
    reg_entry_begin(&k.builder, env_wall_ms(n->env));
    bool ok = n->entries_in_flight < NODE_ENTRIES_IN_FLIGHT_MAX && propose(n, &k);
    reg_entry_fini(&k.builder);
    return ok;
}

/* Foreign and own requests take turns at the front. */
static bool pack_one(struct reg_node *n)
{
    struct pack k = {.n = n, .id = ++n->next_entry};
    struct list packed;
    struct list_node *node;
    list_init(&packed);
    k.builder.term = n->raft.current_term;
    k.builder.version = node_version_write(n);
    reg_entry_begin(&k.builder, env_wall_ms(n->env));
    if (k.id % 2)
        pack_foreign(&k, &packed);
    pack_own(&k);
    if (k.id % 2 == 0)
        pack_foreign(&k, &packed);
    bool more = k.builder.count > 0 && propose(n, &k);
    while ((node = list_pop(&packed))) {
        list_push(&n->foreigns, node);
        foreign_free(n, container_of(node, struct foreign, node));
    }
    map_fini(&k.keys);
    reg_entry_fini(&k.builder);
    return more;
}

static void pack_all(struct reg_node *n)
{
    while (n->entries_in_flight < NODE_ENTRIES_IN_FLIGHT_MAX &&
           (!list_empty(&n->queue) || !list_empty(&n->foreigns)))
        if (!pack_one(n))
            break;
}

/* Follower: to the leader. */

/* Many requests in one frame. */
struct parcel {
    struct buf bytes;
    struct list items;
};

static bool parcel_send(struct reg_node *n, struct parcel *l, uint64_t leader)
{
    struct slice s = buf_slice(&l->bytes);
    struct list_node *node;
    bool sent = raftio_send(&n->io, leader, FRAME_FORWARD, n->raft.current_term,
                            &(struct iovec){(void *)(uintptr_t)s.p, s.n}, 1);
    while ((node = list_pop(&l->items))) {
        struct pending *p = container_of(node, struct pending, node);
        p->handed++;
        sm_move(&pending_table, &p->sm, PENDING_FORWARDED, p);
        if (sent)
            continue;
        p->handed--;
        requeue(n, p);
    }
    buf_clear(&l->bytes);
    return sent;
}

static void forward_all(struct reg_node *n, uint64_t leader)
{
    struct parcel l = {0};
    bool sent = true;
    list_init(&l.items);
    while (sent && !list_empty(&n->queue)) {
        struct pending *p = container_of(list_pop(&n->queue), struct pending, node);
        struct reg_request r = request_of(n, p);
        reg_request_encode(&l.bytes, &r);
        list_push(&l.items, &p->node);
        if (l.bytes.n >= NODE_PARCEL_BYTES || list_empty(&n->queue))
            sent = parcel_send(n, &l, leader);
    }
    if (!sent)
        retry_soon(n);
    buf_fini(&l.bytes);
}

/* full: the node whose disk it is for; 0 = somebody else may take it. */
static void refuse_foreign(struct reg_node *n, uint64_t to, const struct reg_request *r,
                           uint64_t full)
{
    uint64_t ids[] = {r->client, r->sequence, full};
    raftio_send(&n->io, to, FRAME_FORWARD_REFUSED, n->raft.current_term,
                &(struct iovec){ids, sizeof(ids)}, 1);
}

static void refuse_foreigns(struct reg_node *n, uint64_t full)
{
    LIST_EACH (&n->foreigns, node) {
        struct foreign *f = container_of(node, struct foreign, node);
        if (full == NODE_ROOM_QUOTA && !node_room_grows(f->ops, f->request.op_count))
            continue;
        refuse_foreign(n, f->from, &f->request, full);
        foreign_free(n, f);
    }
}

/* What may have been done already, in an entry of before, waits for what comes of it. */
static void refuse_all(struct reg_node *n, uint64_t foreign_full, uint64_t full)
{
    refuse_foreigns(n, foreign_full);
    LIST_EACH (&n->queue, node) {
        struct pending *p = container_of(node, struct pending, node);
        bool grows = node_room_grows(p->w->ops, p->w->op_count);
        if (p->handed || (full == NODE_ROOM_QUOTA && !grows))
            continue;
        node_room_err(n, full, &p->w->err);
        answer_write(n, p);
    }
}

void node_write_advance(struct reg_node *n)
{
    /* A follower without room would not see its own writes come back: others can take them. */
    uint64_t full = node_leads(n) ? node_room_refuses(n) : n->no_room ? n->opt.id : 0;
    admit(n);
    if (n->stop != NODE_RUNS && n->stop != NODE_TRANSFERS)
        return;
    if (full && (node_leads(n) || node_leader(n)))
        refuse_all(n, node_leads(n) ? full : 0, full);
    if (node_leads(n)) {
        if (!full || full == NODE_ROOM_QUOTA)
            pack_all(n);
        return;
    }
    refuse_foreigns(n, 0);
    uint64_t leader = node_leader(n);
    if (leader && leader != n->opt.id && !n->retry.armed)
        forward_all(n, leader);
}

static char *put_bytes(char *at, struct slice *s)
{
    if (s->n)
        memcpy(at, s->p, s->n);
    s->p = at;
    return at + s->n;
}

static char *put_op(char *at, struct reg_op *op, struct reg_grant **next)
{
    at = put_bytes(at, &op->key);
    at = put_bytes(at, &op->value);
    at = put_bytes(at, &op->attach);
    if (!op->grant)
        return at;
    struct reg_grant *g = (*next)++;
    *g = *op->grant;
    op->grant = g;
    return put_bytes(at, &g->holder);
}

static size_t grant_count(const struct reg_request *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->op_count; i++)
        n += r->ops[i].grant != NULL;
    return n;
}

static size_t foreign_bytes(const struct reg_request *r)
{
    size_t bytes = sizeof(struct foreign) + r->op_count * sizeof(struct reg_op) +
                   grant_count(r) * sizeof(struct reg_grant);
    bytes += r->origin.n + (r->once ? r->once->memo.n : 0);
    for (size_t i = 0; i < r->op_count; i++) {
        const struct reg_op *op = &r->ops[i];
        bytes += op->key.n + op->value.n + op->attach.n + (op->grant ? op->grant->holder.n : 0);
    }
    return bytes;
}

/* One block: the struct, its operations, their grants, the bytes of all. */
static struct foreign *foreign_new(uint64_t from, const struct reg_request *r)
{
    size_t bytes = foreign_bytes(r);
    char *at;
    struct foreign *f = mem_new(bytes);
    f->from = from;
    f->bytes = bytes;
    f->request = *r;
    if (r->op_count)
        memcpy(f->ops, r->ops, r->op_count * sizeof(struct reg_op));
    f->request.ops = f->ops;
    at = (char *)((struct reg_grant *)(f->ops + r->op_count) + grant_count(r));
    at = put_bytes(at, &f->request.origin);
    if (r->once) {
        f->once = *r->once;
        f->request.once = &f->once;
        at = put_bytes(at, &f->once.memo);
    }
    struct reg_grant *grants = (struct reg_grant *)(f->ops + r->op_count);
    for (size_t i = 0; i < r->op_count; i++)
        at = put_op(at, &f->ops[i], &grants);
    wf_assert(at == (char *)f + bytes);
    return f;
}

static void take_foreign(struct reg_node *n, uint64_t from, const struct reg_request *r)
{
    if (!node_leads(n) || n->foreign_bytes > NODE_FOREIGN_BYTES_MAX) {
        refuse_foreign(n, from, r, 0);
        return;
    }
    struct foreign *f = foreign_new(from, r);
    list_push(&n->foreigns, &f->node);
    n->foreign_bytes += f->bytes;
}

void node_write_on_forward(struct reg_node *n, uint64_t from, const struct frame *f)
{
    struct arena scratch = {0};
    struct reader in = reader_of(f->payload);
    while (reader_ok(&in) && reader_left(&in) > 0) {
        struct reg_request r;
        struct err err = {0};
        if (!reg_request_decode(&in, f->version, &scratch, &r, &err)) {
            LOG_WARN("registry.forward.invalid", F_U64("from", from), F_ERR(&err));
            break;
        }
        take_foreign(n, from, &r);
        arena_reset(&scratch);
    }
    arena_fini(&scratch);
    node_turn(n);
}

void node_write_on_refused(struct reg_node *n, const struct frame *f)
{
    struct reader r = reader_of(f->payload);
    uint64_t client = reader_u64le(&r), sequence = reader_u64le(&r), full = reader_u64le(&r);
    struct pending *p = n->window[sequence % REG_CLIENT_WINDOW];
    if (!reader_done(&r) || client != n->client || !p || p->sequence != sequence ||
        p->sm.now != PENDING_FORWARDED)
        return;
    p->handed--;
    requeue(n, p);
    if (full && !p->handed) {
        node_room_err(n, full, &p->w->err);
        answer_write(n, p);
    }
    retry_soon(n);
}

/* Time. */

static void expire_list(struct reg_node *n, struct list *l, bool no_quorum)
{
    LIST_EACH (l, node) {
        struct pending *p = container_of(node, struct pending, node);
        if (no_quorum && (!p->handed || MUTANT(REFUSED_BUT_SENT)))
            node_no_quorum(n, &p->w->err);
        else if (!node_expired(n, p))
            continue;
        answer_write(n, p);
    }
}

void node_write_tick(struct reg_node *n)
{
    bool hopeless = node_hopeless(n);
    expire_list(n, &n->queue, hopeless);
    expire_list(n, &n->admission, hopeless);
    for (uint64_t s = n->oldest_sequence; s < n->next_sequence; s++) {
        struct pending *p = n->window[s % REG_CLIENT_WINDOW];
        if (p && (p->sm.now == PENDING_PROPOSED || p->sm.now == PENDING_FORWARDED) &&
            node_expired(n, p))
            answer_write(n, p);
    }
    node_turn(n);
}

void node_write_fail_all(struct reg_node *n)
{
    struct list_node *node;
    node_write_answer_done(n);
    requeue_if(n, PENDING_PROPOSED, 0, false);
    requeue_if(n, PENDING_FORWARDED, 0, false);
    while ((node = list_first(&n->queue)) || (node = list_first(&n->admission))) {
        struct pending *p = container_of(node, struct pending, node);
        err_set(&p->w->err, p->handed ? ERR_UNKNOWN_OUTCOME : ERR_UNAVAILABLE,
                "this node is stopping");
        answer_write(n, p);
    }
    while (!list_empty(&n->foreigns))
        foreign_free(n, container_of(list_first(&n->foreigns), struct foreign, node));
}
