/* Certificates of nodes in temporary directories. Tests only.
 *
 *   struct tls_test_ca ca;  tls_test_ca_init(&ca, now);
 *   peer_tls_test_dir(&ca, cluster, node, now, dir);   …   peer_tls_test_remove(dir);
 */
#ifndef WEFT_REGISTRY_RAFT_PEER_TLS_TESTING_H
#define WEFT_REGISTRY_RAFT_PEER_TLS_TESTING_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/net/tls_testing.h"
#include "registry/raft/peer_tls.h"

#define PEER_TLS_TEST_DIR 64

static inline void peer_tls_test_file(const char *dir, const char *name, const struct buf *bytes)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    wf_assert(f && fwrite(bytes->p + bytes->at, 1, bytes->n, f) == bytes->n && fclose(f) == 0);
}

/* now: seconds since 1970; the certificate is good for a day on either side. */
static inline void peer_tls_test_dir(const struct tls_test_ca *ca, uint64_t cluster, uint64_t node,
                                     int64_t now, char dir[PEER_TLS_TEST_DIR])
{
    char uri[IDENTITY_TEXT], name[32];
    struct buf key = {0}, cert = {0};
    snprintf(dir, PEER_TLS_TEST_DIR, "/tmp/weft-peer-tls-XXXXXX");
    wf_assert(mkdtemp(dir));
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

static inline void peer_tls_test_remove(const char *dir)
{
    static const char *const names[] = {"ca.crt", "node.key", "node.crt"};
    char path[256];
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

#endif
