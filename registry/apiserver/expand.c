/* What a deletion takes along: the objects of a namespace, those of a collection. */
#include <string.h>

#include "base/core/map.h"
#include "registry/apiserver/write.h"

struct gather {
    struct write *w;
    const struct kind *kind;
    const struct selector *selector;
    const struct map *given; /* keys of what the client deletes itself */
};

static bool matches(const struct gather *g, const struct reg_object *o)
{
    if (!g->selector || !g->selector->n)
        return true;
    json_t *object = api_object_as(g->kind, S(""), o);
    bool match = selector_match(g->selector, object);
    json_decref(object);
    return match;
}

static bool gather_one(void *ctx, const struct reg_object *o)
{
    struct gather *g = ctx;
    struct write *w = g->w;
    const struct kind *k;
    struct slice ns, name;
    if ((g->given && map_get(g->given, o->key)) || !matches(g, o) ||
        !kind_key_parse(o->key, &k, &ns, &name))
        return true;
    *vec_push(&w->items) = (struct item){.verb = ITEM_DELETE,
                                         .kind = k,
                                         .ns = arena_dup(&w->arena, ns),
                                         .name = arena_dup(&w->arena, name)};
    return w->items.n <= WRITE_ITEMS_MAX;
}

static void gather_namespace(struct write *w, struct reg_txn *txn, struct slice ns,
                             const struct map *given)
{
    for (size_t i = 0; i < KIND_COUNT; i++) {
        struct gather g = {.w = w, .kind = &kinds[i], .given = given};
        if (!kinds[i].namespaced || w->items.n > WRITE_ITEMS_MAX)
            continue;
        struct slice prefix = arena_printf(&w->arena, "%s%s%s/%.*s/", kinds[i].plural,
                                           kinds[i].group[0] ? "." : "", kinds[i].group, SLICE(ns));
        reg_scan(txn, prefix, S(""), gather_one, &g);
    }
}

static bool is_namespace_deletion(const struct item *it)
{
    return it->verb == ITEM_DELETE && it->kind->id == KIND_NAMESPACE;
}

static bool deletes_a_namespace(const struct write *w)
{
    for (size_t i = 0; i < w->given; i++)
        if (is_namespace_deletion(&w->items.p[i]))
            return true;
    return false;
}

static bool expand_batch(struct write *w, struct reg_txn *txn, struct err *err)
{
    struct map given = {0};
    struct slice key;
    bool ok = true;
    if (!deletes_a_namespace(w))
        return true;
    for (size_t i = 0; i < w->given; i++) {
        struct item *it = &w->items.p[i];
        if (it->verb == ITEM_DELETE && kind_key(it->kind, it->ns, it->name, &w->arena, &key, NULL))
            map_put(&given, key, w);
    }
    for (size_t i = 0; i < w->given && ok; i++) {
        struct slice ns = w->items.p[i].name;
        if (!is_namespace_deletion(&w->items.p[i]))
            continue;
        gather_namespace(w, txn, ns, &given);
        if (w->items.n > WRITE_ITEMS_MAX)
            ok = err_set(
                err, ERR_LIMIT,
                "items[%zu]: with what is in namespace \"%.*s\" these are more objects than "
                "one revision can hold (%d); delete the namespace by itself",
                i, SLICE(ns), WRITE_ITEMS_MAX);
    }
    map_fini(&given);
    return ok;
}

/* Of one call: in as many entries as it takes. A namespace goes with the last of what is in it;
 * before, it is only looked at. */
static void expand_call(struct write *w, struct reg_txn *txn)
{
    const struct api_call *c = w->deletion;
    if (!c->name.n) {
        struct gather g = {.w = w, .kind = c->kind, .selector = &c->selector};
        reg_scan(txn, api_prefix(c), S(""), gather_one, &g);
    } else if (c->kind->id == KIND_NAMESPACE) {
        gather_namespace(w, txn, c->name, NULL);
    }
    w->left = w->items.n > WRITE_ITEMS_MAX;
    if (w->left)
        write_items_cut(w, WRITE_ITEMS_MAX);
    if (w->given)
        w->items.p[0].held = w->left;
}

bool write_expand(struct write *w, struct reg_txn *txn, struct err *err)
{
    write_items_cut(w, w->given);
    if (!w->deletion)
        return expand_batch(w, txn, err);
    arena_reset(&w->arena); /* of the entry before; the call's own names are the request's */
    expand_call(w, txn);
    return true;
}
