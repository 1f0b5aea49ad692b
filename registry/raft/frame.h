/* Frames between registry nodes, without I/O: strict, bounded, checked before anything is believed.
 *
 *   frame   magic u32, length u32, crc u32, type u16, version u16, cluster u64, from u64, term u64,
 *           payload (length bytes, at most FRAME_PAYLOAD_BYTES_MAX)
 *
 * Little endian. crc: CRC-32C over everything but itself. `term` is the sender's current term where
 * the type has one. The version is the one that both ends agreed on (version.h); HELLO, REFUSE,
 * ENROLL and ENROLLED have FRAME_GREETING_VERSION whatever they agree on, and programs of all
 * versions read them: this head stays as it is, and HELLO may only grow at its end.
 *
 *   while ((st = frame_decode(in, &expected, &f, &n, &err)) == FRAME_OK) {
 *       use(&f);
 *       buf_consume(&in, n);
 *   }
 */
#ifndef WEFT_REGISTRY_RAFT_FRAME_H
#define WEFT_REGISTRY_RAFT_FRAME_H

#include <sys/uio.h>

#include "base/core/err.h"
#include "base/core/mem.h"
#include "base/core/slice.h"
#include "registry/raft/version.h"

#define FRAME_HEAD_BYTES 40
#define FRAME_GREETING_VERSION 3

enum frame_type {
    FRAME_HELLO = 1,   /* first in each direction: who speaks to whom, for what */
    FRAME_REFUSE,      /* a text that says why, then the connection ends */
    FRAME_ENROLL,      /* instead of HELLO: who has no certificate wants one (enroll.h) */
    FRAME_ENROLLED,    /* the answer, then the connection ends */
    FRAME_APPEND = 16, /* Raft's own */
    FRAME_APPEND_RESULT,
    FRAME_VOTE,
    FRAME_VOTE_RESULT,
    FRAME_INSTALL,
    FRAME_TIMEOUT_NOW,
    FRAME_READ_PING = 32, /* payload: round u64; answered with the same round and the own term */
    FRAME_READ_PONG,
    FRAME_READ_INDEX, /* payload: id u64; answered with id u64, index u64 (0: not leader) */
    FRAME_READ_INDEX_RESULT,
    FRAME_FORWARD,         /* payload: a write request (registry/command.h) */
    FRAME_FORWARD_REFUSED, /* payload: client u64, sequence u64: not taken, send it elsewhere;
                              id u64: of a node whose disk is full, so that none takes it, or 0 */
    FRAME_CHANNEL,         /* payload: channel u32, bytes of the application */
    FRAME_JOIN_ASK,        /* "my directory is new" (join.h); answered with */
    FRAME_JOIN_STATE,      /* the own term in the head; payload: last index u64, index u64 of the
                              committed configuration, and that itself (as in an entry) */
    FRAME_STANDING,        /* payload: u64 1 = votes, 0 = has lost its data and does not; u64 index
                              of the committed configuration, and that itself (as in an entry) */
    FRAME_MEMBER_ASK,      /* payload: id u64, change (registry/node_member.c); answered with */
    FRAME_MEMBER_STATE,    /* payload: id u64, code u64, text */
    FRAME_ROOM,            /* payload: u64 1 = its disk is full, 0 = it has room */
    FRAME_LEASE_RENEW,     /* payload: signs of life (registry/node_lease.c); answered with */
    FRAME_LEASE_RENEWED,
    FRAME_BULK_GET = 48, /* payload: index u64, term u64, offset u64 */
    FRAME_BULK_DATA,     /* payload: offset u64, bytes */
    FRAME_BULK_END,      /* payload: total bytes u64 */
    FRAME_BULK_GONE,
};

struct frame {
    enum frame_type type;
    unsigned version;
    uint64_t cluster, from, term;
    struct slice payload; /* borrowed from the input */
};

enum frame_status { FRAME_MORE, FRAME_OK, FRAME_BAD };

/* What may come. */
struct frame_expected {
    uint64_t cluster;
    unsigned version;   /* agreed on; 0 = not yet: nothing but greetings */
    size_t payload_max; /* at most FRAME_PAYLOAD_BYTES_MAX; less for a peer that is not known yet */
};

/* One frame from the start of `bytes`. MORE: not all there yet. BAD and err: close the connection.
 * The head is judged as soon as it is there, so that a wrong peer makes us buffer nothing. */
enum frame_status frame_decode(struct slice bytes, const struct frame_expected *expected,
                               struct frame *ret_frame, size_t *ret_n, struct err *err);
/* The head for a payload that lies in pieces; that of `f`, and the version of a greeting, are not
 * looked at. */
void frame_encode_head(char dst[FRAME_HEAD_BYTES], const struct frame *f,
                       const struct iovec *payload, int n);

/* HELLO. */

enum hello_role { HELLO_CONTROL = 1, HELLO_BULK = 2 };

struct hello {
    enum hello_role role;
    uint64_t to;          /* whom the sender wants to speak to */
    uint64_t incarnation; /* random, of the sender's data directory: a wiped disk is another one */
    uint64_t genesis;     /* of what it stores (peers.h); 0 = nothing yet, or not told */
    struct slice name;    /* borrowed, as program is */
    struct versions reads;
    unsigned version;     /* of the cluster, as far as it knows; 0 = nothing yet, or not told */
    struct slice program; /* release, for people */
};

/* What is behind the fields above, of a newer program, is skipped. */
void hello_encode(struct buf *out, const struct hello *h);
bool hello_decode(struct slice payload, struct hello *ret, struct err *err);

#endif
