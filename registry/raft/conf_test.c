/* A configuration that is read wrongly makes a majority of the wrong nodes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/core/mem.h"
#include "registry/raft/conf.h"

static void texts_come_back(void **state)
{
    (void)state;
    struct err err = {0};
    struct peer_member m, back;
    char text[CONF_TEXT];
    assert_true(conf_member_parse(7, "n4=10.0.0.4:7444", &m, &err));
    assert_string_equal(m.name, "n4");
    assert_int_equal(env_addr_port(&m.addr), 7444);
    assert_string_equal(conf_member_format(&m, text), "n4=10.0.0.4:7444");
    assert_true(conf_member_parse(7, text, &back, &err));
    assert_true(env_addr_equal(&m.addr, &back.addr));
    assert_true(conf_member_parse(7, "10.0.0.4:7444", &m, &err));
    assert_string_equal(m.name, "n7");
    assert_false(conf_member_parse(7, "n4=nowhere", &m, &err));
    assert_non_null(strstr(err.msg, "member 7"));
}

static void make(struct raft_configuration *c)
{
    raft_configuration_init(c);
    assert_int_equal(raft_configuration_add(c, 1, "n1=127.0.0.1:1", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_add(c, 9, "n9=127.0.0.9:1", RAFT_STANDBY), 0);
    assert_int_equal(raft_configuration_add(c, 5, "n5=127.0.0.5:1", RAFT_SPARE), 0);
}

/* libraft writes it, we read it: every cut and every flipped bit is refused or gives a whole
 * one. */
static void entries_are_read_as_libraft_writes_them(void **state)
{
    (void)state;
    struct raft_configuration c, back, copy;
    struct raft_buffer bytes;
    struct err err = {0};
    make(&c);
    conf_copy(&c, &copy);
    assert_true(conf_equal(&c, &copy));
    assert_int_equal(raft_configuration_encode(&c, &bytes), 0);
    assert_true(conf_entry_decode(slice_mem(bytes.base, bytes.len), &back, &err));
    assert_true(conf_equal(&c, &back));
    assert_int_equal(conf_find(&back, 9)->role, RAFT_STANDBY);
    assert_null(conf_find(&back, 2));
    raft_configuration_close(&back);
    for (size_t n = 0; n < bytes.len; n++) {
        char *cut = mem_new(n + 1);
        memcpy(cut, bytes.base, n);
        if (conf_entry_decode(slice_mem(cut, n), &back, &err)) {
            assert_true(conf_equal(&c, &back)); /* padding was cut */
            raft_configuration_close(&back);
        }
        mem_free(cut);
    }
    for (size_t bit = 0; bit < bytes.len * 8; bit++) {
        ((char *)bytes.base)[bit / 8] ^= (char)(1 << bit % 8);
        if (conf_entry_decode(slice_mem(bytes.base, bytes.len), &back, &err))
            raft_configuration_close(&back);
        ((char *)bytes.base)[bit / 8] ^= (char)(1 << bit % 8);
    }
    raft_free(bytes.base);
    raft_configuration_close(&c);
    raft_configuration_close(&copy);
}

static void padding_is_zeros(void **state)
{
    (void)state;
    struct raft_configuration c, back;
    struct raft_buffer bytes;
    struct err err = {0};
    raft_configuration_init(&c);
    assert_int_equal(raft_configuration_add(&c, 1, "n1=127.0.0.1:1", RAFT_VOTER), 0);
    assert_int_equal(raft_configuration_encode(&c, &bytes), 0);
    size_t used = 1 + 8 + 8 + strlen("n1=127.0.0.1:1") + 1 + 1;
    assert_true(used < bytes.len);
    memset((char *)bytes.base + used, 0x5a, bytes.len - used);
    conf_entry_seal(bytes.base, bytes.len);
    for (size_t i = used; i < bytes.len; i++)
        assert_int_equal(((char *)bytes.base)[i], 0);
    assert_true(conf_entry_decode(slice_mem(bytes.base, bytes.len), &back, &err));
    assert_true(conf_equal(&c, &back));
    raft_configuration_close(&back);
    raft_configuration_close(&c);
    raft_free(bytes.base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_come_back),
        cmocka_unit_test(padding_is_zeros),
        cmocka_unit_test(entries_are_read_as_libraft_writes_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
