#include "base/core/args.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_USAGE 64

_Noreturn void args_refuse(const char *flag, const char *why)
{
    fprintf(stderr, "%s: %s: %s\nTry: %s --help\n", program_invocation_short_name, flag, why,
            program_invocation_short_name);
    exit(EXIT_USAGE);
}

uint64_t args_number(const char *flag, const char *arg, uint64_t min, uint64_t max)
{
    uint64_t n;
    char why[80];
    if (slice_u64(slice_of(arg), &n) && n >= min && n <= max)
        return n;
    snprintf(why, sizeof(why), "wants a number from %" PRIu64 " to %" PRIu64, min, max);
    args_refuse(flag, why);
}

void args_name(const char *flag, struct slice name, size_t max)
{
    char why[80];
    bool ok = name.n > 0 && name.n <= max;
    for (size_t i = 0; i < name.n; i++)
        ok = ok && (isalnum((unsigned char)name.p[i]) || strchr("-_.", name.p[i]));
    if (ok)
        return;
    snprintf(why, sizeof(why), "wants letters, digits, - _ . and at most %zu of them", max);
    args_refuse(flag, why);
}
