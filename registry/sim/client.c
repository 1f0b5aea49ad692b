#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "registry/sim/run.h"

#define OPS_MAX 4

/* An operation of a client; of the world, so that it outlives the process that it was given to. */
struct op {
    struct client *client; /* NULL: a probe */
    struct run *run;
    struct member *member;
    struct reg_write w;
    struct reg_op ops[OPS_MAX];
    char keys[OPS_MAX][32];
    char *value;
    uint64_t number;
    bool read, done, lost;
    bool keyed; /* with a key, so that it may be sent again */
    bool again; /* it is: an earlier try may still have its effect */
    bool told;  /* and that one was acknowledged */
    struct reg_once once;
    reg_rev floor; /* a linearizable read must show at least this */
};

static void client_later(struct client *c)
{
    struct run *run = c->run;
    if (!c->tick.armed)
        sim_event_start(run->sim, &c->tick, sim_between(run->sim, SIM_MS, run->knobs.think_max));
}

static struct slice key_pick(struct op *op, size_t i)
{
    uint64_t n = sim_below(op->run->sim, op->run->knobs.keys);
    snprintf(op->keys[i], sizeof(op->keys[i]), "plain/ns%" PRIu64 "/k%" PRIu64, n % 3, n);
    return slice_of(op->keys[i]);
}

static struct slice value_make(struct op *op)
{
    struct run *run = op->run;
    size_t n = 32 + sim_below(run->sim, run->knobs.value_max);
    if (op->value)
        return slice_of(op->value);
    op->value = mem_new(n + 1);
    int head = snprintf(op->value, n, "v%" PRIu64 ".", op->number);
    memset(op->value + head, 'x', n - (size_t)head);
    return slice_of(op->value);
}

static void value_copy(struct op *op, const char *value)
{
    size_t n = strlen(value) + 1;
    op->value = mem_new(n);
    memcpy(op->value, value, n);
}

static bool key_taken(const struct op *op, struct slice key)
{
    for (size_t i = 0; i < op->w.op_count; i++)
        if (slice_eq(op->ops[i].key, key))
            return true;
    return false;
}

/* The newest revision that anybody applied, or an older one: conflicts are part of the load. */
static reg_rev rev_guess(struct run *run, struct slice key)
{
    reg_rev at = run->oracle.revision - sim_below(run->sim, 3);
    const struct oracle_version *v = oracle_at(&run->oracle, key, at);
    return v ? v->rev : 1;
}

static void op_add(struct op *op, unsigned dice)
{
    struct slice key = key_pick(op, op->w.op_count);
    if (key_taken(op, key))
        return;
    struct reg_op *o = &op->ops[op->w.op_count++];
    *o = (struct reg_op){.key = key};
    if (dice < 55) {
        o->expect = REG_EXPECT_ANY;
    } else if (dice < 65) {
        o->expect = REG_EXPECT_ABSENT;
    } else if (dice < 80) {
        o->expect = REG_EXPECT_REV;
        o->expected = rev_guess(op->run, key);
    } else if (dice < 85) {
        o->expect = REG_EXPECT_EXISTS;
    } else {
        o->del = true;
        if (dice < 90)
            o->expect = REG_EXPECT_EXISTS;
    }
    o->check = !o->del && o->expect != REG_EXPECT_ANY && sim_chance(op->run->sim, 200);
    if (!o->del && !o->check)
        o->value = value_make(op);
}

static void op_key(struct op *op)
{
    op->keyed = true;
    memcpy(op->once.key, &op->number, sizeof(op->number));
    memcpy(op->once.digest, &op->number, sizeof(op->number));
    op->once.memo = S("c");
}

static void op_fill(struct op *op)
{
    struct sim *sim = op->run->sim;
    op->read = sim_chance(sim, 200);
    if (op->read)
        return;
    op->number = oracle_op_new(&op->run->oracle);
    op_add(op, (unsigned)sim_below(sim, 100));
    while (op->w.op_count < OPS_MAX && sim_chance(sim, 100))
        op_add(op, (unsigned)sim_below(sim, 100));
    if (sim_chance(sim, 300))
        op_key(op);
}

/* The same request, of which nobody knows what came, or a client's that forgot. */
static bool op_repeats(const struct op *last)
{
    bool acked = last->done && last->w.err.code == ERR_NONE;
    bool unknown = last->lost || (last->done && last->w.err.code == ERR_UNKNOWN_OUTCOME);
    bool open =
        last->again && (last->w.err.code == ERR_UNAVAILABLE || last->w.err.code == ERR_NO_ROOM);
    return last->keyed && !last->read &&
           (acked ? sim_chance(last->run->sim, 200) : unknown || open);
}

static void op_copy(struct op *op, const struct op *last)
{
    op->number = last->number;
    op->w.op_count = last->w.op_count;
    memcpy(op->keys, last->keys, sizeof(op->keys));
    if (last->value)
        value_copy(op, last->value);
    for (size_t i = 0; i < op->w.op_count; i++) {
        op->ops[i] = last->ops[i];
        op->ops[i].key = slice_of(op->keys[i]);
        if (last->ops[i].value.n)
            op->ops[i].value = slice_of(op->value);
    }
    op_key(op);
    op->again = true;
    op->told = last->told || (last->done && last->w.err.code == ERR_NONE);
}

void op_free(struct op *op)
{
    if (!op)
        return;
    mem_free(op->value);
    mem_free(op);
}

bool op_done(const struct op *op)
{
    return op->done || op->lost;
}

bool op_succeeded(const struct op *op)
{
    return op->done && op->w.err.code == ERR_NONE;
}

/* Answers. */

void run_told(struct run *run, reg_rev rev)
{
    if (rev <= run->acked_max)
        return;
    run->acked_max = rev;
    *vec_push(&run->told) = (struct told){.at = sim_now(run->sim), .rev = rev};
}

reg_rev run_told_before(const struct run *run, sim_ns at)
{
    size_t a = 0, b = run->told.n;
    while (a < b) {
        size_t m = (a + b) / 2;
        if (run->told.p[m].at < at)
            a = m + 1;
        else
            b = m;
    }
    return a ? run->told.p[a - 1].rev : 0;
}

/* Acknowledged means: on the disks of a majority. */
static void on_majority(struct run *run, uint64_t number, reg_rev rev)
{
    raft_term term = run->oracle.entries.p[rev].term;
    if (!operator_idle(run)) /* which majority? */
        return;
    size_t have = 0, voters = 0;
    for (size_t i = 0; i < run->members; i++)
        if (run->member[i].wiped) /* it may have counted before it lost its disk */
            return;
    for (size_t i = 0; i < run->members; i++)
        if (run->member[i].voter) {
            have += member_has(&run->member[i], rev, term);
            voters++;
        }
    if (have * 2 <= voters)
        oracle_fail(&run->oracle,
                    "write %" PRIu64 " was acknowledged at %" PRIu64
                    ", which is on the disks of %zu of %zu voters",
                    number, rev, have, voters);
}

void run_acked(struct run *run, uint64_t number, reg_rev rev)
{
    run_told(run, rev);
    if (rev && rev < run->oracle.entries.n)
        on_majority(run, number, rev);
}

static void write_answered(struct op *op)
{
    struct run *run = op->run;
    const struct reg_write *w = &op->w;
    switch (w->err.code) {
    case ERR_NONE:
        run->result->acked++;
        if (op->value && w->revision)
            oracle_acked(&run->oracle, op->number, w->revision);
        run_acked(run, op->number, w->revision);
        break;
    case ERR_UNKNOWN_OUTCOME:
        break;
    case ERR_CONFLICT:
    case ERR_EXISTS:
    case ERR_NOT_FOUND:
    case ERR_UNAVAILABLE:
    case ERR_LIMIT:
    case ERR_NO_ROOM:
        if (op->told && w->err.code != ERR_UNAVAILABLE && w->err.code != ERR_LIMIT &&
            w->err.code != ERR_NO_ROOM)
            oracle_fail(&run->oracle, "write %" PRIu64 " was acknowledged, and refused later: %s",
                        op->number, w->err.msg);
        if (!op->again)
            oracle_refused(&run->oracle, op->number, w->err.msg);
        break;
    default:
        oracle_fail(&run->oracle, "write %" PRIu64 " was answered: %s", op->number, w->err.msg);
    }
}

static void read_answered(struct op *op)
{
    struct run *run = op->run;
    struct reg_txn t;
    struct reg_object o;
    struct err err = {0};
    const char *name = sim_host_name(op->member->host);
    if (op->w.err.code != ERR_NONE || !op->member->node->store) /* it has stopped meanwhile */
        return;
    run->result->reads++;
    if (!reg_txn_begin(op->member->node->store, &t, &err)) {
        oracle_fail(&run->oracle, "%s: read: %s", name, err.msg);
        return;
    }
    if (t.revision < op->floor)
        oracle_fail(&run->oracle,
                    "%s: a linearizable read at %" PRIu64 ", %" PRIu64
                    " was acknowledged before it began",
                    name, t.revision, op->floor);
    struct slice key = key_pick(op, 0);
    bool found = reg_get(&t, key, &o);
    oracle_read(&run->oracle, name, key, t.revision, found ? &o : NULL);
    run_told(run, t.revision);
    reg_txn_end(&t);
}

static void on_done(struct reg_write *w)
{
    struct op *op = container_of(w, struct op, w);
    struct sim_zone *was = sim_world_enter();
    wf_assert(!op->done);
    op->done = true;
    sim_trace(op->run->sim, "%s %" PRIu64 " -> %s %" PRIu64, op->read ? "read" : "write",
              op->number, err_code_name(w->err.code), w->revision);
    if (op->read)
        read_answered(op);
    else
        write_answered(op);
    if (op->client)
        client_later(op->client);
    sim_world_leave(was);
}

/* Giving. */

static void submit(void *ctx)
{
    struct op *op = ctx;
    struct reg_node *n = op->member->node;
    op->w.ops = op->ops;
    op->w.once = op->keyed ? &op->once : NULL;
    op->w.env = n->env;
    op->w.fn = on_done;
    op->floor = op->run->acked_max;
    if (op->read)
        reg_read_index(n, &op->w);
    else
        reg_write(n, &op->w);
}

static struct member *member_pick(struct client *c)
{
    struct run *run = c->run;
    if (sim_chance(run->sim, 50))
        c->home = sim_below(run->sim, run->members);
    for (size_t i = 0; i < run->members; i++) {
        struct member *m = &run->member[(c->home + i) % run->members];
        if (member_ready(m) && member_in(m))
            return m;
    }
    return NULL;
}

static struct op *op_new(struct run *run, struct client *c, struct member *m)
{
    struct op *op = MEM_NEW(struct op);
    op->run = run;
    op->client = c;
    op->member = m;
    op->w.timeout = run->knobs.write_timeout;
    return op;
}

static void on_tick(struct sim_event *e)
{
    struct client *c = container_of(e, struct client, tick);
    struct run *run = c->run;
    struct member *m = member_pick(c);
    struct op *last = c->op;
    c->op = NULL;
    if (!run->quiet && m) {
        c->op = op_new(run, c, m);
        if (last && op_repeats(last))
            op_copy(c->op, last);
        else
            op_fill(c->op);
    }
    op_free(last);
    if (run->quiet)
        return;
    if (!m) {
        client_later(c);
        return;
    }
    run->result->writes += !c->op->read;
    sim_host_call(m->host, submit, c->op);
}

struct op *client_probe(struct run *run, struct member *m)
{
    if (!member_ready(m))
        return NULL;
    struct op *op = op_new(run, NULL, m);
    op->number = oracle_op_new(&run->oracle);
    op->ops[0] = (struct reg_op){.key = key_pick(op, 0), .value = value_make(op)};
    op->w.op_count = 1;
    run->probe = op;
    sim_host_call(m->host, submit, op);
    return op;
}

/* What was given to a process that is gone: nobody knows. */
void clients_host_down(struct run *run, const struct sim_host *h)
{
    if (run->probe && run->probe->member->host == h)
        run->probe->lost = true;
    for (size_t i = 0; i < run->knobs.clients; i++) {
        struct client *c = &run->client[i];
        if (!c->op || c->op->done || c->op->member->host != h)
            continue;
        c->op->lost = true;
        client_later(c);
    }
}

bool clients_idle(const struct run *run)
{
    for (size_t i = 0; i < run->knobs.clients; i++)
        if (run->client[i].op && !op_done(run->client[i].op))
            return false;
    return true;
}

void clients_start(struct run *run)
{
    for (size_t i = 0; i < run->knobs.clients; i++) {
        struct client *c = &run->client[i];
        *c = (struct client){.run = run, .index = i, .home = i % run->members, .tick.fn = on_tick};
        client_later(c);
    }
}

void clients_fini(struct run *run)
{
    for (size_t i = 0; i < run->knobs.clients; i++) {
        sim_event_stop(&run->client[i].tick);
        op_free(run->client[i].op);
    }
}
