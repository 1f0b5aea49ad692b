/* What the files http_server*.c share. Nobody else includes it. */
#ifndef WEFT_BASE_NET_HTTP_SERVER_IMPL_H
#define WEFT_BASE_NET_HTTP_SERVER_IMPL_H

#include "base/core/sm.h"
#include "base/net/http_server.h"
#include "base/wire/http1.h"

/*  idle ──> head ──> body ──> handler ──> streaming
 *   ^ ^──────┴────────┴──────────┴────────────┘       one request after the other
 *   └── each state ──> closing (nothing is read or answered any more)
 */
enum http_conn_state {
    HTTP_CONN_IDLE,
    HTTP_CONN_HEAD,
    HTTP_CONN_BODY,
    HTTP_CONN_HANDLER,
    HTTP_CONN_STREAMING,
    HTTP_CONN_CLOSING,
};
extern const struct sm_table http_conn_table;

struct http_exchange;

struct http_conn {
    struct http_server *server;
    struct list_node node;
    struct env_stream *stream;
    struct sm sm;
    bool peer_ended; /* it sends no more, but may still read an answer */
    bool processing; /* http_conn_process is on the stack */
    struct buf in;
    struct http1_progress head_at;
    struct http_exchange *exchange; /* the request since its head was whole */
    struct env_timer timer;         /* idle: patience; head, body: the request's time */
    struct env_timer stall;         /* armed while output is queued */
    struct env_task process;
    uint64_t written, taken_at_stall; /* bytes */
};

/* A request and its answer. Outlives its connection (conn == NULL) when the client is gone and the
 * handler, which set no on_close, has not answered yet. */
struct http_exchange {
    struct http_request req;
    struct http_conn *conn;
    struct http_server *server;
    struct list_node orphan;
    struct arena arena;
    struct http1_head head;
    struct headers headers;
    struct buf body;
    struct http1_chunked chunked;
    struct env_addr peer;
};

struct http_server {
    struct env *env;
    struct http_server_options opt;
    void (*on_request)(void *ctx, struct http_request *req);
    void *ctx;
    struct env_listener *listeners[HTTP_SERVER_LISTENERS_MAX];
    size_t listener_n;
    struct list conns, orphans;
    struct buf out; /* heads are written here */
    bool closing;
    struct env_timer grace;
    struct env_task closed;
    void (*on_closed)(void *ctx);
    void *on_closed_ctx;
    int64_t date_second;
    char date[40];
    struct http_server_stats stats;
};

/* http_server.c */
void http_conn_move(struct http_conn *conn, enum http_conn_state to);
/* Takes requests out of conn->in as long as there are whole ones and none waits for its answer. */
void http_conn_process(struct http_conn *conn);
/* Sends what is queued and closes. */
void http_conn_end(struct http_conn *conn);
size_t http_conn_write(struct http_conn *conn, const struct iovec *iov, int n);

/* http_server_request.c */
/* One step of reading; false = wait for bytes. */
bool http_conn_read(struct http_conn *conn);
void http_exchange_free(struct http_exchange *x);

/* http_server_respond.c */
/* Refuses what is no request for the handler, and closes. */
void http_conn_refuse(struct http_conn *conn, int status, const char *why);

#endif
