/* Bounds of the proxy's xDS client. Each is checked where its name stands. */
#ifndef WEFT_PROXY_XDS_XDS_LIMITS_H
#define WEFT_PROXY_XDS_XDS_LIMITS_H

#define XDS_RESOURCES_MAX 200000 /* of one type */
#define XDS_NAME_BYTES_MAX 1024
#define XDS_VERSION_BYTES_MAX 1024
#define XDS_MESSAGE_BYTES_MAX (64u * 1024 * 1024)
#define XDS_PENDING_MAX 64 /* responses that are not ACKed yet */
#define XDS_SERVERS_MAX 8
#define XDS_ERROR_BYTES_MAX 2048 /* text of a NACK */
#define XDS_BACKOFF_MIN_MS 20
#define XDS_BACKOFF_MAX_MS 5000
#define XDS_STABLE_MS 1000 /* a stream that lasted so long makes the next loss a first one */
#define XDS_WARM_MS 15000  /* for what a listener needs: Envoy's initial_fetch_timeout */
/* A response with so many bytes of virtual hosts may be the first of several: weftd cuts at 1 MiB,
 * which delta xDS has no mark for. The next one, or this time, says that all are here. */
#define XDS_PART_BYTES (1024 * 1024)
#define XDS_PART_MS 1000
#define XDS_LKG_BYTES_MAX (256u * 1024 * 1024)
#define XDS_LKG_DELAY_MS 500 /* changes are gathered so long before they are written */
/* A write that failed is tried again after the first of these, then twice as long, at most the
 * second: a disk that is full is so for minutes. */
#define XDS_LKG_RETRY_MIN_MS 1000
#define XDS_LKG_RETRY_MAX_MS 60000

#endif
