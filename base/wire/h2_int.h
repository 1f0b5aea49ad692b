/* What the files of the HTTP/2 session share. Internal. */
#ifndef WEFT_BASE_WIRE_H2_INT_H
#define WEFT_BASE_WIRE_H2_INT_H

#include <nghttp2/nghttp2.h>

#include "base/core/list.h"
#include "base/wire/h2.h"

#define H2_BLOCK_FIELDS 28 /* inline; more come from the heap */
#define H2_BLOCK_SPARE 4   /* that the owner may add without an allocation */

/* A received head. Names and values point into nghttp2's counted buffers, which refs hold. */
struct h2_block {
    struct h2_block *next;
    struct http_head head;
    nghttp2_rcbuf **refs;
    struct header *big; /* fields beyond the inline ones moved here */
    char *joined;       /* cookie crumbs put together */
    uint32_t ref_n, bytes;
    uint32_t fields_seen;
    uint32_t cap; /* of fields; refs has room for two of each */
    bool too_large, invalid;
    struct slice host; /* a Host field beside or instead of :authority */
    struct header fields_inline[H2_BLOCK_FIELDS];
    nghttp2_rcbuf *refs_inline[2 * H2_BLOCK_FIELDS];
};

struct h2_stream {
    struct h2_stream *hash_next;
    void *user;
    struct h2_block *blocks; /* newest first */
    int32_t id;
    uint32_t unconsumed; /* bytes of body that still close the window */
    bool hidden;         /* refused by us before the owner saw it: no events */
    bool sleeping;       /* on_read said WAIT */
    bool final_head;     /* a response with status >= 200 came */
    bool reading;        /* inside on_read */
    bool body_done;      /* on_read said TRAILERS */
    bool tunnel;         /* CONNECT: both directions live on their own */
    bool ours;           /* we opened it */
};

struct h2_pool {
    struct h2_stream *streams;
    struct h2_block *blocks;
    uint32_t stream_n, block_n;
};

struct h2 {
    nghttp2_session *session;
    const struct h2_events *events;
    void *ctx;
    struct h2_options opt;
    struct h2_pool *pool;
    bool server, owns_pool;
    struct h2_stream **table; /* by id, chained */
    uint32_t table_cap, stream_n, ours_n;
    uint32_t depth;  /* of events: nghttp2 forbids to delete a session inside one */
    uint32_t credit; /* small frames that our own sending explains */
    uint32_t glitch;
    wf_ms now, glitch_at;
    uint64_t ping_opaque;
    bool ping_out, drain_ping, goaway_in, goaway_out, broken;
    struct h2_stats stats;
};

struct h2_stream *h2_find(const struct h2 *h, int32_t id);
void h2_glitch(struct h2 *h, uint32_t n);

/* h2_pool.c */
struct h2_stream *h2_pool_stream(struct h2_pool *p);
void h2_pool_put_stream(struct h2_pool *p, struct h2_stream *s);
struct h2_block *h2_pool_block(struct h2_pool *p);
void h2_pool_put_block(struct h2_pool *p, struct h2_block *b);

/* h2_block.c: receiving heads. */
enum h2_block_result { H2_BLOCK_FINE, H2_BLOCK_LARGE, H2_BLOCK_KILL };
enum h2_block_result h2_block_field(struct h2_block *b, const struct h2_options *opt,
                                    nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags);
/* What nghttp2 does not check. false: malformed (RFC 9113 §8.1.1). */
bool h2_block_settle(struct h2_block *b, enum h2_kind kind, const struct h2_options *opt);

/* h2_nv.c: sending heads. */
#define H2_NV_MAX (HEADERS_SENT_MAX + 6)
#define HEADERS_SENT_MAX 256u
/* Pseudo fields and headers into nv; 0 if there are too many. status has 3 bytes for its digits. */
size_t h2_nv_head(nghttp2_nv nv[H2_NV_MAX], const struct http_head *head, char status[3]);
size_t h2_nv_headers(nghttp2_nv nv[H2_NV_MAX], const struct headers *hs);

#endif
