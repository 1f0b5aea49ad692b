/* An HTTP/1.1 server for our own API, admin and metrics ports, over env streams.
 *
 *   static void on_request(void *ctx, struct http_request *req)
 *   {
 *       if (slice_eq(req->path, S("/ready")))
 *           http_respond(req, 200, S("text/plain"), S("ready\n"));
 *       else
 *           http_respond(req, 404, S("text/plain"), S("nothing here\n"));
 *   }
 *
 *   server = http_server_new(env, &(struct http_server_options){0}, on_request, ctx);
 *   http_server_listen(server, &addr, NULL, &err);
 *
 * A handler gets whole requests. It may answer from inside on_request or in a later turn: the
 * request stays valid until it is answered in full or req->on_close has said that the client is
 * gone. Of one connection there is one request at a time; pipelined ones wait, so answers never
 * overtake each other. What HTTP itself refuses (syntax, size, time) is answered here and never
 * reaches the handler.
 */
#ifndef WEFT_BASE_NET_HTTP_SERVER_H
#define WEFT_BASE_NET_HTTP_SERVER_H

#include "base/env/env.h"
#include "base/net/net_limits.h"
#include "base/wire/header.h"

struct http_server;

/* Everything here is read-only for the handler but for the last group. */
struct http_request {
    struct slice method;
    enum http_method method_id;
    struct slice authority; /* Host; may be empty */
    /* Canonical (wire/path.h), escapes left in: decode the segments (net/uri.h). */
    struct slice path;
    struct slice query; /* as received, without "?" */
    const struct headers *headers;
    struct slice body;
    const struct env_addr *peer;
    struct env_stream *stream; /* for its peer's names; not for reading or writing */
    struct arena *arena;       /* for the handler's own use; dies with the request */

    struct headers response;                    /* fields to send, added before the answer begins */
    void *user;                                 /* the handler's */
    void (*on_drain)(struct http_request *req); /* streaming: go on producing */
    void (*on_close)(struct http_request *req); /* the client is gone; req is, after return */
};

/* 0 = the default of net_limits.h. */
struct http_server_options {
    size_t body_bytes_max;
    size_t head_bytes_max;
    uint32_t connections_max;
    wf_ms idle_timeout;    /* between requests */
    wf_ms request_timeout; /* from a request's first byte to its last */
    wf_ms stall_timeout;   /* an answer of which the client takes nothing */
    struct slice server;   /* Server field; empty = none */
};

struct http_server *http_server_new(struct env *env, const struct http_server_options *opt,
                                    void (*on_request)(void *ctx, struct http_request *req),
                                    void *ctx);
/* May be called for several addresses. false and err when one cannot be bound. */
bool http_server_listen(struct http_server *server, const struct env_addr *at,
                        const struct env_listen_options *opt, struct err *err);
/* The address of the i-th listener (port 0 resolved). */
const struct env_addr *http_server_addr(const struct http_server *server, size_t i);
/* Serves a stream that somebody else accepted; `first` are bytes already read from it. */
void http_server_adopt(struct http_server *server, struct env_stream *s, struct slice first);
/* Graceful end: no new connections, idle ones close, running requests are finished within `grace`,
 * then cut. on_closed (may be NULL) comes in a later turn; after it http_server_free. */
void http_server_close(struct http_server *server, wf_ms grace, void (*on_closed)(void *ctx),
                       void *ctx);
/* At once: running requests get on_close from inside the call. NULL is fine. */
void http_server_free(struct http_server *server);

/* Answers. */

/* The whole answer; req is gone after it. content_type may be empty where body is. */
void http_respond(struct http_request *req, int status, struct slice content_type,
                  struct slice body);

/* A stream of chunks (a watch). A client that ends its side of the connection ends the stream:
 * on_close. */
void http_respond_start(struct http_request *req, int status, struct slice content_type);
/* Returns the bytes queued for the client. After a result above 0 req->on_drain comes (if set) when
 * the queue is nearly empty: the handler bounds what it queues. Empty chunks send nothing. */
size_t http_respond_chunk(struct http_request *req, struct slice bytes);
/* The regular end; req is gone after it. */
void http_respond_end(struct http_request *req);
/* Cuts the connection, so that the client sees an incomplete answer; req is gone after it. */
void http_respond_abort(struct http_request *req);

struct http_server_stats {
    uint32_t connections;   /* now */
    uint32_t requests_open; /* now */
    uint64_t connections_total;
    uint64_t requests_total; /* that reached the handler */
    uint64_t refused_total;  /* syntax, size, time */
    uint64_t overflow_total; /* connections above connections_max */
    uint64_t stalled_total;  /* cut by stall_timeout */
};
const struct http_server_stats *http_server_stats(const struct http_server *server);

#endif
