/* If these fail, a join token lets in two nodes, one after its time, or one that was removed; or
 * what is kept of it gives the secret away. */
#include "registry/join_kept.h"
#include "registry/store_testing.h"

#define NOW 1700000000123

static const uint8_t secret[JOIN_SECRET_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8};
static const uint8_t other[JOIN_SECRET_BYTES] = {9};
static const uint8_t uid[16] = {1};
static const uint8_t key_hash[JOIN_KEY_HASH_BYTES] = {0xab, 0xcd};

static enum err_code keep(struct fixture *f, const struct join_kept *k, reg_rev expected,
                          const struct reg_grant *grant, const struct buf *value)
{
    struct reg_op op = {.key = slice_of(k->key),
                        .value = buf_slice(value),
                        .expect = expected ? REG_EXPECT_REV : REG_EXPECT_ABSENT,
                        .expected = expected,
                        .grant = grant};
    return apply(f, &op, 1);
}

static enum err_code make(struct fixture *f)
{
    struct join_kept k;
    struct reg_grant grant;
    struct buf value = {0};
    join_kept_make(secret, 60, NOW, uid, 1, &k, &grant, &value);
    assert_null(memmem(value.p, value.n, secret, sizeof(secret)));
    assert_null(memmem(value.p, value.n, "0102030405060708", 16));
    enum err_code code = keep(f, &k, 0, &grant, &value);
    buf_fini(&value);
    return code;
}

static bool find(struct fixture *f, const uint8_t *what, struct join_kept *ret)
{
    struct reg_txn t;
    read_begin(f, &t);
    bool found = join_kept_find(&t, what, ret);
    reg_txn_end(&t);
    return found;
}

/* note: instead of its use. */
static enum err_code write_as(struct fixture *f, const struct join_kept *k, bool note)
{
    struct reg_txn t;
    struct reg_grant grant;
    struct buf value = {0};
    enum err_code code = ERR_NOT_FOUND;
    read_begin(f, &t);
    bool there = note ? join_kept_note(&t, k, &grant, &value)
                      : join_kept_use(&t, k, 77, key_hash, &grant, &value);
    reg_txn_end(&t);
    if (there)
        code = keep(f, k, k->mod_rev, &grant, &value);
    buf_fini(&value);
    return code;
}

static void a_token_is_used_once(void **state)
{
    struct fixture *f = *state;
    struct join_kept k, used;
    assert_false(find(f, secret, &k));
    assert_int_equal(make(f), ERR_NONE);
    assert_int_equal(make(f), ERR_EXISTS);
    assert_false(find(f, other, &k));
    assert_true(find(f, secret, &k));
    assert_true(k.held && !k.joined && !k.added);
    assert_int_equal(k.until_ms, 1700000061000); /* whole seconds, not less than was asked for */
    assert_true(join_kept_good(&k, k.until_ms - 1));
    assert_false(join_kept_good(&k, k.until_ms));
    assert_int_equal(write_as(f, &k, false), ERR_NONE);
    assert_int_equal(write_as(f, &k, false), ERR_NOT_FOUND); /* not as it was read */
    assert_true(find(f, secret, &used));
    assert_int_equal(used.joined, 77);
    assert_memory_equal(used.joined_key, key_hash, sizeof(key_hash));
    assert_false(used.held || used.added || join_kept_good(&used, NOW));
    assert_int_equal(write_as(f, &used, true), ERR_NONE);
    assert_true(find(f, secret, &used));
    assert_true(used.added && used.joined == 77 && !used.held);
}

static bool count(void *ctx, const struct join_kept *k)
{
    assert_true(k->held);
    ++*(size_t *)ctx;
    return true;
}

/* Somebody may have written what he likes under such a name. */
static void what_is_no_token_is_none(void **state)
{
    static const char *const rows[] = {
        "{}",
        "no JSON",
        "{\"metadata\":{\"annotations\":{\"weft.dev/join-token\":\"00\"}}}",
        "{\"metadata\":{\"annotations\":{\"weft.dev/join-token\":7}}}",
        "{\"metadata\":{\"annotations\":{\"weft.dev/expires-ms\":\"1\"}}}",
    };
    struct fixture *f = *state;
    struct join_kept k;
    struct reg_txn t;
    size_t n = 0;
    uint8_t hash[JOIN_SECRET_HASH_BYTES];
    assert_int_equal(make(f), ERR_NONE);
    join_secret_hash(other, hash);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct join_kept forged = {.held = true};
        struct reg_grant grant = {.holder = S("not used yet"), .ttl_ms = 60000, .epoch = 1};
        struct buf value = {0};
        hash[0] = (uint8_t)i;
        join_kept_key(hash, forged.key);
        buf_append(&value, slice_of(rows[i]));
        assert_int_equal(keep(f, &forged, 0, &grant, &value), ERR_NONE);
        buf_fini(&value);
    }
    read_begin(f, &t);
    join_kept_scan(&t, count, &n);
    reg_txn_end(&t);
    assert_int_equal(n, 1);
    assert_false(find(f, other, &k));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_token_is_used_once, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_token_is_none, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
