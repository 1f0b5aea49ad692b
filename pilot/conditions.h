/* Writes what the mesh says about an object into its status: Distributed ("8/8 @41") when every
 * proxy has it; Accepted=False with the proxy's words, and Distributed=False, when one refuses what
 * was made of it. Sparse: on edges only, by the leader only, many objects in one write.
 *
 *   conditions = conditions_new(&(struct conditions_options){
 *       .env = env, .node = node, .convergence = c});
 *   … convergence's on_change → conditions_wake(conditions);
 */
#ifndef WEFT_PILOT_CONDITIONS_H
#define WEFT_PILOT_CONDITIONS_H

#include "pilot/convergence.h"

#define CONDITIONS_BATCH_MAX 256
#define CONDITIONS_PENDING_MAX 20000 /* objects; the rest is looked for when half is done */
#define CONDITIONS_RETRY_MS 500
#define CONDITIONS_PATIENCE_MS 2000

struct conditions;

struct conditions_options {
    struct env *env;
    struct reg_node *node;
    struct convergence *convergence;
    /* A node that lost its connection, and a proxy whose refusal is missing, are waited for so
     * long: proxies that reconnect are not gone. Default CONDITIONS_PATIENCE_MS. */
    wf_ms patience;
};

struct conditions *conditions_new(const struct conditions_options *opt);
/* Something changed in the merged picture. On env's thread; cheap, coalesced. */
void conditions_wake(struct conditions *c);
/* At any time; what a write under way still needs goes when it is answered (on env, which turns
 * or ends after it). Before convergence and node. NULL is fine. */
void conditions_free(struct conditions *c);

#endif
