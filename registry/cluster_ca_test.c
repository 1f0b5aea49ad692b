/* If this fails, a cluster has no certificates, has some that its own nodes refuse, or loses the
 * key that it had. */
#include "base/wire/test.h"

#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/core/assert.h"
#include "base/env/env_testing.h"
#include "base/env/env_uv.h"
#include "base/wire/x509.h"
#include "registry/cluster_ca.h"
#include "registry/raft/peer_tls.h"
#include "registry/raft/raft_limits.h"

#define CLUSTER 0xc0ffee00c0ffeeu

struct fixture {
    struct env *env;
    char dir[64], pki[96];
    struct cluster_ca ca;
};

static void must(bool ok, const struct err *err)
{
    if (!ok)
        fail_msg("%s", err->msg);
}

static void setup(struct fixture *f)
{
    struct err err = {0};
    *f = (struct fixture){.env = env_uv_new(&err)};
    test_dir_make(f->dir);
    snprintf(f->pki, sizeof(f->pki), "%s/pki", f->dir);
    must(cluster_ca_new(&f->ca, CLUSTER, env_wall_ms(f->env) / 1000, &err), &err);
}

static void teardown(struct fixture *f)
{
    cluster_ca_fini(&f->ca);
    env_uv_free(f->env);
    test_dir_remove(f->dir);
}

static unsigned mode_of(const struct fixture *f, const char *name)
{
    char path[160];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", f->pki, name);
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static struct slice file(struct fixture *f, const char *name, struct buf *ret)
{
    char path[160];
    struct err err = {0};
    snprintf(path, sizeof(path), "%s/%s", f->pki, name);
    buf_clear(ret);
    must(env_file_load(f->env, path, 1u << 20, ret, &err), &err);
    return buf_slice(ret);
}

static void files_are_private_and_fit(void **state)
{
    (void)state;
    struct fixture f;
    struct err err = {0};
    struct cluster_ca again = {0};
    char node[128];
    setup(&f);
    must(cluster_ca_store(&f.ca, f.env, f.pki, &err), &err);
    must(cluster_ca_add(&f.ca, f.env, f.pki, "n2", 2, 30, &err), &err);
    static const char *const dirs[] = {"", "n2"};
    static const char *const files[] = {"ca.key", "ca.crt", "n2/node.key", "n2/node.crt",
                                        "n2/ca.crt"};
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
        assert_int_equal(mode_of(&f, dirs[i]), 0700);
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        assert_int_equal(mode_of(&f, files[i]), 0600);
    must(cluster_ca_load(&again, f.env, f.pki, &err), &err);
    assert_int_equal(again.cluster, CLUSTER);
    check_slice(buf_slice(&again.key), buf_slice(&f.ca.key));
    cluster_ca_fini(&again);
    snprintf(node, sizeof(node), "%s/n2", f.pki);
    struct peer_tls *t = peer_tls_open(f.env, node, &err);
    must(t != NULL, &err);
    assert_int_equal(peer_tls_self(t)->node, 2);
    assert_int_equal(peer_tls_self(t)->cluster, CLUSTER);
    peer_tls_close(t);
    teardown(&f);
}

static void nothing_is_written_over(void **state)
{
    (void)state;
    struct fixture f;
    struct err err = {0};
    struct buf before = {0}, after = {0};
    struct cluster_ca other = {0};
    setup(&f);
    assert_false(cluster_ca_load(&other, f.env, f.pki, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    must(cluster_ca_store(&f.ca, f.env, f.pki, &err), &err);
    must(cluster_ca_add(&f.ca, f.env, f.pki, "n1", 1, 30, &err), &err);
    must(cluster_ca_new(&other, 5, env_wall_ms(f.env) / 1000, &err), &err);
    assert_false(cluster_ca_store(&other, f.env, f.pki, &err));
    assert_int_equal(err.code, ERR_EXISTS);
    assert_non_null(strstr(err.msg, "ca.key is there already"));
    file(&f, "n1/node.key", &before);
    assert_false(cluster_ca_add(&f.ca, f.env, f.pki, "n1", 1, 30, &err));
    assert_int_equal(err.code, ERR_EXISTS);
    check_slice(file(&f, "n1/node.key", &after), buf_slice(&before));
    check_slice(file(&f, "ca.key", &after), buf_slice(&f.ca.key));
    buf_fini(&before);
    buf_fini(&after);
    cluster_ca_fini(&other);
    teardown(&f);
}

static void on_renewed(void *ctx, const char *name)
{
    (void)name;
    (*(int *)ctx)++;
}

/* Until the files were looked at once more, and what is used if nothing was new is known. */
static void look_again(struct fixture *f)
{
    uint64_t until = env_now_ns(f->env) + (PEER_TLS_POLL_MS + 300) * 1000000ull;
    while (env_now_ns(f->env) < until)
        env_uv_turn(f->env, 50);
}

static void until_renewed(struct fixture *f, const struct peer_tls *t, const struct tls_ctx *old)
{
    while (peer_tls_ctx(t) == old)
        env_uv_turn(f->env, 50);
}

/* A node takes what was renewed while it runs, and does not take another's. */
static void renewed_certificates_are_taken(void **state)
{
    (void)state;
    struct fixture f;
    struct err err = {0};
    struct buf cert = {0}, key = {0};
    struct x509_info old, new;
    char node[128], path[160];
    int renewed = 0;
    setup(&f);
    must(cluster_ca_store(&f.ca, f.env, f.pki, &err), &err);
    assert_false(cluster_ca_renew(&f.ca, f.env, f.pki, 60, NULL, NULL, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    must(cluster_ca_add(&f.ca, f.env, f.pki, "n1", 1, 1, &err), &err);
    must(cluster_ca_add(&f.ca, f.env, f.pki, "n2", 2, 1, &err), &err);
    must(x509_read(file(&f, "n1/node.crt", &cert), &old, &err), &err);
    file(&f, "n1/node.key", &key);
    snprintf(node, sizeof(node), "%s/n1", f.pki);
    struct peer_tls *t = peer_tls_open(f.env, node, &err);
    struct tls_ctx *before = tls_ctx_ref(peer_tls_ctx(t));
    must(cluster_ca_renew(&f.ca, f.env, f.pki, 60, on_renewed, &renewed, &err), &err);
    assert_int_equal(renewed, 2);
    must(x509_read(file(&f, "n1/node.crt", &cert), &new, &err), &err);
    assert_string_equal(old.uri, new.uri);
    assert_string_equal(old.name, new.name);
    assert_true(new.until > old.until + 50 * 24 * 3600);
    until_renewed(&f, t, before);
    /* Half of a pair, and another node's: what was there stays in use. */
    struct tls_ctx *good = peer_tls_ctx(t);
    snprintf(path, sizeof(path), "%s/node.crt", node);
    must(env_file_store(f.env, path, file(&f, "n2/node.crt", &cert), &err), &err);
    look_again(&f);
    snprintf(path, sizeof(path), "%s/node.key", node);
    must(env_file_store(f.env, path, file(&f, "n2/node.key", &key), &err), &err);
    look_again(&f);
    must(env_file_remove(f.env, path, &err), &err);
    look_again(&f);
    assert_ptr_equal(peer_tls_ctx(t), good);
    tls_ctx_unref(before);
    peer_tls_close(t);
    buf_fini(&cert);
    buf_fini(&key);
    teardown(&f);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    struct fixture f;
    struct err err = {0};
    char node[128], path[160];
    setup(&f);
    snprintf(node, sizeof(node), "%s/n1", f.pki);
    assert_null(peer_tls_open(f.env, node, &err));
    assert_non_null(strstr(err.msg, "node.crt"));
    assert_non_null(strstr(err.msg, "weftd init"));
    must(cluster_ca_store(&f.ca, f.env, f.pki, &err), &err);
    must(cluster_ca_add(&f.ca, f.env, f.pki, "n1", 1, 30, &err), &err);
    snprintf(path, sizeof(path), "%s/node.crt", node);
    must(env_file_store(f.env, path, buf_slice(&f.ca.cert), &err), &err);
    assert_null(peer_tls_open(f.env, node, &err));
    assert_non_null(strstr(err.msg, "no certificate of a registry node"));
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_private_and_fit),
        cmocka_unit_test(nothing_is_written_over),
        cmocka_unit_test(renewed_certificates_are_taken),
        cmocka_unit_test(what_is_wrong_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
