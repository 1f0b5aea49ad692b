/* An API server of canned answers, and runs of the command against it. Tests only.
 *
 *   static const struct canned answers[] = {{"GET /weft/v1/status", 200, "{…}"}, {0}};
 *   struct fake f; fake_start(&f, answers);
 *   assert_int_equal(fake_run(&f, "status"), CLI_OK);
 *   assert_string_equal(f.out, …);
 *   fake_stop(&f);
 */
#ifndef WEFT_CLI_FAKE_H
#define WEFT_CLI_FAKE_H

#include <stdlib.h>

#include "base/env/env_uv.h"
#include "base/net/http_server.h"
#include "base/wire/json.h"
#include "base/wire/test.h"
#include "cli/cli.h"

#define FAKE_ANSWERS_MAX 32
#define FAKE_ARGS_MAX 32
#define FAKE_SILENT (-1)
#define FAKE_NOW_MS 1795549674000 /* 2026-11-24T19:47:54Z */

struct canned {
    const char *request; /* "GET /path?query"; a later row of the same request is its next answer */
    int status;          /* 0: the connection breaks; FAKE_SILENT: no answer comes */
    const char *body; /* of a watch (status 200, "watch=1" in the request): lines, then the end */
    const char *warning; /* value of a Warning header */
};

struct fake {
    struct env *env;
    struct http_server *server;
    const struct canned *answers;
    unsigned used[FAKE_ANSWERS_MAX];
    struct buf log;       /* "GET /path\n" of each request, in order */
    struct buf last_body; /* of the last request that had one */
    struct buf keys;      /* "key\n" of each request with an Idempotency-Key */
    char addr[ENV_ADDR_TEXT];
    const char *input; /* standard input of the runs */
    char *out, *err;   /* of the last run */
};

static const struct canned *fake_find(struct fake *f, struct slice request)
{
    const struct canned *found = NULL;
    size_t at = 0;
    for (size_t i = 0; f->answers[i].request; i++) {
        if (!slice_eq(slice_of(f->answers[i].request), request))
            continue;
        if (!found || f->used[at]) {
            found = &f->answers[i];
            at = i;
        }
        if (!f->used[i])
            break;
    }
    if (found)
        f->used[at]++;
    return found;
}

static void fake_on_request(void *ctx, struct http_request *req)
{
    struct fake *f = ctx;
    struct slice line = arena_printf(req->arena, "%.*s %.*s%s%.*s", SLICE(req->method),
                                     SLICE(req->path), req->query.n ? "?" : "", SLICE(req->query));
    buf_printf(&f->log, "%.*s\n", SLICE(line));
    if (req->body.n) {
        buf_clear(&f->last_body);
        buf_append(&f->last_body, req->body);
    }
    const struct header *key = headers_find(req->headers, S("idempotency-key"));
    if (key)
        buf_printf(&f->keys, "%.*s\n", SLICE(key->value));
    const struct canned *a = fake_find(f, line);
    if (!a) {
        struct slice text = arena_printf(
            req->arena, "{\"kind\":\"Status\",\"message\":\"no answer to %.*s\"}", SLICE(line));
        http_respond(req, 404, S("application/json"), text);
        return;
    }
    if (a->status == FAKE_SILENT)
        return;
    if (a->warning)
        headers_add_name(&req->response, req->arena, S("warning"), slice_of(a->warning));
    if (a->status == 0) {
        http_respond_start(req, 200, S("application/json"));
        http_respond_abort(req);
    } else if (slice_contains(line, S("watch=1")) && a->status == 200) {
        http_respond_start(req, 200, S("application/json"));
        http_respond_chunk(req, slice_of(a->body));
        http_respond_end(req);
    } else {
        http_respond(req, a->status, S("application/json"), slice_of(a->body));
    }
}

static void fake_start(struct fake *f, const struct canned *answers)
{
    struct err err = {0};
    struct env_addr any;
    *f = (struct fake){.answers = answers, .env = env_uv_new(&err)};
    assert_non_null(f->env);
    f->server = http_server_new(f->env, &(struct http_server_options){0}, fake_on_request, f);
    assert_true(env_addr_parse(&any, S("127.0.0.1:0"), &err));
    assert_true(http_server_listen(f->server, &any, NULL, &err));
    env_addr_format(http_server_addr(f->server, 0), f->addr);
}

static void fake_forget(struct fake *f)
{
    free(f->out);
    free(f->err);
    f->out = f->err = NULL;
    buf_clear(&f->log);
    buf_clear(&f->keys);
}

static void fake_stop(struct fake *f)
{
    fake_forget(f);
    http_server_free(f->server);
    env_uv_free(f->env);
    buf_fini(&f->log);
    buf_fini(&f->last_body);
    buf_fini(&f->keys);
}

/* line: words separated by spaces; a word may stand in '…'. addr NULL: the fake's. */
static int fake_run_at(struct fake *f, const char *addr, const char *line)
{
    struct arena arena = {0};
    const char *argv[FAKE_ARGS_MAX] = {"weft"};
    int argc = 1;
    struct slice rest = slice_of(line), word;
    size_t out_n, err_n;
    while (rest.n && argc < FAKE_ARGS_MAX) {
        bool quoted = rest.p[0] == '\'';
        slice_cut(quoted ? slice_skip(rest, 1) : rest, quoted ? '\'' : ' ', &word, &rest);
        if (quoted && rest.n)
            rest = slice_skip(rest, 1);
        argv[argc++] = arena_dup(&arena, word).p;
    }
    fake_forget(f);
    struct slice input = slice_of(f->input ? f->input : "\n");
    struct cli_world world = {.env = f->env,
                              .in = fmemopen((void *)(uintptr_t)input.p, input.n, "r"),
                              .out = open_memstream(&f->out, &out_n),
                              .err = open_memstream(&f->err, &err_n),
                              .addr = addr ? addr : f->addr,
                              .now_wall_ms = FAKE_NOW_MS};
    int code = cli_run(&world, argc, argv);
    fclose(world.in);
    fclose(world.out);
    fclose(world.err);
    arena_fini(&arena);
    return code;
}

static int fake_run(struct fake *f, const char *line)
{
    return fake_run_at(f, NULL, line);
}

#define fake_check(f, line, code, want_out, want_err)                                              \
    do {                                                                                           \
        int got_ = fake_run((f), (line));                                                          \
        assert_string_equal((f)->err, (want_err));                                                 \
        assert_string_equal((f)->out, (want_out));                                                 \
        assert_int_equal(got_, (code));                                                            \
    } while (0)

#endif
