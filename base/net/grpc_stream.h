/* One gRPC call, seen from either end: messages in, messages out, a status at the end.
 *
 * Messages to send are sources: the stream pulls their bytes when the peer has room, so a message
 * that is a list of shared slices costs its list and nothing else, however many streams send it.
 * One stream holds at most a frame (16 KiB) of copied bytes.
 *
 *   struct push { struct grpc_source src; struct slice *parts; … };
 *   p->src = (struct grpc_source){.bytes = total, .read = push_read, .done = push_done};
 *   grpc_stream_send(s, &p->src);
 */
#ifndef WEFT_BASE_NET_GRPC_STREAM_H
#define WEFT_BASE_NET_GRPC_STREAM_H

#include "base/core/list.h"
#include "base/env/env.h"
#include "base/net/grpc_limits.h"
#include "base/wire/grpc.h"

struct grpc_stream;

/* A message to send, embedded in its owner. */
struct grpc_source {
    struct list_node node;
    uint32_t bytes; /* of the whole message */
    /* Copies the next n bytes (n > 0, never past `bytes`) to dst. */
    void (*read)(struct grpc_source *src, char *dst, size_t n);
    /* Exactly once; the source is the owner's again. sent: all bytes went to the transport; else
     * the stream ended before. */
    void (*done)(struct grpc_source *src, bool sent);
    uint32_t taken; /* the stream's, 0 at the start: bytes of the message and of its frame head */
    uint8_t head_taken;
};

/* A source over borrowed slices, for owners that need no more: parts stay until done. */
struct grpc_parts {
    struct grpc_source src;
    const struct slice *parts;
    size_t n, at, off;
};
/* Sums the lengths up and sets read. done is the caller's. */
void grpc_parts_init(struct grpc_parts *p, const struct slice *parts, size_t n,
                     void (*done)(struct grpc_source *src, bool sent));

/* user is what the stream was opened with. All optional but on_message and on_close. No event comes
 * from inside a call of the owner. */
struct grpc_stream_events {
    /* Client: the response has begun. head is borrowed until on_close. */
    void (*on_headers)(void *user, const struct http_head *head);
    /* A whole message, borrowed until return. */
    void (*on_message)(void *user, struct slice message);
    /* Server: the client sends no more. */
    void (*on_half_close)(void *user);
    /* All sources given so far were taken. */
    void (*on_drain)(void *user);
    /* The last event; the stream is gone after it. Server: GRPC_OK means that we finished it and it
     * went out; GRPC_CANCELLED that the client or the connection ended it. Client: the status. */
    void (*on_close)(void *user, int status, struct slice message);
};

/* Queues a message; sources leave in order. false (and src untouched) when the stream is ending or
 * GRPC_SOURCES_MAX wait. */
bool grpc_stream_send(struct grpc_stream *s, struct grpc_source *src);
/* For small messages: copies. */
bool grpc_stream_send_copy(struct grpc_stream *s, struct slice message);
/* Messages not yet wholly taken. */
size_t grpc_stream_queued(const struct grpc_stream *s);
/* No on_message until resume; the peer is stopped by its window. */
void grpc_stream_pause(struct grpc_stream *s);
void grpc_stream_resume(struct grpc_stream *s);
/* Server: status and trailers behind what is queued; on_close follows. */
void grpc_stream_finish(struct grpc_stream *s, int status, struct slice message);
/* finish with an err's code and message. */
void grpc_stream_fail(struct grpc_stream *s, const struct err *err);
/* Client: no more messages from us. */
void grpc_stream_half_close(struct grpc_stream *s);
/* At once, RST_STREAM; on_close (GRPC_CANCELLED) follows. */
void grpc_stream_cancel(struct grpc_stream *s);
/* The owner goes away: no events any more, sources are given back now (done is called from inside),
 * and the call is cancelled, unless it was finished before: then the status still goes out. */
void grpc_stream_detach(struct grpc_stream *s);

#endif
