/* One HTTP request and its response on their way through a worker. The codecs below (down_h1,
 * down_h2) and above (up_h1, up_h2) translate bytes; the decisions are here. Not for others than
 * the data path.
 *
 *   request ──> delay ──> wait ──> sent ──> response ──> closed
 *      │          │      ^  │  ^     ├────> tunnel ──────^
 *      │          │      │  v  └──── │ (another try)     │
 *      │          │   backoff <──────┘                   │
 *      └──────────┴───────┴──> local ────────────────────┘
 *
 * Back-pressure, the same in both directions: whoever gives body bytes to a stream counts them as
 * unread until the stream says `consumed`; the stream says so while the other side's queue is below
 * PROXY_BODY_SOFT_BYTES, and again when it has drained.
 */
#ifndef WEFT_PROXY_STREAM_H
#define WEFT_PROXY_STREAM_H

#include "base/core/sm.h"
#include "base/wire/http1.h"
#include "mixer/record.h"
#include "proxy/cluster.h"
#include "proxy/retry.h"
#include "proxy/route.h"

struct worker;
struct wconf;
struct wlistener;
struct stream;

/* What a client codec does for a stream. */
struct down_ops {
    /* A head: 1xx, or the final one. end: no body follows. The head may be changed. */
    void (*head)(struct stream *s, struct http_head *head, bool end);
    void (*data)(struct stream *s, struct slice bytes, bool end);
    void (*trailers)(struct stream *s, const struct headers *trailers);
    /* The response cannot be finished (code: enum h2_error). stream_down_closed follows, perhaps at
     * once. */
    void (*reset)(struct stream *s, uint32_t code);
    void (*consumed)(struct stream *s, size_t n);
    size_t (*queued)(const struct stream *s);
    /* The stream is now a tunnel: bytes both ways, no framing. */
    void (*tunnel)(struct stream *s);
    enum record_protocol protocol;
};

/* What an upstream codec does for a stream that it was attached to. */
struct up_ops {
    /* False: the head cannot be sent safely; nothing was sent. */
    bool (*head)(struct stream *s, bool end);
    void (*data)(struct stream *s, struct slice bytes, bool end);
    void (*trailers)(struct stream *s, const struct headers *trailers);
    /* Cancels and detaches. */
    void (*reset)(struct stream *s);
    void (*consumed)(struct stream *s, size_t n);
    size_t (*queued)(const struct stream *s);
};

enum stream_state {
    STREAM_REQUEST,
    STREAM_DELAY,
    STREAM_WAIT,
    STREAM_BACKOFF,
    STREAM_SENT,
    STREAM_RESPONSE,
    STREAM_TUNNEL,
    STREAM_LOCAL,
    STREAM_CLOSED,
};

struct stream {
    struct sm sm;
    struct worker *w;
    struct list_node node; /* of the worker's streams, then dead, then spare */
    struct arena arena;    /* heads, rewrites: everything of this request */

    /* client side */
    const struct down_ops *down;
    void *down_conn;            /* NULL: detached */
    int32_t down_id;            /* HTTP/2 */
    struct list_node down_node; /* of an HTTP/2 connection's streams */
    struct env_stream *down_es;
    uint64_t connection_id;
    struct wlistener *wl;
    struct wconf *conf;
    const struct listener *listener;
    const struct filter_chain *chain;
    struct buf down_out; /* HTTP/2: body not yet pulled by the session */
    const struct headers *down_trailers;
    bool down_head, down_end; /* final head, end of the response given to the codec */
    bool down_cut;            /* we reset it: the end is not the client's doing */
    bool response_has_length;
    uint64_t response_length;
    size_t response_owed; /* bytes got from upstream and not yet reported consumed */

    /* request */
    struct http_head head;
    uint8_t minor; /* HTTP/1.x */
    bool request_end, grpc, has_query, expect_continue, authority_form;
    struct slice path, query, original_path, upgrade;
    uint64_t length; /* of the body, if has_length */
    bool has_length;
    const struct headers *request_trailers;
    struct buf body;           /* kept for another try, or waiting for a connection */
    bool body_keep, body_lost; /* lost: a part was sent and not kept */
    size_t request_owed;
    uint64_t random;

    /* route */
    const struct virtual_host *vhost;
    const struct route *route;
    const struct weighted_cluster *weighted;
    const struct hash_policy *make_cookie;
    struct slice cookie;
    uint64_t hash;
    struct slice authority; /* as routed; rewritten a try at a time by auto_host_rewrite */

    /* upstream side */
    struct up_cluster *cluster; /* referenced */
    struct up_host *host;       /* of the try under way; counts in host->lb.active */
    const struct up_ops *up;    /* NULL: not attached */
    void *up_conn;
    int32_t up_id;            /* HTTP/2 */
    struct list_node up_node; /* of an HTTP/2 connection's streams */
    struct list_node pending;
    bool pending_in;           /* in host->pending[up_protocol] */
    struct dns_wait name_wait; /* or for the host's name */
    uint8_t up_protocol;
    bool up_end, up_reused,
        up_answered;   /* request given whole; connection was used before; a byte came */
    struct buf up_out; /* HTTP/2: body not yet pulled by the session */
    const struct headers *up_trailers;
    bool up_tunnel, tunnel_down_end, tunnel_up_end;
    struct env_addr up_local;
    uint32_t attempts, retries;
    bool idempotent;
    bool retry_counted, retried_stale; /* retry_counted: in cluster->retries */
    uint32_t tried_n;
    struct up_host *tried[PROXY_TRIED_HOSTS_MAX]; /* compared, never followed */

    /* time */
    struct env_timer timer;
    wf_ms start, request_done, response_first, try_start, active;
    int64_t start_wall;
    wf_ms deadline, try_deadline, wake; /* 0 = none; wake: of DELAY and BACKOFF */

    /* facts for the record */
    uint16_t status;
    int grpc_status;
    uint32_t flags;
    struct slice details, failure;
    uint64_t bytes_received, bytes_sent, service_ms;
    bool has_service_ms, recorded;
    struct headers response; /* kept if the log reads it */
    const struct headers *response_trailers;
    struct fault_state {
        bool abort;
        uint16_t status;
        int grpc_status;
    } fault;
};

/* For client codecs. */

/* A stream in state REQUEST on w; the codec fills head and the request fields, then calls
 * stream_request. wl, es: of the connection. */
struct stream *stream_new(struct worker *w, struct wlistener *wl, const struct filter_chain *chain,
                          const struct down_ops *down, void *conn, struct env_stream *es,
                          uint64_t connection_id);
/* The head is complete. end: no body. May answer at once. */
void stream_request(struct stream *s, bool end);
/* Instead of stream_request: malformed bytes, or nothing in time. Answers and records. */
void stream_request_bad(struct stream *s, uint16_t status, uint32_t flags, struct slice details);
void stream_request_data(struct stream *s, struct slice bytes, bool end);
/* trailers: in s->arena, or valid as long as the stream. */
void stream_request_trailers(struct stream *s, const struct headers *trailers);
/* The codec's queue for the stream has drained. */
void stream_down_drained(struct stream *s);
/* The codec has let go of the stream: all sent (clean), or the client is gone. s ends. */
void stream_down_closed(struct stream *s, bool clean);
/* Nothing moved for too long, or the worker closes. */
void stream_sweep(struct stream *s, wf_ms now);

/* For upstream codecs and the pool. */

/* s->up, up_conn are set: send. */
void stream_up_ready(struct stream *s);
/* 1xx but 101. */
void stream_up_informational(struct stream *s, struct http_head *head);
/* Final head, or 101. Slices live in s->arena or longer than the stream's use of the connection.
 * With end the codec has detached itself before. */
void stream_up_head(struct stream *s, struct http_head *head, bool has_length, uint64_t length,
                    bool end);
void stream_up_data(struct stream *s, struct slice bytes, bool end);
void stream_up_trailers(struct stream *s, const struct headers *trailers);
void stream_up_drained(struct stream *s);
/* The try failed. The codec or pool has detached itself. why: for the log; copied. */
void stream_up_failed(struct stream *s, enum try_failure failure, struct slice why);

/* Between the stream_* files. */

void stream_move(struct stream *s, enum stream_state to);
/* stream_route.c: finds the route and starts the first try, or answers. */
void stream_route(struct stream *s);
void stream_route_forward(struct stream *s);
/* stream_try.c */
void stream_try(struct stream *s);
/* Lets go of the connection, resetting what is under way. The host stays known, for the record. */
void stream_try_cancel(struct stream *s);
/* And of the host. */
void stream_try_release(struct stream *s);
/* The route's, else the virtual host's; NULL: no retries. */
const struct retry_policy *stream_retry_policy(const struct stream *s);
/* True: another try will be made, or is under way. */
bool stream_retry(struct stream *s, const struct retry_outcome *o);
/* stream_reply.c */
void stream_reply(struct stream *s, uint16_t status, uint32_t flags, struct slice details,
                  struct slice body);
void stream_fault_abort(struct stream *s);
void stream_reply_head(struct stream *s, struct http_head *head, struct slice details,
                       struct slice body, struct slice content_type);
/* stream_record.c */
struct slice stream_u64(struct arena *arena, uint64_t v);
void stream_record_fill(const struct stream *s, struct record *r);
void stream_record(struct stream *s);
/* stream.c */
/* The answer has begun and cannot be finished. stream_down_closed follows. */
void stream_cut(struct stream *s, uint32_t code);
void stream_timer_arm(struct stream *s);
void stream_deadline_start(struct stream *s);
/* The response is complete: the client's codec has all of it. */
void stream_response_done(struct stream *s);

/* Streams back to the worker's free list, at the end of the turn. */
void streams_recycle(struct env_task *task);
void streams_free(struct worker *w);

#endif
