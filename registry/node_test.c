/* A cluster that loses an acknowledged write, applies one twice, or hangs where it could answer
 * would make every proxy of the mesh wrong or blind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "registry/node_test_util.h"

/* The state of a case that is run over TLS too; NULL: without. */
static bool with_tls = true;

static void one_node_writes_and_restarts(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, 1);
    cluster_up(&c);
    reg_rev a = must_put(&c, 0, "services/default/a", "1");
    reg_rev b = must_put(&c, 0, "services/default/b", "2");
    assert_true(b > a);
    assert_true(value_is(&c, 0, "services/default/a", "1"));
    node_down(&c, 0, false);
    must_up(&c, 0);
    assert_true(value_is(&c, 0, "services/default/b", "2"));
    assert_true(must_put(&c, 0, "services/default/a", "3") > b);
    cluster_fini(&c);
}

static uint64_t series(struct cluster *c, size_t i, const char *name)
{
    struct buf text = {0};
    struct metric_set *set = reg_node_metrics(c->node[i]);
    char line[100];
    metric_write_text(&set, 1, &text);
    buf_append(&text, (struct slice){"", 1});
    snprintf(line, sizeof(line), "\n%s ", name);
    const char *at = strstr(text.p, line);
    uint64_t v = at ? strtoull(at + strlen(line), NULL, 10) : UINT64_MAX;
    buf_fini(&text);
    return v;
}

static void what_a_write_takes_is_measured(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, 3);
    cluster_up(&c);
    size_t leader = wait_leader(&c), other = (leader + 1) % 3;
    uint64_t before = series(&c, leader, "weft_raft_commit_seconds_count");
    must_put_everywhere(&c, leader, "services/default/a", "1");
    must_put_everywhere(&c, other, "services/default/a", "2");
    assert_true(series(&c, leader, "weft_raft_commit_seconds_count") >= before + 2);
    assert_true(series(&c, leader, "weft_raft_entry_writes_sum") >= 2);
    assert_int_equal(series(&c, other, "weft_raft_commit_seconds_count"), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_true(series(&c, i, "weft_raft_apply_seconds_count") >= 2);
        assert_true(series(&c, i, "weft_raft_log_sync_seconds_count") >= 2);
        assert_true(series(&c, i, "weft_raft_log_group_entries_sum") >= 2);
        assert_true(series(&c, i, "weft_store_commit_seconds_count") >= 2);
    }
    char up[60], lag[60];
    snprintf(up, sizeof(up), "weft_raft_peer_up{peer=\"n%zu\"}", other + 1);
    snprintf(lag, sizeof(lag), "weft_raft_peer_lag_entries{peer=\"n%zu\"}", other + 1);
    WAIT_FOR(series(&c, leader, up) == 1 && series(&c, leader, lag) == 0);
    node_down(&c, other, true);
    must_put(&c, leader, "services/default/a", "3");
    WAIT_FOR(series(&c, leader, up) == 0 && series(&c, leader, lag) > 0);
    cluster_fini(&c);
}

static void refusals_say_which_and_why(void **state)
{
    (void)state;
    struct cluster c;
    struct reg_write w;
    cluster_init(&c, 1);
    cluster_up(&c);
    reg_rev a = must_put(&c, 0, "services/default/a", "1");
    assert_int_equal(
        put_expect(&c, 0, S("services/default/a"), S("2"), REG_EXPECT_ABSENT, 0, 0, &w),
        ERR_EXISTS);
    assert_int_equal(w.failed_rev, a);
    assert_int_equal(
        put_expect(&c, 0, S("services/default/a"), S("2"), REG_EXPECT_REV, a + 9, 0, &w),
        ERR_CONFLICT);
    assert_int_equal(
        put_expect(&c, 0, S("services/default/x"), S("2"), REG_EXPECT_EXISTS, 0, 0, &w),
        ERR_NOT_FOUND);
    assert_int_equal(put_expect(&c, 0, S(""), S("2"), REG_EXPECT_ANY, 0, 0, &w), ERR_LIMIT);
    struct reg_op twice[] = {{.key = S("services/default/k")}, {.key = S("services/default/k")}};
    struct call call = {.w = {.ops = twice, .op_count = 2}};
    call_begin(&c, &call);
    reg_write(c.node[0], &call.w);
    call_wait(&call);
    assert_int_equal(call.w.err.code, ERR_INVALID);
    assert_true(value_is(&c, 0, "services/default/a", "1"));
    cluster_fini(&c);
}

static void a_follower_reads_its_own_write(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, 3);
    cluster_up(&c);
    size_t leader = wait_leader(&c);
    for (size_t i = 0; i < 3; i++) {
        char key[64];
        snprintf(key, sizeof(key), "services/default/s%zu", i);
        reg_rev rev = must_put(&c, i, key, "v");
        assert_true(value_is(&c, i, key, "v")); /* applied where it was written */
        WAIT_FOR(applied_of(&c, leader) >= rev);
        WAIT_FOR(value_is(&c, (i + 1) % 3, key, "v"));
    }
    cluster_fini(&c);
}

static void read_index_sees_all_that_was_acknowledged(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, 3);
    cluster_up(&c);
    for (int k = 0; k < 20; k++) {
        char value[16];
        snprintf(value, sizeof(value), "%d", k);
        reg_rev rev = must_put(&c, (size_t)k % 3, "services/default/a", value);
        struct call call = {.w = {.timeout = CLUSTER_WAIT_MS}};
        call_begin(&c, &call);
        reg_read_index(c.node[(k + 1) % 3], &call.w);
        call_wait(&call);
        assert_int_equal(call.w.err.code, ERR_NONE);
        assert_true(call.w.revision >= rev);
        assert_true(value_is(&c, (size_t)(k + 1) % 3, "services/default/a", value));
    }
    cluster_fini(&c);
}

/* A read, and a turn of the node's loop later, when it has asked the others and hardly one can have
 * answered, the process stands still, as a stopped one does. */
struct paused_read {
    struct env_post begin, pause;
    struct reg_node *node;
    struct call call;
    unsigned ms;
    bool asked;
    bool over; /* atomic */
};

static void on_pause(struct env_post *post)
{
    struct paused_read *p = container_of(post, struct paused_read, pause);
    if (!p->asked) {
        p->asked = true;
        env_post(p->node->env, post);
        return;
    }
    usleep(p->ms * 1000);
    __atomic_store_n(&p->over, true, __ATOMIC_RELEASE);
}

static void on_begin(struct env_post *post)
{
    struct paused_read *p = container_of(post, struct paused_read, begin);
    reg_read_index(p->node, &p->call.w);
    env_post(p->node->env, &p->pause);
}

/* Without it a read that a pause fell into is answered by what was heard before the pause. */
static void read_index_asks_again_after_a_pause(void **state)
{
    (void)state;
    struct cluster c;
    struct reg_status s = {0};
    cluster_init(&c, 3);
    cluster_up(&c);
    must_put_everywhere(&c, 0, "services/default/a", "1");
    uint64_t until = test_now_ms() + CLUSTER_WAIT_MS;
    while (s.read_repeats == 0 && test_now_ms() < until) {
        struct paused_read p = {.begin.fn = on_begin,
                                .pause.fn = on_pause,
                                .node = c.node[wait_leader(&c)],
                                .call = {.w = {.timeout = CLUSTER_WAIT_MS}},
                                .ms = 200};
        call_begin(&c, &p.call);
        env_post(p.node->env, &p.begin);
        call_wait(&p.call);
        assert_int_equal(p.call.w.err.code, ERR_NONE);
        WAIT_FOR(__atomic_load_n(&p.over, __ATOMIC_ACQUIRE));
        reg_node_status(p.node, &s);
    }
    assert_true(s.read_repeats > 0);
    cluster_fini(&c);
}

static wf_ms fresh_of(struct cluster *c, size_t i)
{
    struct reg_status s;
    reg_node_status(c->node[i], &s);
    return s.fresh_at;
}

/* Without it a bounded read of a node that nobody asks has to go to the leader each time, or a node
 * that is cut off goes on saying that it is fresh. */
static void a_node_knows_how_fresh_it_is(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, 3);
    cluster_up(&c);
    must_put_everywhere(&c, 0, "services/default/a", "1");
    for (size_t i = 0; i < 3; i++) {
        wf_ms began = (wf_ms)test_now_ms();
        WAIT_FOR(fresh_of(&c, i) >= began);
    }
    size_t leader = wait_leader(&c);
    node_down(&c, leader, true);
    node_down(&c, (leader + 1) % 3, true);
    size_t left = (leader + 2) % 3;
    wf_ms cut = (wf_ms)test_now_ms();
    struct call call = {.w = {.timeout = 3000}};
    call_begin(&c, &call);
    reg_read_index(c.node[left], &call.w);
    call_wait(&call);
    assert_int_equal(call.w.err.code, ERR_UNAVAILABLE);
    assert_true(fresh_of(&c, left) > 0 && fresh_of(&c, left) <= cut);
    cluster_fini(&c);
}

static void writes_go_on_after_the_leader_dies(void **state)
{
    struct cluster c;
    cluster_begin(&c, 3, state);
    cluster_up(&c);
    size_t old = wait_leader(&c);
    must_put_everywhere(&c, old, "services/default/a", "1");
    node_down(&c, old, true);
    uint64_t t0 = test_now_ms();
    must_put(&c, (old + 1) % 3, "services/default/a", "2");
    print_message("leader died: next write acknowledged after %llu ms\n",
                  (unsigned long long)(test_now_ms() - t0));
    must_put(&c, (old + 2) % 3, "services/default/b", "3");
    must_up(&c, old);
    WAIT_FOR(value_is(&c, old, "services/default/b", "3"));
    assert_true(value_is(&c, old, "services/default/a", "2"));
    cluster_fini(&c);
}

static void without_quorum_the_answer_is_quick_and_says_so(void **state)
{
    (void)state;
    struct cluster c;
    struct reg_write w;
    cluster_init(&c, 3);
    cluster_up(&c);
    size_t leader = wait_leader(&c);
    size_t left = (leader + 2) % 3;
    must_put_everywhere(&c, left, "services/default/a", "1");
    node_down(&c, (leader + 1) % 3, true);
    node_down(&c, leader, true);
    struct reg_status s;
    WAIT_FOR((reg_node_status(c.node[left], &s), !s.quorum));
    uint64_t t0 = test_now_ms();
    assert_int_equal(
        put_expect(&c, left, S("services/default/a"), S("2"), REG_EXPECT_ANY, 0, 10000, &w),
        ERR_UNAVAILABLE);
    assert_true(test_now_ms() - t0 < 3000);
    print_message("%s\n", w.err.msg);
    assert_non_null(strstr(w.err.msg, "no quorum: 1 of 3 voters answer (n"));
    assert_true(value_is(&c, left, "services/default/a", "1")); /* reads go on */
    must_up(&c, leader);
    must_put(&c, left, "services/default/a", "3");
    cluster_fini(&c);
}

/* What a counter counts: each acknowledged increment is there once, none twice. */
struct adder {
    struct cluster *c;
    size_t node;
    char key[64];
    int acknowledged, unknown;
    const bool *stop;
    pthread_t thread;
};

static void *adder_run(void *arg)
{
    struct adder *a = arg;
    while (!__atomic_load_n(a->stop, __ATOMIC_RELAXED)) {
        char key[96];
        struct reg_write w;
        snprintf(key, sizeof(key), "%s-%d", a->key, a->acknowledged + a->unknown);
        /* ABSENT: a second application of the same request would say EXISTS. */
        enum err_code code = put_expect(a->c, a->node, slice_of(key), S("x"), REG_EXPECT_ABSENT, 0,
                                        CLUSTER_WAIT_MS, &w);
        if (code == ERR_NONE)
            a->acknowledged++;
        else if (code == ERR_UNKNOWN_OUTCOME)
            a->unknown++;
        else if (code != ERR_UNAVAILABLE)
            wf_die("%s: %s", key, w.err.msg);
    }
    return NULL;
}

static void a_write_counts_once_while_leaders_change(void **state)
{
    struct cluster c;
    struct adder a[2] = {0};
    bool stop = false;
    cluster_begin(&c, 3, state);
    cluster_up(&c);
    size_t keep = (wait_leader(&c) + 1) % 3; /* this one stays up and writes */
    must_put_everywhere(&c, keep, "services/default/start", "1");
    for (int i = 0; i < 2; i++) {
        a[i].c = &c;
        a[i].node = keep;
        a[i].stop = &stop;
        snprintf(a[i].key, sizeof(a[i].key), "services/default/c%d", i);
        pthread_create(&a[i].thread, NULL, adder_run, &a[i]);
    }
    for (int round = 0; round < 6; round++) {
        size_t victim = wait_leader(&c);
        if (victim == keep)
            victim = (keep + 1) % 3;
        node_down(&c, victim, round % 2);
        must_up(&c, victim);
        WAIT_FOR(applied_of(&c, victim) + 5 >= applied_of(&c, keep));
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++) {
        pthread_join(a[i].thread, NULL);
        for (int k = 0; k < a[i].acknowledged + a[i].unknown; k++) {
            char key[96];
            snprintf(key, sizeof(key), "%s-%d", a[i].key, k);
            if (a[i].unknown == 0)
                assert_true(value_is(&c, keep, key, "x"));
        }
        print_message("%d acknowledged, %d unknown\n", a[i].acknowledged, a[i].unknown);
        assert_true(a[i].acknowledged > 0);
    }
    cluster_fini(&c);
}

static void a_late_node_catches_up_by_checkpoint(void **state)
{
    struct cluster c;
    char *big = malloc(100001);
    memset(big, 'b', 100000);
    big[100000] = 0;
    cluster_begin(&c, 3, state);
    c.opt.snapshot_log_bytes = 1u << 20;
    c.opt.segment_bytes = 256u << 10;
    cluster_up(&c);
    size_t leader = wait_leader(&c);
    size_t late = (leader + 1) % 3;
    must_put_everywhere(&c, leader, "services/default/first", "1");
    node_down(&c, late, true);
    for (int i = 0; i < 300; i++) {
        char key[64];
        snprintf(key, sizeof(key), "services/default/k%d", i % 50);
        big[0] = (char)('a' + i % 26);
        must_put(&c, leader, key, big);
    }
    reg_rev last = must_put(&c, leader, "services/default/last", "2");
    must_up(&c, late);
    WAIT_FOR(applied_of(&c, late) >= last);
    assert_true(value_is(&c, late, "services/default/last", "2"));
    assert_true(value_is(&c, late, "services/default/first", "1"));
    struct reg_status s, l;
    WAIT_FOR((reg_node_status(c.node[late], &s), reg_node_status(c.node[leader], &l),
              s.applied_index == l.applied_index && s.state_hash == l.state_hash));
    /* The log was cut: less than all that was written is on disk. */
    assert_true(l.log_bytes < 300u * 100000u / 2);
    must_put(&c, late, "services/default/last", "3");
    node_down(&c, late, false);
    must_up(&c, late);
    assert_true(value_is(&c, late, "services/default/last", "3"));
    free(big);
    cluster_fini(&c);
}

static void a_leader_hands_over_when_it_stops(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, 3);
    cluster_up(&c);
    size_t leader = wait_leader(&c);
    must_put_everywhere(&c, leader, "services/default/a", "1");
    node_down(&c, leader, false);
    uint64_t t0 = test_now_ms();
    must_put(&c, (leader + 1) % 3, "services/default/a", "2");
    print_message("leader stopped: next write acknowledged after %llu ms\n",
                  (unsigned long long)(test_now_ms() - t0));
    cluster_fini(&c);
}

static void a_directory_serves_one_node_only(void **state)
{
    (void)state;
    struct cluster c;
    struct err err = {0};
    cluster_init(&c, 1);
    cluster_up(&c);
    struct reg_node_options opt = c.opt;
    opt.dir = c.dir[0];
    opt.id = 1;
    assert_null(reg_node_start(&opt, &err));
    assert_non_null(strstr(err.msg, "in use by another process"));
    node_down(&c, 0, false);
    opt.members[0].id = opt.id = 7;
    assert_null(reg_node_start(&opt, &err));
    assert_non_null(strstr(err.msg, "belongs to node 1"));
    opt.members[0].addr.in4.sin_addr.s_addr = htonl(0x0a000001);
    assert_null(reg_node_start(&opt, &err));
    assert_int_equal(err.code, ERR_FORBIDDEN);
    cluster_fini(&c);
}

struct posted {
    struct env_post post;
    void (*fn)(void *ctx);
    void *ctx;
    int done;
};

static void on_posted(struct env_post *p)
{
    struct posted *x = container_of(p, struct posted, post);
    x->fn(x->ctx);
    __atomic_store_n(&x->done, 1, __ATOMIC_RELEASE);
}

/* Runs fn on env's thread. */
static void run_on(struct env *env, void (*fn)(void *), void *ctx)
{
    struct posted x = {.post.fn = on_posted, .fn = fn, .ctx = ctx};
    env_post(env, &x.post);
    WAIT_FOR(__atomic_load_n(&x.done, __ATOMIC_ACQUIRE));
}

/* Damaged directories. */

static void damage(const char *dir, const char *name, off_t at, size_t n)
{
    char path[256], junk[4096];
    memset(junk, 0xA5, sizeof(junk));
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "r+");
    wf_assert(f && n <= sizeof(junk));
    wf_assert(fseek(f, at, SEEK_SET) == 0 && fwrite(junk, 1, n, f) == n);
    fclose(f);
}

/* New directories; the old ones are named in old. */
static void begin_anew(struct cluster *c, char old[][64])
{
    for (size_t i = 0; i < c->n; i++) {
        snprintf(old[i], sizeof(old[i]), "%s", c->dir[i]);
        test_dir_make(c->dir[i]);
    }
}

static void put_many(struct cluster *c, const char *what, int n)
{
    for (int i = 0; i < n; i++) {
        char key[64];
        snprintf(key, sizeof(key), "services/default/%s-%d", what, i);
        must_put(c, 0, key, what);
    }
}

static bool has_peer(struct cluster *c, size_t i)
{
    struct reg_status s;
    reg_node_status(c->node[i], &s);
    for (size_t k = 0; k < s.member_count; k++)
        if (k != i && s.members[k].connected)
            return true;
    return false;
}

/* Wrong: a data directory of another cluster of the same members joins, and the nodes differ for
 * ever: a shorter history, or a longer one. */
static void another_history_stays_out(void **state)
{
    (void)state;
    static const struct {
        int old, new;
    } cases[] = {{3, 40}, {40, 3}};
    for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
        struct cluster c;
        char old[REG_NODES_MAX][64], mine[64];
        cluster_init(&c, 3);
        cluster_up(&c);
        put_many(&c, "old", cases[k].old);
        WAIT_FOR(value_is(&c, 2, "services/default/old-0", "old"));
        for (size_t i = 0; i < 3; i++)
            node_down(&c, i, false);
        begin_anew(&c, old);
        cluster_up(&c);
        put_many(&c, "new", cases[k].new);
        WAIT_FOR(value_is(&c, 2, "services/default/new-0", "new"));
        node_down(&c, 2, false);
        memcpy(mine, c.dir[2], sizeof(mine));
        memcpy(c.dir[2], old[2], sizeof(mine));
        must_up(&c, 2);
        /* Time for some elections, in which the two others work on. */
        for (uint64_t until = test_now_ms() + 2000; test_now_ms() < until;)
            put_many(&c, "more", 1);
        assert_false(has_peer(&c, 2));
        assert_true(value_is(&c, 2, "services/default/old-0", "old"));
        assert_false(value_is(&c, 2, "services/default/new-0", "new"));
        assert_false(value_is(&c, 0, "services/default/old-0", "old"));
        assert_true(value_is(&c, 0, "services/default/new-0", "new"));
        node_down(&c, 2, false);
        memcpy(c.dir[2], mine, sizeof(mine));
        must_up(&c, 2);
        WAIT_FOR(value_is(&c, 2, "services/default/more-0", "more"));
        cluster_fini(&c);
        for (size_t i = 0; i < 3; i++)
            test_dir_remove(old[i]);
    }
}

/* Wrong: a node that was alone goes on alone when it is told to be one of three. */
static void another_size_is_refused(void **state)
{
    (void)state;
    struct cluster c;
    struct err err = {0};
    cluster_init(&c, 3);
    c.opt.member_count = 1;
    must_up(&c, 0);
    must_put(&c, 0, "services/default/a", "1");
    node_down(&c, 0, false);
    c.opt.member_count = 3;
    assert_false(node_up(&c, 0, &err));
    assert_non_null(strstr(err.msg, "was made for a cluster of 1, the options name 3 members"));
    c.opt.member_count = 1;
    must_up(&c, 0);
    assert_true(value_is(&c, 0, "services/default/a", "1"));
    cluster_fini(&c);
}

static void a_damaged_store_is_rebuilt_from_the_log(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, 1);
    cluster_up(&c);
    for (int i = 0; i < 50; i++) {
        char key[64];
        snprintf(key, sizeof(key), "services/default/k%d", i);
        must_put(&c, 0, key, "v");
    }
    node_down(&c, 0, false);
    damage(c.dir[0], "store/data.mdb", 0, 4096);
    damage(c.dir[0], "store/data.mdb", 4096, 4096);
    must_up(&c, 0);
    WAIT_FOR(value_is(&c, 0, "services/default/k49", "v"));
    assert_true(value_is(&c, 0, "services/default/k0", "v"));
    cluster_fini(&c);
}

static void a_damaged_store_is_rebuilt_from_the_checkpoint(void **state)
{
    (void)state;
    struct cluster c;
    struct reg_status s;
    char *big = malloc(50001);
    memset(big, 'b', 50000);
    big[50000] = 0;
    cluster_init(&c, 1);
    c.opt.snapshot_log_bytes = 512u << 10;
    c.opt.segment_bytes = 128u << 10;
    cluster_up(&c);
    must_put(&c, 0, "services/default/first", "1");
    do {
        must_put(&c, 0, "services/default/big", big);
        reg_node_status(c.node[0], &s);
    } while (s.applied_index < 200);
    must_put(&c, 0, "services/default/last", "2");
    assert_true(s.log_bytes < 4u << 20); /* what is before was cut away */
    node_down(&c, 0, false);
    damage(c.dir[0], "store/data.mdb", 0, 4096);
    damage(c.dir[0], "store/data.mdb", 4096, 4096);
    must_up(&c, 0);
    WAIT_FOR(value_is(&c, 0, "services/default/last", "2"));
    assert_true(value_is(&c, 0, "services/default/first", "1"));
    free(big);
    cluster_fini(&c);
}

static void must_not_start(struct cluster *c, const char *why)
{
    struct err err = {0};
    assert_false(node_up(c, 0, &err));
    if (!strstr(err.msg, why))
        fail_msg("%s", err.msg);
    assert_int_equal(err.code, ERR_CORRUPT);
}

static off_t last_byte_of(const char *path)
{
    off_t at = 0, last = 0;
    FILE *f = fopen(path, "r");
    wf_assert(f);
    for (int c; (c = getc(f)) != EOF; at++)
        if (c)
            last = at;
    fclose(f);
    return last;
}

#define FIRST_SEGMENT "log/0000000000000001.log"

/* What a voter has acknowledged and forgotten makes a majority into none. */
static void a_node_that_forgot_does_not_start(void **state)
{
    (void)state;
    struct cluster c;
    char path[256];
    cluster_init(&c, 1);
    cluster_up(&c);
    must_put(&c, 0, "services/default/a", "1");
    must_put(&c, 0, "services/default/a", "2");
    node_down(&c, 0, false);
    snprintf(path, sizeof(path), "%s/%s", c.dir[0], FIRST_SEGMENT);
    /* The last group could be a torn tail, if the store had not applied it. */
    damage(c.dir[0], FIRST_SEGMENT, last_byte_of(path) - 8, 8);
    must_not_start(&c, "acknowledged entries are lost");
    damage(c.dir[0], FIRST_SEGMENT, 64 + 60, 8);
    must_not_start(&c, "is damaged");
    assert_int_equal(unlink(path), 0);
    must_not_start(&c, "acknowledged entries are lost");
    damage(c.dir[0], "meta", 20, 4);
    must_not_start(&c, "term and vote are damaged");
    cluster_fini(&c);
}

static void a_port_in_use_is_named(void **state)
{
    (void)state;
    struct cluster c;
    struct err err = {0};
    cluster_init(&c, 3);
    cluster_up(&c);
    struct reg_node_options opt = c.opt;
    char dir[TEST_DIR];
    test_dir_make(dir);
    opt.dir = dir;
    opt.id = 1;
    assert_null(reg_node_start(&opt, &err));
    assert_non_null(strstr(err.msg, "Address already in use"));
    test_dir_remove(dir);
    cluster_fini(&c);
}

/* The leader believes that a checkpoint is on its way; the receiver has died with it. */
static void a_node_that_dies_while_it_fetches_gets_it_again(void **state)
{
    struct cluster c;
    struct reg_status s;
    char *big = malloc(400001);
    memset(big, 'b', 400000);
    big[400000] = 0;
    cluster_begin(&c, 3, state);
    c.opt.snapshot_log_bytes = 4u << 20;
    c.opt.segment_bytes = 1u << 20;
    cluster_up(&c);
    size_t leader = wait_leader(&c), late = (leader + 1) % 3;
    must_put(&c, leader, "services/default/first", "1");
    node_down(&c, late, true);
    for (int i = 0; i < 100; i++) {
        char key[64];
        snprintf(key, sizeof(key), "services/default/k%d", i);
        must_put(&c, leader, key, big);
    }
    for (int k = 0; k < 3; k++) { /* dies at different points of the transfer */
        must_up(&c, late);
        WAIT_FOR((reg_node_status(c.node[late], &s), s.members[leader].connected));
        usleep((useconds_t)(k * 20000));
        node_down(&c, late, true);
        must_put(&c, leader, "services/default/between", "x");
    }
    must_up(&c, late);
    reg_rev last = must_put(&c, leader, "services/default/last", "2");
    WAIT_FOR(applied_of(&c, late) >= last);
    assert_true(value_is(&c, late, "services/default/k99", big));
    free(big);
    cluster_fini(&c);
}

static bool exists_in(struct cluster *c, size_t i, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", c->dir[i], name);
    return access(path, F_OK) == 0;
}

struct standing {
    struct reg_node *node;
    enum guard_standing is;
};

static void read_standing(void *ctx)
{
    struct standing *s = ctx;
    s->is = s->node->guard.standing;
}

static bool is_member(struct reg_node *node)
{
    struct standing s = {.node = node};
    run_on(node->env, read_standing, &s);
    return s.is == GUARD_MEMBER;
}

static void wipe(struct cluster *c, size_t i)
{
    test_dir_remove(c->dir[i]);
    wf_assert(mkdir(c->dir[i], 0700) == 0);
}

static void damage_log(struct cluster *c, size_t i)
{
    damage(c->dir[i], FIRST_SEGMENT, 64 + 60, 8);
}

static void damage_end_of_log(struct cluster *c, size_t i)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/" FIRST_SEGMENT, c->dir[i]);
    damage(c->dir[i], FIRST_SEGMENT, last_byte_of(path) - 8, 8);
}

static void damage_meta(struct cluster *c, size_t i)
{
    damage(c->dir[i], "meta", 20, 4);
}

static void damage_everything(struct cluster *c, size_t i)
{
    damage_log(c, i);
    damage_meta(c, i);
}

/* Wrong: somebody has to come and move a directory. Three times; a disk that goes on is no disk. */
static void damaged_data_is_put_aside(void **state)
{
    (void)state;
    static void (*const damages[])(struct cluster * c, size_t i) = {damage_log, damage_end_of_log,
                                                                    damage_meta, damage_everything};
    struct cluster c;
    char aside[32];
    struct err err = {0};
    cluster_init(&c, 3);
    cluster_up(&c);
    size_t hurt = (wait_leader(&c) + 1) % 3, other = (hurt + 1) % 3;
    for (size_t k = 0; k < ARRAY_LEN(damages); k++) {
        reg_rev rev = must_put(&c, other, "services/default/a", k % 2 ? "odd" : "even");
        WAIT_FOR(applied_of(&c, hurt) >= rev);
        node_down(&c, hurt, true);
        damages[k](&c, hurt);
        snprintf(aside, sizeof(aside), "quarantine-%zu/log", k + 1);
        if (k == NODE_QUARANTINES_MAX)
            break;
        must_up(&c, hurt);
        assert_true(exists_in(&c, hurt, aside));
        WAIT_FOR(is_member(c.node[hurt]));
        WAIT_FOR(applied_of(&c, hurt) >= rev);
        assert_true(value_is(&c, hurt, "services/default/a", k % 2 ? "odd" : "even"));
    }
    assert_false(node_up(&c, hurt, &err));
    assert_non_null(strstr(err.msg, "this disk damaged what it held 3 times"));
    assert_int_equal(err.code, ERR_CORRUPT);
    assert_false(exists_in(&c, hurt, aside));
    cluster_fini(&c);
}

struct member_call {
    struct reg_member_change c;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
};

static void on_member_changed(struct reg_member_change *c)
{
    struct member_call *m = container_of(c, struct member_call, c);
    pthread_mutex_lock(&m->lock);
    m->done = true;
    pthread_cond_signal(&m->cond);
    pthread_mutex_unlock(&m->lock);
}

static enum err_code change(struct cluster *c, size_t at, enum reg_member_change_kind kind,
                            const struct reg_member *member, char msg[ERR_MSG_BYTES])
{
    struct member_call m = {.c = {.kind = kind,
                                  .member = *member,
                                  .env = env_thread_env(c->client),
                                  .fn = on_member_changed}};
    pthread_mutex_init(&m.lock, NULL);
    pthread_cond_init(&m.cond, NULL);
    reg_member_change(c->node[at], &m.c);
    pthread_mutex_lock(&m.lock);
    while (!m.done)
        pthread_cond_wait(&m.cond, &m.lock);
    pthread_mutex_unlock(&m.lock);
    snprintf(msg, ERR_MSG_BYTES, "%s", m.c.err.msg);
    return m.c.err.code;
}

static size_t member_count(struct cluster *c, size_t i)
{
    struct reg_status s;
    reg_node_status(c->node[i], &s);
    return s.member_count;
}

/* A fourth node comes, leads, and one of the first goes; each asked for at a node that does not
 * lead, and all the while the cluster is written to. */
static void members_come_and_go(void **state)
{
    (void)state;
    struct cluster c;
    char msg[ERR_MSG_BYTES];
    cluster_init(&c, 3);
    cluster_up(&c);
    size_t follower = (wait_leader(&c) + 1) % 3;
    must_put_everywhere(&c, follower, "services/default/a", "1");
    struct reg_member fourth = c.opt.members[0];
    fourth.id = reg_member_new_id(c.node[0]->env);
    snprintf(fourth.name, sizeof(fourth.name), "n4");
    assert_int_equal(change(&c, follower, REG_MEMBER_ADD, &fourth, msg), ERR_CONFLICT);
    env_addr_set_port(&fourth.addr, test_free_port());
    assert_int_equal(change(&c, follower, REG_MEMBER_ADD, &fourth, msg), ERR_NONE);
    assert_int_equal(change(&c, follower, REG_MEMBER_ADD, &fourth, msg), ERR_NONE);

    struct reg_node_options opt = c.opt;
    opt.newcomer = true;
    opt.cluster = reg_node_cluster(c.node[0]);
    opt.members[opt.member_count++] = fourth;
    opt.id = fourth.id;
    opt.dir = c.dir[3];
    test_dir_make(c.dir[3]);
    struct err err = {0};
    c.node[3] = reg_node_start(&opt, &err);
    assert_non_null(c.node[3]);
    c.n = 4;
    reg_rev rev = must_put(&c, follower, "services/default/b", "2");
    WAIT_FOR(applied_of(&c, 3) >= rev);
    assert_int_equal(change(&c, 3, REG_MEMBER_PROMOTE, &fourth, msg), ERR_NONE);
    assert_int_equal(change(&c, follower, REG_MEMBER_LEAD, &fourth, msg), ERR_NONE);
    assert_int_equal(wait_leader(&c), 3);
    must_put_everywhere(&c, 3, "services/default/c", "3");

    size_t gone = follower;
    size_t left = (gone + 1) % 3;
    WAIT_FOR(member_count(&c, left) == 4);
    assert_int_equal(change(&c, left, REG_MEMBER_REMOVE, &c.opt.members[gone], msg), ERR_NONE);
    node_down(&c, gone, true);
    must_put(&c, left, "services/default/d", "4");
    struct reg_member stranger = {.id = 4711};
    assert_int_equal(change(&c, left, REG_MEMBER_PROMOTE, &stranger, msg), ERR_NOT_FOUND);
    node_down(&c, 3, false);
    c.node[3] = reg_node_start(&opt, &err); /* as weftd does: it was a newcomer once */
    assert_non_null(c.node[3]);
    rev = must_put(&c, left, "services/default/e", "5");
    WAIT_FOR(applied_of(&c, 3) >= rev);
    assert_true(value_is(&c, 3, "services/default/a", "1"));
    WAIT_FOR(member_count(&c, 3) == 3);
    cluster_fini(&c);
}

/* A new node, added through `at` and promoted, at place i of the cluster. */
static void member_come(struct cluster *c, size_t i, size_t at)
{
    char msg[ERR_MSG_BYTES];
    struct err err = {0};
    struct reg_node_options opt = c->opt;
    struct reg_member m = c->opt.members[0];
    m.id = reg_member_new_id(c->node[at]->env);
    snprintf(m.name, sizeof(m.name), "n%zu", i + 1);
    env_addr_set_port(&m.addr, test_free_port());
    assert_int_equal(change(c, at, REG_MEMBER_ADD, &m, msg), ERR_NONE);
    opt.newcomer = true;
    opt.cluster = reg_node_cluster(c->node[at]);
    opt.members[opt.member_count++] = m;
    opt.id = m.id;
    opt.dir = c->dir[i];
    test_dir_make(c->dir[i]);
    c->node[i] = reg_node_start(&opt, &err);
    assert_non_null(c->node[i]);
    c->n = i + 1;
    WAIT_FOR(change(c, at, REG_MEMBER_PROMOTE, &m, msg) == ERR_NONE);
}

struct snapshot_try {
    struct reg_node *node;
    int rc;
};

static void try_snapshot(void *ctx)
{
    struct snapshot_try *t = ctx;
    struct raft_buffer *bufs = NULL;
    unsigned n = 0;
    t->rc = t->node->fsm.snapshot(&t->node->fsm, &bufs, &n);
    for (unsigned i = 0; i < n; i++)
        raft_free(bufs[i].base);
    raft_free(bufs);
}

/* Wrong: a node that starts, and hears bit by bit what is committed, makes a snapshot of an entry
 * before the members that its store knows of; nobody takes such a one, and who needs it stays
 * behind. */
static void no_snapshot_of_what_is_applied_again(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, 3);
    cluster_up(&c);
    size_t one = (wait_leader(&c) + 1) % 3;
    member_come(&c, 3, one);
    must_put_everywhere(&c, one, "services/default/a", "1");
    for (size_t i = 0; i < 4; i++)
        node_down(&c, i, false);
    must_up(&c, one);
    struct snapshot_try t = {.node = c.node[one]};
    run_on(c.node[one]->env, try_snapshot, &t);
    assert_int_equal(t.rc, RAFT_BUSY);
    must_up(&c, (one + 1) % 3);
    must_up(&c, (one + 2) % 3);
    must_put(&c, one, "services/default/a", "2");
    t.node = c.node[one];
    run_on(c.node[one]->env, try_snapshot, &t);
    assert_int_equal(t.rc, 0);
    cluster_fini(&c);
}

/* Wrong: the last of those that the cluster began with puts damaged data aside and finds nobody:
 * its options name members that are gone, and it lets in no others. */
static void the_last_founder_finds_the_others(void **state)
{
    (void)state;
    struct cluster c;
    char msg[ERR_MSG_BYTES];
    cluster_init(&c, 3);
    cluster_up(&c);
    wait_leader(&c);
    member_come(&c, 3, 0);
    member_come(&c, 4, 0);
    for (size_t gone = 1; gone <= 2; gone++) {
        WAIT_FOR(change(&c, 3, REG_MEMBER_REMOVE, &c.opt.members[gone], msg) == ERR_NONE);
        node_down(&c, gone, true);
    }
    WAIT_FOR(member_count(&c, 0) == 3);
    reg_rev rev = must_put(&c, 3, "services/default/a", "1");
    WAIT_FOR(applied_of(&c, 0) >= rev);
    node_down(&c, 0, true);
    damage_log(&c, 0);
    must_up(&c, 0);
    assert_true(exists_in(&c, 0, "quarantine-1/log"));
    WAIT_FOR(is_member(c.node[0]));
    WAIT_FOR(value_is(&c, 0, "services/default/a", "1")); /* it votes before it has applied all */
    /* It is a hint: whose data is sound does without. */
    rev = must_put(&c, 0, "services/default/a", "2");
    WAIT_FOR(applied_of(&c, 4) >= rev);
    node_down(&c, 0, false);
    damage(c.dir[0], "members", 12, 4);
    must_up(&c, 0);
    rev = must_put(&c, 0, "services/default/a", "3");
    cluster_fini(&c);
}

/* Wrong: a newcomer that puts its data aside, and ends before it has written that it did, begins as
 * one that is new, and votes with a log that lacks what it acknowledged. */
static void a_quarantine_that_was_cut_short(void **state)
{
    (void)state;
    struct cluster c;
    char aside[NAME_MAX + 1];
    struct err err = {0};
    cluster_init(&c, 3);
    cluster_up(&c);
    wait_leader(&c);
    member_come(&c, 3, 0);
    must_put_everywhere(&c, 0, "services/default/a", "1");
    struct reg_node_options opt = c.node[3]->opt;
    opt.dir = c.dir[3];
    node_down(&c, 3, true);
    assert_true(node_put_aside(env_thread_env(c.client), c.dir[3], "quarantine-", 1, aside, &err));
    c.node[3] = reg_node_start(&opt, &err);
    assert_non_null(c.node[3]);
    assert_int_equal(c.node[3]->birth, RAFTIO_AGAIN);
    WAIT_FOR(is_member(c.node[3]));
    WAIT_FOR(value_is(&c, 3, "services/default/a", "1"));
    cluster_fini(&c);
}

/* With one of the others away, nobody can say what the wiped node promised: A alone with it is no
 * majority. */
static void a_wiped_node_is_no_voter_until_all_have_spoken(void **state)
{
    (void)state;
    struct cluster c;
    struct reg_write w;
    cluster_init(&c, 3);
    cluster_up(&c);
    size_t a = wait_leader(&c), wiped = (a + 1) % 3, away = (a + 2) % 3;
    reg_rev rev = must_put(&c, a, "services/default/a", "1");
    WAIT_FOR(applied_of(&c, away) >= rev && applied_of(&c, wiped) >= rev);
    node_down(&c, wiped, true);
    node_down(&c, away, true);
    wipe(&c, wiped);
    must_up(&c, wiped);
    struct reg_status s;
    WAIT_FOR((reg_node_status(c.node[a], &s), s.members[wiped].connected));
    assert_int_not_equal(
        put_expect(&c, a, S("services/default/a"), S("2"), REG_EXPECT_ANY, 0, 2000, &w), ERR_NONE);
    must_up(&c, away);
    must_put(&c, a, "services/default/a", "3");
    WAIT_FOR(value_is(&c, wiped, "services/default/a", "3"));
    /* It votes again: with it and without another the cluster goes on. */
    WAIT_FOR(is_member(c.node[wiped]));
    node_down(&c, a, true);
    must_put(&c, wiped, "services/default/a", "4");
    node_down(&c, wiped, false);
    must_up(&c, wiped); /* and remembers that it does */
    must_put(&c, wiped, "services/default/a", "5");
    cluster_fini(&c);
}

/* Messages, watches. */

struct inbox {
    pthread_mutex_t lock;
    int from[4], down[4];
    char last[64];
};

static void on_message(void *ctx, uint64_t from, struct slice bytes)
{
    struct inbox *in = ctx;
    pthread_mutex_lock(&in->lock);
    in->from[from]++;
    slice_cstr(bytes, in->last, sizeof(in->last));
    pthread_mutex_unlock(&in->lock);
}

static void on_peer_down(void *ctx, uint64_t peer)
{
    struct inbox *in = ctx;
    __atomic_add_fetch(&in->down[peer], 1, __ATOMIC_RELAXED);
}

static void on_leader(void *ctx)
{
    __atomic_add_fetch((int *)ctx, 1, __ATOMIC_RELAXED);
}

static int inbox_from(struct inbox *in, int from)
{
    pthread_mutex_lock(&in->lock);
    int n = in->from[from];
    pthread_mutex_unlock(&in->lock);
    return n;
}

static void messages_reach_the_others_and_a_loss_is_told(void **state)
{
    struct cluster c;
    struct inbox in[3] = {0};
    struct reg_status s;
    cluster_begin(&c, 3, state);
    cluster_up(&c);
    for (size_t i = 0; i < 3; i++) {
        pthread_mutex_init(&in[i].lock, NULL);
        reg_receive(c.node[i], REG_CHANNEL_CONVERGENCE, env_thread_env(c.client), on_message,
                    on_peer_down, &in[i]);
    }
    wait_leader(&c);
    for (size_t i = 0; i < 3; i++)
        WAIT_FOR((reg_node_status(c.node[i], &s),
                  s.members[0].connected && s.members[1].connected && s.members[2].connected));
    reg_send(c.node[0], 0, REG_CHANNEL_CONVERGENCE, S("to all"));
    reg_send(c.node[0], 3, REG_CHANNEL_CONVERGENCE, S("to the third"));
    reg_send(c.node[0], 3, REG_CHANNEL_CALL, S("nobody listens"));
    WAIT_FOR(inbox_from(&in[1], 1) == 1 && inbox_from(&in[2], 1) == 2);
    assert_string_equal(in[2].last, "to the third");
    assert_int_equal(inbox_from(&in[0], 1), 0);
    node_down(&c, 0, true);
    WAIT_FOR(__atomic_load_n(&in[2].down[1], __ATOMIC_RELAXED) > 0);
    cluster_fini(&c);
    for (size_t i = 0; i < 3; i++)
        pthread_mutex_destroy(&in[i].lock);
}

/* A node whose raft thread does nothing: its connections stay open, as of a stopped process. */
struct freeze {
    struct env_post post;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool frozen;
};

static void on_freeze(struct env_post *post)
{
    struct freeze *f = container_of(post, struct freeze, post);
    pthread_mutex_lock(&f->lock);
    while (f->frozen)
        pthread_cond_wait(&f->cond, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

static void thaw(struct freeze *f)
{
    pthread_mutex_lock(&f->lock);
    f->frozen = false;
    pthread_cond_signal(&f->cond);
    pthread_mutex_unlock(&f->lock);
}

static bool is_connected(struct cluster *c, size_t at, size_t member)
{
    struct reg_status s;
    reg_node_status(c->node[at], &s);
    return s.members[member].connected;
}

static bool all_see(struct cluster *c, size_t member, bool connected)
{
    for (size_t i = 0; i < c->n; i++)
        if (i != member && is_connected(c, i, member) != connected)
            return false;
    return true;
}

static void a_node_that_hangs_is_not_connected(void **state)
{
    (void)state;
    struct cluster c;
    struct freeze f = {.post.fn = on_freeze,
                       .lock = PTHREAD_MUTEX_INITIALIZER,
                       .cond = PTHREAD_COND_INITIALIZER,
                       .frozen = true};
    cluster_init(&c, 4);
    cluster_up(&c);
    size_t hung = (wait_leader(&c) + 1) % 4;
    for (size_t i = 0; i < 4; i++)
        WAIT_FOR(all_see(&c, i, true));
    env_post(c.node[hung]->env, &f.post);
    WAIT_FOR(all_see(&c, hung, false)); /* Wrong: connected for ever, as its sockets are */
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 4; k++) /* Wrong: two followers that live take each other for dead */
            if (i != hung && k != hung && !is_connected(&c, i, k))
                fail_msg("node %zu takes node %zu for silent", i + 1, k + 1);
    thaw(&f);
    WAIT_FOR(all_see(&c, hung, true));
    cluster_fini(&c);
}

struct watch_arg {
    struct reg_leader_watch *w;
};

static void close_watch(void *ctx)
{
    struct watch_arg *a = ctx;
    reg_leader_watch_close(a->w);
}

static void a_watch_tells_of_new_leaders(void **state)
{
    (void)state;
    struct cluster c;
    struct reg_status s;
    int changes = 0;
    cluster_init(&c, 3);
    cluster_up(&c);
    size_t leader = wait_leader(&c), other = (leader + 1) % 3;
    must_put_everywhere(&c, other, "services/default/a", "1");
    WAIT_FOR((reg_node_status(c.node[other], &s), s.leader_id == leader + 1));
    struct watch_arg a = {
        .w = reg_leader_watch_open(c.node[other], env_thread_env(c.client), on_leader, &changes)};
    uint64_t before = s.leader_changes;
    node_down(&c, leader, true);
    WAIT_FOR(__atomic_load_n(&changes, __ATOMIC_RELAXED) > 0);
    WAIT_FOR((reg_node_status(c.node[other], &s), s.leader_changes > before && s.quorum));
    run_on(env_thread_env(c.client), close_watch, &a);
    cluster_fini(&c);
}

#ifdef __SANITIZE_THREAD__
/* libuv closes descriptors by a raw system call, which the sanitizer does not see: it takes the
 * next owner of the number for a second user of the first. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:epoll_create1\nrace:uv_loop_init\nrace:store_temporary\nrace:uv_dir_sync\n";
}
#endif

/* Wrong: a member that was removed stays connected. */
static void remove_last(void *ctx)
{
    struct reg_node *n = ctx;
    struct peer_member left[2];
    memcpy(left, n->io.members, sizeof(left));
    raftio_set_members(&n->io, left, 2);
}

static void a_removed_member_is_cut(void **state)
{
    struct cluster c;
    cluster_begin(&c, 3, state);
    cluster_up(&c);
    must_put_everywhere(&c, wait_leader(&c), "services/default/a", "1");
    WAIT_FOR(has_peer(&c, 2));
    uint64_t t0 = test_now_ms();
    run_on(c.node[0]->env, remove_last, c.node[0]);
    run_on(c.node[1]->env, remove_last, c.node[1]);
    WAIT_FOR(!has_peer(&c, 2));
    assert_true(test_now_ms() - t0 < 1000);
    must_put(&c, 0, "services/default/a", "2");
    assert_true(value_is(&c, 2, "services/default/a", "1"));
    assert_false(has_peer(&c, 2));
    cluster_fini(&c);
}

/* Wrong: peers of other addresses speak without TLS, or with the certificate of another node. */
static void certificates_decide_where_peers_may_be(void **state)
{
    struct cluster c;
    struct err err = {0};
    cluster_begin(&c, 1, state);
    struct reg_node_options opt = c.opt;
    opt.dir = c.dir[0];
    opt.id = 1;
    assert_true(env_addr_parse(&opt.members[0].addr, S("0.0.0.0:0"), &err));
    assert_null(reg_node_start(&opt, &err));
    assert_int_equal(err.code, ERR_FORBIDDEN);
    assert_non_null(strstr(err.msg, "weftd init"));
    opt.peer_tls_dir = c.tls[0];
    struct reg_node *n = reg_node_start(&opt, &err);
    assert_non_null(n);
    reg_node_stop(n);
    opt.members[0].id = opt.id = 2;
    assert_null(reg_node_start(&opt, &err));
    assert_non_null(strstr(err.msg, "has the certificate of node 1, this is node 2"));
    opt.peer_tls_dir = c.dir[0];
    assert_null(reg_node_start(&opt, &err));
    assert_non_null(strstr(err.msg, "node.crt"));
    cluster_fini(&c);
}

struct asking {
    struct reg_node *n;
    uint64_t from;
    size_t queued, refused;
};

/* In one go, so that no round comes in between. */
static void ask_without_end(void *ctx)
{
    struct asking *a = ctx;
    uint64_t refused = a->n->reads_refused;
    for (uint64_t id = 1; id <= NODE_READ_ASKS_MAX + 10; id++) {
        struct frame f = {.type = FRAME_READ_INDEX,
                          .from = a->from,
                          .term = a->n->raft.current_term,
                          .payload = slice_mem(&id, sizeof(id))};
        node_read_on_frame(a->n, a->from, &f);
    }
    LIST_EACH (&a->n->reads_next, node)
        a->queued += container_of(node, struct node_read, node)->from == a->from;
    a->refused = a->n->reads_refused - refused;
}

/* Wrong: a member that asks and asks makes the leader remember all of it. */
static void a_member_that_asks_without_end_is_refused(void **state)
{
    struct cluster c;
    struct call call = {.w = {.timeout = CLUSTER_WAIT_MS}};
    cluster_begin(&c, 3, state);
    cluster_up(&c);
    size_t leader = wait_leader(&c), other = (leader + 1) % 3;
    must_put_everywhere(&c, leader, "services/default/a", "1");
    struct asking a = {.n = c.node[leader], .from = c.node[other]->opt.id};
    run_on(c.node[leader]->env, ask_without_end, &a);
    assert_true(a.queued <= NODE_READ_ASKS_MAX);
    assert_true(a.queued > NODE_READ_ASKS_MAX / 2);
    assert_true(a.refused >= 10);
    call_begin(&c, &call); /* and it is answered afterwards */
    reg_read_index(c.node[other], &call.w);
    call_wait(&call);
    assert_int_equal(call.w.err.code, ERR_NONE);
    cluster_fini(&c);
}

int main(void)
{
#define BOTH(name) cmocka_unit_test(name), cmocka_unit_test_prestate(name, &with_tls)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_node_writes_and_restarts),
        cmocka_unit_test(what_a_write_takes_is_measured),
        cmocka_unit_test(refusals_say_which_and_why),
        cmocka_unit_test(a_follower_reads_its_own_write),
        cmocka_unit_test(read_index_sees_all_that_was_acknowledged),
        cmocka_unit_test(read_index_asks_again_after_a_pause),
        cmocka_unit_test(a_node_knows_how_fresh_it_is),
        BOTH(writes_go_on_after_the_leader_dies),
        cmocka_unit_test(without_quorum_the_answer_is_quick_and_says_so),
        BOTH(a_write_counts_once_while_leaders_change),
        BOTH(a_late_node_catches_up_by_checkpoint),
        cmocka_unit_test(a_leader_hands_over_when_it_stops),
        cmocka_unit_test(a_directory_serves_one_node_only),
        cmocka_unit_test(another_history_stays_out),
        cmocka_unit_test(another_size_is_refused),
        cmocka_unit_test(a_damaged_store_is_rebuilt_from_the_log),
        cmocka_unit_test(a_damaged_store_is_rebuilt_from_the_checkpoint),
        cmocka_unit_test(a_node_that_forgot_does_not_start),
        cmocka_unit_test(a_port_in_use_is_named),
        cmocka_unit_test_prestate(a_node_that_dies_while_it_fetches_gets_it_again, &with_tls),
        cmocka_unit_test(members_come_and_go),
        cmocka_unit_test(the_last_founder_finds_the_others),
        cmocka_unit_test(no_snapshot_of_what_is_applied_again),
        cmocka_unit_test(a_quarantine_that_was_cut_short),
        cmocka_unit_test(damaged_data_is_put_aside),
        cmocka_unit_test(a_wiped_node_is_no_voter_until_all_have_spoken),
        BOTH(messages_reach_the_others_and_a_loss_is_told),
        cmocka_unit_test(a_node_that_hangs_is_not_connected),
        cmocka_unit_test(a_watch_tells_of_new_leaders),
        BOTH(a_removed_member_is_cut),
        cmocka_unit_test(a_member_that_asks_without_end_is_refused),
        cmocka_unit_test_prestate(certificates_decide_where_peers_may_be, &with_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
