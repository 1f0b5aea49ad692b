/* If this fails, a table loses or invents entries, or timers fire in the wrong order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/core/heap.h"
#include "base/core/list.h"
#include "base/core/map.h"
#include "base/core/mem.h"

#define KEYS 400

static uint64_t random_next(uint64_t *seed)
{
    return hash_u64((*seed)++);
}

static struct slice key_of(char *dst, size_t i)
{
    int n = snprintf(dst, 32, "key-%zu", i);
    return slice_mem(dst, (size_t)n);
}

static void check_all(const struct map *m, void *const *model)
{
    size_t live = 0, seen = 0;
    char text[32];
    for (size_t i = 0; i < KEYS; i++) {
        assert_ptr_equal(map_get(m, key_of(text, i)), model[i]);
        live += model[i] != NULL;
    }
    MAP_EACH (m, e) {
        assert_ptr_equal(map_get(m, e->key), e->value);
        seen++;
    }
    assert_int_equal(live, m->n);
    assert_int_equal(seen, m->n);
}

/* Random puts and dels against an array by key number. */
static void map_against_model(bool copies)
{
    static char names[KEYS][32];
    static int values[16];
    void *model[KEYS] = {0};
    struct map m = {.copies_keys = copies};
    uint64_t seed = 11;
    for (int step = 0; step < 60000; step++) {
        size_t i = random_next(&seed) % KEYS;
        char passing[32];
        struct slice key = key_of(copies ? passing : names[i], i);
        /* Phases of growth and of decline. */
        if (random_next(&seed) % 10 < ((step / 5000) % 2 ? 3u : 6u)) {
            void *v = &values[random_next(&seed) % ARRAY_LEN(values)];
            assert_ptr_equal(map_put(&m, key, v), model[i]);
            model[i] = v;
        } else {
            assert_ptr_equal(map_del(&m, key), model[i]);
            model[i] = NULL;
        }
        memset(passing, 0, sizeof(passing));
        if (step % 500 == 0)
            check_all(&m, model);
    }
    check_all(&m, model);
    map_clear(&m);
    memset(model, 0, sizeof(model));
    check_all(&m, model);
    map_put(&m, S("x"), values);
    map_fini(&m);
    assert_null(map_next(&m, NULL));
}

static void test_map_borrowed_keys(void **state)
{
    (void)state;
    map_against_model(false);
}

static void test_map_copied_keys(void **state)
{
    (void)state;
    map_against_model(true);
}

static void test_map_edges(void **state)
{
    struct map m = {0};
    int a, b;
    char first[] = "k", second[] = "k";
    (void)state;
    assert_null(map_get(&m, S("k")));
    assert_null(map_del(&m, S("k")));
    assert_null(map_put(&m, (struct slice){0}, &a));
    assert_ptr_equal(map_get(&m, S("")), &a);
    map_put(&m, slice_of(first), &a);
    /* The replaced entry borrows the new key: the old one may go with its value. */
    assert_ptr_equal(map_put(&m, slice_of(second), &b), &a);
    first[0] = 'z';
    assert_ptr_equal(map_get(&m, S("k")), &b);
    map_fini(&m);
}

/* Two maps of equal content keep different orders (else copying one into the other is quadratic);
 * with a fixed process key a run repeats. */
static void test_hash_keys(void **state)
{
    (void)state;
    struct hash_key a = hash_key_new(), b = hash_key_new();
    assert_true(a.k0 != b.k0 && a.k1 != b.k1 && a.k0 != a.k1);
    hash_key_fix((struct hash_key){1, 2});
    struct hash_key c = hash_key_new(), d = hash_key_new();
    hash_key_fix((struct hash_key){1, 2});
    struct hash_key e = hash_key_new();
    assert_true(c.k0 == e.k0 && c.k1 == e.k1);
    assert_true(c.k0 != d.k0);
}

/* Heap. */

struct item {
    struct heap_node node;
    bool in;
    uint64_t order; /* of the push */
};

static struct item *least(struct item *items, size_t n)
{
    struct item *best = NULL;
    for (size_t i = 0; i < n; i++) {
        struct item *it = &items[i];
        if (!it->in)
            continue;
        if (!best || it->node.key < best->node.key ||
            (it->node.key == best->node.key && it->order < best->order))
            best = it;
    }
    return best;
}

static void test_heap_against_model(void **state)
{
    static struct item items[200];
    struct heap h = {0};
    uint64_t seed = 3, order = 0;
    size_t live = 0;
    (void)state;
    for (int step = 0; step < 100000; step++) {
        struct item *it = &items[random_next(&seed) % ARRAY_LEN(items)];
        uint64_t what = random_next(&seed) % 10;
        if (what < 5 && !it->in) {
            heap_push(&h, &it->node, (int64_t)(random_next(&seed) % 50) - 25);
            it->in = true;
            it->order = order++;
            live++;
        } else if (what < 7 && it->in) {
            heap_remove(&h, &it->node);
            it->in = false;
            live--;
        } else if (what >= 8 && live) {
            struct item *want = least(items, ARRAY_LEN(items));
            assert_ptr_equal(heap_peek(&h), &want->node);
            assert_ptr_equal(heap_pop(&h), &want->node);
            want->in = false;
            live--;
        }
        assert_int_equal(h.n, live);
    }
    while (live--) {
        struct item *want = least(items, ARRAY_LEN(items));
        assert_ptr_equal(heap_pop(&h), &want->node);
        want->in = false;
    }
    assert_null(heap_pop(&h));
    assert_null(heap_peek(&h));
}

/* Ascending pushes make one long chain: nothing may recurse along it. */
static void test_heap_deep(void **state)
{
    enum { N = 300000 };
    struct heap_node *nodes = calloc(N, sizeof(*nodes));
    struct heap h = {0};
    (void)state;
    assert_non_null(nodes);
    for (int i = N - 1; i >= 0; i--)
        heap_push(&h, &nodes[i], i);
    for (int i = 0; i < N; i++)
        assert_ptr_equal(heap_pop(&h), &nodes[i]);
    free(nodes);
}

static void test_list(void **state)
{
    struct list_node a = {0}, b = {0}, c = {0};
    struct list l = LIST_INIT(l), zeroed = {0};
    int seen = 0;
    (void)state;
    assert_true(list_empty(&zeroed) && list_empty(&l) && !list_pop(&l));
    list_push(&l, &b);
    list_push(&l, &c);
    list_push_front(&l, &a);
    LIST_EACH (&l, n) {
        assert_ptr_equal(n, seen == 0 ? &a : seen == 1 ? &b : &c);
        if (seen == 1)
            list_remove(n);
        seen++;
    }
    assert_int_equal(seen, 3);
    assert_false(list_linked(&b));
    list_remove(&b);
    assert_ptr_equal(list_pop(&l), &a);
    assert_ptr_equal(list_first(&l), &c);
    list_remove(&c);
    assert_true(list_empty(&l));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_borrowed_keys),
        cmocka_unit_test(test_map_copied_keys),
        cmocka_unit_test(test_map_edges),
        cmocka_unit_test(test_hash_keys),
        cmocka_unit_test(test_heap_against_model),
        cmocka_unit_test(test_heap_deep),
        cmocka_unit_test(test_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
