/* Watches: a cursor into the history, and nothing else. A watcher that does not read stands still
 * at its cursor; when the history has moved past it, it is told 410 Gone and lists again.
 *
 * A watch that begins with what there is has a second cursor, the last key sent. In every page the
 * keys up to it are first brought to the page's revision by the history, then the next keys are
 * read at the same revision: so what the client holds is at any time the true state at `at`, of the
 * keys up to `last`, and nothing is buffered for it but one page. */
#include "registry/apiserver/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/table.h"
#include "base/core/assert.h"
#include "base/core/mutant.h"

struct api_watch {
    struct list_node node;
    struct api_call *call;
    struct env_timer bookmark, end;
    reg_rev at;     /* everything up to it was sent */
    bool blocked;   /* the client takes nothing: wait for on_drain */
    bool resumes;   /* from a revision that may not be here yet */
    bool first_row; /* of a Table: the first event carries the columns */
    struct slice prefix;
    bool initial; /* still sending what there is, by key */
    size_t last_n;
    char last[REG_KEY_BYTES_MAX];
};

static void watch_fini(struct api_watch *w)
{
    struct apiserver *s = w->call->srv;
    env_timer_stop(s->env, &w->bookmark);
    env_timer_stop(s->env, &w->end);
    list_remove(&w->node);
    s->watch_count--;
    metric_set_value(s->cells.watches, (int64_t)s->watch_count);
}

static void watch_gone(struct http_request *req)
{
    watch_fini(req->user);
}

/* Events. */

static void watch_send(struct api_watch *w, struct slice line)
{
    if (http_respond_chunk(w->call->req, line) > API_WATCH_QUEUED_MAX)
        w->blocked = true;
    metric_add(w->call->srv->cells.watch_events, 1);
}

/* Nothing where the object is too large to be told. */
static void line_write(struct buf *line, const char *type, json_t *take_object)
{
    struct err err = {0};
    buf_clear(line);
    buf_printf(line, "{\"type\":\"%s\",\"object\":", type);
    if (json_write(line, take_object, &err))
        buf_append(line, S("}\n"));
    else
        buf_clear(line);
    json_decref(take_object);
}

static void watch_line(struct api_watch *w, const char *type, json_t *take_object)
{
    struct buf line = {0};
    line_write(&line, type, take_object);
    if (line.n)
        watch_send(w, buf_slice(&line));
    buf_fini(&line);
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

static json_t *bookmark_object(const struct api_call *c, json_t *take_meta)
{
    char version[160];
    if (c->table) {
        json_t *none = json_array(), *table = table_of(c->kind, none, S(""), 0);
        json_object_set_new(table, "metadata", take_meta);
        json_decref(none);
        return table;
    }
    snprintf(version, sizeof(version), "%s%s%.*s", c->kind->group, c->kind->group[0] ? "/" : "",
             SLICE(c->version));
    return json_pack("{s:s,s:s,s:o}", "kind", c->kind->kind, "apiVersion", version, "metadata",
                     take_meta);
}

static void watch_bookmark(struct api_watch *w, bool initial_end)
{
    char rv[32];
    wf_assert(!w->initial);
    reg_rev at = MUTANT(BOOKMARK_AHEAD) ? w->at + 1 : w->at;
    snprintf(rv, sizeof(rv), "%llu", (unsigned long long)at);
    json_t *meta = json_pack("{s:s}", "resourceVersion", rv);
    if (initial_end)
        json_object_set_new(meta, "annotations",
                            json_pack("{s:s}", "k8s.io/initial-events-end", "true"));
    watch_line(w, "BOOKMARK", bookmark_object(w->call, meta));
}

static json_t *event_object(const struct api_watch *w, const struct reg_event *e,
                            struct slice value)
{
    struct reg_object o = e->object;
    o.value = value;
    return api_object(w->call, &o);
}

void api_line_fini(struct api_line *l)
{
    buf_fini(&l->key);
    buf_fini(&l->version);
    buf_fini(&l->text);
}

static void line_make(const struct api_watch *w, const struct reg_event *e, struct api_line *l)
{
    bool had = e->prev_value.n > 0;
    l->revision = e->revision;
    buf_clear(&l->key);
    buf_append(&l->key, e->object.key);
    buf_clear(&l->version);
    buf_append(&l->version, w->call->version);
    buf_clear(&l->text);
    if (e->deleted && !had)
        return;
    line_write(&l->text,
               e->deleted ? "DELETED"
               : had      ? "MODIFIED"
                          : "ADDED",
               event_object(w, e, e->deleted ? e->prev_value : e->object.value));
}

/* Ten thousand watches of one kind all get the same line for a change. */
static void watch_shared(struct api_watch *w, const struct reg_event *e)
{
    struct api_line *l = &w->call->srv->line;
    if (l->revision != e->revision || !slice_eq(buf_slice(&l->key), e->object.key) ||
        !slice_eq(buf_slice(&l->version), w->call->version))
        line_make(w, e, l);
    if (l->text.n)
        watch_send(w, buf_slice(&l->text));
}

/* A selector looks at the object before and after: leaving the selection is a deletion, entering it
 * an addition. */
static void watch_event(struct api_watch *w, const struct reg_event *e)
{
    const struct selector *sel = &w->call->selector;
    if (sel->n == 0 && !w->call->table) {
        watch_shared(w, e);
        return;
    }
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

/* Keys behind the second cursor come with a later page. */
static bool watch_wants(const struct pump *p, struct slice key)
{
    const struct api_watch *w = p->watch;
    return slice_starts(key, p->prefix) &&
           (!w->initial || slice_cmp(key, slice_mem(w->last, w->last_n)) <= 0);
}

static bool pump_event(void *ctx, const struct reg_event *e)
{
    struct pump *p = ctx;
    struct api_watch *w = p->watch;
    /* A revision is told whole: stop only between two of them. */
    if (w->blocked && e->revision != p->seen)
        return false;
    p->seen = e->revision;
    if (watch_wants(p, e->object.key))
        watch_event(w, e);
    return true;
}

static bool initial_one(void *ctx, const struct reg_object *o)
{
    struct api_watch *w = ctx;
    if (w->blocked)
        return false;
    wf_assert(o->key.n <= sizeof(w->last));
    memcpy(w->last, o->key.p, o->key.n);
    w->last_n = o->key.n;
    json_t *object = api_object(w->call, o);
    if (selector_match(&w->call->selector, object))
        watch_object(w, "ADDED", object);
    else
        json_decref(object);
    return true;
}

/* The next keys, at the transaction's revision. Where it begins is copied: w->last moves on. */
static void watch_page(struct api_watch *w, struct reg_txn *txn, struct slice prefix)
{
    char after[REG_KEY_BYTES_MAX];
    memcpy(after, w->last, w->last_n);
    reg_scan(txn, prefix, slice_mem(after, w->last_n), initial_one, w);
    if (w->blocked) /* perhaps behind the last of all: the next page finds out */
        return;
    w->initial = false;
    if (w->call->initial_events == API_INITIAL_YES)
        watch_bookmark(w, true);
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

struct shared {
    struct slice prefix;
    reg_rev revision;
    unsigned changes;
};

static bool shared_one(void *ctx, const struct reg_event *e)
{
    struct shared *s = ctx;
    if (e->revision != s->revision)
        return false;
    s->changes += slice_starts(e->object.key, s->prefix);
    return s->changes < 2;
}

/* Is the revision from which it goes on kept, whole? The newest always is. */
static bool resume_known(reg_rev at, const struct reg_txn *txn)
{
    return at > txn->compacted || at == txn->revision;
}

/* A revision can hold changes of several objects, and a connection can be cut between their events:
 * a client that goes on from the resourceVersion of the first has not seen the others. It is told
 * such a revision once more, whole; what it knows already changes nothing for it. A node that is
 * behind finds out when it gets there. false: that revision is not kept any more. */
static bool watch_resume(struct api_watch *w, struct reg_txn *txn)
{
    struct shared s = {.prefix = w->prefix, .revision = w->at};
    if (!w->resumes || w->at > txn->revision)
        return true;
    w->resumes = false;
    if (!resume_known(w->at, txn))
        return false;
    if (MUTANT(WATCH_RESUMES_LATE) && w->at < txn->revision)
        w->at++;
    if (MUTANT(REVISION_CUT))
        return true;
    reg_changes(txn, w->at - 1, shared_one, &s);
    if (s.changes > 1)
        w->at--;
    return true;
}

static void watch_pump(struct api_watch *w)
{
    struct err err = {0};
    struct reg_txn txn;
    if (w->blocked || !reg_txn_begin(w->call->srv->store, &txn, &err))
        return;
    bool there = watch_resume(w, &txn);
    struct pump p = {.watch = w, .prefix = w->prefix, .seen = w->at};
    if (!there || reg_changes(&txn, w->at, pump_event, &p) == REG_HISTORY_COMPACTED) {
        reg_txn_end(&txn);
        watch_expired(w);
        return;
    }
    if (w->blocked && !MUTANT(WATCH_FORGETS))
        w->at = p.seen;
    else if (txn.revision > w->at)
        w->at = txn.revision;
    if (w->initial && !w->blocked)
        watch_page(w, &txn, w->prefix);
    reg_txn_end(&txn);
}

void api_watches_wake(struct apiserver *s)
{
    LIST_EACH (&s->watches, node)
        watch_pump(container_of(node, struct api_watch, node));
}

void api_watches_measure(struct apiserver *s)
{
    struct reg_txn txn;
    struct err err = {0};
    reg_rev lag = 0;
    int64_t blocked = 0;
    if (!reg_txn_begin(s->store, &txn, &err))
        return;
    LIST_EACH (&s->watches, node) {
        const struct api_watch *w = container_of(node, struct api_watch, node);
        if (!w->blocked)
            continue;
        blocked++;
        if (txn.revision > w->at && txn.revision - w->at > lag)
            lag = txn.revision - w->at;
    }
    reg_txn_end(&txn);
    metric_set_value(s->cells.watches_blocked, blocked);
    metric_set_value(s->cells.watch_lag, (int64_t)lag);
}

static void watch_drained(struct http_request *req)
{
    struct api_watch *w = req->user;
    w->blocked = false;
    watch_pump(w);
}

/* While it resumes, what was told of `at` is another node's to know, perhaps not all of it. */
static void watch_tick(struct env_timer *t)
{
    struct api_watch *w = container_of(t, struct api_watch, bookmark);
    if (w->call->bookmarks && !w->blocked && !w->initial && !w->resumes)
        watch_bookmark(w, false);
    env_timer_start(w->call->srv->env, &w->bookmark, w->call->srv->opt.bookmark_interval);
}

static void watch_time_is_up(struct env_timer *t)
{
    struct api_watch *w = container_of(t, struct api_watch, end);
    struct http_request *req = w->call->req;
    watch_fini(w);
    http_respond_end(req);
}

/* The beginning. */

/* Without a resourceVersion (or with 0): what there is, as additions, and from there on. */
static bool from_state(const struct api_call *c)
{
    return c->initial_events == API_INITIAL_YES ||
           (c->at == 0 && c->initial_events != API_INITIAL_NO);
}

static bool watch_begin(struct api_watch *w, struct err *err)
{
    struct api_call *c = w->call;
    struct reg_txn txn;
    if (!reg_txn_begin(c->srv->store, &txn, err))
        return false;
    w->initial = from_state(c);
    w->at = w->initial || !c->at ? txn.revision : c->at;
    w->resumes = !w->initial && c->at > 0;
    bool there = w->at >= txn.compacted && (!w->resumes || resume_known(w->at, &txn));
    reg_txn_end(&txn);
    return there ? true
                 : err_set(err, ERR_GONE, "too old resource version: %llu: list again",
                           (unsigned long long)c->at);
}

static void watch_start(struct api_watch *w)
{
    struct api_call *c = w->call;
    struct apiserver *s = c->srv;
    http_respond_start(c->req, 200, S("application/json"));
    c->req->user = w;
    c->req->on_close = watch_gone;
    c->req->on_drain = watch_drained;
    list_push(&s->watches, &w->node);
    s->watch_count++;
    metric_set_value(s->cells.watches, (int64_t)s->watch_count);
    env_timer_start(s->env, &w->bookmark, s->opt.bookmark_interval);
    if (c->timeout)
        env_timer_start(s->env, &w->end, c->timeout);
    watch_pump(w);
}

void api_watch_open(struct api_call *c)
{
    struct apiserver *s = c->srv;
    struct err err = {0};
    struct api_watch *w = ARENA_NEW(c->req->arena, struct api_watch);
    *w = (struct api_watch){.call = c,
                            .bookmark.fn = watch_tick,
                            .end.fn = watch_time_is_up,
                            .first_row = true,
                            .prefix = api_prefix(c)};
    if (s->watch_count >= API_WATCHES_MAX) {
        metric_add(s->cells.watches_refused, 1);
        err_set(&err, ERR_LIMIT, "too many watches on this node (%d): use another",
                API_WATCHES_MAX);
    }
    if (err.code || !watch_begin(w, &err))
        api_respond_err(c->req, c, &err);
    else
        watch_start(w);
}
