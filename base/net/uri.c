#include "base/net/uri.h"

#include <string.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The byte of the escape at the front of s, or -1. */
static int escaped_byte(struct slice s)
{
    if (s.n < 3 || hex_value(s.p[1]) < 0 || hex_value(s.p[2]) < 0)
        return -1;
    return hex_value(s.p[1]) * 16 + hex_value(s.p[2]);
}

static bool decode(struct slice s, bool plus_is_space, struct arena *arena, struct slice *ret)
{
    if (slice_find(s, '%') == SIZE_MAX && !(plus_is_space && slice_find(s, '+') != SIZE_MAX)) {
        *ret = s;
        return true;
    }
    char *p = arena_alloc(arena, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            int byte = escaped_byte(slice_skip(s, i));
            if (byte <= 0)
                return false;
            c = (char)byte;
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        p[n++] = c;
    }
    *ret = (struct slice){p, n};
    return true;
}

bool uri_decode(struct slice s, struct arena *arena, struct slice *ret)
{
    return decode(s, false, arena, ret);
}

bool uri_decode_form(struct slice s, struct arena *arena, struct slice *ret)
{
    return decode(s, true, arena, ret);
}

/* RFC 3986 §2.3. */
static bool unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

struct slice uri_encode(struct slice s, struct arena *arena)
{
    static const char digits[] = "0123456789ABCDEF";
    char *p = arena_alloc(arena, 3 * s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (unreserved(s.p[i])) {
            p[n++] = s.p[i];
            continue;
        }
        p[n++] = '%';
        p[n++] = digits[(unsigned char)s.p[i] >> 4];
        p[n++] = digits[(unsigned char)s.p[i] & 15];
    }
    return (struct slice){p, n};
}

bool uri_query_next(struct slice *rest, struct slice *ret_name, struct slice *ret_value)
{
    struct slice part;
    while (rest->n) {
        slice_cut(*rest, '&', &part, rest);
        if (!part.n)
            continue;
        slice_cut(part, '=', ret_name, ret_value);
        return true;
    }
    return false;
}

static bool find(struct slice query, struct slice name, struct slice *ret_value)
{
    struct slice found;
    while (uri_query_next(&query, &found, ret_value))
        if (slice_eq(found, name))
            return true;
    return false;
}

bool uri_query_get(struct slice query, struct slice name, struct arena *arena,
                   struct slice *ret_value)
{
    struct slice value;
    return find(query, name, &value) && uri_decode_form(value, arena, ret_value);
}

bool uri_query_has(struct slice query, struct slice name)
{
    struct slice value;
    return find(query, name, &value);
}
