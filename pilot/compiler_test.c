/* If these failed, a change in the registry would not reach the workers, or only after another one;
 * or a new proxy would wait for configuration for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env/env_uv.h"
#include "pilot/compiler.h"
#include "registry/fsm.h"

struct fixture {
    char dir[64];
    struct reg_store *store;
    reg_rev index;
    struct env *env; /* of the test, where the watch wakes */
    struct compiler *compiler;
    struct compiler_watch *watch;
    struct env_timer deadline;
    bool late;
};

/* Writing. */

static void on_result(void *ctx, const struct reg_result *r)
{
    (void)ctx;
    assert_int_equal(r->code, ERR_NONE);
}

static void write_ops(struct fixture *f, const struct reg_op *ops, size_t n)
{
    struct reg_entry_builder b = {0};
    reg_entry_begin(&b, 1700000000000);
    f->index++;
    assert_true(reg_entry_add(
        &b,
        &(struct reg_request){
            .client = 7, .sequence = f->index, .settled = f->index, .ops = ops, .op_count = n}));
    reg_fsm_apply(f->store, f->index, 1, reg_entry_end(&b), on_result, f);
    reg_fsm_commit(f->store, f->index, 1);
    reg_entry_fini(&b);
}

static void put(struct fixture *f, const char *key, const char *json)
{
    write_ops(f, &(struct reg_op){.key = slice_of(key), .value = slice_of(json)}, 1);
}

static void del(struct fixture *f, const char *key)
{
    write_ops(f, &(struct reg_op){.del = true, .key = slice_of(key)}, 1);
}

#define SERVICE_KEY "services/default/a"
#define SERVICE "{\"metadata\":{},\"spec\":{\"ports\":[{\"name\":\"http\",\"port\":80}]}}"
#define CLUSTER_NAME "outbound|80||a.default.svc.cluster.local"

static const struct proxy_class_input sidecar = {.dialect = DIALECT_WEFT,
                                                 .capture = CAPTURE_NONE,
                                                 .ns = S_INIT("default"),
                                                 .address = S_INIT("127.1.0.1")};

/* Waiting. */

static void on_snapshot(void *ctx)
{
    (void)ctx; /* the turn ends, the condition is looked at again */
}

static void on_deadline(struct env_timer *t)
{
    container_of(t, struct fixture, deadline)->late = true;
}

/* Turns the test's loop until a snapshot holds; a reference. */
static struct xds_snapshot *
wait_for(struct fixture *f, bool (*holds)(struct fixture *f, struct xds_snapshot *s, uint64_t arg),
         uint64_t arg)
{
    f->late = false;
    f->deadline.fn = on_deadline;
    env_timer_start(f->env, &f->deadline, 10000);
    for (;;) {
        struct xds_snapshot *s = compiler_snapshot(f->compiler);
        if (s && holds(f, s, arg)) {
            env_timer_stop(f->env, &f->deadline);
            return s;
        }
        xds_snapshot_unref(s);
        if (f->late)
            fail_msg("no such snapshot after 10 s");
        env_uv_turn(f->env, 1000);
    }
}

static bool at_revision(struct fixture *f, struct xds_snapshot *s, uint64_t class_id)
{
    return s->revision == f->index && (!class_id || xds_snapshot_view(s, class_id));
}

static struct xds_resource *cluster(struct xds_snapshot *s, uint64_t class_id)
{
    return xds_list_find(xds_snapshot_view(s, class_id)->types[XDS_CDS], S(CLUSTER_NAME));
}

/* Fixture. */

static int setup_history(void **state, uint64_t history)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct err err = {0};
    strcpy(f->dir, "/tmp/weft-compiler-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->env = env_uv_new(&err);
    assert_non_null(f->env);
    f->store = reg_store_open(
        &(struct reg_store_options){
            .env = f->env, .dir = f->dir, .map_bytes = 1 << 20, .history_revisions = history},
        &err);
    assert_non_null(f->store);
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_history(state, 1000);
}

static void start(struct fixture *f)
{
    struct err err = {0};
    f->compiler = compiler_start(&(struct compiler_options){.store = f->store}, &err);
    assert_non_null(f->compiler);
    f->watch = compiler_watch_open(f->compiler, f->env, on_snapshot, f);
}

static void stop(struct fixture *f)
{
    compiler_watch_close(f->watch);
    compiler_stop(f->compiler);
    f->watch = NULL;
    f->compiler = NULL;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    stop(f);
    reg_store_close(f->store);
    reg_store_discard(f->env, f->dir, &err);
    env_uv_free(f->env);
    rmdir(f->dir);
    mem_free(f);
    return 0;
}

/* Tests. */

static void changes_reach_snapshots(void **state)
{
    struct fixture *f = *state;
    put(f, SERVICE_KEY, SERVICE);
    start(f);
    uint64_t class_id = compiler_class_acquire(f->compiler, &sidecar);
    struct xds_snapshot *s = wait_for(f, at_revision, class_id);
    assert_non_null(cluster(s, class_id));
    assert_int_equal(cluster(s, class_id)->version.revision, f->index);

    put(f, "services/default/b", SERVICE);
    struct xds_snapshot *next = wait_for(f, at_revision, class_id);
    assert_ptr_equal(cluster(next, class_id), cluster(s, class_id)); /* nothing to send of it */

    del(f, SERVICE_KEY);
    struct xds_snapshot *gone = wait_for(f, at_revision, class_id);
    assert_null(cluster(gone, class_id));
    assert_non_null(cluster(s, class_id)); /* what is held stays */
    xds_snapshot_unref(s);
    xds_snapshot_unref(next);
    xds_snapshot_unref(gone);
    compiler_class_release(f->compiler, class_id);
}

static void a_new_class_needs_no_change(void **state)
{
    struct fixture *f = *state;
    put(f, SERVICE_KEY, SERVICE);
    start(f);
    xds_snapshot_unref(wait_for(f, at_revision, 0));
    uint64_t ids[40];
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        char ip[32];
        snprintf(ip, sizeof(ip), "127.1.1.%zu", i);
        struct proxy_class_input in = sidecar;
        in.address = slice_of(ip);
        ids[i] = compiler_class_acquire(f->compiler, &in);
    }
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        struct xds_snapshot *s = wait_for(f, at_revision, ids[i]);
        assert_non_null(cluster(s, ids[i]));
        xds_snapshot_unref(s);
        compiler_class_release(f->compiler, ids[i]);
    }
}

/* A burst is applied before the builder looks again: the last state is what counts. */
static void bursts_end_in_the_last_state(void **state)
{
    struct fixture *f = *state;
    start(f);
    uint64_t class_id = compiler_class_acquire(f->compiler, &sidecar);
    for (unsigned i = 0; i < 200; i++)
        put(f, SERVICE_KEY, i % 2 ? SERVICE : "{\"metadata\":{},\"spec\":{\"ports\":[]}}");
    struct xds_snapshot *s = wait_for(f, at_revision, class_id);
    assert_non_null(cluster(s, class_id));
    assert_true(cluster(s, class_id)->version.revision <= f->index);
    xds_snapshot_unref(s);
    compiler_class_release(f->compiler, class_id);
}

static int setup_short_history(void **state)
{
    return setup_history(state, 4);
}

/* Behind the window of history it reads everything again: what is the same is not sent again. */
static void compacted_history_is_read_again(void **state)
{
    struct fixture *f = *state;
    struct reg_op ops[64];
    char keys[64][48];
    start(f);
    uint64_t class_id = compiler_class_acquire(f->compiler, &sidecar);
    put(f, "services/default/gone", SERVICE);
    put(f, SERVICE_KEY, SERVICE);
    struct xds_snapshot *before = wait_for(f, at_revision, class_id);
    del(f, "services/default/gone");
    for (unsigned round = 0; round < 50; round++) {
        for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
            snprintf(keys[i], sizeof(keys[i]), "services/default/s%u-%zu", round, i);
            ops[i] = (struct reg_op){.key = slice_of(keys[i]), .value = S(SERVICE)};
        }
        write_ops(f, ops, ARRAY_LEN(ops));
    }
    struct xds_snapshot *s = wait_for(f, at_revision, class_id);
    assert_ptr_equal(cluster(s, class_id), cluster(before, class_id));
    assert_int_equal(xds_list_count(xds_snapshot_view(s, class_id)->types[XDS_EDS]), 50 * 64 + 1);
    xds_snapshot_unref(before);
    xds_snapshot_unref(s);
    compiler_class_release(f->compiler, class_id);
}

/* The view after a restart of the compiler on the same registry. */
static struct xds_snapshot *restarted(struct fixture *f, uint64_t *class_id)
{
    compiler_class_release(f->compiler, *class_id);
    stop(f);
    start(f);
    *class_id = compiler_class_acquire(f->compiler, &sidecar);
    return wait_for(f, at_revision, *class_id);
}

/* I2: what a replica that saw every change serves is what one serves that starts now: the same
 * bytes, at revisions that are not lower; and all that start now have the same versions. */
static void restarts_agree(void **state)
{
    struct fixture *f = *state;
    start(f);
    uint64_t class_id = compiler_class_acquire(f->compiler, &sidecar);
    put(f, SERVICE_KEY, "{\"metadata\":{},\"spec\":{\"ports\":[{\"name\":\"grpc\",\"port\":80}]}}");
    xds_snapshot_unref(wait_for(f, at_revision, class_id));
    put(f, "virtualservices.networking.istio.io/default/a",
        "{\"metadata\":{},\"spec\":{\"hosts\":[\"a\"],\"http\":[{\"route\":[{\"destination\":{"
        "\"host\":\"a\"}}]}]}}");
    xds_snapshot_unref(wait_for(f, at_revision, class_id));
    put(f, SERVICE_KEY, SERVICE);
    struct xds_snapshot *live = wait_for(f, at_revision, class_id);
    struct xds_snapshot *once = restarted(f, &class_id), *twice = restarted(f, &class_id);
    for (size_t t = 0; t < XDS_TYPE_COUNT; t++) {
        struct xds_list_iter x = {.list = live->views[0]->types[t]};
        struct xds_list_iter y = {.list = once->views[0]->types[t]};
        struct xds_list_iter z = {.list = twice->views[0]->types[t]};
        for (struct xds_resource *a; (a = xds_list_next(&x));) {
            struct xds_resource *b = xds_list_next(&y), *c = xds_list_next(&z);
            assert_true(slice_eq(a->name, b->name) && slice_eq(a->body, b->body));
            assert_true(a->version.hash == b->version.hash &&
                        b->version.revision >= a->version.revision);
            assert_true(xds_version_in_sync(b->version, c->version) &&
                        xds_version_in_sync(c->version, b->version));
        }
        assert_true(!xds_list_next(&y) && !xds_list_next(&z));
    }
    xds_snapshot_unref(live);
    xds_snapshot_unref(once);
    xds_snapshot_unref(twice);
    compiler_class_release(f->compiler, class_id);
}

static void collect_issue(void *ctx, struct slice key, struct slice message)
{
    buf_printf(ctx, "%.*s: %.*s\n", SLICE(key), SLICE(message));
}

/* One object that cannot be used is named, and blocks nobody. */
static void bad_objects_are_reported(void **state)
{
    struct fixture *f = *state;
    put(f, "services/default/broken", "not json");
    put(f, "endpointslices.discovery.k8s.io/default/lost", "{\"metadata\":{}}");
    put(f, SERVICE_KEY, SERVICE);
    start(f);
    uint64_t class_id = compiler_class_acquire(f->compiler, &sidecar);
    struct xds_snapshot *s = wait_for(f, at_revision, class_id);
    struct buf issues = {0};
    assert_non_null(cluster(s, class_id));
    compiler_issues(f->compiler, collect_issue, &issues);
    assert_true(
        slice_contains(buf_slice(&issues), S("services/default/broken: not a JSON object")));
    assert_true(
        slice_contains(buf_slice(&issues), S("default/lost: label kubernetes.io/service-name")));
    struct metric_set *metrics = compiler_metrics(f->compiler);
    buf_clear(&issues);
    metric_write_text(&metrics, 1, &issues);
    assert_true(slice_contains(buf_slice(&issues), S("\nweft_compiler_unusable_objects 2\n")));
    buf_fini(&issues);
    xds_snapshot_unref(s);
    compiler_class_release(f->compiler, class_id);
}

/* A store that is being rebuilt is empty, the mesh is not: who asks must wait. */
static void nothing_is_said_before_anything_is_known(void **state)
{
    struct fixture *f = *state;
    start(f);
    uint64_t class_id = compiler_class_acquire(f->compiler, &sidecar);
    for (int i = 0; i < 10; i++) {
        env_uv_turn(f->env, 10);
        assert_null(compiler_snapshot(f->compiler));
    }
    put(f, SERVICE_KEY, SERVICE);
    struct xds_snapshot *s = wait_for(f, at_revision, class_id);
    assert_non_null(cluster(s, class_id));
    xds_snapshot_unref(s);
    compiler_class_release(f->compiler, class_id);
}

static void classes_by_equal_input(void **state)
{
    (void)state;
    const struct slice labels[][2] = {{S_INIT("app"), S_INIT("x")},
                                      {S_INIT("version"), S_INIT("v1")}};
    struct proxy_class_input in = {.ns = S("default"), .label_count = 2, .labels = labels};
    struct proxy_class_input other = in;
    other.label_count = 1;
    struct compiler *c = compiler_new_manual();
    uint64_t a = compiler_class_acquire(c, &in), b = compiler_class_acquire(c, &in);
    uint64_t d = compiler_class_acquire(c, &other);
    assert_true(a == b && a != d);
    /* "ab"+"c" is not "a"+"bc". */
    struct proxy_class_input p = {.ns = S("ab"), .dns_domain = S("c")};
    struct proxy_class_input q = {.ns = S("a"), .dns_domain = S("bc")};
    assert_true(compiler_class_acquire(c, &p) != compiler_class_acquire(c, &q));
    compiler_class_release(c, a);
    assert_null(compiler_snapshot(c));
    compiler_publish(c, xds_snapshot_new(4, NULL, 0));
    struct xds_snapshot *s = compiler_snapshot(c);
    assert_true(s->revision == 4);
    compiler_publish(c, xds_snapshot_new(5, NULL, 0));
    assert_true(s->revision == 4);
    xds_snapshot_unref(s);
    compiler_stop(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(changes_reach_snapshots, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_class_needs_no_change, setup, teardown),
        cmocka_unit_test_setup_teardown(bursts_end_in_the_last_state, setup, teardown),
        cmocka_unit_test_setup_teardown(compacted_history_is_read_again, setup_short_history,
                                        teardown),
        cmocka_unit_test_setup_teardown(restarts_agree, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_objects_are_reported, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_said_before_anything_is_known, setup, teardown),
        cmocka_unit_test(classes_by_equal_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
