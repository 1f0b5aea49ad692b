/* From xDS resources to parts of the configuration tree (proxy/conf.h). Pure: bytes in, immutable
 * parts or a refusal out; the refusal's text is what the NACK says, so it names resource, field and
 * reason.
 *
 *   struct cluster *c = conf_build_cluster(name, version, body, &err);
 *   if (!c) nack_add(…, err.msg);
 *
 * Bodies are scanned before they are unpacked (base/wire/pb.h). A part is born with one reference.
 * What Envoy would refuse is refused; what weft-proxy cannot do yet (a filter or a transport socket
 * that it does not know) is refused too: half of a policy is none.
 */
#ifndef WEFT_PROXY_XDS_CONF_BUILD_H
#define WEFT_PROXY_XDS_CONF_BUILD_H

#include "base/core/err.h"
#include "proxy/conf.h"

struct cluster *conf_build_cluster(struct slice name, struct xds_stamp version, struct slice body,
                                   struct err *err);
struct endpoint_set *conf_build_endpoints(struct slice name, struct xds_stamp version,
                                          struct slice body, struct err *err);
struct virtual_host *conf_build_virtual_host(struct slice name, struct slice body, struct err *err);

/* A route configuration as it came: its virtual hosts inside, or a wish for VHDS (vhds set). It is
 * bound with conf_bind_routes before use. */
struct route_spec {
    struct route_table *table; /* without vhosts */
    size_t vhost_count;
    struct virtual_host **vhosts;
    bool vhds;
};
bool conf_build_routes(struct slice name, struct xds_stamp version, struct slice body,
                       struct route_spec *ret, struct err *err);
void route_spec_fini(struct route_spec *spec);
/* A table of the spec's own virtual hosts and `more` (by VHDS): fills the host indexes. ERR_INVALID
 * for a domain that two of them claim. Takes references. */
struct route_table *conf_bind_routes(const struct route_spec *spec,
                                     struct virtual_host *const *more, size_t more_count,
                                     struct err *err);

/* Chains have route_name set and routes NULL where RDS must supply the table. An api_listener
 * (gRPC) is refused: it is not for a proxy. */
struct listener *conf_build_listener(struct slice name, struct xds_stamp version, struct slice body,
                                     struct err *err);
/* A copy with the tables filled in by name (find takes no reference, NULL = missing); false, and
 * *ret untouched, while one is missing: the listener warms. */
bool conf_bind_listener(struct listener *spec,
                        struct route_table *(*find)(void *ctx, struct slice name), void *ctx,
                        struct listener **ret);
/* A copy with the endpoints (may be NULL) filled in. */
struct cluster *conf_bind_cluster(struct cluster *spec, struct endpoint_set *endpoints);

#endif
