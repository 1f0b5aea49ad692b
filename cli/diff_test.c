/* If this fails, `weft diff` hides a change from somebody who is about to apply it, or shows one
 * that is none. */
#include <stdlib.h>

#include "base/wire/test.h"
#include "cli/cli_limits.h"
#include "cli/diff.h"

static const struct {
    const char *was, *is, *want; /* want without its two heading lines; NULL: equal */
} cases[] = {
    {"", "", NULL},
    {"a\nb\n", "a\nb\n", NULL},
    {"", "a\n", "@@ -0,0 +1 @@\n+a\n"},
    {"a\n", "", "@@ -1 +0,0 @@\n-a\n"},
    {"a\nb\nc\n", "a\nx\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n"},
    {"a", "a\n", "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n"},
    {"1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\n5x\n6\n7\n8\n9\n",
     "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+5x\n 6\n 7\n 8\n"},
    /* Two changes that are six lines apart share a hunk, seven make two. */
    {"a\n1\n2\n3\n4\n5\n6\nb\n", "A\n1\n2\n3\n4\n5\n6\nB\n",
     "@@ -1,8 +1,8 @@\n-a\n+A\n 1\n 2\n 3\n 4\n 5\n 6\n-b\n+B\n"},
    {"a\n1\n2\n3\n4\n5\n6\n7\nb\n", "A\n1\n2\n3\n4\n5\n6\n7\nB\n",
     "@@ -1,4 +1,4 @@\n-a\n+A\n 1\n 2\n 3\n@@ -6,4 +6,4 @@\n 5\n 6\n 7\n-b\n+B\n"},
};

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = {0}, want = {0};
        bool differs =
            diff_unified(&out, slice_of(cases[i].was), slice_of(cases[i].is), S("a"), S("b"));
        assert_int_equal(differs, cases[i].want != NULL);
        if (cases[i].want)
            buf_printf(&want, "--- a\n+++ b\n%s", cases[i].want);
        check_slice(buf_slice(&out), buf_slice(&want));
        buf_fini(&out);
        buf_fini(&want);
    }
}

/* Against a slow model. */

#define LINES_MAX 24

struct text {
    char letters[LINES_MAX];
    size_t n;
};

static struct text text_random(uint32_t *seed)
{
    struct text t = {0};
    *seed = *seed * 1664525u + 1013904223u;
    t.n = (*seed >> 16) % LINES_MAX;
    for (size_t i = 0; i < t.n; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        t.letters[i] = (char)('a' + (*seed >> 16) % 4);
    }
    return t;
}

static void text_lines(const struct text *t, struct buf *out)
{
    for (size_t i = 0; i < t->n; i++)
        buf_printf(out, "%c\n", t->letters[i]);
}

/* Length of the longest common subsequence, by the book's table. */
static size_t common(const struct text *a, const struct text *b)
{
    size_t best[LINES_MAX + 1][LINES_MAX + 1] = {{0}};
    for (size_t i = 1; i <= a->n; i++)
        for (size_t j = 1; j <= b->n; j++) {
            size_t skip = best[i - 1][j] > best[i][j - 1] ? best[i - 1][j] : best[i][j - 1];
            best[i][j] = a->letters[i - 1] == b->letters[j - 1] ? best[i - 1][j - 1] + 1 : skip;
        }
    return best[a->n][b->n];
}

/* Does the patch make b of a? Returns the number of changed lines. */
static size_t apply_patch(const struct text *a, struct slice patch, struct text *ret)
{
    struct slice line;
    size_t at = 0, edits = 0;
    slice_cut(patch, '\n', &line, &patch);
    slice_cut(patch, '\n', &line, &patch);
    while (patch.n) {
        slice_cut(patch, '\n', &line, &patch);
        if (line.p[0] == '@') {
            size_t from = (size_t)strtoul(line.p + 4, NULL, 10);
            bool none = slice_starts(slice_skip(line, 4), S("0,0")) ||
                        strstr(line.p, ",0 +") == line.p + 4 + strcspn(line.p + 4, ",");
            for (size_t stop = none ? from : from - 1; at < stop; at++)
                ret->letters[ret->n++] = a->letters[at];
            continue;
        }
        edits += line.p[0] != ' ';
        if (line.p[0] != '+')
            assert_int_equal(a->letters[at++], line.p[1]);
        if (line.p[0] != '-')
            ret->letters[ret->n++] = line.p[1];
    }
    while (at < a->n)
        ret->letters[ret->n++] = a->letters[at++];
    return edits;
}

static void test_patch_makes_the_new_text_with_fewest_edits(void **state)
{
    (void)state;
    uint32_t seed = 20261124;
    for (int round = 0; round < 3000; round++) {
        struct text a = text_random(&seed), b = text_random(&seed), got = {0};
        struct buf was = {0}, is = {0}, out = {0};
        text_lines(&a, &was);
        text_lines(&b, &is);
        if (diff_unified(&out, buf_slice(&was), buf_slice(&is), S("a"), S("b"))) {
            buf_append_byte(&out, '\0'); /* strtoul and strstr stop there */
            out.n--;
            size_t edits = apply_patch(&a, buf_slice(&out), &got);
            assert_int_equal(got.n, b.n);
            assert_memory_equal(got.letters, b.letters, b.n);
            assert_int_equal(edits, a.n + b.n - 2 * common(&a, &b));
        }
        buf_fini(&was);
        buf_fini(&is);
        buf_fini(&out);
    }
}

static void test_texts_that_have_nothing_in_common(void **state)
{
    (void)state;
    struct buf was = {0}, is = {0}, out = {0};
    for (int i = 0; i < 2 * CLI_DIFF_EDITS_MAX; i++) {
        buf_printf(&was, "a%d\n", i);
        buf_printf(&is, "b%d\n", i);
    }
    assert_true(diff_unified(&out, buf_slice(&was), buf_slice(&is), S("a"), S("b")));
    size_t drops = 0, adds = 0;
    struct slice line, rest = buf_slice(&out);
    while (rest.n) {
        slice_cut(rest, '\n', &line, &rest);
        drops += slice_starts(line, S("-a"));
        adds += slice_starts(line, S("+b"));
    }
    assert_int_equal(drops, 2 * CLI_DIFF_EDITS_MAX);
    assert_int_equal(adds, 2 * CLI_DIFF_EDITS_MAX);
    buf_fini(&was);
    buf_fini(&is);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_patch_makes_the_new_text_with_fewest_edits),
        cmocka_unit_test(test_texts_that_have_nothing_in_common),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
