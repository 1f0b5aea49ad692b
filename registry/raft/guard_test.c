/* libraft 0.15 loses committed entries. These schedules show how, over the real library in virtual
 * time with a simulated disk and network, and that the guard prevents each: with the rule switched
 * off the loss must appear (or the schedule proves nothing), with it on it must not. */
#include "registry/raft/guard_world_testing.h"

#include <stdio.h>

#include "registry/raft/join.h"

/* A command was applied there, and who leads now has something else: perhaps a barrier, which no
 * state machine sees. */
static bool was_replaced(const struct world *w, raft_index at)
{
    int l = leader(w);
    const struct sim_node *x = &w->node[l < 0 ? 0 : l];
    return l >= 0 && w->applied[at] && (x->log.n < at || x->log.p[at - 1].value != w->applied[at]);
}

/* Raft §5.4.2, figure 8.
 * A writes X to its own disk only and dies. B leads with C, writes Y to its own disk only, dies. A
 * leads again with C and copies X to it; no entry of its own term gets there. X is on two of three
 * disks, and still B can win with Y: X must not have been applied. */
static enum outcome play_figure_8(uint64_t seed, unsigned off, unsigned disk_max)
{
    struct world *w = world_new(seed, off);
    enum outcome out = NOT_REACHED;
    run(w, 600);
    int a = leader(w);
    if (a < 0)
        goto end;
    put(w, a);
    run(w, 60);
    cut_all(w, true);
    raft_index x = put(w, a);
    if (!x)
        goto end;
    run(w, 15);
    crash(w, a);
    int b = (a + 1) % NODES, c = (a + 2) % NODES;
    join_only(w, b, c);
    for (int t = 0; t < 3000 && leader(w) < 0; t++)
        step(w);
    if (leader(w) == c) {
        c = b;
        b = leader(w);
    }
    if (leader(w) != b)
        goto end;
    cut_all(w, true);
    drop_packets(w);
    if (!put(w, b)) /* Y */
        goto end;
    run(w, 15);
    crash(w, b);
    boot(w, a, false);
    w->node[a].disk_max = disk_max;
    join_only(w, a, c);
    w->hold_own_term = true;
    if (!run_until_leads(w, a, 5000))
        goto end;
    run(w, 300);
    w->hold_own_term = false;
    crash(w, a);
    boot(w, b, false);
    join_only(w, b, c);
    if (!run_until_leads(w, b, 5000)) {
        out = SAFE; /* C has what is newer than Y and refuses B */
        goto end;
    }
    put(w, b);
    run(w, 300);
    boot(w, a, false);
    cut_all(w, false);
    run(w, 1000);
    out = w->conflicts || was_replaced(w, x) ? LOST : SAFE;
end:
    world_free(w);
    return out;
}

static enum outcome figure_8(uint64_t seed, unsigned off)
{
    return play_figure_8(seed, off, 3);
}

/* The same, where A's barrier (G1) is still on its way to A's disk when C says that it has X: what
 * lies at A's last stored index is then X. */
static enum outcome figure_8_slow_disk(uint64_t seed, unsigned off)
{
    return play_figure_8(seed, off, 100000);
}

/* A leader that has nothing to say.
 * X is on the disks of A and B, and A has acknowledged it; B has not heard of that when A dies. Who
 * leads then has X, and nobody writes: X must be applied all the same. With G1 off G2 holds results
 * back for ever, and leaders step down; so the rule goes off when A dies. */
static void switch_off(struct world *w, unsigned off)
{
    w->off = off;
    for (int i = 0; i < NODES; i++)
        w->node[i].guard.off = off;
}

static enum outcome silent_leader(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, ALL_RULES);
    enum outcome out = NOT_REACHED;
    run(w, 600);
    int a = leader(w), b = (a + 1) % NODES, c = (a + 2) % NODES;
    if (a < 0)
        goto end;
    put(w, a);
    run(w, 60);
    join_only(w, a, b);
    raft_index x = put(w, a);
    for (int ms = 0; x && ms < 60 && w->node[a].raft.commit_index < x; ms++)
        step(w);
    if (!x || !w->applied[x] || w->node[b].raft.last_applied >= x)
        goto end;
    crash(w, a);
    switch_off(w, off);
    join_only(w, b, c);
    if (!run_until_leads(w, b, 5000))
        goto end;
    run(w, 5000);
    out = w->node[b].raft.last_applied < x ? LOST : SAFE;
end:
    world_free(w);
    return out;
}

/* The stale suffix.
 * A writes three entries that nobody else gets, and is cut off but lives. The others elect L, which
 * writes one entry at the same index and has only A to count on. A's answer to a heartbeat must not
 * make L count A's old entry as its own. */
static enum outcome stale_suffix(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    enum outcome out = NOT_REACHED;
    run(w, 600);
    int a = leader(w);
    if (a < 0)
        goto end;
    put(w, a);
    run(w, 80);
    int b = (a + 1) % NODES, c = (a + 2) % NODES;
    for (int i = 0; i < NODES; i++)
        w->cut[a][i] = true;
    for (int i = 0; i < 3; i++)
        put(w, a);
    run(w, 10);
    w->hold_to = a; /* what is sent to A waits in TCP's buffers */
    for (int t = 0; t < 4000 && leader(w) != b && leader(w) != c; t++)
        step(w);
    int l = leader(w), f = l == b ? c : b;
    if (l == a || l < 0)
        goto end;
    w->cut[l][f] = w->cut[f][l] = true;
    raft_index at = put(w, l);
    run(w, 10);
    for (int i = 0; i < NODES; i++)
        w->cut[a][i] = false;
    w->hold_to = -1;
    out = SAFE;
    for (int t = 0; t < 90 && at; t++) {
        step(w);
        if (w->node[l].raft.commit_index >= at && !entry_is_leaders(w, a, at, l))
            out = LOST; /* committed, and on no majority */
    }
end:
    world_free(w);
    return out;
}

/* The stale suffix, committed.
 * As before, A holds an entry that nobody else got. L commits another one at its index with F, and
 * tells A of it with an append that ends before: Raft allows that, and rule G6 makes such ones. A
 * must not take its own entry for the committed one. */
static enum outcome stale_commit(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    enum outcome out = NOT_REACHED;
    run(w, 600);
    int a = leader(w);
    if (a < 0)
        goto end;
    raft_index shared = put(w, a);
    run(w, 80);
    cut_all(w, true);
    put(w, a);
    run(w, 10);
    int b = (a + 1) % NODES, c = (a + 2) % NODES;
    join_only(w, b, c);
    for (int t = 0; t < 4000 && leader(w) != b && leader(w) != c; t++)
        step(w);
    int l = leader(w);
    if (l == a || l < 0)
        goto end;
    put(w, l);
    run(w, 100);
    struct raft *lead = &w->node[l].raft;
    struct raft_message m = {.type = RAFT_IO_APPEND_ENTRIES,
                             .server_id = (raft_id)l + 1,
                             .server_address = addresses[l],
                             .append_entries = {.term = lead->current_term,
                                                .prev_log_index = shared,
                                                .prev_log_term = guard_term_of(lead, shared),
                                                .leader_commit = lead->commit_index}};
    if (lead->commit_index <= shared)
        goto end;
    w->node[a].recv(&w->node[a].io, &m);
    out = w->node[a].raft.last_applied > shared ? LOST : SAFE;
end:
    world_free(w);
    return out;
}

/* A wiped voter.
 * A and C hold X, which is committed; B was cut off. C loses its disk. With A away, B and C are a
 * majority by number: if C simply voted, X would be gone. */
static bool reaches(const struct world *w, int i, int k)
{
    return w->node[k].alive && !w->cut[i][k] && !w->cut[k][i];
}

/* As node_join.c: asks whom the newest configuration names that it was told, or else those of its
 * options, a set of bits. */
static void ask_around(struct world *w, int i, unsigned options)
{
    struct join j = {.count = 0};
    uint64_t term = 0;
    raft_index told = 0;
    unsigned voters = options;
    struct sim_node *x = &w->node[i];
    if (x->guard.standing != GUARD_ASKING)
        return;
    for (int k = 0; k < NODES; k++) {
        const struct raft *r = &w->node[k].raft;
        if (k == i || !(options & 1u << k) || !reaches(w, i, k) || r->configuration_index <= told)
            continue;
        told = r->configuration_index;
        voters = 0;
        for (unsigned n = 0; n < r->configuration.n; n++)
            if (r->configuration.servers[n].role == RAFT_VOTER)
                voters |= 1u << (r->configuration.servers[n].id - 1);
    }
    for (int k = 0; k < NODES; k++) {
        if (k == i || !(voters & 1u << k))
            continue;
        join_add(&j, (uint64_t)k + 1);
        if (!reaches(w, i, k))
            continue;
        join_answer(&j, (uint64_t)k + 1, w->node[k].raft.current_term,
                    guard_last_index(&w->node[k].raft));
        guard_peer_lost_log(&w->node[k].guard, (raft_id)i + 1);
    }
    bool virgin = join_virgin(x->raft.current_term, guard_last_index(&x->raft));
    if (join_decide(&j, virgin, &term) == JOIN_CATCH_UP)
        guard_join_catch_up(&x->guard, term);
}

static void wipe(struct world *w, int i)
{
    crash(w, i);
    entries_fini(w->node[i].log.p, w->node[i].log.n);
    memset(&w->node[i].log, 0, sizeof(w->node[i].log));
    w->node[i].vote = 0;
    w->joining = !(w->off & GUARD_G13_JOIN);
    boot(w, i, true);
    w->joining = false;
}

static enum outcome wiped_voter(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    enum outcome out = NOT_REACHED;
    run(w, 600);
    int a = leader(w);
    if (a < 0)
        goto end;
    int b = (a + 1) % NODES, c = (a + 2) % NODES;
    join_only(w, a, c);
    raft_index x = put(w, a);
    run(w, 100);
    if (!x || !w->applied[x])
        goto end;
    wipe(w, c);
    join_only(w, b, c);
    for (int ms = 0; ms < 3000; ms++) {
        ask_around(w, c, 7);
        step(w);
        if (leader(w) == b)
            put(w, b);
    }
    cut_all(w, false);
    for (int ms = 0; ms < 1000; ms++) {
        ask_around(w, c, 7);
        step(w);
    }
    int l = leader(w);
    out = l < 0 || w->node[l].log.p[x - 1].value == w->applied[x] ? SAFE : LOST;
    if (out == SAFE && off == ALL_RULES) { /* and it is a voter again */
        assert_int_equal(w->node[c].guard.standing, GUARD_MEMBER);
        assert_int_equal(w->node[c].raft.last_applied, w->node[a].raft.last_applied);
    }
end:
    world_free(w);
    return out;
}

/* A wiped voter that asks one who has the members of before.
 * A and D are voters, Y stands by. A is cut off; D leads, makes Y a voter and with it commits X,
 * then loses its disk, and can reach A alone. By A's members A has all the votes with D's, and all
 * whom D must ask have answered. */
static enum outcome stale_members(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    enum outcome out = NOT_REACHED;
    run(w, 600);
    int d = leader(w), a = (d + 1) % NODES, y = (d + 2) % NODES;
    if (d < 0 || !assign(w, d, y, RAFT_STANDBY))
        goto end;
    run(w, 100);
    join_only(w, d, y);
    if (!assign(w, d, y, RAFT_VOTER))
        goto end;
    run(w, 60);
    raft_index x = put(w, d);
    run(w, 60);
    if (!x || !w->applied[x] ||
        w->node[a].raft.configuration_index == w->node[y].raft.configuration_index)
        goto end;
    wipe(w, d);
    join_only(w, a, d);
    for (int ms = 0; ms < 3000; ms++) {
        ask_around(w, d, 1u << a | 1u << d);
        step(w);
        if (leader(w) == a)
            put(w, a);
    }
    if (off == ALL_RULES) /* it has asked all whom it knows, and still does not vote */
        assert_int_equal(w->node[d].guard.standing, GUARD_CATCHING);
    cut_all(w, false);
    run(w, 1000);
    int l = leader(w);
    out =
        l >= 0 && w->conflicts == 0 && w->node[l].log.p[x - 1].value == w->applied[x] ? SAFE : LOST;
    if (out == SAFE && off == ALL_RULES) {
        assert_int_equal(w->node[d].guard.standing, GUARD_MEMBER);
        assert_int_equal(w->node[d].raft.last_applied, w->node[y].raft.last_applied);
    }
end:
    world_free(w);
    return out;
}

/* A promoted voter that does not know it.
 * C is a standby; A makes it a voter, which B hears and C does not; A dies. B and C are a majority,
 * and only B's log says so. */
static enum outcome promoted_voter(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    enum outcome out = NOT_REACHED;
    run(w, 600);
    int a = leader(w), b = (a + 1) % NODES, c = (a + 2) % NODES;
    if (a < 0 || !assign(w, a, c, RAFT_STANDBY))
        goto end;
    run(w, 100);
    join_only(w, a, b);
    if (!assign(w, a, c, RAFT_VOTER))
        goto end;
    run(w, 60);
    if (w->node[a].raft.configuration_uncommitted_index || leader(w) != a)
        goto end;
    crash(w, a);
    join_only(w, b, c);
    out = run_until_leads(w, b, 5000) ? SAFE : LOST;
    if (out == SAFE) {
        run(w, 300);
        assert_int_equal(w->node[c].raft.last_applied, w->node[b].raft.last_applied);
    }
end:
    world_free(w);
    return out;
}

/* Tests. */

static void figure_8_is_lost_without_the_guard(void **state)
{
    (void)state;
    most_lose(figure_8, GUARD_G1_BARRIER | GUARD_G2_HOLD);
}

static void figure_8_is_safe_with_it(void **state)
{
    (void)state;
    none_loses(figure_8);
}

static void figure_8_is_lost_without_holding_results(void **state)
{
    (void)state;
    most_lose(figure_8_slow_disk, GUARD_G2_HOLD);
}

static void figure_8_is_safe_while_results_are_held(void **state)
{
    (void)state;
    none_loses(figure_8_slow_disk);
}

static void a_silent_leader_applies_nothing_without_a_barrier(void **state)
{
    (void)state;
    int lost = count(silent_leader, GUARD_G1_BARRIER, LOST);
    print_message("not applied within 5 s in %d of %d\n", lost, SEEDS);
    assert_true(lost > SEEDS / 2);
    assert_int_equal(count(silent_leader, GUARD_G1_BARRIER, SAFE), 0);
}

static void a_silent_leader_applies_what_it_inherits_with_it(void **state)
{
    (void)state;
    none_loses(silent_leader);
}

static void a_stale_suffix_is_counted_without_the_guard(void **state)
{
    (void)state;
    most_lose(stale_suffix, GUARD_G3_CLIP);
}

static void a_stale_suffix_is_not_counted_with_it(void **state)
{
    (void)state;
    none_loses(stale_suffix);
}

static void a_stale_suffix_is_applied_without_the_guard(void **state)
{
    (void)state;
    most_lose(stale_commit, GUARD_G15_COMMIT);
}

static void a_stale_suffix_is_not_applied_with_it(void **state)
{
    (void)state;
    none_loses(stale_commit);
}

static void a_wiped_voter_loses_entries_without_the_guard(void **state)
{
    (void)state;
    most_lose(wiped_voter, GUARD_G13_JOIN);
}

static void a_wiped_voter_waits_with_it(void **state)
{
    (void)state;
    none_loses(wiped_voter);
}

static void members_of_before_lose_entries_without_the_guard(void **state)
{
    (void)state;
    most_lose(stale_members, GUARD_G13_JOIN);
}

static void members_of_before_elect_nobody_with_it(void **state)
{
    (void)state;
    none_loses(stale_members);
}

static void a_promoted_voter_is_missed_without_the_guard(void **state)
{
    (void)state;
    int lost = count(promoted_voter, GUARD_G18_PROMOTED, LOST);
    print_message("no leader in %d of %d\n", lost, SEEDS);
    assert_true(lost > SEEDS / 2);
}

static void a_promoted_voter_votes_with_it(void **state)
{
    (void)state;
    none_loses(promoted_voter);
}

/* A commit that followers hear of late.
 * A cluster at rest takes one write. Appending, answering and telling take at most 5 + 3 + 5 + 5 ms
 * here and twice the disk's 3; the next heartbeat is up to 80 ms away. */
static enum outcome late_commit(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    enum outcome out = NOT_REACHED;
    for (int i = 0; i < NODES; i++)
        raft_set_heartbeat_timeout(&w->node[i].raft, 80);
    run(w, 1000 + (int)(seed % 80));
    int l = leader(w);
    raft_index at = l < 0 ? 0 : put(w, l);
    if (at) {
        run(w, 30);
        out = SAFE;
        for (int i = 0; i < NODES; i++)
            if (w->node[i].raft.last_applied < at)
                out = LOST; /* so far */
    }
    world_free(w);
    return out;
}

static void a_commit_is_late_without_the_guard(void **state)
{
    (void)state;
    assert_true(count(late_commit, GUARD_G14_TELL, LOST) > SEEDS / 3);
}

static void a_commit_is_told_at_once_with_it(void **state)
{
    (void)state;
    none_loses(late_commit);
}

/* Time-outs of elections.
 * Of two followers the one with the shorter time-out stands; if the other kept its long one from
 * leader to leader, most elections would begin as late as if there were only one follower. */
static int outlast_leader(struct world *w, int l)
{
    unsigned before[NODES], same = 0;
    for (int i = 0; i < NODES; i++)
        before[i] = w->node[i].raft.follower_state.randomized_election_timeout;
    join_only(w, (l + 1) % NODES, (l + 2) % NODES);
    for (int t = 0; t < 3000 && leader(w) == l; t++)
        step(w);
    int next = leader(w);
    cut_all(w, false);
    run(w, 200);
    for (int i = 0; i < NODES; i++)
        if (i != l && i != next)
            same = w->node[i].raft.follower_state.randomized_election_timeout == before[i];
    return (int)same;
}

static void a_follower_draws_a_time_out_for_each_leader(void **state)
{
    (void)state;
    struct world *w = world_new(1, ALL_RULES);
    int same = 0, leaders = 0;
    run(w, 600);
    for (int i = 0; i < SEEDS; i++) {
        int l = leader(w);
        assert_true(l >= 0);
        same += outlast_leader(w, l);
        leaders += leader(w) != l;
    }
    world_free(w);
    assert_int_equal(leaders, SEEDS);
    assert_true(same < 4); /* two draws of a hundred may be equal */
}

/* Random faults: cuts in one and both directions, crashes that lose what is not synced, slow
 * packets and disks. */
static void random_fault(struct world *w)
{
    uint64_t dice = rnd(w) % 10000;
    int i = (int)(rnd(w) % NODES), k = (int)(rnd(w) % NODES);
    if (dice < 30)
        cut_all(w, false);
    else if (dice < 60)
        w->cut[i][k] = true;
    else if (dice < 90)
        w->cut[i][(i + 1) % NODES] = w->cut[i][(i + 2) % NODES] = true;
    else if (dice < 120)
        cut_all(w, true);
    else if (dice < 180 && w->node[i].alive)
        crash(w, i);
    else if (dice < 210)
        w->node[i].disk_max = rnd(w) % 2 ? 3 : 60;
    else if (dice < 230)
        w->latency_max = rnd(w) % 2 ? 5 : 120;
    else if (dice < 2200 && w->node[i].alive && guard_last_index(&w->node[i].raft) + 8 < INDEX_MAX)
        put(w, i);
    for (int n = 0; n < NODES; n++)
        if (!w->node[n].alive && rnd(w) % 50 == 0)
            boot(w, n, false);
}

static int random_run(uint64_t seed, unsigned off, int *ret_committed)
{
    struct world *w = world_new(seed, off);
    w->lossy = true;
    for (int ms = 0; ms < 15000; ms++) {
        random_fault(w);
        step(w);
    }
    w->latency_max = 5;
    w->lossy = false;
    cut_all(w, false);
    for (int i = 0; i < NODES; i++) {
        if (!w->node[i].alive)
            boot(w, i, false);
        w->node[i].disk_max = 3;
    }
    run(w, 3000);
    int l = leader(w), conflicts = w->conflicts;
    *ret_committed = 0;
    for (size_t i = 0; i < INDEX_MAX; i++)
        *ret_committed += w->applied[i] != 0;
    if (off == ALL_RULES) {
        assert_true(l >= 0); /* progress after the faults */
        raft_index before = w->node[l].raft.commit_index;
        put(w, l);
        run(w, 500);
        assert_true(w->node[l].raft.commit_index > before);
    }
    world_free(w);
    return conflicts;
}

/* The faults are hard enough: the library alone does not survive them. */
static void random_faults_lose_entries_without_the_guard(void **state)
{
    (void)state;
    int lost = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        int committed;
        lost += random_run(seed, GUARD_G1_BARRIER | GUARD_G2_HOLD | GUARD_G3_CLIP, &committed) > 0;
    }
    print_message("lost in %d of 200\n", lost);
    assert_true(lost > 0);
}

static void random_faults_lose_nothing(void **state)
{
    (void)state;
    int total = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        int committed;
        assert_int_equal(random_run(seed, ALL_RULES, &committed), 0);
        total += committed;
    }
    print_message("%d entries committed\n", total);
    assert_true(total > 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figure_8_is_lost_without_the_guard),
        cmocka_unit_test(figure_8_is_safe_with_it),
        cmocka_unit_test(figure_8_is_lost_without_holding_results),
        cmocka_unit_test(figure_8_is_safe_while_results_are_held),
        cmocka_unit_test(a_silent_leader_applies_nothing_without_a_barrier),
        cmocka_unit_test(a_silent_leader_applies_what_it_inherits_with_it),
        cmocka_unit_test(a_stale_suffix_is_counted_without_the_guard),
        cmocka_unit_test(a_stale_suffix_is_not_counted_with_it),
        cmocka_unit_test(a_stale_suffix_is_applied_without_the_guard),
        cmocka_unit_test(a_stale_suffix_is_not_applied_with_it),
        cmocka_unit_test(a_wiped_voter_loses_entries_without_the_guard),
        cmocka_unit_test(a_wiped_voter_waits_with_it),
        cmocka_unit_test(a_follower_draws_a_time_out_for_each_leader),
        cmocka_unit_test(members_of_before_lose_entries_without_the_guard),
        cmocka_unit_test(members_of_before_elect_nobody_with_it),
        cmocka_unit_test(a_promoted_voter_is_missed_without_the_guard),
        cmocka_unit_test(a_promoted_voter_votes_with_it),
        cmocka_unit_test(a_commit_is_late_without_the_guard),
        cmocka_unit_test(a_commit_is_told_at_once_with_it),
        cmocka_unit_test(random_faults_lose_entries_without_the_guard),
        cmocka_unit_test(random_faults_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
