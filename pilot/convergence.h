/* Who has what: whether a revision is with every proxy of the cluster.
 *
 *   each session    tells its node how far it is (converged, settled) and what it rejects
 *   each node       keeps the sum, and tells the others when it changes (coalesced, small)
 *   every node      adds up what it was told and can answer `weft wait @N`
 *
 *   struct convergence *c = convergence_new(&(struct convergence_options){.env = env});
 *   struct convergence_link *l = convergence_link(c, env, node);     the registry's channel
 *   convergence_wait(c, &w->wait);      w->wait.fn on env, when it is decided or at the deadline
 *
 * Nothing here is in the log: it belongs to connections. A node whose connection is lost is
 * forgotten; its proxies come back on other nodes.
 *
 * A node that hangs keeps its connections, and its proxies notice only when their PINGs stay
 * without answer. It is silent once the registry takes it for not connected (registry/node.h).
 * Then each node counts of its last report
 *
 *   nothing         for a proxy that has come to a node that lives: it counts there
 *   what it was     for one that is nowhere else: behind, for whatever came since. Which of the
 *                   reported ones are left is not known: those that were least far
 *
 * and forgets the report when it heard nothing for CONVERGENCE_FORGET_MS: whoever has not come back
 * by then is not connected, and is counted nowhere like every other that is not. */
#ifndef WEFT_PILOT_CONVERGENCE_H
#define WEFT_PILOT_CONVERGENCE_H

#include "base/core/metric.h"
#include "pilot/summary.h"
#include "registry/node.h"

struct convergence;

/* How messages reach the other nodes; NULL functions: there are none. */
struct convergence_port {
    void *ctx;
    /* to = 0: all. bytes are copied. */
    void (*send)(void *ctx, uint64_t to, struct slice bytes);
    /* Ids of the nodes with a live connection, this one excluded; returns their number. */
    size_t (*peers)(void *ctx, uint64_t ids[REG_NODES_MAX]);
};

struct convergence_options {
    struct env *env; /* thread of everything here that is not said to be of any thread */
    struct convergence_port port; /* convergence_link sets it to the registry's */
    /* After the merged picture changed (coalesced): the leader writes conditions from
     * convergence_summary. May be NULL. */
    void (*on_change)(void *ctx);
    void *ctx;
    wf_ms forget_after; /* default CONVERGENCE_FORGET_MS */
};

struct convergence *convergence_new(const struct convergence_options *opt);
/* After the last session has left. Pending waits end with ERR_CANCELLED. NULL is fine. */
void convergence_free(struct convergence *c);

/* Sessions: any thread. */

struct convergence_proxy;

/* A rejection as a session reports it; copied. */
struct convergence_reject {
    const char *type; /* short name */
    struct slice resource, version, message;
    const struct slice *sources;
    size_t source_count;
};

/* A proxy connected; counts as at revision 0. name is copied. identity: the same wherever this
 * proxy connects, and of no other (the hash of its node id). */
struct convergence_proxy *convergence_join(struct convergence *c, struct slice name,
                                           uint64_t identity);
/* now: monotonic milliseconds. rejects: all that it rejects now (at most CONVERGENCE_PER_PROXY_MAX
 * are kept). Returns the time from the commit of the oldest revision that it has newly
 * acknowledged, in ms; -1 when there is none or its time is not known. */
wf_ms convergence_update(struct convergence *c, struct convergence_proxy *p, wf_ms now,
                         reg_rev converged, reg_rev settled,
                         const struct convergence_reject *rejects, size_t n);
void convergence_leave(struct convergence *c, struct convergence_proxy *p);

/* A revision was applied on this node. */
void convergence_committed(struct convergence *c, reg_rev revision, wf_ms now);

/* Messages from other nodes. */

/* bytes that are neither summary nor roster are dropped. */
void convergence_receive(struct convergence *c, uint64_t from, struct slice bytes);
void convergence_peer_down(struct convergence *c, uint64_t peer);

void convergence_set_port(struct convergence *c, const struct convergence_port *port);

/* Joins a convergence to its node: summaries go over REG_CHANNEL_CONVERGENCE, and the registry's
 * notifications tell when a revision came (pilot/convergence_link.c). */
struct convergence_link;
struct convergence_link *convergence_link(struct convergence *c, struct env *env,
                                          struct reg_node *node);
/* Before convergence_free, on env's thread. NULL is fine. */
void convergence_unlink(struct convergence_link *l);

/* Questions. */

struct convergence_result {
    reg_rev revision;
    uint32_t live, total; /* proxies that have it, proxies connected */
    uint32_t unknown;     /* of total: last seen on a silent node, and on no other since */
    /* Ids of nodes that are connected and have not reported yet, or are silent. */
    uint64_t silent[REG_NODES_MAX];
    size_t silent_count;
    wf_ms ms; /* from the commit until the last had it; -1: not yet, or not known */
    const struct summary_rejection *rejections; /* at the time; borrowed until fn returns */
    size_t rejection_count;
};

/* Embedded in its owner. */
struct convergence_wait {
    reg_rev revision;
    wf_ms timeout; /* 0: answer with what is known now */
    void (*fn)(struct convergence_wait *w);

    /* Filled before fn. */
    struct err err; /* NONE: every proxy has it, or has refused (result.live < total, rejections).
                       TIMEOUT: see result. LIMIT: too many waits. CANCELLED: convergence ended. */
    struct convergence_result result;

    struct env_timer timer; /* from here on: convergence's */
    struct env_task answer;
    struct list_node node;
    struct convergence *owner;
    wf_ms started;
};

/* fn is called once, never from inside this call. */
void convergence_wait(struct convergence *c, struct convergence_wait *w);
/* fn is not called after it. */
void convergence_wait_cancel(struct convergence_wait *w);

/* The sum over all nodes that are known, borrowed until the next turn. */
const struct summary *convergence_summary(struct convergence *c);
/* Of its total: last seen on a silent node, and on no other since. */
uint32_t convergence_unknown(const struct convergence *c);
/* Every connected node has reported, and nothing that a session said is missing in the sum. */
bool convergence_is_whole(struct convergence *c);
/* Lowest revision that every proxy has; UINT64_MAX: there is no proxy. Any thread: this node's. */
reg_rev convergence_local_lowest(struct convergence *c);

/* weft_proxy_acked_index, weft_proxies{state}; cells of this env's thread. */
struct metric_set *convergence_metrics(struct convergence *c);

#endif
