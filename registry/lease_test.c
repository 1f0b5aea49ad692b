/* If these fail, two own what one may own, who was replaced still writes, or a machine that is gone
 * stays in the registry; or the other way round, one that lives is thrown out. */
#include "registry/store_testing.h"

#define LEASE S("leases/default/a")

static enum err_code grant(struct fixture *f, const char *holder, uint64_t epoch)
{
    char value[64];
    struct reg_grant g = {.holder = slice_of(holder), .ttl_ms = 10000, .epoch = epoch};
    snprintf(value, sizeof(value), "%s %d %d", holder, (int)epoch, (int)f->index);
    return apply(f, &(struct reg_op){.key = LEASE, .value = slice_of(value), .grant = &g}, 1);
}

static enum err_code put_on(struct fixture *f, const char *key, struct slice lease)
{
    return apply(f, &(struct reg_op){.key = slice_of(key), .value = S("{}"), .attach = lease}, 1);
}

static enum err_code put_fenced(struct fixture *f, const char *key, uint64_t epoch)
{
    struct reg_op ops[] = {
        {.key = LEASE, .check = true, .expect = REG_EXPECT_EPOCH, .expected = epoch},
        {.key = slice_of(key), .value = S("fenced")},
    };
    return apply(f, ops, 2);
}

static struct reg_lease lease(struct fixture *f)
{
    struct reg_txn t;
    struct reg_lease l = {0};
    read_begin(f, &t);
    reg_lease_get(&t, LEASE, &l);
    reg_txn_end(&t);
    return l;
}

static uint64_t epoch_next(struct fixture *f)
{
    struct reg_txn t;
    read_begin(f, &t);
    uint64_t epoch = reg_lease_epoch_next(&t, LEASE);
    reg_txn_end(&t);
    return epoch;
}

struct told {
    unsigned held, gone;
};

static void on_lease(void *ctx, const struct reg_lease *l, bool gone)
{
    struct told *told = ctx;
    assert_true(l->key.n > 1);
    told->held += !gone;
    told->gone += gone;
}

static void epochs_rise_and_nobody_is_robbed(void **state)
{
    struct fixture *f = *state;
    struct told told = {0};
    store_down(f);
    f->opt.on_lease = on_lease;
    f->opt.ctx = &told;
    store_up(f);
    assert_int_equal(grant(f, "x", 0), ERR_CONFLICT);
    assert_int_equal(grant(f, "x", 1), ERR_NONE);
    assert_int_equal(grant(f, "y", 2), ERR_CONFLICT); /* held */
    assert_int_equal(grant(f, "x", 2), ERR_CONFLICT); /* a renewal keeps its epoch */
    assert_int_equal(grant(f, "x", 1), ERR_NONE);
    assert_int_equal(grant(f, "", 1), ERR_NONE);
    assert_int_equal(grant(f, "x", 1), ERR_CONFLICT); /* the same holder, another acquisition */
    assert_int_equal(grant(f, "y", 2), ERR_NONE);
    assert_int_equal(lease(f).epoch, 2);
    assert_int_equal(apply(f, &(struct reg_op){.key = LEASE, .del = true}, 1), ERR_NONE);
    assert_int_equal(lease(f).epoch, 0);
    assert_int_equal(epoch_next(f), 3);
    assert_int_equal(grant(f, "x", 2), ERR_CONFLICT); /* made again, it goes on behind */
    assert_int_equal(grant(f, "x", 3), ERR_NONE);
    assert_int_equal(told.held, 5);
    assert_int_equal(told.gone, 1);
}

static void fences_hold(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put_fenced(f, "k0", 0), ERR_CONFLICT); /* no lease */
    grant(f, "x", 1);
    assert_int_equal(put_fenced(f, "k1", 1), ERR_NONE);
    assert_int_equal(put_fenced(f, "k2", 2), ERR_CONFLICT);
    grant(f, "", 1);
    assert_int_equal(put_fenced(f, "k3", 1), ERR_CONFLICT); /* released */
    grant(f, "y", 2);
    assert_int_equal(put_fenced(f, "k4", 1), ERR_CONFLICT);
    assert_int_equal(put_fenced(f, "k5", 2), ERR_NONE);
    assert_true(there(f, "k1") && there(f, "k5"));
    assert_false(there(f, "k0") || there(f, "k2") || there(f, "k3") || there(f, "k4"));
}

static void what_hangs_on_a_lease_falls_with_it(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put_on(f, "a", LEASE), ERR_GONE);
    grant(f, "x", 1);
    assert_int_equal(put_on(f, "a", LEASE), ERR_NONE);
    assert_int_equal(put_on(f, "b", LEASE), ERR_NONE);
    assert_int_equal(put_on(f, "c", LEASE), ERR_NONE);
    apply(f, &(struct reg_op){.key = S("c"), .value = S("alone")}, 1);
    apply(f, &(struct reg_op){.key = S("b"), .del = true}, 1);
    assert_int_equal(lease(f).objects, 1);
    put_on(f, "b", LEASE);
    grant(f, "", 1);
    assert_false(there(f, "a") || there(f, "b"));
    assert_true(there(f, "c") && there(f, "leases/default/a"));
    assert_int_equal(lease(f).objects, 0);
    grant(f, "y", 2);
    put_on(f, "a", LEASE);
    apply(f, &(struct reg_op){.key = LEASE, .del = true}, 1);
    assert_false(there(f, "a") || there(f, "leases/default/a"));
}

static void a_lease_and_what_hangs_on_it_in_one_write(void **state)
{
    struct fixture *f = *state;
    struct reg_grant g = {.holder = S("x"), .ttl_ms = 1, .epoch = 1}, none = {.epoch = 1};
    struct reg_op ops[] = {{.key = LEASE, .value = S("1"), .grant = &g},
                           {.key = S("a"), .value = S("1"), .attach = LEASE}};
    struct reg_op wrong[] = {ops[1], ops[0]};
    struct reg_op ends[] = {{.key = LEASE, .value = S("2"), .grant = &none},
                            {.key = S("b"), .value = S("1"), .attach = LEASE}};
    assert_int_equal(apply(f, wrong, 2), ERR_GONE);
    assert_int_equal(apply(f, ops, 2), ERR_NONE);
    assert_int_equal(lease(f).objects, 1);
    assert_int_equal(apply(f, ends, 2), ERR_NONE); /* it lives by itself then */
    assert_false(there(f, "a"));
    assert_true(there(f, "b"));
    assert_int_equal(lease(f).objects, 0);
}

static void only_the_leader_of_the_term_expires(void **state)
{
    struct fixture *f = *state;
    f->term = 3;
    grant(f, "x", 1);
    reg_rev rev = lease(f).rev;
    struct reg_op op = {.key = LEASE,
                        .del = true,
                        .expect = REG_EXPECT_REV,
                        .expected = rev,
                        .expiry_term = f->term - 1};
    assert_int_equal(apply(f, &op, 1), ERR_CONFLICT);
    grant(f, "x", 1);
    op.expiry_term = f->term;
    assert_int_equal(apply(f, &op, 1), ERR_CONFLICT); /* renewed since */
    op.expected = lease(f).rev;
    assert_int_equal(apply(f, &op, 1), ERR_NONE);
    assert_false(there(f, "leases/default/a"));
}

static void a_lease_holds_so_many_objects(void **state)
{
    struct fixture *f = *state;
    char key[16];
    grant(f, "x", 1);
    for (int i = 0; i < REG_LEASE_OBJECTS_MAX; i++) {
        snprintf(key, sizeof(key), "o%d", i);
        assert_int_equal(put_on(f, key, LEASE), ERR_NONE);
    }
    assert_int_equal(put_on(f, "more", LEASE), ERR_LIMIT);
    assert_int_equal(put_on(f, "o3", LEASE), ERR_NONE);
    assert_int_equal(lease(f).objects, REG_LEASE_OBJECTS_MAX);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(epochs_rise_and_nobody_is_robbed),    CASE(fences_hold),
        CASE(what_hangs_on_a_lease_falls_with_it), CASE(a_lease_and_what_hangs_on_it_in_one_write),
        CASE(only_the_leader_of_the_term_expires), CASE(a_lease_holds_so_many_objects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
