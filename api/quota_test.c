/* If this fails, a quota that somebody wrote means another one, or none. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/quota.h"

static void quotas_are_read(void **state)
{
    static const struct {
        const char *text;
        bool units;
        uint64_t n; /* 0: refused */
    } rows[] = {{"1", false, 1},
                {"500", true, 500},
                {"10Ki", true, 10240},
                {"3Mi", true, 3145728},
                {"2Gi", true, 2147483648},
                {"9223372036854775807", true, INT64_MAX},
                {"10Mi", false, 0},
                {"0", true, 0},
                {"", true, 0},
                {"Mi", true, 0},
                {"-1", true, 0},
                {"1.5Mi", true, 0},
                {"10 Mi", true, 0},
                {"10M", true, 0},
                {"9223372036854775808", true, 0},
                {"9007199254740993Ki", true, 0},
                {"18446744073709551616", true, 0}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t n = 0;
        bool ok = quota_parse(slice_of(rows[i].text), rows[i].units, &n);
        if (ok != (rows[i].n > 0) || n != rows[i].n)
            fail_msg("%s: %d, %llu", rows[i].text, ok, (unsigned long long)n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(quotas_are_read)};
    return cmocka_run_group_tests_name("quota", tests, NULL, NULL);
}
