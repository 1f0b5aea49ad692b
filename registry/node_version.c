/* The version gate (raft/version.h): what the leader may write, and when that becomes more. */
#include "base/core/log.h"
#include "base/core/mutant.h"
#include "registry/node_impl.h"

struct versions node_version_reads(const struct reg_node *n, uint64_t id)
{
    if (id == n->opt.id)
        return n->opt.reads;
    const struct peer_program *p = n->io.peers ? peers_program(n->io.peers, id) : NULL;
    return p ? p->reads : (struct versions){0};
}

/* A new cluster begins with the oldest that its first program takes part in. */
unsigned node_version_write(const struct reg_node *n)
{
    unsigned version = reg_store_version(n->store);
    return version ? version : n->opt.reads.oldest;
}

void node_version_advance(struct reg_node *n)
{
    unsigned version = reg_store_version(n->store);
    if (version == n->version)
        return;
    if (n->version)
        LOG_INFO("registry.version.raised", F_U64("node", n->opt.id), F_U64("version", version));
    n->version = version;
    n->status_due = true;
    raftio_set_version(&n->io, version);
}

/* One that is not committed may still go; nobody can tell, and to apply it would be to guess. */
bool node_version_log_fits(const struct reg_node *n, struct err *err)
{
    unsigned version = raftio_recovered_version(&n->io);
    return version <= n->opt.reads.newest ||
           err_set(err, ERR_UNSUPPORTED,
                   "%s: the log holds entries of version %u, this program reads %u to %u: the "
                   "cluster was about to be raised to it, start the newer program again",
                   n->dir, version, n->opt.reads.oldest, n->opt.reads.newest);
}

/* What all members read; `now` while one of them is away, or a change of members is under way. */
static unsigned target(const struct reg_node *n, unsigned now)
{
    struct versions all[RAFT_MEMBERS_MAX];
    const struct raft_configuration *c = &n->raft.configuration;
    if (n->raft.configuration_uncommitted_index || c->n > RAFT_MEMBERS_MAX)
        return now;
    for (unsigned i = 0; i < c->n; i++) {
        uint64_t id = MUTANT(RAISE_UNHEARD) ? n->opt.id : c->servers[i].id;
        if (!node_member_connected(n, id))
            return now;
        all[i] = node_version_reads(n, id);
    }
    return version_target(now, all, c->n);
}

void node_version_tick(struct reg_node *n)
{
    unsigned now = node_version_write(n);
    unsigned to =
        node_leads(n) && guard_ready(&n->guard) && n->stop == NODE_RUNS ? target(n, now) : now;
    if (to == now) {
        n->version_since = 0;
        return;
    }
    wf_ms time = env_now(n->env);
    if (!n->version_since)
        n->version_since = time;
    if (time - n->version_since < n->opt.version_settle ||
        n->version_term == n->raft.current_term || !node_write_raise(n, to))
        return;
    n->version_term = n->raft.current_term;
    LOG_INFO("registry.version.raises", F_U64("node", n->opt.id), F_U64("from", now),
             F_U64("to", to));
}
