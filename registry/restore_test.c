/* If these fail, a restored cluster is not what was saved, hands out revisions that the old one may
 * have used, or is made of a file that was damaged. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/env/env_testing.h"
#include "base/env/env_uv.h"
#include "registry/backup.h"
#include "registry/fsm.h"
#include "registry/node_impl.h"
#include "registry/restore.h"
#include "registry/survivor.h"

struct fixture {
    char dir[TEST_DIR], file[96], to[96];
    struct env *env;
    struct reg_node_options node;
};

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct err err = {0};
    test_dir_make(f->dir);
    snprintf(f->file, sizeof(f->file), "%s/weft.snap", f->dir);
    snprintf(f->to, sizeof(f->to), "%s/node", f->dir);
    f->env = env_uv_new(&err);
    f->node = (struct reg_node_options){
        .dir = f->to, .id = 1, .member_count = 1, .members = {{.id = 1, .name = "n1"}}};
    assert_true(env_addr_parse(&f->node.members[0].addr, S("127.0.0.1:7999"), &err));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    env_uv_free(f->env);
    test_dir_remove(f->dir);
    mem_free(f);
    return 0;
}

static void apply(struct reg_store *s, reg_rev index, struct slice key, struct slice value)
{
    struct reg_entry_builder b = {0};
    struct reg_op op = {.key = key, .value = value};
    reg_entry_begin(&b, 1000);
    assert_true(reg_entry_add(
        &b, &(struct reg_request){
                .client = 7, .sequence = index, .settled = index, .op_count = 1, .ops = &op}));
    reg_fsm_apply(s, index, 3, reg_entry_end(&b), NULL, NULL);
    reg_fsm_commit(s, index, 3);
    reg_entry_fini(&b);
}

/* A snapshot file of two objects, index 12. */
static void make_file(struct fixture *f, struct snapshot_head *ret)
{
    char dir[96];
    struct err err = {0};
    struct reg_backup *b = MEM_NEW(struct reg_backup);
    struct buf head = {0};
    snprintf(dir, sizeof(dir), "%s/store", f->dir);
    struct reg_store *s = reg_store_open(
        &(struct reg_store_options){.env = f->env, .dir = dir, .map_bytes = 1 << 20}, &err);
    assert_non_null(s);
    apply(s, 11, S("services/default/a"), S("{\"a\":1}"));
    apply(s, 12, S("services/default/b"), S("{\"b\":2}"));
    assert_true(reg_backup_take(s, b, &err));
    b->head.cluster = 5;
    snapshot_head_encode(&head, &b->head);
    FILE *out = fopen(f->file, "w");
    fwrite(buf_slice(&head).p, 1, head.n, out);
    char chunk[4096];
    for (ssize_t n; (n = read(b->fd, chunk, sizeof(chunk))) > 0;)
        fwrite(chunk, 1, (size_t)n, out);
    fclose(out);
    *ret = b->head;
    buf_fini(&head);
    reg_backup_fini(b);
    mem_free(b);
    reg_store_close(s);
}

static void test_revisions_rise(void **state)
{
    static const struct {
        uint64_t index, above, want;
    } cases[] = {
        {1, 0, RESTORE_REVISION_STEP},
        {RESTORE_REVISION_STEP / 2 - 1, 0, RESTORE_REVISION_STEP},
        {RESTORE_REVISION_STEP / 2, 0, 2 * RESTORE_REVISION_STEP},
        {RESTORE_REVISION_STEP, 0, 2 * RESTORE_REVISION_STEP},
        {1, RESTORE_REVISION_STEP + 1, 2 * RESTORE_REVISION_STEP},
        {RESTORE_REVISION_MAX, 0, 0},
        {RESTORE_REVISION_MAX - RESTORE_REVISION_STEP, 0, 0},
        {1, RESTORE_REVISION_MAX, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(reg_restore_revision(cases[i].index, cases[i].above), cases[i].want);
}

static void test_restores(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct snapshot_head *h = MEM_NEW(struct snapshot_head);
    struct reg_restored *r = MEM_NEW(struct reg_restored);
    struct reg_survivor found;
    make_file(f, h);
    assert_int_equal(h->index, 12);
    assert_int_equal(h->kind_count, 1);
    assert_int_equal(h->kinds[0].objects, 2);
    struct reg_restore_options o = {.env = f->env, .from = f->file, .node = &f->node};
    if (!reg_restore(&o, r, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(r->revision, RESTORE_REVISION_STEP);
    assert_int_equal(r->term, RESTORE_TERM_STEP);
    assert_false(reg_restore(&o, r, &err)); /* not over what is there */
    assert_int_equal(err.code, ERR_EXISTS);
    assert_true(reg_survivor_look(f->env, &f->node, &found, &err));
    assert_int_equal(found.last_index, RESTORE_REVISION_STEP);
    assert_int_equal(found.last_term, RESTORE_TERM_STEP);
    struct snapshot_head *again = MEM_NEW(struct snapshot_head);
    assert_true(reg_survivor_save(f->env, &f->node, f->file, again, &err));
    assert_int_equal(again->revision, RESTORE_REVISION_STEP);
    assert_int_equal(again->compacted, RESTORE_REVISION_STEP - 1);
    assert_int_equal(again->state_hash, h->state_hash);
    assert_int_not_equal(again->genesis, h->genesis);
    assert_int_equal(again->kinds[0].objects, 2);
    mem_free(again);
    mem_free(r);
    mem_free(h);
}

/* Two that restore one file are of one history; above another revision they are not. */
static void test_history_is_of_file_and_revision(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    struct snapshot_head *h = MEM_NEW(struct snapshot_head);
    struct reg_restored *r = MEM_NEW(struct reg_restored);
    uint64_t genesis[3];
    char to[3][96], out[96];
    make_file(f, h);
    for (size_t i = 0; i < 3; i++) {
        snprintf(to[i], sizeof(to[i]), "%s/n%zu", f->dir, i);
        snprintf(out, sizeof(out), "%s/out%zu", f->dir, i);
        f->node.dir = to[i];
        struct reg_restore_options o = {.env = f->env,
                                        .from = f->file,
                                        .node = &f->node,
                                        .above = i == 2 ? RESTORE_REVISION_STEP : 0};
        assert_true(reg_restore(&o, r, &err));
        assert_true(reg_survivor_save(f->env, &f->node, out, h, &err));
        genesis[i] = h->genesis;
    }
    assert_int_equal(genesis[0], genesis[1]);
    assert_int_not_equal(genesis[0], genesis[2]);
    mem_free(r);
    mem_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_revisions_rise),
        cmocka_unit_test_setup_teardown(test_restores, setup, teardown),
        cmocka_unit_test_setup_teardown(test_history_is_of_file_and_revision, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
