#include "proxy/xds/resources.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/core/assert.h"

/* "<revision>.<hash>" of weft's own server; anything else is only compared, so its hash does. */
static struct xds_stamp stamp_of(struct slice version)
{
    struct slice rev, hash;
    struct xds_stamp s = {0};
    if (slice_cut(version, '.', &rev, &hash) && slice_u64(rev, &s.revision)) {
        s.hash = hash_bytes(hash);
        return s;
    }
    return (struct xds_stamp){0, hash_bytes(version)};
}

/* Parts. */

static void part_drop(struct conf_part *p)
{
    if (p)
        conf_part_unref(p);
}

static void parts_release(struct resource *r)
{
    switch (r->type) {
    case XDS_CDS:
        part_drop(r->cluster ? &r->cluster->part : NULL);
        break;
    case XDS_EDS:
        part_drop(r->endpoints ? &r->endpoints->part : NULL);
        break;
    case XDS_LDS:
        part_drop(r->listener ? &r->listener->part : NULL);
        break;
    case XDS_RDS:
        route_spec_fini(&r->routes);
        break;
    case XDS_VHDS:
        part_drop(r->vhost ? &r->vhost->part : NULL);
        break;
    case XDS_TYPE_COUNT:
        wf_unreachable("type");
    }
}

static void bound_release(struct resource *r)
{
    if (r->type == XDS_CDS)
        part_drop(r->bound_cluster ? &r->bound_cluster->part : NULL);
    if (r->type == XDS_LDS)
        part_drop(r->bound_listener ? &r->bound_listener->part : NULL);
    if (r->type == XDS_RDS)
        part_drop(r->bound_routes ? &r->bound_routes->part : NULL);
    r->bound_cluster = NULL;
}

static bool parts_build(struct resource *r, struct err *err)
{
    switch (r->type) {
    case XDS_CDS:
        r->cluster = conf_build_cluster(r->name, r->stamp, r->body, err);
        return r->cluster != NULL;
    case XDS_EDS:
        r->endpoints = conf_build_endpoints(r->name, r->stamp, r->body, err);
        return r->endpoints != NULL;
    case XDS_LDS:
        r->listener = conf_build_listener(r->name, r->stamp, r->body, err);
        return r->listener != NULL;
    case XDS_RDS:
        return conf_build_routes(r->name, r->stamp, r->body, &r->routes, err);
    case XDS_VHDS:
        r->vhost = conf_build_virtual_host(r->name, r->body, err);
        return r->vhost != NULL;
    case XDS_TYPE_COUNT:
        break;
    }
    wf_unreachable("type");
}

static void resource_free(struct resource *r)
{
    parts_release(r);
    bound_release(r);
    slice_free(r->name);
    slice_free(r->version);
    slice_free(r->body);
    mem_free(r->error);
    mem_free(r->socket.unbound);
    mem_free(r);
}

/* Who must be bound again. */

static void stale_all(struct resources *rs, enum xds_type type)
{
    MAP_EACH (&rs->by_name[type], e)
        ((struct resource *)e->value)->stale = true;
}

static struct slice vhost_table(struct slice name)
{
    struct slice table, rest;
    slice_cut(name, '/', &table, &rest);
    return table;
}

static void stale_after(struct resources *rs, enum xds_type type, struct slice name)
{
    struct resource *r;
    rs->dirty = true;
    switch (type) {
    case XDS_EDS: /* only the clusters know who uses the name: asked once a tree, not once a set */
        rs->eds_changed.copies_keys = true;
        map_put(&rs->eds_changed, name, rs);
        break;
    case XDS_VHDS:
        r = resources_find(rs, XDS_RDS, vhost_table(name));
        if (r)
            r->stale = true;
        break;
    case XDS_RDS:
        stale_all(rs, XDS_LDS);
        break;
    default:
        break;
    }
}

/* Changes. */

void resources_answered(struct resources *rs, struct slice table)
{
    struct resource *r = resources_find(rs, XDS_RDS, table);
    if (!r || r->answered)
        return;
    r->answered = r->stale = true;
    rs->dirty = true;
}

struct resource *resources_find(const struct resources *rs, enum xds_type type, struct slice name)
{
    return map_get(&rs->by_name[type], name);
}

static void note_error(struct resource *r, const struct err *err)
{
    mem_free(r->error);
    r->error = err ? (char *)(uintptr_t)slice_dup(slice_of(err->msg)).p : NULL;
}

/* What was bound serves on until the new one is: a listener may have to wait for its routes. */
static void inherit(struct resource *r, struct resource *old)
{
    r->bound_routes = old->bound_routes;
    old->bound_routes = NULL;
    r->socket = old->socket;
    old->socket.unbound = NULL;
    r->answered = old->answered;
}

bool resources_put(struct resources *rs, enum xds_type type, struct slice name,
                   struct slice version, struct slice body, int64_t wall_ms, struct err *err)
{
    struct err why = {0};
    struct resource *old = resources_find(rs, type, name);
    if (name.n == 0 || name.n > XDS_NAME_BYTES_MAX)
        return err_set(err, ERR_INVALID, "%s resource: name of %zu bytes",
                       xds_types[type].short_name, name.n);
    if (version.n > XDS_VERSION_BYTES_MAX)
        return err_set(err, ERR_INVALID, "%s %.*s: version of %zu bytes",
                       xds_types[type].short_name, SLICE(name), version.n);
    if (!old && rs->by_name[type].n >= XDS_RESOURCES_MAX)
        return err_set(err, ERR_LIMIT, "%s: more than %d resources", xds_types[type].short_name,
                       XDS_RESOURCES_MAX);
    struct resource *r = MEM_NEW(struct resource);
    *r = (struct resource){.type = type,
                           .name = slice_dup(name),
                           .version = slice_dup(version),
                           .body = slice_dup(body),
                           .stamp = stamp_of(version),
                           .updated_wall_ms = wall_ms,
                           .stale = true};
    if (!parts_build(r, &why)) {
        if (old)
            note_error(old, &why);
        slice_free(r->name);
        slice_free(r->version);
        slice_free(r->body);
        mem_free(r);
        if (err)
            *err = why;
        return false;
    }
    if (old) {
        map_del(&rs->by_name[type], name);
        inherit(r, old);
        resource_free(old);
    }
    map_put(&rs->by_name[type], r->name, r);
    stale_after(rs, type, r->name);
    if (type == XDS_VHDS)
        resources_answered(rs, vhost_table(r->name));
    return true;
}

void resources_remove(struct resources *rs, enum xds_type type, struct slice name)
{
    struct resource *r = map_del(&rs->by_name[type], name);
    if (!r)
        return;
    stale_after(rs, type, r->name);
    resource_free(r);
}

void resources_opened(struct resources *rs, const struct bind_failures *failed)
{
    MAP_EACH (&rs->by_name[XDS_LDS], e) {
        struct resource *r = e->value;
        mem_free(r->socket.unbound);
        r->socket.unbound = NULL;
    }
    for (size_t i = 0; i < failed->list.n; i++) {
        const struct bind_failure *f = &failed->list.p[i];
        struct resource *r = resources_find(rs, XDS_LDS, f->name);
        if (r) /* else it went meanwhile */
            r->socket.unbound = (char *)(uintptr_t)slice_dup(slice_of(f->why.msg)).p;
    }
}

/* References. */

static void want(struct map *names, struct slice name)
{
    if (!map_get(names, name))
        map_put(names, name, names);
}

static void want_routes(struct map *names, const struct listener *l)
{
    for (size_t i = 0; i < l->chain_count; i++)
        if (l->chains[i].route_name.n)
            want(names, l->chains[i].route_name);
}

void resources_wanted(const struct resources *rs, enum xds_type type, struct map *ret_names)
{
    ret_names->copies_keys = true;
    if (type == XDS_EDS)
        MAP_EACH (&rs->by_name[XDS_CDS], e) {
            const struct resource *r = e->value;
            if (r->cluster->kind == CLUSTER_EDS)
                want(ret_names, r->cluster->eds_name);
        }
    if (type == XDS_RDS)
        MAP_EACH (&rs->by_name[XDS_LDS], e)
            want_routes(ret_names, ((struct resource *)e->value)->listener);
    if (type == XDS_VHDS)
        MAP_EACH (&rs->by_name[XDS_RDS], e) {
            const struct resource *r = e->value;
            char glob[XDS_NAME_BYTES_MAX + 4];
            if (!r->routes.vhds)
                continue;
            int n = snprintf(glob, sizeof(glob), "%.*s/*", SLICE(r->name));
            want(ret_names, slice_mem(glob, (size_t)n));
        }
}

/* The tree. */

struct vhost_pick {
    VEC(struct virtual_host *) list;
};

static int by_vhost_name(const void *a, const void *b)
{
    const struct virtual_host *x = *(struct virtual_host *const *)a;
    const struct virtual_host *y = *(struct virtual_host *const *)b;
    return slice_cmp(x->name, y->name);
}

static void vhosts_of(const struct resources *rs, struct slice table, struct vhost_pick *ret)
{
    MAP_EACH (&rs->by_name[XDS_VHDS], e) {
        struct resource *r = e->value;
        if (slice_eq(vhost_table(r->name), table))
            *vec_push(&ret->list) = r->vhost;
    }
    if (ret->list.n)
        qsort(ret->list.p, ret->list.n, sizeof(*ret->list.p), by_vhost_name);
}

static bool table_warms(const struct resources *rs, const struct resource *r)
{
    return r->routes.vhds && (!r->answered || (rs->vhosts_to_come && !r->bound_routes));
}

static void bind_table(struct resources *rs, struct resource *r, struct err *err)
{
    struct err why = {0};
    struct vhost_pick more = {0};
    if (table_warms(rs, r))
        return; /* stays stale */
    if (r->routes.vhds)
        vhosts_of(rs, r->name, &more);
    struct route_table *t = conf_bind_routes(&r->routes, more.list.p, more.list.n, &why);
    vec_fini(&more.list);
    r->stale = false;
    if (!t) {
        note_error(r, &why);
        r->not_bound = true;
        if (err && !err->code)
            *err = why;
        return;
    }
    part_drop(r->bound_routes ? &r->bound_routes->part : NULL);
    r->bound_routes = t;
    if (r->not_bound)
        note_error(r, NULL);
    r->not_bound = false;
    stale_all(rs, XDS_LDS);
}

struct find {
    struct resources *rs;
    struct route_table *instead; /* NULL: the listener waits */
};

static struct route_table *find_table(void *ctx, struct slice name)
{
    const struct find *f = ctx;
    struct resource *r = resources_find(f->rs, XDS_RDS, name);
    return r && r->bound_routes ? r->bound_routes : f->instead;
}

static bool listener_warms(const struct resource *r)
{
    return !r->bound_listener || r->bound_listener->part.shares != &r->listener->part;
}

static void bind_listener(struct resources *rs, struct resource *r)
{
    struct find find = {.rs = rs};
    struct listener *l;
    if (!rs->opened)
        return;
    bool whole = conf_bind_listener(r->listener, find_table, &find, &l);
    /* A table that is taken away is no reason to serve without: only one that never came is. */
    find.instead = r->waited && listener_warms(r) ? rs->no_routes : NULL;
    if (!whole && !conf_bind_listener(r->listener, find_table, &find, &l))
        return; /* warms; stays stale */
    part_drop(r->bound_listener ? &r->bound_listener->part : NULL);
    r->bound_listener = l;
    r->warms_since = 0;
    r->stale = false;
}

static void bind_cluster(struct resources *rs, struct resource *r)
{
    struct resource *eds =
        r->cluster->kind == CLUSTER_EDS ? resources_find(rs, XDS_EDS, r->cluster->eds_name) : NULL;
    struct endpoint_set *set = eds ? eds->endpoints : r->cluster->endpoints;
    part_drop(r->bound_cluster ? &r->bound_cluster->part : NULL);
    r->bound_cluster = conf_bind_cluster(r->cluster, set);
    r->stale = false;
}

/* Its own form changed, or the endpoints that it names. */
static bool cluster_is_stale(const struct resources *rs, const struct resource *r)
{
    return r->stale ||
           (r->cluster->kind == CLUSTER_EDS && map_get(&rs->eds_changed, r->cluster->eds_name));
}

/* Nothing may be served before the clusters are known: later ones come before the routes that name
 * them. */
static bool clusters_came(const struct resources *rs)
{
    if (!rs->received[XDS_CDS])
        return false;
    MAP_EACH (&rs->by_name[XDS_CDS], e) {
        const struct resource *r = e->value;
        if (r->cluster->kind == CLUSTER_EDS && !rs->received[XDS_EDS] &&
            !resources_find(rs, XDS_EDS, r->cluster->eds_name))
            return false;
    }
    return true;
}

static void bind_stale(struct resources *rs, struct err *err)
{
    rs->opened = rs->opened || clusters_came(rs);
    MAP_EACH (&rs->by_name[XDS_RDS], e)
        if (((struct resource *)e->value)->stale)
            bind_table(rs, e->value, err);
    MAP_EACH (&rs->by_name[XDS_LDS], e)
        if (((struct resource *)e->value)->stale)
            bind_listener(rs, e->value);
    MAP_EACH (&rs->by_name[XDS_CDS], e)
        if (cluster_is_stale(rs, e->value))
            bind_cluster(rs, e->value);
    map_fini(&rs->eds_changed);
}

struct conf *resources_seal(struct resources *rs, struct err *err)
{
    if (!rs->dirty)
        return NULL;
    bind_stale(rs, err);
    struct conf *c = conf_new();
    struct arena *arena = &c->part.arena;
    c->generation = ++rs->generation;
    c->listeners = ARENA_ARRAY(arena, struct listener *, rs->by_name[XDS_LDS].n + 1);
    c->clusters = ARENA_ARRAY(arena, struct cluster *, rs->by_name[XDS_CDS].n + 1);
    MAP_EACH (&rs->by_name[XDS_LDS], e) {
        struct listener *l = ((struct resource *)e->value)->bound_listener;
        if (!l)
            continue;
        conf_part_ref(&l->part);
        c->listeners[c->listener_count++] = l;
    }
    MAP_EACH (&rs->by_name[XDS_CDS], e) {
        struct cluster *k = ((struct resource *)e->value)->bound_cluster;
        conf_part_ref(&k->part);
        c->clusters[c->cluster_count++] = k;
    }
    conf_index(c);
    rs->dirty = false;
    return c;
}

/* Warming. */

struct warm {
    struct resources *rs;
    wf_ms now, next;
    struct buf *given_up;
};

/* Has this been waited for long enough? */
static bool is_over(struct warm *w, wf_ms *since, wf_ms at_most)
{
    if (!*since)
        *since = w->now ? w->now : 1;
    wf_ms at = *since + at_most;
    if (w->now >= at) {
        *since = 0;
        w->rs->dirty = true;
        return true;
    }
    if (!w->next || at < w->next)
        w->next = at;
    return false;
}

static void give_up(struct warm *w, struct slice name)
{
    if (w->given_up->n < XDS_NAME_BYTES_MAX)
        buf_printf(w->given_up, "%s%.*s", w->given_up->n ? "," : "", SLICE(name));
}

static void warm_table(struct warm *w, struct resource *r)
{
    if (!r->routes.vhds || r->answered || !is_over(w, &r->warms_since, XDS_WARM_MS))
        return;
    give_up(w, r->name);
    resources_answered(w->rs, r->name);
}

static void warm_listener(struct warm *w, struct resource *r)
{
    if (!listener_warms(r) || r->waited || !is_over(w, &r->warms_since, XDS_WARM_MS))
        return;
    give_up(w, r->name);
    r->waited = r->stale = true;
    for (size_t i = 0; i < r->listener->chain_count; i++) /* at least what stands in them */
        resources_answered(w->rs, r->listener->chains[i].route_name);
    if (!w->rs->no_routes)
        w->rs->no_routes = route_table_new();
}

wf_ms resources_warm(struct resources *rs, wf_ms now, struct buf *given_up)
{
    struct warm w = {.rs = rs, .now = now, .given_up = given_up};
    if (rs->vhosts_to_come && is_over(&w, &rs->cut_since, XDS_PART_MS))
        rs->vhosts_to_come = false;
    if (!rs->opened && rs->by_name[XDS_LDS].n && is_over(&w, &rs->closed_since, XDS_WARM_MS))
        rs->opened = true;
    MAP_EACH (&rs->by_name[XDS_RDS], e)
        warm_table(&w, e->value);
    MAP_EACH (&rs->by_name[XDS_LDS], e)
        warm_listener(&w, e->value);
    return w.next;
}

void resources_restored(struct resources *rs)
{
    for (int t = 0; t < XDS_TYPE_COUNT; t++)
        rs->received[t] = true;
    rs->opened = true;
    rs->no_routes = rs->no_routes ? rs->no_routes : route_table_new();
    MAP_EACH (&rs->by_name[XDS_RDS], e)
        ((struct resource *)e->value)->answered = true;
    MAP_EACH (&rs->by_name[XDS_LDS], e)
        ((struct resource *)e->value)->waited = true;
}

bool resources_complete(const struct resources *rs)
{
    if (!rs->received[XDS_LDS] || !(rs->opened || clusters_came(rs)))
        return false;
    MAP_EACH (&rs->by_name[XDS_RDS], e)
        if (table_warms(rs, e->value))
            return false;
    MAP_EACH (&rs->by_name[XDS_LDS], e)
        if (listener_warms(e->value))
            return false;
    return true;
}

void resources_fini(struct resources *rs)
{
    for (int t = 0; t < XDS_TYPE_COUNT; t++) {
        MAP_EACH (&rs->by_name[t], e)
            resource_free(e->value);
        map_fini(&rs->by_name[t]);
    }
    map_fini(&rs->eds_changed);
    part_drop(rs->no_routes ? &rs->no_routes->part : NULL);
    *rs = (struct resources){0};
}
