#include "registry/node.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/core/log.h"
#include "base/core/mutant.h"
#include "registry/node_impl.h"

#define ELECTION_TIMEOUT_DEFAULT_MS 300
#define HEARTBEAT_TIMEOUT_DEFAULT_MS 50
#define SNAPSHOT_LOG_BYTES_DEFAULT (64u << 20)
#define HISTORY_DEFAULT 100000
#define VERSION_SETTLE_DEFAULT_MS 10000
#define STORE_BYTES_DEFAULT (1ull << 30)
#define INSTALL_TIMEOUT_MS (10 * 60 * 1000)
#define PATH_BYTES 4096

/* Small questions. */

bool node_leads(const struct reg_node *n)
{
    return n->raft.state == RAFT_LEADER;
}

uint64_t node_leader(const struct reg_node *n)
{
    if (n->raft.state == RAFT_LEADER)
        return n->raft.id;
    return n->raft.state == RAFT_FOLLOWER ? n->raft.follower_state.current_leader.id : 0;
}

unsigned node_voters(const struct reg_node *n)
{
    unsigned voters = 0;
    for (unsigned i = 0; i < n->raft.configuration.n; i++)
        voters += n->raft.configuration.servers[i].role == RAFT_VOTER;
    return voters;
}

/* State machine. */

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct reg_node *n = fsm->data;
    /* libraft 0.15 counts last_applied up only after this call. */
    raft_index index = n->raft.last_applied + 1;
    *result = NULL;
    uint64_t began = env_now_ns(n->env);
    reg_fsm_apply(n->store, index, guard_term_of(&n->raft, index), slice_mem(buf->base, buf->len),
                  node_write_on_result, n);
    node_metrics_since(n, n->cells.apply, began);
    node_turn(n);
    return 0;
}

/* The store must not get ahead of the log: after a crash the node would look as if it had lost
 * entries. The first entry all members of a new cluster make for themselves: the others can commit
 * it while a slow disk does not have ours. Later ones libraft 0.15 applies only when our disk has
 * them too (replicationUpdate); Raft does not ask for that, and later versions do not do it. */
static bool applied_is_durable(const struct reg_node *n)
{
    return MUTANT(STORE_AHEAD) ||
           (raftio_begun(&n->io) && n->raft.last_stored >= n->raft.last_applied);
}

static void store_commit(struct reg_node *n)
{
    raft_index applied = n->raft.last_applied;
    raft_term term = guard_term_of(&n->raft, applied);
    if (applied <= n->committed || term == 0 || !applied_is_durable(n))
        return;
    uint64_t began = env_now_ns(n->env);
    reg_fsm_commit(n->store, applied, term);
    node_metrics_since(n, n->cells.store_commit, began);
    n->committed = applied;
    raftio_set_genesis(&n->io, reg_store_genesis(n->store));
    node_version_advance(n);
}

/* After a start entries go through Raft again, bit by bit, while the members are those of a later
 * one. A snapshot in the middle of them no node would take. */
static bool members_are_later(const struct reg_node *n)
{
    return n->raft.configuration_index > n->raft.last_applied;
}

/* What is copied holds at least what Raft says the snapshot holds: commit first. */
static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct reg_node *n = fsm->data;
    /* A snapshot holds the configuration that libraft uses, which must be committed. */
    if (!applied_is_durable(n) || members_are_later(n) || n->raft.configuration_uncommitted_index)
        return RAFT_BUSY; /* libraft tries again after the next entry */
    struct raft_buffer *b = raft_malloc(sizeof(*b));
    if (!b)
        wf_die("out of memory");
    store_commit(n);
    wf_assert(n->committed >= n->raft.last_applied);
    b->len = SNAPSHOT_DATA_BYTES;
    b->base = raft_calloc(1, b->len);
    *bufs = b;
    *n_bufs = 1;
    return 0;
}

static struct snapshot_file snapshot_file_of(const struct reg_checkpoint *c)
{
    struct snapshot_file f = {.index = c->index, .term = c->term, .bytes = c->bytes};
    memcpy(f.sha256, c->sha256, sizeof(f.sha256));
    return f;
}

/* On a helper thread. */
static int fsm_snapshot_async(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct reg_node *n = fsm->data;
    char path[SNAPSHOT_PATH_BYTES];
    struct reg_checkpoint c;
    struct err err = {0};
    wf_assert(*n_bufs == 1);
    if (!reg_store_checkpoint(n->store, snapshot_temp_path(n->dir, path), &c, &err)) {
        LOG_ERROR("registry.checkpoint.failed", F_U64("node", n->opt.id), F_ERR(&err));
        return RAFT_IOERR;
    }
    struct snapshot_file f = snapshot_file_of(&c);
    snapshot_file_encode((*bufs)[0].base, &f);
    return 0;
}

static void heap_work(struct env_work *w)
{
    (void)w;
    mem_trim();
}

static void heap_done(struct env_work *w)
{
    container_of(w, struct reg_node, heap)->heap_busy = false;
}

/* The log's entries lie between others: freed, they stay with the allocator. Not while much is
 * written, which takes their place at once. */
static void heap_give_back(struct reg_node *n)
{
    if (!n->heap_due || n->heap_busy || n->stop >= NODE_TRANSFERS)
        return;
    n->heap_due = false;
    n->heap_busy = true;
    n->heap = (struct env_work){.work = heap_work, .done = heap_done};
    env_work(n->env, &n->heap);
}

/* Taken, the log is shorter; or it failed. */
static int fsm_snapshot_finalize(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    heap_give_back(fsm->data);
    for (unsigned i = 0; *bufs && i < *n_bufs; i++)
        raft_free((*bufs)[i].base);
    raft_free(*bufs);
    *bufs = NULL;
    *n_bufs = 0;
    return 0;
}

static struct reg_checkpoint checkpoint_of(const struct snapshot_file *f)
{
    struct reg_checkpoint c = {.index = f->index, .term = f->term, .bytes = f->bytes};
    memcpy(c.sha256, f->sha256, sizeof(c.sha256));
    return c;
}

/* Into the store, unless it is newer: entries that it has are skipped when they come again. */
static bool checkpoint_restore(struct reg_node *n, const struct snapshot_file *f, struct err *err)
{
    char path[SNAPSHOT_PATH_BYTES];
    struct reg_checkpoint c = checkpoint_of(f);
    uint64_t applied, term;
    reg_store_applied(n->store, &applied, &term);
    if (applied >= f->index)
        return true;
    snapshot_file_path(n->dir, f->index, snapshot_file_tag(f), path);
    if (!reg_store_restore(n->store, path, &c, err))
        return false;
    node_lease_load(n);
    LOG_INFO("registry.restored", F_U64("node", n->opt.id), F_U64("index", f->index));
    return true;
}

/* The newest, or the one before it, from which the log goes on as well. */
static bool checkpoint_begin(struct reg_node *n, struct err *err)
{
    struct err why = {0};
    if (!n->io.has_manifest || checkpoint_restore(n, &n->io.manifest.file, &why))
        return true;
    if (why.code != ERR_CORRUPT)
        return err_set(err, why.code, "%s", why.msg);
    return raftio_fall_back(&n->io, &why, err) && checkpoint_restore(n, &n->io.manifest.file, err);
}

/* At start, when nothing is left to do (node_begin), and when a leader sent a checkpoint. */
static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct reg_node *n = fsm->data;
    struct snapshot_file f;
    struct err err = {0};
    uint64_t applied, term;
    if (!snapshot_file_decode(slice_mem(buf->base, buf->len), &f, &err) ||
        !checkpoint_restore(n, &f, &err))
        wf_die("registry %s: %s: the node stops, the others go on", n->dir, err.msg);
    reg_store_applied(n->store, &applied, &term);
    /* Writes of ours may be in what was skipped: sent again, they are answered from memory. */
    if (n->raft_started && applied > n->committed)
        node_write_recall(n);
    raftio_set_genesis(&n->io, reg_store_genesis(n->store));
    node_version_advance(n);
    n->committed = applied;
    raft_free(buf->base);
    return 0;
}

static bool verify(void *ctx, const char *path, const struct snapshot_file *f, struct err *err)
{
    struct reg_checkpoint c = checkpoint_of(f);
    (void)ctx;
    return reg_checkpoint_verify(path, &c, err);
}

/* The turn. */

/* Is the last one old enough for one after less log? */
static bool checkpoint_rested(struct reg_node *n)
{
    uint64_t last = n->raft.log.snapshot.last_index;
    if (last != n->checkpoint_seen || !n->checkpoint_at) {
        n->checkpoint_seen = last;
        n->checkpoint_at = env_now(n->env);
    }
    return env_now(n->env) - n->checkpoint_at >= n->opt.snapshot_rest;
}

static void checkpoint_when_due(struct reg_node *n)
{
    struct raft *r = &n->raft;
    uint64_t bytes = raftio_log_bytes(&n->io), much = n->opt.snapshot_log_bytes;
    uint64_t little = much / NODE_SNAPSHOT_REST_PART, state = 0;
    bool rested = checkpoint_rested(n);
    if (!guard_can_install(&n->guard))
        return; /* one is being made */
    if (bytes >= little) {
        struct reg_store_usage usage;
        reg_store_usage(n->store, &usage);
        state = usage.used_bytes;
    }
    if (little < state / NODE_SNAPSHOT_REST_PART)
        little = state / NODE_SNAPSHOT_REST_PART;
    rested = rested && bytes >= little && bytes < much;
    /* Not while one is on its way to a node, unless the log grows without measure. */
    bool due =
        (bytes >= much || rested) && (!raftio_serving_checkpoint(&n->io) || bytes >= 4 * much);
    /* The room of the one before is better used for a new one, than that the log grows on. */
    if (due && !node_room_for(n, state))
        due = !rested && raftio_drop_older(&n->io) && node_room_for(n, 0);
    n->heap_due = due && rested;
    raft_set_snapshot_threshold(r, due ? 1 : UINT_MAX);
    raft_index since = r->last_applied - r->log.snapshot.last_index;
    /* Half of it stays for those who are behind; when little is written, not more than a little. */
    raft_index keep = rested && bytes > 2 * little ? since * little / bytes : since / 2;
    raft_set_snapshot_trailing(r, keep > NODE_TRAILING_ENTRIES_MIN ? (unsigned)keep
                                                                   : NODE_TRAILING_ENTRIES_MIN);
}

static void stop_advance(struct reg_node *n);

/* At the end of the loop's turn: one commit for all that was applied, answers, then the next entry,
 * which holds all that came meanwhile. */
static void on_turn(struct env_task *t)
{
    struct reg_node *n = container_of(t, struct reg_node, turn);
    if (n->raft_closed)
        return;
    store_commit(n);
    node_member_advance(n);
    node_write_answer_done(n);
    node_read_advance(n);
    node_write_advance(n);
    node_lease_advance(n);
    guard_tell_commit(&n->guard);
    checkpoint_when_due(n);
    node_status_advance(n);
}

void node_turn(struct reg_node *n)
{
    env_defer(n->env, &n->turn);
}

static void on_step(void *ctx)
{
    struct reg_node *n = ctx;
    if (!n->raft_started)
        return;
    if (n->raft.state == RAFT_UNAVAILABLE && n->stop < NODE_CLOSES)
        wf_die("registry node %llu: raft stopped: %s: the node stops, the others go on",
               (unsigned long long)n->opt.id, raft_errmsg(&n->raft));
    node_status_on_step(n);
    bool other_members = n->raft.configuration_index != n->conf_seen ||
                         n->raft.configuration_uncommitted_index != n->conf_seen_uncommitted;
    n->conf_seen = n->raft.configuration_index;
    n->conf_seen_uncommitted = n->raft.configuration_uncommitted_index;
    if (n->raft.last_applied > n->committed || guard_ready(&n->guard) || other_members)
        node_turn(n);
}

static void on_joined(void *ctx)
{
    struct reg_node *n = ctx;
    LOG_INFO("registry.joined", F_U64("node", n->opt.id), F_U64("term", n->raft.current_term));
    raftio_set_joined(&n->io);
    node_known_keep(n);
    node_member_tell(n, 0);
}

static const struct guard_events guard_events = {.on_step = on_step, .on_joined = on_joined};

/* Frames that are not Raft's. */

static void on_frame(void *ctx, uint64_t from, const struct frame *f)
{
    struct reg_node *n = ctx;
    switch (f->type) {
    case FRAME_READ_PING:
    case FRAME_READ_PONG:
    case FRAME_READ_INDEX:
    case FRAME_READ_INDEX_RESULT:
        node_read_on_frame(n, from, f);
        break;
    case FRAME_FORWARD:
        node_write_on_forward(n, from, f);
        break;
    case FRAME_FORWARD_REFUSED:
        node_write_on_refused(n, f);
        break;
    case FRAME_LEASE_RENEW:
    case FRAME_LEASE_RENEWED:
        node_lease_on_frame(n, from, f);
        break;
    case FRAME_JOIN_ASK:
        node_join_on_ask(n, from);
        break;
    case FRAME_JOIN_STATE:
        node_join_on_state(n, from, f);
        break;
    case FRAME_STANDING:
    case FRAME_MEMBER_ASK:
    case FRAME_MEMBER_STATE:
        node_member_on_frame(n, from, f);
        break;
    case FRAME_ROOM:
        node_room_on_frame(n, from, f);
        break;
    case FRAME_CHANNEL:
        node_channel_on_frame(n, from, f);
        break;
    default:
        LOG_WARN("registry.peer.protocol", F_U64("from", from), F_I64("type", f->type));
    }
}

static void on_up(void *ctx, uint64_t id)
{
    struct reg_node *n = ctx;
    guard_peer_up(&n->guard, id);
    node_member_tell(n, id);
    node_join_ask(n);
    node_turn(n);
}

static void on_down(void *ctx, uint64_t id)
{
    struct reg_node *n = ctx;
    node_channel_on_down(n, id);
    node_member_on_down(n, id);
    if (id == node_leader(n)) {
        node_write_recall(n);
        node_read_recall(n);
        node_lease_recall(n);
    }
}

/* The answer to a snapshot may be lost with the connection that it was to come over. */
static void on_heard(void *ctx, uint64_t id)
{
    struct reg_node *n = ctx;
    guard_peer_up(&n->guard, id);
}

static void on_gone(void *ctx, uint64_t id)
{
    node_status_on_gone(ctx, id);
}

/* A checkpoint file that is not what it was: the store holds all that it held. */

static void remake_work(struct env_work *w)
{
    struct reg_node *n = container_of(w, struct reg_node, remake);
    char path[SNAPSHOT_PATH_BYTES];
    err_clear(&n->remake_err);
    reg_store_checkpoint(n->store, snapshot_remade_path(n->dir, path), &n->remade, &n->remake_err);
}

static void remake_done(struct env_work *w)
{
    struct reg_node *n = container_of(w, struct reg_node, remake);
    struct snapshot_file f = snapshot_file_of(&n->remade);
    n->io.works--;
    n->remaking = false;
    if (n->remake_err.code == ERR_NONE)
        raftio_replace_checkpoint(&n->io, &f, &n->remake_err);
    if (n->remake_err.code)
        LOG_ERROR("registry.checkpoint.failed", F_U64("node", n->opt.id), F_ERR(&n->remake_err));
    else
        LOG_INFO("registry.checkpoint.remade", F_U64("node", n->opt.id), F_U64("index", f.index));
}

static void on_damaged(void *ctx)
{
    struct reg_node *n = ctx;
    if (n->remaking)
        return;
    n->remaking = true;
    n->remake = (struct env_work){.work = remake_work, .done = remake_done};
    n->io.works++;
    env_work(n->env, &n->remake);
}

static void on_enroll(void *ctx, struct slice payload, struct env_stream *s)
{
    node_enroll_on_ask(ctx, payload, s);
}

static const struct raftio_events raftio_events = {.on_frame = on_frame,
                                                   .on_up = on_up,
                                                   .on_down = on_down,
                                                   .on_heard = on_heard,
                                                   .on_gone = on_gone,
                                                   .on_enroll = on_enroll,
                                                   .on_damaged = on_damaged,
                                                   .make_room = node_room_make,
                                                   .verify = verify};

/* Start. */

static const struct reg_member *find_member(const struct reg_node_options *opt, uint64_t id)
{
    for (size_t i = 0; i < opt->member_count; i++)
        if (opt->members[i].id == id)
            return &opt->members[i];
    return NULL;
}

static bool options_ok(const struct reg_node_options *opt, struct err *err)
{
    if (opt->member_count == 0 || opt->member_count > REG_NODES_MAX)
        return err_set(err, ERR_INVALID, "cluster of %zu members; 1 to %d are possible",
                       opt->member_count, REG_NODES_MAX);
    if (!find_member(opt, opt->id))
        return err_set(err, ERR_INVALID, "node %llu is not one of the cluster's members",
                       (unsigned long long)opt->id);
    for (size_t i = 0; i < opt->member_count; i++) {
        const struct reg_member *m = &opt->members[i];
        char text[ENV_ADDR_TEXT];
        if (m->id == 0 || find_member(opt, m->id) != m)
            return err_set(err, ERR_INVALID, "member %s: id %llu is zero or used twice", m->name,
                           (unsigned long long)m->id);
        if (!opt->peer_tls_dir && !env_addr_loopback(&m->addr))
            return err_set(err, ERR_FORBIDDEN,
                           "member %s at %.*s: without TLS peers speak on loopback addresses only; "
                           "make certificates with `weftd init`",
                           m->name, SLICE(env_addr_format(&m->addr, text)));
    }
    if (opt->heartbeat_timeout * 3 > opt->election_timeout)
        return err_set(err, ERR_INVALID,
                       "heartbeat %lld ms, election %lld ms: at least three heartbeats must fit",
                       (long long)opt->heartbeat_timeout, (long long)opt->election_timeout);
    return versions_check(versions_or_all(opt->reads), err);
}

static void options_default(struct reg_node_options *o)
{
    o->election_timeout = o->election_timeout ? o->election_timeout : ELECTION_TIMEOUT_DEFAULT_MS;
    o->heartbeat_timeout =
        o->heartbeat_timeout ? o->heartbeat_timeout : HEARTBEAT_TIMEOUT_DEFAULT_MS;
    o->segment_bytes = o->segment_bytes ? o->segment_bytes : LOG_SEGMENT_BYTES_DEFAULT;
    o->snapshot_log_bytes =
        o->snapshot_log_bytes ? o->snapshot_log_bytes : SNAPSHOT_LOG_BYTES_DEFAULT;
    o->snapshot_rest = o->snapshot_rest ? o->snapshot_rest : NODE_SNAPSHOT_REST_DEFAULT_MS;
    o->history_revisions = o->history_revisions ? o->history_revisions : HISTORY_DEFAULT;
    o->quota_bytes = o->quota_bytes ? o->quota_bytes : NODE_QUOTA_BYTES_DEFAULT;
    if (!o->room_bytes)
        o->room_bytes = 2 * o->segment_bytes > NODE_ROOM_BYTES_DEFAULT ? 2 * o->segment_bytes
                                                                       : NODE_ROOM_BYTES_DEFAULT;
    o->store_bytes = o->store_bytes ? o->store_bytes : STORE_BYTES_DEFAULT;
    o->reads = versions_or_all(o->reads);
    o->version_settle = o->version_settle ? o->version_settle : VERSION_SETTLE_DEFAULT_MS;
}

/* Of ids and addresses of the initial members, in the order of ids: equal on all of them. */
uint64_t node_cluster_id(const struct reg_node_options *opt)
{
    struct buf b = {0};
    for (size_t done = 0, last = 0; done < opt->member_count; done++) {
        const struct reg_member *next = NULL;
        for (size_t i = 0; i < opt->member_count; i++) {
            const struct reg_member *m = &opt->members[i];
            if (m->id > last && (!next || m->id < next->id))
                next = m;
        }
        char text[ENV_ADDR_TEXT];
        buf_u64le(&b, next->id);
        buf_append(&b, env_addr_format(&next->addr, text));
        last = next->id;
    }
    uint64_t id = hash_bytes(buf_slice(&b));
    buf_fini(&b);
    return id;
}

static bool lock_dir(struct reg_node *n, struct err *err)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/lock", n->dir);
    struct err e = {0};
    n->dir_lock = env_lock_take(n->env, path, &e);
    if (!n->dir_lock && e.code == ERR_UNAVAILABLE)
        return err_set(err, ERR_UNAVAILABLE, "%s is in use by another process", n->dir);
    return n->dir_lock || err_set(err, e.code, "%s", e.msg);
}

static struct reg_store_options store_options(struct reg_node *n, const char *dir)
{
    return (struct reg_store_options){.env = n->env,
                                      .dir = dir,
                                      .map_bytes = n->opt.store_bytes,
                                      .history_revisions = n->opt.history_revisions,
                                      .history_bytes = n->opt.quota_bytes,
                                      .step_bytes = n->opt.room_bytes / 8,
                                      .verify = true,
                                      .reads = n->opt.reads,
                                      .on_lease = node_lease_on_change,
                                      .ctx = n};
}

/* data.mdb is checked while the log is scanned: each takes as long as the other. */
static void store_begin(struct reg_node *n)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/store", n->dir);
    struct reg_store_options opt = store_options(n, path);
    n->store_begun = reg_store_open_begin(&opt);
}

/* LMDB is a cache of checkpoint and log: what is damaged is made anew from them. */
static bool store_open(struct reg_node *n, struct err *err)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/store", n->dir);
    struct reg_store_options opt = store_options(n, path);
    struct err e = {0};
    n->store = reg_store_open_end(n->store_begun, &e);
    n->store_begun = NULL;
    if (!n->store && e.code == ERR_CORRUPT) {
        LOG_WARN("registry.store.rebuild", F_CSTR("dir", path), F_ERR(&e));
        n->store = reg_store_discard(n->env, path, err) ? reg_store_open(&opt, err) : NULL;
        return n->store != NULL;
    }
    return n->store || err_set(err, e.code, "%s", e.msg);
}

/* The log is synced before anything is applied: a log that ends before the store has lost what this
 * node acknowledged, and a majority that counts on it would be none. */
static bool log_covers_store(struct reg_node *n, struct err *err)
{
    uint64_t applied, term, last = raftio_recovered_index(&n->io);
    reg_store_applied(n->store, &applied, &term);
    n->committed = applied;
    raftio_set_genesis(&n->io, reg_store_genesis(n->store));
    node_version_advance(n);
    if (last >= applied || MUTANT(LOG_MAY_BE_SHORT))
        return true;
    return err_set(err, ERR_CORRUPT,
                   "%s: the log ends at %llu, but %llu was applied: acknowledged entries are lost; "
                   "the node must not vote",
                   n->dir, (unsigned long long)last, (unsigned long long)applied);
}

static bool raft_ok(struct reg_node *n, int rc, const char *what, struct err *err)
{
    if (rc == 0)
        return true;
    const char *why = n->io.io.errmsg[0] ? n->io.io.errmsg : raft_strerror(rc);
    return err_set(err, rc == RAFT_CORRUPT ? ERR_CORRUPT : ERR_IO, "%s: %s", what, why);
}

static bool bootstrap(struct reg_node *n, struct err *err)
{
    struct raft_configuration conf;
    int rc = 0;
    raft_configuration_init(&conf);
    for (size_t i = 0; rc == 0 && i < n->opt.member_count; i++)
        rc = raft_configuration_add(&conf, n->opt.members[i].id,
                                    raftio_address(&n->io, n->opt.members[i].id), RAFT_VOTER);
    if (rc == 0)
        rc = raft_bootstrap(&n->raft, &conf);
    raft_configuration_close(&conf);
    return raft_ok(n, rc, "bootstrap", err);
}

/* Who belongs to it the cluster says; what the options name besides is nobody's. But an id that
 * means one node here and another there is a mistake that must not be lived with. */
static bool members_fit(struct reg_node *n, struct err *err)
{
    if (!n->opt.newcomer && n->raft.configuration_index == 1 &&
        n->raft.configuration.n != n->opt.member_count)
        return err_set(err, ERR_INVALID,
                       "%s was made for a cluster of %u, the options name %zu members: begin with "
                       "the members that it had, others are added while it runs",
                       n->dir, n->raft.configuration.n, n->opt.member_count);
    for (unsigned i = 0; i < n->raft.configuration.n; i++) {
        const struct raft_server *s = &n->raft.configuration.servers[i];
        const struct reg_member *o = find_member(&n->opt, s->id);
        struct peer_member m;
        if (!conf_member_parse(s->id, s->address, &m, err))
            return false;
        if (o && strcmp(o->name, m.name) != 0)
            return err_set(err, ERR_INVALID,
                           "%s: member %llu is %s there, and %s in the options: ids go by the "
                           "order of names; name the members that it began with",
                           n->dir, (unsigned long long)s->id, m.name, o->name);
    }
    return true;
}

static void conf_begin(struct reg_node *n)
{
    uint64_t applied, term;
    const struct snapshot_manifest *m = n->io.has_manifest ? &n->io.manifest : NULL;
    reg_store_applied(n->store, &applied, &term);
    guard_conf_begin(&n->guard, applied, m ? &m->conf : NULL, m ? m->conf_index : 0);
}

static int member_cmp(const void *a, const void *b)
{
    const struct reg_member *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* With certificates the cluster is the one that they name; without, the one of these addresses. */
static uint64_t cluster_of(const struct reg_node *n)
{
    if (n->tls)
        return peer_tls_self(n->tls)->cluster;
    return n->opt.newcomer ? n->opt.cluster : node_cluster_id(&n->opt);
}

static bool tls_open(struct reg_node *n, struct err *err)
{
    if (!n->opt.peer_tls_dir)
        return true;
    n->tls = peer_tls_open(n->env, n->opt.peer_tls_dir, err);
    if (!n->tls)
        return false;
    uint64_t id = peer_tls_self(n->tls)->node;
    return id == n->opt.id ||
           err_set(err, ERR_INVALID,
                   "%s has the certificate of node %llu, this is node %llu (ids count the members' "
                   "names in their order)",
                   n->opt.peer_tls_dir, (unsigned long long)id, (unsigned long long)n->opt.id);
}

/* The directory remembers its first cluster. */
static bool tls_fits(struct reg_node *n, struct err *err)
{
    uint64_t cluster = cluster_of(n);
    return !n->tls || n->io.cluster == cluster ||
           err_set(err, ERR_INVALID,
                   "%s is of cluster %016llx, the certificates in %s are of cluster %016llx: they "
                   "belong to another cluster, or this one began without TLS",
                   n->dir, (unsigned long long)n->io.cluster, n->opt.peer_tls_dir,
                   (unsigned long long)cluster);
}

static bool io_open(struct reg_node *n, struct err *err)
{
    struct peer_member members[REG_NODES_MAX] = {0};
    for (size_t i = 0; i < n->opt.member_count; i++) {
        members[i].id = n->opt.members[i].id;
        members[i].addr = n->opt.members[i].addr;
        snprintf(members[i].name, sizeof(members[i].name), "%s", n->opt.members[i].name);
    }
    return raftio_open(
        &n->io,
        &(struct raftio_options){.env = n->env,
                                 .dir = n->dir,
                                 .self = n->opt.id,
                                 .cluster = cluster_of(n),
                                 .members = members,
                                 .member_count = n->opt.member_count,
                                 .birth = n->birth,
                                 .reads = n->opt.reads,
                                 .user_timeout = 2 * n->opt.election_timeout,
                                 /* with a way that takes longer no leader stays one */
                                 .connect_timeout = n->opt.election_timeout,
                                 .tls = n->tls,
                                 .enrolls = n->opt.ca_dir != NULL,
                                 .segment_bytes = n->opt.segment_bytes,
                                 .log_cells = n->cells.log,
                                 .raft = &n->raft,
                                 .events = &raftio_events,
                                 .ctx = n},
        err);
}

static bool raft_begin(struct reg_node *n, struct err *err)
{
    n->fsm = (struct raft_fsm){.version = 3,
                               .data = n,
                               .apply = fsm_apply,
                               .snapshot = fsm_snapshot,
                               .restore = fsm_restore,
                               .snapshot_finalize = fsm_snapshot_finalize,
                               .snapshot_async = fsm_snapshot_async};
    guard_init(&n->guard, &n->io.io, &n->raft, &guard_events, n);
    if (!raft_ok(n,
                 raft_init(&n->raft, &n->guard.io, &n->fsm, n->opt.id,
                           raftio_address(&n->io, n->opt.id)),
                 "raft", err))
        return false;
    n->raft_inited = true;
    raft_set_election_timeout(&n->raft, (unsigned)n->opt.election_timeout);
    raft_set_heartbeat_timeout(&n->raft, (unsigned)n->opt.heartbeat_timeout);
    raft_set_install_snapshot_timeout(&n->raft, INSTALL_TIMEOUT_MS);
    raft_set_snapshot_threshold(&n->raft, UINT_MAX);
    raft_set_pre_vote(&n->raft, true);
    if (n->io.meta.joining && !MUTANT(WIPED_VOTES))
        node_join_begin(n);
    if ((raftio_bootstraps(&n->io) && !bootstrap(n, err)) ||
        !raft_ok(n, raft_start(&n->raft), "start", err) || !members_fit(n, err))
        return false;
    conf_begin(n);
    n->raft_started = true;
    if (n->io.meta.joining)
        node_known_recall(n);
    return true;
}

static void on_stop_timer(struct env_timer *t)
{
    stop_advance(container_of(t, struct reg_node, stop_timer));
}

static bool node_begin(struct reg_node *n, struct env *env, struct err *err)
{
    n->env = env;
    n->turn.fn = on_turn;
    n->stop_timer.fn = on_stop_timer;
    node_write_init(n);
    node_read_init(n);
    node_member_init(n);
    node_lease_init(n);
    node_channel_init(n);
    if (!env_dir_make(env, n->dir, err) || !lock_dir(n, err))
        return false;
    store_begin(n);
    if (!tls_open(n, err) || !io_open(n, err) || !tls_fits(n, err) || !node_enroll_open(n, err) ||
        !store_open(n, err) || !checkpoint_begin(n, err) || !log_covers_store(n, err) ||
        !node_version_log_fits(n, err) || !raft_begin(n, err))
        return false;
    store_commit(n); /* a single voter has applied its log already; what follows reads */
    node_lease_load(n);
    node_status_init(n);
    node_room_init(n);
    guard_step(&n->guard);
    node_status_publish(n);
    return true;
}

static void on_raft_closed(struct raft *r)
{
    struct reg_node *n = container_of(r, struct reg_node, raft);
    n->raft_closed = true;
}

static void node_shut(struct reg_node *n)
{
    if (n->raft_inited && !n->raft_closed)
        raft_close(&n->raft, on_raft_closed);
    env_defer_cancel(&n->turn);
    env_timer_stop(n->env, &n->tick);
    env_timer_stop(n->env, &n->retry);
    env_timer_stop(n->env, &n->expedite);
    env_timer_stop(n->env, &n->stop_timer);
    guard_fini(&n->guard);
    raftio_fini(&n->io);
    peer_tls_close(n->tls);
    n->tls = NULL;
    reg_store_open_drop(n->store_begun);
    n->store_begun = NULL;
    reg_store_close(n->store);
    n->store = NULL;
    env_lock_release(n->dir_lock);
    n->dir_lock = NULL;
}

void node_free(struct reg_node *n)
{
    node_watch_fini(n);
    node_channel_fini(n);
    node_lease_fini(n);
    node_metrics_fini(n);
    pthread_mutex_destroy(&n->lock);
    pthread_cond_destroy(&n->changed);
    mem_free(n->dir);
    mem_free(n);
}

/* As if it had never been opened. */
static void node_reset(struct reg_node *n)
{
    node_shut(n);
    n->raft_inited = n->raft_closed = false;
    n->committed = 0;
    n->join = (struct join){0};
    n->version = 0;
}

/* What an empty directory is. */
static enum raftio_birth birth_of(const struct reg_node *n, struct env *env)
{
    if (n->opt.member_count > 1 && node_quarantine_unfinished(env, n->dir))
        return RAFTIO_AGAIN;
    return n->opt.newcomer ? RAFTIO_NEWCOMER : RAFTIO_WITH_CLUSTER;
}

bool node_open(struct reg_node *n, struct env *env, struct err *err)
{
    struct err why = {0};
    n->birth = birth_of(n, env);
    if (node_begin(n, env, &why))
        return true;
    if (why.code == ERR_CORRUPT && n->opt.member_count > 1) {
        struct err failed = {0};
        node_reset(n);
        n->birth = RAFTIO_AGAIN;
        if (node_quarantine(n, &why, &failed) && node_begin(n, env, &failed))
            return true;
        why = failed;
    }
    node_shut(n);
    return err_set(err, why.code, "%s", why.msg);
}

static void say(struct reg_node *n, bool *flag)
{
    pthread_mutex_lock(&n->lock);
    *flag = true;
    pthread_cond_broadcast(&n->changed);
    pthread_mutex_unlock(&n->lock);
}

static void hear(struct reg_node *n, const bool *flag)
{
    pthread_mutex_lock(&n->lock);
    while (!*flag)
        pthread_cond_wait(&n->changed, &n->lock);
    pthread_mutex_unlock(&n->lock);
}

static void thread_start(void *ctx, struct env *env)
{
    struct reg_node *n = ctx;
    node_open(n, env, &n->start_err);
    say(n, &n->started);
}

struct reg_node *node_new(const struct reg_node_options *opt, struct err *err)
{
    struct reg_node_options o = *opt;
    options_default(&o);
    if (!options_ok(&o, err))
        return NULL;
    struct reg_node *n = MEM_NEW(struct reg_node);
    n->opt = o;
    qsort(n->opt.members, n->opt.member_count, sizeof(*n->opt.members), member_cmp);
    n->dir = mem_new(strlen(opt->dir) + 1);
    memcpy(n->dir, opt->dir, strlen(opt->dir) + 1);
    n->opt.dir = n->dir;
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->changed, NULL);
    list_init(&n->watches);
    node_metrics_init(n);
    return n;
}

struct reg_node *reg_node_start(const struct reg_node_options *opt, struct err *err)
{
    struct reg_node *n = node_new(opt, err);
    if (!n)
        return NULL;
    n->thread = env_thread_start("raft", thread_start, n, err);
    if (!n->thread) {
        node_free(n);
        return NULL;
    }
    hear(n, &n->started);
    if (n->start_err.code == ERR_NONE)
        return n;
    if (err)
        *err = n->start_err;
    env_thread_join(n->thread);
    node_free(n);
    return NULL;
}

struct reg_store *reg_node_store(struct reg_node *node)
{
    return node->store;
}

uint64_t reg_node_cluster(const struct reg_node *node)
{
    return node->io.cluster;
}

uint64_t reg_node_id(const struct reg_node *node)
{
    return node->opt.id;
}

/* Stop.
 *
 *   RUNS ─▶ TRANSFERS (a leader hands over) ─▶ DRAINS (connections cut, writes land)
 *        ─▶ CLOSES ─▶ STOPPED
 */

static void stop_close(struct reg_node *n)
{
    n->stop = NODE_CLOSES;
    store_commit(n);
    node_write_answer_done(n);
    raft_close(&n->raft, on_raft_closed);
    wf_assert(n->raft_closed);
    node_write_fail_all(n);
    node_read_fail_all(n);
    node_member_fail_all(n);
    node_lease_fail_all(n);
    node_enroll_fail_all(n);
    node_shut(n);
    n->stop = NODE_STOPPED;
    say(n, &n->stopped);
}

static void stop_advance(struct reg_node *n)
{
    wf_ms now = env_now(n->env);
    bool handed_over = !node_leads(n) && !__atomic_load_n(&n->outstanding, __ATOMIC_RELAXED);
    if (n->stop == NODE_TRANSFERS && (n->abrupt || handed_over || now >= n->stop_deadline)) {
        n->stop = NODE_DRAINS;
        n->stop_deadline = now + NODE_STOP_DRAIN_MS;
        raftio_disconnect(&n->io);
    }
    if (n->stop == NODE_DRAINS && guard_idle(&n->guard) && raftio_idle(&n->io) && !n->heap_busy) {
        stop_close(n);
        return;
    }
    if (n->stop == NODE_DRAINS && now >= n->stop_deadline)
        wf_die("registry node %llu: the disk does not answer", (unsigned long long)n->opt.id);
    env_timer_start(n->env, &n->stop_timer, NODE_STOP_POLL_MS);
}

static void on_transferred(struct raft_transfer *req)
{
    (void)req;
}

static void on_stop(struct env_post *post)
{
    struct reg_node *n = container_of(post, struct reg_node, stop_post);
    n->stop = NODE_TRANSFERS;
    n->stop_deadline = env_now(n->env) + n->opt.election_timeout;
    if (!n->abrupt && node_leads(n) &&
        raft_transfer(&n->raft, &n->transfer, 0, on_transferred) != 0)
        n->stop_deadline = 0; /* nobody to hand over to */
    stop_advance(n);
}

void node_stop_begin(struct reg_node *n, bool abrupt)
{
    n->abrupt = abrupt;
    n->stop_post.fn = on_stop;
    env_post(n->env, &n->stop_post);
}

static void stop(struct reg_node *n, bool abrupt)
{
    node_stop_begin(n, abrupt);
    hear(n, &n->stopped);
    env_thread_join(n->thread);
    node_free(n);
}

void reg_node_stop(struct reg_node *node)
{
    if (node)
        stop(node, false);
}

void reg_node_kill(struct reg_node *node)
{
    stop(node, true);
}
