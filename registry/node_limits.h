/* The named bounds of a registry node, beside those of node.h, command.h and raft/raft_limits.h. */
#ifndef WEFT_REGISTRY_NODE_LIMITS_H
#define WEFT_REGISTRY_NODE_LIMITS_H

#define NODE_WRITES_MAX 8192               /* accepted from callers, not answered yet */
#define NODE_ENTRIES_IN_FLIGHT_MAX 2       /* guard G9 */
#define NODE_FOREIGN_BYTES_MAX (32u << 20) /* requests of other nodes that wait for an entry */
#define NODE_PACK_LOOK_MAX 4096            /* requests looked at for one entry */
#define NODE_PARCEL_BYTES (256u << 10)     /* a frame of forwarded requests ends beyond this */
#define NODE_RETRY_MS 10
#define NODE_QUOTA_BYTES_DEFAULT (2ull << 30)
/* A checkpoint when the last is so old, and the log since is this part of --snapshot-log-mib and of
 * the state: it writes at most eight times what was written. */
#define NODE_SNAPSHOT_REST_DEFAULT_MS 30000
#define NODE_SNAPSHOT_REST_PART 8
#define NODE_ROOM_BYTES_DEFAULT (64u << 20)
#define NODE_ROOM_LOOK_MS 100           /* a disk fills at 500 MiB/s: 50 MiB */
#define NODE_ROOM_HOLDS_ELECTIONS 4     /* what a node says of its disk; it says it in every one */
#define NODE_ROOM_HAND_OVER_ELECTIONS 3 /* between two tries */
#define NODE_STOP_POLL_MS 2
#define NODE_STOP_DRAIN_MS 10000
#define NODE_EXPEDITE_RANK_MS 15 /* a pre-vote, a vote and two small syncs take about 3 */
#define NODE_EXPEDITE_JITTER_MS 4
#define NODE_EXPEDITE_AGAIN_MS 5  /* the second try, and so much more to every further one */
#define NODE_EXPEDITE_TRIES_MAX 8 /* some 200 ms; then it is the election's own time-out */
#define NODE_SILENT_ELECTIONS 10  /* election time-outs without a word: not connected (node.h) */
#define NODE_PROMOTE_LAG_MAX 256  /* entries that a standby may lack when it becomes a voter */
#define NODE_QUARANTINES_MAX 3    /* a disk that damages its data again and again is no disk */
#define NODE_READ_PROBE_MS 500    /* between the questions how fresh this node is */
#define NODE_READ_ASKS_MAX 256    /* read indexes of one other node that wait; it asks one a turn */
#define NODE_ENROLS_MAX 4         /* nodes that join with a token at a time */
#define NODE_ENROL_MS 20000       /* for a write and a change of members */
#define NODE_TRAILING_ENTRIES_MIN 8
#define NODE_RENEWS_MAX 2048       /* messages with signs of life under way, own and others' */
#define NODE_LEASE_ENDS_MAX 64     /* leases that one tick lets expire: 1,280 a second */
#define NODE_LEASE_ENDING_MAX 1024 /* writes that end leases, not answered yet */

#endif
