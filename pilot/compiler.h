/* The builder: keeps the service model in memory, compiles it for every class of proxies that has a
 * session and publishes snapshots (pilot/snapshot/snapshot.h).
 *
 *   struct compiler *c = compiler_start(&(struct compiler_options){.store = store}, &err);
 *   … workers: compiler_class_acquire, compiler_watch_open, compiler_snapshot …
 *   compiler_stop(c);
 *
 * It runs on a thread of its own, wakes by reg_notify, takes all changes that are there (so it
 * coalesces when it is behind) and recompiles what read them. It reads the registry and nothing
 * else.
 */
#ifndef WEFT_PILOT_COMPILER_H
#define WEFT_PILOT_COMPILER_H

#include "base/core/metric.h"
#include "pilot/snapshot/snapshot.h"

struct compiler;
struct env;

struct compiler_options {
    struct reg_store *store;
    struct slice root_ns;    /* namespace of mesh-wide defaults; empty = "istio-system" */
    struct slice cluster_id; /* in the endpoints' metadata; empty = "Kubernetes" */
};

/* NULL and err when the thread or the first read fails. */
struct compiler *compiler_start(const struct compiler_options *opt, struct err *err);
/* All watches are closed and nobody acquires any more. Snapshots that are still held stay valid.
 * NULL is fine. */
void compiler_stop(struct compiler *c);

/* Cells of the builder's thread; write them with metric_write_text from any thread. */
struct metric_set *compiler_metrics(struct compiler *c);

/* Objects that could not be used, wholly or in part: one never blocks the others. fn is called
 * under a lock, slices are borrowed until it returns; in no order. Any thread. */
void compiler_issues(struct compiler *c,
                     void (*fn)(void *ctx, struct slice key, struct slice message), void *ctx);

/* For workers, from any thread. */

/* Finds or registers the class. The view may not exist yet in the current snapshot; the next one
 * has it (a registration wakes the builder). Give back when the last session of it ends; the
 * builder forgets classes without sessions after a while. */
uint64_t compiler_class_acquire(struct compiler *c, const struct proxy_class_input *in);
void compiler_class_release(struct compiler *c, uint64_t class_id);

/* Latest snapshot (a reference) or NULL before the first. Any thread. */
struct xds_snapshot *compiler_snapshot(struct compiler *c);
/* fn on env's thread after each publication, coalesced. */
struct compiler_watch;
struct compiler_watch *compiler_watch_open(struct compiler *c, struct env *env,
                                           void (*fn)(void *ctx), void *ctx);
void compiler_watch_close(struct compiler_watch *w);

/* For tests of the workers. */

/* A compiler without registry and thread: equal class inputs get equal ids (1, 2, …), and the
 * snapshots are the caller's. Ends with compiler_stop. */
struct compiler *compiler_new_manual(void);
/* Publishes and wakes the watchers; takes the reference. */
void compiler_publish(struct compiler *c, struct xds_snapshot *take_snapshot);

#endif
