/* Header additions and removals of routes, virtual hosts and weighted clusters. Pure.
 *
 *   header_changes_apply(&route->request, &head, arena, &record);
 */
#ifndef WEFT_PROXY_HEADER_OPS_H
#define WEFT_PROXY_HEADER_OPS_H

#include "mixer/record.h"
#include "proxy/conf.h"

/* Removals first, then additions, as in Envoy. "host" and ":authority" change head->authority; no
 * other pseudo field and no framing field can be changed. A value that cannot be formatted, or that
 * would not be a legal field value, is left out. record: what %COMMANDS% read. */
void header_changes_apply(const struct header_changes *c, struct http_head *head,
                          struct arena *arena, const struct record *record);

#endif
