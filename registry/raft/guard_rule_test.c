/* Rules of the guard that keep a cluster going or stop a node, one schedule each: with the rule off
 * the harm must appear, with it on it must not. Where a node is to stop, a child plays it. */
#include "registry/raft/guard_child_testing.h"

/* G7: three candidates with different terms.
 * The longer a node's log, the lower its term: each pre-vote is refused for one reason or the
 * other, and only a refusal that tells of the higher term ends it. */
static void give_log(struct sim_node *x, int entries, raft_term term)
{
    for (int i = 0; i < entries; i++) {
        struct disk_entry e = {.term = 1, .type = RAFT_COMMAND, .value = (uint64_t)i + 1};
        buf_append(&e.bytes, slice_mem(&e.value, sizeof(e.value)));
        *vec_push(&x->log) = e;
    }
    x->term = term;
    x->vote = 0;
}

static enum outcome three_terms(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    for (int i = 0; i < NODES; i++) {
        crash(w, i);
        give_log(&w->node[i], 2 * (NODES - 1 - i), 3 + 5 * (raft_term)i);
    }
    for (int i = 0; i < NODES; i++)
        boot(w, i, false);
    enum outcome out = LOST;
    for (int ms = 0; ms < 10000 && out == LOST; ms++) {
        step(w);
        if (leader(w) >= 0)
            out = SAFE;
    }
    world_free(w);
    return out;
}

static void three_terms_never_elect_without_the_guard(void **state)
{
    (void)state;
    int stuck = count(three_terms, GUARD_G7_PREVOTE_TERM, LOST);
    print_message("no leader within 10 s in %d of %d\n", stuck, SEEDS);
    assert_true(stuck > SEEDS / 2);
}

static void three_terms_elect_with_it(void **state)
{
    (void)state;
    assert_int_equal(count(three_terms, ALL_RULES, SAFE), SEEDS);
}

/* G8: one write of the log fails on the leader.
 * 0.15 takes the entry back from its memory and leads on, while the followers have it: the next
 * entry gets its index and its term, and two nodes apply two values there, or the process
 * crashes. */
static enum outcome failed_write(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    run(w, 600);
    int a = leader(w);
    if (a < 0)
        return NOT_REACHED;
    run(w, 100);
    w->node[a].disk_fails = true;
    raft_index at = put(w, a);
    run(w, 20);
    w->node[a].disk_fails = false;
    if (!at || !put(w, a))
        return NOT_REACHED;
    run(w, 500);
    return w->conflicts ? LOST : SAFE; /* the child ends with its world */
}

static void a_failed_write_loses_entries_without_the_guard(void **state)
{
    (void)state;
    int lost = count_in_child(failed_write, GUARD_G8_FAIL_STOP, LOST);
    int died = count_in_child(failed_write, GUARD_G8_FAIL_STOP, CHILD_DIED) +
               count_in_child(failed_write, GUARD_G8_FAIL_STOP, CHILD_CRASHED);
    print_message("lost in %d, crashed in %d of %d\n", lost, died, SEEDS);
    assert_true(lost > 0 && lost + died > SEEDS / 2);
}

static void a_failed_write_ends_the_process_with_it(void **state)
{
    (void)state;
    assert_int_equal(count_in_child(failed_write, ALL_RULES, CHILD_DIED), SEEDS);
}

/* G10: an entry of 13 bytes. The simulated disk keeps any length, so that only the refusal shows;
 * with the rule off the entry goes through to the disk. */
static enum outcome odd_entry(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    run(w, 600);
    int a = leader(w);
    if (a < 0)
        return NOT_REACHED;
    struct raft_apply req;
    struct raft_buffer buf = {raft_calloc(1, 13), 13};
    if (raft_apply(&w->node[a].raft, &req, &buf, 1, NULL) != 0)
        return NOT_REACHED;
    raft_index at = guard_last_index(&w->node[a].raft);
    run(w, 10);
    return w->node[a].log.n >= at ? LOST : SAFE;
}

static void an_odd_entry_reaches_the_disk_without_the_guard(void **state)
{
    (void)state;
    assert_true(count_in_child(odd_entry, GUARD_G10_PAD, LOST) > SEEDS / 2);
}

static void an_odd_entry_ends_the_process_with_it(void **state)
{
    (void)state;
    assert_int_equal(count_in_child(odd_entry, ALL_RULES, CHILD_DIED), SEEDS);
}

static struct raft_message told_to_stand(const struct sim_node *x, int by)
{
    raft_index last = guard_last_index(&x->raft);
    return (struct raft_message){.type = RAFT_IO_TIMEOUT_NOW,
                                 .server_id = (raft_id)by + 1,
                                 .server_address = addresses[by],
                                 .timeout_now = {.term = x->raft.current_term,
                                                 .last_log_index = last,
                                                 .last_log_term = guard_term_of(&x->raft, last)}};
}

/* G4, G5: a follower with a write in flight becomes a candidate. */
static enum outcome busy_follower(uint64_t seed, unsigned off, bool told)
{
    struct world *w = world_new(seed, off);
    enum outcome out = NOT_REACHED;
    run(w, 600);
    int a = leader(w), b = (a + 1) % NODES;
    if (a < 0)
        goto end;
    run(w, 100);
    struct sim_node *x = &w->node[b];
    x->disk_max = 100000;
    put(w, a);
    for (int ms = 0; ms < 40 && list_empty(&x->ops); ms++)
        step(w);
    if (list_empty(&x->ops) || x->raft.state != RAFT_FOLLOWER)
        goto end;
    if (told) {
        struct raft_message m = told_to_stand(x, a);
        x->recv(&x->io, &m);
    } else {
        crash(w, a);
        for (int ms = 0; ms < 400 && x->raft.state == RAFT_FOLLOWER; ms++)
            step(w);
    }
    out = !list_empty(&x->ops) && x->raft.state != RAFT_FOLLOWER ? LOST : SAFE;
end:
    world_free(w);
    return out;
}

/* G5: whoever hands over waits an election time-out, and nobody leads meanwhile. SAFE: what it was
 * told while a write was in flight it does when that has landed. */
static enum outcome told_while_busy(uint64_t seed, unsigned off)
{
    struct world *w = world_new(seed, off);
    enum outcome out = NOT_REACHED;
    run(w, 700);
    int a = leader(w), b = (a + 1) % NODES;
    if (a < 0)
        goto end;
    struct sim_node *x = &w->node[b];
    x->disk_max = 100;
    put(w, a);
    for (int ms = 0; ms < 40 && list_empty(&x->ops); ms++)
        step(w);
    if (list_empty(&x->ops) || x->raft.state != RAFT_FOLLOWER)
        goto end;
    struct raft_message m = told_to_stand(x, a);
    x->recv(&x->io, &m);
    for (int ms = 0; ms < 200 && x->raft.current_term == m.timeout_now.term; ms++)
        step(w);
    out = x->raft.current_term > m.timeout_now.term ? SAFE : LOST;
end:
    world_free(w);
    return out;
}

static enum outcome busy_tick(uint64_t seed, unsigned off)
{
    return busy_follower(seed, off, false);
}

static enum outcome busy_timeout_now(uint64_t seed, unsigned off)
{
    return busy_follower(seed, off, true);
}

static void a_busy_follower_stands_without_the_guard(void **state)
{
    (void)state;
    int tick = count(busy_tick, GUARD_G4_BUSY_TICK, LOST);
    int told = count(busy_timeout_now, GUARD_G5_BUSY_TIMEOUT_NOW, LOST);
    print_message("stood by itself in %d, told to in %d of %d\n", tick, told, SEEDS);
    assert_true(tick > 0);
    assert_true(told > SEEDS / 2);
}

static void a_busy_follower_waits_with_it(void **state)
{
    (void)state;
    none_loses(busy_tick);
    none_loses(told_while_busy);
    none_loses(busy_timeout_now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_terms_never_elect_without_the_guard),
        cmocka_unit_test(three_terms_elect_with_it),
        cmocka_unit_test(a_failed_write_loses_entries_without_the_guard),
        cmocka_unit_test(a_failed_write_ends_the_process_with_it),
        cmocka_unit_test(an_odd_entry_reaches_the_disk_without_the_guard),
        cmocka_unit_test(an_odd_entry_ends_the_process_with_it),
        cmocka_unit_test(a_busy_follower_stands_without_the_guard),
        cmocka_unit_test(a_busy_follower_waits_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
