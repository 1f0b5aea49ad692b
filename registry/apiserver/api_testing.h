/* One node and its API over real HTTP, in the test's process.
 *
 *   expect(f, 201, "POST", VS, JSON, VS_BODY("a", "100"), "\"generation\":1");
 */
#ifndef WEFT_REGISTRY_APISERVER_API_TESTING_H
#define WEFT_REGISTRY_APISERVER_API_TESTING_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env/env_testing.h"
#include "base/env/env_uv.h"
#include "base/net/http_testing.h"
#include "base/wire/json.h"
#include "registry/apiserver/apiserver.h"

struct fixture {
    char dir[TEST_DIR];
    struct env *env;
    struct reg_node *node;
    struct apiserver *api;
    struct http_probe http;
};

/* One request. */

static inline int call(struct fixture *f, const char *method, const char *path, const char *type,
                       const char *body)
{
    return http_probe_call(&f->http, &(struct http_call_options){.method = slice_of(method),
                                                                 .addrs = apiserver_addr(f->api),
                                                                 .path = slice_of(path),
                                                                 .content_type = slice_of(type),
                                                                 .body = slice_of(body),
                                                                 .response_bytes_max = 64u << 20});
}

static inline const char *text(const struct fixture *f)
{
    return http_probe_text(&f->http);
}

#define JSON "application/json"
#define VS "/apis/networking.istio.io/v1/namespaces/default/virtualservices"
#define VS_BODY(name, weight)                                                                      \
    "{\"apiVersion\":\"networking.istio.io/"                                                       \
    "v1\",\"kind\":\"VirtualService\",\"metadata\":{\"name\":\"" name                              \
    "\",\"labels\":{\"app\":\"" name "\"}},\"spec\":{\"hosts\":[\"" name                           \
    "\"],\"http\":[{\"route\":[{\"destination\":{\"host\":\"" name "\"},\"weight\":" weight        \
    "}]}]}}"

static inline void expect(struct fixture *f, int status, const char *method, const char *path,
                          const char *type, const char *body, const char *part)
{
    int got = call(f, method, path, type, body);
    if (got != status || (part && !strstr(text(f), part)))
        fail_msg("%s %s: %d %s\nwanted %d with %s", method, path, got, text(f), status,
                 part ? part : "-");
}

/* The same with one header more; "" = without. */
static inline void expect_with(struct fixture *f, const char *name, const char *value, int status,
                               const char *method, const char *path, const char *body,
                               const char *part)
{
    struct arena arena = {0};
    struct headers hs = {0};
    if (*value)
        headers_add_name(&hs, &arena, slice_of(name), slice_of(value));
    int got = http_probe_call(&f->http, &(struct http_call_options){.method = slice_of(method),
                                                                    .addrs = apiserver_addr(f->api),
                                                                    .path = slice_of(path),
                                                                    .headers = &hs,
                                                                    .content_type = S(JSON),
                                                                    .body = slice_of(body)});
    if (got != status || (part && !strstr(text(f), part)))
        fail_msg("%s %s with %s: %d %s\nwanted %d with %s", method, path, value, got, text(f),
                 status, part ? part : "-");
    arena_fini(&arena);
}

static inline void expect_head(const struct fixture *f, const char *line)
{
    if (!strstr(f->http.head.p, line))
        fail_msg("no \"%s\" in\n%s", line, f->http.head.p);
}

/* Of the last answer, by its header. */
static inline reg_rev answer_revision(const struct fixture *f)
{
    const char *at = strstr(f->http.head.p, "weft-revision: ");
    assert_non_null(at);
    return strtoull(at + sizeof("weft-revision: ") - 1, NULL, 10);
}

/* A path or body with revisions in it; good until the next call but three. */
static inline const char *with(const char *format, ...)
{
    static char texts[4][2048];
    static unsigned next;
    char *at = texts[next++ % 4];
    va_list args;
    va_start(args, format);
    vsnprintf(at, sizeof(texts[0]), format, args);
    va_end(args);
    return at;
}

/* A node of a cluster of that many, of which the others never come: without a quorum from 2 on. */
static inline struct fixture *fixture_settling(size_t members, wf_ms settle)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct err err = {0};
    struct reg_node_options opt = {.id = 1,
                                   .version_settle = settle,
                                   .member_count = members,
                                   .segment_bytes = 1 << 20,
                                   .store_bytes = 1 << 22,
                                   .history_revisions = 50};
    struct apiserver_options api = {.write_timeout = members > 1 ? 300 : 0};
    test_dir_make(f->dir);
    opt.dir = f->dir;
    for (size_t i = 0; i < members; i++) {
        opt.members[i].id = i + 1;
        snprintf(opt.members[i].name, sizeof(opt.members[i].name), "n%zu", i + 1);
        char addr[32]; /* of the others: ports on which nobody listens */
        snprintf(addr, sizeof(addr), "127.0.0.1:%zu", i);
        assert_true(env_addr_parse(&opt.members[i].addr, slice_of(addr), &err));
    }
    f->env = env_uv_new(&err);
    f->node = reg_node_start(&opt, &err);
    if (!f->node)
        fail_msg("%s", err.msg);
    api.env = f->env;
    api.node = f->node;
    env_addr_parse(&api.at, S("127.0.0.1:0"), &err);
    f->api = apiserver_new(&api, &err);
    if (!f->api)
        fail_msg("%s", err.msg);
    http_probe_init(&f->http, f->env);
    return f;
}

static inline struct fixture *fixture_new(size_t members)
{
    return fixture_settling(members, 0);
}

static inline int setup(void **state)
{
    struct fixture *f = fixture_new(1);
    while (call(f, "GET", "/readyz", "", "") != 200)
        env_uv_turn(f->env, 10);
    expect(f, 201, "POST", "/api/v1/namespaces", JSON,
           "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"default\"}}",
           "Active");
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    http_probe_fini(&f->http);
    apiserver_free(f->api);
    reg_node_stop(f->node);
    env_uv_free(f->env);
    test_dir_remove(f->dir);
    mem_free(f);
    return 0;
}

/* Watches. */

struct watcher {
    struct buf lines;
    bool ended;
};

static inline void watch_data(void *ctx, struct slice bytes)
{
    buf_append(&((struct watcher *)ctx)->lines, bytes);
}

static inline void watch_end(void *ctx)
{
    ((struct watcher *)ctx)->ended = true;
}

static inline void watch_fail(void *ctx, const struct err *err)
{
    (void)err;
    ((struct watcher *)ctx)->ended = true;
}

static inline void watch_head(void *ctx, const struct http_response *r)
{
    (void)ctx;
    assert_int_equal(r->status, 200);
}

static inline struct http_call *watch(struct fixture *f, struct watcher *w, const char *path)
{
    return http_call_start(f->http.client,
                           &(struct http_call_options){.method = S("GET"),
                                                       .addrs = apiserver_addr(f->api),
                                                       .addr_n = 1,
                                                       .authority = S("weft"),
                                                       .path = slice_of(path),
                                                       .on_head = watch_head,
                                                       .on_data = watch_data,
                                                       .on_end = watch_end,
                                                       .on_fail = watch_fail,
                                                       .ctx = w});
}

static inline size_t lines(const struct watcher *w)
{
    size_t n = 0;
    struct slice rest = buf_slice(&w->lines), line;
    while (slice_cut(rest, '\n', &line, &rest))
        n++;
    return n;
}

static inline void until_lines(struct fixture *f, struct watcher *w, size_t n)
{
    while (lines(w) < n && !w->ended)
        env_uv_turn(f->env, 1000);
    buf_append_byte(&w->lines, 0);
    w->lines.n--;
}

#endif
