/* If these fail, an upgrade of one node after another ends in a node that cannot read what it is
 * sent, or in a version that nobody can go back from although nobody meant to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "registry/raft/version.h"

static void who_takes_part(void **state)
{
    (void)state;
    static const struct {
        struct versions reads;
        unsigned version;
        const char *says; /* NULL: it takes part */
    } cases[] = {
        {{3, 3}, 0, NULL}, /* nothing was written yet */
        {{3, 3}, 3, NULL},
        {{3, 4}, 3, NULL},
        {{3, 4}, 4, NULL},
        {{3, 3},
         4,
         "the cluster is of version 4, node n2 reads 3 to 3: a version never goes back, start a "
         "newer program there"},
        {{5, 6},
         3,
         "the cluster is of version 3, node n2 reads 5 to 6: upgrade all nodes to a program first "
         "that reads both 3 and 5"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err = {0};
        bool fits = version_fits(cases[i].reads, cases[i].version, S("node n2"), &err);
        assert_int_equal(fits, cases[i].says == NULL);
        assert_int_equal(err.code, cases[i].says ? ERR_UNSUPPORTED : ERR_NONE);
        if (cases[i].says)
            assert_string_equal(err.msg, cases[i].says);
    }
}

static void what_two_speak(void **state)
{
    (void)state;
    static const struct {
        struct versions a, b;
        unsigned version; /* 0: nothing */
    } cases[] = {
        {{3, 3}, {3, 3}, 3}, {{3, 3}, {3, 4}, 3}, {{3, 4}, {3, 4}, 4}, {{3, 5}, {4, 9}, 5},
        {{3, 4}, {4, 4}, 4}, {{3, 3}, {4, 5}, 0}, {{3, 4}, {6, 9}, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err = {0};
        assert_int_equal(version_agree(cases[i].a, cases[i].b, &err), cases[i].version);
        assert_int_equal(version_agree(cases[i].b, cases[i].a, &err), cases[i].version);
        assert_int_equal(err.code, cases[i].version ? ERR_NONE : ERR_UNSUPPORTED);
    }
}

static void to_what_it_is_raised(void **state)
{
    (void)state;
    static const struct {
        unsigned now;
        struct versions all[3];
        unsigned to;
    } cases[] = {
        {3, {{3, 3}, {3, 3}, {3, 3}}, 3}, {3, {{3, 4}, {3, 4}, {3, 4}}, 4},
        {3, {{3, 4}, {3, 3}, {3, 4}}, 3}, /* one is not upgraded yet */
        {3, {{3, 4}, {0, 0}, {3, 4}}, 3}, /* of one nothing is known */
        {3, {{3, 6}, {3, 5}, {3, 7}}, 5}, /* more than one release at once */
        {4, {{3, 4}, {3, 4}, {3, 4}}, 4}, {5, {{3, 4}, {3, 5}, {3, 5}}, 5}, /* never back */
        {3, {{3, 4}, {5, 6}, {3, 4}}, 3}, /* would leave one behind */
        {3, {{3, 5}, {5, 6}, {3, 6}}, 5},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(version_target(cases[i].now, cases[i].all, 3), cases[i].to);
    assert_int_equal(version_target(3, NULL, 0), 3);
}

static void a_program_reads_no_more_than_it_knows(void **state)
{
    (void)state;
    static const struct {
        struct versions v;
        bool ok;
    } cases[] = {
        {{VERSION_OLDEST, VERSION_NEWEST}, true},
        {{VERSION_OLDEST, VERSION_OLDEST}, true},
        {{VERSION_NEWEST, VERSION_NEWEST}, true},
        {{VERSION_OLDEST, VERSION_NEWEST + 1}, false},
        {{VERSION_OLDEST - 1, VERSION_NEWEST}, false},
        {{VERSION_NEWEST, VERSION_OLDEST}, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err = {0};
        assert_int_equal(versions_check(cases[i].v, &err), cases[i].ok);
        assert_int_equal(err.code, cases[i].ok ? ERR_NONE : ERR_INVALID);
    }
    struct versions all = versions_or_all((struct versions){0});
    assert_int_equal(all.oldest, VERSION_OLDEST);
    assert_int_equal(all.newest, VERSION_NEWEST);
    assert_int_equal(versions_or_all((struct versions){3, 3}).newest, 3);
}

static void entries_say_their_version(void **state)
{
    (void)state;
    assert_int_equal(version_of_entry(S("WEFT\x04\x00 and so on")), 4);
    assert_int_equal(version_of_entry(S("WEFT\x04")), 0);
    assert_int_equal(version_of_entry(S("TFEW\x04\x00 and so on")), 0);
    assert_int_equal(version_of_entry(S("")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_takes_part),
        cmocka_unit_test(what_two_speak),
        cmocka_unit_test(to_what_it_is_raised),
        cmocka_unit_test(a_program_reads_no_more_than_it_knows),
        cmocka_unit_test(entries_say_their_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
