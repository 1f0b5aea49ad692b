#include "proxy/test_world.h"

#define WORKERS 3

struct threads {
    struct world w; /* its loop has the fakes and the clients; the workers have their own */
    struct worker *workers[WORKERS];
    struct worker_update updates[WORKERS];
    int pending, failed;
    struct env_addr at;
};

/* A port that was free a moment ago; the caller tries again if it no longer is. */
static void pick_port(struct threads *t)
{
    struct env_addr any;
    assert_true(env_addr_parse(&any, S("127.0.0.1:0"), NULL));
    struct env_listener *l = env_listen(t->w.env, &any, NULL, fake_accept, &t->w.fakes[0], NULL);
    t->at = t->w.proxy = *env_listener_addr(l);
    env_listener_close(l);
}

static struct conf *tree(struct threads *t, uint64_t generation)
{
    struct conf *c = world_conf(&t->w, NULL);
    c->listeners[0]->addr = t->at;
    c->generation = generation;
    return c;
}

static bool start_all(struct threads *t)
{
    struct conf *c = tree(t, 1);
    for (size_t i = 0; i < WORKERS; i++)
        t->workers[i] = worker_start(&(struct worker_options){.conf = c}, NULL);
    conf_unref(c);
    for (size_t i = 0; i < WORKERS; i++)
        if (!t->workers[i])
            return false;
    return true;
}

static void stop_all(struct threads *t)
{
    for (size_t i = 0; i < WORKERS; i++)
        worker_stop(t->workers[i]);
}

static void on_done(struct worker_update *u)
{
    struct threads *t = u->ctx;
    t->failed += u->failures.list.n > 0;
    bind_failures_fini(&u->failures);
    t->pending--;
}

static void update_all(struct threads *t, struct conf *c)
{
    t->pending = WORKERS;
    for (size_t i = 0; i < WORKERS; i++) {
        t->updates[i] =
            (struct worker_update){.conf = c, .reply_to = t->w.env, .done = on_done, .ctx = t};
        worker_update(t->workers[i], &t->updates[i]);
    }
    UNTIL(&t->w, t->pending == 0);
}

static void end(struct threads *t)
{
    LIST_EACH (&t->w.clients, n)
        client_close(container_of(n, struct client, node));
    for (size_t i = 0; i < t->w.fake_n; i++)
        env_listener_close(t->w.fakes[i].listener);
    env_uv_free(t->w.env);
    struct list_node *n;
    while ((n = list_pop(&t->w.clients))) {
        struct client *c = container_of(n, struct client, node);
        buf_fini(&c->in);
        mem_free(c);
    }
    for (size_t i = 0; i < t->w.fake_n; i++)
        buf_fini(&t->w.fakes[i].last);
}

/* Wrong: trees are freed under a worker that uses them, or a swap on many threads costs requests.
 */
static void test_threads(void **state)
{
    (void)state;
    struct threads t = {.pending = 0};
    struct client *c[12];
    uint64_t requests = 0;
    bool started = false;
    world_begin(&t.w, 2);
    for (int i = 0; i < 10 && !started; i++) {
        pick_port(&t);
        started = start_all(&t);
        if (!started)
            stop_all(&t);
    }
    assert_true(started);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        c[i] = client_open(&t.w);
    for (uint64_t round = 0; round < 20; round++) {
        struct conf *next = tree(&t, round + 2);
        update_all(&t, next);
        conf_unref(next);
        for (size_t i = 0; i < ARRAY_LEN(c); i++, requests++)
            assert_int_equal(client_get(c[i], "/ok"), 200);
    }
    assert_int_equal(t.failed, 0);
    struct metric_set *sets[WORKERS];
    for (size_t i = 0; i < WORKERS; i++)
        sets[i] = worker_metrics(t.workers[i]);
    struct buf text = {0};
    char want[128];
    metric_write_text(sets, WORKERS, &text); /* while they run */
    snprintf(want, sizeof(want),
             "envoy_cluster_upstream_rq_total{envoy_cluster_name=\"outbound|80||reviews\"} %llu\n",
             (unsigned long long)requests);
    assert_true(slice_contains(buf_slice(&text), slice_of(want)));
    buf_fini(&text);
    struct conf *bad = tree(&t, 99);
    bad->listeners[0]->name = S("other");
    bad->listeners[0]->addr = t.w.fakes[0].addr;
    update_all(&t, bad);
    conf_unref(bad);
    assert_int_equal(t.failed, WORKERS);
    assert_int_equal(client_get(c[0], "/ok"), 200);
    stop_all(&t);
    UNTIL(&t.w, c[0]->ended && c[11]->ended);
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
