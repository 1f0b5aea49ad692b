#include "base/wire/pb_wkt.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"

enum {
    NANOS_PER_S = 1000000000,
    FRACTION_DIGITS_MAX = 9,
    FRACTION_TEXT = 16,
    SECONDS_PER_DAY = 86400
};
/* protobuf: 10,000 years of 365.25 days. */
static const int64_t duration_seconds_max = 315576000000;
/* 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z. */
static const int64_t timestamp_min = -62135596800, timestamp_max = 253402300799;

enum pb_wkt pb_wkt_of(const ProtobufCMessageDescriptor *type)
{
    static const struct {
        const char *name;
        enum pb_wkt wkt;
    } table[] = {
        {"Any", PB_WKT_ANY},
        {"Duration", PB_WKT_DURATION},
        {"Timestamp", PB_WKT_TIMESTAMP},
        {"Struct", PB_WKT_STRUCT},
        {"Value", PB_WKT_VALUE},
        {"ListValue", PB_WKT_LIST},
        {"DoubleValue", PB_WKT_WRAPPER},
        {"FloatValue", PB_WKT_WRAPPER},
        {"Int64Value", PB_WKT_WRAPPER},
        {"UInt64Value", PB_WKT_WRAPPER},
        {"Int32Value", PB_WKT_WRAPPER},
        {"UInt32Value", PB_WKT_WRAPPER},
        {"BoolValue", PB_WKT_WRAPPER},
        {"StringValue", PB_WKT_WRAPPER},
        {"BytesValue", PB_WKT_WRAPPER},
    };
    if (strcmp(type->package_name, "google.protobuf") != 0)
        return PB_WKT_NONE;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (strcmp(type->short_name, table[i].name) == 0)
            return table[i].wkt;
    return PB_WKT_NONE;
}

bool pb_wkt_is_null_enum(const ProtobufCEnumDescriptor *type)
{
    return strcmp(type->name, "google.protobuf.NullValue") == 0;
}

/* Fractions of a second. */

/* ".250" into dst[FRACTION_TEXT]: nothing, 3, 6 or 9 digits. */
static void format_fraction(uint32_t nanos, char *dst)
{
    dst[0] = 0;
    if (nanos == 0)
        return;
    (void)snprintf(dst, FRACTION_TEXT, ".%09" PRIu32, nanos);
    for (size_t n = FRACTION_DIGITS_MAX; n > 3 && memcmp(dst + 1 + n - 3, "000", 3) == 0; n -= 3)
        dst[1 + n - 3] = 0;
}

/* 1 to 9 digits. */
static bool parse_fraction(struct slice digits, int32_t *ret_nanos)
{
    uint32_t v;
    if (digits.n > FRACTION_DIGITS_MAX || !slice_u32(digits, &v))
        return false;
    for (size_t i = digits.n; i < FRACTION_DIGITS_MAX; i++)
        v *= 10;
    *ret_nanos = (int32_t)v;
    return true;
}

/* "12.5" -> 12, 500000000. */
static bool parse_decimal(struct slice text, uint64_t *ret_whole, int32_t *ret_nanos)
{
    struct slice whole, fraction;
    bool has_fraction = slice_cut(text, '.', &whole, &fraction);
    *ret_nanos = 0;
    return slice_u64(whole, ret_whole) && (!has_fraction || parse_fraction(fraction, ret_nanos));
}

/* Duration. */

bool pb_duration_format(int64_t seconds, int32_t nanos, char *dst)
{
    bool mixed = (seconds < 0 && nanos > 0) || (seconds > 0 && nanos < 0);
    if (mixed || nanos <= -NANOS_PER_S || nanos >= NANOS_PER_S || seconds < -duration_seconds_max ||
        seconds > duration_seconds_max)
        return false;
    char fraction[FRACTION_TEXT];
    format_fraction((uint32_t)(nanos < 0 ? -nanos : nanos), fraction);
    (void)snprintf(dst, PB_TIME_TEXT, "%s%" PRId64 "%ss", seconds < 0 || nanos < 0 ? "-" : "",
                   seconds < 0 ? -seconds : seconds, fraction);
    return true;
}

bool pb_duration_parse(struct slice text, int64_t *ret_seconds, int32_t *ret_nanos)
{
    bool negative = slice_starts(text, S("-"));
    uint64_t seconds;
    int32_t nanos;
    if (!slice_ends(text, S("s")))
        return false;
    text = slice_sub(text, negative, text.n - negative - 1);
    if (!parse_decimal(text, &seconds, &nanos) || seconds > (uint64_t)duration_seconds_max)
        return false;
    *ret_seconds = negative ? -(int64_t)seconds : (int64_t)seconds;
    *ret_nanos = negative ? -nanos : nanos;
    return true;
}

/* Timestamp. */

struct date {
    int64_t year;
    unsigned month, day; /* from 1 */
};

/* Days since 1970-01-01 in the proleptic Gregorian calendar. Years begin in March here, so that the
 * leap day is the last of its year; 719468 days lie between 0000-03-01 and 1970-01-01. */
static int64_t days_of_date(struct date d)
{
    int64_t year = d.month <= 2 ? d.year - 1 : d.year;
    unsigned month = (d.month + 9) % 12; /* March is 0 */
    unsigned day_of_year = (153 * month + 2) / 5 + d.day - 1;
    return year * 365 + year / 4 - year / 100 + year / 400 + (int64_t)day_of_year - 719468;
}

static struct date date_of_days(int64_t days)
{
    days += 719468;
    wf_assert(days >= 0);
    int64_t era = days / 146097; /* 400 years */
    int64_t day = days % 146097;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    unsigned day_of_year = (unsigned)(day - (365 * year + year / 4 - year / 100));
    unsigned month = (5 * day_of_year + 2) / 153;
    struct date d = {
        .year = era * 400 + year,
        .month = month < 10 ? month + 3 : month - 9,
        .day = day_of_year - (153 * month + 2) / 5 + 1,
    };
    d.year += d.month <= 2;
    return d;
}

bool pb_timestamp_format(int64_t seconds, int32_t nanos, char *dst)
{
    if (seconds < timestamp_min || seconds > timestamp_max || nanos < 0 || nanos >= NANOS_PER_S)
        return false;
    int64_t from_year_1 = seconds - timestamp_min; /* so that the remainder is positive */
    struct date d = date_of_days((from_year_1 / SECONDS_PER_DAY) + timestamp_min / SECONDS_PER_DAY);
    unsigned s = (unsigned)(from_year_1 % SECONDS_PER_DAY);
    char fraction[FRACTION_TEXT];
    format_fraction((uint32_t)nanos, fraction);
    (void)snprintf(dst, PB_TIME_TEXT, "%04u-%02u-%02uT%02u:%02u:%02u%sZ", (unsigned)d.year, d.month,
                   d.day, s / 3600, s / 60 % 60, s % 60, fraction);
    return true;
}

/* A fixed number of digits at `at`, followed by `after` (0: nothing in particular). */
static bool fixed_digits(struct slice text, size_t at, size_t n, char after, uint32_t *ret)
{
    if (text.n < at + n + (after != 0) || (after && text.p[at + n] != after))
        return false;
    return slice_u32(slice_sub(text, at, n), ret);
}

/* "Z" or "+01:30": seconds east of Greenwich. */
static bool parse_offset(struct slice zone, int64_t *ret_seconds)
{
    uint32_t hours, minutes;
    *ret_seconds = 0;
    if (slice_eq(zone, S("Z")))
        return true;
    if (zone.n != 6 || (zone.p[0] != '+' && zone.p[0] != '-') ||
        !fixed_digits(zone, 1, 2, ':', &hours) || !fixed_digits(zone, 4, 2, 0, &minutes) ||
        hours > 23 || minutes > 59)
        return false;
    int64_t east = hours * 3600 + minutes * 60;
    *ret_seconds = zone.p[0] == '-' ? -east : east;
    return true;
}

static bool parse_date_time(struct slice text, int64_t *ret_seconds)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint32_t year, month, day, h, m, s;
    if (!fixed_digits(text, 0, 4, '-', &year) || !fixed_digits(text, 5, 2, '-', &month) ||
        !fixed_digits(text, 8, 2, 'T', &day) || !fixed_digits(text, 11, 2, ':', &h) ||
        !fixed_digits(text, 14, 2, ':', &m) || !fixed_digits(text, 17, 2, 0, &s))
        return false;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (year < 1 || month < 1 || month > 12 || day < 1 ||
        day > days[month - 1] + (uint32_t)(month == 2 && leap) || h > 23 || m > 59 || s > 59)
        return false;
    int64_t date = days_of_date((struct date){year, month, day});
    *ret_seconds = date * SECONDS_PER_DAY + h * 3600 + m * 60 + s;
    return true;
}

bool pb_timestamp_parse(struct slice text, int64_t *ret_seconds, int32_t *ret_nanos)
{
    enum { DATE_TIME = 19 };
    int64_t seconds, east;
    int32_t nanos = 0;
    if (!parse_date_time(text, &seconds))
        return false;
    struct slice rest = slice_skip(text, DATE_TIME);
    if (slice_starts(rest, S("."))) {
        size_t n = 1;
        while (n < rest.n && rest.p[n] >= '0' && rest.p[n] <= '9')
            n++;
        if (!parse_fraction(slice_sub(rest, 1, n - 1), &nanos))
            return false;
        rest = slice_skip(rest, n);
    }
    if (!parse_offset(rest, &east))
        return false;
    seconds -= east;
    if (seconds < timestamp_min || seconds > timestamp_max)
        return false;
    *ret_seconds = seconds;
    *ret_nanos = nanos;
    return true;
}
