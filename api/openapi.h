/* OpenAPI v3 from the schema tables: what kubectl explain, its field validation and its patches are
 * led by.
 *
 *   openapi_write(S("/openapi/v3"), &out)                              the index
 *   openapi_write(S("/openapi/v3/apis/networking.istio.io/v1"), &out)  a group and version
 *   openapi_write(S("/openapi/v3/weft/v1"), &out)              transactions, history, status, …
 *
 * Documents depend on nothing but the tables: cache them. The index carries a hash of each in its
 * URL, by which kubectl caches them.
 */
#ifndef WEFT_API_OPENAPI_H
#define WEFT_API_OPENAPI_H

#include "api/kind.h"

/* false, nothing appended: no such document. The query of the path is not part of it. */
bool openapi_write(struct slice path, struct buf *out);
/* The last of them. */
bool openapi_weft_write(struct buf *out);

#endif
