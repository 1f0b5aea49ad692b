/* The certificates with which this node speaks to the others, from a directory:
 *
 *   ca.crt     the cluster's CA (several while it changes)
 *   node.crt   this node's certificate; its URI says cluster and id (identity.h)
 *   node.key   its private key
 *
 * `weftd init` makes them, or a member for who has a join token (weftd/enroll.h). A helper thread
 * reads them again every PEER_TLS_POLL_MS; where they changed, new connections get them (a pair
 * that does not fit yet is waited for; the old one stays).
 *
 *   struct peer_tls *t = peer_tls_open(env, dir, &err);
 *   tls_connect(…, &(struct tls_options){.ctx = peer_tls_ctx(t), .verify = …}, …)
 */
#ifndef WEFT_REGISTRY_RAFT_PEER_TLS_H
#define WEFT_REGISTRY_RAFT_PEER_TLS_H

#include "base/net/tls.h"
#include "registry/raft/identity.h"

struct peer_tls;

/* NULL and err (the file is named) when one is missing or they do not fit. env must outlive it. */
struct peer_tls *peer_tls_open(struct env *env, const char *dir, struct err *err);
void peer_tls_close(struct peer_tls *t); /* NULL is fine; connections stay */
const struct identity *peer_tls_self(const struct peer_tls *t);
/* When our certificate ends, seconds since 1970. */
int64_t peer_tls_until(const struct peer_tls *t);
/* SHA-256 of the first CA in ca.crt, X509_SHA256_BYTES: what a join token names. */
const uint8_t *peer_tls_ca_sha256(const struct peer_tls *t);
/* Of the newest files; borrowed until the next turn. */
struct tls_ctx *peer_tls_ctx(const struct peer_tls *t);
/* Is it the URI of a node of our cluster? */
bool peer_tls_node(const struct peer_tls *t, struct slice uri, uint64_t *ret_id, struct err *err);
/* The id of the node at the other end of an open stream; 0 = none of our cluster. */
uint64_t peer_tls_stream_node(const struct peer_tls *t, const struct env_stream *s);
#endif
