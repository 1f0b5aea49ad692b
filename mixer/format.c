#include "mixer/format.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/core/assert.h"

/* X(name, takes an argument) */
#define COMMANDS(X)                                                                                \
    X(START_TIME, true)                                                                            \
    X(REQ, true)                                                                                   \
    X(RESP, true)                                                                                  \
    X(TRAILER, true)                                                                               \
    X(PROTOCOL, false)                                                                             \
    X(RESPONSE_CODE, false)                                                                        \
    X(RESPONSE_CODE_DETAILS, false)                                                                \
    X(CONNECTION_TERMINATION_DETAILS, false)                                                       \
    X(RESPONSE_FLAGS, false)                                                                       \
    X(RESPONSE_FLAGS_LONG, false)                                                                  \
    X(BYTES_RECEIVED, false)                                                                       \
    X(BYTES_SENT, false)                                                                           \
    X(DURATION, false)                                                                             \
    X(REQUEST_DURATION, false)                                                                     \
    X(RESPONSE_DURATION, false)                                                                    \
    X(RESPONSE_TX_DURATION, false)                                                                 \
    X(GRPC_STATUS, true)                                                                           \
    X(UPSTREAM_HOST, false)                                                                        \
    X(UPSTREAM_REMOTE_ADDRESS, false)                                                              \
    X(UPSTREAM_LOCAL_ADDRESS, false)                                                               \
    X(UPSTREAM_CLUSTER, false)                                                                     \
    X(UPSTREAM_CLUSTER_RAW, false)                                                                 \
    X(UPSTREAM_TRANSPORT_FAILURE_REASON, false)                                                    \
    X(UPSTREAM_REQUEST_ATTEMPT_COUNT, false)                                                       \
    X(DOWNSTREAM_LOCAL_ADDRESS, false)                                                             \
    X(DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT, false)                                                \
    X(DOWNSTREAM_LOCAL_PORT, false)                                                                \
    X(DOWNSTREAM_REMOTE_ADDRESS, false)                                                            \
    X(DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT, false)                                               \
    X(DOWNSTREAM_REMOTE_PORT, false)                                                               \
    X(DOWNSTREAM_DIRECT_REMOTE_ADDRESS, false)                                                     \
    X(DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT, false)                                        \
    X(DOWNSTREAM_PEER_URI_SAN, false)                                                              \
    X(DOWNSTREAM_LOCAL_URI_SAN, false)                                                             \
    X(REQUESTED_SERVER_NAME, false)                                                                \
    X(ROUTE_NAME, false)                                                                           \
    X(HOSTNAME, false)                                                                             \
    X(CONNECTION_ID, false)                                                                        \
    X(DYNAMIC_METADATA, true)                                                                      \
    X(FILTER_STATE, true)

enum command {
    CMD_LITERAL,
#define X(name, argument) CMD_##name,
    COMMANDS(X)
#undef X
};

static const struct command_row {
    struct slice name;
    bool argument;
} command_table[] = {[CMD_LITERAL] = {S_INIT(""), false},
#define X(name, arg) [CMD_##name] = {S_INIT(#name), arg},
                     COMMANDS(X)
#undef X
};

struct format_op {
    enum command command;
    struct slice text, alternative; /* literal; or header names; or argument */
    size_t bytes_max;               /* :N behind the command; 0 = whole */
};

struct format {
    struct arena arena;
    size_t n;
    struct format_op ops[FORMAT_OPS_MAX];
};

const char format_istio_default[] =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" "
    "%RESPONSE_CODE% "
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" "
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% "
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";
const char format_envoy_default[] =
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" "
    "%RESPONSE_CODE% "
    "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" "
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

/* Compiling. */

static struct slice lower_dup(struct arena *arena, struct slice s)
{
    struct slice d = arena_dup(arena, s);
    char *p = (char *)(uintptr_t)d.p;
    for (size_t i = 0; i < d.n; i++)
        if (p[i] >= 'A' && p[i] <= 'Z')
            p[i] = (char)(p[i] | 0x20);
    return d;
}

static bool command_find(struct slice name, enum command *ret)
{
    for (size_t i = 1; i < ARRAY_LEN(command_table); i++) {
        if (slice_eq(command_table[i].name, name)) {
            *ret = (enum command)i;
            return true;
        }
    }
    return false;
}

/* NAME, NAME(argument), NAME(argument):bytes */
static bool command_parse(struct format *f, struct slice text, struct format_op *op)
{
    size_t open = slice_find(text, '('), close = slice_find_last(text, ')');
    struct slice name = text, argument = {0}, length = {0};
    uint64_t bytes = 0;
    if (open != SIZE_MAX) {
        if (close == SIZE_MAX || close < open)
            return false;
        name = slice_sub(text, 0, open);
        argument = slice_sub(text, open + 1, close - open - 1);
        length = slice_skip(text, close + 1);
        if (length.n && (length.p[0] != ':' || !slice_u64(slice_skip(length, 1), &bytes)))
            return false;
    }
    if (!command_find(name, &op->command) || (argument.n && !command_table[op->command].argument))
        return false;
    op->bytes_max = bytes;
    op->text = arena_dup(&f->arena, argument);
    if (op->command == CMD_REQ || op->command == CMD_RESP || op->command == CMD_TRAILER) {
        struct slice main_name, other;
        slice_cut(argument, '?', &main_name, &other);
        op->text = lower_dup(&f->arena, main_name);
        op->alternative = lower_dup(&f->arena, other);
        return main_name.n > 0;
    }
    return true;
}

static size_t command_end(struct slice text, size_t from)
{
    bool inside = false; /* strftime patterns inside parentheses hold percent signs */
    for (size_t i = from; i < text.n; i++) {
        if (text.p[i] == '(')
            inside = true;
        else if (text.p[i] == ')')
            inside = false;
        else if (text.p[i] == '%' && !inside)
            return i;
    }
    return SIZE_MAX;
}

static bool compile(struct format *f, struct slice text, struct err *err)
{
    size_t at = 0;
    while (at < text.n) {
        if (f->n == FORMAT_OPS_MAX)
            return err_set(err, ERR_LIMIT, "format: more than %d parts", FORMAT_OPS_MAX);
        struct format_op *op = &f->ops[f->n++];
        size_t percent = slice_find(slice_skip(text, at), '%');
        if (percent != 0) { /* bytes up to the next command */
            op->text = arena_dup(&f->arena, slice_sub(text, at, percent));
            at = percent == SIZE_MAX ? text.n : at + percent;
            continue;
        }
        size_t end = command_end(text, at + 1);
        if (end == SIZE_MAX)
            return err_set(err, ERR_INVALID, "format: command at byte %zu has no end", at);
        struct slice command = slice_sub(text, at + 1, end - at - 1);
        if (!command.n)
            op->text = S("%");
        else if (!command_parse(f, command, op))
            return err_set(err, ERR_INVALID, "format: command \"%.*s\" is unknown or malformed",
                           SLICE(command));
        at = end + 1;
    }
    return true;
}

struct format *format_new(struct slice text, struct err *err)
{
    if (text.n > FORMAT_BYTES_MAX) {
        err_set(err, ERR_LIMIT, "format: longer than %d bytes", FORMAT_BYTES_MAX);
        return NULL;
    }
    struct format *f = MEM_NEW(struct format);
    if (compile(f, text, err))
        return f;
    format_free(f);
    return NULL;
}

void format_free(struct format *f)
{
    if (!f)
        return;
    arena_fini(&f->arena);
    mem_free(f);
}

bool format_reads_response(const struct format *f)
{
    for (size_t i = 0; i < f->n; i++) {
        if (f->ops[i].command == CMD_TRAILER)
            return true;
        if (f->ops[i].command == CMD_RESP &&
            !slice_eq(f->ops[i].text, S("x-envoy-upstream-service-time")))
            return true;
    }
    return false;
}

/* Writing. */

static bool write_escaped(struct slice s, enum format_escape escape, struct buf *out)
{
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool control = c < 0x20 || c == 0x7f;
        if (!control && (escape == FORMAT_HEADER || (c != '"' && c != '\\' && c < 0x80)))
            continue;
        if (!buf_append(out, slice_sub(s, from, i - from)))
            return false;
        from = i + 1;
        if (escape == FORMAT_HEADER)
            continue;
        if (escape == FORMAT_JSON && (c == '"' || c == '\\')) {
            buf_append_byte(out, '\\');
            buf_append_byte(out, (char)c);
        } else if (!buf_printf(out, escape == FORMAT_JSON ? "\\u%04x" : "\\x%02x", c)) {
            return false;
        }
    }
    return buf_append(out, slice_skip(s, from));
}

struct writer {
    const struct record *r;
    enum format_escape escape;
    struct buf *out;
};

static bool write_text(const struct writer *w, const struct format_op *op, struct slice s)
{
    if (!s.p || !s.n)
        return w->escape == FORMAT_HEADER || buf_append(w->out, S("-"));
    if (op->bytes_max && s.n > op->bytes_max)
        s.n = op->bytes_max;
    return write_escaped(s, w->escape, w->out);
}

static bool write_u64(const struct writer *w, uint64_t v)
{
    char text[20];
    size_t at = sizeof(text);
    do
        text[--at] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    return buf_append(w->out, (struct slice){text + at, sizeof(text) - at});
}

static bool write_ns_as_ms(const struct writer *w, const struct format_op *op, uint64_t ns)
{
    return ns ? write_u64(w, ns / 1000000) : write_text(w, op, S(""));
}

static bool write_address(const struct writer *w, const struct format_op *op,
                          const struct env_addr *addr, bool with_port)
{
    char text[ENV_ADDR_TEXT];
    if (!addr || !addr->len)
        return write_text(w, op, S(""));
    struct slice s = env_addr_format(addr, text), host, port;
    if (!with_port && slice_cut_last(s, ':', &host, &port))
        s = host;
    return write_text(w, op, s);
}

/* Envoy's default: 2026-11-24T18:38:52.123Z; else strftime's pattern. */
static bool write_time(const struct writer *w, const struct format_op *op)
{
    char text[128], pattern[64];
    time_t seconds = (time_t)(w->r->start_wall_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    if (!op->text.n) {
        size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
        int m = snprintf(text + n, sizeof(text) - n, ".%03dZ", (int)(w->r->start_wall_ms % 1000));
        return buf_append(w->out, (struct slice){text, n + (size_t)m});
    }
    if (!slice_cstr(op->text, pattern, sizeof(pattern)))
        return write_text(w, op, S(""));
    return write_text(w, op, (struct slice){text, strftime(text, sizeof(text), pattern, &tm)});
}

static struct slice request_value(const struct record *r, struct slice name)
{
    const struct http_head *h = r->request;
    if (!h || !name.n)
        return (struct slice){0};
    if (slice_eq(name, S(":path")))
        return h->path;
    if (slice_eq(name, S("x-envoy-original-path")) && r->original_path.n)
        return r->original_path;
    if (slice_eq(name, S(":method")))
        return h->method;
    if (slice_eq(name, S(":authority")) || slice_eq(name, S("host")))
        return h->authority;
    if (slice_eq(name, S(":scheme")))
        return h->scheme;
    const struct header *f = headers_find(&h->headers, name);
    return f ? f->value : (struct slice){0};
}

static bool write_request(const struct writer *w, const struct format_op *op)
{
    struct slice v = request_value(w->r, op->text);
    return write_text(w, op, v.n ? v : request_value(w->r, op->alternative));
}

static bool write_response(const struct writer *w, const struct format_op *op)
{
    if (w->r->has_upstream_service && slice_eq(op->text, S("x-envoy-upstream-service-time")))
        return write_u64(w, w->r->upstream_service_ms);
    const struct headers *hs = op->command == CMD_TRAILER ? w->r->trailers : w->r->response;
    const struct header *f = hs ? headers_find(hs, op->text) : NULL;
    if (!f && hs && op->alternative.n)
        f = headers_find(hs, op->alternative);
    return write_text(w, op, f ? f->value : S(""));
}

static struct slice protocol_text(const struct record *r)
{
    static const struct slice names[] = {
        [RECORD_HTTP10] = S_INIT("HTTP/1.0"),
        [RECORD_HTTP11] = S_INIT("HTTP/1.1"),
        [RECORD_HTTP2] = S_INIT("HTTP/2"),
        [RECORD_TCP] = S_INIT(""),
    };
    return names[r->protocol];
}

static bool write_flags(const struct writer *w, const struct format_op *op)
{
    char text[RECORD_FLAGS_TEXT * 5];
    return write_text(w, op,
                      record_flags_text(w->r->flags, op->command == CMD_RESPONSE_FLAGS_LONG, text));
}

static bool write_grpc_status(const struct writer *w, const struct format_op *op)
{
    if (w->r->grpc_status < 0)
        return write_text(w, op, S(""));
    return write_u64(w, (uint64_t)w->r->grpc_status);
}

static bool write_port(const struct writer *w, const struct format_op *op,
                       const struct env_addr *addr)
{
    if (!addr || !addr->len)
        return write_text(w, op, S(""));
    return write_u64(w, env_addr_port(addr));
}

static bool write_op(const struct writer *w, const struct format_op *op)
{
    const struct record *r = w->r;
    switch (op->command) {
    case CMD_LITERAL:
        return buf_append(w->out, op->text);
    case CMD_START_TIME:
        return write_time(w, op);
    case CMD_REQ:
        return write_request(w, op);
    case CMD_RESP:
    case CMD_TRAILER:
        return write_response(w, op);
    case CMD_PROTOCOL:
        return write_text(w, op, protocol_text(r));
    case CMD_RESPONSE_CODE:
        return write_u64(w, r->status);
    case CMD_RESPONSE_CODE_DETAILS:
        return write_text(w, op, r->details);
    case CMD_CONNECTION_TERMINATION_DETAILS:
        return write_text(w, op, r->termination_details);
    case CMD_RESPONSE_FLAGS:
    case CMD_RESPONSE_FLAGS_LONG:
        return write_flags(w, op);
    case CMD_BYTES_RECEIVED:
        return write_u64(w, r->bytes_received);
    case CMD_BYTES_SENT:
        return write_u64(w, r->bytes_sent);
    case CMD_DURATION:
        return write_u64(w, r->end_ns / 1000000);
    case CMD_REQUEST_DURATION:
        return write_ns_as_ms(w, op, r->request_ns);
    case CMD_RESPONSE_DURATION:
        return write_ns_as_ms(w, op, r->response_first_ns);
    case CMD_RESPONSE_TX_DURATION:
        return write_ns_as_ms(w, op, r->response_first_ns ? r->end_ns - r->response_first_ns : 0);
    case CMD_GRPC_STATUS:
        return write_grpc_status(w, op);
    case CMD_UPSTREAM_HOST:
    case CMD_UPSTREAM_REMOTE_ADDRESS:
        return write_text(w, op, r->upstream_host);
    case CMD_UPSTREAM_LOCAL_ADDRESS:
        return write_address(w, op, r->upstream_local, true);
    case CMD_UPSTREAM_CLUSTER:
    case CMD_UPSTREAM_CLUSTER_RAW:
        return write_text(w, op, r->upstream_cluster);
    case CMD_UPSTREAM_TRANSPORT_FAILURE_REASON:
        return write_text(w, op, r->transport_failure);
    case CMD_UPSTREAM_REQUEST_ATTEMPT_COUNT:
        return write_u64(w, r->attempts);
    case CMD_DOWNSTREAM_LOCAL_ADDRESS:
        return write_address(w, op, r->downstream_local, true);
    case CMD_DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT:
        return write_address(w, op, r->downstream_local, false);
    case CMD_DOWNSTREAM_LOCAL_PORT:
        return write_port(w, op, r->downstream_local);
    case CMD_DOWNSTREAM_REMOTE_ADDRESS:
    case CMD_DOWNSTREAM_DIRECT_REMOTE_ADDRESS:
        return write_address(w, op, r->downstream_remote, true);
    case CMD_DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT:
    case CMD_DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT:
        return write_address(w, op, r->downstream_remote, false);
    case CMD_DOWNSTREAM_REMOTE_PORT:
        return write_port(w, op, r->downstream_remote);
    case CMD_DOWNSTREAM_PEER_URI_SAN:
        return write_text(w, op, r->peer_principal);
    case CMD_DOWNSTREAM_LOCAL_URI_SAN:
        return write_text(w, op, r->local_principal);
    case CMD_REQUESTED_SERVER_NAME:
        return write_text(w, op, r->server_name);
    case CMD_ROUTE_NAME:
        return write_text(w, op, r->route_name);
    case CMD_HOSTNAME:
        return write_text(w, op, r->hostname);
    case CMD_CONNECTION_ID:
        return write_u64(w, r->connection_id);
    case CMD_DYNAMIC_METADATA: /* no filter of ours writes any */
    case CMD_FILTER_STATE:
        return write_text(w, op, S(""));
    }
    wf_unreachable("format command");
}

bool format_write(const struct format *f, const struct record *r, enum format_escape escape,
                  struct buf *out)
{
    struct writer w = {r, escape, out};
    for (size_t i = 0; i < f->n; i++)
        if (!write_op(&w, &f->ops[i]))
            return false;
    return true;
}

bool format_has_commands(struct slice text)
{
    return slice_find(text, '%') != SIZE_MAX;
}

bool format_value(struct slice text, const struct record *r, struct arena *arena,
                  struct slice *ret_value)
{
    struct format *f = format_new(text, NULL);
    struct buf out = {.limit = FORMAT_BYTES_MAX};
    bool ok = f && format_write(f, r, FORMAT_HEADER, &out);
    char *p = ok ? arena_try_alloc(arena, out.n + 1) : NULL;
    if (p && out.n)
        memcpy(p, buf_slice(&out).p, out.n);
    if (p)
        *ret_value = (struct slice){p, out.n};
    buf_fini(&out);
    format_free(f);
    return p != NULL;
}
