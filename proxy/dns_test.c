/* If these fail, each request for a slow name asks the resolver again, until questions fill the
 * memory; or the answer comes to a name that is gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "base/env/env_uv.h"
#include "proxy/dns.h"

#define WAITERS 100

struct world {
    struct env *env;
    struct dns_name *d;
    size_t told, ok, idle;
    bool free_at_first, free_when_idle;
};

static void on_idle(void *ctx)
{
    struct world *w = ctx;
    w->idle++;
    assert_false(dns_name_busy(w->d));
    if (w->free_when_idle) {
        dns_name_free(w->d);
        w->d = NULL;
    }
}

struct waiter {
    struct dns_wait wait;
    struct world *w;
};

static void on_name(struct dns_wait *wait, bool ok)
{
    struct world *w = container_of(wait, struct waiter, wait)->w;
    w->told++;
    w->ok += ok;
    if (w->free_at_first && w->d) {
        dns_name_free(w->d);
        w->d = NULL;
    }
}

static void world_start(struct world *w, const char *name)
{
    struct err err = {0};
    *w = (struct world){.env = env_uv_new(&err)};
    assert_non_null(w->env);
    w->d = dns_name_new(w->env, slice_of(name), 80, on_idle, w);
    assert_non_null(w->d);
}

static void world_end(struct world *w)
{
    dns_name_free(w->d);
    env_uv_free(w->env);
}

static void wait_all(struct world *w, struct waiter *waiters, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        waiters[i] = (struct waiter){.wait.fn = on_name, .w = w};
        assert_int_equal(dns_lookup(w->d, &waiters[i].wait), DNS_WAIT);
    }
    assert_true(dns_name_busy(w->d));
    for (int turns = 0; w->told < n && turns < 1000; turns++)
        env_uv_turn(w->env, 100);
    assert_int_equal(w->told, n);
}

/* All that come while a question is under way are told by its answer; then the name is idle, once.
 */
static void test_one_question(void **state)
{
    (void)state;
    struct world w;
    struct waiter waiters[WAITERS];
    world_start(&w, "127.0.0.1");
    wait_all(&w, waiters, WAITERS);
    assert_int_equal(w.ok, WAITERS);
    assert_int_equal(w.idle, 1);
    assert_int_equal(dns_lookup(w.d, &waiters[0].wait), DNS_READY);
    assert_int_equal(env_addr_port(dns_next(w.d)), 80);
    assert_int_equal(w.idle, 1);
    world_end(&w);
}

/* The owner lets go as soon as nothing is under way, or while waiters are being told. */
static void test_free_in_callbacks(void **state)
{
    (void)state;
    struct world w;
    struct waiter waiters[3];
    world_start(&w, "127.0.0.1");
    w.free_when_idle = true;
    wait_all(&w, waiters, 3);
    assert_null(w.d);
    world_end(&w);

    world_start(&w, "127.0.0.1");
    w.free_at_first = true;
    wait_all(&w, waiters, 3);
    assert_null(w.d);
    assert_int_equal(w.idle, 0);
    world_end(&w);
}

/* Nobody is told about a name that is gone; the question ends by itself. */
static void test_free_while_busy(void **state)
{
    (void)state;
    struct world w;
    struct waiter waiter = {.wait.fn = on_name, .w = &w};
    world_start(&w, "127.0.0.1");
    assert_int_equal(dns_lookup(w.d, &waiter.wait), DNS_WAIT);
    dns_name_free(w.d);
    w.d = NULL;
    world_end(&w);
    assert_int_equal(w.told + w.idle, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_question),
        cmocka_unit_test(test_free_in_callbacks),
        cmocka_unit_test(test_free_while_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
