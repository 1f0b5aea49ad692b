/* Recovery: what one node holds becomes a snapshot file (restore.h), when there is no cluster any
 * more that could be asked.
 *
 * All that is in its log counts, also what it never heard to be committed: whatever was
 * acknowledged anywhere and is here is kept. What only the lost nodes had is lost; the log of the
 * survivor says how far it reaches, and no more can be known.
 */
#ifndef WEFT_REGISTRY_SURVIVOR_H
#define WEFT_REGISTRY_SURVIVOR_H

#include <limits.h>

#include "api/snapshot_head.h"
#include "registry/node.h"

struct reg_survivor {
    uint64_t term; /* newest that it heard of */
    /* Of its log, or of what is behind it: of several survivors the one with the highest last_term,
     * then the highest last_index, has the most. */
    uint64_t last_term, last_index;
    uint64_t applied; /* known to be committed; 0 = the store is to be rebuilt */
};

/* Opens what a start of the node would open, and gives what it found. The node must not run
 * (ERR_UNAVAILABLE). ERR_NOT_FOUND: no node was ever here. ERR_CORRUPT: its data is damaged. */
bool reg_survivor_look(struct env *env, const struct reg_node_options *node,
                       struct reg_survivor *ret, struct err *err);
/* The same, applies the log, and writes `to`, which is there when it is whole. */
bool reg_survivor_save(struct env *env, const struct reg_node_options *node, const char *to,
                       struct snapshot_head *ret, struct err *err);
/* Puts the data aside, into a directory of dir; ret_aside names it. */
bool reg_survivor_put_aside(struct env *env, const char *dir, char ret_aside[NAME_MAX + 1],
                            struct err *err);

#endif
