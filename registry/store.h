/* The replicated state, as readers on any thread see it: LMDB as a cache of the Raft log.
 *
 *   struct reg_txn t;
 *   if (!reg_txn_begin(store, &t, &err)) …
 *   struct reg_object o;
 *   if (reg_get(&t, S("virtualservices.networking.istio.io/default/reviews"), &o)) use(o.value);
 *   reg_txn_end(&t);
 *
 * Keys are "<resource>.<group>/<namespace>/<name>" (core group: "services/<ns>/<name>";
 * cluster-scoped kinds: empty namespace, "namespaces//<name>"), at most REG_KEY_BYTES_MAX bytes.
 * Values are the object's canonical JSON without metadata.resourceVersion: readers add it from
 * mod_rev. A revision is the Raft log index of the entry that made it. Several requests that are
 * packed into one entry share its revision.
 */
#ifndef WEFT_REGISTRY_STORE_H
#define WEFT_REGISTRY_STORE_H

#include "base/core/err.h"
#include "base/core/slice.h"

typedef uint64_t reg_rev;

#define REG_KEY_BYTES_MAX 480
#define REG_VALUE_BYTES_MAX (1024u * 1024u)
#define REG_REQUEST_BYTES_MAX (1536u * 1024u)
#define REG_REQUEST_OPS_MAX 1024

/* What makes a write happen once, however often it is asked for: hashes of the name that a client
 * gave it and of what it asks for, and what to remember of the answer beside its revision. The last
 * REG_ONCE_MAX are remembered, for REG_ONCE_ENTRIES log entries at most. */
#define REG_ONCE_HASH_BYTES 16
#define REG_MEMO_BYTES_MAX 1536
#define REG_ONCE_MAX 16384
#define REG_ONCE_ENTRIES 1000000
struct reg_once {
    uint8_t key[REG_ONCE_HASH_BYTES], digest[REG_ONCE_HASH_BYTES];
    struct slice memo; /* at most REG_MEMO_BYTES_MAX */
};
/* Who asks for a write, for the history: at most so many bytes of text. */
#define REG_ORIGIN_BYTES_MAX 128

struct reg_store;

/* One consistent view, of one thread. Hold it for less than a second: a reader pins freed pages. */
struct reg_txn {
    struct reg_store *store;
    void *mdb;
    reg_rev revision;  /* index of the last entry that changed something */
    reg_rev compacted; /* history at and before it is gone */
};

/* Borrowed from the transaction. */
struct reg_object {
    struct slice key, value;
    reg_rev create_rev, mod_rev;
    uint64_t version; /* writes of this key since it was created, from 1 */
};

bool reg_txn_begin(struct reg_store *store, struct reg_txn *ret_txn, struct err *err);
void reg_txn_end(struct reg_txn *txn);

bool reg_get(struct reg_txn *txn, struct slice key, struct reg_object *ret_object);
/* Objects whose key starts with prefix and is greater than `after` (empty = from the first), in key
 * order, until fn returns false. */
void reg_scan(struct reg_txn *txn, struct slice prefix, struct slice after,
              bool (*fn)(void *ctx, const struct reg_object *o), void *ctx);

/* What was answered to the first write of that key, borrowed from the transaction; false: none is
 * remembered (here; a node that is behind may not know of one yet). */
struct reg_once_answer {
    uint8_t digest[REG_ONCE_HASH_BYTES];
    reg_rev revision;
    struct slice memo;
};
bool reg_once_get(struct reg_txn *txn, const uint8_t key[REG_ONCE_HASH_BYTES],
                  struct reg_once_answer *ret);

/* One change. A deletion carries the last value (watchers need it). `prev_mod_rev` is 0 for a
 * creation. */
struct reg_event {
    reg_rev revision;
    bool deleted;
    struct reg_object object; /* mod_rev == revision also for a deletion */
    reg_rev prev_mod_rev;
    int64_t wall_ms;         /* the leader's clock at the entry; 0 = not known (written by 0.1) */
    struct slice origin;     /* as the writer gave it; empty = not known */
    struct slice prev_value; /* value before the change: label selectors of a watch need it */
};

enum reg_history { REG_HISTORY_OK, REG_HISTORY_COMPACTED };
/* Every change with from < revision <= txn->revision, in order, until fn returns false. COMPACTED
 * when from < txn->compacted: the caller lists again (HTTP 410). This is the watch: reg_notify
 * wakes, this reads; a slow reader costs nobody anything. */
enum reg_history reg_changes(struct reg_txn *txn, reg_rev from,
                             bool (*fn)(void *ctx, const struct reg_event *e), void *ctx);

/* The same of a part: from < revision <= to, keys that start with prefix, or that one key. Looks at
 * every change between the two, but reads only those. */
struct reg_range {
    reg_rev from, to;
    struct slice prefix; /* empty: all keys */
    bool whole;          /* prefix is a whole key */
};
enum reg_history reg_changes_in(struct reg_txn *txn, const struct reg_range *r,
                                bool (*fn)(void *ctx, const struct reg_event *e), void *ctx);

/* The state as it was at a revision of the window: what is there now, less what came later.
 *
 *   struct reg_past *past;
 *   if (reg_past_open(&t, 41, S("services/"), &past) == REG_HISTORY_COMPACTED) …410
 *   if (reg_past_get(past, key, &o)) …
 *   reg_past_free(past);
 *
 * at: txn->compacted <= at; from txn->revision on it is the present. Of keys that start with
 * prefix. Lives within the transaction. */
struct reg_past;
enum reg_history reg_past_open(struct reg_txn *txn, reg_rev at, struct slice prefix,
                               struct reg_past **ret_past);
bool reg_past_get(struct reg_past *past, struct slice key, struct reg_object *ret_object);
/* As reg_scan. */
void reg_past_scan(struct reg_past *past, struct slice prefix, struct slice after,
                   bool (*fn)(void *ctx, const struct reg_object *o), void *ctx);
void reg_past_free(struct reg_past *past);

/* Wake-ups. fn runs on env's thread after each applied batch, coalesced: at most one is pending. */
struct env;
struct reg_notify;
struct reg_notify *reg_notify_open(struct reg_store *store, struct env *env,
                                   void (*fn)(void *ctx, reg_rev revision), void *ctx);
/* From now on fn comes at the earliest `ms` after it came last: the first change after a quiet time
 * is told at once, a stream of them costs one wake-up every `ms`. On the thread of env, and
 * reg_notify_close then too. */
void reg_notify_pause(struct reg_notify *n, int64_t ms);
void reg_notify_close(struct reg_notify *n);

/* State hash (rolling over applied operations): equal on all nodes at an equal revision. */
uint64_t reg_state_hash(struct reg_txn *txn);

#endif
