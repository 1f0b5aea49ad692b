/* What somebody who is to join a cluster is given: which cluster, a secret that lets one in, and by
 * which CA the cluster is known. One line of text, to be typed or piped:
 *
 *   weft1.AAAA…            base64url of cluster u64, secret, SHA-256 of the CA, crc u32
 *
 * A cluster keeps the hash of the secret, never the secret. Pure.
 */
#ifndef WEFT_REGISTRY_JOIN_TOKEN_H
#define WEFT_REGISTRY_JOIN_TOKEN_H

#include "base/core/err.h"
#include "base/wire/x509.h"

#define JOIN_SECRET_BYTES 16
#define JOIN_SECRET_HASH_BYTES 32
#define JOIN_TOKEN_TEXT 128

struct join_token {
    uint64_t cluster;
    uint8_t secret[JOIN_SECRET_BYTES]; /* random */
    uint8_t ca_sha256[X509_SHA256_BYTES];
};

/* NUL-terminated in dst, returned as a slice of it. */
struct slice join_token_format(const struct join_token *t, char dst[JOIN_TOKEN_TEXT]);
/* White space around it is fine; a letter that is wrong or missing is ERR_INVALID. The message does
 * not hold the token. */
bool join_token_parse(struct slice text, struct join_token *ret, struct err *err);

/* What is kept of a secret. */
void join_secret_hash(const uint8_t secret[JOIN_SECRET_BYTES], uint8_t dst[JOIN_SECRET_HASH_BYTES]);
/* In a time that says nothing about where they differ. */
bool join_secret_fits(const uint8_t secret[JOIN_SECRET_BYTES],
                      const uint8_t hash[JOIN_SECRET_HASH_BYTES]);

/* Is this (PEM) the CA that the token names? */
bool join_token_fits_ca(const struct join_token *t, struct slice ca_cert, struct err *err);

#endif
