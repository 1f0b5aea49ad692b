/* A Raft snapshot of weft: a manifest of a few hundred bytes in the log's terms, and a checkpoint
 * file of the store beside it, which travels on a connection of its own (bulk.h).
 *
 *   <dir>/snapshot                     the manifest of the newest: index, term, members, data
 *   <dir>/snapshot-older               the same of the one before, to which the log still reaches
 *   <dir>/ckpt-<index>-<tag>.mdb       their files; index and tag (start of the hash) as in it
 */
#ifndef WEFT_REGISTRY_RAFT_SNAPSHOT_H
#define WEFT_REGISTRY_RAFT_SNAPSHOT_H

#include <raft.h>

#include "base/env/env.h"

#define SNAPSHOT_PATH_BYTES 4096
#define SNAPSHOT_DATA_BYTES 64 /* encoded snapshot_file: what libraft carries as "the snapshot" */

/* Describes a checkpoint file. Its index is at least that of the Raft snapshot: the store may have
 * gone on while it was copied. */
struct snapshot_file {
    uint64_t index, term, bytes;
    unsigned char sha256[32];
};

void snapshot_file_encode(char dst[SNAPSHOT_DATA_BYTES], const struct snapshot_file *f);
bool snapshot_file_decode(struct slice bytes, struct snapshot_file *ret, struct err *err);
uint64_t snapshot_file_tag(const struct snapshot_file *f);
const char *snapshot_file_path(const char *dir, uint64_t index, uint64_t tag,
                               char path[SNAPSHOT_PATH_BYTES]);
/* Where the file is copied to before it has its name. */
const char *snapshot_temp_path(const char *dir, char path[SNAPSHOT_PATH_BYTES]);
/* The same for one that replaces a damaged file. */
const char *snapshot_remade_path(const char *dir, char path[SNAPSHOT_PATH_BYTES]);
const char *snapshot_part_path(const char *dir, char path[SNAPSHOT_PATH_BYTES]);

struct snapshot_manifest {
    uint64_t index, term, conf_index;
    struct raft_configuration conf;
    struct snapshot_file file;
};
void snapshot_manifest_fini(struct snapshot_manifest *m);
enum snapshot_which { SNAPSHOT_NEWEST, SNAPSHOT_OLDER, SNAPSHOT_COUNT };
/* false with ERR_NOT_FOUND: none yet. ERR_CORRUPT. */
bool snapshot_manifest_load(struct env *env, const char *dir, enum snapshot_which which,
                            struct snapshot_manifest *ret, struct err *err);
bool snapshot_manifest_store(struct env *env, const char *dir, enum snapshot_which which,
                             const struct snapshot_manifest *m, struct err *err);
/* For good; true also when there is none. */
bool snapshot_manifest_remove(struct env *env, const char *dir, enum snapshot_which which,
                              struct err *err);
/* Removes the files of all checkpoints but those (NULL: none), and of broken-off transfers. */
bool snapshot_sweep(struct env *env, const char *dir,
                    const struct snapshot_file *const keep[SNAPSHOT_COUNT], struct err *err);

#endif
