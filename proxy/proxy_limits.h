/* The named bounds of the data path. */
#ifndef WEFT_PROXY_PROXY_LIMITS_H
#define WEFT_PROXY_PROXY_LIMITS_H

#define PROXY_HOST_BYTES_MAX 261 /* DNS name, ":" and a port: longer hosts match "*" only */
/* Queued towards a slow peer before its source pauses. */
#define PROXY_BODY_SOFT_BYTES (64u << 10)
#define PROXY_BODY_LOW_BYTES (16u << 10)   /* and it goes on here */
#define PROXY_RETRY_BODY_BYTES (64u << 10) /* request body kept for another try */
#define PROXY_RETRIES_MAX 10
#define PROXY_STREAMS_FREE_MAX 128                /* finished streams kept for reuse, a worker */
#define PROXY_STREAM_ARENA_KEPT_BYTES (16u << 10) /* memory that a spare stream may hold: heads */
#define PROXY_STREAM_BUF_KEPT_BYTES (4u << 10)    /* each of its three body buffers */
/* HTTP/1 bytes kept behind a request that is under way. */
#define PROXY_PIPELINE_BYTES (64u << 10)
#define PROXY_CONNECTIONS_MAX 10000 /* downstream, a worker; more are closed at once */
/* Of an upstream HTTP/2 session: 64 streams whose clients do not read (256 KiB each) stall the
 * rest. */
#define PROXY_H2_SESSION_WINDOW (16u << 20)
#define PROXY_INFORMATIONAL_MAX 16     /* 1xx heads of one response */
#define PROXY_USER_TIMEOUT 30000       /* ms that sent bytes may stay unacknowledged upstream */
#define PROXY_H2_OUT_BYTES (64u << 10) /* frames made for one write */
#define PROXY_HEADERS_TIMEOUT 15000    /* ms for a request head where the listener names none */
#define PROXY_LINGER 1000              /* ms to send the last bytes of a closed connection */
#define PROXY_LB_RING_MIN 1024u
#define PROXY_LB_RING_MAX (8u << 20)
#define PROXY_LB_MAGLEV 65537u
#define PROXY_LB_MAGLEV_MAX 5000011u
#define PROXY_LB_PRIORITIES 16u
#define PROXY_LOG_BUFFER_BYTES (1u << 20) /* access-log lines waiting for the file */
/* Destinations in use at a time that no endpoint set names. */
#define PROXY_PASSTHROUGH_HOSTS_MAX 1024
#define PROXY_SWEEP_MS 250      /* how often idle times are looked at */
#define PROXY_TRIED_HOSTS_MAX 8 /* endpoints that a retry remembers to avoid */
/* Bodies copied into a waiting write rather than written alone. */
#define PROXY_FLUSH_SMALL_BYTES 8192

#endif
