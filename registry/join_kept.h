/* What a cluster keeps of a join token: a Lease in istio-system, named by the hash of the secret,
 * never the secret itself. So tokens can be listed, and revoked by deletion, as any object.
 *
 *   leases.coordination.k8s.io/istio-system/weft-join-HASH
 *
 *   held      good: it is on nobody yet. The leader lets it expire by its clock (lease.h)
 *   released  used by a node (weft.dev/joined), or expired
 *
 * A new leader gives leases a full time to live again; the time that weft.dev/expires names ends
 * the token all the same, by the clock of the member that is asked.
 */
#ifndef WEFT_REGISTRY_JOIN_KEPT_H
#define WEFT_REGISTRY_JOIN_KEPT_H

#include "registry/join_token.h"
#include "registry/lease.h"
#include "registry/node.h"

#define JOIN_TOKENS_MAX 64 /* not used and not expired; older ones make room */
#define JOIN_TTL_S_DEFAULT 600
#define JOIN_TTL_S_MAX (24 * 3600)
#define JOIN_KEY_HASH_BYTES 32

struct join_kept {
    char key[160]; /* of the object, NUL-terminated */
    uint8_t hash[JOIN_SECRET_HASH_BYTES];
    reg_rev mod_rev;
    uint64_t epoch;
    uint32_t ttl_ms;
    bool held;
    int64_t until_ms; /* wall clock; whole seconds, as people read it */
    /* Who used it, and with which key (SHA-256 of its public half); id 0 = nobody. */
    uint64_t joined;
    uint8_t joined_key[JOIN_KEY_HASH_BYTES];
    bool added; /* it became a member, and may hold a certificate */
};

/* The object of a new token, and what it grants. now_ms: wall clock; uid: random. */
void join_kept_make(const uint8_t secret[JOIN_SECRET_BYTES], uint32_t ttl_s, int64_t now_ms,
                    const uint8_t uid[16], uint64_t epoch, struct join_kept *ret,
                    struct reg_grant *ret_grant, struct buf *ret_value);
/* key: that of the object, for a secret. */
void join_kept_key(const uint8_t hash[JOIN_SECRET_HASH_BYTES], char dst[160]);
/* false: there is none, or it is no token. */
bool join_kept_find(struct reg_txn *txn, const uint8_t secret[JOIN_SECRET_BYTES],
                    struct join_kept *ret);
/* The object after `joined` has used it, and what it grants (nothing: it is released). false: it
 * is not there any more as it was read. */
bool join_kept_use(struct reg_txn *txn, const struct join_kept *k, uint64_t joined,
                   const uint8_t joined_key[JOIN_KEY_HASH_BYTES], struct reg_grant *ret_grant,
                   struct buf *ret_value);
/* The same after it was added: once it is no member any more, the token is of no use to it. */
bool join_kept_note(struct reg_txn *txn, const struct join_kept *k, struct reg_grant *ret_grant,
                    struct buf *ret_value);
/* Every token, until fn returns false. */
void join_kept_scan(struct reg_txn *txn, bool (*fn)(void *ctx, const struct join_kept *k),
                    void *ctx);
/* Neither used nor over. */
bool join_kept_good(const struct join_kept *k, int64_t now_ms);

#endif
