#include "proxy/down.h"

#include "proxy/worker_int.h"

#define IDLE_TIMEOUT_DEFAULT 3600000 /* Envoy: an hour */

static void remember_chain(struct down_conn *c, const struct filter_chain *chain)
{
    c->idle_timeout = chain->idle_timeout;
    c->headers_timeout = chain->headers_timeout;
    c->headers_kb_max = chain->headers_kb_max;
    c->codec = chain->codec;
}

void down_conn_init(struct down_conn *c, struct worker *w, struct wlistener *wl,
                    const struct filter_chain *chain, const struct down_conn_ops *ops,
                    struct env_stream *es)
{
    c->w = w;
    c->wl = wlistener_ref(wl);
    c->es = es;
    remember_chain(c, chain);
    c->ops = ops;
    c->id = ++w->conn_id;
    c->active = env_now(w->env);
    c->draining = wl->draining;
    list_push(&w->conns, &c->node);
    w->conn_count++;
    metric_add(w->stats.cx_total, 1);
    metric_set_value(w->stats.cx_active, (int64_t)w->conn_count);
    metric_add(wl->stats.cx_total, 1);
    metric_set_value(wl->stats.cx_active, (int64_t)++wl->conn_count);
    worker_sweep_start(w);
}

void down_conn_move(struct down_conn *to, struct down_conn *from, const struct down_conn_ops *ops)
{
    *to = *from;
    to->node = (struct list_node){0};
    to->ops = ops;
    list_remove(&from->node);
    list_push(&to->w->conns, &to->node);
}

void down_conn_gone(struct down_conn *c)
{
    list_remove(&c->node);
    c->w->conn_count--;
    metric_set_value(c->w->stats.cx_active, (int64_t)c->w->conn_count);
    metric_set_value(c->wl->stats.cx_active, (int64_t)--c->wl->conn_count);
    wlistener_unref(c->wl);
}

const struct filter_chain *down_conn_chain(struct down_conn *c)
{
    const struct listener *l = c->wl->listener;
    const struct filter_chain *chain = &l->chains[0];
    if (l->chain_count != 1 || chain->destination_port) {
        struct env_addr dst;
        listener_destination(c->es, &dst);
        chain = listener_chain(l, &dst);
    }
    if (!chain || chain->kind != CHAIN_HTTP)
        return NULL;
    remember_chain(c, chain);
    return chain;
}

bool down_conn_idle(const struct down_conn *c, wf_ms now)
{
    wf_ms limit = c->idle_timeout > 0 ? c->idle_timeout : IDLE_TIMEOUT_DEFAULT;
    return now - c->active >= limit;
}
