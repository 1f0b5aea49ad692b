/* A node that finds its data damaged must not vote with what is left. It puts everything aside and
 * begins as one that lost its disk (raft/join.h): it asks all others, catches up, and votes then.
 *
 * A power cut in between leaves a directory of which parts are missing: that is damaged as well.
 * One that is empty but for what was put aside was not always empty. */
#include <stdio.h>
#include <string.h>

#include "base/core/log.h"
#include "registry/node_impl.h"

#define QUARANTINE "quarantine-"
#define PATH_BYTES 4096

struct names {
    char name[64][NAME_MAX + 1];
    size_t n, asides;
    struct slice prefix;
};

/* registry/raft/README.md lists them. What else lies in the directory (certificates) stays. */
bool node_is_data(struct slice name)
{
    return slice_eq(name, S("meta")) || slice_eq(name, S("log")) || slice_eq(name, S("store")) ||
           slice_eq(name, S("snapshot")) || slice_eq(name, S("snapshot-older")) ||
           slice_starts(name, S("ckpt-"));
}

static void on_name(void *ctx, const char *name)
{
    struct names *names = ctx;
    struct slice s = slice_of(name);
    if (slice_starts(s, names->prefix))
        names->asides++;
    else if (node_is_data(s) && names->n < ARRAY_LEN(names->name))
        snprintf(names->name[names->n++], NAME_MAX + 1, "%s", name);
}

static bool move_all(struct env *env, const char *dir, const char *aside, const struct names *names,
                     struct err *err)
{
    char from[PATH_BYTES], to[PATH_BYTES];
    bool ok = env_dir_make(env, aside, err);
    for (size_t i = 0; ok && i < names->n; i++) {
        snprintf(from, sizeof(from), "%.*s/%s", PATH_BYTES - 300, dir, names->name[i]);
        snprintf(to, sizeof(to), "%.*s/%s", PATH_BYTES - 300, aside, names->name[i]);
        ok = env_file_rename(env, from, to, err);
    }
    return ok && env_dir_sync(env, aside, err) && env_dir_sync(env, dir, err);
}

bool node_put_aside(struct env *env, const char *dir, const char *prefix, size_t max,
                    char ret_name[NAME_MAX + 1], struct err *err)
{
    struct names *names = MEM_NEW(struct names);
    char aside[PATH_BYTES];
    names->prefix = slice_of(prefix);
    bool ok = env_dir_list(env, dir, on_name, names, err);
    if (ok && names->asides >= max)
        ok =
            err_set(err, ERR_LIMIT, "%s holds %zu of %s*: remove them", dir, names->asides, prefix);
    snprintf(ret_name, NAME_MAX + 1, "%s%zu", prefix, names->asides + 1);
    snprintf(aside, sizeof(aside), "%.*s/%s", PATH_BYTES - 300, dir, ret_name);
    ok = ok && move_all(env, dir, aside, names, err);
    mem_free(names);
    return ok;
}

struct left {
    bool aside, meta;
};

static void on_left(void *ctx, const char *name)
{
    struct left *left = ctx;
    left->aside |= slice_starts(slice_of(name), S(QUARANTINE));
    left->meta |= slice_eq(slice_of(name), S("meta"));
}

bool node_quarantine_unfinished(struct env *env, const char *dir)
{
    struct left left = {0};
    struct err none = {0}; /* a directory that is not there yet */
    return env_dir_list(env, dir, on_left, &left, &none) && left.aside && !left.meta;
}

bool node_quarantine(struct reg_node *n, const struct err *why, struct err *err)
{
    char aside[NAME_MAX + 1];
    struct err e = {0};
    if (node_put_aside(n->env, n->dir, QUARANTINE, NODE_QUARANTINES_MAX, aside, &e)) {
        LOG_ERROR("registry.quarantine", F_U64("node", n->opt.id), F_CSTR("aside", aside),
                  F_ERR(why));
        return true;
    }
    if (e.code != ERR_LIMIT)
        return err_set(err, e.code, "%s", e.msg);
    return err_set(err, ERR_CORRUPT,
                   "%s: this disk damaged what it held %d times (%s*, remove them when the disk "
                   "is another): the node must not vote",
                   why->msg, NODE_QUARANTINES_MAX, QUARANTINE);
}
