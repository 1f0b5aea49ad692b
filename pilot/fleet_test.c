/* If these fail, an operator is told that a proxy does not exist because it hangs on another node,
 * or waits for an answer that never comes from a node that is gone. Three registry nodes in one
 * process, messages over their real connections; what each node knows of its proxies is played. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/env/env_uv.h"
#include "base/wire/json.h"
#include "pilot/fleet.h"
#include "registry/node_test_util.h"

/* What a node answers with, in a later turn or when it is let. */
struct source {
    struct env *env;
    char proxies[512], name[64];
    struct slice config; /* JSON object of proxy `name` */
    bool holds;          /* answers nothing yet */
    struct ads_query *held[8];
    size_t held_count;
};

struct reply {
    struct env_task task;
    struct source *source;
    struct ads_query *q;
};

struct world {
    struct cluster cluster;
    struct env *env;
    struct source sources[3];
    struct fleet *fleets[3];
    struct buf large;
};

static void reply_now(struct source *s, struct ads_query *q)
{
    q->json = (struct buf){0};
    if (q->kind == ADS_QUERY_PROXIES) {
        buf_append(&q->json, slice_of(s->proxies));
    } else if (slice_eq(q->proxy, slice_of(s->name))) {
        q->found = true;
        buf_append(&q->json, s->config);
    }
    q->fn(q);
}

static void on_reply(struct env_task *t)
{
    struct reply *r = container_of(t, struct reply, task);
    struct source *s = r->source;
    struct ads_query *q = r->q;
    mem_free(r);
    reply_now(s, q);
}

static void query(void *ctx, struct ads_query *q)
{
    struct source *s = ctx;
    if (s->holds) {
        assert_true(s->held_count < ARRAY_LEN(s->held));
        s->held[s->held_count++] = q;
        return;
    }
    struct reply *r = MEM_NEW(struct reply);
    *r = (struct reply){.task.fn = on_reply, .source = s, .q = q};
    env_defer(s->env, &r->task);
}

static void let_go(struct source *s)
{
    s->holds = false;
    for (size_t i = 0; i < s->held_count; i++)
        reply_now(s, s->held[i]);
    s->held_count = 0;
}

static bool all_connected(struct world *w)
{
    for (size_t i = 0; i < w->cluster.n; i++) {
        struct reg_status st;
        if (!w->cluster.node[i])
            continue;
        reg_node_status(w->cluster.node[i], &st);
        for (size_t k = 0; k < st.member_count; k++)
            if (!st.members[k].self && !st.members[k].connected)
                return false;
    }
    return true;
}

static int setup(void **state)
{
    struct world *w = MEM_NEW(struct world);
    struct err err = {0};
    w->env = env_uv_new(&err);
    cluster_init(&w->cluster, 3);
    cluster_up(&w->cluster);
    wait_leader(&w->cluster);
    WAIT_FOR(all_connected(w));
    for (size_t i = 0; i < 3; i++) {
        struct source *s = &w->sources[i];
        s->env = w->env;
        snprintf(s->name, sizeof(s->name), "p%zu.default", 3 - i);
        snprintf(s->proxies, sizeof(s->proxies), "[{\"name\":\"p%zu.default\",\"types\":{}}]",
                 3 - i);
        s->config = S("{\"name\":\"x\",\"types\":{\"cds\":[]}}");
        w->fleets[i] =
            fleet_new(w->env, w->cluster.node[i], (struct fleet_source){.ctx = s, .query = query});
    }
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < 3; i++)
        fleet_free(w->fleets[i]);
    for (size_t i = 0; i < 3; i++)
        let_go(&w->sources[i]);
    env_uv_turn(w->env, 0);
    cluster_fini(&w->cluster);
    env_uv_free(w->env);
    buf_fini(&w->large);
    mem_free(w);
    return 0;
}

/* Asking. */

struct answer {
    int status;
    unsigned times;
    struct buf json;
};

static void on_answer(void *arg, int status, struct slice json)
{
    struct answer *a = arg;
    a->status = status;
    a->times++;
    buf_clear(&a->json);
    buf_append(&a->json, json);
}

static json_t *parsed(const struct answer *a)
{
    struct err err = {0};
    json_t *o = json_parse_capped(buf_slice(&a->json), FLEET_ANSWER_BYTES_MAX + 1000, 32, &err);
    if (!o)
        fail_msg("%s", err.msg);
    return o;
}

static json_t *wait_for(struct world *w, struct answer *a, int status)
{
    uint64_t until = test_now_ms() + CLUSTER_WAIT_MS;
    while (!a->times && test_now_ms() < until)
        env_uv_turn(w->env, 10);
    assert_int_equal(a->times, 1);
    if (a->status != status)
        fail_msg("%d: %.*s", a->status, SLICE(buf_slice(&a->json)));
    json_t *o = parsed(a);
    buf_fini(&a->json);
    return o;
}

static json_t *proxies(struct world *w, size_t node)
{
    struct answer a = {0};
    fleet_proxies(w->fleets[node], on_answer, &a);
    assert_int_equal(a.times, 0); /* never from inside */
    return wait_for(w, &a, 200);
}

static json_t *config(struct world *w, size_t node, const char *proxy, int status)
{
    struct answer a = {0};
    fleet_config(w->fleets[node], slice_of(proxy), S(""), on_answer, &a);
    assert_int_equal(a.times, 0);
    return wait_for(w, &a, status);
}

static bool text_is(const json_t *o, const char *path, const char *text)
{
    return slice_eq(json_str(o, path), slice_of(text));
}

/* Cases. */

static void test_all_nodes_answer(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < 3; i++) {
        json_t *o = proxies(w, i);
        assert_int_equal(json_array_size(json_object_get(o, "items")), 3);
        assert_int_equal(json_array_size(json_object_get(o, "silent")), 0);
        assert_true(text_is(o, "items[0].name", "p1.default")); /* sorted */
        assert_true(text_is(o, "items[0].node", "n3"));
        assert_true(text_is(o, "items[2].name", "p3.default"));
        assert_true(text_is(o, "items[2].node", "n1"));
        json_decref(o);
    }
}

static void test_configuration_wherever_it_hangs(void **state)
{
    struct world *w = *state;
    static const char *const names[] = {"p3.default", "p2.default", "p1.default"};
    for (size_t i = 0; i < 3; i++) {
        char node[8];
        json_t *o = config(w, 0, names[i], 200);
        snprintf(node, sizeof(node), "n%zu", i + 1);
        assert_true(text_is(o, "node", node));
        assert_non_null(json_at(o, "types.cds"));
        json_decref(o);
    }
    json_t *o = config(w, 0, "nobody", 404);
    assert_true(text_is(o, "reason", "NotFound"));
    assert_true(slice_contains(json_str(o, "message"), S("nobody")));
    json_decref(o);
}

/* Megabytes arrive in pieces, whole. */
static void test_large_configuration(void **state)
{
    struct world *w = *state;
    buf_printf(&w->large, "{\"name\":\"x\",\"types\":{\"cds\":[");
    for (int i = 0; i < 60000; i++)
        buf_printf(&w->large,
                   "%s{\"name\":\"outbound|80||service-%05d.default.svc.cluster.local\"}",
                   i ? "," : "", i);
    buf_printf(&w->large, "]}}");
    assert_true(w->large.n > 10 * FLEET_PIECE_BYTES);
    w->sources[2].config = buf_slice(&w->large);
    json_t *o = config(w, 0, "p1.default", 200);
    assert_int_equal(json_array_size(json_at(o, "types.cds")), 60000);
    assert_true(text_is(o, "types.cds[59999].name",
                        "outbound|80||service-59999.default.svc.cluster.local"));
    json_decref(o);
}

static void test_too_large(void **state)
{
    struct world *w = *state;
    buf_reserve(&w->large, FLEET_ANSWER_BYTES_MAX + 10);
    memset(w->large.p, ' ', FLEET_ANSWER_BYTES_MAX + 10);
    buf_commit(&w->large, FLEET_ANSWER_BYTES_MAX + 10);
    w->sources[0].config = w->sources[2].config = buf_slice(&w->large);
    json_decref(config(w, 0, "p1.default", 413)); /* of another node */
    json_decref(config(w, 0, "p3.default", 413)); /* of its own */
    w->sources[0].config = w->sources[2].config = S("{}");
    json_t *o = config(w, 0, "p1.default", 200); /* and nothing is left behind that counts */
    assert_true(text_is(o, "node", "n3"));
    json_decref(o);
}

static void test_silent_node_is_named(void **state)
{
    struct world *w = *state;
    w->sources[1].holds = true; /* connected, and says nothing: the time-out ends it */
    json_t *o = proxies(w, 0);
    assert_int_equal(json_array_size(json_object_get(o, "items")), 2);
    assert_true(text_is(o, "silent[0]", "n2"));
    json_decref(o);
    let_go(&w->sources[1]); /* too late: nobody waits */
    env_uv_turn(w->env, 10);
    o = config(w, 0, "p2.default", 200);
    json_decref(o);
}

/* Found is found: an answer does not wait for a node that hangs. */
static void test_found_does_not_wait(void **state)
{
    struct world *w = *state;
    w->sources[1].holds = true;
    uint64_t from = test_now_ms();
    json_decref(config(w, 0, "p1.default", 200));
    assert_true(test_now_ms() - from < FLEET_TIMEOUT_MS);
}

static void test_node_dies_while_it_is_asked(void **state)
{
    struct world *w = *state;
    struct answer a = {0};
    uint64_t from = test_now_ms();
    w->sources[2].holds = true;
    fleet_proxies(w->fleets[0], on_answer, &a);
    while (!w->sources[2].held_count)
        env_uv_turn(w->env, 10);
    fleet_free(w->fleets[2]);
    w->fleets[2] = NULL;
    node_down(&w->cluster, 2, true);
    json_t *o = wait_for(w, &a, 200);
    assert_true(text_is(o, "silent[0]", "n3"));
    assert_true(test_now_ms() - from < CLUSTER_WAIT_MS);
    json_decref(o);
    o = proxies(w, 0); /* not connected: not asked, and named */
    assert_true(text_is(o, "silent[0]", "n3"));
    json_decref(o);
    o = config(w, 0, "p1.default", 404);
    assert_true(text_is(o, "silent[0]", "n3"));
    json_decref(o);
}

static void test_too_many_questions(void **state)
{
    struct world *w = *state;
    static struct answer answers[FLEET_CALLS_MAX + 5];
    memset(answers, 0, sizeof(answers));
    for (size_t i = 0; i < ARRAY_LEN(answers); i++)
        fleet_proxies(w->fleets[0], on_answer, &answers[i]);
    size_t refused = 0;
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        uint64_t until = test_now_ms() + CLUSTER_WAIT_MS;
        while (!answers[i].times && test_now_ms() < until)
            env_uv_turn(w->env, 10);
        assert_int_equal(answers[i].times, 1);
        refused += answers[i].status == 429;
        buf_fini(&answers[i].json);
    }
    assert_int_equal(refused, 5);
    json_decref(proxies(w, 0));
}

/* The end comes while questions are under way, here and of others. */
static void test_ends_while_asked(void **state)
{
    struct world *w = *state;
    struct answer a = {0}, b = {0};
    w->sources[0].holds = true;
    fleet_proxies(w->fleets[0], on_answer, &a);
    fleet_proxies(w->fleets[1], on_answer, &b);
    while (w->sources[0].held_count < 2)
        env_uv_turn(w->env, 10);
    fleet_free(w->fleets[0]);
    w->fleets[0] = NULL;
    assert_int_equal(a.times, 1);
    assert_int_equal(a.status, 503);
    let_go(&w->sources[0]);
    json_t *o = wait_for(w, &b, 200);
    assert_true(text_is(o, "silent[0]", "n1"));
    json_decref(o);
    buf_fini(&a.json);
}

static void test_noise_on_the_channel(void **state)
{
    struct world *w = *state;
    char bytes[64];
    for (unsigned i = 0; i < 400; i++) {
        size_t n = i % sizeof(bytes);
        for (size_t k = 0; k < n; k++)
            bytes[k] = (char)(k == 0 ? i % 5 : (i * 31 + k * 17) % 256);
        reg_send(w->cluster.node[1], 1, REG_CHANNEL_CALL, slice_mem(bytes, n));
        env_uv_turn(w->env, 0);
    }
    json_t *o = proxies(w, 0);
    assert_int_equal(json_array_size(json_object_get(o, "items")), 3);
    json_decref(o);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_all_nodes_answer),
        CASE(test_configuration_wherever_it_hangs),
        CASE(test_large_configuration),
        CASE(test_too_large),
        CASE(test_silent_node_is_named),
        CASE(test_found_does_not_wait),
        CASE(test_node_dies_while_it_is_asked),
        CASE(test_too_many_questions),
        CASE(test_ends_while_asked),
        CASE(test_noise_on_the_channel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
