/* From what a client sent and what there is to what there shall be. Pure but for reads of one
 * transaction. */
#include "registry/apiserver/write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/status.h"
#include "base/core/hash.h"

static bool item_read(struct item *it, struct arena *arena, struct reg_txn *txn, struct err *err)
{
    struct reg_object o;
    json_decref(it->before);
    it->before = NULL;
    it->before_rev = 0;
    if (!kind_key(it->kind, it->ns, it->name, arena, &it->key, err))
        return false;
    if (!reg_get(txn, it->key, &o))
        return true;
    it->before = api_object_as(it->kind, S(""), &o);
    it->before_rev = o.mod_rev;
    return true;
}

static bool missing(const struct item *it, struct err *err)
{
    const char *dot = it->kind->group[0] ? "." : "";
    return err_set(err, ERR_NOT_FOUND, "%s%s%s \"%.*s\" not found", it->kind->plural, dot,
                   it->kind->group, SLICE(it->name));
}

static bool expectation(const struct item *it, struct err *err)
{
    const char *dot = it->kind->group[0] ? "." : "";
    if ((it->verb == ITEM_CREATE || it->need == ITEM_NEED_ABSENT) && it->before)
        return err_set(err, ERR_EXISTS, "%s%s%s \"%.*s\" already exists", it->kind->plural, dot,
                       it->kind->group, SLICE(it->name));
    bool may_be_absent =
        it->verb == ITEM_CREATE || it->verb == ITEM_APPLY || it->need == ITEM_NEED_ABSENT;
    bool must_exist = it->need == ITEM_NEED_EXISTS || it->expected;
    if (!it->before && (must_exist || !may_be_absent))
        return missing(it, err);
    if (it->uid.n && !slice_eq(it->uid, json_str(it->before, "metadata.uid")))
        return err_set(err, ERR_CONFLICT,
                       "preconditions.uid: %s%s%s \"%.*s\" is another object by now (%.*s)",
                       it->kind->plural, dot, it->kind->group, SLICE(it->name),
                       SLICE(json_str(it->before, "metadata.uid")));
    if (it->expected && it->expected != it->before_rev)
        return err_set(err, ERR_CONFLICT,
                       "Operation cannot be fulfilled on %s%s%s \"%.*s\": the object has been "
                       "modified (it is at "
                       "%llu, you changed %llu); read it again and repeat the change",
                       it->kind->plural, dot, it->kind->group, SLICE(it->name),
                       (unsigned long long)it->before_rev, (unsigned long long)it->expected);
    return true;
}

/* Apply keeps what others put into annotations; everything else is as given. */
static json_t *applied(const struct item *it)
{
    json_t *o = json_deep_copy(it->input);
    json_t *had = json_at(it->before, "metadata.annotations");
    json_t *gives = json_at(o, "metadata.annotations");
    if (had) {
        json_t *merged = json_deep_copy(had);
        json_object_update(merged, gives);
        json_object_set_new(json_object_child(o, "metadata"), "annotations", merged);
    }
    return o;
}

/* What is given whole becomes the object itself, without a copy: all that is changed in it from
 * here on is the server's to set, and is set anew when a lost race repeats the write. */
static json_t *item_next(const struct item *it, struct err *err)
{
    switch (it->verb) {
    case ITEM_APPLY:
        return it->before ? applied(it) : json_incref(it->input);
    case ITEM_PATCH:
        if (it->patch == ITEM_PATCH_JSON)
            return patch_json(it->before, it->input, err);
        if (it->patch == ITEM_PATCH_STRATEGIC)
            return patch_strategic(it->kind, it->before, it->input, err);
        return patch_merge(it->before, it->input, err);
    default:
        return json_incref(it->input);
    }
}

/* The status subresource changes the status and nothing else, the object itself everything but the
 * status. */
static json_t *only_status(const struct item *it, json_t *take_next, struct err *err)
{
    json_t *status = json_object_get(take_next, "status"), *o = NULL;
    if (status && !json_is_object(status)) {
        err_set(err, ERR_INVALID, "status: must be an object");
    } else {
        o = json_deep_copy(it->before);
        if (status)
            json_object_set(o, "status", status);
    }
    json_decref(take_next);
    return o;
}

static void keep_status(const struct item *it, json_t *next)
{
    json_t *status = it->before ? json_object_get(it->before, "status") : NULL;
    json_object_del(next, "status");
    if (status)
        json_object_set(next, "status", status);
}

static bool same_place(const struct item *it, const json_t *next, struct err *err)
{
    struct slice name = json_str(next, "metadata.name"), ns = json_str(next, "metadata.namespace");
    if (name.n && !slice_eq(name, it->name))
        return err_set(err, ERR_INVALID,
                       "the name of the object (%.*s) does not match the name on the URL (%.*s)",
                       SLICE(name), SLICE(it->name));
    if (ns.n && it->kind->namespaced && !slice_eq(ns, it->ns))
        return err_set(
            err, ERR_INVALID,
            "the namespace of the object (%.*s) does not match the namespace of the request (%.*s)",
            SLICE(ns), SLICE(it->ns));
    return true;
}

static json_t *uid_new(struct env *env)
{
    uint8_t random[16];
    char uid[UUID_BYTES];
    env_random(env, random, sizeof(random));
    uuid_encode(uid, random);
    return json_stringn(uid, sizeof(uid));
}

/* Kubernetes leaves out an empty map, and a client that compares would see a change. */
static void drop_empty(json_t *meta, const char *key)
{
    json_t *map = json_object_get(meta, key);
    if (json_is_object(map) && json_object_size(map) == 0)
        json_object_del(meta, key);
}

static void copy_field(json_t *to, const json_t *from, const char *key)
{
    json_t *v = json_object_get(from, key);
    if (v)
        json_object_set(to, key, v);
    else
        json_object_del(to, key);
}

/* What the server owns in metadata. */
static void stamp(struct write *w, const struct item *it, json_t *next)
{
    char text[40];
    json_t *meta = json_object_child(next, "metadata");
    const json_t *old = it->before ? json_object_get(it->before, "metadata") : NULL;
    json_object_set_new(meta, "name", json_string_of(it->name));
    if (it->kind->namespaced)
        json_object_set_new(meta, "namespace", json_string_of(it->ns));
    else
        json_object_del(meta, "namespace");
    if (old) {
        copy_field(meta, old, "uid");
        copy_field(meta, old, "creationTimestamp");
    } else {
        json_object_set_new(meta, "uid", uid_new(w->srv->env));
        json_object_set_new(meta, "creationTimestamp",
                            json_string(status_time(env_wall_ms(w->srv->env), text)));
    }
    int64_t generation = old ? json_int(it->before, "metadata.generation", 1) : 1;
    if (it->before && !kind_same_spec(it->before, next))
        generation++;
    json_object_set_new(meta, "generation", json_integer(generation));
    json_object_del(meta, "resourceVersion");
    drop_empty(meta, "annotations");
    drop_empty(meta, "labels");
}

/* A new generation is accepted (it is being committed) and on its way; a dry run only compares. */
static void begin_conditions(struct write *w, const struct item *it, json_t *next)
{
    int64_t generation = json_int(next, "metadata.generation", 1);
    if (w->dry_run || !it->kind->distributed || (it->before && kind_same_spec(it->before, next)))
        return;
    condition_set(next, &(struct condition){.type = "Accepted",
                                            .status = "True",
                                            .reason = "Accepted",
                                            .observed_generation = generation,
                                            .wall_ms = env_wall_ms(w->srv->env)});
    condition_set(next, &(struct condition){.type = "Distributed",
                                            .status = "False",
                                            .reason = "Distributing",
                                            .observed_generation = generation,
                                            .wall_ms = env_wall_ms(w->srv->env)});
}

static bool item_validate(struct write *w, struct item *it, const json_t *next)
{
    struct kind_check check = {
        .unknown_fields = (__typeof__(check.unknown_fields))w->unknown_fields, .old = it->before};
    w->refused = it;
    if (!kind_validate(it->kind, next, &check, &w->report))
        return false;
    w->refused = NULL;
    return true;
}

static bool namespace_there(struct write *w, const struct item *it, struct reg_txn *txn)
{
    struct reg_object o;
    struct slice key;
    if (!it->kind->namespaced)
        return true;
    for (size_t i = 0; i < w->given; i++)
        if (w->items.p[i].kind->id == KIND_NAMESPACE && slice_eq(w->items.p[i].name, it->ns))
            return w->items.p[i].verb != ITEM_DELETE;
    return kind_key(&kinds[KIND_NAMESPACE], S(""), it->ns, &w->arena, &key, NULL) &&
           reg_get(txn, key, &o);
}

bool item_prepare(struct write *w, struct item *it, struct reg_txn *txn, struct err *err)
{
    json_decref(it->after);
    it->after = NULL;
    if (!item_read(it, &w->arena, txn, err) || !expectation(it, err))
        return false;
    if (it->verb == ITEM_DELETE && it->kind->id == KIND_NAMESPACE &&
        slice_eq(it->name, S("default")))
        return err_set(err, ERR_FORBIDDEN,
                       "namespaces \"default\" is forbidden: this namespace may not be deleted");
    if (it->verb == ITEM_CHECK) {
        it->result = ITEM_UNCHANGED;
        return true;
    }
    if (it->verb == ITEM_DELETE) {
        it->result = ITEM_DELETED;
        return true;
    }
    bool there = it->before || namespace_there(w, it, txn);
    if (!there && txn->revision == 0) /* "default" is on its way */
        return err_set(err, ERR_UNAVAILABLE,
                       "the cluster has not begun: start a majority of its nodes, then try again");
    if (!there)
        return err_set(err, ERR_NOT_FOUND, "namespaces \"%.*s\" not found: create it first",
                       SLICE(it->ns));
    json_t *next = item_next(it, err);
    if (!next)
        return false;
    if (it->sub == API_SUB_STATUS)
        next = only_status(it, next, err);
    else
        keep_status(it, next);
    it->after = next;
    if (!next || !same_place(it, next, err))
        return false;
    stamp(w, it, next);
    kind_default(it->kind, next);
    if (!item_lease(w, it, txn, next, err))
        return false;
    if (it->sub == API_SUB_NONE && !item_validate(w, it, next))
        return err_set(err, ERR_INVALID, "invalid");
    begin_conditions(w, it, next);
    it->result = !it->before                                ? ITEM_CREATED
                 : kind_same_content(it->before, it->after) ? ITEM_UNCHANGED
                                                            : ITEM_CONFIGURED;
    return true;
}
