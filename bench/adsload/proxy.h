/* One pretended proxy: a connection, a delta ADS stream, and which version it holds of what. Names
 * and versions are kept once for all proxies, so that a thousand of them cost this program little.
 *
 *   load_init(&l, env, &options);
 *   load_start(&l);                  all connect; l.on_event says what happened
 */
#ifndef WEFT_BENCH_ADSLOAD_PROXY_H
#define WEFT_BENCH_ADSLOAD_PROXY_H

#include "base/core/map.h"
#include "base/net/grpc_client.h"
#include "bench/adsload/wire.h"

#define LOAD_PROXIES_MAX 100000
#define LOAD_SERVERS_MAX 16
#define LOAD_BACKOFF_MIN_MS 20
#define LOAD_BACKOFF_MAX_MS 2000

/* A name of any type, and the text of versions: position in load.names, load.texts. */
typedef uint32_t load_id;

/* What a proxy holds of a type: sorted by name. */
struct load_held {
    struct load_item {
        load_id name, version;
    } * p;
    size_t n, cap;
};

struct load_sub {
    struct load_held held;  /* with a version */
    struct load_held asked; /* names subscribed on this stream; version 1 = answered */
    size_t unanswered;      /* of asked */
    bool open, answered;    /* a first request, a first response on this stream */
};

struct load;

struct load_proxy {
    struct load *load;
    uint32_t number;
    struct grpc_client *conn;
    struct grpc_stream *stream;
    struct env_timer retry;
    wf_ms backoff;
    uint32_t server; /* next to try */
    struct load_sub subs[XDS_TYPE_COUNT];
    bool synced, marked; /* in sync since it connected; got something since the mark */
};

struct load_stats {
    uint64_t bytes, resource_bytes, resources, removed, responses; /* received */
    uint64_t request_bytes, requests;                              /* sent */
    uint64_t connects, losses, errors;
};

struct load_options {
    struct env_addr servers[LOAD_SERVERS_MAX];
    size_t server_count;
    uint32_t proxies;
    uint32_t rate; /* connects a second; 0: all at once */
    struct slice agent, ns, capture;
};

struct load_name {
    struct slice text;
    load_id after;   /* the name that followed it last time: a guess that saves hashing */
    load_id version; /* last seen */
};

struct load {
    struct env *env;
    struct load_options opt;
    struct load_proxy *proxies;
    uint32_t started, synced, marked;
    struct load_stats stats;
    struct arena texts;
    struct map by_name, by_version;
    VEC(struct load_name) names;
    VEC(struct slice) versions;
    struct env_timer pace;
    load_id last_name;
    /* One proxy came into sync; one got its first resource since the mark. at: env_now_ns. */
    void (*on_synced)(void *ctx, uint64_t at);
    void (*on_marked)(void *ctx, uint64_t at);
    void *ctx;
};

void load_init(struct load *l, struct env *env, const struct load_options *opt);
void load_fini(struct load *l);
/* Connects all. */
void load_start(struct load *l);
/* Drops all connections and connects again, with the versions held. */
void load_restart(struct load *l);
/* From now on the first response with a resource counts, once a proxy. */
void load_mark(struct load *l);

#endif
