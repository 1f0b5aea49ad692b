/* POST /weft/v1/batch: many objects in one entry.
 *
 *   {"items":[{"verb":"apply","object":{…}}, …]}   verbs apply, create, delete
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
    [ITEM_PATCH] = "patch",   [ITEM_DELETE] = "delete",
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
        json_array_append_new(items, item_json(&w->items.p[i], w->dry_run));
    json_t *body = json_pack("{s:I,s:b,s:o,s:o}", "revision", (json_int_t)revision, "dryRun",
                             w->dry_run, "items", items, "warnings", warnings_json(&w->report));
    api_respond_json(w->req, 200, body);
    json_decref(body);
}

static bool verb_parse(struct slice text, enum item_verb *ret)
{
    static const enum item_verb known[] = {ITEM_APPLY, ITEM_CREATE, ITEM_DELETE};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (slice_eq(text, slice_of(verb_names[known[i]]))) {
            *ret = known[i];
            return true;
        }
    return false;
}

static bool item_parse(struct write *w, const json_t *in, size_t index, struct err *err)
{
    json_t *object = json_object_get(in, "object");
    const struct kind *k = object ? kind_of_object(object, err) : NULL;
    struct item *it = write_item(w);
    if (!object)
        return err_set(err, ERR_INVALID, "items[%zu].object: is required", index);
    if (!k)
        return err_wrap(err, "items[%zu].object", index);
    struct slice ns = json_str(object, "metadata.namespace");
    *it = (struct item){
        .kind = k,
        .ns = k->namespaced ? ns.n ? arena_dup(&w->arena, ns) : S("default") : S(""),
        .name = arena_dup(&w->arena, json_str(object, "metadata.name")),
        .input = json_incref(object),
    };
    if (!it->name.n)
        return err_set(err, ERR_INVALID, "items[%zu].object.metadata.name: is required", index);
    if (!verb_parse(json_str(in, "verb"), &it->verb))
        return err_set(err, ERR_INVALID, "items[%zu].verb: apply, create or delete", index);
    return true;
}

/* One object twice in a request has no meaning that all would guess. */
static bool unique(const struct write *w, struct err *err)
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
            ok = err_set(err, ERR_INVALID, "items[%zu]: %s \"%.*s\" is in the request twice", i,
                         it->kind->kind, SLICE(it->name));
    }
    map_fini(&seen);
    return ok;
}

static bool batch_parse(struct write *w, const json_t *body, struct err *err)
{
    const json_t *items = json_object_get(body, "items"), *in;
    size_t i;
    if (!json_is_array(items) || json_array_size(items) == 0)
        return err_set(err, ERR_INVALID, "items: must be a list with at least one item");
    if (json_array_size(items) > WRITE_ITEMS_MAX)
        return err_set(err, ERR_LIMIT,
                       "%zu objects are more than one revision can hold (%d); make the change in "
                       "parts",
                       json_array_size(items), WRITE_ITEMS_MAX);
    json_array_foreach (items, i, in)
        if (!item_parse(w, in, i, err))
            return false;
    return unique(w, err);
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
        write_run(w);
    else
        write_refuse(w, &err);
}
