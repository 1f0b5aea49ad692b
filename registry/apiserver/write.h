/* Changes on their way: one object or many, one registry write, so all or nothing; but a namespace
 * or collection with more objects than one entry holds is deleted in several. */
#ifndef WEFT_REGISTRY_APISERVER_WRITE_H
#define WEFT_REGISTRY_APISERVER_WRITE_H

#include "api/patch.h"
#include "registry/apiserver/internal.h"
#include "registry/lease.h"

enum item_verb {
    ITEM_CREATE,
    ITEM_UPDATE, /* replace; of what was read, when it names a resourceVersion */
    ITEM_APPLY,  /* create or replace spec, labels and annotations */
    ITEM_PATCH,
    ITEM_DELETE,
    ITEM_CHECK, /* a precondition: nothing is written */
    ITEM_VERB_COUNT,
};

/* Content types of PATCH that are taken. */
enum item_patch { ITEM_PATCH_MERGE, ITEM_PATCH_JSON, ITEM_PATCH_STRATEGIC };
/* What must be so before, beside what the verb itself asks for. */
enum item_need { ITEM_NEED_NOTHING, ITEM_NEED_ABSENT, ITEM_NEED_EXISTS };
enum item_result { ITEM_CREATED, ITEM_CONFIGURED, ITEM_UNCHANGED, ITEM_DELETED };

struct item {
    enum item_verb verb;
    enum item_patch patch;
    enum api_sub sub;
    const struct kind *kind;
    struct slice ns, name;
    json_t *input;    /* object or patch; owned */
    reg_rev expected; /* by the client; 0 = none */
    enum item_need need;
    struct slice uid; /* likewise; empty = none */
    bool held;        /* checked now, written in a later entry */
    bool grants;      /* it is a lease; filled by item_lease, like the two below */
    struct reg_grant grant;
    struct slice attach; /* key of the lease that it lives on; empty = by itself */
    /* Filled by item_prepare. */
    struct slice key;
    json_t *before, *after; /* owned; NULL = not there */
    reg_rev before_rev;
    enum item_result result;
};

#define WRITE_ITEMS_MAX REG_REQUEST_OPS_MAX

struct write {
    struct list_node node;
    struct apiserver *srv;    /* NULL: the server is gone */
    struct http_request *req; /* NULL: the client is gone */
    struct arena arena;       /* of texts that outlive the request */
    VEC(struct item) items;   /* the client's; behind them what deletions take along */
    size_t given;             /* the client's; of a batch, its preconditions are the last */
    size_t checks_from;       /* the first precondition; of a batch */
    struct kind_report report;
    struct item *refused; /* whose report it is */
    int unknown_fields;
    bool dry_run, table, batch;
    struct slice version; /* of the answer's apiVersion */
    unsigned tries;
    bool confirmed;     /* by the leader: this node has everything that a refusal may depend on */
    struct err refusal; /* while it is confirmed or remembered */
    char origin[REG_ORIGIN_BYTES_MAX]; /* who asks, for the history */
    size_t origin_n;
    struct slice fence; /* key of the lease whose holder writes; empty = no fence */
    uint64_t fence_epoch;
    bool keyed; /* with an Idempotency-Key */
    struct reg_once once;
    struct buf memo;
    struct reg_write reg;
    struct reg_op *ops;
    size_t op_count;
    bool written; /* what the operations say is what is stored */
    struct buf values;
    struct api_call *deletion; /* of the request; NULL: no deletion, or one in a batch */
    bool left;                 /* the deletion goes on in another entry */
    /* Answers when everything is done. */
    void (*done)(struct write *w, reg_rev revision);
};

/* Bound to the request: freed when it is answered and the registry is through with it. NULL: too
 * many are under way, and the request was answered so. */
struct write *write_new(struct apiserver *s, struct http_request *req);
struct item *write_item(struct write *w);
void write_items_cut(struct write *w, size_t n); /* drops all but the first n */
/* Adds what deletions take along (expand.c). Of more than an entry holds: a deletion of its own
 * goes on in another entry (`left`), a batch is refused. */
bool write_expand(struct write *w, struct reg_txn *txn, struct err *err);
/* Looks whether it has a key, then runs it. */
void write_start(struct write *w);
/* Reads, merges, defaults, validates, proposes; answers in the end. */
void write_run(struct write *w);
/* Answers with the failure (or with w->report, when an object was refused) and ends the write. */
void write_refuse(struct write *w, const struct err *err);
/* Answers with a failure; the write goes on. */
void write_answer_err(struct write *w, const struct err *err);
/* The header weft-revision. */
void write_say_revision(struct write *w, reg_rev revision);

/* lease.c. */

/* What the object's next state says of leases: of a Lease the grant, whose epoch goes into the
 * object; of another the lease that it lives on. CONFLICT: somebody else holds it; NOT_FOUND: the
 * lease to live on is not held. */
bool item_lease(struct write *w, struct item *it, struct reg_txn *txn, json_t *next,
                struct err *err);
/* Reads the header weft-fence, if there is one. */
bool write_fence(struct write *w, struct err *err);

/* once.c. */

/* Reads the request's Idempotency-Key, if it has one. After dry_run is known. */
bool write_key(struct write *w, struct err *err);
/* For the registry: NULL without a key, or while more entries follow. Valid until the next call. */
const struct reg_once *write_once(struct write *w);
const struct reg_once *write_once_refused(struct write *w, const struct err *err);
/* Was it answered before, as far as this node knows? Then it is answered again, by the same or that
 * the key was used for something else: the write is over. */
bool write_replay(struct write *w, struct reg_txn *txn);

/* "items[3]", "preconditions[0]". */
struct slice write_item_label(struct write *w, const struct item *it);
/* In a batch: puts "items[3]." before the fields of the report's problems from the given one on. */
void write_name_problems(struct write *w, const struct item *it, size_t from);
/* Reads the object's present state and makes the next one. false and err (or w->report). */
bool item_prepare(struct write *w, struct item *it, struct reg_txn *txn, struct err *err);
/* Each object against everything else as it will be (api/analyze.h); false: w->refused is, in
 * w->report. After all items are prepared. */
bool write_analyze(struct write *w, struct reg_txn *txn);

#endif
