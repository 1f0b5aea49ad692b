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

/* G17: a refusal of a snapshot that became newer on its way.
 * F was away and needs a snapshot. While the leader reads it, it takes a newer one, and that is
 * what F is sent and refuses once. The leader must send it again, and not wait for the
 * install_snapshot_timeout of 30 s. */
static enum outcome newer_snapshot(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    run(w, 600);
    int l = leader(w), f = (l + 1) % NODES, o = (l + 2) % NODES;
    if (l < 0)
        return NOT_REACHED;
    put(w, l);
    run(w, 60);
    join_only(w, l, o);
    compact(w, l);
    put_many(w, l, MANY);
    if (!compacted(w, l) || w->node[f].raft.state == RAFT_LEADER)
        return NOT_REACHED;
    w->refuse_installs = 1;
    w->node[l].get_ms = 400;
    cut_all(w, false);
    for (int ms = 0; ms < 500 && !w->node[l].get; ms++)
        step(w);
    raft_index asked = w->node[l].raft.log.snapshot.last_index;
    put_many(w, l, MANY);
    if (leader(w) != l || w->node[l].raft.log.snapshot.last_index == asked || !w->node[l].get)
        return NOT_REACHED;
    for (int ms = 0; ms < 500 && w->refuse_installs > 0; ms++)
        step(w);
    if (w->refuse_installs > 0)
        return NOT_REACHED;
    w->node[l].get_ms = 1;
    run(w, 5000);
    return leader(w) == l && same_log_end(w, l, f) ? SAFE : LOST;
}

static void a_refused_newer_snapshot_is_waited_for_without_the_guard(void **state)
{
    (void)state;
    int late = count_in_child(newer_snapshot, GUARD_G17_SNAPSHOT, LOST);
    int missed = count_in_child(newer_snapshot, GUARD_G17_SNAPSHOT, NOT_REACHED);
    print_message("not caught up within 5 s in %d of %d\n", late, SEEDS - missed);
    assert_true(late > SEEDS / 3);
    assert_int_equal(late + missed, SEEDS);
}

static void a_refused_newer_snapshot_is_sent_again_with_it(void **state)
{
    (void)state;
    int safe = count_in_child(newer_snapshot, ALL_RULES, SAFE);
    int missed = count_in_child(newer_snapshot, ALL_RULES, NOT_REACHED);
    assert_true(safe > SEEDS / 3);
    assert_int_equal(safe + missed, SEEDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_append_from_the_first_crashes_without_the_guard),
        cmocka_unit_test(an_append_from_the_first_is_a_heartbeat_with_it),
        cmocka_unit_test(a_refused_newer_snapshot_is_waited_for_without_the_guard),
        cmocka_unit_test(a_refused_newer_snapshot_is_sent_again_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
