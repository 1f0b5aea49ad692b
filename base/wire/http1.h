/* HTTP/1.1: a strict codec without I/O (RFC 9112). Zero copy: slices point into the caller's bytes.
 *
 *   struct http1_progress at = {0};
 *   switch (http1_parse_request(&at, buf_slice(&in), &limits, arena, &head)) {
 *   case HTTP1_MORE: wait for bytes, call again with the same bytes and more behind them
 *   case HTTP1_DONE: head.bytes of the input are used; the body follows, framed by head.body
 *   case HTTP1_BAD:  answer http1_fault_status(at.fault), close
 *   }
 *
 * What two parsers could read in two ways is refused, never repaired: request smuggling is a
 * disagreement. http1_test.c has the table of refusals with their clauses.
 */
#ifndef WEFT_BASE_WIRE_HTTP1_H
#define WEFT_BASE_WIRE_HTTP1_H

#include "base/wire/header.h"

struct http1_limits {
    size_t head_bytes;   /* 0 = HTTP1_HEAD_BYTES */
    size_t target_bytes; /* 0 = HTTP1_TARGET_BYTES */
    uint32_t headers;    /* 0 = HTTP1_HEADERS; at most HTTP1_HEADERS_CAP */
    bool allow_http10;   /* else HTTP/1.0 requests get 426; responses of 1.0 are always taken */
};
#define HTTP1_HEAD_BYTES (60u * 1024)
#define HTTP1_TARGET_BYTES (8u * 1024)
#define HTTP1_HEADERS 100u
#define HTTP1_HEADERS_CAP 256u
#define HTTP1_METHOD_BYTES 32u
#define HTTP1_TRAILER_BYTES (8u * 1024)
#define HTTP1_CHUNK_EXT_BYTES 256u         /* of one chunk */
#define HTTP1_CHUNK_EXT_TOTAL (16u * 1024) /* of one body */

enum http1_result { HTTP1_MORE, HTTP1_DONE, HTTP1_BAD };

/* Why an input was refused. */
enum http1_fault {
    HTTP1_OK,
    HTTP1_BAD_LINE, /* first line malformed, or a line that does not end in CRLF */
    HTTP1_BAD_METHOD,
    HTTP1_BAD_TARGET,
    HTTP1_BAD_VERSION,
    HTTP1_BAD_STATUS,
    HTTP1_BAD_NAME,    /* not a token, or blank before the colon */
    HTTP1_BAD_VALUE,   /* control byte */
    HTTP1_BAD_FOLD,    /* obs-fold */
    HTTP1_BAD_HOST,    /* missing, twice or malformed */
    HTTP1_BAD_LENGTH,  /* Content-Length twice, a list, not canonical, too large */
    HTTP1_BAD_FRAMING, /* Content-Length and Transfer-Encoding, or a body where none may be */
    HTTP1_BAD_CODING,  /* chunked twice or not last */
    HTTP1_UNKNOWN_CODING,
    HTTP1_BAD_EXPECT,
    HTTP1_BAD_CHUNK,
    HTTP1_BAD_TRAILER,
    HTTP1_HEAD_TOO_LARGE,
    HTTP1_TARGET_TOO_LONG,
    HTTP1_TOO_MANY_HEADERS,
    HTTP1_OLD_VERSION, /* 1.0 where it is not allowed */
    HTTP1_FAULT_COUNT,
};
/* What a server answers: 400, 414, 417, 426, 431, 501, 505. A bad response is 502 to the client. */
int http1_fault_status(enum http1_fault fault);
/* "smuggling.te_and_cl"-like greppable text for logs and metrics. */
const char *http1_fault_name(enum http1_fault fault);

/* How far the bytes of an incomplete head were looked at. Zero it for each new head. */
struct http1_progress {
    size_t seen;   /* bytes without an end of head */
    size_t parsed; /* bytes at the last full try */
    enum http1_fault fault;
};

/* RFC 9112 §6.3. */
enum http1_body {
    HTTP1_BODY_NONE,
    HTTP1_BODY_LENGTH,
    HTTP1_BODY_CHUNKED,
    HTTP1_BODY_UNTIL_CLOSE, /* responses only */
    HTTP1_BODY_TUNNEL,      /* 101, or 2xx to CONNECT: no more HTTP on this connection */
};

enum http1_form { HTTP1_ORIGIN, HTTP1_ABSOLUTE, HTTP1_AUTHORITY, HTTP1_ASTERISK };

struct http1_head {
    struct http_head http; /* Host is in authority; framing and hop fields stay in headers */
    struct slice target;   /* as received */
    struct slice reason;   /* of a response */
    size_t bytes;          /* of the head with its blank line */
    uint64_t length;       /* of the body, for HTTP1_BODY_LENGTH */
    enum http1_body body;
    enum http1_form form;
    uint8_t minor;   /* HTTP/1.minor */
    bool keep_alive; /* RFC 9112 §9.3 */
    bool expect_continue;
    bool te_trailers;     /* TE: trailers */
    struct slice upgrade; /* value of Upgrade if Connection names it, else empty */
};

/* Pure but for *at, the arena (field array, lower-case copies) and *ret_head (untouched unless
 * DONE). A leading CRLF is skipped once (RFC 9112 §2.2). limits may be NULL. */
enum http1_result http1_parse_request(struct http1_progress *at, struct slice bytes,
                                      const struct http1_limits *limits, struct arena *arena,
                                      struct http1_head *ret_head);
/* request_method decides the framing (HEAD, CONNECT). 1xx heads come out like others: the caller
 * goes on with the next one, but for 101. */
enum http1_result http1_parse_response(struct http1_progress *at, struct slice bytes,
                                       enum http_method request_method,
                                       const struct http1_limits *limits, struct arena *arena,
                                       struct http1_head *ret_head);

/* The head's slices point into `bytes`, as parsed: moves them to a copy in arena. */
void http1_head_keep(struct http1_head *h, struct slice bytes, struct arena *arena);

/* Does the connection begin with the HTTP/2 preface "PRI * HTTP/2.0…"? DONE: yes; MORE: perhaps;
 * BAD: no. */
enum http1_result http1_is_h2_preface(struct slice bytes);

/* Chunked bodies. */

/* Zeroed is the start of a body. */
struct http1_chunked {
    uint64_t left; /* of the current chunk */
    uint32_t ext, ext_total;
    uint8_t state, digits;
    enum http1_fault fault;
    struct http1_progress trailer;
};
/* Takes bytes from the front of *in. Each call gives at most one span of body bytes in *ret_data
 * (borrowed from *in, perhaps empty); call until it says otherwise:
 *   MORE with data:   use it, call again
 *   MORE without:     wait for input. What is left of *in (part of a trailer section) must be
 *                     offered again with more behind it
 *   DONE:             the body is over; *in begins after it; trailers are in *ret_trailers
 * Trailers that could change framing, routing or identity are refused (RFC 9110 §6.5.1). */
enum http1_result http1_chunked_next(struct http1_chunked *c, struct slice *in, struct arena *arena,
                                     struct slice *ret_data, struct headers *ret_trailers);

#define HTTP1_CHUNK_HEAD_BYTES 18
/* Head line of a chunk of n > 0 bytes into dst; after the data comes HTTP1_CHUNK_TAIL. */
struct slice http1_chunk_head(char dst[HTTP1_CHUNK_HEAD_BYTES], uint64_t n);
#define HTTP1_CHUNK_TAIL S("\r\n")
/* Last chunk, trailers (NULL = none) and the end. false at b's limit or for an illegal field. */
bool http1_write_last_chunk(struct buf *b, const struct headers *trailers);

/* Writing. */

struct http1_write {
    enum http1_body body; /* NONE: a response keeps the Content-Length of its headers (answers to
                             HEAD, 304) or says 0; so does a POST, PUT or PATCH */
    uint64_t length;
    bool close;            /* Connection: close */
    bool keep_alive;       /* Connection: keep-alive, for a peer of HTTP/1.0 */
    struct slice upgrade;  /* Connection: upgrade, Upgrade: this */
    uint8_t minor_is_zero; /* write HTTP/1.0 */
    bool to_head;          /* the answer to a HEAD: without a Content-Length in its headers, none */
    bool absolute;         /* target in absolute form (scheme and authority must be there) */
    struct slice reason;   /* empty = the status' usual one */
};
/* The framing and connection fields are written from `how`, never from the headers; Host from
 * authority. Nothing is appended and false returned at b's limit or if a field could not be sent
 * safely (a name that is no token, a value with CR, LF or NUL: h2 to h1 smuggling). */
bool http1_write_request(struct buf *b, const struct http_head *head,
                         const struct http1_write *how);
bool http1_write_response(struct buf *b, const struct http_head *head,
                          const struct http1_write *how);

#endif
