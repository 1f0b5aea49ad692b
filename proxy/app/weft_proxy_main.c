/* weft-proxy: the data plane's program. Flags, signals, and the claim to the workload's address. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/core/args.h"
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

static bool parse_ip(struct slice ip, struct env_addr *ret)
{
    struct err err = {0};
    char text[ENV_ADDR_TEXT];
    bool v6 = memchr(ip.p, ':', ip.n) != NULL;
    int n = snprintf(text, sizeof(text), v6 ? "[%.*s]:0" : "%.*s:0", SLICE(ip));
    return (size_t)n < sizeof(text) && env_addr_parse(ret, slice_of(text), &err);
}

static void parse_servers(struct proxy_options *o, const char *text)
{
    struct slice rest = slice_of(text), one;
    struct err err = {0};
    while (rest.n) {
        slice_cut(rest, ',', &one, &rest);
        if (o->server_count == XDS_SERVERS_MAX)
            args_refuse("--xds", "at most 8 addresses");
        if (!env_addr_parse(&o->servers[o->server_count++], slice_trim(one), &err))
            args_refuse("--xds", err.msg);
    }
}

static void parse_label(struct proxy_options *o, const char *text)
{
    struct slice name, value;
    if (o->label_count == PROXY_LABELS_MAX || !slice_cut(slice_of(text), '=', &name, &value) ||
        !name.n)
        args_refuse("--label", "wants K=V, at most 32 times");
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
            args_refuse("--interception", "none or redirect");
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
            args_refuse("--admin", err.msg);
        break;
    case 's':
        o->state_dir = arg;
        break;
    case 'w':
        o->workers = args_number("--workers", arg, 1, PROXY_WORKERS_MAX);
        break;
    case 'o':
        if (strcmp(arg, "off") != 0 && strcmp(arg, "mesh") != 0)
            args_refuse("--access-log", "mesh or off");
        o->access_log_off = strcmp(arg, "off") == 0;
        break;
    case 'D':
        o->drain_time = (wf_ms)args_number("--drain-time", arg, 0, 3600) * 1000;
        o->drain_time = o->drain_time ? o->drain_time : 1; /* 0 would be the default */
        break;
    case 'v':
        if (!log_level_parse(slice_of(arg), &level))
            args_refuse("--log-level", "debug, info, warning or error");
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
        args_refuse(argv[optind], "is no flag");
    if (o->server_count == 0)
        args_refuse("--xds", "is needed: where are the control-plane nodes?");
    if (o->name.n == 0 || o->address.n == 0)
        args_refuse("--name and --address", "are needed: which workload is this?");
    if (!slice_eq(o->type, S("sidecar")) && !slice_eq(o->type, S("router")))
        args_refuse("--type", "sidecar or router");
    args_name("--name", o->name, PROXY_NAME_BYTES_MAX);
    args_name("--namespace", o->ns, PROXY_NAME_BYTES_MAX);
    struct env_addr unused;
    if (!parse_ip(o->address, &unused))
        args_refuse("--address", "wants the workload's IP address, without a port");
}

static void on_visitor(void *ctx, struct env_stream *es)
{
    (void)ctx;
    env_stream_set_events(es, NULL, NULL);
    env_stream_close(es);
}

/* A second proxy of the workload would share its ports (SO_REUSEPORT) and take half of its traffic
 * unnoticed. So the workload's address is claimed, by the name of an abstract socket, which goes
 * with the process and is of one network namespace, as ports are. false: somebody has it. */
static bool claim(struct env *env, const struct proxy_options *o, struct env_listener **ret,
                  struct err *err)
{
    struct err why = {0};
    struct env_addr ip, at;
    char name[ENV_ADDR_TEXT + 32], text[ENV_ADDR_TEXT];
    bool ok = parse_ip(o->address, &ip);
    int n = snprintf(name, sizeof(name), "unix:@weft-proxy/%.*s/%.*s", SLICE(o->type),
                     SLICE(env_addr_format(&ip, text)));
    ok = ok && env_addr_parse(&at, slice_mem(name, (size_t)n), &why);
    *ret = ok ? env_listen(env, &at, NULL, on_visitor, NULL, &why) : NULL;
    if (why.code == ERR_EXISTS)
        return err_set(err, ERR_EXISTS,
                       "another %.*s runs for %.*s on this machine: end it, or give --address of "
                       "another workload",
                       SLICE(o->type), SLICE(o->address));
    if (!*ret)
        LOG_WARN("proxy.claim.failed", F_STR("address", o->address), F_ERR(&why));
    return true;
}

static void on_signal(void *ctx, int signum)
{
    struct proxy *p = ctx;
    if (signum == SIGTERM && !p->draining)
        proxy_drain(p);
    else
        env_uv_stop(p->env);
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
    struct proxy *p = MEM_NEW(struct proxy);
    struct env_listener *claimed = NULL;
    struct env *env = env_uv_new(&err);
    bool ok = env && claim(env, &o, &claimed, &err);
    if (ok) {
        env_uv_on_signal(env, SIGTERM, on_signal, p);
        env_uv_on_signal(env, SIGINT, on_signal, p);
        ok = proxy_start(p, env, &o, &err);
    }
    if (ok)
        env_uv_run(env);
    else
        fprintf(stderr, "weft-proxy: %s\n", err.msg);
    signal(SIGALRM, on_late);
    alarm(PROXY_END_SECONDS_MAX);
    if (claimed)
        env_listener_close(claimed);
    if (p->env)
        proxy_stop(p);
    if (env)
        env_uv_free(env);
    mem_free(p);
    return ok ? 0 : 1;
}
