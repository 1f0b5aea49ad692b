/* What the API asks about proxies, answered by pilot. */
#include <stdio.h>

#include "base/wire/json.h"
#include "weftd/weftd.h"

struct wait {
    struct convergence_wait wait;
    struct weftd *weftd;
    void (*fn)(void *arg, int status, struct slice json);
    void *arg;
};

static json_t *rejection_json(const struct summary_rejection *r)
{
    json_t *sources = json_array();
    for (size_t i = 0; i < r->source_count; i++)
        json_array_append_new(sources, json_string_of(r->sources[i]));
    json_t *o = json_object();
    json_object_set_new(o, "proxy", json_string_of(r->proxy));
    json_object_set_new(o, "proxies", json_integer(r->proxies));
    json_object_set_new(o, "type", json_string_of(r->type));
    json_object_set_new(o, "resource", json_string_of(r->resource));
    json_object_set_new(o, "message", json_string_of(r->message));
    json_object_set_new(o, "sources", sources);
    return o;
}

static json_t *rejections_json(const struct summary_rejection *list, size_t n)
{
    json_t *a = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(a, rejection_json(&list[i]));
    return a;
}

/* Names of the nodes that are not heard: not connected, as weft members and weft proxy-status say
 * it, or connected and without a report yet. */
static json_t *silent_json(const struct weftd *d, const struct convergence_result *r)
{
    struct reg_status st;
    json_t *a = json_array();
    reg_node_status(d->node, &st);
    for (size_t i = 0; i < st.member_count; i++) {
        const struct reg_member_status *m = &st.members[i];
        bool silent = !m->self && !m->connected;
        for (size_t k = 0; k < r->silent_count; k++)
            silent |= r->silent[k] == m->member.id;
        if (silent)
            json_array_append_new(a, json_string(m->member.name));
    }
    return a;
}

static void on_wait(struct convergence_wait *cw)
{
    struct wait *w = container_of(cw, struct wait, wait);
    const struct convergence_result *r = &cw->result;
    struct buf out = {0};
    struct err err = {0};
    bool live = !cw->err.code && r->live == r->total;
    json_t *o = json_pack("{s:I,s:i,s:i,s:i,s:I,s:o,s:o}", "revision", (json_int_t)r->revision,
                          "live", (int)r->live, "total", (int)r->total, "unknown", (int)r->unknown,
                          "ms", (json_int_t)r->ms, "silent", silent_json(w->weftd, r), "rejected",
                          rejections_json(r->rejections, r->rejection_count));
    if (cw->err.code)
        json_object_set_new(o, "message", json_string(cw->err.msg));
    json_write(&out, o, &err);
    /* A refusal is an answer too: the client sees live < total and who refused. */
    w->fn(w->arg, live || cw->err.code == ERR_NONE ? 200 : 504, buf_slice(&out));
    buf_fini(&out);
    json_decref(o);
    mem_free(w);
}

static void *mesh_wait(void *ctx, reg_rev revision, wf_ms timeout,
                       void (*fn)(void *arg, int status, struct slice json), void *arg)
{
    struct weftd *d = ctx;
    struct wait *w = MEM_NEW(struct wait);
    *w = (struct wait){.wait = {.revision = revision, .timeout = timeout, .fn = on_wait},
                       .weftd = d,
                       .fn = fn,
                       .arg = arg};
    convergence_wait(d->convergence, &w->wait);
    return w;
}

static void mesh_wait_cancel(void *ctx, void *handle)
{
    struct wait *w = handle;
    (void)ctx;
    convergence_wait_cancel(&w->wait);
    mem_free(w);
}

static void mesh_proxies(void *ctx, void (*fn)(void *arg, int status, struct slice json), void *arg)
{
    fleet_proxies(((struct weftd *)ctx)->fleet, fn, arg);
}

static void mesh_config(void *ctx, struct slice proxy, struct slice type,
                        void (*fn)(void *arg, int status, struct slice json), void *arg)
{
    fleet_config(((struct weftd *)ctx)->fleet, proxy, type, fn, arg);
}

static void mesh_summary(void *ctx, struct buf *out)
{
    struct weftd *d = ctx;
    struct err err = {0};
    struct reg_txn txn;
    const struct summary *s = convergence_summary(d->convergence);
    reg_rev head = 0;
    if (reg_txn_begin(reg_node_store(d->node), &txn, &err)) {
        head = txn.revision;
        reg_txn_end(&txn);
    }
    reg_rev lowest = summary_dist_lowest(&s->converged);
    json_t *o = json_pack(
        "{s:i,s:i,s:i,s:I,s:i,s:o}", "live", (int)summary_dist_at_least(&s->converged, head),
        "total", (int)s->total, "unknown", (int)convergence_unknown(d->convergence), "revision",
        (json_int_t)(lowest < head ? lowest : head), "rejected", (int)s->rejection_count,
        "rejections", rejections_json(s->rejections, s->rejection_count));
    json_write(out, o, &err);
    json_decref(o);
}

struct api_mesh weftd_mesh(struct weftd *d)
{
    return (struct api_mesh){.ctx = d,
                             .wait = mesh_wait,
                             .wait_cancel = mesh_wait_cancel,
                             .proxies = mesh_proxies,
                             .proxy_config = mesh_config,
                             .summary = mesh_summary};
}
