/* One connection to a registry's public API that writes or reads one object at a time: weft's over
 * HTTP/1.1 and JSON, etcd's over gRPC. Both write the same bytes under the same name, so that two
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

#define REGLOAD_VALUE_BYTES 256 /* unless another size is asked for */
#define REGLOAD_VALUE_BYTES_MAX 4096
#define REGLOAD_KEY_BYTES 80

struct regload_client;

/* No event comes from inside a call. */
struct regload_events {
    void (*on_ready)(void *ctx);
    /* The request was answered. ok: acknowledged, or the object that was read is there; else `why`
     * says what the server said. */
    void (*on_done)(void *ctx, bool ok, struct slice why);
    /* The connection is gone, and what the write under way came to is not known. The client is
     * gone after it. */
    void (*on_close)(void *ctx, struct slice why);
};

struct regload_put {
    uint64_t key;
    uint64_t value; /* makes the bytes differ: an equal object is not written again */
    bool create;    /* the object is not there yet (etcd does not mind) */
    uint32_t bytes; /* REGLOAD_VALUE_BYTES to REGLOAD_VALUE_BYTES_MAX */
};

struct regload_store {
    const char *name;
    struct regload_client *(*open)(struct env *env, const struct env_addr *to,
                                   const struct regload_events *events, void *ctx);
    /* After on_ready, and never two at once. */
    void (*put)(struct regload_client *c, const struct regload_put *put);
    /* A linearizable read; likewise. */
    void (*get)(struct regload_client *c, uint64_t key);
    /* No event after it. NULL is fine. */
    void (*close)(struct regload_client *c);
};

extern const struct regload_store regload_weft, regload_etcd;

/* A WorkloadEntry as JSON, put->bytes long. */
struct slice regload_value(const struct regload_put *put, char dst[REGLOAD_VALUE_BYTES_MAX]);
/* Its name of the form "w-00000017". */
struct slice regload_name(uint64_t key, char dst[REGLOAD_KEY_BYTES]);

#endif
