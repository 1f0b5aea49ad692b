/* If these fail, a benchmark of failover can count a lost write as kept, or measure a write that
 * was sent before the leader died. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/core/assert.h"
#include "base/env/env_uv.h"
#include "base/wire/json.h"
#include "bench/regload/load.h"

/* A store that answers in the next turn; server 0 can be dead. */
struct fake {
    struct env *env;
    const struct regload_events *events;
    void *ctx;
    struct env_task ready, done, closed;
    bool to_dead;
};

static bool first_is_dead;
static uint64_t keys_put, refuse_key;

static void on_ready(struct env_task *t)
{
    struct fake *f = container_of(t, struct fake, ready);
    f->events->on_ready(f->ctx);
}

static void on_done(struct env_task *t)
{
    struct fake *f = container_of(t, struct fake, done);
    bool refuse = keys_put == refuse_key;
    f->events->on_done(f->ctx, !refuse, S("no"));
}

static void on_closed(struct env_task *t)
{
    struct fake *f = container_of(t, struct fake, closed);
    f->events->on_close(f->ctx, S("dead"));
    mem_free(f);
}

static struct regload_client *fake_open(struct env *env, const struct env_addr *to,
                                        const struct regload_events *events, void *ctx)
{
    struct fake *f = MEM_NEW(struct fake);
    *f = (struct fake){.env = env,
                       .events = events,
                       .ctx = ctx,
                       .ready.fn = on_ready,
                       .done.fn = on_done,
                       .closed.fn = on_closed,
                       .to_dead = env_addr_port(to) == 1};
    env_defer(env, f->to_dead && first_is_dead ? &f->closed : &f->ready);
    return (struct regload_client *)f;
}

static void fake_put(struct regload_client *c, const struct regload_put *put)
{
    struct fake *f = (struct fake *)c;
    (void)put;
    keys_put++;
    env_defer(f->env, f->to_dead && first_is_dead ? &f->closed : &f->done);
}

static void fake_close(struct regload_client *c)
{
    struct fake *f = (struct fake *)c;
    if (!f)
        return;
    env_defer_cancel(&f->ready);
    env_defer_cancel(&f->done);
    env_defer_cancel(&f->closed);
    mem_free(f);
}

static const struct regload_store fake_store = {
    .name = "fake", .open = fake_open, .put = fake_put, .close = fake_close};

static struct regload_options options(enum regload_mode mode)
{
    struct err err = {0};
    struct regload_options o = {.store = &fake_store,
                                .server_count = 2,
                                .mode = mode,
                                .clients = 4,
                                .keys = 20,
                                .rate = 1000,
                                .timeout_ms = 1000};
    wf_assert(env_addr_parse(&o.servers[0], S("127.0.0.1:1"), &err));
    wf_assert(env_addr_parse(&o.servers[1], S("127.0.0.1:2"), &err));
    first_is_dead = false;
    keys_put = refuse_key = 0;
    return o;
}

static void stop(void *ctx)
{
    env_uv_stop(ctx);
}

static void a_fill_writes_each_key_once(void **state)
{
    struct env *env = env_uv_new(NULL);
    struct regload_options o = options(REGLOAD_FILL);
    struct regload l;
    (void)state;
    refuse_key = 7;
    regload_init(&l, env, &o);
    l.on_filled = stop;
    l.ctx = env;
    regload_start(&l);
    env_uv_run(env);
    assert_int_equal(keys_put, 20);
    assert_int_equal(l.us.n + l.failed, 20);
    assert_true(l.failed > 0);
    regload_fini(&l);
    env_uv_free(env);
}

struct kill {
    struct env *env;
    struct regload *load;
    uint64_t at_ns;
};

static void count_acks(void *ctx, const struct regload_ack *ack)
{
    struct kill *k = ctx;
    if (k->load->acks.n == 20) {
        first_is_dead = true;
        k->at_ns = env_now_ns(k->env);
    }
    if (k->at_ns && ack->sent_ns >= k->at_ns && k->load->acks.n >= 60)
        env_uv_stop(k->env);
}

static void a_dead_server_is_left_and_what_was_acked_is_kept(void **state)
{
    struct env *env = env_uv_new(NULL);
    struct regload_options o = options(REGLOAD_STEADY);
    struct regload l;
    struct kill k = {.env = env, .load = &l};
    (void)state;
    regload_init(&l, env, &o);
    l.on_ack = count_acks;
    l.ctx = &k;
    regload_start(&l);
    env_uv_run(env);
    assert_true(l.lost > 0); /* on their way to the dead one: not acknowledged */
    assert_true(l.acks.n >= 60);
    for (size_t i = 1; i < l.acks.n; i++)
        assert_true(l.acks.p[i].acked_ns >= l.acks.p[i - 1].acked_ns);
    const struct regload_ack *first = regload_first_after(&l, k.at_ns);
    assert_non_null(first);
    assert_true(first->sent_ns >= k.at_ns);
    for (const struct regload_ack *a = l.acks.p; a < first; a++)
        assert_true(a->sent_ns < k.at_ns);
    assert_null(regload_first_after(&l, UINT64_MAX));
    regload_fini(&l);
    env_uv_free(env);
}

static void a_value_is_json_of_the_length_asked_for(void **state)
{
    static const struct regload_put puts[] = {
        {.bytes = REGLOAD_VALUE_BYTES},
        {.key = 99999999, .value = UINT64_MAX, .bytes = REGLOAD_VALUE_BYTES},
        {.key = 17, .value = 1, .bytes = REGLOAD_VALUE_BYTES_MAX},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(puts); i++) {
        char text[REGLOAD_VALUE_BYTES_MAX], name[REGLOAD_KEY_BYTES];
        struct err err = {0};
        struct slice value = regload_value(&puts[i], text);
        assert_int_equal(value.n, puts[i].bytes);
        json_t *o = json_parse(value, &err);
        assert_non_null(o);
        assert_true(slice_eq(json_str(o, "metadata.name"), regload_name(puts[i].key, name)));
        json_decref(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fill_writes_each_key_once),
        cmocka_unit_test(a_dead_server_is_left_and_what_was_acked_is_kept),
        cmocka_unit_test(a_value_is_json_of_the_length_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
