/* Route tables: which virtual hosts stand together in one RouteConfiguration.
 *
 *   REDIRECT        a table a port ("80"): the listener of that port asks for it
 *   NONE            "http_proxy": the authority decides; and one a port that a Sidecar's egress
 * names
 *
 * A virtual host is a resource TABLE/HOST:PORT (VHDS, for weft-proxy), or its bytes are put into
 * the table's RouteConfiguration (for Envoy).
 */
#include "pilot/build_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/core/hash.h"

#define DIRECT_BODY_BYTES_MAX (1024 * 1024)

struct tables_cell {
    struct graph_cell cell;
    struct scope *scope;
    enum proxy_capture capture;
    struct tables value;
    struct xds_list *given; /* the virtual hosts before repeated domains were dropped */
    bool repeated;          /* were any dropped? */
};

struct table_job {
    struct build *b;
    struct tables_cell *cell;
    struct arena *a;
    struct unit_out vhosts; /* borrowed */
    struct unit_out owned;  /* to give back */
    struct scope_services services;
};

/* ---- which virtual hosts ---- */

static int cmp_host(const void *key, const void *elem)
{
    return slice_cmp(*(const struct slice *)key, ((const struct scope_service *)elem)->host);
}

static const struct scope_service *service_of(const struct table_job *j, struct slice host)
{
    return j->services.n
               ? bsearch(&host, j->services.p, j->services.n, sizeof(*j->services.p), cmp_host)
               : NULL;
}

/* "80/a.b:80" -> "80", "a.b". */
static void vhost_parts(struct slice name, struct slice *ret_table, struct slice *ret_host)
{
    struct slice rest, port;
    slice_cut(name, '/', ret_table, &rest);
    slice_cut_last(rest, ':', ret_host, &port);
}

/* Virtual hosts of one table (empty: of all) that an egress listener (NULL: any) lets in. */
static void take(struct table_job *j, const struct xds_list *from, struct slice table,
                 const json_t *egress)
{
    for (size_t i = 0; i < from->n; i++) {
        struct slice in, host;
        vhost_parts(from->items[i]->name, &in, &host);
        if (table.n && !slice_eq(in, table))
            continue;
        const struct scope_service *s = egress ? service_of(j, host) : NULL;
        if (!egress || !s || egress_imports(egress, j->cell->scope->ns, s->ns, host))
            *vec_push(&j->vhosts) = from->items[i];
    }
}

/* ---- hosts without a service ---- */

static bool wildcard_has_service(const struct table_job *j, struct slice pattern)
{
    for (size_t i = 0; i < j->services.n; i++)
        if (model_host_match(pattern, j->services.p[i].host))
            return true;
    return false;
}

static void take_unit(struct table_job *j, struct slice host, char variant)
{
    struct unit_cell *u = unit_host_cell(j->b, j->cell->scope, host, variant);
    graph_get(&j->b->graph, &u->cell);
    for (size_t i = 0; i < u->n; i++)
        *vec_push(&j->vhosts) = u->resources[i];
}

static void take_rule_hosts(struct table_job *j, char variant)
{
    const struct scope *s = j->cell->scope;
    const struct model_fact *f = model_index(&j->b->model, MODEL_ROUTES, S(""));
    for (size_t i = 0; i < f->n; i++) {
        const struct model_object *vs = f->members[i];
        if (!model_exported(vs->export_to, vs->ns, s->ns))
            continue;
        JR_EACH (jr_get(vs->spec, "hosts"), k, v) {
            struct slice host = model_host_resolve(jr_slice(v), vs->ns, j->a);
            bool wild = host.n && host.p[0] == '*';
            if (host.n && !(wild ? wildcard_has_service(j, host) : service_of(j, host) != NULL))
                take_unit(j, host, variant);
        }
    }
}

/* ---- the last one: what no host matches ---- */

static ROUTE(Route) * allow_route(struct arena *a)
{
    ROUTE(Route) *r = NEW_ROUTE(a, route);
    r->name = pb_str(a, S("allow_any"));
    r->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE;
    r->route = NEW_ROUTE(a, route_action);
    r->route->cluster_specifier_case =
        ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__CLUSTER_SPECIFIER_CLUSTER;
    r->route->cluster = pb_str(a, S("PassthroughCluster"));
    r->route->timeout = wkt_duration(a, 0);
    return r;
}

static ROUTE(Route) * block_route(struct arena *a)
{
    ROUTE(Route) *r = NEW_ROUTE(a, route);
    r->name = pb_str(a, S("block_all"));
    r->action_case = ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE;
    r->direct_response = NEW_ROUTE(a, direct_response_action);
    r->direct_response->status = 502;
    return r;
}

static void take_catch_all(struct table_job *j, struct slice table)
{
    const json_t *sidecar = scope_sidecar(j->b, j->cell->scope);
    struct slice mode = jr_str(jr_get(sidecar, "outboundTrafficPolicy"), "mode");
    bool block = slice_eq(mode, S("REGISTRY_ONLY"));
    ROUTE(VirtualHost) *v = NEW_ROUTE(j->a, virtual_host);
    v->name = pb_str(j->a, block ? S("block_all") : S("allow_any"));
    ROUTE(Route) *r = block ? block_route(j->a) : allow_route(j->a);
    r->match = NEW_ROUTE(j->a, route_match);
    r->match->path_specifier_case = ENVOY__CONFIG__ROUTE__V3__ROUTE_MATCH__PATH_SPECIFIER_PREFIX;
    r->match->prefix = pb_str(j->a, S("/"));
    PB_PUSH(j->a, v, domains, pb_str(j->a, S("*")));
    PB_PUSH(j->a, v, routes, r);
    struct slice name = arena_printf(j->a, "%.*s/%s", SLICE(table), v->name);
    const struct model_object *o =
        j->cell->scope->sidecar.n ? model_object(&j->b->model, j->cell->scope->sidecar) : NULL;
    buf_clear(&j->b->packed);
    pb_pack(&v->base, &j->b->packed);
    struct xds_resource *res =
        build_resource_bytes(j->b, xds_list_find(j->cell->value.vhosts, name),
                             &(struct xds_resource_parts){.type = XDS_VHDS,
                                                          .name = name,
                                                          .body = buf_slice(&j->b->packed),
                                                          .revision = o ? o->mod_rev : 0,
                                                          .sources = o ? &o->key : NULL,
                                                          .source_count = o ? 1 : 0});
    *vec_push(&j->vhosts) = res;
    *vec_push(&j->owned) = res;
}

/* ---- no domain twice in a table (Envoy refuses the table) ---- */

/* The bytes up to the routes: name and domains. */
static struct slice domain_bytes(const struct xds_resource *r)
{
    size_t at = 0;
    while (at < r->body.n && ((unsigned char)r->body.p[at] >> 3) <= 2) {
        size_t len = 0, shift = 0, i = at + 1;
        do
            len |= (size_t)((unsigned char)r->body.p[i] & 0x7f) << shift, shift += 7;
        while ((unsigned char)r->body.p[i++] & 0x80);
        at = i + len;
    }
    wf_assert(at <= r->body.n);
    return slice_sub(r->body, 0, at);
}

/* Nothing that could make a domain stand twice has changed since it was last looked at. */
static bool same_domains(const struct xds_list *was, const struct unit_out *is)
{
    if (!was || was->n != is->n)
        return false;
    for (size_t i = 0; i < is->n; i++)
        if (was->items[i] != is->p[i] &&
            (!slice_eq(was->items[i]->name, is->p[i]->name) ||
             !slice_eq(domain_bytes(was->items[i]), domain_bytes(is->p[i]))))
            return false;
    return true;
}

/* Without the domains that stand in `seen` (table and domain); the same resource when there is none
 * of them; NULL when no domain is left. Adds its own. */
static struct xds_resource *drop_seen(struct table_job *j, struct xds_resource *r, struct map *seen)
{
    struct slice table, host;
    struct err err = {0};
    ROUTE(VirtualHost) *v =
        pb_unpack(&envoy__config__route__v3__virtual_host__descriptor, r->body, j->a, &err);
    wf_assert(v);
    size_t n = 0;
    vhost_parts(r->name, &table, &host);
    for (size_t i = 0; i < v->n_domains; i++) {
        struct slice key = arena_printf(j->a, "%.*s/%s", SLICE(table), v->domains[i]);
        if (map_get(seen, key))
            continue;
        map_put(seen, key, r);
        v->domains[n++] = v->domains[i];
    }
    if (n == v->n_domains)
        return r;
    v->n_domains = n;
    if (n == 0)
        return NULL;
    buf_clear(&j->b->packed);
    pb_pack(&v->base, &j->b->packed);
    struct xds_resource *less = build_resource_bytes(
        j->b, xds_list_find(j->cell->value.vhosts, r->name),
        &(struct xds_resource_parts){.type = XDS_VHDS,
                                     .name = r->name,
                                     .body = buf_slice(&j->b->packed),
                                     .revision = graph_reads_revision(&j->b->graph),
                                     .sources = r->sources,
                                     .source_count = r->source_count});
    *vec_push(&j->owned) = less;
    return less;
}

static int cmp_resource(const void *a, const void *b)
{
    const struct xds_resource *const *x = a, *const *y = b;
    return slice_cmp((*x)->name, (*y)->name);
}

static void unique_domains(struct table_job *j)
{
    struct unit_out *v = &j->vhosts;
    struct tables_cell *c = j->cell;
    size_t n = 0;
    qsort(v->p, v->n, sizeof(*v->p), cmp_resource);
    for (size_t i = 0; i < v->n; i++)
        if (n == 0 || !slice_eq(v->p[n - 1]->name, v->p[i]->name))
            v->p[n++] = v->p[i];
    v->n = n;
    bool look = c->repeated || !same_domains(c->given, v);
    xds_list_unref(c->given);
    c->given = xds_list_new(NULL, v->p, v->n);
    if (!look)
        return;
    struct map seen = {0};
    c->repeated = false;
    n = 0;
    for (size_t i = 0; i < v->n; i++) {
        struct xds_resource *r = drop_seen(j, v->p[i], &seen);
        c->repeated = c->repeated || r != v->p[i];
        if (r)
            v->p[n++] = r;
    }
    v->n = n;
    map_fini(&seen);
}

/* ---- route configurations ---- */

/* One that asks for its virtual hosts. */
static struct xds_resource *table_vhds(struct table_job *j, struct slice table, bool ignore_port)
{
    ROUTE(RouteConfiguration) *rc = NEW_ROUTE(j->a, route_configuration);
    rc->name = pb_str(j->a, table);
    rc->vhds = NEW_ROUTE(j->a, vhds);
    rc->vhds->config_source = pbx_ads(j->a);
    rc->validate_clusters = wkt_bool(j->a, false);
    rc->max_direct_response_body_size_bytes = wkt_u32(j->a, DIRECT_BODY_BYTES_MAX);
    rc->ignore_port_in_host_matching = ignore_port;
    buf_clear(&j->b->packed);
    pb_pack(&rc->base, &j->b->packed);
    return build_resource_constant(j->b, XDS_RDS, table, buf_slice(&j->b->packed));
}

static reg_rev max_rev(reg_rev a, reg_rev b)
{
    return a > b ? a : b;
}

/* Changes with what is in it, and with what could be in it. */
static reg_rev table_revision(struct table_job *j, struct xds_resource *const *p, size_t n)
{
    reg_rev rev = model_index(&j->b->model, MODEL_SERVICES, S(""))->node.revision;
    rev = max_rev(rev, model_index(&j->b->model, MODEL_ROUTES, S(""))->node.revision);
    for (size_t i = 0; i < n; i++)
        rev = max_rev(rev, p[i]->version.revision);
    return rev;
}

/* One with its virtual hosts inside: their bytes are copied, not encoded again. */
static struct xds_resource *table_inside(struct table_job *j, struct slice table, bool ignore_port,
                                         struct xds_resource *const *p, size_t n)
{
    struct buf body = {0};
    struct sources sources = {0};
    pbw_bytes(&body, 1, table);
    for (size_t i = 0; i < n; i++) {
        pbw_bytes(&body, 2, p[i]->body);
        for (size_t k = 0; k < p[i]->source_count; k++)
            sources_add(&sources, p[i]->sources[k]);
    }
    pbw_len(&body, 7, 0); /* validate_clusters: a wrapper with false */
    pbw_len(&body, 11, 1 + pbw_varint_size(DIRECT_BODY_BYTES_MAX));
    pbw_u64(&body, 1, DIRECT_BODY_BYTES_MAX);
    pbw_u64(&body, 14, ignore_port ? 1 : 0);
    struct xds_resource *r =
        build_resource_bytes(j->b, xds_list_find(j->cell->value.inside, table),
                             &(struct xds_resource_parts){.type = XDS_RDS,
                                                          .name = table,
                                                          .body = buf_slice(&body),
                                                          .revision = table_revision(j, p, n),
                                                          .sources = sources.p,
                                                          .source_count = sources.n});
    vec_fini(&sources);
    buf_fini(&body);
    return r;
}

static bool make_configurations(struct table_job *j)
{
    struct unit_out inside = {0}, vhds = {0};
    const struct unit_out *v = &j->vhosts;
    for (size_t i = 0, end; i < v->n; i = end) {
        struct slice table, host, other;
        vhost_parts(v->p[i]->name, &table, &host);
        for (end = i + 1; end < v->n; end++) {
            vhost_parts(v->p[end]->name, &other, &host);
            if (!slice_eq(other, table))
                break;
        }
        bool ignore_port = !slice_eq(table, S("http_proxy"));
        *vec_push(&inside) = table_inside(j, table, ignore_port, v->p + i, end - i);
        *vec_push(&vhds) = table_vhds(j, table, ignore_port);
        *vec_push(&j->owned) = inside.p[inside.n - 1];
        *vec_push(&j->owned) = vhds.p[vhds.n - 1];
    }
    bool changed = list_set(&j->cell->value.inside, &inside);
    return list_set(&j->cell->value.vhds, &vhds) || changed;
}

/* ---- tables of a scope ---- */

static void tables_by_port(struct table_job *j)
{
    struct slice last = {0};
    take(j, list_get(j->b, LIST_VHOSTS_PORTS, j->cell->scope, NULL), (struct slice){0}, NULL);
    take_rule_hosts(j, 'p');
    if (j->vhosts.n)
        qsort(j->vhosts.p, j->vhosts.n, sizeof(*j->vhosts.p), cmp_resource);
    size_t n = j->vhosts.n;
    for (size_t i = 0; i < n; i++) {
        struct slice table, host;
        vhost_parts(j->vhosts.p[i]->name, &table, &host);
        if (!slice_eq(table, last))
            take_catch_all(j, table);
        last = table;
    }
}

static void table_proxy(struct table_job *j, const json_t *egress)
{
    take(j, list_get(j->b, LIST_VHOSTS_PROXY, j->cell->scope, NULL), (struct slice){0}, egress);
    take_rule_hosts(j, 'x');
    take_catch_all(j, S("http_proxy"));
}

static bool is_http(struct slice protocol)
{
    return model_protocol_http(model_protocol_of(protocol, (struct slice){0}, 0));
}

static void tables_by_listener(struct table_job *j)
{
    const json_t *egress = jr_get(scope_sidecar(j->b, j->cell->scope), "egress");
    bool has_proxy = false, any = false;
    JR_EACH (egress, i, v) {
        struct slice protocol = jr_str(jr_get(v, "port"), "protocol");
        uint32_t number = jr_u32(jr_get(v, "port"), "number", 0);
        if (slice_eq_nocase(protocol, S("HTTP_PROXY")) && !has_proxy) {
            table_proxy(j, v);
            has_proxy = any = true;
        } else if (is_http(protocol) && number) {
            struct slice table = arena_printf(j->a, "%u", number);
            take(j, list_get(j->b, LIST_VHOSTS_PORTS, j->cell->scope, NULL), table, v);
            take_catch_all(j, table);
            any = true;
        } else if (number) {
            any = true; /* a TCP listener needs no table */
        }
    }
    if (!any)
        table_proxy(j, NULL);
}

static bool tables_compute(struct graph *g, struct graph_cell *cell)
{
    struct tables_cell *c = (struct tables_cell *)cell;
    struct arena a = {0};
    struct table_job j = {.b = build_of(g), .cell = c, .a = &a};
    j.services = scope_services(j.b, c->scope, NULL);
    if (c->capture == CAPTURE_REDIRECT)
        tables_by_port(&j);
    else
        tables_by_listener(&j);
    unique_domains(&j);
    bool changed = make_configurations(&j);
    changed = list_set(&c->value.vhosts, &j.vhosts) || changed;
    for (size_t i = 0; i < j.owned.n; i++)
        xds_resource_unref(j.owned.p[i]);
    vec_fini(&j.owned);
    arena_fini(&a);
    return changed;
}

static void tables_fini(struct graph_cell *cell)
{
    struct tables_cell *c = (struct tables_cell *)cell;
    xds_list_unref(c->given);
    xds_list_unref(c->value.vhosts);
    xds_list_unref(c->value.inside);
    xds_list_unref(c->value.vhds);
}

static const struct graph_cell_kind tables_kind = {"tables", sizeof(struct tables_cell),
                                                   tables_compute, tables_fini};

const struct tables *tables_get(struct build *b, struct scope *s, enum proxy_capture capture)
{
    uint64_t key[] = {s->id, (uint64_t)capture};
    bool is_new;
    struct graph_cell *cell =
        graph_cell(&b->graph, &tables_kind, slice_mem(key, sizeof(key)), &is_new);
    struct tables_cell *c = (struct tables_cell *)cell;
    if (is_new) {
        c->scope = s;
        c->capture = capture;
    }
    graph_get(&b->graph, cell);
    return &c->value;
}
