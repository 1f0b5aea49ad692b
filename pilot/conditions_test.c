/* If these failed, `kubectl get` and `weft describe` would say that a change is live while a proxy
 * refuses it, or for ever that it is on its way. One node, one convergence, real writes. */
#include "pilot/conditions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/status.h"
#include "base/env/env_uv.h"
#include "base/wire/json.h"

#define KEY "virtualservices.networking.istio.io/default/a"
#define OBJECT                                                                                     \
    "{\"apiVersion\":\"networking.istio.io/v1\",\"kind\":\"VirtualService\",\"metadata\":{"        \
    "\"generation\":1,\"name\":\"a\",\"namespace\":\"default\"},\"spec\":{\"hosts\":[\"a\"]}}"

struct fixture {
    char dir[64];
    struct env *env;
    struct reg_node *node;
    struct convergence *convergence;
    struct conditions *conditions;
    struct convergence_proxy *proxy;
};

static void on_change(void *ctx)
{
    struct fixture *f = ctx;
    if (f->conditions)
        conditions_wake(f->conditions);
}

static int setup(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct err err = {0};
    struct reg_node_options opt = {
        .id = 1, .member_count = 1, .segment_bytes = 1 << 20, .store_bytes = 1 << 22};
    snprintf(f->dir, sizeof(f->dir), "/tmp/weft-conditions-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    opt.dir = f->dir;
    opt.members[0].id = 1;
    snprintf(opt.members[0].name, sizeof(opt.members[0].name), "n1");
    assert_true(env_addr_parse(&opt.members[0].addr, S("127.0.0.1:0"), &err));
    f->env = env_uv_new(&err);
    f->node = reg_node_start(&opt, &err);
    if (!f->node)
        fail_msg("%s", err.msg);
    f->convergence = convergence_new(
        &(struct convergence_options){.env = f->env, .on_change = on_change, .ctx = f});
    f->conditions = conditions_new(&(struct conditions_options){
        .env = f->env, .node = f->node, .convergence = f->convergence});
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    while (!conditions_idle(f->conditions))
        env_uv_turn(f->env, 1000);
    if (f->proxy)
        convergence_leave(f->convergence, f->proxy);
    conditions_free(f->conditions);
    convergence_free(f->convergence);
    reg_node_stop(f->node);
    env_uv_free(f->env);
    snprintf(command, sizeof(command), "rm -r %s", f->dir);
    assert_int_equal(system(command), 0);
    mem_free(f);
    return 0;
}

struct put {
    struct reg_write write;
    struct reg_op op;
    bool done;
};

static void on_put(struct reg_write *w)
{
    container_of(w, struct put, write)->done = true;
}

/* As a user writes it: without status. Returns the revision. */
static reg_rev put(struct fixture *f, const char *key, const char *object)
{
    struct put p = {.op = {.key = slice_of(key), .value = slice_of(object)}};
    p.write = (struct reg_write){.ops = &p.op, .op_count = 1, .env = f->env, .fn = on_put};
    reg_write(f->node, &p.write);
    while (!p.done)
        env_uv_turn(f->env, 1000);
    if (p.write.err.code)
        fail_msg("%s", p.write.err.msg);
    return p.write.revision;
}

static json_t *read_object(struct fixture *f, const char *key)
{
    struct reg_txn txn;
    struct reg_object o;
    struct err err = {0};
    assert_true(reg_txn_begin(reg_node_store(f->node), &txn, &err));
    json_t *object = reg_get(&txn, slice_of(key), &o) ? json_parse(o.value, &err) : NULL;
    reg_txn_end(&txn);
    return object;
}

/* Turns until the condition of that type has the status, and compares its message. */
static void expect(struct fixture *f, const char *type, const char *status, const char *message)
{
    for (int turns = 0; turns < 2000; turns++) {
        json_t *object = read_object(f, KEY);
        const json_t *c = condition_get(object, type);
        bool there = slice_eq(json_str(c, "status"), slice_of(status)) &&
                     slice_eq(json_str(c, "message"), slice_of(message));
        json_decref(object);
        if (there)
            return;
        env_uv_turn(f->env, 10);
    }
    json_t *object = read_object(f, KEY);
    char *text = json_dumps(object, 0);
    json_decref(object);
    fail_msg("wanted %s=%s \"%s\": %s", type, status, message, text);
}

/* The merged picture follows a moment later. */
static void join(struct fixture *f)
{
    f->proxy = convergence_join(f->convergence, S("p1"));
    while (convergence_summary(f->convergence)->total != 1)
        env_uv_turn(f->env, 10);
}

static const char *message(char dst[64], const char *who, reg_rev revision)
{
    snprintf(dst, 64, "%s @%llu", who, (unsigned long long)revision);
    return dst;
}

static void live_is_said_once_proxies_have_it(void **state)
{
    struct fixture *f = *state;
    char text[64];
    join(f);
    reg_rev rev = put(f, KEY, OBJECT);
    for (int i = 0; i < 20; i++)
        env_uv_turn(f->env, 5);
    json_t *object = read_object(f, KEY);
    assert_null(condition_get(object, "Distributed"));
    json_decref(object);
    convergence_update(f->convergence, f->proxy, env_now(f->env), rev, rev, NULL, 0);
    expect(f, "Distributed", "True", message(text, "1/1", rev));
}

static void no_proxies_is_said_anew_when_one_comes(void **state)
{
    struct fixture *f = *state;
    char text[64];
    reg_rev rev = put(f, KEY, OBJECT);
    expect(f, "Distributed", "True", message(text, "no proxies", rev));
    join(f);
    convergence_update(f->convergence, f->proxy, env_now(f->env), rev + 100, rev + 100, NULL, 0);
    expect(f, "Distributed", "True", message(text, "1/1", rev));
}

static void a_refusal_lands_on_its_source_and_goes(void **state)
{
    struct fixture *f = *state;
    char text[64];
    const struct slice sources[] = {S_INIT(KEY)};
    const struct convergence_reject reject = {.type = "rds",
                                              .resource = S("80"),
                                              .version = S("1.a"),
                                              .message = S("bad regex"),
                                              .sources = sources,
                                              .source_count = 1};
    join(f);
    reg_rev rev = put(f, KEY, OBJECT);
    convergence_update(f->convergence, f->proxy, env_now(f->env), rev - 1, rev, &reject, 1);
    expect(f, "Accepted", "False", "rds of 1 proxy refused: p1 80: bad regex");
    expect(f, "Distributed", "False", message(text, "refused", rev));
    convergence_update(f->convergence, f->proxy, env_now(f->env), rev + 100, rev + 100, NULL, 0);
    expect(f, "Accepted", "True", "");
    expect(f, "Distributed", "True", message(text, "1/1", rev));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(live_is_said_once_proxies_have_it, setup, teardown),
        cmocka_unit_test_setup_teardown(no_proxies_is_said_anew_when_one_comes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refusal_lands_on_its_source_and_goes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
