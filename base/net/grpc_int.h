/* What the files of gRPC over env streams share. Internal. */
#ifndef WEFT_BASE_NET_GRPC_INT_H
#define WEFT_BASE_NET_GRPC_INT_H

#include "base/core/sm.h"
#include "base/net/grpc_stream.h"
#include "base/wire/h2.h"

struct grpc_conn;

/* What server and client do differently with a connection. */
struct grpc_role {
    void (*on_request)(struct grpc_conn *c, int32_t id, const struct http_head *head); /* server */
    void (*on_ready)(struct grpc_conn *c);
    void (*on_goaway)(struct grpc_conn *c);
    /* The connection is over and its streams are gone; whoever owns it frees it. */
    void (*on_gone)(struct grpc_conn *c, const struct err *why);
};

struct grpc_conn_options {
    bool server;
    size_t message_bytes_max;
    wf_ms handshake; /* until the peer's SETTINGS */
    wf_ms keepalive, keepalive_timeout, stall;
    uint32_t streams_max;
    struct h2_pool *pool;
};

/* opening -> open -> closing -> gone, with shortcuts to the end. */
enum grpc_conn_state { CONN_OPENING, CONN_OPEN, CONN_CLOSING, CONN_GONE };

/* Embedded in its owner. */
struct grpc_conn {
    struct env *env;
    struct env_stream *stream;
    struct h2 *h2;
    const struct grpc_role *role;
    void *owner;
    struct buf *out; /* scratch of the owner: empty between calls */
    struct grpc_conn_options opt;
    struct list streams;
    struct env_task flush;
    struct env_timer tick, yield;
    wf_ms born, heard_at;
    wf_ms ping_at, stalled_at; /* -1: no PING is out, nothing is stalled */
    struct sm sm;
    struct err why; /* of a close that we decided */
};

/* Takes the stream. Its events come from here on. */
void grpc_conn_init(struct grpc_conn *c, struct env *env, struct env_stream *stream,
                    const struct grpc_conn_options *opt);
/* The events of the stream, with the connection as ctx. */
extern const struct env_stream_events grpc_conn_stream_events;
/* Frames will leave at the end of this turn. */
void grpc_conn_wake(struct grpc_conn *c);
/* Sends what can be sent, then closes; on_gone follows. why->code ERR_NONE: by agreement. */
void grpc_conn_close(struct grpc_conn *c, const struct err *why);
/* Now: streams get their on_close, the socket is let go; no on_gone. Not from inside an event. */
void grpc_conn_abort(struct grpc_conn *c);
bool grpc_conn_live(const struct grpc_conn *c);

/* Sending half of a stream: open -> ending (finish, half close) -> done (it went out). */
enum grpc_send_state { SEND_OPEN, SEND_ENDING, SEND_DONE };

struct grpc_stream {
    struct list_node node;
    struct grpc_conn *conn;
    int32_t id;                              /* 0: gone from the session */
    const struct grpc_stream_events *events; /* NULL: detached */
    void *user;
    struct list sources;
    uint32_t source_n;
    struct grpc_deframer deframer;
    struct buf held; /* came while paused; its bytes still close the window */
    struct env_task deliver;
    struct env_timer deadline;
    wf_ms progress_at; /* sources moved */
    struct sm send;
    bool head_sent; /* server */
    bool paused, remote_ended, end_given, has_status;
    bool stopped; /* cancelled or failed here: nobody wants its messages any more */
    int status;
    struct slice message; /* owned */
};

struct grpc_stream *grpc_stream_new(struct grpc_conn *c, int32_t id,
                                    const struct grpc_stream_events *events, void *user);
/* Response headers, unless the handler has finished the stream already. */
void grpc_stream_send_head(struct grpc_stream *s);
/* The first status counts. */
void grpc_stream_set_status(struct grpc_stream *s, int status, struct slice message);
/* Without any event: it never began. */
void grpc_stream_discard(struct grpc_stream *s);
/* Cancels with a status of ours; on_close follows. */
void grpc_stream_stop(struct grpc_stream *s, int status, struct slice message);
/* Last event and end. */
void grpc_stream_final(struct grpc_stream *s);
bool grpc_stream_stalled(const struct grpc_stream *s, wf_ms now, wf_ms limit);

/* The session's events of one stream. */
void grpc_stream_on_head(struct grpc_stream *s, enum h2_kind kind, const struct http_head *head);
void grpc_stream_on_data(struct grpc_stream *s, struct slice bytes, bool end);
enum h2_read grpc_stream_on_read(struct grpc_stream *s, char *dst, size_t n, size_t *ret_n);
void grpc_stream_on_reset(struct grpc_stream *s, uint32_t code);

#endif
