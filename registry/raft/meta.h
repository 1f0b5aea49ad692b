/* What a node must not forget, beside its log: who it is, its term and its vote (Raft figure 2).
 *
 * One small file with a checksum, replaced as a whole (written aside, synced, renamed, directory
 * synced) before the answer that depends on it leaves.
 */
#ifndef WEFT_REGISTRY_RAFT_META_H
#define WEFT_REGISTRY_RAFT_META_H

#include "base/env/env.h"

/* What a directory that was made anew lacks (join.h): FIRST may be that of a new cluster, whose
 * first entry it then holds; AGAIN lost its data. */
enum meta_joining { META_MEMBER, META_JOINS_FIRST, META_JOINS_AGAIN };

struct meta {
    uint64_t cluster, node;
    uint64_t incarnation; /* random, of this data directory */
    uint64_t term, vote;
    uint64_t joining; /* enum meta_joining */
    uint64_t started; /* 1: the log was not empty once: an empty one is a lost one */
};

void meta_encode(struct buf *out, const struct meta *m);
bool meta_decode(struct slice bytes, struct meta *ret, struct err *err);

/* ERR_NOT_FOUND: there is none yet. ERR_CORRUPT: it is damaged; a voter must not guess its vote. */
bool meta_load(struct env *env, const char *dir, struct meta *ret, struct err *err);
bool meta_store(struct env *env, const char *dir, const struct meta *m, struct err *err);

#endif
