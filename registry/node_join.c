/* A node with a new directory asks the others before it votes (raft/join.h). */
#include "base/core/log.h"
#include "registry/node_impl.h"

void node_join_begin(struct reg_node *n)
{
    for (size_t i = 0; i < n->opt.member_count; i++)
        if (n->opt.members[i].id != n->opt.id)
            join_add(&n->join, n->opt.members[i].id);
    guard_join_begin(&n->guard);
}

static bool must_answer(const struct reg_node *n, uint64_t id)
{
    for (size_t i = 0; i < n->join.count; i++)
        if (n->join.peer[i].id == id)
            return true;
    return false;
}

static void ask(struct reg_node *n, uint64_t id)
{
    raftio_send(&n->io, id, FRAME_JOIN_ASK, n->raft.current_term, NULL, 0);
}

/* Again at each tick: an answer may be lost, or be out of date while the others start as well. Those
 * that were known once are asked too, and say whom to ask (node_known.c): nobody may be left of
 * those that the options name. */
void node_join_ask(struct reg_node *n)
{
    if (n->guard.standing != GUARD_ASKING)
        return;
    for (size_t i = 0; i < n->join.count; i++)
        ask(n, n->join.peer[i].id);
    for (unsigned i = 0; i < n->heard.n; i++)
        if (n->heard.servers[i].id != n->opt.id && !must_answer(n, n->heard.servers[i].id))
            ask(n, n->heard.servers[i].id);
}

void node_join_on_ask(struct reg_node *n, uint64_t from)
{
    uint64_t head[] = {guard_last_index(&n->raft), n->guard.committed_at};
    struct raft_buffer conf = {0};
    guard_peer_lost_log(&n->guard, from);
    node_member_encode(n, &conf);
    struct iovec pieces[] = {{head, sizeof(head)}, {conf.base, conf.len}};
    raftio_send(&n->io, from, FRAME_JOIN_STATE, n->raft.current_term, pieces, conf.len ? 2 : 1);
    raft_free(conf.base);
}

/* Whom to ask the cluster knows better than the options of a node that lost its data. */
static void ask_those(struct reg_node *n, uint64_t index, struct slice bytes)
{
    struct raft_configuration conf;
    struct err err = {0};
    if (index <= n->join_conf || !bytes.n)
        return;
    if (!conf_entry_decode(bytes, &conf, &err)) {
        LOG_WARN("registry.join.invalid", F_ERR(&err));
        return;
    }
    n->join_conf = index;
    struct join was = n->join;
    n->join = (struct join){0};
    for (unsigned i = 0; i < conf.n; i++)
        if (conf.servers[i].id != n->opt.id && conf.servers[i].role == RAFT_VOTER)
            join_keep(&n->join, &was, conf.servers[i].id);
    node_member_learn(n, index, &conf);
    raft_configuration_close(&conf);
}

void node_join_on_state(struct reg_node *n, uint64_t from, const struct frame *f)
{
    struct reader r = reader_of(f->payload);
    uint64_t last = reader_u64le(&r), conf = reader_u64le(&r), term = 0;
    if (!reader_ok(&r) || n->guard.standing != GUARD_ASKING)
        return;
    ask_those(n, conf, slice_skip(f->payload, reader_offset(&r)));
    join_answer(&n->join, from, f->term, last);
    bool virgin = join_virgin(n->raft.current_term, guard_last_index(&n->raft));
    switch (join_decide(&n->join, virgin, &term)) {
    case JOIN_WAIT:
        break;
    case JOIN_NEW_CLUSTER:
        LOG_INFO("registry.join.new_cluster", F_U64("node", n->opt.id));
        guard_join_member(&n->guard);
        break;
    case JOIN_CATCH_UP:
        LOG_WARN("registry.join.catch_up", F_U64("node", n->opt.id), F_U64("term", term));
        guard_join_catch_up(&n->guard, term);
        break;
    }
}
