/* From the model to views: the pure core of the compiler. One thread, no I/O, no clock.
 *
 *   build_init(&b, root_ns, cluster_id);
 *   model_apply(&b.model, …);
 *   struct xds_view *v = build_view(&b, class_id, &input);      current for what the model says now
 *   build_collect(&b);
 *
 * Everything is a cell of the graph (pilot/model/graph.h), from narrow to wide:
 *
 *   rule      (scope, host)       which DestinationRules hold there
 *   unit      (what, …, service)  the resources that one service makes: clusters, load assignments,
 *                                 virtual hosts, a listener; shared by scopes where the inputs
 *                                 allow it
 *   list      (what, scope)       the units of all services that a scope sees, as an xds_list
 *   own       (class)             inbound listeners and clusters: what depends on the proxy's
 *                                 address
 *   class     (class)             the view
 *
 * A scope is what classes that see the same have in common: namespace, Sidecar object, locality,
 * and which of the selectors that rules use match the proxy's labels.
 */
#ifndef WEFT_PILOT_BUILD_H
#define WEFT_PILOT_BUILD_H

#include "pilot/model/model.h"
#include "pilot/snapshot/snapshot.h"

struct scope;

struct build {
    struct graph graph;
    struct model model;
    struct slice cluster_id;
    struct arena strings; /* root_ns, cluster_id */
    struct map scopes;    /* key -> struct scope */
    uint64_t scope_ids;
    VEC(struct scope *) scopes_old; /* references to give back when their cells are gone */
    struct map interned; /* type, name, version -> struct xds_resource that classes share */
    size_t interned_swept;
    struct map classes; /* id (8 bytes) -> pinned class cell */
    struct buf packed;  /* scratch of build_resource */
    uint64_t encoded;   /* resources encoded so far: metric, tests */
};

void build_init(struct build *b, struct slice root_ns, struct slice cluster_id);
void build_fini(struct build *b);
/* Borrowed until the next change of the model or build_forget. The input is copied at the first
 * call of an id.
 */
struct xds_view *build_view(struct build *b, uint64_t class_id, const struct proxy_class_input *in);
void build_forget(struct build *b, uint64_t class_id);
/* Frees what nothing needs any more. */
void build_collect(struct build *b);

#endif
