#include "proxy/test_world.h"

/* A fake that sends back what it gets, and a FIN for a FIN. */
static void echo_accept(void *ctx, struct env_stream *es)
{
    struct fake *f = ctx;
    struct fake_conn *c = MEM_NEW(struct fake_conn);
    c->f = f;
    c->es = es;
    c->tunnel = true;
    f->accepted++;
    f->open++;
    list_push(&f->conns, &c->node);
    env_stream_set_events(es, &fake_events, c);
}

static void tune_tcp(struct parts *p)
{
    p->chain->kind = CHAIN_TCP;
    p->chain->tcp_clusters = p->route->clusters;
    p->chain->tcp_cluster_count = 1;
    p->chain->tcp_weight_total = 1;
}

static void world_tcp(struct world *w, size_t fakes, void (*tune)(struct parts *p))
{
    world_begin_with(w, fakes, echo_accept);
    world_run(w, tune);
}

/* Wrong: bytes are lost, or one side's end ends both. */
static void test_relay(void **state)
{
    (void)state;
    struct world w;
    world_tcp(&w, 1, tune_tcp);
    struct client *c = client_open(&w);
    client_send(c, "hello");
    UNTIL(&w, client_has(c, "hello"));
    struct fake_conn *up = container_of(list_first(&w.fakes[0].conns), struct fake_conn, node);
    env_stream_shutdown(up->es); /* the upstream says no more, and still listens */
    UNTIL(&w, c->ended);
    assert_false(c->closed);
    up->tunnel = false; /* and gathers */
    client_send(c, "one more thing");
    UNTIL(&w, up->in.n == 14);
    env_stream_shutdown(c->es);
    UNTIL(&w, c->closed && w.worker->conn_count == 0);
    assert_true(metric_of(&w, "istio_tcp_connections_opened_total", "reviews-v1") == 1);
    assert_true(metric_of(&w, "istio_tcp_connections_closed_total", "reviews-v1") == 1);
    assert_true(metric_of(&w, "istio_tcp_received_bytes_total", "reviews-v1") == 19);
    assert_true(metric_of(&w, "istio_tcp_sent_bytes_total", "reviews-v1") == 5);
    world_end(&w);
}

static void tune_first_dead(struct parts *p)
{
    tune_tcp(p);
    env_addr_set_port(&p->endpoints->items[0].addr, 1);
}

/* Wrong: a dead instance is seen, although nothing was sent yet. */
static void test_next_endpoint(void **state)
{
    (void)state;
    struct world w;
    world_tcp(&w, 2, tune_first_dead);
    for (int i = 0; i < 4; i++) {
        struct client *c = client_open(&w);
        client_send(c, "x");
        UNTIL(&w, client_has(c, "x"));
    }
    assert_int_equal(w.fakes[1].accepted, 4);
    world_end(&w);
}

static void tune_all_dead(struct parts *p)
{
    tune_tcp(p);
    env_addr_set_port(&p->endpoints->items[0].addr, 1);
}

static void tune_none(struct parts *p)
{
    tune_tcp(p);
    p->endpoints->n = 0;
}

static void tune_no_cluster(struct parts *p)
{
    tune_tcp(p);
    p->chain->tcp_clusters[0].cluster = S("gone");
}

static void tune_one(struct parts *p)
{
    tune_tcp(p);
    p->cluster->max_connections = 0;
}

/* Wrong: a connection that nobody takes hangs, and nobody can say why. */
static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        void (*tune)(struct parts *p);
        const char *flags;
    } cases[] = {{tune_all_dead, "\"UF,URX\""},
                 {tune_none, "\"UH\""},
                 {tune_no_cluster, "\"NC\""},
                 {tune_one, "\"UO\""}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world w;
        world_tcp(&w, 1, cases[i].tune);
        struct client *c = client_open(&w);
        client_send(c, "x");
        UNTIL(&w, c->ended);
        assert_int_equal(c->received, 0);
        UNTIL(&w, metric_of(&w, "istio_tcp_connections_closed_total", cases[i].flags) == 1);
        world_end(&w);
    }
}

static void tune_idle(struct parts *p)
{
    tune_tcp(p);
    p->chain->idle_timeout = 300;
}

/* Wrong: forgotten connections stay for ever. */
static void test_idle(void **state)
{
    (void)state;
    struct world w;
    world_tcp(&w, 1, tune_idle);
    struct client *c = client_open(&w);
    client_send(c, "x");
    UNTIL(&w, client_has(c, "x"));
    UNTIL(&w, c->ended && w.fakes[0].open == 0);
    world_end(&w);
}

/* Wrong: one side's slowness is our memory; or bytes are lost when it goes on. */
static void test_backpressure(void **state)
{
    (void)state;
    enum { PIECE = 1 << 20, SIZE = 48 << 20 };
    struct world w;
    world_tcp(&w, 1, tune_tcp);
    struct client *c = client_open(&w);
    char *piece = mem_new(PIECE + 1);
    uint64_t sent = 0;
    c->count_only = true;
    memset(piece, 'x', PIECE);
    client_send(c, "x");
    UNTIL(&w, c->received == 1);
    env_stream_read_pause(c->es); /* the echo comes back to nobody */
    for (int quiet = 0; quiet < 20;) {
        if (env_stream_queued(c->es) == 0) {
            client_send(c, piece);
            sent += PIECE;
            quiet = 0;
        } else {
            quiet++;
        }
        assert_true(sent < SIZE);
        env_uv_turn(w.env, 2);
        /* The fake has no bound of its own: what it gathers is its kernel's and its own queue. */
        struct fake_conn *up = container_of(list_first(&w.fakes[0].conns), struct fake_conn, node);
        if (env_stream_queued(up->es) > PIECE)
            env_stream_read_pause(up->es);
    }
    struct fake_conn *up = container_of(list_first(&w.fakes[0].conns), struct fake_conn, node);
    env_stream_read_resume(up->es);
    env_stream_read_resume(c->es);
    UNTIL(&w, c->received == sent + 1);
    mem_free(piece);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relay),        cmocka_unit_test(test_next_endpoint),
        cmocka_unit_test(test_refusals),     cmocka_unit_test(test_idle),
        cmocka_unit_test(test_backpressure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
