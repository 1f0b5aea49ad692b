/* If this fails, who has no certificate makes a member read beyond what it sent, or a node joins
 * under a name or an address that it did not mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "registry/raft/conf.h"
#include "registry/raft/enroll.h"

static struct peer_member member(uint64_t id, const char *text)
{
    struct peer_member m;
    struct err err = {0};
    assert_true(conf_member_parse(id, text, &m, &err));
    return m;
}

static struct enroll_ask ask_of(const char *text)
{
    return (struct enroll_ask){
        .secret = {1, 2, 3}, .reads = {3, 4}, .member = member(0, text), .csr = S("-----BEGIN …")};
}

static void an_ask_comes_back_whole_or_not_at_all(void **state)
{
    (void)state;
    struct buf b = {0};
    struct enroll_ask a = ask_of("n4=10.0.0.4:7444"), back;
    struct err err = {0};
    enroll_ask_encode(&b, &a);
    assert_true(enroll_ask_decode(buf_slice(&b), &back, &err));
    assert_memory_equal(a.secret, back.secret, sizeof(a.secret));
    assert_string_equal(back.member.name, "n4");
    assert_true(env_addr_equal(&a.member.addr, &back.member.addr));
    assert_int_equal(back.reads.newest, 4);
    assert_true(slice_eq(back.csr, a.csr));
    for (size_t n = 0; n < b.n; n++)
        assert_false(enroll_ask_decode(slice_sub(buf_slice(&b), 0, n), &back, &err));
    buf_append_byte(&b, 0);
    assert_false(enroll_ask_decode(buf_slice(&b), &back, &err));
    assert_non_null(strstr(err.msg, "too long"));
    buf_fini(&b);
}

static void members_that_nobody_could_call_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } rows[] = {
        {"a/b=10.0.0.4:7444", "name: must be"},
        {"=10.0.0.4:7444", "name: must be"},
        {"n4=10.0.0.4:0", "address: must be"},
        {"n4=unix:/x", "address: must be"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b = {0};
        struct enroll_ask a = ask_of(rows[i].text), back;
        struct err err = {0};
        enroll_ask_encode(&b, &a);
        assert_false(enroll_ask_decode(buf_slice(&b), &back, &err));
        assert_non_null(strstr(err.msg, rows[i].part));
        buf_fini(&b);
    }
    struct buf b = {0};
    struct enroll_ask a = ask_of("n4=10.0.0.4:7444"), back;
    struct err err = {0};
    a.reads = (struct versions){4, 3};
    enroll_ask_encode(&b, &a);
    assert_false(enroll_ask_decode(buf_slice(&b), &back, &err));
    assert_non_null(strstr(err.msg, "reads:"));
    static const char nameless[] = "10.0.0.4:7444";
    buf_clear(&b);
    a = ask_of("n4=10.0.0.4:7444");
    enroll_ask_encode(&b, &a);
    struct buf bare = {0};
    const char *at = memmem(b.p, b.n, "n4=", 3);
    buf_append(&bare, slice_mem(b.p, (size_t)(at - b.p) - 1));
    buf_append_byte(&bare, (char)strlen(nameless));
    buf_append(&bare, slice_mem(at + 3, b.n - (size_t)(at + 3 - b.p)));
    assert_false(enroll_ask_decode(buf_slice(&bare), &back, &err));
    assert_non_null(strstr(err.msg, "must be NAME=IP:PORT"));
    buf_fini(&bare);
    buf_fini(&b);
}

static void an_answer_comes_back_whole_or_not_at_all(void **state)
{
    (void)state;
    struct buf b = {0};
    struct enroll_answer a = {
        .id = 77, .version = 4, .cert = S("cert"), .ca = S("ca"), .member_count = 2};
    struct enroll_answer back;
    struct err err = {0}, why;
    a.members[0] = member(1, "n1=10.0.0.1:7444");
    a.members[1] = member(77, "n4=10.0.0.4:7444");
    enroll_answer_encode(&b, &a);
    assert_true(enroll_answer_decode(buf_slice(&b), &back, &why, &err));
    assert_int_equal(why.code, ERR_NONE);
    assert_int_equal(back.id, 77);
    assert_int_equal(back.member_count, 2);
    assert_string_equal(back.members[1].name, "n4");
    assert_true(slice_eq(back.ca, S("ca")));
    for (size_t n = 0; n < b.n; n++)
        assert_false(enroll_answer_decode(slice_sub(buf_slice(&b), 0, n), &back, &why, &err));
    buf_clear(&b);
    struct err refusal = {0};
    err_set(&refusal, ERR_GONE, "this join token has expired");
    enroll_refusal_encode(&b, &refusal);
    assert_true(enroll_answer_decode(buf_slice(&b), &back, &why, &err));
    assert_int_equal(why.code, ERR_GONE);
    assert_string_equal(why.msg, refusal.msg);
    buf_clear(&b);
    buf_u16le(&b, ERR_CODE_COUNT);
    assert_false(enroll_answer_decode(buf_slice(&b), &back, &why, &err));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ask_comes_back_whole_or_not_at_all),
        cmocka_unit_test(members_that_nobody_could_call_are_refused),
        cmocka_unit_test(an_answer_comes_back_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
