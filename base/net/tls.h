/* TLS 1.3 on top of an env stream, with certificates at both ends. It is an env stream itself: who
 * was written for env.h reads and writes through it without knowing.
 *
 *   struct tls_ctx *ctx = tls_ctx_new(&(struct tls_ctx_options){.cert, .key, .ca}, &err);
 *   struct tls_options opt = {.ctx = ctx, .name = S("n2"), .verify = is_n2, .arg = me};
 *   s = tls_connect(env, &addr, NULL, &opt, &events, me);     on_connect: after the handshake
 *   s = tls_over(env, accepted, TLS_SERVER, &opt);            then env_stream_set_events
 *   tls_ctx_unref(ctx);                                       streams hold what they need
 *
 * What differs from a plain stream, in the eyes of its user:
 *  - The peer's end without TLS's own close is a failure (ERR_IO): somebody may have cut it.
 *  - env_stream_close tells the peer an orderly end when nothing was queued; else it is a cut.
 *  - on_close says what was wrong with a peer: ERR_UNAUTHENTICATED one of the two certificates;
 *    ERR_INVALID no TLS of ours; ERR_TIMEOUT no handshake in time. ERR_UNAVAILABLE stays what it
 *    is: nothing listens there. The client's on_connect comes before the server has looked at the
 *    client's certificate: a refusal may still follow it.
 *
 * Not there, on purpose: TLS 1.2, resumption, tickets, early data, renegotiation, compression.
 */
#ifndef WEFT_BASE_NET_TLS_H
#define WEFT_BASE_NET_TLS_H

#include "base/env/env.h"

/* Contexts: own certificate and key, and the CA that peers must have. Immutable, counted; may be
 * shared by threads. */

struct tls_ctx;

/* PEM. cert: own, then its intermediates if any. ca: one or more roots.
 * To enrol somebody who has neither certificate nor CA yet, but knows the CA by its hash:
 *   he       no cert and no key; no ca, but pin: the CA is taken from what the server sends
 *   server   with_ca: sends its CA along; tls_options.anonymous for that connection */
struct tls_ctx_options {
    struct slice cert, key, ca;
    const uint8_t *pin; /* SHA-256 of the CA's DER form, X509_SHA256_BYTES; copied */
    bool with_ca;
};
/* NULL and err (ERR_INVALID) where one is not what it should be, or key and cert do not fit. */
struct tls_ctx *tls_ctx_new(const struct tls_ctx_options *opt, struct err *err);
struct tls_ctx *tls_ctx_ref(struct tls_ctx *ctx);
void tls_ctx_unref(struct tls_ctx *ctx); /* NULL is fine */

/* Streams. */

enum tls_role { TLS_CLIENT, TLS_SERVER };

struct tls_options {
    struct tls_ctx *ctx;
    struct slice name;       /* of the peer, for messages; empty = its address alone; copied */
    wf_ms handshake_timeout; /* from the connection on; default TLS_HANDSHAKE_TIMEOUT_MS */
    /* Is the holder of this certificate welcome? Asked when a chain to the CA is there, in the
     * handshake, so inside the stream's own callbacks; must not touch the stream. uri: its URI SAN,
     * empty when it has none or many. false and err: the handshake ends, on_close says err.
     * NULL: everybody who has a certificate. arg lives as long as the handshake. */
    bool (*verify)(void *arg, struct slice uri, struct err *err);
    void *arg;
    /* Server: who shows no certificate may come in as well, unasked: tls_peer_uri is then empty. */
    bool anonymous;
};

/* As env_connect: never NULL. stream_opt may be NULL. */
struct env_stream *tls_connect(struct env *env, const struct env_addr *to,
                               const struct env_stream_options *stream_opt,
                               const struct tls_options *opt,
                               const struct env_stream_events *events, void *ctx);
/* Takes an open stream of any kind and its events. The result has none yet: env_stream_set_events
 * before the turn ends. */
struct env_stream *tls_over(struct env *env, struct env_stream *take_lower, enum tls_role role,
                            const struct tls_options *opt);
/* The URI that verify was asked about; empty before the end of the handshake. Borrowed from s,
 * which must be one of ours. */
struct slice tls_peer_uri(const struct env_stream *s);

#endif
