/* Quotas of namespaces, as annotations of the Namespace say them:
 *
 *   weft.dev/quota-objects: "500"
 *   weft.dev/quota-bytes: 10Mi        of keys and values; Ki, Mi, Gi
 */
#ifndef WEFT_API_QUOTA_H
#define WEFT_API_QUOTA_H

#include "base/core/slice.h"

#define QUOTA_OBJECTS "weft.dev/quota-objects"
#define QUOTA_BYTES "weft.dev/quota-bytes"

/* From 1 on; false: it is none. units: Ki, Mi, Gi may stand behind it. */
bool quota_parse(struct slice text, bool units, uint64_t *ret);

#endif
