/* If these fail, an upgrade of one node after another stops the cluster, or loses what it holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "registry/node_test_util.h"

/* The state of a case that is run over TLS too; NULL: without. */
static bool with_tls = true;

static unsigned version_of(struct cluster *c, size_t i)
{
    struct reg_status s;
    reg_node_status(c->node[i], &s);
    return s.version;
}

static bool all_connected(struct cluster *c, size_t i)
{
    struct reg_status s;
    bool all = true;
    reg_node_status(c->node[i], &s);
    for (size_t k = 0; k < s.member_count; k++)
        all = all && s.members[k].connected && s.members[k].reads.newest;
    return all;
}

/* Node i with a program that reads this. */
static void up_as(struct cluster *c, size_t i, struct versions reads)
{
    c->opt.reads = reads;
    must_up(c, i);
}

static void restart_as(struct cluster *c, size_t i, struct versions reads)
{
    node_down(c, i, false);
    up_as(c, i, reads);
}

/* Wrong: while nodes are upgraded one after another somebody is sent what it cannot read, or nobody
 * can go back any more before all are new; or a program comes back that does not read what is
 * there. */
static void the_version_rises_when_all_read_it(void **state)
{
    static const struct versions old = {3, 3}, new = {3, 4};
    struct cluster c;
    struct err err = {0};
    struct reg_status s;
    cluster_begin(&c, 3, state);
    c.opt.version_settle = 100;
    for (size_t i = 0; i < 3; i++)
        up_as(&c, i, old);
    must_put_everywhere(&c, 0, "services/default/a", "old");
    restart_as(&c, 0, new);
    restart_as(&c, 1, new);
    must_put_everywhere(&c, 0, "services/default/a", "mixed");
    restart_as(&c, 1, old); /* back again: nothing was raised */
    restart_as(&c, 1, new);
    must_put_everywhere(&c, 0, "services/default/a", "mixed again");
    WAIT_FOR(all_connected(&c, wait_leader(&c)));
    uint64_t until = test_now_ms() + 500; /* five times what it takes when all are new */
    for (int i = 0; test_now_ms() < until; i++)
        must_put_everywhere(&c, (size_t)i % 3, "services/default/b", i % 2 ? "x" : "y");
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(version_of(&c, i), 3);
    reg_node_status(c.node[0], &s);
    assert_int_equal(s.members[2].reads.newest, 3);
    assert_int_equal(s.members[1].reads.newest, 4);
    assert_string_equal(s.members[1].release, WEFT_VERSION);
    restart_as(&c, 2, new);
    for (size_t i = 0; i < 3; i++)
        WAIT_FOR(version_of(&c, i) == 4);
    must_put_everywhere(&c, 2, "services/default/a", "new");
    node_down(&c, 2, false);
    c.opt.reads = old;
    assert_false(node_up(&c, 2, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "the cluster is of version 4, this program reads 3 to 3"));
    up_as(&c, 2, new);
    must_put_everywhere(&c, 2, "services/default/a", "again");
    cluster_fini(&c);
}

struct raise {
    struct env_post post;
    struct reg_node *n;
    bool over, ok;
};

static void on_raise(struct env_post *post)
{
    struct raise *r = container_of(post, struct raise, post);
    r->ok = node_write_raise(r->n, 4);
    __atomic_store_n(&r->over, true, __ATOMIC_RELEASE);
}

/* Wrong: who went back to an older program after the leader had asked is sent the entry that raises
 * the version, and ends when it applies it. Here the leader does not ask at all. */
static void nobody_is_sent_what_it_does_not_read(void **state)
{
    struct cluster c;
    cluster_begin(&c, 3, state);
    c.opt.version_settle = CLUSTER_WAIT_MS;
    for (size_t i = 0; i < 3; i++)
        up_as(&c, i, (struct versions){3, i == 2 ? 3 : 4});
    must_put_everywhere(&c, 0, "services/default/a", "1");
    while (wait_leader(&c) == 2)
        restart_as(&c, 2, (struct versions){3, 3});
    size_t leader = wait_leader(&c);
    WAIT_FOR(all_connected(&c, leader));
    reg_rev before = applied_of(&c, leader);
    struct raise raise = {.post.fn = on_raise, .n = c.node[leader]};
    env_post(c.node[leader]->env, &raise.post);
    WAIT_FOR(__atomic_load_n(&raise.over, __ATOMIC_ACQUIRE));
    assert_true(raise.ok);
    WAIT_FOR(version_of(&c, 0) == 4 && version_of(&c, 1) == 4);
    must_put(&c, leader, "services/default/a", "2");
    assert_int_equal(version_of(&c, 2), 3);
    assert_true(applied_of(&c, 2) <= before);
    restart_as(&c, 2, (struct versions){3, 4}); /* what it is told to do */
    WAIT_FOR(value_is(&c, 2, "services/default/a", "2"));
    WAIT_FOR(version_of(&c, 2) == 4);
    cluster_fini(&c);
}

/* Wrong: a program that does not read an entry of its own log starts, and ends when that is
 * applied. The store is gone here, so that the log alone tells. */
static void a_log_of_a_newer_version_is_not_opened(void **state)
{
    (void)state;
    struct cluster c;
    struct err err = {0};
    char store[80];
    cluster_init(&c, 1);
    c.opt.version_settle = 1;
    cluster_up(&c);
    must_put(&c, 0, "services/default/a", "1");
    WAIT_FOR(version_of(&c, 0) == 4);
    node_down(&c, 0, false);
    snprintf(store, sizeof(store), "%s/store", c.dir[0]);
    test_dir_remove(store);
    c.opt.reads = (struct versions){3, 3};
    assert_false(node_up(&c, 0, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "the log holds entries of version 4, this program reads 3"));
    c.opt.reads = (struct versions){3, 5};
    assert_false(node_up(&c, 0, &err));
    assert_int_equal(err.code, ERR_INVALID);
    up_as(&c, 0, (struct versions){0});
    assert_true(value_is(&c, 0, "services/default/a", "1"));
    assert_int_equal(version_of(&c, 0), 4);
    cluster_fini(&c);
}

int main(void)
{
#define BOTH(name) cmocka_unit_test(name), cmocka_unit_test_prestate(name, &with_tls)
    const struct CMUnitTest tests[] = {
        BOTH(the_version_rises_when_all_read_it),
        BOTH(nobody_is_sent_what_it_does_not_read),
        cmocka_unit_test(a_log_of_a_newer_version_is_not_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
