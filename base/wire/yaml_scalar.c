#include "base/wire/yaml_scalar.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_BYTES_MAX                                                                           \
    400 /* the longest finite double written out has 309 digits before its point */

enum meaning {
    MEANS_STRING,
    MEANS_NULL,
    MEANS_TRUE,
    MEANS_FALSE,
    MEANS_INT,
    MEANS_REAL,
    MEANS_INFINITE
};

static bool one_of(struct slice s, const char *const *words)
{
    for (; *words; words++)
        if (slice_eq(s, slice_of(*words)))
            return true;
    return false;
}

/* YAML 1.1 types bool, null and float, as go-yaml v2 spells them. */
static enum meaning word_meaning(struct slice s)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"y",    "Y",    "yes", "Yes", "YES", "true",
                                        "True", "TRUE", "on",  "On",  "ON",  NULL};
    static const char *const falses[] = {"n",     "N",     "no",  "No",  "NO",  "false",
                                         "False", "FALSE", "off", "Off", "OFF", NULL};
    static const char *const infinities[] = {".nan",  ".NaN",  ".NAN",  ".inf",  ".Inf",
                                             ".INF",  "+.inf", "+.Inf", "+.INF", "-.inf",
                                             "-.Inf", "-.INF", NULL};
    if (one_of(s, nulls))
        return MEANS_NULL;
    if (one_of(s, trues))
        return MEANS_TRUE;
    if (one_of(s, falses))
        return MEANS_FALSE;
    return one_of(s, infinities) ? MEANS_INFINITE : MEANS_STRING;
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *skip_digits(const char *p)
{
    while (digit(*p))
        p++;
    return p;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool looks_real(const char *p)
{
    if (*p == '-' || *p == '+')
        p++;
    const char *whole = p;
    p = skip_digits(p);
    bool has_whole = p > whole;
    if (*p == '.') {
        const char *fraction = ++p;
        p = skip_digits(p);
        if (!has_whole && p == fraction)
            return false;
    } else if (!has_whole) {
        return false;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '-' || *p == '+')
            p++;
        if (!digit(*p))
            return false;
        p = skip_digits(p);
    }
    return !*p;
}

/* Go's ParseInt with base 0: 0x, 0o, 0b, a leading 0 is octal. */
static bool parse_int(const char *text, int64_t *ret)
{
    bool negative = *text == '-';
    const char *p = text + (*text == '-' || *text == '+');
    int base = 10;
    if (p[0] == '0' && p[1]) {
        char c = (char)(p[1] | 0x20);
        base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
        p += c == 'x' || c == 'b' || c == 'o' ? 2 : 1;
    }
    if (!digit(*p) && !(base == 16 && ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'f')))
        return false;
    char *end;
    errno = 0;
    uint64_t v = strtoull(p, &end, base);
    if (*end || errno == ERANGE || v > (uint64_t)INT64_MAX + negative)
        return false;
    *ret = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

static enum meaning number_meaning(struct slice s, int64_t *ret_int, double *ret_real)
{
    if (!s.n || s.n > NUMBER_BYTES_MAX || (!digit(s.p[0]) && !strchr("+-.", s.p[0])))
        return MEANS_STRING;
    char text[NUMBER_BYTES_MAX + 1];
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '_')
            text[n++] = s.p[i];
    text[n] = 0;
    if (parse_int(text, ret_int))
        return MEANS_INT;
    if (!looks_real(text))
        return MEANS_STRING;
    *ret_real = strtod(text, NULL);
    return isfinite(*ret_real) ? MEANS_REAL : MEANS_INFINITE;
}

static enum meaning meaning_of(struct slice s, int64_t *ret_int, double *ret_real)
{
    enum meaning m = word_meaning(s);
    return m == MEANS_STRING ? number_meaning(s, ret_int, ret_real) : m;
}

static json_t *plain_json(struct slice text)
{
    int64_t i = 0;
    double r = 0;
    switch (meaning_of(text, &i, &r)) {
    case MEANS_NULL:
        return json_null();
    case MEANS_TRUE:
        return json_true();
    case MEANS_FALSE:
        return json_false();
    case MEANS_INT:
        return json_integer(i);
    case MEANS_REAL:
        return json_real(r);
    case MEANS_INFINITE:
        return NULL;
    case MEANS_STRING:
        break;
    }
    return json_string_of(text);
}

static bool is_of_tag(const json_t *v, struct slice type)
{
    return (slice_eq(type, S("int")) && json_is_integer(v)) ||
           (slice_eq(type, S("float")) && json_is_number(v)) ||
           (slice_eq(type, S("bool")) && json_is_boolean(v)) ||
           (slice_eq(type, S("null")) && json_is_null(v));
}

json_t *yaml_scalar_json(struct slice text, struct slice tag, bool plain)
{
    const struct slice prefix = S("tag:yaml.org,2002:");
    if (!tag.n)
        return plain ? plain_json(text) : json_string_of(text);
    if (slice_eq(tag, S("!")) || slice_eq(tag, S("tag:yaml.org,2002:str")))
        return json_string_of(text);
    if (!slice_starts(tag, prefix))
        return NULL;
    json_t *v = plain_json(text);
    if (v && is_of_tag(v, slice_skip(tag, prefix.n)))
        return v;
    json_decref(v);
    return NULL;
}

/* [-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)? roughly; quoting too much does no harm. */
static bool looks_base60_or_date(struct slice s)
{
    size_t separators = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == ':' || (c == '-' && i == 4))
            separators++;
        else if (!digit(c) && !strchr("+-._TtZz ", c))
            return false;
    }
    return separators && s.n && (digit(s.p[0]) || ((s.p[0] == '-' || s.p[0] == '+') && s.n > 1));
}

bool yaml_scalar_needs_quotes(struct slice text)
{
    int64_t i;
    double r;
    return meaning_of(text, &i, &r) != MEANS_STRING || looks_base60_or_date(text) ||
           slice_eq(text, S("<<"));
}
