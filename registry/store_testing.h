/* A store of its own for a test, and entries as the raft thread would apply them.
 *
 *   struct fixture *f = *state;                 cmocka: setup, teardown
 *   assert_int_equal(put(f, "services/default/a", "1"), ERR_NONE);
 *   store_down(f); store_up(f);                 a restart
 *
 * What cannot be had fails the test. Tests only.
 */
#ifndef WEFT_REGISTRY_STORE_TESTING_H
#define WEFT_REGISTRY_STORE_TESTING_H

#include "base/wire/test.h"

#include <signal.h>
#include <sys/wait.h>

#include "base/env/env_testing.h"
#include "base/env/env_uv.h"
#include "registry/fsm.h"

#define TEST_WALL_MS 1700000000000
#define TEST_CLIENT 7

struct fixture {
    char dir[TEST_DIR], data[TEST_DIR + 16], mark[TEST_DIR + 16], ckpt[TEST_DIR + 16];
    struct env *env;
    struct reg_store_options opt; /* of the next store_up */
    struct reg_store *store;      /* NULL = down */
    reg_rev index;                /* of the last entry */
    uint64_t term;                /* of the leader of the next entries */
    unsigned version;             /* of the next entries; 0 = VERSION_OLDEST */
    struct reg_result last;       /* of the last request */
};

/* Life. */

static inline bool store_opens(struct fixture *f, struct err *err)
{
    f->store = reg_store_open(&f->opt, err);
    return f->store != NULL;
}

static inline void store_up(struct fixture *f)
{
    struct err err = {0};
    if (!store_opens(f, &err))
        fail_msg("%s", err.msg);
}

static inline void store_down(struct fixture *f)
{
    reg_store_close(f->store);
    f->store = NULL;
}

static inline int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct err err = {0};
    test_dir_make(f->dir);
    snprintf(f->data, sizeof(f->data), "%s/data.mdb", f->dir);
    snprintf(f->mark, sizeof(f->mark), "%s/mark", f->dir);
    snprintf(f->ckpt, sizeof(f->ckpt), "%s/ckpt", f->dir);
    f->env = env_uv_new(&err);
    assert_non_null(f->env);
    f->term = 1;
    f->opt = (struct reg_store_options){
        .env = f->env, .dir = f->dir, .map_bytes = 1 << 20, .verify = true};
    store_up(f);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    store_down(f);
    env_uv_free(f->env);
    test_dir_remove(f->dir);
    mem_free(f);
    return 0;
}

/* As after a proper close. */
static inline void mark_clean(const struct fixture *f)
{
    struct err err = {0};
    assert_true(env_file_store(f->env, f->mark, S("clean\n"), &err));
}

/* Entries. */

static inline void keep_result(void *ctx, const struct reg_result *r)
{
    ((struct fixture *)ctx)->last = *r;
}

/* The next entry, of that request alone; without a commit. */
static inline void entry_only(struct fixture *f, const struct reg_request *q)
{
    struct reg_entry_builder b = {.version = f->version, .term = f->term};
    reg_entry_begin(&b, TEST_WALL_MS);
    assert_true(reg_entry_add(&b, q));
    struct slice entry = reg_entry_end(&b);
    assert_int_equal(entry.n % 8, 0);
    f->last = (struct reg_result){0};
    reg_fsm_apply(f->store, ++f->index, f->term, entry, keep_result, f);
    reg_entry_fini(&b);
}

static inline enum err_code apply_request(struct fixture *f, const struct reg_request *q)
{
    entry_only(f, q);
    reg_fsm_commit(f->store, f->index, f->term);
    return f->last.code;
}

static inline enum err_code apply(struct fixture *f, const struct reg_op *ops, size_t n)
{
    uint64_t at = f->index + 1;
    return apply_request(
        f, &(struct reg_request){
               .client = TEST_CLIENT, .sequence = at, .settled = at, .ops = ops, .op_count = n});
}

static inline enum err_code put(struct fixture *f, const char *key, const char *value)
{
    return apply(f, &(struct reg_op){.key = slice_of(key), .value = slice_of(value)}, 1);
}

static inline enum err_code del(struct fixture *f, const char *key)
{
    return apply(f, &(struct reg_op){.del = true, .key = slice_of(key)}, 1);
}

/* Reads. */

static inline void read_begin(struct fixture *f, struct reg_txn *ret)
{
    struct err err = {0};
    if (!reg_txn_begin(f->store, ret, &err))
        fail_msg("%s", err.msg);
}

/* Its beginning, good until the next call; NULL: not there. ret_object may be NULL; what it borrows
 * is gone. */
static inline char *value_of(struct fixture *f, const char *key, struct reg_object *ret_object)
{
    static char text[256];
    struct reg_txn t;
    struct reg_object o;
    read_begin(f, &t);
    bool found = reg_get(&t, slice_of(key), &o);
    if (found)
        snprintf(text, sizeof(text), "%.*s", SLICE(o.value));
    if (found && ret_object)
        *ret_object = o;
    reg_txn_end(&t);
    return found ? text : NULL;
}

static inline bool there(struct fixture *f, const char *key)
{
    return value_of(f, key, NULL) != NULL;
}

/* Ends. */

static inline int in_child(void (*fn)(struct fixture *f), struct fixture *f)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGBUS, SIG_DFL); /* cmocka would go on with the next test */
        signal(SIGSEGV, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        fn(f);
        _exit(0); /* as if it had been killed */
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* fn, in a process of its own, must come to its end. The store must be down. */
static inline void in_a_process(struct fixture *f, void (*fn)(struct fixture *f))
{
    wf_assert(!f->store);
    int status = in_child(fn, f);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* fn, in a process of its own, must end it by a signal, which is returned. */
static inline int expect_end(void (*fn)(struct fixture *f), struct fixture *f)
{
    wf_assert(!f->store);
    int status = in_child(fn, f);
    assert_true(WIFSIGNALED(status));
    return WTERMSIG(status);
}

#endif
