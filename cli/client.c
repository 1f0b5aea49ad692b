#include "cli/client.h"

#include <netdb.h>
#include <string.h>

#include "base/env/env_uv.h"
#include "base/net/http_client.h"
#include "base/wire/json.h"
#include "cli/cli_limits.h"

#define TURN_MS 1000
#define DEFAULT_PORT "7443"
#define REVISION_TEXT 24 /* a 64-bit number */
#define ACCEPT_TABLE "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

struct client {
    struct client_options opt;
    struct http_client *http;
    struct arena arena; /* addresses, warnings */
    struct env_addr addrs[CLI_ADDRS_MAX];
    struct slice names[CLI_ADDRS_MAX]; /* as given: the Host field */
    size_t addr_n;
    json_t *status;
    bool reached;
    VEC(struct slice) warned;
};

/* Addresses. */

static bool add_address(struct client *cl, const struct sockaddr *sa, socklen_t n,
                        struct slice name, struct err *err)
{
    if (cl->addr_n == CLI_ADDRS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d addresses", CLI_ADDRS_MAX);
    struct env_addr *addr = &cl->addrs[cl->addr_n];
    memcpy(&addr->sa, sa, n);
    addr->len = n;
    cl->names[cl->addr_n++] = name;
    return true;
}

static bool resolve(struct client *cl, struct slice text, struct err *err)
{
    struct slice host, port;
    if (!slice_cut_last(text, ':', &host, &port))
        port = S(DEFAULT_PORT);
    uint64_t number;
    if (slice_u64(port, &number) && number > UINT16_MAX) /* the resolver takes it, cut off */
        return err_set(err, ERR_INVALID, "address \"%.*s\": no port is above 65535", SLICE(text));
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    const char *host_z = arena_dup(&cl->arena, host).p, *port_z = arena_dup(&cl->arena, port).p;
    int failed = host.n ? getaddrinfo(host_z, port_z, &hints, &found) : EAI_NONAME;
    if (failed)
        return err_set(err, ERR_INVALID, "address \"%.*s\": %s", SLICE(text), gai_strerror(failed));
    struct slice name = arena_printf(&cl->arena, "%s:%s", host_z, port_z);
    bool ok = true;
    for (const struct addrinfo *a = found; a && ok; a = a->ai_next)
        if (a->ai_family == AF_INET || a->ai_family == AF_INET6)
            ok = add_address(cl, a->ai_addr, a->ai_addrlen, name, err);
    freeaddrinfo(found);
    return ok;
}

static bool read_address(struct client *cl, struct slice text, struct err *err)
{
    struct env_addr addr;
    struct slice whole = arena_printf(&cl->arena, "%.*s:" DEFAULT_PORT, SLICE(text));
    if (slice_starts(text, S("https://")))
        return err_set(err, ERR_UNSUPPORTED, "address \"%.*s\": TLS is not spoken here yet",
                       SLICE(text));
    if (slice_starts(text, S("http://")))
        text = slice_skip(text, sizeof("http://") - 1);
    if (env_addr_parse(&addr, text, NULL))
        return add_address(cl, &addr.sa, addr.len,
                           slice_starts(text, S("unix:")) ? S("weft") : text, err);
    if (env_addr_parse(&addr, whole, NULL))
        return add_address(cl, &addr.sa, addr.len, whole, err);
    return resolve(cl, text, err);
}

static bool read_addresses(struct client *cl, struct slice rest, struct err *err)
{
    struct slice one;
    while (rest.n) {
        slice_cut(rest, ',', &one, &rest);
        one = slice_trim(one);
        while (slice_ends(one, S("/")))
            one.n--;
        if (one.n && !read_address(cl, arena_dup(&cl->arena, one), err))
            return false;
    }
    return cl->addr_n || err_set(err, ERR_INVALID, "no address of the control plane was given");
}

struct client *client_new(const struct client_options *opt, struct err *err)
{
    struct client *cl = MEM_NEW(struct client);
    cl->opt = *opt;
    if (!read_addresses(cl, opt->addrs, err)) {
        client_free(cl);
        return NULL;
    }
    cl->http = http_client_new(opt->env, &(struct http_client_options){0});
    return cl;
}

void client_free(struct client *cl)
{
    if (!cl)
        return;
    http_client_free(cl->http);
    json_decref(cl->status);
    vec_fini(&cl->warned);
    arena_fini(&cl->arena);
    mem_free(cl);
}

/* The first address becomes the last. */
void client_next_address(struct client *cl)
{
    struct env_addr addr = cl->addrs[0];
    struct slice name = cl->names[0];
    size_t rest = cl->addr_n - 1;
    memmove(cl->addrs, cl->addrs + 1, rest * sizeof(addr));
    memmove(cl->names, cl->names + 1, rest * sizeof(name));
    cl->addrs[rest] = addr;
    cl->names[rest] = name;
}

size_t client_address_count(const struct client *cl)
{
    return cl->addr_n;
}

static struct slice addresses(const struct client *cl, struct arena *scratch)
{
    struct slice all = {0};
    for (size_t i = 0; i < cl->addr_n; i++)
        all = arena_printf(scratch, "%.*s%s%.*s", SLICE(all), i ? ", " : "", SLICE(cl->names[i]));
    return all;
}

/* Warnings. */

static void warn(struct client *cl, struct slice text)
{
    for (size_t i = 0; i < cl->warned.n; i++)
        if (slice_eq(cl->warned.p[i], text))
            return;
    *vec_push(&cl->warned) = text = arena_dup(&cl->arena, text);
    if (cl->opt.on_warning)
        cl->opt.on_warning(cl->opt.ctx, text);
}

/* 299 - "text" with \" and \\ escaped (RFC 7234 §5.5). */
static void warn_header(struct client *cl, struct slice value)
{
    size_t open = slice_find(value, '"');
    if (open == SIZE_MAX)
        return;
    struct slice quoted = slice_skip(value, open + 1);
    struct buf text = {.limit = ERR_MSG_BYTES * 4};
    for (size_t i = 0; i < quoted.n && quoted.p[i] != '"'; i++) {
        if (quoted.p[i] == '\\' && i + 1 < quoted.n)
            i++;
        buf_append_byte(&text, quoted.p[i]);
    }
    warn(cl, buf_slice(&text));
    buf_fini(&text);
}

static void warn_headers(struct client *cl, const struct headers *hs)
{
    for (const struct header *h = headers_find(hs, S("warning")); h; h = headers_next(hs, h))
        warn_header(cl, h->value);
}

/* One exchange. */

struct exchange {
    struct client *cl;
    bool done, quiet;
    bool open; /* an earlier try may have done it */
    int status;
    struct buf body;
    struct err failure;
};

static void on_done(void *ctx, const struct http_response *r)
{
    struct exchange *x = ctx;
    x->done = true;
    x->status = r->status;
    buf_append(&x->body, r->body);
    if (!x->quiet)
        warn_headers(x->cl, r->headers);
}

static void on_fail(void *ctx, const struct err *err)
{
    struct exchange *x = ctx;
    x->done = true;
    x->failure = *err;
}

static struct http_call_options call_options(struct client *cl, const struct client_request *r,
                                             struct arena *scratch)
{
    struct headers *hs = ARENA_NEW(scratch, struct headers);
    headers_add(hs, scratch, HDR_ACCEPT,
                r->form == CLIENT_TABLE ? S(ACCEPT_TABLE) : S("application/json"));
    headers_add(hs, scratch, HDR_USER_AGENT,
                cl->opt.agent.n ? cl->opt.agent : S("weft/" WEFT_VERSION));
    if (r->key.n)
        headers_add_name(hs, scratch, S("idempotency-key"), r->key);
    return (struct http_call_options){
        .method = r->method,
        .addrs = cl->addrs,
        .addr_n = cl->addr_n,
        .authority = cl->names[0],
        .path = r->path,
        .headers = hs,
        .content_type = !r->body            ? (struct slice){0}
                        : r->content_type.n ? r->content_type
                                            : S("application/json"),
        .timeout = r->timeout ? r->timeout : cl->opt.timeout,
        .response_bytes_max = CLI_ANSWER_BYTES_MAX,
        .on_fail = on_fail,
    };
}

/* One exchange with the first address that takes the connection. */
static void exchange_run(struct exchange *x, const struct client_request *r, struct slice body)
{
    struct arena scratch = {0};
    struct http_call_options o = call_options(x->cl, r, &scratch);
    o.body = body;
    o.on_done = on_done;
    o.ctx = x;
    http_call_start(x->cl->http, &o);
    while (!x->done)
        env_uv_turn(x->cl->opt.env, TURN_MS);
    if (x->status || x->failure.code != ERR_UNAVAILABLE)
        x->cl->reached = true;
    arena_fini(&scratch);
}

/* Nothing was done, or doing it again is no harm: another node may do it. */
static bool worth_another_node(const struct exchange *x, const struct client_request *r)
{
    if (x->status)
        return x->status == 503 || x->status == 507 || (x->status == 504 && r->key.n);
    return x->failure.code == ERR_UNAVAILABLE ||
           (x->failure.code == ERR_UNKNOWN_OUTCOME && (r->repeatable || r->key.n));
}

/* Of a write nobody knows what came. */
static bool exchange_open(const struct exchange *x, const struct client_request *r)
{
    return !slice_eq(r->method, S("GET")) &&
           (x->status == 504 || x->failure.code == ERR_UNKNOWN_OUTCOME);
}

static void exchange_again(struct exchange *x, const struct client_request *r)
{
    x->open = x->open || exchange_open(x, r);
    x->done = false;
    x->status = 0;
    buf_clear(&x->body);
    err_clear(&x->failure);
}

static enum err_code code_of_status(int status, struct slice reason)
{
    if (slice_eq(reason, S("AlreadyExists")))
        return ERR_EXISTS;
    switch (status) {
    case 400:
    case 413:
    case 415:
    case 422:
        return ERR_INVALID;
    case 401:
        return ERR_UNAUTHENTICATED;
    case 403:
        return ERR_FORBIDDEN;
    case 404:
        return ERR_NOT_FOUND;
    case 409:
        return ERR_CONFLICT;
    case 410:
        return ERR_GONE;
    case 429:
        return ERR_LIMIT;
    case 503:
        return ERR_UNAVAILABLE;
    case 504:
        return ERR_TIMEOUT;
    case 507:
        return ERR_NO_ROOM;
    default:
        return ERR_INTERNAL;
    }
}

static bool refused(struct client *cl, int status, json_t *take_body, struct slice text,
                    struct err *err)
{
    struct slice message = json_str(take_body, "message");
    enum err_code code = code_of_status(status, json_str(take_body, "reason"));
    json_decref(cl->status);
    cl->status = take_body;
    while (slice_ends(message, S("\n")))
        message.n--;
    if (message.n)
        return err_set(err, code, "%.*s", SLICE(message));
    while (slice_ends(text, S("\n")) || slice_ends(text, S("\r")))
        text.n--;
    bool page = status == 404 || slice_starts(text, S("<")) || slice_find(text, '\n') != SIZE_MAX;
    if (!take_body && text.n && !page)
        return err_set(err, code, "%.*s", SLICE(text));
    if (!take_body && text.n) /* of somebody else, or of another port of weftd */
        return err_set(err, ERR_UNAVAILABLE, "%.*s answers HTTP %d and is not weft's API",
                       SLICE(cl->names[0]), status);
    return err_set(err, code, "the control plane answered HTTP %d", status);
}

static bool lost(struct client *cl, const struct err *why, struct err *err)
{
    struct arena scratch = {0};
    enum err_code code = why->code;
    if (code == ERR_UNAVAILABLE)
        err_set(err, code, "no node of the control plane answers (%.*s): %s",
                SLICE(addresses(cl, &scratch)), why->msg);
    else if (code == ERR_TIMEOUT)
        err_set(err, ERR_UNAVAILABLE, "the control plane did not answer in time: %s", why->msg);
    else if (code == ERR_UNKNOWN_OUTCOME)
        err_set(err, code,
                "the answer was lost, the change may have been made: look before "
                "repeating it: %s",
                why->msg);
    else if (code == ERR_INVALID)
        err_set(err, ERR_UNAVAILABLE, "%.*s is not weft's API: %s", SLICE(cl->names[0]), why->msg);
    else
        err_set(err, code, "%s", why->msg);
    arena_fini(&scratch);
    return false;
}

/* That the last try did nothing says nothing of those before it. */
static void keep_open(const struct exchange *x, struct err *err)
{
    struct err why = *err;
    bool refusal = x->status == 503 || x->status == 507 || x->status == 429 ||
                   (!x->status && x->failure.code == ERR_UNAVAILABLE);
    if (x->open && refusal)
        err_set(err, ERR_UNKNOWN_OUTCOME,
                "the answer was lost, the change may have been made: look before repeating it; "
                "sent once more, it was refused: %s",
                why.msg);
}

static bool answer(struct exchange *x, const struct client_request *r, struct client_answer *ret,
                   struct err *err)
{
    if (!x->status)
        return lost(x->cl, &x->failure, err);
    struct slice text = buf_slice(&x->body);
    struct err malformed = {0};
    json_t *body =
        text.n ? json_parse_capped(text, CLI_ANSWER_BYTES_MAX, JSON_DEPTH_MAX, &malformed) : NULL;
    bool wanted = x->status / 100 == 2 || (r->any_status && x->status == 504 && body &&
                                           !slice_eq(json_str(body, "kind"), S("Status")));
    if (!wanted)
        return refused(x->cl, x->status, body, text, err);
    if (text.n && !body)
        return err_set(err, ERR_UNAVAILABLE, "%.*s is not weft's API, its answer is no JSON: %s",
                       SLICE(x->cl->names[0]), malformed.msg);
    *ret = (struct client_answer){.status = x->status, .body = body};
    return true;
}

static bool body_text(const json_t *body, struct buf *out, struct err *err)
{
    return !body || json_write(out, body, err);
}

bool client_call(struct client *cl, const struct client_request *r, struct client_answer *ret,
                 struct err *err)
{
    struct exchange x = {.cl = cl, .quiet = r->quiet};
    struct buf body = {.limit = JSON_BYTES_MAX};
    json_decref(cl->status);
    cl->status = NULL;
    cl->reached = false;
    bool ok = body_text(r->body, &body, err);
    if (!ok) {
        err_wrap(err, "the change is larger than one revision can hold; make it in parts");
    } else {
        exchange_run(&x, r, buf_slice(&body));
        for (size_t tries = 1; tries < cl->addr_n && worth_another_node(&x, r); tries++) {
            client_next_address(cl);
            exchange_again(&x, r);
            exchange_run(&x, r, buf_slice(&body));
        }
        ok = answer(&x, r, ret, err);
        if (!ok)
            keep_open(&x, err);
    }
    buf_fini(&x.body);
    buf_fini(&body);
    return ok;
}

bool client_get(struct client *cl, struct slice path, enum client_form form, json_t **ret_body,
                struct err *err)
{
    struct client_answer a = {0};
    if (!client_call(cl, &(struct client_request){.method = S("GET"), .path = path, .form = form},
                     &a, err))
        return false;
    if (!a.body)
        return err_set(err, ERR_INTERNAL, "the control plane answered with nothing");
    *ret_body = a.body;
    return true;
}

const json_t *client_status(const struct client *cl)
{
    return cl->status;
}

bool client_reached(const struct client *cl)
{
    return cl->reached;
}

/* A long answer. */

struct downloading {
    struct client *cl;
    const struct client_download *d;
    struct http_call *call;
    int status;
    bool over, begun;
    struct buf refusal; /* the body of what is no 200 */
    struct err failure;
};

static void on_download_head(void *ctx, const struct http_response *r)
{
    struct downloading *x = ctx;
    x->status = r->status;
    warn_headers(x->cl, r->headers);
}

static void on_download_data(void *ctx, struct slice bytes)
{
    struct downloading *x = ctx;
    if (x->status != 200) {
        buf_append(&x->refusal, bytes);
        return;
    }
    x->begun = true;
    if (x->d->fn(x->d->ctx, bytes, &x->failure))
        return;
    x->over = true;
    http_call_cancel(x->call);
}

static void on_download_end(void *ctx)
{
    struct downloading *x = ctx;
    x->over = true;
}

static void on_download_fail(void *ctx, const struct err *err)
{
    struct downloading *x = ctx;
    x->over = true;
    x->failure = *err;
}

static void download_run(struct downloading *x)
{
    struct arena scratch = {0};
    struct http_call_options o = call_options(
        x->cl,
        &(struct client_request){.method = S("GET"), .path = x->d->path, .timeout = x->d->timeout},
        &scratch);
    o.stall_timeout = CLI_DOWNLOAD_STALL_MS;
    o.on_head = on_download_head;
    o.on_data = on_download_data;
    o.on_end = on_download_end;
    o.on_fail = on_download_fail;
    o.ctx = x;
    x->over = false;
    x->status = 0;
    err_clear(&x->failure);
    buf_clear(&x->refusal);
    x->call = http_call_start(x->cl->http, &o);
    while (!x->over)
        env_uv_turn(x->cl->opt.env, TURN_MS);
    arena_fini(&scratch);
}

bool client_download(struct client *cl, const struct client_download *d, struct err *err)
{
    struct downloading x = {.cl = cl, .d = d, .refusal = {.limit = JSON_BYTES_MAX}};
    download_run(&x);
    for (size_t tries = 1;
         tries < cl->addr_n && !x.begun && (!x.status || x.status == 503 || x.status == 507);
         tries++) {
        client_next_address(cl);
        download_run(&x);
    }
    bool ok = x.status == 200 && !x.failure.code;
    struct slice text = buf_slice(&x.refusal);
    if (x.begun && x.failure.code)
        err_set(err, x.failure.code, "%s", x.failure.msg);
    else if (x.failure.code)
        lost(cl, &x.failure, err);
    else if (!ok)
        refused(cl, x.status, text.n ? json_parse(text, NULL) : NULL, text, err);
    buf_fini(&x.refusal);
    return ok;
}

/* Watch. */

struct watching {
    struct client *cl;
    const struct client_watch *w;
    struct http_call *call;
    struct buf line;
    char revision[REVISION_TEXT]; /* behind which the next connection goes on */
    bool over;                    /* this connection */
    bool finished;                /* fn has seen enough */
    bool late;
    unsigned idle; /* connections in a row without an event */
    int status;
    struct err failure;
    struct env_timer timer;
};

static void see_revision(struct watching *x, const json_t *event)
{
    struct slice rev = json_str(event, "object.metadata.resourceVersion");
    if (!rev.n)
        rev = json_str(event, "object.rows[0].object.metadata.resourceVersion");
    if (rev.n)
        slice_cstr(rev, x->revision, sizeof(x->revision));
}

static void end_connection(struct watching *x)
{
    if (x->over)
        return;
    x->over = true;
    http_call_cancel(x->call);
}

static void take_event(struct watching *x, struct slice text)
{
    json_t *event = json_parse_capped(text, CLI_LINE_BYTES_MAX, JSON_DEPTH_MAX, &x->failure);
    struct slice type = json_str(event, "type");
    if (!event) {
        end_connection(x);
    } else if (slice_eq(type, S("ERROR"))) {
        err_set(&x->failure,
                code_of_status((int)json_int(event, "object.code", 500),
                               json_str(event, "object.reason")),
                "%.*s", SLICE(json_str(event, "object.message")));
        end_connection(x);
    } else {
        x->idle = 0;
        see_revision(x, event);
        if (!slice_eq(type, S("BOOKMARK")) && !x->w->fn(x->w->ctx, event)) {
            x->finished = true;
            end_connection(x);
        }
    }
    json_decref(event);
}

static void on_watch_head(void *ctx, const struct http_response *r)
{
    struct watching *x = ctx;
    x->status = r->status;
    warn_headers(x->cl, r->headers);
}

static void take_lines(struct watching *x)
{
    struct slice line, rest;
    while (!x->over && x->status == 200 && slice_cut(buf_slice(&x->line), '\n', &line, &rest)) {
        if (slice_trim(line).n)
            take_event(x, line);
        buf_consume(&x->line, line.n + 1);
    }
}

static void on_watch_data(void *ctx, struct slice bytes)
{
    struct watching *x = ctx;
    if (!buf_append(&x->line, bytes)) {
        err_set(&x->failure, ERR_LIMIT, "an event of more than %u bytes", CLI_LINE_BYTES_MAX);
        end_connection(x);
        return;
    }
    take_lines(x);
}

static void on_watch_end(void *ctx)
{
    struct watching *x = ctx;
    x->over = true;
}

static void on_watch_fail(void *ctx, const struct err *err)
{
    struct watching *x = ctx;
    x->over = true;
    x->failure = *err;
}

static void on_watch_timeout(struct env_timer *t)
{
    struct watching *x = container_of(t, struct watching, timer);
    x->late = true;
    end_connection(x);
}

static void watch_connect(struct watching *x)
{
    struct arena scratch = {0};
    struct slice path = arena_printf(&scratch, "%.*s&allowWatchBookmarks=true&resourceVersion=%s",
                                     SLICE(x->w->path), x->revision);
    struct http_call_options o = call_options(
        x->cl, &(struct client_request){.method = S("GET"), .path = path, .form = x->w->form},
        &scratch);
    o.stall_timeout = CLI_WATCH_STALL_MS;
    o.on_head = on_watch_head;
    o.on_data = on_watch_data;
    o.on_end = on_watch_end;
    o.on_fail = on_watch_fail;
    o.ctx = x;
    x->over = false;
    x->status = 0;
    err_clear(&x->failure);
    buf_clear(&x->line);
    x->call = http_call_start(x->cl->http, &o);
    while (!x->over)
        env_uv_turn(x->cl->opt.env, TURN_MS);
    arena_fini(&scratch);
}

/* The connection ended without our doing: is the watch taken up again? */
static bool watch_goes_on(struct watching *x)
{
    bool broken = x->failure.code == ERR_NONE || x->failure.code == ERR_UNAVAILABLE ||
                  x->failure.code == ERR_UNKNOWN_OUTCOME || x->failure.code == ERR_TIMEOUT;
    bool welcome = x->status == 0 || x->status == 200 || x->status == 503;
    return broken && welcome && ++x->idle <= CLI_WATCH_RETRIES_MAX;
}

static bool watch_ended(struct watching *x, struct err *err)
{
    if (x->finished)
        return true;
    if (x->late)
        return err_set(err, ERR_TIMEOUT, "timed out waiting");
    if (x->status && x->status != 200) {
        json_t *body = json_parse(buf_slice(&x->line), NULL);
        return refused(x->cl, x->status, body, buf_slice(&x->line), err);
    }
    if (x->failure.code == ERR_NONE)
        return err_set(err, ERR_UNAVAILABLE, "the control plane ends each watch");
    return lost(x->cl, &x->failure, err);
}

bool client_watch(struct client *cl, const struct client_watch *w, struct err *err)
{
    struct watching x = {.cl = cl, .w = w, .line = {.limit = CLI_LINE_BYTES_MAX}};
    slice_cstr(w->revision, x.revision, sizeof(x.revision));
    x.timer.fn = on_watch_timeout;
    if (w->timeout)
        env_timer_start(cl->opt.env, &x.timer, w->timeout);
    do {
        watch_connect(&x);
        if (x.finished || x.late || !watch_goes_on(&x))
            break;
        client_next_address(cl);
    } while (true);
    env_timer_stop(cl->opt.env, &x.timer);
    bool ok = watch_ended(&x, err);
    buf_fini(&x.line);
    return ok;
}
