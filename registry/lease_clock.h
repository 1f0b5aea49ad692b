/* When leases expire: a core without clock, log or network, in the leader's memory.
 *
 *   lease_clock_set / lease_clock_drop      what the log grants and ends; on every node
 *   lease_clock_lead(c, now)                this node leads from now on
 *   lease_clock_renew(c, key, …, now)       a sign of life
 *   n = lease_clock_step(c, now, due, 64)   what is to be ended by a write, at every tick
 *   lease_clock_failed(c, key, rev)         that write came to nothing
 *
 * `now` is loop time (monotonic). Rules:
 *
 *   a new leader    has heard nobody: everybody gets TTL + grace (an election time-out, in which
 *                   the one before may still have answered).
 *   a pause         between two steps of more than a quarter of a lease's TTL is given back to it:
 *                   its signs of life may lie unread.
 *   the rate        at most rate_max leases a second are ended.
 *   mass expiry     When more than LEASE_MASS_MIN registrations, and more than LEASE_MASS_PER_CENT
 *                   of all, would go within LEASE_MASS_WINDOW_MS, none goes: it is rather us who do
 *                   not hear. Until enough of them come back, or lease_clock_approve. Only
 *                   registrations count: that another takes over what nobody holds is harmless.
 */
#ifndef WEFT_REGISTRY_LEASE_CLOCK_H
#define WEFT_REGISTRY_LEASE_CLOCK_H

#include "base/core/map.h"
#include "base/env/env.h"
#include "registry/lease.h"

#define LEASE_RATE_MAX_DEFAULT 1000
#define LEASE_MASS_MIN 20
#define LEASE_MASS_PER_CENT 30
#define LEASE_MASS_WINDOW_MS 10000
#define LEASE_MASS_SLOTS 10

enum { LEASE_ALIVE, LEASE_DUE, LEASE_APPROVED, LEASE_ENDING };

struct lease_entry {
    struct slice key; /* owned */
    uint64_t id, epoch;
    reg_rev rev;
    wf_ms ttl, deadline;
    size_t at; /* in timed */
    bool registration;
    int state;
};

struct lease_clock {
    wf_ms grace;
    unsigned rate_max; /* leases a second */
    struct map by_key; /* struct lease_entry: held, with a TTL */
    VEC(struct lease_entry *) timed;
    size_t registrations; /* of them, less those that are being ended */
    size_t due;           /* registrations whose time is up and that are not being ended */
    bool leads, holds;    /* holds: mass expiry is held back */
    wf_ms stepped, earliest;
    wf_ms ttl_min;   /* nobody's is shorter */
    wf_ms credit_ms; /* of the rate: each lease costs 1000 / rate_max */
    /* Registrations that were ended lately, by tenths of the window. */
    size_t recent[LEASE_MASS_SLOTS];
    wf_ms recent_slot;
    uint64_t expired; /* by this node, ever */
};

void lease_clock_init(struct lease_clock *c, wf_ms grace, unsigned rate_max);
void lease_clock_fini(struct lease_clock *c);

void lease_clock_set(struct lease_clock *c, const struct reg_lease *l, wf_ms now);
void lease_clock_drop(struct lease_clock *c, struct slice key);
void lease_clock_clear(struct lease_clock *c);

void lease_clock_lead(struct lease_clock *c, wf_ms now);
void lease_clock_follow(struct lease_clock *c);

/* false: it is not held at that epoch, or is being ended: whoever held it has lost it. */
bool lease_clock_renew(struct lease_clock *c, struct slice key, uint64_t epoch, wf_ms now);

struct lease_due {
    struct slice key; /* borrowed until the next call */
    reg_rev rev;
};
/* At most max; each is given once, until it fails or is granted again. */
size_t lease_clock_step(struct lease_clock *c, wf_ms now, struct lease_due *ret, size_t max);
void lease_clock_failed(struct lease_clock *c, struct slice key, reg_rev rev);
/* What is held back may expire; returns how many. */
size_t lease_clock_approve(struct lease_clock *c);

#endif
