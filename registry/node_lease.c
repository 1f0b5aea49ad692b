/* Leases on a node: signs of life on their way to the leader, and the leader's writes that end
 * those that gave none.
 *
 *   FRAME_LEASE_RENEW    id u64, approve u8, count u16, each: key u16+bytes, epoch u64
 *   FRAME_LEASE_RENEWED  id u64, taken u8 (0: this node does not lead), approved u32, lost u8 each
 *
 * A leader takes a sign of life only after a majority has confirmed it, by a read index that began
 * after it came: so no holder ever counts on a node that was deposed and does not know it, and the
 * next leader, who gives everybody a full TTL, began later. */
#include <string.h>

#include "api/kind.h"
#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/wire/json.h"
#include "registry/node_impl.h"

#define RENEW_TIMEOUT_DEFAULT_MS 2000
#define CONFIRM_TIMEOUT_MS 1000
#define END_TIMEOUT_MS 2000

/* Signs of life, ours (r) or another node's (from, other). */
struct renew {
    struct env_post post; /* to the raft thread; later to r->env */
    struct list_node node;
    struct reg_node *owner;
    struct reg_renew *r;
    wf_ms deadline;
    uint64_t id, from;
    struct reg_renew other;
    struct buf bytes; /* of other's keys */
};

/* A majority confirms that this node leads. */
struct confirm {
    struct list_node node;
    struct reg_node *owner;
    struct renew *of; /* NULL: answered, the node is stopping */
    wf_ms received;
    uint64_t term;
    struct reg_write w;
};

/* A write that ends a lease. */
struct lease_end {
    struct list_node node;
    struct reg_node *owner;
    reg_rev rev;
    struct buf key, value;
    struct reg_op op;
    struct reg_grant grant;
    struct reg_write w;
};

void node_lease_init(struct reg_node *n)
{
    lease_clock_init(&n->leases, n->opt.election_timeout, LEASE_RATE_MAX_DEFAULT);
    n->lease_term = 0;
    list_init(&n->renews);
    list_init(&n->renews_asked);
    list_init(&n->renews_confirm);
    list_init(&n->leases_ending);
}

static void renew_free(struct renew *w)
{
    mem_free(w->from ? w->other.leases : NULL);
    buf_fini(&w->bytes);
    mem_free(w);
}

static void end_free(struct lease_end *e)
{
    buf_fini(&e->key);
    buf_fini(&e->value);
    mem_free(e);
}

/* What the raft thread did not come to any more. */
void node_lease_fini(struct reg_node *n)
{
    struct list_node *node;
    if (!n->leases.rate_max)
        return; /* it was never opened */
    while ((node = list_pop(&n->renews_confirm)))
        mem_free(container_of(node, struct confirm, node));
    while ((node = list_pop(&n->leases_ending)))
        end_free(container_of(node, struct lease_end, node));
    lease_clock_fini(&n->leases);
}

/* What the log says. */

void node_lease_on_change(void *ctx, const struct reg_lease *l, bool gone)
{
    struct reg_node *n = ctx;
    if (gone)
        lease_clock_drop(&n->leases, l->key);
    else
        lease_clock_set(&n->leases, l, env_now(n->env));
}

static bool load_one(void *ctx, const struct reg_lease *l)
{
    node_lease_on_change(ctx, l, false);
    return true;
}

void node_lease_load(struct reg_node *n)
{
    struct reg_txn txn;
    struct err err = {0};
    lease_clock_clear(&n->leases);
    if (!reg_txn_begin(n->store, &txn, &err))
        wf_die("registry %s: leases: %s", n->dir, err.msg);
    reg_lease_scan(&txn, load_one, n);
    reg_txn_end(&txn);
}

/* Signs of life. */

static void on_renewed(struct env_post *post)
{
    struct renew *w = container_of(post, struct renew, post);
    struct reg_renew *r = w->r;
    renew_free(w);
    r->impl = NULL;
    r->fn(r);
}

static void answer_own(struct renew *w)
{
    w->owner->renew_count--;
    w->post.fn = on_renewed;
    env_post(w->r->env, &w->post);
}

static void send_answer(struct renew *w, bool taken)
{
    struct reg_node *n = w->owner;
    struct buf b = {0};
    buf_u64le(&b, w->id);
    buf_append_byte(&b, taken);
    buf_u32le(&b, (uint32_t)w->other.approved);
    for (size_t i = 0; i < w->other.count; i++)
        buf_append_byte(&b, w->other.leases[i].lost);
    struct slice s = buf_slice(&b);
    raftio_send(&n->io, w->from, FRAME_LEASE_RENEWED, n->raft.current_term,
                &(struct iovec){(void *)(uintptr_t)s.p, s.n}, 1);
    buf_fini(&b);
    n->renew_count--;
    renew_free(w);
}

static void take_all(struct reg_node *n, struct reg_renew *r, wf_ms received)
{
    for (size_t i = 0; i < r->count; i++) {
        struct reg_renewal *l = &r->leases[i];
        l->lost = !lease_clock_renew(&n->leases, l->key, l->epoch, received);
        n->renewed += !l->lost;
    }
    r->approved = r->approve ? lease_clock_approve(&n->leases) : 0;
    if (r->approve)
        LOG_WARN("registry.leases.approved", F_U64("node", n->opt.id),
                 F_U64("leases", r->approved));
}

static void on_confirmed(struct reg_write *r)
{
    struct confirm *c = container_of(r, struct confirm, w);
    struct reg_node *n = c->owner;
    struct renew *w = c->of;
    bool taken = r->err.code == ERR_NONE && node_leads(n) && n->raft.current_term == c->term;
    if (w && taken)
        take_all(n, w->r, c->received);
    list_remove(&c->node);
    mem_free(c);
    if (!w)
        return;
    if (w->from) {
        send_answer(w, taken);
    } else if (taken) {
        answer_own(w);
    } else {
        list_push(&n->renews, &w->node); /* whoever leads now */
        node_turn(n);
    }
}

static void confirm(struct reg_node *n, struct renew *w)
{
    struct confirm *c = MEM_NEW(struct confirm);
    *c = (struct confirm){.owner = n,
                          .of = w,
                          .term = n->lease_term,
                          .received = env_now(n->env),
                          .w = {.timeout = CONFIRM_TIMEOUT_MS, .env = n->env, .fn = on_confirmed}};
    list_push(&n->renews_confirm, &c->node);
    reg_read_index(n, &c->w);
}

static void ask(struct reg_node *n, struct renew *w, uint64_t leader)
{
    struct buf b = {0};
    w->id = ++n->renew_id;
    buf_u64le(&b, w->id);
    buf_append_byte(&b, w->r->approve);
    buf_u16le(&b, (uint16_t)w->r->count);
    for (size_t i = 0; i < w->r->count; i++) {
        buf_u16le(&b, (uint16_t)w->r->leases[i].key.n);
        buf_append(&b, w->r->leases[i].key);
        buf_u64le(&b, w->r->leases[i].epoch);
    }
    struct slice s = buf_slice(&b);
    bool sent = raftio_send(&n->io, leader, FRAME_LEASE_RENEW, n->raft.current_term,
                            &(struct iovec){(void *)(uintptr_t)s.p, s.n}, 1);
    list_push(sent ? &n->renews_asked : &n->renews, &w->node);
    buf_fini(&b);
}

static void renews_advance(struct reg_node *n)
{
    struct list now;
    struct list_node *node;
    uint64_t leader = node_leader(n);
    list_init(&now);
    while ((node = list_pop(&n->renews)))
        list_push(&now, node);
    while ((node = list_pop(&now))) {
        struct renew *w = container_of(node, struct renew, node);
        if (n->lease_term)
            confirm(n, w);
        else if (leader && leader != n->opt.id)
            ask(n, w, leader);
        else
            list_push(&n->renews, node);
    }
}

static void on_submit(struct env_post *post)
{
    struct renew *w = container_of(post, struct renew, post);
    struct reg_node *n = w->owner;
    w->deadline = env_now(n->env) + (w->r->timeout ? w->r->timeout : RENEW_TIMEOUT_DEFAULT_MS);
    n->renew_count++;
    if (n->stop != NODE_RUNS)
        err_set(&w->r->err, ERR_UNAVAILABLE, "this node is stopping");
    else if (n->renew_count > NODE_RENEWS_MAX)
        err_set(&w->r->err, ERR_LIMIT,
                "%zu renewals are under way: slow down, or put more into one", n->renew_count);
    if (w->r->err.code) {
        answer_own(w);
        return;
    }
    list_push(&n->renews, &w->node);
    node_turn(n);
}

void reg_lease_renew(struct reg_node *node, struct reg_renew *r)
{
    struct renew *w = MEM_NEW(struct renew);
    *w = (struct renew){.owner = node, .r = r, .post.fn = on_submit};
    r->impl = w;
    r->approved = 0;
    err_clear(&r->err);
    wf_assert(r->count <= REG_RENEWALS_MAX && (r->count || r->approve));
    env_post(node->env, &w->post);
}

static bool other_read(struct renew *w, struct slice payload)
{
    struct reader in = reader_of(payload);
    w->id = reader_u64le(&in);
    w->other.approve = reader_u8(&in);
    w->other.count = reader_u16le(&in);
    if (!reader_ok(&in) || w->other.count > REG_RENEWALS_MAX)
        return false;
    w->other.leases = mem_array(w->other.count + 1, sizeof(*w->other.leases));
    buf_append(&w->bytes, payload);
    in = reader_of(buf_slice(&w->bytes));
    reader_bytes(&in, 11); /* what was read */
    for (size_t i = 0; i < w->other.count; i++) {
        struct slice key = reader_bytes(&in, reader_u16le(&in));
        w->other.leases[i] = (struct reg_renewal){.key = key, .epoch = reader_u64le(&in)};
    }
    return reader_done(&in);
}

static void on_ask(struct reg_node *n, uint64_t from, struct slice payload)
{
    struct renew *w = MEM_NEW(struct renew);
    *w = (struct renew){.owner = n, .from = from};
    w->r = &w->other;
    if (!other_read(w, payload)) {
        LOG_WARN("registry.lease.invalid", F_U64("from", from));
        renew_free(w);
        return;
    }
    n->renew_count++;
    if (n->lease_term && n->stop == NODE_RUNS && n->renew_count <= NODE_RENEWS_MAX)
        confirm(n, w);
    else
        send_answer(w, false);
}

static void on_answer(struct reg_node *n, struct slice payload)
{
    struct reader in = reader_of(payload);
    uint64_t id = reader_u64le(&in);
    bool taken = reader_u8(&in);
    uint32_t approved = reader_u32le(&in);
    struct slice lost = reader_bytes(&in, reader_left(&in));
    LIST_EACH (&n->renews_asked, node) {
        struct renew *w = container_of(node, struct renew, node);
        if (w->id != id || (taken && lost.n != w->r->count))
            continue;
        list_remove(&w->node);
        if (!taken) {
            list_push(&n->renews, &w->node); /* at the next tick: it may lead soon */
            return;
        }
        for (size_t i = 0; i < lost.n; i++)
            w->r->leases[i].lost = lost.p[i];
        w->r->approved = approved;
        answer_own(w);
        return;
    }
}

void node_lease_on_frame(struct reg_node *n, uint64_t from, const struct frame *f)
{
    if (f->type == FRAME_LEASE_RENEW)
        on_ask(n, from, f->payload);
    else
        on_answer(n, f->payload);
}

void node_lease_recall(struct reg_node *n)
{
    struct list_node *node;
    while ((node = list_pop(&n->renews_asked)))
        list_push(&n->renews, node);
    node_turn(n);
}

static void expire(struct reg_node *n, struct list *l, bool all)
{
    LIST_EACH (l, node) {
        struct renew *w = container_of(node, struct renew, node);
        if (!all && env_now(n->env) < w->deadline)
            continue;
        if (all)
            err_set(&w->r->err, ERR_UNAVAILABLE, "this node is stopping");
        else if (node_leader(n))
            err_set(&w->r->err, ERR_TIMEOUT, "the leader did not answer in time: ask again");
        else
            node_no_quorum(n, &w->r->err);
        list_remove(&w->node);
        answer_own(w);
    }
}

void node_lease_fail_all(struct reg_node *n)
{
    LIST_EACH (&n->renews_confirm, node) {
        struct confirm *c = container_of(node, struct confirm, node);
        if (c->of && c->of->from)
            send_answer(c->of, false);
        else if (c->of)
            list_push(&n->renews, &c->of->node);
        c->of = NULL;
    }
    expire(n, &n->renews, true);
    expire(n, &n->renews_asked, true);
}

/* Ends. */

static void on_ended(struct reg_write *c)
{
    struct lease_end *e = container_of(c, struct lease_end, w);
    struct reg_node *n = e->owner;
    list_remove(&e->node);
    n->ending_count--;
    /* What may still commit has ended the lease: another sign of life would be a promise that the
     * entry breaks. A new term knows nothing of it, and its entry has no effect there. */
    if (c->err.code == ERR_UNKNOWN_OUTCOME)
        LOG_WARN("registry.lease.end_unknown", F_U64("node", n->opt.id),
                 F_STR("lease", buf_slice(&e->key)));
    else if (c->err.code)
        lease_clock_failed(&n->leases, buf_slice(&e->key), e->rev);
    else
        LOG_INFO("registry.lease.expired", F_U64("node", n->opt.id),
                 F_STR("lease", buf_slice(&e->key)), F_U64("revision", c->revision));
    end_free(e);
}

/* The object without its holder. */
static bool value_released(struct slice value, struct buf *out)
{
    struct err err = {0};
    json_t *o = json_parse(value, &err);
    bool ok = o && json_is_object(json_object_get(o, "spec"));
    if (ok)
        json_object_del(json_object_get(o, "spec"), "holderIdentity");
    ok = ok && kind_encode(o, out, &err);
    json_decref(o);
    return ok;
}

static bool end_fill(struct reg_node *n, struct lease_end *e, struct reg_txn *txn)
{
    struct slice key = buf_slice(&e->key);
    struct reg_lease l;
    struct reg_object o;
    if (!reg_lease_get(txn, key, &l) || l.rev != e->rev || !reg_get(txn, key, &o))
        return false;
    e->op = (struct reg_op){.key = key,
                            .del = l.registration || !value_released(o.value, &e->value),
                            .expect = REG_EXPECT_REV,
                            .expected = o.mod_rev,
                            .expiry_term = n->lease_term};
    if (e->op.del)
        return true;
    e->op.value = buf_slice(&e->value);
    e->grant = (struct reg_grant){.ttl_ms = l.ttl_ms, .epoch = l.epoch};
    e->op.grant = &e->grant;
    return true;
}

static void end_one(struct reg_node *n, const struct lease_due *due, struct reg_txn *txn)
{
    struct lease_end *e = MEM_NEW(struct lease_end);
    *e = (struct lease_end){.owner = n, .rev = due->rev};
    buf_append(&e->key, due->key);
    if (!end_fill(n, e, txn)) { /* not committed here yet */
        lease_clock_failed(&n->leases, buf_slice(&e->key), e->rev);
        end_free(e);
        return;
    }
    e->w = (struct reg_write){.ops = &e->op,
                              .op_count = 1,
                              .origin = S("lease expiry"),
                              .timeout = END_TIMEOUT_MS,
                              .env = n->env,
                              .fn = on_ended};
    list_push(&n->leases_ending, &e->node);
    n->ending_count++;
    reg_write(n, &e->w);
}

static void say_held_back(struct reg_node *n)
{
    if (n->leases.holds == n->lease_held_back)
        return;
    n->lease_held_back = n->leases.holds;
    if (n->leases.holds)
        LOG_WARN("registry.leases.held", F_U64("node", n->opt.id), F_U64("due", n->leases.due),
                 F_U64("of", n->leases.registrations));
    else
        LOG_INFO("registry.leases.let_go", F_U64("node", n->opt.id));
}

static void ends_advance(struct reg_node *n)
{
    struct lease_due due[NODE_LEASE_ENDS_MAX];
    size_t room = NODE_LEASE_ENDING_MAX - n->ending_count, count;
    struct reg_txn txn;
    struct err err = {0};
    count = lease_clock_step(&n->leases, env_now(n->env), due,
                             room < ARRAY_LEN(due) ? room : ARRAY_LEN(due));
    say_held_back(n);
    if (!count || !reg_txn_begin(n->store, &txn, &err)) {
        for (size_t i = 0; i < count; i++)
            lease_clock_failed(&n->leases, due[i].key, due[i].rev);
        return;
    }
    for (size_t i = 0; i < count; i++)
        end_one(n, &due[i], &txn);
    reg_txn_end(&txn);
}

/* Leads for leases: since its own first entry is applied, so that it has every grant. */
static void lead_or_follow(struct reg_node *n)
{
    uint64_t term = node_leads(n) && guard_ready(&n->guard) ? n->raft.current_term : 0;
    if (term == n->lease_term)
        return;
    n->lease_term = term;
    if (term)
        lease_clock_lead(&n->leases, env_now(n->env));
    else
        lease_clock_follow(&n->leases);
}

void node_lease_tick(struct reg_node *n)
{
    n->lease_due = true;
    expire(n, &n->renews, false);
    expire(n, &n->renews_asked, false);
}

void node_lease_advance(struct reg_node *n)
{
    if (n->stop != NODE_RUNS)
        return;
    lead_or_follow(n);
    if (n->lease_due && n->lease_term)
        ends_advance(n);
    n->lease_due = false;
    if (!list_empty(&n->renews))
        renews_advance(n);
}
