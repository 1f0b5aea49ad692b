/* weft-watchload: many watches of one kind on one server, and when an event has reached each.
 *
 *   weft-watchload --server 127.0.0.1:7443 --path '/api/v1/namespaces?watch=1' \
 *                  --watchers 10000 --silent 1000
 *
 * --silent: more watches of people who send the request and never read. Says "ready" when every
 * watcher has its answer's head. Then commands on standard input: `after NS` answers, when every
 * watcher has had an event at or after that CLOCK_MONOTONIC time, with how long it took them; quit.
 * One JSON line an event. */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/env/env_uv.h"

#define WATCHERS_MAX 60000u
#define CONNECTING_MAX 200u /* at one time: a backlog has an end */
#define LINE_BYTES 256

struct watcher {
    struct program *program;
    struct env_stream *stream;
    char
        last; /* byte of the data before: an event ends in "}\n", and a chunk's size has no brace */
    bool ready;
    uint64_t told_ns; /* newest event */
};

struct program {
    struct env *env;
    struct env_addr server;
    struct slice path;
    uint32_t watchers, silent;
    struct watcher *all;
    uint32_t opened, ready, closed;
    uint64_t events, after_ns; /* after_ns: a question that waits; 0 = none */
    uint32_t waits;            /* watchers that it waits for */
};

static int cmp_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void print_after(struct program *p)
{
    uint64_t *ns = mem_array(p->watchers, sizeof(*ns));
    for (uint32_t i = 0; i < p->watchers; i++)
        ns[i] = p->all[i].told_ns - p->after_ns;
    qsort(ns, p->watchers, sizeof(*ns), cmp_u64);
    printf("{\"event\":\"after\",\"first_ms\":%.3f,\"p50_ms\":%.3f,\"last_ms\":%.3f}\n",
           (double)ns[0] / 1e6, (double)ns[p->watchers / 2] / 1e6,
           (double)ns[p->watchers - 1] / 1e6);
    fflush(stdout);
    mem_free(ns);
    p->after_ns = 0;
}

static void watcher_told(struct watcher *w)
{
    struct program *p = w->program;
    uint64_t now = env_now_ns(p->env), before = w->told_ns;
    p->events++;
    w->told_ns = now;
    if (p->after_ns && before < p->after_ns && --p->waits == 0)
        print_after(p);
}

static void open_more(struct program *p);

static void on_data(void *ctx, struct slice bytes)
{
    struct watcher *w = ctx;
    struct program *p = w->program;
    if (!w->ready) {
        w->ready = true;
        p->ready++;
        open_more(p);
        if (p->ready == p->watchers) {
            printf("{\"event\":\"ready\",\"watchers\":%u}\n", p->ready);
            fflush(stdout);
        }
    }
    for (size_t i = 0; i < bytes.n; i++) {
        if (bytes.p[i] == '\n' && w->last == '}')
            watcher_told(w);
        w->last = bytes.p[i];
    }
}

static void on_connect(void *ctx)
{
    struct watcher *w = ctx;
    struct program *p = w->program;
    char head[512];
    int n = snprintf(head, sizeof(head), "GET %.*s HTTP/1.1\r\nHost: weft\r\n\r\n", SLICE(p->path));
    env_stream_write(w->stream, &(struct iovec){head, (size_t)n}, 1);
}

static void on_close(void *ctx, const struct err *why)
{
    struct watcher *w = ctx;
    w->stream = NULL;
    printf("{\"event\":\"error\",\"message\":\"a watch ended: %s\"}\n",
           why->code ? why->msg : "closed");
    fflush(stdout);
    env_uv_stop(w->program->env);
}

static const struct env_stream_events stream_events = {
    .on_connect = on_connect, .on_data = on_data, .on_close = on_close};

static void open_more(struct program *p)
{
    for (; p->opened < p->watchers && p->opened - p->ready < CONNECTING_MAX; p->opened++) {
        struct watcher *w = &p->all[p->opened];
        w->program = p;
        w->stream = env_connect(p->env, &p->server, NULL, &stream_events, w);
    }
}

/* Nothing of these is ever read: a socket is enough. */
static bool open_silent(const struct program *p)
{
    char head[512];
    int n = snprintf(head, sizeof(head), "GET %.*s HTTP/1.1\r\nHost: weft\r\n\r\n", SLICE(p->path));
    for (uint32_t i = 0; i < p->silent; i++) {
        int fd = socket(p->server.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), little = 4096;
        if (fd < 0)
            return false;
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof(little));
        if (connect(fd, &p->server.sa, p->server.len) != 0 || write(fd, head, (size_t)n) != n)
            return false;
    }
    return true;
}

/* Commands. */

struct command {
    struct env_post post;
    struct program *program;
    char line[LINE_BYTES];
};

static void ask_after(struct program *p, struct slice ns)
{
    p->waits = 0;
    if (!slice_u64(ns, &p->after_ns)) {
        printf("{\"event\":\"error\",\"message\":\"after NS\"}\n");
        return;
    }
    for (uint32_t i = 0; i < p->watchers; i++)
        p->waits += p->all[i].told_ns < p->after_ns;
    if (!p->waits)
        print_after(p);
}

static void on_command(struct env_post *post)
{
    struct command *c = container_of(post, struct command, post);
    struct program *p = c->program;
    struct slice line = slice_of(c->line), verb, rest;
    if (slice_ends(line, S("\n")))
        line.n--;
    slice_cut(line, ' ', &verb, &rest);
    if (slice_eq(verb, S("after")))
        ask_after(p, rest);
    else
        env_uv_stop(p->env);
    fflush(stdout);
    mem_free(c);
}

/* Its own thread, because standard input blocks. End of input means quit. */
static void *read_commands(void *ctx)
{
    struct program *p = ctx;
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

/* Command line. */

static _Noreturn void usage(void)
{
    fputs("weft-watchload --server ADDR --path PATH [--watchers N] [--silent N]\n", stderr);
    exit(64);
}

static bool set_option(struct program *p, int opt, const char *arg)
{
    struct err err = {0};
    switch (opt) {
    case 's':
        return env_addr_parse(&p->server, slice_of(arg), &err);
    case 'p':
        p->path = slice_of(arg);
        return true;
    case 'w':
        return slice_u32(slice_of(arg), &p->watchers) && p->watchers <= WATCHERS_MAX;
    case 'q':
        return slice_u32(slice_of(arg), &p->silent) && p->silent <= WATCHERS_MAX;
    }
    return false;
}

static void parse(struct program *p, int argc, char **argv)
{
    static const struct option longs[] = {{"server", 1, NULL, 's'},
                                          {"path", 1, NULL, 'p'},
                                          {"watchers", 1, NULL, 'w'},
                                          {"silent", 1, NULL, 'q'},
                                          {NULL, 0, NULL, 0}};
    int opt;
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1)
        if (!set_option(p, opt, optarg))
            usage();
    if (optind != argc || !p->path.n || !p->watchers)
        usage();
}

static void descriptors_raise(void)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) != 0)
        return;
    lim.rlim_cur = lim.rlim_max;
    setrlimit(RLIMIT_NOFILE, &lim);
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct program p = {0};
    pthread_t reader;
    parse(&p, argc, argv);
    descriptors_raise();
    p.env = env_uv_new(&err);
    p.all = mem_array(p.watchers, sizeof(*p.all));
    if (!p.env || !open_silent(&p) || pthread_create(&reader, NULL, read_commands, &p) != 0) {
        fprintf(stderr, "weft-watchload: cannot begin: %s\n", err.code ? err.msg : "no connection");
        return 1;
    }
    open_more(&p);
    env_uv_run(p.env);
    exit(0); /* the reader may still wait for a line */
}
