/* If this fails, a token that was copied with a letter missing lets a node into nowhere, or a
 * secret that was not given to anybody lets one in. */
#include "base/wire/test.h"

#include "registry/cluster_ca.h"
#include "registry/join_token.h"

#define NOW 1700000000

static struct join_token example(void)
{
    struct join_token t = {.cluster = 0xc0ffee00c0ffee};
    for (size_t i = 0; i < sizeof(t.secret); i++)
        t.secret[i] = (uint8_t)(i * 37);
    for (size_t i = 0; i < sizeof(t.ca_sha256); i++)
        t.ca_sha256[i] = (uint8_t)(200 + i);
    return t;
}

static void a_token_comes_back(void **state)
{
    (void)state;
    struct join_token t = example(), back = {0};
    struct err err = {0};
    char text[JOIN_TOKEN_TEXT], spaced[JOIN_TOKEN_TEXT + 8];
    struct slice s = join_token_format(&t, text);
    assert_true(slice_starts(s, S("weft1.")));
    assert_true(join_token_parse(s, &back, &err));
    assert_memory_equal(&back, &t, sizeof(t));
    snprintf(spaced, sizeof(spaced), " \t%s\r\n", text);
    assert_true(join_token_parse(slice_of(spaced), &back, &err));
}

static void a_touched_token_is_none(void **state)
{
    (void)state;
    struct join_token t = example(), back = {0};
    struct err err = {0};
    char text[JOIN_TOKEN_TEXT], touched[JOIN_TOKEN_TEXT + 8];
    struct slice s = join_token_format(&t, text);
    for (size_t i = 0; i < s.n; i++) {
        memcpy(touched, text, s.n);
        touched[i] = touched[i] == 'x' ? 'y' : 'x';
        assert_false(join_token_parse(slice_mem(touched, s.n), &back, &err));
        assert_false(join_token_parse(slice_sub(s, 0, i), &back, &err));
        assert_false(join_token_parse(slice_skip(s, i + 1), &back, &err));
    }
    assert_null(strstr(err.msg, text + 6)); /* a log must not get the secret */
    snprintf(touched, sizeof(touched), "%sA", text);
    assert_false(join_token_parse(slice_of(touched), &back, &err));
    snprintf(touched, sizeof(touched), "%s==", text);
    assert_false(join_token_parse(slice_of(touched), &back, &err));
    assert_int_equal(err.code, ERR_INVALID);
}

static void a_secret_is_known_by_its_hash(void **state)
{
    (void)state;
    struct join_token t = example();
    uint8_t hash[JOIN_SECRET_HASH_BYTES];
    join_secret_hash(t.secret, hash);
    assert_true(join_secret_fits(t.secret, hash));
    for (size_t i = 0; i < sizeof(t.secret); i++) {
        t.secret[i] ^= 1;
        assert_false(join_secret_fits(t.secret, hash));
        t.secret[i] ^= 1;
    }
}

/* A whole enrolment without the network: token, request, certificate. */
static void a_request_becomes_a_certificate(void **state)
{
    (void)state;
    struct cluster_ca ca, other;
    struct join_token t = {.cluster = 7};
    struct x509_info info;
    struct buf key = {0}, csr = {0}, cert = {0};
    struct err err = {0};
    assert_true(cluster_ca_new(&ca, 7, NOW, &err));
    assert_true(cluster_ca_new(&other, 7, NOW, &err));
    assert_true(x509_read(buf_slice(&ca.cert), &info, &err));
    memcpy(t.ca_sha256, info.sha256, sizeof(t.ca_sha256));
    assert_true(join_token_fits_ca(&t, buf_slice(&ca.cert), &err));
    assert_false(join_token_fits_ca(&t, buf_slice(&other.cert), &err));
    assert_int_equal(err.code, ERR_UNAUTHENTICATED);
    assert_true(x509_key_new(&key, &err));
    /* Names in the request are nobody's promise. */
    assert_true(x509_csr_new(buf_slice(&key), S("weft://0000000000000007/node/1"), &csr, &err));
    assert_true(cluster_ca_sign(
        &ca, buf_slice(&csr),
        &(struct cluster_ca_node){.id = 4, .name = S("n4"), .now = NOW, .days = 30}, &cert, &err));
    assert_true(x509_read(buf_slice(&cert), &info, &err));
    assert_string_equal(info.uri, "weft://0000000000000007/node/4");
    assert_string_equal(info.name, "n4");
    assert_int_equal(info.until, NOW + 30 * 86400);
    /* Not beyond the CA, not by a CA that has ended, not without an id. */
    const struct cluster_ca_node cases[] = {
        {.id = 0, .name = S("n4"), .now = NOW, .days = 30},
        {.id = 4, .name = S("n4"), .now = NOW, .days = 0},
        {.id = 4, .name = S("n4"), .now = NOW + (int64_t)CLUSTER_CA_DAYS * 86400, .days = 30},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_false(cluster_ca_sign(&ca, buf_slice(&csr), &cases[i], &cert, &err));
    buf_clear(&cert);
    assert_true(
        cluster_ca_sign(&ca, buf_slice(&csr),
                        &(struct cluster_ca_node){
                            .id = 4, .name = S("n4"), .now = NOW, .days = CLUSTER_CA_DAYS + 100},
                        &cert, &err));
    assert_true(x509_read(buf_slice(&cert), &info, &err));
    assert_int_equal(info.until, NOW + (int64_t)CLUSTER_CA_DAYS * 86400);
    cluster_ca_fini(&ca);
    cluster_ca_fini(&other);
    x509_wipe(&key);
    buf_fini(&csr);
    buf_fini(&cert);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_comes_back),
        cmocka_unit_test(a_touched_token_is_none),
        cmocka_unit_test(a_secret_is_known_by_its_hash),
        cmocka_unit_test(a_request_becomes_a_certificate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
