/* The xDS server: gRPC streams on one port, served by several workers. Each worker has its own loop
 * and its own sessions (pilot/ads/session.h); they share the compiler's snapshots and nothing else.
 *
 *   struct ads_server *s = ads_server_start(&(struct ads_server_options){
 *       .compiler = c, .convergence = cv, .addr = addr, .identifier = S("weftd/n1")}, &err);
 *   …
 *   ads_server_stop(s);
 *
 * Plaintext, so it binds loopback addresses only.
 */
#ifndef WEFT_PILOT_ADS_SERVER_H
#define WEFT_PILOT_ADS_SERVER_H

#include "base/core/metric.h"
#include "pilot/convergence.h"
#include "pilot/snapshot/snapshot.h"

struct ads_server;

struct ads_server_options {
    struct compiler *compiler;
    struct convergence *convergence; /* NULL: nobody asks */
    struct env_addr addr;            /* port 0: any, see ads_server_addr */
    unsigned workers;                /* threads; default 2 */
    struct slice identifier;         /* ControlPlane.identifier: "weftd/n1"; copied */
};

/* Returns when all workers listen. NULL and err: an address that is not loopback or cannot be
 * bound, no threads. */
struct ads_server *ads_server_start(const struct ads_server_options *opt, struct err *err);
/* Ends the streams (OK, once what is being written is out; at most ADS_SERVER_DRAIN_MS), joins the
 * workers. NULL is fine. */
void ads_server_stop(struct ads_server *s);
const struct env_addr *ads_server_addr(const struct ads_server *s);

/* Who has what. */

enum ads_query_kind {
    ADS_QUERY_PROXIES, /* all: [{"name": …, "types": {"cds": {"status": "SYNCED", …}}}, …] */
    ADS_QUERY_CONFIG,  /* of one: {"name": …, "types": {"cds": [{"name": …, "status": …}]}} */
};

/* A question about the proxies of this node, answered on env as JSON text, for people and for calls
 * between nodes. Embedded in its owner. */
struct ads_query {
    enum ads_query_kind kind;
    struct slice proxy; /* CONFIG: name or node id; borrowed until fn */
    struct slice type;  /* CONFIG: "cds"; empty: all */
    bool bodies;        /* CONFIG: with each resource as JSON */
    struct env *env;
    void (*fn)(struct ads_query *q);

    /* Filled before fn. */
    struct buf json; /* the owner's: buf_fini */
    bool found;      /* CONFIG: the proxy is connected here */
    void *impl;
};
/* Any thread. Not after ads_server_stop; that waits for the workers, and fn may come after it. */
void ads_server_query(struct ads_server *s, struct ads_query *q);

/* Sets of cells, one a worker, for metric_write_text. Returns how many were stored (at most n). */
size_t ads_server_metrics(struct ads_server *s, struct metric_set **sets, size_t n);

#endif
