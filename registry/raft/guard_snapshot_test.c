/* Rules of the guard about logs that begin with a snapshot, one schedule each: with the rule off the
 * harm must appear, with it on it must not. */
#include "registry/raft/guard_child_testing.h"

enum { THRESHOLD = 8, TRAILING = 2, MANY = 20 };

static void compact(struct world *w, int i)
{
    raft_set_snapshot_threshold(&w->node[i].raft, THRESHOLD);
    raft_set_snapshot_trailing(&w->node[i].raft, TRAILING);
}

static void put_many(struct world *w, int l, int n)
{
    for (int i = 0; i < n; i++) {
        put(w, l);
        run(w, 10);
    }
    run(w, 60);
}

static bool compacted(const struct world *w, int i)
{
    return w->node[i].raft.log.offset > 0;
}

static bool same_log_end(const struct world *w, int a, int b)
{
    const struct raft *x = &w->node[a].raft, *y = &w->node[b].raft;
    return x->state != RAFT_UNAVAILABLE && y->state != RAFT_UNAVAILABLE &&
           guard_last_index(x) == guard_last_index(y) && x->last_applied == y->last_applied;
}

/* G6: an append from before what was compacted.
 * F has compacted its log. The leader, which has not, is told that F lost its log, and sends it all
 * of it from the first entry. */
static enum outcome from_the_first(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    run(w, 600);
    int l = leader(w), f = (l + 1) % NODES;
    if (l < 0)
        return NOT_REACHED;
    compact(w, f);
    put_many(w, l, MANY);
    if (!compacted(w, f) || compacted(w, l))
        return NOT_REACHED;
    struct raft_progress *p = &w->node[l].raft.leader_state.progress[f];
    guard_peer_lost_log(&w->node[l].guard, (raft_id)f + 1);
    p->next_index = 1;
    run(w, 100);
    put_many(w, l, 1);
    return same_log_end(w, l, f) ? SAFE : LOST;
}

static void an_append_from_the_first_crashes_without_the_guard(void **state)
{
    (void)state;
    int crashed = count_in_child(from_the_first, GUARD_G6_PREFIX, CHILD_CRASHED);
    print_message("libraft crashed in %d of %d\n", crashed, SEEDS);
    assert_true(crashed > SEEDS / 2);
}

static void an_append_from_the_first_is_a_heartbeat_with_it(void **state)
{
    (void)state;
    int safe = count_in_child(from_the_first, ALL_RULES, SAFE);
    int missed = count_in_child(from_the_first, ALL_RULES, NOT_REACHED);
    assert_true(safe > SEEDS / 2);
    assert_int_equal(safe + missed, SEEDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_append_from_the_first_crashes_without_the_guard),
        cmocka_unit_test(an_append_from_the_first_is_a_heartbeat_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
