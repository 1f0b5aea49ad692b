/* What the mesh says about itself: members, proxies, and what these were given (/weft/v1). */
#ifndef WEFT_CLI_MESH_H
#define WEFT_CLI_MESH_H

#include "cli/context.h"

/* {"items":[…]} of proxies or members, or, with a name, the one of that name. NULL and err. */
json_t *mesh_fetch(struct cli *c, bool proxies, struct slice name, struct err *err);
/* Tables of them; with a name, of that one. Return the exit code. */
int mesh_print_proxies(struct cli *c, struct slice name);
int mesh_print_members(struct cli *c, struct slice name);
void mesh_members_table(struct table *t, const json_t *members);
/* Of the cluster, and who keeps it from the next; list: an answer with clusterVersion, else nothing
 * is printed. */
void mesh_print_version(FILE *out, const json_t *list, const json_t *members);
/* Everything about one proxy. */
int mesh_describe_proxy(struct cli *c, struct slice name);
/* The proxy that a person means: its name, its node id, or its name without the namespace where
 * that is one only. Borrowed from the list; NULL and err. */
const json_t *mesh_find_proxy(const json_t *list, struct slice word, struct err *err);

#endif
