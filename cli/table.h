/* Tables as kubectl prints them: columns three spaces apart, left-aligned, titles in capitals,
 * nothing behind the last cell. Pure but for the last step.
 *
 *   struct table t = {0};
 *   table_columns(&t, (const char *[]){"NAME", "LIVE", "AGE"}, 3);
 *   table_cell(&t, name); table_cell(&t, live); table_cell(&t, age);
 *   table_print(&t, out, &style);
 *   table_fini(&t);
 */
#ifndef WEFT_CLI_TABLE_H
#define WEFT_CLI_TABLE_H

#include <stdio.h>

#include "base/core/mem.h"
#include "cli/cli_limits.h"

enum table_tint { TINT_NONE, TINT_GOOD, TINT_WARN, TINT_BAD };

struct table_cell {
    struct slice text;
    enum table_tint tint;
    size_t width; /* columns of a terminal, one a character */
};

struct table {
    struct arena arena; /* of the rows */
    struct arena title_arena;
    size_t column_count;
    struct slice titles[CLI_COLUMNS_MAX];
    size_t widths[CLI_COLUMNS_MAX]; /* of the cells so far */
    VEC(struct table_cell) cells;
};

struct table_style {
    bool no_headers;
    bool keep_widths; /* without titles, but below them: rows that follow */
    bool colour;
};

void table_column(struct table *t, struct slice title);
void table_columns(struct table *t, const char *const *titles, size_t n);
/* The next cell, row by row; copied. Empty is "<none>"; control bytes become "?". */
void table_cell(struct table *t, struct slice text);
void table_cell_tint(struct table *t, struct slice text, enum table_tint tint);
void table_cellf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
size_t table_rows(const struct table *t);
/* Forgets the rows, keeps the columns as wide as they were: a watch prints row after row. */
void table_clear(struct table *t);
void table_print(const struct table *t, FILE *out, const struct table_style *style);
/* Orders the rows by one column, bytewise; stable. */
void table_sort(struct table *t, size_t column);
void table_fini(struct table *t);

#define AGE_TEXT 32
/* A span as kubectl shortens it: 45s, 5m10s, 3h12m, 2d4h, 400d. NUL-terminated in dst. */
struct slice age_format(int64_t ms, char dst[AGE_TEXT]);
/* Since an RFC 3339 time in UTC; "<unknown>" when that is none. */
struct slice age_since(struct slice time, int64_t now_ms, char dst[AGE_TEXT]);
/* Milliseconds since 1970 of "2026-11-24T19:07:12Z", with or without a fraction. */
bool age_parse(struct slice time, int64_t *ret_ms);

#endif
