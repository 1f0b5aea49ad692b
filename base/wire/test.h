/* What the tests of the tree include before cmocka, and a check of slices. Tests only. */
#ifndef WEFT_BASE_WIRE_TEST_H
#define WEFT_BASE_WIRE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs those before. */
#include <cmocka.h>

#include "base/core/slice.h"

#define check_slice(got, want) check_slice_((got), (want), __FILE__, __LINE__)
static inline void check_slice_(struct slice got, struct slice want, const char *file, int line)
{
    if (slice_eq(got, want))
        return;
    print_error("\"%.*s\" is not \"%.*s\"\n", SLICE(got), SLICE(want));
    _fail(file, line);
}

#endif
