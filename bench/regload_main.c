/* weft-regload: writes to a registry over its public API and reads from it, weft's or etcd's, by
 * the same program.
 *
 *   weft-regload --store weft --server 127.0.0.1:7443 fill   --keys 10000 --clients 64
 *   weft-regload --store weft --server 127.0.0.1:7443 writes --keys 10000 --clients 64 --seconds 5
 *   weft-regload --store weft --server 127.0.0.1:7443 reads  --keys 10000 --clients 64 --seconds 5
 *   weft-regload --store etcd --server A --server B --server C steady --rate 200 --clients 256
 *
 * steady takes commands on standard input: `after NS` (answers with the first acknowledgement of a
 * write that was sent at or after that CLOCK_MONOTONIC time), spread, `keys FILE` (every key that
 * was acknowledged), quit. One JSON line an event. Exit status 1 when writes failed in fill. */
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/env/env_uv.h"
#include "bench/regload/load.h"

#define LINE_BYTES 512

static const char *const mode_names[REGLOAD_MODES] = {
    [REGLOAD_FILL] = "fill",
    [REGLOAD_WRITES] = "writes",
    [REGLOAD_READS] = "reads",
    [REGLOAD_STEADY] = "steady",
};

struct program {
    struct env *env;
    struct regload_options opt;
    struct regload load;
    wf_ms seconds;
    struct env_timer end;
    uint64_t after_ns; /* a question that waits for its answer; 0 = none */
};

/* Output. */

static int cmp_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double at_quantile(const struct regload *l, double q)
{
    return l->us.n ? l->us.p[(size_t)((double)(l->us.n - 1) * q)] / 1000.0 : 0;
}

/* Our own CPU time, of everything since the start. */
static double cpu_seconds(void)
{
    struct rusage u = {0};
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void print_totals(struct program *p)
{
    struct regload *l = &p->load;
    size_t done = p->opt.mode == REGLOAD_STEADY ? l->acks.n : l->us.n;
    double seconds = (double)(env_now_ns(p->env) - l->start_ns) / 1e9;
    if (l->us.n)
        qsort(l->us.p, l->us.n, sizeof(l->us.p[0]), cmp_u32);
    printf("{\"event\":\"end\",\"done\":%zu,\"failed\":%" PRIu64 ",\"lost\":%" PRIu64
           ",\"skipped\":%" PRIu64 ",\"seconds\":%.3f,\"per_second\":%.1f,\"p50_ms\":%.3f,"
           "\"p99_ms\":%.3f,\"cpu_s\":%.3f,\"last_failure\":\"%s\"}\n",
           done, l->failed, l->lost, l->skipped, seconds, (double)done / seconds,
           at_quantile(l, 0.5), at_quantile(l, 0.99), cpu_seconds(), l->last_failure);
    fflush(stdout);
}

static void print_after(struct program *p, const struct regload_ack *ack)
{
    printf("{\"event\":\"after\",\"ms\":%.3f,\"write_ms\":%.3f,\"failed\":%" PRIu64
           ",\"acked\":%zu}\n",
           (double)(ack->acked_ns - p->after_ns) / 1e6,
           (double)(ack->acked_ns - ack->sent_ns) / 1e6, p->load.failed, p->load.acks.n);
    fflush(stdout);
    p->after_ns = 0;
}

static void on_ack(void *ctx, const struct regload_ack *ack)
{
    struct program *p = ctx;
    if (p->after_ns && ack->sent_ns >= p->after_ns)
        print_after(p, ack);
}

/* Commands. */

struct command {
    struct env_post post;
    struct program *program;
    char line[LINE_BYTES];
};

static void run_after(struct program *p, struct slice rest)
{
    if (!slice_u64(rest, &p->after_ns)) {
        printf("{\"event\":\"error\",\"message\":\"after NS\"}\n");
        return;
    }
    const struct regload_ack *ack = regload_first_after(&p->load, p->after_ns);
    if (ack)
        print_after(p, ack);
}

static void run_keys(struct program *p, struct slice rest)
{
    char path[LINE_BYTES], name[REGLOAD_KEY_BYTES];
    FILE *f = slice_cstr(rest, path, sizeof(path)) ? fopen(path, "w") : NULL;
    if (!f) {
        printf("{\"event\":\"error\",\"message\":\"keys: cannot write the file\"}\n");
        return;
    }
    for (size_t i = 0; i < p->load.acks.n; i++)
        fprintf(f, "%.*s\n", SLICE(regload_name(p->load.acks.p[i].key, name)));
    bool ok = fclose(f) == 0;
    printf("{\"event\":\"keys\",\"n\":%zu,\"ok\":%s}\n", p->load.acks.n, ok ? "true" : "false");
}

static void on_command(struct env_post *post)
{
    struct command *c = container_of(post, struct command, post);
    struct program *p = c->program;
    struct slice line = slice_of(c->line), verb, rest;
    if (slice_ends(line, S("\n")))
        line.n--;
    slice_cut(line, ' ', &verb, &rest);
    if (slice_eq(verb, S("quit")))
        env_uv_stop(p->env);
    else if (slice_eq(verb, S("after")))
        run_after(p, rest);
    else if (slice_eq(verb, S("spread")))
        regload_spread(&p->load);
    else if (slice_eq(verb, S("keys")))
        run_keys(p, rest);
    else
        printf("{\"event\":\"error\",\"message\":\"commands: after NS, spread, keys FILE, "
               "quit\"}\n");
    fflush(stdout);
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

/* Ends. */

static void on_filled(void *ctx)
{
    struct program *p = ctx;
    env_uv_stop(p->env);
}

static void on_seconds(struct env_timer *t)
{
    struct program *p = container_of(t, struct program, end);
    env_uv_stop(p->env);
}

/* Command line. */

static _Noreturn void usage(void)
{
    fputs("weft-regload --store weft|etcd --server ADDR [--server ADDR …] "
          "fill|writes|reads|steady\n"
          "             [--clients N] [--keys N] [--seconds N] [--rate WRITES_PER_SECOND]\n"
          "             [--timeout MS] [--bytes N] [--first KEY]\n",
          stderr);
    exit(64);
}

static bool number(const char *text, uint32_t max, uint32_t *ret)
{
    return slice_u32(slice_of(text), ret) && *ret > 0 && *ret <= max;
}

static bool set_option(struct program *p, int opt, const char *arg)
{
    struct regload_options *o = &p->opt;
    struct err err = {0};
    uint32_t n;
    switch (opt) {
    case 'S':
        o->store = strcmp(arg, "weft") == 0   ? &regload_weft
                   : strcmp(arg, "etcd") == 0 ? &regload_etcd
                                              : NULL;
        return o->store != NULL;
    case 's':
        return o->server_count < REGLOAD_SERVERS_MAX &&
               env_addr_parse(&o->servers[o->server_count++], slice_of(arg), &err);
    case 'c':
        return number(arg, REGLOAD_CLIENTS_MAX, &o->clients);
    case 'k':
        return number(arg, REGLOAD_KEYS_MAX, &o->keys);
    case 'r':
        return number(arg, 1000000, &o->rate);
    case 'n':
        p->seconds = number(arg, 86400, &n) ? n : 0;
        return p->seconds > 0;
    case 'f':
        return number(arg, REGLOAD_KEYS_MAX, &o->first);
    case 'b':
        return number(arg, REGLOAD_VALUE_BYTES_MAX, &o->bytes) && o->bytes >= REGLOAD_VALUE_BYTES;
    case 't':
        o->timeout_ms = number(arg, 3600000, &n) ? n : 0;
        return o->timeout_ms > 0;
    }
    return false;
}

static bool set_mode(struct program *p, const char *text)
{
    for (int i = 0; i < REGLOAD_MODES; i++) {
        p->opt.mode = (enum regload_mode)i;
        if (strcmp(mode_names[i], text) == 0)
            return true;
    }
    return false;
}

static void parse(struct program *p, int argc, char **argv)
{
    static const struct option longs[] = {
        {"store", 1, NULL, 'S'},   {"server", 1, NULL, 's'}, {"clients", 1, NULL, 'c'},
        {"keys", 1, NULL, 'k'},    {"rate", 1, NULL, 'r'},   {"seconds", 1, NULL, 'n'},
        {"timeout", 1, NULL, 't'}, {"bytes", 1, NULL, 'b'},  {"first", 1, NULL, 'f'},
        {NULL, 0, NULL, 0},
    };
    int opt;
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1)
        if (!set_option(p, opt, optarg))
            usage();
    if (optind + 1 != argc || !set_mode(p, argv[optind]) || !p->opt.store || !p->opt.server_count)
        usage();
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct program p = {
        .opt = {.clients = 64, .keys = 10000, .rate = 200, .timeout_ms = 10000},
        .seconds = 5,
        .end.fn = on_seconds,
    };
    pthread_t reader;
    parse(&p, argc, argv);
    p.env = env_uv_new(&err);
    if (!p.env) {
        fprintf(stderr, "weft-regload: %s\n", err.msg);
        return 1;
    }
    bool commands = p.opt.mode == REGLOAD_STEADY;
    regload_init(&p.load, p.env, &p.opt);
    p.load.on_filled = on_filled;
    p.load.on_ack = on_ack;
    p.load.ctx = &p;
    if (p.opt.mode == REGLOAD_WRITES || p.opt.mode == REGLOAD_READS)
        env_timer_start(p.env, &p.end, p.seconds * 1000);
    if (commands && pthread_create(&reader, NULL, read_commands, &p) != 0) {
        fprintf(stderr, "weft-regload: no thread\n");
        return 1;
    }
    regload_start(&p.load);
    env_uv_run(p.env);
    print_totals(&p);
    bool failed = p.opt.mode == REGLOAD_FILL && p.load.failed > 0;
    if (commands)
        pthread_join(reader, NULL);
    regload_fini(&p.load);
    env_uv_free(p.env);
    return failed ? 1 : 0;
}
