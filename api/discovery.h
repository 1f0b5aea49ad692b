/* What the API serves, as Kubernetes clients ask for it: /api, /apis, APIResourceList, aggregated
 * discovery, /version.
 *
 *   if (discovery_write(S("/apis/networking.istio.io/v1"), false, NULL, 0, &out))
 *       … answer 200 with out
 */
#ifndef WEFT_API_DISCOVERY_H
#define WEFT_API_DISCOVERY_H

#include "api/kind.h"

/* A resource that is no row of the table of kinds (members, proxies). */
struct discovery_resource {
    const char *group, *version, *kind, *plural, *singular;
    bool namespaced;
    const char *verbs[8]; /* "get", "list" …, NULL behind the last */
};

/* Content type of an aggregated answer; a client asks for it in Accept. */
#define DISCOVERY_AGGREGATED_TYPE                                                                  \
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
/* Does this Accept header prefer the aggregated form (v2)? */
bool discovery_wants_aggregated(struct slice accept);

/* Appends the document of a path: /api, /api/v1, /apis, /apis/GROUP, /apis/GROUP/VERSION, /version.
 * With `aggregated`, /api and /apis give an APIGroupDiscoveryList. false, nothing appended: not one
 * of these, or a group or version that is not served. */
bool discovery_write(struct slice path, bool aggregated, const struct discovery_resource *extra,
                     size_t extra_count, struct buf *out);

#endif
