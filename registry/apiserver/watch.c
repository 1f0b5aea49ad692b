/* Watches: a cursor into the history, and nothing else. A watcher that does not read stands still
 * at its cursor; when the history has moved past it, it is told 410 Gone and lists again. */
#include "registry/apiserver/internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/table.h"

struct api_watch {
    struct list_node node;
    struct api_call *call;
    struct env_timer bookmark, end;
    reg_rev at;     /* everything up to it was sent */
    bool blocked;   /* the client takes nothing: wait for on_drain */
    bool first_row; /* of a Table: the first event carries the columns */
};

static void watch_fini(struct api_watch *w)
{
    struct apiserver *s = w->call->srv;
    env_timer_stop(s->env, &w->bookmark);
    env_timer_stop(s->env, &w->end);
    list_remove(&w->node);
    s->watch_count--;
}

static void watch_gone(struct http_request *req)
{
    watch_fini(req->user);
}

/* Events. */

static void watch_line(struct api_watch *w, const char *type, json_t *take_object)
{
    struct buf line = {0};
    struct err err = {0};
    buf_printf(&line, "{\"type\":\"%s\",\"object\":", type);
    if (json_write(&line, take_object, &err)) {
        buf_append(&line, S("}\n"));
        if (http_respond_chunk(w->call->req, buf_slice(&line)) > API_WATCH_QUEUED_MAX)
            w->blocked = true;
    }
    buf_fini(&line);
    json_decref(take_object);
}

static void watch_object(struct api_watch *w, const char *type, json_t *take_object)
{
    struct api_call *c = w->call;
    if (!c->table) {
        watch_line(w, type, take_object);
        return;
    }
    json_t *list = json_array();
    json_array_append_new(list, take_object);
    json_t *table = table_of(c->kind, list, json_str(take_object, "metadata.resourceVersion"),
                             env_wall_ms(c->srv->env));
    if (!w->first_row)
        json_object_set_new(table, "columnDefinitions", json_array());
    w->first_row = false;
    json_decref(list);
    watch_line(w, type, table);
}

static void watch_bookmark(struct api_watch *w, bool initial_end)
{
    struct api_call *c = w->call;
    char rv[32], version[160];
    snprintf(rv, sizeof(rv), "%llu", (unsigned long long)w->at);
    snprintf(version, sizeof(version), "%s%s%.*s", c->kind->group, c->kind->group[0] ? "/" : "",
             SLICE(c->version));
    json_t *meta = json_pack("{s:s}", "resourceVersion", rv);
    if (initial_end)
        json_object_set_new(meta, "annotations",
                            json_pack("{s:s}", "k8s.io/initial-events-end", "true"));
    watch_line(
        w, "BOOKMARK",
        json_pack("{s:s,s:s,s:o}", "kind", c->kind->kind, "apiVersion", version, "metadata", meta));
}

static json_t *event_object(const struct api_watch *w, const struct reg_event *e,
                            struct slice value)
{
    struct reg_object o = e->object;
    o.value = value;
    return api_object(w->call, &o);
}

/* A selector looks at the object before and after: leaving the selection is a deletion, entering it
 * an addition. */
static void watch_event(struct api_watch *w, const struct reg_event *e)
{
    const struct selector *sel = &w->call->selector;
    json_t *was = e->prev_value.n ? event_object(w, e, e->prev_value) : NULL;
    json_t *is = e->deleted ? NULL : event_object(w, e, e->object.value);
    bool before = was && selector_match(sel, was), after = is && selector_match(sel, is);
    if (after)
        watch_object(w, before ? "MODIFIED" : "ADDED", json_incref(is));
    else if (before)
        watch_object(w, "DELETED", json_incref(was));
    json_decref(was);
    json_decref(is);
}

struct pump {
    struct api_watch *watch;
    struct slice prefix;
    reg_rev seen;
};

static bool pump_event(void *ctx, const struct reg_event *e)
{
    struct pump *p = ctx;
    struct api_watch *w = p->watch;
    /* A revision is told whole: stop only between two of them. */
    if (w->blocked && e->revision != p->seen)
        return false;
    p->seen = e->revision;
    if (slice_starts(e->object.key, p->prefix))
        watch_event(w, e);
    return true;
}

static void watch_expired(struct api_watch *w)
{
    struct err err = {0};
    struct http_request *req = w->call->req;
    err_set(&err, ERR_GONE, "too old resource version: %llu: list again",
            (unsigned long long)w->at);
    watch_line(w, "ERROR", api_status(w->call, &err));
    watch_fini(w);
    http_respond_end(req);
}

static void watch_pump(struct api_watch *w)
{
    struct err err = {0};
    struct reg_txn txn;
    if (w->blocked || !reg_txn_begin(w->call->srv->store, &txn, &err))
        return;
    struct pump p = {.watch = w, .prefix = api_prefix(w->call), .seen = w->at};
    enum reg_history h = reg_changes(&txn, w->at, pump_event, &p);
    w->at = w->blocked ? p.seen : txn.revision > w->at ? txn.revision : w->at;
    reg_txn_end(&txn);
    if (h == REG_HISTORY_COMPACTED)
        watch_expired(w);
}

void api_watches_wake(struct apiserver *s)
{
    LIST_EACH (&s->watches, node)
        watch_pump(container_of(node, struct api_watch, node));
}

static void watch_drained(struct http_request *req)
{
    struct api_watch *w = req->user;
    w->blocked = false;
    watch_pump(w);
}

static void watch_tick(struct env_timer *t)
{
    struct api_watch *w = container_of(t, struct api_watch, bookmark);
    if (w->call->bookmarks && !w->blocked)
        watch_bookmark(w, false);
    env_timer_start(w->call->srv->env, &w->bookmark, API_BOOKMARK_MS);
}

static void watch_time_is_up(struct env_timer *t)
{
    struct api_watch *w = container_of(t, struct api_watch, end);
    struct http_request *req = w->call->req;
    watch_fini(w);
    http_respond_end(req);
}

/* The beginning. */

static bool initial_one(void *ctx, const struct reg_object *o)
{
    struct api_watch *w = ctx;
    json_t *object = api_object(w->call, o);
    if (selector_match(&w->call->selector, object))
        watch_object(w, "ADDED", object);
    else
        json_decref(object);
    return true;
}

/* Without a resourceVersion (or with 0): what there is, as additions, and from there on. */
static bool watch_begin(struct api_watch *w, struct err *err)
{
    struct api_call *c = w->call;
    struct reg_txn txn;
    if (!reg_txn_begin(c->srv->store, &txn, err))
        return false;
    bool from_state = c->at == 0 || c->initial_events;
    if (!from_state && c->at < txn.compacted) {
        reg_txn_end(&txn);
        return err_set(err, ERR_GONE, "too old resource version: %llu: list again",
                       (unsigned long long)c->at);
    }
    http_respond_start(c->req, 200, S("application/json"));
    w->at = from_state ? txn.revision : c->at;
    if (from_state)
        reg_scan(&txn, api_prefix(c), S(""), initial_one, w);
    reg_txn_end(&txn);
    if (c->initial_events)
        watch_bookmark(w, true);
    return true;
}

void api_watch_open(struct api_call *c)
{
    struct apiserver *s = c->srv;
    struct err err = {0};
    struct api_watch *w = ARENA_NEW(c->req->arena, struct api_watch);
    *w = (struct api_watch){
        .call = c, .bookmark.fn = watch_tick, .end.fn = watch_time_is_up, .first_row = true};
    if (s->watch_count >= API_WATCHES_MAX)
        err_set(&err, ERR_LIMIT, "too many watches on this node (%d): use another",
                API_WATCHES_MAX);
    if (err.code || !watch_begin(w, &err)) {
        api_respond_err(c->req, c, &err);
        return;
    }
    c->req->user = w;
    c->req->on_close = watch_gone;
    c->req->on_drain = watch_drained;
    list_push(&s->watches, &w->node);
    s->watch_count++;
    env_timer_start(s->env, &w->bookmark, API_BOOKMARK_MS);
    if (c->timeout)
        env_timer_start(s->env, &w->end, c->timeout);
    watch_pump(w);
}
