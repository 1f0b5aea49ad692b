/* How a node comes into a cluster that runs, and again at each later start.
 *
 *   no DATA/member ──draws an id, writes it down──▶ asking ──POST /weft/v1/members──▶ added
 *       (any member takes it; the id goes with every try, so that the cluster adds it once)
 *   no DATA/member, a token ──ENROLL to a member's peer port (enroll.h)──▶ added
 *       (the member draws the id; the key in DATA/tls is written first, and goes with every try)
 *   added ──starts as a newcomer, is sent the log──▶ began ──asks for a vote──▶ voter
 *
 * Blocks: before weftd_start, by turning env's loop.
 */
#ifndef WEFT_WEFTD_JOIN_H
#define WEFT_WEFTD_JOIN_H

#include "registry/join_token.h"
#include "weftd/member_file.h"

#define JOIN_CONTACTS_MAX 8

struct join_options {
    const char *dir, *name;
    struct env_addr peer; /* ours; len 0 = not said */
    uint64_t id;          /* 0 = the certificate's, or random without */
    const char *tls_dir;  /* of our certificate; NULL = without TLS */
    /* What the API answered when somebody else added us (`weft operator raft add -o json`): then
     * nobody is asked. NULL = contacts are. */
    const char *file;
    const struct join_token *token; /* NULL = none; with it tls_dir is where certificates go */
    /* APIs of members; with a token their peer addresses. */
    struct env_addr contacts[JOIN_CONTACTS_MAX];
    size_t contact_count;
    struct versions reads; /* by the program; default all that it knows */
    wf_ms patience;        /* with members that do not answer; default 60,000 */
};

/* "http://127.0.0.1:7443,127.0.0.2:7443" */
bool join_contacts_parse(struct slice text, struct join_options *o, struct err *err);
/* Has this directory joined before? */
bool join_known(struct env *env, const char *dir);
/* Joins unless the directory says that it did, then fills ret with what reg_node_start needs: id,
 * members, newcomer, cluster. ERR_CONFLICT: the cluster or the directory says otherwise. */
bool join_cluster(struct env *env, const struct join_options *o, struct reg_node_options *ret,
                  struct err *err);

#endif
