#include "base/wire/json_tree.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/core/mem.h"
#include "base/wire/json_bytes.h"

#define NUMBER_BYTES_MAX 63
#define INTEGER_DIGITS_MAX 18 /* fit int64 whatever they are */

struct tree {
    const char *p, *end;
    size_t depth_left;
    struct buf plain; /* a string without its escapes */
};

static json_t *read_value(struct tree *t);

static void skip_space(struct tree *t)
{
    while (t->p < t->end && (*t->p == ' ' || *t->p == '\n' || *t->p == '\t' || *t->p == '\r'))
        t->p++;
}

/* The next byte that is no white space; 0 at the end (and for a NUL, which nothing takes). */
static char peek(struct tree *t)
{
    skip_space(t);
    return t->p < t->end ? *t->p : 0;
}

static bool take(struct tree *t, char c)
{
    if (peek(t) != c)
        return false;
    t->p++;
    return true;
}

/* Strings. */

static bool hex4(const struct tree *t, const char *p, uint32_t *ret)
{
    uint32_t v = 0;
    if (t->end - p < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit == 16)
            return false;
        v = v << 4 | digit;
    }
    *ret = v;
    return true;
}

static void append_utf8(struct buf *b, uint32_t c)
{
    char text[4];
    size_t n = 0;
    if (c < 0x80) {
        text[n++] = (char)c;
    } else if (c < 0x800) {
        text[n++] = (char)(0xc0 | c >> 6);
    } else if (c < 0x10000) {
        text[n++] = (char)(0xe0 | c >> 12);
        text[n++] = (char)(0x80 | (c >> 6 & 0x3f));
    } else {
        text[n++] = (char)(0xf0 | c >> 18);
        text[n++] = (char)(0x80 | (c >> 12 & 0x3f));
        text[n++] = (char)(0x80 | (c >> 6 & 0x3f));
    }
    if (c >= 0x80)
        text[n++] = (char)(0x80 | (c & 0x3f));
    buf_append(b, slice_mem(text, n));
}

/* At the four digits of \u; a pair of surrogates is one character (RFC 8259 §7). */
static bool unescape_unicode(struct tree *t)
{
    uint32_t c, low;
    if (!hex4(t, t->p, &c) || c == 0 || (c >= 0xdc00 && c <= 0xdfff))
        return false;
    t->p += 4;
    if (c >= 0xd800 && c <= 0xdbff) {
        if (t->end - t->p < 6 || t->p[0] != '\\' || t->p[1] != 'u' || !hex4(t, t->p + 2, &low) ||
            low < 0xdc00 || low > 0xdfff)
            return false;
        c = 0x10000 + ((c & 0x3ff) << 10 | (low & 0x3ff));
        t->p += 6;
    }
    append_utf8(&t->plain, c);
    return true;
}

/* Behind the backslash. */
static bool unescape(struct tree *t)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = t->p < t->end ? *t->p++ : 0;
    if (c == 'u')
        return unescape_unicode(t);
    const char *at = c ? strchr(from, c) : NULL;
    return at && buf_append_byte(&t->plain, to[at - from]);
}

/* At a backslash inside a string that began at `start`. */
static bool read_escaped(struct tree *t, const char *start, struct slice *ret)
{
    buf_clear(&t->plain);
    buf_append(&t->plain, slice_mem(start, (size_t)(t->p - start)));
    while (t->p < t->end && *t->p != '"') {
        unsigned char c = (unsigned char)*t->p++;
        if (c < 0x20 || (c == '\\' && !unescape(t)))
            return false;
        if (c != '\\')
            buf_append_byte(&t->plain, (char)c);
    }
    *ret = buf_slice(&t->plain);
    return t->p++ < t->end && slice_utf8(*ret);
}

/* At the opening quote. *ret lasts until the next string. */
static bool read_string(struct tree *t, struct slice *ret, bool *ret_escaped)
{
    const char *start = ++t->p;
    unsigned char high = 0;
    *ret_escaped = false;
    t->p += json_plain_run(t->p, (size_t)(t->end - t->p), &high);
    for (; t->p < t->end; t->p++) {
        unsigned char c = (unsigned char)*t->p;
        if (c == '"') {
            *ret = slice_mem(start, (size_t)(t->p++ - start));
            return high < 0x80 || slice_utf8(*ret);
        }
        if (c == '\\') {
            *ret_escaped = true;
            return read_escaped(t, start, ret);
        }
        if (c < 0x20)
            return false;
        high |= c;
    }
    return false;
}

static json_t *string_value(struct tree *t)
{
    struct slice s;
    bool escaped;
    return read_string(t, &s, &escaped) ? json_stringn_nocheck(s.p, s.n) : NULL;
}

/* Numbers and words. */

static size_t digits(struct tree *t, uint64_t *value)
{
    const char *start = t->p;
    for (; t->p < t->end && *t->p >= '0' && *t->p <= '9'; t->p++)
        *value = *value * 10 + (uint64_t)(*t->p - '0');
    return (size_t)(t->p - start);
}

/* The text from start on is an integer; at its fraction or exponent. */
static json_t *real_value(struct tree *t, const char *start)
{
    char text[NUMBER_BYTES_MAX + 1];
    uint64_t ignored = 0;
    if (*t->p == '.') {
        t->p++;
        if (!digits(t, &ignored))
            return NULL;
    }
    if (t->p < t->end && (*t->p == 'e' || *t->p == 'E')) {
        t->p++;
        if (t->p < t->end && (*t->p == '+' || *t->p == '-'))
            t->p++;
        if (!digits(t, &ignored))
            return NULL;
    }
    if (!slice_cstr(slice_mem(start, (size_t)(t->p - start)), text, sizeof(text)))
        return NULL;
    double v = strtod(text, NULL);
    return isfinite(v) ? json_real(v) : NULL;
}

static json_t *number_value(struct tree *t)
{
    const char *start = t->p;
    bool minus = *t->p == '-';
    uint64_t v = 0;
    t->p += minus;
    const char *first = t->p;
    size_t n = digits(t, &v);
    if (n == 0 || n > INTEGER_DIGITS_MAX || (n > 1 && *first == '0'))
        return NULL;
    if (t->p < t->end && (*t->p == '.' || *t->p == 'e' || *t->p == 'E'))
        return real_value(t, start);
    return json_integer(minus ? -(json_int_t)v : (json_int_t)v);
}

static json_t *word_value(struct tree *t, struct slice word, json_t *value)
{
    if (!slice_starts(slice_mem(t->p, (size_t)(t->end - t->p)), word))
        return NULL;
    t->p += word.n;
    return value;
}

/* What holds others. */

static bool read_field(struct tree *t, json_t *object)
{
    struct slice key;
    bool escaped;
    size_t before = json_object_size(object);
    if (peek(t) != '"' || !read_string(t, &key, &escaped) || escaped || !take(t, ':'))
        return false;
    json_t *v = read_value(t);
    /* A key that comes twice replaces: the size tells. */
    return v && json_object_setn_new_nocheck(object, key.p, key.n, v) == 0 &&
           json_object_size(object) == before + 1;
}

static bool read_item(struct tree *t, json_t *list)
{
    json_t *v = read_value(t);
    return v && json_array_append_new(list, v) == 0;
}

/* At the opening bracket. */
static json_t *read_holder(struct tree *t, json_t *holder, char close,
                           bool (*read_one)(struct tree *t, json_t *holder))
{
    bool ok = t->depth_left > 0;
    t->p++;
    if (ok && take(t, close))
        return holder;
    t->depth_left -= ok;
    do
        ok = ok && read_one(t, holder);
    while (ok && take(t, ','));
    if (ok && take(t, close)) {
        t->depth_left++;
        return holder;
    }
    json_decref(holder);
    return NULL;
}

static json_t *read_value(struct tree *t)
{
    switch (peek(t)) {
    case '{':
        return read_holder(t, json_object(), '}', read_field);
    case '[':
        return read_holder(t, json_array(), ']', read_item);
    case '"':
        return string_value(t);
    case 't':
        return word_value(t, S("true"), json_true());
    case 'f':
        return word_value(t, S("false"), json_false());
    case 'n':
        return word_value(t, S("null"), json_null());
    default:
        return t->p < t->end ? number_value(t) : NULL;
    }
}

json_t *json_tree_read(struct slice text, size_t depth_max)
{
    if (!text.n)
        return NULL;
    struct tree t = {.p = text.p, .end = text.p + text.n, .depth_left = depth_max};
    char first = peek(&t);
    json_t *v = first == '{' || first == '[' ? read_value(&t) : NULL;
    if (v) {
        skip_space(&t);
        if (t.p < t.end) {
            json_decref(v);
            v = NULL;
        }
    }
    buf_fini(&t.plain);
    return v;
}
