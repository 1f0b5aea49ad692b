/* If these fail, one namespace fills the registry for all, or is refused what it may have; or
 * replicas disagree about who has how much. */
#include "registry/quota.h"
#include "registry/store_testing.h"

static int setup_quotas(void **state)
{
    setup(state);
    ((struct fixture *)*state)->version = VERSION_QUOTAS;
    return 0;
}

static enum err_code apply_unasked(struct fixture *f, const struct reg_op *op)
{
    uint64_t at = f->index + 1;
    return apply_request(f, &(struct reg_request){.client = TEST_CLIENT,
                                                  .sequence = at,
                                                  .settled = at,
                                                  .no_quota = true,
                                                  .ops = op,
                                                  .op_count = 1});
}

static void limit(struct fixture *f, const char *ns, const char *annotations)
{
    char key[64], value[256];
    snprintf(key, sizeof(key), "namespaces//%s", ns);
    snprintf(value, sizeof(value), "{\"metadata\":{\"annotations\":{%s}}}", annotations);
    assert_int_equal(put(f, key, value), ERR_NONE);
}

struct found {
    const char *ns;
    struct reg_quota q;
    size_t n;
};

static void on_quota(void *ctx, const struct reg_quota *q)
{
    struct found *found = ctx;
    found->n++;
    if (slice_eq(q->ns, slice_of(found->ns)))
        found->q = *q;
}

static struct reg_quota quota_of(struct fixture *f, const char *ns)
{
    struct found found = {.ns = ns};
    reg_quota_each(f->store, on_quota, &found);
    return found.q;
}

static void objects_are_counted(void **state)
{
    struct fixture *f = *state;
    char text[REG_QUOTA_TEXT];
    limit(f, "shop", "\"weft.dev/quota-objects\":\"2\"");
    assert_int_equal(put(f, "services/shop/a", "1"), ERR_NONE);
    assert_false(reg_quota_full(&(struct reg_quota){.objects = 1, .objects_max = 2}));
    assert_int_equal(put(f, "services/shop/b", "1"), ERR_NONE);
    assert_int_equal(put(f, "services/shop/c", "1"), ERR_NO_ROOM);
    assert_int_equal(f->last.revision, 0);
    reg_quota_refusal(f->store, S("services/shop/c"), text);
    assert_string_equal(text, "namespace shop has 2 of 2 objects, and this would make it more than "
                              "its quota: nothing was done; delete something, or raise "
                              "weft.dev/quota-objects of the Namespace");
    assert_int_equal(put(f, "services/other/c", "1"), ERR_NONE); /* the neighbour */
    assert_int_equal(put(f, "services/shop/a", "larger than before"), ERR_NONE);
    struct reg_quota q = quota_of(f, "shop");
    assert_int_equal(q.objects, 2);
    assert_int_equal(q.refused, 1);
    assert_true(reg_quota_full(&q));
    assert_int_equal(del(f, "services/shop/a"), ERR_NONE);
    q = quota_of(f, "shop");
    assert_false(reg_quota_full(&q)); /* by itself */
    assert_int_equal(put(f, "services/shop/c", "1"), ERR_NONE);
}

static void bytes_are_counted(void **state)
{
    struct fixture *f = *state;
    limit(f, "shop", "\"weft.dev/quota-bytes\":\"100\"");
    assert_int_equal(put(f, "services/shop/a", "0123456789"), ERR_NONE); /* 15 + 10 */
    assert_int_equal(quota_of(f, "shop").bytes, 25);
    assert_int_equal(put(f, "services/shop/a", "01234567890123456789"), ERR_NONE);
    assert_int_equal(quota_of(f, "shop").bytes, 35);
    char big[67] = {0};
    memset(big, 'b', 66);
    assert_int_equal(put(f, "services/shop/b", big), ERR_NO_ROOM); /* 116 */
    big[50] = 0;
    assert_int_equal(put(f, "services/shop/b", big), ERR_NONE); /* exactly 100 */
    assert_int_equal(quota_of(f, "shop").bytes, 100);
    /* Lowered below what is there: what shrinks is taken, what grows is not. */
    limit(f, "shop", "\"weft.dev/quota-bytes\":\"50\"");
    assert_int_equal(put(f, "services/shop/a", "01234567890123456789x"), ERR_NO_ROOM);
    assert_int_equal(put(f, "services/shop/a", "0123456789"), ERR_NONE);
    assert_int_equal(del(f, "services/shop/a"), ERR_NONE);
    assert_int_equal(quota_of(f, "shop").bytes, 65);
    /* Raised, and taken away. */
    limit(f, "shop", "\"weft.dev/quota-bytes\":\"1Ki\"");
    assert_int_equal(put(f, "services/shop/a", big), ERR_NONE);
    limit(f, "shop", "");
    assert_int_equal(quota_of(f, "shop").bytes_max, 0);
}

/* Wrong: a node of the version before takes what the others refuse, or does not read it. */
static void it_begins_with_its_version(void **state)
{
    struct fixture *f = *state;
    f->version = VERSION_QUOTAS - 1;
    limit(f, "shop", "\"weft.dev/quota-objects\":\"1\"");
    assert_int_equal(put(f, "services/shop/a", "1"), ERR_NONE);
    assert_int_equal(put(f, "services/shop/b", "1"), ERR_NONE);
    struct reg_op more = {.key = S("services/shop/c"), .value = S("1")};
    assert_int_equal(apply_unasked(f, &more), ERR_NONE); /* the mark is left out */
    f->version = VERSION_QUOTAS;
    assert_int_equal(put(f, "services/shop/d", "1"), ERR_NO_ROOM);
    assert_int_equal(quota_of(f, "shop").objects, 3);
}

/* It counts, and is not refused. */
static void the_control_plane_is_not_asked(void **state)
{
    struct fixture *f = *state;
    limit(f, "shop", "\"weft.dev/quota-bytes\":\"20\"");
    assert_int_equal(put(f, "services/shop/a", "12345"), ERR_NONE);
    struct reg_op more = {.key = S("services/shop/a"), .value = S("12345 and a status")};
    assert_int_equal(apply(f, &more, 1), ERR_NO_ROOM);
    assert_int_equal(apply_unasked(f, &more), ERR_NONE);
    assert_int_equal(quota_of(f, "shop").bytes, 15 + 18);
    assert_int_equal(put(f, "services/shop/a", "12345 and a stat"), ERR_NONE); /* it shrinks */
}

/* All of a request or nothing; what it frees counts. */
static void a_request_is_judged_as_a_whole(void **state)
{
    struct fixture *f = *state;
    limit(f, "shop", "\"weft.dev/quota-objects\":\"2\"");
    put(f, "services/shop/a", "1");
    struct reg_op ops[] = {{.key = S("services/other/x"), .value = S("1")},
                           {.key = S("services/shop/b"), .value = S("1")},
                           {.key = S("services/shop/c"), .value = S("1")},
                           {.del = true, .key = S("services/shop/a")}};
    assert_int_equal(apply(f, ops, 3), ERR_NO_ROOM);
    assert_int_equal(f->last.failed_op, 1);
    assert_int_equal(quota_of(f, "shop").objects, 1);
    assert_int_equal(apply(f, ops, 4), ERR_NONE);
    assert_int_equal(quota_of(f, "shop").objects, 2);
    struct reg_op check = {.check = true, .key = S("services/shop/b"), .expect = REG_EXPECT_EXISTS};
    assert_int_equal(apply(f, &check, 1), ERR_NONE);
}

/* Counted anew from what is there: after a start, and from a checkpoint. */
static void counts_are_those_of_the_state(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct reg_checkpoint c;
    char key[64], value[64];
    unsigned seed = 3;
    limit(f, "a", "\"weft.dev/quota-bytes\":\"1Mi\"");
    limit(f, "b", "\"weft.dev/quota-objects\":\"12\"");
    for (unsigned i = 0; i < 500; i++) {
        unsigned n = (unsigned)rand_r(&seed);
        snprintf(key, sizeof(key), "services/%c/%u", "abc"[n % 3], n / 3 % 20);
        snprintf(value, sizeof(value), "%0*u", (int)(n / 60 % 50) + 1, n % 10);
        if (n / 3000 % 4)
            put(f, key, value);
        else
            del(f, key);
    }
    struct reg_quota a = quota_of(f, "a"), b = quota_of(f, "b");
    assert_true(a.objects > 5 && b.objects > 5 && b.objects <= 12 && b.refused > 0);
    assert_true(reg_store_checkpoint(f->store, f->ckpt, &c, &err));
    store_down(f);
    store_up(f);
    for (int again = 0; again < 2; again++) {
        struct reg_quota x = quota_of(f, "a"), y = quota_of(f, "b");
        assert_true(x.objects == a.objects && x.bytes == a.bytes && x.bytes_max == 1 << 20);
        assert_true(y.objects == b.objects && y.bytes == b.bytes && y.objects_max == 12);
        assert_true(reg_store_restore(f->store, f->ckpt, &c, &err));
    }
}

/* A Namespace whose annotations the API did not look at, or that goes. */
static void what_is_no_quota_is_none(void **state)
{
    struct fixture *f = *state;
    struct found found = {.ns = "shop"};
    limit(f, "shop", "\"weft.dev/quota-objects\":\"many\"");
    assert_int_equal(put(f, "namespaces//other", "no json"), ERR_NONE);
    assert_int_equal(put(f, "services/shop/a", "1"), ERR_NONE);
    reg_quota_each(f->store, on_quota, &found);
    assert_int_equal(found.n, 0);
    limit(f, "shop", "\"weft.dev/quota-objects\":\"1\"");
    assert_int_equal(put(f, "services/shop/b", "1"), ERR_NO_ROOM);
    assert_int_equal(del(f, "namespaces//shop"), ERR_NONE);
    assert_int_equal(put(f, "services/shop/b", "1"), ERR_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(objects_are_counted, setup_quotas, teardown),
        cmocka_unit_test_setup_teardown(bytes_are_counted, setup_quotas, teardown),
        cmocka_unit_test_setup_teardown(it_begins_with_its_version, setup_quotas, teardown),
        cmocka_unit_test_setup_teardown(the_control_plane_is_not_asked, setup_quotas, teardown),
        cmocka_unit_test_setup_teardown(a_request_is_judged_as_a_whole, setup_quotas, teardown),
        cmocka_unit_test_setup_teardown(counts_are_those_of_the_state, setup_quotas, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_quota_is_none, setup_quotas, teardown),
    };
    return cmocka_run_group_tests_name("quota", tests, NULL, NULL);
}
