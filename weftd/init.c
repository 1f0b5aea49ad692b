#include "weftd/init.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/core/args.h"
#include "base/env/env_uv.h"
#include "registry/cluster_ca.h"
#include "registry/node.h"

#define NAME_BYTES sizeof(((struct reg_member *)0)->name)
#define DAYS_MAX 3650

static const char usage_text[] =
    "weftd init --dir DIR --name NAME [--name NAME …] [--days N]\n"
    "weftd init --dir DIR --add NAME [--days N]\n"
    "weftd init --dir DIR --renew [--days N]\n"
    "\n"
    "Makes a CA for a new cluster and a certificate for each node, so that peers speak TLS:\n"
    "\n"
    "  DIR/ca.key            signs; keep it where no node runs, or give DIR to members that\n"
    "                        let nodes join with a token (weftd --ca-dir)\n"
    "  DIR/ca.crt            the CA\n"
    "  DIR/NAME/             ca.crt, node.crt, node.key: give them to that node alone, and\n"
    "                        start it with --peer-cert-dir, or put them in DATA/tls\n"
    "\n"
    "  --name NAME           a node, as --cluster of weftd names it; all of them at once\n"
    "  --add NAME            one more node, for a cluster that runs: of a new id, which is never\n"
    "                        used again. Says how it joins\n"
    "  --days N              how long the nodes' certificates live; default 365\n"
    "  --renew               signs the certificates in DIR again; keys and ids stay, and a node\n"
    "                        that runs takes its new node.crt by itself\n"
    "\n"
    "What is there is not written over.\n";

struct init {
    const char *dir;
    const char *names[REG_NODES_MAX]; /* sorted, as --cluster counts the ids */
    size_t name_count;
    const char *add;
    int64_t days;
    bool renew;
};

static void check_name(const char *flag, const char *name)
{
    args_name(flag, slice_of(name), NAME_BYTES - 1);
    if (name[0] == '.' || strncmp(name, "ca.", 3) == 0)
        args_refuse(flag, "cannot be the name of a directory beside ca.key");
}

static void add_name(struct init *o, const char *name)
{
    size_t at = o->name_count;
    check_name("--name", name);
    if (o->name_count == REG_NODES_MAX)
        args_refuse("--name", "at most 7 nodes");
    for (size_t i = 0; i < o->name_count; i++)
        if (strcmp(o->names[i], name) == 0)
            args_refuse("--name", "is there twice");
    for (; at > 0 && strcmp(o->names[at - 1], name) > 0; at--)
        o->names[at] = o->names[at - 1];
    o->names[at] = name;
    o->name_count++;
}

static void parse(struct init *o, int argc, char **argv)
{
    static const struct option longs[] = {
        {"dir", 1, NULL, 'd'},  {"name", 1, NULL, 'n'},  {"add", 1, NULL, 'a'},
        {"days", 1, NULL, 'D'}, {"renew", 0, NULL, 'r'}, {"help", 0, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int opt;
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (opt == 'd')
            o->dir = optarg;
        else if (opt == 'n')
            add_name(o, optarg);
        else if (opt == 'a')
            check_name("--add", o->add = optarg);
        else if (opt == 'D')
            o->days = (int64_t)args_number("--days", optarg, 1, DAYS_MAX);
        else if (opt == 'r')
            o->renew = true;
        else if (opt == 'h')
            fputs(usage_text, stdout), exit(0);
        else
            exit(64);
    }
    if (optind < argc)
        args_refuse(argv[optind], "is no flag");
    if (!o->dir)
        args_refuse("--dir", "is needed: where do CA and certificates go?");
    if (o->renew + (o->name_count > 0) + (o->add != NULL) != 1)
        args_refuse("--name, --add, --renew", "new nodes, one more or a renewal, one of them");
}

static uint64_t random_cluster(struct env *env)
{
    uint64_t id = 0;
    while (!id)
        env_random(env, &id, sizeof(id));
    return id;
}

static bool make(const struct init *o, struct env *env, struct cluster_ca *ca, struct err *err)
{
    if (!cluster_ca_new(ca, random_cluster(env), env_wall_ms(env) / 1000, err) ||
        !cluster_ca_store(ca, env, o->dir, err))
        return false;
    printf("cluster %016llx: the CA is in %s: who has its key can make nodes\n",
           (unsigned long long)ca->cluster, o->dir);
    for (size_t i = 0; i < o->name_count; i++) {
        if (!cluster_ca_add(ca, env, o->dir, o->names[i], i + 1, o->days, err))
            return false;
        printf("node %zu: %s/%s, for weftd --name %s --peer-cert-dir\n", i + 1, o->dir, o->names[i],
               o->names[i]);
    }
    return true;
}

static void on_renewed(void *ctx, const char *name)
{
    const struct init *o = ctx;
    printf("renewed: %s/%s/node.crt\n", o->dir, name);
}

static bool renew(struct init *o, struct env *env, struct cluster_ca *ca, struct err *err)
{
    return cluster_ca_load(ca, env, o->dir, err) &&
           cluster_ca_renew(ca, env, o->dir, o->days, on_renewed, o, err);
}

static bool add(const struct init *o, struct env *env, struct cluster_ca *ca, struct err *err)
{
    uint64_t id = reg_member_new_id(env);
    if (!cluster_ca_load(ca, env, o->dir, err) ||
        !cluster_ca_add(ca, env, o->dir, o->add, id, o->days, err))
        return false;
    printf("node %llu: %s/%s\n"
           "  beside a member: weft operator raft add %s=ADDR --id %llu -o json >member.json\n"
           "  on the node: weftd --name %s --data DIR --peer-cert-dir … --join-file member.json\n",
           (unsigned long long)id, o->dir, o->add, o->add, (unsigned long long)id, o->add);
    return true;
}

int weftd_init_run(int argc, char **argv)
{
    struct init o = {.days = CLUSTER_CA_NODE_DAYS_DEFAULT};
    struct cluster_ca ca = {0};
    struct err err = {0};
    parse(&o, argc, argv);
    struct env *env = env_uv_new(&err);
    bool ok = env && (o.renew ? renew(&o, env, &ca, &err)
                      : o.add ? add(&o, env, &ca, &err)
                              : make(&o, env, &ca, &err));
    if (!ok)
        fprintf(stderr, "weftd init: %s\n", err.msg);
    cluster_ca_fini(&ca);
    env_uv_free(env);
    return ok ? 0 : 1;
}
