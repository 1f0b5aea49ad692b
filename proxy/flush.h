/* Bytes on their way to a connection. Two savings, both worth more than anything else in the data
 * path:
 *
 *   HTTP/1  a head and the body that follows it in the same turn leave in one write. The bytes wait
 *           in a slot that all connections of the worker share; it goes out when another one needs
 *           it or at the end of the turn.
 *   HTTP/2  a session that has frames is put on a list; at the end of the turn each makes its
 *           frames and writes them at once.
 */
#ifndef WEFT_PROXY_FLUSH_H
#define WEFT_PROXY_FLUSH_H

#include "base/env/env.h"
#include "base/wire/h2.h"

struct flush {
    struct env *env;
    struct env_task task;
    /* the slot */
    struct env_stream *slot_owner; /* NULL = free */
    struct buf slot;
    /* HTTP/2 */
    struct list dirty; /* struct flush_h2 */
    struct buf frames;
};

void flush_init(struct flush *f, struct env *env);
void flush_fini(struct flush *f);

/* HTTP/1. */

/* The slot for s: what is appended leaves in order, at the latest at the end of the turn. */
struct buf *flush_slot(struct flush *f, struct env_stream *s);
/* Writes what is in the slot for s, then body. more: small bodies may wait for the rest. Returns
 * the bytes queued on s. */
size_t flush_body(struct flush *f, struct env_stream *s, struct slice body, bool more);
/* The same as one chunk of a chunked body; end: it is the last. */
size_t flush_chunk(struct flush *f, struct env_stream *s, struct slice body, bool end);
/* Ends a chunked body; trailers may be NULL. */
size_t flush_last_chunk(struct flush *f, struct env_stream *s, const struct headers *trailers);
/* Now. */
void flush_now(struct flush *f, struct env_stream *s);
/* s is going away: forgets its bytes. */
void flush_drop(struct flush *f, struct env_stream *s);
/* Bytes that s has not sent yet, wherever they are. */
size_t flush_queued(const struct flush *f, const struct env_stream *s);

/* HTTP/2. */

struct flush_h2 {
    struct list_node node;
    struct h2 *h2;
    struct env_stream *stream;
    /* After frames were written, or it broke (err). May be called from flush_h2_run. */
    void (*flushed)(struct flush_h2 *c, const struct err *err);
};
/* It has something to send: at the end of the turn. */
void flush_h2_mark(struct flush *f, struct flush_h2 *c);
void flush_h2_drop(struct flush_h2 *c);

#endif
