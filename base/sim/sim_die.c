/* base/core/assert.c in a simulation: a process that ends itself is a death like another; a bug
 * ends the run. */
#include <execinfo.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "base/sim/sim_impl.h"

#define FRAMES_MAX 48

_Noreturn void wf_assert_failed(const char *expr, const char *file, int line, const char *func)
{
    void *frames[FRAMES_MAX];
    struct sim_host *h = sim_current();
    fprintf(stderr, "weft: bug: %s%s%s:%d: %s: %s\n", h ? h->name : "", h ? ": " : "", file, line,
            func, expr);
    fflush(stderr);
    backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), STDERR_FILENO);
    signal(SIGABRT, SIG_DFL); /* a bug of ours is none of a damaged file's */
    abort();
}

_Noreturn void wf_die(const char *fmt, ...)
{
    char text[SIM_DIE_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (sim_current())
        sim_process_died(text);
    fprintf(stderr, "weft-sim: %s\n", text);
    fflush(stderr);
    abort();
}
