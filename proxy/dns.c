#include "proxy/dns.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/core/assert.h"

struct dns_name {
    struct env *env;
    char host[DNS_NAME_MAX + 1], port[8];
    bool busy, telling, orphan;
    void (*idle)(void *ctx);
    void *ctx;
    size_t n, turn;
    struct env_addr addrs[DNS_ADDRS_MAX];
    wf_ms asked; /* when the last answer, or failure, came; 0 = never */
    bool failed;
    struct list waiting;
    struct env_work work;
    /* The helper thread's, while busy. */
    size_t found;
    struct env_addr answer[DNS_ADDRS_MAX];
};

struct dns_name *dns_name_new(struct env *env, struct slice host, uint16_t port,
                              void (*idle)(void *ctx), void *ctx)
{
    struct dns_name *d = MEM_NEW(struct dns_name);
    if (!host.n || !slice_cstr(host, d->host, sizeof(d->host))) {
        mem_free(d);
        return NULL;
    }
    d->env = env;
    d->idle = idle;
    d->ctx = ctx;
    snprintf(d->port, sizeof(d->port), "%u", port);
    list_init(&d->waiting);
    return d;
}

void dns_name_free(struct dns_name *d)
{
    if (!d)
        return;
    while (list_pop(&d->waiting))
        ;
    d->orphan = true;
    if (!dns_name_busy(d))
        mem_free(d);
}

bool dns_name_busy(const struct dns_name *d)
{
    return d->busy || d->telling;
}

static void ask(struct env_work *w)
{
    struct dns_name *d = container_of(w, struct dns_name, work);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *all = NULL;
    d->found = 0;
    if (getaddrinfo(d->host, d->port, &hints, &all) != 0)
        return;
    for (const struct addrinfo *a = all; a && d->found < DNS_ADDRS_MAX; a = a->ai_next) {
        if (a->ai_addrlen > sizeof(struct sockaddr_in6))
            continue;
        struct env_addr *to = &d->answer[d->found++];
        *to = (struct env_addr){.len = a->ai_addrlen};
        memcpy(&to->sa, a->ai_addr, a->ai_addrlen);
    }
    freeaddrinfo(all);
}

static void answered(struct env_work *w)
{
    struct dns_name *d = container_of(w, struct dns_name, work);
    struct list_node *n;
    d->busy = false;
    if (d->orphan) {
        mem_free(d);
        return;
    }
    d->asked = env_now(d->env);
    d->failed = d->found == 0;
    if (d->found) {
        d->n = d->found;
        memcpy(d->addrs, d->answer, sizeof(d->addrs));
    }
    bool ok = d->n > 0;
    struct list ready = {{0}};
    list_init(&ready);
    while ((n = list_pop(&d->waiting)))
        list_push(&ready, n);
    d->telling = true;
    while ((n = list_pop(&ready))) {
        struct dns_wait *wait = container_of(n, struct dns_wait, node);
        wait->fn(wait, ok);
    }
    d->telling = false;
    if (d->orphan && !d->busy)
        mem_free(d);
    else if (!d->orphan && !d->busy)
        d->idle(d->ctx);
}

enum dns_result dns_lookup(struct dns_name *d, struct dns_wait *w)
{
    wf_ms age = env_now(d->env) - d->asked;
    bool stale = !d->asked || age >= (d->failed ? DNS_FAILED_MS : DNS_FRESH_MS);
    if (stale && !d->busy) {
        d->busy = true;
        d->work.work = ask;
        d->work.done = answered;
        env_work(d->env, &d->work);
    }
    if (d->n)
        return DNS_READY;
    if (!d->busy)
        return DNS_FAILED;
    list_push(&d->waiting, &w->node);
    return DNS_WAIT;
}

void dns_wait_cancel(struct dns_wait *w)
{
    list_remove(&w->node);
}

const struct env_addr *dns_next(struct dns_name *d)
{
    wf_assert(d->n > 0);
    return &d->addrs[d->turn++ % d->n];
}
