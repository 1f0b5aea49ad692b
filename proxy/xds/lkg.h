/* Last known good: the accepted resources in one checksummed file, so that a proxy that starts
 * while every control-plane node is dead serves as it did.
 *
 *   file   "WEFTLKG1", node id u16+bytes, count u32, records, crc32c u32 of all before
 *   record type u8, name u16+bytes, version u16+bytes, body u32+bytes
 */
#ifndef WEFT_PROXY_XDS_LKG_H
#define WEFT_PROXY_XDS_LKG_H

#include "proxy/xds/resources.h"

/* The whole file's bytes; resources in the order of type and name, so that equal contents are equal
 * bytes. */
void lkg_encode(const struct resources *rs, struct slice node_id, struct buf *out);
/* Puts everything back; a record that this version cannot use is left out (the server sends it
 * again). false and err: not our file, cut short, another node's, or a bit is wrong; then nothing
 * was put. */
bool lkg_decode(struct resources *rs, struct slice node_id, struct slice bytes, int64_t wall_ms,
                struct err *err);

#endif
