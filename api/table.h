/* kubectl's Table (meta.k8s.io/v1): columns of a kind, a row an object.
 *
 *   json_t *t = table_of(kind, items, S("41"), wall_ms);
 */
#ifndef WEFT_API_TABLE_H
#define WEFT_API_TABLE_H

#include "api/kind.h"

/* items: array of objects (borrowed). Columns: Name, those of the kind, Age. Rows carry a
 * PartialObjectMetadata, as kubectl asks by default. New reference. */
json_t *table_of(const struct kind *k, const json_t *items, struct slice resource_version,
                 int64_t wall_ms);
/* Age as kubectl prints it: 45s, 3m20s, 5h, 2d; "<unknown>" for a time that does not parse. */
void table_age(struct slice rfc3339, int64_t wall_ms, struct buf *out);

#endif
