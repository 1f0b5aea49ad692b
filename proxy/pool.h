/* Connections to one endpoint: reused, bounded by the circuit breakers, and handed to the streams
 * that wait for one. Not for others than the data path.
 *
 * HTTP/1: one stream a connection, the last used idle one first, so that the rest may go idle long
 * enough to be closed. HTTP/2: all streams on one session, another only when it is full.
 */
#ifndef WEFT_PROXY_POOL_H
#define WEFT_PROXY_POOL_H

#include "proxy/stream.h"

enum up_conn_state { UP_CONNECTING, UP_IDLE, UP_BUSY, UP_CLOSED };

/* Embedded first in the codec's connection. */
struct up_conn {
    struct list_node node;    /* of the worker */
    struct list_node in_host; /* host->idle or host->sessions */
    struct worker *w;
    struct up_host *host;
    struct env_stream *es;
    enum up_protocol protocol;
    enum up_conn_state state;
    bool retired; /* takes no new streams */
    uint32_t requests;
    wf_ms idle_since;
    uint32_t streams; /* attached now */
};

enum pool_result { POOL_OK, POOL_OVERFLOW };
/* A connection for s: now (stream_up_ready was called) or later (stream_up_ready or
 * stream_up_failed will be). */
enum pool_result pool_acquire(struct up_host *h, struct stream *s, enum up_protocol protocol);
/* s no longer waits. */
void pool_cancel(struct stream *s);
/* No new streams on what is open now; idle connections close. */
void pool_host_retire(struct up_host *h);
void pool_sweep(struct worker *w, wf_ms now);
/* Closes all upstream connections. */
void pool_close(struct worker *w);

/* For the codecs. */

void pool_conn_init(struct up_conn *c, struct up_host *h, enum up_protocol protocol);
void pool_conn_connected(struct up_conn *c);
/* A stream has let go: next one waiting, or idle, or the end. */
void pool_conn_free(struct up_conn *c);
/* HTTP/2: it may take more streams now. */
void pool_session_pump(struct up_conn *c);
/* Takes it out of the host's lists, so that nobody finds it, and closes the socket. */
void pool_conn_close(struct up_conn *c);
/* The same, but what is queued is sent first. */
void pool_conn_close_sent(struct up_conn *c);
/* In on_close, before the memory goes. why->code ERR_NONE: we closed it. */
void pool_conn_gone(struct up_conn *c, const struct err *why);

/* up_h1.c */
struct up_conn *up_h1_connect(struct up_host *h);
void up_h1_attach(struct up_conn *c, struct stream *s);
/* A connection of its own for a CONNECT tunnel: raw bytes. */
struct up_conn *up_tcp_connect(struct up_host *h, struct stream *s);
/* up_h2.c */
struct up_conn *up_h2_connect(struct up_host *h);
bool up_h2_can_attach(const struct up_conn *c);
void up_h2_attach(struct up_conn *c, struct stream *s);

#endif
