#include "api/duration.h"

#include <string.h>

static const struct {
    struct slice name;
    int64_t ns;
} units[] = {
    {S_INIT("ns"), 1},           {S_INIT("us"), 1000},
    {S_INIT("\xC2\xB5s"), 1000}, /* U+00B5 micro sign */
    {S_INIT("\xCE\xBCs"), 1000}, /* U+03BC mu */
    {S_INIT("ms"), 1000000},     {S_INIT("s"), 1000000000},
    {S_INIT("m"), 60000000000},  {S_INIT("h"), 3600000000000},
};

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t digits(struct slice s)
{
    size_t n = 0;
    while (n < s.n && digit(s.p[n]))
        n++;
    return n;
}

/* The unit is everything up to the next digit or point. */
static int64_t take_unit(struct slice *s)
{
    size_t n = 0;
    while (n < s->n && !digit(s->p[n]) && s->p[n] != '.')
        n++;
    struct slice name = slice_sub(*s, 0, n);
    *s = slice_skip(*s, n);
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (slice_eq(units[i].name, name))
            return units[i].ns;
    return 0;
}

/* Digits behind the point, as nanoseconds of the unit; finer ones are cut. */
static int64_t fraction_ns(struct slice text, int64_t unit)
{
    int64_t ns = 0;
    for (size_t i = 0; i < text.n && unit; i++) {
        unit /= 10;
        ns += (text.p[i] - '0') * unit;
    }
    return ns;
}

static bool take_part(struct slice *s, int64_t *total)
{
    size_t n = digits(*s);
    uint64_t whole = 0;
    if (n && !slice_u64(slice_sub(*s, 0, n), &whole))
        return false;
    *s = slice_skip(*s, n);
    struct slice fraction = {0};
    if (s->n && s->p[0] == '.') {
        *s = slice_skip(*s, 1);
        fraction = slice_sub(*s, 0, digits(*s));
        *s = slice_skip(*s, fraction.n);
    }
    int64_t unit = take_unit(s), ns;
    if (!unit || (!n && !fraction.n) || whole > INT64_MAX)
        return false;
    return !__builtin_mul_overflow((int64_t)whole, unit, &ns) &&
           !__builtin_add_overflow(ns, fraction_ns(fraction, unit), &ns) &&
           !__builtin_add_overflow(*total, ns, total);
}

bool duration_parse(struct slice s, int64_t *ret_ns)
{
    bool negative = slice_starts(s, S("-"));
    if (negative || slice_starts(s, S("+")))
        s = slice_skip(s, 1);
    int64_t total = 0;
    if (!s.n)
        return false;
    if (!slice_eq(s, S("0")))
        while (s.n)
            if (!take_part(&s, &total))
                return false;
    *ret_ns = negative ? -total : total;
    return true;
}

wf_ms duration_ms(struct slice s, wf_ms otherwise)
{
    int64_t ns;
    if (!duration_parse(s, &ns))
        return otherwise;
    return ns / 1000000 + (ns % 1000000 > 0);
}
