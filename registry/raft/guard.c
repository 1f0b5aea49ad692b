#include "registry/raft/guard.h"

#include <string.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "base/core/mem.h"
#include "base/core/mutant.h"
#include "registry/raft/conf.h"
#include "registry/raft/message.h"
#include "registry/raft/raft_limits.h"

/* libraft's own numbers (progress.h is not installed). */
enum { PROGRESS_PROBE, PROGRESS_PIPELINE, PROGRESS_SNAPSHOT };

static bool rule(const struct guard *g, enum guard_rule r)
{
    return !(g->off & r);
}

static struct guard *guard_of(struct raft_io *io)
{
    return io->impl;
}

/* Libraft's log in memory. */

static size_t log_count(const struct raft_log *l)
{
    return l->front <= l->back ? l->back - l->front : l->size - l->front + l->back;
}

raft_index guard_last_index(const struct raft *r)
{
    size_t n = log_count(&r->log);
    return n ? r->log.offset + n : (r->log.snapshot.last_index ? r->log.snapshot.last_index : 0);
}

static const struct raft_entry *entry_at(const struct raft *r, raft_index index)
{
    const struct raft_log *l = &r->log;
    if (index <= l->offset || index > l->offset + log_count(l))
        return NULL;
    return &l->entries[(l->front + (size_t)(index - 1 - l->offset)) % l->size];
}

raft_term guard_term_of(const struct raft *r, raft_index index)
{
    const struct raft_log *l = &r->log;
    if (index == l->snapshot.last_index)
        return l->snapshot.last_term;
    const struct raft_entry *e = entry_at(r, index);
    return e ? e->term : 0;
}

/* Configurations (G16). */

static void conf_remember(struct guard *g)
{
    raft_configuration_close(&g->committed);
    conf_copy(&g->raft->configuration, &g->committed);
    g->committed_at = g->raft->configuration_index;
}

static void conf_follow(struct guard *g)
{
    struct raft *r = g->raft;
    if (!rule(g, GUARD_G16_CONF))
        return;
    if (r->configuration_uncommitted_index <= r->log.snapshot.last_index)
        r->configuration_uncommitted_index = 0; /* committed: a snapshot holds it */
    if (r->configuration_uncommitted_index == 0 && r->configuration_index != g->committed_at)
        conf_remember(g);
}

static void conf_take_back(struct guard *g)
{
    struct raft *r = g->raft;
    LOG_WARN("registry.members.taken_back", F_U64("index", r->configuration_uncommitted_index));
    raft_configuration_close(&r->configuration);
    conf_copy(&g->committed, &r->configuration);
    r->configuration_index = g->committed_at;
    r->configuration_uncommitted_index = 0;
}

/* Will libraft cut its log at or before the configuration that is not committed? */
static void conf_before_append(struct guard *g, const struct raft_append_entries *a)
{
    struct raft *r = g->raft;
    if (!rule(g, GUARD_G16_CONF) || r->configuration_uncommitted_index == 0 ||
        a->term < r->current_term ||
        (a->prev_log_index && guard_term_of(r, a->prev_log_index) != a->prev_log_term))
        return;
    for (unsigned i = 0; i < a->n_entries; i++) {
        raft_index index = a->prev_log_index + 1 + i;
        raft_term term = guard_term_of(r, index);
        if (term == 0)
            return;
        if (term == a->entries[i].term)
            continue;
        if (index <= r->configuration_uncommitted_index)
            conf_take_back(g);
        return;
    }
}

void guard_conf_begin(struct guard *g, raft_index known, const struct raft_configuration *older,
                      raft_index older_index)
{
    struct raft *r = g->raft;
    raft_index at = r->configuration_index;
    struct err err = {0};
    conf_remember(g);
    if (!rule(g, GUARD_G16_CONF) || at <= 1 || at <= known || at <= r->log.snapshot.last_index)
        return;
    raft_configuration_close(&g->committed);
    raft_configuration_init(&g->committed);
    g->committed_at = 0;
    for (raft_index i = at - 1; i > 0 && g->committed_at == 0; i--) {
        const struct raft_entry *e = entry_at(r, i);
        if (!e)
            break;
        if (e->type != RAFT_CHANGE)
            continue;
        if (!conf_entry_decode(slice_mem(e->buf.base, e->buf.len), &g->committed, &err))
            wf_die("entry %llu: %s", (unsigned long long)i, err.msg);
        g->committed_at = i;
    }
    if (g->committed_at == 0 && older) {
        conf_copy(older, &g->committed);
        g->committed_at = older_index;
    }
    r->configuration_uncommitted_index = at;
    r->configuration_index = g->committed_at;
}

bool guard_conf_idle(const struct guard *g)
{
    const struct raft *r = g->raft;
    return guard_ready(g) && r->configuration_uncommitted_index == 0 && r->transfer == NULL &&
           r->leader_state.promotee_id == 0 && r->leader_state.change == NULL;
}

/* After each callback into libraft. */

static void on_barrier(struct raft_barrier *b, int status)
{
    struct guard *g = b->data;
    g->barrier_pending = false;
    if (status == 0 && g->raft->state == RAFT_LEADER)
        g->ready_term = g->barrier_term;
}

/* G1. Level-triggered: a transfer that is not over yet makes raft_barrier refuse. */
static void barrier_on_election(struct guard *g)
{
    struct raft *r = g->raft;
    if (!rule(g, GUARD_G1_BARRIER) || r->state != RAFT_LEADER || g->barrier_pending ||
        g->barrier_term == r->current_term)
        return;
    g->barrier.data = g;
    g->barrier_pending = true;
    raft_term term = g->barrier_term;
    g->barrier_term = r->current_term;
    if (raft_barrier(r, &g->barrier, on_barrier) != 0) {
        g->barrier_pending = false;
        g->barrier_term = term;
    }
}

static bool own_term_stored(const struct guard *g)
{
    return guard_term_of(g->raft, g->raft->last_stored) == g->raft->current_term;
}

/* G2: results go on when our own entry has landed, or do not matter any more. */
static void release_held(struct guard *g)
{
    struct list_node *n;
    while (!list_empty(&g->held) && (g->raft->state != RAFT_LEADER || own_term_stored(g))) {
        n = list_pop(&g->held);
        struct guard_held *h = container_of(n, struct guard_held, node);
        g->held_count--;
        g->recv(&g->io, &h->message);
        mem_free(h);
    }
}

static bool busy(const struct guard *g)
{
    return g->appends_in_flight > 0 || g->installing;
}

/* G5: a leader says it once, and leads nobody until its transfer is over. */
static void stand_when_idle(struct guard *g)
{
    if (!g->stand_held || busy(g))
        return;
    g->stand_held = false;
    if (g->raft->state == RAFT_FOLLOWER && !g->no_room &&
        g->told_to_stand.timeout_now.term == g->raft->current_term)
        g->recv(&g->io, &g->told_to_stand);
}

/* G13. Every entry that was committed before this leader was elected lies before its own first one.
 */
static void join_when_caught_up(struct guard *g)
{
    struct raft *r = g->raft;
    if (g->standing != GUARD_CATCHING || r->state != RAFT_FOLLOWER || g->installing ||
        g->join_term == 0 || g->join_term != r->current_term || r->last_stored < g->join_index ||
        r->commit_index == 0 || guard_term_of(r, r->commit_index) != r->current_term)
        return;
    g->standing = GUARD_MEMBER;
    if (g->events.on_joined)
        g->events.on_joined(g->ctx);
}

/* libraft draws an election time-out when a node becomes a follower, and not again when a follower
 * hears of a new leader: one that once drew a long one keeps it, never stands, and the other alone
 * decides how soon there is a leader. Raft §5.2 draws at the start of each election. */
static void draw_timeout(struct guard *g)
{
    struct raft *r = g->raft;
    if (r->state != RAFT_FOLLOWER || r->follower_state.current_leader.id == 0 ||
        g->drawn_term == r->current_term)
        return;
    g->drawn_term = r->current_term;
    r->follower_state.randomized_election_timeout = (unsigned)g->inner->random(
        g->inner, (int)r->election_timeout, 2 * (int)r->election_timeout);
}

static void after(struct guard *g)
{
    draw_timeout(g);
    conf_follow(g);
    barrier_on_election(g);
    release_held(g);
    stand_when_idle(g);
    join_when_caught_up(g);
    if (g->events.on_step)
        g->events.on_step(g->ctx);
}

/* What the inner I/O calls. */

static bool outsider(const struct guard *g)
{
    return rule(g, GUARD_G13_JOIN) && g->standing != GUARD_MEMBER;
}

static void on_tick(struct raft_io *inner)
{
    struct guard *g = inner->data;
    bool skip = g->raft->state == RAFT_FOLLOWER &&
                ((rule(g, GUARD_G4_BUSY_TICK) && busy(g)) || outsider(g));
    if (!skip)
        g->tick(&g->io);
    after(g);
}

static void hold(struct guard *g, const struct raft_message *m)
{
    if (g->held_count == GUARD_HELD_MAX) {
        /* A lost result: the follower's next one says the same. */
        mem_free(container_of(list_pop(&g->held), struct guard_held, node));
        g->held_count--;
    }
    struct guard_held *h = MEM_NEW(struct guard_held);
    h->message = *m;
    list_push(&g->held, &h->node);
    g->held_count++;
}

/* G6. The sender's term is not below ours, so its log holds all that we know to be committed. */
static void rewrite_compacted(struct guard *g, struct raft_message *m)
{
    struct raft *r = g->raft;
    struct raft_append_entries *a = &m->append_entries;
    raft_index commit = r->commit_index;
    raft_term term = commit ? guard_term_of(r, commit) : 0;
    if (!rule(g, GUARD_G6_PREFIX) || g->installing || a->term < r->current_term || term == 0 ||
        a->prev_log_index >= commit || a->prev_log_index >= r->log.snapshot.last_index)
        return;
    message_free(m);
    a->prev_log_index = commit;
    a->prev_log_term = term;
}

static bool second_leader(const struct guard *g, const struct raft_message *m)
{
    raft_term term =
        m->type == RAFT_IO_APPEND_ENTRIES ? m->append_entries.term : m->install_snapshot.term;
    if (!rule(g, GUARD_G12_TARGET) || g->raft->state != RAFT_LEADER ||
        term != g->raft->current_term)
        return false;
    LOG_ERROR("registry.raft.second_leader", F_U64("from", m->server_id), F_U64("term", term));
    return true;
}

/* G13. */
static bool outsider_takes(struct guard *g, const struct raft_message *m)
{
    raft_term term =
        m->type == RAFT_IO_APPEND_ENTRIES ? m->append_entries.term : m->install_snapshot.term;
    bool from_leader = m->type == RAFT_IO_APPEND_ENTRIES || m->type == RAFT_IO_INSTALL_SNAPSHOT;
    if (g->standing == GUARD_ASKING || !from_leader)
        return false;
    if (m->type == RAFT_IO_APPEND_ENTRIES && term >= g->raft->current_term &&
        term != g->join_term) {
        g->join_term = term;
        g->join_index = m->append_entries.leader_commit;
    }
    return true;
}

/* A vote is refused "within the minimum election timeout of hearing from a current leader" (Raft
 * dissertation §4.2.3). libraft refuses until its own, longer timer ends: then both of two
 * followers have to wait for theirs. */
static void forget_silent_leader(struct guard *g)
{
    struct raft *r = g->raft;
    raft_time silent = g->inner->time(g->inner) - r->election_timer_start;
    if (r->state == RAFT_FOLLOWER && silent >= r->election_timeout)
        r->follower_state.current_leader.id = 0;
}

static bool has_command(const struct raft_append_entries *a)
{
    for (unsigned i = 0; i < a->n_entries; i++)
        if (a->entries[i].type == RAFT_COMMAND)
            return true;
    return false;
}

/* A heartbeat remains, which is answered by what we have. Barriers and configurations are small and
 * few, and a leader is none without them. */
static void keep_out_commands(const struct guard *g, struct raft_message *m)
{
    if (g->no_room && has_command(&m->append_entries))
        message_free(m);
}

/* false: libraft is not to see it. */
static bool admit(struct guard *g, struct raft_message *m)
{
    struct raft *r = g->raft;
    if (outsider(g) && !outsider_takes(g, m)) {
        message_free(m);
        return false;
    }
    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES:
        if (second_leader(g, m)) {
            message_free(m);
            return false;
        }
        rewrite_compacted(g, m);
        keep_out_commands(g, m);
        return true;
    case RAFT_IO_INSTALL_SNAPSHOT:
        if (second_leader(g, m)) {
            message_free(m);
            return false;
        }
        return true;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        if (!rule(g, GUARD_G2_HOLD) || r->state != RAFT_LEADER ||
            m->append_entries_result.rejected != 0 || own_term_stored(g))
            return true;
        hold(g, m);
        return false;
    case RAFT_IO_REQUEST_VOTE:
        forget_silent_leader(g);
        return true;
    case RAFT_IO_TIMEOUT_NOW:
        if (g->no_room)
            return false;
        g->stand_held = rule(g, GUARD_G5_BUSY_TIMEOUT_NOW) && busy(g);
        g->told_to_stand = *m;
        return !g->stand_held;
    default:
        return true;
    }
}

/* libraft probes a follower once a heartbeat, also when its refusal has just said where to go on: a
 * new leader would need several heartbeats to find the common entry. One refusal, one more probe.
 */
static void probe_again_at_once(struct guard *g, const struct raft_message *m)
{
    struct raft *r = g->raft;
    if (r->state != RAFT_LEADER || m->append_entries_result.rejected == 0 ||
        m->append_entries_result.term != r->current_term)
        return;
    for (unsigned i = 0; i < r->configuration.n; i++) {
        struct raft_progress *p = &r->leader_state.progress[i];
        if (r->configuration.servers[i].id == m->server_id && p->state != PROGRESS_SNAPSHOT)
            p->last_send = 0;
    }
}

static raft_index covered_commit(const struct raft_append_entries *a)
{
    raft_index end = a->prev_log_index + a->n_entries;
    return a->leader_commit < end ? a->leader_commit : end;
}

/* G18: returns ourselves where our configuration does not let us vote; what we are in it. */
static struct raft_server *votes_anyway(const struct guard *g, const struct raft_message *m,
                                        int *ret_role)
{
    const struct raft_configuration *c = &g->raft->configuration;
    if (!rule(g, GUARD_G18_PROMOTED) || m->type != RAFT_IO_REQUEST_VOTE)
        return NULL;
    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].id != g->raft->id || c->servers[i].role == RAFT_VOTER)
            continue;
        *ret_role = c->servers[i].role;
        return &c->servers[i];
    }
    return NULL;
}

static void on_recv(struct raft_io *inner, struct raft_message *m)
{
    struct guard *g = inner->data;
    if (!admit(g, m))
        return;
    int role;
    struct raft_server *voter = votes_anyway(g, m, &role);
    wf_assert(!g->receiving);
    g->receiving = m;
    if (m->type == RAFT_IO_APPEND_ENTRIES && rule(g, GUARD_G15_COMMIT))
        m->append_entries.leader_commit = covered_commit(&m->append_entries);
    if (m->type == RAFT_IO_APPEND_ENTRIES_RESULT)
        probe_again_at_once(g, m);
    if (m->type == RAFT_IO_APPEND_ENTRIES)
        conf_before_append(g, &m->append_entries);
    if (m->type == RAFT_IO_APPEND_ENTRIES)
        g->receiving_end = m->append_entries.prev_log_index + m->append_entries.n_entries;
    if (voter)
        voter->role = RAFT_VOTER;
    g->recv(&g->io, m);
    if (voter)
        voter->role = role;
    g->receiving = NULL;
    after(g);
}

/* What libraft calls. */

static int pass(struct guard *g, int rc, const char *what)
{
    if (rc == 0)
        return 0;
    if (rule(g, GUARD_G8_FAIL_STOP))
        wf_die("registry: %s failed: %s: the node stops, the others go on", what,
               g->inner->errmsg[0] ? g->inner->errmsg : raft_strerror(rc));
    memcpy(g->io.errmsg, g->inner->errmsg, sizeof(g->io.errmsg));
    return rc;
}

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    struct guard *g = guard_of(io);
    return g->inner->init(g->inner, id, address);
}

static void on_inner_closed(struct raft_io *inner)
{
    struct guard *g = inner->data;
    g->close_cb(&g->io);
}

static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
    struct guard *g = guard_of(io);
    g->close_cb = cb;
    g->inner->close(g->inner, on_inner_closed);
}

static int io_load(struct raft_io *io, raft_term *term, raft_id *voted_for,
                   struct raft_snapshot **snapshot, raft_index *start_index,
                   struct raft_entry *entries[], size_t *n_entries)
{
    struct guard *g = guard_of(io);
    int rc = g->inner->load(g->inner, term, voted_for, snapshot, start_index, entries, n_entries);
    memcpy(io->errmsg, g->inner->errmsg, sizeof(io->errmsg));
    return rc;
}

/* libraft looks at its timers at ticks, which it asks for once a heartbeat: elections would begin
 * half a heartbeat late, on average, and two followers in the same moment more often. How often
 * heartbeats are sent depends on when the last one was. */
static unsigned tick_ms(unsigned heartbeat_ms)
{
    unsigned ms = heartbeat_ms / GUARD_TICKS_A_HEARTBEAT;
    return ms > 0 ? ms : 1;
}

static int io_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct guard *g = guard_of(io);
    g->tick = tick;
    g->recv = recv;
    return g->inner->start(g->inner, tick_ms(msecs), on_tick, on_recv);
}

static int io_bootstrap(struct raft_io *io, const struct raft_configuration *conf)
{
    struct guard *g = guard_of(io);
    return g->inner->bootstrap(g->inner, conf);
}

static int io_recover(struct raft_io *io, const struct raft_configuration *conf)
{
    struct guard *g = guard_of(io);
    return g->inner->recover(g->inner, conf);
}

static int io_set_term(struct raft_io *io, raft_term term)
{
    struct guard *g = guard_of(io);
    return pass(g, g->inner->set_term(g->inner, term), "storing the term");
}

static int io_set_vote(struct raft_io *io, raft_id id)
{
    struct guard *g = guard_of(io);
    return pass(g, g->inner->set_vote(g->inner, id), "storing the vote");
}

/* Place in told of the member of that id; NULL: there is none. */
static raft_index *told_of(struct guard *g, raft_id id)
{
    const struct raft_configuration *c = &g->raft->configuration;
    if (g->told_term != g->raft->current_term) {
        memset(g->told, 0, sizeof(g->told));
        g->told_term = g->raft->current_term;
    }
    if (g->told_members != c->n) {
        memset(g->told, 0, sizeof(g->told));
        g->told_members = c->n;
    }
    for (unsigned i = 0; i < c->n && i < RAFT_MEMBERS_MAX; i++)
        if (c->servers[i].id == id)
            return &g->told[i];
    return NULL;
}

/* G11, G12. A result is due to the sender of what is being handled, or, from a completion, to the
 * leader that a follower has. */
static bool result_is_due(const struct guard *g, const struct raft_message *m)
{
    const struct raft *r = g->raft;
    if (g->mute_results)
        return false;
    if (!rule(g, GUARD_G12_TARGET))
        return true;
    if (g->receiving)
        return m->server_id == g->receiving->server_id;
    return r->state == RAFT_FOLLOWER && m->server_id != 0 &&
           m->server_id == r->follower_state.current_leader.id;
}

static void clip_result(const struct guard *g, struct raft_append_entries_result *res)
{
    if (!rule(g, GUARD_G3_CLIP) || !g->receiving || g->receiving->type != RAFT_IO_APPEND_ENTRIES ||
        res->rejected != 0)
        return;
    if (res->last_log_index > g->receiving_end)
        res->last_log_index = g->receiving_end;
}

static void own_term_in_refusal(const struct guard *g, struct raft_request_vote_result *res)
{
    if (rule(g, GUARD_G7_PREVOTE_TERM) && res->pre_vote == raft_tribool_true &&
        !res->vote_granted && g->raft->current_term > res->term)
        res->term = g->raft->current_term;
}

/* G14. What libraft's own messages tell. One without entries tells nothing that the follower has
 * not stored. */
static void note_told(struct guard *g, const struct raft_message *m)
{
    struct raft *r = g->raft;
    const struct raft_append_entries *a = &m->append_entries;
    raft_index *told = told_of(g, m->server_id);
    if (r->state != RAFT_LEADER || !told)
        return;
    raft_index at = a->leader_commit;
    raft_index stored = r->leader_state.progress[told - g->told].match_index;
    if (a->n_entries == 0 && at > stored)
        at = stored;
    if (at > *told)
        *told = at;
}

static void note_snapshot(struct guard *g, const struct raft_message *m)
{
    struct raft *r = g->raft;
    for (unsigned i = 0; rule(g, GUARD_G17_SNAPSHOT) && i < r->configuration.n; i++) {
        struct raft_progress *p = &r->leader_state.progress[i];
        if (r->configuration.servers[i].id == m->server_id && p->state == PROGRESS_SNAPSHOT)
            p->snapshot_index = m->install_snapshot.last_index;
    }
}

static int io_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message,
                   raft_io_send_cb cb)
{
    struct guard *g = guard_of(io);
    struct raft_message m = *message;
    if (m.type == RAFT_IO_APPEND_ENTRIES)
        note_told(g, &m);
    if (m.type == RAFT_IO_INSTALL_SNAPSHOT && g->raft->state == RAFT_LEADER)
        note_snapshot(g, &m);
    if (m.type == RAFT_IO_APPEND_ENTRIES_RESULT) {
        clip_result(g, &m.append_entries_result);
        if (!result_is_due(g, &m))
            m.server_id = 0; /* lost */
    }
    if (m.type == RAFT_IO_REQUEST_VOTE_RESULT)
        own_term_in_refusal(g, &m.request_vote_result);
    int rc = g->inner->send(g->inner, req, &m, cb);
    wf_assert(rc == 0);
    return 0;
}

static void on_tell_sent(struct raft_io_send *req, int status)
{
    (void)status; /* lost: the next heartbeat says it */
    mem_free(req);
}

/* It names no more than the follower is known to have stored, and the entry before it is that same
 * one: a follower with another entry there refuses, so nothing foreign is ever committed, although
 * 0.15 does not bound the commit by what a message covers. */
static void tell(struct guard *g, const struct raft_server *to, raft_index at)
{
    struct raft *r = g->raft;
    struct raft_message m = {
        .type = RAFT_IO_APPEND_ENTRIES,
        .server_id = to->id,
        .server_address = to->address,
        .append_entries = {.term = r->current_term,
                           .prev_log_index = at,
                           .prev_log_term = guard_term_of(r, at),
                           .leader_commit = at},
    };
    if (m.append_entries.prev_log_term == 0)
        return;
    struct raft_io_send *req = MEM_NEW(struct raft_io_send);
    int rc = g->inner->send(g->inner, req, &m, on_tell_sent);
    wf_assert(rc == 0);
}

void guard_tell_commit(struct guard *g)
{
    struct raft *r = g->raft;
    if (!rule(g, GUARD_G14_TELL) || !guard_ready(g))
        return;
    for (unsigned i = 0; i < r->configuration.n; i++) {
        const struct raft_server *s = &r->configuration.servers[i];
        const struct raft_progress *p = &r->leader_state.progress[i];
        raft_index at = r->commit_index < p->match_index ? r->commit_index : p->match_index;
        raft_index *told = told_of(g, s->id);
        if (!told || s->id == r->id || p->state == PROGRESS_SNAPSHOT || at <= *told)
            continue;
        *told = at;
        tell(g, s, at);
    }
}

struct guard_append {
    struct raft_io_append inner;
    struct raft_io_append *outer;
    raft_io_append_cb cb;
    struct guard *g;
    raft_term term;
};

static void on_appended(struct raft_io_append *req, int status)
{
    struct guard_append *a = req->data;
    struct guard *g = a->g;
    pass(g, status, "writing the log");
    wf_assert(g->appends_in_flight > 0);
    g->appends_in_flight--;
    g->mute_results = rule(g, GUARD_G11_TERM) && g->raft->current_term != a->term;
    a->cb(a->outer, status);
    g->mute_results = false;
    mem_free(a);
    after(g);
}

static void check_entry(const struct guard *g, const struct raft_entry *e)
{
    wf_assert(!rule(g, GUARD_G10_PAD) || (e->buf.len > 0 && e->buf.len % 8 == 0));
    /* libraft leaves the bytes of a barrier as they were in memory. */
    if (e->type == RAFT_BARRIER)
        memset(e->buf.base, 0, e->buf.len);
}

static int io_append(struct raft_io *io, struct raft_io_append *req,
                     const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    struct guard *g = guard_of(io);
    for (unsigned i = 0; i < n; i++) {
        check_entry(g, &entries[i]);
        if (entries[i].type == RAFT_CHANGE && g->raft->state == RAFT_LEADER)
            conf_entry_seal(entries[i].buf.base, entries[i].buf.len);
    }
    struct guard_append *a = MEM_NEW(struct guard_append);
    *a = (struct guard_append){.outer = req, .cb = cb, .g = g, .term = g->raft->current_term};
    a->inner.data = a;
    g->appends_in_flight++;
    int rc =
        pass(g, g->inner->append(g->inner, &a->inner, entries, n, on_appended), "writing the log");
    if (rc != 0) {
        g->appends_in_flight--;
        mem_free(a);
    }
    return rc;
}

static int io_truncate(struct raft_io *io, raft_index index)
{
    struct guard *g = guard_of(io);
    return pass(g, g->inner->truncate(g->inner, index), "truncating the log");
}

struct guard_put {
    struct raft_io_snapshot_put inner;
    struct raft_io_snapshot_put *outer;
    raft_io_snapshot_put_cb cb;
    struct guard *g;
    bool install;
};

static void on_put(struct raft_io_snapshot_put *req, int status)
{
    struct guard_put *p = req->data;
    struct guard *g = p->g;
    if (p->install) {
        pass(g, status, "installing a checkpoint");
        g->installing = false;
    }
    p->cb(p->outer, status);
    mem_free(p);
    after(g);
}

static int io_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                           const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct guard *g = guard_of(io);
    struct guard_put *p = MEM_NEW(struct guard_put);
    *p = (struct guard_put){.outer = req, .cb = cb, .g = g, .install = trailing == 0};
    p->inner.data = p;
    g->installing = g->installing || p->install;
    int rc = g->inner->snapshot_put(g->inner, trailing, &p->inner, snapshot, on_put);
    if (rc != 0) {
        if (p->install)
            pass(g, rc, "installing a checkpoint");
        mem_free(p);
    }
    return rc;
}

static int io_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req,
                           raft_io_snapshot_get_cb cb)
{
    struct guard *g = guard_of(io);
    return g->inner->snapshot_get(g->inner, req, cb);
}

static raft_time io_time(struct raft_io *io)
{
    struct guard *g = guard_of(io);
    return g->inner->time(g->inner);
}

static int io_random(struct raft_io *io, int min, int max)
{
    struct guard *g = guard_of(io);
    return g->inner->random(g->inner, min, max);
}

static int io_async_work(struct raft_io *io, struct raft_io_async_work *req,
                         raft_io_async_work_cb cb)
{
    struct guard *g = guard_of(io);
    return g->inner->async_work(g->inner, req, cb);
}

/* Life. */

void guard_init(struct guard *g, struct raft_io *inner, struct raft *raft,
                const struct guard_events *events, void *ctx)
{
    *g = (struct guard){.inner = inner, .raft = raft, .events = *events, .ctx = ctx};
    g->io = (struct raft_io){
        .version = 2, /* async_work is there */
        .impl = g,
        .init = io_init,
        .close = io_close,
        .load = io_load,
        .start = io_start,
        .bootstrap = io_bootstrap,
        .recover = io_recover,
        .set_term = io_set_term,
        .set_vote = io_set_vote,
        .send = io_send,
        .append = io_append,
        .truncate = io_truncate,
        .snapshot_put = io_snapshot_put,
        .snapshot_get = io_snapshot_get,
        .time = io_time,
        .random = io_random,
        .async_work = io_async_work,
    };
    list_init(&g->held);
    inner->data = g;
}

void guard_fini(struct guard *g)
{
    struct list_node *n;
    while ((n = list_pop(&g->held)))
        mem_free(container_of(n, struct guard_held, node));
    g->held_count = 0;
    raft_configuration_close(&g->committed);
    raft_configuration_init(&g->committed);
}

void guard_step(struct guard *g)
{
    after(g);
}

bool guard_ready(const struct guard *g)
{
    return g->raft->state == RAFT_LEADER &&
           (g->ready_term == g->raft->current_term || MUTANT(READ_BEFORE_BARRIER));
}

bool guard_idle(const struct guard *g)
{
    return !busy(g) && g->raft->snapshot.put.data == NULL && g->raft->snapshot.pending.term == 0;
}

bool guard_can_install(const struct guard *g)
{
    return g->raft->snapshot.pending.term == 0 && g->raft->snapshot.put.data == NULL;
}

void guard_join_begin(struct guard *g)
{
    g->standing = GUARD_ASKING;
}

void guard_join_member(struct guard *g)
{
    wf_assert(g->standing == GUARD_ASKING);
    g->standing = GUARD_MEMBER;
    if (g->events.on_joined)
        g->events.on_joined(g->ctx);
}

/* We may have voted in any term up to this one. A vote for ourselves keeps others from getting a
 * second one of the last. */
void guard_join_catch_up(struct guard *g, raft_term term)
{
    struct raft *r = g->raft;
    wf_assert(g->standing == GUARD_ASKING && r->state == RAFT_FOLLOWER);
    if (term > r->current_term) {
        pass(g, g->inner->set_term(g->inner, term), "storing the term");
        r->current_term = term;
        r->voted_for = 0;
    }
    if (r->voted_for == 0) {
        pass(g, g->inner->set_vote(g->inner, r->id), "storing the vote");
        r->voted_for = r->id;
    }
    g->standing = GUARD_CATCHING;
}

void guard_peer_up(struct guard *g, raft_id id)
{
    struct raft *r = g->raft;
    if (r->state != RAFT_LEADER)
        return;
    for (unsigned i = 0; i < r->configuration.n; i++) {
        struct raft_progress *p = &r->leader_state.progress[i];
        if (r->configuration.servers[i].id != id || p->state != PROGRESS_SNAPSHOT)
            continue;
        p->state = PROGRESS_PROBE;
        p->snapshot_index = 0;
        p->next_index = p->match_index + 1;
    }
}

void guard_peer_lost_log(struct guard *g, raft_id id)
{
    struct raft *r = g->raft;
    if (r->state != RAFT_LEADER)
        return;
    for (unsigned i = 0; i < r->configuration.n; i++) {
        struct raft_progress *p = &r->leader_state.progress[i];
        if (r->configuration.servers[i].id != id)
            continue;
        p->state = PROGRESS_PROBE;
        p->snapshot_index = 0;
        p->match_index = 0;
        p->next_index = guard_last_index(r) + 1;
    }
    LIST_EACH (&g->held, n) {
        struct guard_held *h = container_of(n, struct guard_held, node);
        if (h->message.server_id != id)
            continue;
        list_remove(&h->node);
        g->held_count--;
        mem_free(h);
    }
}

void guard_forget_leader(struct guard *g, raft_id leader)
{
    struct raft *r = g->raft;
    if (r->state != RAFT_FOLLOWER || r->follower_state.current_leader.id != leader)
        return;
    r->follower_state.current_leader.id = 0;
    g->forgot_term = r->current_term;
    after(g);
}

static bool asks_for_pre_votes(const struct raft *r)
{
    return r->state == RAFT_CANDIDATE && r->candidate_state.in_pre_vote;
}

bool guard_expedite(struct guard *g, unsigned retry)
{
    struct raft *r = g->raft;
    if (outsider(g))
        return true;
    bool waits = r->state == RAFT_FOLLOWER && r->follower_state.current_leader.id == 0;
    /* A higher term: we have voted for somebody meanwhile, or a leader told us. */
    if (!(waits || asks_for_pre_votes(r)) || r->current_term != g->forgot_term)
        return true;
    if (rule(g, GUARD_G4_BUSY_TICK) && busy(g))
        return false;
    if (waits)
        r->follower_state.randomized_election_timeout = 0;
    else
        r->candidate_state.randomized_election_timeout = 0;
    g->tick(&g->io);
    if (r->state == RAFT_CANDIDATE)
        r->candidate_state.randomized_election_timeout = retry;
    after(g);
    return !asks_for_pre_votes(r);
}
