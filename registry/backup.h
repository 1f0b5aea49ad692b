/* A snapshot of the store for users: a consistent image, and the head that describes it
 * (api/snapshot_head.h). Any member makes one, also without a leader: it is what this node has.
 *
 *   struct reg_backup b;
 *   if (reg_backup_take(store, &b, &err)) …send b.head, then b.head.image_bytes of b.fd
 *   reg_backup_fini(&b);
 */
#ifndef WEFT_REGISTRY_BACKUP_H
#define WEFT_REGISTRY_BACKUP_H

#include "api/snapshot_head.h"
#include "registry/store.h"

struct reg_backup {
    int fd; /* the image, from its first byte; the file has no name any more */
    struct snapshot_head head;
};

/* On any thread, beside the writer; takes as long as the copy. Room for one more image is needed in
 * the data directory. Every record's checksum is checked. `cluster` and `node` of the head are the
 * caller's to fill. ERR_NO_ROOM. */
bool reg_backup_take(struct reg_store *store, struct reg_backup *ret, struct err *err);
void reg_backup_fini(struct reg_backup *b);

#endif
