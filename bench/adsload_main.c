/* weft-adsload: a thousand pretended proxies on delta ADS that acknowledge everything and count
 * bytes.
 *
 *   weft-adsload --server 127.0.0.1:15012 --proxies 1000 --scenario watch
 *
 * Scenarios: connect (all connect, wait until all are in sync, end), reconnect (then all drop their
 * connections and come back with the versions that they hold, end), watch (connect, then commands
 * on standard input). Commands: connect, reconnect, mark NAME [timeout ms], stats, quit. `mark`
 * starts a clock and says when each proxy has got its next resource.
 *
 * Output: one JSON line an event. Times in ms from the command; *_ns are CLOCK_MONOTONIC, to be
 * compared with what another program on this machine noted. Exit status 1 when a scenario did not
 * get there in
 * --timeout ms. */
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/core/log.h"
#include "base/env/env_uv.h"
#include "bench/adsload/proxy.h"

#define LINE_BYTES 256

enum scenario { SCENARIO_CONNECT, SCENARIO_RECONNECT, SCENARIO_WATCH };
static const char *const scenario_names[] = {"connect", "reconnect", "watch"};

/* Something that every proxy has to do once: when each of them did. */
struct race {
    const char *event;
    char name[64];
    bool running;
    uint64_t from_ns;
    uint64_t *at; /* one a proxy */
    uint32_t n;
    struct load_stats before;
    struct env_timer timeout;
};

struct program {
    struct env *env;
    struct load load;
    struct load_options opt;
    enum scenario scenario;
    wf_ms timeout_ms;
    struct race sync, mark;
    bool reconnected, failed;
};

/* Output. */

static int cmp_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double ms_since(const struct race *r, uint64_t at)
{
    return ((double)at - (double)r->from_ns) / 1e6;
}

static void print_stats(const struct load_stats *now, const struct load_stats *before)
{
    printf("\"bytes\":%" PRIu64 ",\"resource_bytes\":%" PRIu64 ",\"resources\":%" PRIu64
           ",\"removed\":%" PRIu64 ",\"responses\":%" PRIu64 ",\"request_bytes\":%" PRIu64
           ",\"requests\":%" PRIu64 ",\"connects\":%" PRIu64 ",\"losses\":%" PRIu64
           ",\"errors\":%" PRIu64,
           now->bytes - before->bytes, now->resource_bytes - before->resource_bytes,
           now->resources - before->resources, now->removed - before->removed,
           now->responses - before->responses, now->request_bytes - before->request_bytes,
           now->requests - before->requests, now->connects - before->connects,
           now->losses - before->losses, now->errors - before->errors);
}

static void print_race(struct program *p, struct race *r)
{
    printf("{\"event\":\"%s\",\"name\":\"%s\",\"proxies\":%u,\"done\":%u", r->event, r->name,
           p->opt.proxies, r->n);
    if (r->n) {
        qsort(r->at, r->n, sizeof(r->at[0]), cmp_u64);
        printf(",\"first_ms\":%.3f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"last_ms\":%.3f",
               ms_since(r, r->at[0]), ms_since(r, r->at[r->n / 2]),
               ms_since(r, r->at[(size_t)((double)(r->n - 1) * 0.99)]),
               ms_since(r, r->at[r->n - 1]));
        printf(",\"from_ns\":%" PRIu64 ",\"first_ns\":%" PRIu64 ",\"last_ns\":%" PRIu64, r->from_ns,
               r->at[0], r->at[r->n - 1]);
    }
    printf(",");
    print_stats(&p->load.stats, &r->before);
    printf("}\n");
    fflush(stdout);
}

/* Races. */

static void race_start(struct program *p, struct race *r, const char *name, wf_ms timeout)
{
    snprintf(r->name, sizeof(r->name), "%s", name);
    r->running = true;
    r->n = 0;
    r->from_ns = env_now_ns(p->env);
    r->before = p->load.stats;
    env_timer_start(p->env, &r->timeout, timeout);
}

static void race_end(struct program *p, struct race *r)
{
    r->running = false;
    env_timer_stop(p->env, &r->timeout);
    print_race(p, r);
    malloc_trim(0); /* a thousand first responses in pieces are a gigabyte */
}

/* true: that was the last one. */
static bool race_count(struct program *p, struct race *r, uint64_t at)
{
    if (!r->running || r->n == p->opt.proxies)
        return false;
    r->at[r->n++] = at;
    return r->n == p->opt.proxies;
}

static void reconnect(struct program *p)
{
    race_start(p, &p->sync, "reconnect", p->timeout_ms);
    load_restart(&p->load);
}

static void scenario_next(struct program *p)
{
    if (p->scenario == SCENARIO_WATCH)
        return;
    if (p->scenario == SCENARIO_RECONNECT && !p->reconnected) {
        p->reconnected = true;
        reconnect(p);
        return;
    }
    env_uv_stop(p->env);
}

static void on_synced(void *ctx, uint64_t at)
{
    struct program *p = ctx;
    /* A proxy that lost its connection and came back counts once. */
    if (!race_count(p, &p->sync, at))
        return;
    race_end(p, &p->sync);
    scenario_next(p);
}

static void on_marked(void *ctx, uint64_t at)
{
    struct program *p = ctx;
    if (race_count(p, &p->mark, at))
        race_end(p, &p->mark);
}

static void on_sync_timeout(struct env_timer *t)
{
    struct program *p = container_of(t, struct program, sync.timeout);
    race_end(p, &p->sync);
    p->failed = true;
    if (p->scenario != SCENARIO_WATCH)
        env_uv_stop(p->env);
}

static void on_mark_timeout(struct env_timer *t)
{
    struct program *p = container_of(t, struct program, mark.timeout);
    race_end(p, &p->mark);
}

/* Commands. */

struct command {
    struct env_post post;
    struct program *program;
    char line[LINE_BYTES];
};

static void run_mark(struct program *p, struct slice rest)
{
    struct slice name, timeout;
    char text[64];
    uint64_t ms = 10000;
    slice_cut(rest, ' ', &name, &timeout);
    if (!slice_cstr(name, text, sizeof(text)) || (timeout.n && !slice_u64(timeout, &ms))) {
        printf("{\"event\":\"error\",\"message\":\"mark NAME [timeout ms]\"}\n");
        return;
    }
    load_mark(&p->load);
    race_start(p, &p->mark, text, (wf_ms)ms);
    printf("{\"event\":\"marking\",\"name\":\"%s\",\"from_ns\":%" PRIu64 "}\n", text,
           p->mark.from_ns);
}

static void run_stats(struct program *p)
{
    const struct load_stats none = {0};
    printf("{\"event\":\"stats\",\"proxies\":%u,\"synced\":%u,", p->opt.proxies, p->load.synced);
    print_stats(&p->load.stats, &none);
    printf("}\n");
}

static void run_command(struct program *p, struct slice line)
{
    struct slice verb, rest;
    slice_cut(slice_trim(line), ' ', &verb, &rest);
    if (slice_eq(verb, S("quit")))
        env_uv_stop(p->env);
    else if (slice_eq(verb, S("reconnect")))
        reconnect(p);
    else if (slice_eq(verb, S("mark")))
        run_mark(p, rest);
    else if (slice_eq(verb, S("stats")))
        run_stats(p);
    else if (verb.n)
        printf("{\"event\":\"error\",\"message\":\"commands: reconnect, mark NAME [ms], stats, "
               "quit\"}\n");
    fflush(stdout);
}

static void on_command(struct env_post *post)
{
    struct command *c = container_of(post, struct command, post);
    struct slice line = slice_of(c->line);
    if (slice_ends(line, S("\n")))
        line.n--;
    run_command(c->program, line);
    mem_free(c);
}

/* Its own thread, because standard input blocks. End of input means quit. */
static void *read_commands(void *arg)
{
    struct program *p = arg;
    for (bool more = true; more;) {
        struct command *c = MEM_NEW(struct command);
        c->post.fn = on_command;
        c->program = p;
        more = fgets(c->line, sizeof(c->line), stdin) != NULL;
        if (!more)
            snprintf(c->line, sizeof(c->line), "quit");
        more = more && strncmp(c->line, "quit", 4) != 0;
        env_post(p->env, &c->post);
    }
    return NULL;
}

/* Options. */

static const char usage[] =
    "weft-adsload --server ADDR [--server ADDR …] [--proxies N] [--scenario "
    "connect|reconnect|watch]\n"
    "             [--rate CONNECTS_PER_SECOND] [--agent weft-proxy] [--namespace default]\n"
    "             [--capture NONE] [--timeout MS]\n";

static bool add_server(struct load_options *o, const char *text)
{
    struct err err;
    if (o->server_count == LOAD_SERVERS_MAX) {
        fprintf(stderr, "weft-adsload: more than %d servers\n", LOAD_SERVERS_MAX);
        return false;
    }
    if (env_addr_parse(&o->servers[o->server_count], slice_of(text), &err)) {
        o->server_count++;
        return true;
    }
    fprintf(stderr, "weft-adsload: --server %s: %s\n", text, err.msg);
    return false;
}

static bool set_scenario(struct program *p, const char *text)
{
    for (size_t i = 0; i < ARRAY_LEN(scenario_names); i++) {
        if (strcmp(scenario_names[i], text) != 0)
            continue;
        p->scenario = (enum scenario)i;
        return true;
    }
    return false;
}

static bool set_u32(const char *text, uint32_t max, uint32_t *ret)
{
    uint32_t v;
    if (!slice_u32(slice_of(text), &v) || v > max)
        return false;
    *ret = v;
    return true;
}

static bool set_option(struct program *p, int opt, const char *value)
{
    struct load_options *o = &p->opt;
    uint32_t ms;
    switch (opt) {
    case 's':
        return add_server(o, value);
    case 'p':
        return set_u32(value, LOAD_PROXIES_MAX, &o->proxies);
    case 'c':
        return set_scenario(p, value);
    case 'r':
        return set_u32(value, 1000000, &o->rate);
    case 'a':
        o->agent = slice_of(value);
        return true;
    case 'n':
        o->ns = slice_of(value);
        return true;
    case 'i':
        o->capture = slice_of(value);
        return true;
    case 't':
        if (!set_u32(value, 3600000, &ms))
            return false;
        p->timeout_ms = (wf_ms)ms;
        return true;
    }
    return false;
}

static bool parse_options(struct program *p, int argc, char **argv)
{
    static const struct option longs[] = {
        {"server", required_argument, NULL, 's'},
        {"proxies", required_argument, NULL, 'p'},
        {"scenario", required_argument, NULL, 'c'},
        {"rate", required_argument, NULL, 'r'},
        {"agent", required_argument, NULL, 'a'},
        {"namespace", required_argument, NULL, 'n'},
        {"capture", required_argument, NULL, 'i'},
        {"timeout", required_argument, NULL, 't'},
        {0},
    };
    int opt;
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1)
        if (!set_option(p, opt, optarg))
            return false;
    return optind == argc && p->opt.server_count && p->opt.proxies;
}

static void raise_files(uint32_t proxies)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) != 0)
        return;
    lim.rlim_cur = lim.rlim_max;
    setrlimit(RLIMIT_NOFILE, &lim);
    if (lim.rlim_cur < proxies + 64)
        fprintf(stderr, "weft-adsload: %" PRIu64 " open files allowed for %u proxies\n",
                (uint64_t)lim.rlim_cur, proxies);
}

int main(int argc, char **argv)
{
    struct err err;
    struct program p = {.timeout_ms = 120000};
    p.opt = (struct load_options){.proxies = 1000, .agent = S("weft-proxy"), .ns = S("default")};
    if (!parse_options(&p, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    raise_files(p.opt.proxies);
    p.env = env_uv_new(&err);
    if (!p.env) {
        fprintf(stderr, "weft-adsload: %s\n", err.msg);
        return 1;
    }
    p.sync = (struct race){.event = "synced", .timeout.fn = on_sync_timeout};
    p.mark = (struct race){.event = "mark", .timeout.fn = on_mark_timeout};
    p.sync.at = mem_array(p.opt.proxies, sizeof(uint64_t));
    p.mark.at = mem_array(p.opt.proxies, sizeof(uint64_t));
    load_init(&p.load, p.env, &p.opt);
    p.load.on_synced = on_synced;
    p.load.on_marked = on_marked;
    p.load.ctx = &p;

    pthread_t reader;
    if (p.scenario == SCENARIO_WATCH) {
        int rc = pthread_create(&reader, NULL, read_commands, &p);
        if (rc != 0) {
            fprintf(stderr, "weft-adsload: %s\n", strerror(rc));
            return 1;
        }
    }
    race_start(&p, &p.sync, "connect", p.timeout_ms);
    load_start(&p.load);
    env_uv_run(p.env);
    if (p.scenario == SCENARIO_WATCH)
        pthread_join(reader, NULL);
    load_fini(&p.load);
    mem_free(p.sync.at);
    mem_free(p.mark.at);
    env_uv_free(p.env);
    return p.failed ? 1 : 0;
}
