#include "proxy/conf.h"

#include "base/core/assert.h"

/* Room for names behind the struct: there are some thousand parts, most of them small. */
#define PART_TEXT_BYTES 256

static void *part_new(size_t size, void (*fini)(struct conf_part *part))
{
    struct arena arena = {.first = size + PART_TEXT_BYTES};
    struct conf_part *part = arena_alloc(&arena, size);
    atomic_init(&part->refs, 1);
    part->fini = fini;
    part->arena = arena;
    return part;
}

struct conf_part *conf_part_ref(struct conf_part *p)
{
    unsigned before = atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    wf_assert(before > 0);
    return p;
}

void conf_part_unref(struct conf_part *p)
{
    if (!p)
        return;
    unsigned before = atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel);
    wf_assert(before > 0);
    if (before > 1)
        return;
    if (p->fini)
        p->fini(p);
    struct conf_part *shares = p->shares;
    struct arena arena = p->arena; /* p lies in it */
    arena_fini(&arena);
    conf_part_unref(shares);
}

struct conf *conf_ref(struct conf *c)
{
    conf_part_ref(&c->part);
    return c;
}

void conf_unref(struct conf *c)
{
    if (c)
        conf_part_unref(&c->part);
}

static void string_match_fini(struct string_match *m)
{
    regex_free(m->regex);
}

static void route_fini(struct route *r)
{
    regex_free(r->path_regex);
    regex_free(r->regex_rewrite);
    for (size_t i = 0; i < r->header_count; i++)
        string_match_fini(&r->headers[i].value);
    for (size_t i = 0; i < r->query_count; i++)
        string_match_fini(&r->queries[i].value);
}

static void virtual_host_fini(struct conf_part *part)
{
    struct virtual_host *v = container_of(part, struct virtual_host, part);
    for (size_t i = 0; i < v->route_count; i++)
        route_fini(&v->routes[i]);
}

static void route_table_fini(struct conf_part *part)
{
    struct route_table *t = container_of(part, struct route_table, part);
    for (size_t i = 0; i < t->vhost_count; i++)
        conf_part_unref(&t->vhosts[i]->part);
    map_fini(&t->exact);
}

static void cluster_fini(struct conf_part *part)
{
    struct cluster *c = container_of(part, struct cluster, part);
    if (c->endpoints)
        conf_part_unref(&c->endpoints->part);
}

static void listener_fini(struct conf_part *part)
{
    struct listener *l = container_of(part, struct listener, part);
    for (size_t i = 0; i < l->chain_count; i++)
        if (l->chains[i].routes)
            conf_part_unref(&l->chains[i].routes->part);
}

static void conf_fini(struct conf_part *part)
{
    struct conf *c = container_of(part, struct conf, part);
    for (size_t i = 0; i < c->listener_count; i++)
        conf_part_unref(&c->listeners[i]->part);
    for (size_t i = 0; i < c->cluster_count; i++)
        conf_part_unref(&c->clusters[i]->part);
    map_fini(&c->clusters_by_name);
}

struct conf *conf_new(void)
{
    return part_new(sizeof(struct conf), conf_fini);
}

struct listener *listener_new(void)
{
    return part_new(sizeof(struct listener), listener_fini);
}

struct route_table *route_table_new(void)
{
    return part_new(sizeof(struct route_table), route_table_fini);
}

struct virtual_host *virtual_host_new(void)
{
    return part_new(sizeof(struct virtual_host), virtual_host_fini);
}

struct cluster *cluster_new(void)
{
    return part_new(sizeof(struct cluster), cluster_fini);
}

struct endpoint_set *endpoint_set_new(void)
{
    return part_new(sizeof(struct endpoint_set), NULL);
}

void conf_index(struct conf *c)
{
    for (size_t i = 0; i < c->cluster_count; i++)
        map_put(&c->clusters_by_name, c->clusters[i]->name, c->clusters[i]);
}

struct cluster *conf_cluster(const struct conf *c, struct slice name)
{
    return map_get(&c->clusters_by_name, name);
}
