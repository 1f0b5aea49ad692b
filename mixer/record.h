/* What is known about one request or connection when it ends: the input of access logs, metrics and
 * header formats. Filled by the proxy; everything is borrowed for the call it is passed to.
 */
#ifndef WEFT_MIXER_RECORD_H
#define WEFT_MIXER_RECORD_H

#include "base/env/env.h"
#include "base/wire/header.h"

/* X(bit name, short, long): Envoy's response flags, in Envoy's order. */
#define RECORD_FLAG_TABLE(X)                                                                       \
    X(LH, "LH", "FailedLocalHealthCheck")                                                          \
    X(UH, "UH", "NoHealthyUpstream")                                                               \
    X(UT, "UT", "UpstreamRequestTimeout")                                                          \
    X(LR, "LR", "LocalReset")                                                                      \
    X(UR, "UR", "UpstreamRemoteReset")                                                             \
    X(UF, "UF", "UpstreamConnectionFailure")                                                       \
    X(UC, "UC", "UpstreamConnectionTermination")                                                   \
    X(UO, "UO", "UpstreamOverflow")                                                                \
    X(NR, "NR", "NoRouteFound")                                                                    \
    X(DI, "DI", "DelayInjected")                                                                   \
    X(FI, "FI", "FaultInjected")                                                                   \
    X(RL, "RL", "RateLimited")                                                                     \
    X(UAEX, "UAEX", "UnauthorizedExternalService")                                                 \
    X(RLSE, "RLSE", "RateLimitServiceError")                                                       \
    X(DC, "DC", "DownstreamConnectionTermination")                                                 \
    X(URX, "URX", "UpstreamRetryLimitExceeded")                                                    \
    X(SI, "SI", "StreamIdleTimeout")                                                               \
    X(IH, "IH", "InvalidEnvoyRequestHeaders")                                                      \
    X(DPE, "DPE", "DownstreamProtocolError")                                                       \
    X(UMSDR, "UMSDR", "UpstreamMaxStreamDurationReached")                                          \
    X(RFCF, "RFCF", "ResponseFromCacheFilter")                                                     \
    X(NFCF, "NFCF", "NoFilterConfigFound")                                                         \
    X(DT, "DT", "DurationTimeout")                                                                 \
    X(UPE, "UPE", "UpstreamProtocolError")                                                         \
    X(NC, "NC", "NoClusterFound")                                                                  \
    X(OM, "OM", "OverloadManagerTerminated")                                                       \
    X(DF, "DF", "DnsResolutionFailed")                                                             \
    X(DO, "DO", "DropOverload")

enum record_flag_bit {
#define X(bit, s, l) RECORD_BIT_##bit,
    RECORD_FLAG_TABLE(X)
#undef X
        RECORD_FLAG_COUNT,
};

enum record_flag {
#define X(bit, s, l) FLAG_##bit = 1 << RECORD_BIT_##bit,
    RECORD_FLAG_TABLE(X)
#undef X
};

/* "UH" or "UF,URX"; "-" for none. dst: RECORD_FLAGS_TEXT bytes. */
#define RECORD_FLAGS_TEXT 160
struct slice record_flags_text(uint32_t flags, bool long_names, char dst[RECORD_FLAGS_TEXT * 5]);

enum record_protocol { RECORD_HTTP10, RECORD_HTTP11, RECORD_HTTP2, RECORD_TCP };

struct record {
    int64_t start_wall_ms;
    /* Nanoseconds since the start; 0 = did not happen. */
    uint64_t request_ns;        /* last byte of the request came */
    uint64_t response_first_ns; /* head of the response came */
    uint64_t end_ns;
    enum record_protocol protocol;
    const struct http_head *request;           /* NULL for TCP */
    struct slice original_path;                /* as received, if it was rewritten */
    const struct headers *response, *trailers; /* may be NULL */
    uint16_t status;                           /* 0: no response */
    bool grpc;
    int grpc_status; /* -1: none came */
    uint32_t flags;  /* enum record_flag */
    struct slice details, termination_details, transport_failure;
    uint64_t bytes_received, bytes_sent; /* bodies */
    uint64_t upstream_service_ms;
    bool has_upstream_service;
    struct slice upstream_host, upstream_cluster, route_name, server_name;
    struct slice hostname;
    const struct env_addr *upstream_local, *downstream_local, *downstream_remote; /* may be NULL */
    uint32_t attempts;
    uint64_t connection_id;
    struct slice peer_principal, local_principal;
};

#endif
