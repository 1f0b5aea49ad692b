#include <string.h>
#include <time.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/core/assert.h"
#include "base/net/net_limits.h"
#include "base/net/tls_int.h"

#define GROUPS "X25519:P-256"
#define SUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

struct tls_ctx {
    unsigned refs; /* atomic */
    SSL_CTX *ssl;
    BIO_METHOD *bio;
    bool pinned;
    uint8_t pin[X509_SHA256_BYTES];
};

static bool refuse(struct err *err, const char *what)
{
    const char *why = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return err_set(err, ERR_INVALID, "%s%s%s", what, why ? ": " : "", why ? why : "");
}

/* Judging. */

/* The CA that has the hash is trusted, and it alone, wherever it stands in what the peer sent. */
static bool trust_pinned(X509_STORE_CTX *store, const uint8_t *pin, STACK_OF(X509) * trusted)
{
    STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(store);
    for (int i = 0; i < sk_X509_num(sent); i++) {
        X509 *cert = sk_X509_value(sent, i);
        struct x509_info info;
        x509_read_openssl(cert, &info);
        if (info.ca && memcmp(info.sha256, pin, sizeof(info.sha256)) == 0)
            return sk_X509_push(trusted, cert) > 0;
    }
    return false;
}

static bool chain_ok(X509_STORE_CTX *store, const uint8_t *pin)
{
    if (!pin)
        return X509_verify_cert(store) == 1;
    STACK_OF(X509) *trusted = sk_X509_new_null();
    bool ok = false;
    wf_assert(trusted);
    X509_STORE_CTX_set_error(store, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN);
    if (trust_pinned(store, pin, trusted)) {
        X509_STORE_CTX_set0_trusted_stack(store, trusted);
        ok = X509_verify_cert(store) == 1;
    }
    sk_X509_free(trusted);
    return ok;
}

/* The chain first, by OpenSSL at the env's time; then the owner is asked about the name. */
static int judge(X509_STORE_CTX *store, void *arg)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_check *check = SSL_get_app_data(ssl);
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    (void)arg;
    if (leaf) {
        check->seen = true;
        x509_read_openssl(leaf, &check->cert);
    }
    if (!chain_ok(store, check->pin)) {
        check->depth = X509_STORE_CTX_get_error_depth(store);
        return 0;
    }
    wf_assert(leaf);
    if (!check->verify || check->verify(check->arg, slice_of(check->cert.uri), &check->refusal))
        return 1;
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
    return 0;
}

/* Words. */

static const char *date(int64_t at, char dst[32])
{
    time_t t = (time_t)at;
    struct tm tm;
    if (!gmtime_r(&t, &tm) || !strftime(dst, 32, "%Y-%m-%d %H:%M UTC", &tm))
        dst[0] = 0;
    return dst;
}

static void explain_cert(long result, const struct tls_check *check, struct err *err)
{
    char day[32];
    const struct x509_info *c = &check->cert;
    switch (result) {
    case X509_V_ERR_CERT_REJECTED:
        *err = check->refusal;
        if (err->code == ERR_NONE)
            err_set(err, ERR_UNAUTHENTICATED, "not welcome");
        break;
    case X509_V_ERR_CERT_HAS_EXPIRED:
        if (check->depth == 0)
            err_set(err, ERR_UNAUTHENTICATED, "it ended on %s", date(c->until, day));
        else
            err_set(err, ERR_UNAUTHENTICATED, "the CA that signed it has expired");
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        err_set(err, ERR_UNAUTHENTICATED, "it begins on %s: is a clock wrong?", date(c->from, day));
        break;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        err_set(err, ERR_UNAUTHENTICATED, "it is of an unknown CA");
        break;
    default:
        err_set(err, ERR_UNAUTHENTICATED, "%s", X509_verify_cert_error_string(result));
    }
    err->code = ERR_UNAUTHENTICATED;
    err_wrap(err, "its certificate (\"%s\"%s%s)", c->name, c->uri[0] ? ", " : "", c->uri);
}

static bool explain_alert(int alert, struct err *err)
{
    static const struct {
        int alert;
        const char *says;
    } certs[] = {
        {SSL_AD_UNKNOWN_CA, "it does not know the CA of our certificate"},
        {SSL_AD_CERTIFICATE_EXPIRED, "it says that our certificate or its CA's has expired"},
        {SSL_AD_BAD_CERTIFICATE, "it refuses our certificate; its log says why"},
        {SSL_AD_CERTIFICATE_UNKNOWN, "it refuses our certificate; its log says why"},
        {SSL_AD_UNSUPPORTED_CERTIFICATE, "it cannot use our certificate"},
        {SSL_AD_CERTIFICATE_REQUIRED, "it wants a certificate of us"},
    };
    for (size_t i = 0; i < ARRAY_LEN(certs); i++)
        if (certs[i].alert == alert)
            return err_set(err, ERR_UNAUTHENTICATED, "%s", certs[i].says), true;
    return false;
}

void tls_explain(const SSL *ssl, const struct tls_check *check, struct err *err)
{
    unsigned long e = ERR_peek_error();
    int reason = ERR_GET_REASON(e);
    long result = SSL_get_verify_result(ssl);
    const char *text = ERR_reason_error_string(e);
    bool ours = ERR_GET_LIB(e) == ERR_LIB_SSL;
    if (check && check->seen && result != X509_V_OK)
        explain_cert(result, check, err);
    else if (ours && reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        err_set(err, ERR_UNAUTHENTICATED, "it shows no certificate");
    else if (!ours || !explain_alert(reason - SSL_AD_REASON_OFFSET, err))
        err_set(err, ERR_INVALID, "what came is no TLS 1.3 of a peer (%s)",
                text ? text : "no reason given");
    ERR_clear_error();
}

/* Contexts. */

static int no_password(char *dst, int n, int writing, void *arg)
{
    (void)dst;
    (void)n;
    (void)writing;
    (void)arg;
    return -1;
}

static X509 *next_cert(BIO *in)
{
    X509 *cert = PEM_read_bio_X509(in, NULL, no_password, NULL);
    if (!cert && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE)
        ERR_clear_error(); /* the end of the text */
    return cert;
}

/* Calls add for each certificate; 0 when something is none. */
static size_t each_cert(struct slice pem, bool (*add)(SSL_CTX *, X509 *, size_t), SSL_CTX *ssl)
{
    BIO *in = pem.n <= X509_PEM_BYTES_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
    X509 *cert;
    size_t n = 0;
    bool ok = in != NULL;
    while (ok && (cert = next_cert(in))) {
        ok = add(ssl, cert, n++);
        X509_free(cert);
    }
    BIO_free(in);
    return ok && ERR_peek_error() == 0 ? n : 0;
}

static bool add_own(SSL_CTX *ssl, X509 *cert, size_t i)
{
    if (i > TLS_CHAIN_DEPTH_MAX)
        return false;
    return i == 0 ? SSL_CTX_use_certificate(ssl, cert) == 1
                  : SSL_CTX_add1_chain_cert(ssl, cert) == 1;
}

static bool add_ca(SSL_CTX *ssl, X509 *cert, size_t i)
{
    return i < TLS_CA_CERTS_MAX && X509_check_ca(cert) == 1 &&
           X509_STORE_add_cert(SSL_CTX_get_cert_store(ssl), cert) == 1;
}

static bool use_key(SSL_CTX *ssl, struct slice pem)
{
    BIO *in = pem.n && pem.n <= X509_PEM_BYTES_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
    EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, no_password, NULL) : NULL;
    bool ok = key && SSL_CTX_use_PrivateKey(ssl, key) == 1;
    EVP_PKEY_free(key);
    BIO_free(in);
    return ok;
}

static bool add_ca_to_chain(SSL_CTX *ssl, X509 *cert, size_t i)
{
    (void)i;
    return SSL_CTX_add1_chain_cert(ssl, cert) == 1;
}

static bool load(SSL_CTX *ssl, const struct tls_ctx_options *opt, struct err *err)
{
    if (!opt->pin && !each_cert(opt->ca, add_ca, ssl))
        return refuse(err, "CA: not in PEM, no CA's certificate, or too many");
    if (opt->pin && opt->cert.n == 0 && opt->key.n == 0)
        return true;
    if (!each_cert(opt->cert, add_own, ssl))
        return refuse(err, "certificate: not in PEM, or with too long a chain");
    if (opt->with_ca && !each_cert(opt->ca, add_ca_to_chain, ssl))
        return refuse(err, "CA: cannot be sent along");
    if (!use_key(ssl, opt->key))
        return refuse(err, "key: not in PEM without password, or not the certificate's");
    return SSL_CTX_check_private_key(ssl) == 1 ||
           refuse(err, "key: does not belong to the certificate");
}

static bool settings(SSL_CTX *ssl)
{
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY | SSL_MODE_NO_AUTO_CHAIN |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(ssl, TLS_CERT_LIST_BYTES_MAX);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_verify_depth(ssl, TLS_CHAIN_DEPTH_MAX);
    SSL_CTX_set_cert_verify_callback(ssl, judge, NULL);
    return SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) &&
           SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) && SSL_CTX_set_num_tickets(ssl, 0) &&
           SSL_CTX_set_max_early_data(ssl, 0) && SSL_CTX_set_ciphersuites(ssl, SUITES) &&
           SSL_CTX_set1_groups_list(ssl, GROUPS);
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "env stream");
    wf_assert(m && BIO_meth_set_read(m, tls_bio_read) && BIO_meth_set_write(m, tls_bio_write) &&
              BIO_meth_set_ctrl(m, bio_ctrl));
    return m;
}

struct tls_ctx *tls_ctx_new(const struct tls_ctx_options *opt, struct err *err)
{
    ERR_clear_error();
    SSL_CTX *ssl = SSL_CTX_new(TLS_method());
    wf_assert(ssl && settings(ssl));
    if (!load(ssl, opt, err)) {
        SSL_CTX_free(ssl);
        return NULL;
    }
    struct tls_ctx *ctx = MEM_NEW(struct tls_ctx);
    *ctx = (struct tls_ctx){.refs = 1, .ssl = ssl, .bio = bio_method(), .pinned = opt->pin != NULL};
    if (opt->pin)
        memcpy(ctx->pin, opt->pin, sizeof(ctx->pin));
    return ctx;
}

struct tls_ctx *tls_ctx_ref(struct tls_ctx *ctx)
{
    __atomic_add_fetch(&ctx->refs, 1, __ATOMIC_RELAXED);
    return ctx;
}

void tls_ctx_unref(struct tls_ctx *ctx)
{
    if (!ctx || __atomic_sub_fetch(&ctx->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    SSL_CTX_free(ctx->ssl);
    BIO_meth_free(ctx->bio);
    mem_free(ctx);
}

SSL *tls_ctx_ssl_new(struct tls_ctx *ctx, const struct tls_options *opt, struct tls_check *check,
                     void *bio_data)
{
    SSL *ssl = SSL_new(ctx->ssl);
    BIO *bio = BIO_new(ctx->bio);
    wf_assert(ssl && bio);
    *check = (struct tls_check){
        .verify = opt->verify, .arg = opt->arg, .pin = ctx->pinned ? ctx->pin : NULL};
    BIO_set_data(bio, bio_data);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_app_data(ssl, check);
    if (opt->anonymous)
        SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    return ssl;
}
