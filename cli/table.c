#include "cli/table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/core/assert.h"

#define GAP 3

static const char *const tints[] = {"", "\033[32m", "\033[33m", "\033[31m"};

/* Building. */

/* Bytes that start a character, so that "…" is one column. */
static size_t text_width(struct slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
    return n;
}

/* C0, DEL and C1 (in UTF-8 C2 80 … C2 9F) would be obeyed by a terminal. */
static struct slice printable(struct arena *arena, struct slice s)
{
    struct slice copy = arena_dup(arena, s);
    char *p = (char *)(uintptr_t)copy.p;
    for (size_t i = 0; i < copy.n; i++) {
        unsigned char b = (unsigned char)p[i];
        bool c1 = b == 0xC2 && i + 1 < copy.n && (unsigned char)p[i + 1] < 0xA0;
        if (b < 0x20 || b == 0x7F)
            p[i] = '?';
        else if (c1)
            p[i] = p[i + 1] = '?';
    }
    return copy;
}

void table_column(struct table *t, struct slice title)
{
    wf_assert(t->column_count < CLI_COLUMNS_MAX && t->cells.n == 0);
    struct slice copy = arena_dup(&t->title_arena, title);
    char *p = (char *)(uintptr_t)copy.p;
    for (size_t i = 0; i < copy.n; i++) {
        if (p[i] >= 'a' && p[i] <= 'z')
            p[i] = (char)(p[i] - 'a' + 'A');
        else if (p[i] == ' ')
            p[i] = '-';
    }
    t->titles[t->column_count++] = copy;
}

void table_columns(struct table *t, const char *const *titles, size_t n)
{
    for (size_t i = 0; i < n; i++)
        table_column(t, slice_of(titles[i]));
}

void table_cell_tint(struct table *t, struct slice text, enum table_tint tint)
{
    wf_assert(t->column_count > 0);
    struct slice shown = text.n ? printable(&t->arena, text) : S("<none>");
    size_t column = t->cells.n % t->column_count, width = text_width(shown);
    *vec_push(&t->cells) = (struct table_cell){.text = shown, .tint = tint, .width = width};
    if (width > t->widths[column])
        t->widths[column] = width;
}

void table_cell(struct table *t, struct slice text)
{
    table_cell_tint(t, text, TINT_NONE);
}

void table_cellf(struct table *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    table_cell(t, arena_vprintf(&t->arena, fmt, ap));
    va_end(ap);
}

size_t table_rows(const struct table *t)
{
    return t->column_count ? t->cells.n / t->column_count : 0;
}

void table_clear(struct table *t)
{
    t->cells.n = 0;
    arena_reset(&t->arena);
}

void table_fini(struct table *t)
{
    vec_fini(&t->cells);
    arena_fini(&t->arena);
    arena_fini(&t->title_arena);
    *t = (struct table){0};
}

/* Order. */

struct row_order {
    const struct table *table;
    size_t column, row;
};

static int row_compare(const void *a, const void *b)
{
    const struct row_order *x = a, *y = b;
    const struct table *t = x->table;
    int order = slice_cmp(t->cells.p[x->row * t->column_count + x->column].text,
                          t->cells.p[y->row * t->column_count + y->column].text);
    return order ? order : x->row < y->row ? -1 : 1;
}

void table_sort(struct table *t, size_t column)
{
    wf_assert(column < t->column_count && t->cells.n % t->column_count == 0);
    size_t rows = table_rows(t), bytes = t->column_count * sizeof(struct table_cell);
    struct row_order *order = mem_array(rows + 1, sizeof(*order));
    struct table_cell *sorted = mem_array(t->cells.n + 1, sizeof(*sorted));
    for (size_t i = 0; i < rows; i++)
        order[i] = (struct row_order){.table = t, .column = column, .row = i};
    qsort(order, rows, sizeof(*order), row_compare);
    for (size_t i = 0; i < rows; i++)
        memcpy(sorted + i * t->column_count, t->cells.p + order[i].row * t->column_count, bytes);
    if (rows)
        memcpy(t->cells.p, sorted, rows * bytes);
    mem_free(sorted);
    mem_free(order);
}

/* Printing. */

/* Titles that are not shown take no room. */
static size_t column_width(const struct table *t, size_t column, const struct table_style *style)
{
    size_t title = style->no_headers && !style->keep_widths ? 0 : text_width(t->titles[column]);
    return title > t->widths[column] ? title : t->widths[column];
}

static void print_cell(const struct table *t, size_t column, const struct table_cell *cell,
                       FILE *out, const struct table_style *style)
{
    bool tinted = style->colour && cell->tint != TINT_NONE;
    fprintf(out, "%s%.*s%s", tinted ? tints[cell->tint] : "", SLICE(cell->text),
            tinted ? "\033[0m" : "");
    if (column + 1 < t->column_count)
        fprintf(out, "%*s", (int)(column_width(t, column, style) - cell->width) + GAP, "");
    else
        fputc('\n', out);
}

void table_print(const struct table *t, FILE *out, const struct table_style *style)
{
    for (size_t i = 0; i < t->column_count && !style->no_headers; i++) {
        struct table_cell title = {.text = t->titles[i], .width = text_width(t->titles[i])};
        print_cell(t, i, &title, out, style);
    }
    for (size_t i = 0; i < t->cells.n; i++)
        print_cell(t, i % t->column_count, &t->cells.p[i], out, style);
}

/* Ages. */

struct slice age_format(int64_t ms, char dst[AGE_TEXT])
{
    int64_t s = ms < 0 ? 0 : ms / 1000, m = s / 60, h = m / 60, d = h / 24, y = d / 365;
    int n = 0;
    if (s < 120)
        n = snprintf(dst, AGE_TEXT, "%" PRId64 "s", s);
    else if (m < 10 && s % 60)
        n = snprintf(dst, AGE_TEXT, "%" PRId64 "m%" PRId64 "s", m, s % 60);
    else if (h < 3)
        n = snprintf(dst, AGE_TEXT, "%" PRId64 "m", m);
    else if (h < 8 && m % 60)
        n = snprintf(dst, AGE_TEXT, "%" PRId64 "h%" PRId64 "m", h, m % 60);
    else if (h < 48)
        n = snprintf(dst, AGE_TEXT, "%" PRId64 "h", h);
    else if (d < 8 && h % 24)
        n = snprintf(dst, AGE_TEXT, "%" PRId64 "d%" PRId64 "h", d, h % 24);
    else if (d < 2 * 365)
        n = snprintf(dst, AGE_TEXT, "%" PRId64 "d", d);
    else if (y < 8 && d % 365)
        n = snprintf(dst, AGE_TEXT, "%" PRId64 "y%" PRId64 "d", y, d % 365);
    else
        n = snprintf(dst, AGE_TEXT, "%" PRId64 "y", y);
    return slice_mem(dst, (size_t)n);
}

/* The decimal number of n digits at a place. */
static bool digits(struct slice s, size_t at, size_t n, int64_t *ret)
{
    uint32_t v = 0;
    if (at + n > s.n || !slice_u32(slice_sub(s, at, n), &v))
        return false;
    *ret = v;
    return true;
}

/* Days since 1970 in the proleptic Gregorian calendar; the year begins in March, so that the leap
 * day is its last. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return 365 * y + y / 4 - y / 100 + y / 400 + in_year - 719468;
}

bool age_parse(struct slice time, int64_t *ret_ms)
{
    int64_t year, month, day, h, m, s;
    static const char shape[] = "0000-00-00T00:00:00";
    if (time.n < sizeof(shape) || time.p[time.n - 1] != 'Z')
        return false;
    for (size_t i = 0; i < sizeof(shape) - 1; i++)
        if (shape[i] != '0' && time.p[i] != shape[i])
            return false;
    if (!digits(time, 0, 4, &year) || !digits(time, 5, 2, &month) || !digits(time, 8, 2, &day) ||
        !digits(time, 11, 2, &h) || !digits(time, 14, 2, &m) || !digits(time, 17, 2, &s) ||
        month < 1 || month > 12 || day < 1)
        return false;
    *ret_ms = (((days_of(year, month, day) * 24 + h) * 60 + m) * 60 + s) * 1000;
    return true;
}

struct slice age_since(struct slice time, int64_t now_ms, char dst[AGE_TEXT])
{
    int64_t then;
    return age_parse(time, &then) ? age_format(now_ms - then, dst) : S("<unknown>");
}
