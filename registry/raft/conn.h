/* A stream that carries frames: one connection between two registry nodes, of either direction.
 *
 *   conn_connect(&c, env, &addr, &opt, &events, ctx);     or conn_adopt(&c, env, stream, …)
 *   conn_send(&c, FRAME_APPEND, term, pieces, n);
 *   conn_close(&c);                          silent: no callback comes after it
 */
#ifndef WEFT_REGISTRY_RAFT_CONN_H
#define WEFT_REGISTRY_RAFT_CONN_H

#include "base/env/env.h"
#include "registry/raft/frame.h"
#include "registry/raft/peer_tls.h"

struct conn;

struct conn_events {
    void (*on_connect)(void *ctx);                      /* outgoing only */
    void (*on_frame)(void *ctx, const struct frame *f); /* may close or free the conn */
    void (*on_drain)(void *ctx);
    /* The end, not caused by conn_close. why: ERR_UNAVAILABLE: refused before it was open;
     * ERR_TIMEOUT; ERR_IO: lost; ERR_UNAUTHENTICATED: a certificate is wrong; other codes: the peer
     * sent what is no frame of ours. */
    void (*on_close)(void *ctx, const struct err *why);
};

struct conn_options {
    uint64_t self, cluster;
    /* Outgoing: NULL = without TLS. Else whoever answers must be node `peer` of our cluster, by its
     * certificate. */
    struct peer_tls *tls;
    uint64_t peer;
    struct slice peer_name; /* for messages */
    wf_ms user_timeout, connect_timeout, handshake_timeout;
    size_t low_water;
    size_t payload_max; /* of a frame; default FRAME_PAYLOAD_BYTES_MAX */
    unsigned version;   /* of frames; 0 = not agreed on yet, nothing but greetings */
};

/* Zeroed is valid and closed. */
struct conn {
    struct env *env;
    struct conn_options opt;
    struct env_stream *stream; /* NULL = closed */
    struct buf in;             /* the start of a frame that is not all there */
    const struct conn_events *events;
    void *ctx;
    bool *gone; /* set when on_frame closes the conn */
    bool paused;
};

void conn_connect(struct conn *c, struct env *env, const struct env_addr *to,
                  const struct conn_options *opt, const struct conn_events *events, void *ctx);
void conn_adopt(struct conn *c, struct env *env, struct env_stream *s,
                const struct conn_options *opt, const struct conn_events *events, void *ctx);
bool conn_open(const struct conn *c);
size_t conn_queued(const struct conn *c);
/* Agreed on, for both directions. */
void conn_set_version(struct conn *c, unsigned version);
/* Returns the bytes queued afterwards; 0 on a closed conn (the frame is lost). */
size_t conn_send(struct conn *c, enum frame_type type, uint64_t term, const struct iovec *payload,
                 int n);
/* No frames come while paused. */
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);
void conn_close(struct conn *c);
/* Sends what is queued first (a refusal), then closes; silent as well. */
void conn_close_after_write(struct conn *c);

#endif
