/* Connections to the other members: one to each for what we send, one from each for what we get.
 *
 * A connection begins with HELLO in both directions; cluster, ids, role and history must fit. The
 * history is told apart by its genesis, a number that the first write gives (two clusters of the
 * same members are two histories, and one log of both would be none). A newer one
 * from the same peer replaces the older. Lost ones are made again with back-off, at once when the
 * peer calls us. Connections for checkpoints are handed on (bulk.h).
 *
 * A HELLO says which versions its sender reads, and of which version the cluster is (version.h):
 * two that have no version in common, or of which one does not read the cluster's, refuse each
 * other and say why.
 *
 * With TLS a connection is from whom its certificate says (identity.h): the handshake ends unless
 * that is a member, and HELLO must name the same. There is no way back to plaintext. What is wrong
 * with a certificate is logged: registry.peer.guest_lost, registry.peer.unreachable.
 *
 *   struct peers *p = peers_open(&(struct peers_options){…}, &err);
 *   peers_send(p, id, FRAME_APPEND, term, pieces, n);
 */
#ifndef WEFT_REGISTRY_RAFT_PEERS_H
#define WEFT_REGISTRY_RAFT_PEERS_H

#include "registry/raft/conn.h"
#include "registry/raft/raft_limits.h"

struct peer_member {
    uint64_t id;
    char name[PEER_NAME_BYTES_MAX];
    struct env_addr addr;
};

struct peers_events {
    void (*on_frame)(void *ctx, uint64_t from, const struct frame *f);
    void (*on_up)(void *ctx, uint64_t id);   /* what we send reaches it */
    void (*on_down)(void *ctx, uint64_t id); /* no more */
    /* What it sends reaches us over a new connection: before the first frame of it. What it sent
     * over the one before may be lost. */
    void (*on_heard)(void *ctx, uint64_t id);
    /* Was connected, lost in both directions, and a new connection is refused: its process is gone.
     */
    void (*on_gone)(void *ctx, uint64_t id);
    /* A peer wants a checkpoint. Take the stream over with its events (it is otherwise closed). */
    void (*on_bulk)(void *ctx, uint64_t from, struct env_stream *s, unsigned version);
    /* Who has no certificate asks for one (enroll.h); only with peers_options.enrolls. The payload
     * is borrowed until it returns; the stream is taken over with its events, or closed. */
    void (*on_enroll)(void *ctx, struct slice payload, struct env_stream *s);
};

struct peers_options {
    struct env *env;
    uint64_t self, cluster, incarnation, genesis;
    struct versions reads;             /* default all that this program reads */
    unsigned version;                  /* of the cluster; 0 = nothing was written yet */
    const struct peer_member *members; /* with ourselves; copied */
    size_t member_count;
    wf_ms user_timeout;
    /* Of one try, TLS not counted; default 2,000. TCP sends its first packet again after a second:
     * less than that finds a peer sooner when the way to it is open again. */
    wf_ms connect_timeout;
    struct peer_tls *tls; /* NULL = without; must outlive the peers */
    bool enrolls; /* with TLS: who shows no certificate may send one ENROLL, and nothing else */
    const struct peers_events *events;
    void *ctx;
};

struct peers;

/* Binds our own member address. */
struct peers *peers_open(const struct peers_options *opt, struct err *err);
void peers_close(struct peers *p);
/* The first write is there: who told another genesis is disconnected, and refused from now on. */
void peers_set_genesis(struct peers *p, uint64_t genesis);

/* The cluster is of this version: who does not read it is disconnected, and refused from now on. */
void peers_set_version(struct peers *p, unsigned version);

/* What a peer runs, as its last HELLO said. */
struct peer_program {
    struct versions reads;
    char release[PEER_PROGRAM_BYTES_MAX];
};
/* Borrowed; NULL: it is no peer, or has not said anything. */
const struct peer_program *peers_program(const struct peers *p, uint64_t id);

/* Who belongs to it from now on. Who does not any more is told so (registry.peer.farewell), cut off
 * before this returns (on_down comes from inside) and cannot come back; new ones are called.
 * Connections for checkpoints are their owner's (bulk_server_cut). Without ourselves in it, nobody
 * is left. */
void peers_set_members(struct peers *p, const struct peer_member *members, size_t n);

/* false: not connected, or more than PEER_QUEUED_BYTES_MAX would wait: the frame is lost. */
bool peers_send(struct peers *p, uint64_t to, enum frame_type type, uint64_t term,
                const struct iovec *payload, int n);
bool peers_connected(const struct peers *p, uint64_t id);
/* ms since something came from it; -1 = never. */
wf_ms peers_last_contact(const struct peers *p, uint64_t id);
/* Connections that were refused: no handshake, the wrong certificate, no greeting, too often. */
uint64_t peers_refused(const struct peers *p);
size_t peers_queued(const struct peers *p, uint64_t id);
const struct env_addr *peers_member_addr(const struct peers *p, uint64_t id);

#endif
