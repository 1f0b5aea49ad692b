#include "proxy/conf.h"

#include <stdlib.h>
#include <string.h>

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

void conf_part_copy(struct conf_part *to, struct conf_part *from, size_t size)
{
    wf_assert(!to->shares && size >= sizeof(*to));
    to->shares = conf_part_ref(from);
    memcpy(to + 1, from + 1, size - sizeof(*to));
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

void bind_failures_add(struct bind_failures *f, struct slice name, const struct err *why)
{
    for (size_t i = 0; i < f->list.n; i++)
        if (slice_eq(f->list.p[i].name, name))
            return;
    *vec_push(&f->list) = (struct bind_failure){.name = name, .why = *why};
}

void bind_failures_fini(struct bind_failures *f)
{
    vec_fini(&f->list);
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

/* Hosts. */

static int longest_first(const void *a, const void *b)
{
    const struct domain_wild *x = a, *y = b;
    if (x->text.n != y->text.n)
        return x->text.n < y->text.n ? 1 : -1;
    return slice_cmp(x->text, y->text);
}

static bool domain_taken(struct err *err, const struct route_table *t, struct slice domain,
                         const struct virtual_host *first, const struct virtual_host *second)
{
    return err_set(err, ERR_INVALID,
                   "RouteConfiguration %.*s: domain %.*s belongs to virtual hosts %.*s and %.*s",
                   SLICE(t->name), SLICE(domain), SLICE(first->name), SLICE(second->name));
}

static bool domain_add(struct route_table *t, struct slice domain, struct virtual_host *v,
                       struct err *err)
{
    struct virtual_host *other = NULL;
    if (slice_eq(domain, S("*"))) {
        other = t->any;
        t->any = v;
    } else if (slice_starts(domain, S("*"))) {
        t->suffixes[t->suffix_count++] = (struct domain_wild){slice_skip(domain, 1), v};
    } else if (slice_ends(domain, S("*"))) {
        t->prefixes[t->prefix_count++] =
            (struct domain_wild){slice_sub(domain, 0, domain.n - 1), v};
    } else {
        other = map_put(&t->exact, domain, v);
    }
    return other ? domain_taken(err, t, domain, other, v) : true;
}

static bool wilds_sort(struct route_table *t, struct domain_wild *w, size_t n, struct err *err)
{
    qsort(w, n, sizeof(*w), longest_first);
    for (size_t i = 1; i < n; i++)
        if (slice_eq(w[i - 1].text, w[i].text))
            return domain_taken(err, t, w[i].text, w[i - 1].vhost, w[i].vhost);
    return true;
}

bool route_table_index(struct route_table *t, struct err *err)
{
    size_t domains = 0;
    for (size_t i = 0; i < t->vhost_count; i++)
        domains += t->vhosts[i]->domain_count;
    t->suffixes = ARENA_ARRAY(&t->part.arena, struct domain_wild, domains + 1);
    t->prefixes = ARENA_ARRAY(&t->part.arena, struct domain_wild, domains + 1);
    for (size_t i = 0; i < t->vhost_count; i++)
        for (size_t d = 0; d < t->vhosts[i]->domain_count; d++)
            if (!domain_add(t, t->vhosts[i]->domains[d], t->vhosts[i], err))
                return false;
    return wilds_sort(t, t->suffixes, t->suffix_count, err) &&
           wilds_sort(t, t->prefixes, t->prefix_count, err);
}
