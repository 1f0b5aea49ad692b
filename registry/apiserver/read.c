/* get and list, from this node's state, or from what it was. */
#include "registry/apiserver/internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/table.h"
#include "base/wire/base64.h"

struct slice api_prefix(const struct api_call *c)
{
    const struct kind *k = c->kind;
    const char *dot = k->group[0] ? "." : "";
    if (c->ns.n)
        return arena_printf(c->req->arena, "%s%s%s/%.*s/", k->plural, dot, k->group, SLICE(c->ns));
    return arena_printf(c->req->arena, "%s%s%s/", k->plural, dot, k->group);
}

bool api_key(const struct api_call *c, struct slice *ret_key, struct err *err)
{
    return kind_key(c->kind, c->ns, c->name, c->req->arena, ret_key, err);
}

void api_not_found(const struct api_call *c, struct err *err)
{
    const char *dot = c->kind->group[0] ? "." : "";
    err_set(err, ERR_NOT_FOUND, "%s%s%s \"%.*s\" not found", c->kind->plural, dot, c->kind->group,
            SLICE(c->name));
}

/* resourceVersionMatch=Exact: the state of then. */
static bool is_past(const struct api_call *c, const struct reg_txn *txn)
{
    return c->match == API_MATCH_EXACT && c->at < txn->revision;
}

static reg_rev shown_revision(const struct api_call *c, const struct reg_txn *txn)
{
    return is_past(c, txn) ? c->at : txn->revision;
}

bool api_past_open(struct reg_txn *txn, reg_rev at, struct slice prefix, struct reg_past **ret_past,
                   struct err *err)
{
    if (reg_past_open(txn, at, prefix, ret_past) == REG_HISTORY_OK)
        return true;
    return err_set(err, ERR_GONE,
                   "revision %llu is not kept any more: the oldest that can be read is %llu",
                   (unsigned long long)at, (unsigned long long)txn->compacted);
}

static bool read_one(const struct api_call *c, struct reg_txn *txn, struct slice key,
                     json_t **ret_object, struct err *err)
{
    struct reg_past *past = NULL;
    struct reg_object o;
    if (is_past(c, txn) && !api_past_open(txn, c->at, key, &past, err))
        return false;
    bool found = past ? reg_past_get(past, key, &o) : reg_get(txn, key, &o);
    if (found)
        *ret_object = api_object(c, &o);
    else
        api_not_found(c, err);
    reg_past_free(past);
    return found;
}

void api_read_get(struct api_call *c)
{
    struct err err = {0};
    struct reg_txn txn;
    struct slice key;
    json_t *object = NULL;
    if (!api_key(c, &key, &err) || !reg_txn_begin(c->srv->store, &txn, &err)) {
        api_respond_err(c->req, c, &err);
        return;
    }
    bool found = read_one(c, &txn, key, &object, &err);
    reg_rev revision = shown_revision(c, &txn);
    reg_txn_end(&txn);
    api_say_freshness(c->srv, c->req, revision);
    if (!found) {
        api_respond_err(c->req, c, &err);
        return;
    }
    api_respond_object(c, 200, object);
    json_decref(object);
}

/* List. */

struct listing {
    struct api_call *call;
    json_t *items;
    uint64_t limit;
    struct slice last; /* key of the last item, when there are more */
    bool more;
};

static bool list_one(void *ctx, const struct reg_object *o)
{
    struct listing *l = ctx;
    json_t *object = api_object(l->call, o);
    if (!selector_match(&l->call->selector, object)) {
        json_decref(object);
        return true;
    }
    if (json_array_size(l->items) == l->limit) {
        json_decref(object);
        l->more = true;
        return false;
    }
    json_array_append_new(l->items, object);
    l->last = arena_dup(l->call->req->arena, o->key);
    return true;
}

/* A continue token is the key behind which the next page begins; it names no snapshot: pages are
 * read from the state of their moment, and each says its revision. */
static bool list_after(const struct api_call *c, struct slice *ret_after, struct err *err)
{
    *ret_after = S("");
    if (!c->cont.n)
        return true;
    struct buf key = {.limit = REG_KEY_BYTES_MAX};
    bool ok = base64_decode(&key, c->cont);
    if (ok)
        *ret_after = arena_dup(c->req->arena, buf_slice(&key));
    buf_fini(&key);
    return ok ? true
              : err_set(err, ERR_INVALID,
                        "continue: not a token of this server; list from the start");
}

static json_t *list_meta(const struct listing *l, reg_rev revision)
{
    char rv[32];
    json_t *meta = json_object();
    snprintf(rv, sizeof(rv), "%llu", (unsigned long long)revision);
    json_object_set_new(meta, "resourceVersion", json_string(rv));
    if (l->more) {
        struct buf token = {0};
        base64url_encode(&token, l->last);
        json_object_set_new(meta, "continue", json_string_of(buf_slice(&token)));
        buf_fini(&token);
    }
    return meta;
}

static void list_respond(struct listing *l, reg_rev revision)
{
    struct api_call *c = l->call;
    char rv[32], kind[160], version[160];
    json_t *meta = list_meta(l, revision), *body;
    api_say_freshness(c->srv, c->req, revision);
    if (c->table) {
        snprintf(rv, sizeof(rv), "%llu", (unsigned long long)revision);
        body = table_of(c->kind, l->items, slice_of(rv), env_wall_ms(c->srv->env));
        json_object_set(body, "metadata", meta);
    } else {
        snprintf(kind, sizeof(kind), "%sList", c->kind->kind);
        snprintf(version, sizeof(version), "%s%s%.*s", c->kind->group, c->kind->group[0] ? "/" : "",
                 SLICE(c->version));
        body = json_pack("{s:s,s:s,s:O,s:O}", "kind", kind, "apiVersion", version, "metadata", meta,
                         "items", l->items);
    }
    api_respond_json(c->req, 200, body);
    json_decref(body);
    json_decref(meta);
}

static bool list_scan(struct listing *l, struct reg_txn *txn, struct slice prefix,
                      struct slice after, struct err *err)
{
    struct reg_past *past = NULL;
    if (!is_past(l->call, txn)) {
        reg_scan(txn, prefix, after, list_one, l);
        return true;
    }
    if (!api_past_open(txn, l->call->at, prefix, &past, err))
        return false;
    reg_past_scan(past, prefix, after, list_one, l);
    reg_past_free(past);
    return true;
}

void api_read_list(struct api_call *c)
{
    struct err err = {0};
    struct reg_txn txn;
    struct slice after, prefix = api_prefix(c);
    struct listing l = {.call = c,
                        .limit = c->limit && c->limit < API_LIST_MAX ? c->limit : API_LIST_MAX};
    if (!list_after(c, &after, &err) || !reg_txn_begin(c->srv->store, &txn, &err)) {
        api_respond_err(c->req, c, &err);
        return;
    }
    l.items = json_array();
    bool ok = list_scan(&l, &txn, prefix, after, &err);
    reg_rev revision = shown_revision(c, &txn);
    reg_txn_end(&txn);
    if (ok)
        list_respond(&l, revision);
    else
        api_respond_err(c->req, c, &err);
    json_decref(l.items);
}

/* Waiting for a revision. */

#define WAIT_APPLIED_MS 3000

struct waiter {
    struct list_node node;
    struct env_timer timer;
    struct api_call *call;
    void (*fn)(struct api_call *c);
};

static void waiter_gone(struct http_request *req)
{
    struct waiter *w = req->user;
    struct api_call *c = w->call;
    env_timer_stop(c->srv->env, &w->timer);
    list_remove(&w->node);
}

static void waiter_end(struct waiter *w)
{
    env_timer_stop(w->call->srv->env, &w->timer);
    list_remove(&w->node);
    w->call->req->on_close = NULL;
}

static void waiter_timeout(struct env_timer *t)
{
    struct waiter *w = container_of(t, struct waiter, timer);
    struct api_call *c = w->call;
    struct err err = {0};
    waiter_end(w);
    err_set(&err, ERR_TIMEOUT,
            "Too large resource version: %llu: this node is behind; ask again or another node",
            (unsigned long long)c->at);
    api_respond_err(c->req, c, &err);
}

void api_when_applied(struct api_call *c, void (*fn)(struct api_call *c))
{
    struct err err = {0};
    struct reg_txn txn;
    if (!reg_txn_begin(c->srv->store, &txn, &err)) {
        api_respond_err(c->req, c, &err);
        return;
    }
    reg_rev revision = txn.revision;
    reg_txn_end(&txn);
    if (c->at <= revision) {
        fn(c);
        return;
    }
    struct waiter *w = ARENA_NEW(c->req->arena, struct waiter);
    *w = (struct waiter){.timer.fn = waiter_timeout, .call = c, .fn = fn};
    c->req->user = w;
    c->req->on_close = waiter_gone;
    list_push(&c->srv->waiters, &w->node);
    env_timer_start(c->srv->env, &w->timer, WAIT_APPLIED_MS);
}

void api_waiters_wake(struct apiserver *s, reg_rev revision)
{
    LIST_EACH (&s->waiters, node) {
        struct waiter *w = container_of(node, struct waiter, node);
        if (w->call->at > revision)
            continue;
        waiter_end(w);
        w->fn(w->call);
    }
}
