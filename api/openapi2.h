/* OpenAPI v2, as far as kubectl up to 1.26 reads it: which kinds take dryRun. (Since 1.27 it reads
 * openapi.h.) It looks for a path whose patch operation names the kind in the extension
 * x-kubernetes-group-version-kind and has the query parameter dryRun; `kubectl diff` and
 * `--dry-run=server` refuse every other kind. There are no definitions: kinds without one are not
 * validated by the client, and the server's word counts.
 *
 *   openapi2_write(OPENAPI2_PROTO, &out)     answers GET /openapi/v2
 */
#ifndef WEFT_API_OPENAPI2_H
#define WEFT_API_OPENAPI2_H

#include "base/core/mem.h"

enum openapi2_form { OPENAPI2_JSON, OPENAPI2_PROTO };

/* Of an Accept header; protobuf only where it is asked for by one of its names. *ret_type is what
 * Content-Type must say. */
enum openapi2_form openapi2_form(struct slice accept, struct slice *ret_type);
/* The document: JSON, or an openapi.v2.Document of gnostic's OpenAPIv2.proto. */
void openapi2_write(enum openapi2_form form, struct buf *out);

#endif
