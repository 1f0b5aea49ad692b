/* The public API: the Kubernetes API's shape over the registry, so that kubectl, GitOps tools and
 * our own CLI are all the same kind of client. Plain HTTP, loopback only, until identity lands.
 *
 *   const struct apiserver_options o = {.env = env, .node = node, …};
 *   struct apiserver *s = apiserver_new(&o, &err);
 *   …
 *   apiserver_close(s, 2000, on_closed, ctx);
 *   apiserver_free(s);
 *
 * What it serves: discovery, OpenAPI v3, get, list, watch, create, update, merge, JSON and
 * strategic merge patch, delete, status subresource, Table, dry run, field validation, Warning
 * headers, Status errors; resourceVersion is the revision, resourceVersionMatch=Exact reads a past
 * one (410 beyond the history). Beside it, /weft/v1: status, members and their changes
 * (members.c), wait, transaction (batch.c), history and diff (history.c), proxies and their
 * configuration.
 *
 * Reads are answered from this node's state, at once; `consistency=linearizable` first makes sure
 * with the leader that it has everything that was committed before the question (no log write), and
 * `consistency=bounded&maxStalenessMs=N` does so when it may be older than that. Each answer says
 * in headers what it shows: weft-revision, weft-leader ("none": there is none known),
 * weft-staleness-ms (how long ago this node last knew that it had everything, or "unknown").
 *
 * A write goes to the leader and is answered when it is applied here. What this node's state
 * refuses is looked at again with everything that is committed, so that a node that is behind
 * refuses nothing wrongly. With a header Idempotency-Key (1 to 128 printable characters) it is done
 * once, however often it is sent, to whichever node, also after a restart, and answered as the
 * first time (header idempotent-replayed), 409 and 404 included; another request with the same key
 * is a 422. What is wrong with the request itself (400, 422) takes no key up, nor does a dry run.
 * The last REG_ONCE_MAX keys are remembered (store.h). A warning is not repeated.
 */
#ifndef WEFT_REGISTRY_APISERVER_APISERVER_H
#define WEFT_REGISTRY_APISERVER_APISERVER_H

#include "base/core/metric.h"
#include "registry/node.h"

struct apiserver;

/* What the mesh knows and the registry does not: who has which revision. Supplied by weftd. All
 * functions are called on the server's env; answers are JSON texts, borrowed until the callback
 * returns. */
struct api_mesh {
    void *ctx;
    /* Answers when every proxy has `revision`, or at the timeout with what is missing: status 200
     * or 504. NULL handle = answered already. cancel: the client is gone. */
    void *(*wait)(void *ctx, reg_rev revision, wf_ms timeout,
                  void (*fn)(void *arg, int status, struct slice json), void *arg);
    void (*wait_cancel)(void *ctx, void *handle);
    /* {"items":[…]}: every proxy of the mesh with its state. */
    void (*proxies)(void *ctx, void (*fn)(void *arg, int status, struct slice json), void *arg);
    /* Names, versions, states and bodies of what a proxy was given; it may hang on another node. */
    void (*proxy_config)(void *ctx, struct slice proxy, struct slice type,
                         void (*fn)(void *arg, int status, struct slice json), void *arg);
    /* {"live":6,"total":6,"revision":41,…} for /weft/v1/status. */
    void (*summary)(void *ctx, struct buf *out);
};

struct apiserver_options {
    struct env *env;
    struct reg_node *node;
    struct env_addr at;
    const struct api_mesh *mesh; /* copied; NULL = no proxies are known */
    wf_ms write_timeout;         /* default 5,000 */
    wf_ms bookmark_interval;     /* of a watch that wants them; default 30,000 */
    wf_ms request_timeout;       /* from a request's first byte to its last; 0 = the server's */
    wf_ms stall_timeout;         /* an answer of which nothing is taken; likewise */
};

/* NULL and err: the address is taken or is not loopback. */
struct apiserver *apiserver_new(const struct apiserver_options *opt, struct err *err);
const struct env_addr *apiserver_addr(const struct apiserver *s);
/* As of now. On env's thread. */
struct metric_set *apiserver_metrics(struct apiserver *s);
/* Takes no more requests; lets those under way end, for at most grace ms. on_closed may be NULL. */
void apiserver_close(struct apiserver *s, wf_ms grace, void (*on_closed)(void *ctx), void *ctx);
/* At any time, on env's thread: clients are cut, and what the registry still does for them is done
 * without an answer (env turns or ends after it). NULL is fine. */
void apiserver_free(struct apiserver *s);

#endif
