/* If this fails, replicas disagree about content versions, stored records are called broken or
 * broken ones whole, and operators read the wrong failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "base/core/err.h"
#include "base/core/hash.h"
#include "base/core/regex.h"
#include "base/core/sm.h"

/* Hashes: published vectors. */

static void test_crc32c_vectors(void **state)
{
    unsigned char zeroes[32] = {0}, ones[32], up[32];
    (void)state;
    memset(ones, 0xFF, sizeof(ones));
    for (size_t i = 0; i < sizeof(up); i++)
        up[i] = (unsigned char)i;
    /* RFC 3720 §B.4. */
    assert_int_equal(crc32c(0, zeroes, 32), 0x8A9136AA);
    assert_int_equal(crc32c(0, ones, 32), 0x62A8AB43);
    assert_int_equal(crc32c(0, up, 32), 0x46DD794E);
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283);
    assert_int_equal(crc32c(0, NULL, 0), 0);
}

/* Both ways, all alignments and cuts, agree. */
static void test_crc32c_ways(void **state)
{
    unsigned char bytes[1300]; /* three rounds of three lanes of 128 bytes, and more */
    uint64_t seed = 5;
    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)hash_u64(seed++);
    for (size_t from = 0; from < 16; from++) {
        for (size_t n = 0; n + from < sizeof(bytes); n += n < 100 ? 1 : 7) {
            uint32_t whole = crc32c(0, bytes + from, n);
            assert_int_equal(whole, crc32c_portable(0, bytes + from, n));
            uint32_t half = crc32c(0, bytes + from, n / 3);
            assert_int_equal(whole, crc32c(half, bytes + from + n / 3, n - n / 3));
        }
    }
}

/* Computed with an independent implementation of SipHash-1-3 over the reference key 00..0f and
 * input 00..n-1. */
static void test_siphash(void **state)
{
    const struct hash_key key = {0x0706050403020100u, 0x0F0E0D0C0B0A0908u};
    unsigned char in[64];
    static const struct {
        size_t n;
        uint64_t hash;
    } cases[] = {
        {0, 0xABAC0158050FC4DCu},  {1, 0xC9F49BF37D57CA93u},  {7, 0xD3927D989BB11140u},
        {8, 0x369095118D299A8Eu},  {9, 0x25A48EB36C063DE4u},  {15, 0xD320D86D2A519956u},
        {16, 0xCC4FDD1A7D908B66u}, {31, 0x2370DD1F8C21D1BCu}, {63, 0x9D199062B7BBB3A8u},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (unsigned char)i;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_true(hash_keyed(&key, slice_mem(in, cases[i].n)) == cases[i].hash);
    assert_true(hash_keyed(&key, (struct slice){0}) == cases[0].hash);
}

/* XXH3 of the empty input and of "abc" are part of the resource versions: they may never change. */
static void test_xxh3(void **state)
{
    (void)state;
    assert_true(hash_bytes((struct slice){0}) == 0x2D06800538D394C2u);
    assert_true(hash_bytes(S("abc")) == 0x78AF5F94892F3950u);
    assert_true(hash_bytes_seed(S("abc"), 1) != hash_bytes(S("abc")));
    assert_true(hash_bytes_seed(S("abc"), 0) == hash_bytes(S("abc")));
}

/* Wrong: names that are to be unique are not UUIDs to others. */
static void test_uuid(void **state)
{
    (void)state;
    uint8_t ones[16];
    char uuid[UUID_BYTES];
    memset(ones, 0xFF, sizeof(ones));
    uuid_encode(uuid, ones);
    assert_memory_equal(uuid, "ffffffff-ffff-4fff-bfff-ffffffffffff", UUID_BYTES);
    uuid_encode(uuid, (const uint8_t[16]){0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef});
    assert_memory_equal(uuid, "01234567-89ab-4def-8000-000000000000", UUID_BYTES);
}

/* Errors. */

static void test_err_wraps(void **state)
{
    struct err err;
    (void)state;
    assert_false(err_set(&err, ERR_CONFLICT, "revision %d", 7));
    assert_false(err_wrap(&err, "object %s", "a/b"));
    assert_string_equal(err.msg, "object a/b: revision 7");
    assert_int_equal(err.code, ERR_CONFLICT);
    err_errno(&err, ENOENT, "open %s", "/x");
    assert_string_equal(err.msg, "open /x: No such file or directory");
    assert_int_equal(err.code, ERR_NOT_FOUND);
    err_errno(&err, EEXIST, "x");
    assert_int_equal(err.code, ERR_EXISTS);
    err_errno(&err, EIO, "x");
    assert_int_equal(err.code, ERR_IO);
    err_clear(&err);
    assert_int_equal(err.code, ERR_NONE);
    assert_false(err_set(NULL, ERR_INVALID, "x") || err_wrap(NULL, "x") || err_errno(NULL, 1, "x"));
}

/* A long message is cut in an ellipsis, never inside a character. */
static void test_err_cuts(void **state)
{
    struct err err;
    char text[2 * ERR_MSG_BYTES];
    (void)state;
    for (size_t shift = 0; shift < 3; shift++) {
        size_t n = shift;
        memset(text, 'a', sizeof(text));
        for (; n + 3 < sizeof(text) - 1; n += 3)
            memcpy(text + n, "\xE2\x82\xAC", 3);
        text[n] = '\0';
        err_set(&err, ERR_INVALID, "%s", text);
        assert_true(slice_utf8(slice_of(err.msg)));
        assert_true(slice_ends(slice_of(err.msg), S("\xE2\x80\xA6")));
        assert_true(strlen(err.msg) > ERR_MSG_BYTES - 8);
        err_wrap(&err, "context");
        assert_true(slice_starts(slice_of(err.msg), S("context: ")));
        assert_true(slice_utf8(slice_of(err.msg)));
        assert_true(slice_ends(slice_of(err.msg), S("\xE2\x80\xA6")));
        err_set(&err, ERR_INVALID, "short");
        err_wrap(&err, "%s", text);
        assert_true(slice_utf8(slice_of(err.msg)));
        err_errno(&err, EIO, "%s", text);
        assert_true(slice_utf8(slice_of(err.msg)));
    }
    memset(text, 'a', ERR_MSG_BYTES - 1);
    text[ERR_MSG_BYTES - 1] = '\0';
    err_set(&err, ERR_INVALID, "%s", text);
    assert_string_equal(err.msg, text); /* it fits exactly */
}

static void test_err_codes(void **state)
{
    (void)state;
    for (int c = 0; c < ERR_CODE_COUNT; c++) {
        assert_true(strlen(err_code_name((enum err_code)c)) > 0);
        assert_true(err_http_status((enum err_code)c) >= (c ? 400 : 200));
        assert_in_range(err_grpc_status((enum err_code)c), c ? 1 : 0, 16);
    }
    assert_int_equal(err_http_status(ERR_GONE), 410);
    assert_int_equal(err_grpc_status(ERR_UNAUTHENTICATED), 16);
    assert_string_equal(err_k8s_reason(ERR_CONFLICT), "Conflict");
}

/* Regular expressions. */

static void test_regex(void **state)
{
    struct err err;
    struct buf out = {0};
    char big[REGEX_PATTERN_BYTES_MAX + 2];
    (void)state;
    struct regex *re = regex_new(S("/v([0-9]+)/.*"), &err);
    assert_non_null(re);
    assert_true(regex_full_match(re, S("/v12/x")));
    assert_false(regex_full_match(re, S("x/v12/x")));
    assert_false(regex_full_match(re, (struct slice){0}));
    regex_free(re);
    re = regex_new(S("a(b+)"), &err);
    assert_true(regex_replace_all(re, S("xabbyab"), S("<\\1>"), &out));
    assert_true(slice_eq(buf_slice(&out), S("x<bb>y<b>")));
    assert_false(regex_replace_all(re, S("ab"), S("\\7"), &out));
    out.limit = out.n;
    assert_false(regex_replace_all(re, S("ab"), S("c"), &out));
    regex_free(re);
    assert_null(regex_new(S("a("), &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_true(slice_contains(slice_of(err.msg), S("missing")));
    memset(big, 'a', sizeof(big));
    assert_null(regex_new(slice_mem(big, sizeof(big)), &err));
    assert_null(regex_new(S("((((x{1000}){1000}){1000}){1000})"), &err));
    regex_free(NULL);
    buf_fini(&out);
}

/* The classic bomb must be linear. */
static void test_regex_linear(void **state)
{
    struct err err;
    static char text[100000];
    (void)state;
    memset(text, 'a', sizeof(text));
    struct regex *re = regex_new(S("(a+)+$b"), &err);
    assert_non_null(re);
    assert_false(regex_full_match(re, slice_mem(text, sizeof(text))));
    regex_free(re);
}

/* State machines and assertions: a child process that must die. */

enum { IDLE, BUSY, GONE };
static const struct sm_state states[] = {
    [IDLE] = {"idle", SM(BUSY) | SM(GONE)}, [BUSY] = {"busy", SM(IDLE)}, [GONE] = {"gone", 0}};
static bool invariant(const void *owner)
{
    return *(const bool *)owner;
}
static const struct sm_table table = {"test", states, ARRAY_LEN(states), invariant};

static int signal_of_child(void (*fn)(void))
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(2);
        signal(SIGABRT, SIG_DFL);
        fn();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void move_badly(void)
{
    bool ok = true;
    struct sm sm = {GONE};
    sm_move(&table, &sm, IDLE, &ok);
}

static void move_into_broken_invariant(void)
{
    bool ok = false;
    struct sm sm = {IDLE};
    sm_move(&table, &sm, BUSY, &ok);
}

static void assert_badly(void)
{
    wf_assert(1 + 1 == 3);
}

static void die(void)
{
    wf_die("disk %d", 1);
}

static void move_well(void)
{
    bool ok = true;
    struct sm sm = {IDLE};
    sm_move(&table, &sm, BUSY, &ok);
    if (sm.now != BUSY || strcmp(sm_name(&table, &sm), "busy") != 0 || sm_may(&table, &sm, GONE) ||
        !sm_may(&table, &sm, IDLE) || sm_may(&table, &sm, 99))
        abort();
}

static void test_fail_stop(void **state)
{
    (void)state;
    assert_int_equal(signal_of_child(move_well), 0);
    assert_int_equal(signal_of_child(move_badly), SIGABRT);
    assert_int_equal(signal_of_child(move_into_broken_invariant), SIGABRT);
    assert_int_equal(signal_of_child(assert_badly), SIGABRT);
    assert_int_equal(signal_of_child(die), SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c_vectors), cmocka_unit_test(test_crc32c_ways),
        cmocka_unit_test(test_siphash),        cmocka_unit_test(test_xxh3),
        cmocka_unit_test(test_uuid),           cmocka_unit_test(test_err_wraps),
        cmocka_unit_test(test_err_cuts),       cmocka_unit_test(test_err_codes),
        cmocka_unit_test(test_regex),          cmocka_unit_test(test_regex_linear),
        cmocka_unit_test(test_fail_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
