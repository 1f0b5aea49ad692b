/* If these fail, damage to the newest checkpoint loses what the older one and the log hold. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <glob.h>

#include "registry/node_test_util.h"
#include "registry/restore.h"
#include "registry/survivor.h"

/* One node: nobody could give it what it lost. Checkpoints each half MiB of log. */
static void begin(struct cluster *c)
{
    cluster_init(c, 1);
    c->opt.snapshot_log_bytes = 512u << 10;
    c->opt.segment_bytes = 128u << 10;
    cluster_up(c);
}

static size_t checkpoints(struct cluster *c, char newest[256])
{
    glob_t g;
    char pattern[128];
    snprintf(pattern, sizeof(pattern), "%s/ckpt-*.mdb", c->dir[0]);
    size_t n = glob(pattern, 0, NULL, &g) == 0 ? g.gl_pathc : 0;
    if (n)
        snprintf(newest, 256, "%s", strrchr(g.gl_pathv[n - 1], '/') + 1);
    globfree(&g);
    return n;
}

/* Writes until there are two, and one was thrown away; then some more. */
static void write_some(struct cluster *c)
{
    char *big = malloc(50001), name[256] = "", was[256] = "";
    memset(big, 'b', 50000);
    big[50000] = 0;
    must_put(c, 0, "services/default/first", "1");
    for (int seen = 0; seen < 4;) {
        must_put(c, 0, "services/default/big", big);
        size_t n = checkpoints(c, name);
        assert_true(n <= 3); /* the third is new, and the oldest not gone yet */
        seen += n && strcmp(name, was) != 0;
        memcpy(was, name, sizeof(was));
    }
    for (int i = 0; i < 3; i++)
        must_put(c, 0, "services/default/big", big);
    must_put(c, 0, "services/default/last", "2");
    free(big);
}

static void damage_file(struct cluster *c, const char *name)
{
    char path[320];
    snprintf(path, sizeof(path), "%s/%s", c->dir[0], name);
    FILE *f = fopen(path, "r+");
    wf_assert(f);
    fseek(f, 40, SEEK_SET);
    int was = getc(f);
    fseek(f, 40, SEEK_SET);
    putc(was ^ 4, f);
    fclose(f);
}

static void damage_store(struct cluster *c)
{
    char path[320];
    snprintf(path, sizeof(path), "%s/store/mark", c->dir[0]);
    assert_int_equal(unlink(path), 0); /* as after a power cut */
}

static void all_is_there(struct cluster *c)
{
    WAIT_FOR(value_is(c, 0, "services/default/last", "2"));
    assert_true(value_is(c, 0, "services/default/first", "1"));
}

/* The log since the last one is in memory. */
static void little_log_is_enough_when_the_last_is_old(void **state)
{
    (void)state;
    for (int old = 0; old < 2; old++) {
        struct cluster c;
        char newest[256] = "";
        cluster_init(&c, 1);
        c.opt.snapshot_log_bytes = 512u << 10;
        c.opt.segment_bytes = 128u << 10;
        c.opt.snapshot_rest = old ? 200 : 60000;
        cluster_up(&c);
        char *big = malloc(50001);
        memset(big, 'b', 50000);
        big[50000] = 0;
        for (int i = 0; i < 2; i++) /* more than an eighth */
            must_put(&c, 0, "services/default/big", big);
        free(big);
        uint64_t until = test_now_ms() + CLUSTER_WAIT_MS;
        for (int i = 0; !checkpoints(&c, newest) && test_now_ms() < until && (old || i < 500); i++)
            must_put(&c, 0, "services/default/small", "s");
        assert_int_equal(checkpoints(&c, newest), old);
        cluster_fini(&c);
    }
}

static void two_are_kept_and_no_more(void **state)
{
    struct cluster c;
    char newest[256];
    (void)state;
    begin(&c);
    write_some(&c);
    node_down(&c, 0, false);
    must_up(&c, 0);
    assert_int_equal(checkpoints(&c, newest), 2);
    all_is_there(&c);
    cluster_fini(&c);
}

static void a_damaged_newest_falls_back_to_the_one_before(void **state)
{
    /* The file of the newest; its manifest; its manifest is gone. */
    for (int what = 0; what < 3; what++) {
        struct cluster c;
        char newest[256], path[320];
        (void)state;
        begin(&c);
        write_some(&c);
        node_down(&c, 0, false);
        checkpoints(&c, newest);
        snprintf(path, sizeof(path), "%s/snapshot", c.dir[0]);
        if (what == 2)
            assert_int_equal(unlink(path), 0);
        else
            damage_file(&c, what ? "snapshot" : newest);
        damage_store(&c);
        must_up(&c, 0);
        all_is_there(&c);
        must_put(&c, 0, "services/default/last", "3");
        node_down(&c, 0, false); /* and what it falls back to is the newest from now on */
        must_up(&c, 0);
        WAIT_FOR(value_is(&c, 0, "services/default/last", "3"));
        cluster_fini(&c);
    }
}

/* The damage is in the newest alone, and the store is whole: nothing is lost, and the next start
 * has two again. */
static void a_damaged_manifest_beside_a_good_store(void **state)
{
    struct cluster c;
    (void)state;
    begin(&c);
    write_some(&c);
    node_down(&c, 0, false);
    damage_file(&c, "snapshot");
    must_up(&c, 0);
    all_is_there(&c);
    write_some(&c);
    all_is_there(&c);
    cluster_fini(&c);
}

static void with_both_damaged_it_does_not_guess(void **state)
{
    struct cluster c;
    struct err err = {0};
    (void)state;
    begin(&c);
    write_some(&c);
    node_down(&c, 0, false);
    glob_t g;
    char pattern[128];
    snprintf(pattern, sizeof(pattern), "%s/ckpt-*.mdb", c.dir[0]);
    assert_int_equal(glob(pattern, 0, NULL, &g), 0);
    for (size_t i = 0; i < g.gl_pathc; i++)
        damage_file(&c, strrchr(g.gl_pathv[i], '/') + 1);
    globfree(&g);
    damage_store(&c);
    assert_false(node_up(&c, 0, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "hash differs"));
    cluster_fini(&c);
}

/* A crash, or a write that failed, while a checkpoint took its place: the same one is both, and one
 * that would be checked after the other for ever. */
static void the_same_one_twice_is_one(void **state)
{
    struct cluster c;
    char newest[256], from[128], to[128];
    (void)state;
    begin(&c);
    write_some(&c);
    node_down(&c, 0, false);
    snprintf(from, sizeof(from), "%s/snapshot", c.dir[0]);
    snprintf(to, sizeof(to), "%s/snapshot-older", c.dir[0]);
    assert_int_equal(unlink(to), 0);
    assert_int_equal(link(from, to), 0);
    must_up(&c, 0);
    all_is_there(&c);
    assert_int_equal(checkpoints(&c, newest), 1);
    assert_int_equal(access(to, F_OK), -1);
    node_down(&c, 0, false);
    cluster_fini(&c);
}

/* The last node that is left, its newest checkpoint damaged: weftd recover takes the older one. */
static void a_survivor_falls_back_too(void **state)
{
    struct cluster c;
    char newest[256], to[320];
    struct err err = {0};
    struct snapshot_head head;
    (void)state;
    begin(&c);
    write_some(&c);
    node_down(&c, 0, false);
    checkpoints(&c, newest);
    damage_file(&c, newest);
    damage_store(&c);
    struct env *env = env_uv_new(&err);
    snprintf(to, sizeof(to), "%s/out.snap", c.dir[0]);
    struct reg_node_options opt = c.opt;
    opt.dir = c.dir[0];
    opt.id = 1;
    if (!reg_survivor_save(env, &opt, to, &head, &err))
        fail_msg("%s", err.msg);
    assert_true(head.revision > 0);
    env_uv_free(env);
    cluster_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(little_log_is_enough_when_the_last_is_old),
        cmocka_unit_test(two_are_kept_and_no_more),
        cmocka_unit_test(a_damaged_newest_falls_back_to_the_one_before),
        cmocka_unit_test(a_damaged_manifest_beside_a_good_store),
        cmocka_unit_test(with_both_damaged_it_does_not_guess),
        cmocka_unit_test(the_same_one_twice_is_one),
        cmocka_unit_test(a_survivor_falls_back_too),
    };
    return cmocka_run_group_tests_name("node_checkpoint", tests, NULL, NULL);
}
