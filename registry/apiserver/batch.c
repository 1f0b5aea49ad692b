/* POST /weft/v1/transaction (also /weft/v1/batch): many objects in one revision, or none.
 *
 *   {"items":[{"verb":"apply","object":{…},"precondition":{"resourceVersion":"41"}}, …],
 *    "preconditions":[{"object":{…},"exists":true}, …]}
 *
 * Verbs are apply, create, update (replace) and delete. A precondition is one of resourceVersion:
 * "41", absent: true, exists: true; an item has its own, those of objects that are not written
 * stand in preconditions. They hold in the moment of the commit, or the answer is 409 or 404 and
 * says which does not, and nothing is done.
 *
 *   -> {"revision":41,"dryRun":false,
 *       "items":[{"verb":"apply","result":"configured","kind":…,"name":…}]}
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/status.h"
#include "base/core/map.h"
#include "registry/apiserver/write.h"

static const char *const result_names[] = {
    [ITEM_CREATED] = "created",
    [ITEM_CONFIGURED] = "configured",
    [ITEM_UNCHANGED] = "unchanged",
    [ITEM_DELETED] = "deleted",
};

static const char *const verb_names[] = {
    [ITEM_CREATE] = "create", [ITEM_UPDATE] = "update", [ITEM_APPLY] = "apply",
    [ITEM_PATCH] = "patch",   [ITEM_DELETE] = "delete", [ITEM_CHECK] = "check",
};
static_assert(ARRAY_LEN(verb_names) == ITEM_VERB_COUNT, "a name for each verb");

/* A dry run shows what would be stored: that is what a diff compares. */
static json_t *item_json(const struct item *it, bool dry_run)
{
    json_t *o =
        json_pack("{s:s,s:s,s:s,s:s}", "verb", verb_names[it->verb], "result",
                  result_names[it->result], "kind", it->kind->kind, "group", it->kind->group);
    if (it->ns.n)
        json_object_set_new(o, "namespace", json_string_of(it->ns));
    json_object_set_new(o, "name", json_string_of(it->name));
    if (dry_run && it->after)
        json_object_set(o, "object", it->after);
    return o;
}

static json_t *warnings_json(const struct kind_report *report)
{
    json_t *list = json_array();
    for (size_t i = 0; i < report->count; i++) {
        char text[1024];
        const struct kind_problem *p = &report->items[i];
        if (!p->warning)
            continue;
        snprintf(text, sizeof(text), "%.*s: %.*s", SLICE(p->field), SLICE(p->message));
        json_array_append_new(list, json_string_of(slice_of(text)));
    }
    return list;
}

static void done_batch(struct write *w, reg_rev revision)
{
    json_t *items = json_array();
    for (size_t i = 0; i < w->given; i++)
        if (w->items.p[i].verb != ITEM_CHECK)
            json_array_append_new(items, item_json(&w->items.p[i], w->dry_run));
    json_t *body = json_pack("{s:I,s:b,s:o,s:o}", "revision", (json_int_t)revision, "dryRun",
                             w->dry_run, "items", items, "warnings", warnings_json(&w->report));
    api_respond_json(w->req, 200, body);
    json_decref(body);
}

static bool verb_parse(struct slice text, enum item_verb *ret)
{
    static const enum item_verb known[] = {ITEM_APPLY, ITEM_CREATE, ITEM_UPDATE, ITEM_DELETE};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (slice_eq(text, slice_of(verb_names[known[i]]))) {
            *ret = known[i];
            return true;
        }
    return false;
}

/* One of its three forms; `in` may be an object with more in it. */
static bool precondition_parse(struct item *it, const json_t *in, struct err *err)
{
    const json_t *rv = json_object_get(in, "resourceVersion");
    bool absent = json_is_true(json_object_get(in, "absent"));
    bool exists = json_is_true(json_object_get(in, "exists"));
    if ((rv != NULL) + absent + exists != 1)
        return err_set(err, ERR_INVALID,
                       "one of resourceVersion: \"41\", absent: true, exists: true");
    if (rv && (!slice_u64(json_slice(rv), &it->expected) || !it->expected))
        return err_set(err, ERR_INVALID,
                       "resourceVersion: must be the text of a revision, as \"41\"");
    it->need = absent ? ITEM_NEED_ABSENT : exists ? ITEM_NEED_EXISTS : ITEM_NEED_NOTHING;
    return true;
}

/* Which object it is about. */
static struct item *item_named(struct write *w, const json_t *in, struct err *err)
{
    json_t *object = json_object_get(in, "object");
    const struct kind *k = object ? kind_of_object(object, err) : NULL;
    struct item *it = write_item(w);
    if (!object)
        err_set(err, ERR_INVALID, "object: is required");
    else if (!k)
        err_wrap(err, "object");
    if (!k)
        return NULL;
    struct slice ns = json_str(object, "metadata.namespace");
    *it = (struct item){
        .kind = k,
        .ns = k->namespaced ? ns.n ? arena_dup(&w->arena, ns) : S("default") : S(""),
        .name = arena_dup(&w->arena, json_str(object, "metadata.name")),
        .input = json_incref(object),
    };
    if (it->name.n)
        return it;
    err_set(err, ERR_INVALID, "object.metadata.name: is required");
    return NULL;
}

static bool item_parse(struct write *w, const json_t *in, struct err *err)
{
    struct item *it = item_named(w, in, err);
    const json_t *precondition = json_object_get(in, "precondition");
    if (!it)
        return false;
    if (!verb_parse(json_str(in, "verb"), &it->verb))
        return err_set(err, ERR_INVALID, "verb: apply, create, update or delete");
    struct slice rv = json_str(it->input, "metadata.resourceVersion");
    if (it->verb == ITEM_UPDATE && rv.n && !slice_u64(rv, &it->expected))
        return err_set(err, ERR_INVALID, "object.metadata.resourceVersion: \"%.*s\" is no revision",
                       SLICE(rv));
    return !precondition || precondition_parse(it, precondition, err) ||
           err_wrap(err, "precondition");
}

static bool check_parse(struct write *w, const json_t *in, struct err *err)
{
    struct item *it = item_named(w, in, err);
    if (!it)
        return false;
    it->verb = ITEM_CHECK;
    return precondition_parse(it, in, err);
}

/* One object twice in a request has no meaning that all would guess. */
static bool unique(struct write *w, struct err *err)
{
    struct map seen = {.copies_keys = true};
    bool ok = true;
    for (size_t i = 0; i < w->items.n && ok; i++) {
        char key[1024];
        const struct item *it = &w->items.p[i];
        int n = snprintf(key, sizeof(key), "%s.%s/%.*s/%.*s", it->kind->plural, it->kind->group,
                         SLICE(it->ns), SLICE(it->name));
        if (map_put(&seen, slice_mem(key, (size_t)n < sizeof(key) ? (size_t)n : sizeof(key) - 1),
                    &seen))
            ok = err_set(err, ERR_INVALID, "%.*s: %s \"%.*s\" is in the request twice",
                         SLICE(write_item_label(w, it)), it->kind->kind, SLICE(it->name));
    }
    map_fini(&seen);
    return ok;
}

static bool list_parse(struct write *w, const json_t *list, const char *name,
                       bool (*fn)(struct write *w, const json_t *in, struct err *err),
                       struct err *err)
{
    const json_t *in;
    size_t i;
    json_array_foreach (list, i, in)
        if (!fn(w, in, err))
            return err_wrap(err, "%s[%zu]", name, i);
    return true;
}

static bool batch_parse(struct write *w, const json_t *body, struct err *err)
{
    const json_t *items = json_object_get(body, "items"),
                 *checks = json_object_get(body, "preconditions");
    size_t count = json_array_size(items) + json_array_size(checks);
    if (!json_is_array(items) || json_array_size(items) == 0)
        return err_set(err, ERR_INVALID, "items: must be a list with at least one item");
    if (checks && !json_is_array(checks))
        return err_set(err, ERR_INVALID, "preconditions: must be a list");
    if (count > WRITE_ITEMS_MAX)
        return err_set(err, ERR_LIMIT,
                       "%zu objects are more than one revision can hold (%d); make the change in "
                       "parts",
                       count, WRITE_ITEMS_MAX);
    w->checks_from = json_array_size(items);
    return list_parse(w, items, "items", item_parse, err) &&
           list_parse(w, checks, "preconditions", check_parse, err) && unique(w, err);
}

static int unknown_fields(struct http_request *req)
{
    struct slice v = S("");
    uri_query_get(req->query, S("fieldValidation"), req->arena, &v);
    return slice_eq(v, S("Strict"))   ? KIND_UNKNOWN_REFUSE
           : slice_eq(v, S("Ignore")) ? KIND_UNKNOWN_IGNORE
                                      : KIND_UNKNOWN_WARN;
}

void api_batch(struct apiserver *s, struct http_request *req)
{
    struct err err = {0};
    json_t *body = json_parse(req->body, &err);
    struct write *w = write_new(s, req);
    if (!w) {
        json_decref(body);
        return;
    }
    w->done = done_batch;
    w->batch = true;
    w->dry_run = uri_query_has(req->query, S("dryRun"));
    w->unknown_fields = unknown_fields(req);
    bool ok = body && batch_parse(w, body, &err);
    json_decref(body);
    if (ok)
        write_start(w);
    else
        write_refuse(w, &err);
}
