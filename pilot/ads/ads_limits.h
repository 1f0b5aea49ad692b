/* The named bounds of the xDS sessions. */
#ifndef WEFT_PILOT_ADS_ADS_LIMITS_H
#define WEFT_PILOT_ADS_ADS_LIMITS_H

/* One request. The first of a reconnect carries the version of every resource that the client
 * has: 100,000 of 120 bytes. */
#define ADS_REQUEST_BYTES_MAX (16u << 20)
/* Names of one subscription, and entries of any list in one request. */
#define ADS_NAMES_MAX 100000
#define ADS_NAME_BYTES_MAX 1024
#define ADS_GLOBS_MAX 256
/* Types of a session that weft does not serve and that are answered with nothing. */
#define ADS_UNKNOWN_TYPES_MAX 8
#define ADS_TYPE_URL_BYTES_MAX 256
/* Resource bytes after which a response is closed and the rest goes into the next one, which waits
 * for the ACK (D10). A state-of-the-world LDS or CDS response cannot be cut (S7). */
#define ADS_RESPONSE_BYTES (1024u * 1024u)
/* Of a client's error_detail that is kept. */
#define ADS_ERROR_BYTES_MAX 1024

/* How long an update waits for the ACK of what must come first, and a removal for the ACK of what
 * referred to it. Shorter than any client's initial fetch time-out (15 s). */
#define ADS_ORDER_WAIT_MS 5000
/* After a reconnect the types are asked for one after the other: so long a removal of clusters
 * waits for the requests of the types whose routes may still name them. */
#define ADS_GRACE_MS 200
/* How long a client that knows newer versions waits for this replica to catch up. Below the 15 s
 * after which Envoy and gRPC give a resource up; a replica further behind than that is broken, and
 * after a restore from a backup there is nothing to catch up with. */
#define ADS_CATCH_UP_MS 10000

/* Node of the first request. */
#define ADS_NODE_BYTES_MAX (64u * 1024u)
#define ADS_NODE_DEPTH_MAX 16
#define ADS_NODE_ID_BYTES_MAX 512
#define ADS_NODE_LABELS_MAX 64
#define ADS_NODE_LABEL_BYTES_MAX 320 /* prefix 253, slash, name 63 */
#define ADS_NODE_FEATURES_MAX 64

#endif
