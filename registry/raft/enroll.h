/* What a node that has no certificate yet says to a member, and what it is told: one frame each,
 * ENROLL and ENROLLED, instead of greetings. Without I/O, strict, bounded.
 *
 *   ask      secret 16, oldest u16, newest u16, member u8+text ("n4=10.0.0.4:7444"),
 *            request u16+PEM
 *   answer   code u16 (err.h; 0 = welcome); refused: text; else id u64, version u16, certificate
 *            u16+PEM, CA u16+PEM, count u8, members: id u64, u8+text
 *
 * Little endian. Who asks is ENROLL_NOBODY in the head of the frame.
 */
#ifndef WEFT_REGISTRY_RAFT_ENROLL_H
#define WEFT_REGISTRY_RAFT_ENROLL_H

#include "registry/raft/peers.h"

#define ENROLL_NOBODY UINT64_MAX
#define ENROLL_SECRET_BYTES 16 /* of a join token (registry/join_token.h) */
#define ENROLL_ANSWER_BYTES_MAX (16u << 10)

struct enroll_ask {
    uint8_t secret[ENROLL_SECRET_BYTES];
    struct versions reads;     /* by its program */
    struct peer_member member; /* id 0: it has none yet */
    struct slice csr;          /* borrowed */
};

void enroll_ask_encode(struct buf *out, const struct enroll_ask *a);
/* ERR_INVALID, the field is named. The address is one that others can call: IP and port. */
bool enroll_ask_decode(struct slice payload, struct enroll_ask *ret, struct err *err);

struct enroll_answer {
    uint64_t id;
    unsigned version;      /* of the cluster; 0 = nothing was written yet */
    struct slice cert, ca; /* borrowed */
    struct peer_member members[RAFT_MEMBERS_MAX];
    size_t member_count;
};

void enroll_answer_encode(struct buf *out, const struct enroll_answer *a);
void enroll_refusal_encode(struct buf *out, const struct err *why);
/* *ret_why: a refusal as it came, ERR_NONE for a welcome. false and err: it is neither. */
bool enroll_answer_decode(struct slice payload, struct enroll_answer *ret, struct err *ret_why,
                          struct err *err);

#endif
