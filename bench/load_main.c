/* weft-load: an open-loop HTTP/1.1 load generator that counts every failure.
 *
 *   weft-load --to 127.1.0.1:8080 --host bookinfo --path /productpage --rate 500 --seconds 10
 *
 * Requests are due at fixed times whatever the answers do, and latency counts from the due time (no
 * coordinated omission). One JSON line with the totals every --report-ms and one at the end. Exit
 * status 0 if no request failed, 1 otherwise. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env/env_uv.h"
#include "base/wire/http1.h"

#define CONNECTIONS_MAX 4096
#define HEADERS_MAX 16
#define TALLY_MAX 32
#define TALLY_BYTES 64
#define WAITING_MAX 100000

/* Log-linear: 16 steps a factor of two, microseconds. */
#define HIST_STEPS 16
#define HIST_CELLS (32 * HIST_STEPS)

struct tally {
    char value[TALLY_BYTES];
    uint64_t n;
};

struct load;

struct conn {
    struct load *load;
    struct env_stream *stream;
    struct list_node idle;
    struct buf in;
    struct http1_progress at;
    struct http1_head head;
    struct http1_chunked chunked;
    struct arena arena;
    struct env_timer timeout;
    uint64_t due_ns, body_left;
    bool connected, busy, in_body;
};

struct load {
    struct env *env;
    struct env_addr to;
    struct buf request;
    const char *host, *path, *tally_header;
    char headers[HEADERS_MAX][512];
    size_t header_count;
    double rate;
    wf_ms seconds, report_ms, timeout_ms;
    size_t connections_max, connection_count;
    bool close_each;
    struct list idle;
    struct env_timer tick, report, end;
    uint64_t start_ns, scheduled, waiting_head, waiting_tail;
    uint64_t *waiting; /* ring of due times */
    uint64_t sent, ok, failed, lost, timed_out, status[6];
    struct tally tally[TALLY_MAX];
    size_t tally_count;
    uint32_t hist[HIST_CELLS];
    char last_failure[160];
    bool ending;
};

static void load_pump(struct load *l);

/* Latency. */

static size_t hist_cell(uint64_t us)
{
    unsigned log = us < HIST_STEPS ? 0 : 63u - (unsigned)__builtin_clzll(us) - 3u;
    size_t cell = us < HIST_STEPS
                      ? (size_t)us
                      : (size_t)log * HIST_STEPS + (size_t)(us >> (log - 1)) - HIST_STEPS;
    return cell < HIST_CELLS ? cell : HIST_CELLS - 1;
}

static uint64_t hist_value(size_t cell)
{
    size_t log = cell / HIST_STEPS, step = cell % HIST_STEPS;
    return log == 0 ? step : (uint64_t)(HIST_STEPS + step) << (log - 1);
}

static uint64_t hist_quantile(const struct load *l, double q)
{
    uint64_t total = 0, seen = 0;
    for (size_t i = 0; i < HIST_CELLS; i++)
        total += l->hist[i];
    uint64_t want = (uint64_t)(q * (double)total);
    for (size_t i = 0; i < HIST_CELLS; i++) {
        seen += l->hist[i];
        if (seen > want)
            return hist_value(i);
    }
    return 0;
}

/* Report. */

static void load_print(const struct load *l, bool final)
{
    double t = (double)(env_now_ns(l->env) - l->start_ns) / 1e9;
    printf("{\"t\":%.3f,\"final\":%s,\"sent\":%llu,\"ok\":%llu,\"failed\":%llu,\"lost\":%llu,"
           "\"timed_out\":%llu,\"status\":{\"1xx\":%llu,\"2xx\":%llu,\"3xx\":%llu,\"4xx\":%llu,"
           "\"5xx\":%llu},\"p50_us\":%llu,\"p90_us\":%llu,\"p99_us\":%llu,\"tally\":{",
           t, final ? "true" : "false", (unsigned long long)l->sent, (unsigned long long)l->ok,
           (unsigned long long)l->failed, (unsigned long long)l->lost,
           (unsigned long long)l->timed_out, (unsigned long long)l->status[1],
           (unsigned long long)l->status[2], (unsigned long long)l->status[3],
           (unsigned long long)l->status[4], (unsigned long long)l->status[5],
           (unsigned long long)hist_quantile(l, 0.5), (unsigned long long)hist_quantile(l, 0.9),
           (unsigned long long)hist_quantile(l, 0.99));
    for (size_t i = 0; i < l->tally_count; i++)
        printf("%s\"%s\":%llu", i ? "," : "", l->tally[i].value, (unsigned long long)l->tally[i].n);
    printf("},\"last_failure\":\"%s\"}\n", l->last_failure);
    fflush(stdout);
}

static void load_tally(struct load *l, struct slice value)
{
    char text[TALLY_BYTES];
    size_t n = 0;
    for (size_t i = 0; i < value.n && n + 1 < sizeof(text); i++)
        if (value.p[i] >= ' ' && value.p[i] != '"' && value.p[i] != '\\')
            text[n++] = value.p[i];
    text[n] = 0;
    for (size_t i = 0; i < l->tally_count; i++)
        if (strcmp(l->tally[i].value, text) == 0) {
            l->tally[i].n++;
            return;
        }
    if (l->tally_count == TALLY_MAX)
        return;
    memcpy(l->tally[l->tally_count].value, text, n + 1);
    l->tally[l->tally_count++].n = 1;
}

static void load_failed(struct load *l, const char *why, int status)
{
    l->failed++;
    double t = (double)(env_now_ns(l->env) - l->start_ns) / 1e9;
    snprintf(l->last_failure, sizeof(l->last_failure), "%.3f s: %s %d", t, why, status);
}

/* Connections. */

static void conn_finish(struct conn *c, bool reusable)
{
    struct load *l = c->load;
    env_timer_stop(l->env, &c->timeout);
    c->busy = c->in_body = false;
    c->at = (struct http1_progress){0};
    c->chunked = (struct http1_chunked){0};
    arena_reset(&c->arena);
    if (!reusable || l->close_each) {
        env_stream_close(c->stream);
        return;
    }
    list_push_front(&l->idle, &c->idle);
}

static void conn_answered(struct conn *c)
{
    struct load *l = c->load;
    uint16_t status = c->head.http.status;
    l->status[status / 100 < 6 ? status / 100 : 5]++;
    l->hist[hist_cell((env_now_ns(l->env) - c->due_ns) / 1000)]++;
    if (status >= 500)
        load_failed(l, "status", status);
    else
        l->ok++;
    conn_finish(c, c->head.keep_alive && c->head.body != HTTP1_BODY_UNTIL_CLOSE);
}

static void conn_lost(struct conn *c, const char *why)
{
    if (c->busy) {
        c->load->lost++;
        load_failed(c->load, why, 0);
    }
    c->busy = false;
    env_stream_close(c->stream);
}

/* Takes body bytes; true when the answer is complete. */
static bool conn_body(struct conn *c)
{
    struct slice in = buf_slice(&c->in), data;
    struct headers trailers = {0};
    enum http1_result r;
    switch (c->head.body) {
    case HTTP1_BODY_LENGTH:
        data.n = in.n < c->body_left ? in.n : (size_t)c->body_left;
        c->body_left -= data.n;
        buf_consume(&c->in, data.n);
        return c->body_left == 0;
    case HTTP1_BODY_CHUNKED:
        do
            r = http1_chunked_next(&c->chunked, &in, &c->arena, &data, &trailers);
        while (r == HTTP1_MORE && data.n);
        buf_consume(&c->in, c->in.n - in.n);
        if (r == HTTP1_BAD)
            conn_lost(c, "bad chunk");
        return r == HTTP1_DONE;
    case HTTP1_BODY_UNTIL_CLOSE:
    case HTTP1_BODY_TUNNEL:
        buf_clear(&c->in);
        return false;
    case HTTP1_BODY_NONE:
        break;
    }
    return true;
}

static void conn_head(struct conn *c)
{
    struct load *l = c->load;
    enum http1_result r =
        http1_parse_response(&c->at, buf_slice(&c->in), HTTP_GET, NULL, &c->arena, &c->head);
    if (r == HTTP1_BAD)
        conn_lost(c, "bad response");
    if (r != HTTP1_DONE)
        return;
    if (l->tally_header) {
        const struct header *h = headers_find(&c->head.http.headers, slice_of(l->tally_header));
        load_tally(l, h ? h->value : S("none"));
    }
    c->in_body = true;
    c->body_left = c->head.length;
    /* The head is parsed; what the fields point to is no longer needed. */
    buf_consume(&c->in, c->head.bytes);
}

static void on_data(void *ctx, struct slice bytes)
{
    struct conn *c = ctx;
    struct load *l = c->load;
    if (!c->busy) {
        conn_lost(c, "unasked bytes");
        return;
    }
    buf_append(&c->in, bytes);
    if (!c->in_body)
        conn_head(c);
    if (c->in_body && c->busy && conn_body(c))
        conn_answered(c);
    load_pump(l);
}

static void on_end(void *ctx)
{
    struct conn *c = ctx;
    if (c->busy && c->in_body && c->head.body == HTTP1_BODY_UNTIL_CLOSE)
        conn_answered(c);
    else
        conn_lost(c, "closed early");
}

static void on_close(void *ctx, const struct err *why)
{
    struct conn *c = ctx;
    struct load *l = c->load;
    if (c->busy)
        conn_lost(c, why->code ? why->msg : "closed");
    env_timer_stop(l->env, &c->timeout);
    list_remove(&c->idle);
    buf_fini(&c->in);
    arena_fini(&c->arena);
    mem_free(c);
    l->connection_count--;
    load_pump(l);
}

static void on_timeout(struct env_timer *t)
{
    struct conn *c = container_of(t, struct conn, timeout);
    c->load->timed_out++;
    conn_lost(c, "timed out");
}

static const struct env_stream_events conn_events = {
    .on_data = on_data, .on_end = on_end, .on_close = on_close};

static void conn_send(struct conn *c, uint64_t due_ns)
{
    struct load *l = c->load;
    struct slice request = buf_slice(&l->request);
    c->busy = true;
    c->due_ns = due_ns;
    l->sent++;
    env_timer_start(l->env, &c->timeout, l->timeout_ms);
    env_stream_write(c->stream, &(struct iovec){(void *)(uintptr_t)request.p, request.n}, 1);
}

static struct conn *conn_open(struct load *l)
{
    struct conn *c = MEM_NEW(struct conn);
    c->load = l;
    c->timeout.fn = on_timeout;
    l->connection_count++;
    c->stream = env_connect(l->env, &l->to, NULL, &conn_events, c);
    return c;
}

/* The schedule. */

static void load_pump(struct load *l)
{
    while (l->waiting_head != l->waiting_tail) {
        struct list_node *node = list_pop(&l->idle);
        struct conn *c = node ? container_of(node, struct conn, idle) : NULL;
        if (!c && l->connection_count < l->connections_max)
            c = conn_open(l);
        if (!c)
            return;
        conn_send(c, l->waiting[l->waiting_head++ % WAITING_MAX]);
    }
    if (l->ending && l->ok + l->failed >= l->sent)
        env_uv_stop(l->env);
}

static void on_tick(struct env_timer *t)
{
    struct load *l = container_of(t, struct load, tick);
    uint64_t now = env_now_ns(l->env);
    double elapsed = (double)(now - l->start_ns) / 1e9;
    uint64_t due = (uint64_t)(elapsed * l->rate);
    for (; l->scheduled < due; l->scheduled++) {
        if (l->waiting_tail - l->waiting_head == WAITING_MAX) {
            load_failed(l, "not sent: no connection for", WAITING_MAX);
            l->sent++;
            continue;
        }
        l->waiting[l->waiting_tail++ % WAITING_MAX] =
            l->start_ns + (uint64_t)((double)l->scheduled / l->rate * 1e9);
    }
    load_pump(l);
    env_timer_start(l->env, &l->tick, 1);
}

static void on_report(struct env_timer *t)
{
    struct load *l = container_of(t, struct load, report);
    load_print(l, false);
    env_timer_start(l->env, &l->report, l->report_ms);
}

static void load_end(struct load *l)
{
    l->ending = true;
    l->waiting_head = l->waiting_tail; /* what was not sent is not counted */
    env_timer_stop(l->env, &l->tick);
    load_pump(l);
}

static void on_seconds(struct env_timer *t)
{
    load_end(container_of(t, struct load, end));
}

static void on_signal(void *ctx, int signum)
{
    (void)signum;
    load_end(ctx);
}

/* Command line. */

static void load_request(struct load *l)
{
    buf_printf(&l->request, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: weft-load\r\n", l->path,
               l->host);
    for (size_t i = 0; i < l->header_count; i++)
        buf_printf(&l->request, "%s\r\n", l->headers[i]);
    buf_printf(&l->request, "\r\n");
}

static _Noreturn void usage(void)
{
    fputs(
        "weft-load --to ADDR [--host H] [--path P] [--header 'K: V']… [--rate N] [--seconds N]\n"
        "          [--connections N] [--timeout-ms N] [--tally HEADER] [--report-ms N] [--close]\n",
        stderr);
    exit(64);
}

static void load_options(struct load *l, int argc, char **argv)
{
    static const struct option longs[] = {
        {"to", 1, NULL, 't'},          {"host", 1, NULL, 'h'},       {"path", 1, NULL, 'p'},
        {"header", 1, NULL, 'H'},      {"rate", 1, NULL, 'r'},       {"seconds", 1, NULL, 's'},
        {"connections", 1, NULL, 'c'}, {"timeout-ms", 1, NULL, 'T'}, {"tally", 1, NULL, 'a'},
        {"report-ms", 1, NULL, 'R'},   {"close", 0, NULL, 'C'},      {NULL, 0, NULL, 0},
    };
    struct err err = {0};
    bool addressed = false;
    int opt;
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (opt) {
        case 't':
            if (!env_addr_parse(&l->to, slice_of(optarg), &err)) {
                fprintf(stderr, "weft-load: --to: %s\n", err.msg);
                exit(64);
            }
            addressed = true;
            break;
        case 'h':
            l->host = optarg;
            break;
        case 'p':
            l->path = optarg;
            break;
        case 'H':
            if (l->header_count == HEADERS_MAX)
                usage();
            snprintf(l->headers[l->header_count++], sizeof(l->headers[0]), "%s", optarg);
            break;
        case 'r':
            l->rate = strtod(optarg, NULL);
            break;
        case 's':
            l->seconds = (wf_ms)strtol(optarg, NULL, 10) * 1000;
            break;
        case 'c':
            l->connections_max = strtoul(optarg, NULL, 10);
            break;
        case 'T':
            l->timeout_ms = strtol(optarg, NULL, 10);
            break;
        case 'a':
            l->tally_header = optarg;
            break;
        case 'R':
            l->report_ms = strtol(optarg, NULL, 10);
            break;
        case 'C':
            l->close_each = true;
            break;
        default:
            usage();
        }
    }
    if (!addressed || l->rate <= 0 || l->connections_max == 0 ||
        l->connections_max > CONNECTIONS_MAX)
        usage();
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct load l = {
        .host = "localhost",
        .path = "/",
        .rate = 100,
        .connections_max = 64,
        .timeout_ms = 10000,
        .tick.fn = on_tick,
        .report.fn = on_report,
        .end.fn = on_seconds,
    };
    load_options(&l, argc, argv);
    list_init(&l.idle);
    l.waiting = mem_array(WAITING_MAX, sizeof(*l.waiting));
    load_request(&l);
    l.env = env_uv_new(&err);
    if (!l.env) {
        fprintf(stderr, "weft-load: %s\n", err.msg);
        return 1;
    }
    env_uv_on_signal(l.env, SIGINT, on_signal, &l);
    env_uv_on_signal(l.env, SIGTERM, on_signal, &l);
    l.start_ns = env_now_ns(l.env);
    env_timer_start(l.env, &l.tick, 1);
    if (l.report_ms)
        env_timer_start(l.env, &l.report, l.report_ms);
    if (l.seconds)
        env_timer_start(l.env, &l.end, l.seconds);
    env_uv_run(l.env);
    load_print(&l, true);
    bool failed = l.failed > 0;
    env_uv_free(l.env);
    buf_fini(&l.request);
    mem_free(l.waiting);
    return failed ? 1 : 0;
}
