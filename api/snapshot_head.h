/* The head of a snapshot file: what `weft snapshot save` writes and `weftd restore` reads.
 *
 *   file   head, then the image: a copy of the registry's LMDB file, as a checkpoint is
 *   head   magic 8, version u32, bytes of the head u32, cluster, genesis, index, term, revision,
 *          compacted, state hash, wall ms, image bytes u64, SHA-256 of the image 32,
 *          node u16+bytes, count of kinds u32, for each: name u16+bytes, objects, bytes u64;
 *          crc32c u32 of all that
 *
 * Little endian. Pure: whoever has the bytes asks, also where no registry is.
 */
#ifndef WEFT_API_SNAPSHOT_HEAD_H
#define WEFT_API_SNAPSHOT_HEAD_H

#include "base/core/err.h"
#include "base/core/mem.h"
#include "base/core/slice.h"

#define SNAPSHOT_HEAD_KINDS_MAX 256
#define SNAPSHOT_HEAD_NAME_BYTES_MAX 128
#define SNAPSHOT_HEAD_BYTES_MAX (64u << 10)
#define SNAPSHOT_HEAD_BYTES_MIN 16 /* enough for snapshot_head_bytes */

/* Objects of one kind ("virtualservices.networking.istio.io"), and the bytes of their values. */
struct snapshot_kind {
    char name[SNAPSHOT_HEAD_NAME_BYTES_MAX];
    uint64_t objects, bytes;
};

struct snapshot_head {
    uint64_t cluster, genesis; /* whose history it is (registry/raft/peers.h) */
    uint64_t index, term;      /* of the last entry that is in it */
    uint64_t revision, compacted, state_hash;
    int64_t wall_ms; /* when it was taken, by the clock of the node */
    uint64_t image_bytes;
    unsigned char sha256[32];
    char node[SNAPSHOT_HEAD_NAME_BYTES_MAX]; /* that it was taken from */
    size_t kind_count;
    struct snapshot_kind kinds[SNAPSHOT_HEAD_KINDS_MAX];
};

void snapshot_head_encode(struct buf *out, const struct snapshot_head *h);
/* How long the head is, by its first SNAPSHOT_HEAD_BYTES_MIN bytes. ERR_INVALID: no snapshot file,
 * or one of a version that is not known here. */
bool snapshot_head_bytes(struct slice first, size_t *ret_n, struct err *err);
/* `bytes` are the head and nothing else. ERR_CORRUPT: it is not what was written. */
bool snapshot_head_decode(struct slice bytes, struct snapshot_head *ret, struct err *err);

#endif
