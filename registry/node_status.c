#include <stdio.h>

#include "base/core/assert.h"
#include "base/core/log.h"
#include "registry/node_impl.h"

/* Leader watches: under the lock. */

static void on_watch_post(struct env_post *post)
{
    struct reg_leader_watch *w = container_of(post, struct reg_leader_watch, post);
    struct reg_node *n = __atomic_load_n(&w->owner, __ATOMIC_ACQUIRE);
    if (!n) {
        mem_free(w);
        return;
    }
    pthread_mutex_lock(&n->lock);
    w->posted = false;
    pthread_mutex_unlock(&n->lock);
    w->fn(w->ctx);
}

struct reg_leader_watch *reg_leader_watch_open(struct reg_node *node, struct env *env,
                                               void (*fn)(void *ctx), void *ctx)
{
    struct reg_leader_watch *w = MEM_NEW(struct reg_leader_watch);
    *w = (struct reg_leader_watch){
        .owner = node, .env = env, .fn = fn, .ctx = ctx, .post.fn = on_watch_post};
    pthread_mutex_lock(&node->lock);
    list_push(&node->watches, &w->node);
    pthread_mutex_unlock(&node->lock);
    return w;
}

/* On the watch's own env; before the node stops. */
void reg_leader_watch_close(struct reg_leader_watch *w)
{
    if (!w)
        return;
    struct reg_node *n = w->owner;
    pthread_mutex_lock(&n->lock);
    bool posted = w->posted;
    list_remove(&w->node);
    __atomic_store_n(&w->owner, NULL, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&n->lock);
    if (!posted)
        mem_free(w);
}

static void watches_wake(struct reg_node *n)
{
    pthread_mutex_lock(&n->lock);
    LIST_EACH (&n->watches, node) {
        struct reg_leader_watch *w = container_of(node, struct reg_leader_watch, node);
        if (w->posted)
            continue;
        w->posted = true;
        env_post(w->env, &w->post);
    }
    pthread_mutex_unlock(&n->lock);
}

void node_watch_fini(struct reg_node *n)
{
    wf_assert(list_empty(&n->watches)); /* close them before reg_node_stop */
}

/* Who answers. */

/* A connection alone is no sign of life: the kernel keeps that of a process that hangs. */
bool node_member_connected(const struct reg_node *n, uint64_t id)
{
    if (id == n->opt.id)
        return true;
    return n->io.peers && peers_connected(n->io.peers, id) &&
           peers_last_contact(n->io.peers, id) < NODE_SILENT_ELECTIONS * n->opt.election_timeout;
}

/* Two followers have nothing to say to each other, and would look dead to each other. A pong of no
 * round is read by nobody. */
static void greet(struct reg_node *n)
{
    uint64_t no_round = 0;
    wf_ms now = env_now(n->env);
    if (now - n->greeted < n->opt.election_timeout)
        return;
    n->greeted = now;
    for (size_t i = 0; i < n->opt.member_count; i++)
        if (n->opt.members[i].id != n->opt.id)
            raftio_send(&n->io, n->opt.members[i].id, FRAME_READ_PONG, n->raft.current_term,
                        &(struct iovec){&no_round, sizeof(no_round)}, 1);
}

static const char *member_name(const struct reg_node *n, uint64_t id)
{
    for (size_t i = 0; i < n->opt.member_count; i++)
        if (n->opt.members[i].id == id)
            return n->opt.members[i].name;
    return "?";
}

struct names {
    char text[200];
    size_t n, count;
};

static void names_add(struct names *l, const char *name)
{
    int k = snprintf(l->text + l->n, sizeof(l->text) - l->n, "%s%s", l->n ? ", " : "", name);
    l->n = k > 0 && l->n + (size_t)k < sizeof(l->text) ? l->n + (size_t)k : sizeof(l->text) - 1;
    l->count++;
}

void node_no_quorum(struct reg_node *n, struct err *err)
{
    struct names here = {0}, missing = {0};
    for (unsigned i = 0; i < n->raft.configuration.n; i++) {
        const struct raft_server *s = &n->raft.configuration.servers[i];
        bool up = node_member_connected(n, s->id);
        if (s->role == RAFT_VOTER)
            names_add(up ? &here : &missing, member_name(n, s->id));
    }
    if (missing.count == 0)
        err_set(err, ERR_UNAVAILABLE,
                "no leader: all %zu voters answer (%s) and are electing one; try again", here.count,
                here.text);
    else
        err_set(err, ERR_UNAVAILABLE,
                "no quorum: %zu of %zu voters answer (%s); traffic goes on; start the missing "
                "nodes (%s)",
                here.count, here.count + missing.count, here.text, missing.text);
}

static bool majority_connected(const struct reg_node *n)
{
    unsigned up = 0;
    for (unsigned i = 0; i < n->raft.configuration.n; i++) {
        const struct raft_server *s = &n->raft.configuration.servers[i];
        up += s->role == RAFT_VOTER && node_member_connected(n, s->id);
    }
    return up > node_voters(n) / 2;
}

/* Two election timeouts without a majority in reach; twice as long where one is: it is electing. */
bool node_hopeless(struct reg_node *n)
{
    wf_ms now = env_now(n->env);
    bool majority = majority_connected(n);
    if (majority && !n->had_majority)
        n->majority_since = now;
    n->had_majority = majority;
    if (node_leader(n))
        return false;
    if (!majority)
        return now - n->leaderless_since >= 2 * n->opt.election_timeout;
    wf_ms since = n->majority_since > n->leaderless_since ? n->majority_since : n->leaderless_since;
    return now - since >= 4 * n->opt.election_timeout;
}

/* Status. */

static enum reg_role role_of(const struct raft *r)
{
    switch (r->state) {
    case RAFT_LEADER:
        return REG_LEADER;
    case RAFT_CANDIDATE:
        return REG_CANDIDATE;
    case RAFT_FOLLOWER:
        return REG_FOLLOWER;
    default:
        return REG_UNAVAILABLE;
    }
}

static reg_rev match_of(const struct reg_node *n, uint64_t id)
{
    if (n->raft.state != RAFT_LEADER || !n->raft.leader_state.progress)
        return 0;
    for (unsigned i = 0; i < n->raft.configuration.n; i++)
        if (n->raft.configuration.servers[i].id == id)
            return n->raft.leader_state.progress[i].match_index;
    return 0;
}

static enum reg_member_role role_of_member(const struct reg_node *n, uint64_t id)
{
    const struct raft_server *s = conf_find(&n->raft.configuration, id);
    return !s || s->role == RAFT_SPARE ? REG_MEMBER_SPARE
           : s->role == RAFT_VOTER     ? REG_MEMBER_VOTER
                                       : REG_MEMBER_STANDBY;
}

static void status_members(const struct reg_node *n, struct reg_status *s)
{
    s->member_count = n->opt.member_count;
    for (size_t i = 0; i < s->member_count; i++) {
        struct reg_member_status *m = &s->members[i];
        m->member = n->opt.members[i];
        m->self = m->member.id == n->opt.id;
        m->role = role_of_member(n, m->member.id);
        m->connected = node_member_connected(n, m->member.id);
        m->no_room = node_room_none(n, m->member.id);
        m->match_index = m->self ? n->raft.last_stored : match_of(n, m->member.id);
        m->reads = node_version_reads(n, m->member.id);
        const struct peer_program *p =
            n->io.peers ? peers_program(n->io.peers, m->member.id) : NULL;
        snprintf(m->release, sizeof(m->release), "%s",
                 m->self ? WEFT_VERSION
                 : p     ? p->release
                         : "");
        m->last_contact = m->self       ? 0
                          : n->io.peers ? peers_last_contact(n->io.peers, m->member.id)
                                        : -1;
    }
}

/* A follower has a leader only while it hears of it (libraft keeps the name until its timer ends).
 */
static bool has_quorum(const struct reg_node *n)
{
    uint64_t leader = node_leader(n);
    if (!leader)
        return false;
    if (leader == n->opt.id)
        return guard_ready(&n->guard);
    return n->io.peers && peers_last_contact(n->io.peers, leader) >= 0 &&
           peers_last_contact(n->io.peers, leader) < n->opt.election_timeout;
}

static void status_store(struct reg_node *n, struct reg_status *s)
{
    struct reg_store_usage usage = {0};
    struct reg_txn txn;
    struct err err = {0};
    reg_store_usage(n->store, &usage);
    s->store_bytes_used = usage.used_bytes;
    s->store_bytes_map = usage.map_bytes;
    node_room_used(n, &usage);
    reg_quota_tell(n->store);
    s->object_bytes = usage.object_bytes;
    s->history_bytes = usage.history_bytes;
    s->quota_bytes = n->opt.quota_bytes;
    s->over_quota = n->over_quota;
    if (reg_txn_begin(n->store, &txn, &err)) {
        s->state_hash = reg_state_hash(&txn);
        reg_txn_end(&txn);
    }
}

void node_status_publish(struct reg_node *n)
{
    struct reg_status s = {
        .role = role_of(&n->raft),
        .term = n->raft.current_term,
        .leader_id = node_leader(n),
        .last_index = guard_last_index(&n->raft),
        .commit_index = n->raft.commit_index,
        .applied_index = n->committed,
        .quorum = has_quorum(n),
        .leader_changes = n->leader_changes,
        .fresh_at = n->fresh_at,
        .version = n->version,
        .reads_refused = n->reads_refused,
        .read_repeats = n->read_repeats,
        .disk_free_bytes = n->room,
        .disk_room_bytes = n->opt.room_bytes,
        .log_bytes = log_disk_bytes(n->io.log),
        .leases = {.held = n->leases.timed.n,
                   .registrations = n->leases.registrations,
                   .held_back = n->leases.holds ? n->leases.due : 0,
                   .expired = n->leases.expired,
                   .renewed = n->renewed},
        .peers_refused = n->io.peers ? peers_refused(n->io.peers) : 0,
        .peer_certificate_until = n->tls ? peer_tls_until(n->tls) : 0,
        .signs = n->opt.ca_dir != NULL,
        .enrolls_refused = n->enrols_refused,
    };
    if (n->tls)
        memcpy(s.peer_ca_sha256, peer_tls_ca_sha256(n->tls), sizeof(s.peer_ca_sha256));
    status_members(n, &s);
    status_store(n, &s);
    node_metrics_refresh(n, &s);
    pthread_mutex_lock(&n->lock);
    n->status = s;
    pthread_mutex_unlock(&n->lock);
}

/* After the commit: the store's own lock is not to be taken inside a write transaction. */
void node_status_advance(struct reg_node *n)
{
    if (n->status_due)
        node_status_publish(n);
    n->status_due = false;
    if (n->watch_due)
        watches_wake(n);
    n->watch_due = false;
}

void reg_node_status(struct reg_node *node, struct reg_status *ret_status)
{
    pthread_mutex_lock(&node->lock);
    *ret_status = node->status;
    pthread_mutex_unlock(&node->lock);
}

/* Changes of leader and role. */

static void leader_changed(struct reg_node *n, uint64_t leader)
{
    if (leader && leader != n->seen_leader)
        n->leader_changes++;
    if (!leader && n->seen_leader)
        n->leaderless_since = env_now(n->env);
    LOG_INFO("registry.leader", F_U64("node", n->opt.id), F_U64("leader", leader),
             F_U64("term", n->raft.current_term));
    node_write_recall(n);
    node_read_recall(n);
    node_lease_recall(n);
}

void node_status_on_step(struct reg_node *n)
{
    uint64_t leader = node_leader(n);
    bool changed = leader != n->seen_leader || n->raft.state != n->seen_state;
    if (!changed && n->raft.current_term == n->seen_term)
        return;
    if (leader != n->seen_leader || n->raft.current_term != n->seen_term)
        leader_changed(n, leader);
    n->seen_leader = leader;
    n->seen_state = n->raft.state;
    n->seen_term = n->raft.current_term;
    n->status_due = true;
    n->watch_due = n->watch_due || changed;
    node_turn(n);
}

/* Ticks, and the election after a death. */

static void on_tick(struct env_timer *t)
{
    struct reg_node *n = container_of(t, struct reg_node, tick);
    env_timer_start(n->env, t, n->opt.heartbeat_timeout);
    node_write_tick(n);
    node_read_tick(n);
    node_member_tick(n);
    node_version_tick(n);
    node_lease_tick(n);
    node_join_ask(n);
    greet(n);
    node_room_tick(n);
    n->status_due = true;
    node_turn(n);
}

/* How many of those who may stand come before us: they get their chance first, so that two do not
 * take each other's vote. */
static unsigned rank(const struct reg_node *n)
{
    unsigned before = 0;
    for (size_t i = 0; i < n->opt.member_count; i++) {
        uint64_t id = n->opt.members[i].id;
        if (id < n->opt.id && peers_connected(n->io.peers, id))
            before++;
    }
    return before;
}

static void expedite_after(struct reg_node *n, wf_ms delay)
{
    env_timer_start(n->env, &n->expedite, delay);
}

static void on_expedite(struct env_timer *t)
{
    struct reg_node *n = container_of(t, struct reg_node, expedite);
    unsigned retry =
        (unsigned)(n->opt.heartbeat_timeout +
                   (wf_ms)env_random_below(n->env, (uint64_t)n->opt.election_timeout / 2));
    if (n->stop != NODE_RUNS || guard_expedite(&n->guard, retry) ||
        n->expedite_tries == NODE_EXPEDITE_TRIES_MAX)
        return;
    /* Busy with a write; or the others have not noticed yet, and refused. */
    n->expedite_tries++;
    expedite_after(n, (wf_ms)n->expedite_tries * NODE_EXPEDITE_AGAIN_MS +
                          (wf_ms)env_random_below(n->env, NODE_EXPEDITE_JITTER_MS));
}

void node_status_on_gone(struct reg_node *n, uint64_t id)
{
    if (n->stop != NODE_RUNS || n->raft.state != RAFT_FOLLOWER || node_leader(n) != id)
        return;
    LOG_WARN("registry.leader.gone", F_U64("node", n->opt.id), F_U64("leader", id));
    guard_forget_leader(&n->guard, id);
    n->expedite_tries = 0;
    expedite_after(n, (wf_ms)rank(n) * NODE_EXPEDITE_RANK_MS +
                          (wf_ms)env_random_below(n->env, NODE_EXPEDITE_JITTER_MS));
}

void node_status_init(struct reg_node *n)
{
    n->tick.fn = on_tick;
    n->expedite.fn = on_expedite;
    n->leaderless_since = env_now(n->env);
    env_timer_start(n->env, &n->tick, n->opt.heartbeat_timeout);
}

const char *reg_member_name(const struct reg_status *st, uint64_t id)
{
    for (size_t i = 0; i < st->member_count; i++)
        if (st->members[i].member.id == id)
            return st->members[i].member.name;
    return "";
}
