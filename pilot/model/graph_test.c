/* If these failed, a change would not reach what was computed from it (a proxy keeps an old state),
 * or everything would be computed for every change (a mesh of a thousand services stands still). */
#include "pilot/model/graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* A small spreadsheet: facts are numbers, a sum reads some of them, a choice reads one of two
 * sums. */

#define FACTS 12
#define SUMS 8
#define CHOICES 4

struct sheet {
    struct graph g;
    struct graph_node facts[FACTS];
    int numbers[FACTS];
    unsigned frees;
};

struct number_cell {
    struct graph_cell cell;
    struct sheet *sheet;
    unsigned index;
    int value;
};

static struct sheet *the_sheet; /* fini has no other way to it */

static int read_fact(struct sheet *s, unsigned i)
{
    graph_read(&s->g, &s->facts[i]);
    return s->numbers[i];
}

/* Fact i, and the one that fact i points to: what is read depends on what was read. */
static int sum_of(const struct sheet *s, unsigned i)
{
    unsigned other = (unsigned)s->numbers[i] % FACTS;
    return s->numbers[i] + s->numbers[other];
}

static bool sum_compute(struct graph *g, struct graph_cell *cell)
{
    struct number_cell *c = (struct number_cell *)cell;
    (void)g;
    int was = c->value, first = read_fact(c->sheet, c->index);
    c->value = first + read_fact(c->sheet, (unsigned)first % FACTS);
    return c->value != was;
}

static void number_fini(struct graph_cell *cell)
{
    (void)cell;
    the_sheet->frees++;
}

static const struct graph_cell_kind sum_kind = {"sum", sizeof(struct number_cell), sum_compute,
                                                number_fini};

static struct number_cell *number_cell(struct sheet *s, const struct graph_cell_kind *kind,
                                       unsigned index)
{
    bool is_new;
    struct graph_cell *c = graph_cell(&s->g, kind, slice_mem(&index, sizeof(index)), &is_new);
    struct number_cell *n = (struct number_cell *)c;
    if (is_new) {
        n->sheet = s;
        n->index = index;
    }
    return n;
}

static int get_sum(struct sheet *s, unsigned i)
{
    struct number_cell *n = number_cell(s, &sum_kind, i);
    graph_get(&s->g, &n->cell);
    return n->value;
}

/* An even sum sends to one sum, an odd one to another; only the last digit counts. */
static int choice_of(const struct sheet *s, unsigned i)
{
    int first = sum_of(s, i % SUMS);
    return sum_of(s, (unsigned)(first % 2 ? i + 1 : i + 2) % SUMS) % 10;
}

static bool choice_compute(struct graph *g, struct graph_cell *cell)
{
    struct number_cell *c = (struct number_cell *)cell;
    (void)g;
    int was = c->value, first = get_sum(c->sheet, c->index % SUMS);
    c->value = get_sum(c->sheet, (unsigned)(first % 2 ? c->index + 1 : c->index + 2) % SUMS) % 10;
    return c->value != was;
}

static const struct graph_cell_kind choice_kind = {"choice", sizeof(struct number_cell),
                                                   choice_compute, number_fini};

static bool total_compute(struct graph *g, struct graph_cell *cell)
{
    struct number_cell *c = (struct number_cell *)cell;
    int was = c->value;
    c->value = 0;
    for (unsigned i = 0; i < CHOICES; i++) {
        struct number_cell *n = number_cell(c->sheet, &choice_kind, i);
        graph_get(g, &n->cell);
        c->value += n->value;
    }
    return c->value != was;
}

static const struct graph_cell_kind total_kind = {"total", sizeof(struct number_cell),
                                                  total_compute, number_fini};

static void sheet_init(struct sheet *s)
{
    memset(s, 0, sizeof(*s));
    the_sheet = s;
    graph_init(&s->g);
    for (unsigned i = 0; i < FACTS; i++) {
        graph_fact_init(&s->facts[i]);
        s->numbers[i] = (int)i;
    }
}

static void set(struct sheet *s, unsigned i, int v, reg_rev rev)
{
    s->numbers[i] = v;
    graph_fact_touch(&s->g, &s->facts[i], rev);
}

static int total(struct sheet *s, struct number_cell *root)
{
    graph_get(&s->g, &root->cell);
    return root->value;
}

static int total_of(const struct sheet *s)
{
    int t = 0;
    for (unsigned i = 0; i < CHOICES; i++)
        t += choice_of(s, i);
    return t;
}

/* Tests. */

static void any_history_gives_the_right_value(void **state)
{
    (void)state;
    struct sheet s;
    uint64_t dice = 1;
    sheet_init(&s);
    struct number_cell *root = number_cell(&s, &total_kind, 0);
    graph_pin(&root->cell);
    for (reg_rev rev = 1; rev < 3000; rev++) {
        dice = dice * 6364136223846793005u + 1;
        set(&s, (unsigned)(dice >> 40) % FACTS, (int)(dice >> 50) % 50, rev);
        if (dice >> 62)
            continue; /* several changes before a look */
        assert_int_equal(total(&s, root), total_of(&s));
        if ((dice >> 61) % 2)
            graph_collect(&s.g);
    }
    assert_true(s.g.cells.n <= 1 + CHOICES + SUMS);
    graph_fini(&s.g);
    assert_true(s.frees > 0);
}

static void only_readers_are_computed(void **state)
{
    (void)state;
    struct sheet s;
    sheet_init(&s);
    struct number_cell *sum = number_cell(&s, &sum_kind, 1);
    graph_pin(&sum->cell);
    for (unsigned i = 0; i < FACTS; i++)
        set(&s, i, 1, 1);
    get_sum(&s, 1);
    uint64_t before = s.g.computed;
    set(&s, 5, 9, 2); /* nobody read it */
    get_sum(&s, 1);
    get_sum(&s, 1);
    assert_int_equal(s.g.computed, before);
    set(&s, 1, 3, 3);
    get_sum(&s, 1);
    assert_int_equal(s.g.computed, before + 1);
    assert_int_equal(sum->cell.node.revision, 3);
    set(&s, 3, 2, 4); /* read since fact 1 points to it */
    get_sum(&s, 1);
    assert_int_equal(s.g.computed, before + 2);
    assert_int_equal(sum->value, 5);
    graph_fini(&s.g);
}

/* A computation that gives the same value stops the wave. */
static void equal_values_stop_the_wave(void **state)
{
    (void)state;
    struct sheet s;
    sheet_init(&s);
    struct number_cell *root = number_cell(&s, &total_kind, 0);
    graph_pin(&root->cell);
    total(&s, root);
    uint64_t changed = root->cell.node.changed, before = s.g.computed;
    set(&s, 0, 0, 9); /* touched, but the same number */
    total(&s, root);
    assert_int_equal(root->cell.node.changed, changed);
    assert_true(s.g.computed > before && s.g.computed < before + 1 + CHOICES + SUMS);
    graph_fini(&s.g);
}

/* A touch between two looks of one turn is not lost. */
static void touch_after_a_look(void **state)
{
    (void)state;
    struct sheet s;
    sheet_init(&s);
    struct number_cell *sum = number_cell(&s, &sum_kind, 2);
    graph_pin(&sum->cell);
    for (int v = 1; v < 20; v++) {
        set(&s, 2, v, (reg_rev)v);
        assert_int_equal(get_sum(&s, 2), sum_of(&s, 2));
    }
    graph_fini(&s.g);
}

static void what_nobody_reads_is_freed(void **state)
{
    (void)state;
    struct sheet s;
    sheet_init(&s);
    struct number_cell *root = number_cell(&s, &total_kind, 0);
    graph_pin(&root->cell);
    total(&s, root);
    graph_collect(&s.g);
    size_t cells = s.g.cells.n;
    assert_true(cells > CHOICES);
    graph_collect(&s.g);
    assert_int_equal(s.g.cells.n, cells);
    graph_unpin(&s.g, &root->cell);
    graph_collect(&s.g);
    assert_int_equal(s.g.cells.n, 0);
    for (unsigned i = 0; i < FACTS; i++)
        assert_false(graph_fact_used(&s.facts[i]));
    graph_fini(&s.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_history_gives_the_right_value),
        cmocka_unit_test(only_readers_are_computed),
        cmocka_unit_test(equal_values_stop_the_wave),
        cmocka_unit_test(touch_after_a_look),
        cmocka_unit_test(what_nobody_reads_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
