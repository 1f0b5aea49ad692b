/* What the compiler hands to the xDS workers: immutable, reference-counted, shared by threads.
 *
 *   snapshot   all views at one revision
 *   view       what one class of proxies may see: for each type the resources sorted by name
 *   resource   the encoded bytes of one xDS resource and its version
 *
 * The builder thread makes a snapshot after each revision (coalescing when it is behind) and
 * publishes the pointer; workers keep the old one as long as a response refers to it. An unchanged
 * resource is the same pointer in the next snapshot, an unchanged type list too: comparing pointers
 * finds the differences.
 */
#ifndef WEFT_PILOT_SNAPSHOT_H
#define WEFT_PILOT_SNAPSHOT_H

#include <stdatomic.h>

#include "api/xds_types.h"
#include "base/core/slice.h"
#include "registry/store.h"

/* Version of a resource, "<revision>.<hash>" on the wire. Both parts are functions of the
 * replicated state, so that every replica has the same:
 *
 *   hash      of the bytes
 *   revision  the highest revision at which anything changed that was read to make the resource
 *             (objects, and the indexes over them, so that a deletion counts too)
 *
 * A change of the inputs that leaves the bytes equal keeps the resource, its pointer and its
 * version: there is nothing to send. A replica that starts after such a change has the higher
 * revision with the same hash; its clients with the older version are sent the bytes again, which
 * is safe. */
struct xds_version {
    reg_rev revision;
    uint64_t hash;
};

#define XDS_VERSION_TEXT 40
/* "41.9f86d081884c7d65"; NUL-terminated into dst. */
struct slice xds_version_format(struct xds_version v, char *dst);
/* false for anything that this project did not write. */
bool xds_version_parse(struct slice text, struct xds_version *ret_version);
/* Need a client that says to have `client` not be sent `server`? Equal hash, and a revision that is
 * not older: Envoy may report the first version that it saw of a wildcard resource, which is a lie
 * after a rollback to the same bytes. For a client that is known to report what it holds
 * (weft-proxy; resources that are asked for by name), equal hashes are enough. */
bool xds_version_in_sync(struct xds_version client, struct xds_version server);

struct xds_resource {
    atomic_uint refs;
    enum xds_type type;
    struct xds_version version;
    struct slice name;
    struct slice body; /* the serialized message (the value of the Any) */
    uint32_t source_count;
    /* Registry keys of the objects that made it, sorted: a NACK goes to them. */
    const struct slice *sources;
    /* CDS: name of the EDS resource that must be sent after a change; else empty. */
    struct slice follows;
};

struct xds_resource *xds_resource_ref(struct xds_resource *r);
void xds_resource_unref(struct xds_resource *r); /* NULL is fine */

/* Resources of one type, unique by name, in one or two layers: what the class shares with others
 * (base) and its own. A thousand proxies with an address each share one base of a thousand
 * clusters. */
struct xds_list {
    atomic_uint refs;
    reg_rev revision;      /* highest version.revision, base included */
    uint64_t hash;         /* over names and versions, base included: the SotW version_info is
                              <revision>.<hash> */
    struct xds_list *base; /* has no base itself; NULL = none */
    size_t n;              /* own items, sorted by name; none of the names is in base */
    struct xds_resource *items[];
};

struct xds_list *xds_list_ref(struct xds_list *l);
void xds_list_unref(struct xds_list *l); /* NULL is fine */

/* Binary search in both layers; NULL when absent (also from a NULL list). */
struct xds_resource *xds_list_find(const struct xds_list *l, struct slice name);
/* Both layers; 0 for NULL. */
size_t xds_list_count(const struct xds_list *l);

/* Both layers in the order of names:
 *   struct xds_list_iter it = {.list = l};
 *   for (struct xds_resource *r; (r = xds_list_next(&it));) … */
struct xds_list_iter {
    const struct xds_list *list; /* NULL: nothing */
    size_t own, shared;
};
struct xds_resource *xds_list_next(struct xds_list_iter *it);

/* fn for each name, in order, whose resource pointer differs: was NULL = new, is NULL = gone. Equal
 * layers are not walked. Either list may be NULL. */
void xds_list_diff(const struct xds_list *was, const struct xds_list *is,
                   void (*fn)(void *ctx, struct xds_resource *was, struct xds_resource *is),
                   void *ctx);

struct xds_view {
    atomic_uint refs;
    uint64_t class_id;                      /* stable while the class lives */
    struct xds_list *types[XDS_TYPE_COUNT]; /* NULL = empty */
};

struct xds_view *xds_view_ref(struct xds_view *v);
void xds_view_unref(struct xds_view *v); /* NULL is fine */

struct xds_snapshot {
    atomic_uint refs;
    reg_rev revision;
    size_t n;
    struct xds_view *views[]; /* sorted by class_id */
};

struct xds_snapshot *xds_snapshot_ref(struct xds_snapshot *s);
void xds_snapshot_unref(struct xds_snapshot *s); /* NULL is fine */
/* Borrowed from the snapshot. NULL: not compiled yet. */
struct xds_view *xds_snapshot_view(const struct xds_snapshot *s, uint64_t class_id);

/* Making them (the compiler, and tests of the workers) */

struct xds_resource_parts {
    enum xds_type type;
    struct slice name, body, follows;
    reg_rev revision;
    const struct slice *sources; /* in any order, repetitions are dropped */
    size_t source_count;
};
/* One reference; copies all, hashes the body. */
struct xds_resource *xds_resource_new(const struct xds_resource_parts *p);
/* One reference; sorts a copy of items, takes a reference on each and on base. Names must be
 * unique. */
struct xds_list *xds_list_new(struct xds_list *base, struct xds_resource *const *items, size_t n);
/* The same list with other resources of the same names at some places. One reference. */
struct xds_list_patch {
    size_t at; /* in items */
    struct xds_resource *is;
};
struct xds_list *xds_list_patched(const struct xds_list *l, const struct xds_list_patch *p,
                                  size_t n);
/* One reference; takes a reference on each list. */
struct xds_view *xds_view_new(uint64_t class_id, struct xds_list *const lists[XDS_TYPE_COUNT]);
/* One reference; sorts a copy of views, takes a reference on each. */
struct xds_snapshot *xds_snapshot_new(reg_rev revision, struct xds_view *const *views, size_t n);

/* Classes. */

enum proxy_type { PROXY_SIDECAR, PROXY_ROUTER };
enum proxy_dialect { DIALECT_ENVOY, DIALECT_GRPC, DIALECT_WEFT };
enum proxy_capture { CAPTURE_REDIRECT, CAPTURE_NONE }; /* node metadata INTERCEPTION_MODE */

/* Everything about a proxy that the compiler may look at; two proxies with equal inputs are one
 * class. Parsed from the Node of the first request by ads (bounded, see ads_limits.h). Slices are
 * borrowed. */
struct proxy_class_input {
    enum proxy_type type;
    enum proxy_dialect dialect;
    enum proxy_capture capture;
    struct slice ns;         /* metadata NAMESPACE, else from the id, else "default" */
    struct slice dns_domain; /* "default.svc.cluster.local" */
    struct slice address;    /* workload IP of the node id "sidecar~IP~POD.NS~DOMAIN" */
    size_t label_count;      /* metadata LABELS, sorted by name */
    const struct slice (*labels)[2];
    struct slice region, zone, subzone;
};

#endif
