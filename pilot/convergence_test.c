/* If these failed, `weft wait` would say that a change is live while a proxy still lacks it, or
 * wait for a proxy that has refused it, or for a node that is gone. */
#include "pilot/convergence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/env/env_uv.h"
#include "pilot/pilot_limits.h"

/* A cluster of convergences in one loop. */

#define NODES 3

struct cluster;

struct node {
    struct cluster *cluster;
    uint64_t id;
    struct convergence *c;
    bool up, hangs; /* hangs: connected, and neither speaks nor hears */
    int changes;
};

struct cluster {
    struct env *env;
    wf_ms forget_after;
    struct node nodes[NODES];
};

/* A message under way: it arrives in a later step of the turn. */
struct mail {
    struct env_task task;
    struct cluster *cluster;
    uint64_t from, to;
    struct buf bytes;
};

static void on_mail(struct env_task *t)
{
    struct mail *m = container_of(t, struct mail, task);
    struct node *to = &m->cluster->nodes[m->to - 1], *from = &m->cluster->nodes[m->from - 1];
    if (to->up && from->up && !to->hangs && !from->hangs)
        convergence_receive(to->c, m->from, buf_slice(&m->bytes));
    buf_fini(&m->bytes);
    mem_free(m);
}

static void port_send(void *ctx, uint64_t to, struct slice bytes)
{
    struct node *n = ctx;
    for (uint64_t id = 1; id <= NODES; id++) {
        struct node *peer = &n->cluster->nodes[id - 1];
        if (id == n->id || (to && id != to) || !peer->up || !n->up)
            continue;
        struct mail *m = MEM_NEW(struct mail);
        *m = (struct mail){.task.fn = on_mail, .cluster = n->cluster, .from = n->id, .to = id};
        buf_append(&m->bytes, bytes);
        env_defer(n->cluster->env, &m->task);
    }
}

static size_t port_peers(void *ctx, uint64_t ids[REG_NODES_MAX])
{
    struct node *n = ctx;
    size_t count = 0;
    for (uint64_t id = 1; id <= NODES; id++)
        if (id != n->id && n->cluster->nodes[id - 1].up && !n->cluster->nodes[id - 1].hangs)
            ids[count++] = id;
    return count;
}

static void on_change(void *ctx)
{
    ((struct node *)ctx)->changes++;
}

static void node_start(struct cluster *cl, size_t i)
{
    struct node *n = &cl->nodes[i];
    n->cluster = cl;
    n->id = i + 1;
    n->up = true;
    n->c = convergence_new(&(struct convergence_options){.env = cl->env,
                                                         .port = {n, port_send, port_peers},
                                                         .on_change = on_change,
                                                         .ctx = n,
                                                         .forget_after = cl->forget_after});
}

static void node_stop(struct cluster *cl, size_t i)
{
    struct node *n = &cl->nodes[i];
    if (!n->up)
        return;
    n->up = false;
    convergence_free(n->c);
    n->c = NULL;
    for (size_t p = 0; p < NODES; p++)
        if (cl->nodes[p].up)
            convergence_peer_down(cl->nodes[p].c, n->id);
}

static int begin(struct cluster *cl)
{
    struct err err;
    cl->env = env_uv_new(&err);
    wf_assert(cl->env);
    for (size_t i = 0; i < NODES; i++)
        node_start(cl, i);
    return 0;
}

static int setup(void **state)
{
    struct cluster *cl = MEM_NEW(struct cluster);
    *state = cl;
    return begin(cl);
}

static int teardown(void **state)
{
    struct cluster *cl = *state;
    for (size_t i = 0; i < NODES; i++)
        node_stop(cl, i);
    env_uv_free(cl->env);
    mem_free(cl);
    return 0;
}

struct waiter {
    struct convergence_wait wait;
    int calls;
    size_t rejections;
    char first[128]; /* "type resource source" of the first rejection */
};

static void on_wait(struct convergence_wait *w)
{
    struct waiter *me = container_of(w, struct waiter, wait);
    me->calls++;
    me->rejections = w->result.rejection_count;
    if (!me->rejections)
        return;
    const struct summary_rejection *r = &w->result.rejections[0];
    snprintf(me->first, sizeof(me->first), "%.*s %.*s %u %.*s", SLICE(r->type), SLICE(r->resource),
             r->proxies, SLICE(r->source_count ? r->sources[0] : S("-")));
}

static void wait_start(struct cluster *cl, size_t node, struct waiter *w, reg_rev revision,
                       wf_ms timeout)
{
    *w = (struct waiter){.wait = {.revision = revision, .timeout = timeout, .fn = on_wait}};
    convergence_wait(cl->nodes[node].c, &w->wait);
}

/* Until it is answered; the test's own time-out ends one that never is. */
static void wait_end(struct cluster *cl, struct waiter *w)
{
    while (!w->calls)
        env_uv_turn(cl->env, 100);
    assert_int_equal(w->calls, 1);
}

static struct convergence_proxy *join(struct cluster *cl, size_t node, const char *name)
{
    return convergence_join(cl->nodes[node].c, slice_of(name), hash_bytes(slice_of(name)));
}

static void leave(struct cluster *cl, size_t node, struct convergence_proxy *p)
{
    convergence_leave(cl->nodes[node].c, p);
}

static void update(struct cluster *cl, size_t node, struct convergence_proxy *p, reg_rev rev)
{
    convergence_update(cl->nodes[node].c, p, 0, rev, rev, NULL, 0);
}

/* Until the node has been told of so many proxies: joining elsewhere takes a message to be known.
 */
static void know(struct cluster *cl, size_t node, uint32_t total)
{
    while (convergence_summary(cl->nodes[node].c)->total != total)
        env_uv_turn(cl->env, 100);
}

/* Tests. */

static void no_proxy(void **state)
{
    struct cluster *cl = *state;
    struct waiter w;
    wait_start(cl, 0, &w, 5, 10000);
    wait_end(cl, &w);
    assert_int_equal(w.wait.err.code, ERR_NONE);
    assert_int_equal(w.wait.result.total, 0);
    assert_int_equal(w.wait.result.silent_count, 0);
}

static void all_nodes_count(void **state)
{
    struct cluster *cl = *state;
    struct convergence_proxy *a = join(cl, 0, "a");
    struct convergence_proxy *b = join(cl, 1, "b");
    struct convergence_proxy *c = join(cl, 2, "c");
    struct waiter w, early;
    update(cl, 0, a, 6);
    update(cl, 1, b, 5);
    update(cl, 2, c, 4);
    know(cl, 0, 3);
    wait_start(cl, 0, &early, 4, 10000);
    wait_end(cl, &early);
    assert_int_equal(early.wait.result.live, 3);
    wait_start(cl, 0, &w, 5, 10000);
    env_uv_turn(cl->env, 1);
    assert_int_equal(w.calls, 0);
    update(cl, 2, c, 5);
    wait_end(cl, &w);
    assert_int_equal(w.wait.err.code, ERR_NONE);
    assert_int_equal(w.wait.result.live, 3);
    assert_int_equal(w.wait.result.total, 3);
    convergence_leave(cl->nodes[0].c, a);
    convergence_leave(cl->nodes[1].c, b);
    convergence_leave(cl->nodes[2].c, c);
}

static void deadline_tells_who_lacks_it(void **state)
{
    struct cluster *cl = *state;
    struct convergence_proxy *a = join(cl, 0, "a");
    struct convergence_proxy *b = join(cl, 1, "b");
    struct waiter w;
    update(cl, 0, a, 7);
    know(cl, 2, 2);
    wait_start(cl, 2, &w, 7, 30);
    wait_end(cl, &w);
    assert_int_equal(w.wait.err.code, ERR_TIMEOUT);
    assert_int_equal(w.wait.result.live, 1);
    assert_int_equal(w.wait.result.total, 2);
    assert_string_equal(w.wait.err.msg, "1 of 2 proxies have revision 7");
    convergence_leave(cl->nodes[0].c, a);
    convergence_leave(cl->nodes[1].c, b);
}

static void a_rejection_decides(void **state)
{
    struct cluster *cl = *state;
    struct convergence_proxy *a = join(cl, 0, "a");
    struct convergence_proxy *b = join(cl, 1, "b");
    struct slice source = S("virtualservices.networking.istio.io/default/x");
    struct convergence_reject r = {.type = "rds",
                                   .resource = S("80"),
                                   .version = S("7.0"),
                                   .message = S("no"),
                                   .sources = &source,
                                   .source_count = 1};
    struct waiter w;
    know(cl, 2, 2);
    wait_start(cl, 2, &w, 7, 10000);
    convergence_update(cl->nodes[0].c, a, 0, 6, 7, &r, 1);
    convergence_update(cl->nodes[1].c, b, 0, 6, 7, &r, 1);
    wait_end(cl, &w);
    assert_int_equal(w.wait.err.code, ERR_NONE);
    assert_int_equal(w.wait.result.live, 0);
    assert_int_equal(w.rejections, 1);
    assert_string_equal(w.first, "rds 80 2 virtualservices.networking.istio.io/default/x");
    assert_true(cl->nodes[2].changes > 0);

    /* It goes away when the proxies take what follows. */
    update(cl, 0, a, 8);
    update(cl, 1, b, 8);
    wait_start(cl, 2, &w, 8, 10000);
    wait_end(cl, &w);
    assert_int_equal(w.wait.result.live, 2);
    assert_int_equal(w.rejections, 0);
    convergence_leave(cl->nodes[0].c, a);
    convergence_leave(cl->nodes[1].c, b);
}

static void a_lost_node_is_forgotten(void **state)
{
    struct cluster *cl = *state;
    struct convergence_proxy *a = join(cl, 0, "a");
    struct convergence_proxy *b = join(cl, 1, "b");
    struct waiter w;
    update(cl, 0, a, 3);
    know(cl, 0, 2);
    wait_start(cl, 0, &w, 3, 10000);
    env_uv_turn(cl->env, 5);
    assert_int_equal(w.calls, 0);
    convergence_leave(cl->nodes[1].c, b);
    node_stop(cl, 1);
    wait_end(cl, &w);
    assert_int_equal(w.wait.result.total, 1);

    /* A node that comes is told everything, and nothing is decided before it has spoken. */
    node_start(cl, 1);
    b = join(cl, 1, "b");
    update(cl, 1, b, 3);
    wait_start(cl, 1, &w, 3, 10000);
    assert_int_equal(w.calls, 0);
    wait_end(cl, &w);
    assert_int_equal(w.wait.result.total, 2);
    assert_int_equal(w.wait.result.silent_count, 0);
    convergence_leave(cl->nodes[0].c, a);
    convergence_leave(cl->nodes[1].c, b);
}

/* Until the node takes so many of the total for unknown. */
static void unknown(struct cluster *cl, size_t node, uint32_t count, uint32_t total)
{
    while (convergence_unknown(cl->nodes[node].c) != count)
        env_uv_turn(cl->env, 100);
    assert_int_equal(convergence_summary(cl->nodes[node].c)->total, total);
}

static void a_proxy_that_moved_counts_where_it_is(void **state)
{
    struct cluster *cl = *state;
    struct convergence_proxy *a = join(cl, 0, "a"), *b = join(cl, 1, "b"), *c = join(cl, 1, "c");
    struct waiter w;
    update(cl, 0, a, 5);
    update(cl, 1, b, 5);
    update(cl, 1, c, 5);
    know(cl, 0, 3);
    know(cl, 2, 3);
    wait_start(cl, 2, &w, 5, 10000);
    wait_end(cl, &w);
    cl->nodes[1].hangs = true;
    unknown(cl, 0, 2, 3);
    unknown(cl, 2, 2, 3);
    wait_start(cl, 2, &w, 5, 0); /* what it said before stays true */
    wait_end(cl, &w);
    assert_int_equal(w.wait.result.live, 3);

    /* Wrong: live on all, while two run what is older. */
    update(cl, 0, a, 6);
    wait_start(cl, 0, &w, 6, 30);
    wait_end(cl, &w);
    assert_int_equal(w.wait.err.code, ERR_TIMEOUT);
    assert_int_equal(w.wait.result.live, 1);
    assert_int_equal(w.wait.result.total, 3);
    assert_int_equal(w.wait.result.unknown, 2);
    assert_int_equal(w.wait.result.silent_count, 1);
    assert_int_equal(w.wait.result.silent[0], 2);

    /* One comes, here, then the other, elsewhere. Wrong: 5 proxies, of which two are behind. */
    struct convergence_proxy *b2 = join(cl, 0, "b");
    unknown(cl, 0, 1, 3);
    unknown(cl, 2, 1, 3);
    struct convergence_proxy *c2 = join(cl, 2, "c");
    unknown(cl, 0, 0, 3);
    wait_start(cl, 0, &w, 6, 10000);
    update(cl, 0, b2, 6);
    update(cl, 2, c2, 6);
    wait_end(cl, &w);
    assert_int_equal(w.wait.err.code, ERR_NONE);
    assert_int_equal(w.wait.result.live, 3);
    assert_int_equal(w.wait.result.total, 3);
    assert_int_equal(w.wait.result.silent[0], 2);

    /* It wakes, and finds that they have left. */
    cl->nodes[1].hangs = false;
    leave(cl, 1, b);
    leave(cl, 1, c);
    struct convergence_proxy *d = join(cl, 1, "d");
    know(cl, 0, 4);
    know(cl, 1, 4);
    leave(cl, 0, a);
    leave(cl, 0, b2);
    leave(cl, 2, c2);
    leave(cl, 1, d);
}

/* Which two of three are left is not told by numbers: those that were least far. */
static void who_is_left_was_least_far(void **state)
{
    struct cluster *cl = *state;
    struct convergence_proxy *a = join(cl, 1, "a"), *b = join(cl, 1, "b"), *c = join(cl, 1, "c");
    update(cl, 1, a, 9);
    update(cl, 1, b, 7);
    update(cl, 1, c, 8);
    know(cl, 0, 3);
    while (summary_dist_lowest(&convergence_summary(cl->nodes[0].c)->converged) != 7)
        env_uv_turn(cl->env, 100);
    cl->nodes[1].hangs = true;
    unknown(cl, 0, 3, 3);
    struct convergence_proxy *b2 = join(cl, 0, "b");
    update(cl, 0, b2, 9);
    unknown(cl, 0, 2, 3);
    const struct summary *s = convergence_summary(cl->nodes[0].c);
    /* Wrong: c has 9. */
    assert_int_equal(summary_dist_at_least(&s->converged, 9), 1);
    assert_int_equal(summary_dist_at_least(&s->converged, 8), 2);
    assert_int_equal(summary_dist_at_least(&s->settled, 7), 3);
    leave(cl, 0, b2);
    leave(cl, 1, a);
    leave(cl, 1, b);
    leave(cl, 1, c);
}

static int setup_forgetful(void **state)
{
    struct cluster *cl = MEM_NEW(struct cluster);
    cl->forget_after = 3000; /* some refreshes later than it is silent */
    *state = cl;
    return begin(cl);
}

static void what_a_silent_node_said_is_forgotten(void **state)
{
    struct cluster *cl = *state;
    struct convergence_proxy *a = join(cl, 0, "a"), *b = join(cl, 1, "b");
    struct waiter w;
    know(cl, 0, 2);
    cl->nodes[1].hangs = true;
    update(cl, 0, a, 6);
    wait_start(cl, 0, &w, 6, 20000);
    unknown(cl, 0, 1, 2);
    assert_int_equal(w.calls, 0); /* Wrong: live on 1/1, while b may run what is older */
    wait_end(cl, &w);             /* Wrong: for ever */
    assert_int_equal(w.wait.err.code, ERR_NONE);
    assert_int_equal(w.wait.result.live, 1);
    assert_int_equal(w.wait.result.total, 1);
    assert_int_equal(w.wait.result.unknown, 0);
    assert_int_equal(w.wait.result.silent_count, 0);

    cl->nodes[1].hangs = false; /* with its proxy, that has noticed nothing */
    know(cl, 0, 2);
    leave(cl, 0, a);
    leave(cl, 1, b);
}

static void times_from_the_commit(void **state)
{
    struct cluster *cl = *state;
    struct convergence *c = cl->nodes[0].c;
    struct convergence_proxy *a = join(cl, 0, "a");
    wf_ms now = (wf_ms)(env_now_ns(cl->env) / 1000000);
    struct waiter w;
    convergence_committed(c, 10, now);
    assert_int_equal(convergence_update(c, a, now + 5, 10, 10, NULL, 0), -1); /* cold, not news */
    convergence_committed(c, 11, now + 10);
    convergence_committed(c, 14, now + 20); /* 12, 13 and 14 in one */
    assert_int_equal(convergence_update(c, a, now + 25, 11, 11, NULL, 0), 15);
    assert_int_equal(convergence_update(c, a, now + 26, 13, 13, NULL, 0), -1);
    assert_int_equal(convergence_update(c, a, now + 29, 14, 14, NULL, 0), 9);
    wait_start(cl, 0, &w, 10, 10000);
    wait_end(cl, &w);
    assert_true(w.wait.result.ms >= 0 && w.wait.result.ms < 60000);
    convergence_leave(c, a);
}

static void garbage_is_dropped(void **state)
{
    struct cluster *cl = *state;
    struct convergence *c = cl->nodes[0].c;
    env_uv_turn(cl->env, 5);
    convergence_receive(c, 2, S("\x01garbage"));
    convergence_receive(c, 0, S(""));
    assert_int_equal(convergence_summary(c)->total, 0);
}

static void cancelled(void **state)
{
    struct cluster *cl = *state;
    struct convergence_proxy *a = join(cl, 0, "a");
    struct waiter w, gone;
    wait_start(cl, 0, &gone, 9, 10000);
    convergence_wait_cancel(&gone.wait);
    wait_start(cl, 0, &w, 9, 10000);
    convergence_leave(cl->nodes[0].c, a);
    node_stop(cl, 0);
    assert_int_equal(w.calls, 1);
    assert_int_equal(w.wait.err.code, ERR_CANCELLED);
    assert_int_equal(gone.calls, 0);
}

/* The sum of a node against a recount. */

static uint32_t rnd(uint64_t *seed, uint32_t below)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33) % below;
}

static void dist_equals_recount(void **state)
{
    (void)state;
    enum { N = 200 };
    reg_rev at[N] = {0};
    struct summary_dist d = {0};
    uint64_t seed = 1;
    summary_dist_add(&d, 0, N);
    for (int step = 0; step < 20000; step++) {
        uint32_t i = rnd(&seed, N);
        reg_rev to = rnd(&seed, 300);
        summary_dist_sub(&d, at[i], 1);
        summary_dist_add(&d, to, 1);
        at[i] = to;
        reg_rev ask = rnd(&seed, 300), lowest = UINT64_MAX;
        uint32_t count = 0;
        for (size_t k = 0; k < N; k++) {
            count += at[k] >= ask;
            lowest = at[k] < lowest ? at[k] : lowest;
        }
        assert_int_equal(summary_dist_at_least(&d, ask), count);
        assert_int_equal(summary_dist_lowest(&d), lowest);
    }
    summary_dist_fini(&d);
}

/* More distinct revisions than a message holds: nobody may be told to be further than it is. */
static void squash_is_conservative(void **state)
{
    (void)state;
    struct summary s = {0};
    struct buf bytes = {0};
    struct arena arena = {0};
    struct summary back;
    struct err err;
    for (reg_rev r = 1; r <= 500; r++) {
        summary_dist_add(&s.converged, r, 1);
        summary_dist_add(&s.settled, r, 1);
    }
    s.total = 500;
    summary_encode(&s, &bytes);
    assert_true(summary_decode(buf_slice(&bytes), &arena, &back, &err));
    assert_int_equal(summary_dist_lowest(&back.converged), 1);
    for (reg_rev r = 1; r <= 501; r++)
        assert_true(summary_dist_at_least(&back.converged, r) <=
                    summary_dist_at_least(&s.converged, r));
    assert_int_equal(summary_dist_at_least(&back.converged, 490), 11);
    /* Every cut of it is refused. */
    for (size_t n = 0; n < bytes.n; n++) {
        struct arena a = {0};
        assert_false(summary_decode(slice_sub(buf_slice(&bytes), 0, n), &a, &back, &err));
        arena_fini(&a);
    }
    summary_dist_fini(&s.converged);
    summary_dist_fini(&s.settled);
    buf_fini(&bytes);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_proxy, setup, teardown),
        cmocka_unit_test_setup_teardown(all_nodes_count, setup, teardown),
        cmocka_unit_test_setup_teardown(deadline_tells_who_lacks_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rejection_decides, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_node_is_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(a_proxy_that_moved_counts_where_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_left_was_least_far, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_silent_node_said_is_forgotten, setup_forgetful,
                                        teardown),
        cmocka_unit_test_setup_teardown(times_from_the_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_is_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(cancelled, setup, teardown),
        cmocka_unit_test(dist_equals_recount),
        cmocka_unit_test(squash_is_conservative),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
