/* A voter that lost its disk and votes as if it had not can elect a second leader of one term. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "registry/raft/join.h"

struct answer {
    uint64_t id, term, last;
};

static const struct {
    const char *what;
    size_t others;
    bool self_virgin;
    struct answer answers[6];
    enum join_verdict verdict;
    uint64_t term;
} cases[] = {
    {"alone yet", 2, true, {{0}}, JOIN_WAIT, 0},
    {"two of three are new: the third may have a past", 2, true, {{2, 1, 1}}, JOIN_WAIT, 0},
    {"all three are new", 2, true, {{2, 1, 1}, {3, 1, 1}}, JOIN_NEW_CLUSTER, 0},
    {"four of five are new", 4, true, {{2, 1, 1}, {3, 1, 1}, {4, 1, 1}}, JOIN_WAIT, 0},
    {"one has a past: the other must speak too", 2, true, {{2, 7, 90}}, JOIN_WAIT, 0},
    {"a past and a new one", 2, true, {{2, 7, 90}, {3, 1, 1}}, JOIN_CATCH_UP, 7},
    {"both have a past", 2, true, {{2, 7, 90}, {3, 9, 80}}, JOIN_CATCH_UP, 9},
    {"a vote alone is a past", 2, true, {{2, 2, 1}}, JOIN_WAIT, 0},
    {"an entry alone is a past", 2, true, {{2, 1, 2}}, JOIN_WAIT, 0},
    {"the highest term counts", 2, true, {{2, 9, 90}, {3, 1, 1}, {2, 8, 90}}, JOIN_CATCH_UP, 9},
    {"half caught up is no virgin", 2, false, {{2, 1, 1}}, JOIN_WAIT, 0},
    {"half caught up asks all", 2, false, {{2, 7, 90}, {3, 7, 90}}, JOIN_CATCH_UP, 7},
    {"strangers do not count", 2, true, {{9, 1, 1}}, JOIN_WAIT, 0},
    {"four of five with a past", 4, true, {{2, 7, 9}, {3, 7, 9}, {4, 7, 9}}, JOIN_WAIT, 0},
};

static void verdicts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct join j = {.count = 0};
        uint64_t term = 0;
        for (size_t k = 0; k < cases[i].others; k++)
            join_add(&j, k + 2);
        for (const struct answer *a = cases[i].answers; a->id; a++)
            join_answer(&j, a->id, a->term, a->last);
        if (join_decide(&j, cases[i].self_virgin, &term) != cases[i].verdict ||
            term != cases[i].term)
            fail_msg("%s", cases[i].what);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(verdicts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
