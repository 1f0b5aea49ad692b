/* Many clients that write to a registry, or read from it.
 *
 *   fill    each key once, created
 *   writes  every client changes random keys, the next as soon as the last is answered
 *   reads   the same, but reads them, linearizably
 *   steady  a new key at fixed times, whatever the answers do, over all servers; what a client
 *           loses it takes to the next server. Every acknowledged key is remembered.
 */
#ifndef WEFT_BENCH_REGLOAD_LOAD_H
#define WEFT_BENCH_REGLOAD_LOAD_H

#include "base/core/list.h"
#include "base/core/mem.h"
#include "bench/regload/client.h"

#define REGLOAD_CLIENTS_MAX 1024u
#define REGLOAD_SERVERS_MAX 8u
#define REGLOAD_KEYS_MAX 100000000u
#define REGLOAD_RETRY_MS 20 /* after a refused connection */

enum regload_mode { REGLOAD_FILL, REGLOAD_WRITES, REGLOAD_READS, REGLOAD_STEADY, REGLOAD_MODES };

struct regload_options {
    const struct regload_store *store;
    struct env_addr servers[REGLOAD_SERVERS_MAX];
    size_t server_count;
    enum regload_mode mode;
    uint32_t clients;
    uint32_t keys;    /* fill, writes, reads */
    uint32_t first;   /* steady: key to begin with */
    uint32_t bytes;   /* of a value; 0 = REGLOAD_VALUE_BYTES */
    uint32_t rate;    /* steady: writes a second */
    wf_ms timeout_ms; /* of one write: the client then leaves its server */
};

struct regload_ack {
    uint64_t key, sent_ns, acked_ns;
};

struct regload;

struct regload_slot {
    struct regload *load;
    struct regload_client *conn;
    struct list_node idle; /* ready, and nothing under way */
    struct env_timer timeout, retry;
    size_t server;
    uint64_t key, sent_ns;
    bool busy;
};

struct regload {
    struct env *env;
    struct regload_options opt;
    struct regload_slot *slots;
    struct list idle;
    struct env_timer tick;
    uint64_t start_ns, due, next_key, value, random;
    uint64_t sent, failed, lost, skipped; /* skipped: due, but every client was busy */
    VEC(uint32_t) us;                     /* of each acknowledged write; not in steady */
    VEC(struct regload_ack) acks;         /* steady, in order of the answers */
    char last_failure[160];
    /* fill: all keys are there. steady: one more acknowledgement. */
    void (*on_filled)(void *ctx);
    void (*on_ack)(void *ctx, const struct regload_ack *ack);
    void *ctx;
};

void regload_init(struct regload *l, struct env *env, const struct regload_options *opt);
void regload_fini(struct regload *l);
void regload_start(struct regload *l);
/* Idle clients go back to the servers that they were meant for. */
void regload_spread(struct regload *l);
/* The first acknowledgement of a write that was sent at or after `ns`; NULL: none yet. */
const struct regload_ack *regload_first_after(const struct regload *l, uint64_t ns);

#endif
