#include "registry/raft/join.h"

#include "base/core/assert.h"

bool join_virgin(uint64_t term, uint64_t last_index)
{
    return term <= 1 && last_index <= 1;
}

void join_add(struct join *j, uint64_t id)
{
    wf_assert(j->count < RAFT_MEMBERS_MAX);
    j->peer[j->count++] = (struct join_peer){.id = id};
}

void join_keep(struct join *j, const struct join *was, uint64_t id)
{
    join_add(j, id);
    for (size_t i = 0; i < was->count; i++)
        if (was->peer[i].id == id)
            j->peer[j->count - 1] = was->peer[i];
}

void join_answer(struct join *j, uint64_t id, uint64_t term, uint64_t last_index)
{
    for (size_t i = 0; i < j->count; i++) {
        struct join_peer *p = &j->peer[i];
        if (p->id != id)
            continue;
        p->answered = true;
        p->virgin = join_virgin(term, last_index);
        if (term > p->term)
            p->term = term;
    }
}

enum join_verdict join_decide(const struct join *j, bool self_virgin, uint64_t *ret_term)
{
    size_t answered = 0, virgins = 0;
    uint64_t term = 1;
    for (size_t i = 0; i < j->count; i++) {
        const struct join_peer *p = &j->peer[i];
        answered += p->answered;
        virgins += p->answered && p->virgin;
        if (p->term > term)
            term = p->term;
    }
    if (answered < j->count)
        return JOIN_WAIT;
    if (self_virgin && virgins == j->count)
        return JOIN_NEW_CLUSTER;
    *ret_term = term;
    return JOIN_CATCH_UP;
}
