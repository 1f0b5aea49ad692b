/* The CA of one cluster's registry nodes, and the certificates that it gives them. Its key signs
 * nothing else, and no node needs it to run.
 *
 *   struct cluster_ca ca;
 *   cluster_ca_new(&ca, cluster, now, &err);                 pure; cluster: random, not 0
 *   cluster_ca_issue(&ca, &(struct cluster_ca_node){…}, &cert, &err);
 *   cluster_ca_fini(&ca);
 *
 *   DIR/ca.crt DIR/ca.key                     the CA; its URI is weft://CLUSTER
 *   DIR/NAME/{ca.crt,node.crt,node.key}       what raft/peer_tls.h reads
 *
 * Files are made with mode 0600, directories with 0700; nothing that is there is written over, but
 * by cluster_ca_renew.
 */
#ifndef WEFT_REGISTRY_CLUSTER_CA_H
#define WEFT_REGISTRY_CLUSTER_CA_H

#include "base/env/env.h"

#define CLUSTER_CA_DAYS (20 * 365)
#define CLUSTER_CA_NODE_DAYS_DEFAULT 365
/* Nodes' clocks may be behind ours by so much. */
#define CLUSTER_CA_SKEW_S 3600

/* Zeroed is valid and empty. */
struct cluster_ca {
    uint64_t cluster;
    struct buf key, cert; /* PEM */
};

/* now: seconds since 1970. */
bool cluster_ca_new(struct cluster_ca *ret, uint64_t cluster, int64_t now, struct err *err);
void cluster_ca_fini(struct cluster_ca *ca);

struct cluster_ca_node {
    uint64_t id;
    struct slice name;       /* for people */
    struct slice public_key; /* PEM */
    int64_t now;             /* seconds since 1970 */
    int64_t days;            /* to live; not beyond the CA itself */
};
/* Appends PEM. ERR_INVALID. */
bool cluster_ca_issue(const struct cluster_ca *ca, const struct cluster_ca_node *node,
                      struct buf *ret_cert, struct err *err);
/* The same for a request (PEM): its key, and nothing else that it says; node->public_key is not
 * looked at. Whether its sender may have that id is the caller's to know. */
bool cluster_ca_sign(const struct cluster_ca *ca, struct slice csr,
                     const struct cluster_ca_node *node, struct buf *ret_cert, struct err *err);

/* Files. */

/* ERR_EXISTS when there is a CA already. Makes dir, not its parents. */
bool cluster_ca_store(const struct cluster_ca *ca, struct env *env, const char *dir,
                      struct err *err);
/* ERR_NOT_FOUND when there is none. */
bool cluster_ca_load(struct cluster_ca *ret, struct env *env, const char *dir, struct err *err);
/* A key and a certificate for a new node, in DIR/NAME; name is a file name. ERR_EXISTS when they
 * are there. */
bool cluster_ca_add(const struct cluster_ca *ca, struct env *env, const char *dir, const char *name,
                    uint64_t id, int64_t days, struct err *err);
/* Signs every DIR/NAME/node.crt again, of the same node and key; calls fn for each. ERR_NOT_FOUND
 * when there was none. */
bool cluster_ca_renew(const struct cluster_ca *ca, struct env *env, const char *dir, int64_t days,
                      void (*fn)(void *ctx, const char *name), void *ctx, struct err *err);

#endif
