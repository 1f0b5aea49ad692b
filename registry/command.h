/* The bytes of one Raft log entry: all the writes of one loop turn.
 *
 *   entry    magic u32, version u16, flags u16, leader time ms u64, request count u32, requests, pad to 8
 *   request  client u64, sequence u64, op count u32, ops
 *   op       flags u8 (delete, expect), expected u64, key u16+bytes, value u32+bytes
 *
 * Little endian. (client, sequence) makes a retry after a lost leader exactly once in effect: the state
 * machine keeps the last sequence and its result of every client (REG_CLIENTS_MAX, oldest forgotten).
 * A client id is random, made by each node at start; sequences rise by one; at most
 * REG_CLIENT_WINDOW requests of one client are in flight.
 * Entries are padded to 8 bytes: libraft 0.15 silently loses others (guard G10).
 */
#ifndef WEFT_REGISTRY_COMMAND_H
#define WEFT_REGISTRY_COMMAND_H

#include "base/core/reader.h"
#include "registry/node.h"

#define REG_ENTRY_BYTES_MAX (2u * 1024u * 1024u)
#define REG_ENTRY_REQUESTS_MAX 1024
#define REG_CLIENTS_MAX 256
#define REG_CLIENT_WINDOW 4096

struct reg_request {
    uint64_t client, sequence;
    size_t op_count;
    const struct reg_op *ops;
};

/* Builds an entry: begin, add …, end. */
struct reg_entry_builder {
    struct buf bytes;
    uint32_t count;
};
void reg_entry_begin(struct reg_entry_builder *b, int64_t leader_wall_ms);
/* false when it would pass REG_ENTRY_BYTES_MAX or REG_ENTRY_REQUESTS_MAX: put it into the next entry. An
 * entry with a single request always takes it (requests are bounded at the door). */
bool reg_entry_add(struct reg_entry_builder *b, const struct reg_request *r);
struct slice reg_entry_end(struct reg_entry_builder *b);
void reg_entry_fini(struct reg_entry_builder *b);

/* The ops of a request as bytes and back: for forwarding to the leader. Ops borrow from the bytes. */
void reg_request_encode(struct buf *out, const struct reg_request *r);
bool reg_request_decode(struct reader *r, struct arena *arena, struct reg_request *ret, struct err *err);

#endif
