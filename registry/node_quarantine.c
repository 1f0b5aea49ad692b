/* A node that finds its data damaged must not vote with what is left. It puts everything aside and
 * begins as one that lost its disk (raft/join.h): it asks all others, catches up, and votes then.
 *
 * A power cut in between leaves a directory of which parts are missing: that is damaged as well. */
#include <stdio.h>
#include <string.h>

#include "base/core/log.h"
#include "registry/node_impl.h"

#define QUARANTINE "quarantine-"
#define PATH_BYTES 4096

struct names {
    char name[64][NAME_MAX + 1];
    size_t n, quarantines;
};

/* registry/raft/README.md lists them. What else lies in the directory (certificates) stays. */
bool node_is_data(struct slice name)
{
    return slice_eq(name, S("meta")) || slice_eq(name, S("log")) || slice_eq(name, S("store")) ||
           slice_eq(name, S("snapshot")) || slice_starts(name, S("ckpt-"));
}

static void on_name(void *ctx, const char *name)
{
    struct names *names = ctx;
    struct slice s = slice_of(name);
    if (slice_starts(s, S(QUARANTINE)))
        names->quarantines++;
    else if (node_is_data(s) && names->n < ARRAY_LEN(names->name))
        snprintf(names->name[names->n++], NAME_MAX + 1, "%s", name);
}

bool node_quarantine(struct reg_node *n, const struct err *why, struct err *err)
{
    struct names *names = MEM_NEW(struct names);
    char from[PATH_BYTES], to[PATH_BYTES], aside[PATH_BYTES];
    bool ok = env_dir_list(n->env, n->dir, on_name, names, err);
    if (ok && names->quarantines >= NODE_QUARANTINES_MAX)
        ok = err_set(err, ERR_CORRUPT,
                     "%s: this disk damaged what it held %zu times (%s*, remove them when the disk "
                     "is another): the node must not vote",
                     why->msg, names->quarantines, QUARANTINE);
    snprintf(aside, sizeof(aside), "%.*s/" QUARANTINE "%zu", PATH_BYTES - 64, n->dir,
             names->quarantines + 1);
    ok = ok && env_dir_make(n->env, aside, err);
    for (size_t i = 0; ok && i < names->n; i++) {
        snprintf(from, sizeof(from), "%.*s/%s", PATH_BYTES - 300, n->dir, names->name[i]);
        snprintf(to, sizeof(to), "%.*s/%s", PATH_BYTES - 300, aside, names->name[i]);
        ok = env_file_rename(n->env, from, to, err);
    }
    ok = ok && env_dir_sync(n->env, aside, err) && env_dir_sync(n->env, n->dir, err);
    if (ok)
        LOG_ERROR("registry.quarantine", F_U64("node", n->opt.id), F_CSTR("aside", aside),
                  F_ERR(why));
    mem_free(names);
    return ok;
}
