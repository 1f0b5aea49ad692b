/* Raft's messages as frame payloads and back.
 *
 *   struct message_out out = {0};
 *   message_encode(&out, m);            frame type, pieces for the stream
 *   message_out_fini(&out);
 */
#ifndef WEFT_REGISTRY_RAFT_MESSAGE_H
#define WEFT_REGISTRY_RAFT_MESSAGE_H

#include <raft.h>

#include "base/core/reader.h"
#include "registry/raft/frame.h"

struct message_out {
    enum frame_type type;
    uint64_t term;
    struct buf fixed;     /* the fields */
    struct iovec *pieces; /* fixed first, then the entries' own bytes (borrowed from the message) */
    int piece_count;
    unsigned entries_sent; /* of an append: fewer than asked for when it would be too long */
};

void message_encode(struct message_out *out, const struct raft_message *m);
void message_out_fini(struct message_out *out);

/* The message with memory of raft_malloc, as libraft's recv wants it (entries in one batch).
 * server_id and server_address are the caller's to set. */
bool message_decode(const struct frame *f, struct raft_message *ret, struct err *err);
/* Frees what message_decode made and libraft did not take. */
void message_free(struct raft_message *m);

/* A cluster configuration, as message and snapshot manifest carry it. */
void conf_encode(struct buf *out, const struct raft_configuration *conf);
bool conf_decode(struct reader *r, struct raft_configuration *ret, struct err *err);

#endif
