/* What tls.c and tls_ctx.c share. Internal. */
#ifndef WEFT_BASE_NET_TLS_INT_H
#define WEFT_BASE_NET_TLS_INT_H

#include <openssl/ssl.h>

#include "base/net/tls.h"
#include "base/wire/x509.h"

/* One handshake's judgement of the peer's certificate. */
struct tls_check {
    bool (*verify)(void *arg, struct slice uri, struct err *err);
    void *arg;
    const uint8_t *pin;    /* of the context; NULL = its CA is known */
    bool seen;             /* a certificate came */
    struct x509_info cert; /* it */
    int depth;             /* of the certificate that was wrong: 0 = its own */
    struct err refusal;    /* of verify */
};

/* OpenSSL reads what came and writes what goes by these; the BIO's data is a struct tls_stream. */
int tls_bio_read(BIO *bio, char *dst, int n);
int tls_bio_write(BIO *bio, const char *p, int n);

/* A connection's half of OpenSSL; check becomes its application data. */
SSL *tls_ctx_ssl_new(struct tls_ctx *ctx, const struct tls_options *opt, struct tls_check *check,
                     void *bio_data);
/* What OpenSSL's last error says, in words and with a code. check: NULL after the handshake. */
void tls_explain(const SSL *ssl, const struct tls_check *check, struct err *err);

#endif
