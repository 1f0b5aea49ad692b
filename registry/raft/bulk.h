/* Checkpoints between nodes, beside the connection that carries heartbeats: the receiver asks for a
 * file from an offset on and gets chunks; a broken connection goes on where it stopped.
 *
 *   receiver   HELLO(bulk) ▶ … ◀ HELLO; GET(index, tag, offset) ▶
 *   server     DATA(offset, ≤ 1 MiB) … END(bytes)   or   GONE
 */
#ifndef WEFT_REGISTRY_RAFT_BULK_H
#define WEFT_REGISTRY_RAFT_BULK_H

#include "base/env/env.h"
#include "registry/raft/conn.h"

/* Serving. */

struct bulk_server;
struct bulk_server *bulk_server_new(struct env *env, uint64_t self, uint64_t cluster,
                                    const char *dir);
void bulk_server_free(struct bulk_server *b);
/* Takes an introduced connection and the version of its frames (peers.h, on_bulk). */
void bulk_server_adopt(struct bulk_server *b, uint64_t from, struct env_stream *s,
                       unsigned version);
/* Cuts what goes to this node: it is no member any more. */
void bulk_server_cut(struct bulk_server *b, uint64_t to);
/* A checkpoint is on its way to somebody: making another one now would only slow both. */
bool bulk_server_busy(const struct bulk_server *b);

/* Fetching. */

struct bulk_fetch_options {
    struct env *env;
    uint64_t self, cluster, incarnation;
    struct versions reads;
    uint64_t peer;
    struct env_addr addr;
    struct peer_tls *tls;       /* NULL = without */
    wf_ms silence;              /* then another connection; 0 = BULK_SILENCE_MS */
    uint64_t index, tag, bytes; /* of the file (snapshot.h) */
    const char *path;           /* where it goes; copied */
    /* err->code ERR_NONE: all bytes are there and synced; the caller checks the hash. NOT_FOUND:
     * the server has it no more. UNAVAILABLE: given up. The fetch is over before the call. */
    void (*fn)(void *ctx, const struct err *err);
    void *ctx;
};

/* Zeroed is valid and idle. */
struct bulk_fetch {
    struct bulk_fetch_options opt;
    char *path;
    struct conn conn;
    struct env_file *file;
    uint64_t offset;  /* bytes that are synced */
    struct buf chunk; /* being written */
    struct iovec iov;
    struct env_file_write write;
    struct env_timer timer, silence;
    unsigned failures; /* in a row, without a new byte */
    bool active, greeted;
};

bool bulk_fetch_start(struct bulk_fetch *f, const struct bulk_fetch_options *opt, struct err *err);
void bulk_fetch_cancel(struct bulk_fetch *f);

#endif
