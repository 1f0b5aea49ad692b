/* If this fails, tables lose their shape (scripts cut them at columns), show wrong ages, or hand a
 * terminal bytes that it obeys. */
#include <stdlib.h>

#include "api/table.h"
#include "base/wire/test.h"
#include "cli/table.h"

static char *printed(const struct table *t, const struct table_style *style)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    table_print(t, f, style);
    fclose(f);
    return text;
}

static void check_printed(const struct table *t, const struct table_style *style, const char *want)
{
    char *got = printed(t, style);
    assert_string_equal(got, want);
    free(got);
}

static void fill(struct table *t)
{
    table_columns(t, (const char *[]){"Name", "Port(s)", "Cluster IP"}, 3);
    table_cell(t, S("reviews"));
    table_cell(t, S("9080/TCP"));
    table_cell(t, S(""));
    table_cell(t, S("caf\xC3\xA9"));
    table_cell_tint(t, S("x"), TINT_BAD);
    table_cell(t, S("a\033[2Jb\xC2\x9B\nc"));
}

static void test_golden(void **state)
{
    (void)state;
    struct table t = {0};
    fill(&t);
    /* One column a character, titles in capitals without spaces, nothing behind the last cell. */
    check_printed(&t, &(struct table_style){0},
                  "NAME      PORT(S)    CLUSTER-IP\n"
                  "reviews   9080/TCP   <none>\n"
                  "caf\xC3\xA9      x          a?[2Jb???c\n");
    check_printed(&t, &(struct table_style){.no_headers = true},
                  "reviews   9080/TCP   <none>\n"
                  "caf\xC3\xA9      x          a?[2Jb???c\n");
    check_printed(&t, &(struct table_style){.no_headers = true, .colour = true},
                  "reviews   9080/TCP   <none>\n"
                  "caf\xC3\xA9      \033[31mx\033[0m          a?[2Jb???c\n");
    table_fini(&t);
}

static void test_clear_keeps_widths(void **state)
{
    (void)state;
    struct table t = {0};
    fill(&t);
    table_clear(&t);
    assert_int_equal(table_rows(&t), 0);
    table_cell(&t, S("a"));
    table_cell(&t, S("b"));
    table_cell(&t, S("c"));
    check_printed(&t, &(struct table_style){.no_headers = true}, "a         b          c\n");
    table_fini(&t);
    table_columns(&t, (const char *[]){"LONG-TITLE", "X"}, 2);
    table_cell(&t, S("a"));
    table_cell(&t, S("b"));
    check_printed(&t, &(struct table_style){.no_headers = true}, "a   b\n");
    check_printed(&t, &(struct table_style){.no_headers = true, .keep_widths = true},
                  "a            b\n");
    table_fini(&t);
}

static void test_sort_is_stable(void **state)
{
    (void)state;
    struct table t = {0};
    table_columns(&t, (const char *[]){"K", "V"}, 2);
    static const char *const cells[] = {"b", "1", "a", "2", "b", "3", "a", "4"};
    for (size_t i = 0; i < ARRAY_LEN(cells); i++)
        table_cell(&t, slice_of(cells[i]));
    table_sort(&t, 0);
    check_printed(&t, &(struct table_style){.no_headers = true}, "a   2\na   4\nb   1\nb   3\n");
    table_fini(&t);
}

static void test_ages(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        const char *want;
    } ages[] = {
        {-5, "0s"},         {0, "0s"},      {119, "119s"},      {120, "2m"},
        {599, "9m59s"},     {600, "10m"},   {10799, "179m"},    {10800, "3h"},
        {11580, "3h13m"},   {28800, "8h"},  {172799, "47h"},    {172800, "2d"},
        {187200, "2d4h"},   {691200, "8d"}, {34560000, "400d"}, {63072000, "2y"},
        {94694400, "3y1d"},
    };
    char text[AGE_TEXT];
    for (size_t i = 0; i < ARRAY_LEN(ages); i++)
        check_slice(age_format(ages[i].seconds * 1000, text), slice_of(ages[i].want));
}

/* The server makes the ages of its tables itself: both must say the same. */
static void test_ages_are_the_servers(void **state)
{
    (void)state;
    static const char then[] = "2026-02-28T23:59:58Z";
    int64_t then_ms;
    assert_true(age_parse(S("2026-02-28T23:59:58Z"), &then_ms));
    for (int64_t s = 0; s < 86400 * 700; s += 1 + s / 7) {
        char ours[AGE_TEXT];
        struct buf theirs = {0};
        table_age(S("2026-02-28T23:59:58Z"), then_ms + s * 1000, &theirs);
        check_slice(age_since(slice_of(then), then_ms + s * 1000, ours), buf_slice(&theirs));
        buf_fini(&theirs);
    }
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t want; /* -1: refused */
    } times[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2000-02-29T12:00:00Z", 951825600000},
        {"2026-11-24T19:47:54Z", 1795549674000},
        {"2026-11-24T19:47:54.166Z", 1795549674000},
        {"2026-11-24", -1},
        {"2026-13-24T19:47:54Z", -1},
        {"2026-11-24 19:47:54Z", -1},
        {"2026-11-24T19:47:54+01:00", -1},
        {"", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        int64_t got = -1;
        assert_int_equal(age_parse(slice_of(times[i].text), &got), times[i].want >= 0);
        assert_int_equal(got, times[i].want);
    }
    char text[AGE_TEXT];
    check_slice(age_since(S("soon"), 0, text), S("<unknown>"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_clear_keeps_widths),
        cmocka_unit_test(test_sort_is_stable),
        cmocka_unit_test(test_ages),
        cmocka_unit_test(test_ages_are_the_servers),
        cmocka_unit_test(test_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
