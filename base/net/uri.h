/* Percent-encoding and query strings (RFC 3986 §2.1, and "+" for a space in queries as HTML forms
 * and Kubernetes clients write it).
 *
 *   struct slice rest = req->query, name, value;
 *   while (uri_query_next(&rest, &name, &value)) …
 *   if (!uri_query_get(req->query, S("labelSelector"), req->arena, &selector)) …absent or malformed
 */
#ifndef WEFT_BASE_NET_URI_H
#define WEFT_BASE_NET_URI_H

#include "base/core/mem.h"

/* The text with its escapes decoded, the input itself where there are none. false: a "%" without
 * two hex digits, or an escaped NUL. */
bool uri_decode(struct slice s, struct arena *arena, struct slice *ret);
/* The same, "+" is a space. */
bool uri_decode_form(struct slice s, struct arena *arena, struct slice *ret);
/* Everything but unreserved characters escaped: for a path segment or a query value. */
struct slice uri_encode(struct slice s, struct arena *arena);
/* The next "name=value" (still encoded; value empty without "=") of "a=1&b=2"; empty parts are
 * skipped. */
bool uri_query_next(struct slice *rest, struct slice *ret_name, struct slice *ret_value);
/* Decoded value of the first parameter of that name. false when there is none or it is malformed.
 */
bool uri_query_get(struct slice query, struct slice name, struct arena *arena,
                   struct slice *ret_value);
/* Is there a parameter of that name? */
bool uri_query_has(struct slice query, struct slice name);

#endif
