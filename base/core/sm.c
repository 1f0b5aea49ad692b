#include "base/core/sm.h"

#include "base/core/assert.h"
#include "base/core/log.h"

bool sm_may(const struct sm_table *t, const struct sm *sm, uint8_t to)
{
    wf_assert(sm->now < t->count);
    return to < t->count && (t->states[sm->now].next & SM(to)) != 0;
}

const char *sm_name(const struct sm_table *t, const struct sm *sm)
{
    wf_assert(sm->now < t->count);
    return t->states[sm->now].name;
}

void sm_move(const struct sm_table *t, struct sm *sm, uint8_t to, const void *owner)
{
    wf_assert(t->count <= 32);
    if (!sm_may(t, sm, to))
        wf_die("bug: state machine %s cannot move from %s to %s", t->name, sm_name(t, sm),
               to < t->count ? t->states[to].name : "a state that it does not have");
    LOG_DEBUG("sm.move", F_CSTR("sm", t->name), F_CSTR("from", sm_name(t, sm)),
              F_CSTR("to", t->states[to].name));
    sm->now = to;
    if (t->invariant && !t->invariant(owner))
        wf_die("bug: the invariant of state machine %s does not hold in %s", t->name,
               sm_name(t, sm));
}
