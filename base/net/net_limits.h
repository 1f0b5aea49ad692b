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

#endif
