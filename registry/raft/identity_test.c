/* If this fails, a certificate that was never given to a node speaks for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "registry/raft/identity.h"

static void an_identity_has_one_form(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "weft://",
        "weft://00c0ffee00c0ffee",
        "weft://00c0ffee00c0ffee/node/",
        "weft://00c0ffee00c0ffee/node/0",
        "weft://00c0ffee00c0ffee/node/03",
        "weft://00c0ffee00c0ffee/node/+3",
        "weft://00c0ffee00c0ffee/node/3/",
        "weft://00c0ffee00c0ffee/node/3 ",
        "weft://00C0FFEE00c0ffee/node/3",
        "weft://0000000000000000/node/3",
        "weft://c0ffee/node/3",
        "weft://00c0ffee00c0ffee/node/18446744073709551616",
        "weft://00c0ffee00c0ffee/nodes/3",
        "spiffe://00c0ffee00c0ffee/node/3",
        "WEFT://00c0ffee00c0ffee/node/3",
    };
    struct identity id = {0};
    struct err err = {0};
    char text[IDENTITY_TEXT];
    assert_true(identity_parse(S("weft://00c0ffee00c0ffee/node/3"), &id, &err));
    assert_int_equal(id.cluster, 0x00c0ffee00c0ffee);
    assert_int_equal(id.node, 3);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (identity_parse(slice_of(bad[i]), &id, &err))
            fail_msg("%s", bad[i]);
    id = (struct identity){UINT64_MAX, UINT64_MAX};
    struct identity back = {0};
    assert_true(identity_parse(identity_format(&id, text), &back, &err));
    assert_true(back.cluster == id.cluster && back.node == id.node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_identity_has_one_form)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
