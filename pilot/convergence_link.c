#include "base/core/assert.h"
#include "pilot/convergence.h"

struct convergence_link {
    struct convergence *convergence;
    struct env *env;
    struct reg_node *node;
    struct reg_notify *notify;
};

static void link_send(void *ctx, uint64_t to, struct slice bytes)
{
    struct convergence_link *l = ctx;
    wf_assert(bytes.n <= REG_MESSAGE_BYTES_MAX);
    reg_send(l->node, to, REG_CHANNEL_CONVERGENCE, bytes);
}

static size_t link_peers(void *ctx, uint64_t ids[REG_NODES_MAX])
{
    struct convergence_link *l = ctx;
    struct reg_status st;
    size_t n = 0;
    reg_node_status(l->node, &st);
    for (size_t i = 0; i < st.member_count; i++)
        if (!st.members[i].self && st.members[i].connected)
            ids[n++] = st.members[i].member.id;
    return n;
}

static void on_receive(void *ctx, uint64_t from, struct slice bytes)
{
    struct convergence_link *l = ctx;
    convergence_receive(l->convergence, from, bytes);
}

static void on_peer_down(void *ctx, uint64_t peer)
{
    struct convergence_link *l = ctx;
    convergence_peer_down(l->convergence, peer);
}

static void on_notify(void *ctx, reg_rev revision)
{
    struct convergence_link *l = ctx;
    convergence_committed(l->convergence, revision, (wf_ms)(env_now_ns(l->env) / 1000000));
}

struct convergence_link *convergence_link(struct convergence *c, struct env *env,
                                          struct reg_node *node)
{
    struct convergence_link *l = MEM_NEW(struct convergence_link);
    *l = (struct convergence_link){.convergence = c, .env = env, .node = node};
    reg_receive(node, REG_CHANNEL_CONVERGENCE, env, on_receive, on_peer_down, l);
    l->notify = reg_notify_open(reg_node_store(node), env, on_notify, l);
    convergence_set_port(
        c, &(struct convergence_port){.ctx = l, .send = link_send, .peers = link_peers});
    return l;
}

void convergence_unlink(struct convergence_link *l)
{
    if (!l)
        return;
    reg_notify_close(l->notify);
    reg_receive(l->node, REG_CHANNEL_CONVERGENCE, l->env, NULL, NULL, NULL);
    convergence_set_port(l->convergence, &(struct convergence_port){0});
    mem_free(l);
}
