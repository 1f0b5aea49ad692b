/* Which virtual host, route and cluster a request goes to, and what it looks like upstream. Pure.
 *
 *   const struct virtual_host *v = route_vhost_find(table, authority);      NULL: 404 NR
 *   const struct route *r = route_match(v, &rq);                            NULL: 404 NR
 *   struct slice cluster = route_cluster_pick(r, random)->cluster;
 *   if (!route_path_rewrite(r, &rq, arena, &path)) …
 *
 * Precedence as in Envoy's RouteConfiguration: hosts exact, "*.suffix" longest first, "prefix.*"
 * longest first, "*"; routes in the order of the list, the first that matches.
 */
#ifndef WEFT_PROXY_ROUTE_H
#define WEFT_PROXY_ROUTE_H

#include "base/wire/header.h"
#include "proxy/conf.h"

struct route_request {
    const struct http_head *head;
    struct slice path, query; /* canonical; query without "?" */
    bool has_query;
    bool grpc;       /* content-type application/grpc */
    uint64_t random; /* of this request: runtime fractions */
};

/* host: authority as received, any case. NULL if nothing matches. */
const struct virtual_host *route_vhost_find(const struct route_table *t, struct slice host);

/* The first route that matches, or NULL. */
const struct route *route_match(const struct virtual_host *v, const struct route_request *rq);
/* Of a route that forwards. random decides between weights. */
const struct weighted_cluster *route_cluster_pick(const struct weighted_cluster *clusters, size_t n,
                                                  uint32_t weight_total, uint64_t random);

/* Path and query towards the upstream: prefix or regex rewrite, else the canonical path. False when
 * the result does not fit into `arena`. */
bool route_path_rewrite(const struct route *r, const struct route_request *rq, struct arena *arena,
                        struct slice *ret_path);
/* Location of a ROUTE_REDIRECT. scheme: of the request. */
bool route_redirect_location(const struct route *r, const struct route_request *rq,
                             struct slice scheme, struct arena *arena, struct slice *ret_location);

/* The affinity key by the route's hash policies; 0 = none. peer: address without port. *ret_cookie:
 * a policy that wants a cookie made (its key is then `fresh`), or NULL. */
uint64_t route_hash(const struct route *r, const struct route_request *rq, struct slice peer,
                    uint64_t fresh, const struct hash_policy **ret_cookie);

bool string_match_test(const struct string_match *m, struct slice value);

#endif
