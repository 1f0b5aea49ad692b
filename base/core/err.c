#include "base/core/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/core/assert.h"
#include "base/core/slice.h"

static const char ellipsis[] = "\xE2\x80\xA6";

static const struct {
    const char *name, *k8s;
    int http, grpc;
} codes[] = {
    /* gRPC numbers: grpc/doc/statuscodes.md. Kubernetes: metav1.StatusReason. */
    [ERR_NONE] = {"ok", "", 200, 0},
    [ERR_INVALID] = {"invalid", "BadRequest", 400, 3},
    [ERR_NOT_FOUND] = {"not_found", "NotFound", 404, 5},
    [ERR_EXISTS] = {"exists", "AlreadyExists", 409, 6},
    [ERR_CONFLICT] = {"conflict", "Conflict", 409, 10},
    [ERR_FORBIDDEN] = {"forbidden", "Forbidden", 403, 7},
    [ERR_GONE] = {"gone", "Expired", 410, 11},
    [ERR_LIMIT] = {"limit", "TooManyRequests", 429, 8},
    [ERR_UNAVAILABLE] = {"unavailable", "ServiceUnavailable", 503, 14},
    [ERR_TIMEOUT] = {"timeout", "Timeout", 504, 4},
    [ERR_UNKNOWN_OUTCOME] = {"unknown_outcome", "Timeout", 504, 2},
    [ERR_UNSUPPORTED] = {"unsupported", "NotImplemented", 501, 12},
    [ERR_CORRUPT] = {"corrupt", "InternalError", 500, 15},
    [ERR_CANCELLED] = {"cancelled", "ClientClosedRequest", 499, 1},
    [ERR_IO] = {"io", "InternalError", 500, 13},
    [ERR_INTERNAL] = {"internal", "InternalError", 500, 13},
    [ERR_UNAUTHENTICATED] = {"unauthenticated", "Unauthorized", 401, 16},
    [ERR_NO_ROOM] = {"no_room", "InsufficientStorage", 507, 8},
};
static_assert(ARRAY_LEN(codes) == ERR_CODE_COUNT, "a row for every code");

/* Ends a message of `wanted` bytes, of which ERR_MSG_BYTES - 1 are there, in an ellipsis that does
 * not split a character. */
static void cut(char *msg, int wanted)
{
    if (wanted < ERR_MSG_BYTES)
        return;
    size_t at = ERR_MSG_BYTES - sizeof(ellipsis);
    while (at > 0 && ((unsigned char)msg[at] & 0xC0) == 0x80)
        at--;
    memcpy(msg + at, ellipsis, sizeof(ellipsis));
}

static void set_message(struct err *err, enum err_code code, const char *fmt, va_list ap)
{
    err->code = code;
    cut(err->msg, vsnprintf(err->msg, sizeof(err->msg), fmt, ap));
}

bool err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    if (!err)
        return false;
    va_list ap;
    va_start(ap, fmt);
    set_message(err, code, fmt, ap);
    va_end(ap);
    return false;
}

bool err_wrap(struct err *err, const char *fmt, ...)
{
    if (!err)
        return false;
    char inner[ERR_MSG_BYTES];
    memcpy(inner, err->msg, sizeof(inner));
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    if (n >= 0 && n < ERR_MSG_BYTES) {
        size_t at = (size_t)n;
        n += snprintf(err->msg + at, sizeof(err->msg) - at, ": %s", inner);
    }
    cut(err->msg, n);
    return false;
}

static enum err_code code_of_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
    case EADDRINUSE:
        return ERR_EXISTS;
    default:
        return ERR_IO;
    }
}

bool err_errno(struct err *err, int errnum, const char *fmt, ...)
{
    if (!err)
        return false;
    va_list ap;
    va_start(ap, fmt);
    set_message(err, code_of_errno(errnum), fmt, ap);
    va_end(ap);
    size_t at = strlen(err->msg);
    char text[128];
    int n = snprintf(err->msg + at, sizeof(err->msg) - at, ": %s",
                     strerror_r(errnum, text, sizeof(text)));
    cut(err->msg, (int)at + n);
    return false;
}

void err_clear(struct err *err)
{
    if (!err)
        return;
    err->code = ERR_NONE;
    err->msg[0] = '\0';
}

const char *err_code_name(enum err_code code)
{
    wf_assert(code < ERR_CODE_COUNT);
    return codes[code].name;
}

int err_http_status(enum err_code code)
{
    wf_assert(code < ERR_CODE_COUNT);
    return codes[code].http;
}

int err_grpc_status(enum err_code code)
{
    wf_assert(code < ERR_CODE_COUNT);
    return codes[code].grpc;
}

const char *err_k8s_reason(enum err_code code)
{
    wf_assert(code < ERR_CODE_COUNT);
    return codes[code].k8s;
}
