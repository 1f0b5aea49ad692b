/* An HTTP/2 session in memory (RFC 9113), over nghttp2: bytes in, events out, bytes out. No I/O, no
 * clock; the shell that owns the socket does
 *
 *   on data:           if (!h2_recv(h2, now, bytes, &err)) close after a last h2_send
 *   once a loop turn:  h2_send(h2, &out, 64 KiB) and one write; again when the socket has drained
 *
 * so that the frames of a turn leave in one write: that is where HTTP/2 gets its speed from.
 *
 * A stream is named by its id, which is never used twice in a session: a call for a stream that has
 * ended does nothing. Bodies to send are pulled (on_read), bodies received open the window again
 * only when the owner says so (h2_consume), so both directions stop by themselves when nobody
 * takes.
 *
 * Events come from inside h2_recv and h2_send only. Every call but h2_free may be made from an
 * event.
 */
#ifndef WEFT_BASE_WIRE_H2_H
#define WEFT_BASE_WIRE_H2_H

#include "base/core/err.h"
#include "base/core/mem.h"
#include "base/wire/header.h"

struct h2;

/* RFC 9113 §7. */
enum h2_error {
    H2_NO_ERROR = 0,
    H2_PROTOCOL_ERROR = 1,
    H2_INTERNAL_ERROR = 2,
    H2_FLOW_CONTROL_ERROR = 3,
    H2_REFUSED_STREAM = 7,
    H2_CANCEL = 8,
    H2_CONNECT_ERROR = 10,
    H2_ENHANCE_YOUR_CALM = 11,
};
const char *h2_error_name(uint32_t code);

/* What on_read did. */
enum h2_read {
    H2_READ_SOME,     /* *ret_n > 0 bytes; perhaps more at once */
    H2_READ_WAIT,     /* nothing now: the stream sleeps until h2_resume */
    H2_READ_END,      /* *ret_n >= 0 bytes, and the stream ends */
    H2_READ_TRAILERS, /* *ret_n >= 0 bytes, and the trailers given to h2_trailers end the stream */
    H2_READ_RESET,    /* the body cannot be finished: RST_STREAM INTERNAL_ERROR */
};

enum h2_kind { H2_REQUEST, H2_RESPONSE, H2_INFORMATIONAL, H2_TRAILERS };

/* ctx is the session's, user the stream's (NULL until h2_set_user). All optional but on_headers
 * and, if bodies are sent, on_read. */
struct h2_events {
    /* A complete, valid head (of TRAILERS only head->headers). It stays, and its headers may be
     * changed by the owner, until the stream's on_close; an INFORMATIONAL one until return.
     * end: the peer sends no body. */
    void (*on_headers)(void *ctx, int32_t stream, void *user, enum h2_kind kind,
                       struct http_head *head, bool end);
    /* Body bytes, borrowed until return; give their number to h2_consume when they were passed on.
     * end comes once, alone (no bytes), if it did not come with on_headers. */
    void (*on_data)(void *ctx, int32_t stream, void *user, struct slice bytes, bool end);
    /* Fills dst (n > 0 bytes) with body to send. */
    enum h2_read (*on_read)(void *ctx, int32_t stream, void *user, char *dst, size_t n,
                            size_t *ret_n);
    /* The stream is gone; H2_NO_ERROR: both sides ended it. Its last event. */
    void (*on_close)(void *ctx, int32_t stream, void *user, uint32_t code);
    /* The peer takes no new streams; those above `last` were not processed and get on_close with
     * H2_REFUSED_STREAM. */
    void (*on_goaway)(void *ctx, int32_t last, uint32_t code);
    void (*on_ping_ack)(void *ctx, uint64_t opaque);
    /* The peer's SETTINGS came: it speaks HTTP/2, and h2_can_request may have changed. */
    void (*on_settings)(void *ctx);
    /* Client: a request has ended: h2_can_request may have become true. */
    void (*on_capacity)(void *ctx);
};

/* 0 = the default beside it. */
struct h2_options {
    uint32_t streams_max;    /* that the peer may open at once: 100 */
    uint32_t stream_window;  /* receive window of a stream, bytes: 256 KiB */
    uint32_t session_window; /* of all streams: 1 MiB */
    uint32_t header_bytes;   /* of one head, decoded: 60 KiB */
    uint32_t headers;        /* fields of one head: 100 */
    uint32_t glitches;       /* burst of odd but legal frames that is borne: 1,000 */
    uint32_t glitches_per_s; /* that are forgotten again: 100 */
    bool any_authority;    /* server: take what RFC 3986 allows, not only host[:port] (gRPC clients
                              put names of clusters and sockets there) */
    bool extended_connect; /* server: SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441) */
    struct h2_pool *pool;  /* shared by the sessions of a thread; NULL = a private one */
};

/* Free lists of stream records, so that a request costs no malloc and an idle session holds none.
 */
struct h2_pool;
struct h2_pool *h2_pool_new(void);
/* After the last session that uses it. */
void h2_pool_free(struct h2_pool *p);

/* events is borrowed for the session's life. A client's preface and both sides' SETTINGS are
 * queued: call h2_send. NULL options = defaults. */
struct h2 *h2_server_new(const struct h2_options *opt, const struct h2_events *events, void *ctx);
struct h2 *h2_client_new(const struct h2_options *opt, const struct h2_events *events, void *ctx);
/* Gives no on_close: the owner's streams end with it. Not from inside an event. */
void h2_free(struct h2 *h);

/* Feeds all bytes. false: the session is broken (err says how, GOAWAY is queued): h2_send once
 * more, then close. now: loop time, for the glitch budget. */
bool h2_recv(struct h2 *h, wf_ms now, struct slice bytes, struct err *err);
/* Appends frames to out until it holds at least `bound` live bytes or nothing is left; a frame is
 * at most 16 KiB + 9. false: broken, as above. */
bool h2_send(struct h2 *h, struct buf *out, size_t bound, struct err *err);
/* Something to send? (h2_send would append.) */
bool h2_want_send(const struct h2 *h);
/* Neither side has anything left to say: close the connection. */
bool h2_done(const struct h2 *h);

/* Client. */

/* A new request. body: on_read will be asked; else END_STREAM goes with the head. head: method,
 * scheme, authority, path (not for CONNECT), headers; nothing is borrowed after return.
 * Returns the stream's id, or -1 when the session takes no more (GOAWAY, ids used up, out of
 * concurrency: h2_can_request). */
int32_t h2_request(struct h2 *h, const struct http_head *head, bool body, void *user);
bool h2_can_request(const struct h2 *h);

/* Server. */

/* Final (status >= 200) or informational head. body as above. false: stream gone. When the response
 * has ended and the request has not, the client is told to stop (RST_STREAM NO_ERROR), but for
 * CONNECT. */
bool h2_respond(struct h2 *h, int32_t stream, const struct http_head *head, bool body);

/* Both. */

void h2_set_user(struct h2 *h, int32_t stream, void *user);
void *h2_user(struct h2 *h, int32_t stream);
/* Ends a stream: from inside the on_read that then says H2_READ_TRAILERS, or after it. */
bool h2_trailers(struct h2 *h, int32_t stream, const struct headers *trailers);
/* The sleeping stream has bytes again. Harmless on one that is awake. */
void h2_resume(struct h2 *h, int32_t stream);
/* n received body bytes were passed on. What a stream leaves unconsumed at its end is counted as
 * consumed. */
void h2_consume(struct h2 *h, int32_t stream, size_t n);
/* RST_STREAM; on_close follows from h2_send. */
void h2_reset(struct h2 *h, int32_t stream, uint32_t code);
/* False if one is still unanswered (one at a time, so that a peer cannot make us queue). */
bool h2_ping(struct h2 *h, uint64_t opaque);
/* Graceful end in two steps (RFC 9113 §6.8): a notice with the highest id and a PING; after its
 * acknowledgement the GOAWAY with the real last id. Then h2_done() when the streams have ended. */
void h2_drain(struct h2 *h);
/* At once: GOAWAY with a code; open streams are lost. */
void h2_terminate(struct h2 *h, uint32_t code);
/* Open streams, started by either side. */
uint32_t h2_streams(const struct h2 *h);
/* GOAWAY sent or received: no new streams. */
bool h2_draining(const struct h2 *h);

struct h2_stats {
    uint64_t streams, resets_in, resets_out, glitches, headers_refused;
};
const struct h2_stats *h2_stats(const struct h2 *h);

#endif
