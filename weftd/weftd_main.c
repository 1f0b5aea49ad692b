/* weftd: the control plane's program. Flags, signals and nothing else. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <openssl/crypto.h>

#include "base/core/args.h"
#include "base/core/log.h"
#include "base/env/env_uv.h"
#include "pilot/pilot_limits.h"
#include "weftd/init.h"
#include "weftd/join.h"
#include "weftd/offline.h"
#include "weftd/weftd.h"

static const char usage_text[] =
    "weftd --name NAME --data DIR (--init | --cluster NAME=ADDR,… | --join URL,…) [flags]\n"
    "weftd join ADDR,… --token-file FILE --name NAME --data DIR --peer ADDR [flags]\n"
    "weftd init --dir DIR --name NAME …    certificates for a new cluster; weftd init --help\n"
    "weftd restore --from FILE [flags]     an empty data directory out of a snapshot; "
    "docs/operate.md\n"
    "\n"
    "  --name NAME           of this node, one of the cluster's\n"
    "  --data DIR            log, checkpoints and state of this node\n"
    "  --init                a cluster of this node alone\n"
    "  --cluster N=ADDR,…    all voters and their peer addresses, the same on every node\n"
    "  --join URL,…          joins a cluster that runs: the API of one or more of its members,\n"
    "                        http://127.0.0.1:7443. Not looked at once DATA/member is there\n"
    "  --token T             with --join, whose addresses are then those of peers "
    "(10.0.0.1:7444):\n"
    "                        what weft operator token create printed. This node makes its key, is\n"
    "                        given an id and a certificate, and keeps all three in DATA/tls\n"
    "  --token-file FILE     the same, read from a file: ps shows no secret\n"
    "  --join-file FILE      the same, added by an operator: weft operator raft add … -o json\n"
    "  --standby             with --join: takes everything, has no vote\n"
    "  --id ID               with --join: default that of the certificate, or random\n"
    "  --peer ADDR           with --init or --join: this node's peer address; of --init the\n"
    "                        default is 127.0.0.1:7444\n"
    "  --peer-cert-dir DIR   ca.crt, node.crt and node.key of this node (weftd init): peers speak\n"
    "                        TLS. Default: DATA/tls, if it is there. Without, peers are on\n"
    "                        loopback addresses only\n"
    "  --ca-dir DIR          ca.crt and ca.key (weftd init): this node signs certificates for "
    "nodes\n"
    "                        that join with a token. One such member is enough\n"
    "  --api ADDR            default 127.0.0.1:7443\n"
    "  --xds ADDR            default 127.0.0.1:15012\n"
    "  --metrics ADDR        default 127.0.0.1:15014; \"none\" for no metrics\n"
    "  --hold-version N      reads and writes no newer version: while one node has this flag the\n"
    "                        cluster's version does not rise, and every node can go back to the\n"
    "                        program before; docs/operate-members.md\n"
    "  --election-timeout MS default 300; heartbeats go six times as often\n"
    "  --xds-workers N       threads that serve proxies; default 2\n"
    "  --cluster-id ID       of the endpoints in metrics; default Kubernetes\n"
    "  --snapshot-log-mib N  checkpoint after so much log, which is in memory until then; default "
    "64.\n"
    "                        After an eighth of it when the last is 30 s old\n"
    "  --store-quota-mib N   of objects; above it only deletions are taken; default 2048\n"
    "  --history N           changes that watches can resume from; default 100000\n"
    "  --from FILE           restore: the snapshot, of weft snapshot save\n"
    "  --to FILE             recover: writes the snapshot there; default "
    "DATA/recovered-INDEX.snap\n"
    "  --yes                 recover: do it; without, it says what would be kept and lost\n"
    "  --above REVISION      restore, recover: the new cluster's revisions are above it; needed "
    "for a file\n"
    "                        that is restored for the second time\n"
    "  --log-level LEVEL     debug, info (default), warning, error\n"
    "  --log-format FORMAT   logfmt (default), json\n"
    "  --version, --help\n";

struct flags {
    struct weftd_options o;
    struct join_options join;
    struct join_token token;
    bool init, joins; /* joins: now or before */
    bool has_token;
    const char *verb;      /* NULL, "join", "restore", "recover" */
    const char *from, *to; /* of the verbs */
    bool yes;
    uint64_t above;
    const char *cluster, *contacts, *peer;
    char tls_dir[4096]; /* DATA/tls */
};

static void parse_any_addr(const char *flag, const char *text, struct env_addr *ret)
{
    struct err err = {0};
    if (!env_addr_parse(ret, slice_of(text), &err))
        args_refuse(flag, err.msg);
}

static void parse_addr(const char *flag, const char *text, struct env_addr *ret)
{
    parse_any_addr(flag, text, ret);
    if (!env_addr_loopback(ret))
        args_refuse(flag, "wants a loopback address (127.x.y.z), until the API and xDS have TLS");
}

static void add_member(struct reg_node_options *o, struct slice name, struct slice addr)
{
    struct reg_member m = {0};
    size_t at = o->member_count;
    char text[ENV_ADDR_TEXT];
    if (o->member_count == REG_NODES_MAX)
        args_refuse("--cluster", "at most 7 nodes");
    args_name("--cluster", name, sizeof(((struct reg_member *)0)->name) - 1);
    slice_cstr(name, m.name, sizeof(m.name));
    if (!slice_cstr(addr, text, sizeof(text)))
        args_refuse("--cluster", "an address is too long");
    parse_any_addr("--cluster", text, &m.addr); /* others than loopback: reg_node_start */
    for (size_t i = 0; i < o->member_count; i++)
        if (strcmp(o->members[i].name, m.name) == 0 || env_addr_equal(&o->members[i].addr, &m.addr))
            args_refuse("--cluster", "a name or an address is there twice");
    for (; at > 0 && strcmp(o->members[at - 1].name, m.name) > 0; at--)
        o->members[at] = o->members[at - 1];
    o->members[at] = m;
    o->member_count++;
}

static void parse_cluster(struct flags *f)
{
    struct reg_node_options *o = &f->o.node;
    struct slice rest = slice_of(f->cluster), one, name, addr;
    if (f->init) {
        add_member(o, slice_of(f->o.name), slice_of(f->peer ? f->peer : "127.0.0.1:7444"));
    } else {
        while (rest.n) {
            slice_cut(rest, ',', &one, &rest);
            if (!slice_cut(slice_trim(one), '=', &name, &addr))
                args_refuse("--cluster", "wants NAME=ADDR,NAME=ADDR,…");
            add_member(o, name, addr);
        }
    }
    /* By name, so that the order of the flag is nobody's worry. */
    for (size_t i = 0; i < o->member_count; i++) {
        o->members[i].id = i + 1;
        if (strcmp(o->members[i].name, f->o.name) == 0)
            o->id = o->members[i].id;
    }
    if (!o->id)
        args_refuse("--cluster", "does not name this node (--name)");
    if (o->member_count % 2 == 0)
        fprintf(stderr, "weftd: an even number of voters survives no more than one less would\n");
}

static void parse_token(struct flags *f, const char *flag, struct slice text)
{
    struct err err = {0};
    if (!join_token_parse(text, &f->token, &err))
        args_refuse(flag, err.msg);
    f->has_token = true;
}

static void read_token(struct flags *f, const char *path)
{
    char text[2 * JOIN_TOKEN_TEXT];
    FILE *file = fopen(path, "re");
    if (!file)
        args_refuse("--token-file", "cannot be read");
    size_t n = fread(text, 1, sizeof(text), file);
    fclose(file);
    parse_token(f, "--token-file", slice_mem(text, n));
    OPENSSL_cleanse(text, sizeof(text));
}

static void parse_one(struct flags *f, int opt, const char *arg)
{
    enum log_level level;
    switch (opt) {
    case 'n':
        if (!slice_cstr(slice_of(arg), f->o.name, sizeof(f->o.name)))
            args_refuse("--name", "too long");
        break;
    case 'd':
        f->o.node.dir = arg;
        break;
    case 'i':
        f->init = true;
        break;
    case 'c':
        f->cluster = arg;
        break;
    case 'p':
        f->peer = arg;
        break;
    case 'j':
        f->contacts = arg;
        break;
    case 'J':
        f->join.file = arg;
        break;
    case 'k':
        parse_token(f, "--token", slice_of(arg));
        break;
    case 'K':
        read_token(f, arg);
        break;
    case 'g':
        f->o.node.ca_dir = arg;
        break;
    case 'S':
        f->o.standby = true;
        break;
    case 'I':
        f->join.id = args_number("--id", arg, 1, (1ull << 48) - 1);
        break;
    case 't':
        f->o.node.peer_tls_dir = arg;
        break;
    case 'a':
        parse_addr("--api", arg, &f->o.api);
        break;
    case 'x':
        parse_addr("--xds", arg, &f->o.xds);
        break;
    case 'm':
        if (strcmp(arg, "none") == 0)
            f->o.metrics.len = 0;
        else
            parse_addr("--metrics", arg, &f->o.metrics);
        break;
    case 'e':
        f->o.node.election_timeout = (wf_ms)args_number("--election-timeout", arg, 50, 60000);
        break;
    case 'w':
        f->o.xds_workers = (unsigned)args_number("--xds-workers", arg, 1, ADS_SERVER_WORKERS_MAX);
        break;
    case 'C':
        f->o.cluster_id = slice_of(arg);
        break;
    case 'o':
        f->o.node.reads = (struct versions){
            VERSION_OLDEST,
            (unsigned)args_number("--hold-version", arg, VERSION_OLDEST, VERSION_NEWEST)};
        f->join.reads = f->o.node.reads;
        break;
    case 's':
        f->o.node.snapshot_log_bytes = args_number("--snapshot-log-mib", arg, 1, 1u << 20) << 20;
        break;
    case 'q':
        f->o.node.quota_bytes = args_number("--store-quota-mib", arg, 1, 1u << 20) << 20;
        break;
    case 'H':
        f->o.node.history_revisions = args_number("--history", arg, 1, 1u << 30);
        break;
    case 'f':
        f->from = arg;
        break;
    case 'T':
        f->to = arg;
        break;
    case 'Y':
        f->yes = true;
        break;
    case 'A':
        f->above = args_number("--above", arg, 1, UINT64_C(1) << 43);
        break;
    case 'v':
        if (!log_level_parse(slice_of(arg), &level))
            args_refuse("--log-level", "debug, info, warning or error");
        log_set_level(level);
        break;
    case 'F':
        if (strcmp(arg, "json") != 0 && strcmp(arg, "logfmt") != 0)
            args_refuse("--log-format", "logfmt or json");
        log_set_format(arg[0] == 'j' ? LOG_FORMAT_JSON : LOG_FORMAT_LOGFMT);
        break;
    case 'V':
        puts("weftd " WEFT_VERSION);
        exit(0);
    case 'h':
        fputs(usage_text, stdout);
        exit(0);
    default:
        exit(64);
    }
}

/* What is there is used, or the node does not start: it never falls back to plaintext. */
static void find_tls(struct flags *f)
{
    struct stat st;
    int n = snprintf(f->tls_dir, sizeof(f->tls_dir), "%s/tls", f->o.node.dir);
    if (!f->o.node.peer_tls_dir && n > 0 && (size_t)n < sizeof(f->tls_dir) &&
        (f->has_token || stat(f->tls_dir, &st) == 0 || errno != ENOENT))
        f->o.node.peer_tls_dir = f->tls_dir;
}

/* What the cluster is: the flags say it, or the directory of a node that joined before. */
static void parse_join(struct flags *f)
{
    struct join_options *j = &f->join;
    struct err err = {0};
    j->dir = f->o.node.dir;
    j->name = f->o.name;
    j->tls_dir = f->o.node.peer_tls_dir;
    if (f->has_token)
        j->token = &f->token;
    if (f->peer)
        parse_any_addr("--peer", f->peer, &j->peer);
    else if (f->contacts)
        args_refuse("--peer", "is needed with --join: where do the others reach this node?");
    if (f->contacts && !join_contacts_parse(slice_of(f->contacts), j, &err))
        args_refuse("--join", err.msg);
}

static void parse_members(struct flags *f, struct env *env)
{
    bool known = join_known(env, f->o.node.dir), first = f->init || f->cluster;
    f->joins = f->o.node.newcomer = known || f->contacts || f->join.file;
    if (known && first)
        args_refuse(f->init ? "--init" : "--cluster",
                    "this directory joined a cluster before, which says who its members are");
    if (!f->joins && !first)
        args_refuse("--init, --cluster, --join", "one of them says what the cluster is");
    if (!f->joins && (f->o.standby || f->join.id))
        args_refuse("--standby, --id", "are for a node that joins");
    if (f->joins)
        parse_join(f);
    else
        parse_cluster(f);
}

/* Does what it does, and ends. */
static bool offline(const struct flags *f)
{
    return f->verb && strcmp(f->verb, "join") != 0;
}

static void check_verb(const struct flags *f)
{
    bool restore = f->verb && strcmp(f->verb, "restore") == 0;
    if (restore != (f->from != NULL))
        args_refuse("--from", "goes with weftd restore: which file?");
    if ((f->to || f->yes) && (!offline(f) || restore))
        args_refuse("--to, --yes", "go with weftd recover");
    if (offline(f) && (f->contacts || f->join.file))
        args_refuse("--join", "is for a node that is to run");
    if (f->has_token && (!f->contacts || strstr(f->contacts, "://")))
        args_refuse("--token", "goes with --join and peer addresses of members, 10.0.0.1:7444");
    if (f->has_token && f->join.id)
        args_refuse("--id", "a node with a token is given its id");
    if (f->above && !offline(f))
        args_refuse("--above", "goes with weftd restore and weftd recover");
}

static void parse(struct flags *f, int argc, char **argv)
{
    static const struct option longs[] = {
        {"name", 1, NULL, 'n'},
        {"data", 1, NULL, 'd'},
        {"init", 0, NULL, 'i'},
        {"cluster", 1, NULL, 'c'},
        {"peer", 1, NULL, 'p'},
        {"join", 1, NULL, 'j'},
        {"token", 1, NULL, 'k'},
        {"token-file", 1, NULL, 'K'},
        {"ca-dir", 1, NULL, 'g'},
        {"join-file", 1, NULL, 'J'},
        {"standby", 0, NULL, 'S'},
        {"id", 1, NULL, 'I'},
        {"peer-cert-dir", 1, NULL, 't'},
        {"api", 1, NULL, 'a'},
        {"xds", 1, NULL, 'x'},
        {"metrics", 1, NULL, 'm'},
        {"election-timeout", 1, NULL, 'e'},
        {"xds-workers", 1, NULL, 'w'},
        {"cluster-id", 1, NULL, 'C'},
        {"hold-version", 1, NULL, 'o'},
        {"snapshot-log-mib", 1, NULL, 's'},
        {"store-quota-mib", 1, NULL, 'q'},
        {"history", 1, NULL, 'H'},
        {"from", 1, NULL, 'f'},
        {"to", 1, NULL, 'T'},
        {"yes", 0, NULL, 'Y'},
        {"above", 1, NULL, 'A'},
        {"log-level", 1, NULL, 'v'},
        {"log-format", 1, NULL, 'F'},
        {"version", 0, NULL, 'V'},
        {"help", 0, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int opt;
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1)
        parse_one(f, opt, optarg);
    if (f->verb && strcmp(f->verb, "join") == 0) {
        if (optind < argc && !f->contacts)
            f->contacts = argv[optind++];
        if (!f->contacts || !f->has_token)
            args_refuse("weftd join", "wants peer addresses of members and a token: weftd join "
                                      "10.0.0.1:7444 --token-file FILE …");
    }
    if (optind < argc)
        args_refuse(argv[optind], "is no flag");
    if (!f->o.name[0])
        args_refuse("--name", "is needed");
    args_name("--name", slice_of(f->o.name), sizeof(((struct reg_member *)0)->name) - 1);
    if (!f->o.node.dir)
        args_refuse("--data", "is needed: where does this node keep its log?");
    if (f->init + (f->cluster != NULL) + (f->contacts != NULL) + (f->join.file != NULL) > 1)
        args_refuse("--init, --cluster, --join, --join-file",
                    "one of them says what the cluster is");
    check_verb(f);
    f->o.node.heartbeat_timeout = f->o.node.election_timeout / 6;
    find_tls(f);
}

/* What this node kept cannot be trusted; an empty directory can (registry/raft/join.h). */
static void advise(const struct weftd_options *o)
{
    if (o->node.newcomer)
        fprintf(stderr,
                "weftd: replace it: weft operator raft remove %s, then join with an empty "
                "directory on a sound disk\n",
                o->name);
    else if (o->node.member_count > 1)
        fprintf(
            stderr,
            "weftd: give this node a sound disk and start it with an empty directory, under the "
            "same name: while the other nodes live it catches up before it votes%s\n",
            o->node.peer_tls_dir ? "; its certificates must stay where they were" : "");
    else
        fprintf(stderr,
                "weftd: a cluster of one node has no other copy: restore %s from a backup\n",
                o->node.dir);
}

static int run_verb(const struct flags *f)
{
    struct offline_options o = {
        .node = f->o.node, .from = f->from, .to = f->to, .above = f->above, .yes = f->yes};
    return f->from ? weftd_restore_run(&o) : weftd_recover_run(&o);
}

static bool belongs(struct flags *f, struct env *env, struct err *err)
{
    parse_members(f, env);
    return !f->joins || join_cluster(env, &f->join, &f->o.node, err);
}

static void on_signal(void *ctx, int signum)
{
    (void)signum;
    env_uv_stop(ctx);
}

/* As many connections as the system lets us have: a shell's 1,024 are gone with as many watches. */
static void raise_files(void)
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
    if (argc > 1 && strcmp(argv[1], "init") == 0)
        return weftd_init_run(argc - 1, argv + 1);
    struct flags f = {.o = {.node.election_timeout = 300}};
    parse_addr("--api", "127.0.0.1:7443", &f.o.api);
    parse_addr("--xds", "127.0.0.1:15012", &f.o.xds);
    parse_addr("--metrics", "127.0.0.1:15014", &f.o.metrics);
    if (argc > 1 && (strcmp(argv[1], "restore") == 0 || strcmp(argv[1], "recover") == 0 ||
                     strcmp(argv[1], "join") == 0))
        f.verb = argv[1];
    parse(&f, f.verb ? argc - 1 : argc, f.verb ? argv + 1 : argv);
    log_set_component(f.o.name);
    raise_files();
    struct env *env = env_uv_new(&err);
    bool ok = env && belongs(&f, env, &err);
    if (ok && offline(&f)) {
        env_uv_free(env);
        return run_verb(&f);
    }
    struct weftd *d = MEM_NEW(struct weftd);
    bool begun = ok;
    ok = ok && weftd_start(d, env, &f.o, &err);
    if (ok) {
        env_uv_on_signal(env, SIGTERM, on_signal, env);
        env_uv_on_signal(env, SIGINT, on_signal, env);
        env_uv_run(env);
    } else {
        fprintf(stderr, "weftd: %s\n", err.msg);
        if (err.code == ERR_CORRUPT)
            advise(&f.o);
    }
    if (begun)
        weftd_stop(d);
    env_uv_free(env);
    mem_free(d);
    return ok ? 0 : 1;
}
