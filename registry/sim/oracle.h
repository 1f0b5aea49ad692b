/* What must be true of a registry cluster, judged from outside: a slow and obvious model that is
 * fed with what the nodes apply, and asked about everything that they answer.
 *
 *   oracle_applied(o, node, index, term, entry)     every entry, on every node
 *   oracle_acked / oracle_refused(o, op, …)         every answer to a client
 *   oracle_watch(o, cursor, event)                  every event of a watch
 *
 * The first violation is kept as text; the run ends with it. All memory is the world's. */
#ifndef WEFT_REGISTRY_SIM_ORACLE_H
#define WEFT_REGISTRY_SIM_ORACLE_H

#include "base/core/map.h"
#include "registry/command.h"

/* A key after one of its changes. */
struct oracle_version {
    reg_rev rev, create_rev;
    uint64_t version;
    bool deleted;
    struct slice value; /* of a deletion: the last one */
    struct slice shown; /* as the API shows it; made when it is asked for */
};

/* A lease, as the model has it. */
struct oracle_lease {
    bool there, registration;
    struct slice holder; /* owned; empty: nobody */
    uint64_t epoch, ttl_ms;
    int64_t vouched; /* world time of the newest sign of life, grants too, that was answered */
};

struct oracle_key {
    struct slice key;
    VEC(struct oracle_version) versions;
    struct oracle_lease lease;
    struct oracle_key *on; /* the lease that it hangs on */
};

struct oracle_keys {
    VEC(struct oracle_key *) v;
};

struct oracle_event {
    reg_rev rev;
    struct oracle_key *key;
    size_t version; /* index in key->versions */
};

struct oracle_entry {
    bool applied, hashed;
    uint64_t term, bytes_hash, state_hash;
};

/* A write of a client; its number stands at the start of each of its values: "v17.…", or, of a
 * write through the API, in its origin: "sim/17". */
struct oracle_op {
    reg_rev rev;  /* where it had an effect; 0 = nowhere so far */
    bool refused; /* the client was told that nothing was done */
    bool acked;
};

struct oracle_term {
    uint64_t leader;
    int64_t since; /* world time */
};

struct oracle {
    VEC(struct oracle_entry) entries; /* by index */
    VEC(struct oracle_event) events;
    VEC(struct oracle_op) ops;
    VEC(struct oracle_term) terms;
    VEC(struct oracle_key *) keys;
    VEC(struct oracle_key *) api_keys; /* of ORACLE_API_PREFIX, in order */
    VEC(size_t) api_events;            /* theirs: positions in events */
    struct map by_key, executed, settled, once;
    reg_rev last; /* highest index applied by anybody */
    reg_rev revision;
    unsigned version; /* of the cluster: the highest of any entry; 0 = none yet */
    int64_t now;      /* world time, ns; kept by whoever feeds it */
    uint64_t epoch_floor, expiries;
    char violation[512]; /* "" = none */
};

void oracle_init(struct oracle *o);
void oracle_fini(struct oracle *o);
/* Keeps the first. */
void oracle_fail(struct oracle *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A node applies an entry; `before` is what it had applied until then (0: not known). */
void oracle_applied(struct oracle *o, const char *node, reg_rev before, reg_rev index,
                    uint64_t term, struct slice entry);
/* … and has this state hash then. */
void oracle_hash(struct oracle *o, const char *node, reg_rev index, uint64_t state_hash);
void oracle_leads(struct oracle *o, uint64_t id, uint64_t term);

/* A new write; its number. */
uint64_t oracle_op_new(struct oracle *o);
/* `op` was answered with a revision, or told that nothing was done. */
void oracle_acked(struct oracle *o, uint64_t op, reg_rev rev);
void oracle_refused(struct oracle *o, uint64_t op, const char *why);

/* The key at a revision; NULL = it does not exist then. */
const struct oracle_version *oracle_at(struct oracle *o, struct slice key, reg_rev rev);
/* What a read gave (found NULL: nothing) at a revision. */
void oracle_read(struct oracle *o, const char *node, struct slice key, reg_rev rev,
                 const struct reg_object *found);
/* Objects that exist at a revision. */
size_t oracle_count(struct oracle *o, reg_rev rev);
/* Position of the first event after a revision; events are compared one by one from there. */
size_t oracle_after(const struct oracle *o, reg_rev rev);
void oracle_event_is(struct oracle *o, const char *node, size_t at, const struct reg_event *e);

/* oracle_api.c: what the API must answer, byte by byte. */

/* The objects that clients of the API write and read. */
#define ORACLE_API_PREFIX "workloadentries.networking.istio.io/"
#define ORACLE_API_PATH "/apis/networking.istio.io/v1/"
#define ORACLE_API_VERSION "networking.istio.io/v1"
#define ORACLE_API_KIND "WorkloadEntry"

/* The object after that change. Of a deletion: as it was, with the revision of the deletion. */
struct slice oracle_shown(struct oracle_key *k, size_t version);
/* … at a revision; empty = it does not exist then. */
struct slice oracle_shown_at(struct oracle *o, struct slice key, reg_rev rev);
/* The answer to a list of prefix at rev, of up to `limit` objects behind `after`. Appends. */
void oracle_shown_list(struct oracle *o, struct slice prefix, struct slice after, size_t limit,
                       reg_rev rev, struct buf *out);
/* Position in api_events of the first after rev. */
size_t oracle_api_after(const struct oracle *o, reg_rev rev);
/* The first at or behind a position that prefix selects; api_events.n = none. */
size_t oracle_api_next(const struct oracle *o, size_t at, struct slice prefix);
const struct oracle_event *oracle_api_event(const struct oracle *o, size_t at);
/* The line of a watch for that event. Appends. */
void oracle_shown_event(const struct oracle_event *e, struct buf *out);
/* What the writer put into the object: "v17.xxx"; empty = nothing, or no object. */
struct slice oracle_mark(const struct oracle_version *v);
/* For oracle.c. */
void oracle_api_key_add(struct oracle *o, struct oracle_key *k);

/* oracle_lease.c */

/* A sign of life sent at `sent` was answered: the lease is not to expire for a TTL from then. */
void oracle_vouched(struct oracle *o, struct slice lease, uint64_t epoch, int64_t sent);
/* The first lease that somebody holds; NULL = none. */
const struct oracle_key *oracle_held(const struct oracle *o);
/* For oracle.c. */
bool oracle_lease_allowed(struct oracle *o, const struct reg_op *op, uint64_t term);
void oracle_lease_apply(struct oracle *o, struct oracle_key *k, const struct reg_op *op);
/* Objects that go with the lease that op ends, by key; vec of the caller. */
void oracle_lease_falls(struct oracle *o, const struct reg_op *op, struct oracle_keys *ret);
void oracle_lease_fini(struct oracle_key *k);
struct oracle_key *oracle_key_of(struct oracle *o, struct slice key);

#endif
