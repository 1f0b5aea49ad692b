/* A log that forgets an acknowledged entry, or starts on damaged bytes, turns a majority into none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "base/env/env_testing.h"
#include "base/env/env_uv.h"
#include "registry/raft/log.h"
#include "registry/raft/raft_limits.h"

struct fixture {
    struct env *env;
    struct log *log;
    struct log_contents c;
    char dir[TEST_DIR];
    uint64_t next;
    /* The slow, obvious model: term of each entry since model_first. */
    uint64_t model[4096];
    uint64_t first;
    int durable;
};

struct op {
    struct log_append a;
    struct fixture *f;
};

static void setup(struct fixture *f)
{
    struct err err = {0};
    *f = (struct fixture){.next = 1, .first = 1};
    f->env = env_uv_new(&err);
    test_dir_make(f->dir);
}

static bool open_log(struct fixture *f, struct err *err)
{
    f->log = log_open(&(struct log_options){.env = f->env,
                                            .dir = f->dir,
                                            .cluster = 1,
                                            .node = 2,
                                            .segment_bytes = LOG_SEGMENT_BYTES_MIN},
                      &f->c, err);
    return f->log != NULL;
}

static void must_open(struct fixture *f)
{
    struct err err = {0};
    if (!open_log(f, &err))
        wf_die("%s", err.msg);
}

static void close_log(struct fixture *f)
{
    log_contents_fini(&f->c);
    log_close(f->log);
    f->log = NULL;
}

static void on_durable(struct log_append *a)
{
    struct op *o = container_of(a, struct op, a);
    o->f->durable++;
    mem_free(o);
}

static void append(struct fixture *f, size_t n, uint64_t term, size_t bytes)
{
    char payload[4096];
    struct log_entry es[16];
    wf_assert(n <= 16 && bytes <= sizeof(payload));
    memset(payload, (int)term, sizeof(payload));
    for (size_t i = 0; i < n; i++) {
        es[i] = (struct log_entry){term, LOG_COMMAND, slice_mem(payload, bytes)};
        f->model[f->next - f->first + i] = term;
    }
    struct op *o = MEM_NEW(struct op);
    o->f = f;
    o->a = (struct log_append){.first = f->next, .entries = es, .n = n, .fn = on_durable};
    f->next += n;
    log_append(f->log, &o->a);
}

static void drain(struct fixture *f)
{
    while (log_busy(f->log))
        env_uv_turn(f->env, 100);
}

static void check_model(const struct fixture *f)
{
    assert_int_equal(f->c.first + f->c.entries.n, f->next);
    for (size_t i = 0; i < f->c.entries.n; i++)
        assert_int_equal(f->c.entries.p[i].term, f->model[f->c.first + i - f->first]);
}

static void teardown(struct fixture *f)
{
    if (f->log)
        close_log(f);
    log_contents_fini(&f->c);
    env_uv_free(f->env);
    test_dir_remove(f->dir);
}

static void what_was_appended_is_there_after_reopening(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    must_open(&f);
    assert_int_equal(f.c.first, 1);
    assert_int_equal(f.c.entries.n, 0);
    for (int k = 0; k < 200; k++) { /* several segments of 64 KiB */
        append(&f, 1 + (size_t)k % 5, 1 + (uint64_t)k / 50, (size_t)(k * 37 % 4000) & ~7u);
        if (k % 3 == 0)
            drain(&f);
    }
    drain(&f);
    assert_int_equal(f.durable, 200);
    assert_true(log_disk_bytes(f.log) > 4 * LOG_SEGMENT_BYTES_MIN);
    close_log(&f);
    must_open(&f);
    check_model(&f);
    teardown(&f);
}

static void a_replaced_suffix_stays_replaced(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    must_open(&f);
    append(&f, 10, 1, 64);
    drain(&f);
    f.next = 6; /* Raft truncates at 6 … */
    append(&f, 2, 2, 64);
    f.next = 7; /* … and again before that is durable */
    append(&f, 1, 3, 64);
    drain(&f);
    close_log(&f);
    must_open(&f);
    check_model(&f);
    assert_int_equal(f.c.entries.n, 7);
    assert_int_equal(f.c.entries.p[5].term, 2);
    assert_int_equal(f.c.entries.p[6].term, 3);
    append(&f, 3, 4, 64);
    drain(&f);
    close_log(&f);
    must_open(&f);
    check_model(&f);
    teardown(&f);
}

/* As a power cut leaves it: the mark did not reach the disk. */
static void forget_end(const struct fixture *f)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/end", f->dir);
    assert_int_equal(unlink(path), 0);
}

/* Its last group looks like one that was torn, but it had been synced, and was acknowledged. */
static void a_cut_log_is_told_from_a_torn_one(void **state)
{
    (void)state;
    for (int lost = 0; lost < 2; lost++) {
        struct fixture f;
        char path[128];
        struct err err = {0};
        setup(&f);
        must_open(&f);
        append(&f, 3, 1, 512);
        drain(&f);
        append(&f, 2, 1, 512);
        drain(&f);
        close_log(&f);
        if (!lost)
            forget_end(&f);
        snprintf(path, sizeof(path), "%s/0000000000000001.log", f.dir);
        assert_int_equal(truncate(path, 64 + 4 * (48 + 512)), 0);
        assert_int_equal(open_log(&f, &err), !lost);
        if (lost) {
            assert_int_equal(err.code, ERR_CORRUPT);
            assert_non_null(strstr(err.msg, "acknowledged entries are lost"));
        } else {
            assert_int_equal(f.c.entries.n, 4);
        }
        teardown(&f);
    }
}

static void rename_in(const struct fixture *f, const char *from, const char *to)
{
    char a[128], b[128];
    snprintf(a, sizeof(a), "%s/%s", f->dir, from);
    snprintf(b, sizeof(b), "%s/%s", f->dir, to);
    assert_int_equal(rename(a, b), 0);
}

/* A power cut took the mark back to the first group. What the start finds is the end from then on:
 * damage to it is no torn write. */
static void a_start_marks_the_end_that_it_found(void **state)
{
    (void)state;
    struct fixture f;
    char path[128];
    struct err err = {0};
    setup(&f);
    must_open(&f);
    append(&f, 3, 1, 512);
    drain(&f);
    close_log(&f);
    rename_in(&f, "end", "old");
    must_open(&f);
    append(&f, 2, 1, 512);
    drain(&f);
    close_log(&f);
    rename_in(&f, "old", "end");
    must_open(&f);
    close_log(&f);
    snprintf(path, sizeof(path), "%s/0000000000000001.log", f.dir);
    assert_int_equal(truncate(path, 64 + 4 * (48 + 512)), 0);
    assert_false(open_log(&f, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    teardown(&f);
}

/* Entries 1 … 40 of one leader, 30 … 60 of the next, and then all segments go that hold nothing
 * from 35 on: what is left begins with old entries, and goes back before them. */
static void what_is_left_may_begin_with_replaced_entries(void **state)
{
    (void)state;
    for (uint64_t keep = 31; keep <= 40; keep++) {
        struct fixture f;
        setup(&f);
        must_open(&f);
        for (int k = 0; k < 40; k++) {
            append(&f, 1, 1, 4000);
            drain(&f);
        }
        f.next = 30;
        for (int k = 0; k < 30; k++) {
            append(&f, 1, 2, 4000);
            drain(&f);
        }
        log_trim(f.log, keep);
        close_log(&f);
        must_open(&f);
        assert_true(f.c.first <= keep);
        check_model(&f);
        teardown(&f);
    }
}

static void trimming_drops_whole_segments_only(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    must_open(&f);
    for (int k = 0; k < 100; k++) {
        append(&f, 1, 1, 4000);
        drain(&f);
    }
    uint64_t before = log_disk_bytes(f.log);
    log_trim(f.log, 60);
    assert_true(log_disk_bytes(f.log) < before / 2 + LOG_SEGMENT_BYTES_MIN);
    close_log(&f);
    must_open(&f);
    assert_true(f.c.first <= 60 && f.c.first > 30);
    check_model(&f);
    append(&f, 1, 2, 8);
    drain(&f);
    close_log(&f);
    must_open(&f);
    check_model(&f);
    teardown(&f);
}

static void on_reset(struct log_append *a)
{
    on_durable(a);
}

static void a_checkpoint_replaces_the_whole_log(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    must_open(&f);
    append(&f, 5, 1, 64);
    struct op *o = MEM_NEW(struct op);
    o->f = &f;
    log_reset(f.log, 1000, 3, &o->a, on_reset);
    f.first = f.next = 1001;
    append(&f, 2, 3, 64);
    drain(&f);
    log_trim(f.log, 1001);
    close_log(&f);
    must_open(&f);
    assert_int_equal(f.c.first, 1001);
    check_model(&f);
    assert_int_equal(f.c.entries.n, 2);
    teardown(&f);
}

/* Damage. */

static void flip(const char *dir, const char *name, off_t at)
{
    char path[128];
    unsigned char b;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_RDWR);
    wf_assert(fd >= 0 && pread(fd, &b, 1, at) == 1);
    b ^= 0x10;
    wf_assert(pwrite(fd, &b, 1, at) == 1);
    close(fd);
}

#define FIRST "0000000000000001.log"
#define SECOND "0000000000000002.log"

static void a_bit_flipped_in_the_middle_stops_the_node(void **state)
{
    (void)state;
    struct fixture f;
    struct err err = {0};
    setup(&f);
    must_open(&f);
    for (int k = 0; k < 30; k++) {
        append(&f, 1, 1, 4000);
        drain(&f);
    }
    close_log(&f);
    /* Head, a record's length, term, payload; in a full segment and in the one that is written to.
     */
    static const off_t at[] = {20, 64 + 8, 64 + 24, 64 + 100, 64 + 4048 * 2 + 30};
    static const char *const names[] = {FIRST, SECOND};
    for (size_t k = 0; k < ARRAY_LEN(at) * 2; k++) {
        flip(f.dir, names[k % 2], at[k / 2]);
        assert_false(open_log(&f, &err));
        assert_int_equal(err.code, ERR_CORRUPT);
        assert_non_null(strstr(err.msg, names[k % 2]));
        flip(f.dir, names[k % 2], at[k / 2]);
        err_clear(&err);
    }
    must_open(&f);
    check_model(&f);
    teardown(&f);
}

static void a_missing_segment_stops_the_node(void **state)
{
    (void)state;
    struct fixture f;
    struct err err = {0};
    char path[128];
    setup(&f);
    must_open(&f);
    for (int k = 0; k < 60; k++) {
        append(&f, 1, 1, 4000);
        drain(&f);
    }
    close_log(&f);
    snprintf(path, sizeof(path), "%s/%s", f.dir, SECOND);
    unlink(path);
    assert_false(open_log(&f, &err));
    assert_non_null(strstr(err.msg, "0000000000000002 is missing"));
    teardown(&f);
}

static void a_torn_tail_is_cut_and_the_log_goes_on(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    must_open(&f);
    append(&f, 3, 1, 64);
    drain(&f);
    append(&f, 2, 1, 64);
    drain(&f);
    close_log(&f);
    flip(f.dir, FIRST, 64 + 112 * 3 + 10); /* the last group's first record; its second is whole */
    forget_end(&f);
    f.next = 4;
    must_open(&f);
    assert_true(f.c.torn_bytes > 0);
    check_model(&f);
    append(&f, 1, 2, 16); /* shorter than what lay there */
    drain(&f);
    close_log(&f);
    must_open(&f);
    assert_int_equal(f.c.torn_bytes, 0);
    check_model(&f);
    teardown(&f);
}

/* A newcomer's first group can be larger than a segment. */
static void a_first_group_may_be_large(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    must_open(&f);
    for (int k = 0; k < 20; k++) /* one group of 80 KiB into a log of segments of 64 */
        append(&f, 1, 1, 4000);
    drain(&f);
    append(&f, 1, 1, 4000);
    drain(&f);
    close_log(&f);
    must_open(&f);
    check_model(&f);
    assert_int_equal(f.c.entries.n, 21);
    teardown(&f);
}

static void appends_of_one_turn_share_a_sync(void **state)
{
    (void)state;
    struct fixture f;
    setup(&f);
    must_open(&f);
    for (int k = 0; k < 50; k++)
        append(&f, 1, 1, 64);
    assert_int_equal(f.durable, 0);
    int turns = 0;
    while (log_busy(f.log)) {
        env_uv_turn(f.env, 100);
        turns++;
    }
    assert_int_equal(f.durable, 50);
    assert_true(turns <= 3);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_appended_is_there_after_reopening),
        cmocka_unit_test(a_replaced_suffix_stays_replaced),
        cmocka_unit_test(a_cut_log_is_told_from_a_torn_one),
        cmocka_unit_test(a_start_marks_the_end_that_it_found),
        cmocka_unit_test(what_is_left_may_begin_with_replaced_entries),
        cmocka_unit_test(trimming_drops_whole_segments_only),
        cmocka_unit_test(a_checkpoint_replaces_the_whole_log),
        cmocka_unit_test(a_bit_flipped_in_the_middle_stops_the_node),
        cmocka_unit_test(a_missing_segment_stops_the_node),
        cmocka_unit_test(a_torn_tail_is_cut_and_the_log_goes_on),
        cmocka_unit_test(a_first_group_may_be_large),
        cmocka_unit_test(appends_of_one_turn_share_a_sync),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
