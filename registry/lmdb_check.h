/* Is this what LMDB 0.9 wrote? LMDB has no checksums: it follows what a page says, into the wrong
 * page, past its end, or to an answer that was never written. This follows everything from the
 * newest meta page on, before LMDB does: every page that is in use is met once and is not free,
 * says who it is, holds its keys in order and between those of its parents; every count is right;
 * the databases are those that are expected; the map is a power of two, as ours are (store.c):
 * LMDB maps what a meta page says, or does not open at all. What the rows hold is for the caller
 * to judge, who has checksums in them. So no single bit can be another without that it is told,
 * but where nothing looks at it: the rest of the older meta page, the room that is free.
 *
 *   static const struct lmdb_check_db dbs[] = {
 *       {.name = "kv"}, {.name = "hist", .integer_keys = true}};
 *   if (!lmdb_check(image, &(struct lmdb_check_options){.dbs = dbs, …, .row = on_row}, &err)) …
 */
#ifndef WEFT_REGISTRY_LMDB_CHECK_H
#define WEFT_REGISTRY_LMDB_CHECK_H

#include "base/core/err.h"
#include "base/core/slice.h"

struct lmdb_check_db {
    const char *name;
    bool integer_keys; /* MDB_INTEGERKEY, of eight bytes */
};

struct lmdb_check_options {
    const struct lmdb_check_db *dbs; /* that may be there; none may be missing whose rows are */
    size_t db_count;                 /* at most LMDB_CHECK_DBS_MAX */
    /* Each row, by database (index in dbs) and in the order of the keys; borrowed from the image,
     * and not aligned. false and err: it is damaged. */
    bool (*row)(void *ctx, size_t db, struct slice key, struct slice value, struct err *err);
    void *ctx;
    /* LMDB does not write a page that was taken and given back in one transaction: a copy may end
     * before its last page, which is free then. */
    bool may_be_short;
};
#define LMDB_CHECK_DBS_MAX 16
#define LMDB_CHECK_DEPTH_MAX 32 /* of LMDB's own cursors */

/* image: the whole file, or what of it is there. ERR_CORRUPT: it is not, and where. */
bool lmdb_check(struct slice image, const struct lmdb_check_options *opt, struct err *err);

#endif
