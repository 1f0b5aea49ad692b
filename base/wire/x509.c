#include "base/wire/x509.h"

#include <string.h>
#include <time.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/core/assert.h"

#define SERIAL_BYTES 16
#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 4096

static bool refuse(struct err *err, const char *what)
{
    const char *why = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return err_set(err, ERR_INVALID, "%s%s%s", what, why ? ": " : "", why ? why : "");
}

void x509_wipe(struct buf *key)
{
    if (key->p)
        OPENSSL_cleanse(key->p, key->cap);
    buf_fini(key);
}

/* Text to values. */

/* A key that has a password is refused: nobody is asked for one. */
static int no_password(char *dst, int n, int writing, void *arg)
{
    (void)dst;
    (void)n;
    (void)writing;
    (void)arg;
    return -1;
}

static BIO *text_of(struct slice pem)
{
    ERR_clear_error();
    if (pem.n == 0 || pem.n > X509_PEM_BYTES_MAX)
        return NULL;
    return BIO_new_mem_buf(pem.p, (int)pem.n);
}

static EVP_PKEY *key_of(struct slice pem, struct err *err)
{
    BIO *in = text_of(pem);
    EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, no_password, NULL) : NULL;
    BIO_free(in);
    if (!key)
        refuse(err, "not a private key in PEM without password");
    return key;
}

static EVP_PKEY *public_of(struct slice pem, struct err *err)
{
    BIO *in = text_of(pem);
    EVP_PKEY *key = in ? PEM_read_bio_PUBKEY(in, NULL, no_password, NULL) : NULL;
    BIO_free(in);
    if (!key)
        refuse(err, "not a public key in PEM");
    return key;
}

static X509 *cert_of(struct slice pem, struct err *err)
{
    BIO *in = text_of(pem);
    X509 *cert = in ? PEM_read_bio_X509(in, NULL, no_password, NULL) : NULL;
    BIO_free(in);
    if (!cert)
        refuse(err, "not a certificate in PEM");
    return cert;
}

/* Takes out. */
static bool text_take(BIO *out, bool ok, struct buf *ret, struct err *err)
{
    char *p;
    long n = out && ok ? BIO_get_mem_data(out, &p) : 0;
    if (n > 0)
        buf_append(ret, slice_mem(p, (size_t)n));
    BIO_free(out);
    return n > 0 || refuse(err, "cannot write PEM");
}

static bool key_write(EVP_PKEY *key, struct buf *ret, struct err *err)
{
    BIO *out = BIO_new(BIO_s_secmem());
    bool ok = out && PEM_write_bio_PKCS8PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
    return text_take(out, ok, ret, err);
}

static bool public_write(EVP_PKEY *key, struct buf *ret, struct err *err)
{
    BIO *out = BIO_new(BIO_s_mem());
    return text_take(out, out && PEM_write_bio_PUBKEY(out, key), ret, err);
}

/* Keys. */

bool x509_key_new(struct buf *ret_key, struct err *err)
{
    ERR_clear_error();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    if (!key)
        return refuse(err, "cannot make a key");
    bool ok = key_write(key, ret_key, err);
    EVP_PKEY_free(key);
    return ok;
}

bool x509_key_public(struct slice pem, struct buf *ret_public, struct err *err)
{
    EVP_PKEY *key = key_of(pem, err);
    bool ok = key && public_write(key, ret_public, err);
    EVP_PKEY_free(key);
    return ok;
}

/* Signing. */

static bool name_ok(struct slice name)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] < ' ' || name.p[i] > '~')
            return false;
    return name.n > 0 && name.n <= X509_COMMON_NAME_MAX;
}

static bool set_name(X509_NAME *dst, struct slice name)
{
    return X509_NAME_add_entry_by_NID(dst, NID_commonName, MBSTRING_ASC,
                                      (const unsigned char *)name.p, (int)name.n, -1, 0);
}

static bool set_serial(X509 *cert)
{
    BIGNUM *n = BN_new();
    /* Random, positive, never zero, shorter than 20 bytes (RFC 5280 §4.1.2.2). */
    bool ok = n && BN_rand(n, SERIAL_BYTES * 8, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) &&
              BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
    BN_free(n);
    return ok;
}

static bool add_text_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_nconf_nid(NULL, &ctx, nid, value);
    bool ok = ext && X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
    return ok;
}

/* Not through text: a comma in the URI would be a second name. */
static bool add_uri(X509 *cert, struct slice uri)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    bool ok = names && name && text && ASN1_STRING_set(text, uri.p, (int)uri.n);
    if (ok) {
        GENERAL_NAME_set0_value(name, GEN_URI, text);
        text = NULL;
        ok = sk_GENERAL_NAME_push(names, name) > 0;
        name = ok ? NULL : name;
        ok = ok && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) == 1;
    }
    ASN1_IA5STRING_free(text);
    GENERAL_NAME_free(name);
    GENERAL_NAMES_free(names);
    return ok;
}

static bool add_extensions(X509 *cert, X509 *issuer, const struct x509_subject *s)
{
    bool ok =
        s->ca ? add_text_ext(cert, issuer, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
                    add_text_ext(cert, issuer, NID_key_usage, "critical,keyCertSign,cRLSign")
              : add_text_ext(cert, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
                    add_text_ext(cert, issuer, NID_key_usage, "critical,digitalSignature") &&
                    add_text_ext(cert, issuer, NID_ext_key_usage, "serverAuth,clientAuth");
    return ok && add_text_ext(cert, issuer, NID_subject_key_identifier, "hash") &&
           add_text_ext(cert, issuer, NID_authority_key_identifier, "keyid:always") &&
           (!s->uri.n || add_uri(cert, s->uri));
}

/* issuer NULL: itself. */
static bool sign(X509 *issuer, EVP_PKEY *issuer_key, EVP_PKEY *subject_key,
                 const struct x509_subject *s, struct buf *ret, struct err *err)
{
    ERR_clear_error();
    if (!name_ok(s->name) || s->uri.n > X509_URI_BYTES_MAX || s->until <= s->from)
        return err_set(err, ERR_INVALID,
                       "certificate for \"%.*s\": a name of 1 to 64 printable characters, a URI of "
                       "at most 255 and a time to live are needed",
                       SLICE(slice_sub(s->name, 0, X509_COMMON_NAME_MAX)));
    X509 *cert = X509_new();
    bool ok = cert && X509_set_version(cert, X509_VERSION_3) && set_serial(cert) &&
              ASN1_TIME_set(X509_getm_notBefore(cert), s->from) &&
              ASN1_TIME_set(X509_getm_notAfter(cert), s->until) &&
              set_name(X509_get_subject_name(cert), s->name) &&
              X509_set_issuer_name(cert, X509_get_subject_name(issuer ? issuer : cert)) &&
              X509_set_pubkey(cert, subject_key) &&
              add_extensions(cert, issuer ? issuer : cert, s) &&
              X509_sign(cert, issuer_key, EVP_sha256()) > 0;
    BIO *out = ok ? BIO_new(BIO_s_mem()) : NULL;
    ok = ok ? text_take(out, out && PEM_write_bio_X509(out, cert), ret, err)
            : refuse(err, "cannot sign a certificate");
    X509_free(cert);
    return ok;
}

bool x509_self_sign(struct slice pem, const struct x509_subject *s, struct buf *ret_cert,
                    struct err *err)
{
    EVP_PKEY *key = key_of(pem, err);
    bool ok = key && sign(NULL, key, key, s, ret_cert, err);
    EVP_PKEY_free(key);
    return ok;
}

static bool issuer_ok(X509 *cert, EVP_PKEY *key, struct err *err)
{
    if (X509_check_ca(cert) != 1)
        return err_set(err, ERR_INVALID, "the issuer's certificate is not one of a CA");
    return X509_check_private_key(cert, key) == 1 ||
           refuse(err, "the issuer's key does not belong to its certificate");
}

bool x509_issue(const struct x509_issuer *ca, struct slice public_key, const struct x509_subject *s,
                struct buf *ret_cert, struct err *err)
{
    wf_assert(!s->ca);
    X509 *issuer = cert_of(ca->cert, err);
    EVP_PKEY *issuer_key = issuer ? key_of(ca->key, err) : NULL;
    EVP_PKEY *key = issuer_key ? public_of(public_key, err) : NULL;
    bool ok = key && issuer_ok(issuer, issuer_key, err) &&
              sign(issuer, issuer_key, key, s, ret_cert, err);
    EVP_PKEY_free(key);
    EVP_PKEY_free(issuer_key);
    X509_free(issuer);
    return ok;
}

/* Requests. */

bool x509_csr_new(struct slice pem, struct slice name, struct buf *ret_csr, struct err *err)
{
    if (!name_ok(name))
        return err_set(err, ERR_INVALID, "request: a name of 1 to 64 printable characters");
    EVP_PKEY *key = key_of(pem, err);
    if (!key)
        return false;
    X509_REQ *req = X509_REQ_new();
    bool ok = req && set_name(X509_REQ_get_subject_name(req), name) &&
              X509_REQ_set_pubkey(req, key) && X509_REQ_sign(req, key, EVP_sha256()) > 0;
    BIO *out = ok ? BIO_new(BIO_s_mem()) : NULL;
    ok = ok ? text_take(out, out && PEM_write_bio_X509_REQ(out, req), ret_csr, err)
            : refuse(err, "cannot sign a request");
    X509_REQ_free(req);
    EVP_PKEY_free(key);
    return ok;
}

static bool key_allowed(EVP_PKEY *key)
{
    char group[32];
    size_t n;
    int bits = EVP_PKEY_get_bits(key);
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_ED25519:
        return true;
    case EVP_PKEY_RSA:
        return bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX;
    case EVP_PKEY_EC:
        return EVP_PKEY_get_group_name(key, group, sizeof(group), &n) &&
               strcmp(group, "prime256v1") == 0;
    default:
        return false;
    }
}

bool x509_csr_public(struct slice csr, struct buf *ret_public, struct err *err)
{
    BIO *in = text_of(csr);
    X509_REQ *req = in ? PEM_read_bio_X509_REQ(in, NULL, no_password, NULL) : NULL;
    BIO_free(in);
    if (!req)
        return refuse(err, "not a certificate request in PEM");
    EVP_PKEY *key = X509_REQ_get0_pubkey(req);
    bool ok = false;
    if (!key || !key_allowed(key))
        err_set(err, ERR_INVALID,
                "request: its key is not EC P-256, Ed25519 or RSA of 2048 to 4096 "
                "bits");
    else if (X509_REQ_verify(req, key) != 1)
        refuse(err, "request: it is not signed by its own key");
    else
        ok = public_write(key, ret_public, err);
    ERR_clear_error();
    X509_REQ_free(req);
    return ok;
}

/* Reading. */

static int64_t seconds_of(const ASN1_TIME *t)
{
    struct tm tm;
    return ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) : 0;
}

static void read_uri(X509 *cert, char dst[X509_URI_BYTES_MAX + 1])
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    int count = 0;
    struct slice uri = {0};
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI)
            continue;
        const ASN1_IA5STRING *text = name->d.uniformResourceIdentifier;
        uri = slice_mem(ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
        count++;
    }
    if (count != 1 || !slice_cstr(uri, dst, X509_URI_BYTES_MAX + 1))
        dst[0] = 0;
    GENERAL_NAMES_free(names);
}

/* It is printed in logs: what is not printable ASCII becomes "?". */
static void read_name(X509 *cert, char dst[X509_COMMON_NAME_MAX + 1])
{
    int n = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, dst,
                                      X509_COMMON_NAME_MAX + 1);
    for (int i = 0; i < n && i < X509_COMMON_NAME_MAX; i++)
        if (dst[i] < ' ' || dst[i] > '~')
            dst[i] = '?';
    dst[n < 0 ? 0 : n < X509_COMMON_NAME_MAX ? n : X509_COMMON_NAME_MAX] = 0;
}

void x509_read_openssl(X509 *cert, struct x509_info *ret)
{
    unsigned n = 0;
    *ret = (struct x509_info){.from = seconds_of(X509_get0_notBefore(cert)),
                              .until = seconds_of(X509_get0_notAfter(cert)),
                              .ca = X509_check_ca(cert) == 1};
    read_name(cert, ret->name);
    read_uri(cert, ret->uri);
    wf_assert(X509_digest(cert, EVP_sha256(), ret->sha256, &n) && n == X509_SHA256_BYTES);
    ERR_clear_error();
}

bool x509_read(struct slice pem, struct x509_info *ret, struct err *err)
{
    X509 *cert = cert_of(pem, err);
    if (!cert)
        return false;
    x509_read_openssl(cert, ret);
    X509_free(cert);
    return true;
}

bool x509_cert_public(struct slice pem, struct buf *ret_public, struct err *err)
{
    X509 *cert = cert_of(pem, err);
    EVP_PKEY *key = cert ? X509_get0_pubkey(cert) : NULL;
    bool ok = key && public_write(key, ret_public, err);
    if (cert && !key)
        refuse(err, "a certificate with a key of an unknown kind");
    X509_free(cert);
    return ok;
}
