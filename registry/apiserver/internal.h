/* Shared by the files of the API server only.
 *
 *   call.c       path and query -> struct api_call, dispatch
 *   respond.c    objects, lists, Table, Status
 *   read.c       get and list          watch.c    watch
 *   write.c      changes               batch.c    many in one request
 *   item.c       what one becomes      expand.c   what deletions take along
 *   once.c       writes with a key     lease.c    leases: grants, fences, signs of life
 *   history.c    changes, differences  consistency.c  how fresh a read is
 *   discovery.c  what there is         mesh.c     /weft/v1
 *   members.c    who belongs to the control plane
 *   tokens.c     tokens with which a node joins it
 *   snapshot.c   snapshot files
 */
#ifndef WEFT_REGISTRY_APISERVER_INTERNAL_H
#define WEFT_REGISTRY_APISERVER_INTERNAL_H

#include <jansson.h>

#include "api/kind.h"
#include "base/net/http_server.h"
#include "base/net/uri.h"
#include "base/wire/json.h"
#include "registry/apiserver/apiserver.h"
#include "registry/apiserver/select.h"

#define API_CONNECTIONS_MAX 16384
#define API_WATCHES_MAX 12288
#define API_WATCH_QUEUED_MAX (16u * 1024) /* bytes unsent: the watch waits, the history keeps */
#define API_BOOKMARK_MS 30000
#define API_WAIT_MS_MAX (24 * 3600 * 1000)
#define API_WRITES_MAX 4096 /* under way, also of clients that have gone meanwhile */
#define API_LIST_MAX 5000   /* objects of one answer; more by limit and continue */
#define API_WRITE_RETRIES 8
#define API_WARNINGS_MAX 16
#define API_KEY_BYTES_MAX 128 /* of Idempotency-Key */
#define API_INDEXES_MAX 1024  /* reads that wait for the leader */
#define API_HISTORY_DEFAULT 50
#define API_HISTORY_MAX 1000                      /* changes of one answer */
#define API_DIFF_MAX 5000                         /* objects of one answer */
#define API_HISTORY_BYTES_MAX (16u * 1024 * 1024) /* values of one answer, as they are stored */
#define API_SNAPSHOTS_MAX 2                       /* being copied or sent */
#define API_SNAPSHOT_CHUNK_BYTES (64u * 1024)
#define API_SNAPSHOT_QUEUED_MAX (512u * 1024) /* bytes unsent: then the client is waited for */
#define API_STALE_WARN_MS 2000                /* without a leader: older than any election takes */
#define API_STALENESS_MS_MAX (24 * 3600 * 1000)
#define API_CHANGES_MAX 16 /* of members, under way */
#define API_CHANGE_MS_MAX 60000

/* Cells of the server's metrics. */
struct api_cells {
    struct metric *watches, *watch_events, *watches_refused, *watches_blocked, *watch_lag;
    struct metric *writes, *writes_refused;
    struct metric *reads_refused;
};

/* The line of the newest event as watches without a selector get it: made once, whoever watches. */
struct api_line {
    reg_rev revision; /* 0 = none */
    struct buf key, version, text;
};

struct apiserver {
    struct apiserver_options opt;
    struct api_mesh mesh;
    struct env *env;
    struct reg_store *store;
    struct http_server *http;
    struct reg_notify *notify;
    struct api_line line;
    struct list watches, waiters; /* struct api_watch; reads that wait for a revision */
    size_t watch_count;
    struct list writes; /* struct write under way, with or without a client */
    size_t write_count;
    struct list indexes; /* struct api_index: reads that wait for the leader, likewise */
    size_t index_count;
    struct list changes; /* of members, under way, with or without a client */
    size_t change_count;
    struct list snapshots; /* struct api_snapshot */
    size_t snapshot_count;
    struct metric_set *metrics;
    struct api_cells cells;
    int64_t started_wall_ms;
};

enum api_sub { API_SUB_NONE, API_SUB_STATUS };
/* sendInitialEvents of a watch. */
enum api_initial { API_INITIAL_UNSAID, API_INITIAL_NO, API_INITIAL_YES };
/* resourceVersionMatch. */
enum api_match { API_MATCH_UNSAID, API_MATCH_NOT_OLDER, API_MATCH_EXACT };

enum api_consistency { API_LOCAL, API_BOUNDED, API_LINEARIZABLE };
struct api_freshness {
    enum api_consistency level;
    wf_ms bound; /* of API_BOUNDED */
};

/* A request on objects, decoded. Lives in the request's arena. */
struct api_call {
    struct apiserver *srv;
    struct http_request *req;
    const struct kind *kind;
    struct slice version, ns, name; /* ns empty: all namespaces, or a kind without */
    enum api_sub sub;
    bool watch, table, dry_run, bookmarks;
    enum api_initial initial_events;
    enum api_match match;
    int unknown_fields; /* enum of struct kind_check */
    reg_rev at;         /* resourceVersion; 0 = any */
    bool at_given;
    struct api_freshness fresh;
    uint64_t limit;
    struct slice cont;
    wf_ms timeout;
    struct selector selector;
};

/* respond.c. */

/* The object as clients see it: resourceVersion from mod_rev, apiVersion as asked. New reference;
 * NULL = the stored bytes are no JSON, which ends the process: they were ours. */
json_t *api_object(const struct api_call *c, const struct reg_object *o);
json_t *api_object_as(const struct kind *k, struct slice version, const struct reg_object *o);
/* Answers; the request is gone after it. */
void api_respond_json(struct http_request *req, int status, const json_t *body);
void api_respond_text(struct http_request *req, int status, struct slice json);
/* An object as it is stored, at its revision. false: it is not as we write it; nothing was said. */
bool api_respond_stored(struct http_request *req, int status, struct slice value, reg_rev revision);
void api_respond_object(const struct api_call *c, int status, const json_t *object);
/* A Kubernetes Status; code from the err table, details from the call (may be NULL). */
void api_respond_err(struct http_request *req, const struct api_call *c, const struct err *err);
/* 422 with a cause a problem. */
void api_respond_invalid(struct http_request *req, const struct kind *k, struct slice name,
                         const struct kind_report *report);
/* Status of a deletion. */
void api_respond_deleted(const struct api_call *c);
json_t *api_status(const struct api_call *c, const struct err *err);
void api_warn(struct http_request *req, struct slice text);
void api_report_warnings(struct http_request *req, const struct kind_report *report);

/* read.c. */

/* Of the keys of the collection: kind, and namespace where one is named. */
struct slice api_prefix(const struct api_call *c);
bool api_key(const struct api_call *c, struct slice *ret_key, struct err *err);
/* The state at a revision; 410 and the oldest revision when it is too old. */
bool api_past_open(struct reg_txn *txn, reg_rev at, struct slice prefix, struct reg_past **ret_past,
                   struct err *err);
/* Fills err with Kubernetes' sentence. */
void api_not_found(const struct api_call *c, struct err *err);

/* consistency.c. */

/* consistency and maxStalenessMs of the query. */
bool api_consistency_parse(struct http_request *req, struct api_freshness *ret, struct err *err);
/* Runs fn(ctx), at once or in a later turn, when this node's state is as fresh as wanted; or
 * answers the request with 503 or 504. ctx lives as long as the request. */
void api_when_fresh(struct apiserver *s, struct http_request *req, const struct api_freshness *want,
                    void (*fn)(void *ctx), void *ctx);
/* How long ago this node last knew that it had everything; -1: it never did. */
wf_ms api_staleness(const struct apiserver *s, const struct reg_status *st);
/* Headers of an answer: weft-revision, that of the state it shows; weft-leader, whom this node
 * follows, or "none"; weft-staleness-ms, how long ago this node last knew that it had everything,
 * or "unknown". Warns when there has been no leader for a while. */
void api_say_freshness(struct apiserver *s, struct http_request *req, reg_rev revision);
/* The server ends: who waits for the leader is told so. */
void api_indexes_leave(struct apiserver *s);

/* The parts. */

void api_read_get(struct api_call *c);
void api_read_list(struct api_call *c);
void api_watch_open(struct api_call *c);
void api_watches_wake(struct apiserver *s);
void api_watches_measure(struct apiserver *s);
void api_line_fini(struct api_line *l);
void api_write_create(struct api_call *c);
void api_write_update(struct api_call *c);
void api_write_patch(struct api_call *c);
void api_write_delete(struct api_call *c);
void api_delete_collection(struct api_call *c);
/* The server ends: what is under way is told so. */
void api_writes_leave(struct apiserver *s);
void api_history(struct apiserver *s, struct http_request *req);
void api_diff(struct apiserver *s, struct http_request *req);
void api_leases_renew(struct apiserver *s, struct http_request *req);
void api_leases_approve(struct apiserver *s, struct http_request *req);
void api_batch(struct apiserver *s, struct http_request *req);
void api_snapshot(struct apiserver *s, struct http_request *req);
/* The server ends, and then the store may: blocks until nobody copies it. */
void api_snapshots_leave(struct apiserver *s);
/* true when the path was one of discovery's. */
bool api_discovery(struct apiserver *s, struct http_request *req);
/* mesh.c: "follower", "leader", … */
const char *api_role_name(enum reg_role role);
/* "10s", "1m30s" or a bare number of seconds; up to API_WAIT_MS_MAX. */
bool api_duration_parse(struct slice text, wf_ms *ret);
/* POST jointokens */
void api_tokens(struct apiserver *s, struct http_request *req);
/* path: behind /weft/v1/, it begins with "members". false: nothing is served there. */
bool api_members(struct apiserver *s, struct http_request *req, struct slice path);
json_t *api_members_json(const struct reg_status *st);
/* The server ends: changes under way go on without it. */
void api_changes_leave(struct apiserver *s);
bool api_mesh_request(struct apiserver *s, struct http_request *req);
void api_dispatch(struct apiserver *s, struct http_request *req);
/* Runs fn(call) when this node has applied `at`, or answers 504 after a while. */
void api_when_applied(struct api_call *c, void (*fn)(struct api_call *c));
void api_waiters_wake(struct apiserver *s, reg_rev revision);

#endif
