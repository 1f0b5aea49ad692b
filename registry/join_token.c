#include "registry/join_token.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/core/assert.h"
#include "base/core/hash.h"
#include "base/core/reader.h"
#include "base/wire/base64.h"

static const struct slice prefix = S_INIT("weft1.");

#define TOKEN_BYTES (8 + JOIN_SECRET_BYTES + X509_SHA256_BYTES + 4)
static_assert(6 + (TOKEN_BYTES * 4 + 2) / 3 < JOIN_TOKEN_TEXT, "the text fits");

static uint32_t checksum(struct slice bytes)
{
    return crc32c(0, bytes.p, TOKEN_BYTES - 4);
}

struct slice join_token_format(const struct join_token *t, char dst[JOIN_TOKEN_TEXT])
{
    struct buf bytes = {0}, text = {0};
    wf_assert(t->cluster);
    buf_reserve(&bytes, TOKEN_BYTES); /* the secret leaves no copies by growing */
    buf_reserve(&text, JOIN_TOKEN_TEXT);
    buf_u64le(&bytes, t->cluster);
    buf_append(&bytes, slice_mem(t->secret, sizeof(t->secret)));
    buf_append(&bytes, slice_mem(t->ca_sha256, sizeof(t->ca_sha256)));
    buf_u32le(&bytes, checksum(buf_slice(&bytes)));
    buf_append(&text, prefix);
    base64url_encode(&text, buf_slice(&bytes));
    bool ok = slice_cstr(buf_slice(&text), dst, JOIN_TOKEN_TEXT);
    wf_assert(ok && bytes.n == TOKEN_BYTES);
    x509_wipe(&bytes);
    x509_wipe(&text);
    return slice_of(dst);
}

static struct slice trim(struct slice s)
{
    while (s.n && strchr(" \t\r\n", s.p[s.n - 1]) && s.p[s.n - 1])
        s.n--;
    while (s.n && strchr(" \t\r\n", s.p[0]) && s.p[0])
        s = slice_skip(s, 1);
    return s;
}

static bool token_read(struct slice bytes, struct join_token *ret)
{
    struct reader r = reader_of(bytes);
    struct join_token t = {.cluster = reader_u64le(&r)};
    struct slice secret = reader_bytes(&r, JOIN_SECRET_BYTES);
    struct slice ca = reader_bytes(&r, X509_SHA256_BYTES);
    uint32_t crc = reader_u32le(&r);
    if (!reader_done(&r) || t.cluster == 0 || crc != checksum(bytes))
        return false;
    memcpy(t.secret, secret.p, secret.n);
    memcpy(t.ca_sha256, ca.p, ca.n);
    *ret = t;
    OPENSSL_cleanse(&t, sizeof(t));
    return true;
}

/* One way to write each: what it reads is written again and compared. */
bool join_token_parse(struct slice text, struct join_token *ret, struct err *err)
{
    struct buf bytes = {0};
    struct join_token t = {0};
    char again[JOIN_TOKEN_TEXT];
    struct slice s = trim(text);
    buf_reserve(&bytes, JOIN_TOKEN_TEXT);
    bool ok = s.n < JOIN_TOKEN_TEXT && slice_starts(s, prefix) &&
              base64_decode(&bytes, slice_skip(s, prefix.n)) && token_read(buf_slice(&bytes), &t) &&
              slice_eq(join_token_format(&t, again), s);
    if (ok)
        *ret = t;
    else
        err_set(err, ERR_INVALID, "not a join token, or not all of it: weft1.… in one line");
    x509_wipe(&bytes);
    OPENSSL_cleanse(again, sizeof(again));
    OPENSSL_cleanse(&t, sizeof(t));
    return ok;
}

void join_secret_hash(const uint8_t secret[JOIN_SECRET_BYTES], uint8_t dst[JOIN_SECRET_HASH_BYTES])
{
    unsigned n = 0;
    int rc = EVP_Digest(secret, JOIN_SECRET_BYTES, dst, &n, EVP_sha256(), NULL);
    wf_assert(rc == 1 && n == JOIN_SECRET_HASH_BYTES);
}

bool join_secret_fits(const uint8_t secret[JOIN_SECRET_BYTES],
                      const uint8_t hash[JOIN_SECRET_HASH_BYTES])
{
    uint8_t got[JOIN_SECRET_HASH_BYTES];
    join_secret_hash(secret, got);
    return CRYPTO_memcmp(got, hash, sizeof(got)) == 0;
}

bool join_token_fits_ca(const struct join_token *t, struct slice ca_cert, struct err *err)
{
    struct x509_info info = {0};
    if (!x509_read(ca_cert, &info, err))
        return false;
    return (info.ca && memcmp(info.sha256, t->ca_sha256, sizeof(info.sha256)) == 0) ||
           err_set(err, ERR_UNAUTHENTICATED,
                   "\"%s\" is not the CA that the join token names: another cluster answers",
                   info.name);
}
