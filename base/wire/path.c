#include "base/wire/path.h"

#include "base/core/assert.h"
#include "base/wire/scan.h"

const char *path_result_name(enum path_result r)
{
    static const char *const names[] = {
        [PATH_OK] = "path.ok",
        [PATH_CHANGED] = "path.changed",
        [PATH_BAD_ESCAPE] = "path.bad_escape",
        [PATH_BAD_BYTE] = "path.bad_byte",
        [PATH_ESCAPES_ROOT] = "path.escapes_root",
        [PATH_ESCAPED_SLASH] = "path.escaped_slash",
    };
    wf_assert(r < ARRAY_LEN(names));
    return names[r];
}

void path_split(struct slice path, struct slice *ret_path, struct slice *ret_query)
{
    slice_cut(path, '?', ret_path, ret_query);
}

/* Nothing to do for most paths: no escape, no backslash, no empty segment to merge and none that
 * begins with a dot. */
static bool plain(struct slice path, bool merge)
{
    char before = 0;
    for (size_t i = 0; i < path.n; i++) {
        char c = path.p[i];
        if (c == '%' || c == '\\' || (before == '/' && (c == '.' || (merge && c == '/'))))
            return false;
        before = c;
    }
    return true;
}

static int hex(char c)
{
    if (!scan_is(c, SCAN_HEX))
        return -1;
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

struct writer {
    char *p;
    size_t n;
};

static void emit_escape(struct writer *w, int byte)
{
    static const char digits[] = "0123456789ABCDEF";
    w->p[w->n++] = '%';
    w->p[w->n++] = digits[byte >> 4];
    w->p[w->n++] = digits[byte & 15];
}

static enum path_result emit_slash(struct writer *w, const struct path_options *opt, int byte)
{
    if (opt->slashes == PATH_SLASHES_REJECT)
        return PATH_ESCAPED_SLASH;
    if (opt->slashes == PATH_SLASHES_DECODE)
        w->p[w->n++] = '/';
    else
        emit_escape(w, byte);
    return PATH_OK;
}

static enum path_result emit_decoded(struct writer *w, const struct path_options *opt, int byte)
{
    if (byte == '/' || byte == '\\')
        return emit_slash(w, opt, byte);
    if (byte == 0)
        return PATH_BAD_BYTE;
    if (scan_is((char)byte, SCAN_UNRESERVED))
        w->p[w->n++] = (char)byte;
    else
        emit_escape(w, byte);
    return PATH_OK;
}

/* First pass: every byte in its one spelling. Needs at most three bytes for one ("\"). */
static enum path_result spell(struct slice in, const struct path_options *opt, struct writer *w)
{
    for (size_t i = 0; i < in.n; i++) {
        enum path_result r = PATH_OK;
        char c = in.p[i];
        if (c == '\\') {
            r = emit_slash(w, opt, '\\');
        } else if (c != '%') {
            w->p[w->n++] = c;
        } else {
            int high = i + 2 < in.n ? hex(in.p[i + 1]) : -1;
            int low = i + 2 < in.n ? hex(in.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return PATH_BAD_ESCAPE;
            r = emit_decoded(w, opt, high << 4 | low);
            i += 2;
        }
        if (r != PATH_OK)
            return r;
    }
    return PATH_OK;
}

/* Second pass, in place: "//" if asked, "." and ".." (RFC 3986 §5.2.4). p begins with "/". */
static bool fold_segments(struct writer *w, bool merge)
{
    size_t out = 0, i = 0, n = w->n;
    while (i < n) {
        size_t start = i + 1, end = start;
        while (end < n && w->p[end] != '/')
            end++;
        size_t len = end - start;
        bool dot = len == 1 && w->p[start] == '.';
        bool up = len == 2 && w->p[start] == '.' && w->p[start + 1] == '.';
        if (up) {
            if (!out)
                return false;
            while (w->p[--out] != '/')
                continue;
        }
        if (dot || up) {
            if (end == n) /* "/a/." names the folder "/a/" */
                w->p[out++] = '/';
        } else if (len || !merge || end == n) {
            for (size_t k = i; k < end; k++)
                w->p[out++] = w->p[k];
        }
        i = end;
    }
    w->n = out;
    return true;
}

static bool bytes_ok(struct slice s)
{
    return s.n && s.p[0] == '/' && scan_target_all(s.p, s.n);
}

enum path_result path_canonical(struct slice path, const struct path_options *opt,
                                struct arena *arena, struct slice *ret)
{
    if (slice_eq(path, S("*"))) {
        *ret = path;
        return PATH_OK;
    }
    if (!bytes_ok(path))
        return PATH_BAD_BYTE;
    struct slice only, query;
    path_split(path, &only, &query);
    if (plain(only, opt->merge_slashes)) {
        *ret = path;
        return PATH_OK;
    }
    struct slice tail = slice_skip(path, only.n);
    struct writer w = {.p = arena_alloc(arena, 3 * only.n + tail.n)};
    enum path_result r = spell(only, opt, &w);
    if (r != PATH_OK)
        return r;
    if (!fold_segments(&w, opt->merge_slashes))
        return PATH_ESCAPES_ROOT;
    for (size_t i = 0; i < tail.n; i++)
        w.p[w.n++] = tail.p[i];
    *ret = (struct slice){w.p, w.n};
    return slice_eq(*ret, path) ? PATH_OK : PATH_CHANGED;
}
