/* The xDS client's shell: finds a control-plane node that answers, keeps a stream to it, moves on
 * when it dies.
 *
 *   client_start(&c, &(struct client_options){
 *       .env = env, .servers = …, .on_conf = give_to_workers, …});
 *   … workers are ready with the tree of a generation …
 *   client_applied(&c, generation, failed);
 *
 * It decides nothing that ads.h or resources.h decides. One loop: the proxy's main thread.
 */
#ifndef WEFT_PROXY_XDS_CLIENT_H
#define WEFT_PROXY_XDS_CLIENT_H

#include "base/core/sm.h"
#include "base/core/metric.h"
#include "base/net/grpc_client.h"
#include "proxy/xds/ads.h"

struct client_options {
    struct env *env;
    struct env_addr servers[XDS_SERVERS_MAX];
    size_t server_count;
    const struct ads_node *node;
    const char *state_file;     /* last known good; NULL = none */
    struct metric_set *metrics; /* borrowed */
    /* A new tree to make active; the reference is the receiver's. Followed by client_applied, and
     * by another one whenever what could not be bound changes. */
    void (*on_conf)(void *ctx, struct conf *take_conf);
    void *ctx;
};

enum client_state { CLIENT_CONNECTING, CLIENT_STREAMING, CLIENT_WAITING, CLIENT_CLOSED };

struct client {
    struct client_options opt;
    struct sm sm; /* enum client_state */
    struct resources resources;
    struct ads ads;
    struct grpc_client *grpc;
    struct grpc_stream *stream;
    size_t server; /* index of the one in use */
    size_t tried;  /* servers since the last that answered */
    wf_ms backoff;
    wf_ms save_backoff; /* 0 = the last write did not fail */
    struct metric *save_failures, *warm_timeouts;
    bool answered; /* a response came on this stream */
    wf_ms streaming_since;
    struct env_timer retry, save, warm;
    struct env_task seal;
    uint64_t connects, connect_failures;
    /* Generations of trees: active in the workers; in the state file; made of the state file at the
     * start (0 = none). */
    uint64_t applied, saved, restored;
    bool complete; /* once: nothing warmed; in which tree */
    uint64_t complete_in;
    char failed[XDS_ERROR_BYTES_MAX / 2]; /* why which listeners of it are not open, or empty */
};

/* Loads the last known good (its tree goes to on_conf before this returns), then connects. */
void client_start(struct client *c, const struct client_options *opt);
/* failed: see ads_applied. */
void client_applied(struct client *c, uint64_t generation, const struct bind_failures *failed);
/* Everything that was configured at the start is active. Later changes do not take it back: a proxy
 * that serves and waits for the routes of one more listener is ready. */
bool client_live(const struct client *c);
/* What is active is the last known good, and nothing newer. */
bool client_restored(const struct client *c);
const char *client_state_name(const struct client *c);
/* The server in use, or the next to try. */
const struct env_addr *client_server(const struct client *c);
void client_close(struct client *c);

#endif
