/* Certificates of nodes in temporary directories. Tests only.
 *
 *   struct tls_test_ca ca;  tls_test_ca_init(&ca, now);
 *   peer_tls_test_dir(&ca, cluster, node, now, dir);   …   test_dir_remove(dir);
 */
#ifndef WEFT_REGISTRY_RAFT_PEER_TLS_TESTING_H
#define WEFT_REGISTRY_RAFT_PEER_TLS_TESTING_H

#include "base/env/env_testing.h"
#include "base/net/tls_testing.h"
#include "registry/raft/peer_tls.h"

static inline void peer_tls_test_file(const char *dir, const char *name, const struct buf *bytes)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    wf_assert(f && fwrite(bytes->p + bytes->at, 1, bytes->n, f) == bytes->n && fclose(f) == 0);
}

/* now: seconds since 1970; the certificate is good for a day on either side. */
static inline void peer_tls_test_dir(const struct tls_test_ca *ca, uint64_t cluster, uint64_t node,
                                     int64_t now, char dir[TEST_DIR])
{
    char uri[IDENTITY_TEXT], name[32];
    struct buf key = {0}, cert = {0};
    test_dir_make(dir);
    snprintf(name, sizeof(name), "n%llu", (unsigned long long)node);
    tls_test_issue(
        ca,
        &(struct x509_subject){.name = slice_of(name),
                               .uri = identity_format(&(struct identity){cluster, node}, uri),
                               .from = now - TLS_TEST_DAY,
                               .until = now + 40 * TLS_TEST_DAY},
        &key, &cert);
    peer_tls_test_file(dir, "ca.crt", &ca->cert);
    peer_tls_test_file(dir, "node.key", &key);
    peer_tls_test_file(dir, "node.crt", &cert);
    x509_wipe(&key);
    buf_fini(&cert);
}

#endif
