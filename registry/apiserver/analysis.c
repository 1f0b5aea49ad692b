/* The analysis of a write sees the state as it will be: what is stored, under what the write
 * changes. A write of many objects reads the state once. */
#include "api/analyze.h"
#include "base/core/map.h"

#include "registry/apiserver/write.h"

struct view {
    const struct write *w;
    struct reg_txn *txn;
    struct map changed; /* struct item by key */
    json_t *held;       /* the last object read from the store: ours until the next */
    /* of each() */
    const struct analyze_hint *hint;
    bool (*fn)(void *arg, const json_t *object);
    void *arg;
    bool stopped;
};

static const json_t *view_stored(struct view *v, const struct kind *k, const struct reg_object *o)
{
    json_decref(v->held);
    v->held = api_object_as(k, S(""), o);
    return v->held;
}

static const json_t *view_get(void *ctx, enum kind_id kind, struct slice ns, struct slice name)
{
    struct view *v = ctx;
    struct arena scratch = {0};
    struct reg_object o;
    struct slice key;
    const json_t *found = NULL;
    if (kind_key(&kinds[kind], ns, name, &scratch, &key, NULL)) {
        const struct item *it = map_get(&v->changed, key);
        if (it)
            found = it->after;
        else if (reg_get(v->txn, key, &o))
            found = view_stored(v, &kinds[kind], &o);
    }
    arena_fini(&scratch);
    return found;
}

static bool each_stored(void *ctx, const struct reg_object *o)
{
    struct view *v = ctx;
    const struct kind *k;
    struct slice ns, name;
    const struct item *it = map_get(&v->changed, o->key);
    if ((it && !it->after) || (!it && !analyze_hint_matches(v->hint, o->value)) ||
        !kind_key_parse(o->key, &k, &ns, &name))
        return true;
    if (!v->fn(v->arg, it ? it->after : view_stored(v, k, o)))
        v->stopped = true;
    return !v->stopped;
}

static void view_each(void *ctx, enum kind_id kind, struct slice ns,
                      const struct analyze_hint *hint, bool (*fn)(void *arg, const json_t *object),
                      void *arg)
{
    struct view *v = ctx;
    struct arena scratch = {0};
    const struct kind *k = &kinds[kind];
    const char *dot = k->group[0] ? "." : "";
    struct slice prefix =
        ns.n ? arena_printf(&scratch, "%s%s%s/%.*s/", k->plural, dot, k->group, SLICE(ns))
             : arena_printf(&scratch, "%s%s%s/", k->plural, dot, k->group);
    v->hint = hint;
    v->fn = fn;
    v->arg = arg;
    v->stopped = false;
    reg_scan(v->txn, prefix, S(""), each_stored, v);
    for (size_t i = 0; i < v->w->items.n && !v->stopped; i++) {
        const struct item *it = &v->w->items.p[i];
        if (it->after && !it->before && it->kind == k && (!ns.n || slice_eq(it->ns, ns)))
            v->stopped = !fn(arg, it->after);
    }
    arena_fini(&scratch);
}

static bool analyze_item(struct write *w, struct item *it, const struct analyze_lookup *lookup,
                         struct analyzer *all)
{
    if (!it->after || it->sub == API_SUB_STATUS || it->result == ITEM_UNCHANGED)
        return true;
    bool ok = w->items.n == 1 ? kind_analyze(it->kind, it->after, lookup, &w->report)
                              : analyzer_object(all, it->kind, it->after, &w->report);
    if (!ok)
        w->refused = it;
    return ok;
}

bool write_analyze(struct write *w, struct reg_txn *txn)
{
    struct view v = {.w = w, .txn = txn};
    struct analyze_lookup lookup = {.ctx = &v, .get = view_get, .each = view_each};
    struct analyzer *all = analyzer_new(&lookup);
    bool ok = true;
    for (size_t i = 0; i < w->items.n; i++)
        map_put(&v.changed, w->items.p[i].key, &w->items.p[i]);
    for (size_t i = 0; i < w->items.n && ok; i++) {
        size_t known = w->report.count;
        ok = analyze_item(w, &w->items.p[i], &lookup, all);
        write_name_problems(w, &w->items.p[i], known);
    }
    analyzer_free(all);
    map_fini(&v.changed);
    json_decref(v.held);
    return ok;
}
