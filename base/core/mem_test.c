/* If this fails, memory of one request is seen in another, or a bound on what a peer sends does not
 * hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/core/core_limits.h"
#include "base/core/hash.h"
#include "base/core/mem.h"
#include "base/core/mem_cache.h"

static uint64_t random_next(uint64_t *seed)
{
    return hash_u64((*seed)++);
}

static bool all_bytes(const char *p, char c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != c)
            return false;
    return true;
}

/* Many pieces of many sizes: aligned, zeroed, apart from each other, through resets. */
static void test_arena_pieces(void **state)
{
    struct arena a = {0};
    struct {
        char *p;
        size_t n;
    } pieces[300];
    uint64_t seed = 1;
    (void)state;
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
            size_t n = random_next(&seed) % (i % 50 == 0 ? 400000 : 500);
            char *p = arena_alloc(&a, n);
            assert_int_equal((uintptr_t)p % 16, 0);
            assert_true(all_bytes(p, 0, n));
            memset(p, (char)(i + 1), n);
            pieces[i].p = p;
            pieces[i].n = n;
        }
        for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
            assert_true(all_bytes(pieces[i].p, (char)(i + 1), pieces[i].n));
        arena_reset(&a);
    }
    arena_fini(&a);
    assert_int_equal(a.total, 0);
}

static void test_arena_limit(void **state)
{
    struct arena a = {.limit = 100000};
    size_t taken = 0;
    (void)state;
    assert_null(arena_try_alloc(&a, 100001));
    assert_null(arena_try_alloc(&a, SIZE_MAX));
    assert_null(arena_try_alloc(&a, SIZE_MAX - 20));
    while (arena_try_alloc(&a, 1000))
        taken += 1000;
    assert_true(taken >= 80000); /* the limit is nearly used up, never passed */
    assert_true(a.total <= a.limit);
    arena_reset(&a);
    assert_non_null(arena_try_alloc(&a, 1000));
    arena_fini(&a);
    assert_int_equal(a.limit, 0);
}

static void test_arena_strings(void **state)
{
    struct arena a = {0};
    char big[1000];
    (void)state;
    struct slice s = arena_printf(&a, "outbound|%u||%s", 80u, "host");
    assert_true(slice_eq(s, S("outbound|80||host")));
    assert_int_equal(s.p[s.n], 0);
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    s = arena_printf(&a, "<%s>", big);
    assert_int_equal(s.n, sizeof(big) + 1);
    assert_true(s.p[0] == '<' && s.p[s.n - 1] == '>' && s.p[s.n] == '\0');
    assert_true(slice_eq(arena_concat(&a, S("a"), S("b")), S("ab")));
    assert_true(slice_eq(arena_dup(&a, S("a\0b")), S("a\0b")));
    s = arena_dup(&a, (struct slice){0});
    assert_true(s.n == 0 && s.p[0] == '\0');
    arena_fini(&a);
}

/* Random appends and consumes against the plainest possible queue of bytes. */
static void test_buf_against_model(void **state)
{
    static char model[1 << 20];
    size_t from = 0, to = 0;
    struct buf b = {0};
    uint64_t seed = 7;
    (void)state;
    for (int i = 0; i < 20000 && to < sizeof(model) - 1000; i++) {
        size_t n = random_next(&seed) % (random_next(&seed) % 10 == 0 ? 900 : 30);
        for (size_t k = 0; k < n; k++)
            model[to + k] = (char)random_next(&seed);
        assert_true(buf_append(&b, slice_mem(model + to, n)));
        to += n;
        size_t eat = random_next(&seed) % 40;
        if (eat > to - from)
            eat = to - from;
        buf_consume(&b, eat);
        from += eat;
        assert_true(slice_eq(buf_slice(&b), slice_mem(model + from, to - from)));
    }
    buf_fini(&b);
}

static void test_buf_limit(void **state)
{
    struct buf b = {.limit = 10};
    (void)state;
    assert_true(buf_append(&b, S("12345")));
    assert_false(buf_append(&b, S("123456")));
    assert_true(b.overflowed);
    assert_true(slice_eq(buf_slice(&b), S("12345")));
    assert_true(buf_append(&b, S("67890")));
    assert_false(buf_append_byte(&b, 'x'));
    assert_false(buf_printf(&b, "%d", 1));
    assert_null(buf_reserve(&b, 1));
    assert_null(buf_reserve(&b, SIZE_MAX));
    buf_consume(&b, 1); /* the limit is of live bytes */
    assert_true(buf_append_byte(&b, 'x'));
    buf_clear(&b);
    assert_false(b.overflowed);
    assert_true(buf_printf(&b, "%s", "0123456789"));
    buf_fini(&b);
    assert_int_equal(b.limit, 10);
}

static void test_buf_limit_of_long_text(void **state)
{
    struct buf b = {.limit = 600};
    char text[700];
    (void)state;
    memset(text, 'y', sizeof(text));
    text[600] = '\0';
    assert_true(buf_printf(&b, "%s", text));
    assert_int_equal(b.n, 600);
    buf_clear(&b);
    text[600] = 'y';
    text[601] = '\0';
    assert_false(buf_printf(&b, "%s", text));
    assert_int_equal(b.n, 0);
    buf_fini(&b);
}

static void test_buf_numbers(void **state)
{
    struct buf b = {0};
    (void)state;
    buf_u16le(&b, 0x0201);
    buf_u32le(&b, 0x06050403);
    buf_u64le(&b, 0x0E0D0C0B0A090807u);
    buf_u32be(&b, 0x0F101112);
    buf_varint(&b, 300);
    buf_varint(&b, UINT64_MAX);
    for (size_t i = 0; i < 18; i++)
        assert_int_equal(buf_slice(&b).p[i], i + 1);
    assert_true(slice_eq(slice_skip(buf_slice(&b), 18),
                         S("\xAC\x02\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01")));
    buf_fini(&b);
}

/* A queue that is never quite empty must not grow with what has passed through it. */
static void test_buf_stays_small(void **state)
{
    struct buf b = {0};
    char piece[1000] = {0};
    (void)state;
    buf_append(&b, slice_mem(piece, 10));
    for (int i = 0; i < 10000; i++) {
        buf_append(&b, slice_mem(piece, sizeof(piece)));
        buf_consume(&b, sizeof(piece));
    }
    assert_true(b.cap <= 8192);
    buf_fini(&b);
}

/* A long queue that moves a little at a time: its bytes may move once in a while, not with each
 * append (a slow reader of a large stream would cost the square of its backlog). */
static void test_buf_moves_seldom(void **state)
{
    static char piece[100], large[(1 << 20) - 300]; /* the first allocation is nearly full */
    struct buf b = {0};
    size_t moves = 0, last = 0;
    (void)state;
    buf_append(&b, slice_mem(large, sizeof(large)));
    for (int i = 0; i < 100000; i++) {
        buf_append(&b, slice_mem(piece, sizeof(piece)));
        moves += b.at < last;
        last = b.at;
        buf_consume(&b, sizeof(piece));
        last = b.at;
    }
    assert_true(moves < 20); /* 10 MB through 1 MB */
    assert_true(b.cap <= 8 << 20);
    buf_fini(&b);
}

static void test_vec(void **state)
{
    VEC(int) v = {0};
    (void)state;
    for (int i = 0; i < 1000; i++) {
        int *p = vec_push(&v);
        assert_int_equal(*p, 0);
        *p = i;
    }
    for (int i = 0; i < 1000; i++)
        assert_int_equal(v.p[i], i);
    vec_fini(&v);
    assert_null(v.p);
}

/* Wrong: a block that was kept is too small for who takes it, or two have it at once. */
static void test_cache_blocks(void **state)
{
    enum { BLOCKS = 400, SIZE_MAX_TRIED = 20000 };
    static struct {
        char *p;
        size_t n;
    } held[BLOCKS];
    uint64_t seed = 7;
    (void)state;
    for (size_t i = 0; i < 40 * BLOCKS; i++) {
        size_t at = random_next(&seed) % BLOCKS, bound = i % 3 ? 200 : SIZE_MAX_TRIED;
        if (held[at].p) {
            assert_true(all_bytes(held[at].p, (char)at, held[at].n));
            mem_cache_give(held[at].p);
        }
        held[at].n = random_next(&seed) % bound;
        held[at].p = mem_cache_take(held[at].n);
        assert_int_equal((uintptr_t)held[at].p % 16, 0);
        memset(held[at].p, (int)at, held[at].n);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        mem_cache_give(held[i].p);
    mem_cache_give(NULL);
}

static void *take_and_give(void *arg)
{
    static void *p[2000];
    (void)arg;
    for (size_t i = 0; i < ARRAY_LEN(p); i++)
        p[i] = mem_cache_take(1000);
    for (size_t i = 0; i < ARRAY_LEN(p); i++)
        mem_cache_give(p[i]);
    return NULL;
}

/* Wrong: every thread that ends, or that once had much, holds on to what it has freed. */
static void test_cache_is_bounded(void **state)
{
    (void)state;
    take_and_give(NULL);
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < 20; i++) {
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, take_and_give, NULL), 0);
        pthread_join(t, NULL);
        take_and_give(NULL);
    }
    assert_true(mallinfo2().uordblks < before + MEM_CACHE_CLASS_BYTES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache_blocks),     cmocka_unit_test(test_cache_is_bounded),
        cmocka_unit_test(test_arena_pieces),     cmocka_unit_test(test_arena_limit),
        cmocka_unit_test(test_arena_strings),    cmocka_unit_test(test_buf_against_model),
        cmocka_unit_test(test_buf_limit),        cmocka_unit_test(test_buf_limit_of_long_text),
        cmocka_unit_test(test_buf_numbers),      cmocka_unit_test(test_buf_stays_small),
        cmocka_unit_test(test_buf_moves_seldom), cmocka_unit_test(test_vec),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
