/* State machines as tables: a state's name and the states it may move to.
 *
 *   static const struct sm_state sub_states[] = {
 *       [SUB_IDLE]    = {"idle",    SM(SUB_PUSHING) | SM(SUB_GONE)},
 *       [SUB_PUSHING] = {"pushing", SM(SUB_IDLE) | SM(SUB_GONE)},
 *       [SUB_GONE]    = {"gone",    0},
 *   };
 *   static const struct sm_table table = {"ads.sub", sub_states, ARRAY_LEN(sub_states), sub_ok};
 *   sm_move(&table, &sub->sm, SUB_PUSHING, sub);
 *
 * sm_move asserts that the edge exists and, after the move, that the invariant holds.
 */
#ifndef WEFT_BASE_CORE_SM_H
#define WEFT_BASE_CORE_SM_H

#include "base/core/slice.h"

#define SM(state) (1u << (state))

struct sm_state {
    const char *name;
    uint32_t next; /* bit set of allowed next states */
};

struct sm_table {
    const char *name;
    const struct sm_state *states;
    size_t count;
    bool (*invariant)(const void *owner); /* may be NULL */
};

struct sm {
    uint8_t now;
};

void sm_move(const struct sm_table *t, struct sm *sm, uint8_t to, const void *owner);
bool sm_may(const struct sm_table *t, const struct sm *sm, uint8_t to);
const char *sm_name(const struct sm_table *t, const struct sm *sm);

#endif
