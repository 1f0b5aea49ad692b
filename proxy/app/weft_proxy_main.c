/* weft-proxy: the data plane's program. Flags, signals, and the claim to the workload's address. */
#include <ctype.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/core/log.h"
#include "base/env/env_uv.h"
#include "proxy/app/proxy.h"

#define PROXY_END_SECONDS_MAX 2
#define PROXY_NAME_BYTES_MAX 253 /* of the workload, of its namespace: a DNS name */

static const char usage_text[] =
    "weft-proxy --xds ADDR[,ADDR…] --name WORKLOAD --address IP [flags]\n"
    "\n"
    "  --xds ADDR[,ADDR…]    control-plane nodes; the next is used when one dies\n"
    "  --name NAME           of the workload\n"
    "  --namespace NS        default: default\n"
    "  --address IP          of the workload, as the registry knows it;\n"
    "                        one proxy of a type an address\n"
    "  --label K=V           may be repeated; app and version appear in metrics\n"
    "  --type TYPE           sidecar (default) or router (a gateway)\n"
    "  --interception MODE   none (default: explicit ports) or redirect\n"
    "  --locality R/Z/S      region, zone, subzone\n"
    "  --cluster-id ID       default: Kubernetes\n"
    "  --domain DOMAIN       default: cluster.local\n"
    "  --admin ADDR          admin interface, loopback or unix:/path\n"
    "  --state-dir DIR       keeps the last known good configuration\n"
    "  --workers N           threads that carry traffic; default: one a core\n"
    "  --access-log MODE     mesh (default: as the control plane says), off\n"
    "  --drain-time SECONDS  at SIGTERM; default 5\n"
    "  --log-level LEVEL     debug, info (default), warning, error\n"
    "  --version, --help\n";

static _Noreturn void refuse(const char *flag, const char *why)
{
    fprintf(stderr, "weft-proxy: %s: %s\nTry: weft-proxy --help\n", flag, why);
    exit(64);
}

static uint64_t parse_number(const char *flag, const char *arg, uint64_t min, uint64_t max)
{
    uint64_t n;
    char why[80];
    if (slice_u64(slice_of(arg), &n) && n >= min && n <= max)
        return n;
    snprintf(why, sizeof(why), "wants a number from %" PRIu64 " to %" PRIu64, min, max);
    refuse(flag, why);
}

/* Names stand between ~ and . in the node's id, and in logs and metrics. */
static void check_name(const char *flag, struct slice name)
{
    bool ok = name.n > 0 && name.n <= PROXY_NAME_BYTES_MAX;
    for (size_t i = 0; i < name.n; i++)
        ok = ok && (isalnum((unsigned char)name.p[i]) || strchr("-_.", name.p[i]));
    if (!ok)
        refuse(flag, "wants letters, digits, - _ . and at most 253 of them");
}

static void check_address(struct slice ip)
{
    struct err err = {0};
    struct env_addr addr;
    char text[ENV_ADDR_TEXT];
    bool v6 = memchr(ip.p, ':', ip.n) != NULL;
    int n = snprintf(text, sizeof(text), v6 ? "[%.*s]:0" : "%.*s:0", SLICE(ip));
    if ((size_t)n >= sizeof(text) || !env_addr_parse(&addr, slice_of(text), &err))
        refuse("--address", "wants the workload's IP address, without a port");
}

static void parse_servers(struct proxy_options *o, const char *text)
{
    struct slice rest = slice_of(text), one;
    struct err err = {0};
    while (rest.n) {
        slice_cut(rest, ',', &one, &rest);
        if (o->server_count == XDS_SERVERS_MAX)
            refuse("--xds", "at most 8 addresses");
        if (!env_addr_parse(&o->servers[o->server_count++], slice_trim(one), &err))
            refuse("--xds", err.msg);
    }
}

static void parse_label(struct proxy_options *o, const char *text)
{
    struct slice name, value;
    if (o->label_count == PROXY_LABELS_MAX || !slice_cut(slice_of(text), '=', &name, &value) ||
        !name.n)
        refuse("--label", "wants K=V, at most 32 times");
    size_t at = o->label_count++;
    for (; at > 0 && slice_cmp(o->labels[at - 1][0], name) > 0; at--)
        memcpy(o->labels[at], o->labels[at - 1], sizeof(o->labels[at]));
    o->labels[at][0] = name;
    o->labels[at][1] = value;
}

static void parse_locality(struct proxy_options *o, const char *text)
{
    struct slice rest;
    slice_cut(slice_of(text), '/', &o->region, &rest);
    slice_cut(rest, '/', &o->zone, &o->subzone);
}

static void parse_one(struct proxy_options *o, int opt, const char *arg)
{
    struct err err = {0};
    enum log_level level;
    switch (opt) {
    case 'x':
        parse_servers(o, arg);
        break;
    case 'n':
        o->name = slice_of(arg);
        break;
    case 'N':
        o->ns = slice_of(arg);
        break;
    case 'a':
        o->address = slice_of(arg);
        break;
    case 'l':
        parse_label(o, arg);
        break;
    case 't':
        o->type = slice_of(arg);
        break;
    case 'i':
        if (strcmp(arg, "redirect") != 0 && strcmp(arg, "none") != 0)
            refuse("--interception", "none or redirect");
        o->redirect = arg[0] == 'r';
        break;
    case 'L':
        parse_locality(o, arg);
        break;
    case 'c':
        o->cluster_id = slice_of(arg);
        break;
    case 'd':
        o->domain = slice_of(arg);
        break;
    case 'A':
        if (!env_addr_parse(&o->admin, slice_of(arg), &err))
            refuse("--admin", err.msg);
        break;
    case 's':
        o->state_dir = arg;
        break;
    case 'w':
        o->workers = parse_number("--workers", arg, 1, PROXY_WORKERS_MAX);
        break;
    case 'o':
        if (strcmp(arg, "off") != 0 && strcmp(arg, "mesh") != 0)
            refuse("--access-log", "mesh or off");
        o->access_log_off = strcmp(arg, "off") == 0;
        break;
    case 'D':
        o->drain_time = (wf_ms)parse_number("--drain-time", arg, 0, 3600) * 1000;
        o->drain_time = o->drain_time ? o->drain_time : 1; /* 0 would be the default */
        break;
    case 'v':
        if (!log_level_parse(slice_of(arg), &level))
            refuse("--log-level", "debug, info, warning or error");
        log_set_level(level);
        break;
    case 'V':
        puts("weft-proxy " WEFT_VERSION);
        exit(0);
    case 'h':
        fputs(usage_text, stdout);
        exit(0);
    default:
        exit(64);
    }
}

static void parse(struct proxy_options *o, int argc, char **argv)
{
    static const struct option longs[] = {
        {"xds", 1, NULL, 'x'},
        {"name", 1, NULL, 'n'},
        {"namespace", 1, NULL, 'N'},
        {"address", 1, NULL, 'a'},
        {"label", 1, NULL, 'l'},
        {"type", 1, NULL, 't'},
        {"interception", 1, NULL, 'i'},
        {"locality", 1, NULL, 'L'},
        {"cluster-id", 1, NULL, 'c'},
        {"domain", 1, NULL, 'd'},
        {"admin", 1, NULL, 'A'},
        {"state-dir", 1, NULL, 's'},
        {"workers", 1, NULL, 'w'},
        {"drain-time", 1, NULL, 'D'},
        {"log-level", 1, NULL, 'v'},
        {"access-log", 1, NULL, 'o'},
        {"version", 0, NULL, 'V'},
        {"help", 0, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int opt;
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1)
        parse_one(o, opt, optarg);
    if (optind < argc)
        refuse(argv[optind], "is no flag");
    if (o->server_count == 0)
        refuse("--xds", "is needed: where are the control-plane nodes?");
    if (o->name.n == 0 || o->address.n == 0)
        refuse("--name and --address", "are needed: which workload is this?");
    if (!slice_eq(o->type, S("sidecar")) && !slice_eq(o->type, S("router")))
        refuse("--type", "sidecar or router");
    check_name("--name", o->name);
    check_name("--namespace", o->ns);
    check_address(o->address);
}

struct program {
    struct proxy *proxy;
    struct env_listener *claim;
};

static void on_visitor(void *ctx, struct env_stream *es)
{
    (void)ctx;
    env_stream_set_events(es, NULL, NULL);
    env_stream_close(es);
}

/* A second proxy of the workload would share its ports (SO_REUSEPORT) and take half of its traffic
 * unnoticed. So the workload's address is claimed, by the name of an abstract socket, which goes
 * with the process and is of one network namespace, as ports are. */
static bool claim(struct program *m, struct env *env, const struct proxy_options *o,
                  struct err *err)
{
    char name[ENV_ADDR_TEXT];
    struct env_addr at;
    int n = snprintf(name, sizeof(name), "unix:@weft-proxy/%.*s/%.*s", SLICE(o->type),
                     SLICE(o->address));
    if (!env_addr_parse(&at, slice_mem(name, (size_t)n), err))
        return false;
    m->claim = env_listen(env, &at, NULL, on_visitor, NULL, err);
    return m->claim ||
           err_set(err, ERR_EXISTS,
                   "another %.*s runs for %.*s on this machine: end it, or give --address of "
                   "another workload",
                   SLICE(o->type), SLICE(o->address));
}

static void release(struct program *m)
{
    if (m->claim)
        env_listener_close(m->claim);
    m->claim = NULL;
}

/* The successor may start while this one drains. */
static void on_signal(void *ctx, int signum)
{
    struct program *m = ctx;
    if (signum == SIGTERM && !m->proxy->draining) {
        release(m);
        proxy_drain(m->proxy);
    } else {
        env_uv_stop(m->proxy->env);
    }
}

/* What is left after draining is a resolver or a disk that does not answer. */
static void on_late(int signum)
{
    (void)signum;
    _exit(0);
}

int main(int argc, char **argv)
{
    struct err err = {0};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct proxy_options o = {
        .type = S("sidecar"),
        .ns = S("default"),
        .domain = S("cluster.local"),
        .cluster_id = S("Kubernetes"),
        .workers = cores > 0 && cores <= PROXY_WORKERS_MAX ? (size_t)cores : 1,
    };
    parse(&o, argc, argv);
    struct program m = {.proxy = MEM_NEW(struct proxy)};
    struct proxy *p = m.proxy;
    struct env *env = env_uv_new(&err);
    bool ok = env && claim(&m, env, &o, &err);
    if (ok) {
        env_uv_on_signal(env, SIGTERM, on_signal, &m);
        env_uv_on_signal(env, SIGINT, on_signal, &m);
        ok = proxy_start(p, env, &o, &err);
    }
    if (ok)
        env_uv_run(env);
    else
        fprintf(stderr, "weft-proxy: %s\n", err.msg);
    signal(SIGALRM, on_late);
    alarm(PROXY_END_SECONDS_MAX);
    release(&m);
    if (p->env)
        proxy_stop(p);
    if (env)
        env_uv_free(env);
    mem_free(p);
    return ok ? 0 : 1;
}
