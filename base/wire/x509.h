/* X.509 certificates as PEM text: make keys, sign, ask for a signature, read what one says. No I/O
 * and no clock: times are arguments. Randomness is OpenSSL's own.
 *
 *   x509_key_new(&key, &err);
 *   x509_self_sign(buf_slice(&key), &(struct x509_subject){.name = S("our CA"), .ca = true, …},
 *                  &cert, &err);
 *   x509_issue(&(struct x509_issuer){cert, key}, public_key, &subject, &out, &err);
 *
 * Keys are EC P-256; signatures ECDSA with SHA-256. Buffers get text appended and are untouched on
 * failure. Wipe those of private keys (x509_wipe). All errors are ERR_INVALID.
 */
#ifndef WEFT_BASE_WIRE_X509_H
#define WEFT_BASE_WIRE_X509_H

#include "base/core/err.h"
#include "base/core/mem.h"

#define X509_PEM_BYTES_MAX (64u << 10) /* of any text that is read here */
#define X509_COMMON_NAME_MAX 64        /* RFC 5280, ub-common-name */
#define X509_URI_BYTES_MAX 255
#define X509_SHA256_BYTES 32

struct x509_subject {
    struct slice name;   /* common name, for people; 1 to 64 bytes of printable ASCII */
    struct slice uri;    /* what it is the identity of (URI SAN); empty = none */
    int64_t from, until; /* seconds since 1970 */
    bool ca;             /* may sign certificates, which may not sign further */
};

struct x509_issuer {
    struct slice cert, key;
};

/* A private key (PKCS#8, without password). */
bool x509_key_new(struct buf *ret_key, struct err *err);
/* The public half of a private key. */
bool x509_key_public(struct slice key, struct buf *ret_public, struct err *err);
bool x509_self_sign(struct slice key, const struct x509_subject *s, struct buf *ret_cert,
                    struct err *err);
/* A certificate for both ends of a connection, of the holder of public_key. The issuer's own
 * certificate must be a CA's and its key must fit. */
bool x509_issue(const struct x509_issuer *ca, struct slice public_key, const struct x509_subject *s,
                struct buf *ret_cert, struct err *err);

/* A request to be signed: proves that its sender has the key, and nothing else. */
bool x509_csr_new(struct slice key, struct slice name, struct buf *ret_csr, struct err *err);
/* The public key of a request whose own signature is right. Names in it are nobody's promise and
 * are not looked at. Keys that are taken: EC P-256, Ed25519, RSA of 2,048 to 4,096 bits. */
bool x509_csr_public(struct slice csr, struct buf *ret_public, struct err *err);

struct x509_info {
    char name[X509_COMMON_NAME_MAX + 1]; /* cut; "" = none */
    char uri[X509_URI_BYTES_MAX + 1];    /* "" unless it has exactly one */
    int64_t from, until;
    bool ca;
    uint8_t sha256[X509_SHA256_BYTES]; /* of the DER form: its fingerprint */
};
/* The first certificate in the text. */
bool x509_read(struct slice cert, struct x509_info *ret, struct err *err);
/* The same of one that OpenSSL holds (X509 *). */
struct x509_st;
void x509_read_openssl(struct x509_st *cert, struct x509_info *ret);
/* The public key that a certificate is for. */
bool x509_cert_public(struct slice cert, struct buf *ret_public, struct err *err);

/* Overwrites the bytes, frees the memory. */
void x509_wipe(struct buf *key);

#endif
