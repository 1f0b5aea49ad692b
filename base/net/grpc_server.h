/* gRPC server on one env: accepts connections, gives each call to the handler of its path.
 *
 *   struct grpc_server *srv = grpc_server_new(env, &(struct grpc_server_options){0});
 *   grpc_server_handle(srv, &(struct grpc_handler){.path = S("/pkg.Service/Watch"), …});
 *   grpc_server_listen(srv, &addr, &err);
 *
 * Several threads serve one port with a server each and reuse_port.
 */
#ifndef WEFT_BASE_NET_GRPC_SERVER_H
#define WEFT_BASE_NET_GRPC_SERVER_H

#include "base/net/grpc_stream.h"

struct grpc_server;

/* 0 = the default beside it. */
struct grpc_server_options {
    uint32_t connections_max; /* 20,000; more are closed at accept */
    uint32_t streams_max;     /* of one connection at once: 100 */
    size_t message_bytes_max; /* received: GRPC_MESSAGE_BYTES */
    wf_ms handshake_timeout;  /* until the client's preface and SETTINGS: 10,000 */
    wf_ms keepalive;          /* PING after this silence: 30,000; -1 = never */
    wf_ms keepalive_timeout;  /* then wait this long: 20,000 */
    wf_ms stall_timeout;      /* output that nobody reads: 60,000 */
    bool reuse_port, first;   /* see env_listen_options */
};

/* A method. The strings are borrowed for the server's life. */
struct grpc_handler {
    struct slice path; /* "/package.Service/Method" */
    void *ctx;
    const struct grpc_stream_events *events;
    /* Response headers go out at once after it. Returns the stream's user pointer. Refuse with
     * grpc_stream_finish(s, …): it becomes a trailers-only answer; on_close still follows.
     * timeout: of grpc-timeout, or -1. head is borrowed until on_close. */
    void *(*on_open)(void *ctx, struct grpc_stream *s, const struct http_head *head, wf_ms timeout);
};

struct grpc_server *grpc_server_new(struct env *env, const struct grpc_server_options *opt);
/* One handler a path; a path "" takes what no other does (else UNIMPLEMENTED). */
void grpc_server_handle(struct grpc_server *srv, const struct grpc_handler *handler);
/* false and err when the address cannot be bound. May be called several times. */
bool grpc_server_listen(struct grpc_server *srv, const struct env_addr *at, struct err *err);
/* Of the first listener. */
const struct env_addr *grpc_server_addr(const struct grpc_server *srv);
/* Serves a stream that somebody else accepted on this env. */
void grpc_server_adopt(struct grpc_server *srv, struct env_stream *stream);
uint32_t grpc_server_connections(const struct grpc_server *srv);
/* Stops accepting and sends GOAWAY; calls go on. on_drained (may be NULL) when the last connection
 * is gone, or at `timeout` ms, when the rest is cut. */
void grpc_server_drain(struct grpc_server *srv, wf_ms timeout, void (*on_drained)(void *ctx),
                       void *ctx);
/* Closes everything; streams get on_close before it returns. Not from inside an event. */
void grpc_server_free(struct grpc_server *srv);

#endif
