/* GET /weft/v1/history: every change of an object, a kind or everything, the newest `limit`;
 * GET /weft/v1/diff: what two revisions have different, whatever lay between.
 *
 *   ?resource=virtualservices.networking.istio.io&namespace=default&name=reviews   any part of it
 *   history: from, to (revisions; from < revision <= to), limit, values=true (with the objects)
 *   diff:    from (is needed), to (the newest)
 *
 *   -> {"oldest":7,"revision":41,"more":false,"items":[{"revision":41,"time":"…","by":"weft/0.1 …",
 *       "change":"configured","kind":…,"group":…,"namespace":…,"name":…,"object":{…}}]}
 *   -> {"oldest":7,"from":40,"to":41,"items":[{"change":"configured",…,"before":{…},"after":{…}}]}
 *
 * A change of nothing but the status is a "status" in the history and none in a diff. */
#include <stdlib.h>
#include <string.h>

#include "api/status.h"
#include "base/core/map.h"
#include "registry/apiserver/internal.h"

struct past_query {
    struct apiserver *srv;
    struct http_request *req;
    struct api_freshness fresh;
    const struct kind *kind; /* NULL: all kinds */
    struct slice ns, name, prefix;
    reg_rev from, to;
    bool from_given, values;
    uint64_t limit;
};

/* The question. */

static bool text(const struct past_query *q, struct slice name, struct slice *ret)
{
    *ret = S("");
    return uri_query_get(q->req->query, name, q->req->arena, ret);
}

static bool number(const struct past_query *q, struct slice name, uint64_t *ret, bool *ret_given,
                   struct err *err)
{
    struct slice v;
    *ret_given = text(q, name, &v);
    if (*ret_given && !slice_u64(v, ret))
        return err_set(err, ERR_INVALID, "%.*s=%.*s: must be a number", SLICE(name), SLICE(v));
    return true;
}

/* Keys are kind, namespace, name: a part without the one before it is no prefix. */
static bool query_scope(struct past_query *q, struct err *err)
{
    struct slice resource;
    bool given = text(q, S("resource"), &resource);
    bool ns = text(q, S("namespace"), &q->ns) && q->ns.n;
    bool name = text(q, S("name"), &q->name) && q->name.n;
    q->kind = given ? kind_guess(resource) : NULL;
    if (given && !q->kind)
        return err_set(err, ERR_INVALID, "resource=%.*s: no such kind", SLICE(resource));
    if ((ns || name) && !q->kind)
        return err_set(err, ERR_INVALID, "%s: needs a resource", ns ? "namespace" : "name");
    if (!q->kind)
        return true;
    if (ns && !q->kind->namespaced)
        return err_set(err, ERR_INVALID, "namespace: %s have none", q->kind->plural);
    if (name && q->kind->namespaced && !ns)
        return err_set(err, ERR_INVALID, "name: needs a namespace");
    if (name)
        return kind_key(q->kind, q->ns, q->name, q->req->arena, &q->prefix, err);
    struct api_call c = {.req = q->req, .kind = q->kind, .ns = q->ns};
    q->prefix = api_prefix(&c);
    return true;
}

static bool query_parse(struct past_query *q, struct err *err)
{
    bool given;
    struct slice values;
    q->to = UINT64_MAX;
    q->limit = API_HISTORY_DEFAULT;
    if (!query_scope(q, err) || !number(q, S("from"), &q->from, &q->from_given, err) ||
        !number(q, S("to"), &q->to, &given, err) ||
        !number(q, S("limit"), &q->limit, &given, err) ||
        !api_consistency_parse(q->req, &q->fresh, err))
        return false;
    if (q->limit == 0 || q->limit > API_HISTORY_MAX)
        return err_set(err, ERR_INVALID, "limit=%llu: 1 to %d", (unsigned long long)q->limit,
                       API_HISTORY_MAX);
    q->values = text(q, S("values"), &values) && slice_eq(values, S("true"));
    return true;
}

static struct reg_range query_range(const struct past_query *q)
{
    return (struct reg_range){
        .from = q->from, .to = q->to, .prefix = q->prefix, .whole = q->name.n > 0};
}

static bool too_old(const struct past_query *q, const struct reg_txn *txn, struct err *err)
{
    return err_set(err, ERR_GONE,
                   "revision %llu is not kept any more: the oldest that can be read is %llu",
                   (unsigned long long)q->from, (unsigned long long)txn->compacted);
}

/* Comparing. */

/* What is no part of what somebody wanted: the status, and what the server sets. */
static json_t *wanted(const json_t *object)
{
    static const char *const own[] = {"uid", "creationTimestamp", "generation", "resourceVersion"};
    json_t *copy = json_deep_copy(object), *meta = json_object_get(copy, "metadata");
    json_object_del(copy, "status");
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        json_object_del(meta, own[i]);
    return copy;
}

static bool same_wish(const json_t *a, const json_t *b)
{
    if (!a || !b)
        return a == b;
    json_t *x = wanted(a), *y = wanted(b);
    bool same = json_equal(x, y);
    json_decref(x);
    json_decref(y);
    return same;
}

static const char *change_name(const json_t *before, const json_t *after)
{
    return !before                    ? "created"
           : !after                   ? "deleted"
           : same_wish(before, after) ? "status"
                                      : "configured";
}

static json_t *object_at(const struct kind *k, struct slice value, reg_rev mod_rev)
{
    struct reg_object o = {.value = value, .mod_rev = mod_rev};
    return mod_rev ? api_object_as(k, S(""), &o) : NULL;
}

static json_t *item_named(struct slice key, const struct kind **ret_kind)
{
    struct slice ns, name;
    if (!kind_key_parse(key, ret_kind, &ns, &name))
        return NULL; /* of a kind that this version does not know */
    json_t *item = json_pack("{s:s,s:s}", "kind", (*ret_kind)->kind, "group", (*ret_kind)->group);
    json_object_set_new(item, "resource", json_string((*ret_kind)->plural));
    if (ns.n)
        json_object_set_new(item, "namespace", json_string_of(ns));
    json_object_set_new(item, "name", json_string_of(name));
    return item;
}

/* History. */

/* The newest `limit`, borrowed: the window is longer than an answer. */
struct newest {
    struct reg_event *ring;
    uint64_t limit, seen;
};

static bool newest_add(void *ctx, const struct reg_event *e)
{
    struct newest *n = ctx;
    n->ring[n->seen++ % n->limit] = *e;
    return true;
}

static json_t *event_json(const struct reg_event *e, bool values)
{
    const struct kind *k;
    char when[STATUS_TIME_BYTES];
    json_t *item = item_named(e->object.key, &k);
    if (!item)
        return NULL;
    json_t *before = object_at(k, e->prev_value, e->prev_mod_rev);
    json_t *now = object_at(k, e->object.value, e->revision);
    json_object_set_new(item, "revision", json_integer((json_int_t)e->revision));
    json_object_set_new(item, "change", json_string(change_name(before, e->deleted ? NULL : now)));
    if (e->wall_ms)
        json_object_set_new(item, "time", json_string(status_time(e->wall_ms, when)));
    if (e->origin.n)
        json_object_set_new(item, "by", json_string_of(e->origin));
    if (values)
        json_object_set(item, "object", now);
    json_decref(before);
    json_decref(now);
    return item;
}

/* From the newest back, as long as there is room; then the other way round. */
static json_t *newest_json(const struct newest *n, bool values, bool *ret_more)
{
    uint64_t kept = n->seen < n->limit ? n->seen : n->limit, first = n->seen;
    size_t bytes = 0;
    json_t *list = json_array();
    while (first > n->seen - kept && bytes <= API_HISTORY_BYTES_MAX) {
        const struct reg_event *e = &n->ring[--first % n->limit];
        bytes += e->object.value.n;
    }
    *ret_more = first > 0;
    for (uint64_t i = first; i < n->seen; i++) {
        json_t *item = event_json(&n->ring[i % n->limit], values);
        if (item)
            json_array_append_new(list, item);
    }
    return list;
}

static json_t *history_body(const struct past_query *q, struct reg_txn *txn, struct err *err)
{
    struct reg_range range = query_range(q);
    struct newest n = {.limit = q->limit};
    bool more;
    if (!q->from_given)
        range.from = txn->compacted;
    n.ring = mem_array(q->limit, sizeof(*n.ring));
    json_t *body = NULL;
    if (reg_changes_in(txn, &range, newest_add, &n) == REG_HISTORY_OK) {
        json_t *items = newest_json(&n, q->values, &more);
        body = json_pack("{s:I,s:I,s:b,s:o}", "oldest", (json_int_t)txn->compacted, "revision",
                         (json_int_t)txn->revision, "more", more, "items", items);
    } else {
        too_old(q, txn, err);
    }
    mem_free(n.ring);
    return body;
}

/* Diff. */

/* The first change says how it was, the last how it became. */
struct pair {
    struct reg_event first, last;
};

struct pairs {
    struct http_request *req;
    struct map by_key;
    VEC(struct pair *) list;
    bool overflow;
};

static bool pairs_add(void *ctx, const struct reg_event *e)
{
    struct pairs *p = ctx;
    struct pair *pair = map_get(&p->by_key, e->object.key);
    if (!pair) {
        p->overflow = p->list.n == API_DIFF_MAX;
        if (p->overflow)
            return false;
        pair = ARENA_NEW(p->req->arena, struct pair);
        pair->first = *e;
        map_put(&p->by_key, e->object.key, pair);
        *vec_push(&p->list) = pair;
    }
    pair->last = *e;
    return true;
}

static int by_key(const void *a, const void *b)
{
    const struct pair *const *x = a, *const *y = b;
    return slice_cmp((*x)->first.object.key, (*y)->first.object.key);
}

/* NULL: they are equal in the end, but for the status. */
static json_t *pair_json(const struct pair *p, bool back)
{
    const struct kind *k;
    json_t *item = item_named(p->first.object.key, &k);
    if (!item)
        return NULL;
    json_t *was = object_at(k, p->first.prev_value, p->first.prev_mod_rev);
    json_t *is = object_at(k, p->last.object.value, p->last.deleted ? 0 : p->last.revision);
    const json_t *before = back ? is : was, *after = back ? was : is;
    if (same_wish(before, after)) {
        json_decref(item);
        item = NULL;
    } else {
        json_object_set_new(item, "change", json_string(change_name(before, after)));
        if (before)
            json_object_set(item, "before", (json_t *)(uintptr_t)before);
        if (after)
            json_object_set(item, "after", (json_t *)(uintptr_t)after);
    }
    json_decref(was);
    json_decref(is);
    return item;
}

static bool diff_too_large(struct err *err)
{
    return err_set(err, ERR_LIMIT,
                   "more than %d objects or %u bytes changed between the two revisions: ask for a "
                   "resource, a namespace or a name",
                   API_DIFF_MAX, API_HISTORY_BYTES_MAX);
}

static json_t *pairs_json(struct pairs *p, bool back, struct err *err)
{
    json_t *list = json_array();
    size_t bytes = 0;
    if (p->list.n)
        qsort(p->list.p, p->list.n, sizeof(struct pair *), by_key);
    for (size_t i = 0; i < p->list.n; i++) {
        const struct pair *pair = p->list.p[i];
        bytes += pair->first.prev_value.n + pair->last.object.value.n;
        if (bytes > API_HISTORY_BYTES_MAX) {
            json_decref(list);
            diff_too_large(err);
            return NULL;
        }
        json_t *item = pair_json(pair, back);
        if (item)
            json_array_append_new(list, item);
    }
    return list;
}

static bool diff_range(const struct past_query *q, const struct reg_txn *txn,
                       struct reg_range *ret_range, bool *ret_back, struct err *err)
{
    struct reg_range r = query_range(q);
    if (r.to == UINT64_MAX)
        r.to = txn->revision;
    *ret_back = r.from > r.to;
    if (*ret_back) {
        reg_rev from = r.from;
        r.from = r.to;
        r.to = from;
    }
    *ret_range = r;
    if (r.to > txn->revision)
        return err_set(err, ERR_TIMEOUT, "revision %llu: this node is at %llu; ask again",
                       (unsigned long long)r.to, (unsigned long long)txn->revision);
    if (r.from < txn->compacted) {
        struct past_query oldest = *q;
        oldest.from = r.from;
        return too_old(&oldest, txn, err);
    }
    return true;
}

static json_t *diff_body(const struct past_query *q, struct reg_txn *txn, struct err *err)
{
    struct pairs p = {.req = q->req};
    struct reg_range range;
    bool back;
    json_t *items = NULL;
    if (!q->from_given) {
        err_set(err, ERR_INVALID, "from: is required: the revision to compare with");
        return NULL;
    }
    if (!diff_range(q, txn, &range, &back, err))
        return NULL;
    reg_changes_in(txn, &range, pairs_add, &p);
    if (p.overflow)
        diff_too_large(err);
    else
        items = pairs_json(&p, back, err);
    map_fini(&p.by_key);
    vec_fini(&p.list);
    return items ? json_pack("{s:I,s:I,s:I,s:o}", "oldest", (json_int_t)txn->compacted, "from",
                             (json_int_t)q->from, "to",
                             (json_int_t)(q->to == UINT64_MAX ? txn->revision : q->to), "items",
                             items)
                 : NULL;
}

/* The answer. */

static void answer(struct past_query *q, json_t *(*body)(const struct past_query *q,
                                                         struct reg_txn *txn, struct err *err))
{
    struct err err = {0};
    struct reg_txn txn;
    if (!reg_txn_begin(q->srv->store, &txn, &err)) {
        api_respond_err(q->req, NULL, &err);
        return;
    }
    json_t *o = body(q, &txn, &err);
    reg_rev revision = txn.revision;
    reg_txn_end(&txn);
    api_say_freshness(q->srv, q->req, revision);
    if (o)
        api_respond_json(q->req, 200, o);
    else
        api_respond_err(q->req, NULL, &err);
    json_decref(o);
}

static void answer_history(void *ctx)
{
    answer(ctx, history_body);
}

static void answer_diff(void *ctx)
{
    answer(ctx, diff_body);
}

static void ask(struct apiserver *s, struct http_request *req, void (*fn)(void *ctx))
{
    struct err err = {0};
    struct past_query *q = ARENA_NEW(req->arena, struct past_query);
    *q = (struct past_query){.srv = s, .req = req};
    if (query_parse(q, &err))
        api_when_fresh(s, req, &q->fresh, fn, q);
    else
        api_respond_err(req, NULL, &err);
}

void api_history(struct apiserver *s, struct http_request *req)
{
    ask(s, req, answer_history);
}

void api_diff(struct apiserver *s, struct http_request *req)
{
    ask(s, req, answer_diff);
}
