/* gRPC client: one connection, any number of calls. It does not reconnect: whoever knows why it
 * connects decides when to try again.
 *
 *   const struct grpc_call_options call = {.path = S("/pkg.Service/Watch")};
 *   c = grpc_client_new(env, &addr, NULL, &events, me);
 *   s = grpc_client_call(c, &call, &stream_events, me);
 *   grpc_stream_send_copy(s, request);
 */
#ifndef WEFT_BASE_NET_GRPC_CLIENT_H
#define WEFT_BASE_NET_GRPC_CLIENT_H

#include "base/net/grpc_stream.h"

struct grpc_client;

struct grpc_client_events {
    /* The peer's SETTINGS came: it speaks HTTP/2. */
    void (*on_ready)(void *ctx);
    /* GOAWAY: open a new client for new calls; those that run go on. */
    void (*on_goaway)(void *ctx);
    /* The connection is gone, its calls have had their on_close. Call grpc_client_free. */
    void (*on_close)(void *ctx, const struct err *why);
};

/* 0 = the default beside it. */
struct grpc_client_options {
    struct slice authority;   /* copied; empty = the address */
    size_t message_bytes_max; /* received: GRPC_MESSAGE_BYTES */
    wf_ms connect_timeout;    /* with SETTINGS: 5,000 */
    wf_ms keepalive;          /* PING after this silence: 30,000; -1 = never */
    wf_ms keepalive_timeout;  /* 20,000 */
};

struct grpc_call_options {
    struct slice path;
    wf_ms timeout;                  /* whole call; 0 = none. Also sent as grpc-timeout */
    const struct headers *metadata; /* more headers; may be NULL; copied */
};

/* Never NULL: a failure comes through on_close. */
struct grpc_client *grpc_client_new(struct env *env, const struct env_addr *to,
                                    const struct grpc_client_options *opt,
                                    const struct grpc_client_events *events, void *ctx);
/* May be called before on_ready. NULL when the connection is closing or takes no more streams. */
struct grpc_stream *grpc_client_call(struct grpc_client *c, const struct grpc_call_options *opt,
                                     const struct grpc_stream_events *events, void *user);
/* Cancels what runs (no events) and closes. Fine from inside an event, and on NULL. */
void grpc_client_free(struct grpc_client *c);

#endif
