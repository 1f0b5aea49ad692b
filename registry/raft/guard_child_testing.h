/* Schedules of the guard that may end their process: a child plays them. For tests only. */
#ifndef WEFT_REGISTRY_RAFT_GUARD_CHILD_TESTING_H
#define WEFT_REGISTRY_RAFT_GUARD_CHILD_TESTING_H

#include "registry/raft/guard_world_testing.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_DIED = 99, CHILD_CRASHED = 98, CHILD_SAYS = 40 };

/* What a child saw of it. When it did not live to tell: CHILD_CRASHED for memory that is not there,
 * which is libraft's way to end, CHILD_DIED for ours. */
static inline int in_child(enum outcome (*schedule)(uint64_t, unsigned), uint64_t seed,
                           unsigned off)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const int deadly[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
        for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
            signal(deadly[i], SIG_DFL); /* cmocka would go on with the next test */
        wf_assert(freopen("/dev/null", "w", stderr));
        _exit(CHILD_SAYS + (int)schedule(seed, off));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV)
        return CHILD_CRASHED;
    if (!WIFEXITED(status) || WEXITSTATUS(status) < CHILD_SAYS)
        return CHILD_DIED;
    return WEXITSTATUS(status) - CHILD_SAYS;
}

static inline int count_in_child(enum outcome (*schedule)(uint64_t, unsigned), unsigned off,
                                 int what)
{
    int n = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        n += in_child(schedule, seed, off) == what;
    return n;
}

#endif
