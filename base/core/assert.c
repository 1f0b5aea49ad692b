#include "base/core/assert.h"

#include <execinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FRAMES_MAX 48

_Noreturn static void die_with_trace(void)
{
    void *frames[FRAMES_MAX];
    fflush(stderr);
    backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), STDERR_FILENO);
    abort();
}

_Noreturn void wf_assert_failed(const char *expr, const char *file, int line, const char *func)
{
    fprintf(stderr, "weft: bug: %s:%d: %s: %s\n", file, line, func, expr);
    die_with_trace();
}

_Noreturn void wf_die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("weft: fatal: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    fflush(stderr);
    abort();
}
