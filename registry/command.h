/* The bytes of one Raft log entry: all the writes of one loop turn.
 *
 *   entry    magic u32, version u16, flags u16, leader time ms u64, request count u32, term u64,
 *            requests, pad to 8
 *   request  client u64, sequence u64, settled u64, flags u8 (once), origin u8+bytes,
 *            once: key 16, digest 16, memo u16+bytes; op count u32, ops
 *   op       flags u8 (delete, expect, check, epoch, grant, attach, expire), expected u64, key
 *            u16+bytes, value u32+bytes; grant: flags u8, ttl ms u32, epoch u64, holder u16+bytes;
 *            attach: lease u16+bytes; expire: term u64
 *
 * Earlier entries are read too. Version 1: requests go from settled to op count, and there is no
 * check. Version 2: there is no term, and no operation has to do with a lease. Version 4: there may
 * be no requests; of them it is as version 3. Which version is written the cluster's says
 * (raft/version.h). Little endian.
 *
 * (client, sequence) makes a retry after a lost leader exactly once in effect: the state machine
 * keeps the result of every sequence of a client that is not settled. `settled`: every lower
 * sequence of this client has been answered and will not be sent again. Clients beyond
 * REG_CLIENTS_MAX: the one unheard for longest is forgotten. A client id is random, made by each
 * node at start; at most REG_CLIENT_WINDOW sequences lie between settled and the newest. They may
 * arrive in any order. `once` does the same for what the users of the API repeat (store.h).
 * Entries are padded to 8 bytes: libraft 0.15 silently loses others (guard G10).
 */
#ifndef WEFT_REGISTRY_COMMAND_H
#define WEFT_REGISTRY_COMMAND_H

#include "base/core/reader.h"
#include "registry/lease.h"
#include "registry/node.h"
#include "registry/raft/version.h"

#define REG_ENTRY_BYTES_MAX (2u * 1024u * 1024u)
#define REG_ENTRY_REQUESTS_MAX 1024
#define REG_CLIENTS_MAX 256
#define REG_CLIENT_WINDOW 4096

struct reg_request {
    uint64_t client, sequence, settled;
    size_t op_count; /* 0 only with once */
    const struct reg_op *ops;
    const struct reg_once *once; /* NULL = none */
    struct slice origin;
    bool no_quota; /* of version VERSION_QUOTAS and newer */
};

/* Builds an entry: begin, add …, end. */
struct reg_entry_builder {
    unsigned version; /* set before begin; 0 = VERSION_OLDEST */
    uint64_t term;    /* of the leader that proposes it; set before begin */
    struct buf bytes;
    uint32_t count;
};
void reg_entry_begin(struct reg_entry_builder *b, int64_t leader_wall_ms);
/* false when it would pass REG_ENTRY_BYTES_MAX or REG_ENTRY_REQUESTS_MAX: put it into the next
 * entry. An entry with a single request always takes it (requests are bounded at the door). */
bool reg_entry_add(struct reg_entry_builder *b, const struct reg_request *r);
/* Nothing was added: of version VERSION_EMPTY_ENTRIES and newer. */
struct slice reg_entry_end(struct reg_entry_builder *b);
void reg_entry_fini(struct reg_entry_builder *b);

/* Reads an entry: its head, then `count` times reg_request_decode. */
struct reg_entry_head {
    unsigned version; /* for reg_request_decode */
    int64_t leader_wall_ms;
    uint64_t term; /* 0 = not told (versions 1 and 2) */
    uint32_t count;
};
/* ERR_UNSUPPORTED: of a version above VERSION_NEWEST. */
bool reg_entry_open(struct reader *r, struct reg_entry_head *ret, struct err *err);

/* The ops of a request as bytes and back: for forwarding to the leader, where the version is that
 * of the frame. All versions that are written have the same, but for no_quota. Ops borrow from the
 * bytes. */
void reg_request_encode(struct buf *out, const struct reg_request *r);
bool reg_request_decode(struct reader *r, unsigned version, struct arena *arena,
                        struct reg_request *ret, struct err *err);

#endif
