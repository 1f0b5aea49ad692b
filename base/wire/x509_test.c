/* If this fails, a node is given a certificate that says what nobody allowed, or a request is
 * signed for a key that its sender does not have. */
#include "base/wire/test.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/wire/x509.h"

#define FROM 1700000000
#define UNTIL 1800000000

struct authority {
    struct buf key, cert;
    struct x509_issuer issuer;
};

static void must(bool ok, const struct err *err)
{
    if (!ok)
        fail_msg("%s", err->msg);
}

static void authority_new(struct authority *a, const char *name)
{
    struct err err = {0};
    *a = (struct authority){0};
    must(x509_key_new(&a->key, &err), &err);
    must(x509_self_sign(buf_slice(&a->key),
                        &(struct x509_subject){
                            .name = slice_of(name), .from = FROM, .until = UNTIL, .ca = true},
                        &a->cert, &err),
         &err);
    a->issuer = (struct x509_issuer){buf_slice(&a->cert), buf_slice(&a->key)};
}

static void authority_free(struct authority *a)
{
    x509_wipe(&a->key);
    buf_fini(&a->cert);
}

static X509 *openssl_cert(struct slice pem)
{
    BIO *in = BIO_new_mem_buf(pem.p, (int)pem.n);
    X509 *cert = PEM_read_bio_X509(in, NULL, NULL, NULL);
    BIO_free(in);
    assert_non_null(cert);
    return cert;
}

/* As strict as OpenSSL can be; 0 or the reason. */
static int verify(struct slice leaf_pem, struct slice ca_pem, int64_t at)
{
    X509 *leaf = openssl_cert(leaf_pem), *ca = openssl_cert(ca_pem);
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509_STORE_add_cert(store, ca);
    X509_STORE_CTX_init(ctx, store, leaf, NULL);
    X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
    X509_STORE_CTX_set_time(ctx, 0, (time_t)at);
    X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT);
    int why = X509_verify_cert(ctx) == 1 ? 0 : X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    X509_free(leaf);
    X509_free(ca);
    ERR_clear_error();
    return why;
}

static void test_a_leaf_is_what_was_asked_for(void **state)
{
    (void)state;
    struct authority a, other;
    struct buf key = {0}, public = {0}, cert = {0};
    struct err err = {0};
    struct x509_info info;
    authority_new(&a, "one CA");
    authority_new(&other, "one CA");
    must(x509_key_new(&key, &err), &err);
    must(x509_key_public(buf_slice(&key), &public, &err), &err);
    must(x509_issue(&a.issuer, buf_slice(&public),
                    &(struct x509_subject){.name = S("n1"),
                                           .uri = S("weft://x/node/1,URI:weft://x/node/2"),
                                           .from = FROM,
                                           .until = FROM + 100},
                    &cert, &err),
         &err);
    must(x509_read(buf_slice(&cert), &info, &err), &err);
    assert_string_equal(info.name, "n1");
    assert_string_equal(info.uri, "weft://x/node/1,URI:weft://x/node/2"); /* one name, not two */
    assert_int_equal(info.from, FROM);
    assert_int_equal(info.until, FROM + 100);
    assert_false(info.ca);
    must(x509_read(buf_slice(&a.cert), &info, &err), &err);
    assert_true(info.ca);
    assert_string_equal(info.uri, "");
    assert_int_equal(verify(buf_slice(&cert), buf_slice(&a.cert), FROM + 50), 0);
    assert_int_equal(verify(buf_slice(&cert), buf_slice(&a.cert), FROM + 101),
                     X509_V_ERR_CERT_HAS_EXPIRED);
    assert_int_not_equal(verify(buf_slice(&cert), buf_slice(&other.cert), FROM + 50), 0);
    x509_wipe(&key);
    buf_fini(&public);
    buf_fini(&cert);
    authority_free(&a);
    authority_free(&other);
}

static void test_only_a_ca_signs(void **state)
{
    (void)state;
    struct authority a, b;
    struct buf key = {0}, public = {0}, leaf = {0}, out = {0};
    struct err err = {0};
    const struct x509_subject s = {.name = S("n1"), .from = FROM, .until = UNTIL};
    authority_new(&a, "a");
    authority_new(&b, "b");
    must(x509_key_new(&key, &err), &err);
    must(x509_key_public(buf_slice(&key), &public, &err), &err);
    must(x509_issue(&a.issuer, buf_slice(&public), &s, &leaf, &err), &err);
    const struct x509_issuer bad[] = {
        {buf_slice(&leaf), buf_slice(&key)},          /* no CA */
        {a.issuer.cert, b.issuer.key},                /* another's key */
        {a.issuer.cert, buf_slice(&public)},          /* no private key */
        {S("-----BEGIN NOTHING-----"), b.issuer.key}, /* no certificate */
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_false(x509_issue(&bad[i], buf_slice(&public), &s, &out, &err));
        assert_int_equal(err.code, ERR_INVALID);
        assert_int_equal(out.n, 0);
    }
    static const struct x509_subject wrong[] = {
        {.name = S_INIT(""), .from = FROM, .until = UNTIL},
        {.name = S_INIT("a\nb"), .from = FROM, .until = UNTIL},
        {.name = S_INIT("n1"), .from = UNTIL, .until = FROM},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_false(x509_issue(&a.issuer, buf_slice(&public), &wrong[i], &out, &err));
    x509_wipe(&key);
    buf_fini(&public);
    buf_fini(&leaf);
    authority_free(&a);
    authority_free(&b);
}

static void test_a_request_proves_its_key(void **state)
{
    (void)state;
    struct buf key = {0}, csr = {0}, public = {0}, own = {0};
    struct err err = {0};
    must(x509_key_new(&key, &err), &err);
    must(x509_csr_new(buf_slice(&key), S("n4"), &csr, &err), &err);
    must(x509_csr_public(buf_slice(&csr), &public, &err), &err);
    must(x509_key_public(buf_slice(&key), &own, &err), &err);
    check_slice(buf_slice(&public), buf_slice(&own));
    /* Any changed character of its body makes it none. */
    char *text = csr.p + csr.at;
    size_t changed = 0;
    for (size_t i = 40; i + 40 < csr.n; i += 7) {
        char was = text[i];
        if (was == '\n')
            continue;
        text[i] = was == 'A' ? 'B' : 'A';
        buf_clear(&public);
        changed += !x509_csr_public(buf_slice(&csr), &public, &err);
        assert_true(public.n == 0 || slice_eq(buf_slice(&public), buf_slice(&own)));
        text[i] = was;
    }
    assert_true(changed > csr.n / 10);
    assert_false(x509_csr_public(S(""), &public, &err));
    x509_wipe(&key);
    buf_fini(&csr);
    buf_fini(&public);
    buf_fini(&own);
}

/* Wrong: a key that can be broken gets a certificate. P-224 is none of ours. */
static void test_a_weak_key_is_refused(void **state)
{
    (void)state;
    struct buf csr = {0}, public = {0};
    struct err err = {0};
    EVP_PKEY *key = EVP_EC_gen("P-224");
    X509_REQ *req = X509_REQ_new();
    X509_REQ_set_pubkey(req, key);
    assert_true(X509_REQ_sign(req, key, EVP_sha256()) > 0);
    BIO *out = BIO_new(BIO_s_mem());
    char *p;
    assert_true(PEM_write_bio_X509_REQ(out, req));
    size_t n = (size_t)BIO_get_mem_data(out, &p);
    buf_append(&csr, slice_mem(p, n));
    assert_false(x509_csr_public(buf_slice(&csr), &public, &err));
    assert_non_null(strstr(err.msg, "P-256"));
    BIO_free(out);
    X509_REQ_free(req);
    EVP_PKEY_free(key);
    buf_fini(&csr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_leaf_is_what_was_asked_for),
        cmocka_unit_test(test_only_a_ca_signs),
        cmocka_unit_test(test_a_request_proves_its_key),
        cmocka_unit_test(test_a_weak_key_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
