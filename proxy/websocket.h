/* The two handshake fields of WebSocket, for where one side speaks HTTP/1 and the other HTTP/2,
 * which does without them (RFC 6455 §4, RFC 8441 §5).
 */
#ifndef WEFT_PROXY_WEBSOCKET_H
#define WEFT_PROXY_WEBSOCKET_H

#include "base/core/mem.h"
#include "proxy/rng.h"

/* A fresh Sec-WebSocket-Key: 16 bytes in base64. */
struct slice websocket_key(struct rng *rng, struct arena *arena);
/* The Sec-WebSocket-Accept that belongs to a key. */
struct slice websocket_accept(struct slice key, struct arena *arena);

#endif
