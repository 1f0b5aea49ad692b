/* What the compiler hands to the xDS workers: immutable, reference-counted, shared by threads.
 *
 *   snapshot   all views at one revision
 *   view       what one class of proxies may see: for each type the resources sorted by name
 *   resource   the encoded bytes of one xDS resource and its version
 *
 * The builder thread makes a snapshot after each revision (coalescing when it is behind) and publishes the
 * pointer; workers keep the old one as long as a response refers to it. An unchanged resource is the same
 * pointer in the next snapshot, an unchanged type list too: comparing pointers finds the differences.
 */
#ifndef WEFT_PILOT_SNAPSHOT_H
#define WEFT_PILOT_SNAPSHOT_H

#include <stdatomic.h>

#include "api/xds_types.h"
#include "base/core/slice.h"
#include "registry/store.h"

/* Version of a resource, "<revision>.<hash>" on the wire: hash of the bytes, revision = highest
 * modify revision of the inputs when the bytes last changed. In sync means: equal hash and a revision
 * that is not older (DESIGN §3). */
struct xds_version {
    reg_rev revision;
    uint64_t hash;
};

#define XDS_VERSION_TEXT 40
/* "41.9f86d081884c7d65"; NUL-terminated into dst. */
struct slice xds_version_format(struct xds_version v, char *dst);
/* false for anything that this project did not write. */
bool xds_version_parse(struct slice text, struct xds_version *ret_version);

struct xds_resource {
    atomic_uint refs;
    enum xds_type type;
    struct xds_version version;
    struct slice name;
    struct slice body;      /* the serialized message (the value of the Any) */
    uint32_t source_count;
    const struct slice *sources; /* registry keys of the objects that made it: a NACK goes to them */
    struct slice follows;   /* CDS: name of the EDS resource that must be sent after a change; else empty */
};

struct xds_resource *xds_resource_ref(struct xds_resource *r);
void xds_resource_unref(struct xds_resource *r);

/* Resources of one type, sorted by name, unique. */
struct xds_list {
    atomic_uint refs;
    reg_rev revision; /* highest version.revision in it */
    uint64_t hash;    /* over names and versions: the SotW version_info is <revision>.<hash> */
    size_t n;
    struct xds_resource *items[];
};

/* Binary search; NULL when absent. */
struct xds_resource *xds_list_find(const struct xds_list *l, struct slice name);

struct xds_view {
    atomic_uint refs;
    uint64_t class_id; /* stable while the class lives */
    struct xds_list *types[XDS_TYPE_COUNT];
};

struct xds_snapshot {
    atomic_uint refs;
    reg_rev revision;
    size_t n;
    struct xds_view *views[]; /* sorted by class_id */
};

struct xds_snapshot *xds_snapshot_ref(struct xds_snapshot *s);
void xds_snapshot_unref(struct xds_snapshot *s);
struct xds_view *xds_snapshot_view(const struct xds_snapshot *s, uint64_t class_id); /* NULL: not compiled yet */

/* ---- classes ---- */

enum proxy_type { PROXY_SIDECAR, PROXY_ROUTER };
enum proxy_dialect { DIALECT_ENVOY, DIALECT_GRPC, DIALECT_WEFT };
enum proxy_capture { CAPTURE_REDIRECT, CAPTURE_NONE }; /* node metadata INTERCEPTION_MODE */

/* Everything about a proxy that the compiler may look at; two proxies with equal inputs are one class.
 * Parsed from the Node of the first request by ads (bounded, see ads_limits.h). Slices are borrowed. */
struct proxy_class_input {
    enum proxy_type type;
    enum proxy_dialect dialect;
    enum proxy_capture capture;
    struct slice ns;              /* metadata NAMESPACE, else from the id, else "default" */
    struct slice dns_domain;      /* "default.svc.cluster.local" */
    struct slice address;         /* workload IP of the node id "sidecar~IP~POD.NS~DOMAIN" */
    size_t label_count;           /* metadata LABELS, sorted by name */
    const struct slice (*labels)[2];
    struct slice region, zone, subzone;
};

/* The compiler's door for workers (any thread): finds or registers the class. The view may not exist yet in
 * the current snapshot; the next one has it (a registration wakes the builder). Give back when
 * the last session of it ends; the builder forgets classes without sessions after a while. */
struct compiler;
uint64_t compiler_class_acquire(struct compiler *c, const struct proxy_class_input *in);
void compiler_class_release(struct compiler *c, uint64_t class_id);

/* Latest snapshot (a reference) or NULL before the first. Any thread. */
struct xds_snapshot *compiler_snapshot(struct compiler *c);
/* fn on env's thread after each publication, coalesced. */
struct env;
struct compiler_watch;
struct compiler_watch *compiler_watch_open(struct compiler *c, struct env *env, void (*fn)(void *ctx),
                                           void *ctx);
void compiler_watch_close(struct compiler_watch *w);

#endif
