#include "weftd/offline.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/env/env_uv.h"
#include "registry/restore.h"

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

int weftd_restore_run(const struct offline_options *o)
{
    struct err err = {0};
    struct reg_restored *r = MEM_NEW(struct reg_restored);
    struct env *env = env_uv_new(&err);
    bool ok = env && reg_restore(
                         &(struct reg_restore_options){
                             .env = env, .from = o->from, .above = o->above, .node = &o->node},
                         r, &err);
    if (ok)
        say_restored(o, r);
    else
        fprintf(stderr, "weftd restore: %s\n", err.msg);
    env_uv_free(env);
    mem_free(r);
    return ok ? 0 : 1;
}
