/* The named bounds of base/net. */
#ifndef WEFT_BASE_NET_NET_LIMITS_H
#define WEFT_BASE_NET_NET_LIMITS_H

/* A request of the API: an object of 1.5 MiB, as etcd's request limit. */
#define HTTP_SERVER_BODY_BYTES_MAX (1536u << 10)
#define HTTP_SERVER_HEAD_BYTES_MAX (60u << 10)
#define HTTP_SERVER_CONNECTIONS_MAX 10000u
#define HTTP_SERVER_IDLE_TIMEOUT_MS 120000
#define HTTP_SERVER_REQUEST_TIMEOUT_MS 30000
#define HTTP_SERVER_STALL_TIMEOUT_MS 60000
#define HTTP_SERVER_PIPELINE_BYTES_MAX (64u << 10) /* read ahead while a request is answered */
#define HTTP_SERVER_LINGER_MS 2000                 /* after the last answer of a connection */
#define HTTP_SERVER_LISTENERS_MAX 16u

#define HTTP_CLIENT_IDLE_MAX 32u
#define HTTP_CLIENT_IDLE_TIMEOUT_MS 30000
#define HTTP_CLIENT_CONNECT_TIMEOUT_MS 3000
#define HTTP_CLIENT_TIMEOUT_MS 30000
#define HTTP_CLIENT_RESPONSE_BYTES_MAX (16u << 20)
#define HTTP_CLIENT_ADDRS_MAX 16u
#define HTTP_CLIENT_HEADS_MAX 8u /* 1xx heads before the answer */

#define TLS_HANDSHAKE_TIMEOUT_MS 2000
#define TLS_LINGER_MS 1000            /* for the last alert to arrive */
#define TLS_PLAIN_BYTES (16u << 10)   /* a record, RFC 8446 §5.1 */
#define TLS_FLUSH_BYTES (64u << 10)   /* encrypted in one go before the stream below gets it */
#define TLS_CERT_LIST_BYTES_MAX 16384 /* what a peer may send as its chain */
#define TLS_CHAIN_DEPTH_MAX 2         /* intermediates between a peer and the root */
#define TLS_CA_CERTS_MAX 16u          /* roots of one context */
#define TLS_NAME_BYTES_MAX 64u        /* of a peer, in messages */

#endif
