/* The named bounds of registry/raft. */
#ifndef WEFT_REGISTRY_RAFT_RAFT_LIMITS_H
#define WEFT_REGISTRY_RAFT_RAFT_LIMITS_H

/* One more than there can be: who is to go and who came both count until that is committed. */
#define RAFT_MEMBERS_MAX 8

/* Log: one entry's payload (registry/command.h makes at most 2 MiB of requests), one segment. */
#define LOG_PAYLOAD_BYTES_MAX (4u << 20)
#define LOG_SEGMENT_BYTES_MIN (64u << 10)
#define LOG_SEGMENT_BYTES_MAX (256u << 20)
#define LOG_GROUP_BYTES_MAX (16u << 20) /* a group ends when it reaches this */
#define LOG_SEGMENT_BYTES_DEFAULT (16u << 20)
#define LOG_SPARE_PIECE_BYTES (256u << 10) /* zeroed at a time while the current segment fills */

/* Peers: a frame, one append message, what may wait in one peer's stream. */
#define FRAME_PAYLOAD_BYTES_MAX (16u << 20)
#define MESSAGE_APPEND_BYTES_MAX (4u << 20)
#define MESSAGE_ENTRIES_MAX 8192
#define MESSAGE_SNAPSHOT_DATA_BYTES_MAX 4096
#define PEER_QUEUED_BYTES_MAX (8u << 20)
#define PEER_HALF_OPEN_MAX 16 /* accepted, not yet introduced */
/* Connections that are taken a second: a handshake costs us some 0.3 ms, and the same thread sends
 * heartbeats. Members' hosts have a share of their own. */
#define PEER_ACCEPTS_PER_SECOND_MAX 50
#define PEER_GREETING_BYTES_MAX 1024
#define PEER_HELLO_TIMEOUT_MS 2000
#define PEER_BACKOFF_LOST_MS 2 /* after a connection that was up; doubles */
#define PEER_BACKOFF_MIN_MS 20
#define PEER_BACKOFF_MAX_MS 500
#define PEER_NAME_BYTES_MAX 64
#define PEER_PROGRAM_BYTES_MAX 32           /* NUL included */
#define PEER_TLS_FILE_BYTES_MAX (64u << 10) /* of one file of certificates */
#define PEER_TLS_POLL_MS 2000               /* new certificates are looked for */
#define PEER_TLS_EXPIRY_WARN_DAYS 30

/* Checkpoints beside the log. */
#define SCRUB_MS (60 * 60 * 1000) /* between checks of the newest checkpoint … */
#define SCRUB_FIRST_MS 1000       /* … and after each start, which has enough to do */
#define BULK_CHUNK_BYTES (1u << 20)
#define BULK_SESSIONS_MAX 4   /* checkpoints that are served at a time */
#define BULK_SILENCE_MS 10000 /* without a frame, that is 1 MiB at most; or taking one */
#define BULK_RETRY_MS 200
#define BULK_RETRIES_MAX 50 /* in a row without one new byte */

/* Guard: results held back until our first own entry is on disk (guard.h, G2). */
#define GUARD_HELD_MAX 256
#define GUARD_TICKS_A_HEARTBEAT 5

#endif
