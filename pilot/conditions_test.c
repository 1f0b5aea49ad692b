/* If these fail, kubectl says that a change is live while a proxy lacks it, hides what a proxy
 * refused, or the control plane writes statuses for ever. Real registry nodes, real convergence;
 * the proxies are played. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/status.h"
#include "base/core/hash.h"
#include "base/env/env_uv.h"
#include "base/wire/json.h"
#include "pilot/conditions.h"
#include "registry/node_test_util.h"

#define KEY "virtualservices.networking.istio.io/default/a"
#define KEY2 "virtualservices.networking.istio.io/default/b"
#define PATIENCE_MS 500

struct world {
    struct cluster cluster;
    struct env *env;
    struct convergence *convergence[REG_NODES_MAX];
    struct convergence_link *link[REG_NODES_MAX];
    struct conditions *conditions[REG_NODES_MAX];
    size_t writes_at_once_max;
    struct {
        struct convergence_proxy *p; /* NULL: it has left */
        size_t node;
    } proxies[16];
    size_t proxy_count;
};

/* The world. */

static void on_change(void *ctx)
{
    struct conditions **c = ctx;
    if (*c)
        conditions_wake(*c);
}

static void node_join(struct world *w, size_t i)
{
    w->convergence[i] = convergence_new(&(struct convergence_options){
        .env = w->env, .on_change = on_change, .ctx = &w->conditions[i]});
    w->link[i] = convergence_link(w->convergence[i], w->env, w->cluster.node[i]);
    w->conditions[i] = conditions_new(&(struct conditions_options){.env = w->env,
                                                                   .node = w->cluster.node[i],
                                                                   .convergence = w->convergence[i],
                                                                   .patience = PATIENCE_MS});
}

static struct convergence_proxy *join(struct world *w, size_t node, const char *name)
{
    assert_true(w->proxy_count < ARRAY_LEN(w->proxies));
    struct convergence_proxy *p =
        convergence_join(w->convergence[node], slice_of(name), hash_bytes(slice_of(name)));
    w->proxies[w->proxy_count].node = node;
    w->proxies[w->proxy_count++].p = p;
    return p;
}

static void leave(struct world *w, struct convergence_proxy *p)
{
    for (size_t i = 0; i < w->proxy_count; i++)
        if (w->proxies[i].p == p) {
            convergence_leave(w->convergence[w->proxies[i].node], p);
            w->proxies[i].p = NULL;
        }
}

static void node_leave(struct world *w, size_t i)
{
    for (size_t k = 0; k < w->proxy_count; k++)
        if (w->proxies[k].p && w->proxies[k].node == i)
            leave(w, w->proxies[k].p);
    conditions_free(w->conditions[i]);
    w->conditions[i] = NULL;
    convergence_unlink(w->link[i]);
    convergence_free(w->convergence[i]);
    w->link[i] = NULL;
    w->convergence[i] = NULL;
}

static struct world *world_settling(size_t nodes, wf_ms settle)
{
    struct world *w = MEM_NEW(struct world);
    struct err err = {0};
    w->env = env_uv_new(&err);
    cluster_init(&w->cluster, nodes);
    w->cluster.opt.version_settle = settle;
    cluster_up(&w->cluster);
    wait_leader(&w->cluster);
    for (size_t i = 0; i < nodes; i++)
        node_join(w, i);
    return w;
}

static struct world *world_new(size_t nodes)
{
    return world_settling(nodes, 0);
}

static int setup_quotas(void **state)
{
    struct world *w = world_settling(1, 1);
    struct reg_status st;
    WAIT_FOR((reg_node_status(w->cluster.node[0], &st), st.version >= VERSION_QUOTAS));
    *state = w;
    return 0;
}

static int setup(void **state)
{
    *state = world_new(1);
    return 0;
}

static int setup_three(void **state)
{
    *state = world_new(3);
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < w->cluster.n; i++)
        if (w->conditions[i])
            node_leave(w, i);
    cluster_fini(&w->cluster);
    env_uv_free(w->env);
    mem_free(w);
    return 0;
}

static void turn(struct world *w, wf_ms wait)
{
    env_uv_turn(w->env, wait);
    for (size_t i = 0; i < w->cluster.n; i++) {
        size_t n = w->cluster.node[i]
                       ? __atomic_load_n(&w->cluster.node[i]->outstanding, __ATOMIC_RELAXED)
                       : 0;
        if (n > w->writes_at_once_max)
            w->writes_at_once_max = n;
    }
}

#define UNTIL(cond)                                                                                \
    do {                                                                                           \
        uint64_t until_ = test_now_ms() + CLUSTER_WAIT_MS;                                         \
        while (!(cond)) {                                                                          \
            if (test_now_ms() > until_)                                                            \
                fail_msg("never: %s", #cond);                                                      \
            turn(w, 5);                                                                            \
        }                                                                                          \
    } while (0)

/* Objects. */

static reg_rev revision(struct world *w, size_t node)
{
    struct reg_txn t;
    struct err err = {0};
    assert_true(reg_txn_begin(reg_node_store(w->cluster.node[node]), &t, &err));
    reg_rev r = t.revision;
    reg_txn_end(&t);
    return r;
}

static reg_rev put(struct world *w, const char *key, const char *json)
{
    size_t leader = wait_leader(&w->cluster);
    return must_put(&w->cluster, leader, key, json);
}

static reg_rev put_object(struct world *w, const char *key, unsigned generation)
{
    char json[512];
    snprintf(
        json, sizeof(json),
        "{\"kind\":\"VirtualService\",\"metadata\":{\"generation\":%u,\"name\":\"a\"},\"spec\":"
        "{\"hosts\":[\"h\"]},\"status\":{\"conditions\":[{\"type\":\"Accepted\",\"status\":"
        "\"True\",\"reason\":\"Accepted\"},{\"type\":\"Distributed\",\"status\":\"False\","
        "\"reason\":\"Distributing\"}]}}",
        generation);
    return put(w, key, json);
}

/* "True Live 2/2 @5" of a node's store; empty when there is none. */
static const char *said_by(struct world *w, size_t node, const char *key, const char *type)
{
    static char text[4096];
    struct reg_txn t;
    struct reg_object o;
    struct err err = {0};
    text[0] = 0;
    assert_true(reg_txn_begin(reg_node_store(w->cluster.node[node]), &t, &err));
    json_t *object = reg_get(&t, slice_of(key), &o)
                         ? json_parse_capped(o.value, REG_VALUE_BYTES_MAX, JSON_DEPTH_MAX, &err)
                         : NULL;
    const json_t *c = object ? condition_get(object, type) : NULL;
    if (c)
        snprintf(text, sizeof(text), "%.*s %.*s %.*s", SLICE(json_str(c, "status")),
                 SLICE(json_str(c, "reason")), SLICE(json_str(c, "message")));
    json_decref(object);
    reg_txn_end(&t);
    return text;
}

static const char *said(struct world *w, const char *key, const char *type)
{
    return said_by(w, 0, key, type);
}

static bool says(struct world *w, const char *key, const char *type, const char *text)
{
    return strcmp(said(w, key, type), text) == 0;
}

static const char *live(unsigned n, reg_rev at)
{
    static char text[64];
    snprintf(text, sizeof(text), "True Live %u/%u @%llu", n, n, (unsigned long long)at);
    return text;
}

/* Nothing more is written, however often it looks. */
static void assert_quiet(struct world *w)
{
    reg_rev before = revision(w, 0);
    for (int i = 0; i < 40; i++) {
        for (size_t k = 0; k < w->cluster.n; k++)
            if (w->conditions[k])
                conditions_wake(w->conditions[k]);
        turn(w, 1);
    }
    assert_int_equal(revision(w, 0), before);
    /* One that is none of ours wakes it, too. */
    char json[64];
    snprintf(json, sizeof(json), "{\"metadata\":{\"generation\":%llu}}",
             (unsigned long long)before);
    reg_rev fence = put(w, "namespaces//fence", json);
    for (int i = 0; i < 40; i++)
        turn(w, 1);
    assert_int_equal(revision(w, 0), fence);
}

/* Proxies. */

static const struct slice sources[] = {S_INIT(KEY)};

static struct convergence_reject refusal(const char *message)
{
    return (struct convergence_reject){.type = "vhds",
                                       .resource = S("80/reviews"),
                                       .version = S("5.aa"),
                                       .message = slice_of(message),
                                       .sources = sources,
                                       .source_count = 1};
}

static void at(struct world *w, size_t node, struct convergence_proxy *p, reg_rev rev)
{
    convergence_update(w->convergence[node], p, 0, rev, rev, NULL, 0);
}

static void refuses(struct world *w, struct convergence_proxy *p, reg_rev converged,
                    reg_rev settled, const char *message)
{
    struct convergence_reject r = refusal(message);
    convergence_update(w->convergence[0], p, 0, converged, settled, &r, 1);
}

/* Cases. */

static void test_distributed_when_all_have_it(void **state)
{
    struct world *w = *state;
    struct convergence_proxy *p = join(w, 0, "p");
    struct convergence_proxy *q = join(w, 0, "q");
    reg_rev rev = put_object(w, KEY, 1);
    at(w, 0, p, rev);
    UNTIL(summary_dist_at_least(&convergence_summary(w->convergence[0])->converged, rev) == 1);
    for (int i = 0; i < 20; i++)
        turn(w, 1);
    assert_string_equal(said(w, KEY, "Distributed"), "False Distributing ");
    at(w, 0, q, rev);
    UNTIL(says(w, KEY, "Distributed", live(2, rev)));
    assert_int_equal(revision(w, 0), rev + 1); /* one write */
    at(w, 0, p, rev + 1);
    at(w, 0, q, rev + 1);
    assert_quiet(w);
    assert_int_equal(w->writes_at_once_max, 1);
    leave(w, p);
    leave(w, q);
    assert_quiet(w); /* it was live: no edge */
}

/* A full one would hide its refusals, and those of other namespaces in the same write. */
static void test_a_quota_does_not_silence_it(void **state)
{
    struct world *w = *state;
    struct convergence_proxy *p = join(w, 0, "p");
    put_object(w, KEY, 1);
    reg_rev rev = put(w, "namespaces//default",
                      "{\"metadata\":{\"annotations\":{\"weft.dev/quota-bytes\":\"1\"}}}");
    assert_int_equal(
        put_expect(&w->cluster, 0, S(KEY2), S("{}"), REG_EXPECT_ANY, 0, CLUSTER_WAIT_MS, NULL),
        ERR_NO_ROOM);
    refuses(w, p, rev - 1, rev, "route 3: no such cluster");
    UNTIL(strstr(said(w, KEY, "Accepted"), "route 3: no such cluster"));
    leave(w, p);
}

static void test_no_proxies_is_said_anew(void **state)
{
    struct world *w = *state;
    reg_rev rev = put_object(w, KEY, 1);
    char none[64];
    snprintf(none, sizeof(none), "True NoProxies no proxies @%llu", (unsigned long long)rev);
    UNTIL(says(w, KEY, "Distributed", none));
    assert_quiet(w);
    struct convergence_proxy *p = join(w, 0, "p");
    at(w, 0, p, revision(w, 0));
    UNTIL(says(w, KEY, "Distributed", live(1, rev)));
    at(w, 0, p, revision(w, 0));
    assert_quiet(w);
}

static void test_refusal_lands_on_its_source(void **state)
{
    struct world *w = *state;
    char refused[64];
    struct convergence_proxy *p = join(w, 0, "reviews-v1.default");
    struct convergence_proxy *q = join(w, 0, "q");
    reg_rev before = put_object(w, KEY2, 1);
    reg_rev rev = put_object(w, KEY, 1);
    at(w, 0, q, rev);
    refuses(w, p, before, rev, "route 3: no such cluster");
    UNTIL(
        says(w, KEY, "Accepted",
             "False ProxyRejected 1 proxy (reviews-v1.default) refused: vhds 80/reviews: route 3: "
             "no such cluster"));
    snprintf(refused, sizeof(refused), "False Rejected refused @%llu", (unsigned long long)rev);
    assert_string_equal(said(w, KEY, "Distributed"), refused);
    UNTIL(says(w, KEY2, "Distributed", live(2, before))); /* the other object is not touched */
    assert_string_equal(said(w, KEY2, "Accepted"), "True Accepted ");
    at(w, 0, q, revision(w, 0));
    refuses(w, q, before, revision(w, 0), "route 3: no such cluster"); /* one more: no news */
    assert_quiet(w);
    assert_non_null(strstr(said(w, KEY, "Accepted"), "1 proxy"));
    refuses(w, p, before, revision(w, 0), "route 4: too long"); /* other words are */
    refuses(w, q, before, revision(w, 0), "route 4: too long");
    UNTIL(strstr(said(w, KEY, "Accepted"), "route 4: too long"));
    assert_quiet(w);
    at(w, 0, p, revision(w, 0));
    at(w, 0, q, revision(w, 0));
    UNTIL(says(w, KEY, "Accepted", "True Accepted "));
    at(w, 0, p, revision(w, 0));
    at(w, 0, q, revision(w, 0));
    UNTIL(says(w, KEY, "Distributed", live(2, rev))); /* what a user wrote is still of then */
    at(w, 0, p, revision(w, 0));
    at(w, 0, q, revision(w, 0));
    assert_quiet(w);
    assert_int_equal(w->writes_at_once_max, 1);
}

/* A proxy that reconnects says it again at once: no word between. */
static void test_reconnecting_proxy_is_no_edge(void **state)
{
    struct world *w = *state;
    struct convergence_proxy *p = join(w, 0, "p");
    reg_rev rev = put_object(w, KEY, 1);
    refuses(w, p, 0, rev, "no");
    UNTIL(strncmp(said(w, KEY, "Accepted"), "False", 5) == 0);
    reg_rev before = revision(w, 0);
    for (int i = 0; i < 3; i++) {
        leave(w, p);
        UNTIL(convergence_summary(w->convergence[0])->total == 0);
        turn(w, 1);
        p = join(w, 0, "p");
        refuses(w, p, 0, rev, "no");
        UNTIL(convergence_summary(w->convergence[0])->rejection_count == 1);
        turn(w, 1);
    }
    assert_int_equal(revision(w, 0), before);
    leave(w, p); /* for good */
    UNTIL(says(w, KEY, "Accepted", "True Accepted "));
}

/* Words that are cut within a character are stored as they can be, once. */
static void test_words_that_are_no_text(void **state)
{
    struct world *w = *state;
    char words[1400];
    memset(words, 'a', sizeof(words));
    memcpy(words + 1022, "\xe2\x82\xac\xff", 4);
    words[sizeof(words) - 1] = 0;
    struct convergence_proxy *p = join(w, 0, "p");
    reg_rev rev = put_object(w, KEY, 1);
    refuses(w, p, 0, rev, words);
    UNTIL(strncmp(said(w, KEY, "Accepted"), "False", 5) == 0);
    assert_quiet(w);
}

/* Many objects: some batches, never two at once. */
static void test_many_objects(void **state)
{
    struct world *w = *state;
    char key[128];
    enum { N = 3 * CONDITIONS_BATCH_MAX / 2 };
    struct convergence_proxy *p = join(w, 0, "p");
    reg_rev last = 0;
    for (unsigned i = 0; i < N; i++) {
        snprintf(key, sizeof(key), "virtualservices.networking.istio.io/default/v%u", i);
        last = put_object(w, key, 1);
    }
    at(w, 0, p, last);
    for (unsigned i = 0; i < N; i++) {
        snprintf(key, sizeof(key), "virtualservices.networking.istio.io/default/v%u", i);
        UNTIL(strncmp(said(w, key, "Distributed"), "True Live", 9) == 0);
    }
    assert_int_equal(w->writes_at_once_max, 1);
    assert_int_equal(revision(w, 0), last + 2);
}

/* Objects of 600 KB: a write takes so many as fit. */
static void test_large_objects(void **state)
{
    struct world *w = *state;
    struct buf json = {0};
    struct convergence_proxy *p = join(w, 0, "p");
    char key[128];
    reg_rev last = 0;
    buf_printf(&json, "{\"metadata\":{\"generation\":1,\"annotations\":{\"x\":\"");
    for (int i = 0; i < 600; i++)
        buf_printf(&json, "%01000d", 0);
    buf_printf(&json, "\"}},\"spec\":{}}");
    buf_append_byte(&json, 0);
    for (unsigned i = 0; i < 5; i++) {
        snprintf(key, sizeof(key), "virtualservices.networking.istio.io/default/v%u", i);
        last = put(w, key, json.p);
    }
    at(w, 0, p, last);
    for (unsigned i = 0; i < 5; i++) {
        snprintf(key, sizeof(key), "virtualservices.networking.istio.io/default/v%u", i);
        UNTIL(strncmp(said(w, key, "Distributed"), "True Live", 9) == 0);
    }
    buf_fini(&json);
}

/* Of three nodes the leader writes, for the proxies of all; a new leader goes on. */
static void test_leader_only_and_all_nodes(void **state)
{
    struct world *w = *state;
    struct convergence_proxy *p[3];
    for (size_t i = 0; i < 3; i++)
        p[i] = join(w, i, "p");
    for (size_t i = 0; i < 3; i++)
        UNTIL(convergence_summary(w->convergence[i])->total == 3);
    reg_rev rev = put_object(w, KEY, 1);
    at(w, 0, p[0], rev);
    at(w, 1, p[1], rev);
    for (int i = 0; i < 40; i++)
        turn(w, 1);
    assert_string_equal(said(w, KEY, "Distributed"), "False Distributing ");
    at(w, 2, p[2], rev);
    UNTIL(says(w, KEY, "Distributed", live(3, rev)));
    assert_int_equal(revision(w, 0), rev + 1); /* one node, once */
    assert_int_equal(w->writes_at_once_max, 1);

    size_t leader = wait_leader(&w->cluster), other = (leader + 1) % 3;
    leave(w, p[leader]);
    node_leave(w, leader);
    node_down(&w->cluster, leader, false);
    wait_leader(&w->cluster);
    rev = put_object(w, KEY, 2);
    for (size_t i = 0; i < 3; i++)
        if (i != leader)
            at(w, i, p[i], rev);
    UNTIL(strcmp(said_by(w, other, KEY, "Distributed"), live(2, rev)) == 0);
}

struct hold {
    struct env_post post;
    pthread_mutex_t held;
};

static void on_hold(struct env_post *p)
{
    struct hold *h = container_of(p, struct hold, post);
    pthread_mutex_lock(&h->held);
    pthread_mutex_unlock(&h->held);
}

/* The end may come while a write is under way: what it needs goes with its answer. */
static void test_ends_while_a_write_waits(void **state)
{
    struct world *w = *state;
    struct convergence_proxy *p = join(w, 0, "p");
    reg_rev rev = put_object(w, KEY, 1);
    static struct hold h = {.post.fn = on_hold, .held = PTHREAD_MUTEX_INITIALIZER};
    pthread_mutex_lock(&h.held); /* nobody answers meanwhile */
    env_post(w->cluster.node[0]->env, &h.post);
    at(w, 0, p, rev);
    UNTIL(w->writes_at_once_max == 1);
    node_leave(w, 0);
    pthread_mutex_unlock(&h.held);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define CASE_THREE(name) cmocka_unit_test_setup_teardown(name, setup_three, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_distributed_when_all_have_it),
        cmocka_unit_test_setup_teardown(test_a_quota_does_not_silence_it, setup_quotas, teardown),
        CASE(test_no_proxies_is_said_anew),
        CASE(test_refusal_lands_on_its_source),
        CASE(test_reconnecting_proxy_is_no_edge),
        CASE(test_words_that_are_no_text),
        CASE(test_many_objects),
        CASE(test_large_objects),
        CASE_THREE(test_leader_only_and_all_nodes),
        CASE(test_ends_while_a_write_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
