/* Header fields and message heads, the same for HTTP/1 and HTTP/2.
 *
 *   struct headers *hs = &head->headers;
 *   const struct header *ua = headers_get(hs, HDR_USER_AGENT);
 *   headers_add(hs, arena, HDR_X_REQUEST_ID, id);
 *
 * Names are lower case everywhere above the codecs: a known name is the table's own string, another
 * one is the peer's bytes, or a lower-case copy in the arena if the peer used capitals. So names
 * are compared with ==  on ids and slice_eq on the rest, never with case folding.
 */
#ifndef WEFT_BASE_WIRE_HEADER_H
#define WEFT_BASE_WIRE_HEADER_H

#include "base/core/mem.h"
#include "base/core/slice.h"

/* X(id, name, slot): slot is the name's place in the hash table of header.c, a function of the name
 * (header_test prints the right one; two names in one slot do not compile). */
#define HEADER_TABLE(X)                                                                            \
    X(PSEUDO_METHOD, ":method", 909)                                                               \
    X(PSEUDO_SCHEME, ":scheme", 315)                                                               \
    X(PSEUDO_AUTHORITY, ":authority", 270)                                                         \
    X(PSEUDO_PATH, ":path", 243)                                                                   \
    X(PSEUDO_STATUS, ":status", 335)                                                               \
    X(PSEUDO_PROTOCOL, ":protocol", 659)                                                           \
    X(HOST, "host", 293)                                                                           \
    X(CONTENT_LENGTH, "content-length", 239)                                                       \
    X(TRANSFER_ENCODING, "transfer-encoding", 728)                                                 \
    X(CONNECTION, "connection", 689)                                                               \
    X(TE, "te", 127)                                                                               \
    X(TRAILER, "trailer", 340)                                                                     \
    X(UPGRADE, "upgrade", 725)                                                                     \
    X(EXPECT, "expect", 169)                                                                       \
    X(KEEP_ALIVE, "keep-alive", 234)                                                               \
    X(PROXY_CONNECTION, "proxy-connection", 76)                                                    \
    X(DATE, "date", 663)                                                                           \
    X(SERVER, "server", 147)                                                                       \
    X(VIA, "via", 202)                                                                             \
    X(CONTENT_TYPE, "content-type", 427)                                                           \
    X(CONTENT_ENCODING, "content-encoding", 704)                                                   \
    X(ACCEPT, "accept", 603)                                                                       \
    X(ACCEPT_ENCODING, "accept-encoding", 468)                                                     \
    X(ACCEPT_LANGUAGE, "accept-language", 710)                                                     \
    X(USER_AGENT, "user-agent", 788)                                                               \
    X(AUTHORIZATION, "authorization", 188)                                                         \
    X(PROXY_AUTHORIZATION, "proxy-authorization", 310)                                             \
    X(PROXY_AUTHENTICATE, "proxy-authenticate", 577)                                               \
    X(WWW_AUTHENTICATE, "www-authenticate", 796)                                                   \
    X(COOKIE, "cookie", 489)                                                                       \
    X(SET_COOKIE, "set-cookie", 827)                                                               \
    X(CACHE_CONTROL, "cache-control", 251)                                                         \
    X(ETAG, "etag", 230)                                                                           \
    X(LAST_MODIFIED, "last-modified", 88)                                                          \
    X(LOCATION, "location", 558)                                                                   \
    X(VARY, "vary", 412)                                                                           \
    X(AGE, "age", 1006)                                                                            \
    X(RANGE, "range", 453)                                                                         \
    X(CONTENT_RANGE, "content-range", 27)                                                          \
    X(IF_NONE_MATCH, "if-none-match", 297)                                                         \
    X(IF_MODIFIED_SINCE, "if-modified-since", 715)                                                 \
    X(IF_MATCH, "if-match", 766)                                                                   \
    X(IF_RANGE, "if-range", 846)                                                                   \
    X(MAX_FORWARDS, "max-forwards", 694)                                                           \
    X(ORIGIN, "origin", 892)                                                                       \
    X(REFERER, "referer", 155)                                                                     \
    X(RETRY_AFTER, "retry-after", 473)                                                             \
    X(SEC_WEBSOCKET_KEY, "sec-websocket-key", 687)                                                 \
    X(SEC_WEBSOCKET_VERSION, "sec-websocket-version", 797)                                         \
    X(SEC_WEBSOCKET_ACCEPT, "sec-websocket-accept", 756)                                           \
    X(SEC_WEBSOCKET_PROTOCOL, "sec-websocket-protocol", 163)                                       \
    X(SEC_WEBSOCKET_EXTENSIONS, "sec-websocket-extensions", 525)                                   \
    X(HTTP2_SETTINGS, "http2-settings", 482)                                                       \
    X(ACCESS_CONTROL_REQUEST_METHOD, "access-control-request-method", 751)                         \
    X(ACCESS_CONTROL_REQUEST_HEADERS, "access-control-request-headers", 960)                       \
    X(ACCESS_CONTROL_ALLOW_ORIGIN, "access-control-allow-origin", 351)                             \
    X(X_REQUEST_ID, "x-request-id", 301)                                                           \
    X(X_FORWARDED_FOR, "x-forwarded-for", 695)                                                     \
    X(X_FORWARDED_PROTO, "x-forwarded-proto", 274)                                                 \
    X(X_FORWARDED_HOST, "x-forwarded-host", 20)                                                    \
    X(X_FORWARDED_PORT, "x-forwarded-port", 378)                                                   \
    X(X_FORWARDED_CLIENT_CERT, "x-forwarded-client-cert", 718)                                     \
    X(FORWARDED, "forwarded", 380)                                                                 \
    X(X_REAL_IP, "x-real-ip", 780)                                                                 \
    X(TRACEPARENT, "traceparent", 608)                                                             \
    X(TRACESTATE, "tracestate", 763)                                                               \
    X(BAGGAGE, "baggage", 861)                                                                     \
    X(B3, "b3", 14)                                                                                \
    X(X_B3_TRACEID, "x-b3-traceid", 32)                                                            \
    X(X_B3_SPANID, "x-b3-spanid", 224)                                                             \
    X(X_B3_PARENTSPANID, "x-b3-parentspanid", 932)                                                 \
    X(X_B3_SAMPLED, "x-b3-sampled", 1001)                                                          \
    X(X_B3_FLAGS, "x-b3-flags", 160)                                                               \
    X(X_CLIENT_TRACE_ID, "x-client-trace-id", 697)                                                 \
    X(X_OT_SPAN_CONTEXT, "x-ot-span-context", 372)                                                 \
    X(GRPC_TIMEOUT, "grpc-timeout", 219)                                                           \
    X(GRPC_STATUS, "grpc-status", 510)                                                             \
    X(GRPC_MESSAGE, "grpc-message", 887)                                                           \
    X(GRPC_ENCODING, "grpc-encoding", 647)                                                         \
    X(GRPC_ACCEPT_ENCODING, "grpc-accept-encoding", 360)                                           \
    X(GRPC_STATUS_DETAILS_BIN, "grpc-status-details-bin", 26)                                      \
    X(GRPC_PREVIOUS_RPC_ATTEMPTS, "grpc-previous-rpc-attempts", 259)                               \
    X(GRPC_RETRY_PUSHBACK_MS, "grpc-retry-pushback-ms", 84)                                        \
    X(X_ENVOY_MAX_RETRIES, "x-envoy-max-retries", 968)                                             \
    X(X_ENVOY_RETRY_ON, "x-envoy-retry-on", 1003)                                                  \
    X(X_ENVOY_RETRY_GRPC_ON, "x-envoy-retry-grpc-on", 42)                                          \
    X(X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS, "x-envoy-upstream-rq-timeout-ms", 858)                       \
    X(X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS, "x-envoy-upstream-rq-per-try-timeout-ms", 560)       \
    X(X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, "x-envoy-expected-rq-timeout-ms", 648)                       \
    X(X_ENVOY_ATTEMPT_COUNT, "x-envoy-attempt-count", 946)                                         \
    X(X_ENVOY_UPSTREAM_SERVICE_TIME, "x-envoy-upstream-service-time", 844)                         \
    X(X_ENVOY_DECORATOR_OPERATION, "x-envoy-decorator-operation", 131)                             \
    X(X_ENVOY_PEER_METADATA, "x-envoy-peer-metadata", 370)                                         \
    X(X_ENVOY_PEER_METADATA_ID, "x-envoy-peer-metadata-id", 285)                                   \
    X(X_ENVOY_ORIGINAL_PATH, "x-envoy-original-path", 332)                                         \
    X(X_ENVOY_ORIGINAL_DST_HOST, "x-envoy-original-dst-host", 1008)                                \
    X(X_ENVOY_ORIGINAL_HOST, "x-envoy-original-host", 841)                                         \
    X(X_ENVOY_EXTERNAL_ADDRESS, "x-envoy-external-address", 828)                                   \
    X(X_ENVOY_INTERNAL, "x-envoy-internal", 435)                                                   \
    X(X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT, "x-envoy-hedge-on-per-try-timeout", 587)                   \
    X(X_ENVOY_RETRIABLE_STATUS_CODES, "x-envoy-retriable-status-codes", 921)                       \
    X(X_ENVOY_RETRIABLE_HEADER_NAMES, "x-envoy-retriable-header-names", 883)                       \
    X(X_ENVOY_OVERLOADED, "x-envoy-overloaded", 698)                                               \
    X(X_ENVOY_RATELIMITED, "x-envoy-ratelimited", 138)                                             \
    X(X_ENVOY_IMMEDIATE_HEALTH_CHECK_FAIL, "x-envoy-immediate-health-check-fail", 416)             \
    X(X_ENVOY_FORCE_TRACE, "x-envoy-force-trace", 899)                                             \
    X(X_ENVOY_IS_TIMEOUT_RETRY, "x-envoy-is-timeout-retry", 366)                                   \
    X(X_ENVOY_DEGRADED, "x-envoy-degraded", 590)

enum header_id {
    HDR_OTHER = 0,
#define X(id, name, slot) HDR_##id,
    HEADER_TABLE(X)
#undef X
        HDR_COUNT,
};

enum header_flags {
    HEADER_SENSITIVE = 1, /* never put in a compression table (RFC 7541 §7.1.3) */
};

struct header {
    struct slice name, value;
    uint8_t id;    /* enum header_id */
    uint8_t flags; /* enum header_flags */
};

/* Where the table of header.c looks for a name: below 1,024. For its test. */
uint32_t header_slot(struct slice name);
/* The id of a token in any case, or HDR_OTHER. */
enum header_id header_intern(struct slice name);
/* The lower-case name; "" for HDR_OTHER. */
struct slice header_name(enum header_id id);

/* An ordered list in arena memory. Zeroed is valid and empty. */
struct headers {
    struct header *p;
    uint32_t n, cap;
};

/* First field with the id or the (lower-case) name, or NULL. Borrowed until the list changes. */
const struct header *headers_get(const struct headers *hs, enum header_id id);
const struct header *headers_find(const struct headers *hs, struct slice name);
/* The value of the first, or {NULL, 0}. */
struct slice headers_value(const struct headers *hs, enum header_id id);
/* The next field of the same name behind `after`: policy looks at every value, never at a join. */
const struct header *headers_next(const struct headers *hs, const struct header *after);
/* Appends; value (and name) are borrowed as long as the list is used. */
void headers_add(struct headers *hs, struct arena *arena, enum header_id id, struct slice value);
/* For any name, lower case. */
void headers_add_name(struct headers *hs, struct arena *arena, struct slice name,
                      struct slice value);
/* Appends, or overwrites the first and removes the others of that name. */
void headers_set(struct headers *hs, struct arena *arena, enum header_id id, struct slice value);
void headers_set_name(struct headers *hs, struct arena *arena, struct slice name,
                      struct slice value);
/* Removes all of that name; returns how many there were. */
uint32_t headers_del(struct headers *hs, enum header_id id);
uint32_t headers_del_name(struct headers *hs, struct slice name);
/* A copy in another arena; deep: bytes too, so that it outlives the input buffer. */
void headers_copy(struct headers *dst, struct arena *arena, const struct headers *src, bool deep);

/* Is the token (lower case) an element of a comma-separated value? ASCII case folded. */
bool header_has_token(struct slice value, struct slice token);
/* Walks a comma-separated list: the next trimmed, non-empty element into *ret_item. */
bool header_next_token(struct slice *rest, struct slice *ret_item);
/* RFC 9110 §5.1 and §5.5: what may be sent. A value: VCHAR, obs-text, SP and HTAB, no space at the
 * ends. */
bool header_name_ok(struct slice name);
bool header_value_ok(struct slice value);

/* Removes what belongs to one hop (RFC 9110 §7.6.1): connection, keep-alive, proxy-connection, te
 * (but "trailers" survives, as gRPC needs it), transfer-encoding, upgrade, http2-settings,
 * proxy-authenticate, proxy-authorization, and what Connection nominates. Fields that carry
 * routing, identity or framing (host, content-length, x-forwarded-*, x-envoy-*, x-request-id,
 * authorization, cookie, trace context) stay even when nominated: a peer must not strip them behind
 * our back. */
void headers_strip_hop(struct headers *hs);

enum http_method {
    HTTP_OTHER = 0,
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_CONNECT,
    HTTP_OPTIONS,
    HTTP_TRACE,
    HTTP_PATCH,
};
enum http_method http_method_parse(struct slice method);

/* The head of a request (status == 0) or a response. */
struct http_head {
    struct slice method;    /* case-sensitive */
    struct slice scheme;    /* lower case; empty where HTTP/1 did not say */
    struct slice authority; /* from :authority, Host or an absolute target; may be empty */
    struct slice path;      /* path and query as received; "*" of OPTIONS; empty for CONNECT */
    struct slice protocol;  /* :protocol of an extended CONNECT (RFC 8441) */
    uint16_t status;
    uint8_t method_id;      /* enum http_method */
    struct headers headers; /* without pseudo fields and without Host */
};

/* "OK" for 200; "Unknown" for what is not in the table. */
struct slice http_status_text(int status);
/* host[:port] without user information, list, blank or empty host (RFC 3986 §3.2.2, RFC 9110 §4.2).
 * A percent sign is refused: nobody names a service so, and decoders disagree about it. */
bool http_authority_ok(struct slice authority, bool port_required);

#endif
