/* An asynchronous HTTP/1.1 client over env streams: the CLI, node-to-node calls, source adapters.
 *
 *   struct http_call_options o = {
 *       .method = S("GET"), .addrs = addrs, .addr_n = 3, .authority = S("weft:7443"),
 *       .path = S("/ready"), .timeout = 5000, .on_done = on_done, .ctx = me };
 *   struct http_call *call = http_call_start(client, &o);
 *
 * The addresses are tried in order until one takes the connection. A call ends with exactly one of
 * on_done, on_fail or http_call_cancel. Connections are kept alive and used again.
 */
#ifndef WEFT_BASE_NET_HTTP_CLIENT_H
#define WEFT_BASE_NET_HTTP_CLIENT_H

#include "base/env/env.h"
#include "base/net/net_limits.h"
#include "base/wire/header.h"

struct http_client;
struct http_call;

/* 0 = the default of net_limits.h. */
struct http_client_options {
    uint32_t idle_max; /* connections kept alive, all addresses together */
    wf_ms idle_timeout;
    wf_ms connect_timeout; /* of one address */
};

struct http_response {
    int status;
    const struct headers *headers;
    struct slice body; /* empty in a streamed answer's on_head */
};

struct http_call_options {
    struct slice method;
    const struct env_addr *addrs;
    size_t addr_n;
    struct slice authority;        /* Host */
    struct slice path;             /* with query */
    const struct headers *headers; /* beside Host and framing; may be NULL */
    struct slice content_type;     /* empty = none */
    struct slice body;
    wf_ms timeout;             /* of all but the data of a stream; 0 = the default */
    wf_ms stall_timeout;       /* of a stream: no bytes for so long; 0 = none */
    size_t response_bytes_max; /* of a collected body; 0 = the default */

    /* The whole answer, borrowed until return. NULL: the answer is streamed by on_head, on_data and
     * on_end. */
    void (*on_done)(void *ctx, const struct http_response *r);
    void (*on_head)(void *ctx, const struct http_response *r);
    void (*on_data)(void *ctx, struct slice bytes);
    void (*on_end)(void *ctx);
    /* ERR_UNAVAILABLE: no address took the connection, or it broke under a GET, HEAD, OPTIONS or
     * TRACE. ERR_UNKNOWN_OUTCOME: any other was sent, but got no (whole) answer; it was sent once.
     * ERR_TIMEOUT: no answer in time. ERR_LIMIT: it is too large. ERR_INVALID: it is no HTTP. */
    void (*on_fail)(void *ctx, const struct err *err);
    void *ctx;
};

struct http_client *http_client_new(struct env *env, const struct http_client_options *opt);
/* Calls that are under way get no callback any more. NULL is fine. */
void http_client_free(struct http_client *client);

/* Everything in `o` is copied but on_ callbacks' ctx. Callbacks never come from inside the call. */
struct http_call *http_call_start(struct http_client *client, const struct http_call_options *o);
/* No callback after it; the call is gone. Also from inside its own callbacks. */
void http_call_cancel(struct http_call *call);
/* A streamed answer stops arriving; the sender feels it. */
void http_call_pause(struct http_call *call);
void http_call_resume(struct http_call *call);

#endif
