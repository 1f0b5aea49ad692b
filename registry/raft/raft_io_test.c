/* If these fail, a damaged checkpoint waits for the day on which it is needed, or a node reads its
 * checkpoints again and again and never stops. */
#include "base/wire/test.h"

#include "base/env/env_testing.h"
#include "base/env/env_uv.h"
#include "registry/raft/raft_io.h"

#define TRAILING 4 /* what libraft asks for with a checkpoint of its own; 0 = it was installed */
#define CHECKS_MAX 8

struct fixture {
    char dir[TEST_DIR];
    struct env *env;
    struct raftio io;
    struct raft_configuration conf;
    bool put_done;
    bool damaged_told;
    uint64_t damaged;      /* the file of this index */
    _Atomic size_t checks; /* files that were looked at, in order; on a helper thread */
    uint64_t checked[CHECKS_MAX];
};

static bool verify(void *ctx, const char *path, const struct snapshot_file *file, struct err *err)
{
    struct fixture *f = ctx;
    (void)path;
    size_t n = f->checks++;
    if (n < CHECKS_MAX)
        f->checked[n] = file->index;
    return file->index != f->damaged || err_set(err, ERR_CORRUPT, "hash differs");
}

static void on_damaged(void *ctx)
{
    struct fixture *f = ctx;
    f->damaged_told = true;
}

static const struct raftio_events events = {.on_damaged = on_damaged, .verify = verify};

static void on_tick(struct raft_io *io)
{
    (void)io;
}

static void on_recv(struct raft_io *io, struct raft_message *m)
{
    (void)io;
    (void)m;
}

static void on_close(struct raft_io *io)
{
    (void)io;
}

static void must_open(struct fixture *f)
{
    struct err err = {0};
    struct peer_member self = {.id = 1, .name = "n1", .addr = test_free_addr()};
    if (!raftio_open(&f->io,
                     &(struct raftio_options){.env = f->env,
                                              .dir = f->dir,
                                              .self = 1,
                                              .cluster = 1,
                                              .members = &self,
                                              .member_count = 1,
                                              .segment_bytes = LOG_SEGMENT_BYTES_MIN,
                                              .events = &events,
                                              .ctx = f},
                     &err))
        fail_msg("%s", err.msg);
}

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct err err = {0};
    test_dir_make(f->dir);
    f->env = env_uv_new(&err);
    raft_configuration_init(&f->conf);
    assert_int_equal(raft_configuration_add(&f->conf, 1, "n1=127.0.0.1:1", RAFT_VOTER), 0);
    must_open(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->io.io.close(&f->io.io, on_close);
    raftio_fini(&f->io);
    raft_configuration_close(&f->conf);
    env_uv_free(f->env);
    test_dir_remove(f->dir);
    mem_free(f);
    return 0;
}

static void on_put(struct raft_io_snapshot_put *req, int status)
{
    struct fixture *f = req->data;
    assert_int_equal(status, 0);
    f->put_done = true;
}

/* A snapshot at index, whose file has what the store held at file_index. */
static void take(struct fixture *f, uint64_t index, uint64_t file_index)
{
    char path[SNAPSHOT_PATH_BYTES], data[SNAPSHOT_DATA_BYTES];
    struct err err = {0};
    struct snapshot_file file = {.index = file_index, .term = 1, .bytes = 3};
    file.sha256[0] = (unsigned char)file_index;
    snapshot_file_encode(data, &file);
    assert_true(env_file_store(f->env, snapshot_temp_path(f->dir, path), S("map"), &err));
    struct raft_buffer buf = {data, sizeof(data)};
    struct raft_snapshot s = {.index = index,
                              .term = 1,
                              .configuration = f->conf,
                              .configuration_index = 1,
                              .bufs = &buf,
                              .n_bufs = 1};
    struct raft_io_snapshot_put put = {.data = f};
    f->put_done = false;
    assert_int_equal(f->io.io.snapshot_put(&f->io.io, TRAILING, &put, &s, on_put), 0);
    while (!f->put_done)
        env_uv_turn(f->env, 100);
}

static void start_and_check(struct fixture *f)
{
    assert_int_equal(f->io.io.start(&f->io.io, 100, on_tick, on_recv), 0);
    while (f->checks <= CHECKS_MAX &&
           (f->checks == 0 || !raftio_idle(&f->io) || !f->io.scrub_timer.armed))
        env_uv_turn(f->env, 100);
    if (f->checks > CHECKS_MAX)
        fail_msg("still checking after %d files", CHECKS_MAX);
}

/* The store may be ahead of what libraft takes a snapshot of; when nothing is written meanwhile,
 * the next snapshot has the same file. Wrong: the one before is checked behind the newest, which
 * it is too, and so on for ever. */
static void each_file_is_checked_once(void **state)
{
    static const struct {
        const char *what;
        uint64_t taken[2][2]; /* index, and that of the file; 0 = none */
        size_t checks;
        uint64_t checked[2];
    } rows[] = {
        {"one", {{10, 12}}, 1, {12}},
        {"two", {{10, 12}, {20, 25}}, 2, {25, 12}},
        {"two that share a file", {{10, 25}, {20, 25}}, 1, {25}},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        setup(state);
        struct fixture *f = *state;
        for (size_t k = 0; k < 2 && rows[i].taken[k][0]; k++)
            take(f, rows[i].taken[k][0], rows[i].taken[k][1]);
        assert_int_equal(f->io.has_older, rows[i].taken[1][0] != 0);
        start_and_check(f);
        size_t n = f->checks;
        if (n != rows[i].checks || memcmp(f->checked, rows[i].checked, n * sizeof(uint64_t)) != 0)
            fail_msg("%s: %zu checks, of %llu first", rows[i].what, n,
                     (unsigned long long)f->checked[0]);
        assert_false(f->damaged_told);
        teardown(state);
    }
}

/* The newest is asked for anew, whatever else has its file; the one before alone is dropped. */
static void damage_is_told_of_the_newest(void **state)
{
    static const struct {
        const char *what;
        uint64_t taken[2][2], damaged;
        bool told, older_kept;
    } rows[] = {
        {"the newest", {{10, 12}, {20, 25}}, 25, true, true},
        {"the one before", {{10, 12}, {20, 25}}, 12, false, false},
        {"both are one", {{10, 25}, {20, 25}}, 25, true, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        setup(state);
        struct fixture *f = *state;
        for (size_t k = 0; k < 2; k++)
            take(f, rows[i].taken[k][0], rows[i].taken[k][1]);
        f->damaged = rows[i].damaged;
        start_and_check(f);
        if (f->damaged_told != rows[i].told || f->io.has_older != rows[i].older_kept)
            fail_msg("%s: told %d, older kept %d", rows[i].what, f->damaged_told, f->io.has_older);
        teardown(state);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_file_is_checked_once),
        cmocka_unit_test(damage_is_told_of_the_newest),
    };
    return cmocka_run_group_tests_name("raft_io", tests, NULL, NULL);
}
