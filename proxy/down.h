/* Client connections. Not for others than the data path. */
#ifndef WEFT_PROXY_DOWN_H
#define WEFT_PROXY_DOWN_H

#include "proxy/stream.h"

struct down_conn;

struct down_conn_ops {
    void (*sweep)(struct down_conn *c, wf_ms now);
    void (*drain)(struct down_conn *c); /* finish what is under way, then end */
    void (*close)(struct down_conn *c); /* at once */
};

/* Embedded first in the codec's connection. */
struct down_conn {
    struct list_node node; /* of the worker */
    struct worker *w;
    struct wlistener *wl; /* referenced */
    struct env_stream *es;
    /* Of the chain as it was when the last stream began; the chain itself may go with its tree. */
    wf_ms idle_timeout, headers_timeout;
    uint32_t headers_kb_max;
    enum codec_kind codec;
    const struct down_conn_ops *ops;
    uint64_t id;
    wf_ms active; /* a byte moved, or a stream ended */
    bool draining;
};

/* Registers the connection; es's events are the caller's to set. */
void down_conn_init(struct down_conn *c, struct worker *w, struct wlistener *wl,
                    const struct filter_chain *chain, const struct down_conn_ops *ops,
                    struct env_stream *es);
/* Another codec takes the connection over; `from` is only memory afterwards. */
void down_conn_move(struct down_conn *to, struct down_conn *from, const struct down_conn_ops *ops);
/* In on_close. */
void down_conn_gone(struct down_conn *c);
/* The chain that a new stream on c goes by: the listener's present one. NULL: the listener no
 * longer has an HTTP chain for it, so the connection should drain. */
const struct filter_chain *down_conn_chain(struct down_conn *c);
bool down_conn_idle(const struct down_conn *c, wf_ms now);

/* A new connection; takes es. */
void down_h1_accept(struct worker *w, struct wlistener *wl, const struct filter_chain *chain,
                    struct env_stream *es);
void down_h2_accept(struct worker *w, struct wlistener *wl, const struct filter_chain *chain,
                    struct env_stream *es);
/* The connection turned out to speak HTTP/2; first: what was read of it. */
void down_h2_take(struct down_conn *from, struct slice first);
void down_tcp_accept(struct worker *w, struct wlistener *wl, const struct filter_chain *chain,
                     struct env_stream *es);

#endif
