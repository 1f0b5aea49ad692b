#include "api/quota.h"

bool quota_parse(struct slice text, bool units, uint64_t *ret)
{
    static const struct {
        struct slice unit;
        unsigned shift;
    } rows[] = {{S_INIT("Ki"), 10}, {S_INIT("Mi"), 20}, {S_INIT("Gi"), 30}};
    unsigned shift = 0;
    uint64_t n;
    for (size_t i = 0; units && i < ARRAY_LEN(rows); i++)
        if (slice_ends(text, rows[i].unit)) {
            shift = rows[i].shift;
            text = slice_sub(text, 0, text.n - rows[i].unit.n);
            break;
        }
    if (!slice_u64(text, &n) || n == 0 || n > (uint64_t)INT64_MAX >> shift)
        return false;
    *ret = n << shift;
    return true;
}
