/* If these fail, a node reads another write out of the log than the leader put in, or a log of an
 * earlier version stops it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "registry/command.h"

static const struct reg_once once = {
    .key = {1, 2, 3}, .digest = {4, 5, 6}, .memo = S_INIT("201 a")};

static const struct reg_grant grant = {
    .holder = S_INIT("n1"), .ttl_ms = 15000, .epoch = 4, .registration = true};

static const struct reg_op ops[] = {
    {.key = S_INIT("services/default/a"), .value = S_INIT("{}"), .expect = REG_EXPECT_ABSENT},
    {.del = true, .key = S_INIT("b"), .expect = REG_EXPECT_REV, .expected = 41},
    {.check = true, .key = S_INIT("c"), .expect = REG_EXPECT_EXISTS},
    {.key = S_INIT("d"), .value = S_INIT("1")},
    {.check = true, .key = S_INIT("l"), .expect = REG_EXPECT_EPOCH, .expected = 7},
    {.key = S_INIT("m"), .value = S_INIT("1"), .grant = &grant, .expect = REG_EXPECT_ABSENT},
    {.key = S_INIT("e"), .value = S_INIT("2"), .attach = S_INIT("l")},
    {.del = true, .key = S_INIT("f"), .expect = REG_EXPECT_REV, .expected = 3, .expiry_term = 9},
};

static const struct reg_request requests[] = {
    {.client = 1, .sequence = 9, .settled = 8, .ops = ops, .op_count = ARRAY_LEN(ops)},
    {.client = 2, .sequence = 3, .ops = ops, .op_count = 1, .once = &once},
    {.client = 3, .sequence = 1, .once = &once, .origin = S_INIT("weft/0.1 apply")},
    {.client = 4, .sequence = 1, .ops = ops, .op_count = 1, .no_quota = true},
};

static void must_equal(const struct reg_request *a, const struct reg_request *b)
{
    assert_int_equal(a->client, b->client);
    assert_int_equal(a->sequence, b->sequence);
    assert_int_equal(a->settled, b->settled);
    assert_int_equal(a->op_count, b->op_count);
    assert_true(slice_eq(a->origin, b->origin));
    assert_int_equal(a->no_quota, b->no_quota);
    assert_int_equal(!a->once, !b->once);
    if (a->once) {
        assert_memory_equal(a->once->key, b->once->key, sizeof(a->once->key));
        assert_memory_equal(a->once->digest, b->once->digest, sizeof(a->once->digest));
        assert_true(slice_eq(a->once->memo, b->once->memo));
    }
    for (size_t i = 0; i < a->op_count; i++) {
        const struct reg_op *x = &a->ops[i], *y = &b->ops[i];
        assert_true(slice_eq(x->key, y->key) && slice_eq(x->value, y->value));
        assert_true(slice_eq(x->attach, y->attach) && x->expiry_term == y->expiry_term);
        assert_int_equal(!x->grant, !y->grant);
        if (x->grant)
            assert_true(slice_eq(x->grant->holder, y->grant->holder) &&
                        x->grant->ttl_ms == y->grant->ttl_ms &&
                        x->grant->epoch == y->grant->epoch &&
                        x->grant->registration == y->grant->registration);
        assert_true(x->del == y->del && x->check == y->check && x->expect == y->expect &&
                    x->expected == y->expected);
    }
}

static void entries_read_as_written(void **state)
{
    (void)state;
    struct reg_entry_builder b = {.version = VERSION_NEWEST, .term = 12};
    struct reg_entry_head head;
    struct arena arena = {0};
    struct err err = {0};
    reg_entry_begin(&b, 1700000000123);
    for (size_t i = 0; i < ARRAY_LEN(requests); i++)
        assert_true(reg_entry_add(&b, &requests[i]));
    struct reader r = reader_of(reg_entry_end(&b));
    assert_true(reg_entry_open(&r, &head, &err));
    assert_int_equal(head.version, VERSION_NEWEST);
    assert_int_equal(head.leader_wall_ms, 1700000000123);
    assert_int_equal(head.term, 12);
    assert_int_equal(head.count, ARRAY_LEN(requests));
    for (size_t i = 0; i < head.count; i++) {
        struct reg_request q;
        assert_true(reg_request_decode(&r, head.version, &arena, &q, &err));
        must_equal(&q, &requests[i]);
    }
    assert_true(reader_left(&r) < 8);
    arena_fini(&arena);
    reg_entry_fini(&b);
}

/* Wrong: an older program stops at a mark that it does not know. */
static void older_versions_have_no_mark(void **state)
{
    (void)state;
    struct reg_entry_builder b = {0};
    struct reg_request marked = {.client = 4, .ops = ops, .op_count = 1, .no_quota = true}, q;
    struct reg_entry_head head;
    struct buf bytes = {0};
    struct arena arena = {0};
    struct err err = {0};
    reg_entry_begin(&b, 1);
    assert_true(reg_entry_add(&b, &marked));
    struct reader r = reader_of(reg_entry_end(&b));
    assert_true(reg_entry_open(&r, &head, &err));
    assert_int_equal(head.version, VERSION_OLDEST);
    assert_true(reg_request_decode(&r, head.version, &arena, &q, &err));
    assert_false(q.no_quota);
    reg_request_encode(&bytes, &marked);
    r = reader_of(buf_slice(&bytes));
    assert_false(reg_request_decode(&r, VERSION_QUOTAS - 1, &arena, &q, &err));
    arena_fini(&arena);
    buf_fini(&bytes);
    reg_entry_fini(&b);
}

/* As version 0.1 wrote it. */
static void version_1_is_read(void **state)
{
    (void)state;
    static const char entry[] =
        "WEFT\x01\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0" /* head: version 1, time 1, one request */
        "\x07\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0" /* 7, 2, 1, one op */
        "\x02\0\0\0\0\0\0\0\0\x01\0k\x01\0\0\0v";                          /* expect absent */
    struct reader r = reader_of((struct slice){entry, sizeof(entry) - 1});
    struct reg_entry_head head;
    struct reg_request q;
    struct arena arena = {0};
    struct err err = {0};
    assert_true(reg_entry_open(&r, &head, &err));
    assert_int_equal(head.version, 1);
    assert_true(reg_request_decode(&r, head.version, &arena, &q, &err));
    must_equal(&q, &(struct reg_request){.client = 7,
                                         .sequence = 2,
                                         .settled = 1,
                                         .op_count = 1,
                                         .ops = &(struct reg_op){.key = S("k"),
                                                                 .value = S("v"),
                                                                 .expect = REG_EXPECT_ABSENT}});
    assert_true(reader_done(&r));
    arena_fini(&arena);
}

/* As it was before there were leases: no term in the head, and no bit of theirs is known. */
static void version_2_is_read(void **state)
{
    (void)state;
    static const char entry[] = "WEFT\x02\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0" /* head */
                                "\x07\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0"
                                "\x01\0\0\0\0\0\0\0\0\x01o\x01\0\0\0"
                                "\x0a\0\0\0\0\0\0\0\0\x01\0k\0\0\0\0"; /* check: absent */
    char changed[sizeof(entry)];
    struct reader r = reader_of((struct slice){entry, sizeof(entry) - 1});
    struct reg_entry_head head;
    struct reg_request q;
    struct arena arena = {0};
    struct err err = {0};
    assert_true(reg_entry_open(&r, &head, &err));
    assert_int_equal(head.version, 2);
    assert_int_equal(head.term, 0);
    assert_true(reg_request_decode(&r, head.version, &arena, &q, &err));
    assert_true(reader_done(&r) && q.ops[0].check && q.ops[0].expect == REG_EXPECT_ABSENT);
    memcpy(changed, entry, sizeof(entry));
    changed[sizeof(entry) - 1 - 16] |= 0x40;
    r = reader_of((struct slice){changed, sizeof(entry) - 1});
    assert_true(reg_entry_open(&r, &head, &err));
    assert_false(reg_request_decode(&r, head.version, &arena, &q, &err));
    arena_fini(&arena);
}

static void later_versions_are_refused(void **state)
{
    (void)state;
    struct reg_entry_builder b = {0};
    struct reg_entry_head head;
    struct err err = {0};
    reg_entry_begin(&b, 0);
    reg_entry_add(&b, &requests[0]);
    struct slice entry = reg_entry_end(&b);
    ((char *)(uintptr_t)entry.p)[4] = VERSION_NEWEST + 1;
    struct reader r = reader_of(entry);
    assert_false(reg_entry_open(&r, &head, &err));
    assert_non_null(strstr(err.msg, "start a newer one"));
    reg_entry_fini(&b);
}

/* An entry without requests raises the version, and is none before version 4. */
static void an_entry_may_be_empty_since_version_4(void **state)
{
    (void)state;
    struct reg_entry_builder b = {.version = VERSION_EMPTY_ENTRIES, .term = 9};
    struct reg_entry_head head;
    struct err err = {0};
    reg_entry_begin(&b, 5);
    struct slice entry = reg_entry_end(&b);
    assert_int_equal(entry.n % 8, 0);
    assert_int_equal(version_of_entry(entry), VERSION_EMPTY_ENTRIES);
    struct reader r = reader_of(entry);
    assert_true(reg_entry_open(&r, &head, &err));
    assert_int_equal(head.version, VERSION_EMPTY_ENTRIES);
    assert_int_equal(head.count, 0);
    assert_int_equal(head.term, 9);
    ((char *)(uintptr_t)entry.p)[4] = VERSION_EMPTY_ENTRIES - 1;
    r = reader_of(entry);
    assert_false(reg_entry_open(&r, &head, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    reg_entry_fini(&b);
}

/* Every cut, and every byte changed: refused or read, but never past the end. */
static void damage_is_refused(void **state)
{
    (void)state;
    struct buf bytes = {0};
    struct arena arena = {0};
    reg_request_encode(&bytes, &requests[1]);
    struct slice all = buf_slice(&bytes);
    for (size_t n = 0; n < all.n; n++) {
        struct err err = {0};
        struct reg_request q;
        struct reader r = reader_of(slice_sub(all, 0, n));
        assert_false(reg_request_decode(&r, VERSION_NEWEST, &arena, &q, &err));
        assert_int_equal(err.code, ERR_INVALID);
    }
    for (size_t i = 0; i < all.n; i++) {
        struct err err = {0};
        struct reg_request q;
        struct slice changed = arena_dup(&arena, all);
        ((char *)(uintptr_t)changed.p)[i] = (char)(changed.p[i] ^ 0x80);
        struct reader r = reader_of(changed);
        if (reg_request_decode(&r, VERSION_NEWEST, &arena, &q, &err))
            assert_true(q.op_count > 0 || q.once);
    }
    arena_fini(&arena);
    buf_fini(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_read_as_written),
        cmocka_unit_test(older_versions_have_no_mark),
        cmocka_unit_test(version_1_is_read),
        cmocka_unit_test(version_2_is_read),
        cmocka_unit_test(later_versions_are_refused),
        cmocka_unit_test(an_entry_may_be_empty_since_version_4),
        cmocka_unit_test(damage_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
