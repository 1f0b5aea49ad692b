/* One connection to a registry's public API that writes one object at a time: weft's over HTTP/1.1
 * and JSON, etcd's over gRPC. Both write the same 256 bytes under the same name, so that two
 * registries can be compared by the same program.
 *
 *   c = regload_weft.open(env, &addr, &events, me);
 *   … on_ready …
 *   regload_weft.put(c, &(struct regload_put){.key = 17, .value = 1});
 *   … on_done …
 */
#ifndef WEFT_BENCH_REGLOAD_CLIENT_H
#define WEFT_BENCH_REGLOAD_CLIENT_H

#include "base/env/env.h"

#define REGLOAD_VALUE_BYTES 256
#define REGLOAD_KEY_BYTES 80

struct regload_client;

/* No event comes from inside a call. */
struct regload_events {
    void (*on_ready)(void *ctx);
    /* The write was answered. ok: acknowledged; else `why` says what the server said. */
    void (*on_done)(void *ctx, bool ok, struct slice why);
    /* The connection is gone, and what the write under way came to is not known. The client is
     * gone after it. */
    void (*on_close)(void *ctx, struct slice why);
};

struct regload_put {
    uint64_t key;
    uint64_t value; /* makes the bytes differ: an equal object is not written again */
    bool create;    /* the object is not there yet (etcd does not mind) */
};

struct regload_store {
    const char *name;
    struct regload_client *(*open)(struct env *env, const struct env_addr *to,
                                   const struct regload_events *events, void *ctx);
    /* After on_ready, and never two at once. */
    void (*put)(struct regload_client *c, const struct regload_put *put);
    /* No event after it. NULL is fine. */
    void (*close)(struct regload_client *c);
};

extern const struct regload_store regload_weft, regload_etcd;

/* A WorkloadEntry as JSON, always REGLOAD_VALUE_BYTES long. */
void regload_value(const struct regload_put *put, char dst[REGLOAD_VALUE_BYTES]);
/* Its name of the form "w-00000017". */
struct slice regload_name(uint64_t key, char dst[REGLOAD_KEY_BYTES]);

#endif
