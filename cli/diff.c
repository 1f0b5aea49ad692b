#include "cli/diff.h"

#include <string.h>

#include "base/core/assert.h"
#include "cli/cli_limits.h"

/* With their newlines, so that a last line without one differs from the same with one. */
struct lines {
    VEC(struct slice) v;
};

static void lines_split(struct lines *l, struct slice text)
{
    while (text.n) {
        size_t end = slice_find(text, '\n');
        struct slice line = slice_sub(text, 0, end == SIZE_MAX ? text.n : end + 1);
        *vec_push(&l->v) = line;
        text = slice_skip(text, line.n);
    }
}

/* The script: one operation a line, in the order of the output. */

enum op { OP_KEEP, OP_DROP, OP_ADD };

struct script {
    VEC(uint8_t) ops;
};

static void script_add(struct script *s, enum op op, size_t n)
{
    for (size_t i = 0; i < n; i++)
        *vec_push(&s->ops) = (uint8_t)op;
}

/* A text without the equal lines at both ends. */
struct part {
    const struct slice *a, *b;
    long n, m;
};

/* Myers 1986: v[k] is the furthest x on diagonal k = x - y with d edits; each d's v is kept, so
 * that the way back can be found. */
struct search {
    struct part p;
    long d_max;
    VEC(long *) rows; /* rows[d][k + d] */
};

static long furthest(const long *row, long d, long k)
{
    return row[k + d];
}

static long step(const struct search *s, long d, long k)
{
    const long *last = d ? s->rows.p[d - 1] : NULL;
    if (d == 0)
        return 0;
    bool down = k == -d || (k != d && furthest(last, d - 1, k - 1) < furthest(last, d - 1, k + 1));
    return down ? furthest(last, d - 1, k + 1) : furthest(last, d - 1, k - 1) + 1;
}

/* The number of edits, or -1 when there are more than d_max. */
static long search_run(struct search *s)
{
    const struct part *p = &s->p;
    for (long d = 0; d <= s->d_max; d++) {
        long *row = mem_array((size_t)(2 * d + 1), sizeof(long));
        *vec_push(&s->rows) = row;
        for (long k = -d; k <= d; k += 2) {
            long x = step(s, d, k), y = x - k;
            while (x < p->n && y < p->m && y >= 0 && slice_eq(p->a[x], p->b[y]))
                x++, y++;
            row[k + d] = x;
            if (k == p->n - p->m && x >= p->n)
                return d;
        }
    }
    return -1;
}

/* From the end back to the start; the script is made backwards and turned round. */
static void search_path(const struct search *s, long d, struct script *out)
{
    long x = s->p.n, y = s->p.m;
    size_t from = out->ops.n;
    for (; d > 0; d--) {
        const long *last = s->rows.p[d - 1];
        long k = x - y;
        bool down =
            k == -d || (k != d && furthest(last, d - 1, k - 1) < furthest(last, d - 1, k + 1));
        long from_k = down ? k + 1 : k - 1, from_x = furthest(last, d - 1, from_k);
        long from_y = from_x - from_k, start = down ? from_x : from_x + 1;
        script_add(out, OP_KEEP, (size_t)(x - start));
        script_add(out, down ? OP_ADD : OP_DROP, 1);
        x = from_x;
        y = from_y;
    }
    wf_assert(x == y && x >= 0);
    script_add(out, OP_KEEP, (size_t)x);
    for (size_t i = from, j = out->ops.n; i + 1 < j; i++, j--) {
        uint8_t swap = out->ops.p[i];
        out->ops.p[i] = out->ops.p[j - 1];
        out->ops.p[j - 1] = swap;
    }
}

static void script_middle(struct script *out, const struct part *p)
{
    struct search s = {.p = *p, .d_max = p->n + p->m};
    if (s.d_max > CLI_DIFF_EDITS_MAX)
        s.d_max = CLI_DIFF_EDITS_MAX;
    long d = search_run(&s);
    if (d >= 0) {
        search_path(&s, d, out);
    } else {
        script_add(out, OP_DROP, (size_t)p->n);
        script_add(out, OP_ADD, (size_t)p->m);
    }
    for (size_t i = 0; i < s.rows.n; i++)
        mem_free(s.rows.p[i]);
    vec_fini(&s.rows);
}

static void script_make(struct script *s, const struct lines *a, const struct lines *b)
{
    size_t head = 0, tail = 0, least = a->v.n < b->v.n ? a->v.n : b->v.n;
    while (head < least && slice_eq(a->v.p[head], b->v.p[head]))
        head++;
    while (tail < least - head && slice_eq(a->v.p[a->v.n - 1 - tail], b->v.p[b->v.n - 1 - tail]))
        tail++;
    struct part p = {.a = head ? a->v.p + head : a->v.p,
                     .b = head ? b->v.p + head : b->v.p,
                     .n = (long)(a->v.n - head - tail),
                     .m = (long)(b->v.n - head - tail)};
    script_add(s, OP_KEEP, head);
    script_middle(s, &p);
    script_add(s, OP_KEEP, tail);
}

/* Hunks. */

struct hunk {
    size_t from, to;   /* operations */
    size_t a_at, b_at; /* lines before it */
    size_t a_n, b_n;
};

/* The end of the hunk: behind the last change that is nearer than twice the context to another. */
static size_t hunk_end(const struct script *s, size_t first)
{
    size_t end = first, keeps = 0;
    for (size_t i = first; i < s->ops.n && keeps <= 2 * DIFF_CONTEXT; i++) {
        keeps = s->ops.p[i] == OP_KEEP ? keeps + 1 : 0;
        if (s->ops.p[i] != OP_KEEP)
            end = i + 1;
    }
    return end + DIFF_CONTEXT < s->ops.n ? end + DIFF_CONTEXT : s->ops.n;
}

static void print_line(struct buf *out, char mark, const struct lines *l, size_t at)
{
    buf_append_byte(out, mark);
    buf_append(out, l->v.p[at]);
    if (!slice_ends(l->v.p[at], S("\n")))
        buf_append(out, S("\n\\ No newline at end of file\n"));
}

/* "12,3"; a range of one line has no count, an empty one stands behind the line before it. */
static void print_range(struct buf *out, size_t at, size_t n)
{
    buf_printf(out, "%zu", n ? at + 1 : at);
    if (n != 1)
        buf_printf(out, ",%zu", n);
}

static void print_hunk(struct buf *out, const struct script *s, const struct hunk *h,
                       const struct lines *a, const struct lines *b)
{
    size_t a_at = h->a_at, b_at = h->b_at;
    buf_append(out, S("@@ -"));
    print_range(out, h->a_at, h->a_n);
    buf_append(out, S(" +"));
    print_range(out, h->b_at, h->b_n);
    buf_append(out, S(" @@\n"));
    for (size_t i = h->from; i < h->to; i++) {
        if (s->ops.p[i] == OP_KEEP) {
            print_line(out, ' ', a, a_at++);
            b_at++;
        } else if (s->ops.p[i] == OP_DROP) {
            print_line(out, '-', a, a_at++);
        } else {
            print_line(out, '+', b, b_at++);
        }
    }
}

static void count_lines(const struct script *s, size_t from, size_t to, size_t *ret_a,
                        size_t *ret_b)
{
    for (size_t i = from; i < to; i++) {
        *ret_a += s->ops.p[i] != OP_ADD;
        *ret_b += s->ops.p[i] != OP_DROP;
    }
}

static void print_hunks(struct buf *out, const struct script *s, const struct lines *a,
                        const struct lines *b)
{
    size_t a_at = 0, b_at = 0, done = 0;
    for (size_t i = 0; i < s->ops.n; i++) {
        if (s->ops.p[i] == OP_KEEP)
            continue;
        struct hunk h = {.from = i - done > DIFF_CONTEXT ? i - DIFF_CONTEXT : done};
        h.to = hunk_end(s, i);
        count_lines(s, done, h.from, &a_at, &b_at);
        h.a_at = a_at;
        h.b_at = b_at;
        count_lines(s, h.from, h.to, &h.a_n, &h.b_n);
        print_hunk(out, s, &h, a, b);
        a_at += h.a_n;
        b_at += h.b_n;
        done = h.to;
        i = h.to - 1;
    }
}

bool diff_unified(struct buf *out, struct slice was, struct slice is, struct slice was_name,
                  struct slice is_name)
{
    struct lines a = {0}, b = {0};
    struct script s = {0};
    if (slice_eq(was, is))
        return false;
    lines_split(&a, was);
    lines_split(&b, is);
    script_make(&s, &a, &b);
    buf_printf(out, "--- %.*s\n+++ %.*s\n", SLICE(was_name), SLICE(is_name));
    print_hunks(out, &s, &a, &b);
    vec_fini(&s.ops);
    vec_fini(&a.v);
    vec_fini(&b.v);
    return true;
}
