/* Shared by the files of the state machine (README.md: fsm.h, store_verify.c), backup.c, restore.c
 * and tests, weft-sim among them; by nobody else. */
#ifndef WEFT_REGISTRY_STORE_INTERNAL_H
#define WEFT_REGISTRY_STORE_INTERNAL_H

#include <lmdb.h>
#include <pthread.h>

#include "base/core/list.h"
#include "base/core/map.h"
#include "registry/fsm.h"

#define STORE_READERS_MAX 512
#define STORE_MAP_BYTES_DEFAULT (1ull << 30)
#define STORE_HISTORY_DEFAULT 100000
/* A batch that has taken so much, the history with it, is committed before the next entry: a start
 * replays the whole log in one turn. */
#define STORE_BATCH_BYTES_MAX (4u << 20)
/* Room that the map has before each batch, for it cannot grow within one. For what entries bring:
 * of the last entry an operation of 20 bytes makes an object of 60, in half full pages, and a row
 * of 200 in the history, where who asked stands in each. For what they find: one entry may delete
 * all objects, and the history has each value twice; with the heads of its rows, and a page of its
 * own for a row that is longer than half of one, up to five times the pages of the objects, and a
 * copy of these. It is address space alone. */
#define STORE_MAP_ROOM_BYTES (10 * (uint64_t)(STORE_BATCH_BYTES_MAX + REG_ENTRY_BYTES_MAX))
#define STORE_MAP_ROOM_OBJECTS 6
/* Blocks of data.mdb that are ahead of a batch: for an operation, and for what every batch writes
 * (answers of clients, history that goes, LMDB's own). Roomy while the disk gives it; with the
 * least a batch still finds its place on a disk that is full. */
#define STORE_OP_BLOCKS_ROOMY (64u << 10)
#define STORE_OP_BLOCKS_LEAST (12u << 10)
#define STORE_SLACK_ROOMY (4u << 20)
#define STORE_SLACK_LEAST (512u << 10)
/* Damage that a scan does not meet ends the process when it is met, again and again. After so many
 * ends in a row without a proper close, none of which came to so many commits, it is rebuilt. */
#define STORE_UNCLEAN_MAX 2
#define STORE_SETTLED_COMMITS 256
/* Rows of history that one commit deletes at most: keeps the raft thread's turn short. */
#define STORE_COMPACT_ROWS_MAX 256

/* The one row of dbi meta; written in every transaction. */
struct store_meta {
    uint64_t applied_index, applied_term;
    uint64_t revision; /* last entry that changed something */
    uint64_t compacted;
    uint64_t state_hash;
    uint64_t genesis; /* state hash after the first change; 0 = nothing was ever written */
    uint32_t schema;
    uint32_t version; /* of the cluster; 0 = VERSION_OLDEST */
    uint64_t crc;     /* of what is before */
};
#define STORE_SCHEMA 4
void store_meta_seal(struct store_meta *m);
bool store_meta_read(MDB_val v, struct store_meta *ret);
/* The cluster's version by it; 0 = nothing was ever applied. */
unsigned store_meta_version(const struct store_meta *m);

struct store_answer {
    uint64_t sequence, revision, failed_rev;
    uint32_t code, failed_op; /* code: with STORE_ANSWER_REPLAYED */
};
#define STORE_ANSWER_REPLAYED 0x80000000u

/* Answers of one client that it may ask for again, by sequence. */
struct store_client {
    uint64_t id, settled, last_index;
    VEC(struct store_answer) answers;
    bool dirty;
};

/* quota.c: what namespaces have, counted while the rows of kv are gone through in their order.
 * Zeroed is empty. */
struct store_tally {
    VEC(struct store_tally_run) runs;      /* rows in a row that are of one namespace */
    VEC(struct store_tally_limit) limited; /* Namespaces */
};

/* From reg_store_open_begin to its end. While the helper checks all but the first two is its; while
 * it gives back, the image. */
struct store_opening {
    struct env_aside aside;
    bool checks; /* data.mdb is being looked at, or given back */
    bool ok;
    struct err err;
    struct slice image;
    struct store_tally tally;
};

struct reg_store {
    char dir[3072];
    struct reg_store_options opt;
    MDB_env *env;
    MDB_dbi dbi_meta, dbi_kv, dbi_hist, dbi_clients, dbi_once, dbi_once_by;
    MDB_dbi dbi_leases, dbi_lease_objects;
    struct store_meta meta; /* of the open batch; the writer's */
    uint64_t file_bytes;    /* so long is data.mdb, and the disk has blocks for all of it */
    uint64_t object_bytes;  /* pages of dbi kv after the last commit */
    bool found;             /* data.mdb was there when it was opened */
    unsigned unclean;       /* ends in a row that were no proper close; in the mark */
    unsigned commits;       /* counted while there are such */
    struct store_opening opening;
    bool begun; /* the mark is set aside: it is put back if nothing comes of it */
    MDB_txn *batch;
    bool batch_changed;
    uint64_t batch_bytes, batch_ops; /* of entries */
    uint64_t batch_beside;           /* bytes that it writes beside those: history, clients */
    uint64_t batch_used;             /* bytes of pages when it was opened */
    size_t client_count;
    struct store_client clients[REG_CLIENTS_MAX];
    /* Readers hold it shared for the life of a transaction; growing and replacing the map take it
     * alone. */
    pthread_rwlock_t map_lock;
    pthread_mutex_t quota_lock;
    struct map quotas;    /* quota.c: by namespace */
    size_t quota_limited; /* of them, those with a limit */
    size_t quota_full;    /* and those that were said to be full */
    pthread_mutex_t notify_lock;
    struct list notifies;
};

/* A record of dbi kv, decoded. */
struct store_record {
    uint64_t create_rev, mod_rev, version;
    struct slice value;
};

/* Bytes of a kv record: create, mod, version u64, crc32c u32 of key and all the rest, value. */
#define STORE_RECORD_HEAD 28
void store_record_write(char *dst, struct slice key, const struct store_record *r);
/* Ends the process when the checksum is wrong: the next start throws the cache away. */
struct store_record store_record_read(const struct reg_store *s, struct slice key, MDB_val v);
bool store_record_check(struct slice key, MDB_val v, struct store_record *ret);

static inline MDB_val store_val(struct slice s)
{
    return (MDB_val){.mv_size = s.n, .mv_data = (void *)(uintptr_t)s.p};
}
static inline struct slice store_slice(MDB_val v)
{
    return (struct slice){v.mv_data, v.mv_size};
}

/* Where data.mdb comes from: it was found, and may be cut; or its hash was right, and then it may
 * be short of pages that nothing refers to. */
enum store_image { STORE_FOUND, STORE_PROVED };
/* What the map must have left before a batch. */
uint64_t store_map_room(const struct reg_store *s);
/* Grows the map until it has twice that, and is at most half full. Readers must be out. */
int store_map_grow(struct reg_store *s);
bool store_map_open(struct reg_store *s, enum store_image image, struct err *err);
uint64_t store_used_bytes(const struct reg_store *s); /* all pages up to the last */
uint64_t store_dbi_bytes(MDB_txn *txn, MDB_dbi dbi);  /* pages that hold something of it */
/* Has the disk promise room for the open batch, or for a small one. LMDB writes into the map: where
 * there is no block behind a page, that would be a SIGBUS. */
bool store_blocks_reserve(struct reg_store *s, struct err *err);
void store_map_close(struct reg_store *s);
bool store_clients_load(struct reg_store *s, struct err *err);
void store_clients_fini(struct reg_store *s);
/* It has run for a while: what ended it before was not the file. After each commit. */
void store_settle(struct reg_store *s);
/* Leaves a mark that makes the next open rebuild, then ends the process. */
_Noreturn void store_doubt(const struct reg_store *s, const char *what);

/* Ends the process: LMDB could not do what (its rc). When it found damage the next start rebuilds.
 * A full disk is EIO to LMDB, so the message says what room there is. */
_Noreturn void store_die(const struct reg_store *s, const char *what, int rc);

/* once.c: requests with a key, and their answers; all of it a pure function of the log. false: none
 * is remembered at entry `index`. */
bool store_once_find(const struct reg_store *s, MDB_txn *txn,
                     const uint8_t key[REG_ONCE_HASH_BYTES], reg_rev index,
                     struct reg_once_answer *ret);
/* Remembers the request, number `sub` of entry `index`; forgets the oldest beyond the bounds. */
void store_once_put(struct reg_store *s, const struct reg_once *once, reg_rev index, uint32_t sub,
                    reg_rev revision);

/* lease.c. Does what operation i of the request says of leases hold, in an entry of this term? */
enum err_code store_lease_check(struct reg_store *s, const struct reg_request *q, size_t i,
                                uint64_t term);
/* The operation changed its object, as number `sub` of entry `index`. */
void store_lease_apply(struct reg_store *s, const struct reg_op *op, reg_rev index, uint32_t sub);
/* … or left it as it was, which is a sign of life of a lease all the same. */
void store_lease_same(struct reg_store *s, const struct reg_op *op);
/* Keys of the objects that go with the lease that the operation ends. */
struct slice *store_lease_falls(struct reg_store *s, const struct reg_op *op, struct arena *arena,
                                size_t *ret_n);

/* quota.c. Of what there is: after open and restore; after each change of an object. */
struct store_quota_sizes {
    bool was, is;
    size_t was_bytes; /* of the value before */
};
bool store_quota_load(struct reg_store *s, struct err *err);
/* Of struct store_tally; it replaces what the store counts. */
void store_tally_row(struct store_tally *t, struct slice key, struct slice value);
void store_tally_fini(struct store_tally *t);
void store_quota_take(struct reg_store *s, const struct store_tally *t);
void store_quota_fini(struct reg_store *s);
void store_quota_changed(struct reg_store *s, struct slice key, const struct store_quota_sizes *z,
                         struct slice value);
/* Does what the request adds fit? was: is the object there, and how long is its value? */
bool store_quota_allows(struct reg_store *s, const struct reg_request *q,
                        bool (*was)(struct reg_store *s, struct slice key, size_t *ret_bytes),
                        size_t *ret_failed);

/* history.c */
/* Bytes of pages that its row may take. */
uint64_t store_history_bytes(const struct reg_event *e);
void store_history_put(struct reg_store *s, uint32_t sub, const struct reg_event *e);
void store_history_compact(struct reg_store *s);

void store_notify_all(struct reg_store *s);

/* store_verify.c: every page and every row of a file of ours; a damaged one is ERR_CORRUPT. One
 * that has nothing yet is not for it. may_be_short: lmdb_check.h. tally: may be NULL. */
bool store_verify(const char *path, bool may_be_short, struct err *err);
/* The same in parts: to give a large map back takes its time too. */
bool store_image_map(const char *path, struct slice *ret, struct err *err);
void store_image_unmap(struct slice image);
bool store_verify_image(struct slice image, bool may_be_short, struct store_tally *tally,
                        struct err *err);
/* Rows, by the module that writes them: are their checksums right? Keys have the size that
 * store_verify.c's table of databases gives them. */
bool store_history_row_ok(MDB_val k, MDB_val v);
bool store_client_row_ok(MDB_val k, MDB_val v);
bool store_once_row_ok(MDB_val k, MDB_val v, uint64_t *ret_id);
bool store_lease_row_ok(MDB_val k, MDB_val v);
bool store_lease_object_row_ok(MDB_val k, MDB_val v);

/* checkpoint.c: SHA-256 and length of what is left to read of fd. */
bool store_digest(int fd, const char *path, struct reg_checkpoint *ret, struct err *err);

#endif
