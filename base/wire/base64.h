/* Base64 (RFC 4648): the standard alphabet with padding out; both alphabets, padding or none, in.
 */
#ifndef WEFT_BASE_WIRE_BASE64_H
#define WEFT_BASE_WIRE_BASE64_H

#include "base/core/mem.h"
#include "base/core/slice.h"

/* Standard alphabet, padded. false at out's limit. */
bool base64_encode(struct buf *out, struct slice bytes);
/* URL-safe alphabet without padding (RFC 7515). */
bool base64url_encode(struct buf *out, struct slice bytes);
/* Appends the bytes. false when the text is malformed (white space, a foreign character, a length
 * that no bytes have, bits left over) or out is at its limit; out then holds part of them. */
bool base64_decode(struct buf *out, struct slice text);

#endif
