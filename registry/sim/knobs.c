#include "base/core/assert.h"
#include "registry/sim/nemesis.h"
#include "registry/sim/run.h"

static uint64_t pick(struct sim *sim, const uint64_t *of, size_t n)
{
    return of[sim_below(sim, n)];
}
#define PICK(sim, ...)                                                                             \
    pick(sim, (const uint64_t[]){__VA_ARGS__},                                                     \
         sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

void knobs_draw(struct sim *sim, struct run_knobs *k)
{
    *k = (struct run_knobs){
        .nodes = PICK(sim, 3, 3, 3, 5),
        .clients = 1 + sim_below(sim, 6),
        .watchers = 1 + sim_below(sim, RUN_WATCHERS_MAX),
        .keys = PICK(sim, 2, 8, 40),
        .election = (wf_ms)PICK(sim, 150, 300, 300, 1000),
        .segment_bytes = PICK(sim, 64 << 10, 64 << 10, 256 << 10),
        .snapshot_log_bytes = PICK(sim, 16 << 10, 64 << 10, 256 << 10, 64 << 20),
        .history = PICK(sim, 5, 50, 1000, 100000),
        .store_bytes = PICK(sim, 2 << 20, 16 << 20),
        .think_max = (sim_ns)PICK(sim, 50, 200, 800) * SIM_MS,
        .chaos = (sim_ns)PICK(sim, 8, 15, 25) * SIM_S,
        .pause_between_faults = (sim_ns)PICK(sim, 200, 600, 2000) * SIM_MS,
        .value_max = PICK(sim, 32, 300, 2000),
        .holders = sim_below(sim, RUN_HOLDERS_MAX + 1),
        .lease_ttl = (uint32_t)PICK(sim, 2000, 2000, 5000),
        .write_timeout = (wf_ms)PICK(sim, 300, 1000, 5000),
        .old_per_mille = (unsigned)PICK(sim, 0, 500, 1000),
        .rollback = PICK(sim, 0, 1),
        .version_settle = (wf_ms)PICK(sim, 50, 500, 3000),
    };
    k->api_clients = PICK(sim, 0, 0, 1, 2, RUN_API_CLIENTS_MAX);
    k->api_watchers = k->api_clients ? PICK(sim, 1, 1, 2, RUN_API_WATCHERS_MAX) : 0;
    k->api_bookmarks = (wf_ms)PICK(sim, 200, 1000, 3000);
    k->api_patience = (wf_ms)PICK(sim, 500, 2000);
    k->api_stall = (wf_ms)PICK(sim, 1000, 5000, 60000);
    k->api_timeout = (wf_ms)PICK(sim, 300, 2000, 6000);
    k->api_piece = PICK(sim, 0, 0, 30, 1000);
    k->api_buffer = PICK(sim, 0, 1 << 10, 16 << 10);
    k->api_breaks = (unsigned)PICK(sim, 0, 50, 200);
    k->api_slow = (unsigned)PICK(sim, 0, 0, 60);
    k->api_torn = (unsigned)PICK(sim, 0, 50);
    k->raise_cut = k->rollback && sim_chance(sim, 500);
    k->calm = (sim_ns)PICK(sim, 0, 1000, 1000) * SIM_MS;
    k->snapshot_rest = (wf_ms)PICK(sim, 500, 3000, 30000);
    k->heartbeat = k->election / (wf_ms)PICK(sim, 3, 6, 10);
    for (size_t i = 0; i < FAULT_COUNT; i++)
        k->fault_weight[i] = (unsigned)PICK(sim, 0, 0, 1, 3);
    /* A lost disk under changing members is somebody to remove and to add anew, not to come
     * back. */
    if (k->fault_weight[FAULT_MEMBERS])
        k->fault_weight[FAULT_WIPE] = 0;
}

void knobs_trace(struct sim *sim, const struct run_knobs *k)
{
    sim_trace(sim,
              "nodes %zu clients %zu watchers %zu keys %zu election %lld heartbeat %lld snapshot "
              "%llu history %llu think %lld value %zu",
              k->nodes, k->clients, k->watchers, k->keys, (long long)k->election,
              (long long)k->heartbeat, (unsigned long long)k->snapshot_log_bytes,
              (unsigned long long)k->history, (long long)(k->think_max / SIM_MS), k->value_max);
    sim_trace(sim,
              "api: clients %zu watchers %zu bookmarks %lld patience %lld stall %lld timeout %lld "
              "piece %zu buffer %zu breaks %u slow %u torn %u",
              k->api_clients, k->api_watchers, (long long)k->api_bookmarks,
              (long long)k->api_patience, (long long)k->api_stall, (long long)k->api_timeout,
              k->api_piece, k->api_buffer, k->api_breaks, k->api_slow, k->api_torn);
    sim_trace(sim, "old programs %u per mille, rollback %d, at the raise %d, settle %lld",
              k->old_per_mille, k->rollback, k->raise_cut, (long long)k->version_settle);
    sim_trace(sim, "first fault after %lld", (long long)(k->calm / SIM_MS));
    for (size_t i = 0; i < FAULT_COUNT; i++)
        if (k->fault_weight[i])
            sim_trace(sim, "fault %s: %u", fault_name((enum fault)i), k->fault_weight[i]);
}
