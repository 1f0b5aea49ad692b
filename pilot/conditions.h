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

struct conditions;

struct conditions_options {
    struct env *env;
    struct reg_node *node;
    struct convergence *convergence;
};

struct conditions *conditions_new(const struct conditions_options *opt);
/* Something changed in the merged picture. On env's thread; cheap, coalesced. */
void conditions_wake(struct conditions *c);
/* A write under way ends first: turn the loop until conditions_idle. */
bool conditions_idle(const struct conditions *c);
void conditions_free(struct conditions *c);

#endif
