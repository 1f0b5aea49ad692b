/* gRPC over HTTP/2, the parts without I/O: message framing, status, metadata rules.
 * Source: the gRPC project's PROTOCOL-HTTP2.
 *
 *   struct grpc_deframer d = {.message_bytes_max = 4 << 20};
 *   while (grpc_deframe(&d, &bytes, &message, &err) == GRPC_MESSAGE)
 *       handle(message);
 */
#ifndef WEFT_BASE_WIRE_GRPC_H
#define WEFT_BASE_WIRE_GRPC_H

#include "base/core/err.h"
#include "base/wire/header.h"

enum grpc_status {
    GRPC_OK = 0,
    GRPC_CANCELLED,
    GRPC_UNKNOWN,
    GRPC_INVALID_ARGUMENT,
    GRPC_DEADLINE_EXCEEDED,
    GRPC_NOT_FOUND,
    GRPC_ALREADY_EXISTS,
    GRPC_PERMISSION_DENIED,
    GRPC_RESOURCE_EXHAUSTED,
    GRPC_FAILED_PRECONDITION,
    GRPC_ABORTED,
    GRPC_OUT_OF_RANGE,
    GRPC_UNIMPLEMENTED,
    GRPC_INTERNAL,
    GRPC_UNAVAILABLE,
    GRPC_DATA_LOSS,
    GRPC_UNAUTHENTICATED,
    GRPC_STATUS_COUNT,
};
/* "NOT_FOUND"; "UNKNOWN" outside the range. */
const char *grpc_status_name(int status);
/* From an upper-case name; false if it is none. */
bool grpc_status_parse(struct slice name, enum grpc_status *ret_status);
/* What a response without grpc-status means (gRPC: http-grpc-status-mapping). */
enum grpc_status grpc_status_of_http(int http_status);
/* What a stream that was reset means (gRPC: PROTOCOL-HTTP2, "Errors"). */
enum grpc_status grpc_status_of_h2(uint32_t h2_error);

/* Framing: 1 byte flags, 4 bytes length, message. */

#define GRPC_FRAME_HEAD 5
#define GRPC_MESSAGE_BYTES (4u << 20)

/* Zeroed is valid: at the start of a stream, at most GRPC_MESSAGE_BYTES. */
struct grpc_deframer {
    size_t message_bytes_max;
    struct buf partial; /* a message in pieces; grows as bytes come, not as they are told */
    uint32_t need;
    uint8_t head[GRPC_FRAME_HEAD], head_n;
    bool given; /* partial holds the message that was given out last */
};
enum grpc_deframe_result { GRPC_MORE, GRPC_MESSAGE, GRPC_BAD };
/* Takes bytes from the front of *in. MESSAGE: *ret_message is borrowed from *in's bytes, or from d
 * until the next call. BAD: too long (ERR_LIMIT), compressed (ERR_UNSUPPORTED) or an unknown flag.
 */
enum grpc_deframe_result grpc_deframe(struct grpc_deframer *d, struct slice *in,
                                      struct slice *ret_message, struct err *err);
/* True in the middle of a message: the stream must not end here. */
bool grpc_deframer_partial(const struct grpc_deframer *d);
void grpc_deframer_fini(struct grpc_deframer *d);
void grpc_frame_head(char dst[GRPC_FRAME_HEAD], uint32_t message_bytes);

/* Metadata. */

/* grpc-timeout: up to 8 digits and H M S m u n. Milliseconds, rounded up; false on anything else.
 */
bool grpc_timeout_parse(struct slice value, wf_ms *ret_ms);
/* The value, in the finest unit that fits; dst has GRPC_TIMEOUT_TEXT bytes. */
#define GRPC_TIMEOUT_TEXT 12
struct slice grpc_timeout_format(wf_ms ms, char dst[GRPC_TIMEOUT_TEXT]);
/* grpc-message: percent-encoding of what is not visible ASCII, cut to GRPC_ERROR_BYTES. */
#define GRPC_ERROR_BYTES 1024
struct slice grpc_message_encode(struct slice text, struct arena *arena);
/* Decodes leniently: a bad escape stays as it is. */
struct slice grpc_message_decode(struct slice value, struct arena *arena);
/* application/grpc, application/grpc+proto, application/grpc;… but not application/grpc-web. */
bool grpc_content_type(struct slice value);

/* Response head: 200, content-type. */
void grpc_response_head(struct http_head *ret_head, struct arena *arena);
/* Trailers with grpc-status and, if any, grpc-message. */
void grpc_trailers(struct headers *ret_trailers, struct arena *arena, int status,
                   struct slice message);
/* Trailers-only response: a head with the status inside; the stream ends with it. */
void grpc_trailers_only(struct http_head *ret_head, struct arena *arena, int status,
                        struct slice message);
/* Reads grpc-status and grpc-message of trailers or of a trailers-only head. false: none there. */
bool grpc_status_read(const struct headers *hs, struct arena *arena, int *ret_status,
                      struct slice *ret_message);
/* Head of a call: POST, te: trailers, content-type, user-agent, grpc-timeout (0 = none). */
void grpc_request_head(struct http_head *ret_head, struct arena *arena, struct slice scheme,
                       struct slice authority, struct slice path, wf_ms timeout);

#endif
