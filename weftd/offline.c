#include "weftd/offline.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

#include "base/env/env_uv.h"
#include "registry/restore.h"
#include "registry/survivor.h"

static void say_members(const struct reg_node_options *o)
{
    for (size_t i = 0; i < o->member_count; i++) {
        char addr[ENV_ADDR_TEXT];
        printf("%s%s=%.*s", i ? ", " : "", o->members[i].name,
               SLICE(env_addr_format(&o->members[i].addr, addr)));
    }
}

static void say_restored(const struct offline_options *o, const struct reg_restored *r)
{
    printf("restored %s: what was revision @%" PRIu64 " goes on at @%" PRIu64 "\n", o->node.dir,
           r->head.revision, r->revision);
    printf("a new cluster of ");
    say_members(&o->node);
    printf(": nodes of the old one are refused\n");
    if (o->node.member_count > 1)
        printf("restore the same file, with the same flags, on all of them, and start them\n");
}

static bool restore(struct env *env, const struct offline_options *o, const char *from,
                    struct err *err)
{
    struct reg_restored *r = MEM_NEW(struct reg_restored);
    bool ok = reg_restore(
        &(struct reg_restore_options){
            .env = env, .from = from, .above = o->above, .node = &o->node},
        r, err);
    if (ok)
        say_restored(o, r);
    mem_free(r);
    return ok;
}

static int ended(struct env *env, bool ok, const char *what, const struct err *err)
{
    if (!ok)
        fprintf(stderr, "weftd %s: %s\n", what, err->msg);
    env_uv_free(env);
    return ok ? 0 : 1;
}

int weftd_restore_run(const struct offline_options *o)
{
    struct err err = {0};
    struct env *env = env_uv_new(&err);
    return ended(env, env && restore(env, o, o->from, &err), "restore", &err);
}

/* Recovery. */

static void say_survivor(const struct offline_options *o, const struct reg_survivor *s)
{
    printf("%s holds the log up to index %" PRIu64 " of term %" PRIu64 "\n", o->node.dir,
           s->last_index, s->last_term);
    if (s->last_index > s->applied)
        printf("  %" PRIu64 " known to be committed, %" PRIu64
               " behind it: they are kept as well\n",
               s->applied, s->last_index - s->applied);
    printf("  kept: every object as of that index\n"
           "  lost: what only the other nodes had, if they went on from there; the window of\n"
           "        changes (watches list again) and remembered Idempotency-Keys\n"
           "  the old cluster ends: nodes of it are refused from then on\n"
           "  the new one: ");
    say_members(&o->node);
    printf("\n");
}

static bool recover(struct env *env, const struct offline_options *o, struct err *err)
{
    char to[4096], aside[NAME_MAX + 1];
    struct reg_survivor s;
    if (!reg_survivor_look(env, &o->node, &s, err))
        return false;
    say_survivor(o, &s);
    if (!o->yes) {
        printf("nothing was done: look at every survivor, and recover the one with the highest "
               "term, then\nthe highest index, with --yes\n");
        return true;
    }
    struct snapshot_head *h = MEM_NEW(struct snapshot_head);
    snprintf(to, sizeof(to), "%s/recovered-%" PRIu64 ".snap", o->node.dir, s.last_index);
    const char *file = o->to ? o->to : to;
    bool ok = reg_survivor_save(env, &o->node, file, h, err);
    mem_free(h);
    if (!ok || !reg_survivor_put_aside(env, o->node.dir, aside, err))
        return false;
    printf("\nsaved %s; what was here is in %s/%s\n", file, o->node.dir, aside);
    return restore(env, o, file, err) || err_wrap(err, "go on with: weftd restore --from %s", file);
}

int weftd_recover_run(const struct offline_options *o)
{
    struct err err = {0};
    struct env *env = env_uv_new(&err);
    return ended(env, env && recover(env, o, &err), "recover", &err);
}
