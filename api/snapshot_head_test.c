/* If these fail, a backup that was damaged on its way looks sound, or a sound one is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "api/snapshot_head.h"

static struct snapshot_head a_head(void)
{
    struct snapshot_head h = {.cluster = 1,
                              .genesis = 2,
                              .index = 1184,
                              .term = 3,
                              .revision = 1182,
                              .compacted = 4,
                              .state_hash = UINT64_MAX,
                              .wall_ms = 1764000000000,
                              .image_bytes = 1 << 20,
                              .node = "n2",
                              .kind_count = 2,
                              .kinds = {{"namespaces", 2, 300}, {"services", 7, 9000}}};
    memset(h.sha256, 0xA5, sizeof(h.sha256));
    return h;
}

static void test_round_trip(void **state)
{
    struct snapshot_head h = a_head(), got;
    struct buf b = {0};
    struct err err = {0};
    size_t n = 0;
    (void)state;
    snapshot_head_encode(&b, &h);
    assert_true(
        snapshot_head_bytes(slice_sub(buf_slice(&b), 0, SNAPSHOT_HEAD_BYTES_MIN), &n, &err));
    assert_int_equal(n, b.n);
    assert_true(snapshot_head_decode(buf_slice(&b), &got, &err));
    assert_memory_equal(&got, &h, sizeof(h));
    buf_fini(&b);
}

static void test_largest(void **state)
{
    struct snapshot_head h = a_head(), got;
    struct buf b = {0};
    struct err err = {0};
    (void)state;
    h.kind_count = SNAPSHOT_HEAD_KINDS_MAX;
    for (size_t i = 0; i < h.kind_count; i++)
        memset(h.kinds[i].name, 'k', SNAPSHOT_HEAD_NAME_BYTES_MAX - 1);
    snapshot_head_encode(&b, &h);
    assert_true(snapshot_head_decode(buf_slice(&b), &got, &err));
    assert_int_equal(got.kind_count, SNAPSHOT_HEAD_KINDS_MAX);
    buf_fini(&b);
}

/* Every bit, and every length. */
static void test_damage_is_found(void **state)
{
    struct snapshot_head h = a_head(), got;
    struct buf b = {0};
    struct err err = {0};
    (void)state;
    snapshot_head_encode(&b, &h);
    char *p = (char *)(uintptr_t)buf_slice(&b).p;
    for (size_t bit = 0; bit < b.n * 8; bit++) {
        p[bit / 8] ^= (char)(1u << (bit % 8));
        assert_false(snapshot_head_decode(buf_slice(&b), &got, &err));
        p[bit / 8] ^= (char)(1u << (bit % 8));
    }
    for (size_t n = 0; n < b.n; n++)
        assert_false(snapshot_head_decode(slice_sub(buf_slice(&b), 0, n), &got, &err));
    assert_true(snapshot_head_decode(buf_slice(&b), &got, &err));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_damage_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
