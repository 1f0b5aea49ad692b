/* A cluster of registry nodes in one process, over loopback and temporary directories: for tests
 * and measurements. Functions fail the test (abort) rather than return errors that nobody expects.
 */
#ifndef WEFT_REGISTRY_NODE_TEST_UTIL_H
#define WEFT_REGISTRY_NODE_TEST_UTIL_H

#include <pthread.h>
#include <time.h>

#include "base/env/env_testing.h"
#include "registry/node_impl.h"
#include "registry/raft/peer_tls_testing.h"

#define CLUSTER_WAIT_MS 20000

struct cluster {
    struct reg_node_options opt; /* dir and id are set for each */
    struct reg_node *node[REG_NODES_MAX];
    char dir[REG_NODES_MAX][TEST_DIR];
    char tls[REG_NODES_MAX][64]; /* certificates; "" = peers without TLS */
    size_t n;
    struct env_thread *client; /* where completions run */
};

struct call {
    struct reg_write w;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
};

static inline uint64_t test_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline void client_start(void *ctx, struct env *env)
{
    (void)ctx;
    (void)env;
}

static inline void cluster_init_dirs(struct cluster *c, size_t n)
{
    struct err err = {0};
    *c = (struct cluster){.n = n};
    c->opt.member_count = n;
    c->opt.store_bytes = 32u << 20;
    for (size_t i = 0; i < n; i++) {
        struct reg_member *m = &c->opt.members[i];
        char text[64];
        m->id = i + 1;
        snprintf(m->name, sizeof(m->name), "n%zu", i + 1);
        snprintf(text, sizeof(text), "127.0.0.1:%u", test_free_port());
        wf_assert(env_addr_parse(&m->addr, slice_of(text), &err));
        test_dir_make(c->dir[i]);
    }
}

static inline void cluster_init(struct cluster *c, size_t n)
{
    struct err err = {0};
    cluster_init_dirs(c, n);
    c->client = env_thread_start("client", client_start, NULL, &err);
    wf_assert(c->client);
}

static inline bool node_up(struct cluster *c, size_t i, struct err *err)
{
    struct reg_node_options opt = c->opt;
    opt.dir = c->dir[i];
    opt.id = i + 1;
    opt.peer_tls_dir = c->tls[i][0] ? c->tls[i] : NULL;
    c->node[i] = reg_node_start(&opt, err);
    return c->node[i] != NULL;
}

static inline void must_up(struct cluster *c, size_t i)
{
    struct err err = {0};
    if (!node_up(c, i, &err))
        wf_die("node %zu: %s", i + 1, err.msg);
}

static inline void cluster_up(struct cluster *c)
{
    for (size_t i = 0; i < c->n; i++)
        must_up(c, i);
}

static inline void node_down(struct cluster *c, size_t i, bool abrupt)
{
    struct reg_node *n = c->node[i];
    c->node[i] = NULL;
    if (abrupt)
        reg_node_kill(n);
    else
        reg_node_stop(n);
}

/* With certificates, where *state is not NULL. */
static inline void cluster_begin(struct cluster *c, size_t n, void **state)
{
    struct tls_test_ca ca;
    cluster_init(c, n);
    if (!*state)
        return;
    tls_test_ca_init(&ca, time(NULL));
    for (size_t i = 0; i < n; i++)
        peer_tls_test_dir(&ca, 77, i + 1, time(NULL), c->tls[i]);
    tls_test_ca_fini(&ca);
}

static inline void cluster_fini(struct cluster *c)
{
    for (size_t i = 0; i < c->n; i++) {
        if (c->node[i])
            node_down(c, i, false);
        test_dir_remove(c->dir[i]);
        if (c->tls[i][0])
            test_dir_remove(c->tls[i]);
    }
    env_thread_join(c->client);
}

/* Calls. */

static inline void on_call(struct reg_write *w)
{
    struct call *c = container_of(w, struct call, w);
    pthread_mutex_lock(&c->lock);
    c->done = true;
    pthread_cond_broadcast(&c->cond);
    pthread_mutex_unlock(&c->lock);
}

static inline void call_begin(struct cluster *c, struct call *call)
{
    pthread_mutex_init(&call->lock, NULL);
    pthread_cond_init(&call->cond, NULL);
    call->done = false;
    call->w.env = env_thread_env(c->client);
    call->w.fn = on_call;
}

static inline void call_wait(struct call *call)
{
    pthread_mutex_lock(&call->lock);
    while (!call->done)
        pthread_cond_wait(&call->cond, &call->lock);
    pthread_mutex_unlock(&call->lock);
    pthread_mutex_destroy(&call->lock);
    pthread_cond_destroy(&call->cond);
}

static inline enum err_code put_expect(struct cluster *c, size_t i, struct slice key,
                                       struct slice value, enum reg_expect expect, reg_rev rev,
                                       wf_ms timeout, struct reg_write *ret)
{
    struct reg_op op = {.key = key, .value = value, .expect = expect, .expected = rev};
    struct call call = {.w = {.ops = &op, .op_count = 1, .timeout = timeout}};
    call_begin(c, &call);
    reg_write(c->node[i], &call.w);
    call_wait(&call);
    if (ret)
        *ret = call.w;
    return call.w.err.code;
}

static inline reg_rev must_put(struct cluster *c, size_t i, const char *key, const char *value)
{
    struct reg_write w;
    uint64_t until = test_now_ms() + CLUSTER_WAIT_MS;
    enum err_code code;
    do /* unavailable: nothing was done */
        code = put_expect(c, i, slice_of(key), slice_of(value), REG_EXPECT_ANY, 0, CLUSTER_WAIT_MS,
                          &w);
    while (code == ERR_UNAVAILABLE && test_now_ms() < until);
    if (code != ERR_NONE)
        wf_die("put %s on node %zu: %s", key, i + 1, w.err.msg);
    return w.revision;
}

static inline bool value_is(struct cluster *c, size_t i, const char *key, const char *value)
{
    struct reg_txn t;
    struct reg_object o;
    struct err err = {0};
    if (!reg_txn_begin(reg_node_store(c->node[i]), &t, &err))
        wf_die("txn: %s", err.msg);
    bool ok = reg_get(&t, slice_of(key), &o) && slice_eq(o.value, slice_of(value));
    reg_txn_end(&t);
    return ok;
}

/* Waiting for an event. */

#define WAIT_FOR(cond)                                                                             \
    do {                                                                                           \
        uint64_t until_ = test_now_ms() + CLUSTER_WAIT_MS;                                         \
        while (!(cond)) {                                                                          \
            if (test_now_ms() > until_)                                                            \
                wf_die("%s:%d: never: %s", __FILE__, __LINE__, #cond);                             \
            usleep(500);                                                                           \
        }                                                                                          \
    } while (0)

/* Index of a node that leads and is ready, or -1. */
static inline int leader_of(struct cluster *c)
{
    for (size_t i = 0; i < c->n; i++) {
        struct reg_status s;
        if (!c->node[i])
            continue;
        reg_node_status(c->node[i], &s);
        if (s.role == REG_LEADER && s.quorum)
            return (int)i;
    }
    return -1;
}

static inline size_t wait_leader(struct cluster *c)
{
    WAIT_FOR(leader_of(c) >= 0);
    int l = leader_of(c);
    return l >= 0 ? (size_t)l : wait_leader(c);
}

static inline reg_rev applied_of(struct cluster *c, size_t i)
{
    struct reg_status s;
    reg_node_status(c->node[i], &s);
    return s.applied_index;
}

/* A node that starts empty votes only once a leader has spoken to it: before one is killed on
 * purpose, all must have what was written. */
static inline void must_put_everywhere(struct cluster *c, size_t at, const char *key,
                                       const char *value)
{
    must_put(c, at, key, value);
    for (size_t i = 0; i < c->n; i++)
        WAIT_FOR(value_is(c, i, key, value));
}

#endif
