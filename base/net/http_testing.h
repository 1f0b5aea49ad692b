/* A client for tests that turn the loop themselves: one call at a time, its answer kept. Tests
 * only.
 *
 *   http_probe_init(&f->http, f->env);
 *   assert_int_equal(http_probe_call(&f->http, &(struct http_call_options){
 *       .method = S("GET"), .addrs = at, .path = S("/ready")}), 200);
 *   … f->http.body.p …
 *   http_probe_fini(&f->http);                 before the env
 */
#ifndef WEFT_BASE_NET_HTTP_TESTING_H
#define WEFT_BASE_NET_HTTP_TESTING_H

#include "base/env/env_uv.h"
#include "base/net/http_client.h"

struct http_probe {
    struct env *env;
    struct http_client *client;
    bool answered;
    int status; /* 0: there was no answer */
    /* Of the last one, NUL-terminated; head and warnings: a line each, "name: value" in head. */
    struct buf body, head, warnings;
};

static inline void http_probe_init(struct http_probe *p, struct env *env)
{
    *p = (struct http_probe){.env = env,
                             .client = http_client_new(env, &(struct http_client_options){0})};
}

static inline void http_probe_fini(struct http_probe *p)
{
    http_client_free(p->client);
    buf_fini(&p->body);
    buf_fini(&p->warnings);
    buf_fini(&p->head);
}

static inline void http_probe_done(void *ctx, const struct http_response *r)
{
    struct http_probe *p = ctx;
    p->answered = true;
    p->status = r->status;
    buf_clear(&p->body);
    buf_append(&p->body, r->body);
    buf_append_byte(&p->body, 0);
    buf_clear(&p->warnings);
    for (uint32_t i = 0; i < r->headers->n; i++)
        if (slice_eq(r->headers->p[i].name, S("warning")))
            buf_printf(&p->warnings, "%.*s\n", SLICE(r->headers->p[i].value));
    buf_append_byte(&p->warnings, 0);
    buf_clear(&p->head);
    for (uint32_t i = 0; i < r->headers->n; i++)
        buf_printf(&p->head, "%.*s: %.*s\n", SLICE(r->headers->p[i].name),
                   SLICE(r->headers->p[i].value));
    buf_append_byte(&p->head, 0);
}

static inline void http_probe_fail(void *ctx, const struct err *err)
{
    struct http_probe *p = ctx;
    (void)err;
    p->answered = true;
    p->status = 0;
}

/* To one address, within ten seconds unless o says another time; the rest is o's. */
static inline void http_probe_begin(struct http_probe *p, const struct http_call_options *o)
{
    struct http_call_options opt = *o;
    opt.addr_n = 1;
    opt.authority = o->authority.n ? o->authority : S("weft");
    opt.timeout = o->timeout ? o->timeout : 10000;
    opt.on_done = http_probe_done;
    opt.on_fail = http_probe_fail;
    opt.ctx = p;
    p->answered = false;
    http_call_start(p->client, &opt);
}

static inline int http_probe_call(struct http_probe *p, const struct http_call_options *o)
{
    http_probe_begin(p, o);
    while (!p->answered)
        env_uv_turn(p->env, 1000);
    return p->status;
}

static inline const char *http_probe_text(const struct http_probe *p)
{
    return p->body.p + p->body.at;
}

#endif
