#include "base/wire/yaml.h"

#include <string.h>

#include "base/wire/yaml_scalar.h"

#define WRITE_DEPTH_MAX (YAML_DEPTH_MAX + 8)
#define SIMPLE_KEY_BYTES_MAX 128 /* a longer key is written behind "? ", as go-yaml does */

struct writer {
    struct buf *out;
    struct arena arena; /* sorted keys */
};

enum style { PLAIN, SINGLE, DOUBLE, LITERAL };

/* Strings. */

/* Length of a character that only an escape can show (YAML 1.1 §5.1: not printable, or a line break
 * other than \n), 0 for others. */
static size_t special_bytes(struct slice s, size_t i)
{
    const unsigned char *p = (const unsigned char *)s.p + i;
    size_t left = s.n - i;
    if (p[0] < 0x20 || p[0] == 0x7f)
        return 1;
    if (p[0] == 0xC2 && left > 1 && p[1] < 0xA0)
        return 2; /* U+0080 … U+009F */
    if (p[0] == 0xE2 && left > 2 && p[1] == 0x80 && (p[2] == 0xA8 || p[2] == 0xA9))
        return 3; /* U+2028, U+2029 */
    if (p[0] == 0xEF && left > 2 && p[1] == 0xBB && p[2] == 0xBF)
        return 3; /* U+FEFF */
    if (p[0] == 0xEF && left > 2 && p[1] == 0xBF && p[2] >= 0xBE)
        return 3; /* U+FFFE, U+FFFF */
    return 0;
}

static bool has_special(struct slice s, bool newline_too)
{
    for (size_t i = 0; i < s.n; i++)
        if ((newline_too || s.p[i] != '\n') && special_bytes(s, i))
            return true;
    return false;
}

/* Bytes that make a plain scalar something else (YAML 1.1 §9.1.3, block context). */
static bool has_indicator(struct slice s)
{
    if (strchr("#,[]{}&*!|>'\"%@`", s.p[0]) || slice_starts(s, S("---")) ||
        slice_starts(s, S("...")))
        return true;
    if (strchr("-?:", s.p[0]) && (s.n == 1 || s.p[1] == ' '))
        return true;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == ':' && (i + 1 == s.n || s.p[i + 1] == ' '))
            return true;
        if (s.p[i] == '#' && i && s.p[i - 1] == ' ')
            return true;
    }
    return false;
}

static bool may_be_literal(struct slice s)
{
    return !has_special(s, false) && s.p[s.n - 1] != ' ' && !slice_contains(s, S(" \n")) &&
           s.p[0] != '\n' && s.p[0] != ' ';
}

static enum style style_of(struct slice s, bool is_key)
{
    if (yaml_scalar_needs_quotes(s))
        return DOUBLE;
    if (slice_find(s, '\n') != SIZE_MAX)
        return !is_key && may_be_literal(s) ? LITERAL : DOUBLE;
    if (has_special(s, true))
        return DOUBLE;
    return s.p[0] == ' ' || s.p[s.n - 1] == ' ' || has_indicator(s) ? SINGLE : PLAIN;
}

static void write_single(struct buf *out, struct slice s)
{
    buf_append_byte(out, '\'');
    for (size_t i = 0; i < s.n; i++) {
        buf_append_byte(out, s.p[i]);
        if (s.p[i] == '\'')
            buf_append_byte(out, '\'');
    }
    buf_append_byte(out, '\'');
}

static void write_escape(struct buf *out, struct slice c)
{
    const unsigned char *p = (const unsigned char *)c.p;
    if (c.n == 1 && p[0] == '\n')
        buf_append(out, S("\\n"));
    else if (c.n == 1 && p[0] == '\t')
        buf_append(out, S("\\t"));
    else if (c.n == 1 && p[0] == '\r')
        buf_append(out, S("\\r"));
    else if (c.n == 1)
        buf_printf(out, "\\x%02X", p[0]);
    else if (c.n == 2)
        buf_printf(out, "\\x%02X", (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu));
    else
        buf_printf(out, "\\u%04X", (p[0] & 0xfu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu));
}

static void write_double(struct buf *out, struct slice s)
{
    buf_append_byte(out, '"');
    for (size_t i = 0; i < s.n;) {
        size_t special = special_bytes(s, i);
        if (special)
            write_escape(out, slice_sub(s, i, special));
        else if (s.p[i] == '"' || s.p[i] == '\\')
            buf_printf(out, "\\%c", s.p[i]);
        else
            buf_append_byte(out, s.p[i]);
        i += special ? special : 1;
    }
    buf_append_byte(out, '"');
}

static void indent(struct buf *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_append_byte(out, ' ');
}

static void write_literal(struct buf *out, struct slice s, size_t column)
{
    bool ends = slice_ends(s, S("\n"));
    buf_append(out, !ends ? S("|-") : slice_ends(s, S("\n\n")) ? S("|+") : S("|"));
    struct slice line, rest = ends ? slice_sub(s, 0, s.n - 1) : s;
    bool more = true;
    while (more) {
        more = slice_cut(rest, '\n', &line, &rest);
        buf_append_byte(out, '\n');
        if (line.n)
            indent(out, column);
        buf_append(out, line);
    }
}

/* column: of the lines of a literal. */
static void write_text(struct buf *out, struct slice s, size_t column, bool is_key)
{
    switch (style_of(s, is_key)) {
    case PLAIN:
        buf_append(out, s);
        break;
    case SINGLE:
        write_single(out, s);
        break;
    case DOUBLE:
        write_double(out, s);
        break;
    case LITERAL:
        write_literal(out, s, column);
        break;
    }
}

/* Trees. */

/* Where a value starts: behind "- " (goes on in the line) or behind "key:". */
enum where { AT_START, AFTER_DASH, AFTER_KEY };

static bool write_value(struct writer *w, const json_t *v, size_t column, size_t depth,
                        enum where where);

static const struct slice first_keys[] = {S_INIT("apiVersion"), S_INIT("kind"), S_INIT("metadata"),
                                          S_INIT("spec"), S_INIT("status")};

static bool is_first_key(struct slice key)
{
    for (size_t i = 0; i < ARRAY_LEN(first_keys); i++)
        if (slice_eq(key, first_keys[i]))
            return true;
    return false;
}

/* Keys in the order in which they are written. */
static struct slice *ordered_keys(struct writer *w, const json_t *v, size_t *ret_count)
{
    struct slice *sorted = json_keys_sorted(v, &w->arena, ret_count);
    if (!json_object_get(v, "apiVersion") || !json_object_get(v, "kind"))
        return sorted;
    struct slice *keys = ARENA_ARRAY(&w->arena, struct slice, *ret_count);
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(first_keys); i++)
        if (json_get(v, first_keys[i]))
            keys[n++] = first_keys[i];
    for (size_t i = 0; i < *ret_count; i++)
        if (!is_first_key(sorted[i]))
            keys[n++] = sorted[i];
    return keys;
}

static void write_key(struct writer *w, struct slice key, size_t column)
{
    if (key.n <= SIMPLE_KEY_BYTES_MAX) {
        write_text(w->out, key, 0, true);
    } else {
        buf_append(w->out, S("? "));
        write_text(w->out, key, 0, true);
        buf_append_byte(w->out, '\n');
        indent(w->out, column);
    }
    buf_append_byte(w->out, ':');
}

static bool write_map(struct writer *w, const json_t *v, size_t column, size_t depth,
                      enum where where)
{
    size_t n;
    struct slice *keys = ordered_keys(w, v, &n);
    if (where == AFTER_KEY)
        buf_append_byte(w->out, '\n');
    for (size_t i = 0; i < n; i++) {
        if (i || where == AFTER_KEY)
            indent(w->out, column);
        write_key(w, keys[i], column);
        if (!write_value(w, json_get(v, keys[i]), column, depth + 1, AFTER_KEY))
            return false;
    }
    return true;
}

static bool write_items(struct writer *w, const json_t *v, size_t column, size_t depth,
                        enum where where)
{
    if (where == AFTER_KEY)
        buf_append_byte(w->out, '\n');
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (i || where == AFTER_KEY)
            indent(w->out, column);
        buf_append(w->out, S("- "));
        if (!write_value(w, json_array_get(v, i), column + 2, depth + 1, AFTER_DASH))
            return false;
    }
    return true;
}

static void write_scalar(struct writer *w, const json_t *v, size_t column, enum where where)
{
    if (where == AFTER_KEY)
        buf_append_byte(w->out, ' ');
    if (json_is_string(v))
        write_text(w->out, json_slice(v), column, where == AT_START);
    else if (json_is_array(v))
        buf_append(w->out, S("[]"));
    else if (json_is_object(v))
        buf_append(w->out, S("{}"));
    else
        json_write(w->out, v, NULL);
    buf_append_byte(w->out, '\n');
}

/* column: of the enclosing map's keys (AFTER_KEY) or of what stands behind the dash. A list below a
 * key stands at the key's column, a map two further. */
static bool write_value(struct writer *w, const json_t *v, size_t column, size_t depth,
                        enum where where)
{
    if (depth > WRITE_DEPTH_MAX)
        return false;
    size_t inner = where == AFTER_KEY ? column + 2 : column;
    if (json_object_size(v))
        return write_map(w, v, inner, depth, where);
    if (json_array_size(v))
        return write_items(w, v, column, depth, where);
    write_scalar(w, v, inner, where);
    return true;
}

bool yaml_write(struct buf *out, const json_t *value, struct err *err)
{
    struct writer w = {.out = out};
    bool ok = write_value(&w, value, 0, 0, AT_START);
    arena_fini(&w.arena);
    if (out->overflowed)
        return err_set(err, ERR_LIMIT, "YAML text over %zu bytes", out->limit);
    return ok || err_set(err, ERR_LIMIT, "tree deeper than %d", WRITE_DEPTH_MAX);
}
