/* Planted bugs, to show that the tests find them (scripts/mutants). In a build with WEFT_MUTANTS=ON
 * one of them is switched on by name; in every other build MUTANT() is the constant false.
 *
 *   if (MUTANT(NO_DEDUP) || !seen) …
 */
#ifndef WEFT_BASE_CORE_MUTANT_H
#define WEFT_BASE_CORE_MUTANT_H

#include <stdbool.h>

/* name, what a user would suffer */
#define MUTANT_LIST(X)                                                                             \
    X(ACK_BEFORE_SYNC, "a log entry is acknowledged before it is on the disk")                     \
    X(FORGET_VOTE, "a vote is not stored before it is given")                                      \
    X(WIPED_VOTES, "a node with a new disk votes without asking")                                  \
    X(READ_WITHOUT_ROUND, "a linearizable read does not ask whether somebody else leads")          \
    X(READ_BEFORE_BARRIER, "a new leader serves reads before its own first entry commits")         \
    X(APPLY_TWICE, "entries that a checkpoint holds are applied again after it")                   \
    X(NO_DEDUP, "a write that is sent again has its effect again")                                 \
    X(REFUSED_BUT_SENT, "a client hears that nothing was done after its write was handed over")    \
    X(CAS_LOOSE, "a write that expects a revision overwrites a newer one")                         \
    X(CLOCK_IN_STATE, "what is applied depends on the clock of the node")                          \
    X(DROP_EVENT, "a watch that resumes behind a compaction misses a change")                      \
    X(TRUST_TORN_STORE, "the LMDB file is believed after a power cut")                             \
    X(LOG_MAY_BE_SHORT, "a log that lost its end is taken for whole")                              \
    X(FOUND_IS_DURABLE, "a log that was found at a start counts as durable before it is synced")   \
    X(IGNORE_CRC, "the checksum of a log record is not looked at")                                 \
    X(STORE_AHEAD, "the store is committed before the node's own log is durable")                  \
    X(TRIM_TOO_MUCH, "segments are dropped before a checkpoint holds their entries")               \
    X(NAME_NOT_SYNCED, "a new segment's name is not synced")                                       \
    X(LEASE_EXPIRES_EARLY, "a new leader lets leases expire that it has not heard of yet")         \
    X(FENCE_IGNORED, "a holder that was replaced still writes")                                    \
    X(EXPIRE_RENEWED, "a lease expires although it was granted again meanwhile")                   \
    X(RAISE_UNHEARD, "the cluster's version rises while a member runs an older program")           \
    X(SEND_UNREADABLE, "entries are sent to a member whose program does not read them")            \
    X(LEAK_A_READ, "each linearizable read leaks a few bytes")                                     \
    X(WATCH_RESUMES_LATE, "a watch that goes on elsewhere begins one revision too late")           \
    X(WATCH_FORGETS, "a watch whose client does not read loses what it could not send")            \
    X(REVISION_CUT, "a watch that was cut inside of a revision never gets the rest of it")         \
    X(BOOKMARK_AHEAD, "a bookmark names a revision up to which not everything was told")           \
    X(KEY_OF_NODE, "an idempotency key is known only to the node that it was sent to")             \
    X(READ_HERE, "a linearizable read through the API is answered from what the node has")         \
    X(AGE_IGNORED, "a read with a bound on its age is answered at any age")                        \
    X(REFUSED_BY_STALE, "a node that is behind refuses writes for what it does not know")

enum mutant {
    MUTANT_NONE,
#define MUTANT_ENUM(name, what) MUTANT_##name,
    MUTANT_LIST(MUTANT_ENUM)
#undef MUTANT_ENUM
};

#ifdef WEFT_MUTANTS
extern enum mutant mutant_on;
#define MUTANT(name) (mutant_on == MUTANT_##name)
/* false: no such name. */
bool mutant_switch_on(const char *name);
#else
#define MUTANT(name) false
#endif

#endif
