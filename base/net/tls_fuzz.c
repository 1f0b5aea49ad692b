/* Hostile bytes instead of a handshake, and in the middle of a connection: nothing of them reaches
 * the owner, who hears of one end at most, and nothing is left behind.
 *
 * The first byte says which end gets them, when, and how they are cut. */
#include "base/net/tls_testing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct end {
    struct mem_stream mem;
    struct env_stream *s;
    size_t got, expected;
    int closes;
};

static void on_data(void *ctx, struct slice bytes)
{
    struct end *e = ctx;
    e->got += bytes.n;
    wf_assert(e->got <= e->expected);
}

static void on_end(void *ctx)
{
    (void)ctx;
}

static void on_close(void *ctx, const struct err *why)
{
    struct end *e = ctx;
    (void)why;
    wf_assert(e->closes++ == 0);
    e->s = NULL;
}

static const struct env_stream_events events = {
    .on_data = on_data, .on_end = on_end, .on_close = on_close};

static struct tls_ctx *context(void)
{
    static struct tls_ctx *ctx;
    const int64_t now = 1700000000;
    if (!ctx) {
        struct tls_test_ca ca;
        tls_test_ca_init(&ca, now);
        ctx = tls_test_ctx(&ca, &ca,
                           &(struct x509_subject){.name = S("n1"),
                                                  .uri = S("weft://x/node/1"),
                                                  .from = now - 10,
                                                  .until = now + TLS_TEST_DAY});
        tls_test_ca_fini(&ca);
    }
    return ctx;
}

static void settle(struct mem_env *env, struct end e[2])
{
    bool any = true;
    while (any) {
        any = mem_move(&e[0].mem, &e[1].mem, 0);
        any |= mem_move(&e[1].mem, &e[0].mem, 0);
        env_impl_run_deferred(&env->base);
    }
}

static void exchange(struct mem_env *env, struct end e[2])
{
    for (int i = 0; i < 2; i++)
        if (e[i].s) {
            e[1 - i].expected += 5;
            env_stream_write(e[i].s, &(struct iovec){(void *)(uintptr_t) "hello", 5}, 1);
        }
    settle(env, e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mem_env env;
    struct end e[2] = {0};
    if (size < 1)
        return 0;
    struct end *victim = &e[data[0] & 1];
    bool after = data[0] & 2;
    size_t cut = data[0] >> 2;
    struct slice rest = slice_mem(data + 1, size - 1);
    mem_env_init(&env);
    const struct tls_options opt = {.ctx = context()};
    for (int i = 0; i < 2; i++) {
        e[i].s = tls_over(&env.base, mem_stream_init(&e[i].mem, &env),
                          i == 0 ? TLS_CLIENT : TLS_SERVER, &opt);
        env_stream_set_events(e[i].s, &events, &e[i]);
    }
    if (after) {
        exchange(&env, e);
        wf_assert(e[0].got == 5 && e[1].got == 5);
    }
    while (rest.n) {
        struct slice one = slice_sub(rest, 0, cut ? cut : rest.n);
        mem_arrive(&victim->mem, one);
        rest = slice_skip(rest, one.n);
        env_impl_run_deferred(&env.base);
    }
    settle(&env, e);
    exchange(&env, e);
    for (int i = 0; i < 2; i++) {
        if (e[i].s)
            env_stream_close(e[i].s);
        env_impl_run_deferred(&env.base);
        wf_assert(!e[i].s && e[i].closes == 1);
        buf_fini(&e[i].mem.out);
    }
    return 0;
}
