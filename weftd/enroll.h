/* How a node that has nothing but a join token (registry/join_token.h) gets an id, a certificate
 * and the list of members, from a member's peer port.
 *
 *   DIR/node.key, made once ──TLS: the token's CA?──▶ ENROLL ──▶ ENROLLED
 *
 * The secret leaves only when whoever answers has shown a certificate of a node of the token's
 * cluster, by the CA whose hash the token names. Blocks, by turning env's loop.
 */
#ifndef WEFT_WEFTD_ENROLL_H
#define WEFT_WEFTD_ENROLL_H

#include "registry/join_token.h"
#include "registry/raft/enroll.h"

struct enroll_options {
    struct join_token token;
    const char *tls_dir;     /* ca.crt, node.crt and node.key go there (raft/peer_tls.h) */
    struct peer_member self; /* its name and peer address; without id */
    struct versions reads;
    wf_ms timeout; /* of one question; default 25,000: longer than a member takes */
};

/* Zeroed is empty. */
struct enroll_got {
    uint64_t id;
    unsigned version; /* of the cluster */
    struct peer_member members[RAFT_MEMBERS_MAX];
    size_t member_count;
    struct buf cert, ca; /* PEM */
};
void enroll_got_fini(struct enroll_got *g);

/* AGAIN: nobody answered, or not now. ELSEWHERE: it is none of the token's cluster, or signs
 * nothing. REFUSED: a member has judged the token, or us. */
enum enroll_result { ENROLL_OK, ENROLL_AGAIN, ENROLL_ELSEWHERE, ENROLL_REFUSED };

/* Asks a member at its peer address. Whoever asks again with the same tls_dir is the same node. */
enum enroll_result enroll_ask_at(struct env *env, const struct enroll_options *o,
                                 const struct env_addr *at, struct enroll_got *ret,
                                 struct err *err);
/* Writes ca.crt and node.crt, beside the key. */
bool enroll_keep(struct env *env, const char *tls_dir, const struct enroll_got *g, struct err *err);

#endif
