/* The named bounds of gRPC over env streams. */
#ifndef WEFT_BASE_NET_GRPC_LIMITS_H
#define WEFT_BASE_NET_GRPC_LIMITS_H

/* Bytes that wait in one connection for the socket, beside what sources refer to: a reader that
 * does not read costs this, a frame and no more. */
#define GRPC_OUT_BYTES (32u * 1024)
/* Writes of one turn to one connection, so that a fast reader does not keep the others waiting. */
#define GRPC_OUT_ROUNDS 16
#define GRPC_SOURCES_MAX 256u /* messages waiting in one stream */
#define GRPC_CONNECTIONS_MAX 20000u
#define GRPC_LISTENERS_MAX 16u
#define GRPC_STREAMS_MAX 100u
#define GRPC_HANDSHAKE_MS 10000
#define GRPC_CONNECT_MS 5000
#define GRPC_KEEPALIVE_MS 30000
#define GRPC_KEEPALIVE_TIMEOUT_MS 20000
#define GRPC_STALL_MS 60000
#define GRPC_LINGER_MS 1000 /* for the last bytes of a connection */

#endif
