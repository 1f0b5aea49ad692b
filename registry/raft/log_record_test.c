/* If the codec took a damaged record for a good one, a node would apply what nobody wrote; if it
 * took damage for a torn tail, it would forget what it acknowledged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "registry/raft/log_record.h"
#include "registry/raft/raft_limits.h"

#define SEGMENT 7u
#define CLUSTER 11u
#define NODE 13u
#define SIZE 8192u

struct image {
    char bytes[SIZE];
    size_t end;       /* behind the last record */
    size_t at[16];    /* of each record */
    size_t group[16]; /* start of its group */
    size_t count;
};

static void build_groups(struct image *im, const int *groups, size_t group_count)
{
    struct buf b = {0};
    uint64_t chain = 99, index = 1;
    memset(im, 0, sizeof(*im));
    log_segment_head_encode(&b, &(struct log_segment_head){SEGMENT, CLUSTER, NODE, chain});
    for (size_t g = 0; g < group_count; g++) {
        size_t batch = b.n;
        for (int i = 0; i < groups[g]; i++, index++) {
            char payload[64];
            memset(payload, (int)index, sizeof(payload));
            im->at[im->count] = b.n;
            im->group[im->count++] = batch;
            chain = log_record_encode(&b,
                                      &(struct log_record){.index = index,
                                                           .term = 2,
                                                           .type = LOG_COMMAND,
                                                           .payload = {payload, 8 * (index % 7)},
                                                           .chain = chain,
                                                           .batch = batch},
                                      SEGMENT);
        }
    }
    im->end = b.n;
    memcpy(im->bytes, buf_slice(&b).p, b.n);
    buf_fini(&b);
}

static void build(struct image *im)
{
    build_groups(im, (const int[]){1, 3, 2}, 3);
}

static bool count_record(void *ctx, const struct log_record *r, struct err *err)
{
    (void)err;
    size_t *n = ctx;
    (*n)++;
    assert_int_equal(r->index, *n);
    assert_int_equal(r->payload.n, 8 * (*n % 7));
    for (size_t i = 0; i < r->payload.n; i++)
        assert_int_equal(r->payload.p[i], (int)*n);
    return true;
}

static bool scan(const struct image *im, bool last, size_t *ret_n, struct log_scan_end *ret_end,
                 struct err *err)
{
    uint64_t chain = 99;
    *ret_n = 0;
    return log_segment_scan(slice_mem(im->bytes, SIZE), SEGMENT, last, CLUSTER, NODE, &chain,
                            count_record, ret_n, ret_end, err);
}

static void all_records_come_back(void **state)
{
    (void)state;
    struct image im;
    struct log_scan_end end;
    struct err err = {0};
    size_t n;
    build(&im);
    for (int last = 0; last < 2; last++) {
        assert_true(scan(&im, last, &n, &end, &err));
        assert_int_equal(n, im.count);
        assert_int_equal(end.offset, im.end);
        assert_false(end.torn);
    }
}

/* Every bit of every byte: found always; taken for a torn tail only in the last group, of which
 * nobody can know whether it was acknowledged, and never when another file follows. */
static void a_flipped_bit_is_never_believed(void **state)
{
    (void)state;
    struct image im;
    size_t last_group;
    build(&im);
    last_group = im.group[im.count - 1];
    for (size_t bit = 0; bit < im.end * 8; bit++) {
        struct log_scan_end end = {0};
        struct err err = {0};
        size_t n;
        im.bytes[bit / 8] ^= (char)(1 << bit % 8);
        assert_false(scan(&im, false, &n, &end, &err));
        assert_true(err.code == ERR_CORRUPT || err.code == ERR_UNSUPPORTED);
        bool ok = scan(&im, true, &n, &end, &err);
        if (bit / 8 < last_group) {
            assert_false(ok);
        } else {
            assert_true(ok);
            assert_true(end.torn);
            assert_true(n >= 4 && n < im.count);
        }
        im.bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
}

/* A crash leaves any subset of the last group's sectors; here: of its bytes from some point on, or
 * up to some point (later blocks first). */
static void a_torn_last_group_is_cut_off(void **state)
{
    (void)state;
    struct image im, torn;
    build(&im);
    size_t from = im.group[im.count - 1];
    for (size_t cut = from; cut < im.end; cut++) {
        struct log_scan_end end = {0};
        struct err err = {0};
        size_t n;
        torn = im;
        memset(torn.bytes + cut, 0, im.end - cut);
        assert_true(scan(&torn, true, &n, &end, &err));
        assert_true(end.offset <= cut && end.offset >= from);
        torn = im;
        memset(torn.bytes + from, 0, cut - from + 1);
        assert_true(scan(&torn, true, &n, &end, &err));
        assert_int_equal(end.offset, from);
    }
}

/* The head goes out with the first group, and may be what a power cut kept back. */
static void a_torn_first_group_is_cut_off(void **state)
{
    (void)state;
    struct image im;
    struct log_scan_end end = {0};
    struct err err = {0};
    size_t n;
    build_groups(&im, (const int[]){3}, 1);
    memset(im.bytes, 0, LOG_SEGMENT_HEAD_BYTES);
    assert_true(scan(&im, true, &n, &end, &err));
    assert_true(end.torn);
    assert_int_equal(end.offset, 0);
    assert_int_equal(n, 0);
    build(&im); /* but not when a second one was written */
    memset(im.bytes, 0, LOG_SEGMENT_HEAD_BYTES);
    assert_false(scan(&im, true, &n, &end, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
}

static void a_missing_record_breaks_the_chain(void **state)
{
    (void)state;
    struct image im;
    struct log_scan_end end;
    struct err err = {0};
    size_t n;
    build(&im);
    size_t gap = im.at[2] - im.at[1];
    memmove(im.bytes + im.at[1], im.bytes + im.at[2], SIZE - im.at[2]);
    memset(im.bytes + SIZE - gap, 0, gap);
    assert_false(scan(&im, true, &n, &end, &err));
    assert_non_null(strstr(err.msg, "does not follow"));
}

static void another_segments_bytes_are_refused(void **state)
{
    (void)state;
    struct image im;
    struct log_scan_end end;
    struct err err = {0};
    size_t n = 0;
    uint64_t chain = 99, other = 98;
    build(&im);
    struct slice s = slice_mem(im.bytes, SIZE);
    assert_false(log_segment_scan(s, 8, true, CLUSTER, NODE, &chain, count_record, &n, &end, &err));
    assert_false(log_segment_scan(s, SEGMENT, true, 1, NODE, &chain, count_record, &n, &end, &err));
    assert_false(
        log_segment_scan(s, SEGMENT, true, CLUSTER, 1, &chain, count_record, &n, &end, &err));
    assert_false(
        log_segment_scan(s, SEGMENT, true, CLUSTER, NODE, &other, count_record, &n, &end, &err));
    assert_int_equal(n, 0);
}

static void an_untouched_segment_is_empty(void **state)
{
    (void)state;
    struct image im = {.end = 0};
    struct log_scan_end end;
    struct err err = {0};
    size_t n;
    assert_true(scan(&im, true, &n, &end, &err));
    assert_int_equal(end.offset, 0);
    assert_int_equal(end.chain, 99);
    assert_false(scan(&im, false, &n, &end, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_records_come_back),
        cmocka_unit_test(a_flipped_bit_is_never_believed),
        cmocka_unit_test(a_torn_last_group_is_cut_off),
        cmocka_unit_test(a_torn_first_group_is_cut_off),
        cmocka_unit_test(a_missing_record_breaks_the_chain),
        cmocka_unit_test(another_segments_bytes_are_refused),
        cmocka_unit_test(an_untouched_segment_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
