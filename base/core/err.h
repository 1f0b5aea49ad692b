/* Failures: a code that survives wrapping and a message, outermost context first. No heap.
 *
 *   if (!x509_parse(&csr, der, err))
 *       return err_wrap(err, "CSR from %.*s", SLICE(peer));     -> false
 *
 * A message names the object, the field and the way out. Library code never logs a failure.
 */
#ifndef WEFT_BASE_CORE_ERR_H
#define WEFT_BASE_CORE_ERR_H

#include <stdbool.h>

enum err_code {
    ERR_NONE = 0,
    ERR_INVALID, /* the input is wrong and stays wrong */
    ERR_NOT_FOUND,
    ERR_EXISTS,   /* creation of what is there */
    ERR_CONFLICT, /* a precondition (expected revision) did not hold */
    ERR_FORBIDDEN,
    ERR_GONE,        /* before the history window: relist */
    ERR_LIMIT,       /* a named bound was reached */
    ERR_UNAVAILABLE, /* nobody can do it now; nothing was done */
    ERR_TIMEOUT,
    ERR_UNKNOWN_OUTCOME, /* it may or may not have been done */
    ERR_UNSUPPORTED,
    ERR_CORRUPT, /* stored bytes are not what was stored */
    ERR_CANCELLED,
    ERR_IO, /* the operating system refused */
    ERR_INTERNAL,
    ERR_UNAUTHENTICATED, /* we do not know who asks */
    ERR_NO_ROOM,         /* a disk or a quota is full; nothing was done */
    ERR_CODE_COUNT,
};

#define ERR_MSG_BYTES 512

struct err {
    enum err_code code;
    char msg[ERR_MSG_BYTES];
};

/* Always return false, so that a failing function is one line. err may be NULL (the caller does not
 * care). A message that does not fit is cut and ends in "…". */
bool err_set(struct err *err, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts "context: " in front; keeps the code. */
bool err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "context: strerror(errnum)" as ERR_IO, or ERR_NOT_FOUND for ENOENT, ERR_EXISTS for EEXIST and
 * EADDRINUSE. */
bool err_errno(struct err *err, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void err_clear(struct err *err);

/* One table for the whole project: code -> name, HTTP status, gRPC status, Kubernetes reason. */
const char *err_code_name(enum err_code code);
int err_http_status(enum err_code code);
int err_grpc_status(enum err_code code);
const char *err_k8s_reason(enum err_code code);

#endif
