/* Patches of an object: what kubectl apply, edit, patch and label send. Each gives a new tree and
 * leaves `current` as it is.
 *
 *   json_t *next = patch_merge(current, patch, &err);      application/merge-patch+json
 *
 * Merge patch (RFC 7386) and JSON patch (RFC 6902) are for every kind, strategic merge patch for
 * the kinds of Kubernetes itself, whose lists merge by the keys in the schema (a Service's ports by
 * "port").
 *
 * NULL and err: ERR_INVALID for a malformed patch or one that does not fit the object (a pointer to
 * nothing), ERR_CONFLICT for a "test" that does not hold, ERR_LIMIT, ERR_UNSUPPORTED for a kind
 * that does not take it (HTTP 415). The message names the operation.
 */
#ifndef WEFT_API_PATCH_H
#define WEFT_API_PATCH_H

#include "api/kind.h"

#define PATCH_OPS_MAX 1000     /* of a JSON patch */
#define PATCH_NODES_MAX 200000 /* tree nodes that the values within a JSON patch may add up to */
#define PATCH_ITEMS_MAX 4096   /* of a list that a strategic merge patch merges: it is quadratic */

json_t *patch_merge(const json_t *current, const json_t *patch, struct err *err);
json_t *patch_json(const json_t *current, const json_t *patch, struct err *err);
/*   $patch: replace | delete       in a map: it as a whole; in an item: the item
 *   $retainKeys: [...]             in a map: other keys go
 *   $setElementOrder/ports: [...]  order of the merged list
 *   $deleteFromPrimitiveList/finalizers: [...] */
json_t *patch_strategic(const struct kind *k, const json_t *current, const json_t *patch,
                        struct err *err);

#endif
